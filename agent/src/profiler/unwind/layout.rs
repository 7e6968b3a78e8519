//! Which file's code lies where in one process.

use std::fs::File;
use std::rc::Rc;
use std::time::Instant;

use crate::procfs::maps;
use crate::procfs::Proc;

/// A program maps no more code than this many pieces.
const MAX_PIECES: usize = 4096;

/// A file, whatever it is called in whichever mount namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileId {
    device: String,
    inode: u64,
    /// On overlays, inodes of different layers may be equal.
    path: String,
}

/// Executable memory that is backed by a file.
#[derive(Debug, Clone)]
pub struct Code {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub file: Rc<FileId>,
}

impl Code {
    /// Opens the file as the process sees it; one that was deleted, too, where
    /// `map_files` may be read.
    pub fn open(&self, proc: &Proc, pid: i32) -> Option<File> {
        proc.mapped_file(pid, self.start, self.end, &self.file.path)
    }
}

/// The code of one process, by address.
#[derive(Debug)]
pub struct Layout {
    pub read_at: Instant,
    pieces: Vec<Code>,
}

impl Layout {
    /// Empty for a process that is gone or may not be read.
    pub fn read(proc: &Proc, pid: i32, now: Instant) -> Layout {
        let text = proc.maps(pid).unwrap_or_default();
        Layout { read_at: now, pieces: pieces(&text) }
    }

    pub fn find(&self, address: u64) -> Option<&Code> {
        let next = self.pieces.partition_point(|piece| piece.start <= address);
        self.pieces[..next].last().filter(|piece| address < piece.end)
    }
}

fn pieces(text: &str) -> Vec<Code> {
    let code = maps::parse(text).filter(|map| map.executable && map.path.starts_with('/'));
    let mut pieces: Vec<Code> = code
        .take(MAX_PIECES)
        .map(|map| Code {
            start: map.start,
            end: map.end,
            offset: map.offset,
            file: Rc::new(FileId {
                device: map.device.to_owned(),
                inode: map.inode,
                path: map.path.to_owned(),
            }),
        })
        .collect();
    pieces.sort_by_key(|piece| piece.start);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_by_address() {
        let text = "\
1000-2000 r--p 00000000 08:01 12 /usr/bin/a
2000-3000 r-xp 00001000 08:01 12 /usr/bin/a
5000-6000 r-xp 00000000 00:00 0
7000-8000 r-xp 00000000 08:01 13 /usr/lib/b (deleted)
";
        let layout = Layout { read_at: Instant::now(), pieces: pieces(text) };
        assert_eq!(layout.find(0x2fff).unwrap().file.path, "/usr/bin/a");
        assert_eq!(layout.find(0x7000).unwrap().file.path, "/usr/lib/b");
        for nothing in [0x1fff, 0x3000, 0x5000, 0x8000] {
            assert!(layout.find(nothing).is_none(), "{nothing:x}");
        }
    }

    #[test]
    fn the_code_of_this_process_can_be_opened() {
        let proc = Proc::new("/proc");
        let pid = std::process::id() as i32;
        let layout = Layout::read(&proc, pid, Instant::now());
        let here = code_is_found_by_address as *const () as u64;
        assert!(layout.find(here).unwrap().open(&proc, pid).is_some());
    }
}
