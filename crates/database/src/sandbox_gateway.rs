//! The books of the sandbox payment gateway.

use std::time::Duration;

use bharatmart_domain::Money;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{connection::Connection, error::Result};

/// Where a charge stands in the gateway's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ChargeStatus {
    /// Accepted; the outcome is still to come.
    Pending,
    /// The money was taken.
    Approved,
    /// The customer's bank refused.
    Declined,
    /// Given up before it was charged; it can never be approved.
    Voided,
    /// The money was given back.
    Refunded,
}

/// A line of the gateway's books, which is also what it answers and reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Charge {
    /// The idempotency key under which it was asked for.
    pub key: String,
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub status: ChargeStatus,
    /// The gateway's own name for it.
    pub transaction_id: Option<String>,
    /// Why it was declined.
    pub decline_reason: Option<String>,
}

/// A report on its way.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The event's id, the same at each attempt.
    pub id: String,
    /// The body.
    pub payload: String,
    /// How often it was tried, this time included.
    pub attempts: i32,
}

/// Notes that a call was received; how many of this operation came under this key, this one included.
#[tracing::instrument(name = "db.sandbox_gateway.record_request", skip_all)]
pub async fn record_request(
    connection: &mut Connection,
    key: &str,
    operation: &str,
) -> Result<i64> {
    let earlier = sqlx::query_scalar!(
        r#"
        WITH recorded AS (
            INSERT INTO sandbox_gateway.requests (idempotency_key, operation) VALUES ($1, $2)
        )
        SELECT count(*) AS "count!"
        FROM sandbox_gateway.requests
        WHERE idempotency_key = $1 AND operation = $2
        "#,
        key,
        operation,
    )
    .fetch_one(connection)
    .await?;
    Ok(earlier + 1)
}

/// Writes a charge unless its key has one; what the books hold under the key. One that is pending is decided when
/// `settles_in` is over.
#[tracing::instrument(name = "db.sandbox_gateway.settle", skip_all)]
pub async fn settle(
    connection: &mut Connection,
    charge: &Charge,
    settles_in: Option<Duration>,
) -> Result<Charge> {
    let charge = sqlx::query_as!(
        Charge,
        r#"
        INSERT INTO sandbox_gateway.charges
            (idempotency_key, amount, status, transaction_id, decline_reason, settles_at)
        VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
        ON CONFLICT ON CONSTRAINT charges_pkey DO UPDATE SET amount = charges.amount
        RETURNING
            idempotency_key AS key,
            amount AS "amount: Money",
            status AS "status: ChargeStatus",
            transaction_id,
            decline_reason
        "#,
        charge.key,
        charge.amount as Money,
        charge.status as ChargeStatus,
        charge.transaction_id,
        charge.decline_reason,
        settles_in.map(|wait| wait.as_secs_f64()),
    )
    .fetch_one(connection)
    .await?;
    Ok(charge)
}

/// Reads a charge; `None` when its key has none.
#[tracing::instrument(name = "db.sandbox_gateway.find", skip_all)]
pub async fn find(connection: &mut Connection, key: &str) -> Result<Option<Charge>> {
    let charge = sqlx::query_as!(
        Charge,
        r#"
        SELECT
            idempotency_key AS key,
            amount AS "amount: Money",
            status AS "status: ChargeStatus",
            transaction_id,
            decline_reason
        FROM sandbox_gateway.charges
        WHERE idempotency_key = $1
        "#,
        key,
    )
    .fetch_optional(connection)
    .await?;
    Ok(charge)
}

/// Approves the charges whose time has come, or the one under `key` if its has; those.
#[tracing::instrument(name = "db.sandbox_gateway.approve_due", skip_all)]
pub async fn approve_due(connection: &mut Connection, key: Option<&str>) -> Result<Vec<Charge>> {
    let charges = sqlx::query_as!(
        Charge,
        r#"
        UPDATE sandbox_gateway.charges
        SET status = 'approved', transaction_id = 'sandbox-' || idempotency_key
        WHERE status = 'pending' AND settles_at <= now() AND ($1::text IS NULL OR idempotency_key = $1)
        RETURNING
            idempotency_key AS key,
            amount AS "amount: Money",
            status AS "status: ChargeStatus",
            transaction_id,
            decline_reason
        "#,
        key,
    )
    .fetch_all(connection)
    .await?;
    Ok(charges)
}

