//! The subcommands that do one thing and end. They talk on the standard output.

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use bharatmart_commerce::{Accounts, WeakPassword, check_password};
use bharatmart_config::{AdminConfig, ConfigError, DatabaseConfig, Environment};
use bharatmart_database::{
    self as database, Database, Freshness, MigrateError, MigrationState, MigrationStatus, users,
};
use bharatmart_domain::{Role, SystemClock};
use bharatmart_lifecycle::healthcheck;
use bharatmart_queue::RelayHandle;
use bharatmart_telemetry::chain;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    background::{self, UnusableUrl},
    openapi, seed,
};

/// The exit code of `migrate --status` when migrations are to be run; 1 says that nobody knows.
const NOT_CURRENT: u8 = 3;

/// One of those subcommands, with what it needs.
#[derive(Debug)]
pub enum Task {
    /// Run the migrations that are missing.
    Migrate(DatabaseConfig),
    /// Show what became of each migration.
    MigrationStatus(DatabaseConfig),
    /// Fill the shop.
    Seed {
        /// Where.
        database: DatabaseConfig,
        /// Who runs it.
        admin: AdminConfig,
        /// Customers with known passwords are for development only.
        environment: Environment,
    },
    /// Add an administrator.
    CreateAdmin {
        /// Where.
        database: DatabaseConfig,
        /// Whom.
        admin: AdminConfig,
    },
    /// Print the OpenAPI document.
    OpenApi,
    /// Ask a running process whether it lives.
    Healthcheck(u16),
}

impl Task {
    /// Does it; a failure is one line on the standard error.
    pub async fn run(self) -> ExitCode {
        let result = match self {
            Self::Migrate(database) => migrate(&database).await,
            Self::MigrationStatus(database) => match show_migrations(&database).await {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::from(NOT_CURRENT),
                Err(error) => Err(error),
            },
            Self::Seed {
                database,
                admin,
                environment,
            } => seed::seed(&database, &admin, environment).await,
            Self::CreateAdmin { database, admin } => create_admin(&database, &admin).await,
            Self::OpenApi => print_document(),
            Self::Healthcheck(port) => return healthcheck(port).await,
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}", chain(error.as_ref()));
                let is_a_setting = error.is::<UnusableUrl>()
                    || error.is::<WeakAdminPassword>()
                    || error
                        .downcast_ref::<MigrateError>()
                        .is_some_and(MigrateError::is_a_setting);
                if is_a_setting {
                    ExitCode::from(ConfigError::EXIT_CODE)
                } else {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

pub(crate) type TaskResult = Result<(), Box<dyn Error>>;

fn print_document() -> Result<(), Box<dyn Error>> {
    let document = serde_json::to_string_pretty(&openapi::document())?;
    println!("{document}");
    Ok(())
}

/// The password that the settings give the administrator may not be chosen.
#[derive(Debug, thiserror::Error)]
#[error("ADMIN_PASSWORD {0}")]
pub(crate) struct WeakAdminPassword(WeakPassword);

/// An administrator's password is to be as good as a customer's.
pub(crate) fn check_admin(admin: &AdminConfig) -> Result<(), WeakAdminPassword> {
    check_password(&admin.password, &admin.email, seed::ADMIN_NAME).map_err(WeakAdminPassword)
}

async fn migrate(config: &DatabaseConfig) -> TaskResult {
    let run = database::migrate(config, |progress| println!("{progress}")).await?;
    if run == 0 {
        println!("the schema is current; nothing to migrate");
    }
    Ok(())
}

/// Prints a table of the migrations; whether the schema is current.
async fn show_migrations(config: &DatabaseConfig) -> Result<bool, Box<dyn Error>> {
    let all = database::migration_status(config).await?;
    let width = all
        .iter()
        .map(|status| status.migration.name.chars().count())
        .max()
        .unwrap_or_default();
    let mut current = true;
    for MigrationStatus { migration, state } in all {
        let at = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let state = match state {
            MigrationState::Applied(time) => format!("applied {}", at(time)),
            MigrationState::Unknown(time) => {
                format!("applied {}, unknown to this build", at(time))
            }
            MigrationState::Pending => {
                current = false;
                "pending".to_owned()
            }
            MigrationState::Failed(time) => {
                current = false;
                format!("failed {}", at(time))
            }
        };
        println!("{}  {:width$}  {state}", migration.version, migration.name);
    }
    Ok(current)
}

/// Connects for one task and makes sure of the schema.
pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Database, Box<dyn Error>> {
    let database = background::connect(config, "bharatmart-admin")?;
    database.check_schema().await?;
    Ok(database)
}

/// For hashing only: these tasks sign nobody in.
pub(crate) fn accounts(database: &Database) -> Accounts {
    let (clock, relay) = (Arc::new(SystemClock), RelayHandle::detached());
    Accounts::new(database.clone(), clock, relay, Duration::ZERO)
}

async fn create_admin(config: &DatabaseConfig, admin: &AdminConfig) -> TaskResult {
    check_admin(admin)?;
    let database = connect(config).await?;
    let email = admin.email.to_ascii_lowercase();
    let mut connection = database.read(Freshness::Latest).await?;
    let known = users::credentials(&mut connection, &email).await?;
    if let Some(known) = known {
        let user = users::find(&mut connection, known.id).await?;
        return match user {
            Some(user) if user.role == Role::Admin && user.is_active => {
                println!("{email} is an administrator already; nothing was changed.");
                Ok(())
            }
            _ => Err(format!(
                "{email} has an account that is no active administrator's; nothing was changed"
            )
            .into()),
        };
    }
    accounts(&database)
        .create_user(&email, &admin.password, seed::ADMIN_NAME, Role::Admin)
        .await?;
    println!("{email} is now an administrator.");
    Ok(())
}
