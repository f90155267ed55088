//! Reports to the administrators.
//!
//! - `LOW_STOCK_THRESHOLD`

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const LOW_STOCK_THRESHOLD: Variable = Variable::new(
    "LOW_STOCK_THRESHOLD",
    "Products of which at most so many are left are in the daily mail to the administrators",
    "a whole number from 0 to 1000000",
)
.default("5");

pub(crate) const TABLE: Table = Table {
    title: "Reports",
    variables: &[LOW_STOCK_THRESHOLD],
};

/// What is reported to the administrators.
#[derive(Clone, Copy, Debug)]
pub struct ReportConfig {
    /// At most so many are left of a product that is reported.
    pub low_stock_threshold: i32,
}

impl ReportConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let low_stock_threshold = reader.required(&LOW_STOCK_THRESHOLD, |value| {
            parse::number(value).filter(|number| (0..=1_000_000).contains(number))
        });
        reader.finish(|| {
            Some(Self {
                low_stock_threshold: low_stock_threshold?,
            })
        })
    }
}
