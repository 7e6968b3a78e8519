//! How busy each process kept a GPU, from the driver's samples. Pure.
//!
//! Flows in: what NVML answered to "the samples since the last look", and the
//! moment of this look. Flows out: a share of the time for each process.
//!
//! What NVML gives (`nvmlDeviceGetProcessUtilization`)
//! - One entry for each process that was seen on the GPU since the moment asked
//!   for: its mean over that time, not over the samples it was seen in. Its
//!   stamp is that of the last sample which saw the process.
//! - A process without an entry was not seen: 0, and that is measured. No entry
//!   at all is an error ("not found") and means the same, once the time asked
//!   for is longer than the driver's longest distance between two samples.
//! - Where a process has several entries they are taken for single samples,
//!   each as long as its distance to the sample before, so that gaps count as
//!   rest and no sample counts for more than its time.
//! - Some drivers hand out entries with nonsense in them: what is above 100 %
//!   is not known, whatever it was.

use std::collections::{BTreeSet, HashMap};

/// A sample is at most that far from the next one: "between 1 second and 1/6
/// second depending on the product".
const SAMPLE_EVERY_MICROS: u64 = 1_000_000;

/// One entry of the driver's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    pub pid: u32,
    /// By the wall clock, as the driver stamps it.
    pub unix_micros: u64,
    pub sm_percent: u32,
}

/// Shares of the time since the last look, 0 to 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shares {
    seen: HashMap<u32, Option<f64>>,
}

impl Shares {
    /// None: the driver's figure for this process makes no sense.
    pub fn of(&self, pid: u32) -> Option<f64> {
        self.seen.get(&pid).copied().unwrap_or(Some(0.0))
    }

    /// The processes that were seen.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.seen.keys().copied()
    }
}

/// Where the samples of one GPU have been read up to.
#[derive(Debug, Default)]
pub struct Looks {
    since_micros: Option<u64>,
}

impl Looks {
    /// From when on samples are wanted, by a look at this moment; or why none can be had.
    /// The first look only marks its moment.
    pub fn since(&mut self, now_micros: u64) -> Result<u64, &'static str> {
        match self.since_micros {
            Some(since) if since < now_micros => Ok(since),
            Some(_) => {
                self.since_micros = Some(now_micros);
                Err("the clock was set back")
            }
            None => {
                self.since_micros = Some(now_micros);
                Err("first look: nothing to compare with yet")
            }
        }
    }

    /// Nothing was learned of the time up to now, and it is not asked for again.
    pub fn skip(&mut self, now_micros: u64) {
        self.since_micros = Some(now_micros);
    }

    /// Makes shares of the answer to the question that `since` allowed.
    pub fn take(
        &mut self,
        since: u64,
        now_micros: u64,
        entries: &[Entry],
    ) -> Result<Shares, &'static str> {
        let fresh = |entry: &&Entry| entry.unix_micros > since && entry.pid != 0;
        let entries: Vec<Entry> = entries.iter().filter(fresh).copied().collect();
        if entries.is_empty() && now_micros - since < SAMPLE_EVERY_MICROS {
            // The next look asks for this time again.
            return Err("the driver has taken no sample yet");
        }
        self.since_micros = Some(now_micros);
        Ok(Shares { seen: shares(&entries, since) })
    }
}

fn shares(entries: &[Entry], since: u64) -> HashMap<u32, Option<f64>> {
    let mut seen: HashMap<u32, Option<f64>> = HashMap::new();
    let pids: BTreeSet<u32> = entries.iter().map(|entry| entry.pid).collect();
    let lengths = (pids.len() < entries.len()).then(|| lengths(entries, since));
    for entry in entries {
        let weight = lengths.as_ref().map_or(1.0, |lengths| lengths[&entry.unix_micros]);
        let share = f64::from(entry.sm_percent) / 100.0 * weight;
        let known = (entry.sm_percent <= 100).then_some(share);
        let sum = seen.entry(entry.pid).or_insert(Some(0.0));
        *sum = sum.zip(known).map(|(sum, share)| (sum + share).min(1.0));
    }
    seen
}

