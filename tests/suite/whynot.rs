//! Why two ids are two persons: the way with the fewest barriers, held against a search that knows nothing but the outcomes.
#![cfg(feature = "testing")]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::short::{at, id, new_ledger};
use identity_ledger::log::AskedVerb;
use identity_ledger::testing::history::History;
use identity_ledger::*;

fn identify(ledger: &mut Ledger, target: &str, source: &str) -> Seq {
    ledger.append(Operation::identify(at(1), id(target), Some(Source::new(source)))).unwrap().seq().unwrap()
}

fn alias(ledger: &mut Ledger, target: &str, source: &str) -> Seq {
    ledger.append(Operation::alias(at(2), id(target), Source::new(source))).unwrap().seq().unwrap()
}

/// Every record that names two ids, from the outcomes alone.
fn links(ledger: &Ledger) -> Vec<OutcomeAnswer> {
    let mut links = Vec::new();
    ledger.reader().outcomes(|outcome| links.push(outcome)).unwrap();
    links.retain(|link| link.other_id.as_ref().is_some_and(|other| *other != link.distinct_id));
    links
}

fn is_one(ledger: &Ledger, a: &str, b: &str) -> bool {
    ledger.reader().person(a).is_some() && ledger.reader().person(a) == ledger.reader().person(b)
}

/// The least (barriers, steps) of a way from `a` to each id: every link tried again and again until nothing gets less.
fn least(ledger: &Ledger, links: &[OutcomeAnswer], a: &str) -> BTreeMap<String, (usize, usize)> {
    let mut least = BTreeMap::from([(a.to_owned(), (0, 0))]);
    loop {
        let before = least.clone();
        for link in links {
            let ends = [link.distinct_id.as_str(), link.other_id.as_deref().unwrap()];
            let barrier = usize::from(!is_one(ledger, ends[0], ends[1]));
            for [from, to] in [ends, [ends[1], ends[0]]] {
                let Some((barriers, steps)) = least.get(from).copied() else { continue };
                let way = (barriers + barrier, steps + 1);
                let known = least.entry(to.to_owned()).or_insert(way);
                *known = way.min(*known);
            }
        }
        if least == before {
            return least;
        }
    }
}

/// A ledger with the same history.
fn copy(policy: &Policy, history: &History) -> Ledger {
    let mut ledger = Ledger::in_memory(Tenant::default(), policy.clone()).unwrap();
    for operation in &history.operations {
        drop(ledger.append(operation.clone()));
    }
    ledger
}

#[test]
fn a_link_that_a_remedy_names_joins_the_two() {
    let (mut tried, mut turned) = (0, 0);
    for seed in 0..120 {
        let policy = Policy::preset([Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3]);
        let history = History::seeded(&policy, seed);
        let ledger = copy(&policy, &history);
        let mut remedies = BTreeMap::new();
        for link in links(&ledger) {
            let why_not =
                ledger.why_not(&link.distinct_id, link.other_id.as_ref().unwrap()).unwrap().unwrap();
            let found = why_not.way.into_iter().filter_map(|step| step.barrier?.remedy);
            remedies.extend(found.map(|remedy| (format!("{remedy:?}"), remedy)));
        }
        for remedy in remedies.into_values() {
            let mut ledger = copy(&policy, &history);
            let (t, s, operation) = match &remedy {
                explain::Remedy::Alias { retract, distinct_id: t, alias: s } => {
                    let _ = ledger.append(Operation::retract(at(9), Target::Record(*retract))).unwrap();
                    (t, s, Operation::alias(at(9), id(&t.text), Source::new(&s.text)))
                }
                explain::Remedy::MergeDangerously { distinct_id: t, alias: s } => {
                    (t, s, Operation::merge_dangerously(at(9), id(&t.text), Source::new(&s.text)))
                }
                _ => continue,
            };
            tried += 1;
            turned += u32::from(matches!(remedy, explain::Remedy::Alias { .. }));
            assert!(!is_one(&ledger, &t.text, &s.text), "seed {seed}: {remedy}");
            let _ = ledger.append(operation).unwrap();
            assert!(is_one(&ledger, &t.text, &s.text), "seed {seed}: {remedy} does not join them");
        }
    }
    assert!(tried > 50 && turned > 0, "{tried} {turned}");
}

#[test]
fn an_alias_the_wrong_way_round_is_told_the_right_way() {
    let mut ledger = new_ledger();
    identify(&mut ledger, "user", "browser");
    let set = Operation::new(at(1), Request::Set { who: Actor::Id(id("device")) });
    let _ = ledger.append(set).unwrap(); // a person that is not identified
    let refused = alias(&mut ledger, "device", "user");
    let why_not = ledger.why_not("device", "browser").unwrap().unwrap();
    let (step, barrier) = why_not.barriers().next().unwrap();
    let remedy = barrier.remedy.as_ref().unwrap().to_string();
    assert_eq!((step.seq, barrier.rule), (refused, "D6"));
    let expected =
        format!("a `retract` of record {refused}, then the other direction: `alias` of `user` with `device`");
    assert_eq!(remedy, expected);
    let _ = ledger.append(Operation::retract(at(3), Target::Record(refused))).unwrap();
    alias(&mut ledger, "user", "device");
    assert!(is_one(&ledger, "device", "browser"));
}

