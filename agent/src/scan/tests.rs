//! Looks at made processes; the arithmetic alone is tried in `children`.

use super::*;
use std::fs;

struct Fake {
    root: tempfile::TempDir,
    scanner: Scanner,
}

impl Fake {
    fn new() -> Fake {
        let root = tempfile::tempdir().unwrap();
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096, boot_time_ms: 1_000_000 };
        let scanner = Scanner::new(Proc::new(root.path()), root.path(), units);
        Fake { root, scanner }
    }

    fn process(&self, pid: i32, ticks: u64, start: u64) {
        self.child(1, pid, ticks, 0, start);
    }

    fn child(&self, ppid: i32, pid: i32, ticks: u64, children: u64, start: u64) {
        let line = format!(
            "{pid} (work) R {ppid} 1 1 0 -1 0 0 0 0 0 {ticks} 0 {children} 0 20 0 1 0 {start} 0 10"
        );
        self.file(pid, "stat", &line);
    }

    fn end(&self, pid: i32) {
        fs::remove_dir_all(self.root.path().join(pid.to_string())).unwrap();
    }

    fn file(&self, pid: i32, name: &str, text: &str) {
        let path = self.root.path().join(pid.to_string()).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scan(&mut self, boot_seconds: f64) -> Vec<SampleRow> {
        self.scanner.scan(Moment { boot_seconds }).unwrap()
    }
}

/// What the row of a process tells, where it has one.
fn seconds(rows: &[SampleRow], pid: i32) -> Option<f64> {
    rows.iter().find(|row| row.pid == pid).map(|row| row.cpu_seconds)
}

#[test]
fn an_old_process_counts_from_the_first_look_and_a_new_one_from_its_start() {
    let mut fake = Fake::new();
    fake.process(10, 5000, 100);
    assert!(fake.scan(100.0).is_empty());
    fake.process(10, 5100, 100);
    fake.process(11, 40, 10_100);
    let mut rows = fake.scan(102.0);
    rows.sort_by_key(|row| row.pid);
    assert_eq!(rows.iter().map(|row| row.cpu_seconds).collect::<Vec<_>>(), [1.0, 0.4]);
    assert_eq!(rows[0].cpu_pct, 50.0);
    assert_eq!(rows[0].process_started_ms, 1_001_000);
    assert_eq!(rows[0].mem_bytes, 40_960);
    assert_eq!((rows[0].read_bytes, rows[0].cpus_allowed), (None, None));
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let mut fake = Fake::new();
    fake.process(10, 5000, 100);
    fake.scan(100.0);
    fake.process(10, 7, 10_150);
    assert_eq!(fake.scan(102.0)[0].cpu_seconds, 0.07);
}

#[test]
fn a_quiet_process_is_left_out_but_never_forgotten() {
    let mut fake = Fake::new();
    fake.process(10, 5, 100);
    fake.scan(100.0);
    assert_eq!(fake.scan(102.0).len(), 1, "the first row is always sent");
    assert!(fake.scan(104.0).is_empty());
    assert!(fake.scan(130.0).is_empty());
    let rows = fake.scan(132.0);
    assert_eq!((rows.len(), rows[0].cpu_seconds), (1, 0.0));
}

/// All that is read of a process; `exe` is a link, the others are files.
const FILES: [&str; 8] =
    ["stat", "exe", "io", "environ", "cmdline", "cgroup", "status", "task/11/status"];

/// Two processes with all their files, at a look.
fn whole(fake: &Fake, ticks: u64) {
    for pid in [10, 11] {
        for name in FILES {
            // What stands in place of a file goes again.
            let _ = fs::remove_dir(fake.root.path().join(pid.to_string()).join(name));
        }
        fake.process(pid, ticks, 100);
        fake.file(pid, "io", &format!("read_bytes: {ticks}\nwrite_bytes: 0\n"));
        fake.file(pid, "environ", "EO_WORKLOAD=web\0");
        fake.file(pid, "cmdline", "work\0");
        fake.file(pid, "cgroup", "0::/\n");
        fake.file(pid, "status", "Cpus_allowed:\t3\n");
        let switches =
            format!("voluntary_ctxt_switches:\t{ticks}\nnonvoluntary_ctxt_switches:\t1\n");
        fake.file(pid, &format!("task/{pid}/status"), &switches);
        let exe = fake.root.path().join(format!("{pid}/exe"));
        let _ = fs::remove_file(&exe);
        std::os::unix::fs::symlink("/usr/bin/work", exe).unwrap();
    }
}

