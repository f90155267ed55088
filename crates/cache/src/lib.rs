//! The process-local cache tier, with single flight and invalidation.
