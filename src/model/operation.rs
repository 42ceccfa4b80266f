//! Operations: what was asked. What it meant is for the fold to say.

use std::collections::BTreeSet;

use crate::model::class::IdClass;
use crate::model::id::{DeviceId, DistinctId, EventName, OperationId, PropertyKey, Seq};
use crate::model::limits::{MAX_OPERATION_BYTES, MAX_OPERATION_KEYS, MAX_SPLIT_IDS};
use crate::model::time::Timestamp;
use crate::model::value::{Properties, Value, ValueError};

/// One thing that was asked of the ledger, by a sender, at a time.
///
/// ```
/// use identity_ledger::{DistinctId, Operation, Timestamp};
///
/// let at = Timestamp::from_micros(0)?;
/// let ann = DistinctId::new("ann")?;
/// let visitor = DistinctId::new("0190c0de-0000-7000-8000-0000000000aa")?;
/// let operation = Operation::identify(at, ann, Some(visitor.into())).set("email", "ann@example.com")?;
/// assert_eq!(operation.changes.set.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The sender's clock.
    pub time: Timestamp,
    /// The operation's own id; `None` when none was given; then it can never be a duplicate (G4).
    pub id: Option<OperationId>,
    /// Whether `id` was derived from content rather than given. A derived id is stored erasably: it could be guessed.
    pub derived_id: bool,
    /// Whether `time` depends on when the request arrived, as PostHog's clients let servers correct their clocks. The same event sent
    /// again has another time then, so under the same id it is a duplicate all the same (G4).
    pub time_by_arrival: bool,
    /// Whether it is a vendor's copy of an event, as its exports have them, with what the vendor added. Under the same id it is a
    /// duplicate of the event itself, whatever the two say beside that (G4).
    pub is_copy: bool,
    /// What was asked.
    pub request: Request,
    /// Property changes asked along with it.
    pub changes: Changes,
    /// Whether the sender wants a person profile for it.
    pub processing: Processing,
    /// What an importer had to bend to make the operation fit.
    pub bent: ImportFixups,
    /// How the sender's SDK is set up, where a device speaks and it is not set up as the policy says.
    pub sdk: Sdk,
}

/// What was asked, and of whom. T is the id spoken for, S the other id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// An event happened (C1).
    Capture {
        /// Who did it.
        who: Actor,
        /// What it was; the name decides E3.
        event: Option<EventName>,
        /// The event's own properties, kept only under the policy `keep_event_properties`.
        properties: Properties,
    },
    /// T and, if given, S are one person; S was anonymous (C2).
    Identify {
        /// T: the id or the device that the operation speaks for.
        who: Actor,
        /// S: the anonymous id; without it nothing is linked, and only properties change.
        anonymous: Option<Source>,
    },
    /// A device says who uses it: F3 decides what that means.
    DeviceIdentify {
        /// The device that speaks.
        device: DeviceId,
        /// Who uses it from now on.
        user: DistinctId,
    },
    /// T and S are one person (C3). An empty alias is `None`.
    Alias {
        /// T: the id or the device that the operation speaks for.
        who: Actor,
        /// S: the alias; without it nothing is linked, and only properties change.
        alias: Option<Source>,
    },
    /// T and S are one person even if both are identified (C4): PostHog's `$merge_dangerously`.
    Merge {
        /// T: the id or the device that the operation speaks for.
        who: Actor,
        /// S: the alias; without it nothing is linked, and only properties change.
        alias: Option<Source>,
    },
    /// Property changes only (C5).
    Set {
        /// T: the id or the device whose person gets the changes.
        who: Actor,
    },
    /// The device forgets who used it (C6, F4).
    Reset {
        /// The device that is reset.
        device: DeviceId,
        /// Whether the device gets a new device id too.
        reset_device: bool,
        /// The fresh anonymous id; `None` lets the ledger make one.
        new_id: Option<DistinctId>,
    },
    /// An operation counts as never asked (H1).
    Retract {
        /// The operation to retract, by its record or by its operation id.
        target: Target,
    },
    /// Ids leave the person of another (H2).
    Split {
        /// T: an id of the person, leaving or staying.
        id: DistinctId,
        /// The ids that leave: at least 1, at most [`MAX_SPLIT_IDS`].
        ids: BTreeSet<DistinctId>,
        /// As one person or many.
        mode: SplitMode,
    },
    /// An id counts as one of another class, from its definition on (H5).
    Reclassify {
        /// T, which must have been written before.
        id: DistinctId,
        /// Its class from here on, for what was said before too.
        class: IdClass,
    },
}

