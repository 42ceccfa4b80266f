//! Tables as Arrow record batches: the types of their columns, and rows gathered into batches.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::extension::{Json as JsonType, Uuid as UuidType};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::export::cell::{Cell, Column, Kind};
use crate::export::row::{Row, Table};

/// Rows of one batch: few enough to stay in a processor's cache, enough that a batch costs nothing by itself.
pub const BATCH_ROWS: usize = 8_192;
/// Bytes of texts after which a batch is full before it has [`BATCH_ROWS`]. It bounds memory where texts are long.
pub const BATCH_BYTES: usize = 8 << 20;

/// The longest text of a cell. Arrow counts the bytes of a column's batch in 31 bits. Only a person with thousands of the largest values
/// comes near.
pub const MAX_CELL_BYTES: usize = 1 << 30;

/// A cell that is longer than [`MAX_CELL_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cell takes {found} bytes; expected at most {MAX_CELL_BYTES}. CSV and JSON Lines have no such bound"
)]
pub struct CellTooLarge {
    found: usize,
}

/// The Arrow schema of a table, with `metadata` for the whole file.
pub fn arrow_schema(table: Table, metadata: impl IntoIterator<Item = (String, String)>) -> SchemaRef {
    schema(table.columns(), metadata)
}

fn schema(columns: &[Column], metadata: impl IntoIterator<Item = (String, String)>) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, metadata.into_iter().collect::<arrow_schema::Metadata>()))
}

fn field(column: &Column) -> Field {
    let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, false)));
    let of = |of: DataType| Field::new(column.name, of, column.nullable);
    match column.kind {
        Kind::Bool => of(DataType::Boolean),
        Kind::Int => of(DataType::Int64),
        Kind::Text => of(DataType::Utf8),
        Kind::Uuid => of(DataType::FixedSizeBinary(16)).with_extension_type(UuidType),
        Kind::Time => of(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        Kind::Json => of(DataType::Utf8).with_extension_type(JsonType::default()),
        Kind::Ints => of(list(DataType::Int64)),
        Kind::Texts => of(list(DataType::Utf8)),
    }
}

/// Rows of one table, or of columns of your own, on their way into a [`RecordBatch`].
#[derive(Debug)]
pub struct Batch {
    table: Option<Table>,
    schema: SchemaRef,
    columns: Vec<Builder>,
    rows: usize,
    bytes: usize,
    /// JSON text of one cell.
    json: Vec<u8>,
}

#[derive(Debug)]
enum Builder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Text(StringBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Time(TimestampMicrosecondBuilder),
    Ints(ListBuilder<Int64Builder>),
    Texts(ListBuilder<StringBuilder>),
}

impl Batch {
    /// An empty batch of a table; its schema carries `metadata`.
    pub fn new(table: Table, metadata: impl IntoIterator<Item = (String, String)>) -> Batch {
        Batch { table: Some(table), ..Batch::of(table.columns(), metadata) }
    }

    /// An empty batch of these columns; its schema carries `metadata`.
    pub fn of(columns: &[Column], metadata: impl IntoIterator<Item = (String, String)>) -> Batch {
        let schema = schema(columns, metadata);
        let columns = columns.iter().map(|column| Builder::new(column.kind)).collect();
        Batch { table: None, schema, columns, rows: 0, bytes: 0, json: Vec::new() }
    }

    /// Its schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether it should be [taken](Batch::take) before the next row.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row. The batch must not be [full](Batch::is_full).
    ///
    /// # Errors
    /// [`CellTooLarge`]; the batch is of no use then.
    ///
    /// # Panics
    /// When the row is of another table.
    pub fn push(&mut self, row: &Row) -> Result<(), CellTooLarge> {
        assert!(self.table == Some(row.table()), "a batch has rows of one table");
        self.push_each(|each| row.cells(each))
    }

    /// Adds a row of one cell for each column, of the column's kind or null. The batch must not be [full](Batch::is_full).
    ///
    /// # Errors
    /// [`CellTooLarge`]; the batch is of no use then.
    ///
    /// # Panics
    /// When there are more or fewer cells than columns.
    pub fn push_cells<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<(), CellTooLarge> {
        self.push_each(|each| cells.into_iter().for_each(each))
    }

