//! From encoded batches to the bus, with a disk in between when it is away.
//!
//! One task owns the sink and the spool. While the bus answers and the spool
//! is empty, a batch goes straight out. From the first failure on everything
//! goes through the spool, which is drained in order once the bus is back, so
//! that no batch overtakes another. The scan never waits for any of this.

mod bus;
pub(crate) mod frame;
mod kafka;
mod local;
mod nats;
mod running;
pub(crate) mod spool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

pub use bus::{reach, Bus};
pub use kafka::Kafka;
pub use nats::Nats;
pub use running::Publishing;
pub use spool::Spool;

use crate::own_metrics::{Cause, OwnMetrics};
use crate::wire::Batch;

const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// Records drained before new batches are looked at.
const DRAIN_CHUNK: usize = 64;
/// After the request to stop, how long a delivery under way may still take.
const STOP_GRACE: Duration = Duration::from_millis(900);
/// Shorter absences are not worth a line.
const TELL_AFTER: Duration = Duration::from_secs(3);
const LOSS_REPORT_EVERY: Duration = Duration::from_secs(60);

/// Why a batch was not delivered, by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The bus is not there (yet): keep the batch and try again.
    #[error("{0}")]
    Away(String),
    /// It will never be taken: count it and go on.
    #[error("{0}")]
    Refused(String),
}

/// Where batches go.
pub enum Sink {
    Bus(Bus, Box<Spool>),
    Stdout,
    Directory(PathBuf),
}

/// The publishing task.
pub struct Publisher {
    sink: Sink,
    stop: watch::Receiver<bool>,
    /// Some while the bus is away or the spool is not empty yet.
    retry: Option<Retry>,
    refused: u64,
    reported_losses: spool::Losses,
    last_report: Option<Instant>,
    metrics: Arc<OwnMetrics>,
    counted_losses: u64,
}

struct Retry {
    attempt: usize,
    at: Instant,
    since: Instant,
    told: bool,
}

impl Retry {
    fn now() -> Retry {
        Retry { attempt: 0, at: Instant::now(), since: Instant::now(), told: false }
    }
}

impl Publisher {
    pub fn new(sink: Sink, stop: watch::Receiver<bool>, metrics: Arc<OwnMetrics>) -> Publisher {
        // An earlier run may have left something in the spool: look at once.
        let retry = matches!(sink, Sink::Bus(..)).then(Retry::now);
        let reported_losses = spool::Losses::default();
        Publisher {
            sink,
            stop,
            retry,
            refused: 0,
            reported_losses,
            last_report: None,
            metrics,
            counted_losses: 0,
        }
    }

