//! What changed in the tables from one record to another: a feed that a warehouse applies to an earlier export.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::Peekable;

use serde::Serialize;

use crate::export::people::Rows;
use crate::export::row::{Row, Table};
use crate::export::tables::Export;
use crate::fold::replay::Step;
use crate::fold::{PersonNo, State};
use crate::log::body::IdNo;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::reader::Reader;
use crate::store::layout::LOG;
use crate::store::segments::{Fault, FaultKind};

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeType {
    /// It was not there before.
    Insert,
    /// How it was, without what is erased by now. The next change is its postimage.
    UpdatePreimage,
    /// How it is.
    UpdatePostimage,
    /// It is not there any more; this is how it was, without what is erased by now.
    Delete,
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// What became of the row.
    pub change: ChangeType,
    /// The row.
    pub row: Row,
}

/// What changed in the tables between two records.
///
/// **Law.** The export as of the first record, with these changes applied, is the export as of the second: also where something was
/// retracted, split or erased in between, and also if the first export was made before the erasure.
///
/// To apply a change, put or remove the row of its [key](Row::key). Rows of events and of property writes follow the id that they go with:
/// where nothing but their present person changed they are not listed. Afterwards their columns `person_no`, `person_id` and `is_implied`
/// are those of `person_distinct_ids` for their `goes_with_id_no`.
///
/// ```
/// use identity_ledger::export::{ChangeType, Table};
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let first = ledger.append(Operation::properties(at, DistinctId::new("phone")?))?.seq().ok_or("recorded")?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
///
/// let mut changes = Vec::new();
/// let table = Table::PersonDistinctIds;
/// ledger.reader().changes(first, None)?.rows(&[table], |change| changes.push(change.change))?;
/// assert_eq!(changes, [ChangeType::Insert]); // `ann` came to the person of `phone`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TableChanges<'a> {
    before: Export<'a>,
    /// As `before`, with marks where something was erased or renamed since; `None` if nothing was ever erased.
    marked: Option<Export<'a>>,
    after: Export<'a>,
    /// When the last record of `after` was recorded.
    recorded_at: Timestamp,
}

impl Reader {
    /// What changed in the tables after record `since`, up to record `until` or the last one.
    ///
    /// Cost: two replays, a look at each id and person, and as much memory again as the state takes once or twice.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn changes(&self, since: Seq, until: Option<Seq>) -> Result<TableChanges<'_>, Fault> {
        let after = match until {
            Some(until) => self.export_as_of(until)?,
            None => self.export(),
        };
        let before = self.export_as_of(since.min(after.as_of()))?;
        self.changes_between(before, after)
    }

    /// What changed in the tables since `before` was detached from this ledger ([`Reader::detached`]), up to the last record. It need not read
    /// in the log, so an erasure since then does not end it for this.
    ///
    /// Cost: one replay, a look at each id and person.
    ///
    /// ```
    /// # use identity_ledger::export::Table;
    /// # use identity_ledger::{DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
    /// # let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// # let at = Timestamp::from_micros(0)?;
    /// let before = ledger.reader().detached();
    /// let _ = ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
    /// let mut changes = 0;
    /// ledger.reader().changes_from(&before)?.rows(&[Table::Persons], |_| changes += 1)?;
    /// assert_eq!(changes, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back, or is not the one that `before` was detached from.
    pub fn changes_from<'a>(&'a self, before: &'a Reader) -> Result<TableChanges<'a>, Fault> {
        let end = before.checkpoint();
        if end.records > self.state().records() || self.log.end_of(end)?.is_none() {
            let kind = FaultKind::Forked { expected: end };
            return Err(Fault { file: LOG.to_owned(), offset: 0, records: end.records, kind });
        }
        self.changes_between(Export::of(self, Cow::Borrowed(before.state())), self.export())
    }

    fn changes_between<'a>(
        &'a self,
        before: Export<'a>,
        after: Export<'a>,
    ) -> Result<TableChanges<'a>, Fault> {
        // Where something was ever erased, a retract can give a person another name, too (D11).
        let erased = self.state().erasures().last().is_some();
        let marked = erased.then(|| Export { marks: true, ..before.clone() });
        let recorded_at = self.recorded_at(after.as_of())?.expect("the last record is there");
        Ok(TableChanges { before, marked, after, recorded_at })
    }
}

