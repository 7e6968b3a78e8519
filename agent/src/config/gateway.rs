//! The gateway's file: the agent's keys, and arrays of tables of devices.
//!
//! ```toml
//! host = "gateway-rack1"
//! interval_seconds = 5
//!
//! [[snmp]]
//! name = "pdu-a"
//! address = "192.0.2.10"
//! community_file = "/etc/eo-agent/pdu-a.community"
//! outlets = { "1" = "node-a", "2" = "node-b" }
//!
//! [[ipmi]]
//! name = "bmc-a"
//! host = "node-a"
//! address = "192.0.2.20"
//! user = "monitor"
//! password_file = "/etc/eo-agent/bmc-a.password"
//! ```
//!
//! A secret is only ever named here: by the file or by the environment
//! variable that holds it. `Secret` reads it when a device is first asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::endpoint::{PrometheusOptions, RedfishOptions, ReplayOptions};
use super::{ConfigError, Options};

/// Devices that one gateway may ask; more would not be asked in time.
const MAX_DEVICES: usize = 5_000;
const MAX_SECRET_BYTES: u64 = 4096;

/// The arrays of tables of the file. Each kind has a struct of its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Devices {
    pub snmp: Vec<SnmpOptions>,
    pub ipmi: Vec<IpmiOptions>,
    pub redfish: Vec<RedfishOptions>,
    pub prometheus: Vec<PrometheusOptions>,
    pub replay: Vec<ReplayOptions>,
}

/// Keys of the file that are devices; all others are the agent's options.
const DEVICE_KEYS: [&str; 5] = ["snmp", "ipmi", "redfish", "prometheus", "replay"];

/// One PDU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnmpOptions {
    pub name: String,
    /// Host or host:port; port 161 where none is given.
    pub address: String,
    #[serde(default)]
    pub version: SnmpVersion,
    pub community_file: Option<PathBuf>,
    pub community_env: Option<String>,
    pub user: Option<String>,
    /// Context of SNMP version 3; PDUs have the empty one.
    #[serde(default)]
    pub context: String,
    #[serde(default)]
    pub auth_protocol: AuthProtocol,
    pub auth_password_file: Option<PathBuf>,
    pub auth_password_env: Option<String>,
    #[serde(default)]
    pub priv_protocol: PrivProtocol,
    pub priv_password_file: Option<PathBuf>,
    pub priv_password_env: Option<String>,
    pub interval_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
    /// Outlet (or "phase-1", "device") to the node that it feeds.
    #[serde(default)]
    pub outlets: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SnmpVersion {
    #[default]
    #[serde(rename = "2c")]
    V2c,
    #[serde(rename = "3")]
    V3,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthProtocol {
    Md5,
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivProtocol {
    Des,
    #[default]
    Aes128,
    /// With MD5 and SHA-1 by Reeder's key extension, as Cisco, APC and most others.
    Aes256,
    /// With MD5 and SHA-1 by Blumenthal's.
    #[serde(rename = "aes256-blumenthal")]
    Aes256Blumenthal,
}

/// One BMC that speaks IPMI; without an address the one of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpmiOptions {
    pub name: String,
    /// The node whose BMC it is; the agent's own where an agent asks it.
    #[serde(default)]
    pub host: String,
    /// Host or host:port; port 623 where none is given.
    pub address: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    pub interval_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
}

/// Where a secret is. Its value is not part of this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    Variable(String),
}

impl Secret {
    /// One of `<setting>_file` and `<setting>_env`.
    pub fn named(
        setting: &str,
        file: Option<&PathBuf>,
        variable: Option<&String>,
    ) -> Result<Option<Secret>, ConfigError> {
        match (file, variable) {
            (None, None) => Ok(None),
            (Some(file), None) => Ok(Some(Secret::File(file.clone()))),
            (None, Some(variable)) => Ok(Some(Secret::Variable(variable.clone()))),
            (Some(_), Some(_)) => Err(ConfigError::new(
                &format!("{setting}_file"),
                &format!("is given together with {setting}_env"),
                "keep one of the two",
            )),
        }
    }

