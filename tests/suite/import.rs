//! What real SDKs sent, line by line, through the importer; and what is easiest to get wrong about it.

#![cfg(feature = "import")]

use std::collections::BTreeMap;

use identity_ledger::import::{Complaint, Format, Importer, Options, Parsed, Rejection, Tally, Watch, run};
use identity_ledger::{
    Actor, DistinctId, Ledger, Operation, Policy, Processing, Request, SharedLedger, Source, Tenant,
    Timestamp, Value,
};

fn recorded(file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn parse(input: &[u8]) -> Vec<Parsed> {
    let options = Options::from(&Policy::default());
    Importer::new(input, options).map(|parsed| parsed.unwrap()).collect()
}

fn operations(input: &[u8]) -> Vec<Operation> {
    parse(input).into_iter().map(|parsed| parsed.operation.unwrap()).collect()
}

/// The operations of one recorded line, counted from 1.
fn line(file: &str, line: usize) -> Vec<Operation> {
    operations(recorded(file).split(|&byte| byte == b'\n').nth(line - 1).unwrap())
}

/// The operation of one event in an `/e/` batch, received when it was sent.
fn event(members: &str) -> Operation {
    let event = format!(r#"{{"timestamp":"2026-01-01T00:00:00Z",{members}}}"#);
    operations(event.as_bytes()).remove(0)
}

fn kind(operation: &Operation) -> &'static str {
    match operation.request {
        Request::Capture { .. } => "capture",
        Request::Identify { anonymous: Some(_), .. } => "identify <-",
        Request::Identify { anonymous: None, .. } => "identify",
        Request::Alias { alias: Some(_), .. } => "alias <-",
        Request::Alias { alias: None, .. } => "alias",
        Request::Merge { .. } => "merge",
        Request::Set { .. } => "set",
        _ => "device",
    }
}

/// T and S, as `T` or `T <- S`.
fn link(operation: &Operation) -> String {
    let (who, source) = match &operation.request {
        Request::Identify { who, anonymous } => (who, anonymous.as_ref()),
        Request::Alias { who, alias } | Request::Merge { who, alias } => (who, alias.as_ref()),
        Request::Capture { who, .. } | Request::Set { who } => (who, None),
        _ => panic!("{operation:?}"),
    };
    let Actor::Id(id) = who else { panic!("{operation:?}") };
    match source {
        Some(Source::Id(source)) => format!("{id} <- {source}"),
        Some(Source::Unstorable) => format!("{id} <- UNSTORABLE"),
        None => id.to_string(),
    }
}

fn text(text: &str) -> Value {
    Value::from(text)
}

#[test]
fn every_recording_is_imported_whole() {
    let mut counted = Vec::new();
    for file in [
        "posthog-js-1.449.2.jsonl",
        "posthog-js-1.449.2-i-v0-e.jsonl",
        "posthog-js-lite-4.12.1.jsonl",
        "posthog-node-5.70.0.jsonl",
        "posthog-node-5.70.0-capture-v1.jsonl",
        "deep-link-web-to-mobile.jsonl",
    ] {
        let input = recorded(file);
        let mut kinds = BTreeMap::new();
        for parsed in parse(&input) {
            let operation =
                parsed.operation.unwrap_or_else(|error| panic!("{file}:{}: {error}", parsed.line));
            assert!(operation.id.is_some() && !operation.derived_id, "each of these SDKs gives ids");
            *kinds.entry(kind(&operation)).or_insert(0) += 1;
        }
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        counted.push(format!("{file}: {}", kinds.join(", ")));
    }
    assert_eq!(
        counted,
        [
            "posthog-js-1.449.2.jsonl: 1 alias, 5 alias <-, 91 capture, 47 identify <-, 1 merge, 14 set",
            "posthog-js-1.449.2-i-v0-e.jsonl: 7 capture, 2 identify <-",
            "posthog-js-lite-4.12.1.jsonl: 1 alias, 3 alias <-, 40 capture, 22 identify <-, 6 set",
            "posthog-node-5.70.0.jsonl: 1 alias, 7 alias <-, 16 capture, 14 identify, 3 identify <-, 1 merge, 3 set",
            "posthog-node-5.70.0-capture-v1.jsonl: 1 alias, 7 alias <-, 16 capture, 14 identify, 3 identify <-, 1 merge, 3 set",
            "deep-link-web-to-mobile.jsonl: 1 alias <-, 23 capture, 13 identify <-",
        ]
    );
}

/// 1. An identify while identified is nothing at all on the wire (browser), or another `$identify` whose S is a stale
///    anonymous id or another user's id (core). The importer passes on what was sent.
#[test]
fn an_identify_while_identified_is_what_the_sdk_sent() {
    let browser = line("posthog-js-1.449.2.jsonl", 9);
    let set = browser.iter().find(|operation| kind(operation) == "set").unwrap();
    assert_eq!(link(set), "user-3");
    assert!(browser.iter().all(|operation| !kind(operation).starts_with("identify")));

    let core = |at| link(&line("posthog-js-lite-4.12.1.jsonl", at)[0]);
    assert_eq!(core(6), "user-1 <- 01a208ea-97aa-7617-837b-a3dc65a2a6f5");
    assert_eq!(core(8), "user-2 <- 01a208ea-97aa-7617-837b-a3dc65a2a6f5", "the same S again");
    assert_eq!(core(10), "user-3 <- user-1", "a user as S");
}

/// 2. After the browser's alias(X), identify(X), events go on under the anonymous id and name X only as `$user_id`.
#[test]
fn events_speak_for_their_distinct_id_and_never_for_their_user_id() {
    const ANONYMOUS: &str = "01a208e3-13d3-7e4b-b1b3-8b07c9ceb16f";
    let said: Vec<_> = (27..=29).flat_map(|at| line("posthog-js-1.449.2.jsonl", at)).collect();
    let links: Vec<_> = said.iter().filter(|said| kind(said) != "capture").map(link).collect();
    assert_eq!(links, [format!("{ANONYMOUS} <- user-1"), format!("user-1 <- {ANONYMOUS}")]);
    assert!(said.iter().filter(|said| kind(said) == "capture").all(|said| link(said) == ANONYMOUS));
}

/// 3. A browser's `$identify` overtakes what was captured before it. The order of the input is kept; times tell.
#[test]
fn the_order_of_the_input_is_kept_against_the_clock() {
    let overtaken = |at: usize| {
        let (alias, identify) =
            (line("posthog-js-1.449.2.jsonl", at + 1), line("posthog-js-1.449.2.jsonl", at));
        (kind(&identify[0]), kind(&alias[0]), identify[0].time > alias[0].time)
    };
    assert_eq!(overtaken(36), ("identify <-", "alias <-", true));
    let times: Vec<_> =
        operations(&recorded("posthog-js-1.449.2.jsonl")).iter().map(|said| said.time).collect();
    assert!(!times.is_sorted());
}

/// 4. Browser events carry their distinct id in the properties only, aliases of other SDKs in both places.
#[test]
fn a_distinct_id_in_the_properties_is_enough() {
    assert_eq!(link(&line("posthog-js-1.449.2.jsonl", 18)[0]), "anonymous");
    assert_eq!(link(&line("posthog-node-5.70.0.jsonl", 7)[0]), "user-1 <- anon-1");
    assert_eq!(link(&event(r#""event":"x","properties":{"distinct_id":"p"}"#)), "p");
}

/// 5. Where the two disagree, the top level wins: a link `...?distinct_id=W` must not speak for W.
#[test]
fn the_distinct_id_at_top_level_wins() {
    let opened = |at| link(&line("deep-link-web-to-mobile.jsonl", at)[0]);
    assert_eq!(opened(4), "01a208fa-cbc9-7461-839e-1f784407a09b");
    assert_eq!(opened(15), "user-1");
    assert_eq!(opened(23), "01a208fb-5504-79bd-b65e-b030d8681f6d");
    let node = line("posthog-node-5.70.0.jsonl", 9);
    assert_eq!(
        node.iter().map(link).collect::<Vec<_>>(),
        ["user-1", "01a208df-bbc9-75da-a4a4-83fd4a903b9f <- x"]
    );
}

/// 6. Property changes stand at top level, in the properties, or in both; then the top level wins.
#[test]
fn property_changes_are_found_in_both_places() {
    let set = |file, at: usize, keys: &[&str]| {
        let changes = line(file, at).remove(0).changes;
        keys.iter()
            .map(|key| changes.set.iter().find(|(set, _)| set.as_str() == *key).unwrap().1.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        set("posthog-js-1.449.2.jsonl", 4, &["email", "plan"]),
        [text("a@example.com"), text("pro")],
        "top"
    );
    assert_eq!(set("posthog-js-1.449.2.jsonl", 38, &["email"]), [text("a@example.com")], "in");
    assert_eq!(set("posthog-node-5.70.0.jsonl", 4, &["email"]), [text("a@example.com")], "in");
    let both = event(
        r#""event":"$set","distinct_id":"u","$set":{"a":"top"},"properties":{"$set":{"a":"in","b":"in"},"$unset":["c"]}"#,
    );
    let set: Vec<_> = both.changes.set.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    assert_eq!(set, [("a", text("top")), ("b", text("in"))]);
    assert_eq!(both.changes.unset.first().unwrap().as_str(), "c");
    // One event with both places filled, sent without a person profile: nothing may come of it (C1).
    let off = &line("posthog-js-1.449.2.jsonl", 102)[0];
    assert_eq!((off.processing, off.changes.is_empty()), (Processing::Off, true));
}

/// 7. SDKs send almost any id. The importer passes them on: to refuse a link is the ledger's answer (B2), not its.
#[test]
fn placeholders_are_passed_on_for_the_ledger_to_refuse() {
    let ids: Vec<_> = line("posthog-node-5.70.0.jsonl", 22).iter().map(link).collect();
    assert_eq!(ids, ["anonymous", "null", "undefined", "0", "distinct_id", "   "]);
    let browser: Vec<_> = (19..=24).map(|at| link(&line("posthog-js-1.449.2.jsonl", at)[0])).collect();
    let ids: Vec<_> = browser.iter().filter_map(|link| link.split(" <- ").next()).collect();
    assert_eq!(ids, ["guest", "0", "true", "NaN", "[object Object]", "none"]);
    assert_eq!(link(&line("posthog-js-lite-4.12.1.jsonl", 22)[0]), "anonymous <-    ");
    let null = event(r#""event":"$identify","distinct_id":"u","properties":{"$anon_distinct_id":null}"#);
    assert_eq!(link(&null), "u <- null");
}

/// 8. The sentinel of cookieless visitors really arrives as S.
#[test]
fn the_cookieless_sentinel_arrives_as_it_is() {
    let identify = line("posthog-js-1.449.2.jsonl", 70);
    assert_eq!(link(&identify[0]), "user-1 <- $posthog_cookieless");
}

/// 9. Numbers are ids; an id that was empty is a random one without a person profile.
#[test]
fn numbers_are_ids_by_their_text() {
    let numbers: Vec<_> = line("posthog-node-5.70.0.jsonl", 21).iter().map(link).collect();
    assert_eq!(numbers, ["12345", "12345", "12345 <- 678"]);
    let v1: Vec<_> = line("posthog-node-5.70.0-capture-v1.jsonl", 21).iter().map(link).collect();
    assert_eq!(v1, numbers);
    for file in ["posthog-node-5.70.0.jsonl", "posthog-node-5.70.0-capture-v1.jsonl"] {
        assert_eq!(line(file, 6)[0].processing, Processing::Off, "{file}");
    }
}

/// 10. Times come without a zone, with nine digits, with an offset, or in milliseconds with a Z.
#[test]
fn every_spelling_of_a_time_is_read() {
    for (spelled, meant) in [
        ("2026-11-23T15:12:21.377811063", "2026-11-23T15:12:21.377811Z"),
        ("2026-11-23T15:12:21.377811+00:00", "2026-11-23T15:12:21.377811Z"),
        ("2026-11-23T17:12:21.377+02:00", "2026-11-23T15:12:21.377Z"),
        ("2026-11-23T15:12:21.377Z", "2026-11-23T15:12:21.377Z"),
    ] {
        let event = format!(r#"{{"event":"x","distinct_id":"a","timestamp":"{spelled}"}}"#);
        assert_eq!(operations(event.as_bytes())[0].time.to_string(), meant);
    }
}

/// The recorded clocks were right: what a request took on its way moves no event (G5).
#[test]
fn recorded_times_are_not_moved_by_the_time_on_the_way() {
    // timestamp ...49.597, sent_at ...49.618, received_ms ...49.642
    let operation = &line("posthog-node-5.70.0.jsonl", 1)[0];
    assert_eq!(operation.time.to_string(), "2026-11-23T14:46:49.597Z");
}

#[test]
fn a_long_id_is_shortened_with_a_notice_as_t_and_as_s() {
    let long = &line("posthog-node-5.70.0.jsonl", 23)[0];
    assert_eq!((link(long).len(), long.bent.shortened_id), (200, true));
    let source = "s".repeat(250);
    let identify = event(&format!(
        r#""event":"$identify","distinct_id":"u","properties":{{"$anon_distinct_id":"{source}"}}"#
    ));
    assert_eq!((link(&identify), identify.bent.shortened_id), (format!("u <- {}", &source[..200]), true));
}

/// posthog-js 1.57: no uuid, a form, `/engage/`; 1.100 to 1.298: arrays with `offset`, the time of sending in the query.
#[test]
fn old_browsers_are_understood() {
    let recorded = r#"{"path":"/e/?ip=1&_=1767225600000&ver=1.57.2","received_ms":1767225601000,"body":"data=eyJldmVudCI6IiRpZGVudGlmeSIsInByb3BlcnRpZXMiOnsiZGlzdGluY3RfaWQiOiJ1IiwiJGFub25fZGlzdGluY3RfaWQiOiJhIn0sInRpbWVzdGFtcCI6IjIwMjYtMDEtMDFUMDA6MDA6MDBaIn0%3D"}
{"path":"/engage/?ip=1","received_ms":1767225601000,"body":[{"$set":{"plan":"pro"},"$token":"t","$distinct_id":"u","$device_id":"d"}]}
{"path":"/e/?compression=gzip-js","received_ms":1767225601000,"body":[{"event":"x","uuid":"0190c0de-0000-7000-8000-0000000000aa","offset":250,"properties":{"distinct_id":"a"}}]}"#;
    let said = operations(recorded.as_bytes());
    let shown: Vec<_> =
        said.iter().map(|said| (kind(said), link(said), said.time.to_string(), said.derived_id)).collect();
    assert_eq!(
        shown,
        [
            ("identify <-", "u <- a".to_owned(), "2026-01-01T00:00:00Z".to_owned(), true),
            ("set", "u".to_owned(), "2026-01-01T00:00:01Z".to_owned(), true),
            ("capture", "a".to_owned(), "2026-01-01T00:00:00.75Z".to_owned(), false),
        ]
    );
}

/// What is wrong is told where it stands; what stands around it is imported.
#[test]
fn one_bad_event_costs_one_event() {
    let input = br#"{"batch":[{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"},
{"event":"x","timestamp":"2026-01-01T00:00:00Z"},
{"event":"x","distinct_id":"b","timestamp":"2026-01-01T00:00:00Z"}]}
{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"c","set":{"n":18446744073709551616}}
{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"d"}"#;
    let parsed = parse(input);
    let places: Vec<_> =
        parsed.iter().map(|parsed| (parsed.line, parsed.index, parsed.operation.is_ok())).collect();
    assert_eq!(
        places,
        [(1, Some(0), true), (2, Some(1), false), (3, Some(2), true), (4, None, false), (5, None, true)]
    );
    assert_eq!(parsed[1].operation, Err(Rejection::Missing { key: "distinct_id" }));
    assert!(matches!(parsed[3].operation, Err(Rejection::Value { .. })));
}

/// G4: whatever lacks an id gets the same one in each import, and equal lines get different ones.
#[test]
fn importing_a_file_twice_yields_the_same_operations() {
    let uuid_key = br#""uuid""#;
    for file in ["posthog-js-1.449.2.jsonl", "posthog-node-5.70.0.jsonl"] {
        let mut input = recorded(file);
        while let Some(at) = input.windows(uuid_key.len()).position(|window| window == uuid_key) {
            input[at + 1] = b'_'; // no SDK's key: the ids are gone
        }
        let input = [input.as_slice(), b"\n", input.as_slice()].concat();
        let once = operations(&input);
        assert_eq!(once, operations(&input));
        assert!(once.iter().all(|operation| operation.derived_id));
        let ids: std::collections::BTreeSet<_> = once.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), once.len());
    }
}

#[test]
fn the_policy_says_what_is_lifted_and_kept() {
    let policy = Policy::default();
    let options = Options::from(&policy);
    assert_eq!((options.format, options.lift), (Format::Auto, policy.lift));
    assert_eq!(options.keep_event_properties, policy.keep_event_properties);
}

/// The merge cases are written in the `ops` vocabulary: every operation of them is one.
#[test]
fn every_operation_of_the_merge_cases_is_read() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_slice(&recorded("posthog-merge-cases.json")).unwrap();
    let mut read = 0;
    for (case, part) in cases.iter().flat_map(|case| [(case, "given"), (case, "when")]) {
        let asked = case[part].as_array().map_or(0, Vec::len);
        let said = operations(case[part].to_string().as_bytes());
        assert_eq!(said.len(), asked, "{}", case["name"]);
        read += asked;
    }
    assert_eq!(read, 221);
}

/// Appends an operation through another clone whenever a batch is recorded.
struct Beside(SharedLedger);

impl Watch for Beside {
    fn complaint(&mut self, complaint: Complaint) {
        panic!("line {}: {}", complaint.line, complaint.reason);
    }

    fn progress(&mut self, _: u64, tally: &Tally) {
        let id = DistinctId::new(format!("beside-{}", tally.appended)).unwrap();
        let _ = self.0.append(Operation::properties(Timestamp::from_micros(0).unwrap(), id)).unwrap();
    }
}

/// `run` took a `&mut Ledger` only, which a shared ledger does not give. The documentation of `run` imports in `write`.
#[test]
fn an_import_into_a_shared_ledger_lets_others_write_between_its_batches() {
    let line = |number| {
        format!("{{\"op\":\"identify\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"u-{number}\"}}\n")
    };
    let input: String = (0..5_000).map(line).collect();
    let shared = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default()).unwrap());
    let importer = Importer::new(input.as_bytes(), Options::from(&Policy::default()));
    let mut tally = Tally::default();
    run(&mut shared.clone(), importer, &mut tally, &mut Beside(shared.clone())).unwrap();
    assert_eq!((tally.appended, tally.rejected), (5_000, 0));
    let ids: Vec<String> = shared.read(|ledger| {
        ledger.persons().flat_map(|person| person.unwrap().distinct_ids).collect() // in the order of founding
    });
    let first = ids.iter().position(|id| id.starts_with("beside-")).unwrap();
    let last = ids.iter().rposition(|id| id.starts_with("u-")).unwrap();
    assert!(first < last, "another thread's person was founded before the last of the import");
}
