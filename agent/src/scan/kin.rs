//! Processes that work for a pod or container without being in its cgroup.
//!
//! Flows in: the table of processes. Flows out: the pod or container that a
//! process is counted with.
//!
//! Rules
//! - A runtime's monitor (containerd's shim, `conmon`) belongs to the pod of
//!   its children, or to their container where there is no pod. It waits for
//!   the containers' processes, so that their unseen time is the pod's, too.
//! - What a monitor starts belongs to it until it has joined its container.
//! - Of a process that has ended and was not waited for, cgroup v1 says `/`:
//!   it belongs where its parent does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Process;
use crate::procfs::maps::basename;

/// Generations that are looked up; runc is two below its shim.
const MAX_GENERATIONS: usize = 8;

/// Where a process is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub container_id: Option<Arc<str>>,
    pub pod_id: Option<Arc<str>>,
}

/// Whether a program watches over containers.
pub fn is_monitor(exe: Option<&Path>) -> bool {
    let name = exe.and_then(Path::to_str).map(basename).unwrap_or_default();
    name.starts_with("containerd-shim") || name == "conmon"
}

/// Homes of the monitors that have none yet, by their children.
pub fn of_monitors(table: &HashMap<i32, Process>) -> Vec<(i32, Home)> {
    let homeless = |pid: &i32| table.get(pid).is_some_and(|p| p.monitor && home(p).is_none());
    let mut found: HashMap<i32, Home> = HashMap::new();
    for child in table.values().filter(|child| homeless(&child.ppid)) {
        if let Some(home) = home(child) {
            found.entry(child.ppid).or_insert_with(|| overhead(home));
        }
    }
    found.into_iter().collect()
}

/// Home of a process that has none of its own.
pub fn of_process(table: &HashMap<i32, Process>, process: &Process) -> Option<Home> {
    if home(process).is_some() || process.kernel_thread {
        return None;
    }
    let mut pid = process.ppid;
    for _ in 0..MAX_GENERATIONS {
        let parent = table.get(&pid)?;
        match home(parent) {
            Some(home) if parent.monitor || process.ended => return Some(home),
            // It left the container of its parent.
            Some(_) => return None,
            None => pid = parent.ppid,
        }
    }
    None
}

fn home(process: &Process) -> Option<Home> {
    let (container_id, pod_id) = (process.container_id.clone(), process.pod_id.clone());
    (container_id.is_some() || pod_id.is_some()).then_some(Home { container_id, pod_id })
}

/// A pod's monitor is none of its containers.
fn overhead(home: Home) -> Home {
    match home.pod_id {
        Some(_) => Home { container_id: None, ..home },
        None => home,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_are_known_by_their_program() {
        for (exe, known) in [
            ("/usr/bin/containerd-shim-runc-v2", true),
            ("/usr/bin/conmon", true),
            ("/usr/bin/containerd", false),
            ("/usr/bin/sh", false),
        ] {
            assert_eq!(is_monitor(Some(Path::new(exe))), known, "{exe}");
        }
        assert!(!is_monitor(None));
    }
}
