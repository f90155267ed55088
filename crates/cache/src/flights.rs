//! Single flight: what many ask for at once is fetched once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tracing::Instrument;

/// A fetch to wait for; its output is `None` when it panicked.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;

/// The fetches that are under way, by what they fetch.
pub(crate) struct Flights<K, T> {
    under_way: Arc<Mutex<HashMap<K, Flight<T>>>>,
}

/// Takes a fetch off the list at its end, be that a panic.
struct Landing<K: Hash + Eq, T> {
    under_way: Arc<Mutex<HashMap<K, Flight<T>>>>,
    key: K,
}

impl<K: Hash + Eq, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.key);
    }
}

/// No code that panics runs under the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, T> Flights<K, T>
where
    K: Hash + Eq + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self {
            under_way: Arc::default(),
        }
    }

    /// Joins the fetch of `key` that is under way, or starts one in a task of its own, which ends
    /// whether or not anybody still waits for it. Also tells whether it was joined.
    pub(crate) fn join<F>(&self, key: K, fetch: impl FnOnce() -> F) -> (Flight<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(&key) {
            return (flight.clone(), true);
        }
        let landing = Landing {
            under_way: Arc::clone(&self.under_way),
            key: key.clone(),
        };
        let fetch = fetch().in_current_span();
        let task = tokio::spawn(async move {
            // It lands before anybody hears of it, so that whoever asks after that starts anew.
            let _landing = landing;
            fetch.await
        });
        let flight = async move { task.await.ok() }.boxed().shared();
        under_way.insert(key, flight.clone());
        (flight, false)
    }
}
