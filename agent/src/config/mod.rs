//! Settings: flags over environment over file over defaults.
//!
//! One struct is both the flags of `run` and the keys of the TOML file, so
//! the two can't drift. `resolve` checks every value and says which one is
//! wrong and what to do. Secrets are read from files when they are needed and
//! are never part of these values.

pub mod address;
mod containers;
pub mod endpoint;
mod export;
pub mod gateway;
mod kafka;
mod nats;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use export::ExportConfig;
pub use kafka::{KafkaConfig, KafkaLogin, KafkaOptions, SaslMechanism};
pub use nats::NatsConfig;
use serde::Deserialize;

use crate::containers::refresh::Source;
use crate::counters::Scope;
use crate::profiler::python::Effort;
use crate::profiler::selection::Selection;
use crate::profiler::Sampling;

/// A record of perf has 16 bits for its size, and holds more than the stack.
pub const MAX_STACK_BYTES: u32 = 61440;

/// A stop waits this long for the names of the last samples.
const LAST_NAMES_WITHIN: Duration = Duration::from_millis(300);

/// What a user may set. Each field is a flag, a key of the file and an
/// environment variable: `EO_` and the key in capitals.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Owner of the data [default: local]
    #[arg(long, env = "EO_TENANT")]
    pub tenant: Option<String>,
    /// Node name [default: hostname]
    #[arg(long, env = "EO_HOST")]
    pub host: Option<String>,
    /// Bus address [default: nats://127.0.0.1:4222]
    #[arg(long, env = "EO_NATS_URL")]
    pub nats_url: Option<String>,
    /// NATS .creds file (JWT and seed)
    #[arg(long, env = "EO_NATS_CREDS_FILE")]
    pub nats_creds_file: Option<PathBuf>,
    /// NATS user
    #[arg(long, env = "EO_NATS_USER")]
    pub nats_user: Option<String>,
    /// File with the password of the NATS user
    #[arg(long, env = "EO_NATS_PASSWORD_FILE")]
    pub nats_password_file: Option<PathBuf>,
    /// Prefix of the reply subjects this agent listens on [default: _INBOX]
    #[arg(long, env = "EO_NATS_INBOX_PREFIX")]
    pub nats_inbox_prefix: Option<String>,
    /// File with the seed of an nkey
    #[arg(long, env = "EO_NATS_NKEY_FILE")]
    pub nats_nkey_file: Option<PathBuf>,
    /// Certificate authority of the server [default: the system's]
    #[arg(long, env = "EO_NATS_CA_FILE")]
    pub nats_ca_file: Option<PathBuf>,
    /// Certificate of this agent, for mutual TLS
    #[arg(long, env = "EO_NATS_CERT_FILE")]
    pub nats_cert_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, env = "EO_NATS_KEY_FILE")]
    pub nats_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub kafka: KafkaOptions,
    /// Serve the agent's own metrics there, e.g. 127.0.0.1:9464 [default: off]
    #[arg(long, env = "EO_METRICS_LISTEN")]
    pub metrics_listen: Option<String>,
    /// Send energy and profiles to an OTLP/HTTP receiver, too, e.g. http://127.0.0.1:4318 [default: off]
    #[arg(long, env = "EO_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Send profiles as pprof, too, e.g. to http://127.0.0.1:4040/ingest (Pyroscope) [default: off]
    #[arg(long, env = "EO_PPROF_PUSH_URL")]
    pub pprof_push_url: Option<String>,
    /// File with headers for these receivers, one `Name: value` a line
    #[arg(long, env = "EO_OTLP_HEADERS_FILE")]
    pub otlp_headers_file: Option<PathBuf>,
    /// Where batches wait while the bus is away
    #[arg(long, env = "EO_SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Limit of the spool [default: 268435456]
    #[arg(long, env = "EO_SPOOL_MAX_BYTES")]
    pub spool_max_bytes: Option<u64>,
    /// Time between two looks at the node, 0.5 to 60 [default: 2]
    #[arg(long, env = "EO_INTERVAL_SECONDS")]
    pub interval_seconds: Option<f64>,
    /// Stack samples a second and CPU, 0 (off) to 99 [default: 19]
    #[arg(long, env = "EO_PROFILE_HZ")]
    pub profile_hz: Option<u32>,
    /// Copied from the top of the user stack with each sample, to follow callers that keep no frame
    /// pointer; 0 (off) to 61440 [default: 16384]
    #[arg(long, env = "EO_PROFILE_STACK_BYTES")]
    pub profile_stack_bytes: Option<u32>,
    /// Whose stacks may leave the node: `declared/shop-*`, `namespace:shop`, `label:profile=on`; repeatable [default: all]
    #[arg(long, env = "EO_PROFILE_ONLY", value_delimiter = ',')]
    pub profile_only: Option<Vec<String>>,
    /// Whose stacks may not, likewise; wins over the other; repeatable [default: none]
    #[arg(long, env = "EO_PROFILE_EXCEPT", value_delimiter = ',')]
    pub profile_except: Option<Vec<String>>,
    /// Whether JVMs are asked for the names of their compiled code (attach protocol) [default: true]
    #[arg(long, env = "EO_JVM_ATTACH")]
    pub jvm_attach: Option<bool>,
    /// What the CPU's counters count: cycles, instructions, cache misses [default: node]
    #[arg(long, env = "EO_COUNTERS", value_enum)]
    pub counters: Option<Scope>,
    /// Mount point of procfs [default: /proc]
    #[arg(long, env = "EO_PROCFS")]
    pub procfs: Option<PathBuf>,
    /// Mount point of sysfs [default: /sys]
    #[arg(long, env = "EO_SYSFS")]
    pub sysfs: Option<PathBuf>,
    /// Mount point of the cgroup hierarchies [default: /sys/fs/cgroup]
    #[arg(long, env = "EO_CGROUPFS")]
    pub cgroupfs: Option<PathBuf>,
    /// Sockets of container runtimes, `cri:PATH` or `docker:PATH`; repeatable [default: the known ones that exist]
    #[arg(long, env = "EO_CONTAINER_SOCKETS", value_delimiter = ',')]
    pub container_sockets: Option<Vec<String>>,
    /// Ask the kubelet who made each pod, e.g. https://127.0.0.1:10250 [default: off]
    #[arg(long, env = "EO_KUBELET_URL")]
    pub kubelet_url: Option<String>,
    /// File with a token for the kubelet
    #[arg(long, env = "EO_KUBELET_TOKEN_FILE")]
    pub kubelet_token_file: Option<PathBuf>,
    /// Certificate authority of the kubelet
    #[arg(long, env = "EO_KUBELET_CA_FILE")]
    pub kubelet_ca_file: Option<PathBuf>,
    /// Do not verify the kubelet's certificate [default: false]
    #[arg(long, env = "EO_KUBELET_INSECURE")]
    pub kubelet_insecure: Option<bool>,
    /// Ask the cloud's metadata service (169.254.169.254) for the instance type [default: false]
    #[arg(long, env = "EO_CLOUD_METADATA")]
    pub cloud_metadata: Option<bool>,
    /// Where rows go [default: kafka if its brokers are named, else nats]
    #[arg(long, env = "EO_SINK", value_enum)]
    pub sink: Option<SinkKind>,
    /// Directory of sink `file`
    #[arg(long, env = "EO_PATH")]
    pub path: Option<PathBuf>,
    /// Stop when this process is gone
    #[arg(long, env = "EO_PARENT_PID")]
    pub parent_pid: Option<i32>,
    /// error, warn, info or debug [default: warn]
    #[arg(long, env = "EO_LOG_LEVEL")]
    pub log_level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// NATS JetStream
    Nats,
    /// Apache Kafka
    Kafka,
    /// JSON lines
    Stdout,
    /// One Arrow stream file per batch
    File,
}

