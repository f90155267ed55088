//! Signing up, in and out, and one's own profile.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bharatmart_commerce::{Accounts, SignedIn};
use bharatmart_database::{
    Database, Freshness,
    users::{self, User, UserChanges},
};
use http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AuthUser, Body, ValidatedJson},
    fields::{Email, Line, Nullable, Password, Text, sent},
    state::AppState,
    tokens::Tokens,
    users::{Address, FullName, Phone},
};

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/auth/signup", post(sign_up))
        .route("/api/auth/login", post(sign_in))
        .route("/api/auth/refresh", post(refresh))
        .route("/api/auth/logout", post(sign_out))
        .route("/api/auth/me", get(read_me).patch(update_me))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: User,
    token: String,
    refresh_token: String,
}

/// Tokens are for their receiver alone (RFC 6749, section 5.1).
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

type SessionResponse = (StatusCode, [(HeaderName, HeaderValue); 1], Json<Session>);

fn session(
    status: StatusCode,
    tokens: &Tokens,
    signed_in: SignedIn,
) -> Result<SessionResponse, ApiError> {
    let token = tokens.issue(&signed_in.user, signed_in.family)?;
    let refresh_token = signed_in.refresh_token.expose_secret().to_owned();
    Ok((
        status,
        NO_STORE,
        Json(Session {
            user: signed_in.user,
            token,
            refresh_token,
        }),
    ))
}

#[derive(Debug, Deserialize)]
struct SignUp {
    email: Email,
    password: Password<8>,
    full_name: FullName,
}

impl Body for SignUp {
    const REQUIRED: &'static [&'static str] = &["email", "password", "full_name"];
}

async fn sign_up(
    Own(accounts): Own<Accounts>,
    State(tokens): State<Tokens>,
    ValidatedJson(body): ValidatedJson<SignUp>,
) -> Result<SessionResponse, ApiError> {
    let name = body.full_name.into_string();
    let signed_in = accounts
        .sign_up(body.email.as_str(), &body.password.0, &name)
        .await?;
    session(StatusCode::CREATED, &tokens, signed_in)
}

#[derive(Debug, Deserialize)]
struct SignIn {
    /// Not checked any further: an address that cannot exist is as unknown as any other.
    email: Line<1, 254>,
    password: Password<1>,
}

impl Body for SignIn {
    const REQUIRED: &'static [&'static str] = &["email", "password"];
}

async fn sign_in(
    Own(accounts): Own<Accounts>,
    State(tokens): State<Tokens>,
    ValidatedJson(body): ValidatedJson<SignIn>,
) -> Result<SessionResponse, ApiError> {
    let signed_in = accounts
        .sign_in(&body.email.into_string(), &body.password.0)
        .await?;
    session(StatusCode::OK, &tokens, signed_in)
}

#[derive(Debug, Deserialize)]
struct Refresh {
    #[serde(rename = "refreshToken")]
    refresh_token: Line<1, 200>,
}

impl Body for Refresh {
    const REQUIRED: &'static [&'static str] = &["refreshToken"];
}

async fn refresh(
    Own(accounts): Own<Accounts>,
    State(tokens): State<Tokens>,
    ValidatedJson(body): ValidatedJson<Refresh>,
) -> Result<SessionResponse, ApiError> {
    let token = SecretString::from(body.refresh_token.into_string());
    session(StatusCode::OK, &tokens, accounts.refresh(&token).await?)
}

#[derive(Debug, Serialize)]
struct Message {
    message: &'static str,
}

async fn sign_out(user: AuthUser, Own(accounts): Own<Accounts>) -> Result<Json<Message>, ApiError> {
    accounts.sign_out(user.family).await?;
    Ok(Json(Message {
        message: "Logged out successfully",
    }))
}

#[derive(Debug, Serialize)]
struct Me {
    user: User,
}

/// The user of a token that is still good, unless they may no longer sign in.
fn me(user: Option<User>) -> Result<Json<Me>, ApiError> {
    user.filter(|user| user.is_active)
        .map(|user| Json(Me { user }))
        .ok_or(ApiError::Unauthenticated("Invalid or expired token"))
}

async fn read_me(user: AuthUser, Own(database): Own<Database>) -> Result<Json<Me>, ApiError> {
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let mut found = users::find(&mut connection, user.id).await?;
    if found.is_none() {
        // A client without a token may have signed up a moment ago, and would take a refusal for the end of it.
        connection = database.read(Freshness::Latest).await?;
        found = users::find(&mut connection, user.id).await?;
    }
    me(found)
}

/// Fields that are not sent stay as they are; `null` clears those that may be empty. Role and
/// activity are not among them.
#[derive(Debug, Deserialize)]
struct UpdateMe {
    #[serde(default, deserialize_with = "sent")]
    full_name: Option<FullName>,
    #[serde(default, deserialize_with = "sent")]
    phone: Option<Nullable<Phone>>,
    #[serde(default, deserialize_with = "sent")]
    address: Option<Nullable<Address>>,
}

impl Body for UpdateMe {}

async fn update_me(
    user: AuthUser,
    Own(database): Own<Database>,
    ValidatedJson(body): ValidatedJson<UpdateMe>,
) -> Result<Json<Me>, ApiError> {
    let changes = UserChanges {
        full_name: body.full_name.map(Line::into_string),
        address: body.address.map(|text| text.0.map(Text::into_string)),
        phone: body.phone.map(|text| text.0.map(Line::into_string)),
        ..UserChanges::default()
    };
    let mut transaction = database.begin().await?;
    // Refused, it is rolled back: nobody changes what they can no longer see.
    let me = me(users::update(&mut transaction, user.id, &changes).await?)?;
    transaction.commit().await?;
    Ok(me)
}
