//! Meters behind HTTP, and recorded ones: tables `[[redfish]]`,
//! `[[prometheus]]` and `[[replay]]` of the gateway's file.

use std::path::PathBuf;

use serde::Deserialize;

/// One BMC that speaks Redfish.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedfishOptions {
    pub name: String,
    /// The node whose BMC it is.
    #[serde(default)]
    pub host: String,
    /// `https://bmc-a` or `https://bmc-a:8443`.
    pub url: String,
    /// Id of the chassis; needed where more than one reports power.
    pub chassis: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    /// PEM file of the authority that signed the BMC's certificate.
    pub ca_file: Option<PathBuf>,
    /// Trust any certificate, or none at all (`http://`).
    #[serde(default)]
    pub insecure: bool,
    pub interval_seconds: Option<f64>,
}

/// One Prometheus endpoint with power or energy metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusOptions {
    pub name: String,
    /// The node that the endpoint is about, unless a metric names a label for it.
    #[serde(default)]
    pub host: String,
    /// With its path: `http://127.0.0.1:9100/metrics`.
    pub url: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_env: Option<String>,
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub insecure: bool,
    pub interval_seconds: Option<f64>,
    /// Beside the well-known names.
    #[serde(default)]
    pub metrics: Vec<MetricOptions>,
}

/// What one metric of an endpoint means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricOptions {
    pub metric: String,
    pub unit: MetricUnit,
    pub tier: MetricTier,
    /// The label whose value names the zone; the metric's name where there is none.
    pub zone_label: Option<String>,
    /// The label whose value names the node.
    pub host_label: Option<String>,
}

/// Joules and their like are counters, watts and degrees gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricUnit {
    Joules,
    Millijoules,
    Microjoules,
    KilowattHours,
    Watts,
    Milliwatts,
    Microwatts,
    Celsius,
}

/// As `meters::Tier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricTier {
    OnDie,
    Bmc,
    Wall,
}

/// One recorded log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOptions {
    pub name: String,
    /// The node that the rows are filed under.
    #[serde(default)]
    pub host: String,
    /// CSV with a head line, or a log of PTDaemon.
    pub path: PathBuf,
    /// Start again at the end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    pub interval_seconds: Option<f64>,
}
