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
        let fetch = fetch();
        let (list, name) = (Arc::clone(&self.under_way), key.clone());
        let flight = alone(async move {
            // It lands before anybody hears of it, so that whoever asks after that starts anew. Made
            // here: a runtime that ends drops the task at once, under the lock that is held now.
            let _landing = Landing {
                under_way: list,
                key: name,
            };
            fetch.await
        });
        under_way.insert(key, flight.clone());
        (flight, false)
    }
}

/// Starts a fetch in a task of its own that nobody else can join.
pub(crate) fn alone<T, F>(fetch: F) -> Flight<T>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let task = tokio::spawn(fetch.in_current_span());
    async move { task.await.ok() }.boxed().shared()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_comes_during_a_flight_joins_it_and_who_comes_later_does_not() {
        let flights = Flights::new();
        let (land, landed) = oneshot::channel();
        let (first, joined) = flights.join("a", || async { landed.await.unwrap_or(0) });
        assert!(!joined);
        let (second, joined) = flights.join("a", || async { unreachable!() });
        assert!(joined);
        let (other, joined) = flights.join("b", || async { 2 });
        assert!(!joined);
        assert_eq!(other.await, Some(2));
        land.send(1).unwrap();
        assert_eq!((first.await, second.await), (Some(1), Some(1)));
        let (third, joined) = flights.join("a", || async { 3 });
        assert!(!joined);
        assert_eq!(third.await, Some(3));
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_a_flight_for_all_who_wait_and_makes_way_for_another() {
        let flights: Flights<&str, ()> = Flights::new();
        let (first, _) = flights.join("a", || async { panic!("on purpose") });
        let (second, joined) = flights.join("a", || async { unreachable!() });
        assert!(joined);
        assert_eq!((first.await, second.await), (None, None));
        let (again, joined) = flights.join("a", || async {});
        assert!(!joined);
        assert_eq!(again.await, Some(()));
    }

    #[tokio::test]
    async fn a_flight_lands_without_anybody_waiting() {
        let flights = Flights::new();
        let (land, landed) = oneshot::channel();
        let flight = flights.join("a", || async {
            land.send(()).unwrap();
        });
        drop(flight);
        landed.await.unwrap();
    }
}
