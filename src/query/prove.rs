//! Proving: the snapshot that a reader continued from, held against its log. The digest of a snapshot is unkeyed, so opening believes
//! anyone who can write to the directory. What is cited, and above all what is erased, must not rest on that.
//!
//! The texts are proven by one reading of the log without a fold, a component by folding it alone, everything by folding the
//! whole log. A reader that was folded from its log has nothing to prove.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::query::proof::Held;

use crate::fold::ComponentFold;
use crate::log::body::{Body, IdNo, StoredClass};
use crate::log::chain::check_item;
use crate::log::commitment::Commitments;
use crate::log::component::{ComponentRecords, Node};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::query::reader::{Folded, Reader};
use crate::store::detached::Ended;
use crate::store::layout::{LOG, snapshot_name};
use crate::store::segments::{Fault, FaultKind, SnapshotFault, Walk};

impl Reader {
    /// Holds the snapshot that this ledger was opened from against the log, by folding the log once more. Every later answer is
    /// then as good as one of a ledger that was opened without snapshots. Does nothing if it was, or if this succeeded before.
    ///
    /// Cost: an opening without snapshots, in time and in memory.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use identity_ledger::{Ledger, LedgerOptions, Policy, Tenant};
    /// # use identity_ledger::storage::Memory;
    /// let disk = Arc::new(Memory::new());
    /// let mut ledger = LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default())?;
    /// ledger.snapshot()?;
    /// drop(ledger);
    /// let ledger = LedgerOptions::new().open_in(disk)?;
    /// ledger.reader().prove_snapshot()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`]: of kind [`FaultKind::Unproven`] if the log says something else than the snapshot, of another if the log cannot
    /// be read back.
    pub fn prove_snapshot(&self) -> Result<(), Fault> {
        self.proof.once(Held::Everything, || self.hold_everything().map_err(|fault| self.or_ended(fault)))
    }

    /// Holds the texts of ids, devices, keys and names against the records that define them, and which records are retracted
    /// against the records that do that.
    pub(crate) fn prove_texts(&self) -> Result<(), Fault> {
        self.proof.once(Held::Texts, || self.hold_texts().map_err(|fault| self.or_ended(fault)))
    }

    /// Holds the component of an id against its records, and all texts.
    pub(crate) fn prove_component(&self, id: IdNo) -> Result<(), Fault> {
        self.prove_texts()?;
        if self.proof.is_whole() {
            return Ok(());
        }
        match self.log.component(Node::Id(id), self.checkpoint().records) {
            Ok(told) => self.prove_told(&told),
            Err(Fault { kind: FaultKind::ComponentTooLarge { .. }, .. }) => self.prove_snapshot(),
            Err(fault) => Err(fault),
        }
    }

    /// Holds what the snapshot says of whole components against their records.
    pub(crate) fn prove_told(&self, told: &ComponentRecords) -> Result<(), Fault> {
        self.prove_texts()?;
        if self.proof.is_whole() { Ok(()) } else { self.hold_component(&self.state().alone(told)) }
    }

    /// The log says something else than the snapshot.
    pub(crate) fn differs(&self, what: &'static str) -> Fault {
        self.unproven(SnapshotFault::Differs { what })
    }

    fn unproven(&self, why: SnapshotFault) -> Fault {
        let records = self.proof.snapshot.unwrap_or_default();
        Fault { file: snapshot_name(records), offset: 0, records, kind: FaultKind::Unproven { why } }
    }

    /// What the log lacks may have been erased since this reader was opened. Then the log is whole, and has that erasure.
    fn or_ended(&self, fault: Fault) -> Fault {
        let is_erased = || {
            let mut now = Reader::begin(Arc::clone(self.log.storage()), self.identity.clone()).ok()?;
            now.log.set_keys(self.log.keys().clone());
            let (end, progress) = (self.checkpoint(), &mut |_: u64| {});
            let walk =
                Walk { commitments: true, upto: None, cut: false, witnesses: &[end], hide: None, progress };
            let Folded { walked, missing, .. } = now.fold(walk);
            // Beside a writer the last frame may be half there.
            let reaches = walked.is_ok() || now.checkpoint().records > end.records;
            let erased = now.state().erasures().last().map(u64::from);
            (reaches && missing.is_none() && erased >= Some(end.records)).then_some(())
        };
        match fault.kind {
            FaultKind::Io(_) => fault,
            _ if is_erased().is_some() => Fault { kind: FaultKind::Io(Ended.into()), ..fault },
            _ => fault,
        }
    }

    fn hold_everything(&self) -> Result<(), Fault> {
        let (storage, end) = (Arc::clone(self.log.storage()), self.checkpoint());
        let in_log = |kind| Fault { file: LOG.to_owned(), offset: 0, records: 0, kind };
        let begun = Reader::begin(storage, self.identity.clone());
        let mut folded = begun.map_err(|source| in_log(FaultKind::Io(source)))?;
        folded.log.set_keys(self.log.keys().clone());
        let (key, known) = self.seen.stored();
        folded.seen = crate::store::dictionary::Seen::new(key);
        let (upto, progress) = (Some(end.records), &mut |_: u64| {});
        let walk = Walk { commitments: true, upto, cut: false, witnesses: &[end], hide: None, progress };
        let Folded { walked, missing, .. } = folded.fold(walk);
        walked?;
        if let Some(missing) = missing {
            return Err(missing);
        }
        if folded.checkpoint() != end {
            return Err(in_log(FaultKind::Forked { expected: end }));
        }
        let (found, expected) = (self.state().digest(), folded.state().digest());
        if found != expected {
            return Err(self.unproven(SnapshotFault::State { found, expected }));
        }
        let mut dictionaries = self.dictionaries.all().into_iter().zip(folded.dictionaries.all());
        if !dictionaries.all(|(ours, theirs)| ours.has_texts_of(theirs)) {
            return Err(self.differs("texts"));
        }
        // One too many does no harm: each is confirmed in the log. An erasure that is under way leaves such.
        let (_, expected) = folded.seen.stored();
        if !expected.iter().all(|entry| known.binary_search(entry).is_ok()) {
            return Err(self.differs("operation ids"));
        }
        let marks = std::mem::take(&mut *folded.log.marks());
        self.log.find_by(marks);
        Ok(())
    }

