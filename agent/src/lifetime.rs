//! How long a command that measures goes on.

use tokio::signal::unix::{signal, Signal, SignalKind};

use crate::config::ConfigError;
use crate::parent::Parent;

/// Until SIGTERM, SIGINT or the end of the parent process.
pub struct Lifetime {
    parent: Parent,
    terminate: Signal,
    interrupt: Signal,
}

impl Lifetime {
    /// Starts watching. An error when the parent is gone already.
    pub fn watch(parent_pid: Option<i32>) -> Result<Lifetime, ConfigError> {
        let broken =
            |error: std::io::Error| ConfigError::new("signals", &error.to_string(), "report this");
        Ok(Lifetime {
            parent: Parent::watch(parent_pid)?,
            terminate: signal(SignalKind::terminate()).map_err(broken)?,
            interrupt: signal(SignalKind::interrupt()).map_err(broken)?,
        })
    }

    /// Returns when it is time to stop.
    pub async fn over(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = self.parent.gone() => {}
        }
    }
}
