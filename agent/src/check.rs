//! `eo-agent check`: what this node offers, in plain words.

use serde_json::json;

use crate::agent::abilities;
use crate::cli::Output;
use crate::config::Config;
use crate::containers::refresh;
use crate::meters::{self, Finding};
use crate::node;
use crate::procfs::Proc;
use crate::profiler;
use crate::publish;

pub fn print(config: &Config, output: Output) {
    let proc = Proc::new(&config.procfs);
    let node = node::discover(&proc, &config.sysfs);
    let meters = meters::detect(&proc, &config.sysfs, 100.0);
    let abilities =
        abilities(config, &meters, profiler::probe(&proc, &config.sysfs, config.sampling()));
    let findings: Vec<(&str, bool, String)> = meters
        .iter()
        .map(|meter| match meter.finding() {
            Finding::Found(text) => (meter.name(), true, text),
            Finding::Missing(text) => (meter.name(), false, text),
        })
        .collect();
    let names = container_names(config);
    let bus = bus(config);
    if output == Output::Json {
        let meters: Vec<_> = findings
            .iter()
            .map(|(name, found, text)| json!({"meter": name, "found": found, "finding": text}))
            .collect();
        let report = json!({
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
            "container_names": names.iter().map(|(source, found)| json!({
                "source": source,
                "found": found.is_ok(),
                "finding": found.as_ref().unwrap_or_else(|reason| reason),
            })).collect::<Vec<_>>(),
            "bus": bus.as_ref().map(|(name, reached)| json!({
                "bus": name,
                "reachable": reached.is_ok(),
                "finding": reached.as_ref().unwrap_or_else(|reason| reason),
            })),
            "meters": meters,
            "capabilities": abilities.capabilities,
            "missing": abilities.missing,
        });
        println!("{report:#}");
        return;
    }
    let unknown = || "unknown".to_owned();
    println!("node {} (tenant {})", config.host, config.tenant);
    println!("  type     {}", node.node_type.unwrap_or_else(unknown));
    println!("  cpu      {}", node.cpu_model.unwrap_or_else(unknown));
    println!("  threads  {}", node.cpu_threads.map_or_else(unknown, |n| n.to_string()));
    println!("  virtual  {}", node.is_virtual.map_or_else(unknown, |v| v.to_string()));
    println!("  governor {}", node.frequencies.governor.unwrap_or_else(unknown));
    println!("  gpus     {}", node.gpus.map_or_else(unknown, |gpus| gpus.len().to_string()));
    println!("meters");
    for (name, found, text) in findings {
        println!("  {} {name}: {text}", if found { "yes" } else { "no " });
    }
    println!("names of containers and pods");
    match names.is_empty() {
        true => println!("  no  no container runtime has a socket here"),
        false => names.iter().for_each(|(source, found)| match found {
            Ok(text) => println!("  yes {source}: {text}"),
            Err(reason) => println!("  no  {source}: {reason}"),
        }),
    }
    if let Some((name, reached)) = bus {
        println!("bus");
        match reached {
            Ok(text) => println!("  yes {name}: {text}"),
            Err(reason) => println!("  no  {name}: {reason}"),
        }
    }
    println!("capabilities");
    abilities.capabilities.iter().for_each(|name| println!("  yes {name}"));
    abilities.missing.iter().for_each(|reason| println!("  no  {reason}"));
}

fn container_names(config: &Config) -> Vec<(String, Result<String, String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    runtime.block_on(refresh::findings(&config.name_sources))
}

fn bus(config: &Config) -> Option<(&'static str, Result<String, String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(publish::reach(config))
}
