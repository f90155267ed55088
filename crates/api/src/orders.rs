//! Orders.

mod filter;

use axum::{Json, extract::State, response::Response};
use bharatmart_commerce::{self as commerce, Checkout, CheckoutError, OrderDetails, Shop};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, HistoryEntry, Item, Order, OrderFilter, OrderSort},
    payments::Payment,
};
use bharatmart_domain::{Money, OrderId, OrderStatus, PaymentMethod, ProductId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::created,
    consistency::Own,
    error::ApiError,
    events::EventStreams,
    extract::{
        AuthUser, Body, ChangeStatus, FromParams, Id, KeyedJson, Params, Requested, ValidatedJson,
        ValidatedQuery,
    },
    fields::{Few, Object, Text, Whole},
    page::{List, PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list_orders, create_order))
        .routes(routes!(read_order))
        .routes(routes!(change_order_status))
}

struct ListOrders {
    filter: OrderFilter,
    sort: OrderSort,
    page: PageParams,
}

impl FromParams for ListOrders {
    fn from_params(params: &mut Params) -> Self {
        Self {
            filter: OrderFilter::from_params(params),
            sort: params
                .optional("sort", "The order of the list; `-created_at` if not given.")
                .unwrap_or_default(),
            page: PageParams::from_params(params),
        }
    }
}

/// List orders
///
/// A customer's own; for an administrator everybody's.
#[utoipa::path(
    get,
    path = "/api/orders",
    tag = "Orders",
    security(("bearer" = [])),
    params(ValidatedQuery<ListOrders>),
    responses(
        (status = 200, description = "A page of orders, the latest first unless asked otherwise.", body = List<Order>),
        (status = 403, description = "They are somebody else's."),
    )
)]
async fn list_orders(
    user: AuthUser,
    Own(database): Own<Database>,
    ValidatedQuery(list): ValidatedQuery<ListOrders>,
) -> Result<Json<List<Order>>, ApiError> {
    let ListOrders {
        mut filter,
        sort,
        page,
    } = list;
    filter.user_id = user.scope(filter.user_id)?;
    let request = page.of_list(|| filter.fingerprint(sort), SortedBy::Time)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = orders::list(&mut connection, &filter, sort, &request).await?;
    List::respond(found, &request)
}

/// An order with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderDetails)]
struct OrderResponse {
    #[serde(flatten)]
    order: Order,
    items: Vec<Item>,
    /// The latest one.
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

/// Read an order
#[utoipa::path(
    get,
    path = "/api/orders/{id}",
    tag = "Orders",
    security(("bearer" = [])),
    params(Id<OrderId>),
    responses(
        (status = 200, description = "The order.", body = OrderResponse),
        (status = 404, description = "There is no such order, or it is somebody else's."),
    )
)]
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

/// How many of a product.
#[derive(Debug, Deserialize, ToSchema)]
struct OrderLine {
    product_id: ProductId,
    #[schema(inline)]
    quantity: Whole<1, 10_000>,
}

type Lines = Few<Object<OrderLine>, 1, 100>;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "items": [{ "product_id": "0193a5f0-7c1e-7d3a-9b1a-4f2f6f1c2d3e", "quantity": 2 }],
    "shipping_address": "12 MG Road\nBengaluru 560001",
}))]
struct CreateOrder {
    #[schema(inline)]
    items: Lines,
    #[schema(inline)]
    shipping_address: Text<1, 1000>,
    payment_method: Option<PaymentMethod>,
    /// The total that the customer was shown: an order that has come to cost more is refused.
    max_total: Option<Money>,
    /// Whom an administrator orders for. Not looked at for others, whose programs may send anything.
    #[schema(value_type = Option<serde_json::Value>)]
    user_id: Option<Box<RawValue>>,
}

impl Body for CreateOrder {
    const REQUIRED: &'static [&'static str] = &["items", "shipping_address"];
}

/// Whom `user` orders for: administrators for anybody, others for themselves.
fn customer(user: &AuthUser, named: Option<&RawValue>) -> Result<UserId, ApiError> {
    match named.filter(|_| user.is_admin()) {
        Some(named) => {
            serde_json::from_str(named.get()).map_err(|_| CheckoutError::UnknownUser.into())
        }
        None => Ok(user.id),
    }
}

/// Place an order
///
/// Prices and the total are the shop's; what is ordered is reserved at once.
#[utoipa::path(
    post,
    path = "/api/orders",
    tag = "Orders",
    security(("bearer" = [])),
    params(KeyedJson<CreateOrder>),
    request_body = CreateOrder,
    responses(
        (status = 201, description = "The order, `pending`.", body = Order, headers(
            ("Location" = String, description = "Where the order is."),
            ("Idempotent-Replayed" = bool, description = "That this was answered before, under the same key."),
        )),
        (status = 409, description = "Too little is left, it costs more than `max_total`, or a request under the same key is still being carried out."),
        (status = 422, description = "A product or user is unknown, the order is too large, or the key was used for another request."),
    )
)]
async fn create_order(
    user: AuthUser,
    requested: Requested,
    Own(shop): Own<Shop>,
    keyed: KeyedJson<CreateOrder>,
) -> Result<Response, ApiError> {
    let (body, key) = keyed.of(user.id);
    let customer = customer(&user, body.user_id.as_deref())?;
    let checkout = Checkout {
        user_id: customer,
        items: body
            .items
            .0
            .into_iter()
            .map(|Object(line)| (line.product_id, line.quantity.0))
            .collect(),
        shipping_address: body.shipping_address.into_string(),
        payment_method: body.payment_method,
        max_total: body.max_total,
        on_behalf: (customer != user.id).then(|| requested.by(user.id)),
    };
    let answer = commerce::place_order(&shop, checkout, key).await?;
    Ok(created("/api/orders", answer, |order| order.id.0))
}

/// Change an order's status
///
/// An administrator may make every change that the order's status admits; its customer may cancel it.
#[utoipa::path(
    patch,
    path = "/api/orders/{id}/status",
    tag = "Orders",
    security(("bearer" = [])),
    params(Id<OrderId>),
    request_body = ChangeStatus<OrderStatus>,
    responses(
        (status = 200, description = "The order as it is now.", body = Order),
        (status = 403, description = "Customers may only cancel."),
        (status = 404, description = "There is no such order, or it is somebody else's."),
        (status = 409, description = "Its status does not admit that."),
    )
)]
async fn change_order_status(
    user: AuthUser,
    requested: Requested,
    Own(shop): Own<Shop>,
    State(events): State<EventStreams>,
    Id(id): Id<OrderId>,
    ValidatedJson(body): ValidatedJson<ChangeStatus<OrderStatus>>,
) -> Result<Json<Order>, ApiError> {
    let origin = requested.by(user.id);
    let actor = (&user).into();
    let order = commerce::change_order_status(&shop, actor, &origin, id, body.status).await?;
    events.look_at(id);
    Ok(Json(order))
}
