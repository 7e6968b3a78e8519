//! What the agent says of itself and of the node's meters, for Prometheus.
//!
//! The loop, the publisher and the profiler count here; `server` answers
//! scrapes on loopback. Energy is a counter per zone: the sum of what the
//! meters gave since the start, so that gaps stay gaps.

pub mod server;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::profile_rows::Unattributed;
use crate::wire::MeterRow;

type Seconds = Counter<f64, AtomicU64>;
type Number = Gauge<f64, AtomicU64>;

/// Zones of all meters together; more are not counted.
const MAX_ZONES: usize = 512;

/// Why a batch or a record never reached the bus.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue,
)]
#[allow(non_camel_case_types)]
pub enum Cause {
    /// The publisher was slower than the loop.
    queue_full,
    /// The bus will never take it.
    refused,
    /// The spool was full: oldest first.
    spool_full,
    /// The spool could not be written.
    spool_error,
    /// What the spool held was damaged.
    spool_torn,
    /// A receiver beside the bus was slower than the loop.
    export_away,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnattributedLabel {
    cause: Unattributed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZoneLabel {
    meter: String,
    zone: String,
    tier: String,
}

/// All counters, shared by the parts of the agent.
pub struct OwnMetrics {
    registry: Registry,
    pub stack_samples: Counter,
    pub stack_samples_lost: Counter,
    unattributed: Family<UnattributedLabel, Counter>,
    pub queue_batches: Gauge,
    pub spool_bytes: Gauge,
    scan_seconds: Seconds,
    scans: Counter,
    cpu_seconds: Number,
    resident_bytes: Gauge,
    rows: Family<KindLabel, Counter>,
    dropped: Family<CauseLabel, Counter>,
    energy: Family<ZoneLabel, Seconds>,
    power: Family<ZoneLabel, Number>,
    temperature: Family<ZoneLabel, Number>,
    meter_errors: Family<ZoneLabel, Counter>,
    zones: std::sync::Mutex<std::collections::HashSet<ZoneLabel>>,
}

impl OwnMetrics {
    pub fn new(tenant: &str, host: &str) -> Arc<OwnMetrics> {
        let mut own = OwnMetrics {
            registry: Registry::default(),
            stack_samples: Counter::default(),
            stack_samples_lost: Counter::default(),
            unattributed: Family::default(),
            queue_batches: Gauge::default(),
            spool_bytes: Gauge::default(),
            scan_seconds: Seconds::default(),
            scans: Counter::default(),
            cpu_seconds: Number::default(),
            resident_bytes: Gauge::default(),
            rows: Family::default(),
            dropped: Family::default(),
            energy: Family::default(),
            power: Family::default(),
            temperature: Family::default(),
            meter_errors: Family::default(),
            zones: std::sync::Mutex::default(),
        };
        own.register(tenant, host);
        // A cause that never came is 0, not absent.
        own.unattributed(&Unattributed::ALL.map(|cause| (cause, 0)).into());
        Arc::new(own)
    }

    fn register(&mut self, tenant: &str, host: &str) {
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("tenant", tenant.to_owned()),
            ("host", host.to_owned()),
        ]);
        let all = &mut self.registry;
        all.register("eo_agent", "Version and names of this agent", build);
        all.register(
            "process_cpu_seconds",
            "CPU time of the agent since its start",
            self.cpu_seconds.clone(),
        );
        all.register(
            "process_resident_memory_bytes",
            "Resident memory of the agent",
            self.resident_bytes.clone(),
        );
        self.register_agent();
        self.register_node();
    }

    fn register_agent(&mut self) {
        let agent = self.registry.sub_registry_with_prefix("eo_agent");
        agent.register("rows", "Rows made, by kind", self.rows.clone());
        agent.register(
            "dropped_batches",
            "Batches that never reached the bus, by cause",
            self.dropped.clone(),
        );
        agent.register(
            "queue_batches",
            "Batches that wait for the publisher",
            self.queue_batches.clone(),
        );
        agent.register(
            "spool_bytes",
            "Bytes that wait on disk for the bus",
            self.spool_bytes.clone(),
        );
        agent.register(
            "stack_samples",
            "Stack samples taken; each is in a row",
            self.stack_samples.clone(),
        );
        agent.register(
            "stack_samples_unattributed",
            "Stack samples taken whose process no look has seen, by cause; their rows say so",
            self.unattributed.clone(),
        );
        agent.register(
            "stack_samples_lost",
            "Stack samples lost in the kernel's buffer, or left out at the stop",
            self.stack_samples_lost.clone(),
        );
        agent.register_with_unit(
            "scan",
            "Time that looks at the node took",
            Unit::Seconds,
            self.scan_seconds.clone(),
        );
        agent.register("scans", "Looks at the node", self.scans.clone());
        agent.register(
            "meter_errors",
            "Intervals in which a meter's zone gave no figure, by meter and zone",
            self.meter_errors.clone(),
        );
    }

