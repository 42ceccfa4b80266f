//! The rows of several tables as one Arrow stream, for a job has one output.

use std::io::{self, BufWriter, Write};

use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use identity_ledger::PersonId;
use identity_ledger::export::{Batch, Cell, Column, Kind, Row, Table};

use super::error::ComponentsError;

/// The table of operations that were not recorded.
const NOT_RECORDED: &str = "not_recorded";

/// An operation that was not recorded.
pub(super) struct NotRecorded {
    pub(super) seq: i64,
    /// `duplicate`, `conflict`, `ignored` or `error`.
    pub(super) appended: &'static str,
    /// The record that has its id.
    pub(super) earlier_seq: Option<i64>,
    /// Why it is an error.
    pub(super) reason: Option<String>,
}

/// Where rows are written.
pub(super) struct Output<W: Write> {
    columns: Vec<Column>,
    batch: Batch,
    writer: StreamWriter<BufWriter<W>>,
}

/// Arrow fails where its output does.
pub(super) fn failed(error: ArrowError) -> ComponentsError {
    ComponentsError::Output(match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    })
}

/// Whether a column counts ids or persons, which each ledger numbers for itself, or is a sentence that names records.
fn is_left_out(column: &Column) -> bool {
    column.name == "reason" || column.name.ends_with("_no") && column.name != "change_no"
}

/// All columns of these tables, each once.
fn columns(tables: &[Table]) -> Vec<Column> {
    let column = |name, kind, meaning| Column { name, kind, nullable: true, meaning };
    let mut columns = vec![
        Column { nullable: false, ..column("table_name", Kind::Text, "Table of the row.") },
        Column { nullable: false, ..column("tenant", Kind::Text, "Whose ledger it is.") },
        column("seq", Kind::Int, "Record of the operation."),
        column("person_id", Kind::Uuid, "Public id of the person."),
    ];
    for more in tables.iter().flat_map(|table| table.columns()).filter(|column| !is_left_out(column)) {
        match columns.iter().find(|column| column.name == more.name) {
            Some(known) => assert!(known.kind == more.kind, "{} has one type in all tables", more.name),
            None => columns.push(Column { nullable: true, ..*more }),
        }
    }
    columns.push(column("appended", Kind::Text, "What became of an operation that was not recorded."));
    columns.push(column("earlier_seq", Kind::Int, "The record that has its id."));
    columns.push(column("reason", Kind::Text, "Why it is an error."));
    columns
}

impl<W: Write> Output<W> {
    pub(super) fn new(tables: &[Table], out: W) -> Result<Output<W>, ComponentsError> {
        let columns = columns(tables);
        let batch = Batch::of(&columns, []);
        let writer = StreamWriter::try_new(BufWriter::with_capacity(1 << 20, out), batch.schema());
        Ok(Output { batch, writer: writer.map_err(failed)?, columns })
    }

    /// Writes a row of a table. `person` is the one that T of an outcome belongs to now.
    pub(super) fn row(
        &mut self,
        tenant: &str,
        row: &Row,
        person: Option<PersonId>,
    ) -> Result<(), ComponentsError> {
        let table = row.table();
        let mut cells = self.cells(table.name(), tenant);
        let mut columns = table.columns().iter();
        row.cells(|cell| {
            let column = columns.next().expect("a column for each cell");
            if !is_left_out(column) {
                cells[self.place(column.name)] = cell;
            }
        });
        if let Some(person) = person {
            cells[self.place("person_id")] = Cell::Uuid(person.0);
        }
        self.push(cells)
    }

    /// Writes that an operation was not recorded.
    pub(super) fn not_recorded(&mut self, tenant: &str, what: &NotRecorded) -> Result<(), ComponentsError> {
        let mut cells = self.cells(NOT_RECORDED, tenant);
        cells[self.place("seq")] = Cell::Int(what.seq);
        cells[self.place("appended")] = Cell::Text(what.appended);
        cells[self.place("earlier_seq")] = what.earlier_seq.map_or(Cell::Null, Cell::Int);
        cells[self.place("reason")] = what.reason.as_deref().map_or(Cell::Null, Cell::Text);
        self.push(cells)
    }

    fn cells<'a>(&self, table: &'a str, tenant: &'a str) -> Vec<Cell<'a>> {
        let mut cells = vec![Cell::Null; self.columns.len()];
        cells[0] = Cell::Text(table);
        cells[1] = Cell::Text(tenant);
        cells
    }

    fn place(&self, name: &str) -> usize {
        self.columns.iter().position(|column| column.name == name).expect("a column of the output")
    }

    fn push(&mut self, cells: Vec<Cell<'_>>) -> Result<(), ComponentsError> {
        let pushed = self.batch.push_cells(cells);
        pushed.map_err(|error| ComponentsError::Output(io::Error::other(error)))?;
        if self.batch.is_full() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ComponentsError> {
        let rows = self.batch.take().map_err(failed)?;
        self.writer.write(&rows).map_err(failed)
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> Result<(), ComponentsError> {
        self.write()?;
        self.writer.finish().map_err(failed)?;
        self.writer.into_inner().map_err(failed)?.flush().map_err(ComponentsError::Output)
    }
}
