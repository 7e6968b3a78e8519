//! Records of the perf ring buffer, as bytes to values.
//!
//! Layout for `PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN`, with
//! `PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER` behind it where `Layout`
//! says so, see perf_event_open(2): header, pid, tid, number of entries,
//! entries; ABI, registers; size of the stack copy, the copy, how much of it
//! is filled. In the chain, marker values say whether kernel or user
//! addresses follow. Nothing here trusts a length that a record states.

use perf_event_open_sys::bindings::{
    PERF_CONTEXT_KERNEL, PERF_CONTEXT_MAX, PERF_CONTEXT_USER, PERF_RECORD_LOST,
    PERF_RECORD_LOST_SAMPLES, PERF_RECORD_SAMPLE, PERF_SAMPLE_REGS_ABI_64,
};

use super::unwind::{Registers, StackCopy, REGISTERS};

/// What the samples of a ring hold beside ids and call chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Call chains by frame pointers, nothing else.
    Chain,
    /// User registers and a copy of the top of the user stack, too.
    ChainAndStack,
}

/// One thread, caught on a CPU. Addresses from the leaf to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample<'r> {
    pub pid: i32,
    pub tid: i32,
    pub kernel: Vec<u64>,
    /// By frame pointers.
    pub user: Vec<u64>,
    /// Where the thread was in user space; None for kernel threads and 32-bit programs.
    pub state: Option<(Registers, StackCopy<'r>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Record<'r> {
    Sample(Sample<'r>),
    /// So many samples never came: the buffer was full.
    Lost(u64),
    Other,
}

/// Splits off the first record of `bytes`; None when it is not whole.
pub fn split(bytes: &[u8], layout: Layout) -> Option<(Record<'_>, &[u8])> {
    let kind = u32_at(bytes, 0)?;
    let size = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    let record = bytes.get(..size).filter(|_| size >= 8)?;
    let body = &record[8..];
    let parsed = match kind {
        PERF_RECORD_SAMPLE => sample(body, layout).map_or(Record::Lost(1), Record::Sample),
        PERF_RECORD_LOST => u64_at(body, 8).map_or(Record::Other, Record::Lost),
        PERF_RECORD_LOST_SAMPLES => u64_at(body, 0).map_or(Record::Other, Record::Lost),
        _ => Record::Other,
    };
    Some((parsed, &bytes[size..]))
}

fn sample(body: &[u8], layout: Layout) -> Option<Sample<'_>> {
    let mut sample =
        Sample { pid: u32_at(body, 0)? as i32, tid: u32_at(body, 4)? as i32, ..Sample::default() };
    let count = u64_at(body, 8)?;
    let rest = body.get(16..)?;
    let chain_bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(8));
    let mut in_user = false;
    for entry in rest.chunks_exact(8).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        let address = u64_at(entry, 0)?;
        match address {
            PERF_CONTEXT_USER => in_user = true,
            PERF_CONTEXT_KERNEL => in_user = false,
            marker if marker >= PERF_CONTEXT_MAX => {}
            // A zero is where a frame pointer led nowhere.
            0 => {}
            address if in_user => sample.user.push(address),
            address => sample.kernel.push(address),
        }
    }
    if layout == Layout::ChainAndStack {
        sample.state = chain_bytes.and_then(|bytes| rest.get(bytes..)).and_then(user_state);
    }
    Some(sample)
}

