use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wait::wait_until;

/// The password of every customer that [`ShopClient::sign_up`] makes.
pub const TEST_PASSWORD: &str = "Correct-Horse-42";

/// A customer, or an admin, at the other end of HTTP.
#[derive(Clone, Debug)]
pub struct ShopClient {
    http: reqwest::Client,
    base_url: String,
    email: String,
    user_id: String,
    token: Option<String>,
    refresh_token: Option<String>,
}

impl ShopClient {
    /// A visitor who is not signed in; `base_url` is without `/api`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base_url: impl Into<String>) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .no_proxy()
                .build()?,
            base_url: base_url.into(),
            email: String::new(),
            user_id: String::new(),
            token: None,
            refresh_token: None,
        })
    }

    /// The same person at another address.
    #[must_use]
    pub fn at(&self, base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            ..self.clone()
        }
    }

    /// The HTTP client, for requests that need a header of their own.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Where the API answers.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The address with which this person signed in; empty before.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The id of the person who signed in; empty before.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The access token, once signed in.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The refresh token, once signed in.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_deref()
    }

    /// Signs up as a new customer with an address of their own and [`TEST_PASSWORD`].
    ///
    /// # Errors
    /// When the API does not answer 201.
    pub async fn sign_up(&mut self) -> Result<()> {
        let email = format!("customer-{}@example.in", Uuid::new_v4().simple());
        self.sign_up_as(&email, TEST_PASSWORD, "Asha Verma").await
    }

    /// Signs up with this address, password and name.
    ///
    /// # Errors
    /// When the API does not answer 201.
    pub async fn sign_up_as(&mut self, email: &str, password: &str, name: &str) -> Result<()> {
        let body = json!({"email": email, "password": password, "full_name": name});
        let (status, answer) = self.post("/api/auth/signup", &body).await?;
        ensure!(status == 201, "sign-up answered {status}: {answer}");
        self.remember(email, &answer)
    }

    /// Signs in.
    ///
    /// # Errors
    /// When the API does not answer 200.
    pub async fn login(&mut self, email: &str, password: &str) -> Result<()> {
        let body = json!({"email": email, "password": password});
        let (status, answer) = self.post("/api/auth/login", &body).await?;
        ensure!(status == 200, "sign-in answered {status}: {answer}");
        self.remember(email, &answer)
    }

    fn remember(&mut self, email: &str, answer: &Value) -> Result<()> {
        let text = |value: &Value, what: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {what} in {answer}"))
        };
        self.token = Some(text(&answer["token"], "token")?);
        self.refresh_token = Some(text(&answer["refreshToken"], "refreshToken")?);
        self.user_id = text(&answer["user"]["id"], "user.id")?;
        email.clone_into(&mut self.email);
        Ok(())
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.send(Method::GET, path, None).await
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Puts `body` at `path`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Changes `path` by `body`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Deletes `path`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn delete(&self, path: &str) -> Result<(u16, Value)> {
        self.send(Method::DELETE, path, None).await
    }

    /// Sends a request with this person's token: the status and the body, `null` if it is empty.
    ///
    /// # Errors
    /// When there is no answer, or one that is not JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base_url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("{method} {path} got no answer"))?;
        let status = response.status().as_u16();
        let bytes = response
            .bytes()
            .await
            .with_context(|| format!("the answer to {method} {path} broke off"))?;
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let answer = serde_json::from_slice(&bytes).with_context(|| {
            let text = String::from_utf8_lossy(&bytes);
            format!("{method} {path} answered {status} without JSON: {text}")
        })?;
        Ok((status, answer))
    }

    /// Orders these products: pairs of id and quantity.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn place_order(&self, items: &[(&str, u32)]) -> Result<(u16, Value)> {
        let items: Vec<Value> = items
            .iter()
            .map(|(product_id, quantity)| json!({"product_id": product_id, "quantity": quantity}))
            .collect();
        let body = json!({"items": items, "shipping_address": "12, MG Road, Bengaluru 560001"});
        self.post("/api/orders", &body).await
    }

    /// Pays for an order: the method (`upi`, …) and the token that names the account, if any.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn pay(
        &self,
        order_id: &str,
        method: &str,
        token: Option<&str>,
    ) -> Result<(u16, Value)> {
        let mut body = json!({"order_id": order_id, "payment_method": method});
        if let Some(token) = token {
            body["payment_token"] = token.into();
        }
        self.post("/api/payments", &body).await
    }

    /// Waits until the order has this status, and returns it.
    ///
    /// # Errors
    /// With the order as it is then, when `limit` has passed.
    pub async fn wait_for_order_status(
        &self,
        order_id: &str,
        status: &str,
        limit: Duration,
    ) -> Result<Value> {
        self.wait_for_status(&format!("/api/orders/{order_id}"), status, limit)
            .await
    }

    /// Waits until the payment has this status, and returns it.
    ///
    /// # Errors
    /// With the payment as it is then, when `limit` has passed.
    pub async fn wait_for_payment_status(
        &self,
        payment_id: &str,
        status: &str,
        limit: Duration,
    ) -> Result<Value> {
        self.wait_for_status(&format!("/api/payments/{payment_id}"), status, limit)
            .await
    }

    async fn wait_for_status(&self, path: &str, wanted: &str, limit: Duration) -> Result<Value> {
        let mut last = Value::Null;
        let outcome = wait_until(&format!("{path} to be {wanted}"), limit, async || {
            last = self.get(path).await?.1;
            Ok(last["status"] == wanted)
        })
        .await;
        outcome.with_context(|| format!("the last answer was {last}"))?;
        Ok(last)
    }
}