/// Rows of three looks, with something done to the files of process 11 before each.
fn looks(spoil: impl Fn(&Fake)) -> Vec<SampleRow> {
    let mut fake = Fake::new();
    let mut rows = Vec::new();
    for look in 0..3 {
        whole(&fake, 100 * look);
        spoil(&fake);
        rows = fake.scan(100.0 + 2.0 * look as f64);
    }
    rows.sort_by_key(|row| row.pid);
    rows
}

#[test]
fn what_can_not_be_read_of_one_process_costs_its_own_details_and_nothing_else() {
    let untouched = looks(|_| {});
    assert_eq!((untouched.len(), untouched[1].read_bytes), (2, Some(100)));
    assert_eq!(untouched[1].voluntary_switches, Some(100));
    for name in FILES {
        // Nobody can read a directory as a file, root neither.
        let rows = looks(|fake| {
            let path = fake.root.path().join("11").join(name);
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        });
        assert_eq!(rows[0], untouched[0], "{name} of another process");
        if name == "stat" {
            assert_eq!(rows.len(), 1);
            continue;
        }
        let known = |row: &SampleRow| (row.pid, row.cpu_seconds, row.mem_bytes, row.threads);
        assert_eq!(known(&rows[1]), known(&untouched[1]), "{name}");
        match name {
            "io" => assert_eq!((rows[1].read_bytes, rows[1].write_bytes), (None, None)),
            "environ" => assert_eq!(&*rows[1].workload, "process/work"),
            "status" => assert_eq!(rows[1].cpus_allowed, None),
            "task/11/status" => assert_eq!(rows[1].voluntary_switches, None),
            _ => assert_eq!(rows[1], untouched[1], "{name} has another source, or says nothing"),
        }
    }
}

#[test]
fn a_stat_of_garbage_loses_that_row_only() {
    let untouched = looks(|_| {});
    for garbage in ["garbage", "", "11 (work", "11 (work) R x", "\u{0}\u{0}"] {
        let rows = looks(|fake| fake.file(11, "stat", garbage));
        assert_eq!(rows, untouched[..1], "{garbage:?}");
    }
    // Garbage for one look: what was used until then is told, and nothing twice.
    let mut fake = Fake::new();
    fake.process(10, 0, 100);
    fake.scan(100.0);
    fake.process(10, 50, 100);
    let before = fake.scan(102.0);
    fake.file(10, "stat", "garbage");
    assert!(fake.scan(104.0).is_empty());
    fake.process(10, 90, 100);
    fake.scan(106.0);
    fake.process(10, 110, 100);
    let after = fake.scan(108.0);
    assert_eq!((before[0].cpu_seconds, after[0].cpu_seconds), (0.5, 0.2));
}

#[test]
fn switches_and_io_are_differences_of_two_readings() {
    let mut fake = Fake::new();
    let busy = |fake: &Fake, ticks, switches: u64, bytes: u64| {
        fake.process(10, ticks, 100);
        let status =
            format!("voluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t1\n");
        fake.file(10, "task/10/status", &status);
        fake.file(10, "io", &format!("read_bytes: {bytes}\nwrite_bytes: 0\n"));
    };
    busy(&fake, 0, 10, 100);
    fake.scan(100.0);
    busy(&fake, 100, 20, 200);
    let row = fake.scan(102.0).remove(0);
    assert_eq!((row.voluntary_switches, row.read_bytes), (None, None));
    busy(&fake, 200, 50, 500);
    let row = fake.scan(104.0).remove(0);
    assert_eq!((row.voluntary_switches, row.involuntary_switches), (Some(30), Some(0)));
    assert_eq!((row.read_bytes, row.write_bytes), (Some(300), Some(0)));
}

