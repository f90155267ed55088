//! The whole system from outside: the real programs, PostgreSQL, Redis, SMTP and HAProxy.
//!
//! `cargo xtask test` starts what they need.

mod accounts;
mod cache;
mod cache_outages;
mod campaign;
mod checkout;
mod chores;
mod dead_letters;
mod drain;
mod events;
mod failover;
mod gateway;
mod in_process;
mod journey;
mod kills;
mod limits;
mod load;
mod misdirected;
mod outage;
mod pages;
mod pool;
mod pooled;
mod reconciliation;
mod replicas;
mod replicated;
mod scale_ins;
mod secrets;
mod shopper;
mod stack;
mod starts;
mod traces;
mod traffic;
