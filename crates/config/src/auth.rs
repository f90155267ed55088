//! Tokens, and the first administrator.
//!
//! - `AUTH_PROVIDER`
//! - `SUPABASE_URL` (with the database)
//! - `SUPABASE_JWT_SECRET`
//! - `SUPABASE_SERVICE_ROLE_KEY`
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

const LOCAL: &str = "local";
const SUPABASE: &str = "supabase";

const AUTH_PROVIDER: Variable = Variable::new(
    "AUTH_PROVIDER",
    "Who signs people in: the shop itself, or the Supabase project in SUPABASE_URL",
    "local or supabase",
)
.default("local");
/// The variable that the database reads as well, but any project will do here.
const SUPABASE_URL: Variable = Variable::new(
    "SUPABASE_URL",
    "The Supabase project that signs people in",
    "an origin such as https://<project>.supabase.co",
)
.unset("none; required with AUTH_PROVIDER=supabase");
const SUPABASE_JWT_SECRET: Variable = Variable::new(
    "SUPABASE_JWT_SECRET",
    "Legacy secret of that project, if it still signs access tokens with HS256",
    "at least 32 bytes, from the project's settings",
)
.unset("only tokens that a key of the project has signed are taken")
.secret();
const SUPABASE_SERVICE_ROLE_KEY: Variable = Variable::new(
    "SUPABASE_SERVICE_ROLE_KEY",
    "Secret key of that project, to ask it whose e-mail address is confirmed",
    "any text",
)
.unset("nobody whom Supabase signs in gets an account that was there before")
.secret();
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
        SUPABASE_JWT_SECRET,
        SUPABASE_SERVICE_ROLE_KEY,
        JWT_SECRET,
        JWT_EXPIRY,
        JWT_REFRESH_EXPIRY,
        SESSION_CHECK_INTERVAL,
        ADMIN_EMAIL,
        ADMIN_PASSWORD,
    ],
};

/// Who signs people in, and how.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Who.
    pub provider: AuthProvider,
    /// How long an access token is taken at its word before the database is asked again.
    pub session_check_interval: Duration,
}

/// Who signs people in.
#[derive(Clone, Debug)]
pub enum AuthProvider {
    /// The shop itself.
    Local(LocalAuth),
    /// A Supabase project.
    Supabase(SupabaseAuth),
}

/// The shop's own tokens.
#[derive(Clone, Debug)]
pub struct LocalAuth {
    /// The HS256 key, at least 32 bytes.
    pub jwt_secret: SecretString,
    /// The life of an access token.
    pub jwt_expiry: Duration,
    /// The life of a refresh token; longer than `jwt_expiry`.
    pub jwt_refresh_expiry: Duration,
}

/// A Supabase project's tokens.
#[derive(Clone, Debug)]
pub struct SupabaseAuth {
    /// The origin of the project, without a slash at its end.
    pub url: String,
    /// The HS256 key, if it still uses one.
    pub jwt_secret: Option<SecretString>,
    /// What its own API wants to be asked with.
    pub service_role_key: Option<SecretString>,
}

impl SupabaseAuth {
    /// Who its tokens say has made them; its API is there as well.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/auth/v1", self.url)
    }
}

impl AuthProvider {
    /// The value of `AUTH_PROVIDER`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Local(_) => LOCAL,
            Self::Supabase(_) => SUPABASE,
        }
    }
}

impl AuthConfig {
    /// Reads the variables that the module's doc lists, without the administrator, and only those of the provider.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let known = |value: &str| [LOCAL, SUPABASE].into_iter().find(|name| *name == value);
        let provider = match reader.required(&AUTH_PROVIDER, known) {
            Some(SUPABASE) => reader
                .section(SupabaseAuth::read(source))
                .map(AuthProvider::Supabase),
            Some(_) => reader
                .section(LocalAuth::read(source))
                .map(AuthProvider::Local),
            None => None,
        };
        let session_check_interval = reader.required(&SESSION_CHECK_INTERVAL, |value| {
            parse::positive_with_unit(value)
                .filter(|interval| *interval <= LONGEST_SESSION_CHECK_INTERVAL)
        });
        reader.finish(|| {
            Some(Self {
                provider: provider?,
                session_check_interval: session_check_interval?,
            })
        })
    }
}

impl LocalAuth {
    /// Reads the variables that begin with `JWT_`. In development a missing `JWT_SECRET` becomes a random one, with a
    /// warning, because tokens then end with the process.
    fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let given_secret = reader.optional(&JWT_SECRET, jwt_secret);
        if matches!(given_secret, Some(None)) && environment == Some(Environment::Production) {
            reader.missing(&JWT_SECRET);
        }
        let jwt_expiry = reader.required(&JWT_EXPIRY, parse::positive_with_unit);
        let jwt_refresh_expiry = reader.required(&JWT_REFRESH_EXPIRY, parse::positive_with_unit);
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
            })
        })
    }
}

impl SupabaseAuth {
    /// Reads the variables that begin with `SUPABASE_`.
    fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let url = reader.optional(&SUPABASE_URL, parse::origin);
        if matches!(url, Some(None)) {
            reader.missing(&SUPABASE_URL);
        }
        let jwt_secret = reader.optional(&SUPABASE_JWT_SECRET, jwt_secret);
        let service_role_key = reader.optional(&SUPABASE_SERVICE_ROLE_KEY, parse::secret);
        if environment == Some(Environment::Production)
            && matches!(&url, Some(Some(url)) if url.starts_with("http://"))
        {
            source.warn("SUPABASE_URL is not https: whoever is on the way can sign in as anybody");
        }
        reader.finish(|| {
            Some(Self {
                url: url??,
                jwt_secret: jwt_secret?,
                service_role_key: service_role_key?,
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
