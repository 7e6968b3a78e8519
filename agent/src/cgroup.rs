//! What a cgroup path says: container, pod, service, and the CPU quota.
//!
//! `/proc/PID/cgroup` has one line per hierarchy (v1, hybrid) or one line in
//! all (v2). The path is written by the container runtime and the kubelet,
//! each in a style of its own; the table in the tests lists the known ones.
//! `workload_key` makes a name out of it, `scan` asks for the quota.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Where a process belongs, as far as its cgroup path tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The innermost container; the name where a runtime has no ids (LXC, systemd-nspawn).
    pub container_id: Option<String>,
    pub pod_id: Option<String>,
    /// Guest of libvirt.
    pub vm: Option<String>,
    /// systemd service unit, e.g. `ssh.service`.
    pub service: Option<String>,
}

/// Reads the text of `/proc/PID/cgroup`.
pub fn membership(text: &str) -> Membership {
    let mut found = Membership::default();
    for (_, path) in lines(text) {
        let (mut container, mut pod, mut vm) = (None, None, None);
        // Inside a node that is a container itself (kind), the inner ones count.
        for part in path.split(['/', ':']) {
            container = container_id(part).or_else(|| named_container(part)).or(container);
            pod = pod_uid(part).or(pod);
            vm = guest(part).or(vm);
        }
        found.container_id = found.container_id.or(container);
        found.pod_id = found.pod_id.or(pod);
        found.vm = found.vm.or(vm);
        if found.service.is_none() {
            found.service = service(path);
        }
    }
    found
}

/// `(controllers, path)` of each line; v2 has no controllers.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    })
}

/// `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`,
/// `libpod-<id>.scope`, or the bare id.
fn container_id(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next()?;
    let hex =
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    // `crio-conmon-<id>` and `libpod-conmon-<id>` are the monitor, not the container.
    (hex && !part.contains("conmon")).then(|| id.to_owned())
}

