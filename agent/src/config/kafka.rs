//! How to reach Kafka: the table `[kafka]` of the file, `--kafka-…` as flags.
//!
//! Passwords and keys stay in their files until a connection is made; they are
//! read again for each connection, so that a renewed certificate is taken up
//! without a restart.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::{address, secret, ConfigError, SinkKind};
use crate::wire::{topic, Kind};

/// Addresses to start from; the others are learned from the first that answers.
const MAX_BROKERS: usize = 64;
/// Kafka takes no longer name for a topic.
const MAX_TOPIC_BYTES: usize = 249;

/// What a user may set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaOptions {
    /// Send to Kafka: brokers to start from, HOST:PORT, separated by commas
    #[arg(
        id = "kafka_brokers",
        long = "kafka-brokers",
        env = "EO_KAFKA_BROKERS",
        value_delimiter = ','
    )]
    pub brokers: Option<Vec<String>>,
    /// Kafka user (SASL)
    #[arg(id = "kafka_user", long = "kafka-user", env = "EO_KAFKA_USER")]
    pub user: Option<String>,
    /// File with the password of the Kafka user
    #[arg(
        id = "kafka_password_file",
        long = "kafka-password-file",
        env = "EO_KAFKA_PASSWORD_FILE"
    )]
    pub password_file: Option<PathBuf>,
    /// How the Kafka user logs in [default: scram-sha-512]
    #[arg(
        id = "kafka_sasl_mechanism",
        long = "kafka-sasl-mechanism",
        env = "EO_KAFKA_SASL_MECHANISM",
        value_enum
    )]
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Whether the brokers speak TLS [default: true with one of the next three, else false]
    #[arg(id = "kafka_tls", long = "kafka-tls", env = "EO_KAFKA_TLS")]
    pub tls: Option<bool>,
    /// Certificate authority of the brokers [default: the system's]
    #[arg(id = "kafka_ca_file", long = "kafka-ca-file", env = "EO_KAFKA_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Certificate of this agent for the brokers, for mutual TLS
    #[arg(id = "kafka_cert_file", long = "kafka-cert-file", env = "EO_KAFKA_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(id = "kafka_key_file", long = "kafka-key-file", env = "EO_KAFKA_KEY_FILE")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
pub enum SaslMechanism {
    #[serde(rename = "plain")]
    #[value(name = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

/// Settings after all checks.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    pub brokers: Vec<String>,
    pub login: Option<KafkaLogin>,
    pub tls: bool,
    /// Authority that signed the brokers' certificates; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this agent.
    pub certificate_files: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone)]
pub struct KafkaLogin {
    pub mechanism: SaslMechanism,
    pub user: String,
    pub password_file: PathBuf,
}

/// Where rows go: exactly one bus, or none.
pub fn sink(
    asked: Option<SinkKind>,
    nats_url: Option<&String>,
    kafka: &KafkaOptions,
) -> Result<SinkKind, ConfigError> {
    let wrong =
        |setting: &str, problem: &str, next: &str| Err(ConfigError::new(setting, problem, next));
    let has_kafka = kafka.brokers.is_some();
    match asked {
        None | Some(SinkKind::Nats | SinkKind::Kafka) if has_kafka && nats_url.is_some() => wrong(
            "kafka.brokers",
            "is set together with nats_url",
            "keep one of the two: an agent sends to one bus",
        ),
        Some(SinkKind::Nats) if has_kafka => {
            wrong("kafka.brokers", "is set, but sink is `nats`", "remove it, or set sink to kafka")
        }
        Some(SinkKind::Kafka) if nats_url.is_some() => {
            wrong("nats_url", "is set, but sink is `kafka`", "remove it, or set sink to nats")
        }
        Some(SinkKind::Kafka) if !has_kafka => wrong(
            "kafka.brokers",
            "missing for sink `kafka`",
            "give --kafka-brokers HOST:9092 or the key brokers in the table [kafka]",
        ),
        None if !has_kafka && *kafka != KafkaOptions::default() => wrong(
            "kafka.brokers",
            "missing, but other settings of Kafka are there",
            "give --kafka-brokers HOST:9092 or remove them",
        ),
        None if has_kafka => Ok(SinkKind::Kafka),
        asked => Ok(asked.unwrap_or(SinkKind::Nats)),
    }
}

/// Refuses a tenant whose name Kafka would not take in a topic.
pub fn check_topics(sink: SinkKind, tenant: &str) -> Result<(), ConfigError> {
    let longest = Kind::ALL.iter().map(|kind| topic(tenant, *kind).len()).max().unwrap_or(0);
    if sink != SinkKind::Kafka || longest <= MAX_TOPIC_BYTES {
        return Ok(());
    }
    Err(ConfigError::new(
        "tenant",
        &format!("makes a topic of {longest} bytes"),
        &format!("give a shorter name: Kafka takes {MAX_TOPIC_BYTES}"),
    ))
}

