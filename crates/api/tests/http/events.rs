//! An order's events, as they come.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use bharatmart_test_support::wait_until;
use http::{HeaderMap, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::{Api, Person};

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// An open stream.
struct EventStream {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    text: String,
}

/// One block of a stream.
#[derive(Debug, PartialEq)]
struct Event {
    id: Option<i64>,
    name: String,
    data: Value,
}

impl EventStream {
    /// What stands before the next empty line; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            let frame = timeout(SOON, self.body.frame())
                .await
                .expect("something comes, or the end");
            let Some(frame) = frame else {
                assert_eq!(self.text, "", "the end is between two blocks");
                return None;
            };
            let bytes = frame.expect("no error").into_data().expect("no trailers");
            self.text
                .push_str(std::str::from_utf8(&bytes).expect("blocks are UTF-8"));
        }
    }

    /// The next event; comments and hints are passed over.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let mut values = block.lines().filter_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    (key == name).then(|| value.trim_start())
                });
                let value = values.next();
                assert_eq!(values.next(), None, "{name} once in {block:?}");
                value
            };
            if let Some(data) = field("data") {
                return Some(Event {
                    id: field("id").map(|id| id.parse().expect("ids are numbers")),
                    name: field("event").expect("events have names").to_owned(),
                    data: serde_json::from_str(data).expect("data are JSON"),
                });
            }
        }
    }

    /// The next event, which must be a status; its id and that status.
    async fn status(&mut self) -> (i64, String) {
        let event = self.event().await.expect("the stream goes on");
        assert_eq!(event.name, "status", "{event:?}");
        let status = event.data["to_status"].as_str().expect("a status");
        (event.id.expect("an id"), status.to_owned())
    }
}

async fn open(api: &Api, order: &str, person: &Person, last: Option<&str>) -> EventStream {
    let mut request = Request::get(format!("/api/orders/{order}/events"))
        .header(AUTHORIZATION, format!("Bearer {}", person.token));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(Body::empty()).expect("the request is good");
    let response = api.router.clone().oneshot(request).await.expect("answers");
    let (parts, body) = response.into_parts();
    EventStream {
        status: parts.status,
        headers: parts.headers,
        body,
        text: String::new(),
    }
}

async fn set_status(api: &Api, admin: &Person, order: &str, status: &str) {
    let path = format!("/api/orders/{order}/status");
    let body = json!({ "status": status }).to_string();
    let answer = api.call("PATCH", &path, Some(admin), Some(&body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// How often the database was asked what is new.
async fn rounds(api: &Api) -> u64 {
    let of_the_poller = "%FROM unnest(%) AS cursors (order_id, last_id) CROSS JOIN LATERAL%";
    let calls = api.test_database.statement_calls(of_the_poller).await;
    calls.expect("the server counts statements")
}

/// A customer with an order, and an admin.
async fn shop(api: &Api) -> (Person, Person, String) {
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 9 });
    let kite = api.product(&admin, &kite).await;
    let order = api.order(&customer, &kite).await;
    (admin, customer, order)
}

#[tokio::test]
async fn a_stream_tells_what_was_what_comes_and_that_it_is_over() {
    let api = Api::start().await;
    let (admin, customer, order) = shop(&api).await;
    let mut stream = open(&api, &order, &customer, None).await;
    assert_eq!(stream.status, StatusCode::OK);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.headers[name], value);
    }
    let hint = stream.block().await.unwrap();
    let retry: u64 = hint.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((2_000..6_000).contains(&retry), "{hint}");

    let first = stream.event().await.unwrap();
    assert_eq!(first.name, "status");
    let path = format!("/api/orders/{order}");
    let shown = api.get(&path, Some(&customer)).await.body["history"][0].clone();
    let mut expected = shown.clone();
    expected["order_id"] = order.as_str().into();
    assert_eq!(first.data, expected, "what the order's page shows as well");
    assert_eq!(first.id, shown["id"].as_i64());

    set_status(&api, &admin, &order, "processing").await;
    let (second, status) = stream.status().await;
    assert_eq!(status, "processing");
    assert!(Some(second) > first.id);

    set_status(&api, &admin, &order, "cancelled").await;
    assert_eq!(stream.status().await.1, "cancelled");
    let end = stream.event().await.unwrap();
    assert_eq!((end.id, end.name.as_str()), (None, "end"));
    assert_eq!(
        end.data,
        json!({ "order_id": order, "status": "cancelled" })
    );
    assert_eq!(stream.block().await, None);
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_that_was_seen() {
    let api = Api::start().await;
    let (admin, customer, order) = shop(&api).await;
    set_status(&api, &admin, &order, "processing").await;
    let mut stream = open(&api, &order, &customer, None).await;
    let (first, _) = stream.status().await;
    let (second, _) = stream.status().await;
    drop(stream);
    set_status(&api, &admin, &order, "shipped").await;

    let mut later = open(&api, &order, &customer, Some(&second.to_string())).await;
    assert_eq!(later.status().await.1, "shipped");
    let mut earlier = open(&api, &order, &customer, Some(&first.to_string())).await;
    assert_eq!(earlier.status().await, (second, "processing".to_owned()));
    assert_eq!(earlier.status().await.1, "shipped");

    let (other_order, unknown) = (first - 1, "9223372036854775807");
    for id in ["0", unknown, &other_order.to_string()] {
        let mut stream = open(&api, &order, &customer, Some(id)).await;
        assert_eq!(stream.status().await.0, first, "{id}: everything");
    }

    set_status(&api, &admin, &order, "delivered").await;
    let (last, status) = later.status().await;
    assert_eq!(status, "delivered");
    assert_eq!(later.event().await.unwrap().name, "end");
    let over = open(&api, &order, &customer, Some(&last.to_string())).await;
    assert_eq!(over.status, StatusCode::NO_CONTENT, "do not come again");
    let mut again = open(&api, &order, &customer, None).await;
    for status in ["pending", "processing", "shipped", "delivered"] {
        assert_eq!(again.status().await.1, status);
    }
    assert_eq!(again.event().await.unwrap().name, "end");
    assert_eq!(again.event().await, None);
}

