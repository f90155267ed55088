//! Proving a mailbox and choosing a new password. No worker runs here: the tests put the digest of a token that they
//! know where a worker would put that of the one that it mails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bharatmart_test_support::TestDatabase;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::{Answer, Api, PASSWORD, Person};

const NEW_PASSWORD: &str = "Wrong-Horse-43";

/// What a worker does when it mails `token`: to the latest mail of the kind.
async fn mail(pool: &PgPool, kind: &str, token: &str) {
    let done = sqlx::query(
        "UPDATE account_mails
         SET sent_at = now(), token_hash = $2, expires_at = now() + interval '30 minutes'
         WHERE id = (
             SELECT id FROM account_mails WHERE kind = $1 ORDER BY created_at DESC LIMIT 1
         )",
    )
    .bind(kind)
    .bind(Sha256::digest(token).to_vec())
    .execute(pool)
    .await
    .expect("the statement is good");
    assert_eq!(done.rows_affected(), 1, "there is a mail to send");
}

async fn mails(pool: &PgPool, kind: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM account_mails
         JOIN outbox ON outbox.payload = jsonb_build_object('mailId', account_mails.id, 'type', kind)
         WHERE kind = $1 AND job_name = 'send-account-mail' AND queue = 'email-notifications'",
    )
    .bind(kind)
    .fetch_one(pool)
    .await
    .expect("the statement is good")
}

async fn verify(api: &Api, token: &str) -> Answer {
    let body = json!({ "token": token });
    api.post("/api/auth/verify-email", None, &body).await
}

async fn forget(api: &Api, email: &str) -> Answer {
    let body = json!({ "email": email });
    api.post("/api/auth/forgot-password", None, &body).await
}

async fn reset(api: &Api, token: &str, password: &str) -> Answer {
    let body = json!({ "token": token, "password": password });
    api.post("/api/auth/reset-password", None, &body).await
}

async fn login(api: &Api, person: &Person, password: &str) -> StatusCode {
    let body = json!({ "email": person.email, "password": password });
    api.post("/api/auth/login", None, &body).await.status
}

fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(
        answer.status,
        StatusCode::BAD_REQUEST,
        "{why}: {}",
        answer.body
    );
    assert_eq!(answer.fields(), ["token"], "{why}");
}

#[tokio::test]
async fn a_mailbox_is_proven_by_the_token_of_the_latest_mail_once() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    let verified = async || {
        let me = api.get("/api/auth/me", Some(&priya)).await;
        me.body["user"]["email_verified_at"].clone()
    };
    assert_eq!(verified().await, Value::Null);
    assert_eq!(
        mails(&pool, "verify_email").await,
        1,
        "signing up sends one"
    );
    mail(&pool, "verify_email", "first").await;
    let again = api
        .post("/api/auth/verify-email/request", Some(&priya), &json!({}))
        .await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_refused(
        &verify(&api, "first").await,
        "a newer mail has taken its place",
    );
    mail(&pool, "verify_email", "second").await;
    assert_refused(
        &reset(&api, "second", NEW_PASSWORD).await,
        "it is for something else",
    );
    assert_eq!(verified().await, Value::Null);

    let at_once = join_all((0..8).map(|_| verify(&api, "second"))).await;
    let good = at_once
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.count(), 1, "however many use it at the same time");
    assert!(verified().await.is_string());
    assert_refused(&verify(&api, "second").await, "it was used");
    assert_refused(&verify(&api, "unknown").await, "nobody was sent it");

    let again = api
        .post("/api/auth/verify-email/request", Some(&priya), &json!({}))
        .await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(
        mails(&pool, "verify_email").await,
        2,
        "there is nothing to prove any more"
    );
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_every_block() {
    let api = Api::start_with(&[("SESSION_CHECK_INTERVAL", "50ms")]).await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    for _ in 0..10 {
        assert_eq!(login(&api, &priya, "wrong").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        login(&api, &priya, PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );

    assert_eq!(
        forget(&api, &priya.email.to_uppercase()).await.status,
        StatusCode::ACCEPTED
    );
    mail(&pool, "reset_password", "token").await;
    let weak = reset(&api, "token", "password1").await;
    assert_eq!(
        (weak.status, weak.fields()),
        (StatusCode::BAD_REQUEST, vec!["password"])
    );
    let at_once = join_all((0..4).map(|_| reset(&api, "token", NEW_PASSWORD))).await;
    let good = at_once
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.count(), 1, "however many use it at the same time");
    assert_eq!(mails(&pool, "password_changed").await, 1);

    assert_eq!(
        login(&api, &priya, PASSWORD).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(login(&api, &priya, NEW_PASSWORD).await, StatusCode::OK);
    let refresh = json!({ "refreshToken": priya.refresh_token });
    let refreshed = api.post("/api/auth/refresh", None, &refresh).await;
    assert_eq!(refreshed.status, StatusCode::UNAUTHORIZED, "signed out");
    let me = api.get("/api/auth/me", Some(&priya)).await;
    assert_eq!(
        me.status,
        StatusCode::UNAUTHORIZED,
        "with the access token as well"
    );
    assert_refused(&reset(&api, "token", PASSWORD).await, "it was used");
    let verified: bool = sqlx::query_scalar("SELECT email_verified_at IS NOT NULL FROM users")
        .fetch_one(&pool)
        .await
        .expect("there is one user");
    assert!(verified, "whoever has the token has the mailbox");
}

#[tokio::test]
async fn a_link_outlives_later_requests_until_a_password_is_chosen() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    for token in ["first", "second", "third"] {
        assert_eq!(
            forget(&api, &priya.email).await.status,
            StatusCode::ACCEPTED
        );
        mail(&pool, "reset_password", token).await;
    }
    let answers = join_all(["first", "second"].map(|token| reset(&api, token, NEW_PASSWORD)));
    let answers = answers.await;
    let good = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.count(), 1, "however many use one at the same time");
    for token in ["first", "second", "third"] {
        let answer = reset(&api, token, PASSWORD).await;
        assert_refused(&answer, token);
    }
    assert_eq!(login(&api, &priya, NEW_PASSWORD).await, StatusCode::OK);
}

