//! The queue against real servers.

mod in_process;
mod inspect;
mod outage;
mod producer;
mod relay;
mod schedules;
mod servers;
mod shutdown;
mod support;
mod worker;
