//! Reading /proc, as little of it as possible.
//!
//! The submodules are pure parsers from text to values; `Proc` here is the
//! only place that opens files below the configured root, so that tests and
//! containers can point it elsewhere. A file that can't be read is `None`:
//! what that means is for the caller to say. `scan` takes over.

pub mod maps;
pub mod node;
pub mod stat;
pub mod status;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Larger than `stat`, `status` and `io` of any process.
const ONE_READ_BYTES: usize = 4096;

/// The first pid namespace: its number never changes (PROC_PID_INIT_INO).
const HOST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A hundred thousand mappings; what lies behind is not seen.
const MAX_MAPS_BYTES: u64 = 16 << 20;

/// The mount point of procfs, and the readers below it.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    pub fn new(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Process ids at this moment; the error of the directory itself.
    pub fn pids(&self) -> std::io::Result<Vec<i32>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Whether the pids here are the kernel's own, which drivers tell. Elsewhere a
    /// number may be another process. None where it can't be seen.
    pub fn has_pids_of_the_host(&self) -> Option<bool> {
        let namespace = fs::read_link(self.root.join("self/ns/pid")).ok()?;
        Some(namespace.as_os_str() == HOST_PID_NAMESPACE)
    }

    /// A file of the node, e.g. `stat`.
    pub fn node_file(&self, name: &str) -> std::io::Result<String> {
        fs::read_to_string(self.root.join(name))
    }

    /// A file of a process, read into `buffer`; None when gone or not permitted.
    pub fn process_file<'b>(
        &self,
        pid: i32,
        name: &str,
        buffer: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]> {
        let mut file = fs::File::open(self.root.join(format!("{pid}/{name}"))).ok()?;
        // Most files come whole in one read; asking for their size first, as
        // `read_to_end` does, would cost more than reading them.
        buffer.resize(ONE_READ_BYTES, 0);
        let length = file.read(buffer).ok()?;
        buffer.truncate(length);
        if length == ONE_READ_BYTES {
            file.read_to_end(buffer).ok()?;
        }
        Some(buffer)
    }

    /// A text file of a process; None when gone or not permitted.
    pub fn process_text(&self, pid: i32, name: &str) -> Option<String> {
        let mut buffer = Vec::new();
        self.process_file(pid, name, &mut buffer)?;
        Some(String::from_utf8_lossy(&buffer).into_owned())
    }

    /// `/proc/PID/maps`, all of it: the kernel hands it out in pieces of whole
    /// lines, so that a short read is not the end. None when gone or not permitted.
    pub fn maps(&self, pid: i32) -> Option<String> {
        let file = fs::File::open(self.root.join(format!("{pid}/maps"))).ok()?;
        let mut bytes = Vec::with_capacity(ONE_READ_BYTES * 4);
        file.take(MAX_MAPS_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A mapped file as the process has it: the mapping itself, which a file that
    /// was deleted or replaced has too, else the path below the process' root.
    /// Never waits for a pipe or a device that somebody put there.
    pub fn mapped_file(&self, pid: i32, start: u64, end: u64, path: &str) -> Option<fs::File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mapping = self.root.join(format!("{pid}/map_files/{start:x}-{end:x}"));
        let by_path = || {
            let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = self.root.join(format!("{pid}/root"));
            let root = rustix::fs::open(root, directory, Mode::empty()).ok()?;
            let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&root, path, flags, Mode::empty(), inside).ok()
        };
        let file = rustix::fs::open(mapping, flags, Mode::empty()).ok().or_else(by_path)?;
        let file = fs::File::from(file);
        file.metadata().is_ok_and(|about| about.is_file()).then_some(file)
    }

    /// Where `/proc/PID/exe` points, without the mark of a deleted file.
    pub fn exe(&self, pid: i32) -> Option<PathBuf> {
        let target = fs::read_link(self.root.join(pid.to_string()).join("exe")).ok()?;
        let text = target.to_str()?;
        Some(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text)))
    }

    /// The threads of a process; empty when gone or not permitted.
    pub fn threads(&self, pid: i32) -> Vec<i32> {
        let Ok(entries) = fs::read_dir(self.root.join(pid.to_string()).join("task")) else {
            return Vec::new();
        };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_of_the_first_namespace_are_told_from_others() {
        let fake = tempfile::tempdir().unwrap();
        let proc = Proc::new(fake.path());
        assert_eq!(proc.has_pids_of_the_host(), None);
        let link = fake.path().join("self/ns/pid");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        for (namespace, of_the_host) in [(HOST_PID_NAMESPACE, true), ("pid:[4026532201]", false)] {
            std::os::unix::fs::symlink(namespace, &link).unwrap();
            assert_eq!(proc.has_pids_of_the_host(), Some(of_the_host));
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn a_pipe_in_place_of_a_program_is_not_waited_for() {
        let fake = tempfile::tempdir().unwrap();
        let root = fake.path().join("7/root");
        fs::create_dir_all(&root).unwrap();
        let pipe = root.join("prog");
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        );
        made.unwrap();
        let proc = Proc::new(fake.path());
        assert!(proc.mapped_file(7, 0, 1, "/prog").is_none());
        fs::remove_file(&pipe).unwrap();
        fs::write(&pipe, "x").unwrap();
        assert!(proc.mapped_file(7, 0, 1, "/prog").is_some());
    }

    #[test]
    fn a_long_list_of_mappings_is_read_to_its_end() {
        // Threads have a stack each: more lines than the kernel hands out at once.
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let stopped = std::sync::Arc::new(std::sync::Mutex::new(stopped));
        let threads: Vec<_> = (0..100)
            .map(|_| {
                let stopped = stopped.clone();
                std::thread::spawn(move || drop(stopped.lock().map(|stopped| stopped.recv())))
            })
            .collect();
        let text = Proc::new("/proc").maps(std::process::id() as i32).unwrap();
        drop(stop);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(text.len() > 2 * ONE_READ_BYTES, "{} bytes", text.len());
        assert!(text.contains("[stack]") && text.ends_with('\n'));
    }
}
