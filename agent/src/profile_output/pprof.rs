//! pprof's `profile.proto`, gzipped, as `go tool pprof`, Pyroscope and Parca
//! read it. Fields and numbers: github.com/google/pprof, proto/profile.proto.

use std::io::Write;

use flate2::write::GzEncoder;
use flate2::Compression;
use prost::Message;

use super::frame;
use super::intern::Table;
use super::{Profile, Stack};

#[derive(Clone, PartialEq, Message)]
struct Proto {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
    #[prost(int64, tag = "3")]
    num: i64,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// The tables under construction. Place 0 is taken, so that a place is an id.
struct Tables {
    strings: Table<String>,
    mappings: Table<Mapping>,
    functions: Table<Function>,
    locations: Table<Location>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        self.strings.place(text.to_owned()) as i64
    }

    fn location(&mut self, text: &str) -> u64 {
        let frame = frame::parse(text);
        let filename = frame.module.map_or(0, |module| self.text(module));
        let build_id = frame.build_id.map_or(0, |id| self.text(id));
        let named = frame.offset.is_none();
        let mapping_id = if filename == 0 {
            0
        } else {
            let mapping = Mapping {
                filename,
                build_id,
                has_functions: named,
                memory_limit: u64::MAX,
                ..Default::default()
            };
            self.mappings.place(mapping) as u64
        };
        let name = self.text(frame.function);
        let function = Function { name, system_name: name, filename, ..Default::default() };
        let function_id = self.functions.place(function) as u64;
        // A place without a name has its text as a name, too: not every reader shows addresses.
        let line = vec![Line { function_id }];
        let address = frame.offset.unwrap_or(0);
        self.locations.place(Location { id: 0, mapping_id, address, line }) as u64
    }

    fn sample(&mut self, stack: &Stack, period: i64) -> Sample {
        let location_id = stack.frames.iter().rev().map(|frame| self.location(frame)).collect();
        let mut label = vec![
            Label { key: self.text("pid"), num: stack.pid.into(), ..Default::default() },
            Label {
                key: self.text("command"),
                str: self.text(&stack.command),
                ..Default::default()
            },
        ];
        if let Some(workload) = &stack.workload {
            let (key, str) = (self.text("workload"), self.text(workload));
            label.push(Label { key, str, ..Default::default() });
        }
        let value = vec![stack.samples, stack.samples.saturating_mul(period)];
        Sample { location_id, value, label }
    }
}

/// The gzipped message.
pub fn encode(profile: &Profile) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&message(profile).encode_to_vec())?;
    gzip.finish()
}

fn message(profile: &Profile) -> Proto {
    let mut tables = Tables {
        strings: Table::starting_with(String::new()),
        mappings: Table::starting_with(Mapping::default()),
        functions: Table::starting_with(Function::default()),
        locations: Table::starting_with(Location::default()),
    };
    let mut kind = |name, unit| ValueType { r#type: tables.text(name), unit: tables.text(unit) };
    let (samples, cpu) = (kind("samples", "count"), kind("cpu", "nanoseconds"));
    let period = profile.period_nanos();
    let sample = profile.stacks.iter().map(|stack| tables.sample(stack, period)).collect();
    Proto {
        default_sample_type: cpu.r#type,
        period_type: Some(cpu.clone()),
        sample_type: vec![samples, cpu],
        sample,
        mapping: with_ids(tables.mappings, |mapping, id| mapping.id = id),
        location: with_ids(tables.locations, |location, id| location.id = id),
        function: with_ids(tables.functions, |function, id| function.id = id),
        string_table: tables.strings.into_values(),
        time_nanos: profile.started_unix_nanos as i64,
        duration_nanos: (profile.seconds * 1e9) as i64,
        period,
    }
}

/// Ids are places; place 0 is nothing and is left out.
fn with_ids<T: Clone + Eq + std::hash::Hash>(table: Table<T>, set: impl Fn(&mut T, u64)) -> Vec<T> {
    let values = table.into_values().into_iter().enumerate().skip(1);
    values
        .map(|(place, mut value)| {
            set(&mut value, place as u64);
            value
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_written_can_be_read_back() {
        let bytes = encode(&example()).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        let read = Proto::decode(plain.as_slice()).unwrap();
        let text = |place: i64| read.string_table[place as usize].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(read.sample_type[1].r#type), "cpu");
        assert_eq!(read.sample[0].value, [3, 3 * 52_631_579]);
        let names: Vec<_> = read.sample[0]
            .location_id
            .iter()
            .map(|id| read.location[*id as usize - 1].line[0].function_id)
            .map(|id| text(read.function[id as usize - 1].name))
            .collect();
        assert_eq!(names, ["write", "work; hard", "main"], "leaf first");
        let unnamed = &read.location[read.sample[1].location_id[0] as usize - 1];
        assert_eq!(unnamed.address, 0x1f30);
        let mapping = &read.mapping[unnamed.mapping_id as usize - 1];
        assert_eq!(
            (text(mapping.filename), text(mapping.build_id)),
            ("libx.so", "0123456789abcdef")
        );
        assert_eq!(
            read.function.iter().filter(|function| text(function.name) == "main").count(),
            1
        );
    }
}
