//! Reports to those who run the shop.

use bharatmart_domain::{ReportKind, UserId};
use chrono::{DateTime, NaiveDate, Utc};

use crate::{connection::Connection, error::Result};

/// A product that runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowStock {
    /// Its name.
    pub name: String,
    /// Its stock-keeping unit.
    pub sku: Option<String>,
    /// How many are left.
    pub stock_quantity: i32,
}

/// Somebody who gets reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub id: UserId,
    /// The address.
    pub email: String,
    /// The name.
    pub full_name: String,
}

/// Which report, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRef {
    /// What it is about.
    pub kind: ReportKind,
    /// The day it is of.
    pub day: NaiveDate,
    /// Who it is for.
    pub user: UserId,
}

/// Up to `limit` products on sale of which no more than `threshold` are left, those with the least first, and the
/// number of all of them.
#[tracing::instrument(name = "db.reports.low_stock", skip_all)]
pub async fn low_stock(
    connection: &mut Connection,
    threshold: i32,
    limit: i64,
) -> Result<(Vec<LowStock>, i64)> {
    let products = sqlx::query_as!(
        LowStock,
        r#"
        SELECT
            name,
            sku,
            stock_quantity
        FROM products
        WHERE is_active AND stock_quantity <= $1
        ORDER BY stock_quantity, name, id
        LIMIT $2
        "#,
        threshold,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM products WHERE is_active AND stock_quantity <= $1"#,
        threshold,
    )
    .fetch_one(connection)
    .await?;
    Ok((products, count))
}

/// The administrators who may sign in.
#[tracing::instrument(name = "db.reports.recipients", skip_all)]
pub async fn recipients(connection: &mut Connection) -> Result<Vec<Recipient>> {
    let recipients = sqlx::query_as!(
        Recipient,
        r#"
        SELECT
            id AS "id: UserId",
            email,
            full_name
        FROM users
        WHERE role = 'admin' AND is_active
        ORDER BY id
        "#,
    )
    .fetch_all(connection)
    .await?;
    Ok(recipients)
}

/// Records that a report is to be sent; false when that is recorded already.
#[tracing::instrument(name = "db.reports.announce", skip_all)]
pub async fn announce(connection: &mut Connection, report: ReportRef) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        INSERT INTO report_mails (kind, day, user_id)
        VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT report_mails_pkey DO NOTHING
        "#,
        report.kind.as_str(),
        report.day,
        report.user.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a report is still to be sent: it was announced, and not sent.
#[tracing::instrument(name = "db.reports.is_open", skip_all)]
pub async fn is_open(connection: &mut Connection, report: ReportRef) -> Result<bool> {
    let open = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT
            FROM report_mails
            WHERE kind = $1 AND day = $2 AND user_id = $3 AND sent_at IS NULL
        ) AS "open!"
        "#,
        report.kind.as_str(),
        report.day,
        report.user.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(open)
}

/// Records that a report was sent.
#[tracing::instrument(name = "db.reports.mark_sent", skip_all)]
pub async fn mark_sent(connection: &mut Connection, report: ReportRef) -> Result<()> {
    sqlx::query!(
        "UPDATE report_mails SET sent_at = now() WHERE kind = $1 AND day = $2 AND user_id = $3",
        report.kind.as_str(),
        report.day,
        report.user.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the records of reports that were announced before `before`; how many.
#[tracing::instrument(name = "db.reports.delete_before", skip_all)]
pub async fn delete_before(connection: &mut Connection, before: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("DELETE FROM report_mails WHERE created_at < $1", before)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
