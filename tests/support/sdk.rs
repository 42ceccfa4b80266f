//! An SDK without a network: calls go to a device of a ledger, and what its records say is what an SDK would have sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity_ledger::log::{Asked, AskedVerb, Body, Flags, LinkSource, Verb};
use identity_ledger::model::{Dialect, PersonProfiles};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::{
    Appended, Changes, DeviceId, DistinctId, EventName, Ledger, LedgerOptions, Operation, OperationId,
    Policy, PropertyKey, Request, Source, Timestamp,
};
use serde_json::{Map, Value, json};

use super::checked::{check, new_ledger};

/// A ledger, the devices that speak to it, and a clock that moves a second a call.
pub(crate) struct World {
    /// `None` only while it is being opened again.
    ledger: Option<Ledger>,
    storage: Arc<Memory>,
    devices: BTreeMap<String, Client>,
    seconds: i64,
    recorded: usize,
}

/// One device and how its SDK is set up.
struct Client {
    device: DeviceId,
    dialect: Dialect,
    person_profiles: Option<PersonProfiles>,
    /// Whether a page load forgets everything.
    forgetful: bool,
}

/// What a device is after a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) distinct_id: String,
    pub(crate) device_id: String,
    pub(crate) anonymous_id: String,
    pub(crate) identified: bool,
    pub(crate) profiled: bool,
}

/// Why a call cannot be made at all.
pub(crate) type Undrivable = String;

impl Default for World {
    fn default() -> World {
        let (ledger, storage) = new_ledger(Policy::default());
        World { ledger: Some(ledger), storage, devices: BTreeMap::new(), seconds: 0, recorded: 0 }
    }
}

impl World {
    pub(crate) fn ledger(&mut self) -> &mut Ledger {
        self.ledger.as_mut().expect("a ledger is closed only on its way to be opened")
    }

    pub(crate) fn has(&self, client: &str) -> bool {
        self.devices.contains_key(client)
    }

    /// Adds a client whose device begins as `distinct_id`, or as a fresh one.
    pub(crate) fn add(
        &mut self,
        client: &str,
        dialect: Dialect,
        distinct_id: Option<&str>,
    ) -> Result<(), Undrivable> {
        let at = self.now();
        let device = match distinct_id {
            Some(id) => DeviceId::new(id).map_err(|error| error.to_string())?,
            None => self.ledger().new_device(at).expect("a ledger in memory can be written"),
        };
        let client_of_it = Client { device, dialect, person_profiles: None, forgetful: false };
        self.devices.insert(client.to_owned(), client_of_it);
        Ok(())
    }

    /// The device `device` begins as anonymous `distinct_id`, which is not its own id: the id a link brought, for one.
    pub(crate) fn begin_as(&mut self, client: &str, distinct_id: &str) -> Result<(), Undrivable> {
        let (at, device) = (self.now(), self.client(client).device.clone());
        let new_id = Some(DistinctId::new(distinct_id).map_err(|error| error.to_string())?);
        let reset = Operation::new(at, Request::Reset { device, reset_device: false, new_id });
        let appended = self.ledger().append(reset);
        self.count(&appended.expect("a ledger in memory can be written"));
        Ok(())
    }

    pub(crate) fn set_person_profiles(&mut self, client: &str, mode: &str) -> Result<(), Undrivable> {
        let mode = serde_json::from_value(json!(mode)).map_err(|error| error.to_string())?;
        self.client_mut(client).person_profiles = Some(mode);
        Ok(())
    }

    pub(crate) fn set_forgetful(&mut self, client: &str) {
        self.client_mut(client).forgetful = true;
    }

    /// A page is loaded again, or an app started: the ledger is closed and opened from its storage.
    pub(crate) fn restart(&mut self, client: &str) -> Result<(), Undrivable> {
        drop(self.ledger.take());
        self.storage = Arc::new(Memory::clone(&self.storage)); // without the lock of the ledger that was
        let place: Arc<dyn Storage> = self.storage.clone();
        self.ledger = Some(LedgerOptions::new().open_in(place).expect("what was written can be opened"));
        if self.client(client).forgetful {
            let dialect = self.client(client).dialect;
            self.add(client, dialect, None)?;
        }
        Ok(())
    }

    /// What the device is now.
    pub(crate) fn standing(&mut self, client: &str) -> Standing {
        let id = self.client(client).device.clone();
        let device = self.ledger().device(id);
        let (distinct_id, anonymous_id) =
            (device.distinct_id().into_string(), device.anonymous_id().into_string());
        let (device_id, identified) = (device.id().to_string(), device.is_identified());
        let number = self.ledger().reader().device_no(&device_id);
        let profiled = number.is_some_and(|number| self.ledger().reader().state().device(number).profiled);
        Standing { distinct_id, device_id, anonymous_id, identified, profiled }
    }

