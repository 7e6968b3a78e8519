//! Files of the whole node: `/proc/stat`, `/proc/cpuinfo`, `/proc/meminfo`.

/// CPU time of the node since boot, in clock ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// User, nice, system, irq, softirq: not idle, not iowait, not steal.
    pub busy: u64,
    pub steal: u64,
}

/// The `cpu` line of `/proc/stat`. Guest time is part of user time already.
pub fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|t| t.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    let busy = [0, 1, 2, 5, 6].map(at).into_iter().fold(0, u64::saturating_add);
    (ticks.len() >= 4).then(|| CpuTicks { busy, steal: at(7) })
}

/// Boot time in seconds since the Unix epoch.
pub fn boot_time(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What `/proc/cpuinfo` tells; what it leaves out is None.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuInfo {
    pub model: Option<String>,
    pub sockets: Option<i32>,
    pub cores: Option<i32>,
    pub threads: Option<i32>,
    /// Mean over the logical CPUs, at the moment of reading.
    pub mhz: Option<f64>,
    /// The `hypervisor` flag, on x86.
    pub hypervisor: bool,
}

pub fn cpu_info(text: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    let (mut threads, mut mhz, mut mhz_count) = (0, 0.0, 0);
    let mut sockets = std::collections::BTreeSet::new();
    let mut cores = std::collections::BTreeSet::new();
    let mut socket = 0;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "processor" => threads += 1,
            "model name" | "Model" if info.model.is_none() => info.model = Some(value.to_owned()),
            "physical id" => {
                socket = value.parse().unwrap_or(0);
                sockets.insert(socket);
            }
            "core id" => {
                cores.insert((socket, value.parse::<i32>().unwrap_or(0)));
            }
            "cpu MHz" => {
                if let Ok(value) = value.parse::<f64>() {
                    mhz += value;
                    mhz_count += 1;
                }
            }
            "flags" => info.hypervisor |= value.split(' ').any(|flag| flag == "hypervisor"),
            _ => {}
        }
    }
    info.threads = (threads > 0).then_some(threads);
    info.sockets = (!sockets.is_empty()).then_some(sockets.len() as i32);
    info.cores = (!cores.is_empty()).then_some(cores.len() as i32);
    info.mhz = (mhz_count > 0).then(|| mhz / f64::from(mhz_count)).filter(|mhz| mhz.is_finite());
    info
}

/// Installed memory in bytes.
pub fn memory_bytes(meminfo: &str) -> Option<i64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: i64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn busy_leaves_out_idle_iowait_and_steal() {
        let stat = "cpu  10 20 30 1000 500 4 5 7 3 2\ncpu0 1 2 3 4\nbtime 1700000000\n";
        assert_eq!(cpu_ticks(stat), Some(CpuTicks { busy: 69, steal: 7 }));
        assert_eq!(boot_time(stat), Some(1_700_000_000));
        assert_eq!(cpu_ticks("intr 1 2 3\n"), None);
        assert_eq!(cpu_ticks("cpu  1 x\n"), None);
    }

    #[test]
    fn cpus_sockets_and_cores_are_counted() {
        let one = |cpu: i32, socket: i32, core: i32| {
            format!("processor\t: {cpu}\nmodel name\t: Test CPU\ncpu MHz\t\t: 2000.000\nphysical id\t: {socket}\ncore id\t\t: {core}\nflags\t\t: fpu hypervisor\n\n")
        };
        let text = [one(0, 0, 0), one(1, 0, 0), one(2, 1, 0), one(3, 1, 1)].concat();
        let info = cpu_info(&text);
        assert_eq!(info.model.as_deref(), Some("Test CPU"));
        assert_eq!((info.sockets, info.cores, info.threads), (Some(2), Some(3), Some(4)));
        assert_eq!((info.mhz, info.hypervisor), (Some(2000.0), true));
    }

    #[test]
    fn what_cpuinfo_does_not_say_is_unknown() {
        let info = cpu_info("processor\t: 0\nBogoMIPS\t: 50.00\n");
        assert_eq!((info.threads, info.sockets, info.mhz), (Some(1), None, None));
        assert_eq!(memory_bytes("MemTotal:       16384 kB\n"), Some(16_777_216));
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn figures_that_no_cpu_has_are_no_panic_and_no_frequency() {
        let most = u64::MAX;
        let stat = format!("cpu  {most} {most} 3 4\n");
        assert_eq!(cpu_ticks(&stat), Some(CpuTicks { busy: most, steal: 0 }));
        for mhz in ["inf", "NaN", "1e999"] {
            assert_eq!(cpu_info(&format!("cpu MHz\t: {mhz}\n")).mhz, None, "{mhz}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "[ -~\n\t]{0,300}") {
            let _ = (cpu_ticks(&text), boot_time(&text), cpu_info(&text), memory_bytes(&text));
        }
    }
}
