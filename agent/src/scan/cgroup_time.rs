//! CPU time that a cgroup used and no process shows: pure arithmetic.
//!
//! A child whose parent ignores SIGCHLD, or ends before it, is reaped by the
//! kernel or by another process: its last time is in nobody's `cutime`, but in
//! its cgroup's counter (`cpu.stat`, `cpuacct.usage`). Flows in: the counters,
//! and what the rows of this look say of each cgroup's processes. Flows out:
//! seconds that each cgroup used beyond them.
//!
//! Rules
//! - A counter holds its descendants, too: what the nearest known ones used is
//!   taken off. A cgroup that is new has no difference yet; its rows count with
//!   the ancestor whose counter holds them.
//! - A balance is carried from look to look, for process times are in ticks. A
//!   row is due when it is larger than the ticks of all its processes could be.
//! - Nothing is told twice: where a process elsewhere was charged too much (an
//!   init that waits for others' orphans), so much less is told in all.
//! - The root is nobody's: what is left there stays the node's unattributed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub const ROOT: &str = "/";

/// A cgroup at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    /// Its counter, with all below it.
    pub total_seconds: f64,
    /// Processes in it: each may be a tick behind.
    pub processes: usize,
}

/// What is known of each cgroup from looks before.
#[derive(Debug, Default)]
pub struct Balances {
    known: HashMap<Arc<str>, Balance>,
}

#[derive(Debug, Clone, Copy)]
struct Balance {
    total_seconds: f64,
    untold_seconds: f64,
}

impl Balances {
    /// Cgroups with seconds that no process shows, by path. `told`: seconds of the rows of each
    /// cgroup's processes at this look, of those that are gone by now, too.
    pub fn settle(
        &mut self,
        now: &BTreeMap<Arc<str>, Used>,
        told: &HashMap<Arc<str>, f64>,
        tick_seconds: f64,
    ) -> Vec<(Arc<str>, f64)> {
        let counted = |path: &str| now.contains_key(path) && self.known.contains_key(path);
        let mut change: HashMap<Arc<str>, f64> = HashMap::new();
        for (path, used) in now {
            let Some(before) = self.known.get(path) else { continue };
            // A counter that was reset is another cgroup of the same name.
            let grown = (used.total_seconds - before.total_seconds).max(0.0);
            *change.entry(path.clone()).or_default() += grown;
            if let Some(above) = ancestor(path, counted) {
                *change.entry(above).or_default() -= grown;
            }
        }
        for (path, seconds) in told {
            let holder = if counted(path) { Some(path.clone()) } else { ancestor(path, counted) };
            if let Some(holder) = holder {
                *change.entry(holder).or_default() -= seconds;
            }
        }
        self.known.retain(|path, _| now.contains_key(path));
        for (path, used) in now {
            let before = self.known.get(path).map_or(0.0, |before| before.untold_seconds);
            let untold_seconds = before + change.get(path).copied().unwrap_or(0.0);
            let total_seconds = used.total_seconds;
            self.known.insert(path.clone(), Balance { total_seconds, untold_seconds });
        }
        self.due(now, tick_seconds)
    }

    fn due(&mut self, now: &BTreeMap<Arc<str>, Used>, tick_seconds: f64) -> Vec<(Arc<str>, f64)> {
        let all = self.known.iter().map(|(path, one)| match &**path {
            ROOT => one.untold_seconds.min(0.0),
            _ => one.untold_seconds,
        });
        let mut left = all.sum::<f64>();
        let mut due = Vec::new();
        for (path, used) in now.iter().filter(|(path, _)| &***path != ROOT) {
            let Some(balance) = self.known.get_mut(path) else { continue };
            let least = (used.processes + 2) as f64 * tick_seconds;
            let seconds = balance.untold_seconds.min(left);
            if seconds >= least {
                balance.untold_seconds -= seconds;
                left -= seconds;
                due.push((path.clone(), seconds));
            }
        }
        due
    }
}

