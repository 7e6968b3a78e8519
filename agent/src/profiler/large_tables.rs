//! Names from symbol tables that are too large to keep.
//!
//! blazesym maps a file's symbol table and sorts an index of it: tens of
//! megabytes for one browser or compiler, held by an agent that may not take
//! more than 60. Where a file's tables pass `SMALL_BYTES`, addresses go in
//! here instead and the table is read once from end to end, a piece at a time,
//! holding only the best symbol of each address; names come out. What was
//! found is kept, so a program that stays in the same code is not read again.
//! Rules as blazesym's: `.symtab` before `.dynsym`; of the symbols that hold an
//! address the last to start; one without a size reaches to the next symbol,
//! in `.symtab` only.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use lru::LruCache;
use object::{elf, Endianness};

use crate::elf_headers::ElfHeaders;

/// Up to this a file's symbols and their names are blazesym's.
const SMALL_BYTES: u64 = 1 << 20;
/// Of a table only so much is looked through.
const MAX_TABLE_BYTES: u64 = 128 << 20;
/// Files whose verdict, and names that were found, are kept.
const MAX_FILES: usize = 512;
const MAX_NAMES: usize = 8192;
/// A longer name is none.
const MAX_NAME_BYTES: usize = 8 << 10;
/// And is cut for people.
const MAX_NAME_CHARS: usize = 500;
const PIECE_BYTES: usize = 64 << 10;
const ENTRY_BYTES: usize = size_of::<elf::Sym64<Endianness>>();

/// The very bytes of a file: another one at its path, or with its inode, is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    changed_nanoseconds: i128,
    bytes: u64,
}

impl Stamp {
    pub fn of(file: &File) -> Option<Stamp> {
        let about = file.metadata().ok()?;
        Some(Stamp {
            device: about.dev(),
            inode: about.ino(),
            changed_nanoseconds: i128::from(about.ctime()) * 1_000_000_000
                + i128::from(about.ctime_nsec()),
            bytes: about.size(),
        })
    }
}

/// Where a table and its names lie in the file.
#[derive(Debug, Clone, Copy)]
struct Table {
    start: u64,
    bytes: u64,
    names_start: u64,
    names_bytes: u64,
    /// `.dynsym` leaves out most of the code: a symbol without a size proves nothing there.
    sparse: bool,
}

/// Answers for large tables only, with what was found so far.
pub struct LargeTables {
    verdicts: LruCache<Stamp, bool>,
    names: LruCache<(Stamp, u64), Option<Arc<str>>>,
}

impl LargeTables {
    pub fn new() -> LargeTables {
        let size = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        LargeTables {
            verdicts: LruCache::new(size(MAX_FILES)),
            names: LruCache::new(size(MAX_NAMES)),
        }
    }

    /// Whether this file is one for here.
    pub fn takes(&mut self, stamp: Stamp, file: &File) -> bool {
        if let Some(known) = self.verdicts.get(&stamp) {
            return *known;
        }
        let large = headers(file).is_some_and(|elf| {
            let bytes = tables(&elf).iter().fold(0u64, |sum, table| {
                sum.saturating_add(table.bytes).saturating_add(table.names_bytes)
            });
            bytes > SMALL_BYTES
        });
        self.verdicts.put(stamp, large);
        large
    }

    /// The functions at `offsets` of a file, in their order.
    pub fn names(&mut self, stamp: Stamp, file: &File, offsets: &[u64]) -> Vec<Option<Arc<str>>> {
        let mut unknown: Vec<u64> = offsets
            .iter()
            .copied()
            .filter(|offset| self.names.get(&(stamp, *offset)).is_none())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        let found = look_up(file, &unknown);
        offsets
            .iter()
            .map(|offset| match unknown.binary_search(offset) {
                Ok(at) => {
                    self.names.put((stamp, *offset), found[at].clone());
                    found[at].clone()
                }
                Err(_) => self.names.get(&(stamp, *offset)).cloned().flatten(),
            })
            .collect()
    }
}

/// Best symbol of one address so far.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    /// Start, size and name of the last symbol to start that holds the address.
    holding: Option<(u64, u64, u32)>,
    /// Start of the last symbol before the address, and its name where it has no size.
    before: Option<(u64, Option<u32>)>,
}

