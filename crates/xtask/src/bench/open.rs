//! The load of `crates/api/examples/open_load.rs`, an optimised program of its own: what it costs is missing to those
//! whom it measures.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;

use super::{processors::Processors, program::example};

/// An answer.
#[derive(Clone, Copy)]
pub struct Sample {
    /// When it was asked for, from the beginning of the load.
    pub sent: Duration,
    pub took: Duration,
    pub status: u16,
}

/// Sends `rate` requests a second for `length`, for the paths in turn, and waits for all answers.
pub async fn load(
    processors: &Processors,
    port: u16,
    rate: f64,
    length: Duration,
    paths: &[String],
) -> Result<Vec<Sample>> {
    let mut child = processors
        .for_load(&example("open_load")?)
        .args([port.to_string(), rate.to_string()])
        .arg(length.as_millis().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the load")?;
    let mut input = child.stdin.take().context("a pipe")?;
    input.write_all(paths.join("\n").as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "the load failed");
    let mut samples = String::from_utf8(output.stdout)?
        .lines()
        .map(sample)
        .collect::<Result<Vec<_>>>()?;
    samples.sort_by_key(|sample| sample.sent);
    Ok(samples)
}

fn sample(line: &str) -> Result<Sample> {
    let mut numbers = line.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next().context("a number")?.context("a number");
    Ok(Sample {
        sent: Duration::from_micros(next()?),
        took: Duration::from_micros(next()?),
        status: u16::try_from(next()?)?,
    })
}
