//! Answers: what the numbers of the fold say in texts, values and public ids. Field names are the command line's contract.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::fold::PropertyCounts;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Everything known of one person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Its public id (D10).
    pub person_id: PersonId,
    /// Its distinct ids, in the order in which they were first written.
    pub distinct_ids: Vec<String>,
    /// The current value of each property, by key, with the record that won it; empty if the person has none. In JSON the records
    /// stand apart, as `property_seqs`, and what erased a part of a value (E9) as `partly_erased`.
    #[serde(flatten, serialize_with = "with_their_records")]
    pub properties: BTreeMap<String, PropertyAnswer>,
    /// Whether an operation identified it (D1).
    pub is_identified: bool,
    /// When it was founded, by the sender's clock; merges lower it (D7).
    pub created_at: Timestamp,
    /// How many events its ids have: captures that were not retracted.
    pub events: u64,
    /// Those of them with processing on (G3).
    pub identified_events: u64,
    /// The record that founded it.
    #[serde(rename = "founded_by")]
    pub founded: Seq,
    /// The record that identified it.
    pub identified_by: Option<Seq>,
    /// The last erasure of its ids, if the texts of all of them are erased (H3).
    pub erased_by: Option<Seq>,
}

fn with_their_records<'a, S: Serializer>(
    properties: &'a BTreeMap<String, PropertyAnswer>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Apart<'a> {
        properties: &'a BTreeMap<String, PropertyAnswer>,
        property_seqs: BTreeMap<&'a str, Seq>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        partly_erased: BTreeMap<&'a str, Seq>,
    }
    let erased = |(key, property): (&'a String, &'a PropertyAnswer)| {
        property.erased_by.filter(|_| property.value.is_some()).map(|by| (key.as_str(), by))
    };
    let partly_erased = properties.iter().filter_map(erased).collect();
    let property_seqs = properties.iter().map(|(key, property)| (key.as_str(), property.seq)).collect();
    Apart { properties, property_seqs, partly_erased }.serialize(serializer)
}

/// A property's value and the record that won it (E5). In JSON it is the value alone.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyAnswer {
    /// The value; `None` when it was erased.
    pub value: Option<Value>,
    /// The record that won the key.
    pub seq: Seq,
    /// The record that erased the value, if it is erased (H3); of one that is made of relative changes (E9), the last that erased a part of it.
    pub erased_by: Option<Seq>,
}

impl Serialize for PropertyAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Some(value) => value.serialize(serializer),
            None => BTreeMap::from([("$erased", self.erased_by)]).serialize(serializer),
        }
    }
}

/// One event and its persons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventAnswer {
    /// The record of the capture.
    pub seq: Seq,
    /// Its id, if it has one.
    pub event_id: Option<OperationId>,
    /// Its name, if it has one.
    pub event: Option<String>,
    /// When it happened, by the sender's clock.
    pub time: Timestamp,
    /// When it was recorded, by the writer's clock (A1).
    pub recorded_at: Timestamp,
    /// The id it was captured under; never rewritten (G2).
    pub distinct_id: String,
    /// The id that it goes with, if it was captured under a shared one that a user was signed in on (D13). In JSON only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goes_with: Option<String>,
    /// Who we now know was behind it (G1).
    pub person_id: PersonId,
    /// Who we thought it was right after its record (G1).
    pub person_id_then: PersonId,
    /// Whether processing was on (G3).
    pub mode: EventMode,
}

/// How an event counts (G3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventMode {
    /// Processing on: an identified event.
    Full,
    /// Processing off: the event founds no person and changes no property.
    Propertyless,
}

