//! Jobs that do nothing: our worker beside the bare crate and Node's `bullmq`, and beside itself in
//! front of a mountain of jobs.

use std::{
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{install::find_program, servers::RedisServer};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    median,
    program::{cpu_seconds, example, megabytes},
};
use crate::{console::line, npm};

const QUEUE: &str = "order-processing";
const CONCURRENCIES: [usize; 3] = [1, 10, 50];
/// Ours to the bare crate's.
const RATE_FLOOR: f64 = 0.90;
/// Ours to Node's.
const MEMORY_CEILING: f64 = 0.25;

const MOUNTAIN: usize = 200_000;
const FEW: usize = 1000;
/// How many jobs are added, and taken, to measure how fast that goes.
const SAMPLE: usize = 10_000;
/// The first jobs meet a worker that is still waking up.
const WARM_UP: usize = 100;
const MOUNTAIN_CEILING: f64 = 1.5;
/// What the worker may need at the end of the mountain, to what it needed after the sample.
const GROWTH_CEILING: f64 = 1.10;
/// How long a worker may take to one mark.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each measures all three
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Jobs of each measurement
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Ours,
    Bare,
    Node,
}

impl Side {
    const ALL: [Self; 3] = [Self::Ours, Self::Bare, Self::Node];

    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "our worker",
            Self::Bare => "bare crate",
            Self::Node => "Node's bullmq",
        }
    }

    fn command(self, bench: &Bench, concurrency: usize, marks: &[usize]) -> Result<Command> {
        let kind = match self {
            Self::Ours => "ours",
            Self::Bare => "bare",
            Self::Node => {
                let request = json!({"concurrency": concurrency, "marks": marks});
                let mut command = Command::new(find_program("node").context("no Node.js")?);
                command
                    .arg(npm::folder(npm::INTEROP).join("bench.js"))
                    .args([&bench.redis.url(), &bench.prefix(), QUEUE])
                    .arg(request.to_string())
                    .env("NODE_ENV", "production");
                return Ok(command);
            }
        };
        let mut command = Command::new(example("queue_bench")?);
        command
            .args([kind, &bench.redis.url(), &bench.prefix()])
            .args([concurrency].iter().chain(marks).map(usize::to_string));
        Ok(command)
    }
}

/// A private Redis, and queues that were not used before.
struct Bench {
    redis: RedisServer,
    queues: usize,
}

impl Bench {
    fn prefix(&self) -> String {
        format!("bench-{}", self.queues)
    }

    /// Adds jobs, the first of which has this number; how many a second.
    async fn fill(&self, first: usize, count: usize) -> Result<f64> {
        let output = Command::new(example("queue_bench")?)
            .args(["fill", &self.redis.url(), &self.prefix()])
            .args([first, count].map(|number| number.to_string()))
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(rate(count, seconds))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// A worker that does nothing with its jobs.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    async fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")?;
        let mut worker = Self {
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(child.stdout.take().context("no output")?).lines(),
            child,
        };
        ensure!(worker.next_line().await? == "ready", "it is not ready");
        Ok(worker)
    }

    async fn go(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"go\n").await?)
    }

    /// The seconds from its first job to its next mark.
    async fn reach(&mut self, mark: usize) -> Result<f64> {
        let line = self.next_line().await?;
        let (reached, seconds) = line.split_once(' ').context("no mark")?;
        ensure!(
            reached.parse::<usize>()? == mark,
            "{line} instead of {mark}"
        );
        Ok(seconds.parse()?)
    }

    async fn next_line(&mut self) -> Result<String> {
        let Ok(line) = timeout(PATIENCE, self.output.next_line()).await else {
            bail!("the worker says nothing");
        };
        line?.context("the worker has ended")
    }

    fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id().context("it has ended")?)?)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.pid()?)
    }

    /// The most resident memory that it had so far, in MB (10⁶ bytes).
    fn highest_megabytes(&self) -> Result<f64> {
        megabytes(self.pid()?, "VmHWM:")
    }

    async fn stop(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().await?;
        Ok(())
    }
}