/// A setting that can't be used: which one, why, and what to do.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{setting}: {problem}; {next}")]
pub struct ConfigError {
    setting: String,
    problem: String,
    next: String,
}

impl ConfigError {
    pub fn new(setting: &str, problem: &str, next: &str) -> ConfigError {
        ConfigError { setting: setting.into(), problem: problem.into(), next: next.into() }
    }
}

/// Settings after all defaults and checks.
#[derive(Debug, Clone)]
pub struct Config {
    pub tenant: String,
    pub host: String,
    pub nats: NatsConfig,
    /// Some where brokers are named.
    pub kafka: Option<KafkaConfig>,
    /// Loopback address of the agent's own metrics.
    pub metrics_listen: Option<SocketAddr>,
    pub export: ExportConfig,
    pub spool_dir: PathBuf,
    pub spool_max_bytes: u64,
    pub interval_seconds: f64,
    pub profile_hz: u32,
    pub profile_stack_bytes: u32,
    pub jvm_attach: bool,
    pub profile_selection: Selection,
    pub counters: Scope,
    pub procfs: PathBuf,
    pub sysfs: PathBuf,
    pub cgroupfs: PathBuf,
    pub name_sources: Vec<Source>,
    pub cloud_metadata: bool,
    pub sink: SinkKind,
    pub path: Option<PathBuf>,
    pub parent_pid: Option<i32>,
    pub log_level: tracing::Level,
}

