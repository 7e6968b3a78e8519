//! Addresses to `function (module)`.
//!
//! blazesym reads the ELF symbol tables of a process' files, `large_tables`
//! those that are too large to keep; the kernel's names come from `kallsyms`. Answers are kept for one window only, because
//! an exec or a just-in-time compiler gives addresses a new meaning. What has
//! no symbol is written as `[build id+offset] (module)`, so that it can still
//! be resolved by somebody who has the file; what is not even mapped is
//! `[unwind failed]`.

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use blazesym::helper::read_elf_build_id;
use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use blazesym::Pid;

use super::kallsyms::Kallsyms;
use super::large_tables::{LargeTables, Stamp};
use crate::procfs::maps::{self, basename, Mapping};
use crate::procfs::Proc;

pub const UNWIND_FAILED: &str = "[unwind failed]";
/// Code that was compiled at run time and that nobody named.
pub const NO_NAME_JIT: &str = "[compiled at run time] (jit)";

/// What kind of memory code without a symbol lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    InFile,
    /// Anonymous memory: made by a just-in-time compiler.
    Compiled,
}

/// What is known of an address.
#[derive(Debug, Clone)]
enum Name {
    Open,
    None,
    Found(Arc<str>),
}

/// Symbolises, with caches that `reset` and `end_window` bound.
pub struct Symbols {
    proc: Proc,
    symbolizer: Symbolizer,
    kernel: Option<Kallsyms>,
    map_files: bool,
    frames: HashMap<(i32, u64), Arc<str>>,
    build_ids: HashMap<String, Option<String>>,
    large: LargeTables,
}

impl Symbols {
    pub fn new(proc: Proc) -> Symbols {
        let kernel = fs::File::open(proc.path("kallsyms"))
            .ok()
            .and_then(|file| Kallsyms::read(BufReader::new(file)));
        Symbols {
            map_files: may_open_map_files(&proc),
            proc,
            symbolizer: symbolizer(),
            kernel,
            frames: HashMap::new(),
            build_ids: HashMap::new(),
            large: LargeTables::new(),
        }
    }

    /// Forgets what may have changed its meaning.
    pub fn end_window(&mut self) {
        self.frames.clear();
    }

    /// Gives all memory of symbol tables back.
    pub fn reset(&mut self) {
        self.symbolizer = symbolizer();
        self.build_ids.clear();
        self.frames.shrink_to_fit();
    }

