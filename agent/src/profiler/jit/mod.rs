//! Names of code that has no file: what a just-in-time compiler made.
//!
//! Programs that write a `perf-PID.map` (Node with `--perf-basic-prof`, PyPy,
//! .NET) are read as they are; a JVM is asked for one (`attach`), by a thread
//! of its own, because the answer takes a JVM a tenth of a second. Maps and
//! processes are bounded, and nobody is asked often, and only when
//! there is code without a name.

pub mod attach;
pub mod hotspot_frame;
pub mod perf_map;

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{sync_channel, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::procfs::maps::{self, basename};
use crate::procfs::Proc;
use attach::Target;
use perf_map::PerfMap;

/// Processes remembered, with a map or a refusal.
const MAX_PROCESSES: usize = 64;
/// Memory of all maps; beyond it the least used one goes.
const MAX_MAPS_BYTES: usize = 16 << 20;
/// Between two requests, or two readings, for one process: a program compiles
/// most in its first minute, so the pause grows from the one to the other.
const ASK_FIRST_AFTER: Duration = Duration::from_secs(1);
const ASK_AT_LAST_EVERY: Duration = Duration::from_secs(30);
/// A process that refuses is left alone for this time.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// The maps of a few processes.
pub struct JitNames {
    proc: Proc,
    attach_allowed: bool,
    known: LruCache<i32, Known>,
}

#[derive(Default)]
struct Known {
    map: PerfMap,
    asked_at: Option<Instant>,
    asking: Option<Receiver<Result<PerfMap, String>>>,
    refused: bool,
    asked: u32,
    /// Frame sizes of compiled Java methods, by their start.
    depths: HashMap<u64, Option<u64>>,
}

impl JitNames {
    pub fn new(proc: Proc, attach_allowed: bool) -> JitNames {
        let size = NonZeroUsize::new(MAX_PROCESSES).unwrap_or(NonZeroUsize::MIN);
        JitNames { proc, attach_allowed, known: LruCache::new(size) }
    }

    /// The name of compiled code. What is not known yet is asked for, and the
    /// next time it is.
    pub fn name(&mut self, pid: i32, address: u64, now: Instant) -> Option<String> {
        self.want(pid, address, now);
        self.known.get(&pid)?.map.name(address).map(str::to_owned)
    }

    /// Asks for the map of a process that runs code at this address without a
    /// file, unless the address is known or the process was asked lately.
    pub fn want(&mut self, pid: i32, address: u64, now: Instant) {
        let busy = self.known.iter().any(|(other, known)| *other != pid && known.asking.is_some());
        let known = self.known.get_or_insert_mut(pid, Known::default);
        known.take_answer(pid);
        // One at a time: a map takes megabytes while it is read.
        if busy || known.map.start(address).is_some() || known.asking.is_some() {
            return;
        }
        let growing = ASK_FIRST_AFTER.saturating_mul(1 << known.asked.min(8));
        let pause = if known.refused { REFUSED_FOR } else { growing.min(ASK_AT_LAST_EVERY) };
        if known.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= pause) {
            known.asked_at = Some(now);
            known.asked += 1;
            known.asking = ask(&self.proc, pid, self.attach_allowed);
            self.give_back_memory();
        }
    }

    fn give_back_memory(&mut self) {
        let held = |known: &LruCache<i32, Known>| {
            known.iter().map(|(_, one)| one.map.bytes()).sum::<usize>()
        };
        while held(&self.known) > MAX_MAPS_BYTES && self.known.pop_lru().is_some() {}
    }

    /// Whether names of this process are on their way.
    pub fn is_asking(&self, pid: i32) -> bool {
        self.known.peek(&pid).is_some_and(|known| known.asking.is_some())
    }

    /// Waits for answers that are on their way.
    pub fn wait(&mut self, at_most: Duration) {
        let started = Instant::now();
        while started.elapsed() < at_most {
            for (pid, known) in self.known.iter_mut() {
                known.take_answer(*pid);
            }
            if self.known.iter().all(|(_, known)| known.asking.is_none()) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Distance from stack pointer to return address in compiled Java code.
    pub fn return_address_at(&mut self, pid: i32, address: u64) -> Option<u64> {
        let known = self.known.get_mut(&pid)?;
        known.take_answer(pid);
        let start = known.map.start(address)?;
        let proc = &self.proc;
        *known.depths.entry(start).or_insert_with(|| {
            // V8, PyPy and .NET keep frame pointers.
            let name = known.map.name(start)?;
            let is_method = name.contains('(') && !name.contains("LazyCompile");
            is_method.then(|| entry_of(proc, pid, start))?
        })
    }
}

fn entry_of(proc: &Proc, pid: i32, start: u64) -> Option<u64> {
    let mut entry = [0; hotspot_frame::ENTRY_BYTES];
    let memory = File::open(proc.path(format!("{pid}/mem"))).ok()?;
    let length = memory.read_at(&mut entry, start).ok()?;
    hotspot_frame::return_address_at(&entry[..length])
}

impl Known {
    fn take_answer(&mut self, pid: i32) {
        let Some(asking) = &self.asking else { return };
        match asking.try_recv() {
            Ok(Ok(map)) => {
                tracing::debug!(pid, pieces = map.len(), "names of compiled code were read");
                self.depths.clear();
                (self.map, self.refused) = (map, false);
            }
            Ok(Err(reason)) => {
                tracing::info!(pid, reason, "compiled code of this process stays without names");
                self.refused = true;
            }
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => self.refused = true,
        }
        self.asking = None;
    }
}

/// Reads the map of a process on a thread of its own, after a JVM was made to write one.
fn ask(proc: &Proc, pid: i32, attach_allowed: bool) -> Option<Receiver<Result<PerfMap, String>>> {
    let (sender, answer) = sync_channel(1);
    let proc = proc.clone();
    let work = move || {
        let _ = sender.send(fetch(&proc, pid, attach_allowed));
    };
    thread::Builder::new().name("jit-names".into()).spawn(work).ok()?;
    Some(answer)
}

fn fetch(proc: &Proc, pid: i32, attach_allowed: bool) -> Result<PerfMap, String> {
    let target = Target::of(proc, pid).ok_or("the process is gone")?;
    if is_jvm(proc, pid) {
        if !attach_allowed {
            return Err("attaching to JVMs is switched off (jvm_attach = false)".into());
        }
        target.dump_map(proc)?;
    }
    let text = target.read_map(proc).ok_or("it writes no perf map (Node: --perf-basic-prof)")?;
    Ok(PerfMap::parse(&text))
}

fn is_jvm(proc: &Proc, pid: i32) -> bool {
    let maps = proc.maps(pid).unwrap_or_default();
    let found = maps::parse(&maps).any(|map| basename(map.path) == "libjvm.so");
    found
}
