//! Asking the machine for its abilities: permissions, files, meters.
//!
//! Nothing here changes anything, and nothing waits for another program.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::{Ability, INSTANCE_TYPE};
use crate::config::Config;
use crate::containers::refresh::KNOWN_SOCKETS;
use crate::counters;
use crate::meters::{Finding, Meter};
use crate::node::Node;
use crate::procfs::{status, Proc};

/// Numbers of the kernel (`linux/capability.h`).
const CAP_KILL: u32 = 5;
const CAP_IPC_LOCK: u32 = 14;
const CAP_CHECKPOINT_RESTORE: u32 = 40;
/// Open files that a look at many processes wants (`scan` keeps half of them).
const WANTED_FILES: u64 = 8192;

/// Processes that are looked into for `process_details`.
const MOST_ASKED: usize = 200;
const FIRST_LINES_BYTES: u64 = 16 << 10;

/// Everything but what has to be asked of others: names of containers, the bus, devices.
pub fn look(
    config: &Config,
    node: &Node,
    meters: &[Box<dyn Meter + Send>],
    profiling: Result<(), String>,
) -> Vec<Ability> {
    let proc = Proc::new(&config.procfs);
    let sampling = profiling.is_ok();
    let mut found = vec![perf_event(profiling)];
    if sampling {
        found.push(kernel_symbols(&proc));
        found.extend(of_the_profiler(&proc, config.jvm_attach));
    }
    found.push(hardware_counters());
    found.extend(meters.iter().map(|meter| of_meter(meter.as_ref())));
    if meters.iter().any(|it| it.name() == "nvml" && matches!(it.finding(), Finding::Found(_))) {
        found.push(gpu_processes(&proc));
    }
    found.push(process_details(&proc));
    found.push(cgroups(&config.cgroupfs));
    found.push(open_files());
    found.extend(instance_type(node, config.cloud_metadata));
    found.extend(config.name_sources.is_empty().then(no_container_source));
    found
}

/// The driver tells pids of the host's namespace.
fn gpu_processes(proc: &Proc) -> Ability {
    let probe = match proc.has_pids_of_the_host() {
        Some(true) => Ok(()),
        _ => Err("the driver's pids are the host's, and this agent sees others".to_owned()),
    };
    Ability::probed("gpu_processes", probe, "run it with the host's pids (hostPID: true)")
}

/// The profiler says why and what to do in one: `perf_event: why; what to do`.
fn perf_event(profiling: Result<(), String>) -> Ability {
    let reason = match profiling {
        Ok(()) => return Ability::there("perf_event", ""),
        Err(reason) => reason,
    };
    let reason = reason.strip_prefix("perf_event: ").unwrap_or(&reason);
    let (why, next) =
        reason.split_once("; ").unwrap_or((reason, "set profile_hz where profiles are wanted"));
    Ability::missing("perf_event", why, next)
}

fn kernel_symbols(proc: &Proc) -> Ability {
    let path = proc.path("kallsyms");
    let probe = match fs::File::open(&path) {
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(file) => shows_addresses(file)
            .then_some(())
            .ok_or_else(|| format!("{} shows no addresses", path.display())),
    };
    Ability::probed(
        "kernel_symbols",
        probe,
        "run as root, or grant CAP_SYSLOG with kernel.kptr_restrict 1 or 0",
    )
}

/// The first lines tell: the kernel shows all addresses, or zeros in their place.
fn shows_addresses(file: fs::File) -> bool {
    let mut start = Vec::new();
    let read = file.take(FIRST_LINES_BYTES).read_to_end(&mut start);
    let address = |line: &[u8]| {
        let end = line.iter().position(|b| *b == b' ');
        end.is_some_and(|end| line[..end].iter().any(|b| *b != b'0'))
    };
    read.is_ok() && start.split(|b| *b == b'\n').any(address)
}

