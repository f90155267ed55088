//! `bharatmart-worker dlq`: the dead letters, for people at a terminal. It talks on the standard output.
//!
//! A dead letter is a job that has failed for good, or a row of the outbox that its queue never took. The rows are
//! seen only when `DATABASE_URL` is set.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use bharatmart_config::{
    ConfigError, DatabaseConfig, Process, QueueConfig, Source, WorkerMode, parse_duration,
};
use bharatmart_queue::{JobRef, QueueName};
use bharatmart_telemetry::chain;
use clap::{Arg, ArgAction, ArgMatches};
use serde::Serialize;

use crate::error::StartError;

mod letters;
mod table;

use letters::{Change, Letters, shown};
use table::{one_line, table};

/// How many are shown when nobody says.
const DEFAULT_LIMIT: u32 = 50;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is to be done with the dead letters of which queues.
#[derive(Debug)]
pub struct Dlq {
    /// `None` where the API does the jobs itself: then all dead letters are in the outbox.
    queue: Option<QueueConfig>,
    database: Option<DatabaseConfig>,
    /// `None` is all of them.
    of: Option<QueueName>,
    json: bool,
    action: Action,
}

#[derive(Debug)]
enum Action {
    List { limit: u32 },
    Show(Vec<JobRef>),
    Replay(Chosen),
    Purge(Chosen),
}

/// Which dead letters.
#[derive(Debug)]
enum Chosen {
    These(Vec<JobRef>),
    /// Those that failed first, first.
    Oldest {
        older_than: Option<Duration>,
        limit: u32,
    },
}

/// The subcommand with its own.
pub(crate) fn definition() -> clap::Command {
    let command = |name: &'static str, about: &'static str| {
        clap::Command::new(name)
            .about(about)
            .arg(
                Arg::new("queue")
                    .long("queue")
                    .value_name("QUEUE")
                    .help("orders, emails or payments; all of them when it is not given"),
            )
            .arg(
                Arg::new("json")
                    .long("json")
                    .action(ArgAction::SetTrue)
                    .help("Print JSON instead of text"),
            )
    };
    let ids = Arg::new("id")
        .value_name("ID")
        .num_args(1..)
        .help("Ids as `dlq list` shows them");
    let limit = Arg::new("limit")
        .long("limit")
        .value_name("NUMBER")
        .help("At most so many");
    let chosen = |name, about| {
        command(name, about)
            .arg(ids.clone())
            .arg(limit.clone())
            .arg(
                Arg::new("all")
                    .long("all")
                    .action(ArgAction::SetTrue)
                    .help("All of them instead of single ones"),
            )
            .arg(
                Arg::new("older-than")
                    .long("older-than")
                    .value_name("AGE")
                    .help("All that failed longer ago than this, such as 12h or 7d"),
            )
    };
    clap::Command::new("dlq")
        .about("Show, replay or remove jobs that have failed for good")
        .subcommand_required(true)
        .subcommand(
            command(
                "list",
                "Show them in a table, the newest first, 50 unless told otherwise",
            )
            .arg(limit.clone()),
        )
        .subcommand(command("show", "Show everything that is known of some").arg(ids.clone()))
        .subcommand(chosen(
            "replay",
            "Put them back into their queues, with all of their attempts before them",
        ))
        .subcommand(chosen("purge", "Remove them for good"))
}

impl Dlq {
    /// Reads the arguments, and of the settings those of the queue and, when there are any, of the database.
    pub(crate) fn read(
        source: &Source,
        arguments: &ArgMatches,
    ) -> std::result::Result<Self, ConfigError> {
        let Some((name, arguments)) = arguments.subcommand() else {
            return Err(ConfigError::Usage(
                "dlq needs a subcommand (see --help)".to_owned(),
            ));
        };
        let action = match name {
            "list" => Action::List {
                limit: limit(arguments)?.unwrap_or(DEFAULT_LIMIT),
            },
            "show" => match ids(arguments) {
                ids if ids.is_empty() => {
                    return Err(ConfigError::Usage("dlq show needs an id".to_owned()));
                }
                ids => Action::Show(ids),
            },
            "replay" => Action::Replay(Chosen::read(name, arguments)?),
            _ => Action::Purge(Chosen::read(name, arguments)?),
        };
        let of = text(arguments, "queue")
            .map(str::parse)
            .transpose()
            .map_err(|error| ConfigError::Usage(format!("--queue: {error}")))?;
        let queue = match WorkerMode::read(source)? {
            WorkerMode::BullQueue => Some(QueueConfig::read(source)?),
            WorkerMode::InProcess => None,
        };
        Ok(Self {
            queue,
            database: DatabaseConfig::read_if_set(source, Process::Worker)?,
            of,
            json: arguments.get_flag("json"),
            action,
        })
    }

