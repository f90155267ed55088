//! What the payment gateway reports by itself.

use axum::{Json, Router, extract::State, routing::post};
use bharatmart_commerce::{self as commerce, Shop, SignedHeaders};
use bharatmart_config::WebhookSecret;
use bharatmart_telemetry::metrics::PAYMENT_WEBHOOKS_TOTAL;
use http::HeaderMap;
use metrics::counter;
use serde::Serialize;

use crate::{consistency::Own, error::ApiError, extract::RawBody, state::AppState};

pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/api/payments/webhook", post(receive_webhook))
}

/// The key of the gateway's webhooks; `None` when they are refused.
#[derive(Clone, Debug)]
pub struct Webhooks(pub Option<WebhookSecret>);

#[derive(Debug, Serialize)]
struct WebhookResponse {
    received: bool,
}

async fn receive_webhook(
    State(Webhooks(secret)): State<Webhooks>,
    Own(shop): Own<Shop>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<WebhookResponse>, ApiError> {
    let secret = secret.ok_or(ApiError::WebhooksOff)?;
    let received = async {
        let headers = signed(&headers)?;
        commerce::verify(&secret, headers, &body, shop.clock.now())?;
        Ok(commerce::receive_event(&shop, headers.id, &body).await?)
    };
    match received.await {
        Ok(_) => Ok(Json(WebhookResponse { received: true })),
        Err(error) => {
            if let ApiError::BadWebhook(reason) = &error {
                counter!(PAYMENT_WEBHOOKS_TOTAL, "outcome" => "refused").increment(1);
                tracing::warn!(reason, "webhook refused");
            }
            Err(error)
        }
    }
}

fn signed(headers: &HeaderMap) -> Result<SignedHeaders<'_>, ApiError> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| ApiError::BadWebhook(format!("The header {name} is required")))
    };
    Ok(SignedHeaders {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signatures: header("webhook-signature")?,
    })
}
