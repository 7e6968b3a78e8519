//! The running gateway: devices, their tasks, and the sink they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, Semaphore};
use tokio::task::JoinSet;

use super::schedule::{self, Outbox};
use super::{devices, Reading};
use crate::config::gateway::Devices;
use crate::config::{Config, ConfigError};
use crate::lifetime::Lifetime;
use crate::publish::Publishing;
use crate::wire::{self, Batch, Envelope, MeterRow};

/// Devices that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Batches that may wait for the publisher; then the devices wait.
const QUEUE_BATCHES: usize = 1024;
const STOP_WITHIN: Duration = Duration::from_millis(1800);
const FAREWELLS_WITHIN: Duration = Duration::from_secs(1);

/// Asks all devices until SIGTERM, SIGINT or the end of the parent process.
pub async fn run(config: Config, devices: Devices) -> Result<(), ConfigError> {
    let mut lifetime = Lifetime::watch(config.parent_pid)?;
    let devices = devices::build(&devices, config.interval_seconds)?;
    let (publishing, sender) = Publishing::start(&config, QUEUE_BATCHES).await?;
    let slots = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let outbox = Batches { tenant: config.tenant.into(), host: config.host.into(), sender };
    let mut tasks = JoinSet::new();
    let farewells: Vec<_> = devices.iter().filter_map(|(device, _)| device.farewell()).collect();
    for (device, plan) in devices {
        tasks.spawn(schedule::watch(device, plan, slots.clone(), outbox.clone()));
    }
    drop(outbox);
    loop {
        tokio::select! {
            () = lifetime.over() => break,
            // Tasks never end by themselves: one that did has panicked.
            Some(ended) = tasks.join_next() => {
                tracing::error!(?ended, "a device's task ended; its device is asked no more");
            }
        }
    }
    tasks.shutdown().await;
    take_leave(farewells).await;
    publishing.stop(STOP_WITHIN).await;
    Ok(())
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
