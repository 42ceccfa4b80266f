//! Relative changes (E9) in answers and exports: where a value comes from, and what an erasure leaves of it.
#![cfg(feature = "export")]

use std::collections::BTreeMap;

use crate::support::short::{at, id, new_ledger};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::export::{ChangeType, Row, Table};
use identity_ledger::*;

fn ask(ledger: &mut Ledger, operation: Operation) -> Seq {
    ledger.append(operation).unwrap().seq().unwrap()
}

fn ann(second: i64) -> Operation {
    Operation::properties(at(second), id("ann"))
}

/// By record, whether its write is the person's value now, and whose value that is.
fn writes(ledger: &Ledger) -> BTreeMap<Seq, (bool, Option<Seq>)> {
    let mut found = BTreeMap::new();
    let rows = ledger.reader().export().rows(&[Table::PropertyWrites], |row| {
        if let Row::PropertyWrites(row) = row {
            found.insert(row.seq, (row.is_current, row.current_seq));
        }
    });
    rows.unwrap();
    found
}

#[test]
fn a_change_that_does_not_fit_is_no_origin() {
    let mut ledger = new_ledger();
    let set = ask(&mut ledger, ann(1).set("n", 1).unwrap());
    let add = ask(&mut ledger, ann(2).add("n", 2).unwrap());
    let odd = ask(&mut ledger, ann(3).append("n", ["x"]).unwrap());
    let expected =
        BTreeMap::from([(set, (false, Some(add))), (add, (true, Some(add))), (odd, (false, Some(add)))]);
    assert_eq!(writes(&ledger), expected);
    let why = ledger.why_property("ann", "n").unwrap().unwrap();
    assert_eq!(why.now.map(|now| (now.value, now.seq)), Some((Some(Value::from(3)), add)));
    let beaten: Vec<_> = why.writes.iter().map(|write| write.beaten.map(|by| (by.rule, by.by))).collect();
    assert_eq!(beaten, [None, None, Some(("E9", odd))]);
    let again = ask(&mut ledger, ann(4).set("n", 7).unwrap());
    let why = ledger.why_property("ann", "n").unwrap().unwrap();
    let beaten: Vec<_> = why.writes.iter().map(|write| write.beaten.map(|by| (by.rule, by.by))).collect();
    let by = Some(("E1", again));
    assert_eq!(beaten, [by, by, by, None]);
}

#[test]
fn what_is_erased_in_part_says_so_and_the_feed_tells_it() {
    let mut ledger = new_ledger();
    let [tablet, phone] = ["tablet", "phone"].map(|who| {
        let operation = Operation::properties(at(1), id(who)).add("n", 2).unwrap();
        ask(&mut ledger, operation.append("l", [who]).unwrap())
    });
    let last = ask(&mut ledger, Operation::merge_dangerously(at(2), id("phone"), Source::new("tablet")));
    let erase = ErasureRequest::new(at(3), ErasureSubject::Ids([id("tablet")].into()), "");
    let erased = ledger.erase(&[erase]).unwrap()[0].seq;

    let profile = ledger.profile("phone").unwrap().unwrap();
    let n = &profile.properties["n"];
    assert_eq!((n.value.clone(), n.seq, n.erased_by), (Some(Value::from(2)), phone, Some(erased)));
    let json = serde_json::to_value(&profile).unwrap();
    assert_eq!(json["properties"]["l"], serde_json::json!(["phone"]));
    assert_eq!(json["partly_erased"]["l"], serde_json::json!(erased));

    let mut told = Vec::new();
    let tables = [Table::Persons, Table::PropertyWrites];
    ledger
        .reader()
        .changes(last, None)
        .unwrap()
        .rows(&tables, |change| {
            told.extend(match (&change.change, &change.row) {
                (ChangeType::UpdatePostimage, Row::Persons(row)) => Some((Seq(0), row.erased_keys.join(" "))),
                (ChangeType::UpdatePostimage, Row::PropertyWrites(row)) => Some((row.seq, row.key.clone())),
                _ => None,
            });
        })
        .unwrap();
    let write = |seq: Seq, key: &str| (seq, key.to_owned());
    let rows = [write(tablet, "l"), write(tablet, "n"), write(phone, "l"), write(phone, "n")];
    told[1..].sort();
    assert_eq!(told[0], write(Seq(0), "l n"));
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(told[1..], rows, "each may be current now, or not any more");
}

/// A person that takes in many persons of one change each, one after the other: each merge costs what it brings.
#[test]
fn many_counters_become_one() {
    const PERSONS: usize = 3_000;
    let mut ledger = new_ledger();
    let who = |number: usize| format!("u{number}");
    let adds: Vec<Operation> =
        (0..PERSONS).map(|n| Operation::properties(at(1), id(&who(n))).add("n", 1).unwrap()).collect();
    let merges: Vec<Operation> = (1..PERSONS)
        .map(|n| Operation::merge_dangerously(at(2), id(&who(0)), Source::new(&who(n))))
        .collect();
    drop(ledger.append_batch(&adds).unwrap());
    drop(ledger.append_batch(&merges).unwrap());
    let profile = ledger.profile("u7").unwrap().unwrap();
    assert_eq!(profile.properties["n"].value, Some(Value::from(PERSONS as i64)));
    let _ = ledger.append(Operation::split(at(3), id("u0"), [id("u7")], SplitMode::Each)).unwrap();
    let values = ["u0", "u7"].map(|who| ledger.profile(who).unwrap().unwrap().properties["n"].value.clone());
    assert_eq!(values, [PERSONS as i64 - 1, 1].map(|n| Some(Value::from(n))));
}
