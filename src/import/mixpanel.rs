//! Events and profile updates of Mixpanel, under the rules of its Simplified or of its Original ID Merge.
//!
//! `docs/vendors.md` has the mapping. Under the simplified rules an event that names a user and a device links them, and nothing else
//! does. Under the original ones three events do, by their names.

use std::borrow::Cow;

use super::derive;
use super::envelope::Envelope;
use super::json::{Json, Object, insert_property};
use super::ops::{string, wrong};
use super::options::{Format, Options};
use super::profile;
use super::rejection::{Rejection, excerpt};
use super::vendor::{
    Asked, device_source, device_text, distinct_id, epoch, id, id_text, implied_link, member_id, row_time,
    source,
};
use crate::model::id::{DistinctId, EventName};
use crate::model::operation::{Actor, Changes, Operation, Request, Source};
use crate::model::value::Properties;

/// What is looked at in an event, beside its properties; and in a row of the pipelines, which has some of those beside it.
const EVENT: [&str; 8] =
    ["event", "properties", "event_name", "distinct_id", "device_id", "user_id", "insert_id", "time"];

/// The columns of a row that an event has among its properties, under other names.
const COLUMNS: [(&str, &str); 5] = [
    ("distinct_id", "distinct_id"),
    ("$device_id", "device_id"),
    ("$user_id", "user_id"),
    ("$insert_id", "insert_id"),
    ("time", "time"),
];

/// What is looked at in an event's properties.
const PROPERTIES: [&str; 10] = [
    "distinct_id",
    "$device_id",
    "$user_id",
    "$insert_id",
    "time",
    "alias",
    "$identified_id",
    "$anon_id",
    "$anon_distinct_id",
    "$distinct_ids",
];

/// The changes of a profile that are read.
const MAPPED: [&str; 7] = ["$set", "$set_once", "$unset", "$add", "$append", "$union", "$remove"];

/// Updates that the ledger has no operation for, and the mark of those of groups, which are not persons.
const UNMAPPED: [&str; 2] = ["$delete", "$group_key"];

/// What stands beside the changes of a profile update, and is not one.
const BESIDE: [&str; 11] = [
    "$token",
    "$distinct_id",
    "$device_id",
    "$user_id",
    "$time",
    "$ip",
    "$ignore_time",
    "$ignore_alias",
    "$had_persisted_distinct_id",
    "$mp_metadata",
    "$group_id",
];

/// The project's token: not the event's.
const TOKEN: &str = "token";

/// The operations that an event or a profile update asks for.
pub(super) fn operations(
    object: Json<'_>,
    envelope: &Envelope,
    options: &Options,
) -> Result<Asked, Rejection> {
    let members = object.object(&EVENT).ok_or(Rejection::NotAnEvent { found: object.kind() })??;
    object.check_depth()?; // bounds every recursion into it
    match members.some("event").or_else(|| members.some("event_name")) {
        Some(name) => Event::read(name, members)?.operations(envelope, options),
        None => update(object, envelope).map(|operation| Asked { link: None, operation }),
    }
}

struct Event<'a> {
    name: Cow<'a, str>,
    properties: Object<'a>,
    /// The columns of a row of the pipelines.
    row: Option<Object<'a>>,
}

