//! A proof checked: everything in it is computed again from its text and the keys alone. It knows no ledger and no fold.

use std::collections::{BTreeMap, BTreeSet};

use crate::log::body::{Asked, AskedVerb, Body, Flags, IdNo, NameNo};
use crate::log::commitment::Commitments;
use crate::log::frame::SALT_BYTES;
use crate::log::item::read_value;
use crate::log::record::OPERATION_ID_BYTES;
use crate::model::id::{DistinctId, OperationId, PersonId, Seq};
use crate::model::value::Value;
use crate::proof::checkpoint::{CheckpointTextError, TreeCheckpoint};
use crate::proof::fact::{Fact, RecordTouch};
use crate::proof::leaf::{IdLeaf, read_property};
use crate::proof::note::{NoteError, Signed, Verifier};
use crate::proof::record::{NONE, RecordLeaf};
use crate::proof::text::{Claim, Earlier, Leaf, Proof, Step, TextWay};
use crate::proof::texts::{Places, TextLeaf, TextTrie, root_by_way, sealed_number};
use crate::proof::touches::Touch;
use crate::proof::tree::{Hash, continues, root_by, sum};
use crate::query::explain::ids::{ExplainedStep, Explanation, ExplanationError, NamedId, RecordedLink};

/// What a proof proves: what stands in `fact`, of the ledger of `checkpoint`, on the word of those who signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The ledger, and up to where.
    pub checkpoint: TreeCheckpoint,
    /// Who signed that.
    pub signed: Vec<Signed>,
    /// What is proven.
    pub fact: Fact,
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The note in it is not to be believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note says nothing of a ledger.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointTextError),
    /// Something that the claim needs is not there.
    #[error("the proof lacks {what} {number}")]
    Lacks {
        /// What is missing.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// Something stands in it that the claim does not need.
    #[error("the proof holds more than its claim needs")]
    TooMuch,
    /// A leaf does not lead to the root that was signed.
    #[error("{what} {number} does not stand in the ledger that was signed")]
    NotInTree {
        /// What it is.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// A text or value is not the one its record committed to.
    #[error("the text or values of record {seq} are not what the record committed to")]
    Commitment {
        /// The record.
        seq: Seq,
    },
    /// A record is not what the claim takes it for.
    #[error("record {seq} is not {expected}")]
    NotThat {
        /// The record.
        seq: Seq,
        /// What the claim takes it for.
        expected: &'static str,
    },
    /// The records do not come to what is claimed.
    #[error("the claim does not follow: {what}")]
    DoesNotFollow {
        /// What is wrong.
        what: &'static str,
    },
    /// The steps do not lead from the one id to the other.
    #[error("the steps do not hold: {0}")]
    Steps(Box<ExplanationError>),
}

/// Parts of a proof on their way: what is looked at is noted, and at the end nothing may be left over.
struct Parts<'a> {
    proof: &'a Proof,
    checkpoint: TreeCheckpoint,
    records: BTreeMap<u64, RecordLeaf>,
    used: BTreeSet<(&'static str, u64)>,
}

impl Proof {
    /// Checks the proof: each key that is given must have signed its note, and no other may have. Everything else is computed from the proof alone.
    ///
    /// # Errors
    /// [`CheckError`], the first.
    pub fn check(&self, keys: &[Verifier]) -> Result<Proven, CheckError> {
        let signed = self.note.verify_all(keys)?;
        let checkpoint: TreeCheckpoint = self.note.text().parse()?;
        let mut parts = Parts { proof: self, checkpoint, records: BTreeMap::new(), used: BTreeSet::new() };
        let fact = match &self.claim {
            Claim::Same(a, b) => parts.same(*a, *b)?,
            Claim::NotSame(a, b) => parts.not_same(*a, *b)?,
            Claim::Event(seq) => parts.event(*seq)?,
            Claim::Property(id, key) => parts.property(*id, *key)?,
            Claim::Erased(id) => parts.erased(*id)?,
            Claim::Complete(id) => parts.complete(*id)?,
            Claim::Absent(text, place) => parts.absent(text, place)?,
            Claim::Consistent(records) => parts.consistent(*records, keys)?,
        };
        let Proof { records, items, ids, touches, properties, text, earlier, steps, .. } = self;
        let held = records.len() + items.len() + ids.len() + touches.len() + properties.len();
        let held = held + usize::from(text.is_some()) + usize::from(earlier.is_some());
        let steps_are_of_a_way = steps.is_empty() || matches!(self.claim, Claim::Same(..));
        if parts.used.len() != held || !steps_are_of_a_way {
            return Err(CheckError::TooMuch);
        }
        Ok(Proven { checkpoint: parts.checkpoint, signed, fact })
    }
}

impl Parts<'_> {
    /// A record, proven to stand in the ledger.
    fn record(&mut self, seq: u64) -> Result<RecordLeaf, CheckError> {
        if let Some(known) = self.records.get(&seq) {
            return Ok(known.clone());
        }
        let held = self.proof.records.get(&seq).ok_or(CheckError::Lacks { what: "record", number: seq })?;
        let TreeCheckpoint { checkpoint, root, .. } = &self.checkpoint;
        check_leaf("record", held, seq, checkpoint.records, root)?;
        let not_that = CheckError::NotThat { seq: Seq(seq), expected: "one that this version can read" };
        let leaf = RecordLeaf::read(&held.data).ok_or(not_that)?;
        self.used.insert(("record", seq));
        self.records.insert(seq, leaf.clone());
        Ok(leaf)
    }

    /// The item of a record, proven to be what the record committed to.
    fn item(&mut self, seq: u64) -> Result<Vec<u8>, CheckError> {
        let body = self.record(seq)?.body;
        let item =
            self.proof.items.get(&seq).ok_or(CheckError::Lacks { what: "item of record", number: seq })?;
        let expected = match &body {
            Body::DefineId(_, commitment) | Body::DefineDevice(_, commitment) => Some(*commitment),
            Body::DefineKey(commitment) | Body::DefineName(commitment) => Some(*commitment),
            Body::Operation(asked) => asked.item,
            _ => None,
        };
        let found = Commitments::of(self.checkpoint.ledger).commit(Seq(seq), &item.salt, &item.bytes);
        if expected != Some(found) {
            return Err(CheckError::Commitment { seq: Seq(seq) });
        }
        self.used.insert(("item", seq));
        Ok(item.bytes.clone())
    }

    /// The text of the definition of a number, which the proof holds.
    fn defined(&mut self, kind: Defined, number: u32) -> Result<String, CheckError> {
        let seq = self.definition(kind, number)?;
        let text = self.item(seq)?;
        String::from_utf8(text)
            .map_err(|_| CheckError::NotThat { seq: Seq(seq), expected: "a definition of a text" })
    }

    /// The record that defines a number: one that the proof holds.
    fn definition(&mut self, kind: Defined, number: u32) -> Result<u64, CheckError> {
        let held: Vec<u64> = self.proof.records.keys().copied().collect();
        for seq in held {
            // What is read here is not proven yet; only what is taken has to be.
            let leaf = self.proof.records.get(&seq).and_then(|leaf| RecordLeaf::read(&leaf.data));
            if leaf.is_some_and(|leaf| leaf.number == number && kind.is(&leaf.body)) {
                self.record(seq)?;
                return Ok(seq);
            }
        }
        Err(CheckError::Lacks { what: kind.name(), number: number.into() })
    }

    /// What an id came to, proven by the signer's word.
    fn id(&mut self, id: u32) -> Result<IdLeaf, CheckError> {
        let held = self.proof.ids.get(&id).ok_or(CheckError::Lacks { what: "id", number: id.into() })?;
        let persons = self.checkpoint.persons;
        check_leaf("id", held, id.into(), persons.ids.into(), &persons.root)?;
        self.used.insert(("id", id.into()));
        IdLeaf::read(&held.data).ok_or(CheckError::NotInTree { what: "id", number: id.into() })
    }

    /// Checks that a record counts: so it stands among those that touch the id it speaks for.
    fn standing(&mut self, seq: u64) -> Result<(), CheckError> {
        let not_that = CheckError::NotThat { seq: Seq(seq), expected: "an operation" };
        let id = self.record(seq)?.body.head().ok_or(not_that)?.id.0;
        let (count, root) = self.id(id)?.touches;
        let touches = self.proof.touches.range((id, 0)..=(id, u32::MAX));
        let mut touches =
            touches.filter_map(|((_, place), leaf)| Some((*place, leaf, Touch::read(&leaf.data)?)));
        let found = touches.find(|(_, _, touch)| u64::from(touch.seq) == seq);
        let (place, leaf, touch) =
            found.ok_or(CheckError::Lacks { what: "the touch of record", number: seq })?;
        check_leaf("touch", leaf, place.into(), count.into(), &root)?;
        self.used.insert(("touch", touch_number(id, place)));
        match touch.retracted_by {
            NONE => Ok(()),
            _ => Err(CheckError::DoesNotFollow { what: "a record that it cites was retracted" }),
        }
    }

    /// All records that touch an id: their list gives the root that was signed.
    fn touches(&mut self, id: u32) -> Result<Vec<Touch>, CheckError> {
        let (count, root) = self.id(id)?.touches;
        let mut touches = Vec::new();
        for ((_, place), leaf) in self.proof.touches.range((id, 0)..=(id, u32::MAX)) {
            let touch = Touch::read(&leaf.data).filter(|_| leaf.path.is_empty());
            touches.push(touch.ok_or(CheckError::NotInTree { what: "touch", number: (*place).into() })?);
            self.used.insert(("touch", touch_number(id, *place)));
        }
        let places = self.proof.touches.range((id, 0)..=(id, u32::MAX)).map(|((_, place), _)| *place);
        if places.eq(0..count) && sum(Touch::leaves(&touches)) == (count, root) {
            Ok(touches)
        } else {
            Err(CheckError::DoesNotFollow { what: "the records that touch the id are not all there" })
        }
    }

    fn complete(&mut self, id: u32) -> Result<Fact, CheckError> {
        let wrong = |what| CheckError::DoesNotFollow { what };
        let (defined, touches) = (self.definition(Defined::Id, id)?, self.touches(id)?);
        if touches.first().map(|touch| u64::from(touch.seq)) != Some(defined)
            || !touches.is_sorted_by(|a, b| a.seq < b.seq)
        {
            return Err(wrong("the records that touch the id are out of order"));
        }
        let (mut records, mut cited, mut erased) = (Vec::new(), BTreeMap::new(), false);
        for Touch { seq, retracted_by } in touches {
            let leaf = self.record(seq.into())?;
            let speaks = |record: &u32| cited.get(record) == Some(&Some(IdNo(id)));
            if !leaf.names().contains(&IdNo(id)) && !leaf.erases().iter().any(speaks) {
                return Err(CheckError::NotThat {
                    seq: Seq(seq.into()),
                    expected: "one that touches the id",
                });
            }
            cited.insert(seq, leaf.speaks_for());
            erased |= matches!(&leaf.body, Body::Erase(erasure) if erasure.ids.contains(&IdNo(id)));
            let retracted_by = (retracted_by != NONE).then_some(Seq(retracted_by.into()));
            if let Some(by) = retracted_by {
                self.retracts(by, Seq(seq.into()), &leaf)?;
            }
            let (op, recorded_at) = (leaf.body.name(), leaf.recorded_at);
            records.push(RecordTouch { seq: Seq(seq.into()), op, recorded_at, retracted_by });
        }
        let distinct_id = if erased { None } else { Some(self.living(id, defined)?) };
        Ok(Fact::Complete { id, distinct_id, records })
    }

    /// Checks that a record retracts another.
    fn retracts(&mut self, by: Seq, target: Seq, leaf: &RecordLeaf) -> Result<(), CheckError> {
        let body = self.record(by.0)?.body;
        let heads = [body.head(), leaf.body.head()].map(|head| head.map(|head| head.id));
        match body.verb() {
            Some(AskedVerb::Retract(found)) if *found == target.0 && target < by && heads[0] == heads[1] => {
                Ok(())
            }
            _ => Err(CheckError::NotThat { seq: by, expected: "the retract of the record it is cited for" }),
        }
    }

    /// The text of an id, which no other id has.
    fn living(&mut self, id: u32, defined: u64) -> Result<String, CheckError> {
        let text = self.defined(Defined::Id, id)?;
        let salt = self.proof.items.get(&defined).map_or([0; SALT_BYTES], |item| item.salt);
        match self.proof.text {
            Some(TextWay { leaf: None, .. }) => {
                let place = Places::of(self.checkpoint.ledger).place(&text);
                self.text_way(&place, (place, sealed_number(&salt, id)))?;
                Ok(text)
            }
            _ => Err(CheckError::Lacks { what: "the way of the text of id", number: id.into() }),
        }
    }

    /// Checks that the way of a text leads to this leaf.
    fn text_way(&mut self, place: &Hash, leaf: TextLeaf) -> Result<(), CheckError> {
        let turns = self.proof.text.as_ref().map_or(&[][..], |way| &way.turns);
        self.used.insert(("text", 0));
        match root_by_way(place, &leaf, turns) {
            Some(root) if root == self.checkpoint.texts.root => Ok(()),
            _ => Err(CheckError::DoesNotFollow {
                what: "the way of the text does not lead to the index of texts",
            }),
        }
    }

    fn absent(&mut self, text: &str, place: &Hash) -> Result<Fact, CheckError> {
        let wrong = |what| Err(CheckError::DoesNotFollow { what });
        let way =
            self.proof.text.as_ref().ok_or(CheckError::Lacks { what: "the way of the text", number: 0 })?;
        match way.leaf {
            _ if DistinctId::check(text).is_err() => return wrong("no id can have that text"),
            _ if Places::of(self.checkpoint.ledger).place(text) != *place => {
                return wrong("the place is that of another text");
            }
            Some((found, _)) if found == *place => return wrong("there is an id of that text"),
            Some(leaf) => self.text_way(place, leaf)?,
            None if self.checkpoint.texts.ids == 0
                && self.checkpoint.texts.root == TextTrie::of(Vec::new()).root() =>
            {
                if !way.turns.is_empty() {
                    return wrong("the index of texts is empty");
                }
                self.used.insert(("text", 0));
            }
            None => return wrong("the way of the text has no end"),
        }
        Ok(Fact::Absent { distinct_id: text.to_owned() })
    }

    fn consistent(&mut self, records: u64, keys: &[Verifier]) -> Result<Fact, CheckError> {
        let wrong = |what| Err(CheckError::DoesNotFollow { what });
        let lacks = CheckError::Lacks { what: "the earlier note of", number: records };
        let Earlier { note, path } = self.proof.earlier.as_ref().ok_or(lacks)?;
        note.verify_all(keys)?;
        let (then, now): (TreeCheckpoint, _) = (note.text().parse()?, &self.checkpoint);
        self.used.insert(("earlier", 0));
        let size = now.checkpoint.records;
        if (then.ledger, &then.tenant) != (now.ledger, &now.tenant) || then.checkpoint.records != records {
            return wrong("the earlier note is of another ledger, or of other records");
        }
        if !continues(records, size, &then.root, &now.root, path) {
            return wrong("the records of the earlier note are not the first of these");
        }
        if then.recorded_at > now.recorded_at || then.persons.ids > now.persons.ids {
            return wrong("time or the number of ids goes back between the two notes");
        }
        if records == size && note.text() != self.proof.note.text() {
            return wrong("two notes of the same records differ");
        }
        Ok(Fact::Consistent { records, head: then.checkpoint.head, recorded_at: then.recorded_at })
    }

    fn two(&mut self, a: u32, b: u32) -> Result<([String; 2], bool), CheckError> {
        if a >= b {
            return Err(CheckError::DoesNotFollow { what: "expected two ids, ascending" });
        }
        let ids = [self.defined(Defined::Id, a)?, self.defined(Defined::Id, b)?];
        let [a, b] = [self.id(a)?, self.id(b)?];
        Ok((ids, a.person == b.person && a.person != NONE))
    }

    fn same(&mut self, a: u32, b: u32) -> Result<Fact, CheckError> {
        let (ids, same) = self.two(a, b)?;
        if !same {
            return Err(CheckError::DoesNotFollow { what: "the two ids are not of one person" });
        }
        for Step { seq, .. } in &self.proof.steps {
            if !self.records.contains_key(seq) {
                self.record(*seq)?;
                self.standing(*seq)?;
            }
        }
        let steps = self.nested(&mut 0, 0)?;
        let (event, person_id, implied) = (None, PersonId(uuid::Uuid::nil()), false);
        let explanation = Explanation { event, from: named(a), to: named(b), person_id, implied, steps };
        let links = self.links();
        explanation
            .check(|seq| links.get(&seq.0).cloned())
            .map_err(|error| CheckError::Steps(Box::new(error)))?;
        let records = self.proof.steps.iter().map(|step| Seq(step.seq)).collect();
        Ok(Fact::Same { ids, records })
    }

    /// What the records say that steps cite; of who leaves in a split only whom steps name, for each step looks at all of them.
    fn links(&self) -> BTreeMap<u64, RecordedLink> {
        let ends: BTreeSet<u32> = self.proof.steps.iter().flat_map(|step| [step.from, step.to]).collect();
        let link = |(seq, leaf): (&u64, &RecordLeaf)| {
            let mut link = RecordedLink::of(&leaf.body, false, |id| named(id.0).text)?;
            if let Some((_, leavers)) = &mut link.leavers {
                leavers.retain(|id| ends.contains(&id.number.0));
            }
            Some((*seq, link))
        };
        self.records.iter().filter_map(link).collect()
    }

    /// The steps from a place on that are of this depth, each with those before it.
    fn nested(&self, at: &mut usize, depth: u32) -> Result<Vec<ExplainedStep>, CheckError> {
        let mut steps = Vec::new();
        while let Some(Step { seq, from, to, .. }) =
            self.proof.steps.get(*at).filter(|step| step.depth >= depth)
        {
            if self.proof.steps[*at].depth > depth {
                return Err(CheckError::DoesNotFollow {
                    what: "a step stands deeper than the one it belongs to",
                });
            }
            *at += 1;
            let before = match self.proof.steps.get(*at) {
                Some(next) if next.depth == depth + 1 => self.nested(at, depth + 1)?,
                _ => Vec::new(),
            };
            let body = &self.records[seq].body;
            let is_split = matches!(body.verb(), Some(AskedVerb::Split(_)));
            let wrong = || CheckError::NotThat { seq: Seq(*seq), expected: "an operation" };
            let head = body.head().filter(|_| is_split || before.is_empty()).ok_or_else(wrong)?;
            let ids = [named(*from), named(*to)];
            steps.push(ExplainedStep { seq: Seq(*seq), op: body.name(), time: head.time(), ids, before });
        }
        Ok(steps)
    }

    fn not_same(&mut self, a: u32, b: u32) -> Result<Fact, CheckError> {
        match self.two(a, b)? {
            (ids, false) => Ok(Fact::NotSame { ids }),
            _ => Err(CheckError::DoesNotFollow { what: "the two ids are of one person" }),
        }
    }

    fn event(&mut self, seq: u64) -> Result<Fact, CheckError> {
        let RecordLeaf { recorded_at, body, .. } = self.record(seq)?;
        let not_that = CheckError::NotThat { seq: Seq(seq), expected: "an event" };
        let Body::Operation(asked) = &body else { return Err(not_that) };
        let AskedVerb::Capture(name) = &asked.verb else { return Err(not_that) };
        let head = asked.head;
        let given = head.flags.has(Flags::GIVEN_ID);
        self.standing(seq)?;
        Ok(Fact::Event {
            seq: Seq(seq),
            event_id: given.then(|| OperationId(uuid::Uuid::from_bytes(head.operation))),
            event: name.map(|NameNo(name)| self.defined(Defined::Name, name)).transpose()?,
            distinct_id: self.defined(Defined::Id, head.id.0)?,
            time: head.time(),
            recorded_at,
        })
    }

    fn property(&mut self, id: u32, key: u32) -> Result<Fact, CheckError> {
        let distinct_id = self.defined(Defined::Id, id)?;
        let text = self.defined(Defined::Key, key)?;
        let person = self.id(id)?.person;
        let wrong = |what| CheckError::DoesNotFollow { what };
        let (count, root) = match person {
            NONE => return Err(wrong("the id has no person")),
            person => self.id(person)?.properties.ok_or_else(|| wrong("properties stand elsewhere"))?,
        };
        let (place, held) = self.proof.properties.first_key_value().ok_or_else(|| wrong("no property"))?;
        check_leaf("property", held, (*place).into(), count.into(), &root)?;
        self.used.insert(("property", (*place).into()));
        let relative = || wrong("the property is made of relative changes, and a proof shows one record");
        let (found, seq, at) = read_property(&held.data).ok_or_else(relative)?;
        if found != key {
            return Err(wrong("the property is of another key"));
        }
        let (body, item) = (self.record(seq.into())?.body, self.item(seq.into())?);
        let Body::Operation(asked) = &body else { return Err(wrong("its record is another kind")) };
        let value = value(asked, &item, key, at).ok_or_else(|| wrong("the record has no such value"))?;
        Ok(Fact::Property { distinct_id, key: text, value, seq: Seq(seq.into()), time: asked.head.time() })
    }

    fn erased(&mut self, id: u32) -> Result<Fact, CheckError> {
        let defined = self.definition(Defined::Id, id)?;
        let held: Vec<u64> = self.proof.records.keys().copied().filter(|seq| *seq != defined).collect();
        let [erase, done] = held[..] else {
            return Err(CheckError::DoesNotFollow { what: "expected a definition, an erasure and its end" });
        };
        let RecordLeaf { recorded_at: erased_at, body, .. } = self.record(erase)?;
        match body {
            Body::Erase(erasure) if erasure.ids.contains(&IdNo(id)) && defined < erase => {}
            _ => return Err(CheckError::NotThat { seq: Seq(erase), expected: "an erasure of that id" }),
        }
        match self.record(done)?.body {
            Body::EraseDone(removal) if removal.erasures.iter().any(|one| u64::from(one.erase) == erase) => {}
            _ => return Err(CheckError::NotThat { seq: Seq(done), expected: "the end of that erasure" }),
        }
        let [defined, erased_by, done] = [defined, erase, done].map(Seq);
        Ok(Fact::Erased { id, defined, erased_by, erased_at, done })
    }
}

