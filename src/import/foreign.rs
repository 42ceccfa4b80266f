//! What other senders wrote, known by its shape: no event is read as something that it is not.

use super::json::{Json, Object};
use super::options::Format;
use super::rejection::Rejection;

/// Keys that calls of Segment and RudderStack have, and no event of PostHog.
const CALL: [&str; 3] = ["anonymousId", "userId", "previousId"];

/// Columns that Segment and RudderStack add to the rows of a warehouse.
const WAREHOUSE: [&str; 5] = ["received_at", "original_timestamp", "uuid_ts", "sent_at", "event_text"];

/// Mixpanel's profile operations that PostHog never took.
const PROFILE: [&str; 6] = ["$add", "$append", "$union", "$remove", "$delete", "$ignore_time"];

/// Properties that Mixpanel's libraries and its raw export write.
const MIXPANEL: [&str; 4] = ["mp_lib", "mp_processing_time_ms", "mp_sent_by_lib_version", "$mp_api_endpoint"];

/// Which of them a project follows is in its settings.
const MIXPANEL_FORMATS: [Format; 2] = [Format::Mixpanel, Format::MixpanelOriginal];

/// Which of the two it is, a row does not say either.
const CALL_FORMATS: [Format; 2] = [Format::Segment, Format::Rudderstack];

/// Columns of this program's own exports, which no one else's tables have.
const OWN: [&str; 5] = ["id_no", "founding_id_no", "old_founding_id_no", "defined_from", "_commit_version"];

/// Columns of PostHog's event exports: what its own fold says of the event's person, and what it wrote beside the event.
const EXPORT: [&str; 6] =
    ["person_id", "person_properties", "person", "_inserted_at", "elements_chain", "site_url"];

/// The rejection of an object that another vendor wrote; `properties` are the members of the object's own `properties`.
pub(super) fn rejection(members: &Object<'_>, properties: Option<&Object<'_>>) -> Option<Rejection> {
    let foreign = |vendor, mark, formats| Some(Rejection::Foreign { vendor, mark, formats });
    let has = |key: &&'static str| members.some(key).is_some();
    let first = |keys: &'static [&'static str]| keys.iter().copied().find(has);
    let (event, id) = (has(&"event"), has(&"distinct_id"));
    if let Some(mark) = first(&CALL)
        && (!id || has(&"type") || has(&"messageId"))
    {
        return foreign("a call of Segment or RudderStack", mark, &CALL_FORMATS);
    }
    if let Some(mark) = first(&OWN) {
        return foreign("a row of a table of `export`", mark, &[]);
    }
    if has(&"merged_amplitude_id") {
        return foreign("a row of Amplitude's merged users", "merged_amplitude_id", &[]);
    }
    if !event && has(&"events") && has(&"api_key") {
        return foreign("a request to Amplitude", "events", &[Format::Amplitude]);
    }
    if let (false, Some(mark)) = (event, first(&["resolved_distinct_id"])) {
        return foreign("a row of Mixpanel's identities", mark, &[Format::Persons]);
    }
    if let (false, Some(mark)) = (event, first(&["distinct_ids"])) {
        return foreign("a person of PostHog's persons API", mark, &[Format::Persons]);
    }
    if let (false, Some(mark)) = (event, first(&["event_name"]))
        && (id || has(&"insert_id"))
    {
        return foreign("a row of Mixpanel's pipelines", mark, &MIXPANEL_FORMATS);
    }
    if id {
        let row = first(&["person_id", "person_version"]).filter(|_| !event);
        return row.and_then(|mark| foreign("a row of PostHog's persons export", mark, &[Format::Persons]));
    }
    if let (Some(_), Some(mark)) = (first(&["anonymous_id", "user_id"]), first(&WAREHOUSE)) {
        return foreign("a warehouse row of Segment or RudderStack", mark, &CALL_FORMATS);
    }
    if !event && has(&"event_type") {
        return foreign("an event of Amplitude", "event_type", &[Format::Amplitude]);
    }
    if let (false, true, Some(mark)) = (event, has(&"$distinct_id"), first(&PROFILE)) {
        return foreign("a profile update of Mixpanel", mark, &MIXPANEL_FORMATS);
    }
    // posthog-js has an id or a time beside its properties, Mixpanel neither.
    if !event || has(&"uuid") || has(&"timestamp") || has(&"offset") {
        return None;
    }
    let properties = properties?;
    let said = |key: &&str| properties.some(key).is_some();
    if let Some(mark) = MIXPANEL.iter().copied().find(said) {
        return foreign("an event of Mixpanel", mark, &MIXPANEL_FORMATS);
    }
    let is_time = |text: &str| text.trim_matches('"').parse::<f64>().is_ok();
    let time = || properties.some("time").filter(|time| is_time(time.text())).map(|_| "properties.time");
    // Every library of PostHog that sends a token in the properties names itself beside it.
    let token = || properties.some("token").filter(|_| !said(&"$lib")).map(|_| "properties.token");
    time().or_else(token).and_then(|mark| foreign("an event of Mixpanel", mark, &MIXPANEL_FORMATS))
}

