//! Tables: rows of an export, as a stream of record batches that other libraries take without a copy (the Arrow PyCapsule interface).

use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchIterator, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use identity_ledger::Seq;
use identity_ledger::export::{Batch, CellTooLarge, Table as TableName};
use identity_ledger::storage::Fault;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::{View, failed, kind_of};

/// The name by which others know such a capsule.
const STREAM: &std::ffi::CStr = c"arrow_array_stream";

/// Which rows of a table.
#[derive(Clone, Copy)]
pub(crate) enum Span {
    /// Those there are; of tables of records only what stands after a record.
    Whole { since: Option<Seq> },
    /// How they differ between two records.
    Changes { since: Seq, until: Option<Seq> },
}

/// A table. Its rows are read from the ledger each time they are asked for.
#[pyclass(frozen, module = "identity_ledger")]
pub(crate) struct Table {
    view: Arc<View>,
    table: TableName,
    span: Span,
}

/// Why rows could not be made into batches.
#[derive(Debug)]
enum RowsError {
    Fault(Box<Fault>),
    Cell(CellTooLarge),
    Arrow(ArrowError),
}

impl From<Fault> for RowsError {
    fn from(fault: Fault) -> RowsError {
        RowsError::Fault(Box::new(fault))
    }
}

impl From<RowsError> for PyErr {
    fn from(error: RowsError) -> PyErr {
        match error {
            RowsError::Fault(fault) => failed(fault),
            RowsError::Cell(cell) => failed(cell),
            RowsError::Arrow(error) => failed(error),
        }
    }
}

/// Rows on their way into batches, each with what kind of change it is, if changes were asked for.
struct Filling {
    batch: Batch,
    kinds: Option<Vec<&'static str>>,
    full: Vec<RecordBatch>,
}

impl Filling {
    fn push(
        &mut self,
        row: &identity_ledger::export::Row,
        kind: Option<&'static str>,
    ) -> Result<(), RowsError> {
        if self.batch.is_full() {
            self.take()?;
        }
        self.batch.push(row).map_err(RowsError::Cell)?;
        self.kinds.iter_mut().for_each(|kinds| kinds.extend(kind));
        Ok(())
    }

    fn take(&mut self) -> Result<(), RowsError> {
        let mut batch = self.batch.take().map_err(RowsError::Arrow)?;
        if let Some(kinds) = &mut self.kinds {
            let kinds: ArrayRef = Arc::new(StringArray::from_iter_values(kinds.drain(..)));
            let columns = std::iter::once(kinds).chain(batch.columns().iter().cloned()).collect();
            batch = RecordBatch::try_new(with_kind(batch.schema_ref()), columns).map_err(RowsError::Arrow)?;
        }
        self.full.push(batch);
        Ok(())
    }
}

/// The schema of a table's changes.
fn with_kind(schema: &SchemaRef) -> SchemaRef {
    let kind = Arc::new(Field::new("_change_type", DataType::Utf8, false));
    let fields: Vec<_> = std::iter::once(kind).chain(schema.fields().iter().cloned()).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

impl Table {
    pub(crate) fn new(view: Arc<View>, table: TableName, span: Span) -> Table {
        Table { view, table, span }
    }

    fn batches(&self) -> Result<(SchemaRef, Vec<RecordBatch>), RowsError> {
        let kinds = matches!(self.span, Span::Changes { .. }).then(Vec::new);
        let mut filling = Filling { batch: Batch::new(self.table, []), kinds, full: Vec::new() };
        let reader = self.view.reader();
        match self.span {
            Span::Whole { since } => {
                reader.export().try_rows(&[self.table], since, |row| filling.push(&row, None))?;
            }
            Span::Changes { since, until } => {
                let changes = reader.changes(since, until)?;
                changes
                    .try_rows(&[self.table], |change| filling.push(&change.row, Some(kind_of(&change))))?;
            }
        }
        filling.take()?;
        let schema = filling.full[0].schema();
        Ok((schema, filling.full))
    }
}

#[pymethods]
impl Table {
    /// Its name, as files of an export have it.
    #[getter]
    fn name(&self) -> &'static str {
        self.table.name()
    }

    /// The names of its columns.
    #[getter]
    fn columns(&self) -> Vec<&'static str> {
        let kind = matches!(self.span, Span::Changes { .. }).then_some("_change_type");
        kind.into_iter().chain(self.table.columns().iter().map(|column| column.name)).collect()
    }

    /// The Arrow PyCapsule interface: what Polars, pandas, pyarrow, DuckDB and others take a table by.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'p>(
        &self,
        py: Python<'p>,
        requested_schema: Option<&Bound<'p, PyAny>>,
    ) -> PyResult<Bound<'p, PyCapsule>> {
        let _ = requested_schema; // best effort, says the interface: readers cast themselves
        let (schema, batches) = py.detach(|| self.batches())?;
        let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        PyCapsule::new(py, FFI_ArrowArrayStream::new(Box::new(reader)), Some(STREAM.into()))
    }

    /// As a `polars.DataFrame`.
    fn to_polars<'p>(slf: Bound<'p, Self>) -> PyResult<Bound<'p, PyAny>> {
        slf.py().import("polars")?.call_method1("DataFrame", (slf,))
    }

    /// As a `pyarrow.Table`.
    fn to_pyarrow<'p>(slf: Bound<'p, Self>) -> PyResult<Bound<'p, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    /// As a `pandas.DataFrame`, by way of pyarrow.
    fn to_pandas<'p>(slf: Bound<'p, Self>) -> PyResult<Bound<'p, PyAny>> {
        Table::to_pyarrow(slf)?.call_method0("to_pandas")
    }

    fn __repr__(&self) -> String {
        format!("<identity_ledger.Table {} of {} columns>", self.name(), self.columns().len())
    }
}
