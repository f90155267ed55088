//! Pairs of programs that do the same work, in turn.

use std::{fmt::Write, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    bench::{
        load, median,
        program::Program,
        to_f64,
        wrk::{CONNECTIONS, Load},
    },
    console::line,
};

/// Where new products go.
pub const NEW: &str = "/api/products";

/// Which server must answer the reads.
#[derive(Clone, Copy, PartialEq)]
pub enum Expected {
    /// The program does not count its reads.
    Unknown,
    Primary,
    Replicas,
}

/// What the programs do.
pub enum Work {
    /// Reads these paths.
    Read(Load),
    /// Adds products, for someone who may.
    Write { access_token: String },
}

impl Work {
    const fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "reads",
            Self::Write { .. } => "writes",
        }
    }

    /// Requests that were answered, and how many a second.
    async fn run(&self, port: u16, length: Duration) -> Result<(u64, f64)> {
        match self {
            Self::Read(load) => {
                let report = load.run(port, length).await?;
                Ok((report.done, report.rate()))
            }
            Self::Write { access_token } => {
                let report =
                    load::post(port, NEW, access_token, CONNECTIONS, length, new_product).await?;
                Ok((report.done, report.rate()))
            }
        }
    }
}

/// The body of a request that adds a product.
pub fn new_product(number: u64) -> String {
    json!({
        "name": format!("Handloom cotton kurta number {number}"),
        "description": "Woven in Varanasi of hand-spun cotton, dyed with indigo and washed twice.",
        "price": 499,
        "category": "Kurtas",
        "stock_quantity": 1000,
    })
    .to_string()
}

/// One of two that are compared.
pub struct Side {
    name: &'static str,
    expected: Expected,
    program: Program,
}

impl Side {
    pub const fn new(name: &'static str, expected: Expected, program: Program) -> Self {
        Self {
            name,
            expected,
            program,
        }
    }

    pub async fn stop(self) -> Result<()> {
        self.program.stop().await
    }

    async fn measure(&self, work: &Work, length: Duration) -> Result<Figures> {
        let before = self.answered().await?;
        let cpu = self.program.cpu_seconds()?;
        let (done, rate) = work.run(self.program.port, length).await?;
        let cpu = self.program.cpu_seconds()? - cpu;
        if let (Some(before), Some(after)) = (before, self.answered().await?) {
            ensure!(
                after.lost_lines == 0.0,
                "{}: {} lines of its log are lost",
                self.name,
                after.lost_lines
            );
            // wrk does not count what is under way at its end.
            let share = (after.reads - before.reads) / to_f64(done);
            ensure!(
                matches!(work, Work::Write { .. }) || share > 0.95,
                "{}: only {share:.3} of its answers came from where they were to come from",
                self.name
            );
        }
        Ok(Figures {
            rate,
            cost: cpu * 1e6 / to_f64(done),
        })
    }

    /// What the program has counted so far.
    async fn answered(&self) -> Result<Option<Answered>> {
        let target = match self.expected {
            Expected::Unknown => return Ok(None),
            Expected::Primary => "target=\"primary\"",
            Expected::Replicas => "target=\"replica\"",
        };
        let scrape = self.program.metrics().await?;
        let sum = |name: &str, label: &str| {
            scrape
                .lines()
                .filter(|line| line.starts_with(name) && line.contains(label))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        Ok(Some(Answered {
            reads: sum("database_reads_total{", target),
            lost_lines: sum("log_lines_dropped_total", ""),
        }))
    }
}

struct Answered {
    /// From the expected server.
    reads: f64,
    lost_lines: f64,
}

struct Figures {
    /// Answers a second.
    rate: f64,
    /// Microseconds of the program's processor time for each.
    cost: f64,
}

/// Two sides and what both do.
pub struct Pair<'a> {
    base: &'a Side,
    other: &'a Side,
    work: &'a Work,
    /// At least this share of the base's rate.
    floor: Option<f64>,
    bases: Vec<Figures>,
    others: Vec<Figures>,
}

impl<'a> Pair<'a> {
    pub const fn new(base: &'a Side, other: &'a Side, work: &'a Work) -> Self {
        Self {
            base,
            other,
            work,
            floor: None,
            bases: Vec::new(),
            others: Vec::new(),
        }
    }

    pub const fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    async fn measure(&mut self, base_first: bool, length: Duration) -> Result<()> {
        let (base, other) = if base_first {
            let base = self.base.measure(self.work, length).await?;
            (base, self.other.measure(self.work, length).await?)
        } else {
            let other = self.other.measure(self.work, length).await?;
            (self.base.measure(self.work, length).await?, other)
        };
        line(self.row(self.base, base.rate, base.cost));
        let ratio = other.rate / base.rate;
        line(format!(
            "{}  {ratio:.2}",
            self.row(self.other, other.rate, other.cost)
        ));
        self.bases.push(base);
        self.others.push(other);
        Ok(())
    }

    fn row(&self, side: &Side, rate: f64, cost: f64) -> String {
        format!(
            "  {:6} {:24} {rate:8.0}/s  {cost:6.1} µs of CPU each",
            self.work.name(),
            side.name
        )
    }

    /// Shows the medians; whether the floor is met.
    fn finish(&self) -> Result<bool> {
        let of = |figures: &[Figures], part: fn(&Figures) -> f64| {
            median(figures.iter().map(part).collect())
        };
        let ratios = self.others.iter().zip(&self.bases);
        let ratio = median(ratios.map(|(other, base)| other.rate / base.rate).collect());
        for (side, figures) in [(self.base, &self.bases), (self.other, &self.others)] {
            let rate = of(figures, |figures| figures.rate);
            let mut text = self.row(side, rate, of(figures, |figures| figures.cost));
            if std::ptr::eq(side, self.other) {
                write!(text, "  {ratio:.2}")?;
                if let Some(floor) = self.floor {
                    write!(text, "  (at least {floor:.2})")?;
                }
            }
            line(text);
        }
        Ok(self.floor.is_none_or(|floor| ratio >= floor))
    }
}

/// Pairs that are measured in turn.
pub struct Contest<'a> {
    what: &'static str,
    pairs: Vec<Pair<'a>>,
}

impl<'a> Contest<'a> {
    pub fn new(what: &'static str, pairs: Vec<Pair<'a>>) -> Self {
        line(format!("{what}; {CONNECTIONS} connections"));
        Self { what, pairs }
    }

    pub async fn run(&mut self, rounds: usize, length: Duration) -> Result<()> {
        for round in 1..=rounds {
            line(format!("round {round}:"));
            for pair in &mut self.pairs {
                // Whoever comes second finds what the first one left, warm or in need of a clean-up.
                pair.measure(round % 2 == 1, length).await?;
            }
        }
        Ok(())
    }

    /// Shows the medians; whether all floors are met.
    pub fn finish(&self) -> Result<bool> {
        line(format!(
            "{}: medians, and the share of the one above:",
            self.what
        ));
        let mut met = true;
        for pair in &self.pairs {
            met &= pair.finish()?;
        }
        Ok(met)
    }
}
