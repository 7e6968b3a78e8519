//! Meter rows as OTLP metrics: `hw.energy` (J, a sum since the start) and
//! `hw.power` (W), after OpenTelemetry's hardware conventions, one point per
//! zone with meter and tier. What is unknown has no point.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{any_value, AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    metric, number_data_point, AggregationTemporality, Gauge, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::wire::MeterRow;

/// Zones that are kept; more are left out.
const MAX_ZONES: usize = 512;

/// Energy of each zone since the first row.
pub struct Totals {
    host: String,
    since_unix_nanos: u64,
    joules: HashMap<(String, String), f64>,
}

impl Totals {
    pub fn new(host: &str) -> Totals {
        Totals { host: host.to_owned(), since_unix_nanos: 0, joules: HashMap::new() }
    }

    /// A request with what these rows know; None when they know nothing.
    pub fn encode(&mut self, rows: &[MeterRow], unix_nanos: u64) -> Option<Vec<u8>> {
        if self.since_unix_nanos == 0 {
            self.since_unix_nanos = unix_nanos;
        }
        let point = |row: &MeterRow, value: f64, since: u64| NumberDataPoint {
            attributes: vec![
                text("hw.id", &format!("{}/{}", row.meter, row.zone)),
                text("hw.type", kind(&row.zone)),
                text("eo.meter", &row.meter),
                text("eo.zone", &row.zone),
                text("eo.tier", row.tier.as_deref().unwrap_or("none")),
            ],
            start_time_unix_nano: since,
            time_unix_nano: unix_nanos,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..Default::default()
        };
        let (mut energy, mut power) = (Vec::new(), Vec::new());
        for row in rows {
            if let Some(joules) = row.energy_joules.filter(|joules| *joules >= 0.0) {
                if let Some(total) = self.add(row, joules) {
                    energy.push(point(row, total, self.since_unix_nanos));
                }
            }
            power.extend(row.power_watts.map(|watts| point(row, watts, 0)));
        }
        if energy.is_empty() && power.is_empty() {
            return None;
        }
        Some(self.request(energy, power).encode_to_vec())
    }

    fn add(&mut self, row: &MeterRow, joules: f64) -> Option<f64> {
        let key = (row.meter.to_string(), row.zone.to_string());
        if self.joules.len() >= MAX_ZONES && !self.joules.contains_key(&key) {
            return None;
        }
        let total = self.joules.entry(key).or_default();
        *total += joules;
        Some(*total)
    }

    fn request(
        &self,
        energy: Vec<NumberDataPoint>,
        power: Vec<NumberDataPoint>,
    ) -> ExportMetricsServiceRequest {
        let sum = Sum {
            data_points: energy,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        };
        let named = |name: &str, unit: &str, description: &str, data| Metric {
            name: name.into(),
            unit: unit.into(),
            description: description.into(),
            data: Some(data),
            ..Default::default()
        };
        let metrics = vec![
            named(
                "hw.energy",
                "J",
                "Energy since the agent's start; gaps are not filled",
                metric::Data::Sum(sum),
            ),
            named(
                "hw.power",
                "W",
                "Mean power of the last interval",
                metric::Data::Gauge(Gauge { data_points: power }),
            ),
        ];
        let scope = InstrumentationScope {
            name: "eo-agent".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        let resource =
            Resource { attributes: vec![text("host.name", &self.host)], ..Default::default() };
        let scope_metrics =
            vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..Default::default() }];
        ExportMetricsServiceRequest { resource_metrics }
    }
}

/// `hw.type` of the conventions.
fn kind(zone: &str) -> &'static str {
    let last = zone.rsplit('/').next().unwrap_or(zone);
    if last.starts_with("dram") {
        "memory"
    } else if zone.starts_with("gpu") {
        "gpu"
    } else if last.starts_with("package") || last.starts_with("core") {
        "cpu"
    } else {
        "enclosure"
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
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
    fn energy_is_a_growing_sum_and_the_unknown_has_no_point() {
        let mut totals = Totals::new("node-a");
        totals.encode(&[row("package-0", Some(10.0), Some(5.0))], 1_000);
        let rows = [row("package-0", Some(4.0), Some(2.0)), row("package-0/dram", None, None)];
        let bytes = totals.encode(&rows, 2_000).unwrap();
        let read = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
        let metrics = &read.resource_metrics[0].scope_metrics[0].metrics;
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("no sum") };
        assert_eq!(sum.data_points.len(), 1);
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsDouble(14.0)));
        assert_eq!(
            (sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano),
            (1_000, 2_000)
        );
        assert!(sum.is_monotonic);
        assert_eq!(totals.encode(&[row("x", None, None)], 3_000), None);
    }
}
