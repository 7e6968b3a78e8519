//! What this node offers: one list for `check`, for the log at the start and
//! for the node's inventory row.
//!
//! Flows in: the settings, the meters that were found, what the kernel allows.
//! Flows out: an `Ability` for everything that a figure depends on. One that is
//! missing says three things: why, what to do, and what its absence costs in
//! accuracy. The last is a property of the ability, not of the machine, and
//! stands in one table (`costs`), so that no ability can be without it. `look`
//! asks the machine; this module is pure.

mod look;

pub use look::{bus, container_source, device, look, told_by_cloud};

pub const INSTANCE_TYPE: &str = "instance_type";
/// Where an ability has no further words: it was asked for and is there.
const NO_WORDS: &str = "";

/// One thing that figures depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// As in the node's row: `perf_event`, `meter:rapl`, `container_names:cri:/run/x.sock`.
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There, with what was found.
    There(String),
    Missing {
        why: String,
        /// What a person can do about it.
        next: String,
    },
}

impl Ability {
    pub fn there(name: &str, found: &str) -> Ability {
        Ability { name: name.into(), state: State::There(found.into()) }
    }

    pub fn missing(name: &str, why: &str, next: &str) -> Ability {
        Ability { name: name.into(), state: State::Missing { why: why.into(), next: next.into() } }
    }

    /// There or not, by a probe that says why not.
    fn probed(name: &str, probe: Result<(), String>, next: &str) -> Ability {
        match probe {
            Ok(()) => Ability::there(name, NO_WORDS),
            Err(why) => Ability::missing(name, &why, next),
        }
    }

    pub fn is_there(&self) -> bool {
        matches!(self.state, State::There(_))
    }

    /// What figures lose without it.
    pub fn costs(&self) -> &'static str {
        costs(&self.name)
    }

    /// For the log and the node's row: `name: why; what to do; without it: cost`.
    pub fn sentence(&self) -> String {
        match &self.state {
            State::There(found) if found.is_empty() => self.name.clone(),
            State::There(found) => format!("{}: {found}", self.name),
            State::Missing { why, next } => {
                format!("{}: {why}; {next}; without it: {}", self.name, self.costs())
            }
        }
    }
}

/// Names of what is there, for the node's row.
pub fn names(abilities: &[Ability]) -> Vec<String> {
    abilities.iter().filter(|one| one.is_there()).map(|one| one.name.clone()).collect()
}

/// Sentences about what is missing, for the node's row.
pub fn missing(abilities: &[Ability]) -> Vec<String> {
    abilities.iter().filter(|one| !one.is_there()).map(Ability::sentence).collect()
}

/// What the absence of each ability costs in accuracy; the first part of a name
/// stands for all that begin with it.
const COSTS: &[(&str, &str)] = &[
    (
        "perf_event",
        "no profiles and no hotspots: energy by function is unknown, energy by workload stays as good",
    ),
    (
        "kernel_symbols",
        "functions of the kernel have addresses for names; CPU time and energy of programs stay right",
    ),
    (
        "replaced_files",
        "of programs whose file was replaced since they started, stacks are cut off and functions have no names; their CPU time stays right",
    ),
    (
        "jvm_names",
        "methods of Java programs of other users have no names where the JVM was never attached to before; their CPU time stays right",
    ),
    (
        "stack_buffers",
        "some stack samples are lost while the node is busy; how many is in the agent's metrics, and shares by function get wider",
    ),
    (
        "process_details",
        "of other users' processes I/O, switches, EO_WORKLOAD, language and checksum are NULL, and workloads are told apart by command name only; CPU, memory and energy stay right in sum",
    ),
    (
        "hardware_counters",
        "active power is shared by CPU time alone, so that programs that do more per cycle look cheaper than they are",
    ),
    (
        "open_files",
        "nothing in accuracy; a look at many processes costs more CPU time",
    ),
    (
        "cgroups",
        "CPU quotas are unknown (cpus_allowed is the affinity alone), and so is CPU time that no process shows",
    ),
    ("meter:kernel", "the node's CPU time is unknown: what no process shows is not seen as unattributed"),
    (
        "meter:none",
        "the node's power is estimated from its CPU time (tier model), with a wide interval",
    ),
    (
        "meter:rapl",
        "no on-die energy of CPU and memory: without another meter the node's power is an estimate (tier model)",
    ),
    (
        "meter:hwmon",
        "no temperature and no power from sensors: where RAPL is missing too, the node's power is an estimate",
    ),
    (
        "meter:nvml",
        "power of NVIDIA GPUs is unknown, not zero; on a node without such GPUs nothing is lost",
    ),
    (
        "gpu_processes",
        "whose the processes on GPUs are is unknown: what GPUs draw above rest is unattributed",
    ),
    (
        "meter:device",
        "what this meter feeds has no figure at the wall: lower tiers speak for its nodes, without power supplies and fans",
    ),
    (
        "container_names",
        "containers and pods are known by their ids, and the same service on two nodes is two workloads",
    ),
    (
        "instance_type",
        "price and machine class are unknown: costs are NULL, and an estimate of power falls back on the CPU's model",
    ),
    ("bus", "nothing until the spool is full; then the oldest batches are dropped and counted"),
];

fn costs(name: &str) -> &'static str {
    let known = COSTS.iter().find(|(start, _)| {
        name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    known.map_or("unknown", |(_, cost)| cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ability_says_why_what_to_do_and_what_it_costs() {
        let one = Ability::missing("perf_event", "not permitted", "grant CAP_PERFMON");
        assert_eq!(
            one.sentence(),
            "perf_event: not permitted; grant CAP_PERFMON; without it: no profiles and no hotspots: energy by function is unknown, energy by workload stays as good"
        );
        let there = Ability::there("meter:rapl", "zones package-0");
        assert_eq!(there.sentence(), "meter:rapl: zones package-0");
        let list = [one.clone(), there];
        assert_eq!(
            (names(&list), missing(&list)),
            (vec!["meter:rapl".into()], vec![one.sentence()])
        );
    }

    #[test]
    fn a_name_with_more_behind_it_costs_what_its_kind_costs() {
        assert_eq!(costs("container_names:cri:/run/x.sock"), costs("container_names"));
        assert_eq!(costs("meter:device:bmc-a"), costs("meter:device"));
        assert_eq!(costs("perf_events"), "unknown");
        assert!(COSTS.iter().all(|(name, cost)| costs(name) == *cost), "no name hides another");
    }
}
