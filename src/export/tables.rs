//! What is exported, as of which record; the names in it, and what erasures took.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::export::names::{Names, Whose};
use crate::export::origins::Origins;
use crate::export::row::{Row, Table};
use crate::fold::{PersonIdBasis, PersonNo, State};
use crate::log::body::{IdNo, LinkSource};
use crate::log::record::{Record, Row as Fixed};
use crate::model::id::{LedgerId, PersonId, Seq};
use crate::query::reader::{Reader, opaque_id};
use crate::query::values::FoldedValue;
use crate::store::segments::Fault;

/// What a log meant right after one of its records, as tables.
///
/// Persons have their present names, and what is erased by now is absent, whatever record it is of.
///
/// ```
/// use identity_ledger::export::{Row, Table};
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
///
/// let mut ids = Vec::new();
/// ledger.reader().export().rows(&[Table::PersonDistinctIds], |row| {
///     if let Row::PersonDistinctIds(id) = row {
///         ids.push((id.distinct_id, id.person_no));
///     }
/// })?;
/// assert_eq!(ids[0].0.as_deref(), Some("ann"));
/// assert_eq!(ids[0].1, ids[1].1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Export<'a> {
    pub(super) reader: &'a Reader,
    pub(super) state: Cow<'a, State>,
    /// Whether what was erased after these records is marked instead of absent, so that rows tell the erasure; see [`ERASED_SINCE`].
    pub(super) marks: bool,
    pub(super) names: Names,
    pub(super) origins: Origins,
    /// The numbers by which rows call the records, if they are not this log's own.
    pub(super) numbering: Option<&'a Numbering>,
}

/// How a log numbers what a ledger holds that has some components of it.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    /// By record: its number there.
    pub records: Vec<Seq>,
    /// The id of the ledger there. Public ids of persons whose texts are gone are made of it.
    pub ledger: Option<LedgerId>,
    /// Numbers there of ids whose texts were erased.
    pub ids: BTreeMap<IdNo, u32>,
}

/// Instead of a text that was erased since. No text of a ledger holds U+0000 (B1, E4).
pub(super) const ERASED_SINCE: &str = "\0";

impl Reader {
    /// What the log means now, as tables.
    pub fn export(&self) -> Export<'_> {
        Export::of(self, Cow::Borrowed(self.state()))
    }

    /// What the log meant right after record `seq`, as tables; after the last one it is [`Reader::export`].
    ///
    /// Cost: a replay up to there, and as much memory again as the state takes.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn export_as_of(&self, seq: Seq) -> Result<Export<'_>, Fault> {
        if seq.0.saturating_add(1) >= self.state().records() {
            return Ok(self.export());
        }
        let mut state = None;
        self.replay_first(seq.0 + 1, |step| {
            if step.record.seq() == seq {
                state = Some(step.state.clone());
            }
        })?;
        let state = state.expect("a walk through the first records meets the last of them");
        Ok(Export::of(self, Cow::Owned(state)))
    }
}

impl<'a> Export<'a> {
    pub(super) fn of(reader: &'a Reader, state: Cow<'a, State>) -> Export<'a> {
        let names = Names::of(state.ids().len());
        Export { reader, state, marks: false, names, origins: Origins::default(), numbering: None }
    }

    /// The same, with the numbers that the records have in another log, of which this ledger holds whole components: its rows, and the
    /// public ids that are made of numbers (D11), are then those of that log.
    ///
    /// Numbers of ids and persons stay those of this ledger. The reason of a refusal is absent, for its sentence names records.
    ///
    /// ```
    /// use identity_ledger::export::{Numbering, Row, Table};
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Seq, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
    ///
    /// let records = [0, 700, 701].map(Seq).to_vec(); // its policy, the definition of `ann`, the operation
    /// let (there, mut seqs) = (Numbering { records, ..Numbering::default() }, Vec::new());
    /// ledger.reader().export().numbered(&there).rows(&[Table::Outcomes], |row| {
    ///     if let Row::Outcomes(outcome) = row {
    ///         seqs.push(outcome.seq);
    ///     }
    /// })?;
    /// assert_eq!(seqs, [Seq(701)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When there are fewer numbers than records.
    #[must_use]
    pub fn numbered(mut self, numbering: &'a Numbering) -> Export<'a> {
        assert!(numbering.records.len() as u64 >= self.state.records(), "a number for each record");
        self.numbering = Some(numbering);
        self.names = self.names.clone(); // those that are known have the numbers of this log
        self
    }
}

