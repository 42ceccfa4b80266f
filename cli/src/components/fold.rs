//! Whole components, folded. Components are independent, so some of them, in the order of the log, are a log of their own: a ledger in memory
//! takes it, and its rows are those of the whole once its records have the numbers that they have there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::export::{Numbering, Row, Table};
use identity_ledger::import::{Options, Rejection, operation};
use identity_ledger::log::IdNo;
use identity_ledger::model::LedgerId;
use identity_ledger::storage::Memory;
use identity_ledger::{
    AppendError, Appended, DistinctId, Durability, Ledger, LedgerOptions, Operation, Processing, Request,
    Seq, Tenant, Timestamp,
};
use serde::Deserialize;

use super::broadcast::{Broadcast, Everywhere};
use super::error::ComponentsError;
use super::input::{self, Input};
use super::output::{NotRecorded, Output};

/// When a group of components has this many operations, the next component begins another: small ones share the cost of a ledger.
const GROUP_OPERATIONS: usize = 65_536;
/// Operations of a frame.
const FRAME_OPERATIONS: usize = 1_024;
/// The number of a record that the log does not have: none of its rows is shown.
const NOT_OF_THE_LOG: Seq = Seq(i64::MAX as u64);

/// What a row asks.
pub(super) enum Asked {
    Operation(Box<Operation>),
    Erasure(Erasure),
}

/// An erasure of ids, as `export --format ops-parquet` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Erasure {
    ts: Timestamp,
    ledger: LedgerId,
    /// Each with its number there.
    pub(super) ids: BTreeMap<String, u32>,
    /// Always `erase`.
    #[serde(rename = "op")]
    _op: EraseOp,
}

#[derive(Deserialize)]
enum EraseOp {
    #[serde(rename = "erase")]
    Erase,
}

/// What a line asks.
pub(super) fn asked(tenant: &str, seq: Seq, line: &str, options: &Options) -> Result<Asked, ComponentsError> {
    match operation(line, options) {
        Ok(operation) => Ok(Asked::Operation(Box::new(operation))),
        Err(source) => match (&source, serde_json::from_str(line)) {
            (Rejection::UnknownOperation { .. }, Ok(erasure)) => Ok(Asked::Erasure(erasure)),
            _ => Err(ComponentsError::Operation { tenant: tenant.to_owned(), seq, source }),
        },
    }
}

/// Where an operation stands in the log.
struct Place {
    seq: Seq,
    /// The first record that defines an id for it.
    defined_from: Option<Seq>,
}

/// One row, until its group is whole.
struct Kept {
    seq: Seq,
    recorded_at: Option<Timestamp>,
    defined_from: Option<Seq>,
    operation: String,
}

/// A fold of the components of an input.
pub(super) struct Fold<'a, W: Write> {
    broadcast: &'a Broadcast,
    tables: &'a [Table],
    max_component: usize,
    output: Output<W>,
    /// Of the last row, and its component and record.
    tenant: Tenant,
    last: Option<(i64, Seq)>,
    group: Vec<Kept>,
    /// How many of the group are of its last component.
    of_last: usize,
}

