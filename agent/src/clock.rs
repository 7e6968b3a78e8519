//! The wall clock of the node, for stamps. Intervals never come from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; zero on a node whose clock stands before that.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The same in whole nanoseconds, as OpenTelemetry writes time.
pub fn unix_nanos() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}
