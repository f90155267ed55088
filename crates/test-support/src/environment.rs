//! The few environment variables that tests and the developer's tool read for themselves.

use std::{env, path::PathBuf};

/// URL of the database `postgres` on the server that all tests of a run share.
pub const POSTGRES_VARIABLE: &str = "BHARATMART_TEST_POSTGRES";
/// URL of the same database through a `PgBouncer`, by which the product is to reach the databases of
/// tests; not set if it is to reach them directly.
pub const POOLER_VARIABLE: &str = "BHARATMART_TEST_POOLER";
/// URL of the Redis that all tests of a run share.
pub const REDIS_VARIABLE: &str = "BHARATMART_TEST_REDIS";
/// Folder of the built programs.
pub const BIN_DIR_VARIABLE: &str = "BHARATMART_BIN_DIR";

/// For how many seconds the campaign of failures is fought.
pub const CAMPAIGN_SECONDS_VARIABLE: &str = "CAMPAIGN_SECONDS";
/// How many orders a second the campaign places.
pub const CAMPAIGN_RATE_VARIABLE: &str = "CAMPAIGN_RATE";
/// The seed of a campaign that is to be fought again.
pub const CAMPAIGN_SEED_VARIABLE: &str = "CAMPAIGN_SEED";
/// How many workers are scaled in under load.
pub const SCALE_INS_VARIABLE: &str = "SCALE_INS";

/// The number in the variable `name`, by which a test can be made longer than it usually is.
///
/// # Panics
/// When it is no number.
#[must_use]
pub fn test_parameter(name: &str) -> Option<u64> {
    let text = perhaps_given_by_xtask(name)?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a whole number")))
}

/// What `cargo xtask test` has put into `name`.
pub(crate) fn given_by_xtask(name: &str) -> String {
    perhaps_given_by_xtask(name).unwrap_or_else(|| {
        panic!("{name} is not set: run the tests with `cargo xtask test` (arguments for nextest after `--`)")
    })
}

/// What `cargo xtask test` has put into `name`, if this run has it.
pub(crate) fn perhaps_given_by_xtask(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the address of the shared test servers is no setting of the product"
    )]
    let value = env::var(name);
    value.ok()
}

/// The folders of `PATH`.
pub(crate) fn search_path() -> Vec<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where programs are is no setting of the product"
    )]
    let path = env::var_os("PATH");
    path.map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}