    /// Makes one call; gives what the SDK would have sent, none or one event.
    pub(crate) fn call(
        &mut self,
        client: &str,
        name: &str,
        arguments: &[Value],
    ) -> Result<Option<Value>, Undrivable> {
        let argument = |at: usize| arguments.get(at).unwrap_or(&Value::Null);
        match name {
            "capture" => {
                let event = argument(0).as_str().ok_or("a capture without a name")?;
                match event {
                    "$merge_dangerously" => {
                        self.merge(client, argument(1)["alias"].as_str().unwrap_or_default())
                    }
                    _ => self.capture(client, event),
                }
            }
            "identify" => match text(argument(0)) {
                Some(user) => self.identify(client, user, changes(argument(1), argument(2))?),
                None => Ok(None), // no text, no id: the call cannot even be written down
            },
            "alias" => match argument(0) {
                Value::Null => Ok(None), // as above
                alias => {
                    let alias = alias.as_str().ok_or("an alias that is no text")?;
                    let alias = (!alias.is_empty()).then(|| Source::new(alias));
                    self.speak(client, Changes::default(), |device, at, _| device.alias(at, alias))
                }
            },
            "setPersonProperties" => {
                let changes = changes(argument(0), argument(1))?;
                self.speak(client, changes, |device, at, changes| device.set(at, changes))
            }
            "unsetPersonProperties" => match unset(argument(0)) {
                Some(changes) => self.speak(client, changes, |device, at, changes| device.set(at, changes)),
                None => Ok(None), // a key that is none
            },
            "createPersonProfile" => {
                self.speak(client, Changes::default(), |device, at, changes| device.set(at, changes))
            }
            "reset" => {
                let reset_device = match argument(0) {
                    Value::Null => false,
                    Value::Bool(reset_device) => *reset_device,
                    Value::Object(options) if options.contains_key("bootstrap") => {
                        return Err("a reset that chooses the next id".to_owned());
                    }
                    options => options["regenerate_device"] == true,
                };
                self.speak(client, Changes::default(), |device, at, _| device.reset(at, reset_device))
            }
            // Nothing of these reaches a server, and no id depends on them.
            "register"
            | "register_once"
            | "register_for_session"
            | "unregister"
            | "get_distinct_id"
            | "get_anonymous_id" => Ok(None),
            "group" if self.client(client).person_profiles == Some(PersonProfiles::Never) => Ok(None),
            other => Err(format!("`{other}` is no call about identity")),
        }
    }

    /// The whole-log check.
    pub(crate) fn check(&mut self) {
        let (storage, recorded) = (Arc::clone(&self.storage), self.recorded);
        let _ = check(self.ledger(), &storage, recorded);
    }

    // -- calls -----------------------------------------------------------------------------------------------------

    fn identify(
        &mut self,
        client: &str,
        user: String,
        changes: Changes,
    ) -> Result<Option<Value>, Undrivable> {
        let Ok(user) = DistinctId::new(user) else { return Ok(None) };
        self.speak(client, changes, |device, at, changes| device.identify(at, user, changes))
    }

    fn capture(&mut self, client: &str, event: &str) -> Result<Option<Value>, Undrivable> {
        let event = EventName::new(event).map_err(|error| error.to_string())?;
        let id = OperationId(uuid::Uuid::from_u128(self.seconds.unsigned_abs().into()));
        self.speak(client, Changes::default(), |device, at, changes| device.capture(at, event, id, changes))
    }

    fn merge(&mut self, client: &str, alias: &str) -> Result<Option<Value>, Undrivable> {
        let (at, device) = (self.now(), self.client(client).device.clone());
        let merge = Operation::merge_dangerously(at, device, Source::new(alias));
        let appended = self.ledger().append(merge).expect("the cases keep all bounds");
        Ok(self.sent(client, &appended, &Changes::default()))
    }

    /// Speaks as the client's device; gives the event that says the same.
    fn speak(
        &mut self,
        client: &str,
        changes: Changes,
        say: impl FnOnce(
            &mut identity_ledger::Device<'_>,
            Timestamp,
            Changes,
        ) -> Result<Appended, identity_ledger::AppendError>,
    ) -> Result<Option<Value>, Undrivable> {
        let at = self.now();
        let Client { device, dialect, person_profiles, .. } = self.client(client);
        let (device, dialect, person_profiles) = (device.clone(), *dialect, *person_profiles);
        let mut device = self.ledger().device(device).dialect(dialect);
        if let Some(mode) = person_profiles {
            device = device.person_profiles(mode);
        }
        let appended = say(&mut device, at, changes.clone()).expect("the cases keep all bounds");
        let id = device.id().clone(); // a reset may have changed it
        self.client_mut(client).device = id;
        Ok(self.sent(client, &appended, &changes))
    }

    // -- what was sent ---------------------------------------------------------------------------------------------

