//! OTLP profiles (`v1development`, still moving; opentelemetry-proto 1.10 as
//! the crate has it), for the OpenTelemetry Collector and what stands behind it.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{any_value, AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::frame;
use super::intern::Table;
use super::Profile;

/// The tables under construction; place 0 of each is the empty value.
struct Tables {
    strings: Table<String>,
    mappings: Table<otlp::Mapping>,
    locations: Table<LocationKey>,
    functions: Table<otlp::Function>,
    stacks: Table<otlp::Stack>,
    attributes: Table<(i32, Value)>,
}

type LocationKey = (i32, u64, i32);

/// Of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    Text(String),
    Integer(i64),
}

impl Tables {
    fn text(&mut self, text: &str) -> i32 {
        self.strings.place(text.to_owned()) as i32
    }

    fn attribute(&mut self, key: &str, value: Value) -> i32 {
        let key = self.text(key);
        self.attributes.place((key, value)) as i32
    }

    fn location(&mut self, text: &str) -> i32 {
        let frame = frame::parse(text);
        let mapping = frame.module.map_or(0, |module| {
            let filename_strindex = self.text(module);
            let id = frame.build_id.map(|id| {
                self.attribute("process.executable.build_id.gnu", Value::Text(id.to_owned()))
            });
            let attribute_indices = id.into_iter().collect();
            let mapping =
                otlp::Mapping { filename_strindex, attribute_indices, ..Default::default() };
            self.mappings.place(mapping) as i32
        });
        let name_strindex = self.text(frame.function);
        let function = otlp::Function { name_strindex, ..Default::default() };
        let function = self.functions.place(function) as i32;
        self.locations.place((mapping, frame.offset.unwrap_or(0), function)) as i32
    }
}

/// The request that a receiver takes at `/v1development/profiles`.
pub fn encode(profile: &Profile) -> Vec<u8> {
    request(profile).encode_to_vec()
}

fn request(profile: &Profile) -> ExportProfilesServiceRequest {
    let mut tables = Tables {
        strings: Table::starting_with(String::new()),
        mappings: Table::starting_with(otlp::Mapping::default()),
        locations: Table::starting_with((0, 0, 0)),
        functions: Table::starting_with(otlp::Function::default()),
        stacks: Table::starting_with(otlp::Stack::default()),
        attributes: Table::starting_with((0, Value::Text(String::new()))),
    };
    let samples = profile.stacks.iter().map(|stack| sample(&mut tables, stack)).collect();
    let mut kind = |name, unit| otlp::ValueType {
        type_strindex: tables.text(name),
        unit_strindex: tables.text(unit),
    };
    let profiles = vec![otlp::Profile {
        sample_type: Some(kind("samples", "count")),
        period_type: Some(kind("cpu", "nanoseconds")),
        period: profile.period_nanos(),
        samples,
        time_unix_nano: profile.started_unix_nanos,
        duration_nano: (profile.seconds * 1e9) as u64,
        profile_id: uuid::Uuid::new_v4().as_bytes().to_vec(),
        ..Default::default()
    }];
    let scope = InstrumentationScope {
        name: "eo-agent".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    };
    let resource = Resource { attributes: vec![host_name(&profile.host)], ..Default::default() };
    ExportProfilesServiceRequest {
        resource_profiles: vec![otlp::ResourceProfiles {
            resource: Some(resource),
            scope_profiles: vec![otlp::ScopeProfiles {
                scope: Some(scope),
                profiles,
                ..Default::default()
            }],
            ..Default::default()
        }],
        dictionary: Some(dictionary(tables)),
    }
}

fn sample(tables: &mut Tables, stack: &super::Stack) -> otlp::Sample {
    // Leaf first.
    let location_indices = stack.frames.iter().rev().map(|frame| tables.location(frame)).collect();
    let stack_index = tables.stacks.place(otlp::Stack { location_indices }) as i32;
    let text = |text: &str| Value::Text(text.to_owned());
    let mut attribute_indices = vec![
        tables.attribute("process.pid", Value::Integer(stack.pid.into())),
        tables.attribute("process.executable.name", text(&stack.command)),
    ];
    attribute_indices
        .extend(stack.workload.as_ref().map(|key| tables.attribute("eo.workload", text(key))));
    otlp::Sample {
        stack_index,
        attribute_indices,
        values: vec![stack.samples],
        ..Default::default()
    }
}

fn dictionary(tables: Tables) -> otlp::ProfilesDictionary {
    let location = |(mapping_index, address, function_index): LocationKey| otlp::Location {
        mapping_index,
        address,
        lines: (function_index > 0)
            .then_some(otlp::Line { function_index, ..Default::default() })
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let attribute = |(key_strindex, value): (i32, Value)| otlp::KeyValueAndUnit {
        key_strindex,
        value: (key_strindex > 0).then(|| match value {
            Value::Text(text) => string_value(text),
            Value::Integer(number) => AnyValue { value: Some(any_value::Value::IntValue(number)) },
        }),
        unit_strindex: 0,
    };
    otlp::ProfilesDictionary {
        mapping_table: tables.mappings.into_values(),
        location_table: tables.locations.into_values().into_iter().map(location).collect(),
        function_table: tables.functions.into_values(),
        link_table: vec![otlp::Link::default()],
        string_table: tables.strings.into_values(),
        attribute_table: tables.attributes.into_values().into_iter().map(attribute).collect(),
        stack_table: tables.stacks.into_values(),
    }
}

fn host_name(host: &str) -> KeyValue {
    KeyValue {
        key: "host.name".into(),
        value: Some(string_value(host.to_owned())),
        ..Default::default()
    }
}

fn string_value(text: String) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text)) }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn every_place_leads_to_what_was_meant() {
        let read = ExportProfilesServiceRequest::decode(encode(&example()).as_slice()).unwrap();
        let tables = read.dictionary.as_ref().unwrap();
        let profile = &read.resource_profiles[0].scope_profiles[0].profiles[0];
        assert_eq!(profile.duration_nano, 10_000_000_000);
        let name = |location: i32| {
            let line = &tables.location_table[location as usize].lines[0];
            let function = &tables.function_table[line.function_index as usize];
            tables.string_table[function.name_strindex as usize].as_str()
        };
        let first = &profile.samples[0];
        let stack = &tables.stack_table[first.stack_index as usize].location_indices;
        let names: Vec<_> = stack.iter().map(|place| name(*place)).collect();
        assert_eq!(names, ["write", "work; hard", "main"]);
        assert_eq!(first.values, [3]);
        let keys: Vec<_> = first
            .attribute_indices
            .iter()
            .map(|place| tables.attribute_table[*place as usize].key_strindex)
            .map(|key| tables.string_table[key as usize].as_str())
            .collect();
        assert_eq!(keys, ["process.pid", "process.executable.name", "eo.workload"]);
        assert_eq!(tables.string_table[0], "");
    }
}
