//! What feeds the open streams: one task for all of them, which ends with the last.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bharatmart_database::{
    self as database, Database, Freshness,
    orders::{self, Cursor, HistoryEntry},
};
use bharatmart_telemetry::chain;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::streams::Inner;

/// How many entries a stream gets in one round, and how many it holds for its reader.
pub(super) const BATCH: u16 = 32;
/// Between two rounds: how late an event may be that another process has made.
const INTERVAL: Duration = Duration::from_millis(300);
/// The same at most, while the database fails.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// How long a round may take: a server that is frozen does not say so.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(streams: Arc<Inner>) {
    let polling = AssertUnwindSafe(poll(&streams)).catch_unwind();
    if polling.await.is_err() {
        // The panic's own words are in the log already.
        tracing::error!("the poller of event streams died; its streams are closed");
        streams.give_up();
    }
}

async fn poll(streams: &Inner) {
    let mut rest = INTERVAL;
    let mut due = Instant::now() + rest;
    loop {
        let everybody = tokio::select! {
            () = sleep_until(due) => true,
            () = streams.wanted.notified() => false,
        };
        let Some(cursors) = streams.cursors(everybody) else {
            return;
        };
        let was_failing = rest > INTERVAL;
        if !cursors.is_empty() {
            match look(&streams.database, &cursors).await {
                Ok(newer) => {
                    streams.feed(&newer);
                    rest = INTERVAL;
                    if was_failing {
                        tracing::info!("event streams are fed again");
                    }
                }
                Err(reason) => {
                    rest = (rest * 2).min(LONGEST_REST);
                    if !was_failing {
                        tracing::warn!("event streams wait for the database: {reason}");
                    }
                }
            }
        }
        if everybody || rest > INTERVAL || was_failing {
            due = Instant::now() + rest;
        }
    }
}

/// What came after the cursors, or why that is not known.
async fn look(
    database: &Database,
    cursors: &[Cursor],
) -> Result<HashMap<Cursor, Vec<HistoryEntry>>, String> {
    let read = async {
        let mut connection = database.read(Freshness::Latest).await?;
        orders::history_after(&mut connection, cursors, BATCH).await
    };
    let newer = timeout(PATIENCE, read)
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error: database::Error| chain(&error))?;
    let mut by_cursor: HashMap<_, Vec<_>> = HashMap::new();
    for newer in newer {
        by_cursor.entry(newer.after).or_default().push(newer.entry);
    }
    Ok(by_cursor)
}
