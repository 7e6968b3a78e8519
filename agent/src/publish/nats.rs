//! NATS JetStream: the bus.
//!
//! A batch counts as delivered when the stream acknowledged it, not when it
//! was written to a socket. Refusals (no permission) come asynchronously and
//! show as a missing acknowledgement. The library reconnects by itself; this
//! module refuses to send while it does, so that the spool keeps the order.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::Notify;

use super::backoff::backoff;
use super::{SendError, FIRST_DELAY};
use crate::config::{ConfigError, NatsConfig};
use crate::wire::Batch;

const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);

pub struct Nats {
    client: Client,
    jetstream: Context,
    connected: Arc<Notify>,
    last_problem: Arc<Mutex<Option<String>>>,
    uses_tls: bool,
}

impl Nats {
    /// Starts connecting and returns at once: the bus may come up later.
    pub async fn connect(config: &NatsConfig, name: String) -> Result<Nats, ConfigError> {
        let connected = Arc::new(Notify::new());
        let notify = connected.clone();
        let last_problem = Arc::new(Mutex::new(None));
        let problem = last_problem.clone();
        let uses_tls = config.ca_file.is_some()
            || config.certificate_files.is_some()
            || config.url.starts_with("tls://");
        let options = login(config, name)?
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempt| {
                backoff(attempt, FIRST_DELAY, MAX_RECONNECT_DELAY, fastrand::f64())
            })
            .event_callback(move |event| {
                on_event(&event, &notify);
                if let (Event::ClientError(error), Ok(mut last)) = (&event, problem.lock()) {
                    *last = Some(error.to_string());
                }
                async {}
            });
        let client = options.connect(&config.url).await.map_err(wrong_url)?;
        let mut jetstream = async_nats::jetstream::new(client.clone());
        jetstream.set_timeout(ACK_TIMEOUT);
        Ok(Nats { client, jetstream, connected, last_problem, uses_tls })
    }

    /// Connects once; the error says why that failed.
    pub async fn probe(config: &NatsConfig, name: String) -> Result<String, ConfigError> {
        let connecting = login(config, name)?.connect(&config.url);
        let client = match tokio::time::timeout(ACK_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(wrong_url)?,
            Err(_) => return Err(wrong_url("no answer in time")),
        };
        Ok(format!("reachable at {}", client.server_info().host))
    }

    /// Publishes and waits for the stream's acknowledgement.
    pub async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        if self.client.connection_state() != State::Connected {
            return Err(SendError::Away(self.why_not_connected()));
        }
        let message =
            PublishMessage::build().payload(batch.payload.clone()).message_id(batch.id.to_string());
        let classify = |error: async_nats::jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => SendError::Refused(error.to_string()),
            PublishErrorKind::StreamNotFound => SendError::Away(format!(
                "no JetStream stream takes {}: create stream EO with subjects eo.v1.>",
                batch.subject
            )),
            _ => SendError::Away(error.to_string()),
        };
        let sent = self.jetstream.send_publish(batch.subject.clone(), message).await;
        let acknowledged = sent.map_err(classify)?;
        let wait = tokio::time::timeout(ACK_TIMEOUT, acknowledged.into_future());
        match wait.await {
            Ok(result) => result.map(drop).map_err(classify),
            Err(_) => Err(SendError::Away("no acknowledgement from the stream".into())),
        }
    }

    /// The library keeps the cause of a failed handshake to itself: what to check is said instead.
    fn why_not_connected(&self) -> String {
        let problem = self.last_problem.lock().ok().and_then(|problem| problem.clone());
        let problem = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
        let check = if self.uses_tls {
            "; check nats_url, that nats_ca_file signed the server's certificate, that this is for the host of nats_url and has not expired, and whether the server asks for nats_cert_file"
        } else {
            "; check nats_url, and whether the server asks for TLS or credentials"
        };
        format!("not connected{problem}{check}")
    }

    /// Returns when the bus has come (back) up.
    pub async fn reconnected(&self) {
        self.connected.notified().await;
    }
}

/// Name and credentials, checked.
fn login(config: &NatsConfig, name: String) -> Result<ConnectOptions, ConfigError> {
    let mut options = ConnectOptions::new().name(name).custom_inbox_prefix(&config.inbox_prefix);
    if let Some(credentials) = config.read_credentials()? {
        options = options.credentials(&credentials).map_err(|error| {
            ConfigError::new(
                "nats_creds_file",
                &error.to_string(),
                "give the path of a NATS .creds file (JWT and seed)",
            )
        })?;
    }
    if let Some((user, password)) = config.read_password()? {
        options = options.user_and_password(user, password);
    }
    config.check_files()?;
    if let Some(seed) = config.read_nkey()? {
        let known = nkeys_seed(&seed);
        known.then_some(()).ok_or_else(|| {
            ConfigError::new(
                "nats_nkey_file",
                "holds no user seed",
                "give the file of a seed that starts with SU",
            )
        })?;
        options = options.nkey(seed);
    }
    if let Some(authority) = &config.ca_file {
        options = options.add_root_certificates(authority.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.certificate_files {
        options =
            options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

fn wrong_url(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::new("nats_url", &error.to_string(), "use nats://HOST:PORT or tls://HOST:PORT")
}

/// Whether a text looks like the seed of a user's nkey; the server decides.
fn nkeys_seed(text: &str) -> bool {
    text.starts_with("SU")
        && text.len() == 58
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn on_event(event: &Event, connected: &Notify) {
    match event {
        Event::Connected => {
            tracing::info!("nats: connected");
            connected.notify_one();
        }
        Event::Disconnected => tracing::info!("nats: disconnected"),
        Event::ServerError(error) => tracing::warn!(
            %error,
            "nats: the server refused something; check that this agent may publish to eo.v1.<tenant>.<host>.> and subscribe to its inbox"
        ),
        other => tracing::debug!(event = %other, "nats"),
    }
}
