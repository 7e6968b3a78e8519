//! `eo-agent check`: what this node offers, in plain words.
//!
//! The abilities are those of a running agent (`abilities`); in addition the
//! runtimes, the bus and the devices of the file are asked once, here and now.

use serde_json::{json, Value};

use crate::abilities::{self, Ability, State};
use crate::cli::Output;
use crate::config::gateway::Devices;
use crate::config::{Config, ConfigError};
use crate::containers::refresh;
use crate::gateway;
use crate::meters;
use crate::node::{self, Node};
use crate::procfs::Proc;
use crate::profiler;
use crate::publish;

/// Sections of the text, by how the names of their abilities begin; the last takes the rest.
const SECTIONS: [(&str, &str); 4] = [
    ("meters", "meter:"),
    ("names of containers and pods", "container_names"),
    ("bus", "bus:"),
    ("capabilities", ""),
];

/// Looks, asks and prints. The error is that of a device's settings.
pub fn print(config: &Config, devices: &Devices, output: Output) -> Result<(), ConfigError> {
    let proc = Proc::new(&config.procfs);
    let node = node::discover(&proc, &config.sysfs);
    let meters = meters::detect(&proc, &config.sysfs, 100.0);
    let profiling = profiler::probe(&proc, &config.sysfs, config.sampling());
    let mut found = abilities::look(config, &node, &meters, profiling);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        found.extend(runtime.block_on(asked(config, devices))?);
    }
    match output {
        Output::Json => println!("{:#}", report(config, &node, &found)),
        Output::Text => print!("{}", text(config, &node, &found)),
    }
    Ok(())
}

/// What others answer.
async fn asked(config: &Config, devices: &Devices) -> Result<Vec<Ability>, ConfigError> {
    let names = refresh::findings(&config.name_sources).await;
    let mut found: Vec<_> =
        names.iter().map(|(name, answer)| abilities::container_source(name, answer)).collect();
    for (mut device, plan) in gateway::build(devices, config.interval_seconds)? {
        let polled = tokio::time::timeout(plan.timeout, device.poll(None)).await;
        let answer = match polled {
            Ok(Ok(_)) => Ok("answers".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", plan.timeout)),
        };
        found.push(abilities::device(device.meter(), device.name(), &answer));
        if let Some(farewell) = device.farewell() {
            let _ = tokio::task::spawn_blocking(farewell).await;
        }
    }
    let bus = publish::reach(config).await;
    found.extend(bus.map(|(name, reached)| abilities::bus(name, &reached)));
    Ok(found)
}

fn text(config: &Config, node: &Node, found: &[Ability]) -> String {
    let unknown = || "unknown".to_owned();
    let or = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
    let mut lines = vec![
        format!("node {} (tenant {})", config.host, config.tenant),
        format!("  type     {}", or(&node.node_type)),
        format!("  cpu      {}", or(&node.cpu_model)),
        format!("  threads  {}", node.cpu_threads.map_or_else(unknown, |n| n.to_string())),
        format!("  virtual  {}", node.is_virtual.map_or_else(unknown, |v| v.to_string())),
        format!("  governor {}", or(&node.frequencies.governor)),
        format!("  gpus     {}", node.gpus.as_ref().map_or_else(unknown, |g| g.len().to_string())),
    ];
    let section_of =
        |one: &Ability| SECTIONS.iter().position(|(_, start)| one.name.starts_with(start));
    for (index, (title, start)) in SECTIONS.iter().enumerate() {
        let inside: Vec<_> = found.iter().filter(|one| section_of(one) == Some(index)).collect();
        if !inside.is_empty() {
            lines.push((*title).to_owned());
        }
        for one in inside {
            let name = one.name.strip_prefix(start).filter(|rest| !rest.is_empty());
            ability_lines(name.unwrap_or(&one.name).trim_start_matches(':'), one, &mut lines);
        }
    }
    lines.join("\n") + "\n"
}

fn ability_lines(name: &str, one: &Ability, lines: &mut Vec<String>) {
    match &one.state {
        State::There(found) if found.is_empty() => lines.push(format!("  yes {name}")),
        State::There(found) => lines.push(format!("  yes {name}: {found}")),
        State::Missing { why, next } => lines.extend([
            format!("  no  {name}: {why}"),
            format!("      to do:      {next}"),
            format!("      without it: {}", one.costs()),
        ]),
    }
}

fn report(config: &Config, node: &Node, found: &[Ability]) -> Value {
    let part = |start: &str, key: &str| -> Vec<Value> {
        let of_part = found.iter().filter_map(|one| Some((one, one.name.strip_prefix(start)?)));
        of_part.map(|(one, name)| finding(key, name, one)).collect()
    };
    json!({
        "tenant": config.tenant,
        "host": config.host,
        "node_type": node.node_type,
        "cpu_model": node.cpu_model,
        "cpu_threads": node.cpu_threads,
        "memory_bytes": node.memory_bytes,
        "virtual": node.is_virtual,
        "instance_type": node.instance_type,
        "cpu_min_mhz": node.frequencies.min_mhz,
        "cpu_max_mhz": node.frequencies.max_mhz,
        "governor": node.frequencies.governor,
        "gpus": node.gpus,
        "container_names": part("container_names:", "source"),
        "bus": part("bus:", "bus").pop().map(|mut bus| {
            bus["reachable"] = bus["found"].take();
            bus
        }),
        "meters": part("meter:", "meter"),
        "abilities": found.iter().map(|one| finding("name", &one.name, one)).collect::<Vec<_>>(),
        "capabilities": abilities::names(found),
        "missing": abilities::missing(found),
    })
}

fn finding(key: &str, name: &str, one: &Ability) -> Value {
    let (finding, next, costs) = match &one.state {
        State::There(found) => (found, None, None),
        State::Missing { why, next } => (why, Some(next), Some(one.costs())),
    };
    json!({ key: name, "found": one.is_there(), "finding": finding, "next": next, "costs": costs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn found() -> Vec<Ability> {
        vec![
            Ability::missing("perf_event", "not permitted", "grant CAP_PERFMON"),
            Ability::there("meter:rapl", "zones package-0"),
            Ability::missing("container_names", "no socket", "name one"),
            Ability::there("bus:nats", "reachable"),
        ]
    }

    #[test]
    fn the_text_says_of_each_what_is_missing_what_to_do_and_what_it_costs() {
        let config = Options { host: Some("n".into()), ..Default::default() }.resolve().unwrap();
        let text = text(&config, &Node::default(), &found());
        let after = text.split_once("meters\n").unwrap().1;
        assert_eq!(
            after,
            "  yes rapl: zones package-0
names of containers and pods
  no  container_names: no socket
      to do:      name one
      without it: containers and pods are known by their ids, and the same service on two nodes is two workloads
bus
  yes nats: reachable
capabilities
  no  perf_event: not permitted
      to do:      grant CAP_PERFMON
      without it: no profiles and no hotspots: energy by function is unknown, energy by workload stays as good
"
        );
    }

    #[test]
    fn programs_read_the_same_list() {
        let config = Options::default().resolve().unwrap();
        let report = report(&config, &Node::default(), &found());
        assert_eq!(report["meters"][0]["meter"], "rapl");
        assert_eq!(report["bus"]["bus"], "nats");
        assert_eq!(report["abilities"].as_array().unwrap().len(), 4);
        assert_eq!(report["abilities"][0]["next"], "grant CAP_PERFMON");
        assert_eq!(report["capabilities"], json!(["meter:rapl", "bus:nats"]));
        assert!(report["missing"][0].as_str().unwrap().contains("without it"));
    }
}
