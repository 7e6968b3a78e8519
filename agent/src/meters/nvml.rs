//! NVIDIA GPUs through NVML: energy, power and temperature of each board.
//!
//! `libnvidia-ml.so.1` comes with the driver and is opened at run time; where
//! it is missing the meter says so and costs nothing. The energy counter (mJ,
//! since Volta) is preferred to the power gauge, which is a moving average.
//! MIG instances have no power of their own: a row is the whole board.

use std::ffi::OsStr;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::{Device, Nvml as Library};

use super::{text, Finding, Meter, Tier};
use crate::wire::MeterRow;

const METER: &str = "nvml";
const LIBRARY: &str = "libnvidia-ml.so.1";
const MAX_GPUS: u32 = 64;
/// Of a UUID, where that tells the GPUs apart.
const SHORT_UUID_CHARS: usize = 8;

/// Whether a row is a GPU's.
pub fn is_gpu(row: &MeterRow) -> bool {
    &*row.meter == METER
}

pub struct Nvml {
    library: Result<Library, String>,
    gpus: Vec<Gpu>,
}

struct Gpu {
    index: u32,
    zone: Arc<str>,
    mig: bool,
    last_millijoules: Option<u64>,
}

impl Nvml {
    pub fn detect() -> Nvml {
        Nvml::open(OsStr::new(LIBRARY))
    }

    fn open(path: &OsStr) -> Nvml {
        let opened = Library::builder().lib_path(path).init();
        let library = opened.map_err(|error| {
            format!("{}: {error}; it comes with NVIDIA's driver", path.to_string_lossy())
        });
        let gpus = library.as_ref().map(gpus).unwrap_or_default();
        Nvml { library, gpus }
    }
}

fn gpus(library: &Library) -> Vec<Gpu> {
    let count = library.device_count().unwrap_or_default().min(MAX_GPUS);
    let name = |index: u32| {
        let uuid = library.device_by_index(index).and_then(|device| device.uuid());
        uuid.map_or(index.to_string(), |uuid| uuid.trim_start_matches("GPU-").to_lowercase())
    };
    let names: Vec<String> = (0..count).map(name).collect();
    let short = |name: &str| name.chars().take(SHORT_UUID_CHARS).collect::<String>();
    let unique = |name: &str| names.iter().filter(|other| short(other) == short(name)).count() == 1;
    let zone = |name: &String| if unique(name) { short(name) } else { name.clone() };
    (0..count)
        .zip(&names)
        .map(|(index, name)| Gpu {
            index,
            zone: format!("gpu-{}", zone(name)).into(),
            mig: library
                .device_by_index(index)
                .and_then(|device| device.mig_mode())
                .is_ok_and(|mode| mode.current == 1),
            last_millijoules: None,
        })
        .collect()
}

impl Meter for Nvml {
    fn name(&self) -> &'static str {
        METER
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        let Ok(library) = &self.library else { return Vec::new() };
        self.gpus.iter_mut().filter_map(|gpu| gpu.read(library, interval)).collect()
    }

    fn finding(&self) -> Finding {
        let say = |gpu: &Gpu| match gpu.mig {
            true => {
                format!("{} (MIG: the board's power, instances have none of their own)", gpu.zone)
            }
            false => gpu.zone.to_string(),
        };
        match &self.library {
            Err(reason) => Finding::Missing(reason.clone()),
            Ok(_) if self.gpus.is_empty() => Finding::Missing("NVML knows no GPU".into()),
            Ok(_) => Finding::Found(self.gpus.iter().map(say).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Gpu {
    fn read(&mut self, library: &Library, interval: Option<f64>) -> Option<MeterRow> {
        let device = library.device_by_index(self.index);
        let energy = device.as_ref().ok().map(|device| self.energy(device));
        let interval = interval?;
        let mut row = MeterRow {
            interval_seconds: interval,
            meter: METER.into(),
            zone: self.zone.clone(),
            tier: text(Tier::OnDie.as_str()),
            ..Default::default()
        };
        let device = match device {
            Ok(device) => device,
            Err(error) => {
                self.last_millijoules = None;
                row.reason = text(&format!("the GPU does not answer: {error}"));
                return Some(row);
            }
        };
        row.temp_c = device.temperature(TemperatureSensor::Gpu).ok().map(f64::from);
        match energy? {
            Ok(joules) => {
                row.energy_joules = Some(joules);
                row.power_watts = Some(joules / interval);
            }
            Err(why) => {
                let power = device.power_usage();
                row.power_watts =
                    power.as_ref().ok().map(|milliwatts| f64::from(*milliwatts) / 1e3);
                row.reason = match power {
                    Ok(_) => text(&format!("energy: {why}")),
                    Err(error) => text(&format!("energy: {why}; power: {error}")),
                };
            }
        }
        Some(row)
    }

    /// Joules since the last look.
    fn energy(&mut self, device: &Device) -> Result<f64, String> {
        let now = device.total_energy_consumption();
        let last = std::mem::replace(&mut self.last_millijoules, now.as_ref().ok().copied());
        let now = now.map_err(|error| error.to_string())?;
        let last = last.ok_or("first reading: nothing to compare with yet")?;
        let step =
            now.checked_sub(last).ok_or("the counter went back: the driver was loaded anew")?;
        Ok(step as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;
    use std::process::Command;

    /// The fake library, built by the C compiler; it is opened as a real one is.
    fn fake() -> Option<(tempfile::TempDir, Nvml)> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("fake.c"), folder.path().join("fake.so"));
        std::fs::write(&source, include_str!("fake_nvml.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
        match compiler.status() {
            Ok(status) => assert!(status.success(), "the fake library does not compile"),
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "cc: {error}");
                eprintln!("skipped: cc: {error}");
                return None;
            }
        }
        let nvml = Nvml::open(library.as_os_str());
        Some((folder, nvml))
    }

    #[test]
    fn energy_is_preferred_and_mig_is_named() {
        let Some((_folder, mut nvml)) = fake() else { return };
        let Finding::Found(words) = nvml.finding() else { panic!("{:?}", nvml.finding()) };
        assert!(words.contains("MIG: the board's power"), "{words}");
        assert!(nvml.read(None).is_empty());
        let rows = nvml.read(Some(2.0));
        assert_eq!(&*rows[0].zone, "gpu-01000100-0000-0000-0000-000000000000");
        assert_eq!((rows[0].energy_joules, rows[0].power_watts), (Some(140.0), Some(70.0)));
        assert_eq!((rows[0].temp_c, rows[0].reason.as_deref()), (Some(34.0), None));
        assert_eq!((rows[1].energy_joules, rows[1].power_watts), (None, Some(72.0)));
        assert!(rows[1].reason.as_deref().unwrap().starts_with("energy: "));
        assert_eq!(super::super::gpu_power(&rows), Some(142.0));
        assert_eq!(super::super::cpu_temperature(&rows), None);
    }

    #[test]
    fn the_contract_holds() {
        let Some((_folder, mut nvml)) = fake() else { return };
        contract::holds(&mut nvml);
    }

    #[test]
    fn a_missing_library_is_a_finding() {
        let mut nvml = Nvml::open(OsStr::new("/nonexistent/libnvidia-ml.so.1"));
        let Finding::Missing(words) = nvml.finding() else { panic!("found") };
        assert!(words.contains("NVIDIA's driver"), "{words}");
        contract::holds(&mut nvml);
    }
}
