//! One look at all processes, and the difference to the look before.
//!
//! Flows in: `/proc`, the time of the look. Flows out: a `SampleRow` for each
//! process that did something. The table of known processes stays here,
//! keyed by pid and start time, for `inventory` and `profiler` to ask.
//!
//! Rules
//! - A process that started since the last look counts with all its CPU time;
//!   one that was there before the agent counts from the first look on.
//! - What ended between two looks is not lost: see `children`. A row holds the
//!   time of its process and of the children of it that nobody saw.
//! - What no process shows is told by its cgroup, as a row of pid 0 with the
//!   command `[ended]`, where all processes of the cgroup work for one workload:
//!   see `cgroup_time`.
//! - A process that used no CPU and did not change is left out, but never for
//!   longer than `RESEND_SECONDS`.
//! - What is not readable of one process is NULL in that process' row, and
//!   costs nothing else.
//! - Who a process works for is settled before the first row is made, for all
//!   processes of a look: see `kin` for those whose cgroup does not tell.
//! - Context switches need one file per thread, and are read only for
//!   processes that are busy in two intervals in a row.

mod cgroup_time;
mod children;
mod kin;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cgroup_time::{Balances, Used};
use children::Ended;

use crate::cgroup;
use crate::containers::refresh::Names;
use crate::containers::{Directory, Placement};
use crate::guest::guest;
use crate::procfs::maps::basename;
use crate::procfs::stat::Stat;
use crate::procfs::status::{self, Io, Switches};
use crate::procfs::{stat, Proc};
use crate::wire::SampleRow;
use crate::workload_key::{adopted, declared, program, workload, Facts, Workload};

/// A quiet process is reported at least this often.
const RESEND_SECONDS: f64 = 30.0;
/// Affinity and quota are read again after this time.
const ALLOWED_SECONDS: f64 = 30.0;
/// Share of one CPU above which context switches are worth their cost.
const BUSY_SHARE: f64 = 0.05;
/// Context switches of processes with more threads than this stay NULL.
const MAX_SWITCH_THREADS: usize = 256;

/// Files kept open, at most; the processes beyond are opened at each look.
const MAX_OPEN_FILES: usize = 4096;
/// Longer than any `stat` line.
const STAT_BYTES: usize = 1024;

/// Ids of containers and pods that are remembered as asked about.
const MAX_ASKED: usize = 16_384;

/// Cgroups whose counters are read at a look.
const MAX_CGROUPS: usize = 2048;

/// Ended processes are remembered a little longer than a profile's window.
const REMEMBER_SECONDS: f64 = 15.0;

/// The moment of a look: monotonic seconds since boot.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub boot_seconds: f64,
}

/// Facts of the node that turn ticks and pages into units.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    pub ticks_per_second: f64,
    pub page_bytes: i64,
    pub boot_time_ms: i64,
}

/// A process that the agent knows.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub started_ms: i64,
    pub command: Arc<str>,
    /// Executable and script name, without arguments.
    pub program: Arc<str>,
    pub exe: Option<PathBuf>,
    pub workload: Workload,
    pub container_id: Option<Arc<str>>,
    pub pod_id: Option<Arc<str>>,
    /// What its container runtime told.
    pub placement: Option<Arc<Placement>>,
    /// Of the guest that it runs.
    pub vm_uuid: Option<Arc<str>>,
    /// Path of the cgroup that its CPU time is charged to.
    cgroup: Option<Arc<str>>,
    pub kernel_thread: bool,
    pub first_seen: f64,
    /// CPU seconds since the agent knows it.
    pub cpu_seconds: f64,
    pub start_ticks: u64,
    ppid: i32,
    cpu_ticks: u64,
    /// Of children that were waited for.
    children_ticks: u64,
    /// Of children that were gone before it had waited for them.
    owed_ticks: u64,
    /// Used from the last look but one to the last.
    pace_ticks: u64,
    identity_settled: bool,
    /// Watches over containers.
    monitor: bool,
    /// Was so at the first look.
    ended: bool,
    cpus_allowed: Option<f64>,
    allowed_at: f64,
    io: Option<Io>,
    switches: HashMap<i32, Switches>,
    switches_at: f64,
    sent: Option<Sent>,
    /// `stat`, kept open.
    stat_file: Option<File>,
}