/// `lxc.payload.<name>`; `machine-<name>.scope` and `machine-lxc\x2d<n>\x2d<name>.scope`
/// of systemd-machined; `systemd-nspawn@<name>.service`.
fn named_container(part: &str) -> Option<String> {
    let name = if let Some(name) = part.strip_prefix("lxc.payload.") {
        name.to_owned()
    } else if let Some(unit) = machine(part) {
        if unit.starts_with("qemu-") {
            return None;
        }
        unit.strip_prefix("lxc-").map(after_number).unwrap_or(&unit).to_owned()
    } else {
        unescape(part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service")?)
    };
    (!name.is_empty()).then_some(name)
}

/// `machine-qemu\x2d<n>\x2d<guest>.scope`, as libvirt names it.
fn guest(part: &str) -> Option<String> {
    let unit = machine(part)?;
    let name = after_number(unit.strip_prefix("qemu-")?);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Name of a machine of systemd-machined.
fn machine(part: &str) -> Option<String> {
    Some(unescape(part.strip_prefix("machine-")?.strip_suffix(".scope")?))
}

/// `web` of `3-web`.
fn after_number(text: &str) -> &str {
    match text.split_once('-') {
        Some((number, name)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => text,
    }
}

/// `\x2d` and the like, as systemd writes what a unit's name can't hold.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = rest.strip_prefix(b"\\x").and_then(|hex| hex.get(..2));
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                plain.push(code);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                plain.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `pod<uid>` (cgroupfs), `kubepods-burstable-pod<uid with _>.slice` (systemd),
/// and the same below a root of the kubelet's own (`kubelet-kubepods-…`).
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.split_once("kubepods") {
        Some((_, behind)) => behind.rsplit_once("-pod")?.1,
        None => part.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    // A UUID, or the 32 hex digits of a static (mirror) pod.
    let known =
        matches!(uid.len(), 32 | 36) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    known.then_some(uid)
}

/// The innermost service below `system.slice` (or a user's manager).
fn service(path: &str) -> Option<String> {
    let unit = path.split('/').rev().find(|part| part.ends_with(".service"))?;
    // Every desktop program of a user sits below `user@1000.service`.
    (!unit.starts_with("user@")).then(|| unescape(unit))
}

/// CPUs that the quota of the cgroup of a process, or of a parent, allows.
pub fn cpu_quota(cgroupfs: &Path, text: &str) -> Option<f64> {
    let mut smallest: Option<f64> = None;
    for (controllers, path) in lines(text) {
        let roots: &[PathBuf] = if controllers.is_empty() {
            &[cgroupfs.to_owned(), cgroupfs.join("unified")]
        } else if controllers.split(',').any(|name| name == "cpu") {
            &[cgroupfs.join(controllers), cgroupfs.join("cpu")]
        } else {
            continue;
        };
        for root in roots {
            let mut directory = Some(Path::new(path.trim_start_matches('/')));
            while let Some(relative) = directory {
                if let Some(quota) = directory_quota(&root.join(relative)) {
                    smallest = Some(smallest.map_or(quota, |s| s.min(quota)));
                }
                directory = relative.parent();
            }
        }
    }
    smallest
}

/// Path and directory of the cgroup that a process' CPU time is charged to;
/// None where the hierarchy is not mounted, or the path leads out of what is.
pub fn cpu_time_directory(cgroupfs: &Path, text: &str) -> Option<(String, PathBuf)> {
    let is_cpu = |(controllers, _): &(&str, &str)| controllers.split(',').any(|c| c == "cpuacct");
    let v1 = lines(text).find(is_cpu);
    let v1 = v1.map(|line| (line, vec![cgroupfs.join(line.0), cgroupfs.join("cpuacct")]));
    let v2 = || {
        let line = lines(text).find(|(controllers, _)| controllers.is_empty())?;
        Some((line, vec![cgroupfs.to_owned(), cgroupfs.join("unified")]))
    };
    let ((_, path), roots) = v1.or_else(v2)?;
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    let directory = roots.into_iter().map(|root| root.join(relative)).find(|path| path.is_dir())?;
    Some((path.to_owned(), directory))
}

/// CPU seconds that a cgroup and those below it have used, by its counter.
pub fn cpu_seconds(directory: &Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
        return Some(text.trim().parse::<u64>().ok()? as f64 / 1e9);
    }
    let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(micros.trim().parse::<u64>().ok()? as f64 / 1e6)
}

/// Path and directory of the cgroup by which the kernel counts events for a
/// process; None for the root, which is the node.
pub fn counting_directory(cgroupfs: &Path, text: &str) -> Option<(String, PathBuf)> {
    let is_perf =
        |(controllers, _): &(&str, &str)| controllers.split(',').any(|c| c == "perf_event");
    let v1 = lines(text).find(is_perf).map(|line| (line, vec![cgroupfs.join("perf_event")]));
    let v2 = || {
        let line = lines(text).find(|(controllers, _)| controllers.is_empty())?;
        Some((line, vec![cgroupfs.join("unified"), cgroupfs.to_owned()]))
    };
    let ((_, path), roots) = v1.or_else(v2)?;
    let relative = Path::new(path.trim_start_matches('/'));
    let leaves = relative.components().any(|part| part == std::path::Component::ParentDir);
    if relative.as_os_str().is_empty() || leaves {
        return None;
    }
    let directory = roots.into_iter().map(|root| root.join(relative)).find(|path| path.is_dir())?;
    Some((path.to_owned(), directory))
}

fn directory_quota(directory: &Path) -> Option<f64> {
    if let Some(text) = readable(&directory.join("cpu.max")) {
        return v2_quota(&text);
    }
    let quota = readable(&directory.join("cpu.cfs_quota_us"))?;
    let period = readable(&directory.join("cpu.cfs_period_us"))?;
    ratio(&quota, &period)
}

/// The text of a control file. One that is there but can't be read is told once: its quota is then unknown, and
/// nothing else of the process is lost.
fn readable(file: &Path) -> Option<String> {
    static TOLD: Once = Once::new();
    match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            TOLD.call_once(|| tracing::warn!("{}", unreadable(file, &error)));
            None
        }
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> String {
    format!(
        "cgroup file {}: {error}; CPU quotas there are unknown, so cpus_allowed is that of the affinity mask; \
         run as root, or check --cgroupfs",
        file.display()
    )
}

/// `max 100000` or `150000 100000`.
pub(crate) fn v2_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0)
        .then(|| quota / period)
        .filter(|cpus| cpus.is_finite() && *cpus > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "3f2ac1d0b5e44a61a5d2b8d7c9e0f1a23f2ac1d0b5e44a61a5d2b8d7c9e0f1a2";
    const OUTER: &str = "aaaac1d0b5e44a61a5d2b8d7c9e0f1a23f2ac1d0b5e44a61a5d2b8d7c9e0f1a2";
    const UID: &str = "0d6d1a2b-1c5e-4f7a-9a70-3c1f2e5d7b90";

    #[test]
    fn every_known_style_of_path_is_recognised() {
        let under = UID.replace('-', "_");
        // path, container, pod, service
        let table = [
            (format!("0::/system.slice/docker-{ID}.scope"), true, false, None),
            (format!("5:cpu,cpuacct:/docker/{ID}"), true, false, None),
            (format!("0::/machine.slice/libpod-{ID}.scope/container"), true, false, None),
            (format!("0::/machine.slice/libpod-conmon-{ID}.scope"), false, false, None),
            (format!("0::/kubepods/burstable/pod{UID}/{ID}"), true, true, None),
            (format!("4:cpu:/kubepods/pod{UID}/{ID}"), true, true, None),
            (
                format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/cri-containerd-{ID}.scope"),
                true,
                true,
                None,
            ),
            (format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-{ID}.scope"), true, true, None),
            (
                format!("1:name=systemd:/system.slice/containerd.service/kubepods-burstable-pod{under}.slice:cri-containerd:{ID}"),
                true,
                true,
                Some("containerd.service"),
            ),
            (
                format!("0::/system.slice/docker-{OUTER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope"),
                true,
                true,
                None,
            ),
            (format!("6:memory:/docker/{OUTER}/kubelet/kubepods/besteffort/pod{UID}/{ID}"), true, true, None),
            (
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
                true,
                false,
                None,
            ),
            (
                format!("0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{ID}.scope"),
                true,
                false,
                None,
            ),
            (format!("11:cpuset:/../../kubepods/burstable/pod{UID}/{ID}"), true, true, None),
            (format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-{ID}.scope/container"), true, true, None),
            (format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-conmon-{ID}.scope"), false, true, None),
            ("0::/system.slice/ssh.service".into(), false, false, Some("ssh.service")),
            ("0::/system.slice/system-x\\x2dy.slice/x\\x2dy.service".into(), false, false, Some("x-y.service")),
            ("0::/system.slice/system-getty.slice/getty@tty1.service".into(), false, false, Some("getty@tty1.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope".into(), false, false, None),
            ("0::/".into(), false, false, None),
            (String::new(), false, false, None),
            ("nonsense".into(), false, false, None),
        ];
        for (text, container, pod, service) in table {
            let found = membership(&text);
            assert_eq!(found.container_id.as_deref(), container.then_some(ID), "{text}");
            assert_eq!(found.pod_id.as_deref(), pod.then_some(UID), "{text}");
            assert_eq!(found.service.as_deref(), service, "{text}");
        }
    }

    #[test]
    fn machines_are_known_by_their_name() {
        for (path, container, vm) in [
            (
                "/machine.slice/machine-qemu\\x2d1\\x2dweb\\x2dfront.scope/libvirt/emulator",
                None,
                Some("web-front"),
            ),
            (
                "/machine.slice/machine-qemu\\x2d12\\x2dubuntu20.04.scope/libvirt/vcpu0",
                None,
                Some("ubuntu20.04"),
            ),
            ("/machine.slice/machine-lxc\\x2d7\\x2ddb.scope", Some("db"), None),
            (
                "/machine.slice/machine-debian\\x2dtree.scope/payload/system.slice/cron.service",
                Some("debian-tree"),
                None,
            ),
            ("/machine.slice/systemd-nspawn@build.service/payload", Some("build"), None),
            ("/lxc.payload.web/system.slice/nginx.service", Some("web"), None),
            ("/lxc.monitor.web", None, None),
            ("/machine.slice", None, None),
            ("/machine-.scope", None, None),
        ] {
            let found = membership(&format!("0::{path}\n"));
            assert_eq!(found.container_id.as_deref(), container, "{path}");
            assert_eq!(found.vm.as_deref(), vm, "{path}");
        }
    }

    #[test]
    fn what_systemd_escaped_is_read_again() {
        for (text, plain) in
            [("a\\x2db", "a-b"), ("\\x2", "\\x2"), ("\\xzz", "\\xzz"), ("é\\xff", "é\u{fffd}")]
        {
            assert_eq!(unescape(text), plain);
        }
    }

    #[test]
    fn a_hybrid_host_is_read_from_all_its_lines() {
        let text = format!("9:name=systemd:/\n4:memory:/docker/{ID}\n0::/\n");
        assert_eq!(membership(&text).container_id.as_deref(), Some(ID));
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/cpu.max"), "150000 100000\n").unwrap();
        fs::write(root.path().join("a/b/cpu.max"), "max 100000\n").unwrap();
        assert_eq!(cpu_quota(root.path(), "0::/a/b\n"), Some(1.5));
        assert_eq!(cpu_quota(root.path(), "0::/c\n"), None);

        fs::create_dir_all(root.path().join("cpu,cpuacct/x")).unwrap();
        fs::write(root.path().join("cpu,cpuacct/x/cpu.cfs_quota_us"), "50000\n").unwrap();
        fs::write(root.path().join("cpu,cpuacct/x/cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(cpu_quota(root.path(), "3:cpu,cpuacct:/x\n"), Some(0.5));
        fs::write(root.path().join("cpu,cpuacct/x/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(cpu_quota(root.path(), "3:cpu,cpuacct:/x\n"), None);
    }

    #[test]
    fn a_quota_that_is_no_number_of_cpus_is_unknown() {
        for text in ["inf 100000", "NaN 1", "1 inf", "1e300 1e-300", "max 100000", "0 1"] {
            assert_eq!(v2_quota(text), None, "{text}");
        }
    }

    #[test]
    fn an_unreadable_cgroup_costs_its_quota_only_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/cpu.max")).unwrap();
        fs::write(root.path().join("a/cpu.max"), "150000 100000\n").unwrap();
        assert_eq!(cpu_quota(root.path(), "0::/a/b\n"), Some(1.5));
        let file = root.path().join("a/b/cpu.max");
        let told = unreadable(&file, &fs::read_to_string(&file).unwrap_err());
        assert!(told.contains("a/b/cpu.max") && told.contains("run as root"), "{told}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n]{0,200}") {
            let _ = membership(&text);
        }

        #[test]
        fn no_escape_makes_it_panic(text in ".{0,40}") {
            let _ = (unescape(&text), membership(&format!("0::/machine-{text}.scope")));
        }
    }
}