/// What a permission of its own gives; where procfs does not tell them, nothing is said.
fn of_the_profiler(proc: &Proc, jvm_attach: bool) -> Vec<Ability> {
    let text = proc.node_file("self/status").unwrap_or_default();
    let Some(mask) = status::effective_capabilities(&text) else { return Vec::new() };
    let held = |number: u32, why: &str| match mask >> number & 1 {
        1 => Ok(()),
        _ => Err(why.to_owned()),
    };
    let mut found = vec![
        Ability::probed(
            "replaced_files",
            held(CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE is not held: map_files is closed"),
            "grant it, or run as root (Linux 5.9 or newer)",
        ),
        Ability::probed(
            "stack_buffers",
            held(
                CAP_IPC_LOCK,
                "CAP_IPC_LOCK is not held: buffers stay below kernel.perf_event_mlock_kb",
            ),
            "grant it, or raise kernel.perf_event_mlock_kb",
        ),
    ];
    let may_ask = match jvm_attach {
        true => held(CAP_KILL, "CAP_KILL is not held: a JVM can't be asked to open its socket"),
        false => Err("switched off (jvm_attach = false)".to_owned()),
    };
    found.push(Ability::probed("jvm_names", may_ask, "grant CAP_KILL, and leave jvm_attach on"));
    found
}

fn hardware_counters() -> Ability {
    let probe = counters::probe();
    let next = match &probe {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "run as root or grant CAP_PERFMON"
        }
        _ => "virtual machines often have none; a host with vPMU, or bare metal, has",
    };
    let probe = probe.map_err(|error| format!("not supported here ({error})"));
    Ability::probed("hardware_counters", probe, next)
}

fn of_meter(meter: &dyn Meter) -> Ability {
    let name = format!("meter:{}", meter.name());
    let next = match meter.name() {
        "nvml" => "install NVIDIA's driver where there are such GPUs",
        "kernel" => "give the mount point of procfs (--procfs)",
        "hwmon" => "load the board's sensor driver (sensors-detect), or leave it: a PDU or BMC tells more",
        "rapl" => "load intel_rapl_msr, run as root; a virtual machine has none unless its host passes it on",
        _ => "add the node's BMC or PDU to the file: [[ipmi]], [[redfish]] or [[snmp]], here or at a gateway",
    };
    match meter.finding() {
        Finding::Found(text) => Ability::there(&name, &text),
        Finding::Missing(why) => Ability::missing(&name, &why, next),
    }
}

/// Whether other programs may be looked into. Some are closed to everybody (a
/// sandbox's first process): that most are open is what counts.
fn process_details(proc: &Proc) -> Ability {
    let mut pids = proc.pids().unwrap_or_default();
    pids.sort_unstable();
    pids.truncate(MOST_ASKED);
    let io = |pid: &i32| {
        let path = proc.path(format!("{pid}/io"));
        let error = fs::read(&path).err()?;
        Some(format!("{}: {error}", path.display()))
    };
    let closed: Vec<String> = pids.iter().filter_map(io).collect();
    match closed.first() {
        None if !pids.is_empty() => Ability::there("process_details", ""),
        Some(first) if closed.len() * 2 < pids.len() => {
            let found =
                format!("of all but {} of {} processes ({first})", closed.len(), pids.len());
            Ability::there("process_details", &found)
        }
        first => Ability::missing(
            "process_details",
            first.map_or("no process is there", String::as_str),
            "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
        ),
    }
}

fn cgroups(cgroupfs: &Path) -> Ability {
    let v2 = cgroupfs.join("cgroup.controllers").exists();
    let v1 = ["cpu", "cpuacct", "cpu,cpuacct"].iter().any(|name| cgroupfs.join(name).is_dir());
    let next = "give the mount point of the hierarchies (--cgroupfs)";
    match (v1, v2) {
        (false, false) => Ability::missing(
            "cgroups",
            &format!("{} has no hierarchy with CPU time", cgroupfs.display()),
            next,
        ),
        (_, v2) => Ability::there("cgroups", if v2 { "version 2" } else { "version 1" }),
    }
}

