//! Products from a CSV file.

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Request, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Answer, Api, Person};

const HEADER: &str = "sku,name,price,category,description,stock_quantity,image_url\r\n";

async fn import(api: &Api, admin: &Person, body: impl Into<Body>) -> Answer {
    let request = Request::post("/api/products/import")
        .header(AUTHORIZATION, format!("Bearer {}", admin.token))
        .header("content-type", "text/csv; charset=utf-8")
        .body(body.into())
        .expect("the request is good");
    api.send(request).await
}

fn outcome(created: u32, updated: u32, unchanged: u32) -> Value {
    json!({ "created": created, "updated": updated, "unchanged": unchanged })
}

/// What products and their inventory logs are.
async fn products(api: &Api) -> Vec<String> {
    let pool = api.test_database.pool().await;
    sqlx::query_scalar(
        "SELECT concat_ws('|', sku, name, price, category, description, stock_quantity, image_url,
                (SELECT string_agg(change || ' ' || change_reason, ', ' ORDER BY created_at)
                 FROM inventory_logs WHERE product_id = products.id))
         FROM products ORDER BY sku",
    )
    .fetch_all(&pool)
    .await
    .expect("the database answers")
}

#[tokio::test]
async fn products_are_added_changed_or_left_by_their_sku() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let first = format!(
        "\u{feff}{HEADER}TEA,\"Tea, black\",99.50,Food,\"Two\r\nlines\",5,/tea.jpg\r\nRICE,Rice,80,Food,,,\r\n"
    );
    let answer = import(&api, &admin, first.clone()).await;
    assert_eq!(
        (answer.status, answer.body),
        (StatusCode::OK, outcome(2, 0, 0))
    );
    assert_eq!(
        products(&api).await,
        [
            "RICE|Rice|80.00|Food|0",
            "TEA|Tea, black|99.50|Food|Two\r\nlines|5|/tea.jpg|5 product added"
        ]
    );
    let again = import(&api, &admin, first).await;
    assert_eq!(again.body, outcome(0, 0, 2));

    let second =
        format!("{HEADER}TEA,Tea,99.5,Food,,3,\nSALT,Salt,20,Food,,,\nRICE,Rice,80,Food,,,\n");
    let answer = import(&api, &admin, second).await;
    assert_eq!(answer.body, outcome(1, 1, 1));
    let third = "price,name,category,sku\n100,Tea,Food,TEA\n";
    assert_eq!(import(&api, &admin, third).await.body, outcome(0, 1, 0));
    let log = api
        .get("/api/audit?action=product.import", Some(&admin))
        .await;
    assert_eq!(log.body["count"], 3, "what changes nothing is not there");
    assert_eq!(log.body["data"][0]["actor_id"], admin.id.as_str());
    assert_eq!(
        log.body["data"][0]["changes"],
        json!({ "created": 0, "updated": 1 })
    );
    assert_eq!(
        products(&api).await,
        [
            "RICE|Rice|80.00|Food|0",
            "SALT|Salt|20.00|Food|0",
            "TEA|Tea|100.00|Food|3|5 product added, -2 imported"
        ]
    );
}

#[tokio::test]
async fn what_is_imported_is_shown_at_once() {
    let api = Api::start_with(&[("CACHE_TYPE", "memory")]).await;
    let admin = api.admin().await;
    let tea = json!({ "name": "Tea", "price": 99, "category": "Food", "sku": "TEA" });
    let path = format!("/api/products/{}", api.product(&admin, &tea).await);
    assert_eq!(api.get(&path, None).await.body["price"], 99);
    assert_eq!(api.get("/api/products", None).await.body["count"], 1);
    assert_eq!(
        api.get("/api/products", None).await.headers["x-cache"],
        "HIT"
    );
    let file = "sku,name,price,category\nTEA,Tea,120,Food\nRICE,Rice,80,Food\n";
    assert_eq!(import(&api, &admin, file).await.body, outcome(1, 1, 0));
    assert_eq!(api.get(&path, None).await.body["price"], 120);
    assert_eq!(api.get("/api/products", None).await.body["count"], 2);
}

#[tokio::test]
async fn one_bad_line_is_named_and_nothing_is_imported() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let file =
        format!("{HEADER}A,Tea,1,Food,,,\nB,Rice,-1,,,many,ftp://x\nA,Salt,1,Food,,,\nC,Oil,1\n");
    let answer = import(&api, &admin, file).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.text("error"),
        "Nothing was imported: the file has errors"
    );
    assert_eq!(
        answer.fields(),
        [
            "line 3: price",
            "line 3: category",
            "line 3: stock_quantity",
            "line 3: image_url",
            "line 4: sku",
            "line 5"
        ]
    );
    assert_eq!(
        answer.body["errors"][4]["message"],
        "is that of line 2 as well"
    );
    assert!(products(&api).await.is_empty());
}

