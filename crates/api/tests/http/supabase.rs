//! People whom Supabase signs in: its keys come from a real HTTP server, and its tokens are really signed.

mod people;
mod project;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bharatmart_test_support::{free_port, wait_until};
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Answer, Api, Person};
use project::{Project, SignKey};

/// At least 32 bytes, as Supabase's own.
const LEGACY_SECRET: &str = "super-secret-jwt-token-with-at-least-32-characters-long";

async fn api_of(project: &Project, settings: &[(&str, &str)]) -> Api {
    let ours = [
        ("AUTH_PROVIDER", "supabase"),
        ("SUPABASE_URL", project.url.as_str()),
        ("SESSION_CHECK_INTERVAL", "50ms"),
    ];
    Api::start_with(&[&ours, settings].concat()).await
}

/// Somebody who shows this token.
fn bearer(token: String) -> Person {
    Person {
        id: String::new(),
        email: String::new(),
        token,
        refresh_token: String::new(),
    }
}

async fn me(api: &Api, token: String) -> Answer {
    api.get("/api/auth/me", Some(&bearer(token))).await
}

/// A token that nobody has signed as its header says.
fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn hs256(claims: &Value, secret: &[u8], kid: Option<&str>) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(Algorithm::HS256)
    };
    encode(&header, claims, &EncodingKey::from_secret(secret)).expect("it can be signed")
}

#[tokio::test]
async fn every_kind_of_signature_of_the_project_is_taken() {
    let keys = [SignKey::es256("one"), SignKey::rs256("two")];
    let project = Project::start(&keys).await;
    let api = api_of(&project, &[("SUPABASE_JWT_SECRET", LEGACY_SECRET)]).await;
    let sub = Uuid::new_v4();
    let claims = project.claims(sub, "priya@example.in");
    for token in [
        keys[0].sign(&claims),
        keys[1].sign(&claims),
        hs256(&claims, LEGACY_SECRET.as_bytes(), None),
    ] {
        let answer = me(&api, token).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body["user"]["id"], sub.to_string());
    }
    let mut several = claims;
    several["aud"] = json!(["authenticated", "others"]);
    assert_eq!(
        me(&api, keys[0].sign(&several)).await.status,
        StatusCode::OK
    );
}

/// Tokens whose signature is not that of the key `ours`, or is not for what they say.
fn wrongly_signed(ours: &SignKey, rsa: &SignKey, claims: &Value) -> Vec<(&'static str, String)> {
    let good = ours.sign(claims);
    let signature = good.rsplit('.').next().expect("it has one");
    let mut other = claims.clone();
    other["sub"] = json!(Uuid::new_v4());
    let es256 = json!({ "alg": "ES256", "typ": "JWT", "kid": "ours" });
    let (none, nearly_none) = (
        json!({ "alg": "none" }),
        json!({ "alg": "nOnE", "kid": "ours" }),
    );
    let nameless = Header::new(Algorithm::ES256);
    let extended = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..named(Algorithm::ES256, "ours")
    };
    let elliptic = named(Algorithm::RS256, "ours");
    let other_hash = named(Algorithm::RS512, "rsa");
    let mut forged = vec![
        ("no signature", unsigned(&none, claims, "")),
        ("another none", unsigned(&nearly_none, claims, "")),
        ("no signature of a key", unsigned(&es256, claims, "")),
        ("other claims", unsigned(&es256, &other, signature)),
        ("other key", SignKey::es256("ours").sign(claims)),
        ("key not shown", SignKey::es256("unknown").sign(claims)),
        ("no key's id", ours.sign_with(claims, &nameless)),
        ("extension", ours.sign_with(claims, &extended)),
        ("other algorithm", rsa.sign_with(claims, &elliptic)),
        ("other hash", rsa.sign_with(claims, &other_hash)),
    ];
    // A public key is no secret: whoever takes it for one lets everybody sign.
    for public in ours.public_forms().into_iter().chain(rsa.public_forms()) {
        for kid in [None, Some("ours"), Some("rsa")] {
            forged.push(("by a public key", hs256(claims, &public, kid)));
        }
    }
    forged
}

