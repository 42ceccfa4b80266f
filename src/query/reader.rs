//! The reader: a log with everything needed to answer from it. Both [`crate::Ledger`] and [`crate::ReadOnlyLedger`] have one.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::fold::replay::{Replay, Step};
use crate::fold::{Absences, Erasures, EventCounts, PersonIdBasis, PersonNo, PersonView, Standing, State};
use crate::log::body::{Body, DeviceNo, IdNo, KeyNo, NameNo};
use crate::log::chain::Checkpoint;
use crate::log::kind::Kind;
use crate::log::record::Row;
use crate::model::id::{
    DeviceId, DistinctId, EventName, LedgerId, OperationId, PersonId, PropertyKey, Seq, Tenant,
};
use crate::model::policy::Policy;
use crate::query::answer::{Profile, PropertyAnswer};
use crate::query::proof::Proof;
use crate::store::dictionary::{Dictionaries, PersonIds, Seen};
use crate::store::layout::Identity;
use crate::store::segments::{Fault, FaultKind, Log, Walk};
use crate::store::storage::Storage;

/// A log, the state it folds to, and the texts of its numbers.
#[derive(Debug)]
pub struct Reader {
    pub(crate) identity: Identity,
    pub(crate) log: Log,
    pub(crate) replay: Replay,
    pub(crate) dictionaries: Dictionaries,
    pub(crate) seen: Seen,
    /// The snapshot that it continued from, and how much of that was held against the log.
    pub(crate) proof: Proof,
    /// From public ids to persons; grows when it is asked.
    person_ids: Mutex<PersonIds>,
}

/// What folding a log found.
pub(crate) struct Folded {
    pub(crate) walked: Result<(), Fault>,
    /// The first payload item that is missing though nothing erased it.
    pub(crate) missing: Option<Fault>,
    /// Items that are there and whose keys were destroyed, though nothing here erased them: this log is older than its keys.
    pub(crate) destroyed: Vec<Destroyed>,
}

/// A record whose item has no key any more.
#[derive(Clone, Debug)]
pub(crate) struct Destroyed {
    pub(crate) row: Row,
    /// The number of what it defines, id or device.
    pub(crate) id: Option<IdNo>,
    pub(crate) device: Option<DeviceNo>,
    /// For an operation: when it happened, by the sender's clock, in microseconds.
    pub(crate) time: Option<i64>,
}

impl Destroyed {
    fn of(step: Step<'_>) -> Destroyed {
        let row = *step.record.row;
        let last = |count: usize| count as u32 - 1; // MAX_RECORDS bounds it
        let id = (row.kind == Kind::DefineId).then(|| IdNo(last(step.state.ids().len())));
        let device = (row.kind == Kind::DefineDevice).then(|| DeviceNo(last(step.state.devices().len())));
        let time = row.is_operation().then(|| step.record.time());
        Destroyed { row, id, device, time }
    }
}

/// Who an id is (D10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The person's public id.
    pub person_id: PersonId,
    /// Whether there is no such person yet: the id was seen only propertyless, and this is who it would found (C1).
    pub implied: bool,
}

/// Bytes held in memory, index by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Links, proof forest, classes and event counts: resolve, as-of and explain.
    pub links: usize,
    /// Persons, profiles and devices.
    pub persons: usize,
    /// The texts of ids themselves.
    pub id_texts: usize,
    /// From texts of ids to numbers and back.
    pub id_index: usize,
    /// Texts and index of devices, property keys and event names.
    pub other_texts: usize,
    /// Operation ids, for duplicates.
    pub operation_ids: usize,
    /// From record numbers to places in the log.
    pub places: usize,
    /// From ids and devices to the records that name them: history, why-not, retract and split.
    pub postings: usize,
}

impl MemoryUse {
    /// Everything but the texts of ids.
    pub fn beyond_id_texts(&self) -> usize {
        let indexes = self.id_index + self.other_texts + self.operation_ids + self.places + self.postings;
        self.links + self.persons + indexes
    }
}

/// D11: the id of a person whose texts are gone.
pub(crate) fn opaque_id(ledger: LedgerId, founding: u64, split: Option<Seq>) -> PersonId {
    let split = split.map_or_else(String::new, |seq| format!(":{seq}"));
    let name = format!("{ledger}:{founding}{split}");
    PersonId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()))
}

impl Reader {
    /// Reads the list of segments; nothing is folded yet.
    pub(crate) fn begin(storage: Arc<dyn Storage>, identity: Identity) -> std::io::Result<Reader> {
        Ok(Reader::of(Log::new(storage)?, identity))
    }

