//! Payments.

use std::fmt::Write as _;

use bharatmart_domain::{
    Money, OrderId, Page, PageRequest, PaymentId, PaymentMethod, PaymentStatus, UserId,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::{
    connection::Connection,
    error::Result,
    list::{self, SortKey},
};

/// A payment as it is stored, less its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Payment {
    /// The payment; the gateway's idempotency key.
    pub id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub status: PaymentStatus,
    /// How.
    pub payment_method: PaymentMethod,
    /// The gateway's own name for the charge.
    pub transaction_id: Option<String>,
    /// Why it failed, in words for the customer.
    pub failure_reason: Option<String>,
    /// When a refund was asked for.
    pub refund_requested_at: Option<DateTime<Utc>>,
    /// When its outcome was recorded.
    pub processed_at: Option<DateTime<Utc>>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A payment to be started.
#[derive(Clone, Debug)]
pub struct NewPayment<'a> {
    /// The id it will have.
    pub id: PaymentId,
    /// What it pays for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// How.
    pub payment_method: PaymentMethod,
    /// What the gateway knows the card or handle by.
    pub payment_token: Option<&'a str>,
}

/// The constraint that keeps an order from being paid twice.
pub const ONE_OPEN_PAYMENT: &str = "payments_order_id_open_key";

/// Writes a pending payment; [`ONE_OPEN_PAYMENT`] refuses it while another one is open or completed.
#[tracing::instrument(name = "db.payments.insert", skip_all, fields(payment.id = %new.id))]
pub async fn insert(connection: &mut Connection, new: &NewPayment<'_>) -> Result<Payment> {
    let payment = sqlx::query_as!(
        Payment,
        r#"
        INSERT INTO payments (id, order_id, amount, payment_method, payment_token)
        VALUES ($1, $2, $3, $4, $5)
        RETURNING
            id AS "id: PaymentId",
            order_id AS "order_id: OrderId",
            amount AS "amount: Money",
            status AS "status: PaymentStatus",
            payment_method AS "payment_method: PaymentMethod",
            transaction_id,
            failure_reason,
            refund_requested_at,
            processed_at,
            created_at,
            updated_at
        "#,
        new.id.0,
        new.order_id.0,
        new.amount as Money,
        new.payment_method.as_str(),
        new.payment_token,
    )
    .fetch_one(connection)
    .await?;
    Ok(payment)
}

/// A payment and whose it is.
#[derive(Clone, Debug)]
pub struct OwnedPayment {
    /// The payment.
    pub payment: Payment,
    /// What the gateway knows the card or handle by.
    pub payment_token: Option<String>,
    /// The customer.
    pub user_id: UserId,
}

/// Reads a payment.
#[tracing::instrument(name = "db.payments.find", skip_all, fields(payment.id = %id))]
pub async fn find(connection: &mut Connection, id: PaymentId) -> Result<Option<OwnedPayment>> {
    let row = sqlx::query!(
        r#"
        SELECT
            payments.id AS "id: PaymentId",
            payments.order_id AS "order_id: OrderId",
            payments.amount AS "amount: Money",
            payments.status AS "status: PaymentStatus",
            payments.payment_method AS "payment_method: PaymentMethod",
            payments.payment_token,
            payments.transaction_id,
            payments.failure_reason,
            payments.refund_requested_at,
            payments.processed_at,
            payments.created_at,
            payments.updated_at,
            orders.user_id AS "user_id: UserId"
        FROM payments
        JOIN orders ON orders.id = payments.order_id
        WHERE payments.id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| OwnedPayment {
        payment: Payment {
            id: row.id,
            order_id: row.order_id,
            amount: row.amount,
            status: row.status,
            payment_method: row.payment_method,
            transaction_id: row.transaction_id,
            failure_reason: row.failure_reason,
            refund_requested_at: row.refund_requested_at,
            processed_at: row.processed_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        payment_token: row.payment_token,
        user_id: row.user_id,
    }))
}

