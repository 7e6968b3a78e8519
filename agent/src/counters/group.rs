//! Events that count together on one CPU, and what they counted between two readings.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use perf_event_open_sys::bindings::{
    perf_event_attr, PERF_COUNT_HW_CACHE_MISSES, PERF_COUNT_HW_CPU_CYCLES,
    PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_SW_TASK_CLOCK, PERF_FORMAT_GROUP,
    PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING, PERF_TYPE_HARDWARE,
    PERF_TYPE_SOFTWARE,
};

use crate::perf_event::{self, Whose};

/// What can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Cycles,
    Instructions,
    CacheMisses,
    /// Nanoseconds on the CPU; of the kernel's making, so there is always one.
    TaskClock,
}

impl Event {
    fn attributes(self) -> perf_event_attr {
        let (kind, config) = match self {
            Event::Cycles => (PERF_TYPE_HARDWARE, u64::from(PERF_COUNT_HW_CPU_CYCLES)),
            Event::Instructions => (PERF_TYPE_HARDWARE, u64::from(PERF_COUNT_HW_INSTRUCTIONS)),
            Event::CacheMisses => (PERF_TYPE_HARDWARE, u64::from(PERF_COUNT_HW_CACHE_MISSES)),
            Event::TaskClock => (PERF_TYPE_SOFTWARE, u64::from(PERF_COUNT_SW_TASK_CLOCK)),
        };
        let mut attributes = perf_event_attr::default();
        attributes.type_ = kind;
        attributes.config = config;
        attributes.read_format = u64::from(
            PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
        );
        attributes
    }
}

/// Events that are on the CPU's counters all together or not at all.
#[derive(Debug)]
pub struct Group {
    leader: OwnedFd,
    _others: Vec<OwnedFd>,
    events: Vec<Event>,
}

impl Group {
    /// Starts to count. Events that this CPU does not have are left out.
    ///
    /// # Errors
    /// The first event's, when there is none at all or too few files may be open.
    pub fn open(whose: Whose<'_>, cpu: u32, events: &[Event]) -> io::Result<Group> {
        let mut files: Vec<OwnedFd> = Vec::new();
        let mut counted = Vec::new();
        let mut first_error = None;
        for event in events {
            let leader = files.first().map(AsFd::as_fd);
            match perf_event::open(&mut event.attributes(), whose, cpu, leader) {
                Ok(file) => {
                    files.push(file);
                    counted.push(*event);
                }
                Err(error) if is_not_supported(&error) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let mut files = files.into_iter();
        match files.next() {
            Some(leader) => Ok(Group { leader, _others: files.collect(), events: counted }),
            None => Err(first_error.unwrap_or_else(|| io::ErrorKind::InvalidInput.into())),
        }
    }

    pub fn read(&self) -> io::Result<Reading> {
        let mut bytes = [0; 8 * 16];
        let length = rustix::io::read(&self.leader, &mut bytes)?;
        let words: Vec<u64> = bytes[..length]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word))
            .collect();
        parse(&words, &self.events).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn is_not_supported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOENT, Errno::OPNOTSUPP, Errno::NODEV, Errno::INVAL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What was counted since the group was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// For how long it was to count, and for how long it did: counters take turns.
    enabled_nanoseconds: u64,
    running_nanoseconds: u64,
    values: Vec<(Event, u64)>,
}

/// `{ nr, time_enabled, time_running, values[nr] }`, see perf_event_open(2).
fn parse(words: &[u64], events: &[Event]) -> Option<Reading> {
    let [count, enabled, running, values @ ..] = words else { return None };
    (*count == events.len() as u64 && values.len() >= events.len()).then(|| Reading {
        enabled_nanoseconds: *enabled,
        running_nanoseconds: *running,
        values: events.iter().copied().zip(values.iter().copied()).collect(),
    })
}

/// Sums of several CPUs over one interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    values: Vec<(Event, Option<f64>)>,
    enabled: u64,
    running: u64,
}

