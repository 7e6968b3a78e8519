//! The node's CPU time as the kernel counts it: what all processes together
//! can have used, and what the hypervisor took away.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, Meter};
use crate::procfs::node::{cpu_info, cpu_ticks, CpuTicks};
use crate::procfs::Proc;
use crate::wire::MeterRow;

/// Reading one CPU's frequency may interrupt that CPU, so not all are asked.
const MAX_FREQUENCY_CPUS: usize = 16;
/// `/proc/cpuinfo` is long: it is read in one interval of this many.
const CPUINFO_EVERY: u32 = 15;

pub struct Kernel {
    proc: Proc,
    frequency_files: Vec<PathBuf>,
    ticks_per_second: f64,
    last: Option<CpuTicks>,
    reads: u32,
    cpuinfo_mhz: Option<f64>,
}

impl Kernel {
    pub fn new(proc: Proc, sysfs: &Path, ticks_per_second: f64) -> Kernel {
        let frequency_files = (0..MAX_FREQUENCY_CPUS)
            .map(|cpu| sysfs.join(format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq")))
            .filter(|file| file.exists())
            .collect();
        Kernel { proc, frequency_files, ticks_per_second, last: None, reads: 0, cpuinfo_mhz: None }
    }

    fn frequency_mhz(&mut self) -> Option<f64> {
        let khz: Vec<f64> = self
            .frequency_files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
            .collect();
        if !khz.is_empty() {
            return Some(khz.iter().sum::<f64>() / khz.len() as f64 / 1000.0);
        }
        if self.reads % CPUINFO_EVERY == 1 {
            self.cpuinfo_mhz =
                self.proc.node_file("cpuinfo").ok().and_then(|text| cpu_info(&text).mhz);
        }
        self.cpuinfo_mhz
    }
}

impl Meter for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        self.reads += 1;
        let ticks = self.proc.node_file("stat").ok().as_deref().and_then(cpu_ticks);
        let before = std::mem::replace(&mut self.last, ticks);
        let frequency_mhz = self.frequency_mhz();
        let Some(interval) = interval else { return Vec::new() };
        let mut row = MeterRow {
            interval_seconds: interval,
            meter: "kernel".into(),
            zone: "cpu".into(),
            frequency_mhz,
            ..Default::default()
        };
        match before.zip(ticks) {
            Some((before, ticks)) => {
                let seconds =
                    |now: u64, then: u64| now.saturating_sub(then) as f64 / self.ticks_per_second;
                row.busy_cpu_seconds = Some(seconds(ticks.busy, before.busy));
                row.steal_cpu_seconds = Some(seconds(ticks.steal, before.steal));
            }
            None => {
                let file = self.proc.path("stat");
                row.reason = Some(format!("{}: no readable cpu line", file.display()).into());
            }
        }
        vec![row]
    }

    fn finding(&self) -> Finding {
        match self.proc.node_file("stat").ok().as_deref().and_then(cpu_ticks) {
            Some(_) => Finding::Found("CPU time of the node".into()),
            None => Finding::Missing(format!(
                "{}: no readable cpu line",
                self.proc.path("stat").display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn busy_and_steal_are_differences_in_seconds() {
        let root = tempfile::tempdir().unwrap();
        let stat = |text: &str| fs::write(root.path().join("stat"), text).unwrap();
        let mut kernel = Kernel::new(Proc::new(root.path()), root.path(), 100.0);
        stat("cpu 100 0 0 5000 0 0 0 10\n");
        assert!(kernel.read(None).is_empty());
        stat("cpu 250 0 50 5000 0 0 0 30\n");
        let row = kernel.read(Some(2.0)).remove(0);
        assert_eq!((row.busy_cpu_seconds, row.steal_cpu_seconds), (Some(2.0), Some(0.2)));
        assert_eq!(row.tier, None);
        let mut again = Kernel::new(Proc::new(root.path()), root.path(), 100.0);
        assert!(contract::holds(&mut again) > 0, "figures");
    }

    #[test]
    fn an_unreadable_stat_is_a_reason() {
        let root = tempfile::tempdir().unwrap();
        let mut kernel = Kernel::new(Proc::new(root.path()), root.path(), 100.0);
        contract::holds(&mut kernel);
        assert!(kernel.read(Some(2.0))[0].reason.as_deref().unwrap().contains("stat"));
    }
}
