//! Answers in JSON: those as of a record are those of a ledger that holds nothing behind it, and a program gets the same from the
//! library.

use std::path::Path;

use crate::place::Place;
use identity_ledger::diff::Diff;
use identity_ledger::explain::Subject;
use identity_ledger::import::{Importer, Options, Tally, run};
use identity_ledger::{LedgerOptions, PageRequest, Policy, PropertyKey, ReadOnlyLedger, Seq, Tenant};
use serde::Serialize;
use serde_json::Value;

/// A shop whose script merged two customers.
const SHOP: &str = include_str!("../../../examples/wrong-merge.jsonl");
/// Its lines up to the merge.
const BEFORE: usize = 17;

fn make(ledger: &Path, lines: &str) {
    let mut ledger =
        LedgerOptions::new().seeded(1).create(ledger, Tenant::default(), Policy::default()).unwrap();
    let importer = Importer::new(lines.as_bytes(), Options::from(&Policy::default()));
    run(&mut ledger, importer, &mut Tally::default(), &mut ()).unwrap();
}

fn shop() -> Place {
    let place = Place::new();
    make(&place.path("full"), SHOP);
    let before: String = SHOP.split_inclusive('\n').take(BEFORE).collect();
    make(&place.path("then"), &before);
    place
}

/// What a command answers, but for what it was answered from and as of when.
fn lines(place: &Place, command: &str, input: &str) -> (i32, Vec<Value>) {
    let said = place.run_with(command, input.as_bytes());
    let mut lines = said.lines("");
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        line.remove("answered_from");
        line.remove("at");
    }
    (said.code, lines)
}

#[test]
fn every_answer_as_of_a_record_is_that_of_a_ledger_that_ends_there() {
    let place = shop();
    let last = ReadOnlyLedger::open(place.path("then")).unwrap().checkpoint().records - 1;
    let pairs = "alice@example.com\tphone-a1\nalice@example.com\tbruno@example.com\ncrm-5512\tvisitor-31\n";
    for command in [
        "persons LEDGER",
        "persons LEDGER --limit 2",
        "events LEDGER",
        "events LEDGER --from 20 --limit 3",
        "events LEDGER --of bruno@example.com",
        "events LEDGER --of crm-5512",
        "outcomes LEDGER",
        "outcomes LEDGER --limit 5",
        "history LEDGER bruno@example.com",
        "history LEDGER bruno@example.com --person --limit 4",
        "history LEDGER crm-5512",
        "resolve LEDGER alice@example.com",
        "resolve LEDGER crm-5512",
        "resolve LEDGER -",
        "explain LEDGER alice@example.com phone-a1",
        "explain LEDGER alice@example.com bruno@example.com",
        "explain LEDGER alice@example.com --property plan",
        "explain LEDGER --event 7",
        "explain LEDGER -",
        "why-not LEDGER alice@example.com bruno@example.com",
        "why-not LEDGER alice@example.com crm-5512",
        "find LEDGER --property plan=pro",
        "find LEDGER --property plan=enterprise",
        "what-if LEDGER --preset one-user",
        "report LEDGER",
        "erasures LEDGER",
    ] {
        let ask = |ledger: &str, at: &str| {
            let command = format!("{command} --json{at}").replace("LEDGER", ledger);
            let input =
                if command.starts_with("resolve") { pairs.replace('\t', "\n") } else { pairs.to_owned() };
            lines(&place, &command, &input)
        };
        assert_eq!(ask("full", &format!(" --at {last}")), ask("then", ""), "{command}");
    }
    let [drawn, expected] = [format!("full --at {last}"), "then".to_owned()].map(|ledger| {
        let (ledger, at) = ledger.split_once(' ').unwrap_or((&ledger, ""));
        place.run(&format!("graph {ledger} bruno@example.com --svg -o - {at}")).with_code(0).out
    });
    assert_eq!(drawn, expected);
}

fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// What the library serializes, asked of a reader, is what the command prints of it.
#[test]
fn the_library_serializes_what_the_commands_print() {
    let place = shop();
    let ledger = ReadOnlyLedger::open(place.path("full")).unwrap();
    for at in [None, Some(30)] {
        let then = at.map(|at| ledger.reader().as_of(Seq(at), &mut |_| {}).unwrap());
        let reader = then.as_ref().unwrap_or(ledger.reader());
        let at = at.map_or(String::new(), |at| format!(" --at {at}"));
        let lines = |command: &str| lines(&place, &format!("{command} --json{at}"), "").1;
        let all = PageRequest::first(1_000);

        let (mut events, mut outcomes) = (Vec::new(), Vec::new());
        reader.events(|event| events.push(value(&event))).unwrap();
        reader.outcomes(|outcome| outcomes.push(value(&outcome))).unwrap();
        assert_eq!(lines("events full"), events);
        assert_eq!(lines("outcomes full"), outcomes);
        let persons: Vec<Value> = reader.persons().map(|person| value(&person.unwrap())).collect();
        assert_eq!(lines("persons full"), persons);
        let id = "alice@example.com";
        let history = reader.history(Subject::Id(id), all).unwrap().unwrap().items;
        assert_eq!(lines(&format!("history full {id}")), history.iter().map(value).collect::<Vec<_>>());
        let found = reader.find(&PropertyKey::new("plan").unwrap(), |value| *value == "pro".into()).unwrap();
        assert_eq!(lines("find full --property plan=pro"), found.iter().map(value).collect::<Vec<_>>());
        assert_eq!(lines("report full"), [value(&reader.report(10).unwrap())]);
        assert_eq!(lines(&format!("resolve full {id}"))[0]["profile"], value(&reader.profile(id).unwrap()));
        // A command has keys beside those of the library, for what it says where the library has no answer.
        let within = |command: &str, expected: Value| {
            let said = &lines(command)[0];
            for (key, expected) in expected.as_object().unwrap() {
                assert_eq!(said[key], *expected, "{command}: {key}");
            }
        };
        let mut explained = value(&reader.explain(id, "phone-a1").unwrap().unwrap());
        explained.as_object_mut().unwrap().remove("implied"); // `same` is false then
        within(&format!("explain full {id} phone-a1"), explained);
        within(
            &format!("explain full {id} --property plan"),
            value(&reader.why_property(id, "plan").unwrap().unwrap()),
        );
        within(
            "why-not full bruno@example.com chen@example.com",
            value(&reader.why_not("bruno@example.com", "chen@example.com").unwrap().unwrap()),
        );
    }
    let (before, after) = (ledger.reader().view_as_of(Seq(20)).unwrap(), ledger.reader().view());
    let diff = Diff::between(&before, &after).unwrap();
    assert_eq!(lines(&place, "diff full --at 20 --json", "").1, [value(&diff)]);
}
