//! Deep links: who ends up with whom when a link leads from a web page into an app, under each preset.
//!
//! The requests of scenarios A, B, D, F and G were recorded from SDKs; C and E are told event by event in the SDK cases.
//! `docs/deep-links.md` explains them; its table is compared with what the engine gives.
#![cfg(feature = "import")]

use std::collections::BTreeMap;

use crate::support::checked::{check, new_ledger};
use crate::support::{import, page};
use identity_ledger::import::Format;
use identity_ledger::log::IdNo;
use identity_ledger::{Ledger, Policy, Preset};
use serde::Deserialize;
use serde_json::{Value, json};

/// Scenario, then under `posthog`, `strict` and `one-user`: the persons, each with its ids in the order in which they came,
/// the notices, and the rules that refused.
///
/// W is the id the web page made, D and D2 are the ids the app made, in order; `user-1` and `user-2` signed in.
const PINNED: [(char, [&str; 3]); 7] = [
    (
        'A',
        [
            "{W, D, user-1}; notices: joins_identified_person",
            "{W, D} {user-1}; refused: D3, D6",
            "{W, D, user-1}",
        ],
    ),
    ('B', ["{W, user-1, D}", "{W, user-1, D}", "{W, user-1, D}"]),
    ('C', ["{W, user-1}", "{W, user-1}", "{W, user-1}"]),
    ('D', ["{W, user-1, D}", "{W, user-1, D}", "{W, user-1, D}"]),
    (
        'E',
        [
            "{W, user-1} {user-2, D}; refused: D6",
            "{W, user-1} {user-2, D}; refused: D6",
            "{W, user-1} {user-2, D}; refused: D6",
        ],
    ),
    ('F', ["{W, user-1} {D, user-2}", "{W, user-1} {D, user-2}", "{W, user-1} {D, user-2}"]),
    (
        'G',
        [
            "{W, D, user-1, D2, user-2}; notices: joins_identified_person, joins_identified_person",
            "{W, D, D2} {user-1} {user-2}; refused: D3, D3",
            "{W, D, user-1, D2} {user-2}; refused: D9",
        ],
    ),
];

#[test]
fn every_scenario_ends_as_pinned_under_every_preset() {
    for (scenario, expected) in PINNED {
        for ((name, preset), expected) in Preset::ALL.into_iter().zip(expected) {
            let answer = answer(&fold(scenario, preset));
            assert_eq!(answer, expected, "scenario {scenario}, preset `{name}`");
        }
    }
}

/// What the recipe is for: the first page of the visit belongs to the user who signed in later, in the app or on the web.
#[test]
fn the_landing_page_is_the_users_except_under_strict() {
    let landed_as_user = |scenario: char, preset: Preset| {
        let ledger = fold(scenario, preset);
        let mut events = Vec::new();
        ledger.reader().events(|event| events.push(event)).expect("the log is readable");
        let first = &events[0];
        assert_eq!(first.event.as_deref(), Some("$pageview"));
        first.person_id == ledger.resolve("user-1").expect("user-1 signs in").person_id
    };
    for (scenario, _) in PINNED {
        assert!(landed_as_user(scenario, Preset::Posthog), "{scenario}");
        assert!(landed_as_user(scenario, Preset::OneUser), "{scenario}");
        assert_eq!(landed_as_user(scenario, Preset::Strict), !matches!(scenario, 'A' | 'G'), "{scenario}");
    }
}

/// Where a scenario is both recorded and told, both say the same.
#[test]
fn recordings_and_tellings_agree() {
    let (recorded, told) = (recorded(), told());
    assert_eq!(recorded.keys().collect::<String>(), "ABDFG");
    assert_eq!(told.keys().collect::<String>(), "BCEFG");
    for (scenario, telling) in &told {
        let Some(recording) = recorded.get(scenario) else { continue };
        for (_, preset) in Preset::ALL {
            assert_eq!(
                answer(&fold_text(recording, preset)),
                answer(&fold_text(telling, preset)),
                "{scenario}"
            );
        }
    }
}

#[test]
fn the_table_in_the_docs_is_what_the_engine_gives() {
    let mut table = String::from("| |");
    table.extend(Preset::ALL.map(|(name, _)| format!(" `{name}` |")));
    table.push_str("\n|---|---|---|---|\n");
    for (scenario, _) in PINNED {
        let cells = Preset::ALL
            .map(|(_, preset)| format!(" {} |", answer(&fold(scenario, preset)).replace("; ", "<br>")));
        table.push_str(&format!("| {scenario} |{}\n", cells.concat()));
    }
    page::assert_part("docs/deep-links.md", "table", &table);
}

