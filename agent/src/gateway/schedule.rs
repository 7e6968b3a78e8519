//! When each device is asked, and what becomes of one that doesn't answer.
//!
//! - Each device has a task and its own interval; `slots` bounds how many are
//!   asked at once.
//! - After a failure a device is asked less and less often, up to
//!   `MAX_BACKOFF`, at times that are not the same for all.
//! - While it is left alone its rows still come, one set an interval, without
//!   a figure and with the reason: a node with two supplies must not look
//!   half as hungry because one PDU is silent.
//! - The first poll makes no rows: there is no interval yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Device, Poll, PollError, Reading};
use crate::publish::backoff;

/// A device is asked at least this often, unless its interval is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// First polls are spread over the interval, but nobody waits longer for one.
const MAX_START_DELAY: Duration = Duration::from_secs(5);

/// When to ask a device, and how long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub interval: Duration,
    pub timeout: Duration,
}

/// Where rows go.
pub trait Outbox: Send {
    fn send(&self, readings: Vec<Reading>) -> impl std::future::Future<Output = ()> + Send;
}

/// Asks one device for ever.
pub async fn watch(
    mut device: Box<dyn Device>,
    plan: Plan,
    slots: Arc<Semaphore>,
    outbox: impl Outbox,
) {
    tokio::time::sleep(plan.interval.min(MAX_START_DELAY).mul_f64(fastrand::f64())).await;
    let mut ticks = tokio::time::interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence: Option<Silence> = None;
    let mut last: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let left_alone = silence.as_ref().filter(|silence| Instant::now() < silence.next);
        let asked = left_alone.is_none();
        let outcome = match left_alone {
            Some(silence) => Err((Instant::now(), PollError(silence.reason.clone()))),
            None => ask(device.as_mut(), plan, &slots, last).await,
        };
        let readings = match outcome {
            Ok((at, readings)) => {
                if let Some(over) = silence.take() {
                    tracing::warn!(
                        device = device.name(),
                        failures = over.failures,
                        "answers again"
                    );
                }
                last = Some(at);
                readings
            }
            Err((at, error)) => {
                let seconds = last.replace(at).map(|last| (at - last).as_secs_f64());
                if asked {
                    silence =
                        Some(Silence::after(silence, device.as_ref(), &error.0, plan.interval));
                }
                seconds.map(|seconds| device.silent(seconds, &error.0)).unwrap_or_default()
            }
        };
        if !readings.is_empty() {
            outbox.send(readings).await;
        }
    }
}

type Outcome = Result<(Instant, Vec<Reading>), (Instant, PollError)>;

async fn ask(
    device: &mut dyn Device,
    plan: Plan,
    slots: &Semaphore,
    last: Option<Instant>,
) -> Outcome {
    // The semaphore is never closed.
    let _slot = slots.acquire().await;
    let at = Instant::now();
    let interval = last.map(|last| (at - last).as_secs_f64());
    let polled = tokio::time::timeout(plan.timeout, without_panic(device.poll(interval))).await;
    let polled = polled.unwrap_or_else(|_| {
        Err(PollError(format!("the answer was not complete within {:?}", plan.timeout)))
    });
    polled.map(|readings| (at, readings)).map_err(|error| (at, error))
}

/// A mistake in the reading of one device's answer is an answer that failed, not the end of its rows.
async fn without_panic(mut poll: Poll<'_>) -> Result<Vec<Reading>, PollError> {
    std::future::poll_fn(|context| {
        let step = std::panic::AssertUnwindSafe(|| poll.as_mut().poll(context));
        std::panic::catch_unwind(step).unwrap_or_else(|_| {
            std::task::Poll::Ready(Err(PollError(
                "reading its answer failed in the agent itself; please report it".into(),
            )))
        })
    })
    .await
}

/// A device that doesn't answer.
struct Silence {
    reason: String,
    failures: u32,
    next: Instant,
}

