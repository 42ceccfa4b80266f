//! The reference model: the rules of `docs/semantics.md` folded as plainly as can be, with sets and maps of texts.
//!
//! It shares the vocabulary with the engine and nothing else: no numbers and no forest. It keeps what was said, and
//! whenever something is retracted it folds everything else again from the beginning. A newcomer should
//! believe it in ten minutes. It is slow, and that is fine.

mod said;
mod seen;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::OperationId;
use crate::model::kind::KindNo;
use crate::model::operation::{
    Actor, Changes, Dialect, Operation, PersonProfiles, Processing, Request, Source, SplitMode, Target,
};
use crate::model::policy::{FirstMention, IdClass, Policy};
use crate::model::time::Timestamp;
use said::{Asked, Class, Classes, LinkSource, Said, Verb, erased_name};
pub use said::{
    Identity, PersonIdBasis, ReferenceDevice, ReferenceEvent, ReferenceOutcome, ReferencePerson, erased_value,
};
use seen::Seen;
use world::World;

/// What the operations so far meant.
#[derive(Clone, Debug)]
pub struct Reference {
    policy: Policy,
    /// Everything that was recorded, in order, devices resolved.
    said: Vec<Said>,
    /// What all that comes to.
    world: World,
    /// B4: decided once, whatever is retracted later.
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
    /// The kind of an erased id that is about to be reclassified.
    told_kind: Option<Option<KindNo>>,
    /// How many ids there were at the first erasure.
    ids_before_erasures: Option<usize>,
    /// What erased ids are called, and the first erasure of each.
    erased: BTreeMap<String, u64>,
    /// D11: the id that a person is called after since the one that founded it was erased, and the erasure.
    called_after: BTreeMap<Identity, (String, u64)>,
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
            told_kind: None,
            ids_before_erasures: None,
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

    /// An id is mentioned for the first time, before anybody speaks of it; its class and kind too, if the text does not tell any more.
    pub fn meet_id(&mut self, id: &str, class: Option<(IdClass, Option<KindNo>)>) {
        self.classes.number(id);
        if let Some(class) = class {
            self.classes.of.entry(id.to_owned()).or_insert(class);
        }
    }

    /// The kind that the next reclassification gives; the text does not tell any more.
    pub fn tell_kind(&mut self, kind: Option<KindNo>) {
        self.told_kind = Some(kind);
    }

    // -- what is erased, rule H3 ------------------------------------------------------------------------------------

