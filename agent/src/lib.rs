//! eo-agent: what a node does, and what it costs in energy.
//!
//! `scan` reads processes, `meters` read power, `profiler` samples stacks,
//! `inventory` says what exists, `gateway` asks PDUs and BMCs for many nodes. `agent` joins them once per interval into
//! rows, `wire` encodes the rows, `publish` brings them to the bus. Nothing
//! here interprets a figure: that is the analyzer's work.

mod agent;
mod cgroup;
mod check;
mod checksum;
mod cli;
mod clock;
mod cloud;
mod config;
mod containers;
mod counters;
mod elf_headers;
mod export;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod gpu_processes;
mod guest;
mod hardware;
mod https;
mod inventory;
mod language;
mod lifetime;
mod meters;
mod node;
mod own_metrics;
mod parent;
mod perf_event;
mod procfs;
mod profile_command;
mod profile_output;
mod profiler;
mod publish;
mod runtime_settings;
mod scan;
mod wire;
mod workload_key;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::{Config, ConfigError, Options};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code for a setting that can't be used.
const CONFIGURATION_ERROR: u8 = 2;
/// Exit code of a profile without a sample.
const NOTHING_FOUND: u8 = 1;

/// Runs the command line; the whole of the binary.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run { config, options } => resolve(config, *options).and_then(run),
        Command::Profile(options) => match profile_command::run(&options) {
            Ok(false) => return ExitCode::from(NOTHING_FOUND),
            outcome => outcome.map(drop),
        },
        Command::Check { config, options, output } => {
            resolve(config, *options).map(|config| check::print(&config, output))
        }
        Command::Meters { config, options } => gateway::start(&config, *options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("eo-agent: {error}");
            ExitCode::from(CONFIGURATION_ERROR)
        }
    }
}

fn resolve(file: Option<PathBuf>, flags: Options) -> Result<Config, ConfigError> {
    let file = file.as_deref().map(Options::from_file).transpose()?.unwrap_or_default();
    flags.or(file).resolve()
}

/// One thread does everything but profiling: a second core is for others.
fn run(config: Config) -> Result<(), ConfigError> {
    let level = config.log_level;
    run_until_stopped(level, agent::run(config))
}

/// Logging and the runtime, around what a command does.
fn run_until_stopped(
    level: tracing::Level,
    work: impl Future<Output = Result<(), ConfigError>>,
) -> Result<(), ConfigError> {
    // The Kafka client tells of every try; the publisher tells what comes of them.
    let library = if level >= tracing::Level::DEBUG { LevelFilter::INFO } else { LevelFilter::OFF };
    let filter = Targets::new().with_default(level).with_target("rskafka", library);
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .finish()
        .with(filter)
        .init();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            ConfigError::new(
                "runtime",
                &error.to_string(),
                "check the limits of open files and threads",
            )
        })?;
    runtime.block_on(work)
}
