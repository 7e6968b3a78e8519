//! Asking a running HotSpot JVM for its code map, without a restart or flags.
//!
//! The attach protocol (OpenJDK, `attachListener_posix.cpp`): a file
//! `.attach_pidN` in the JVM's /tmp and a SIGQUIT make it listen on
//! `.java_pidN` there; `jcmd Compiler.perfmap` (JDK 17 and newer) makes it
//! write `perf-N.map`. Everything in that /tmp may be a trap laid by the
//! watched program: paths never leave its root, the socket must be answered
//! by the very process, and a SIGQUIT goes only to a process that catches it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{openat, openat2, unlinkat, AtFlags, Mode, OFlags, ResolveFlags, CWD};
use rustix::net::{socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{kill_process, Pid, Signal};

use crate::procfs::{status, Proc};

const LISTENS_WITHIN: Duration = Duration::from_secs(5);
pub(crate) const MAX_ANSWER_BYTES: usize = 4096;
/// Read at a time.
pub(crate) const PIECE_BYTES: usize = 512;
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// A code map of an application server has some ten thousand lines; of a
/// longer one the end is read.
const MAX_MAP_BYTES: u64 = 8 << 20;

/// A JVM, by its pid here and in its own pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub pid: i32,
    pub own_pid: i32,
}

impl Target {
    /// Its own id is that of its innermost namespace.
    pub fn of(proc: &Proc, pid: i32) -> Option<Target> {
        let status = proc.process_text(pid, "status")?;
        let own_pid = status::namespace_pids(&status).last().copied().unwrap_or(pid);
        Some(Target { pid, own_pid })
    }

