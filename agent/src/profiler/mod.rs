//! Which stacks were on a CPU: a thread of its own that samples all CPUs.
//!
//! `perf` hands out samples, `python` adds the frames of interpreters at the
//! same moment, `symbols` gives names every two seconds, `stack` joins them. Every ten seconds the sums leave as a `Window`;
//! `agent` knows which workload a process belongs to. Without permission the
//! profiler is missing, with the reason, and everything else goes on.

pub(crate) mod go_table;
pub(crate) mod jit;
pub(crate) mod kallsyms;
pub(crate) mod large_tables;
mod perf;
pub mod python;
pub(crate) mod record;
pub mod selection;
mod stack;
mod symbols;
pub(crate) mod unwind;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::procfs::{stat, Proc};
use jit::JitNames;
use perf::{Request, Sampler};
use python::{Effort, Pythons};
use symbols::{Place, Symbols};
use unwind::{Chain, End, Unwinding};

const WINDOW: Duration = Duration::from_secs(10);
/// Names are looked up this often: a process may be gone soon.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at the rings. A wake-up costs up to half a millisecond in
/// a virtual machine, more than all samples of a second.
const REST: Duration = Duration::from_millis(250);
/// The same while Python programs run: their stacks are read when a sample is
/// taken out, and should be of about that moment.
const SHORT_REST: Duration = Duration::from_millis(100);
/// Distinct stacks kept in a window; more are counted as `OTHER_STACKS`.
const MAX_STACKS: usize = 20_000;
const OTHER_STACKS: &str = "[other stacks]";
/// Above this the symbol tables are dropped and read again when needed.
const MEMORY_BUDGET_BYTES: u64 = 30 << 20;
/// Above this they are dropped at once, whatever reading them again costs.
const MEMORY_LIMIT_BYTES: u64 = 44 << 20;
const MIN_RESET_EVERY: Duration = Duration::from_secs(60);

/// How often to look, and how much of a stack to take along.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Samples a second and CPU; 0: none.
    pub hz: u32,
    /// Copied from the top of the user stack; 0: frame pointers only.
    pub stack_bytes: u32,
    /// Whether JVMs may be asked for the names of their code.
    pub jvm_attach: bool,
    pub python: Effort,
    /// How long the last window waits for names of compiled code.
    pub last_names_within: Duration,
}

/// A process as the profiler knows it: a pid and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    pub pid: i32,
    pub start_ticks: u64,
}

/// The sums of one window.
#[derive(Debug, Default)]
pub struct Window {
    pub seconds: f64,
    pub stacks: HashMap<(ProcessId, Vec<Arc<str>>), i64>,
    /// Samples the kernel or a limit dropped.
    pub lost: u64,
}

impl Window {
    /// Samples that were taken.
    pub fn samples(&self) -> u64 {
        self.stacks.values().map(|count| count.unsigned_abs()).sum()
    }

    /// Up to five functions of each process, hottest first, by the leaf.
    pub fn hotspots(&self) -> HashMap<ProcessId, Vec<Arc<str>>> {
        let mut counts: HashMap<ProcessId, HashMap<&Arc<str>, i64>> = HashMap::new();
        for ((process, stack), count) in &self.stacks {
            if let Some(leaf) = stack.last() {
                *counts.entry(*process).or_default().entry(leaf).or_default() += count;
            }
        }
        let hottest = |leaves: HashMap<&Arc<str>, i64>| {
            let mut leaves: Vec<_> = leaves.into_iter().collect();
            leaves.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            leaves.into_iter().take(5).map(|(leaf, _)| leaf.clone()).collect()
        };
        counts.into_iter().map(|(process, leaves)| (process, hottest(leaves))).collect()
    }
}

/// The running profiler.
pub struct Profiler {
    pub windows: Receiver<Window>,
    stop: Arc<AtomicBool>,
    under_way: Arc<AtomicU64>,
}

impl Profiler {
    /// Starts sampling all CPUs. The error says what is missing and how to get it.
    pub fn start(proc: &Proc, sysfs: &Path, sampling: Sampling) -> Result<Profiler, String> {
        let sampler = open(proc, sysfs, sampling)?;
        // Two windows may wait; for a reader slower than that the next one grows.
        let (sender, windows) = std::sync::mpsc::sync_channel(2);
        let stop = Arc::new(AtomicBool::new(false));
        let under_way = Arc::new(AtomicU64::new(0));
        let (proc, stopping, counted) = (proc.clone(), stop.clone(), under_way.clone());
        thread::Builder::new()
            .name("profiler".into())
            .spawn(move || Worker::new(sampler, proc, sampling, counted).run(&sender, &stopping))
            .map_err(|error| format!("perf_event: no thread: {error}"))?;
        Ok(Profiler { windows, stop, under_way })
    }

