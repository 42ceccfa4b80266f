//! A ledger, read from Python. Nothing here writes: there is no method that could. Answers are those of the library; their keys are
//! those of the command line's `--json`.

mod table;

use std::path::PathBuf;
use std::sync::Arc;

use identity_ledger::explain::Subject;
use identity_ledger::export::{ChangeType, RowChange, Table as TableName};
use identity_ledger::storage::StoredKeys;
use identity_ledger::{
    Checkpoint, LedgerOptions, OperationId, PageRequest, PropertyKey, ReadOnlyLedger, Reader, Seq, Timestamp,
    Value,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Serialize;

use crate::table::{Span, Table};

pyo3::create_exception!(
    identity_ledger,
    LedgerError,
    pyo3::exceptions::PyException,
    "A ledger cannot be opened, or its log cannot be read back. The text says where, and what to do."
);

/// Items of a long answer that are asked for at a time.
const PAGE: usize = 1_000;

/// An error of the library, with all that caused it.
pub(crate) fn failed(error: impl std::error::Error) -> PyErr {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    LedgerError::new_err(text)
}

fn invalid(error: impl std::error::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// An answer as dicts and lists: what Python reads of `--json`.
fn plain<'p>(py: Python<'p>, answer: &impl Serialize) -> PyResult<Bound<'p, PyAny>> {
    let text = serde_json::to_string(answer).map_err(failed)?;
    py.import("json")?.call_method1("loads", (text,))
}

/// What answers: a ledger that was opened, or one as it was.
enum View {
    Open(ReadOnlyLedger),
    /// With its last record.
    Then(Reader, Seq),
}

impl View {
    fn reader(&self) -> &Reader {
        match self {
            View::Open(ledger) => ledger.reader(),
            View::Then(reader, _) => reader,
        }
    }
}

/// A ledger, open for reading. It shows what was durable when it was opened; open it again to see more.
#[pyclass(frozen, module = "identity_ledger")]
struct Ledger(Arc<View>);

impl Ledger {
    fn reader(&self) -> &Reader {
        self.0.reader()
    }

    fn table_of(&self, name: &str, span: Span) -> PyResult<Table> {
        let table = TableName::named(name).ok_or_else(|| {
            let names: Vec<&str> = TableName::ALL.iter().map(|table| table.name()).collect();
            PyValueError::new_err(format!("there is no table {name:?}; expected one of {}", names.join(", ")))
        })?;
        Ok(Table::new(Arc::clone(&self.0), table, span))
    }
}

/// All pages of a long answer.
fn all<'p, T: Serialize + Send, E: std::error::Error + Send>(
    py: Python<'p>,
    mut page: impl FnMut(PageRequest) -> Result<Option<identity_ledger::Page<T>>, E> + Send,
) -> PyResult<Option<Bound<'p, PyList>>> {
    let list = PyList::empty(py);
    let mut ask = PageRequest::first(PAGE);
    loop {
        let Some(found) = py.detach(|| page(ask)).map_err(failed)? else { return Ok(None) };
        for item in &found.items {
            list.append(plain(py, item)?)?;
        }
        let Some(next) = found.next else { return Ok(Some(list)) };
        ask = PageRequest::next(next, PAGE);
    }
}

#[pymethods]
impl Ledger {
    /// How many records it holds.
    #[getter]
    fn records(&self) -> u64 {
        match &*self.0 {
            View::Open(ledger) => ledger.reader().checkpoint().records,
            View::Then(_, seq) => seq.0 + 1,
        }
    }

    /// RECORDS:HEAD, as `verify --expect` takes it; of a ledger as it was, that of the batch in which its last record stands.
    #[getter]
    fn checkpoint(&self) -> String {
        self.reader().checkpoint().to_string()
    }

    /// The ledger's own id, a UUID as text.
    #[getter]
    fn ledger_id(&self) -> String {
        self.reader().ledger_id().to_string()
    }

    /// The tenant's number.
    #[getter]
    fn tenant(&self) -> String {
        self.reader().tenant().to_string()
    }

