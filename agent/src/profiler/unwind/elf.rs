//! What unwinding needs of an ELF file: where its code is loaded, and the
//! tables that say how to leave each function.
//!
//! Only headers and the unwind sections are read, never mapped: a file that
//! is cut short under us must not take the agent down. Sizes are bounded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use framehop::{ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, Unwinder};
use object::elf::{PF_X, PT_GNU_EH_FRAME};
use object::read::elf::ProgramHeader;
use object::read::ReadCache;
use object::{elf, Object, ObjectSection};

use crate::profiler::go_table::{GoTable, InFile};

/// Larger tables are not read: their programs are unwound by frame pointers.
const MAX_TABLE_BYTES: u64 = 8 << 20;
/// A header that claims more segments than this is damaged.
const MAX_SEGMENTS: usize = 64;
/// Return addresses of one file that are remembered.
const MAX_KNOWN_ADDRESSES: usize = 4096;

/// `mov $15, %rax; syscall`: rt_sigreturn.
#[cfg(target_arch = "x86_64")]
const SIGNAL_TRAMPOLINE: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #139; svc #0`.
#[cfg(target_arch = "aarch64")]
const SIGNAL_TRAMPOLINE: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

type Reader<'f> = &'f ReadCache<File>;
type Elf<'f> = object::read::elf::ElfFile64<'f, object::Endianness, Reader<'f>>;
pub type FileUnwinder = framehop::UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>;

/// Executable part of a file and the address that the file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub address: u64,
    pub bytes: u64,
}

/// One file's code and how to unwind it, in the file's own addresses.
pub struct UnwindTable {
    pub unwinder: FileUnwinder,
    /// Go programs have a table of their own, stripped or not.
    pub go: Option<GoTable<InFile>>,
    pub segments: Vec<Segment>,
    /// Memory held.
    pub bytes: usize,
    code: File,
    /// Return addresses that were looked at: whether they are signal trampolines.
    trampolines: RefCell<HashMap<u64, bool>>,
}

impl UnwindTable {
    /// Reads the tables of an ELF file; None when it is not one. A file
    /// without tables is unwound by frame pointers.
    pub fn read(file: File) -> Option<UnwindTable> {
        let code = file.try_clone().ok()?;
        let cache = ReadCache::new(file);
        let elf = Elf::parse(&cache).ok()?;
        let sections = sections(&elf, &code);
        let mut info = sections.or_else(|| from_program_header(&elf, &code)).unwrap_or_default();
        // Code addresses of position-dependent programs do not start at 0.
        info.base_svma = 0;
        let index = info.eh_frame_hdr.as_deref().zip(info.eh_frame_hdr_svma.as_ref());
        if !index.is_some_and(|(index, range)| is_sound_index(index, range.start)) {
            // framehop then makes its own.
            (info.eh_frame_hdr, info.eh_frame_hdr_svma) = (None, None);
        }
        let table = |data: &Option<Vec<u8>>| data.as_ref().map_or(0, Vec::len);
        let bytes = table(&info.eh_frame) + table(&info.eh_frame_hdr) + table(&info.debug_frame);
        let mut unwinder = FileUnwinder::new();
        unwinder.add_module(Module::new(String::new(), 0..u64::from(u32::MAX), 0, info));
        Some(UnwindTable {
            unwinder,
            go: go_table(&elf, &code),
            segments: segments(&elf),
            bytes,
            code,
            trampolines: RefCell::default(),
        })
    }

    /// Whether the code at a return address is what returns from a signal
    /// handler. libc's is described by its table in a way that framehop does
    /// not follow, musl's and Go's not at all; the code is the same.
    pub fn is_signal_trampoline(&self, address: u64) -> bool {
        let mut known = self.trampolines.borrow_mut();
        if known.len() >= MAX_KNOWN_ADDRESSES {
            known.clear();
        }
        *known.entry(address).or_insert_with(|| {
            let mut code = [0; SIGNAL_TRAMPOLINE.len()];
            let read = |offset| self.code.read_exact_at(&mut code, offset).is_ok();
            self.offset_of(address).is_some_and(read) && code == SIGNAL_TRAMPOLINE
        })
    }

