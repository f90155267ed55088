use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to leave a condition alone before it is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `check` again and again until it answers `Some`, and returns what it answered.
///
/// # Errors
/// Names `what` when `limit` has passed first.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return Ok(found);
        }
        if start.elapsed() >= limit {
            bail!("{what}: not within {:.1} s", limit.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
