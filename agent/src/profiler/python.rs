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
use crate::procfs::Proc;

/// Processes watched at a time.
const MAX_PROCESSES: usize = 8;
/// Processes remembered as being Python or not.
const MAX_REMEMBERED: usize = 512;
/// After a failure a process is left alone for this time.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// After the last sample of a Python process the pace slows down again.
const WATCH_FOR: Duration = Duration::from_secs(5);

/// Watched Python processes.
pub struct Pythons {
    proc: Proc,
    watched: LruCache<i32, PythonSpy>,
    verdicts: LruCache<i32, Verdict>,
    last_used: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Verdict {
    Python,
    /// Not Python, or not readable: ask again after this moment, the pid may
    /// have another program by then.
    Other(Instant),
}

/// Python stacks of one process at one moment, root to leaf, by thread.
pub struct Snapshot {
    threads: HashMap<i32, Vec<Arc<str>>>,
    /// Where thread ids don't match (another pid namespace): the one that ran Python.
    owner: Option<Vec<Arc<str>>>,
}

impl Snapshot {
    pub fn stack(&self, tid: i32) -> Option<&[Arc<str>]> {
        self.threads.get(&tid).or(self.owner.as_ref()).map(Vec::as_slice).filter(|s| !s.is_empty())
    }
}

impl Pythons {
    pub fn new(proc: Proc) -> Pythons {
        let size = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Pythons {
            proc,
            watched: LruCache::new(size(MAX_PROCESSES)),
            verdicts: LruCache::new(size(MAX_REMEMBERED)),
            last_used: None,
        }
    }

    /// Whether any process is watched: its stacks are worth fresh looks.
    pub fn watching(&self) -> bool {
        self.last_used.is_some_and(|last| last.elapsed() < WATCH_FOR)
    }

    /// The stacks of a process now; None when it is no Python or not readable.
    pub fn snapshot(&mut self, pid: i32) -> Option<Snapshot> {
        if !self.is_python(pid) {
            return None;
        }
        if !self.watched.contains(&pid) {
            match PythonSpy::new(pid, &config()) {
                Ok(spy) => drop(self.watched.put(pid, spy)),
                Err(error) => {
                    tracing::debug!(pid, %error, "python: can't read this process");
                    self.leave_alone(pid);
                    return None;
                }
            }
        }
        self.last_used = Some(Instant::now());
        let traces = self.watched.get_mut(&pid)?.get_stack_traces();
        match traces {
            Ok(traces) => Some(snapshot(&traces)),
            // The program moved on while it was read; gone processes are forgotten.
            Err(_) => {
                if self.proc.exe(pid).is_none() {
                    self.watched.pop(&pid);
                    self.verdicts.pop(&pid);
                }
                None
            }
        }
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

fn runs_python(proc: &Proc, pid: i32) -> bool {
    let Some(exe) = proc.exe(pid) else { return false };
    let by_name = exe.file_name().and_then(|name| name.to_str()).is_some_and(is_interpreter);
    by_name
        || proc.process_text(pid, "maps").is_some_and(|text| {
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

fn snapshot(traces: &[StackTrace]) -> Snapshot {
    let mut result = Snapshot { threads: HashMap::new(), owner: None };
    let one = traces.len() == 1;
    for trace in traces {
        // py-spy gives the leaf first.
        let stack: Vec<Arc<str>> = trace
            .frames
            .iter()
            .rev()
            .map(|frame| format!("{} ({})", frame.name, basename(&frame.filename)).into())
            .collect();
        if trace.owns_gil || one {
            result.owner = Some(stack.clone());
        }
        if let Some(tid) = trace.os_thread_id {
            result.threads.insert(tid as i32, stack);
        }
    }
    result
}
