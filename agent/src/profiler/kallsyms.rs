//! Names of kernel functions, kept small.
//!
//! `/proc/kallsyms` has some 150,000 lines. Only the code is kept, in one
//! text and one sorted table: a few megabytes instead of tens.

use std::io::BufRead;

/// Code symbols by address.
#[derive(Debug, Default)]
pub struct Kallsyms {
    /// Address, and where the name starts in `names`.
    table: Vec<(u64, u32)>,
    names: String,
}

impl Kallsyms {
    /// None when the kernel hides its addresses (`kernel.kptr_restrict`).
    ///
    /// Reads line by line: the file is ten times as large as what is kept.
    pub fn read(text: impl BufRead) -> Option<Kallsyms> {
        let mut symbols = Kallsyms::default();
        for line in text.lines().map_while(Result::ok) {
            let mut fields = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            if address != 0 && matches!(kind, "t" | "T" | "w" | "W") {
                symbols.table.push((address, symbols.names.len() as u32));
                symbols.names.push_str(name);
                symbols.names.push('\n');
            }
        }
        symbols.table.sort_by_key(|(address, _)| *address);
        // Several names of one address: the first is as good as the others.
        symbols.table.dedup_by_key(|(address, _)| *address);
        symbols.table.shrink_to_fit();
        symbols.names.shrink_to_fit();
        (!symbols.table.is_empty()).then_some(symbols)
    }

    /// The function that holds an address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.table.partition_point(|(start, _)| *start <= address);
        let (_, start) = self.table.get(after.checked_sub(1)?)?;
        self.names.get(*start as usize..)?.lines().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let text = "ffffffff81000100 t later\nffffffff81000000 T _text\nffffffff81000050 d data\nbad line\n";
        let symbols = Kallsyms::read(text.as_bytes()).unwrap();
        assert_eq!(symbols.name(0xffff_ffff_8100_0000), Some("_text"));
        assert_eq!(symbols.name(0xffff_ffff_8100_00ff), Some("_text"));
        assert_eq!(symbols.name(0xffff_ffff_8200_0000), Some("later"));
        assert_eq!(symbols.name(0x1000), None);
    }

    #[test]
    fn hidden_addresses_are_no_table() {
        assert!(Kallsyms::read(&b"0000000000000000 T _text\n"[..]).is_none());
        assert!(Kallsyms::read(&b""[..]).is_none());
    }
}
