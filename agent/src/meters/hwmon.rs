//! hwmon: power sensors of the board, of GPUs, and CPU temperatures.
//!
//! `power_meter` is the ACPI power meter, which reads the BMC: it sees the
//! whole machine (tier bmc). Every other power sensor sees one chip (on_die).
//! Of the temperatures only those of a CPU package are sent; a board may have
//! fifty others, and none of them changes a decision.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::counter::Counter;
use super::rapl::number;
use super::{text, Finding, Meter, Tier};
use crate::wire::MeterRow;

/// Drivers that report a CPU's temperature, with the label of the package.
const CPU_SENSORS: [(&str, &[&str]); 4] = [
    ("coretemp", &["Package id", "Physical id"]),
    ("k10temp", &["Tdie", "Tctl"]),
    ("zenpower", &["Tdie", "Tctl"]),
    ("cpu_thermal", &["temp1"]),
];
const ACPI_POWER_METERS: [&str; 2] = ["power_meter", "acpi_power_meter"];
const GPUS: [&str; 3] = ["amdgpu", "nouveau", "xe"];

/// Whether a zone of this meter is a GPU's.
pub fn is_gpu(zone: &str) -> bool {
    zone.split('/').next().is_some_and(|chip| GPUS.contains(&chip))
}

pub struct Hwmon {
    directory: PathBuf,
    sensors: Vec<Sensor>,
}

struct Sensor {
    zone: Arc<str>,
    tier: Tier,
    file: PathBuf,
    quantity: Quantity,
}

enum Quantity {
    /// µW, averaged by the chip or at the moment.
    Power,
    /// µJ since some moment.
    Energy(Counter),
    /// m°C
    Temperature,
}

impl Hwmon {
    pub fn detect(sysfs: &Path) -> Hwmon {
        let directory = sysfs.join("class/hwmon");
        let mut chips: Vec<PathBuf> =
            fs::read_dir(&directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
        chips.sort();
        let mut sensors: Vec<Sensor> = chips.iter().flat_map(|chip| chip_sensors(chip)).collect();
        // Two chips of one driver: the directory tells them apart.
        let zones: Vec<Arc<str>> = sensors.iter().map(|sensor| sensor.zone.clone()).collect();
        for (sensor, zone) in sensors.iter_mut().zip(&zones) {
            if zones.iter().filter(|other| *other == zone).count() > 1 {
                let chip = sensor.file.parent().and_then(Path::file_name).unwrap_or_default();
                sensor.zone = format!("{zone}@{}", chip.to_string_lossy()).into();
            }
        }
        Hwmon { directory, sensors }
    }

    /// As `finding`, for power alone.
    pub fn power_finding(&self) -> Finding {
        let power = |sensor: &&Sensor| !matches!(sensor.quantity, Quantity::Temperature);
        let zones: Vec<&str> = self.sensors.iter().filter(power).map(|s| &*s.zone).collect();
        if zones.is_empty() {
            return Finding::Missing(format!(
                "no power or energy sensor in {}",
                self.directory.display()
            ));
        }
        Finding::Found(format!("power sensors {}", zones.join(", ")))
    }
}

fn chip_sensors(chip: &Path) -> Vec<Sensor> {
    let name = fs::read_to_string(chip.join("name")).unwrap_or_default().trim().to_owned();
    if name.is_empty() {
        return Vec::new();
    }
    let mut files: Vec<String> = fs::read_dir(chip)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    files.sort();
    let mut sensors: Vec<Sensor> = Vec::new();
    for file in &files {
        let Some((channel, item)) = file.split_once('_') else { continue };
        let quantity = match (channel.trim_end_matches(|c: char| c.is_ascii_digit()), item) {
            ("power", "average") => Quantity::Power,
            // The average is better than the moment, where both exist.
            ("power", "input") if !files.contains(&format!("{channel}_average")) => Quantity::Power,
            ("energy", "input") => Quantity::Energy(Counter::default()),
            ("temp", "input") if is_cpu_package(chip, &name, channel) => Quantity::Temperature,
            _ => continue,
        };
        let label = label(chip, channel);
        sensors.push(Sensor {
            zone: format!("{name}/{}", label.replace('/', "_")).into(),
            tier: if ACPI_POWER_METERS.contains(&name.as_str()) { Tier::Bmc } else { Tier::OnDie },
            file: chip.join(file),
            quantity,
        });
    }
    sensors
}

fn label(chip: &Path, channel: &str) -> String {
    fs::read_to_string(chip.join(format!("{channel}_label")))
        .ok()
        .map(|label| label.trim().to_owned())
        .filter(|label| !label.is_empty())
        .unwrap_or_else(|| channel.to_owned())
}

fn is_cpu_package(chip: &Path, name: &str, channel: &str) -> bool {
    let label = label(chip, channel);
    CPU_SENSORS.iter().any(|(driver, labels)| {
        *driver == name && labels.iter().any(|prefix| label.starts_with(prefix))
    })
}

impl Meter for Hwmon {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        self.sensors.iter_mut().filter_map(|sensor| sensor.read(interval)).collect()
    }

