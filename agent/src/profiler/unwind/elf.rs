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
use object::elf::{PF_X, PT_GNU_EH_FRAME, PT_LOAD};

use crate::elf_headers::{self, ElfHeaders};
use crate::profiler::go_table::{GoTable, InFile};

/// Larger tables are not read: their programs are unwound by frame pointers.
const MAX_TABLE_BYTES: u64 = 8 << 20;
/// Return addresses of one file that are remembered.
const MAX_KNOWN_ADDRESSES: usize = 4096;

/// `mov $15, %rax; syscall`: rt_sigreturn.
#[cfg(target_arch = "x86_64")]
const SIGNAL_TRAMPOLINE: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #139; svc #0`.
#[cfg(target_arch = "aarch64")]
const SIGNAL_TRAMPOLINE: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

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
        let elf = ElfHeaders::read(&file).filter(|elf| elf.is_64_bit)?;
        let sections = sections(&elf, &file);
        let mut info = sections.or_else(|| from_program_header(&elf, &file)).unwrap_or_default();
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
            go: go_table(&elf, &file),
            segments: segments(&elf),
            bytes,
            code: file,
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

fn segments(elf: &ElfHeaders) -> Vec<Segment> {
    let code = elf.segments.iter().filter(|part| part.kind == PT_LOAD && part.flags.contains(PF_X));
    code.map(|part| Segment {
        // Mappings start at whole pages, which may lie before the segment.
        offset: part.offset & !0xfff,
        address: part.address & !0xfff,
        bytes: part.bytes.saturating_add(part.offset & 0xfff),
    })
    .collect()
}

fn sections(elf: &ElfHeaders, file: &File) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let range = |name| {
        let section = elf.section(name)?;
        Some(section.address..section.address.checked_add(section.bytes)?)
    };
    let data = |name| {
        let section = elf.section(name).filter(|section| section.bytes > 0)?;
        section.read(file, MAX_TABLE_BYTES)
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

fn go_table(elf: &ElfHeaders, code: &File) -> Option<GoTable<InFile>> {
    let names = [".gopclntab", ".data.rel.ro.gopclntab"];
    let section = names.iter().find_map(|name| elf.section(name))?;
    let text = elf.section(".text")?.address;
    let file = code.try_clone().ok()?;
    GoTable::open(InFile { file, start: section.offset, bytes: section.bytes }, text)
}

/// Without section headers: the table's index has a program header of its
/// own, and its first pointer leads to the table.
fn from_program_header(
    elf: &ElfHeaders,
    file: &File,
) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let read = |offset, bytes| elf_headers::read(file, offset, bytes, MAX_TABLE_BYTES);
    let index = elf.segments.iter().find(|part| part.kind == PT_GNU_EH_FRAME)?;
    let index_bytes = read(index.offset, index.bytes)?;
    let index_range = address_range(index.address, index_bytes.len())?;
    let start = eh_frame_address(&index_bytes, index_range.start)?;
    // The table's end is not stated: it is within the segment that holds it.
    let holder = elf.segments.iter().find(|part| {
        part.kind == PT_LOAD
            && start.checked_sub(part.address).is_some_and(|into| into < part.bytes)
    })?;
    let into = start - holder.address;
    let table = read(holder.offset.checked_add(into)?, (holder.bytes - into).min(MAX_TABLE_BYTES))?;
    Some(ExplicitModuleSectionInfo {
        eh_frame_svma: address_range(start, table.len()),
        eh_frame: Some(table),
        eh_frame_hdr_svma: Some(index_range),
        eh_frame_hdr: Some(index_bytes),
        ..Default::default()
    })
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
