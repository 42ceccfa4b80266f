//! What a proof needs, cited and shown: from a ledger's trees and its records.

use std::collections::BTreeMap;

use crate::log::body::{AskedVerb, Body, IdNo, KeyNo, NameNo};
use crate::log::digest::Digest;
use crate::model::id::{DistinctId, OperationId, Seq};
use crate::proof::check::CheckError;
use crate::proof::checkpoint::{CheckpointTextError, TreeCheckpoint};
use crate::proof::leaf::{IdLeaf, property_leaf};
use crate::proof::note::{Note, NoteError};
use crate::proof::record::{NONE, RecordLeaf};
use crate::proof::text::{
    Claim, Earlier, Item, Leaf, MAX_DEPTH, MAX_LEAF_BYTES, MAX_STEPS, MAX_TOUCHES, Proof, Step, TextWay,
};
use crate::proof::texts::Places;
use crate::proof::touches::Touch;
use crate::proof::tree::Tree;
use crate::proof::trees::Trees;
use crate::query::explain::ids::ExplainedStep;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// What a proof is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// That two ids are one person.
    Same(&'a str, &'a str),
    /// That two ids are not one person.
    NotSame(&'a str, &'a str),
    /// That an event is recorded, by its id.
    Event(OperationId),
    /// That an event is recorded, by its record.
    Record(Seq),
    /// That the person of an id has a property: id and key.
    Property(&'a str, &'a str),
    /// That the text of an id was erased, by its number.
    Erased(IdNo),
    /// Which records touch an id, and that no other does.
    Complete(&'a str),
    /// The same of an id whose text is erased, by its number.
    CompleteErased(IdNo),
    /// That no id has a text.
    Absent(&'a str),
    /// That the records of an earlier note, signed by the same keys, are the first of these.
    Consistent(&'a Note),
}

/// Why an answer is not proven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The log cannot be read back.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The note is not to be believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note says nothing of a ledger.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointTextError),
    /// The note is of another ledger, or of another history of this one.
    #[error("the note is not of this ledger's records: it says {found} where the log gives {expected}")]
    OtherHistory {
        /// The line of the note.
        found: String,
        /// What the log gives.
        expected: String,
    },
    /// The ledger has fewer records than the note.
    #[error("the note is of {noted} records, and the ledger has {records}")]
    Ahead {
        /// How many the note says.
        noted: u64,
        /// How many there are.
        records: u64,
    },
    /// The note was made by a program with other rules, which this one cannot fold by.
    #[error("the note's ids are folded by rules {found}; this version folds by {known}")]
    OtherRules {
        /// The version that the note names.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// A sealed ledger without its keys.
    #[error("the ledger is sealed, and a proof shows texts: give its key ring")]
    Sealed,
    /// What was asked about was never written, or was written behind the note, or is erased.
    #[error("{what} `{asked}` is unknown among the records of the note, or erased")]
    Unknown {
        /// What it is.
        what: &'static str,
        /// What was asked.
        asked: String,
    },
    /// The answer is another one.
    #[error("that is not so: {what}")]
    NotSo {
        /// What is so.
        what: &'static str,
    },
    /// What a proof would have to show was erased.
    #[error(
        "the text or values of record {seq} are erased, in whole or in part; a proof would have to show them"
    )]
    Erased {
        /// The record.
        seq: Seq,
    },
    /// The index of texts cannot be computed: some ids have no text here any more, or their texts cannot be opened.
    #[error(
        "the index of texts cannot be computed: {ids} of the ids in it were erased since, or cannot be opened; make a new checkpoint"
    )]
    NoIndex {
        /// How many.
        ids: u32,
    },
    /// The proof would be too long.
    #[error("the proof would be too long: {what}")]
    TooLong {
        /// What is.
        what: &'static str,
    },
    /// The proof that was made does not hold.
    #[error("the proof that was made does not hold, which is a fault of this program: {0}")]
    Wrong(CheckError),
}

