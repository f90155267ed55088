//! What is done by the clock.

use bharatmart_database::{self as database, accounts, outbox, reports};
use bharatmart_queue::SendReport;
use chrono::{NaiveDate, TimeDelta};

use crate::shop::{Consequences, Shop};

/// The name of the report of what is about to run out.
const LOW_STOCK: &str = "low_stock";
/// The most products in one report.
const LONGEST_REPORT: i64 = 200;
/// The most rows that are deleted in one statement.
const CLEAN_BATCH: i64 = 1000;
/// How long a row of the outbox that was given up can be replayed.
const KEEP_REFUSED: TimeDelta = TimeDelta::days(30);

/// Deletes the records of sign-ins that are over, and rows of the outbox that were given up long ago; how many rows.
pub async fn clean_up(shop: &Shop) -> Result<u64, database::Error> {
    let now = shop.clock.now();
    let mut connection = shop.database.write().await?;
    let mut deleted = 0;
    loop {
        let sign_ins = accounts::delete_expired(&mut connection, now, CLEAN_BATCH).await?;
        let before = now - KEEP_REFUSED;
        let refused = outbox::delete_refused_before(&mut connection, before, CLEAN_BATCH).await?;
        deleted += sign_ins + refused;
        if sign_ins + refused == 0 {
            return Ok(deleted);
        }
    }
}

/// Has every administrator told by mail of what is about to run out, once a day; how many mails that makes.
pub async fn report_low_stock(shop: &Shop, threshold: i32) -> Result<usize, database::Error> {
    let day = shop.clock.now().date_naive();
    let mut transaction = shop.database.begin().await?;
    let products = reports::low_stock(&mut transaction, threshold, LONGEST_REPORT).await?;
    if products.is_empty() {
        transaction.rollback().await?;
        return Ok(0);
    }
    let recipients = reports::address(&mut transaction, LOW_STOCK, day).await?;
    let mut consequences = Consequences::default();
    let text = list(&products, threshold);
    for recipient in &recipients {
        consequences.add(&SendReport {
            to: recipient.email.clone(),
            subject: subject(day),
            body: format!("Namaste {},\n\n{text}\n\nBharatMart", recipient.full_name),
            kind: LOW_STOCK.to_owned(),
            day,
            user_id: recipient.id,
        });
    }
    shop.commit(transaction, consequences).await?;
    Ok(recipients.len())
}

fn subject(day: NaiveDate) -> String {
    format!("Low stock on {day} – BharatMart")
}

fn list(products: &[reports::LowStock], threshold: i32) -> String {
    let lines = products
        .iter()
        .map(|product| format!("{} × {} ({})", product.stock_quantity, product.name, product.id));
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("Of these products at most {threshold} are left:\n\n{lines}")
}
