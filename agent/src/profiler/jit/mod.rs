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
const ASK_FIRST_AFTER: Duration = Duration::from_millis(500);
const ASK_AT_LAST_EVERY: Duration = Duration::from_secs(30);
/// A process that refuses is left alone for this time.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// An answer that is due later than this is not worth waiting for.
const WORTH_WAITING_FOR: Duration = Duration::from_secs(10);

/// The maps of a few processes.
pub struct JitNames {
    proc: Proc,
    attach_allowed: bool,
    known: LruCache<i32, Known>,
    /// One at a time: a map takes megabytes while it is read.
    asking: Option<Asking>,
}

#[derive(Default)]
struct Known {
    map: PerfMap,
    asked_at: Option<Instant>,
    asked: u32,
    refused: bool,
    /// Frame sizes of compiled Java methods, by their start.
    depths: HashMap<u64, Option<u64>>,
}

struct Asking {
    pid: i32,
    answer: Receiver<Result<PerfMap, String>>,
}

impl JitNames {
    pub fn new(proc: Proc, attach_allowed: bool) -> JitNames {
        let size = NonZeroUsize::new(MAX_PROCESSES).unwrap_or(NonZeroUsize::MIN);
        JitNames { proc, attach_allowed, known: LruCache::new(size), asking: None }
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
        self.take_answer();
        let known = self.known.get_or_insert_mut(pid, Known::default);
        let due = known.map.start(address).is_none() && known.due_in(now).is_zero();
        if due && self.asking.is_none() {
            known.asked_at = Some(now);
            known.asked += 1;
            self.asking = ask(&self.proc, pid, self.attach_allowed);
            self.give_back_memory();
        }
    }

    fn take_answer(&mut self) {
        let Some(Asking { pid, answer }) = &self.asking else { return };
        let (pid, answer) = match answer.try_recv() {
            Ok(answer) => (*pid, answer),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => (*pid, Err("reading its map failed".into())),
        };
        self.asking = None;
        let known = self.known.get_or_insert_mut(pid, Known::default);
        known.refused = answer.is_err();
        match answer {
            Ok(map) => {
                tracing::debug!(pid, pieces = map.len(), "names of compiled code were read");
                known.depths.clear();
                known.map = map;
            }
            Err(reason) => {
                tracing::info!(pid, reason, "compiled code of this process stays without names");
            }
        }
    }

    fn give_back_memory(&mut self) {
        let held = |known: &LruCache<i32, Known>| {
            known.iter().map(|(_, one)| one.map.bytes()).sum::<usize>()
        };
        while held(&self.known) > MAX_MAPS_BYTES && self.known.pop_lru().is_some() {}
    }

    /// Whether any names are on their way.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Whether names of this process are on their way, or soon will be.
    pub fn will_know(&self, pid: i32, now: Instant) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.pid == pid)
            || self.known.peek(&pid).is_some_and(|known| known.due_in(now) <= WORTH_WAITING_FOR)
    }

    /// The end is near: whoever has unnamed code may be asked once more at once.
    pub fn hurry(&mut self) {
        for (_, known) in self.known.iter_mut().filter(|(_, known)| !known.refused) {
            known.asked_at = None;
        }
    }

    /// Waits for names that are on their way.
    pub fn wait(&mut self, at_most: Duration) {
        let started = Instant::now();
        self.take_answer();
        while self.is_asking() && started.elapsed() < at_most {
            thread::sleep(Duration::from_millis(10));
            self.take_answer();
        }
    }

    /// Distance from stack pointer to return address in compiled Java code.
    pub fn return_address_at(&mut self, pid: i32, address: u64) -> Option<u64> {
        self.take_answer();
        let known = self.known.get_mut(&pid)?;
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
    /// How long it has to be left alone yet.
    fn due_in(&self, now: Instant) -> Duration {
        let growing = ASK_FIRST_AFTER.saturating_mul(1 << self.asked.saturating_sub(1).min(8));
        let pause = if self.refused { REFUSED_FOR } else { growing.min(ASK_AT_LAST_EVERY) };
        let since = self.asked_at.map(|at| now.saturating_duration_since(at));
        since.map_or(Duration::ZERO, |since| pause.saturating_sub(since))
    }
}

/// Reads the map of a process on a thread of its own, after a JVM was made to write one.
fn ask(proc: &Proc, pid: i32, attach_allowed: bool) -> Option<Asking> {
    let (sender, answer) = sync_channel(1);
    let proc = proc.clone();
    let work = move || {
        let _ = sender.send(fetch(&proc, pid, attach_allowed));
    };
    thread::Builder::new().name("jit-names".into()).spawn(work).ok()?;
    Some(Asking { pid, answer })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_refusal_lasts() {
        let asked_at = Instant::now();
        let after = |known: &Known, seconds| known.due_in(asked_at + Duration::from_secs(seconds));
        assert!(after(&Known::default(), 0).is_zero(), "never asked");
        let asked = |asked| Known { asked_at: Some(asked_at), asked, ..Known::default() };
        assert_eq!(after(&asked(1), 0), ASK_FIRST_AFTER);
        assert!(after(&asked(1), 2).is_zero());
        assert_eq!(after(&asked(5), 1), Duration::from_secs(7));
        assert_eq!(after(&asked(99), 0), ASK_AT_LAST_EVERY);
        let refused = Known { refused: true, ..asked(1) };
        assert_eq!(after(&refused, 9), REFUSED_FOR - Duration::from_secs(9));
    }

    #[test]
    fn samples_wait_only_for_names_that_come_soon() {
        let now = Instant::now();
        let mut names = JitNames::new(Proc::new("/proc"), false);
        assert!(!names.will_know(1, now), "nobody was asked");
        names.known.put(1, Known { asked_at: Some(now), asked: 2, ..Known::default() });
        names.known.put(2, Known { asked_at: Some(now), asked: 9, ..Known::default() });
        names.known.put(3, Known { asked_at: Some(now), refused: true, ..Known::default() });
        assert_eq!([1, 2, 3].map(|pid| names.will_know(pid, now)), [true, false, false]);
        names.hurry();
        assert_eq!([1, 2, 3].map(|pid| names.will_know(pid, now)), [true, true, false]);
    }
    #[test]
    fn a_process_that_is_never_seen_again_does_not_hold_up_the_others() {
        let mut names = JitNames::new(Proc::new("/proc"), false);
        let now = Instant::now();
        names.want(i32::MAX, 0x1000, now);
        assert!(names.will_know(i32::MAX, now), "it is being asked");
        let own = std::process::id() as i32;
        while names.asking.as_ref().is_none_or(|asking| asking.pid != own) {
            names.want(own, 0x1000, now);
            assert!(now.elapsed() < Duration::from_secs(60), "its turn never comes");
            thread::sleep(Duration::from_millis(1));
        }
        names.wait(Duration::from_secs(60));
        assert!(names.known.peek(&own).unwrap().refused, "it writes no map");
    }
}