    /// The value without its line end. The error names the place, never the value.
    pub fn read(&self, setting: &str) -> Result<String, ConfigError> {
        let value = match self {
            Secret::File(path) => {
                let place = format!("{setting}_file");
                if fs::metadata(path).is_ok_and(|data| data.len() > MAX_SECRET_BYTES) {
                    let problem = format!("{} is larger than a secret", path.display());
                    return Err(ConfigError::new(&place, &problem, "name the file of the secret"));
                }
                super::secret(&place, path)?
            }
            Secret::Variable(name) => std::env::var(name).map_err(|error| {
                let problem = format!("environment variable {name}: {error}");
                ConfigError::new(&format!("{setting}_env"), &problem, "set it for this process")
            })?,
        };
        let value = value.trim_end_matches(['\r', '\n']).to_owned();
        if value.is_empty() {
            return Err(ConfigError::new(setting, "the secret is empty", "write it into its file"));
        }
        Ok(value)
    }
}

/// A window of the analyzer: none of them is without a reading.
const INTERVAL_SECONDS: f64 = 5.0;

/// What differs from an agent's defaults. The host is none that an agent
/// would have: outlets filed under a node would be taken for its power.
pub fn defaults() -> Options {
    Options {
        host: Some(format!("gateway-{}", super::hostname())),
        interval_seconds: Some(INTERVAL_SECONDS),
        spool_dir: Some(super::default_spool_dir().with_file_name("gateway-spool")),
        ..Default::default()
    }
}

/// Reads the gateway's file: the agent's options and the devices.
pub fn from_file(path: &Path) -> Result<(Options, Devices), ConfigError> {
    from_toml(&read(path)?, &path.display().to_string())
}

/// Reads a file of an agent, which may name devices of its own.
pub fn of_agent(path: &Path) -> Result<(Options, Devices), ConfigError> {
    split(&read(path)?, &path.display().to_string())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| {
        let problem = format!("{}: {error}", path.display());
        ConfigError::new("--config", &problem, "give a readable TOML file")
    })
}

pub(crate) fn from_toml(text: &str, name: &str) -> Result<(Options, Devices), ConfigError> {
    let (options, devices) = split(text, name)?;
    if devices.names().next().is_none() {
        return Err(ConfigError::new(
            "--config",
            "the file names no device",
            "add a [[snmp]], [[ipmi]], [[redfish]], [[prometheus]] or [[replay]] table",
        ));
    }
    if devices.hosts().any(|host| host.trim().is_empty()) {
        return Err(ConfigError::new(
            "host",
            "a device has no host",
            "name the node that it is about",
        ));
    }
    Ok((options, devices))
}

/// The agent's options and the devices, if there are any: a node's own agent may ask some, too.
pub(crate) fn split(text: &str, name: &str) -> Result<(Options, Devices), ConfigError> {
    let wrong = |error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let place = line.map_or(name.to_owned(), |line| format!("{name}, line {line}"));
        ConfigError::new(
            &place,
            error.message(),
            "correct or remove the key; `eo-agent run --help` lists them",
        )
    };
    let devices: Devices = toml::from_str(text).map_err(wrong)?;
    devices.check()?;
    if devices.names().next().is_none() {
        return Ok((Options::from_toml(text, name)?, devices));
    }
    let mut options: toml::Table = toml::from_str(text).map_err(wrong)?;
    DEVICE_KEYS.iter().for_each(|key| drop(options.remove(*key)));
    Ok((Options::deserialize(options).map_err(wrong)?, devices))
}

impl Devices {
    /// Devices without a host are this node's own.
    pub fn of_this_node(mut self, host: &str) -> Devices {
        let own = |value: &mut String| {
            if value.is_empty() {
                *value = host.to_owned();
            }
        };
        self.ipmi.iter_mut().for_each(|device| own(&mut device.host));
        self.redfish.iter_mut().for_each(|device| own(&mut device.host));
        self.prometheus.iter_mut().for_each(|device| own(&mut device.host));
        self.replay.iter_mut().for_each(|device| own(&mut device.host));
        self
    }

