//! Cycles, instructions and cache misses, of the node or of each cgroup.
//!
//! In goes the table of processes, out comes a `CounterRow` for the node and,
//! where it is asked for, one for each of the busiest cgroups. Counting by
//! cgroup makes the kernel swap counters at each switch between two of them,
//! and takes a file for each event, CPU and cgroup: so it is opt-in and
//! bounded. Machines without counters have no `Counters` at all; their node
//! row says why.

mod group;

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::cgroup;
use crate::perf_event::Whose;
use crate::procfs::Proc;
use crate::profiler::online_cpus;
use crate::scan::Process;
use crate::wire::CounterRow;
use group::{Counts, Event, Group, Reading};

/// The first that a CPU has leads the group.
const EVENTS: &[Event] =
    &[Event::Cycles, Event::Instructions, Event::CacheMisses, Event::TaskClock];
/// Groups of events open at a time, of all CPUs and cgroups: each is read at each look.
const MAX_GROUPS: usize = 1024;
const MAX_CGROUPS: usize = 64;
/// Which cgroups are busy is looked at this often.
const CHOOSE_EVERY_SECONDS: f64 = 30.0;
/// Processes whose cgroup is read for that, busiest first.
const MAX_ASKED: usize = 256;
const NODE: &str = "node";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Nothing
    Off,
    /// The node as a whole
    #[default]
    Node,
    /// The node, and each of the busiest cgroups
    Cgroup,
}

/// Who a cgroup works for.
#[derive(Debug, Clone, Default, PartialEq)]
struct Owner {
    /// None where workloads share it.
    workload: Option<(Arc<str>, Arc<str>)>,
    container_id: Option<Arc<str>>,
    pod_id: Option<Arc<str>>,
}

/// The groups of one cgroup (or the node), one a CPU, with their last readings.
struct Counted {
    owner: Owner,
    groups: Vec<(Group, Option<Reading>)>,
}

/// Everything that counts.
pub struct Counters {
    proc: Proc,
    cgroupfs: PathBuf,
    cpus: Vec<u32>,
    events: &'static [Event],
    by_cgroup: bool,
    counted: HashMap<String, Counted>,
    chosen_at: Option<f64>,
    /// CPU seconds of processes at the last choice.
    cpu_seconds: HashMap<i32, f64>,
}

impl Counters {
    /// None where nothing is to be counted or this machine has no counters.
    pub fn start(scope: Scope, proc: &Proc, sysfs: &Path, cgroupfs: &Path) -> Option<Counters> {
        if scope == Scope::Off {
            return None;
        }
        let cpus = online_cpus(sysfs);
        let mut counters = Counters::of(EVENTS, cpus, proc, cgroupfs, scope == Scope::Cgroup);
        // A task clock alone says no more than procfs.
        Group::open(Whose::Everybody, *counters.cpus.first()?, &EVENTS[..1]).ok()?;
        counters.open_node();
        Some(counters)
    }

    fn of(
        events: &'static [Event],
        cpus: Vec<u32>,
        proc: &Proc,
        cgroupfs: &Path,
        by_cgroup: bool,
    ) -> Counters {
        Counters {
            proc: proc.clone(),
            cgroupfs: cgroupfs.to_owned(),
            cpus,
            events,
            by_cgroup,
            counted: HashMap::new(),
            chosen_at: None,
            cpu_seconds: HashMap::new(),
        }
    }

    fn open_node(&mut self) {
        // The task clock of everybody is the wall clock.
        let events: Vec<Event> =
            self.events.iter().copied().filter(|event| *event != Event::TaskClock).collect();
        match open_all(Whose::Everybody, &self.cpus, &events) {
            Ok(groups) => {
                self.counted.insert(NODE.into(), Counted { owner: Owner::default(), groups });
            }
            Err(error) => tracing::warn!(%error, "the node's counters can't be opened"),
        }
    }

