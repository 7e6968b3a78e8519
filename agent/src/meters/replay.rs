//! A recorded log, played again: one recorded row per interval.
//!
//! Every row carries the meter `replay` and says so in its reason, so that
//! nobody takes it for a measurement of today. The gateway's schedule is the
//! clock: each poll plays the next row, whatever time lay between the rows.
//! Two forms are read: CSV with a head line (`watts` or `joules`, and
//! `zone` if there are several), and the log of PTDaemon as MLPerf keeps it
//! (`Time,...,Watts,804.9,...`).

use std::fs;
use std::sync::Arc;

use super::Tier;
use crate::config::endpoint::ReplayOptions;
use crate::config::ConfigError;
use crate::gateway::{Device, Poll, PollError, Reading};
use crate::wire::MeterRow;

const METER: &str = "replay";
const MAX_LOG_BYTES: u64 = 64 << 20;
/// More than any one machine draws.
const MAX_WATTS: f64 = 1e6;

/// One recorded row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    zone: Option<Arc<str>>,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Watts(f64),
    Joules(f64),
    /// The recorder had no figure.
    Unknown,
}

/// One log of the gateway's file.
pub struct Replay {
    name: String,
    host: Arc<str>,
    repeat: bool,
    /// Rows of one moment stand together.
    moments: Vec<Vec<Recorded>>,
    next: usize,
}

impl Replay {
    /// Reads the whole log.
    pub fn open(
        options: &ReplayOptions,
        at: &impl Fn(&str) -> String,
    ) -> Result<Replay, ConfigError> {
        let wrong = |problem: String| {
            let problem = format!("{}: {problem}", options.path.display());
            ConfigError::new(&at("path"), &problem, "give a CSV file with the columns timestamp and watts or joules, or a log of PTDaemon")
        };
        let size = fs::metadata(&options.path).map_err(|error| wrong(error.to_string()))?.len();
        if size > MAX_LOG_BYTES {
            return Err(wrong("is larger than 64 MiB".into()));
        }
        let text = fs::read_to_string(&options.path).map_err(|error| wrong(error.to_string()))?;
        let moments = read(&text).map_err(wrong)?;
        Ok(Replay {
            name: options.name.clone(),
            host: options.host.as_str().into(),
            repeat: options.repeat,
            moments,
            next: 0,
        })
    }

    fn row(&self, interval: f64, zone: Option<&str>) -> MeterRow {
        let zone = zone.map_or(self.name.clone(), |zone| format!("{}/{zone}", self.name));
        MeterRow {
            interval_seconds: interval,
            meter: METER.into(),
            zone: zone.into(),
            ..Default::default()
        }
    }

    fn play(&self, recorded: &Recorded, interval: f64) -> Reading {
        let mut row = self.row(interval, recorded.zone.as_deref());
        row.reason = super::text("replayed from a recorded log, not measured now");
        let watts = match recorded.value {
            Value::Watts(watts) => Some(watts),
            Value::Joules(joules) => Some(joules / interval),
            Value::Unknown => None,
        };
        if let Some(watts) = watts {
            row.power_watts = Some(watts);
            row.energy_joules = Some(watts * interval);
            row.tier = super::text(Tier::Wall.as_str());
        }
        Reading { host: Some(self.host.clone()), row }
    }

    fn step(&mut self, interval: Option<f64>) -> Result<Vec<Reading>, PollError> {
        if self.next == self.moments.len() && self.repeat {
            self.next = 0;
        }
        let Some(interval) = interval.filter(|seconds| *seconds > 0.0) else {
            return Ok(Vec::new());
        };
        let moment = self.moments.get(self.next).ok_or_else(|| {
            PollError("the log is at its end; set loop = true to start again".into())
        })?;
        let rows = moment.iter().map(|recorded| self.play(recorded, interval)).collect();
        self.next += 1;
        Ok(rows)
    }
}

impl Device for Replay {
    fn name(&self) -> &str {
        &self.name
    }

    fn meter(&self) -> &'static str {
        METER
    }

    fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
        let outcome = self.step(interval);
        Box::pin(async move { outcome })
    }

    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        let row = MeterRow { reason: Some(reason.into()), ..self.row(interval, None) };
        vec![Reading { host: Some(self.host.clone()), row }]
    }
}

/// Rows of a log, those of one moment together.
pub(crate) fn read(text: &str) -> Result<Vec<Vec<Recorded>>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, head)) = lines.clone().next() else { return Err("is empty".into()) };
    let moments = if head.starts_with("Time,") && head.contains(",Watts,") {
        lines.map(|(_, line)| vec![ptdaemon(line)]).collect()
    } else {
        lines.next();
        csv(head, lines)?
    };
    match moments.iter().flatten().any(|row: &Recorded| row.value != Value::Unknown) {
        true => Ok(moments),
        false => Err("holds no figure".into()),
    }
}