/// Reads an order's latest payment.
#[tracing::instrument(name = "db.payments.latest", skip_all, fields(order.id = %order))]
pub async fn latest(connection: &mut Connection, order: OrderId) -> Result<Option<Payment>> {
    let payment = sqlx::query_as!(
        Payment,
        r#"
        SELECT
            id AS "id: PaymentId",
            order_id AS "order_id: OrderId",
            amount AS "amount: Money",
            status AS "status: PaymentStatus",
            payment_method AS "payment_method: PaymentMethod",
            transaction_id,
            failure_reason,
            refund_requested_at,
            processed_at,
            created_at,
            updated_at
        FROM payments
        WHERE order_id = $1
        ORDER BY created_at DESC, id DESC
        LIMIT 1
        "#,
        order.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(payment)
}

/// Records that a payment was charged.
#[tracing::instrument(name = "db.payments.complete", skip_all, fields(payment.id = %id))]
pub async fn complete(
    connection: &mut Connection,
    id: PaymentId,
    transaction_id: &str,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE payments
        SET status = 'completed', transaction_id = $2, processed_at = now(), updated_at = now()
        WHERE id = $1
        "#,
        id.0,
        transaction_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that a payment failed.
#[tracing::instrument(name = "db.payments.fail", skip_all, fields(payment.id = %id))]
pub async fn fail(connection: &mut Connection, id: PaymentId, reason: &str) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE payments
        SET status = 'failed', failure_reason = $2, processed_at = now(), updated_at = now()
        WHERE id = $1
        "#,
        id.0,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that a refund was asked for.
#[tracing::instrument(name = "db.payments.request_refund", skip_all, fields(payment.id = %id))]
pub async fn request_refund(connection: &mut Connection, id: PaymentId) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE payments
        SET refund_requested_at = coalesce(refund_requested_at, now()), updated_at = now()
        WHERE id = $1
        "#,
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that the gateway has given the money back.
#[tracing::instrument(name = "db.payments.mark_refunded", skip_all, fields(payment.id = %id))]
pub async fn mark_refunded(connection: &mut Connection, id: PaymentId) -> Result<()> {
    sqlx::query!(
        "UPDATE payments SET status = 'refunded', updated_at = now() WHERE id = $1",
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds prepaid payments started before `before` whose outcome is not known, some of them if there are
/// more than `limit`, so that those that stay undone hide no others.
#[tracing::instrument(name = "db.payments.unsettled", skip_all)]
pub async fn unsettled(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<PaymentId>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: PaymentId"
        FROM payments
        WHERE status = 'pending' AND payment_method <> 'cash_on_delivery' AND created_at < $1
        ORDER BY random()
        LIMIT $2
        "#,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Finds payments whose refund was asked for before `before` and is not done, some of them if there are
/// more than `limit`, so that those that stay undone hide no others.
#[tracing::instrument(name = "db.payments.owed_refunds", skip_all)]
pub async fn owed_refunds(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<PaymentId>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: PaymentId"
        FROM payments
        WHERE status IN ('pending', 'completed') AND refund_requested_at < $1
        ORDER BY random()
        LIMIT $2
        "#,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Which payments a list holds.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// Only those of this customer's orders.
    pub user_id: Option<UserId>,
    /// Only those of this order.
    pub order_id: Option<OrderId>,
    /// Only those that stand here.
    pub status: Option<PaymentStatus>,
}

impl PaymentFilter {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(user) = self.user_id {
            query.push(" AND order_id IN (SELECT id FROM orders WHERE user_id = ");
            query.push_bind(user.0).push(")");
        }
        if let Some(order) = self.order_id {
            query.push(" AND order_id = ").push_bind(order.0);
        }
        if let Some(status) = self.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
    }

    /// Tells this filter's cursors from those of others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::from("payments");
        let _ = write!(text, "{self:?}");
        list::fingerprint(&text)
    }
}

/// Lists payments, newest first.
#[tracing::instrument(name = "db.payments.list", skip_all)]
pub async fn list(
    connection: &mut Connection,
    filter: &PaymentFilter,
    page: &PageRequest,
) -> Result<Page<Payment>> {
    list::fetch(
        connection,
        &list::Query {
            table: "payments",
            columns: "id, order_id, amount, status, payment_method, transaction_id, \
                      failure_reason, refund_requested_at, processed_at, created_at, updated_at",
            sort: SortKey::descending("created_at", "timestamptz"),
            fingerprint: filter.fingerprint(),
            // Nearly all have one status, and few have another.
            plan_each: filter.status.is_some(),
        },
        |query| filter.push(query),
        page,
        |payment: &Payment| (payment.created_at.to_rfc3339(), payment.id.0),
    )
    .await
}