    /// One look: rows of the interval that ends now; none in the first.
    pub fn look<'p>(
        &mut self,
        processes: impl Iterator<Item = &'p Process>,
        boot_seconds: f64,
        interval: Option<f64>,
    ) -> Vec<CounterRow> {
        let rows = self.read(interval);
        let due = |at: f64| boot_seconds - at >= CHOOSE_EVERY_SECONDS;
        if self.by_cgroup && self.chosen_at.is_none_or(due) {
            self.chosen_at = Some(boot_seconds);
            self.choose(processes);
            // The first reading of those that are new.
            self.read(None);
        }
        rows
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<CounterRow> {
        let mut rows = Vec::new();
        for (path, counted) in &mut self.counted {
            let mut counts = Counts::default();
            let mut is_new = false;
            let mut lost = false;
            for (group, last) in &mut counted.groups {
                let Ok(now) = group.read() else {
                    lost = true;
                    continue;
                };
                match (last.as_ref(), interval) {
                    (Some(before), Some(_)) => counts.add(before, &now),
                    // Opened between two looks: the next one knows its interval.
                    (None, _) => is_new = true,
                    (Some(_), None) => continue,
                }
                *last = Some(now);
            }
            let (Some(interval), false) = (interval, is_new) else { continue };
            if lost {
                counts.lose();
            }
            let owner = &counted.owner;
            rows.push(CounterRow {
                interval_seconds: interval,
                cgroup: path.as_str().into(),
                workload: owner.workload.as_ref().map(|(key, _)| key.clone()),
                workload_kind: owner.workload.as_ref().map(|(_, kind)| kind.clone()),
                container_id: owner.container_id.clone(),
                pod_id: owner.pod_id.clone(),
                cpu_seconds: counts.get(Event::TaskClock).map(|nanos| nanos / 1e9),
                cycles: counts.get(Event::Cycles),
                instructions: counts.get(Event::Instructions),
                cache_misses: counts.get(Event::CacheMisses),
                counted_share: counts.counted_share(),
            });
        }
        rows
    }

    /// Counts the cgroups whose processes used most since the last choice; lets the others go.
    fn choose<'p>(&mut self, processes: impl Iterator<Item = &'p Process>) {
        let known = std::mem::take(&mut self.cpu_seconds);
        let mut busy: Vec<(f64, &Process)> = Vec::new();
        for process in processes.filter(|process| !process.kernel_thread) {
            let used = process.cpu_seconds - known.get(&process.pid).copied().unwrap_or(0.0);
            self.cpu_seconds.insert(process.pid, process.cpu_seconds);
            busy.push((used, process));
        }
        busy.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut found: HashMap<String, (f64, PathBuf, Owner)> = HashMap::new();
        for (used, process) in busy.into_iter().take(MAX_ASKED) {
            let Some(text) = self.proc.process_text(process.pid, "cgroup") else { continue };
            let Some((path, directory)) = cgroup::counting_directory(&self.cgroupfs, &text) else {
                continue;
            };
            let owner = Owner {
                workload: Some((process.workload.key.clone(), process.workload.kind.into())),
                container_id: process.container_id.clone(),
                pod_id: process.pod_id.clone(),
            };
            match found.entry(path) {
                Entry::Vacant(entry) => drop(entry.insert((used, directory, owner))),
                Entry::Occupied(mut entry) => {
                    let (sum, _, known) = entry.get_mut();
                    *sum += used;
                    if known.workload != owner.workload {
                        known.workload = None;
                    }
                }
            }
        }
        let mut chosen: Vec<_> = found.into_iter().collect();
        chosen.sort_by(|a, b| b.1 .0.total_cmp(&a.1 .0).then(a.0.cmp(&b.0)));
        chosen.truncate(MAX_CGROUPS.min(MAX_GROUPS / self.cpus.len().max(1)));
        self.counted
            .retain(|path, _| path == NODE || chosen.iter().any(|(chosen, _)| chosen == path));
        for (path, (_, directory, owner)) in chosen {
            match self.counted.entry(path) {
                Entry::Occupied(mut entry) => entry.get_mut().owner = owner,
                Entry::Vacant(entry) => {
                    let opened = File::open(&directory).and_then(|directory| {
                        open_all(Whose::Cgroup(directory.as_fd()), &self.cpus, self.events)
                    });
                    match opened {
                        Ok(groups) => drop(entry.insert(Counted { owner, groups })),
                        // It may be gone by now.
                        Err(error) => tracing::debug!(
                            cgroup = %directory.display(), %error, "not counted"
                        ),
                    }
                }
            }
        }
    }
}

