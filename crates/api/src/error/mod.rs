//! Everything that a request can be refused with.

mod causes;

use std::{error::Error as StdError, fmt::Write as _, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use bharatmart_database::{self as database, orders::Shortage};
use bharatmart_telemetry::chain;
use http::{
    HeaderValue, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// What is wrong with one field of a body, or with one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Its path, such as `items[0].quantity`.
    pub field: String,
    /// What it should be.
    pub message: String,
}

impl FieldError {
    /// Says what is wrong with `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// The code of a conflict that is over soon.
const KEY_IN_USE: &str = "idempotency_key_in_use";
/// The code of a refusal because too much is asked for.
pub(crate) const OVERLOADED: &str = "overloaded";
/// When one of too many may have ended.
const FREED_SOON: Duration = Duration::from_secs(10);

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400: the body is not JSON, or not an object.
    #[error("{0}")]
    MalformedBody(String),
    /// 400: required fields are missing; further fields may be wrong as well.
    #[error("required fields are missing")]
    MissingFields {
        /// The fields' names, in the order in which they are documented.
        missing: Vec<&'static str>,
        /// What else is wrong.
        invalid: Vec<FieldError>,
        /// What to say instead of `Missing required fields: …`.
        sentence: Option<&'static str>,
    },
    /// 400: fields or parameters are wrong.
    #[error("fields are invalid")]
    Invalid {
        /// Each of them.
        errors: Vec<FieldError>,
        /// What to say instead of `Invalid …`.
        sentence: Option<&'static str>,
    },
    /// 400: a webhook that is not signed as it should be, or says nothing.
    #[error("{0}")]
    BadWebhook(String),
    /// 401: who is asking is not known, or their proof is no good.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// 403: who is asking may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// 404: there is no such thing, or it is somebody else's.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// 404: somebody else signs people in.
    #[error("People are signed in by another provider, not here: GET /api/system/info names it")]
    SignsInElsewhere,
    /// 404: there is no such route.
    #[error("Route not found")]
    RouteNotFound,
    /// 404: nobody can sign webhooks.
    #[error("Webhooks are not accepted: PAYMENT_WEBHOOK_SECRET is not set")]
    WebhooksOff,
    /// 405: the route has other methods.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// 409: the state of things forbids it.
    #[error("{message}")]
    Conflict {
        /// For programs.
        code: &'static str,
        /// For people.
        message: String,
        /// The field at fault, if it is one.
        field: Option<&'static str>,
    },
    /// 409: too little is left.
    #[error("out of stock")]
    OutOfStock(Vec<Shortage>),
    /// 413: the body is longer than the limit.
    #[error("The body must be at most {0} bytes")]
    BodyTooLarge(usize),
    /// 415: the body is not declared as what the route takes.
    #[error("The body must be sent as {0}")]
    UnsupportedMediaType(&'static str),
    /// 422: well-formed, but it cannot be done.
    #[error("{message}")]
    Unprocessable {
        /// For programs.
        code: &'static str,
        /// For people.
        message: String,
        /// What is wrong, field by field.
        errors: Vec<FieldError>,
    },
    /// 429: there is as much of it as one user may have at a time.
    #[error("{0}")]
    TooMany(String),
    /// 429: the client has asked for more than it may.
    #[error("Too many requests")]
    TooManyRequests {
        /// How long to wait until there is room for one more.
        retry_after: Duration,
    },
    /// 429: too many wrong passwords, or mails.
    #[error("Too many attempts; try again later")]
    TooManyAttempts {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// 500: a defect of ours.
    #[error("internal error")]
    Internal(#[source] BoxError),
    /// 503: something that this needs is away.
    #[error("{what} is not available")]
    Unavailable {
        /// What is away.
        what: &'static str,
        /// How long to wait before trying again.
        retry_after: Duration,
        /// How we know.
        #[source]
        source: BoxError,
    },
    /// 503: more is asked for than can be done.
    #[error("Service overloaded")]
    Overloaded,
    /// 503: it took longer than a request may.
    #[error("the request took longer than {0:?}")]
    TimedOut(Duration),
    /// What other requests that waited for the same thing are refused with as well. Whoever made it
    /// has logged it.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl ApiError {
    /// One wrong field or parameter.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            errors: vec![FieldError::new(field, message)],
            sentence: None,
        }
    }

    /// The response's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MalformedBody(_)
            | Self::MissingFields { .. }
            | Self::Invalid { .. }
            | Self::BadWebhook(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_)
            | Self::SignsInElsewhere
            | Self::RouteNotFound
            | Self::WebhooksOff => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } | Self::OutOfStock(_) => StatusCode::CONFLICT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) | Self::TooManyAttempts { .. } | Self::TooManyRequests { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } | Self::Overloaded | Self::TimedOut(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Shared(error) => error.status(),
        }
    }

    /// The word that programs tell errors apart by.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MalformedBody(_) => "malformed_body",
            Self::MissingFields { .. } => "missing_fields",
            Self::Invalid { .. } => "invalid_fields",
            Self::BadWebhook(_) => "bad_webhook",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::SignsInElsewhere => "auth_provider",
            Self::RouteNotFound => "route_not_found",
            Self::WebhooksOff => "webhooks_off",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict { code, .. } | Self::Unprocessable { code, .. } => code,
            Self::OutOfStock(_) => "out_of_stock",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::UnsupportedMediaType(_) => "unsupported_media_type",
            Self::TooMany(_) => "too_many",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::TooManyRequests { .. } => "rate_limited",
            Self::Overloaded => OVERLOADED,
            Self::Internal(_) => "internal_error",
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut(_) => "timed_out",
            Self::Shared(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyAttempts { retry_after }
            | Self::TooManyRequests { retry_after }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::TimedOut(_) => Some(database::Error::RETRY_AFTER),
            Self::TooMany(_) => Some(FREED_SOON),
            Self::Shared(error) => error.retry_after(),
            Self::Conflict { code, .. } if *code == KEY_IN_USE => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// What the client is told.
    fn problem(&self) -> Problem {
        let (status, code) = (self.status(), self.code());
        let problem = |error: String| Problem::new(status, code, error);
        match self {
            Self::MissingFields {
                missing,
                invalid,
                sentence,
            } => {
                let all = format!("Missing required fields: {}", missing.join(", "));
                let detail = [Some(all.clone()), sentences(invalid)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("; ");
                let errors = missing
                    .iter()
                    .map(|field| FieldError::new(*field, "is required"))
                    .chain(invalid.iter().cloned())
                    .collect();
                problem(sentence.map_or(all, str::to_owned))
                    .with_detail(detail)
                    .with_errors(errors)
            }
            Self::Invalid { errors, sentence } => {
                let names: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
                let error =
                    sentence.map_or_else(|| format!("Invalid {}", names.join(", ")), str::to_owned);
                let detail = sentences(errors).unwrap_or_else(|| error.clone());
                problem(error)
                    .with_detail(detail)
                    .with_errors(errors.clone())
            }
            Self::Conflict { message, field, .. } => {
                let errors = field
                    .map(|field| FieldError::new(field, message))
                    .into_iter()
                    .collect();
                problem(message.clone()).with_errors(errors)
            }
            Self::OutOfStock(shortages) => out_of_stock(problem, shortages),
            Self::Unprocessable {
                message, errors, ..
            } => problem(message.clone()).with_errors(errors.clone()),
            Self::TooManyRequests { retry_after } => {
                let seconds = whole_seconds(*retry_after);
                problem(self.to_string()).with_detail(format!("Try again in {seconds} seconds."))
            }
            Self::Overloaded => problem(self.to_string())
                .with_detail("More is asked for than can be done. Try again shortly."),
            // What went wrong inside is for the log alone.
            Self::Internal(_) => problem("Internal server error".to_owned()).with_detail(
                "The request could not be completed. Quote request_id when you ask about it.",
            ),
            Self::Unavailable { .. } => problem("Service temporarily unavailable".to_owned())
                .with_detail("Something that this needs is not available. Try again shortly."),
            Self::TimedOut(_) => problem("Service temporarily unavailable".to_owned())
                .with_detail("The request took too long and was given up. Try again shortly."),
            Self::Shared(error) => error.problem(),
            other => problem(other.to_string()),
        }
    }

    /// Logs what is not the client's doing.
    pub(crate) fn log(&self) {
        match self {
            Self::Internal(_) => {
                tracing::error!(code = self.code(), error = chain(self), "request failed");
            }
            Self::WebhooksOff | Self::Unavailable { .. } | Self::TimedOut(_) => {
                tracing::warn!(code = self.code(), error = chain(self), "request failed");
            }
            _ => {}
        }
    }
}

/// At least one, and not too few.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn sentences(errors: &[FieldError]) -> Option<String> {
    let mut text = String::new();
    for FieldError { field, message } in errors {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{field}: {message}");
    }
    (!text.is_empty()).then_some(text)
}

fn out_of_stock(problem: impl FnOnce(String) -> Problem, shortages: &[Shortage]) -> Problem {
    let named: Vec<_> = shortages
        .iter()
        .map(|short| format!("{} ({} left)", short.name, short.available))
        .collect();
    let errors = shortages
        .iter()
        .map(|short| {
            let Shortage {
                product_id,
                name,
                requested,
                available,
            } = short;
            FieldError::new(
                "items",
                format!("{name} ({product_id}): {requested} requested, {available} left"),
            )
        })
        .collect();
    problem(format!("Out of stock: {}", named.join(", ")))
        .with_errors(errors)
        .with_shortages(shortages.to_vec())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let mut response = self.problem().into_response();
        if let Some(retry_after) = self.retry_after() {
            let seconds = HeaderValue::from(whole_seconds(retry_after));
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
