//! What stands in Redis under a key: a head of fixed length, the entity tag, the body.
//!
//! | bytes  | what                                                                       |
//! |--------|----------------------------------------------------------------------------|
//! | 0..16  | a random token, new whenever the value is written                          |
//! | 16     | `L`: somebody is loading the body (there is no more than this), `B`: a body |
//! | 17..25 | the epoch that it was loaded in                                            |
//! | 25..33 | the generation within that epoch                                           |
//! | 33..41 | fresh until, in milliseconds since 1970                                    |
//! | 41..57 | the number of the last change that it surely shows                         |
//! | 57     | length of the entity tag                                                   |
//! | 58..   | entity tag, body                                                           |
//!
//! Numbers are big-endian. Scripts compare the token and write `fresh until`, and know nothing else.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::generations::Edition;
use crate::entry::Body;

pub(crate) const TOKEN: usize = 16;
/// Where `fresh until` begins.
pub(crate) const FRESH_UNTIL: usize = 33;
const HEAD: usize = 58;
const LEASE: u8 = b'L';
const BODY: u8 = b'B';

/// Names one writing of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token([u8; TOKEN]);

impl Token {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value that says that somebody loads the body.
    pub(crate) fn lease(&self) -> [u8; TOKEN + 1] {
        let mut lease = [LEASE; TOKEN + 1];
        lease[..TOKEN].copy_from_slice(&self.0);
        lease
    }
}

/// A value as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Leased,
    Body {
        token: Token,
        stored: Stored,
    },
    /// Not one of ours. To be replaced if it is still the one that begins with this.
    Unreadable(Vec<u8>),
}

/// A body as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) body: Body,
    pub(crate) edition: Edition,
    pub(crate) fresh_until: DateTime<Utc>,
    /// It shows every change up to this number.
    pub(crate) as_of: u128,
}

/// How `fresh until` is written.
pub(crate) fn millis(time: DateTime<Utc>) -> [u8; 8] {
    time.timestamp_millis().to_be_bytes()
}

impl Stored {
    pub(crate) fn encode(&self, token: Token) -> Vec<u8> {
        let Body { bytes, etag } = &self.body;
        let mut value = Vec::with_capacity(HEAD + etag.len() + bytes.len());
        value.extend_from_slice(&token.0);
        value.push(BODY);
        value.extend_from_slice(&self.edition.epoch.to_be_bytes());
        value.extend_from_slice(&self.edition.generation.to_be_bytes());
        value.extend_from_slice(&millis(self.fresh_until));
        value.extend_from_slice(&self.as_of.to_be_bytes());
        // An entity tag of ours is 24 bytes long.
        value.push(u8::try_from(etag.len()).unwrap_or(0));
        value.extend_from_slice(etag);
        value.extend_from_slice(bytes);
        value
    }

    /// How long it is fresh from `now` on.
    pub(crate) fn fresh_for(&self, now: DateTime<Utc>) -> Duration {
        (self.fresh_until - now).to_std().unwrap_or_default()
    }
}

impl Value {
    pub(crate) fn decode(value: Vec<u8>) -> Self {
        let leased = value.len() == TOKEN + 1 && value[TOKEN] == LEASE;
        if leased {
            return Self::Leased;
        }
        let Some((head, etag)) = decode_head(&value) else {
            let mut beginning = value;
            beginning.truncate(TOKEN);
            return Self::Unreadable(beginning);
        };
        let value = Bytes::from(value);
        Self::Body {
            token: head.token,
            stored: Stored {
                body: Body {
                    etag: value.slice(HEAD..HEAD + etag),
                    bytes: value.slice(HEAD + etag..),
                },
                edition: head.edition,
                fresh_until: head.fresh_until,
                as_of: head.as_of,
            },
        }
    }
}

/// What stands before the entity tag.
struct Head {
    token: Token,
    edition: Edition,
    fresh_until: DateTime<Utc>,
    as_of: u128,
}

/// The head, and the length of the entity tag.
fn decode_head(value: &[u8]) -> Option<(Head, usize)> {
    let (token, rest) = value.split_first_chunk()?;
    let (&kind, rest) = rest.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (fresh_until, rest) = rest.split_first_chunk()?;
    let (as_of, rest) = rest.split_first_chunk()?;
    let (&etag, rest) = rest.split_first()?;
    let etag = usize::from(etag);
    if kind != BODY || rest.len() < etag {
        return None;
    }
    let edition = Edition {
        epoch: u64::from_be_bytes(*epoch),
        generation: u64::from_be_bytes(*generation),
    };
    let fresh_until = DateTime::from_timestamp_millis(i64::from_be_bytes(*fresh_until))?;
    let head = Head {
        token: Token(*token),
        edition,
        fresh_until,
        as_of: u128::from_be_bytes(*as_of),
    };
    Some((head, etag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored() -> Stored {
        Stored {
            body: Body::new(b"{}"),
            edition: Edition {
                epoch: 7,
                generation: 9,
            },
            fresh_until: DateTime::from_timestamp_millis(1_800_000_000_123).unwrap(),
            as_of: 11,
        }
    }

    #[test]
    fn a_body_is_read_as_it_was_written() {
        let (token, stored) = (Token::new(), stored());
        let value = stored.encode(token);
        assert_eq!(
            value[FRESH_UNTIL..FRESH_UNTIL + 8],
            millis(stored.fresh_until)
        );
        assert_eq!(Value::decode(value), Value::Body { token, stored });
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_without_a_panic(
            mut value in prop::collection::vec(any::<u8>(), 0..200),
            kind in prop_oneof![Just(BODY), Just(LEASE), any::<u8>()],
        ) {
            if let Some(byte) = value.get_mut(TOKEN) {
                *byte = kind;
            }
            let beginning = value[..value.len().min(TOKEN)].to_vec();
            match Value::decode(value) {
                Value::Leased => {}
                // It can be replaced as long as it begins like this.
                Value::Body { token, stored } => {
                    prop_assert_eq!(token.as_bytes(), &beginning[..]);
                    stored.fresh_for(DateTime::UNIX_EPOCH);
                }
                Value::Unreadable(seen) => prop_assert_eq!(seen, beginning),
            }
        }

        #[test]
        fn any_body_is_read_as_it_was_written(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            epoch: u64,
            generation: u64,
            as_of: u128,
            millis in 0..i64::from(i32::MAX) * 1000,
        ) {
            let stored = Stored {
                body: Body::new(&bytes),
                edition: Edition { epoch, generation },
                fresh_until: DateTime::from_timestamp_millis(millis).unwrap(),
                as_of,
            };
            let token = Token::new();
            let value = Value::decode(stored.encode(token));
            prop_assert_eq!(value, Value::Body { token, stored });
        }
    }

    #[test]
    fn a_lease_is_no_body() {
        assert_eq!(Value::decode(Token::new().lease().to_vec()), Value::Leased);
    }

    #[test]
    fn what_others_wrote_there_is_no_body() {
        let whole = stored().encode(Token::new());
        for length in 0..HEAD {
            let value = whole[..length].to_vec();
            assert!(
                matches!(Value::decode(value), Value::Unreadable(_)),
                "{length} bytes"
            );
        }
        let mut other = whole;
        other[TOKEN] = b'x';
        assert!(matches!(Value::decode(other), Value::Unreadable(_)));
    }
}