    fn finding(&self) -> Finding {
        if self.sensors.is_empty() {
            return Finding::Missing(format!(
                "no power sensor and no CPU temperature in {}",
                self.directory.display()
            ));
        }
        let zones: Vec<&str> = self.sensors.iter().map(|sensor| &*sensor.zone).collect();
        Finding::Found(format!("sensors {}", zones.join(", ")))
    }
}

impl Sensor {
    fn read(&mut self, interval: Option<f64>) -> Option<MeterRow> {
        let mut row = MeterRow {
            interval_seconds: interval.unwrap_or(0.0),
            meter: "hwmon".into(),
            zone: self.zone.clone(),
            ..Default::default()
        };
        match &mut self.quantity {
            Quantity::Temperature => {
                let reading = fs::read_to_string(&self.file).ok();
                row.temp_c = reading.and_then(|t| t.trim().parse::<f64>().ok()).map(|m| m / 1000.0);
                if row.temp_c.is_none() {
                    row.reason = Some(format!("{}: not readable", self.file.display()).into());
                }
            }
            Quantity::Power => {
                row.tier = text(self.tier.as_str());
                match number(&self.file) {
                    Ok(microwatts) => {
                        row.power_watts = Some(microwatts as f64 / 1e6);
                        row.reason = text("the sensor gives power, not energy");
                    }
                    Err(reason) => row.reason = Some(reason.into()),
                }
            }
            Quantity::Energy(counter) => {
                row.tier = text(self.tier.as_str());
                let joules = number(&self.file).and_then(|value| {
                    counter.advance(value, None, interval.unwrap_or(0.0)).map_err(|e| e.to_string())
                });
                row.energy_joules = joules.as_ref().ok().copied();
                row.power_watts =
                    interval.and_then(|seconds| Some(joules.as_ref().ok()? / seconds));
                row.reason = joules.err().map(Arc::from);
            }
        }
        interval.map(|_| row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{contract, cpu_temperature, gpu_power, node_power};
    use super::*;

    fn chip(root: &Path, id: &str, files: &[(&str, &str)]) {
        let directory = root.join("class/hwmon").join(id);
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), format!("{content}\n")).unwrap();
        }
    }

    #[test]
    fn board_gpu_and_cpu_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        chip(
            root.path(),
            "hwmon0",
            &[("name", "power_meter"), ("power1_average", "120000000"), ("power1_input", "1")],
        );
        chip(
            root.path(),
            "hwmon1",
            &[("name", "amdgpu"), ("power1_average", "33000000"), ("power1_label", "PPT")],
        );
        chip(
            root.path(),
            "hwmon2",
            &[
                ("name", "coretemp"),
                ("temp1_input", "55000"),
                ("temp1_label", "Package id 0"),
                ("temp2_input", "99000"),
                ("temp2_label", "Core 0"),
            ],
        );
        chip(root.path(), "hwmon3", &[("power1_average", "1")]);
        let mut hwmon = Hwmon::detect(root.path());
        assert_eq!(contract::holds(&mut hwmon), 6, "two readings of three sensors");
        let rows = hwmon.read(Some(2.0));
        assert_eq!(rows.len(), 3);
        assert_eq!(node_power(&rows), Some((120.0, Tier::Bmc)));
        assert_eq!(gpu_power(&rows), Some(33.0));
        assert_eq!(cpu_temperature(&rows), Some(55.0));
    }

    #[test]
    fn two_chips_of_one_driver_keep_two_names() {
        let root = tempfile::tempdir().unwrap();
        for id in ["hwmon0", "hwmon1"] {
            chip(root.path(), id, &[("name", "ina2xx"), ("power1_input", "x")]);
        }
        let mut hwmon = Hwmon::detect(root.path());
        contract::holds(&mut hwmon);
        let rows = hwmon.read(Some(2.0));
        assert_eq!(&*rows[0].zone, "ina2xx/power1@hwmon0");
        assert!(rows[0].reason.as_deref().unwrap().contains("not a number"));
    }

    #[test]
    fn energy_sensors_are_differences() {
        let root = tempfile::tempdir().unwrap();
        chip(root.path(), "hwmon0", &[("name", "amd_energy"), ("energy1_input", "1000000")]);
        let mut hwmon = Hwmon::detect(root.path());
        hwmon.read(None);
        chip(root.path(), "hwmon0", &[("energy1_input", "5000000")]);
        let row = hwmon.read(Some(2.0)).remove(0);
        assert_eq!((row.energy_joules, row.power_watts), (Some(4.0), Some(2.0)));
    }

    #[test]
    fn a_real_tree_is_read() {
        let Some(sys) = contract::node_exporter_sysfs() else { return };
        let mut hwmon = Hwmon::detect(sys.path());
        contract::holds(&mut hwmon);
        let rows = hwmon.read(Some(2.0));
        assert!(rows.iter().all(|row| row.temp_c.is_some()), "{rows:?}");
        assert_eq!(cpu_temperature(&rows), Some(55.0));
    }
}
