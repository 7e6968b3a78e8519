//! The queue on disk for the time in which the bus is away.
//!
//! Batches are appended to numbered segment files and taken out in order.
//! - A record is on disk (fdatasync) before `append` returns; a kill -9 can
//!   tear only the last one, which is seen and dropped (see `frame`).
//! - A segment is deleted once all of it was taken. After a crash the records
//!   taken from a segment in part come again: a batch id twice is a no-op.
//! - The spool never grows past its limit: the oldest segment goes first, and
//!   its records are counted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{self, Frame};
use crate::wire::Batch;

const SUFFIX: &str = "spool";
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

pub struct Spool {
    directory: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    /// Oldest first. The last one is written to when `writer` is some.
    segments: VecDeque<Segment>,
    writer: Option<File>,
    /// Content of the oldest segment as far as it was read, and where we are in it.
    reader: Option<Reader>,
    losses: Losses,
    _lock: File,
}

struct Segment {
    number: u64,
    bytes: u64,
}

struct Reader {
    number: u64,
    file: File,
    position: u64,
}

/// What the spool had to give up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records dropped, oldest first, to stay within the limit.
    pub dropped_records: u64,
    /// Records dropped because the disk took no more: the oldest, or the new one.
    pub unwritten_records: u64,
    /// Places where bytes were no whole record, and how many bytes.
    pub torn_records: u64,
    pub torn_bytes: u64,
}

