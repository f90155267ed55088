//! Bodies.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::header::CONTENT_TYPE;
use serde::{
    Deserialize,
    de::{DeserializeOwned, value::MapDeserializer},
};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use utoipa::ToSchema;

use crate::{
    error::{ApiError, FieldError},
    fields::Object,
    router::MAX_BODY,
};

/// What a route takes as its body.
pub(crate) trait Body: DeserializeOwned {
    /// The fields that must be there, in the order in which they are documented.
    const REQUIRED: &'static [&'static str] = &[];
    /// What to say instead of `Invalid …` or `Missing required fields: …`.
    const SENTENCE: Option<&'static str> = None;
}

/// A JSON object whose fields are all as they should be. Fields that `T` does not know are ignored.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedJson<T>(pub(crate) T);

impl<T: Body, S: Send + Sync> FromRequest<S> for ValidatedJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (body, _) = read(request, state).await?;
        Ok(Self(body))
    }
}

/// The body of a request as it came.
#[derive(Clone, Debug)]
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::BodyTooLarge(MAX_BODY))
            }
            Err(_) => Err(ApiError::MalformedBody(
                "The body could not be read".to_owned(),
            )),
        }
    }
}

/// The body of a request, parsed and as it came.
pub(super) async fn read<T: Body, S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<(T, Bytes), ApiError> {
    let declared = request
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().is_ok_and(is_json));
    let RawBody(bytes) = RawBody::from_request(request, state).await?;
    let body = match declared {
        // No body at all lacks every field, which says more than a missing header.
        None | Some(true) if bytes.is_empty() => parse(b"{}"),
        Some(true) => parse(&bytes),
        _ => Err(ApiError::UnsupportedMediaType("application/json")),
    }?;
    Ok((body, bytes))
}

/// Whether a `Content-Type` is `application/json` or `application/…+json`.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a body. The common case is one pass; only a body that fails is looked at again.
fn parse<T: Body>(bytes: &[u8]) -> Result<T, ApiError> {
    // Checked here for the whole, because fields that are ignored are not looked at any further.
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::MalformedBody("The body is not valid UTF-8".to_owned()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer);
    match result {
        Ok(Object(body)) => match deserializer.end() {
            Ok(()) => Ok(body),
            Err(error) => Err(malformed(&error)),
        },
        Err(error) => Err(diagnose::<T>(text, &error)),
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::MalformedBody(format!("The body is not valid JSON: {error}"))
}

/// Finds everything that is wrong with a body, not only the first thing.
///
/// A field that fails is noted and taken out, and the rest is read again. That ends, because each
/// round takes one of the fields that `T` knows; the others cannot fail.
fn diagnose<T: Body>(
    text: &str,
    first: &serde_path_to_error::Error<serde_json::Error>,
) -> ApiError {
    let mut fields: BTreeMap<String, &RawValue> = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) if error.is_data() => {
            return ApiError::MalformedBody("The body must be a JSON object".to_owned());
        }
        Err(error) => return malformed(&error),
    };
    let missing: Vec<_> = T::REQUIRED
        .iter()
        .copied()
        .filter(|name| fields.get(*name).is_none_or(|value| is_blank(value)))
        .collect();
    for name in &missing {
        fields.remove(*name);
    }
    let mut invalid = Vec::new();
    loop {
        let rest = MapDeserializer::new(fields.iter().map(|(name, value)| (name.as_str(), *value)));
        let Err(error) = serde_path_to_error::deserialize::<_, T>(rest) else {
            break;
        };
        let Some(Segment::Map { key }) = error.path().iter().next() else {
            break;
        };
        if fields.remove(key).is_none() {
            break;
        }
        invalid.push(field_error(&error));
    }
    let sentence = T::SENTENCE;
    if !missing.is_empty() {
        return ApiError::MissingFields {
            missing,
            invalid,
            sentence,
        };
    }
    if invalid.is_empty() {
        // Only the whole fails, such as a field that is there twice.
        invalid.push(field_error(first));
    }
    ApiError::Invalid {
        errors: invalid,
        sentence,
    }
}

/// Whether a required value says nothing: `null`, `""` or `[]`.
fn is_blank(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "\"\"" | "[]")
}

fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let path = error.path().to_string();
    let message = message(error.inner());
    let inside = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    match (path.as_str(), inside) {
        (".", Some(name)) => FieldError::new(name, "is required"),
        (".", None) => FieldError::new("body", message),
        (path, Some(name)) => FieldError::new(format!("{path}.{name}"), "is required"),
        (path, None) => FieldError::new(path, message),
    }
}

