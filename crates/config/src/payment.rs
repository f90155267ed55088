//! The payment gateway.
//!
//! - `PAYMENT_PROVIDER`
//! - `PAYMENT_SANDBOX_FAILURE_RATE`
//! - `ORDER_PAYMENT_TIMEOUT`

use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const PAYMENT_PROVIDER: Variable =
    Variable::new("PAYMENT_PROVIDER", "Who takes the money", "sandbox").default("sandbox");
const PAYMENT_SANDBOX_FAILURE_RATE: Variable = Variable::new(
    "PAYMENT_SANDBOX_FAILURE_RATE",
    "Share of payments that the sandbox declines",
    "a number from 0 to 1",
)
.default("0");
const ORDER_PAYMENT_TIMEOUT: Variable = Variable::new(
    "ORDER_PAYMENT_TIMEOUT",
    "How long an order waits for its payment before it is cancelled",
    "a duration with its unit, such as 30m",
)
.default("30m");

pub(crate) const TABLE: Table = Table {
    title: "Payment",
    variables: &[
        PAYMENT_PROVIDER,
        PAYMENT_SANDBOX_FAILURE_RATE,
        ORDER_PAYMENT_TIMEOUT,
    ],
};

/// Who takes the money.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaymentProvider {
    /// The built-in gateway that moves no money.
    Sandbox {
        /// The share of payments that it declines, from 0 to 1.
        failure_rate: f64,
    },
}

/// The payment gateway.
#[derive(Clone, Debug)]
pub struct PaymentConfig {
    /// Who takes the money.
    pub provider: PaymentProvider,
    /// How long an order waits for its payment.
    pub order_payment_timeout: Duration,
}

impl PaymentConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        reader.required(&PAYMENT_PROVIDER, |provider| {
            (provider == "sandbox").then_some(())
        });
        let failure_rate = reader.required(&PAYMENT_SANDBOX_FAILURE_RATE, parse::share);
        let order_payment_timeout =
            reader.required(&ORDER_PAYMENT_TIMEOUT, parse::positive_with_unit);
        reader.finish(|| {
            Some(Self {
                provider: PaymentProvider::Sandbox {
                    failure_rate: failure_rate?,
                },
                order_payment_timeout: order_payment_timeout?,
            })
        })
    }
}
