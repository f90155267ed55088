//! Who may do what: every route, and every kind of person.

use std::time::Duration;

use bharatmart_test_support::wait_until;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{Api, Person};

/// What a route answers to nobody, to another customer, to the customer whose things they are, and to
/// an admin.
pub(crate) type Row = (&'static str, &'static str, Option<&'static str>, [u16; 4]);

pub(crate) const ROUTES: &[Row] = &[
    ("GET", "/", None, [200; 4]),
    ("GET", "/api/health", None, [200; 4]),
    ("GET", "/api/health/live", None, [200; 4]),
    ("GET", "/api/health/ready", None, [200; 4]),
    ("GET", "/api/system/info", None, [200; 4]),
    ("GET", "/api/openapi.json", None, [200; 4]),
    ("GET", "/api/docs", None, [200; 4]),
    ("GET", "/api/docs/swagger-ui.css", None, [200; 4]),
    ("GET", "/api/docs/nothing.js", None, [404; 4]),
    ("POST", "/api/auth/signup", Some("{}"), [400; 4]),
    ("POST", "/api/auth/login", Some("{}"), [400; 4]),
    ("POST", "/api/auth/refresh", Some("{}"), [400; 4]),
    ("POST", "/api/auth/verify-email", Some("{}"), [400; 4]),
    (
        "POST",
        "/api/auth/verify-email/request",
        None,
        [401, 202, 202, 202],
    ),
    ("POST", "/api/auth/forgot-password", Some("{}"), [400; 4]),
    ("POST", "/api/auth/reset-password", Some("{}"), [400; 4]),
    ("GET", "/api/auth/me", None, [401, 200, 200, 200]),
    ("PATCH", "/api/auth/me", Some("{}"), [401, 200, 200, 200]),
    ("GET", "/api/products", None, [200; 4]),
    ("GET", "/api/products/PRODUCT", None, [200; 4]),
    ("GET", "/api/categories", None, [200; 4]),
    ("POST", "/api/products", Some("{}"), [401, 403, 403, 400]),
    (
        "POST",
        "/api/products/import",
        Some("{}"),
        [401, 403, 403, 415],
    ),
    (
        "PUT",
        "/api/products/PRODUCT",
        Some("{}"),
        [401, 403, 403, 200],
    ),
    ("GET", "/api/products/off-sale", None, [401, 403, 403, 200]),
    (
        "GET",
        "/api/products/off-sale?search=kite",
        None,
        [401, 403, 403, 200],
    ),
    (
        "POST",
        "/api/products/PRODUCT/restore",
        None,
        [401, 403, 403, 200],
    ),
    (
        "POST",
        "/api/products/UNKNOWN/restore",
        None,
        [401, 403, 403, 404],
    ),
    (
        "DELETE",
        "/api/products/UNKNOWN",
        None,
        [401, 403, 403, 404],
    ),
    ("GET", "/api/orders", None, [401, 200, 200, 200]),
    (
        "GET",
        "/api/orders?user_id=OWNER",
        None,
        [401, 403, 200, 200],
    ),
    (
        "GET",
        "/api/orders?sort=created_at&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        None,
        [401, 200, 200, 200],
    ),
    ("GET", "/api/orders/export", None, [401, 403, 403, 200]),
    ("POST", "/api/orders", Some("{}"), [401, 400, 400, 400]),
    ("GET", "/api/orders/ORDER", None, [401, 404, 200, 200]),
    (
        "GET",
        "/api/orders/ENDED/events",
        None,
        [401, 404, 200, 200],
    ),
    (
        "PATCH",
        "/api/orders/ORDER/status",
        Some(r#"{"status":"shipped"}"#),
        [401, 404, 403, 409],
    ),
    ("GET", "/api/payments", None, [401, 200, 200, 200]),
    (
        "GET",
        "/api/payments?user_id=OWNER",
        None,
        [401, 403, 200, 200],
    ),
    ("POST", "/api/payments", Some("{}"), [401, 400, 400, 400]),
    (
        "POST",
        "/api/payments",
        Some(r#"{"order_id":"ORDER","payment_method":"upi"}"#),
        [401, 404, 409, 404],
    ),
    ("GET", "/api/payments/PAYMENT", None, [401, 404, 200, 200]),
    (
        "PATCH",
        "/api/payments/PAYMENT/status",
        Some(r#"{"status":"refunded"}"#),
        [401, 403, 403, 409],
    ),
    // Signed, not signed in; without a key, nobody's signature is known.
    ("POST", "/api/payments/webhook", Some("{}"), [404; 4]),
    ("GET", "/api/users", None, [401, 403, 403, 200]),
    ("GET", "/api/users?search=owner", None, [401, 403, 403, 200]),
    ("GET", "/api/users/OWNER", None, [401, 403, 403, 200]),
    ("GET", "/api/users/UNKNOWN", None, [401, 403, 403, 404]),
    (
        "PATCH",
        "/api/users/OWNER",
        Some("{}"),
        [401, 403, 403, 200],
    ),
    ("GET", "/api/audit", None, [401, 403, 403, 200]),
    ("GET", "/api/queues/stats", None, [401, 403, 403, 200]),
    ("GET", "/api/queues/orders/jobs", None, [401, 403, 403, 200]),
    (
        "GET",
        "/api/queues/emails/jobs?state=refused",
        None,
        [401, 403, 403, 200],
    ),
    ("GET", "/api/queues/coffee/jobs", None, [401, 403, 403, 404]),
    (
        "GET",
        "/api/queues/payments/jobs/UNKNOWN",
        None,
        [401, 403, 403, 404],
    ),
    (
        "POST",
        "/api/queues/payments/jobs/UNKNOWN/retry",
        None,
        [401, 403, 403, 404],
    ),
    (
        "DELETE",
        "/api/queues/payments/jobs/UNKNOWN",
        None,
        [401, 403, 403, 404],
    ),
    ("GET", "/api/nowhere", None, [404; 4]),
    ("DELETE", "/api/orders/ORDER", None, [405; 4]),
    // Last, since it ends the tokens.
    ("POST", "/api/auth/logout", None, [401, 200, 200, 200]),
];

/// People, and the things that routes are about.
pub(crate) struct Cast {
    /// Nobody, another customer, the customer whose things they are, an admin.
    pub(crate) people: [Option<Person>; 4],
    product: String,
    order: String,
    /// An order to which nothing can happen any more.
    ended: String,
    payment: String,
}

impl Cast {
    pub(crate) async fn meet(api: &Api) -> Self {
        let admin = api.admin().await;
        let (owner, other) = (api.customer("owner").await, api.customer("other").await);
        let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 2 });
        let product = api.product(&admin, &kite).await;
        let order = api.order(&owner, &product).await;
        let ended = api.order(&owner, &product).await;
        let cancel = Some(r#"{"status":"cancelled"}"#);
        let path = format!("/api/orders/{ended}/status");
        api.call("PATCH", &path, Some(&owner), cancel).await;
        let pay = json!({ "order_id": order, "payment_method": "upi" });
        let payment = api.post("/api/payments", Some(&owner), &pay).await;
        Self {
            payment: payment.text("id").to_owned(),
            people: [None, Some(other), Some(owner), Some(admin)],
            product,
            order,
            ended,
        }
    }

    /// A route's path or body with the ids of these things.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        let owner = self.people[2].as_ref().expect("the third is the owner");
        text.replace("PRODUCT", &self.product)
            .replace("ORDER", &self.order)
            .replace("ENDED", &self.ended)
            .replace("PAYMENT", &self.payment)
            .replace("OWNER", &owner.id)
            .replace("UNKNOWN", "01890000-0000-7000-8000-000000000000")
    }

    /// Waits until the queue, which connects in the background, can be asked.
    pub(crate) async fn wait_for_the_queue(&self, api: &Api) {
        let connected = async || {
            let answer = api.get("/api/queues/stats", self.people[3].as_ref()).await;
            answer.status.is_success().then_some(())
        };
        wait_until("the queue", Duration::from_secs(5), connected)
            .await
            .expect("Redis is there");
    }
}

#[tokio::test]
async fn every_route_answers_every_role_as_it_should() {
    let api = Api::start().await;
    let cast = Cast::meet(&api).await;
    cast.wait_for_the_queue(&api).await;
    let mut wrong = Vec::new();
    for (method, path, body, expected) in ROUTES {
        let body = body.map(|body| cast.fill_in(body));
        for (person, expected) in cast.people.iter().zip(expected) {
            let answer = api
                .call(
                    method,
                    &cast.fill_in(path),
                    person.as_ref(),
                    body.as_deref(),
                )
                .await;
            if answer.status.as_u16() != *expected {
                let who = person
                    .as_ref()
                    .map_or("nobody", |person| person.email.as_str());
                wrong.push(format!(
                    "{method} {path} by {who}: {} instead of {expected}",
                    answer.status
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a row's path is of the route with this template.
fn is_of(path: &str, template: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (segments, parts): (Vec<_>, Vec<_>) =
        (path.split('/').collect(), template.split('/').collect());
    segments.len() == parts.len()
        && segments
            .iter()
            .zip(&parts)
            .all(|(segment, part)| part.starts_with('{') || segment == part)
}

/// What the document says of who may: nobody in particular, whoever is signed in, or administrators.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Documented {
    Everybody,
    SignedIn,
    Admins,
}

fn documented(operation: &Value) -> Documented {
    let requirements = operation["security"]
        .as_array()
        .expect("each operation says it");
    match requirements.as_slice() {
        [] => Documented::Everybody,
        several if several.iter().any(|each| each == &json!({})) => Documented::Everybody,
        [one] if one["bearer"] == json!(["admin"]) => Documented::Admins,
        [one] if one["bearer"] == json!([]) => Documented::SignedIn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_table_has_every_route_of_the_document_and_says_the_same() {
    let document = bharatmart_api::openapi_document();
    let mut wrong = Vec::new();
    for (template, item) in document["paths"].as_object().expect("there are paths") {
        for (method, operation) in item.as_object().expect("a path has methods") {
            // A literal route such as `/api/queues/stats` is not one with a parameter.
            let is_literal = |path: &str| {
                document["paths"]
                    .get(path.split('?').next().unwrap_or_default())
                    .is_some()
            };
            let rows: Vec<_> = ROUTES
                .iter()
                .filter(|(of, path, ..)| {
                    of.eq_ignore_ascii_case(method)
                        && is_of(path, template)
                        && (!is_literal(path) || !template.contains('{'))
                })
                .collect();
            if rows.is_empty() {
                wrong.push(format!("{method} {template} has no row"));
            }
            let who = documented(operation);
            for (_, path, _, answers) in rows {
                let is_kept = match who {
                    Documented::Everybody => answers[0] != 401,
                    Documented::SignedIn => answers[0] == 401 && answers[3] != 403,
                    Documented::Admins => answers[..3] == [401, 403, 403] && answers[3] != 403,
                };
                let is_unsaid =
                    |status: &&u16| operation["responses"].get(status.to_string()).is_none();
                let unsaid: Vec<_> = answers.iter().filter(is_unsaid).collect();
                if !is_kept || !unsaid.is_empty() {
                    wrong.push(format!(
                        "{method} {path} is for {who:?}: {answers:?}; not documented: {unsaid:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_bad_token_is_no_token() {
    let api = Api::start().await;
    let mut person = api.customer("priya").await;
    person.token.push('x');
    for path in ["/api/auth/me", "/api/orders", "/api/system/info"] {
        let answer = api.get(path, Some(&person)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn only_an_admin_sees_how_the_system_is_set_up() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let everybody = api.get("/api/system/info", None).await;
    assert!(everybody.body["configuration"].is_null());
    let admin = api.get("/api/system/info", Some(&admin)).await;
    assert_eq!(admin.body["configuration"]["databaseType"], "postgresql");
    let text = admin.body.to_string();
    assert!(
        !text.contains("postgres://") && !text.contains("secret"),
        "{text}"
    );
}