impl KafkaOptions {
    /// These options, with gaps filled from `other`.
    pub fn or(self, other: KafkaOptions) -> KafkaOptions {
        KafkaOptions {
            brokers: self.brokers.or(other.brokers),
            user: self.user.or(other.user),
            password_file: self.password_file.or(other.password_file),
            sasl_mechanism: self.sasl_mechanism.or(other.sasl_mechanism),
            tls: self.tls.or(other.tls),
            ca_file: self.ca_file.or(other.ca_file),
            cert_file: self.cert_file.or(other.cert_file),
            key_file: self.key_file.or(other.key_file),
        }
    }

    /// Checks every value; None without brokers.
    pub fn resolve(self) -> Result<Option<KafkaConfig>, ConfigError> {
        let Some(brokers) = self.brokers else { return Ok(None) };
        let certificate_files = match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(ConfigError::new(
                    "kafka.cert_file",
                    "certificate and key belong together",
                    "set both kafka.cert_file and kafka.key_file, or neither",
                ))
            }
        };
        let needs_tls = self.ca_file.is_some() || certificate_files.is_some();
        if self.tls == Some(false) && needs_tls {
            return Err(ConfigError::new(
                "kafka.tls",
                "is false, but certificates are given",
                "remove it, or remove kafka.ca_file, kafka.cert_file and kafka.key_file",
            ));
        }
        let login = match (self.user, self.password_file) {
            (Some(user), Some(password_file)) => Some(KafkaLogin {
                mechanism: self.sasl_mechanism.unwrap_or(SaslMechanism::ScramSha512),
                user,
                password_file,
            }),
            (None, None) if self.sasl_mechanism.is_none() => None,
            _ => {
                return Err(ConfigError::new(
                    "kafka.user",
                    "user and password file belong together",
                    "set both kafka.user and kafka.password_file, or neither and no kafka.sasl_mechanism",
                ))
            }
        };
        let config = KafkaConfig {
            brokers: brokers.into_iter().map(|broker| broker.trim().to_owned()).collect(),
            login,
            tls: self.tls.unwrap_or(needs_tls),
            ca_file: self.ca_file,
            certificate_files,
        };
        config.check_brokers()?;
        Ok(Some(config))
    }
}

impl KafkaConfig {
    fn check_brokers(&self) -> Result<(), ConfigError> {
        let wrong =
            |problem: &str, next: &str| Err(ConfigError::new("kafka.brokers", problem, next));
        if self.brokers.is_empty() || self.brokers.len() > MAX_BROKERS {
            let problem = format!("names {} brokers", self.brokers.len());
            return wrong(&problem, &format!("name 1 to {MAX_BROKERS}"));
        }
        for broker in &self.brokers {
            let instead = "kafka.user and kafka.password_file";
            address::without_login("kafka.brokers", broker, instead)?;
            let (host, port) = broker.rsplit_once(':').unwrap_or_default();
            if host.is_empty()
                || host.contains('/')
                || !port.parse().is_ok_and(|port: u16| port > 0)
            {
                return wrong(&format!("{broker:?} is not HOST:PORT"), "e.g. kafka-1.example:9092");
            }
            // The client takes all up to the first colon for the certificate's name.
            if host.contains(':') && (self.tls || !host.starts_with('[')) {
                let problem = format!("{broker:?} is an IPv6 address");
                return wrong(&problem, "give its name, or without TLS [ADDRESS]:PORT");
            }
        }
        Ok(())
    }

    /// The password; never logged.
    pub fn read_password(&self) -> Result<Option<(KafkaLogin, String)>, ConfigError> {
        let Some(login) = &self.login else { return Ok(None) };
        let password = secret("kafka.password_file", &login.password_file)?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        if password.is_empty() {
            let problem = format!("{} is empty", login.password_file.display());
            return Err(ConfigError::new(
                "kafka.password_file",
                &problem,
                "write the password into it",
            ));
        }
        Ok(Some((login.clone(), password)))
    }

    /// Whom to trust and who we are; None where the brokers speak no TLS.
    pub fn read_tls(&self) -> Result<Option<Arc<ClientConfig>>, ConfigError> {
        if !self.tls {
            return Ok(None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("kafka.tls", &error, "report this"))?
            .with_root_certificates(self.roots()?);
        let Some((certificate_file, key_file)) = &self.certificate_files else {
            return Ok(Some(Arc::new(builder.with_no_client_auth())));
        };
        let chain = certificates("kafka.cert_file", certificate_file)?;
        let key = PrivateKeyDer::from_pem_slice(secret("kafka.key_file", key_file)?.as_bytes())
            .map_err(|error| {
                // Only the kind of problem: the error could quote the key.
                let kind = match error {
                    rustls::pki_types::pem::Error::NoItemsFound => "holds no private key",
                    _ => "is no readable private key",
                };
                let problem = format!("{} {kind}", key_file.display());
                ConfigError::new("kafka.key_file", &problem, "give an unencrypted key in PEM")
            })?;
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
            unusable("kafka.cert_file", &error, "give a certificate and its key")
        })?;
        Ok(Some(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, ConfigError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in certificates("kafka.ca_file", path)? {
            roots.add(certificate).map_err(|error| {
                unusable("kafka.ca_file", &error, "give the authority's certificate")
            })?;
        }
        Ok(roots)
    }
}

fn certificates(
    setting: &str,
    path: &std::path::Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = secret(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let problem = format!("{} holds no certificate", path.display());
            Err(ConfigError::new(setting, &problem, "give a file with certificates in PEM"))
        }
    }
}

