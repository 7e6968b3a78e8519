//! What every meter must do, and the trees to try it on.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::{Finding, Meter};
use crate::gateway::{Device, Reading};
use crate::wire::MeterRow;

/// Fails when the meter breaks a promise of the trait; returns how many figures it gave.
pub fn holds(meter: &mut dyn Meter) -> usize {
    assert!(meter.read(None).is_empty(), "{}: no rows without an interval", meter.name());
    let mut figures = 0;
    for _ in 0..2 {
        figures += rows_hold(meter.name(), &meter.read(Some(2.0)), 2.0);
    }
    let (Finding::Found(text) | Finding::Missing(text)) = meter.finding();
    assert!(!text.is_empty(), "{}: a finding is words", meter.name());
    figures
}

/// The same promises of a gateway's device: of its answers and of its silence.
/// Returns how many figures the answers gave.
pub async fn device_holds(device: &mut dyn Device) -> usize {
    let meter = device.meter();
    let polled = |readings: Vec<Reading>| readings.into_iter().map(|r| r.row).collect::<Vec<_>>();
    if let Ok(readings) = device.poll(None).await {
        assert!(readings.is_empty(), "{meter}: no rows without an interval");
    }
    let mut figures = 0;
    for _ in 0..2 {
        if let Ok(readings) = device.poll(Some(2.0)).await {
            assert!(!readings.is_empty(), "{meter}: an answer has rows");
            figures += rows_hold(meter, &polled(readings), 2.0);
        }
    }
    let silent = polled(device.silent(2.0, "no answer"));
    assert!(!silent.is_empty(), "{meter}: silence is told");
    rows_hold(meter, &silent, 2.0);
    for row in &silent {
        assert_eq!((row.power_watts, row.energy_joules), (None, None), "silence has no figure");
        assert_eq!(row.reason.as_deref(), Some("no answer"));
        assert!(row.zone.starts_with(device.name()), "the zone names the device: {row:?}");
    }
    figures
}

/// The promises of the rows of one interval; returns how many figures are in them.
pub fn rows_hold(meter: &str, rows: &[MeterRow], seconds: f64) -> usize {
    let zones: HashSet<_> = rows.iter().map(|row| row.zone.clone()).collect();
    assert_eq!(zones.len(), rows.len(), "{meter}: zones are unique");
    for row in rows {
        assert_eq!(&*row.meter, meter);
        assert!(!row.zone.is_empty());
        assert_eq!(row.interval_seconds, seconds);
        let known = [row.energy_joules, row.power_watts, row.temp_c, row.busy_cpu_seconds];
        assert!(
            known.iter().any(Option::is_some) || row.reason.is_some(),
            "unknown needs a reason: {row:?}"
        );
        assert!(row.power_watts.is_none() || row.tier.is_some(), "power needs a tier: {row:?}");
        for value in
            [row.energy_joules, row.power_watts, row.busy_cpu_seconds].into_iter().flatten()
        {
            assert!(value >= 0.0 && value.is_finite(), "{row:?}");
        }
    }
    let figures = |row: &MeterRow| {
        let all = [row.energy_joules, row.power_watts, row.temp_c, row.busy_cpu_seconds];
        all.into_iter().flatten().count()
    };
    rows.iter().map(figures).sum()
}

/// node_exporter's captured /sys, unpacked. None (with a word why) where the
/// data is not beside the checkout; on CI that is a failure.
pub fn node_exporter_sysfs() -> Option<tempfile::TempDir> {
    let archive = Path::new("../../shared/data/node_exporter/collector/fixtures/sys.ttar");
    let Ok(text) = fs::read_to_string(archive) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", archive.display());
        eprintln!("skipped: {} is missing", archive.display());
        return None;
    };
    let root = tempfile::tempdir().unwrap();
    unpack(&text, root.path());
    Some(root)
}

/// ttar: a text archive of `Directory:`, `Path:`, `Lines:` and `SymlinkTo:`.
fn unpack(text: &str, root: &Path) {
    let mut lines = text.lines();
    let mut path = root.to_owned();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("Directory: ") {
            fs::create_dir_all(root.join(name.trim_start_matches("sys").trim_start_matches('/')))
                .unwrap();
        } else if let Some(name) = line.strip_prefix("Path: ") {
            path = root.join(name.trim_start_matches("sys/"));
        } else if let Some(count) = line.strip_prefix("Lines: ") {
            let content: Vec<&str> = lines.by_ref().take(count.parse().unwrap()).collect();
            fs::write(&path, content.join("\n").replace("NULLBYTE", "\0") + "\n").unwrap();
        } else if let Some(target) = line.strip_prefix("SymlinkTo: ") {
            std::os::unix::fs::symlink(target, &path).unwrap();
        }
    }
}
