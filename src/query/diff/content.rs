//! Content: what a log means, as plain ordered maps; what the content digest covers, and a [`Diff`](crate::diff::Diff) applies to.
//! It knows no record numbers. It is as large as the log, so it is for tests and for small ledgers; a diff needs none.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fold::{DeviceState, PersonView, State};
use crate::log::body::{DeviceNo, Flags, IdNo, KeyNo};
use crate::log::digest::Digest;
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::PersonId;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::query::answer::EventMode;
use crate::query::diff::view::{Name, View};
use crate::query::reader::{Reader, Resolution};
use crate::store::segments::Fault;

/// What a log means, free of numbers (A2). Two contents are equal exactly when their content digests are.
/// There are two exceptions, whose numbers the digest passes over: D11 puts a number into some person ids,
/// and an erased text leaves its number behind.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// use identity_ledger::diff::Content;
///
/// let at = Timestamp::from_micros(0)?;
/// let [mut ann, mut bob] = [(); 2].map(|()| Ledger::in_memory(Tenant::default(), Policy::default()).unwrap());
/// for ledger in [&mut ann, &mut bob] {
///     let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("visitor"))))?;
/// }
/// assert_eq!(Content::of(&ann.reader().view())?, Content::of(&bob.reader().view())?);
/// let _ = bob.append(Operation::properties(at, DistinctId::new("bob")?))?;
/// assert_ne!(Content::of(&ann.reader().view())?, Content::of(&bob.reader().view())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The persons, by public id.
    pub persons: BTreeMap<PersonId, ContentPerson>,
    /// The ids that have a person or events. An id that was only named in a refused link is not among them.
    pub ids: BTreeMap<Name, ContentId>,
    /// The devices, by device id.
    pub devices: BTreeMap<Name, ContentDevice>,
}

/// One person; its ids are those that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentPerson {
    /// Flag and time.
    pub facts: PersonFacts,
    /// Its properties; `None` for a value that was erased.
    pub properties: BTreeMap<Name, Option<Value>>,
}

/// What is known of a person beside ids and properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PersonFacts {
    /// Whether an operation identified it (D1).
    pub is_identified: bool,
    /// When it was founded, by the sender's clock; merges lower it (D7).
    pub created_at: Timestamp,
}

/// What a log means for one distinct id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentId {
    /// Whose it is, and so whose its events are; an implied person if it has none.
    pub whose: Resolution,
    /// The events that go with it (G2).
    pub events: ContentEvents,
}

/// The events of one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentEvents {
    /// How many have processing on (G3).
    pub full: u64,
    /// How many have it off.
    pub propertyless: u64,
    /// A digest of each, ascending: of all that the event holds, but not of whose it is.
    pub digests: Vec<Digest>,
}

impl ContentEvents {
    pub(crate) fn count(&mut self, mode: EventMode) -> &mut u64 {
        match mode {
            EventMode::Full => &mut self.full,
            EventMode::Propertyless => &mut self.propertyless,
        }
    }
}

/// One device (F1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContentDevice {
    /// The id it speaks for.
    pub current_id: Name,
    /// The id it had before a user was identified.
    pub anonymous_id: Name,
    /// Whether a user was identified on it since the last reset.
    pub identified: bool,
    /// Whether an operation asked for a profile since the last reset (F8).
    pub profiled: bool,
}

impl Content {
    /// What a view holds. Cost: a replay, and all of it in memory.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn of(view: &View<'_>) -> Result<Content, Fault> {
        let (reader, state) = (view.reader, view.state());
        let mut content = Content::default();
        for person in state.persons() {
            let standing = person.standing().collect::<Vec<_>>();
            let values = reader.values(&standing)?.into_iter().map(|answer| answer.value);
            let keys = person.properties.iter().map(|property| reader.key_named(property.key));
            let facts = PersonFacts::of(&person);
            let properties = keys.zip(values).collect();
            content.persons.insert(view.person_id(person.number), ContentPerson { facts, properties });
        }
        for id in state.ids() {
            if has_content(state, id) {
                let id_here = ContentId { whose: view.whose(id), events: ContentEvents::default() };
                content.ids.insert(view.id_named(id), id_here);
            }
        }
        for (number, device) in (0..).map(DeviceNo).zip(state.devices()) {
            content.devices.insert(view.device_named(number), ContentDevice::of(view, device));
        }
        reader.replay_first(view.records(), |step| {
            if view.has(step.record.seq())
                && let Some((digest, mode)) = reader.event_here(step.record)
            {
                let goes_with = state.speaks_for(step.record.row.id, step.record.seq());
                let id = content.ids.get_mut(&reader.id_named(goes_with));
                let events = &mut id.expect("an id with events is content").events;
                events.digests.push(digest);
                *events.count(mode) += 1;
            }
        })?;
        content.ids.values_mut().for_each(|id| id.events.digests.sort_unstable());
        Ok(content)
    }
}

/// Whether an id means anything: an id that was only named in a refused link does not.
pub(crate) fn has_content(state: &State, id: IdNo) -> bool {
    state.person(id).is_some() || state.events_of_id(id).events > 0
}

impl PersonFacts {
    pub(crate) fn of(person: &PersonView<'_>) -> PersonFacts {
        PersonFacts { is_identified: person.identified_by.is_some(), created_at: person.created_at }
    }
}

impl ContentDevice {
    pub(crate) fn of(view: &View<'_>, device: &DeviceState) -> ContentDevice {
        ContentDevice {
            current_id: view.id_named(device.current),
            anonymous_id: view.id_named(device.anonymous),
            identified: device.identified,
            profiled: device.profiled,
        }
    }
}

impl Reader {
    pub(crate) fn id_named(&self, id: IdNo) -> Name {
        Name::of(self.id_text(id), id.0)
    }

    pub(crate) fn device_named(&self, device: DeviceNo) -> Name {
        Name::of(self.device_text(device), device.0)
    }

    pub(crate) fn key_named(&self, key: KeyNo) -> Name {
        Name::of(self.key_text(key), key.0)
    }

    /// The digest of an event but for whose it is, and its mode; `None` for other records. Whether it counts, a view
    /// [says](View::has).
    pub(crate) fn event_here(&self, record: Record<'_>) -> Option<(Digest, EventMode)> {
        if record.row.kind != Kind::Capture {
            return None;
        }
        let off = record.row.flags.has(Flags::PROCESSING_OFF);
        let mode = if off { EventMode::Propertyless } else { EventMode::Full };
        Some((self.event_digest(record)?, mode))
    }
}