impl Export<'_> {
    /// The last record that it covers.
    pub fn as_of(&self) -> Seq {
        Seq(self.state.records() - 1) // there is always the genesis record
    }

    /// Shows the rows of `tables`: first those of persons and ids, table by table, each ascending by [`Row::key`]; then those of records, in the
    /// order of the log, all tables together.
    ///
    /// Cost: a look at each id and person, and one replay if a table of records is among them.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn rows(&self, tables: &[Table], mut each: impl FnMut(Row)) -> Result<(), Fault> {
        self.try_rows(tables, None, |row| {
            each(row);
            Ok(())
        })
    }

    /// As [`Export::rows`]; of tables of records only what stands after record `since`. It stops at the first error of `each`.
    ///
    /// # Errors
    /// That of `each`, or the [`Fault`] of a log that cannot be read back.
    pub fn try_rows<E: From<Fault>>(
        &self,
        tables: &[Table],
        since: Option<Seq>,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tables = tables.to_vec();
        tables.sort_unstable();
        tables.dedup();
        let mut each = |mut row: Row| {
            if self.numbering.is_some() {
                row.renumber(&|seq| self.number(seq));
            }
            each(row)
        };
        for table in tables.iter().filter(|table| !table.is_of_records()) {
            self.people_rows(*table)?.try_for_each(|row| each(row?))?;
        }
        if tables.iter().any(|table| table.is_of_records()) {
            self.record_rows(&tables, since, &mut each)?;
        }
        Ok(())
    }

    // -- names -----------------------------------------------------------------------------------------------------

    /// Whether an erasure came after the records of this export.
    fn is_since(&self, erasure: Option<Seq>) -> bool {
        erasure.is_some_and(|erasure| erasure > self.as_of())
    }

    pub(super) fn id_text(&self, id: IdNo) -> Option<String> {
        let marked =
            || (self.marks && self.is_since(self.reader.state().id_erased_by(id))).then_some(ERASED_SINCE);
        self.reader.id_text(id).or_else(marked).map(str::to_owned)
    }

    /// The erasure of an id's text, if it was in these records.
    pub(super) fn id_erased_by(&self, id: IdNo) -> Option<Seq> {
        self.state.id_erased_by(id)
    }

    /// The number by which rows call a record.
    fn number(&self, seq: Seq) -> Seq {
        self.numbering.map_or(seq, |there| there.records[seq.0 as usize])
    }

    /// The public id of a person, by its present name.
    pub(super) fn person_id(&self, person: PersonNo) -> PersonId {
        let now = || self.reader.called(person, &self.state);
        self.named(Whose::Person(person), now, || self.state.called(person))
    }

    /// The public id of the person that an id would found.
    pub(super) fn implied_id(&self, id: IdNo) -> PersonId {
        self.named(Whose::Implied(id), || self.reader.state().implied(id), || self.state.implied(id))
    }

    /// A public id, marked if it was made of something else then.
    fn named(
        &self,
        whose: Whose,
        now: impl Fn() -> PersonIdBasis,
        then: impl Fn() -> PersonIdBasis,
    ) -> PersonId {
        match self.marks && then() != now() {
            true => PersonId(uuid::Uuid::nil()),
            false => self.names.get(whose, || self.id_called(now())),
        }
    }

    /// The public id that is made of `basis`, with the numbers of records and ids by which rows call them.
    pub(super) fn id_called(&self, basis: PersonIdBasis) -> PersonId {
        match (self.numbering, basis) {
            (None, _) | (_, PersonIdBasis::Founding(_)) => self.reader.id_called(basis),
            (_, PersonIdBasis::At(id, seq)) => self.reader.id_called(PersonIdBasis::At(id, self.number(seq))),
            (Some(there), PersonIdBasis::Erased(id, split)) => {
                // An id without a number is told from all others by its definition, behind all numbers of ids.
                let defined = || (1 << 32) + self.number(self.state.defined_by(id)).0;
                let founding = there.ids.get(&id).map_or_else(defined, |number| u64::from(*number));
                let ledger = there.ledger.unwrap_or(self.reader.ledger_id());
                opaque_id(ledger, founding, split.map(|seq| self.number(seq)))
            }
        }
    }

    /// The person of an id, and its public id, implied or not.
    pub(super) fn whose(&self, id: IdNo) -> (Option<PersonNo>, PersonId) {
        match self.state.person(id) {
            Some(person) => (Some(person), self.person_id(person)),
            None => (None, self.implied_id(id)),
        }
    }

    // -- what erasures took ----------------------------------------------------------------------------------------

    /// Whether something of a record's payload item was erased after the records of this export.
    pub(super) fn lost_since(&self, row: &Fixed) -> Result<bool, Fault> {
        let erasures = self.reader.state().erasures();
        let by = |number: Option<u32>| number.map(|by| Seq(by.into()));
        let first = by(erasures.of(row));
        match erasures.left_of(row.seq) {
            // The first erasure left some values, and a later one may have taken more.
            Some(left) if first.is_some() && !self.is_since(first) => {
                let left = Seq(left.by.into());
                Ok(self.is_since(Some(left)) || self.is_since(by(erasures.of(&self.fixed(left)?))))
            }
            _ => Ok(self.is_since(first)),
        }
    }

    /// Whether one of the writes that a value is made of was erased since, and that is to be marked.
    pub(super) fn is_lost(&self, folded: &FoldedValue) -> Result<bool, Fault> {
        if self.marks {
            for seq in &folded.erased {
                if self.lost_since(&self.fixed(Seq((*seq).into()))?)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The part of a record that has a fixed width.
    pub(super) fn fixed(&self, seq: Seq) -> Result<Fixed, Fault> {
        Ok(*self.reader.log.window(seq, self.reader.state().erasures())?.checked(seq)?.row)
    }
}

/// S of a link, if its text could be stored.
pub(super) fn source(record: Record<'_>) -> Option<IdNo> {
    match record.row.other() {
        LinkSource::Id(id) => Some(id),
        LinkSource::None | LinkSource::Unstorable => None,
    }
}
