//! `export`: what a ledger means as tables, in files that a data warehouse reads.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use identity_ledger::Seq;
use identity_ledger::export::{Export, FileFormat, Losses, OpsError, Row, Table as Exported, TableWriter};
use serde::Serialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::args::SourceArgs;
use crate::directory::{Directory, Finished, Unfinished};
use crate::failure::Failure;
use crate::moment::{MOMENT, Moment};
use crate::progress::Progress;
use crate::screen::{Screen, remark};
use crate::source::Source;
use crate::table::{Column, Table};
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Write what a ledger means as tables, for a data warehouse: one file for each table, and manifest.json.

  identity-ledger export shop.ledger warehouse                          # all tables, as Parquet
  identity-ledger export shop.ledger monday --at 2026-03-02             # as they were when that day began, in UTC
  identity-ledger export shop.ledger more --tables events --since 48113 # only what came since
  identity-ledger export shop.ledger - --tables persons --format arrow | python3 load.py
  identity-ledger export shop.ledger copy --format ops                  # operations that `import` reads back

  duckdb -c \"SELECT count(*) FROM 'warehouse/events.parquet' JOIN 'warehouse/persons.parquet' USING (person_id)\"

OUT is a directory, new or empty, or `-` for one table on standard output. A file has its final name once it is whole; manifest.json comes \
last, with the SHA-256 and the number of rows of each file. So a directory with a manifest.json is complete.

Tables of persons and ids, always whole:
  persons                        living persons, and those that ids with events only imply
  person_distinct_ids            each id, and whose it is
  person_distinct_ids_history    whose each id was, from which record to which
  person_distinct_ids_corrected  the same as is known now, without what was retracted
  person_redirects               person ids that are not in use any more, and what they stand for
  shared_id_periods              for whom each shared id (D13) spoke, from which record to which
Tables of records, which only grow at the end:
  events                         each event, with its person now and then
  outcomes                       what each operation did, and what was refused by which rule
  property_writes                what operations said of properties
  policies                       each policy, from its record on
  erasures                       what to forget, by numbers that name no person
  checkpoints                    where each frame ends, as `verify --expect` takes it

Records are numbered from 0. The next --since is `last_record` of the manifest: one less than `records`, and than RECORDS of a checkpoint.

Erased texts and values are null in all of them, whatever --at says. docs/export.md says what each column means, and has queries.

Formats:
  parquet  zstd, row groups of 122,880 rows, statistics; ids are always text, person ids have the type UUID
  arrow    an Arrow IPC stream
  csv      with a header; an absent value is empty, an empty text is \"\". Texts of others stand there as they are, formulas too
  jsonl    one object a line, with all columns
  ops      the operations, one a line, for `import` under the same tenant and policy
  ops-parquet  those lines with their records' numbers and times, and the erasures, for jobs on a cluster

What is shown:
  TABLE  the table
  FILE   its file
  ROWS   how many
  BYTES  of the file

--json keys: manifest.json as one object, with out. It has schema, program, ledger, tenant, records, last_record, head (if the export is of all \
records), state_digest, format, since, files (file, table, rows, bytes, sha256, columns) and, with ops, losses (what lines cannot say: policies, \
events_without_id, erased_names, erased_values, retracts_of_nothing).";

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Which tables [default: all]
    #[arg(long, value_name = "TABLE,..", value_delimiter = ',', value_parser = tables())]
    tables: Vec<Exported>,
    /// What the files are written as
    #[arg(long, default_value = "parquet", value_parser = formats())]
    format: Format,
    /// As it was right after this record, or at this time of recording
    #[arg(long, value_name = MOMENT)]
    at: Option<Moment>,
    /// Of the tables of records only what stands after this record, or was recorded after this time
    #[arg(long, value_name = MOMENT)]
    since: Option<Moment>,
    #[command(flatten)]
    source: SourceArgs,
    /// The directory to write, new or empty; `-` is standard output
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

/// The name of [`Format::OpsParquet`].
const OPS_PARQUET: &str = "ops-parquet";

/// The file that is written last.
const MANIFEST: &str = "manifest.json";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Tables(FileFormat),
    Ops,
    OpsParquet,
}

impl Format {
    /// Whether operations are written, and not tables.
    fn is_of_operations(self) -> bool {
        !matches!(self, Format::Tables(_))
    }
}

