//! What runs on the node: one row per process, when it is first seen, when
//! something was learnt about it, and every few minutes.
//!
//! Only processes that have lived for an interval are worth a row. Costly
//! facts (language, libraries, checksum) are looked up a few per interval: first
//! for those that used a second of CPU, then, while nothing else waits, for the
//! quiet ones that stay (without checksum), so that in the end each is known.
//! A process that becomes another program is looked up again.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;

use crate::checksum::{Checksum, Checksums, FileId};
use crate::containers::Placement;
use crate::language::{
    by_content, by_name_and_maps, libraries, uses_cpp, version_in_files, Language,
};
use crate::procfs::maps::basename;
use crate::procfs::Proc;
use crate::runtime_settings::{jvm_options, thread_counts};
use crate::scan::{Process, Scanner};
use crate::wire::InventoryRow;

const REPEAT_SECONDS: f64 = 300.0;
/// CPU time from which the costly facts are worth it.
const NOTABLE_CPU_SECONDS: f64 = 1.0;
/// A process that used less is looked up when it has been there this long.
const SETTLED_SECONDS: f64 = 20.0;
/// Of one file with arguments of a JVM.
const MAX_ARGUMENT_FILE_BYTES: u64 = 64 << 10;
/// Costly look-ups in one interval.
const MAX_LOOKUPS: usize = 2;
/// Cheap first rows in one interval, so that a start is spread out.
const MAX_ROWS: usize = 500;

/// Programs whose language is remembered.
const MAX_LANGUAGES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// What was told about each process.
pub struct Inventory {
    proc: Proc,
    checksums: Checksums,
    languages: LruCache<FileId, Language>,
    told: HashMap<(i32, u64), Told>,
}

struct Told {
    at: f64,
    workload: Arc<str>,
    placement: Option<Arc<Placement>>,
    exe: Option<PathBuf>,
    details: Option<Details>,
    /// The details are of a time when it had used a CPU-second.
    looked_at_busy: bool,
    checksum: Option<Arc<str>>,
}

#[derive(Clone)]
struct Details {
    language: Language,
    libraries: Option<Vec<Arc<str>>>,
    settings: Option<Vec<Arc<str>>>,
}

impl Inventory {
    pub fn new(proc: Proc) -> Inventory {
        Inventory {
            proc,
            checksums: Checksums::new(),
            languages: LruCache::new(MAX_LANGUAGES),
            told: HashMap::new(),
        }
    }

    /// Rows that are due now.
    pub fn rows(&mut self, scanner: &Scanner, boot_seconds: f64) -> Vec<InventoryRow> {
        self.checksums.step();
        let mut lookups = MAX_LOOKUPS;
        let mut rows = Vec::new();
        let mut told = HashMap::with_capacity(self.told.len());
        let notable = |one: &&Process| one.cpu_seconds >= NOTABLE_CPU_SECONDS;
        let quiet = scanner.processes().filter(|one| !notable(one));
        for process in scanner.processes().filter(notable).chain(quiet) {
            let key = (process.pid, process.start_ticks);
            let before = self.told.remove(&key);
            let young = process.first_seen >= boot_seconds;
            if process.kernel_thread || young || rows.len() >= MAX_ROWS {
                told.extend(before.map(|before| (key, before)));
                continue;
            }
            let (now, row) = self.tell(process, before, boot_seconds, &mut lookups);
            told.insert(key, now);
            rows.extend(row);
        }
        self.told = told;
        rows
    }

