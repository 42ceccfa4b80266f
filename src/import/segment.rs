//! Calls of Segment, and of RudderStack, which speaks the same language: identify, track, page, screen, group, alias.
//!
//! `docs/vendors.md` has the mapping. A call that names both of its ids says two things: that they are one person, and what happened. A row
//! of their warehouse tables is a call whose members are columns.

use super::derive;
use super::envelope::Envelope;
use super::json::{Json, Object, insert_property, property_key};
use super::ops::{properties, string};
use super::options::{Format, Options};
use super::rejection::{Rejection, excerpt};
use super::vendor;
use super::vendor::{Asked, distinct_id, id_text, implied_link, source, utc_time};
use crate::model::id::{DistinctId, EventName, OperationId};
use crate::model::operation::{Actor, Changes, Operation, Request, Source};
use crate::model::time::Timestamp;
use crate::model::value::{Properties, Value};

/// What is looked at in a call.
const CALL: [&str; 16] = [
    "type",
    "userId",
    "anonymousId",
    "previousId",
    "messageId",
    "event",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "receivedAt",
    "traits",
    "properties",
    "context",
    "name",
    "category",
    "groupId",
];

/// What is looked at in a row of a warehouse table, for what it is in a call. A row's traits and properties are columns of their own.
const COLUMNS: [(&str, &str); 8] = [
    ("userId", "user_id"),
    ("anonymousId", "anonymous_id"),
    ("previousId", "previous_id"),
    ("messageId", "id"),
    ("originalTimestamp", "original_timestamp"),
    ("sentAt", "sent_at"),
    ("receivedAt", "received_at"),
    ("groupId", "group_id"),
];

/// Columns that the vendors add to each row, beside those in [`COLUMNS`] and those that begin with `context_`.
const ADDED: [&str; 10] = [
    "timestamp",
    "uuid_ts",
    "uuid",
    "loaded_at",
    "channel",
    "type",
    "event",
    "event_text",
    "rudder_id",
    "row_id",
];

/// The operations that a call asks for.
pub(super) fn operations(call: Json<'_>, envelope: &Envelope, options: &Options) -> Result<Asked, Rejection> {
    let call = Call::read(call, envelope)?;
    let (user, anonymous) = (call.id("userId")?, call.id("anonymousId")?);
    let (key, who) = (user.map(|id| ("userId", id)))
        .or(anonymous.map(|id| ("anonymousId", id)))
        .ok_or(Rejection::Missing { key: "userId" })?;
    let who = distinct_id(key, who)?;
    let other = anonymous.filter(|_| user.is_some()).map(|id| source("anonymousId", id));
    let at = call.time(envelope)?;
    let request = call.request(&who, other.clone(), options)?;
    let mut operation = Operation { time_by_arrival: true, ..Operation::new(at, request) };
    operation.id = call.message_id()?;
    if call.kind == Kind::Identify {
        operation.changes = call.traits(options.format)?;
    }
    operation.bent.replaced_nul = call.replaces_text(options)?;
    let link = other.filter(|_| call.kind != Kind::Identify);
    let link = link.map(|other| implied_link(who, other, at, options.format));
    Ok(Asked { link, operation })
}

/// What a call is, by its `type`.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Identify,
    Track,
    Page,
    Screen,
    Group,
    Alias,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "identify" => Kind::Identify,
            "track" => Kind::Track,
            "page" => Kind::Page,
            "screen" => Kind::Screen,
            "group" => Kind::Group,
            "alias" => Kind::Alias,
            _ => return None,
        })
    }
}

struct Call<'a> {
    kind: Kind,
    members: Object<'a>,
    table: Option<Table>,
}

/// What a row of a warehouse is one of.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    /// Calls.
    Calls,
    /// Users, each with the traits that it has: `id` is the user's, and nothing is linked.
    Users,
}

impl Table {
    /// That of a row; `None` for a call.
    fn of(members: &Object<'_>) -> Option<Table> {
        let has = |key: &str| members.get(key).is_some();
        if ["userId", "anonymousId", "previousId"].into_iter().any(has) {
            None
        } else if has("user_id") || has("anonymous_id") {
            Some(Table::Calls)
        } else {
            (has("id") && (has("received_at") || has("uuid_ts"))).then_some(Table::Users)
        }
    }

