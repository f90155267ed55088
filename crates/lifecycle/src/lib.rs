//! Signals, drain, health checks, readiness.