/// One process at the moment of a look.
struct Reading {
    pid: i32,
    stat: Stat,
    /// Where its `stat` was not open yet.
    file: Option<File>,
}

/// What the last row said, to see whether anything changed.
#[derive(Debug)]
struct Sent {
    at: f64,
    rss_pages: i64,
    threads: i32,
}

/// All known processes.
pub struct Scanner {
    proc: Proc,
    cgroupfs: PathBuf,
    units: Units,
    table: HashMap<i32, Process>,
    /// Processes that ended a short while ago: a profile may still name them.
    ended: Vec<(f64, Process)>,
    previous: Option<Moment>,
    max_open_files: usize,
    names: Option<Names>,
    directory: Arc<Directory>,
    /// Ids that a runtime was asked about.
    asked: HashSet<Arc<str>>,
    /// Where the counter of each cgroup is, by its path.
    counters: BTreeMap<Arc<str>, PathBuf>,
    balances: Balances,
    /// CPU quota by the text of `/proc/PID/cgroup`, and when it was read.
    quotas: HashMap<String, (Option<f64>, f64)>,
}

impl Scanner {
    pub fn new(proc: Proc, cgroupfs: &Path, units: Units) -> Scanner {
        Scanner {
            proc,
            cgroupfs: cgroupfs.to_owned(),
            units,
            table: HashMap::new(),
            ended: Vec::new(),
            previous: None,
            max_open_files: max_open_files(),
            names: None,
            directory: Arc::default(),
            asked: HashSet::new(),
            counters: BTreeMap::new(),
            balances: Balances::default(),
            quotas: HashMap::new(),
        }
    }

    /// Names for containers and pods come from there.
    pub fn set_names(&mut self, mut names: Names) {
        self.directory = names.newest();
        self.names = Some(names);
    }

    /// Takes over what the container runtimes told since the last look.
    fn take_names(&mut self) {
        let Some(directory) = self.names.as_mut().and_then(Names::changed) else { return };
        self.directory = directory;
        let in_containers = |p: &&mut Process| p.container_id.is_some() || p.pod_id.is_some();
        for process in self.table.values_mut().filter(in_containers) {
            place(process, &self.directory);
        }
    }

    /// Looks at /proc. The first look makes no rows: there is no interval yet.
    pub fn scan(&mut self, now: Moment) -> std::io::Result<Vec<SampleRow>> {
        self.take_names();
        let stats = self.stats()?;
        let interval = self.previous.map(|previous| now.boot_seconds - previous.boot_seconds);
        let interval = interval.filter(|interval| *interval > 0.0);
        let mut gone = self.take_gone(&stats);
        self.meet(&stats, now);
        let mut rows = Vec::new();
        let mut told: HashMap<Arc<str>, f64> = HashMap::new();
        let mut alive = HashMap::with_capacity(stats.len());
        let mut may_keep_open = self.max_open_files;
        for Reading { pid, stat, file } in stats {
            let Some(mut process) = self.table.remove(&pid) else { continue };
            process.stat_file = process.stat_file.take().or(file).filter(|_| may_keep_open > 0);
            may_keep_open -= usize::from(process.stat_file.is_some());
            if let Some(interval) = interval {
                let ended = gone.get_mut(&pid).map(Vec::as_mut_slice).unwrap_or_default();
                let (ended_rows, unseen_ticks) = self.settle(&mut process, &stat, ended, interval);
                for (cgroup, row) in ended_rows {
                    *told.entry(cgroup).or_default() += row.cpu_seconds;
                    rows.push(row);
                }
                if let Some(row) = self.observe(&mut process, &stat, unseen_ticks, now, interval) {
                    *told.entry(charged_to(&process)).or_default() += row.cpu_seconds;
                    rows.push(row);
                }
            }
            process.children_ticks = process.children_ticks.max(stat.children_ticks);
            process.ppid = stat.ppid;
            alive.insert(pid, process);
        }
        self.table = alive;
        rows.extend(self.of_cgroups(&told, interval));
        let gone = gone.into_values().flatten();
        self.ended.extend(gone.map(|process| (now.boot_seconds, process)));
        self.ended.retain(|(at, _)| now.boot_seconds - at < REMEMBER_SECONDS);
        self.previous = Some(now);
        Ok(rows)
    }

