//! The state: what the log meant so far. Knows numbers and records, nothing of storage, texts or values.

mod adopt;
mod apply;
mod delta;
mod device;
mod digest;
mod erasures;
mod event_time;
mod fold_cache;
mod generations;
mod hypothetical;
mod kinds;
mod links;
mod outcome;
mod profile;
mod reclassify;
mod refold;
pub(crate) mod replay;
mod restore;
mod retract;
mod shared;
mod speaks;
mod split;

pub use replay::{Replay, Step};

pub(crate) use apply::FORESEEN;
pub(crate) use delta::{Deltas, Write};
pub use device::DeviceState;
pub(crate) use device::Said;
pub use erasures::PersonIdBasis;
pub(crate) use erasures::{Absences, Erasures};
pub(crate) use generations::Origin;
pub use links::PersonNo;
pub use outcome::{Correction, DeviceEffect, Link, NotParted, Notices, Outcome, Refusal, SharedEffect};
pub use profile::{Property, PropertyCounts};
pub(crate) use refold::Past;
pub(crate) use refold::{ComponentFold, Phase, Simulation};
pub(crate) use restore::{FOLD_VERSION, Unsound};

use std::collections::{BTreeMap, BTreeSet};

use crate::log::body::{DeviceNo, Followed, IdNo, KeyNo, StoredClass};
use crate::model::id::Seq;
use crate::model::kind::KindNo;
use crate::model::policy::{IdClass, Policy};
use crate::model::time::Timestamp;
use delta::{DeltasOf, Known, Marks};
use fold_cache::FoldCache;
use generations::Generations;
use kinds::Kinds;
use links::{Links, NONE};
use profile::{Profile, Profiles};
use shared::SharedIds;

/// Persons, links, profiles and devices: a pure fold of the records so far.
#[derive(Clone, Debug)]
pub struct State {
    /// How many records were folded.
    records: u32,
    policy: Policy,
    /// Whether this is the state of a what-if under another policy (H4). No snapshot holds such a state.
    supposed: bool,
    /// The kinds that reclassifications give under that policy (D12, H5), by record.
    supposed_kinds: BTreeMap<u32, Option<KindNo>>,
    /// The record the policy stands in.
    policy_seq: u32,
    links: Links,
    kinds: Kinds,
    /// For whom shared ids speak (D13).
    shared: SharedIds,
    /// By person number; absorbed persons stay, so that their ids resolve for ever.
    persons: Vec<Person>,
    profiles: Profiles,
    /// Of persons with values by event time (E8).
    marks: BTreeMap<PersonNo, Marks>,
    /// Of persons with relative changes that count (E9).
    deltas: BTreeMap<PersonNo, DeltasOf>,
    /// By device number.
    devices: Vec<DeviceState>,
    /// What retracts and splits left behind.
    generations: Generations,
    /// How many property keys are defined.
    keys: u32,
    /// What is to be forgotten (H3).
    erasures: Erasures,
    /// Up to where the log that this ledger follows is in it. No rule reads it.
    followed: Option<Box<Followed>>,
    /// The components that retracts and splits folded last. No digest covers it.
    folds: FoldCache<State>,
}

/// What the fold knows of one person: 32 bytes, in this order. A list begins at a multiple of 16 bytes, so neither half lies
/// across two of a processor's cache lines; what every link asks is in the first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Person {
    profile: Profile,
    /// The record that identified it, or NONE.
    identified_by: u32,
    /// The id that founded it, which has belonged to it since the record that did.
    founding: IdNo,
    created_at: i64,
    /// How many user ids it has (D9).
    users: u32,
    /// The first of them, or NONE.
    first_user: u32,
}

/// A person as the state knows it: in numbers.
#[derive(Clone, Copy, Debug)]
pub struct PersonView<'a> {
    /// The person's number, in the order of foundings.
    pub number: PersonNo,
    /// The id that founded it.
    pub founding: IdNo,
    /// The record that founded it.
    pub founded: Seq,
    /// The founding operation's time, lowered only by merges (D7).
    pub created_at: Timestamp,
    /// The record that identified it, if one did (D1).
    pub identified_by: Option<Seq>,
    /// Its properties, ascending by key number. One that relative changes alone made (E9) is the first of them.
    pub properties: &'a [Property],
    /// The relative changes that count, beside those.
    deltas: Option<&'a DeltasOf>,
}