impl Spool {
    /// Opens a directory, with what an earlier run left in it.
    pub fn open(directory: &Path, max_bytes: u64) -> io::Result<Spool> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another agent uses this spool directory"))?;
        let mut segments: Vec<Segment> = fs::read_dir(directory)?
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let number = path.file_stem()?.to_str()?.parse().ok()?;
                (path.extension()? == SUFFIX).then_some(())?;
                Some(Segment { number, bytes: entry.metadata().ok()?.len() })
            })
            .collect();
        segments.sort_by_key(|segment| segment.number);
        Ok(Spool {
            directory: directory.to_owned(),
            max_bytes,
            segment_bytes: SEGMENT_BYTES.min(max_bytes / 8).max(1),
            segments: segments.into(),
            writer: None,
            reader: None,
            losses: Losses::default(),
            _lock: lock,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn losses(&self) -> Losses {
        self.losses
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Puts a batch at the end. When the disk is full, older batches make room.
    pub fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let frame = frame::encode(batch);
        loop {
            match self.write(&frame) {
                Ok(()) => break,
                Err(error) if self.segments.len() > 1 => {
                    tracing::warn!(%error, "spool: write failed, dropping the oldest segment to make room");
                    self.losses.unwritten_records += self.drop_oldest();
                }
                Err(error) => {
                    self.losses.unwritten_records += 1;
                    return Err(error);
                }
            }
        }
        while self.bytes() > self.max_bytes && self.segments.len() > 1 {
            self.losses.dropped_records += self.drop_oldest();
        }
        Ok(())
    }

    /// The oldest batch; it stays until `pop`.
    pub fn front(&mut self) -> io::Result<Option<Batch>> {
        Ok(self.read()?.map(|(batch, _)| batch))
    }

    /// Removes the oldest batch, after it was delivered.
    pub fn pop(&mut self) -> io::Result<()> {
        if let Some((_, length)) = self.read()? {
            if let Some(reader) = &mut self.reader {
                reader.position += length as u64;
            }
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.{SUFFIX}"))
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let full = self.segments.back().is_none_or(|segment| segment.bytes >= self.segment_bytes);
        if full || self.writer.is_none() {
            self.roll()?;
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment to write to"));
        };
        match writer.write_all(frame).and_then(|()| writer.sync_data()) {
            Ok(()) => {
                segment.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                // No half record in the middle of a segment: go back to the last whole
                // one, or, where even that fails, go on in another segment.
                if writer.set_len(segment.bytes).is_err() {
                    self.writer = None;
                }
                Err(error)
            }
        }
    }

    /// Starts a new segment; one that an earlier run wrote is never appended to.
    fn roll(&mut self) -> io::Result<()> {
        let number = self.segments.back().map_or(0, |segment| segment.number + 1);
        self.writer =
            Some(OpenOptions::new().append(true).create_new(true).open(self.path(number))?);
        File::open(&self.directory)?.sync_all()?;
        self.segments.push_back(Segment { number, bytes: 0 });
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<(Batch, usize)>> {
        while let Some(segment) = self.segments.front() {
            let (number, bytes) = (segment.number, segment.bytes);
            if self.reader.as_ref().is_none_or(|reader| reader.number != number) {
                self.reader =
                    Some(Reader { number, file: File::open(self.path(number))?, position: 0 });
            }
            let Some(reader) = &self.reader else { return Ok(None) };
            let rest = read_record_bytes(reader, bytes)?;
            match frame::decode(&rest) {
                Frame::End if reader.position < bytes => {
                    self.losses.torn_records += 1;
                    self.losses.torn_bytes += bytes - reader.position;
                }
                Frame::Record(batch, length) => return Ok(Some((batch, length))),
                Frame::End => {}
                Frame::Torn => {
                    let torn = bytes - reader.position;
                    self.losses.torn_records += 1;
                    self.losses.torn_bytes += torn;
                    tracing::warn!(segment = %self.path(number).display(), torn, "spool: dropped a torn record");
                }
            }
            self.remove_oldest();
        }
        Ok(None)
    }

    fn remove_oldest(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            if self.segments.is_empty() {
                self.writer = None;
            }
            self.reader = None;
            if let Err(error) = fs::remove_file(self.path(segment.number)) {
                tracing::warn!(%error, "spool: could not delete a segment");
            }
        }
    }

    /// How many records went with it that nobody had taken.
    fn drop_oldest(&mut self) -> u64 {
        let Some(segment) = self.segments.front() else { return 0 };
        let taken = self.reader.as_ref().filter(|reader| reader.number == segment.number);
        let skip = taken.map_or(0, |reader| reader.position as usize);
        let content = fs::read(self.path(segment.number)).unwrap_or_default();
        self.remove_oldest();
        count_records(content.get(skip..).unwrap_or_default())
    }
}

/// The bytes of one record at the reader's position, fewer at a torn tail.
fn read_record_bytes(reader: &Reader, segment_bytes: u64) -> io::Result<Vec<u8>> {
    // Somebody may have shortened the file: what is gone is torn.
    let there = segment_bytes.min(reader.file.metadata()?.len());
    let left = there.saturating_sub(reader.position);
    let mut header = [0; 8];
    if left < header.len() as u64 {
        return Ok(vec![0; left as usize]);
    }
    reader.file.read_exact_at(&mut header, reader.position)?;
    let body = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let wanted = (header.len() as u64 + u64::from(body)).min(left);
    let mut bytes = vec![0; wanted as usize];
    reader.file.read_exact_at(&mut bytes, reader.position)?;
    Ok(bytes)
}

/// Records that lie whole at the start of a segment, read as `Spool::read` does.
#[cfg(feature = "fuzzing")]
pub(crate) fn records(file: File, segment_bytes: u64) -> io::Result<Vec<Batch>> {
    let mut reader = Reader { number: 0, file, position: 0 };
    let mut batches = Vec::new();
    while let Frame::Record(batch, length) =
        frame::decode(&read_record_bytes(&reader, segment_bytes)?)
    {
        batches.push(batch);
        reader.position += length as u64;
    }
    Ok(batches)
}

fn count_records(mut content: &[u8]) -> u64 {
    let mut count = 0;
    while let Frame::Record(_, length) = frame::decode(content) {
        content = &content[length..];
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn batch(number: u32) -> Batch {
        let payload = [number.to_le_bytes().as_slice(), &[7; 996]].concat();
        Batch {
            id: Uuid::from_u128(number.into()),
            subject: "eo.v1.a.b.samples".into(),
            payload: payload.into(),
        }
    }

    fn take_all(spool: &mut Spool) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Some(batch) = spool.front().unwrap() {
            taken.push(batch.id.as_u128() as u32);
            spool.pop().unwrap();
        }
        taken
    }

    #[test]
    fn batches_come_out_in_order_over_many_segments_and_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), 80_000).unwrap();
        (0..30).for_each(|number| spool.append(&batch(number)).unwrap());
        assert!(spool.segments.len() > 1);
        drop(spool);
        let mut spool = Spool::open(directory.path(), 80_000).unwrap();
        (30..40).for_each(|number| spool.append(&batch(number)).unwrap());
        assert_eq!(take_all(&mut spool), (0..40).collect::<Vec<_>>());
        assert_eq!(spool.bytes(), 0);
        spool.append(&batch(40)).unwrap();
        assert_eq!(take_all(&mut spool), [40]);
        assert_eq!(spool.losses(), Losses::default());
    }

    #[test]
    fn a_torn_tail_is_dropped_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), 1 << 20).unwrap();
        (0..3).for_each(|number| spool.append(&batch(number)).unwrap());
        let path = spool.path(0);
        drop(spool);
        let whole = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole - 5).unwrap();
        let mut spool = Spool::open(directory.path(), 1 << 20).unwrap();
        spool.append(&batch(9)).unwrap();
        assert_eq!(take_all(&mut spool), [0, 1, 9]);
        assert!(spool.losses().torn_bytes > 0);
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), 20_000).unwrap();
        for number in 0..100 {
            spool.append(&batch(number)).unwrap();
            assert!(spool.bytes() <= 20_000);
        }
        let dropped = spool.losses().dropped_records as u32;
        assert!(dropped > 0);
        assert_eq!(take_all(&mut spool), (dropped..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_taken_is_not_counted_as_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), 20_000).unwrap();
        spool.append(&batch(0)).unwrap();
        assert!(spool.front().unwrap().is_some());
        spool.pop().unwrap();
        (1..40).for_each(|number| spool.append(&batch(number)).unwrap());
        let left = take_all(&mut spool).len() as u64;
        assert_eq!(1 + left + spool.losses().dropped_records, 40);
    }

    #[test]
    fn two_agents_can_not_share_a_spool() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Spool::open(directory.path(), 20_000).unwrap();
        assert!(Spool::open(directory.path(), 20_000)
            .err()
            .unwrap()
            .to_string()
            .contains("another agent"));
    }

    proptest! {
        #[test]
        fn whatever_happens_to_a_file_what_comes_out_is_whole_and_the_spool_goes_on(
            records in 1u32..6,
            keep in 0.0..1.0f64,
            flip in proptest::option::of((0.0..1.0f64, 1u8..=255)),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut spool = Spool::open(directory.path(), 1 << 20).unwrap();
            (0..records).for_each(|number| spool.append(&batch(number)).unwrap());
            let path = spool.path(0);
            drop(spool);
            let mut content = fs::read(&path).unwrap();
            let record = content.len() / records as usize;
            let mut untouched = (content.len() as f64 * keep) as usize;
            content.truncate(untouched);
            if let Some((place, bits)) = flip {
                let place = (content.len() as f64 * place) as usize;
                if let Some(byte) = content.get_mut(place) {
                    *byte ^= bits;
                    untouched = place;
                }
            }
            fs::write(&path, &content).unwrap();
            let mut spool = Spool::open(directory.path(), 1 << 20).unwrap();
            spool.append(&batch(99)).unwrap();
            let mut expected: Vec<u32> = (0..(untouched / record) as u32).collect();
            expected.push(99);
            prop_assert_eq!(take_all(&mut spool), expected);
        }
    }

    #[test]
    fn a_file_shortened_under_a_running_agent_costs_what_is_gone_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path(), 80_000).unwrap();
        (0..20).for_each(|number| spool.append(&batch(number)).unwrap());
        let first = spool.segments.front().unwrap().bytes;
        let file = OpenOptions::new().write(true).open(spool.path(0)).unwrap();
        for cut in [first / 2, 0] {
            file.set_len(cut).unwrap();
            assert!(spool.front().is_ok());
        }
        let taken = take_all(&mut spool);
        assert!(taken.contains(&19) && taken.len() < 20, "{taken:?}");
        assert_eq!(spool.losses().torn_records, 1);
    }
}
