//! Files of tables: Parquet, Arrow, CSV and JSON Lines behind one writer.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use arrow_ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::export::SCHEMA_VERSION;
use crate::export::arrow::{Batch, CellTooLarge};
use crate::export::cell::{Cell, Column, Kind};
use crate::export::row::{Row, Table};
use crate::export::tables::Export;

/// Rows of a row group: that of DuckDB, so that its threads each take one.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// Bytes after which a row group is complete before it has [`ROW_GROUP_ROWS`]. A writer holds one row group in memory.
pub const ROW_GROUP_BYTES: usize = 256 << 20;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Parquet, zstd, with statistics.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
    /// RFC 4180, with a header. Null is empty, an empty text is `""`; times are RFC 3339, lists are JSON.
    Csv,
    /// One JSON object a line, with all columns; null where a value is absent.
    Jsonl,
}

impl FileFormat {
    /// All formats.
    pub const ALL: [FileFormat; 4] =
        [FileFormat::Parquet, FileFormat::Arrow, FileFormat::Csv, FileFormat::Jsonl];
}

/// Its name; also the extension of its files.
impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Arrow => "arrow",
            FileFormat::Csv => "csv",
            FileFormat::Jsonl => "jsonl",
        })
    }
}

impl FromStr for FileFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<FileFormat, UnknownFormat> {
        let found = FileFormat::ALL.into_iter().find(|format| format.to_string() == name);
        found.ok_or_else(|| UnknownFormat { found: name.chars().take(64).collect() })
    }
}

/// A name that is not a [`FileFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a format of files; expected parquet, arrow, csv or jsonl")]
pub struct UnknownFormat {
    found: String,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the table cannot be written: {0}")]
pub struct WriteError(#[from] io::Error);

impl From<WriteError> for io::Error {
    fn from(WriteError(error): WriteError) -> io::Error {
        error
    }
}

impl From<CellTooLarge> for WriteError {
    fn from(error: CellTooLarge) -> WriteError {
        WriteError(io::Error::other(error))
    }
}

impl From<ParquetError> for WriteError {
    fn from(error: ParquetError) -> WriteError {
        match error {
            ParquetError::External(source) => match source.downcast::<io::Error>() {
                Ok(source) => WriteError(*source),
                Err(source) => WriteError(io::Error::other(source)),
            },
            other => WriteError(io::Error::other(other)),
        }
    }
}

impl From<arrow_schema::ArrowError> for WriteError {
    fn from(error: arrow_schema::ArrowError) -> WriteError {
        match error {
            arrow_schema::ArrowError::IoError(_, source) => WriteError(source),
            other => WriteError(io::Error::other(other)),
        }
    }
}

impl Export<'_> {
    /// What every file of an export says of where it comes from: `ledger`, `tenant`, `records`, `last_record`, `head`, `state_digest`,
    /// `schema` and `program`, each behind `identity_ledger.`.
    ///
    /// `head` is there if the export is of all records: the hash of the last one proves later of which log it is.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let checkpoint = self.reader.checkpoint();
        let all = checkpoint.records == self.state.records();
        let entries = [
            ("ledger", Some(self.reader.ledger_id().to_string())),
            ("tenant", Some(self.reader.tenant().to_string())),
            ("records", Some(self.state.records().to_string())),
            ("last_record", Some(self.as_of().to_string())),
            ("head", all.then(|| checkpoint.head.to_string())),
            ("state_digest", Some(self.state.digest().to_string())),
            ("schema", Some(SCHEMA_VERSION.to_string())),
            ("program", Some(concat!("identity-ledger ", env!("CARGO_PKG_VERSION")).to_owned())),
        ];
        let named = |(key, value): (&str, Option<String>)| Some((format!("identity_ledger.{key}"), value?));
        entries.into_iter().filter_map(named).collect()
    }
}

/// Writes the rows of one table to one output.
///
/// ```
/// use identity_ledger::export::{FileFormat, Table, TableWriter};
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
///
/// let export = ledger.reader().export();
/// let mut csv = Vec::new();
/// let mut writer = TableWriter::new(FileFormat::Csv, Table::PersonDistinctIds, export.metadata(), &mut csv)?;
/// export.try_rows(&[Table::PersonDistinctIds], None, |row| {
///     writer.write(&row)?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// assert_eq!(writer.finish()?.0, 1);
/// assert!(String::from_utf8(csv)?.starts_with("distinct_id,id_no,id_type,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TableWriter<W: Write + Send> {
    rows: u64,
    table: Table,
    inner: Inner<W>,
}

enum Inner<W: Write + Send> {
    Parquet(Batch, Box<ArrowWriter<W>>),
    Arrow(Batch, Box<StreamWriter<W>>),
    Csv(W, Vec<u8>),
    Jsonl(W, Vec<u8>),
}