    /// The names of the tables.
    #[staticmethod]
    fn tables() -> Vec<&'static str> {
        TableName::ALL.iter().map(|table| table.name()).collect()
    }

    /// The ledger as it was: right after a record (a number), or at a time (a date, RFC 3339, or an aware datetime).
    fn at(&self, py: Python<'_>, moment: &Bound<'_, PyAny>) -> PyResult<Ledger> {
        let reader = self.reader();
        let seq = match moment.extract::<u64>() {
            Ok(seq) if seq < self.records() => Seq(seq),
            Ok(seq) => {
                let records = self.records();
                return Err(PyValueError::new_err(format!(
                    "there is no record {seq}; the ledger has {records}"
                )));
            }
            Err(_) => {
                let time = time_of(moment)?;
                let found = py.detach(|| reader.last_recorded(time)).map_err(failed)?;
                let found = found
                    .ok_or_else(|| PyValueError::new_err(format!("the ledger was created after {time}")));
                found?.min(Seq(self.records() - 1))
            }
        };
        let then = py.detach(|| reader.as_of(seq, &mut |_| {})).map_err(failed)?;
        Ok(Ledger(Arc::new(View::Then(then, seq))))
    }

    /// Who an id is, with properties and the record of each: a dict, or None for an id without a person.
    fn resolve<'p>(&self, py: Python<'p>, distinct_id: &str) -> PyResult<Option<Bound<'p, PyAny>>> {
        let found = py.detach(|| self.reader().profile(distinct_id)).map_err(failed)?;
        found.map(|profile| plain(py, &profile)).transpose()
    }

    /// Why two ids are one person, record by record; None if they are not.
    fn explain<'p>(&self, py: Python<'p>, a: &str, b: &str) -> PyResult<Option<Bound<'p, PyAny>>> {
        let found = py.detach(|| self.reader().explain(a, b)).map_err(failed)?;
        found.map(|why| plain(py, &why)).transpose()
    }

    /// Why an event belongs to its person; None for an event that was never recorded.
    fn explain_event<'p>(&self, py: Python<'p>, event: &str) -> PyResult<Option<Bound<'p, PyAny>>> {
        let event: OperationId = event.parse().map_err(invalid)?;
        let found = py.detach(|| self.reader().explain_event(event)).map_err(failed)?;
        found.map(|why| plain(py, &why)).transpose()
    }

    /// What keeps two ids apart; None where one of them was never written, or they are one person.
    fn why_not<'p>(&self, py: Python<'p>, a: &str, b: &str) -> PyResult<Option<Bound<'p, PyAny>>> {
        let found = py.detach(|| self.reader().why_not(a, b)).map_err(failed)?;
        found.map(|why| plain(py, &why)).transpose()
    }

    /// Every record that touched an id; None for an id that was never written.
    fn history<'p>(&self, py: Python<'p>, distinct_id: &str) -> PyResult<Option<Bound<'p, PyList>>> {
        all(py, |ask| self.reader().history(Subject::Id(distinct_id), ask))
    }

    /// The persons that have a property value.
    fn find<'p>(&self, py: Python<'p>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<Bound<'p, PyAny>> {
        let key = PropertyKey::new(key).map_err(invalid)?;
        let text: String = py.import("json")?.call_method1("dumps", (value,))?.extract()?;
        let value: Value = serde_json::from_str(&text).map_err(invalid)?;
        let found = py.detach(|| self.reader().find(&key, |has| *has == value)).map_err(failed)?;
        plain(py, &found)
    }

    /// What the log holds by kind of record, and what it takes on disk and in memory.
    fn stats<'p>(&self, py: Python<'p>) -> PyResult<Bound<'p, PyAny>> {
        plain(py, &py.detach(|| self.reader().stats()).map_err(failed)?)
    }

    /// A table by its name, such as "events". `since` leaves out what records up to that one say: tables of records only.
    #[pyo3(signature = (name, *, since = None))]
    fn table(&self, name: &str, since: Option<u64>) -> PyResult<Table> {
        self.table_of(name, Span::Whole { since: since.map(Seq) })
    }

    /// The living persons.
    fn persons(&self) -> PyResult<Table> {
        self.table_of("persons", Span::Whole { since: None })
    }

    /// The events, each with its person now and then.
    fn events(&self) -> PyResult<Table> {
        self.table_of("events", Span::Whole { since: None })
    }

    /// What changed in a table after record `since`: its rows, and in `_change_type` whether each is an `insert`, an `update_preimage`, an
    /// `update_postimage` or a `delete`.
    #[pyo3(signature = (since, *, table = "persons", until = None))]
    fn changes(&self, since: u64, table: &str, until: Option<u64>) -> PyResult<Table> {
        self.table_of(table, Span::Changes { since: Seq(since), until: until.map(Seq) })
    }

    fn __repr__(&self) -> String {
        let records = self.records();
        format!("<identity_ledger.Ledger {} of {records} records>", self.ledger_id())
    }
}

