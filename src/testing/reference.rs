//! The reference model: the rules of `docs/semantics.md` folded as plainly as can be, with sets and maps of texts.
//!
//! It shares the vocabulary with the engine and nothing else: no numbers, no forest, no log. A newcomer should believe it in
//! ten minutes. It is slow, and that is fine.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::OperationId;
use crate::operation::{Changes, Dialect, Operation, PersonProfiles, Processing, Request, Source, Who};
use crate::policy::{FirstMention, IdClass, Policy, Survivor};
use crate::time::Timestamp;
use crate::value::Value;

/// What the operations so far meant.
#[derive(Clone, Debug)]
pub struct Reference {
    policy: Policy,
    /// In the order of their founding.
    persons: Vec<ReferencePerson>,
    classes: BTreeMap<String, IdClass>,
    /// Who an absorbed person became, by place in `persons`.
    became: BTreeMap<usize, usize>,
    devices: BTreeMap<String, ReferenceDevice>,
    events: Vec<ReferenceEvent>,
    seen: BTreeMap<OperationId, Seen>,
    /// Ids and devices in the order in which they were first mentioned.
    ids: Vec<String>,
    device_ids: Vec<String>,
    /// The record that the next operation is.
    seq: u64,
    first_erasure: Option<u64>,
    /// What erased ids are called.
    erased: BTreeSet<String>,
    /// Devices that are not called like the id they began with, because both texts are erased: by that id.
    devices_by_id: BTreeMap<String, String>,
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
    /// D11: a text and a record.
    At(String, u64),
    /// D11: only the number of the id that founded it is left.
    Erased(u32),
}

/// A person, live or absorbed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferencePerson {
    /// The id that founded it.
    pub founding: String,
    /// All its ids; empty once absorbed.
    pub ids: BTreeSet<String>,
    /// Its properties.
    pub properties: BTreeMap<String, Value>,
    /// Which id spoke when each was written.
    written_by: BTreeMap<String, String>,
    /// D1.
    pub is_identified: bool,
    /// D7.
    pub created_at: Timestamp,
    /// The record that founded it.
    founded: u64,
    /// D11: the id it is called after since the one that founded it was erased, and the erasure.
    called_after: Option<(String, u64)>,
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
    last_call: Option<(String, Changes)>,
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
    /// Recorded; the rule that refused its link, if one did.
    Recorded(Option<&'static str>),
    /// G4.
    Duplicate,
    /// G4.
    Conflict,
    /// F3.
    Ignored,
}

/// A link asked for: S as text, or a text that B1 bars.
enum Asked {
    Nothing,
    Unstorable,
    Id(String),
}

impl Reference {
    /// Before the first operation.
    pub fn new(policy: Policy) -> Reference {
        Reference {
            policy,
            persons: Vec::new(),
            classes: BTreeMap::new(),
            became: BTreeMap::new(),
            devices: BTreeMap::new(),
            events: Vec::new(),
            seen: BTreeMap::new(),
            ids: Vec::new(),
            device_ids: Vec::new(),
            seq: 0,
            first_erasure: None,
            erased: BTreeSet::new(),
            devices_by_id: BTreeMap::new(),
        }
    }