impl<W: Write + Send> fmt::Debug for TableWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableWriter").field("table", &self.table).finish_non_exhaustive()
    }
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a file. Parquet and Arrow carry `metadata`; the other formats have no place for it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn new(
        format: FileFormat,
        table: Table,
        metadata: Vec<(String, String)>,
        mut out: W,
    ) -> Result<TableWriter<W>, WriteError> {
        let inner = match format {
            FileFormat::Parquet => {
                let batch = Batch::new(table, []);
                let writer = ArrowWriter::try_new(
                    out,
                    batch.schema().clone(),
                    Some(properties(table.columns(), metadata)),
                )?;
                Inner::Parquet(batch, Box::new(writer))
            }
            FileFormat::Arrow => {
                let batch = Batch::new(table, metadata);
                let writer = StreamWriter::try_new(out, batch.schema())?;
                Inner::Arrow(batch, Box::new(writer))
            }
            FileFormat::Csv => {
                let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
                writeln!(out, "{}", names.join(","))?;
                Inner::Csv(out, Vec::new())
            }
            FileFormat::Jsonl => Inner::Jsonl(out, Vec::new()),
        };
        Ok(TableWriter { rows: 0, table, inner })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`WriteError`].
    ///
    /// # Panics
    /// When the row is of another table.
    pub fn write(&mut self, row: &Row) -> Result<(), WriteError> {
        assert!(row.table() == self.table, "a file has rows of one table");
        self.rows += 1;
        match &mut self.inner {
            Inner::Parquet(batch, writer) => {
                batch.push(row)?;
                if batch.is_full() {
                    writer.write(&batch.take()?)?;
                }
            }
            Inner::Arrow(batch, writer) => {
                batch.push(row)?;
                if batch.is_full() {
                    writer.write(&batch.take()?)?;
                }
            }
            Inner::Csv(out, line) => {
                line.clear();
                row.cells(|cell| csv_cell(cell, line));
                line.pop(); // the last comma
                line.push(b'\n');
                out.write_all(line)?;
            }
            Inner::Jsonl(out, line) => {
                json_line(row, line);
                out.write_all(line)?;
            }
        }
        Ok(())
    }

    /// Writes what is left and ends the file; gives the number of rows, and the output, which is flushed.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(self) -> Result<(u64, W), WriteError> {
        let mut out = match self.inner {
            Inner::Parquet(mut batch, mut writer) => {
                writer.write(&batch.take()?)?;
                writer.into_inner()?
            }
            Inner::Arrow(mut batch, mut writer) => {
                if batch.rows() > 0 {
                    writer.write(&batch.take()?)?;
                }
                writer.into_inner()?
            }
            Inner::Csv(out, _) | Inner::Jsonl(out, _) => out,
        };
        out.flush()?;
        Ok((self.rows, out))
    }
}

pub(super) fn properties(columns: &[Column], metadata: Vec<(String, String)>) -> WriterProperties {
    let metadata = metadata.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(metadata));
    for column in columns {
        let path = ColumnPath::from(column.name);
        // A dictionary of values that hardly ever repeat costs time and room.
        let encoding = match (column.kind, column.name) {
            (Kind::Uuid, "event_id" | "operation_id") => Encoding::PLAIN,
            (Kind::Time, _) => Encoding::DELTA_BINARY_PACKED,
            (Kind::Int, _) => Encoding::DELTA_BINARY_PACKED,
            _ => continue,
        };
        properties =
            properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
    }
    properties.build()
}

/// One JSON object and a line feed.
fn json_line(row: &Row, line: &mut Vec<u8>) {
    line.clear();
    let mut columns = row.table().columns().iter();
    row.cells(|cell| {
        line.push(if line.is_empty() { b'{' } else { b',' });
        let column = columns.next().expect("a column for each cell");
        line.extend_from_slice(format!("\"{}\":", column.name).as_bytes());
        json_cell(&cell, line);
    });
    line.extend_from_slice(b"}\n");
}

fn json_cell(cell: &Cell<'_>, line: &mut Vec<u8>) {
    serde_json::to_writer(line, cell).expect("writing into memory does not fail");
}

/// Appends a cell and a comma. Written by hand, for no crate tells a text that is empty from one that is absent.
fn csv_cell(cell: Cell<'_>, line: &mut Vec<u8>) {
    match cell {
        Cell::Null => {}
        Cell::Text(text) => csv_text(text, line),
        Cell::Uuid(uuid) => line.extend_from_slice(uuid.to_string().as_bytes()),
        Cell::Time(time) => line.extend_from_slice(time.to_string().as_bytes()),
        Cell::Bool(_) | Cell::Int(_) => json_cell(&cell, line),
        Cell::Json(_) | Cell::Ints(_) | Cell::Texts(_) | Cell::Names(_) => {
            let mut json = Vec::new();
            json_cell(&cell, &mut json);
            csv_text(std::str::from_utf8(&json).expect("JSON is UTF-8"), line);
        }
    }
    line.push(b',');
}

/// A text, in quotes where RFC 4180 asks for them, and if it is empty.
fn csv_text(text: &str, line: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
    line.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}