    /// The map that the process wrote for itself, e.g. Node with `--perf-basic-prof`.
    pub fn read_map(&self, proc: &Proc) -> Option<Vec<u8>> {
        let directory = temporary_directory(proc, self.pid).ok()?;
        let name = format!("perf-{}.map", self.own_pid);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(&directory, name, flags, Mode::empty()).ok()?);
        let about = file.metadata().ok()?;
        // Anybody may write into /tmp: names are taken from the process' own user, or root.
        let user = std::fs::metadata(proc.path(self.pid.to_string())).ok()?.uid();
        (about.is_file() && (about.uid() == user || about.uid() == 0)).then_some(())?;
        let skipped = about.len().saturating_sub(MAX_MAP_BYTES);
        file.seek(SeekFrom::Start(skipped)).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_MAP_BYTES).read_to_end(&mut bytes).ok()?;
        if skipped > 0 {
            // The first line is torn.
            let line = bytes.iter().position(|byte| *byte == b'\n')?;
            bytes.drain(..=line);
        }
        Some(bytes)
    }

    /// Makes a JVM write its map. The error is for the log.
    pub fn dump_map(&self, proc: &Proc) -> Result<(), String> {
        let directory = temporary_directory(proc, self.pid)
            .map_err(|error| format!("/tmp of the JVM: {error}"))?;
        let mut socket = match self.connect(&directory) {
            Ok(socket) => socket,
            Err(_) => self.wake(proc, &directory)?,
        };
        let limit = |error: std::io::Error| format!("attach: {error}");
        socket.set_write_timeout(Some(ANSWERS_WITHIN)).map_err(limit)?;
        socket.write_all(b"1\0jcmd\0Compiler.perfmap\0\0\0").map_err(limit)?;
        verdict(&read_answer(&mut socket).map_err(limit)?)
    }

    fn connect(&self, directory: &OwnedFd) -> std::io::Result<UnixStream> {
        let path = format!("/proc/self/fd/{}/.java_pid{}", directory.as_raw_fd(), self.own_pid);
        // Not blocking: a program may let its queue of connections fill up.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false)?;
        let peer = rustix::net::sockopt::socket_peercred(&socket)?;
        if peer.pid.as_raw_nonzero().get() != self.pid {
            return Err(std::io::Error::other("somebody else answers in place of the JVM"));
        }
        Ok(socket)
    }

    /// The first attach to a JVM: it starts to listen when it is asked by a
    /// file and a signal.
    fn wake(&self, proc: &Proc, directory: &OwnedFd) -> Result<UnixStream, String> {
        let status = proc.process_text(self.pid, "status").ok_or("the process is gone")?;
        if !catches_sigquit(&status) {
            return Err("the JVM does not listen (-XX:+DisableAttachMechanism or -Xrs)".into());
        }
        let name = format!(".attach_pid{}", self.own_pid);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(directory, &name, flags, Mode::RUSR | Mode::WUSR);
        let file = made.map_err(|error| format!("attach file: {error}"))?;
        let answered = self.wait_for_listener(directory);
        drop(file);
        let _ = unlinkat(directory, &name, AtFlags::empty());
        answered
    }

    fn wait_for_listener(&self, directory: &OwnedFd) -> Result<UnixStream, String> {
        let pid = Pid::from_raw(self.pid).ok_or("no such process")?;
        kill_process(pid, Signal::QUIT).map_err(|error| format!("signal: {error}"))?;
        let started = Instant::now();
        loop {
            match self.connect(directory) {
                Ok(socket) => return Ok(socket),
                Err(error) if started.elapsed() > LISTENS_WITHIN => {
                    return Err(format!("the JVM did not start to listen: {error}"))
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Whether the JVM wrote its map, by the first line of its answer.
pub(crate) fn verdict(answer: &str) -> Result<(), String> {
    match answer.lines().next() {
        Some("0") => Ok(()),
        _ => Err(format!(
            "jcmd Compiler.perfmap was refused (JDK 17 or newer knows it): {}",
            answer.trim()
        )),
    }
}

/// All of a short answer, within the time for the whole of it.
pub(crate) fn read_answer(socket: &mut UnixStream) -> std::io::Result<String> {
    let until = Instant::now() + ANSWERS_WITHIN;
    let mut answer = Vec::new();
    let mut buffer = [0; PIECE_BYTES];
    while answer.len() < MAX_ANSWER_BYTES {
        let rest = until.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(rest.max(Duration::from_millis(1))))?;
        let length = socket.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// /tmp as the process sees it, without leaving its root by any link.
fn temporary_directory(proc: &Proc, pid: i32) -> rustix::io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, proc.path(format!("{pid}/root")), directory, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(&root, "tmp", directory, Mode::empty(), inside)
}

/// Whether a signal that kills by default is handled: bit 2 of `SigCgt`.
fn catches_sigquit(status: &str) -> bool {
    const SIGQUIT_BIT: u64 = 1 << 2;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGQUIT_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_would_die_of_the_signal_is_left_alone() {
        assert!(catches_sigquit("SigCgt:\t2000000181005ccf\n"));
        assert!(!catches_sigquit("SigCgt:\t0000000000000000\n"));
        assert!(!catches_sigquit("SigIgn:\tffffffffffffffff\n"));
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("perf-7.map"), "1 1 secret\n").unwrap();
        let fake = tempfile::tempdir().unwrap();
        let root = fake.path().join("7/root");
        std::fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("tmp")).unwrap();
        let target = Target { pid: 7, own_pid: 7 };
        assert_eq!(target.read_map(&Proc::new(fake.path())), None);

        std::fs::remove_file(root.join("tmp")).unwrap();
        std::fs::create_dir(root.join("tmp")).unwrap();
        let link = root.join("tmp/perf-7.map");
        std::os::unix::fs::symlink(outside.path().join("perf-7.map"), &link).unwrap();
        assert_eq!(target.read_map(&Proc::new(fake.path())), None);

        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "1 1 own\n").unwrap();
        assert_eq!(target.read_map(&Proc::new(fake.path())), Some(b"1 1 own\n".to_vec()));
    }
}
