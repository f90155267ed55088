//! Reports that are mailed to the administrators, each once.

use bharatmart_domain::{ProductId, UserId};
use chrono::NaiveDate;

use crate::{connection::Connection, error::Result, mail_deliveries::DeliveryStatus};

/// A product of which little is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowStock {
    /// The product.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// How many are left.
    pub stock_quantity: i32,
}

/// Whom a report goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The administrator.
    pub id: UserId,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub full_name: String,
}

/// One report of one day to one administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportMail<'a> {
    /// Which report.
    pub kind: &'a str,
    /// Of which day.
    pub day: NaiveDate,
    /// To whom.
    pub user: UserId,
}

/// Up to `limit` products that are for sale and of which at most `threshold` are left, the scarcest first.
#[tracing::instrument(name = "db.reports.low_stock", skip_all)]
pub async fn low_stock(
    connection: &mut Connection,
    threshold: i32,
    limit: i64,
) -> Result<Vec<LowStock>> {
    let products = sqlx::query_as!(
        LowStock,
        r#"
        SELECT
            id AS "id: ProductId",
            name,
            stock_quantity
        FROM products
        WHERE is_active AND stock_quantity <= $1
        ORDER BY stock_quantity, name, id
        LIMIT $2
        "#,
        threshold,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(products)
}

/// Records that a report goes to every administrator; those to whom it did not go already.
#[tracing::instrument(name = "db.reports.address", skip_all)]
pub async fn address(
    connection: &mut Connection,
    kind: &str,
    day: NaiveDate,
) -> Result<Vec<Recipient>> {
    let recipients = sqlx::query_as!(
        Recipient,
        r#"
        WITH new AS (
            INSERT INTO report_mails (kind, day, user_id)
            SELECT $1, $2, id FROM users WHERE role = 'admin' AND is_active
            ON CONFLICT ON CONSTRAINT report_mails_pkey DO NOTHING
            RETURNING user_id
        )
        SELECT
            users.id AS "id: UserId",
            users.email,
            users.full_name
        FROM users
        JOIN new ON new.user_id = users.id
        "#,
        kind,
        day,
    )
    .fetch_all(connection)
    .await?;
    Ok(recipients)
}

/// Where a report stands; `None` when nobody was to send it.
#[tracing::instrument(name = "db.reports.status", skip_all)]
pub async fn status(
    connection: &mut Connection,
    report: ReportMail<'_>,
) -> Result<Option<DeliveryStatus>> {
    let status = sqlx::query_scalar!(
        r#"
        SELECT status AS "status: DeliveryStatus"
        FROM report_mails
        WHERE kind = $1 AND day = $2 AND user_id = $3
        "#,
        report.kind,
        report.day,
        report.user.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(status)
}

/// Moves a report from one status to another; whether it stood at `from`.
#[tracing::instrument(name = "db.reports.advance", skip_all)]
pub async fn advance(
    connection: &mut Connection,
    report: ReportMail<'_>,
    from: DeliveryStatus,
    to: DeliveryStatus,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE report_mails
        SET status = $5, updated_at = now()
        WHERE kind = $1 AND day = $2 AND user_id = $3 AND status = $4
        "#,
        report.kind,
        report.day,
        report.user.0,
        from as DeliveryStatus,
        to as DeliveryStatus,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
