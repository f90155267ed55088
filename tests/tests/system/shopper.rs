//! People who see what they have written: they keep the token that came with it.

use anyhow::{Context, Result};
use bharatmart_test_support::App;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::load::{Reply, Wire};

pub const HEADER: &str = "x-consistency-token";
pub const COOKIE: &str = "bm_consistency";

/// What an answer gave its client to show with the next request, as a browser or a program keeps it.
#[derive(Clone, Debug)]
pub enum Token {
    Header(String),
    Cookie(String),
}

impl Token {
    /// The one that a program takes from an answer.
    pub fn header(reply: &Reply) -> Result<Self> {
        let token = reply.header(HEADER).context("no header with a token")?;
        Ok(Self::Header(token.to_owned()))
    }

    /// The one that a browser takes from an answer.
    pub fn cookie(reply: &Reply) -> Result<Self> {
        let cookie = reply.header("set-cookie").context("no cookie")?;
        let (pair, attributes) = cookie.split_once(';').context("no attributes")?;
        anyhow::ensure!(pair.starts_with(COOKIE), "{cookie}");
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            anyhow::ensure!(attributes.contains(attribute), "{cookie}");
        }
        Ok(Self::Cookie(pair.to_owned()))
    }

    fn as_header(&self) -> (&'static str, &str) {
        match self {
            Self::Header(token) => (HEADER, token),
            Self::Cookie(pair) => ("cookie", pair),
        }
    }
}

/// Somebody who is signed in, on a connection of their own.
pub struct Shopper {
    wire: Wire,
    authorization: String,
}

impl Shopper {
    /// The one whom the access token names.
    pub async fn open(api: &App, access: &str) -> Result<Self> {
        Ok(Self {
            wire: Wire::open(api).await?,
            authorization: format!("Bearer {access}"),
        })
    }

    pub async fn get(&mut self, path: &str, token: Option<&Token>) -> Result<Reply> {
        self.send("GET", path, token, None).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&Token>,
        body: Option<&Value>,
    ) -> Result<Reply> {
        let mut headers = vec![("authorization", self.authorization.as_str())];
        headers.extend(token.map(Token::as_header));
        self.wire.send(method, path, &headers, body).await
    }

    /// The same as a POST with this `Prefer` header.
    pub async fn send_preferring(
        &mut self,
        preference: &str,
        path: &str,
        body: &Value,
    ) -> Result<Reply> {
        let headers = [
            ("authorization", self.authorization.as_str()),
            ("prefer", preference),
        ];
        self.wire.send("POST", path, &headers, Some(body)).await
    }

    /// Orders one of the product, to be paid on delivery.
    pub async fn order(&mut self, product: Uuid) -> Result<Reply> {
        self.order_paid_by(product, "cash_on_delivery").await
    }

    /// Orders one of the product.
    pub async fn order_paid_by(&mut self, product: Uuid, method: &str) -> Result<Reply> {
        let body = json!({
            "items": [{"product_id": product, "quantity": 1}],
            "shipping_address": "12 MG Road, Bengaluru 560001",
            "payment_method": method,
        });
        self.send("POST", "/api/orders", None, Some(&body)).await
    }
}