#[tokio::test]
async fn a_bad_request_gets_no_stream() {
    let api = Api::start().await;
    let (_, customer, order) = shop(&api).await;
    let stranger = api.customer("stranger").await;
    for id in ["", "abc", "-1", "1.5", "9223372036854775808"] {
        let request = Request::get(format!("/api/orders/{order}/events"))
            .header(AUTHORIZATION, format!("Bearer {}", customer.token))
            .header("last-event-id", id)
            .body(Body::empty())
            .unwrap();
        let answer = api.send(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id:?}");
        assert_eq!(answer.fields(), ["Last-Event-ID"], "{id:?}");
    }
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (order, person, status) in [
        (order.as_str(), None, StatusCode::UNAUTHORIZED),
        (&order, Some(&stranger), StatusCode::NOT_FOUND),
        (unknown, Some(&customer), StatusCode::NOT_FOUND),
        ("seven", Some(&customer), StatusCode::BAD_REQUEST),
    ] {
        let answer = api
            .get(&format!("/api/orders/{order}/events"), person)
            .await;
        assert_eq!(answer.status, status, "{order}");
    }
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_ends_makes_room() {
    let settings = [
        ("MAX_EVENT_STREAMS", "3"),
        ("MAX_EVENT_STREAMS_PER_USER", "2"),
    ];
    let api = Api::start_with(&settings).await;
    let (admin, customer, order) = shop(&api).await;
    let path = format!("/api/orders/{order}/events");
    let mut first = open(&api, &order, &customer, None).await;
    let second = open(&api, &order, &customer, None).await;
    let refused = api.get(&path, Some(&customer)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));

    let _third = open(&api, &order, &admin, None).await;
    let refused = api.get(&path, Some(&admin)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));

    drop(second);
    let mut heir = open(&api, &order, &customer, None).await;
    assert_eq!(heir.status, StatusCode::OK);
    set_status(&api, &admin, &order, "cancelled").await;
    for stream in [&mut first, &mut heir] {
        assert_eq!(stream.status().await.1, "pending");
        assert_eq!(stream.status().await.1, "cancelled");
        assert_eq!(stream.event().await.unwrap().name, "end");
        assert_eq!(stream.block().await, None);
    }
    drop((first, heir));
    assert_eq!(
        open(&api, &order, &customer, None).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    let api = Api::start_with(&[("JWT_EXPIRY", "3s")]).await;
    let (_, _, order) = shop(&api).await;
    // What has come before may have taken all of the first ones' time.
    let body = json!({ "email": "priya@example.in", "password": crate::PASSWORD });
    let customer = Person::of(&api.post("/api/auth/login", None, &body).await);
    let start = Instant::now();
    let mut stream = open(&api, &order, &customer, None).await;
    assert_eq!(stream.status().await.1, "pending");
    assert_eq!(stream.block().await, None);
    let lasted = start.elapsed();
    assert!(
        lasted > Duration::from_secs(1) && lasted < Duration::from_secs(6),
        "{lasted:?}"
    );
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_user_was_put_out() {
    let api = Api::start_with(&[("SESSION_CHECK_INTERVAL", "300ms")]).await;
    let (admin, customer, order) = shop(&api).await;
    let mut theirs = open(&api, &order, &customer, None).await;
    let mut admins = open(&api, &order, &admin, None).await;
    for stream in [&mut theirs, &mut admins] {
        assert_eq!(stream.status().await.1, "pending");
    }
    let path = format!("/api/users/{}", customer.id);
    let out = r#"{"is_active":false}"#;
    let answer = api.call("PATCH", &path, Some(&admin), Some(out)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(theirs.block().await, None);
    set_status(&api, &admin, &order, "processing").await;
    assert_eq!(admins.status().await.1, "processing", "others go on");
}

#[tokio::test]
async fn a_change_that_another_process_makes_is_told_within_a_second() {
    let here = Api::start().await;
    let (admin, customer, order) = shop(&here).await;
    let there = Api::start_on(Arc::clone(&here.test_database), &[]);
    let mut stream = open(&here, &order, &customer, None).await;
    assert_eq!(stream.status().await.1, "pending");
    for status in ["processing", "shipped"] {
        set_status(&there, &admin, &order, status).await;
        let start = Instant::now();
        assert_eq!(stream.status().await.1, status);
        let late = start.elapsed();
        assert!(late < Duration::from_secs(1), "{late:?}");
    }
}

#[tokio::test]
async fn a_reader_that_stands_still_misses_nothing_and_holds_nobody_up() {
    const ENTRIES: i64 = 200;
    let api = Api::start().await;
    let (admin, customer, order) = shop(&api).await;
    let mut still = open(&api, &order, &customer, None).await;
    assert_eq!(still.status().await.1, "pending");
    let pool = api.test_database.pool().await;
    sqlx::query(
        "INSERT INTO order_history (order_id, from_status, to_status, reason)
         SELECT $1::uuid, 'pending', 'payment_failed', 'attempt ' || number
         FROM generate_series(1, $2) AS number",
    )
    .bind(&order)
    .bind(ENTRIES)
    .execute(&pool)
    .await
    .unwrap();
    let read = async |stream: &mut EventStream, numbers: RangeInclusive<i64>| {
        for number in numbers {
            let event = stream.event().await.expect("the stream goes on");
            assert_eq!(event.data["reason"], format!("attempt {number}"));
        }
    };
    let mut quick = open(&api, &order, &admin, None).await;
    assert_eq!(quick.status().await.1, "pending");
    read(&mut quick, 1..=ENTRIES).await;
    set_status(&api, &admin, &order, "processing").await;
    assert_eq!(quick.status().await.1, "processing");
    // Room for some of the next ones, but not for as many as are looked up at a time.
    read(&mut still, 1..=5).await;
    let before = rounds(&api).await;
    wait_until("two further rounds", SOON, async || {
        (rounds(&api).await >= before + 2).then_some(())
    })
    .await
    .unwrap();
    read(&mut still, 6..=ENTRIES).await;
    assert_eq!(still.status().await.1, "processing");
}

#[tokio::test]
async fn the_database_is_left_alone_while_nobody_follows() {
    let api = Api::start().await;
    let (_, customer, order) = shop(&api).await;
    let stream = open(&api, &order, &customer, None).await;
    wait_until("some rounds", SOON, async || {
        (rounds(&api).await > 3).then_some(())
    })
    .await
    .unwrap();
    drop(stream);
    // One that is under way ends, and the next finds nobody.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = rounds(&api).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rounds(&api).await, before);
}