/// Names of sorted offsets.
fn look_up(file: &File, offsets: &[u64]) -> Vec<Option<Arc<str>>> {
    let mut names = vec![None; offsets.len()];
    if offsets.is_empty() {
        return names;
    }
    let Some(elf) = headers(file) else { return names };
    let mut open: Vec<(u64, usize)> = offsets
        .iter()
        .enumerate()
        .filter_map(|(index, offset)| Some((elf.address_of(*offset)?, index)))
        .collect();
    open.sort_unstable();
    for table in tables(&elf) {
        let mut best = vec![Best::default(); open.len()];
        read_entries(file, table, |entry| consider(entry, &open, &mut best));
        let mut before = None;
        let mut left = Vec::new();
        for ((address, index), mut best) in open.into_iter().zip(best) {
            // What starts before one address starts before all later ones.
            best.before = best.before.max(before);
            before = best.before;
            let name = best.holding.map(|(_, _, name)| name).or_else(|| {
                let (start, name) = best.before?;
                name.filter(|_| !table.sparse || start == address)
            });
            match name.and_then(|name| name_at(file, table, name)) {
                Some(name) => names[index] = Some(name),
                None => left.push((address, index)),
            }
        }
        open = left;
    }
    names
}

/// One symbol against the sorted addresses that are looked for.
fn consider(entry: &[u8; ENTRY_BYTES], open: &[(u64, usize)], best: &mut [Best]) {
    let name = u32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]);
    let kind = elf::SymbolType(entry[4] & 0xf);
    let section = u16::from_ne_bytes([entry[6], entry[7]]);
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let (start, size) = (number(8), number(16));
    if section == 0 || ![elf::STT_NOTYPE, elf::STT_FUNC, elf::STT_GNU_IFUNC].contains(&kind) {
        return;
    }
    let first = open.partition_point(|(address, _)| *address < start);
    let Some(next) = best.get_mut(first) else { return };
    next.before = next.before.max(Some((start, (size == 0).then_some(name))));
    let end = start.saturating_add(size);
    for ((address, _), best) in open[first..].iter().zip(&mut best[first..]) {
        if *address >= end {
            break;
        }
        // Of those that start together the largest, as blazesym.
        best.holding = best.holding.max(Some((start, size, name)));
    }
}

fn read_entries(file: &File, table: Table, mut each: impl FnMut(&[u8; ENTRY_BYTES])) {
    let mut piece = vec![0; PIECE_BYTES / ENTRY_BYTES * ENTRY_BYTES];
    let mut done = 0;
    while done < table.bytes {
        let length = (table.bytes - done).min(piece.len() as u64) as usize;
        let piece = &mut piece[..length];
        // A file that is cut short under us has no more symbols.
        if file.read_exact_at(piece, table.start + done).is_err() {
            return;
        }
        piece.as_chunks::<ENTRY_BYTES>().0.iter().for_each(&mut each);
        done += length as u64;
    }
}

fn name_at(file: &File, table: Table, start: u32) -> Option<Arc<str>> {
    let left = table.names_bytes.checked_sub(start.into())?;
    let mut bytes = vec![0; left.min(MAX_NAME_BYTES as u64) as usize];
    let read = file.read_at(&mut bytes, table.names_start.checked_add(start.into())?).ok()?;
    let end = bytes[..read].iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&bytes[..end]).ok().filter(|name| !name.is_empty())?;
    Some(demangled(name).into())
}

/// As blazesym writes names: Rust's without the hash, C++'s with parameters.
fn demangled(name: &str) -> String {
    let cpp = || cpp_demangle::Symbol::new(name).ok()?.demangle().ok();
    let mut name = match rustc_demangle::try_demangle(name) {
        Ok(rust) => format!("{rust:#}"),
        Err(_) => cpp().unwrap_or_else(|| name.to_owned()),
    };
    if let Some((cut, _)) = name.char_indices().nth(MAX_NAME_CHARS) {
        name.truncate(cut);
    }
    name
}

fn headers(file: &File) -> Option<ElfHeaders> {
    ElfHeaders::read(file).filter(|elf| elf.is_64_bit)
}

