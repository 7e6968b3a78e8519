//! Records of the perf ring buffer, as bytes to values.
//!
//! Layout for `PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN`, see
//! perf_event_open(2): header, pid, tid, number of entries, entries. In the
//! chain, marker values say whether kernel or user addresses follow.

use perf_event_open_sys::bindings::{
    PERF_CONTEXT_KERNEL, PERF_CONTEXT_MAX, PERF_CONTEXT_USER, PERF_RECORD_LOST, PERF_RECORD_SAMPLE,
};

/// One thread, caught on a CPU. Addresses from the leaf to the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sample {
    pub pid: i32,
    pub tid: i32,
    pub kernel: Vec<u64>,
    pub user: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    Sample(Sample),
    /// The buffer was full this many times.
    Lost(u64),
    Other,
}

/// Splits off the first record of `bytes`; None when it is not whole.
pub fn split(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let kind = u32_at(bytes, 0)?;
    let size = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    let record = bytes.get(..size).filter(|_| size >= 8)?;
    let body = &record[8..];
    let parsed = match kind {
        PERF_RECORD_SAMPLE => sample(body).map_or(Record::Other, Record::Sample),
        PERF_RECORD_LOST => u64_at(body, 8).map_or(Record::Other, Record::Lost),
        _ => Record::Other,
    };
    Some((parsed, &bytes[size..]))
}

fn sample(body: &[u8]) -> Option<Sample> {
    let mut sample =
        Sample { pid: u32_at(body, 0)? as i32, tid: u32_at(body, 4)? as i32, ..Sample::default() };
    let count = u64_at(body, 8)?;
    let chain = body.get(16..)?;
    let mut in_user = false;
    for entry in chain.chunks_exact(8).take(count as usize) {
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
    Some(sample)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
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
        let (record, rest) = split(&bytes).unwrap();
        let kernel = vec![0xffff_ffff_8000_0000];
        assert_eq!(
            record,
            Record::Sample(Sample { pid: 7, tid: 8, kernel, user: vec![0x10, 0x20] })
        );
        assert_eq!(rest, [1, 2, 3]);
        assert_eq!(split(rest), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&bytes);
        }

        #[test]
        fn a_lying_count_reads_only_what_is_there(count in any::<u64>()) {
            let mut bytes = sample_bytes(1, 1, &[PERF_CONTEXT_USER, 5]);
            bytes[16..24].copy_from_slice(&count.to_ne_bytes());
            let _ = split(&bytes);
        }
    }
}
