//! From the gateway's file to devices with a plan. Checks every key that the
//! file's shape alone can't check, and reads the secrets once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::schedule::Plan;
use super::Device;
use crate::config::gateway::{Devices, IpmiOptions, Secret, SnmpOptions, SnmpVersion};
use crate::config::{address, ConfigError};
use crate::meters::http::{Client, Endpoint};
use crate::meters::ipmi::Bmc;
use crate::meters::prometheus::Prometheus;
use crate::meters::redfish::Redfish;
use crate::meters::replay::Replay;
use crate::meters::snmp::{Credentials, Pdu, Place};

const DEFAULT_SNMP_TIMEOUT_SECONDS: f64 = 3.0;
/// A poll of a PDU is some ten requests, of a BMC a process with retries.
const POLL_TIMEOUT_SECONDS: f64 = 20.0;
const SNMP_PORT: u16 = 161;
/// RFC 3414: shorter passwords are refused by agents.
const MIN_V3_PASSWORD: usize = 8;

/// A device and when to ask it.
pub type Planned = (Box<dyn Device>, Plan);

/// Every device of the file, with when to ask it.
pub fn build(
    devices: &Devices,
    default_interval_seconds: f64,
) -> Result<Vec<Planned>, ConfigError> {
    let mut built: Vec<Planned> = Vec::new();
    for options in &devices.snmp {
        let at = |key: &str| format!("snmp {:?}: {key}", options.name);
        let plan = plan(&at, options.interval_seconds, default_interval_seconds)?;
        built.push((Box::new(pdu(options, &at)?), plan));
    }
    for options in &devices.ipmi {
        let at = |key: &str| format!("ipmi {:?}: {key}", options.name);
        let mut plan = plan(&at, options.interval_seconds, default_interval_seconds)?;
        if let Some(seconds) = options.timeout_seconds {
            plan.timeout =
                Duration::from_secs_f64(within(&at("timeout_seconds"), seconds, 0.1, 60.0)?);
        }
        built.push((Box::new(bmc(options, &at)?), plan));
    }
    endpoints(devices, default_interval_seconds, &mut built)?;
    Ok(built)
}

/// The client for a table of the file that has the keys of an `Endpoint`.
/// (serde can't share them in one struct where unknown keys are refused.)
macro_rules! client {
    ($options:expr, $at:expr) => {{
        let password = Secret::named(
            &$at("password"),
            $options.password_file.as_ref(),
            $options.password_env.as_ref(),
        )?;
        let endpoint = Endpoint {
            url: &$options.url,
            user: $options.user.as_deref(),
            password,
            ca_file: $options.ca_file.as_deref(),
            insecure: $options.insecure,
        };
        Client::new(endpoint, $at)?
    }};
}

/// Meters behind HTTP, and recorded ones.
fn endpoints(
    devices: &Devices,
    default_interval_seconds: f64,
    built: &mut Vec<(Box<dyn Device>, Plan)>,
) -> Result<(), ConfigError> {
    for options in &devices.redfish {
        let at = |key: &str| format!("redfish {:?}: {key}", options.name);
        let plan = plan(&at, options.interval_seconds, default_interval_seconds)?;
        built.push((Box::new(Redfish::new(options, client!(options, &at))), plan));
    }
    for options in &devices.prometheus {
        let at = |key: &str| format!("prometheus {:?}: {key}", options.name);
        let plan = plan(&at, options.interval_seconds, default_interval_seconds)?;
        built.push((Box::new(Prometheus::new(options, client!(options, &at))), plan));
    }
    for options in &devices.replay {
        let at = |key: &str| format!("replay {:?}: {key}", options.name);
        let plan = plan(&at, options.interval_seconds, default_interval_seconds)?;
        built.push((Box::new(Replay::open(options, &at)?), plan));
    }
    Ok(())
}

/// A timeout shorter than the interval keeps polls of one device apart.
fn plan(
    at: &impl Fn(&str) -> String,
    interval: Option<f64>,
    default: f64,
) -> Result<Plan, ConfigError> {
    let seconds = within(&at("interval_seconds"), interval.unwrap_or(default), 0.5, 3600.0)?;
    Ok(Plan {
        interval: Duration::from_secs_f64(seconds),
        timeout: Duration::from_secs_f64(POLL_TIMEOUT_SECONDS),
    })
}