/// `abi, registers..., size, stack[size], filled`; a zero ABI has no registers,
/// a zero size no stack.
fn user_state(bytes: &[u8]) -> Option<(Registers, StackCopy<'_>)> {
    if u64_at(bytes, 0)? != u64::from(PERF_SAMPLE_REGS_ABI_64) {
        return None;
    }
    let mut values = [0; REGISTERS];
    for (index, value) in values.iter_mut().enumerate() {
        *value = u64_at(bytes, 8 + 8 * index)?;
    }
    let registers = Registers::from_sample(values);
    let rest = bytes.get(8 + 8 * REGISTERS..)?;
    let size = usize::try_from(u64_at(rest, 0)?).ok()?;
    let copy = rest.get(8..)?.get(..size)?;
    let filled = rest.get(8 + size..).and_then(|rest| u64_at(rest, 0)).unwrap_or(0);
    let copy = copy.get(..usize::try_from(filled).ok()?.min(size))?;
    Some((registers, StackCopy::new(registers.stack_pointer(), copy)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample_bytes(pid: u32, tid: u32, chain: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(PERF_RECORD_SAMPLE.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend((8 + 16 + 8 * chain.len() as u16).to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes.extend(tid.to_ne_bytes());
        bytes.extend((chain.len() as u64).to_ne_bytes());
        chain.iter().for_each(|entry| bytes.extend(entry.to_ne_bytes()));
        bytes
    }

    #[test]
    fn kernel_and_user_addresses_are_told_apart() {
        let chain = [PERF_CONTEXT_KERNEL, 0xffff_ffff_8000_0000, PERF_CONTEXT_USER, 0x10, 0x20, 0];
        let mut bytes = sample_bytes(7, 8, &chain);
        bytes.extend([1, 2, 3]);
        let (record, rest) = split(&bytes, Layout::Chain).unwrap();
        let kernel = vec![0xffff_ffff_8000_0000];
        assert_eq!(
            record,
            Record::Sample(Sample { pid: 7, tid: 8, kernel, user: vec![0x10, 0x20], state: None })
        );
        assert_eq!(rest, [1, 2, 3]);
        assert_eq!(split(rest, Layout::Chain), None);
    }

    /// A record as the kernel writes it: `size` bytes reserved, `filled` of them copied.
    fn with_state(abi: u64, size: usize, filled: u64) -> Vec<u8> {
        let mut bytes = sample_bytes(7, 8, &[PERF_CONTEXT_USER, 0x10]);
        let mut words = vec![abi];
        words.extend((0..REGISTERS as u64).map(|register| 0x1000 + register).filter(|_| abi != 0));
        words.push(size as u64);
        words.extend((0..size as u64 / 8).map(|word| 0xa0 + word));
        words.extend((size > 0).then_some(filled));
        words.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        let length = bytes.len() as u16;
        bytes[6..8].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn registers_and_the_filled_part_of_the_stack_are_handed_on() {
        let bytes = with_state(2, 64, 16);
        let (record, rest) = split(&bytes, Layout::ChainAndStack).unwrap();
        assert!(rest.is_empty());
        let Record::Sample(sample) = record else { panic!("not a sample") };
        let (registers, stack) = sample.state.unwrap();
        let top = registers.stack_pointer();
        assert_eq!((stack.read(top), stack.read(top + 8)), (Some(0xa0), Some(0xa1)));
        assert_eq!(stack.read(top + 16), None, "the rest was reserved, not copied");
        assert_eq!(sample.user, [0x10]);
    }

    #[test]
    fn kernel_threads_and_32_bit_programs_have_no_state() {
        for bytes in [with_state(0, 0, 0), with_state(1, 64, 16)] {
            let (record, _) = split(&bytes, Layout::ChainAndStack).unwrap();
            let Record::Sample(sample) = record else { panic!("not a sample") };
            assert_eq!((sample.pid, sample.state), (7, None));
        }
    }

    proptest! {
        #[test]
        fn a_torn_state_is_no_state(cut in 0usize..200) {
            let mut bytes = with_state(2, 64, 64);
            bytes.truncate(bytes.len() - cut.min(bytes.len() - 48));
            let length = bytes.len() as u16;
            bytes[6..8].copy_from_slice(&length.to_ne_bytes());
            let _ = split(&bytes, Layout::ChainAndStack);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&bytes, Layout::Chain);
            let _ = split(&bytes, Layout::ChainAndStack);
        }

        #[test]
        fn a_lying_count_reads_only_what_is_there(count in any::<u64>()) {
            let mut bytes = sample_bytes(1, 1, &[PERF_CONTEXT_USER, 5]);
            bytes[16..24].copy_from_slice(&count.to_ne_bytes());
            let _ = split(&bytes, Layout::Chain);
            let _ = split(&bytes, Layout::ChainAndStack);
        }
    }
}
