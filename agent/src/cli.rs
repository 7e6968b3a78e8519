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