fn unusable(setting: &str, error: &rustls::Error, next: &str) -> ConfigError {
    ConfigError::new(setting, &error.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Options};
    use super::*;

    fn resolved(toml: &str) -> Result<Config, ConfigError> {
        Options::from_toml(toml, "agent.toml").and_then(Options::resolve)
    }

    #[test]
    fn brokers_choose_kafka_and_files_choose_tls() {
        let config = resolved("[kafka]\nbrokers = ['a:9092', 'b:9093']\nca_file = 'ca'\n").unwrap();
        let kafka = config.kafka.unwrap();
        assert_eq!(config.sink, SinkKind::Kafka);
        assert_eq!((kafka.brokers.len(), kafka.tls), (2, true));
        assert!(!resolved("[kafka]\nbrokers = ['[::1]:9092']\n").unwrap().kafka.unwrap().tls);
        let both = resolved("nats_url = 'nats://a'\nsink = 'stdout'\n[kafka]\nbrokers = ['a:1']\n");
        assert_eq!(both.unwrap().sink, SinkKind::Stdout);
    }

    #[test]
    fn a_mistake_names_the_key_and_the_next_step() {
        for (toml, words) in [
            (
                "nats_url = 'nats://a'\n[kafka]\nbrokers = ['a:9092']\n",
                &["kafka.brokers", "nats_url"][..],
            ),
            ("sink = 'nats'\n[kafka]\nbrokers = ['a:9092']\n", &["kafka.brokers", "sink"]),
            ("sink = 'kafka'\nnats_url = 'nats://a'\n", &["nats_url", "sink"]),
            ("sink = 'kafka'\n", &["kafka.brokers", "--kafka-brokers"]),
            ("[kafka]\nuser = 'a'\n", &["kafka.brokers", "missing"]),
            ("[kafka]\nbrokers = []\n", &["kafka.brokers", "1 to 64"]),
            ("[kafka]\nbrokers = ['a']\n", &["kafka.brokers", "\"a\"", "HOST:PORT"]),
            ("[kafka]\nbrokers = ['a:0']\n", &["kafka.brokers", "HOST:PORT"]),
            ("[kafka]\nbrokers = ['kafka://a:9092']\n", &["kafka.brokers", "HOST:PORT"]),
            ("[kafka]\nbrokers = ['[::1]:9092']\ntls = true\n", &["kafka.brokers", "IPv6"]),
            ("[kafka]\nbrokers = ['a:1']\nuser = 'a'\n", &["kafka.user", "kafka.password_file"]),
            ("[kafka]\nbrokers = ['a:1']\nsasl_mechanism = 'plain'\n", &["kafka.user"]),
            (
                "[kafka]\nbrokers = ['a:1']\nsasl_mechanism = 'gssapi'\n",
                &["gssapi", "scram-sha-256"],
            ),
            ("[kafka]\nbrokers = ['a:1']\nkey_file = 'a'\n", &["kafka.cert_file", "both"]),
            ("[kafka]\nbrokers = ['a:1']\ntls = false\nca_file = 'a'\n", &["kafka.tls"]),
            ("[kafka]\nbroker = 'a:1'\n", &["line 2", "broker", "brokers"]),
        ] {
            let message = resolved(toml).unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "{message:?} should name {word:?}");
            }
        }
        let long = format!("tenant = '{}'\n[kafka]\nbrokers = ['a:1']\n", "t".repeat(240));
        assert!(resolved(&long).unwrap_err().to_string().starts_with("tenant: "));
    }

    #[test]
    fn a_gateway_takes_the_same_table() {
        let toml =
            "[[replay]]\nname = 'a'\nhost = 'b'\npath = 'c'\n[kafka]\nbrokers = ['a:9092']\n";
        let (options, _) = super::super::gateway::from_toml(toml, "gateway.toml").unwrap();
        assert_eq!(options.resolve().unwrap().sink, SinkKind::Kafka);
    }

    #[test]
    fn secrets_are_read_from_files_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3cret\n").unwrap();
        let file = file.display();
        let toml = format!("[kafka]\nbrokers = ['a:1']\nuser = 'eo'\npassword_file = '{file}'\ncert_file = '{file}'\nkey_file = '{file}'\nca_file = '{file}'\n");
        let config = resolved(&toml).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        let kafka = config.kafka.unwrap();
        let (login, password) = kafka.read_password().unwrap().unwrap();
        assert_eq!((login.mechanism, password.as_str()), (SaslMechanism::ScramSha512, "s3cret"));
        let message = kafka.read_tls().unwrap_err().to_string();
        assert!(message.contains("kafka.ca_file") && !message.contains("s3cret"), "{message}");
        let message = KafkaConfig { ca_file: None, ..kafka }.read_tls().unwrap_err().to_string();
        assert!(message.contains("kafka.cert_file") && !message.contains("s3cret"), "{message}");
    }
}