/// The nearest path above that is one of the wanted ones.
fn ancestor(path: &str, wanted: impl Fn(&str) -> bool) -> Option<Arc<str>> {
    let mut path = path;
    while path != ROOT {
        path = match path.rsplit_once('/')? {
            ("", _) => ROOT,
            (above, _) => above,
        };
        if wanted(path) {
            return Some(path.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: f64 = 0.01;

    /// A cgroup's counter, and what the rows of its processes say.
    fn used(total_seconds: f64, told_seconds: f64) -> (Used, f64) {
        (Used { total_seconds, processes: 1 }, told_seconds)
    }

    fn look(balances: &mut Balances, cgroups: &[(&str, (Used, f64))]) -> Vec<(String, f64)> {
        let now = cgroups.iter().map(|(path, (used, _))| ((*path).into(), *used)).collect();
        let told = cgroups.iter().map(|(path, (_, told))| ((*path).into(), *told)).collect();
        let due = balances.settle(&now, &told, TICK).into_iter();
        due.map(|(path, seconds)| (path.to_string(), (seconds * 1e6).round() / 1e6)).collect()
    }

    #[test]
    fn what_no_process_shows_is_told_once() {
        let mut balances = Balances::default();
        assert!(look(&mut balances, &[("/a", used(100.0, 0.0))]).is_empty());
        let due = look(&mut balances, &[("/a", used(102.0, 0.5))]);
        assert_eq!(due, [("/a".to_owned(), 1.5)]);
        assert!(look(&mut balances, &[("/a", used(103.0, 1.0))]).is_empty());
    }

    #[test]
    fn ticks_that_are_behind_are_no_time_of_others() {
        let mut balances = Balances::default();
        look(&mut balances, &[("/a", used(1.0, 0.0))]);
        assert!(look(&mut balances, &[("/a", used(1.019, 0.0))]).is_empty());
        assert!(look(&mut balances, &[("/a", used(1.019, 0.01))]).is_empty());
        let due = look(&mut balances, &[("/a", used(1.059, 0.01))]);
        assert_eq!(due, [("/a".to_owned(), 0.039)], "small ones add up");
    }

    #[test]
    fn a_counter_holds_what_is_below_it() {
        let mut balances = Balances::default();
        look(
            &mut balances,
            &[("/", used(10.0, 0.0)), ("/a", used(5.0, 0.0)), ("/a/b/c", used(2.0, 0.0))],
        );
        let due = look(
            &mut balances,
            &[("/", used(20.0, 1.0)), ("/a", used(9.0, 1.0)), ("/a/b/c", used(4.0, 0.5))],
        );
        // c: 2.0 less 0.5; a: 4.0 less 2.0 below and 1.0; the root's 5.0 are nobody's.
        assert_eq!(due, [("/a".to_owned(), 1.0), ("/a/b/c".to_owned(), 1.5)]);
    }

    #[test]
    fn a_new_cgroup_counts_with_its_ancestor_until_it_has_a_difference() {
        let mut balances = Balances::default();
        look(&mut balances, &[("/a", used(5.0, 0.0))]);
        assert!(
            look(&mut balances, &[("/a", used(6.0, 0.0)), ("/a/new", used(1.0, 1.0))]).is_empty()
        );
        let due = look(&mut balances, &[("/a", used(7.0, 0.0)), ("/a/new", used(2.0, 0.0))]);
        assert_eq!(due, [("/a/new".to_owned(), 1.0)]);
    }

    #[test]
    fn rows_of_a_cgroup_that_is_gone_count_where_its_counter_went() {
        let mut balances = Balances::default();
        look(&mut balances, &[("/a", used(5.0, 0.0)), ("/a/b", used(1.0, 0.0))]);
        let now = [("/a".into(), Used { total_seconds: 8.0, processes: 1 })].into();
        let told = [("/a/b".into(), 2.0), ("/a".into(), 0.5)].into();
        let due = balances.settle(&now, &told, TICK);
        assert_eq!(due, [("/a".into(), 0.5)]);
    }

    #[test]
    fn what_an_init_was_charged_for_others_is_not_told_again() {
        let mut balances = Balances::default();
        look(
            &mut balances,
            &[("/", used(0.0, 0.0)), ("/init", used(1.0, 0.0)), ("/web", used(1.0, 0.0))],
        );
        // A child of web ran for 2 s, and init waited for it.
        let due = look(
            &mut balances,
            &[("/", used(4.0, 0.0)), ("/init", used(1.0, 2.0)), ("/web", used(3.5, 0.0))],
        );
        assert_eq!(due, [("/web".to_owned(), 0.5)]);
    }

    proptest! {
        /// Rows of processes and of cgroups together are never more than the kernel counted.
        #[test]
        fn no_more_is_told_than_was_used(
            looks in proptest::collection::vec(
                proptest::collection::vec((0u32..300, 0u32..100), 4), 1..20),
        ) {
            const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/c"];
            let mut balances = Balances::default();
            let mut totals = [0.0; 4];
            let (mut counted, mut told) = (0.0, 0.0);
            let mut first = true;
            for look in looks {
                let mut now = BTreeMap::new();
                // Own time of each; a share of it is shown by processes.
                let own: Vec<(f64, f64)> = look.iter()
                    .map(|(used, shown)| (f64::from(*used) / 100.0, f64::from(*used * *shown) / 1e4))
                    .collect();
                for (index, path) in PATHS.iter().enumerate() {
                    let below = |other: &&str| *path == ROOT || **other == **path || other.starts_with(&format!("{path}/"));
                    let grown: f64 = PATHS.iter().zip(&own).filter(|(other, _)| below(other)).map(|(_, one)| one.0).sum();
                    totals[index] += grown;
                    let total_seconds = totals[index];
                    now.insert(Arc::from(*path), Used { total_seconds, processes: 1 });
                }
                let shown = PATHS.iter().zip(&own).map(|(path, one)| (Arc::from(*path), one.1));
                // Sometimes a cgroup is gone, and rows of its processes come all the same.
                if look[3].1 < 20 {
                    now.remove("/c");
                }
                let due = balances.settle(&now, &shown.collect(), TICK);
                prop_assert!(due.iter().all(|(path, seconds)| &**path != ROOT && *seconds > 0.0));
                if !first {
                    counted += own.iter().map(|one| one.0).sum::<f64>();
                    told += own.iter().map(|one| one.1).sum::<f64>();
                }
                told += due.iter().map(|(_, seconds)| seconds).sum::<f64>();
                prop_assert!(told <= counted + 1e-6, "{told} of {counted}");
                first = false;
            }
        }
    }
}
