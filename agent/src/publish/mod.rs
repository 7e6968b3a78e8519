//! From encoded batches to the bus, with a disk in between when it is away.
//!
//! One task owns the sink and the spool. While the bus answers and the spool
//! is empty, a batch goes straight out. From the first failure on everything
//! goes through the spool, which is drained in order once the bus is back, so
//! that no batch overtakes another. The scan never waits for any of this.

mod backoff;
mod bus;
pub(crate) mod frame;
mod kafka;
mod local;
mod nats;
mod running;
pub(crate) mod spool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use backoff::backoff;
pub use bus::{reach, Bus};
pub use kafka::Kafka;
pub use nats::Nats;
pub use running::Publishing;
pub use spool::Spool;

use crate::own_metrics::{Cause, OwnMetrics};
use crate::wire::Batch;

const FIRST_DELAY: Duration = Duration::from_millis(250);
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
    counted_losses: spool::Losses,
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
            counted_losses: spool::Losses::default(),
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
        if let Some(retry) = &mut self.retry {
            // It answers: the next failure is a first one.
            retry.attempt = 0;
        }
        if let Sink::Bus(_, spool) = &mut self.sink {
            if let Err(error) = spool.pop() {
                tracing::warn!(%error, "spool: a delivered batch could not be removed and will be sent again");
            }
        }
        self.report_losses();
    }

    fn go_away(&mut self, reason: &str) {
        let retry = self.retry.get_or_insert_with(Retry::now);
        // A bus that is a moment slower than the agent is no news.
        if !retry.told && retry.since.elapsed() >= TELL_AFTER {
            retry.told = true;
            tracing::warn!(reason, "bus is away: batches go to the spool until it is back");
        }
        retry.at =
            Instant::now() + backoff(retry.attempt, FIRST_DELAY, MAX_RETRY_DELAY, fastrand::f64());
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
        let before = std::mem::replace(&mut self.counted_losses, losses);
        for (cause, new) in [
            (Cause::spool_full, losses.dropped_records - before.dropped_records),
            (Cause::spool_error, losses.unwritten_records - before.unwritten_records),
            (Cause::spool_torn, losses.torn_records - before.torn_records),
        ] {
            if new > 0 {
                self.metrics.dropped(cause, new);
            }
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
            Some(at) => tokio::time::sleep_until(at).await,
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

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use uuid::Uuid;

    use super::*;

    /// A bus that is there or not as the test says, on the test's clock.
    #[derive(Clone, Default)]
    pub struct Rehearsed(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        up: bool,
        tries: usize,
        taken: Vec<u128>,
    }

    impl Rehearsed {
        pub fn send(&self, batch: &Batch) -> Result<(), SendError> {
            let mut state = self.0.lock().unwrap();
            state.tries += 1;
            if !state.up {
                return Err(SendError::Away("rehearsed".into()));
            }
            state.taken.push(batch.id.as_u128());
            Ok(())
        }
    }

    const LOOKS: u128 = 720;
    const INTERVAL: Duration = Duration::from_secs(5);

    fn batch(number: u128) -> Batch {
        let subject = "eo.v1.a.b.samples".into();
        Batch { id: Uuid::from_u128(number), subject, payload: vec![7; 1000].into() }
    }

    /// An hour without the bus, a batch every five seconds, then a minute with it.
    async fn an_hour_away(spool_bytes: u64) -> (usize, Vec<u128>, String) {
        let directory = tempfile::tempdir().unwrap();
        let bus = Rehearsed::default();
        let spool = Box::new(Spool::open(directory.path(), spool_bytes).unwrap());
        let metrics = OwnMetrics::new("a", "b");
        let (stopper, stop) = watch::channel(false);
        let sink = Sink::Bus(Bus::Rehearsed(bus.clone()), spool);
        let (sender, batches) = mpsc::channel(4);
        let publisher = tokio::spawn(Publisher::new(sink, stop, metrics.clone()).run(batches));
        for number in 0..LOOKS {
            sender.try_send(batch(number)).expect("the loop never waits for a bus that is away");
            tokio::time::sleep(INTERVAL).await;
        }
        let tries = std::mem::take(&mut bus.0.lock().unwrap().tries);
        bus.0.lock().unwrap().up = true;
        tokio::time::sleep(Duration::from_secs(60)).await;
        sender.send(batch(LOOKS)).await.unwrap();
        drop(sender);
        publisher.await.unwrap();
        drop(stopper);
        let taken = bus.0.lock().unwrap().taken.clone();
        (tries, taken, metrics.text())
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_without_the_bus_loses_nothing_and_keeps_the_order() {
        let (tries, taken, metrics) = an_hour_away(16 << 20).await;
        assert_eq!(taken, (0..=LOOKS).collect::<Vec<_>>());
        assert!(!metrics.contains("dropped_total{"), "{metrics}");
        // Between half of the longest wait and the longest, after a few short ones.
        assert!((110..=255).contains(&tries), "{tries} tries in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_spools_limit_the_oldest_go_and_are_counted() {
        let (_, taken, metrics) = an_hour_away(100_000).await;
        let lost = LOOKS + 1 - taken.len() as u128;
        assert!(lost > 0 && taken.len() > 50);
        assert_eq!(taken, (lost..=LOOKS).collect::<Vec<_>>(), "the newest stay, in order");
        assert!(metrics.contains(&format!("{{cause=\"spool_full\"}} {lost}\n")), "{metrics}");
    }
}
