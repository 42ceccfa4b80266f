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
    /// What is known of each key, also of one that is known to be removed.
    pub(super) held: BTreeMap<String, Held>,
    /// Whether an operation identified the person (D1).
    pub is_identified: bool,
    /// When the person was founded, by the sender's clock; merges lower it (D7).
    pub created_at: Timestamp,
    /// The place of the operation that founded it, and which it was of those that one split founded.
    pub(super) founded: (usize, usize),
}

/// What a person has under a key: the writes that may count.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    /// Whether the event times of all of them are known (E8).
    pub(super) timed: bool,
    /// By event time in the order of the times; else the value first, then the relative changes in their order (E9).
    pub(super) writes: Vec<Told>,
}

/// A write of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    /// Its event time, if that counts, and its place among all that was said.
    pub(super) when: (Option<Timestamp>, usize),
    pub(super) what: Write,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Set(Value),
    SetOnce(Value),
    Unset,
    /// By the name of its verb (E9).
    Relative(&'static str, Value),
}

impl Told {
    pub(super) fn is_relative(&self) -> bool {
        matches!(self.what, Write::Relative(..))
    }

    fn bars(&self) -> bool {
        matches!(self.what, Write::Set(_) | Write::Unset)
    }
}

impl Held {
    /// E8: of writes with event times those that may count: none before the latest `set` or `unset`, and of several `set_once` the first.
    pub(super) fn counting(mut writes: Vec<Told>) -> Held {
        writes.sort_by_key(|write| write.when);
        let latest = writes.iter().rposition(Told::bars);
        let mut writes = writes.split_off(latest.unwrap_or(0));
        let mut is_first = true;
        writes.retain(|write| !matches!(write.what, Write::SetOnce(_)) || std::mem::take(&mut is_first));
        Held { timed: true, writes }
    }

    /// A value, if there is one, and relative changes, of which not all have event times.
    pub(super) fn by_record(base: Option<Told>, mut relative: Vec<Told>) -> Held {
        relative.sort_by_key(|write| write.when);
        Held { timed: false, writes: base.into_iter().chain(relative).collect() }
    }

    /// The write with which the value begins.
    pub(super) fn begins(&self) -> Option<&Told> {
        self.writes.iter().find(|write| write.what != Write::Unset)
    }

    /// The write of the value, if that does not begin with a relative change.
    pub(super) fn base(&self) -> Option<&Told> {
        self.begins().filter(|write| !write.is_relative())
    }

    pub(super) fn relative(&self) -> impl Iterator<Item = &Told> {
        self.writes.iter().filter(|write| write.is_relative())
    }

    /// The value; `None` of a key that the person does not have. What is erased counts as nothing (H3).
    pub(super) fn value(&self) -> Option<Value> {
        let begins = self.begins()?;
        let mut value = match &begins.what {
            Write::Set(value) | Write::SetOnce(value) => Some(value.clone()),
            _ => None,
        };
        if value == Some(erased_value()) {
            return value;
        }
        for write in self.relative() {
            if let Write::Relative(verb, operand) = &write.what
                && *operand != erased_value()
            {
                value = Some(applied(value, verb, operand));
            }
        }
        value.or(Some(erased_value()))
    }
}

/// E9: a value after a relative change; as it was if that does not fit.
fn applied(value: Option<Value>, verb: &str, operand: &Value) -> Value {
    if verb == "add" {
        let value = value.unwrap_or(Value::Int(0));
        return sum(&value, operand).unwrap_or(value);
    }
    let value = value.unwrap_or(Value::List(Vec::new()));
    let (Value::List(before), Value::List(operand)) = (&value, operand) else { return value };
    let mut after = before.clone();
    for element in operand {
        match verb {
            "append" => after.push(element.clone()),
            "union" if after.contains(element) => {}
            "union" => after.push(element.clone()),
            _ => after.retain(|other| other != element),
        }
    }
    let after = Value::List(after);
    if after.check().is_ok() { after } else { value }
}

fn sum(a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Value::float(a + b).ok(),
        (Value::Float(float), whole) | (whole, Value::Float(float)) => {
            let near = integer(whole)? as f64;
            if Some(near as i128) == integer(whole) { Value::float(float + near).ok() } else { None }
        }
        _ => Value::number(&(integer(a)? + integer(b)?).to_string()).ok(),
    }
}

fn integer(value: &Value) -> Option<i128> {
    value.to_string().parse().ok().filter(|_| matches!(value, Value::Int(_) | Value::UInt(_)))
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
