//! The command line: one flag for every variable, and the layers in their order.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use crate::Process;
use crate::error::ConfigError;
use crate::source::{Source, every_variable, names_of};
use crate::variable::{Variable, kebab};

/// The command line and the merged settings.
pub struct Parsed {
    /// What clap found, subcommands included.
    pub matches: ArgMatches,
    /// The settings, all layers merged.
    pub source: Source,
}

/// Where the layers come from.
pub struct Inputs {
    /// The command line, with the program's name first.
    pub arguments: Vec<OsString>,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The `.env` file; a file that does not exist is an empty one.
    pub dot_env: PathBuf,
}

/// Adds the flags of `process` to `command`, which brings its own subcommands, then reads the command line, the
/// environment and `.env` in the working directory. Prints and exits for `--help` and `--version`.
pub fn parse(command: Command, process: Process) -> Result<Parsed, ConfigError> {
    let inputs = Inputs {
        arguments: std::env::args_os().collect(),
        environment: std::env::vars_os().collect(),
        dot_env: PathBuf::from(".env"),
    };
    parse_inputs(command, process, &inputs)
}

/// [`parse`], with the layers given by the caller.
pub fn parse_inputs(
    command: Command,
    process: Process,
    inputs: &Inputs,
) -> Result<Parsed, ConfigError> {
    let matches = match with_flags(command, process).try_get_matches_from(&inputs.arguments) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion => error.exit(),
            _ => return Err(usage(&error)),
        },
    };
    let mut source = Source::default();
    source.lay_over(read_dot_env(&inputs.dot_env)?);
    source.lay_over(known_to_us(&inputs.environment));
    source.lay_over(flags(&matches, process));
    Ok(Parsed { matches, source })
}

/// Adds a flag for every variable of `process` to a command, with its help text and default.
#[must_use]
pub fn with_flags(command: Command, process: Process) -> Command {
    process
        .tables()
        .iter()
        .flat_map(|table| {
            table
                .variables
                .iter()
                .map(move |variable| (table.title, variable))
        })
        .fold(
            command.next_line_help(true),
            |command, (title, variable)| {
                command.arg(
                    Arg::new(variable.name)
                        .long(variable.flag())
                        .aliases(variable.aliases.iter().map(|alias| kebab(alias)))
                        .value_name(variable.name)
                        .help(help(variable))
                        .help_heading(title)
                        .global(true),
                )
            },
        )
}

fn help(variable: &Variable) -> String {
    let names: Vec<_> = names_of(variable).collect();
    let secret = if variable.secret {
        " [secret: prefer the environment to the flag]"
    } else {
        ""
    };
    format!(
        "{} [expected: {}] [env: {}] [default: {}]{secret}",
        variable.help,
        variable.allowed,
        names.join(", "),
        variable.default_in_words(),
    )
}

/// The first line of clap's message, which names what it did not understand.
fn usage(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    ConfigError::Usage(format!("{line} (see --help)"))
}

/// A value of a variable that is not ours may be no Unicode at all, so the rest of the environment is left alone. One of
/// ours with broken Unicode keeps a replacement character, at which its parser stumbles.
fn known_to_us(environment: &[(OsString, OsString)]) -> Vec<(String, String)> {
    let ours: BTreeSet<&str> = every_variable().flat_map(names_of).collect();
    environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| ours.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The flags that were given. clap leaves the values of global flags with the deepest subcommand.
fn flags(matches: &ArgMatches, process: Process) -> Vec<(&'static str, String)> {
    let mut deepest = matches;
    while let Some((_, subcommand)) = deepest.subcommand() {
        deepest = subcommand;
    }
    process
        .tables()
        .iter()
        .flat_map(|table| table.variables)
        .filter_map(|variable| {
            Some((
                variable.name,
                deepest.get_one::<String>(variable.name)?.clone(),
            ))
        })
        .collect()
}

fn read_dot_env(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ConfigError::DotEnvUnreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    // Some editors begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    dot_env_pairs(text).ok_or_else(|| {
        // dotenvy does not tell where it stumbled: right behind the longest beginning that it can read.
        let lines: Vec<&str> = text.lines().collect();
        let readable = (0..lines.len())
            .rev()
            .find(|end| dot_env_pairs(&lines[..*end].join("\n")).is_some());
        ConfigError::DotEnvMalformed {
            path: path.to_owned(),
            line: readable.unwrap_or_default() + 1,
        }
    })
}

fn dot_env_pairs(text: &str) -> Option<Vec<(String, String)>> {
    dotenvy::from_read_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .ok()
}
