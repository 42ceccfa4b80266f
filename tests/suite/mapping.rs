//! Why another system has other persons: what is cited is so, and many differences of one component cost no more than one.
#![cfg(feature = "testing")]

use std::sync::Arc;

use identity_ledger::answer::{DifferenceKind, Mapping};
use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::history::{History, IDS};
use identity_ledger::*;

use crate::support::counting::Counting;
use crate::support::short::{at, id};

/// Made-up histories against made-up mappings: a joint is a link whose ends are one person here and two there, a barrier one whose ends are
/// two persons here, and there is one where `why-not` finds a way.
#[test]
fn what_is_cited_for_a_difference_is_so() {
    let (mut joints, mut barriers, mut none) = (0, 0, 0);
    for seed in 0..400 {
        let policy = Policy::preset([Preset::OneUser, Preset::Posthog, Preset::Strict][seed as usize % 3]);
        let mut ledger = Ledger::in_memory(Tenant::default(), policy.clone()).unwrap();
        History::seeded(&policy, seed).append_to(&mut ledger).unwrap();
        let mut chance = Chance::new(seed);
        let mut mapping = Mapping::default();
        for id in IDS {
            mapping.insert(id, Some(&chance.below(3).to_string()), 0).unwrap();
        }
        let reader = ledger.reader();
        let person = |no| reader.state().person(no);
        let mut why = reader.explain_differences(&mapping).unwrap();
        for difference in reader.compare(&mapping).differences {
            let reason = why.explain(&difference).unwrap();
            let body = reason.seq.map(|seq| reader.body(seq).unwrap().unwrap());
            let ends = body.as_ref().map(|body| match body.other() {
                log::LinkSource::Id(source) => [body.head().unwrap().id, source],
                _ => {
                    // A split leaves ids together that no link of them holds any more.
                    let told = reason.reason.split('`');
                    let ids: Vec<_> = told.filter_map(|text| reader.id_no(text)).collect();
                    assert_eq!((body.name(), ids.len()), ("split", 2), "seed {seed}: {reason:?}");
                    [ids[0], ids[1]]
                }
            });
            let there = |no| mapping.person(reader.id_text(no).unwrap());
            match (difference.kind, ends) {
                (DifferenceKind::JoinedHere, Some([a, b])) => {
                    assert!(person(a).is_some() && person(a) == person(b), "seed {seed}: {reason:?}");
                    assert_ne!(there(a), there(b), "seed {seed}: {reason:?}");
                    joints += 1;
                }
                (DifferenceKind::JoinedThere, Some([a, b])) => {
                    assert!(person(a).is_none() || person(a) != person(b), "seed {seed}: {reason:?}");
                    assert!(reason.rule.is_some());
                    barriers += 1;
                }
                (DifferenceKind::JoinedThere, None) => {
                    let other = difference.other.unwrap();
                    let why_not = ledger.why_not(&other, &difference.distinct_id).unwrap().unwrap();
                    assert_eq!(why_not.way, [], "seed {seed}: {other} and {}", difference.distinct_id);
                    none += 1;
                }
                (DifferenceKind::JoinedHere, None) => panic!("seed {seed}: nothing joins {difference:?}"),
                _ => {}
            }
        }
    }
    assert!(joints > 50 && barriers > 50 && none > 50, "{joints} {barriers} {none}");
}

/// Users whose links to one visitor are refused, and whom the mapping has for one person, or for one in each pair: each difference folded
/// their component again.
#[test]
fn differences_of_one_component_cost_one_fold_of_it() {
    let read = |users: usize, pairs: usize| {
        let disk = Arc::new(Counting::default());
        let one_user = Policy::preset(Preset::OneUser);
        let mut ledger = LedgerOptions::new().create_in(disk.clone(), Tenant::default(), one_user).unwrap();
        let mut mapping = Mapping::default();
        for number in 0..users {
            let user = format!("user {number}");
            for source in [format!("phone {number}"), "visitor".to_owned()] {
                let _ =
                    ledger.append(Operation::identify(at(1), id(&user), Some(Source::new(&source)))).unwrap();
            }
            mapping.insert(&user, Some(&(number / pairs).to_string()), 0).unwrap();
        }
        let differences = ledger.reader().compare(&mapping).differences;
        assert!(differences.len() >= users / 2 - 1);
        let mut why = ledger.reader().explain_differences(&mapping).unwrap();
        disk.bytes_read();
        for difference in &differences {
            assert_eq!(why.explain(difference).unwrap().rule, Some("D6"));
        }
        disk.bytes_read()
    };
    for pairs in [2, 10_000] {
        let (few, many) = (read(150, pairs), read(600, pairs));
        assert!(many < 6 * few, "four times the users: {few} and {many} bytes, {pairs} a person");
    }
}

/// People who sign in on one device, which no record links to them: each of them folded the component of the device again.
#[test]
fn a_component_that_a_device_holds_together_is_folded_once_too() {
    let read = |users: usize| {
        let disk = Arc::new(Counting::default());
        let mut ledger =
            LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
        let mut mapping = Mapping::default();
        for number in 0..users {
            let (kiosk, user) = (DeviceId::new("kiosk").unwrap(), format!("user {number}"));
            let _ = ledger.device(kiosk).identify(at(1), id(&user), Changes::default()).unwrap();
            mapping.insert(&user, Some(&(number / 2).to_string()), 0).unwrap();
        }
        let differences = ledger.reader().compare(&mapping).differences;
        let mut why = ledger.reader().explain_differences(&mapping).unwrap();
        disk.bytes_read();
        differences.iter().for_each(|difference| drop(why.explain(difference).unwrap()));
        (differences.len() >= users / 2 - 1).then(|| disk.bytes_read()).unwrap()
    };
    let (few, many) = (read(150), read(600));
    assert!(many < 6 * few, "four times the users: {few} and {many} bytes");
}
