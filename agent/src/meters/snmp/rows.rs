//! From what a PDU says to rows of the nodes that hang on it.
//!
//! - A mapped outlet always has a row; where the PDU says nothing about it,
//!   the row says so.
//! - What is not mapped is filed under the gateway, at the finest level that
//!   is measured only: a device contains its phases, they contain outlets.
//! - Power is the PDU's gauge. Its energy counter steps by 3,600 or 360,000
//!   joules; a difference of it is energy of the interval only where one step
//!   is at most `MAX_STEP_SHARE` of it. Else `energy_joules` is NULL: a row of
//!   zeros and then one of 0.1 kWh would be wrong in every interval.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::decode::{Energy, Level, Place, Point, MAX_WATTS};
use crate::gateway::Reading;
use crate::meters::counter::Counter;
use crate::meters::Tier;
use crate::wire::MeterRow;

pub const METER: &str = "snmp";
/// The error that one step may make: what a row of tier `wall` is taken to be
/// good for (TIER_BOUNDS in analyze/node_power.py).
const MAX_STEP_SHARE: f64 = 0.02;
/// The counters are 32 bits wide in every MIB that is read.
const COUNTER_RANGE: Option<u64> = Some(u32::MAX as u64);

/// Makes the rows of one PDU and keeps its counters.
pub struct Rows {
    device: String,
    hosts: HashMap<Place, Arc<str>>,
    counters: HashMap<Place, Counter>,
}

impl Rows {
    pub fn new(device: &str, hosts: HashMap<Place, Arc<str>>) -> Rows {
        Rows { device: device.to_owned(), hosts, counters: HashMap::new() }
    }

    /// Whether a node hangs on a place of this level.
    pub fn wants(&self, level: Level) -> bool {
        self.hosts.keys().any(|place| place.level == level)
    }

    /// Rows for the `interval` that ends now; none without one.
    pub fn make(&mut self, points: Vec<Point>, interval: Option<f64>) -> Vec<Reading> {
        let finest = finest(&points);
        let mut rows = Vec::new();
        let mut seen = HashSet::new();
        for point in points {
            let host = self.hosts.get(&point.place).cloned();
            let filed = host.is_some() || finest == Some(point.place.level);
            seen.insert(point.place.clone());
            if filed {
                let row = self.row(&point, interval);
                rows.extend(row.map(|row| Reading { host, row }));
            }
        }
        self.counters.retain(|place, _| seen.contains(place));
        let Some(seconds) = interval else { return rows };
        let measured = match finest {
            Some(Level::Outlet) => "the PDU has no such outlet",
            _ => "the PDU does not measure outlets: map a phase or \"device\" where one node hangs on it alone",
        };
        rows.extend(
            self.targets(|place| !seen.contains(place))
                .map(|(place, host)| self.unknown(place, host, seconds, measured)),
        );
        rows
    }

    /// A row for each node, that says why nothing is known.
    pub fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        self.counters.values_mut().for_each(Counter::forget);
        let mut rows: Vec<Reading> = self
            .targets(|_| true)
            .map(|(place, host)| self.unknown(place, host, interval, reason))
            .collect();
        if rows.is_empty() {
            rows.push(Reading { host: None, row: self.empty("device", interval, reason) });
        }
        rows
    }

    fn targets<'a>(
        &'a self,
        wanted: impl Fn(&Place) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Place, &'a Arc<str>)> {
        self.hosts.iter().filter(move |(place, _)| wanted(place))
    }

    fn unknown(&self, place: &Place, host: &Arc<str>, seconds: f64, reason: &str) -> Reading {
        Reading { host: Some(host.clone()), row: self.empty(&place.to_string(), seconds, reason) }
    }

    fn empty(&self, place: &str, interval: f64, reason: &str) -> MeterRow {
        MeterRow {
            interval_seconds: interval,
            meter: METER.into(),
            zone: format!("{}/{place}", self.device).into(),
            tier: Some(Tier::Wall.as_str().into()),
            reason: Some(reason.into()),
            ..Default::default()
        }
    }

    fn row(&mut self, point: &Point, interval: Option<f64>) -> Option<MeterRow> {
        let energy = self.energy(point, interval);
        let mut row = self.empty(&point.place.to_string(), interval?, "");
        row.energy_joules = energy.as_ref().ok().copied();
        row.power_watts = point.power_watts.ok();
        row.reason = match (&point.power_watts, energy) {
            (_, Ok(_)) => None,
            (Ok(_), Err(why)) => Some(why.into()),
            (Err(unknown), Err(why)) => Some(format!("{unknown}; {why}").into()),
        };
        Some(row)
    }

    fn energy(&mut self, point: &Point, interval: Option<f64>) -> Result<f64, String> {
        let Some(Energy { steps, joules_per_step }) = point.energy else {
            self.counters.remove(&point.place);
            return Err("the PDU gives power, not energy".into());
        };
        let fresh = || Counter::stepping(joules_per_step, MAX_WATTS);
        let counter = self.counters.entry(point.place.clone()).or_insert_with(fresh);
        let joules = counter
            .advance(steps, COUNTER_RANGE, interval.unwrap_or(0.0))
            .map_err(|unknown| format!("energy: {unknown}"))?;
        if joules * MAX_STEP_SHARE < joules_per_step {
            return Err(format!(
                "the energy counter steps by {joules_per_step} J, too coarse for this interval: power is the PDU's gauge"
            ));
        }
        Ok(joules)
    }
}

