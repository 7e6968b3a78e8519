//! The wall clock of the node, for stamps. Intervals never come from it: it may
//! be set back or forth at any moment.

use std::time::{SystemTime, UNIX_EPOCH};

/// Since 1970, negative on a node whose clock stands before that.
pub fn unix_millis() -> i64 {
    millis(SystemTime::now())
}

/// In whole nanoseconds, as OpenTelemetry writes time: 0, which means unknown
/// there, on a node whose clock stands before 1970.
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_before_1970_is_not_taken_for_1970() {
        assert_eq!(millis(UNIX_EPOCH - Duration::from_millis(1500)), -1500);
        assert_eq!(millis(UNIX_EPOCH + Duration::from_millis(1500)), 1500);
        assert_eq!(millis(UNIX_EPOCH), 0);
    }
}
