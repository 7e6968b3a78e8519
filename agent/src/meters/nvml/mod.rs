//! NVIDIA GPUs through NVML: energy, power and temperature of each board, and
//! what each process used of it (`processes`, `utilization`).
//!
//! `libnvidia-ml.so.1` comes with the driver and is opened at run time; where
//! it is missing the meter says so and costs nothing. The energy counter (mJ,
//! since Volta) is preferred to the power gauge, which is a moving average.
//! MIG instances have no power of their own: a row is the whole board.

#[cfg(test)]
mod fake;
mod processes;
mod utilization;

use std::ffi::OsStr;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::{Device, Nvml as Library};

use self::utilization::Looks;
use super::{text, Finding, Meter, Tier};
use crate::clock;
use crate::wire::{GpuProcessRow, MeterRow};

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
    /// As NVML tells it; the index where it does not.
    uuid: Arc<str>,
    zone: Arc<str>,
    last_millijoules: Option<u64>,
    looks: Looks,
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
    let uuid = |index: u32| {
        let uuid = library.device_by_index(index).and_then(|device| device.uuid());
        uuid.unwrap_or_else(|_| index.to_string())
    };
    let uuids: Vec<String> = (0..count).map(uuid).collect();
    (0..count)
        .zip(zones(&uuids).into_iter().zip(&uuids))
        .map(|(index, (zone, uuid))| Gpu {
            index,
            uuid: uuid.as_str().into(),
            zone: zone.into(),
            last_millijoules: None,
            looks: Looks::default(),
        })
        .collect()
}

/// `gpu-1a2b3c4d`, or with all of the UUID where its beginning is another GPU's, too.
fn zones(uuids: &[String]) -> Vec<String> {
    let names: Vec<String> =
        uuids.iter().map(|uuid| uuid.trim_start_matches("GPU-").to_lowercase()).collect();
    let short = |name: &str| name.chars().take(SHORT_UUID_CHARS).collect::<String>();
    let unique = |name: &str| names.iter().filter(|other| short(other) == short(name)).count() == 1;
    let zone = |name: &String| if unique(name) { short(name) } else { name.clone() };
    names.iter().map(|name| format!("gpu-{}", zone(name))).collect()
}

impl Meter for Nvml {
    fn name(&self) -> &'static str {
        METER
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        let Ok(library) = &self.library else { return Vec::new() };
        self.gpus.iter_mut().filter_map(|gpu| gpu.read(library, interval)).collect()
    }

    fn processes(&mut self, interval: Option<f64>) -> Vec<GpuProcessRow> {
        let Ok(library) = &self.library else { return Vec::new() };
        let now_micros = clock::unix_nanos() / 1000;
        self.gpus.iter_mut().flat_map(|gpu| gpu.processes(library, now_micros, interval)).collect()
    }

    fn finding(&self) -> Finding {
        match &self.library {
            Err(reason) => Finding::Missing(reason.clone()),
            Ok(_) if self.gpus.is_empty() => Finding::Missing("NVML knows no GPU".into()),
            Ok(library) => Finding::Found(
                self.gpus.iter().map(|gpu| gpu.words(library)).collect::<Vec<_>>().join(", "),
            ),
        }
    }
}

impl Gpu {
    fn words(&self, library: &Library) -> String {
        let instances = match library.device_by_index(self.index) {
            Ok(device) if under_mig(&device) => processes::instances(&device),
            _ => return self.zone.to_string(),
        };
        let name = |instance: &processes::Instance| {
            format!("{} {}", instance.profile.as_deref().unwrap_or("?"), instance.uuid)
        };
        let said = match instances {
            Ok(instances) if instances.is_empty() => "no instance".to_owned(),
            Ok(instances) => instances.iter().map(name).collect::<Vec<_>>().join(", "),
            Err(why) => format!("instances not known: {why}"),
        };
        format!("{} (MIG: the board's power, instances have none of their own; {said})", self.zone)
    }

    fn processes(
        &mut self,
        library: &Library,
        now_micros: u64,
        interval: Option<f64>,
    ) -> Vec<GpuProcessRow> {
        let Some(interval_seconds) = interval else {
            // Marks the moment from which on samples count.
            let _ = self.looks.since(now_micros);
            return Vec::new();
        };
        let about = GpuProcessRow {
            interval_seconds,
            gpu: self.uuid.clone(),
            zone: self.zone.clone(),
            ..Default::default()
        };
        match library.device_by_index(self.index) {
            // Asked anew each time: on newer GPUs it changes without a reset.
            Ok(device) => {
                let mig = under_mig(&device);
                processes::rows(&device, mig, &mut self.looks, now_micros, &about)
            }
            Err(error) => {
                vec![processes::unlisted(&about, &format!("the GPU does not answer: {error}"))]
            }
        }
    }

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

fn under_mig(device: &Device) -> bool {
    device.mig_mode().is_ok_and(|mode| mode.current == 1)
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::fake::Fake;
    use super::*;

    /// Two GPUs with the idle figures of mocknvml's H100 profile, the second under
    /// MIG and without an energy counter; each look adds 140 J.
    const TWO: &str = "\
gpu GPU-01000100-0000-0000-0000-000000000000
energy 600000 140000
power 72000
temperature 34
gpu GPU-01000100-0000-0000-0000-000000000001
power 72000
temperature 34
mig 7
instance MIG-a 1 0 3 NVIDIA H100 80GB HBM3 MIG 3g.40gb
instance MIG-b 2 0 1 NVIDIA H100 80GB HBM3 MIG 1g.10gb
";

    #[test]
    fn energy_is_preferred_and_mig_is_named() {
        let Some(fake) = Fake::new(TWO) else { return };
        let mut nvml = fake.open();
        let Finding::Found(words) = nvml.finding() else { panic!("{:?}", nvml.finding()) };
        assert!(words.contains("MIG: the board's power"), "{words}");
        assert!(words.contains("3g.40gb MIG-a, 1g.10gb MIG-b"), "{words}");
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
        let Some(fake) = Fake::new(TWO) else { return };
        contract::holds(&mut fake.open());
    }

    #[test]
    fn a_missing_library_is_a_finding() {
        let mut nvml = Nvml::open(OsStr::new("/nonexistent/libnvidia-ml.so.1"));
        let Finding::Missing(words) = nvml.finding() else { panic!("found") };
        assert!(words.contains("NVIDIA's driver"), "{words}");
        contract::holds(&mut nvml);
        assert!(nvml.processes(None).is_empty() && nvml.processes(Some(1.0)).is_empty());
    }
}
