//! SHA-256 of executables, a few megabytes at a time.
//!
//! A large binary must not make the agent stall or burn a core, so that one
//! file is worked on at a time and each interval advances it by a bounded
//! piece. Answers are kept by device, inode, size and time of change: a
//! thousand processes of one program cost one reading.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use sha2::{Digest, Sha256};

/// Read in one interval.
const STEP_BYTES: u64 = 4 << 20;
const MAX_FILE_BYTES: u64 = 256 << 20;
const MAX_WAITING: usize = 32;
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A file and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl FileId {
    pub fn of(metadata: &Metadata) -> FileId {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The state of one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Checksum {
    Known(Arc<str>),
    /// Ask again in the next interval.
    Working,
    /// Not readable, or too large.
    Never,
}

/// Running and finished checksums.
pub struct Checksums {
    known: LruCache<FileId, Option<Arc<str>>>,
    waiting: VecDeque<(FileId, PathBuf)>,
    current: Option<(FileId, File, Sha256)>,
}

impl Checksums {
    pub fn new() -> Checksums {
        Checksums { known: LruCache::new(MAX_KNOWN), waiting: VecDeque::new(), current: None }
    }

    /// The checksum of a file, or the promise to work on it.
    pub fn get(&mut self, path: &Path) -> Checksum {
        let Ok(metadata) = std::fs::metadata(path) else { return Checksum::Never };
        let id = FileId::of(&metadata);
        if let Some(known) = self.known.get(&id) {
            return known.clone().map_or(Checksum::Never, Checksum::Known);
        }
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Checksum::Never;
        }
        let queued = self.current.as_ref().is_some_and(|(current, ..)| *current == id)
            || self.waiting.iter().any(|(waiting, _)| *waiting == id);
        if !queued && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((id, path.to_owned()));
        }
        Checksum::Working
    }

    /// Does one interval's worth of work.
    pub fn step(&mut self) {
        if self.current.is_none() {
            let Some((id, path)) = self.waiting.pop_front() else { return };
            match File::open(path) {
                Ok(file) => self.current = Some((id, file, Sha256::new())),
                Err(_) => drop(self.known.put(id, None)),
            }
        }
        let Some((id, mut file, mut hash)) = self.current.take() else { return };
        let mut piece = Vec::new();
        match (&mut file).take(STEP_BYTES).read_to_end(&mut piece) {
            Ok(0) => {
                let digest: String =
                    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                self.known.put(id, Some(digest.into()));
            }
            Ok(_) => {
                hash.update(&piece);
                self.current = Some((id, file, hash));
            }
            Err(_) => drop(self.known.put(id, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_arrives_after_some_steps_and_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let mut checksums = Checksums::new();
        assert_eq!(checksums.get(file.path()), Checksum::Working);
        (0..3).for_each(|_| checksums.step());
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksums.get(file.path()), Checksum::Known(expected.into()));
        std::fs::write(file.path(), "abcd").unwrap();
        assert_eq!(checksums.get(file.path()), Checksum::Working);
    }

    #[test]
    fn what_can_not_be_read_is_never_known() {
        let mut checksums = Checksums::new();
        assert_eq!(checksums.get(Path::new("/nonexistent")), Checksum::Never);
        assert_eq!(checksums.get(Path::new("/")), Checksum::Never);
    }
}
