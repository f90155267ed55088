//! `Prefer: wait=N` (RFC 7240).

use std::{convert::Infallible, time::Duration};

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

/// How long the client would rather wait for an outcome than be told to come back, at most
/// [`Wait::LONGEST`]; `None` when it does not say, or not in a way that can be understood, since
/// a preference may always be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Option<Duration>);

impl Wait {
    const LONGEST: u64 = 10;

    fn of(headers: &HeaderMap) -> Self {
        let seconds = headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|preference| preference.split(';').next()?.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
            .and_then(|(_, value)| value.trim().trim_matches('"').parse::<u64>().ok());
        Self(seconds.map(|seconds| Duration::from_secs(seconds.min(Self::LONGEST))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl IntoParams for Wait {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .examples(["wait=5"]);
        let parameter = ParameterBuilder::new()
            .name("Prefer")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("`wait=N`: answer when the outcome is known, after at most N seconds, of which 10 count (RFC 7240)."))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_found_among_other_preferences_and_bounded() {
        for (header, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, Wait = \"7\"; x=y", Some(7)),
            ("wait=3600", Some(10)),
            ("wait=0", Some(0)),
            ("wait=-1", None),
            ("wait", None),
            ("return=minimal", None),
        ] {
            let headers =
                HeaderMap::from_iter([("prefer".parse().unwrap(), header.parse().unwrap())]);
            assert_eq!(
                Wait::of(&headers).0.map(|wait| wait.as_secs()),
                seconds,
                "{header}"
            );
        }
    }
}
