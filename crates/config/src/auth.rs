//! Tokens, and the first administrator.
//!
//! - `AUTH_PROVIDER`
//! - `JWT_SECRET`
//! - `JWT_EXPIRY`
//! - `JWT_REFRESH_EXPIRY`
//! - `SESSION_CHECK_INTERVAL`
//! - `ADMIN_EMAIL`
//! - `ADMIN_PASSWORD`

use std::time::Duration;

use secrecy::SecretString;

use crate::error::ConfigError;
use crate::parse;
use crate::process::{ENVIRONMENT, Environment};
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

/// HS256 is as strong as its key is long; RFC 7518 asks for the length of the hash.
const JWT_SECRET_MIN_BYTES: usize = 32;
/// In characters, as for customers.
const ADMIN_PASSWORD_MIN: usize = 8;

/// Whoever was put out must not go on for longer.
const LONGEST_SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(30);

const AUTH_PROVIDER: Variable =
    Variable::new("AUTH_PROVIDER", "Who signs the access tokens", "local").default("local");
const JWT_SECRET: Variable = Variable::new(
    "JWT_SECRET",
    "Key that signs the access tokens",
    "at least 32 bytes of random text",
)
.unset("a random one for each process in development, required in production")
.secret();
const JWT_EXPIRY: Variable = Variable::new(
    "JWT_EXPIRY",
    "Life of an access token",
    "a duration with its unit, such as 15m",
)
.default("15m");
const JWT_REFRESH_EXPIRY: Variable = Variable::new(
    "JWT_REFRESH_EXPIRY",
    "Life of a refresh token",
    "a duration with its unit, such as 7d",
)
.default("7d");
const SESSION_CHECK_INTERVAL: Variable = Variable::new(
    "SESSION_CHECK_INTERVAL",
    "How soon an access token ends whose user has signed out or was put out",
    "a duration with its unit up to 30s, such as 15s",
)
.default("15s");
const ADMIN_EMAIL: Variable = Variable::new(
    "ADMIN_EMAIL",
    "Sign-in of the administrator that seed and create-admin make",
    "an e-mail address",
)
.development("admin@bharatmart.example");
const ADMIN_PASSWORD: Variable = Variable::new(
    "ADMIN_PASSWORD",
    "Password of that administrator",
    "at least 8 characters",
)
.development("bharatmart-admin")
.secret();

pub(crate) const TABLE: Table = Table {
    title: "Sign-in",
    variables: &[
        AUTH_PROVIDER,
        JWT_SECRET,
        JWT_EXPIRY,
        JWT_REFRESH_EXPIRY,
        SESSION_CHECK_INTERVAL,
        ADMIN_EMAIL,
        ADMIN_PASSWORD,
    ],
};

/// Access and refresh tokens.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The HS256 key, at least 32 bytes.
    pub jwt_secret: SecretString,
    /// The life of an access token.
    pub jwt_expiry: Duration,
    /// The life of a refresh token; longer than `jwt_expiry`.
    pub jwt_refresh_expiry: Duration,
    /// How long an access token is taken at its word before the database is asked again.
    pub session_check_interval: Duration,
}

impl AuthConfig {
    /// Reads the variables that the module's doc lists, without the administrator. In development a missing
    /// `JWT_SECRET` becomes a random one, with a warning, because tokens then end with the process.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        reader.required(&AUTH_PROVIDER, |provider| {
            (provider == "local").then_some(())
        });
        let given_secret = reader.optional(&JWT_SECRET, jwt_secret);
        if matches!(given_secret, Some(None)) && environment == Some(Environment::Production) {
            reader.missing(&JWT_SECRET);
        }
        let jwt_expiry = reader.required(&JWT_EXPIRY, parse::positive_with_unit);
        let jwt_refresh_expiry = reader.required(&JWT_REFRESH_EXPIRY, parse::positive_with_unit);
        let session_check_interval = reader.required(&SESSION_CHECK_INTERVAL, |value| {
            parse::positive_with_unit(value)
                .filter(|interval| *interval <= LONGEST_SESSION_CHECK_INTERVAL)
        });
        if let (Some(access), Some(refresh)) = (jwt_expiry, jwt_refresh_expiry)
            && refresh <= access
        {
            let limit = format!(
                "longer than JWT_EXPIRY, which is {}",
                humantime::format_duration(access)
            );
            reader.refuse(&JWT_REFRESH_EXPIRY, limit);
        }
        reader.finish(|| {
            Some(Self {
                jwt_secret: given_secret?.unwrap_or_else(|| random_secret(source)),
                jwt_expiry: jwt_expiry?,
                jwt_refresh_expiry: jwt_refresh_expiry?,
                session_check_interval: session_check_interval?,
            })
        })
    }
}

/// The administrator that `seed` and `create-admin` make.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The sign-in.
    pub email: String,
    /// The password.
    pub password: SecretString,
}

impl AdminConfig {
    /// Reads `ADMIN_EMAIL` and `ADMIN_PASSWORD`.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        // Decides whether the two have a default.
        reader.required(&ENVIRONMENT, Environment::parse);
        let email = reader.required(&ADMIN_EMAIL, parse::email);
        let password = reader.required(&ADMIN_PASSWORD, admin_password);
        reader.finish(|| {
            Some(Self {
                email: email?,
                password: password?,
            })
        })
    }
}

fn jwt_secret(value: &str) -> Option<SecretString> {
    (value.len() >= JWT_SECRET_MIN_BYTES).then(|| SecretString::from(value))
}

fn admin_password(value: &str) -> Option<SecretString> {
    (value.chars().count() >= ADMIN_PASSWORD_MIN).then(|| SecretString::from(value))
}

fn random_secret(source: &Source) -> SecretString {
    source.warn(
        "JWT_SECRET is not set: this process signs with a random key, and its tokens end with it",
    );
    // Two times 16 random bytes, as 64 hexadecimal digits.
    let (first, second): (u128, u128) = rand::random();
    SecretString::from(format!("{first:032x}{second:032x}"))
}
