//! The queue against real servers.

mod in_process;
mod outage;
mod producer;
mod relay;
mod shutdown;
mod support;
mod worker;
