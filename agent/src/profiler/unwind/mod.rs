//! From registers and a piece of stack to a call chain.
//!
//! A sample comes in with the user registers, a copy of the top of the stack
//! and the chain that the kernel found by frame pointers; the addresses of the
//! whole chain go out, leaf first, with how it ended. Tables (`elf`) are kept
//! per file and in the file's own addresses, so that a thousand processes
//! share the one of libc; `layout` says which file lies where in a process.
//! framehop does the steps. Code without a table is left by frame pointers,
//! and where the copy ends, the kernel's chain goes on.

pub(crate) mod elf;
mod layout;
mod registers;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use framehop::{CacheNative, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder};
use lru::LruCache;

use super::go_table;
use super::jit::JitNames;
use crate::procfs::Proc;
use elf::{FileUnwinder, UnwindTable};
use layout::{FileId, Layout};
pub use registers::{Registers, StackCopy, REGISTERS, SAMPLE_MASK};

/// Deeper stacks lose their root.
pub const MAX_FRAMES: usize = 512;
/// Processes whose layout is remembered.
const MAX_LAYOUTS: usize = 256;
/// Memory for tables: beyond it the least used file goes.
const MAX_TABLES_BYTES: usize = 10 << 20;
/// Files, with or without a table: each is kept open.
const MAX_TABLES: usize = 512;
/// A layout is read again after this time: an exec changes all of it.
const LAYOUT_AGE: Duration = Duration::from_secs(10);
/// And at most this often when an address is not in it (dlopen, a JIT).
const MIN_LAYOUT_AGE: Duration = Duration::from_secs(1);

/// How a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// At the first function of the thread.
    Root,
    /// Frame pointers led no further: the root, or a program without them.
    FramePointers,
    /// The stack is deeper than the copy of it.
    CopyEnded,
    /// It has more than `MAX_FRAMES`.
    TooManyFrames,
    /// A step failed: no table, or a damaged stack.
    Failed,
}

/// Addresses for looking up names: a caller's is within its call instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub addresses: Vec<u64>,
    pub end: End,
}

/// Where a step led.
enum Next {
    Caller(FrameAddress),
    /// Out of a signal handler, to where the signal came in.
    Interrupted(FrameAddress),
    None,
}

/// Unwinds, with bounded caches of tables and layouts.
pub struct Unwinding {
    proc: Proc,
    layouts: LruCache<i32, Layout>,
    tables: LruCache<Rc<FileId>, Option<Rc<UnwindTable>>>,
    tables_bytes: usize,
    steps: CacheNative<MayAllocateDuringUnwind>,
    /// Knows no file: takes every step by frame pointers.
    by_frame_pointers: FileUnwinder,
}

impl Unwinding {
    pub fn new(proc: Proc) -> Unwinding {
        Unwinding {
            proc,
            layouts: LruCache::new(NonZeroUsize::new(MAX_LAYOUTS).unwrap_or(NonZeroUsize::MIN)),
            tables: LruCache::unbounded(),
            tables_bytes: 0,
            steps: CacheNative::new_in(),
            by_frame_pointers: FileUnwinder::new(),
        }
    }