#[test]
fn a_process_that_ended_is_remembered_for_a_while() {
    let mut fake = Fake::new();
    fake.process(10, 5, 100);
    fake.scan(100.0);
    fs::remove_dir_all(fake.root.path().join("10")).unwrap();
    fake.scan(102.0);
    assert_eq!(fake.scanner.find(10, 100).map(|p| p.pid), Some(10));
    assert_eq!(fake.scanner.find(10, 0).map(|p| p.pid), Some(10));
    assert!(fake.scanner.find(10, 99).is_none());
    fake.scan(120.0);
    assert!(fake.scanner.find(10, 100).is_none());
}

#[test]
fn what_ends_between_two_looks_is_not_lost() {
    let mut fake = Fake::new();
    fake.child(1, 10, 0, 0, 100);
    fake.child(10, 11, 500, 0, 200);
    fake.scan(100.0);
    fake.child(10, 11, 600, 0, 200);
    fake.scan(102.0);
    // The known child runs 30 ticks more and ends; the parent waits for it.
    fake.end(11);
    fake.child(1, 10, 0, 630, 100);
    let rows = fake.scan(104.0);
    assert_eq!((seconds(&rows, 10), seconds(&rows, 11)), (None, Some(0.3)));
    // Others live and die unseen.
    fake.child(1, 10, 5, 630 + 45, 100);
    assert_eq!(fake.scan(106.0)[0].cpu_seconds, 0.5);
}

#[test]
fn what_ends_together_with_its_parent_is_not_counted_again() {
    let mut fake = Fake::new();
    fake.child(0, 1, 0, 0, 0);
    fake.child(1, 10, 5, 0, 100);
    fake.child(10, 11, 500, 0, 200);
    fake.scan(100.0);
    fake.child(10, 11, 600, 0, 200);
    fake.scan(102.0);
    // Both end; init waits for 10, which had waited for 11.
    fake.end(10);
    fake.end(11);
    fake.child(0, 1, 0, 5 + 630, 0);
    let rows = fake.scan(104.0);
    assert_eq!([1, 10, 11].map(|pid| seconds(&rows, pid)), [None, None, Some(0.3)]);
}

#[test]
fn what_its_parent_waits_for_after_it_was_read_is_not_counted_again() {
    let mut fake = Fake::new();
    fake.child(1, 10, 0, 0, 100);
    fake.child(10, 11, 500, 0, 200);
    fake.scan(100.0);
    // 10 was read before it waited, 11 was gone then.
    fake.end(11);
    fake.scan(102.0);
    fake.child(1, 10, 0, 520, 100);
    let rows = fake.scan(104.0);
    assert_eq!(rows.iter().map(|row| row.cpu_seconds).collect::<Vec<_>>(), [0.2]);
}

#[test]
fn a_monitor_and_what_ends_below_it_belong_to_the_pod() {
    let mut fake = Fake::new();
    let shim = fake.root.path().join("containerd-shim-runc-v2");
    fs::write(&shim, "").unwrap();
    fake.child(1, 10, 0, 0, 100);
    std::os::unix::fs::symlink(&shim, fake.root.path().join("10/exe")).unwrap();
    fake.file(10, "cgroup", "0::/system.slice/containerd.service\n");
    fake.child(10, 11, 5, 0, 200);
    fake.file(11, "cgroup", &format!("0::/kubepods/pod{UID}/{ID}\n"));
    fake.scan(100.0);
    let process = |fake: &Fake, pid| {
        let found = fake.scanner.find(pid, 0).unwrap();
        (found.pod_id.as_deref().map(str::to_owned), found.container_id.is_some())
    };
    assert_eq!(process(&fake, 10), (Some(UID.into()), false));
    // A container's first process that ended before anybody saw it, and one outside.
    fake.child(10, 12, 30, 0, 10_050);
    let zombie = fs::read_to_string(fake.root.path().join("12/stat")).unwrap();
    fake.file(12, "stat", &zombie.replace(" R ", " Z "));
    fake.file(12, "cgroup", "1:cpu:/\n0::/\n");
    fake.child(1, 13, 1, 0, 10_050);
    let rows = fake.scan(102.0);
    let of = |pid| rows.iter().find(|row| row.pid == pid).unwrap();
    assert_eq!(of(12).pod_id.as_deref(), Some(UID));
    assert_eq!(&*of(12).workload, format!("pod/{UID}"));
    assert_eq!(&*of(13).workload, "process/work");
    // What it waits for without having been seen is the pod's.
    fake.end(12);
    fake.child(1, 10, 0, 30 + 40, 100);
    let rows = fake.scan(104.0);
    assert!(rows.iter().all(|row| row.pid == 13 || row.pod_id.as_deref() == Some(UID)), "{rows:?}");
    let of_pod = rows.iter().filter(|row| row.pod_id.is_some());
    assert_eq!(of_pod.map(|row| row.cpu_seconds).sum::<f64>(), 0.4);
}

