//! The kit for users, used: the example's handler keeps its promises, and handlers that do not are caught.
#![cfg(feature = "testing")]

#[path = "../../examples/handler.rs"]
#[allow(dead_code, reason = "the example's own main runs what is not used here")]
mod handler;

use std::error::Error;

use handler::{Message, What, day, handle};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::history::History;
use identity_ledger::testing::reference::Reference;
use identity_ledger::testing::{check, differences, laws};
use identity_ledger::*;

#[test]
fn the_example_holds() {
    handler::main().unwrap();
}

/// The message's id is dropped.
fn without_ids(ledger: &mut Ledger, message: &Message) -> Result<Appended, Box<dyn Error>> {
    let id = u128::from(ledger.checkpoint().records) << 64;
    handle(ledger, &Message { id, ..message.clone() })
}

/// Every sign-in is told as a link between the browser and the user, whoever was signed in before.
fn with_merges(ledger: &mut Ledger, message: &Message) -> Result<Appended, Box<dyn Error>> {
    let What::SignIn(user) = &message.what else { return handle(ledger, message) };
    let merge = Operation::merge_dangerously(
        Timestamp::from_micros(message.at)?,
        DistinctId::new(user.as_str())?,
        Source::new(&message.browser),
    );
    Ok(ledger.append(merge.with_id(OperationId(uuid::Uuid::from_u128(message.id))))?)
}

#[test]
fn a_handler_that_drops_ids_or_merges_on_sign_in_is_caught() {
    let caught = |handler| (0..100).find_map(|seed| day(handler, seed).err()).unwrap().to_string();
    assert!(caught(without_ids).contains("recorded twice"), "{}", caught(without_ids));
    assert!(caught(with_merges).contains("became one person"), "{}", caught(with_merges));
}

#[test]
fn all_laws_hold_under_each_preset() {
    for (name, preset) in Preset::ALL {
        laws::hold(&Policy::preset(preset), 0..40).unwrap_or_else(|broken| panic!("{name}: {broken}"));
    }
}

/// The check is checked: told a log but for one operation, or under another policy, the reference model differs.
#[test]
fn the_reference_model_notices_an_operation_left_out() {
    let policy = Policy::default();
    let (mut tried, mut noticed) = (0, 0);
    for seed in 0..60 {
        let history = History::seeded(&policy, seed);
        let mut ledger = Ledger::in_memory(Tenant::default(), policy.clone()).unwrap();
        let mut recorded = Vec::new();
        for operation in &history.operations {
            if let Ok(Appended::Recorded { outcome, .. }) = ledger.append(operation.clone()) {
                recorded.push((operation, outcome));
            }
        }
        assert!(check(ledger.reader()).is_ok());
        let with_effect = recorded.iter().filter(|(_, outcome)| outcome.link.is_some() || outcome.founded);
        for left_out in with_effect.clone().map(|(operation, _)| *operation) {
            let mut reference = Reference::new(policy.clone());
            let mut gone = Vec::new();
            for (operation, _) in &recorded {
                let takes_back = match &operation.request {
                    Request::Retract { target: Target::Operation(id) } => Some(*id),
                    _ => None,
                };
                // What takes back the operation left out is left out with it.
                if std::ptr::eq(*operation, left_out) || takes_back.is_some_and(|id| gone.contains(&id)) {
                    gone.extend(operation.id);
                } else {
                    reference.apply(operation);
                }
            }
            tried += 1;
            noticed += usize::from(!differences(ledger.reader(), &reference).is_empty());
        }
    }
    // A founding or a link that a later operation would have made too can be left out, and often enough is not missed.
    assert!(tried > 200 && noticed * 10 > tried * 8, "{noticed} of {tried}");
}

#[test]
fn a_changed_byte_fails_the_check() {
    let storage = std::sync::Arc::new(Memory::new());
    let mut ledger = LedgerOptions::new()
        .seeded(1)
        .create_in(storage.clone(), Tenant::default(), Policy::default())
        .unwrap();
    let at = Timestamp::from_micros(0).unwrap();
    let ann = Operation::identify(at, DistinctId::new("ann").unwrap(), Some(Source::new("visitor-7")));
    assert!(ledger.append(ann).is_ok() && check(ledger.reader()).is_ok());
    storage.write_at("log/00000000000000000000.seg", 250, &[0xff]).unwrap();
    let unsound = check(ledger.reader()).unwrap_err();
    assert!(unsound.what.iter().any(|what| what.starts_with("audit: record 1")), "{unsound}");
}
