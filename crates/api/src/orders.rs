//! Orders.

use axum::{
    Json, Router,
    response::Response,
    routing::{get, patch},
};
use bharatmart_commerce::{self as commerce, Checkout, OrderDetails, Shop};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, HistoryEntry, Item, Order, OrderFilter},
    payments::Payment,
};
use bharatmart_domain::{OrderId, OrderStatus, PaymentMethod, ProductId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    answer::created,
    consistency::Own,
    error::ApiError,
    extract::{
        AuthUser, Body, ChangeStatus, FromParams, Id, KeyedJson, Params, ValidatedJson,
        ValidatedQuery,
    },
    fields::{Few, Object, Text, Whole},
    page::{List, PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/orders", get(list_orders).post(create_order))
        .route("/api/orders/{id}", get(read_order))
        .route("/api/orders/{id}/status", patch(change_order_status))
}

struct ListOrders {
    filter: OrderFilter,
    page: PageParams,
}

impl FromParams for ListOrders {
    fn from_params(params: &mut Params) -> Self {
        Self {
            filter: OrderFilter {
                user_id: params.optional("user_id"),
                status: params.optional("status"),
            },
            page: PageParams::from_params(params),
        }
    }
}

async fn list_orders(
    user: AuthUser,
    Own(database): Own<Database>,
    ValidatedQuery(ListOrders { mut filter, page }): ValidatedQuery<ListOrders>,
) -> Result<Json<List<Order>>, ApiError> {
    filter.user_id = user.scope(filter.user_id)?;
    let request = page.of_list(|| filter.fingerprint(), SortedBy::Time)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = orders::list(&mut connection, &filter, &request).await?;
    List::respond(found, &request)
}

#[derive(Debug, Serialize)]
struct OrderResponse {
    #[serde(flatten)]
    order: Order,
    items: Vec<Item>,
    payment: Option<Payment>,
    history: Vec<HistoryEntry>,
}

impl From<OrderDetails> for OrderResponse {
    fn from(details: OrderDetails) -> Self {
        let OrderDetails {
            order,
            items,
            payment,
            history,
        } = details;
        Self {
            order,
            items,
            payment,
            history,
        }
    }
}

async fn read_order(
    user: AuthUser,
    Own(shop): Own<Shop>,
    Id(id): Id<OrderId>,
) -> Result<Json<OrderResponse>, ApiError> {
    let details = commerce::order_details(&shop, (&user).into(), id).await?;
    details
        .map(|details| Json(details.into()))
        .ok_or(ApiError::NotFound("Order"))
}

#[derive(Debug, Deserialize)]
struct OrderLine {
    product_id: ProductId,
    quantity: Whole<1, 10_000>,
}

#[derive(Debug, Deserialize)]
struct CreateOrder {
    items: Few<Object<OrderLine>, 1, 100>,
    shipping_address: Text<1, 1000>,
    payment_method: Option<PaymentMethod>,
    /// Whom an administrator orders for. Not looked at for others, whose programs may send anything.
    user_id: Option<Box<RawValue>>,
}

impl Body for CreateOrder {
    const REQUIRED: &'static [&'static str] = &["items", "shipping_address"];
}

/// Whom `user` orders for: administrators for anybody, others for themselves.
fn customer(user: &AuthUser, named: Option<&RawValue>) -> Result<UserId, ApiError> {
    match named.filter(|_| user.is_admin()) {
        Some(named) => serde_json::from_str(named.get())
            .map_err(|_| ApiError::invalid("user_id", "must be a UUID")),
        None => Ok(user.id),
    }
}

async fn create_order(
    user: AuthUser,
    Own(shop): Own<Shop>,
    keyed: KeyedJson<CreateOrder>,
) -> Result<Response, ApiError> {
    let (body, key) = keyed.of(user.id);
    let checkout = Checkout {
        user_id: customer(&user, body.user_id.as_deref())?,
        items: body
            .items
            .0
            .into_iter()
            .map(|Object(line)| (line.product_id, line.quantity.0))
            .collect(),
        shipping_address: body.shipping_address.into_string(),
        payment_method: body.payment_method,
    };
    let answer = commerce::place_order(&shop, checkout, key).await?;
    Ok(created("/api/orders", answer, |order| order.id.0))
}

async fn change_order_status(
    user: AuthUser,
    Own(shop): Own<Shop>,
    Id(id): Id<OrderId>,
    ValidatedJson(body): ValidatedJson<ChangeStatus<OrderStatus>>,
) -> Result<Json<Order>, ApiError> {
    let order = commerce::change_order_status(&shop, (&user).into(), id, body.status).await?;
    Ok(Json(order))
}
