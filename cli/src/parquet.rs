//! Parquet as an input: its rows as JSON Lines, which imports read.
#![expect(clippy::disallowed_types, reason = "the shell: inputs are files")]

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::{ArrowError, DataType};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// How a Parquet file begins, and one whose end is encrypted, which is refused by name.
pub(crate) const MAGIC: [&[u8; 4]; 2] = [b"PAR1", b"PARE"];

/// Rows that are decoded together. A column repeats a value at no cost, so that few rows can take much memory.
const ROWS: usize = 64;

/// Times without a zone, as warehouses write those of UTC.
const UTC: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// The rows of a Parquet file, a JSON object a line. Absent values have no key.
pub(crate) struct Rows {
    /// The file, until it is first read; an import takes other files whatever this one is.
    file: Option<File>,
    batches: Option<ParquetRecordBatchReader>,
    lines: Vec<u8>,
    /// How much of `lines` was read.
    read: usize,
}

impl Rows {
    pub(crate) fn of(file: File) -> Rows {
        Rows { file: Some(file), batches: None, lines: Vec::new(), read: 0 }
    }

    /// The lines of the next rows; none behind the last.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(file) = self.file.take() {
            let open = || ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(ROWS).build();
            self.batches = Some(without_panic(open)?);
        }
        let Some(batches) = &mut self.batches else { return Ok(None) };
        let Some(batch) = without_panic(|| batches.next().transpose())? else { return Ok(None) };
        expect_text(&batch)?;
        without_panic(|| json_lines(&batch)).map(Some)
    }
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.lines.len() {
            let Some(lines) = self.next()? else { return Ok(0) };
            (self.lines, self.read) = (lines, 0);
        }
        let read = (&self.lines[self.read..]).read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

/// Sixteen bytes are a UUID. Other bytes are refused, for nothing says which text they are.
fn expect_text(batch: &RecordBatch) -> io::Result<()> {
    match batch
        .schema()
        .fields()
        .iter()
        .find(|field| !is_uuid(field.data_type()) && has_bytes(field.data_type()))
    {
        None => Ok(()),
        Some(field) => {
            Err(unreadable(&format!("column `{}` holds bytes; expected text: cast it first", field.name())))
        }
    }
}

fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let names = batch.schema();
    let names = names.fields().iter().map(|field| field.name());
    let batch = &RecordBatch::try_from_iter(names.zip(batch.columns().iter().map(with_uuids)))?;
    let format = WriterBuilder::new().with_timestamp_format(UTC.to_owned());
    let mut writer = format.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// UUIDs as their text, so that one that is a distinct id is the id that it is elsewhere (A5).
fn with_uuids(column: &ArrayRef) -> ArrayRef {
    match column.as_fixed_size_binary_opt() {
        Some(bytes) if is_uuid(column.data_type()) => {
            let text = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).expect("it has 16 bytes").to_string();
            Arc::new(bytes.iter().map(|bytes| bytes.map(text)).collect::<StringArray>())
        }
        _ => column.clone(),
    }
}

fn is_uuid(kind: &DataType) -> bool {
    *kind == DataType::FixedSizeBinary(16)
}

fn has_bytes(kind: &DataType) -> bool {
    use DataType::*;
    match kind {
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => true,
        List(item)
        | LargeList(item)
        | ListView(item)
        | LargeListView(item)
        | FixedSizeList(item, _)
        | Map(item, _) => has_bytes(item.data_type()),
        Struct(fields) => fields.iter().any(|field| has_bytes(field.data_type())),
        Dictionary(_, values) => has_bytes(values),
        _ => false,
    }
}

thread_local! {
    /// Whether this thread is in the crate `parquet`, whose panics are told as errors.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// What `read` gives. The crate `parquet` panics on some damaged files; that is an error like its others.
fn without_panic<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> io::Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !READS.get() {
                others(panicked)
            }
        }));
    });
    READS.set(true);
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    READS.set(false);
    let error = match read {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its bytes contradict each other".to_owned(),
    };
    Err(unreadable(&error))
}

fn unreadable(why: &str) -> io::Error {
    let what = format!(
        "this Parquet file cannot be read: {why}; a tool that reads it, such as DuckDB, can write its rows as JSON Lines"
    );
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow_array::{
        BinaryArray, FixedSizeBinaryArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;

    use super::*;

    fn rows_of(bytes: &[u8]) -> io::Result<String> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        let mut text = String::new();
        Rows::of(file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A file, and the rows that it has.
    fn sample(rows: usize, compression: Compression) -> (Vec<u8>, String) {
        let rows = 0..rows as i64;
        let of = |value: fn(i64) -> Option<String>| StringArray::from_iter(rows.clone().map(value));
        let uuids = rows.clone().map(|row| Some([row as u8; 16]));
        let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap();
        let micros = |row: i64| 1_767_225_600_000_000 + row;
        let columns: [(&str, ArrayRef); 5] = [
            ("uuid", Arc::new(uuids)),
            ("distinct_id", Arc::new(of(|row| Some(format!("\"{row}\""))))),
            ("set", Arc::new(of(|row| (row == 1).then(|| r#"{"a":1}"#.to_owned())))),
            (
                "timestamp",
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(rows.clone().map(micros))
                        .with_timezone("UTC"),
                ),
            ),
            (
                "sent",
                Arc::new(TimestampMillisecondArray::from_iter_values(
                    rows.clone().map(|_| 1_767_225_600_500),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let line = |row: i64| {
            let (uuid, set) = (
                uuid::Uuid::from_bytes([row as u8; 16]),
                if row == 1 { r#""set":"{\"a\":1}","# } else { "" },
            );
            format!(
                r#"{{"uuid":"{uuid}","distinct_id":"\"{row}\"",{set}"timestamp":"2026-01-01T00:00:00{}Z","sent":"2026-01-01T00:00:00.500Z"}}"#,
                if row == 0 { String::new() } else { format!(".{row:06}") }
            ) + "\n"
        };
        (writer.into_inner().unwrap(), rows.clone().map(line).collect())
    }

    #[test]
    fn rows_are_lines_of_json_however_they_are_compressed() {
        use Compression::*;
        for compression in [
            UNCOMPRESSED,
            SNAPPY,
            GZIP(Default::default()),
            BROTLI(Default::default()),
            LZ4,
            LZ4_RAW,
            ZSTD(Default::default()),
        ] {
            let (bytes, lines) = sample(ROWS + 3, compression);
            assert_eq!(rows_of(&bytes).unwrap(), lines, "{compression}");
        }
    }

    /// As hexadecimal digits they would be ids of other people.
    #[test]
    fn bytes_that_are_no_uuid_are_refused_by_name() {
        let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"ann"]));
        let batch = RecordBatch::try_from_iter([("distinct_id", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let error = rows_of(&writer.into_inner().unwrap()).unwrap_err().to_string();
        assert!(error.contains("column `distinct_id` holds bytes; expected text"), "{error}");
    }

    #[test]
    fn a_changed_or_cut_file_is_an_error_or_rows_and_no_panic() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            let (bytes, _) = sample(9, compression);
            let mut told = 0;
            for at in 0..bytes.len() {
                told += u32::from(rows_of(&bytes[..at]).is_err());
                for bit in [1, 0x80] {
                    let mut changed = bytes.clone();
                    changed[at] ^= bit;
                    drop(rows_of(&changed)); // rows or an error
                }
            }
            assert_eq!(told as usize, bytes.len());
        }
    }
}