fn open_files() -> Ability {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let probe = match limit {
        Some(limit) if limit < WANTED_FILES => Err(format!("{limit} at most")),
        _ => Ok(()),
    };
    Ability::probed("open_files", probe, "raise LimitNOFILE to 16384")
}

/// None on hardware of one's own, which has no such type.
fn instance_type(node: &Node, may_ask: bool) -> Option<Ability> {
    let missing = |why: &str, next: &str| Some(Ability::missing(INSTANCE_TYPE, why, next));
    match (&node.instance_type, node.cloud) {
        (Some(name), _) => Some(Ability::there(INSTANCE_TYPE, name)),
        (None, _) if node.is_virtual == Some(false) => None,
        (None, Some(_)) if !may_ask => missing(
            "only the cloud's metadata service has it, and it may not be asked",
            "set cloud_metadata = true",
        ),
        (None, Some(_)) => missing("the metadata service was not asked yet", "start the agent"),
        (None, None) => missing(
            "the firmware names no cloud that is known here (EC2, Google, Azure)",
            "nothing to do on one's own hypervisor; price it by node_type",
        ),
    }
}

/// What the cloud's metadata service answered.
pub fn told_by_cloud(answer: &Result<String, String>) -> Ability {
    match answer {
        Ok(name) => Ability::there(INSTANCE_TYPE, name),
        Err(why) => Ability::missing(
            INSTANCE_TYPE,
            why,
            "let the node reach its metadata service (on EC2 a hop limit of 2 for containers)",
        ),
    }
}

fn no_container_source() -> Ability {
    let why = format!(
        "no socket of a container runtime ({}) and no kubelet_url",
        KNOWN_SOCKETS.join(", ")
    );
    Ability::missing("container_names", &why, "set container_sockets where there is one")
}

/// What a runtime or the kubelet answered.
pub fn container_source(name: &str, answer: &Result<String, String>) -> Ability {
    let name = format!("container_names:{name}");
    match answer {
        Ok(found) => Ability::there(&name, found),
        Err(why) => {
            Ability::missing(&name, why, "start the runtime, or let the agent open its socket")
        }
    }
}

/// What a device of the file answered.
pub fn device(meter: &str, name: &str, answer: &Result<String, String>) -> Ability {
    let name = format!("meter:device:{name}");
    match answer {
        Ok(found) => Ability::there(&name, found),
        Err(why) => Ability::missing(
            &name,
            why,
            &format!("correct its [[{meter}]] table, or look after the device"),
        ),
    }
}

