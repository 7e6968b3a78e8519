//! Python frames of CPython processes, read from outside by py-spy.
//!
//! The interpreter's own C frames say nothing about the program. For a sampled
//! process that is Python, its stacks are read at the moment of the sample,
//! without stopping it. A read that races with the program fails and is left
//! out: the native stack stays. Only a bounded number of processes is watched.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use py_spy::config::{Config, LineNo, LockingStrategy};
use py_spy::{PythonSpy, StackTrace};

use crate::procfs::maps::{self, basename};
use crate::procfs::{status, Proc};

/// Processes watched at a time.
const MAX_PROCESSES: usize = 8;
/// Processes remembered as being Python or not.
const MAX_REMEMBERED: usize = 512;
/// After a failure a process is left alone for this time.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// After the last sample of a Python process the pace slows down again.
const WATCH_FOR: Duration = Duration::from_secs(5);

/// A snapshot stands for later samples of its thread for this long, and for earlier ones that had none.
const HOLD_FOR: Duration = Duration::from_secs(2);
/// Threads that don't hold the interpreter are looked for this often.
const ALL_THREADS_EVERY: Duration = Duration::from_millis(500);
/// Share of one core that reading Python processes may take, and what may be saved up. What is
/// spent is CPU time: on a busy machine a look takes longer and costs no more.
const READING: Allowance = Allowance { share: 0.0015, savings_seconds: 0.03 };
/// The same for attaching: the symbols of an interpreter are read once a process, which takes 10 to
/// 100 ms. A burst at the start, then one process in some minutes.
const ATTACHING: Allowance = Allowance { share: 0.0005, savings_seconds: 0.5 };
/// A person who waits for a profile of some seconds.
const UNLIMITED: Allowance = Allowance { share: 0.0, savings_seconds: f64::INFINITY };

/// What reading Python programs may cost, and of which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Beside everything else on a node, for ever.
    Bounded,
    /// For a person, of one process or of all.
    ForAPerson { only: Option<i32> },
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    share: f64,
    savings_seconds: f64,
}

/// Keeps the cost of reading bounded, however many processes there are. A
/// snapshot then stands for more samples than one; the shares stay right.
struct Budget {
    allowance: Allowance,
    credit_seconds: f64,
    updated: Instant,
}

impl Budget {
    fn new(allowance: Allowance, now: Instant) -> Budget {
        Budget { allowance, credit_seconds: allowance.savings_seconds, updated: now }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.updated).as_secs_f64() * self.allowance.share;
        self.credit_seconds = (self.credit_seconds + earned).min(self.allowance.savings_seconds);
        self.updated = now;
        self.credit_seconds > 0.0
    }

    fn spend(&mut self, time: Duration) {
        self.credit_seconds -= time.as_secs_f64();
    }
}

/// Watched Python processes.
pub struct Pythons {
    proc: Proc,
    watched: LruCache<i32, Watched>,
    stacks: LruCache<i32, Stacks>,
    verdicts: LruCache<i32, Verdict>,
    last_used: Option<Instant>,
    only: Option<i32>,
    reading: Budget,
    attaching: Budget,
}

#[derive(Clone, Copy)]
enum Verdict {
    Python,
    /// Not Python, or not readable: ask again after this moment, the pid may
    /// have another program by then.
    Other(Instant),
}

struct Watched {
    spy: PythonSpy,
    /// In another pid namespace: the thread ids that Python knows are not ours.
    foreign: bool,
    all_looked_at: Option<Instant>,
}

/// Latest Python stacks of one process, root to leaf, by thread.
#[derive(Default)]
struct Stacks {
    threads: HashMap<i32, Held>,
    /// The thread that ran Python, where thread ids don't match because the
    /// process lives in another pid namespace.
    owner: Option<Held>,
}

struct Held {
    stack: Vec<Arc<str>>,
    running: bool,
    taken: Instant,
}

impl Stacks {
    /// Takes a new look in. A sample caught a thread running, a look may catch
    /// it asleep a moment later: then what it did while running still stands.
    fn update(&mut self, foreign: bool, traces: &[StackTrace], now: Instant) {
        let fresh = |held: &Held| now.duration_since(held.taken) < HOLD_FOR;
        self.threads.retain(|_, held| fresh(held));
        self.owner = self.owner.take().filter(fresh);
        for trace in traces {
            let held = || Held { stack: frames(trace), running: trace.active, taken: now };
            let better = |old: Option<&Held>| old.is_none_or(|old| trace.active || !old.running);
            match trace.os_thread_id.filter(|_| !foreign) {
                Some(tid) if better(self.threads.get(&(tid as i32))) => {
                    self.threads.insert(tid as i32, held());
                }
                None if (trace.owns_gil || traces.len() == 1) && better(self.owner.as_ref()) => {
                    self.owner = Some(held());
                }
                _ => {}
            }
        }
    }

