//! Who somebody whom Supabase knows is to the shop.
//!
//! A user of the shop is somebody's at Supabase if their ids are the same, or if the two were joined. They are joined
//! when somebody signs in for the first time whose e-mail address a user has already, and only if Supabase itself says
//! that the address is confirmed: what a token says of that (`user_metadata`), its bearer may have chosen.

use std::time::Duration;

use bharatmart_commerce::{Newcomer, admit, change_address, join};
use bharatmart_config::SupabaseAuth;
use bharatmart_database::{
    Database, Freshness,
    users::{self, User},
};
use bharatmart_domain::{Role, UserId};
use chrono::DateTime;
use http::{HeaderName, StatusCode};
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    error::ApiError,
    extract::BAD_TOKEN,
    fields::Email,
    supabase::{
        Claims, away,
        keys::{FetchError, body},
    },
};

/// What Supabase's own API wants to be asked with, besides a token.
const API_KEY: HeaderName = HeaderName::from_static("apikey");
/// People who are remembered at a time.
const REMEMBERED: u64 = 100_000;
/// In characters, as for those who sign up here.
const LONGEST_NAME: usize = 200;

/// Somebody whom the shop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Their id in the shop.
    pub(crate) id: UserId,
    /// Who they are to it.
    pub(crate) role: Role,
}

/// What was found out about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Known(Person),
    /// They may not sign in.
    PutOut,
    /// A user has their e-mail address who may be somebody else.
    AddressTaken,
    /// The shop has to be able to write to them.
    NoAddress,
}

impl From<User> for Found {
    fn from(user: User) -> Self {
        if user.is_active {
            Self::Known(Person {
                id: user.id,
                role: user.role,
            })
        } else {
            Self::PutOut
        }
    }
}

/// Finds people, and remembers them for a while.
pub(super) struct People {
    found: Cache<Uuid, Found>,
    database: Database,
    http: reqwest::Client,
    /// Where Supabase says who the bearer of a token is.
    user_url: String,
    /// What that wants besides the token.
    api_key: Option<SecretString>,
}

impl People {
    pub(super) fn new(
        config: &SupabaseAuth,
        http: reqwest::Client,
        check_interval: Duration,
        database: Database,
    ) -> Self {
        Self {
            found: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(check_interval)
                .build(),
            database,
            http,
            user_url: format!("{}/user", config.issuer()),
            api_key: config.service_role_key.clone(),
        }
    }

    /// Who the bearer of `token` is. Whom the shop calls an administrator is looked up each time.
    pub(super) async fn find(&self, claims: &Claims, token: &str) -> Result<Person, ApiError> {
        let look_up = async {
            let found = self.look_up(claims, token).await;
            found.inspect_err(ApiError::log)
        };
        let found = self.found.try_get_with(claims.sub, look_up).await;
        let mut found = found.map_err(ApiError::Shared)?;
        if matches!(found, Found::Known(person) if person.role == Role::Admin) {
            found = self.look_up(claims, token).await?;
        }
        match found {
            Found::Known(person) => Ok(person),
            Found::PutOut => Err(ApiError::Unauthenticated(BAD_TOKEN)),
            Found::AddressTaken => Err(ApiError::Conflict {
                code: "account_exists",
                message: "Another account has this email address, and it is not confirmed that it is yours"
                    .to_owned(),
                field: None,
            }),
            Found::NoAddress => Err(ApiError::Forbidden("An account needs an email address")),
        }
    }

    async fn look_up(&self, claims: &Claims, token: &str) -> Result<Found, ApiError> {
        let mut connection = self.database.read(Freshness::Latest).await?;
        let known = users::find_by_supabase_id(&mut connection, claims.sub).await?;
        drop(connection);
        let address = claims.email.as_deref().and_then(|text| text.parse().ok());
        let Some(address) = address.map(Email::into_string) else {
            return Ok(known.map_or(Found::NoAddress, Found::from));
        };
        let issued_at = claims
            .iat
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        if let Some(user) = known {
            if user.email != address
                && let Some(issued_at) = issued_at
            {
                change_address(&self.database, user.id, &address, issued_at).await?;
            }
            return Ok(user.into());
        }
        let newcomer = Newcomer {
            supabase_id: claims.sub,
            email: &address,
            full_name: &full_name(claims, &address),
            issued_at,
        };
        if let Some(user) = admit(&self.database, &newcomer).await? {
            return Ok(user.into());
        }
        if !self.is_confirmed(token, &address).await? {
            return Ok(Found::AddressTaken);
        }
        let user = join(&self.database, &newcomer).await?;
        Ok(user.map_or(Found::AddressTaken, Found::from))
    }

    /// Whether Supabase says that the bearer of `token` has shown that this mailbox is theirs.
    async fn is_confirmed(&self, token: &str, address: &str) -> Result<bool, ApiError> {
        let Some(key) = &self.api_key else {
            return Ok(false);
        };
        let request = self
            .http
            .get(&self.user_url)
            .bearer_auth(token)
            .header(API_KEY, key.expose_secret());
        let answer = async {
            let mut request = request.build()?;
            if let Some(key) = request.headers_mut().get_mut(API_KEY) {
                key.set_sensitive(true);
            }
            let answer = self.http.execute(request).await?;
            // The session of the token is over, or its user gone.
            if answer.status() == StatusCode::FORBIDDEN {
                return Ok(None);
            }
            let answer = answer.error_for_status()?;
            let account: Account = serde_json::from_slice(&body(answer).await?)?;
            Ok::<_, FetchError>(Some(account))
        };
        let account = answer.await.map_err(away)?;
        let account = account.ok_or(ApiError::Unauthenticated(BAD_TOKEN))?;
        let same = account
            .email
            .is_some_and(|known| known.eq_ignore_ascii_case(address));
        let confirmed_at = account.email_confirmed_at.unwrap_or_default();
        Ok(same && !confirmed_at.is_empty())
    }
}

/// What Supabase says of the bearer of a token.
#[derive(Deserialize)]
struct Account {
    email: Option<String>,
    email_confirmed_at: Option<String>,
}

/// What somebody calls themselves, else their mailbox.
fn full_name(claims: &Claims, address: &str) -> String {
    let said = |name: &str| claims.user_metadata.get(name)?.as_str();
    let tidy = |text: &str| -> String {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        text.trim().chars().take(LONGEST_NAME).collect()
    };
    let mailbox = address.split('@').next();
    [said("full_name"), said("name"), mailbox]
        .into_iter()
        .flatten()
        .map(tidy)
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}
