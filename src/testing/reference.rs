//! The reference model: the rules of `docs/semantics.md` folded as plainly as can be, with sets and maps of texts.
//!
//! It shares the vocabulary with the engine and nothing else: no numbers, no forest, no components. It keeps what was said, and
//! whenever something is taken back it folds everything else again from the beginning. A newcomer should believe it in ten
//! minutes. It is slow, and that is fine.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::OperationId;
use crate::operation::{
    Changes, Dialect, Operation, PersonProfiles, Processing, Request, Source, SplitMode, Target, Who,
};
use crate::policy::{FirstMention, IdClass, Policy, Survivor};
use crate::time::Timestamp;
use crate::value::Value;

/// What the operations so far meant.
#[derive(Clone, Debug)]
pub struct Reference {
    policy: Policy,
    /// Everything that was recorded, in order, devices resolved.
    said: Vec<Said>,
    /// What all that comes to.
    world: World,
    /// B4: decided once, whatever is taken back later.
    classes: Classes,
    /// G4: a retracted operation still counts as seen.
    seen: BTreeMap<OperationId, Seen>,
    /// F3: what each device last asked.
    last_calls: BTreeMap<String, (String, Changes)>,
    /// Every public identity that there ever was, in the order of their founding.
    known: Vec<Identity>,
    /// Devices in the order in which they were first mentioned.
    device_ids: Vec<String>,
    /// Devices that are not called like the id they began with, because both texts are erased: by that id.
    devices_by_id: BTreeMap<String, String>,
    /// The record that the next operation, or erasure, is.
    seq: u64,
    /// How much had been recorded at the first erasure.
    first_erasure: Option<usize>,
    /// What erased ids are called, and the first erasure of each.
    erased: BTreeMap<String, u64>,
    /// D11: the id that a person is called after since the one that founded it was erased, and the erasure.
    called_after: BTreeMap<Identity, (String, u64)>,
}

/// What is left of the text of an id or device: its place in the order in which they were first mentioned.
fn erased_name(place: usize) -> String {
    format!("$erased:{place}")
}

/// Stands where a value was erased.
pub fn erased_value() -> Value {
    Value::from("$erased")
}

/// What a person's public id is made of (D10, D11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// D10.
    Founding(String),
    /// D11: a text and the place of the operation that founded it.
    At(String, usize),
    /// D11: a text and the record of an erasure.
    After(String, u64),
    /// D11: only the number of the id that founded it is left, and the place of the split that did, if one did.
    Erased(u32, Option<usize>),
}

/// What a person's public id is made of: its founding id, and by which operation if a split founded it (D11).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The founding id.
    pub founding: String,
    /// The split, as the place of an operation among all that were recorded.
    pub split: Option<usize>,
}

