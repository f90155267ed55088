//! How many reads went where, and why.

use bharatmart_telemetry::metrics::DATABASE_READS_TOTAL;
use metrics::{Counter, counter};

use crate::position::Position;

/// A counter for each.
pub(crate) struct Reads {
    /// From any replica.
    pub(crate) any: Counter,
    /// From a replica that was fresh enough.
    pub(crate) fresh: Counter,
    /// From the primary, since that was asked for.
    pub(crate) latest: Counter,
    /// From the primary, since there are no replicas.
    pub(crate) no_replicas: Counter,
    /// From the primary, since no replica is in rotation.
    pub(crate) none_in_rotation: Counter,
    /// From the primary, since no replica was fresh enough.
    pub(crate) behind: Counter,
    /// From the primary, since the replicas that were tried failed.
    pub(crate) failed: Counter,
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reads")
    }
}

impl Reads {
    pub(crate) fn new() -> Self {
        let of = |target: &'static str, reason: &'static str| counter!(DATABASE_READS_TOTAL, "target" => target, "reason" => reason);
        Self {
            any: of("replica", "any"),
            fresh: of("replica", "fresh"),
            latest: of("primary", "latest"),
            no_replicas: of("primary", "no_replicas"),
            none_in_rotation: of("primary", "none_in_rotation"),
            behind: of("primary", "behind"),
            failed: of("primary", "failed"),
        }
    }

    /// The counter of reads that a replica answers.
    pub(crate) const fn of_replica(&self, position: Position) -> &Counter {
        if position.bytes() == 0 {
            &self.any
        } else {
            &self.fresh
        }
    }
}
