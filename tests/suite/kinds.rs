//! Kinds of ids (D12): what the scenarios do not show. Laws fold histories whose policies have kinds.

use std::sync::Arc;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::model::{IdForm, IdKind, KindNo};
use identity_ledger::storage::Memory;
use identity_ledger::*;

fn emails(max_per_person: Option<u32>) -> Policy {
    let email = IdKind {
        name: "email".to_owned(),
        looks_like: Some(IdForm::Email),
        max_per_person,
        ..IdKind::default()
    };
    Policy { id_kinds: vec![email], ..Policy::default() }
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn alias(who: &str, other: &str) -> Operation {
    Operation::alias(Timestamp::from_micros(0).unwrap(), id(who), Source::new(other))
}

fn told(ledger: &mut Ledger, operation: Operation) -> (Option<&'static str>, Option<String>) {
    let refusal = ledger.append(operation).unwrap().outcome().and_then(|outcome| outcome.refusal);
    (refusal.map(|refusal| refusal.name()), refusal.map(|refusal| ledger.reader().reason(&refusal)))
}

#[test]
fn a_refusal_names_kind_limit_both_sides_and_what_would_join_them() {
    let mut ledger = Ledger::in_memory(Tenant::default(), emails(Some(2))).unwrap();
    for other in ["a@x.com", "b@x.com"] {
        assert_eq!(told(&mut ledger, alias("ann", other)).0, None);
    }
    let (name, reason) = told(&mut ledger, alias("ann", "c@x.com"));
    assert_eq!(name, Some("too_many_ids_of_kind"));
    assert_eq!(
        reason.unwrap(),
        "the side of this id has 2 of kind `email` and the other 1; the policy of record 0 allows 2 a person; `merge_dangerously` is not bound by it"
    );
    let why = ledger.reader().why_not("ann", "c@x.com").unwrap().unwrap();
    let (_, barrier) = why.barriers().next().unwrap();
    assert_eq!(barrier.rule, "D12");
    let remedy = barrier.remedy.clone().unwrap();
    assert_eq!(remedy.to_string(), "`merge_dangerously` of `ann` with `c@x.com`");
    let merge =
        Operation::merge_dangerously(Timestamp::from_micros(0).unwrap(), id("ann"), Source::new("c@x.com"));
    assert_eq!(told(&mut ledger, merge).0, None);
    let report = ledger.reader().report(10).unwrap();
    let emails = &report.kinds[0];
    assert_eq!((emails.ids, emails.persons, emails.most, emails.persons_beyond), (3, 1, 3, 1));
}

#[test]
fn a_policy_keeps_kinds_in_their_places() {
    let mut ledger = Ledger::in_memory(Tenant::default(), emails(None)).unwrap();
    let error = ledger.set_policy(&Policy::default()).unwrap_err().to_string();
    assert!(error.contains("`email` in place 1"), "{error}");
    let mut more = emails(Some(3));
    more.id_kinds.push(IdKind { name: "login".to_owned(), ..IdKind::default() });
    assert!(ledger.set_policy(&more).is_ok());
    more.id_kinds.reverse();
    assert!(ledger.set_policy(&more).is_err());
}

#[test]
fn what_if_asks_for_kinds_that_no_record_names() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    for other in ["a@x.com", "b@x.com"] {
        assert_eq!(told(&mut ledger, alias("ann", other)).0, None);
    }
    let what_if = ledger.reader().what_if(&emails(Some(1))).unwrap();
    let refusal = what_if.diff().refusals[0].after.clone().unwrap();
    assert_eq!((refusal.rule, refusal.blocking_seq), ("D12", None));
    assert!(
        refusal.reason.contains("`email` and the other 1; the policy asked about allows 1"),
        "{}",
        refusal.reason
    );
    assert_eq!(what_if.diff().ids[0].distinct_id.to_string(), "b@x.com");
}

/// The kind outlives the text, and counts are made again from a snapshot.
#[test]
fn an_erased_id_is_of_its_kind_still_and_a_snapshot_counts_it() {
    let disk = Arc::new(Memory::new());
    let options = || LedgerOptions::new().seeded(1);
    let mut ledger = options().create_in(disk.clone(), Tenant::default(), emails(Some(2))).unwrap();
    for other in ["a@x.com", "b@x.com", "phone"] {
        assert_eq!(told(&mut ledger, alias("ann", other)).0, None);
    }
    let (at, subject) = (Timestamp::from_micros(0).unwrap(), ErasureSubject::Ids([id("a@x.com")].into()));
    assert!(ledger.erase(&[ErasureRequest::new(at, subject, "asked")]).is_ok());
    ledger.snapshot().unwrap();
    let before = ledger.reader().state().digest();
    drop(ledger);
    let mut ledger = options().open_in(disk).unwrap();
    assert!(ledger.recovery().from_snapshot.is_some());
    let state = ledger.reader().state();
    assert_eq!(state.digest(), before);
    let person = state.person(ledger.reader().id_no("ann").unwrap()).unwrap();
    assert_eq!(state.held(person, KindNo(0)), 2);
    assert_eq!(told(&mut ledger, alias("ann", "c@x.com")).0, Some("too_many_ids_of_kind"));
}
