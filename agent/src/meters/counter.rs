//! An energy counter that wraps: the arithmetic, without files.

/// More than any one zone draws. A step back that would mean more power than
/// this was a reset, not a wrap.
const MAX_PLAUSIBLE_WATTS: f64 = 1000.0;

/// A counter in microjoules and its last value.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    last: Option<u64>,
}

/// Why the energy of an interval is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("first reading: nothing to compare with yet")]
    First,
    #[error("the counter wrapped and its range (max_energy_range_uj) is missing or 0")]
    NoRange,
    #[error("the counter went back further than a wrap explains: it was reset")]
    Reset,
    #[error("the gap between two readings is so long that a wrap may be hidden in it")]
    Gap,
}

impl Counter {
    /// Joules since the last value. `range` is the largest value the counter takes.
    pub fn advance(&mut self, now: u64, range: Option<u64>, seconds: f64) -> Result<f64, Unknown> {
        let last = self.last.replace(now).ok_or(Unknown::First)?;
        let range = range.filter(|range| *range > 0);
        if range.is_some_and(|range| joules(range) < seconds * MAX_PLAUSIBLE_WATTS) {
            return Err(Unknown::Gap);
        }
        if now >= last {
            return Ok(joules(now - last));
        }
        let range = range.ok_or(Unknown::NoRange)?;
        let wrapped = range.checked_sub(last).ok_or(Unknown::Reset)?.saturating_add(now);
        if joules(wrapped) > seconds * MAX_PLAUSIBLE_WATTS {
            return Err(Unknown::Reset);
        }
        Ok(joules(wrapped))
    }

    /// After a failed reading the next difference would span two intervals.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

fn joules(microjoules: u64) -> f64 {
    microjoules as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANGE: Option<u64> = Some(262_143_328_850);

    fn after(last: u64) -> Counter {
        Counter { last: Some(last) }
    }

    #[test]
    fn each_way_a_counter_moves_has_an_answer() {
        assert_eq!(Counter::default().advance(5, RANGE, 2.0), Err(Unknown::First));
        assert_eq!(after(1_000_000).advance(3_000_000, RANGE, 2.0), Ok(2.0));
        assert_eq!(after(1_000_000).advance(3_000_000, None, 2.0), Ok(2.0));
        assert_eq!(after(262_143_328_850).advance(1_000_000, RANGE, 2.0), Ok(1.0));
        assert_eq!(after(5_000_000).advance(1_000_000, RANGE, 2.0), Err(Unknown::Reset));
        assert_eq!(after(5_000_000).advance(1_000_000, None, 2.0), Err(Unknown::NoRange));
        assert_eq!(after(5_000_000).advance(1_000_000, Some(0), 2.0), Err(Unknown::NoRange));
        assert_eq!(after(300_000_000_000).advance(1, RANGE, 2.0), Err(Unknown::Reset));
        assert_eq!(after(1).advance(2, RANGE, 3600.0), Err(Unknown::Gap));
    }

    proptest! {
        /// Energy put in is energy read out, over any number of wraps.
        #[test]
        fn nothing_is_lost_or_invented_at_a_wrap(start in 0u64..262_143_328_850, steps in proptest::collection::vec(0u64..1_900_000_000, 1..200)) {
            let range = 262_143_328_850u64;
            let mut counter = Counter::default();
            let mut position = start;
            prop_assert_eq!(counter.advance(position, RANGE, 2.0), Err(Unknown::First));
            let (mut put_in, mut read_out) = (0.0, 0.0);
            for step in steps {
                // The hardware's counter: 0 follows the largest value by definition of the range.
                position = if position + step > range { position + step - range } else { position + step };
                put_in += step as f64 / 1e6;
                read_out += counter.advance(position, RANGE, 2.0).unwrap();
            }
            prop_assert!((put_in - read_out).abs() < 1e-3);
        }

        #[test]
        fn energy_is_never_negative_or_absurd(values in proptest::collection::vec(any::<u64>(), 1..20), range in proptest::option::of(any::<u64>())) {
            let mut counter = Counter::default();
            for value in values {
                if let Ok(energy) = counter.advance(value, range, 2.0) {
                    prop_assert!(energy >= 0.0 && energy.is_finite());
                }
            }
        }
    }
}