/// A person, live or absorbed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferencePerson {
    /// Who it is.
    pub identity: Identity,
    /// All its ids; empty once absorbed or gone.
    pub ids: BTreeSet<String>,
    /// Its properties.
    pub properties: BTreeMap<String, Value>,
    /// D1.
    pub is_identified: bool,
    /// D7.
    pub created_at: Timestamp,
    /// The place of the operation that founded it.
    founded: usize,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceDevice {
    /// For whom it speaks.
    pub current: String,
    /// Whom dialect `core` links next.
    pub anonymous: String,
    /// Whether somebody identified.
    pub identified: bool,
    /// F8.
    pub profiled: bool,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceEvent {
    /// The id it was captured under.
    pub distinct_id: String,
    /// G3.
    pub full: bool,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceOutcome {
    /// Recorded; the rule that refused it, if one did.
    Recorded(Option<&'static str>),
    /// G4.
    Duplicate,
    /// G4.
    Conflict,
    /// F3.
    Ignored,
}

/// What was recorded.
#[derive(Clone, Debug)]
enum Said {
    Policy(Policy),
    /// A device, and the id it begins with.
    Device(String, String),
    Operation(Asked),
}

/// An operation as it is recorded: for whom it speaks is decided (F2, F3, F8).
#[derive(Clone, Debug)]
struct Asked {
    verb: Verb,
    id: String,
    device: Option<String>,
    on: bool,
    changes: Changes,
    time: Timestamp,
}

#[derive(Clone, Debug)]
enum Verb {
    Capture(String),
    Identify(Other),
    Alias(Other),
    Merge(Other),
    Set,
    Switch,
    Reset { also: Option<String> },
    Retract(usize),
    Split { ids: BTreeSet<String>, together: bool },
}

/// The class of each id, decided when it was first written (B4), and the order in which they were.
#[derive(Clone, Debug, Default)]
struct Classes {
    of: BTreeMap<String, IdClass>,
    order: Vec<String>,
}

impl Classes {
    fn number(&mut self, id: &str) {
        if !self.order.iter().any(|known| known == id) {
            self.order.push(id.to_owned());
        }
    }

    /// These ids in the order in which they were first written.
    fn ordered(&self, ids: &BTreeSet<String>) -> Vec<String> {
        self.order.iter().filter(|id| ids.contains(*id)).cloned().collect()
    }
}

/// S as text, or a text that B1 bars.
#[derive(Clone, Debug)]
enum Other {
    Nothing,
    Unstorable,
    Id(String),
}

impl Other {
    fn of(source: Option<&Source>) -> Other {
        match source {
            None => Other::Nothing,
            Some(Source::Unstorable) => Other::Unstorable,
            Some(Source::Id(id)) => Other::Id(id.as_str().to_owned()),
        }
    }
}

impl Reference {
    /// Before the first operation.
    pub fn new(policy: Policy) -> Reference {
        let mut reference = Reference {
            policy: policy.clone(),
            said: Vec::new(),
            world: World::new(policy.clone()),
            classes: Classes::default(),
            seen: BTreeMap::new(),
            last_calls: BTreeMap::new(),
            known: Vec::new(),
            device_ids: Vec::new(),
            devices_by_id: BTreeMap::new(),
            seq: 0,
            first_erasure: None,
            erased: BTreeMap::new(),
            called_after: BTreeMap::new(),
        };
        reference.say(Said::Policy(policy));
        reference
    }

    /// A3: another policy holds from here on. What was decided stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy.clone();
        self.say(Said::Policy(policy));
    }

    /// F1: a device is mentioned, before it speaks; `id` is the id it begins with, which has the same text unless that is erased.
    pub fn meet_device(&mut self, device: &str, id: &str) {
        if self.world.devices.contains_key(device) {
            return;
        }
        self.mention(id, FirstMention::Device);
        if device != id {
            self.devices_by_id.insert(id.to_owned(), device.to_owned());
        }
        self.device_ids.push(device.to_owned());
        self.say(Said::Device(device.to_owned(), id.to_owned()));
    }

    /// The next operation, or erasure, is this record. Only ids of D11 depend on it.
    pub fn at(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// An id is mentioned for the first time, before anybody speaks of it; its class too, if the text does not tell any more.
    pub fn meet_id(&mut self, id: &str, class: Option<IdClass>) {
        self.classes.number(id);
        if let Some(class) = class {
            self.classes.of.entry(id.to_owned()).or_insert(class);
        }
    }

    // -- what is erased, rule H3 ------------------------------------------------------------------------------------

    /// H3: the texts of these ids, and the values they brought, are forgotten; with `keys` only the values of those keys.
    pub fn erase(&mut self, ids: &BTreeSet<String>, keys: &BTreeSet<String>) {
        for said in &mut self.said {
            let Said::Operation(Asked { id, changes, .. }) = said else { continue };
            if ids.contains(id) {
                for (key, value) in changes.set.iter_mut().chain(&mut changes.set_once) {
                    if keys.is_empty() || keys.contains(key.as_str()) {
                        *value = erased_value();
                    }
                }
            }
        }
        for seen in self.seen.values_mut() {
            seen.erase(ids, keys);
        }
        self.seen.retain(|_, seen| !seen.is_forgotten);
        self.first_erasure.get_or_insert(self.said.len());
        let mut gone = BTreeSet::new();
        if keys.is_empty() {
            let names = |all: &[String], id: &str| all.iter().position(|known| known == id).map(erased_name);
            let ids: BTreeMap<String, (Option<String>, Option<String>)> = ids
                .iter()
                .map(|id| (id.clone(), (names(&self.classes.order, id), names(&self.device_ids, id))))
                .collect();
            self.rename(&ids);
            gone = ids.into_values().filter_map(|(id, _)| id).collect();
        }
        self.refold();
        self.call_after_others(gone);
    }

    /// Puts names in the place of texts, everywhere: of an id, and of the device that is called like it.
    fn rename(&mut self, names: &BTreeMap<String, (Option<String>, Option<String>)>) {
        let id_name =
            |id: &String| names.get(id).and_then(|(id, _)| id.clone()).unwrap_or_else(|| id.clone());
        let device_name =
            |id: &String| names.get(id).and_then(|(_, name)| name.clone()).unwrap_or_else(|| id.clone());
        let in_place = |id: &mut String| *id = id_name(id);
        for said in &mut self.said {
            match said {
                Said::Policy(_) => {}
                Said::Device(device, id) => {
                    *device = device_name(device);
                    in_place(id);
                }
                Said::Operation(Asked { verb, id, device, .. }) => {
                    in_place(id);
                    device.iter_mut().for_each(|device| *device = device_name(device));
                    match verb {
                        Verb::Identify(Other::Id(other))
                        | Verb::Alias(Other::Id(other))
                        | Verb::Merge(Other::Id(other)) => in_place(other),
                        Verb::Reset { also: Some(also) } => *also = device_name(also),
                        Verb::Split { ids, .. } => *ids = ids.iter().map(id_name).collect(),
                        _ => {}
                    }
                }
            }
        }
        let renamed =
            |identity: &Identity| Identity { founding: id_name(&identity.founding), ..identity.clone() };
        self.known = self.known.iter().map(renamed).collect();
        self.called_after = std::mem::take(&mut self.called_after)
            .into_iter()
            .map(|(identity, (id, seq))| (renamed(&identity), (id_name(&id), seq)))
            .collect();
        self.classes.of = self.classes.of.iter().map(|(id, class)| (id_name(id), *class)).collect();
        self.classes.order.iter_mut().for_each(in_place);
        self.device_ids.iter_mut().for_each(|id| *id = device_name(id));
        self.last_calls = std::mem::take(&mut self.last_calls)
            .into_iter()
            .map(|(id, call)| (device_name(&id), call))
            .collect();
    }

    /// D11: who was called after an erased id and lives is called after the next of theirs.
    fn call_after_others(&mut self, gone: BTreeSet<String>) {
        for id in &gone {
            self.erased.entry(id.clone()).or_insert(self.seq);
        }
        for person in &self.world.persons {
            let called = self.called_after.get(&person.identity);
            if gone.contains(called.map_or(&person.identity.founding, |(id, _)| id)) {
                let ids = self.classes.ordered(&person.ids);
                match ids.into_iter().find(|id| !self.erased.contains_key(id)) {
                    Some(next) => self.called_after.insert(person.identity.clone(), (next, self.seq)),
                    None => self.called_after.remove(&person.identity),
                };
            }
        }
    }

    /// D11, where the component of an id was folded anew: who is founded by an erased id is called as before, if that id is still
    /// theirs, or else after the lowest one that is left.
    fn call_anew(&mut self, id: &str) {
        let component = self.component(id);
        for person in self.world.persons.iter().filter(|person| !person.ids.is_disjoint(&component)) {
            let Some(erase) = self.erased.get(&person.identity.founding) else { continue };
            let called = self.called_after.get(&person.identity);
            if called.is_some_and(|(id, _)| person.ids.contains(id)) {
                continue;
            }
            let ids = self.classes.ordered(&person.ids);
            match ids.into_iter().find(|id| !self.erased.contains_key(id)) {
                Some(next) => self.called_after.insert(person.identity.clone(), (next, *erase)),
                None => self.called_after.remove(&person.identity),
            };
        }
    }

    /// The ids that records connect with an id, by naming them together.
    fn component(&self, id: &str) -> BTreeSet<String> {
        let mut component = BTreeSet::from([id.to_owned()]);
        loop {
            let size = component.len();
            for names in self.said.iter().map(Said::names) {
                if names.iter().any(|name| component.contains(name)) {
                    component.extend(names);
                }
            }
            if component.len() == size {
                return component;
            }
        }
    }

    /// All ids of the person that an id belongs to; of an id without person, the id alone.
    pub fn ids_with(&self, id: &str) -> BTreeSet<String> {
        let person = self.world.person(id);
        person
            .map_or_else(|| BTreeSet::from([id.to_owned()]), |person| self.world.persons[person].ids.clone())
    }

    /// What a person's public id is made of.
    pub fn called(&self, identity: &Identity) -> Called {
        if let Some((id, seq)) = self.called_after.get(identity) {
            return Called::After(id.clone(), *seq);
        }
        let founding = identity.founding.clone();
        if self.erased.contains_key(&founding) {
            let place = self.classes.order.iter().position(|id| *id == founding).unwrap_or_default();
            return Called::Erased(place as u32, identity.split);
        }
        if let Some(place) = identity.split {
            return Called::At(founding, place);
        }
        let founded = self.world.persons.iter().rfind(|person| person.identity == *identity);
        match (founded, self.first_erasure) {
            (Some(person), Some(first)) if person.founded >= first => Called::At(founding, person.founded),
            _ => Called::Founding(founding),
        }
    }

    /// The live persons, in the order of their founding.
    pub fn persons(&self) -> impl Iterator<Item = &ReferencePerson> {
        let mut live: Vec<_> = self.world.persons.iter().filter(|person| !person.ids.is_empty()).collect();
        live.sort_by_key(|person| person.founded);
        live.into_iter()
    }

    /// The events, in the order of the log.
    pub fn events(&self) -> &[ReferenceEvent] {
        &self.world.events
    }

    /// The devices, by id.
    pub fn devices(&self) -> &BTreeMap<String, ReferenceDevice> {
        &self.world.devices
    }

    /// Every identity that a person ever had.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.known.iter()
    }

    /// Whether the model knows what every person was ever called: not if something was taken back or parted beside erasures.
    pub(crate) fn knows_old_names(&self) -> bool {
        let refolds = |said: &Said| {
            matches!(said, Said::Operation(Asked { verb: Verb::Retract(_) | Verb::Split { .. }, .. }))
        };
        self.first_erasure.is_none() || !self.said.iter().any(refolds)
    }

    /// Who the person of an identity is now: the one that absorbed it (D7), or, if it was never founded after all, the one of
    /// its founding id, or the one that this would found (D11).
    pub fn became(&self, identity: &Identity) -> Identity {
        let persons = &self.world.persons;
        let named = |person: &ReferencePerson| person.identity == *identity;
        // What a split lets stay comes after the person it was part of.
        let place = persons.iter().rposition(named).or_else(|| self.world.person(&identity.founding));
        let Some(mut place) = place else {
            return Identity { founding: identity.founding.clone(), split: None };
        };
        while let Some(survivor) = self.world.became.get(&place) {
            place = *survivor;
        }
        persons[place].identity.clone()
    }

    /// Folds one operation.
    ///
    /// Resets must name their fresh id: the model has no chance of its own. A retract must name the id of an operation that was
    /// recorded; else tell it by [`Reference::retract`].
    ///
    /// # Panics
    /// When it does not.
    pub fn apply(&mut self, operation: &Operation) -> ReferenceOutcome {
        if let Some(id) = operation.id {
            match self.seen.get(&id) {
                Some(before) if before.says(operation) => return ReferenceOutcome::Duplicate,
                Some(_) => return ReferenceOutcome::Conflict,
                None => {}
            }
        }
        let Some(asked) = self.asked(operation) else { return ReferenceOutcome::Ignored };
        self.remember_call(operation, &asked);
        if let Some(id) = operation.id {
            let processing = match operation.processing {
                Processing::Invalid => Processing::Invalid,
                _ if asked.on => Processing::On,
                _ => Processing::Off,
            };
            let (operation, spoke, place) = (operation.clone(), asked.id.clone(), self.said.len());
            let (forgotten, values_forgotten, is_forgotten) = (BTreeSet::new(), false, false);
            let seen =
                Seen { operation, processing, place, spoke, forgotten, values_forgotten, is_forgotten };
            self.seen.insert(id, seen);
        }
        ReferenceOutcome::Recorded(self.say(Said::Operation(asked)))
    }

    /// How many things were recorded so far: the place of the next, for [`Reference::retract`].
    pub fn places(&self) -> usize {
        self.said.len()
    }

    /// H1: takes back what was recorded in this place.
    ///
    /// # Panics
    /// When that was no operation.
    pub fn retract(&mut self, time: Timestamp, place: usize) -> ReferenceOutcome {
        let Said::Operation(target) = &self.said[place] else { panic!("only operations are taken back") };
        let asked = Asked {
            verb: Verb::Retract(place),
            id: target.id.clone(),
            device: None,
            on: true,
            changes: Changes::default(),
            time,
        };
        self.forget_call(place);
        ReferenceOutcome::Recorded(self.say(Said::Operation(asked)))
    }

    /// Folds everything anew but for what is taken back.
    fn refold(&mut self) {
        self.world = World::new(self.policy.clone());
        let gone = retracted(&self.said);
        for (place, said) in self.said.iter().enumerate() {
            if !gone.contains(&place) {
                self.world.fold(place, said, &self.classes);
            }
        }
    }

    /// Records something, and folds it. Whatever takes something back folds everything anew.
    fn say(&mut self, said: Said) -> Option<&'static str> {
        self.said.push(said);
        let place = self.said.len() - 1;
        let refused = match &self.said[place] {
            Said::Operation(Asked { verb: Verb::Retract(target), .. }) => {
                let already = retracted(&self.said[..place]).contains(target);
                self.refold();
                already.then_some("H1")
            }
            said => self.world.fold(place, said, &self.classes),
        };
        if let (Said::Operation(Asked { verb: Verb::Retract(_) | Verb::Split { .. }, id, .. }), None) =
            (&self.said[place], refused)
        {
            self.call_anew(&id.clone());
        }
        for person in &self.world.persons {
            if !self.known.contains(&person.identity) {
                self.known.push(person.identity.clone());
            }
        }
        refused
    }

    // -- what is recorded of an operation, sections B, C, F -------------------------------------------------------------

    /// F1: a device that was never mentioned begins with its own id.
    fn device(&mut self, device: &str) -> ReferenceDevice {
        self.meet_device(device, device);
        self.world.devices[device].clone()
    }

    /// B4: the first mention decides.
    fn mention(&mut self, id: &str, mention: FirstMention) {
        self.classes.number(id);
        if !self.classes.of.contains_key(id) {
            self.classes.of.insert(id.to_owned(), self.policy.classify(id, mention));
        }
    }

    /// F2.
    fn speaker(&mut self, who: &Who) -> (String, Option<String>) {
        match who {
            Who::Id(id) => (id.as_str().to_owned(), None),
            Who::Device(device) => (self.device(device.as_str()).current, Some(device.as_str().to_owned())),
        }
    }

    /// F8.
    fn processing(&self, operation: &Operation, device: Option<&str>, asks_profile: bool) -> bool {
        match (operation.processing, device) {
            (Processing::Off, _) => false,
            (Processing::On | Processing::Invalid, _) | (_, None) => true,
            (Processing::Unsaid, Some(device)) => {
                match operation.sdk.person_profiles.unwrap_or(self.policy.person_profiles) {
                    PersonProfiles::Always => true,
                    PersonProfiles::Never => false,
                    PersonProfiles::IdentifiedOnly => asks_profile || self.world.devices[device].profiled,
                }
            }
        }
    }

    /// What is recorded; `None` if nothing is (F3).
    fn asked(&mut self, operation: &Operation) -> Option<Asked> {
        let (verb, (id, device)) = match &operation.request {
            Request::Capture { who, event, .. } => {
                let name = event.as_ref().map_or("", |name| name.as_str());
                (Verb::Capture(name.to_owned()), self.speaker(who))
            }
            Request::Identify { who, anonymous } => {
                (Verb::Identify(Other::of(anonymous.as_ref())), self.speaker(who))
            }
            Request::Alias { who, alias } => (Verb::Alias(Other::of(alias.as_ref())), self.speaker(who)),
            Request::Merge { who, alias } => (Verb::Merge(Other::of(alias.as_ref())), self.speaker(who)),
            Request::Set { who } => (Verb::Set, self.speaker(who)),
            Request::DeviceIdentify { device, user } => {
                let (device, user) = (device.as_str(), user.as_str());
                (self.device_identify(operation, device, user)?, (user.to_owned(), Some(device.to_owned())))
            }
            Request::Reset { device, reset_device, new_id } => {
                self.device(device.as_str());
                let fresh = new_id.as_ref().expect("the model needs the fresh id").as_str().to_owned();
                self.mention(&fresh, FirstMention::Device);
                let also = reset_device.then(|| self.devices_by_id.get(&fresh).unwrap_or(&fresh).clone());
                if let Some(also) = &also {
                    self.device(also);
                }
                (Verb::Reset { also }, (fresh, Some(device.as_str().to_owned())))
            }
            Request::Retract { target } => {
                let Target::Operation(of) = target else { panic!("the model knows no record numbers") };
                let place = self.seen.get(of).expect("the model retracts what was recorded").place;
                let Said::Operation(target) = &self.said[place] else { unreachable!("operations have ids") };
                (Verb::Retract(place), (target.id.clone(), None))
            }
            Request::Split { id, ids, mode } => {
                let ids = ids.iter().map(|id| id.as_str().to_owned()).collect();
                let together = *mode == SplitMode::Together;
                (Verb::Split { ids, together }, (id.as_str().to_owned(), None))
            }
        };
        self.mention(&id, FirstMention::Plain);
        match &verb {
            Verb::Identify(Other::Id(other)) => self.mention(other, FirstMention::IdentifySource),
            Verb::Alias(Other::Id(other)) | Verb::Merge(Other::Id(other)) => {
                self.mention(other, FirstMention::Plain);
            }
            _ => {}
        }
        let asks_profile = !matches!(verb, Verb::Capture(_));
        let unasked = matches!(verb, Verb::Reset { .. } | Verb::Retract(_) | Verb::Split { .. });
        let on = unasked || self.processing(operation, device.as_deref(), asks_profile);
        let (changes, time) = (operation.changes.clone(), operation.time);
        Some(Asked { verb, id, device, on, changes, time })
    }

    /// F3: `None` is `Ignored`.
    fn device_identify(&mut self, operation: &Operation, device: &str, user: &str) -> Option<Verb> {
        let known = self.device(device);
        let on = self.processing(operation, Some(device), true);
        let dialect = operation.sdk.dialect.unwrap_or(self.policy.dialect);
        if known.identified && known.current == user {
            let call = (user.to_owned(), operation.changes.clone());
            let repeats = operation.changes.is_empty() || self.last_calls.get(device) == Some(&call);
            return (!(repeats && on && operation.id.is_none())).then_some(Verb::Set);
        }
        Some(match (known.identified, dialect) {
            (true, Dialect::Browser) => Verb::Switch,
            (true, Dialect::Core) => Verb::Identify(Other::of(Some(&Source::new(&known.anonymous)))),
            (false, _) if known.current == user => Verb::Identify(Other::Nothing),
            (false, _) => Verb::Identify(Other::of(Some(&Source::new(&known.current)))),
        })
    }

    /// F3: what the device said last may be what is taken back.
    fn forget_call(&mut self, place: usize) {
        if let Said::Operation(Asked { device: Some(device), .. }) = &self.said[place] {
            self.last_calls.remove(device);
        }
    }

    /// F3: a device remembers its last identify, set or switch; a reset forgets it, and so does taking back what it said.
    fn remember_call(&mut self, operation: &Operation, asked: &Asked) {
        let Some(device) = &asked.device else {
            if let Verb::Retract(place) = asked.verb {
                self.forget_call(place);
            }
            return;
        };
        match &asked.verb {
            Verb::Reset { also } => {
                for device in [Some(device), also.as_ref()].into_iter().flatten() {
                    self.last_calls.remove(device);
                }
            }
            Verb::Identify(_) | Verb::Set | Verb::Switch if asked.on => {
                self.last_calls.insert(device.clone(), (asked.id.clone(), operation.changes.clone()));
            }
            _ => {}
        }
    }
}

impl Said {
    /// Every id and device that it names; a device by a name that no id has.
    fn names(&self) -> BTreeSet<String> {
        let named = |device: &String| format!("device {device}");
        match self {
            Said::Policy(_) => BTreeSet::new(),
            Said::Device(device, id) => BTreeSet::from([named(device), id.clone()]),
            Said::Operation(Asked { verb, id, device, .. }) => {
                let mut names = BTreeSet::from([id.clone()]);
                names.extend(device.iter().map(named));
                match verb {
                    Verb::Identify(Other::Id(other))
                    | Verb::Alias(Other::Id(other))
                    | Verb::Merge(Other::Id(other)) => names.extend([other.clone()]),
                    Verb::Reset { also: Some(also) } => names.extend([named(also)]),
                    Verb::Split { ids, .. } => names.extend(ids.iter().cloned()),
                    _ => {}
                }
                names
            }
        }
    }
}

/// H1: what counts as never asked. From the end, for what takes something back stands behind it, and may itself be taken back.
fn retracted(said: &[Said]) -> BTreeSet<usize> {
    let mut gone = BTreeSet::new();
    for (place, said) in said.iter().enumerate().rev() {
        if let Said::Operation(Asked { verb: Verb::Retract(target), .. }) = said
            && !gone.contains(&place)
        {
            gone.insert(*target);
        }
    }
    gone
}

// -- the fold --------------------------------------------------------------------------------------------------------

/// Persons, devices and events.
#[derive(Clone, Debug)]
struct World {
    policy: Policy,
    /// In the order of their founding.
    persons: Vec<ReferencePerson>,
    /// Who an absorbed person became, by place in `persons`.
    became: BTreeMap<usize, usize>,
    devices: BTreeMap<String, ReferenceDevice>,
    events: Vec<ReferenceEvent>,
    /// What was folded, and the rule that refused it: a split asks for it again.
    folded: Vec<(Asked, Option<&'static str>)>,
}

impl World {
    fn new(policy: Policy) -> World {
        World {
            policy,
            persons: Vec::new(),
            became: BTreeMap::new(),
            devices: BTreeMap::new(),
            events: Vec::new(),
            folded: Vec::new(),
        }
    }

    /// The person of an id, by place.
    fn person(&self, id: &str) -> Option<usize> {
        self.persons.iter().position(|person| person.ids.contains(id))
    }

    /// Folds what was recorded in this place; gives the rule that refused it.
    fn fold(&mut self, place: usize, said: &Said, classes: &Classes) -> Option<&'static str> {
        let asked = match said {
            Said::Policy(policy) => {
                self.policy = policy.clone();
                return None;
            }
            Said::Device(device, id) => {
                self.devices.insert(device.clone(), ReferenceDevice::anonymous(id));
                return None;
            }
            Said::Operation(asked) => asked,
        };
        let Asked { verb, id, on, changes, .. } = asked;
        let refused = match verb {
            Verb::Capture(name) => {
                self.events.push(ReferenceEvent { distinct_id: id.clone(), full: *on });
                if *on {
                    let known = self.person(id).is_some();
                    let person = self.found(asked, place);
                    let quiet = known && (name == "$exception" || name == "$$heatmap");
                    if name != "$groupidentify" && !quiet {
                        change(&mut self.persons[person].properties, changes);
                    }
                }
                None
            }
            Verb::Identify(other) | Verb::Alias(other) => self.link(asked, place, other, false, classes),
            Verb::Merge(other) => self.link(asked, place, other, true, classes),
            Verb::Set if *on => {
                let person = self.found(asked, place);
                change(&mut self.persons[person].properties, changes);
                None
            }
            Verb::Set => asked.device.as_ref().map(|_| "C7"),
            Verb::Switch if *on => {
                if !changes.is_empty() {
                    let person = self.found(asked, place);
                    change(&mut self.persons[person].properties, changes);
                }
                None
            }
            Verb::Switch => Some("C7"),
            Verb::Split { ids, together } => self.split(asked, place, ids, *together, classes),
            Verb::Reset { .. } | Verb::Retract(_) => None,
        };
        self.follow(asked);
        self.folded.push((asked.clone(), refused));
        refused
    }

    /// What the device that spoke becomes (F3, F4, F8): it follows what was said, refused or not, but with processing off.
    fn follow(&mut self, Asked { verb, id, device, on, .. }: &Asked) {
        let Some(device) = device else { return };
        if let Verb::Reset { also } = verb {
            for device in [Some(device), also.as_ref()].into_iter().flatten() {
                self.devices.insert(device.clone(), ReferenceDevice::anonymous(id));
            }
            return;
        }
        let Some(device) = self.devices.get_mut(device).filter(|_| *on) else { return };
        match verb {
            Verb::Identify(_) => {
                if device.current != *id {
                    device.anonymous = std::mem::replace(&mut device.current, id.clone());
                }
                (device.identified, device.profiled) = (true, true);
            }
            Verb::Switch => device.current = id.clone(),
            Verb::Alias(_) | Verb::Merge(_) | Verb::Set => device.profiled = true,
            _ => {}
        }
    }

    // -- links, section D --------------------------------------------------------------------------------------------

    fn link(
        &mut self,
        asked: &Asked,
        place: usize,
        other: &Other,
        dangerous: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let target = &asked.id;
        if !asked.on {
            return Some("C7");
        }
        let mut refused = None;
        match other {
            Other::Nothing => {}
            Other::Id(source) if source == target => {}
            _ if !classes.of[target].mergeable => refused = Some("B2"),
            Other::Unstorable => refused = Some("B2"),
            Other::Id(source) if !classes.of[source].mergeable => refused = Some("B2"),
            Other::Id(source) => {
                refused = self.refusal(target, source, dangerous, classes);
                if refused == Some("D8") {
                    return refused;
                }
                if refused.is_none() {
                    self.unite(asked, place, source);
                }
                let person = self.found(asked, place);
                self.persons[person].is_identified = true;
            }
        }
        let person = self.found(asked, place);
        change(&mut self.persons[person].properties, &asked.changes);
        refused
    }

    fn refusal(
        &self,
        target: &str,
        source: &str,
        dangerous: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let (to, from) = (self.person(target), self.person(source));
        if to.is_some() && to == from {
            return None;
        }
        let source_identified = from.is_some_and(|from| self.persons[from].is_identified);
        if source_identified && !dangerous {
            if to.is_some() {
                return Some("D6");
            }
            if self.policy.refuse_joining_identified {
                return Some("D3");
            }
        }
        let ids_of = |id: &str, person: Option<usize>| match person {
            Some(person) => self.persons[person].ids.clone(),
            None => BTreeSet::from([id.to_owned()]),
        };
        let (ours, theirs) = (ids_of(target, to), ids_of(source, from));
        let over = |found: usize, limit: Option<u32>| limit.is_some_and(|limit| found > limit as usize);
        if let (Some(to), Some(from)) = (to, from) {
            let (_, absorbed) = self.survivor_and_absorbed(to, from);
            if over(self.persons[absorbed].ids.len(), self.policy.max_moved_ids) {
                return Some("D8");
            }
        }
        if over(ours.len() + theirs.len(), self.policy.max_ids_per_person) {
            return Some("D8");
        }
        let users = |ids: &BTreeSet<String>| ids.iter().filter(|id| classes.of[*id].user).count();
        let (ours, theirs) = (users(&ours), users(&theirs));
        if !dangerous && ours > 0 && theirs > 0 && over(ours + theirs, self.policy.max_user_ids) {
            return Some("D9");
        }
        None
    }

    /// D7.
    fn survivor_and_absorbed(&self, to: usize, from: usize) -> (usize, usize) {
        let age = |person: usize| (self.persons[person].founded, person);
        if self.policy.survivor == Survivor::Elder && age(from) < age(to) { (from, to) } else { (to, from) }
    }

    /// D2, D3, D4, D5, D7.
    fn unite(&mut self, asked: &Asked, place: usize, source: &str) {
        let target = &asked.id;
        match (self.person(target), self.person(source)) {
            (None, None) => {
                let person = self.found(asked, place);
                self.persons[person].ids.insert(source.to_owned());
            }
            (None, Some(person)) => {
                self.persons[person].ids.insert(target.clone());
            }
            (Some(person), None) => {
                self.persons[person].ids.insert(source.to_owned());
            }
            (Some(to), Some(from)) if to != from => {
                let mut properties = self.persons[from].properties.clone();
                properties.extend(self.persons[to].properties.clone()); // E2: the target wins
                let created_at = self.persons[to].created_at.min(self.persons[from].created_at);
                let identified = self.persons[to].is_identified;
                let (survivor, absorbed) = self.survivor_and_absorbed(to, from);
                let ids = std::mem::take(&mut self.persons[absorbed].ids);
                self.became.insert(absorbed, survivor);
                let person = &mut self.persons[survivor];
                person.ids.extend(ids);
                person.properties = properties;
                person.created_at = created_at;
                person.is_identified = identified;
            }
            _ => {}
        }
    }

    /// P(T), founded if need be.
    fn found(&mut self, asked: &Asked, place: usize) -> usize {
        self.person(&asked.id).unwrap_or_else(|| {
            self.persons.push(ReferencePerson {
                identity: Identity { founding: asked.id.clone(), split: None },
                ids: BTreeSet::from([asked.id.clone()]),
                properties: BTreeMap::new(),
                is_identified: false,
                created_at: asked.time,
                founded: place,
            });
            self.persons.len() - 1
        })
    }

    // -- splits, rule H2 ---------------------------------------------------------------------------------------------

    fn split(
        &mut self,
        asked: &Asked,
        place: usize,
        leaving: &BTreeSet<String>,
        together: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let Some(person) = self.person(&asked.id) else { return Some("H2") };
        let before = self.persons[person].clone();
        if !leaving.is_subset(&before.ids) || *leaving == before.ids {
            return Some("H2");
        }
        let stay: BTreeSet<String> = before.ids.difference(leaving).cloned().collect();
        let mut groups = vec![stay];
        match together {
            true => groups.push(leaving.clone()),
            false => groups.extend(classes.ordered(leaving).into_iter().map(|id| BTreeSet::from([id]))),
        }
        self.persons[person].ids.clear();
        for (number, ids) in groups.iter().enumerate() {
            let first = classes.ordered(ids).swap_remove(0);
            let (identity, founded) = match number {
                0 => (before.identity.clone(), before.founded),
                _ => (Identity { founding: first, split: Some(place) }, place),
            };
            let mut group = ReferencePerson {
                identity,
                ids: ids.clone(),
                properties: BTreeMap::new(),
                is_identified: false,
                created_at: before.created_at,
                founded,
            };
            self.refold(&mut group, &groups, classes);
            self.persons.push(group);
            if number == 0 {
                self.became.insert(person, self.persons.len() - 1);
            }
        }
        None
    }

    /// Everything that was said for a group's ids, as if it had been one person from the beginning.
    fn refold(&self, group: &mut ReferencePerson, groups: &[BTreeSet<String>], classes: &Classes) {
        let mut earliest: Option<Timestamp> = None;
        for (asked, refused) in self.folded.iter().filter(|(asked, _)| group.ids.contains(&asked.id)) {
            let silent = matches!(asked.verb, Verb::Switch) && asked.changes.is_empty()
                || matches!(asked.verb, Verb::Reset { .. } | Verb::Retract(_) | Verb::Split { .. });
            if !asked.on || silent || *refused == Some("D8") {
                continue;
            }
            let known = earliest.is_some();
            earliest = Some(earliest.map_or(asked.time, |earliest| earliest.min(asked.time)));
            if let Verb::Identify(Other::Id(other))
            | Verb::Alias(Other::Id(other))
            | Verb::Merge(Other::Id(other)) = &asked.verb
            {
                // Of a link across groups only the property changes count, now or after an earlier split.
                let theirs = groups.iter().find(|group| group.contains(other));
                let across = match theirs {
                    Some(theirs) => *theirs != group.ids,
                    None => refused.is_none(),
                };
                let links =
                    *other != asked.id && classes.of[other].mergeable && classes.of[&asked.id].mergeable;
                group.is_identified |= links && !across;
            }
            let quiet = match &asked.verb {
                Verb::Capture(name) => {
                    name == "$groupidentify" || known && (name == "$exception" || name == "$$heatmap")
                }
                _ => false,
            };
            if !quiet {
                change(&mut group.properties, &asked.changes);
            }
        }
        group.created_at = earliest.unwrap_or(group.created_at);
    }
}

impl ReferenceDevice {
    fn anonymous(id: &str) -> ReferenceDevice {
        let id = id.to_owned();
        ReferenceDevice { current: id.clone(), anonymous: id, identified: false, profiled: false }
    }
}

/// E1.
fn change(properties: &mut BTreeMap<String, Value>, changes: &Changes) {
    let before: BTreeSet<String> = properties.keys().cloned().collect();
    for (key, value) in &changes.set_once {
        if !before.contains(key.as_str()) && !changes.set.contains_key(key) {
            properties.insert(key.as_str().to_owned(), value.clone());
        }
    }
    for (key, value) in &changes.set {
        properties.insert(key.as_str().to_owned(), value.clone());
    }
    for key in &changes.unset {
        if before.contains(key.as_str()) {
            properties.remove(key.as_str());
        }
    }
}

/// What was recorded under an operation id.
#[derive(Clone, Debug)]
struct Seen {
    operation: Operation,
    /// What its processing came to.
    processing: Processing,
    /// Its place among all that was recorded.
    place: usize,
    /// T.
    spoke: String,
    /// Texts of it that were erased: they may have been any.
    forgotten: BTreeSet<String>,
    /// Whether its values were erased: they may have been any.
    values_forgotten: bool,
    /// Whether its own id was erased.
    is_forgotten: bool,
}

impl Seen {
    fn erase(&mut self, ids: &BTreeSet<String>, keys: &BTreeSet<String>) {
        if keys.is_empty() {
            self.forgotten.extend(ids.iter().cloned());
        }
        let Changes { set, set_once, .. } = &self.operation.changes;
        let valued = set.keys().chain(set_once.keys()).any(|key| keys.contains(key.as_str()));
        let touched = keys.is_empty() || valued && self.processing != Processing::Off;
        if ids.contains(&self.spoke) && touched {
            self.values_forgotten = true;
            self.is_forgotten |= self.operation.derived_id;
        }
    }

    /// G4: whether `other` says the same. What a device left unsaid says whatever F8 made of it then; with processing off,
    /// property changes say nothing; how an SDK is set up is not part of what it says.
    fn says(&self, other: &Operation) -> bool {
        let reset =
            matches!(other.request, Request::Reset { .. } | Request::Retract { .. } | Request::Split { .. });
        let invalid = |processing| processing == Processing::Invalid;
        let processing = match other.processing {
            Processing::Unsaid if other.device().is_some() => !invalid(self.processing),
            _ if reset => invalid(other.processing) == invalid(self.processing),
            Processing::Unsaid => self.processing == Processing::On,
            said => self.processing == said,
        };
        let changes = reset || self.processing == Processing::Off || self.same_changes(&other.changes);
        let mine = &self.operation;
        processing
            && changes
            && (mine.time, mine.derived_id, mine.bent) == (other.time, other.derived_id, other.bent)
            && self.without_forgotten(&mine.request, &mine.request)
                == self.without_forgotten(&mine.request, &other.request)
    }

    fn same_changes(&self, other: &Changes) -> bool {
        let mine = &self.operation.changes;
        let keys = |changes: &Changes| {
            let Changes { set, set_once, unset } = changes.clone();
            (set.into_keys().collect::<Vec<_>>(), set_once.into_keys().collect::<Vec<_>>(), unset)
        };
        if self.values_forgotten { keys(mine) == keys(other) } else { mine == other }
    }

    /// A request with a blank in each place where `mine` has a text that was erased.
    fn without_forgotten(
        &self,
        mine: &Request,
        request: &Request,
    ) -> (std::mem::Discriminant<Request>, Vec<Option<String>>) {
        let theirs = texts_of(request);
        let mine = texts_of(mine);
        let blank = |(mine, theirs): (Option<String>, Option<String>)| {
            let forgotten = mine.is_some_and(|mine| self.forgotten.contains(&mine[1..]));
            theirs.map(|theirs| if forgotten { theirs[..1].to_owned() } else { theirs })
        };
        let same_length = mine.len() == theirs.len();
        let texts = if same_length { mine.into_iter().zip(theirs).map(blank).collect() } else { theirs };
        (std::mem::discriminant(request), texts)
    }
}

/// Whatever a request says in texts, each in its place, with a letter for what it is.
fn texts_of(request: &Request) -> Vec<Option<String>> {
    let who_of = |who: &Who| match who {
        Who::Id(id) => Some(format!("i{id}")),
        Who::Device(device) => Some(format!("d{device}")),
    };
    let source = |source: &Option<Source>| match source {
        None => None,
        Some(Source::Unstorable) => Some("?".to_owned()),
        Some(Source::Id(id)) => Some(format!("i{id}")),
    };
    match request {
        Request::Capture { who, event, properties } => {
            let event = event.as_ref().map(|event| format!("e{event}"));
            vec![who_of(who), event, Some(format!("p{properties:?}"))]
        }
        Request::Identify { who, anonymous } => vec![who_of(who), source(anonymous)],
        Request::Alias { who, alias } | Request::Merge { who, alias } => vec![who_of(who), source(alias)],
        Request::Set { who } => vec![who_of(who)],
        Request::DeviceIdentify { device, user } => {
            vec![Some(format!("d{device}")), Some(format!("i{user}"))]
        }
        Request::Reset { device, reset_device, new_id } => vec![
            Some(format!("d{device}")),
            Some(format!("r{reset_device}")),
            new_id.as_ref().map(|id| format!("i{id}")),
        ],
        Request::Retract { target } => vec![Some(format!("t{target:?}"))],
        Request::Split { id, ids, mode } => {
            let ids = ids.iter().map(|id| Some(format!("i{id}")));
            [Some(format!("i{id}")), Some(format!("m{mode:?}"))].into_iter().chain(ids).collect()
        }
    }
}
