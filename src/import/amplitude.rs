//! Events of Amplitude, from its exports and as they are sent to its HTTP API.
//!
//! `docs/vendors.md` has the mapping. An event that names a user and a device links them, as in Amplitude the first of them does.

use super::derive;
use super::envelope::Envelope;
use super::json::{Json, Object};
use super::ops::{properties, string, uuid, wrong};
use super::options::Options;
use super::profile;
use super::rejection::{Rejection, excerpt};
use super::vendor::{
    Asked, device_source, device_text, distinct_id, epoch, id_text, implied_link, member_id, row_time,
};
use crate::model::id::{DistinctId, EventName};
use crate::model::operation::{Actor, Changes, Operation, Request, Source};
use crate::model::time::Timestamp;
use crate::model::value::Properties;

/// What is looked at in an event.
const EVENT: [&str; 10] = [
    "event_type",
    "user_id",
    "device_id",
    "$insert_id",
    "insert_id",
    "uuid",
    "event_time",
    "time",
    "user_properties",
    "event_properties",
];

/// What `user_properties` may ask for and no operation can say: an order of a list that is not the order of the changes, and nothing of a
/// profile left.
const UNMAPPED: [&str; 3] = ["$prepend", "$preInsert", "$clearAll"];

/// What `user_properties` may ask for and is read.
const MAPPED: [&str; 7] = ["$set", "$setOnce", "$unset", "$add", "$append", "$postInsert", "$remove"];

/// The column by which an event is known to come from an export: the user that Amplitude made of the ids.
const EXPORTED: &str = "amplitude_id";

/// The operations that an event asks for.
pub(super) fn operations(
    event: Json<'_>,
    envelope: &Envelope,
    options: &Options,
) -> Result<Asked, Rejection> {
    let members = event.object(&EVENT).ok_or(Rejection::NotAnEvent { found: event.kind() })??;
    event.check_depth()?; // bounds every recursion into it
    let name =
        string("event_type", members.some("event_type").ok_or(Rejection::Missing { key: "event_type" })?)?;
    let (who, device) = ids(&members)?;
    let at = time(&members)?.or(envelope.received).ok_or(Rejection::MissingTime)?;
    let request = match (name.as_ref(), &device) {
        ("$identify", Some(_)) => {
            Request::Identify { who: Actor::Id(who.clone()), anonymous: device.clone() }
        }
        ("$identify", None) => Request::Set { who: Actor::Id(who.clone()) },
        (name, _) => {
            let event = EventName::new(name).map_err(|source| Rejection::Id { key: "event_type", source })?;
            let kept = members
                .some("event_properties")
                .filter(|json| options.keep_event_properties && !json.is_nothing());
            let properties =
                kept.map_or_else(|| Ok(Properties::new()), |kept| properties("event_properties", kept))?;
            Request::Capture { who: Actor::Id(who.clone()), event: Some(event), properties }
        }
    };
    let is_capture = matches!(request, Request::Capture { .. });
    let mut operation = Operation { time_by_arrival: true, ..Operation::new(at, request) };
    operation.is_copy = members.some(EXPORTED).is_some();
    operation.changes = changes(&members)?;
    operation.bent.replaced_nul = stored(&members, options, is_capture).any(Json::has_half_pair);
    if let Some(insert_id) = members.some("$insert_id").or_else(|| members.some("insert_id")) {
        let insert_id = id_text("$insert_id", insert_id)?;
        operation.id = Some(derive::insert_id(&insert_id, &who, None, &name));
        operation.derived_id = true;
    } else if let Some(json) = members.some("uuid") {
        operation.id = Some(uuid("uuid", json)?);
    }
    let link = device.filter(|_| is_capture).map(|device| implied_link(who, device, at, options.format));
    Ok(Asked { link, operation })
}

/// Whom the event speaks for, and the device that it names beside a user.
fn ids(members: &Object<'_>) -> Result<(DistinctId, Option<Source>), Rejection> {
    let device = member_id(members, "device_id")?.map(|device| device_text("device_id", device));
    if let Some(user) = member_id(members, "user_id")? {
        return Ok((distinct_id("user_id", user)?, device.map(device_source)));
    }
    let text = device.ok_or(Rejection::Missing { key: "user_id" })??;
    Ok((DistinctId::new(text).map_err(|source| Rejection::Id { key: "device_id", source })?, None))
}

/// `event_time` of an export is put right by Amplitude; `time` is what the sender says, in milliseconds.
fn time(members: &Object<'_>) -> Result<Option<Timestamp>, Rejection> {
    match members.some("event_time") {
        Some(json) => row_time("event_time", json).map(Some),
        None => members.some("time").map(|json| epoch("time", json)).transpose(),
    }
}

