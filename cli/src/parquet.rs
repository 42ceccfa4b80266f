//! Parquet as an input: its rows as JSON Lines, which imports read.
#![expect(clippy::disallowed_types, reason = "the shell: inputs are files")]

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::as_datetime;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Float16Type, Float32Type, Float64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, FixedSizeBinaryArray, PrimitiveArray, RecordBatch};
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, TimeUnit};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// How a Parquet file begins, and one whose end is encrypted, which is refused by name.
pub(crate) const MAGIC: [&[u8; 4]; 2] = [b"PAR1", b"PARE"];

/// Rows that are decoded together. A column repeats a value at no cost, so that few rows can take much memory.
const ROWS: usize = 64;

/// How many times its size a file may have of rows, as with other compressed inputs, and what any may have, however small it is.
const MAX_UNPACKED: (u64, u64) = (1_100, 64 << 20);

/// What names a person or a device at one of the vendors. Other numbers may have a fraction, whatever they are called.
const IDS: [&str; 18] = [
    "distinct_id",
    "$distinct_id",
    "distinct_ids",
    "$distinct_ids",
    "$anon_distinct_id",
    "$anon_id",
    "$identified_id",
    "alias",
    "resolved_distinct_id",
    "user_id",
    "$user_id",
    "userId",
    "anonymous_id",
    "anonymousId",
    "previous_id",
    "previousId",
    "device_id",
    "$device_id",
];

/// The rows of a Parquet file, a JSON object a line. Absent values have no key.
pub(crate) struct Rows {
    /// The file, until it is first read; an import takes other files whatever this one is.
    file: Option<File>,
    batches: Option<ParquetRecordBatchReader>,
    /// How many bytes of lines may come still.
    left: u64,
    lines: Vec<u8>,
    /// How much of `lines` was read.
    read: usize,
}

impl Rows {
    pub(crate) fn of(file: File) -> Rows {
        Rows { file: Some(file), batches: None, left: 0, lines: Vec::new(), read: 0 }
    }

    /// The lines of the next rows; none behind the last.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(file) = self.file.take() {
            self.left = (file.metadata()?.len().saturating_mul(MAX_UNPACKED.0)).max(MAX_UNPACKED.1);
            let open = || ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(ROWS).build();
            self.batches = Some(without_panic(open)?);
        }
        let Some(batches) = &mut self.batches else { return Ok(None) };
        let Some(batch) = without_panic(|| batches.next().transpose())? else { return Ok(None) };
        expect_text(&batch)?;
        let lines = without_panic(|| json_lines(&batch))?;
        self.left = self.left.checked_sub(lines.len() as u64).ok_or_else(|| {
            let times = MAX_UNPACKED.0;
            unreadable(&format!(
                "its rows are more than {times} times its size; expected events, which shrink less"
            ))
        })?;
        Ok(Some(lines))
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

/// Refuses columns of which nothing says which text they are. Sixteen bytes are a UUID. A number with a fraction is not an id: a table made of ids
/// some of which are absent has `1.0` for `1`.
fn expect_text(batch: &RecordBatch) -> io::Result<()> {
    for field in batch.schema().fields() {
        if let Some(found) = what_is_no_text(field) {
            return Err(unreadable(&format!("column `{}` holds {found}: cast it first", field.name())));
        }
    }
    Ok(())
}

/// What a column holds, in any depth, that cannot be read as a text or a value.
fn what_is_no_text(field: &Field) -> Option<&'static str> {
    use DataType::*;
    match field.data_type() {
        FixedSizeBinary(UUID_BYTES) => None,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Some("bytes; expected text"),
        List(item)
        | LargeList(item)
        | ListView(item)
        | LargeListView(item)
        | FixedSizeList(item, _)
        | Map(item, _) => what_is_no_text(&Field::new(field.name(), item.data_type().clone(), true)),
        Struct(fields) => fields.iter().find_map(|field| what_is_no_text(field)),
        Dictionary(_, values) => what_is_no_text(&Field::new(field.name(), (**values).clone(), true)),
        kind if has_fraction(kind) && IDS.contains(&field.name().as_str()) => {
            Some("ids with a fraction; expected text or whole numbers, as ids are")
        }
        _ => None,
    }
}

fn has_fraction(kind: &DataType) -> bool {
    use DataType::*;
    match kind {
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) | Decimal256(_, scale) => *scale > 0,
        kind => kind.is_floating(),
    }
}

fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let format = WriterBuilder::new().with_encoder_factory(Arc::new(Texts));
    let mut writer = format.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// What the crate `arrow-json` would write otherwise, or not at all: UUIDs and times, in any depth.
#[derive(Debug)]
struct Texts;

impl EncoderFactory for Texts {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::FixedSizeBinary(UUID_BYTES) => Box::new(Uuids(array.as_fixed_size_binary())),
            DataType::Timestamp(TimeUnit::Second, _) => {
                Box::new(Times(array.as_primitive::<TimestampSecondType>()))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampMillisecondType>()))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampMicrosecondType>()))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampNanosecondType>()))
            }
            DataType::Float16 => Box::new(Floats(array.as_primitive::<Float16Type>())),
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// UUIDs as their text, so that one that is a distinct id is the id that it is elsewhere (A5).
struct Uuids<'a>(&'a FixedSizeBinaryArray);