/// The tables of a file in the order to ask them.
fn tables(elf: &ElfHeaders) -> Vec<Table> {
    let table = |name, sparse| {
        let section = elf.section(name).filter(|section| section.bytes > 0)?;
        let names = elf.sections.get(section.link)?;
        let bytes = section.bytes.min(MAX_TABLE_BYTES) / ENTRY_BYTES as u64 * ENTRY_BYTES as u64;
        section.offset.checked_add(bytes)?;
        Some(Table {
            start: section.offset,
            bytes,
            names_start: names.offset,
            names_bytes: names.bytes,
            sparse,
        })
    };
    [table(".symtab", false), table(".dynsym", true)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as a table has it.
    fn entry(name: u32, kind: elf::SymbolType, section: u16, start: u64, size: u64) -> [u8; 24] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&name.to_ne_bytes());
        bytes[4] = kind.0;
        bytes[6..8].copy_from_slice(&section.to_ne_bytes());
        bytes[8..16].copy_from_slice(&start.to_ne_bytes());
        bytes[16..].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    #[test]
    fn the_innermost_function_holds_an_address() {
        let open: Vec<(u64, usize)> = [5, 15, 25, 45].into_iter().zip(0..).collect();
        let mut best = vec![Best::default(); open.len()];
        for symbol in [
            entry(1, elf::STT_FUNC, 1, 10, 20),
            entry(2, elf::STT_FUNC, 1, 20, 10),
            entry(3, elf::STT_OBJECT, 1, 21, 9),
            entry(4, elf::STT_FUNC, 0, 22, 9),
            entry(5, elf::STT_NOTYPE, 1, 40, 0),
            entry(6, elf::STT_FUNC, 1, u64::MAX - 1, 9),
        ] {
            consider(&symbol, &open, &mut best);
        }
        let holding: Vec<_> =
            best.iter().map(|best| best.holding.map(|(_, _, name)| name)).collect();
        assert_eq!(holding, [None, Some(1), Some(2), None]);
        assert_eq!(best[3].before, Some((40, Some(5))));
        assert_eq!(best[0].before, None);
    }

    #[test]
    fn names_are_those_that_blazesym_finds() {
        use blazesym::symbolize::source::{Elf as ElfSource, Source};
        use blazesym::symbolize::{Input, Symbolizer};
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        let stamp = Stamp::of(&file).unwrap();
        let mut large = LargeTables::new();
        assert!(large.takes(stamp, &file), "the tests' own program has large tables");
        let elf = headers(&file).unwrap();
        // The code segment, in steps that hit starts, middles and gaps.
        let loaded = elf.segments.iter().filter(|part| part.kind == elf::PT_LOAD);
        let code = loaded.max_by_key(|part| part.bytes).unwrap();
        let offsets: Vec<u64> =
            (0..2000).map(|step| code.offset + code.bytes / 2000 * step).collect();
        let found = large.names(stamp, &file, &offsets);
        let mut source = ElfSource::new(&path);
        source.debug_syms = false;
        let theirs = Symbolizer::builder().enable_code_info(false).build();
        let theirs = theirs.symbolize(&Source::Elf(source), Input::FileOffset(&offsets)).unwrap();
        let (mut both, mut same) = (0, 0);
        for (ours, theirs) in found.iter().zip(&theirs) {
            if let (Some(ours), Some(theirs)) = (ours, theirs.as_sym()) {
                both += 1;
                same += usize::from(theirs.name.starts_with(&**ours) || **ours == *theirs.name);
            }
            assert!(ours.is_some() || theirs.as_sym().is_none(), "{theirs:?} was not found");
        }
        // Functions that the linker folded into one have many names.
        assert!(both > 1000 && same * 100 >= both * 97, "{same} of {both}");
        assert_eq!(large.names(stamp, &file, &offsets), found, "kept");
    }

    #[test]
    fn what_is_no_program_is_not_for_here() {
        for path in ["/proc/self/status", "/dev/null"] {
            let file = File::open(path).unwrap();
            let stamp = Stamp::of(&file).unwrap();
            assert!(!LargeTables::new().takes(stamp, &file));
            assert_eq!(LargeTables::new().names(stamp, &file, &[0, 9]), [None, None]);
        }
    }
}
