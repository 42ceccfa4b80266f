//! The `ops` format: one operation a line, in the ledger's own words.
//!
//! Strict, because we wrote it: every key is known, every type is right, or the line is rejected.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{HalfPair, Json, insert_property, property_key};
use super::lift;
use super::options::{Format, Options};
use super::rejection::{Rejection, excerpt};
use crate::model::id::{DeviceId, DistinctId, EventName, IdError, OperationId, PropertyKey};
use crate::model::operation::{
    Actor, Changes, Dialect, Operation, Processing, Request, Source, SplitMode, Target,
};
use crate::model::policy::IdClass;
use crate::model::time::Timestamp;
use crate::model::value::Properties;

/// The members of an operation's object, none of them read yet.
#[derive(Default)]
pub(super) struct Line<'a> {
    op: Option<Json<'a>>,
    ts: Option<Json<'a>>,
    event_id: Option<Json<'a>>,
    event: Option<Json<'a>>,
    distinct_id: Option<Json<'a>>,
    device_id: Option<Json<'a>>,
    anon_distinct_id: Option<Json<'a>>,
    alias: Option<Json<'a>>,
    properties: Option<Json<'a>>,
    set: Option<Json<'a>>,
    set_once: Option<Json<'a>>,
    top_level_set: Option<Json<'a>>,
    top_level_set_once: Option<Json<'a>>,
    unset: Option<Json<'a>>,
    add: Option<Json<'a>>,
    append: Option<Json<'a>>,
    union: Option<Json<'a>>,
    remove: Option<Json<'a>>,
    process_person_profile: Option<Json<'a>>,
    reset_device: Option<Json<'a>>,
    new_id: Option<Json<'a>>,
    of: Option<Json<'a>>,
    ids: Option<Json<'a>>,
    mode: Option<Json<'a>>,
    class: Option<Json<'a>>,
    dialect: Option<Json<'a>>,
    /// The first key that is none of these.
    unknown: Option<Cow<'a, str>>,
    /// The first of these keys that stands twice.
    twice: Option<&'static str>,
}

/// What an operation's line may hold beside `op`, `ts` and `event_id`.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Capture,
    Identify,
    Alias,
    Merge,
    Set,
    Reset,
    Retract,
    Split,
    Reclassify,
}

impl Verb {
    fn named(name: &str) -> Option<Verb> {
        Some(match name {
            "capture" => Verb::Capture,
            "identify" => Verb::Identify,
            "alias" => Verb::Alias,
            "merge_dangerously" => Verb::Merge,
            "set" => Verb::Set,
            "reset" => Verb::Reset,
            "retract" => Verb::Retract,
            "split" => Verb::Split,
            "reclassify" => Verb::Reclassify,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Capture => "capture",
            Verb::Identify => "identify",
            Verb::Alias => "alias",
            Verb::Merge => "merge_dangerously",
            Verb::Set => "set",
            Verb::Reset => "reset",
            Verb::Retract => "retract",
            Verb::Split => "split",
            Verb::Reclassify => "reclassify",
        }
    }
}

/// What a key's slot is, among those of an operation's object.
macro_rules! slots {
    ($($slot:ident)*) => {
        /// The slot of a key, with its name; `None` for an unknown one.
        fn slot(&mut self, key: &str) -> Option<(&mut Option<Json<'a>>, &'static str)> {
            match key {
                $(stringify!($slot) => Some((&mut self.$slot, stringify!($slot))),)*
                _ => None,
            }
        }
    };
}

impl<'a> Line<'a> {
    slots! {
        op ts event_id event distinct_id device_id anon_distinct_id alias properties set set_once top_level_set top_level_set_once
        unset add append union remove process_person_profile reset_device new_id of ids mode class dialect
    }

