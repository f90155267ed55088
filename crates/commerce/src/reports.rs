//! What the shop writes to those who run it.

use std::fmt::Write;

use bharatmart_database::{
    self as database,
    reports::{self, LowStock, Recipient, ReportRef},
};
use bharatmart_domain::ReportKind;
use bharatmart_queue::SendReport;
use chrono::FixedOffset;

use crate::shop::{Consequences, Shop};

/// The most products that one report names.
const LISTED: i64 = 100;
/// India has one time zone, without daylight saving.
const INDIA: FixedOffset = FixedOffset::east_opt(5 * 3600 + 1800).unwrap();

/// Has every administrator told which products run out, if any do; to how many it goes.
///
/// However often it is called, each of them gets one such report a day.
pub async fn report_low_stock(shop: &Shop) -> Result<usize, database::Error> {
    let day = shop.clock.now().with_timezone(&INDIA).date_naive();
    let threshold = shop.low_stock_threshold;
    let mut transaction = shop.database.begin().await?;
    let (products, count) = reports::low_stock(&mut transaction, threshold, LISTED).await?;
    if count == 0 {
        return Ok(0);
    }
    let mut consequences = Consequences::default();
    let mut sent_to = 0;
    for recipient in reports::recipients(&mut transaction).await? {
        let report = ReportRef {
            kind: ReportKind::LowStock,
            day,
            user: recipient.id,
        };
        if reports::announce(&mut transaction, report).await? {
            sent_to += 1;
            consequences.add(&compose(report, recipient, &products, count, threshold));
        }
    }
    shop.commit(transaction, consequences).await?;
    Ok(sent_to)
}

fn compose(
    report: ReportRef,
    recipient: Recipient,
    products: &[LowStock],
    count: i64,
    threshold: i32,
) -> SendReport {
    let are = if count == 1 {
        "product is"
    } else {
        "products are"
    };
    let mut list = String::new();
    for product in products {
        let sku = product.sku.as_deref().unwrap_or("no SKU");
        // Writing to a string cannot fail.
        let _ = writeln!(
            list,
            "{} left: {} ({sku})",
            product.stock_quantity, product.name
        );
    }
    let more = count.saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(list, "and {more} more");
    }
    SendReport {
        to: recipient.email,
        subject: format!("Low stock: {count} {are} running out – BharatMart"),
        body: format!(
            "Namaste {},\n\nOf these no more than {threshold} are left:\n\n{}\n\nBharatMart",
            recipient.full_name,
            list.trim_end()
        ),
        kind: report.kind,
        day: report.day,
        user_id: report.user,
    }
}

#[cfg(test)]
mod tests {
    use bharatmart_domain::UserId;
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn a_report_names_what_is_left_and_how_many_it_does_not_name() {
        let report = ReportRef {
            kind: ReportKind::LowStock,
            day: NaiveDate::from_ymd_opt(2026, 11, 28).unwrap(),
            user: UserId(uuid::Uuid::nil()),
        };
        let recipient = Recipient {
            id: report.user,
            email: "asha@shop.example".into(),
            full_name: "Asha".into(),
        };
        let product = LowStock {
            name: "Kettle".into(),
            sku: None,
            stock_quantity: 0,
        };
        let mail = compose(report, recipient, &[product], 102, 5);
        assert_eq!(
            mail.subject,
            "Low stock: 102 products are running out – BharatMart"
        );
        assert_eq!(
            mail.body,
            "Namaste Asha,\n\nOf these no more than 5 are left:\n\n0 left: Kettle (no SKU)\nand 2 more\n\nBharatMart"
        );
    }
}