/// What the bus answered.
pub fn bus(kind: &str, answer: &Result<String, String>) -> Ability {
    let name = format!("bus:{kind}");
    match answer {
        Ok(found) => Ability::there(&name, found),
        Err(why) => Ability::missing(&name, why, "start it, or correct its address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abilities::State;
    use crate::cloud::Cloud;
    use crate::config::Options;
    use crate::meters;

    /// A node of which nothing can be read.
    fn of_nothing() -> Vec<Ability> {
        let root = tempfile::tempdir().unwrap();
        let at = || Some(root.path().to_owned());
        let options = Options {
            procfs: at(),
            sysfs: at(),
            cgroupfs: at(),
            container_sockets: Some(vec![]),
            ..Default::default()
        };
        let config = options.resolve().unwrap();
        let meters = meters::detect(&Proc::new(root.path()), root.path(), 100.0);
        look(&config, &Node::default(), &meters, Err("perf_event: no; do this".into()))
    }

    #[test]
    fn a_node_without_anything_names_every_ability_with_reason_step_and_cost() {
        let found = of_nothing();
        for name in [
            "perf_event",
            "meter:kernel",
            "meter:none",
            "meter:rapl",
            "meter:hwmon",
            "process_details",
            "cgroups",
            "instance_type",
            "container_names",
        ] {
            let one = found.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}"));
            assert!(!one.is_there(), "{one:?}");
        }
        for one in &found {
            assert_ne!(one.costs(), "unknown", "{}: say what its absence costs", one.name);
            if let State::Missing { why, next } = &one.state {
                assert!(!why.is_empty() && !next.is_empty(), "{one:?}");
            }
        }
    }

    #[test]
    fn permissions_that_are_not_held_are_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("self")).unwrap();
        let proc = Proc::new(root.path());
        let found = |mask: &str, attach: bool| {
            fs::write(root.path().join("self/status"), format!("CapEff:\t{mask}\n")).unwrap();
            of_the_profiler(&proc, attach)
        };
        assert!(found("000001ffffffffff", true).iter().all(Ability::is_there));
        let none = found("0000000000000000", true);
        assert!(none.iter().all(|one| !one.is_there() && one.costs() != "unknown"));
        let words: Vec<_> = none.iter().map(Ability::sentence).collect();
        for word in ["CAP_CHECKPOINT_RESTORE", "CAP_IPC_LOCK", "CAP_KILL"] {
            assert!(words.iter().any(|sentence| sentence.contains(word)), "{word}: {words:?}");
        }
        assert!(found("000001ffffffffff", false)[2].sentence().contains("jvm_attach = false"));
    }

    #[test]
    fn one_closed_process_is_not_all_of_them() {
        let root = tempfile::tempdir().unwrap();
        let proc = Proc::new(root.path());
        assert!(!process_details(&proc).is_there());
        // Nobody can read a directory as a file, root neither.
        fs::create_dir_all(root.path().join("1/io")).unwrap();
        assert!(process_details(&proc).sentence().contains("1/io"));
        for pid in 2..5 {
            fs::create_dir_all(root.path().join(pid.to_string())).unwrap();
            fs::write(root.path().join(format!("{pid}/io")), "").unwrap();
        }
        let found = process_details(&proc);
        assert!(found.is_there() && found.sentence().contains("all but 1 of 4"), "{found:?}");
        fs::remove_dir_all(root.path().join("1")).unwrap();
        assert_eq!(process_details(&proc).sentence(), "process_details");
    }

    #[test]
    fn kernel_addresses_that_are_hidden_are_none() {
        let root = tempfile::tempdir().unwrap();
        let proc = Proc::new(root.path());
        assert!(!kernel_symbols(&proc).is_there());
        fs::write(root.path().join("kallsyms"), "0000000000000000 T hidden\n").unwrap();
        assert!(kernel_symbols(&proc).sentence().contains("kptr_restrict"));
        fs::write(root.path().join("kallsyms"), "ffffffff81000000 T shown\n").unwrap();
        assert!(kernel_symbols(&proc).is_there());
    }

    #[test]
    fn an_instance_type_is_missing_only_where_there_could_be_one() {
        let node = |cloud, is_virtual| Node { cloud, is_virtual, ..Default::default() };
        assert!(instance_type(&node(None, Some(false)), false).is_none());
        let words = |node: &Node, asked| instance_type(node, asked).unwrap().sentence();
        assert!(words(&node(Some(Cloud::Google), None), false).contains("cloud_metadata = true"));
        assert!(words(&node(None, Some(true)), false).contains("node_type"));
        let known = Node { instance_type: Some("m7i.large".into()), ..Default::default() };
        assert!(instance_type(&known, false).unwrap().is_there());
    }

    #[test]
    fn what_others_answered_becomes_an_ability() {
        let away = Err("connection refused".to_owned());
        for one in [
            bus("nats", &away),
            container_source("cri:/x", &away),
            device("redfish", "bmc-a", &away),
        ] {
            assert!(one.sentence().contains("connection refused"));
            assert_ne!(one.costs(), "unknown");
        }
        assert!(device("snmp", "pdu-a", &Ok("12 outlets".into())).is_there());
    }
}
