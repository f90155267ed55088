use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to leave a condition alone before it is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `check` again and again until it says `true`.
///
/// # Errors
/// The first error of `check`, or one that names `what` when `limit` has passed.
pub async fn wait_until(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !check().await? {
        if start.elapsed() >= limit {
            bail!("{what}: not within {:.1} s", limit.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
