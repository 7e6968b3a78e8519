//! From Redfish documents to figures. Pure: every document may be anything.

use serde_json::Value;

/// More than any one machine draws.
const MAX_WATTS: f64 = 100_000.0;
const JOULES_PER_KILOWATT_HOUR: f64 = 3.6e6;

/// What a chassis says at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    pub power_watts: Option<f64>,
    /// Counter, since some moment of the past.
    pub energy_joules: Option<f64>,
    pub temp_c: Option<f64>,
    /// Why there is no power.
    pub problem: Option<String>,
}

impl Observation {
    pub fn is_known(&self) -> bool {
        self.power_watts.is_some() || self.energy_joules.is_some()
    }

    /// `other`, with this one's temperature where it has none.
    pub fn or(self, other: Observation) -> Observation {
        Observation {
            temp_c: other.temp_c.or(self.temp_c),
            problem: other.problem.or(self.problem),
            ..other
        }
    }
}

/// Paths of a collection's members, below `/redfish/` only.
pub fn members(collection: &Value, most: usize) -> Vec<String> {
    let members = collection.get("Members").and_then(Value::as_array);
    members.into_iter().flatten().filter_map(path).take(most).collect()
}

/// The path that `document` links to as `name`.
pub fn link(document: &Value, name: &str) -> Option<String> {
    document.get(name).and_then(path)
}

fn path(reference: &Value) -> Option<String> {
    let path = reference.get("@odata.id")?.as_str()?;
    let safe = path.starts_with("/redfish/")
        && path.len() < 512
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    safe.then(|| path.trim_end_matches('/').to_owned())
}

/// A bay without a supply.
pub fn is_absent(document: &Value) -> bool {
    document.pointer("/Status/State").and_then(Value::as_str) == Some("Absent")
}

/// EnvironmentMetrics of a chassis.
pub fn environment(document: &Value) -> Observation {
    let power_watts = watts(document.pointer("/PowerWatts/Reading"));
    Observation {
        power_watts,
        energy_joules: energy(document),
        temp_c: celsius(document.pointer("/TemperatureCelsius/Reading")),
        problem: power_watts.is_none().then(|| "EnvironmentMetrics has no PowerWatts".into()),
    }
}

/// Metrics of all supplies that are there: one unknown makes the sum unknown.
pub fn supplies(metrics: &[Value]) -> Observation {
    if metrics.is_empty() {
        return Observation::default();
    }
    let power = metrics.iter().map(|one| watts(one.pointer("/InputPowerWatts/Reading")));
    let power_watts = power.sum::<Option<f64>>();
    Observation {
        power_watts,
        energy_joules: metrics.iter().map(energy).sum::<Option<f64>>(),
        temp_c: None,
        problem: power_watts.is_none().then(|| "a supply has no InputPowerWatts".into()),
    }
}

/// The older Power: the first PowerControl is the whole chassis.
pub fn power(document: &Value) -> Observation {
    let power_watts = watts(document.pointer("/PowerControl/0/PowerConsumedWatts"));
    let problem = power_watts.is_none().then(|| "Power has no PowerConsumedWatts".into());
    Observation { power_watts, problem, ..Default::default() }
}

/// The hottest CPU of the older Thermal.
pub fn thermal(document: &Value) -> Option<f64> {
    let sensors = document.get("Temperatures").and_then(Value::as_array)?;
    let cpu = sensors.iter().filter(|sensor| {
        sensor.get("PhysicalContext").and_then(Value::as_str) == Some("CPU") && !is_absent(sensor)
    });
    cpu.filter_map(|sensor| celsius(sensor.get("ReadingCelsius"))).reduce(f64::max)
}

fn energy(document: &Value) -> Option<f64> {
    let number = |path: &str| document.pointer(path).and_then(Value::as_f64);
    let joules = number("/EnergyJoules/Reading");
    let joules =
        joules.or_else(|| number("/EnergykWh/Reading").map(|kwh| kwh * JOULES_PER_KILOWATT_HOUR));
    joules.filter(|joules| *joules >= 0.0 && joules.is_finite())
}

/// Some BMCs say 0 while the sensor warms up or the machine is off; a machine
/// that answers draws something, so 0 is not known to be true.
fn watts(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_f64).filter(|watts| *watts > 0.0 && *watts <= MAX_WATTS)
}

fn celsius(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_f64).filter(|celsius| (-50.0..=200.0).contains(celsius))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn joules_are_preferred_to_kilowatt_hours_and_null_is_unknown() {
        let seen = environment(&json!({
            "PowerWatts": {"Reading": 374}, "EnergykWh": {"Reading": 2},
            "TemperatureCelsius": {"Reading": 39}
        }));
        assert_eq!((seen.power_watts, seen.energy_joules), (Some(374.0), Some(7.2e6)));
        assert_eq!(seen.temp_c, Some(39.0));
        let seen = environment(
            &json!({"EnergykWh": {"Reading": 2}, "EnergyJoules": {"Reading": 7_200_500}}),
        );
        assert_eq!(seen.energy_joules, Some(7_200_500.0));
        let seen = environment(&json!({"PowerWatts": {"Reading": null}}));
        assert!(!seen.is_known() && seen.problem.is_some());
        let seen = power(&json!({"PowerControl": [{"PowerConsumedWatts": 344}]}));
        assert_eq!(seen.power_watts, Some(344.0));
    }

    #[test]
    fn one_silent_supply_makes_the_sum_unknown() {
        let one = json!({"InputPowerWatts": {"Reading": 100.0}});
        assert_eq!(supplies(&[one.clone(), one.clone()]).power_watts, Some(200.0));
        assert_eq!(supplies(&[one, json!({})]).power_watts, None);
        assert!(!supplies(&[]).is_known());
    }

    #[test]
    fn links_stay_on_the_service() {
        for (target, follows) in [
            ("/redfish/v1/Chassis/1U/", true),
            ("https://evil.example/redfish/v1", false),
            ("/redfish/v1/Chassis/1U#/x", false),
            ("/etc/passwd", false),
            ("/redfish/v1\r\nX: y", false),
        ] {
            assert_eq!(link(&json!({"a": {"@odata.id": target}}), "a").is_some(), follows);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = "(PowerWatts|Reading|EnergykWh|PowerControl|Members|@odata.id|Temperatures|x)";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<f64>().prop_map(|n| json!(n)),
            any::<i64>().prop_map(|n| json!(n)),
            ".{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((keys, inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_document_gives_a_nonsense_figure(document in any_json()) {
            for seen in [environment(&document), power(&document), supplies(std::slice::from_ref(&document))] {
                for value in [seen.power_watts, seen.energy_joules].into_iter().flatten() {
                    prop_assert!(value >= 0.0 && value.is_finite());
                }
            }
            thermal(&document);
            prop_assert!(members(&document, 3).len() <= 3);
        }
    }
}
