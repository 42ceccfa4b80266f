//! The commands `export` and `changes`; what the rows hold, and the law of the changes, are in `tests/suite/export.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::place::{Place, SMALL};
use serde_json::Value as Json;

/// The rows of a table by key, from JSON lines.
type Rows = BTreeMap<(String, u64, u64), Json>;

const TABLES: [&str; 12] = [
    "persons",
    "person_distinct_ids",
    "person_distinct_ids_history",
    "person_distinct_ids_corrected",
    "person_redirects",
    "shared_id_periods",
    "events",
    "outcomes",
    "property_writes",
    "policies",
    "erasures",
    "checkpoints",
];

/// A place with a ledger `shop` of some made-up people.
fn shop() -> Place {
    let place = Place::new();
    let lines = place.run("generate --people 20").with_code(0).out;
    fs::write(place.path("events.jsonl"), lines).unwrap();
    place.run("import shop events.jsonl").with_code(0);
    place
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).expect("one JSON object")
}

fn digest(place: &Place, ledger: &str) -> Json {
    json(&place.run(&format!("replay {ledger} --json")).with_code(0).out)["content_digest"].clone()
}

#[test]
fn every_format_writes_every_table_and_a_manifest_of_what_it_wrote() {
    let place = shop();
    let before = place.files("shop");
    for format in ["parquet", "arrow", "csv", "jsonl"] {
        let said = place.run(&format!("export shop {format} --format {format} --json")).with_code(0);
        let manifest = json(&fs::read_to_string(place.path(format).join("manifest.json")).unwrap());
        let mut printed = json(&said.out);
        assert_eq!(printed.as_object_mut().unwrap().remove("out"), Some(format.into()));
        assert_eq!(printed, manifest);
        assert_eq!((&manifest["schema"], &manifest["tenant"]), (&1.into(), &"1".into()));
        let files = manifest["files"].as_array().unwrap();
        let tables: Vec<&str> = files.iter().map(|file| file["table"].as_str().unwrap()).collect();
        assert_eq!(tables, TABLES);
        for file in files {
            let bytes = fs::read(place.path(format).join(file["file"].as_str().unwrap())).unwrap();
            assert_eq!(file["bytes"], bytes.len());
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            match format {
                "csv" => assert_eq!(file["rows"], lines - 1, "{file}"),
                "jsonl" => assert_eq!(file["rows"], lines, "{file}"),
                _ => {}
            }
        }
        assert_eq!(
            fs::read_dir(place.path(format)).unwrap().count(),
            TABLES.len() + 1,
            "nothing else is left"
        );
    }
    assert_eq!(place.files("shop"), before, "an export changes nothing");
}

#[test]
fn the_lines_of_an_export_are_read_back_into_an_equal_content() {
    let place = shop();
    place.run("export shop lines --format ops").with_code(0);
    place.run("import copy lines/ops.jsonl --strict").with_code(0);
    assert_eq!(digest(&place, "copy"), digest(&place, "shop"));
    place.run("import copy lines/ops.jsonl --strict").with_code(0);
    assert_eq!(digest(&place, "copy"), digest(&place, "shop"), "a second import records nothing");
    let piped = place.run("export shop - --format ops").with_code(0);
    assert_eq!(piped.out, fs::read_to_string(place.path("lines/ops.jsonl")).unwrap());
}

#[test]
fn a_directory_that_holds_something_is_refused_and_left_as_it_is() {
    let place = shop();
    fs::create_dir(place.path("busy")).unwrap();
    // Another export may be writing it, or it is a file of the user's.
    fs::write(place.path("busy/manifest.json.partial"), "half").unwrap();
    let said = place.run("export shop busy").with_code(2);
    assert!(said.err.contains("which an export writes, or left when it was killed"), "{}", said.err);
    assert_eq!(fs::read(place.path("busy/manifest.json.partial")).unwrap(), b"half");
    place.run("export shop out").with_code(0);
    let before = place.files("out");
    let said = place.run("export shop out").with_code(2);
    assert!(
        said.err.contains("out holds `") && said.err.contains("choose an empty or new directory"),
        "{}",
        said.err
    );
    assert_eq!(place.files("out"), before);
    place.run("export shop shop/out").with_code(2);
    place.run("export nothing other").with_code(2);
    assert!(!place.path("other").exists(), "a failed export leaves no directory");
}

#[test]
fn one_table_goes_to_standard_output_as_of_a_record_and_since_one() {
    let place = shop();
    let lines = |arguments: &str| -> Vec<Json> {
        let said = place.run(&format!("export shop - --format jsonl {arguments}")).with_code(0);
        said.out.lines().map(json).collect()
    };
    let all = lines("--tables events");
    let middle = all[all.len() / 2]["seq"].as_u64().unwrap();
    let before = lines(&format!("--tables events --at {middle}"));
    let after = lines(&format!("--tables events --since {middle}"));
    assert_eq!(before.len() + after.len(), all.len());
    assert_eq!(
        (&before.last().unwrap()["seq"], &after[0]["seq"]),
        (&middle.into(), &all[before.len()]["seq"])
    );
    let persons = lines(&format!("--tables persons --at {middle}"));
    let listed = place.run(&format!("persons shop --at {middle} --json")).with_code(0).out;
    assert_eq!(persons.iter().filter(|person| person["is_implied"] == false).count(), listed.lines().count());
    for wrong in ["", "--tables events,persons", "--tables events --at 999999", "--format ops --since 3"] {
        place.run(&format!("export shop - {wrong}")).with_code(2);
    }
}

