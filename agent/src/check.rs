//! `eo-agent check`: what this node offers, in plain words.

use serde_json::json;

use crate::agent::abilities;
use crate::cli::Output;
use crate::config::Config;
use crate::meters::{self, Finding};
use crate::node;
use crate::procfs::Proc;
use crate::profiler;

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
    println!("meters");
    for (name, found, text) in findings {
        println!("  {} {name}: {text}", if found { "yes" } else { "no " });
    }
    println!("capabilities");
    abilities.capabilities.iter().for_each(|name| println!("  yes {name}"));
    abilities.missing.iter().for_each(|reason| println!("  no  {reason}"));
}