impl<'a> Event<'a> {
    fn read(name: Json<'a>, members: Object<'a>) -> Result<Event<'a>, Rejection> {
        let properties = members.some("properties").ok_or(Rejection::Missing { key: "properties" })?;
        let properties =
            properties.object(&PROPERTIES).ok_or_else(|| wrong("properties", properties, "an object"))??;
        let row = members.some("event").is_none().then_some(members);
        Ok(Event { name: string("event", name)?, properties, row })
    }

    /// A property that decides who is who, or the column of a row for it.
    fn some(&self, key: &'static str) -> Option<Json<'a>> {
        let column = COLUMNS.iter().find(|(property, _)| *property == key).map(|(_, column)| column);
        let in_row = self.row.as_ref().zip(column).and_then(|(row, column)| row.some(column));
        in_row.or_else(|| self.properties.some(key))
    }

    /// The id of this property; an empty text is none.
    fn id(&self, key: &'static str) -> Result<Option<Json<'a>>, Rejection> {
        self.some(key).map_or(Ok(None), |json| id(key, json))
    }

    fn operations(&self, envelope: &Envelope, options: &Options) -> Result<Asked, Rejection> {
        let read = if self.row.is_some() { row_time } else { epoch };
        let said = self.some("time").map(|json| read("time", json)).transpose()?;
        let at = said.or(envelope.received).ok_or(Rejection::MissingTime)?;
        let (who, device, request) = if options.format == Format::Mixpanel {
            let (who, device) = self.ids()?;
            let request = match self.name.as_ref() {
                "$identify" if device.is_some() => {
                    Request::Identify { who: Actor::Id(who.clone()), anonymous: device.clone() }
                }
                "$identify" | "$create_alias" | "$merge" => {
                    return Err(Rejection::OriginalMerge { event: self.name.clone().into_owned() });
                }
                _ => self.capture(&who, options)?,
            };
            (who, device, request)
        } else {
            let (who, request) = self.original(options)?;
            (who, None, request)
        };
        let mut operation = Operation { time_by_arrival: said.is_none(), ..Operation::new(at, request) };
        if let Some(insert_id) = self.id("$insert_id")? {
            let insert_id = id_text("$insert_id", insert_id)?;
            operation.id = Some(derive::insert_id(&insert_id, &who, said, &self.name));
            operation.derived_id = true;
        }
        let is_capture = matches!(operation.request, Request::Capture { .. });
        operation.bent.replaced_nul = is_capture
            && options.keep_event_properties
            && self.kept_members().any(|(_, json)| json.has_half_pair());
        let link = device.filter(|_| is_capture).map(|device| implied_link(who, device, at, options.format));
        Ok(Asked { link, operation })
    }

    /// Under the simplified rules: whom the event speaks for, and the device that it names beside a user.
    fn ids(&self) -> Result<(DistinctId, Option<Source>), Rejection> {
        let device = self.id("$device_id")?.map(|device| device_text("$device_id", device));
        if let Some(user) = self.id("$user_id")? {
            return Ok((distinct_id("$user_id", user)?, device.map(device_source)));
        }
        match device {
            Some(text) => {
                let who = DistinctId::new(text?);
                Ok((who.map_err(|source| Rejection::Id { key: "$device_id", source })?, None))
            }
            None => Ok((self.who(&["distinct_id"])?, None)),
        }
    }

    /// Under the original rules: whom the event speaks for, and what it asks.
    fn original(&self, options: &Options) -> Result<(DistinctId, Request), Rejection> {
        let other = |keys: &[&'static str]| {
            let (key, json) = self.first(keys)?.ok_or(Rejection::Missing { key: keys[0] })?;
            Ok::<_, Rejection>(source(key, json))
        };
        Ok(match self.name.as_ref() {
            "$identify" => {
                let who = self.who(&["$identified_id", "distinct_id"])?;
                let anonymous = Some(other(&["$anon_id", "$anon_distinct_id"])?);
                (who.clone(), Request::Identify { who: Actor::Id(who), anonymous })
            }
            "$create_alias" => {
                let who = self.who(&["distinct_id"])?;
                (who.clone(), Request::Alias { who: Actor::Id(who), alias: Some(other(&["alias"])?) })
            }
            "$merge" => {
                const KEY: &str = "$distinct_ids";
                let ids = self.properties.some(KEY).ok_or(Rejection::Missing { key: KEY })?;
                let pair: Vec<_> = ids.elements().into_iter().flatten().take(3).collect();
                let &[first, second] = &pair[..] else { return Err(wrong(KEY, ids, "an array of two ids")) };
                let who = distinct_id(KEY, first)?;
                (who.clone(), Request::Merge { who: Actor::Id(who), alias: Some(source(KEY, second)) })
            }
            _ => {
                let who = self.who(&["distinct_id"])?;
                let request = self.capture(&who, options)?;
                (who, request)
            }
        })
    }

    /// The first of these properties that is an id.
    fn first(&self, keys: &[&'static str]) -> Result<Option<(&'static str, Json<'a>)>, Rejection> {
        for key in keys {
            if let Some(json) = self.id(key)? {
                return Ok(Some((key, json)));
            }
        }
        Ok(None)
    }

    fn who(&self, keys: &[&'static str]) -> Result<DistinctId, Rejection> {
        let (key, json) = self.first(keys)?.ok_or(Rejection::Missing { key: "distinct_id" })?;
        distinct_id(key, json)
    }

    fn capture(&self, who: &DistinctId, options: &Options) -> Result<Request, Rejection> {
        let event =
            EventName::new(self.name.as_ref()).map_err(|source| Rejection::Id { key: "event", source })?;
        let mut properties = Properties::new();
        if options.keep_event_properties {
            for (key, json) in self.kept_members() {
                insert_property(&mut properties, key.into(), json)?;
            }
        }
        Ok(Request::Capture { who: Actor::Id(who.clone()), event: Some(event), properties })
    }

    fn kept_members(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.properties.iter().filter(|(key, _)| *key != TOKEN)
    }
}

/// A profile update: changes of a profile by their names.
fn update(object: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
    let looked_at = [&MAPPED[..], &UNMAPPED, &BESIDE].concat();
    let members = object.object(&looked_at).ok_or(Rejection::NotAnEvent { found: object.kind() })??;
    profile::refuse(&members, &UNMAPPED)?;
    let is_update = MAPPED.iter().any(|key| members.get(key).is_some());
    // A change that there is not holds an object or a list, as all do; anything else may be said about the update.
    let is_change = |json: Json<'_>| json.is_object() || json.is_array() || !is_update;
    let unknown = |key: &str| key.starts_with('$') && !looked_at.contains(&key);
    if let Some((key, _)) = members.iter().find(|(key, json)| unknown(key) && is_change(*json)) {
        return Err(Rejection::UnknownProfileOperation { key: excerpt(key) });
    }
    if !is_update {
        return Err(Rejection::Missing { key: "event" });
    }
    let changes = Changes {
        set: profile::values(&members, "$set")?,
        set_once: profile::values(&members, "$set_once")?,
        unset: profile::unset(&members)?,
        add: profile::values(&members, "$add")?,
        append: profile::elements(&members, "$append", profile::one)?,
        union: profile::elements(&members, "$union", profile::list)?,
        remove: profile::elements(&members, "$remove", profile::one)?,
    };
    let who = member_id(&members, "$distinct_id")?.ok_or(Rejection::Missing { key: "$distinct_id" })?;
    let who = Actor::Id(distinct_id("$distinct_id", who)?);
    let said = members.some("$time").map(|json| epoch("$time", json)).transpose()?;
    let at = said.or(envelope.received).ok_or(Rejection::MissingTime)?;
    let mut operation = Operation::new(at, Request::Set { who });
    operation.time_by_arrival = said.is_none();
    operation.bent.replaced_nul = MAPPED.iter().filter_map(|key| members.get(key)).any(Json::has_half_pair);
    operation.changes = changes;
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{import, only};
    use super::super::{Format, FutureTimes, Options};

    const SIMPLIFIED: Options = Options {
        format: Format::Mixpanel,
        lift: true,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };
    const ORIGINAL: Options = Options { format: Format::MixpanelOriginal, ..SIMPLIFIED };

    /// What an input asks for, an operation after the other.
    fn asked(input: &str, options: &Options) -> String {
        let found = import(input.as_bytes(), options);
        found.iter().map(|said| said.trim_start_matches("1 ")).collect::<Vec<_>>().join(", then ")
    }

    fn event(name: &str, properties: &str) -> String {
        format!(r#"{{"event":"{name}","properties":{{"time":1767225600,"token":"t",{properties}}}}}"#)
    }

    #[test]
    fn the_simplified_rules_link_a_device_and_a_user() {
        #[rustfmt::skip]
        let table = [
            ("x", r#""$device_id":"d1""#, "capture `x` $device:d1"),
            ("x", r#""$device_id":"$device:d1","distinct_id":"$device:d1""#, "capture `x` $device:d1"),
            ("x", r#""$user_id":"ann""#, "capture `x` ann"),
            ("x", r#""$device_id":"d1","$user_id":"ann","distinct_id":"other""#, "identify ann <- $device:d1, then capture `x` ann"),
            ("x", r#""$device_id":7,"$user_id":42"#, "identify 42 <- $device:7, then capture `x` 42"),
            ("x", r#""distinct_id":"ann","$user_id":null,"$device_id":"""#, "capture `x` ann"),
            ("$identify", r#""$device_id":"d1","$user_id":"ann""#, "identify ann <- $device:d1"),
            ("$identify", r#""$identified_id":"ann","$anon_id":"d1","distinct_id":"ann""#, "`$identify` links nothing under Simplified ID Merge; read it with `--format mixpanel-original` if that is the project's"),
            ("$merge", r#""$distinct_ids":["a","b"],"distinct_id":"a""#, "`$merge` links nothing under Simplified ID Merge; read it with `--format mixpanel-original` if that is the project's"),
            ("x", r#""distinct_id":"""#, "`distinct_id` is missing"),
            ("x", r#""$user_id":["ann"]"#, "`$user_id` is an array; expected a string or a number"),
            ("", r#""$user_id":"ann""#, "`event`: the event name is empty; expected 1 to 1024 bytes"),
        ];
        for (name, properties, expected) in table {
            assert_eq!(asked(&event(name, properties), &SIMPLIFIED), expected, "{properties}");
        }
    }

    #[test]
    fn the_original_rules_link_by_three_events() {
        #[rustfmt::skip]
        let table = [
            ("x", r#""$device_id":"d1","$user_id":"ann","distinct_id":"ann""#, "capture `x` ann"),
            ("$identify", r#""$identified_id":"ann","$anon_id":"d1""#, "identify ann <- d1"),
            ("$identify", r#""distinct_id":"ann","$anon_distinct_id":"d1""#, "identify ann <- d1"),
            ("$identify", r#""distinct_id":"ann""#, "`$anon_id` is missing"),
            ("$create_alias", r#""distinct_id":"d1","alias":"ann""#, "alias d1 <- ann"),
            ("$create_alias", r#""distinct_id":"d1""#, "`alias` is missing"),
            ("$merge", r#""$distinct_ids":["a","b"]"#, "merge a <- b"),
            ("$merge", r#""$distinct_ids":["a","b","c"]"#, "`$distinct_ids` is an array; expected an array of two ids"),
            ("$merge", r#""$distinct_ids":"a""#, "`$distinct_ids` is a string; expected an array of two ids"),
            ("$merge", r#""distinct_id":"a""#, "`$distinct_ids` is missing"),
        ];
        for (name, properties, expected) in table {
            assert_eq!(asked(&event(name, properties), &ORIGINAL), expected, "{properties}");
        }
    }

    #[test]
    fn profile_updates_are_read_or_rejected_by_name() {
        #[rustfmt::skip]
        let table = [
            (r#""$set":{"plan":"pro"}"#, r#"set ann set{"plan":"pro"}"#),
            (r#""$set_once":{"first":1},"$unset":["x"]"#, r#"set ann once{"first":1} unset[x]"#),
            (r#""$set":{},"$unset":[]"#, "set ann"),
            (r#""$add":{"n":1,"m":-0.5},"$set":{"a":1}"#, r#"set ann set{"a":1} add{"m":-0.5,"n":1}"#),
            (r#""$append":{"l":["x"]},"$union":{"u":["x"]},"$remove":{"r":"x"}"#, r#"set ann append{"l":[["x"]]} union{"u":["x"]} remove{"r":["x"]}"#),
            (r#""$add":{"n":"1"}"#, "`add` of property `n` is a text; expected a number"),
            (r#""$add":{"n":1},"$set":{"n":1}"#, "property `n` changes by `add` and in another way in one operation; send them one after the other"),
            (r#""$union":{"u":"x"}"#, "`$union` of property `u` is a text; expected a list of values"),
            (r#""$add":null"#, "`$add` is null; expected an object"),
            (r#""$set":null"#, "`$set` is null; expected an object"),
            (r#""$set_once":[]"#, "`$set_once` is an array; expected an object"),
            (r#""$unset":null"#, "`$unset` is null; expected an array of strings or an object"),
            (r#""$unset":[1]"#, "`$unset` is a number; expected an array of strings or an object"),
            (r#""$delete":"""#, "`$delete` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"),
            (r#""$delete":null,"$set":{"a":1}"#, "`$delete` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"),
            (r#""$set":{"a":1},"$group_key":"company""#, "`$group_key` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"),
            (r#""$increment":{"n":1}"#, "`$increment` is not a profile operation; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"),
            (r#""$increment":{"n":1},"$set":{"a":1}"#, "`$increment` is not a profile operation; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"),
            (r#""$os":"iOS","$set":{"a":1}"#, r#"set ann set{"a":1}"#),
            (r#""$set":"a""#, "`$set` is a string; expected an object"),
            (r#""$ip":"0""#, "`event` is missing"),
        ];
        for (members, expected) in table {
            let update = format!(r#"[{{"$token":"t","$distinct_id":"ann","$time":1767225600,{members}}}]"#);
            let expected = format!("1[0] {expected}");
            assert_eq!(import(update.as_bytes(), &SIMPLIFIED), [expected.as_str()], "{members}");
            assert_eq!(import(update.as_bytes(), &ORIGINAL), [expected.as_str()], "{members}");
        }
    }

    #[test]
    fn a_time_is_in_seconds_or_milliseconds_and_exact() {
        let at = |time: &str| {
            let event = format!(r#"{{"event":"x","properties":{{"distinct_id":"a","time":{time}}}}}"#);
            match only(&event, &SIMPLIFIED) {
                Ok(operation) => operation.time.to_string(),
                Err(rejection) => rejection.to_string(),
            }
        };
        const UNREADABLE: &str = "expected a number of seconds or milliseconds since 1970";
        #[rustfmt::skip]
        let table = [
            ("1602611311", "2020-10-13T17:48:31Z"),
            (r#""1602611311""#, "2020-10-13T17:48:31Z"),
            ("1602611311000", "2020-10-13T17:48:31Z"),
            ("1602611311.2500009", "2020-10-13T17:48:31.25Z"),
            ("1602611311250.125", "2020-10-13T17:48:31.250125Z"),
            ("99999999999", "5138-11-16T09:46:39Z"),
            ("100000000000", "1973-03-03T09:46:40Z"),
            ("9223372036854775807", "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
            ("99999999999999999999", "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
        ];
        for (time, expected) in table {
            assert_eq!(at(time), expected, "{time}");
        }
        for (time, kind) in
            [("-1", "a number"), ("1.6e9", "a number"), (r#""noon""#, "a string"), ("[1]", "an array")]
        {
            assert_eq!(at(time), format!("`time` is {kind}; {UNREADABLE}"), "{time}");
        }
        assert_eq!(at("null"), "the event has no time; expected `timestamp`, or a recorded time of receipt");
    }

    #[test]
    fn an_event_is_known_by_its_insert_id_its_person_its_time_and_its_name_g4() {
        let id = |event: &str| only(event, &SIMPLIFIED).unwrap().id.unwrap();
        let of = |name: &str, time: u32, who: &str, insert: &str, more: &str| {
            id(&format!(
                r#"{{"event":"{name}","properties":{{"time":{time},"distinct_id":"{who}","$insert_id":"{insert}"{more}}}}}"#
            ))
        };
        let first = of("x", 1, "a", "i", "");
        let expected = "0f8a6b77-ada2-acf5-083b-0e5c71187a3f";
        assert_eq!(first.to_string(), expected, "set in stone: a changed derivation imports old files again");
        assert_eq!(first, of("x", 1, "a", "i", r#","city":"Rome""#), "nothing else counts");
        for other in [
            of("y", 1, "a", "i", ""),
            of("x", 2, "a", "i", ""),
            of("x", 1, "b", "i", ""),
            of("x", 1, "a", "j", ""),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn event_properties_are_kept_without_the_token() {
        let keep = Options { keep_event_properties: true, ..SIMPLIFIED };
        let said = asked(
            r#"{"event":"x","properties":{"time":1,"token":"t","distinct_id":"a","$os":"\ud83d"}}"#,
            &keep,
        );
        assert_eq!(
            said,
            "capture `x` a with{\"$os\":\"\u{FFFD}\",\"distinct_id\":\"a\",\"time\":1} TEXT-REPLACED"
        );
    }
}