fn open_all(
    whose: Whose<'_>,
    cpus: &[u32],
    events: &[Event],
) -> std::io::Result<Vec<(Group, Option<Reading>)>> {
    cpus.iter().map(|cpu| Ok((Group::open(whose, *cpu, events)?, None))).collect()
}

/// Whether this machine counts cycles at all; the event is closed again at once.
pub fn probe() -> std::io::Result<()> {
    Group::open(Whose::Everybody, 0, &[Event::Cycles]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Moment, Scanner, Units};
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    /// A busy program in a cgroup of its own; both are gone with this value.
    struct Busy {
        program: Child,
        directory: PathBuf,
    }

    impl Busy {
        fn start(root: &Path, name: &str) -> std::io::Result<Busy> {
            let directory = root.join(name);
            std::fs::create_dir(&directory)?;
            let program = Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?;
            let busy = Busy { program, directory };
            std::fs::write(busy.directory.join("cgroup.procs"), busy.program.id().to_string())?;
            Ok(busy)
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.program.kill();
            let _ = self.program.wait();
            // The kernel lets go of a process a moment after it was waited for.
            let started = Instant::now();
            while std::fs::remove_dir(&self.directory).is_err()
                && started.elapsed() < Duration::from_secs(5)
            {
                std::thread::yield_now();
            }
        }
    }

    fn cpu_seconds(pid: u32) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }

    /// The task clock takes the way of the hardware's counters, on machines that have none, too.
    #[test]
    fn a_cgroup_is_counted_by_the_kernel_and_named_by_its_workload() {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let name = format!("eo-counters-{}", std::process::id());
        let busy = match root.map(|root| Busy::start(root, &name)) {
            Some(Ok(busy)) => busy,
            other => {
                let why = other.map(|failed| failed.err());
                assert!(std::env::var("CI").is_err(), "needs root and a cgroup2 mount: {why:?}");
                return eprintln!("skipped: needs root and a cgroup2 mount: {why:?}");
            }
        };
        let proc = Proc::new("/proc");
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096, boot_time_ms: 0 };
        let cgroupfs = Path::new("/sys/fs/cgroup");
        let mut scanner = Scanner::new(proc.clone(), cgroupfs, units);
        let cpus = online_cpus(Path::new("/sys"));
        let mut counters = Counters::of(&[Event::TaskClock], cpus, &proc, cgroupfs, true);
        scanner.scan(Moment { boot_seconds: 1000.0 }).unwrap();
        assert_eq!(counters.look(scanner.processes(), 1000.0, None), [], "the first look");
        let pid = busy.program.id();
        let (start, wait) = (cpu_seconds(pid), Instant::now());
        while cpu_seconds(pid) - start < 0.3 && wait.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        let rows = counters.look(scanner.processes(), 1001.0, Some(1.0));
        let used = cpu_seconds(pid) - start;
        let row = rows
            .iter()
            .find(|row| row.cgroup.ends_with(&name))
            .unwrap_or_else(|| panic!("no row of {name} in {rows:?}"));
        let counted = row.cpu_seconds.unwrap();
        assert!(
            (counted - used).abs() < 0.05 * used + 0.02,
            "{counted} s counted, {used} s by /proc"
        );
        assert!(row.workload.as_ref().is_some_and(|key| key.starts_with("process/")), "{row:?}");
        assert_eq!(row.counted_share, Some(1.0));
        assert_eq!((row.cycles, row.instructions), (None, None), "not asked for is not 0");
        drop(busy);
        assert!(counters.look(std::iter::empty(), 1002.0, Some(1.0)).len() >= rows.len());
        assert_eq!(counters.look(std::iter::empty(), 1040.0, Some(1.0)).len(), rows.len());
        assert_eq!(counters.look(std::iter::empty(), 1041.0, Some(1.0)), [], "let go of");
    }

    #[test]
    fn a_machine_without_counters_counts_nothing() {
        let start = |scope| {
            let roots = (Path::new("/sys"), Path::new("/sys/fs/cgroup"));
            Counters::start(scope, &Proc::new("/proc"), roots.0, roots.1)
        };
        assert_eq!(start(Scope::Node).is_some(), probe().is_ok());
        assert!(start(Scope::Off).is_none());
    }
}
