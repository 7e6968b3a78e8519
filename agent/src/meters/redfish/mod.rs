//! A BMC over Redfish (HTTPS): power and energy of one chassis (tier bmc).
//!
//! From `/redfish/v1/Chassis` the chassis that reports power is found; where
//! more than one does, the file must name one, as adding them up would count
//! a blade and its enclosure twice. The best source wins: EnvironmentMetrics,
//! then the supplies of PowerSubsystem, then PowerControl of the older Power.
//! `decode` turns documents into figures; `energy` decides whether a counter
//! is fine enough for the interval. Only links below `/redfish/` are followed.

pub(crate) mod decode;
pub(crate) mod energy;
mod session;

use std::sync::Arc;

use serde_json::Value;

use super::http::Client;
use super::Tier;
use crate::config::endpoint::RedfishOptions;
use crate::gateway::{Device, Poll, PollError, Reading};
use crate::wire::MeterRow;
use decode::Observation;
use energy::Energy;
use session::LoggedIn;

const METER: &str = "redfish";
const ROOT: &str = "/redfish/v1/Chassis";
const MAX_CHASSIS: usize = 32;
const MAX_SUPPLIES: usize = 16;
const MAX_ERROR_CHARS: usize = 120;

/// One BMC of the gateway's file.
pub struct Redfish {
    name: String,
    host: Arc<str>,
    chassis: Option<String>,
    bmc: LoggedIn,
    energy: Energy,
}

impl Redfish {
    pub fn new(options: &RedfishOptions, client: Client) -> Redfish {
        Redfish {
            name: options.name.clone(),
            host: options.host.as_str().into(),
            chassis: options.chassis.clone(),
            bmc: LoggedIn::new(client),
            energy: Energy::default(),
        }
    }

    fn reading(&self, row: MeterRow) -> Vec<Reading> {
        vec![Reading { host: Some(self.host.clone()), row }]
    }

    fn row(&self, interval: f64) -> MeterRow {
        MeterRow {
            interval_seconds: interval,
            meter: METER.into(),
            zone: self.name.as_str().into(),
            tier: Some(Tier::Bmc.as_str().into()),
            ..Default::default()
        }
    }
}

impl Device for Redfish {
    fn name(&self) -> &str {
        &self.name
    }

    fn meter(&self) -> &'static str {
        METER
    }

    fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
        Box::pin(async move {
            let wanted = self.chassis.clone();
            let bmc = self.bmc.clone();
            let seen = self.bmc.client().blocking(move |_| observe(&bmc, wanted.as_deref()));
            let seen = seen.await?;
            let (energy, power, reason) = self.energy.interval(&seen, interval);
            let Some(interval) = interval else { return Ok(Vec::new()) };
            Ok(self.reading(MeterRow {
                energy_joules: energy,
                power_watts: power,
                temp_c: seen.temp_c,
                reason: reason.map(Arc::from),
                ..self.row(interval)
            }))
        })
    }

    fn farewell(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let bmc = self.bmc.clone();
        Some(Box::new(move || bmc.log_out()))
    }

    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        self.energy.forget();
        self.reading(MeterRow { reason: Some(reason.into()), ..self.row(interval) })
    }
}

/// The one chassis that reports power, with what it says.
fn observe(bmc: &LoggedIn, wanted: Option<&str>) -> Result<Observation, PollError> {
    let all = document(bmc, ROOT)?
        .ok_or_else(|| PollError(format!("{ROOT}: not there; is this a Redfish service?")))?;
    let mut found: Vec<(String, Observation)> = Vec::new();
    let mut silent = Vec::new();
    for path in decode::members(&all, MAX_CHASSIS) {
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        if wanted.is_some_and(|wanted| wanted != id) {
            continue;
        }
        let Some(chassis) = document(bmc, &path)? else { continue };
        let seen = of_chassis(bmc, &chassis)?;
        if seen.is_known() {
            found.push((id, seen));
        } else {
            silent.push(seen.problem.map_or(id.clone(), |problem| format!("{id}: {problem}")));
        }
    }
    let names: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    match found.len() {
        1 => Ok(found.swap_remove(0).1),
        0 => {
            let silent: String = silent.join("; ").chars().take(MAX_ERROR_CHARS).collect();
            Err(PollError(format!("no chassis reports power ({silent})")))
        }
        _ => Err(PollError(format!(
            "several chassis report power: {}; name one with the key chassis",
            names.join(", ")
        ))),
    }
}

fn of_chassis(bmc: &LoggedIn, chassis: &Value) -> Result<Observation, PollError> {
    let follow = |document_: &Value, name: &str| match decode::link(document_, name) {
        Some(path) => document(bmc, &path),
        None => Ok(None),
    };
    let mut best = Observation::default();
    if let Some(metrics) = follow(chassis, "EnvironmentMetrics")? {
        best = decode::environment(&metrics);
    }
    if !best.is_known() {
        if let Some(supplies) = follow(chassis, "PowerSubsystem")?
            .map(|subsystem| follow(&subsystem, "PowerSupplies"))
            .transpose()?
            .flatten()
        {
            let mut all = Vec::new();
            for path in decode::members(&supplies, MAX_SUPPLIES) {
                let Some(supply) = document(bmc, &path)? else { continue };
                if decode::is_absent(&supply) {
                    continue;
                }
                // A supply that tells nothing stays: the sum is then unknown.
                all.push(follow(&supply, "Metrics")?.unwrap_or_default());
            }
            best = best.or(decode::supplies(&all));
        }
    }
    if !best.is_known() {
        if let Some(power) = follow(chassis, "Power")? {
            best = best.or(decode::power(&power));
        }
    }
    if best.is_known() && best.temp_c.is_none() {
        best.temp_c = follow(chassis, "Thermal")?.and_then(|thermal| decode::thermal(&thermal));
    }
    Ok(best)
}

fn document(bmc: &LoggedIn, path: &str) -> Result<Option<Value>, PollError> {
    let Some(body) = bmc.get(path)? else { return Ok(None) };
    let wrong = |error| PollError(format!("{path}: not JSON: {error}"));
    serde_json::from_slice(&body).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collection, chassis and metrics in one: every path gets the same document.
    const ALL_IN_ONE: &str = r#"{"Members": [{"@odata.id": "/redfish/v1/Chassis/1"}],
        "EnvironmentMetrics": {"@odata.id": "/redfish/v1/Chassis/1/EnvironmentMetrics"},
        "PowerWatts": {"Reading": 200}}"#;

    #[tokio::test]
    async fn the_contract_holds() {
        for (body, power) in [(ALL_IN_ONE, Some(200.0)), ("{}", None), ("<html>", None)] {
            let client = super::super::http::tests::client_of(body);
            let options = toml::from_str("name = 'a'\nhost = 'b'\nurl = 'http://c'").unwrap();
            let mut device = Redfish::new(&options, client);
            let readings = device.poll(Some(2.0)).await;
            assert_eq!(readings.ok().and_then(|rows| rows[0].row.power_watts), power);
            let given = super::super::contract::device_holds(&mut device).await;
            assert_eq!(given > 0, power.is_some(), "{body}");
        }
    }
}
