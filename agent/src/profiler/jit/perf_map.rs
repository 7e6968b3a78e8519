//! `perf-PID.map`: names of code that was compiled while the program ran.
//!
//! One line per piece of code, `start size name`, in hexadecimal, with or
//! without `0x` (OpenJDK's `Compiler.perfmap` writes it, V8 does not). A later
//! line wins over an earlier one wherever they overlap: memory is used again.
//! The program may be writing while it is read: a torn last line is left out.
//! Of a map that is too long the newest lines are kept.

use std::collections::BTreeMap;

/// Pieces and bytes of names that are kept; older ones are left out.
const MAX_PIECES: usize = 100_000;
const MAX_NAMES_BYTES: usize = 6 << 20;
const MAX_NAME_BYTES: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Piece {
    start: u64,
    end: u64,
    /// Where the code began before newer code took a part of its place.
    code_start: u64,
    name_at: u32,
    name_bytes: u16,
}

/// Names by address.
#[derive(Debug, Default)]
pub struct PerfMap {
    pieces: Vec<Piece>,
    names: String,
}

impl PerfMap {
    /// Reads the text of a map. Lines that are none are left out.
    pub fn parse(text: &[u8]) -> PerfMap {
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut names = String::new();
        let mut pieces: BTreeMap<u64, Piece> = BTreeMap::new();
        // The newest first: what is taken already stays.
        for line in text[..whole].rsplit(|byte| *byte == b'\n') {
            if pieces.len() >= MAX_PIECES || names.len() >= MAX_NAMES_BYTES {
                break;
            }
            let Some((code_start, bytes, name)) = piece(line) else { continue };
            let before = pieces.range(..=code_start).next_back().map_or(0, |(_, piece)| piece.end);
            let start = code_start.max(before);
            let next = pieces.range(start..).next().map_or(u64::MAX, |(next, _)| *next);
            let end = code_start.saturating_add(bytes.into()).min(next);
            if start < end {
                let (name_at, name_bytes) = (names.len() as u32, name.len() as u16);
                names.push_str(&name);
                pieces.insert(start, Piece { start, end, code_start, name_at, name_bytes });
            }
        }
        names.shrink_to_fit();
        PerfMap { pieces: pieces.into_values().collect(), names }
    }

    /// Where the piece of code starts that an address lies in.
    pub fn start(&self, address: u64) -> Option<u64> {
        Some(self.piece(address)?.code_start)
    }

    fn piece(&self, address: u64) -> Option<&Piece> {
        let next = self.pieces.partition_point(|piece| piece.start <= address);
        let piece = self.pieces[..next].last()?;
        (address < piece.end).then_some(piece)
    }

    /// The name of the code at an address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let piece = self.piece(address)?;
        self.names.get(piece.name_at as usize..)?.get(..usize::from(piece.name_bytes))
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.names.len() + self.pieces.len() * size_of::<Piece>()
    }

    pub fn len(&self) -> usize {
        self.pieces.len()
    }
}

fn piece(line: &[u8]) -> Option<(u64, u32, String)> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(3, ' ');
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    let start = number(fields.next()?)?;
    let bytes = u32::try_from(number(fields.next()?)?).ok().filter(|bytes| *bytes > 0)?;
    let name = fields.next()?.trim();
    let cut = (0..=MAX_NAME_BYTES.min(name.len())).rev().find(|at| name.is_char_boundary(*at))?;
    (!name.is_empty()).then(|| (start, bytes, name[..cut].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ways_of_writing_numbers_are_read() {
        let text = b"0x00007f0010000000 0x0000000000000040 int Shop.price(Item)\n\
            7f0010000100 20 LazyCompile:*render /srv/app.js:12\n\
            nonsense\n7f0010000200 0 empty\n7f0010000300 10 to";
        let map = PerfMap::parse(text);
        assert_eq!(map.name(0x7f00_1000_0000), Some("int Shop.price(Item)"));
        assert_eq!(map.name(0x7f00_1000_003f), Some("int Shop.price(Item)"));
        assert_eq!(map.name(0x7f00_1000_0040), None);
        assert_eq!(map.name(0x7f00_1000_0110), Some("LazyCompile:*render /srv/app.js:12"));
        assert_eq!(map.name(0x7f00_1000_0300), None, "the last line is torn");
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn the_latest_code_at_a_place_wins() {
        let map = PerfMap::parse(b"1000 40 old\n2000 40 other\n1000 40 new\n");
        assert_eq!(map.name(0x1000), Some("new"));
        let overlap = PerfMap::parse(b"18f8 10 stale\n1800 20 kept\n1000 900 fresh\n");
        assert_eq!(overlap.name(0x18f8), Some("fresh"));
        assert_eq!((overlap.name(0x1902), overlap.name(0x1908)), (Some("stale"), None));
        assert_eq!(overlap.name(0x1810), Some("fresh"));
    }

    #[test]
    fn of_a_long_map_the_newest_lines_are_kept() {
        let lines = (0..MAX_PIECES as u64 + 10).map(|line| format!("{:x} 10 f{line}\n", line * 16));
        let map = PerfMap::parse(lines.collect::<String>().as_bytes());
        assert_eq!(map.len(), MAX_PIECES);
        let last = MAX_PIECES as u64 + 9;
        assert_eq!(map.name(last * 16), Some(format!("f{last}").as_str()));
        assert_eq!(map.name(0), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), address in any::<u64>()) {
            let _ = PerfMap::parse(&bytes).name(address);
        }

        #[test]
        fn every_address_of_a_piece_has_its_name(pieces in proptest::collection::btree_map(0u64..1000, 1u32..50, 1..40)) {
            let text: String = pieces.iter().map(|(start, bytes)| format!("{:x} {bytes:x} f{start}\n", start * 64)).collect();
            let map = PerfMap::parse(text.as_bytes());
            for (start, bytes) in &pieces {
                let name = format!("f{start}");
                prop_assert_eq!(map.name(start * 64 + u64::from(*bytes) - 1), Some(name.as_str()));
            }
        }
    }
}
