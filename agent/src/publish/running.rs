//! The publishing task, from the settings to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{Bus, Publisher, Sink, Spool};
use crate::config::{Config, ConfigError, SinkKind};
use crate::own_metrics::{server, OwnMetrics};
use crate::wire::Batch;

/// A started publisher, and the agent's own metrics that it counts in.
pub struct Publishing {
    pub metrics: Arc<OwnMetrics>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publishing {
    /// Opens the sink, serves `/metrics` where that is asked for, and takes
    /// batches from then on: at most `queue` wait.
    pub async fn start(
        config: &Config,
        queue: usize,
    ) -> Result<(Publishing, mpsc::Sender<Batch>), ConfigError> {
        let metrics = OwnMetrics::new(&config.tenant, &config.host);
        if let Some(address) = config.metrics_listen {
            let bound = server::start(address, metrics.clone()).await?;
            tracing::info!(%bound, "serving /metrics");
        }
        let (stop, stopped) = watch::channel(false);
        let publisher = Publisher::new(sink(config).await?, stopped, metrics.clone());
        let (sender, receiver) = mpsc::channel(queue);
        let task = tokio::spawn(publisher.run(receiver));
        Ok((Publishing { metrics, stop, task }, sender))
    }

    /// Waits so long for what is under way. Every sender must be gone.
    pub async fn stop(mut self, within: Duration) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            tracing::warn!("the bus did not take the last batches in time");
        }
    }
}

/// Where batches go, by the settings.
async fn sink(config: &Config) -> Result<Sink, ConfigError> {
    let usable = |setting: &str, path: &Path, error: std::io::Error| {
        let problem = format!("{}: {error}", path.display());
        ConfigError::new(setting, &problem, "give a directory that the agent may write to")
    };
    Ok(match (config.sink, &config.path) {
        (SinkKind::Stdout, _) => Sink::Stdout,
        (SinkKind::File, Some(path)) => {
            std::fs::create_dir_all(path).map_err(|error| usable("path", path, error))?;
            Sink::Directory(path.clone())
        }
        _ => {
            let spool = Spool::open(&config.spool_dir, config.spool_max_bytes)
                .map_err(|error| usable("spool_dir", &config.spool_dir, error))?;
            Sink::Bus(Bus::connect(config).await?, Box::new(spool))
        }
    })
}