    /// The next operation, or erasure, is this record. Only ids of D11 depend on it.
    pub fn at(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// An id is mentioned for the first time, before anybody speaks of it; its class too, if the text does not tell any more.
    pub fn meet_id(&mut self, id: &str, class: Option<IdClass>) {
        self.number(id);
        if let Some(class) = class {
            self.classes.entry(id.to_owned()).or_insert(class);
        }
    }

    fn number(&mut self, id: &str) {
        if !self.ids.iter().any(|known| known == id) {
            self.ids.push(id.to_owned());
        }
    }

    /// H3: the texts of these ids, and the values they brought, are forgotten; with `keys` only the values of those keys.
    pub fn erase(&mut self, ids: &BTreeSet<String>, keys: &BTreeSet<String>) {
        for person in &mut self.persons {
            for (key, value) in &mut person.properties {
                if ids.contains(&person.written_by[key]) && (keys.is_empty() || keys.contains(key)) {
                    *value = erased_value();
                }
            }
        }
        for seen in self.seen.values_mut() {
            seen.erase(ids, keys);
        }
        self.seen.retain(|_, seen| !seen.is_forgotten);
        self.first_erasure.get_or_insert(self.seq);
        if keys.is_empty() {
            let names = |all: &[String], id: &str| all.iter().position(|known| known == id).map(erased_name);
            let ids: BTreeMap<String, (Option<String>, Option<String>)> = ids
                .iter()
                .map(|id| (id.clone(), (names(&self.ids, id), names(&self.device_ids, id))))
                .collect();
            self.rename(&ids);
            let gone: BTreeSet<String> = ids.into_values().filter_map(|(id, _)| id).collect();
            self.call_after_others(&gone);
        }
    }

    /// Puts names in the place of texts, everywhere: of an id, and of the device that is called like it.
    fn rename(&mut self, names: &BTreeMap<String, (Option<String>, Option<String>)>) {
        let id_name =
            |id: &String| names.get(id).and_then(|(id, _)| id.clone()).unwrap_or_else(|| id.clone());
        let device_name =
            |id: &String| names.get(id).and_then(|(_, name)| name.clone()).unwrap_or_else(|| id.clone());
        let in_place = |id: &mut String| *id = id_name(id);
        for person in &mut self.persons {
            in_place(&mut person.founding);
            person.ids = person.ids.iter().map(id_name).collect();
            person.written_by.values_mut().for_each(in_place);
            if let Some((id, _)) = &mut person.called_after {
                in_place(id);
            }
        }
        self.classes = self.classes.iter().map(|(id, class)| (id_name(id), *class)).collect();
        self.devices = std::mem::take(&mut self.devices)
            .into_iter()
            .map(|(id, mut device)| {
                in_place(&mut device.current);
                in_place(&mut device.anonymous);
                (device_name(&id), device)
            })
            .collect();
        self.events.iter_mut().for_each(|event| in_place(&mut event.distinct_id));
        self.ids.iter_mut().for_each(in_place);
        self.device_ids.iter_mut().for_each(|id| *id = device_name(id));
    }

    /// D11: who was called after an erased id and lives is called after the next of theirs.
    fn call_after_others(&mut self, gone: &BTreeSet<String>) {
        self.erased.extend(gone.iter().cloned());
        let next = |person: &ReferencePerson| {
            let place = |id: &&String| self.ids.iter().position(|known| known == *id);
            person.ids.iter().filter(|id| !self.erased.contains(*id)).min_by_key(place).cloned()
        };
        let called: Vec<Option<Option<String>>> = self
            .persons
            .iter()
            .map(|person| {
                let called = person.called_after.as_ref().map_or(&person.founding, |(id, _)| id);
                gone.contains(called).then(|| next(person))
            })
            .collect();
        for (person, called) in self.persons.iter_mut().zip(called) {
            if let Some(next) = called {
                person.called_after = next.map(|id| (id, self.seq));
            }
        }
    }

    /// All ids of the person that an id belongs to; of an id without person, the id alone.
    pub fn ids_with(&self, id: &str) -> BTreeSet<String> {
        self.person(id)
            .map_or_else(|| BTreeSet::from([id.to_owned()]), |person| self.persons[person].ids.clone())
    }

    /// What the public ids of all persons there ever were are made of, in the order of their founding.
    pub fn called(&self) -> impl Iterator<Item = Called> {
        self.persons.iter().map(|person| self.called_of(person))
    }

    /// What a person's public id is made of.
    pub fn called_of(&self, person: &ReferencePerson) -> Called {
        if let Some((id, seq)) = &person.called_after {
            return Called::At(id.clone(), *seq);
        }
        let place = self.ids.iter().position(|id| *id == person.founding).unwrap_or_default();
        let founding = person.founding.clone();
        match self.first_erasure {
            Some(_) if self.erased.contains(&founding) => Called::Erased(place as u32),
            Some(first) if person.founded > first => Called::At(founding, person.founded),
            _ => Called::Founding(founding),
        }
    }

    /// What the live person that each person became is called, in the order of their founding (D7's redirects).
    pub fn became_all(&self) -> impl Iterator<Item = Called> {
        (0..self.persons.len()).map(|mut place| {
            while let Some(survivor) = self.became.get(&place) {
                place = *survivor;
            }
            self.called_of(&self.persons[place])
        })
    }

    /// A3: another policy holds from here on. What was decided stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// F1: a device is mentioned, before it speaks; `id` is the id it begins with, which has the same text unless that is erased.
    pub fn meet_device(&mut self, device: &str, id: &str) {
        if !self.devices.contains_key(device) {
            self.mention(id, FirstMention::Device);
            self.begin_device(device, id);
        }
    }

    fn begin_device(&mut self, device: &str, id: &str) {
        if device != id {
            self.devices_by_id.insert(id.to_owned(), device.to_owned());
        }
        self.device_ids.push(device.to_owned());
        self.devices.insert(device.to_owned(), ReferenceDevice::anonymous(id));
    }

    /// The live persons, in the order of their founding.
    pub fn persons(&self) -> impl Iterator<Item = &ReferencePerson> {
        self.persons.iter().filter(|person| !person.ids.is_empty())
    }

    /// The events, in the order of the log.
    pub fn events(&self) -> &[ReferenceEvent] {
        &self.events
    }

    /// The devices, by id.
    pub fn devices(&self) -> &BTreeMap<String, ReferenceDevice> {
        &self.devices
    }

    /// The person of an id, by place.
    fn person(&self, id: &str) -> Option<usize> {
        self.persons.iter().position(|person| person.ids.contains(id))
    }

    /// Folds one operation.
    ///
    /// Resets must name their fresh id: the model has no chance of its own.
    ///
    /// # Panics
    /// When a reset names no fresh id.
    pub fn apply(&mut self, operation: &Operation) -> ReferenceOutcome {
        if let Some(id) = operation.id {
            match self.seen.get(&id) {
                Some(before) if before.says(operation) => return ReferenceOutcome::Duplicate,
                Some(_) => return ReferenceOutcome::Conflict,
                None => {}
            }
        }
        let processing = self.resolved_processing(operation);
        let spoke = self.spoken_for(operation);
        let outcome = match &operation.request {
            Request::Capture { who, event, .. } => {
                let (id, device) = self.speaker(who);
                self.mention(&id, FirstMention::Plain);
                let on = self.processing(operation, device.as_deref(), false);
                self.events.push(ReferenceEvent { distinct_id: id.clone(), full: on });
                let name = event.as_ref().map_or("", |name| name.as_str());
                if on {
                    let known = self.person(&id).is_some();
                    let person = self.found(&id, operation.time);
                    let quiet = known && (name == "$exception" || name == "$$heatmap");
                    if name != "$groupidentify" && !quiet {
                        self.change(person, &id, &operation.changes);
                    }
                }
                None
            }
            Request::Identify { who, anonymous } => {
                let (id, device) = self.speaker(who);
                let refused = self.link(operation, &id, device.as_deref(), anonymous.as_ref(), true, false);
                self.identified_on(operation, device.as_deref(), &id);
                refused
            }
            Request::Alias { who, alias } => {
                let (id, device) = self.speaker(who);
                self.link(operation, &id, device.as_deref(), alias.as_ref(), false, false)
            }
            Request::Merge { who, alias } => {
                let (id, device) = self.speaker(who);
                self.link(operation, &id, device.as_deref(), alias.as_ref(), false, true)
            }
            Request::Set { who } => {
                let (id, device) = self.speaker(who);
                self.mention(&id, FirstMention::Plain);
                self.set(operation, &id, device.as_deref())
            }
            Request::DeviceIdentify { device, user } => {
                match self.device_identify(operation, device.as_str(), user.as_str()) {
                    Some(refused) => refused,
                    None => return ReferenceOutcome::Ignored,
                }
            }
            Request::Reset { device, reset_device, new_id } => {
                self.device(device.as_str());
                let fresh = new_id.as_ref().expect("the model needs the fresh id").as_str();
                self.mention(fresh, FirstMention::Device);
                let device = device.as_str().to_owned();
                let also = reset_device
                    .then(|| self.devices_by_id.get(fresh).map_or(fresh, String::as_str).to_owned());
                for device in [Some(device), also].into_iter().flatten() {
                    if !self.devices.contains_key(&device) {
                        self.device_ids.push(device.clone());
                    }
                    self.devices.insert(device, ReferenceDevice::anonymous(fresh));
                }
                None
            }
        };
        if let Some(id) = operation.id {
            self.seen.insert(id, Seen::new(operation, processing, spoke));
        }
        ReferenceOutcome::Recorded(outcome)
    }

    // -- devices, section F ------------------------------------------------------------------------------------------

    /// F1: a device that was never mentioned begins with its own id.
    fn device(&mut self, device: &str) -> &mut ReferenceDevice {
        self.meet_device(device, device);
        self.devices.get_mut(device).expect("met just now")
    }

    /// F2.
    fn speaker(&mut self, who: &Who) -> (String, Option<String>) {
        match who {
            Who::Id(id) => (id.as_str().to_owned(), None),
            Who::Device(device) => {
                let current = self.device(device.as_str()).current.clone();
                (current, Some(device.as_str().to_owned()))
            }
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
                    PersonProfiles::IdentifiedOnly => asks_profile || self.devices[device].profiled,
                }
            }
        }
    }

    /// What the operation's processing comes to, as it is recorded.
    fn resolved_processing(&mut self, operation: &Operation) -> Processing {
        let device = match &operation.request {
            Request::Capture { who: Who::Device(device), .. }
            | Request::Identify { who: Who::Device(device), .. }
            | Request::Alias { who: Who::Device(device), .. }
            | Request::Merge { who: Who::Device(device), .. }
            | Request::Set { who: Who::Device(device) }
            | Request::DeviceIdentify { device, .. } => Some(device.as_str()),
            _ => None,
        };
        if let Some(device) = device {
            self.device(device);
        }
        let asks_profile = !matches!(operation.request, Request::Capture { .. });
        match operation.processing {
            Processing::Invalid => Processing::Invalid,
            _ if self.processing(operation, device, asks_profile) => Processing::On,
            _ => Processing::Off,
        }
    }

    /// F3: `None` is `Ignored`.
    fn device_identify(
        &mut self,
        operation: &Operation,
        device: &str,
        user: &str,
    ) -> Option<Option<&'static str>> {
        let known = self.device(device).clone();
        let on = self.processing(operation, Some(device), true);
        let call = Some((user.to_owned(), operation.changes.clone()));
        let dialect = operation.sdk.dialect.unwrap_or(self.policy.dialect);
        if known.identified && known.current == user {
            let repeats = operation.changes.is_empty() || known.last_call == call;
            if repeats && on && operation.id.is_none() {
                return None;
            }
            let refused = self.set(operation, user, Some(device));
            return Some(refused);
        }
        if known.identified && dialect == Dialect::Browser {
            self.mention(user, FirstMention::Plain);
            if !on {
                return Some(Some("C7"));
            }
            let state = self.device(device);
            state.current = user.to_owned();
            state.last_call = call;
            if !operation.changes.is_empty() {
                let person = self.found(user, operation.time);
                self.change(person, user, &operation.changes);
            }
            return Some(None);
        }
        let source = if known.current == user {
            None
        } else {
            let source = if known.identified { known.anonymous } else { known.current };
            Some(Source::new(&source))
        };
        let refused = self.link(operation, user, Some(device), source.as_ref(), true, false);
        self.identified_on(operation, Some(device), user);
        Some(refused)
    }

    /// What an identify makes of the device that spoke, refused or not, but with processing off.
    fn identified_on(&mut self, operation: &Operation, device: Option<&str>, user: &str) {
        let Some(device) = device else { return };
        let on = self.processing(operation, Some(device), true);
        let state = self.device(device);
        if on {
            state.last_call = Some((user.to_owned(), operation.changes.clone()));
            if state.current != user {
                state.anonymous = std::mem::replace(&mut state.current, user.to_owned());
            }
            state.identified = true;
            state.profiled = true;
        }
    }

    /// T, as it is before the operation.
    fn spoken_for(&self, operation: &Operation) -> String {
        let of = |who: &Who| match who {
            Who::Id(id) => id.as_str().to_owned(),
            Who::Device(device) => {
                let known = self.devices.get(device.as_str());
                known.map_or(device.as_str(), |known| &known.current).to_owned()
            }
        };
        match &operation.request {
            Request::Capture { who, .. }
            | Request::Identify { who, .. }
            | Request::Alias { who, .. }
            | Request::Merge { who, .. }
            | Request::Set { who } => of(who),
            Request::DeviceIdentify { user, .. } => user.as_str().to_owned(),
            Request::Reset { new_id, .. } => {
                new_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default()
            }
        }
    }

    /// E1, and who spoke.
    fn change(&mut self, person: usize, id: &str, changes: &Changes) {
        let person = &mut self.persons[person];
        let before = person.properties.clone();
        change(&mut person.properties, changes);
        let written = changes
            .set
            .keys()
            .chain(changes.set_once.keys().filter(|key| !before.contains_key(key.as_str())));
        for key in written {
            person.written_by.insert(key.as_str().to_owned(), id.to_owned());
        }
        person.written_by.retain(|key, _| person.properties.contains_key(key));
    }

    fn set(&mut self, operation: &Operation, id: &str, device: Option<&str>) -> Option<&'static str> {
        let on = self.processing(operation, device, true);
        if let Some(device) = device {
            let state = self.device(device);
            if on {
                state.last_call = Some((id.to_owned(), operation.changes.clone()));
                state.profiled = true;
            }
        }
        if !on {
            return device.map(|_| "C7");
        }
        let person = self.found(id, operation.time);
        self.change(person, id, &operation.changes);
        None
    }

    // -- links, sections B, C, D -------------------------------------------------------------------------------------

    /// B4: the first mention decides.
    fn mention(&mut self, id: &str, mention: FirstMention) {
        self.number(id);
        let class = self.policy.classify(id, mention);
        self.classes.entry(id.to_owned()).or_insert(class);
    }

    fn link(
        &mut self,
        operation: &Operation,
        target: &str,
        device: Option<&str>,
        source: Option<&Source>,
        identify: bool,
        dangerous: bool,
    ) -> Option<&'static str> {
        let asked = match source {
            None => Asked::Nothing,
            Some(Source::Unstorable) => Asked::Unstorable,
            Some(Source::Id(id)) => Asked::Id(id.as_str().to_owned()),
        };
        self.mention(target, FirstMention::Plain);
        if let Asked::Id(source) = &asked {
            self.mention(source, if identify { FirstMention::IdentifySource } else { FirstMention::Plain });
        }
        let on = self.processing(operation, device, true);
        if !on {
            return Some("C7");
        }
        if let Some(device) = device {
            self.device(device).profiled = true;
        }
        let mut refused = None;
        match asked {
            Asked::Nothing => {
                self.found(target, operation.time);
            }
            Asked::Id(source) if source == target => {
                self.found(target, operation.time);
            }
            _ if !self.classes[target].mergeable => {
                self.found(target, operation.time);
                refused = Some("B2");
            }
            Asked::Unstorable => {
                self.found(target, operation.time);
                refused = Some("B2");
            }
            Asked::Id(source) if !self.classes[&source].mergeable => {
                self.found(target, operation.time);
                refused = Some("B2");
            }
            Asked::Id(source) => {
                refused = self.refusal(target, &source, dangerous);
                if refused == Some("D8") {
                    return refused;
                }
                if refused.is_none() {
                    self.unite(target, &source, operation.time);
                }
                let person = self.found(target, operation.time);
                self.persons[person].is_identified = true;
            }
        }
        let person = self.person(target).expect("founded above");
        self.change(person, target, &operation.changes);
        refused
    }

    fn refusal(&self, target: &str, source: &str, dangerous: bool) -> Option<&'static str> {
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
        let users = |ids: &BTreeSet<String>| ids.iter().filter(|id| self.classes[*id].user).count();
        let (ours, theirs) = (users(&ours), users(&theirs));
        if !dangerous && ours > 0 && theirs > 0 && over(ours + theirs, self.policy.max_user_ids) {
            return Some("D9");
        }
        None
    }

    /// D7.
    fn survivor_and_absorbed(&self, to: usize, from: usize) -> (usize, usize) {
        if self.policy.survivor == Survivor::Elder && from < to { (from, to) } else { (to, from) }
    }

    /// D2, D3, D4, D5, D7.
    fn unite(&mut self, target: &str, source: &str, time: Timestamp) {
        match (self.person(target), self.person(source)) {
            (None, None) => {
                let person = self.found(target, time);
                self.persons[person].ids.insert(source.to_owned());
            }
            (None, Some(person)) => {
                self.persons[person].ids.insert(target.to_owned());
            }
            (Some(person), None) => {
                self.persons[person].ids.insert(source.to_owned());
            }
            (Some(to), Some(from)) if to != from => {
                let mut properties = self.persons[from].properties.clone();
                properties.extend(self.persons[to].properties.clone()); // E2: the target wins
                let mut written_by = self.persons[from].written_by.clone();
                written_by.extend(self.persons[to].written_by.clone());
                let created_at = self.persons[to].created_at.min(self.persons[from].created_at);
                let identified = self.persons[to].is_identified;
                let (survivor, absorbed) = self.survivor_and_absorbed(to, from);
                let ids = std::mem::take(&mut self.persons[absorbed].ids);
                self.became.insert(absorbed, survivor);
                let person = &mut self.persons[survivor];
                person.ids.extend(ids);
                person.properties = properties;
                person.written_by = written_by;
                person.created_at = created_at;
                person.is_identified = identified;
            }
            _ => {}
        }
    }

    /// P(T), founded if need be.
    fn found(&mut self, id: &str, time: Timestamp) -> usize {
        let founded = self.seq;
        self.person(id).unwrap_or_else(|| {
            self.persons.push(ReferencePerson {
                founded,
                called_after: None,
                written_by: BTreeMap::new(),
                founding: id.to_owned(),
                ids: BTreeSet::from([id.to_owned()]),
                properties: BTreeMap::new(),
                is_identified: false,
                created_at: time,
            });
            self.persons.len() - 1
        })
    }
}

