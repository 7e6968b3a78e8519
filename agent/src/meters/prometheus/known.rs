//! Metrics of well-known exporters, as they name them.

use crate::config::endpoint::{MetricOptions, MetricTier, MetricUnit};
use crate::meters::Tier;

/// What a metric means.
#[derive(Debug, Clone)]
pub struct Meaning {
    pub metric: String,
    pub unit: MetricUnit,
    pub tier: Tier,
    /// The labels whose values make the zone.
    pub zone_labels: Vec<String>,
    pub host_label: Option<String>,
}

/// Metric, unit, tier, labels of the zone. Node level only: what exporters
/// attribute to pods and processes is their guess, and ours comes from the rows.
const KNOWN: [(&str, MetricUnit, Tier, &[&str]); 12] = [
    ("kepler_node_package_joules_total", MetricUnit::Joules, Tier::OnDie, &["package"]),
    ("kepler_node_core_joules_total", MetricUnit::Joules, Tier::OnDie, &["package"]),
    ("kepler_node_dram_joules_total", MetricUnit::Joules, Tier::OnDie, &["package"]),
    ("kepler_node_platform_joules_total", MetricUnit::Joules, Tier::OnDie, &["source"]),
    ("kepler_node_cpu_joules_total", MetricUnit::Joules, Tier::OnDie, &["zone", "path"]),
    ("scaph_host_power_microwatts", MetricUnit::Microwatts, Tier::OnDie, &[]),
    ("scaph_socket_power_microwatts", MetricUnit::Microwatts, Tier::OnDie, &["socket_id"]),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", MetricUnit::Millijoules, Tier::OnDie, &["UUID"]),
    ("ipmi_dcmi_power_consumption_watts", MetricUnit::Watts, Tier::Bmc, &["id"]),
    ("node_rapl_package_joules_total", MetricUnit::Joules, Tier::OnDie, &["index"]),
    ("node_rapl_dram_joules_total", MetricUnit::Joules, Tier::OnDie, &["index"]),
    ("node_rapl_psys_joules_total", MetricUnit::Joules, Tier::OnDie, &["index"]),
];

/// The well-known metrics, with those of the file in their place where both exist.
pub fn meanings(own: &[MetricOptions]) -> Vec<Meaning> {
    let known = KNOWN.iter().map(|(metric, unit, tier, labels)| Meaning {
        metric: (*metric).to_owned(),
        unit: *unit,
        tier: *tier,
        zone_labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        host_label: None,
    });
    let replaced = |meaning: &Meaning| own.iter().any(|own| own.metric == meaning.metric);
    let own = own.iter().map(|own| Meaning {
        metric: own.metric.clone(),
        unit: own.unit,
        tier: match own.tier {
            MetricTier::OnDie => Tier::OnDie,
            MetricTier::Bmc => Tier::Bmc,
            MetricTier::Wall => Tier::Wall,
        },
        zone_labels: own.zone_label.clone().into_iter().collect(),
        host_label: own.host_label.clone(),
    });
    known.filter(|meaning| !replaced(meaning)).chain(own).collect()
}

/// What a value of a unit is, in base units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quantity {
    /// Of a counter.
    Joules(f64),
    Watts(f64),
    Celsius(f64),
}

/// None for a value that the unit can't have.
pub fn quantity(unit: MetricUnit, value: f64) -> Option<Quantity> {
    if unit == MetricUnit::Celsius {
        return (-273.0..1000.0).contains(&value).then_some(Quantity::Celsius(value));
    }
    // Of kilowatt hours, some are more joules than a float holds.
    (value >= 0.0 && (value * 3.6e6).is_finite()).then_some(match unit {
        MetricUnit::Joules => Quantity::Joules(value),
        MetricUnit::Millijoules => Quantity::Joules(value / 1e3),
        MetricUnit::Microjoules => Quantity::Joules(value / 1e6),
        MetricUnit::KilowattHours => Quantity::Joules(value * 3.6e6),
        MetricUnit::Watts => Quantity::Watts(value),
        MetricUnit::Milliwatts => Quantity::Watts(value / 1e3),
        MetricUnit::Microwatts | MetricUnit::Celsius => Quantity::Watts(value / 1e6),
    })
}
