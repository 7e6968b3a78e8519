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

use super::{Device, PollError, Reading};

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
        let outcome = match silence.as_ref().filter(|silence| Instant::now() < silence.next) {
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
                let asked = silence.as_ref().is_none_or(|silence| at >= silence.next);
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
    let polled = tokio::time::timeout(plan.timeout, device.poll(interval)).await;
    let polled = polled.unwrap_or_else(|_| {
        Err(PollError(format!("the answer was not complete within {:?}", plan.timeout)))
    });
    polled.map(|readings| (at, readings)).map_err(|error| (at, error))
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
        let doubled = interval.saturating_mul(1 << (failures - 1).min(16));
        let limit = doubled.min(MAX_BACKOFF.max(interval));
        let next = Instant::now() + limit.mul_f64(0.5 + fastrand::f64() / 2.0);
        Silence { reason: reason.to_owned(), failures, next }
    }
}
