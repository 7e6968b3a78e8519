//! How long to wait after a failure before the next try.

use std::time::Duration;

/// Doubles with each failure up to `longest`; half of it is fixed and half is
/// drawn (equal jitter), so that a thousand agents don't come back at once and
/// none comes back at once. `random` is in 0..1.
pub fn backoff(failures: usize, first: Duration, longest: Duration, random: f64) -> Duration {
    let ceiling = first.saturating_mul(1 << failures.min(16)).min(longest);
    ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn the_wait_doubles_to_its_limit() {
        let waits =
            [0, 1, 2, 5, 6, usize::MAX].map(|n| backoff(n, FIRST, LONGEST, 1.0).as_millis());
        assert_eq!(waits, [250, 500, 1000, 8000, 10_000, 10_000]);
        assert_eq!(backoff(1, FIRST, LONGEST, 0.0), FIRST, "half of it is fixed");
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest_or_none(failures: usize, random in 0.0..1.0f64) {
            let wait = backoff(failures, FIRST, LONGEST, random);
            prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
        }
    }
}
