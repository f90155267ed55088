//! A load whose requests come when they come, whether or not the earlier ones are answered (an open model): what a
//! server meets whose clients do not know of each other. For `cargo xtask bench overload`.
//!
//! `open_load PORT RATE MILLISECONDS` reads paths, one a line, asks for them in turn, `RATE` times a second, and writes
//! a line for each answer: when it was asked for and how long that took, in microseconds, and the status; 0 for a
//! connection that broke, 1 for a refusal that does not say when to try again.

use std::{
    cell::RefCell,
    error::Error,
    io::{Write, read_to_string, stdin, stdout},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

/// How often those are sent that are due.
const TICK: Duration = Duration::from_millis(1);

struct Sample {
    sent: Duration,
    took: Duration,
    status: u16,
}

/// Connections without a request.
type Idle = Rc<RefCell<Vec<TcpStream>>>;
type Samples = Rc<RefCell<Vec<Sample>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [port, rate, length] = arguments.as_slice() else {
        return Err("open_load PORT RATE MILLISECONDS".into());
    };
    let (port, rate) = (port.parse()?, rate.parse()?);
    let length = Duration::from_millis(length.parse()?);
    let paths: Vec<_> = read_to_string(stdin())?
        .lines()
        .map(str::to_owned)
        .collect();
    let samples = Samples::default();
    LocalSet::new()
        .run_until(load(port, rate, length, paths, Rc::clone(&samples)))
        .await;
    let mut output = stdout().lock();
    for Sample { sent, took, status } in samples.borrow().iter() {
        writeln!(output, "{} {} {status}", sent.as_micros(), took.as_micros())?;
    }
    Ok(())
}

async fn load(port: u16, rate: f64, length: Duration, paths: Vec<String>, samples: Samples) {
    let idle = Idle::default();
    let start = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = Vec::new();
    while start.elapsed() < length {
        ticks.tick().await;
        while due(asked.len(), rate) <= start.elapsed() {
            let path = paths[asked.len() % paths.len()].clone();
            let (idle, samples) = (Rc::clone(&idle), Rc::clone(&samples));
            asked.push(spawn_local(async move {
                let sent = Instant::now();
                let status = ask(port, &idle, &path).await.unwrap_or(0);
                samples.borrow_mut().push(Sample {
                    sent: sent - start,
                    took: sent.elapsed(),
                    status,
                });
            }));
        }
    }
    for asked in asked {
        // It cannot panic, and is not aborted.
        let _ = asked.await;
    }
}

/// When the request with this number is to be sent.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
fn due(number: usize, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

async fn ask(port: u16, idle: &Idle, path: &str) -> Result<u16, Box<dyn Error>> {
    let known = idle.borrow_mut().pop();
    let mut stream = match known {
        Some(stream) => stream,
        None => TcpStream::connect(("127.0.0.1", port)).await?,
    };
    stream.set_nodelay(true)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(32 * 1024);
    let head = loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the answer broke off".into());
        }
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            break std::str::from_utf8(&answer[..end])?.to_owned();
        }
    };
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let length: usize = header("content-length").ok_or("no length")?.parse()?;
    let status = head.get(9..12).ok_or("no status")?.parse()?;
    let tells = status != 503 || header("retry-after").is_some();
    while answer.len() < head.len() + 4 + length {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the answer broke off".into());
        }
    }
    idle.borrow_mut().push(stream);
    Ok(if tells { status } else { 1 })
}
