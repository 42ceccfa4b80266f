//! What PostHog's SDKs send: events and people updates.
//!
//! The rules are those of PostHog's ingestion, cited where a test cites them too. Lenient where it is, because the
//! senders are not ours: unknown keys are theirs to have, and only what would change a person must be right.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::envelope::{Envelope, millis};
use super::foreign;
use super::json::{Json, Object, insert_property, property_key};
use super::lift;
use super::ops::{processing, properties, string, uuid, wrong};
use super::options::{Format, Options};
use super::rejection::Rejection;
use super::vendor::utc_time;
use crate::model::id::{DistinctId, EventName, OperationId, PropertyKey};
use crate::model::limits::CAPTURE_ID_SCALARS;
use crate::model::operation::{Actor, Changes, ImportFixups, Operation, Processing, Request, Source};
use crate::model::time::Timestamp;
use crate::model::value::Properties;

/// The members of an event, or of a people update of the old `/engage/`.
struct Event<'a> {
    name: Cow<'a, str>,
    members: Object<'a>,
    properties: Option<Object<'a>>,
    options: Option<Object<'a>>,
}

/// What is looked at in an event.
const EVENT: [&str; 12] = [
    "event",
    "distinct_id",
    "$distinct_id",
    "uuid",
    "timestamp",
    "offset",
    "sent_at",
    "properties",
    "options",
    "$set",
    "$set_once",
    "$unset",
];

/// What is looked at in an event's properties, beside those that are lifted or kept.
const PROPERTIES: [&str; 9] = [
    "distinct_id",
    "$anon_distinct_id",
    "alias",
    "$set",
    "$set_once",
    "$unset",
    "$ignore_sent_at",
    "$process_person_profile",
    "$is_server",
];

/// The keys of property changes, in an event and in its properties.
const CHANGES: [&str; 3] = ["$set", "$set_once", "$unset"];

/// What is looked at in the options of capture v1.
const OPTIONS: [&str; 2] = ["disable_skew_correction", "process_person_profile"];

/// The operation that an event asks for; without an id when the event has none.
pub(super) fn operation(event: Json<'_>, envelope: &Envelope, options: &Options) -> Result<Asked, Rejection> {
    let event = Event::read(event, options.format)?;
    let is_exported = foreign::is_export(&event.members);
    let (id, bent) = event.distinct_id()?;
    let (request, bent_source) = event.request(Actor::Id(id))?;
    let mut operation = Operation::new(event.time(envelope)?, request);
    operation.time_by_arrival = true; // also where it was not corrected: the same event may come once more in another envelope
    operation.bent = bent.and(bent_source);
    operation.is_copy = is_exported && options.format != Format::Sdk;
    operation.id = event.uuid(is_exported)?;
    operation.processing = event.processing();
    let changes = event.changes()?;
    if operation.processing != Processing::Off {
        operation.changes = changes; // C1, C7: off means no property change, lifting included
        if options.lift {
            event.lift(&mut operation.changes)?;
        }
    }
    if let (true, Request::Capture { properties, .. }) =
        (options.keep_event_properties, &mut operation.request)
    {
        *properties = event.kept()?;
    }
    operation.bent.replaced_nul |= event.replaces_text(operation.processing, options);
    Ok(Asked { operation, is_exported })
}

/// What an event asks for.
pub(super) struct Asked {
    pub(super) operation: Operation,
    /// Whether it is a row of an export, with columns about its person.
    pub(super) is_exported: bool,
}

impl<'a> Event<'a> {
    fn read(json: Json<'a>, format: Format) -> Result<Event<'a>, Rejection> {
        let members = json.object(&EVENT).ok_or(Rejection::NotAnEvent { found: json.kind() })??;
        json.check_depth()?; // bounds every recursion into it
        let properties = match members.get("properties") {
            Some(json) if !json.is_nothing() => {
                Some(json.object(&PROPERTIES).ok_or_else(|| wrong("properties", json, "an object"))??)
            }
            _ => None,
        };
        if !format.insists()
            && let Some(foreign) = foreign::rejection(&members, properties.as_ref())
        {
            return Err(foreign.for_format(format));
        }
        let name = match members.some("event") {
            Some(name) => string("event", name)?,
            None if is_people_update(&members) => match foreign::profile_operation(&members) {
                Some(foreign) => return Err(foreign.for_format(format)),
                None => Cow::Borrowed("$set"),
            },
            None => return Err(Rejection::UnknownShape { ops: format == Format::Auto }),
        };
        // `options` is an envelope of capture v1 only; elsewhere it is anybody's key.
        let options = members.some("options").and_then(|json| json.object(&OPTIONS)).transpose()?;
        Ok(Event { name, members, properties, options })
    }

    /// Its `uuid`; the events API calls it `id`, which in other events is the sender's own key.
    fn uuid(&self, is_exported: bool) -> Result<Option<OperationId>, Rejection> {
        match self.members.some("uuid") {
            Some(json) => uuid("uuid", json).map(Some),
            None => Ok(self.members.some("id").filter(|_| is_exported).and_then(|id| uuid("id", id).ok())),
        }
    }

    fn property(&self, key: &str) -> Option<Json<'a>> {
        self.properties.as_ref()?.get(key)
    }