// -- folding -------------------------------------------------------------------------------------------------------

fn fold(scenario: char, preset: Preset) -> Ledger {
    let recorded = recorded().remove(&scenario);
    let text = recorded.or_else(|| told().remove(&scenario)).expect("a scenario is recorded or told");
    fold_text(&text, preset)
}

fn fold_text(text: &str, preset: Preset) -> Ledger {
    let policy = Policy::preset(preset);
    let operations = import::operations(text, Format::Posthog, &policy);
    let (mut ledger, storage) = new_ledger(policy);
    let appended = ledger.append_batch(&operations).expect("the scenarios keep all bounds");
    let recorded = appended.iter().filter(|appended| appended.outcome().is_some()).count();
    assert_eq!(recorded, operations.len(), "a scenario repeats nothing");
    let _ = check(&ledger, &storage, recorded);
    ledger
}

/// Persons, notices and refusals in one line, ids under readable names.
fn answer(ledger: &Ledger) -> String {
    let names = names(ledger);
    let persons = ledger.persons().map(|person| {
        let ids = person.expect("the log is readable").distinct_ids;
        let ids: Vec<&str> = ids.iter().map(|id| names[id].as_str()).collect();
        format!("{{{}}}", ids.join(", "))
    });
    let mut parts = vec![persons.collect::<Vec<_>>().join(" ")];
    let (mut notices, mut refused) = (Vec::new(), Vec::new());
    let outcomes = ledger.reader().outcomes(|outcome| {
        notices.extend(outcome.notices.iter().map(|notice| notice.notice));
        refused.extend(outcome.rule);
    });
    outcomes.expect("the log is readable");
    for (what, said) in [("notices", notices), ("refused", refused)] {
        if !said.is_empty() {
            parts.push(format!("{what}: {}", said.join(", ")));
        }
    }
    parts.join("; ")
}

/// The first generated id is the web page's, W; those after it are the app's: D, D2. Other ids are their own name.
fn names(ledger: &Ledger) -> BTreeMap<String, String> {
    let mut generated = ["W", "D", "D2"].into_iter();
    let count = u32::try_from(ledger.reader().state().ids().len()).expect("a scenario has few ids");
    let ids = (0..count).filter_map(|number| ledger.reader().id_text(IdNo(number)));
    let name = |id: &str| match uuid::Uuid::try_parse(id) {
        Ok(_) => generated.next().expect("no scenario has more generated ids").to_owned(),
        Err(_) => id.to_owned(),
    };
    ids.clone().map(str::to_owned).zip(ids.map(name)).collect()
}

// -- scenarios -----------------------------------------------------------------------------------------------------

/// The recorded requests of each scenario, one a line.
fn recorded() -> BTreeMap<char, String> {
    #[derive(Deserialize)]
    struct Request {
        scenario: String,
    }
    let mut all = BTreeMap::<char, String>::new();
    for line in include_str!("../data/deep-link-web-to-mobile.jsonl").lines() {
        let Request { scenario } = serde_json::from_str(line).expect("the recording is readable");
        *all.entry(letter(&scenario)).or_default() += &format!("{line}\n");
    }
    all
}

/// The events of each scenario that is told in the SDK cases, in their order of arrival.
fn told() -> BTreeMap<char, String> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../data/posthog-sdk-cases.json")).expect("readable");
    let mut all = BTreeMap::new();
    for case in cases {
        let name = case["name"].as_str().expect("a case has a name");
        let Some(events) = case["expect"]["wire_events_in_arrival_order"].as_array() else { continue };
        let lines = events.iter().map(|event| {
            let mut line = json!({
                "event": event["event"],
                "properties": event["properties"],
                "timestamp": "2026-01-01T00:00:00Z",
            });
            if let Some(id) = event["top_level_distinct_id"].as_str() {
                line["distinct_id"] = id.into();
            }
            format!("{line}\n").replace("<uuid7#", "01900000-0000-7000-8000-00000000000").replace('>', "")
        });
        all.insert(letter(name), lines.collect());
    }
    all
}

/// The letter of a scenario's name, `deeplink/A-...`.
fn letter(scenario: &str) -> char {
    let letter = scenario.strip_prefix("deeplink/").and_then(|rest| rest.chars().next());
    letter.unwrap_or_else(|| panic!("`{scenario}` is no scenario"))
}
