//! Buys something over HTTP as a new customer would.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_domain::Money;
use bharatmart_test_support::{ReceivedMail, ShopClient, read_mail_dir, wait_until};
use serde_json::Value;

use crate::console::{Steps, line};

/// How many steps [`run`] shows.
pub const STEPS: usize = 6;

/// How long the workers may take for one order.
const LIMIT: Duration = Duration::from_secs(30);

pub async fn run(api: String, mail_dir: PathBuf, steps: &mut Steps) -> Result<()> {
    let mut customer = ShopClient::new(api)?;

    let step = steps.begin("Sign up");
    customer.sign_up().await.context("signing up failed")?;
    step.done(customer.email());

    let step = steps.begin("Browse");
    let products = browse(&customer).await.context("browsing failed")?;
    step.done(&format!("{} and {}", products[0].name, products[1].name));

    let step = steps.begin("Order");
    let (order_id, total) = order(&customer, &products)
        .await
        .context("ordering failed")?;
    step.done(&format!("{order_id}, {}", total.to_inr()));

    let step = steps.begin("Pay by UPI");
    let payment_id = pay(&customer, &order_id).await.context("paying failed")?;
    step.done(&payment_id);

    let step = steps.begin("Wait for the workers");
    customer
        .wait_for_payment_status(&payment_id, "completed", LIMIT)
        .await
        .context("the payment was not completed")?;
    customer
        .wait_for_order_status(&order_id, "processing", LIMIT)
        .await
        .context("the paid order was not processed")?;
    step.done("payment completed, order in processing");

    let step = steps.begin("Wait for the mails");
    let mut mails: Vec<ReceivedMail> = Vec::new();
    for kind in ["order_confirmation", "payment_success"] {
        wait_until(&format!("the {kind} mail"), LIMIT, async || {
            let mut found = read_mail_dir(&mail_dir)?;
            found.retain(|mail| is_about(mail, kind, &order_id));
            mails.extend(found.pop());
            Ok(mails
                .last()
                .is_some_and(|mail| is_about(mail, kind, &order_id)))
        })
        .await
        .context("the mail did not come")?;
    }
    step.done("order_confirmation and payment_success");

    for mail in &mails {
        ensure!(
            mail.to == [customer.email()] && mail.text.contains(&order_id),
            "the mail `{}` is not the customer's or does not name the order",
            mail.subject
        );
        show(mail);
    }
    Ok(())
}

struct Product {
    id: String,
    name: String,
    price: Money,
}

/// The first two products that the shop can deliver.
async fn browse(customer: &ShopClient) -> Result<[Product; 2]> {
    let (status, list) = customer.get("/api/products?in_stock=true&limit=20").await?;
    ensure!(
        status == 200,
        "the list of products answered {status}: {list}"
    );
    let mut found = Vec::new();
    for product in list["data"].as_array().context("the list has no `data`")? {
        if product["stock_quantity"].as_u64() >= Some(3) {
            found.push(Product {
                id: text(product, "id")?,
                name: text(product, "name")?,
                price: money(product, "price")?,
            });
        }
    }
    found.truncate(2);
    found.try_into().map_err(|found: Vec<Product>| {
        anyhow::anyhow!("the shop has {} products to sell, not two", found.len())
    })
}

/// Two of the one and one of the other.
async fn order(customer: &ShopClient, [first, second]: &[Product; 2]) -> Result<(String, Money)> {
    let (status, order) = customer
        .place_order(&[(&first.id, 2), (&second.id, 1)])
        .await?;
    ensure!(status == 201, "the order answered {status}: {order}");
    let expected = first
        .price
        .checked_mul(2)
        .and_then(|sum| sum.checked_add(second.price))
        .context("the prices are beyond all bounds")?;
    let total = money(&order, "total_amount")?;
    ensure!(total == expected, "the total is {total}, not {expected}");
    ensure!(
        order["status"] == "pending",
        "the new order is {}",
        order["status"]
    );
    Ok((text(&order, "id")?, total))
}

async fn pay(customer: &ShopClient, order_id: &str) -> Result<String> {
    let (status, payment) = customer.pay(order_id, "upi", Some("success@upi")).await?;
    if status != 201 {
        bail!("the payment answered {status}: {payment}");
    }
    text(&payment, "id")
}

fn is_about(mail: &ReceivedMail, kind: &str, order_id: &str) -> bool {
    let header = |name: &str| mail.headers.get(name).map(String::as_str);
    header("x-bharatmart-type") == Some(kind) && header("x-bharatmart-order") == Some(order_id)
}

fn show(mail: &ReceivedMail) {
    line("");
    for (name, value) in &mail.headers {
        // A long field goes on in further lines; the subject may be encoded.
        let words: Vec<&str> = value.split_whitespace().collect();
        let value = if name == "subject" {
            mail.subject.clone()
        } else {
            words.join(" ")
        };
        line(format!("  {name}: {value}"));
    }
    line("");
    for text in mail.text.lines() {
        line(format!("  {text}"));
    }
    line("");
}

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value[field].as_str().map(str::to_owned);
    found.with_context(|| format!("no `{field}` in {value}"))
}

fn money(value: &Value, field: &str) -> Result<Money> {
    serde_json::from_value(value[field].clone())
        .with_context(|| format!("`{field}` is no price in {value}"))
}
