//! Signing up, in and out.

use http::StatusCode;
use serde_json::json;

use crate::{Api, PASSWORD, Person};

#[tokio::test]
async fn whoever_signs_up_is_signed_in_as_a_customer() {
    let api = Api::start().await;
    let body = json!({
        "email": " Priya@Example.IN ", "password": PASSWORD, "full_name": "Priya", "role": "admin",
    });
    let answer = api.post("/api/auth/signup", None, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body["user"]["email"], "priya@example.in");
    assert_eq!(answer.body["user"]["role"], "customer");
    assert!(!answer.body.to_string().contains("password"));

    let me = api.get("/api/auth/me", Some(&Person::of(&answer))).await;
    assert_eq!(me.body["user"], answer.body["user"]);
    let again = api.post("/api/auth/signup", None, &body).await;
    assert_eq!(
        (again.status, again.fields()),
        (StatusCode::CONFLICT, vec!["email"])
    );
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_get_the_same_answer() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    let mut answers = Vec::new();
    for (email, password) in [
        (person.email.as_str(), "wrong"),
        ("nobody@example.in", PASSWORD),
    ] {
        let body = json!({ "email": email, "password": password });
        let mut answer = api.post("/api/auth/login", None, &body).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        answer.body["request_id"] = json!(null);
        answers.push(answer.body);
    }
    assert_eq!(answers[0], answers[1]);
    let upper = json!({ "email": person.email.to_uppercase(), "password": PASSWORD });
    assert_eq!(
        api.post("/api/auth/login", None, &upper).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_reuse_revokes_its_family() {
    let api = Api::start().await;
    let first = api.customer("priya").await;
    let refresh = async |token: &str| {
        api.post("/api/auth/refresh", None, &json!({ "refreshToken": token }))
            .await
    };
    let second = refresh(&first.refresh_token).await;
    assert_eq!(second.status, StatusCode::OK);
    let second = Person::of(&second);
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_eq!(
        api.get("/api/auth/me", Some(&second)).await.status,
        StatusCode::OK
    );

    assert_eq!(
        refresh(&first.refresh_token).await.status,
        StatusCode::UNAUTHORIZED,
        "spent"
    );
    let stolen = refresh(&second.refresh_token).await;
    assert_eq!(
        stolen.status,
        StatusCode::UNAUTHORIZED,
        "its family is revoked"
    );

    let body = json!({ "email": first.email, "password": PASSWORD });
    let anew = Person::of(&api.post("/api/auth/login", None, &body).await);
    assert_eq!(
        refresh(&anew.refresh_token).await.status,
        StatusCode::OK,
        "another family"
    );
}

#[tokio::test]
async fn signing_out_revokes_the_family_and_no_other() {
    let api = Api::start().await;
    let here = api.customer("priya").await;
    let body = json!({ "email": here.email, "password": PASSWORD });
    let there = Person::of(&api.post("/api/auth/login", None, &body).await);

    let out = api
        .call("POST", "/api/auth/logout", Some(&here), None)
        .await;
    assert_eq!(
        (out.status, out.text("message")),
        (StatusCode::OK, "Logged out successfully")
    );
    for (person, status) in [(&here, StatusCode::UNAUTHORIZED), (&there, StatusCode::OK)] {
        let body = json!({ "refreshToken": person.refresh_token });
        assert_eq!(
            api.post("/api/auth/refresh", None, &body).await.status,
            status
        );
    }
}

#[tokio::test]
async fn people_change_their_profile_but_not_their_role() {
    let api = Api::start().await;
    let person = api.customer("priya").await;
    let change = json!({
        "full_name": "Priya Sharma", "phone": "+91 98765 43210", "address": "1 Marine Drive\nMumbai",
        "role": "admin", "is_active": false, "email": "other@example.in",
    });
    let answer = api
        .call(
            "PATCH",
            "/api/auth/me",
            Some(&person),
            Some(&change.to_string()),
        )
        .await;
    let user = &answer.body["user"];
    assert_eq!(
        (&user["full_name"], &user["role"]),
        (&json!("Priya Sharma"), &json!("customer"))
    );
    assert_eq!(
        (&user["email"], &user["is_active"]),
        (&json!(person.email), &json!(true))
    );

    let clear = api
        .call(
            "PATCH",
            "/api/auth/me",
            Some(&person),
            Some(r#"{"phone":null}"#),
        )
        .await;
    assert_eq!(clear.body["user"]["phone"], json!(null));
    assert_eq!(
        clear.body["user"]["full_name"], "Priya Sharma",
        "what is not sent stays"
    );
}

#[tokio::test]
async fn the_last_admin_stays_and_a_deactivated_user_is_out() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let patch = async |id: &str, body: &str| {
        api.call(
            "PATCH",
            &format!("/api/users/{id}"),
            Some(&admin),
            Some(body),
        )
        .await
    };
    for body in [r#"{"role":"customer"}"#, r#"{"is_active":false}"#] {
        let answer = patch(&admin.id, body).await;
        assert_eq!(
            (answer.status, answer.text("code")),
            (StatusCode::CONFLICT, "last_admin")
        );
    }
    assert_eq!(
        patch(&priya.id, r#"{"is_active":false}"#).await.body["is_active"],
        false
    );
    let refresh = json!({ "refreshToken": priya.refresh_token });
    let login = json!({ "email": priya.email, "password": PASSWORD });
    for (path, body) in [("/api/auth/refresh", refresh), ("/api/auth/login", login)] {
        assert_eq!(
            api.post(path, None, &body).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    for (method, body) in [("GET", None), ("PATCH", Some(r#"{"full_name":"Changed"}"#))] {
        let me = api.call(method, "/api/auth/me", Some(&priya), body).await;
        assert_eq!(
            me.status,
            StatusCode::UNAUTHORIZED,
            "{method}, although the access token is not over"
        );
    }
    assert_eq!(
        patch(&priya.id, "{}").await.body["full_name"],
        "priya",
        "nothing was changed"
    );
    let nobody = patch("01890000-0000-7000-8000-000000000000", "{}").await;
    assert_eq!(
        (nobody.status, nobody.text("error")),
        (StatusCode::NOT_FOUND, "User not found")
    );
}

#[tokio::test]
async fn an_admin_who_was_put_out_cannot_let_themselves_in_again() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let second = api.customer("second").await;
    let change = async |by: &Person, body: &str| {
        let path = format!("/api/users/{}", second.id);
        api.call("PATCH", &path, Some(by), Some(body)).await
    };
    assert_eq!(
        change(&admin, r#"{"role":"admin"}"#).await.body["role"],
        "admin"
    );
    let login = json!({ "email": second.email, "password": PASSWORD });
    let second_admin = Person::of(&api.post("/api/auth/login", None, &login).await);

    change(&admin, r#"{"role":"customer"}"#).await;
    let back = change(&second_admin, r#"{"role":"admin"}"#).await;
    assert_eq!(back.status, StatusCode::UNAUTHORIZED, "{}", back.body);
    let refresh = json!({ "refreshToken": second_admin.refresh_token });
    assert_eq!(
        api.post("/api/auth/refresh", None, &refresh).await.status,
        StatusCode::UNAUTHORIZED,
        "they are signed out"
    );

    change(&admin, r#"{"is_active":false}"#).await;
    let back = change(&second_admin, r#"{"is_active":true}"#).await;
    assert_eq!(back.status, StatusCode::UNAUTHORIZED, "{}", back.body);
}