/// Gives up a charge that is pending; what the books then hold, `None` when it was not pending.
#[tracing::instrument(name = "db.sandbox_gateway.void_pending", skip_all)]
pub async fn void_pending(connection: &mut Connection, key: &str) -> Result<Option<Charge>> {
    let charge = sqlx::query_as!(
        Charge,
        r#"
        UPDATE sandbox_gateway.charges
        SET status = 'voided'
        WHERE status = 'pending' AND idempotency_key = $1
        RETURNING
            idempotency_key AS key,
            amount AS "amount: Money",
            status AS "status: ChargeStatus",
            transaction_id,
            decline_reason
        "#,
        key,
    )
    .fetch_optional(connection)
    .await?;
    Ok(charge)
}

/// Gives the money of an approved charge back; what the books then hold, `None` without a charge.
#[tracing::instrument(name = "db.sandbox_gateway.refund", skip_all)]
pub async fn refund(connection: &mut Connection, key: &str) -> Result<Option<Charge>> {
    let charge = sqlx::query_as!(
        Charge,
        r#"
        UPDATE sandbox_gateway.charges
        SET
            refunded_at = CASE WHEN status = 'approved' THEN now() ELSE refunded_at END,
            status = CASE WHEN status = 'approved' THEN 'refunded' ELSE status END
        WHERE idempotency_key = $1
        RETURNING
            idempotency_key AS key,
            amount AS "amount: Money",
            status AS "status: ChargeStatus",
            transaction_id,
            decline_reason
        "#,
        key,
    )
    .fetch_optional(connection)
    .await?;
    Ok(charge)
}

/// Writes a report of where `charge` stands, unless there is one. In the transaction that changed it.
#[tracing::instrument(name = "db.sandbox_gateway.report", skip_all)]
pub async fn report(
    connection: &mut Connection,
    charge: &Charge,
    id: &str,
    payload: &str,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO sandbox_gateway.webhooks (id, idempotency_key, status, payload)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT webhooks_idempotency_key_status_key DO NOTHING
        "#,
        id,
        charge.key,
        charge.status as ChargeStatus,
        payload,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes up to `limit` reports that are due and not older than `max_age`. Each is due again after a wait that doubles
/// from `first` to `longest`: whoever takes it may die.
#[tracing::instrument(name = "db.sandbox_gateway.take_webhooks", skip_all)]
pub async fn take_webhooks(
    connection: &mut Connection,
    first: Duration,
    longest: Duration,
    max_age: Duration,
    limit: i64,
) -> Result<Vec<Webhook>> {
    let webhooks = sqlx::query_as!(
        Webhook,
        r#"
        UPDATE sandbox_gateway.webhooks
        SET
            attempts = attempts + 1,
            next_attempt_at = now() + make_interval(secs => least($1 * 2 ^ least(attempts, 30), $2))
        WHERE id IN (
            SELECT id
            FROM sandbox_gateway.webhooks
            WHERE delivered_at IS NULL
                AND next_attempt_at <= now()
                AND created_at > now() - make_interval(secs => $3)
            ORDER BY next_attempt_at
            LIMIT $4
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, payload, attempts
        "#,
        first.as_secs_f64(),
        longest.as_secs_f64(),
        max_age.as_secs_f64(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(webhooks)
}

/// Marks a report as delivered.
#[tracing::instrument(name = "db.sandbox_gateway.mark_delivered", skip_all)]
pub async fn mark_delivered(connection: &mut Connection, id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE sandbox_gateway.webhooks SET delivered_at = now() WHERE id = $1",
        id,
    )
    .execute(connection)
    .await?;
    Ok(())
}
