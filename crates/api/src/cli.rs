//! The command line.

use bharatmart_config::{
    AdminConfig, ApiConfig, ConfigError, DatabaseConfig, GatewayProcessConfig, Parsed, Process,
    ProcessConfig, Source,
};
use clap::{Arg, ArgAction, ArgMatches};

use crate::{
    fields::{Email, Password},
    tasks::Task,
};

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Serve until told to stop.
    Serve {
        /// How.
        config: Box<ApiConfig>,
        /// Whether to run the migrations that are missing first.
        migrate: bool,
    },
    /// Be the payment gateway of a shop that is tried out, until told to stop.
    Gateway(Box<GatewayProcessConfig>),
    /// Do one thing and end.
    Task(Task),
}

/// The subcommands; `bharatmart-config` adds a flag for every variable.
#[must_use]
pub fn definition() -> clap::Command {
    let option = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(name.to_ascii_uppercase())
            .help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    clap::Command::new("bharatmart-api")
        .version(crate::serve::VERSION)
        .about("The HTTP API of the BharatMart shop")
        .subcommand(
            clap::Command::new("serve")
                .about("Serve until told to stop (the default)")
                .arg(switch(
                    "migrate",
                    "Run the migrations that are missing first; of several processes that start at \
                     once, one runs them and the others wait",
                )),
        )
        .subcommand(
            clap::Command::new("migrate")
                .about(
                    "Run the migrations that are missing; with --status only show them: exit 0 \
                     when the schema is current, 3 when it is not",
                )
                .arg(switch(
                    "status",
                    "Show each migration and when it was applied, and run none: exit 0 when the \
                     schema is current, 3 when a migration is pending or has failed",
                )),
        )
        .subcommand(clap::Command::new("seed").about(
            "Fill the shop: products, the administrator of ADMIN_EMAIL and ADMIN_PASSWORD, and in \
             development two customers; leaves alone what is there already",
        ))
        .subcommand(
            clap::Command::new("create-admin")
                .about("Add an administrator")
                .arg(option(
                    "email",
                    "The sign-in; ADMIN_EMAIL when it is not given",
                ))
                .arg(option(
                    "password",
                    "ADMIN_PASSWORD when it is not given, which others cannot see",
                )),
        )
        .subcommand(clap::Command::new("openapi").about("Print the OpenAPI document of the API"))
        .subcommand(clap::Command::new("gateway").about(
            "Serve the sandbox as a payment gateway of its own, for shops with \
             PAYMENT_PROVIDER=http; no money moves",
        ))
        .subcommand(
            clap::Command::new("healthcheck").about("Exit 0 when the API on METRICS_PORT lives"),
        )
}

impl Command {
    /// Reads what the subcommand needs, and no more.
    pub fn read(parsed: &Parsed) -> Result<Self, ConfigError> {
        let source = &parsed.source;
        Ok(match parsed.matches.subcommand() {
            Some(("migrate", arguments)) => {
                let database = DatabaseConfig::read(source, Process::Api)?;
                Self::Task(if arguments.get_flag("status") {
                    Task::MigrationStatus(database)
                } else {
                    Task::Migrate(database)
                })
            }
            Some(("seed", _)) => Self::Task(Task::Seed {
                database: DatabaseConfig::read(source, Process::Api)?,
                admin: AdminConfig::read(source)?,
                environment: ProcessConfig::read(source)?.environment,
            }),
            Some(("create-admin", arguments)) => Self::Task(Task::CreateAdmin {
                database: DatabaseConfig::read(source, Process::Api)?,
                admin: admin(source, arguments)?,
            }),
            Some(("openapi", _)) => Self::Task(Task::OpenApi),
            Some(("gateway", _)) => Self::Gateway(Box::new(GatewayProcessConfig::read(source)?)),
            Some(("healthcheck", _)) => {
                Self::Task(Task::Healthcheck(ProcessConfig::read_metrics_port(source)?))
            }
            other => Self::Serve {
                config: Box::new(ApiConfig::read(source)?),
                migrate: other.is_some_and(|(_, arguments)| arguments.get_flag("migrate")),
            },
        })
    }
}

/// The administrator of the arguments, completed from the settings.
fn admin(source: &Source, arguments: &ArgMatches) -> Result<AdminConfig, ConfigError> {
    let email = argument::<Email>(arguments, "email")?.map(|email| email.as_str().to_owned());
    let password = argument::<Password<8>>(arguments, "password")?.map(|password| password.0);
    match (email, password) {
        (Some(email), Some(password)) => Ok(AdminConfig { email, password }),
        (email, password) => {
            let settings = AdminConfig::read(source)?;
            Ok(AdminConfig {
                email: email.unwrap_or(settings.email),
                password: password.unwrap_or(settings.password),
            })
        }
    }
}

fn argument<T: std::str::FromStr<Err = String>>(
    arguments: &ArgMatches,
    name: &str,
) -> Result<Option<T>, ConfigError> {
    arguments
        .get_one::<String>(name)
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| ConfigError::Usage(format!("--{name} {error}")))
}