    fn hold_texts(&self) -> Result<(), Fault> {
        const IDS: usize = 0; // the places of `Dictionaries::all`
        const DEVICES: usize = 1;
        let (state, dictionaries) = (self.state(), self.dictionaries.all());
        let mut defined = [0; 4];
        let commitments = Commitments::of(self.ledger_id());
        // Texts that the log has and the reader has not: they must be erased.
        let (mut hidden, mut erased) = (BTreeSet::new(), BTreeSet::new());
        let (mut retracts, mut erasures) = (Vec::new(), Vec::new());
        let marks = self.log.records(
            self.identity.replay().chain().clone(),
            self.checkpoint(),
            None,
            |record, _| {
                let of = match record.row.kind {
                    Kind::DefineId => IDS,
                    Kind::DefineDevice => DEVICES,
                    Kind::DefineKey => 2,
                    Kind::DefineName => 3,
                    Kind::Retract => {
                        let Record { row, .. } = record;
                        retracts.extend(row.target().map(|target| (row.seq, target, row.id)));
                        return Ok(());
                    }
                    Kind::Erase => {
                        erasures.push(record.row.seq);
                        if let Body::Erase(erasure) = record.body() {
                            erased.extend(erasure.ids.iter().map(|id| (IDS, id.0)));
                            erased.extend(erasure.devices.iter().map(|gone| (DEVICES, gone.device.0)));
                        }
                        return Ok(());
                    }
                    _ => return Ok(()),
                };
                let records = record.seq().0;
                let wrong = |error: crate::log::chain::ChainError| Fault {
                    file: LOG.to_owned(),
                    offset: 0,
                    records,
                    kind: error.into(),
                };
                check_item(&commitments, record).map_err(wrong)?;
                let number = defined[of];
                defined[of] += 1;
                match (dictionaries[of].text(number), record.item()) {
                    (text, item) if text.map(str::as_bytes) == item => {}
                    (None, Some(_)) => drop(hidden.insert((of, number))),
                    _ => return Err(self.differs("texts")),
                }
                match record.body() {
                    Body::DefineId(class, _) => {
                        let id = IdNo(number);
                        let known = state.ids().len() > id.index();
                        let same = |class: StoredClass| {
                            state.defined_by(id) == record.seq() && state.class_defined(id) == class
                        };
                        if known && same(class) { Ok(()) } else { Err(self.differs("ids")) }
                    }
                    _ => Ok(()),
                }
            },
        )?;
        if defined != dictionaries.map(|dictionary| dictionary.len()) || !hidden.is_subset(&erased) {
            return Err(self.differs("texts"));
        }
        // Persons are named otherwise from the first erasure on (D11).
        if !state.erasures().list().map(|(seq, _)| seq).eq(erasures) {
            return Err(self.differs("erasures"));
        }
        self.log.find_by(marks);
        self.hold_retracted(retracts)
    }

    /// H1, from the end: a retract stands behind the record it names, may be retracted itself, and speaks for the same id.
    fn hold_retracted(&self, retracts: Vec<(u32, u32, IdNo)>) -> Result<(), Fault> {
        let mut taken_back = BTreeSet::new();
        for (seq, target, id) in retracts.into_iter().rev() {
            if !taken_back.contains(&(seq, id)) {
                taken_back.insert((target, id));
            }
        }
        let mut retracted = BTreeSet::new();
        for (target, id) in taken_back {
            let body = self.body(Seq(target.into()))?;
            if body.as_ref().and_then(Body::head).is_some_and(|head| head.id == id) {
                retracted.insert(target);
            }
        }
        if self.state().retracted() == retracted { Ok(()) } else { Err(self.differs("retracted records")) }
    }

    /// Whether the whole says of a component what the component folded alone says.
    fn hold_component(&self, ComponentFold { state: small, ids, .. }: &ComponentFold) -> Result<(), Fault> {
        let state = self.state();
        let mut whole = BTreeMap::new();
        for (number, id) in (0..).map(IdNo).zip(ids) {
            if (small.class(number), small.classed_by(number)) != (state.class(*id), state.classed_by(*id)) {
                return Err(self.differs("ids"));
            }
            if !state.speaks_as_alone(*id, (small, number), ids) {
                return Err(self.differs("shared ids"));
            }
            match (small.person(number), state.person(*id)) {
                (None, None) => {}
                (Some(alone), Some(person)) if *whole.entry(alone).or_insert(person) == person => {}
                _ => return Err(self.differs("persons")),
            }
        }
        for (alone, person) in whole {
            let founding = ids[small.founding(alone).index()];
            let (alone_ids, alone, person_ids) =
                (small.ids_of(alone).len(), small.view(alone), state.ids_of(person).len());
            let view = state.view(person);
            let same = alone_ids == person_ids
                && founding == view.founding
                && (alone.founded, alone.created_at, alone.identified_by)
                    == (view.founded, view.created_at, view.identified_by)
                && alone.has_same_properties(&view);
            if !same {
                return Err(self.differs("persons"));
            }
        }
        Ok(())
    }
}
