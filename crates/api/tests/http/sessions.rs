//! When an access token ends before its time.

use std::{sync::Arc, time::Duration};

use bharatmart_test_support::wait_until;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::{Api, PASSWORD, Person};

/// Asks the API for something that needs no more than a token.
async fn status(api: &Api, person: &Person) -> StatusCode {
    api.get("/api/system/info", Some(person)).await.status
}

async fn wait_until_refused(api: &Api, person: &Person, what: &str) {
    // A token lives for a quarter of an hour otherwise.
    wait_until(what, Duration::from_secs(10), async || {
        (status(api, person).await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await
    .expect("it ends within the interval");
}

#[tokio::test]
async fn a_token_ends_soon_after_its_user_was_put_out_on_all_instances() {
    let api = Api::start_with(&[("SESSION_CHECK_INTERVAL", "300ms")]).await;
    let settings = [("SESSION_CHECK_INTERVAL", "300ms")];
    let other = Api::start_on(Arc::clone(&api.test_database), &settings);
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    for instance in [&api, &other] {
        assert_eq!(status(instance, &priya).await, StatusCode::OK);
    }
    let path = format!("/api/users/{}", priya.id);
    let out = r#"{"is_active":false}"#;
    let answer = api.call("PATCH", &path, Some(&admin), Some(out)).await;
    assert_eq!(answer.status, StatusCode::OK);
    for instance in [&api, &other] {
        wait_until_refused(instance, &priya, "the token's end").await;
    }
    let answer = api
        .call("PATCH", &path, Some(&admin), Some(r#"{"is_active":true}"#))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        status(&api, &priya).await,
        StatusCode::UNAUTHORIZED,
        "what has ended does not begin again"
    );
}

#[tokio::test]
async fn signing_out_ends_the_access_token_here_at_once_and_elsewhere_soon() {
    let api = Api::start().await;
    let settings = [("SESSION_CHECK_INTERVAL", "300ms")];
    let other = Api::start_on(Arc::clone(&api.test_database), &settings);
    let here = api.customer("priya").await;
    let login = json!({ "email": here.email, "password": PASSWORD });
    let elsewhere = Person::of(&api.post("/api/auth/login", None, &login).await);
    for person in [&here, &elsewhere] {
        assert_eq!(status(&other, person).await, StatusCode::OK);
    }
    let out = api
        .call("POST", "/api/auth/logout", Some(&here), None)
        .await;
    assert_eq!(out.status, StatusCode::OK);
    assert_eq!(status(&api, &here).await, StatusCode::UNAUTHORIZED);
    wait_until_refused(&other, &here, "the token's end elsewhere").await;
    assert_eq!(
        status(&other, &elsewhere).await,
        StatusCode::OK,
        "another sign-in"
    );
}

#[tokio::test]
async fn the_database_is_asked_once_for_many_requests() {
    let api = Api::start_with(&[("SESSION_CHECK_INTERVAL", "30s")]).await;
    let priya = api.customer("priya").await;
    let answers = join_all((0..50).map(|_| status(&api, &priya))).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(status(&api, &priya).await, StatusCode::OK);
    let asked = "%FROM refresh_families%JOIN users%";
    let calls = api.test_database.statement_calls(asked).await;
    assert_eq!(calls.expect("statements are counted"), 1);
}

#[tokio::test]
async fn without_the_database_a_token_is_taken_at_its_word() {
    let api = Api::start_with(&[("SESSION_CHECK_INTERVAL", "300ms")]).await;
    let priya = api.customer("priya").await;
    let away = Api::start_on(
        Arc::clone(&api.test_database),
        &[("DATABASE_URL", "postgres://nobody@127.0.0.1:9/none")],
    );
    assert_eq!(status(&away, &priya).await, StatusCode::OK);
    let orders = away.get("/api/orders", Some(&priya)).await;
    assert_eq!(
        orders.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "what matters needs it"
    );
}