/// The part of the time from `since` to the last sample that each sample stands for.
fn lengths(entries: &[Entry], since: u64) -> HashMap<u64, f64> {
    let moments: BTreeSet<u64> = entries.iter().map(|entry| entry.unix_micros).collect();
    let whole = moments.last().map_or(0, |last| last - since) as f64;
    let before = std::iter::once(&since).chain(&moments);
    moments.iter().zip(before).map(|(now, before)| (*now, (now - before) as f64 / whole)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    fn entry(pid: u32, second: u64, sm_percent: u32) -> Entry {
        Entry { pid, unix_micros: START + second * SECOND, sm_percent }
    }

    /// A look at `second` after one at START.
    fn look(second: u64, entries: &[Entry]) -> Result<Shares, &'static str> {
        let mut looks = Looks::default();
        assert!(looks.since(START).is_err(), "the first look has no interval");
        let now = START + second * SECOND;
        let since = looks.since(now).unwrap();
        looks.take(since, now, entries)
    }

    #[test]
    fn one_entry_of_a_process_is_its_mean_whenever_it_was_last_seen() {
        let shares = look(10, &[entry(7, 1, 30), entry(8, 9, 60)]).unwrap();
        assert_eq!((shares.of(7), shares.of(8)), (Some(0.3), Some(0.6)));
        assert_eq!(shares.of(9), Some(0.0), "not seen is a measured nought");
    }

    #[test]
    fn several_entries_of_a_process_are_samples_and_gaps_are_rest() {
        let shares = look(4, &[entry(7, 1, 100), entry(8, 2, 50), entry(7, 4, 50)]).unwrap();
        assert_eq!(shares.of(7), Some((1.0 + 0.5 * 2.0) / 4.0));
        assert_eq!(shares.of(8), Some(0.5 / 4.0));
    }

    #[test]
    fn no_sample_is_unknown_within_a_second_and_rest_after_it() {
        let mut looks = Looks::default();
        assert!(looks.since(START).is_err());
        let soon = START + SECOND / 2;
        let since = looks.since(soon).unwrap();
        assert_eq!(looks.take(since, soon, &[]), Err("the driver has taken no sample yet"));
        let later = START + 2 * SECOND;
        let since = looks.since(later).unwrap();
        assert_eq!(since, START, "the time of the failed look is asked for again");
        assert_eq!(looks.take(since, later, &[]).unwrap().of(7), Some(0.0));
        assert_eq!(looks.since(later + 1), Ok(later), "each time is asked for once");
    }

    #[test]
    fn old_entries_count_for_nothing_and_nonsense_is_unknown() {
        let shares = look(5, &[entry(7, 0, 90), entry(8, 3, 2_147_483_632), entry(0, 3, 5)]);
        let shares = shares.unwrap();
        assert_eq!((shares.of(7), shares.of(8)), (Some(0.0), None));
        assert_eq!(shares.pids().collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn a_clock_that_was_set_back_costs_one_interval() {
        let mut looks = Looks::default();
        assert!(looks.since(START).is_err());
        assert_eq!(looks.since(START - SECOND), Err("the clock was set back"));
        assert_eq!(looks.since(START), Ok(START - SECOND));
    }

    proptest! {
        /// However the driver cuts time into samples: no share above 1, and where the
        /// processes of each sample fill at most the GPU, so do their shares.
        #[test]
        fn shares_never_exceed_the_gpu(
            samples in prop::collection::vec((1u64..10_000_000, 0u32..=100, 0u32..4), 1..40)
        ) {
            let mut moments = std::collections::HashSet::new();
            let entries: Vec<Entry> = samples
                .iter()
                .filter(|(at, _, _)| moments.insert(*at))
                .map(|(at, sm_percent, pid)| Entry {
                    pid: pid + 1, unix_micros: START + at, sm_percent: *sm_percent,
                })
                .collect();
            let several = entries.len() > entries.iter().map(|e| e.pid).collect::<BTreeSet<_>>().len();
            let shares = look(20, &entries).unwrap();
            let all: Vec<f64> = shares.pids().filter_map(|pid| shares.of(pid)).collect();
            prop_assert!(all.iter().all(|share| (0.0..=1.0).contains(share)));
            prop_assert!(!several || all.iter().sum::<f64>() <= 1.0 + 1e-9);
        }

        /// Always equally busy is that share, whatever the distances of the samples.
        #[test]
        fn a_steady_process_has_its_share(
            moments in prop::collection::btree_set(1u64..10_000_000, 2..40), sm_percent in 0u32..=100
        ) {
            let entries: Vec<Entry> = moments
                .iter()
                .map(|at| Entry { pid: 7, unix_micros: START + at, sm_percent })
                .collect();
            let share = look(20, &entries).unwrap().of(7).unwrap();
            prop_assert!((share - f64::from(sm_percent) / 100.0).abs() < 1e-9);
        }
    }
}
