//! A running Prometheus.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{Child, Launch, Output, install::find_program, wait_until};
use serde_json::Value;

use super::{PATIENCE, answers};

pub struct Prometheus {
    pub port: u16,
    _server: Child,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one on this port with this configuration, and waits until it is ready.
    pub async fn start(name: &str, port: u16, configuration: &str, scratch: &Path) -> Result<Self> {
        let program = find_program("prometheus").context("prometheus is not installed")?;
        let file = scratch.join(format!("prometheus-{name}.yml"));
        fs::write(&file, configuration)?;
        let log = scratch.join(format!("prometheus-{name}.log"));
        let server = Launch::new(format!("prometheus-{name}"), program, Output::File(log))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                scratch.join(format!("data-{name}")).display()
            ))
            .arg("--storage.tsdb.retention.time=30d")
            .arg("--web.enable-remote-write-receiver")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .spawn()?;
        let ready = answers(&format!("http://127.0.0.1:{port}/-/ready")).await;
        ready.with_context(|| server.log_tail(10))?;
        Ok(Self {
            port,
            _server: server,
            client: reqwest::Client::builder().timeout(PATIENCE).build()?,
        })
    }

    /// The `data` of an answer of its API.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let query = serde_urlencoded::to_string(parameters)?;
        let answer = self.client.get(format!("{url}?{query}")).send().await?;
        let mut answer: Value = answer.json().await?;
        ensure!(
            answer["status"] == "success",
            "Prometheus says of {parameters:?}: {}",
            answer["error"]
        );
        Ok(answer["data"].take())
    }

    /// Waits until every target is up, and returns how many there are.
    pub async fn all_up(&self, limit: Duration) -> Result<usize> {
        let mut last = String::new();
        let mut count = 0;
        let waited = wait_until("all targets to be up", limit, async || -> Result<bool> {
            let data = self.ask("targets", &[("state", "active")]).await?;
            let targets = data["activeTargets"].as_array().context("no targets")?;
            let down = targets.iter().filter(|target| target["health"] != "up");
            let down: Vec<_> = down
                .map(|target| format!("{} {}", target["scrapeUrl"], target["lastError"]))
                .collect();
            last = down.join(", ");
            count = targets.len();
            Ok(down.is_empty() && count > 0)
        })
        .await;
        waited.with_context(|| last)?;
        Ok(count)
    }

    /// Waits until a query has an answer that is not empty; what Grafana puts in is put in.
    pub async fn answers(&self, query: &str, limit: Duration) -> Result<()> {
        let query = plain(query);
        let waited = wait_until("data", limit, async || -> Result<bool> {
            Ok(self.count(&query).await? > 0)
        });
        waited.await.with_context(|| query.clone())
    }

    /// How many series a query has now.
    pub async fn count(&self, query: &str) -> Result<usize> {
        let data = self.ask("query", &[("query", query)]).await?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }

    /// The expression as Prometheus reads it.
    pub async fn format(&self, query: &str) -> Result<String> {
        let data = self
            .ask("format_query", &[("query", &plain(query))])
            .await?;
        Ok(data.as_str().context("no text")?.to_owned())
    }

    /// Every name that a series has, or would have once something happened.
    pub async fn names(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::from(["ALERTS".to_owned()]);
        for name in self
            .ask("label/__name__/values", &[])
            .await?
            .as_array()
            .into_iter()
            .flatten()
        {
            names.extend(name.as_str().map(str::to_owned));
        }
        for metric in self
            .ask("targets/metadata", &[])
            .await?
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = metric["metric"].as_str().context("no name")?;
            names.insert(name.to_owned());
            if metric["type"] == "histogram" {
                names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
        }
        Ok(names)
    }

    /// The alerts that fire or are about to.
    pub async fn firing(&self) -> Result<Vec<String>> {
        let data = self.ask("alerts", &[]).await?;
        let alerts = data["alerts"].as_array().into_iter().flatten();
        Ok(alerts.map(|alert| alert["labels"].to_string()).collect())
    }
}

/// The expression with the interval that Grafana would put in.
fn plain(query: &str) -> String {
    query.replace("$__rate_interval", "15s")
}
