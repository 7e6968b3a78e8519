//! A meter behind a Prometheus endpoint: scraped, told apart by name, and
//! brought into rows. `text` reads the format, `known` says what names mean.
//! Counters are turned into energy here; one that went back was reset, and
//! its interval is unknown.

pub(crate) mod known;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::http::Client;
use crate::config::endpoint::PrometheusOptions;
use crate::gateway::{Device, Poll, PollError, Reading};
use crate::wire::MeterRow;
use known::{Meaning, Quantity};

const METER: &str = "prometheus";
/// Rows of one scrape.
const MAX_ZONES: usize = 512;
const MAX_NAME_CHARS: usize = 200;

/// One endpoint of the gateway's file.
pub struct Prometheus {
    name: String,
    host: Arc<str>,
    client: Client,
    meanings: Arc<Vec<Meaning>>,
    counters: HashMap<Place, f64>,
    told: Vec<Place>,
}

/// Host and zone.
type Place = (Arc<str>, Arc<str>);

/// What a scrape said of a zone, and how it was measured.
type Scrape = BTreeMap<Place, (Quantity, &'static str)>;

impl Prometheus {
    pub fn new(options: &PrometheusOptions, client: Client) -> Prometheus {
        Prometheus {
            name: options.name.clone(),
            host: options.host.as_str().into(),
            client,
            meanings: Arc::new(known::meanings(&options.metrics)),
            counters: HashMap::new(),
            told: Vec::new(),
        }
    }

    fn rows(&mut self, scrape: Scrape, interval: Option<f64>) -> Vec<Reading> {
        let mut counters = HashMap::new();
        let mut rows = Vec::new();
        for (place, (quantity, tier)) in &scrape {
            let mut row = row(&place.1, interval.unwrap_or_default());
            match *quantity {
                Quantity::Watts(watts) => {
                    row.power_watts = Some(watts);
                    row.tier = super::text(tier);
                    row.reason = super::text("the metric gives power, not energy");
                }
                Quantity::Celsius(celsius) => row.temp_c = Some(celsius),
                Quantity::Joules(now) => {
                    let last = self.counters.get(place);
                    counters.insert(place.clone(), now);
                    row.tier = super::text(tier);
                    match last.map(|last| now - last) {
                        Some(step) if step >= 0.0 => {
                            row.energy_joules = Some(step);
                            row.power_watts = interval.map(|interval| step / interval);
                        }
                        Some(_) => row.reason = super::text("the counter went back: it was reset"),
                        None => {
                            row.reason = super::text("first reading: nothing to compare with yet")
                        }
                    }
                }
            }
            rows.push(Reading { host: Some(place.0.clone()), row });
        }
        // A zone that the endpoint no longer shows is unknown, not gone to zero.
        for place in self.told.iter().filter(|place| !scrape.contains_key(*place)) {
            let reason = super::text("the endpoint no longer shows this metric");
            let row = MeterRow { reason, ..row(&place.1, interval.unwrap_or_default()) };
            rows.push(Reading { host: Some(place.0.clone()), row });
        }
        self.counters = counters;
        self.told = scrape.into_keys().collect();
        if interval.is_none() {
            rows.clear();
        }
        rows
    }
}

impl Device for Prometheus {
    fn name(&self) -> &str {
        &self.name
    }

    fn meter(&self) -> &'static str {
        METER
    }

    fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
        Box::pin(async move {
            let (meanings, host, name) =
                (self.meanings.clone(), self.host.clone(), self.name.clone());
            let scrape = self.client.blocking(move |client| {
                let body = client
                    .get("")?
                    .ok_or_else(|| PollError("HTTP status 404; give the path of metrics".into()))?;
                let text = String::from_utf8_lossy(&body);
                Ok(decode(&text, &meanings, &host, &name))
            });
            let scrape = scrape.await?;
            if scrape.is_empty() {
                return Err(PollError(
                    "no metric of power or energy is known there; name one under metrics".into(),
                ));
            }
            Ok(self.rows(scrape, interval))
        })
    }

    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        self.counters.clear();
        let mut places = self.told.clone();
        if places.is_empty() {
            places.push((self.host.clone(), self.name.as_str().into()));
        }
        let silent = |(host, zone): Place| {
            let row = MeterRow { reason: Some(reason.into()), ..row(&zone, interval) };
            Reading { host: Some(host), row }
        };
        places.into_iter().map(silent).collect()
    }
}

