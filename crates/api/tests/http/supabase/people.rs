//! Who somebody whom Supabase knows is to the shop.

use std::time::Duration;

use bharatmart_test_support::wait_until;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api_of, bearer, me,
    project::{Project, SERVICE_KEY, SignKey, now},
};
use crate::Api;

const SOON: Duration = Duration::from_secs(10);

async fn execute(api: &Api, sql: &'static str) {
    let pool = api.test_database.pool().await;
    sqlx::query(sql).execute(&pool).await.expect(sql);
}

async fn count(api: &Api, sql: &'static str) -> i64 {
    let pool = api.test_database.pool().await;
    sqlx::query_scalar(sql).fetch_one(&pool).await.expect(sql)
}

#[tokio::test]
async fn whoever_comes_for_the_first_time_becomes_a_customer_whatever_the_token_says() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let api = api_of(&project, &[]).await;
    let sub = Uuid::new_v4();
    let token = key.sign(&project.claims(sub, "Priya@Example.in"));
    let answers = join_all((0..20).map(|_| me(&api, token.clone()))).await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    let user = &answers[0].body["user"];
    assert_eq!(user["id"], sub.to_string());
    assert_eq!(user["email"], "priya@example.in");
    assert_eq!(user["full_name"], "Priya Sharma");
    assert_eq!(user["role"], "customer", "roles are the shop's own");
    assert_eq!(count(&api, "SELECT count(*) FROM users").await, 1);
    let person = bearer(token);
    assert_eq!(
        api.get("/api/users", Some(&person)).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        api.get("/api/orders", Some(&person)).await.status,
        StatusCode::OK
    );

    execute(&api, "UPDATE users SET role = 'admin'").await;
    wait_until("the role", SOON, async || {
        let answer = api.get("/api/users", Some(&person)).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await
    .expect("the shop says that they are one");
    execute(&api, "UPDATE users SET role = 'customer'").await;
    let at_once = api.get("/api/users", Some(&person)).await;
    assert_eq!(
        at_once.status,
        StatusCode::FORBIDDEN,
        "administrators are looked up each time"
    );
    execute(&api, "UPDATE users SET is_active = false").await;
    wait_until("the end", SOON, async || {
        let answer = api.get("/api/orders", Some(&person)).await;
        (answer.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await
    .expect("they were put out");
}

#[tokio::test]
async fn names_and_addresses_are_taken_as_far_as_they_are_there() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let api = api_of(&project, &[]).await;
    for (metadata, name) in [
        (json!({ "name": " Arjun\u{7} Nair " }), "Arjun Nair"),
        (json!({ "full_name": 7, "name": "" }), "arjun1"),
        (Value::Null, "arjun2"),
    ] {
        let number = count(&api, "SELECT count(*) FROM users").await;
        let mut claims = project.claims(Uuid::new_v4(), &format!("arjun{number}@example.in"));
        claims["user_metadata"] = metadata;
        let answer = me(&api, key.sign(&claims)).await;
        assert_eq!(answer.body["user"]["full_name"], name, "{}", answer.body);
    }
    for address in [Value::Null, json!(""), json!("no address")] {
        let mut claims = project.claims(Uuid::new_v4(), "");
        claims["email"] = address;
        let answer = me(&api, key.sign(&claims)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    }

    let sub = Uuid::new_v4();
    let of = |address: &str, age: i64| {
        let mut claims = project.claims(sub, address);
        claims["iat"] = json!(now() - age);
        key.sign(&claims)
    };
    for (address, age, kept) in [
        ("first@example.in", 50, "first@example.in"),
        ("second@example.in", 40, "second@example.in"),
        ("arjun0@example.in", 30, "second@example.in"),
    ] {
        let token = of(address, age);
        wait_until("the address", SOON, async || {
            let answer = me(&api, token.clone()).await;
            (answer.body["user"]["email"] == kept).then_some(())
        })
        .await
        .expect("it is taken over unless it is another's");
    }
    // One that remembers nobody looks at the token.
    let other = Api::start_on(
        api.test_database.clone(),
        &[
            ("AUTH_PROVIDER", "supabase"),
            ("SUPABASE_URL", &project.url),
        ],
    );
    let answer = me(&other, of("first@example.in", 45)).await;
    assert_eq!(
        answer.body["user"]["email"], "second@example.in",
        "an older token does not bring the former address back"
    );
}

#[tokio::test]
async fn an_account_that_was_there_before_is_joined_only_on_the_project_s_own_word() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let trusting = api_of(&project, &[("SUPABASE_SERVICE_ROLE_KEY", SERVICE_KEY)]).await;
    let database = trusting.test_database.clone();
    let alone = Api::start_on(
        database,
        &[
            ("AUTH_PROVIDER", "supabase"),
            ("SUPABASE_URL", &project.url),
            ("SESSION_CHECK_INTERVAL", "50ms"),
        ],
    );
    execute(
        &trusting,
        "INSERT INTO users (email, full_name, password_hash, role)
         VALUES ('priya@example.in', 'Priya', '$argon2id$', 'admin')",
    )
    .await;
    let token = key.sign(&project.claims(Uuid::new_v4(), "priya@example.in"));
    let refused = async |api: &Api, why: &str| {
        let answer = me(api, token.clone()).await;
        assert_eq!(
            (answer.status, answer.text("code")),
            (StatusCode::CONFLICT, "account_exists"),
            "{why}"
        );
    };
    refused(&alone, "nobody can be asked").await;
    project.knows(&token, "priya@example.in", false);
    refused(&trusting, "it is not confirmed").await;
    project.knows(&token, "other@example.in", true);
    let before = project.asked();
    wait_until("it to be asked again", SOON, async || {
        refused(&trusting, "another address is confirmed").await;
        (project.asked() > before).then_some(())
    })
    .await
    .expect("what was found out is believed for an interval only");
    assert_eq!(
        count(
            &trusting,
            "SELECT count(*) FROM users WHERE password_hash IS NOT NULL"
        )
        .await,
        1
    );

    project.knows(&token, "Priya@example.in", true);
    wait_until("the two to be joined", SOON, async || {
        let answer = me(&trusting, token.clone()).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await
    .expect("it is confirmed");
    let answer = api_users(&trusting, &token).await;
    assert_eq!(answer, StatusCode::OK, "they are still an administrator");
    assert_eq!(count(&trusting, "SELECT count(*) FROM users").await, 1);
    assert_eq!(
        count(
            &trusting,
            "SELECT count(*) FROM users WHERE password_hash IS NOT NULL"
        )
        .await,
        0,
        "whoever has chosen it had not proven the mailbox"
    );
    let second = key.sign(&project.claims(Uuid::new_v4(), "priya@example.in"));
    project.knows(&second, "priya@example.in", true);
    let answer = me(&trusting, second).await;
    assert_eq!(
        answer.status,
        StatusCode::CONFLICT,
        "it is somebody's already"
    );
}

async fn api_users(api: &Api, token: &str) -> StatusCode {
    let person = bearer(token.to_owned());
    api.get("/api/users", Some(&person)).await.status
}

#[tokio::test]
async fn a_project_that_does_not_say_who_somebody_is_joins_nobody() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let api = api_of(&project, &[("SUPABASE_SERVICE_ROLE_KEY", "another key")]).await;
    execute(
        &api,
        "INSERT INTO users (email, full_name) VALUES ('priya@example.in', 'Priya')",
    )
    .await;
    let token = key.sign(&project.claims(Uuid::new_v4(), "priya@example.in"));
    let answer = me(&api, token.clone()).await;
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.body
    );
    let settings = [
        ("AUTH_PROVIDER", "supabase"),
        ("SUPABASE_URL", project.url.as_str()),
        ("SUPABASE_SERVICE_ROLE_KEY", SERVICE_KEY),
    ];
    let api = Api::start_on(api.test_database.clone(), &settings);
    let answer = me(&api, token).await;
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "the session is over there: {}",
        answer.body
    );
}

#[tokio::test]
async fn the_shop_s_own_sign_in_is_not_there() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let api = api_of(&project, &[]).await;
    let person = bearer(key.sign(&project.claims(Uuid::new_v4(), "priya@example.in")));
    for path in [
        "signup",
        "login",
        "refresh",
        "logout",
        "verify-email",
        "verify-email/request",
        "forgot-password",
        "reset-password",
    ] {
        for person in [None, Some(&person)] {
            let answer = api
                .post(&format!("/api/auth/{path}"), person, &json!({}))
                .await;
            assert_eq!(
                (answer.status, answer.text("code")),
                (StatusCode::NOT_FOUND, "auth_provider"),
                "{path}"
            );
        }
    }
    let info = api.get("/api/system/info", None).await;
    assert_eq!(info.body["features"]["auth"]["provider"], "supabase");
    let local = Api::start().await;
    let info = local.get("/api/system/info", None).await;
    assert_eq!(info.body["features"]["auth"]["provider"], "local");
}
