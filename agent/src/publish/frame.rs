//! One record of the spool: length, CRC-32, then the batch.
//!
//! A process killed in the middle of a write leaves a record that is too
//! short or whose checksum is wrong. Both read as `Torn`, and what follows in
//! that file is not trusted.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::Batch;

const HEADER_BYTES: usize = 8;
/// Longer than any message the contract allows (8 MiB).
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// What lies at a position of a segment.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// A whole record and the bytes it takes.
    Record(Batch, usize),
    /// Nothing more.
    End,
    /// Bytes that are no whole record.
    Torn,
}

pub fn encode(batch: &Batch) -> Vec<u8> {
    let subject = batch.subject.as_bytes();
    let mut body = Vec::with_capacity(2 + subject.len() + 16 + batch.payload.len());
    body.extend((subject.len() as u16).to_le_bytes());
    body.extend(subject);
    body.extend(batch.id.as_bytes());
    body.extend(&batch.payload);
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    frame
}

/// Reads the record at the start of `bytes`.
pub fn decode(bytes: &[u8]) -> Frame {
    if bytes.is_empty() {
        return Frame::End;
    }
    match decode_record(bytes) {
        Some((batch, length)) => Frame::Record(batch, length),
        None => Frame::Torn,
    }
}

fn decode_record(bytes: &[u8]) -> Option<(Batch, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let body = rest.get(..length).filter(|_| length <= MAX_BODY_BYTES)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (subject_length, rest) = body.split_first_chunk::<2>()?;
    let (subject, rest) = rest.split_at_checked(u16::from_le_bytes(*subject_length).into())?;
    let (id, payload) = rest.split_first_chunk::<16>()?;
    let batch = Batch {
        id: Uuid::from_bytes(*id),
        subject: String::from_utf8(subject.to_vec()).ok()?,
        payload: Bytes::copy_from_slice(payload),
    };
    Some((batch, HEADER_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(payload: Vec<u8>) -> Batch {
        Batch { id: Uuid::new_v4(), subject: "eo.v1.a.b.samples".into(), payload: payload.into() }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(payload in proptest::collection::vec(any::<u8>(), 0..500)) {
            let batch = batch(payload);
            let frame = encode(&batch);
            prop_assert_eq!(decode(&frame), Frame::Record(batch, frame.len()));
        }

        #[test]
        fn a_cut_record_is_torn(payload in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..40) {
            let frame = encode(&batch(payload));
            let kept = frame.len().saturating_sub(cut).max(1);
            prop_assert_eq!(decode(&frame[..kept]), Frame::Torn);
        }

        #[test]
        fn a_flipped_bit_is_torn(payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut frame = encode(&batch(payload));
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            prop_assert_eq!(decode(&frame), Frame::Torn);
        }
    }
}
