//! What this machine is: the node row of the inventory.
//!
//! Everything comes from files; a file that is not there leaves a NULL, never
//! a guess. `capabilities` and `missing` say what the rest of the agent found.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::cloud::Cloud;
use crate::hardware::{self, Frequencies};
use crate::procfs::node::{cpu_info, memory_bytes};
use crate::procfs::Proc;
use crate::wire::InventoryRow;

/// Fixed facts of the node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    pub node_type: Option<String>,
    pub cpu_model: Option<String>,
    pub sockets: Option<i32>,
    pub cores: Option<i32>,
    pub cpu_threads: Option<i32>,
    pub cpu_mhz: Option<f64>,
    pub memory_bytes: Option<i64>,
    pub is_virtual: Option<bool>,
    pub frequencies: Frequencies,
    pub gpus: Option<Vec<String>>,
    pub instance_type: Option<String>,
    /// Of a virtual machine, as its hypervisor names it.
    pub vm_uuid: Option<String>,
    pub cloud: Option<Cloud>,
}

/// What the agent can do here, and what it can't and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Abilities {
    pub capabilities: Vec<String>,
    /// `name: reason`
    pub missing: Vec<String>,
}

/// DMI product names of hypervisors.
const VIRTUAL_PRODUCTS: [&str; 9] = [
    "KVM",
    "Standard PC",
    "VirtualBox",
    "VMware",
    "Virtual Machine",
    "HVM domU",
    "Google Compute Engine",
    "OpenStack",
    "Firecracker",
];

pub fn discover(proc: &Proc, sysfs: &Path) -> Node {
    let info = proc.node_file("cpuinfo").map(|text| cpu_info(&text)).unwrap_or_default();
    let dmi = |name: &str| read(&sysfs.join("class/dmi/id").join(name));
    let product = dmi("product_name");
    let known_product = product.is_some() || info.hypervisor;
    let is_virtual = info.hypervisor
        || product
            .as_deref()
            .is_some_and(|p| VIRTUAL_PRODUCTS.iter().any(|known| p.contains(known)));
    let max_khz = read(&sysfs.join("devices/system/cpu/cpu0/cpufreq/base_frequency"))
        .or_else(|| read(&sysfs.join("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")))
        .and_then(|khz| khz.parse::<f64>().ok());
    let vendor = dmi("sys_vendor");
    let cloud =
        Cloud::of(vendor.as_deref(), product.as_deref(), dmi("chassis_asset_tag").as_deref());
    // EC2 writes the type there; others name the platform only.
    let instance_type = product.clone().filter(|_| vendor.as_deref() == Some("Amazon EC2"));
    let topology = info.sockets.is_none().then(|| hardware::topology(sysfs)).flatten();
    let board = || read(&sysfs.join("firmware/devicetree/base/model"));
    Node {
        node_type: node_type(product, vendor).or_else(board),
        cpu_model: info.model,
        sockets: info.sockets.or(topology.map(|(sockets, _)| sockets)),
        cores: info.cores.or(topology.map(|(_, cores)| cores)),
        cpu_threads: info.threads,
        cpu_mhz: max_khz.map(|khz| khz / 1000.0).or(info.mhz),
        memory_bytes: proc.node_file("meminfo").ok().as_deref().and_then(memory_bytes),
        is_virtual: known_product.then_some(is_virtual),
        frequencies: hardware::frequencies(sysfs),
        gpus: hardware::gpus(sysfs),
        instance_type,
        // Readable by root only. By it the host's agent knows this guest.
        vm_uuid: is_virtual.then(|| dmi("product_uuid")).flatten().map(|it| it.to_lowercase()),
        cloud,
    }
}

/// On EC2 the product name is the instance type; elsewhere it names the model.
fn node_type(product: Option<String>, vendor: Option<String>) -> Option<String> {
    let product = product?;
    match vendor {
        Some(vendor) if vendor != "Amazon EC2" && !product.starts_with(&vendor) => {
            Some(format!("{vendor} {product}"))
        }
        _ => Some(product),
    }
}

/// A one-line file; None when absent, empty or a placeholder of the firmware.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim_matches(['\0', '\n', ' ']).to_owned();
    let placeholder = ["To Be Filled By O.E.M.", "System Product Name", "Default string", "None"];
    (!text.is_empty() && !placeholder.contains(&text.as_str())).then_some(text)
}

impl Node {
    pub fn row(&self, abilities: &Abilities) -> InventoryRow {
        let text = |value: &Option<String>| value.as_deref().map(Arc::from);
        let list = |values: &[String]| Some(values.iter().map(|v| Arc::from(v.as_str())).collect());
        InventoryRow {
            scope: "node".into(),
            node_type: text(&self.node_type),
            cpu_model: text(&self.cpu_model),
            sockets: self.sockets,
            cores: self.cores,
            cpu_threads: self.cpu_threads,
            cpu_mhz: self.cpu_mhz,
            memory_bytes: self.memory_bytes,
            is_virtual: self.is_virtual,
            capabilities: list(&abilities.capabilities),
            missing: list(&abilities.missing),
            cpu_min_mhz: self.frequencies.min_mhz,
            cpu_max_mhz: self.frequencies.max_mhz,
            governor: text(&self.frequencies.governor),
            gpus: self.gpus.as_deref().and_then(list),
            instance_type: text(&self.instance_type),
            vm_uuid: text(&self.vm_uuid),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_machine_and_an_instance_are_named() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(node_type(some("m7i.large"), some("Amazon EC2")).as_deref(), Some("m7i.large"));
        assert_eq!(
            node_type(some("PowerEdge R750"), some("Dell Inc.")).as_deref(),
            Some("Dell Inc. PowerEdge R750")
        );
        assert_eq!(node_type(None, some("x")), None);
    }

    #[test]
    fn a_guest_tells_the_uuid_by_which_its_host_knows_it_and_a_bare_machine_none() {
        let root = tempfile::tempdir().unwrap();
        let dmi = root.path().join("class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("product_uuid"), "4C4C4544-0000-2010-8020-80C04F202020\n").unwrap();
        for (product, uuid) in [
            ("Standard PC (Q35 + ICH9, 2009)", Some("4c4c4544-0000-2010-8020-80c04f202020")),
            ("PowerEdge R750", None),
        ] {
            fs::write(dmi.join("product_name"), product).unwrap();
            let found = discover(&Proc::new(root.path()), root.path());
            assert_eq!(found.vm_uuid.as_deref(), uuid, "{product}");
        }
    }

    #[test]
    fn nothing_readable_means_nothing_known() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(discover(&Proc::new(root.path()), root.path()), Node::default());
    }
}
