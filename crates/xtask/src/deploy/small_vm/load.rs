//! People in a shop, 50 requests a second, whether or not the earlier ones are answered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::TEST_PASSWORD;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::console::line;

const PAUSE: Duration = Duration::from_millis(20);
/// A page that takes longer is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(30);
const CUSTOMERS: usize = 40;
/// Addresses that people come from.
const ADDRESSES: u64 = 240;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Product,
    List,
    Categories,
    OwnOrders,
    Order,
    Payment,
    SignIn,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Product, "product pages"),
        (Self::List, "lists"),
        (Self::Categories, "categories"),
        (Self::OwnOrders, "own orders"),
        (Self::Order, "orders"),
        (Self::Payment, "payments"),
        (Self::SignIn, "sign-ins"),
    ];

    /// What the request with this number is for: of fifty, four orders, three payments and two sign-ins, spread out.
    fn of(number: u64) -> Self {
        match number % 50 {
            0 | 13 | 25 | 38 => Self::Order,
            6 | 19 | 31 => Self::Payment,
            10 | 35 => Self::SignIn,
            3 | 16 | 28 | 41 => Self::OwnOrders,
            22 | 47 => Self::Categories,
            rest if rest % 5 == 4 => Self::List,
            _ => Self::Product,
        }
    }
}

struct Answer {
    kind: Kind,
    took: Duration,
    outcome: Outcome,
}

enum Outcome {
    Right,
    /// 503: to be asked again later.
    TurnedAway,
    Wrong(String),
}

pub struct Report {
    answers: Vec<Answer>,
    /// What was answered that should not be, and how often.
    pub wrong: BTreeMap<String, usize>,
}

impl Report {
    fn new(answers: Vec<Answer>) -> Self {
        let mut wrong = BTreeMap::new();
        for answer in &answers {
            if let Outcome::Wrong(what) = &answer.outcome {
                *wrong.entry(what.clone()).or_default() += 1;
            }
        }
        Self { answers, wrong }
    }

    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// The share of requests that were told to come again.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    pub fn turned_away(&self) -> f64 {
        let answers = self.answers.iter();
        let away = answers.filter(|answer| matches!(answer.outcome, Outcome::TurnedAway));
        away.count() as f64 / self.answers.len() as f64
    }

    pub fn print(&self) {
        let all = |_: &Answer| true;
        self.print_row("all", all);
        for (kind, name) in Kind::ALL {
            self.print_row(name, |answer| answer.kind == kind);
        }
        line(format!(
            "  turned away      {:.2} %",
            self.turned_away() * 100.0
        ));
    }

    fn print_row(&self, name: &str, belongs: impl Fn(&Answer) -> bool) {
        let mut times: Vec<_> = self
            .answers
            .iter()
            .filter(|answer| belongs(answer) && matches!(answer.outcome, Outcome::Right))
            .map(|answer| answer.took.as_secs_f64() * 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |hundredth: usize| times.get(times.len() * hundredth / 100).copied();
        let [p50, p95, p99] = [50, 95, 99].map(|share| at(share).unwrap_or(f64::NAN));
        line(format!(
            "  {name:<16} {:>6} answers, p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms",
            times.len()
        ));
    }
}

struct Customer {
    email: String,
    token: String,
}

/// All that a request may need.
struct Crowd {
    http: Client,
    base: String,
    products: Vec<String>,
    customers: Vec<Customer>,
    /// Not paid yet, and whose they are.
    orders: Mutex<VecDeque<(usize, String)>>,
}

pub async fn run(port: u16, length: Duration) -> Result<Report> {
    let crowd = Arc::new(Crowd::gather(port).await?);
    let start = Instant::now();
    let mut requests = JoinSet::new();
    let total = u64::try_from(length.as_millis() / PAUSE.as_millis())?;
    for number in 0..total {
        let due = start + PAUSE * u32::try_from(number)?;
        sleep_until(due).await;
        let crowd = Arc::clone(&crowd);
        requests.spawn(async move {
            let kind = Kind::of(number);
            let outcome = crowd.ask(kind, number).await;
            Answer {
                kind,
                // From when it was due: a request that waits for its turn waits.
                took: due.elapsed(),
                outcome: outcome.unwrap_or_else(|error| Outcome::Wrong(format!("{error:#}"))),
            }
        });
    }
    Ok(Report::new(requests.join_all().await))
}