#[tokio::test]
async fn a_token_ends_by_itself_and_with_its_user() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    for (change, why) in [
        (
            "UPDATE account_mails SET expires_at = now() WHERE token_hash IS NOT NULL",
            "its time is up",
        ),
        ("UPDATE users SET is_active = false", "they may not sign in"),
    ] {
        assert_eq!(
            forget(&api, &priya.email).await.status,
            StatusCode::ACCEPTED
        );
        mail(&pool, "reset_password", why).await;
        sqlx::query(change)
            .execute(&pool)
            .await
            .expect("it is good");
        assert_refused(&reset(&api, why, NEW_PASSWORD).await, why);
    }
    let before = mails(&pool, "reset_password").await;
    assert_eq!(
        forget(&api, &priya.email).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        mails(&pool, "reset_password").await,
        before,
        "nothing to get back into"
    );
}

#[tokio::test]
async fn nobody_learns_who_has_an_account_by_forgetting_passwords() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    let mut answers = Vec::new();
    for email in [priya.email.as_str(), "nobody@example.in", "no address"] {
        let started = Instant::now();
        let answer = forget(&api, email).await;
        let elapsed = started.elapsed();
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{email}");
        assert!(
            elapsed >= Duration::from_millis(400),
            "{email}: {elapsed:?}"
        );
        answers.push(answer.body);
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(mails(&pool, "reset_password").await, 1);
}

#[tokio::test]
async fn with_replicas_no_header_tells_who_has_an_account() {
    let database = Arc::new(TestDatabase::create().await);
    let url = database.url().to_owned();
    let api = Api::start_on(database, &[("DATABASE_READ_URL", &url)]);
    let body = json!({ "email": "priya@example.in", "password": PASSWORD, "full_name": "Priya" });
    let signed_up = api.post("/api/auth/signup", None, &body).await;
    assert!(
        signed_up.headers.contains_key("x-consistency-token"),
        "others learn how far to read"
    );
    let mut names = Vec::new();
    for email in ["priya@example.in", "nobody@example.in"] {
        let answer = forget(&api, email).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{email}");
        let mut of_answer: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        of_answer.sort();
        names.push(of_answer);
    }
    assert_eq!(names[0], names[1]);
}

#[tokio::test]
async fn an_account_gets_five_mails_of_a_kind_an_hour() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let priya = api.customer("priya").await;
    let answers = join_all((0..8).map(|_| forget(&api, &priya.email))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == StatusCode::ACCEPTED)
    );
    assert_eq!(
        mails(&pool, "reset_password").await,
        5,
        "and nobody is told"
    );

    let request = async || {
        api.post("/api/auth/verify-email/request", Some(&priya), &json!({}))
            .await
    };
    for _ in 0..4 {
        assert_eq!(request().await.status, StatusCode::ACCEPTED);
    }
    let refused = request().await;
    assert_eq!(
        refused.status,
        StatusCode::TOO_MANY_REQUESTS,
        "signing up has sent the first"
    );
    assert_eq!(refused.text("code"), "too_many_attempts");
    let seconds = refused.headers["retry-after"]
        .to_str()
        .expect("a number")
        .parse();
    let seconds: u64 = seconds.expect("a number");
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    assert_eq!(mails(&pool, "verify_email").await, 5);

    sqlx::query("UPDATE account_mails SET created_at = created_at - interval '1 hour'")
        .execute(&pool)
        .await
        .expect("it is good");
    assert_eq!(request().await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_admin_who_resets_their_password_is_in_the_audit_log() {
    let api = Api::start().await;
    let pool = api.test_database.pool().await;
    let admin = api.admin().await;
    forget(&api, &admin.email).await;
    mail(&pool, "reset_password", "token").await;
    assert_eq!(
        reset(&api, "token", NEW_PASSWORD).await.status,
        StatusCode::OK
    );
    let body = json!({ "email": admin.email, "password": NEW_PASSWORD });
    let admin = Person::of(&api.post("/api/auth/login", None, &body).await);
    let path = "/api/audit?action=user.reset_password";
    let log = api.get(path, Some(&admin)).await;
    assert_eq!(log.body["count"], 1);
    assert_eq!(log.body["data"][0]["actor_id"], admin.id.as_str());
}
