//! `eo-agent meters`: one process that asks PDUs and BMCs for many nodes.
//!
//! Devices come from the gateway's file (`config::gateway`), each one a
//! `Device`. `schedule` asks each on its own interval, a bounded number at a
//! time, and turns answers and failures into rows. The rows leave in one
//! batch per host they belong to, through the same sinks and spool as those
//! of a node's own agent. A device that doesn't answer costs its own rows
//! only, and those say why. A node's own agent asks the devices of its file in
//! the same way (`Asking`), so that a node's BMC needs no second process.

mod asking;
mod devices;
mod run;
mod schedule;

pub use asking::Asking;
pub use devices::build;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::{gateway, ConfigError, Options};
use crate::wire::MeterRow;

/// Reads the gateway's file and runs until stopped.
pub fn start(file: &Path, flags: Options) -> Result<(), ConfigError> {
    let (options, devices) = gateway::from_file(file)?;
    let config = flags.or(options).or(gateway::defaults()).resolve()?;
    if devices.hosts().any(|host| host == config.host) {
        return Err(ConfigError::new(
            "host",
            &format!("{:?} is also a node that a device speaks for", config.host),
            "give the gateway a name of its own: what belongs to no node is filed under it",
        ));
    }
    crate::run_until_stopped(config.log_level, run::run(config, devices))
}

/// One row and the node it is about; None: no node is named for it, and it is
/// filed under the gateway's own host.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub host: Option<Arc<str>>,
    pub row: MeterRow,
}

/// Why a device gave no rows, in words for a person. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PollError(pub String);

/// What `Device::poll` returns.
pub type Poll<'a> = Pin<Box<dyn Future<Output = Result<Vec<Reading>, PollError>> + Send + 'a>>;

/// A meter beyond this machine.
pub trait Device: Send {
    /// Name in the file: part of every zone and of every log line.
    fn name(&self) -> &str;

    /// The `meter` column: snmp, ipmi, redfish, ...
    fn meter(&self) -> &'static str;

    /// Rows for the `interval` (seconds) that ends now; None on the first poll,
    /// when counters have nothing to be compared with and no row is due.
    /// Bounds its own requests; the schedule drops a poll that takes too long.
    fn poll(&mut self, interval: Option<f64>) -> Poll<'_>;

    /// Rows that say `reason` instead of a figure, for each target that nodes
    /// depend on. Counters are forgotten: the next difference would span two
    /// intervals.
    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading>;

    /// What is left to do with the other side when the gateway stops; blocks.
    fn farewell(&self) -> Option<Box<dyn FnOnce() + Send>> {
        None
    }
}
