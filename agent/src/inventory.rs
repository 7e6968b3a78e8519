//! What runs on the node: one row per process, when it is first seen, when
//! something was learnt about it, and every few minutes.
//!
//! Only processes that have lived for an interval are worth a row. Costly
//! facts (checksum, libraries) are looked up only for those that used a
//! second of CPU, a few per interval.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::checksum::{Checksum, Checksums};
use crate::language::{by_content, by_name_and_maps, libraries, Language};
use crate::procfs::maps::basename;
use crate::procfs::Proc;
use crate::scan::{Process, Scanner};
use crate::wire::InventoryRow;

const REPEAT_SECONDS: f64 = 300.0;
/// CPU time from which the costly facts are worth it.
const NOTABLE_CPU_SECONDS: f64 = 1.0;
/// Costly look-ups in one interval.
const MAX_LOOKUPS: usize = 2;
/// Cheap first rows in one interval, so that a start is spread out.
const MAX_ROWS: usize = 500;

/// What was told about each process.
pub struct Inventory {
    proc: Proc,
    checksums: Checksums,
    told: HashMap<(i32, u64), Told>,
}

struct Told {
    at: f64,
    workload: Arc<str>,
    details: Option<Details>,
    checksum: Option<Arc<str>>,
}

#[derive(Clone)]
struct Details {
    language: Language,
    libraries: Option<Vec<Arc<str>>>,
}

impl Inventory {
    pub fn new(proc: Proc) -> Inventory {
        Inventory { proc, checksums: Checksums::new(), told: HashMap::new() }
    }

    /// Rows that are due now.
    pub fn rows(&mut self, scanner: &Scanner, boot_seconds: f64) -> Vec<InventoryRow> {
        self.checksums.step();
        let mut lookups = MAX_LOOKUPS;
        let mut rows = Vec::new();
        let mut told = HashMap::with_capacity(self.told.len());
        for process in scanner.processes() {
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
            details: None,
            checksum: None,
        });
        let mut news = first || now.workload != process.workload.key;
        if process.cpu_seconds >= NOTABLE_CPU_SECONDS {
            if now.details.is_none() && *lookups > 0 {
                *lookups -= 1;
                now.details = Some(self.details(process));
                news = true;
            }
            if now.checksum.is_none() {
                if let Checksum::Known(checksum) = self.checksums.get(&self.exe_file(process.pid)) {
                    now.checksum = Some(checksum);
                    news = true;
                }
            }
        }
        if !news && boot_seconds - now.at < REPEAT_SECONDS {
            return (now, None);
        }
        now.at = boot_seconds;
        now.workload = process.workload.key.clone();
        let row = row(process, &now);
        (now, Some(row))
    }

    fn details(&self, process: &Process) -> Details {
        let maps = self.proc.maps(process.pid);
        let name = exe_name(process);
        let mut language = by_name_and_maps(name, maps.as_deref().unwrap_or_default());
        if language.name.is_none() {
            language = by_content(&self.exe_file(process.pid));
        }
        let libraries = maps.map(|maps| libraries(&maps).into_iter().map(Arc::from).collect());
        Details { language, libraries }
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
}