/// What one worker needed.
struct Figures {
    rate: f64,
    /// Processor time of 10,000 jobs, in seconds.
    cpu: f64,
    megabytes: f64,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut bench = Bench {
        redis: RedisServer::temporary().await?,
        queues: 0,
    };
    let mut met = true;
    for concurrency in CONCURRENCIES {
        met &= compare(&mut bench, &arguments, concurrency).await?;
    }
    met &= mountain(&mut bench).await?;
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All three, one after the other, in each round; whether ours is as good as it must be.
async fn compare(bench: &mut Bench, arguments: &Arguments, concurrency: usize) -> Result<bool> {
    let jobs = arguments.jobs;
    let mut figures: [Vec<Figures>; 3] = Default::default();
    for _ in 0..arguments.rounds {
        for (side, figures) in Side::ALL.into_iter().zip(&mut figures) {
            bench.queues += 1;
            bench.fill(1, jobs).await?;
            figures.push(drain(bench, side, concurrency, jobs).await?);
        }
    }
    let middle = |side: Side, figure: fn(&Figures) -> f64| {
        median(figures[side as usize].iter().map(figure).collect())
    };
    line(format!(
        "{concurrency} at a time, {jobs} jobs, medians of {} rounds:",
        arguments.rounds
    ));
    for side in Side::ALL {
        line(format!(
            "  {:13} {:7.0} jobs/s  {:6.3} CPU seconds per 10,000 jobs  {:6.1} MB",
            side.name(),
            middle(side, |figures| figures.rate),
            middle(side, |figures| figures.cpu),
            middle(side, |figures| figures.megabytes),
        ));
    }
    // Of the same round, so that what else the machine does is the same for both.
    let against = |other: Side, figure: fn(&Figures) -> f64| {
        let rounds = figures[Side::Ours as usize]
            .iter()
            .zip(&figures[other as usize]);
        median(
            rounds
                .map(|(ours, other)| figure(ours) / figure(other))
                .collect(),
        )
    };
    let rate = against(Side::Bare, |figures| figures.rate);
    let memory = against(Side::Node, |figures| figures.megabytes);
    line(format!(
        "  to the bare crate: rate {rate:.2} (at least {RATE_FLOOR}), CPU {:.2}; to Node's: rate {:.2}, CPU {:.2}, memory {memory:.2} (at most {MEMORY_CEILING})",
        against(Side::Bare, |figures| figures.cpu),
        against(Side::Node, |figures| figures.rate),
        against(Side::Node, |figures| figures.cpu),
    ));
    Ok(rate >= RATE_FLOOR && memory <= MEMORY_CEILING)
}

/// Has a worker do the jobs that wait.
async fn drain(bench: &Bench, side: Side, concurrency: usize, jobs: usize) -> Result<Figures> {
    let marks = [WARM_UP, jobs];
    let mut worker = Worker::start(side.command(bench, concurrency, &marks)?).await?;
    let cpu = worker.cpu_seconds()?;
    worker.go().await?;
    let warm = worker.reach(WARM_UP).await?;
    let seconds = worker.reach(jobs).await?;
    let figures = Figures {
        rate: rate(jobs - WARM_UP, seconds - warm),
        cpu: (worker.cpu_seconds()? - cpu) / rate(jobs, 10_000.0),
        megabytes: worker.highest_megabytes()?,
    };
    worker.stop().await?;
    Ok(figures)
}

/// Adds to and takes from a queue with few jobs and one with very many.
async fn mountain(bench: &mut Bench) -> Result<bool> {
    const CONCURRENCY: usize = 10;
    let (mut add_few, mut take_few) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        bench.queues += 1;
        bench.fill(1, FEW).await?;
        add_few.push(bench.fill(FEW + 1, SAMPLE).await?);
        take_few.push(drain(bench, Side::Ours, CONCURRENCY, SAMPLE).await?.rate);
    }
    bench.queues += 1;
    bench.fill(1, MOUNTAIN - SAMPLE).await?;
    let add_many = bench.fill(MOUNTAIN - SAMPLE + 1, SAMPLE).await?;
    let marks = [WARM_UP, SAMPLE, MOUNTAIN];
    let mut worker = Worker::start(Side::Ours.command(bench, CONCURRENCY, &marks)?).await?;
    worker.go().await?;
    let warm = worker.reach(WARM_UP).await?;
    let sampled = worker.reach(SAMPLE).await?;
    let take_many = rate(SAMPLE - WARM_UP, sampled - warm);
    let before = worker.highest_megabytes()?;
    worker.reach(MOUNTAIN).await?;
    let after = worker.highest_megabytes()?;
    worker.stop().await?;

    let (add, take) = (median(add_few) / add_many, median(take_few) / take_many);
    let growth = after / before;
    line(format!("{MOUNTAIN} jobs waiting, beside {FEW}:"));
    line(format!(
        "  adding is {add:.2} times slower ({add_many:.0} jobs/s), taking {take:.2} times ({take_many:.0} jobs/s); at most {MOUNTAIN_CEILING}"
    ));
    line(format!(
        "  the worker's memory at the end {after:.1} MB, {growth:.2} of that after {SAMPLE} jobs (at most {GROWTH_CEILING})"
    ));
    Ok(add <= MOUNTAIN_CEILING && take <= MOUNTAIN_CEILING && growth <= GROWTH_CEILING)
}