    /// What a row is that does not say its call: each table has columns of its own, but for `screens`, which look like `identifies`.
    fn kind(members: &Object<'_>) -> Kind {
        let has = |key: &str| members.some(key).is_some();
        match () {
            () if has("previous_id") => Kind::Alias,
            () if has("group_id") => Kind::Group,
            () if has("event") => Kind::Track,
            () if has("path") && has("url") => Kind::Page,
            () => Kind::Identify,
        }
    }
}

impl<'a> Call<'a> {
    fn read(json: Json<'a>, envelope: &Envelope) -> Result<Call<'a>, Rejection> {
        let members = json.object(&CALL).ok_or(Rejection::NotAnEvent { found: json.kind() })??;
        json.check_depth()?; // bounds every recursion into it
        let table = Table::of(&members);
        let kind = match members.some("type") {
            Some(name) => {
                let name = string("type", name)?;
                Kind::named(&name).ok_or_else(|| Rejection::UnknownCall { found: excerpt(&name) })?
            }
            None if table.is_some() => Table::kind(&members),
            // A single call has its type in the address that it is sent to.
            None => envelope.endpoint().and_then(Kind::named).ok_or(Rejection::Missing { key: "type" })?,
        };
        Ok(Call { kind, members, table })
    }

    /// A member of the call, or the column of a row that stands for it.
    fn some(&self, key: &'static str) -> Option<Json<'a>> {
        let column = COLUMNS.iter().find(|(member, _)| *member == key).map_or(key, |(_, column)| column);
        match (self.table, key) {
            (None, _) => self.members.some(key),
            (Some(Table::Users), "userId") => self.members.some("id"),
            (Some(Table::Users), "messageId") => None,
            (Some(_), _) => self.members.some(column),
        }
    }

    /// The id of this member.
    fn id(&self, key: &'static str) -> Result<Option<Json<'a>>, Rejection> {
        self.some(key).map_or(Ok(None), |json| vendor::id(key, json))
    }

    /// The columns of a row that are neither the vendor's nor null.
    fn own_columns(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        let is_own = |key: &str| {
            !ADDED.contains(&key)
                && !key.starts_with("context_")
                && COLUMNS.iter().all(|(_, column)| *column != key)
        };
        self.members.iter().filter(move |(key, json)| is_own(key) && !json.is_null())
    }

    fn own_properties(&self) -> Result<Properties, Rejection> {
        let mut own = Properties::new();
        for (key, json) in self.own_columns() {
            insert_property(&mut own, key.into(), json)?;
        }
        Ok(own)
    }

    /// The id of the message, which a retry repeats; another one than a UUID is made one.
    fn message_id(&self) -> Result<Option<OperationId>, Rejection> {
        const KEY: &str = "messageId";
        self.id(KEY)?.map(|id| Ok(derive::message_id(&id_text(KEY, id)?))).transpose()
    }

    fn request(
        &self,
        who: &DistinctId,
        other: Option<Source>,
        options: &Options,
    ) -> Result<Request, Rejection> {
        let who = Actor::Id(who.clone());
        let event = match self.kind {
            Kind::Identify => return Ok(Request::Identify { who, anonymous: other }),
            Kind::Alias => {
                const KEY: &str = "previousId";
                let previous = self.id(KEY)?.ok_or(Rejection::Missing { key: KEY })?;
                return Ok(Request::Alias { who, alias: Some(source(KEY, previous)) });
            }
            Kind::Track => {
                // A table is named after its event, in small letters; the event's own name stands beside it.
                let text = self.some("event_text").filter(|_| self.table.is_some());
                let event = text.or_else(|| self.some("event")).ok_or(Rejection::Missing { key: "event" })?;
                EventName::new(string("event", event)?)
            }
            Kind::Page => EventName::new("page"),
            Kind::Screen => EventName::new("screen"),
            Kind::Group => EventName::new("group"),
        };
        let event = event.map_err(|source| Rejection::Id { key: "event", source })?;
        let properties = if options.keep_event_properties { self.kept()? } else { Properties::new() };
        Ok(Request::Capture { who, event: Some(event), properties })
    }

    /// The time of the call by the server's clock: what the vendor made of it, or what it makes of it.
    fn time(&self, envelope: &Envelope) -> Result<Timestamp, Rejection> {
        let at = |key| self.some(key).map(|json| utc_time(key, json)).transpose();
        let (timestamp, original) = (at("timestamp")?, at("originalTimestamp")?);
        let received = at("receivedAt")?;
        if let (Some(corrected), true) = (timestamp, original.is_some() || received.is_some()) {
            return Ok(corrected);
        }
        let (received, sent) = (received.or(envelope.received), at("sentAt")?);
        let sent = sent.map_or_else(|| envelope.sent.clone().transpose(), |sent| Ok(Some(sent)))?;
        match (original.or(timestamp), sent, received) {
            (Some(original), Some(sent), Some(received)) => {
                let corrected = original.checked_add_micros(received.as_micros() - sent.as_micros()); // both within the calendar
                corrected.ok_or(Rejection::TimeOutOfRange)
            }
            (original, sent, received) => original.or(received).or(sent).ok_or(Rejection::MissingTime),
        }
    }

    /// The traits of an identify, over those of its context. Segment removes a trait that is null, RudderStack stores the null.
    fn traits(&self, format: Format) -> Result<Changes, Rejection> {
        if self.table.is_some() {
            return Ok(Changes { set: self.own_properties()?, ..Changes::default() });
        }
        let mut changes = Changes::default();
        for traits in self.trait_layers()? {
            for (key, value) in properties("traits", traits)? {
                if format == Format::Segment && value == Value::Null {
                    changes.set.remove(&key);
                    changes.unset.insert(key);
                } else {
                    changes.unset.remove(&key);
                    changes.set.insert(key, value);
                }
            }
        }
        Ok(changes)
    }

    /// What an identify writes to the person: the traits of its context, and over them its own.
    fn trait_layers(&self) -> Result<Vec<Json<'a>>, Rejection> {
        let context =
            self.members.some("context").and_then(|context| context.object(&["traits"])).transpose()?;
        let layers = [context.and_then(|context| context.get("traits")), self.members.get("traits")];
        Ok(layers.into_iter().flatten().filter(|layer| !layer.is_nothing()).collect())
    }

    /// The event's own properties: what its sender wrote into the object for them, and what the call says beside it.
    fn kept(&self) -> Result<Properties, Rejection> {
        if self.table.is_some() {
            return self.own_properties();
        }
        let (key, beside) = self.kept_members();
        let body = self.members.get(key).filter(|json| !json.is_nothing());
        let mut kept = body.map_or_else(|| Ok(Properties::new()), |body| properties(key, body))?;
        for key in beside {
            if let (Some(json), key) = (self.members.some(key), property_key((*key).into())?) {
                let value = json.value(key.as_str())?;
                kept.entry(key).or_insert(value);
            }
        }
        Ok(kept)
    }

    /// The member that holds an event's own properties, and what else of the call is one.
    fn kept_members(&self) -> (&'static str, &'static [&'static str]) {
        match self.kind {
            Kind::Page | Kind::Screen => ("properties", &["name", "category"]),
            Kind::Group => ("traits", &["groupId"]),
            Kind::Track | Kind::Identify | Kind::Alias => ("properties", &[]),
        }
    }

    /// Whether half of a surrogate pair in what is stored has become U+FFFD (E4).
    fn replaces_text(&self, options: &Options) -> Result<bool, Rejection> {
        let stored = match self.kind {
            Kind::Alias => Vec::new(),
            _ if self.table.is_some() => self.own_columns().map(|(_, json)| json).collect(),
            Kind::Identify => self.trait_layers()?,
            Kind::Track | Kind::Page | Kind::Screen | Kind::Group if options.keep_event_properties => {
                let (key, beside) = self.kept_members();
                beside.iter().chain([&key]).filter_map(|key| self.members.some(key)).collect()
            }
            _ => Vec::new(),
        };
        Ok(stored.into_iter().any(Json::has_half_pair))
    }
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{import, only, shown};
    use super::super::{Format, FutureTimes, Options};

    const SEGMENT: Options = Options {
        format: Format::Segment,
        lift: true,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };
    const RUDDERSTACK: Options = Options { format: Format::Rudderstack, ..SEGMENT };
    const KEEP: Options = Options { keep_event_properties: true, ..SEGMENT };

    /// What a call asks for, one operation a line; `timestamp` is added.
    fn asked(members: &str, options: &Options) -> String {
        let call = format!(r#"{{{members},"timestamp":"2026-01-01T00:00:00Z"}}"#);
        let found = import(call.as_bytes(), options);
        found.iter().map(|said| said.trim_start_matches("1 ")).collect::<Vec<_>>().join(", then ")
    }

    #[test]
    fn every_call_is_read() {
        #[rustfmt::skip]
        let table = [
            (r#""type":"identify","userId":"ann","traits":{"plan":"pro"}"#, r#"identify ann set{"plan":"pro"}"#),
            (r#""type":"identify","anonymousId":"a1","traits":{"plan":"free"}"#, r#"identify a1 set{"plan":"free"}"#),
            (r#""type":"identify","userId":"ann","anonymousId":"a1","traits":[]"#, "identify ann <- a1"),
            (r#""type":"identify","userId":null,"anonymousId":"a1","traits":null"#, "identify a1"),
            (r#""type":"track","event":"Bought","userId":"ann","properties":{"utm_source":"x"}"#, "capture `Bought` ann"),
            (r#""type":"track","event":"Bought","anonymousId":"a1","context":{"traits":{"plan":"pro"}}"#, "capture `Bought` a1"),
            (r#""type":"track","event":"Bought","userId":"ann","anonymousId":"a1""#, "identify ann <- a1, then capture `Bought` ann"),
            (r#""type":"page","userId":"ann","anonymousId":"a1","name":"Home""#, "identify ann <- a1, then capture `page` ann"),
            (r#""type":"screen","anonymousId":"a1","name":"Main""#, "capture `screen` a1"),
            (r#""type":"group","userId":"ann","groupId":"acme","traits":{"name":"Acme"}"#, "capture `group` ann"),
            (r#""type":"alias","userId":"ann","previousId":"a1""#, "alias ann <- a1"),
            (r#""type":"alias","userId":"ann","previousId":"old","anonymousId":"a1""#, "identify ann <- a1, then alias ann <- old"),
            (r#""type":"alias","anonymousId":"a2","previousId":"a1""#, "alias a2 <- a1"),
            (r#""type":"track","event":"x","userId":42,"anonymousId":7"#, "identify 42 <- 7, then capture `x` 42"),
            (r#""type":"track","event":"x","userId":"","anonymousId":"a1""#, "capture `x` a1"),
            (r#""type":"track","event":"x","userId":"ann","anonymousId":"a\u0000""#, "identify ann <- UNSTORABLE, then capture `x` ann"),
        ];
        for (call, expected) in table {
            assert_eq!(asked(call, &SEGMENT), expected, "{call}");
            assert_eq!(asked(call, &RUDDERSTACK), expected, "{call}");
        }
    }

    #[test]
    fn what_is_no_call_is_rejected_by_name() {
        #[rustfmt::skip]
        let table = [
            (r#""type":"merge","userId":"ann","mergeProperties":[]"#, "unknown call `merge`; expected identify, track, page, screen, group or alias"),
            (r#""userId":"ann","event":"x""#, "`type` is missing"),
            (r#""type":7,"userId":"ann""#, "`type` is a number; expected a string"),
            (r#""type":"track","event":"x""#, "`userId` is missing"),
            (r#""type":"track","event":"x","userId":{"$oid":"1"}"#, "`userId` is an object; expected a string or a number"),
            (r#""type":"track","event":"x","userId":"ann","anonymousId":["a1"]"#, "`anonymousId` is an array; expected a string or a number"),
            (r#""type":"track","userId":"ann""#, "`event` is missing"),
            (r#""type":"track","userId":"ann","event":"""#, "`event`: the event name is empty; expected 1 to 1024 bytes"),
            (r#""type":"alias","userId":"ann""#, "`previousId` is missing"),
            (r#""type":"identify","userId":"ann","traits":"pro""#, "`traits` is a string; expected an object"),
            (r#""type":"identify","userId":"ann","traits":{"n":18446744073709551616}"#, "property `n`: integer 18446744073709551616 does not fit 64 bits; expected -9223372036854775808 to 18446744073709551615"),
            (r#""type":"identify","userId":"ann","userId":"bob""#, "key `userId` stands twice in one object"),
            (r#""type":"identify","userId":"a\ud83d""#, "`userId` has half of a surrogate pair in it; expected whole Unicode characters"),
        ];
        for (call, expected) in table {
            assert_eq!(asked(call, &SEGMENT), expected, "{call}");
        }
        let long = format!(r#""type":"identify","userId":"{}""#, "x".repeat(401));
        assert!(asked(&long, &SEGMENT).starts_with("`userId`: the distinct id has 401"), "no id is cut");
        let ops = r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(import(ops.as_bytes(), &SEGMENT), ["1 `type` is missing"]);
    }

    #[test]
    fn traits_are_those_of_an_identify_and_a_null_removes_one_at_segment() {
        let identify = r#""type":"identify","userId":"ann","context":{"traits":{"plan":"free","role":"x","age":null}},"traits":{"plan":"pro","role":null,"age":7}"#;
        assert_eq!(asked(identify, &SEGMENT), r#"identify ann set{"age":7,"plan":"pro"} unset[role]"#);
        assert_eq!(asked(identify, &RUDDERSTACK), r#"identify ann set{"age":7,"plan":"pro","role":null}"#);
        let broken = r#""type":"identify","userId":"ann","traits":{"k":"\ud83d"}"#;
        assert_eq!(asked(broken, &SEGMENT), "identify ann set{\"k\":\"\u{FFFD}\"} TEXT-REPLACED");
    }

    #[test]
    fn event_properties_are_kept_on_request() {
        #[rustfmt::skip]
        let table = [
            (r#""type":"track","event":"x","userId":"ann","properties":{"total":3,"distinct_id":"mp-77"}"#, r#"capture `x` ann with{"distinct_id":"mp-77","total":3}"#),
            (r#""type":"page","userId":"ann","name":"Home","category":"Docs","properties":{"name":"home","url":"/"}"#, r#"capture `page` ann with{"category":"Docs","name":"home","url":"/"}"#),
            (r#""type":"group","userId":"ann","groupId":"acme","traits":{"seats":5}"#, r#"capture `group` ann with{"groupId":"acme","seats":5}"#),
            (r#""type":"screen","userId":"ann","name":"\ud83d""#, "capture `screen` ann with{\"name\":\"\u{FFFD}\"} TEXT-REPLACED"),
            (r#""type":"track","event":"x","userId":"ann","properties":7"#, "`properties` is a number; expected an object"),
        ];
        for (call, expected) in table {
            assert_eq!(asked(call, &KEEP), expected, "{call}");
        }
    }

    /// The time of a recorded call, in seconds after midnight. The request arrived at second 30 and was sent at second 20.
    fn seconds(call: &str) -> String {
        let request = format!(
            r#"{{"path":"/v1/batch","received_ms":1767225630000,"body":{{"batch":[{{"type":"identify","userId":"ann"{call}}}],"sentAt":"2026-01-01T00:00:20Z"}}}}"#
        );
        match only(&request, &SEGMENT) {
            Ok(operation) => (operation.time.as_micros() / 1_000_000 - 1_767_225_600).to_string(),
            Err(rejection) => rejection.to_string(),
        }
    }

    #[test]
    fn the_clock_of_the_sender_is_corrected() {
        let at = |key: &str, second: u32| format!(r#","{key}":"2026-01-01T00:00:{second:02}Z""#);
        #[rustfmt::skip]
        let table = [
            // as a library sends it
            (at("timestamp", 5), "15"),
            (at("timestamp", 5) + &at("sentAt", 10), "25"),
            (at("originalTimestamp", 5), "15"),
            (String::new(), "30"),
            // as an archive has it: received - (sent - original)
            (at("originalTimestamp", 5) + &at("sentAt", 8) + &at("receivedAt", 11), "8"),
            // corrected already
            (at("timestamp", 7) + &at("originalTimestamp", 5) + &at("sentAt", 8) + &at("receivedAt", 11), "7"),
            (at("timestamp", 7) + &at("receivedAt", 11), "7"),
            (r#","timestamp":"noon""#.to_owned(), "`timestamp`: time `noon` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z"),
            (r#","timestamp":"9999-12-31T23:59:59Z""#.to_owned(), "the event's time, its sender's clock corrected, lies outside the years 0001 to 9999"),
        ];
        for (call, expected) in table {
            assert_eq!(seconds(&call), expected, "{call}");
        }
        let alone =
            |call: &str| shown(&only(&format!(r#"{{"type":"identify","userId":"ann"{call}}}"#), &SEGMENT));
        assert_eq!(alone(""), "the event has no time; expected `timestamp`, or a recorded time of receipt");
        assert_eq!(alone(&at("sentAt", 1)), "identify ann");
    }

    #[test]
    fn a_single_call_is_named_by_the_address_it_is_sent_to() {
        let request = |path: &str| {
            format!(
                r#"{{"path":"{path}","received_ms":1767225630000,"body":{{"userId":"ann","event":"x"}}}}"#
            )
        };
        for (path, expected) in [
            ("/v1/track", "1 capture `x` ann"),
            ("/v1/identify?x=1", "1 identify ann"),
            ("/v1/t/", "1 `type` is missing"),
        ] {
            assert_eq!(import(request(path).as_bytes(), &SEGMENT), [expected], "{path}");
        }
    }

    #[test]
    fn a_message_keeps_its_id_and_a_link_has_one_for_all_calls_g4() {
        let ids = |message: &str, options: &Options| {
            let call = format!(
                r#"{{"type":"track","event":"x","userId":"ann","anonymousId":"a1","timestamp":"2026-01-01T00:00:00Z"{message}}}"#
            );
            let found = super::super::Importer::new(call.as_bytes(), options.clone());
            let ids = found.map(|parsed| {
                let operation = parsed.unwrap().operation.unwrap();
                (operation.id.unwrap().to_string(), operation.derived_id)
            });
            <[_; 2]>::try_from(ids.collect::<Vec<_>>()).unwrap()
        };
        let [link, uuid] = ids(r#","messageId":"0190C0DE-0000-7000-8000-0000000000AA""#, &SEGMENT);
        assert_eq!(uuid, ("0190c0de-0000-7000-8000-0000000000aa".to_owned(), false));
        let [same, text] = ids(r#","messageId":"ajs-1""#, &SEGMENT);
        assert_eq!(same, link, "however many calls repeat it");
        // Set in stone: a changed derivation imports old files again.
        let [expected_link, expected_text] =
            ["1c61a098-ab78-35c0-f17a-e9ce73b27f05", "281be5ec-d07d-5712-a461-7dc97053902d"]
                .map(str::to_owned);
        assert_eq!([&link, &text], [&(expected_link, true), &(expected_text, false)]);
        let [other, nameless] = ids("", &RUDDERSTACK);
        assert!(
            other != link && nameless.1,
            "each format has links of its own; without an id one is derived"
        );
    }

    #[test]
    fn rows_of_a_warehouse_are_calls() {
        let row = |columns: &str| {
            let found = import(
                format!(r#"{{"received_at":"2026-01-01 00:00:01.000 UTC","uuid_ts":"2026-01-01T00:10:00Z","context_ip":"::1",{columns}}}"#).as_bytes(),
                &KEEP,
            );
            found.iter().map(|said| said.trim_start_matches("1 ")).collect::<Vec<_>>().join(", then ")
        };
        #[rustfmt::skip]
        let table = [
            (r#""id":"m1","anonymous_id":"a1","user_id":"ann","plan":"pro","age":null,"address_city":"Ulm""#, r#"identify ann <- a1 set{"address_city":"Ulm","plan":"pro"}"#),
            (r#""id":"m2","anonymous_id":"a1","user_id":null,"event":"order_completed","event_text":"Order Completed","total":3"#, r#"capture `Order Completed` a1 with{"total":3}"#),
            (r#""id":"m3","anonymous_id":"a1","user_id":"ann","event":"buy""#, "identify ann <- a1, then capture `buy` ann"),
            (r#""id":"m4","anonymous_id":"a1","user_id":"ann","path":"/","url":"https://x/","name":"Home""#, r#"identify ann <- a1, then capture `page` ann with{"name":"Home","path":"/","url":"https://x/"}"#),
            (r#""id":"m5","user_id":"ann","previous_id":"a1""#, "alias ann <- a1"),
            (r#""id":"m6","anonymous_id":"a1","user_id":"ann","group_id":"acme""#, "identify ann <- a1, then capture `group` ann"),
            (r#""id":"m7","anonymous_id":"a1","type":"screen","name":"Main""#, r#"capture `screen` a1 with{"name":"Main"}"#),
            (r#""id":"ann","plan":"pro""#, r#"identify ann set{"plan":"pro"}"#),
            (r#""id":"m8","anonymous_id":null,"user_id":null,"event":"buy""#, "`userId` is missing"),
            (r#""id":"m9","anonymous_id":"a1","timestamp":"noon UTC","event":"buy""#, "`timestamp`: time `noonZ` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z"),
        ];
        for (columns, expected) in table {
            assert_eq!(row(columns), expected, "{columns}");
        }
    }
}
