//! The wire contract, as this agent writes it.
//!
//! Rows come in as typed structs (`rows`), are laid out as Arrow columns
//! (`encode`) and leave as one zstd-compressed IPC stream per message. The
//! columns are not written down here a second time: they are read from the
//! files in `schemas/`, which the Python services read too, so that a drift
//! is a failing test and not a dead letter. `publish` takes over.

mod encode;
mod rows;
mod subject;

use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;

pub use encode::{encode, Batch, Envelope};
pub use rows::{
    Cell, CounterRow, GpuProcessRow, InventoryRow, MeterRow, ProfileRow, Row, SampleRow,
};
pub use subject::{place, subject, topic, Place};

/// What a message holds; the last token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Samples,
    Meters,
    Inventory,
    Profiles,
    Counters,
    GpuProcesses,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Samples,
        Kind::Meters,
        Kind::Inventory,
        Kind::Profiles,
        Kind::Counters,
        Kind::GpuProcesses,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Samples => "samples",
            Kind::Meters => "meters",
            Kind::Inventory => "inventory",
            Kind::Profiles => "profiles",
            Kind::Counters => "counters",
            Kind::GpuProcesses => "gpu_processes",
        }
    }

    fn definition(self) -> &'static str {
        match self {
            Kind::Samples => include_str!("../../../schemas/samples.v1.json"),
            Kind::Meters => include_str!("../../../schemas/meters.v1.json"),
            Kind::Inventory => include_str!("../../../schemas/inventory.v1.json"),
            Kind::Profiles => include_str!("../../../schemas/profiles.v1.json"),
            Kind::Counters => include_str!("../../../schemas/counters.v1.json"),
            Kind::GpuProcesses => include_str!("../../../schemas/gpu_processes.v1.json"),
        }
    }

    /// The contract of this kind, parsed once.
    pub fn contract(self) -> &'static Contract {
        static CONTRACTS: [OnceLock<Contract>; Kind::ALL.len()] =
            [const { OnceLock::new() }; Kind::ALL.len()];
        CONTRACTS[self as usize].get_or_init(|| {
            Contract::parse(self.definition()).expect("schemas/ was checked by the tests")
        })
    }
}

/// Version and columns of one kind.
#[derive(Debug)]
pub struct Contract {
    pub kind: String,
    pub version: u32,
    pub schema: SchemaRef,
}

#[derive(Deserialize)]
struct Definition {
    kind: String,
    version: u32,
    fields: Vec<FieldDefinition>,
}

#[derive(Deserialize)]
struct FieldDefinition {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
}

impl Contract {
    fn parse(text: &str) -> Result<Contract, String> {
        let definition: Definition =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let fields = definition
            .fields
            .iter()
            .map(|field| {
                let data_type = data_type(&field.data_type)
                    .ok_or_else(|| format!("{}: unknown type {}", field.name, field.data_type))?;
                Ok(Field::new(&field.name, data_type, field.nullable))
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Contract {
            kind: definition.kind,
            version: definition.version,
            schema: Arc::new(Schema::new(fields)),
        })
    }
}

fn data_type(name: &str) -> Option<DataType> {
    Some(match name {
        "utf8" => DataType::Utf8,
        "bool" => DataType::Boolean,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float64" => DataType::Float64,
        "list<utf8>" => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        "timestamp[ms, UTC]" => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_file_parses_and_names_its_kind() {
        for kind in Kind::ALL {
            let contract = Contract::parse(kind.definition()).unwrap();
            assert_eq!(contract.kind, kind.as_str());
            assert_eq!(contract.version, 1);
            assert_eq!(contract.schema.field(0).name(), "timestamp");
        }
    }

    #[test]
    fn an_unknown_type_is_refused_by_name() {
        let text =
            r#"{"kind":"x","version":1,"fields":[{"name":"a","type":"u8","nullable":true}]}"#;
        assert!(Contract::parse(text).unwrap_err().contains("a: unknown type u8"));
    }
}