/// Tokens of the key `ours` that are not of a person who is signed in, here and now.
fn out_of_place(project: &Project, ours: &SignKey, claims: &Value) -> Vec<(&'static str, String)> {
    [
        ("iss", json!("https://elsewhere.supabase.co/auth/v1")),
        ("iss", json!(project.url)),
        ("iss", Value::Null),
        ("aud", json!("anon")),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("admin")),
        ("role", json!("service_role")),
        ("role", json!("anon")),
        ("exp", json!(project::now() - 10)),
        ("exp", Value::Null),
        ("nbf", json!(project::now() + 60)),
        ("iat", json!(project::now() + 60)),
        ("is_anonymous", json!(true)),
    ]
    .map(|(name, value)| {
        let mut claims = claims.clone();
        claims[name] = value;
        (name, ours.sign(&claims))
    })
    .into()
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (ours, rsa) = (SignKey::es256("ours"), SignKey::rs256("rsa"));
    let project = Project::start(&[ours.clone(), rsa.clone()]).await;
    let encoded = URL_SAFE_NO_PAD.encode(LEGACY_SECRET);
    project.show(json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": encoded }));
    let strict = api_of(&project, &[]).await;
    let legacy = api_of(&project, &[("SUPABASE_JWT_SECRET", LEGACY_SECRET)]).await;
    let claims = project.claims(Uuid::new_v4(), "priya@example.in");
    let mut forged = wrongly_signed(&ours, &rsa, &claims);
    forged.extend(out_of_place(&project, &ours, &claims));
    for api in [&strict, &legacy] {
        assert_eq!(me(api, ours.sign(&claims)).await.status, StatusCode::OK);
        for (what, token) in &forged {
            let answer = me(api, token.clone()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {token}");
        }
    }
    let by_secret = hs256(&claims, LEGACY_SECRET.as_bytes(), Some("shared"));
    assert_eq!(
        me(&strict, by_secret.clone()).await.status,
        StatusCode::UNAUTHORIZED,
        "no secret is set, and one that all can read is none"
    );
    assert_eq!(me(&legacy, by_secret).await.status, StatusCode::OK);
}

fn named(algorithm: Algorithm, kid: &str) -> Header {
    Header {
        kid: Some(kid.to_owned()),
        ..Header::new(algorithm)
    }
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart_and_not_fetched_for_every_stranger() {
    let (old, new) = (SignKey::es256("old"), SignKey::es256("new"));
    let project = Project::start(std::slice::from_ref(&old)).await;
    let api = api_of(&project, &[]).await;
    let claims = project.claims(Uuid::new_v4(), "priya@example.in");
    assert_eq!(me(&api, old.sign(&claims)).await.status, StatusCode::OK);
    for number in 0..20 {
        let unknown = SignKey::es256(&format!("unknown-{number}")).sign(&claims);
        assert_eq!(me(&api, unknown).await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(project.fetches() <= 2, "{} fetches", project.fetches());

    project.rotate(std::slice::from_ref(&new));
    wait_until(
        "the new key to be known",
        Duration::from_secs(15),
        async || (me(&api, new.sign(&claims)).await.status == StatusCode::OK).then_some(()),
    )
    .await
    .expect("it is shown");
    assert_eq!(
        me(&api, old.sign(&claims)).await.status,
        StatusCode::UNAUTHORIZED,
        "it is not shown any more"
    );
    assert!(project.fetches() <= 4, "{} fetches", project.fetches());
}

#[tokio::test]
async fn a_project_that_is_away_stops_nobody_whose_key_is_known() {
    let (known, unknown) = (SignKey::es256("known"), SignKey::es256("unknown"));
    let project = Project::start(&[known.clone(), unknown.clone()]).await;
    project.rotate(std::slice::from_ref(&known));
    let api = api_of(&project, &[]).await;
    let claims = project.claims(Uuid::new_v4(), "priya@example.in");
    assert_eq!(me(&api, known.sign(&claims)).await.status, StatusCode::OK);

    project.set_up(false);
    wait_until(
        "it to be asked and not to answer",
        Duration::from_secs(15),
        async || {
            let answer = me(&api, unknown.sign(&claims)).await;
            (answer.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        },
    )
    .await
    .expect("nobody knows whether that key is good");
    assert_eq!(me(&api, known.sign(&claims)).await.status, StatusCode::OK);
    let other = project.claims(Uuid::new_v4(), "arjun@example.in");
    assert_eq!(
        me(&api, known.sign(&other)).await.status,
        StatusCode::OK,
        "newcomers as well"
    );

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let lost = Api::start_with(&[("AUTH_PROVIDER", "supabase"), ("SUPABASE_URL", &nowhere)]).await;
    let answer = me(&lost, known.sign(&claims)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(lost.get("/api/products", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_set_of_nonsense_changes_nothing() {
    let key = SignKey::es256("one");
    let project = Project::start(std::slice::from_ref(&key)).await;
    let api = api_of(&project, &[]).await;
    let claims = project.claims(Uuid::new_v4(), "priya@example.in");
    assert_eq!(me(&api, key.sign(&claims)).await.status, StatusCode::OK);
    for nonsense in ["<html>".to_owned(), "{}".to_owned(), "[".repeat(300 * 1024)] {
        project.say(Some(nonsense));
        wait_until("it to be fetched", Duration::from_secs(15), async || {
            let answer = me(&api, SignKey::es256("unknown").sign(&claims)).await;
            (answer.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await
        .expect("it is asked for that key");
        assert_eq!(me(&api, key.sign(&claims)).await.status, StatusCode::OK);
    }
}
