//! Many customers, few goods.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use bharatmart_test_support::{ShopClient, wait_until};
use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, order};

#[tokio::test]
async fn the_last_unit_is_sold_to_exactly_one_of_200_customers() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Banarasi Silk Saree", 4999, 1).await?;
    // No more at a time than passwords may wait to be hashed.
    let signing_up = stream::iter((0..200).map(|_| customer(&api))).buffered(50);
    let customers: Vec<_> = signing_up.try_collect().await?;

    let one_of = |product: Uuid| {
        json!({
            "items": [{"product_id": product, "quantity": 1}],
            "shipping_address": "12 MG Road, Bengaluru 560001",
        })
    };
    // The API has opened few of its connections yet, and whoever got one first would have no rival. These
    // orders, which write nothing, have it open them all and prepare the statement.
    let unknown = one_of(Uuid::new_v4());
    for answer in join_all(customers.iter().map(|c| c.post("/api/orders", &unknown))).await {
        assert_eq!(answer?.0, 422);
    }

    let body = one_of(product);
    let answers = join_all(
        customers
            .iter()
            .map(|customer| customer.post("/api/orders", &body)),
    )
    .await;

    let mut placed = 0;
    for answer in answers {
        let (status, answer) = answer?;
        if status == 201 {
            placed += 1;
            continue;
        }
        assert_eq!(status, 409, "{answer}");
        let text = answer.to_string();
        assert!(
            text.contains("Banarasi Silk Saree"),
            "names the product: {text}"
        );
        assert!(
            text.contains(&product.to_string()),
            "names the product's id: {text}"
        );
    }
    assert_eq!(placed, 1);
    assert_eq!(stack.stock(product).await?, 0);
    assert_eq!(stack.count("SELECT count(*) FROM orders").await?, 1);
    assert_eq!(
        stack
            .count("SELECT count(*) FROM outbox WHERE job_name = 'process-order'")
            .await?,
        1
    );
    assert_eq!(stack.count("SELECT count(*) FROM inventory_logs").await?, 1);
    Ok(())
}

#[tokio::test]
async fn orders_over_the_same_products_in_any_order_neither_deadlock_nor_lose_stock() -> Result<()>
{
    const STOCK: i32 = 40;
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let mut products = Vec::new();
    for number in 0..6 {
        products.push(
            stack
                .product(&format!("Product {number}"), 100, STOCK)
                .await?,
        );
    }
    let customer = customer(&api).await?;
    let mut rng = StdRng::seed_from_u64(7);
    let bodies: Vec<_> = (0..50)
        .map(|_| {
            products.shuffle(&mut rng);
            let items: Vec<_> = products[..4]
                .iter()
                // The first product is listed twice: its quantities are summed.
                .chain(&products[..1])
                .map(|id| json!({"product_id": id, "quantity": rng.random_range(1..=2)}))
                .collect();
            json!({"items": items, "shipping_address": "12 MG Road, Bengaluru 560001"})
        })
        .collect();

    let answers = join_all(bodies.iter().map(|body| customer.post("/api/orders", body))).await;

    let mut placed = 0;
    for answer in answers {
        let (status, answer) = answer?;
        assert!([201, 409].contains(&status), "{status}: {answer}");
        placed += i64::from(status == 201);
    }
    assert!(placed > 0);
    assert_eq!(stack.count("SELECT count(*) FROM orders").await?, placed);
    assert_eq!(
        stack
            .count("SELECT count(*) FROM outbox WHERE job_name = 'process-order'")
            .await?,
        placed
    );
    let conserved = stack
        .count(
            "SELECT count(*) FROM products
             WHERE stock_quantity + coalesce(
                 (SELECT sum(quantity) FROM order_items WHERE product_id = products.id), 0
             ) = 40 AND stock_quantity >= 0",
        )
        .await?;
    assert_eq!(conserved, 6, "stock + sold is constant for every product");
    let four_lines = stack
        .count(
            "SELECT count(*) FROM
             (SELECT FROM order_items GROUP BY order_id HAVING count(*) = 4) AS orders",
        )
        .await?;
    assert_eq!(
        four_lines, placed,
        "a product that is listed twice is one item"
    );
    Ok(())
}

#[tokio::test]
async fn the_waiting_list_that_scales_the_workers_counts_the_orders() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Darjeeling Tea", 350, 1000).await?;
    let customer = customer(&api).await?;
    for _ in 0..25 {
        order(&customer, &[(product, 1)], "upi").await?;
    }
    wait_until("all orders to wait in the queue", SOON, async || {
        Ok(stack.llen("order-processing", "wait").await? == 25)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_order_that_is_sent_again_because_its_api_was_killed_is_placed_once() -> Result<()> {
    const ROUNDS: usize = 10;
    const AT_ONCE: usize = 50;
    let stack = Stack::new().await?;
    let mut api = stack.api().start().await?;
    let product = stack.product("Ajrakh Stole", 1299, 10_000).await?;
    let customer = customer(&api).await?;
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..ROUNDS {
        let key = format!("round-{round}");
        let body = json!({
            "items": [{"product_id": product, "quantity": 1}],
            "shipping_address": "12 MG Road, Bengaluru 560001",
        });
        let requests = (0..AT_ONCE).map(|_| post_under(&customer, &key, &body));
        let killed = async {
            // Somewhere in the middle: that no moment is safe by luck is the point.
            sleep(Duration::from_millis(rng.random_range(1..40))).await;
            api.kill9();
        };
        let (answers, ()) = tokio::join!(join_all(requests), killed);
        api.start_again().await?;
        let mut bodies: BTreeSet<String> = answers.into_iter().flatten().collect();
        bodies.insert(post_under(&customer, &key, &body).await?);
        assert_eq!(bodies.len(), 1, "round {round}: {bodies:?}");
        let orders = "SELECT count(*) FROM orders";
        assert_eq!(stack.count(orders).await?, i64::try_from(round)? + 1);
    }
    assert_eq!(stack.stock(product).await?, 10_000 - i32::try_from(ROUNDS)?);
    Ok(())
}

/// The body of the answer to an order that is sent under a key; an error when there is none.
async fn post_under(customer: &ShopClient, key: &str, body: &Value) -> Result<String> {
    let answer = customer
        .http()
        .post(format!("{}/api/orders", customer.base_url()))
        .bearer_auth(customer.token().unwrap_or_default())
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await?;
    ensure!(answer.status() == 201, "{}", answer.status());
    Ok(answer.text().await?)
}
