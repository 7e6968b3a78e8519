//! The running gateway: devices, and the sink they share.

use std::time::Duration;

use super::{devices, Asking};
use crate::config::gateway::Devices;
use crate::config::{Config, ConfigError};
use crate::lifetime::Lifetime;
use crate::publish::Publishing;

/// Batches that may wait for the publisher; then the devices wait.
const QUEUE_BATCHES: usize = 1024;
const STOP_WITHIN: Duration = Duration::from_millis(1800);

/// Asks all devices until SIGTERM, SIGINT or the end of the parent process.
pub async fn run(config: Config, devices: Devices) -> Result<(), ConfigError> {
    let mut lifetime = Lifetime::watch(config.parent_pid)?;
    let devices = devices::build(&devices, config.interval_seconds)?;
    let (publishing, sender) = Publishing::start(&config, QUEUE_BATCHES).await?;
    let mut asking = Asking::start(devices, &config, sender);
    tokio::select! {
        () = lifetime.over() => {}
        () = asking.watch() => {}
    }
    asking.stop().await;
    publishing.stop(STOP_WITHIN).await;
    Ok(())
}
