//! Hashing passwords: argon2id, the first choice of the OWASP Password Storage Cheat Sheet.

mod memory;

use std::sync::Arc;

use argon2::{
    PasswordHash,
    password_hash::{SaltString, rand_core::OsRng},
};
use bharatmart_telemetry::metrics::REQUESTS_SHED_TOTAL;
use metrics::counter;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use self::memory::Memory;
use super::AccountError;

/// Passwords that are hashed at a time. Each takes 19 MiB and some 20 ms of a core, so more would
/// starve the requests of everybody else.
const HASHES_AT_A_TIME: usize = 2;

/// Passwords that wait to be hashed, at most: a second of waiting or two.
const WAITING: usize = 64;

/// Hashes on threads for blocking work, few at a time; cheap to clone.
#[derive(Clone)]
pub(super) struct Hashing {
    at_work: Arc<Semaphore>,
    /// For those who are at work or wait.
    queue: Arc<Semaphore>,
    memory: Memory,
}

/// A place among those who are at work or wait.
pub(super) struct Place(
    #[expect(dead_code, reason = "taken until it is dropped")] OwnedSemaphorePermit,
);

impl Hashing {
    pub(super) fn new() -> Self {
        Self {
            at_work: Arc::new(Semaphore::new(HASHES_AT_A_TIME)),
            queue: Arc::new(Semaphore::new(HASHES_AT_A_TIME + WAITING)),
            memory: Memory::default(),
        }
    }

    /// A place among those who wait.
    pub(super) fn place(&self) -> Result<Place, AccountError> {
        let place = self.queue.clone().try_acquire_owned();
        place.map(Place).map_err(|_| {
            counter!(REQUESTS_SHED_TOTAL, "resource" => "passwords").increment(1);
            AccountError::Overloaded
        })
    }

    /// Makes a PHC string of a password.
    pub(super) async fn hash(&self, password: &SecretString) -> Result<String, AccountError> {
        let password = password.clone();
        let memory = self.memory.clone();
        self.blocking(self.place()?, move || {
            let salt = SaltString::generate(&mut OsRng);
            memory.hash(password.expose_secret().as_bytes(), &salt)
        })
        .await
    }

    /// Whether `password` is the one of `known`. It takes as long when nothing is known.
    pub(super) async fn verify(
        &self,
        place: Place,
        password: &SecretString,
        known: Option<&str>,
    ) -> Result<bool, AccountError> {
        let password = password.clone();
        let known = known.map(str::to_owned);
        let memory = self.memory.clone();
        self.blocking(place, move || {
            let bytes = password.expose_secret().as_bytes();
            let Some(known) = known else {
                // As much work as a comparison, so that the time tells nothing.
                memory.hash(bytes, &SaltString::generate(&mut OsRng))?;
                return Ok(false);
            };
            memory.matches(bytes, &PasswordHash::new(&known)?)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, AccountError> {
        let permit = self.at_work.clone().acquire_owned().await;
        let permit = permit.map_err(|error| AccountError::Hash(error.to_string()))?;
        spawn_blocking(move || {
            let result = work();
            drop((permit, place));
            result
        })
        .await
        .map_err(|error| AccountError::Hash(error.to_string()))?
        .map_err(|error| AccountError::Hash(error.to_string()))
    }
}
