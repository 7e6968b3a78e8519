//! Power meters and the node's own CPU time.
//!
//! Each meter is one file behind one trait, and one suite of tests holds them
//! all. Counters are turned into energy here, where wrap and reset are known;
//! nobody downstream sees a counter. A zone that can't be read stays in the
//! list with the reason, so that nobody takes it for zero. `agent` sends the
//! rows and asks `node_power` for the best figure of the whole machine.

#[cfg(test)]
pub mod contract;
mod counter;
pub mod http;
pub mod hwmon;
pub mod ipmi;
pub mod kernel;
pub mod none;
pub mod nvml;
pub mod prometheus;
pub mod rapl;
pub mod redfish;
pub mod replay;
pub mod snmp;

use std::path::Path;
use std::sync::Arc;

use crate::procfs::Proc;
use crate::wire::{GpuProcessRow, MeterRow};

/// How a power figure was measured, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    OnDie,
    Bmc,
    Wall,
}

impl Tier {
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::OnDie => "on_die",
            Tier::Bmc => "bmc",
            Tier::Wall => "wall",
        }
    }
}

/// A source of `MeterRow`s.
pub trait Meter {
    /// The `meter` column.
    fn name(&self) -> &'static str;

    /// Rows for the interval (seconds) that ends now. None on the first look,
    /// when a counter has nothing to be compared with.
    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow>;

    /// What each process used of what the meter measures, where it knows that: GPUs. Pids
    /// are the driver's, and nobody is named yet (`gpu_processes`).
    fn processes(&mut self, _interval: Option<f64>) -> Vec<GpuProcessRow> {
        Vec::new()
    }

    /// What was found, or why nothing was.
    fn finding(&self) -> Finding;
}

/// What a meter offers on this node, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Found(String),
    Missing(String),
}

/// All meters of a node. The last one speaks up when no other measures power.
pub fn detect(proc: &Proc, sysfs: &Path, ticks_per_second: f64) -> Vec<Box<dyn Meter + Send>> {
    let rapl = rapl::Rapl::detect(sysfs);
    let hwmon = hwmon::Hwmon::detect(sysfs);
    let looked: Vec<String> = [rapl.finding(), hwmon.power_finding()]
        .into_iter()
        .filter_map(|finding| match finding {
            Finding::Missing(reason) => Some(reason),
            Finding::Found(_) => None,
        })
        .collect();
    let mut meters: Vec<Box<dyn Meter + Send>> =
        vec![Box::new(kernel::Kernel::new(proc.clone(), sysfs, ticks_per_second))];
    if looked.len() == 2 {
        meters.push(Box::new(none::NoMeter::new(looked.join("; "))));
    }
    meters.push(Box::new(rapl));
    meters.push(Box::new(hwmon));
    meters.push(Box::new(nvml::Nvml::detect()));
    meters
}

/// Power of the whole node by its best meter: an ACPI power meter, else psys,
/// else all packages and their memory. One unknown part makes the sum unknown.
pub fn node_power(rows: &[MeterRow]) -> Option<(f64, Tier)> {
    let bmc = rows
        .iter()
        .filter(|row| row.tier.as_deref() == Some(Tier::Bmc.as_str()))
        .filter_map(|row| row.power_watts)
        .reduce(f64::max);
    if let Some(watts) = bmc {
        return Some((watts, Tier::Bmc));
    }
    let rapl = |wanted: fn(&str) -> bool| {
        rows.iter().filter(move |row| &*row.meter == "rapl" && wanted(zone_name(&row.zone)))
    };
    if let Some(watts) = rapl(|zone| zone == "psys").find_map(|row| row.power_watts) {
        return Some((watts, Tier::OnDie));
    }
    rapl(|zone| zone.starts_with("package")).next()?;
    let parts = rapl(|zone| zone.starts_with("package") || zone == "dram");
    let watts = parts.map(|row| row.power_watts).sum::<Option<f64>>()?;
    Some((watts, Tier::OnDie))
}

/// Power of all GPUs that tell it; None where none does.
pub fn gpu_power(rows: &[MeterRow]) -> Option<f64> {
    let gpus = rows.iter().filter(|row| hwmon::is_gpu(&row.zone) || nvml::is_gpu(row));
    gpus.filter_map(|row| row.power_watts).reduce(|a, b| a + b)
}

/// The hottest CPU package.
pub fn cpu_temperature(rows: &[MeterRow]) -> Option<f64> {
    let of_cpu = rows.iter().filter(|row| !nvml::is_gpu(row));
    of_cpu.filter_map(|row| row.temp_c).reduce(f64::max)
}

/// `dram` of `package-1/dram`.
fn zone_name(zone: &str) -> &str {
    zone.rsplit('/').next().unwrap_or(zone)
}

fn text(value: &str) -> Option<Arc<str>> {
    Some(Arc::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(meter: &str, zone: &str, tier: Tier, power: Option<f64>) -> MeterRow {
        MeterRow {
            meter: meter.into(),
            zone: zone.into(),
            tier: text(tier.as_str()),
            power_watts: power,
            ..Default::default()
        }
    }

    #[test]
    fn the_best_meter_speaks_for_the_node() {
        let package = row("rapl", "package-0", Tier::OnDie, Some(50.0));
        let core = row("rapl", "package-0/core", Tier::OnDie, Some(40.0));
        let dram = row("rapl", "package-0/dram", Tier::OnDie, Some(5.0));
        let psys = row("rapl", "psys", Tier::OnDie, Some(80.0));
        let acpi = row("hwmon", "power_meter/power1", Tier::Bmc, Some(120.0));
        let gpu = row("hwmon", "amdgpu/PPT", Tier::OnDie, Some(200.0));
        let mut rows = vec![gpu];
        assert_eq!(node_power(&rows), None);
        assert_eq!(gpu_power(&rows), Some(200.0));
        rows.extend([package, core, dram]);
        assert_eq!(node_power(&rows), Some((55.0, Tier::OnDie)));
        rows.push(psys);
        assert_eq!(node_power(&rows), Some((80.0, Tier::OnDie)));
        rows.push(acpi);
        assert_eq!(node_power(&rows), Some((120.0, Tier::Bmc)));
    }

    #[test]
    fn one_unknown_package_makes_the_node_unknown() {
        let rows = [
            row("rapl", "package-0", Tier::OnDie, Some(50.0)),
            row("rapl", "package-1", Tier::OnDie, None),
        ];
        assert_eq!(node_power(&rows), None);
    }
}