/// Takes the name of a table.
pub(crate) fn tables() -> impl TypedValueParser<Value = Exported> {
    let names = Exported::ALL.iter().map(|table| table.name());
    PossibleValuesParser::new(names)
        .map(|name| Exported::named(&name).expect("clap lets no other value through"))
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["parquet", "arrow", "csv", "jsonl", "ops", OPS_PARQUET]).map(|name| {
        let operations = if name == OPS_PARQUET { Format::OpsParquet } else { Format::Ops };
        name.parse().map_or(operations, Format::Tables)
    })
}

/// What manifest.json says.
#[derive(Serialize)]
struct Manifest {
    /// What every file says of where it comes from.
    #[serde(flatten)]
    origin: BTreeMap<String, Value>,
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    files: Vec<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    losses: Option<Losses>,
}

#[derive(Serialize)]
struct File {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'static str>,
    rows: u64,
    bytes: u64,
    sha256: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnType>,
}

#[derive(Serialize)]
struct ColumnType {
    name: &'static str,
    r#type: &'static str,
    nullable: bool,
}

impl File {
    fn of(table: Option<Exported>, rows: u64, written: Finished) -> File {
        let columns = table.map_or(&[][..], Exported::columns).iter();
        let columns = columns.map(|column| ColumnType {
            name: column.name,
            r#type: column.kind.name(),
            nullable: column.nullable,
        });
        let Finished { file, bytes, sha256 } = written;
        File { file, table: table.map(Exported::name), rows, bytes, sha256, columns: columns.collect() }
    }
}

pub(crate) fn export(args: ExportArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ExportArgs { source: from, out, mut tables, format, at, since } = args;
    if format.is_of_operations() && !tables.is_empty() {
        return Err(Failure::OpsTables);
    }
    if tables.is_empty() {
        tables = Exported::ALL.to_vec();
    }
    tables.sort_unstable();
    tables.dedup();
    let to_stdout = out.as_os_str() == "-";
    if to_stdout && !format.is_of_operations() && tables.len() != 1 {
        return Err(Failure::OneTable { found: tables.len() });
    }
    if format.is_of_operations() && since.is_some() {
        return Err(Failure::OpsSince);
    }
    let directory = if to_stdout { None } else { Some(Directory::claim(&out, MANIFEST)?) };
    let mut progress = Progress::beside(screen);
    let source = Source::open(&from, &mut progress, screen)?;
    let since = since.map(|since| since.of(&source, &from.source)?.since(&source, screen)).transpose()?;
    progress.begin_waiting("Exporting");
    let export = match at {
        Some(at) => source.export_as_of(at.of(&source, &from.source)?.record(&source, screen)?)?,
        None => source.export(),
    };
    if let Some(since) = since.filter(|since| *since > export.as_of()) {
        return Err(Failure::BeforeSince { option: "--at", since, until: export.as_of() });
    }
    match directory {
        None => {
            to_standard_output(&export, &tables, format, since)?;
            progress.clear();
        }
        Some(mut directory) => {
            let (files, losses) = match format {
                Format::Ops => {
                    let (file, losses) = ops(&export, &mut directory)?;
                    (vec![file], Some(losses))
                }
                Format::OpsParquet => {
                    let file = directory.begin("operations.parquet")?;
                    let (rows, losses, file) =
                        export.write_ops_parquet(file).map_err(|error| match error {
                            OpsError::Output(source) => directory.failed(source),
                            error => error.into(),
                        })?;
                    (vec![File::of(None, rows, directory.complete(file)?)], Some(losses))
                }
                Format::Tables(format) => (write(&export, &tables, format, since, &mut directory)?, None),
            };
            let entry = |(key, value): (String, String)| {
                let key = key.trim_start_matches("identity_ledger.").to_owned();
                let is_number = matches!(key.as_str(), "schema" | "records" | "last_record");
                let number = value.parse::<u64>().ok().filter(|_| is_number);
                (key, number.map_or(Value::from(value), Value::from))
            };
            let manifest = Manifest {
                origin: export.metadata().into_iter().map(entry).collect(),
                format: match format {
                    Format::Ops => "ops".to_owned(),
                    Format::OpsParquet => OPS_PARQUET.to_owned(),
                    Format::Tables(format) => format.to_string(),
                },
                since: since.map(|since| since.0),
                files,
                losses,
            };
            let mut text =
                serde_json::to_vec_pretty(&manifest).map_err(|error| Failure::Output(error.into()))?;
            text.push(b'\n');
            directory.finish(&text)?;
            progress.clear();
            show(&export, &out.display().to_string(), &manifest, screen)?;
        }
    }
    Ok(source.answer())
}

