//! The layers of the settings, the command line and the `.env` file.

use std::ffi::OsString;
use std::path::Path;

use bharatmart_config::{
    ApiConfig, CacheBackend, CacheConfig, ConfigError, Inputs, Parsed, Process, ProcessConfig,
    RedisTopology, Source, parse_inputs,
};
use clap::Command;
use secrecy::ExposeSecret;

fn program() -> Command {
    Command::new("bharatmart-api")
        .subcommand(Command::new("serve"))
        .subcommand(Command::new("migrate"))
}

fn parsed(
    dot_env: &Path,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Parsed, ConfigError> {
    let os = |text: &str| OsString::from(text);
    let inputs = Inputs {
        arguments: std::iter::once("bharatmart-api")
            .chain(arguments.iter().copied())
            .map(os)
            .collect(),
        environment: environment
            .iter()
            .map(|(name, value)| (os(name), os(value)))
            .collect(),
        dot_env: dot_env.to_owned(),
    };
    parse_inputs(program(), Process::Api, &inputs)
}

fn metrics_port(source: &Source) -> u16 {
    ProcessConfig::read_metrics_port(source).expect("a port number")
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let environment = [("METRICS_PORT", "2002")];

    let port = |environment: &[(&str, &str)], arguments: &[&str]| {
        metrics_port(&parsed(&file, environment, arguments).unwrap().source)
    };
    assert_eq!(port(&[], &[]), 9090);
    std::fs::write(&file, "METRICS_PORT=1001\n").unwrap();
    assert_eq!(port(&[], &[]), 1001);
    assert_eq!(port(&environment, &[]), 2002);
    assert_eq!(port(&environment, &["--metrics-port", "3003"]), 3003);
    // Flags stand before or behind the subcommand.
    assert_eq!(
        port(&environment, &["--metrics-port", "3003", "migrate"]),
        3003
    );
    assert_eq!(
        port(&environment, &["migrate", "--metrics-port", "3003"]),
        3003
    );
}

#[test]
fn an_empty_value_counts_as_unset_in_its_layer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "METRICS_PORT=1001\n").unwrap();
    let source = parsed(&file, &[("METRICS_PORT", "")], &["--metrics-port", " "])
        .unwrap()
        .source;
    assert_eq!(metrics_port(&source), 1001);
}

#[test]
fn an_alias_in_the_environment_beats_the_name_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "ENVIRONMENT=development\n").unwrap();
    let source = parsed(&file, &[("NODE_ENV", "production")], &[])
        .unwrap()
        .source;
    assert_eq!(
        ProcessConfig::read(&source).unwrap().environment.as_str(),
        "production"
    );
}

#[test]
fn the_caches_own_address_in_any_layer_beats_the_one_for_everything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "CACHE_REDIS_URL=redis://file:1\n").unwrap();
    let address = |environment: &[(&str, &str)], arguments: &[&str]| {
        let source = parsed(&file, environment, arguments).unwrap().source;
        match CacheConfig::read(&source).unwrap().backend {
            CacheBackend::Redis(redis) => match redis.topology {
                RedisTopology::Standalone { url } => url.expose_secret().to_owned(),
                other => panic!("not one server: {other:?}"),
            },
            other => panic!("not Redis: {other:?}"),
        }
    };
    let all = ("REDIS_URL", "redis://all:1");
    let oci = ("OCI_CACHE_ENDPOINT", "oci:1");
    let own = ("CACHE_REDIS_URL", "redis://own:1");
    let flag = ["--oci-cache-endpoint", "flag:1"];
    assert_eq!(address(&[all], &[]), "redis://file:1");
    assert_eq!(address(&[all, oci], &[]), "redis://oci:1");
    assert_eq!(address(&[all, oci, own], &[]), "redis://own:1");
    assert_eq!(address(&[all, oci, own], &flag), "redis://flag:1");
}

#[test]
fn a_malformed_file_is_an_error_that_names_the_line_and_hides_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(
        &file,
        "# a comment\nPORT=3000\n\nJWT_SECRET=two secret words\n",
    )
    .unwrap();
    let error = parsed(&file, &[], &[]).err().unwrap().to_string();
    assert!(error.contains(".env line 4:"), "{error}");
    assert!(!error.contains("secret words"), "{error}");
    assert_eq!(error.lines().count(), 1);

    std::fs::write(&file, "PORT=3000\nHOST=\"never closed\nMETRICS_PORT=1\n").unwrap();
    let error = parsed(&file, &[], &[]).err().unwrap().to_string();
    assert!(error.contains(".env line 2:"), "{error}");
}

