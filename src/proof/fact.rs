//! What a proof proves, in data and in words.

use std::fmt;

use serde::Serialize;

use crate::log::digest::Digest;
use crate::model::id::{OperationId, Seq};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// Two ids are one person.
    Same {
        /// The two.
        ids: [String; 2],
        /// The records that lead from the one to the other.
        records: Vec<Seq>,
    },
    /// Two ids are not one person.
    NotSame {
        /// The two.
        ids: [String; 2],
    },
    /// An event is recorded.
    Event {
        /// Its record.
        seq: Seq,
        /// Its id, if the sender gave one.
        event_id: Option<OperationId>,
        /// Its name, if it has one.
        event: Option<String>,
        /// The id that it was captured under.
        distinct_id: String,
        /// When it happened, by the sender's clock.
        time: Timestamp,
        /// When it was recorded, by the writer's clock.
        recorded_at: Timestamp,
    },
    /// A person has a property.
    Property {
        /// An id of the person.
        distinct_id: String,
        /// The key.
        key: String,
        /// The value.
        value: Value,
        /// The record that won it.
        seq: Seq,
        /// When that happened, by the sender's clock.
        time: Timestamp,
    },
    /// The text of an id was erased.
    Erased {
        /// The number of the id.
        id: u32,
        /// The record that defined it.
        defined: Seq,
        /// The record that erases it, and when that was recorded.
        erased_by: Seq,
        /// When that was recorded.
        erased_at: Timestamp,
        /// The record that says it is done.
        done: Seq,
    },
    /// These records touch an id, and no other does.
    Complete {
        /// The number of the id.
        id: u32,
        /// Its text; `None` if it is erased.
        distinct_id: Option<String>,
        /// The records, in the order of the log.
        records: Vec<RecordTouch>,
    },
    /// No id has a text.
    Absent {
        /// The text.
        distinct_id: String,
    },
    /// The records of an earlier checkpoint are the first of these.
    Consistent {
        /// How many the earlier one has.
        records: u64,
        /// Its head.
        head: Digest,
        /// When the last of them was recorded, by the writer's clock.
        recorded_at: Timestamp,
    },
}

/// A record that touches an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordTouch {
    /// The record.
    pub seq: Seq,
    /// What it is.
    pub op: &'static str,
    /// When it was recorded, by the writer's clock.
    pub recorded_at: Timestamp,
    /// The retract by which it counts as never asked (H1).
    pub retracted_by: Option<Seq>,
}

impl fmt::Display for RecordTouch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.op)?;
        self.retracted_by.map_or(Ok(()), |by| write!(f, " (retracted by {by})"))
    }
}

/// Things one behind the other, with commas.
fn listed<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<String>>().join(", ")
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Same { ids: [a, b], records } => {
                let word = if records.len() == 1 { "record" } else { "records" };
                write!(f, "{a} and {b} are one person, by the links in {word} {}", listed(records))
            }
            Fact::NotSame { ids: [a, b] } => write!(f, "{a} and {b} are not one person"),
            Fact::Event { seq, event_id, event, distinct_id, time, recorded_at } => {
                write!(f, "record {seq} is the event {}", event.as_deref().unwrap_or("(without a name)"))?;
                event_id.map_or(Ok(()), |id| write!(f, " with the id {id}"))?;
                write!(
                    f,
                    ", captured under {distinct_id} at {time} by the sender's clock and recorded at {recorded_at}"
                )
            }
            Fact::Property { distinct_id, key, value, seq, time } => {
                write!(f, "the person of {distinct_id} has {key} = {value}, by record {seq} of {time}")
            }
            Fact::Erased { id, defined, erased_by, erased_at, done } => write!(
                f,
                "the text of id number {id}, which record {defined} defined, is erased by record {erased_by} of {erased_at}; record {done} says that it is gone from every file"
            ),
            Fact::Complete { id, distinct_id, records } => {
                match (distinct_id, records.len()) {
                    // With the number: a sender may call an id what answers call an erased one.
                    (Some(text), 1) => write!(f, "one record touches id number {id}, {text}"),
                    (Some(text), count) => write!(f, "{count} records touch id number {id}, {text}"),
                    (None, count) => write!(f, "{count} records touch id number {id}, whose text is erased"),
                }?;
                write!(f, ", and no other: {}", listed(records))
            }
            Fact::Absent { distinct_id } => write!(f, "no id is called {distinct_id}"),
            Fact::Consistent { records, recorded_at, .. } => write!(
                f,
                "the records are a continuation of those of the earlier note: the first {records}, up to {recorded_at}, are the same"
            ),
        }
    }
}

impl Fact {
    /// What the proof does not show, in a sentence or two.
    pub fn limits(&self) -> &'static str {
        match self {
            Fact::Same { .. } => {
                "that the two are one person, and that no cited record was retracted, is the signer's word: it stands in the tree of ids that was signed, which anyone with the ledger can compute again. The records show that links were asked for, and lead from the one to the other; whether a rule refused one of them is not shown"
            }
            Fact::NotSame { .. } => {
                "that the two are not one person is the signer's word: it stands in the tree of ids that was signed, which anyone with the ledger can compute again"
            }
            Fact::Event { .. } => {
                "that the event was not retracted is the signer's word: it stands in the tree of ids that was signed, which anyone with the ledger can compute again. Whether it was retracted behind these records, and whose it is; that what the sender said is true"
            }
            Fact::Property { .. } => {
                "that no other record won the key is the signer's word: it stands in the tree of ids that was signed, which anyone with the ledger can compute again. That what the sender said is true"
            }
            Fact::Erased { .. } => {
                "which text it was; that no copy of it is kept elsewhere, and that the same text was not recorded again under another number"
            }
            Fact::Complete { .. } => {
                "that no other record touches the id is the signer's word: it stands in the tree of ids and in the index of texts that were signed, which anyone with the ledger can compute again. What was recorded behind these records, what the records did, and what was said of the person under other ids"
            }
            Fact::Consistent { .. } => {
                "that heads and roots are of one log is the signer's word, which anyone with the ledger can compute again. What the ids came to does not only grow, and is not compared"
            }
            Fact::Absent { .. } => {
                "that no id has the text is the signer's word: it stands in the index of texts that was signed, which anyone with the ledger can compute again. Whether an id that is erased had it, and whether the text stands in a value or as the name of a device"
            }
        }
    }
}
