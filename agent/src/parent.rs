//! Stopping with the process that started the agent.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked us ends, which in a
//! threaded parent is not its end. A pidfd becomes readable when the process
//! itself ends, and can't be fooled by a pid that is used again.

use std::io;
use std::sync::Arc;
use std::thread;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use tokio::sync::Notify;

use crate::config::ConfigError;

/// The process to outlive by nothing.
pub struct Parent {
    gone: Arc<Notify>,
}

impl Parent {
    /// Starts watching. An error when the process is gone already.
    pub fn watch(pid: Option<i32>) -> Result<Parent, ConfigError> {
        let gone = Arc::new(Notify::new());
        if let Some(pid) = pid {
            watch(pid, gone.clone()).map_err(|error| {
                ConfigError::new(
                    "parent_pid",
                    &format!("{pid}: {error}"),
                    "give the id of a running process",
                )
            })?;
        }
        Ok(Parent { gone })
    }

    /// Returns when it has ended; never without a parent to watch.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }
}

/// A thread that sleeps until the process has ended.
fn watch(pid: i32, gone: Arc<Notify>) -> io::Result<()> {
    let pid = Pid::from_raw(pid.max(0)).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let wait = move || {
        while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).is_err() {}
        gone.notify_one();
    };
    thread::Builder::new().name("parent".into()).stack_size(64 << 10).spawn(wait).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[tokio::test]
    async fn the_end_of_the_parent_is_noticed() {
        let mut child = Command::new("sleep").arg("0.2").spawn().unwrap();
        let parent = Parent::watch(Some(child.id() as i32)).unwrap();
        tokio::time::timeout(Duration::from_secs(5), parent.gone()).await.unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_does_not_exist_is_a_configuration_error() {
        for pid in [0, -1, i32::MAX] {
            let error = Parent::watch(Some(pid)).err().unwrap();
            assert!(error.to_string().contains("parent_pid"), "{error}");
        }
    }
}
