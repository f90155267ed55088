//! What became of each mail.

use bharatmart_domain::{MailKind, OrderId};

use crate::{connection::Connection, error::Result};

/// Where a mail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Nothing was handed over.
    Pending,
    /// Its content was about to be handed over.
    Sending,
    /// The mail server took it.
    Sent,
    /// A worker died between [`DeliveryStatus::Sending`] and [`DeliveryStatus::Sent`], or the server did
    /// not answer to the content; it is not sent again.
    Unconfirmed,
}

/// Makes the record of a mail unless there is one; where the mail stands.
#[tracing::instrument(name = "db.mail_deliveries.open", skip_all, fields(order.id = %order))]
pub async fn open(
    connection: &mut Connection,
    order: OrderId,
    kind: MailKind,
    message_id: &str,
) -> Result<DeliveryStatus> {
    let status = sqlx::query_scalar!(
        r#"
        INSERT INTO mail_deliveries (order_id, kind, message_id)
        VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT mail_deliveries_pkey
            DO UPDATE SET message_id = mail_deliveries.message_id
        RETURNING status AS "status: DeliveryStatus"
        "#,
        order.0,
        kind.as_str(),
        message_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(status)
}

/// Moves a mail from one status to another; whether it stood at `from`.
#[tracing::instrument(name = "db.mail_deliveries.advance", skip_all, fields(order.id = %order))]
pub async fn advance(
    connection: &mut Connection,
    order: OrderId,
    kind: MailKind,
    from: DeliveryStatus,
    to: DeliveryStatus,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE mail_deliveries
        SET status = $4, updated_at = now()
        WHERE order_id = $1 AND kind = $2 AND status = $3
        "#,
        order.0,
        kind.as_str(),
        from as DeliveryStatus,
        to as DeliveryStatus,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