#[test]
fn what_ends_while_it_is_read_stays_who_it_was() {
    let mut fake = Fake::new();
    fake.scan(100.0);
    fake.child(1, 10, 5, 0, 10_050);
    fake.file(10, "cgroup", &format!("0::/kubepods/pod{UID}/{ID}\n"));
    fake.scan(102.0);
    // Its second look would settle who it is, and finds nothing but the line of a zombie.
    let line = fs::read_to_string(fake.root.path().join("10/stat")).unwrap();
    fake.file(10, "stat", &line.replace(" R ", " Z ").replace(" 5 0 0 0 ", " 9 0 0 0 "));
    fake.file(10, "cgroup", "0::/\n");
    let row = fake.scan(104.0).remove(0);
    assert_eq!((row.pod_id.as_deref(), row.cpu_seconds), (Some(UID), 0.04));
}

#[test]
fn a_parent_that_was_there_before_starts_with_its_past() {
    let mut fake = Fake::new();
    fake.child(1, 10, 0, 9_000, 100);
    fake.scan(100.0);
    fake.child(1, 10, 1, 9_000, 100);
    assert_eq!(fake.scan(102.0)[0].cpu_seconds, 0.01);
}

#[test]
fn a_declared_workload_is_found_after_the_exec() {
    let mut fake = Fake::new();
    fake.scan(100.0);
    fake.process(10, 1, 10_100);
    assert_eq!(&*fake.scan(102.0)[0].workload, "process/work");
    fake.process(10, 2, 10_100);
    fake.file(10, "environ", "EO_WORKLOAD=web\0EO_REPLICA=b\0");
    let row = fake.scan(104.0).remove(0);
    assert_eq!((&*row.workload, row.replica.as_deref()), ("declared/web", Some("b")));
}

const UID: &str = "0d6d1a2b-1c5e-4f7a-9a70-3c1f2e5d7b90";
const ID: &str = "3f2ac1d0b5e44a61a5d2b8d7c9e0f1a23f2ac1d0b5e44a61a5d2b8d7c9e0f1a2";

fn directory(pod: bool) -> Directory {
    let uid = UID.to_owned();
    let owner = crate::containers::owner::Owner { kind: "Deployment".into(), name: "web".into() };
    let pods = crate::containers::Pod {
        uid: uid.clone(),
        name: "web-1".into(),
        namespace: "shop".into(),
        owner: Some(owner),
        labels: vec![],
    };
    let container = crate::containers::Container {
        id: ID.into(),
        name: Some("nginx".into()),
        pod_uid: Some(uid),
        ..Default::default()
    };
    let pods = if pod { vec![pods] } else { vec![] };
    Directory::of([crate::containers::Answer { containers: vec![container], pods }].iter())
}

#[test]
fn a_process_takes_the_name_that_its_runtime_tells_and_keeps_it() {
    let mut fake = Fake::new();
    fake.process(10, 5, 100);
    let path = format!("0::/kubepods/pod{UID}/{ID}\n");
    fake.file(10, "cgroup", &path);
    fake.scan(100.0);
    assert!(fake.scanner.find(10, 0).unwrap().workload.key.starts_with(&format!("pod/{UID}")));
    let process = fake.scanner.table.get_mut(&10).unwrap();
    place(process, &directory(true));
    assert_eq!(&*process.workload.key, "pod/shop.web");
    assert_eq!(process.placement.as_ref().unwrap().pod_name.as_deref(), Some("web-1"));
    place(process, &Directory::default());
    assert_eq!(&*process.workload.key, "pod/shop.web", "the runtime forgets it before it ends");
    assert!(process.placement.is_some());
}