    /// Does it; a failure is a line on the standard error.
    pub async fn run(self) -> ExitCode {
        match self.act().await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{}", chain(error.as_ref()));
                match error.downcast_ref::<StartError>() {
                    Some(error) if error.is_a_setting() => ExitCode::from(ConfigError::EXIT_CODE),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    }

    /// Whether all went well.
    async fn act(self) -> Result<bool> {
        let letters = Letters::open(&self).await?;
        match self.action {
            Action::List { limit } => list(&letters, limit, self.json).await,
            Action::Show(ids) => show(&letters, &ids).await,
            Action::Replay(chosen) => {
                let done = letters.each(chosen, Change::Replay).await?;
                done.print("replayed", self.json)
            }
            Action::Purge(chosen) => {
                let done = letters.each(chosen, Change::Purge).await?;
                done.print("purged", self.json)
            }
        }
    }
}

impl Chosen {
    fn read(name: &str, arguments: &ArgMatches) -> std::result::Result<Self, ConfigError> {
        let ids = ids(arguments);
        let older_than = text(arguments, "older-than")
            .map(|text| {
                parse_duration(text).ok_or_else(|| {
                    ConfigError::Usage(format!(
                        "--older-than is {text}; expected: a duration above 0 with its unit, such as 12h or 7d"
                    ))
                })
            })
            .transpose()?;
        let limit = limit(arguments)?;
        let many = older_than.is_some() || arguments.get_flag("all");
        match (ids.is_empty(), many) {
            (true, true) => Ok(Self::Oldest {
                older_than,
                limit: limit.unwrap_or(u32::MAX),
            }),
            (false, false) if limit.is_none() => Ok(Self::These(ids)),
            _ => Err(ConfigError::Usage(format!(
                "dlq {name} needs either ids, or --all or --older-than, which may have a --limit"
            ))),
        }
    }
}

fn text<'a>(arguments: &'a ArgMatches, name: &str) -> Option<&'a str> {
    arguments.get_one::<String>(name).map(String::as_str)
}

fn ids(arguments: &ArgMatches) -> Vec<JobRef> {
    let ids = arguments.get_many::<String>("id").unwrap_or_default();
    ids.map(|id| JobRef::from(id.as_str())).collect()
}

fn limit(arguments: &ArgMatches) -> std::result::Result<Option<u32>, ConfigError> {
    text(arguments, "limit")
        .map(|text| match text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(ConfigError::Usage(format!(
                "--limit is {text}; expected: a whole number above 0"
            ))),
        })
        .transpose()
}

/// What was done, and what was not.
#[derive(Debug, Default, Serialize)]
struct Done {
    done: Vec<Entry>,
    failed: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    queue: String,
}

#[derive(Debug, Serialize)]
struct Refusal {
    id: String,
    error: String,
}

impl Done {
    fn note(&mut self, id: String, queue: Result<String>) {
        match queue {
            Ok(queue) => self.done.push(Entry { id, queue }),
            Err(error) => self.failed.push(Refusal {
                id,
                error: chain(error.as_ref()),
            }),
        }
    }

    /// Whether nothing failed.
    fn print(&self, verb: &str, json: bool) -> Result<bool> {
        if json {
            print(&serde_json::to_string_pretty(self)?)?;
        } else {
            let mut lines = String::new();
            for Entry { id, queue } in &self.done {
                writeln!(lines, "{verb} {} ({queue})", one_line(id))?;
            }
            write!(lines, "{} {verb}", self.done.len())?;
            print(&lines)?;
            for Refusal { id, error } in &self.failed {
                eprintln!("{}: {error}", one_line(id));
            }
        }
        Ok(self.failed.is_empty())
    }
}

async fn list(letters: &Letters, limit: u32, json: bool) -> Result<bool> {
    let (found, total) = letters.newest(limit).await?;
    if json {
        print(&serde_json::to_string_pretty(&found)?)?;
    } else {
        print(&table(&found))?;
        eprintln!("{} of {total}", found.len());
    }
    if letters.database.is_none() {
        eprintln!("rows that a queue refused are not shown: DATABASE_URL is not set");
    }
    Ok(true)
}

async fn show(letters: &Letters, ids: &[JobRef]) -> Result<bool> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match letters.find(id).await {
            Ok(letter) => found.push(letter),
            Err(error) => eprintln!("{}: {}", one_line(&shown(id)), chain(error.as_ref())),
        }
    }
    print(&serde_json::to_string_pretty(&found)?)?;
    Ok(found.len() == ids.len())
}

fn print(text: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}