#[test]
fn an_unreadable_file_is_an_error_and_a_missing_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    assert!(parsed(&folder.path().join("missing"), &[], &[]).is_ok());
    // A folder can be opened, but not read.
    let error = parsed(folder.path(), &[], &[]).err().unwrap();
    assert!(
        matches!(error, ConfigError::DotEnvUnreadable { .. }),
        "{error}"
    );
}

#[test]
fn an_unknown_flag_is_one_line() {
    let error = parsed(Path::new("missing"), &[], &["--colour", "blue"])
        .err()
        .unwrap();
    assert!(matches!(error, ConfigError::Usage(_)));
    let text = error.to_string();
    assert!(
        text.contains("--colour") && text.lines().count() == 1,
        "{text}"
    );
    assert_eq!(ConfigError::EXIT_CODE, 64);
}

#[test]
fn a_foreign_variable_that_is_no_unicode_does_not_disturb() {
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(vec![0xff, 0xfe]);
    let inputs = |name: &str| Inputs {
        arguments: vec![OsString::from("bharatmart-api")],
        environment: vec![(OsString::from(name), broken.clone())],
        dot_env: "missing".into(),
    };
    let source = parse_inputs(program(), Process::Api, &inputs("LESSOPEN"))
        .unwrap()
        .source;
    assert_eq!(metrics_port(&source), 9090);
    let source = parse_inputs(program(), Process::Api, &inputs("METRICS_PORT"))
        .unwrap()
        .source;
    assert!(ProcessConfig::read_metrics_port(&source).is_err());
}

#[test]
fn the_subcommand_stays_visible_to_the_program() {
    let matches = parsed(Path::new("missing"), &[], &["--port", "1", "migrate"])
        .unwrap()
        .matches;
    assert_eq!(matches.subcommand_name(), Some("migrate"));
}

#[test]
fn help_lists_every_variable_with_its_default_and_no_secret() {
    for process in [Process::Api, Process::Worker] {
        let help = bharatmart_config::with_flags(program(), process)
            .render_help()
            .to_string();
        for variable in process.tables().iter().flat_map(|table| table.variables) {
            assert!(
                help.contains(&format!("--{} ", variable.flag())),
                "{} has no flag",
                variable.name
            );
            assert!(
                help.contains(&format!("[env: {}", variable.name)),
                "{} is not named",
                variable.name
            );
            let default = format!("[default: {}]", variable.default_in_words());
            assert!(help.contains(&default), "{} lacks {default}", variable.name);
        }
        assert!(
            !help.contains("bharatmart-admin]"),
            "the administrator's password is shown"
        );
    }
}

#[test]
fn help_tells_how_the_caches_type_follows_from_its_servers() {
    for process in [Process::Api, Process::Worker] {
        let help = bharatmart_config::with_flags(program(), process)
            .render_help()
            .to_string();
        let cache_type = help
            .lines()
            .skip_while(|line| !line.contains("--cache-type "))
            .nth(1)
            .unwrap();
        assert!(
            cache_type.ends_with(
                "[expected: redis, redis-cluster, redis-sentinel, memory or none] [env: CACHE_TYPE] \
                 [default: redis-sentinel if CACHE_REDIS_SENTINELS is set, else redis-cluster if \
                 CACHE_REDIS_CLUSTER_NODES is set, else redis if CACHE_REDIS_URL is set, else none]"
            ),
            "{cache_type}"
        );
        assert!(help.contains("[env: CACHE_REDIS_URL, OCI_CACHE_ENDPOINT]"));
    }
}

#[test]
fn settings_given_by_flags_alone_are_enough() {
    let source = parsed(
        Path::new("missing"),
        &[],
        &[
            "--database-url",
            "postgres://localhost/shop",
            "--redis-url",
            "redis://localhost",
            "serve",
        ],
    )
    .unwrap()
    .source;
    assert_eq!(ApiConfig::read(&source).unwrap().http.port, 3000);
}