    fn tell(
        &mut self,
        process: &Process,
        before: Option<Told>,
        boot_seconds: f64,
        lookups: &mut usize,
    ) -> (Told, Option<InventoryRow>) {
        let first = before.is_none();
        let mut now = before.unwrap_or_else(|| Told {
            at: boot_seconds,
            workload: process.workload.key.clone(),
            placement: process.placement.clone(),
            exe: process.exe.clone(),
            details: None,
            looked_at_busy: false,
            checksum: None,
        });
        let moved = now.workload != process.workload.key || now.placement != process.placement;
        let mut news = first || moved;
        if now.exe != process.exe {
            (now.exe, now.details, now.checksum) = (process.exe.clone(), None, None);
            now.looked_at_busy = false;
        }
        let notable = process.cpu_seconds >= NOTABLE_CPU_SECONDS;
        let settled = boot_seconds - process.first_seen >= SETTLED_SECONDS;
        // What a quiet program has loaded by then is not all that it will: once it is busy, again.
        let due = if notable { !now.looked_at_busy } else { settled && now.details.is_none() };
        if due && *lookups > 0 {
            *lookups -= 1;
            now.details = Some(self.details(process));
            now.looked_at_busy = notable;
            news = true;
        }
        if notable && now.checksum.is_none() {
            if let Checksum::Known(checksum) = self.checksums.get(&self.exe_file(process.pid)) {
                now.checksum = Some(checksum);
                news = true;
            }
        }
        if !news && boot_seconds - now.at < REPEAT_SECONDS {
            return (now, None);
        }
        now.at = boot_seconds;
        now.workload = process.workload.key.clone();
        now.placement = process.placement.clone();
        let row = row(process, &now);
        (now, Some(row))
    }

    fn details(&mut self, process: &Process) -> Details {
        let pid = process.pid;
        let maps = self.proc.maps(pid);
        let text = maps.as_deref().unwrap_or_default();
        let mut language = by_name_and_maps(exe_name(process), text);
        if language.name.is_none() || language.runtime_version.is_none() {
            language = self.by_files(process, language);
        }
        if language.name.is_none_or(|name| name == "c") && uses_cpp(text) {
            language.name = Some("cpp");
        }
        let read = |name| {
            let mut buffer = Vec::new();
            self.proc.process_file(pid, name, &mut buffer).map(<[u8]>::to_vec)
        };
        let settings = read("environ").map(|environ| {
            let mut settings = thread_counts(&environ);
            if language.name == Some("java") {
                let cmdline = read("cmdline").unwrap_or_default();
                let file = |path: &str| self.proc.text_of(pid, path, MAX_ARGUMENT_FILE_BYTES);
                settings.extend(jvm_options(&cmdline, &environ, file));
            }
            settings.into_iter().map(Arc::from).collect()
        });
        let libraries = maps.map(|maps| libraries(&maps).into_iter().map(Arc::from).collect());
        Details { language, libraries, settings }
    }

    /// What the executable and its runtime's files add; looked into once for all
    /// processes of a program.
    fn by_files(&mut self, process: &Process, known: Language) -> Language {
        let exe_file = self.exe_file(process.pid);
        let Some(id) = std::fs::metadata(&exe_file).ok().map(|found| FileId::of(&found)) else {
            return known;
        };
        if let Some(found) = self.languages.get(&id) {
            return found.clone();
        }
        let found = match (known.name, &process.exe) {
            (None, _) => by_content(&exe_file),
            (Some(name), Some(exe)) => {
                let root = self.proc.path(format!("{}/root", process.pid));
                let version = version_in_files(name, &root, exe, &exe_file);
                Language { runtime_version: known.runtime_version.or(version), ..known }
            }
            (Some(_), None) => known,
        };
        self.languages.put(id, found.clone());
        found
    }

    /// The link, not its target: it works across mount namespaces and deletion.
    fn exe_file(&self, pid: i32) -> std::path::PathBuf {
        self.proc.path(format!("{pid}/exe"))
    }
}

fn exe_name(process: &Process) -> &str {
    process.exe.as_deref().and_then(Path::to_str).map_or(&process.command, basename)
}