/// `Time,<when>,Watts,<total>,...,Ch1,Watts,...`: the first pair is the total.
fn ptdaemon(line: &str) -> Recorded {
    let mut fields = line.split(',');
    let found = fields.any(|field| field == "Watts");
    let value = fields.next().filter(|_| found);
    Recorded { zone: None, value: figure(value, Value::Watts) }
}

fn csv<'a>(
    head: &str,
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> Result<Vec<Vec<Recorded>>, String> {
    let columns: Vec<&str> = head.split(',').map(str::trim).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let time = column("timestamp").ok_or("line 1 names no column timestamp")?;
    let (value, unit): (usize, fn(f64) -> Value) = match (column("watts"), column("joules")) {
        (Some(watts), None) => (watts, Value::Watts),
        (None, Some(joules)) => (joules, Value::Joules),
        _ => return Err("line 1 must name one of the columns watts and joules".into()),
    };
    let zone = column("zone");
    let mut moments: Vec<Vec<Recorded>> = Vec::new();
    let mut last = None;
    for (number, line) in lines {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != columns.len() {
            return Err(format!("line {} has {} fields", number + 1, fields.len()));
        }
        let name = zone.map(|zone| fields[zone]).filter(|name| !name.is_empty());
        let row =
            Recorded { zone: name.map(Arc::from), value: figure(fields.get(value).copied(), unit) };
        match moments.last_mut().filter(|_| last == Some(fields[time])) {
            Some(moment) if moment.iter().any(|other| other.zone == row.zone) => {
                return Err(format!("line {} repeats a zone of its moment", number + 1))
            }
            Some(moment) => moment.push(row),
            None => moments.push(vec![row]),
        }
        last = Some(fields[time]);
    }
    Ok(moments)
}

fn figure(text: Option<&str>, unit: fn(f64) -> Value) -> Value {
    let number = text.and_then(|text| text.trim().parse::<f64>().ok());
    number.filter(|number| (0.0..=MAX_WATTS).contains(number)).map_or(Value::Unknown, unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replay(text: &str, repeat: bool) -> Replay {
        let moments = read(text).unwrap();
        Replay { name: "lab".into(), host: "node-a".into(), repeat, moments, next: 0 }
    }

    #[test]
    fn a_log_is_played_row_by_row_and_marked() {
        let text = "timestamp,zone,watts\n1,a,100\n1,b,50\n2,a,\n";
        let mut meter = replay(text, false);
        assert_eq!(meter.step(None), Ok(Vec::new()));
        let rows = meter.step(Some(2.0)).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((&*rows[0].row.meter, &*rows[0].row.zone), ("replay", "lab/a"));
        assert_eq!(rows[0].row.energy_joules, Some(200.0));
        assert!(rows[0].row.reason.as_deref().unwrap().contains("not measured now"));
        let rows = meter.step(Some(2.0)).unwrap();
        assert_eq!((rows.len(), rows[0].row.power_watts), (1, None));
        assert!(meter.step(Some(2.0)).unwrap_err().0.contains("loop = true"));
        let mut again = replay(text, true);
        (0..2).for_each(|_| drop(again.step(Some(2.0)).unwrap()));
        assert_eq!(again.step(Some(2.0)).unwrap()[0].row.power_watts, Some(100.0));
    }

    #[tokio::test]
    async fn the_contract_holds() {
        let text = "timestamp,zone,joules\n1,a,100\n1,b,50\n2,a,\n";
        // Two rows of energy and power, one of neither.
        assert_eq!(super::super::contract::device_holds(&mut replay(text, true)).await, 4);
    }

    #[test]
    fn a_line_of_ptdaemon_gives_the_total() {
        let line = "Time,07-24-2024 07:29:14.188,Watts,2407.700000,Volts,239.15,Ch1,Watts,804.9\n";
        let row = replay(line, true).step(Some(1.0)).unwrap().remove(0).row;
        assert_eq!((row.power_watts, row.energy_joules), (Some(2407.7), Some(2407.7)));
    }

    #[test]
    fn a_log_that_is_none_says_which_line() {
        for (text, words) in [
            ("", "empty"),
            ("a,b\n1,2\n", "timestamp"),
            ("timestamp,volts\n1,2\n", "watts and joules"),
            ("timestamp,watts\n1,2,3\n", "line 2 has 3 fields"),
            ("timestamp,watts\n1,x\n", "no figure"),
            ("timestamp,watts\n1,1\n1,2\n", "line 3 repeats"),
        ] {
            assert!(read(text).unwrap_err().contains(words), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_played_without_nonsense(text in "(timestamp,(zone,)?(watts|joules)\n)?[a-zT,\n0-9.e-]{0,120}") {
            for row in read(&text).unwrap_or_default().into_iter().flatten() {
                if let Value::Watts(value) | Value::Joules(value) = row.value {
                    prop_assert!(value >= 0.0 && value.is_finite());
                }
            }
        }
    }
}