    /// Ends sampling and returns the windows that wait and the one that was under way, as far as they come in time,
    /// and how many samples did not.
    pub fn finish(self, within: Duration) -> (Vec<Window>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let until = Instant::now() + within;
        let mut left = Vec::new();
        loop {
            match self.windows.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(window) => left.push(window),
                Err(RecvTimeoutError::Disconnected) => return (left, 0),
                Err(RecvTimeoutError::Timeout) => {
                    let lost = self.under_way.load(Ordering::Relaxed);
                    tracing::warn!(
                        lost,
                        "the samples of the last seconds had no names in time and are left out"
                    );
                    return (left, lost);
                }
            }
        }
    }
}

/// Whether sampling is possible here, without starting it.
pub fn probe(proc: &Proc, sysfs: &Path, sampling: Sampling) -> Result<(), String> {
    open(proc, sysfs, sampling).map(drop)
}

fn open(proc: &Proc, sysfs: &Path, sampling: Sampling) -> Result<Sampler, String> {
    if sampling.hz == 0 {
        return Err("perf_event: switched off (profile_hz = 0)".into());
    }
    let cpus = online_cpus(sysfs);
    let request = Request { hz: sampling.hz, stack_bytes: sampling.stack_bytes, rest: REST };
    Sampler::open(&cpus, request).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let paranoid = proc.node_file("sys/kernel/perf_event_paranoid").unwrap_or_default();
            format!(
                "perf_event: not permitted (kernel.perf_event_paranoid is {}); run as root, grant CAP_PERFMON, or set it to 0",
                paranoid.trim()
            )
        }
        _ => format!("perf_event: {error}; the kernel or the sandbox does not offer it"),
    })
}

/// The first alone where sysfs does not say.
pub(crate) fn online_cpus(sysfs: &Path) -> Vec<u32> {
    let online = std::fs::read_to_string(sysfs.join("devices/system/cpu/online"));
    online.ok().as_deref().and_then(cpu_list).unwrap_or_else(|| vec![0])
}

/// The most that Linux can be built for.
const MAX_CPUS: u32 = 8192;

/// `0-3,8` as numbers.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        // A list that repeats itself is no list, either.
        (last < MAX_CPUS && cpus.len() < MAX_CPUS as usize).then_some(())?;
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// One stack in addresses, with the Python frames of that moment.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Trace {
    pid: i32,
    kernel: Vec<u64>,
    user: Vec<u64>,
    end: End,
    python: Option<Vec<Arc<str>>>,
    /// Of a Python program that no look has found in this thread yet: what one finds soon is taken.
    thread: Option<i32>,
}

type Pending = HashMap<Trace, i64>;

struct Worker {
    sampler: Sampler,
    proc: Proc,
    symbols: Symbols,
    pythons: Pythons,
    unwinding: Unwinding,
    jit: JitNames,
    pending: Pending,
    window: Window,
    /// Samples that have left the rings, and those known to be lost, that no window was handed over with.
    under_way: Arc<AtomicU64>,
    last_names_within: Duration,
    /// Of the window.
    started: Instant,
    /// When the window is to leave; later than usual where nobody took the last ones.
    due: Instant,
    reset_at: Instant,
}

impl Worker {
    fn new(sampler: Sampler, proc: Proc, sampling: Sampling, under_way: Arc<AtomicU64>) -> Worker {
        Worker {
            sampler,
            symbols: Symbols::new(proc.clone()),
            pythons: Pythons::new(proc.clone(), sampling.python),
            unwinding: Unwinding::new(proc.clone()),
            jit: JitNames::new(proc.clone(), sampling.jvm_attach),
            last_names_within: sampling.last_names_within,
            proc,
            pending: HashMap::new(),
            window: Window::default(),
            under_way,
            started: Instant::now(),
            due: Instant::now() + WINDOW,
            reset_at: Instant::now(),
        }
    }

    fn run(mut self, windows: &SyncSender<Window>, stop: &AtomicBool) {
        if !self.symbols.has_kernel() {
            tracing::warn!("kernel functions have no names: /proc/kallsyms is hidden; set kernel.kptr_restrict to 0 or run as root");
        }
        let mut resolved = Instant::now();
        loop {
            self.sampler.wait(if self.pythons.watching() { SHORT_REST } else { REST });
            let stopping = stop.load(Ordering::Relaxed);
            self.collect();
            if stopping || resolved.elapsed() >= RESOLVE_EVERY {
                if stopping {
                    self.resolve_last();
                } else {
                    self.resolve(false);
                }
                resolved = Instant::now();
            }
            if stopping {
                // Its reader waits for it, or is gone.
                let _ = windows.send(self.end_window());
                return;
            }
            if Instant::now() >= self.due {
                self.due = Instant::now() + WINDOW;
                let window = self.end_window();
                let held = window.samples() + window.lost;
                match hand_over(window, windows) {
                    Some(window) => {
                        self.started -= Duration::from_secs_f64(window.seconds);
                        self.window = window;
                    }
                    None => drop(self.under_way.fetch_sub(held, Ordering::Relaxed)),
                }
            }
        }
    }

