use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to leave a condition alone before it is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// What a condition may answer when it is asked whether the waiting is over.
pub trait Condition {
    /// What was waited for.
    type Found;

    /// `None` as long as it is not there.
    ///
    /// # Errors
    /// When it will never be there.
    fn found(self) -> Result<Option<Self::Found>>;
}

impl<T> Condition for Option<T> {
    type Found = T;

    fn found(self) -> Result<Option<T>> {
        Ok(self)
    }
}

impl Condition for Result<bool> {
    type Found = ();

    fn found(self) -> Result<Option<()>> {
        Ok(self?.then_some(()))
    }
}

/// Asks `check` again and again, until it answers `Some(found)` or `Ok(true)`.
///
/// # Errors
/// The first error of `check`, or one that names `what` when `limit` has passed.
pub async fn wait_until<C: Condition>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> C,
) -> Result<C::Found> {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await.found()? {
            return Ok(found);
        }
        if start.elapsed() >= limit {
            bail!("{what}: not within {:.1} s", limit.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
