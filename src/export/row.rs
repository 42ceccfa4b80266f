//! The tables of an export: their columns, and a row of each as a plain type. `docs/export.md` shows the same as a page.

use std::collections::BTreeMap;

use crate::export::cell::{Cell, Column, Field};
use crate::fold::PersonNo;
use crate::log::body::IdNo;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Declares the tables: the enum of them, a type for the rows of each, and the columns, in the order of the fields. Tables that have the
/// same columns share a type.
macro_rules! tables {
    ($(
        $($(#[doc = $what:literal])+ $table:ident $name:literal),+: $row:ident keyed $key:expr => {
            $($(#[doc = $meaning:literal])+ $field:ident: $type:ty,)*
        }
    )*) => {
        /// A table of an export.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Table {
            $($($(#[doc = $what])+ $table,)+)*
        }

        $(
            $($(#[doc = $what])+)+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $row {
                $($(#[doc = $meaning])+ pub $field: $type,)*
            }

            impl $row {
                const COLUMNS: &[Column] = &[$(Column {
                    name: stringify!($field),
                    kind: <$type as Field>::KIND,
                    nullable: <$type as Field>::NULLABLE,
                    meaning: concat!($($meaning),+).trim_ascii(),
                }),*];
                const KEY: fn(&$row) -> (u64, u64) = $key;

                fn renumber(&mut self, numbers: &dyn Fn(Seq) -> Seq) {
                    $(Field::renumber(&mut self.$field, numbers);)*
                }

                fn cells<'a>(&'a self, mut each: impl FnMut(Cell<'a>)) {
                    $(each(Field::cell(&self.$field));)*
                }
            }
        )*

        /// A row of any table.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Row {
            $($($(#[doc = $what])+ $table($row),)+)*
        }

        impl Table {
            /// All tables.
            pub const ALL: &[Table] = &[$($(Table::$table),+),*];

            /// Its name: that of its files.
            pub fn name(self) -> &'static str {
                match self { $($(Table::$table => $name,)+)* }
            }

            /// What one row of it is.
            pub fn meaning(self) -> &'static str {
                match self { $($(Table::$table => concat!($($what),+).trim_ascii(),)+)* }
            }

            /// Its columns, in the order of [`Row::cells`].
            pub fn columns(self) -> &'static [Column] {
                match self { $($(Table::$table => $row::COLUMNS,)+)* }
            }
        }

        impl Row {
            /// The table that it is a row of.
            pub fn table(&self) -> Table {
                match self { $($(Row::$table(_) => Table::$table,)+)* }
            }

            /// What tells it from all other rows of its table, for as long as there is the ledger. Rows ascend by it.
            pub fn key(&self) -> RowKey {
                match self { $($(Row::$table(row) => $row::KEY(row),)+)* }
            }

            /// Replaces the numbers of records in it.
            pub(super) fn renumber(&mut self, numbers: &dyn Fn(Seq) -> Seq) {
                match self { $($(Row::$table(row) => row.renumber(numbers),)+)* }
            }

            /// Shows each cell, in the order of [`Table::columns`].
            pub fn cells<'a>(&'a self, each: impl FnMut(Cell<'a>)) {
                match self { $($(Row::$table(row) => row.cells(each),)+)* }
            }
        }
    };
}

/// The key of a row: one or two numbers of the ledger. They name no person, and no erasure changes them.
pub type RowKey = (u64, u64);

/// Instead of the number of a person that is only implied: behind all others.
const IMPLIED: u64 = u64::MAX;

tables! {
    /// A person: one that lives, or the one that an id with events would found.
    Persons "persons": PersonRow keyed |row| {
        (row.person_no.map_or(IMPLIED, |person| person.0.into()), row.founding_id_no.0.into())
    } => {
        /// Number of the person, in the order of foundings; null for an implied person.
        person_no: Option<PersonNo>,
        /// Number of the id that founded it, or would found it.
        founding_id_no: IdNo,
        /// Public id (D10, D11); unique in this table.
        person_id: PersonId,
        /// Properties, as one JSON object; the value of an erased one is null.
        properties: BTreeMap<String, Option<Value>>,
        /// Keys of properties whose values were erased (H3), also in part (E9).
        erased_keys: Vec<String>,
        /// Whether an operation identified it (D1).
        is_identified: bool,
        /// Whether the person is only implied: its id was seen only propertyless (C1).
        is_implied: bool,
        /// When it was founded, by the sender's clock; merges lower it (D7). Null for an implied person.
        created_at: Option<Timestamp>,
        /// Record that founded it; null for an implied person.
        founded_seq: Option<Seq>,
        /// Record that identified it.
        identified_seq: Option<Seq>,
        /// How many ids it has.
        distinct_id_count: u32,
        /// How many events its ids have, without retracted ones.
        event_count: u64,
        /// Those of them with processing on (G3).
        identified_event_count: u64,
    }

    /// An id that has a person or events, and whose it is.
    PersonDistinctIds "person_distinct_ids": DistinctIdRow keyed |row| (row.id_no.0.into(), 0) => {
        /// The id itself; null once erased.
        distinct_id: Option<String>,
        /// Number of the id, in the order in which ids were first written.
        id_no: IdNo,
        /// `named`, `user`, `anonymous` (D9), `unmergeable` (B2) or `shared` (D13).
        id_type: &'static str,
        /// Number of its person; null if that is only implied.
        person_no: Option<PersonNo>,
        /// Public id of its person, implied or not.
        person_id: PersonId,
        /// Whether it has no person yet (C1).
        is_implied: bool,
        /// Record that first wrote the id.
        first_seen_seq: Seq,
        /// Record that put it where it is; null if no record ever gave it a person.
        linked_seq: Option<Seq>,
        /// Record that erased its text (H3).
        erased_seq: Option<Seq>,
    }

    /// A period in which an id belonged to one person, as it was known at that time.
    PersonDistinctIdsHistory "person_distinct_ids_history",
    /// A period in which an id belonged to one person, as is known now: as if what is retracted had never been asked (H1), and each id had always had its present class (H5). A split parts from its own record on (H2).
    PersonDistinctIdsCorrected "person_distinct_ids_corrected": HistoryRow keyed |row| {
        (row.id_no.0.into(), row.from_seq.0)
    } => {
        /// The id itself; null once erased.
        distinct_id: Option<String>,
        /// Number of the id.
        id_no: IdNo,
        /// Number of the person; null where it was only implied.
        person_no: Option<PersonNo>,
        /// Public id of the person, by its present name.
        person_id: PersonId,
        /// Whether the id had no person in this period (C1).
        is_implied: bool,
        /// First record of the period.
        from_seq: Seq,
        /// First record after it; null if it lasts.
        to_seq: Option<Seq>,
        /// When `from_seq` was recorded.
        from_time: Timestamp,
        /// When `to_seq` was recorded.
        to_time: Option<Timestamp>,
        /// What began it: `written`, `founded`, `joined`, `merged`, `retracted`, `split` or `reclassified`.
        change: &'static str,
    }

    /// A public person id that is not in use any more, and the one it stands for.
    PersonRedirects "person_redirects": RedirectRow keyed |row| {
        (row.old_person_no.map_or(IMPLIED, |person| person.0.into()), row.old_founding_id_no.0.into())
    } => {
        /// Public id that is not in use any more; unique in this table.
        old_person_id: PersonId,
        /// Number of the person that had it; null for a person that was only implied (C1).
        old_person_no: Option<PersonNo>,
        /// Number of the id that founded it, or would have founded it.
        old_founding_id_no: IdNo,
        /// Public id that it stands for; never one that redirects itself.
        person_id: PersonId,
        /// Number of that person; null if it is only implied.
        person_no: Option<PersonNo>,
        /// Record since which it redirects.
        since_seq: Seq,
        /// What that record did: `merged`, `joined` (an implied person's id came to another person), `retracted`, `split` or `reclassified`.
        reason: &'static str,
    }

    /// A period in which a shared id spoke for one id (D13), as things stand.
    SharedIdPeriods "shared_id_periods": SharedPeriodRow keyed |row| (row.id_no.0.into(), row.from_seq.0) => {
        /// The shared id itself; null once erased.
        distinct_id: Option<String>,
        /// Number of the shared id.
        id_no: IdNo,
        /// Number of the id that it spoke for: the user who was signed in, or itself if none was.
        goes_with_id_no: IdNo,
        /// First record of the period: the one that defined the id, a sign-in, a logout, a reset or an erasure of the user.
        from_seq: Seq,
        /// First record after it; null if it lasts.
        to_seq: Option<Seq>,
        /// When `from_seq` was recorded.
        from_time: Timestamp,
        /// When `to_seq` was recorded.
        to_time: Option<Timestamp>,
    }

    /// An event that counts: a capture that was not retracted.
    Events "events": EventRow keyed |row| (row.seq.0, 0) => {
        /// Record of the capture.
        seq: Seq,
        /// Id of the event; null if it has none or it was erased.
        event_id: Option<OperationId>,
        /// Name of the event, if it has one.
        event: Option<String>,
        /// Id it was captured under, never rewritten (G2); null once erased.
        distinct_id: Option<String>,
        /// Number of that id.
        id_no: IdNo,
        /// Number of the id that it goes with (G2): the same, or the one for which a shared id spoke (D13).
        goes_with_id_no: IdNo,
        /// Number of the person that was behind it, as is known now; null if that is only implied.
        person_no: Option<PersonNo>,
        /// Public id of that person.
        person_id: PersonId,
        /// Public id of the person it was attributed to right after its record (G1).
        person_id_then: PersonId,
        /// Whether the present person is only implied (C1).
        is_implied: bool,
        /// When it happened, by the sender's clock.
        timestamp: Timestamp,
        /// When it was recorded.
        recorded_at: Timestamp,
        /// `full` or `propertyless` (G3).
        mode: &'static str,
        /// Its own properties, if the ledger keeps them; the value of an erased one is null.
        properties: Option<BTreeMap<String, Option<Value>>>,
    }

    /// An operation, and what came of it when it was recorded.
    Outcomes "outcomes": OutcomeRow keyed |row| (row.seq.0, 0) => {
        /// Record of the operation.
        seq: Seq,
        /// What was asked: `capture`, `identify`, `alias` and so on.
        op: &'static str,
        /// Id of the operation; null if it has none or it was erased.
        operation_id: Option<OperationId>,
        /// Id that it speaks for (T); null once erased.
        distinct_id: Option<String>,
        /// Number of that id.
        id_no: IdNo,
        /// The other id of a link (S); null if the record names none, if it could not be stored, or if it was erased.
        other_id: Option<String>,
        /// Number of that id.
        other_id_no: Option<IdNo>,
        /// Number of the person that it touched.
        person_no: Option<PersonNo>,
        /// What it did, by name (A4), in order.
        effects: Vec<&'static str>,
        /// Names of its notices.
        notices: Vec<&'static str>,
        /// Rule that refused it.
        rule: Option<&'static str>,
        /// Stable name of the refusal.
        refusal: Option<&'static str>,
        /// Record that blocks.
        blocking_seq: Option<Seq>,
        /// The refusal in a sentence.
        reason: Option<String>,
        /// When it was asked, by the sender's clock.
        timestamp: Timestamp,
        /// When it was recorded.
        recorded_at: Timestamp,
        /// Record by which it counts as never asked (H1).
        retracted_by_seq: Option<Seq>,
    }

    /// What an operation that counts said of one property of a person.
    PropertyWrites "property_writes": PropertyWriteRow keyed |row| (row.seq.0, row.change_no.into()) => {
        /// Record of the operation.
        seq: Seq,
        /// Place among the changes of that operation, from 0.
        change_no: u32,
        /// Number of the id that it speaks for.
        id_no: IdNo,
        /// Number of the id that it goes with: the same, or the one for which a shared id spoke (D13).
        goes_with_id_no: IdNo,
        /// Number of the person of the id that it goes with; null if it has none.
        person_no: Option<PersonNo>,
        /// Key of the property.
        key: String,
        /// `set`, `set_once`, `unset`, `add`, `append`, `union` or `remove`.
        verb: &'static str,
        /// The value, of a relative change (E9) its operand; null for `unset`, and once erased.
        value: Option<Value>,
        /// Record that erased the value (H3).
        erased_seq: Option<Seq>,
        /// Whether the person has this value now; of relative changes (E9) the last that fits.
        is_current: bool,
        /// Record whose value the person has for this key now; null if it has none.
        current_seq: Option<Seq>,
        /// When it was asked, by the sender's clock.
        timestamp: Timestamp,
    }

    /// A policy, from its record on (A3).
    Policies "policies": PolicyRow keyed |row| (row.seq.0, 0) => {
        /// Record of the policy.
        seq: Seq,
        /// The policy, as a JSON object with all fields.
        policy: Policy,
    }

    /// A request to forget (H3). It holds numbers only and names no person.
    Erasures "erasures": ErasureRow keyed |row| (row.seq.0, 0) => {
        /// Record of the request: from here on no answer holds what it covers.
        seq: Seq,
        /// Record that says that it is gone from every file; null before, and in a ledger that follows a log.
        done_seq: Option<Seq>,
        /// When it was asked, by the asker's clock.
        timestamp: Timestamp,
        /// Numbers of ids whose texts and values are to be forgotten.
        id_nos: Vec<u32>,
        /// Numbers of the persons that those ids, or the ids of `records`, belonged to.
        person_nos: Vec<u32>,
        /// Numbers of devices whose ids are to be forgotten.
        device_nos: Vec<u32>,
        /// Records whose values are to be forgotten, beside those that speak for one of `id_nos`.
        records: Vec<u32>,
        /// Keys whose values are to be forgotten; empty if all are.
        keys: Vec<String>,
    }

    /// Where a frame ends: the hash over all records up to there. Who filed one finds it here again (A2).
    Checkpoints "checkpoints": CheckpointRow keyed |row| (row.seq.0, 0) => {
        /// Last record that it covers.
        seq: Seq,
        /// How many records, and their hash: what `verify --expect` takes, and what a signed note names as its records and head.
        checkpoint: String,
        /// When that record was recorded.
        recorded_at: Timestamp,
    }
}

impl Table {
    /// The table of a name.
    pub fn named(name: &str) -> Option<Table> {
        Table::ALL.iter().copied().find(|table| table.name() == name)
    }

    /// Whether its rows are of records, one or several of each, and so only grow at the end.
    pub fn is_of_records(self) -> bool {
        self >= Table::Events
    }
}
