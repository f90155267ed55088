//! Reports to those who run the shop.
//!
//! - `LOW_STOCK_THRESHOLD`

use crate::error::ConfigError;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const LOW_STOCK_THRESHOLD: Variable = Variable::new(
    "LOW_STOCK_THRESHOLD",
    "Products of which no more are left are in the daily mail to the administrators",
    "a whole number from 0",
)
.default("10");

pub(crate) const TABLE: Table = Table {
    title: "Reports",
    variables: &[LOW_STOCK_THRESHOLD],
};

/// Reports to those who run the shop.
#[derive(Clone, Copy, Debug)]
pub struct ReportConfig {
    /// The most that is left of a product that is reported as running out.
    pub low_stock_threshold: i32,
}

impl ReportConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let low_stock_threshold = reader.required(&LOW_STOCK_THRESHOLD, |value| {
            value.parse().ok().filter(|threshold| *threshold >= 0)
        });
        reader.finish(|| {
            Some(Self {
                low_stock_threshold: low_stock_threshold?,
            })
        })
    }
}