    /// Of a log of which nothing is folded yet.
    pub(crate) fn of(log: Log, identity: Identity) -> Reader {
        let replay = identity.replay();
        let (dictionaries, seen) = (Dictionaries::default(), Seen::default());
        let (proof, person_ids) = (Proof::default(), Mutex::default());
        Reader { identity, log, replay, dictionaries, seen, proof, person_ids }
    }

    /// What this reader answers from, as it is now, for another thread: a writer of the ledger continues meanwhile, and this reader stays as
    /// it is. [`SharedLedger::detached`](crate::SharedLedger::detached) tells what it costs.
    ///
    /// It does not outlast an erasure: whatever it reads in the log is then a [`Fault`] that says so. What it holds in memory, it still
    /// tells, what was erased included; drop it.
    #[must_use]
    pub fn detached(&self) -> Reader {
        Reader {
            identity: self.identity.clone(),
            log: self.log.detached(),
            replay: self.replay.detached(),
            dictionaries: self.dictionaries.clone(),
            seen: self.seen.clone(),
            proof: self.proof.clone(),
            person_ids: Mutex::new(self.person_ids().clone()),
        }
    }

    /// Folds the log from its beginning; see [`Log::walk`]. Gives the first fault, and apart from it the first payload item that
    /// is missing though nothing up to there erased it: whether that matters depends on what the fault is.
    pub(crate) fn fold(&mut self, walk: Walk<'_>) -> Folded {
        let Reader { log, replay, dictionaries, seen, .. } = self;
        let mut wrong = None;
        let mut absences = Absences::default();
        let mut destroyed = Vec::new();
        let (mut end, progress) = (None, walk.progress);
        let mut passed = |bytes| {
            end = Some(bytes);
            progress(bytes);
        };
        let walk = Walk { progress: &mut passed, ..walk };
        let walked = log.walk(replay, walk, |step| {
            if step.record.row.is_destroyed() {
                destroyed.push(Destroyed::of(step));
            } else if step.record.is_erased() {
                absences.see(step.record.row, step.state.erasures());
            }
            let found = index_texts(dictionaries, seen, step);
            wrong = wrong.into_iter().chain(found).min();
        });
        if let Some(bytes) = end {
            log.go_on_behind(bytes);
        }
        let again = settle_texts(dictionaries, replay.state());
        let wrong = wrong.into_iter().chain(again).min().map(u64::from);
        dictionaries.compact();
        seen.settle();
        let in_log =
            |records, kind| Fault { file: crate::store::layout::LOG.to_owned(), offset: 0, records, kind };
        let missing = absences.unlicensed(replay.state().erasures());
        let missing = missing.map(|seq| in_log(seq, FaultKind::PayloadMissing { seq }));
        let walked = wrong.map_or(walked, |seq| Err(in_log(seq, FaultKind::Text { seq })));
        destroyed.retain(|gone: &Destroyed| replay.state().erasures().of(&gone.row).is_none());
        Folded { walked, missing, destroyed }
    }

    /// Forgets what a record erased; of any other nothing.
    pub(crate) fn forget(&mut self, body: &Body) {
        self.dictionaries.forget(body);
        self.log.forget_window();
        self.forget_names();
    }

