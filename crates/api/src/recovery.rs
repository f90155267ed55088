//! Proving a mailbox, and choosing a new password with it.

use axum::{Json, extract::State};
use bharatmart_commerce::Accounts;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::Message,
    consistency::Own,
    error::ApiError,
    extract::{AuthUser, Body, LocalSignIn, Requested, ValidatedJson},
    fields::{Line, Password},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(verify_email))
        .routes(routes!(request_verification))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "token": "cUhNZ0V4YW1wbGVPbmx5Tm90QVJlYWxUb2tlbg" }))]
struct VerifyEmail {
    #[schema(inline)]
    token: Line<1, 200>,
}

impl Body for VerifyEmail {
    const REQUIRED: &'static [&'static str] = &["token"];
}

/// Prove a mailbox
///
/// The token is in the link of the latest mail, is good once, and for 24 hours.
#[utoipa::path(
    post,
    path = "/api/auth/verify-email",
    tag = "Accounts",
    request_body = VerifyEmail,
    responses(
        (status = 200, description = "The e-mail address is verified.", body = Message),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn verify_email(
    _: LocalSignIn,
    Own(accounts): Own<Accounts>,
    ValidatedJson(body): ValidatedJson<VerifyEmail>,
) -> Result<Json<Message>, ApiError> {
    let token = SecretString::from(body.token.into_string());
    accounts.verify_email(&token).await?;
    Ok(Json(Message {
        message: "E-mail address verified",
    }))
}

/// Ask for the mail that proves a mailbox
///
/// It takes the place of earlier ones. An account gets five in an hour.
#[utoipa::path(
    post,
    path = "/api/auth/verify-email/request",
    tag = "Accounts",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A mail is on its way, unless the address is verified already.", body = Message),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn request_verification(
    _: LocalSignIn,
    user: AuthUser,
    Own(accounts): Own<Accounts>,
) -> Result<(StatusCode, Json<Message>), ApiError> {
    accounts.request_verification(user.id).await?;
    let message = "Unless the e-mail address is verified already, a mail is on its way";
    Ok((StatusCode::ACCEPTED, Json(Message { message })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "email": "priya@example.in" }))]
struct ForgotPassword {
    /// Not checked any further: an address that cannot exist is as unknown as any other.
    #[schema(inline)]
    email: Line<1, 254>,
}

impl Body for ForgotPassword {
    const REQUIRED: &'static [&'static str] = &["email"];
}

/// Ask for the mail that lets one choose a new password
///
/// The answer is the same, and takes as long, whether there is such an account or not.
#[utoipa::path(
    post,
    path = "/api/auth/forgot-password",
    tag = "Accounts",
    request_body = ForgotPassword,
    responses(
        (status = 202, description = "A mail is on its way, if there is such an account.", body = Message),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn forgot_password(
    _: LocalSignIn,
    // Not the client's `Own`: the token of what is written for a known address would tell that it is known.
    State(accounts): State<Accounts>,
    ValidatedJson(body): ValidatedJson<ForgotPassword>,
) -> Result<(StatusCode, Json<Message>), ApiError> {
    accounts.forgot_password(&body.email.into_string()).await?;
    let message = "If there is an account with this e-mail address, a mail is on its way";
    Ok((StatusCode::ACCEPTED, Json(Message { message })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "token": "cUhNZ0V4YW1wbGVPbmx5Tm90QVJlYWxUb2tlbg", "password": "Correct-Horse-42" }))]
struct ResetPassword {
    #[schema(inline)]
    token: Line<1, 200>,
    #[schema(inline)]
    password: Password<8>,
}

impl Body for ResetPassword {
    const REQUIRED: &'static [&'static str] = &["token", "password"];
}

/// Choose a new password
///
/// The token is in the link of a mail, and good for 30 minutes or until a new password is chosen with it or with another.
/// Whoever is signed in is signed out.
#[utoipa::path(
    post,
    path = "/api/auth/reset-password",
    tag = "Accounts",
    request_body = ResetPassword,
    responses(
        (status = 200, description = "The password is changed.", body = Message),
        (status = 404, description = "Somebody else signs people in (`AUTH_PROVIDER`)."),
    )
)]
async fn reset_password(
    _: LocalSignIn,
    Own(accounts): Own<Accounts>,
    requested: Requested,
    ValidatedJson(body): ValidatedJson<ResetPassword>,
) -> Result<Json<Message>, ApiError> {
    let token = SecretString::from(body.token.into_string());
    let origin = requested.by_somebody();
    accounts
        .reset_password(&token, &body.password.0, origin)
        .await?;
    Ok(Json(Message {
        message: "Password changed",
    }))
}
