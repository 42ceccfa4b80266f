//! Diffs: in what one content differs from another, complete enough to make the one from the other. A diff knows no log: how
//! it is found is in `compare.rs`.

pub(crate) mod compare;
pub(crate) mod content;
pub(crate) mod first_mention;
pub(crate) mod matching;
pub(crate) mod view;
pub(crate) mod what_if;

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::log::digest::Digest;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::query::answer::{EventMode, PropertyAnswer};
use crate::query::diff::content::{Content, ContentDevice, ContentId, ContentPerson, PersonFacts};
use crate::query::diff::view::Name;
use crate::query::reader::Resolution;

/// The difference between two views: one log at two records, one log under two policies, or two logs.
///
/// `persons`, `ids`, `events`, `properties` and `devices` say everything, and [`Diff::apply`] makes the second content of the
/// first. `merged`, `split`, `renamed`, `created`, `gone` and `counts` say the same as people would. `refusals` are not content:
/// they are about the operations themselves.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Seq, Source, Tenant, Timestamp};
/// use identity_ledger::diff::{Content, Diff};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::properties(at, DistinctId::new("visitor")?))?;
/// let _ = ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
/// let before = ledger.checkpoint().records - 1;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("visitor"))))?;
///
/// let (then, now) = (ledger.reader().view_as_of(Seq(before))?, ledger.reader().view());
/// let diff = Diff::between(&then, &now)?;
/// assert_eq!(diff.merged.len(), 1);
/// assert_eq!(diff.moved_ids().next().unwrap().distinct_id.to_string(), "visitor");
/// assert_eq!(diff.apply(&Content::of(&then)?)?, Content::of(&now)?);
/// // It fits nothing else.
/// assert!(diff.apply(&Content::of(&now)?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Diff {
    /// Persons that are one in the second and were several in the first.
    pub merged: Vec<MergedPerson>,
    /// Persons of the first that are several in the second.
    pub split: Vec<SplitPerson>,
    /// Persons that only have another public id: all their ids went together, and alone.
    pub renamed: Vec<RenamedPerson>,
    /// Persons of the second none of whose ids had a person in the first.
    pub created: Vec<PersonId>,
    /// Persons of the first none of whose ids has a person in the second.
    pub gone: Vec<PersonId>,
    /// Persons that only one of the two has, and those whose flag or time differs.
    pub persons: Vec<PersonDiff>,
    /// Ids that belong to another person, or that only one of the two has.
    pub ids: Vec<IdDiff>,
    /// Ids that have other events.
    pub events: Vec<EventsDiff>,
    /// Properties that differ, of persons that both have or only one has.
    pub properties: Vec<PropertyDiff>,
    /// Devices that differ.
    pub devices: Vec<DeviceDiff>,
    /// Operations that were refused in one of the two only, or by another rule.
    pub refusals: Vec<RefusalDiff>,
    /// How much there is in the first and in the second.
    pub counts: [Counts; 2],
    /// Ids whose text is erased: their class could not be decided again (B4), so what-if kept the one they
    /// had.
    pub classes_kept: Vec<Name>,
}

/// Several persons that became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergedPerson {
    /// The one, in the second.
    pub person_id: PersonId,
    /// The several, in the first.
    pub from: Vec<PersonPart>,
}

/// One person that became several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitPerson {
    /// The one, in the first.
    pub person_id: PersonId,
    /// The several, in the second.
    pub into: Vec<PersonPart>,
}

/// What a person brought to another, or another took over of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonPart {
    /// The person on the side of the several.
    pub person_id: PersonId,
    /// How many ids it shares with the one.
    pub ids: u64,
    /// The first of them, by number; at most [`crate::model::limits::MAX_PART_IDS`].
    pub distinct_ids: Vec<Name>,
}

/// A person with another public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RenamedPerson {
    /// In the first.
    pub from: PersonId,
    /// In the second.
    pub to: PersonId,
}

/// A person that only one of the two has, or whose flag or time differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonDiff {
    /// The public id of the person.
    pub person_id: PersonId,
    /// In the first; `None` if it has no such person.
    pub before: Option<PersonFacts>,
    /// In the second.
    pub after: Option<PersonFacts>,
}

/// An id that belongs to another person, or that only one of the two has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdDiff {
    /// The id whose person differs.
    pub distinct_id: Name,
    /// Whose it is in the first; `None` if it means nothing there.
    pub before: Option<Resolution>,
    /// Whose it is in the second.
    pub after: Option<Resolution>,
    /// Of the events with processing on, how many both have: those that go with the id (G2).
    pub full: u64,
    /// The same of the propertyless ones.
    pub propertyless: u64,
}