    fn push_each<'a>(&mut self, cells: impl FnOnce(&mut dyn FnMut(Cell<'a>))) -> Result<(), CellTooLarge> {
        let (mut columns, json) = (self.columns.iter_mut(), &mut self.json);
        let (mut bytes, mut pushed) = (0, Ok(()));
        cells(&mut |cell| {
            let column = columns.next().expect("a column for each cell");
            match column.push(cell, json, MAX_CELL_BYTES) {
                Ok(more) => bytes += more,
                Err(error) => pushed = Err(error),
            }
        });
        assert!(columns.next().is_none(), "a cell for each column");
        self.bytes += bytes;
        self.rows += 1;
        pushed
    }

    /// Takes all its rows.
    ///
    /// # Errors
    /// [`ArrowError`]: never, for the columns are those of the schema; passed on rather than hidden.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        (self.rows, self.bytes) = (0, 0);
        let columns = self.columns.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl Builder {
    fn new(kind: Kind) -> Builder {
        let item = |of: DataType| Field::new("item", of, false);
        match kind {
            Kind::Bool => Builder::Bool(BooleanBuilder::new()),
            Kind::Int => Builder::Int(Int64Builder::new()),
            Kind::Text | Kind::Json => Builder::Text(StringBuilder::new()),
            Kind::Uuid => Builder::Uuid(FixedSizeBinaryBuilder::new(16)),
            Kind::Time => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Kind::Ints => {
                Builder::Ints(ListBuilder::new(Int64Builder::new()).with_field(item(DataType::Int64)))
            }
            Kind::Texts => {
                Builder::Texts(ListBuilder::new(StringBuilder::new()).with_field(item(DataType::Utf8)))
            }
        }
    }

    /// Adds a cell; gives about how many bytes it took.
    fn push(&mut self, cell: Cell<'_>, json: &mut Vec<u8>, most: usize) -> Result<usize, CellTooLarge> {
        let fits = |found: usize| if found <= most { Ok(found) } else { Err(CellTooLarge { found }) };
        match (self, cell) {
            (Builder::Bool(to), Cell::Bool(on)) => to.append_value(on),
            (Builder::Bool(to), _) => to.append_null(),
            (Builder::Int(to), Cell::Int(number)) => to.append_value(number),
            (Builder::Int(to), _) => to.append_null(),
            (Builder::Text(to), Cell::Text(text)) => {
                fits(text.len())?;
                to.append_value(text);
                return Ok(text.len());
            }
            (Builder::Text(to), Cell::Json(value)) => {
                json.clear();
                serde_json::to_writer(&mut *json, &value).expect("writing into memory does not fail");
                fits(json.len())?;
                to.append_value(std::str::from_utf8(json).expect("JSON is UTF-8"));
                return Ok(json.len());
            }
            (Builder::Text(to), _) => to.append_null(),
            (Builder::Uuid(to), Cell::Uuid(uuid)) => {
                to.append_value(uuid.as_bytes()).expect("a UUID has 16 bytes");
            }
            (Builder::Uuid(to), _) => to.append_null(),
            (Builder::Time(to), Cell::Time(time)) => to.append_value(time.as_micros()),
            (Builder::Time(to), _) => to.append_null(),
            (Builder::Ints(to), Cell::Ints(numbers)) => {
                numbers.iter().for_each(|number| to.values().append_value((*number).into()));
                to.append(true);
                return Ok(numbers.len() * 8);
            }
            (Builder::Ints(to), _) => to.append_null(),
            (Builder::Texts(to), Cell::Texts(texts)) => {
                texts.iter().for_each(|text| to.values().append_value(text));
                to.append(true);
                return Ok(texts.iter().map(String::len).sum()); // MAX_PERSON_KEYS bounds it
            }
            (Builder::Texts(to), Cell::Names(names)) => {
                names.iter().for_each(|name| to.values().append_value(name));
                to.append(true);
            }
            (Builder::Texts(to), _) => to.append_null(),
        }
        Ok(8)
    }

    fn finish(&mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match self {
            Builder::Bool(builder) => builder,
            Builder::Int(builder) => builder,
            Builder::Text(builder) => builder,
            Builder::Uuid(builder) => builder,
            Builder::Time(builder) => builder,
            Builder::Ints(builder) => builder,
            Builder::Texts(builder) => builder,
        };
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_the_largest_size_fits_and_a_larger_one_is_an_error() {
        let mut builder = Builder::new(Kind::Text);
        assert_eq!(builder.push(Cell::Text("1234"), &mut Vec::new(), 4), Ok(4));
        assert_eq!(builder.push(Cell::Text("12345"), &mut Vec::new(), 4), Err(CellTooLarge { found: 5 }));
    }
}
