//! What answers say of a limit: `RateLimit-Policy` and `RateLimit` (IETF draft-ietf-httpapi-ratelimit-headers-10),
//! and the three headers of its earlier versions, which more programs read.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Policy, Verdict};
use crate::error::ApiError;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What pages of other origins may read.
pub(crate) const EXPOSED: [HeaderName; 5] = [POLICY, RATE_LIMIT, LIMIT, REMAINING, RESET];

/// What is the same in every answer.
pub(super) struct Words {
    policy: HeaderValue,
    limit: HeaderValue,
}

impl Words {
    pub(super) fn new(name: &str, limit: u64, window: Duration) -> Self {
        let text = format!("\"{name}\";q={limit};w={}", seconds(window));
        Self {
            // A word between quotes and digits are allowed in a header.
            policy: HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("")),
            limit: HeaderValue::from(limit),
        }
    }
}

/// In whole seconds, and not too few.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// What a client has left of a limit.
pub(crate) struct Quota {
    policy: Arc<Policy>,
    verdict: Verdict,
}

impl Quota {
    pub(super) fn new(policy: &Arc<Policy>, verdict: Verdict) -> Self {
        Self {
            policy: Arc::clone(policy),
            verdict,
        }
    }

    /// The answer to a request that is beyond the limit.
    pub(super) fn refusal(&self) -> Option<Response> {
        let retry_after = self.verdict.refused_for?;
        self.policy.refused.increment(1);
        let mut response = ApiError::TooManyRequests { retry_after }.into_response();
        self.tell(response.headers_mut());
        Some(response)
    }

    /// The request does not count any more.
    pub(super) const fn take_back(&mut self) {
        self.verdict.remaining += 1;
    }

    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Verdict {
            refused_for,
            remaining,
            reset,
        } = self.verdict;
        let reset = seconds(refused_for.unwrap_or(reset));
        let Words { policy, limit } = &self.policy.words;
        let text = format!("\"{}\";r={remaining};t={reset}", self.policy.name);
        headers.reserve(EXPOSED.len());
        headers.insert(POLICY, policy.clone());
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(RATE_LIMIT, value);
        }
        headers.insert(LIMIT, limit.clone());
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(reset));
    }
}