impl Encoder for Uuids<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let uuid = uuid::Uuid::from_slice(self.0.value(row)).expect("it has 16 bytes");
        write!(out, "\"{uuid}\"").expect("memory");
    }
}

/// Times in UTC, as warehouses write those without a zone. One beyond the calendar is its number, which no reader takes for a time.
struct Times<'a, T: ArrowTimestampType>(&'a PrimitiveArray<T>);

impl<T: ArrowTimestampType> Encoder for Times<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        match as_datetime::<T>(value) {
            Some(time) => write!(out, "\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.fZ")),
            None => write!(out, "\"{value} {:?}s since 1970\"", T::UNIT),
        }
        .expect("memory");
    }
}

/// Numbers as JSON has them. `NaN` and infinity have no place there, so that an import says what it says of them elsewhere (E4); they are not
/// absent values.
struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T>
where
    T::Native: Into<f64> + std::fmt::Debug,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        match value.into() {
            double if double.is_nan() => out.extend_from_slice(b"NaN"),
            double if double.is_infinite() => {
                out.extend_from_slice(if double > 0.0 { b"Infinity" } else { b"-Infinity" });
            }
            _ => write!(out, "{value:?}").expect("memory"),
        }
    }
}

const UUID_BYTES: i32 = 16;

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
        ArrayRef, BinaryArray, Decimal128Array, Float64Array, StringArray, StructArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampSecondArray,
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

    /// A file of one column.
    fn file_of(name: &str, column: ArrayRef) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
        let zstd = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(zstd.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    /// As hexadecimal digits, or with `.0` behind them, they would be ids of other people.
    #[test]
    fn bytes_that_are_no_uuid_and_ids_with_a_fraction_are_refused_by_name() {
        let cents = Decimal128Array::from(vec![700]).with_precision_and_scale(10, 2).unwrap();
        let columns: [(&str, ArrayRef); 3] = [
            ("bytes; expected text", Arc::new(BinaryArray::from_vec(vec![b"ann"]))),
            ("ids with a fraction; expected text or whole", Arc::new(Float64Array::from(vec![7.0]))),
            ("ids with a fraction; expected text or whole", Arc::new(cents)),
        ];
        for (found, column) in columns {
            let error = rows_of(&file_of("distinct_id", column)).unwrap_err().to_string();
            assert!(error.contains(&format!("column `distinct_id` holds {found}")), "{error}");
        }
        let paid: ArrayRef =
            Arc::new(Float64Array::from(vec![7.5, 1e300, -0.0, f64::NAN, f64::NEG_INFINITY]));
        let lines = [
            r#"{"paid":7.5}"#,
            r#"{"paid":1e300}"#,
            r#"{"paid":-0.0}"#,
            r#"{"paid":NaN}"#,
            r#"{"paid":-Infinity}"#,
        ];
        assert_eq!(rows_of(&file_of("paid", Arc::clone(&paid))).unwrap(), lines.join("\n") + "\n");
        let order = StructArray::try_from(vec![("order_id", Arc::clone(&paid))]).unwrap();
        assert!(rows_of(&file_of("properties", Arc::new(order))).unwrap().contains(r#"{"order_id":7.5}"#));
        let nested = StructArray::try_from(vec![("$user_id", paid)]).unwrap();
        let error = rows_of(&file_of("properties", Arc::new(nested))).unwrap_err().to_string();
        assert!(error.contains("column `properties` holds ids with a fraction"), "{error}");
    }

    #[test]
    fn uuids_and_times_are_text_in_any_depth_also_beyond_the_calendar() {
        let times = TimestampSecondArray::from_iter_values([1_767_225_600, i64::MAX]);
        let uuids = FixedSizeBinaryArray::try_from_iter([[7; 16]; 2].iter()).unwrap();
        let fields: [(&str, ArrayRef); 2] = [("time", Arc::new(times)), ("uuid", Arc::new(uuids))];
        let nested = StructArray::try_from(Vec::from(fields)).unwrap();
        let uuid = "07070707-0707-0707-0707-070707070707";
        let line = |time| format!(r#"{{"properties":{{"time":"{time}","uuid":"{uuid}"}}}}"#) + "\n";
        let expected = line("2026-01-01T00:00:00Z") + &line("9223372036854775807 Seconds since 1970");
        assert_eq!(rows_of(&file_of("properties", Arc::new(nested))).unwrap(), expected);
    }

    #[test]
    fn a_small_file_of_endless_rows_is_read_no_further() {
        let text = "x".repeat(1 << 20);
        let column = |rows| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&text, rows)));
        assert!(rows_of(&file_of("text", column(60))).is_ok());
        let error = rows_of(&file_of("text", column(70))).unwrap_err().to_string();
        assert!(error.contains("more than 1100 times its size"), "{error}");
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
