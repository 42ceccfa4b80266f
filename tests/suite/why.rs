//! Why a property has its value: exactly one write stands, it is the profile's, and every other one was beaten by a record that
//! can be looked up.
#![cfg(feature = "testing")]

use crate::support::short::{at, id, new_ledger};
use identity_ledger::explain::{PropertyWrite, Superseded};
use identity_ledger::log::{Body, IdNo, Verb};
use identity_ledger::testing::history::{History, KEYS};
use identity_ledger::*;

/// What the log says of a key, record by record: no fold, only what was asked.
fn said(ledger: &Ledger, key: &str) -> Vec<(Seq, IdNo, &'static str)> {
    let mut keys = Vec::new();
    let mut said = Vec::new();
    ledger
        .reader()
        .replay(|step| {
            let body = step.record.body();
            if let Body::DefineKey(_) = body {
                keys.push(String::from_utf8(step.record.item().unwrap().to_vec()).unwrap());
            }
            let Some(head) = body.head() else { return };
            for change in body.changes().iter().filter(|change| keys[change.key.0 as usize] == key) {
                let verb = match change.verb {
                    Verb::SET => "set",
                    Verb::SET_ONCE => "set_once",
                    Verb::UNSET => "unset",
                    Verb::ADD => "add",
                    Verb::APPEND => "append",
                    Verb::UNION => "union",
                    Verb::REMOVE => "remove",
                    _ => continue,
                };
                said.push((step.record.seq(), head.id, verb));
            }
        })
        .unwrap();
    said
}

#[test]
fn one_write_stands_and_it_is_the_profiles() {
    let (mut stood, mut beaten, mut taken_back, mut none, mut relative) = (0, 0, 0, 0, 0);
    for seed in 0..600 {
        let preset = [Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3];
        let history = History::seeded(&Policy::preset(preset), seed);
        let mut ledger = Ledger::in_memory(Tenant::default(), history.policy.clone()).unwrap();
        history.append_to(&mut ledger).unwrap();
        let ids: Vec<IdNo> = ledger.reader().state().ids().collect();
        for key in KEYS {
            let said = said(&ledger, key);
            for asked in ids.iter().filter_map(|id| ledger.reader().id_text(*id)) {
                let person = ledger.reader().person(asked);
                let theirs = |id: IdNo| person.is_some() && ledger.reader().state().person(id) == person;
                let expected: Vec<(Seq, &str)> = said
                    .iter()
                    .filter(|(seq, id, _)| theirs(ledger.reader().state().speaks_for(*id, *seq)))
                    .map(|(seq, _, verb)| (*seq, *verb))
                    .collect();
                let why = ledger.why_property(asked, key).unwrap();
                let found: Vec<(Seq, &str)> =
                    why.iter().flat_map(|why| &why.writes).map(|write| (write.seq, write.verb)).collect();
                assert_eq!(found, expected, "seed {seed}, {asked}, {key}\n{history}");
                let Some(why) = why else { continue };
                let profile = ledger.profile(asked).unwrap().unwrap();
                assert_eq!(why.now, profile.properties.get(key).cloned(), "seed {seed}, {asked}, {key}");
                assert_eq!(why.person_id, profile.person_id);
                let standing: Vec<&PropertyWrite> =
                    why.writes.iter().filter(|write| write.beaten.is_none()).collect();
                match &why.now {
                    // E9: the last that stands is where the value comes from.
                    Some(now) if standing.iter().any(|write| !write.verb.contains("set")) => {
                        let last = standing.iter().rfind(|write| write.verb != "unset").unwrap();
                        assert_eq!(last.seq, now.seq, "seed {seed}, {asked}, {key}\n{history}");
                        relative += 1;
                    }
                    Some(now) => {
                        let won: Vec<(Seq, Option<&Value>)> =
                            standing.iter().map(|write| (write.seq, write.value.as_ref())).collect();
                        assert_eq!(
                            won,
                            [(now.seq, now.value.as_ref())],
                            "seed {seed}, {asked}, {key}\n{history}"
                        );
                        stood += 1;
                    }
                    None => {
                        let unset = standing.iter().all(|write| write.verb == "unset");
                        assert!(unset, "seed {seed}, {asked}, {key}: {standing:?}\n{history}");
                        none += 1;
                    }
                }
                for (write, by) in why.writes.iter().filter_map(|write| Some((write, write.beaten?))) {
                    assert!(by.by.0 < ledger.checkpoint().records);
                    assert_eq!(
                        by.rule == "H1",
                        ledger.reader().state().is_retracted(write.seq),
                        "seed {seed}\n{history}"
                    );
                    beaten += 1;
                    taken_back += usize::from(by.rule == "H1");
                }
            }
        }
    }
    assert!(relative > 50, "{relative}");
    let all = (stood, beaten, taken_back, none);
    assert!(stood > 1_000 && beaten > 1_000 && taken_back > 50 && none > 50, "{all:?}");
}

/// An operation that was refused before any effect said nothing, also if its id has a person later.
#[test]
fn what_was_refused_before_any_effect_does_not_stand() {
    let policy = Policy { max_ids_per_person: Some(1), ..Policy::default() };
    let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
    let _ = ledger.append(Operation::properties(at(1), id("ann"))).unwrap();
    let refused =
        Operation::identify(at(2), id("bob"), Some(Source::new("ann"))).set("plan", "free").unwrap();
    let refused = ledger.append(refused).unwrap();
    let _ = ledger.append(Operation::properties(at(3), id("bob"))).unwrap();
    let why = ledger.why_property("bob", "plan").unwrap().unwrap();
    assert_eq!((why.now, why.writes[0].seq), (None, refused.seq().unwrap()));
    assert_eq!(why.writes[0].beaten, Some(Superseded { rule: "D8", by: Seq(0) }));
}

/// Each way to lose, and the record that is named.
#[test]
fn what_was_beaten_names_the_rule_and_the_record() {
    let mut ledger = new_ledger();
    let mut say = |operation: Operation| ledger.append(operation).unwrap().seq().unwrap();
    let set = |second, who: &str, value: &str| {
        Operation::properties(at(second), id(who)).set("plan", value).unwrap()
    };
    let once = say(Operation::properties(at(1), id("ann")).set_once("plan", "first").unwrap());
    let set_1 = say(set(2, "ann", "free"));
    let late_once = say(Operation::properties(at(3), id("ann")).set_once("plan", "late").unwrap());
    let bob = say(set(4, "bob", "team"));
    let merge = say(Operation::alias(at(5), id("ann"), Source::new("bob")));
    let wrong = say(set(6, "bob", "wrong"));
    let back = say(Operation::retract(at(7), Target::Record(wrong)));
    let why = ledger.why_property("bob", "plan").unwrap().unwrap();
    let told: Vec<(Seq, Option<(&str, Seq)>)> = why
        .writes
        .iter()
        .map(|write| (write.seq, write.beaten.map(|beaten| (beaten.rule, beaten.by))))
        .collect();
    assert_eq!(
        told,
        [
            (once, Some(("E1", set_1))),
            (set_1, None),
            (late_once, Some(("E1", set_1))),
            (bob, Some(("E2", merge))),
            (wrong, Some(("H1", back))),
        ]
    );
    assert_eq!(why.now.unwrap().value, Some(Value::from("free")));
    assert_eq!(ledger.why_property("ann", "city").unwrap(), None, "nobody said anything of it");
    assert_eq!(ledger.why_property("carl", "plan").unwrap(), None, "nobody has this id");
}
