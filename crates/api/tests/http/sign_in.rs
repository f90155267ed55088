//! Guessing at passwords, and which ones may be chosen.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bharatmart_test_support::{TestDatabase, wait_until};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{Answer, Api, PASSWORD};

const SOON: Duration = Duration::from_secs(30);

async fn sign_in(api: &Api, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    api.post("/api/auth/login", None, &body).await
}

async fn fail(api: &Api, email: &str, times: usize) {
    for number in 1..=times {
        let answer = sign_in(api, email, "wrong").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "attempt {number}");
    }
}

fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(
        answer.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        answer.body
    );
    assert_eq!(answer.text("code"), "too_many_attempts");
    let header = answer.headers["retry-after"]
        .to_str()
        .expect("it is a number");
    header.parse().expect("it is a number")
}

/// As if this much time had passed for everything that is counted.
async fn pass(database: &TestDatabase, minutes: i32) {
    sqlx::query(
        "UPDATE sign_in_attempts
         SET blocked_until = blocked_until - $1 * interval '1 minute',
             forgotten_at = forgotten_at - $1 * interval '1 minute'",
    )
    .bind(minutes)
    .execute(&database.pool().await)
    .await
    .expect("the statement is good");
}

#[tokio::test]
async fn ten_wrong_passwords_block_an_address_for_a_growing_time_on_all_instances() {
    let api = Api::start().await;
    let other = Api::start_on(Arc::clone(&api.test_database), &[]);
    let person = api.customer("priya").await;
    let bystander = api.customer("arjun").await;

    fail(&api, &person.email, 5).await;
    fail(&other, &person.email.to_uppercase(), 5).await;
    // PostgreSQL makes an ordinary i of it, Rust does not. It is counted as an address of its own, which nobody has.
    let alike = person.email.replace('i', "İ");
    assert_eq!(
        sign_in(&api, &alike, PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    fail(&api, &alike, 9).await;
    retry_after(&sign_in(&api, &alike, PASSWORD).await);
    for instance in [&api, &other] {
        let refused = sign_in(instance, &person.email, PASSWORD).await;
        assert!(
            (50..=60).contains(&retry_after(&refused)),
            "the password is right"
        );
    }
    let elsewhere = sign_in(&api, &bystander.email, PASSWORD).await;
    assert_eq!(elsewhere.status, StatusCode::OK);
    let session = api.get("/api/auth/me", Some(&person)).await;
    assert_eq!(session.status, StatusCode::OK, "a session goes on");

    for minutes in [2, 4, 8, 15, 15] {
        pass(&api.test_database, 15).await;
        fail(&api, &person.email, 1).await;
        let longest = minutes * 60;
        let refused = sign_in(&api, &person.email, PASSWORD).await;
        assert!(
            (longest - 10..=longest).contains(&retry_after(&refused)),
            "{minutes}"
        );
    }
    pass(&api.test_database, 15).await;
    assert_eq!(
        sign_in(&api, &person.email, PASSWORD).await.status,
        StatusCode::OK
    );
    fail(&api, &person.email, 10).await;
    let refused = sign_in(&api, &person.email, PASSWORD).await;
    assert!(
        retry_after(&refused) <= 60,
        "whoever has signed in starts over"
    );
}

#[tokio::test]
async fn failures_that_come_slowly_are_forgotten() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    for _ in 0..2 {
        fail(&api, &person.email, 9).await;
        pass(&api.test_database, 15).await;
    }
    assert_eq!(
        sign_in(&api, &person.email, PASSWORD).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_address_that_nobody_has_is_blocked_alike() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    let mut refusals: Vec<Value> = Vec::new();
    for email in [person.email.as_str(), "nobody@example.in"] {
        fail(&api, email, 10).await;
        let mut refused = sign_in(&api, email, "wrong").await;
        assert!((50..=60).contains(&retry_after(&refused)), "{email}");
        refused.body["request_id"] = Value::Null;
        refusals.push(refused.body);
    }
    assert_eq!(refusals[0], refusals[1]);
}

#[tokio::test]
async fn guesses_at_the_same_time_are_no_more_than_guesses_one_by_one() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    let answers = join_all((0..30).map(|_| sign_in(&api, &person.email, "wrong"))).await;
    let looked_at = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::UNAUTHORIZED);
    assert_eq!(looked_at.count(), 10);
}

#[tokio::test]
async fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    // The shortest of several is what is left when nothing comes between. Hashing takes ten times the rest.
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..9 {
        for (shortest, email) in shortest
            .iter_mut()
            .zip([&person.email, "nobody@example.in"])
        {
            let started = Instant::now();
            fail(&api, email, 1).await;
            *shortest = started.elapsed().min(*shortest);
        }
    }
    let [known, unknown] = shortest;
    assert!(
        unknown > known / 4 && known > unknown / 4,
        "{known:?}, {unknown:?}"
    );
}

/// How often somebody has signed in, if that is not over.
async fn sign_ins(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM refresh_families WHERE revoked_at IS NULL")
        .fetch_one(pool)
        .await
        .expect("the statement is good")
}

/// Waits until somebody waits for a row of `users`.
async fn somebody_waits(pool: &PgPool) {
    wait_until("the sign-in", SOON, async || {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'
             )",
        )
        .fetch_one(pool)
        .await
        .expect("the statement is good");
        waiting.then_some(())
    })
    .await
    .expect("it gets as far as the user");
}

#[tokio::test]
async fn a_sign_in_under_way_ends_with_the_password_and_with_the_account() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    let pool = api.test_database.pool().await;
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(&pool)
        .await
        .expect("there is one user");
    for change in [
        "UPDATE users SET password_hash = '$argon2id$'",
        "UPDATE users SET is_active = false",
    ] {
        sqlx::query("UPDATE users SET is_active = true, password_hash = $1")
            .bind(&hash)
            .execute(&pool)
            .await
            .expect("the statement is good");
        let before = sign_ins(&pool).await;
        let mut other = pool.begin().await.expect("there is a connection");
        sqlx::query("SELECT FROM users FOR UPDATE")
            .execute(&mut *other)
            .await
            .expect("nobody holds it");
        let change_meanwhile = async {
            somebody_waits(&pool).await;
            sqlx::query(change)
                .execute(&mut *other)
                .await
                .expect("the statement is good");
            other.commit().await.expect("it is committed");
        };
        let signing_in = sign_in(&api, &person.email, PASSWORD);
        let (answer, ()) = tokio::join!(signing_in, change_meanwhile);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{change}");
        assert_eq!(sign_ins(&pool).await, before, "{change}");
    }
}

#[tokio::test]
async fn a_password_that_is_tried_first_cannot_be_chosen() {
    let api = Api::start().await;
    for (password, told) in [
        ("Password1", "most common"),
        ("short-7", "8 to 128"),
        (
            "priya@example.in",
            "neither the e-mail address nor the name",
        ),
        ("PriyaSharma", "neither the e-mail address nor the name"),
    ] {
        let body = json!({
            "email": "priya@example.in", "password": password, "full_name": "Priya Sharma",
        });
        let answer = api.post("/api/auth/signup", None, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{password}");
        assert_eq!(answer.fields(), ["password"]);
        let message = answer.body["errors"][0]["message"].as_str();
        assert!(
            message.is_some_and(|message| message.contains(told)),
            "{}",
            answer.body
        );
        assert!(
            !answer.body.to_string().contains(password),
            "it is not repeated"
        );
    }
}
