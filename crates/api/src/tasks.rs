//! The subcommands that do one thing and end. They talk on the standard output.

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use bharatmart_commerce::Accounts;
use bharatmart_config::{AdminConfig, ConfigError, DatabaseConfig, Environment};
use bharatmart_database::{self as database, Database, users};
use bharatmart_domain::{Role, SystemClock};
use bharatmart_lifecycle::healthcheck;
use bharatmart_telemetry::chain;

use crate::{
    background::{self, UnusableUrl},
    seed,
};

/// One of those subcommands, with what it needs.
#[derive(Debug)]
pub enum Task {
    /// Run the migrations that are missing.
    Migrate(DatabaseConfig),
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
    /// Ask a running process whether it lives.
    Healthcheck(u16),
}

impl Task {
    /// Does it; a failure is one line on the standard error.
    pub async fn run(self) -> ExitCode {
        let result = match self {
            Self::Migrate(database) => migrate(&database).await,
            Self::Seed {
                database,
                admin,
                environment,
            } => seed::seed(&database, &admin, environment).await,
            Self::CreateAdmin { database, admin } => create_admin(&database, &admin).await,
            Self::Healthcheck(port) => return healthcheck(port).await,
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}", chain(error.as_ref()));
                if error.is::<UnusableUrl>() {
                    ExitCode::from(ConfigError::EXIT_CODE)
                } else {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

pub(crate) type TaskResult = Result<(), Box<dyn Error>>;

async fn migrate(config: &DatabaseConfig) -> TaskResult {
    match database::migrate(config).await? {
        0 => println!("The schema is current; nothing to migrate."),
        1 => println!("Ran 1 migration."),
        run => println!("Ran {run} migrations."),
    }
    Ok(())
}

/// Connects for one task and makes sure of the schema.
pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Database, Box<dyn Error>> {
    let database = background::connect(config, "bharatmart-admin")?;
    database.check_schema().await?;
    Ok(database)
}

/// For hashing only: these tasks sign nobody in.
pub(crate) fn accounts(database: &Database) -> Accounts {
    Accounts::new(database.clone(), Arc::new(SystemClock), Duration::ZERO)
}

async fn create_admin(config: &DatabaseConfig, admin: &AdminConfig) -> TaskResult {
    let database = connect(config).await?;
    let email = admin.email.to_lowercase();
    let known = users::credentials(&mut *database.read().await?, &email).await?;
    if let Some(known) = known {
        let user = users::find(&mut *database.read().await?, known.id).await?;
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
