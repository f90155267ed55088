//! Deliberate disturbance, for drills.
//!
//! - `CHAOS_ENABLED`
//! - `CHAOS_LATENCY_MS`

use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const CHAOS_ENABLED: Variable = Variable::new(
    "CHAOS_ENABLED",
    "Whether requests are disturbed on purpose",
    "true or false",
)
.default("false");
const CHAOS_LATENCY_MS: Variable = Variable::new(
    "CHAOS_LATENCY_MS",
    "Delay that is added to every request when CHAOS_ENABLED is true; never to probes or metrics",
    "milliseconds, or a duration such as 2s",
)
.default("0");

pub(crate) const TABLE: Table = Table {
    title: "Chaos",
    variables: &[CHAOS_ENABLED, CHAOS_LATENCY_MS],
};

/// Deliberate disturbance.
#[derive(Clone, Debug)]
pub struct ChaosConfig {
    /// Whether anything below takes effect.
    pub enabled: bool,
    /// What is added to every request.
    pub latency: Duration,
}

impl ChaosConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let enabled = reader.required(&CHAOS_ENABLED, parse::boolean);
        let latency = reader.required(&CHAOS_LATENCY_MS, parse::milliseconds);
        reader.finish(|| {
            Some(Self {
                enabled: enabled?,
                latency: latency?,
            })
        })
    }
}
