//! Timer samples of all CPUs from the kernel (`perf_event_open`).
//!
//! One event per CPU on the software clock, which virtual machines have too;
//! the kernel walks frame pointers, copies registers and the top of the user
//! stack, and writes them into a ring buffer that this module shares with it.
//! With `perf_event` the only module with `unsafe`: each block states what makes it sound. `record` makes sense of the bytes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perf_event_open_sys::bindings::{
    perf_event_attr, perf_event_mmap_page, PERF_COUNT_SW_CPU_CLOCK, PERF_SAMPLE_CALLCHAIN,
    PERF_SAMPLE_REGS_USER, PERF_SAMPLE_STACK_USER, PERF_SAMPLE_TID, PERF_TYPE_SOFTWARE,
};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use super::record::{self, Layout, Record, Sample};
use super::unwind::SAMPLE_MASK;
use crate::perf_event::{self, Whose};

/// Frames that the kernel follows by frame pointers, from the leaf.
const MAX_STACK: u16 = 127;
/// A sample without its stack copy, at most.
const CHAIN_BYTES: usize = 2 << 10;
/// All rings together: on a node of many CPUs each gets less.
const MAX_RINGS_BYTES: usize = 16 << 20;
const MIN_RING_BYTES: usize = 64 << 10;

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Samples a second and CPU.
    pub hz: u32,
    /// Copied from the top of the user stack; 0: frame pointers only.
    pub stack_bytes: u32,
    /// Between two readings of the rings, at most.
    pub rest: Duration,
}

impl Request {
    fn layout(self) -> Layout {
        if self.stack_bytes == 0 {
            Layout::Chain
        } else {
            Layout::ChainAndStack
        }
    }

    /// Room for the samples of two rests, as the power of two that perf wants.
    fn ring_bytes(self, cpus: usize) -> usize {
        let samples = (f64::from(self.hz) * self.rest.as_secs_f64() * 2.0).ceil() as usize;
        let wanted = samples.max(2) * (CHAIN_BYTES + self.stack_bytes as usize);
        let most = (MAX_RINGS_BYTES / cpus.max(1)).max(MIN_RING_BYTES);
        let bytes = wanted.next_power_of_two().max(MIN_RING_BYTES);
        if bytes <= most {
            bytes
        } else {
            (most / 2 + 1).next_power_of_two()
        }
    }
}

/// Running events, one for each CPU.
pub struct Sampler {
    rings: Vec<Ring>,
    layout: Layout,
    buffer: Vec<u8>,
}

impl Sampler {
    /// Starts sampling. Without permission for kernel stacks, user stacks only.
    pub fn open(cpus: &[u32], request: Request) -> io::Result<Sampler> {
        let bytes = request.ring_bytes(cpus.len());
        let open = |cpu| {
            let ring = |user_only, bytes| Ring::open(cpu, request, user_only, bytes);
            // Memory beyond perf_event_mlock_kb takes CAP_IPC_LOCK: small rings lose more.
            ring(false, bytes)
                .or_else(|_| ring(true, bytes))
                .or_else(|_| ring(true, MIN_RING_BYTES))
        };
        let rings = cpus.iter().map(|&cpu| open(cpu)).collect::<io::Result<Vec<Ring>>>()?;
        Ok(Sampler { rings, layout: request.layout(), buffer: Vec::new() })
    }