    /// What `stat` says of every process at this moment. The file of a known
    /// process is still open: reading it again costs a third of opening it, and
    /// it can't be another process that took over the pid.
    fn stats(&mut self) -> std::io::Result<Vec<Reading>> {
        let pids = self.proc.pids()?;
        let mut stats = Vec::with_capacity(pids.len());
        let mut buffer = [0; STAT_BYTES];
        for pid in pids {
            let mut read = |file: &File| {
                let length = file.read_at(&mut buffer, 0).ok()?;
                stat::parse(&buffer[..length])
            };
            let open = self.table.get(&pid).and_then(|known| known.stat_file.as_ref());
            if let Some(stat) = open.and_then(&mut read) {
                stats.push(Reading { pid, stat, file: None });
            } else if let Ok(file) = File::open(self.proc.path(format!("{pid}/stat"))) {
                let stat = read(&file);
                stats.extend(stat.map(|stat| Reading { pid, stat, file: Some(file) }));
            }
        }
        Ok(stats)
    }

    /// Settles who the processes of this look are: new ones, and those that have become another program.
    fn meet(&mut self, readings: &[Reading], now: Moment) {
        let mut fresh = Vec::new();
        for Reading { pid, stat, .. } in readings {
            let process = match self.table.get(pid) {
                Some(known) if known.is_settled(stat) => continue,
                Some(_) => self.table.remove(pid).map(|mut known| {
                    self.identify(&mut known, stat);
                    known.identity_settled = true;
                    known
                }),
                None => Some(self.discover(*pid, stat, now)),
            };
            let Some(mut process) = process else { continue };
            process.ppid = stat.ppid;
            self.table.insert(*pid, process);
            fresh.push(*pid);
        }
        if fresh.is_empty() {
            return;
        }
        for (pid, home) in kin::of_monitors(&self.table) {
            self.adopt(pid, home);
        }
        for pid in fresh {
            if let Some(home) =
                self.table.get(&pid).and_then(|one| kin::of_process(&self.table, one))
            {
                self.adopt(pid, home);
            }
            if let Some(process) = self.table.remove(&pid) {
                self.ask_about(&process);
                self.table.insert(pid, process);
            }
        }
    }

    /// Counts a process with a pod or container that it is not in.
    fn adopt(&mut self, pid: i32, home: kin::Home) {
        let Some(process) = self.table.get_mut(&pid) else { return };
        let workload = adopted(home.container_id.as_deref(), home.pod_id.as_deref());
        if let Some(workload) = workload.filter(|_| process.workload.kind != "declared") {
            process.workload = workload;
        }
        (process.container_id, process.pod_id) = (home.container_id, home.pod_id);
        place(process, &self.directory);
    }

    /// Known processes that are no more, by the parent that waits for them: the
    /// nearest one that is still there.
    fn take_gone(&mut self, stats: &[Reading]) -> HashMap<i32, Vec<Process>> {
        let there: HashSet<(i32, u64)> =
            stats.iter().map(|one| (one.pid, one.stat.start_ticks)).collect();
        let ended =
            |_: &i32, process: &mut Process| !there.contains(&(process.pid, process.start_ticks));
        let ended: Vec<Process> = self.table.extract_if(ended).map(|(_, one)| one).collect();
        let parents: HashMap<i32, i32> = ended.iter().map(|one| (one.pid, one.ppid)).collect();
        let mut gone: HashMap<i32, Vec<Process>> = HashMap::new();
        for mut process in ended {
            process.stat_file = None;
            let mut parent = process.ppid;
            for _ in 0..parents.len() {
                match parents.get(&parent) {
                    Some(above) => parent = *above,
                    None => break,
                }
            }
            gone.entry(parent).or_default().push(process);
        }
        gone
    }

