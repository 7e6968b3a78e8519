//! The bus of this agent: exactly one of those it can speak to.

use super::{Kafka, Nats, SendError};
use crate::config::{Config, ConfigError, SinkKind};
use crate::wire::Batch;

pub enum Bus {
    Nats(Box<Nats>),
    Kafka(Box<Kafka>),
    #[cfg(test)]
    Rehearsed(super::tests::Rehearsed),
}

impl Bus {
    /// Checks the settings; the bus itself may come up later.
    pub async fn connect(config: &Config) -> Result<Bus, ConfigError> {
        if let (SinkKind::Kafka, Some(kafka)) = (config.sink, &config.kafka) {
            return Ok(Bus::Kafka(Box::new(Kafka::new(kafka)?)));
        }
        Ok(Bus::Nats(Box::new(Nats::connect(&config.nats, client_name(config)).await?)))
    }

    /// Returns once the bus keeps the batch.
    pub async fn send(&self, batch: &Batch) -> Result<(), SendError> {
        match self {
            Bus::Nats(nats) => nats.send(batch).await,
            Bus::Kafka(kafka) => kafka.send(batch).await,
            #[cfg(test)]
            Bus::Rehearsed(bus) => bus.send(batch),
        }
    }

    /// Returns when the bus has come (back) up, where that is told.
    pub async fn reconnected(&self) {
        match self {
            Bus::Nats(nats) => nats.reconnected().await,
            Bus::Kafka(_) => std::future::pending().await,
            #[cfg(test)]
            Bus::Rehearsed(_) => std::future::pending().await,
        }
    }
}

/// The bus by name, and whether it can be reached; None where rows go elsewhere.
pub async fn reach(config: &Config) -> Option<(&'static str, Result<String, String>)> {
    let readable = |error: ConfigError| error.to_string();
    match (config.sink, &config.kafka) {
        (SinkKind::Kafka, Some(kafka)) => {
            let reached = match Kafka::new(kafka) {
                Ok(kafka) => kafka.probe(&config.tenant).await,
                Err(error) => Err(readable(error)),
            };
            Some(("kafka", reached))
        }
        (SinkKind::Nats, _) => {
            let reached = Nats::probe(&config.nats, client_name(config)).await;
            Some(("nats", reached.map_err(readable)))
        }
        _ => None,
    }
}

fn client_name(config: &Config) -> String {
    format!("eo-agent {} {}", config.tenant, config.host)
}