/// An id that has other events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsDiff {
    /// The id whose events differ.
    pub distinct_id: Name,
    /// Events that only the second has.
    pub gained: Vec<EventRef>,
    /// Events that only the first has.
    pub lost: Vec<EventRef>,
}

/// One event, by its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Its record, in the log that has it.
    pub seq: Seq,
    /// How it counts (G3).
    pub mode: EventMode,
    /// The digest of all it holds, but not of whose it is; two events are one if theirs are equal.
    pub digest: Digest,
}

/// A property that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PropertyDiff {
    /// The public id of the person whose property differs.
    pub person_id: PersonId,
    /// The property key.
    pub key: Name,
    /// In the first; `None` if it is absent there.
    #[serde(serialize_with = "with_its_record")]
    pub before: Option<PropertyAnswer>,
    /// In the second.
    #[serde(serialize_with = "with_its_record")]
    pub after: Option<PropertyAnswer>,
}

/// A device that differs, or that only one of the two has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceDiff {
    /// The device that differs.
    pub device_id: Name,
    /// In the first.
    pub before: Option<ContentDevice>,
    /// In the second.
    pub after: Option<ContentDevice>,
}

/// An operation that was refused in one of the two only, or for another reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalDiff {
    /// What was asked.
    pub op: &'static str,
    /// T: the id that the operation speaks for.
    pub distinct_id: Name,
    /// S, if there was one whose text could be stored.
    pub other_id: Option<Name>,
    /// The operation's id, if it has one.
    pub operation_id: Option<OperationId>,
    /// The refusal in the first; `None` if there was none, or no such operation.
    pub before: Option<RefusalHere>,
    /// The refusal in the second.
    pub after: Option<RefusalHere>,
}

/// A refusal, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalHere {
    /// The operation's record.
    pub seq: Seq,
    /// Its stable name.
    pub refusal: &'static str,
    /// The rule that refused.
    pub rule: &'static str,
    /// The record that blocks; `None` if it is the policy of a what-if, which stands in no record.
    pub blocking_seq: Option<Seq>,
    /// The refusal as a sentence, for people to read.
    pub reason: String,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How many persons are live: those that were not absorbed.
    pub persons: u64,
    /// Those of them that are identified (D1).
    pub identified_persons: u64,
    /// Ids that have a person; [`Stats::distinct_ids`](crate::answer::Stats) counts all that were ever written.
    pub ids_with_person: u64,
    /// How many events there are: captures that were not retracted.
    pub events: u64,
    /// Events with processing on (G3): people pay for the difference.
    pub identified_events: u64,
    /// Events with processing off.
    pub propertyless_events: u64,
}

/// A diff and a content that do not go together: the content is not what the diff was found from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the difference does not fit: {what} is {found}; expected {expected}")]
pub struct DiffMismatch {
    /// What does not fit.
    pub what: String,
    /// How the diff knows it.
    pub expected: String,
    /// How it is.
    pub found: String,
}

impl Diff {
    /// Whether the two are alike in everything, refusals included.
    pub fn is_empty(&self) -> bool {
        self.is_same_content() && self.refusals.is_empty()
    }

    /// Whether the two mean the same, whatever was refused on the way there.
    pub fn is_same_content(&self) -> bool {
        self.persons.is_empty()
            && self.ids.is_empty()
            && self.events.is_empty()
            && self.properties.is_empty()
            && self.devices.is_empty()
    }

    /// Ids that both have, and that belong to another person in the second.
    pub fn moved_ids(&self) -> impl Iterator<Item = &IdDiff> {
        self.ids.iter().filter(|id| id.before.is_some() && id.after.is_some())
    }

    /// Ids whose events belong to another person in the second: the moved ids that have events. An id does
    /// not count if its person is only implied in one of the two and the same otherwise (C1).
    pub fn moved_events(&self) -> impl Iterator<Item = &IdDiff> {
        let person = |whose: Option<Resolution>| whose.map(|whose| whose.person_id);
        self.moved_ids()
            .filter(move |id| id.full + id.propertyless > 0 && person(id.before) != person(id.after))
    }