    /// Reads a text that is one operation's object, spelled as most are: known keys, each once, none with an escape. In one pass, where
    /// [`Line::sort`] takes a second; what is `None` here may be an operation there, and why it is none is said there.
    pub(super) fn read(text: &'a str) -> Option<Line<'a>> {
        serde_json::from_str(text).ok()
    }

    /// Sorts an object's members; `None` when it is not an object.
    pub(super) fn sort(object: Json<'a>) -> Option<Line<'a>> {
        let mut line = Line::default();
        for (key, json) in object.members()? {
            match line.slot(&key) {
                Some((slot, name)) => {
                    if slot.replace(json).is_some() {
                        line.twice.get_or_insert(name);
                    }
                }
                None => {
                    line.unknown.get_or_insert(key);
                }
            }
        }
        Some(line)
    }

    /// Whether it names an operation, known or not. Where nothing else can be meant, a name of the wrong type does too.
    pub(super) fn is_operation(&self, format: Format) -> bool {
        self.op.is_some_and(|op| op.is_string() || format == Format::Ops)
    }

    /// The operation; without an id when the line gives none.
    pub(super) fn operation(&self, options: &Options) -> Result<Operation, Rejection> {
        if let Some(key) = self.twice {
            return Err(Rejection::DuplicateKey { key: key.to_owned() });
        }
        let op = string("op", self.op.ok_or(Rejection::Missing { key: "op" })?)?;
        let verb = Verb::named(&op).ok_or_else(|| Rejection::UnknownOperation { found: excerpt(&op) })?;
        self.check_keys(verb)?;
        let time = self.ts.ok_or(Rejection::Missing { key: "ts" })?;
        let time = string("ts", time)?.parse().map_err(|source| Rejection::Time { key: "ts", source })?;
        let mut operation = Operation::new(time, self.request(verb)?);
        operation.id = self.event_id.map(|json| uuid("event_id", json)).transpose()?;
        operation.processing = self.process_person_profile.map_or(Processing::Unsaid, processing);
        operation.sdk.dialect = self.dialect.map(dialect).transpose()?;
        operation.changes = self.changes()?;
        if let Some(json) = self.properties {
            let properties = properties("properties", json)?;
            if options.lift {
                let name = match &operation.request {
                    Request::Capture { event: Some(event), .. } => event.as_str(),
                    _ => "",
                };
                lift::lift(name, &properties, &mut operation.changes);
            }
            if let (true, Request::Capture { properties: kept, .. }) =
                (options.keep_event_properties, &mut operation.request)
            {
                *kept = properties;
            }
        }
        if operation.processing == Processing::Off {
            operation.changes = Changes::default(); // C1, C7
        }
        operation.bent.replaced_nul = self.replaces_text(operation.processing, options);
        Ok(operation)
    }

    /// Whether half of a surrogate pair in what is stored has become U+FFFD (E4).
    fn replaces_text(&self, processing: Processing, options: &Options) -> bool {
        let changes = processing != Processing::Off;
        let layers = [self.set, self.set_once, self.top_level_set, self.top_level_set_once, self.unset];
        let layers = layers.into_iter().chain([self.add, self.append, self.union, self.remove]);
        let is_stored =
            |key: &str| options.keep_event_properties || changes && options.lift && lift::is_lifted(key);
        let mut properties = self.properties.and_then(Json::members).into_iter().flatten();
        changes && layers.flatten().any(Json::has_half_pair)
            || properties.any(|(key, json)| is_stored(&key) && json.has_half_pair())
    }

    /// Refuses keys that the operation does not have: a typing error must not pass for an option.
    fn check_keys(&self, verb: Verb) -> Result<(), Rejection> {
        let foreign = |key: &str| Rejection::UnknownKey { op: verb.name(), key: excerpt(key) };
        if let Some(key) = &self.unknown {
            return Err(foreign(key));
        }
        let changes = !matches!(verb, Verb::Reset | Verb::Retract | Verb::Split | Verb::Reclassify);
        for (slot, key, allowed) in [
            (self.event, "event", verb == Verb::Capture),
            (self.properties, "properties", verb == Verb::Capture),
            (self.distinct_id, "distinct_id", !matches!(verb, Verb::Reset | Verb::Retract)),
            (self.device_id, "device_id", !matches!(verb, Verb::Retract | Verb::Split | Verb::Reclassify)),
            (self.anon_distinct_id, "anon_distinct_id", verb == Verb::Identify),
            (self.alias, "alias", matches!(verb, Verb::Alias | Verb::Merge)),
            (self.set, "set", changes),
            (self.set_once, "set_once", changes),
            (self.top_level_set, "top_level_set", changes),
            (self.top_level_set_once, "top_level_set_once", changes),
            (self.unset, "unset", changes),
            (self.add, "add", changes),
            (self.append, "append", changes),
            (self.union, "union", changes),
            (self.remove, "remove", changes),
            (self.process_person_profile, "process_person_profile", changes),
            (self.reset_device, "reset_device", verb == Verb::Reset),
            (self.new_id, "new_id", verb == Verb::Reset),
            (self.of, "of", verb == Verb::Retract),
            (self.ids, "ids", verb == Verb::Split),
            (self.mode, "mode", verb == Verb::Split),
            (self.class, "class", verb == Verb::Reclassify),
            (self.dialect, "dialect", verb == Verb::Identify && self.device_id.is_some()),
        ] {
            if slot.is_some() && !allowed {
                return Err(foreign(key));
            }
        }
        Ok(())
    }

    fn request(&self, verb: Verb) -> Result<Request, Rejection> {
        Ok(match verb {
            Verb::Capture => Request::Capture {
                who: self.who(verb)?,
                event: self.event.map(|json| name("event", json, EventName::new)).transpose()?,
                properties: Properties::new(),
            },
            Verb::Identify => self.identify()?,
            Verb::Alias => Request::Alias { who: self.who(verb)?, alias: self.alias()? },
            Verb::Merge => Request::Merge { who: self.who(verb)?, alias: self.alias()? },
            Verb::Set => Request::Set { who: self.who(verb)? },
            Verb::Reset => Request::Reset {
                device: self.device()?,
                reset_device: self.reset_device.map_or(Ok(false), |json| boolean("reset_device", json))?,
                new_id: self.new_id.map(|json| name("new_id", json, DistinctId::new)).transpose()?,
            },
            Verb::Retract => {
                let of = uuid("of", self.of.ok_or(Rejection::Missing { key: "of" })?)?;
                Request::Retract { target: Target::Operation(of) }
            }
            Verb::Split => {
                let id = self.distinct_id.ok_or(Rejection::Missing { key: "distinct_id" })?;
                Request::Split {
                    id: name("distinct_id", id, DistinctId::new)?,
                    ids: ids(self.ids.ok_or(Rejection::Missing { key: "ids" })?)?,
                    mode: self.mode.map_or(Ok(SplitMode::default()), mode)?,
                }
            }
            Verb::Reclassify => {
                let id = self.distinct_id.ok_or(Rejection::Missing { key: "distinct_id" })?;
                let id = name("distinct_id", id, DistinctId::new)?;
                Request::Reclassify {
                    id,
                    class: class(self.class.ok_or(Rejection::Missing { key: "class" })?)?,
                }
            }
        })
    }

    /// With a device and an id, the device says who uses it (F3).
    fn identify(&self) -> Result<Request, Rejection> {
        let op = Verb::Identify.name();
        if let (Some(_), Some(user)) = (self.device_id, self.distinct_id) {
            if self.anon_distinct_id.is_some() {
                return Err(Rejection::Conflicting { op, first: "device_id", second: "anon_distinct_id" });
            }
            let user = name("distinct_id", user, DistinctId::new)?;
            return Ok(Request::DeviceIdentify { device: self.device()?, user });
        }
        let anonymous = match self.anon_distinct_id {
            None => None,
            Some(json) if json.is_null() => Some(Source::new("null")), // as String(null) in JavaScript
            Some(json) => Some(source("anon_distinct_id", json)?),
        };
        Ok(Request::Identify { who: self.who(Verb::Identify)?, anonymous })
    }

    fn who(&self, verb: Verb) -> Result<Actor, Rejection> {
        match (self.distinct_id, self.device_id) {
            (Some(_), Some(_)) => {
                Err(Rejection::Conflicting { op: verb.name(), first: "distinct_id", second: "device_id" })
            }
            (Some(id), None) => Ok(Actor::Id(name("distinct_id", id, DistinctId::new)?)),
            (None, Some(_)) => Ok(Actor::Device(self.device()?)),
            (None, None) => Err(Rejection::Missing { key: "distinct_id" }),
        }
    }

    pub(super) fn device(&self) -> Result<DeviceId, Rejection> {
        name("device_id", self.device_id.ok_or(Rejection::Missing { key: "device_id" })?, DeviceId::new)
    }

    /// S; an empty alias is none (C3).
    fn alias(&self) -> Result<Option<Source>, Rejection> {
        let alias = self.alias.ok_or(Rejection::Missing { key: "alias" })?;
        if alias.text() == "\"\"" { Ok(None) } else { source("alias", alias).map(Some) }
    }

    fn changes(&self) -> Result<Changes, Rejection> {
        Ok(Changes {
            set: layered([("set", self.set), ("top_level_set", self.top_level_set)])?,
            set_once: layered([
                ("set_once", self.set_once),
                ("top_level_set_once", self.top_level_set_once),
            ])?,
            unset: self.unset.map_or_else(|| Ok(BTreeSet::new()), |json| unset("unset", json))?,
            add: relative("add", self.add)?,
            append: relative("append", self.append)?,
            union: relative("union", self.union)?,
            remove: relative("remove", self.remove)?,
        })
    }
}

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Line<'de>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Line<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Line<'de>, A::Error> {
                let mut line = Line::default();
                while let Some(key) = members.next_key::<&str>()? {
                    let (slot, name) = line.slot(key).ok_or_else(|| A::Error::custom("an unknown key"))?;
                    let value: &RawValue = members.next_value()?;
                    if slot.replace(Json::part(value.get())).is_some() {
                        return Err(A::Error::duplicate_field(name));
                    }
                }
                Ok(line)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// One layer of properties over the other: the later wins.
fn layered(layers: [(&'static str, Option<Json<'_>>); 2]) -> Result<Properties, Rejection> {
    let mut merged = Properties::new();
    for (key, json) in layers {
        if let Some(json) = json {
            let mut layer = properties(key, json)?;
            if merged.is_empty() {
                merged = layer;
            } else {
                merged.append(&mut layer);
            }
        }
    }
    Ok(merged)
}

/// The operands of a relative change (E9); whether they are of the right kind is for the operation's check.
fn relative(key: &'static str, json: Option<Json<'_>>) -> Result<Properties, Rejection> {
    json.map_or_else(|| Ok(Properties::new()), |json| properties(key, json))
}

pub(super) fn properties(key: &'static str, json: Json<'_>) -> Result<Properties, Rejection> {
    json.properties().unwrap_or_else(|| Err(wrong(key, json, "an object")))
}

/// The ids that leave.
fn ids(json: Json<'_>) -> Result<BTreeSet<DistinctId>, Rejection> {
    let elements = json.elements().ok_or_else(|| wrong("ids", json, "an array of strings"))?;
    elements.map(|element| name("ids", element, DistinctId::new)).collect()
}

fn mode(json: Json<'_>) -> Result<SplitMode, Rejection> {
    match &*string("mode", json)? {
        "each" => Ok(SplitMode::Each),
        "together" => Ok(SplitMode::Together),
        found => Err(Rejection::Mode { found: excerpt(found) }),
    }
}

/// The class that an id is given (H5).
fn class(json: Json<'_>) -> Result<IdClass, Rejection> {
    let found = string("class", json)?;
    IdClass::by_name(&found).ok_or_else(|| Rejection::Class { found: excerpt(&found) })
}

/// How the device's SDK treats the identify of another user (F3).
fn dialect(json: Json<'_>) -> Result<Dialect, Rejection> {
    match &*string("dialect", json)? {
        "browser" => Ok(Dialect::Browser),
        "core" => Ok(Dialect::Core),
        found => Err(Rejection::Dialect { found: excerpt(found) }),
    }
}

/// The keys to remove: strings of an array, or the keys of an object.
pub(super) fn unset(name: &'static str, json: Json<'_>) -> Result<BTreeSet<PropertyKey>, Rejection> {
    const EXPECTED: &str = "an array of strings or an object";
    if let Some(elements) = json.elements() {
        return elements
            .map(|element| match element.as_text() {
                Some(key) => property_key(key),
                None => Err(wrong(name, element, EXPECTED)),
            })
            .collect();
    }
    let mut values = Properties::new();
    for (key, value) in json.members().ok_or_else(|| wrong(name, json, EXPECTED))? {
        insert_property(&mut values, key, value)?;
    }
    Ok(values.into_keys().collect())
}

/// Whether a person profile is wanted; anything but a boolean is noticed (`Processing::Invalid`).
pub(super) fn processing(json: Json<'_>) -> Processing {
    match json.as_bool() {
        Some(true) => Processing::On,
        Some(false) => Processing::Off,
        None => Processing::Invalid,
    }
}

pub(super) fn wrong(key: &'static str, json: Json<'_>, expected: &'static str) -> Rejection {
    Rejection::WrongType { key, found: json.kind(), expected }
}

pub(super) fn string<'a>(key: &'static str, json: Json<'a>) -> Result<Cow<'a, str>, Rejection> {
    let text = json.as_str().ok_or_else(|| wrong(key, json, "a string"))?;
    text.map_err(|HalfPair| Rejection::HalfPair { key })
}

/// S; what is not Unicode text cannot be stored (B2).
fn source(key: &'static str, json: Json<'_>) -> Result<Source, Rejection> {
    let text = json.as_str().ok_or_else(|| wrong(key, json, "a string"))?;
    Ok(text.map_or(Source::Unstorable, |text| Source::new(&text)))
}

fn boolean(key: &'static str, json: Json<'_>) -> Result<bool, Rejection> {
    json.as_bool().ok_or_else(|| wrong(key, json, "a boolean"))
}

fn name<'a, T>(
    key: &'static str,
    json: Json<'a>,
    new: impl FnOnce(Cow<'a, str>) -> Result<T, IdError>,
) -> Result<T, Rejection> {
    new(string(key, json)?).map_err(|source| Rejection::Id { key, source })
}

pub(super) fn uuid(key: &'static str, json: Json<'_>) -> Result<OperationId, Rejection> {
    let text = string(key, json)?;
    match Uuid::try_parse(&text) {
        Ok(id) => Ok(OperationId(id)),
        Err(_) => Err(Rejection::EventId { key, found: excerpt(&text) }),
    }
}

/// A time in a string.
pub(super) fn time(key: &'static str, json: Json<'_>) -> Result<Timestamp, Rejection> {
    string(key, json)?.parse().map_err(|source| Rejection::Time { key, source })
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{import, only, shown};
    use super::super::{Format, FutureTimes, Options};

    const OPS: Options = Options {
        format: Format::Ops,
        lift: true,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };

    /// The one thing a line without `ts` and `event_id` asks, or why it is refused: the same whether the line is read in one pass, as
    /// a part of an array, or with a key that is spelled with an escape.
    fn asked(members: &str) -> String {
        let line = format!(r#"{{{members},"ts":"2026-01-01T00:00:00Z"}}"#);
        let asked = only(&line, &OPS);
        for other in [format!("[{line}]"), line.replace(r#""ts""#, r#""\u0074s""#)] {
            let other = only(&other, &OPS);
            assert_eq!(shown(&other), shown(&asked), "{line}");
            if !line.contains("device_id") {
                assert_eq!(
                    other.map(|other| other.id).ok(),
                    asked.as_ref().map(|asked| asked.id).ok(),
                    "{line}"
                );
            }
        }
        shown(&asked)
    }

    #[test]
    fn every_operation_is_read() {
        #[rustfmt::skip]
        let table = [
            (r#""op":"capture","distinct_id":"a""#, "capture a"),
            (r#""op":"capture","distinct_id":"a","event":"$pageview","process_person_profile":false,"set":{"k":1}"#, "capture `$pageview` a off"),
            (r#""op":"capture","device_id":"d","process_person_profile":true"#, "capture device d on"),
            (r#""op":"capture","distinct_id":"a","set":{"k":null},"set_once":{"n":1.0},"unset":["x","y"]"#, r#"capture a set{"k":null} once{"n":1.0} unset[x,y]"#),
            (r#""op":"capture","distinct_id":"a","set":{"k":1,"l":1},"top_level_set":{"k":2}"#, r#"capture a set{"k":2,"l":1}"#),
            (r#""op":"capture","distinct_id":"a","set_once":{"k":1},"top_level_set_once":{"k":2}"#, r#"capture a once{"k":2}"#),
            (r#""op":"capture","distinct_id":"a","properties":{"$browser":"B","x":1}"#, r#"capture a set{"$browser":"B"} once{"$initial_browser":"B"}"#),
            (r#""op":"capture","distinct_id":"a","event":"$snapshot","properties":{"$browser":"B"}"#, "capture `$snapshot` a"),
            (r#""op":"identify","distinct_id":"u""#, "identify u"),
            (r#""op":"identify","distinct_id":"u","anon_distinct_id":"a","set":{"p":"q"}"#, r#"identify u <- a set{"p":"q"}"#),
            (r#""op":"identify","distinct_id":"u","anon_distinct_id":null"#, "identify u <- null"),
            (r#""op":"identify","distinct_id":"u","anon_distinct_id":"""#, "identify u <- UNSTORABLE"),
            (r#""op":"identify","distinct_id":"u","anon_distinct_id":"a\u0000""#, "identify u <- UNSTORABLE"),
            (r#""op":"identify","distinct_id":"u","device_id":"d""#, "device d identifies u"),
            (r#""op":"identify","device_id":"d","anon_distinct_id":"a""#, "identify device d <- a"),
            (r#""op":"alias","distinct_id":"u","alias":"x""#, "alias u <- x"),
            (r#""op":"alias","device_id":"d","alias":"x""#, "alias device d <- x"),
            (r#""op":"alias","distinct_id":"u","alias":"""#, "alias u"),
            (r#""op":"merge_dangerously","distinct_id":"u","alias":"x""#, "merge u <- x"),
            (r#""op":"set","distinct_id":"u","unset":{"a":true,"b":[]}"#, "set u unset[a,b]"),
            (r#""op":"set","distinct_id":"u","add":{"n":1},"append":{"l":[1]},"union":{"m":["x"]},"remove":{"o":[]}"#, r#"set u add{"n":1} append{"l":[1]} union{"m":["x"]} remove{"o":[]}"#),
            (r#""op":"set","distinct_id":"u","process_person_profile":"no""#, "set u invalid"),
            (r#""op":"set","distinct_id":"u","process_person_profile":null"#, "set u invalid"),
            (r#""op":"reset","device_id":"d""#, "reset d"),
            (r#""op":"reset","device_id":"d","reset_device":true,"new_id":"n""#, "reset d and the device to n"),
            (r#""op":"retract","of":"0190C0DE-0000-7000-8000-0000000000AA""#, "retract 0190c0de-0000-7000-8000-0000000000aa"),
            (r#""op":"split","distinct_id":"u","ids":["b","a","b"]"#, "split u: a,b Each"),
            (r#""op":"split","distinct_id":"u","ids":["b"],"mode":"together""#, "split u: b Together"),
            (r#""op":"set","distinct_id":" \u00e9\u0301","set":{"a\u0000":"b\u0000"}"#, "set  \u{e9}\u{301} set{\"a\u{fffd}\":\"b\u{fffd}\"}"),
        ];
        for (line, expected) in table {
            assert_eq!(asked(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        #[rustfmt::skip]
        let table = [
            (r#""op":"forget","of":"x""#, "unknown operation `forget`; expected capture, identify, alias, merge_dangerously, set, reset, retract, split or reclassify"),
            (r#""op":"retract","of":"x""#, "`of` is `x`; expected a UUID"),
            (r#""op":"retract""#, "`of` is missing"),
            (r#""op":"retract","of":"0190c0de-0000-7000-8000-0000000000aa","distinct_id":"a""#, "unknown key `distinct_id` in `retract`"),
            (r#""op":"split","distinct_id":"a""#, "`ids` is missing"),
            (r#""op":"split","ids":["a"]"#, "`distinct_id` is missing"),
            (r#""op":"split","distinct_id":"a","ids":"a""#, "`ids` is a string; expected an array of strings"),
            (r#""op":"split","distinct_id":"a","ids":[1]"#, "`ids` is a number; expected a string"),
            (r#""op":"split","distinct_id":"a","ids":["b"],"mode":"all""#, "unknown mode `all`; expected each or together"),
            (r#""op":"split","distinct_id":"a","ids":["b"],"set":{}"#, "unknown key `set` in `split`"),
            (r#""distinct_id":"a""#, "`op` is missing"),
            (r#""op":1"#, "`op` is a number; expected a string"),
            (r#""op":"capture""#, "`distinct_id` is missing"),
            (r#""op":"capture","distinct_id":"""#, "`distinct_id`: the distinct id is empty; expected 1 to 400 Unicode scalar values"),
            (r#""op":"capture","distinct_id":7"#, "`distinct_id` is a number; expected a string"),
            (r#""op":"capture","distinct_id":"a","device_id":"d""#, "`distinct_id` and `device_id` stand together in `capture`; expected one of them"),
            (r#""op":"identify","distinct_id":"a","device_id":"d","anon_distinct_id":"x""#, "`device_id` and `anon_distinct_id` stand together in `identify`; expected one of them"),
            (r#""op":"identify","distinct_id":"a","anon_distinct_id":[]"#, "`anon_distinct_id` is an array; expected a string"),
            (r#""op":"identify","distinct_id":"a","alias":"x""#, "unknown key `alias` in `identify`"),
            (r#""op":"set","distinct_id":"a","properties":{}"#, "unknown key `properties` in `set`"),
            (r#""op":"set","distinct_id":"a","sett":{}"#, "unknown key `sett` in `set`"),
            (r#""op":"alias","distinct_id":"a""#, "`alias` is missing"),
            (r#""op":"alias","distinct_id":"a","alias":null"#, "`alias` is null; expected a string"),
            (r#""op":"set","distinct_id":"a","set":[]"#, "`set` is an array; expected an object"),
            (r#""op":"set","distinct_id":"a","add":{"n":null}"#, "`add` of property `n` is null; expected a number"),
            (r#""op":"set","distinct_id":"a","append":{"n":1}"#, "`append` of property `n` is a number; expected a list of values"),
            (r#""op":"set","distinct_id":"a","remove":null"#, "`remove` is null; expected an object"),
            (r#""op":"set","distinct_id":"a","set":{"n":1},"add":{"n":1}"#, "property `n` changes by `add` and in another way in one operation; send them one after the other"),
            (r#""op":"set","distinct_id":"a","unset":"x""#, "`unset` is a string; expected an array of strings or an object"),
            (r#""op":"set","distinct_id":"a","unset":[1]"#, "`unset` is a number; expected an array of strings or an object"),
            (r#""op":"set","distinct_id":"a","unset":["", "x"]"#, "the property key is empty; expected 1 to 1024 bytes"),
            (r#""op":"set","distinct_id":"a","distinct_id":"a""#, "key `distinct_id` stands twice in one object"),
            (r#""op":"set","distinct_id":"a","set":{"k":1,"k":1}"#, "key `k` stands twice in one object"),
            (r#""op":"set","distinct_id":"a","set":{"k":{"l":1,"l":1}}"#, "property `k`: key `l` stands twice in one object"),
            (r#""op":"set","distinct_id":"a","set":{"k":18446744073709551616}"#, "property `k`: integer 18446744073709551616 does not fit 64 bits; expected -9223372036854775808 to 18446744073709551615"),
            (r#""op":"capture","distinct_id":"a","properties":{"k":1e999}"#, "property `k`: a number is not finite; expected a finite number"),
            (r#""op":"reset","device_id":"d","reset_device":1"#, "`reset_device` is a number; expected a boolean"),
            (r#""op":"reset","distinct_id":"d""#, "unknown key `distinct_id` in `reset`"),
            (r#""op":"reset","new_id":"d""#, "`device_id` is missing"),
            (r#""op":"set","distinct_id":"a","event_id":"x1""#, "`event_id` is `x1`; expected a UUID"),
            (r#""op":"set","distinct_id":"a","event_id":null"#, "`event_id` is null; expected a string"),
            (r#""op":"set","distinct_id":"\ud800""#, "`distinct_id` has half of a surrogate pair in it; expected whole Unicode characters"),
        ];
        for (line, expected) in table {
            assert_eq!(asked(line), expected, "{line}");
        }
        let without_time = |ts: &str| shown(&only(&format!(r#"{{"op":"set","distinct_id":"a"{ts}}}"#), &OPS));
        assert_eq!(without_time(""), "`ts` is missing");
        assert_eq!(without_time(r#","ts":1"#), "`ts` is a number; expected a string");
        assert!(without_time(r#","ts":"noon""#).starts_with("`ts`: time `noon` is unreadable"));
    }

    #[test]
    fn values_have_edges() {
        let nested = |depth: usize| {
            let value = "[".repeat(depth) + &"]".repeat(depth);
            asked(&format!(r#""op":"set","distinct_id":"a","set":{{"k":{value}}}"#))
        };
        assert!(nested(32).starts_with("set a"));
        assert_eq!(nested(33), "property `k`: a value is nested deeper than 32");
        assert_eq!(nested(100_000), "property `k`: a value is nested deeper than 32");
        let id = |scalars: usize| {
            asked(&format!(r#""op":"capture","distinct_id":"{}""#, "\u{1F434}".repeat(scalars)))
        };
        assert!(id(400).starts_with("capture"));
        assert!(id(401).contains("has 401 Unicode scalar values"));
        let source = |scalars: usize| {
            asked(&format!(r#""op":"alias","distinct_id":"u","alias":"{}""#, "x".repeat(scalars)))
        };
        assert!(source(400).starts_with("alias u <- x"));
        assert_eq!(source(401), "alias u <- UNSTORABLE");
    }

    #[test]
    fn given_ids_are_kept_and_missing_ones_derived_g4() {
        let line = r#"{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"a","event_id":"0190C0DE-0000-7000-8000-0000000000AA"}"#;
        let given = only(line, &OPS).unwrap();
        assert_eq!(given.id.unwrap().to_string(), "0190c0de-0000-7000-8000-0000000000aa");
        assert!(!given.derived_id);
        let derived =
            only(&line.replace(r#","event_id":"0190C0DE-0000-7000-8000-0000000000AA""#, ""), &OPS).unwrap();
        assert!(derived.derived_id && derived.id.is_some());
    }

    #[test]
    fn event_properties_are_kept_only_on_request() {
        let keep = Options { keep_event_properties: true, lift: false, ..OPS };
        let line = r#"{"op":"capture","ts":"2026-01-01T00:00:00Z","distinct_id":"a","properties":{"$browser":"B","x":[1]}}"#;
        assert_eq!(shown(&only(line, &keep)), r#"capture a with{"$browser":"B","x":[1]}"#);
    }

    #[test]
    fn the_ops_format_takes_nothing_else() {
        let found = import(br#"[{"event":"x","distinct_id":"a"}, 5, {"op":"forget"}]"#, &OPS);
        assert_eq!(
            found,
            [
                "1[0] `op` is missing",
                "1[1] found a number; expected an object: an operation or an event",
                "1[2] unknown operation `forget`; expected capture, identify, alias, merge_dangerously, set, reset, retract, split or reclassify",
            ]
        );
    }
}
