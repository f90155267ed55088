//! A gateway at the other end of HTTP.

use std::{sync::Arc, time::Duration};

use bharatmart_breaker::{Backoff, Breaker, BreakerStatus, CircuitBreaker};
use bharatmart_database::sandbox_gateway::Charge;
use bharatmart_domain::Money;
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use metrics::counter;
use reqwest::{Client, StatusCode, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::sleep;
use url::Url;

use super::{GatewayError, timed};

/// Together with the waits, less than a request of the API may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const WAITS: Backoff = Backoff::jittered(Duration::from_millis(200), Duration::from_secs(1));
/// So many failures in a row, and one more, and the gateway is left alone.
const BREAKER_THRESHOLD: u32 = 3;
const COOLDOWN: Backoff = Backoff::jittered(Duration::from_secs(1), Duration::from_secs(30));

/// A charge is less than a kilobyte; in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Speaks to a gateway that is idempotent by key; cheap to clone.
#[derive(Clone)]
pub struct HttpGateway(Arc<Parts>);

struct Parts {
    http: Client,
    /// Without a slash at its end.
    url: String,
    api_key: SecretString,
    breaker: CircuitBreaker,
}

impl HttpGateway {
    #[expect(
        clippy::expect_used,
        reason = "the client's settings are constant, and the TLS library is compiled in"
    )]
    pub(super) fn new(url: &Url, api_key: SecretString) -> Self {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Before the gateway closes it, as far as one can tell.
            .pool_idle_timeout(IDLE)
            // Nobody but the gateway itself is told of a charge.
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .expect("an HTTP client can be made");
        Self(Arc::new(Parts {
            http,
            url: url.as_str().trim_end_matches('/').to_owned(),
            api_key,
            breaker: CircuitBreaker::new(
                dependency::PAYMENT_GATEWAY,
                Breaker::new(BREAKER_THRESHOLD, COOLDOWN),
            ),
        }))
    }

    pub(super) fn breaker(&self) -> BreakerStatus {
        self.0.breaker.status()
    }

    pub(super) async fn charge(
        &self,
        key: &str,
        amount: Money,
        token: Option<&str>,
    ) -> Result<Charge, GatewayError> {
        let body = json!({ "amount": amount, "token": token });
        self.call("/v1/charges", key, amount, &body).await
    }

    pub(super) async fn void(&self, key: &str, amount: Money) -> Result<Charge, GatewayError> {
        let path = format!("/v1/charges/{key}/void");
        self.call(&path, key, amount, &json!({ "amount": amount }))
            .await
    }

    pub(super) async fn refund(&self, key: &str, amount: Money) -> Result<Charge, GatewayError> {
        let path = format!("/v1/charges/{key}/refund");
        let body = json!({ "amount": amount });
        match self.call(&path, key, amount, &body).await {
            Err(GatewayError::Refused(404 | 409)) => Err(GatewayError::NothingTaken),
            answer => answer,
        }
    }

    /// Asks, and asks again under the same key when the outcome is not known.
    async fn call(
        &self,
        path: &str,
        key: &str,
        amount: Money,
        body: &Value,
    ) -> Result<Charge, GatewayError> {
        let mut waits = WAITS;
        let mut attempt = 1;
        loop {
            match self.attempt(path, key, body).await {
                Err(error @ (GatewayError::Outage | GatewayError::NoAnswer(_)))
                    if attempt < ATTEMPTS =>
                {
                    tracing::debug!(
                        attempt,
                        error = &error as &dyn std::error::Error,
                        "the payment gateway is asked again"
                    );
                    counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => dependency::PAYMENT_GATEWAY)
                        .increment(1);
                    sleep(waits.advance()).await;
                    attempt += 1;
                }
                Ok(charge) if charge.key != key || charge.amount != amount => {
                    let what = format!("about {} of {} instead", charge.key, charge.amount);
                    return Err(GatewayError::Unreadable(what));
                }
                answer => return answer,
            }
        }
    }

    async fn attempt(&self, path: &str, key: &str, body: &Value) -> Result<Charge, GatewayError> {
        let Parts { breaker, .. } = &*self.0;
        breaker.acquire().map_err(|_| GatewayError::LeftAlone)?;
        let (status, answer) = match timed(self.send(path, key, body)).await {
            Ok(answered) => answered,
            Err(error) => {
                breaker.fail("no_answer");
                return Err(GatewayError::NoAnswer(error));
            }
        };
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            breaker.fail("server_error");
            return Err(GatewayError::Outage);
        }
        breaker.succeed();
        if !status.is_success() {
            return Err(GatewayError::Refused(status.as_u16()));
        }
        let answer = answer.ok_or_else(|| {
            GatewayError::Unreadable(format!("longer than {LONGEST_ANSWER} bytes"))
        })?;
        serde_json::from_slice(&answer)
            .map_err(|error| GatewayError::Unreadable(format!("no charge: {error}")))
    }

    /// The status of the answer, and its body unless that is too long.
    async fn send(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, Option<Vec<u8>>)> {
        let Parts {
            http, url, api_key, ..
        } = &*self.0;
        let mut response = http
            .post(format!("{url}{path}"))
            .bearer_auth(api_key.expose_secret())
            .header("idempotency-key", key)
            .json(body)
            .send()
            .await?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > LONGEST_ANSWER {
                return Ok((response.status(), None));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status(), Some(answer)))
    }
}

#[cfg(test)]
mod tests;
