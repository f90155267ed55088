//! What is kept under a key.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::stamps::Stamp;

/// A response body and its entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// The value of the `ETag` header (RFC 9110, section 8.8.3): strong, made of the bytes alone.
    pub etag: Bytes,
}

/// Enough of a SHA-256 to tell any two bodies apart.
const ETAG_BYTES: usize = 16;

impl Body {
    /// Makes the entity tag of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let tag = URL_SAFE_NO_PAD.encode(&digest[..ETAG_BYTES]);
        Self {
            // Copied into memory of its own length: a vector that has grown has room to spare, which
            // nobody would count, and shrinking it in place leaves holes that nobody can use.
            bytes: Bytes::copy_from_slice(bytes),
            etag: format!("\"{tag}\"").into(),
        }
    }
}

/// What a load found.
#[derive(Debug)]
pub enum Loaded {
    /// A body worth sharing.
    Found(Vec<u8>),
    /// A body with nothing in it, such as an empty list. Kept like [`Loaded::Absent`]: strangers can ask
    /// for any number of these.
    Empty(Vec<u8>),
    /// Nothing: to be answered with 404. Kept for a short time, in this process.
    Absent,
}

/// What a load found, and how fresh that is.
#[derive(Debug)]
pub struct Load {
    /// What it found.
    pub found: Loaded,
    /// It shows every change up to this number; changes are numbered by whoever makes them. `None` when
    /// nobody can tell: then it is for those who wait for it and is not kept.
    pub as_of: Option<u128>,
}

/// An entry of the tier in the process.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `None`: there is nothing under this key.
    pub(crate) body: Option<Body>,
    pub(crate) stamp: Stamp,
    /// It shows every change up to this number.
    pub(crate) as_of: u128,
    /// From then on it is served only while it is loaded anew.
    pub(crate) fresh_until: Instant,
    /// From `fresh_until` on.
    pub(crate) stale_for: Duration,
}

impl Entry {
    /// What is good for so long from now on.
    pub(crate) fn new(
        body: Option<Body>,
        stamp: Stamp,
        as_of: u128,
        fresh_for: Duration,
        stale_for: Duration,
    ) -> Self {
        Self {
            body,
            stamp,
            as_of,
            fresh_until: Instant::now() + fresh_for,
            stale_for,
        }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// How much longer it may be served at all.
    pub(crate) fn good_for(&self) -> Duration {
        (self.fresh_until + self.stale_for).saturating_duration_since(Instant::now())
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.body
            .as_ref()
            .map_or(0, |body| body.bytes.len() + body.etag.len())
    }
}

/// The times of entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    ttl: Duration,
}

/// The longest time that a body is served beyond its time to live, while it is loaded anew.
const LONGEST_STALE: Duration = Duration::from_mins(1);
/// How long it is remembered that there is nothing under a key.
const NEGATIVE_TTL: Duration = Duration::from_secs(10);
/// How long a body is good while nobody can tell this process what changes elsewhere.
const UNTOLD_TTL: Duration = Duration::from_secs(1);

impl Ages {
    pub(crate) const fn new(ttl: Duration) -> Self {
        Self { ttl }
    }

    /// How long a body is fresh. Up to a tenth less than the configured time, so that what was loaded
    /// together does not expire together.
    pub(crate) fn fresh(&self) -> Duration {
        self.ttl.mul_f64(rand::random_range(0.9..=1.0))
    }

    /// What [`Ages::fresh`] is at most.
    pub(crate) const fn longest_fresh(&self) -> Duration {
        self.ttl
    }

    /// How long it may be served beyond that.
    pub(crate) fn stale(&self) -> Duration {
        (self.ttl / 5).min(LONGEST_STALE)
    }

    pub(crate) fn negative(&self) -> Duration {
        self.ttl.min(NEGATIVE_TTL)
    }

    pub(crate) fn untold(&self) -> Duration {
        self.ttl.min(UNTOLD_TTL)
    }
}

pub(crate) type SharedEntry = Arc<Entry>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_bytes_have_the_same_tag_and_others_another() {
        let (body, same, other) = (Body::new(b"{}"), Body::new(b"{}"), Body::new(b"[]"));
        assert_eq!(body, same);
        assert_ne!(body.etag, other.etag);
        assert!(body.etag.starts_with(b"\"") && body.etag.ends_with(b"\""));
        assert_eq!(body.etag.len(), 24);
    }

    proptest! {
        #[test]
        fn no_age_is_longer_than_the_configured_one(millis in 1_u64..100_000_000) {
            let ttl = Duration::from_millis(millis);
            let ages = Ages::new(ttl);
            for _ in 0..10 {
                prop_assert!(ages.fresh() <= ttl);
                prop_assert!(ages.fresh() >= ttl.mul_f64(0.899));
            }
            prop_assert!(ages.stale() <= (ttl / 5).min(LONGEST_STALE));
            prop_assert!(ages.negative() <= ttl.min(NEGATIVE_TTL));
            prop_assert!(ages.untold() <= ttl.min(UNTOLD_TTL));
        }
    }

    #[test]
    fn what_is_loaded_together_does_not_expire_together() {
        let ages = Ages::new(Duration::from_mins(5));
        let first = ages.fresh();
        assert!((0..100).any(|_| ages.fresh() != first));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_fresh_then_stale_then_useless() {
        let stamp = crate::stamps::Stamps::new().of(crate::key::Shows::Catalogue);
        let (fresh, stale) = (Duration::from_secs(10), Duration::from_secs(2));
        let entry = Entry::new(None, stamp, 0, fresh, stale);
        assert!(entry.is_fresh());
        tokio::time::advance(fresh).await;
        assert!(!entry.is_fresh());
        assert_eq!(entry.good_for(), stale);
        tokio::time::advance(stale).await;
        assert!(entry.good_for().is_zero());
    }
}
