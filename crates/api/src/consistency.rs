//! Nobody reads what is older than their own writes, from whichever replica and through whichever
//! instance.
//!
//! The answer to a request that wrote carries a token: how far the database's log was written then. A
//! later request that brings the token is answered by a server that has come so far. Browsers carry it as
//! a cookie, programs as a header. Without replicas there are no tokens.

use std::time::Duration;

use axum::{
    extract::{FromRef, FromRequestParts, Request, State},
    middleware::Next,
    response::Response,
};
use bharatmart_commerce::{Accounts, Shop};
use bharatmart_database::{Database, Position};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
    request::Parts,
};

use crate::{cached::Pages, error::ApiError, router::RouterOptions, state::AppState};

/// Carries the token of a program.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-consistency-token");
/// Carries the token of a browser.
const COOKIE_NAME: &str = "bm_consistency";
/// How much longer a browser keeps a token than a replica in rotation may lag.
const MARGIN: Duration = Duration::from_secs(5);

/// What the layer needs.
#[derive(Clone)]
pub(crate) struct Consistency {
    database: Database,
    /// What follows the token in a cookie.
    attributes: String,
}

impl Consistency {
    /// `None` without replicas.
    pub(crate) fn new(database: &Database, options: &RouterOptions) -> Option<Self> {
        if !database.has_replicas() {
            return None;
        }
        // By then every replica that is read from has come so far.
        let age = (options.max_replica_lag + MARGIN).as_secs();
        let origins = &options.cors_origins;
        let secure = if origins.iter().all(|origin| origin.starts_with("https://")) {
            "; Secure"
        } else {
            ""
        };
        Some(Self {
            database: database.clone(),
            attributes: format!("; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"),
        })
    }

    fn cookie(&self, token: Position) -> String {
        format!("{COOKIE_NAME}={token}{}", self.attributes)
    }
}

/// The database as one client has to see it.
#[derive(Clone)]
struct Scoped(Database);

/// Gives a request the database as its client has to see it, and its answer a token if something was written.
pub(crate) async fn keep(
    State(consistency): State<Consistency>,
    mut request: Request,
    next: Next,
) -> Response {
    let seen = match token(request.headers()) {
        Some(token) => consistency.database.believe(token).await,
        None => None,
    };
    let database = consistency.database.for_request(seen);
    request.extensions_mut().insert(Scoped(database.clone()));
    let mut response = next.run(request).await;
    if let Some(token) = database.token().await {
        let headers = response.headers_mut();
        // Digits and the words above are allowed in headers.
        if let (Ok(header), Ok(cookie)) = (
            HeaderValue::try_from(token.to_string()),
            HeaderValue::try_from(consistency.cookie(token)),
        ) {
            headers.insert(TOKEN, header);
            headers.append(SET_COOKIE, cookie);
        }
    }
    response
}

/// The latest token of a request. What is none is passed over.
fn token(headers: &HeaderMap) -> Option<Position> {
    let of_header = headers.get_all(TOKEN).iter();
    let of_header = of_header.filter_map(|value| value.to_str().ok());
    let of_cookie = headers.get_all(COOKIE).iter();
    let of_cookie = of_cookie
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    of_header
        .chain(of_cookie)
        .filter_map(|token| token.trim().parse().ok())
        .max()
}

/// A part of the state whose reads see what the client of one request has written.
pub(crate) trait Consistent {
    /// The same with the database as that client has to see it.
    fn with(self, database: Database) -> Self;
}

impl Consistent for Database {
    fn with(self, database: Database) -> Self {
        database
    }
}

impl Consistent for Shop {
    fn with(self, database: Database) -> Self {
        Self { database, ..self }
    }
}

impl Consistent for Accounts {
    fn with(self, database: Database) -> Self {
        Self::with(self, database)
    }
}

impl Consistent for Pages {
    fn with(self, database: Database) -> Self {
        Self::with(self, database)
    }
}

/// Extracts a part of the state as the client of the request has to see it.
pub(crate) struct Own<T>(pub(crate) T);

impl<T> FromRequestParts<AppState> for Own<T>
where
    T: FromRef<AppState> + Consistent,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let part = T::from_ref(state);
        Ok(Self(match parts.extensions.get() {
            Some(Scoped(database)) => part.with(database.clone()),
            None => part,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(headers: &[(HeaderName, &'static str)]) -> Option<u64> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        token(&headers).map(Position::bytes)
    }

    #[test]
    fn the_latest_token_counts_and_nonsense_does_not() {
        assert_eq!(token_of(&[]), None);
        for (cookie, bytes) in [
            ("bm_consistency=0000000100000000000000ff", Some(255)),
            (
                "a=b; bm_consistency=0000000100000000000000ff; c=d",
                Some(255),
            ),
            (
                "bm_consistency=0000000100000000000000ff; bm_consistency=000000010000000000000001",
                Some(255),
            ),
            ("bm_consistency=ff", None),
            ("bm_consistency2=0000000100000000000000ff", None),
            ("bm_consistency", None),
            (";;=;", None),
        ] {
            assert_eq!(token_of(&[(COOKIE, cookie)]), bytes, "{cookie}");
        }
        assert_eq!(token_of(&[(TOKEN, "0000000100000000000000ff")]), Some(255));
        assert_eq!(token_of(&[(TOKEN, "0/FF")]), None);
        let both = [
            (TOKEN, "000000010000000000000001"),
            (COOKIE, "bm_consistency=0000000100000000000000ff"),
        ];
        assert_eq!(token_of(&both), Some(255));
    }
}
