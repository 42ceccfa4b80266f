//! Checkpoints and proofs made, by one walk through the log and a fold of it: a snapshot has no say in them.

use std::collections::BTreeMap;

use crate::fold::FOLD_VERSION;
use crate::log::body::{AskedVerb, Body, IdNo, KeyNo, NameNo};
use crate::model::id::{OperationId, Seq};
use crate::proof::check::CheckError;
use crate::proof::checkpoint::{CheckpointTextError, IdTree, TreeCheckpoint};
use crate::proof::leaf::{IdLeaf, NONE, Numbers, RecordLeaf, property_leaf};
use crate::proof::note::{Note, NoteError, Signer, Verifier};
use crate::proof::text::{Claim, Item, Leaf, MAX_DEPTH, MAX_LEAF_BYTES, MAX_STEPS, Proof, Step};
use crate::proof::tree::{Tree, leaf_hash};
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

/// A log as trees.
struct Trees {
    records: Tree,
    ids: Vec<IdLeaf>,
    id_tree: Tree,
    /// The records that define keys and names, by number.
    keys: Vec<u64>,
    names: Vec<u64>,
    checkpoint: TreeCheckpoint,
}

impl Trees {
    fn of(reader: &Reader) -> Result<Trees, Fault> {
        let (mut records, mut ids, mut numbers) = (Vec::new(), Vec::new(), Numbers::default());
        let (mut keys, mut names) = (Vec::new(), Vec::new());
        let mut last = None;
        let end = reader.state().records();
        reader.replay(|step| {
            let (body, seq) = (step.record.body(), step.record.seq().0);
            match body {
                Body::DefineKey(_) => keys.push(seq),
                Body::DefineName(_) => names.push(seq),
                _ => {}
            }
            let leaf = RecordLeaf { recorded_at: step.recorded_at, number: numbers.of(&body), body };
            records.push(leaf_hash(&leaf.to_bytes()));
            if seq + 1 == end {
                ids = IdLeaf::all(step.state);
                last = Some(step.recorded_at);
            }
        })?;
        let records = Tree::of(records);
        let id_tree = Tree::of(ids.iter().map(|leaf: &IdLeaf| leaf_hash(&leaf.to_bytes())).collect());
        let checkpoint = TreeCheckpoint {
            ledger: reader.ledger_id(),
            checkpoint: reader.checkpoint(),
            root: records.root(),
            recorded_at: last.expect("a ledger has its genesis record"),
            persons: IdTree { ids: ids.len() as u32, root: id_tree.root(), fold: FOLD_VERSION }, // MAX_RECORDS bounds it
            tenant: TreeCheckpoint::tenant_text(reader.tenant()),
        };
        Ok(Trees { records, ids, id_tree, keys, names, checkpoint })
    }
}

