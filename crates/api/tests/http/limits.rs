//! How much one client may ask for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, extract::ConnectInfo};
use bharatmart_test_support::{TestDatabase, servers::RedisServer, test_prefix, wait_until};
use http::{Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::{Answer, Api, PASSWORD};

const PATH: &str = "/api/categories";
const SOON: Duration = Duration::from_secs(30);
/// So long that no window ends in a test.
const DAY: &str = "86400000";

/// A request from this address, with these headers.
async fn from(api: &Api, peer: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(PATH);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).expect("the request is good");
    let peer = SocketAddr::new(peer.parse().expect("an address"), 4711);
    request.extensions_mut().insert(ConnectInfo(peer));
    api.send(request).await
}

async fn api(limit: &str) -> Api {
    Api::start_with(&[
        ("RATE_LIMIT_MAX_REQUESTS", limit),
        ("RATE_LIMIT_WINDOW_MS", DAY),
    ])
    .await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().expect("it is text")
}

#[tokio::test]
async fn answers_tell_what_is_left_and_a_refusal_when_to_come_back() {
    let api = api("3").await;
    for remaining in ["2", "1", "0"] {
        let answer = from(&api, "192.0.2.1", &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            header(&answer, "ratelimit-policy"),
            "\"requests\";q=3;w=86400"
        );
        assert_eq!(header(&answer, "ratelimit-limit"), "3");
        assert_eq!(header(&answer, "ratelimit-remaining"), remaining);
        let reset = header(&answer, "ratelimit-reset");
        assert!(
            (1..=86_400).contains(&reset.parse::<u32>().unwrap()),
            "{reset}"
        );
        assert_eq!(
            header(&answer, "ratelimit"),
            format!("\"requests\";r={remaining};t={reset}")
        );
    }
    let answer = from(&api, "192.0.2.1", &[("origin", "http://localhost:5173")]).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.text("code"), "rate_limited");
    assert_eq!(header(&answer, "ratelimit-remaining"), "0");
    let wait: u32 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=2 * 86_400).contains(&wait), "{wait}");
    let exposed = header(&answer, "access-control-expose-headers");
    for name in ["ratelimit", "ratelimit-policy", "ratelimit-remaining"] {
        assert!(
            exposed.split(',').any(|exposed| exposed == name),
            "{exposed}"
        );
    }

    let other = from(&api, "192.0.2.2", &[]).await;
    assert_eq!(other.status, StatusCode::OK, "another address");
    assert_eq!(api.get("/api/health", None).await.status, StatusCode::OK);
    for _ in 0..5 {
        let health = api.get("/api/health/live", None).await;
        assert_eq!(health.status, StatusCode::OK, "probes are not counted");
        assert!(!health.headers.contains_key("ratelimit-limit"));
    }
}

