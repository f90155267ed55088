//! `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header).

use axum::extract::{FromRequest, Request};
use bharatmart_commerce::IdempotencyKey;
use bharatmart_domain::UserId;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use super::json::{Body, read};
use crate::error::ApiError;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST: usize = 255;

/// A JSON object as [`super::ValidatedJson`] takes it, and the key under which it may be sent again.
#[derive(Debug)]
pub(crate) struct KeyedJson<T> {
    pub(crate) body: T,
    key: Option<(String, [u8; 32])>,
}

impl<T> KeyedJson<T> {
    /// The body, and the key among those of `user`.
    pub(crate) fn of(self, user: UserId) -> (T, Option<IdempotencyKey>) {
        let key = self.key.map(|(key, fingerprint)| IdempotencyKey {
            user_id: user,
            key,
            fingerprint,
        });
        (self.body, key)
    }
}

impl<T: Body, S: Send + Sync> FromRequest<S> for KeyedJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let key = client_key(request.headers())?;
        let target = format!("{} {}\n", request.method(), request.uri().path());
        let (body, bytes) = read(request, state).await?;
        let key = key.map(|key| {
            let hash = Sha256::new().chain_update(target).chain_update(&bytes);
            (key, hash.finalize().into())
        });
        Ok(Self { body, key })
    }
}

/// The key in the header: a string of RFC 9651, or, as many clients send it, one without quotes.
fn client_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim).and_then(unquoted);
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(ApiError::invalid(
            "Idempotency-Key",
            format!("must be sent once, with 1 to {LONGEST} visible ASCII characters"),
        )),
    }
}

fn unquoted(value: &str) -> Option<String> {
    let key = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(rest) => {
            let (mut key, mut characters) = (String::new(), rest.strip_suffix('"')?.chars());
            while let Some(character) = characters.next() {
                key.push(match character {
                    '\\' => characters
                        .next()
                        .filter(|next| matches!(next, '"' | '\\'))?,
                    '"' => return None,
                    other => other,
                });
            }
            key
        }
    };
    let is_good =
        (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then_some(key)
}

impl<T> IntoParams for KeyedJson<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(LONGEST))
            .pattern(Some("^[!#-~][!-~]*$"));
        let parameter = ParameterBuilder::new()
            .name(IDEMPOTENCY_KEY.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("A text of the client's, with or without quotes. The same request under the same key is carried out once and answered the same for 24 hours."))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        let longest = "x".repeat(LONGEST);
        for (value, key) in [
            ("abc", "abc"),
            (" abc ", "abc"),
            ("\"abc\"", "abc"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (&longest, &longest),
        ] {
            assert_eq!(unquoted(value.trim()).as_deref(), Some(key), "{value}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        for bad in [
            "", "\"\"", "\"abc", "\"a\"b\"", r#""a\b""#, "a b", "a\tb", &too_long,
        ] {
            assert_eq!(unquoted(bad), None, "{bad}");
        }
    }
}
