//! What became of each mail.

use std::time::Duration;

use bharatmart_domain::{MailKind, OrderId};
use chrono::{DateTime, Utc};

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
    /// Its job has failed for good.
    Failed,
}

/// Records that a mail is to be sent, unless that is recorded. In the transaction that makes it necessary, so
/// that mails whose job is lost are found again, and each waits for those before it.
#[tracing::instrument(name = "db.mail_deliveries.announce", skip_all, fields(order.id = %order))]
pub async fn announce(connection: &mut Connection, order: OrderId, kind: MailKind) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO mail_deliveries (order_id, kind, message_id)
        VALUES ($1, $2, '')
        ON CONFLICT ON CONSTRAINT mail_deliveries_pkey DO NOTHING
        "#,
        order.0,
        kind.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a mail of the same order that was announced before this one is still to be sent, and this one was first
/// tried no longer than `patience` ago.
#[tracing::instrument(name = "db.mail_deliveries.is_preceded", skip_all, fields(order.id = %order))]
pub async fn is_preceded(
    connection: &mut Connection,
    order: OrderId,
    kind: MailKind,
    patience: Duration,
) -> Result<bool> {
    let preceded = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT
            FROM mail_deliveries AS earlier
            JOIN mail_deliveries AS this
                ON this.order_id = earlier.order_id AND earlier.created_at < this.created_at
            WHERE this.order_id = $1
                AND this.kind = $2
                AND earlier.status IN ('pending', 'sending')
                AND this.first_tried_at > now() - make_interval(secs => $3)
        ) AS "preceded!"
        "#,
        order.0,
        kind.as_str(),
        patience.as_secs_f64(),
    )
    .fetch_one(connection)
    .await?;
    Ok(preceded)
}

/// A mail that should have been sent by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverdueMail {
    /// The order.
    pub order_id: OrderId,
    /// What it says.
    pub kind: MailKind,
    /// When it became necessary.
    pub created_at: DateTime<Utc>,
}

/// Takes up to `limit` mails that were announced before `before`, were not looked at since, and are still to be
/// sent, oldest first; from now on they count as looked at.
#[tracing::instrument(name = "db.mail_deliveries.take_overdue", skip_all)]
pub async fn take_overdue(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<OverdueMail>> {
    let mails = sqlx::query_as!(
        OverdueMail,
        r#"
        UPDATE mail_deliveries
        SET updated_at = now()
        WHERE (order_id, kind) IN (
            SELECT order_id, kind
            FROM mail_deliveries
            WHERE status IN ('pending', 'sending') AND created_at < $1 AND updated_at < $1
            ORDER BY created_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        RETURNING
            order_id AS "order_id: OrderId",
            kind AS "kind: MailKind",
            created_at
        "#,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(mails)
}

/// Makes the record of a mail unless there is one, and notes that it was tried; where the mail stands.
#[tracing::instrument(name = "db.mail_deliveries.open", skip_all, fields(order.id = %order))]
pub async fn open(
    connection: &mut Connection,
    order: OrderId,
    kind: MailKind,
    message_id: &str,
) -> Result<DeliveryStatus> {
    let status = sqlx::query_scalar!(
        r#"
        INSERT INTO mail_deliveries (order_id, kind, message_id, first_tried_at)
        VALUES ($1, $2, $3, now())
        ON CONFLICT ON CONSTRAINT mail_deliveries_pkey
            DO UPDATE SET
                -- Who announces a mail does not know the sender's domain.
                message_id = coalesce(nullif(mail_deliveries.message_id, ''), $3),
                first_tried_at = coalesce(mail_deliveries.first_tried_at, now())
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