    fn get(&self, tid: i32, now: Instant) -> Option<&[Arc<str>]> {
        let held = self.threads.get(&tid).or(self.owner.as_ref())?;
        let usable = now.duration_since(held.taken) < HOLD_FOR && !held.stack.is_empty();
        usable.then_some(held.stack.as_slice())
    }
}

/// py-spy gives the leaf first.
fn frames(trace: &StackTrace) -> Vec<Arc<str>> {
    let frames = trace.frames.iter().rev();
    frames.map(|frame| format!("{} ({})", frame.name, basename(&frame.filename)).into()).collect()
}

impl Pythons {
    pub fn new(proc: Proc, effort: Effort) -> Pythons {
        let (only, reading, attaching) = match effort {
            Effort::Bounded => (None, READING, ATTACHING),
            Effort::ForAPerson { only } => (only, UNLIMITED, UNLIMITED),
        };
        let now = Instant::now();
        let size = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Pythons {
            proc,
            watched: LruCache::new(size(MAX_PROCESSES)),
            verdicts: LruCache::new(size(MAX_REMEMBERED)),
            stacks: LruCache::new(size(MAX_PROCESSES)),
            last_used: None,
            only,
            reading: Budget::new(reading, now),
            attaching: Budget::new(attaching, now),
        }
    }

    /// Whether any process is watched: its stacks are worth fresh looks.
    pub fn watching(&self) -> bool {
        self.last_used.is_some_and(|last| last.elapsed() < WATCH_FOR)
    }

    /// Looks at what a running thread does, if it is Python and the budget allows.
    pub fn look(&mut self, pid: i32, tid: i32) {
        if self.only.is_some_and(|only| only != pid) || !self.is_python(pid) {
            return;
        }
        self.last_used = Some(Instant::now());
        if self.attach(pid).is_none() {
            return;
        }
        let now = Instant::now();
        if self.reading.allows(now) {
            let before = own_cpu_time();
            self.read(pid, tid, now);
            self.reading.spend(own_cpu_time().saturating_sub(before));
        }
    }

    /// Whether looks at the process are to be had.
    pub fn watches(&self, pid: i32) -> bool {
        self.watched.contains(&pid)
    }

    /// Some where the process is watched, from now on or already.
    fn attach(&mut self, pid: i32) -> Option<()> {
        if self.watched.contains(&pid) {
            return Some(());
        }
        let now = Instant::now();
        if !self.attaching.allows(now) {
            return None;
        }
        let before = own_cpu_time();
        let attached = PythonSpy::new(pid, &config());
        self.attaching.spend(own_cpu_time().saturating_sub(before));
        match attached {
            Ok(spy) => {
                let status = self.proc.process_text(pid, "status").unwrap_or_default();
                let foreign = status::namespace_pids(&status).len() > 1;
                self.watched.put(pid, Watched { spy, foreign, all_looked_at: None });
                Some(())
            }
            Err(error) => {
                tracing::debug!(pid, %error, "python: can't read this process");
                self.leave_alone(pid);
                None
            }
        }
    }

    /// What a thread was doing when it was last seen running.
    pub fn stack(&self, pid: i32, tid: i32) -> Option<&[Arc<str>]> {
        self.stacks.peek(&pid)?.get(tid, Instant::now())
    }

    /// The thread that holds the interpreter is cheap to find; all others take
    /// a look at every thread, for which there is a pace.
    fn read(&mut self, pid: i32, tid: i32, now: Instant) -> Option<()> {
        for all in [false, true] {
            let watched = self.watched.get_mut(&pid)?;
            let fresh = |at: Instant| now.saturating_duration_since(at) < ALL_THREADS_EVERY;
            if all && watched.all_looked_at.is_some_and(fresh) {
                break;
            }
            watched.spy.config.gil_only = !all;
            watched.all_looked_at = if all { Some(now) } else { watched.all_looked_at };
            let foreign = watched.foreign;
            let Ok(traces) = watched.spy.get_stack_traces() else {
                // The program moved on while it was read; gone processes are forgotten.
                if self.proc.exe(pid).is_none() {
                    self.watched.pop(&pid);
                    self.verdicts.pop(&pid);
                    self.stacks.pop(&pid);
                }
                return None;
            };
            let stacks = self.stacks.get_or_insert_mut(pid, Stacks::default);
            stacks.update(foreign, &traces, now);
            if stacks.get(tid, now).is_some() {
                break;
            }
        }
        Some(())
    }

