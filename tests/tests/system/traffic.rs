//! A shop's day: visitors who look around, and buyers who order and look at what they have ordered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bharatmart_test_support::App;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use uuid::Uuid;

use crate::{
    cache::{LIST, page_of},
    load::{Reply, Wire, spread},
    shopper::{HEADER, Shopper, Token},
    stack::{customer, id},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of what all see, without a token.
    Look,
    /// Of one's own orders, with the token that the last one came with.
    OwnOrders,
    /// An order.
    Order,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Visit {
    pub kind: Kind,
    pub sent: Instant,
    pub took: Duration,
    pub status: u16,
    /// Whether the answer says when to try again.
    pub retry_after: bool,
    /// The order that was placed.
    pub order: Option<Uuid>,
    /// Whether the answer gave a token.
    pub gave_token: bool,
}

impl Visit {
    /// Whether the answer is what was asked for.
    pub fn is_answered(&self) -> bool {
        (200..300).contains(&self.status) || self.status == 304
    }

    pub fn answered_at(&self) -> Instant {
        self.sent + self.took
    }
}

/// People who go on until they are told that it is enough.
pub struct Traffic {
    go_on: watch::Sender<bool>,
    people: JoinSet<Result<Vec<Visit>>>,
}

impl Traffic {
    /// Each of the visitors and buyers sends a request each `pause` if the answers are in time.
    pub async fn start(
        api: &App,
        product: Uuid,
        visitors: usize,
        buyers: usize,
        pause: Duration,
    ) -> Result<Self> {
        let mut traffic = Self {
            go_on: watch::Sender::new(true),
            people: JoinSet::new(),
        };
        for _ in 0..visitors {
            let pace = Pace::new(pause, &traffic.go_on);
            let wire = Wire::open(api).await?;
            traffic.people.spawn(look(wire, product, pace));
        }
        for _ in 0..buyers {
            let customer = customer(api).await?;
            let access = customer.token().context("signed in")?;
            let shopper = Shopper::open(api, access).await?;
            let pace = Pace::new(pause, &traffic.go_on);
            traffic.people.spawn(buy(shopper, product, pace));
        }
        Ok(traffic)
    }

    /// What they have seen.
    pub async fn end(mut self) -> Result<Vec<Visit>> {
        self.go_on.send_replace(false);
        let mut visits = Vec::new();
        while let Some(person) = self.people.join_next().await {
            visits.extend(person??);
        }
        visits.sort_by_key(|visit| visit.sent);
        Ok(visits)
    }
}

struct Pace {
    ticks: Interval,
    go_on: watch::Receiver<bool>,
}

impl Pace {
    fn new(pause: Duration, go_on: &watch::Sender<bool>) -> Self {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            go_on: go_on.subscribe(),
        }
    }

    /// Waits for the next moment to ask; whether there is one.
    async fn goes_on(&mut self) -> bool {
        self.ticks.tick().await;
        *self.go_on.borrow()
    }
}

fn visit(kind: Kind, sent: Instant, reply: &Reply) -> Visit {
    Visit {
        kind,
        sent,
        took: sent.elapsed(),
        status: reply.status,
        retry_after: reply.header("retry-after").is_some(),
        order: None,
        gave_token: reply.header(HEADER).is_some(),
    }
}

async fn look(mut wire: Wire, product: Uuid, mut pace: Pace) -> Result<Vec<Visit>> {
    let paths = [LIST.to_owned(), page_of(product)];
    let mut visits = Vec::new();
    for path in paths.iter().cycle() {
        if !pace.goes_on().await {
            break;
        }
        let sent = Instant::now();
        let reply = wire.get(path).await?;
        visits.push(visit(Kind::Look, sent, &reply));
    }
    Ok(visits)
}

async fn buy(mut shopper: Shopper, product: Uuid, mut pace: Pace) -> Result<Vec<Visit>> {
    let mut visits = Vec::new();
    let mut last = None;
    while pace.goes_on().await {
        let sent = Instant::now();
        let reply = shopper.order(product).await?;
        let mut order = visit(Kind::Order, sent, &reply);
        if reply.status == 201 {
            let placed = id(&reply.expect(201)?)?;
            order.order = Some(placed);
            if let Ok(token) = Token::header(&reply) {
                last = Some((placed, token));
            }
        }
        visits.push(order);
        let Some((order, token)) = &last else {
            continue;
        };
        for path in [format!("/api/orders/{order}"), "/api/orders".to_owned()] {
            if !pace.goes_on().await {
                break;
            }
            let sent = Instant::now();
            let reply = shopper.get(&path, Some(token)).await?;
            visits.push(visit(Kind::OwnOrders, sent, &reply));
        }
    }
    Ok(visits)
}

/// Prints how many requests of each kind there were and how long they took.
pub fn report(visits: &[Visit]) {
    for kind in [Kind::Look, Kind::OwnOrders, Kind::Order] {
        let of_kind = || visits.iter().filter(move |visit| visit.kind == kind);
        let failed = of_kind().filter(|visit| !visit.is_answered()).count();
        let [median, nearly_all, most] = spread(of_kind().map(|visit| visit.took));
        println!(
            "{kind:?}: {} requests, {failed} not answered, median {median:?}, p99 {nearly_all:?}, at most {most:?}",
            of_kind().count()
        );
    }
}
