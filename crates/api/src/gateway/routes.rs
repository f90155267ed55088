//! What the gateway answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{FromRef, Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bharatmart_commerce::{Charge, ChargeStatus, GatewayError, SandboxGateway};
use bharatmart_config::ChaosConfig;
use bharatmart_domain::Money;
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    error::{ApiError, FieldError},
    extract::{Body, IDEMPOTENCY_KEY, ValidatedJson},
    fields::Line,
    limits::Limit,
    router::{RouterOptions, with_layers},
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Served {
    gateway: SandboxGateway,
    /// SHA-256 of what shops have to show: comparing two of these tells nothing of what they are made from.
    api_key: Arc<[u8]>,
}

impl FromRef<Served> for SandboxGateway {
    fn from_ref(state: &Served) -> Self {
        state.gateway.clone()
    }
}

/// The routes of `gateway`, for shops that show `api_key`.
pub(super) fn router(gateway: SandboxGateway, api_key: &SecretString) -> Router {
    let state = Served {
        gateway,
        api_key: hash(api_key.expose_secret()),
    };
    let routes = Router::new()
        .route("/v1/charges", post(charge))
        .route("/v1/charges/{key}", get(read))
        .route("/v1/charges/{key}/void", post(void))
        .route("/v1/charges/{key}/refund", post(refund))
        .route_layer(from_fn_with_state(state.clone(), authenticate))
        .fallback(async || ApiError::RouteNotFound)
        .with_state(state);
    let options = RouterOptions {
        cors_origins: Vec::new(),
        request_timeout: TIMEOUT,
        max_replica_lag: Duration::ZERO,
        chaos: ChaosConfig {
            enabled: false,
            latency: Duration::ZERO,
        },
    };
    with_layers(routes, Limit(None), None, &options)
}

fn hash(text: &str) -> Arc<[u8]> {
    Arc::from(Sha256::digest(text).as_slice())
}

async fn authenticate(State(state): State<Served>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if shown.map(hash) == Some(state.api_key) {
        next.run(request).await
    } else {
        ApiError::Unauthenticated("The API key is missing or not the gateway's").into_response()
    }
}

#[derive(Debug, Deserialize)]
struct NewCharge {
    amount: Money,
    token: Option<Line<1, 100>>,
}

impl Body for NewCharge {
    const REQUIRED: &'static [&'static str] = &["amount"];
}

/// How much a charge that may not exist yet is about.
#[derive(Debug, Deserialize)]
struct Amount {
    amount: Money,
}

impl Body for Amount {
    const REQUIRED: &'static [&'static str] = &["amount"];
}

async fn charge(
    State(gateway): State<SandboxGateway>,
    headers: HeaderMap,
    ValidatedJson(body): ValidatedJson<NewCharge>,
) -> Result<Response, ApiError> {
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| (1..=255).contains(&key.len()) && !key.contains(' '))
        .ok_or_else(|| {
            ApiError::invalid(
                "Idempotency-Key",
                "must be 1 to 255 visible ASCII characters",
            )
        })?;
    let token = body.token.map(Line::into_string);
    let charge = gateway.charge(key, body.amount, token.as_deref()).await;
    respond(charge, body.amount)
}

async fn read(
    State(gateway): State<SandboxGateway>,
    Path(key): Path<String>,
) -> Result<Json<Charge>, ApiError> {
    let found = gateway.find(&key).await.map_err(refusal)?;
    found.map(Json).ok_or(ApiError::NotFound("Charge"))
}

async fn void(
    State(gateway): State<SandboxGateway>,
    Path(key): Path<String>,
    ValidatedJson(body): ValidatedJson<Amount>,
) -> Result<Response, ApiError> {
    respond(gateway.void(&key, body.amount).await, body.amount)
}

async fn refund(
    State(gateway): State<SandboxGateway>,
    Path(key): Path<String>,
    ValidatedJson(body): ValidatedJson<Amount>,
) -> Result<Response, ApiError> {
    // Compared before the money is gone.
    if let Some(known) = gateway.find(&key).await.map_err(refusal)? {
        is_about(&known, body.amount)?;
    }
    respond(gateway.refund(&key).await, body.amount)
}

/// Answers with the charge: 202 while its outcome is to come.
fn respond(charge: Result<Charge, GatewayError>, amount: Money) -> Result<Response, ApiError> {
    let charge = charge.map_err(refusal)?;
    is_about(&charge, amount)?;
    let status = match charge.status {
        ChargeStatus::Pending => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(charge)).into_response())
}

fn is_about(charge: &Charge, amount: Money) -> Result<(), ApiError> {
    if charge.amount == amount {
        return Ok(());
    }
    Err(ApiError::Unprocessable {
        code: "idempotency_key_reused",
        message: "This key belongs to a charge of another amount".to_owned(),
        errors: vec![FieldError::new(
            "amount",
            format!("must be {}", charge.amount),
        )],
    })
}

fn refusal(error: GatewayError) -> ApiError {
    match error {
        GatewayError::NothingTaken => ApiError::Conflict {
            code: "nothing_taken",
            message: "No money was taken under this key".to_owned(),
            field: None,
        },
        GatewayError::Books(error) => error.into(),
        error => ApiError::Unavailable {
            what: "the bank",
            retry_after: Duration::from_secs(1),
            source: error.into(),
        },
    }
}
