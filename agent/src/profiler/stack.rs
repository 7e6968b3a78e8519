//! From the parts of a sample to one stack: pure rules, no files.
//!
//! Root to leaf: Python frames where there are any, native user frames, then
//! kernel frames. A user stack that does not reach the first function of its
//! thread says so at its root, and why, instead of looking complete.

use std::sync::Arc;

use super::python::is_interpreter;
use super::symbols::UNWIND_FAILED;
use super::unwind::End;

/// Frame pointers led no further, and not to a root.
pub const NO_FRAME_POINTER: &str = "[truncated: no frame pointer]";
/// Deeper than the copied part of the stack.
pub const TOO_DEEP: &str = "[truncated: deeper than the stack copy]";
/// Deeper than the frames that are walked.
pub const TOO_MANY_FRAMES: &str = "[truncated: more than 512 frames]";
/// No table for a step, or a damaged stack.
pub const NO_UNWIND_TABLE: &str = "[truncated: no unwind table]";

/// First functions of a thread: nothing is missing above them.
const ROOTS: [&str; 16] = [
    "_start",
    "main",
    "__libc_start_main",
    "__libc_start_call_main",
    "__clone",
    "clone",
    "clone3",
    "__clone3",
    "start_thread",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
    "_dl_start_user",
    "thread_start",
    // musl, which has no unwind tables: nothing but its own entry is above these.
    "_start_c",
    "libc_start_main_stage2",
];

/// Joins the parts. `user` and `kernel` are leaf first, `python` root first.
pub fn assemble(
    python: Option<&[Arc<str>]>,
    user: &[Arc<str>],
    end: End,
    kernel: &[Arc<str>],
) -> Vec<Arc<str>> {
    let mut stack: Vec<Arc<str>> = Vec::with_capacity(user.len() + kernel.len() + 1);
    match python {
        Some(python) => {
            stack.extend(python.iter().cloned());
            // Native code called from Python: all that lies above the interpreter.
            let native = user.iter().take_while(|frame| !in_interpreter(frame));
            let native: Vec<_> =
                native.filter(|frame| &***frame != UNWIND_FAILED).cloned().collect();
            stack.extend(native.into_iter().rev());
        }
        None => {
            stack.extend(missing_root(user, end).map(Arc::from));
            stack.extend(user.iter().rev().cloned());
            // Several addresses in a row that lead nowhere are one failure.
            stack.dedup_by(|a, b| a == b && &**a == UNWIND_FAILED);
        }
    }
    stack.extend(kernel.iter().rev().cloned());
    stack
}

/// What to write in place of the callers that were not found.
fn missing_root(user: &[Arc<str>], end: End) -> Option<&'static str> {
    let outermost = user.last()?;
    let function = outermost.rsplit_once(" (").map_or(&**outermost, |(name, _)| name);
    // Go writes the calling convention behind a name.
    let function = function.strip_suffix(".abi0").unwrap_or(function);
    if end == End::Root || ROOTS.contains(&function) {
        return None;
    }
    Some(match end {
        End::CopyEnded => TOO_DEEP,
        End::TooManyFrames => TOO_MANY_FRAMES,
        End::Failed => NO_UNWIND_TABLE,
        End::Root | End::FramePointers => NO_FRAME_POINTER,
    })
}

fn in_interpreter(frame: &str) -> bool {
    frame.rsplit_once(" (").is_some_and(|(_, module)| is_interpreter(module))
}

#[cfg(test)]
mod tests {
    use super::super::unwind::MAX_FRAMES;
    use super::*;

    fn frames(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn joined(python: Option<&[&str]>, user: &[&str], kernel: &[&str]) -> Vec<String> {
        ended(End::Root, python, user, kernel)
    }

    fn ended(end: End, python: Option<&[&str]>, user: &[&str], kernel: &[&str]) -> Vec<String> {
        let python = python.map(frames);
        let stack = assemble(python.as_deref(), &frames(user), end, &frames(kernel));
        stack.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn stacks_go_from_the_root_to_the_leaf() {
        let stack = joined(None, &["write (libc.so.6)", "main (app)"], &["vfs_write (kernel)"]);
        assert_eq!(stack, ["main (app)", "write (libc.so.6)", "vfs_write (kernel)"]);
    }

    #[test]
    fn a_missing_root_is_named_with_its_reason() {
        for (end, marker) in [
            (End::FramePointers, NO_FRAME_POINTER),
            (End::CopyEnded, TOO_DEEP),
            (End::TooManyFrames, TOO_MANY_FRAMES),
            (End::Failed, NO_UNWIND_TABLE),
        ] {
            assert_eq!(ended(end, None, &["f (app)"], &[]), [marker, "f (app)"]);
            let whole = ["f (app)", "start_thread (libc.so.6)"];
            assert_eq!(ended(end, None, &whole, &[]), ["start_thread (libc.so.6)", "f (app)"]);
        }
        assert_eq!(joined(None, &[], &["kthread (kernel)"]), ["kthread (kernel)"]);
    }

    #[test]
    fn the_limit_of_frames_is_told_as_it_is() {
        assert!(TOO_MANY_FRAMES.contains(&format!(" {MAX_FRAMES} ")));
    }

    #[test]
    fn python_replaces_the_interpreter_but_not_what_it_calls() {
        let user = ["dgemm (libopenblas.so)", "call (python3.11)", "_start (python3.11)"];
        let stack = joined(Some(&["<module> (a.py)", "work (a.py)"]), &user, &[]);
        assert_eq!(stack, ["<module> (a.py)", "work (a.py)", "dgemm (libopenblas.so)"]);
    }

    #[test]
    fn failed_steps_are_one_frame() {
        assert_eq!(
            joined(None, &["f (app)", UNWIND_FAILED, UNWIND_FAILED], &[]),
            [UNWIND_FAILED, "f (app)"]
        );
    }
}