    /// T: at top level first (a deep link may put another id into the properties), then in the properties; a
    /// null is not an id. Not a string: its text. Shortened and cleaned as PostHog's capture does (B1).
    fn distinct_id(&self) -> Result<(DistinctId, ImportFixups), Rejection> {
        const KEY: &str = "distinct_id";
        let json = (self.members.some(KEY).or_else(|| self.members.some("$distinct_id")))
            .or_else(|| self.property(KEY).filter(|json| !json.is_null()))
            .ok_or(Rejection::Missing { key: KEY })?;
        let text = if json.is_string() { string(KEY, json)? } else { json.compact() };
        let (text, bent) = fit(text);
        let id = DistinctId::new(text).map_err(|source| Rejection::Id { key: KEY, source })?;
        Ok((id, bent))
    }

    /// What the event's name asks for, and what of S had to be bent.
    fn request(&self, who: Actor) -> Result<(Request, ImportFixups), Rejection> {
        let name = self.name.as_ref();
        let json = match name {
            // The key counts, not its value: a null is the text `null`, which is then refused (B2).
            "$identify" => self.property("$anon_distinct_id"),
            // What JavaScript takes for false is none (C3).
            "$create_alias" | "$merge_dangerously" => self.property("alias").filter(|json| json.js_truthy()),
            _ => None,
        };
        let (other, bent) = json.map(source).unzip();
        let request = match name {
            "$identify" => Request::Identify { who, anonymous: other },
            "$create_alias" => Request::Alias { who, alias: other },
            "$merge_dangerously" => Request::Merge { who, alias: other },
            "$set" | "$set_once" | "$unset" => Request::Set { who },
            name => {
                let event = EventName::new(name).map_err(|source| Rejection::Id { key: "event", source })?;
                Request::Capture { who, event: Some(event), properties: Properties::new() }
            }
        };
        Ok((request, bent.unwrap_or_default()))
    }

    /// The sender's time, its clock corrected by what the server's said when the request arrived.
    fn time(&self, envelope: &Envelope) -> Result<Timestamp, Rejection> {
        let Some(timestamp) = self.members.some("timestamp") else {
            let received = envelope.received.ok_or(Rejection::MissingTime)?;
            let before = self.members.some("offset").map_or(Ok(0), |json| millis("offset", json))?;
            let moved = before.checked_neg().and_then(|micros| received.checked_add_micros(micros));
            return moved.ok_or(Rejection::TimeOutOfRange);
        };
        let timestamp = utc_time("timestamp", timestamp)?;
        if self.keeps_its_clock() {
            return Ok(timestamp);
        }
        timestamp.checked_add_micros(envelope.correction()?).ok_or(Rejection::TimeOutOfRange)
    }

    fn keeps_its_clock(&self) -> bool {
        let option = self.options.as_ref().and_then(|options| options.get("disable_skew_correction"));
        option.or_else(|| self.property("$ignore_sent_at")).and_then(Json::as_bool) == Some(true)
    }

    fn processing(&self) -> Processing {
        let option = self.options.as_ref().and_then(|options| options.some("process_person_profile"));
        option.or_else(|| self.property("$process_person_profile")).map_or(Processing::Unsaid, processing)
    }

    /// Property changes: in the properties, and over them those at top level.
    fn changes(&self) -> Result<Changes, Rejection> {
        let unset = self.members.some("$unset").or_else(|| self.property("$unset"));
        Ok(Changes {
            set: self.layered("$set")?,
            set_once: self.layered("$set_once")?,
            unset: unset.map_or_else(|| Ok(BTreeSet::new()), unset_keys)?,
            ..Changes::default()
        })
    }

    fn layered(&self, key: &'static str) -> Result<Properties, Rejection> {
        let mut merged = Properties::new();
        for layer in [self.property(key), self.members.get(key)].into_iter().flatten() {
            if !layer.is_nothing() {
                merged.append(&mut properties(key, layer)?);
            }
        }
        Ok(merged)
    }

