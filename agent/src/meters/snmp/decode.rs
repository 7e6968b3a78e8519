//! Columns of SNMP values to readings with units. No I/O, no state.
//!
//! A PDU tells what it does not know as -1, as a missing object, as text
//! ("notsupported") or as nonsense. All of that is unknown here, with the
//! reason; a figure that comes out is finite, not negative and below what one
//! PDU can carry.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::oids::{Column, Table};

/// More than any one PDU carries (three phases of 63 A at 400 V are 44 kW).
pub const MAX_WATTS: f64 = 100_000.0;
/// No PDU shows more places than this.
const MAX_DIGITS: i64 = 6;

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Outlet,
    Phase,
    Device,
}

/// One outlet, one phase, or the whole device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub level: Level,
    /// The index in the vendor's table. Leading parts that are all 1 (the only
    /// PDU of a chain, its only cord) are left out.
    index: Vec<u64>,
}

impl Place {
    pub fn new(level: Level, index: &[u64]) -> Place {
        let short = match index {
            // A scalar has index 0, the only row of a table 1.
            parts if level == Level::Device && parts.iter().all(|part| *part <= 1) => vec![1],
            [leading @ .., last] if leading.iter().all(|part| *part == 1) => vec![*last],
            parts => parts.to_vec(),
        };
        Place { level, index: short }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.level {
            Level::Outlet => "outlet",
            Level::Phase => "phase",
            Level::Device if self.index == [1] => return f.write_str("device"),
            Level::Device => "device",
        };
        let index: Vec<String> = self.index.iter().map(u64::to_string).collect();
        write!(f, "{name}-{}", index.join("."))
    }
}

/// As written in the gateway's file: `7`, `outlet-7`, `1.2.7`, `phase-1`, `device`.
impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (level, index) = match text.split_once('-') {
            Some(("outlet", index)) => (Level::Outlet, index),
            Some(("phase", index)) => (Level::Phase, index),
            Some(("device", index)) => (Level::Device, index),
            None if text == "device" => (Level::Device, "1"),
            _ => (Level::Outlet, text),
        };
        let parts: Result<Vec<u64>, _> = index.split('.').map(str::parse).collect();
        let parts = parts.map_err(|_| {
            format!("{text:?} is no outlet; write \"7\", \"1.2.7\", \"phase-1\" or \"device\"")
        })?;
        Ok(Place::new(level, &parts))
    }
}

/// A value from the network, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(i64),
    Oid(Vec<u64>),
    /// Text, nothing, or a type that holds no figure.
    Other,
}

/// One column: index below the column's OID to value.
pub type Cells = BTreeMap<Vec<u64>, Value>;

/// What a PDU says about one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub place: Place,
    pub power_watts: Result<f64, Unknown>,
    pub energy: Option<Energy>,
}

/// The raw state of an energy counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Energy {
    pub steps: u64,
    pub joules_per_step: f64,
}

/// Why a figure is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("the PDU answers with a negative figure: not measured")]
    Negative,
    #[error("the PDU's answer is no figure")]
    NoFigure,
    #[error("the PDU's figure is more than a PDU can carry")]
    Implausible,
}

/// The points of one table. `cells` finds a column that was walked.
pub fn points<'a>(table: &Table, cells: impl Fn(&[u64]) -> Option<&'a Cells>) -> Vec<Point> {
    let Some(powers) = cells(table.power.oid) else { return Vec::new() };
    let mut points = BTreeMap::new();
    for (index, value) in powers {
        let Some(place) = place(table.level, &table.power, index) else { continue };
        let power_watts = watts(value, table.power.unit, divisor(&table.power, &cells, index));
        let energy = table.energy.as_ref().and_then(|column| {
            let index = energy_index(column, index);
            let value = cells(column.oid)?.get(&index)?;
            energy(value, column.unit / divisor(column, &cells, &index)?)
        });
        points.entry(place.clone()).or_insert(Point { place, power_watts, energy });
    }
    points.into_values().collect()
}

fn place(level: Level, column: &Column, index: &[u64]) -> Option<Place> {
    let index = match column.sensor {
        None => index,
        Some(kind) => {
            let (last, rest) = index.split_last()?;
            (*last == kind).then_some(rest)?
        }
    };
    (!index.is_empty()).then(|| Place::new(level, index))
}

fn energy_index(column: &Column, index: &[u64]) -> Vec<u64> {
    let mut index = index.to_vec();
    if let (Some(kind), Some(last)) = (column.sensor, index.last_mut()) {
        *last = kind;
    }
    index
}

/// Where the decimal point is: what a figure is to be divided by. None: the
/// device moves the point, and where to is not known.
fn divisor<'a>(
    column: &Column,
    cells: &impl Fn(&[u64]) -> Option<&'a Cells>,
    index: &[u64],
) -> Option<f64> {
    let Some(digits) = column.digits else { return Some(1.0) };
    match cells(digits)?.get(index)? {
        Value::Number(places @ 0..=MAX_DIGITS) => Some(10f64.powi(*places as i32)),
        _ => None,
    }
}