/// What one recorded operation did (A4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeAnswer {
    /// The operation's record.
    pub seq: Seq,
    /// When it was recorded, by the writer's clock (A1); `None` in an answer that [`Reader::outcome`](crate::Reader::outcome) made of a
    /// record alone.
    pub recorded_at: Option<Timestamp>,
    /// What was asked.
    pub op: &'static str,
    /// T: the id that the operation speaks for; `$erased:N` if its text was erased.
    pub distinct_id: String,
    /// S, if there was one whose text could be stored.
    pub other_id: Option<String>,
    /// What it did, in order.
    pub effects: Vec<EffectAnswer>,
    /// Stable names of what is worth knowing.
    pub notices: Vec<NoticeAnswer>,
    /// Stable name of the refusal.
    pub refusal: Option<&'static str>,
    /// The rule that refused.
    pub rule: Option<&'static str>,
    /// The record that blocks the link.
    pub blocking_seq: Option<Seq>,
    /// The refusal in a sentence.
    pub reason: Option<String>,
}

/// One effect of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum EffectAnswer {
    /// A person was founded.
    Founded {
        /// The public id of the founded person.
        person_id: PersonId,
    },
    /// An id without person joined one.
    Joined {
        /// The id that joined.
        distinct_id: String,
        /// The person that it joined.
        person_id: PersonId,
    },
    /// A person was absorbed.
    Merged {
        /// Whose person id stays.
        survivor: PersonId,
        /// Whose person id redirects.
        absorbed: PersonId,
        /// How many ids moved.
        moved_ids: u32,
        /// Which; of more than [`MAX_MOVED_NAMES`](crate::limits::MAX_MOVED_NAMES) the first, in no order that means anything. Empty in an answer of [`Reader::outcome`](crate::Reader::outcome).
        distinct_ids: Vec<String>,
    },
    /// A person became identified.
    Identified {
        /// The person that is identified from this record on (D1).
        person_id: PersonId,
    },
    /// An operation wrote or removed properties of a person.
    Properties {
        /// The person whose properties changed.
        person_id: PersonId,
        /// How many keys.
        #[serde(flatten)]
        written: PropertyCounts,
    },
    /// A record counts as never asked from here on (H1).
    Retracted {
        /// The retracted record.
        seq: Seq,
        /// How many ids belong to another person than before.
        moved_ids: u32,
        /// Which; of more than [`MAX_MOVED_NAMES`](crate::limits::MAX_MOVED_NAMES) the first. Empty in an answer of [`Reader::outcome`](crate::Reader::outcome).
        distinct_ids: Vec<String>,
    },
    /// Ids left their person (H2).
    Split {
        /// The person of T now.
        person_id: PersonId,
        /// How many left it, or the one they left.
        left: u32,
        /// Which; of more than [`MAX_MOVED_NAMES`](crate::limits::MAX_MOVED_NAMES) the first. Empty in an answer of [`Reader::outcome`](crate::Reader::outcome).
        distinct_ids: Vec<String>,
    },
    /// The id counts as one of another class, from its definition on (H5).
    Reclassified {
        /// What it counted as: `named`, `anonymous` or `unmergeable`.
        from: &'static str,
        /// What it counts as.
        to: &'static str,
        /// How many ids belong to another person than before.
        moved_ids: u32,
        /// Which; of more than [`MAX_MOVED_NAMES`](crate::limits::MAX_MOVED_NAMES) the first. Empty in an answer of [`Reader::outcome`](crate::Reader::outcome).
        distinct_ids: Vec<String>,
    },
    /// A device speaks for an id.
    DeviceSpeaksFor {
        /// The device that speaks.
        device_id: String,
        /// The id that it speaks for from this record on.
        distinct_id: String,
    },
    /// A device forgot its user.
    DeviceReset {
        /// The device, by its id from now on.
        device_id: String,
        /// Its fresh id.
        distinct_id: String,
    },
    /// T signed in on a shared id (D13).
    SignedIn {
        /// The shared id, which speaks for T from here on.
        shared_id: String,
    },
    /// A shared id speaks for itself again (D13).
    SignedOut {
        /// That id.
        shared_id: String,
    },
}

/// A notice and the record it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoticeAnswer {
    /// Its stable name.
    pub notice: &'static str,
    /// The record it speaks of, if it does.
    pub seq: Option<Seq>,
    /// Of a split, the first id that it named and did not part.
    pub distinct_id: Option<String>,
    /// Of a split, how many ids it named and did not part.
    pub ids: Option<u32>,
}