fn pdu(options: &SnmpOptions, at: &impl Fn(&str) -> String) -> Result<Pdu, ConfigError> {
    let mut outlets: HashMap<Place, Arc<str>> = HashMap::new();
    for (outlet, host) in &options.outlets {
        let wrong = |problem: String| ConfigError::new(&at("outlets"), &problem, "correct the key");
        let place: Place = outlet.parse().map_err(wrong)?;
        if outlets.insert(place, host.as_str().into()).is_some() {
            return Err(wrong(format!("{outlet:?} is there twice")));
        }
    }
    let seconds = options.timeout_seconds.unwrap_or(DEFAULT_SNMP_TIMEOUT_SECONDS);
    let timeout = Duration::from_secs_f64(within(&at("timeout_seconds"), seconds, 0.1, 15.0)?);
    address::without_login(&at("address"), &options.address, "the keys user and *_file")?;
    let address = with_port(&options.address, SNMP_PORT);
    Ok(Pdu::new(&options.name, &address, credentials(options, at)?, timeout, outlets))
}

fn credentials(
    options: &SnmpOptions,
    at: &impl Fn(&str) -> String,
) -> Result<Credentials, ConfigError> {
    let missing = |key: &str, next: &str| ConfigError::new(&at(key), "missing", next);
    let community = Secret::named(
        &at("community"),
        options.community_file.as_ref(),
        options.community_env.as_ref(),
    )?;
    let auth = Secret::named(
        &at("auth_password"),
        options.auth_password_file.as_ref(),
        options.auth_password_env.as_ref(),
    )?;
    let privacy = Secret::named(
        &at("priv_password"),
        options.priv_password_file.as_ref(),
        options.priv_password_env.as_ref(),
    )?;
    if options.version == SnmpVersion::V2c {
        if auth.is_some() || privacy.is_some() || options.user.is_some() {
            let problem = "user and passwords belong to version 3";
            return Err(ConfigError::new(&at("version"), problem, "set version = \"3\""));
        }
        let secret = community
            .ok_or_else(|| missing("community_file", "name the file with the community string"))?;
        return Ok(Credentials::Community(secret.read(&at("community"))?));
    }
    let name =
        options.user.clone().ok_or_else(|| missing("user", "name the user of SNMP version 3"))?;
    let auth = auth.ok_or_else(|| {
        missing("auth_password_file", "name the file with the authentication password")
    })?;
    let password = |secret: &Secret, key: &str| {
        let value = secret.read(&at(key))?;
        if value.len() < MIN_V3_PASSWORD {
            let problem = "the password is shorter than 8 characters";
            return Err(ConfigError::new(&at(key), problem, "use the one the device has"));
        }
        Ok(value)
    };
    let privacy = privacy.map(|secret| password(&secret, "priv_password")).transpose()?;
    Ok(Credentials::User {
        name,
        context: options.context.clone(),
        auth: options.auth_protocol,
        auth_password: password(&auth, "auth_password")?,
        privacy: privacy.map(|value| (options.priv_protocol, value)),
    })
}

fn bmc(options: &IpmiOptions, at: &impl Fn(&str) -> String) -> Result<Bmc, ConfigError> {
    let password = Secret::named(
        &at("password"),
        options.password_file.as_ref(),
        options.password_env.as_ref(),
    )?;
    let given = options.address.as_deref().unwrap_or_default();
    address::without_login(&at("address"), given, "the keys user and password_file")?;
    match (&options.address, &password) {
        (Some(address), _) if address.starts_with('-') => {
            Err(ConfigError::new(&at("address"), "starts with a dash", "give a host or host:port"))
        }
        (Some(_), None) => Err(ConfigError::new(
            &at("password_file"),
            "missing",
            "name the file with the password, or remove the address for this machine's BMC",
        )),
        (Some(_), Some(secret)) => {
            // Says now what would otherwise be a puzzle of every poll.
            secret.read(&at("password"))?;
            Ok(Bmc::new(options, password))
        }
        (None, _) => Ok(Bmc::new(options, None)),
    }
}

/// `192.0.2.1` or `pdu-a` gets the port; `pdu-a:1161` and `[2001:db8::1]:161` have one.
fn with_port(address: &str, port: u16) -> String {
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        _ if address.contains(':') => address.to_owned(),
        _ => format!("{address}:{port}"),
    }
}

fn within(setting: &str, value: f64, low: f64, high: f64) -> Result<f64, ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    let problem = format!("{value} is out of range");
    Err(ConfigError::new(setting, &problem, &format!("use {low} to {high}")))
}
