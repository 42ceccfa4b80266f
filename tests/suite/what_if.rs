//! What if: a ledger under another policy, at another time, beside another ledger.
//! The laws are in `tests/laws.rs`, the rule's page is `tests/scenarios/H4-what-if.txt`.
#![cfg(feature = "testing")]

use identity_ledger::diff::{Content, Diff, Name};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::model::Survivor;
use identity_ledger::storage::Memory;
use identity_ledger::testing::workload::{Shape, Workload};
use identity_ledger::*;

fn ledger(policy: Policy, people: u64) -> Ledger {
    let mut ledger = LedgerOptions::new()
        .seeded(1)
        .create_in(std::sync::Arc::new(Memory::new()), Tenant::default(), policy)
        .unwrap();
    let operations: Vec<Operation> = Workload::new(Shape::SharedDevices, people, 1).collect();
    for batch in operations.chunks(1_000) {
        assert!(ledger.append_batch(batch).is_ok());
    }
    ledger
}

/// Three people to a device, and policies that tell them apart or do not: the whole of it, on made-up traffic.
#[test]
fn a_difference_of_made_up_traffic_leads_from_one_to_the_other() {
    let policy = Policy::preset(Preset::Posthog);
    let recorded = ledger(policy.clone(), 60);
    let now = Content::of(&recorded.reader().view()).unwrap();
    let policies = [
        Policy::preset(Preset::Strict),
        Policy::preset(Preset::OneUser),
        Policy { survivor: Survivor::Elder, max_ids_per_person: Some(3), ..policy },
    ];
    for policy in policies {
        let what_if = recorded.reader().what_if(&policy).unwrap();
        let there = what_if.diff().apply(&now).unwrap();
        assert_eq!(there, Content::of(what_if.view()).unwrap());
        let back = Diff::between(what_if.view(), &recorded.reader().view()).unwrap();
        assert_eq!(back.apply(&there).unwrap(), now);
        let other = ledger(policy, 60);
        assert_eq!(
            there,
            Content::of(&other.reader().view()).unwrap(),
            "recorded under that policy it is the same"
        );
    }
}

#[test]
fn a_difference_does_not_apply_to_another_content() {
    let recorded = ledger(Policy::default(), 9);
    let (then, now) = (recorded.reader().view_as_of(Seq(9)).unwrap(), recorded.reader().view());
    let diff = Diff::between(&then, &now).unwrap();
    let misfit = diff.apply(&Content::of(&now).unwrap()).unwrap_err();
    assert!(misfit.to_string().starts_with("the difference does not fit: person "), "{misfit}");
    let nothing = diff.apply(&Content::default()).unwrap_err();
    assert!(nothing.to_string().contains("is None; expected Some"), "{nothing}");
}

#[test]
fn a_policy_out_of_its_bounds_is_an_error() {
    let recorded = ledger(Policy::default(), 1);
    let error =
        recorded.reader().what_if(&Policy { max_user_ids: Some(0), ..Policy::default() }).unwrap_err();
    assert_eq!(error.to_string(), "policy `max_user_ids` is 0; expected at least 1, or null for no limit");
}

/// An erased id says no more what it was, and its class was decided from that: it stays (B4, H4).
#[test]
fn ids_whose_text_is_erased_keep_their_class_and_are_named() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let (at, id) = (Timestamp::from_micros(0).unwrap(), |text: &str| DistinctId::new(text).unwrap());
    for user in ["ann", "bob"] {
        let identify = Operation::identify(at, id(user), Some(Source::new("browser")));
        assert!(ledger.append(identify).is_ok());
    }
    let blocking = Policy { blocked_ids: ["bob".to_owned()].into(), ..Policy::default() };
    let split = ledger.reader().what_if(&blocking).unwrap().diff().split.len();
    assert_eq!(split, 1, "bob is unmergeable under this policy");

    let subject = ErasureSubject::Ids([id("bob")].into());
    assert!(ledger.erase(&[ErasureRequest::new(at, subject, "asked")]).is_ok());
    let what_if = ledger.reader().what_if(&blocking).unwrap();
    assert_eq!(what_if.diff().split, [], "nobody knows any more that it was bob");
    assert_eq!(what_if.diff().classes_kept, [Name::Erased(2)]);
    let one_user = ledger.reader().what_if(&Policy::preset(Preset::OneUser)).unwrap();
    assert_eq!(one_user.diff().split.len(), 1, "the class that was recorded is a user's");
    let moved: Vec<String> = one_user.diff().moved_ids().map(|id| id.distinct_id.to_string()).collect();
    assert_eq!(moved, ["$erased:2"]);
}