impl<'a, W: Write> Fold<'a, W> {
    pub(super) fn new(
        broadcast: &'a Broadcast,
        tables: &'a [Table],
        max_component: usize,
        out: W,
    ) -> Result<Fold<'a, W>, ComponentsError> {
        let output = Output::new(tables, out)?;
        let (tenant, group) = (Tenant::default(), Vec::new());
        Ok(Fold { broadcast, tables, max_component, output, tenant, last: None, group, of_last: 0 })
    }

    /// Folds all of the input.
    pub(super) fn run(mut self, mut input: Input<impl Read>) -> Result<(), ComponentsError> {
        while let Some((first, batch)) = input.batch()? {
            input.rows(first, &batch, |row| self.take(row))?;
        }
        self.fold()?;
        self.output.finish()
    }

    fn take(&mut self, row: input::Row<'_>) -> Result<(), ComponentsError> {
        let input::Row { component, seq, recorded_at, defined_from, .. } = row;
        let mut is_next = true;
        if let Some((last_component, last_seq)) = self.last {
            let before = (self.tenant.as_str(), last_component, last_seq);
            if (row.tenant, component, seq) <= before {
                return Err(ComponentsError::Unsorted {
                    row: row.row,
                    tenant: row.tenant.to_owned(),
                    component,
                    seq,
                    before: format!("tenant `{}`, component {}, seq {}", before.0, before.1, before.2),
                });
            }
            let same_tenant = row.tenant == before.0;
            is_next = !same_tenant || component != before.1;
            if !same_tenant || is_next && self.group.len() >= GROUP_OPERATIONS {
                self.fold()?;
            }
        }
        if self.group.is_empty() && row.tenant != self.tenant.as_str() {
            self.tenant = input::tenant(&row)?;
        }
        self.of_last = if is_next { 1 } else { self.of_last + 1 };
        if self.of_last > self.max_component {
            let tenant = row.tenant.to_owned();
            return Err(ComponentsError::TooLarge { tenant, component, most: self.max_component });
        }
        self.last = Some((component, seq));
        self.group.push(Kept { seq, recorded_at, defined_from, operation: row.operation.to_owned() });
        Ok(())
    }

    /// Folds the group.
    fn fold(&mut self) -> Result<(), ComponentsError> {
        let mut group = std::mem::take(&mut self.group);
        let Some(first) = group.iter().map(|kept| kept.seq).min() else { return Ok(()) };
        group.sort_unstable_by_key(|kept| kept.seq);
        let tenant = self.tenant.to_string();
        if let Some(twice) = group.windows(2).find(|pair| pair[0].seq == pair[1].seq) {
            return Err(ComponentsError::Twice { tenant, seq: twice[0].seq });
        }
        let (created, policy, later) = self.broadcast.of(&tenant)?;
        if first < created {
            return Err(ComponentsError::BeforePolicy { tenant, seq: first, first: created });
        }
        let now = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now);
        let clock = move || Timestamp::from_micros(clock.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN);
        let options = LedgerOptions::new().seeded(0).clock(clock).durability(Durability::Buffered);
        let ledger = options.create_in(Arc::new(Memory::new()), self.tenant.clone(), policy.clone())?;
        let mut part = Part {
            ledger,
            now,
            there: Numbering { records: vec![created], ..Numbering::default() },
            ids: 0,
            waiting: Vec::new(),
            left: Vec::new(),
            erased: false,
        };
        let mut later = later.iter().peekable();
        for kept in group {
            while let Some((seq, everywhere)) = later.next_if(|(seq, _)| *seq < kept.seq) {
                part.everywhere(&tenant, *seq, everywhere)?;
            }
            part.take(&tenant, kept)?;
        }
        part.append()?;
        self.write(&tenant, &part)
    }

    fn write(&mut self, tenant: &str, part: &Part) -> Result<(), ComponentsError> {
        let export = part.ledger.reader().export().numbered(&part.there);
        let has = |table: Table| self.tables.contains(&table);
        let mut tables = self.tables.to_vec();
        if has(Table::Outcomes) {
            tables.push(Table::PersonDistinctIds); // which come first
        }
        let mut whose = BTreeMap::new();
        export.try_rows(&tables, None, |row| {
            let mut person = None;
            match &row {
                Row::PersonDistinctIds(id) => {
                    whose.insert(id.id_no, id.person_id);
                    if !has(Table::PersonDistinctIds) {
                        return Ok(());
                    }
                }
                Row::Outcomes(outcome) if outcome.seq == NOT_OF_THE_LOG => return Ok(()),
                Row::Outcomes(outcome) => person = whose.get(&outcome.id_no).copied(),
                _ => {}
            }
            self.output.row(tenant, &row, person)
        })?;
        part.left.iter().try_for_each(|left| self.output.not_recorded(tenant, left))
    }
}

/// A ledger of some components.
struct Part {
    ledger: Ledger,
    /// What its clock says.
    now: Arc<AtomicI64>,
    /// How the log numbers what it holds.
    there: Numbering,
    /// How many ids have numbers for their definitions.
    ids: u32,
    /// The operations of the next frame, and their records in the log.
    waiting: Vec<(Place, Operation)>,
    left: Vec<NotRecorded>,
    /// Whether something was erased.
    erased: bool,
}

impl Part {
    fn take(&mut self, tenant: &str, kept: Kept) -> Result<(), ComponentsError> {
        let options = Options::from(self.ledger.policy());
        let Kept { seq, recorded_at, defined_from, operation } = kept;
        let asked = asked(tenant, seq, &operation, &options)?;
        if let Some(at) = recorded_at.filter(|at| at.as_micros() != self.now.load(Ordering::Relaxed)) {
            self.append()?; // a frame has one time of recording
            self.now.store(at.as_micros(), Ordering::Relaxed);
        }
        match asked {
            Asked::Erasure(erasure) => self.erase(seq, &erasure)?,
            Asked::Operation(operation) => {
                let is_correction = matches!(
                    operation.request,
                    Request::Retract { .. } | Request::Split { .. } | Request::Reclassify { .. }
                );
                if is_correction || self.waiting.len() == FRAME_OPERATIONS {
                    self.append()?;
                }
                self.waiting.push((Place { seq, defined_from }, *operation));
                if is_correction {
                    self.append()?; // behind it no device of the same frame can speak (H1)
                }
            }
        }
        Ok(())
    }