impl ReferenceDevice {
    fn anonymous(id: &str) -> ReferenceDevice {
        let id = id.to_owned();
        ReferenceDevice {
            current: id.clone(),
            anonymous: id,
            identified: false,
            profiled: false,
            last_call: None,
        }
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
    /// T, and what T is called when it is erased.
    spoke: String,
    /// Texts of it that were erased: they may have been any.
    forgotten: BTreeSet<String>,
    /// Whether its values were erased: they may have been any.
    values_forgotten: bool,
    /// Whether its own id was erased.
    is_forgotten: bool,
}

impl Seen {
    fn new(operation: &Operation, processing: Processing, spoke: String) -> Seen {
        let operation = operation.clone();
        let (forgotten, values_forgotten, is_forgotten) = (BTreeSet::new(), false, false);
        Seen { operation, processing, spoke, forgotten, values_forgotten, is_forgotten }
    }

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
        let reset = matches!(other.request, Request::Reset { .. });
        let invalid = |processing| processing == Processing::Invalid;
        let processing = match other.processing {
            Processing::Unsaid if speaks_as_device(other) => !invalid(self.processing),
            _ if reset => invalid(other.processing) == invalid(self.processing),
            Processing::Unsaid => self.processing == Processing::On,
            said => self.processing == said,
        };
        let mine = &self.operation;
        let changes = reset || self.processing == Processing::Off || self.same_changes(&other.changes);
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
    }
}

fn speaks_as_device(operation: &Operation) -> bool {
    match &operation.request {
        Request::Capture { who, .. }
        | Request::Identify { who, .. }
        | Request::Alias { who, .. }
        | Request::Merge { who, .. }
        | Request::Set { who } => matches!(who, Who::Device(_)),
        Request::DeviceIdentify { .. } | Request::Reset { .. } => true,
    }
}