    fn offset_of(&self, address: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            address.checked_sub(segment.address).is_some_and(|into| into < segment.bytes)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.offset.checked_add(address - segment.address)
    }

    /// The file's own address of what lies at an offset of the file.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            offset.checked_sub(segment.offset).is_some_and(|into| into < segment.bytes)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.address.checked_add(offset - segment.offset)
    }
}

fn segments(elf: &Elf) -> Vec<Segment> {
    let endian = elf.endian();
    let headers = elf.elf_program_headers().iter().take(MAX_SEGMENTS);
    headers
        .filter(|header| header.p_type(endian) == elf::PT_LOAD)
        .filter(|header| header.p_flags(endian).contains(PF_X))
        .map(|header| Segment {
            // Mappings start at whole pages, which may lie before the segment.
            offset: header.p_offset(endian) & !0xfff,
            address: header.p_vaddr(endian) & !0xfff,
            bytes: header.p_filesz(endian).saturating_add(header.p_offset(endian) & 0xfff),
        })
        .collect()
}

fn sections(elf: &Elf, file: &File) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let range = |name| {
        let section = elf.section_by_name(name)?;
        Some(section.address()..section.address().checked_add(section.size())?)
    };
    let data = |name| {
        let (start, bytes) = elf.section_by_name(name)?.file_range()?;
        (bytes > 0).then(|| read(file, start, bytes))?
    };
    let eh_frame = data(".eh_frame");
    let debug_frame = if eh_frame.is_none() { data(".debug_frame") } else { None };
    (eh_frame.is_some() || debug_frame.is_some()).then(|| ExplicitModuleSectionInfo {
        text_svma: range(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame,
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        debug_frame,
        ..Default::default()
    })
}

fn go_table(elf: &Elf, code: &File) -> Option<GoTable<InFile>> {
    let names = [".gopclntab", ".data.rel.ro.gopclntab"];
    let section = names.iter().find_map(|name| elf.section_by_name(name))?;
    let (start, bytes) = section.file_range()?;
    let text = elf.section_by_name(".text")?.address();
    GoTable::open(InFile { file: code.try_clone().ok()?, start, bytes }, text)
}

/// Without section headers: the table's index has a program header of its
/// own, and its first pointer leads to the table.
fn from_program_header(elf: &Elf, file: &File) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let endian = elf.endian();
    let headers = elf.elf_program_headers();
    let index = headers.iter().find(|header| header.p_type(endian) == PT_GNU_EH_FRAME)?;
    let index_bytes = read(file, index.p_offset(endian), index.p_filesz(endian))?;
    let index_range = address_range(index.p_vaddr(endian), index_bytes.len())?;
    let start = eh_frame_address(&index_bytes, index_range.start)?;
    // The table's end is not stated: it is within the segment that holds it.
    let holder = headers.iter().find(|header| {
        header.p_type(endian) == elf::PT_LOAD
            && start
                .checked_sub(header.p_vaddr(endian))
                .is_some_and(|into| into < header.p_filesz(endian))
    })?;
    let into = start - holder.p_vaddr(endian);
    let length = (holder.p_filesz(endian) - into).min(MAX_TABLE_BYTES);
    let table = read(file, holder.p_offset(endian).checked_add(into)?, length)?;
    Some(ExplicitModuleSectionInfo {
        eh_frame_svma: address_range(start, table.len()),
        eh_frame: Some(table),
        eh_frame_hdr_svma: Some(index_range),
        eh_frame_hdr: Some(index_bytes),
        ..Default::default()
    })
}

/// Past `elf`, which would keep a second copy.
fn read(file: &File, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    let there = file.metadata().ok()?.len();
    (bytes <= MAX_TABLE_BYTES && offset.checked_add(bytes)? <= there).then_some(())?;
    let mut table = vec![0; bytes as usize];
    file.read_exact_at(&mut table, offset).ok()?;
    Some(table)
}