/// Writes the tables, each to a file of its own; those of records on one walk.
fn write(
    export: &Export<'_>,
    tables: &[Exported],
    format: FileFormat,
    since: Option<Seq>,
    directory: &mut Directory,
) -> Result<Vec<File>, Failure> {
    let metadata = export.metadata();
    let mut writers: BTreeMap<Exported, (String, TableWriter<Unfinished>)> = BTreeMap::new();
    for table in tables {
        let name = format!("{}.{format}", table.name());
        let file = directory.begin(&name)?;
        let writer = TableWriter::new(format, *table, metadata.clone(), file);
        writers.insert(*table, (name, writer.map_err(|error| directory.failed(error.into()))?));
    }
    export.try_rows(tables, since, |row: Row| {
        let (_, writer) = writers.get_mut(&row.table()).expect("a writer for each table");
        writer.write(&row).map_err(|error| directory.failed(error.into()))
    })?;
    let mut files = Vec::new();
    for (table, (_, writer)) in writers {
        let (rows, file) = writer.finish().map_err(|error| directory.failed(error.into()))?;
        files.push(File::of(Some(table), rows, directory.complete(file)?));
    }
    Ok(files)
}

fn ops(export: &Export<'_>, directory: &mut Directory) -> Result<(File, Losses), Failure> {
    let mut file = directory.begin("ops.jsonl")?;
    let losses = export.write_ops(&mut file)?;
    let rows = file.lines();
    Ok((File::of(None, rows, directory.complete(file)?), losses))
}

fn to_standard_output(
    export: &Export<'_>,
    tables: &[Exported],
    format: Format,
    since: Option<Seq>,
) -> Result<(), Failure> {
    let out = io::BufWriter::with_capacity(1 << 20, io::stdout());
    let unread = |result: Result<(), Failure>| match result {
        // A reader that goes away is not a failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    };
    match format {
        Format::Ops => {
            let mut out = out;
            let losses = export.write_ops(&mut out);
            let flushed = out.flush();
            unread(losses.map_err(Failure::from).map(|losses| remark_losses(&losses)))?;
            unread(flushed.map_err(Failure::Output))
        }
        Format::OpsParquet => {
            refuse_terminal()?;
            unread(
                export
                    .write_ops_parquet(out)
                    .map_err(Failure::from)
                    .map(|(_, losses, _)| remark_losses(&losses)),
            )
        }
        Format::Tables(format) => {
            if matches!(format, FileFormat::Parquet | FileFormat::Arrow) {
                refuse_terminal()?;
            }
            unread((|| {
                let mut writer = TableWriter::new(format, tables[0], export.metadata(), out)?;
                export.try_rows(tables, since, |row| Ok::<(), Failure>(writer.write(&row)?))?;
                writer.finish()?;
                Ok(())
            })())
        }
    }
}

/// Bytes are not for a terminal.
fn refuse_terminal() -> Result<(), Failure> {
    if io::stdout().is_terminal() { Err(Failure::Binary) } else { Ok(()) }
}

/// Says what `ops` lines could not say.
fn remark_losses(losses: &Losses) {
    let Losses { policies, events_without_id, erased_names, erased_values, retracts_of_nothing } = *losses;
    let said = [
        (policies, "record that sets another policy", "is left out; all lines are read under one policy"),
        (events_without_id, "event without an id", "gets one"),
        (erased_names, "erased id or device", "gets a text made of its number"),
        (erased_values, "erased value", "is null"),
        (retracts_of_nothing, "retract of what is not an operation", "is left out"),
    ];
    for (number, noun, what) in said.into_iter().filter(|(number, ..)| *number > 0) {
        remark("note", &format!("{} x {noun}: {what}", count(number)));
    }
}

const COLUMNS: [Column; 4] =
    [Column::whole("TABLE"), Column::elastic("FILE"), Column::number("ROWS"), Column::number("BYTES")];

fn show(export: &Export<'_>, out: &str, manifest: &Manifest, screen: &mut Screen) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Written<'a> {
        out: &'a str,
        #[serde(flatten)]
        manifest: &'a Manifest,
    }
    if screen.json {
        return screen.object(&Written { out, manifest });
    }
    screen.headline(&format!(
        "{out}: {} as of record {}",
        counted(manifest.files.len() as u64, "file"),
        export.as_of()
    ))?;
    let mut table = Table::new(&COLUMNS);
    for file in &manifest.files {
        let name = file.table.unwrap_or("operations");
        table.row(
            screen,
            [name.into(), file.file.clone().into(), count(file.rows).into(), count(file.bytes).into()],
        )?;
    }
    table.finish(screen)?;
    manifest.losses.iter().for_each(remark_losses);
    Ok(())
}
