//! Rows to one Arrow IPC stream.
//!
//! A batch carries its id, so that a second delivery can be recognised, and
//! is small enough for a NATS server with default settings (1 MiB a message):
//! rows that would not fit are split over several batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::CompressionType;
use arrow_schema::{ArrowError, DataType, Schema};
use bytes::Bytes;
use uuid::Uuid;

use crate::clock;

use super::{subject, Cell, Kind, Row};

/// NATS accepts 1 MiB by default; headers and safety are the rest.
const MAX_PAYLOAD_BYTES: usize = 900 * 1024;

/// What all rows of a message share.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub tenant: Arc<str>,
    pub host: Arc<str>,
    pub timestamp_ms: i64,
}

impl Envelope {
    /// For rows whose interval ends at this moment.
    pub fn now(tenant: Arc<str>, host: Arc<str>) -> Envelope {
        Envelope { tenant, host, timestamp_ms: clock::unix_millis() }
    }
}

/// A message ready to be sent, spooled or printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub id: Uuid,
    pub subject: String,
    pub payload: Bytes,
}

/// Encodes rows into as many batches as the size limit asks for; none for no rows.
pub fn encode<R: Row>(envelope: &Envelope, rows: Vec<R>) -> Result<Vec<Batch>, ArrowError> {
    let cells: Vec<Vec<Cell>> = rows.into_iter().map(Row::into_cells).collect();
    let mut batches = Vec::new();
    encode_cells(envelope, R::KIND, R::COLUMNS, &cells, &mut batches)?;
    Ok(batches)
}

fn encode_cells(
    envelope: &Envelope,
    kind: Kind,
    columns: &[&str],
    rows: &[Vec<Cell>],
    batches: &mut Vec<Batch>,
) -> Result<(), ArrowError> {
    if rows.is_empty() {
        return Ok(());
    }
    let id = Uuid::new_v4();
    let payload = to_stream(id, kind, &record_batch(envelope, kind, columns, rows)?)?;
    if payload.len() > MAX_PAYLOAD_BYTES && rows.len() > 1 {
        let (left, right) = rows.split_at(rows.len() / 2);
        encode_cells(envelope, kind, columns, left, batches)?;
        return encode_cells(envelope, kind, columns, right, batches);
    }
    batches.push(Batch {
        id,
        subject: subject(&envelope.tenant, &envelope.host, kind),
        payload: payload.into(),
    });
    Ok(())
}

fn record_batch(
    envelope: &Envelope,
    kind: Kind,
    columns: &[&str],
    rows: &[Vec<Cell>],
) -> Result<RecordBatch, ArrowError> {
    let schema = kind.contract().schema.clone();
    let count = rows.len();
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampMillisecondArray::from(vec![envelope.timestamp_ms; count])
                .with_timezone("UTC"),
        ),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&envelope.tenant, count))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&envelope.host, count))),
    ];
    for (index, name) in columns.iter().enumerate() {
        let field = schema.field_with_name(name)?;
        let cells = rows.iter().map(|row| &row[index]);
        arrays.push(column(field.data_type(), cells).ok_or_else(|| {
            ArrowError::SchemaError(format!(
                "{}.{name} is not a {}",
                kind.as_str(),
                field.data_type()
            ))
        })?);
    }
    RecordBatch::try_new(schema, arrays)
}

macro_rules! build {
    ($builder:expr, $cells:expr, $variant:path, $value:ident => $append:expr) => {{
        let mut builder = $builder;
        for cell in $cells {
            match cell {
                Cell::Null => builder.append_null(),
                $variant($value) => builder.append_value($append),
                _ => return None,
            }
        }
        Arc::new(builder.finish()) as ArrayRef
    }};
}