    /// The second content, made from the first.
    ///
    /// # Errors
    /// [`DiffMismatch`] when `before` is not what the diff was found from.
    pub fn apply(&self, before: &Content) -> Result<Content, DiffMismatch> {
        let mut content = before.clone();
        self.persons.iter().try_for_each(|person| begin_person(&mut content.persons, person))?;
        self.properties.iter().try_for_each(|property| set_property(&mut content.persons, property))?;
        self.persons.iter().try_for_each(|person| end_person(&mut content.persons, person))?;
        self.ids.iter().try_for_each(|id| begin_id(&mut content.ids, id))?;
        self.events.iter().try_for_each(|events| set_events(&mut content.ids, events))?;
        self.ids.iter().try_for_each(|id| end_id(&mut content.ids, id))?;
        for device in &self.devices {
            let what = || format!("device `{}`", device.device_id);
            expect(what, content.devices.get(&device.device_id), device.before.as_ref())?;
            put(&mut content.devices, &device.device_id, device.after.clone());
        }
        Ok(content)
    }
}

// -- applying --------------------------------------------------------------------------------------------------------

fn expect<T: PartialEq + fmt::Debug>(
    what: impl Fn() -> String,
    found: T,
    expected: T,
) -> Result<(), DiffMismatch> {
    if found == expected {
        return Ok(());
    }
    Err(DiffMismatch { what: what(), expected: format!("{expected:?}"), found: format!("{found:?}") })
}

fn put<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    };
}

fn begin_person(
    persons: &mut BTreeMap<PersonId, ContentPerson>,
    person: &PersonDiff,
) -> Result<(), DiffMismatch> {
    let what = || format!("person {}", person.person_id);
    expect(what, persons.get(&person.person_id).map(|person| person.facts), person.before)?;
    if let Some(facts) = person.after {
        let new = || ContentPerson { facts, properties: BTreeMap::new() };
        persons.entry(person.person_id).or_insert_with(new).facts = facts;
    }
    Ok(())
}

fn set_property(
    persons: &mut BTreeMap<PersonId, ContentPerson>,
    property: &PropertyDiff,
) -> Result<(), DiffMismatch> {
    let PropertyDiff { person_id, key, before, after } = property;
    let what = || format!("property `{key}` of person {person_id}");
    let Some(person) = persons.get_mut(person_id) else {
        return expect(what, None, Some("a person's"));
    };
    expect(what, person.properties.get(key), before.as_ref().map(|before| &before.value))?;
    put(&mut person.properties, key, after.as_ref().map(|after| after.value.clone()));
    Ok(())
}

fn end_person(
    persons: &mut BTreeMap<PersonId, ContentPerson>,
    person: &PersonDiff,
) -> Result<(), DiffMismatch> {
    if person.after.is_some() {
        return Ok(());
    }
    let what = || format!("what is left of person {}", person.person_id);
    let left = persons.remove(&person.person_id).map_or(0, |person| person.properties.len());
    expect(what, left, 0)
}

fn begin_id(ids: &mut BTreeMap<Name, ContentId>, id: &IdDiff) -> Result<(), DiffMismatch> {
    let what = || format!("id `{}`", id.distinct_id);
    expect(what, ids.get(&id.distinct_id).map(|id| id.whose), id.before)?;
    if let Some(whose) = id.after {
        let new = || ContentId { whose, events: Default::default() };
        ids.entry(id.distinct_id.clone()).or_insert_with(new).whose = whose;
    }
    Ok(())
}

fn set_events(ids: &mut BTreeMap<Name, ContentId>, diff: &EventsDiff) -> Result<(), DiffMismatch> {
    let what = || format!("the events of id `{}`", diff.distinct_id);
    let Some(ContentId { events, .. }) = ids.get_mut(&diff.distinct_id) else {
        return expect(what, None, Some("an id's"));
    };
    for event in &diff.lost {
        let Ok(at) = events.digests.binary_search(&event.digest) else {
            return expect(what, None, Some(event.digest));
        };
        events.digests.remove(at);
        *events.count(event.mode) -= 1;
    }
    for event in &diff.gained {
        events.digests.push(event.digest);
        *events.count(event.mode) += 1;
    }
    events.digests.sort_unstable();
    Ok(())
}

fn end_id(ids: &mut BTreeMap<Name, ContentId>, id: &IdDiff) -> Result<(), DiffMismatch> {
    if id.after.is_some() {
        return Ok(());
    }
    let what = || format!("what is left of id `{}`", id.distinct_id);
    let left = ids.remove(&id.distinct_id).map_or(0, |id| id.events.digests.len());
    expect(what, left, 0)
}

// -- as JSON ---------------------------------------------------------------------------------------------------------

