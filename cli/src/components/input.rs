//! Rows of operations out of an Arrow stream, checked: columns, types, nulls, and that the stream is whole.

use std::io::{self, BufRead, BufReader, Read};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Schema, TimeUnit};
use identity_ledger::{Seq, Tenant, Timestamp};

use super::error::ComponentsError;

/// What ends an Arrow IPC stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// One row of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// Its place in the input, from 0.
    pub(super) row: u64,
    pub(super) tenant: &'a str,
    /// 0 if the input has no components.
    pub(super) component: i64,
    pub(super) seq: Seq,
    pub(super) recorded_at: Option<Timestamp>,
    /// The first record that defines an id for it.
    pub(super) defined_from: Option<Seq>,
    pub(super) operation: &'a str,
}

/// An input whose columns are those that are expected.
pub(super) struct Input<R: Read> {
    reader: StreamReader<Ending<BufReader<R>>>,
    columns: Columns,
    rows: u64,
}

/// Where the columns are.
#[derive(Clone, Copy)]
struct Columns {
    tenant: usize,
    seq: usize,
    recorded_at: usize,
    defined_from: usize,
    operation: usize,
    component: Option<usize>,
}

/// A column of texts, whose offsets have 32 or 64 bits.
#[derive(Clone, Copy)]
enum Texts<'a> {
    Short(&'a arrow_array::StringArray),
    Long(&'a arrow_array::LargeStringArray),
}

impl<'a> Texts<'a> {
    fn of(batch: &'a RecordBatch, column: usize) -> Texts<'a> {
        let column = batch.column(column);
        match column.as_string_opt() {
            Some(texts) => Texts::Short(texts),
            None => Texts::Long(column.as_string()),
        }
    }

    fn get(self, row: usize) -> Option<&'a str> {
        match self {
            Texts::Short(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Texts::Long(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

impl<R: Read> Input<R> {
    /// Reads the schema.
    pub(super) fn open(input: R, has_components: bool) -> Result<Input<R>, ComponentsError> {
        let ending = Ending { inner: BufReader::with_capacity(1 << 20, input), last: [0; END.len()] };
        let reader = StreamReader::try_new(ending, None).map_err(ComponentsError::NotArrow)?;
        let columns = Columns::of(&reader.schema(), has_components)?;
        Ok(Input { reader, columns, rows: 0 })
    }

    /// The schema of the input.
    pub(super) fn schema(&self) -> arrow_schema::SchemaRef {
        self.reader.schema()
    }

    /// The next batch, and the place of its first row; `None` at the end of a stream that is whole.
    pub(super) fn batch(&mut self) -> Result<Option<(u64, RecordBatch)>, ComponentsError> {
        let rows = self.rows;
        match self.reader.next() {
            Some(Ok(batch)) => {
                self.rows += batch.num_rows() as u64;
                Ok(Some((rows, batch)))
            }
            Some(Err(source)) => Err(ComponentsError::Broken { rows, source }),
            None => {
                let ending = self.reader.get_mut();
                if ending.last != END {
                    return Err(ComponentsError::Truncated { rows });
                }
                let rest = ending.inner.fill_buf();
                let more = rest.map_err(|source| ComponentsError::Broken { rows, source: source.into() })?;
                if more.is_empty() { Ok(None) } else { Err(ComponentsError::More) }
            }
        }
    }

    /// Shows each row of a batch that begins at a place of the input.
    pub(super) fn rows(
        &self,
        first: u64,
        batch: &RecordBatch,
        mut each: impl FnMut(Row<'_>) -> Result<(), ComponentsError>,
    ) -> Result<(), ComponentsError> {
        let Columns { tenant, seq, recorded_at, defined_from, operation, component } = self.columns;
        let [tenants, operations] = [tenant, operation].map(|column| Texts::of(batch, column));
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        let (seqs, definitions, components) = (numbers(seq), numbers(defined_from), component.map(numbers));
        let times: &PrimitiveArray<TimestampMicrosecondType> = batch.column(recorded_at).as_primitive();
        let number =
            |numbers: &PrimitiveArray<Int64Type>, row| numbers.is_valid(row).then(|| numbers.value(row));
        for (place, row) in (first..).zip(0..batch.num_rows()) {
            let null = |column| move || ComponentsError::Null { row: place, column };
            let out_of_range =
                |column, found, expected| ComponentsError::OutOfRange { row: place, column, found, expected };
            let record = |column, found: i64| {
                u64::try_from(found).map(Seq).map_err(|_| out_of_range(column, found, "0 or more"))
            };
            let seq = record("seq", number(seqs, row).ok_or_else(null("seq"))?)?;
            let defined_from =
                number(definitions, row).map(|found| record("defined_from", found)).transpose()?;
            if let Some(from) = defined_from.filter(|from| *from >= seq) {
                return Err(out_of_range("defined_from", from.0 as i64, "less than seq"));
            }
            let component =
                components.map(|components| number(components, row).ok_or_else(null("component")));
            let time = times.is_valid(row).then(|| times.value(row));
            let time = time.map(|micros| {
                Timestamp::from_micros(micros).map_err(|_| {
                    out_of_range("recorded_at", micros, "microseconds of the years 0001 to 9999")
                })
            });
            each(Row {
                row: place,
                tenant: tenants.get(row).ok_or_else(null("tenant"))?,
                component: component.transpose()?.unwrap_or(0),
                seq,
                defined_from,
                recorded_at: time.transpose()?,
                operation: operations.get(row).ok_or_else(null("operation"))?,
            })?;
        }
        Ok(())
    }
}

impl Columns {
    fn of(schema: &Schema, has_components: bool) -> Result<Columns, ComponentsError> {
        let find = |column: &'static str, expected: &'static str, is: fn(&DataType) -> bool| {
            let missing = || ComponentsError::MissingColumn {
                column,
                found: schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let (place, field) = schema.column_with_name(column).ok_or_else(missing)?;
            let found = field.data_type();
            if is(found) {
                Ok(place)
            } else {
                Err(ComponentsError::WrongType { column, found: found.clone(), expected })
            }
        };
        let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8);
        let number = |kind: &DataType| matches!(kind, DataType::Int64);
        let time = |kind: &DataType| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _));
        let component = has_components.then(|| find("component", "int64", number));
        Ok(Columns {
            tenant: find("tenant", "utf8", text)?,
            seq: find("seq", "int64", number)?,
            defined_from: find("defined_from", "int64", number)?,
            recorded_at: find("recorded_at", "a timestamp in microseconds", time)?,
            operation: find("operation", "utf8", text)?,
            component: component.transpose()?,
        })
    }
}

/// The tenant of a row.
pub(super) fn tenant(row: &Row<'_>) -> Result<Tenant, ComponentsError> {
    let named = |source| ComponentsError::Tenant {
        row: row.row,
        found: row.tenant.chars().take(64).collect(),
        source,
    };
    Tenant::new(row.tenant).map_err(named)
}

/// Remembers the last bytes that were read: a stream that was cut between two batches reads like one that is whole.
struct Ending<R> {
    inner: R,
    last: [u8; END.len()],
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        let fresh = &into[..read];
        let kept = END.len().saturating_sub(read);
        self.last.copy_within(END.len() - kept.., 0);
        self.last[kept..].copy_from_slice(&fresh[read.saturating_sub(END.len())..]);
        Ok(read)
    }
}
