//! The command line as scripts see it: arguments in, lines and an exit status out.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::forge;
use crate::place::{Place, SMALL, Said};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/posthog-js-1.449.2.jsonl");

const TALLY: &str = "lines operations appended duplicates ignored conflicts rejected refused noticed ops posthog exported segment rudderstack mixpanel amplitude persons rejections files";

fn tally(said: &Said) -> [u64; 6] {
    let tally = said.object(TALLY);
    ["lines", "operations", "appended", "duplicates", "conflicts", "rejected"]
        .map(|key| tally[key].as_u64().unwrap())
}

// -- making ledgers ----------------------------------------------------------------------------------------------------

#[test]
fn init_makes_a_ledger_once() {
    let place = Place::new();
    let created = place.run("init a.ledger --tenant 42 --preset one-user --json").with_code(0);
    let created = created.object("ledger_id tenant");
    assert_eq!(created["tenant"], "42");
    let policy = place.run("policy a.ledger --json").with_code(0).object("max_user_ids survivor lift");
    assert_eq!(policy["max_user_ids"], 1);
    let again = place.run("init a.ledger").with_code(2);
    assert!(again.err.starts_with("error: a.ledger is a ledger already"), "{}", again.err);
    assert_eq!(again.out, "");
}

#[test]
fn init_keeps_off_directories_that_hold_something() {
    let place = Place::new();
    fs::create_dir(place.path("taken")).unwrap();
    place.write("taken/letter.txt", "dear");
    let said = place.run("init taken").with_code(2);
    assert!(said.err.contains("not empty"), "{}", said.err);
    assert_eq!(fs::read_dir(place.path("taken")).unwrap().count(), 1);
}

