//! The rows this agent makes, one struct per kind.
//!
//! A struct names every column but the first three (time, tenant and host,
//! which are the same for a whole message and live in `Envelope`). The macro
//! keeps field order, column order and JSON in one place; `encode` checks it
//! against the contract.

use std::sync::Arc;

use super::Kind;

/// One value of a row, on its way into a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Text(Arc<str>),
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Float(f64),
    List(Vec<Arc<str>>),
}

/// Something that can be a row of a message.
pub trait Row {
    const KIND: Kind;
    /// Column names after timestamp, tenant and host.
    const COLUMNS: &'static [&'static str];
    /// The values, in the order of `COLUMNS`.
    fn into_cells(self) -> Vec<Cell>;
}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident, $kind:ident { $($column:literal $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $(pub $field: $type,)+ }

        impl Row for $name {
            const KIND: Kind = Kind::$kind;
            const COLUMNS: &'static [&'static str] = &[$($column,)+];
            fn into_cells(self) -> Vec<Cell> {
                vec![$(Cell::from(self.$field),)+]
            }
        }
    };
}

type Text = Arc<str>;

row! {
    /// What one process used in one interval.
    SampleRow, Samples {
        "interval_seconds" interval_seconds: f64,
        "workload" workload: Text,
        "workload_kind" workload_kind: Text,
        "replica" replica: Option<Text>,
        "container_id" container_id: Option<Text>,
        "pod_id" pod_id: Option<Text>,
        "pid" pid: i32,
        "process_started_ms" process_started_ms: i64,
        "command" command: Text,
        "cpu_seconds" cpu_seconds: f64,
        "cpu_pct" cpu_pct: f64,
        "cpus_allowed" cpus_allowed: Option<f64>,
        "mem_bytes" mem_bytes: i64,
        "read_bytes" read_bytes: Option<i64>,
        "write_bytes" write_bytes: Option<i64>,
        "threads" threads: i32,
        "voluntary_switches" voluntary_switches: Option<i64>,
        "involuntary_switches" involuntary_switches: Option<i64>,
        "node_power_watts" node_power_watts: Option<f64>,
        "gpu_power_watts" gpu_power_watts: Option<f64>,
        "temp_c" temp_c: Option<f64>,
        "hotspot_functions" hotspot_functions: Option<Vec<Text>>,
        "tier" tier: Option<Text>,
    }
}

row! {
    /// What one zone of one meter said in one interval.
    MeterRow, Meters {
        "interval_seconds" interval_seconds: f64,
        "meter" meter: Text,
        "zone" zone: Text,
        "tier" tier: Option<Text>,
        "energy_joules" energy_joules: Option<f64>,
        "power_watts" power_watts: Option<f64>,
        "temp_c" temp_c: Option<f64>,
        "busy_cpu_seconds" busy_cpu_seconds: Option<f64>,
        "steal_cpu_seconds" steal_cpu_seconds: Option<f64>,
        "frequency_mhz" frequency_mhz: Option<f64>,
        "reason" reason: Option<Text>,
    }
}

row! {
    /// What exists: the node itself, or one process.
    InventoryRow, Inventory {
        "scope" scope: Text,
        "node_type" node_type: Option<Text>,
        "cpu_model" cpu_model: Option<Text>,
        "sockets" sockets: Option<i32>,
        "cores" cores: Option<i32>,
        "cpu_threads" cpu_threads: Option<i32>,
        "cpu_mhz" cpu_mhz: Option<f64>,
        "memory_bytes" memory_bytes: Option<i64>,
        "virtual" is_virtual: Option<bool>,
        "capabilities" capabilities: Option<Vec<Text>>,
        "missing" missing: Option<Vec<Text>>,
        "workload" workload: Option<Text>,
        "workload_kind" workload_kind: Option<Text>,
        "replica" replica: Option<Text>,
        "pod_id" pod_id: Option<Text>,
        "container_id" container_id: Option<Text>,
        "pid" pid: Option<i32>,
        "process_started_ms" process_started_ms: Option<i64>,
        "image" image: Option<Text>,
        "checksum" checksum: Option<Text>,
        "language" language: Option<Text>,
        "runtime_version" runtime_version: Option<Text>,
        "command_line" command_line: Option<Text>,
        "libraries" libraries: Option<Vec<Text>>,
        "namespace" namespace: Option<Text>,
        "pod_name" pod_name: Option<Text>,
        "owner" owner: Option<Text>,
        "labels" labels: Option<Vec<Text>>,
        "container_name" container_name: Option<Text>,
        "image_digest" image_digest: Option<Text>,
        "vm_uuid" vm_uuid: Option<Text>,
        "runtime_settings" runtime_settings: Option<Vec<Text>>,
        "cpu_min_mhz" cpu_min_mhz: Option<f64>,
        "cpu_max_mhz" cpu_max_mhz: Option<f64>,
        "governor" governor: Option<Text>,
        "gpus" gpus: Option<Vec<Text>>,
        "instance_type" instance_type: Option<Text>,
    }
}

