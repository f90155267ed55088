//! What is the same answer: to a client that has it already, and to queries that mean the same.

use axum::body::Body;
use http::{Request, StatusCode, header::IF_NONE_MATCH};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::{
    Answer, Api, Person,
    access::Cast,
    cache_properties::{Apis, assert_public, header, said},
};

async fn ask_if_changed(api: &Api, path: &str, person: Option<&Person>, etags: &str) -> Answer {
    let mut request = Request::get(path).header(IF_NONE_MATCH, etags);
    if let Some(person) = person {
        request = request.header("authorization", format!("Bearer {}", person.token));
    }
    api.send(request.body(Body::empty()).expect("it is a request"))
        .await
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let apis = Apis::in_memory().await;
    let cast = Cast::meet(&apis.uncached).await;
    for api in [&apis.cached[0], &apis.uncached] {
        for path in ["/api/products", "/api/products/PRODUCT", "/api/categories"] {
            let path = cast.fill_in(path);
            let whole = api.get(&path, None).await;
            let etag = header(&whole, "etag").expect("it has one");
            for same in [
                etag.to_owned(),
                format!("W/{etag}"),
                format!("\"other\", {etag}"),
                format!("W/\"other\",W/{etag} , \"third\""),
                "*".to_owned(),
            ] {
                let answer = ask_if_changed(api, &path, None, &same).await;
                assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{path}: {same}");
                assert_eq!(answer.body, Value::Null, "{path}: {same}");
                for name in ["etag", "cache-control"] {
                    assert_eq!(
                        header(&answer, name),
                        header(&whole, name),
                        "{path}: {same}"
                    );
                }
                assert_public(&answer, &path);
            }
            for other in [
                "\"other\"".to_owned(),
                etag.trim_matches('"').to_owned(),
                etag.to_uppercase(),
                "nonsense, \"".to_owned(),
            ] {
                let answer = ask_if_changed(api, &path, None, &other).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}: {other}");
                assert_eq!(answer.body, whole.body);
            }
        }
        let me = ask_if_changed(api, "/api/auth/me", cast.people[1].as_ref(), "*").await;
        assert_eq!(me.status, StatusCode::OK);
        let missing = ask_if_changed(api, &cast.fill_in("/api/products/UNKNOWN"), None, "*").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
}

/// Names that mean something else in a query, if they are not escaped there.
const AWKWARD: [&str; 7] = [
    "A",
    "A&sort=price",
    "A=B",
    "A%26B",
    "A+B",
    "A B",
    "a&limit=1",
];

async fn stock_awkwardly(api: &Api) {
    let admin = api.admin().await;
    for (number, name) in AWKWARD.iter().enumerate() {
        for price in [10, 20] {
            let body = json!({
                "name": format!("{name} {number}"), "price": price, "category": name,
                "stock_quantity": number % 2,
            });
            api.product(&admin, &body).await;
        }
    }
}

fn escaped(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn queries_that_mean_the_same_are_cached_once() {
    let apis = Apis::in_memory().await;
    let api = &apis.cached[0];
    stock_awkwardly(api).await;
    let awkward = escaped("A&sort=price");
    let lower = escaped("a&SORT=price");
    let groups: [&[String]; 8] = [
        &[
            "",
            "?",
            "?limit=50",
            "?offset=0&sort=name",
            "?unknown=1&category=&search=",
            "?sort=name&limit=50&offset=0",
        ]
        .map(str::to_owned),
        &[
            "?category=a+b&in_stock=true",
            "?in_stock=true&category=A%20B",
            "?limit=50&category=%41+b&x=y&in_stock=true",
        ]
        .map(str::to_owned),
        &[
            "?min_price=10&max_price=10.5",
            "?max_price=10.50&min_price=10.00",
        ]
        .map(str::to_owned),
        &["?search=a%3Db&sort=-price", "?sort=-price&search=A%3DB"].map(str::to_owned),
        &[
            format!("?category={awkward}"),
            format!("?category={lower}"),
            format!("?offset=0&category={lower}"),
        ],
        // The same texts as those beside them, if nothing were escaped.
        &["?category=A&sort=price", "?sort=price&category=a"].map(str::to_owned),
        &[format!("?category={}", escaped("A&limit=1"))],
        &["?category=A&limit=1", "?limit=1&category=a"].map(str::to_owned),
    ];
    let mut etags = Vec::new();
    for group in groups {
        let mut expected = ("MISS", None);
        for query in group {
            let path = format!("/api/products{query}");
            let answer = api.get(&path, None).await;
            assert_eq!(header(&answer, "x-cache"), Some(expected.0), "{query}");
            let etag = header(&answer, "etag").map(str::to_owned);
            assert!(expected.1.is_none() || expected.1 == etag, "{query}");
            assert!(
                answer.body["count"].as_i64() > Some(0),
                "{query}: {}",
                answer.body
            );
            assert_eq!(
                said(answer),
                said(apis.uncached.get(&path, None).await),
                "{query}"
            );
            expected = ("HIT", etag);
        }
        etags.push(expected.1);
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), groups.len(), "none is another's");
}

#[tokio::test]
async fn no_query_gets_the_answer_to_another() {
    const QUERIES: usize = 200;
    let apis = Apis::in_redis().await;
    stock_awkwardly(&apis.uncached).await;
    let mut rng = StdRng::seed_from_u64(5);
    let mut hits = 0;
    for _ in 0..QUERIES {
        let mut words: Vec<String> = Vec::new();
        for (name, values) in [
            ("category", &AWKWARD[..]),
            ("search", &AWKWARD),
            ("sort", &["name", "-name", "price"]),
            ("in_stock", &["true", "false"]),
            ("min_price", &["10", "10.0", "11"]),
            ("max_price", &["10", "19.99", "20"]),
            ("limit", &["1", "50"]),
            ("offset", &["0", "1"]),
        ] {
            if rng.random_bool(0.25) {
                let value = values[rng.random_range(0..values.len())];
                words.push(format!("{name}={}", escaped(value)));
            }
        }
        words.shuffle(&mut rng);
        let path = format!("/api/products?{}", words.join("&"));
        let expected = said(apis.uncached.get(&path, None).await);
        assert_eq!(expected.0, StatusCode::OK, "{path}");
        for api in &apis.cached {
            let answer = api.get(&path, None).await;
            hits += usize::from(header(&answer, "x-cache") == Some("HIT"));
            assert_eq!(said(answer), expected, "{path}");
        }
    }
    assert!(hits > QUERIES / 4, "{hits} hits");
}