/// What `user_properties` write: they are values to set, or operations by name.
fn changes(members: &Object<'_>) -> Result<Changes, Rejection> {
    const KEY: &str = "user_properties";
    let Some(json) = members.some(KEY).filter(|json| !json.is_nothing()) else {
        return Ok(Changes::default());
    };
    let asked = json.object(&MAPPED).ok_or_else(|| wrong(KEY, json, "an object"))??;
    profile::refuse(&asked, &UNMAPPED)?;
    let is_plain = MAPPED.iter().all(|key| asked.get(key).is_none());
    // A change that there is not holds an object or a list, as all do.
    let is_change =
        |(key, json): &(&str, Json<'_>)| key.starts_with('$') && (json.is_object() || json.is_array());
    if is_plain && !asked.iter().any(|member| is_change(&member)) {
        return Ok(Changes { set: properties(KEY, json)?, ..Changes::default() });
    }
    if let Some((key, _)) =
        asked.iter().find(|member| if is_plain { is_change(member) } else { !MAPPED.contains(&member.0) })
    {
        let unknown = key.starts_with('$');
        let key = excerpt(key);
        return Err(match unknown {
            true => Rejection::UnknownProfileOperation { key },
            false => Rejection::BesideProfileOperations { key },
        });
    }
    Ok(Changes {
        set: profile::values(&asked, "$set")?,
        set_once: profile::values(&asked, "$setOnce")?,
        unset: profile::unset(&asked)?,
        add: profile::values(&asked, "$add")?,
        append: profile::elements(&asked, "$append", profile::list_or_one)?,
        union: profile::elements(&asked, "$postInsert", profile::list_or_one)?,
        remove: profile::elements(&asked, "$remove", profile::list_or_one)?,
    })
}

/// The parts of an event of which something is stored.
fn stored<'a>(members: &Object<'a>, options: &Options, is_capture: bool) -> impl Iterator<Item = Json<'a>> {
    let kept = members.some("event_properties").filter(|_| is_capture && options.keep_event_properties);
    members.some("user_properties").into_iter().chain(kept)
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::import;
    use super::super::{Format, FutureTimes, Options};

    const AMPLITUDE: Options = Options {
        format: Format::Amplitude,
        lift: true,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };

    /// What an event asks for, one operation after the other.
    fn asked(members: &str, options: &Options) -> String {
        let event = format!(r#"{{"event_time":"2026-01-01 00:00:00.000000",{members}}}"#);
        let found = import(event.as_bytes(), options);
        found.iter().map(|said| said.trim_start_matches("1 ")).collect::<Vec<_>>().join(", then ")
    }

    #[test]
    fn an_event_with_a_user_and_a_device_links_them() {
        #[rustfmt::skip]
        let table = [
            (r#""event_type":"x","device_id":"d1""#, "capture `x` $device:d1"),
            (r#""event_type":"x","user_id":"ann","device_id":null"#, "capture `x` ann"),
            (r#""event_type":"x","user_id":"ann","device_id":"d1","amplitude_id":7"#, "identify ann <- $device:d1, then capture `x` ann"),
            (r#""event_type":"$identify","user_id":"ann","device_id":"d1","user_properties":{"$set":{"plan":"pro"},"$setOnce":{"ref":"a"},"$unset":{"old":"-"}}"#, r#"identify ann <- $device:d1 set{"plan":"pro"} once{"ref":"a"} unset[old]"#),
            (r#""event_type":"$identify","device_id":"d1","user_properties":{"plan":"free"}"#, r#"set $device:d1 set{"plan":"free"}"#),
            (r#""event_type":"x","user_id":42,"user_properties":"{\"plan\":\"pro\"}""#, r#"capture `x` 42 set{"plan":"pro"}"#),
            (r#""event_type":"$groupidentify","user_id":"ann","group_properties":{"seats":5}"#, "capture `$groupidentify` ann"),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$add":{"n":1},"$append":{"l":["x","y"],"m":"z"}}"#, r#"capture `x` ann add{"n":1} append{"l":["x","y"],"m":["z"]}"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$postInsert":{"l":"x"},"$remove":{"m":["z"]}}"#, r#"capture `x` ann union{"l":["x"]} remove{"m":["z"]}"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$prepend":{"l":"x"}}"#, r#"`$prepend` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$preInsert":null,"$set":{"a":1}}"#, r#"`$preInsert` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$clearAll":"-"}"#, r#"`$clearAll` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$clearAll":null}"#, r#"`$clearAll` has no operation in a ledger; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$set":null}"#, r#"`$set` is null; expected an object"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$add":[1]}"#, r#"`$add` is an array; expected an object"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$foo":{"a":1},"$set":{"a":1}}"#, r#"`$foo` is not a profile operation; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$Add":{"n":1},"plan":"pro"}"#, r#"`$Add` is not a profile operation; expected `$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"$price":5}"#, r#"capture `x` ann set{"$price":5}"#),
            (r#""event_type":"x","user_id":"ann","user_properties":{"plan":"pro","$set":{"a":1}}"#, r#"`plan` stands beside profile operations; expected operations alone, or values alone"#),
            (r#""event_type":"x","user_id":"","device_id":"""#, "`user_id` is missing"),
            (r#""event_type":"x","user_id":"ann","user_properties":[7]"#, "`user_properties` is an array; expected an object"),
            (r#""event_type":"","user_id":"ann""#, "`event_type`: the event name is empty; expected 1 to 1024 bytes"),
            (r#""user_id":"ann""#, "`event_type` is missing"),
        ];
        for (event, expected) in table {
            assert_eq!(asked(event, &AMPLITUDE), expected, "{event}");
        }
        let keep = Options { keep_event_properties: true, ..AMPLITUDE };
        let event = r#""event_type":"x","user_id":"ann","event_properties":{"total":3}"#;
        assert_eq!(asked(event, &keep), r#"capture `x` ann with{"total":3}"#);
    }

    #[test]
    fn a_request_holds_events_and_each_has_its_time() {
        let request = r#"{"path":"/2/httpapi","received_ms":1767225630000,"body":{"api_key":"k","events":[
            {"event_type":"x","user_id":"ann","time":1767225600000},{"event_type":"y","user_id":"ann"}]}}"#
            .replace('\n', "");
        let found = super::super::Importer::new(request.as_bytes(), AMPLITUDE.clone());
        let times: Vec<_> = found.map(|parsed| parsed.unwrap().operation.unwrap().time.to_string()).collect();
        assert_eq!(times, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z"]);
    }
}
