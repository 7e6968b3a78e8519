//! The processes on a GPU: how busy they kept it, how much of its memory they
//! hold, and under MIG on which instance they are.
//!
//! Flows in: NVML's answers of one GPU at one look. Flows out: a row for each
//! process, without the names that only `scan` knows (`gpu_processes` adds
//! them). A call that fails costs the values it would have given: they are NULL
//! and the row says why.
//!
//! Rules
//! - Under MIG the processes are asked of each instance: of the board they are
//!   told to privileged callers only. NVML tells no utilisation there ("not
//!   currently supported" on MIG-enabled GPUs): NULL. How large an instance is
//!   stands beside it in slices; that is no measure of what it does.
//! - At most `MAX_PROCESSES` rows for a GPU, the busiest first; what lies beyond
//!   is one row without a pid, so that nothing of it falls to the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::Device;

use super::utilization::{Entry, Looks, Shares};
use crate::wire::GpuProcessRow;

pub const MAX_PROCESSES: usize = 256;
/// More than any GPU can be cut into.
const MAX_INSTANCES: u32 = 64;
const NOT_UNDER_MIG: &str = "utilization: NVML tells none under MIG";

/// A MIG instance as NVML tells it.
pub struct Instance<'d> {
    device: Device<'d>,
    pub uuid: String,
    /// `1g.10gb`.
    pub profile: Option<String>,
    slices: Option<u32>,
}

/// The instances that exist now, or why they are not known.
pub fn instances<'d>(board: &Device<'d>) -> Result<Vec<Instance<'d>>, String> {
    let count = board.mig_device_count().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for index in 0..count.min(MAX_INSTANCES) {
        let device = match board.mig_device_by_index(index) {
            Ok(device) => device,
            // Places are not filled up from the front.
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let name = device.name().ok();
        found.push(Instance {
            uuid: device.uuid().unwrap_or_else(|_| format!("MIG {index}")),
            profile: name.and_then(|name| Some(name.rsplit_once("MIG ")?.1.to_owned())),
            slices: device.attributes().ok().map(|about| about.compute_instance_slice_count),
            device,
        });
    }
    Ok(found)
}

/// The rows of one look. `about` names the GPU and the interval.
pub fn rows(
    board: &Device,
    mig: bool,
    looks: &mut Looks,
    now_micros: u64,
    about: &GpuProcessRow,
) -> Vec<GpuProcessRow> {
    let rows = if mig {
        looks.skip(now_micros);
        on_instances(board, about)
    } else {
        on_board(board, looks, now_micros, about)
    };
    bounded(rows, about)
}

fn on_board(
    board: &Device,
    looks: &mut Looks,
    now_micros: u64,
    about: &GpuProcessRow,
) -> Vec<GpuProcessRow> {
    let shares = utilization(board, looks, now_micros);
    let (listed, missing) = listed(board);
    let mut seen: BTreeMap<u32, Option<ProcessInfo>> =
        listed.into_iter().map(|(pid, info)| (pid, Some(info))).collect();
    for pid in shares.iter().flat_map(Shares::pids) {
        seen.entry(pid).or_insert(None);
    }
    let mut rows = Vec::new();
    for (pid, info) in seen {
        let mut row = row(pid, info.as_ref(), about);
        match &shares {
            Ok(shares) => {
                row.sm_utilization_ratio = shares.of(pid);
                if row.sm_utilization_ratio.is_none() {
                    row.because("utilization: the driver's figure is above 100 %");
                }
            }
            Err(why) => row.because(&format!("utilization: {why}")),
        }
        rows.push(row);
    }
    // Who was on the GPU has a row by its samples: the others were not.
    let rest = shares.is_ok().then_some(0.0);
    rows.extend(
        missing.map(|why| GpuProcessRow { sm_utilization_ratio: rest, ..unlisted(about, &why) }),
    );
    rows
}

fn utilization(board: &Device, looks: &mut Looks, now_micros: u64) -> Result<Shares, String> {
    let since = looks.since(now_micros)?;
    let samples = match board.process_utilization_stats(since) {
        Ok(samples) => samples,
        // No process was on the GPU since then.
        Err(NvmlError::NotFound) => Vec::new(),
        Err(error) => {
            looks.skip(now_micros);
            return Err(error.to_string());
        }
    };
    let entry = |sample: &nvml_wrapper::struct_wrappers::device::ProcessUtilizationSample| Entry {
        pid: sample.pid,
        unix_micros: sample.timestamp,
        sm_percent: sample.sm_util,
    };
    let entries: Vec<Entry> = samples.iter().map(entry).collect();
    Ok(looks.take(since, now_micros, &entries)?)
}