/// The operation that a retract names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// That of this record.
    Record(Seq),
    /// That which was recorded under this id.
    Operation(OperationId),
}

/// How ids leave a person (H2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitMode {
    /// Each becomes a person of its own.
    #[default]
    Each,
    /// Together they become one.
    Together,
}

/// Who an operation speaks for: an id, or whichever id a device has now (F2, F7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The operation speaks for this id.
    Id(DistinctId),
    /// The current id of this device.
    Device(DeviceId),
}

impl From<DistinctId> for Actor {
    fn from(id: DistinctId) -> Actor {
        Actor::Id(id)
    }
}

impl From<DeviceId> for Actor {
    fn from(device: DeviceId) -> Actor {
        Actor::Device(device)
    }
}

/// S, the other id of a link. Its text may break B1; then the link is a recorded refusal without the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A storable id.
    Id(DistinctId),
    /// A text that is empty, too long or holds U+0000.
    Unstorable,
}

impl Source {
    /// Takes any text.
    pub fn new(text: &str) -> Source {
        DistinctId::new(text).map_or(Source::Unstorable, Source::Id)
    }
}

impl From<DistinctId> for Source {
    fn from(id: DistinctId) -> Source {
        Source::Id(id)
    }
}

/// Property changes of one operation (E1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys to write.
    pub set: Properties,
    /// Keys to write where absent.
    pub set_once: Properties,
    /// Keys to remove.
    pub unset: BTreeSet<PropertyKey>,
    /// Numbers to add to what the keys have (E9).
    pub add: Properties,
    /// Lists whose elements are appended to what the keys have.
    pub append: Properties,
    /// Lists whose elements are appended as far as the keys do not have them.
    pub union: Properties,
    /// Lists whose elements are taken out of what the keys have.
    pub remove: Properties,
}

