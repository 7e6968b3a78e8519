//! A BMC over IPMI: the power that it reports by DCMI (tier bmc).
//!
//! `ipmitool dcmi power reading` is run, and what it prints is read. The other
//! choice was the crate `ipmi-rs`: it blocks, its RMCP+ is young, and BMCs are
//! full of quirks (cipher suites, retries, vendors' workarounds) that ipmitool
//! has met. A process a minute and BMC costs less than owning those. The
//! password is given by `-f FILE` or by the child's environment, never in an
//! argument list. Within a machine, `/dev/ipmi0` needs root; where the kernel
//! has `acpi_power_meter`, `hwmon` reads the same BMC without any process.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::Tier;
use crate::config::gateway::{IpmiOptions, Secret};
use crate::gateway::{Device, Poll, PollError, Reading};
use crate::wire::MeterRow;

const METER: &str = "ipmi";
const PROGRAM: &str = "ipmitool";
const DEFAULT_PORT: u16 = 623;
/// Of an error, for a person.
const MAX_ERROR_CHARS: usize = 200;
/// More than any one machine draws.
const MAX_WATTS: f64 = 100_000.0;

/// One BMC of the gateway's file.
pub struct Bmc {
    name: String,
    host: Arc<str>,
    program: PathBuf,
    remote: Option<Remote>,
}

/// How to reach it over the network.
struct Remote {
    address: String,
    port: u16,
    user: String,
    password: Secret,
}

impl Bmc {
    /// `None` as password: the BMC of this machine.
    pub fn new(options: &IpmiOptions, password: Option<Secret>) -> Bmc {
        let remote = options.address.as_ref().zip(password).map(|(address, password)| {
            let (host, port) = split_port(address);
            let user = options.user.clone().unwrap_or_default();
            Remote { address: host.to_owned(), port, user, password }
        });
        Bmc {
            name: options.name.clone(),
            host: options.host.as_str().into(),
            program: PROGRAM.into(),
            remote,
        }
    }

