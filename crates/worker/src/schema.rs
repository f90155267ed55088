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
                Err(error @ (SchemaError::Pending(_) | SchemaError::Failed(_))) => {
                    let reason = error.to_string();
                    if reported.as_ref() != Some(&reason) {
                        tracing::error!("no job is taken: {reason}");
                        reported = Some(reason);
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

    /// Gives the last migration another version: this build's is then not there.
    async fn move_last_migration(pool: &PgPool, by: i64) {
        let done = sqlx::query(
            "UPDATE _sqlx_migrations SET version = version + $1
             WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
        )
        .bind(by)
        .execute(pool)
        .await;
        assert_eq!(done.unwrap().rows_affected(), 1);
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_last_migration_is_there() {
        let test = TestDatabase::create().await;
        let pool = test.pool().await;
        move_last_migration(&pool, 1).await;
        let source = Source::from_map(BTreeMap::from([("DATABASE_URL", test.url())]));
        let config = DatabaseConfig::read(&source, Process::Worker).unwrap();
        let database = Database::connect(&config, "schema-test").unwrap();
        let seen = database.check_schema().await;
        let Err(SchemaError::Pending(pending)) = seen else {
            panic!("{seen:?}");
        };
        assert_eq!(pending.len(), 1, "{pending:?}");

        let (sender, mut current) = watch::channel(false);
        let waiting = tokio::spawn(wait_for(database, sender, CancellationToken::new()));
        tokio::time::sleep(INTERVAL / 2).await;
        assert!(!*current.borrow() && !waiting.is_finished());
        move_last_migration(&pool, -1).await;
        current.wait_for(|current| *current).await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}