/// The finest level at which some power is known.
fn finest(points: &[Point]) -> Option<Level> {
    points.iter().filter(|point| point.power_watts.is_ok()).map(|point| point.place.level).min()
}

#[cfg(test)]
mod tests {
    use super::super::decode::Unknown;
    use super::*;
    use crate::meters::contract;

    fn point(place: &str, watts: Result<f64, Unknown>, steps: Option<u64>, step: f64) -> Point {
        let energy = steps.map(|steps| Energy { steps, joules_per_step: step });
        Point { place: place.parse().unwrap(), power_watts: watts, energy }
    }

    fn rows(outlets: &[(&str, &str)]) -> Rows {
        let hosts = outlets.iter().map(|(place, host)| (place.parse().unwrap(), (*host).into()));
        Rows::new("pdu-a", hosts.collect())
    }

    fn only(readings: Vec<Reading>) -> Reading {
        assert_eq!(readings.len(), 1, "{readings:?}");
        readings.into_iter().next().unwrap()
    }

    #[test]
    fn mapped_outlets_go_to_their_node_and_the_rest_to_the_gateway() {
        let mut rows = rows(&[("1", "node-a"), ("2", "node-a"), ("9", "node-b")]);
        let points: Vec<Point> = ["1", "2", "3", "device"]
            .iter()
            .map(|place| point(place, Ok(100.0), None, 0.0))
            .collect();
        assert!(rows.make(points.clone(), None).is_empty());
        let mut found: Vec<(String, Option<String>, Option<f64>)> = rows
            .make(points, Some(30.0))
            .into_iter()
            .map(|r| (r.row.zone.to_string(), r.host.map(|h| h.to_string()), r.row.power_watts))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("pdu-a/outlet-1", Some("node-a"), Some(100.0)),
            ("pdu-a/outlet-2", Some("node-a"), Some(100.0)),
            ("pdu-a/outlet-3", None, Some(100.0)),
            ("pdu-a/outlet-9", Some("node-b"), None),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(zone, host, watts)| ((*zone).into(), host.map(Into::into), *watts))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_coarse_counter_gives_no_energy_and_a_fine_one_does() {
        let mut rows = rows(&[]);
        let mut energy = |steps, step: f64| {
            rows.make(vec![point("1", Ok(500.0), Some(steps), step)], Some(60.0)).remove(0).row
        };
        assert!(energy(10, 3600.0).reason.unwrap().contains("first reading"));
        let coarse = energy(19, 3600.0);
        assert_eq!((coarse.energy_joules, coarse.power_watts), (None, Some(500.0)));
        assert!(coarse.reason.unwrap().contains("3600 J"));
        let fine = energy(69, 3600.0);
        assert_eq!(fine.energy_joules, Some(180_000.0), "50 steps are within 2 %");
        // What a real agent answers is held to the same promises in tests/agent.
        assert_eq!(contract::rows_hold(METER, &[fine], 60.0), 2);
        assert_eq!(energy(69, 3600.0).energy_joules, None, "0 may be anything below a step");
        let reset = energy(3, 3600.0);
        assert_eq!((reset.energy_joules, reset.power_watts), (None, Some(500.0)));
        assert!(reset.reason.unwrap().contains("reset"));
    }

    #[test]
    fn a_dead_pdu_says_so_for_each_node_and_forgets_its_counters() {
        let mut rows = rows(&[("1", "node-a")]);
        rows.make(vec![point("1", Ok(5.0), Some(0), 1.0)], None);
        let silent = only(rows.silent(30.0, "no answer"));
        assert_eq!(silent.host.as_deref(), Some("node-a"));
        assert_eq!((silent.row.power_watts, silent.row.energy_joules), (None, None));
        assert_eq!(
            (silent.row.reason.as_deref(), silent.row.tier.as_deref()),
            (Some("no answer"), Some("wall"))
        );
        let after = only(rows.make(vec![point("1", Ok(5.0), Some(900), 1.0)], Some(30.0)));
        assert_eq!(after.row.energy_joules, None, "900 J are of more than this interval");
        let unmapped = only(self::rows(&[]).silent(30.0, "no answer"));
        assert_eq!((unmapped.host, &*unmapped.row.zone), (None, "pdu-a/device"));
    }

    #[test]
    fn an_unmetered_outlet_is_unknown_and_says_what_could_be_mapped() {
        let mut rows = rows(&[("7", "node-a")]);
        let found = rows.make(vec![point("device", Ok(192.0), None, 0.0)], Some(30.0));
        let outlet = found.iter().find(|reading| reading.host.is_some()).unwrap();
        assert_eq!(outlet.row.power_watts, None);
        assert!(outlet.row.reason.as_deref().unwrap().contains("\"device\""));
        assert!(found.iter().any(|r| r.host.is_none() && r.row.power_watts == Some(192.0)));
    }
}
