//! Names for the processes on GPUs: whose they are.
//!
//! Flows in: rows with pids as the driver tells them, the table of known
//! processes. Flows out: the same rows with workload, container and start.
//!
//! Rule: a driver tells pids of the host's namespace (for a list of processes
//! newer ones tell the caller's, for utilisation all tell the host's). Where
//! this agent sees others, a number may be anybody's: nobody is named, and the
//! row says so.

use crate::scan::Scanner;
use crate::wire::GpuProcessRow;

pub const OTHER_NAMESPACE: &str =
    "workload: the driver's pids are the host's, and this agent sees others; run it with the host's pids (hostPID: true)";
const NOT_HERE: &str = "workload: no such process here, it may have ended";

/// Names each row that has a pid. `pids_of_the_host`: those of `scanner` are.
pub fn named(
    mut rows: Vec<GpuProcessRow>,
    scanner: &Scanner,
    pids_of_the_host: bool,
) -> Vec<GpuProcessRow> {
    for row in &mut rows {
        let Some(pid) = row.pid else { continue };
        let process = if pids_of_the_host {
            scanner.find(pid, 0).ok_or(NOT_HERE)
        } else {
            Err(OTHER_NAMESPACE)
        };
        match process {
            Ok(process) => {
                row.workload = Some(process.workload.key.clone());
                row.workload_kind = Some(process.workload.kind.into());
                row.replica = process.workload.replica.clone();
                row.container_id = process.container_id.clone();
                row.pod_id = process.pod_id.clone();
                row.process_started_ms = Some(process.started_ms);
            }
            Err(why) => row.because(why),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Proc;
    use crate::scan::{Moment, Units};
    use std::path::Path;

    fn scanner() -> Scanner {
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096, boot_time_ms: 0 };
        let mut scanner = Scanner::new(Proc::new("/proc"), Path::new("/sys/fs/cgroup"), units);
        scanner.scan(Moment { boot_seconds: 1000.0 }).unwrap();
        scanner
    }

    fn on_gpu(pid: Option<i32>) -> GpuProcessRow {
        GpuProcessRow { gpu: "GPU-a".into(), pid, ..Default::default() }
    }

    #[test]
    fn a_process_that_is_here_is_named_and_one_that_is_not_says_so() {
        let me = i32::try_from(std::process::id()).unwrap();
        let rows = vec![on_gpu(Some(me)), on_gpu(Some(i32::MAX)), on_gpu(None)];
        let rows = named(rows, &scanner(), true);
        assert!(rows[0].workload.is_some() && rows[0].process_started_ms.is_some());
        assert_eq!(rows[0].reason, None);
        assert_eq!((&rows[1].workload, rows[1].reason.as_deref()), (&None, Some(NOT_HERE)));
        assert_eq!(rows[2], on_gpu(None), "what is not one process has no name");
    }

    #[test]
    fn pids_of_another_namespace_name_nobody() {
        let me = i32::try_from(std::process::id()).unwrap();
        let rows = named(vec![on_gpu(Some(me))], &scanner(), false);
        assert_eq!((&rows[0].workload, &rows[0].workload_kind), (&None, &None));
        assert_eq!(rows[0].reason.as_deref(), Some(OTHER_NAMESPACE));
    }
}