/// The time of a date, a text in RFC 3339, or an aware datetime.
fn time_of(moment: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let text = match moment.extract::<String>() {
        Ok(text) => text,
        Err(_) if moment.hasattr("isoformat")? => moment.call_method0("isoformat")?.extract()?,
        Err(_) => {
            return Err(PyTypeError::new_err(
                "expected a record's number, a date, a time in RFC 3339, or a datetime",
            ));
        }
    };
    let text = if text.len() == "2026-03-03".len() { format!("{text}T00:00:00Z") } else { text };
    text.parse().map_err(|error| PyValueError::new_err(format!("{text:?} is not a time: {error}")))
}

fn options(
    key_ring: Option<PathBuf>,
    expect: Option<&str>,
    from_log: bool,
) -> PyResult<LedgerOptions<'static>> {
    let mut options = LedgerOptions::new();
    if let Some(ring) = key_ring {
        let keys = StoredKeys::file(&ring).map_err(failed)?;
        options = options.keys(Arc::new(keys));
    }
    if let Some(expect) = expect {
        options = options.expect(expect.parse::<Checkpoint>().map_err(invalid)?);
    }
    Ok(if from_log { options.without_snapshots() } else { options })
}

/// Opens a ledger for reading. `expect` is RECORDS:HEAD, kept elsewhere: nothing is answered from a ledger with another past. With
/// `from_log` no snapshot is used.
#[pyfunction]
#[pyo3(signature = (path, *, key_ring = None, expect = None, from_log = false))]
fn open(
    py: Python<'_>,
    path: PathBuf,
    key_ring: Option<PathBuf>,
    expect: Option<&str>,
    from_log: bool,
) -> PyResult<Ledger> {
    let opened = py.detach(|| options(key_ring, expect, from_log)?.open_read_only(path).map_err(failed))?;
    Ok(Ledger(Arc::new(View::Open(opened))))
}

/// Checks that nothing in a ledger was changed, lost or forged: a dict with the keys of `verify --json`; `is_whole` says it in one word.
#[pyfunction]
#[pyo3(signature = (path, *, key_ring = None, expect = None))]
fn verify<'p>(
    py: Python<'p>,
    path: PathBuf,
    key_ring: Option<PathBuf>,
    expect: Option<&str>,
) -> PyResult<Bound<'p, PyAny>> {
    let report = py.detach(|| options(key_ring, expect, false)?.audit(path).map_err(failed))?;
    let said = plain(py, &report)?;
    said.set_item("is_whole", report.faults.is_empty())?;
    Ok(said)
}

/// What kind of change a row is.
pub(crate) fn kind_of(change: &RowChange) -> &'static str {
    match change.change {
        ChangeType::Insert => "insert",
        ChangeType::UpdatePreimage => "update_preimage",
        ChangeType::UpdatePostimage => "update_postimage",
        ChangeType::Delete => "delete",
    }
}

#[pymodule]
fn _identity_ledger(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Ledger>()?;
    module.add_class::<Table>()?;
    module.add("LedgerError", module.py().get_type::<LedgerError>())?;
    module.add_function(wrap_pyfunction!(open, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)
}