/// A property, and the relative changes that count since its value was written (E9).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing<'a> {
    pub(crate) property: Property,
    pub(crate) deltas: Option<&'a Deltas>,
}

impl Standing<'_> {
    /// Whether a value was written, and not only changed relatively.
    pub(crate) fn has_base(&self) -> bool {
        self.deltas.is_none_or(|deltas| !deltas.alone)
    }

    /// The writes that make it: that of its value, if there is one, and the relative changes in their order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Property> {
        let Standing { property, deltas } = *self;
        let relative = deltas.into_iter().flat_map(|deltas| &deltas.list);
        Some(property)
            .filter(|_| self.has_base())
            .into_iter()
            .chain(relative.map(move |write| write.of(property.key)))
    }
}

impl<'a> PersonView<'a> {
    /// Its properties, ascending by key number, each with its relative changes.
    pub(crate) fn standing(&self) -> impl Iterator<Item = Standing<'a>> + use<'a> {
        let deltas = self.deltas;
        self.properties.iter().map(move |property| Standing {
            property: *property,
            deltas: deltas.and_then(|deltas| deltas.get(&property.key)),
        })
    }

    /// The property of a key, with its relative changes.
    pub(crate) fn standing_of(&self, key: KeyNo) -> Option<Standing<'a>> {
        let property = delta::entry(self.properties, key)?;
        Some(Standing { property, deltas: self.deltas.and_then(|deltas| deltas.get(&key)) })
    }

    /// Whether two persons have the same properties, by the same writes.
    pub(crate) fn has_same_properties(&self, other: &PersonView<'_>) -> bool {
        self.properties == other.properties && self.deltas == other.deltas
    }
}

