//! Who is asking.

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use bharatmart_commerce::{Actor, Origin};
use bharatmart_database::Database;
use bharatmart_domain::{Role, UserId};
use http::request::Parts;
use uuid::Uuid;

use crate::{
    error::ApiError,
    extract::Requested,
    provider::{Provider, Verified},
    tokens::bearer,
};

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct AuthUser {
    pub(crate) id: UserId,
    pub(crate) role: Role,
    /// What all tokens of this sign-in have in common; `None` where somebody else signs people in.
    pub(crate) family: Option<Uuid>,
    /// When the token ends, in seconds since 1970.
    pub(crate) expires: i64,
}

impl AuthUser {
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whose things a list may show: `None` is everybody's.
    ///
    /// An administrator may ask for anybody's; a customer has their own, and asking for somebody
    /// else's is refused rather than answered with something else.
    pub(crate) fn scope(&self, asked_for: Option<UserId>) -> Result<Option<UserId>, ApiError> {
        match asked_for {
            _ if self.is_admin() => Ok(asked_for),
            Some(other) if other != self.id => Err(ApiError::Forbidden(FORBIDDEN)),
            _ => Ok(Some(self.id)),
        }
    }
}

impl From<&AuthUser> for Actor {
    fn from(user: &AuthUser) -> Self {
        Self {
            user_id: user.id,
            role: user.role,
        }
    }
}

pub(crate) const BAD_TOKEN: &str = "Invalid or expired token";
const FORBIDDEN: &str = "Insufficient permissions";

impl<S> OptionalFromRequestParts<S> for AuthUser
where
    Provider: FromRef<S>,
    Database: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, ApiError> {
        let Some(token) = bearer(&parts.headers) else {
            return Ok(None);
        };
        let verified = parts.extensions.get::<Verified>().cloned();
        let (provider, database) = (Provider::from_ref(state), Database::from_ref(state));
        provider
            .authenticate(token?, verified, &database)
            .await
            .map(Some)
    }
}

impl<S> FromRequestParts<S> for AuthUser
where
    Provider: FromRef<S>,
    Database: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
            .await?
            .ok_or(ApiError::Unauthenticated("Access token required"))
    }
}

/// An administrator who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct AdminUser {
    /// What the audit log says of what they ask for.
    pub(crate) origin: Origin,
}

impl<S> FromRequestParts<S> for AdminUser
where
    Provider: FromRef<S>,
    Database: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let user = <AuthUser as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if user.is_admin() {
            let origin = Requested::of(parts).by(user.id);
            Ok(Self { origin })
        } else {
            Err(ApiError::Forbidden(FORBIDDEN))
        }
    }
}
