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
    /// D1.
    pub is_identified: bool,
    /// D7.
    pub created_at: Timestamp,
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
        }
    }

    /// A3: another policy holds from here on. What was decided stays.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// F1: a device is mentioned, before it speaks.
    pub fn meet_device(&mut self, device: &str) {
        self.device(device);
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

    /// The founding ids of all persons there ever were, in the order of their founding.
    pub fn foundings(&self) -> impl Iterator<Item = &str> {
        self.persons.iter().map(|person| person.founding.as_str())
    }

    /// The founding id of the live person that the one founded by `founding` became (D7's redirect).
    pub fn became(&self, founding: &str) -> Option<&str> {
        let mut place = self.persons.iter().position(|person| person.founding == founding)?;
        while let Some(survivor) = self.became.get(&place) {
            place = *survivor;
        }
        Some(&self.persons[place].founding)
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
                        change(&mut self.persons[person].properties, &operation.changes);
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
                let also = reset_device.then(|| fresh.to_owned());
                for device in [Some(device), also].into_iter().flatten() {
                    self.devices.insert(device, ReferenceDevice::anonymous(fresh));
                }
                None
            }
        };
        if let Some(id) = operation.id {
            self.seen.insert(id, Seen { operation: operation.clone(), processing });
        }
        ReferenceOutcome::Recorded(outcome)
    }

    // -- devices, section F ------------------------------------------------------------------------------------------

    /// F1: a device that was never mentioned begins with its own id.
    fn device(&mut self, device: &str) -> &mut ReferenceDevice {
        if !self.devices.contains_key(device) {
            self.mention(device, FirstMention::Device);
        }
        self.devices.entry(device.to_owned()).or_insert_with(|| ReferenceDevice::anonymous(device))
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
                change(&mut self.persons[person].properties, &operation.changes);
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
        change(&mut self.persons[person].properties, &operation.changes);
        None
    }

    // -- links, sections B, C, D -------------------------------------------------------------------------------------

    /// B4: the first mention decides.
    fn mention(&mut self, id: &str, mention: FirstMention) {
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
        change(&mut self.persons[person].properties, &operation.changes);
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
    fn found(&mut self, id: &str, time: Timestamp) -> usize {
        self.person(id).unwrap_or_else(|| {
            self.persons.push(ReferencePerson {
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
}

impl Seen {
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
        let changes = reset || self.processing == Processing::Off || self.operation.changes == other.changes;
        let mine = &self.operation;
        processing
            && changes
            && (mine.time, mine.derived_id, mine.bent) == (other.time, other.derived_id, other.bent)
            && mine.request == other.request
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