    fn leave_alone(&mut self, pid: i32) {
        self.watched.pop(&pid);
        self.verdicts.put(pid, Verdict::Other(Instant::now() + RETRY_AFTER));
    }

    fn is_python(&mut self, pid: i32) -> bool {
        match self.verdicts.get(&pid) {
            Some(Verdict::Python) => return true,
            Some(Verdict::Other(until)) if Instant::now() < *until => return false,
            _ => {}
        }
        let python = runs_python(&self.proc, pid);
        if python {
            self.verdicts.put(pid, Verdict::Python);
        } else {
            self.leave_alone(pid);
        }
        python
    }
}

/// CPU time of this thread so far.
fn own_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn runs_python(proc: &Proc, pid: i32) -> bool {
    let Some(exe) = proc.exe(pid) else { return false };
    let by_name = exe.file_name().and_then(|name| name.to_str()).is_some_and(is_interpreter);
    by_name
        || proc.maps(pid).is_some_and(|text| {
            let embedded =
                maps::parse(&text).any(|map| basename(map.path).starts_with("libpython"));
            embedded
        })
}

/// Whether a module is the interpreter itself.
pub fn is_interpreter(module: &str) -> bool {
    module.starts_with("python") || module.starts_with("libpython")
}

fn config() -> Config {
    Config {
        blocking: LockingStrategy::NonBlocking,
        native: false,
        lineno: LineNo::NoLine,
        collect_thread_names: false,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_never_takes_more_than_its_share() {
        let start = Instant::now();
        let mut budget = Budget::new(READING, start);
        let mut spent = 0.0;
        for tick in 0..10_000u32 {
            if budget.allows(start + Duration::from_millis(50) * tick) {
                budget.spend(Duration::from_millis(1));
                spent += 0.001;
            }
        }
        let limit = 500.0 * READING.share + READING.savings_seconds + 0.001;
        assert!(spent <= limit && spent > limit * 0.9, "{spent} s of {limit} s");
    }

    #[test]
    fn waiting_for_a_cpu_costs_nothing() {
        let (before, started) = (own_cpu_time(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let slept = own_cpu_time() - before;
        assert!(slept < started.elapsed() / 2, "{slept:?}");
        while own_cpu_time() - before < Duration::from_millis(2) {}
    }

    #[test]
    fn a_person_is_not_made_to_wait_for_a_budget() {
        let now = Instant::now();
        let mut budget = Budget::new(UNLIMITED, now);
        budget.spend(Duration::from_secs(1000));
        assert!(budget.allows(now));
        let mut budget = Budget::new(ATTACHING, now);
        budget.spend(Duration::from_secs(1));
        assert!(!budget.allows(now + Duration::from_secs(900)));
        assert!(budget.allows(now + Duration::from_secs(1100)), "half a second at 0.05 %");
    }

    fn trace(tid: u64, name: &str, active: bool, owns_gil: bool) -> StackTrace {
        let frame = py_spy::Frame {
            name: name.into(),
            filename: "/srv/a.py".into(),
            module: None,
            short_filename: None,
            line: 0,
            locals: None,
            is_entry: false,
            is_shim_entry: false,
        };
        StackTrace {
            pid: 7,
            thread_id: 1,
            thread_name: None,
            os_thread_id: Some(tid),
            active,
            owns_gil,
            frames: vec![frame],
            process_info: None,
        }
    }

    #[test]
    fn a_look_at_a_sleeping_thread_does_not_hide_what_it_ran() {
        let now = Instant::now();
        let mut stacks = Stacks::default();
        stacks.update(false, &[trace(7, "sleep", false, false)], now);
        assert_eq!(
            stacks.get(7, now),
            Some(&[Arc::from("sleep (a.py)")][..]),
            "better than nothing"
        );
        stacks.update(false, &[trace(7, "work", true, true)], now);
        stacks.update(false, &[trace(7, "sleep", false, false)], now);
        assert_eq!(stacks.get(7, now), Some(&[Arc::from("work (a.py)")][..]));
        assert_eq!(stacks.get(8, now), None, "a thread without Python keeps its native stack");
        assert_eq!(stacks.get(7, now + HOLD_FOR), None);
    }

    #[test]
    fn other_namespaces_fall_back_to_the_thread_that_ran_python() {
        let now = Instant::now();
        let mut stacks = Stacks::default();
        stacks.update(true, &[trace(1, "work", true, true), trace(2, "other", true, false)], now);
        assert_eq!(stacks.get(7, now), Some(&[Arc::from("work (a.py)")][..]));
    }
}
