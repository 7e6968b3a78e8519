//! The command line.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{ConfigError, Options};

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

/// A value that came from the environment, in the words of `ConfigError`: the
/// command line's own error would blame a flag that nobody gave.
pub fn wrong_variable(
    error: &clap::Error,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<ConfigError> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg)?.strip_prefix("--")?.split(' ').next()?;
    let value = text(ContextKind::InvalidValue)?;
    let key = flag.replace('-', "_");
    let name = format!("EO_{}", key.to_uppercase());
    let set = variable(&name)?;
    if set != value && !set.split(',').any(|part| part == value) {
        return None;
    }
    let allowed = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("use one of {}", values.join(", ")),
        _ => std::error::Error::source(error)
            .map_or("correct it".into(), |why| format!("correct it: {why}")),
    };
    Some(ConfigError::new(&key, &format!("{value:?} in {name} can't be used"), &allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, CommandFactory};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Every key, as the command line has them.
    fn keys() -> Vec<clap::Arg> {
        Options::augment_args(clap::Command::new("x")).get_arguments().cloned().collect()
    }

    /// `kafka_ca_file` is `ca_file` of the table `[kafka]`.
    fn in_file(key: &str, value: &str) -> String {
        match key.strip_prefix("kafka_") {
            Some(key) => format!("[kafka]\n{key} = {value}\n"),
            None => format!("{key} = {value}\n"),
        }
    }

    #[test]
    fn every_key_is_a_flag_a_variable_a_key_of_the_file_and_described() {
        assert!(keys().len() > 40);
        for key in keys() {
            let id = key.get_id().as_str();
            assert_eq!(key.get_long().map(|flag| flag.replace('-', "_")).as_deref(), Some(id));
            let variable = key.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(&*format!("EO_{}", id.to_uppercase())));
            assert!(key.get_help().is_some(), "{id}");
            // A table is the value of no key: the error is of its type, and names the line.
            let error =
                Options::from_toml(&in_file(id, "{}"), "agent.toml").unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{id} is no key of the file: {error}");
        }
    }

    #[test]
    fn a_variable_that_can_not_be_used_is_named_with_its_key() {
        let said = |arguments: &[&str], name: &'static str, value: &'static str| {
            let given = ["eo-agent", "run"].iter().chain(arguments).copied();
            let error = Cli::try_parse_from(given).unwrap_err();
            let set = move |asked: &str| (asked == name).then(|| value.to_owned());
            wrong_variable(&error, set).map(|error| error.to_string())
        };
        let number = said(&["--interval-seconds=soon"], "EO_INTERVAL_SECONDS", "soon").unwrap();
        assert!(number.contains("interval_seconds: \"soon\" in EO_INTERVAL_SECONDS"), "{number}");
        let choice = said(&["--sink=rabbit"], "EO_SINK", "rabbit").unwrap();
        assert!(choice.contains("use one of nats, kafka, stdout, file"), "{choice}");
        assert_eq!(said(&["--sink=rabbit"], "EO_SINK", "file"), None, "the flag is wrong");
        assert_eq!(said(&["--sink=rabbit"], "EO_PATH", "rabbit"), None);
        assert_eq!(said(&["--no-such-flag"], "EO_SINK", "x"), None);
    }
}