    /// Name and host of every device, whatever its kind.
    fn names(&self) -> impl Iterator<Item = &str> {
        let snmp = self.snmp.iter().map(|device| device.name.as_str());
        snmp.chain(self.ipmi.iter().map(|device| device.name.as_str()))
            .chain(self.redfish.iter().map(|device| device.name.as_str()))
            .chain(self.prometheus.iter().map(|device| device.name.as_str()))
            .chain(self.replay.iter().map(|device| device.name.as_str()))
    }

    /// Every node that a device speaks for.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let outlets = self.snmp.iter().flat_map(|device| device.outlets.values());
        outlets
            .map(String::as_str)
            .chain(self.ipmi.iter().map(|device| device.host.as_str()))
            .chain(self.redfish.iter().map(|device| device.host.as_str()))
            .chain(self.prometheus.iter().map(|device| device.host.as_str()))
            .chain(self.replay.iter().map(|device| device.host.as_str()))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut seen = std::collections::HashSet::new();
        for name in self.names() {
            if name.trim().is_empty() || name.contains('/') {
                let problem = format!("{name:?} can't be part of a zone");
                return Err(ConfigError::new("name", &problem, "give a name without a slash"));
            }
            if !seen.insert(name) {
                let problem = format!("two devices are called {name:?}");
                return Err(ConfigError::new("name", &problem, "give each its own name"));
            }
        }
        if seen.len() > MAX_DEVICES {
            let problem = format!("{} devices", seen.len());
            return Err(ConfigError::new(
                "--config",
                &problem,
                "use 5000 at most, and more gateways",
            ));
        }
        if self.snmp.iter().flat_map(|pdu| pdu.outlets.values()).any(|host| host.trim().is_empty())
        {
            return Err(ConfigError::new("outlets", "a host is empty", "name the node"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
host = "gateway-1"
[[snmp]]
name = "pdu-a"
address = "192.0.2.1"
community_file = "COMMUNITY"
outlets = { "1" = "node-a" }
[[ipmi]]
name = "bmc-a"
host = "node-a"
address = "192.0.2.2"
password_env = "EO_TEST_GATEWAY_PASSWORD"
"#;

    #[test]
    fn secrets_are_read_from_their_place_and_are_in_no_debug_output() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret-community\n").unwrap();
        std::env::set_var("EO_TEST_GATEWAY_PASSWORD", "s3cret-password");
        let text = FILE.replace("COMMUNITY", &file.path().display().to_string());
        let (options, devices) = from_toml(&text, "gateway.toml").unwrap();
        let snmp = &devices.snmp[0];
        let community =
            Secret::named("community", snmp.community_file.as_ref(), None).unwrap().unwrap();
        let password = Secret::named("password", None, devices.ipmi[0].password_env.as_ref())
            .unwrap()
            .unwrap();
        assert_eq!(community.read("community").unwrap(), "s3cret-community");
        assert_eq!(password.read("password").unwrap(), "s3cret-password");
        let shown = format!("{options:?} {devices:?} {community:?} {password:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_secret_that_can_not_be_read_is_named_by_its_key() {
        let missing = Secret::File("/none/x".into()).read("community").unwrap_err().to_string();
        assert!(missing.contains("community_file") && missing.contains("/none/x"), "{missing}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = Secret::File(empty.path().into()).read("community").unwrap_err().to_string();
        assert!(error.contains("empty"), "{error}");
        let file = PathBuf::from("a");
        let both = Secret::named("community", Some(&file), Some(&"B".to_owned())).unwrap_err();
        assert!(both.to_string().contains("community_env"), "{both}");
    }

    #[test]
    fn nodes_and_unknown_keys_are_seen() {
        let (options, devices) = from_toml(FILE, "gateway.toml").unwrap();
        assert_eq!(options.host.as_deref(), Some("gateway-1"));
        assert_eq!(devices.hosts().collect::<Vec<_>>(), ["node-a", "node-a"]);
        let wrong = FILE.replace("outlets", "outlet");
        let error = from_toml(&wrong, "gateway.toml").unwrap_err().to_string();
        assert!(error.contains("gateway.toml, line 7") && error.contains("outlet"), "{error}");
    }
}
