//! Signatures of webhooks (<https://www.standardwebhooks.com>, version 1.0.0).

use base64::{Engine, engine::general_purpose::STANDARD};
use bharatmart_config::WebhookSecret;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

/// How far from now a webhook may have been signed. Older ones may be replays.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// The scheme of signatures with a shared key.
const SCHEME: &str = "v1";
/// The longest id of an event, in bytes.
const LONGEST_ID: usize = 255;

/// The headers that a webhook is signed in.
#[derive(Clone, Copy, Debug)]
pub struct SignedHeaders<'a> {
    /// `webhook-id`: the event, the same at each attempt to deliver it.
    pub id: &'a str,
    /// `webhook-timestamp`: when this attempt was signed, in seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: signatures separated by blanks, several while keys are changed.
    pub signatures: &'a str,
}

/// Why a webhook is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The id is empty, too long or not visible ASCII.
    #[error("webhook-id must be 1 to 255 visible ASCII characters")]
    BadId,
    /// The timestamp is no time.
    #[error("webhook-timestamp must be a whole number of seconds since 1970")]
    BadTimestamp,
    /// It was signed long ago.
    #[error("The webhook is too old: webhook-timestamp is more than 5 minutes ago")]
    TooOld,
    /// It claims to be signed in the future.
    #[error("The webhook is too new: webhook-timestamp is more than 5 minutes ahead")]
    TooNew,
    /// None of the signatures is right.
    #[error("webhook-signature is not one of this webhook")]
    BadSignature,
}

impl SignedHeaders<'_> {
    /// Makes sure that they may be those of a webhook that was signed just now. That can be told before its body has come.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), SignatureError> {
        let id = self.id;
        if !(1..=LONGEST_ID).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(SignatureError::BadId);
        }
        let signed_at = self
            .timestamp
            .parse()
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or(SignatureError::BadTimestamp)?;
        if signed_at < now - TOLERANCE {
            return Err(SignatureError::TooOld);
        }
        if signed_at > now + TOLERANCE {
            return Err(SignatureError::TooNew);
        }
        Ok(())
    }
}

/// The signature of `body`, as it goes into `webhook-signature`.
#[must_use]
pub fn sign(secret: &WebhookSecret, id: &str, timestamp: DateTime<Utc>, body: &[u8]) -> String {
    let mac = digest(secret, id, &timestamp.timestamp().to_string(), body);
    format!("{SCHEME},{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Makes sure that whoever knows `secret` has sent `body` just now. Signatures are compared in constant time.
pub fn verify(
    secret: &WebhookSecret,
    headers: SignedHeaders<'_>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), SignatureError> {
    headers.check(now)?;
    let SignedHeaders {
        id,
        timestamp,
        signatures,
    } = headers;
    let mac = digest(secret, id, timestamp, body);
    let is_right = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| signature.strip_prefix(SCHEME)?.strip_prefix(','))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|signature| mac.clone().verify_slice(&signature).is_ok());
    if is_right {
        Ok(())
    } else {
        Err(SignatureError::BadSignature)
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn digest(secret: &WebhookSecret, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.expose_secret())
        .expect("a key of any length will do");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of the specification are tested with.
    const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> WebhookSecret {
        WebhookSecret(STANDARD.decode(KEY).unwrap().into())
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn check(id: &str, signatures: &str, body: &[u8], now: i64) -> Result<(), SignatureError> {
        let timestamp = TIMESTAMP.to_string();
        let headers = SignedHeaders {
            id,
            timestamp: &timestamp,
            signatures,
        };
        verify(&secret(), headers, body, at(now))
    }

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        assert_eq!(sign(&secret(), ID, at(TIMESTAMP), BODY), SIGNATURE);
        assert_eq!(check(ID, SIGNATURE, BODY, TIMESTAMP), Ok(()));
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let others = "v1,aGVsbG8= v1a,aGVsbG8= nonsense v1,*";
        assert_eq!(
            check(ID, &format!("{others} {SIGNATURE}"), BODY, TIMESTAMP),
            Ok(())
        );
        assert_eq!(
            check(ID, others, BODY, TIMESTAMP),
            Err(SignatureError::BadSignature)
        );
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let bad = Err(SignatureError::BadSignature);
        assert_eq!(check("msg_other", SIGNATURE, BODY, TIMESTAMP), bad);
        assert_eq!(check(ID, SIGNATURE, b"{}", TIMESTAMP), bad);
        assert_eq!(check(ID, "", BODY, TIMESTAMP), bad);
        let other_version = SIGNATURE.replace("v1", "v2");
        assert_eq!(check(ID, &other_version, BODY, TIMESTAMP), bad);
        // A prefix of the right one.
        assert_eq!(check(ID, &SIGNATURE[..15], BODY, TIMESTAMP), bad);
        assert_eq!(
            check("", SIGNATURE, BODY, TIMESTAMP),
            Err(SignatureError::BadId)
        );
    }

    #[test]
    fn the_window_is_five_minutes_both_ways() {
        for (seconds, expected) in [
            (300, Ok(())),
            (301, Err(SignatureError::TooOld)),
            (-300, Ok(())),
            (-301, Err(SignatureError::TooNew)),
        ] {
            assert_eq!(check(ID, SIGNATURE, BODY, TIMESTAMP + seconds), expected);
        }
    }

    #[test]
    fn a_timestamp_that_is_no_time_is_named() {
        for timestamp in [
            "",
            "soon",
            "1.5",
            "99999999999999999999",
            "9223372036854775807",
        ] {
            let headers = SignedHeaders {
                id: ID,
                timestamp,
                signatures: SIGNATURE,
            };
            assert_eq!(
                verify(&secret(), headers, BODY, at(TIMESTAMP)),
                Err(SignatureError::BadTimestamp),
                "{timestamp}"
            );
        }
    }
}