    /// Records what waits.
    fn append(&mut self) -> Result<(), ComponentsError> {
        let (places, operations): (Vec<Place>, Vec<Operation>) =
            std::mem::take(&mut self.waiting).into_iter().unzip();
        if operations.is_empty() {
            return Ok(());
        }
        for (place, answer) in places.into_iter().zip(self.ledger.append_each(&operations)?) {
            let number = |seq: Seq| seq.0 as i64; // as it was read
            let seq = number(place.seq);
            let mut left = |appended, earlier: Option<Seq>, reason| {
                let earlier_seq = earlier.map(|earlier| number(self.there.records[earlier.0 as usize]));
                self.left.push(NotRecorded { seq, appended, earlier_seq, reason });
            };
            match answer {
                Ok(Appended::Recorded { seq: here, .. }) => self.number(here, place),
                Ok(Appended::Duplicate { seq }) => left("duplicate", Some(seq), None),
                Ok(Appended::Conflict { seq }) => left("conflict", Some(seq), None),
                Ok(Appended::Ignored) => left("ignored", None, None),
                Err(AppendError::Operation { source, .. }) => left("error", None, Some(source.to_string())),
                Err(error) => left("error", None, Some(error.to_string())),
            }
        }
        self.number_others(NOT_OF_THE_LOG);
        Ok(())
    }

    /// Numbers an operation, and the definitions before it. Those of ids stand together, whatever else is defined here for the first
    /// time; where it is not said where they are, they are called by the operation.
    fn number(&mut self, here: Seq, there: Place) {
        let (state, numbers) = (self.ledger.reader().state(), &mut self.there.records);
        numbers.resize(here.0 as usize + 1, there.seq);
        let mut first = None;
        for id in self.ids..state.ids().len() as u32 {
            let defined = state.defined_by(IdNo(id));
            if defined > here {
                break;
            }
            self.ids += 1;
            let behind = defined.0 - first.get_or_insert(defined).0;
            if let Some(from) = there.defined_from {
                numbers[defined.0 as usize] = there.seq.min(Seq(from.0 + behind));
            }
        }
    }

    /// Gives all records that have no number this one.
    fn number_others(&mut self, number: Seq) {
        self.there.records.resize(self.ledger.checkpoint().records as usize, number);
        self.ids = self.ledger.reader().state().ids().len() as u32; // MAX_RECORDS bounds it
    }

    /// Records what holds for all components.
    fn everywhere(&mut self, tenant: &str, seq: Seq, everywhere: &Everywhere) -> Result<(), ComponentsError> {
        self.append()?;
        match everywhere {
            Everywhere::Policy(policy) => match self.ledger.set_policy(policy) {
                Ok(_) => self.number_others(seq),
                Err(AppendError::Policy(source)) => {
                    return Err(ComponentsError::Policy { tenant: tenant.to_owned(), seq, source });
                }
                Err(error) => return Err(error.into()),
            },
            Everywhere::FirstErasure if self.erased => {}
            Everywhere::FirstErasure => self.erase_nothing(seq)?,
        }
        Ok(())
    }

    /// Erases ids; those that no operation has named are not here.
    fn erase(&mut self, seq: Seq, erasure: &Erasure) -> Result<(), ComponentsError> {
        self.append()?;
        let mut ids = BTreeSet::new();
        for (text, number) in &erasure.ids {
            let here = self.ledger.reader().id_no(text);
            if let (Some(here), Ok(id)) = (here, DistinctId::new(text)) {
                self.there.ids.insert(here, *number);
                ids.insert(id);
            }
        }
        self.there.ledger = Some(erasure.ledger);
        if ids.is_empty() { self.erase_nothing(seq) } else { self.erase_ids(seq, erasure.ts, ids) }
    }

    /// Erases an id that stands for nothing: from here on ids are named as behind an erasure (D11).
    fn erase_nothing(&mut self, seq: Seq) -> Result<(), ComponentsError> {
        let mut text = "$nothing".to_owned();
        while self.ledger.reader().id_no(&text).is_some() {
            text.push('_');
        }
        let (at, id) = (Timestamp::MIN, DistinctId::new(&text).expect("a short text"));
        let mention = Operation::properties(at, id.clone()).with_processing(Processing::Off);
        let answers = self.ledger.append_each(&[mention])?;
        debug_assert!(answers.iter().all(Result::is_ok), "it names an id and changes nothing (C5)");
        self.number_others(NOT_OF_THE_LOG);
        self.erase_ids(seq, at, BTreeSet::from([id]))
    }

    /// Erases ids for every answer. Nothing is rewritten: the ledger is in memory, and ends soon.
    fn erase_ids(
        &mut self,
        seq: Seq,
        at: Timestamp,
        ids: BTreeSet<DistinctId>,
    ) -> Result<(), ComponentsError> {
        let request = ErasureRequest::new(at, ErasureSubject::Ids(ids), "");
        for erased in self.ledger.begin_erasures(&[request])? {
            // Between them devices are reset, as the log does in records of its own.
            self.there.records.resize(erased.0 as usize, NOT_OF_THE_LOG);
            self.there.records.push(seq);
        }
        self.number_others(NOT_OF_THE_LOG);
        self.erased = true;
        Ok(())
    }
}