    fn register_node(&mut self) {
        let node = self.registry.sub_registry_with_prefix("eo_node");
        node.register_with_unit(
            "energy",
            "Energy by meter and zone since the agent's start; gaps are not filled",
            Unit::Joules,
            self.energy.clone(),
        );
        node.register_with_unit(
            "power",
            "Last power by meter and zone",
            Unit::Other("watts".into()),
            self.power.clone(),
        );
        node.register_with_unit(
            "temperature",
            "Last temperature by meter and zone",
            Unit::Celsius,
            self.temperature.clone(),
        );
    }

    /// One look at the node took so long.
    pub fn scanned(&self, seconds: f64) {
        self.scans.inc();
        self.scan_seconds.inc_by(seconds);
    }

    pub fn sent_rows(&self, kind: &'static str, count: usize) {
        self.rows.get_or_create(&KindLabel { kind }).inc_by(count as u64);
    }

    pub fn dropped(&self, cause: Cause, count: u64) {
        self.dropped.get_or_create(&CauseLabel { cause }).inc_by(count);
    }

    /// Samples that belong to nobody, of one window.
    pub fn unattributed(&self, samples: &BTreeMap<Unattributed, u64>) {
        for (&cause, &count) in samples {
            self.unattributed.get_or_create(&UnattributedLabel { cause }).inc_by(count);
        }
    }

    /// Takes in what the meters gave. What is unknown changes nothing.
    pub fn measured(&self, rows: &[MeterRow]) {
        for row in rows {
            let label = ZoneLabel {
                meter: row.meter.to_string(),
                zone: row.zone.to_string(),
                tier: row.tier.as_deref().unwrap_or("none").to_owned(),
            };
            let Ok(mut zones) = self.zones.lock() else { return };
            if zones.len() >= MAX_ZONES && !zones.contains(&label) {
                continue;
            }
            zones.insert(label.clone());
            drop(zones);
            let figures = [row.energy_joules, row.power_watts, row.temp_c];
            if row.reason.is_some() && figures.iter().all(Option::is_none) {
                self.meter_errors.get_or_create(&label).inc();
            }
            if let Some(joules) = row.energy_joules.filter(|joules| *joules >= 0.0) {
                self.energy.get_or_create(&label).inc_by(joules);
            }
            if let Some(watts) = row.power_watts {
                self.power.get_or_create(&label).set(watts);
            }
            if let Some(celsius) = row.temp_c {
                self.temperature.get_or_create(&label).set(celsius);
            }
        }
    }

    /// The OpenMetrics text, with the process' own use as of now.
    pub fn text(&self) -> String {
        if let Some((cpu_seconds, resident_bytes)) = own_use() {
            self.cpu_seconds.set(cpu_seconds);
            self.resident_bytes.set(resident_bytes);
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// CPU seconds and resident bytes of this process.
fn own_use() -> Option<(f64, i64)> {
    let stat = std::fs::read("/proc/self/stat").ok()?;
    let stat = crate::procfs::stat::parse(&stat)?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let pages = i64::try_from(rustix::param::page_size()).ok()?;
    Some((stat.cpu_ticks as f64 / ticks, stat.rss_pages.saturating_mul(pages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(zone: &str, joules: Option<f64>, watts: Option<f64>) -> MeterRow {
        MeterRow {
            meter: "rapl".into(),
            zone: zone.into(),
            tier: Some("on_die".into()),
            energy_joules: joules,
            power_watts: watts,
            ..Default::default()
        }
    }

    #[test]
    fn energy_adds_up_and_the_unknown_is_absent() {
        let own = OwnMetrics::new("local", "node-a");
        own.measured(&[row("package-0", Some(20.0), Some(10.0)), row("dram", None, None)]);
        own.measured(&[row("package-0", Some(5.0), Some(2.5))]);
        own.dropped(Cause::queue_full, 3);
        own.scanned(0.25);
        let text = own.text();
        for line in [
            r#"eo_node_energy_joules_total{meter="rapl",zone="package-0",tier="on_die"} 25.0"#,
            r#"eo_node_power_watts{meter="rapl",zone="package-0",tier="on_die"} 2.5"#,
            r#"eo_agent_dropped_batches_total{cause="queue_full"} 3"#,
            "eo_agent_scan_seconds_total 0.25",
            r#"eo_agent_stack_samples_unattributed_total{cause="exiting"} 0"#,
            r#"eo_agent_info{version="0.1.0",tenant="local",host="node-a"} 1"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("dram"), "{text}");
        let silent = MeterRow { reason: Some("gone".into()), ..row("psys", None, None) };
        own.measured(&[silent, row("psys", None, Some(1.0))]);
        let line = r#"eo_agent_meter_errors_total{meter="rapl",zone="psys",tier="on_die"} 1"#;
        assert!(own.text().contains(line));
        let cpu =
            text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        assert!(cpu.split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 1e6, "{cpu}");
    }

    #[test]
    fn zones_are_bounded() {
        let own = OwnMetrics::new("local", "node-a");
        for index in 0..MAX_ZONES + 100 {
            own.measured(&[row(&format!("z{index}"), Some(1.0), None)]);
        }
        own.measured(&[row("z0", Some(1.0), None)]);
        let text = own.text();
        assert_eq!(text.matches("eo_node_energy_joules_total{").count(), MAX_ZONES);
        assert!(text.contains(r#"zone="z0",tier="on_die"} 2.0"#));
    }
}