impl Reader {
    /// What a note says of this ledger: its head, and the roots of the trees that proofs lead to.
    ///
    /// Cost: a replay, and 64 bytes of memory for each record. A snapshot has no say in it.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn tree_checkpoint(&self) -> Result<TreeCheckpoint, Fault> {
        Ok(Trees::of(self)?.checkpoint)
    }

    /// A signed note of [`Reader::tree_checkpoint`], to be filed or given to others.
    ///
    /// ```
    /// use identity_ledger::proof::{Asked, Signer};
    /// use identity_ledger::storage::OsEntropy;
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
    ///
    /// let signer = Signer::generate("shop.example/ledger", &mut OsEntropy::default())?;
    /// let (note, key) = (ledger.reader().sign_checkpoint(&signer)?, [signer.verifier()]);
    /// let proof = ledger.reader().prove(Asked::Same("ann", "phone"), &note, &key)?.to_string();
    ///
    /// // Elsewhere, without the ledger:
    /// let proven = proof.parse::<identity_ledger::proof::Proof>()?.check(&key)?;
    /// assert!(proven.fact.to_string().contains(" are one person"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Reader::tree_checkpoint`].
    pub fn sign_checkpoint(&self, signer: &Signer) -> Result<Note, Fault> {
        Ok(signer.sign(self.tree_checkpoint()?.to_string()))
    }

    /// Checks that a note, signed by all of these keys, is of this ledger's records: its head and both its roots, computed again from the log.
    /// Gives what it says. Signatures of other keys are not looked at.
    ///
    /// # Errors
    /// [`ProveError`], the first.
    pub fn check_note(&self, note: &Note, keys: &[Verifier]) -> Result<TreeCheckpoint, ProveError> {
        note.verify(keys)?;
        self.as_noted(note).map(|(_, trees)| trees.checkpoint)
    }

    /// This ledger as it was when the note was made, if that agrees with the note; `None` if it is this reader.
    fn as_noted(&self, note: &Note) -> Result<(Option<Reader>, Trees), ProveError> {
        let noted: TreeCheckpoint = note.text().parse()?;
        let (records, fold) = (noted.checkpoint.records, noted.persons.fold);
        if noted.ledger != self.ledger_id() {
            let [found, expected] = [noted.ledger, self.ledger_id()].map(|ledger| format!("ledger {ledger}"));
            return Err(ProveError::OtherHistory { found, expected });
        }
        if records > self.state().records() || records == 0 {
            return Err(ProveError::Ahead { noted: records, records: self.state().records() });
        }
        if fold != FOLD_VERSION {
            return Err(ProveError::OtherRules { found: fold, known: FOLD_VERSION });
        }
        let then = match records < self.state().records() {
            true => Some(self.as_of(Seq(records - 1), &mut |_| {})?),
            false => None,
        };
        let trees = Trees::of(then.as_ref().unwrap_or(self))?;
        let differs = |(found, expected): &(&str, &str)| found != expected;
        let ours = trees.checkpoint.to_string();
        if let Some((found, expected)) = note.text().lines().zip(ours.lines()).find(differs) {
            let [found, expected] = [found, expected].map(str::to_owned);
            return Err(ProveError::OtherHistory { found, expected });
        }
        Ok((then, trees))
    }

    /// A proof of one answer, as of a note that all of these keys signed. It shows the cited records, and of texts and values only
    /// what was asked about.
    ///
    /// Cost: two replays, and 64 bytes of memory for each record.
    ///
    /// # Errors
    /// [`ProveError`], the first.
    pub fn prove(&self, asked: Asked<'_>, note: &Note, keys: &[Verifier]) -> Result<Proof, ProveError> {
        let note = note.only(keys)?;
        if self.is_sealed() && self.log.keys().is_none() && !matches!(asked, Asked::Erased(_)) {
            return Err(ProveError::Sealed);
        }
        let (then, trees) = self.as_noted(&note)?;
        // What was erased behind the note is not shown either.
        let mut maker = Maker { reader: then.as_ref().unwrap_or(self), trees, proof: Proof::of(note) };
        maker.reader.prove_snapshot()?;
        match asked {
            Asked::Same(a, b) => maker.same(a, b)?,
            Asked::NotSame(a, b) => maker.not_same(a, b)?,
            Asked::Event(id) => {
                let unknown = || ProveError::Unknown { what: "the event", asked: id.to_string() };
                let seq = maker.reader.recorded(id)?.ok_or_else(unknown)?;
                maker.event(seq)?;
            }
            Asked::Record(seq) => maker.event(seq)?,
            Asked::Property(id, key) => maker.property(id, key)?,
            Asked::Erased(id) => maker.erased(id)?,
        }
        maker.proof.check(keys).map_err(ProveError::Wrong)?;
        Ok(maker.proof)
    }
}

impl Proof {
    fn of(note: Note) -> Proof {
        let (records, items, ids, properties) = Default::default();
        Proof { claim: Claim::Event(0), records, items, ids, properties, steps: Vec::new(), note }
    }
}

struct Maker<'a> {
    reader: &'a Reader,
    trees: Trees,
    proof: Proof,
}

impl Maker<'_> {
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
            self.cite(*seq, NONE)?;
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
        let properties = person.map_or_else(Vec::new, |person| state.view(person).properties.to_vec());
        let Ok(place) = properties.binary_search_by_key(&key, |property| property.key) else {
            return Err(no_property);
        };
        self.define_id(id)?;
        self.define(Seq(self.trees.keys[key.0 as usize]), key.0)?;
        self.show_id(id);
        self.show_id(IdNo(self.trees.ids[id.index()].person));
        let data = property_leaf(properties[place]).to_vec();
        let leaf = Leaf { data, path: IdLeaf::tree(&properties).path(place) };
        self.proof.properties = BTreeMap::from([(place as u32, leaf)]); // a list in memory
        let seq = properties[place].seq();
        self.cite(seq, NONE)?;
        self.show(seq)?;
        self.proof.claim = Claim::Property(id.0, key.0);
        Ok(())
    }

    fn erased(&mut self, id: IdNo) -> Result<(), ProveError> {
        let state = self.reader.state();
        if id.index() >= state.ids().len() {
            return Err(ProveError::Unknown { what: "the id number", asked: id.0.to_string() });
        }
        let erase = state.erasures().of_id(id).filter(|erase| u64::from(*erase) < state.records());
        let erase = erase.ok_or(ProveError::NotSo { what: "the id is not erased" })?;
        let done = state.erasures().done_by(erase).filter(|done| u64::from(*done) < state.records());
        let done = done.ok_or(ProveError::NotSo { what: "the erasure is not finished" })?;
        self.cite(state.defined_by(id), id.0)?;
        self.cite(Seq(erase.into()), NONE)?;
        self.cite(Seq(done.into()), NONE)?;
        self.proof.claim = Claim::Erased(id.0);
        Ok(())
    }
}