impl Silence {
    /// One more failure, or the first.
    fn after(
        before: Option<Silence>,
        device: &dyn Device,
        reason: &str,
        interval: Duration,
    ) -> Silence {
        let failures = before.map_or(0, |silence| silence.failures) + 1;
        if failures.is_power_of_two() {
            tracing::warn!(
                device = device.name(),
                meter = device.meter(),
                failures,
                reason,
                "no figures"
            );
        }
        let longest = MAX_BACKOFF.max(interval);
        let next =
            Instant::now() + backoff(failures as usize - 1, interval, longest, fastrand::f64());
        Silence { reason: reason.to_owned(), failures, next }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;
    use crate::wire::MeterRow;

    /// Answers after `takes`, but for the polls `fails` names; counts who is being asked.
    struct Plug {
        polls: usize,
        fails: std::ops::Range<usize>,
        panics: std::ops::Range<usize>,
        takes: Duration,
        asked: Arc<[AtomicUsize; 2]>,
    }

    fn row(seconds: f64, watts: Option<f64>, reason: Option<&str>) -> Reading {
        let row = MeterRow {
            interval_seconds: seconds,
            power_watts: watts,
            reason: reason.map(Into::into),
            ..Default::default()
        };
        Reading { host: None, row }
    }

    impl Device for Plug {
        fn name(&self) -> &str {
            "plug"
        }

        fn meter(&self) -> &'static str {
            "snmp"
        }

        fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
            Box::pin(async move {
                self.polls += 1;
                let now = self.asked[0].fetch_add(1, Ordering::SeqCst) + 1;
                self.asked[1].fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(self.takes).await;
                self.asked[0].fetch_sub(1, Ordering::SeqCst);
                assert!(!self.panics.contains(&self.polls), "rehearsed");
                if self.fails.contains(&self.polls) {
                    return Err(PollError("no answer".into()));
                }
                Ok(interval.map(|seconds| row(seconds, Some(7.0), None)).into_iter().collect())
            })
        }

        fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
            vec![row(interval, None, Some(reason))]
        }
    }

    #[derive(Clone)]
    struct Out(mpsc::UnboundedSender<Reading>);

    impl Outbox for Out {
        async fn send(&self, readings: Vec<Reading>) {
            readings.into_iter().for_each(|reading| self.0.send(reading).unwrap());
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn plug(fails: std::ops::Range<usize>, takes: Duration) -> Plug {
        Plug { polls: 0, fails, panics: 0..0, takes, asked: Arc::default() }
    }

    /// Rows of one device over so many seconds of a clock that doesn't wait.
    async fn rows(device: Plug, plan: Plan, seconds: u64) -> Vec<MeterRow> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(1));
        let watching = watch(Box::new(device), plan, slots, Out(sender));
        let _ = tokio::time::timeout(Duration::from_secs(seconds), watching).await;
        let mut rows = Vec::new();
        while let Ok(reading) = receiver.try_recv() {
            rows.push(reading.row);
        }
        rows
    }

    const EVERY_SECOND: Plan = Plan { interval: SECOND, timeout: SECOND };

    #[tokio::test(start_paused = true)]
    async fn the_first_poll_makes_no_row_and_each_later_one_covers_its_interval() {
        let rows = rows(plug(0..0, Duration::ZERO), EVERY_SECOND, 60).await;
        assert!((57..=59).contains(&rows.len()), "{}", rows.len());
        assert!(rows.iter().all(|row| (row.interval_seconds - 1.0).abs() < 0.01));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_device_is_asked_ever_less_often_and_its_rows_still_come() {
        let rows = rows(plug(4..9, Duration::ZERO), EVERY_SECOND, 120).await;
        let silent: Vec<_> = rows.iter().filter(|row| row.power_watts.is_none()).collect();
        assert!(silent.len() > 10, "5 failures with growing pauses: {}", silent.len());
        assert!(silent.iter().all(|row| row.reason.as_deref() == Some("no answer")));
        let covered: f64 = rows.iter().map(|row| row.interval_seconds).sum();
        assert!((115.0..=120.0).contains(&covered), "no second is left out: {covered}");
        assert_eq!(rows.last().unwrap().power_watts, Some(7.0), "it is found again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mistake_in_reading_an_answer_costs_that_answer_and_says_so() {
        let device = Plug { panics: 4..6, ..plug(0..0, Duration::ZERO) };
        let rows = rows(device, EVERY_SECOND, 60).await;
        assert!(rows.iter().any(|row| row.reason.as_deref().is_some_and(|r| r.contains("report"))));
        assert_eq!(rows.last().unwrap().power_watts, Some(7.0), "it is asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_ends_is_dropped() {
        let plan = Plan { interval: SECOND, timeout: SECOND / 2 };
        let rows = rows(plug(0..0, Duration::from_secs(1000)), plan, 30).await;
        assert!(rows.len() > 20);
        assert!(rows.iter().all(|row| row.reason.as_deref().unwrap().contains("not complete")));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_devices_are_asked_at_once() {
        let asked: Arc<[AtomicUsize; 2]> = Arc::default();
        let slots = Arc::new(Semaphore::new(3));
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let device = Plug { asked: asked.clone(), ..plug(0..0, SECOND / 10) };
            let (slots, out) = (slots.clone(), Out(sender.clone()));
            tasks.spawn(watch(Box::new(device), EVERY_SECOND, slots, out));
        }
        tokio::time::sleep(SECOND * 20).await;
        tasks.shutdown().await;
        assert_eq!(asked[1].load(Ordering::SeqCst), 3);
        assert!(receiver.try_recv().is_ok());
    }
}
