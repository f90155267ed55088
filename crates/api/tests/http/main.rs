//! The real router over a real database, without a network between.

mod access;
mod audit;
mod auth;
mod bad_input;
mod cache;
mod cache_properties;
mod cache_queries;
mod compression;
mod events;
mod exports;
mod idempotency;
mod imports;
mod layers;
mod limits;
mod lists;
mod orders;
mod products;
mod queues;
mod recovery;
mod sessions;
mod sign_in;
mod storefront;
mod supabase;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bharatmart_api::{AppState, RouterOptions, build_router};
use bharatmart_cache::Invalidations;
use bharatmart_commerce::Shop;
use bharatmart_config::{ApiConfig, QueueConfig, Source};
use bharatmart_database::Database;
use bharatmart_domain::SystemClock;
use bharatmart_lifecycle::{Health, Lifecycle};
use bharatmart_queue::{JobQueues, Relay};
use bharatmart_test_support::{TestDatabase, test_prefix, test_redis_url};
use http::{HeaderMap, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

const PASSWORD: &str = "Correct-Horse-42";

/// An API of its own. Its relay does not run, so what it orders stays `pending`.
struct Api {
    router: Router,
    test_database: Arc<TestDatabase>,
    invalidations: Invalidations,
    shop: Shop,
    _lifecycle: Lifecycle,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `Null` when there was no body.
    body: Value,
}

impl Answer {
    fn text(&self, name: &str) -> &str {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }

    /// The names in `errors`.
    fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.ends_with("json"))
}

/// Somebody who has signed up.
#[derive(Clone)]
struct Person {
    id: String,
    email: String,
    token: String,
    refresh_token: String,
}

impl Person {
    fn of(answer: &Answer) -> Self {
        let user = &answer.body["user"];
        Self {
            id: user["id"].as_str().expect("a user has an id").to_owned(),
            email: user["email"]
                .as_str()
                .expect("a user has an address")
                .to_owned(),
            token: answer.text("token").to_owned(),
            refresh_token: answer.text("refreshToken").to_owned(),
        }
    }
}

impl Api {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(TestDatabase::create().await), settings)
    }

    /// One more for the same database.
    fn start_on(test_database: Arc<TestDatabase>, settings: &[(&str, &str)]) -> Self {
        let redis = test_redis_url();
        let prefix = test_prefix();
        let defaults = [
            ("DATABASE_URL", test_database.url()),
            ("DATABASE_POOL_SIZE", "5"),
            ("REDIS_URL", &redis),
            ("QUEUE_PREFIX", &prefix),
            ("JWT_SECRET", "a secret for tests, at least 32 bytes long"),
            // All of a test's people are one address, on a machine that is busy with other tests.
            ("OVERLOAD_DELAY", "30s"),
            ("RATE_LIMIT_MAX_REQUESTS", "1000000000"),
            ("RATE_LIMIT_AUTH_MAX_REQUESTS", "1000000"),
        ];
        let pairs = defaults.iter().chain(settings).copied();
        let source = Source::from_map(pairs);
        let config = ApiConfig::read(&source).expect("the settings are good");
        let queue = QueueConfig::read(&source).expect("the settings are good");
        let lifecycle = Lifecycle::without_signals(Duration::from_secs(1), Duration::ZERO);
        let health = Health::new("test", &lifecycle);
        health.mark_started();
        let clock = Arc::new(SystemClock);
        let database =
            Database::connect(&config.database, "bharatmart-test").expect("the URL is good");
        let queues = JobQueues::connect(&queue, clock.clone());
        let (_, relay) = Relay::new(database.clone(), queues.clone(), clock.clone());
        let state = AppState::new(&config, database, queues, relay, &health, clock);
        let (invalidations, shop) = (state.invalidations.clone(), state.shop.clone());
        let router = build_router(state, &health, &RouterOptions::from(&config));
        Self {
            router,
            test_database,
            invalidations,
            shop,
            _lifecycle: lifecycle,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body ends").to_bytes();
        let body = match bytes.as_ref() {
            [] => Value::Null,
            bytes if is_json(&parts.headers) => {
                serde_json::from_slice(bytes).unwrap_or_else(|_| {
                    panic!("not JSON: {}", String::from_utf8_lossy(bytes));
                })
            }
            bytes => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        };
        if parts.status.is_client_error() || parts.status.is_server_error() {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], parts.status.as_u16());
            for name in [
                "type",
                "title",
                "detail",
                "instance",
                "code",
                "request_id",
                "error",
            ] {
                assert!(body[name].is_string(), "{name} in {body}");
            }
            assert_eq!(
                parts.headers["x-request-id"],
                body["request_id"].as_str().expect("checked above")
            );
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        person: Option<&Person>,
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(person) = person {
            request = request.header(AUTHORIZATION, format!("Bearer {}", person.token));
        }
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_owned())),
            None => request.body(Body::empty()),
        };
        self.send(request.expect("the request is good")).await
    }

    async fn get(&self, path: &str, person: Option<&Person>) -> Answer {
        self.call("GET", path, person, None).await
    }

    async fn post(&self, path: &str, person: Option<&Person>, body: &Value) -> Answer {
        self.call("POST", path, person, Some(&body.to_string()))
            .await
    }

    async fn customer(&self, name: &str) -> Person {
        let body = json!({
            "email": format!("{name}@example.in"), "password": PASSWORD, "full_name": name,
        });
        let answer = self.post("/api/auth/signup", None, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        Person::of(&answer)
    }

    async fn admin(&self) -> Person {
        let person = self.customer("admin").await;
        self.test_database
            .make_admin(&person.email)
            .await
            .expect("they have signed up");
        let body = json!({ "email": person.email, "password": PASSWORD });
        Person::of(&self.post("/api/auth/login", None, &body).await)
    }

    /// Adds a product and returns its id.
    async fn product(&self, admin: &Person, body: &Value) -> String {
        let answer = self.post("/api/products", Some(admin), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("id").to_owned()
    }

    /// Orders one of `product` and returns the order's id.
    async fn order(&self, customer: &Person, product: &str) -> String {
        let body = json!({
            "items": [{ "product_id": product, "quantity": 1 }],
            "shipping_address": "12 MG Road\nBengaluru 560001",
        });
        let answer = self.post("/api/orders", Some(customer), &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.text("id").to_owned()
    }
}