/// Of each part of a split person ten ids are named, at the limit and beyond it.
#[test]
fn a_part_of_a_person_names_ten_ids() {
    for ids in [limits::MAX_PART_IDS, limits::MAX_PART_IDS + 1] {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let (at, id) = (Timestamp::from_micros(0).unwrap(), |text: String| DistinctId::new(text).unwrap());
        for number in 1..ids {
            let source = Some(Source::new(&format!("anonymous-{number}")));
            assert!(ledger.append(Operation::identify(at, id("ann".to_owned()), source)).is_ok());
        }
        let identify = Operation::identify(at, id("bob".to_owned()), Some(Source::new("anonymous-1")));
        assert!(ledger.append(identify).is_ok());
        let what_if = ledger.reader().what_if(&Policy::preset(Preset::OneUser)).unwrap();
        let part = &what_if.diff().split[0].into[0];
        assert_eq!((part.ids, part.distinct_ids.len()), (ids as u64, limits::MAX_PART_IDS));
    }
}

/// `cargo test --release --all-features --test suite what_if:: -- --ignored --nocapture`: what the questions cost, as ratios to a
/// replay of the same log; the figures in docs/performance.md.
#[test]
#[ignore = "a figure, not a test"]
#[expect(clippy::disallowed_types, reason = "how long it took")]
fn what_the_questions_cost() {
    use std::time::Instant;
    let place = tempfile::tempdir().unwrap();
    let options = LedgerOptions::new().durability(Durability::Buffered);
    let mut ledger = options.create(place.path().join("web"), Tenant::default(), Policy::default()).unwrap();
    let mut operations = Workload::new(Shape::Web, 55_556, 1);
    loop {
        let batch: Vec<Operation> = operations.by_ref().take(1_000).collect();
        if batch.is_empty() {
            break;
        }
        assert!(ledger.append_batch(&batch).is_ok());
    }
    ledger.flush().unwrap();
    let last = ledger.checkpoint().records - 1;
    let timed = |what: &str, work: &mut dyn FnMut() -> String| {
        let mut times = Vec::new();
        let mut said = String::new();
        for _ in 0..5 {
            let began = Instant::now();
            said = work();
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        println!("{what}: least {:.6} s, median {:.6} s; {said}", times[0], times[2]);
        times[2]
    };
    println!("{} records, {} ids", last + 1, ledger.reader().state().ids().len());
    let replay = timed("replay", &mut || {
        let mut operations = 0_u64;
        ledger.reader().replay(|step| operations += u64::from(step.outcome.is_some())).unwrap();
        format!("{operations} operations")
    });
    let described = |diff: &Diff| {
        let Diff { merged, split, ids, properties, refusals, .. } = diff;
        let lengths = [merged.len(), split.len(), ids.len(), properties.len(), refusals.len()];
        format!("{lengths:?} merged, split, ids, properties, refusals")
    };
    let small = Policy { max_ids_per_person: Some(2), ..Policy::default() };
    for (what, policy) in [
        ("one-user", Policy::preset(Preset::OneUser)),
        ("posthog", Policy::default()),
        ("two ids a person", small),
    ] {
        let asked = timed(what, &mut || described(ledger.reader().what_if(&policy).unwrap().diff()));
        println!("  what-if / replay: {:.2}", asked / replay);
    }
    for at in [last / 2, last - 1_000] {
        let asked = timed("two points", &mut || {
            let then = ledger.reader().view_as_of(Seq(at)).unwrap();
            described(&Diff::between(&then, &ledger.reader().view()).unwrap())
        });
        println!("  diff / replay: {:.2}", asked / replay);
    }
    let (at, user) = (Timestamp::from_micros(0).unwrap(), DistinctId::new("user-7").unwrap());
    let ids = ledger.profile("user-7").unwrap().unwrap().distinct_ids;
    let leaves = ids.iter().filter(|id| **id != "user-7").map(|id| DistinctId::new(id.clone()).unwrap());
    let split = Operation::split(at, user, leaves, SplitMode::Each);
    timed("a preview", &mut || described(&ledger.reader().preview(&split).unwrap().diff));
    let other = ReadOnlyLedger::open(place.path().join("web")).unwrap();
    let asked = timed("two ledgers", &mut || {
        described(&Diff::between(&ledger.reader().view(), &other.reader().view()).unwrap())
    });
    println!("  diff / replay: {:.2}", asked / replay);
}
