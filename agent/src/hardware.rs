//! What sysfs says of CPUs and accelerators: frequencies, governor, topology,
//! PCI devices. A directory that is not there leaves None, never an empty answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The largest machines have some thousand CPUs.
const MAX_ENTRIES: usize = 8192;

/// Range over all CPUs, and what chooses within it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frequencies {
    pub min_mhz: Option<f64>,
    pub max_mhz: Option<f64>,
    pub governor: Option<String>,
}

/// Reads `devices/system/cpu/cpufreq/policy*`.
pub fn frequencies(sysfs: &Path) -> Frequencies {
    let mut found = Frequencies::default();
    let mut governors = BTreeSet::new();
    for policy in entries(&sysfs.join("devices/system/cpu/cpufreq"), "policy") {
        let mhz = |name| Some(read(&policy.join(name))?.parse::<f64>().ok()? / 1000.0);
        if let Some(mhz) = mhz("cpuinfo_min_freq") {
            found.min_mhz = Some(found.min_mhz.map_or(mhz, |least| least.min(mhz)));
        }
        if let Some(mhz) = mhz("cpuinfo_max_freq") {
            found.max_mhz = Some(found.max_mhz.map_or(mhz, |most| most.max(mhz)));
        }
        governors.extend(read(&policy.join("scaling_governor")));
    }
    let governors: Vec<String> = governors.into_iter().collect();
    found.governor = (!governors.is_empty()).then(|| governors.join(","));
    found
}

/// Packages and physical cores, where cpuinfo does not tell (Arm).
pub fn topology(sysfs: &Path) -> Option<(i32, i32)> {
    let mut sockets = BTreeSet::new();
    let mut cores = BTreeSet::new();
    for cpu in entries(&sysfs.join("devices/system/cpu"), "cpu") {
        let number = |name| read(&cpu.join("topology").join(name))?.parse::<i64>().ok();
        let Some(core) = number("core_id") else { continue };
        // -1: the firmware does not say; it is one package then.
        let socket = number("physical_package_id").unwrap_or(-1);
        sockets.insert(socket);
        cores.insert((socket, core));
    }
    (!cores.is_empty()).then_some((sockets.len() as i32, cores.len() as i32))
}

/// PCI vendors that make accelerators; the display of a hypervisor or of a
/// management controller is none.
const VENDORS: [(&str, &str); 8] = [
    ("0x10de", "NVIDIA"),
    ("0x1002", "AMD"),
    ("0x8086", "Intel"),
    ("0x1d0f", "Amazon"),
    ("0x1ae0", "Google"),
    ("0x1da3", "Habana"),
    ("0x19e5", "Huawei"),
    ("0x1e36", "Enflame"),
];
/// Display controllers (03) and processing accelerators (12).
const CLASSES: [&str; 4] = ["0x0300", "0x0302", "0x0380", "0x1200"];

/// `NVIDIA 20b0 0000:3b:00.0` for each; None where there is no PCI bus to look at.
pub fn gpus(sysfs: &Path) -> Option<Vec<String>> {
    let bus = sysfs.join("bus/pci/devices");
    fs::metadata(&bus).ok()?;
    let mut found: Vec<String> = entries(&bus, "")
        .filter_map(|device| {
            let class = read(&device.join("class"))?;
            CLASSES.iter().find(|known| class.starts_with(*known))?;
            let vendor = read(&device.join("vendor"))?;
            let (_, vendor) = VENDORS.iter().find(|(id, _)| *id == vendor)?;
            let model = read(&device.join("device"))?;
            let address = device.file_name()?.to_str()?.to_owned();
            Some(format!("{vendor} {} {address}", model.trim_start_matches("0x")))
        })
        .collect();
    found.sort_unstable();
    Some(found)
}

/// Paths in a directory whose names are the prefix and (where there is one) digits.
fn entries(directory: &Path, prefix: &'static str) -> impl Iterator<Item = std::path::PathBuf> {
    let fits = move |name: &str| {
        prefix.is_empty()
            || name
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(move |entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .take(MAX_ENTRIES)
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_range_spans_all_policies() {
        let root = tree(&[
            ("devices/system/cpu/cpufreq/policy0/cpuinfo_min_freq", "800000\n"),
            ("devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "3500000\n"),
            ("devices/system/cpu/cpufreq/policy0/scaling_governor", "schedutil\n"),
            ("devices/system/cpu/cpufreq/policy4/cpuinfo_min_freq", "1000000\n"),
            ("devices/system/cpu/cpufreq/policy4/cpuinfo_max_freq", "garbage\n"),
            ("devices/system/cpu/cpufreq/policy4/scaling_governor", "performance\n"),
            ("devices/system/cpu/cpufreq/boost", "1\n"),
        ]);
        let governor = Some("performance,schedutil".to_owned());
        let expected = Frequencies { min_mhz: Some(800.0), max_mhz: Some(3500.0), governor };
        assert_eq!(frequencies(root.path()), expected);
        assert_eq!(frequencies(&root.path().join("none")), Frequencies::default());
    }

    #[test]
    fn cores_are_counted_within_their_package() {
        let root = tree(&[
            ("devices/system/cpu/cpu0/topology/core_id", "0"),
            ("devices/system/cpu/cpu0/topology/physical_package_id", "0"),
            ("devices/system/cpu/cpu1/topology/core_id", "0"),
            ("devices/system/cpu/cpu1/topology/physical_package_id", "1"),
            ("devices/system/cpu/cpu2/topology/core_id", "0"),
            ("devices/system/cpu/cpu2/topology/physical_package_id", "1"),
            ("devices/system/cpu/cpuidle/topology/core_id", "7"),
        ]);
        assert_eq!(topology(root.path()), Some((2, 2)));
        assert_eq!(topology(&root.path().join("none")), None);
    }

    #[test]
    fn accelerators_are_told_from_other_displays() {
        let device = |address: &str, class: &str, vendor: &str, model: &str| {
            let at = format!("bus/pci/devices/{address}");
            [
                (format!("{at}/class"), class.to_owned()),
                (format!("{at}/vendor"), vendor.to_owned()),
                (format!("{at}/device"), model.to_owned()),
            ]
        };
        let files = [
            device("0000:3b:00.0", "0x030200\n", "0x10de\n", "0x20b0\n"),
            device("0000:00:02.0", "0x030000\n", "0x1a03\n", "0x2000\n"),
            device("0000:86:00.0", "0x120000\n", "0x1da3\n", "0x1020\n"),
            device("0000:00:1f.0", "0x060100\n", "0x8086\n", "0x1234\n"),
        ]
        .concat();
        let files: Vec<_> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let root = tree(&files);
        assert_eq!(
            gpus(root.path()).unwrap(),
            ["Habana 1020 0000:86:00.0", "NVIDIA 20b0 0000:3b:00.0"]
        );
        assert_eq!(gpus(&root.path().join("none")), None);
    }
}