    /// Looks up addresses of one process that are not known yet. `elsewhere`
    /// names what the symbol tables don't: code of a file, or (`None`) of none.
    pub fn resolve(
        &mut self,
        pid: i32,
        addresses: impl Iterator<Item = u64>,
        mut elsewhere: impl FnMut(u64, Place) -> Option<String>,
    ) {
        let mut unknown: Vec<u64> =
            addresses.filter(|address| !self.frames.contains_key(&(pid, *address))).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return;
        }
        let maps = self.proc.maps(pid);
        let maps: Vec<Mapping> = maps.iter().flat_map(|text| maps::parse_all(text)).collect();
        let mut names = self.in_large_tables(pid, &unknown, &maps);
        self.by_blazesym(pid, &unknown, &mut names);
        for (address, name) in unknown.into_iter().zip(names) {
            let name = match name {
                Name::Found(name) => name,
                _ => self.unnamed(pid, address, &maps, &mut elsewhere),
            };
            if &*name != NO_NAME_JIT {
                self.frames.insert((pid, address), name);
            }
        }
    }

    /// Names in files whose tables are too large for blazesym; the rest stays open.
    fn in_large_tables(&mut self, pid: i32, addresses: &[u64], maps: &[Mapping]) -> Vec<Name> {
        let mut names = vec![Name::Open; addresses.len()];
        let mut at = 0;
        while let Some(address) = addresses.get(at) {
            let Some(mapping) = maps::at(maps, *address) else {
                at += 1;
                continue;
            };
            // Addresses are sorted: those of one mapping stand together.
            let end = at + addresses[at..].partition_point(|address| *address < mapping.end);
            if mapping.path.starts_with('/') {
                let open = || {
                    let file =
                        self.proc.mapped_file(pid, mapping.start, mapping.end, mapping.path)?;
                    Some((Stamp::of(&file)?, file))
                };
                if let Some((stamp, file)) =
                    open().filter(|(stamp, file)| self.large.takes(*stamp, file))
                {
                    let offset = |address| address - mapping.start + mapping.offset;
                    let offsets: Vec<u64> = addresses[at..end].iter().map(offset).collect();
                    let module = basename(mapping.path);
                    let found = self.large.names(stamp, &file, &offsets);
                    for (name, found) in names[at..end].iter_mut().zip(found) {
                        *name = found.map_or(Name::None, |found| {
                            Name::Found(format!("{found} ({module})").into())
                        });
                    }
                }
            }
            at = end;
        }
        names
    }

    /// Fills in what is open.
    fn by_blazesym(&mut self, pid: i32, addresses: &[u64], names: &mut [Name]) {
        let is_open = |name: &Name| matches!(name, Name::Open);
        let open = addresses.iter().zip(names.iter()).filter(|(_, name)| is_open(name));
        let open: Vec<u64> = open.map(|(address, _)| *address).collect();
        if open.is_empty() {
            return;
        }
        let mut source = Process::new(Pid::from(pid.unsigned_abs()));
        source.map_files = self.map_files;
        source.debug_syms = false;
        // Does not read what OpenJDK writes: `jit` does.
        source.perf_map = false;
        let found = self.symbolizer.symbolize(&Source::Process(source), Input::AbsAddr(&open));
        let found = found.unwrap_or_default();
        for (name, found) in names.iter_mut().filter(|name| is_open(name)).zip(found) {
            *name = match found {
                Symbolized::Sym(symbol) => {
                    let module = symbol.module.as_deref().and_then(|m| m.to_str());
                    let module = module.map_or("?", basename);
                    Name::Found(format!("{} ({module})", symbol.name).into())
                }
                Symbolized::Unknown(_) => Name::None,
            };
        }
    }

    /// The frame of a user address that `resolve` has seen. Code without a name
    /// is not kept: it may have one the next time.
    pub fn user(&self, pid: i32, address: u64) -> Arc<str> {
        self.frames.get(&(pid, address)).cloned().unwrap_or_else(|| NO_NAME_JIT.into())
    }

    /// The frame of a kernel address.
    pub fn kernel(&mut self, address: u64) -> Arc<str> {
        // Pid 0 never has a user stack: it stands for the kernel here.
        let kernel = &self.kernel;
        let name = || {
            let name = kernel.as_ref().and_then(|symbols| symbols.name(address));
            name.map_or("[kernel]".to_owned(), |name| format!("{name} (kernel)")).into()
        };
        self.frames.entry((0, address)).or_insert_with(name).clone()
    }

    pub fn has_kernel(&self) -> bool {
        self.kernel.is_some()
    }

    fn unnamed(
        &mut self,
        pid: i32,
        address: u64,
        maps: &[Mapping],
        elsewhere: &mut impl FnMut(u64, Place) -> Option<String>,
    ) -> Arc<str> {
        let Some(mapping) = maps::at(maps, address) else {
            return UNWIND_FAILED.into();
        };
        if mapping.path.is_empty() && mapping.executable {
            let name = elsewhere(address, Place::Compiled);
            return name.map_or(NO_NAME_JIT.into(), |name| format!("{name} (jit)").into());
        }
        if mapping.path.is_empty() {
            return UNWIND_FAILED.into();
        }
        let module = basename(mapping.path);
        if let Some(name) = elsewhere(address, Place::InFile) {
            return format!("{name} ({module})").into();
        }
        if mapping.path.starts_with('[') {
            return format!("{module} (process)").into();
        }
        let offset = address.wrapping_sub(mapping.start).wrapping_add(mapping.offset);
        let key = format!("{} {} {}", mapping.device, mapping.inode, mapping.path);
        let proc = &self.proc;
        let read = || build_id(&proc.mapped_file(pid, mapping.start, mapping.end, mapping.path)?);
        let build_id = self.build_ids.entry(key).or_insert_with(read);
        match build_id {
            Some(id) => format!("[{id}+0x{offset:x}] ({module})").into(),
            None => format!("[{module}+0x{offset:x}] ({module})").into(),
        }
    }
}

/// Of the very file that is open, whatever lies at its path by now.
fn build_id(file: &fs::File) -> Option<String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let id = read_elf_build_id(Path::new(&path)).ok()??;
    Some(id.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build()
}

/// Files of other mount namespaces and deleted files are reached by
/// `map_files`, which takes CAP_CHECKPOINT_RESTORE; else paths have to do.
fn may_open_map_files(proc: &Proc) -> bool {
    let Ok(entries) = fs::read_dir(proc.path("self/map_files")) else { return false };
    entries.flatten().next().is_some_and(|entry| fs::File::open(entry.path()).is_ok())
}
