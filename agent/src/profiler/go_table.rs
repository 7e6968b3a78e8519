//! The function table that every Go program carries, stripped or not.
//!
//! `.gopclntab` says for each address which function it is in and how far the
//! stack pointer is below the return address, which frame pointers alone do
//! not tell inside of leaf functions. It can be tens of megabytes long, so
//! it is read where it lies, a few small reads for an address. Layout: Go's
//! `runtime/symtab.go` and `internal/abi/symtab.go`, Go 1.18 and newer. Nothing
//! in it is trusted: a damaged table gives no answer.

use std::fs::File;
use std::os::unix::fs::FileExt;

const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;
const HEADER_BYTES: usize = 72;
/// One function's stack depths fit in far less.
const MAX_DEPTHS_BYTES: usize = 16 << 10;
const MAX_NAME_BYTES: usize = 512;
const FLAG_TOP_FRAME: u8 = 1;
const FLAG_WRITES_STACK_POINTER: u8 = 2;

/// Where the bytes of the table come from.
pub trait Bytes {
    /// Fills as much of `buffer` as there is at `offset` of the table; how much it was.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize;
}

/// A table inside a file.
#[derive(Debug)]
pub struct InFile {
    pub file: File,
    pub start: u64,
    pub bytes: u64,
}

impl Bytes for InFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let rest = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(rest);
        let Some(position) = self.start.checked_add(offset) else { return 0 };
        self.file.read_at(&mut buffer[..length], position).unwrap_or(0)
    }
}

impl Bytes for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        length
    }
}

/// How to leave a function from one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The return address lies this many bytes above the stack pointer.
    ReturnAddressAt(u64),
    /// First function of a goroutine or a thread.
    Top,
    /// The function changes to another stack.
    ChangesStack,
}

/// An opened table.
#[derive(Debug)]
pub struct GoTable<B> {
    bytes: B,
    functions: u64,
    text_start: u64,
    unit: u64,
    names_at: u64,
    depths_at: u64,
    functions_at: u64,
    flag_at: u64,
}

struct Function {
    entry: u64,
    name_offset: u32,
    depths_offset: u32,
    flags: u8,
}

impl<B: Bytes> GoTable<B> {
    /// `text_address` is where the program's code starts: tables of Go 1.26
    /// and newer do not say it themselves.
    pub fn open(bytes: B, text_address: u64) -> Option<GoTable<B>> {
        let mut header = [0; HEADER_BYTES];
        if bytes.read_at(0, &mut header) < HEADER_BYTES {
            return None;
        }
        let word = |index: usize| u64_of(&header[8 + 8 * index..]);
        let magic = u32_of(&header)?;
        let flag_at = match magic {
            GO_1_18 => 37,
            GO_1_20 => 41,
            _ => return None,
        };
        let [_, _, _, _, _, _, unit, pointer_bytes, ..] = header;
        let text_start = word(2)?;
        (unit > 0 && pointer_bytes == 8).then_some(GoTable {
            functions: word(0)?,
            text_start: if text_start == 0 { text_address } else { text_start },
            unit: unit.into(),
            names_at: word(3)?,
            depths_at: word(6)?,
            functions_at: word(7)?,
            flag_at,
            bytes,
        })
    }

    /// How to get from an address to its caller.
    pub fn step(&self, address: u64) -> Option<Step> {
        let function = self.function(address)?;
        if function.flags & FLAG_TOP_FRAME != 0 {
            return Some(Step::Top);
        }
        if function.flags & FLAG_WRITES_STACK_POINTER != 0 {
            return Some(Step::ChangesStack);
        }
        let depth = self.depth(&function, address)?;
        Some(Step::ReturnAddressAt(u64::try_from(depth).ok()?))
    }

