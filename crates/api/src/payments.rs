//! Payments.

use std::time::{Duration, Instant};

use axum::{Json, extract::State, response::Response};
use bharatmart_commerce::{self as commerce, Answer, Shop, StartPayment};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, Order},
    payments::{self, Payment, PaymentFilter},
};
use bharatmart_domain::{Money, OrderId, PaymentId, PaymentMethod, PaymentStatus, UserId};
use bharatmart_telemetry::chain;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::created,
    consistency::Own,
    error::ApiError,
    extract::{
        AdminUser, AuthUser, Body, ChangeStatus, FromParams, Id, KeyedJson, Params, ValidatedJson,
        ValidatedQuery, Wait,
    },
    fields::Line,
    page::{List, PageParams, SortedBy},
    state::{AppState, RequestTimeout},
};

/// Says which preference was honoured (RFC 7240).
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// What a waiting request keeps of its time, to answer in.
const TIME_TO_ANSWER: Duration = Duration::from_secs(1);

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list_payments, create_payment))
        .routes(routes!(read_payment))
        .routes(routes!(change_payment_status))
}

struct ListPayments {
    user_id: Option<UserId>,
    filter: PaymentFilter,
    page: PageParams,
}

impl FromParams for ListPayments {
    fn from_params(params: &mut Params) -> Self {
        Self {
            user_id: params.optional(
                "user_id",
                "Only this user's; an administrator may ask for anybody's.",
            ),
            filter: PaymentFilter {
                user_id: None,
                order_id: params.optional("order_id", "Only those for this order."),
                status: params.optional("status", "Only those in this status."),
            },
            page: PageParams::from_params(params),
        }
    }
}

/// List payments
///
/// A customer's own; for an administrator everybody's.
#[utoipa::path(
    get,
    path = "/api/payments",
    tag = "Payments",
    security(("bearer" = [])),
    params(ValidatedQuery<ListPayments>),
    responses(
        (status = 200, description = "A page of payments, the latest first.", body = List<Payment>),
        (status = 403, description = "They are somebody else's."),
    )
)]
async fn list_payments(
    user: AuthUser,
    Own(database): Own<Database>,
    ValidatedQuery(query): ValidatedQuery<ListPayments>,
) -> Result<Json<List<Payment>>, ApiError> {
    let ListPayments {
        user_id,
        mut filter,
        page,
    } = query;
    filter.user_id = user.scope(user_id)?;
    let request = page.of_list(|| filter.fingerprint(), SortedBy::Time)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = payments::list(&mut connection, &filter, &request).await?;
    List::respond(found, &request)
}

/// A payment and what it is for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentDetails)]
struct PaymentResponse {
    #[serde(flatten)]
    payment: Payment,
    orders: Option<Order>,
}

/// Read a payment
#[utoipa::path(
    get,
    path = "/api/payments/{id}",
    tag = "Payments",
    security(("bearer" = [])),
    params(Id<PaymentId>),
    responses(
        (status = 200, description = "The payment.", body = PaymentResponse),
        (status = 404, description = "There is no such payment, or it is somebody else's."),
    )
)]
async fn read_payment(
    user: AuthUser,
    Own(database): Own<Database>,
    Id(id): Id<PaymentId>,
) -> Result<Json<PaymentResponse>, ApiError> {
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = payments::find(&mut connection, id)
        .await?
        .filter(|found| user.is_admin() || found.user_id == user.id)
        .ok_or(ApiError::NotFound("Payment"))?;
    let orders = orders::find(&mut connection, found.payment.order_id).await?;
    Ok(Json(PaymentResponse {
        payment: found.payment,
        orders,
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "order_id": "0193a5f0-7c1e-7d3a-9b1a-4f2f6f1c2d3e", "payment_method": "upi" }))]
struct CreatePayment {
    order_id: OrderId,
    payment_method: PaymentMethod,
    amount: Option<Money>,
    #[schema(inline)]
    payment_token: Option<Line<1, 100>>,
}

impl Body for CreatePayment {
    const REQUIRED: &'static [&'static str] = &["order_id", "payment_method"];
}

/// Pay for an order
///
/// Answers at once with a `pending` payment, or with its outcome if `Prefer` says to wait for it.
#[utoipa::path(
    post,
    path = "/api/payments",
    tag = "Payments",
    security(("bearer" = [])),
    params(KeyedJson<CreatePayment>, Wait),
    request_body = CreatePayment,
    responses(
        (status = 201, description = "The payment.", body = Payment, headers(
            ("Location" = String, description = "Where the payment is."),
            ("Idempotent-Replayed" = bool, description = "That this was answered before, under the same key."),
            ("Preference-Applied" = String, description = "How long the request was ready to wait (RFC 7240)."),
        )),
        (status = 404, description = "There is no such order, or it is somebody else's."),
        (status = 409, description = "The order cannot be paid for now, or a request under the same key is still being carried out."),
        (status = 422, description = "The amount differs from the order's total, or the key was used for another request."),
    )
)]
async fn create_payment(
    user: AuthUser,
    Own(shop): Own<Shop>,
    State(RequestTimeout(request_timeout)): State<RequestTimeout>,
    Wait(wait): Wait,
    keyed: KeyedJson<CreatePayment>,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let (body, key) = keyed.of(user.id);
    let start = StartPayment {
        order_id: body.order_id,
        payment_method: body.payment_method,
        amount: body.amount,
        payment_token: body.payment_token.map(Line::into_string),
    };
    let mut answer = commerce::start_payment(&shop, (&user).into(), start, key.as_ref()).await?;
    let mut applied = None;
    if let Some(wait) = wait {
        let left = request_timeout.saturating_sub(TIME_TO_ANSWER + begun.elapsed());
        let wait = wait.min(left);
        applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok();
        let id = match &answer {
            Answer::Fresh(payment) => payment.id,
            Answer::Replayed { resource_id, .. } => PaymentId(*resource_id),
        };
        if let Some(settled) = commerce::wait_for_outcome(&shop, id, wait).await {
            if let Some(key) = key.filter(|_| settled.status != PaymentStatus::Pending)
                && let Err(error) = key.keep_outcome(&shop, id.0, &settled).await
            {
                // It is paid for, which a refusal would deny. Who asks again waits again.
                tracing::warn!(error = chain(&error), payment.id = %id, "an answer could not be kept");
            }
            answer.settle(settled);
        }
    }
    let mut response = created("/api/payments", answer, |payment| payment.id.0);
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// Change a payment's status
///
/// `refunded` gives the money back and returns the goods to the stock.
#[utoipa::path(
    patch,
    path = "/api/payments/{id}/status",
    tag = "Payments",
    security(("bearer" = ["admin"])),
    params(Id<PaymentId>),
    request_body = ChangeStatus<PaymentStatus>,
    responses(
        (status = 200, description = "The payment as it is now.", body = Payment),
        (status = 404, description = "There is no such payment."),
        (status = 409, description = "Its status does not admit that."),
    )
)]
async fn change_payment_status(
    admin: AdminUser,
    Own(shop): Own<Shop>,
    Id(id): Id<PaymentId>,
    ValidatedJson(body): ValidatedJson<ChangeStatus<PaymentStatus>>,
) -> Result<Json<Payment>, ApiError> {
    let payment = commerce::change_payment_status(&shop, &admin.origin, id, body.status).await?;
    Ok(Json(payment))
}
