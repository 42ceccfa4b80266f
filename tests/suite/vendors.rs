//! What other vendors' libraries sent, and what their documentation says becomes of it, held against a ledger.

#![cfg(feature = "import")]

use identity_ledger::answer::{ComparisonCounts, Mapping};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::import::{Complaint, Format, Importer, Options, Tally, Watch, run};
use identity_ledger::{
    Appended, DistinctId, Ledger, Operation, Policy, Preset, Seq, SplitMode, Target, Tenant, Timestamp,
};

fn recorded(file: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[derive(Default)]
struct Complaints(Vec<String>);

impl Watch for Complaints {
    fn complaint(&mut self, complaint: Complaint) {
        self.0.push(format!("{}: {}", complaint.line, complaint.reason));
    }
    fn progress(&mut self, _: u64, _: &Tally) {}
}

/// A ledger of one user a person, the preset that the vendors' own rules come closest to.
fn new_ledger() -> Ledger {
    Ledger::in_memory(Tenant::default(), Policy::preset(Preset::OneUser)).unwrap()
}

fn import(ledger: &mut Ledger, format: Format, input: &str) -> Tally {
    let options = Options { format, ..Options::from(ledger.policy()) };
    let (mut tally, mut complaints) = (Tally::default(), Complaints::default());
    run(ledger, Importer::new(input.as_bytes(), options), &mut tally, &mut complaints).unwrap();
    assert_eq!(complaints.0, [""; 0]);
    tally
}

/// The persons, each as its ids and its properties.
fn persons(ledger: &Ledger) -> Vec<String> {
    let shown = ledger.persons().map(|person| {
        let person = person.unwrap();
        let properties: Vec<_> = person
            .properties
            .iter()
            .map(|(key, property)| format!("{key}={}", serde_json::to_string(&property.value).unwrap()))
            .collect();
        format!("{} {}", person.distinct_ids.join(" "), properties.join(" ")).trim_end().to_owned()
    });
    shown.collect()
}

/// How many are appended, duplicates, and appended with a notice.
type Counts = (u64, u64, u64);

/// Small inputs from public reports of people who stitch identities: what each is read as, and who is who then.
#[test]
fn inputs_from_public_reports_give_the_right_persons() {
    let long = "L".repeat(200);
    let long = format!("{long} u");
    const AUTO: Format = Format::Auto;
    #[rustfmt::skip]
    let table: [(&str, Format, Counts, &[&str]); 17] = [
        // file, format, how many are appended, duplicates, noticed; the persons
        ("api-and-export-same-event.jsonl", AUTO, (1, 1, 0), &["u"]),
        ("api-events-page.json", AUTO, (1, 0, 0), &["u k=1"]),
        ("concatenated-gzip-with-bom.jsonl.gz", AUTO, (2, 0, 0), &["a"]),
        ("duplicate-key-in-unstored-property.jsonl", AUTO, (1, 0, 0), &["u a1"]),
        ("group-before-identify.jsonl", AUTO, (2, 0, 1), &["anon u"]),
        ("live-then-backfill.jsonl", AUTO, (1, 1, 0), &[r#"u $browser="Chrome" $initial_browser="Chrome""#]),
        ("long-id-not-cut-as-S.jsonl", AUTO, (3, 0, 3), &[&long]),
        ("mixpanel-request.jsonl", Format::Mixpanel, (3, 0, 0), &["$device:anon-1 ann"]),
        ("posthog-bigquery-events.jsonl", AUTO, (1, 0, 0), &[r#"ann anon-1 plan="pro""#]),
        ("posthog-bigquery-time.jsonl", AUTO, (1, 0, 0), &["a"]),
        ("posthog-export-events.jsonl", AUTO, (2, 0, 0), &[r#"anon-1 $browser="Chrome" $initial_browser="Chrome""#, "ann"]),
        ("rudder-warehouse.jsonl", Format::Rudderstack, (2, 0, 0), &[r#"ann anon-1 plan="pro""#]),
        ("segment-archive.jsonl", Format::Segment, (3, 0, 0), &[r#"anon-1 ann plan="pro""#]),
        ("segment-distinct-in-props.jsonl", Format::Segment, (3, 0, 0), &[r#"ann anon-1 plan="pro""#]),
        ("surrogate-batch.jsonl", AUTO, (2, 0, 1), &["u a1 bio=\"cut \u{FFFD}\""]),
        ("utf16-export.jsonl", AUTO, (1, 0, 0), &["a"]),
        ("zstd-export.jsonl.zst", AUTO, (2, 0, 0), &["a"]),
    ];
    for (file, format, counts, expected) in table {
        let input = std::fs::read(format!("{}/tests/data/cases/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let options = Options { format, ..Options::from(ledger.policy()) };
        let (mut tally, mut complaints) = (Tally::default(), Complaints::default());
        run(&mut ledger, Importer::new(&input[..], options), &mut tally, &mut complaints).unwrap();
        assert_eq!(complaints.0, [""; 0], "{file}");
        assert_eq!((tally.appended, tally.duplicates, tally.noticed), counts, "{file}");
        assert_eq!(persons(&ledger), expected, "{file}");
    }
}

// -- PostHog's exports -----------------------------------------------------------------------------------------------

/// `live-then-backfill` and `api-and-export-same-event`: what was sent live comes again in an export, with what PostHog added to it.
#[test]
fn an_exported_copy_of_an_event_is_a_duplicate_of_it_g4() {
    let event = |uuid: u32, name: &str, rest: &str| {
        format!(
            "{{\"uuid\":\"01900000-0000-7000-8000-{uuid:012}\",\"event\":\"{name}\",\"distinct_id\":\"u\",{rest}}}\n"
        )
    };
    let request = |event: &str| {
        let event = event.trim_end();
        format!(
            "{{\"path\":\"/e/\",\"received_ms\":1767225600500,\"body\":{{\"batch\":[{event}],\"sent_at\":\"2026-01-01T00:00:00.400Z\"}}}}\n"
        )
    };
    let live = request(&event(
        1,
        "$pageview",
        r#""timestamp":"2026-01-01T00:00:00.000Z","properties":{"$browser":"Chrome"}"#,
    ));
    let row = event(
        1,
        "$pageview",
        r#""person_id":"a3f809d2-8688-5e0c-b374-3a81f639ed8d","properties":{"$browser":"Chrome","$geoip_country_code":"DE","$set":{"$geoip_country_code":"DE"}},"person_properties":{},"timestamp":"2026-01-01T00:00:07Z""#,
    );
    let page = format!(
        "{{\"next\":null,\"results\":[{}]}}\n",
        row.trim_end().replace("\"uuid\"", "\"id\"").replace("person_id", "person")
    );
    let other =
        event(1, "$pageleave", r#""person_id":"a","properties":{},"timestamp":"2026-01-01T00:00:00Z""#);
    #[rustfmt::skip]
    let table = [
        // what is imported, and how many are recorded, duplicates, conflicts
        (vec![&live, &row, &page], (1, 2, 0)),
        (vec![&row, &row], (1, 1, 0)),
        // a copy is compared as the event that it is; what is not a copy, as what it says
        (vec![&live, &other], (1, 0, 1)),
        (vec![&row, &live], (1, 0, 1)),
    ];
    for (input, expected) in table {
        let mut ledger = new_ledger();
        let input: String = input.into_iter().map(String::as_str).collect();
        let options = Options::from(ledger.policy());
        let (mut tally, mut complaints) = (Tally::default(), Complaints::default());
        run(&mut ledger, Importer::new(input.as_bytes(), options), &mut tally, &mut complaints).unwrap();
        assert_eq!((tally.appended, tally.duplicates, tally.conflicts), expected, "{input}");
        assert_eq!(ledger.profile("u").unwrap().unwrap().events, 1);
    }
}

// -- Segment -------------------------------------------------------------------------------------------------------

/// A call at second `at` of a day, with a message id of its own.
fn call(at: u32, members: &str) -> String {
    format!("{{\"messageId\":\"m-{at}\",\"timestamp\":\"2026-01-01T00:00:{at:02}Z\",{members}}}\n")
}

/// Who asked to forget a visitor's id gets it linked again by an identify, and not by the next page view (H3, G4).
#[test]
fn a_call_that_repeats_a_link_does_not_bring_back_an_erased_id() {
    let mut ledger = new_ledger();
    let view = |at| call(at, r#""type":"page","userId":"ann","anonymousId":"a1""#);
    import(&mut ledger, Format::Segment, &view(1));
    let subject = ErasureSubject::Ids([DistinctId::new("a1").unwrap()].into());
    let at = Timestamp::from_micros(0).unwrap();
    assert_eq!(ledger.erase(&[ErasureRequest::new(at, subject, "asked")]).unwrap().len(), 1);
    import(&mut ledger, Format::Segment, &view(2));
    assert_eq!(persons(&ledger), ["ann $erased:1"]);
    import(&mut ledger, Format::Segment, &call(3, r#""type":"identify","userId":"ann","anonymousId":"a1""#));
    assert_eq!(persons(&ledger), ["ann $erased:1 a1"]);
}

#[test]
fn a_recording_of_segment_node_is_imported_whole() {
    let mut ledger = new_ledger();
    let input = recorded("segment-node-3.1.0.jsonl");
    let tally = import(&mut ledger, Format::Segment, &input);
    assert_eq!((tally.appended, tally.duplicates, tally.refused), (22, 0, 0));
    assert_eq!(tally.read_as.segment, 22, "20 calls, two of which name two ids and are not an identify");
    assert_eq!(
        persons(&ledger),
        [
            r#"anon-1 user-1 email="a@example.com" plan="free""#,
            r#"an-9 u-9 legacy-9 email="u9@example.com""#,
            "an-10",
            "anonymous",
            "null",
            "undefined",
            "0",
        ]
    );
    let again = import(&mut ledger, Format::Segment, &input);
    assert_eq!((again.appended, again.duplicates), (0, 22));
}

/// `segment-archive` and `segment-distinct-in-props`: an archive's rows, and a track whose properties hold another vendor's id.
#[test]
fn an_archive_of_segment_gives_its_persons() {
    let mut ledger = new_ledger();
    let archive = [
        r#"{"anonymousId":"anon-1","channel":"client","event":"Order Completed","messageId":"ajs-1","originalTimestamp":"2026-01-01T00:00:00.000Z","properties":{"total":3},"receivedAt":"2026-01-01T00:00:01.000Z","sentAt":"2026-01-01T00:00:00.500Z","timestamp":"2026-01-01T00:00:00.500Z","type":"track","userId":null,"version":2}"#,
        r#"{"anonymousId":"anon-1","context":{},"messageId":"ajs-2","timestamp":"2026-01-01T00:01:00.500Z","traits":{"plan":"pro"},"type":"identify","userId":"ann"}"#,
        r#"{"context":{},"messageId":"ajs-3","previousId":"anon-1","timestamp":"2026-01-01T00:02:00Z","type":"alias","userId":"ann"}"#,
        r#"{"type":"track","event":"Order Completed","userId":"ann","anonymousId":"anon-1","messageId":"ajs-4","properties":{"distinct_id":"mp-77"},"timestamp":"2026-01-01T00:03:00Z"}"#,
    ];
    import(&mut ledger, Format::Segment, &archive.join("\n"));
    assert_eq!(persons(&ledger), [r#"anon-1 ann plan="pro""#]);
    assert_eq!(ledger.profile("ann").unwrap().unwrap().events, 2);
}

/// The three cases of Unify's matching (no profile, one, several), and its default of one `user_id` a profile.
#[test]
fn profiles_are_matched_as_unify_matches_them() {
    #[rustfmt::skip]
    let table = [
        // a new profile for ids that none has
        (vec![r#""type":"track","event":"x","anonymousId":"a1""#], vec!["a1"]),
        // one profile has one of the ids: the other is added to it
        (vec![r#""type":"track","event":"x","anonymousId":"a1""#, r#""type":"page","anonymousId":"a1","userId":"ann""#], vec!["a1 ann"]),
        (vec![r#""type":"track","event":"x","userId":"ann""#, r#""type":"page","anonymousId":"a1","userId":"ann""#], vec!["ann a1"]),
        // two profiles match: they are merged
        (vec![r#""type":"track","event":"x","userId":"ann""#, r#""type":"track","event":"x","anonymousId":"a1""#, r#""type":"track","event":"y","anonymousId":"a1","userId":"ann""#], vec!["ann a1"]),
        // a second user on a device that was not reset: user_id has the limit 1 and the higher priority, so the users stay apart
        (vec![r#""type":"identify","anonymousId":"a1","userId":"ann""#, r#""type":"identify","anonymousId":"a1","userId":"bob""#, r#""type":"track","event":"x","anonymousId":"a1","userId":"bob""#], vec!["ann a1", "bob"]),
        // a placeholder merges nothing
        (vec![r#""type":"identify","anonymousId":"a1","userId":"ann""#, r#""type":"identify","anonymousId":"00000000-0000-0000-0000-000000000000","userId":"ann""#, r#""type":"identify","anonymousId":"00000000-0000-0000-0000-000000000000","userId":"bob""#], vec!["ann a1", "bob"]),
    ];
    for (calls, expected) in table {
        let mut ledger = new_ledger();
        let calls: String = (0..).zip(&calls).map(|(at, members)| call(at, members)).collect();
        import(&mut ledger, Format::Segment, &calls);
        assert_eq!(persons(&ledger), expected, "{calls}");
    }
}

/// A library sends a call again until it is answered: with another `sentAt`, so another time by the server's clock.
#[test]
fn a_call_that_is_sent_again_is_recorded_once() {
    let request = |sent: u32, received: u64| {
        let call = call(1, r#""type":"track","event":"x","userId":"ann","anonymousId":"a1""#);
        format!(
            "{{\"path\":\"/v1/batch\",\"received_ms\":{received},\"body\":{{\"batch\":[{}],\"sentAt\":\"2026-01-01T00:00:{sent:02}Z\"}}}}\n",
            call.trim_end()
        )
    };
    let mut ledger = new_ledger();
    let tally = import(
        &mut ledger,
        Format::Segment,
        &[request(2, 1_767_225_602_010), request(7, 1_767_225_607_095)].concat(),
    );
    assert_eq!((tally.appended, tally.duplicates), (2, 2));
}

/// What a link costs that every call of a session repeats: nothing in the log. And once retracted or split, the ids stay apart.
#[test]
fn a_link_that_calls_repeat_is_recorded_once_and_a_correction_of_it_stays() {
    let mut ledger = new_ledger();
    let calls = |from: u32| -> String {
        (from..from + 10)
            .map(|at| call(at, r#""type":"track","event":"x","userId":"ann","anonymousId":"a1""#))
            .collect()
    };
    let first = import(&mut ledger, Format::Segment, &calls(0));
    assert_eq!((first.appended, first.duplicates), (11, 9));
    let link = Target::Record(Seq(3)); // behind the genesis and the definitions of two ids
    let retract = Operation::retract(Timestamp::from_micros(0).unwrap(), link);
    assert!(matches!(ledger.append(retract).unwrap(), Appended::Recorded { .. }));
    let second = import(&mut ledger, Format::Segment, &calls(20));
    assert_eq!((second.appended, second.duplicates), (10, 10));
    assert_eq!(persons(&ledger), ["ann"], "the next page view does not undo what a person decided");
    import(&mut ledger, Format::Segment, &call(40, r#""type":"identify","userId":"ann","anonymousId":"a1""#));
    assert_eq!(persons(&ledger), ["ann a1"], "a sign-in does");
    let [ann, visitor] = ["ann", "a1"].map(|id| DistinctId::new(id).unwrap());
    let split = Operation::split(Timestamp::from_micros(0).unwrap(), ann, [visitor], SplitMode::Each);
    assert!(matches!(ledger.append(split).unwrap(), Appended::Recorded { .. }));
    import(&mut ledger, Format::Segment, &calls(45));
    assert_eq!(persons(&ledger), ["ann", "a1"]);
}

/// Why a repeated link need not be recorded: had each been asked again, the ledger would mean the same. Every sequence of four of these
/// calls, under every preset, against the same calls written as operations with each link in them.
#[test]
fn a_ledger_means_the_same_as_if_each_repeated_link_had_been_recorded() {
    const ALIAS: &str = r#""type":"alias","userId":"ann","previousId":"bob""#;
    let pairs = [("ann", "a"), ("ann", "b"), ("bob", "a"), ("bob", "b")];
    let said = |choice: usize, at: u32| match pairs.get(choice) {
        Some((user, anonymous)) => {
            let members =
                format!(r#""type":"track","event":"x","userId":"{user}","anonymousId":"{anonymous}""#);
            let ts = format!(r#""distinct_id":"{user}","ts":"2026-01-01T00:00:{at:02}Z"}}"#);
            let link = format!("{{\"op\":\"identify\",\"anon_distinct_id\":\"{anonymous}\",{ts}\n");
            (call(at, &members), format!("{link}{{\"op\":\"capture\",\"event\":\"x\",{ts}\n"))
        }
        None => {
            let ops = r#"{"op":"alias","distinct_id":"ann","alias":"bob","ts":"2026-01-01T00:00:"#;
            (call(at, ALIAS), format!("{ops}{at:02}Z\"}}\n"))
        }
    };
    for preset in [Preset::Posthog, Preset::Strict, Preset::OneUser] {
        for number in 0..5_usize.pow(4) {
            let choices = (0..4).map(|digit| number / 5_usize.pow(digit) % 5);
            let (calls, ops): (String, String) =
                choices.zip(0..).map(|(choice, at)| said(choice, at)).unzip();
            let profiles = |format, input: &str| {
                let mut ledger = Ledger::in_memory(Tenant::default(), Policy::preset(preset)).unwrap();
                import(&mut ledger, format, input);
                let profiles = ledger.persons().map(|person| {
                    let person = person.unwrap();
                    (
                        person.person_id,
                        person.distinct_ids,
                        person.is_identified,
                        person.created_at,
                        person.events,
                    )
                });
                profiles.collect::<Vec<_>>()
            };
            assert_eq!(profiles(Format::Segment, &calls), profiles(Format::Ops, &ops), "{preset:?}: {calls}");
        }
    }
}

// -- RudderStack ---------------------------------------------------------------------------------------------------

/// RudderStack's libraries put the traits of an identify into the context.
#[test]
fn calls_of_rudderstack_have_their_traits_in_the_context() {
    let mut ledger = new_ledger();
    let calls = [
        call(1, r#""type":"page","anonymousId":"a1","userId":"","name":"Home","context":{"traits":{}}"#),
        call(
            2,
            r#""type":"identify","anonymousId":"a1","userId":"ann","context":{"traits":{"name":"Ann","logins":2}}"#,
        ),
        call(
            3,
            r#""type":"track","event":"x","anonymousId":"a1","userId":"ann","context":{"traits":{"name":"not an identify"}}"#,
        ),
    ];
    let tally = import(&mut ledger, Format::Rudderstack, &calls.concat());
    assert_eq!((tally.read_as.rudderstack, tally.appended), (4, 4));
    assert_eq!(persons(&ledger), [r#"a1 ann logins=2 name="Ann""#]);
}

// -- Mixpanel ------------------------------------------------------------------------------------------------------

/// An event at second `at` with an insert id of its own.
fn event(at: u32, properties: &str) -> String {
    format!(
        "{{\"event\":\"x\",\"properties\":{{\"time\":{},\"$insert_id\":\"i-{at}\",{properties}}}}}\n",
        1_767_225_600 + at
    )
}

#[test]
fn a_recording_of_mixpanel_node_is_imported_whole() {
    let mut ledger = new_ledger();
    let input = recorded("mixpanel-node-0.24.0.jsonl");
    let tally = import(&mut ledger, Format::Mixpanel, &input);
    assert_eq!((tally.appended, tally.read_as.mixpanel, tally.refused), (5, 5, 0), "one of four links");
    assert_eq!(persons(&ledger), ["user-1 $device:dev-1"]);
    assert_eq!(ledger.profile("user-1").unwrap().unwrap().events, 4);
    let again = import(&mut ledger, Format::Mixpanel, &input);
    assert_eq!((again.appended, again.duplicates), (0, 5));
}

/// `mixpanel-request`: times in seconds, and an event that names the device and the user.
#[test]
fn a_request_to_mixpanel_gives_its_person() {
    let request = r#"{"path":"/track/?verbose=1","received_ms":1767225630000,"body":[{"event":"Signed up","properties":{"time":1602611311,"$insert_id":"ABCDE","distinct_id":"$device:anon-1","$device_id":"anon-1","token":"t"}},{"event":"Bought","properties":{"time":1602611312,"$insert_id":"ABCDF","distinct_id":"ann","$device_id":"anon-1","$user_id":"ann","token":"t"}}]}"#;
    let mut ledger = new_ledger();
    import(&mut ledger, Format::Mixpanel, request);
    assert_eq!(persons(&ledger), ["$device:anon-1 ann"]);
    let created = ledger.profile("ann").unwrap().unwrap().created_at;
    assert_eq!(created.to_string(), "2020-10-13T17:48:31Z");
}

/// The flows by which Mixpanel explains Simplified ID Merge: each as its events' ids, and who is who in the end.
#[test]
fn users_are_identified_as_simplified_id_merge_does() {
    const D1: &str = r#""$device_id":"d1""#;
    const D2: &str = r#""$device_id":"d2""#;
    const ANN_D1: &str = r#""$device_id":"d1","$user_id":"ann""#;
    const ANN_D2: &str = r#""$device_id":"d2","$user_id":"ann""#;
    const BOB_D1: &str = r#""$device_id":"d1","$user_id":"bob""#;
    const ANN: &str = r#""$user_id":"ann""#;
    const BOB: &str = r#""$user_id":"bob""#;
    #[rustfmt::skip]
    let table: [(&[&str], &[&str]); 7] = [
        // a visitor signs up, signs out on a new device id, and signs in again
        (&[D1, ANN_D1, ANN_D1, D2, ANN_D2], &["$device:d1 ann $device:d2"]),
        // a user who was known before signs in on a second device
        (&[ANN, D2, ANN_D2], &["ann $device:d2"]),
        // the same, and the event with both ids is late
        (&[D1, ANN, ANN_D1], &["$device:d1 ann"]),
        // many users share a device that keeps its id: it belongs to the first, and events that name a user to that user
        (&[D1, ANN_D1, BOB_D1, BOB], &["$device:d1 ann", "bob"]),
        // two users never merge
        (&[ANN_D1, ANN_D2, BOB_D1, r#""$device_id":"d2","$user_id":"bob""#], &["ann $device:d1 $device:d2", "bob"]),
        // a server that knows only the user
        (&[r#""distinct_id":"ann""#, ANN_D1], &["ann $device:d1"]),
        // a device without a sign-in
        (&[D1, D2], &["$device:d1", "$device:d2"]),
    ];
    for (events, expected) in table {
        let mut ledger = new_ledger();
        let events: String = (0..).zip(events).map(|(at, properties)| event(at, properties)).collect();
        import(&mut ledger, Format::Mixpanel, &events);
        assert_eq!(persons(&ledger), expected, "{events}");
    }
}

/// What Original ID Merge does by its three events.
#[test]
fn users_are_identified_as_original_id_merge_does() {
    let named = |name: &str, properties: &str| {
        format!("{{\"event\":\"{name}\",\"properties\":{{\"time\":1767225600,{properties}}}}}\n")
    };
    let of = |id: &str| named("x", &format!(r#""distinct_id":"{id}""#));
    let identify = |user: &str, anonymous: &str| {
        named("$identify", &format!(r#""$identified_id":"{user}","$anon_id":"{anonymous}""#))
    };
    let v4 = "3b8c1f0a-6d52-4e57-9c41-0d7f5e2a9b10";
    #[rustfmt::skip]
    let table: [(Vec<String>, &[&str]); 4] = [
        (vec![of(v4), identify("ann", v4), of("ann")], &["3b8c1f0a-6d52-4e57-9c41-0d7f5e2a9b10 ann"]),
        // an anonymous id is one user's
        (vec![identify("ann", v4), identify("bob", v4)], &["ann 3b8c1f0a-6d52-4e57-9c41-0d7f5e2a9b10", "bob"]),
        // an alias is another name of the id that it is given to
        (vec![identify("ann", v4), named("$create_alias", r#""distinct_id":"ann","alias":"ann@example.com""#)], &["ann 3b8c1f0a-6d52-4e57-9c41-0d7f5e2a9b10 ann@example.com"]),
        // a merge joins two users, on purpose
        (vec![identify("ann", v4), identify("bob", "b"), named("$merge", r#""$distinct_ids":["ann","bob"]"#)], &["ann 3b8c1f0a-6d52-4e57-9c41-0d7f5e2a9b10 bob b"]),
    ];
    for (events, expected) in table {
        let mut ledger = new_ledger();
        import(&mut ledger, Format::MixpanelOriginal, &events.concat());
        assert_eq!(persons(&ledger), expected, "{events:?}");
    }
}

/// A row of the JSON pipelines' events is the event that was sent.
#[test]
fn a_row_of_the_pipelines_is_the_event_g4() {
    let mut ledger = new_ledger();
    let sent = event(0, r#""$device_id":"d1","$user_id":"ann","distinct_id":"ann""#);
    let row = r#"{"event_name":"x","distinct_id":"ann","device_id":"d1","user_id":"ann","insert_id":"i-0","time":"2026-01-01 00:00:00 UTC","properties":"{\"plan\":\"pro\"}"}"#;
    let tally = import(&mut ledger, Format::Mixpanel, &[&sent, row].concat());
    assert_eq!((tally.appended, tally.duplicates), (2, 2));
    assert_eq!(persons(&ledger), ["ann $device:d1"]);
}

// -- Amplitude -----------------------------------------------------------------------------------------------------

/// An event as the Export API has it.
fn exported(at: u32, rest: &str) -> String {
    format!(
        "{{\"$insert_id\":\"i-{at}\",\"uuid\":\"01900000-0000-7000-8000-{at:012}\",\"amplitude_id\":7,\"event_time\":\"2026-01-01 00:00:{at:02}.000000\",{rest}}}\n"
    )
}

/// How Amplitude explains its users: anonymous events of a device become those of the first user who signs in on it.
#[test]
fn users_are_identified_as_amplitude_does() {
    const X: &str = r#""event_type":"x","#;
    let of = |device: &str, user: &str| match user {
        "" => format!(r#"{X}"user_id":null,"device_id":"{device}""#),
        _ => format!(r#"{X}"user_id":"{user}","device_id":"{device}""#),
    };
    #[rustfmt::skip]
    let table: [(Vec<String>, &[&str]); 4] = [
        (vec![of("d1", ""), of("d1", "ann"), of("d1", "")], &["$device:d1 ann"]),
        (vec![of("d1", "ann"), of("d2", "ann")], &["ann $device:d1 $device:d2"]),
        // a second user on the device is another one
        (vec![of("d1", ""), of("d1", "ann"), of("d1", "bob")], &["$device:d1 ann", "bob"]),
        (vec![r#""event_type":"$identify","user_id":"ann","device_id":"d1","user_properties":{"$set":{"plan":"pro"}}"#.to_owned()], &[r#"ann $device:d1 plan="pro""#]),
    ];
    for (events, expected) in table {
        let mut ledger = new_ledger();
        let events: String = (0..).zip(&events).map(|(at, rest)| exported(at, rest)).collect();
        import(&mut ledger, Format::Amplitude, &events);
        assert_eq!(persons(&ledger), expected, "{events}");
        let again = import(&mut ledger, Format::Amplitude, &events);
        assert_eq!(again.appended, 0, "{events}");
    }
    // What was sent live comes again in the export, with what Amplitude made of it.
    let mut ledger = new_ledger();
    let sent = "{\"event_type\":\"x\",\"user_id\":\"ann\",\"insert_id\":\"i-5\",\"time\":1767225605000}\n";
    let row = exported(5, r#""event_type":"x","user_id":"ann","user_properties":{"plan":"pro"}"#);
    let tally = import(&mut ledger, Format::Amplitude, &[sent, &row].concat());
    assert_eq!((tally.appended, tally.duplicates), (1, 1));
}

// -- Who is who ----------------------------------------------------------------------------------------------------

/// PostHog's persons model asserts its state, also where D6 would refuse a link, and is the same once more.
#[test]
fn a_persons_model_is_asserted() {
    let row = |id: &str, person: &str, rest: &str| {
        format!(
            "{{\"team_id\":1,\"distinct_id\":\"{id}\",\"person_id\":\"{person}\",\"person_version\":1,\"created_at\":\"2026-01-01T00:00:00Z\"{rest}}}\n"
        )
    };
    let rows = [
        row("a1", "p1", r#","properties":{"plan":"pro"}"#),
        row("b1", "p2", ""),
        row("ann", "p1", r#","properties":{"plan":"pro"}"#),
        row("bob", "p2", ""),
        row("null", "p2", ""),
    ];
    let mut ledger = new_ledger();
    import(
        &mut ledger,
        Format::Ops,
        "{\"op\":\"identify\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"ann\",\"anon_distinct_id\":\"phone\"}\n",
    );
    let tally = import(&mut ledger, Format::Persons, &rows.concat());
    assert_eq!((tally.appended, tally.read_as.persons, tally.refused), (5, 5, 1), "`null` may not merge");
    assert_eq!(persons(&ledger), [r#"ann phone a1 plan="pro""#, "b1 bob"]);
    let again = import(&mut ledger, Format::Persons, &rows.concat());
    assert_eq!((again.appended, again.duplicates), (0, 5));
}

/// The migration report: every kind of difference, with its record or rule.
#[test]
fn a_mapping_is_compared_id_by_id() {
    let mut ledger = new_ledger();
    let link = |user: &str, anonymous: &str| {
        format!(
            "{{\"op\":\"identify\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"{user}\",\"anon_distinct_id\":\"{anonymous}\"}}\n"
        )
    };
    let lines =
        [link("ann", "d1"), link("ann", "d2"), link("bob", "d1"), link("cyd", "d3"), link("eve", "d4")];
    import(&mut ledger, Format::Ops, &lines.concat());
    let reader = ledger.reader();
    let mut mapping = Mapping::default();
    for (id, person) in [
        ("ann", "1"),
        ("d1", "1"),
        ("bob", "1"),
        ("d2", "2"), // bob is ann there, and d2 another person
        ("cyd", "3"),
        ("d3", "3"),  // the same
        ("zoe", "3"), // never seen here
        ("eve", "9"),
    ] {
        mapping.insert(id, Some(person), 0).unwrap();
    }
    mapping.insert("eve", Some("4"), 2).unwrap();
    mapping.insert("eve", Some("5"), 1).unwrap(); // older
    mapping.insert("d4", None, 0).unwrap(); // deleted there: neither the same nor missing
    let comparison = reader.compare(&mapping);
    let mut why = reader.explain_differences(&mapping).unwrap();
    let told: Vec<String> = comparison
        .differences
        .iter()
        .map(|difference| {
            let reason = why.explain(difference).unwrap();
            let (kind, other) = (difference.kind.name(), difference.other.as_deref().unwrap_or("-"));
            let seq = reason.seq.map_or("-".to_owned(), |seq| seq.to_string());
            let rule = reason.rule.unwrap_or("-");
            format!("{} {kind} {other} {seq} {rule}: {}", difference.distinct_id, reason.reason)
        })
        .collect();
    assert_eq!(
        told,
        [
            "bob joined_there ann 7 D9: identify of `bob` with `d1`: user id `ann` is held already (record 3), and the policy allows 1 a person",
            "d2 joined_here ann 5 -: identify of `ann` with `d2` at 2026-01-01T00:00:00Z",
            "zoe missing_here - - -: no record names it",
        ]
    );
    let ComparisonCounts { mapped, same, joined_there, joined_here, missing_here, missing_there, .. } =
        comparison.counts;
    assert_eq!((mapped, same, joined_there, joined_here, missing_here, missing_there), (8, 5, 1, 1, 1, 0));
}