    fn person_ids(&self) -> MutexGuard<'_, PersonIds> {
        self.person_ids.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Forgets what persons are called: an erasure may have renamed them.
    pub(crate) fn forget_names(&mut self) {
        *self.person_ids.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()) = PersonIds::default();
    }

    /// The ledger's id.
    pub fn ledger_id(&self) -> LedgerId {
        self.identity.ledger
    }

    /// Whether its texts, values and snapshots are kept encrypted; see the feature `encryption`.
    pub fn is_sealed(&self) -> bool {
        self.identity.sealed
    }

    /// Whose ledger it is.
    pub fn tenant(&self) -> &Tenant {
        &self.identity.tenant
    }

    /// How many records there are, and the hash that ends them. Kept elsewhere, it proves later that nothing was changed.
    pub fn checkpoint(&self) -> Checkpoint {
        self.replay.chain().checkpoint()
    }

    /// The state, in numbers.
    pub fn state(&self) -> &State {
        self.replay.state()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        self.state().policy()
    }

    /// Bytes of log on disk.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Bytes held in memory.
    pub fn memory(&self) -> MemoryUse {
        let (links, persons) = self.state().memory();
        let (id_texts, id_index) = self.dictionaries.ids.memory();
        let others = [&self.dictionaries.devices, &self.dictionaries.keys, &self.dictionaries.names];
        let other_texts = others.iter().map(|dictionary| dictionary.memory()).map(|(a, b)| a + b).sum();
        let (operation_ids, (places, postings)) = (self.seen.memory(), self.log.memory());
        MemoryUse { links, persons, id_texts, id_index, other_texts, operation_ids, places, postings }
    }

    // -- ids -------------------------------------------------------------------------------------------------------

    /// The number of an id, if it was ever written.
    pub fn id_no(&self, distinct_id: &str) -> Option<IdNo> {
        self.dictionaries.ids.find(distinct_id).map(IdNo)
    }

    /// The number of a device, if it was ever written.
    pub fn device_no(&self, device_id: &str) -> Option<DeviceNo> {
        self.dictionaries.devices.find(device_id).map(DeviceNo)
    }

    /// The text of an id; `None` once erased, or if there is no such number.
    pub fn id_text(&self, id: IdNo) -> Option<&str> {
        self.dictionaries.ids.text(id.0)
    }

    /// The text of a device's id; `None` once erased, or if there is no such number.
    pub fn device_text(&self, device: DeviceNo) -> Option<&str> {
        self.dictionaries.devices.text(device.0)
    }

    /// The key of a number; `None` once erased, or if there is no such number.
    pub fn key_text(&self, key: KeyNo) -> Option<&str> {
        self.dictionaries.keys.text(key.0)
    }

    pub(crate) fn id_name(&self, id: IdNo) -> String {
        self.id_text(id).map_or_else(|| format!("$erased:{}", id.0), str::to_owned)
    }

    pub(crate) fn device_name(&self, device: DeviceNo) -> String {
        self.device_text(device).map_or_else(|| format!("$erased:{}", device.0), str::to_owned)
    }

    pub(crate) fn key_name(&self, key: KeyNo) -> String {
        self.key_text(key).map_or_else(|| format!("$erased:{}", key.0), str::to_owned)
    }

    /// The bytes of an id's text; none if it is erased.
    pub(crate) fn id_bytes(&self, id: IdNo) -> &[u8] {
        self.dictionaries.ids.text_bytes(id.0)
    }

    pub(crate) fn event_name(&self, name: NameNo) -> Option<&str> {
        self.dictionaries.names.text(name.0)
    }

    /// The person an id belongs to; `None` if the id is unknown or was seen only propertyless.
    ///
    /// This is the hot question: one look-up and a short climb, no hashing of person ids.
    pub fn person(&self, distinct_id: &str) -> Option<PersonNo> {
        self.state().person(self.id_no(distinct_id)?)
    }

    /// The public id of a person (D10, D11), or of the one that it became.
    pub fn person_id(&self, person: PersonNo) -> PersonId {
        let state = self.state();
        let survivor = state.survivor(person);
        if state.is_retired(survivor) {
            return self.id_called(state.implied(state.founding(survivor))); // no person now: the implied one
        }
        self.own_person_id(survivor, state)
    }

    /// The public id under which a person is known now, whatever became of it. `state` knows the person; this reader's does
    /// too, unless it is behind that.
    pub(crate) fn own_person_id(&self, person: PersonNo, state: &State) -> PersonId {
        self.id_called(self.called(person, state))
    }

    /// What the public id of a person is made of now; `state` as in [`Reader::own_person_id`].
    pub(crate) fn called(&self, person: PersonNo, state: &State) -> PersonIdBasis {
        let known = (person.0 as usize) < self.state().persons_founded();
        if known { self.state() } else { state }.called(person)
    }

    /// D10 and D11: who is called what.
    pub(crate) fn id_called(&self, called: PersonIdBasis) -> PersonId {
        let text = |id: IdNo| self.id_text(id);
        match called {
            PersonIdBasis::Founding(id) => text(id).map(|text| PersonId::founded_by(self.tenant(), text)),
            PersonIdBasis::At(id, seq) => text(id).map(|text| PersonId::founded_at(self.tenant(), text, seq)),
            PersonIdBasis::Erased(id, split) => Some(opaque_id(self.ledger_id(), id.0.into(), split)),
        }
        .unwrap_or_else(|| opaque_id(self.ledger_id(), called.id().0.into(), None))
    }

    /// Who an id is; `None` if it was never written.
    pub fn resolve(&self, distinct_id: &str) -> Option<Resolution> {
        Some(self.resolution(self.id_no(distinct_id)?, None))
    }

    /// Who we thought an id was right after record `seq`; `None` if it was not yet written then.
    pub fn person_as_of(&self, distinct_id: &str, seq: Seq) -> Option<Resolution> {
        let id = self.id_no(distinct_id)?;
        (self.state().defined_by(id) <= seq).then(|| self.resolution(id, Some(seq)))
    }

    pub(crate) fn resolution(&self, id: IdNo, as_of: Option<Seq>) -> Resolution {
        let person = match as_of {
            None => self.state().person(id),
            Some(seq) => self.state().person_as_of(id, seq),
        };
        let person_id = match person {
            Some(person) => self.own_person_id(person, self.state()),
            None => self.id_called(self.state().implied(id)),
        };
        Resolution { person_id, implied: person.is_none() }
    }

    // -- persons ---------------------------------------------------------------------------------------------------

    /// The live person that a public person id stands for now: itself, or the one that absorbed it (D7). `None` if no person
    /// ever had this id.
    ///
    /// The first question costs a look at every person; later ones only look at those founded since.
    pub fn survivor_of(&self, person_id: PersonId) -> Option<PersonId> {
        Some(self.became(person_id)?.person_id)
    }

    /// What became of the person that has or had a public person id; `None` if no person ever had it.
    ///
    /// Cost: as [`Reader::survivor_of`].
    pub fn became(&self, person_id: PersonId) -> Option<PersonStatus> {
        let person = self.person_of(person_id)?;
        Some(PersonStatus { person_id: self.person_id(person), retracted: self.state().is_retired(person) })
    }

    /// The person, live or absorbed, that has or had a public id.
    pub(crate) fn person_of(&self, person_id: PersonId) -> Option<PersonNo> {
        let mut index = self.person_ids();
        let founded = self.state().persons_founded() as u32; // MAX_RECORDS bounds it
        for number in index.len()..founded {
            index.push(self.ids_of_person(PersonNo(number)));
        }
        let found = index.candidates(person_id).map(PersonNo);
        let named = found.filter(|person| self.ids_of_person(*person).any(|id| id == person_id));
        // Of several generations of one person the last one speaks.
        named.max()
    }

    /// The public id of a person, and the opaque one that it has, had or may get once its founding id is erased (D11).
    fn ids_of_person(&self, person: PersonNo) -> impl Iterator<Item = PersonId> {
        let (state, founding) = (self.state(), self.state().founding(person));
        let opaque = state.id_erased_by(founding).map(|_| {
            let split = state.origin(person).key().map(|seq| Seq(seq.into()));
            opaque_id(self.ledger_id(), founding.0.into(), split)
        });
        [self.own_person_id(person, state)].into_iter().chain(opaque)
    }

    /// Everything known of the person an id belongs to; `None` if it has none.
    ///
    /// # Errors
    /// [`Fault`] when the values cannot be read back from the log.
    pub fn profile(&self, distinct_id: &str) -> Result<Option<Profile>, Fault> {
        let Some(person) = self.person(distinct_id) else { return Ok(None) };
        let mut profiles = self.profiles(vec![self.state().view(person)])?;
        Ok(profiles.pop())
    }

    /// Everything known of the live person that a public person id stands for now; `None` if it stands for none.
    ///
    /// Cost: as [`Reader::survivor_of`].
    ///
    /// # Errors
    /// As [`Reader::profile`].
    pub fn profile_of(&self, person_id: PersonId) -> Result<Option<Profile>, Fault> {
        let person = self.person_of(person_id).map(|person| self.state().survivor(person));
        let Some(person) = person.filter(|person| !self.state().is_retired(*person)) else { return Ok(None) };
        Ok(self.profiles(vec![self.state().view(person)])?.pop())
    }

    /// All persons, in the order of their founding; each is read when it is asked for.
    pub fn persons(&self) -> Persons<'_> {
        Persons { reader: self, views: Box::new(self.state().persons()), ready: Vec::new().into_iter() }
    }

    pub(crate) fn profiles(&self, views: Vec<PersonView<'_>>) -> Result<Vec<Profile>, Fault> {
        let wanted: Vec<Standing<'_>> = views.iter().flat_map(PersonView::standing).collect();
        let mut values = self.values(&wanted)?.into_iter();
        let profile = |view: PersonView<'_>| {
            let properties = values.by_ref().take(view.properties.len()).collect();
            let counts = self.state().events_of(view.number);
            let ids = self.state().ids_of(view.number);
            self.profile_with(view, ids, counts, self.person_id(view.number), properties)
        };
        Ok(views.into_iter().map(profile).collect())
    }

    /// A person's profile, from what is known of it and the values of its properties, in their order.
    pub(crate) fn profile_with(
        &self,
        view: PersonView<'_>,
        ids: Vec<IdNo>,
        counts: EventCounts,
        person_id: PersonId,
        values: Vec<PropertyAnswer>,
    ) -> Profile {
        let erased = |id: &IdNo| self.state().id_erased_by(*id);
        let all_erased = ids.iter().all(|id| erased(id).is_some());
        let keys = view.properties.iter().map(|property| self.key_name(property.key));
        Profile {
            erased_by: ids.iter().filter_map(erased).max().filter(|_| all_erased),
            properties: keys.zip(values).collect(),
            person_id,
            distinct_ids: ids.into_iter().map(|id| self.id_name(id)).collect(),
            is_identified: view.identified_by.is_some(),
            created_at: view.created_at,
            events: counts.events,
            identified_events: counts.identified,
            founded: view.founded,
            identified_by: view.identified_by,
        }
    }

    /// The record of an operation, by its id.
    pub(crate) fn recorded(&self, id: OperationId) -> Result<Option<Seq>, Fault> {
        recorded(&self.log, self.state().erasures(), &self.seen, id)
    }
}

