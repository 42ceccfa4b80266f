//! The words of the reference model: what was said, and persons, devices and events as the model has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::kind::KindNo;
use crate::model::operation::{Changes, Source};
use crate::model::policy::{IdClass, Policy};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// What is left of the text of an id or device: its place in the order in which they were first mentioned.
pub(super) fn erased_name(place: usize) -> String {
    format!("$erased:{place}")
}

/// Stands where a value was erased.
pub fn erased_value() -> Value {
    Value::from("$erased")
}

/// What a person's public id is made of (D10, D11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonIdBasis {
    /// D10: the text of the founding id.
    Founding(String),
    /// D11: the text of an id and the record that defined it.
    Defined(String),
    /// D11: a text and the place of the split that founded it.
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
    /// The current value of each property, by key.
    pub properties: BTreeMap<String, Value>,
    /// E8: of a key with an event time, the writes that may count, also one that removed it.
    pub(super) timed: BTreeMap<String, Vec<Timed>>,
    /// Whether an operation identified the person (D1).
    pub is_identified: bool,
    /// When the person was founded, by the sender's clock; merges lower it (D7).
    pub created_at: Timestamp,
    /// The place of the operation that founded it, and which it was of those that one split founded.
    pub(super) founded: (usize, usize),
}

/// A write by event time (E8).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timed {
    /// Its event time, and its place among all that was said.
    pub(super) when: (Timestamp, usize),
    pub(super) what: Write,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Set(Value),
    SetOnce(Value),
    Unset,
}

/// E8: the writes of a key that may count, in the order of their times: none before the latest `set` or `unset`, and of several `set_once`
/// the first.
pub(super) fn counting(mut writes: Vec<Timed>) -> Vec<Timed> {
    writes.sort_by_key(|write| write.when);
    let latest = writes.iter().rposition(|write| !matches!(write.what, Write::SetOnce(_)));
    let mut writes = writes.split_off(latest.unwrap_or(0));
    let mut is_first = true;
    writes.retain(|write| !matches!(write.what, Write::SetOnce(_)) || std::mem::take(&mut is_first));
    writes
}

/// The write whose value a key has, and the value; `None` if it is unset.
pub(super) fn standing(writes: &[Timed]) -> Option<(&Timed, &Value)> {
    let unset = usize::from(writes.first().is_some_and(|write| write.what == Write::Unset));
    writes[unset..].first().and_then(|write| match &write.what {
        Write::Set(value) | Write::SetOnce(value) => Some((write, value)),
        Write::Unset => None,
    })
}

/// A device as the reference model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceDevice {
    /// For whom it speaks.
    pub current: String,
    /// Whom dialect `core` links next.
    pub anonymous: String,
    /// Whether a user was identified on it since the last reset.
    pub identified: bool,
    /// Whether its captures ask for a profile under `identified_only` (F8).
    pub profiled: bool,
}

/// An event as the reference model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceEvent {
    /// The id it was captured under.
    pub distinct_id: String,
    /// The id that it goes with: the same, or the one for which a shared id spoke (D13).
    pub goes_with: String,
    /// Whether it counts as full, not propertyless (G3).
    pub full: bool,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceOutcome {
    /// Recorded; the rule that refused it, if one did.
    Recorded(Option<&'static str>),
    /// The same operation was recorded before under the same operation id (G4).
    Duplicate,
    /// Another operation was recorded before under the same operation id (G4).
    Conflict,
    /// A device's identify that only repeats what the device said last (F3).
    Ignored,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Policy(Policy),
    /// A device, and the id it begins with.
    Device(String, String),
    Operation(Asked),
}

/// An operation as it is recorded: for whom it speaks is decided (F2, F3, F8).
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) verb: Verb,
    pub(super) id: String,
    pub(super) device: Option<String>,
    pub(super) on: bool,
    pub(super) changes: Changes,
    pub(super) time: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) enum Verb {
    Capture(String),
    Identify(LinkSource),
    Alias(LinkSource),
    Merge(LinkSource),
    Set,
    Switch,
    Reset { also: Option<String> },
    Retract(usize),
    Split { ids: BTreeSet<String>, together: bool },
    Reclassify(Class),
}

/// The class of an id, and its kind (D12).
pub(super) type Class = (IdClass, Option<KindNo>);

/// The class of each id, decided when it was first written (B4) or given since (H5), and the order in which they were.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// B4.
    pub(super) of: BTreeMap<String, Class>,
    /// H5: as things stand.
    pub(super) given: BTreeMap<String, Class>,
    /// H3: the place of what was said first behind the erasure of an id.
    pub(super) erased: BTreeMap<String, usize>,
    pub(super) order: Vec<String>,
}

impl Classes {
    pub(super) fn number(&mut self, id: &str) {
        if !self.order.iter().any(|known| known == id) {
            self.order.push(id.to_owned());
        }
    }

    /// The class of an id, as things stand.
    pub(super) fn class(&self, id: &str) -> IdClass {
        self.class_and_kind(id).0
    }

    pub(super) fn class_and_kind(&self, id: &str) -> Class {
        self.given.get(id).copied().unwrap_or_else(|| self.of[id])
    }

    /// These ids in the order in which they were first written.
    pub(super) fn ordered(&self, ids: &BTreeSet<String>) -> Vec<String> {
        self.order.iter().filter(|id| ids.contains(*id)).cloned().collect()
    }
}

/// S as text, or a text that B1 bars.
#[derive(Clone, Debug)]
pub(super) enum LinkSource {
    Nothing,
    Unstorable,
    Id(String),
}

impl LinkSource {
    pub(super) fn of(source: Option<&Source>) -> LinkSource {
        match source {
            None => LinkSource::Nothing,
            Some(Source::Unstorable) => LinkSource::Unstorable,
            Some(Source::Id(id)) => LinkSource::Id(id.as_str().to_owned()),
        }
    }
}
