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
    supabase::Supabase,
    tokens::Tokens,
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

    /// Whose an access token is.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        database: &Database,
    ) -> Result<AuthUser, ApiError> {
        match self {
            Self::Local(local) => local.authenticate(token, database).await,
            Self::Supabase(supabase) => {
                let (person, expires) = supabase.authenticate(token).await?;
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
    async fn authenticate(&self, token: &str, database: &Database) -> Result<AuthUser, ApiError> {
        let bad = ApiError::Unauthenticated(BAD_TOKEN);
        let Some(claims) = self.tokens.verify(token) else {
            return Err(bad);
        };
        let role = match claims.role {
            Role::Customer if self.sessions.has_ended(claims.sid).await => return Err(bad),
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
