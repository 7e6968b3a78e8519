//! How far the return address lies above the stack pointer in a method that
//! HotSpot compiled, which keeps no frame pointer unless it is told to.
//!
//! A compiled method has a frame of one size, which its entry makes (OpenJDK,
//! `MacroAssembler::verified_entry` and `LIR_Assembler::build_frame`, x86-64):
//! `push %rbp; sub $size, %rsp`, or `sub $size, %rsp; mov %rbp, size-8(%rsp)`.
//! The first of these in the method's first bytes is believed.

/// Bytes of a method's start that are looked at: an inline-cache check and a
/// stack-overflow probe come first.
pub const ENTRY_BYTES: usize = 128;

const PUSH_RBP: u8 = 0x55;
const SUB_RSP_8: [u8; 3] = [0x48, 0x83, 0xec];
const SUB_RSP_32: [u8; 3] = [0x48, 0x81, 0xec];
const MOV_RBP_TO_STACK: [u8; 4] = [0x48, 0x89, 0x6c, 0x24];
const MOV_RBP_TO_STACK_32: [u8; 4] = [0x48, 0x89, 0xac, 0x24];
const WORD: u64 = 8;
/// Larger frames do not exist: this was no entry.
const MAX_FRAME_BYTES: u64 = 1 << 20;

/// Distance from stack pointer to return address in the body of the method
/// that starts with these bytes.
pub fn return_address_at(entry: &[u8]) -> Option<u64> {
    (0..entry.len()).find_map(|at| {
        let code = &entry[at..];
        if let [PUSH_RBP, rest @ ..] = code {
            return Some(subtracted(rest)?.0 + WORD);
        }
        let (size, rest) = subtracted(code)?;
        let saves = rest.starts_with(&MOV_RBP_TO_STACK) || rest.starts_with(&MOV_RBP_TO_STACK_32);
        saves.then_some(size)
    })
}

/// Size of a `sub $size, %rsp`, and the code behind it.
fn subtracted(code: &[u8]) -> Option<(u64, &[u8])> {
    let (size, rest) = if let Some(rest) = code.strip_prefix(&SUB_RSP_8) {
        (u64::from(*rest.first()?), &rest[1..])
    } else {
        let rest = code.strip_prefix(&SUB_RSP_32)?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        (u64::from(u32::from_le_bytes(*size)), rest)
    };
    (size > 0 && size % WORD == 0 && size < MAX_FRAME_BYTES).then_some((size, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_entries_are_known() {
        // mov %eax, -0x14000(%rsp); push %rbp; sub $0x30, %rsp
        let probed = [0x89, 0x84, 0x24, 0, 0xc0, 0xfe, 0xff, 0x55, 0x48, 0x83, 0xec, 0x30, 0x90];
        assert_eq!(return_address_at(&probed), Some(0x38));
        // sub $0x18, %rsp; mov %rbp, 0x10(%rsp)
        let small = [0x48, 0x81, 0xec, 0x18, 0, 0, 0, 0x48, 0x89, 0x6c, 0x24, 0x10];
        assert_eq!(return_address_at(&small), Some(0x18));
        // A sub alone may be anything.
        assert_eq!(return_address_at(&[0x48, 0x83, 0xec, 0x10, 0xc3]), None);
        assert_eq!(return_address_at(&[]), None);
    }

    proptest! {
        #[test]
        fn no_code_makes_it_panic(code in proptest::collection::vec(any::<u8>(), 0..ENTRY_BYTES)) {
            let found = return_address_at(&code);
            prop_assert!(found.is_none_or(|bytes| bytes <= MAX_FRAME_BYTES + WORD));
        }
    }
}