#[tokio::test]
async fn a_refused_client_is_let_in_after_the_wait() {
    let api = Api::start_with(&[
        ("RATE_LIMIT_MAX_REQUESTS", "1"),
        ("RATE_LIMIT_WINDOW_MS", "1000"),
    ])
    .await;
    let mut answer = from(&api, "192.0.2.1", &[]).await;
    while answer.status != StatusCode::TOO_MANY_REQUESTS {
        answer = from(&api, "192.0.2.1", &[]).await;
    }
    let wait = header(&answer, "retry-after").parse().unwrap();
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(from(&api, "192.0.2.1", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn zero_is_any_number() {
    let api = api("0").await;
    let answer = from(&api, "192.0.2.1", &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("ratelimit-limit"));
}

#[tokio::test]
async fn a_stranger_cannot_pass_for_another_and_a_trusted_proxy_can_tell_them_apart() {
    let api = Api::start_with(&[
        ("RATE_LIMIT_MAX_REQUESTS", "2"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
    ])
    .await;
    let forwarded = |number| format!("198.51.100.{number}");
    for number in 0..4 {
        let address = forwarded(number);
        let forged = [("x-forwarded-for", address.as_str())];
        let answer = from(&api, "192.0.2.1", &forged).await;
        assert_eq!(answer.status == StatusCode::OK, number < 2, "{number}");
        let answer = from(&api, "10.0.0.7", &forged).await;
        assert_eq!(answer.status, StatusCode::OK, "through the proxy: {number}");
    }
    let address = format!("6.6.6.6, {}", forwarded(0));
    let through = [("x-forwarded-for", address.as_str())];
    assert_eq!(
        from(&api, "10.0.0.7", &through).await.status,
        StatusCode::OK
    );
    let answer = from(&api, "10.0.0.7", &through).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);

    // Whoever adds the header that this proxy passes on is still counted for themselves.
    for number in 10..14 {
        let address = forwarded(number);
        let passed_on = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", address.as_str()),
        ];
        let answer = from(&api, "10.0.0.7", &passed_on).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}");
    }

    for (number, address) in ["2001:db8::1", "2001:db8::ff:2", "2001:db8::3"]
        .into_iter()
        .enumerate()
    {
        let answer = from(&api, address, &[]).await;
        assert_eq!(
            answer.status == StatusCode::OK,
            number < 2,
            "one /64: {address}"
        );
    }
}

#[tokio::test]
async fn users_are_counted_apart_from_their_address_and_a_bad_token_is_nobody() {
    let api = api("2").await;
    let (one, other) = (api.customer("one").await, api.customer("other").await);
    for person in [&one, &other] {
        let token = format!("Bearer {}", person.token);
        let sent = [("authorization", token.as_str())];
        for expected in [
            StatusCode::OK,
            StatusCode::OK,
            StatusCode::TOO_MANY_REQUESTS,
        ] {
            assert_eq!(from(&api, "192.0.2.1", &sent).await.status, expected);
        }
        let elsewhere = from(&api, "192.0.2.77", &sent).await;
        assert_eq!(elsewhere.status, StatusCode::TOO_MANY_REQUESTS);
    }
    for (number, token) in ["Bearer a", "Bearer b", "Bearer c"].into_iter().enumerate() {
        let answer = from(&api, "192.0.2.1", &[("authorization", token)]).await;
        assert_eq!(answer.status == StatusCode::OK, number < 2, "{token}");
    }
}

#[tokio::test]
async fn sign_ins_have_a_limit_of_their_own_for_each_address() {
    let api = Api::start_with(&[
        ("RATE_LIMIT_AUTH_MAX_REQUESTS", "3"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
    ])
    .await;
    let person = api.customer("guessed").await;
    let guess = json!({ "email": person.email, "password": "not this one" });
    for _ in 0..3 {
        let answer = api.post("/api/auth/login", None, &guess).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"login\";q=3;w=86400");
    }
    let right = json!({ "email": person.email, "password": PASSWORD });
    // A token makes nobody another one.
    for signed_in in [None, Some(&person)] {
        let answer = api.post("/api/auth/login", signed_in, &right).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers.contains_key("retry-after"));
    }
    api.customer("second").await;
    api.customer("third").await;
    let fourth = json!({ "email": "d@example.in", "password": PASSWORD, "full_name": "D" });
    let answer = api.post("/api/auth/signup", None, &fourth).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let refresh = json!({ "refreshToken": person.refresh_token });
    let answer = api.post("/api/auth/refresh", None, &refresh).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "ratelimit-remaining"), "29");
    assert_eq!(
        api.get("/api/auth/me", Some(&person)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn sign_ins_that_succeed_do_not_count_against_their_address() {
    let redis = RedisServer::temporary().await.unwrap();
    let url = redis.url();
    let ours = [
        ("RATE_LIMIT_AUTH_MAX_REQUESTS", "3"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
    ];
    let shared = [("CACHE_TYPE", "redis"), ("CACHE_REDIS_URL", url.as_str())];
    for settings in [ours.to_vec(), [ours, shared].concat()] {
        let api = Api::start_with(&settings).await;
        if settings.len() > ours.len() {
            wait_until("Redis", SOON, async || {
                Ok(api.invalidations.check().is_ok())
            })
            .await
            .unwrap();
        }
        let person = api.customer("priya").await;
        let sign_in = async |password: &str| {
            let body = json!({ "email": person.email, "password": password });
            api.post("/api/auth/login", None, &body).await
        };
        for (number, left) in ["2", "1", "0"].into_iter().enumerate() {
            for _ in 0..2 {
                let answer = sign_in(PASSWORD).await;
                assert_eq!(answer.status, StatusCode::OK, "{number}");
                let remaining = header(&answer, "ratelimit-remaining");
                assert_eq!(remaining, (3 - number).to_string());
            }
            let answer = sign_in("not this one").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert_eq!(header(&answer, "ratelimit-remaining"), left);
        }
        let answer = sign_in(PASSWORD).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn whatever_concerns_passwords_and_addresses_has_a_limit_of_its_own() {
    let api = Api::start_with(&[
        ("RATE_LIMIT_AUTH_MAX_REQUESTS", "1"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
    ])
    .await;
    for route in [
        "login",
        "signup",
        "forgot-password",
        "reset-password",
        "verify-email",
        "verify-email/request",
    ] {
        let path = format!("/api/auth/{route}");
        let first = api.post(&path, None, &json!({})).await;
        assert!(
            [400, 401].contains(&first.status.as_u16()),
            "{route}: {}",
            first.body
        );
        let second = api.post(&path, None, &json!({})).await;
        assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS, "{route}");
        assert_eq!(second.text("code"), "rate_limited", "{route}");
    }
}

#[tokio::test]
async fn instances_share_their_limits() {
    let redis = RedisServer::temporary().await.unwrap();
    let (url, prefix) = (redis.url(), test_prefix());
    let settings = [
        ("RATE_LIMIT_MAX_REQUESTS", "20"),
        ("RATE_LIMIT_AUTH_MAX_REQUESTS", "4"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
        ("CACHE_TYPE", "redis"),
        ("CACHE_REDIS_URL", url.as_str()),
        ("CACHE_PREFIX", prefix.as_str()),
    ];
    let database = Arc::new(TestDatabase::create().await);
    let one = Api::start_on(Arc::clone(&database), &settings);
    let other = Api::start_on(database, &settings);
    wait_until("both to reach Redis", SOON, async || {
        Ok(one.invalidations.check().is_ok() && other.invalidations.check().is_ok())
    })
    .await
    .unwrap();

    // Exact: alternating, all in all four.
    let nobody = json!({ "email": "nobody@example.in", "password": "nothing" });
    for (number, api) in [&one, &other].into_iter().cycle().take(6).enumerate() {
        let answer = api.post("/api/auth/login", None, &nobody).await;
        let expected = if number < 4 { 401 } else { 429 };
        assert_eq!(answer.status.as_u16(), expected, "{number}");
    }

    for _ in 0..20 {
        assert_eq!(from(&one, "192.0.2.1", &[]).await.status, StatusCode::OK);
    }
    let mut admitted = 0;
    wait_until("the other to hear of it", SOON, async || {
        let answer = from(&other, "192.0.2.1", &[]).await;
        admitted += u32::from(answer.status == StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(answer.status == StatusCode::TOO_MANY_REQUESTS)
    })
    .await
    .unwrap();
    assert!(
        admitted < 20,
        "the other admitted all of its own {admitted}"
    );
}

#[tokio::test]
async fn a_frozen_redis_fails_no_request_and_each_counts_for_itself() {
    let mut redis = RedisServer::temporary().await.unwrap();
    let url = redis.url();
    let api = Api::start_with(&[
        ("RATE_LIMIT_MAX_REQUESTS", "5"),
        ("RATE_LIMIT_AUTH_MAX_REQUESTS", "30"),
        ("RATE_LIMIT_WINDOW_MS", DAY),
        ("CACHE_TYPE", "redis"),
        ("CACHE_REDIS_URL", url.as_str()),
        ("CACHE_COMMAND_TIMEOUT", "200"),
    ])
    .await;
    wait_until("Redis", SOON, async || {
        Ok(api.invalidations.check().is_ok())
    })
    .await
    .unwrap();
    // Of one account too many guesses would be refused as such.
    let sign_in = async |number: u32| {
        let email = format!("nobody-{number}@example.in");
        let body = json!({ "email": email, "password": "nothing" });
        api.post("/api/auth/login", None, &body)
            .await
            .status
            .as_u16()
    };
    for number in 0..10 {
        assert_eq!(sign_in(number).await, 401);
    }
    redis.pause().unwrap();
    for number in 0..6 {
        let answer = from(&api, "192.0.2.1", &[]).await;
        assert_eq!(
            answer.status == StatusCode::OK,
            number < 5,
            "{number}: {}",
            answer.body
        );
    }
    let begin = Instant::now();
    for number in 10..32 {
        let expected = if number < 30 { 401 } else { 429 };
        assert_eq!(
            sign_in(number).await,
            expected,
            "it goes on from what it knew: {number}"
        );
    }
    // Only until the breaker opens, which twenty waits would not be.
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(api.invalidations.check().is_err(), "the breaker is open");
    redis.resume().unwrap();
    wait_until("Redis is back", SOON, async || {
        Ok(api.invalidations.check().is_ok())
    })
    .await
    .unwrap();
    assert!([401, 429].contains(&sign_in(32).await));
}
