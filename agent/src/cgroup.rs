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
    pub container_id: Option<String>,
    pub pod_id: Option<String>,
    /// systemd service unit, e.g. `ssh.service`.
    pub service: Option<String>,
}

/// Reads the text of `/proc/PID/cgroup`.
pub fn membership(text: &str) -> Membership {
    let mut found = Membership::default();
    for (_, path) in lines(text) {
        for part in path.split('/') {
            if let Some(id) = container_id(part) {
                found.container_id.get_or_insert(id);
            }
            if let Some(uid) = pod_uid(part) {
                found.pod_id.get_or_insert(uid);
            }
        }
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
    // containerd without systemd: `cri-containerd:<id>` behind the slice name.
    let id = part.rsplit(['-', ':']).next()?;
    let hex =
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    // `crio-conmon-<id>` and `libpod-conmon-<id>` are the monitor, not the container.
    (hex && !part.contains("conmon")).then(|| id.to_owned())
}

/// `pod<uid>` (cgroupfs), `kubepods-burstable-pod<uid with _>.slice` (systemd).
fn pod_uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = if part.starts_with("kubepods") {
        part.rsplit("-pod").next()?
    } else {
        part.strip_prefix("pod")?
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
    (!unit.starts_with("user@")).then(|| unit.replace("\\x2d", "-"))
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
                false,
                Some("containerd.service"),
            ),
            ("0::/system.slice/ssh.service".into(), false, false, Some("ssh.service")),
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
    }
}
