//! The user registers that unwinding starts from, per architecture.

/// Registers in a sample.
#[cfg(target_arch = "x86_64")]
pub const REGISTERS: usize = 3;
#[cfg(target_arch = "aarch64")]
pub const REGISTERS: usize = 4;

/// Which registers the kernel is asked for: frame pointer, stack pointer and
/// instruction pointer, see `asm/perf_regs.h`.
#[cfg(target_arch = "x86_64")]
pub const SAMPLE_MASK: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// x29, x30 (link register), stack pointer, program counter.
#[cfg(target_arch = "aarch64")]
pub const SAMPLE_MASK: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;

/// Values of these registers at the moment of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers([u64; REGISTERS]);

impl Registers {
    /// In the order of `SAMPLE_MASK`, lowest bit first, as the kernel writes them.
    pub fn from_sample(values: [u64; REGISTERS]) -> Registers {
        Registers(values)
    }

    pub fn instruction_pointer(self) -> u64 {
        self.0[REGISTERS - 1]
    }

    pub fn stack_pointer(self) -> u64 {
        self.0[REGISTERS - 2]
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn to_framehop(self) -> framehop::UnwindRegsNative {
        let [bp, sp, ip] = self.0;
        framehop::UnwindRegsNative::new(ip, sp, bp)
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn to_framehop(self) -> framehop::UnwindRegsNative {
        let [fp, lr, sp, _] = self.0;
        framehop::UnwindRegsNative::new(lr, sp, fp)
    }
}

/// The top of a thread's stack, as it was copied with the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackCopy<'r> {
    start: u64,
    bytes: &'r [u8],
}

impl<'r> StackCopy<'r> {
    /// `bytes` as they lie from the stack pointer `start` upwards.
    pub fn new(start: u64, bytes: &'r [u8]) -> StackCopy<'r> {
        StackCopy { start, bytes }
    }

    /// The word at an address; None outside the copy.
    pub fn read(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let word = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(word.try_into().ok()?))
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_was_copied_can_be_read(start in any::<u64>(), length in 0usize..64, address in any::<u64>()) {
            let bytes = vec![7u8; length];
            let stack = StackCopy::new(start, &bytes);
            let inside = address.checked_sub(start).is_some_and(|offset| offset.saturating_add(8) <= length as u64);
            prop_assert_eq!(stack.read(address).is_some(), inside);
        }
    }
}