    /// The chain of one sample. `kernel_found` is the user chain by frame pointers, leaf first.
    pub fn unwind(
        &mut self,
        pid: i32,
        state: Option<(Registers, StackCopy<'_>)>,
        kernel_found: &[u64],
        now: Instant,
        jit: &mut JitNames,
    ) -> Chain {
        let Some((registers, stack)) = state.filter(|(_, stack)| !stack.is_empty()) else {
            return Chain { addresses: calls(kernel_found), end: End::FramePointers };
        };
        let mut chain = self.walk(pid, registers, stack, now, jit);
        if chain.end != End::Root {
            splice(&mut chain, kernel_found);
        }
        chain
    }

    fn walk(
        &mut self,
        pid: i32,
        start: Registers,
        stack: StackCopy<'_>,
        now: Instant,
        jit: &mut JitNames,
    ) -> Chain {
        let mut registers = start.to_framehop();
        let mut addresses = Vec::with_capacity(32);
        let mut position = FrameAddress::from_instruction_pointer(start.instruction_pointer());
        let end = loop {
            let address = position.address_for_lookup();
            addresses.push(address);
            if addresses.len() >= MAX_FRAMES {
                break End::TooManyFrames;
            }
            let code = self.code_at(pid, address, now);
            if code.is_none() && !position.is_return_address() {
                // What runs without a file was compiled; a return address may be garbage.
                jit.want(pid, address, now);
            }
            let next = match &code {
                Some((table, moved_by)) => {
                    self.leave(table, *moved_by, position, &mut registers, stack)
                }
                None => match jit.return_address_at(pid, address) {
                    Some(depth) => leave_frame(&mut registers, depth, &stack),
                    None => self.step(None, position, &mut registers, stack),
                },
            };
            match next {
                Ok(Next::Caller(caller)) => position = caller,
                Ok(Next::Interrupted(at)) => {
                    // The trampoline is not called: its own address names it.
                    addresses.pop();
                    addresses.push(address + 1);
                    position = at;
                }
                Ok(Next::None) if code.is_some() => break End::Root,
                // A frame pointer of 0 in code without a table proves nothing.
                Ok(Next::None) => break End::FramePointers,
                Err(end) => break end,
            }
        };
        Chain { addresses, end }
    }

    /// The name of a Go function, which Go programs know without symbols.
    pub fn go_function(&mut self, pid: i32, address: u64, now: Instant) -> Option<String> {
        let (table, moved_by) = self.code_at(pid, address, now)?;
        table.go.as_ref()?.name(address.wrapping_sub(moved_by))
    }

    /// One step out of code that lies in a file.
    fn leave(
        &mut self,
        table: &UnwindTable,
        moved_by: u64,
        position: FrameAddress,
        registers: &mut UnwindRegsNative,
        stack: StackCopy<'_>,
    ) -> Result<Next, End> {
        let at = position.address_for_lookup().wrapping_sub(moved_by);
        if position.is_return_address() && table.is_signal_trampoline(at.wrapping_add(1)) {
            *registers = registers::interrupted(registers, &stack).ok_or(End::CopyEnded)?;
            let at = FrameAddress::from_instruction_pointer(registers::instruction(registers));
            return Ok(Next::Interrupted(at));
        }
        #[cfg(target_arch = "x86_64")]
        match table.go.as_ref().and_then(|go| go.step(at)) {
            Some(go_table::Step::Top) => return Ok(Next::None),
            Some(go_table::Step::ChangesStack) => return Err(End::FramePointers),
            Some(go_table::Step::ReturnAddressAt(depth)) => {
                return leave_frame(registers, depth, &stack)
            }
            None => {}
        }
        self.step(Some((table, moved_by)), position, registers, stack)
    }

    /// One step by framehop: by the file's table, else by frame pointers.
    fn step(
        &mut self,
        code: Option<(&UnwindTable, u64)>,
        position: FrameAddress,
        registers: &mut UnwindRegsNative,
        stack: StackCopy<'_>,
    ) -> Result<Next, End> {
        let (unwinder, moved_by) =
            code.map_or((&self.by_frame_pointers, 0), |(table, by)| (&table.unwinder, by));
        let mut out_of_copy = false;
        let bottom = registers.sp();
        let mut read = |address| {
            let word = stack.read(address).ok_or(());
            word.inspect_err(|()| out_of_copy |= address >= bottom)
        };
        let in_file = moved(position, moved_by).ok_or(End::Failed)?;
        match unwinder.unwind_frame(in_file, registers, &mut self.steps, &mut read) {
            Ok(Some(caller)) => {
                Ok(FrameAddress::from_return_address(caller).map_or(Next::None, Next::Caller))
            }
            Ok(None) => Ok(Next::None),
            Err(_) if out_of_copy => Err(End::CopyEnded),
            Err(_) => Err(End::Failed),
        }
    }

    /// The table for an address, and how far the file was moved from its own addresses.
    fn code_at(&mut self, pid: i32, address: u64, now: Instant) -> Option<(Rc<UnwindTable>, u64)> {
        let age =
            self.layouts.get(&pid).map(|layout| now.saturating_duration_since(layout.read_at));
        let find = |layouts: &mut LruCache<i32, Layout>| layouts.get(&pid)?.find(address).cloned();
        let found = find(&mut self.layouts).filter(|_| age.is_some_and(|age| age < LAYOUT_AGE));
        let mapping = match found {
            Some(mapping) => mapping,
            None if age.is_some_and(|age| age < MIN_LAYOUT_AGE) => return None,
            None => {
                self.layouts.put(pid, Layout::read(&self.proc, pid, now));
                find(&mut self.layouts)?
            }
        };
        let table = self.table(pid, &mapping)?;
        let own = table.address_of((address - mapping.start).checked_add(mapping.offset)?)?;
        Some((table, address.wrapping_sub(own)))
    }

    fn table(&mut self, pid: i32, mapping: &layout::Code) -> Option<Rc<UnwindTable>> {
        if let Some(known) = self.tables.get(&mapping.file) {
            return known.clone();
        }
        let table = mapping.open(&self.proc, pid).and_then(UnwindTable::read).map(Rc::new);
        self.tables_bytes += table.as_ref().map_or(0, |table| table.bytes);
        self.tables.put(mapping.file.clone(), table.clone());
        while self.tables_bytes > MAX_TABLES_BYTES && self.tables.len() > 1
            || self.tables.len() > MAX_TABLES
        {
            let Some((_, gone)) = self.tables.pop_lru() else { break };
            self.tables_bytes -= gone.map_or(0, |table| table.bytes);
        }
        table
    }
}

/// A step out of a frame of known size.
fn leave_frame(
    registers: &mut UnwindRegsNative,
    depth: u64,
    stack: &StackCopy<'_>,
) -> Result<Next, End> {
    let caller = registers::leave_frame(registers, depth, stack).ok_or(End::CopyEnded)?;
    Ok(FrameAddress::from_return_address(caller).map_or(Next::None, Next::Caller))
}

/// The frame at the file's own address.
fn moved(frame: FrameAddress, by: u64) -> Option<FrameAddress> {
    Some(match frame {
        FrameAddress::InstructionPointer(address) => {
            FrameAddress::InstructionPointer(address.wrapping_sub(by))
        }
        FrameAddress::ReturnAddress(address) => {
            FrameAddress::from_return_address(address.get().wrapping_sub(by))?
        }
    })
}

/// Return addresses point behind the call, which may be another function.
fn calls(leaf_first: &[u64]) -> Vec<u64> {
    let callers = leaf_first.iter().skip(1).map(|address| address.saturating_sub(1));
    leaf_first.iter().take(1).copied().chain(callers).collect()
}

/// Goes on with the kernel's chain behind the last address that both have.
fn splice(chain: &mut Chain, kernel_found: &[u64]) {
    let found = calls(kernel_found);
    let places: HashMap<u64, usize> =
        found.iter().enumerate().map(|(index, address)| (*address, index)).collect();
    let common = chain.addresses.iter().enumerate().rev().find_map(|(index, address)| {
        let place = *places.get(address)?;
        (found.len() - place > chain.addresses.len() - index).then_some((index, place))
    });
    if let Some((index, place)) = common {
        chain.addresses.truncate(index);
        chain.addresses.extend(&found[place..]);
        chain.end = End::FramePointers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(addresses: &[u64], end: End) -> Chain {
        Chain { addresses: addresses.to_vec(), end }
    }

    fn no_jit() -> JitNames {
        JitNames::new(Proc::new("/nowhere"), false)
    }

    #[test]
    fn the_kernels_chain_goes_on_where_the_copy_ended() {
        let mut short = chain(&[0x10, 0x1f, 0x2f], End::CopyEnded);
        splice(&mut short, &[0x10, 0x30, 0x40, 0x50]);
        assert_eq!(short, chain(&[0x10, 0x1f, 0x2f, 0x3f, 0x4f], End::FramePointers));

        let mut longer = chain(&[0x10, 0x1f, 0x2f, 0x3f], End::CopyEnded);
        splice(&mut longer, &[0x10, 0x30]);
        assert_eq!(longer, chain(&[0x10, 0x1f, 0x2f, 0x3f], End::CopyEnded), "nothing to gain");
    }

    #[test]
    fn without_registers_the_kernels_chain_is_taken() {
        let mut unwinding = Unwinding::new(Proc::new("/nowhere"));
        let found = unwinding.unwind(1, None, &[0x10, 0x20], Instant::now(), &mut no_jit());
        assert_eq!(found, chain(&[0x10, 0x1f], End::FramePointers));
    }

    #[test]
    fn code_without_a_file_is_left_by_frame_pointers() {
        let mut unwinding = Unwinding::new(Proc::new("/nowhere"));
        // bp -> [bp of the caller = 0, return address 0x500]; both on the copied stack.
        let words: Vec<u8> = [7u64, 0, 0x500].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let stack = StackCopy::new(0x1000, &words);
        #[cfg(target_arch = "x86_64")]
        let registers = Registers::from_sample([0x1008, 0x1000, 0x400]);
        #[cfg(target_arch = "aarch64")]
        let registers = Registers::from_sample([0x1008, 0, 0x1000, 0x400]);
        let found =
            unwinding.unwind(1, Some((registers, stack)), &[], Instant::now(), &mut no_jit());
        assert_eq!(found, chain(&[0x400, 0x4ff], End::FramePointers));
    }
}
