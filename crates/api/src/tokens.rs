//! Access tokens: JWT, HS256.

use std::{sync::Arc, time::Duration};

use bharatmart_config::LocalAuth;
use bharatmart_database::users::User;
use bharatmart_domain::{Clock, Role, UserId};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ApiError;

/// How far the clocks of two machines may be apart, in seconds.
pub(crate) const LEEWAY: i64 = 5;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// The user again, where older clients look.
    #[serde(rename = "userId")]
    pub user_id: UserId,
    /// Who they are to the shop.
    pub role: Role,
    /// Their e-mail address.
    pub email: String,
    /// The refresh family: what signing out revokes.
    pub sid: Uuid,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

/// The token of a request, if it has an `Authorization`; an error when there is none in that.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Result<&str, ApiError>> {
    let header = headers.get(AUTHORIZATION)?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    Some(token.ok_or(ApiError::Unauthenticated("Access token required")))
}

/// Makes and checks access tokens; cheap to clone.
///
/// As far as this goes a token is good until it ends, which is why its life is short. Whether its sign-in still holds is
/// for the database to say: of a customer once in a while ([`Sessions`](crate::sessions::Sessions)), of an administrator
/// each time.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Uses the configured secret and lifetime.
    #[must_use]
    pub fn new(config: &LocalAuth, clock: Arc<dyn Clock>) -> Self {
        let secret = config.jwt_secret.expose_secret().as_bytes();
        // One algorithm, whatever a token's header asks for.
        let mut validation = Validation::new(Algorithm::HS256);
        // Checked in `verify`, against our own clock.
        validation.validate_exp = false;
        Self(Arc::new(Inner {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            lifetime: config.jwt_expiry,
            clock,
        }))
    }

    /// Makes a token for a user who has just proved who they are.
    pub fn issue(&self, user: &User, family: Uuid) -> Result<String, ApiError> {
        let now = self.0.clock.now();
        let claims = Claims {
            sub: user.id,
            user_id: user.id,
            role: user.role,
            email: user.email.clone(),
            sid: family,
            iat: now.timestamp(),
            exp: (now + self.0.lifetime).timestamp(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding)
            .map_err(|error| ApiError::Internal(error.into()))
    }

    /// What a token says; `None` when it is not ours, was changed, or has ended.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let claims: Claims = decode(token, &self.0.decoding, &self.0.validation)
            .ok()?
            .claims;
        let now = self.0.clock.now().timestamp();
        (now < claims.exp.saturating_add(LEEWAY)).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use chrono::{DateTime, TimeDelta, Utc};
    use secrecy::SecretString;

    use super::*;

    struct StoppedClock(Mutex<DateTime<Utc>>);

    impl Clock for StoppedClock {
        fn now(&self) -> DateTime<Utc> {
            *self.0.lock().unwrap()
        }
    }

    fn tokens(secret: &str) -> (Tokens, Arc<StoppedClock>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(StoppedClock(Mutex::new(
            DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
        )));
        let config = LocalAuth {
            jwt_secret: SecretString::from(secret),
            jwt_expiry: Duration::from_mins(15),
            jwt_refresh_expiry: Duration::from_hours(168),
        };
        (Tokens::new(&config, clock.clone()), clock)
    }

    fn user(role: Role) -> User {
        User {
            id: UserId::generate(),
            email: "priya@example.in".to_owned(),
            full_name: "Priya".to_owned(),
            address: None,
            phone: None,
            role,
            is_active: true,
            email_verified_at: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_token_says_who_it_was_made_for_until_it_ends() {
        let (tokens, clock) = tokens("a secret of at least thirty-two bytes");
        let (user, family) = (user(Role::Customer), Uuid::now_v7());
        let token = tokens.issue(&user, family).unwrap();
        let claims = tokens.verify(&token).unwrap();
        assert_eq!(
            (claims.sub, claims.user_id, claims.sid),
            (user.id, user.id, family)
        );
        assert_eq!(claims.exp - claims.iat, 900);

        *clock.0.lock().unwrap() += TimeDelta::seconds(904);
        assert!(tokens.verify(&token).is_some(), "within the leeway");
        *clock.0.lock().unwrap() += TimeDelta::seconds(1);
        assert!(tokens.verify(&token).is_none(), "after its end");
    }

    #[test]
    fn a_token_that_was_changed_or_is_of_another_secret_or_unsigned_is_refused() {
        let (ours, _) = tokens("a secret of at least thirty-two bytes");
        let (theirs, _) = tokens("another secret of at least thirty-two");
        let token = ours.issue(&user(Role::Customer), Uuid::now_v7()).unwrap();
        assert!(theirs.verify(&token).is_none(), "another secret");

        let parts: Vec<_> = token.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let admin = URL_SAFE_NO_PAD.encode(claims.replace("customer", "admin"));
        assert!(
            ours.verify(&format!("{}.{admin}.{}", parts[0], parts[2]))
                .is_none(),
            "changed"
        );
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"HS384","typ":"JWT"}"#,
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            for signature in ["", parts[2]] {
                let forged = format!("{header}.{}.{signature}", parts[1]);
                assert!(ours.verify(&forged).is_none(), "another algorithm");
            }
        }
        assert!(ours.verify("").is_none());
    }
}