    /// Hands out the time of children that ended: rows of those that were known,
    /// and the ticks that are their parent's.
    fn settle(
        &self,
        parent: &mut Process,
        stat: &Stat,
        ended: &mut [Process],
        interval: f64,
    ) -> (Vec<(Arc<str>, SampleRow)>, u64) {
        let grown = stat.children_ticks.saturating_sub(parent.children_ticks);
        if grown == 0 && ended.is_empty() {
            parent.owed_ticks = 0;
            return (Vec::new(), 0);
        }
        let last_seen = |one: &Process| Ended {
            seen: one.cpu_ticks.saturating_add(one.children_ticks),
            pace: one.pace_ticks,
        };
        let seen: Vec<Ended> = ended.iter().map(last_seen).collect();
        let shares = children::settle(grown, parent.owed_ticks, &seen);
        parent.owed_ticks = shares.owed;
        let with_time = ended.iter_mut().zip(shares.ended).filter(|(_, ticks)| *ticks > 0);
        let rows = with_time.map(|(process, ticks)| {
            let cpu_seconds = ticks as f64 / self.units.ticks_per_second;
            process.cpu_seconds += cpu_seconds;
            let rss_pages = process.sent.as_ref().map_or(0, |sent| sent.rss_pages);
            (charged_to(process), self.row(process, cpu_seconds, rss_pages, interval))
        });
        (rows.collect(), shares.parent)
    }

    /// Rows for what cgroups used and no process shows.
    fn of_cgroups(
        &mut self,
        told: &HashMap<Arc<str>, f64>,
        interval: Option<f64>,
    ) -> Vec<SampleRow> {
        let mut inside: BTreeMap<Arc<str>, Vec<&Process>> = BTreeMap::new();
        for process in self.table.values() {
            inside.entry(charged_to(process)).or_default().push(process);
        }
        self.counters.retain(|path, _| inside.contains_key(path));
        let used = |(path, processes): (&Arc<str>, &Vec<&Process>)| {
            let total_seconds = cgroup::cpu_seconds(self.counters.get(path)?)?;
            Some((path.clone(), Used { total_seconds, processes: processes.len() }))
        };
        let now = inside.iter().take(MAX_CGROUPS).filter_map(used).collect();
        let due = self.balances.settle(&now, told, 1.0 / self.units.ticks_per_second);
        let Some(interval) = interval else { return Vec::new() };
        let row = |(path, seconds): (Arc<str>, f64)| {
            let processes = inside.get(&path)?;
            let oldest = processes.iter().min_by_key(|one| (one.started_ms, one.pid))?;
            let of_one = processes.iter().all(|one| one.workload == oldest.workload);
            of_one.then(|| SampleRow {
                pid: 0,
                command: "[ended]".into(),
                ..self.row(oldest, seconds, 0, interval)
            })
        };
        let mut rows: Vec<SampleRow> = Vec::new();
        for row in due.into_iter().filter_map(row) {
            // Two cgroups of one workload that began together have one row: pid and start are its key.
            let same = |one: &&mut SampleRow| {
                (&one.workload, one.process_started_ms) == (&row.workload, row.process_started_ms)
            };
            match rows.iter_mut().find(same) {
                Some(one) => {
                    one.cpu_seconds += row.cpu_seconds;
                    one.cpu_pct += row.cpu_pct;
                }
                None => rows.push(row),
            }
        }
        rows
    }