fn on_instances(board: &Device, about: &GpuProcessRow) -> Vec<GpuProcessRow> {
    let instances = match instances(board) {
        Ok(instances) => instances,
        Err(why) => return vec![unlisted(about, &format!("MIG instances: {why}"))],
    };
    let slices = board.mig_device_count().ok();
    let mut rows = Vec::new();
    for instance in &instances {
        let about = GpuProcessRow {
            mig_instance: Some(instance.uuid.as_str().into()),
            mig_profile: instance.profile.as_deref().map(Arc::from),
            compute_slices: instance.slices.and_then(|slices| slices.try_into().ok()),
            gpu_compute_slices: slices.and_then(|slices| slices.try_into().ok()),
            ..about.clone()
        };
        let (listed, missing) = listed(&instance.device);
        for (pid, info) in listed {
            let mut row = row(pid, Some(&info), &about);
            row.because(NOT_UNDER_MIG);
            rows.push(row);
        }
        rows.extend(missing.map(|why| unlisted(&about, &why)));
    }
    rows
}

/// Processes with a context on the GPU or the instance, and what could not be asked.
fn listed(device: &Device) -> (BTreeMap<u32, ProcessInfo>, Option<String>) {
    let mut found = BTreeMap::new();
    let compute = device.running_compute_processes().map_err(|error| format!("processes: {error}"));
    let graphics = match device.running_graphics_processes() {
        // A GPU without graphics, or one under MIG: there are none.
        Err(NvmlError::NotSupported) => Ok(Vec::new()),
        other => other.map_err(|error| format!("graphics processes: {error}")),
    };
    let mut missing = None;
    for answer in [compute, graphics] {
        match answer {
            Ok(processes) => processes.into_iter().for_each(|info| {
                // In both lists: each tells all memory of the process.
                found.entry(info.pid).or_insert(info);
            }),
            Err(why) => missing = missing.or(Some(why)),
        }
    }
    (found, missing)
}

fn row(pid: u32, info: Option<&ProcessInfo>, about: &GpuProcessRow) -> GpuProcessRow {
    let id = |id: Option<u32>| id.and_then(|id| id.try_into().ok());
    let mut row = GpuProcessRow {
        pid: pid.try_into().ok(),
        gpu_instance_id: info.and_then(|info| id(info.gpu_instance_id)),
        compute_instance_id: info.and_then(|info| id(info.compute_instance_id)),
        ..about.clone()
    };
    match info.map(|info| &info.used_gpu_memory) {
        Some(UsedGpuMemory::Used(bytes)) => row.memory_bytes = (*bytes).try_into().ok(),
        Some(UsedGpuMemory::Unavailable) => row.because("memory: the driver does not tell"),
        None => row.because("memory: the driver does not list the process, it may have ended"),
    }
    row
}

/// Stands for processes that could not be asked for.
pub fn unlisted(about: &GpuProcessRow, why: &str) -> GpuProcessRow {
    GpuProcessRow { reason: Some(why.into()), ..about.clone() }
}