impl Changes {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.unset.is_empty() && self.valued().iter().all(|(_, properties)| properties.is_empty())
    }

    /// The changes that bring values, by the names of their verbs.
    pub(crate) fn valued(&self) -> [(&'static str, &Properties); 6] {
        let Changes { set, set_once, unset: _, add, append, union, remove } = self;
        [
            ("set", set),
            ("set_once", set_once),
            ("add", add),
            ("append", append),
            ("union", union),
            ("remove", remove),
        ]
    }

    /// The relative ones of [`Changes::valued`] (E9).
    pub(crate) fn relative(&self) -> impl Iterator<Item = (&'static str, &Properties)> {
        self.valued().into_iter().skip(2)
    }

    /// Whether one of the keys changes relatively to what it has (E9).
    pub(crate) fn has_relative(&self) -> bool {
        self.relative().any(|(_, properties)| !properties.is_empty())
    }

    /// E9: a key that changes relatively changes in no other way, by an operand of the right kind.
    fn check_relative(&self) -> Result<(), OperationError> {
        for (verb, key, operand) in
            self.relative().flat_map(|(verb, all)| all.iter().map(move |(key, operand)| (verb, key, operand)))
        {
            let verbs = self.valued().into_iter().filter(|(_, properties)| properties.contains_key(key));
            if verbs.count() > 1 || self.unset.contains(key) {
                return Err(OperationError::OtherChange { key: key.clone(), verb });
            }
            let (fits, expected) = match (verb, operand) {
                ("add", Value::Int(_) | Value::UInt(_) | Value::Float(_)) => (true, "a number"),
                ("add", _) => (false, "a number"),
                (_, operand) => (matches!(operand, Value::List(_)), "a list of values"),
            };
            if !fits {
                return Err(OperationError::Operand {
                    key: key.clone(),
                    verb,
                    found: operand.kind(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Whether an operation wants a person profile (PostHog's `$process_person_profile`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processing {
    /// Nothing was said: on, except where a device's mode decides (F8).
    #[default]
    Unsaid,
    /// The operation asks for a person profile.
    On,
    /// Off: a propertyless record (C1, C7).
    Off,
    /// The flag was not a boolean: on, with a notice.
    Invalid,
}

/// What an importer bent to make an operation fit; each is a notice in the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportFixups {
    /// T or S was cut to the first 200 scalar values.
    pub shortened_id: bool,
    /// U+0000 in T or S, or half of a surrogate pair in a stored value or key, became U+FFFD.
    pub replaced_nul: bool,
    /// The time lay too far in the future and became the time of recording (G5).
    pub clamped_time: bool,
}

impl ImportFixups {
    /// What either of two bent.
    #[must_use]
    pub fn and(self, other: ImportFixups) -> ImportFixups {
        ImportFixups {
            shortened_id: self.shortened_id || other.shortened_id,
            replaced_nul: self.replaced_nul || other.replaced_nul,
            clamped_time: self.clamped_time || other.clamped_time,
        }
    }
}

/// The set-up of a device's SDK; what is `None` is as the policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sdk {
    /// How it treats a second identify (F3).
    pub dialect: Option<Dialect>,
    /// When it asks for a person profile (F8).
    pub person_profiles: Option<PersonProfiles>,
}

/// How a device treats `identify` of another id while identified (F3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// posthog-js: switches the current id, links nothing.
    #[default]
    Browser,
    /// React Native and js-lite: identifies again with the device's anonymous id.
    Core,
}

/// When a device's captures ask for a person profile (F8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonProfiles {
    /// From the first identify, alias or set until the next reset.
    #[default]
    IdentifiedOnly,
    /// Every capture asks for a profile.
    Always,
    /// Never; identify, alias and set are refused (C7).
    Never,
}

/// Why an operation cannot be recorded. Nothing of it is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// It names too many property keys.
    #[error("the operation names {found} property keys; expected at most {MAX_OPERATION_KEYS}")]
    TooManyKeys {
        /// How many property keys it names.
        found: usize,
    },
    /// Its values are too large together.
    #[error("the operation's values take {found} bytes; expected at most {MAX_OPERATION_BYTES}")]
    TooManyBytes {
        /// The size of its values together, in canonical bytes.
        found: usize,
    },
    /// A reset, retract, split or reclassification takes no property changes.
    #[error("a {op} takes no property changes; send them in a set of their own")]
    UnexpectedChanges {
        /// What was asked.
        op: &'static str,
    },
    /// A split names no id, or too many.
    #[error("the split names {found} ids; expected 1 to {MAX_SPLIT_IDS}")]
    SplitIds {
        /// How many ids the split names.
        found: usize,
    },
    /// A split or reclassification names an id that was never written.
    #[error("id `{id}` was never written; expected an id that was")]
    UnknownId {
        /// The id that was never written.
        id: DistinctId,
    },
    /// A retract names an operation id that was never recorded.
    #[error("no operation is recorded under id {id}; expected one that is")]
    UnknownOperation {
        /// The operation id that was never recorded.
        id: OperationId,
    },
    /// A retract names a record that is not there.
    #[error("there is no record {seq} to retract; expected one below {records}")]
    NoSuchRecord {
        /// The record that was named.
        seq: Seq,
        /// How many there are.
        records: u64,
    },
    /// A device speaks after a retract of the same batch. For which id it speaks is unknown until the retract
    /// is folded.
    #[error("a device speaks after a retract of the same batch; append it in a batch of its own")]
    AfterRetract,
    /// It names a text that was erased, in a ledger that records no erased text again.
    #[error("`{id}` was erased, and this ledger records no erased id again")]
    Erased {
        /// The text that the operation names.
        id: String,
    },
    /// A retract names a record that is not an operation (A4).
    #[error("record {seq} is a {found} record; expected an operation")]
    NotAnOperation {
        /// The record that was named.
        seq: Seq,
        /// What it is.
        found: &'static str,
    },
    /// The fresh id of a reset is in use (F4).
    #[error("the fresh id `{id}` of the reset is {whose}; expected an id that is new, or an anonymous one")]
    NotFresh {
        /// The id that was given as the fresh one.
        id: DistinctId,
        /// Whose it is.
        whose: &'static str,
    },
    /// A key is to be changed relatively to what it has, and in another way too.
    #[error(
        "property `{key}` changes by `{verb}` and in another way in one operation; send them one after the other"
    )]
    OtherChange {
        /// The key of the property.
        key: PropertyKey,
        /// The relative change.
        verb: &'static str,
    },
    /// A relative change of a kind of value that it does not take.
    #[error("`{verb}` of property `{key}` is {found}; expected {expected}")]
    Operand {
        /// The key of the property.
        key: PropertyKey,
        /// The relative change.
        verb: &'static str,
        /// What it was given.
        found: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// One value cannot be stored.
    #[error("property `{key}`: {source}")]
    Value {
        /// The key of the property.
        key: PropertyKey,
        /// What is wrong with it.
        source: ValueError,
    },
}

impl Operation {
    /// An operation that asks `request` and nothing more.
    pub fn new(time: Timestamp, request: Request) -> Operation {
        Operation {
            time,
            id: None,
            derived_id: false,
            time_by_arrival: false,
            is_copy: false,
            request,
            changes: Changes::default(),
            processing: Processing::default(),
            bent: ImportFixups::default(),
            sdk: Sdk::default(),
        }
    }

    /// An event without a name (C1).
    pub fn capture(time: Timestamp, who: impl Into<Actor>, id: OperationId) -> Operation {
        let who = who.into();
        Operation::new(time, Request::Capture { who, event: None, properties: Properties::new() }).with_id(id)
    }

    /// T and perhaps S are one person (C2).
    pub fn identify(time: Timestamp, who: DistinctId, anonymous: Option<Source>) -> Operation {
        Operation::new(time, Request::Identify { who: Actor::Id(who), anonymous })
    }

    /// T and S are one person (C3).
    pub fn alias(time: Timestamp, who: impl Into<Actor>, alias: impl Into<Source>) -> Operation {
        Operation::new(time, Request::Alias { who: who.into(), alias: Some(alias.into()) })
    }

    /// T and S are one person, whatever is known of them (C4).
    pub fn merge_dangerously(time: Timestamp, who: impl Into<Actor>, alias: impl Into<Source>) -> Operation {
        Operation::new(time, Request::Merge { who: who.into(), alias: Some(alias.into()) })
    }

    /// Property changes only (C5); add them with [`Operation::set`] and its siblings.
    pub fn properties(time: Timestamp, who: impl Into<Actor>) -> Operation {
        Operation::new(time, Request::Set { who: who.into() })
    }

    /// This operation counts as never asked (H1).
    pub fn retract(time: Timestamp, target: Target) -> Operation {
        Operation::new(time, Request::Retract { target })
    }

    /// These ids leave the person of `id` (H2).
    pub fn split(
        time: Timestamp,
        id: DistinctId,
        ids: impl IntoIterator<Item = DistinctId>,
        mode: SplitMode,
    ) -> Operation {
        Operation::new(time, Request::Split { id, ids: ids.into_iter().collect(), mode })
    }

    /// This id counts as one of this class, from its definition on (H5).
    pub fn reclassify(time: Timestamp, id: DistinctId, class: IdClass) -> Operation {
        Operation::new(time, Request::Reclassify { id, class })
    }

    /// With this id, given by the sender.
    pub fn with_id(mut self, id: OperationId) -> Operation {
        self.id = Some(id);
        self.derived_id = false;
        self
    }

    /// With processing asked for or not.
    pub fn with_processing(mut self, processing: Processing) -> Operation {
        self.processing = processing;
        self
    }

    /// With this event name, if it is a capture.
    pub fn with_event(mut self, name: EventName) -> Operation {
        if let Request::Capture { event, .. } = &mut self.request {
            *event = Some(name);
        }
        self
    }

    /// Also writes `key`.
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Result<Operation, crate::model::id::IdError> {
        self.changes.set.insert(PropertyKey::new(key)?, value.into());
        Ok(self)
    }

    /// Also writes `key` where it is absent.
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn set_once(
        mut self,
        key: &str,
        value: impl Into<Value>,
    ) -> Result<Operation, crate::model::id::IdError> {
        self.changes.set_once.insert(PropertyKey::new(key)?, value.into());
        Ok(self)
    }

    /// Also removes `key`.
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn unset(mut self, key: &str) -> Result<Operation, crate::model::id::IdError> {
        self.changes.unset.insert(PropertyKey::new(key)?);
        Ok(self)
    }

    /// Also adds a number to what `key` has (E9).
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Operation, Timestamp};
    /// let ann = DistinctId::new("ann")?;
    /// let visit = Operation::properties(Timestamp::from_micros(0)?, ann).add("visits", 1)?;
    /// assert_eq!(visit.check(), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn add(
        mut self,
        key: &str,
        number: impl Into<Value>,
    ) -> Result<Operation, crate::model::id::IdError> {
        self.changes.add.insert(PropertyKey::new(key)?, number.into());
        Ok(self)
    }

    /// Also appends values to the list that `key` has (E9).
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn append(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Result<Operation, crate::model::id::IdError> {
        self.changes.append.insert(PropertyKey::new(key)?, list(values));
        Ok(self)
    }

    /// Also appends those values to the list that `key` has that are not in it (E9).
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn union(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Result<Operation, crate::model::id::IdError> {
        self.changes.union.insert(PropertyKey::new(key)?, list(values));
        Ok(self)
    }

    /// Also takes values out of the list that `key` has (E9).
    ///
    /// # Errors
    /// [`crate::IdError`] when `key` is not a property key.
    pub fn remove(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Result<Operation, crate::model::id::IdError> {
        self.changes.remove.insert(PropertyKey::new(key)?, list(values));
        Ok(self)
    }

    /// Whether it refolds a component (section H).
    pub(crate) fn refolds(&self) -> bool {
        matches!(self.request, Request::Retract { .. } | Request::Split { .. } | Request::Reclassify { .. })
    }

    /// The device that speaks, if one does.
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match &self.request {
            Request::Capture { who, .. }
            | Request::Identify { who, .. }
            | Request::Alias { who, .. }
            | Request::Merge { who, .. }
            | Request::Set { who } => match who {
                Actor::Device(device) => Some(device),
                Actor::Id(_) => None,
            },
            Request::DeviceIdentify { device, .. } | Request::Reset { device, .. } => Some(device),
            Request::Retract { .. } | Request::Split { .. } | Request::Reclassify { .. } => None,
        }
    }

    /// The ids that it names by their texts: for whom it speaks, and whom it links.
    pub(crate) fn ids(&self) -> [Option<&DistinctId>; 2] {
        fn id(who: &Actor) -> Option<&DistinctId> {
            if let Actor::Id(id) = who { Some(id) } else { None }
        }
        fn source(source: &Option<Source>) -> Option<&DistinctId> {
            if let Some(Source::Id(id)) = source { Some(id) } else { None }
        }
        match &self.request {
            Request::Capture { who, .. } | Request::Set { who } => [id(who), None],
            Request::Identify { who, anonymous: other }
            | Request::Alias { who, alias: other }
            | Request::Merge { who, alias: other } => [id(who), source(other)],
            Request::DeviceIdentify { user, .. } => [Some(user), None],
            Request::Reset { .. }
            | Request::Retract { .. }
            | Request::Split { .. }
            | Request::Reclassify { .. } => [None, None],
        }
    }

    /// Checks the bounds of E4.
    ///
    /// # Errors
    /// [`OperationError`], naming the bound and what was found.
    pub fn check(&self) -> Result<(), OperationError> {
        let kept = match &self.request {
            Request::Capture { properties, .. } => Some(properties),
            _ => None,
        };
        let writes_nobody = match &self.request {
            Request::Reset { .. } => Some("reset"),
            Request::Retract { .. } => Some("retract"),
            Request::Split { .. } => Some("split"),
            Request::Reclassify { .. } => Some("reclassify"),
            _ => None,
        };
        if let Some(op) = writes_nobody.filter(|_| !self.changes.is_empty()) {
            return Err(OperationError::UnexpectedChanges { op });
        }
        if let Request::Split { ids, .. } = &self.request
            && !(1..=MAX_SPLIT_IDS).contains(&ids.len())
        {
            return Err(OperationError::SplitIds { found: ids.len() });
        }
        let valued = self.changes.valued().map(|(_, properties)| properties);
        let keys = valued.iter().copied().chain(kept).map(Properties::len).sum::<usize>();
        let keys = keys + self.changes.unset.len();
        if keys > MAX_OPERATION_KEYS {
            return Err(OperationError::TooManyKeys { found: keys });
        }
        let mut bytes = 0;
        self.changes.check_relative()?;
        for (key, value) in valued.into_iter().chain(kept).flatten() {
            bytes += value.check().map_err(|source| OperationError::Value { key: key.clone(), source })?;
        }
        if bytes > MAX_OPERATION_BYTES {
            return Err(OperationError::TooManyBytes { found: bytes });
        }
        Ok(())
    }
}

fn list(values: impl IntoIterator<Item = impl Into<Value>>) -> Value {
    Value::List(values.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_keys(count: usize) -> Operation {
        let who = DistinctId::new("a").unwrap();
        let mut operation = Operation::properties(Timestamp::from_micros(0).unwrap(), who);
        for i in 0..count {
            operation = operation.unset(&format!("k{i}")).unwrap();
        }
        operation
    }

    #[test]
    fn keys_and_bytes_have_edges() {
        assert_eq!(with_keys(MAX_OPERATION_KEYS).check(), Ok(()));
        let found = MAX_OPERATION_KEYS + 1;
        assert_eq!(with_keys(found).check(), Err(OperationError::TooManyKeys { found }));

        let eighth = MAX_OPERATION_BYTES / 8;
        let big = |last: usize| {
            let mut operation = with_keys(0);
            for i in 0..8 {
                let len = if i == 7 { last } else { eighth };
                operation = operation.set(&format!("k{i}"), "x".repeat(len - 5)).unwrap();
            }
            operation.check()
        };
        assert_eq!(big(eighth), Ok(()));
        let found = MAX_OPERATION_BYTES + 1;
        assert_eq!(big(eighth + 1), Err(OperationError::TooManyBytes { found }));
    }

    #[test]
    fn a_relative_change_is_of_a_kind_and_the_only_one_of_its_key_e9() {
        let who = || with_keys(0);
        let odd = |verb, found, expected| {
            Err(OperationError::Operand { key: PropertyKey::new("n").unwrap(), verb, found, expected })
        };
        let other = |verb| Err(OperationError::OtherChange { key: PropertyKey::new("n").unwrap(), verb });
        let table = [
            (who().add("n", 1).unwrap().append("l", ["x"]).unwrap().set("m", 1).unwrap(), Ok(())),
            (who().add("n", "1").unwrap(), odd("add", "a text", "a number")),
            (who().add("n", 1).unwrap().set("n", 1).unwrap(), other("add")),
            (who().union("n", ["x"]).unwrap().unset("n").unwrap(), other("union")),
            (who().append("n", ["x"]).unwrap().remove("n", ["x"]).unwrap(), other("append")),
        ];
        for (operation, expected) in table {
            assert_eq!(operation.check(), expected);
        }
        for verb in ["append", "union", "remove"] {
            let mut operation = who();
            let changes = &mut operation.changes;
            let of = [&mut changes.append, &mut changes.union, &mut changes.remove];
            for (properties, name) in of.into_iter().zip(["append", "union", "remove"]) {
                if name == verb {
                    properties.insert(PropertyKey::new("n").unwrap(), Value::Null);
                }
            }
            assert_eq!(operation.check(), odd(verb, "null", "a list of values"));
        }
    }
}