/// What became of a person, by its public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PersonStatus {
    /// Whom the id stands for now: the person itself, the one that absorbed it (D7), or the owner of its founding id now, or the
    /// person that this id would found (D11).
    pub person_id: PersonId,
    /// Whether its founding was retracted (H1): by what the log means now, there never was such a person.
    pub retracted: bool,
}

/// Persons, one after the other; values are read for many of them at a time.
pub struct Persons<'a> {
    reader: &'a Reader,
    views: Box<dyn Iterator<Item = PersonView<'a>> + 'a>,
    ready: std::vec::IntoIter<Profile>,
}

impl std::fmt::Debug for Persons<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Persons").finish_non_exhaustive()
    }
}

/// Persons whose values are read together: enough that most frames are read once, few enough to stay small.
pub(crate) const PERSONS_AT_A_TIME: usize = 16_384;

impl Iterator for Persons<'_> {
    type Item = Result<Profile, Fault>;

    fn next(&mut self) -> Option<Result<Profile, Fault>> {
        if let Some(profile) = self.ready.next() {
            return Some(Ok(profile));
        }
        let views: Vec<PersonView<'_>> = self.views.by_ref().take(PERSONS_AT_A_TIME).collect();
        if views.is_empty() {
            return None;
        }
        match self.reader.profiles(views) {
            Ok(profiles) => {
                self.ready = profiles.into_iter();
                self.ready.next().map(Ok)
            }
            Err(fault) => Some(Err(fault)),
        }
    }
}