fn column<'a>(data_type: &DataType, cells: impl Iterator<Item = &'a Cell>) -> Option<ArrayRef> {
    Some(match data_type {
        DataType::Utf8 => build!(StringBuilder::new(), cells, Cell::Text, v => v),
        DataType::Boolean => build!(BooleanBuilder::new(), cells, Cell::Bool, v => *v),
        DataType::Int32 => build!(Int32Builder::new(), cells, Cell::Int32, v => *v),
        DataType::Int64 => build!(Int64Builder::new(), cells, Cell::Int64, v => *v),
        DataType::Float64 => build!(Float64Builder::new(), cells, Cell::Float, v => *v),
        DataType::List(_) => {
            build!(ListBuilder::new(StringBuilder::new()), cells, Cell::List, v => v.iter().map(Some))
        }
        _ => return None,
    })
}

fn to_stream(id: Uuid, kind: Kind, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let contract = kind.contract();
    let metadata = [
        ("eo.kind".to_owned(), contract.kind.clone()),
        ("eo.version".to_owned(), contract.version.to_string()),
        ("eo.batch_id".to_owned(), id.to_string()),
    ];
    let schema = Schema::clone(&contract.schema).with_metadata(HashMap::from(metadata));
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    stream.write(&batch.clone().with_schema(Arc::new(schema))?)?;
    stream.into_inner()
}

#[cfg(test)]
mod tests {
    use super::super::{CounterRow, GpuProcessRow, InventoryRow, MeterRow, ProfileRow, SampleRow};
    use super::*;
    use arrow_ipc::reader::StreamReader;

    fn envelope() -> Envelope {
        Envelope { tenant: "local".into(), host: "a.b".into(), timestamp_ms: 1_700_000_000_123 }
    }

    fn assert_contract<R: Row + Default>() {
        let contract = R::KIND.contract();
        let names: Vec<&str> = contract.schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(&names[..3], ["timestamp", "tenant", "host"]);
        assert_eq!(&names[3..], R::COLUMNS, "columns of {:?}", R::KIND);

        let batches = encode(&envelope(), vec![R::default()]).unwrap();
        let mut reader = StreamReader::try_new(batches[0].payload.as_ref(), None).unwrap();
        let schema = reader.schema();
        assert_eq!(schema.fields(), contract.schema.fields());
        assert_eq!(schema.metadata()["eo.kind"], R::KIND.as_str());
        assert_eq!(schema.metadata()["eo.version"], "1");
        assert_eq!(schema.metadata()["eo.batch_id"], batches[0].id.to_string());
        assert_eq!(reader.next().unwrap().unwrap().num_rows(), 1);
        assert!(reader.next().is_none());
    }

    #[test]
    fn every_kind_is_exactly_its_schema_file() {
        assert_contract::<SampleRow>();
        assert_contract::<MeterRow>();
        assert_contract::<InventoryRow>();
        assert_contract::<ProfileRow>();
        assert_contract::<CounterRow>();
        assert_contract::<GpuProcessRow>();
    }

    #[test]
    fn no_rows_make_no_message() {
        assert!(encode::<MeterRow>(&envelope(), Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn what_is_too_big_for_the_bus_is_split_without_loss() {
        let rows: Vec<ProfileRow> = (0..160)
            .map(|pid| ProfileRow {
                pid,
                stack: (0..400)
                    .map(|_| {
                        Arc::from(format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..)))
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        let batches = encode(&envelope(), rows).unwrap();
        assert!(batches.len() > 1);
        let mut total = 0;
        for batch in &batches {
            assert!(batch.payload.len() <= MAX_PAYLOAD_BYTES);
            let mut reader = StreamReader::try_new(batch.payload.as_ref(), None).unwrap();
            total += reader.next().unwrap().unwrap().num_rows();
        }
        assert_eq!(total, 160);
    }

    #[test]
    fn a_required_number_that_is_not_finite_is_refused_before_it_is_sent() {
        let row = SampleRow { cpu_seconds: f64::NAN, ..Default::default() };
        assert!(encode(&envelope(), vec![row]).is_err());
    }
}
