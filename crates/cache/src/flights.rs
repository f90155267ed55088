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
    under_way: Arc<Mutex<HashMap<K, Listed<T>>>>,
}

/// A fetch that others may join.
struct Listed<T> {
    /// What it fetches is at least as fresh as this.
    at_least: u128,
    flight: Flight<T>,
}

/// Takes a fetch off the list at its end, be that a panic, unless a fresher one has taken its place.
struct Landing<K: Hash + Eq, T> {
    under_way: Arc<Mutex<HashMap<K, Listed<T>>>>,
    key: K,
    at_least: u128,
}

impl<K: Hash + Eq, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.under_way);
        if under_way
            .get(&self.key)
            .is_some_and(|listed| listed.at_least == self.at_least)
        {
            under_way.remove(&self.key);
        }
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

    /// Joins the fetch of `key` that is under way, if that is fresh enough, or starts one in a task of its
    /// own, which ends whether or not anybody still waits for it. Also tells whether it was joined.
    pub(crate) fn join<F>(
        &self,
        key: K,
        at_least: u128,
        fetch: impl FnOnce() -> F,
    ) -> (Flight<T>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some(listed) = under_way.get(&key)
            && listed.at_least >= at_least
        {
            return (listed.flight.clone(), true);
        }
        let fetch = fetch();
        let (list, name) = (Arc::clone(&self.under_way), key.clone());
        let flight = alone(async move {
            // It lands before anybody hears of it, so that whoever asks after that starts anew. Made
            // here: a runtime that ends drops the task at once, under the lock that is held now.
            let _landing = Landing {
                under_way: list,
                key: name,
                at_least,
            };
            fetch.await
        });
        let listed = Listed {
            at_least,
            flight: flight.clone(),
        };
        under_way.insert(key, listed);
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
        let (first, joined) = flights.join("a", 0, || async { landed.await.unwrap_or(0) });
        assert!(!joined);
        let (second, joined) = flights.join("a", 0, || async { unreachable!() });
        assert!(joined);
        let (other, joined) = flights.join("b", 0, || async { 2 });
        assert!(!joined);
        assert_eq!(other.await, Some(2));
        land.send(1).unwrap();
        assert_eq!((first.await, second.await), (Some(1), Some(1)));
        let (third, joined) = flights.join("a", 0, || async { 3 });
        assert!(!joined);
        assert_eq!(third.await, Some(3));
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_a_flight_for_all_who_wait_and_makes_way_for_another() {
        let flights: Flights<&str, ()> = Flights::new();
        let (first, _) = flights.join("a", 0, || async { panic!("on purpose") });
        let (second, joined) = flights.join("a", 0, || async { unreachable!() });
        assert!(joined);
        assert_eq!((first.await, second.await), (None, None));
        let (again, joined) = flights.join("a", 0, || async {});
        assert!(!joined);
        assert_eq!(again.await, Some(()));
    }

    #[tokio::test]
    async fn who_needs_something_fresher_does_not_join() {
        let flights = Flights::new();
        let (land, landed) = oneshot::channel();
        let (old, _) = flights.join("a", 3, || async { landed.await.unwrap_or(0) });
        let (land_fresh, fresh_landed) = oneshot::channel();
        let (fresh, joined) = flights.join("a", 4, || async { fresh_landed.await.unwrap_or(0) });
        assert!(!joined);
        land.send(3).unwrap();
        assert_eq!(old.await, Some(3));
        let (other, joined) = flights.join("a", 0, || async { unreachable!() });
        assert!(
            joined,
            "the old one has not taken the fresh one off the list"
        );
        land_fresh.send(4).unwrap();
        assert_eq!((fresh.await, other.await), (Some(4), Some(4)));
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn a_flight_lands_without_anybody_waiting() {
        let flights = Flights::new();
        let (land, landed) = oneshot::channel();
        let flight = flights.join("a", 0, || async {
            land.send(()).unwrap();
        });
        drop(flight);
        landed.await.unwrap();
    }
}
