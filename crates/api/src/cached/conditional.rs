//! Conditional requests (RFC 9110, section 13.1.2).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use headers::{ETag, HeaderMapExt};
use http::request::Parts;
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

/// The entity tags that the client has, if it sent any. What cannot be read is no condition.
pub(crate) struct IfNoneMatch(Option<headers::IfNoneMatch>);

impl IfNoneMatch {
    /// Whether the client has the body with this entity tag.
    pub(crate) fn is_met_by(&self, etag: &[u8]) -> bool {
        let Some(condition) = &self.0 else {
            return false;
        };
        std::str::from_utf8(etag)
            .ok()
            .and_then(|etag| etag.parse::<ETag>().ok())
            .is_some_and(|etag| !condition.precondition_passes(&etag))
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.typed_get()))
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let parameter = ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Entity tags that the client has (RFC 9110)."))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}
