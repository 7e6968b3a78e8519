//! Devices that are being asked: their tasks, and batches of their rows.
//!
//! Flows in: devices with their plans. Flows out: batches for the publisher,
//! one for each node that a row is about. A gateway lives by this alone; a
//! node's own agent has it beside its loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, Semaphore};
use tokio::task::JoinSet;

use super::devices::Planned;
use super::schedule::{self, Outbox};
use super::Reading;
use crate::config::Config;
use crate::wire::{self, Batch, Envelope, MeterRow};

/// Devices that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
const FAREWELLS_WITHIN: Duration = Duration::from_secs(1);

/// All devices of a file.
pub struct Asking {
    tasks: JoinSet<()>,
    farewells: Vec<Box<dyn FnOnce() + Send>>,
}

impl Asking {
    /// One task a device; their rows go to `sender`.
    pub fn start(devices: Vec<Planned>, config: &Config, sender: mpsc::Sender<Batch>) -> Asking {
        let slots = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        let (tenant, host) = (config.tenant.as_str().into(), config.host.as_str().into());
        let outbox = Batches { tenant, host, sender };
        let farewells = devices.iter().filter_map(|(device, _)| device.farewell()).collect();
        let mut tasks = JoinSet::new();
        for (device, plan) in devices {
            tasks.spawn(schedule::watch(device, plan, slots.clone(), outbox.clone()));
        }
        Asking { tasks, farewells }
    }

    /// Never ends: reports tasks that did, for they never end by themselves.
    pub async fn watch(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            tracing::error!(?ended, "a device's task ended; its device is asked no more");
        }
        std::future::pending::<()>().await;
    }

    /// Ends the tasks and takes leave of the devices.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        take_leave(self.farewells).await;
    }
}

/// All at once; whoever doesn't answer is left.
async fn take_leave(farewells: Vec<Box<dyn FnOnce() + Send>>) {
    let mut leaving = JoinSet::new();
    for farewell in farewells {
        leaving.spawn_blocking(farewell);
    }
    let all = async { while leaving.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELLS_WITHIN, all).await;
}

/// Rows to batches, one per host.
#[derive(Clone)]
struct Batches {
    tenant: Arc<str>,
    /// For what belongs to no node.
    host: Arc<str>,
    sender: mpsc::Sender<Batch>,
}

impl Outbox for Batches {
    async fn send(&self, readings: Vec<Reading>) {
        // One moment for all hosts.
        let sent = Envelope::now(self.tenant.clone(), self.host.clone());
        let mut by_host: BTreeMap<Arc<str>, Vec<MeterRow>> = BTreeMap::new();
        for Reading { host, row } in readings {
            by_host.entry(host.unwrap_or_else(|| self.host.clone())).or_default().push(row);
        }
        for (host, rows) in by_host {
            let envelope = Envelope { host, ..sent.clone() };
            match wire::encode(&envelope, rows) {
                Ok(batches) => {
                    for batch in batches {
                        // Fails only when the publisher has gone, at the end.
                        let _ = self.sender.send(batch).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "a batch of meter rows could not be encoded"),
            }
        }
    }
}