#[tokio::test]
async fn a_product_that_is_no_longer_sold_is_named_and_nothing_is_imported() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let tea = json!({ "name": "Tea", "price": 99, "category": "Food", "sku": "TEA" });
    let path = format!("/api/products/{}", api.product(&admin, &tea).await);
    api.call("DELETE", &path, Some(&admin), None).await;
    let file = "sku,name,price,category\nRICE,Rice,80,Food\nTEA,Tea,120,Food\n";
    let answer = import(&api, &admin, file).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.fields(), ["line 3: sku"]);
    assert_eq!(products(&api).await, ["TEA|Tea|99.00|Food|0"]);
}

#[tokio::test]
async fn imports_at_the_same_time_take_turns() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let file = |order: &mut dyn Iterator<Item = u32>, stock: u32| {
        order.fold(HEADER.to_owned(), |mut text, number| {
            let _ = writeln!(text, "S{number:04},Tea,1,Food,,{stock},");
            text
        })
    };
    let answer = import(&api, &admin, file(&mut (0..2_000), 1)).await;
    assert_eq!(answer.body, outcome(2_000, 0, 0));
    let (up, down) = (file(&mut (0..3_000), 2), file(&mut (0..3_000).rev(), 3));
    let (up, down) = tokio::join!(import(&api, &admin, up), import(&api, &admin, down));
    let mut statuses = [up.status, down.status];
    statuses.sort();
    // Neither waits for the other for ever; who comes second to the new ones is told so, or changes them.
    assert!(
        statuses == [StatusCode::OK, StatusCode::OK]
            || statuses == [StatusCode::OK, StatusCode::CONFLICT],
        "{} {}",
        up.body,
        down.body
    );
    let pool = api.test_database.pool().await;
    let (products, stocks): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT stock_quantity) FROM products")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((products, stocks), (3_000, 1), "one of the two, and whole");
}

#[tokio::test]
async fn a_file_may_be_larger_than_other_bodies_but_not_without_end() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let api = Api::start().await;
    let admin = api.admin().await;
    let description = "x".repeat(9_000);
    let mut large = HEADER.to_owned();
    for number in 0..1_500 {
        let _ = writeln!(large, "S{number},Tea,1,Food,{description},,");
    }
    assert!(large.len() > 12 * 1024 * 1024 && large.len() < LIMIT);
    let answer = import(&api, &admin, large).await;
    assert_eq!(
        (answer.status, answer.body),
        (StatusCode::OK, outcome(1_500, 0, 0))
    );

    let too_large = vec![b'x'; LIMIT + 1];
    let chunks = too_large.chunks(65_536).map(Bytes::copy_from_slice);
    let chunks: Vec<_> = chunks.map(Ok::<_, std::convert::Infallible>).collect();
    for body in [
        Body::from(too_large),
        Body::from_stream(stream::iter(chunks)),
    ] {
        let answer = import(&api, &admin, body).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.text("error").contains("16777216"), "{}", answer.body);
    }
    for (path, method) in [("/api/products", "POST"), ("/api/products/import", "PUT")] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", admin.token))
            .header("content-type", "text/csv")
            .body(Body::from(vec![b'x'; 2 * 1024 * 1024]))
            .unwrap();
        let answer = api.send(request).await;
        assert_eq!(
            answer.status,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn only_csv_is_a_file() {
    let api = Api::start().await;
    let admin = api.admin().await;
    for media_type in ["application/json", "text/plain", "text/csvx"] {
        let request = Request::post("/api/products/import")
            .header(AUTHORIZATION, format!("Bearer {}", admin.token))
            .header("content-type", media_type)
            .body(Body::from(HEADER))
            .unwrap();
        let answer = api.send(request).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(answer.text("error"), "The body must be sent as text/csv");
    }
}

#[tokio::test]
async fn a_file_that_is_refused_and_does_not_come_is_not_waited_for() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let customer = api.customer("buyer").await;
    let answers = [
        (None, "text/csv", StatusCode::UNAUTHORIZED),
        (Some(customer), "text/csv", StatusCode::FORBIDDEN),
        (
            Some(admin),
            "text/plain",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
    ];
    let answers = answers.map(|(person, media_type, status)| {
        let mut request = Request::post("/api/products/import").header("content-type", media_type);
        if let Some(person) = person {
            request = request.header(AUTHORIZATION, format!("Bearer {}", person.token));
        }
        let never = stream::pending::<Result<Bytes, Infallible>>();
        let request = request.body(Body::from_stream(never)).unwrap();
        let api = &api;
        async move {
            // Far less than an import may take.
            let answer = timeout(Duration::from_secs(20), api.send(request)).await;
            assert_eq!(answer.expect("an answer soon").status, status);
        }
    });
    join_all(answers).await;
}