impl Crowd {
    async fn gather(port: u16) -> Result<Self> {
        let base = format!("http://127.0.0.1:{port}");
        let http = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let list: Value = http
            .get(format!("{base}/api/products"))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let products = list["data"].as_array().context("a list of products")?;
        let ids = products.iter().filter_map(|product| product["id"].as_str());
        let products: Vec<_> = ids.map(str::to_owned).collect();
        ensure!(!products.is_empty(), "the shop has no products");
        let mut customers = Vec::new();
        for number in 0..CUSTOMERS {
            let email = format!("customer-{number}@example.in");
            let body =
                json!({"email": email, "password": TEST_PASSWORD, "full_name": "Asha Verma"});
            let request = http.post(format!("{base}/api/auth/signup")).json(&body);
            let request = from_address(request, u64::try_from(number)?);
            let answer: Value = request.send().await?.error_for_status()?.json().await?;
            let token = answer["token"]
                .as_str()
                .context("a sign-up without token")?;
            customers.push(Customer {
                email,
                token: token.to_owned(),
            });
        }
        Ok(Self {
            http,
            base,
            products,
            customers,
            orders: Mutex::default(),
        })
    }

    async fn ask(&self, kind: Kind, number: u64) -> Result<Outcome> {
        let round = usize::try_from(number / 7)?;
        let product = &self.products[round % self.products.len()];
        let whose = round % CUSTOMERS;
        match kind {
            Kind::Product => self.get(number, &format!("/api/products/{product}")).await,
            Kind::List => {
                let page = round % 3;
                let path = format!("/api/products?limit=20&offset={}", page * 20);
                self.get(number, &path).await
            }
            Kind::Categories => self.get(number, "/api/categories").await,
            Kind::OwnOrders => {
                let request = self.http.get(format!("{}/api/orders?limit=10", self.base));
                self.send(self.of_customer(request, whose, number), 200)
                    .await
                    .map(|(outcome, _)| outcome)
            }
            Kind::Order => self.order(product, whose, number).await,
            Kind::Payment => self.pay(number).await,
            Kind::SignIn => {
                let email = &self.customers[whose].email;
                let body = json!({"email": email, "password": TEST_PASSWORD});
                let request = self
                    .http
                    .post(format!("{}/api/auth/login", self.base))
                    .json(&body);
                self.send(from_address(request, number), 200)
                    .await
                    .map(|(outcome, _)| outcome)
            }
        }
    }

    async fn get(&self, number: u64, path: &str) -> Result<Outcome> {
        let request = self.http.get(format!("{}{path}", self.base));
        let (outcome, _) = self.send(from_address(request, number), 200).await?;
        Ok(outcome)
    }

    async fn order(&self, product: &str, whose: usize, number: u64) -> Result<Outcome> {
        let body = json!({
            "items": [{"product_id": product, "quantity": 1}],
            "shipping_address": "12 MG Road, Bengaluru 560001",
        });
        let request = self
            .http
            .post(format!("{}/api/orders", self.base))
            .json(&body);
        let (outcome, answer) = self
            .send(self.of_customer(request, whose, number), 201)
            .await?;
        if let Some(answer) = answer {
            let order: Value = serde_json::from_slice(&answer)?;
            let id = order["id"].as_str().context("an order without id")?;
            let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            orders.push_back((whose, id.to_owned()));
        }
        Ok(outcome)
    }

    /// Pays the oldest order that is not paid; looks at a page when there is none.
    async fn pay(&self, number: u64) -> Result<Outcome> {
        let order = self
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some((whose, order)) = order else {
            return self.get(number, "/api/categories").await;
        };
        let body =
            json!({"order_id": order, "payment_method": "upi", "payment_token": "success@upi"});
        let request = self
            .http
            .post(format!("{}/api/payments", self.base))
            .json(&body);
        let (outcome, _) = self
            .send(self.of_customer(request, whose, number), 201)
            .await?;
        Ok(outcome)
    }

    fn of_customer(&self, request: RequestBuilder, whose: usize, number: u64) -> RequestBuilder {
        from_address(request.bearer_auth(&self.customers[whose].token), number)
    }

    /// The body comes along if the answer is the expected one.
    async fn send(
        &self,
        request: RequestBuilder,
        expected: u16,
    ) -> Result<(Outcome, Option<Vec<u8>>)> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let path = answer.url().path().to_owned();
        let body = answer.bytes().await?;
        if status == expected {
            return Ok((Outcome::Right, Some(body.to_vec())));
        }
        if status == 503 {
            return Ok((Outcome::TurnedAway, None));
        }
        let text = String::from_utf8_lossy(&body);
        Ok((Outcome::Wrong(format!("{status} for {path}: {text}")), None))
    }
}

/// As the proxy on the machine would send it.
fn from_address(request: RequestBuilder, number: u64) -> RequestBuilder {
    request.header(
        "x-forwarded-for",
        format!("203.0.113.{}", number % ADDRESSES),
    )
}
