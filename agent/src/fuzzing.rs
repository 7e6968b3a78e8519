//! Doors to the parsers for the fuzz targets in `fuzz/` (feature `fuzzing`).
//!
//! Bytes come in that anybody on the node or the network may have written;
//! what must not happen is a panic, memory beyond the stated bounds, or a
//! figure that can't be true. The last is asserted here.

mod answers;

pub use answers::{arguments, attach, cri, docker, kubelet, versions};

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use framehop::{CacheNative, FrameAddress, MayAllocateDuringUnwind, Unwinder};
use snmp2::v3::{Auth, Security};

use crate::config::endpoint::{MetricOptions, MetricTier, MetricUnit};
use crate::config::gateway::{self, AuthProtocol, PrivProtocol};
use crate::config::Options;
use crate::meters::redfish::energy::Energy;
use crate::meters::snmp::session::{self, Credentials};
use crate::meters::snmp::{decode, oids, Place};
use crate::meters::{ipmi, prometheus, redfish, replay};
use crate::procfs::{maps, node, stat, status, Proc};
use crate::profiler::go_table::GoTable;
use crate::profiler::jit::{hotspot_frame, perf_map::PerfMap, JitNames};
use crate::profiler::kallsyms::Kallsyms;
use crate::profiler::large_tables::{LargeTables, Stamp};
use crate::profiler::record::{self, Record};
use crate::profiler::unwind::{elf::UnwindTable, Registers, StackCopy, Unwinding, REGISTERS};
use crate::publish::{frame, spool};
use crate::workload_key::{declared, workload, Facts};
use crate::{cgroup, language, profiler};

/// Longer than the prefix and the cut name.
const MAX_KEY_CHARS: usize = 140;
const MAX_WATTS: f64 = 1e6;

/// `/proc/PID/stat`, `status`, `io`, `maps`.
pub fn process_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = stat::parse(bytes);
    let _ = (status::switches(&text), status::cpus_allowed(&text), status::io(&text));
    assert!(maps::parse(&text).count() <= maps::parse_all(&text).count());
}

/// `/proc/stat`, `cpuinfo`, `meminfo`, and the lists of CPUs in sysfs.
pub fn node_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (node::cpu_ticks(&text), node::boot_time(&text), node::memory_bytes(&text));
    let _ = profiler::cpu_list(&text);
    assert!(node::cpu_info(&text).mhz.is_none_or(f64::is_finite));
}

/// `/proc/PID/cgroup` and a cgroup's quota.
pub fn cgroup(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = cgroup::membership(&text);
    assert!(cgroup::v2_quota(&text).is_none_or(|cpus| cpus > 0.0 && cpus.is_finite()));
}

/// The name of a workload from environment, arguments and cgroup.
pub fn workload_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once('\0').unwrap_or((&text, ""));
    for membership in [cgroup::membership(rest), cgroup::Membership::default()] {
        for exe in [Some(first), Some("python3.11"), Some("java"), Some("node"), None] {
            let declared = declared(rest.as_bytes());
            let (comm, cmdline, membership) = (first, bytes, membership.clone());
            let facts = Facts {
                declared,
                membership,
                exe,
                comm,
                cmdline,
                kernel_thread: false,
                vm_name: None,
            };
            let key = workload(&facts).key;
            assert!(key.chars().count() <= MAX_KEY_CHARS && key.matches('/').count() == 1, "{key}");
        }
    }
}

/// What language a program is, by its bytes and by its mapped files.
pub fn language(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = language::in_content(bytes);
    let _ = language::by_name_and_maps("python3", &text);
    let _ = language::by_name_and_maps(text.lines().next().unwrap_or_default(), &text);
    let _ = language::libraries(&text);
}

thread_local! {
    static UNWINDING: RefCell<(Unwinding, JitNames)> = RefCell::new((
        Unwinding::new(Proc::new("/nowhere")),
        JitNames::new(Proc::new("/nowhere"), false),
    ));
}

