//! Against a server that answers what no gateway of ours would.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
};
use bharatmart_database::sandbox_gateway::ChargeStatus;
use tokio::net::TcpListener;

use super::*;
use crate::gateway::{Gateway, Outcome};

const KEY: &str = "01890000-0000-7000-8000-000000000000";

/// Answers in their order, and what was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Script {
    async fn serve(answers: &[(u16, Value)]) -> (Self, Gateway) {
        let script = Self::default();
        let texts = answers
            .iter()
            .map(|(status, body)| (*status, body.to_string()));
        script.answers.lock().unwrap().extend(texts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let gateway = HttpGateway::new(&url.parse().unwrap(), "the-key".into());
        (script, Gateway::Http(gateway))
    }

    /// The paths that were asked, each of which must have named the key and the shop.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|(path, headers)| {
                assert_eq!(headers, &format!("Bearer the-key {KEY}"));
                path.clone()
            })
            .collect()
    }
}

async fn answer(State(script): State<Script>, request: Request) -> (StatusCode, String) {
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let headers = format!("{} {}", header("authorization"), header("idempotency-key"));
    let path = request.uri().path().to_owned();
    script.asked.lock().unwrap().push((path, headers));
    let (status, body) = script
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .expect("an answer is left");
    (StatusCode::from_u16(status).unwrap(), body)
}

fn amount() -> Money {
    Money::from_paise(250_050).unwrap()
}

fn charge(status: &str) -> Value {
    json!({ "key": KEY, "amount": 2500.5, "status": status, "transaction_id": "tx-1", "new": [] })
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_under_the_same_key() {
    let answers = [
        (503, json!({})),
        (429, json!({})),
        (200, charge("approved")),
    ];
    let (script, gateway) = Script::serve(&answers).await;
    let outcome = gateway.charge(KEY, amount(), Some("tok")).await.unwrap();
    let transaction_id = "tx-1".to_owned();
    assert_eq!(outcome, Some(Outcome::Approved { transaction_id }));
    assert_eq!(script.asked(), ["/base/v1/charges"; 3]);
}

#[tokio::test]
async fn what_the_gateway_decides_later_is_no_outcome() {
    let pending = (202, charge("pending"));
    let (_, gateway) = Script::serve(&[pending.clone(), pending.clone(), pending]).await;
    assert_eq!(gateway.charge(KEY, amount(), None).await.unwrap(), None);
    let voided = gateway.void(KEY, amount()).await;
    assert!(matches!(voided, Err(GatewayError::Undecided)), "{voided:?}");
    let refunded = gateway.refund(KEY, amount()).await;
    assert!(
        matches!(refunded, Err(GatewayError::Undecided)),
        "{refunded:?}"
    );
}

#[tokio::test]
async fn an_answer_about_something_else_is_none() {
    let mut unnamed = charge("approved");
    unnamed["transaction_id"] = Value::Null;
    let mut other = charge("approved");
    other["key"] = "another".into();
    let mut cheaper = charge("approved");
    cheaper["amount"] = 2500.into();
    let mut endless = charge("approved");
    endless["new"] = "x".repeat(LONGEST_ANSWER).into();
    let others = [charge("perhaps"), json!("hello")];
    for body in [unnamed, other, cheaper, endless].into_iter().chain(others) {
        let (script, gateway) = Script::serve(&[(200, body.clone())]).await;
        let outcome = gateway.charge(KEY, amount(), None).await;
        assert!(
            matches!(outcome, Err(GatewayError::Unreadable(_))),
            "{body}: {outcome:?}"
        );
        assert_eq!(script.asked().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_refusal_is_not_asked_for_again() {
    for status in [302, 401, 422] {
        let (script, gateway) = Script::serve(&[(status, json!({}))]).await;
        let outcome = gateway.charge(KEY, amount(), None).await;
        assert!(
            matches!(outcome, Err(GatewayError::Refused(refused)) if refused == status),
            "{outcome:?}"
        );
        assert_eq!(script.asked().len(), 1);
    }
    let (script, gateway) = Script::serve(&[(409, json!({}))]).await;
    let refunded = gateway.refund(KEY, amount()).await;
    assert!(
        matches!(refunded, Err(GatewayError::NothingTaken)),
        "{refunded:?}"
    );
    assert_eq!(script.asked(), [format!("/base/v1/charges/{KEY}/refund")]);
}

#[tokio::test]
async fn a_gateway_that_keeps_failing_is_left_alone() {
    let (script, gateway) = Script::serve(&vec![(500, json!({})); 4]).await;
    let first = gateway.charge(KEY, amount(), None).await;
    assert!(matches!(first, Err(GatewayError::Outage)), "{first:?}");
    for _ in 0..2 {
        let outcome = gateway.charge(KEY, amount(), None).await;
        assert!(
            matches!(outcome, Err(GatewayError::LeftAlone)),
            "{outcome:?}"
        );
    }
    assert_eq!(script.asked().len(), 4);
}

#[tokio::test]
async fn every_status_of_the_protocol_is_understood() {
    for (text, status) in [
        ("pending", ChargeStatus::Pending),
        ("approved", ChargeStatus::Approved),
        ("declined", ChargeStatus::Declined),
        ("voided", ChargeStatus::Voided),
        ("refunded", ChargeStatus::Refunded),
    ] {
        let (_, Gateway::Http(gateway)) = Script::serve(&[(200, charge(text))]).await else {
            unreachable!("it speaks HTTP");
        };
        let answered = gateway.charge(KEY, amount(), None).await.unwrap();
        assert_eq!(answered.status, status);
    }
}
