//! Placing an order.

use std::collections::BTreeMap;

use bharatmart_cache::{Change, Effect};
use bharatmart_database::{
    self as database, Connection, Transaction,
    orders::{self, NewOrder, Order, Placement, Shortage},
};
use bharatmart_domain::{Money, OrderId, PaymentMethod, ProductId, UserId};
use bharatmart_telemetry::{
    metrics::{
        ORDERS_CREATED_TOTAL, ORDERS_FAILED_TOTAL, ORDERS_SUCCESS_TOTAL, ORDERS_VALUE_TOTAL,
    },
    trace,
};
use metrics::counter;

use crate::{
    audit::{self, Action, Origin},
    idempotency::{Answer, Claim, IdempotencyKey, KeyError},
    shop::Shop,
};

/// The constraint that refuses an order of nobody.
const UNKNOWN_USER: &str = "orders_user_id_fkey";

/// What somebody wants to buy.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Who buys.
    pub user_id: UserId,
    /// What and how many; a product that is named twice is summed.
    pub items: Vec<(ProductId, i32)>,
    /// Where it goes.
    pub shipping_address: String,
    /// How it will be paid, if that is known yet.
    pub payment_method: Option<PaymentMethod>,
    /// The most that it may cost, if the customer was told a total.
    pub max_total: Option<Money>,
    /// Where it comes from, if not from who buys: then it is in the audit log.
    pub on_behalf: Option<Origin>,
}

/// Why an order was not placed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// These products are not sold here.
    #[error("unknown products")]
    UnknownProducts(Vec<ProductId>),
    /// Of these products too little is left.
    #[error("out of stock")]
    OutOfStock(Vec<Shortage>),
    /// It costs this now, which is more than the customer was told.
    #[error("the order costs {0} now")]
    PriceChanged(Money),
    /// The total, or the sum of one product's quantities, is beyond what an order can hold.
    #[error("the order is too large")]
    TooLarge,
    /// There is no such customer.
    #[error("unknown customer")]
    UnknownUser,
    /// It was sent under a key that forbids it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Places an order at the database's prices and reserves its stock, all or nothing, and under a `key` once.
pub async fn place_order(
    shop: &Shop,
    checkout: Checkout,
    key: Option<IdempotencyKey>,
) -> Result<Answer<Order>, CheckoutError> {
    let result = place(shop, checkout, key).await;
    match &result {
        Ok(Answer::Replayed { .. }) => {}
        Ok(Answer::Fresh(order)) => {
            shop.relay.notify();
            counter!(ORDERS_CREATED_TOTAL, "status" => order.status.as_str()).increment(1);
            counter!(ORDERS_SUCCESS_TOTAL).increment(1);
            counter!(ORDERS_VALUE_TOTAL).increment(order.total_amount.paise().unsigned_abs());
        }
        Err(_) => counter!(ORDERS_FAILED_TOTAL).increment(1),
    }
    result
}

async fn place(
    shop: &Shop,
    checkout: Checkout,
    key: Option<IdempotencyKey>,
) -> Result<Answer<Order>, CheckoutError> {
    let mut lines = BTreeMap::<ProductId, i32>::new();
    for (product, quantity) in checkout.items {
        let sum = lines.entry(product).or_default();
        *sum = sum.checked_add(quantity).ok_or(CheckoutError::TooLarge)?;
    }
    let order = NewOrder {
        id: OrderId::generate(),
        user_id: checkout.user_id,
        shipping_address: checkout.shipping_address,
        payment_method: checkout.payment_method,
        lines: lines.into_iter().collect(),
        max_total: checkout.max_total,
        trace_parent: trace::current().map(|context| context.to_string()),
    };
    let changes = order
        .lines
        .iter()
        .map(|(product, _)| Change::Stock(*product));
    let changes = changes.collect();
    let desk = match (key, checkout.on_behalf) {
        (None, None) => Desk::Plain(Box::new(shop.database.write().await?)),
        (None, on_behalf) => Desk::Open {
            transaction: Box::new(shop.database.begin().await?),
            key: None,
            on_behalf,
        },
        (Some(key), on_behalf) => match key.claim(shop).await? {
            Claim::Open(transaction) => Desk::Open {
                transaction,
                key: Some(key),
                on_behalf,
            },
            Claim::Kept(kept) => return Ok(kept.into()),
        },
    };
    let placed = shop
        .invalidations
        .write(desk.place(order), |placed| match placed {
            Ok(Placement::Placed(_)) => Effect::Committed(changes),
            Ok(_) => Effect::Nothing,
            Err(error) if error.is_constraint(UNKNOWN_USER) => Effect::Nothing,
            Err(_) => Effect::Unclear(changes),
        })
        .await;
    match placed {
        Ok(Placement::Placed(order)) => Ok(Answer::Fresh(order)),
        Ok(Placement::Unknown(products)) => Err(CheckoutError::UnknownProducts(products)),
        Ok(Placement::OutOfStock(shortages)) => Err(CheckoutError::OutOfStock(shortages)),
        Ok(Placement::Dearer(total)) => Err(CheckoutError::PriceChanged(total)),
        Ok(Placement::TooLarge) => Err(CheckoutError::TooLarge),
        Err(error) if error.is_constraint(UNKNOWN_USER) => Err(CheckoutError::UnknownUser),
        Err(error) => Err(error.into()),
    }
}

/// Where an order is written.
enum Desk {
    /// One statement, which is a transaction of its own.
    Plain(Box<Connection>),
    /// In the transaction that keeps the answer, and who has placed it for somebody else.
    Open {
        transaction: Box<Transaction>,
        key: Option<IdempotencyKey>,
        on_behalf: Option<Origin>,
    },
}

impl Desk {
    async fn place(self, order: NewOrder) -> database::Result<Placement> {
        match self {
            Self::Plain(mut connection) => orders::place(&mut connection, order).await,
            Self::Open {
                mut transaction,
                key,
                on_behalf,
            } => {
                let placement = orders::place(&mut transaction, order).await?;
                if let Placement::Placed(order) = &placement {
                    if let Some(origin) = on_behalf {
                        let action = Action::order_created(order);
                        audit::record(&mut transaction, &origin, action).await?;
                    }
                    if let Some(key) = key {
                        key.keep(&mut transaction, order.id.0, order).await?;
                    }
                    transaction.commit().await?;
                }
                Ok(placement)
            }
        }
    }
}
