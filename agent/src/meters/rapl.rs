//! RAPL through powercap: the CPU's own energy counters.
//!
//! `/sys/class/powercap/intel-rapl:N[:M]` on Intel and on AMD. A zone keeps
//! its kernel name (`package-0`, `psys`, `dram`); where a name exists more
//! than once it is written below its parent: `package-1/dram`. Since 2020
//! (CVE-2020-8694) the counters are readable for root only.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::counter::Counter;
use super::{text, Finding, Meter, Tier};
use crate::wire::MeterRow;

pub struct Rapl {
    directory: PathBuf,
    zones: Vec<Zone>,
}

struct Zone {
    name: Arc<str>,
    directory: PathBuf,
    /// What is wrong with the zone for good, e.g. a missing name.
    fault: Option<String>,
    counter: Counter,
}

impl Rapl {
    pub fn detect(sysfs: &Path) -> Rapl {
        let directory = sysfs.join("class/powercap");
        let mut found: Vec<(String, PathBuf)> = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            // `intel-rapl` is the controller; `intel-rapl-mmio` counts the same packages again.
            .filter(|(id, _)| id.starts_with("intel-rapl:"))
            .collect();
        found.sort();
        let names: HashMap<String, String> = found
            .iter()
            .filter_map(|(id, path)| {
                let name = fs::read_to_string(path.join("name")).ok()?.trim().to_owned();
                (!name.is_empty()).then(|| (id.clone(), name))
            })
            .collect();
        let zones = found.into_iter().map(|(id, path)| Zone::new(&id, path, &names)).collect();
        Rapl { directory, zones }
    }
}

impl Rapl {
    /// Zones appear when a driver is loaded or a socket comes online. One that
    /// went away stays, without a figure: it is unknown, not zero.
    fn take_in_new_zones(&mut self) {
        let known: Vec<&Path> = self.zones.iter().map(|zone| zone.directory.as_path()).collect();
        let is_new = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("intel-rapl:") && !known.contains(&path)
        };
        let mut listed = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        if !listed.any(|entry| is_new(&entry.path())) {
            return;
        }
        let Some(sysfs) = self.directory.ancestors().nth(2) else { return };
        for zone in Rapl::detect(sysfs).zones {
            let taken = |other: &Zone| other.directory == zone.directory || other.name == zone.name;
            if !self.zones.iter().any(taken) {
                self.zones.push(zone);
            }
        }
    }
}

impl Meter for Rapl {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        self.take_in_new_zones();
        self.zones.iter_mut().filter_map(|zone| zone.read(interval)).collect()
    }

    fn finding(&self) -> Finding {
        if self.zones.is_empty() {
            return Finding::Missing(format!("no RAPL zones in {}", self.directory.display()));
        }
        let readable: Vec<&str> = self
            .zones
            .iter()
            .filter(|zone| zone.energy().is_ok())
            .map(|zone| zone.name.as_ref())
            .collect();
        if readable.is_empty() {
            let reason = self.zones[0].energy().err().unwrap_or_default();
            return Finding::Missing(format!("RAPL: {reason}"));
        }
        Finding::Found(format!("zones {}", readable.join(", ")))
    }
}

impl Zone {
    fn new(id: &str, directory: PathBuf, names: &HashMap<String, String>) -> Zone {
        let Some(name) = names.get(id) else {
            let fault = Some(format!("{}: missing or empty", directory.join("name").display()));
            return Zone { name: id.into(), directory, fault, counter: Counter::default() };
        };
        let unique = names.values().filter(|other| *other == name).count() == 1;
        let parent = id.rsplit_once(':').and_then(|(parent, _)| names.get(parent));
        let name = match parent {
            Some(parent) if !unique => format!("{parent}/{name}"),
            None if !unique => format!("{name}@{id}"),
            _ => name.clone(),
        };
        Zone { name: name.into(), directory, fault: None, counter: Counter::default() }
    }

    fn energy(&self) -> Result<u64, String> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => number(&self.directory.join("energy_uj")),
        }
    }

    fn read(&mut self, interval: Option<f64>) -> Option<MeterRow> {
        let energy = self.energy();
        let range = number(&self.directory.join("max_energy_range_uj")).ok();
        let joules = match energy {
            Ok(value) => self
                .counter
                .advance(value, range, interval.unwrap_or(0.0))
                .map_err(|unknown| unknown.to_string()),
            Err(reason) => {
                self.counter.forget();
                Err(reason)
            }
        };
        let interval = interval?;
        Some(MeterRow {
            interval_seconds: interval,
            meter: "rapl".into(),
            zone: self.name.clone(),
            tier: text(Tier::OnDie.as_str()),
            energy_joules: joules.as_ref().ok().copied(),
            power_watts: joules.as_ref().ok().map(|joules| joules / interval),
            reason: joules.err().map(Arc::from),
            ..Default::default()
        })
    }
}

