//! Payments.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    response::Response,
    routing::{get, patch},
};
use bharatmart_commerce::{self as commerce, Answer, Shop, StartPayment};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, Order},
    payments::{self, Payment, PaymentFilter},
};
use bharatmart_domain::{Money, OrderId, PaymentId, PaymentMethod, PaymentStatus, UserId};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

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

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/payments", get(list_payments).post(create_payment))
        .route("/api/payments/{id}", get(read_payment))
        .route("/api/payments/{id}/status", patch(change_payment_status))
}

struct ListPayments {
    user_id: Option<UserId>,
    filter: PaymentFilter,
    page: PageParams,
}

impl FromParams for ListPayments {
    fn from_params(params: &mut Params) -> Self {
        Self {
            user_id: params.optional("user_id"),
            filter: PaymentFilter {
                user_id: None,
                order_id: params.optional("order_id"),
                status: params.optional("status"),
            },
            page: PageParams::from_params(params),
        }
    }
}

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

#[derive(Debug, Serialize)]
struct PaymentResponse {
    #[serde(flatten)]
    payment: Payment,
    orders: Option<Order>,
}

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

#[derive(Debug, Deserialize)]
struct CreatePayment {
    order_id: OrderId,
    payment_method: PaymentMethod,
    amount: Option<Money>,
    payment_token: Option<Line<1, 100>>,
}

impl Body for CreatePayment {
    const REQUIRED: &'static [&'static str] = &["order_id", "payment_method"];
}

async fn create_payment(
    user: AuthUser,
    Own(shop): Own<Shop>,
    State(RequestTimeout(request_timeout)): State<RequestTimeout>,
    Wait(wait): Wait,
    keyed: KeyedJson<CreatePayment>,
) -> Result<Response, ApiError> {
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
        let wait = wait.min(request_timeout.saturating_sub(TIME_TO_ANSWER));
        applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok();
        let id = match &answer {
            Answer::Fresh(payment) => payment.id,
            Answer::Replayed { resource_id, .. } => PaymentId(*resource_id),
        };
        if let Some(settled) = commerce::wait_for_outcome(&shop, id, wait).await? {
            if let Some(key) = key.filter(|_| settled.status != PaymentStatus::Pending) {
                key.keep_outcome(&shop, id.0, &settled).await?;
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

async fn change_payment_status(
    _: AdminUser,
    Own(shop): Own<Shop>,
    Id(id): Id<PaymentId>,
    ValidatedJson(body): ValidatedJson<ChangeStatus<PaymentStatus>>,
) -> Result<Json<Payment>, ApiError> {
    let payment = commerce::change_payment_status(&shop, id, body.status).await?;
    Ok(Json(payment))
}
