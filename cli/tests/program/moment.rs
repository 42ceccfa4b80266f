//! `--at` as scripts see it: a record, a time or a date, and which record a time came to.

use crate::place::{Place, SMALL};
use identity_ledger::{DistinctId, LedgerOptions, Operation, Policy, Source, Tenant, Timestamp};
use serde_json::{Value, json};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// Created on 2 March; ann is seen on 3 March at ten, and signs in on her phone on 4 March at midnight.
fn three_days() -> Place {
    let place = Place::new();
    let mut clock =
        ["2026-03-02T09:00:00Z", "2026-03-03T10:00:00Z", "2026-03-04T00:00:00Z"].map(at).into_iter();
    let mut ledger = LedgerOptions::new()
        .clock(move || clock.next().unwrap_or(Timestamp::MIN))
        .create(place.path("a.ledger"), Tenant::default(), Policy::default())
        .unwrap();
    // What the senders' clocks say does not matter here.
    let _ = ledger.append(Operation::properties(at("1999-01-01T00:00:00Z"), id("ann"))).unwrap();
    let phone = Some(Source::new("phone"));
    let _ = ledger.append(Operation::identify(at("2050-01-01T00:00:00Z"), id("ann"), phone)).unwrap();
    place
}

#[test]
fn a_time_leads_to_the_last_record_of_then() {
    let place = three_days();
    let records = place.run("verify a.ledger --json").object("records")["records"].as_u64().unwrap();
    for (moment, used, found) in [
        ("0", 0, false),
        ("2026-03-03", 0, false),
        ("2026-03-03T09:59:59.999999Z", 0, false),
        ("2026-03-03T10:00:00Z", 2, true),
        ("2026-03-03T12:00:00+02:00", 2, true),
        ("2026-03-03T23:59:59.999999Z", 2, true),
        ("2026-03-04", records - 1, true),
        ("9999-12-31", records - 1, true),
    ] {
        let said =
            place.run(&format!("resolve a.ledger ann --at {moment} --json")).with_code(i32::from(!found));
        assert_eq!(said.object("at person_id")["at"], used, "{moment}");
        assert_eq!(said.err, "", "it stands in the answer");
        let said = place.run(&format!("resolve a.ledger ann --at {moment}"));
        let (note, is_time) = (format!("right after record {used}"), moment.len() > 1);
        assert_eq!(said.err.contains(&note), is_time, "{moment}: {}", said.err);
        let listed = place.run(&format!("persons a.ledger --at {moment} --json")).with_code(0);
        assert_eq!(listed.lines("distinct_ids").len(), usize::from(found), "{moment}");
        let from = listed.err.lines().find(|line| line.starts_with("{\"answered_from\"")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(from).unwrap()["answered_from"]["at"], used, "{from}");
        let difference = place.run(&format!("diff a.ledger --at {used} --at {moment} --json")).with_code(0);
        let from = &difference.object("answered_from")["answered_from"];
        assert_eq!([&from[0]["at"], &from[1]["at"]], [used, used], "{moment}");
    }
    let shown = place.run("resolve a.ledger ann --at 2026-03-03T11:00:00Z").with_code(0).out;
    assert!(shown.starts_with("Right after record 2: `ann` is person "), "{shown}");
    let shown = place.run("diff a.ledger --at 2026-03-03 --at 2026-03-04").with_code(1).out;
    assert!(shown.contains("right after record 0") && shown.contains("right after record 4"), "{shown}");
}

#[test]
fn what_is_not_a_moment_says_what_one_is() {
    let place = three_days();
    for command in ["resolve a.ledger ann", "persons a.ledger", "diff a.ledger"] {
        let said = place.run(&format!("{command} --at 2026-03-02")).with_code(2);
        let expected =
            "nothing was recorded by 2026-03-02T00:00:00Z: the ledger was created at 2026-03-02T09:00:00Z";
        assert!(said.err.contains(expected), "{}", said.err);
        for moment in ["yesterday", "2026-02-30", "12:00"] {
            let said = place.run(&format!("{command} --at {moment}")).with_code(2);
            assert!(said.err.contains("or a date such as 2026-03-03"), "{}", said.err);
        }
    }
    place.write("a.jsonl", SMALL);
    place.run("persons a.jsonl --at 1").with_code(0);
    let said = place.run("persons a.jsonl --at 2026-03-03").with_code(2);
    assert!(said.err.contains("nothing in it says when it was recorded"), "{}", said.err);
}

#[test]
fn each_record_says_when_it_was_recorded() {
    let place = three_days();
    let [created, seen, signed_in] =
        ["2026-03-02T09:00:00Z", "2026-03-03T10:00:00Z", "2026-03-04T00:00:00Z"].map(Value::from);
    let times = |said: Vec<Value>| said.iter().map(|line| line["recorded_at"].clone()).collect::<Vec<_>>();
    let outcomes = place.run("outcomes a.ledger --json").lines("seq recorded_at");
    assert_eq!(times(outcomes), [seen.clone(), signed_in.clone()]);
    let history = place.run("history a.ledger ann --json").lines("seq recorded_at");
    assert_eq!(history[1]["outcome"]["recorded_at"], seen, "as `outcomes` has it");
    assert_eq!(times(history), [seen.clone(), seen, signed_in.clone()]);
    let stats = place.run("stats a.ledger --json").object("first_recorded_at last_recorded_at");
    assert_eq!([&stats["first_recorded_at"], &stats["last_recorded_at"]], [&created, &signed_in]);
    let shown = place.run("stats a.ledger").out;
    assert!(shown.contains("2026-03-02T09:00:00Z") && shown.contains("2026-03-04T00:00:00Z"), "{shown}");

    place.write("a.jsonl", SMALL.lines().next().unwrap());
    let epoch = json!("1970-01-01T00:00:00Z");
    for command in ["outcomes", "events"] {
        let listed = place.run(&format!("{command} a.jsonl --json")).with_code(0).lines("recorded_at");
        assert_eq!(times(listed), std::slice::from_ref(&epoch), "the same file gives the same answer");
    }
    place.run("import b.ledger a.jsonl").with_code(0);
    let events = place.run("events b.ledger --json").with_code(0).lines("recorded_at");
    let of_ann = place.run("events b.ledger --of visitor --json").with_code(0).lines("recorded_at");
    assert_eq!(events, of_ann);
    assert_ne!(times(events), [epoch], "by the system's clock");
}

#[test]
fn exports_and_changes_take_a_time_for_a_record() {
    let place = three_days();
    let rows = |moment: &str| {
        let export = format!("export a.ledger - --tables persons --format csv --at {moment}");
        place.run(&export).with_code(0).out
    };
    assert_eq!(rows("2026-03-03T10:00:00Z"), rows("2"));
    assert_ne!(rows("2026-03-03T10:00:00Z"), rows("2026-03-04"), "ann signed in");
    let changes =
        |since: &str| place.run(&format!("changes a.ledger --since {since} --json")).with_code(0).out;
    assert_eq!(changes("2026-03-03T10:00:00Z"), changes("2"));
    let last = json!("2026-03-04T00:00:00Z");
    let lines: Vec<Value> = changes("2").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 1 && lines[..lines.len() - 1].iter().all(|line| line["_commit_timestamp"] == last));
    let said = place.run("export a.ledger out --at 2026-03-01").with_code(2);
    assert!(said.err.contains("2026-03-02T09:00:00Z"), "{}", said.err);
}