    /// Sleeps for `timeout`, less when a ring is half full.
    pub fn wait(&self, timeout: Duration) {
        let mut fds: Vec<PollFd> =
            self.rings.iter().map(|ring| PollFd::new(&ring.fd, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, Some(&timeout));
    }

    /// Hands out all samples; returns how many the kernel had to drop.
    pub fn drain(&mut self, mut take: impl FnMut(Sample<'_>)) -> u64 {
        let mut lost = 0;
        for ring in &mut self.rings {
            self.buffer.clear();
            ring.read(&mut self.buffer);
            let mut rest = self.buffer.as_slice();
            while let Some((record, next)) = record::split(rest, self.layout) {
                match record {
                    Record::Sample(sample) => take(sample),
                    Record::Lost(count) => lost += count,
                    Record::Other => {}
                }
                rest = next;
            }
        }
        lost
    }
}

/// Returns freed memory to the system: reading symbol tables frees megabytes
/// that the allocator would keep. Here because this module may be unsafe.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer and only touches the allocator's own free memory, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The event of one CPU and the memory it shares with us.
struct Ring {
    fd: OwnedFd,
    page: NonNull<perf_event_mmap_page>,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; a pointer may move between threads.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: u32, request: Request, user_only: bool, data_bytes: usize) -> io::Result<Ring> {
        let mut attributes = perf_event_attr::default();
        attributes.type_ = PERF_TYPE_SOFTWARE;
        attributes.config = u64::from(PERF_COUNT_SW_CPU_CLOCK);
        attributes.sample_type = u64::from(PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN);
        if request.layout() == Layout::ChainAndStack {
            attributes.sample_type |= u64::from(PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER);
            attributes.sample_regs_user = SAMPLE_MASK;
            attributes.sample_stack_user = request.stack_bytes;
        }
        attributes.sample_max_stack = MAX_STACK;
        attributes.sample_freq = u64::from(request.hz);
        // A wake-up for each sample costs more than the sample: the reader comes by itself.
        attributes.set_watermark(1);
        attributes.wakeup_watermark = (data_bytes / 2) as u32;
        attributes.set_freq(1);
        attributes.set_exclude_idle(1);
        attributes.set_exclude_hv(1);
        attributes.set_exclude_kernel(user_only.into());
        attributes.set_exclude_callchain_kernel(user_only.into());
        let fd = perf_event::open(&mut attributes, Whose::Everybody, cpu, None)?;
        let page_bytes = rustix::param::page_size();
        // SAFETY: a new shared mapping of our own descriptor, placed by the kernel;
        // one page and 2^n bytes is the size perf asks for. It is unmapped in `drop` only.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_bytes + data_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Ring { fd, page, page_bytes, data_bytes })
    }

    /// Appends all unread bytes to `buffer` and gives the space back.
    fn read(&mut self, buffer: &mut Vec<u8>) {
        let size = self.data_bytes;
        let page = self.page.as_ptr();
        // SAFETY: `page` points at the mapped control page; the kernel changes these two
        // words concurrently and asks for exactly such ordered 64-bit accesses.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*page).data_head),
                AtomicU64::from_ptr(&raw mut (*page).data_tail),
            )
        };
        let end = head.load(Ordering::Acquire);
        let start = tail.load(Ordering::Relaxed);
        let unread = (end.wrapping_sub(start) as usize).min(size);
        let offset = start as usize % size;
        let first = unread.min(size - offset);
        // SAFETY: the data area is `size` mapped bytes behind the control page. The kernel
        // does not write between tail and head until we move the tail below; both ranges
        // lie inside the area: offset + first <= size, and unread - first <= offset.
        unsafe {
            let data = page.cast::<u8>().add(self.page_bytes);
            buffer.extend_from_slice(std::slice::from_raw_parts(data.add(offset), first));
            buffer.extend_from_slice(std::slice::from_raw_parts(data, unread - first));
        }
        tail.store(end, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `open`; nothing
        // borrowed from it outlives `read`.
        unsafe {
            libc::munmap(self.page.as_ptr().cast(), self.page_bytes + self.data_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_fit_their_samples_and_their_node() {
        let request =
            |hz, stack_bytes| Request { hz, stack_bytes, rest: Duration::from_millis(250) };
        assert_eq!(request(19, 0).ring_bytes(2), 64 << 10);
        assert_eq!(request(19, 16 << 10).ring_bytes(2), 256 << 10);
        assert_eq!(request(99, 16 << 10).ring_bytes(2), 1 << 20);
        assert_eq!(request(99, 16 << 10).ring_bytes(128), 128 << 10);
        assert_eq!(request(99, 16 << 10).ring_bytes(100), 128 << 10);
        assert_eq!(request(99, 16 << 10).ring_bytes(4096), 64 << 10);
    }
}
