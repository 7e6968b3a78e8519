//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Options;

/// Measures what each process of this node uses, and sends it to the bus.
#[derive(Debug, Parser)]
#[command(name = "eo-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure until stopped.
    Run {
        /// TOML file; its keys are the long flags with `_` for `-`.
        #[arg(long, env = "EO_AGENT_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Sample for some seconds and say what ran, function by function.
    Profile(ProfileOptions),
    /// Ask PDUs and BMCs for many nodes, until stopped.
    Meters {
        /// TOML file with the devices; its other keys are those of `run`.
        #[arg(long, env = "EO_GATEWAY_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Say what this node offers, what is missing and why.
    Check {
        /// TOML file as for `run`.
        #[arg(long, env = "EO_AGENT_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
}

/// What `profile` is asked to do.
#[derive(Debug, clap::Args)]
pub struct ProfileOptions {
    /// How long to sample
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// One process; without it, all of the node
    #[arg(long)]
    pub pid: Option<i32>,
    /// Samples a second and CPU, 1 to 999
    #[arg(long, default_value_t = 99)]
    pub hz: u32,
    #[arg(long, value_enum, default_value = "folded")]
    pub format: ProfileFormat,
    /// File to write; without it, standard output
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Copied from the top of the user stack with each sample, up to 61440; 0: frame pointers only
    #[arg(long, default_value_t = 16384)]
    pub stack_bytes: u32,
    /// Don't ask JVMs for the names of their compiled code
    #[arg(long)]
    pub no_jvm_attach: bool,
    /// Mount point of procfs
    #[arg(long, default_value = "/proc")]
    pub procfs: PathBuf,
    /// Mount point of sysfs
    #[arg(long, default_value = "/sys")]
    pub sysfs: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileFormat {
    /// One line per stack, for the eye, flamegraph.pl and speedscope
    Folded,
    /// Gzipped profile.proto, for go tool pprof, Pyroscope and Parca
    Pprof,
    /// OTLP profiles request, for the OpenTelemetry Collector
    Otlp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