    /// H3: the texts of these ids, and the values they brought, are forgotten; with `keys` only the values of those keys.
    pub fn erase(&mut self, ids: &BTreeSet<String>, keys: &BTreeSet<String>) {
        // H3, D13: what was said under a shared id goes with the id for which that spoke, too.
        let (world, classes) = (&self.world, &self.classes);
        let goes =
            |id: &String, place| ids.contains(id) || ids.contains(&world.speaks_for(id, place, classes));
        for (place, said) in self.said.iter_mut().enumerate() {
            let Said::Operation(Asked { id, changes, .. }) = said else { continue };
            if goes(id, place) {
                let Changes { set, set_once, unset: _, add, append, union, remove } = changes;
                for (key, value) in [set, set_once, add, append, union, remove].into_iter().flatten() {
                    if keys.is_empty() || keys.contains(key.as_str()) {
                        *value = erased_value();
                    }
                }
            }
        }
        for seen in self.seen.values_mut() {
            seen.erase(ids, keys, goes(&seen.spoke, seen.place));
        }
        self.seen.retain(|_, seen| !seen.is_forgotten);
        self.ids_before_erasures.get_or_insert(self.classes.order.len());
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
        for id in &gone {
            self.classes.erased.entry(id.clone()).or_insert(self.said.len());
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
                        Verb::Identify(LinkSource::Id(other))
                        | Verb::Alias(LinkSource::Id(other))
                        | Verb::Merge(LinkSource::Id(other)) => in_place(other),
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

    /// D11: a living person that is called after an erased id is called after the next of its ids. All others lose such a name.
    fn call_after_others(&mut self, gone: BTreeSet<String>) {
        for id in &gone {
            self.erased.entry(id.clone()).or_insert(self.seq);
        }
        let mut called = std::mem::take(&mut self.called_after);
        let live = self.world.persons.iter().filter(|person| !person.ids.is_empty());
        let next = live.filter_map(|person| {
            let name = called.get(&person.identity).map_or(&person.identity.founding, |(id, _)| id);
            let next = gone.contains(name).then(|| self.next_name(person)).flatten();
            next.map(|(next, _)| (person.identity.clone(), (next, self.seq)))
        });
        let next: Vec<_> = next.collect();
        called.retain(|_, (id, _)| !gone.contains(id));
        called.extend(next);
        self.called_after = called;
    }

    /// D11, where the component of an id was folded again: a name stays. A living person that has none, and whose founding id is
    /// erased, is called after the lowest id that is left, unless another person has that name.
    fn call_anew(&mut self, id: &str) {
        let component = self.component(id);
        for person in self.world.persons.iter().filter(|person| !person.ids.is_disjoint(&component)) {
            let is_erased = self.erased.contains_key(&person.identity.founding);
            if is_erased && !self.called_after.contains_key(&person.identity) {
                let is_free = |name: &(String, u64)| !self.called_after.values().any(|other| other == name);
                let name = self.next_name(person).filter(is_free);
                self.called_after.extend(name.map(|name| (person.identity.clone(), name)));
            }
        }
    }

    /// The lowest id that is left of a person, and the last erasure of its founding id or of an id below that one.
    fn next_name(&self, person: &ReferencePerson) -> Option<(String, u64)> {
        let ids = self.classes.ordered(&person.ids);
        let left = ids.iter().position(|id| !self.erased.contains_key(id))?;
        let erased = ids[..left].iter().chain([&person.identity.founding]);
        let last = erased.filter_map(|id| self.erased.get(id)).max()?;
        Some((ids[left].clone(), *last))
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
    pub fn called(&self, identity: &Identity) -> PersonIdBasis {
        if let Some((id, seq)) = self.called_after.get(identity) {
            return PersonIdBasis::After(id.clone(), *seq);
        }
        let founding = identity.founding.clone();
        if self.erased.contains_key(&founding) {
            let place = self.classes.order.iter().position(|id| *id == founding).unwrap_or_default();
            return PersonIdBasis::Erased(place as u32, identity.split);
        }
        if let Some(place) = identity.split {
            return PersonIdBasis::At(founding, place);
        }
        let number = self.classes.order.iter().position(|id| *id == founding);
        let is_late =
            self.ids_before_erasures.is_some_and(|first| number.is_some_and(|number| number >= first));
        if is_late { PersonIdBasis::Defined(founding) } else { PersonIdBasis::Founding(founding) }
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

    /// H1: retracts what was recorded in this place.
    ///
    /// # Panics
    /// When that was no operation.
    pub fn retract(&mut self, time: Timestamp, place: usize) -> ReferenceOutcome {
        let Said::Operation(target) = &self.said[place] else { panic!("only operations are retracted") };
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

    /// Folds everything again, without what is retracted.
    fn refold(&mut self) {
        self.world = World::new(self.policy.clone());
        let gone = retracted(&self.said);
        self.classes.given = given(&self.said, &gone);
        for (place, said) in self.said.iter().enumerate() {
            if !gone.contains(&place) {
                self.world.fold(place, said, &self.classes);
            }
        }
    }

    /// Records something, and folds it. A retract folds everything again.
    fn say(&mut self, said: Said) -> Option<&'static str> {
        self.said.push(said);
        let place = self.said.len() - 1;
        let refused = match &self.said[place] {
            Said::Operation(Asked { verb: Verb::Retract(target), .. }) => {
                let already = retracted(&self.said[..place]).contains(target);
                self.refold();
                already.then_some("H1")
            }
            Said::Operation(Asked { verb: Verb::Reclassify(class), id, .. }) => {
                let already = self.classes.class_and_kind(id) == *class;
                self.refold();
                already.then_some("H5")
            }
            said => self.world.fold(place, said, &self.classes),
        };
        if let (
            Said::Operation(Asked {
                verb: Verb::Retract(_) | Verb::Split { .. } | Verb::Reclassify(_),
                id,
                ..
            }),
            None,
        ) = (&self.said[place], refused)
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
    pub(super) fn device(&mut self, device: &str) -> ReferenceDevice {
        self.meet_device(device, device);
        self.world.devices[device].clone()
    }

    /// B4: the first mention decides.
    fn mention(&mut self, id: &str, mention: FirstMention) {
        self.classes.number(id);
        if !self.classes.of.contains_key(id) {
            let class = self.policy.classify(id, mention);
            self.classes.of.insert(id.to_owned(), (class, self.policy.kind_of(id, class)));
        }
    }

    /// Returns the id that the operation speaks for, and the device if one speaks (F2).
    fn speaker(&mut self, who: &Actor) -> (String, Option<String>) {
        match who {
            Actor::Id(id) => (id.as_str().to_owned(), None),
            Actor::Device(device) => (self.device(device.as_str()).current, Some(device.as_str().to_owned())),
        }
    }

    /// Returns whether processing is off: by the operation's own word, else by the device's mode (F8).
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
                (Verb::Identify(LinkSource::of(anonymous.as_ref())), self.speaker(who))
            }
            Request::Alias { who, alias } => (Verb::Alias(LinkSource::of(alias.as_ref())), self.speaker(who)),
            Request::Merge { who, alias } => (Verb::Merge(LinkSource::of(alias.as_ref())), self.speaker(who)),
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
            Request::Reclassify { id, class } => {
                let of_text = self.policy.kind_of(id.as_str(), *class);
                let kind = self.told_kind.take().unwrap_or(of_text);
                (Verb::Reclassify((*class, kind)), (id.as_str().to_owned(), None))
            }
        };
        self.mention(&id, FirstMention::Plain);
        match &verb {
            Verb::Identify(LinkSource::Id(other))
            | Verb::Alias(LinkSource::Id(other))
            | Verb::Merge(LinkSource::Id(other)) => self.mention(other, FirstMention::Plain),
            _ => {}
        }
        let asks_profile = !matches!(verb, Verb::Capture(_));
        let unasked =
            matches!(verb, Verb::Reset { .. } | Verb::Retract(_) | Verb::Split { .. } | Verb::Reclassify(_));
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
            let again = self.last_calls.get(device) == Some(&call) && !call.1.has_relative(); // E9: twice is twice
            let repeats = operation.changes.is_empty() || again;
            return (!(repeats && on && operation.id.is_none())).then_some(Verb::Set);
        }
        Some(match (known.identified, dialect) {
            (true, Dialect::Browser) => Verb::Switch,
            (true, Dialect::Core) if self.erased.contains_key(&known.anonymous) => Verb::Switch,
            (true, Dialect::Core) => Verb::Identify(LinkSource::of(Some(&Source::new(&known.anonymous)))),
            (false, _) if known.current == user => Verb::Identify(LinkSource::Nothing),
            (false, _) => Verb::Identify(LinkSource::of(Some(&Source::new(&known.current)))),
        })
    }

    /// F3: the retracted operation may be what the device said last.
    fn forget_call(&mut self, place: usize) {
        if let Said::Operation(Asked { device: Some(device), .. }) = &self.said[place] {
            self.last_calls.remove(device);
        }
    }

    /// F3: a device remembers its last identify, set or switch; a reset forgets it, and so does a retract of
    /// what it said.
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
                    Verb::Identify(LinkSource::Id(other))
                    | Verb::Alias(LinkSource::Id(other))
                    | Verb::Merge(LinkSource::Id(other)) => names.extend([other.clone()]),
                    Verb::Reset { also: Some(also) } => names.extend([named(also)]),
                    Verb::Split { ids, .. } => names.extend(ids.iter().cloned()),
                    _ => {}
                }
                names
            }
        }
    }
}

/// H1: what counts as never asked. Goes from the end, because a retract stands behind what it names and may
/// itself be retracted.
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

/// H5: the class that each id has by the last reclassification that counts.
fn given(said: &[Said], gone: &BTreeSet<usize>) -> BTreeMap<String, Class> {
    let counts = said.iter().enumerate().filter(|(place, _)| !gone.contains(place));
    let given = counts.filter_map(|(_, said)| match said {
        Said::Operation(Asked { verb: Verb::Reclassify(class), id, .. }) => Some((id.clone(), *class)),
        _ => None,
    });
    given.collect()
}

// -- the fold --------------------------------------------------------------------------------------------------------
