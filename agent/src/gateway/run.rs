//! The running gateway: devices, their tasks, and the sink they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, watch, Semaphore};
use tokio::task::JoinSet;

use super::schedule::{self, Outbox};
use super::{devices, Reading};
use crate::config::gateway::Devices;
use crate::config::{Config, ConfigError};
use crate::own_metrics::{server, OwnMetrics};
use crate::parent::Parent;
use crate::publish::Publisher;
use crate::wire::{self, Batch, Envelope, MeterRow};

/// Devices that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Batches that may wait for the publisher; then the devices wait.
const QUEUE_BATCHES: usize = 1024;
const STOP_WITHIN: Duration = Duration::from_millis(1800);

/// Asks all devices until SIGTERM, SIGINT or the end of the parent process.
pub async fn run(config: Config, devices: Devices) -> Result<(), ConfigError> {
    let parent = Parent::watch(config.parent_pid)?;
    let devices = devices::build(&devices, config.interval_seconds)?;
    let (stop, stopped) = watch::channel(false);
    let metrics = OwnMetrics::new(&config.tenant, &config.host);
    if let Some(address) = config.metrics_listen {
        server::start(address, metrics.clone()).await?;
    }
    let publisher = Publisher::new(crate::agent::sink(&config).await?, stopped, metrics);
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
    let mut publishing = tokio::spawn(publisher.run(receiver));
    let broken =
        |error: std::io::Error| ConfigError::new("signals", &error.to_string(), "report this");
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;

    let slots = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let outbox = Batches { tenant: config.tenant.into(), host: config.host.into(), sender };
    let mut tasks = JoinSet::new();
    for (device, plan) in devices {
        tasks.spawn(schedule::watch(device, plan, slots.clone(), outbox.clone()));
    }
    drop(outbox);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = parent.gone() => break,
            // Tasks never end by themselves: one that did has panicked.
            Some(ended) = tasks.join_next() => {
                tracing::error!(?ended, "a device's task ended; its device is asked no more");
            }
        }
    }
    tasks.shutdown().await;
    let _ = stop.send(true);
    if tokio::time::timeout(STOP_WITHIN, &mut publishing).await.is_err() {
        tracing::warn!("the bus did not take the last batches in time");
    }
    Ok(())
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
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut by_host: BTreeMap<Arc<str>, Vec<MeterRow>> = BTreeMap::new();
        for Reading { host, row } in readings {
            by_host.entry(host.unwrap_or_else(|| self.host.clone())).or_default().push(row);
        }
        for (host, rows) in by_host {
            let envelope = Envelope {
                tenant: self.tenant.clone(),
                host,
                timestamp_ms: since_epoch.as_millis() as i64,
            };
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