#[test]
fn a_guest_is_named_by_the_arguments_of_its_process() {
    let mut fake = Fake::new();
    fake.process(10, 5, 100);
    let uuid = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0";
    fake.file(10, "cmdline", &format!("qemu\0-name\0guest=db,debug-threads=on\0-uuid\0{uuid}\0"));
    let exe = fake.root.path().join("10/exe");
    std::os::unix::fs::symlink("/usr/bin/qemu-system-x86_64", exe).unwrap();
    fake.scan(100.0);
    let found = fake.scanner.find(10, 0).unwrap();
    assert_eq!((&*found.workload.key, found.vm_uuid.as_deref()), ("vm/db", Some(uuid)));
}

#[test]
fn a_quiet_process_is_sent_without_looking_further() {
    let mut fake = Fake::new();
    fake.process(10, 5, 100);
    fake.file(10, "io", "read_bytes: 5\nwrite_bytes: 0\n");
    fake.file(10, "status", "Cpus_allowed:\t3\n");
    fake.scan(100.0);
    let row = fake.scan(102.0).remove(0);
    assert_eq!((row.read_bytes, row.cpus_allowed), (None, None));
    fake.process(10, 6, 100);
    assert_eq!(fake.scan(104.0)[0].cpus_allowed, Some(2.0));
    fake.process(10, 6, 100);
    assert_eq!(fake.scan(134.0)[0].cpus_allowed, Some(2.0), "what was read last");
}

/// A process whose children are reaped by nobody that is read, in a cgroup with a counter.
fn in_a_cgroup(membership: &str, count: impl Fn(&Fake, u64)) {
    let mut fake = Fake::new();
    let look = |fake: &mut Fake, ticks, hundredths, at| {
        fake.process(10, ticks, 100);
        fake.file(10, "cgroup", membership);
        fake.file(10, "environ", "EO_WORKLOAD=web\0");
        count(fake, hundredths);
        fake.scan(at)
    };
    look(&mut fake, 0, 5_000, 100.0);
    let rows = look(&mut fake, 50, 5_250, 102.0);
    let told: Vec<_> = rows.iter().map(|row| (row.pid, &*row.command, row.cpu_seconds)).collect();
    assert_eq!(told, [(10, "work", 0.5), (0, "[ended]", 2.0)]);
    assert_eq!((&*rows[1].workload, rows[1].workload_kind.as_ref()), ("declared/web", "declared"));
    assert_eq!((rows[1].mem_bytes, rows[1].cpu_pct), (0, 100.0));
    // Nothing more was used: nothing more is told.
    assert!(look(&mut fake, 50, 5_250, 104.0).is_empty());
    // Two workloads in one cgroup: whose time it was is not known.
    fake.process(11, 0, 10_390);
    fake.file(11, "cgroup", membership);
    look(&mut fake, 50, 5_250, 106.0);
    let rows = look(&mut fake, 50, 5_550, 108.0);
    assert!(rows.iter().all(|row| row.pid != 0), "{rows:?}");
}

#[test]
fn what_no_process_shows_is_told_by_the_cgroup_in_version_1() {
    in_a_cgroup("3:cpu,cpuacct:/svc\n0::/elsewhere\n", |fake, hundredths| {
        let directory = fake.root.path().join("cpu,cpuacct/svc");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cpuacct.usage"), format!("{}\n", hundredths * 10_000_000))
            .unwrap();
    });
}

#[test]
fn what_no_process_shows_is_told_by_the_cgroup_in_version_2() {
    in_a_cgroup("0::/svc\n", |fake, hundredths| {
        let directory = fake.root.path().join("svc");
        fs::create_dir_all(&directory).unwrap();
        let stat = format!("usage_usec {}\nuser_usec 0\nsystem_usec 0\n", hundredths * 10_000);
        fs::write(directory.join("cpu.stat"), stat).unwrap();
    });
}

#[test]
fn a_cgroup_without_a_counter_tells_nothing() {
    let mut fake = Fake::new();
    for (ticks, at) in [(0, 100.0), (50, 102.0), (90, 104.0)] {
        fake.process(10, ticks, 100);
        fake.file(10, "cgroup", "0::/../svc\n");
        assert!(fake.scan(at).iter().all(|row| row.pid == 10));
    }
}