/// What an error says, without its place in the text, and never as long as what it quotes.
fn message(error: &serde_json::Error) -> String {
    const LONGEST: usize = 200;
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = match text.strip_suffix(&place).unwrap_or(&text) {
        // The library's words say which of its parsers stumbled.
        text if text.starts_with("UUID parsing failed") => "must be a UUID",
        text => text,
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A body of `{"status": …}`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct ChangeStatus<S> {
    pub(crate) status: S,
}

impl<S: DeserializeOwned> Body for ChangeStatus<S> {
    const REQUIRED: &'static [&'static str] = &["status"];
    const SENTENCE: Option<&'static str> = Some("Invalid status");
}

#[cfg(test)]
mod tests {
    use bharatmart_domain::{Money, OrderStatus};

    use super::*;
    use crate::fields::{Few, Line, Whole};

    #[derive(Debug, Deserialize)]
    struct Line2 {
        #[expect(dead_code, reason = "only parsed")]
        quantity: Whole<1, 5>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        name: Line<1, 5>,
        price: Money,
        lines: Option<Few<Object<Line2>, 1, 2>>,
        note: Option<String>,
    }

    impl Body for Sample {
        const REQUIRED: &'static [&'static str] = &["name", "price"];
    }

    fn fields(json: &str) -> Vec<(String, String)> {
        match parse::<Sample>(json.as_bytes()).unwrap_err() {
            ApiError::Invalid { errors, .. } => errors
                .into_iter()
                .map(|error| (error.field, error.message))
                .collect(),
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn a_good_body_parses_and_unknown_fields_are_ignored() {
        parse::<Sample>(br#"{"name":"tea","price":99.5,"lines":[{"quantity":2}],"x":{}}"#).unwrap();
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let found =
            fields(r#"{"name":7,"price":"99","lines":[{"quantity":1},{"quantity":9}],"note":1}"#);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lines[1].quantity", "name", "note", "price"]);
        assert_eq!(found[0].1, "must be a whole number from 1 to 5");
        assert_eq!(
            found[3].1,
            "must be a number of rupees such as 4999 or 4999.5"
        );
    }

    #[test]
    fn all_missing_fields_are_named_at_once_with_what_else_is_wrong() {
        for json in [
            r#"{"note":1}"#,
            r#"{"name":null,"price":null,"note":1}"#,
            r#"{"name":"","note":[]}"#,
        ] {
            match parse::<Sample>(json.as_bytes()).unwrap_err() {
                ApiError::MissingFields {
                    missing, invalid, ..
                } => {
                    assert_eq!(missing, ["name", "price"], "{json}");
                    assert_eq!(invalid[0].field, "note", "{json}");
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_field_of_an_entry_is_named_with_its_place() {
        let found = fields(r#"{"name":"tea","price":1,"lines":[{}]}"#);
        assert_eq!(
            found,
            [("lines[0].quantity".to_owned(), "is required".to_owned())]
        );
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for json in [
            "",
            "{",
            "[]",
            "[\"tea\",1]",
            "null",
            "7",
            "{\"name\":}",
            "{} {}",
            "{\"name\":\"\\ud800\"}",
        ] {
            let error = parse::<Sample>(json.as_bytes()).unwrap_err();
            assert!(
                matches!(
                    error,
                    ApiError::MalformedBody(_) | ApiError::MissingFields { .. }
                ),
                "{json}: {error:?}"
            );
            assert_eq!(error.status(), http::StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let found = fields(r#"{"name":"tea","name":"rice","price":1}"#);
        assert!(found[0].1.contains("duplicate field `name`"), "{found:?}");
    }

    #[test]
    fn an_unknown_status_has_its_own_sentence() {
        for json in ["{\"status\":\"lost\"}", "{\"status\":7}", "{}"] {
            match parse::<ChangeStatus<OrderStatus>>(json.as_bytes()).unwrap_err() {
                ApiError::Invalid { errors, sentence } => {
                    assert_eq!(
                        (errors[0].field.as_str(), sentence),
                        ("status", Some("Invalid status"))
                    );
                }
                ApiError::MissingFields {
                    missing, sentence, ..
                } => {
                    assert_eq!(
                        (missing, sentence),
                        (vec!["status"], Some("Invalid status"))
                    );
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_long_value_is_not_echoed_at_length() {
        let json = format!(
            r#"{{"name":"tea","price":1,"lines":"{}"}}"#,
            "x".repeat(100_000)
        );
        assert!(fields(&json)[0].1.chars().count() <= 201);
    }

    #[test]
    fn media_types_of_json_are_known() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "json",
            "",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