impl TableChanges<'_> {
    /// The last record that the changes begin behind.
    pub fn since(&self) -> Seq {
        self.before.as_of()
    }

    /// The last record that they cover.
    pub fn until(&self) -> Seq {
        self.after.as_of()
    }

    /// When the last record that they cover was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Shows the changes of `tables`: first of those of persons and ids, table by table, each ascending by [`Row::key`]; then of those of
    /// records, in the order of the log.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn rows(&self, tables: &[Table], mut each: impl FnMut(RowChange)) -> Result<(), Fault> {
        self.try_rows(tables, |change| {
            each(change);
            Ok(())
        })
    }

    /// As [`TableChanges::rows`]. It stops at the first error of `each`.
    ///
    /// # Errors
    /// That of `each`, or the [`Fault`] of a log that cannot be read back.
    pub fn try_rows<E: From<Fault>>(
        &self,
        tables: &[Table],
        mut each: impl FnMut(RowChange) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tables = tables.to_vec();
        tables.sort_unstable();
        tables.dedup();
        for table in tables.iter().filter(|table| !table.is_of_records()) {
            let marked = self.marked.as_ref().map(|marked| marked.people_rows(*table)).transpose()?;
            let before = Before { plain: self.before.people_rows(*table)?, marked };
            merge(before, self.after.people_rows(*table)?.peekable(), &mut each)?;
        }
        if tables.iter().any(|table| table.is_of_records()) {
            self.record_changes(&tables, &mut each)?;
        }
        Ok(())
    }

    /// The changes of the tables of records, on one walk.
    fn record_changes<E: From<Fault>>(
        &self,
        tables: &[Table],
        each: &mut impl FnMut(RowChange) -> Result<(), E>,
    ) -> Result<(), E> {
        let touched = Touched::between(&self.before.state, &self.after.state);
        let mut done = Ok(());
        self.after.reader.replay_first(self.after.state.records(), |step| {
            if done.is_ok() && self.may_change(step.record, &touched) {
                done = self.changes_of(step, tables, each);
            }
        })?;
        done
    }

    /// Whether the rows of a record may have changed: they are new, something was erased since, the record was retracted since or not any
    /// more, or other values are current.
    fn may_change(&self, record: Record<'_>, touched: &Touched) -> bool {
        let retracted = |export: &Export<'_>| export.state.retracted_by_as_of(record.seq(), export.as_of());
        let goes_with =
            [&self.before, &self.after].map(|export| export.state.speaks_for(record.row.id, record.seq()));
        record.seq() > self.since()
            || self.marked.is_some()
            || record.row.has_changes() && goes_with.iter().any(|id| touched.has(*id))
            || goes_with[0] != goes_with[1]
            || retracted(&self.before) != retracted(&self.after)
            || record.row.is_erasure() // it may be done since
    }

    fn changes_of<E: From<Fault>>(
        &self,
        step: Step<'_>,
        tables: &[Table],
        each: &mut impl FnMut(RowChange) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = |export: &Export<'_>| {
            let mut rows = Vec::new();
            if step.record.seq() <= export.as_of() {
                export.rows_of(step, tables, &mut rows)?;
            }
            Ok::<Vec<Row>, Fault>(rows)
        };
        // The rows of one record, table by table.
        let (plain, after) = (rows(&self.before)?, rows(&self.after)?);
        let marked = self.marked.as_ref().map(rows).transpose()?;
        for table in tables.iter().filter(|table| table.is_of_records()) {
            let of = |rows: &[Row]| -> Rows<'static> {
                let rows: Vec<Row> = rows.iter().filter(|row| row.table() == *table).cloned().collect();
                Box::new(rows.into_iter().map(Ok))
            };
            let before = Before { plain: of(&plain), marked: marked.as_deref().map(of) };
            merge(before, of(&after).peekable(), each)?;
        }
        Ok(())
    }
}

/// Rows as they were: to be shown, and to be compared.
struct Before<'a> {
    plain: Rows<'a>,
    marked: Option<Rows<'a>>,
}

impl Iterator for Before<'_> {
    type Item = Result<(Row, Option<Row>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let plain = self.plain.next()?;
        let marked =
            self.marked.as_mut().map(|marked| marked.next().expect("marks change no row's key")).transpose();
        Some(plain.and_then(|plain| Ok((plain, marked?))))
    }
}

/// Walks through two lists of rows that ascend by key, and shows in what they differ.
fn merge<E: From<Fault>>(
    mut before: Before<'_>,
    mut after: Peekable<Rows<'_>>,
    each: &mut impl FnMut(RowChange) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let Some((old, marked)) = before.next().transpose()? else {
            return after.try_for_each(|row| each(RowChange { change: ChangeType::Insert, row: row? }));
        };
        while let Some(new) = after.next_if(|new| new.as_ref().map_or(true, |new| new.key() < old.key())) {
            each(RowChange { change: ChangeType::Insert, row: new? })?;
        }
        match after.next_if(|new| new.as_ref().is_ok_and(|new| new.key() == old.key())).transpose()? {
            None => each(RowChange { change: ChangeType::Delete, row: old })?,
            Some(new) if is_same(marked.as_ref().unwrap_or(&old), &new) => {}
            Some(new) => {
                each(RowChange { change: ChangeType::UpdatePreimage, row: old })?;
                each(RowChange { change: ChangeType::UpdatePostimage, row: new })?;
            }
        }
    }
}

/// Whether two rows of one key say the same, but for whom events and property writes follow.
fn is_same(old: &Row, new: &Row) -> bool {
    match (old, new) {
        (Row::Events(old), Row::Events(new)) => {
            let mut moved = old.clone();
            (moved.person_no, moved.person_id, moved.is_implied) =
                (new.person_no, new.person_id, new.is_implied);
            moved == *new
        }
        (Row::PropertyWrites(old), Row::PropertyWrites(new)) => {
            let mut moved = old.clone();
            moved.person_no = new.person_no;
            moved == *new
        }
        _ => old == new,
    }
}

/// The ids whose persons' properties are not what they were: their property writes may be current now, or not any more.
struct Touched(Vec<bool>);

impl Touched {
    fn between(before: &State, after: &State) -> Touched {
        // Ids of one person stand together here and there: they are compared once.
        let mut known = BTreeMap::new();
        let differ = |persons: [Option<PersonNo>; 2]| {
            let [before, after] = [(before, persons[0]), (after, persons[1])]
                .map(|(state, person)| person.map(|person| state.view(person)));
            match (before, after) {
                (Some(before), Some(after)) => !before.has_same_properties(&after),
                (Some(view), None) | (None, Some(view)) => !view.properties.is_empty(),
                (None, None) => false,
            }
        };
        let persons = |id: IdNo| [before, after].map(|state| state.person(id));
        let touched = before.ids().map(|id| {
            let persons = persons(id);
            *known.entry(persons).or_insert_with(|| differ(persons))
        });
        Touched(touched.collect())
    }

    fn has(&self, id: IdNo) -> bool {
        self.0.get(id.index()).copied().unwrap_or(true)
    }
}