    /// The event an SDK sends where the ledger records this: none where nothing was recorded, for a reset, for a switch
    /// without properties (F3), and for what is refused because processing is off (C7).
    fn sent(&mut self, client: &str, appended: &Appended, changes: &Changes) -> Option<Value> {
        self.count(appended);
        let Appended::Recorded { seq, .. } = *appended else { return None };
        let ledger = self.ledger();
        let mut recorded = None;
        let found = ledger.reader().replay(|step| {
            if step.record.seq() == seq {
                recorded = Some(step.record.body());
            }
        });
        found.expect("a log in memory can be read");
        let body = recorded.expect("what was recorded is in the log");
        let Asked { head, verb, .. } = body.asked().expect("an operation");
        let processing = !head.flags.has(Flags::PROCESSING_OFF);
        let id = |id| ledger.reader().id_text(id).expect("nothing is erased").to_owned();
        let other = match verb.other() {
            LinkSource::Id(other) => id(other),
            LinkSource::None | LinkSource::Unstorable => String::new(),
        };
        let mut properties = written(ledger, &body, changes);
        let event = match verb {
            AskedVerb::Capture(name) => {
                let mut event = None;
                let events = ledger.reader().events(|answer| {
                    if answer.seq == seq {
                        event = answer.event;
                    }
                });
                events.expect("a log in memory can be read");
                assert!(name.is_some(), "the cases name their events");
                event?
            }
            _ if !processing => return None,
            AskedVerb::Identify(LinkSource::None) | AskedVerb::Set => "$set".to_owned(),
            AskedVerb::Switch if changes.is_empty() => return None,
            AskedVerb::Switch => "$set".to_owned(),
            AskedVerb::Identify(_) => {
                properties.insert("$anon_distinct_id".to_owned(), other.into());
                "$identify".to_owned()
            }
            AskedVerb::Alias(_) => {
                properties.insert("alias".to_owned(), other.into());
                "$create_alias".to_owned()
            }
            AskedVerb::Merge(_) => {
                properties.insert("alias".to_owned(), other.into());
                "$merge_dangerously".to_owned()
            }
            _ => return None,
        };
        properties.insert("distinct_id".to_owned(), id(head.id).into());
        properties.insert("$process_person_profile".to_owned(), processing.into());
        let Standing { device_id, identified, .. } = self.standing(client);
        properties.insert("$device_id".to_owned(), device_id.into());
        properties.insert("$is_identified".to_owned(), identified.into());
        Some(json!({ "event": event, "properties": properties }))
    }

    fn count(&mut self, appended: &Appended) {
        self.recorded += usize::from(matches!(appended, Appended::Recorded { .. }));
    }

    fn client(&self, client: &str) -> &Client {
        self.devices.get(client).unwrap_or_else(|| panic!("client `{client}` was added"))
    }

    fn client_mut(&mut self, client: &str) -> &mut Client {
        self.devices.get_mut(client).unwrap_or_else(|| panic!("client `{client}` was added"))
    }

    fn now(&mut self) -> Timestamp {
        self.seconds += 1;
        Timestamp::from_micros(1_767_225_600_000_000 + self.seconds * 1_000_000).expect("a time in 2026")
    }
}

/// Property changes as the record has them, under the names SDKs use; the values are those of the call.
fn written(ledger: &Ledger, body: &Body, changes: &Changes) -> Map<String, Value> {
    let (mut set, mut set_once, mut unset) = (Map::new(), Map::new(), Vec::new());
    for change in body.changes() {
        let key = PropertyKey::new(ledger.reader().key_text(change.key).expect("nothing is erased"))
            .expect("a stored key");
        let value = |properties: &identity_ledger::Properties| json!(properties.get(&key));
        match change.verb {
            Verb::SET => drop(set.insert(key.to_string(), value(&changes.set))),
            Verb::SET_ONCE => drop(set_once.insert(key.to_string(), value(&changes.set_once))),
            _ => unset.push(json!(key.to_string())),
        }
    }
    let all = [("$set", json!(set)), ("$set_once", json!(set_once)), ("$unset", json!(unset))];
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An id argument: a text, or a number as a text.
fn text(argument: &Value) -> Option<String> {
    match argument {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn changes(set: &Value, set_once: &Value) -> Result<Changes, Undrivable> {
    let properties = |value: &Value| -> Result<identity_ledger::Properties, Undrivable> {
        let mut properties = identity_ledger::Properties::new();
        for (key, value) in value.as_object().into_iter().flatten() {
            let key = PropertyKey::new(key.as_str()).map_err(|error| error.to_string())?;
            properties.insert(key, serde_json::from_value(value.clone()).map_err(|error| error.to_string())?);
        }
        Ok(properties)
    };
    Ok(Changes { set: properties(set)?, set_once: properties(set_once)?, ..Changes::default() })
}

/// The keys to remove; `None` if one of them is no key.
fn unset(names: &Value) -> Option<Changes> {
    let names = match names {
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
        name => vec![name.as_str()?],
    };
    let unset = names.into_iter().map(|name| PropertyKey::new(name).ok()).collect::<Option<_>>()?;
    Some(Changes { unset, ..Changes::default() })
}
