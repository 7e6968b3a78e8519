//! From the parts of a sample to one stack: pure rules, no files.
//!
//! Root to leaf: Python frames where there are any, native user frames, then
//! kernel frames. A user stack of one address is a program built without
//! frame pointers: it says so at its root instead of looking complete.

use std::sync::Arc;

use super::python::is_interpreter;
use super::symbols::UNWIND_FAILED;

pub const TRUNCATED: &str = "[truncated: no frame pointer]";

/// Joins the parts. `user` and `kernel` are leaf first, `python` root first.
pub fn assemble(
    python: Option<&[Arc<str>]>,
    user: &[Arc<str>],
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
            if user.len() == 1 {
                stack.push(TRUNCATED.into());
            }
            stack.extend(user.iter().rev().cloned());
            // Several addresses in a row that lead nowhere are one failure.
            stack.dedup_by(|a, b| a == b && &**a == UNWIND_FAILED);
        }
    }
    stack.extend(kernel.iter().rev().cloned());
    stack
}

fn in_interpreter(frame: &str) -> bool {
    frame.rsplit_once(" (").is_some_and(|(_, module)| is_interpreter(module))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn joined(python: Option<&[&str]>, user: &[&str], kernel: &[&str]) -> Vec<String> {
        let python = python.map(frames);
        let stack = assemble(python.as_deref(), &frames(user), &frames(kernel));
        stack.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn stacks_go_from_the_root_to_the_leaf() {
        let stack = joined(None, &["write (libc.so.6)", "main (app)"], &["vfs_write (kernel)"]);
        assert_eq!(stack, ["main (app)", "write (libc.so.6)", "vfs_write (kernel)"]);
    }

    #[test]
    fn one_lonely_address_is_marked_as_truncated() {
        assert_eq!(joined(None, &["f (app)"], &[]), [TRUNCATED, "f (app)"]);
        assert_eq!(joined(None, &[], &["kthread (kernel)"]), ["kthread (kernel)"]);
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