    /// Takes samples from the rings, and Python stacks while they are fresh.
    fn collect(&mut self) {
        let now = Instant::now();
        let mut samples = Vec::new();
        let (unwinding, jit) = (&mut self.unwinding, &mut self.jit);
        let lost = self.sampler.drain(|sample| {
            // A stack copy lies in the ring only until it is drained.
            let chain = if sample.pid > 0 {
                unwinding.unwind(sample.pid, sample.state, &sample.user, now, jit)
            } else {
                // It has no pid for us (see `profile_rows`): no files, but CPU time.
                Chain { addresses: Vec::new(), end: End::Root }
            };
            samples.push((sample.pid, sample.tid, sample.kernel, chain));
        });
        self.window.lost += lost;
        self.under_way.fetch_add(samples.len() as u64 + lost, Ordering::Relaxed);
        let mut looked = HashSet::new();
        for (pid, tid, kernel, Chain { addresses, end }) in samples {
            if !addresses.is_empty() && looked.insert(pid) {
                self.pythons.look(pid, tid);
            }
            let python = self.pythons.stack(pid, tid).map(<[_]>::to_vec);
            // Threads of a process with the same stack are one row.
            let thread = (python.is_none() && self.pythons.watches(pid)).then_some(tid);
            let trace = Trace { pid, kernel, user: addresses, end, python, thread };
            *self.pending.entry(trace).or_default() += 1;
        }
    }

    /// Turns addresses into names, and gives names that are not there yet a little time.
    fn resolve_last(&mut self) {
        let until = Instant::now() + self.last_names_within;
        self.jit.hurry();
        self.resolve(false);
        while self.jit.is_asking() && Instant::now() < until {
            self.jit.wait(until.saturating_duration_since(Instant::now()));
            self.resolve(false);
        }
        self.resolve(true);
    }

    /// Turns addresses into names. What waits for names stays for the next
    /// time, unless it is the last.
    fn resolve(&mut self, last: bool) {
        let now = Instant::now();
        let mut drained = now;
        let pending = std::mem::take(&mut self.pending);
        let mut processes: HashMap<i32, Vec<u64>> = HashMap::new();
        for trace in pending.keys() {
            processes.entry(trace.pid).or_default().extend(&trace.user);
        }
        let mut ids = HashMap::new();
        for (pid, addresses) in processes {
            let mut buffer = Vec::new();
            let stat = self.proc.process_file(pid, "stat", &mut buffer).and_then(stat::parse);
            // 0: it ended before its names were looked up; the scan may still know it by its pid.
            ids.insert(
                pid,
                ProcessId { pid, start_ticks: stat.map_or(0, |stat| stat.start_ticks) },
            );
            let (unwinding, jit) = (&mut self.unwinding, &mut self.jit);
            let elsewhere = |address, place| match place {
                Place::InFile => unwinding.go_function(pid, address, now),
                Place::Compiled => jit.name(pid, address, now),
            };
            self.symbols.resolve(pid, addresses.into_iter(), elsewhere);
            // Names of large programs take their time, and the rings have room for two rests.
            if !last && drained.elapsed() >= REST {
                self.collect();
                drained = Instant::now();
            }
            if resident_bytes(&self.proc).is_some_and(|bytes| bytes > MEMORY_LIMIT_BYTES) {
                // The tables of one large program may be as large as all others together.
                self.symbols.reset();
                perf::give_back_memory();
            }
        }
        for (trace, count) in pending {
            let user: Vec<_> =
                trace.user.iter().map(|&address| self.symbols.user(trace.pid, address)).collect();
            let room = self.pending.len() < MAX_STACKS;
            let unnamed = user.iter().any(|frame| **frame == *symbols::NO_NAME_JIT);
            if unnamed && !last && room && self.jit.will_know(trace.pid, now) {
                *self.pending.entry(trace).or_default() += count;
                continue;
            }
            let kernel: Vec<_> =
                trace.kernel.iter().map(|&address| self.symbols.kernel(address)).collect();
            let found = trace.thread.and_then(|tid| self.pythons.stack(trace.pid, tid));
            let python = trace.python.as_deref().or(found);
            let mut stack = stack::assemble(python, &user, trace.end, &kernel);
            if stack.is_empty() {
                stack.push(symbols::UNWIND_FAILED.into());
            }
            if self.window.stacks.len() >= MAX_STACKS {
                stack = vec![OTHER_STACKS.into()];
            }
            *self.window.stacks.entry((ids[&trace.pid], stack)).or_default() += count;
        }
    }

