//! Cells and columns: what a row of a table is made of, whatever it is written to.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::fold::PersonNo;
use crate::log::body::IdNo;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, stable for one export schema.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// Whether a value may be absent.
    pub nullable: bool,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A whole number: 64 bits, signed.
    Int,
    /// UTF-8 text. Distinct ids are always text, also those that look like a UUID.
    Text,
    /// 16 bytes of a UUID.
    Uuid,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time,
    /// JSON text.
    Json,
    /// A list of whole numbers, no member null.
    Ints,
    /// A list of texts, no member null.
    Texts,
}

impl Kind {
    /// Its name in documents and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int => "int64",
            Kind::Text => "utf8",
            Kind::Uuid => "uuid",
            Kind::Time => "timestamp(us, UTC)",
            Kind::Json => "json",
            Kind::Ints => "list<int64>",
            Kind::Texts => "list<utf8>",
        }
    }
}

/// One value of a row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the Kind of its name")]
pub enum Cell<'a> {
    /// No value.
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Uuid(Uuid),
    Time(Timestamp),
    Json(Json<'a>),
    Ints(&'a [u32]),
    Texts(&'a [String]),
    /// A list of texts, too.
    Names(&'a [&'static str]),
}

/// What a cell of [`Kind::Json`] holds; it serializes to the JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Json<'a> {
    /// Properties; `None` stands for a value that was erased, and is null in JSON.
    Object(&'a BTreeMap<String, Option<Value>>),
    /// One value.
    Value(&'a Value),
    /// A policy, all fields of it.
    Policy(&'a Policy),
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Object(object) => object.serialize(serializer),
            Json::Value(value) => value.serialize(serializer),
            Json::Policy(policy) => policy.serialize(serializer),
        }
    }
}

/// As JSON: times are RFC 3339, UUIDs are text.
impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Bool(on) => serializer.serialize_bool(*on),
            Cell::Int(number) => serializer.serialize_i64(*number),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Uuid(uuid) => uuid.serialize(serializer),
            Cell::Time(time) => time.serialize(serializer),
            Cell::Json(json) => json.serialize(serializer),
            Cell::Ints(numbers) => numbers.serialize(serializer),
            Cell::Texts(texts) => texts.serialize(serializer),
            Cell::Names(names) => names.serialize(serializer),
        }
    }
}

/// A type that a field of a row may have.
pub(super) trait Field {
    const KIND: Kind;
    const NULLABLE: bool = false;

    fn cell(&self) -> Cell<'_>;

    /// Replaces a record's number by what `numbers` gives for it.
    fn renumber(&mut self, _numbers: &dyn Fn(Seq) -> Seq) {}
}

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;

    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, T::cell)
    }

    fn renumber(&mut self, numbers: &dyn Fn(Seq) -> Seq) {
        self.iter_mut().for_each(|field| field.renumber(numbers));
    }
}

impl Field for Seq {
    const KIND: Kind = Kind::Int;

    fn cell(&self) -> Cell<'_> {
        Cell::Int(i64::try_from(self.0).unwrap_or(i64::MAX)) // limits.rs keeps counts far below
    }

    fn renumber(&mut self, numbers: &dyn Fn(Seq) -> Seq) {
        *self = numbers(*self);
    }
}

impl Field for Vec<&'static str> {
    const KIND: Kind = Kind::Texts;

    fn cell(&self) -> Cell<'_> {
        Cell::Names(self)
    }
}

macro_rules! fields {
    ($($type:ty => $kind:ident(|$field:ident| $value:expr)),* $(,)?) => {
        $(impl Field for $type {
            const KIND: Kind = Kind::$kind;

            fn cell(&self) -> Cell<'_> {
                let $field = self;
                Cell::$kind($value)
            }
        })*
    };
}

fields! {
    bool => Bool(|on| *on),
    u32 => Int(|number| i64::from(*number)),
    u64 => Int(|number| i64::try_from(*number).unwrap_or(i64::MAX)), // limits.rs keeps counts far below
    IdNo => Int(|id| i64::from(id.0)),
    PersonNo => Int(|person| i64::from(person.0)),
    String => Text(|text| text),
    &'static str => Text(|text| text),
    PersonId => Uuid(|id| id.0),
    OperationId => Uuid(|id| id.0),
    Timestamp => Time(|time| *time),
    BTreeMap<String, Option<Value>> => Json(|object| Json::Object(object)),
    Value => Json(|value| Json::Value(value)),
    Policy => Json(|policy| Json::Policy(policy)),
    Vec<u32> => Ints(|numbers| numbers),
    Vec<String> => Texts(|texts| texts),
}
