//! The books of the sandbox payment gateway.

use bharatmart_domain::Money;

use crate::{connection::Connection, error::Result};

/// Where a charge stands in the gateway's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ChargeStatus {
    /// The money was taken.
    Approved,
    /// The customer's bank refused.
    Declined,
    /// Given up before it was charged; it can never be approved.
    Voided,
    /// The money was given back.
    Refunded,
}

/// A line of the gateway's books.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Where it stands.
    pub status: ChargeStatus,
    /// The gateway's own name for it.
    pub transaction_id: Option<String>,
    /// Why it was declined.
    pub decline_reason: Option<String>,
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

/// Writes a charge unless its key has one; what the books hold under the key.
#[tracing::instrument(name = "db.sandbox_gateway.settle", skip_all)]
pub async fn settle(
    connection: &mut Connection,
    key: &str,
    amount: Money,
    charge: &Charge,
) -> Result<Charge> {
    let charge = sqlx::query_as!(
        Charge,
        r#"
        INSERT INTO sandbox_gateway.charges
            (idempotency_key, amount, status, transaction_id, decline_reason)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT ON CONSTRAINT charges_pkey DO UPDATE SET amount = charges.amount
        RETURNING status AS "status: ChargeStatus", transaction_id, decline_reason
        "#,
        key,
        amount as Money,
        charge.status as ChargeStatus,
        charge.transaction_id,
        charge.decline_reason,
    )
    .fetch_one(connection)
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
        RETURNING status AS "status: ChargeStatus", transaction_id, decline_reason
        "#,
        key,
    )
    .fetch_optional(connection)
    .await?;
    Ok(charge)
}
