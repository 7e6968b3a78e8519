//! From a window of stacks to rows: each sample that was taken is in one row.
//!
//! Flows in: a `Window`, and who each process works for, as `scan` knows it.
//! Flows out: rows, and how many samples belong to nobody. A process that
//! lived and died between two looks is in no table; its samples are CPU time
//! all the same, and stay as rows of the workload `unattributed/unseen` whose
//! root frame says why. Pure: `agent` asks `scan` and counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::profiler::{ProcessId, Window};
use crate::wire::ProfileRow;
use crate::workload_key::Workload;

/// The kind of a workload that no process stands for.
const KIND: &str = "unattributed";
const KEY: &str = "unattributed/unseen";

/// Whose samples they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub workload: &'a Workload,
    pub container_id: Option<&'a Arc<str>>,
    pub pid: i32,
    pub started_ms: i64,
}

/// Why samples belong to nobody.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    prometheus_client::encoding::EncodeLabelValue,
)]
#[allow(non_camel_case_types)]
pub enum Unattributed {
    /// It was gone, or hidden from us, at each look.
    not_seen,
    /// The kernel had taken its pid away already when the sample came.
    exiting,
    /// It runs outside of the agent's pid namespace.
    other_namespace,
}

impl Unattributed {
    pub const ALL: [Unattributed; 3] =
        [Unattributed::not_seen, Unattributed::exiting, Unattributed::other_namespace];

    fn of(process: ProcessId) -> Unattributed {
        match process.pid {
            // perf_event_open(2) writes these where the thread has no pid for us.
            0 => Unattributed::other_namespace,
            pid if pid < 0 => Unattributed::exiting,
            _ => Unattributed::not_seen,
        }
    }

    /// Stands at the root in place of the process.
    pub fn frame(self) -> &'static str {
        match self {
            Unattributed::not_seen => "[exited before it was seen]",
            Unattributed::exiting => "[exiting: its pid was gone]",
            Unattributed::other_namespace => "[outside the agent's pid namespace]",
        }
    }
}

/// The rows of one window, and its samples that belong to nobody, by cause.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<ProfileRow>,
    pub unattributed: BTreeMap<Unattributed, u64>,
}

/// All samples of the window as rows; `owner` is None for a process that no look has seen.
pub fn rows<'a>(
    window: Window,
    frequency_hz: f64,
    owner: impl Fn(ProcessId) -> Option<Owner<'a>>,
) -> Rows {
    let mut made = Rows::default();
    // Thousands of such processes may share one stack: it is one row.
    let mut nobodys: HashMap<Vec<Arc<str>>, i64> = HashMap::new();
    for ((process, mut stack), sample_count) in window.stacks {
        let Some(owner) = owner(process) else {
            let cause = Unattributed::of(process);
            *made.unattributed.entry(cause).or_default() += sample_count.unsigned_abs();
            stack.insert(0, cause.frame().into());
            *nobodys.entry(stack).or_default() += sample_count;
            continue;
        };
        made.rows.push(ProfileRow {
            interval_seconds: window.seconds,
            workload: owner.workload.key.clone(),
            workload_kind: owner.workload.kind.into(),
            replica: owner.workload.replica.clone(),
            container_id: owner.container_id.cloned(),
            pid: owner.pid,
            process_started_ms: owner.started_ms,
            stack,
            sample_count,
            frequency_hz,
        });
    }
    made.rows.extend(nobodys.into_iter().map(|(stack, sample_count)| ProfileRow {
        interval_seconds: window.seconds,
        workload: KEY.into(),
        workload_kind: KIND.into(),
        stack,
        sample_count,
        frequency_hz,
        ..ProfileRow::default()
    }));
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shop() -> Workload {
        Workload { key: "declared/shop".into(), kind: "declared", replica: None }
    }

    fn window(stacks: &[(i32, u64, &[&str], i64)]) -> Window {
        let mut window = Window { seconds: 10.0, ..Window::default() };
        for (pid, start_ticks, frames, count) in stacks {
            let frames = frames.iter().map(|frame| Arc::from(*frame)).collect();
            let id = ProcessId { pid: *pid, start_ticks: *start_ticks };
            *window.stacks.entry((id, frames)).or_default() += count;
        }
        window
    }

    #[test]
    fn what_no_look_has_seen_is_a_row_that_says_so() {
        let workload = shop();
        let known = |id: ProcessId| {
            let owner = Owner { workload: &workload, container_id: None, pid: 7, started_ms: 5 };
            (id.pid == 7).then_some(owner)
        };
        let window = window(&[
            (7, 1, &["main (app)"], 3),
            (8, 0, &["main (app)"], 2),
            (9, 0, &["main (app)"], 4),
            (-1, 0, &["do_exit (kernel)"], 5),
            (0, 0, &["main (app)"], 6),
        ]);
        let mut made = rows(window, 19.0, known);
        made.rows.sort_by_key(|row| (row.sample_count, row.stack.join(";")));
        let told: Vec<_> = made
            .rows
            .iter()
            .map(|row| (&*row.workload, row.pid, row.stack.join(";"), row.sample_count))
            .collect();
        let nobody = |stack: &str, count| (KEY, 0, stack.to_owned(), count);
        assert_eq!(
            told,
            [
                ("declared/shop", 7, "main (app)".to_owned(), 3),
                nobody("[exiting: its pid was gone];do_exit (kernel)", 5),
                nobody("[exited before it was seen];main (app)", 6),
                nobody("[outside the agent's pid namespace];main (app)", 6),
            ]
        );
        let counts: Vec<_> = made.unattributed.into_iter().collect();
        let [unseen, gone, other] = Unattributed::ALL;
        assert_eq!(counts, [(unseen, 6), (gone, 5), (other, 6)]);
    }

    proptest! {
        /// CPU totals: no sample is left out, none is there twice.
        #[test]
        fn the_rows_hold_each_sample_once(
            stacks in proptest::collection::vec((-1i32..6, 0u64..2, 0usize..3, 1i64..100), 0..40),
            seen in 0i32..6,
        ) {
            let frames: [&[&str]; 3] = [&["a"], &["a", "b"], &["c"]];
            let stacks: Vec<_> =
                stacks.into_iter().map(|(pid, start, index, n)| (pid, start, frames[index], n)).collect();
            let window = window(&stacks);
            let (taken, workload) = (window.samples(), shop());
            let owned: i64 = stacks.iter().filter(|one| one.0 >= seen).map(|one| one.3).sum();
            let made = rows(window, 99.0, |id| {
                let owner = Owner { workload: &workload, container_id: None, pid: id.pid, started_ms: 1 };
                (id.pid >= seen).then_some(owner)
            });
            let all: i64 = made.rows.iter().map(|row| row.sample_count).sum();
            prop_assert_eq!(all as u64, taken);
            prop_assert_eq!(made.unattributed.values().sum::<u64>(), taken - owned as u64);
        }
    }
}
