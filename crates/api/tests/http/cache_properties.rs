//! What holds for every answer, whatever is asked in whatever order, by whomever: the cache shows in
//! nothing but how soon it comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bharatmart_test_support::{FlakyProxy, TestDatabase, test_prefix, wait_until};
use futures_util::future::join_all;
use http::StatusCode;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    Answer, Api,
    access::{Cast, ROUTES},
};

/// All that is cached beside the pages of products.
const LISTS: [&str; 3] = [
    "/api/products",
    "/api/products?sort=-price",
    "/api/categories",
];
/// How soon one process shows what another has changed, at the latest.
const SOON: Duration = Duration::from_secs(1);

/// APIs for one database: those of one kind of cache, which share it if it can be shared, and one without.
pub(crate) struct Apis {
    pub(crate) cached: Vec<Api>,
    pub(crate) uncached: Api,
    pool: PgPool,
}

impl Apis {
    pub(crate) async fn in_memory() -> Self {
        Self::start(1, &[("CACHE_TYPE", "memory")]).await
    }

    pub(crate) async fn in_redis() -> Self {
        let prefix = test_prefix();
        let settings = [("CACHE_TYPE", "redis"), ("CACHE_PREFIX", prefix.as_str())];
        Self::start(2, &settings).await
    }

    async fn start(count: usize, settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        let cached: Vec<_> = (0..count)
            .map(|_| Api::start_on(Arc::clone(&database), settings))
            .collect();
        for api in &cached {
            wait_until("the cache", Duration::from_secs(5), async || {
                api.invalidations.check().ok()
            })
            .await
            .expect("Redis is there");
        }
        Self {
            cached,
            uncached: Api::start_on(Arc::clone(&database), &[]),
            pool: database.pool().await,
        }
    }

    async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.expect(sql);
    }
}

/// Status and body, without what is another one for each request.
pub(crate) fn said(mut answer: Answer) -> (StatusCode, Value) {
    if let Some(body) = answer.body.as_object_mut() {
        body.remove("request_id");
    }
    if let Value::String(events) = &mut answer.body {
        let lines = events.lines().filter(|line| !line.starts_with("retry: "));
        *events = lines.collect::<Vec<_>>().join("\n");
    }
    (answer.status, answer.body)
}

pub(crate) fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let value = answer.headers.get(name)?;
    Some(value.to_str().expect("it is text"))
}

/// Nobody else may keep it, and this API did not.
fn assert_private(answer: &Answer, what: &str) {
    assert_eq!(header(answer, "cache-control"), Some("no-store"), "{what}");
    assert_eq!(header(answer, "x-cache"), None, "{what}");
    assert_eq!(header(answer, "etag"), None, "{what}");
}

pub(crate) fn assert_public(answer: &Answer, what: &str) {
    let control = header(answer, "cache-control").unwrap_or_default();
    assert!(control.starts_with("public, max-age="), "{what}: {control}");
    assert!(
        control.contains(", stale-while-revalidate="),
        "{what}: {control}"
    );
    let source = header(answer, "x-cache").unwrap_or_default();
    assert!(["HIT", "MISS"].contains(&source), "{what}: {source}");
    let etag = header(answer, "etag").unwrap_or_default();
    assert!(
        etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'),
        "{what}: {etag}"
    );
}

/// Products get these ids one after the other, so that they can be asked for before they exist.
const NUMBERED: &str = "
    CREATE SEQUENCE numbers;
    ALTER TABLE products ALTER COLUMN id
        SET DEFAULT ('00000000-0000-4000-8000-' || lpad(to_hex(nextval('numbers')), 12, '0'))::uuid";

fn numbered(number: u32) -> String {
    format!("/api/products/00000000-0000-4000-8000-{number:012x}")
}

/// Does what may be done to products in a random order, and asks for all that shows them in between.
async fn shows_what_the_database_holds(apis: &Apis, seed: u64) {
    const STEPS: usize = 250;
    apis.run(NUMBERED).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let one = &apis.cached[0];
    let admin = one.admin().await;
    let mut last = 0;
    for step in 0..STEPS {
        let path = numbered(rng.random_range(1..=last + 2));
        match rng.random_range(0..10) {
            0 => {
                last += 1;
                let body = json!({
                    "name": format!("Diya {last}"), "price": 5,
                    "category": (["Lamps", "lamps", "Gifts"][step % 3]), "stock_quantity": step % 2,
                });
                one.product(&admin, &body).await;
            }
            1 => {
                one.call("DELETE", &path, Some(&admin), None).await;
            }
            2 => {
                let body = json!({ "price": step }).to_string();
                one.call("PUT", &path, Some(&admin), Some(&body)).await;
            }
            ask => {
                let path = match ask {
                    3..6 => LISTS[ask - 3].to_owned(),
                    _ => path,
                };
                let expected = said(apis.uncached.get(&path, None).await);
                let found = one.get(&path, None).await;
                if found.status == StatusCode::OK {
                    assert_public(&found, &path);
                } else {
                    assert_private(&found, &path);
                }
                assert_eq!(said(found), expected, "step {step} of {seed}: {path}");
                for other in &apis.cached[1..] {
                    wait_until("the others to show it", SOON, async || {
                        let found = said(other.get(&path, None).await);
                        (found == expected).then_some(())
                    })
                    .await
                    .unwrap_or_else(|error| panic!("step {step} of {seed}: {path}: {error}"));
                }
            }
        }
    }
    assert!(last > 10, "{last} products were added");
}