/// The key of a row, as docs/export.md has it.
fn key(table: &str, row: &Json) -> (String, u64, u64) {
    let number = |column: &str| row[column].as_u64().unwrap_or(u64::MAX);
    let (first, second) = match table {
        "persons" => (number("person_no"), number("founding_id_no")),
        "person_redirects" => (number("old_person_no"), number("old_founding_id_no")),
        "person_distinct_ids" => (number("id_no"), 0),
        "person_distinct_ids_history" | "person_distinct_ids_corrected" | "shared_id_periods" => {
            (number("id_no"), number("from_seq"))
        }
        "property_writes" => (number("seq"), number("change_no")),
        _ => (number("seq"), 0),
    };
    (table.to_owned(), first, second)
}

#[test]
fn changes_lead_from_one_export_to_the_next_and_say_where_to_continue() {
    let place = shop();
    let out = place.run("outcomes shop --json").with_code(0).out;
    let middle = json(out.lines().nth(out.lines().count() / 2).unwrap())["seq"].as_u64().unwrap();
    let table = "person_distinct_ids";
    let rows = |at: &str| -> Rows {
        let said = place.run(&format!("export shop - --tables {table} --format jsonl {at}")).with_code(0);
        said.out.lines().map(json).map(|row| (key(table, &row), row)).collect()
    };
    let mut tables = rows(&format!("--at {middle}"));
    let said = place.run(&format!("changes shop --since {middle} --tables {table} --json")).with_code(0);
    let mut lines: Vec<Json> = said.out.lines().map(json).collect();
    let complete = lines.pop().unwrap();
    assert_eq!((&complete["table"], &complete["_change_type"]), (&Json::Null, &"complete".into()));
    assert!(complete["checkpoint"].as_str().unwrap().contains(':'));
    for mut line in lines {
        let change = line["_change_type"].as_str().unwrap().to_owned();
        assert_eq!(line["_commit_version"], complete["_commit_version"]);
        let fields = line.as_object_mut().unwrap();
        fields.retain(|name, _| name != "table" && !name.starts_with('_'));
        match change.as_str() {
            "insert" | "update_postimage" => drop(tables.insert(key(table, &line), line)),
            "delete" => drop(tables.remove(&key(table, &line))),
            other => assert_eq!(other, "update_preimage"),
        }
    }
    assert_eq!(tables, rows(""));
    let last = complete["_commit_version"].as_u64().unwrap();
    let none = place.run(&format!("changes shop --since {last} --json")).with_code(0);
    assert_eq!(none.out.lines().count(), 1, "nothing but the end of the round");
    let shown = place.run(&format!("changes shop --since {middle} --until {last}")).with_code(0).out;
    assert!(shown.contains("INSERTED") && shown.contains(table), "{shown}");
    place.run(&format!("changes shop --since {last} --until {middle}")).with_code(2);
    place.run("changes shop --since 999999").with_code(2);
}

/// A follower sees what is recorded while it waits, and ends when its reader goes away.
#[test]
fn a_follower_continues_with_what_is_recorded_meanwhile() {
    let place = shop();
    let mut command = place.command("changes shop --since 0 --tables events --json --follow");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut round = || {
        let lines = lines.by_ref().map(|line| json(&line.unwrap()));
        let mut round: Vec<Json> = Vec::new();
        for line in lines {
            let complete = line["_change_type"] == "complete";
            round.push(line);
            if complete {
                break;
            }
        }
        round
    };
    let first = round();
    assert!(first.len() > 2);
    place.write("more.jsonl", SMALL);
    place.run("import shop more.jsonl").with_code(0);
    let second = round();
    let events: Vec<&Json> = second.iter().filter(|line| line["_change_type"] == "insert").collect();
    assert_eq!(events.len(), 2, "the two captures: {second:?}");
    assert!(
        second.last().unwrap()["_commit_version"].as_u64()
            > first.last().unwrap()["_commit_version"].as_u64()
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn options_that_mean_nothing_together_are_refused() {
    let place = shop();
    for (command, expected) in [
        ("export shop out --format ops --tables persons", "an export of operations has none"),
        ("export shop out --since 9 --at 5", "--at is record 5; expected record 9 or a later one"),
        ("changes shop --since 9 --until 5", "--until is record 5; expected record 9 or a later one"),
    ] {
        let said = place.run(command).with_code(2);
        assert!(said.err.contains(expected), "{command}: {}", said.err);
    }
}