/// The perf ring: records, and walks of the registers and stacks in them by frame pointers.
pub fn perf_records(bytes: &[u8]) {
    for layout in [record::Layout::Chain, record::Layout::ChainAndStack] {
        let mut rest = bytes;
        while let Some((record, after)) = record::split(rest, layout) {
            assert!(after.len() < rest.len(), "no progress");
            if let Record::Sample(sample) = record {
                UNWINDING.with_borrow_mut(|(unwinding, jit)| {
                    unwinding.unwind(1, sample.state, &sample.user, Instant::now(), jit)
                });
            }
            rest = after;
        }
    }
}

/// `/proc/kallsyms`, `perf-PID.map` and a HotSpot method's first bytes.
pub fn code_names(bytes: &[u8]) {
    let address = word(bytes);
    if let Some(kallsyms) = Kallsyms::read(bytes) {
        let _ = (kallsyms.name(address), kallsyms.name(u64::MAX));
    }
    let map = PerfMap::parse(bytes);
    for address in [address, 0x1000, u64::MAX] {
        assert_eq!(map.start(address).is_some(), map.name(address).is_some());
    }
    let _ = hotspot_frame::return_address_at(&bytes[..bytes.len().min(hotspot_frame::ENTRY_BYTES)]);
}

/// A Go program's function table.
pub fn go_table(bytes: &[u8]) {
    const TEXT: u64 = 0x401000;
    let Some(table) = GoTable::open(bytes, TEXT) else { return };
    for address in [TEXT, TEXT + 0x10, TEXT + 0x14, TEXT + 0x3f, TEXT + 0x40, word(bytes), u64::MAX]
    {
        let _ = (table.step(address), table.name(address));
    }
}

/// An ELF file: its segments, symbols, unwind tables and Go table, and steps by them.
pub fn unwind_table(bytes: &[u8]) {
    if let Some((file, stamp)) = in_memory(bytes).and_then(|file| {
        let stamp = Stamp::of(&file)?;
        Some((file, stamp))
    }) {
        let mut tables = LargeTables::new();
        let _ = tables.takes(stamp, &file);
        let offsets = [0, 0x40, 0x1000, 0x1001, bytes.len() as u64, u64::MAX];
        assert_eq!(tables.names(stamp, &file, &offsets).len(), offsets.len());
    }
    let Some(table) = in_memory(bytes).and_then(UnwindTable::read) else { return };
    let mut cache = CacheNative::<MayAllocateDuringUnwind>::new_in();
    for segment in table.segments.iter().take(4) {
        for into in [0, 1, 4, 5, 0x10, 0x40, segment.bytes / 2, segment.bytes.saturating_sub(1)] {
            let address = segment.address.wrapping_add(into);
            let _ = table.address_of(segment.offset.wrapping_add(into));
            let _ = table.is_signal_trampoline(address);
            if let Some(go) = &table.go {
                let _ = (go.step(address), go.name(address));
            }
            let stack = StackCopy::new(0x7000, bytes);
            let mut registers = [0x7020; REGISTERS];
            registers[REGISTERS - 2] = 0x7000;
            let mut registers = Registers::from_sample(registers).to_framehop();
            let position = FrameAddress::from_instruction_pointer(address);
            let mut read = |address| stack.read(address).ok_or(());
            let _ = table.unwinder.unwind_frame(position, &mut registers, &mut cache, &mut read);
        }
    }
}

/// An SNMP answer as it comes from the network, and cells of any value.
pub fn snmp(bytes: &[u8]) {
    if let Ok(pdu) = snmp2::Pdu::from_bytes(bytes) {
        for (_, value) in session::rows(&pdu, 50).unwrap_or_default() {
            points(&[(vec![1], value.clone()), (vec![1, 1, 5], value)].into());
        }
    }
    let cell = |chunk: &[u8]| {
        let index = vec![1, u64::from(chunk[0] & 7), u64::from(chunk[1] & 7)];
        (index, decode::Value::Number(word(&chunk[2..]) as i64))
    };
    points(&bytes.chunks_exact(10).take(64).map(cell).collect());
    let _ = String::from_utf8_lossy(bytes).parse::<Place>();
}

