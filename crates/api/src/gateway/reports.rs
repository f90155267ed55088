//! Reports outcomes by webhooks, each until it was taken.

use std::{sync::Arc, time::Duration};

use bharatmart_commerce::{SandboxGateway, sign};
use bharatmart_config::WebhookSecret;
use bharatmart_database::{
    self as database, Database,
    sandbox_gateway::{self as books, Webhook},
};
use bharatmart_domain::Clock;
use bharatmart_telemetry::chain;
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use reqwest::{Client, redirect::Policy};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often it looks whether there is something to report.
const PAUSE: Duration = Duration::from_millis(200);
/// How many reports are under way at a time.
const BATCH: i64 = 20;
/// How long a shop may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest wait before a report is tried again, and for how long it is tried.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_hours(72);

/// Delivers what the books want reported, and decides what was accepted to be decided later.
pub(super) struct Reporter {
    http: Client,
    url: Url,
    secret: WebhookSecret,
    database: Database,
    gateway: SandboxGateway,
    clock: Arc<dyn Clock>,
}

impl Reporter {
    #[expect(
        clippy::expect_used,
        reason = "the client's settings are constant, and the TLS library is compiled in"
    )]
    pub(super) fn new(
        url: Url,
        secret: WebhookSecret,
        database: Database,
        gateway: SandboxGateway,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let http = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .expect("an HTTP client can be made");
        Self {
            http,
            url,
            secret,
            database,
            gateway,
            clock,
        }
    }

    /// Works until `stop`; what is under way then is finished.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut told = None;
        while !stop.is_cancelled() {
            match self.round().await {
                Ok(()) => told = None,
                Err(error) => {
                    let reason = chain(&error);
                    if told.as_ref() != Some(&reason) {
                        tracing::warn!("the books cannot be read: {reason}");
                        told = Some(reason);
                    }
                }
            }
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    async fn round(&self) -> Result<(), database::Error> {
        self.gateway.decide_due().await?;
        let mut connection = self.database.write().await?;
        let due = books::take_webhooks(&mut connection, FIRST_WAIT, LONGEST_WAIT, PATIENCE, BATCH)
            .await?;
        let delivered = join_all(due.iter().map(|webhook| self.deliver(webhook))).await;
        for (webhook, delivered) in due.iter().zip(delivered) {
            if delivered {
                books::mark_delivered(&mut connection, &webhook.id).await?;
            }
        }
        Ok(())
    }

    /// Whether the shop has taken it.
    async fn deliver(&self, webhook: &Webhook) -> bool {
        let Webhook {
            id,
            payload,
            attempts,
        } = webhook;
        let now = self.clock.now();
        let answer = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header(
                "webhook-signature",
                sign(&self.secret, id, now, payload.as_bytes()),
            )
            .body(payload.clone())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        match answer {
            Ok(_) => {
                tracing::info!(webhook.id = id, attempts, "webhook delivered");
                true
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    webhook.id = id,
                    attempts,
                    error,
                    "webhook not delivered, trying again"
                );
                false
            }
        }
    }
}