fn watts(value: &Value, unit: f64, divisor: Option<f64>) -> Result<f64, Unknown> {
    let (Value::Number(number), Some(divisor)) = (value, divisor) else {
        return Err(Unknown::NoFigure);
    };
    if *number < 0 {
        return Err(Unknown::Negative);
    }
    let watts = *number as f64 * unit / divisor;
    if watts > MAX_WATTS {
        return Err(Unknown::Implausible);
    }
    Ok(watts)
}

fn energy(value: &Value, joules_per_step: f64) -> Option<Energy> {
    match value {
        Value::Number(number) => {
            Some(Energy { steps: u64::try_from(*number).ok()?, joules_per_step })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::oids::VENDORS;
    use super::*;
    use proptest::prelude::*;

    fn table(vendor: usize, oid: &[u64]) -> &'static Table {
        VENDORS[vendor].tables.iter().find(|table| table.power.oid == oid).unwrap()
    }

    fn cells(values: &[(&[u64], i64)]) -> Cells {
        values.iter().map(|(index, value)| (index.to_vec(), Value::Number(*value))).collect()
    }

    #[test]
    fn the_decimal_point_of_a_raritan_is_where_it_says() {
        let table = &VENDORS[1].tables[0];
        let values = cells(&[(&[1, 7, 1], 532), (&[1, 7, 5], 1043), (&[1, 7, 8], 98_765)]);
        let digits = cells(&[(&[1, 7, 5], 1), (&[1, 7, 8], 0)]);
        let both = |oid: &[u64]| {
            if oid == table.power.oid {
                Some(&values)
            } else {
                Some(&digits)
            }
        };
        let found = points(table, both);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place.to_string(), "outlet-7");
        assert_eq!(found[0].power_watts, Ok(104.3));
        assert_eq!(found[0].energy, Some(Energy { steps: 98_765, joules_per_step: 3600.0 }));
        let without = points(table, |oid| (oid == table.power.oid).then_some(&values));
        assert_eq!(without[0].power_watts, Err(Unknown::NoFigure), "the point could be anywhere");
    }

    #[test]
    fn minus_one_and_text_are_unknown_and_never_zero() {
        let table = table(0, &[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 5]);
        for (value, unknown) in [
            (Value::Number(-1), Unknown::Negative),
            (Value::Other, Unknown::NoFigure),
            (Value::Number(i64::MAX), Unknown::Implausible),
        ] {
            let column = Cells::from([(vec![1], value)]);
            let found = points(table, |oid| (oid == table.power.oid).then_some(&column));
            assert_eq!(found[0].power_watts, Err(unknown));
            assert_eq!(found[0].place.to_string(), "device");
        }
    }

    #[test]
    fn an_outlet_can_be_written_in_each_way_that_a_person_would() {
        for (written, shown) in [
            ("7", "outlet-7"),
            ("outlet-7", "outlet-7"),
            ("1.1.7", "outlet-7"),
            ("1.2.7", "outlet-1.2.7"),
            ("phase-2", "phase-2"),
            ("device", "device"),
            ("device-1.1", "device"),
            ("device-1.2", "device-2"),
        ] {
            assert_eq!(written.parse::<Place>().unwrap().to_string(), shown, "{written}");
        }
        for wrong in ["", "left", "outlet-", "7a", "-1", "1..2", "bank-1"] {
            assert!(wrong.parse::<Place>().unwrap_err().contains("\"phase-1\""), "{wrong}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Number),
            (-2i64..5000).prop_map(Value::Number),
            Just(Value::Other),
            prop::collection::vec(any::<u64>(), 0..4).prop_map(Value::Oid),
        ]
    }

    fn any_cells() -> impl Strategy<Value = Cells> {
        let index = prop::collection::vec(prop_oneof![0u64..30, any::<u64>()], 0..5);
        prop::collection::btree_map(index, any_value(), 0..20)
    }

    proptest! {
        /// Whatever a device answers: figures are figures, and places are unique.
        #[test]
        fn no_answer_makes_an_absurd_figure(power in any_cells(), other in any_cells()) {
            for table in VENDORS.iter().flat_map(|vendor| vendor.tables) {
                let found = points(table, |oid| if oid == table.power.oid { Some(&power) } else { Some(&other) });
                let names: std::collections::HashSet<String> = found.iter().map(|point| point.place.to_string()).collect();
                prop_assert_eq!(names.len(), found.len());
                for point in &found {
                    if let Ok(watts) = point.power_watts {
                        prop_assert!(watts.is_finite() && (0.0..=MAX_WATTS).contains(&watts));
                    }
                    prop_assert_eq!(point.place.to_string().parse::<Place>().unwrap(), point.place.clone());
                }
            }
        }

        #[test]
        fn no_text_makes_a_place_panic(text in ".{0,40}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            }
        }
    }
}
