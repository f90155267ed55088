//! What only the shop's own sign-in has.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use crate::{
    error::ApiError,
    provider::{Local, Provider},
};

/// The shop's own sign-in; routes that ask for it are not there while somebody else signs people in.
#[derive(Clone)]
pub(crate) struct LocalSignIn(pub(crate) Local);

impl<S> FromRequestParts<S> for LocalSignIn
where
    Provider: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Provider::from_ref(state) {
            Provider::Local(local) => Ok(Self(local)),
            Provider::Supabase(_) => Err(ApiError::SignsInElsewhere),
        }
    }
}