    /// The name of the function at an address.
    pub fn name(&self, address: u64) -> Option<String> {
        let function = self.function(address)?;
        let mut buffer = [0; MAX_NAME_BYTES];
        let at = self.names_at.checked_add(function.name_offset.into())?;
        let length = self.bytes.read_at(at, &mut buffer);
        let end = buffer[..length].iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&buffer[..end]).ok()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn function(&self, address: u64) -> Option<Function> {
        let wanted = u32::try_from(address.checked_sub(self.text_start)?).ok()?;
        // The last entry is the end of the code.
        let (mut low, mut high) = (0, self.functions);
        if wanted >= self.entry(high)?.0 {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (entry, offset) = self.entry(low)?;
        let at = self.functions_at.checked_add(offset.into())?;
        let mut flags = [0];
        (entry <= wanted && self.bytes.read_at(at.checked_add(self.flag_at)?, &mut flags) == 1)
            .then_some(Function {
                entry: self.text_start.checked_add(entry.into())?,
                name_offset: self.word_at(at.checked_add(4)?)?,
                depths_offset: self.word_at(at.checked_add(16)?)?,
                flags: flags[0],
            })
    }

    /// Start of a function, relative to the code's, and where it is described.
    fn entry(&self, index: u64) -> Option<(u32, u32)> {
        let mut pair = [0; 8];
        let at = self.functions_at.checked_add(index.checked_mul(8)?)?;
        // The closing entry has no second half.
        (self.bytes.read_at(at, &mut pair) >= 4)
            .then(|| Some((u32_of(&pair)?, u32_of(&pair[4..])?)))?
    }

    fn word_at(&self, at: u64) -> Option<u32> {
        let mut word = [0; 4];
        (self.bytes.read_at(at, &mut word) == 4).then(|| u32_of(&word))?
    }

    /// Bytes between stack pointer and return address: pairs of changes of
    /// depth and address, from -1 at the entry on.
    fn depth(&self, function: &Function, address: u64) -> Option<i64> {
        if function.depths_offset == 0 {
            return Some(0);
        }
        let mut buffer = vec![0; 256];
        let at = self.depths_at.checked_add(function.depths_offset.into())?;
        loop {
            let length = self.bytes.read_at(at, &mut buffer);
            match depth_at(&buffer[..length], address.checked_sub(function.entry)?, self.unit) {
                Err(TooShort) if length == buffer.len() && length < MAX_DEPTHS_BYTES => {
                    buffer.resize(length * 4, 0);
                }
                found => return found.ok().flatten(),
            }
        }
    }
}

/// The table goes on behind the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
struct TooShort;

fn depth_at(mut pairs: &[u8], offset: u64, unit: u64) -> Result<Option<i64>, TooShort> {
    let (mut depth, mut end) = (-1i64, 0u64);
    for index in 0.. {
        let change = variable(&mut pairs).ok_or(TooShort)?;
        if change == 0 && index > 0 {
            break;
        }
        let code = variable(&mut pairs).ok_or(TooShort)?;
        depth = depth.wrapping_add((change >> 1) as i32 as i64 ^ -i64::from(change & 1));
        end = end.saturating_add(u64::from(code).saturating_mul(unit));
        if offset < end {
            return Ok(Some(depth));
        }
    }
    Ok(None)
}

/// Seven bits a byte, lowest first, at most five bytes.
fn variable(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: u64 = 0x401000;

    /// Two functions: `main.a` at +0x10 with a frame of 24 bytes, a root at +0x40.
    fn table() -> Vec<u8> {
        let (names, depths, functions) = (72u64, 96u64, 112u64);
        let mut bytes = Vec::new();
        bytes.extend(GO_1_20.to_le_bytes());
        bytes.extend([0, 0, 1, 8]);
        for word in [2, 0, 0, names, 0, 0, depths, functions] {
            bytes.extend(u64::to_le_bytes(word));
        }
        bytes.extend(b"\0main.a\0runtime.goexit\0");
        bytes.resize(depths as usize, 0);
        // Offset 0 means "none", so the pairs start behind it: depth 0 for 4 bytes, then 24.
        bytes.extend([0, 2, 4, 48, 44, 0]);
        bytes.resize(functions as usize, 0);
        // Two entries, the end of the code, then what they describe.
        for word in [0x10u32, 20, 0x40, 64, 0x50] {
            bytes.extend(word.to_le_bytes());
        }
        let mut describe = |name: u32, flags: u8| {
            let mut function = [0; 44];
            function[4..8].copy_from_slice(&name.to_le_bytes());
            function[16..20].copy_from_slice(&1u32.to_le_bytes());
            function[41] = flags;
            bytes.extend(function);
        };
        describe(1, 0);
        describe(8, FLAG_TOP_FRAME);
        bytes
    }

    #[test]
    fn functions_are_named_and_can_be_left() {
        let bytes = table();
        let table = GoTable::open(bytes.as_slice(), TEXT).unwrap();
        assert_eq!(table.name(TEXT + 0x10).as_deref(), Some("main.a"));
        assert_eq!(table.step(TEXT + 0x12), Some(Step::ReturnAddressAt(0)));
        assert_eq!(table.step(TEXT + 0x14), Some(Step::ReturnAddressAt(24)));
        assert_eq!(table.step(TEXT + 0x3f), Some(Step::ReturnAddressAt(24)));
        assert_eq!(table.step(TEXT + 0x40), Some(Step::Top));
        for outside in [0, TEXT, TEXT + 0xf, TEXT + 0x50, u64::MAX] {
            assert_eq!((table.step(outside), table.name(outside)), (None, None), "{outside:x}");
        }
    }

    #[test]
    fn code_at_the_end_of_all_addresses_is_no_panic() {
        let mut bytes = table();
        let text = u64::MAX - 0x20;
        bytes[24..32].copy_from_slice(&text.to_le_bytes());
        // The first function starts behind the last address.
        bytes[112..116].copy_from_slice(&0x30u32.to_le_bytes());
        let table = GoTable::open(bytes.as_slice(), TEXT).unwrap();
        assert_eq!((table.step(text + 5), table.name(text + 5)), (None, None));
    }

    #[test]
    fn other_versions_are_left_alone() {
        let mut bytes = table();
        bytes[0] = 0xfb;
        assert!(GoTable::open(bytes.as_slice(), TEXT).is_none());
        assert!(GoTable::open(&b""[..], TEXT).is_none());
    }

    proptest! {
        #[test]
        fn a_damaged_table_gives_no_wrong_step(
            damage in proptest::collection::vec((0usize..300, any::<u8>()), 0..20),
            address in 0u64..0x100,
        ) {
            let mut bytes = table();
            for (at, value) in damage {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Some(table) = GoTable::open(bytes.as_slice(), TEXT) {
                let _ = (table.step(TEXT + address), table.name(TEXT + address));
            }
        }

        #[test]
        fn numbers_of_any_length_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            let _ = variable(&mut rest);
            bytes.push(0);
            let _ = depth_at(&bytes, 5, 1);
        }
    }
}