#[tokio::test]
async fn with_a_cache_in_memory_every_answer_is_what_the_database_holds() {
    shows_what_the_database_holds(&Apis::in_memory().await, 1).await;
}

#[tokio::test]
async fn with_a_cache_in_redis_every_answer_is_what_the_database_holds() {
    shows_what_the_database_holds(&Apis::in_redis().await, 2).await;
}

/// While some ask without a pause, nobody gets what is older than a change that had been answered
/// when they asked.
async fn shows_nothing_from_before_a_change(apis: Apis) {
    const CHANGES: i64 = 60;
    let api = Arc::new(apis);
    let one = &api.cached[0];
    let (admin, priya) = (one.admin().await, one.customer("priya").await);
    let kite = json!({ "name": "Kite", "price": 1, "category": "Toys", "stock_quantity": CHANGES });
    let id = one.product(&admin, &kite).await;
    let path = format!("/api/products/{id}");
    let (price, stock) = (
        Arc::new(AtomicI64::new(1)),
        Arc::new(AtomicI64::new(CHANGES)),
    );
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (api, path) = (Arc::clone(&api), path.clone());
            let (price, stock) = (Arc::clone(&price), Arc::clone(&stock));
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let one = &api.cached[0];
                while !done.load(Ordering::Acquire) {
                    let (price, stock) =
                        (price.load(Ordering::Acquire), stock.load(Ordering::Acquire));
                    let page = one.get(&path, None).await.body;
                    assert!(page["price"].as_i64() >= Some(price), "{price}: {page}");
                    assert!(
                        page["stock_quantity"].as_i64() <= Some(stock),
                        "{stock}: {page}"
                    );
                    let list = one.get("/api/products", None).await.body;
                    let row = &list["data"][0];
                    assert!(row["price"].as_i64() >= Some(price), "{price}: {row}");
                    // A hit waits for nothing, and who makes the changes must have a turn.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for change in 1..=CHANGES {
        one.order(&priya, &id).await;
        stock.store(CHANGES - change, Ordering::Release);
        let body = json!({ "price": change + 1 }).to_string();
        let edited = one.call("PUT", &path, Some(&admin), Some(&body)).await;
        assert_eq!(edited.status, StatusCode::OK);
        price.store(change + 1, Ordering::Release);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.await.expect("no reader saw anything old");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_cache_in_memory_nobody_sees_what_is_older_than_an_answered_change() {
    shows_nothing_from_before_a_change(Apis::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_cache_in_redis_nobody_sees_what_is_older_than_an_answered_change() {
    shows_nothing_from_before_a_change(Apis::in_redis().await).await;
}

/// Many ask while the database refuses, and then once more when it does not.
async fn keeps_no_failure(apis: Apis) {
    let one = &apis.cached[0];
    let admin = one.admin().await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 5 });
    let page = format!("/api/products/{}", one.product(&admin, &kite).await);
    let paths = [&LISTS[..], &[page.as_str()]].concat();
    for (wrong, right) in [
        (
            "ALTER TABLE products RENAME TO products_away",
            "ALTER TABLE products_away RENAME TO products",
        ),
        (
            "ALTER TABLE products RENAME COLUMN is_active TO is_away",
            "ALTER TABLE products RENAME COLUMN is_away TO is_active",
        ),
    ] {
        apis.run(wrong).await;
        for path in &paths {
            let answers = join_all((0..10).map(|_| one.get(path, None))).await;
            for answer in answers {
                assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
                assert_private(&answer, path);
            }
        }
        apis.run(right).await;
        for path in &paths {
            for api in &apis.cached {
                let answer = api.get(path, None).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                assert_public(&answer, path);
            }
            let again = one.get(path, None).await;
            assert_eq!(header(&again, "x-cache"), Some("HIT"), "{path}");
        }
        // So that the second failure finds nothing to serve instead.
        let edited = one.call("PUT", &page, Some(&admin), Some("{}")).await;
        assert_eq!(edited.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn with_a_cache_in_memory_no_failure_is_kept() {
    keeps_no_failure(Apis::in_memory().await).await;
}

#[tokio::test]
async fn with_a_cache_in_redis_no_failure_is_kept() {
    keeps_no_failure(Apis::in_redis().await).await;
}

#[tokio::test]
async fn that_the_database_was_away_is_not_kept() {
    let database = Arc::new(TestDatabase::create().await);
    let (before, address) = database.url().split_once('@').expect("it names a user");
    let (target, name) = address.split_once('/').expect("it names a database");
    let proxy = FlakyProxy::start(target).await.expect("a proxy");
    let url = format!("{before}@{}/{name}", proxy.address());
    let settings = [
        ("CACHE_TYPE", "memory"),
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_CONNECTION_TIMEOUT", "300"),
    ];
    let api = Api::start_on(database, &settings);
    let admin = api.admin().await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 5 });
    let page = format!("/api/products/{}", api.product(&admin, &kite).await);
    proxy.cut();
    for path in [page.as_str(), "/api/products"] {
        for answer in join_all((0..5).map(|_| api.get(path, None))).await {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_private(&answer, path);
        }
    }
    proxy.restore();
    wait_until("the database", Duration::from_secs(5), async || {
        let answer = api.get("/api/categories", None).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await
    .unwrap();
    for path in [page.as_str(), "/api/products"] {
        let answer = api.get(path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_public(&answer, path);
    }
}

/// Paths whose answers tell the time, or how busy the process is.
const CHANGING: [&str; 6] = [
    "/",
    "/api/health",
    "/api/health/live",
    "/api/health/ready",
    "/api/system/info",
    "/api/queues/stats",
];

/// What is the same for everybody because it is part of the program.
const IN_THE_PROGRAM: [&str; 2] = ["/api/docs", "/api/openapi.json"];

/// What shows products that nobody buys.
const FOR_ADMINS: &str = "/api/products/off-sale";

/// The names in an answer, without what stands under them.
fn names(body: &Value) -> Value {
    match body {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), names(value)))
            .collect(),
        Value::Array(values) => {
            // One more breaker is no other kind of answer.
            let mut kinds: Vec<_> = values.iter().map(names).collect();
            kinds.dedup();
            kinds.into()
        }
        _ => Value::Null,
    }
}

/// Everybody asks for everything, again and again, and gets what an API without a cache gives them.
async fn shares_nothing_private(apis: Apis, seed: u64) {
    const ROUNDS: usize = 4;
    let cast = Cast::meet(&apis.uncached).await;
    for api in apis.cached.iter().chain([&apis.uncached]) {
        cast.wait_for_the_queue(api).await;
    }
    let mut questions = Vec::new();
    for (_, path, ..) in ROUTES.iter().filter(|(method, ..)| *method == "GET") {
        for person in &cast.people {
            let path = cast.fill_in(path);
            let expected = said(apis.uncached.get(&path, person.as_ref()).await);
            questions.push((path, person.as_ref(), expected));
        }
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut public = 0;
    for _ in 0..ROUNDS {
        questions.shuffle(&mut rng);
        for (path, person, expected) in &questions {
            let api = &apis.cached[rng.random_range(0..apis.cached.len())];
            let answer = api.get(path, *person).await;
            let what = format!("{path} by {:?}", person.map(|person| &person.email));
            let cached = ["/api/products", "/api/categories"]
                .iter()
                .any(|public| path.starts_with(public))
                && !path.starts_with(FOR_ADMINS);
            if cached {
                public += 1;
                assert_public(&answer, &what);
            } else if !IN_THE_PROGRAM.iter().any(|start| path.starts_with(start)) {
                assert_private(&answer, &what);
            }
            let (status, body) = said(answer);
            assert_eq!(status, expected.0, "{what}");
            if CHANGING.contains(&path.as_str()) {
                assert_eq!(names(&body), names(&expected.1), "{what}");
            } else {
                assert_eq!(body, expected.1, "{what}");
            }
        }
    }
    assert_eq!(public, ROUNDS * 3 * cast.people.len());
}

#[tokio::test]
async fn with_a_cache_in_memory_nobody_gets_what_is_for_another() {
    shares_nothing_private(Apis::in_memory().await, 3).await;
}

#[tokio::test]
async fn with_a_cache_in_redis_nobody_gets_what_is_for_another() {
    shares_nothing_private(Apis::in_redis().await, 4).await;
}
