//! A folder with a bare Debian, in which a release is installed as on a new machine, and from which the API serves.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir, free_port,
    install::find_program,
    servers::{Postgres, PostgresOptions, RedisServer},
};
use nix::unistd::geteuid;
use tokio::process::Command;

use crate::{
    bench::program::Program,
    deploy::{readme, sample, tool::all_output},
    paths,
};

const TOOLS: [&str; 4] = ["apt-get", "chroot", "debootstrap", "mknod"];
/// Exit codes of `install.sh`.
const USAGE: i32 = 64;
const DAMAGED: i32 = 65;

/// What came of it; a line that begins with SKIPPED when it cannot be tried on this machine.
pub async fn install(release: &Path, mut progress: impl FnMut(&str)) -> Result<String> {
    if let Some(missing) = missing().await? {
        return Ok(format!(
            "SKIPPED: installing in a bare Debian: needs {missing}"
        ));
    }
    let bare = bare(&mut progress).await?;
    let scratch = ScratchDir::create()?;
    let root = scratch.path().join("debian");
    all_output(Command::new("cp").arg("--archive").arg(&bare).arg(&root)).await?;
    fs::rename(release, root.join("release")).context("cannot move the release")?;

    refuses(&root, &["--prefix", "/usr"], USAGE).await?;
    damage(&root).await?;
    all_output(in_root(&root, "root").arg("/release/install.sh")).await?;
    upgrade(&root).await?;
    let users = fs::read_to_string(root.join("etc/passwd"))?;
    ensure!(users.contains("\nbharatmart:"), "install.sh made no user");
    guide_knows(&root)?;
    serve(&root).await
}

/// What this machine lacks: programs of Debian's, or the rights that some containers' root has not.
async fn missing() -> Result<Option<String>> {
    let lacking: Vec<_> = TOOLS
        .into_iter()
        .filter(|tool| find_program(tool).is_none())
        .collect();
    if !lacking.is_empty() {
        return Ok(Some(lacking.join(", ")));
    }
    if !geteuid().is_root() {
        return Ok(Some("root".to_owned()));
    }
    // What debootstrap does first, for which a container's root may be no root.
    let scratch = ScratchDir::create()?;
    let device = scratch.path().join("null");
    let attempts: [(&str, &[&OsStr]); 2] = [
        (
            "mknod",
            &[device.as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()],
        ),
        ("chroot", &["/".as_ref(), "true".as_ref()]),
    ];
    for (tool, arguments) in attempts {
        let output = Command::new(tool)
            .args(arguments)
            .env("LC_ALL", "C")
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Operation not permitted") {
            return Ok(Some(format!("the right to use {tool}")));
        }
        ensure!(output.status.success(), "{tool} failed: {said}");
    }
    Ok(None)
}

/// A newer release leaves alone what the operator decided, and can be read by nginx whatever root's umask is.
async fn upgrade(root: &Path) -> Result<()> {
    let decided = root.join("opt/bharatmart/frontend/config.json");
    let elsewhere = r#"{"apiUrl":"https://api.shop.example"}"#;
    ensure!(
        root.join("release/frontend/config.json").exists(),
        "the release has no config.json"
    );
    fs::write(&decided, elsewhere)?;
    all_output(in_root(root, "root").args(["sh", "-c", "umask 077; exec /release/install.sh"]))
        .await?;
    let kept = fs::read_to_string(&decided)?;
    ensure!(
        kept.trim_end() == elsewhere,
        "the second installation wrote {kept} into config.json"
    );
    let page = root.join("opt/bharatmart/frontend/index.html");
    let mode = fs::metadata(&page)?.permissions().mode();
    ensure!(
        mode & 0o004 != 0,
        "nginx may not read {}: its mode is {mode:o}",
        page.display()
    );
    Ok(())
}

/// The operator's guide names files that are installed, and units that are there.
fn guide_knows(root: &Path) -> Result<()> {
    let guide = fs::read_to_string(paths::workspace().join("deploy/README.md"))?;
    let commands = readme::commands(&guide);
    let mut checked = 0;
    for command in &commands {
        for word in command.split([' ', '\'', '=', ';']) {
            let path = if word.starts_with("/opt/bharatmart/") {
                root.join(&word[1..])
            } else if word.starts_with("bharatmart-worker@") {
                root.join("etc/systemd/system/bharatmart-worker@.service")
            } else if matches!(word, "bharatmart-api" | "bharatmart-migrate") {
                root.join(format!("etc/systemd/system/{word}.service"))
            } else {
                continue;
            };
            ensure!(
                path.exists(),
                "deploy/README.md: `{command}`: there is no {}",
                path.display()
            );
            checked += 1;
        }
    }
    ensure!(
        checked > 10,
        "deploy/README.md names only {checked} things that are installed"
    );
    Ok(())
}

