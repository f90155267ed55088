//! The cache against real servers.

mod contract;
mod footprint;
mod outages;
mod support;
