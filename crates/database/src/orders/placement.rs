//! Placing an order.

use bharatmart_domain::{Money, OrderId, OrderStatus, PaymentMethod, ProductId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::Order;
use crate::{connection::Connection, error::Result};

/// An order to be placed.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// The id it will have.
    pub id: OrderId,
    /// Who orders.
    pub user_id: UserId,
    /// Where it goes.
    pub shipping_address: String,
    /// How it is to be paid.
    pub payment_method: Option<PaymentMethod>,
    /// Each product once, with its quantity.
    pub lines: Vec<(ProductId, i32)>,
    /// The most that it may cost.
    pub max_total: Option<Money>,
    /// The W3C Trace Context of the request.
    pub trace_parent: Option<String>,
}

/// A product of which less is left than was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shortage {
    /// The product.
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// How many were asked for.
    pub requested: i32,
    /// How many are left.
    pub available: i32,
}

/// What became of an order to be placed.
#[derive(Clone, Debug)]
pub enum Placement {
    /// It is placed, its stock reserved and its job in the outbox.
    Placed(Order),
    /// These products are not sold here. Nothing was written.
    Unknown(Vec<ProductId>),
    /// Of these products too little is left. Nothing was written.
    OutOfStock(Vec<Shortage>),
    /// It costs this, which is more than it may. Nothing was written.
    Dearer(Money),
    /// The total is above [`Money::MAX`]. Nothing was written.
    TooLarge,
}

/// Reserves the stock and writes order, items, inventory log, history and outbox row in one
/// statement. The constraint `orders_user_id_fkey` refuses an unknown user.
#[tracing::instrument(name = "db.orders.place", skip_all, fields(order.id = %order.id))]
pub async fn place(connection: &mut Connection, order: NewOrder) -> Result<Placement> {
    let (products, quantities): (Vec<_>, Vec<_>) = order
        .lines
        .iter()
        .map(|(product, quantity)| (product.0, *quantity))
        .unzip();
    let row = sqlx::query_file!(
        "src/sql/place_order.sql",
        order.id.0,
        order.user_id.0,
        order.shipping_address,
        order.payment_method.map(PaymentMethod::as_str),
        &products,
        &quantities,
        order.trace_parent,
        order.max_total as Option<Money>,
    )
    .fetch_one(connection)
    .await?;
    if let (Some(total_amount), Some(created_at), Some(updated_at)) =
        (row.total_amount, row.created_at, row.updated_at)
    {
        return Ok(Placement::Placed(Order {
            id: order.id,
            user_id: order.user_id,
            status: OrderStatus::Pending,
            total_amount,
            shipping_address: order.shipping_address,
            payment_method: order.payment_method,
            processed_at: None,
            created_at,
            updated_at,
        }));
    }
    Ok(match (row.unknown, row.short, row.dearer) {
        (Some(unknown), _, _) => Placement::Unknown(unknown.into_iter().map(ProductId).collect()),
        (None, Some(Json(short)), _) => Placement::OutOfStock(short),
        (None, None, Some(total)) => Placement::Dearer(total),
        (None, None, None) => Placement::TooLarge,
    })
}