/// The record under an operation id.
pub(crate) fn recorded(
    log: &Log,
    erasures: &Erasures,
    seen: &Seen,
    id: OperationId,
) -> Result<Option<Seq>, Fault> {
    for seq in seen.candidates(id) {
        let seq = Seq(seq.into());
        if log.window(seq, erasures)?.checked(seq)?.operation_id() == Some(id) {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Takes a record's texts and operation id into the shell's tables: ids of both kinds are only found after [`settle_texts`] and
/// [`Seen::settle`]. Gives the records whose texts are out of bounds (B1) or not new, as far as that is known by now.
pub(crate) fn index_texts(dictionaries: &mut Dictionaries, seen: &mut Seen, step: Step<'_>) -> Vec<u32> {
    type Check = fn(&str) -> Result<(), crate::model::id::IdError>;
    let row = step.record.row;
    let (dictionary, check): (_, Check) = match row.kind {
        Kind::DefineId => (&mut dictionaries.ids, DistinctId::check),
        Kind::DefineDevice => (&mut dictionaries.devices, DeviceId::check),
        Kind::DefineKey => (&mut dictionaries.keys, PropertyKey::check),
        Kind::DefineName => (&mut dictionaries.names, EventName::check),
        Kind::Erase => {
            let again = settle_texts(dictionaries, step.state); // before one of them is forgotten
            dictionaries.forget(&step.record.body());
            return again;
        }
        _ => {
            if let Some(id) = step.record.operation_id() {
                seen.note(id, row.seq);
            }
            return Vec::new();
        }
    };
    let is_good = match step.record.item().map(std::str::from_utf8) {
        Some(Ok(text)) if check(text).is_ok() && row.kind == Kind::DefineId => {
            dictionary.note(text);
            true
        }
        Some(Ok(text)) if check(text).is_ok() => dictionary.push_new(text),
        other => {
            dictionary.push(None);
            other.is_none() // erased
        }
    };
    if is_good { Vec::new() } else { vec![row.seq] }
}

/// Takes up the texts of ids that were noted; gives the records of those that have a number already.
pub(crate) fn settle_texts(dictionaries: &mut Dictionaries, state: &State) -> Vec<u32> {
    let again = dictionaries.ids.settle().into_iter();
    again.map(|id| state.defined_by(IdNo(id)).0 as u32).collect() // MAX_RECORDS bounds it
}
