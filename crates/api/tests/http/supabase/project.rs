//! A server that shows keys as a Supabase project does, and the keys.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, PublicKeyUse},
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};
use serde_json::{Value, json};
use uuid::Uuid;

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.expect("it is later").as_secs()).expect("it is not that late")
}

/// A key that a project signs with.
#[derive(Clone)]
pub(super) struct SignKey {
    id: String,
    algorithm: Algorithm,
    encoding: EncodingKey,
    pair: Arc<KeyPair>,
}

impl SignKey {
    pub(super) fn es256(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            encoding: EncodingKey::from_ec_der(&pair.serialize_der()),
            pair: Arc::new(pair),
        }
    }

    pub(super) fn rs256(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        // PKCS #8 puts 26 bytes before the PKCS #1 key of 2048 bits that is wanted here.
        let der = pair.serialize_der();
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            encoding: EncodingKey::from_rsa_der(&der[26..]),
            pair: Arc::new(pair),
        }
    }

    fn shown(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        json!(jwk)
    }

    /// What somebody could take for the key's secret.
    pub(super) fn public_forms(&self) -> Vec<Vec<u8>> {
        vec![
            self.pair.public_key_pem().into_bytes(),
            self.pair.public_key_pem().trim().as_bytes().to_vec(),
            self.pair.subject_public_key_info(),
            self.pair.public_key_raw().to_vec(),
            self.shown().to_string().into_bytes(),
        ]
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(self.algorithm)
        };
        self.sign_with(claims, &header)
    }

    pub(super) fn sign_with(&self, claims: &Value, header: &Header) -> String {
        encode(header, claims, &self.encoding).expect("it can be signed")
    }
}

#[derive(Default)]
struct Shown {
    keys: Mutex<Vec<Value>>,
    instead: Mutex<Option<String>>,
    is_down: AtomicBool,
    fetches: AtomicUsize,
    asked: AtomicUsize,
    /// By token: what is said of its bearer.
    users: Mutex<HashMap<String, Value>>,
}

/// A Supabase project, as far as it is seen from here.
pub(super) struct Project {
    pub(super) url: String,
    shown: Arc<Shown>,
}

/// What its own API wants to be asked with.
pub(super) const SERVICE_KEY: &str = "the service role's key";

impl Project {
    pub(super) async fn start(keys: &[SignKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let shown = Arc::new(Shown::default());
        let routes = Router::new()
            .route("/auth/v1/.well-known/jwks.json", get(show_keys))
            .route("/auth/v1/user", get(show_user))
            .with_state(Arc::clone(&shown));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let project = Self { url, shown };
        project.rotate(keys);
        project
    }

    /// What it says of somebody who signs in by e-mail.
    pub(super) fn claims(&self, sub: Uuid, email: &str) -> Value {
        json!({
            "iss": format!("{}/auth/v1", self.url),
            "sub": sub,
            "aud": "authenticated",
            "exp": now() + 3600,
            "iat": now(),
            "email": email,
            "phone": "",
            "app_metadata": { "provider": "email", "providers": ["email"], "role": "admin" },
            "user_metadata": { "email_verified": true, "full_name": "Priya Sharma", "role": "admin" },
            "role": "authenticated",
            "aal": "aal1",
            "session_id": Uuid::new_v4(),
            "is_anonymous": false,
        })
    }

    /// Shows these keys and no others.
    pub(super) fn rotate(&self, keys: &[SignKey]) {
        *self.shown.keys.lock().expect("no panic") = keys.iter().map(SignKey::shown).collect();
    }

    /// Shows this as well.
    pub(super) fn show(&self, key: Value) {
        self.shown.keys.lock().expect("no panic").push(key);
    }

    /// Says this instead of the keys.
    pub(super) fn say(&self, instead: Option<String>) {
        *self.shown.instead.lock().expect("no panic") = instead;
    }

    pub(super) fn set_up(&self, up: bool) {
        self.shown.is_down.store(!up, Ordering::SeqCst);
    }

    /// How often the keys were asked for.
    pub(super) fn fetches(&self) -> usize {
        self.shown.fetches.load(Ordering::SeqCst)
    }

    /// How often it was asked who somebody is.
    pub(super) fn asked(&self) -> usize {
        self.shown.asked.load(Ordering::SeqCst)
    }

    /// Says of the bearer of `token` whether this address is confirmed.
    pub(super) fn knows(&self, token: &str, email: &str, is_confirmed: bool) {
        let confirmed_at = is_confirmed.then_some("2026-11-01T10:00:00Z");
        let user = json!({ "email": email, "email_confirmed_at": confirmed_at });
        let mut users = self.shown.users.lock().expect("no panic");
        users.insert(format!("Bearer {token}"), user);
    }
}

async fn show_keys(State(shown): State<Arc<Shown>>) -> Response {
    shown.fetches.fetch_add(1, Ordering::SeqCst);
    if shown.is_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Some(instead) = shown.instead.lock().expect("no panic").clone() {
        return instead.into_response();
    }
    let keys = shown.keys.lock().expect("no panic").clone();
    Json(json!({ "keys": keys })).into_response()
}

async fn show_user(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    shown.asked.fetch_add(1, Ordering::SeqCst);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("apikey") != Some(SERVICE_KEY) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let users = shown.users.lock().expect("no panic");
    match users.get(text("authorization").unwrap_or_default()) {
        Some(user) => Json(user.clone()).into_response(),
        None => StatusCode::FORBIDDEN.into_response(),
    }
}