impl Config {
    /// What the profiler is asked to do.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            hz: self.profile_hz,
            stack_bytes: self.profile_stack_bytes,
            jvm_attach: self.jvm_attach,
            python: Effort::Bounded,
            last_names_within: LAST_NAMES_WITHIN,
        }
    }
}

/// Settings of `run` and `check`, and the devices that the file names.
pub fn read(
    file: Option<&Path>,
    flags: Options,
) -> Result<(Config, gateway::Devices), ConfigError> {
    let (options, devices) = file.map(gateway::of_agent).transpose()?.unwrap_or_default();
    let config = flags.or(options).resolve()?;
    let devices = devices.of_this_node(&config.host);
    Ok((config, devices))
}

impl Options {
    pub(crate) fn from_toml(text: &str, name: &str) -> Result<Options, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map_or(name.to_owned(), |line| format!("{name}, line {line}"));
            ConfigError::new(
                &place,
                error.message(),
                "correct or remove the key; `eo-agent run --help` lists them",
            )
        })
    }

    /// These options, with gaps filled from `other`.
    pub fn or(self, other: Options) -> Options {
        macro_rules! merge {
            ($($field:ident),+) => { Options { $($field: self.$field.or(other.$field)),+ } };
        }
        merge!(
            tenant,
            host,
            nats_url,
            nats_creds_file,
            nats_user,
            nats_password_file,
            nats_inbox_prefix,
            nats_nkey_file,
            nats_ca_file,
            nats_cert_file,
            nats_key_file,
            kafka,
            metrics_listen,
            otlp_endpoint,
            pprof_push_url,
            otlp_headers_file,
            spool_dir,
            spool_max_bytes,
            interval_seconds,
            profile_hz,
            profile_stack_bytes,
            profile_only,
            profile_except,
            jvm_attach,
            counters,
            procfs,
            sysfs,
            cgroupfs,
            container_sockets,
            kubelet_url,
            kubelet_token_file,
            kubelet_ca_file,
            kubelet_insecure,
            cloud_metadata,
            sink,
            path,
            parent_pid,
            log_level
        )
    }

    /// Fills in defaults and checks every value.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let name_sources = containers::sources(&self)?;
        let sink = kafka::sink(self.sink, self.nats_url.as_ref(), &self.kafka)?;
        if sink == SinkKind::File && self.path.is_none() {
            return Err(ConfigError::new("path", "missing for sink `file`", "give --path DIR"));
        }
        let nats = NatsConfig::of(&self)?;
        let tenant = named("tenant", self.tenant.unwrap_or_else(|| "local".into()))?;
        kafka::check_topics(sink, &tenant)?;
        Ok(Config {
            metrics_listen: self.metrics_listen.as_deref().map(metrics_address).transpose()?,
            export: ExportConfig::new(
                self.otlp_endpoint,
                self.pprof_push_url,
                self.otlp_headers_file,
            )?,
            tenant,
            host: named("host", self.host.unwrap_or_else(hostname))?,
            nats,
            kafka: self.kafka.resolve()?,
            spool_dir: self.spool_dir.unwrap_or_else(default_spool_dir),
            spool_max_bytes: within(
                "spool_max_bytes",
                self.spool_max_bytes.unwrap_or(256 << 20),
                64 << 10,
                1 << 40,
            )?,
            interval_seconds: within(
                "interval_seconds",
                self.interval_seconds.unwrap_or(2.0),
                0.5,
                60.0,
            )?,
            profile_hz: within("profile_hz", self.profile_hz.unwrap_or(19), 0, 99)?,
            // perf takes whole words.
            profile_stack_bytes: within(
                "profile_stack_bytes",
                self.profile_stack_bytes.unwrap_or(16 << 10),
                0,
                MAX_STACK_BYTES,
            )? & !7,
            jvm_attach: self.jvm_attach.unwrap_or(true),
            profile_selection: Selection::new(
                &given(&self.profile_only.unwrap_or_default()).cloned().collect::<Vec<_>>(),
                &given(&self.profile_except.unwrap_or_default()).cloned().collect::<Vec<_>>(),
            ),
            counters: self.counters.unwrap_or_default(),
            procfs: self.procfs.unwrap_or_else(|| "/proc".into()),
            sysfs: self.sysfs.unwrap_or_else(|| "/sys".into()),
            cgroupfs: self.cgroupfs.unwrap_or_else(|| "/sys/fs/cgroup".into()),
            name_sources,
            cloud_metadata: self.cloud_metadata.unwrap_or(false),
            sink,
            path: self.path,
            parent_pid: self.parent_pid,
            log_level: self.log_level.as_deref().unwrap_or("warn").parse().map_err(|_| {
                ConfigError::new("log_level", "not a level", "use error, warn, info or debug")
            })?,
        })
    }
}

