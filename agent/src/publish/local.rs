//! Sinks without a bus: JSON lines on stdout, or one Arrow file per batch.
//!
//! Both take the encoded batch, so that what a person sees here is what the
//! bus would have got.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;
use serde_json::{Map, Value};

use super::SendError;
use crate::wire::Batch;

/// Prints each row as one line of JSON, with its `kind`.
pub fn print(batch: &Batch) -> Result<(), SendError> {
    let lines = json_lines(batch).map_err(SendError::Refused)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(lines.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| SendError::Refused(format!("stdout: {error}")))
}

/// Writes the IPC stream as `<kind>-<batch id>.arrows`.
pub fn write_file(directory: &Path, batch: &Batch) -> Result<(), SendError> {
    let kind = batch.subject.rsplit('.').next().unwrap_or_default();
    let path: PathBuf = directory.join(format!("{kind}-{}.arrows", batch.id));
    let partial = path.with_extension("part");
    fs::write(&partial, &batch.payload)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|error| SendError::Refused(format!("{}: {error}", path.display())))
}

fn json_lines(batch: &Batch) -> Result<String, String> {
    let kind = batch.subject.rsplit('.').next().unwrap_or_default();
    let mut lines = String::new();
    for record_batch in
        StreamReader::try_new(batch.payload.as_ref(), None).map_err(|e| e.to_string())?
    {
        let record_batch = record_batch.map_err(|error| error.to_string())?;
        for row in 0..record_batch.num_rows() {
            lines.push_str(&json_row(kind, &record_batch, row).to_string());
            lines.push('\n');
        }
    }
    Ok(lines)
}

fn json_row(kind: &str, batch: &RecordBatch, row: usize) -> Value {
    let mut object = Map::new();
    object.insert("kind".into(), kind.into());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        object.insert(field.name().clone(), json_value(column.as_ref(), row));
    }
    Value::Object(object)
}

fn json_value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(..) => {
            column.as_primitive::<TimestampMillisecondType>().value(row).into()
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|item| json_value(items.as_ref(), item)).collect()
        }
        other => format!("<{other}>").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{encode, Envelope, MeterRow};

    fn batch() -> Batch {
        let envelope = Envelope { tenant: "t".into(), host: "h".into(), timestamp_ms: 5 };
        let row = MeterRow { meter: "none".into(), zone: "node".into(), ..Default::default() };
        encode(&envelope, vec![row]).unwrap().remove(0)
    }

    #[test]
    fn a_line_holds_what_the_bus_would_get() {
        let value: Value = serde_json::from_str(&json_lines(&batch()).unwrap()).unwrap();
        assert_eq!(value["kind"], "meters");
        assert_eq!((&value["timestamp"], &value["zone"]), (&5.into(), &"node".into()));
        assert_eq!(value["energy_joules"], Value::Null);
    }

    #[test]
    fn a_file_is_the_stream_itself() {
        let directory = tempfile::tempdir().unwrap();
        let batch = batch();
        write_file(directory.path(), &batch).unwrap();
        let path = directory.path().join(format!("meters-{}.arrows", batch.id));
        assert_eq!(fs::read(path).unwrap(), batch.payload);
    }
}
