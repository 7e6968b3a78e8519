//! Kafka: the bus where a site has it already.
//!
//! A batch counts as delivered when all in-sync replicas have it (`acks=all`;
//! how many those must be is the topic's `min.insync.replicas`). One record at
//! a time is under way, so that order stays. An acknowledgement that got lost
//! leads to a second record with the same batch id, which the store takes once.
//!
//! There is one place that waits and tries again: the publisher. Here the first
//! failure is the answer, and the connection is made anew for the next try.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use rskafka::chrono::DateTime;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use rskafka::topic::Topic;
use rskafka::{BackoffConfig, BackoffError, ConnectionError};
use tokio::sync::Mutex;

use super::SendError;
use crate::clock;
use crate::config::{ConfigError, KafkaConfig, KafkaLogin, SaslMechanism};
use crate::wire::{place, topic, Batch, Kind, Place};

/// Who asks, in the brokers' logs and quotas: one name for all agents.
const CLIENT_ID: &str = "eo-agent";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer is the list of all topics.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Each is a connection to the leader of a partition. An agent needs one per
/// kind; a gateway sends for many nodes.
const MAX_PARTITIONS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

pub struct Kafka {
    config: KafkaConfig,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Kafka {
    /// Checks the files; the brokers may come up later.
    pub fn new(config: &KafkaConfig) -> Result<Kafka, ConfigError> {
        config.read_password()?;
        config.read_tls()?;
        let in_clear = |login: &KafkaLogin| login.mechanism == SaslMechanism::Plain;
        if !config.tls && config.login.as_ref().is_some_and(in_clear) {
            tracing::warn!("kafka.sasl_mechanism plain without kafka.tls: the password goes over the wire in clear text");
        }
        Ok(Kafka { config: config.clone(), connection: Mutex::new(None) })
    }

    /// Writes a record and waits for the acknowledgement of all in-sync replicas.
    pub async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        let Some(place) = place(&batch.subject) else {
            return Err(SendError::Refused(format!("{:?} is no subject", batch.subject)));
        };
        let sent = match self.connection().await {
            Ok(connection) => {
                let record = record(&place, batch);
                isolated(ACK_TIMEOUT, "acknowledgement", async move {
                    connection.produce(place, record).await
                })
                .await
            }
            Err(error) => Err(error),
        };
        if let Err(SendError::Away(_)) = &sent {
            // Addresses, leaders and certificates may have changed.
            *self.connection.lock().await = None;
        }
        sent
    }

    /// Which topics of a tenant are there; the reason where no broker answers.
    pub async fn probe(&self, tenant: &str) -> Result<String, String> {
        let connection = self.connection().await.map_err(|error| error.to_string())?;
        let wanted: Vec<String> = Kind::ALL.iter().map(|kind| topic(tenant, *kind)).collect();
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|name| !connection.topics.iter().any(|topic| topic.name == **name))
            .map(String::as_str)
            .collect();
        match missing.as_slice() {
            [] => Ok(format!("reachable at {}", self.config.brokers.join(", "))),
            missing => Err(format!("reachable, but {}", no_topic(&missing.join(", ")))),
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, SendError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let builder = self.builder().map_err(|error| SendError::Away(error.to_string()))?;
        let connecting = async move { connect(builder).await.map_err(|error| away(&error)) };
        let connected = isolated(CONNECT_TIMEOUT, "answer from a broker", connecting).await;
        let connection = Arc::new(connected.map_err(|error| self.with_advice(&error))?);
        tracing::info!("kafka: connected");
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Files are read each time: they may have been renewed.
    fn builder(&self) -> Result<ClientBuilder, ConfigError> {
        // A deadline of nothing: no second try inside the library.
        let once = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
        let mut builder = ClientBuilder::new(self.config.brokers.clone())
            .client_id(CLIENT_ID)
            .max_message_size(MAX_ANSWER_BYTES)
            .backoff_config(once);
        if let Some(tls) = self.config.read_tls()? {
            builder = builder.tls_config(tls);
        }
        if let Some((login, password)) = self.config.read_password()? {
            let credentials = Credentials::new(login.user, password);
            builder = builder.sasl_config(match login.mechanism {
                SaslMechanism::Plain => SaslConfig::Plain(credentials),
                SaslMechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
                SaslMechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
            });
        }
        Ok(builder)
    }

    /// Why there is no connection, and what to check.
    fn with_advice(&self, error: &SendError) -> SendError {
        let tls = if self.config.tls {
            "that kafka.ca_file signed the brokers' certificates, that they name the host, that no certificate has expired, whether the brokers ask for kafka.cert_file"
        } else {
            "whether the brokers ask for TLS (kafka.tls, kafka.ca_file)"
        };
        let login = match self.config.login {
            Some(_) => "kafka.user, kafka.password_file and kafka.sasl_mechanism",
            None => "whether they ask for kafka.user",
        };
        SendError::Away(format!("not connected ({error}); check kafka.brokers, {tls}, {login}"))
    }
}

/// What is known while the brokers answer.
struct Connection {
    client: Client,
    topics: Vec<Topic>,
    partitions: Mutex<LruCache<(String, i32), Arc<PartitionClient>>>,
}

async fn connect(builder: ClientBuilder) -> Result<Connection, Error> {
    let client = builder.build().await?;
    let mut topics = client.list_topics().await?;
    topics.retain(|topic| topic.name.starts_with("eo.v1."));
    Ok(Connection { client, topics, partitions: Mutex::new(LruCache::new(MAX_PARTITIONS)) })
}

impl Connection {
    async fn produce(&self, place: Place, record: Record) -> Result<(), SendError> {
        let classify = |error: Error| classify(&place.topic, &error);
        let partition = self.partition(&place).await?;
        // The batch is compressed already.
        let written = partition.produce(vec![record], Compression::NoCompression).await;
        written.map(drop).map_err(classify)
    }