    fn lift(&self, changes: &mut Changes) -> Result<(), Rejection> {
        let Some(properties) = &self.properties else { return Ok(()) };
        if !lift::lifts(&self.name) {
            return Ok(());
        }
        let is_server = properties.get("$is_server").and_then(Json::as_bool) == Some(true);
        let mut lifted = Vec::new();
        for (key, json) in properties.iter().filter(|(key, _)| lift::is_lifted(key)) {
            let value = json.value(key)?;
            let key = property_key(key.into())?;
            if lifted.iter().any(|(lifted, _)| *lifted == key) {
                return Err(Rejection::DuplicateKey { key: key.to_string() });
            }
            lifted.push((key, value));
        }
        lift::lift_all(lifted.into_iter(), is_server, changes);
        Ok(())
    }

    /// Whether half of a surrogate pair in what is stored has become U+FFFD (E4).
    fn replaces_text(&self, processing: Processing, options: &Options) -> bool {
        let changes = processing != Processing::Off;
        let layers = CHANGES.map(|key| [self.members.get(key), self.property(key)]);
        let is_stored =
            |key: &str| options.keep_event_properties || changes && options.lift && lift::is_lifted(key);
        let mut properties = self.properties.iter().flat_map(Object::iter);
        changes && layers.into_iter().flatten().flatten().any(Json::has_half_pair)
            || properties.any(|(key, json)| is_stored(key) && !CHANGES.contains(&key) && json.has_half_pair())
    }

    /// The event's own properties; its property changes are recorded as such.
    fn kept(&self) -> Result<Properties, Rejection> {
        let mut kept = Properties::new();
        for (key, json) in self.properties.iter().flat_map(Object::iter) {
            if !CHANGES.contains(&key) {
                insert_property(&mut kept, key.into(), json)?;
            }
        }
        Ok(kept)
    }
}

fn is_people_update(members: &Object<'_>) -> bool {
    let has = |key| members.some(key).is_some();
    (has("$distinct_id") || has("distinct_id")) && (has("$set") || has("$set_once") || has("$unset"))
}

/// S: any JSON, as text, bent as T is, so that one id stays one. Half of a surrogate pair cannot be stored (B2).
fn source(json: Json<'_>) -> (Source, ImportFixups) {
    match json.js_string().map(fit) {
        Ok((text, bent)) => (Source::new(&text), bent),
        Err(_) => (Source::Unstorable, ImportFixups::default()),
    }
}

/// The text of an id, shortened and cleaned as PostHog's capture does with T (B1).
fn fit(mut text: Cow<'_, str>) -> (Cow<'_, str>, ImportFixups) {
    let mut bent = ImportFixups::default();
    if let Some((cut, _)) = text.char_indices().nth(CAPTURE_ID_SCALARS) {
        bent.shortened_id = true;
        text = Cow::Owned(text[..cut].to_owned());
    }
    if text.contains('\0') {
        bent.replaced_nul = true;
        text = Cow::Owned(text.replace('\0', "\u{FFFD}"));
    }
    (text, bent)
}