/// The busiest and largest, and the others as one.
fn bounded(mut rows: Vec<GpuProcessRow>, about: &GpuProcessRow) -> Vec<GpuProcessRow> {
    if rows.len() <= MAX_PROCESSES {
        return rows;
    }
    let weight = |row: &GpuProcessRow| (row.sm_utilization_ratio.unwrap_or(-1.0), row.memory_bytes);
    rows.sort_by(|a, b| {
        let ((busy, memory), (other_busy, other_memory)) = (weight(a), weight(b));
        other_busy.total_cmp(&busy).then(other_memory.cmp(&memory)).then(a.pid.cmp(&b.pid))
    });
    let rest = rows.split_off(MAX_PROCESSES - 1);
    let reason = format!("{} processes beyond the {} that are told apart", rest.len(), rows.len());
    rows.push(GpuProcessRow {
        sm_utilization_ratio: rest.iter().map(|row| row.sm_utilization_ratio).sum(),
        memory_bytes: rest.iter().map(|row| row.memory_bytes).sum(),
        ..unlisted(about, &reason)
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::Meter;
    use super::*;

    const WHOLE: &str = "gpu GPU-a\npower 1000\n";
    const CUT: &str = "\
gpu GPU-a
mig 7
instance MIG-1 1 0 3 NVIDIA A100-SXM4-40GB MIG 3g.20gb
instance MIG-2 2 0 1 NVIDIA A100-SXM4-40GB MIG 1g.5gb
compute 11 5000 1 0
compute 12 6000 2 0
";

    /// The second look at what the library says.
    fn look(says: &str) -> Option<Vec<GpuProcessRow>> {
        let fake = Fake::new(says)?;
        let mut nvml = fake.open();
        assert!(nvml.processes(None).is_empty(), "the first look has no interval");
        Some(nvml.processes(Some(2.0)))
    }

    fn reason(row: &GpuProcessRow) -> &str {
        row.reason.as_deref().unwrap_or_default()
    }

    #[test]
    fn each_process_has_its_use_and_its_memory() {
        // Samples of the time to come: the looks of a test follow each other at once.
        let says = "compute 11 5000\ncompute 12 6000\ngraphics 12 6000\ngraphics 13 70\n\
                    sample 11 -500 40\nsample 12 -500 25\nsample 14 -900 10\n";
        let Some(rows) = look(&format!("{WHOLE}{says}")) else { return };
        let seen: Vec<_> =
            rows.iter().map(|row| (row.pid, row.sm_utilization_ratio, row.memory_bytes)).collect();
        let wanted = [
            (Some(11), Some(0.4), Some(5000)),
            (Some(12), Some(0.25), Some(6000)),
            (Some(13), Some(0.0), Some(70)),
            (Some(14), Some(0.1), None),
        ];
        assert_eq!(seen, wanted);
        assert!(rows[..3].iter().all(|row| row.reason.is_none()), "{rows:?}");
        assert!(reason(&rows[3]).starts_with("memory: "), "{rows:?}");
        assert_eq!((&*rows[0].gpu, &*rows[0].zone), ("GPU-a", "gpu-a"));
        assert_eq!(rows[0].interval_seconds, 2.0);
    }

    #[test]
    fn without_a_sample_use_is_not_known_yet() {
        let Some(rows) = look(&format!("{WHOLE}compute 11 5000\n")) else { return };
        assert_eq!((rows[0].sm_utilization_ratio, rows[0].memory_bytes), (None, Some(5000)));
        assert_eq!(reason(&rows[0]), "utilization: the driver has taken no sample yet");
    }

    #[test]
    fn a_call_that_fails_costs_its_values_only() {
        let process = "compute 11 5000\nsample 11 -500 40\n";
        let fails = "fails nvmlDeviceGetProcessUtilization 4\n";
        let Some(rows) = look(&format!("{WHOLE}{process}{fails}")) else { return };
        assert_eq!((rows[0].sm_utilization_ratio, rows[0].memory_bytes), (None, Some(5000)));
        assert!(reason(&rows[0]).contains("permission"), "{rows:?}");

        let fails = "fails nvmlDeviceGetComputeRunningProcesses_v3 999\n";
        let Some(rows) = look(&format!("{WHOLE}{process}{fails}")) else { return };
        assert_eq!((rows[0].sm_utilization_ratio, rows[0].memory_bytes), (Some(0.4), None));
        assert_eq!((rows[1].pid, rows[1].sm_utilization_ratio), (None, Some(0.0)));
        assert!(reason(&rows[1]).starts_with("processes: "), "{rows:?}");

        let fails = "fails nvmlDeviceGetHandleByIndex_v2 15\n";
        let Some(rows) = look(&format!("{WHOLE}{process}{fails}")) else { return };
        assert!(reason(&rows[0]).contains("does not answer"), "{rows:?}");
        assert_eq!((rows.len(), rows[0].pid), (1, None));
    }

    #[test]
    fn under_mig_a_process_has_its_instance_and_no_use() {
        let Some(rows) = look(CUT) else { return };
        assert_eq!(rows.len(), 2);
        for (row, pid, uuid, profile, id, slices) in
            [(&rows[0], 11, "MIG-1", "3g.20gb", 1, 3), (&rows[1], 12, "MIG-2", "1g.5gb", 2, 1)]
        {
            assert_eq!((row.pid, row.mig_instance.as_deref()), (Some(pid), Some(uuid)));
            assert_eq!((row.gpu_instance_id, row.compute_instance_id), (Some(id), Some(0)));
            assert_eq!((row.compute_slices, row.gpu_compute_slices), (Some(slices), Some(7)));
            assert_eq!((row.mig_profile.as_deref(), &*row.gpu), (Some(profile), "GPU-a"));
            assert_eq!((row.sm_utilization_ratio, reason(row)), (None, NOT_UNDER_MIG));
        }
        let fails = "fails nvmlDeviceGetComputeRunningProcesses_v3 4\n";
        let Some(rows) = look(&format!("{CUT}{fails}")) else { return };
        assert!(rows.iter().all(|row| row.pid.is_none() && row.mig_instance.is_some()), "{rows:?}");
        let Some(rows) = look("gpu GPU-a\nmig 7\n") else { return };
        assert!(rows.is_empty(), "an instance that is not there has no process");
    }

    #[test]
    fn what_is_beyond_the_limit_is_one_row() {
        let pids = 1..=(MAX_PROCESSES as u32 + 40);
        let line = |pid: u32| format!("compute {pid} 10\nsample {pid} -500 {}\n", pid % 2);
        let lines: String = pids.map(line).collect();
        let Some(rows) = look(&format!("{WHOLE}{lines}")) else { return };
        assert_eq!(rows.len(), MAX_PROCESSES);
        let rest = rows.last().unwrap();
        assert_eq!((rest.pid, rest.memory_bytes), (None, Some(410)));
        assert_eq!(rest.sm_utilization_ratio, Some(0.0), "the busiest are told apart");
        assert!(reason(rest).starts_with("41 processes"), "{rest:?}");
        let busy: f64 = rows.iter().filter_map(|row| row.sm_utilization_ratio).sum();
        assert!((busy - 148.0 / 100.0).abs() < 1e-9, "nothing is lost: {busy}");
    }
}