    /// The partition that a node's key belongs to.
    async fn partition(&self, place: &Place) -> Result<Arc<PartitionClient>, SendError> {
        let found = self.topics.iter().find(|topic| topic.name == place.topic);
        let ids: Vec<i32> =
            found.map(|topic| topic.partitions.iter().copied().collect()).unwrap_or_default();
        let Some(id) = partition_of(&place.key, &ids) else {
            return Err(SendError::Away(no_topic(&place.topic)));
        };
        let name = (place.topic.clone(), id);
        let mut partitions = self.partitions.lock().await;
        if let Some(client) = partitions.get(&name) {
            return Ok(client.clone());
        }
        let client = self
            .client
            .partition_client(place.topic.as_str(), id, UnknownTopicHandling::Error)
            .await
            .map_err(|error| classify(&place.topic, &error))?;
        let client = Arc::new(client);
        partitions.put(name, client.clone());
        Ok(client)
    }
}

/// As librdkafka's `consistent` partitioner does it.
fn partition_of(key: &str, ids: &[i32]) -> Option<i32> {
    let hash = crc32fast::hash(key.as_bytes()) as usize;
    ids.get(hash.checked_rem(ids.len())?).copied()
}

fn record(place: &Place, batch: &Batch) -> Record {
    let headers = [
        ("Eo-Subject", batch.subject.clone().into_bytes()),
        ("Eo-Batch-Id", batch.id.to_string().into_bytes()),
    ];
    // -1 is no time; others before 1970 a broker refuses.
    let millis = clock::unix_millis().max(-1);
    Record {
        key: Some(place.key.clone().into_bytes()),
        value: Some(batch.payload.to_vec()),
        headers: BTreeMap::from(headers.map(|(name, value)| (name.to_owned(), value))),
        timestamp: DateTime::from_timestamp_millis(millis).unwrap_or_default(),
    }
}

/// Runs the library in a task of its own, with a limit: an answer that makes it
/// panic costs one try and not the publisher.
async fn isolated<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, SendError>> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::spawn(tokio::time::timeout(limit, work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(SendError::Away(format!("no {what} within {} s", limit.as_secs()))),
        Err(_) => Err(SendError::Away("the client gave up on what a broker answered".into())),
    }
}

fn no_topic(name: &str) -> String {
    format!("there is no topic {name}, or this user may not describe it: create it (kafka-topics.sh --create --topic …) and allow this user WRITE and DESCRIBE")
}

/// What to do about an error of a topic.
fn classify(topic: &str, error: &Error) -> SendError {
    let Error::ServerError { protocol_error, .. } = error else { return away(error) };
    match protocol_error {
        ProtocolError::UnknownTopicOrPartition => SendError::Away(no_topic(topic)),
        ProtocolError::TopicAuthorizationFailed => SendError::Away(format!(
            "this user may not write to {topic}: allow it WRITE and DESCRIBE there"
        )),
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => SendError::Refused(
            format!("{topic} takes no record of this size: raise its max.message.bytes to 1 MiB"),
        ),
        other => SendError::Away(format!("{topic}: {other}")),
    }
}

/// The cause, without what the library says of its own tries.
fn away(error: &Error) -> SendError {
    let BackoffError::DeadlineExceded { source, .. } = match error {
        Error::RetryFailed(failed) | Error::Connection(ConnectionError::RetryFailed(failed)) => {
            failed
        }
        other => return SendError::Away(other.to_string()),
    };
    SendError::Away(source.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_on_its_partition_and_keys_spread() {
        let ids: Vec<i32> = (0..12).collect();
        let chosen: Vec<i32> =
            (0..600).filter_map(|node| partition_of(&format!("local.node-{node}"), &ids)).collect();
        assert_eq!(chosen[7], partition_of("local.node-7", &ids).unwrap());
        for id in ids {
            let share = chosen.iter().filter(|one| **one == id).count();
            assert!((20..=90).contains(&share), "partition {id}: {share} of 600 nodes");
        }
        assert_eq!(partition_of("local.node-7", &[]), None);
        // CRC-32 of "123456789" is 0xcbf43926.
        assert_eq!(
            partition_of("123456789", &[10, 11, 12]),
            Some(10 + (0xcbf4_3926u32 % 3) as i32)
        );
    }

    #[tokio::test]
    async fn a_panic_in_the_library_is_one_failed_try() {
        let gone: Result<(), SendError> =
            isolated(ACK_TIMEOUT, "x", async { panic!("made up") }).await;
        assert!(matches!(gone, Err(SendError::Away(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_is_not_waited_for_without_end() {
        let gone: Result<(), SendError> =
            isolated(ACK_TIMEOUT, "acknowledgement", std::future::pending()).await;
        assert_eq!(gone.unwrap_err().to_string(), "no acknowledgement within 10 s");
    }

    #[tokio::test]
    async fn a_refused_connection_says_where_and_what_to_check() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let config = KafkaConfig {
            brokers: vec![address.clone()],
            login: None,
            tls: false,
            ca_file: None,
            certificate_files: None,
        };
        let reason = Kafka::new(&config).unwrap().probe("local").await.unwrap_err();
        for word in [&*address, "refused", "kafka.brokers", "kafka.tls"] {
            assert!(reason.contains(word), "{reason:?} should name {word:?}");
        }
    }
}