#[test]
fn a_policy_is_changed_by_a_record() {
    let place = Place::small();
    place.write("policy.json", r#"{"preset":"strict","max_ids_per_person":7}"#);
    let before = place.run("replay a.ledger --json").object("records")["records"].as_u64().unwrap();
    let set = place.run("policy a.ledger --set policy.json --json").with_code(0);
    let policy = set.object("refuse_joining_identified max_ids_per_person");
    assert_eq!(
        (&policy["refuse_joining_identified"], &policy["max_ids_per_person"]),
        (&true.into(), &7.into())
    );
    assert_eq!(place.run("policy a.ledger --json").object("lift"), policy);
    let records = || place.run("replay a.ledger --json").object("records")["records"].as_u64().unwrap();
    assert_eq!(records(), before + 1);
    place.run("policy a.ledger --set policy.json").with_code(0);
    assert_eq!(records(), before + 1, "the same policy again changes nothing");

    place.write("bad.json", r#"{"max_user_id":1}"#);
    let said = place.run("policy a.ledger --set bad.json").with_code(2);
    assert!(
        said.err.contains("bad.json is not a valid policy") && said.err.contains("max_user_id"),
        "{}",
        said.err
    );
}

// -- importing ---------------------------------------------------------------------------------------------------------

#[test]
fn importing_twice_records_nothing_the_second_time() {
    let place = Place::new();
    place.write("small.jsonl", SMALL);
    let first = place.run("import a.ledger small.jsonl --json").with_code(0);
    assert_eq!(tally(&first), [4, 4, 4, 0, 0, 0]);
    assert_eq!(first.object(TALLY)["refused"], 1);
    let before = place.run("replay a.ledger --json").object("digest");
    let again = place.run("import a.ledger small.jsonl --json").with_code(0);
    assert_eq!(tally(&again), [4, 4, 0, 4, 0, 0]);
    let after = place.run("replay a.ledger --json").object("digest");
    for key in ["records", "digest", "content_digest", "head"] {
        assert_eq!(before[key], after[key], "{key}");
    }
}

#[test]
fn the_same_input_makes_the_same_digests_in_any_ledger() {
    let place = Place::new();
    place.write("small.jsonl", SMALL);
    place.run("import a.ledger small.jsonl").with_code(0);
    place.run("import b.ledger small.jsonl").with_code(0);
    let replays = ["a.ledger", "b.ledger", "small.jsonl"].map(|source| {
        place.run(&format!("replay {source} --json")).with_code(0).object("digest content_digest")
    });
    for replay in &replays {
        assert_eq!(replay["digest"], replays[0]["digest"]);
        assert_eq!(replay["content_digest"], replays[0]["content_digest"]);
    }
}

#[test]
fn a_recorded_session_is_imported() {
    let place = Place::new();
    let said = place.run(&format!("import a.ledger {RECORDED} --strict --json")).with_code(0);
    let [_, operations, appended, duplicates, conflicts, rejected] = tally(&said);
    assert_eq!(operations, appended + duplicates + conflicts + rejected);
    assert!(appended > 100 && rejected == 0, "{said:?}");
}

#[test]
fn bad_lines_are_named_and_the_rest_is_imported() {
    let place = Place::new();
    let lines: Vec<&str> = SMALL.lines().collect();
    let batch = format!("[{},{{\"op\":\"set\"}}]", lines[3]);
    let bad = format!("{}\nnot json\n\n{}\n{batch}\n", lines[0], lines[1]);
    place.write("bad.jsonl", bad);
    let said = place.run("import a.ledger bad.jsonl --json").with_code(0);
    assert_eq!(tally(&said), [5, 5, 3, 0, 0, 2]);
    let rejections = said.object(TALLY)["rejections"].clone();
    assert_eq!(rejections[0]["file"], "bad.jsonl");
    assert_eq!((&rejections[0]["line"], &rejections[0]["index"]), (&2.into(), &Value::Null));
    assert_eq!((&rejections[1]["line"], &rejections[1]["index"]), (&5.into(), &1.into()));
    let shown: Vec<&str> = said.err.lines().collect();
    assert!(shown[0].starts_with("bad.jsonl:2: not JSON"), "{shown:?}");
    assert!(shown[1].starts_with("bad.jsonl:5:1: ") && shown[1].contains("missing"), "{shown:?}");

    place.run("import a.ledger bad.jsonl --strict").with_code(1);
    place.write("good.jsonl", SMALL);
    place.run("import a.ledger good.jsonl --strict").with_code(0);
    let folded = place.run("persons bad.jsonl --json").with_code(0);
    assert_eq!(folded.err, said.err, "folding a file reports as import does");
}

#[test]
fn what_another_vendor_or_program_wrote_is_named_and_leaves_no_ledger() {
    let place = Place::new();
    let segment = r#"{"type":"track","event":"Bought","userId":"ann","properties":{"distinct_id":"mp-77"}}"#;
    let mixpanel = r#"{"path":"/track","received_ms":1767225630000,"body":[{"event":"x","properties":{"time":1602611311,"$device_id":"a","$user_id":"ann"}}]}"#;
    for (content, code, named) in [
        (
            segment.as_bytes(),
            1,
            "in:1: this is a call of Segment or RudderStack, by its `userId`; `--format segment` or `--format rudderstack` reads it",
        ),
        (
            mixpanel.as_bytes(),
            1,
            "in:1:0: this is an event of Mixpanel, by its `properties.time`; `--format mixpanel` or `--format mixpanel-original` reads it",
        ),
        (b"\xFF\xFE\0\0{\0\0\0", 2, "error: in: the input is UTF-32;"),
        (b"uuid,event,distinct_id\n", 1, "in:1: the input looks like CSV;"),
    ] {
        place.write("in", content);
        let said = place.run("import a.ledger in").with_code(code);
        assert!(said.err.starts_with(named) && said.err.lines().count() == 1, "{}", said.err);
        assert!(said.out.contains("nothing was recorded, so a.ledger was not created"), "{}", said.out);
    }
}

#[test]
fn times_from_the_future_are_clamped_rejected_or_kept() {
    let place = Place::new();
    place.write("far.jsonl", r#"{"op":"set","ts":"9999-01-01T00:00:00Z","distinct_id":"ann"}"#);
    let said = place.run("import a.ledger far.jsonl --json").with_code(0).object(TALLY);
    assert_eq!((&said["appended"], &said["noticed"]), (&1.into(), &1.into()));
    let outcome = place.run("outcomes a.ledger --json").with_code(0);
    assert!(outcome.out.contains("time_from_future") && !outcome.out.contains("9999"), "{}", outcome.out);
    let said = place.run("import b.ledger far.jsonl --future-times reject").with_code(1);
    assert!(said.err.contains("lies more than 23 hours ahead of"), "{}", said.err);
    place.run("import c.ledger far.jsonl --future-times keep").with_code(0);
    assert!(place.run("persons c.ledger --json").with_code(0).out.contains("9999-01-01T00:00:00Z"));
    place.run("import c.ledger far.jsonl --future-times never").with_code(2);
}

#[test]
fn a_mapping_is_compared_and_the_exit_status_says_whether_it_differs() {
    let place = Place::new();
    let link = |user: &str, other: &str| {
        format!(
            "{{\"op\":\"identify\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"{user}\",\"anon_distinct_id\":\"{other}\"}}\n"
        )
    };
    place.write("in.jsonl", link("ann", "a1") + &link("bob", "b1"));
    place.run("import a.ledger in.jsonl").with_code(0);
    let last = |said: &Said| said.lines("").pop().unwrap();
    let row = |id: &str, person: &str| format!("{{\"person_id\":\"{person}\",\"distinct_id\":\"{id}\"}}\n");
    let same = [row("ann", "1"), row("a1", "1"), row("bob", "2"), row("b1", "2")].concat();
    place.write("same.jsonl", &same);
    let said = place.run("compare a.ledger same.jsonl --json").with_code(0);
    assert_eq!(last(&said)["counts"]["same"], 4);
    place.write("other.jsonl", same + &row("cyd", "1") + &row("bob", "1") + &row("b1", "3"));
    let said = place.run("compare a.ledger other.jsonl").with_code(1);
    for shown in ["joined there, not here  1", "joined here, not there  1", "missing here            1"] {
        assert!(said.out.contains(shown), "{}", said.out);
    }
    let first = place.run("compare a.ledger other.jsonl --limit 2 --json").with_code(1);
    let next = last(&first)["next"].as_str().unwrap().to_owned();
    let rest = place.run(&format!("compare a.ledger other.jsonl --from {next} --json")).with_code(1);
    assert_eq!((first.out.lines().count(), rest.out.lines().count()), (3, 2), "two and one, and the counts");
    place.write("nothing.jsonl", "{\"event\":\"x\"}\n");
    let said = place.run("compare a.ledger nothing.jsonl").with_code(2);
    assert!(said.err.contains("says of no id whose it is"), "{}", said.err);
    place.run("compare a.ledger missing.jsonl").with_code(2);
}

#[test]
fn a_format_reads_what_its_vendor_wrote() {
    let place = Place::new();
    let call = r#"{"type":"track","event":"Bought","userId":"ann","anonymousId":"a1","timestamp":"2026-01-01T00:00:00Z"}"#;
    let event = r#"{"event":"x","properties":{"time":1602611311,"$device_id":"a1","$user_id":"ann"}}"#;
    let exported =
        r#"{"event_type":"x","user_id":"ann","device_id":"a1","event_time":"2026-01-01 00:00:00"}"#;
    let person = r#"{"uuid":"p1","distinct_ids":["a1","ann"],"created_at":"2026-01-01T00:00:00Z"}"#;
    for (format, content, said) in [
        ("segment", call, "2 read from calls of Segment"),
        ("rudderstack", call, "2 read from calls of RudderStack"),
        ("mixpanel", event, "2 read from events of Mixpanel"),
        ("amplitude", exported, "2 read from events of Amplitude"),
        ("persons", person, "2 read from rows about persons"),
    ] {
        place.write("in", content);
        let ledger = format!("{format}.ledger");
        let imported =
            place.run(&format!("import {ledger} in --format {format} --preset one-user")).with_code(0);
        assert!(imported.out.contains(said) && imported.out.contains("1 person"), "{}", imported.out);
        let again =
            place.run(&format!("import {ledger} in --format {format} --json")).with_code(0).object(TALLY);
        assert_eq!((&again[format], &again["duplicates"]), (&2.into(), &2.into()));
    }
}

#[test]
fn rows_of_an_export_are_counted() {
    let place = Place::new();
    let row = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z","properties":{},"person_id":"p"}"#;
    place.write("rows", format!("{row}\n{row}"));
    let said = place.run("import a.ledger rows").with_code(0);
    assert!(said.out.contains("2 rows of a PostHog export: "), "{}", said.out);
    let again = place.run("import a.ledger rows --json").with_code(0).object(TALLY);
    assert_eq!((&again["exported"], &again["posthog"], &again["ops"]), (&2.into(), &2.into(), &0.into()));
}

#[test]
fn a_flood_of_bad_lines_is_cut_short() {
    let place = Place::new();
    place.write("bad.jsonl", "x\n".repeat(150));
    let said = place.run("import a.ledger bad.jsonl --json").with_code(1);
    assert_eq!(said.err.lines().count(), 21);
    assert_eq!(said.err.lines().last(), Some("... and 130 more"));
    let summary = said.object(TALLY);
    assert_eq!(
        (summary["rejected"].as_u64(), summary["rejections"].as_array().unwrap().len()),
        (Some(150), 100)
    );
}

#[test]
fn conflicts_are_told_and_not_recorded() {
    let place = Place::small();
    place.write("other.jsonl", SMALL.lines().next().unwrap().replace("$pageview", "other"));
    let said = place.run("import a.ledger other.jsonl --json").with_code(1);
    assert_eq!(tally(&said), [1, 1, 0, 0, 1, 0]);
    assert_eq!(said.object(TALLY)["conflicting"][0]["line"], 1);
    assert!(said.err.starts_with("other.jsonl:1: record "), "{}", said.err);
}

#[test]
fn standard_input_gzip_and_several_files_are_imported() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(SMALL.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    place.write("small.jsonl.gz", &gzip);
    place.write("small.jsonl", SMALL);
    let said =
        place.run_with("import a.ledger - small.jsonl.gz small.jsonl --json", SMALL.as_bytes()).with_code(0);
    assert_eq!(tally(&said), [12, 12, 4, 8, 0, 0]);
    let folded = place.run_with("persons - --json", &gzip).with_code(0);
    assert_eq!(folded.out, place.run("persons a.ledger --json").out);

    place.write("cut.gz", &gzip[..gzip.len() / 2]);
    let cut = place.run("import a.ledger cut.gz").with_code(2);
    assert!(cut.err.contains("error: cut.gz: damaged gzip"), "{}", cut.err);
    assert!(cut.err.contains("everything before that place is recorded"), "{}", cut.err);
    let cut = place.run("persons cut.gz").with_code(2);
    assert!(cut.err.contains("nothing is shown of half a file"), "nothing was recorded: {}", cut.err);
}

/// Persons of several files that became one are one, and what was said before touches none.
#[test]
fn an_import_says_how_many_persons_each_file_touched() {
    let place = Place::new();
    let line = |op: &str, id: u32, rest: &str| {
        format!(
            r#"{{"op":"{op}","event_id":"00000000-0000-4000-8000-{id:012}","ts":"2026-01-01T00:00:00Z",{rest}}}"#
        )
    };
    let two =
        [line("set", 1, r#""distinct_id":"ann""#), line("set", 2, r#""distinct_id":"phone""#)].join("\n");
    let one = line("merge_dangerously", 3, r#""distinct_id":"ann","alias":"phone""#);
    let refused = line("merge_dangerously", 5, r#""distinct_id":"ann","alias":"0""#);
    let none =
        [refused, line("capture", 4, r#""distinct_id":"ghost","process_person_profile":false"#)].join("\n");
    for (file, lines) in [("two", two.clone()), ("one", one), ("none", none), ("again", two)] {
        place.write(file, lines);
    }
    let said = place.run("import a.ledger two one none again --json").with_code(0).object(TALLY);
    let files = said["files"].as_array().unwrap().iter().map(|file| file["persons_touched"].clone());
    assert_eq!(files.collect::<Vec<_>>(), [2, 1, 0, 0]);
    assert_eq!(said["persons_touched"], 1);
    let said = place.run("import b.ledger two one").with_code(0).out;
    assert!(said.contains("two: 2 read as ops, 2 persons touched"), "{said}");
    assert!(said.contains("persons       1   founded, linked or written to"), "{said}");
}

/// PostHog's batch export of events, as Parquet and as the same rows of JSON.
#[test]
fn rows_of_a_parquet_file_mean_what_their_lines_of_json_mean() {
    let place = Place::new();
    let uuids = ["01890a5d-ac96-774b-bcce-b302099a8001", "01890a5d-ac96-774b-bcce-b302099a8002"];
    let (events, ids) = (["$pageview", "$identify"], ["visitor", "ann"]);
    let properties = ["{}", r#"{"$anon_distinct_id":"visitor","$set":{"plan":"pro"}}"#];
    let times = TimestampMicrosecondArray::from(vec![1_767_225_600_000_001, 1_767_225_601_000_000]);
    let columns: [(&str, ArrayRef); 5] = [
        ("uuid", Arc::new(StringArray::from(uuids.to_vec()))),
        ("event", Arc::new(StringArray::from(events.to_vec()))),
        ("distinct_id", Arc::new(StringArray::from(ids.to_vec()))),
        ("properties", Arc::new(StringArray::from(properties.to_vec()))),
        ("timestamp", Arc::new(times.with_timezone("UTC"))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    parquet.write(&rows).unwrap();
    let parquet = parquet.into_inner().unwrap();
    place.write("events.parquet", &parquet);
    let time = ["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:01Z"];
    let line = |row: usize| {
        json!({"uuid": uuids[row], "event": events[row], "distinct_id": ids[row], "properties": properties[row],
            "timestamp": time[row]})
    };
    place.write("events.jsonl", format!("{}\n{}\n", line(0), line(1)));
    let content = |input: &str| {
        let said = place.run(&format!("import {input}.ledger {input} --json")).with_code(0);
        assert_eq!(tally(&said), [2, 2, 2, 0, 0, 0]);
        place.run(&format!("replay {input}.ledger --json")).with_code(0).object("content_digest")["content_digest"].clone()
    };
    assert_eq!(content("events.parquet"), content("events.jsonl"));
    assert_eq!(place.run("persons events.parquet --json").out, place.run("persons events.jsonl --json").out);

    let piped = place.run_with("import new.ledger -", &parquet).with_code(2).err;
    assert!(piped.contains("is a Parquet file; expected JSON") && piped.contains("not a pipe"), "{piped}");
    place.write("cut.parquet", &parquet[..parquet.len() / 2]);
    let cut = place.run("import other.ledger cut.parquet events.parquet").with_code(2);
    assert!(
        cut.err.contains("error: cut.parquet: ") && cut.err.contains("this Parquet file cannot be read: "),
        "{}",
        cut.err
    );
    assert!(cut.out.contains("other.ledger now has"), "the other file is recorded: {}", cut.out);
}

/// A copy that was cut off, or a disk that fails, costs its own rest and nothing else.
#[test]
fn a_damaged_gzip_costs_no_other_file_and_no_summary() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(SMALL.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    place.write("cut.gz", &gzip[..gzip.len() / 2]);
    place.write("bent.gz", [&gzip[..gzip.len() - 8], &[0; 8]].concat());
    place.write("small.jsonl", SMALL);
    let said = place.run("import a.ledger cut.gz bent.gz small.jsonl --json").with_code(2);
    let [_, operations, appended, duplicates, ..] = tally(&said);
    assert_eq!((appended, duplicates), (4, operations - 4), "{said:?}");
    let unread = said.object(TALLY)["unread"].clone();
    for (number, file) in ["cut.gz", "bent.gz"].into_iter().enumerate() {
        assert_eq!(unread[number]["file"], file);
        let reason = unread[number]["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("{file}: damaged gzip")), "{reason}");
        assert!(said.err.contains(&format!("error: {reason}")), "{}", said.err);
    }
    assert_eq!(unread.as_array().unwrap().len(), 2);
    let persons = place.run("persons a.ledger --json").with_code(0).out;
    assert_eq!(persons, place.run("persons small.jsonl --json").with_code(0).out);
    let said = place.run("import a.ledger small.jsonl cut.gz").with_code(2);
    assert!(said.out.contains("duplicates") && said.out.contains("a.ledger now has"), "{}", said.out);
    place.run("import new.ledger cut.gz").with_code(2);
    assert!(!place.path("new.ledger").exists(), "nothing of it was recorded");
}

/// A script that imports the wrong file must not continue with an empty answer.
#[test]
fn an_input_of_which_nothing_can_be_taken_exits_1_and_leaves_no_new_ledger() {
    let place = Place::new();
    let retract =
        r#"{"op":"retract","of":"00000000-0000-4000-8000-0000000000ff","ts":"2026-01-01T00:00:00Z"}"#;
    for (name, bad) in [("text", "x\ny\n"), ("null", "null"), ("late", retract), ("binary", "\u{1}\u{2}")] {
        place.write(name, bad);
        for command in ["persons", "replay", "events", "outcomes", "persons --limit 3"] {
            place.run(&format!("{command} {name} --json")).with_code(1);
        }
        for keys in ["", " --key-ring a.ring"] {
            let said = place.run(&format!("import a.ledger {name} --json{keys}")).with_code(1);
            assert_eq!(said.object(TALLY)["snapshot"], Value::Null);
            let shown = place.run(&format!("import a.ledger {name}{keys}")).with_code(1);
            assert!(shown.out.contains("nothing was recorded, so a.ledger was not created"), "{}", shown.out);
            assert!(!place.path("a.ledger").exists() && !place.path("a.ring").exists());
        }
    }
    fs::create_dir(place.path("empty")).unwrap();
    place.run("import empty text").with_code(1);
    place.write("none", "\n\n");
    for command in ["persons", "replay", "events", "outcomes", "import a.ledger"] {
        place.run(&format!("{command} none")).with_code(0);
    }
    let verified = place.run("verify a.ledger --json").with_code(0).out;
    place.run("import a.ledger text").with_code(1);
    assert_eq!(place.run("verify a.ledger --json").with_code(0).out, verified, "one that was there stays");
    place.write("small.jsonl", SMALL);
    place.run("import a.ledger text small.jsonl").with_code(0);
    place.run("import a.ledger small.jsonl").with_code(0);
    place.run("import a.ledger text small.jsonl").with_code(0);
}

/// What a line says is recorded by itself at last, so its place in some batch tells a reader nothing.
#[test]
fn a_line_that_the_ledger_does_not_take_is_named_by_file_and_line_alone() {
    let place = Place::small();
    let retract =
        r#"{"op":"retract","of":"00000000-0000-4000-8000-0000000000ff","ts":"2026-01-01T00:00:00Z"}"#;
    place.write("late.jsonl", retract);
    let said = place.run("import a.ledger late.jsonl").with_code(1);
    assert!(said.err.starts_with("late.jsonl:1: no operation is recorded under id"), "{}", said.err);
}

#[test]
fn an_input_that_cannot_be_opened_leaves_nothing_behind() {
    let place = Place::new();
    place.write("small.jsonl", SMALL);
    for files in ["missing.jsonl", "small.jsonl missing.jsonl", "."] {
        let said = place.run(&format!("import a.ledger {files}")).with_code(2);
        assert!(said.err.starts_with("error: "), "{}", said.err);
        assert!(!place.path("a.ledger").exists());
    }
}

#[test]
fn formats_can_be_insisted_on() {
    let place = Place::new();
    place.write("small.jsonl", SMALL);
    let said = place.run("import a.ledger small.jsonl --format posthog --json").with_code(1);
    assert_eq!(tally(&said)[5], 4);
    place.run("import a.ledger small.jsonl --format cobol").with_code(2);
}

#[test]
fn a_ledger_that_exists_has_made_its_choice() {
    let place = Place::small();
    place.run("import a.ledger small.jsonl --preset posthog --tenant 1").with_code(0);
    let said = place.run("import a.ledger small.jsonl --preset strict").with_code(2);
    assert!(said.err.contains("policy a.ledger --set FILE"), "{}", said.err);
    let said = place.run("persons a.ledger --tenant 2").with_code(2);
    assert!(said.err.contains("its tenant is `1`"), "{}", said.err);
    place.run("persons small.jsonl --tenant 2 --preset strict").with_code(0);
    place.run("persons small.jsonl --preset strict --policy p.json").with_code(2);
}

#[cfg(unix)]
#[test]
fn a_second_writer_is_turned_away_and_readers_are_not() {
    let place = Place::small();
    let writer = identity_ledger::Ledger::open(place.path("a.ledger")).unwrap();
    let said = place.run("import a.ledger small.jsonl").with_code(2);
    assert!(said.err.contains("open for writing elsewhere"), "{}", said.err);
    place.run("persons a.ledger").with_code(0);
    place.run("verify a.ledger").with_code(0);
    drop(writer);
    place.run("import a.ledger small.jsonl").with_code(0);
}

// -- asking ------------------------------------------------------------------------------------------------------------

#[test]
fn replay_says_what_a_log_folds_to() {
    let place = Place::small();
    let replay = place.run("replay a.ledger --json").with_code(0);
    let replay = replay.object("records events persons distinct_ids digest content_digest head seconds");
    assert_eq!(
        (&replay["events"], &replay["persons"], &replay["distinct_ids"]),
        (&2.into(), &1.into(), &4.into())
    );
    assert!(replay["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0));
}

#[test]
fn persons_are_listed() {
    let place = Place::small();
    let persons = place.run("persons a.ledger --json").with_code(0);
    let ann =
        persons.object("person_id distinct_ids properties is_identified created_at events identified_events");
    assert_eq!(ann["distinct_ids"], serde_json::json!(["visitor", "ann"]));
    assert_eq!(ann["properties"], serde_json::json!({"email": "ann@example.com"}));
    assert_eq!((&ann["is_identified"], &ann["events"]), (&true.into(), &1.into()));
}

#[test]
fn events_are_listed_with_their_persons_now_and_then() {
    let place = Place::small();
    let events = place.run("events a.ledger --json").with_code(0);
    let events = events.lines("seq event_id distinct_id person_id person_id_then mode event time");
    let shown: Vec<_> =
        events.iter().map(|event| (event["event"].as_str(), event["mode"].as_str())).collect();
    assert_eq!(shown, [(Some("$pageview"), Some("full")), (Some("order"), Some("propertyless"))]);
    assert_eq!(events[0]["person_id"], events[0]["person_id_then"], "D3: ann joined the visitor's person");
}

#[test]
fn outcomes_name_rule_and_record() {
    let place = Place::small();
    let outcomes = place.run("outcomes a.ledger --json").with_code(0);
    let outcomes = outcomes.lines("seq op effects notices refusal rule blocking_seq");
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[0]["refusal"], Value::Null);
    assert_eq!((&outcomes[2]["op"], &outcomes[2]["rule"]), (&"alias".into(), &"B2".into()));
    assert!(outcomes[2]["blocking_seq"].is_u64());
    let shown = place.run("outcomes a.ledger").with_code(0).out;
    assert!(shown.contains("refused by B2"), "{shown}");
}

#[test]
fn resolve_says_who_now_and_then() {
    let place = Place::small();
    let now = place.run("resolve a.ledger ann --json").with_code(0).object("person_id profile implied");
    let visitor = place.run("resolve a.ledger visitor --json").with_code(0).object("person_id profile");
    assert_eq!(now["person_id"], visitor["person_id"]);
    assert_eq!(now["profile"]["properties"]["email"], "ann@example.com");
    let bob = place.run("resolve a.ledger bob --json").with_code(0).object("person_id profile implied");
    assert_eq!((&bob["implied"], &bob["profile"]), (&true.into(), &Value::Null));

    let first = place.run("outcomes a.ledger --json").lines("seq")[0]["seq"].as_u64().unwrap();
    let then = place.run(&format!("resolve a.ledger visitor --at {first} --json")).with_code(0);
    let then = then.object("person_id profile");
    assert_eq!(then["profile"]["distinct_ids"], serde_json::json!(["visitor"]), "as it was then");
    assert_eq!(then["profile"]["properties"], serde_json::json!({}));
    place.run(&format!("resolve a.ledger ann --at {first}")).with_code(1);
    let beyond = place.run("resolve a.ledger ann --at 4711").with_code(2);
    assert!(beyond.err.contains("there is no record 4711: the last one is "), "{}", beyond.err);
}

#[test]
fn a_person_id_of_once_leads_to_whom_it_stands_for() {
    let place = Place::new();
    let lines = [
        r#"{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"bob"}"#,
        r#"{"op":"alias","ts":"2026-01-01T00:00:01Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8001","distinct_id":"ann","alias":"cat"}"#,
        r#"{"op":"alias","ts":"2026-01-01T00:00:02Z","distinct_id":"ann","alias":"bob"}"#,
    ];
    place.write("a.jsonl", lines[..1].join("\n"));
    place.write("b.jsonl", lines[1..].join("\n"));
    place.run("import a.ledger a.jsonl").with_code(0);
    let bob = place.run("resolve a.ledger bob --json").object("person_id")["person_id"].clone();
    let bob = bob.as_str().unwrap();
    let asked = |place: &Place| place.run(&format!("resolve a.ledger {bob} --json")).with_code(0);
    let found = asked(&place).object("is_person_id person_id retracted");
    assert_eq!((&found["person_id"], &found["retracted"]), (&bob.into(), &false.into()));
    place.run("import a.ledger b.jsonl").with_code(0);
    let ann = place.run("resolve a.ledger ann --json").object("person_id")["person_id"].clone();
    let found = asked(&place).object("is_person_id person_id retracted");
    assert_eq!((&found["person_id"], &found["retracted"]), (&ann, &false.into()));
    let said = place.run(&format!("resolve a.ledger {bob}")).with_code(0).out;
    assert!(said.contains("was absorbed") && said.contains("Distinct ids"), "{said}");
    assert!(found["profile"]["distinct_ids"].as_array().is_some_and(|ids| ids.len() > 1), "{found}");

    let back = r#"{"op":"retract","ts":"2026-01-01T00:00:03Z","of":"01890a5d-ac96-774b-bcce-b302099a8001"}"#;
    let ann = ann.as_str().unwrap();
    place.write("c.jsonl", format!("{back}\n"));
    place.run("import a.ledger c.jsonl").with_code(0);
    let found =
        place.run(&format!("resolve a.ledger {ann} --json")).with_code(0).object("person_id retracted");
    assert_eq!((&found["person_id"], &found["retracted"]), (&bob.into(), &true.into()), "ann joined bob");
    let said = place.run(&format!("resolve a.ledger {ann}")).with_code(0).out;
    assert!(said.contains("whose founding was retracted"), "{said}");
    place.run("resolve a.ledger 01890a5d-ac96-774b-bcce-b302099a8001").with_code(1);
}

#[test]
fn an_unknown_id_is_a_no() {
    let place = Place::small();
    let said = place.run("resolve a.ledger Ann --json").with_code(1);
    assert_eq!(said.object("profile")["person_id"], Value::Null);
    place.run("resolve a.ledger -- --json").with_code(1);
    place.run("resolve a.ledger --jsno").with_code(2);
    let said = place.run("resolve a.ledger Ann").with_code(1);
    assert!(
        said.out.is_empty() && said.err.contains("note: `Ann` was never written in a.ledger"),
        "{said:?}"
    );
}

#[test]
fn each_reading_command_says_what_it_answered_from() {
    let place = Place::small();
    let verdict = place.run("verify a.ledger --json").with_code(0).object("records head");
    let (records, head) = (&verdict["records"], verdict["head"].as_str().unwrap());
    let checkpoint = format!("{records}:{head}");
    let objects = [
        "resolve a.ledger ann",
        "explain a.ledger ann visitor",
        "explain a.ledger ann --property email",
        "why-not a.ledger ann bob",
        "report a.ledger",
        "stats a.ledger",
        "what-if a.ledger --preset strict",
        "diff a.ledger --at 1",
        "retract a.ledger 3 --dry-run",
        "graph a.ledger ann -o ann.svg",
    ];
    let lists = [
        "persons a.ledger",
        "events a.ledger",
        "outcomes a.ledger",
        "history a.ledger ann",
        "find a.ledger --property email=ann@example.com",
        "erasures a.ledger",
        "policy a.ledger",
    ];
    let snapshot = serde_json::json!({ "snapshot": records, "checkpoint": checkpoint, "at": null });
    let log = serde_json::json!({ "snapshot": null, "checkpoint": checkpoint, "at": null });
    let expect = format!("--expect {checkpoint}");
    for (asked, from) in [("", &snapshot), ("--from-log", &log), (&expect, &log)] {
        let mut at_1 = from.clone();
        at_1["at"] = 1.into(); // the first of its two sides
        let whole = |of_two: bool| if of_two { serde_json::json!([at_1]) } else { from.clone() };
        for command in objects {
            let said = place.run(&format!("{command} {asked} --json"));
            let found = said.object("answered_from")["answered_from"].clone();
            assert_eq!(found, whole(command.starts_with("diff")), "{command} {asked}");
            assert_eq!(said.err, "", "{command} {asked}: it stands in the answer");
        }
        for command in lists {
            let said = place.run(&format!("{command} {asked} --json"));
            let told: Value = serde_json::from_str(&said.err).expect("one line of JSON");
            assert_eq!(told, serde_json::json!({ "answered_from": from }), "{command} {asked}");
            assert!(said.lines("").iter().all(|line| line.get("answered_from").is_none()), "{said:?}");
        }
        for command in objects.iter().chain(&lists) {
            let said = place.run(&format!("{command} {asked}"));
            let place =
                if asked.is_empty() { format!("snapshot of {records} records") } else { "log".to_owned() };
            let note = format!("note: answered from the {place}, at {checkpoint}");
            assert_eq!(said.err.lines().next(), Some(&note[..]), "{command} {asked}: {said:?}");
        }
    }
    // The one that folds the whole log anyway says so without being asked, in its answer alone.
    let replayed = place.run("replay a.ledger --json").with_code(0);
    assert_eq!((&replayed.object("")["answered_from"], &replayed.err[..]), (&log, ""));
    // A file of events is not a ledger.
    let folded = place.run("replay small.jsonl --json").with_code(0).object("answered_from");
    assert_eq!(folded["answered_from"], Value::Null);
    assert_eq!(place.run("persons small.jsonl --json --from-log").with_code(0).err, "");
}

#[test]
fn nothing_is_answered_about_a_ledger_that_does_not_pass_through_the_checkpoint() {
    let place = Place::small();
    let verdict = place.run("verify a.ledger --json").with_code(0).object("records head");
    let records = verdict["records"].as_u64().unwrap();
    let other = format!("{records}:{}", "07".repeat(32));
    let newer = format!("{}:{}", records + 1, verdict["head"].as_str().unwrap());
    for (checkpoint, why) in
        [(other, "is not the history that the expected checkpoint saw"), (newer, "was rolled back")]
    {
        for command in [
            "replay a.ledger",
            "persons a.ledger",
            "resolve a.ledger ann",
            "explain a.ledger ann visitor",
            "find a.ledger --property email=ann@example.com",
            "diff a.ledger --at 1",
            "retract a.ledger 3",
            "erase a.ledger --id ann --reason asked",
            "policy a.ledger",
        ] {
            let said = place.run(&format!("{command} --expect {checkpoint}")).with_code(1);
            assert!(said.out.is_empty() && said.err.contains(why), "{command}: {said:?}");
        }
    }
    let file = place.run(&format!("persons small.jsonl --expect 1:{}", "07".repeat(32))).with_code(2);
    assert!(file.err.contains("small.jsonl is a file of events and has no checkpoint"), "{file:?}");
    let twice = format!("--expect 1:{0} --expect 1:{0}", "07".repeat(32));
    let said = place.run(&format!("diff a.ledger --at 1 {twice}")).with_code(2);
    assert!(said.err.contains("--expect is given 2 times"), "{said:?}");
    assert_eq!(
        place.run("verify a.ledger --json").object("records")["records"],
        records,
        "nothing was recorded"
    );
}

/// Two names in the snapshot are exchanged, and its digest is made right: nothing but the log can tell.
#[test]
fn a_forged_snapshot_makes_explain_and_erase_stop_and_names_the_file() {
    let place = Place::new();
    place.write("shop.jsonl", SMALL.replace("visitor", "kim"));
    place.run("import a.ledger shop.jsonl").with_code(0);
    let checkpoint = {
        let verdict = place.run("verify a.ledger --json").with_code(0).object("records head");
        format!("{}:{}", verdict["records"], verdict["head"].as_str().unwrap())
    };
    let file = fs::read_dir(place.path("a.ledger/snap")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let texts = bytes.windows(10).position(|bytes| bytes == b"kimannnull").expect("the texts in their order");
    bytes[texts..texts + 10].copy_from_slice(b"annkimnull");
    fs::write(&file, forge::resealed(&bytes)).unwrap();

    let why = "its texts are not those of the log, and the ledger was opened from it";
    for command in [
        "explain a.ledger ann kim",
        "explain a.ledger --event 01890a5d-ac96-774b-bcce-b302099a8001",
        "explain a.ledger ann --property email",
        "why-not a.ledger ann bob",
        "history a.ledger ann",
        "retract a.ledger 3 --dry-run",
        "retract a.ledger 3",
        "erase a.ledger --id ann --reason asked",
        "erase a.ledger --person-of bob --reason asked",
    ] {
        let said = place.run(command).with_code(1);
        assert!(
            said.out.is_empty() && said.err.contains(why) && said.err.contains("snap/"),
            "{command}: {said:?}"
        );
    }
    let verdict = place.run("verify a.ledger --json").with_code(1).object("records head");
    assert_eq!(format!("{}:{}", verdict["records"], verdict["head"].as_str().unwrap()), checkpoint);
    for asked in ["--from-log", &format!("--expect {checkpoint}")] {
        let said = place.run(&format!("explain a.ledger ann kim {asked}")).with_code(0);
        assert!(said.out.contains("Checked against that record alone."), "{said:?}");
    }
    let said =
        place.run(&format!("erase a.ledger --id ann --reason asked --expect {checkpoint}")).with_code(0);
    assert!(said.out.contains("Erased: 1 id"), "{said:?}");
    place.run("resolve a.ledger kim").with_code(0);
    place.run("verify a.ledger").with_code(0);
}

#[test]
fn persons_and_events_come_in_pages_too() {
    let place = apart();
    let whole = place.run("persons a.ledger --json").lines("person_id distinct_ids");
    let mut found = Vec::new();
    let mut from = String::new();
    for _ in 0..whole.len() {
        let page = place.run(&format!("persons a.ledger --json --limit 1 {from}")).with_code(0).lines("");
        found.push(page[0].clone());
        from = page[1]["next"].as_str().map_or(String::new(), |next| format!("--from {next}"));
    }
    assert_eq!((found, from), (whole.clone(), String::new()));
    let first = place.run("outcomes a.ledger --json").lines("seq")[0]["seq"].as_u64().unwrap();
    let then = place.run(&format!("persons a.ledger --json --at {first}")).with_code(0);
    assert_eq!(then.object("distinct_ids")["distinct_ids"], serde_json::json!(["ann", "phone"]));
    let shown = place.run("persons a.ledger --limit 1").with_code(0);
    assert!(shown.err.contains("there is more: --from "), "{}", shown.err);

    let events = place.run("events a.ledger --of phone --json").with_code(0);
    assert_eq!(events.object("seq distinct_id")["distinct_id"], "laptop", "of the same person");
    assert_eq!(place.run("events a.ledger --of tablet --json").with_code(0).out, "");
    for (arguments, code) in [
        ("persons a.ledger --at 4711", 2),
        ("persons a.ledger --at 1 --from 2.0", 2),
        ("persons a.ledger --from 1", 2),
        ("persons a.ledger --from 4711.0", 2),
        ("persons a.ledger --limit 0", 2),
        ("persons a.ledger --from x", 2),
        ("events a.ledger --of unknown", 1),
    ] {
        place.run(arguments).with_code(code);
    }
}

#[test]
fn people_get_tables_of_plain_text() {
    let place = Place::small();
    for command in ["persons", "events", "outcomes", "replay", "verify", "policy"] {
        let shown = place.run(&format!("{command} a.ledger")).with_code(0).out;
        assert!(shown.lines().count() > 1, "{shown}");
        assert!(!shown.contains('\x1b'), "no colour where there is no terminal: {shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    }
}

#[test]
fn ids_give_no_orders_to_terminals() {
    let place = Place::new();
    place.write(
        "a.jsonl",
        r#"{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"a\u001b[2Jb","set":{"k\u0007":"\u202e"}}"#,
    );
    for command in ["persons", "outcomes", "events", "persons --wide"] {
        let (command, options) = command.split_once(' ').unwrap_or((command, ""));
        let said = place.run(&format!("{command} a.jsonl {options}")).with_code(0);
        assert!(!said.out.contains(['\x1b', '\x07', '\u{202e}']), "{said:?}");
    }
}

// -- asking why --------------------------------------------------------------------------------------------------------

/// Ann on two browsers, Bob on one; and what was refused between them.
const APART: &str = r#"{"op":"identify","ts":"2026-01-01T00:00:01Z","distinct_id":"ann","anon_distinct_id":"phone"}
{"op":"identify","ts":"2026-01-01T00:00:02Z","distinct_id":"ann","anon_distinct_id":"laptop"}
{"op":"identify","ts":"2026-01-01T00:00:03Z","distinct_id":"bob","anon_distinct_id":"tablet"}
{"op":"alias","ts":"2026-01-01T00:00:04Z","distinct_id":"ann","alias":"bob"}
{"op":"capture","ts":"2026-01-01T00:00:05Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8001","event":"order","distinct_id":"laptop"}
{"op":"set","ts":"2026-01-01T00:00:06Z","distinct_id":"cat","set":{"a":1}}
"#;

fn apart() -> Place {
    let place = Place::new();
    place.write("apart.jsonl", APART);
    place.run("import a.ledger apart.jsonl").with_code(0);
    place
}

#[test]
fn explain_leads_from_id_to_id_and_from_an_event_to_its_person() {
    let place = apart();
    let why = place.run("explain a.ledger phone laptop --json").with_code(0);
    let why = why.object("same steps person_id event from to");
    let seqs: Vec<u64> = place
        .run("outcomes a.ledger --json")
        .lines("seq")
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    let steps = why["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["seq"].as_u64().unwrap()).collect::<Vec<_>>(), seqs[..2]);
    assert_eq!(
        (&steps[0]["op"], &steps[0]["ids"]),
        (&"identify".into(), &serde_json::json!(["phone", "ann"]))
    );
    let shown = place.run("explain a.ledger phone laptop").with_code(0).out;
    assert!(
        shown.contains(&format!("│  record {}, identify", seqs[0])) && shown.contains("2 records alone"),
        "{shown}"
    );

    for event in ["01890a5d-ac96-774b-bcce-b302099a8001".to_owned(), seqs[4].to_string()] {
        let why = place.run(&format!("explain a.ledger --event {event} --json")).with_code(0);
        let why = why.object("same steps event from to");
        assert_eq!((&why["event"], &why["from"]), (&seqs[4].into(), &"laptop".into()));
    }
    let no = place.run("explain a.ledger ann bob --json").with_code(1).object("same steps");
    assert_eq!((&no["same"], &no["steps"]), (&false.into(), &serde_json::json!([])));
    for (arguments, code) in [
        ("ann Ann", 1),
        ("--event 0", 1),
        ("--event 4711", 1),
        ("ann", 2),
        ("", 2),
        ("a b --event 1", 2),
        ("--event x", 2),
    ] {
        place.run(&format!("explain a.ledger {arguments}")).with_code(code);
    }
}

#[test]
fn explain_says_who_won_a_property_and_who_was_beaten() {
    let place = Place::new();
    place.write(
        "a.jsonl",
        r#"{"op":"set","ts":"2026-01-01T00:00:01Z","distinct_id":"ann","set":{"plan":"free"}}
{"op":"set","ts":"2026-01-01T00:00:02Z","distinct_id":"ann","set":{"plan":"team"}}
"#,
    );
    place.run("import a.ledger a.jsonl").with_code(0);
    let why = place.run("explain a.ledger ann --property plan --json").with_code(0);
    let why = why.object("person_id key now writes");
    let writes = why["writes"].as_array().unwrap();
    assert_eq!((&why["now"], writes.len()), (&"team".into(), 2));
    assert_eq!(writes[0]["beaten"], serde_json::json!({"rule": "E1", "by": writes[1]["seq"]}));
    assert_eq!(writes[1]["beaten"], Value::Null);
    let shown = place.run("explain a.ledger ann --property plan").with_code(0).out;
    assert!(shown.contains("stands") && shown.contains("E1, record"), "{shown}");
    let nothing = place.run("explain a.ledger ann --property city --json").with_code(1);
    assert_eq!(nothing.object("person_id key now writes")["writes"], serde_json::json!([]));
    for (arguments, code) in
        [("Ann --property plan", 1), ("ann ann --property plan", 2), ("--property plan", 2)]
    {
        place.run(&format!("explain a.ledger {arguments}")).with_code(code);
    }
}

#[test]
fn why_not_names_rule_and_record() {
    let place = apart();
    let seqs = place.run("outcomes a.ledger --json").lines("seq blocking_seq");
    let why_not = place.run("why-not a.ledger phone tablet --json").with_code(0);
    let why_not = why_not.object("same refusals way person_a person_b");
    let refusals = why_not["refusals"].as_array().unwrap();
    assert_eq!((refusals.len(), &refusals[0]["rule"]), (1, &"D6".into()));
    assert_eq!(
        (&refusals[0]["seq"], &refusals[0]["blocking_seq"]),
        (&seqs[3]["seq"], &seqs[3]["blocking_seq"])
    );
    assert_eq!(refusals[0]["remedy"]["remedy"], "merge_dangerously");
    assert_eq!(why_not["way"].as_array().unwrap().len(), 3);
    let shown = place.run("why-not a.ledger phone tablet").with_code(0).out;
    assert!(shown.contains("╳  try: `merge_dangerously` of "), "{shown}");
    assert!(shown.contains("╳  D6: person ") && shown.contains("1 barrier between them"), "{shown}");
    assert!(place.run("why-not a.ledger ann cat").with_code(0).out.contains("No chain of records leads"));
    let same = place.run("why-not a.ledger phone laptop --json").with_code(1).object("same refusals");
    assert_eq!(same["same"], true);
    place.run("why-not a.ledger ann Ann").with_code(1);
    place.run("why-not a.ledger ann").with_code(2);
}

#[test]
fn history_is_shown_whole_or_page_by_page() {
    let place = apart();
    let whole = place.run("history a.ledger ann --json").with_code(0).lines("seq op outcome");
    let ops: Vec<&str> = whole.iter().map(|entry| entry["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["define_id", "identify", "identify", "alias"]);
    assert_eq!((&whole[0]["outcome"], &whole[3]["outcome"]["rule"]), (&Value::Null, &"D6".into()));
    let person = place.run("history a.ledger ann --person --json").with_code(0).lines("seq op outcome");
    assert!(person.len() > whole.len());

    let (mut joined, mut from) = (Vec::new(), String::new());
    loop {
        let mut page =
            place.run(&format!("history a.ledger ann --limit 3 --json{from}")).with_code(0).lines("");
        let next = page.pop().unwrap()["next"].clone();
        joined.extend(page);
        // What is recorded meanwhile is in no page.
        place.write("more.jsonl", APART.replace("T00:00:", &format!("T00:{:02}:", joined.len())));
        place.run("import a.ledger more.jsonl").with_code(0);
        let Some(next) = next.as_str() else { break };
        from = format!(" --from {next}");
    }
    assert_eq!(joined, whole);
    let said = place.run("history a.ledger ann --limit 1").with_code(0);
    assert!(said.err.contains("there is more: --from "), "{said:?}");
    for (arguments, code) in [("Ann", 1), ("ann --limit 0", 2), ("ann --from x", 2), ("ann --from 4711.0", 2)]
    {
        place.run(&format!("history a.ledger {arguments}")).with_code(code);
    }
}

#[test]
fn a_person_is_drawn_as_a_page_or_as_svg() {
    let place = apart();
    let drawn = place.run("graph a.ledger ann -o ann.html --json").with_code(0);
    let drawn = drawn.object("output person_id nodes edges hidden_nodes hidden_records");
    assert_eq!(
        (&drawn["nodes"], &drawn["edges"]),
        (&4.into(), &3.into()),
        "Bob is drawn too: his link was refused"
    );
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert!(read("ann.html").starts_with("<!doctype html>"));
    place.run("graph a.ledger ann -o ann.svg").with_code(0);
    assert!(read("ann.svg").starts_with("<svg "));
    place.run("graph a.ledger ann --svg -o ann.txt").with_code(0);
    assert_eq!(place.run("graph a.ledger ann --svg -o -").with_code(0).out, read("ann.svg"));
    assert_eq!(read("ann.txt"), read("ann.svg"));
    let said = place.run("graph a.ledger Ann -o no.html").with_code(1);
    assert!(said.err.contains("never written") && !place.path("no.html").exists(), "{said:?}");
    place.run("graph a.ledger ann -o missing/ann.html").with_code(2);
    place.run("graph a.ledger ann").with_code(2);
}

// -- second thoughts ---------------------------------------------------------------------------------------------------

/// One browser, two people who signed in on it, and a link that was refused for that.
const GLUED: &str = r#"{"op":"identify","ts":"2026-01-01T00:00:00Z","distinct_id":"ann","anon_distinct_id":"browser","set":{"email":"ann@example.com"}}
{"op":"identify","ts":"2026-01-01T00:00:01Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8001","distinct_id":"bob","anon_distinct_id":"browser","set":{"email":"bob@example.com"}}
{"op":"capture","ts":"2026-01-01T00:00:02Z","event":"order","distinct_id":"bob"}
{"op":"identify","ts":"2026-01-01T00:00:03Z","distinct_id":"zoe","anon_distinct_id":"kiosk"}
{"op":"alias","ts":"2026-01-01T00:00:04Z","distinct_id":"zoe","alias":"bob"}
"#;

const THOUGHT: &str = "seq recorded refusal rule blocking_seq reason diff";

fn glued() -> Place {
    let place = Place::new();
    place.write("glued.jsonl", GLUED);
    place.run("import a.ledger glued.jsonl").with_code(0);
    place
}

#[test]
fn what_a_retract_would_do_is_what_it_does() {
    let place = glued();
    let before = files(&place.path("a.ledger"));
    let by_id = "--operation 01890a5d-ac96-774b-bcce-b302099a8001";
    let asked = place.run(&format!("retract a.ledger {by_id} --dry-run --json")).with_code(0).object(THOUGHT);
    let shown = place.run(&format!("retract a.ledger {by_id} --dry-run")).with_code(0).out;
    assert_eq!(files(&place.path("a.ledger")), before, "asking writes nothing");
    for line in [
        "Merged: one person of several (1)",
        "Refusals: 1 fewer",
        "Nothing was recorded; without --dry-run it is.",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    assert_eq!((&asked["recorded"], &asked["refusal"]), (&false.into(), &Value::Null));

    let last = asked["seq"].as_u64().unwrap() - 1;
    let seq = place.run("history a.ledger bob --json").lines("seq op");
    let seq = seq.iter().find(|entry| entry["op"] == "identify").unwrap()["seq"].clone();
    let done = place.run(&format!("retract a.ledger {seq} --at 2026-01-02T00:00:00Z --json"));
    let done = done.with_code(0).object(THOUGHT);
    assert_eq!(
        (&done["recorded"], &done["seq"], &done["diff"]),
        (&true.into(), &asked["seq"], &asked["diff"])
    );
    let mut found =
        place.run(&format!("diff a.ledger --at {last} --json")).with_code(1).object("merged counts");
    found["counts"] = done["diff"]["counts"].clone(); // of the component, where `diff` has those of the ledger
    found.as_object_mut().unwrap().remove("answered_from");
    assert_eq!(found, done["diff"]);
    let [entry] = &place.run("outcomes a.ledger --json").lines("op")[5..] else { panic!("one more") };
    assert_eq!((&entry["op"], &entry["seq"]), (&"retract".into(), &done["seq"]));

    let again = place.run(&format!("retract a.ledger {seq} --dry-run --json")).with_code(1).object(THOUGHT);
    assert_eq!((&again["refusal"], &again["rule"]), (&"already_retracted".into(), &"H1".into()));
    assert_eq!(again["blocking_seq"], done["seq"]);
    let shown = place.run(&format!("retract a.ledger {seq} --dry-run")).with_code(1).out;
    assert!(
        shown.starts_with("It would be refused by H1: it counts as never asked already (record "),
        "{shown}"
    );
    // A retract of the retract: as before.
    place.run(&format!("retract a.ledger {}", done["seq"])).with_code(0);
    place.run(&format!("diff a.ledger --at {last}")).with_code(0);
    let refused = place.run(&format!("retract a.ledger {} --json", done["seq"])).with_code(1).object(THOUGHT);
    assert_eq!((&refused["recorded"], &refused["rule"]), (&true.into(), &"H1".into()));
    place.run("verify a.ledger").with_code(0);
}

#[test]
fn ids_leave_their_person_each_or_together() {
    let place = glued();
    let each =
        place.run("split a.ledger ann --ids bob,browser --dry-run --json").with_code(0).object(THOUGHT);
    let parts = |said: &Value| said["diff"]["split"][0]["into"].as_array().map_or(0, Vec::len);
    assert_eq!((parts(&each), &each["diff"]["counts"]["after"]["persons"]), (3, &4.into()));
    let shown = place.run("split a.ledger browser --ids bob --id browser --together").with_code(0).out;
    assert!(shown.starts_with("2 ids left the person, by record "), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("  └─") && line.ends_with("browser, bob")), "{shown}");
    assert!(!shown.contains("dry-run"), "{shown}");
    let persons = place.run("persons a.ledger --json").lines("distinct_ids");
    assert_eq!(persons[0]["distinct_ids"], Value::from(vec!["ann"]));

    let refused = place.run("split a.ledger ann --ids bob --json").with_code(1).object(THOUGHT);
    assert_eq!((&refused["refusal"], &refused["rule"]), (&"id_of_another_person".into(), &"H2".into()));
    assert_eq!(refused["diff"]["refusals"][0]["after"]["seq"], refused["seq"]);
    assert!(place.run("split a.ledger ann --ids ann").with_code(1).out.starts_with("Refused by H2: all ids"));
}

#[test]
fn a_second_thought_about_nothing_is_an_error_that_says_what_to_do() {
    let place = glued();
    let before = fs::read(place.segment("a.ledger")).unwrap();
    for (trouble, why) in [
        ("retract a.ledger 1000", "there is no record 1000"),
        ("retract a.ledger 0", "record 0 is a genesis record"),
        (
            "retract a.ledger --operation 01890a5d-ac96-774b-bcce-b302099a8999",
            "no operation is recorded under",
        ),
        ("retract a.ledger --operation ann", "a UUID"),
        ("retract a.ledger", "<SEQ>"),
        ("retract a.ledger 3 --operation 01890a5d-ac96-774b-bcce-b302099a8001", "cannot be used with"),
        ("retract a.ledger 3 --at yesterday", "yesterday"),
        ("split a.ledger ann", "--ids"),
        ("split a.ledger ann --ids bob --each --together", "cannot be used with"),
        ("split nowhere ann --ids bob", "nowhere does not exist"),
    ] {
        for dry in ["", " --dry-run"] {
            let said = place.run(&format!("{trouble}{dry}")).with_code(2);
            assert!(said.out.is_empty() && said.err.contains(why), "{trouble}: {said:?}");
        }
    }
    // An id that was never written is a no, as everywhere.
    for command in [
        "split a.ledger ann --ids dora",
        "split a.ledger ann --ids dora --dry-run",
        "erase a.ledger --id dora --reason r",
        "resolve a.ledger dora",
        "explain a.ledger ann dora",
        "explain a.ledger dora --property email",
        "why-not a.ledger ann dora",
        "history a.ledger dora",
        "events a.ledger --of dora",
        "graph a.ledger dora -o -",
    ] {
        let said = place.run(&format!("{command} --json")).with_code(1);
        assert_eq!(said.object("unknown_ids")["unknown_ids"], serde_json::json!(["dora"]), "{command}");
        let said = place.run(command).with_code(1);
        assert!(said.out.is_empty() && said.err.contains("dora"), "{command}: {said:?}");
    }
    assert_eq!(fs::read(place.segment("a.ledger")).unwrap(), before, "nothing was recorded");
}

// -- verifying ---------------------------------------------------------------------------------------------------------

const VERDICT: &str = "ok records head digest first_fault";

#[test]
fn verify_passes_what_was_not_touched() {
    let place = Place::small();
    let verdict = place.run("verify a.ledger --json").with_code(0).object(VERDICT);
    let replay = place.run("replay a.ledger --json").object("head digest records");
    assert_eq!((&verdict["ok"], &verdict["first_fault"]), (&true.into(), &Value::Null));
    for key in ["records", "head", "digest"] {
        assert_eq!(verdict[key], replay[key], "{key}");
    }
    let checkpoint = format!("{}:{}", verdict["records"], verdict["head"].as_str().unwrap());
    place.run(&format!("verify a.ledger --expect {checkpoint}")).with_code(0);
    assert!(place.run("verify a.ledger").out.contains(&checkpoint));

    place.write("more.jsonl", SMALL.replace("a80", "a90"));
    place.run("import a.ledger more.jsonl").with_code(0);
    place.run(&format!("verify a.ledger --expect {checkpoint}")).with_code(0);
    let forged = format!("{}:{}", verdict["records"], "0".repeat(64));
    let missed = place.run(&format!("verify a.ledger --expect {forged}")).with_code(1).out;
    assert!(
        missed.contains(&format!("a.ledger does not pass through {forged}; its own files are whole")),
        "{missed}"
    );
    assert!(missed.contains("try: compare the digits") && !missed.contains("DAMAGED"), "{missed}");
    let now = place.run("replay a.ledger --json").object("head records");
    assert!(missed.contains(now["head"].as_str().unwrap()), "where the ledger is: {missed}");
    assert!(!missed.contains("first fault"), "{missed}");
    for wrong in ["tomorrow".to_owned(), format!("0:{}", "f".repeat(64))] {
        place.run(&format!("verify a.ledger --expect {wrong}")).with_code(2);
    }
}

#[test]
fn verify_remarks_what_is_no_fault() {
    let place = Place::small();
    let remarks = || place.run("verify a.ledger --json").with_code(0).object(VERDICT)["remarks"].clone();
    assert_eq!(remarks(), serde_json::json!([]));
    let head = place.path("a.ledger/HEAD");
    let whole = fs::read(&head).unwrap();
    let mut rotten = whole.clone();
    rotten[30] ^= 1;
    fs::write(&head, &rotten).unwrap();
    assert_eq!(remarks(), serde_json::json!(["head_slot"]));
    assert!(place.run("verify a.ledger").out.contains("Note: a part of HEAD is damaged"));
    place.write("more.jsonl", SMALL.replace("a80", "a90"));
    place.run("import a.ledger more.jsonl").with_code(0);
    assert_eq!(remarks(), serde_json::json!([]), "the next writer renews it");
    // As if the writer had been killed before it could say that its records are durable.
    fs::write(&head, &whole).unwrap();
    assert!(remarks()[0]["behind_head"].as_u64().unwrap() > 0, "{}", remarks());
}

#[test]
fn a_flipped_byte_is_found_and_its_frame_named() {
    let place = Place::small();
    let segment = place.segment("a.ledger");
    let bytes = fs::read(&segment).unwrap();
    for at in (96..bytes.len()).step_by(bytes.len() / 16) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&segment, flipped).unwrap();
        let verdict = place.run("verify a.ledger --json").with_code(1).object(VERDICT);
        assert_eq!(verdict["ok"], false);
        let fault = &verdict["first_fault"];
        assert_eq!(fault["file"], "log/00000000000000000000.seg", "byte {at}: {fault}");
        assert!(fault["offset"].as_u64().is_some_and(|offset| offset as usize <= at), "byte {at}: {fault}");
        assert!(fault["seq"].is_u64() && fault["what"].is_string(), "byte {at}: {fault}");
        let shown = place.run("verify a.ledger").with_code(1).out;
        assert!(shown.contains("DAMAGED") && shown.contains("try: restore a backup"), "{shown}");
        assert!(shown.contains("log/00000000000000000000.seg at byte "), "{shown}");
        let said = place.run("persons a.ledger --json").with_code(1);
        assert!(said.err.starts_with("error: a.ledger") && said.out.is_empty(), "{said:?}");
    }
}

#[test]
fn an_import_ends_with_a_snapshot_and_verify_checks_it() {
    let place = Place::small();
    let snapshots = || files(&place.path("a.ledger").join("snap"));
    let [(file, bytes)] = &snapshots()[..] else { panic!("{:?}", snapshots()) };
    let verdict = place.run("verify a.ledger --json").with_code(0).object("snapshots records");
    assert_eq!(verdict["snapshots"], Value::from(vec![verdict["records"].clone()]));
    let again = place.run("import a.ledger small.jsonl --json").with_code(0).object("snapshot appended");
    assert_eq!((&again["snapshot"], &again["appended"]), (&verdict["records"], &0.into()));
    assert_eq!(snapshots(), [(file.clone(), bytes.clone())], "nothing was recorded, nothing to be made");
    let said = place.run("import b.ledger small.jsonl").with_code(0).out;
    assert!(said.contains("a snapshot of "), "{said}");

    let persons = place.run("persons a.ledger --json").with_code(0).out;
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(file, flipped).unwrap();
    let said = place.run("persons a.ledger --json").with_code(0);
    assert_eq!(said.out, persons, "the log says the same");
    assert!(said.err.contains("snapshot snap/") && said.err.contains("it is damaged"), "{said:?}");
    let verdict = place.run("verify a.ledger --json").with_code(1).object(VERDICT);
    let fault = &verdict["first_fault"];
    assert!(fault["file"].as_str().is_some_and(|file| file.starts_with("snap/")), "{fault}");
    assert!(fault["what"].as_str().is_some_and(|what| what.contains("its digest does not match")), "{fault}");
}

#[test]
fn a_damaged_name_plate_is_damage_too() {
    let place = Place::small();
    let plate = place.path("a.ledger").join("LEDGER");
    let mut bytes = fs::read(&plate).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&plate, bytes).unwrap();
    let verdict = place.run("verify a.ledger --json").with_code(1).object(VERDICT);
    assert_eq!(verdict["first_fault"]["file"], "LEDGER");
}

// -- generating --------------------------------------------------------------------------------------------------------

#[test]
fn generated_workloads_are_imported_whole() {
    let place = Place::new();
    for (shape, persons) in [("web", 50), ("shared-devices", 0), ("hairball", 1)] {
        let made = place.run(&format!("generate --people 50 --seed 7 --shape {shape}")).with_code(0);
        assert_eq!(made.out, place.run(&format!("generate --people 50 --seed 7 --shape {shape} --json")).out);
        let lines = made.out.lines().count() as u64;
        let ids: BTreeSet<String> = made
            .lines("op ts event_id")
            .iter()
            .map(|line| line["event_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len() as u64, lines, "every line has an id of its own");
        let said = place.run_with(&format!("import {shape}.ledger - --strict --json"), made.out.as_bytes());
        assert_eq!(tally(&said.with_code(0)), [lines, lines, lines, 0, 0, 0]);
        let found = place.run(&format!("replay {shape}.ledger --json")).object("persons")["persons"].as_u64();
        assert!(persons == 0 || found == Some(persons), "{shape}: {found:?}");
    }
    place.run("generate --people 5 --shape round").with_code(2);
}

// -- manners -----------------------------------------------------------------------------------------------------------

#[test]
fn wrong_places_are_named_with_what_to_do() {
    let place = Place::small();
    fs::create_dir(place.path("empty")).unwrap();
    for command in ["replay", "persons", "events", "outcomes", "verify", "policy"] {
        let said = place.run(&format!("{command} empty --json")).with_code(2);
        assert!(said.err.contains("empty is not a ledger") && said.out.is_empty(), "{said:?}");
        let said = place.run(&format!("{command} missing")).with_code(2);
        assert!(
            said.err.contains("missing does not exist") && said.err.contains("`init missing` creates one"),
            "{said:?}"
        );
    }
    for command in [
        "verify small.jsonl",
        "policy small.jsonl",
        "resolve small.jsonl ann",
        "import small.jsonl small.jsonl",
    ] {
        let said = place.run(command).with_code(2);
        assert!(said.err.contains("small.jsonl is a file; expected the directory of a ledger"), "{said:?}");
    }
}

#[test]
fn every_command_teaches() {
    let place = Place::new();
    let help = place.run("--help").with_code(0).out;
    assert!(help.contains("Two minutes:"), "{help}");
    let commands = "init policy import replay persons events outcomes resolve retract split what-if diff verify generate";
    for command in commands.split_whitespace() {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let long = place.run(&format!("{command} --help")).with_code(0).out;
        assert!(long.contains(&format!("  identity-ledger {command} ")), "an example: {long}");
        assert!(long.contains("--json"), "{long}");
    }
    place.run("").with_code(2);
    place.run("frobnicate").with_code(2);
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_enough_ends_a_command_quietly() {
    let place = Place::new();
    let mut child = place
        .command("generate --people 100000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// What a command says on standard error, and its exit status, when its standard output is not read.
fn unread(place: &Place, arguments: &str) -> (i32, String) {
    let piped =
        place.command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = piped.unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    (output.status.code().expect("it ends by itself"), String::from_utf8(output.stderr).unwrap())
}

#[cfg(unix)]
/// A list on standard input may have no end.
#[test]
fn a_list_is_not_read_on_when_the_reader_of_its_answers_goes_away() {
    const LINES: usize = 1_000_000;
    let place = Place::small();
    for arguments in ["resolve a.ledger - --json", "resolve a.ledger -", "explain a.ledger ann - --json"] {
        let mut command = place.command(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        let written = (0..LINES).take_while(|_| stdin.write_all(b"visitor\n").is_ok()).count();
        drop(stdin);
        assert!(child.wait().unwrap().code().is_some());
        assert!(written < LINES, "{arguments}: all of {LINES} lines were read");
    }
}

#[test]
fn an_answer_of_no_stays_no_when_its_reader_goes_away() {
    let place = Place::small();
    place.write("half.jsonl", SMALL.lines().next().unwrap());
    place.run("import b.ledger half.jsonl").with_code(0);
    copy_directory(&place.path("a.ledger"), &place.path("damaged.ledger"));
    let segment = place.segment("damaged.ledger");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let no = [
        "verify damaged.ledger",
        "salvage damaged.ledger taken-out",
        "diff a.ledger b.ledger",
        "find a.ledger --property email=nobody@example.com",
        "resolve a.ledger unknown",
        "explain a.ledger ann bob",
        "explain a.ledger ann --property phone",
        "why-not a.ledger ann visitor",
        "history a.ledger unknown",
        "events a.ledger --of unknown",
        "graph a.ledger unknown -o g.svg",
        "split a.ledger ann --ids bob --dry-run",
    ];
    for (at, command) in no.into_iter().enumerate() {
        for json in ["", " --json"] {
            // A salvage wants a new place each time.
            let told = |how: &str| {
                command.replace("taken-out", &format!("taken-out-{at}{how}{}", json.len())) + json
            };
            let read = place.run(&told("read")).with_code(1);
            assert_eq!(unread(&place, &told("unread")), (1, read.err), "{command}{json}");
        }
    }
    for yes in [
        "verify a.ledger",
        "persons a.ledger",
        "outcomes a.ledger",
        "events a.ledger --of ann",
        "resolve a.ledger ann",
    ] {
        let read = place.run(yes).with_code(0);
        assert_eq!(unread(&place, yes), (0, read.err), "{yes}");
    }
}

#[test]
fn a_read_only_copy_is_enough_for_every_question() {
    let place = Place::small();
    let copy = place.path("copy.ledger");
    copy_directory(&place.path("a.ledger"), &copy);
    fs::remove_file(copy.join("LOCK")).unwrap();
    let before = files(&copy);
    for command in [
        "replay copy.ledger",
        "persons copy.ledger",
        "resolve copy.ledger ann",
        "verify copy.ledger",
        "what-if copy.ledger --preset strict",
        "split copy.ledger ann --ids visitor --dry-run",
    ] {
        place.run(command).with_code(0);
    }
    assert_eq!(files(&copy), before, "a reader writes nothing");
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn a_backup_is_a_ledger_that_is_updated_and_proven() {
    let place = Place::small();
    let keys = "checkpoint records kept_bytes copied_bytes unopened_items";
    let first = place.run("backup a.ledger copy --json").with_code(0).object(keys);
    assert_eq!(first["kept_bytes"], 0);
    let checkpoint = first["checkpoint"].as_str().unwrap();
    place.run(&format!("verify copy --expect {checkpoint}")).with_code(0);
    let (ours, theirs) = (place.run("persons copy --json"), place.run("persons a.ledger --json"));
    assert_eq!(ours.out, theirs.out);

    let again = place.run("backup a.ledger copy").with_code(0);
    assert!(again.out.contains("copy is a whole copy of a.ledger") && again.out.contains(checkpoint));

    place.run("init b.ledger").with_code(0);
    let refused = place.run("backup b.ledger copy").with_code(2);
    assert!(refused.err.contains("is a copy of ledger") && refused.err.contains("choose another directory"));
    assert!(place.run("backup none copy").with_code(2).err.contains("does not exist"));

    let mut bytes = fs::read(place.segment("a.ledger")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.segment("a.ledger"), bytes).unwrap();
    assert!(place.run("backup a.ledger fresh").with_code(1).err.contains("is damaged"));
}

#[test]
fn a_salvage_takes_out_what_is_proven_and_names_the_rest() {
    let place = Place::small();
    let keys = "records intact lost items_lost unacknowledged first_fault witnesses prefix checkpoint beyond";
    let healthy = place.run("salvage a.ledger healthy --json").with_code(0).object(keys);
    assert_eq!(healthy["lost"], serde_json::json!([]));
    place
        .run(&format!("verify healthy/ledger --expect {}", healthy["checkpoint"].as_str().unwrap()))
        .with_code(0);
    assert_eq!(fs::read_to_string(place.path("healthy/beyond.jsonl")).unwrap(), "");

    // A second import is a second frame; the damage hits the body of the first, behind that of the genesis record.
    let more =
        SMALL.replace("8001", "9001").replace("8002", "9002").replace("8003", "9003").replace("8004", "9004");
    place.write("more.jsonl", more);
    place.run("import a.ledger more.jsonl").with_code(0);
    let known = place.run("verify a.ledger --json").with_code(0).object("records")["records"].clone();
    let mut bytes = fs::read(place.segment("a.ledger")).unwrap();
    let marker = [0xf5, b'i', b'l', 0x1a];
    let second = (100..bytes.len()).find(|at| bytes[*at..].starts_with(&marker)).unwrap();
    bytes[second + 60] ^= 1;
    fs::write(place.segment("a.ledger"), bytes).unwrap();
    assert!(place.run("persons a.ledger").with_code(1).err.contains("with `salvage`"));

    let found = place.run("salvage a.ledger rescued --json").with_code(1).object(keys);
    assert_eq!((&found["records"], &found["prefix"]["records"]), (&known, &serde_json::json!(1)));
    assert_eq!(
        (&found["lost"][0]["from"], found["lost"].as_array().unwrap().len()),
        (&serde_json::json!(1), 1)
    );
    place.run("verify rescued/ledger").with_code(0);
    let report: Value =
        serde_json::from_slice(&fs::read(place.path("rescued/report.json")).unwrap()).unwrap();
    assert_eq!(report, found);
    let beyond = fs::read_to_string(place.path("rescued/beyond.jsonl")).unwrap();
    assert_eq!(beyond.lines().count() as u64, found["beyond"].as_u64().unwrap());
    assert!(beyond.contains("\"op\":\"identify\"") && beyond.contains("ann@example.com"), "{beyond}");

    let said = place.run("salvage a.ledger again").with_code(1);
    for text in ["are LOST", "The first fault", "WHERE AND WHY", "beyond.jsonl", "rolled back on purpose"] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
}

#[test]
fn a_salvage_writes_nowhere_but_to_an_empty_place_outside() {
    let place = Place::small();
    assert!(
        place.run("help salvage").with_code(0).out.contains("identity-ledger salvage shop.ledger rescued")
    );
    let refused = |arguments: &str| place.run(arguments).with_code(2).err;
    assert!(refused("salvage a.ledger a.ledger").contains("choose an empty or new directory"));
    assert!(refused("salvage a.ledger small.jsonl").contains("a file"));
    assert!(refused("salvage a.ledger a.ledger/inside").contains("lies in the ledger"));
    assert!(refused("salvage none rescued").contains("does not exist"));
    fs::remove_file(place.path("a.ledger/LEDGER")).unwrap();
    assert!(refused("salvage a.ledger rescued").contains("restore this one file from a copy"));
    assert!(!place.path("rescued").exists());
}

#[test]
fn an_output_is_never_written_into_a_ledger_or_over_a_key_ring() {
    let place = Place::small();
    place.run("import sealed.ledger small.jsonl --key-ring a.ring").with_code(0);
    fs::write(place.path("rotten.ring"), "no ring").unwrap();
    std::os::unix::fs::symlink(place.path("a.ledger/HEAD"), place.path("head.svg")).unwrap();
    std::os::unix::fs::symlink(place.path("a.ledger/new.svg"), place.path("new.svg")).unwrap();
    std::os::unix::fs::symlink(place.path("a.ledger/log"), place.path("pictures")).unwrap();
    fs::hard_link(place.path("a.ledger/LEDGER"), place.path("plate.svg")).unwrap();
    let watched = ["a.ledger", "sealed.ledger"].map(|ledger| place.path(ledger));
    let rings = ["a.ring", "rotten.ring"].map(|ring| place.path(ring));
    let look =
        || (watched.each_ref().map(|dir| files(dir)), rings.each_ref().map(|ring| fs::read(ring).unwrap()));
    let before = look();
    for (output, said) in [
        ("a.ledger/LEDGER", "lies in the ledger"),
        ("a.ledger/log/00000000000000000000.seg", "lies in the ledger"),
        ("a.ledger/log/picture.svg", "lies in the ledger"),
        ("sealed.ledger/HEAD", "lies in the ledger"),
        ("head.svg", "lies in the ledger"),
        ("new.svg", "lies in the ledger"),
        ("pictures/ann.svg", "lies in the ledger"),
        ("plate.svg", "is the LEDGER file of a ledger"),
        ("a.ring", "is a key ring"),
        ("rotten.ring --key-ring rotten.ring", "is the key ring"),
    ] {
        let error = place.run(&format!("graph a.ledger ann -o {output}")).with_code(2).err;
        assert!(error.contains(said), "{output}: {error}");
    }
    for command in [
        "man a.ledger",
        "man a.ledger/snap/pages",
        "salvage a.ledger sealed.ledger/rescued",
        "salvage a.ledger pictures/rescued",
    ] {
        assert!(place.run(command).with_code(2).err.contains("lies in the ledger"), "{command}");
    }
    for command in
        ["backup a.ledger sealed.ledger/copy", "init a.ledger/log/b", "import pictures/b.ledger small.jsonl"]
    {
        assert!(place.run(command).with_code(2).err.contains("the ledger"), "{command}");
    }
    assert_eq!(look(), before);
    place.run("graph a.ledger ann -o ann.svg").with_code(0);
    place.run("graph a.ledger ann -o ann.svg").with_code(0);
    let said = place.run("graph a.ledger ann -o ann.png").with_code(2).err;
    assert!(said.contains("ann.png: expected a name that ends in .html or .svg"), "{said}");
    assert!(!place.path("ann.png").exists());
}

#[test]
fn a_request_to_be_forgotten_goes_from_find_to_a_receipt() {
    let place = Place::small();
    let checkpoint = || {
        let verified = place.run("verify a.ledger --json").with_code(0).object("records head");
        format!("{}:{}", verified["records"], verified["head"].as_str().unwrap())
    };
    let before = checkpoint();
    let keys = "person_id distinct_ids properties is_identified created_at events identified_events";
    let found = place.run("find a.ledger --property email=ann@example.com --json").with_code(0).object(keys);
    assert_eq!(found["distinct_ids"], serde_json::json!(["visitor", "ann"]));
    let shown = place.run("find a.ledger --property email=ann@example.com").with_code(0).out;
    assert!(shown.contains("PERSON") && shown.contains("visitor"), "{shown}");
    let none = place.run("find a.ledger --property email=Ann@example.com").with_code(1).out;
    assert!(none.contains("No person's `email` is `Ann@example.com` now"), "{none}");
    assert!(place.run("find a.ledger --property email").with_code(2).err.contains("expected KEY=VALUE"));
    let line = r#"{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"odd","set":{"l":[1,{"b":2,"a":1}],"f":1.0}}"#;
    place.write("odd.jsonl", line);
    place.run("import b.ledger odd.jsonl").with_code(0);
    for spelling in ["f=1.0", "f=1e0", "f=1.00", r#"l=[1,{"a":1,"b":2}]"#] {
        place.run(&format!("find b.ledger --property {spelling}")).with_code(0);
    }
    place.run("find b.ledger --property f=1").with_code(1); // an integer is another value (E4)
    assert!(place.run("erasures a.ledger").with_code(0).err.contains("there are no erasures"));

    // A rectification first, then everything.
    let receipt_keys = "seq time reason ids devices records keys events done done_seq items segments";
    let said =
        place.run("erase a.ledger --person-of ann --keys email,emial --reason wrong --json").with_code(0);
    assert!(said.err.contains("nothing was ever recorded under `emial`"), "{said:?}");
    let rectified = said.object(receipt_keys);
    assert_eq!(
        (&rectified["keys"], &rectified["items"]),
        (&serde_json::json!(["email"]), &serde_json::json!(1))
    );
    place.run("find a.ledger --property email=ann@example.com --json").with_code(1);
    let nothing = place.run("erase a.ledger --person-of ann --keys email --reason again").with_code(1).err;
    assert!(nothing.contains("error: no record has a value of these keys"), "{nothing}");
    let person = found["person_id"].as_str().unwrap();
    let would = place.run(&format!("erase a.ledger --person {person} --dry-run")).with_code(0).out;
    for text in ["Would be erased: 2 ids", "ids ", "visitor, ann", "Nothing was recorded"] {
        assert!(would.contains(text), "{text}: {would}");
    }
    let would = place.run("erase a.ledger --id ann --dry-run --json").with_code(0);
    assert_eq!(
        would.object("ids events devices values reason answered_from")["ids"],
        serde_json::json!(["ann"])
    );
    assert!(place.run("erase a.ledger --id stranger --dry-run").with_code(1).err.contains("stranger"));
    assert!(place.run("erase a.ledger --id ann").with_code(2).err.contains("--reason"));
    let erased = place.run(&format!("erase a.ledger --person {person} --reason request-17")).with_code(0).out;
    for text in ["Erased: 2 ids and everything said for them", "items", "1 rewritten", "because   request-17"]
    {
        assert!(erased.contains(text), "{text}: {erased}");
    }
    let shown = place.run("resolve a.ledger $erased:0").with_code(1).err;
    assert!(shown.contains("`$erased:0` is how tables show an id whose text is erased"), "{shown}");
    let receipts = place.run("erasures a.ledger --json").with_code(0).lines(receipt_keys);
    assert_eq!(receipts.len(), 2);
    assert_eq!(
        (&receipts[1]["reason"], receipts[1]["ids"].as_array().unwrap().len()),
        (&"request-17".into(), 2)
    );
    assert_eq!(receipts[0], rectified);
    let table = place.run("erasures a.ledger").with_code(0).out;
    for text in ["RECORD", "email in 1 record", "2 ids", "request-17"] {
        assert!(table.contains(text), "{text}: {table}");
    }

    // Nothing is left of her, and the history is the one it was.
    place.run(&format!("verify a.ledger --expect {before}")).with_code(0);
    for (file, bytes) in files(&place.path("a.ledger")) {
        for text in ["visitor", "ann@example.com"] {
            let there = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!there, "{text} is in {}", file.display());
        }
    }
    place.run("resolve a.ledger ann").with_code(1);
    let persons = place.run("persons a.ledger --json").with_code(0).object("person_id erased_by");
    assert_eq!(
        persons["distinct_ids"],
        serde_json::json!(["$erased:1", "$erased:0"])
            .as_array()
            .map(|ids| {
                let mut ids = ids.clone();
                ids.sort_by_key(ToString::to_string);
                Value::Array(ids)
            })
            .unwrap()
    );
    assert!(place.run("persons a.ledger").with_code(0).out.contains("erased"));

    let unknown = place.run("erase a.ledger --id ann --reason again").with_code(1).err;
    assert!(
        unknown.contains("knows no distinct id `ann`") && unknown.contains("`find` lists persons"),
        "{unknown}"
    );
    assert!(place.run("erase a.ledger --reason request").with_code(2).err.contains("--person"));
    let reason = format!("erase a.ledger --reason-of {} --reason tidy --json", receipts[1]["seq"]);
    place.run(&reason).with_code(0).object(receipt_keys);
    let receipts = place.run("erasures a.ledger --json").with_code(0).lines(receipt_keys);
    assert_eq!((receipts.len(), &receipts[1]["reason"]), (3, &Value::Null));
}

// -- sealed ledgers ----------------------------------------------------------------------------------------------------

#[test]
fn a_sealed_ledger_opens_with_its_ring_and_old_backups_forget() {
    let place = Place::new();
    place.write("small.jsonl", SMALL);
    let created = place.run("init a.ledger --key-ring a.ring --refuse-erased").with_code(0).out;
    assert!(created.contains("its keys are in a.ring") && created.contains("--key-ring a.ring"), "{created}");
    place.run("import a.ledger small.jsonl --key-ring a.ring --strict").with_code(0);
    let chain = place.run("verify a.ledger").with_code(0).out;
    assert!(chain.contains("Not all was checked: without the key ring "), "{chain}");
    for command in ["persons a.ledger", "import a.ledger small.jsonl", "salvage a.ledger s"] {
        let said = place.run(command).with_code(2);
        assert!(said.err.contains("is sealed") && said.err.contains("--key-ring"), "{command}: {}", said.err);
    }
    for (file, bytes) in files(&place.path("a.ledger")) {
        let text = b"ann@example.com";
        assert!(!bytes.windows(text.len()).any(|window| window == text), "{}", file.display());
    }

    // What needs no text: the chain, the state, a copy.
    assert!(place.run("verify a.ledger").with_code(0).out.contains("Not all was checked"));
    let with = place.run("replay a.ledger --json --key-ring a.ring").with_code(0).object("content_digest");
    let without = place.run("replay a.ledger --json").with_code(0).object("content_digest");
    assert_eq!(
        (&with["digest"], &with["head"], &with["persons"]),
        (&without["digest"], &without["head"], &without["persons"])
    );
    assert!(with["content_digest"].is_string() && without["content_digest"].is_null());
    assert!(place.run("replay a.ledger").with_code(0).out.contains("needs the keys"));
    place.run("backup a.ledger copy").with_code(0);
    place.run("resolve copy ann --key-ring a.ring").with_code(0);

    place.run("erase a.ledger --person-of ann --reason asked --key-ring a.ring").with_code(0);
    let older = place.run("resolve copy ann --key-ring a.ring").with_code(2).err;
    assert!(older.contains("older than its keys") && older.contains("keys adopt copy"), "{older}");
    let verdict = place.run("verify copy --json --key-ring a.ring").with_code(1).object("first_fault");
    assert_eq!(verdict["first_fault"]["erasure"], "older_than_keys");
    let written = place.run("import copy /dev/null --key-ring a.ring").with_code(2).err;
    assert!(written.contains("belongs to another copy") && written.contains("keys fork"), "{written}");
    let keys = "ledger_id records erased_since key_ring";
    let forked = place.run("keys fork copy copy.ring --key-ring a.ring --json").with_code(0);
    assert!(forked.err.contains("were erased since"), "{}", forked.err);
    assert!(forked.object(keys)["erased_since"].as_u64() > Some(0), "{forked:?}");
    place.run("resolve copy ann --key-ring copy.ring").with_code(1);
    place.run("verify copy --key-ring copy.ring").with_code(0);
    assert!(place.run("erasures copy --key-ring copy.ring --json").with_code(0).out.contains("restored"));
    assert!(
        place
            .run("keys fork copy copy.ring --key-ring a.ring")
            .with_code(2)
            .err
            .contains("holds keys already")
    );
    assert!(
        place
            .run("keys fork copy copy/ring --key-ring a.ring")
            .with_code(2)
            .err
            .contains("lies in the ledger")
    );
    assert!(place.run("keys adopt copy").with_code(2).err.contains("--key-ring"));
    let adopted = place.run("keys adopt copy --key-ring copy.ring").with_code(0).out;
    assert!(adopted.contains("copy continues with copy.ring"), "{adopted}");

    // Only the id that was erased is refused.
    let again = place.run("import a.ledger small.jsonl --key-ring a.ring --json").with_code(0);
    assert_eq!(again.object(TALLY)["rejected"], 0, "all of them have ids that are recorded: {again:?}");
    place.write("new.jsonl", "{\"op\":\"set\",\"distinct_id\":\"ann\",\"ts\":\"2026-01-02T00:00:00Z\",\"set\":{}}\n{\"op\":\"set\",\"distinct_id\":\"cat\",\"ts\":\"2026-01-02T00:00:00Z\",\"set\":{}}\n");
    let new = place.run("import a.ledger new.jsonl --key-ring a.ring --json").with_code(0).object(TALLY);
    assert_eq!((&new["appended"], &new["rejected"]), (&Value::from(1), &Value::from(1)));
    assert!(new["rejections"][0]["reason"].as_str().unwrap().contains("was erased"), "{new}");

    place.run("init b.ledger --key-ring a.ring").with_code(2);
    for ring in ["b.ledger/ring", "./b.ledger/ring"] {
        let inside = place.run(&format!("init b.ledger --key-ring {ring}")).with_code(2).err;
        assert!(inside.contains("lies in the ledger") && !place.path("b.ledger").exists(), "{inside}");
    }
    place.run("import open.ledger small.jsonl").with_code(0);
    let open = place.run("persons open.ledger --key-ring a.ring").with_code(0).err;
    assert!(open.contains("it is not sealed"), "{open}");
    assert!(place.run("init b.ledger --refuse-erased").with_code(2).err.contains("--key-ring"));
    place.run("import c.ledger small.jsonl --key-ring c.ring").with_code(0);
    assert!(place.run("persons c.ledger --key-ring a.ring").with_code(2).err.contains("expected those of"));
}

/// What is counted is what other commands list, and what lies on the disk.
#[test]
fn a_report_says_what_deserves_a_look() {
    let place = Place::new();
    let identify = |user: &str| {
        format!(
            "{{\"op\":\"identify\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"{user}\",\"anon_distinct_id\":\"kiosk\"}}\n"
        )
    };
    place.write("two.jsonl", ["ann", "bob"].map(identify).concat());
    place.run("import a.ledger two.jsonl").with_code(0);
    let keys = "persons identified_persons stitched refusals notices shared_ids shared_devices largest_persons persons_near_limit generated_users placeholders";
    let report = place.run("report a.ledger --json").with_code(0).object(keys);
    assert_eq!(report["shared_ids"]["worst"][0]["id"], "kiosk");
    assert_eq!(report["notices"][0]["name"], "joins_identified_person");
    let shown = place.run("report a.ledger").with_code(0).out;
    for part in ["a.ledger: 1 person, 1 identified", "STITCHED", "SHARED ID  USERS", "kiosk          2"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("REFUSED"), "{shown}");
    let cut = place.run("report a.ledger --most 0").with_code(0).out;
    assert!(!cut.contains("SHARED"), "{cut}");
}

#[test]
fn stats_count_what_is_there() {
    let place = Place::new();
    let made = place.run("generate --people 40").with_code(0).out;
    place.write("made.jsonl", &made);
    place.run("import a.ledger made.jsonl").with_code(0);
    place.run("retract a.ledger 3").with_code(0); // a capture that counts no more
    let keys = "ledger_id records kinds erased_items events persons distinct_ids devices property_keys event_names files memory";
    let stats = place.run("stats a.ledger --json").with_code(0).object(keys);
    let replayed =
        place.run("replay a.ledger --json").with_code(0).object("records events persons distinct_ids");
    assert_eq!(stats["kinds"]["capture"]["records"].as_u64().unwrap(), stats["events"].as_u64().unwrap() + 1);
    for key in ["records", "events", "persons", "distinct_ids"] {
        assert_eq!(stats[key], replayed[key], "{key}");
    }
    let on_disk = |part: &str| -> u64 {
        let files = files(&place.path("a.ledger"));
        let within = files.iter().filter(|(file, _)| file.parent().is_some_and(|dir| dir.ends_with(part)));
        within.map(|(_, bytes)| bytes.len() as u64).sum()
    };
    assert_eq!(stats["files"]["log"]["bytes"], on_disk("log"));
    assert_eq!(stats["files"]["snapshots"]["bytes"], on_disk("snap"));
    assert_eq!(stats["files"]["other"]["bytes"], on_disk("a.ledger"));
    let shown = place.run("stats a.ledger").with_code(0).out;
    for text in
        ["ids ever written", "RECORD", "identify", "ON DISK", "snapshots", "IN MEMORY", "operation ids"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(place.run("stats nowhere").with_code(2).err.contains("does not exist"));
}

#[test]
fn a_witness_is_asked_by_no_other_proof_than_that_of_a_continuation() {
    let said = Place::new().run("prove a.ledger --same a b --sign k -o p --add-checkpoint");
    assert!(said.with_code(2).err.contains("cannot be used with"));
}

#[test]
fn no_sender_hides_an_erased_id_behind_a_name() {
    let place = Place::new();
    let said = [
        r#"{"op":"identify","distinct_id":"ann","anon_distinct_id":"a1","ts":"2026-01-01T00:00:00Z"}"#,
        r#"{"op":"set","distinct_id":"$erased:0","ts":"2026-01-01T00:00:05Z"}"#,
    ];
    place.write("said.jsonl", said.join("\n"));
    let key = "keys signer s.key --name shop.example/ledger";
    for command in ["import l said.jsonl", key, "erase l --id ann --reason asked"] {
        place.run(command).with_code(0);
    }
    let proof = place.run("prove l --complete $erased:0 --sign s.key -o p").with_code(0);
    assert!(proof.out.contains("touch id number 0, whose text is erased"), "{}", proof.out);
}

#[test]
fn a_key_is_never_overwritten_and_a_cut_proof_is_called_so() {
    let place = Place::new();
    let key = "keys signer s.key --name shop.example/ledger --json";
    let made = place.run(key).with_code(0).lines("").remove(0)["key"].as_str().unwrap().to_owned();
    assert!(place.run(key).with_code(2).err.contains("never overwritten; choose another file"));
    place.write("p", "identity-ledger proof 1\nabsent eA== eQ==\nids 0");
    let said = place.run(&format!("check p --key {made}"));
    assert!(said.with_code(1).out.contains("its end is cut off"));
}