row! {
    /// How often one stack of one process was seen on a CPU.
    ProfileRow, Profiles {
        "interval_seconds" interval_seconds: f64,
        "workload" workload: Text,
        "workload_kind" workload_kind: Text,
        "replica" replica: Option<Text>,
        "container_id" container_id: Option<Text>,
        "pid" pid: i32,
        "process_started_ms" process_started_ms: i64,
        "stack" stack: Vec<Text>,
        "sample_count" sample_count: i64,
        "frequency_hz" frequency_hz: f64,
    }
}

row! {
    /// What the CPU's counters counted for the node or for one cgroup.
    CounterRow, Counters {
        "interval_seconds" interval_seconds: f64,
        "cgroup" cgroup: Text,
        "workload" workload: Option<Text>,
        "workload_kind" workload_kind: Option<Text>,
        "container_id" container_id: Option<Text>,
        "pod_id" pod_id: Option<Text>,
        "cpu_seconds" cpu_seconds: Option<f64>,
        "cycles" cycles: Option<f64>,
        "instructions" instructions: Option<f64>,
        "cache_misses" cache_misses: Option<f64>,
        "counted_share" counted_share: Option<f64>,
    }
}

row! {
    /// What one process used of one GPU.
    GpuProcessRow, GpuProcesses {
        "interval_seconds" interval_seconds: f64,
        "gpu" gpu: Text,
        "zone" zone: Text,
        "mig_instance" mig_instance: Option<Text>,
        "gpu_instance_id" gpu_instance_id: Option<i32>,
        "compute_instance_id" compute_instance_id: Option<i32>,
        "mig_profile" mig_profile: Option<Text>,
        "compute_slices" compute_slices: Option<i32>,
        "gpu_compute_slices" gpu_compute_slices: Option<i32>,
        "workload" workload: Option<Text>,
        "workload_kind" workload_kind: Option<Text>,
        "replica" replica: Option<Text>,
        "container_id" container_id: Option<Text>,
        "pod_id" pod_id: Option<Text>,
        "pid" pid: Option<i32>,
        "process_started_ms" process_started_ms: Option<i64>,
        "sm_utilization_ratio" sm_utilization_ratio: Option<f64>,
        "memory_bytes" memory_bytes: Option<i64>,
        "reason" reason: Option<Text>,
    }
}

impl GpuProcessRow {
    /// Adds to the reason.
    pub fn because(&mut self, why: &str) {
        self.reason = Some(match &self.reason {
            Some(reason) => format!("{reason}; {why}").into(),
            None => why.into(),
        });
    }
}

impl From<Text> for Cell {
    fn from(value: Text) -> Cell {
        Cell::Text(value)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Cell {
        Cell::Bool(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Cell {
        Cell::Int32(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Cell {
        Cell::Int64(value)
    }
}

/// A float that is no number is unknown, and unknown is NULL.
impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        if value.is_finite() {
            Cell::Float(value)
        } else {
            Cell::Null
        }
    }
}

impl From<Vec<Text>> for Cell {
    fn from(value: Vec<Text>) -> Cell {
        Cell::List(value)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}
