//! What tests, and `cargo xtask`, stand on: real servers that vanish with their owner, a database
//! for each test, the built programs as child processes, an unreliable network and a customer.
//!
//! Nothing here imitates a server that can be installed. Tests are meant to be run by
//! `cargo xtask test`, which starts what they share and says where it is in environment variables:
//!
//! | variable | holds |
//! |---|---|
//! | [`POSTGRES_VARIABLE`] | URL of the shared PostgreSQL server's database `postgres` |
//! | [`POOLER_VARIABLE`] | with `--pooler`: URL of the same database through a `PgBouncer` |
//! | [`REDIS_VARIABLE`] | URL of the shared Redis |
//! | [`BIN_DIR_VARIABLE`] | folder of the built `bharatmart-api` and `bharatmart-worker` |
//!
//! Whoever runs the tests may set these, to make some of them longer:
//!
//! | variable | holds |
//! |---|---|
//! | [`CAMPAIGN_SECONDS_VARIABLE`] | for how long the campaign of failures is fought |
//! | [`CAMPAIGN_RATE_VARIABLE`] | how many orders a second it places |
//! | [`CAMPAIGN_SEED_VARIABLE`] | the seed that an earlier one printed |
//! | [`SCALE_INS_VARIABLE`] | how many workers are scaled in under load |

mod app;
mod child;
mod client;
mod collector;
mod database;
mod environment;
pub mod install;
mod mail;
mod metrics;
mod packages;
mod ports;
mod proxy;
mod scratch;
pub mod servers;
mod wait;

pub use app::{App, AppBuilder};
pub use child::{Child, Launch, Output};
pub use client::{ShopClient, TEST_PASSWORD};
pub use collector::{Collector, ReceivedSpan};
pub use database::{TEMPLATE_DATABASE, TestDatabase, test_prefix, test_redis_url};
pub use environment::{
    BIN_DIR_VARIABLE, CAMPAIGN_RATE_VARIABLE, CAMPAIGN_SECONDS_VARIABLE, CAMPAIGN_SEED_VARIABLE,
    POOLER_VARIABLE, POSTGRES_VARIABLE, REDIS_VARIABLE, SCALE_INS_VARIABLE, test_parameter,
};
pub use mail::{ReceivedMail, read_mail_dir};
pub use ports::{free_port, is_free};
pub use proxy::FlakyProxy;
pub use scratch::ScratchDir;
pub use wait::{Condition, wait_until};
