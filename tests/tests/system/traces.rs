//! Traces, as a collector gets them from the API and a worker.

use std::collections::BTreeSet;

use anyhow::Result;
use bharatmart_test_support::{Collector, ReceivedSpan, wait_until};

use crate::stack::{SOON, Stack, customer, id, order};

#[tokio::test]
async fn a_request_its_statements_and_its_jobs_are_one_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let stack = Stack::new().await?;
    let mails = tempfile::tempdir()?;
    let api = stack
        .api()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .start()
        .await?;
    let _worker = stack
        .worker("all")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_SERVICE_NAME", "shop-worker")
        .mail_dir(mails.path())
        .start()
        .await?;
    let product = stack.product("Kullu Shawl", 1999, 5).await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(product, 1)], "cash_on_delivery").await?)?.to_string();
    customer
        .wait_for_order_status(&order, "processing", SOON)
        .await?;

    let of_order = |spans: &[ReceivedSpan]| {
        let request = spans.iter().find(|span| {
            span.text("route") == Some("/api/orders") && span.text("method") == Some("POST")
        });
        let trace = request.map(|request| request.trace_id.clone());
        let mut of_order = spans.to_vec();
        of_order.retain(|span| Some(&span.trace_id) == trace.as_ref());
        of_order
    };
    let wanted = BTreeSet::from([
        ("bharatmart-api".to_owned(), "request".to_owned()),
        ("bharatmart-api".to_owned(), "db.orders.place".to_owned()),
        ("shop-worker".to_owned(), "job".to_owned()),
    ]);
    // A span may come before the one that it is part of.
    wait_until("one whole trace", SOON, async || {
        let spans = of_order(&collector.spans());
        let begun = spans.iter().filter(|span| span.parent_id.is_empty());
        let is_whole = spans.iter().all(|span| {
            span.parent_id.is_empty() || spans.iter().any(|other| other.id == span.parent_id)
        });
        let is_one = begun.count() == 1 && is_whole;
        let got: BTreeSet<_> = spans
            .into_iter()
            .map(|span| (span.service, span.name))
            .collect();
        Ok(is_one && got.is_superset(&wanted))
    })
    .await
}

#[tokio::test]
async fn a_collector_that_is_away_is_nobodys_business_but_the_logs() -> Result<()> {
    let collector = Collector::start().await?.url.clone();
    let stack = Stack::new().await?;
    let api = stack
        .api()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)
        .start()
        .await?;
    let product = stack.product("Kullu Shawl", 1999, 5).await?;
    let customer = customer(&api).await?;
    order(&customer, &[(product, 1)], "upi").await?;
    wait_until("a word in the log", SOON, async || {
        Ok(api.log().contains("opentelemetry"))
    })
    .await?;
    Ok(())
}
