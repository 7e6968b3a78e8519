//! Energy and profiles to others' receivers, beside the bus.
//!
//! `agent` hands over meter rows and profiles; one task encodes and posts
//! them: OTLP over HTTP to a collector, pprof to Pyroscope. It never holds
//! the loop up: what does not fit into its short queue is dropped and counted,
//! and a receiver that is away is tried again with the next batch. What the
//! bus carries stays the record; this is a copy for other tools.

mod http;
mod otlp_metrics;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::{ConfigError, ExportConfig};
use crate::own_metrics::{Cause, OwnMetrics};
use crate::profile_output::{otlp, pprof, Profile};
use crate::wire::MeterRow;
use http::Poster;
use otlp_metrics::Totals;

const QUEUE: usize = 16;

/// Something to send.
pub enum Item {
    Meters { rows: Vec<MeterRow>, unix_nanos: u64 },
    Profile(Box<Profile>),
}

/// Where the loop puts what is to be sent.
pub struct Exporter {
    items: mpsc::Sender<Item>,
    metrics: Arc<OwnMetrics>,
}

impl Exporter {
    /// Starts the task; None where nothing is configured.
    pub fn start(
        config: &ExportConfig,
        host: &str,
        metrics: Arc<OwnMetrics>,
    ) -> Result<Option<Exporter>, ConfigError> {
        if config.otlp_endpoint.is_none() && config.pprof_push_url.is_none() {
            return Ok(None);
        }
        let (items, receiver) = mpsc::channel(QUEUE);
        let sender = Sender {
            poster: Poster::new(config.read_headers()?)?,
            otlp_endpoint: config.otlp_endpoint.clone(),
            pprof_push_url: config.pprof_push_url.clone(),
            totals: Totals::new(host),
            host: host.to_owned(),
            failures: 0,
        };
        tokio::spawn(sender.run(receiver));
        Ok(Some(Exporter { items, metrics }))
    }

    pub fn send(&self, item: Item) {
        if self.items.try_send(item).is_err() {
            self.metrics.dropped(Cause::export_away, 1);
        }
    }
}

struct Sender {
    poster: Poster,
    otlp_endpoint: Option<String>,
    pprof_push_url: Option<String>,
    totals: Totals,
    host: String,
    failures: u64,
}

impl Sender {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.recv().await {
            for (url, kind, body) in self.requests(item) {
                match self.poster.post(&url, kind, body).await {
                    Ok(()) => self.failures = 0,
                    Err(reason) => self.failed(&url, &reason),
                }
            }
        }
    }

    fn failed(&mut self, url: &str, reason: &str) {
        self.failures += 1;
        if self.failures.is_power_of_two() {
            tracing::warn!(
                url,
                reason,
                failures = self.failures,
                "export: a receiver did not take what was sent"
            );
        }
    }

    /// Address, content type and body of each request.
    fn requests(&mut self, item: Item) -> Vec<(String, &'static str, Vec<u8>)> {
        const PROTOBUF: &str = "application/x-protobuf";
        let otlp = |path: &str| {
            self.otlp_endpoint.as_ref().map(|base| format!("{}{path}", base.trim_end_matches('/')))
        };
        match item {
            Item::Meters { rows, unix_nanos } => {
                let url = otlp("/v1/metrics");
                let body = self.totals.encode(&rows, unix_nanos);
                url.zip(body).map(|(url, body)| (url, PROTOBUF, body)).into_iter().collect()
            }
            Item::Profile(profile) => {
                let mut requests = Vec::new();
                if let Some(url) = otlp("/v1development/profiles") {
                    requests.push((url, PROTOBUF, otlp::encode(&profile)));
                }
                if let (Some(base), Ok(body)) = (&self.pprof_push_url, pprof::encode(&profile)) {
                    let url = push_address(base, &self.host, &profile);
                    requests.push((url, "application/octet-stream", body));
                }
                requests
            }
        }
    }
}

/// Pyroscope's `/ingest`: name with labels, format, and the span of time in seconds.
fn push_address(base: &str, host: &str, profile: &Profile) -> String {
    let from = profile.started_unix_nanos / 1_000_000_000;
    let until = from + profile.seconds.ceil() as u64;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let host: String = host.chars().map(plain).collect();
    let rate = profile.hz;
    format!("{base}?name=eo-agent%7Bhost%3D{host}%7D&format=pprof&from={from}&until={until}&sampleRate={rate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_address_names_host_and_time() {
        let profile = crate::profile_output::example();
        let address = push_address("http://127.0.0.1:4040/ingest", "node a", &profile);
        assert_eq!(
            address,
            "http://127.0.0.1:4040/ingest?name=eo-agent%7Bhost%3Dnode_a%7D&format=pprof&from=1700000000&until=1700000010&sampleRate=19"
        );
    }
}
