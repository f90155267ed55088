//! Who signs people in: the shop itself or Supabase (`AUTH_PROVIDER`).

use std::sync::Arc;

use bharatmart_config::{AuthConfig, AuthProvider};
use bharatmart_database::{Database, Freshness, accounts};
use bharatmart_domain::{Clock, Role};
use uuid::Uuid;

use crate::{
    error::ApiError,
    extract::{AuthUser, BAD_TOKEN},
    sessions::Sessions,
    supabase::{self, Supabase},
    tokens::{self, Tokens},
};

/// Who signs people in; cheap to clone.
#[derive(Clone)]
pub enum Provider {
    /// The shop itself.
    Local(Local),
    /// A Supabase project.
    Supabase(Supabase),
}

/// What the shop needs to sign people in; cheap to clone.
#[derive(Clone)]
pub struct Local {
    /// Makes and checks access tokens.
    pub tokens: Tokens,
    /// Whether sign-ins still hold.
    pub sessions: Sessions,
}

/// What the good token of a request says: it is verified once.
#[derive(Clone, Debug)]
pub(crate) enum Verified {
    Local(tokens::Claims),
    Supabase(supabase::Claims),
}

impl Verified {
    /// The user's id with whoever signs people in.
    pub(crate) const fn user(&self) -> Uuid {
        match self {
            Self::Local(claims) => claims.sub.0,
            Self::Supabase(claims) => claims.user(),
        }
    }
}

impl Provider {
    /// Who `config` says.
    #[must_use]
    pub fn new(config: &AuthConfig, database: &Database, clock: Arc<dyn Clock>) -> Self {
        let (interval, database) = (config.session_check_interval, database.clone());
        match &config.provider {
            AuthProvider::Local(local) => Self::Local(Local {
                tokens: Tokens::new(local, clock),
                sessions: Sessions::new(interval, local.jwt_expiry, database),
            }),
            AuthProvider::Supabase(supabase) => {
                Self::Supabase(Supabase::new(supabase, interval, database, clock))
            }
        }
    }

    /// What an access token says if it is good, as far as that can be told at once.
    pub(crate) fn verify(&self, token: &str) -> Option<Verified> {
        match self {
            Self::Local(local) => local.tokens.verify(token).map(Verified::Local),
            Self::Supabase(supabase) => supabase.verify_at_once(token).map(Verified::Supabase),
        }
    }

    /// Whose an access token is, which may have been `verified` already.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        verified: Option<Verified>,
        database: &Database,
    ) -> Result<AuthUser, ApiError> {
        match self {
            Self::Local(local) => {
                let claims = match verified {
                    Some(Verified::Local(claims)) => Some(claims),
                    _ => local.tokens.verify(token),
                };
                let claims = claims.ok_or(ApiError::Unauthenticated(BAD_TOKEN))?;
                local.authenticate(claims, database).await
            }
            Self::Supabase(supabase) => {
                let claims = match verified {
                    Some(Verified::Supabase(claims)) => claims,
                    _ => supabase.verify(token).await?,
                };
                let (person, expires) = supabase.authenticate(&claims, token).await?;
                Ok(AuthUser {
                    id: person.id,
                    role: person.role,
                    family: None,
                    expires,
                })
            }
        }
    }
}

impl Local {
    async fn authenticate(
        &self,
        claims: tokens::Claims,
        database: &Database,
    ) -> Result<AuthUser, ApiError> {
        let role = match claims.role {
            Role::Customer if self.sessions.has_ended(claims.sid).await => {
                return Err(ApiError::Unauthenticated(BAD_TOKEN));
            }
            Role::Customer => Role::Customer,
            Role::Admin => current_role(database, claims.sid).await?,
        };
        Ok(AuthUser {
            id: claims.sub,
            role,
            family: Some(claims.sid),
            expires: claims.exp,
        })
    }
}

/// Whom a token calls an administrator may have been put out since, and must not be able to let
/// themselves in again even for a moment: each time, the database is asked.
async fn current_role(database: &Database, family: Uuid) -> Result<Role, ApiError> {
    let mut connection = database.read(Freshness::Latest).await?;
    let session = accounts::session(&mut connection, family).await?;
    session
        .filter(|session| session.stands)
        .map(|session| session.role)
        .ok_or(ApiError::Unauthenticated(BAD_TOKEN))
}