    fn command(&self) -> Result<Command, PollError> {
        let mut command = Command::new(&self.program);
        match &self.remote {
            None => {
                command.args(["-I", "open"]);
            }
            Some(remote) => {
                command.args(["-I", "lanplus", "-H", &remote.address]);
                command.args(["-p", &remote.port.to_string(), "-U", &remote.user]);
                command.args(["-N", "2", "-R", "2"]);
                match &remote.password {
                    Secret::File(path) => command.arg("-f").arg(path),
                    variable @ Secret::Variable(_) => {
                        let password = variable.read("password");
                        let password = password.map_err(|error| PollError(error.to_string()))?;
                        command.arg("-E").env("IPMI_PASSWORD", password)
                    }
                };
            }
        }
        command.args(["dcmi", "power", "reading"]);
        command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    async fn ask(&self) -> Result<f64, PollError> {
        let output = self.command()?.output().await.map_err(|error| {
            PollError(format!("{PROGRAM}: {error}; install the package ipmitool"))
        })?;
        let printed = String::from_utf8_lossy(&output.stdout);
        watts(&printed).map_err(|why| {
            let at = self.remote.as_ref().map_or("/dev/ipmi0", |remote| &remote.address);
            let complaints = String::from_utf8_lossy(&output.stderr);
            // The first lines tell of workarounds, the last one of the end.
            let said = complaints.lines().map(str::trim).rfind(|line| !line.is_empty());
            let said: String = said
                .map(|line| format!(" ({PROGRAM}: {line})").chars().take(MAX_ERROR_CHARS).collect())
                .unwrap_or_default();
            PollError(format!(
                "{at}: {why}{said}; check address, user and password, and whether the BMC knows DCMI"
            ))
        })
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

fn split_port(address: &str) -> (&str, u16) {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => {
            port.parse().map_or((address, DEFAULT_PORT), |port| (host, port))
        }
        _ => (address, DEFAULT_PORT),
    }
}

/// The watts in what `ipmitool dcmi power reading` printed.
pub(crate) fn watts(printed: &str) -> Result<f64, String> {
    let field =
        |name: &str| printed.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    match field("Power reading state is:") {
        Some("activated") => {}
        Some(_) => return Err("the BMC's power measurement is not activated".into()),
        None => return Err("no DCMI power reading in the answer".into()),
    }
    let text = field("Instantaneous power reading:").ok_or("no instantaneous power")?;
    let watts = text.strip_suffix("Watts").map(str::trim).and_then(|n| n.parse::<f64>().ok());
    watts
        .filter(|watts| (0.0..=MAX_WATTS).contains(watts))
        .ok_or_else(|| "the instantaneous power is no figure".into())
}

impl Device for Bmc {
    fn name(&self) -> &str {
        &self.name
    }

    fn meter(&self) -> &'static str {
        METER
    }

    fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
        Box::pin(async move {
            let watts = self.ask().await?;
            let Some(interval) = interval else { return Ok(Vec::new()) };
            let mut row = self.row(interval);
            row.power_watts = Some(watts);
            row.reason = super::text("the BMC gives power, not energy");
            Ok(vec![Reading { host: Some(self.host.clone()), row }])
        })
    }

    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        let row = MeterRow { reason: Some(reason.into()), ..self.row(interval) };
        vec![Reading { host: Some(self.host.clone()), row }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;
    use proptest::prelude::*;

    /// The layout of ipmitool 1.8.19 (lib/ipmi_dcmi.c, ipmi_print_dcmi_power_reading).
    const PRINTED: &str = "
    Instantaneous power reading:                   213 Watts
    Minimum during sampling period:                 18 Watts
    Maximum during sampling period:                493 Watts
    Average power reading over sample period:      214 Watts
    IPMI timestamp:                           11/23/26 13:00:00 UTC
    Sampling period:                          00000001 Seconds.
    Power reading state is:                   activated

";

    fn bmc(address: Option<&str>, password: Option<Secret>) -> Bmc {
        let options = IpmiOptions {
            name: "bmc-a".into(),
            host: "node-a".into(),
            address: address.map(Into::into),
            user: Some("monitor".into()),
            password_file: None,
            password_env: None,
            interval_seconds: None,
            timeout_seconds: None,
        };
        Bmc::new(&options, password)
    }

    #[test]
    fn the_reading_of_the_moment_is_taken() {
        assert_eq!(watts(PRINTED), Ok(213.0));
    }

    #[test]
    fn a_measurement_that_is_off_is_unknown_and_not_zero() {
        let off = PRINTED.replace("213 Watts", "  0 Watts").replace("  activated", "  deactivated");
        assert!(watts(&off).unwrap_err().contains("not activated"));
        assert!(watts("DCMI request failed because: Invalid command (c1)").is_err());
        assert!(watts("").is_err());
    }

    #[tokio::test]
    async fn a_bmc_keeps_the_promises_of_every_meter() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ipmitool");
        std::fs::write(&program, format!("#!/bin/sh\ncat <<'END'\n{PRINTED}END\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        for (program, figures) in [(program, 2), (folder.path().join("missing"), 0)] {
            let mut bmc = Bmc { program, ..bmc(None, None) };
            assert_eq!(contract::device_holds(&mut bmc).await, figures);
        }
    }

    #[test]
    fn no_password_is_in_the_argument_list() {
        std::env::set_var("EO_TEST_BMC_PASSWORD", "s3cret");
        for secret in
            [Secret::File("/etc/pw".into()), Secret::Variable("EO_TEST_BMC_PASSWORD".into())]
        {
            let command = bmc(Some("192.0.2.1:6230"), Some(secret)).command().unwrap();
            let arguments: Vec<_> =
                command.as_std().get_args().map(|a| a.to_string_lossy().into_owned()).collect();
            assert!(!arguments.join(" ").contains("s3cret"), "{arguments:?}");
            assert!(arguments.contains(&"6230".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn no_output_makes_an_absurd_figure(text in any::<String>(), number in any::<String>()) {
            for printed in [text, PRINTED.replace("213", &number)] {
                if let Ok(watts) = watts(&printed) {
                    prop_assert!(watts.is_finite() && (0.0..=MAX_WATTS).contains(&watts));
                }
            }
        }
    }
}