impl Counts {
    /// Adds what one CPU counted between two readings. Where the counters had
    /// no turn at all though there was something to count, the sum is unknown.
    pub fn add(&mut self, before: &Reading, after: &Reading) {
        let enabled = after.enabled_nanoseconds.saturating_sub(before.enabled_nanoseconds);
        let running = after.running_nanoseconds.saturating_sub(before.running_nanoseconds);
        self.enabled += enabled;
        self.running += running.min(enabled);
        for ((event, now), (_, then)) in after.values.iter().zip(&before.values) {
            let counted = now.saturating_sub(*then) as f64;
            let scaled = match (enabled, running) {
                (0, _) => Some(0.0),
                (_, 0) => None,
                _ => Some(counted * enabled as f64 / running as f64),
            };
            match self.values.iter_mut().find(|(known, _)| known == event) {
                Some((_, sum)) => *sum = sum.zip(scaled).map(|(sum, more)| sum + more),
                None => self.values.push((*event, scaled)),
            }
        }
    }

    pub fn get(&self, event: Event) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == event)?.1
    }

    /// Makes the sum unknown: a CPU could not be read.
    pub fn lose(&mut self) {
        self.values.iter_mut().for_each(|(_, sum)| *sum = None);
    }

    /// None where nothing ran.
    pub fn counted_share(&self) -> Option<f64> {
        (self.enabled > 0).then(|| self.running as f64 / self.enabled as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(enabled: u64, running: u64, cycles: u64) -> Reading {
        parse(&[1, enabled, running, cycles], &[Event::Cycles]).unwrap()
    }

    #[test]
    fn counters_that_took_turns_are_scaled() {
        let mut counts = Counts::default();
        counts.add(&reading(0, 0, 0), &reading(100, 50, 1000));
        assert_eq!(counts.get(Event::Cycles), Some(2000.0));
        assert_eq!(counts.counted_share(), Some(0.5));
        counts.add(&reading(0, 0, 5), &reading(100, 100, 15));
        assert_eq!(counts.get(Event::Cycles), Some(2010.0));
        assert_eq!(counts.counted_share(), Some(0.75));
        assert_eq!(counts.get(Event::Instructions), None, "never asked for");
    }

    #[test]
    fn what_had_no_turn_is_unknown_and_what_did_not_run_is_nothing() {
        let mut counts = Counts::default();
        counts.add(&reading(7, 7, 7), &reading(7, 7, 7));
        assert_eq!((counts.get(Event::Cycles), counts.counted_share()), (Some(0.0), None));
        counts.add(&reading(0, 0, 0), &reading(100, 0, 0));
        assert_eq!(counts.get(Event::Cycles), None);
        counts.add(&reading(0, 0, 0), &reading(100, 100, 9));
        assert_eq!(counts.get(Event::Cycles), None, "a part of the sum is missing");
    }

    #[test]
    fn an_answer_of_another_size_is_none() {
        for words in [&[][..], &[1, 2, 3], &[2, 1, 1, 1, 1], &[0, 1, 1]] {
            assert_eq!(parse(words, &[Event::Cycles]), None, "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_never_less_than_what_was_counted(
            spans in prop::collection::vec((1u64..1 << 40, 0.01f64..=1.0, 0u64..1 << 40), 1..8)
        ) {
            let mut counts = Counts::default();
            let mut least = 0.0;
            for (enabled, share, counted) in spans {
                let running = ((enabled as f64 * share) as u64).max(1);
                counts.add(&reading(0, 0, 0), &reading(enabled, running, counted));
                least += counted as f64;
            }
            let share = counts.counted_share().unwrap();
            prop_assert!(counts.get(Event::Cycles).unwrap() >= least * (1.0 - 1e-9));
            prop_assert!(share > 0.0 && share <= 1.0);
        }
    }
}