    /// The columns that every row has.
    fn row(&self, process: &Process, cpu_seconds: f64, rss_pages: i64, interval: f64) -> SampleRow {
        SampleRow {
            interval_seconds: interval,
            workload: process.workload.key.clone(),
            workload_kind: process.workload.kind.into(),
            replica: process.workload.replica.clone(),
            container_id: process.container_id.clone(),
            pod_id: process.pod_id.clone(),
            pid: process.pid,
            process_started_ms: process.started_ms,
            command: process.command.clone(),
            cpu_seconds,
            cpu_pct: cpu_seconds / interval * 100.0,
            mem_bytes: rss_pages.max(0).saturating_mul(self.units.page_bytes),
            ..SampleRow::default()
        }
    }

    /// The process with this pid and start; start 0 stands for the latest one.
    pub fn find(&self, pid: i32, start_ticks: u64) -> Option<&Process> {
        let ended = self.ended.iter().rev().map(|(_, process)| process);
        self.table
            .get(&pid)
            .into_iter()
            .chain(ended.filter(|process| process.pid == pid))
            .find(|process| start_ticks == 0 || process.start_ticks == start_ticks)
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.table.values()
    }

    fn discover(&mut self, pid: i32, stat: &Stat, now: Moment) -> Process {
        let started = stat.start_ticks as f64 / self.units.ticks_per_second;
        // A tick of slack: start times are rounded down.
        let new = self.previous.is_some_and(|previous| started + 0.01 >= previous.boot_seconds);
        let mut process = Process {
            pid,
            started_ms: self.units.boot_time_ms + (started * 1000.0) as i64,
            command: "".into(),
            program: "".into(),
            exe: None,
            workload: workload(&Facts::default()),
            container_id: None,
            pod_id: None,
            placement: None,
            vm_uuid: None,
            cgroup: None,
            kernel_thread: stat.kernel_thread,
            first_seen: now.boot_seconds,
            cpu_seconds: 0.0,
            start_ticks: stat.start_ticks,
            ppid: stat.ppid,
            cpu_ticks: if new { 0 } else { stat.cpu_ticks },
            children_ticks: if new { 0 } else { stat.children_ticks },
            owed_ticks: 0,
            pace_ticks: 0,
            identity_settled: false,
            monitor: false,
            ended: false,
            cpus_allowed: None,
            allowed_at: f64::NEG_INFINITY,
            io: new.then(Io::default),
            switches: HashMap::new(),
            switches_at: f64::NEG_INFINITY,
            sent: None,
            stat_file: None,
        };
        self.identify(&mut process, stat);
        // A process this young may be a fork that has not yet become its program.
        process.identity_settled = !new;
        process
    }

