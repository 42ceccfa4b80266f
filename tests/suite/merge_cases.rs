//! The 110 merge cases: what PostHog's server does with persons, restated as operations and expectations.
//!
//! `tests/data/posthog-merge-cases.json` gives for each case the operations that went before (`given`), those under test
//! (`when`), and everything that must hold afterwards (`expect`). They come in as `ops` lines through the importer and are
//! judged through the public API alone. Each case is folded in three ways (one by one, in one batch, from a second opening
//! of the log), which must agree to the last bit.
#![cfg(feature = "import")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::checked::{check, new_ledger};
use crate::support::import;
use identity_ledger::answer::EventMode;
use identity_ledger::import::Format;
use identity_ledger::storage::Memory;
use identity_ledger::{
    Actor, Appended, EventAnswer, Ledger, Operation, Outcome, PersonId, Policy, Preset, Profile, Request,
    Tenant, Timestamp, Value,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[test]
fn all_110_cases_hold() {
    let cases = cases();
    assert_eq!(cases.len(), 110);
    let failures: Vec<String> = cases.iter().filter_map(|case| failure(case, &fold(case))).collect();
    assert!(failures.is_empty(), "{} of 110 cases fail\n\n{}", failures.len(), failures.join("\n\n"));
}

/// The checker itself is checked: whatever is changed in an expectation, the same outcome no longer meets it.
#[test]
fn every_disturbed_expectation_is_noticed() {
    let mut tried = BTreeMap::<&str, usize>::new();
    for case in cases() {
        let facts = fold(&case);
        for (what, disturbed) in disturbances(&case) {
            let found = differences(&disturbed, &facts);
            assert!(!found.is_empty(), "case `{}`: the checker overlooks {what}", case.name);
            *tried.entry(what).or_default() += 1;
        }
    }
    let pinned = [
        ("a changed created_at", 18),
        ("a changed property", 87),
        ("a dropped id", 118),
        ("a dropped person", 118),
        ("a flipped is_identified", 118),
        ("a flipped person_mode", 4),
        ("a foreign founding_id", 12),
        ("a foreign id", 118),
        ("a foreign person", 110),
        ("a foreign person of an event", 2),
        ("a foreign property", 118),
        ("a foreign property of an event", 4),
        ("a foreign warning", 110),
        ("a removed property", 79),
        ("a removed warning", 45),
        ("one person taken for two", 31),
        ("two persons taken for one", 4),
    ];
    assert_eq!(tried.into_iter().collect::<Vec<_>>(), pinned);
}

// -- what a case is ------------------------------------------------------------------------------------------------

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../data/posthog-merge-cases.json")).expect("the cases are readable")
}