/// A message of SNMP v3 as it comes from the network, at each level of security. Behind a wrong checksum nothing is
/// read any more; without authentication all is.
pub fn snmp_v3(bytes: &[u8]) {
    let nobody = Security::new(b"", b"").with_auth(Auth::NoAuthNoPriv);
    let named = |auth, privacy| {
        session::security(&Credentials::User {
            name: "monitor".into(),
            context: String::new(),
            auth,
            auth_password: "authentication".into(),
            privacy,
        })
    };
    let hidden = |protocol| Some((protocol, "privacy-password".to_owned()));
    let users = [
        nobody,
        named(AuthProtocol::Md5, None),
        named(AuthProtocol::Sha256, hidden(PrivProtocol::Aes128)),
        named(AuthProtocol::Sha1, hidden(PrivProtocol::Des)),
    ];
    for mut user in users {
        // The library clears the checksum of a message where it lies: in its receive buffer, here in a copy.
        let received = bytes.to_vec();
        if let Ok(pdu) = snmp2::Pdu::from_bytes_with_security(&received, Some(&mut user)) {
            assert!(session::rows(&pdu, 50).unwrap_or_default().len() <= 50);
        }
    }
}

fn points(cells: &decode::Cells) {
    for table in oids::VENDORS.iter().flat_map(|vendor| vendor.tables) {
        for point in decode::points(table, |_| Some(cells)) {
            assert!(point.power_watts.is_ok_and(is_power) || point.power_watts.is_err());
            assert!(point.energy.is_none_or(|energy| energy.joules_per_step > 0.0));
        }
    }
}

/// A document of a BMC's Redfish service.
pub fn redfish(bytes: &[u8]) {
    use redfish::decode::{environment, is_absent, link, members, power, supplies, thermal};
    let Ok(document) = serde_json::from_slice(bytes) else { return };
    assert!(members(&document, 16).len() <= 16);
    let _ = (link(&document, "Power"), is_absent(&document));
    assert!(thermal(&document).is_none_or(f64::is_finite));
    let mut energy = Energy::default();
    let all = [environment(&document), supplies(&[document.clone(), document.clone()])];
    for seen in all.into_iter().chain([power(&document)]) {
        let (joules, watts, _) = energy.interval(&seen, Some(2.0));
        assert!(joules.is_none_or(|joules| joules >= 0.0 && joules.is_finite()));
        assert!(watts.is_none_or(|watts| watts >= 0.0 && watts.is_finite()));
    }
}

/// A page of a Prometheus exporter.
pub fn prometheus(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let own = MetricOptions {
        metric: "up".into(),
        unit: MetricUnit::KilowattHours,
        tier: MetricTier::Wall,
        zone_label: Some("zone".into()),
        host_label: Some("host".into()),
    };
    let meanings = prometheus::known::meanings(&[own]);
    let scrape = prometheus::decode(&text, &meanings, &"host".into(), "name");
    assert!(scrape.values().all(|(quantity, _)| match *quantity {
        prometheus::known::Quantity::Joules(value) | prometheus::known::Quantity::Watts(value) =>
            value >= 0.0 && value.is_finite(),
        prometheus::known::Quantity::Celsius(value) => value.is_finite(),
    }));
}

/// What `ipmitool dcmi power reading` printed.
pub fn ipmitool(bytes: &[u8]) {
    assert!(ipmi::watts(&String::from_utf8_lossy(bytes)).map_or(true, is_power));
}

/// A recorded log of power.
pub fn replay_log(bytes: &[u8]) {
    let moments = replay::read(&String::from_utf8_lossy(bytes)).unwrap_or_default();
    for recorded in moments.into_iter().flatten() {
        if let replay::Value::Watts(value) | replay::Value::Joules(value) = recorded.value {
            assert!(is_power(value));
        }
    }
}

/// A segment of the spool, and one record whose checksum is right.
pub fn spool(bytes: &[u8]) {
    let Some(file) = in_memory(bytes) else { return };
    let batches = spool::records(file, bytes.len() as u64).unwrap_or_default();
    assert!(batches.iter().map(|batch| batch.payload.len()).sum::<usize>() <= bytes.len());

    let mut sealed = (bytes.len() as u32).to_le_bytes().to_vec();
    sealed.extend(crc32fast::hash(bytes).to_le_bytes());
    sealed.extend(bytes);
    if let frame::Frame::Record(batch, length) = frame::decode(&sealed) {
        assert_eq!((length, frame::encode(&batch)), (sealed.len(), sealed));
    }
}

