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
    pub(crate) fn to_framehop(self) -> framehop::UnwindRegsNative {
        let [bp, sp, ip] = self.0;
        framehop::UnwindRegsNative::new(ip, sp, bp)
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn to_framehop(self) -> framehop::UnwindRegsNative {
        let [fp, lr, sp, _] = self.0;
        framehop::UnwindRegsNative::new(lr, sp, fp)
    }
}

/// The registers that a signal interrupted, from the frame that the kernel put
/// on the stack: `struct rt_sigframe` behind its return address, `gregs` of
/// its `ucontext` (x86-64: bits/types, sys/ucontext.h).
#[cfg(target_arch = "x86_64")]
pub(super) fn interrupted(
    handler_returned: &framehop::UnwindRegsNative,
    stack: &StackCopy<'_>,
) -> Option<framehop::UnwindRegsNative> {
    const GREGS: u64 = 40;
    let register = |index: u64| stack.read(handler_returned.sp().checked_add(GREGS + 8 * index)?);
    let (bp, sp, ip) = (register(10)?, register(15)?, register(16)?);
    Some(framehop::UnwindRegsNative::new(ip, sp, bp))
}

/// Where these registers are.
#[cfg(target_arch = "x86_64")]
pub(super) fn instruction(registers: &framehop::UnwindRegsNative) -> u64 {
    registers.ip()
}

/// The program counter of `interrupted`.
#[cfg(target_arch = "aarch64")]
pub(super) fn instruction(registers: &framehop::UnwindRegsNative) -> u64 {
    registers.lr()
}

/// x0 to x30 of `sigcontext`, then sp and pc, behind 128 bytes of siginfo and
/// the head of `ucontext` (aarch64: asm/sigcontext.h).
#[cfg(target_arch = "aarch64")]
pub(super) fn interrupted(
    handler_returned: &framehop::UnwindRegsNative,
    stack: &StackCopy<'_>,
) -> Option<framehop::UnwindRegsNative> {
    const SAVED: u64 = 128 + 176 + 8;
    let register = |index: u64| stack.read(handler_returned.sp().checked_add(SAVED + 8 * index)?);
    let (fp, sp, pc) = (register(29)?, register(31)?, register(32)?);
    Some(framehop::UnwindRegsNative::new(pc, sp, fp))
}

/// Leaves a frame whose return address lies `depth` above the stack pointer;
/// the caller's frame pointer lies below that, if it was saved.
#[cfg(target_arch = "x86_64")]
pub(super) fn leave_frame(
    registers: &mut framehop::UnwindRegsNative,
    depth: u64,
    stack: &StackCopy<'_>,
) -> Option<u64> {
    let return_address_at = registers.sp().checked_add(depth)?;
    let caller = stack.read(return_address_at)?;
    if depth >= 8 {
        registers.set_bp(stack.read(return_address_at - 8)?);
    }
    registers.set_sp(return_address_at.checked_add(8)?);
    registers.set_ip(caller);
    Some(caller)
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