/// Makes a bare Debian of the version and from the mirror of this machine, unless there is one.
async fn bare(progress: &mut impl FnMut(&str)) -> Result<PathBuf> {
    let folder = paths::target()?.join("bare-debian");
    if folder.join("debootstrap-is-done").exists() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut sources = Command::new("apt-get");
    sources.args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
    ]);
    let sources = all_output(&mut sources).await?;
    let (mirror, release) = sources
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, release)| !release.contains('-'))
        .context("apt knows no mirror")?;
    progress(&format!("debootstrap {release} from {mirror}"));
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", release])
        .arg(&folder)
        .arg(mirror);
    all_output(&mut debootstrap).await?;
    fs::write(folder.join("debootstrap-is-done"), "")?;
    Ok(folder)
}

/// A command in `root`, as a user of there, with nothing of our environment.
fn in_root(root: &Path, user: &str) -> Command {
    let mut command = Command::new("chroot");
    command
        .arg(format!("--userspec={user}"))
        .arg(root)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .kill_on_drop(true);
    command
}

async fn refuses(root: &Path, arguments: &[&str], code: i32) -> Result<()> {
    let result = in_root(root, "root")
        .arg("/release/install.sh")
        .args(arguments)
        .output()
        .await?;
    ensure!(
        result.status.code() == Some(code),
        "install.sh {} ended with {}, not {code}",
        arguments.join(" "),
        result.status
    );
    ensure!(
        !root.join("opt/bharatmart").exists(),
        "it was refused and installed something"
    );
    Ok(())
}

/// A release of which something is not as it was packed is not installed.
async fn damage(root: &Path) -> Result<()> {
    let path = root.join("release/nginx/bharatmart.conf");
    let whole = fs::read(&path)?;
    OpenOptions::new()
        .append(true)
        .open(&path)?
        .write_all(b"#")?;
    refuses(root, &[], DAMAGED).await?;
    fs::write(&path, whole)?;
    Ok(())
}

/// Migrates and serves as the units say, with the sample of settings that install.sh recommends.
async fn serve(root: &Path) -> Result<String> {
    let postgres = Postgres::start(PostgresOptions::default()).await?;
    let mut redis = RedisServer::temporary().await?;
    let database = postgres.create_database("bharatmart").await?;
    let sample = root.join("opt/bharatmart/config/samples/single-vm.env");
    let mut settings = sample::settings(&sample)?;
    settings.extend([
        ("DATABASE_URL".to_owned(), database),
        ("REDIS_URL".to_owned(), redis.url()),
        ("SHUTDOWN_DRAIN_DELAY".to_owned(), "0".to_owned()),
        ("FRONTEND_DIST".to_owned(), String::new()),
    ]);
    let command = |unit: &str| -> Result<Command> {
        let unit = fs::read_to_string(root.join("etc/systemd/system").join(unit))?;
        let words = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let words = words
            .context("the unit starts nothing")?
            .replace("%i", "order");
        let mut command = in_root(root, "bharatmart:bharatmart");
        command
            .args(words.split(' '))
            .envs(settings.iter().cloned());
        Ok(command)
    };
    all_output(command("bharatmart-migrate.service")?.env("METRICS_PORT", free_port().to_string()))
        .await?;
    let quiet = |mut command: Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let api = Program::start(quiet(command("bharatmart-api.service")?)).await?;
    let worker = Program::start(quiet(command("bharatmart-worker@.service")?)).await?;
    let url = format!("http://127.0.0.1:{}/api/products", api.port);
    let answer = reqwest::get(&url).await?;
    ensure!(
        answer.status().is_success(),
        "{url} answered {}",
        answer.status()
    );
    let start_up = api.start_up;
    worker.stop().await?;
    api.stop().await?;
    redis.stop().await?;
    postgres.stop().await?;
    Ok(format!(
        "installed twice; API ready after {} ms, order worker too",
        start_up.as_millis()
    ))
}