/// Metrics name programs and users: they stay on this machine unless a proxy
/// that knows who asks hands them on.
fn metrics_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |problem: &str| {
        Err(ConfigError::new(
            "metrics_listen",
            problem,
            "use a loopback address, e.g. 127.0.0.1:9464",
        ))
    };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(address) => wrong(&format!("{address} can be reached from other machines")),
        Err(_) => wrong("is not ADDRESS:PORT"),
    }
}

fn secret(setting: &str, path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| {
        let problem = format!("{}: {error}", path.display());
        ConfigError::new(setting, &problem, "give a file that the agent may read")
    })
}

fn named(setting: &str, value: String) -> Result<String, ConfigError> {
    if value.trim().is_empty() {
        return Err(ConfigError::new(setting, "is empty", "give a name"));
    }
    Ok(value)
}

fn within<T: PartialOrd + std::fmt::Display>(
    setting: &str,
    value: T,
    low: T,
    high: T,
) -> Result<T, ConfigError> {
    if value >= low && value <= high {
        return Ok(value);
    }
    Err(ConfigError::new(
        setting,
        &format!("{value} is out of range"),
        &format!("use {low} to {high}"),
    ))
}

/// A list without empty entries: a variable that is set to nothing is an empty list.
fn given(list: &[String]) -> impl Iterator<Item = &String> {
    list.iter().filter(|one| !one.trim().is_empty())
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Root keeps state in /var/lib, everybody else in the home directory.
fn default_spool_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/eo-agent/spool".into();
    }
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("eo-agent/spool")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> String {
        Options::from_toml(toml, "agent.toml").and_then(Options::resolve).unwrap_err().to_string()
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_defaults() {
        let file =
            Options::from_toml("tenant = 'file'\nprofile_hz = 0\nsink = 'stdout'\n", "x").unwrap();
        let flags = Options { tenant: Some("flag".into()), ..Default::default() };
        let config = flags.or(file).resolve().unwrap();
        assert_eq!(
            (config.tenant.as_str(), config.profile_hz, config.sink),
            ("flag", 0, SinkKind::Stdout)
        );
        assert_eq!(config.interval_seconds, 2.0);
    }

    #[test]
    fn a_mistake_names_the_key_and_the_next_step() {
        for (toml, words) in [
            ("tenant = 'a'\nintervall = 2\n", &["agent.toml, line 2", "intervall", "--help"][..]),
            ("interval_seconds = 0\n", &["interval_seconds", "0.5 to 60"]),
            ("profile_hz = 100\n", &["profile_hz", "0 to 99"]),
            ("tenant = ''\n", &["tenant", "empty"]),
            ("sink = 'file'\n", &["path", "--path DIR"]),
            ("sink = 'rabbit'\n", &["rabbit", "stdout"]),
            ("nats_user = 'a'\n", &["EO_NATS_PASSWORD_FILE"]),
            ("nats_key_file = 'a'\n", &["nats_cert_file", "both"]),
            ("metrics_listen = '0.0.0.0:9464'\n", &["metrics_listen", "0.0.0.0", "loopback"]),
            ("metrics_listen = 'here'\n", &["metrics_listen", "ADDRESS:PORT"]),
            ("nats_url = 'nats://eo:s3cret@bus:4222'\n", &["nats_url", "nats_password_file"]),
            ("otlp_endpoint = 'http://eo:s3cret@x'\n", &["otlp_endpoint", "otlp_headers_file"]),
            ("pprof_push_url = 'http://eo:s3cret@x/i'\n", &["pprof_push_url", "otlp_headers_file"]),
            ("pprof_push_url = 's3cret'\n", &["pprof_push_url", "http://"]),
            ("metrics_listen = 'eo:s3cret@127.0.0.1:1'\n", &["metrics_listen", "loopback"]),
            (
                "kubelet_url = 'https://s3cret@127.0.0.1:1'\n",
                &["kubelet_url", "kubelet_token_file"],
            ),
            (
                "[kafka]\nbrokers = ['eo:s3cret@b:9092']\n",
                &["kafka.brokers", "kafka.password_file"],
            ),
            ("log_level = 'loud'\n", &["log_level", "debug"]),
            ("tenant = \n", &["line 1"]),
        ] {
            let message = problem(toml);
            for word in words {
                assert!(message.contains(word), "{message:?} should name {word:?}");
            }
            assert!(!message.contains("s3cret"), "{message:?} shows a secret");
        }
    }
}
