//! How much the programs cost when nothing happens.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use super::{
    median,
    program::{Program, Servers, binary},
};
use crate::console::line;

const ROUNDS: usize = 5;
/// After this long a program that has nothing to do is idle.
const SETTLE: Duration = Duration::from_secs(5);

struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    ceiling: f64,
}

pub async fn run() -> Result<ExitCode> {
    let servers = Servers::start(true).await?;
    let mut starts = Vec::new();
    let mut api_memory = Vec::new();
    let mut worker_memory = Vec::new();
    for round in 0..ROUNDS {
        let api = Program::start(servers.command("bharatmart-api")?).await?;
        starts.push(api.start_up.as_secs_f64() * 1000.0);
        let mut worker = servers.command("bharatmart-worker")?;
        worker
            .env("WORKER_TYPE", "order")
            .env("EMAIL_TRANSPORT", "file")
            .env("EMAIL_DIR", std::env::temp_dir());
        let worker = Program::start(worker).await?;
        sleep(SETTLE).await;
        api_memory.push(api.resident_megabytes()?);
        worker_memory.push(worker.resident_megabytes()?);
        line(format!(
            "round {}: ready after {:.0} ms; idle: api {:.1} MB, worker {:.1} MB",
            round + 1,
            starts[round],
            api_memory[round],
            worker_memory[round]
        ));
        worker.stop().await?;
        api.stop().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "no binary has 2^52 bytes")]
    let megabytes =
        |program| -> Result<f64> { Ok(fs::metadata(binary(program)?)?.len() as f64 / 1e6) };
    let figures = [
        Figure {
            name: "API start to ready",
            value: median(starts),
            unit: "ms",
            ceiling: 300.0,
        },
        Figure {
            name: "API idle resident memory",
            value: median(api_memory),
            unit: "MB",
            ceiling: 30.0,
        },
        Figure {
            name: "worker idle resident memory",
            value: median(worker_memory),
            unit: "MB",
            ceiling: 30.0,
        },
        Figure {
            name: "API binary",
            value: megabytes("bharatmart-api")?,
            unit: "MB",
            ceiling: 30.0,
        },
        Figure {
            name: "worker binary",
            value: megabytes("bharatmart-worker")?,
            unit: "MB",
            ceiling: 30.0,
        },
    ];
    let mut met = true;
    for Figure {
        name,
        value,
        unit,
        ceiling,
    } in figures
    {
        met &= value <= ceiling;
        line(format!(
            "{name:28} {value:8.1} {unit}  (at most {ceiling} {unit}; {:.2} of it)",
            value / ceiling
        ));
    }
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