/// A number in a file, or what is wrong with the file and what to do.
pub(super) fn number(path: &Path) -> Result<u64, String> {
    let content = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            format!(
                "{}: not permitted; run the agent as root or with CAP_DAC_READ_SEARCH",
                path.display()
            )
        }
        ErrorKind::NotFound => format!("{}: no such file", path.display()),
        _ => format!("{}: {error}", path.display()),
    })?;
    content.trim().parse().map_err(|_| format!("{}: not a number", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    fn zone(root: &Path, id: &str, name: &str, energy: &str, range: &str) {
        let directory = root.join("class/powercap").join(id);
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in
            [("name", name), ("energy_uj", energy), ("max_energy_range_uj", range)]
        {
            if !content.is_empty() {
                fs::write(directory.join(file), format!("{content}\n")).unwrap();
            }
        }
    }

    #[test]
    fn packages_and_subzones_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        for socket in 0..2 {
            zone(
                root.path(),
                &format!("intel-rapl:{socket}"),
                &format!("package-{socket}"),
                "1000000",
                "99000000000",
            );
            zone(root.path(), &format!("intel-rapl:{socket}:0"), "dram", "1000000", "99000000000");
        }
        zone(root.path(), "intel-rapl:2", "psys", "1000000", "99000000000");
        zone(root.path(), "intel-rapl-mmio:0", "package-0", "1000000", "99000000000");
        let mut rapl = Rapl::detect(root.path());
        assert!(rapl.read(None).is_empty());
        zone(root.path(), "intel-rapl:0", "package-0", "21000000", "99000000000");
        let rows = rapl.read(Some(2.0));
        let names: Vec<&str> = rows.iter().map(|row| &*row.zone).collect();
        assert_eq!(names, ["package-0", "package-0/dram", "package-1", "package-1/dram", "psys"]);
        assert_eq!((rows[0].energy_joules, rows[0].power_watts), (Some(20.0), Some(10.0)));
        assert_eq!(rows[1].energy_joules, Some(0.0));
    }

    #[test]
    fn malformed_zones_say_what_is_wrong() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "many", "99000000000");
        zone(root.path(), "intel-rapl:1", "", "5", "99000000000");
        zone(root.path(), "intel-rapl:2", "package-2", "", "99000000000");
        let mut rapl = Rapl::detect(root.path());
        rapl.read(None);
        let reasons: Vec<String> = rapl
            .read(Some(2.0))
            .iter()
            .map(|row| row.reason.as_deref().unwrap().to_owned())
            .collect();
        assert!(reasons[0].contains("energy_uj: not a number"), "{reasons:?}");
        assert!(reasons[1].contains("name: missing"), "{reasons:?}");
        assert!(reasons[2].contains("no such file"), "{reasons:?}");
        assert!(matches!(rapl.finding(), Finding::Missing(_)));
        contract::holds(&mut rapl);
    }

    #[test]
    fn a_zone_that_appears_is_taken_in_and_one_that_goes_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "1000000", "99000000000");
        let mut rapl = Rapl::detect(root.path());
        rapl.read(None);
        zone(root.path(), "intel-rapl:1", "package-1", "1000000", "99000000000");
        let rows = rapl.read(Some(2.0));
        assert_eq!((&*rows[1].zone, rows[1].energy_joules), ("package-1", None));
        assert_eq!(rapl.read(Some(2.0))[1].energy_joules, Some(0.0));
        fs::remove_dir_all(root.path().join("class/powercap/intel-rapl:0")).unwrap();
        let row = rapl.read(Some(2.0)).remove(0);
        assert_eq!((&*row.zone, row.power_watts), ("package-0", None));
        assert!(row.reason.unwrap().contains("no such file"));
    }

    #[test]
    fn a_wrap_without_a_range_is_unknown_not_zero() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "9000000", "0");
        let mut rapl = Rapl::detect(root.path());
        rapl.read(None);
        zone(root.path(), "intel-rapl:0", "package-0", "1000000", "0");
        let row = rapl.read(Some(2.0)).remove(0);
        assert_eq!(row.energy_joules, None);
        assert!(row.reason.unwrap().contains("max_energy_range_uj"));
    }

    #[test]
    fn a_real_tree_is_read() {
        let Some(sys) = contract::node_exporter_sysfs() else { return };
        let mut rapl = Rapl::detect(sys.path());
        assert_eq!(rapl.finding(), Finding::Found("zones package-0, core".into()));
        assert!(contract::holds(&mut rapl) > 0, "figures");
        let rows = rapl.read(Some(2.0));
        assert_eq!((rows[0].energy_joules, rows[0].reason.as_deref()), (Some(0.0), None));
    }
}
