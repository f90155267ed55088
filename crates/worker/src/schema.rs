//! No job is taken before the database has shown the schema of this build.

use std::time::Duration;

use bharatmart_database::{Database, SchemaError};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// How often a database that is away or behind is asked again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks until the schema is current and says so in `current`; an error that waiting does not cure ends it.
pub(crate) async fn wait_for(
    database: Database,
    current: watch::Sender<bool>,
    stop: CancellationToken,
) -> Result<(), SchemaError> {
    let arrival = async {
        let mut reported = None;
        loop {
            match database.check_schema().await {
                Ok(()) => {
                    tracing::info!("the database is there and its schema is current");
                    current.send_replace(true);
                    return Ok(());
                }
                Err(error @ SchemaError::Pending(pending)) => {
                    if reported.replace(pending) != Some(pending) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "no job is taken while migrations are pending"
                        );
                    }
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            sleep(INTERVAL).await;
        }
    };
    stop.run_until_cancelled(arrival).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bharatmart_config::{DatabaseConfig, Process, Source};
    use bharatmart_test_support::TestDatabase;
    use sqlx::PgPool;

    use super::*;

    async fn set_last_migration(pool: &PgPool, success: bool) {
        let done = sqlx::query(
            "UPDATE _sqlx_migrations SET success = $1
             WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
        )
        .bind(success)
        .execute(pool)
        .await;
        assert_eq!(done.unwrap().rows_affected(), 1);
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_last_migration_is_there() {
        let test = TestDatabase::create().await;
        let pool = test.pool().await;
        set_last_migration(&pool, false).await;
        let source = Source::from_map(BTreeMap::from([("DATABASE_URL", test.url())]));
        let config = DatabaseConfig::read(&source, Process::Worker).unwrap();
        let database = Database::connect(&config, "schema-test").unwrap();
        let seen = database.check_schema().await;
        assert!(matches!(seen, Err(SchemaError::Pending(1))), "{seen:?}");

        let (sender, mut current) = watch::channel(false);
        let waiting = tokio::spawn(wait_for(database, sender, CancellationToken::new()));
        tokio::time::sleep(INTERVAL / 2).await;
        assert!(!*current.borrow() && !waiting.is_finished());
        set_last_migration(&pool, true).await;
        current.wait_for(|current| *current).await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}
