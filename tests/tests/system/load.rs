//! Requests with as little of a client as can be, so that what is measured is the API.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::App;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// A connection of its own that is kept open.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// An answer.
pub struct Reply {
    pub status: u16,
    /// The status line and the headers.
    head: String,
    body: Vec<u8>,
}

impl Wire {
    pub async fn open(api: &App) -> Result<Self> {
        let url = api.base_url();
        let address = url.strip_prefix("http://").context("a URL of an API")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], None).await
    }

    /// Sends a request with these headers: pairs of name and value.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Reply> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: shop\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            let length = body.len();
            write!(
                request,
                "content-type: application/json\r\ncontent-length: {length}\r\n"
            )?;
        }
        write!(request, "\r\n{body}")?;
        self.stream.write_all(request.as_bytes()).await?;
        self.reply(path).await
    }

    async fn reply(&mut self, path: &str) -> Result<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut head).await?;
            ensure!(read > 0, "{path}: the answer broke off: {head}");
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut reply = Reply {
            status: status.with_context(|| format!("{path}: no status: {head}"))?,
            head,
            body: Vec::new(),
        };
        let length = reply.header("content-length").context("no length")?;
        reply.body.resize(length.parse()?, 0);
        self.stream.read_exact(&mut reply.body).await?;
        Ok(reply)
    }

    /// The body of an answer that must be 200.
    pub async fn json(&mut self, path: &str) -> Result<Value> {
        self.get(path).await?.expect(200)
    }
}

impl Reply {
    /// The body, which must be JSON, of an answer that must have this status.
    pub fn expect(&self, status: u16) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "{}: {text}", self.status);
        Ok(serde_json::from_str(&text)?)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request of a [`Load`].
#[derive(Clone, Copy)]
pub struct Sample {
    pub sent: Instant,
    pub took: Duration,
    pub status: u16,
    /// Which of the load's paths it was.
    pub path: usize,
}

/// Shoppers who ask again and again.
pub struct Load {
    go_on: watch::Sender<bool>,
    shoppers: JoinSet<Result<Vec<Sample>>>,
}

impl Load {
    /// Each of `shoppers` asks for one path after the other, one each `pause` if the answers are in time.
    pub async fn start(
        api: &App,
        shoppers: usize,
        pause: Duration,
        paths: &[String],
    ) -> Result<Self> {
        let mut load = Self {
            go_on: watch::Sender::new(true),
            shoppers: JoinSet::new(),
        };
        let paths: Arc<[String]> = paths.into();
        for number in 0..shoppers {
            let wire = Wire::open(api).await?;
            let shopping = shop(
                wire,
                number,
                pause,
                Arc::clone(&paths),
                load.go_on.subscribe(),
            );
            load.shoppers.spawn(shopping);
        }
        Ok(load)
    }

    /// What the shoppers have seen.
    pub async fn end(mut self) -> Result<Vec<Sample>> {
        self.go_on.send_replace(false);
        let mut samples = Vec::new();
        while let Some(shopper) = self.shoppers.join_next().await {
            samples.extend(shopper??);
        }
        Ok(samples)
    }
}

async fn shop(
    mut wire: Wire,
    number: usize,
    pause: Duration,
    paths: Arc<[String]>,
    go_on: watch::Receiver<bool>,
) -> Result<Vec<Sample>> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    for path in (0..paths.len()).cycle().skip(number) {
        ticks.tick().await;
        if !*go_on.borrow() {
            break;
        }
        let sent = Instant::now();
        let status = wire.get(&paths[path]).await?.status;
        samples.push(Sample {
            sent,
            took: sent.elapsed(),
            status,
            path,
        });
    }
    Ok(samples)
}

/// Median, 99th percentile and the longest; there must be one.
pub fn spread(times: impl IntoIterator<Item = Duration>) -> [Duration; 3] {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    [at(50), at(99), at(100)]
}

/// How many answers were an error of the API's.
pub fn errors(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.status >= 500).count()
}
