//! An energy counter that wraps: the arithmetic, without files.

/// More than any one zone draws. A step back that would mean more power than
/// this was a reset, not a wrap.
const MAX_PLAUSIBLE_WATTS: f64 = 1000.0;
const MICROJOULE: f64 = 1e-6;

/// A counter and its last value; of microjoules in one chip by default.
#[derive(Debug, Clone)]
pub struct Counter {
    last: Option<u64>,
    joules_per_step: f64,
    max_watts: f64,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter::stepping(MICROJOULE, MAX_PLAUSIBLE_WATTS)
    }
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
    /// A counter of something else: a PDU's counts watt-hours, or tenths of a
    /// kilowatt-hour, and sees a whole rack.
    pub fn stepping(joules_per_step: f64, max_watts: f64) -> Counter {
        Counter { last: None, joules_per_step, max_watts }
    }

    /// Joules since the last value. `range` is the largest value the counter takes.
    pub fn advance(&mut self, now: u64, range: Option<u64>, seconds: f64) -> Result<f64, Unknown> {
        let last = self.last.replace(now).ok_or(Unknown::First)?;
        let range = range.filter(|range| *range > 0);
        if range.is_some_and(|range| self.joules(range) < seconds * self.max_watts) {
            return Err(Unknown::Gap);
        }
        if now >= last {
            return Ok(self.joules(now - last));
        }
        let range = range.ok_or(Unknown::NoRange)?;
        let wrapped = range.checked_sub(last).ok_or(Unknown::Reset)?.saturating_add(now);
        if self.joules(wrapped) > seconds * self.max_watts {
            return Err(Unknown::Reset);
        }
        Ok(self.joules(wrapped))
    }

    fn joules(&self, steps: u64) -> f64 {
        steps as f64 * self.joules_per_step
    }

    /// After a failed reading the next difference would span two intervals.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANGE: Option<u64> = Some(262_143_328_850);

    fn after(last: u64) -> Counter {
        Counter { last: Some(last), ..Default::default() }
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

    #[test]
    fn a_counter_of_coarser_steps_keeps_its_unit() {
        let mut counter = Counter::stepping(360_000.0, 100_000.0);
        assert_eq!(counter.advance(19_516, Some(u32::MAX.into()), 30.0), Err(Unknown::First));
        assert_eq!(counter.advance(19_517, Some(u32::MAX.into()), 30.0), Ok(360_000.0));
        assert_eq!(counter.advance(0, Some(u32::MAX.into()), 30.0), Err(Unknown::Reset));
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
