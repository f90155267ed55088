//! What administrators are told of the layers.

use std::{cell::RefCell, time::Duration};

use bharatmart_test_support::{FlakyProxy, test_prefix, test_redis_url, wait_until};
use serde_json::{Value, json};

use crate::{Api, Person};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is told once `is_so`.
async fn services(api: &Api, admin: &Person, is_so: impl Fn(&Value) -> bool) -> Value {
    let last = RefCell::new(Value::Null);
    let looked = wait_until("the layers", PATIENCE, async || {
        let info = api.get("/api/system/info", Some(admin)).await;
        let services = info.body["services"].clone();
        last.replace(services.clone());
        Some(services).filter(&is_so)
    });
    looked
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", last.borrow()))
}

fn breaker(services: &Value, dependency: &str) -> Value {
    let breakers = services["breakers"].as_array().expect("there is a list");
    let found = breakers
        .iter()
        .find(|breaker| breaker["dependency"] == dependency);
    found
        .unwrap_or_else(|| panic!("none before {dependency}"))
        .clone()
}

fn closed(dependency: &str) -> Value {
    json!({ "dependency": dependency, "state": "closed", "retryInSeconds": null })
}

#[tokio::test]
async fn each_layer_tells_how_it_does_and_a_breaker_when_it_tries_again() {
    let redis = test_redis_url();
    let (target, number) = redis
        .strip_prefix("redis://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "0")))
        .expect("it is an address of Redis");
    let proxy = FlakyProxy::start(target).await.expect("a proxy");
    let through = format!("redis://{}/{number}", proxy.address());
    let prefix = test_prefix();
    let api = Api::start_with(&[
        ("REDIS_URL", &through),
        ("CACHE_TYPE", "redis"),
        ("CACHE_PREFIX", &prefix),
        ("CACHE_BREAKER_RESET", "200"),
        ("PAYMENT_PROVIDER", "http"),
        ("PAYMENT_GATEWAY_URL", "http://127.0.0.1:9"),
        ("PAYMENT_API_KEY", "a-key-of-the-gateway"),
        (
            "PAYMENT_WEBHOOK_SECRET",
            "a secret of the gateway's, of 32 bytes or more",
        ),
    ])
    .await;
    let admin = api.admin().await;

    let healthy = json!({ "type": "redis", "status": "healthy" });
    let well = |services: &Value| services["cache"] == healthy && services["queue"] == healthy;
    let all = services(&api, &admin, well).await;
    assert_eq!(
        all["breakers"],
        json!([closed("cache"), closed("queue"), closed("payment_gateway")])
    );

    proxy.stall();
    let unhealthy = json!({ "type": "redis", "status": "unhealthy" });
    let all = services(&api, &admin, |services| {
        let cache = breaker(services, "cache");
        cache["state"] == "open" && cache["retryInSeconds"].is_number()
    })
    .await;
    assert_eq!(all["cache"], unhealthy);
    assert_eq!(breaker(&all, "payment_gateway"), closed("payment_gateway"));
    let wait = breaker(&all, "cache")["retryInSeconds"].as_f64();
    assert!(
        wait.is_some_and(|wait| wait > 0.0 && wait <= 1.0),
        "{wait:?}"
    );

    proxy.restore();
    services(&api, &admin, |services| {
        well(services) && breaker(services, "cache") == closed("cache")
    })
    .await;
}

#[tokio::test]
async fn what_needs_no_breaker_has_none() {
    let api = Api::start_with(&[
        ("CACHE_TYPE", "memory"),
        ("WORKER_MODE", "in-process"),
        ("SMTP_HOST", "127.0.0.1"),
    ])
    .await;
    let admin = api.admin().await;
    let info = api.get("/api/system/info", Some(&admin)).await;
    let services = &info.body["services"];
    assert_eq!(services["breakers"], json!([]));
    assert_eq!(
        services["cache"],
        json!({ "type": "memory", "status": "healthy" })
    );
    assert_eq!(
        services["queue"],
        json!({ "type": "postgresql", "status": "healthy" })
    );
}
