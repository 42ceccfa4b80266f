//! The 140 SDK cases: what posthog-js and the mobile core do call by call, beside what a device of the ledger does.
//!
//! `docs/posthog-sdk.md` gives each case a verdict: `passes`, `ours` (the ledger differs on purpose), or `out of scope`.
//! Cases that pass are run and must pass; cases that are ours are run and must differ, as the page shows; cases out of
//! scope must not pass by accident. So the page cannot be wrong.

use std::collections::BTreeMap;

use crate::support::page;
use crate::support::run::run;
use serde::Deserialize;
use serde_json::{Value, json};

#[test]
fn every_verdict_in_the_docs_is_true() {
    let rows = rows();
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(verdict) = rows.get(case.name.as_str()) else {
            wrong.push(format!("`{}`: has no row", case.name));
            continue;
        };
        let said = match (*verdict, run(&case)) {
            ("passes", Ok(differences)) if differences.is_empty() => continue,
            ("passes", Ok(differences)) => differences.join("\n  "),
            ("ours", Ok(differences)) if !differences.is_empty() => continue,
            ("ours", Ok(_)) => "does not differ".to_owned(),
            ("passes" | "ours", Err(undrivable)) => format!("cannot be run: {undrivable}"),
            ("out of scope", Ok(differences)) if differences.is_empty() => "it passes".to_owned(),
            ("out of scope", _) => continue,
            (other, _) => format!("`{other}` is no verdict"),
        };
        wrong.push(format!("`{}`, {verdict}:\n  {said}", case.name));
    }
    assert!(wrong.is_empty(), "{} verdicts are wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_case_has_one_row_and_the_numbers_stand() {
    let (cases, rows) = (cases(), rows());
    assert_eq!((cases.len(), rows.len()), (140, 140));
    let count = |verdict: &str| rows.values().filter(|found| **found == verdict).count();
    assert_eq!((count("passes"), count("ours"), count("out of scope")), (84, 12, 44));
}

/// How each case that is ours differs: the first lines of the difference, as the page shows them.
#[test]
fn the_differences_in_the_docs_are_what_the_engine_gives() {
    const SHOWN: usize = 4;
    let rows = rows();
    let mut text = String::from("```text\n");
    for case in cases().into_iter().filter(|case| rows.get(case.name.as_str()) == Some(&"ours")) {
        let differences = run(&case).expect("a case that is ours can be run");
        text.push_str(&format!("{}\n", case.name));
        differences.iter().take(SHOWN).for_each(|difference| text.push_str(&format!("    {difference}\n")));
        if differences.len() > SHOWN {
            text.push_str(&format!("    and {} more\n", differences.len() - SHOWN));
        }
    }
    text.push_str("```\n");
    page::assert_part("docs/posthog-sdk.md", "differences", &text);
}

/// The comparison is compared: ids, states and events that are not as told are noticed in every case that passes.
#[test]
fn every_disturbed_telling_is_noticed() {
    let rows = rows();
    let mut tried = 0;
    for case in cases().into_iter().filter(|case| rows.get(case.name.as_str()) == Some(&"passes")) {
        for (what, disturbed) in disturbances(&case) {
            let differences = run(&disturbed).expect("a case that passes can be run");
            assert!(!differences.is_empty(), "`{}`: {what} is overlooked", case.name);
            tried += 1;
        }
    }
    assert_eq!(tried, 1315);
}

// -- the page ------------------------------------------------------------------------------------------------------

/// Verdicts by case, from the table: `| name | verdict | reason |`, the name in backticks.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let mut rows = BTreeMap::new();
    let page = include_str!("../../docs/posthog-sdk.md");
    let (_, table) = page.split_once("## All cases").expect("the page has the table");
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, verdict, reason] = cells[..] else { panic!("three cells a row: {line}") };
        let name = name.trim_start_matches("| `").trim_end_matches('`');
        let reason = reason.trim_end_matches('|').trim();
        assert!(verdict == "passes" || !reason.is_empty(), "`{name}` is {verdict} without a reason");
        assert!(rows.insert(name, verdict).is_none(), "`{name}` has two rows");
    }
    rows
}

// -- the cases -----------------------------------------------------------------------------------------------------

#[derive(Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) calls: Vec<Value>,
    pub(crate) expect: BTreeMap<String, Value>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../data/posthog-sdk-cases.json")).expect("the cases are readable")
}

// -- disturbance ---------------------------------------------------------------------------------------------------

/// The case with one thing changed in what it expects.
fn disturbances(case: &Case) -> Vec<(String, Case)> {
    let mut all = Vec::new();
    let mut disturb = |what: String, change: &dyn Fn(&mut BTreeMap<String, Value>)| {
        let mut disturbed = case.clone();
        change(&mut disturbed.expect);
        all.push((what, disturbed));
    };
    let foreign = json!({"event": "nothing of the kind", "properties": {}});
    let steps = case.expect.get("steps").and_then(Value::as_array).map_or(0, Vec::len);
    for at in 0..steps {
        for key in ["distinct_id", "$device_id", "$user_state"] {
            disturb(format!("{key} of step {at}"), &|expect| steps_of(expect)[at][key] = json!("other"));
        }
        disturb(format!("an event too many in step {at}"), &|expect| {
            steps_of(expect)[at]["emitted"].as_array_mut().expect("a list").push(foreign.clone());
        });
        let sent = case.expect["steps"][at]["emitted"].as_array().map_or(0, Vec::len);
        if sent > 0 {
            disturb(format!("an event too few in step {at}"), &|expect| {
                steps_of(expect)[at]["emitted"].as_array_mut().expect("a list").truncate(sent - 1);
            });
        }
        for event in 0..sent {
            for key in
                ["distinct_id", "$anon_distinct_id", "alias", "$process_person_profile", "$is_identified"]
            {
                disturb(format!("{key} of event {event} of step {at}"), &|expect| {
                    steps_of(expect)[at]["emitted"][event]["properties"][key] = json!("other");
                });
            }
        }
    }
    for key in ["events", "wire_events_in_arrival_order"] {
        if case.expect.contains_key(key) {
            disturb(format!("an event too many in {key}"), &|expect| {
                expect.get_mut(key).and_then(Value::as_array_mut).expect("a list").push(foreign.clone());
            });
        }
    }
    let ids = case.expect.get("ids_after_each_call").and_then(Value::as_array).map_or(0, Vec::len);
    for at in 0..ids {
        disturb(format!("ids after call {at}"), &|expect| {
            expect.get_mut("ids_after_each_call").expect("ids")[at]["distinct_id"] = json!("other");
        });
    }
    for key in ["distinct_id", "$user_state", "$device_id", "device_id", "anonymous_id", "event_count"] {
        if case.expect.contains_key(key) {
            disturb(key.to_owned(), &|expect| drop(expect.insert(key.to_owned(), json!("other"))));
        }
    }
    all
}

fn steps_of(expect: &mut BTreeMap<String, Value>) -> &mut Value {
    expect.get_mut("steps").expect("a case with steps")
}