pub(crate) struct Maker<'a> {
    reader: &'a Reader,
    trees: &'a Trees,
    proof: Proof,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(reader: &'a Reader, trees: &'a Trees, note: Note) -> Maker<'a> {
        Maker { reader, trees, proof: Proof::of(Claim::Event(0), note) }
    }

    /// The proof of one answer. What was erased behind the note is not shown either.
    pub(crate) fn prove(mut self, asked: Asked<'_>) -> Result<Proof, ProveError> {
        let locked = self.reader.is_sealed() && self.reader.log.keys().is_none();
        if locked && !matches!(asked, Asked::Erased(_) | Asked::Consistent(_)) {
            return Err(ProveError::Sealed);
        }
        match asked {
            Asked::Same(a, b) => self.same(a, b)?,
            Asked::NotSame(a, b) => self.not_same(a, b)?,
            Asked::Event(id) => {
                let unknown = || ProveError::Unknown { what: "the event", asked: id.to_string() };
                let seq = self.reader.recorded(id)?.ok_or_else(unknown)?;
                self.event(seq)?;
            }
            Asked::Record(seq) => self.event(seq)?,
            Asked::Property(id, key) => self.property(id, key)?,
            Asked::Erased(id) => self.erased(id)?,
            Asked::Complete(text) => {
                let id = self.known(text)?;
                self.define_id(id)?;
                self.text_way(text)?;
                self.complete(id)?;
            }
            Asked::CompleteErased(id) => {
                self.erased_by(id)?;
                self.cite(self.reader.state().defined_by(id), id.0)?;
                self.complete(id)?;
            }
            Asked::Absent(text) => self.absent(text)?,
            Asked::Consistent(earlier) => self.consistent(earlier)?,
        }
        Ok(self.proof)
    }

    /// Cites a record, which defines a number or [`NONE`].
    fn cite(&mut self, seq: Seq, number: u32) -> Result<Body, ProveError> {
        let unknown = || ProveError::Unknown { what: "record", asked: seq.to_string() };
        let body = self.reader.body(seq)?.ok_or_else(unknown)?;
        let recorded_at = self.reader.recorded_at(seq)?.ok_or_else(unknown)?;
        let data = RecordLeaf { recorded_at, number, body: body.clone() }.to_bytes();
        if data.len() > MAX_LEAF_BYTES {
            return Err(ProveError::TooLong { what: "a record that it would cite is longer than 64 KiB" });
        }
        let place = seq.0 as usize; // the body was read, so it is below MAX_RECORDS
        self.proof.records.insert(seq.0, Leaf { data, path: self.trees.records.path(place) });
        Ok(body)
    }

    /// Shows what a record committed to.
    fn show(&mut self, seq: Seq) -> Result<(), ProveError> {
        let window = self.reader.log.window(seq, self.reader.state().erasures())?;
        let (salt, bytes) = window.checked(seq)?.salt_and_item().ok_or(ProveError::Erased { seq })?;
        self.proof.items.insert(seq.0, Item { salt: *salt, bytes: bytes.to_vec() });
        Ok(())
    }

    fn define(&mut self, seq: Seq, number: u32) -> Result<(), ProveError> {
        self.cite(seq, number)?;
        self.show(seq)
    }

    fn known(&self, id: &str) -> Result<IdNo, ProveError> {
        let unknown = || ProveError::Unknown { what: "the id", asked: id.to_owned() };
        self.reader.id_no(id).ok_or_else(unknown)
    }

    fn define_id(&mut self, id: IdNo) -> Result<(), ProveError> {
        self.define(self.reader.state().defined_by(id), id.0)
    }

    /// Shows what an id came to.
    fn show_id(&mut self, id: IdNo) {
        let data = self.trees.ids[id.index()].to_bytes();
        self.proof.ids.insert(id.0, Leaf { data, path: self.trees.id_tree.path(id.index()) });
    }

    /// Shows that a record counts, by the id that it speaks for.
    fn show_standing(&mut self, seq: Seq, id: Option<IdNo>) {
        let Some(id) = id else { return };
        let touches = self.trees.touches.of(id);
        let Ok(place) = touches.binary_search_by_key(&seq.0, |touch| touch.seq.into()) else { return };
        self.show_id(id);
        let leaf = Leaf {
            data: touches[place].to_bytes().to_vec(),
            path: Tree::of(Touch::leaves(touches)).path(place),
        };
        self.proof.touches.insert((id.0, place as u32), leaf); // a list in memory
    }

    /// Shows all records that touch an id.
    fn complete(&mut self, id: IdNo) -> Result<(), ProveError> {
        let touches = self.trees.touches.of(id);
        if touches.len() > MAX_TOUCHES {
            return Err(ProveError::TooLong { what: "more than 2,000 records touch the id" });
        }
        self.show_id(id);
        for (place, touch) in (0..).zip(touches) {
            if !self.proof.records.contains_key(&touch.seq.into()) {
                let device = self.trees.devices.binary_search(&touch.seq.into());
                self.cite(Seq(touch.seq.into()), device.map_or(NONE, |device| device as u32))?; // a list in memory
            }
            if touch.retracted_by != NONE {
                self.cite(Seq(touch.retracted_by.into()), NONE)?;
            }
            let leaf = Leaf { data: touch.to_bytes().to_vec(), path: Vec::new() };
            self.proof.touches.insert((id.0, place), leaf);
        }
        self.proof.claim = Claim::Complete(id.0);
        Ok(())
    }

    /// Shows where the way of a text ends; says whether it is an id's.
    fn text_way(&mut self, text: &str) -> Result<bool, ProveError> {
        if self.trees.lacking > 0 {
            return Err(ProveError::NoIndex { ids: self.trees.lacking });
        }
        let place = Places::of(self.reader.ledger_id()).place(text);
        let found = self.trees.texts.find(&place);
        let there = found.as_ref().is_some_and(|(leaf, _)| leaf.0 == place);
        let (leaf, turns) = found.map_or_else(Default::default, |(leaf, turns)| (Some(leaf), turns));
        self.proof.text = Some(TextWay { leaf: leaf.filter(|_| !there), turns });
        Ok(there)
    }

    fn absent(&mut self, text: &str) -> Result<(), ProveError> {
        let unstorable = |_| ProveError::NotSo { what: "that is not a text that an id can have" };
        DistinctId::check(text).map_err(unstorable)?;
        let place = Places::of(self.reader.ledger_id()).place(text);
        self.proof.claim = Claim::Absent(text.to_owned(), place);
        match self.text_way(text)? {
            true => Err(ProveError::NotSo { what: "there is an id of that text" }),
            false => Ok(()),
        }
    }

    fn consistent(&mut self, earlier: &Note) -> Result<(), ProveError> {
        let noted: TreeCheckpoint = earlier.text().parse()?;
        let (records, now) = (noted.checkpoint.records, &self.trees.checkpoint);
        if records > now.checkpoint.records || records == 0 {
            return Err(ProveError::Ahead { noted: records, records: now.checkpoint.records });
        }
        let first = records as usize; // no more than were read
        let root = self.trees.records.root_of_first(first);
        if noted.root != root || noted.ledger != now.ledger {
            let [found, expected] = [(noted.ledger, noted.root), (now.ledger, root)]
                .map(|(ledger, root)| format!("{ledger} {}", Digest(root)));
            return Err(ProveError::OtherHistory { found, expected });
        }
        let path = self.trees.records.consistency(first);
        self.proof.claim = Claim::Consistent(records);
        self.proof.earlier = Some(Earlier { note: earlier.clone(), path });
        Ok(())
    }

    /// Two ids, ascending; and whether they are one person.
    fn two(&mut self, a: &str, b: &str) -> Result<(IdNo, IdNo, bool), ProveError> {
        let (a, b) = (self.known(a)?, self.known(b)?);
        if a == b {
            return Err(ProveError::NotSo { what: "the two are one id" });
        }
        let (a, b) = (a.min(b), a.max(b));
        for id in [a, b] {
            self.define_id(id)?;
            self.show_id(id);
        }
        let [one, other] = [a, b].map(|id| self.trees.ids[id.index()].person);
        Ok((a, b, one == other && one != NONE))
    }

    fn same(&mut self, a: &str, b: &str) -> Result<(), ProveError> {
        let (a, b, same) = self.two(a, b)?;
        let explanation = if same { self.reader.explained(None, a, b)? } else { None };
        let explanation = explanation.ok_or(ProveError::NotSo { what: "the two ids are not one person" })?;
        self.steps(&explanation.steps, 0)?;
        self.proof.claim = Claim::Same(a.0, b.0);
        Ok(())
    }

    fn steps(&mut self, steps: &[ExplainedStep], depth: u32) -> Result<(), ProveError> {
        for ExplainedStep { seq, ids: [from, to], before, .. } in steps {
            if self.proof.steps.len() == MAX_STEPS || depth > MAX_DEPTH {
                return Err(ProveError::TooLong {
                    what: "the way has more than 1,000 steps, or is more than 64 deep",
                });
            }
            let body = self.cite(*seq, NONE)?;
            self.show_standing(*seq, body.head().map(|head| head.id));
            self.proof.steps.push(Step { depth, seq: seq.0, from: from.number.0, to: to.number.0 });
            self.steps(before, depth + 1)?;
        }
        Ok(())
    }

    fn not_same(&mut self, a: &str, b: &str) -> Result<(), ProveError> {
        let (a, b, same) = self.two(a, b)?;
        self.proof.claim = Claim::NotSame(a.0, b.0);
        if same { Err(ProveError::NotSo { what: "the two ids are one person" }) } else { Ok(()) }
    }

    fn event(&mut self, seq: Seq) -> Result<(), ProveError> {
        if self.reader.state().is_retracted(seq) {
            return Err(ProveError::NotSo { what: "the event was retracted" });
        }
        let body = self.cite(seq, NONE)?;
        let (Some(AskedVerb::Capture(name)), Some(head)) = (body.verb(), body.head()) else {
            return Err(ProveError::NotSo { what: "the record is not an event" });
        };
        if let Some(NameNo(name)) = *name {
            self.define(Seq(self.trees.names[name as usize]), name)?;
        }
        self.define_id(head.id)?;
        self.show_standing(seq, Some(head.id));
        self.proof.claim = Claim::Event(seq.0);
        Ok(())
    }

    fn property(&mut self, id: &str, key: &str) -> Result<(), ProveError> {
        let id = self.known(id)?;
        let unknown = || ProveError::Unknown { what: "the property key", asked: key.to_owned() };
        let key = self.reader.dictionaries.keys.find(key).map(KeyNo).ok_or_else(unknown)?;
        let no_property = ProveError::NotSo { what: "its person has no such property" };
        let state = self.reader.state();
        let person = state.person(id);
        let view = person.map(|person| state.view(person));
        let Some((view, standing)) = view.and_then(|view| Some((view, view.standing_of(key)?))) else {
            return Err(no_property);
        };
        if standing.deltas.is_some() {
            return Err(ProveError::NotSo {
                what: "the property is made of relative changes (E9), and a proof shows one record",
            });
        }
        let place = view.properties.partition_point(|property| property.key < key);
        self.define_id(id)?;
        self.define(Seq(self.trees.keys[key.0 as usize]), key.0)?;
        self.show_id(id);
        self.show_id(IdNo(self.trees.ids[id.index()].person));
        let leaf = Leaf { data: property_leaf(standing), path: Tree::of(IdLeaf::leaves(&view)).path(place) };
        self.proof.properties = BTreeMap::from([(place as u32, leaf)]); // a list in memory
        let seq = standing.property.seq();
        self.cite(seq, NONE)?;
        self.show(seq)?;
        self.proof.claim = Claim::Property(id.0, key.0);
        Ok(())
    }

    /// The record that erases an id, among those of the note.
    fn erased_by(&self, id: IdNo) -> Result<u32, ProveError> {
        let state = self.reader.state();
        if id.index() >= state.ids().len() {
            return Err(ProveError::Unknown { what: "the id number", asked: id.0.to_string() });
        }
        let erase = state.erasures().of_id(id).filter(|erase| u64::from(*erase) < state.records());
        erase.ok_or(ProveError::NotSo { what: "the id is not erased" })
    }

    fn erased(&mut self, id: IdNo) -> Result<(), ProveError> {
        let (state, erase) = (self.reader.state(), self.erased_by(id)?);
        let done = state.erasures().done_by(erase).filter(|done| u64::from(*done) < state.records());
        let what = match state.erasures().is_done(erase) {
            true => {
                "what says that the erasure is done stands beside the chain of a ledger that follows a log"
            }
            false => "the erasure is not finished",
        };
        let done = done.ok_or(ProveError::NotSo { what })?;
        self.cite(state.defined_by(id), id.0)?;
        self.cite(Seq(erase.into()), NONE)?;
        self.cite(Seq(done.into()), NONE)?;
        self.proof.claim = Claim::Erased(id.0);
        Ok(())
    }
}