/// The strings of an array, other elements being skipped; or the keys of an object.
pub(super) fn unset_keys(json: Json<'_>) -> Result<BTreeSet<PropertyKey>, Rejection> {
    if json.is_null() {
        return Ok(BTreeSet::new());
    }
    if let Some(elements) = json.elements() {
        return elements.filter_map(Json::as_text).map(property_key).collect();
    }
    let members = json.members().ok_or_else(|| wrong("$unset", json, "an array of strings or an object"))?;
    members.map(|(key, _)| property_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{import, only, shown};
    use super::super::{Format, FutureTimes, Importer, Options};

    const POSTHOG: Options = Options {
        format: Format::Posthog,
        lift: false,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };

    /// The one thing an event asks, or why it is refused; `timestamp` is added.
    fn asked(members: &str) -> String {
        let event = format!(r#"{{{members},"timestamp":"2026-01-01T00:00:00Z"}}"#);
        shown(&only(&event, &POSTHOG))
    }

    #[test]
    fn event_names_say_what_is_asked() {
        #[rustfmt::skip]
        let table = [
            (r#""event":"x","distinct_id":"a""#, "capture `x` a"),
            (r#""event":"$groupidentify","distinct_id":"a","properties":{"$set":{"k":1}}"#, r#"capture `$groupidentify` a set{"k":1}"#),
            (r#""event":"$$heatmap","distinct_id":"a""#, "capture `$$heatmap` a"),
            (r#""event":"$identify","distinct_id":"u","properties":{}"#, "identify u"),
            (r#""event":"$identify","distinct_id":"u","properties":{"$anon_distinct_id":"a"}"#, "identify u <- a"),
            (r#""event":"$create_alias","distinct_id":"u","properties":{"alias":"x","distinct_id":"u"}"#, "alias u <- x"),
            (r#""event":"$merge_dangerously","distinct_id":"u","properties":{"alias":"x"}"#, "merge u <- x"),
            (r#""event":"$set","distinct_id":"u","$set":{"k":1}"#, r#"set u set{"k":1}"#),
            (r#""event":"$set_once","distinct_id":"u","$set_once":{"k":1}"#, r#"set u once{"k":1}"#),
            (r#""event":"$unset","distinct_id":"u","properties":{"$unset":["k"]}"#, "set u unset[k]"),
            (r#""$set":{"k":1},"$token":"t","$distinct_id":"u""#, r#"set u set{"k":1}"#),
            (r#""$unset":["k"],"$token":"t","$distinct_id":"u""#, "set u unset[k]"),
            (r#""$set":{"k":1},"$add":{"n":1},"$distinct_id":"u""#, "this is a profile update of Mixpanel, by its `$add`; `--format mixpanel` or `--format mixpanel-original` reads it"),
            (r#""event":"x","distinct_id":"u","properties":{"$add":{"n":1}}"#, "capture `x` u"),
        ];
        for (event, expected) in table {
            assert_eq!(asked(event), expected, "{event}");
        }
    }

    #[test]
    fn exports_of_posthog_are_read_in_each_of_their_forms() {
        let uuid = "01900000-0000-7000-8000-000000000001";
        let page = format!(
            r#"{{"next":null,"results":[{{"id":"{uuid}","event":"x","distinct_id":"u","properties":{{}},"timestamp":"2026-01-01T00:00:00Z","person":{{"is_identified":true}},"elements":[]}}]}}"#
        );
        let bigquery = format!(
            r#"{{"uuid":"{uuid}","event":"$identify","distinct_id":"u","properties":"{{\"$anon_distinct_id\":\"a\",\"$set\":{{\"plan\":\"pro\"}}}}","set":"{{}}","timestamp":"2026-01-01 00:00:00 UTC"}}"#
        );
        let s3 = format!(
            r#"{{"uuid":"{uuid}","event":"x","distinct_id":"u","person_id":"{uuid}","person_properties":{{}},"properties":{{}},"timestamp":"2026-01-01 00:00:00.000000"}}"#
        );
        for (input, asked, exported) in [
            (page, "capture `x` u", 1),
            (bigquery, r#"identify u <- a set{"plan":"pro"}"#, 0),
            (s3, "capture `x` u", 1),
        ] {
            let mut importer = Importer::new(input.as_bytes(), POSTHOG);
            let operation = importer.next().unwrap().unwrap().operation;
            assert_eq!(
                (shown(&operation), importer.read_as().exported),
                (asked.to_owned(), exported),
                "{input}"
            );
            let operation = operation.unwrap();
            assert_eq!(
                operation.id.unwrap().to_string(),
                uuid,
                "the id of the event, not one that is derived"
            );
            assert_eq!(operation.time.to_string(), "2026-01-01T00:00:00Z");
        }
        let theirs = asked(r#""event":"x","distinct_id":"a","id":"no UUID""#);
        assert_eq!(theirs, "capture `x` a", "elsewhere `id` is the sender's own key");
        let theirs = asked(r#""event":"x","distinct_id":"a","id":"user-7","person":"theirs""#);
        assert_eq!(theirs, "capture `x` a", "and where a key is called as one of an export");
        let late = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01 00:00:00+02:00 UTC"}"#;
        assert!(shown(&only(late, &POSTHOG)).contains("unreadable"), "two zones");
    }

    #[test]
    fn properties_as_text_are_one_object_and_add_no_key_to_the_event() {
        for text in [
            r#"{\"a\":1},\"distinct_id\":\"evil\",\"q\":{\"a\":1}"#,
            r#"{\"a\":1},\"$set\":{\"plan\":\"pro\"}"#,
            r#"{]"#,
            r#"[{}]"#,
            "",
        ] {
            let asked = asked(&format!(r#""event":"x","distinct_id":"a","properties":"{text}""#));
            assert_eq!(asked, "`properties` is a string; expected an object", "{text}");
        }
    }

    #[test]
    fn the_id_spoken_for_is_found_and_bent() {
        let long = |count: usize| format!(r#""event":"x","distinct_id":"{}""#, "\u{1F434}".repeat(count));
        assert_eq!(asked(&long(200)), format!("capture `x` {}", "\u{1F434}".repeat(200)));
        assert_eq!(asked(&long(201)), format!("capture `x` {} SHORTENED", "\u{1F434}".repeat(200)));
        #[rustfmt::skip]
        let table = [
            (r#""event":"x","properties":{"distinct_id":"p"}"#, "capture `x` p"),
            (r#""event":"x","distinct_id":"t","properties":{"distinct_id":"p"}"#, "capture `x` t"),
            (r#""event":"x","distinct_id":null,"properties":{"distinct_id":"p"}"#, "capture `x` p"),
            (r#""event":"x","distinct_id":12345"#, "capture `x` 12345"),
            (r#""event":"x","distinct_id":0"#, "capture `x` 0"),
            (r#""event":"x","distinct_id":true"#, "capture `x` true"),
            (r#""event":"x","distinct_id":{"a": [1, "b c"]}"#, r#"capture `x` {"a":[1,"b c"]}"#),
            (r#""event":"x","distinct_id":"   ""#, "capture `x`    "),
            (r#""event":"x","distinct_id":"a\u0000b""#, "capture `x` a\u{fffd}b TEXT-REPLACED"),
            (r#""event":"x""#, "`distinct_id` is missing"),
            (r#""event":"x","distinct_id":null"#, "`distinct_id` is missing"),
            (r#""event":"x","distinct_id":"","properties":{"distinct_id":"p"}"#, "`distinct_id`: the distinct id is empty; expected 1 to 400 Unicode scalar values"),
        ];
        for (event, expected) in table {
            assert_eq!(asked(event), expected, "{event}");
        }
    }

    #[test]
    fn the_other_id_is_what_javascript_makes_of_it() {
        #[rustfmt::skip]
        let table = [
            // value, as anonymous id, as alias
            (r#""a""#, "a", "a"), (r#""""#, "UNSTORABLE", ""), ("null", "null", ""), ("false", "false", ""), ("true", "true", "true"),
            ("0", "0", ""), ("-0.0", "-0.0", ""), ("678", "678", "678"), ("12345678901234567890", "12345678901234567890", "12345678901234567890"),
            ("{}", "[object Object]", "[object Object]"), ("[]", "UNSTORABLE", "UNSTORABLE"),
            (r#"["a",null,[1,"b"],{}]"#, "a,,1,b,[object Object]", "a,,1,b,[object Object]"),
            (r#""   ""#, "   ", "   "), (r#""a\u0000""#, "a\u{fffd} TEXT-REPLACED", "a\u{fffd} TEXT-REPLACED"),
        ];
        let arrow = |id: &str| if id.is_empty() { String::new() } else { format!(" <- {id}") };
        for (value, anonymous, alias) in table {
            let identify = format!(
                r#""event":"$identify","distinct_id":"u","properties":{{"$anon_distinct_id":{value}}}"#
            );
            assert_eq!(asked(&identify), format!("identify u{}", arrow(anonymous)), "{value}");
            let create =
                format!(r#""event":"$create_alias","distinct_id":"u","properties":{{"alias":{value}}}"#);
            assert_eq!(asked(&create), format!("alias u{}", arrow(alias)), "{value}");
        }
        assert_eq!(asked(r#""event":"$create_alias","distinct_id":"u""#), "alias u");
        let long = "x".repeat(250);
        let event =
            format!(r#""event":"$identify","distinct_id":"u","properties":{{"$anon_distinct_id":"{long}"}}"#);
        assert_eq!(asked(&event), format!("identify u <- {} SHORTENED", &long[..200]));
    }

    #[test]
    fn top_level_changes_win() {
        #[rustfmt::skip]
        let table = [
            (r#""event":"x","distinct_id":"a","$set":{"k":1},"properties":{"$set":{"k":2,"l":2}}"#, r#"capture `x` a set{"k":1,"l":2}"#),
            (r#""event":"x","distinct_id":"a","$set_once":{"k":1},"properties":{"$set_once":{"k":2},"$unset":{"m":0}}"#, r#"capture `x` a once{"k":1} unset[m]"#),
            (r#""event":"x","distinct_id":"a","$unset":["k",7],"properties":{"$unset":["l"]}"#, "capture `x` a unset[k]"),
            (r#""event":"x","distinct_id":"a","$set":null,"$set_once":[],"$unset":null,"properties":[]"#, "capture `x` a"),
            (r#""event":"x","distinct_id":"a","$set":"k""#, "`$set` is a string; expected an object"),
            (r#""event":"x","distinct_id":"a","$unset":"k""#, "`$unset` is a string; expected an array of strings or an object"),
            (r#""event":"x","distinct_id":"a","$set":{"k":99999999999999999999}"#, "property `k`: integer 99999999999999999999 does not fit 64 bits; expected -9223372036854775808 to 18446744073709551615"),
            (r#""event":"x","distinct_id":"a","properties":{"k":99999999999999999999}"#, "capture `x` a"),
        ];
        for (event, expected) in table {
            assert_eq!(asked(event), expected, "{event}");
        }
    }

    #[test]
    fn what_is_not_stored_costs_no_event_whatever_is_wrong_with_it_e4() {
        const KEEP: Options = Options { keep_event_properties: true, lift: true, ..POSTHOG };
        let event = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","#;
        #[rustfmt::skip]
        let table = [
            // unstored, what is said where it is kept
            (r#""k":{"l":1,"l":2}"#, "property `k`: key `l` stands twice in one object"),
            (r#""k":1,"k":2"#, "key `k` stands twice in one object"),
            (r#""k":NaN"#, "property `k`: a number is not finite; expected a finite number"),
            (r#""k":[-Infinity]"#, "property `k`: a number is not finite; expected a finite number"),
            (r#""k":99999999999999999999"#, "property `k`: integer 99999999999999999999 does not fit 64 bits; expected -9223372036854775808 to 18446744073709551615"),
            (r#""k":"a\ud83d""#, "capture `x` a with{\"k\":\"a\u{FFFD}\"} TEXT-REPLACED"),
        ];
        for (wrong, kept) in table {
            let event =
                format!("{event}\"properties\":{{{wrong}}},\"lib\":{{{wrong}}},\"$token\":1,\"$token\":2}}");
            assert_eq!(shown(&only(&event, &POSTHOG)), "capture `x` a", "{event}");
            assert_eq!(shown(&only(&event, &KEEP)), kept, "{event}");
            let batch = format!(r#"{{"batch":[{event}],{wrong},"batch_size":NaN}}"#);
            assert_eq!(shown(&only(&batch, &POSTHOG)), "capture `x` a", "{batch}");
            let lines = batch.replace(",", ",\n");
            assert_eq!(import(lines.as_bytes(), &POSTHOG), ["1[0] capture `x` a"], "{lines}");
        }
        #[rustfmt::skip]
        let table = [
            // stored or looked at
            (r#""$set":{"k":NaN}"#, "property `k`: a number is not finite; expected a finite number"),
            (r#""$set":{"k":"\ud83d","\udc00":1}"#, "capture `x` a set{\"k\":\"\u{FFFD}\",\"\u{FFFD}\":1} TEXT-REPLACED"),
            (r#""$set":{"k":"\ud83d"},"$process_person_profile":false"#, "capture `x` a off"),
            (r#""$set":{"k":1,"k":2}"#, "key `k` stands twice in one object"),
            (r#""$set":{"k":1},"$set":{"k":2}"#, "key `$set` stands twice in one object"),
            (r#""$browser":"a","$browser":"b""#, "key `$browser` stands twice in one object"),
            (r#""$browser":"a\udc00""#, "capture `x` a set{\"$browser\":\"a\u{FFFD}\"} once{\"$initial_browser\":\"a\u{FFFD}\"} TEXT-REPLACED"),
        ];
        let options = Options { lift: true, ..POSTHOG };
        for (properties, expected) in table {
            let event = format!("{event}\"properties\":{{{properties}}}}}");
            assert_eq!(shown(&only(&event, &options)), expected, "{event}");
        }
        for (members, expected) in [
            (
                r#""event":"x","distinct_id":"a\ud83d""#,
                "`distinct_id` has half of a surrogate pair in it; expected whole Unicode characters",
            ),
            (
                r#""event":"\ud83d","distinct_id":"a""#,
                "`event` has half of a surrogate pair in it; expected whole Unicode characters",
            ),
            (
                r#""event":"$identify","distinct_id":"u","properties":{"$anon_distinct_id":"a\ud83d"}"#,
                "identify u <- UNSTORABLE",
            ),
            (
                r#""event":"$identify","distinct_id":"u","properties":{"$anon_distinct_id":NaN}"#,
                "identify u <- NaN",
            ),
            (r#""event":"x","distinct_id":NaN"#, "capture `x` NaN"),
        ] {
            assert_eq!(asked(members), expected, "{members}");
        }
    }

    #[test]
    fn processing_is_on_unless_strictly_off() {
        let with = |flag: &str, options: &str| {
            asked(&format!(
                r#""event":"x","distinct_id":"a","$set":{{"k":1}},"properties":{{{flag}}},"options":{options}"#
            ))
        };
        let flag = |value: &str| format!(r#""$process_person_profile":{value}"#);
        assert_eq!(with("", "{}"), r#"capture `x` a set{"k":1}"#);
        assert_eq!(with(&flag("true"), "null"), r#"capture `x` a set{"k":1} on"#);
        assert_eq!(with(&flag("false"), "{}"), "capture `x` a off");
        for odd in ["0", "null", r#""false""#, "[]"] {
            assert_eq!(with(&flag(odd), "{}"), r#"capture `x` a set{"k":1} invalid"#, "{odd}");
        }
        assert_eq!(with("", r#"{"process_person_profile":false}"#), "capture `x` a off");
        assert_eq!(
            with(&flag("false"), r#"{"process_person_profile":true}"#),
            r#"capture `x` a set{"k":1} on"#
        );
    }

    /// The effective time of a recorded event, in microseconds after midnight.
    fn micros(envelope: &str, event: &str) -> String {
        let line = format!(
            r#"{{"path":"/e/?_=1767225610000","received_ms":1767226230000,"body":{{"batch":[{{"event":"x","distinct_id":"a",{event}}}]{envelope}}}}}"#
        );
        match only(&line, &POSTHOG) {
            Ok(operation) => (operation.time.as_micros() - 1_767_225_600_000_000).to_string(),
            Err(rejection) => rejection.to_string(),
        }
    }

    #[test]
    fn the_clock_of_the_sender_is_corrected_g5() {
        let at_5 = r#""timestamp":"2026-01-01T00:00:05Z""#;
        let sent_at_20 = r#","sent_at":"2026-01-01T00:00:20Z""#;
        #[rustfmt::skip]
        let table = [
            // received at 630 s, sent at 10 s according to the query; 150 s of a difference are the delay's
            ("", at_5, "475000000"),
            (sent_at_20, at_5, "465000000"),
            (r#","created_at":"2026-01-01T00:00:29Z""#, at_5, "456000000"),
            (r#","sent_at":"2026-01-01T00:08:00Z""#, at_5, "5000000"),
            (r#","sent_at":"2026-01-01T00:07:59.999999Z""#, at_5, "5000001"),
            (r#","sent_at":"2026-01-01T00:13:00Z""#, at_5, "5000000"),
            (r#","sent_at":"2026-01-01T00:13:01Z""#, at_5, "4000000"),
            (sent_at_20, r#""timestamp":"2026-01-01T00:00:05Z","options":{"disable_skew_correction":true}"#, "5000000"),
            (sent_at_20, r#""timestamp":"2026-01-01T00:00:05Z","properties":{"$ignore_sent_at":true}"#, "5000000"),
            (sent_at_20, r#""timestamp":"2026-01-01T02:00:05.123456789+02:00""#, "465123456"),
            (sent_at_20, r#""timestamp":"2026-01-01T00:00:05.123456789""#, "465123456"),
            (sent_at_20, r#""offset":4000"#, "626000000"),
            (sent_at_20, r#""offset":0.5"#, "629999500"),
            (sent_at_20, r#""timestamp":null"#, "630000000"),
            (sent_at_20, r#""timestamp":"noon""#, "`timestamp`: time `noon` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z"),
            (sent_at_20, r#""timestamp":1767225605"#, "`timestamp` is a number; expected a string"),
            (sent_at_20, r#""offset":"4000""#, "`offset` is a string; expected a number of milliseconds"),
            (sent_at_20, r#""offset":9223372036854775807"#, "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
            (sent_at_20, r#""offset":1e300"#, "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
            (sent_at_20, r#""timestamp":"9999-12-31T23:59:59Z""#, "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
        ];
        for (envelope, event, expected) in table {
            assert_eq!(micros(envelope, event), expected, "{envelope} {event}");
        }
    }

    /// posthog-node repeats `created_at` when it tries again, and stamps each attempt in a header.
    #[test]
    fn a_stamp_of_the_attempt_corrects_to_the_microsecond_g5() {
        let at = |headers: &str| {
            let line = format!(
                r#"{{"path":"/i/v1/analytics/events","received_ms":1767225630000{headers},"body":{{"created_at":"2026-01-01T00:00:05Z","batch":[{{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:05Z"}}]}}}}"#
            );
            only(&line, &POSTHOG).unwrap().time.to_string()
        };
        assert_eq!(at(""), "2026-01-01T00:00:05Z");
        let stamped = r#","headers":{"posthog-request-timestamp":"2026-01-01T00:00:29.9Z","x":1}"#;
        assert_eq!(at(stamped), "2026-01-01T00:00:05.1Z");
        for unread in [r#","headers":{"PostHog-Request-Timestamp":"noon"}"#, r#","headers":["a"]"#] {
            assert_eq!(at(unread), "2026-01-01T00:00:05Z", "{unread}");
        }
    }

    #[test]
    fn without_a_time_of_receipt_nothing_is_corrected() {
        let time = |body: &str| only(body, &POSTHOG).map(|operation| operation.time.to_string());
        let batch = r#"{"batch":[{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:05Z"}],"sent_at":"2026-01-01T09:00:00Z"}"#;
        assert_eq!(time(batch).as_deref(), Ok("2026-01-01T00:00:05Z"));
        let sentence = "the event has no time; expected `timestamp`, or a recorded time of receipt";
        for timeless in
            [r#"{"event":"x","distinct_id":"a"}"#, r#"{"event":"x","distinct_id":"a","offset":5}"#]
        {
            assert_eq!(time(timeless).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn every_envelope_is_opened() {
        let event = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"}"#;
        #[rustfmt::skip]
        let table = [
            (event.to_owned(), vec!["1 capture `x` a"]),
            (format!("[{event},{event}]"), vec!["1[0] capture `x` a", "1[1] capture `x` a"]),
            (format!(r#"{{"api_key":"k","batch":[{event},7]}}"#), vec!["1[0] capture `x` a", "1[1] found a number; expected an object: an operation or an event"]),
            (format!(r#"{{"path":"/e/","body":{event}}}"#), vec!["1 capture `x` a"]),
            (format!(r#"{{"path":"/e/","body":[{event}]}}"#), vec!["1[0] capture `x` a"]),
            (format!(r#"{{"path":"/e/","body":{}}}"#, serde_json::Value::from(event)), vec!["1 capture `x` a"]),
            (r#"{"path":"/e/","body":"data=bm90IGpzb24="}"#.to_owned(), vec!["1 not JSON at column 2: expected ident; expected one JSON document"]),
            (r#"{"path":"/e/","body":null}"#.to_owned(), vec!["1 found null; expected an object: an operation or an event"]),
            (r#"{"path":"/e/","body":"\"e30=\""}"#.to_owned(), vec!["1 the body is not valid base64: Invalid symbol 34, offset 0."]),
            ("[]".to_owned(), vec![]),
            (r#"{"batch":{}}"#.to_owned(), vec!["1 `batch` is an object; expected an array"]),
            (r#"{"batch":[],"batch":[]}"#.to_owned(), vec!["1 key `batch` stands twice in one object"]),
            (format!(r#"{{"batch":[{event},{event}],"sent_at":"noon"}}"#), vec!["1[0] capture `x` a", "1[1] capture `x` a"]),
            (format!(r#"{{"path":"/e/","received_ms":7,"body":{{"batch":[{event},7,{event}],"sent_at":"noon"}}}}"#), vec!["1[0] `sent_at`: time `noon` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z", "1[1] found a number; expected an object: an operation or an event", "1[2] `sent_at`: time `noon` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z"]),
            (format!(r#"{{"path":"/e/","received_ms":7,"body":{{"batch":[{}],"sent_at":7}}}}"#, event.replace(r#""event":"x""#, r#""event":"x","properties":{"$ignore_sent_at":true}"#)), vec!["1[0] capture `x` a"]),
            ("{}".to_owned(), vec!["1 the object has neither `event`, `batch`, or `$set` with `$distinct_id`; expected an event"]),
            (r#"{"event":7}"#.to_owned(), vec!["1 `event` is a number; expected a string"]),
            (r#"{"event":"","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"}"#.to_owned(), vec!["1 `event`: the event name is empty; expected 1 to 1024 bytes"]),
            (r#"{"event":"x","uuid":"7","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"}"#.to_owned(), vec!["1 `uuid` is `7`; expected a UUID"]),
        ];
        for (document, expected) in table {
            assert_eq!(import(document.as_bytes(), &POSTHOG), expected, "{document}");
        }
    }

    #[test]
    fn lifting_and_keeping_are_options_e7() {
        let event = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","$set":{"$os":"Plan 9"},
            "properties":{"$os":"Linux","utm_source":"s","title":"t","$set":{"k":1}}}"#;
        let with = |lift, keep_event_properties| {
            shown(&only(event, &Options { lift, keep_event_properties, ..POSTHOG }))
        };
        assert_eq!(with(false, false), r#"capture `x` a set{"$os":"Plan 9","k":1}"#);
        assert_eq!(
            with(true, false),
            r#"capture `x` a set{"$os":"Plan 9","k":1,"utm_source":"s"} once{"$initial_os":"Linux","$initial_utm_source":"s"}"#
        );
        assert_eq!(
            with(false, true),
            r#"capture `x` a set{"$os":"Plan 9","k":1} with{"$os":"Linux","title":"t","utm_source":"s"}"#
        );
    }
}