/// The first sample of each zone counts: exporters show a zone once.
pub(crate) fn decode(text: &str, meanings: &[Meaning], host: &Arc<str>, name: &str) -> Scrape {
    let meaning = |metric: &str| meanings.iter().find(|meaning| meaning.metric == metric);
    let mut scrape = Scrape::new();
    for sample in text::samples(text, |metric| meaning(metric).is_some()) {
        let Some(meaning) = meaning(sample.metric) else { continue };
        let Some(quantity) = known::quantity(meaning.unit, sample.value) else { continue };
        let mut zone = format!("{name}/{}", sample.metric);
        for value in meaning.zone_labels.iter().filter_map(|label| sample.label(label)) {
            zone = format!("{zone}/{}", value.replace('/', "_"));
        }
        let zone: String = zone.chars().take(MAX_NAME_CHARS).collect();
        let host = match meaning.host_label.as_deref().and_then(|label| sample.label(label)) {
            Some(host) if !host.is_empty() && host.len() <= MAX_NAME_CHARS => host.into(),
            _ => host.clone(),
        };
        if scrape.len() < MAX_ZONES {
            scrape.entry((host, zone.into())).or_insert((quantity, meaning.tier.as_str()));
        }
    }
    scrape
}

fn row(zone: &Arc<str>, interval: f64) -> MeterRow {
    MeterRow {
        interval_seconds: interval,
        meter: METER.into(),
        zone: zone.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::endpoint::MetricUnit;

    #[test]
    fn well_known_names_are_read_in_their_units() {
        let text = "kepler_node_cpu_joules_total{zone=\"package\",path=\"/a\"} 10\n\
            DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\",UUID=\"GPU-1\"} 5000\n\
            ipmi_dcmi_power_consumption_watts{id=\"1\"} 240\n\
            kepler_pod_cpu_joules_total{pod=\"x\"} 3\nup 1\n";
        let scrape = decode(text, &known::meanings(&[]), &"node-a".into(), "exporter");
        let read = scrape.iter().map(|((_, zone), (value, tier))| (&**zone, *value, *tier));
        assert_eq!(
            read.collect::<Vec<_>>(),
            [
                (
                    "exporter/DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION/GPU-1",
                    Quantity::Joules(5.0),
                    "on_die"
                ),
                ("exporter/ipmi_dcmi_power_consumption_watts/1", Quantity::Watts(240.0), "bmc"),
                (
                    "exporter/kepler_node_cpu_joules_total/package/_a",
                    Quantity::Joules(10.0),
                    "on_die"
                ),
            ]
        );
    }

    #[test]
    fn a_counter_beyond_all_joules_is_no_figure() {
        assert_eq!(known::quantity(MetricUnit::KilowattHours, 1e308), None);
        assert_eq!(known::quantity(MetricUnit::KilowattHours, 1.0), Some(Quantity::Joules(3.6e6)));
    }

    #[tokio::test]
    async fn the_contract_holds() {
        for (body, figures) in [
            ("node_rapl_package_joules_total{index=\"0\"} 5\n", true),
            ("ipmi_dcmi_power_consumption_watts{id=\"1\"} 240\n", true),
            ("up 1\n", false),
            ("{{{", false),
        ] {
            let client = super::super::http::tests::client_of(body);
            let options = toml::from_str("name = 'a'\nhost = 'b'\nurl = 'http://c'").unwrap();
            let mut device = Prometheus::new(&options, client);
            let given = super::super::contract::device_holds(&mut device).await;
            assert_eq!(given > 0, figures, "{body}");
        }
    }
}
