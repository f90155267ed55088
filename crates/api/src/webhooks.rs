//! What the payment gateway reports by itself.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use bharatmart_commerce::{self as commerce, Event, Shop, SignedHeaders};
use bharatmart_config::WebhookSecret;
use bharatmart_telemetry::metrics::PAYMENT_WEBHOOKS_TOTAL;
use http::HeaderMap;
use metrics::counter;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{consistency::Own, error::ApiError, extract::RawBody, state::AppState};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().routes(routes!(receive_webhook))
}

/// The key of the gateway's webhooks; `None` when they are refused.
#[derive(Clone, Debug)]
pub struct Webhooks(pub Option<WebhookSecret>);

/// An event was taken, now or before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReceived)]
struct WebhookResponse {
    received: bool,
}

/// Report what became of a charge
///
/// For the payment gateway, which signs as Standard Webhooks 1.0.0 says: HMAC-SHA256 over `webhook-id`,
/// `webhook-timestamp` and the body, joined by dots. The same event twice changes nothing, and an older one undoes nothing.
#[utoipa::path(
    post,
    path = "/api/payments/webhook",
    tag = "Payments",
    params(
        ("webhook-id" = String, Header, description = "The event, the same at each attempt to deliver it."),
        ("webhook-timestamp" = String, Header, description = "When it was signed, in seconds since 1970; at most 5 minutes from now."),
        ("webhook-signature" = String, Header, description = "Signatures such as `v1,<base64>`, separated by blanks; one of them must be right."),
    ),
    request_body = Event,
    responses(
        (status = 200, description = "The event was taken, now or before.", body = WebhookResponse),
        (status = 400, description = "It is not signed as it should be, too old, too new, or no event."),
        (status = 404, description = "This shop takes no webhooks."),
    )
)]
async fn receive_webhook(
    State(Webhooks(secret)): State<Webhooks>,
    Own(shop): Own<Shop>,
    request: Request,
) -> Result<Json<WebhookResponse>, ApiError> {
    let secret = secret.ok_or(ApiError::WebhooksOff)?;
    let received = async {
        let headers = request.headers().clone();
        let headers = signed(&headers)?;
        // Nobody is made to wait for the body of a stranger.
        headers.check(shop.clock.now())?;
        let RawBody(body) = RawBody::from_request(request, &()).await?;
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