/// Unknown keys are errors: an expectation that nobody looks at must not hide in the file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    policy: CasePolicy,
    given: Vec<Box<RawValue>>,
    when: Vec<Box<RawValue>>,
    /// Ids that only bring about what is given; left out before persons are compared.
    #[serde(default)]
    ignore_ids: BTreeSet<String>,
    expect: Expect,
    #[serde(rename = "evidence")]
    _evidence: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CasePolicy {
    #[serde(rename = "dialect")]
    preset: Preset,
    max_moved_ids: Option<u32>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// All persons there are.
    persons: Vec<ExpectedPerson>,
    /// Of the operations in `when`, in their order.
    warnings: Vec<String>,
    same_person: Vec<[String; 2]>,
    different_person: Vec<[String; 2]>,
    #[serde(default)]
    events: Vec<ExpectedEvent>,
    /// What PostHog's pipeline does with the message afterwards; not ours.
    #[serde(rename = "disposition")]
    _disposition: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedPerson {
    distinct_ids: BTreeSet<String>,
    properties: BTreeMap<String, Value>,
    #[serde(default)]
    properties_match: Match,
    is_identified: bool,
    created_at: Option<Timestamp>,
    founding_id: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Match {
    #[default]
    Exact,
    Subset,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedEvent {
    /// Which operation of `when`.
    op_index: usize,
    /// D10 of this id is the event's person, right after it.
    person_uuid_from: Option<String>,
    /// The properties that the event saw: none, if it was propertyless.
    person_properties: Option<BTreeMap<String, Value>>,
    person_mode: Option<String>,
    /// 1970 for implied persons; PostHog's way to mark them, not ours.
    #[serde(rename = "person_created_at")]
    _person_created_at: Option<String>,
}

// -- what the ledger says ------------------------------------------------------------------------------------------

/// What is known after a case, all of it asked from the public API.
struct Facts {
    ledger: Ledger,
    persons: Vec<Profile>,
    warnings: Vec<String>,
    /// The events of `when`, by their operation's place in it, with the properties each saw.
    events: BTreeMap<usize, (EventAnswer, BTreeMap<String, Value>)>,
}

fn fold(case: &Case) -> Facts {
    let mut policy = Policy::preset(case.policy.preset);
    policy.max_moved_ids = case.policy.max_moved_ids;
    let lines =
        case.given.iter().chain(&case.when).map(|operation| operation.get().replace('\n', " ") + "\n");
    let operations = import::operations(&lines.collect::<String>(), Format::Ops, &policy);
    assert_eq!(operations.len(), case.given.len() + case.when.len(), "case `{}`", case.name);

    let (mut ledger, storage) = new_ledger(policy.clone());
    let mut appended = Vec::new();
    let mut seen = Vec::new();
    for operation in &operations {
        appended.push(ledger.append(operation.clone()).expect("the cases keep all bounds"));
        seen.push(properties_of(&ledger, operation));
    }
    let digests = check(&ledger, &storage, operations.len());
    assert_eq!(in_one_batch(&operations, policy), digests, "case `{}`: one batch, one by one", case.name);
    assert_repeats_are_duplicates(&mut ledger, &storage, &operations, &appended);

    let when = case.given.len();
    let mut by_seq = BTreeMap::new();
    ledger.reader().events(|event| drop(by_seq.insert(event.seq, event))).expect("the log is readable");
    let events = (appended.iter().zip(seen).skip(when).enumerate())
        .filter_map(|(index, (appended, seen))| Some((index, (by_seq.get(&appended.seq()?)?.clone(), seen))));
    let outcomes = appended.iter().skip(when).filter_map(Appended::outcome);
    Facts {
        warnings: outcomes.flat_map(warnings).collect(),
        events: events.collect(),
        persons: ledger.persons().map(|person| person.expect("the log is readable")).collect(),
        ledger,
    }
}

fn in_one_batch(
    operations: &[Operation],
    policy: Policy,
) -> (identity_ledger::log::Digest, identity_ledger::log::Digest) {
    let (mut ledger, storage) = new_ledger(policy);
    let appended = ledger.append_batch(operations).expect("the cases keep all bounds");
    assert_eq!(appended.len(), operations.len());
    check(&ledger, &storage, operations.len())
}

/// The same input a second time changes nothing (G4).
fn assert_repeats_are_duplicates(
    ledger: &mut Ledger,
    storage: &Arc<Memory>,
    operations: &[Operation],
    appended: &[Appended],
) {
    let repeated = ledger.append_batch(operations).expect("the cases keep all bounds");
    for (first, again) in appended.iter().zip(repeated) {
        let seq = first.seq().expect("every operation of a case is recorded");
        assert_eq!(again, Appended::Duplicate { seq });
    }
    let _ = check(ledger, storage, operations.len());
}

/// The properties an event sees: those of its person right after it, or none if it is propertyless (C1).
fn properties_of(ledger: &Ledger, operation: &Operation) -> BTreeMap<String, Value> {
    let Request::Capture { who: Actor::Id(id), .. } = &operation.request else { return BTreeMap::new() };
    if operation.processing == identity_ledger::Processing::Off {
        return BTreeMap::new();
    }
    let profile = ledger.profile(id.as_str()).expect("the log is readable");
    profile.map(|profile| values(&profile)).unwrap_or_default()
}

fn values(profile: &Profile) -> BTreeMap<String, Value> {
    let value = |property: &identity_ledger::answer::PropertyAnswer| {
        property.value.clone().expect("nothing is erased")
    };
    profile.properties.iter().map(|(key, property)| (key.clone(), value(property))).collect()
}

/// An outcome's refusal and notices by the names the cases use. A rule they have no name for stands under its own.
fn warnings(outcome: &Outcome) -> Vec<String> {
    let refusal = outcome.refusal.map(|refusal| match refusal.rule() {
        "B2" => "cannot_merge_with_illegal_distinct_id",
        "D6" => "cannot_merge_already_identified",
        "C7" => "invalid_event_when_process_person_profile_is_false",
        rule => rule,
    });
    let notices = outcome.notices.names().filter(|notice| *notice == "invalid_process_person_profile");
    refusal.into_iter().chain(notices).map(str::to_owned).collect()
}

// -- comparison ----------------------------------------------------------------------------------------------------

fn failure(case: &Case, facts: &Facts) -> Option<String> {
    let differences = differences(case, facts);
    let text = || format!("case `{}`\n  {}", case.name, differences.join("\n  "));
    (!differences.is_empty()).then(text)
}

/// Everything in which the facts are not as expected, one line each.
fn differences(case: &Case, facts: &Facts) -> Vec<String> {
    let Expect { persons, warnings, same_person, different_person, events, .. } = &case.expect;
    let mut found = person_differences(persons, &case.ignore_ids, facts);
    if *warnings != facts.warnings {
        found.push(format!("warnings: expected {warnings:?}, found {:?}", facts.warnings));
    }
    let same = |[a, b]: &[String; 2]| {
        let (a, b) = (facts.ledger.reader().person(a), facts.ledger.reader().person(b));
        a.is_some() && a == b
    };
    let apart = same_person.iter().filter(|pair| !same(pair));
    found.extend(apart.map(|[a, b]| format!("`{a}` and `{b}`: expected one person, found two")));
    let together = different_person.iter().filter(|pair| same(pair));
    found.extend(together.map(|[a, b]| format!("`{a}` and `{b}`: expected two persons, found one")));
    for event in events {
        found.extend(event_differences(event, facts));
    }
    found
}

fn person_differences(expected: &[ExpectedPerson], ignore: &BTreeSet<String>, facts: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    let mut unexpected: BTreeMap<BTreeSet<String>, &Profile> = BTreeMap::new();
    for profile in &facts.persons {
        let ids = profile.distinct_ids.iter().filter(|id| !ignore.contains(*id)).cloned();
        let twin = unexpected.insert(ids.collect(), profile);
        assert!(twin.is_none(), "two persons never have the same ids");
    }
    for person in expected {
        match unexpected.remove(&person.distinct_ids) {
            Some(profile) => found.extend(profile_differences(person, profile)),
            None => found.push(format!("person {:?}: expected, not found", person.distinct_ids)),
        }
    }
    found.extend(unexpected.into_keys().map(|ids| format!("person {ids:?}: found, not expected")));
    found
}

fn profile_differences(person: &ExpectedPerson, profile: &Profile) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: &str, expected: String, found_is: String| {
        if expected != found_is {
            let ids = &person.distinct_ids;
            found.push(format!("person {ids:?}, {what}: expected {expected}, found {found_is}"));
        }
    };
    differs("is_identified", person.is_identified.to_string(), profile.is_identified.to_string());
    if let Some(created_at) = person.created_at {
        differs("created_at", created_at.to_string(), profile.created_at.to_string());
    }
    if let Some(founding) = &person.founding_id {
        let expected = PersonId::founded_by(&Tenant::default(), founding);
        differs("person_id", expected.to_string(), profile.person_id.to_string());
    }
    let mut properties = values(profile);
    if person.properties_match == Match::Subset {
        properties.retain(|key, _| person.properties.contains_key(key));
    }
    differs("properties", json(&person.properties), json(&properties));
    found
}

fn json(properties: &BTreeMap<String, Value>) -> String {
    serde_json::to_string(properties).expect("values are JSON")
}

fn event_differences(expected: &ExpectedEvent, facts: &Facts) -> Vec<String> {
    let index = expected.op_index;
    let Some((event, seen)) = facts.events.get(&index) else {
        return vec![format!("operation {index}: expected an event, found none")];
    };
    let mut found = Vec::new();
    let (person, founding) = (event.person_id_then, expected.person_uuid_from.as_ref());
    let founded = founding.map(|id| PersonId::founded_by(&Tenant::default(), id));
    if let Some(expected) = founded.filter(|expected| *expected != person) {
        found.push(format!("event {index}, person: expected {expected}, found {person}"));
    }
    let mode = match event.mode {
        EventMode::Full => "full",
        EventMode::Propertyless => "propertyless",
    };
    if let Some(expected) = expected.person_mode.as_deref().filter(|expected| *expected != mode) {
        found.push(format!("event {index}, mode: expected {expected}, found {mode}"));
    }
    if let Some(expected) = expected.person_properties.as_ref().filter(|expected| *expected != seen) {
        found.push(format!("event {index}, properties: expected {}, found {}", json(expected), json(seen)));
    }
    found
}

// -- disturbance ---------------------------------------------------------------------------------------------------

/// The case with one thing changed in what it expects, in every way there is.
fn disturbances(case: &Case) -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut disturb = |what, change: &dyn Fn(&mut Expect)| {
        let mut disturbed = case.clone();
        change(&mut disturbed.expect);
        all.push((what, disturbed));
    };
    let foreign = || "nobody".to_owned();
    for (at, person) in case.expect.persons.iter().enumerate() {
        disturb("a dropped person", &|expect| drop(expect.persons.remove(at)));
        disturb("a flipped is_identified", &|expect| expect.persons[at].is_identified ^= true);
        disturb("a dropped id", &|expect| drop(expect.persons[at].distinct_ids.pop_first()));
        disturb("a foreign id", &|expect| expect.persons[at].distinct_ids.extend([foreign()]));
        disturb("a foreign property", &|expect| {
            expect.persons[at].properties.extend([(foreign(), Value::Null)]);
        });
        for key in person.properties.keys() {
            disturb("a changed property", &|expect| {
                expect.persons[at].properties.extend([(key.clone(), Value::from("another value"))]);
            });
            if person.properties_match == Match::Exact {
                disturb("a removed property", &|expect| drop(expect.persons[at].properties.remove(key)));
            }
        }
        if let Some(created_at) = person.created_at {
            let later = created_at.checked_add_micros(1);
            disturb("a changed created_at", &|expect| expect.persons[at].created_at = later);
        }
        if person.founding_id.is_some() {
            disturb("a foreign founding_id", &|expect| expect.persons[at].founding_id = Some(foreign()));
        }
    }
    for at in 0..case.expect.warnings.len() {
        disturb("a removed warning", &|expect| drop(expect.warnings.remove(at)));
    }
    disturb("a foreign warning", &|expect| expect.warnings.push(foreign()));
    let nobody = ExpectedPerson {
        distinct_ids: BTreeSet::from([foreign()]),
        properties: BTreeMap::new(),
        properties_match: Match::Exact,
        is_identified: false,
        created_at: None,
        founding_id: None,
    };
    disturb("a foreign person", &|expect| expect.persons.push(nobody.clone()));
    for pair in &case.expect.same_person {
        disturb("one person taken for two", &|expect| expect.different_person.push(pair.clone()));
    }
    for pair in &case.expect.different_person {
        disturb("two persons taken for one", &|expect| expect.same_person.push(pair.clone()));
    }
    for (at, event) in case.expect.events.iter().enumerate() {
        if event.person_mode.is_some() {
            let other = |mode: &str| if mode == "full" { "propertyless" } else { "full" }.to_owned();
            disturb("a flipped person_mode", &|expect| {
                let mode = &mut expect.events[at].person_mode;
                *mode = mode.as_deref().map(other);
            });
        }
        if event.person_uuid_from.is_some() {
            disturb("a foreign person of an event", &|expect| {
                expect.events[at].person_uuid_from = Some(foreign());
            });
        }
        if event.person_properties.is_some() {
            disturb("a foreign property of an event", &|expect| {
                let seen = expect.events[at].person_properties.get_or_insert_default();
                seen.extend([(foreign(), Value::Null)]);
            });
        }
    }
    all
}