    fn end_window(&mut self) -> Window {
        let mut window = std::mem::take(&mut self.window);
        window.seconds =
            std::mem::replace(&mut self.started, Instant::now()).elapsed().as_secs_f64();
        self.symbols.end_window();
        let full = resident_bytes(&self.proc).is_some_and(|bytes| bytes > MEMORY_BUDGET_BYTES);
        if full && self.reset_at.elapsed() >= MIN_RESET_EVERY {
            self.symbols.reset();
            self.reset_at = Instant::now();
        }
        perf::give_back_memory();
        window
    }
}

/// Gives back a window that there is no room for: it goes on, gets longer, and no sample is lost.
fn hand_over(window: Window, windows: &SyncSender<Window>) -> Option<Window> {
    match windows.try_send(window) {
        Err(TrySendError::Full(window)) => Some(window),
        _ => None,
    }
}

fn resident_bytes(proc: &Proc) -> Option<u64> {
    let text = proc.node_file("self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("0"), Some(vec![0]));
        assert_eq!(cpu_list(""), None);
        assert_eq!(cpu_list("0-4294967295"), None, "more than there are");
        assert_eq!(cpu_list(&"0-8191,".repeat(99)), None);
    }

    #[test]
    fn hotspots_are_leaves_by_their_sum() {
        let process = ProcessId { pid: 1, start_ticks: 2 };
        let stack =
            |frames: &[&str]| (process, frames.iter().map(|f| Arc::from(*f)).collect::<Vec<_>>());
        let mut window = Window::default();
        window.stacks.insert(stack(&["main", "a"]), 2);
        window.stacks.insert(stack(&["main", "b"]), 3);
        window.stacks.insert(stack(&["other", "a"]), 2);
        let expected: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        assert_eq!(window.hotspots()[&process], expected);
    }

    #[test]
    fn a_slow_reader_gets_longer_windows_and_loses_none() {
        let (sender, windows) = std::sync::mpsc::sync_channel(2);
        let window = |lost| Window { lost, ..Window::default() };
        assert!((1..=2).all(|lost| hand_over(window(lost), &sender).is_none()));
        let kept = hand_over(window(3), &sender).expect("nobody has read one");
        assert_eq!(windows.recv().unwrap().lost, 1);
        assert!(hand_over(kept, &sender).is_none());
        assert_eq!(windows.iter().take(2).map(|window| window.lost).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_does_not_come_in_time_is_counted() {
        let (sender, windows) = std::sync::mpsc::sync_channel(2);
        let stop = Arc::default();
        let profiler = Profiler { windows, stop, under_way: Arc::new(AtomicU64::new(7)) };
        sender.send(Window { lost: 1, ..Window::default() }).unwrap();
        let (left, lost) = profiler.finish(Duration::from_millis(10));
        assert_eq!((left.len(), lost), (1, 7));
    }

    #[test]
    fn sampling_that_is_switched_off_says_so() {
        assert!(probe(
            &Proc::new("/proc"),
            Path::new("/sys"),
            Sampling {
                hz: 0,
                stack_bytes: 0,
                jvm_attach: false,
                python: Effort::Bounded,
                last_names_within: Duration::ZERO
            }
        )
        .unwrap_err()
        .contains("profile_hz"));
    }

    #[test]
    fn this_process_is_caught_on_a_cpu() {
        let profiler = match Profiler::start(
            &Proc::new("/proc"),
            Path::new("/sys"),
            Sampling {
                hz: 99,
                stack_bytes: 16 << 10,
                jvm_attach: false,
                python: Effort::Bounded,
                last_names_within: Duration::ZERO,
            },
        ) {
            Ok(profiler) => profiler,
            Err(reason) => return eprintln!("skipped: {reason}"),
        };
        let started = Instant::now();
        let mut sum = 0u64;
        while started.elapsed() < Duration::from_millis(800) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let window = profiler.finish(Duration::from_secs(60)).0.pop().unwrap();
        let own = std::process::id() as i32;
        let caught: i64 =
            window.stacks.iter().filter(|((id, _), _)| id.pid == own).map(|(_, count)| count).sum();
        assert!(caught > 10, "caught {caught} times in 0.8 s at 99 Hz");
    }
}
