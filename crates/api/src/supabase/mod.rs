//! Access tokens of a Supabase project, with `AUTH_PROVIDER=supabase`.
//!
//! Supabase says who somebody is; who they are to the shop is in the table `users` alone.

mod keys;
mod people;

use std::{sync::Arc, time::Duration};

use bharatmart_config::SupabaseAuth;
use bharatmart_database::Database;
use bharatmart_domain::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    error::ApiError,
    extract::BAD_TOKEN,
    supabase::{
        keys::{FetchError, Key, Keys, REFRESH_EVERY},
        people::People,
    },
    tokens::LEEWAY,
};

pub(crate) use people::Person;

/// For whom the tokens of people who are signed in are made.
const AUDIENCE: &str = "authenticated";
/// How long Supabase may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a token of Supabase says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    /// The user's id there.
    sub: Uuid,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    iat: Option<i64>,
    /// The role in Supabase's own database, not in the shop.
    role: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    is_anonymous: bool,
    /// What people say of themselves.
    #[serde(default)]
    user_metadata: serde_json::Value,
}

impl Claims {
    /// The user's id there.
    pub(crate) const fn user(&self) -> Uuid {
        self.sub
    }
}

/// Checks tokens and knows whose they are; cheap to clone.
#[derive(Clone)]
pub struct Supabase(Arc<Inner>);

struct Inner {
    keys: Keys,
    issuer: String,
    legacy: Option<DecodingKey>,
    clock: Arc<dyn Clock>,
    people: People,
}

impl Supabase {
    /// Connects nowhere yet. `check_interval` is how long is believed who somebody is to the shop.
    #[must_use]
    pub fn new(
        config: &SupabaseAuth,
        check_interval: Duration,
        database: Database,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A key set that lies elsewhere is none of the project's.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        #[expect(
            clippy::expect_used,
            reason = "nothing in these options depends on the settings"
        )]
        let http = http.expect("the options are good");
        let issuer = config.issuer();
        let legacy = config.jwt_secret.as_ref();
        Self(Arc::new(Inner {
            keys: Keys::new(http.clone(), format!("{issuer}/.well-known/jwks.json")),
            legacy: legacy
                .map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes())),
            clock,
            people: People::new(config, http, check_interval, database),
            issuer,
        }))
    }

    /// Keeps the keys fresh until `stop`.
    pub async fn keep_keys(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.0.keys.keep_fresh(REFRESH_EVERY))
            .await;
    }

    /// Whose a good token is, and when it ends, in seconds since 1970. Somebody who is here for the first time becomes a
    /// customer.
    pub(crate) async fn authenticate(
        &self,
        claims: &Claims,
        token: &str,
    ) -> Result<(Person, i64), ApiError> {
        let person = self.0.people.find(claims, token).await?;
        Ok((person, claims.exp))
    }

    /// What a token says, if it is good and its key is known.
    pub(crate) fn verify_at_once(&self, token: &str) -> Option<Claims> {
        let header = header(token)?;
        let key = match header.alg {
            Algorithm::HS256 => None,
            _ => self.0.keys.known(header.kid.as_deref()?),
        };
        self.check(token, header.alg, key.as_ref())
    }

    /// What a good token says; its key is fetched if it is not known.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claims, ApiError> {
        let bad = || ApiError::Unauthenticated(BAD_TOKEN);
        let header = header(token).ok_or_else(bad)?;
        let key = match header.alg {
            Algorithm::ES256 | Algorithm::RS256 => {
                let id = header.kid.ok_or_else(bad)?;
                self.0.keys.find(&id).await.map_err(away)?
            }
            _ => None,
        };
        self.check(token, header.alg, key.as_ref()).ok_or_else(bad)
    }

    fn check(&self, token: &str, algorithm: Algorithm, key: Option<&Key>) -> Option<Claims> {
        // The header chooses between kinds of keys, and never what a key is used for: a public key is no secret.
        let claims = match algorithm {
            Algorithm::HS256 => self.decode(token, self.0.legacy.as_ref()?, Algorithm::HS256),
            Algorithm::ES256 | Algorithm::RS256 => {
                let key = key.filter(|key| key.algorithm == algorithm)?;
                self.decode(token, &key.decoding, key.algorithm)
            }
            _ => None,
        };
        claims.filter(|claims| self.is_current(claims))
    }

    fn decode(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Claims> {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.0.issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked against our own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        decode(token, key, &validation)
            .ok()
            .map(|token| token.claims)
    }

    /// Whether it is the time of a token, and the token one of a person who has an account.
    fn is_current(&self, claims: &Claims) -> bool {
        let now = self.0.clock.now().timestamp();
        let has_begun =
            |time: Option<i64>| time.is_none_or(|time| time <= now.saturating_add(LEEWAY));
        now < claims.exp.saturating_add(LEEWAY)
            && has_begun(claims.nbf)
            && has_begun(claims.iat)
            && claims.role == AUDIENCE
            && !claims.is_anonymous
    }
}

/// The header of a token that can be understood: no extensions that must be are (RFC 7515, section 4.1.11).
fn header(token: &str) -> Option<Header> {
    let header = decode_header(token).ok()?;
    header.crit.is_none().then_some(header)
}

/// The project does not answer.
fn away(error: FetchError) -> ApiError {
    ApiError::Unavailable {
        what: "the sign-in provider",
        retry_after: TIMEOUT,
        source: error.into(),
    }
}
