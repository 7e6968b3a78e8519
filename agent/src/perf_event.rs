//! Opening one event of the kernel (`perf_event_open`): a description goes in, a file comes out.
//!
//! Here because a raw system call takes `unsafe`; what is done with the file
//! is `profiler::perf`'s (samples) and `counters`' (counts).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use perf_event_open_sys::bindings::{perf_event_attr, PERF_FLAG_FD_CLOEXEC, PERF_FLAG_PID_CGROUP};

/// Whose doings count, on one CPU.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'f> {
    Everybody,
    /// Of the processes in and below this directory of a cgroup hierarchy.
    Cgroup(BorrowedFd<'f>),
}

/// Opens an event on one CPU, in the group of `leader` if there is one.
pub fn open(
    attributes: &mut perf_event_attr,
    whose: Whose<'_>,
    cpu: u32,
    leader: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    attributes.size = size_of::<perf_event_attr>() as u32;
    let (pid, flags) = match whose {
        Whose::Everybody => (-1, PERF_FLAG_FD_CLOEXEC),
        Whose::Cgroup(directory) => {
            (directory.as_raw_fd(), PERF_FLAG_FD_CLOEXEC | PERF_FLAG_PID_CGROUP)
        }
    };
    let group = leader.map_or(-1, |leader| leader.as_raw_fd());
    let cpu = i32::try_from(cpu).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `attributes` is a valid structure of the size it states and lives over the call,
    // which keeps no pointer to it; the descriptors are borrowed, hence open.
    let fd =
        unsafe { perf_event_open_sys::perf_event_open(attributes, pid, cpu, group, flags.into()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
