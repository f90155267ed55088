//! Signing up, in and out, and one's own profile.

use axum::Json;
use bharatmart_commerce::{Accounts, SignedIn};
use bharatmart_database::{
    Database, Freshness,
    users::{self, User, UserChanges},
};
use http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AuthUser, Body, LocalSignIn, Requested, ValidatedJson},
    fields::{Email, Line, Nullable, Password, Text, sent},
    state::AppState,
    tokens::Tokens,
    users::{Address, FullName, Phone},
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(sign_up))
        .routes(routes!(sign_in))
        .routes(routes!(refresh))
        .routes(routes!(sign_out))
        .routes(routes!(read_me, update_me))
}

/// Somebody who is signed in, and their tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: User,
    /// The access token (JWT).
    token: String,
    /// Good once, for the next pair.
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

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "email": "priya@example.in", "password": "Correct-Horse-42", "full_name": "Priya Sharma" }))]
struct SignUp {
    #[schema(inline)]
    email: Email,
    #[schema(inline)]
    password: Password<8>,
    #[schema(inline)]
    full_name: FullName,
}

impl Body for SignUp {
    const REQUIRED: &'static [&'static str] = &["email", "password", "full_name"];
}

/// Sign up
#[utoipa::path(
    post,
    path = "/api/auth/signup",
    tag = "Accounts",
    request_body = SignUp,
    responses(
        (status = 201, description = "A new customer, signed in.", body = Session),
        (status = 409, description = "Somebody has this e-mail address already."),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn sign_up(
    LocalSignIn(local): LocalSignIn,
    Own(accounts): Own<Accounts>,
    ValidatedJson(body): ValidatedJson<SignUp>,
) -> Result<SessionResponse, ApiError> {
    let name = body.full_name.into_string();
    let signed_in = accounts
        .sign_up(body.email.as_str(), &body.password.0, &name)
        .await?;
    session(StatusCode::CREATED, &local.tokens, signed_in)
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "email": "priya@example.in", "password": "Correct-Horse-42" }))]
struct SignIn {
    /// Not checked any further: an address that cannot exist is as unknown as any other.
    #[schema(inline)]
    email: Line<1, 254>,
    #[schema(inline)]
    password: Password<1>,
}

impl Body for SignIn {
    const REQUIRED: &'static [&'static str] = &["email", "password"];
}

/// Sign in
///
/// An unknown address, a wrong password and an account that may not sign in are told the same.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    tag = "Accounts",
    request_body = SignIn,
    responses(
        (status = 200, description = "Signed in.", body = Session),
        (status = 401, description = "The address or the password is wrong."),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn sign_in(
    LocalSignIn(local): LocalSignIn,
    Own(accounts): Own<Accounts>,
    requested: Requested,
    ValidatedJson(body): ValidatedJson<SignIn>,
) -> Result<SessionResponse, ApiError> {
    let email = body.email.into_string();
    let signed_in = accounts
        .sign_in(&email, &body.password.0, requested.by_somebody())
        .await?;
    session(StatusCode::OK, &local.tokens, signed_in)
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "refreshToken": "cUhNZ0V4YW1wbGVPbmx5Tm90QVJlYWxUb2tlbg" }))]
struct Refresh {
    #[serde(rename = "refreshToken")]
    #[schema(inline)]
    refresh_token: Line<1, 200>,
}

impl Body for Refresh {
    const REQUIRED: &'static [&'static str] = &["refreshToken"];
}

/// Exchange a refresh token
///
/// It is good once: a second use revokes all tokens that came of the same sign-in.
#[utoipa::path(
    post,
    path = "/api/auth/refresh",
    tag = "Accounts",
    request_body = Refresh,
    responses(
        (status = 200, description = "The next pair of tokens.", body = Session),
        (status = 401, description = "The token is unknown, spent, revoked or past its end."),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn refresh(
    LocalSignIn(local): LocalSignIn,
    Own(accounts): Own<Accounts>,
    ValidatedJson(body): ValidatedJson<Refresh>,
) -> Result<SessionResponse, ApiError> {
    let token = SecretString::from(body.refresh_token.into_string());
    session(
        StatusCode::OK,
        &local.tokens,
        accounts.refresh(&token).await?,
    )
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    pub(crate) message: &'static str,
}

/// Sign out
///
/// Revokes the refresh token, and all that came of the same sign-in.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    tag = "Accounts",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Signed out.", body = Message),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn sign_out(
    LocalSignIn(local): LocalSignIn,
    user: AuthUser,
    Own(accounts): Own<Accounts>,
) -> Result<Json<Message>, ApiError> {
    if let Some(family) = user.family {
        accounts.sign_out(family).await?;
        local.sessions.end(family).await;
    }
    Ok(Json(Message {
        message: "Logged out successfully",
    }))
}

#[derive(Debug, Serialize, ToSchema)]
struct Me {
    user: User,
}

/// The user of a token that is still good, unless they may no longer sign in.
fn me(user: Option<User>) -> Result<Json<Me>, ApiError> {
    user.filter(|user| user.is_active)
        .map(|user| Json(Me { user }))
        .ok_or(ApiError::Unauthenticated("Invalid or expired token"))
}

/// Read one's own profile
#[utoipa::path(
    get,
    path = "/api/auth/me",
    tag = "Accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "Who is signed in.", body = Me))
)]
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
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "phone": "+91 98765 43210", "address": "12 MG Road\nBengaluru 560001" }))]
struct UpdateMe {
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, nullable = false)]
    full_name: Option<FullName>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Phone>)]
    phone: Option<Nullable<Phone>>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Address>)]
    address: Option<Nullable<Address>>,
}

impl Body for UpdateMe {}

/// Change one's own profile
#[utoipa::path(
    patch,
    path = "/api/auth/me",
    tag = "Accounts",
    security(("bearer" = [])),
    request_body = UpdateMe,
    responses((status = 200, description = "The profile as it is now.", body = Me))
)]
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