    /// Runs until the sender is gone and everything is delivered or spooled.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        loop {
            let retry_at = self.retry.as_ref().map(|retry| retry.at);
            tokio::select! {
                biased;
                batch = batches.recv() => match batch {
                    Some(batch) => self.take(batch).await,
                    None => break,
                },
                () = wake(&self.sink, retry_at), if retry_at.is_some() => self.drain().await,
            }
        }
        if let Sink::Bus(_, spool) = &self.sink {
            if spool.bytes() > 0 {
                tracing::info!(
                    bytes = spool.bytes(),
                    "stopping with batches in the spool; the next run sends them"
                );
            }
        }
    }

    async fn take(&mut self, batch: Batch) {
        if self.retry.is_none() {
            match self.deliver(&batch).await {
                Ok(()) => return,
                Err(SendError::Refused(reason)) => return self.refuse(&reason),
                Err(SendError::Away(reason)) => self.go_away(&reason),
            }
        }
        if let Sink::Bus(_, spool) = &mut self.sink {
            if let Err(error) = spool.append(&batch) {
                self.metrics.dropped(Cause::spool_error, 1);
                tracing::warn!(%error, directory = %spool.directory().display(), "spool: a batch is lost; free disk space or set spool_dir");
            }
        }
        self.report_losses();
    }

    async fn deliver(&self, batch: &Batch) -> Result<(), SendError> {
        match &self.sink {
            Sink::Stdout => local::print(batch),
            Sink::Directory(directory) => local::write_file(directory, batch),
            Sink::Bus(bus, _) => tokio::select! {
                result = bus.send(batch) => result,
                () = grace_over(self.stop.clone()) => Err(SendError::Away("stopping".into())),
            },
        }
    }

    /// Sends what the spool holds, oldest first.
    async fn drain(&mut self) {
        for _ in 0..DRAIN_CHUNK {
            let Sink::Bus(_, spool) = &mut self.sink else { return };
            let batch = match spool.front() {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    self.metrics.spool_bytes.set(spool.bytes() as i64);
                    if self.retry.take().is_some_and(|retry| retry.told) {
                        tracing::warn!("bus is back, spool is empty");
                    }
                    return;
                }
                Err(error) => return self.go_away(&format!("spool: {error}")),
            };
            match self.deliver(&batch).await {
                Ok(()) => self.drop_front(),
                Err(SendError::Refused(reason)) => {
                    self.refuse(&reason);
                    self.drop_front();
                }
                Err(SendError::Away(reason)) => return self.go_away(&reason),
            }
        }
        // More to come: look at new batches first, then go on at once.
        if let Some(retry) = &mut self.retry {
            retry.at = Instant::now();
        }
    }

    fn drop_front(&mut self) {
        if let Sink::Bus(_, spool) = &mut self.sink {
            if let Err(error) = spool.pop() {
                tracing::warn!(%error, "spool: a delivered batch could not be removed and will be sent again");
            }
            self.metrics.spool_bytes.set(spool.bytes() as i64);
        }
    }

    fn go_away(&mut self, reason: &str) {
        let retry = self.retry.get_or_insert_with(Retry::now);
        // A bus that is a moment slower than the agent is no news.
        if !retry.told && retry.since.elapsed() >= TELL_AFTER {
            retry.told = true;
            tracing::warn!(reason, "bus is away: batches go to the spool until it is back");
        }
        retry.at = Instant::now() + nats::backoff(retry.attempt, MAX_RETRY_DELAY);
        retry.attempt += 1;
    }

    fn refuse(&mut self, reason: &str) {
        self.refused += 1;
        self.metrics.dropped(Cause::refused, 1);
        if self.refused.is_power_of_two() {
            tracing::warn!(
                reason,
                refused = self.refused,
                "a batch can't be delivered and is dropped"
            );
        }
    }

    fn report_losses(&mut self) {
        let Sink::Bus(_, spool) = &self.sink else { return };
        let losses = spool.losses();
        self.metrics.spool_bytes.set(spool.bytes() as i64);
        let new = losses.dropped_records.saturating_sub(self.counted_losses);
        if new > 0 {
            self.metrics.dropped(Cause::spool_full, new);
            self.counted_losses = losses.dropped_records;
        }
        let due = self.last_report.is_none_or(|last| last.elapsed() >= LOSS_REPORT_EVERY);
        if losses.dropped_records > self.reported_losses.dropped_records && due {
            tracing::warn!(
                dropped = losses.dropped_records,
                "spool is full: oldest batches were dropped; raise spool_max_bytes or bring the bus back"
            );
            self.reported_losses = losses;
            self.last_report = Some(Instant::now());
        }
    }
}

/// Returns when it is time to try again: the wait is over, or the bus came back.
async fn wake(sink: &Sink, at: Option<Instant>) {
    let wait = async {
        match at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    match sink {
        Sink::Bus(bus, _) => tokio::select! { () = wait => {}, () = bus.reconnected() => {} },
        _ => wait.await,
    }
}

async fn grace_over(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_ok() {
        tokio::time::sleep(STOP_GRACE).await;
    } else {
        std::future::pending::<()>().await;
    }
}
