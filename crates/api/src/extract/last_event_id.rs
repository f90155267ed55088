//! `Last-Event-ID` (WHATWG HTML, server-sent events).

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, request::Parts};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::error::ApiError;

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The last event that the client has seen; `None` when it has seen none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastEventId(pub(crate) Option<i64>);

impl LastEventId {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let id = value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok());
        match (id, values.next()) {
            (Some(id), None) => Ok(Self(Some(id))),
            _ => Err(ApiError::invalid(
                "Last-Event-ID",
                "must be sent once, with the id of an event of this stream: a whole number",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0));
        let parameter = ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The id of the last event that was seen: the stream goes on after it.",
            ))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Option<LastEventId> {
        let headers = values
            .iter()
            .map(|value| (LAST_EVENT_ID, http::HeaderValue::from_static(value)))
            .collect();
        LastEventId::of(&headers).ok()
    }

    #[test]
    fn an_id_is_a_whole_number_and_sent_once() {
        assert_eq!(read(&[]), Some(LastEventId(None)));
        assert_eq!(read(&["0"]), Some(LastEventId(Some(0))));
        assert_eq!(
            read(&["9223372036854775807"]),
            Some(LastEventId(Some(i64::MAX)))
        );
        for bad in ["", "-1", "+1", "1.5", "1 2", "abc", "9223372036854775808"] {
            assert_eq!(read(&[bad]), None, "{bad:?}");
        }
        assert_eq!(read(&["1", "2"]), None, "twice");
    }
}