/// How many events an id or a person has (G3: users pay for the difference).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// All of them.
    pub events: u64,
    /// Those with processing on.
    pub identified: u64,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl State {
    /// The state before the first record.
    pub fn new() -> State {
        State {
            records: 0,
            policy: Policy::default(),
            supposed: false,
            supposed_kinds: BTreeMap::new(),
            policy_seq: 0,
            links: Links::default(),
            kinds: Kinds::default(),
            shared: SharedIds::default(),
            persons: Vec::new(),
            profiles: Profiles::default(),
            marks: BTreeMap::new(),
            deltas: BTreeMap::new(),
            devices: Vec::new(),
            generations: Generations::default(),
            keys: 0,
            erasures: Erasures::default(),
            followed: None,
            folds: FoldCache::default(),
        }
    }

    /// How many records were folded; also the number of the next one.
    pub fn records(&self) -> u64 {
        self.records.into()
    }

    /// Up to where the log that this ledger follows is in it; `None` if it follows none.
    pub fn followed(&self) -> Option<&Followed> {
        self.followed.as_deref()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The person that `id` belongs to; `None` for an id seen only propertyless.
    ///
    /// # Panics
    /// When the state knows no such number. Numbers come from the same log.
    pub fn person(&self, id: IdNo) -> Option<PersonNo> {
        self.links.person(id)
    }

    /// The person that `id` belonged to right after record `seq`.
    ///
    /// # Panics
    /// As [`State::person`].
    pub fn person_as_of(&self, id: IdNo, seq: Seq) -> Option<PersonNo> {
        let seq = u32::try_from(seq.0).unwrap_or(NONE);
        match self.generations.former(id, seq) {
            None => self.links.person_as_of(id, seq),
            Some((slot, since)) => {
                (slot != NONE && since <= seq).then(|| self.links.survivor_as_of(PersonNo(slot), seq))
            }
        }
    }

    /// The records by which `id` came to a person, or its person to be another; ascending. Cost: a step for each.
    pub fn moves(&self, id: IdNo) -> Vec<Seq> {
        let mut moves: Vec<Seq> = self.moves_back(id).map(|(seq, _)| seq).collect();
        moves.reverse();
        moves
    }

    /// The same, the last one first, each with the person that the id came to.
    pub(crate) fn moves_back(&self, id: IdNo) -> impl Iterator<Item = (Seq, Option<PersonNo>)> + '_ {
        // Persons are compared by public id: a refold that keeps the public id is not a move.
        let public = |person: PersonNo| (self.founding(person), self.origin(person).key());
        let mut turns = self.turns(id).peekable();
        std::iter::from_fn(move || {
            loop {
                let (seq, person) = turns.next()?;
                let before = turns.peek().and_then(|(_, before)| *before);
                if before.map(public) != person.map(public) {
                    return Some((Seq(seq.into()), person));
                }
            }
        })
    }

    /// Whose `id` was, by generations, the last person first, each with the record since which it was that one.
    fn turns(&self, id: IdNo) -> impl Iterator<Item = (u32, Option<PersonNo>)> + '_ {
        let formers = self.generations.formers(id);
        let begins = formers.iter().rev().map(|former| Some(former.until)).chain([None]);
        let leaf = self.links.leaf(id);
        let now = (leaf.slot, leaf.since(), NONE);
        let before = formers.iter().rev().map(|former| (former.slot, former.since, former.until));
        [now].into_iter().chain(before).zip(begins).flat_map(|((slot, since, until), begin)| {
            let turns = (slot != NONE).then(|| self.links.turns(PersonNo(slot), since, until));
            let mut turns = turns.into_iter().flatten();
            let mut over = false;
            // What a generation says of records before it began holds from then on.
            std::iter::from_fn(move || {
                let turn = turns.next().filter(|_| !over);
                let (seq, person) = match (turn, begin) {
                    (Some((seq, person)), _) => (seq, Some(person)),
                    (None, Some(begin)) if !over => (begin, None),
                    (None, _) => return None,
                };
                over = turn.is_none() || begin.is_some_and(|begin| seq <= begin);
                Some((begin.map_or(seq, |begin| seq.max(begin)), person))
            })
        })
    }

    /// The live person that `person` became: itself, or the one that absorbed it (D7), or, if its founding
    /// was retracted, the owner of its founding id now (D11). Itself if that id has no person; then it [is
    /// retired](State::is_retired).
    pub fn survivor(&self, person: PersonNo) -> PersonNo {
        if self.generations.is_empty() {
            return self.links.survivor(person);
        }
        let mut at = person;
        // Each step but the last leaves a retired person behind, and none is met twice.
        for _ in 0..=2 * self.generations.retired.len() {
            at = match self.generations.retired.get(&at) {
                Some(Some(successor)) => *successor,
                // Founded once more since, or else the owner of its founding id.
                Some(None) => match self.founded_again(at).or(self.person(self.founding(at))) {
                    Some(person) => person,
                    None => return at,
                },
                None => {
                    let survivor = self.links.survivor(at);
                    if survivor == at {
                        return at;
                    }
                    survivor
                }
            };
        }
        at
    }

    /// Whether a person was of a former generation: a retract or split refolded its component (section H).
    pub fn is_retired(&self, person: PersonNo) -> bool {
        self.generations.retired.contains_key(&person)
    }

    /// Whether record `seq` counts as never asked (H1).
    pub fn is_retracted(&self, seq: Seq) -> bool {
        self.is_retracted_as_of(seq, Seq(NONE.into()))
    }

    /// The records that count as never asked, ascending.
    pub(crate) fn retracted(&self) -> BTreeSet<u32> {
        self.generations.all_retracted()
    }

    /// Whether record `seq` counted as never asked right after record `as_of`.
    pub fn is_retracted_as_of(&self, seq: Seq, as_of: Seq) -> bool {
        let number = |seq: Seq| u32::try_from(seq.0).unwrap_or(NONE);
        self.generations.retracted(number(seq), number(as_of))
    }

    /// The retract by which record `seq` counts as never asked right after record `as_of`; `None` if it counts.
    pub(crate) fn retracted_by_as_of(&self, seq: Seq, as_of: Seq) -> Option<Seq> {
        let number = |seq: Seq| u32::try_from(seq.0).unwrap_or(NONE);
        self.generations.retracted_by(number(seq), number(as_of)).map(|by| Seq(by.into()))
    }

    /// The records that were ever retracted.
    pub(crate) fn retract_targets(&self) -> impl Iterator<Item = Seq> + '_ {
        self.generations.retractions.keys().map(|target| Seq((*target).into()))
    }

    /// The ids that were ever reclassified (H5).
    pub(crate) fn reclassified(&self) -> impl Iterator<Item = IdNo> + '_ {
        self.generations.reclassified.keys().copied()
    }

    /// Whether record `seq` moved `id` by refolding its component (section H).
    pub(crate) fn is_refold_of(&self, id: IdNo, seq: Seq) -> bool {
        self.generations.formers(id).iter().any(|former| Seq(former.until.into()) == seq)
    }

    /// The last generation of a person: the number that speaks for its public id.
    pub(crate) fn last_generation(&self, person: PersonNo) -> PersonNo {
        if self.generations.is_empty() {
            return person;
        }
        self.last_of(self.founding(person), self.origin(person).key()).unwrap_or(person)
    }

    /// Whether an id ever founded the person that it implied before: the two have one public id (D11).
    pub(crate) fn has_founded(&self, id: IdNo) -> bool {
        self.last_of(id, None).is_some()
    }

    /// What is known of a live person.
    pub fn view(&self, number: PersonNo) -> PersonView<'_> {
        let person = &self.persons[number.index()];
        PersonView {
            number,
            founding: person.founding,
            founded: Seq(self.origin(number).founded.into()),
            created_at: Timestamp::from_micros(person.created_at).expect("Chain::accept checked the range"),
            identified_by: (person.identified_by != NONE).then_some(Seq(person.identified_by.into())),
            properties: self.profiles.entries(person.profile),
            deltas: self.deltas.get(&number),
        }
    }

    /// How a person came to be.
    pub(crate) fn origin(&self, person: PersonNo) -> Origin {
        self.origin_if_founded(person).expect("an id that founds a person belongs to it")
    }

    /// The same; `None` of a person that was absorbed, and whose founding id has no person any more since a retract.
    pub(super) fn origin_if_founded(&self, person: PersonNo) -> Option<Origin> {
        if let Some(origin) = self.generations.origins.get(&person) {
            return Some(*origin);
        }
        let founded = self.links.since(self.persons[person.index()].founding)?;
        Some(Origin { founded, split: false })
    }

    /// Who founded `person`, live or absorbed: what its public id is made of (D10).
    pub fn founding(&self, person: PersonNo) -> IdNo {
        self.persons[person.index()].founding
    }

    /// The live persons, in the order of their founding.
    pub fn persons(&self) -> impl Iterator<Item = PersonView<'_>> {
        let is_live =
            |person: &PersonNo| self.links.survivor(*person) == *person && !self.is_retired(*person);
        let live = (0..self.persons.len() as u32).map(PersonNo).filter(is_live);
        // Numbers stand in the order of founding, but for those that a refold gave.
        let (inborn, refolded) = if self.generations.is_empty() {
            (Some(live), None)
        } else {
            let mut live: Vec<PersonNo> = live.collect();
            live.sort_by_key(|person| self.age(*person));
            (None, Some(live))
        };
        let numbers = inborn.into_iter().flatten().chain(refolded.into_iter().flatten());
        numbers.map(|person| self.view(person))
    }

    /// How many persons were ever founded.
    pub fn persons_founded(&self) -> usize {
        self.persons.len()
    }

    /// The ids of a live person, ascending.
    pub fn ids_of(&self, person: PersonNo) -> Vec<IdNo> {
        let mut ids: Vec<IdNo> = self.links.ring(self.anchor(person)).collect();
        ids.sort_unstable();
        ids
    }

    /// The ids that a person brought which record `seq` let another absorb, because it names `a` and `b`; this is the state right after
    /// it. In the order of the ring, and so at a cost of those that are taken.
    pub(crate) fn brought(
        &self,
        [a, b]: [IdNo; 2],
        absorbed: PersonNo,
        ids: u32,
        seq: Seq,
    ) -> impl Iterator<Item = IdNo> {
        let before = Seq(seq.0.saturating_sub(1));
        // The rings of two persons that merge are crossed behind the two ids: what follows the one is the other's.
        let stays = if self.person_as_of(b, before) == Some(absorbed) { a } else { b };
        self.links.ring(stays).skip(1).take(ids as usize)
    }

    /// The first [`MAX_MOVED_NAMES`](crate::model::limits::MAX_MOVED_NAMES) ids that belong to another person by the last record of
    /// section H, ascending; this is the state right after it.
    pub(crate) fn moved_by_refold(&self) -> &[IdNo] {
        &self.generations.moved.named
    }

    /// How many ids a live person has.
    pub(crate) fn id_count(&self, person: PersonNo) -> u32 {
        self.links.size(person)
    }

    /// One id of a live person: its founding id, unless that left it.
    pub(crate) fn anchor(&self, person: PersonNo) -> IdNo {
        let anchor = self.generations.anchors.get(&person);
        anchor.copied().unwrap_or(self.persons[person.index()].founding)
    }

    /// How many ids are defined.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = IdNo> + use<> {
        self.links.ids()
    }

    /// The record that defined an id.
    pub fn defined_by(&self, id: IdNo) -> Seq {
        Seq(self.links.defined(id).into())
    }

    /// The class of an id (B4, H5).
    pub fn class(&self, id: IdNo) -> IdClass {
        match self.links.class(id).into() {
            IdClass::Unmergeable if self.is_shared(id) => IdClass::Shared,
            class => class,
        }
    }

    /// The class and the kind of an id.
    pub(crate) fn stored_class(&self, id: IdNo) -> StoredClass {
        StoredClass::of(self.class(id), self.kind(id))
    }

    /// The class and the kind that the definition of an id gave it (B4), whatever reclassified it since.
    pub(crate) fn class_defined(&self, id: IdNo) -> StoredClass {
        let defined = self.generations.reclassified.get(&id).map(|reclassified| reclassified.defined);
        defined.unwrap_or_else(|| self.stored_class(id))
    }

    /// The kind of an id (D12): its place in the policy's list, which may be shorter in a log of another writer.
    pub fn kind(&self, id: IdNo) -> Option<KindNo> {
        self.kinds.of(id).checked_sub(1).map(KindNo)
    }

    /// How many ids of a kind (D12) a live person has.
    pub fn held(&self, person: PersonNo, kind: KindNo) -> u32 {
        self.kinds.held(kind, person)
    }

    /// The record by which an id has its class: the reclassification (H5) in force, or its definition.
    pub(crate) fn classed_by(&self, id: IdNo) -> Seq {
        let by = self.generations.reclassified.get(&id).map(|reclassified| reclassified.by);
        Seq(by.filter(|by| *by != NONE).unwrap_or_else(|| self.links.defined(id)).into())
    }

    /// Whether an id counts as a user (D9): a named id after its first sign-in.
    pub fn is_user(&self, id: IdNo) -> bool {
        self.links.leaf(id).is_user()
    }

    /// The events that go with one id (G2): those captured under it, and under shared ids that spoke for it (D13).
    pub fn events_of_id(&self, id: IdNo) -> EventCounts {
        let leaf = self.links.leaf(id);
        EventCounts { events: leaf.events.into(), identified: leaf.identified_events.into() }
    }

    /// All events that count. One that was retracted (H1) does not. Cost: one look per id.
    pub fn events(&self) -> u64 {
        self.ids().map(|id| self.events_of_id(id).events).sum()
    }

    /// The events of a live person: those of its ids. Cost: one look per id.
    pub fn events_of(&self, person: PersonNo) -> EventCounts {
        self.links.ring(self.anchor(person)).fold(EventCounts::default(), |sum, id| {
            let counts = self.events_of_id(id);
            EventCounts { events: sum.events + counts.events, identified: sum.identified + counts.identified }
        })
    }

    /// Returns what is known of a device.
    pub fn device(&self, device: DeviceNo) -> &DeviceState {
        &self.devices[device.index()]
    }

    /// All devices, by number.
    pub fn devices(&self) -> &[DeviceState] {
        &self.devices
    }

    /// The devices that a retract or split made speak for an erased id since the ledger was opened, and that were not reset since (H3).
    pub(crate) fn due_resets(&self) -> impl Iterator<Item = DeviceNo> {
        self.generations.due_resets.iter().copied()
    }

    /// The proof that two ids are one person: links from `a` to `b`, each with the record that names both its ends.
    /// `None` if they are not one person, empty if they are one id.
    ///
    /// Both ends climb by turns until one meets where the other was: the cost is that of the way between them, however far
    /// above them the root of their tree is.
    pub fn proof(&self, a: IdNo, b: IdNo) -> Option<Vec<(IdNo, IdNo, Seq)>> {
        if a == b {
            return Some(Vec::new());
        }
        if self.person(a).is_none() || self.person(a) != self.person(b) {
            return None;
        }
        let mut at = [a, b];
        let mut climbed: [Vec<(IdNo, IdNo, Seq)>; 2] = Default::default();
        let mut seen = [BTreeMap::from([(a, 0)]), BTreeMap::from([(b, 0)])];
        'climb: loop {
            let before = at;
            for side in [0, 1] {
                let Some((parent, seq)) = self.proof_edge(at[side]) else { continue };
                climbed[side].push((at[side], parent, seq));
                at[side] = parent;
                if let Some(met) = seen[1 - side].get(&parent) {
                    climbed[1 - side].truncate(*met); // what the other climbed above where they meet
                    break 'climb;
                }
                seen[side].insert(parent, climbed[side].len());
            }
            if at == before {
                return None; // two trees for one person: only a forged snapshot has that
            }
        }
        let [mut way, down] = climbed;
        way.extend(down.into_iter().rev().map(|(child, parent, seq)| (parent, child, seq)));
        Some(way)
    }

    /// The edge of an id toward the root of its proof tree: the other end, and the record that names both. The trees hold each person together.
    pub(crate) fn proof_edge(&self, id: IdNo) -> Option<(IdNo, Seq)> {
        self.links.proof(id).map(|(parent, seq)| (parent, Seq(seq.into())))
    }

    /// How many operations retracts and splits have folded again since this state was new or was read from a snapshot: the
    /// measure of what they cost.
    pub fn operations_refolded(&self) -> u64 {
        self.generations.refolded
    }

    /// The devices of the component that a retract or split folded again last.
    pub(crate) fn devices_refolded(&self) -> &[DeviceNo] {
        &self.generations.devices
    }

    /// How many property keys are defined.
    pub(crate) fn keys(&self) -> u32 {
        self.keys
    }

    /// How many keys the person of `id` has now, or is known not to have (E8).
    pub(crate) fn keys_of(&self, id: IdNo) -> usize {
        let person = if id.index() < self.links.ids().len() { self.person(id) } else { None };
        person.map_or(0, |person| {
            let entries = self.profiles.entries(self.persons[person.index()].profile);
            delta::keys(entries, self.marks.get(&person))
        })
    }

    /// What is known of a person's keys, but for its relative changes.
    fn known(&self, person: PersonNo) -> Known {
        Known {
            entries: self.profiles.entries(self.persons[person.index()].profile).to_vec(),
            marks: self.marks.get(&person).cloned().unwrap_or_default(),
            deltas: DeltasOf::new(),
        }
    }

    /// Takes out all that is known of a person's keys; [`State::put_known`] gives it back, to this person or to another.
    fn take_known(&mut self, person: PersonNo) -> Known {
        Known {
            entries: self.profiles.entries(self.persons[person.index()].profile).to_vec(),
            marks: self.marks.remove(&person).unwrap_or_default(),
            deltas: self.deltas.remove(&person).unwrap_or_default(),
        }
    }

    fn put_known(&mut self, person: PersonNo, Known { entries, marks, deltas }: Known) {
        let profile = self.persons[person.index()].profile;
        self.persons[person.index()].profile = self.profiles.replaced(profile, &entries);
        if !marks.is_empty() {
            self.marks.insert(person, marks);
        }
        if !deltas.is_empty() {
            self.deltas.insert(person, deltas);
        }
    }

    /// Bytes held by links, persons and devices, counting capacity: (per id, per person).
    pub fn memory(&self) -> (usize, usize) {
        let persons = self.persons.capacity() * size_of::<Person>();
        let devices = self.devices.capacity() * size_of::<DeviceState>();
        let generations = self.generations.memory();
        let marks: usize = self.marks.values().map(|marks| 48 + marks.len() * size_of::<delta::Mark>()).sum();
        let deltas: usize = self.deltas.values().flat_map(|deltas| deltas.values()).map(Deltas::memory).sum();
        let profiles = self.profiles.memory() + marks + deltas;
        (
            self.links.memory() + self.kinds.memory() + self.shared.memory(),
            persons + profiles + devices + generations,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DistinctId, Ledger, Operation, Tenant};

    #[test]
    fn memory_grows_with_ids_and_persons() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let time = Timestamp::from_micros(5).unwrap();
        let batch: Vec<Operation> = (0..4_096)
            .map(|number| Operation::properties(time, DistinctId::new(format!("id-{number}")).unwrap()))
            .map(|operation| operation.set("plan", "pro").unwrap())
            .collect();
        drop(ledger.append_batch(&batch).unwrap());
        let (per_id, per_person) = ledger.reader().state().memory();
        let (id, person) = (size_of::<links::Leaf>() + size_of::<links::Branch>(), size_of::<Person>());
        // What is held, and as much again at most in room to grow; slots count with the ids, profiles with the persons.
        assert!((4_096 * (id + size_of::<links::Slot>())..=4 * 4_096 * id).contains(&per_id), "{per_id}");
        assert!(
            (4_096 * (person + size_of::<Property>())..=4 * 4_096 * person).contains(&per_person),
            "{per_person}"
        );
    }
}
