//! Profiles in the formats that others read: folded stacks, pprof, OTLP.
//!
//! A `Profile` comes in, as sums of named stacks; bytes go out. `frame` takes
//! a frame's text apart again, so that code without a name keeps its build id
//! and offset and can be named later. Nothing here reads files or the network.

pub mod folded;
mod frame;
mod intern;
pub mod otlp;
pub mod pprof;

use std::sync::Arc;

/// What ran for some time, as counted samples.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    pub stacks: Vec<Stack>,
    /// Samples a second and CPU.
    pub hz: f64,
    pub started_unix_nanos: u64,
    pub seconds: f64,
    /// Node name.
    pub host: Arc<str>,
}

/// One stack of one process, root first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub pid: i32,
    /// Name of the program, as in `/proc/PID/comm`.
    pub command: Arc<str>,
    /// Workload key, where one is known.
    pub workload: Option<Arc<str>>,
    pub frames: Vec<Arc<str>>,
    pub samples: i64,
}

impl Profile {
    /// Nanoseconds of CPU time that a sample stands for.
    fn period_nanos(&self) -> i64 {
        if self.hz > 0.0 {
            (1e9 / self.hz).round() as i64
        } else {
            0
        }
    }

    pub fn samples(&self) -> i64 {
        self.stacks.iter().map(|stack| stack.samples).sum()
    }

    /// Share of samples whose stack reaches its root; None without samples.
    pub fn whole_share(&self) -> Option<f64> {
        let torn = |stack: &&Stack| {
            stack.frames.first().is_some_and(|root| {
                root.starts_with("[truncated") || root.starts_with("[unwind failed")
            })
        };
        let torn: i64 = self.stacks.iter().filter(torn).map(|stack| stack.samples).sum();
        (self.samples() > 0).then(|| 1.0 - torn as f64 / self.samples() as f64)
    }
}

#[cfg(test)]
pub(crate) fn example() -> Profile {
    let stack = |pid, frames: &[&str], samples| Stack {
        pid,
        command: "app".into(),
        workload: Some("declared/shop".into()),
        frames: frames.iter().map(|frame| Arc::from(*frame)).collect(),
        samples,
    };
    Profile {
        stacks: vec![
            stack(7, &["main (app)", "work; hard (app)", "write (libc.so.6)"], 3),
            stack(7, &["main (app)", "[0123456789abcdef+0x1f30] (libx.so)"], 2),
            stack(8, &["[truncated: no frame pointer]", "spin (app)"], 5),
        ],
        hz: 19.0,
        started_unix_nanos: 1_700_000_000_000_000_000,
        seconds: 10.0,
        host: "node-a".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_stacks_are_counted() {
        assert_eq!((example().samples(), example().whole_share()), (10, Some(0.5)));
        assert_eq!(Profile::default().whole_share(), None);
    }
}