/// The rejection of a people update with a profile operation that PostHog never took, and would pass over.
pub(super) fn profile_operation(members: &Object<'_>) -> Option<Rejection> {
    let mark = PROFILE.into_iter().find(|key| *key != "$ignore_time" && members.get(key).is_some())?;
    Some(Rejection::Foreign { vendor: "a profile update of Mixpanel", mark, formats: &MIXPANEL_FORMATS })
}

/// The rejection of an object that `format` cannot read, if another vendor wrote it.
pub(super) fn instead(object: Json<'_>, format: Format) -> Option<Rejection> {
    let members = object.object(&[])?.ok()?;
    let properties = members.get("properties").and_then(|json| json.object(&[])).and_then(Result::ok);
    let reads = |rejection: &Rejection| matches!(rejection, Rejection::Foreign { formats, .. } if formats.contains(&format));
    rejection(&members, properties.as_ref()).filter(|rejection| !reads(rejection))
}

/// Whether an event is a row of a PostHog export, which says whose event it is. The ledger finds that out by itself.
pub(super) fn is_export(members: &Object<'_>) -> bool {
    EXPORT.iter().any(|key| members.some(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{AUTO, import};
    use super::super::{Format, Options};

    /// Each with who wrote it; `""` for what PostHog's senders write.
    #[rustfmt::skip]
    const SHAPES: [(&str, &str); 31] = [
        // Segment's spec, its S3 archive, RudderStack's event JSON.
        (r#"{"type":"track","event":"Bought","userId":"ann","anonymousId":"a1","messageId":"m1","properties":{"distinct_id":"mp-77"},"timestamp":"2026-01-01T00:00:00Z"}"#, "a call of Segment or RudderStack, by its `anonymousId`"),
        (r#"{"type":"identify","userId":"ann","traits":{},"timestamp":"2026-01-01T00:00:00Z"}"#, "a call of Segment or RudderStack, by its `userId`"),
        (r#"{"type":"alias","previousId":"a1","userId":null}"#, "a call of Segment or RudderStack, by its `previousId`"),
        (r#"{"event":"x","userId":"ann","properties":{"distinct_id":"mp-77"},"timestamp":"2026-01-01T00:00:00Z"}"#, "a call of Segment or RudderStack, by its `userId`"),
        (r#"{"event":"x","type":"track","userId":"ann","distinct_id":"b","timestamp":"2026-01-01T00:00:00Z"}"#, "a call of Segment or RudderStack, by its `userId`"),
        // Their warehouse tables.
        (r#"{"id":"m1","anonymous_id":"a1","user_id":"ann","received_at":"2026-01-01 00:00:01"}"#, "a warehouse row of Segment or RudderStack, by its `received_at`"),
        (r#"{"id":"m1","user_id":"ann","event":"buy","event_text":"Buy"}"#, "a warehouse row of Segment or RudderStack, by its `event_text`"),
        // Mixpanel: /track, the raw export, its libraries, /engage.
        (r#"{"event":"x","properties":{"time":1602611311,"$insert_id":"A","distinct_id":"$device:a1","token":"t"}}"#, "an event of Mixpanel, by its `properties.time`"),
        (r#"{"event":"x","properties":{"time":"1602611311.25","distinct_id":"a"}}"#, "an event of Mixpanel, by its `properties.time`"),
        (r#"{"event":"x","properties":{"$device_id":"dev-1","token":"t"}}"#, "an event of Mixpanel, by its `properties.token`"),
        (r#"{"event":"$identify","properties":{"$identified_id":"ann","$anon_id":"a1","mp_lib":"web"}}"#, "an event of Mixpanel, by its `mp_lib`"),
        (r#"{"$token":"t","$distinct_id":"ann","$add":{"n":1}}"#, "a profile update of Mixpanel, by its `$add`"),
        (r#"{"$token":"t","$distinct_id":"ann","$set":{"n":1},"$ignore_time":true}"#, "a profile update of Mixpanel, by its `$ignore_time`"),
        // Amplitude's export, and requests to it.
        (r#"{"api_key":"k","events":[{"event_type":"x","user_id":"ann"}]}"#, "a request to Amplitude, by its `events`"),
        (r#"{"event_type":"x","user_id":"ann","device_id":"d","event_time":"2026-01-01 00:00:00"}"#, "an event of Amplitude, by its `event_type`"),
        // PostHog's persons model.
        (r#"{"team_id":1,"distinct_id":"a","person_id":"0190aaaa-0000-0000-0000-000000000001","properties":{},"person_version":2}"#, "a row of PostHog's persons export, by its `person_id`"),
        (r#"{"id":7,"uuid":"0190aaaa-0000-0000-0000-000000000001","distinct_ids":["a"],"properties":{},"created_at":"2026-01-01T00:00:00Z"}"#, "a person of PostHog's persons API, by its `distinct_ids`"),
        // Tables of Mixpanel's pipelines, and Amplitude's merges.
        (r#"{"event_name":"x","distinct_id":"a","device_id":"d","user_id":null,"insert_id":"i","time":"2026-01-01 00:00:00 UTC","properties":"{}"}"#, "a row of Mixpanel's pipelines, by its `event_name`"),
        (r#"{"distinct_id":"d","resolved_distinct_id":"ann"}"#, "a row of Mixpanel's identities, by its `resolved_distinct_id`"),
        (r#"{"amplitude_id":7,"merged_amplitude_id":8,"merge_event_time":"2026-01-01 00:00:00"}"#, "a row of Amplitude's merged users, by its `merged_amplitude_id`"),
        // Tables of `export`.
        (r#"{"seq":4,"event":"x","distinct_id":"a","id_no":0,"goes_with_id_no":0,"timestamp":"2026-01-01T00:00:00Z"}"#, "a row of a table of `export`, by its `id_no`"),
        // PostHog's own senders.
        (r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","userId":"theirs"}"#, ""),
        (r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","type":"capture","messageId":"m","library":"posthog-python"}"#, ""),
        (r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","user_id":"u","received_at":"now"}"#, ""),
        (r#"{"event":"x","timestamp":"2026-01-01T00:00:00Z","properties":{"distinct_id":"a","time":5}}"#, ""),
        (r#"{"event":"x","uuid":"01900000-0000-7000-8000-000000000001","timestamp":"2026-01-01T00:00:00Z","properties":{"distinct_id":"a","time":5,"mp_lib":"x"}}"#, ""),
        (r#"{"event":"x","timestamp":"2026-01-01T00:00:00Z","properties":{"distinct_id":"a","token":"t"}}"#, ""),
        (r#"{"event":"x","timestamp":"2026-01-01T00:00:00Z","properties":{"distinct_id":"a","userId":"u","anonymousId":"b"}}"#, ""),
        (r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","userId":null,"anonymousId":null,"type":"x"}"#, ""),
        (r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","event_type":"x"}"#, ""),
        (r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#, ""),
    ];

    #[test]
    fn events_of_other_vendors_are_rejected_by_name() {
        for (event, expected) in SHAPES {
            let batch = format!(r#"{{"batch":[{event}]}}"#);
            for input in [event, &batch] {
                let found = import(input.as_bytes(), &AUTO);
                match expected {
                    "" => assert!(!found[0].contains("expected"), "{input}: {}", found[0]),
                    _ => {
                        assert!(found[0].contains(&format!(" this is {expected};")), "{input}: {}", found[0])
                    }
                }
            }
        }
        // Also where the format of another vendor was asked for. What that format reads itself has an error of its own.
        for (format, reads) in [
            (Format::Segment, &["of Segment"][..]),
            (Format::Mixpanel, &["event of Mixpanel", "update of Mixpanel", "pipelines"]),
            (Format::Amplitude, &["an event of Amplitude", "to Amplitude"]),
            (Format::Persons, &["persons", "identities"]),
        ] {
            for (event, vendor) in SHAPES.iter().filter(|(_, vendor)| !vendor.is_empty()) {
                let found = import(event.as_bytes(), &Options { format, ..AUTO });
                let is_read = reads.iter().any(|reads| vendor.contains(reads));
                let is_named = found[0].contains(&format!(" this is {vendor};"));
                // A row that says who is who may also be one of another format.
                if format != Format::Persons {
                    assert_eq!(is_named, !is_read, "{format}: {event}: {}", found[0]);
                } else if is_read {
                    assert!(!is_named, "{event}: {}", found[0]);
                }
            }
        }
        let insisted = Options { format: Format::Posthog, ..AUTO };
        let event = r#"{"event":"x","userId":"u","properties":{"distinct_id":"a"},"timestamp":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(import(event.as_bytes(), &insisted), ["1 capture `x` a"]);
    }
}