impl Serialize for Diff {
    /// The shape of `what-if --json` and `diff --json`: ids without a person are `null`, events are counted id by id.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diff", 16)?;
        out.serialize_field("merged", &self.merged)?;
        out.serialize_field("split", &self.split)?;
        out.serialize_field("renamed", &self.renamed)?;
        out.serialize_field("created", &self.created)?;
        out.serialize_field("gone", &self.gone)?;
        out.serialize_field("persons", &self.persons)?;
        let ids = |new: bool| self.ids.iter().filter(move |id| id.before.is_none() == new);
        out.serialize_field("moved_ids", &self.moved_ids().map(Moved).collect::<Vec<_>>())?;
        let only_one = |new: bool| {
            let one = ids(new).filter(|id| new || id.after.is_none());
            one.map(|id| Alone { id, whose: if new { id.after } else { id.before } }).collect::<Vec<_>>()
        };
        out.serialize_field("new_ids", &only_one(true))?;
        out.serialize_field("gone_ids", &only_one(false))?;
        out.serialize_field("moved_events", &self.moved_events().map(MovedEvents).collect::<Vec<_>>())?;
        out.serialize_field("events", &self.events)?;
        out.serialize_field("properties", &self.properties)?;
        out.serialize_field("devices", &self.devices)?;
        out.serialize_field("refusals", &self.refusals)?;
        let [before, after] = &self.counts;
        out.serialize_field("counts", &BTreeMap::from([("before", before), ("after", after)]))?;
        out.serialize_field("classes_kept", &self.classes_kept)?;
        out.end()
    }
}

struct Moved<'a>(&'a IdDiff);

impl Serialize for Moved<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let person =
            |whose: Option<Resolution>| whose.filter(|whose| !whose.implied).map(|whose| whose.person_id);
        let mut out = serializer.serialize_struct("Moved", 3)?;
        out.serialize_field("distinct_id", &self.0.distinct_id)?;
        out.serialize_field("from", &person(self.0.before))?;
        out.serialize_field("to", &person(self.0.after))?;
        out.end()
    }
}

/// An id that only one of the two has.
struct Alone<'a> {
    id: &'a IdDiff,
    whose: Option<Resolution>,
}

impl Serialize for Alone<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let person = self.whose.filter(|whose| !whose.implied).map(|whose| whose.person_id);
        let mut out = serializer.serialize_struct("Alone", 2)?;
        out.serialize_field("distinct_id", &self.id.distinct_id)?;
        out.serialize_field("person_id", &person)?;
        out.end()
    }
}

struct MovedEvents<'a>(&'a IdDiff);

impl Serialize for MovedEvents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let person = |whose: Option<Resolution>| whose.map(|whose| whose.person_id);
        let mut out = serializer.serialize_struct("MovedEvents", 5)?;
        out.serialize_field("distinct_id", &self.0.distinct_id)?;
        out.serialize_field("from", &person(self.0.before))?;
        out.serialize_field("to", &person(self.0.after))?;
        out.serialize_field("full", &self.0.full)?;
        out.serialize_field("propertyless", &self.0.propertyless)?;
        out.end()
    }
}

impl Serialize for EventsDiff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("EventsDiff", 3)?;
        out.serialize_field("distinct_id", &self.distinct_id)?;
        out.serialize_field("gained", &EventTally::of(&self.gained))?;
        out.serialize_field("lost", &EventTally::of(&self.lost))?;
        out.end()
    }
}

/// Some events of one id, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventTally {
    /// Those with processing on.
    pub full: u64,
    /// Those with processing off.
    pub propertyless: u64,
    /// The first of their records; `None` if there are none.
    pub first_seq: Option<Seq>,
    /// The last of their records; `None` if there are none.
    pub last_seq: Option<Seq>,
}

impl EventTally {
    /// Counts `events` by mode and finds the first and the last of their records.
    pub fn of(events: &[EventRef]) -> EventTally {
        let count = |mode| events.iter().filter(|event| event.mode == mode).count() as u64;
        let seqs = || events.iter().map(|event| event.seq);
        EventTally {
            full: count(EventMode::Full),
            propertyless: count(EventMode::Propertyless),
            first_seq: seqs().min(),
            last_seq: seqs().max(),
        }
    }
}

/// A property's value as all answers show it, beside the record that won it.
fn with_its_record<S: Serializer>(side: &Option<PropertyAnswer>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Won<'a> {
        value: &'a PropertyAnswer,
        seq: Seq,
    }
    side.as_ref().map(|value| Won { value, seq: value.seq }).serialize(serializer)
}