    fn identify(&mut self, process: &mut Process, stat: &Stat) {
        let pid = process.pid;
        let read = |name| {
            let mut buffer = Vec::new();
            self.proc.process_file(pid, name, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
        };
        let exe = (!stat.kernel_thread).then(|| self.proc.exe(pid)).flatten();
        process.monitor = kin::is_monitor(exe.as_deref());
        let exe_text = exe.as_deref().and_then(Path::to_str);
        let (environ, cmdline) = if stat.kernel_thread {
            Default::default()
        } else {
            (read("environ"), read("cmdline"))
        };
        let cgroup = read("cgroup");
        // It may end while it is read: what was known of it stays true.
        process.ended = stat.ended
            || exe.is_none() && cgroup.is_empty() && cmdline.is_empty() && environ.is_empty();
        if process.ended && !process.command.is_empty() {
            return;
        }
        let cgroup = String::from_utf8_lossy(&cgroup);
        process.cgroup = self.charged(&cgroup);
        let membership = cgroup::membership(&cgroup);
        process.container_id = membership.container_id.as_deref().map(Arc::from);
        process.pod_id = membership.pod_id.as_deref().map(Arc::from);
        let guest = exe_text.and_then(|exe| guest(basename(exe), &cmdline));
        let (vm_name, vm_uuid) = guest.map_or((None, None), |guest| (guest.name, guest.uuid));
        process.vm_uuid = vm_uuid.map(Arc::from);
        process.workload = workload(&Facts {
            declared: declared(&environ),
            membership,
            vm_name: vm_name.as_deref(),
            kernel_thread: stat.kernel_thread,
            exe: exe_text,
            comm: &stat.comm,
            cmdline: &cmdline,
        });
        process.program = program(exe_text, &stat.comm, &cmdline).into();
        process.command = stat.comm.as_str().into();
        process.exe = exe;
        if process.container_id.is_some() || process.pod_id.is_some() {
            place(process, &self.directory);
        }
    }

    /// The cgroup that pays for a process; its counter's place is remembered.
    fn charged(&mut self, text: &str) -> Option<Arc<str>> {
        let (path, directory) = cgroup::cpu_time_directory(&self.cgroupfs, text)?;
        let path: Arc<str> = path.into();
        self.counters.entry(path.clone()).or_insert(directory);
        Some(path)
    }

    /// Rings for ids that no runtime has told yet; once each, for some are told by none.
    fn ask_about(&mut self, process: &Process) {
        let (container, pod) = (process.container_id.as_ref(), process.pod_id.as_ref());
        let Some(names) = &self.names else { return };
        if self.directory.knows(container.map(|id| &**id), pod.map(|id| &**id)) {
            return;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.clear();
        }
        let new = container.into_iter().chain(pod).filter(|id| self.asked.insert((*id).clone()));
        if new.count() > 0 {
            names.ask();
        }
    }

    fn observe(
        &mut self,
        process: &mut Process,
        stat: &Stat,
        unseen_ticks: u64,
        now: Moment,
        interval: f64,
    ) -> Option<SampleRow> {
        let own_ticks = stat.cpu_ticks.saturating_sub(process.cpu_ticks);
        let ticks = own_ticks.saturating_add(unseen_ticks);
        process.pace_ticks = own_ticks;
        process.cpu_ticks = process.cpu_ticks.max(stat.cpu_ticks);
        let cpu_seconds = ticks as f64 / self.units.ticks_per_second;
        process.cpu_seconds += cpu_seconds;
        if ticks == 0 && process.sent.as_ref().is_some_and(|sent| sent.covers(stat, now)) {
            return None;
        }
        process.sent =
            Some(Sent { at: now.boot_seconds, rss_pages: stat.rss_pages, threads: stat.threads });

        let switches = (cpu_seconds / interval > BUSY_SHARE)
            .then(|| self.switches(process, now, interval))
            .flatten();
        // What used no CPU did no input or output; its row is not worth more files.
        let (read_bytes, write_bytes) = if ticks > 0 { self.io(process) } else { (None, None) };
        let cpus_allowed =
            if ticks > 0 { self.cpus_allowed(process, now) } else { process.cpus_allowed };
        Some(SampleRow {
            cpus_allowed,
            read_bytes,
            write_bytes,
            threads: stat.threads,
            voluntary_switches: switches.map(|s| s.voluntary as i64),
            involuntary_switches: switches.map(|s| s.involuntary as i64),
            ..self.row(process, cpu_seconds, stat.rss_pages, interval)
        })
    }

    /// Bytes since the last reading; NULL on the first one and when not permitted.
    fn io(&self, process: &mut Process) -> (Option<i64>, Option<i64>) {
        if process.kernel_thread {
            return (None, None);
        }
        let read = self.proc.process_text(process.pid, "io").as_deref().and_then(status::io);
        let before = std::mem::replace(&mut process.io, read);
        match (before, read) {
            (Some(before), Some(read)) => (
                Some(read.read_bytes.saturating_sub(before.read_bytes) as i64),
                Some(read.write_bytes.saturating_sub(before.write_bytes) as i64),
            ),
            _ => (None, None),
        }
    }

    /// Sum over the threads; NULL where the last reading is not one interval old.
    fn switches(&self, process: &mut Process, now: Moment, interval: f64) -> Option<Switches> {
        let threads = self.proc.threads(process.pid);
        if threads.is_empty() || threads.len() > MAX_SWITCH_THREADS {
            return None;
        }
        let mut readings = HashMap::with_capacity(threads.len());
        for thread in threads {
            let name = format!("task/{thread}/status");
            let reading =
                self.proc.process_text(process.pid, &name).as_deref().and_then(status::switches);
            readings.extend(reading.map(|reading| (thread, reading)));
        }
        let continuous = now.boot_seconds - process.switches_at < interval * 1.5;
        process.switches_at = now.boot_seconds;
        let before = std::mem::replace(&mut process.switches, readings);
        // No thread that can be read is unknown, not zero.
        let known = continuous && !process.switches.is_empty();
        known.then(|| {
            let mut sum = Switches::default();
            for (thread, reading) in &process.switches {
                let was = before.get(thread).copied().unwrap_or_default();
                sum += Switches {
                    voluntary: reading.voluntary.saturating_sub(was.voluntary),
                    involuntary: reading.involuntary.saturating_sub(was.involuntary),
                };
            }
            sum
        })
    }

    /// Read once for all processes of a cgroup.
    fn quota(&mut self, cgroup: String, now: Moment) -> Option<f64> {
        let fresh = |at: f64| now.boot_seconds - at < ALLOWED_SECONDS;
        if let Some((quota, _)) = self.quotas.get(&cgroup).filter(|(_, at)| fresh(*at)) {
            return *quota;
        }
        self.quotas.retain(|_, (_, at)| fresh(*at));
        let quota = cgroup::cpu_quota(&self.cgroupfs, &cgroup);
        self.quotas.insert(cgroup, (quota, now.boot_seconds));
        quota
    }

    fn cpus_allowed(&mut self, process: &mut Process, now: Moment) -> Option<f64> {
        if now.boot_seconds - process.allowed_at >= ALLOWED_SECONDS {
            process.allowed_at = now.boot_seconds;
            let affinity = self
                .proc
                .process_text(process.pid, "status")
                .as_deref()
                .and_then(status::cpus_allowed)
                .map(f64::from);
            let cgroup = self.proc.process_text(process.pid, "cgroup");
            // It may have been moved since it was met.
            process.cgroup = cgroup.as_deref().and_then(|text| self.charged(text));
            let quota = cgroup.and_then(|text| self.quota(text, now));
            process.cpus_allowed = match (affinity, quota) {
                (Some(affinity), Some(quota)) => Some(affinity.min(quota)),
                (affinity, quota) => affinity.or(quota),
            };
        }
        process.cpus_allowed
    }
}

/// Where it is not known, the root's counter holds it.
fn charged_to(process: &Process) -> Arc<str> {
    process.cgroup.clone().unwrap_or_else(|| cgroup_time::ROOT.into())
}

/// How many `stat` files may stay open: half of what this process may open.
/// Each takes a page of the kernel's memory.
fn max_open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(MAX_OPEN_FILES, |limit| usize::try_from(limit / 2).unwrap_or(0));
    half.min(MAX_OPEN_FILES)
}

/// Gives a process the stable name of its pod or container, where it is known.
fn place(process: &mut Process, directory: &Directory) {
    let (container, pod) = (process.container_id.as_deref(), process.pod_id.as_deref());
    // A pod that was named stays so when the runtime has forgotten it.
    if let Some(named) = directory.workload(process.workload.kind, container, pod) {
        process.workload = named;
    }
    if let Some(placement) = directory.place(container, pod) {
        process.placement = Some(Arc::new(placement));
    }
}

impl Process {
    /// Whether it is known who it is; what has ended becomes nobody else.
    fn is_settled(&self, stat: &Stat) -> bool {
        stat.ended || *self.command == *stat.comm && self.identity_settled
    }
}

impl Sent {
    fn covers(&self, stat: &Stat, now: Moment) -> bool {
        self.rss_pages == stat.rss_pages
            && self.threads == stat.threads
            && now.boot_seconds - self.at < RESEND_SECONDS
    }
}

#[cfg(test)]
mod tests;
