//! No power meter at all: one row says so, and what was looked for.

use std::sync::Arc;

use super::{Finding, Meter};
use crate::wire::MeterRow;

pub struct NoMeter {
    reason: Arc<str>,
}

impl NoMeter {
    pub fn new(looked: String) -> NoMeter {
        NoMeter { reason: format!("no power meter: {looked}").into() }
    }
}

impl Meter for NoMeter {
    fn name(&self) -> &'static str {
        "none"
    }

    fn read(&mut self, interval: Option<f64>) -> Vec<MeterRow> {
        let row = |interval_seconds| MeterRow {
            interval_seconds,
            meter: "none".into(),
            zone: "node".into(),
            reason: Some(self.reason.clone()),
            ..Default::default()
        };
        interval.map(row).into_iter().collect()
    }

    fn finding(&self) -> Finding {
        Finding::Missing(self.reason.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{contract, detect};
    use super::*;
    use crate::procfs::Proc;

    #[test]
    fn it_holds_the_contract() {
        contract::holds(&mut NoMeter::new("nothing".into()));
    }

    #[test]
    fn a_node_without_a_meter_says_what_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let mut meters = detect(&Proc::new(root.path()), root.path(), 100.0);
        let rows: Vec<_> = meters.iter_mut().flat_map(|meter| meter.read(Some(2.0))).collect();
        let row = rows.iter().find(|row| &*row.meter == "none").unwrap();
        let reason = row.reason.as_deref().unwrap();
        assert!(reason.contains("RAPL") && reason.contains("hwmon"), "{reason}");
    }
}