/// The agent's file, and the gateway's.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Options::from_toml(&text, "agent.toml").and_then(Options::resolve) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok((_, devices)) = gateway::from_toml(&text, "gateway.toml") {
        assert!(devices.hosts().all(|host| !host.is_empty()));
    }
}

fn is_power(watts: f64) -> bool {
    (0.0..=MAX_WATTS).contains(&watts)
}

/// The last eight bytes.
fn word(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

/// A file that lies nowhere.
fn in_memory(bytes: &[u8]) -> Option<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("fuzz", flags).ok()?);
    file.write_all(bytes).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Door = (&'static str, fn(&[u8]));
    const DOORS: [Door; 23] = [
        ("process_files", process_files),
        ("node_files", node_files),
        ("cgroup", cgroup),
        ("workload_key", workload_key),
        ("language", language),
        ("perf_records", perf_records),
        ("code_names", code_names),
        ("go_table", go_table),
        ("unwind_table", unwind_table),
        ("snmp", snmp),
        ("redfish", redfish),
        ("prometheus", prometheus),
        ("ipmitool", ipmitool),
        ("replay_log", replay_log),
        ("spool", spool),
        ("settings", settings),
        ("snmp_v3", snmp_v3),
        ("cri", cri),
        ("docker", docker),
        ("kubelet", kubelet),
        ("arguments", arguments),
        ("versions", versions),
        ("attach", attach),
    ];

    fn seeds() -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
        let folders = std::fs::read_dir(folder).unwrap().flatten().filter(|f| f.path().is_dir());
        folders
            .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
            .map(|seed| std::fs::read(seed.path()).unwrap())
            .collect()
    }

    /// Without a fuzzer: the seeds, cut and damaged in every place, through every door.
    #[test]
    fn damaged_seeds_break_nothing() {
        let seeds = seeds();
        assert!(seeds.len() > 30, "{} seeds", seeds.len());
        for bytes in seeds {
            DOORS.iter().for_each(|(_, door)| door(&bytes));
            for at in (0..bytes.len()).step_by(7) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0xff;
                DOORS.iter().for_each(|(_, door)| {
                    door(&damaged);
                    door(&bytes[..at]);
                });
            }
        }
    }

    /// Pieces of seeds put together at random, with random bytes in them: where building the fuzz targets takes too
    /// long. `EO_FUZZ_DOORS=cri,docker EO_FUZZ_SECONDS=30 cargo test --features fuzzing -- --ignored random --nocapture`
    #[test]
    #[ignore = "runs for EO_FUZZ_SECONDS a door"]
    fn random_damage_breaks_nothing() {
        let told = |name| std::env::var(name).unwrap_or_default();
        let seconds = told("EO_FUZZ_SECONDS").parse().unwrap_or(1);
        let wanted = told("EO_FUZZ_DOORS");
        let (seeds, mut random) = (seeds(), fastrand::Rng::with_seed(4));
        let chosen = |name: &str| wanted.is_empty() || wanted.split(',').any(|one| one == name);
        for (name, door) in DOORS.iter().filter(|(name, _)| chosen(name)) {
            let (started, mut tried) = (Instant::now(), 0u64);
            while started.elapsed().as_secs() < seconds {
                let mut bytes = Vec::new();
                for _ in 0..random.usize(1..4) {
                    let seed = &seeds[random.usize(..seeds.len())];
                    let from = if random.bool() { 0 } else { random.usize(..=seed.len()) };
                    let to =
                        if random.bool() { seed.len() } else { random.usize(from..=seed.len()) };
                    bytes.extend(&seed[from..to]);
                }
                for _ in 0..random.usize(..6) {
                    if let Some(at) = random.usize(..=bytes.len()).checked_sub(1) {
                        bytes[at] = random.u8(..);
                    }
                }
                door(&bytes);
                tried += 1;
            }
            println!("{name}: {tried} inputs");
        }
    }
}