fn address_range(start: u64, bytes: usize) -> Option<Range<u64>> {
    Some(start..start.checked_add(bytes as u64)?)
}

/// Whether every entry points into the table. gimli subtracts the table's
/// start from it, unchecked.
fn is_sound_index(index: &[u8], index_address: u64) -> bool {
    const COUNT_4_BYTES: u8 = 0x03;
    const SORTED_PAIRS_4_BYTES: u8 = 0x3b;
    let (Some(table), [_, _, COUNT_4_BYTES, SORTED_PAIRS_4_BYTES, ..]) =
        (eh_frame_address(index, index_address), index)
    else {
        return false;
    };
    let (pairs, _) = index.get(12..).unwrap_or_default().as_chunks::<8>();
    pairs.iter().all(|[_, _, _, _, entry @ ..]| {
        let entry = index_address.checked_add_signed(i32::from_le_bytes(*entry).into());
        entry.is_some_and(|entry| entry >= table)
    })
}

/// The pointer to `.eh_frame` in an index (version 1, 4 bytes relative to
/// itself: what every linker writes), see the Linux Standard Base, 10.6.2.
fn eh_frame_address(index: &[u8], index_address: u64) -> Option<u64> {
    const VERSION: u8 = 1;
    const RELATIVE_SIGNED_4_BYTES: u8 = 0x1b;
    let [VERSION, RELATIVE_SIGNED_4_BYTES, ..] = index else { return None };
    let relative = i32::from_le_bytes(index.get(4..8)?.try_into().ok()?);
    index_address.checked_add(4)?.checked_add_signed(relative.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn this_program_has_a_table_and_code() {
        let table = UnwindTable::read(File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(table.bytes > 1000, "{} bytes", table.bytes);
        let segment = table.segments[0];
        assert_eq!(table.address_of(segment.offset + 5), Some(segment.address + 5));
        assert_eq!(table.address_of(segment.offset + segment.bytes), None);
    }

    #[test]
    fn what_is_no_program_is_nothing() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n"] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(UnwindTable::read(file).is_none());
        }
    }

    #[test]
    fn without_section_headers_the_table_is_found_by_its_index() {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        // e_shoff, e_shnum and e_shstrndx of the ELF header: no sections any more.
        bytes[40..48].fill(0);
        bytes[60..64].fill(0);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let table = UnwindTable::read(file).unwrap();
        let whole = UnwindTable::read(File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(table.bytes >= whole.bytes, "{} of {} bytes", table.bytes, whole.bytes);
    }

    #[test]
    fn an_index_that_points_before_the_table_is_not_used() {
        let mut index = vec![1, 0x1b, 3, 0x3b, 0x1c, 0, 0, 0, 1, 0, 0, 0];
        index.extend([0, 0, 0, 0, 0x20, 0, 0, 0]);
        assert!(is_sound_index(&index, 0x1000), "table at 0x1020, entry, too");
        index[16] = 0x1f;
        assert!(!is_sound_index(&index, 0x1000));
        index[3] = 0;
        assert!(!is_sound_index(&index, 0x1000) && !is_sound_index(&[], 0));
    }

    #[test]
    fn a_lying_index_leads_nowhere() {
        assert_eq!(
            eh_frame_address(&[1, 0x1b, 3, 0x3b, 0xfc, 0xff, 0xff, 0xff], 0x1000),
            Some(0x1000)
        );
        assert_eq!(eh_frame_address(&[2, 0x1b, 3, 0x3b, 0, 0, 0, 0], 0x1000), None);
        assert_eq!(eh_frame_address(&[1, 0x1b, 3], 0x1000), None);
        assert_eq!(eh_frame_address(&[1, 0x1b, 3, 0x3b, 0, 0, 0, 0x80], 0), None);
    }
}