#[test]
fn the_way_has_the_fewest_barriers_and_then_the_fewest_steps() {
    let (mut apart, mut none, mut rules) = (0, 0, BTreeSet::new());
    for seed in 0..200 {
        let policy = Policy::preset([Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3]);
        let history = History::seeded(&policy, seed);
        let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
        history.append_to(&mut ledger).unwrap();
        let links = links(&ledger);
        let mut bodies = Vec::new();
        ledger.reader().replay(|step| bodies.push(step.record.body())).unwrap();
        let undoes = |verb: &AskedVerb| matches!(verb.name(), "retract" | "split" | "reclassify");
        let undone = bodies.iter().filter_map(|body| body.verb()).any(undoes);
        let ids: Vec<&str> =
            ledger.reader().state().ids().filter_map(|id| ledger.reader().id_text(id)).collect();
        for a in &ids {
            let least = least(&ledger, &links, a);
            for b in &ids {
                let why_not = ledger.why_not(a, b).unwrap().unwrap();
                assert_eq!(why_not.same, a == b || is_one(&ledger, a, b));
                if why_not.same {
                    assert_eq!(why_not.way, []);
                    continue;
                }
                apart += 1;
                let found = (why_not.barriers().count(), why_not.way.len());
                assert_eq!(found, least.get(*b).copied().unwrap_or_default(), "{a} to {b}\n{history}");
                none += usize::from(why_not.way.is_empty());
                let mut at = (*a).to_owned();
                for step in &why_not.way {
                    assert_eq!(step.ids[0].text, at);
                    let link = links.iter().find(|link| link.seq == step.seq).unwrap();
                    let mut named = [&link.distinct_id, link.other_id.as_ref().unwrap()];
                    let mut ends = [&step.ids[0].text, &step.ids[1].text];
                    named.sort();
                    ends.sort();
                    assert_eq!((named, step.op), (ends, link.op));
                    if let Some(barrier) = &step.barrier {
                        let body = &bodies[barrier.blocking_seq.0 as usize];
                        match (barrier.rule, body.verb()) {
                            ("H1", Some(AskedVerb::Retract(target))) => {
                                assert_eq!(Seq(*target), step.seq);
                                assert!(ledger.reader().state().is_retracted(step.seq));
                            }
                            ("H2", Some(AskedVerb::Split(_))) => {
                                let by = barrier.blocking_seq;
                                let then = |seq: u64| {
                                    step.ids
                                        .clone()
                                        .map(|id| ledger.reader().person_as_of(&id.text, Seq(seq)))
                                };
                                let ([a, b], [c, d]) = (then(by.0 - 1), then(by.0));
                                assert!(by > step.seq && a == b && c != d, "{history}");
                            }
                            _ if undone => {} // refused as things stand now, which need not be as they stood
                            _ => {
                                let told =
                                    (Some(barrier.rule), Some(barrier.blocking_seq), Some(&barrier.reason));
                                assert_eq!(told, (link.rule, link.blocking_seq, link.reason.as_ref()));
                            }
                        }
                        rules.insert(barrier.rule);
                    } else {
                        assert!(is_one(&ledger, &step.ids[0].text, &step.ids[1].text));
                    }
                    at = step.ids[1].text.clone();
                }
                assert!(why_not.way.is_empty() || at == *b);
            }
        }
    }
    assert!(apart > 2_000 && none > 100 && none < apart, "{apart} {none}");
    assert_eq!(rules, BTreeSet::from(["B2", "C7", "D13", "D3", "D6", "D9", "H1", "H2"]));
}

#[test]
fn the_answer_names_rule_and_record_and_goes_round_what_more_barriers_stand_in() {
    let mut ledger = new_ledger();
    let ann = identify(&mut ledger, "ann", "phone");
    let bob = identify(&mut ledger, "bob", "laptop");
    let direct = alias(&mut ledger, "phone", "laptop");
    let why_not = ledger.why_not("phone", "laptop").unwrap().unwrap();
    assert_eq!(why_not.way.iter().map(|step| step.seq).collect::<Vec<_>>(), [direct]);
    let (_, barrier) = why_not.barriers().next().unwrap();
    assert_eq!((barrier.rule, barrier.blocking_seq), ("D6", bob));
    assert!(barrier.reason.contains("is identified already"), "{}", barrier.reason);
    let back = ledger.why_not("laptop", "phone").unwrap().unwrap();
    assert_eq!((back.person_a, back.person_b), (why_not.person_b, why_not.person_a));

    // From ann the way leads over her phone: two steps, one barrier.
    let from_ann = ledger.why_not("ann", "laptop").unwrap().unwrap();
    assert_eq!(from_ann.way.iter().map(|step| step.seq).collect::<Vec<_>>(), [ann, direct]);

    let _ = ledger.append(Operation::properties(at(9), id("cat"))).unwrap();
    let nothing = ledger.why_not("ann", "cat").unwrap().unwrap();
    assert!(!nothing.same && nothing.way.is_empty(), "nothing ever linked them");
    assert_eq!(ledger.why_not("ann", "nobody").unwrap(), None);
}
