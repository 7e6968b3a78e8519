//! Where the parts of an ELF file lie: a file goes in, its segments and sections come out.
//!
//! Only headers and the names of sections are read. (`object`'s own view of a
//! file reads all symbols with it: megabytes of a large program.) Whoever wants
//! what is in a section reads it from the file, by `Section::read`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::elf::{FileHeader32, FileHeader64, ProgramFlags, ProgramType, PT_LOAD, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::read::ReadCache;
use object::{Endianness, FileKind};

/// A header that claims more than this is damaged.
const MAX_SEGMENTS: usize = 64;
const MAX_SECTIONS: usize = 8192;

/// A piece of the file as a program is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub kind: ProgramType,
    pub flags: ProgramFlags,
    pub offset: u64,
    pub address: u64,
    /// Of the file.
    pub bytes: u64,
}

/// A named piece of the file.
#[derive(Debug, Clone)]
pub struct Section {
    name: String,
    pub address: u64,
    pub offset: u64,
    /// 0 where it has no bytes in the file.
    pub bytes: u64,
    /// Index of the section that it refers to.
    pub link: usize,
}

impl Section {
    /// What is in it, if that is not more than `most`.
    pub fn read(&self, file: &File, most: u64) -> Option<Vec<u8>> {
        read(file, self.offset, self.bytes, most)
    }
}

#[derive(Debug)]
pub struct ElfHeaders {
    pub segments: Vec<Segment>,
    pub sections: Vec<Section>,
    pub is_64_bit: bool,
}

impl ElfHeaders {
    /// None where it is no ELF file.
    pub fn read(file: &File) -> Option<ElfHeaders> {
        let cache = ReadCache::new(file);
        match FileKind::parse(&cache).ok()? {
            FileKind::Elf32 => parse::<FileHeader32<Endianness>>(&cache),
            FileKind::Elf64 => parse::<FileHeader64<Endianness>>(&cache),
            _ => None,
        }
    }

    /// The file's own address of what lies at an offset of it and is loaded.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let mut loaded = self.segments.iter().filter(|part| part.kind == PT_LOAD);
        loaded.find_map(|part| {
            let into = offset.checked_sub(part.offset).filter(|into| *into < part.bytes)?;
            part.address.checked_add(into)
        })
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

fn parse<Elf: FileHeader<Endian = Endianness>>(cache: &ReadCache<&File>) -> Option<ElfHeaders> {
    let header = Elf::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, cache).unwrap_or_default();
    let segments = segments.iter().take(MAX_SEGMENTS).map(|segment| Segment {
        kind: segment.p_type(endian),
        flags: segment.p_flags(endian),
        offset: segment.p_offset(endian).into(),
        address: segment.p_vaddr(endian).into(),
        bytes: segment.p_filesz(endian).into(),
    });
    // A file may have been stripped of its sections.
    let named = header.sections(endian, cache).ok();
    let sections = named.iter().flat_map(|sections| {
        sections.iter().take(MAX_SECTIONS).map(|section| {
            let name = sections.section_name(endian, section).unwrap_or_default();
            let in_file = section.sh_type(endian) != SHT_NOBITS;
            Section {
                name: String::from_utf8_lossy(name).into_owned(),
                address: section.sh_addr(endian).into(),
                offset: section.sh_offset(endian).into(),
                bytes: if in_file { section.sh_size(endian).into() } else { 0 },
                link: section.sh_link(endian) as usize,
            }
        })
    });
    Some(ElfHeaders {
        segments: segments.collect(),
        sections: sections.collect(),
        is_64_bit: header.is_type_64(),
    })
}

/// A piece of a file, if that has it and it is not more than `most`.
pub fn read(file: &File, offset: u64, bytes: u64, most: u64) -> Option<Vec<u8>> {
    let there = file.metadata().ok()?.len();
    (bytes <= most && offset.checked_add(bytes)? <= there).then_some(())?;
    let mut piece = vec![0; usize::try_from(bytes).ok()?];
    file.read_exact_at(&mut piece, offset).ok()?;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn this_program_has_its_sections_and_segments() {
        let file = File::open("/proc/self/exe").unwrap();
        let headers = ElfHeaders::read(&file).unwrap();
        assert!(headers.is_64_bit);
        assert!(headers.segments.iter().any(|segment| segment.kind == object::elf::PT_LOAD));
        let comment = headers.section(".comment").unwrap().read(&file, 1 << 16).unwrap();
        assert!(String::from_utf8_lossy(&comment).contains("rustc"));
        assert_eq!(
            headers.section(".bss").map(|section| section.bytes),
            Some(0),
            "not in the file"
        );
        assert!(headers.section(".text").unwrap().read(&file, 16).is_none(), "more than was asked");
    }

    #[test]
    fn what_is_none_is_none() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n"] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(ElfHeaders::read(&file).is_none());
        }
    }
}
