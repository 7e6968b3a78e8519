//! Energy of an interval from a BMC's counter, where the counter is fine enough.
//!
//! - Many BMCs count whole kWh: such a counter stands still for hours and then
//!   jumps. It is used only if it moved in this interval and in the one before.
//! - Where counter and gauge differ by more than `MAX_DISAGREEMENT`, the
//!   counter's steps are too coarse for the interval: the gauge wins.
//! - A counter that went back was reset: unknown for one interval.

use super::decode::Observation;

const MAX_DISAGREEMENT: f64 = 0.3;

/// Last value of the counter, and whether it moved.
#[derive(Debug, Default)]
pub struct Energy {
    last_joules: Option<f64>,
    moved: bool,
}

/// Energy (J), power (W), and why one of them is unknown.
pub type Interval = (Option<f64>, Option<f64>, Option<String>);

impl Energy {
    /// Energy and mean power of the interval that ends with `seen`.
    pub fn interval(&mut self, seen: &Observation, interval: Option<f64>) -> Interval {
        let before = std::mem::replace(&mut self.last_joules, seen.energy_joules);
        let moved_before = self.moved;
        let step = seen.energy_joules.zip(before).map(|(now, before)| now - before);
        self.moved = step.is_some_and(|step| step > 0.0);
        let (Some(interval), Some(step)) = (interval.filter(|seconds| *seconds > 0.0), step) else {
            let why = match seen.energy_joules {
                Some(_) => "the energy counter has nothing to be compared with yet",
                None => "the BMC gives power, not energy",
            };
            return gauge(seen, why);
        };
        let mean_watts = step / interval;
        let agrees = seen
            .power_watts
            .is_none_or(|watts| (mean_watts - watts).abs() <= MAX_DISAGREEMENT * watts);
        if step < 0.0 {
            gauge(seen, "the energy counter went back: it was reset")
        } else if !(self.moved && moved_before) {
            gauge(seen, "the energy counter does not move in every interval: it is too coarse")
        } else if !agrees {
            gauge(seen, "energy counter and power disagree: the counter is too coarse")
        } else {
            (Some(step), Some(mean_watts), None)
        }
    }

    /// After a failed poll the next difference would span two intervals.
    pub fn forget(&mut self) {
        *self = Energy::default();
    }
}

fn gauge(seen: &Observation, why: &str) -> Interval {
    (None, seen.power_watts, Some(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(power_watts: Option<f64>, energy_joules: Option<f64>) -> Observation {
        Observation { power_watts, energy_joules, ..Default::default() }
    }

    #[test]
    fn a_fine_counter_beats_the_gauge_and_a_coarse_one_does_not() {
        let mut energy = Energy::default();
        let mut next = |watts, joules| energy.interval(&seen(watts, joules), Some(10.0));
        assert_eq!(next(Some(300.0), Some(1000.0)).0, None);
        assert_eq!(next(Some(300.0), Some(4100.0)).0, None);
        assert_eq!(next(Some(300.0), Some(7200.0)), (Some(3100.0), Some(310.0), None));
        let (joules, watts, reason) = next(Some(300.0), Some(7200.0));
        assert_eq!((joules, watts), (None, Some(300.0)));
        assert!(reason.unwrap().contains("coarse"));
        // The jump of a coarse counter is nobody's power.
        assert_eq!(next(None, Some(3.6e6)).1, None);
        assert_eq!(next(Some(300.0), Some(7.2e6)).1, Some(300.0));
        assert!(next(Some(300.0), Some(5.0)).2.unwrap().contains("reset"));
    }

    #[test]
    fn power_alone_says_so() {
        let (joules, watts, reason) =
            Energy::default().interval(&seen(Some(344.0), None), Some(10.0));
        assert_eq!((joules, watts), (None, Some(344.0)));
        assert!(reason.unwrap().contains("not energy"));
    }
}