fn row(process: &Process, told: &Told) -> InventoryRow {
    let language = match &told.details {
        Some(details) => details.language.clone(),
        None => by_name_and_maps(exe_name(process), ""),
    };
    let placed = process.placement.as_deref();
    InventoryRow {
        scope: "process".into(),
        workload: Some(process.workload.key.clone()),
        workload_kind: Some(process.workload.kind.into()),
        replica: process.workload.replica.clone(),
        pod_id: process.pod_id.clone(),
        container_id: process.container_id.clone(),
        pid: Some(process.pid),
        process_started_ms: Some(process.started_ms),
        checksum: told.checksum.clone(),
        language: language.name.map(Arc::from),
        runtime_version: language.runtime_version.as_deref().map(Arc::from),
        command_line: Some(process.program.clone()),
        libraries: told.details.as_ref().and_then(|details| details.libraries.clone()),
        runtime_settings: told.details.as_ref().and_then(|details| details.settings.clone()),
        namespace: placed.and_then(|placed| placed.namespace.clone()),
        pod_name: placed.and_then(|placed| placed.pod_name.clone()),
        owner: placed.and_then(|placed| placed.owner.clone()),
        labels: placed.map(|placed| placed.labels.clone()),
        container_name: placed.and_then(|placed| placed.container_name.clone()),
        image: placed.and_then(|placed| placed.image.clone()),
        image_digest: placed.and_then(|placed| placed.image_digest.clone()),
        vm_uuid: process.vm_uuid.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Moment, Units};
    use std::fs;

    #[test]
    fn a_process_is_told_once_it_has_lived_and_again_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("10");
        fs::create_dir_all(&directory).unwrap();
        let stat =
            |ticks: u32| format!("10 (work) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 0 10");
        fs::write(directory.join("stat"), stat(0)).unwrap();
        let proc = Proc::new(root.path());
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096, boot_time_ms: 0 };
        let mut scanner = Scanner::new(proc.clone(), root.path(), units);
        let mut inventory = Inventory::new(proc);
        let mut rows_at = |scanner: &mut Scanner, boot_seconds: f64| {
            scanner.scan(Moment { boot_seconds }).unwrap();
            inventory.rows(scanner, boot_seconds)
        };
        assert!(rows_at(&mut scanner, 100.0).is_empty());
        let rows = rows_at(&mut scanner, 102.0);
        assert_eq!(rows[0].workload.as_deref(), Some("process/work"));
        assert_eq!(rows[0].checksum, None);
        assert!(rows_at(&mut scanner, 104.0).is_empty());
        assert_eq!(rows_at(&mut scanner, 403.0).len(), 1);

        fs::write(directory.join("stat"), stat(150)).unwrap();
        fs::write(directory.join("exe"), "abc").unwrap();
        fs::write(directory.join("maps"), "0-1 r-xp 0 0 1 /lib/libgomp.so.1\n").unwrap();
        let rows = rows_at(&mut scanner, 405.0);
        assert_eq!(rows[0].libraries.as_deref(), Some(&[Arc::from("libgomp")][..]));
        let checksum =
            (0..5).find_map(|i| rows_at(&mut scanner, 407.0 + f64::from(i)).pop()?.checksum);
        assert!(checksum.unwrap().starts_with("ba7816bf"));
    }

    #[test]
    fn a_quiet_process_is_known_in_the_end_and_again_as_another_program() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("10");
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join("stat"),
            "10 (work) S 1 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 5 0 10",
        )
        .unwrap();
        fs::write(directory.join("environ"), "GOMAXPROCS=2\0").unwrap();
        fs::write(directory.join("cmdline"), "work\0").unwrap();
        let become_program = |name: &str, content: &[u8]| {
            let file = root.path().join(name);
            fs::write(&file, content).unwrap();
            let _ = fs::remove_file(directory.join("exe"));
            std::os::unix::fs::symlink(&file, directory.join("exe")).unwrap();
        };
        become_program("first", b"..\xff Go buildinf:\x08\x02..go1.22.3\0..");
        let proc = Proc::new(root.path());
        let units = Units { ticks_per_second: 100.0, page_bytes: 4096, boot_time_ms: 0 };
        let mut scanner = Scanner::new(proc.clone(), root.path(), units);
        let mut inventory = Inventory::new(proc);
        let mut rows_at = |boot_seconds: f64| {
            scanner.scan(Moment { boot_seconds }).unwrap();
            inventory.rows(&scanner, boot_seconds)
        };
        rows_at(100.0);
        assert_eq!(rows_at(102.0)[0].language, None, "it may end before it is worth a look");
        let row = rows_at(120.0).remove(0);
        assert_eq!(
            (row.language.as_deref(), row.runtime_version.as_deref()),
            (Some("go"), Some("1.22.3"))
        );
        assert_eq!(row.runtime_settings.as_deref(), Some(&[Arc::from("GOMAXPROCS=2")][..]));
        assert_eq!(row.checksum, None, "not worth its cost");
        assert!(rows_at(122.0).is_empty());
        become_program("second", b"at /rustc/abc/library");
        fs::write(
            directory.join("stat"),
            "10 (other) S 1 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 5 0 10",
        )
        .unwrap();
        assert_eq!(rows_at(124.0)[0].language.as_deref(), Some("rust"));
    }
}
