//! The public keys of a Supabase project, as its JSON Web Key Set (RFC 7517) shows them.
//!
//! They are fetched when the process starts, again and again in the background, and when a token names one that is not
//! known; so a key that is rotated in or out needs no restart. While the project does not answer, the keys that are
//! known stay.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

/// How often the keys are fetched in the background; a key that is not shown any more is good for as long.
pub(super) const REFRESH_EVERY: Duration = Duration::from_mins(10);
/// How soon after a failure.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Between two fetches that unknown keys make necessary: anybody can name one.
const PAUSE: Duration = Duration::from_secs(5);
/// A few keys are some kilobytes.
const LONGEST: usize = 256 * 1024;
/// In bytes. NIST SP 800-57 asks for RSA keys of 2048 bits.
const SHORTEST_MODULUS: usize = 256;

/// A key and the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// Why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the keys could not be fetched")]
    Http(#[from] reqwest::Error),
    #[error("the answer is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the answer is no key set")]
    Malformed(#[from] serde_json::Error),
    #[error("the last attempt, a moment ago, has failed")]
    JustFailed,
}

/// How the last fetch went, and when.
#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    succeeded: bool,
}

/// The keys.
pub(super) struct Keys {
    http: reqwest::Client,
    url: String,
    known: RwLock<Arc<HashMap<String, Key>>>,
    /// Held while they are fetched, so that one fetch answers all who ask meanwhile.
    last: Mutex<Option<Attempt>>,
}

impl Keys {
    /// Fetches nothing yet.
    pub(super) fn new(http: reqwest::Client, url: String) -> Self {
        Self {
            http,
            url,
            known: RwLock::default(),
            last: Mutex::const_new(None),
        }
    }

    /// The key with this id; `None` when the project does not show it.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Key>, FetchError> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let mut last = self.last.lock().await;
        // Whoever held it may have fetched it.
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        match *last {
            Some(last) if last.at.elapsed() < PAUSE && last.succeeded => return Ok(None),
            Some(last) if last.at.elapsed() < PAUSE => return Err(FetchError::JustFailed),
            _ => self.fetch(&mut last).await?,
        }
        Ok(self.known(id))
    }

    /// Fetches the keys now and then, for ever.
    pub(super) async fn keep_fresh(&self, every: Duration) {
        loop {
            let mut last = self.last.lock().await;
            let fetched = self.fetch(&mut last).await;
            drop(last);
            let pause = match fetched {
                Ok(()) => every,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the sign-in provider's keys could not be fetched; those that are known stay"
                    );
                    RETRY_EVERY.min(every)
                }
            };
            sleep(pause).await;
        }
    }

    async fn fetch(&self, last: &mut Option<Attempt>) -> Result<(), FetchError> {
        let fetched = self.download().await;
        *last = Some(Attempt {
            at: Instant::now(),
            succeeded: fetched.is_ok(),
        });
        let keys = Arc::new(fetched?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    async fn download(&self) -> Result<HashMap<String, Key>, FetchError> {
        let answer = self.http.get(&self.url).send().await?.error_for_status()?;
        read_keys(&body(answer).await?).map_err(FetchError::from)
    }

    /// The key with this id, if it has been fetched.
    pub(super) fn known(&self, id: &str) -> Option<Key> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }
}

/// Reads an answer of bounded length.
pub(super) async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            return Err(FetchError::TooLong);
        }
    }
    Ok(body)
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The usable keys of a set. RFC 7517, section 5, wants the others ignored.
fn read_keys(body: &[u8]) -> Result<HashMap<String, Key>, serde_json::Error> {
    let set: KeySet = serde_json::from_slice(body)?;
    let keys = set.keys.into_iter().filter_map(|value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let id = jwk.common.key_id.clone()?;
        Some((id, usable(&jwk)?))
    });
    Ok(keys.collect())
}

/// The key, if it is a public one for ES256 or RS256. A shared secret has no place in a set that everybody sees.
fn usable(jwk: &Jwk) -> Option<Key> {
    let for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::RSA(key) if modulus_bytes(&key.n) >= SHORTEST_MODULUS => {
            Algorithm::RS256
        }
        _ => return None,
    };
    let declared = match jwk.common.key_algorithm {
        None => algorithm,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(_) => return None,
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    (for_signatures && declared == algorithm).then_some(Key {
        algorithm,
        decoding,
    })
}

/// Of base64 without padding.
const fn modulus_bytes(text: &str) -> usize {
    text.len() * 3 / 4
}