/// What a number may be of.
#[derive(Clone, Copy, Debug)]
enum Defined {
    Id,
    Key,
    Name,
}

impl Defined {
    fn is(self, body: &Body) -> bool {
        match self {
            Defined::Id => matches!(body, Body::DefineId(..)),
            Defined::Key => matches!(body, Body::DefineKey(_)),
            Defined::Name => matches!(body, Body::DefineName(_)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Defined::Id => "the definition of id",
            Defined::Key => "the definition of key",
            Defined::Name => "the definition of event name",
        }
    }
}

/// An id whose text the proof does not show.
fn named(number: u32) -> NamedId {
    NamedId { number: IdNo(number), text: format!("id number {number}") }
}

fn check_leaf(
    what: &'static str,
    leaf: &Leaf,
    index: u64,
    size: u64,
    root: &[u8; 32],
) -> Result<(), CheckError> {
    match root_by(&leaf.data, index, size, &leaf.path) {
        Some(found) if found == *root => Ok(()),
        _ => Err(CheckError::NotInTree { what, number: index }),
    }
}

/// By which a touch is noted as looked at.
fn touch_number(id: u32, place: u32) -> u64 {
    u64::from(id) << 32 | u64::from(place)
}

/// The value at a place of an operation's values, if it is of this key.
fn value(asked: &Asked, item: &[u8], key: u32, place: u16) -> Option<Value> {
    let mut at = if asked.head.flags.has(Flags::DERIVED_ID) { OPERATION_ID_BYTES } else { 0 };
    let (mut found, mut places) = (None, 0..);
    for change in asked.changes.iter().filter(|change| change.verb.has_value()) {
        let value = read_value(item, &mut at).ok()?;
        if places.next() == Some(place) && change.key.0 == key && !change.verb.is_relative() {
            found = Some(value);
        }
    }
    found.filter(|_| at == item.len())
}
