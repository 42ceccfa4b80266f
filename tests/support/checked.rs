//! What the integration tests share: a ledger in memory that can be opened a second time, and the whole-log check that
//! every test ends with.

use std::sync::Arc;

use identity_ledger::log::Digest;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::{Ledger, LedgerOptions, Policy, Tenant};

/// A ledger of tenant `1`, and the storage it can be opened from again.
pub(crate) fn new_ledger(policy: Policy) -> (Ledger, Arc<Memory>) {
    let storage = Arc::new(Memory::new());
    let place: Arc<dyn Storage> = storage.clone();
    let ledger = LedgerOptions::new().create_in(place, Tenant::default(), policy).expect("presets are valid");
    (ledger, storage)
}

/// The whole-log check of `identity_ledger::testing`, and what only a test with the storage in its hands can add: a replay of
/// the log and a second opening of its storage are the live ledger, and each recorded operation has exactly one outcome (A2,
/// A4).
///
/// `recorded` is how often an append was answered with `Recorded`.
pub(crate) fn check(ledger: &Ledger, storage: &Arc<Memory>, recorded: usize) -> (Digest, Digest) {
    let live = ledger.reader().state().digest();
    #[cfg(feature = "testing")]
    if let Err(unsound) = identity_ledger::testing::check(ledger.reader()) {
        panic!("{unsound}");
    }
    let (mut operations, mut outcomes, mut replayed) = (0, 0, None);
    ledger
        .reader()
        .replay(|step| {
            operations += usize::from(step.record.body().head().is_some());
            outcomes += usize::from(step.outcome.is_some());
            if step.record.seq().0 + 1 == ledger.checkpoint().records {
                replayed = Some(step.state.digest());
            }
        })
        .expect("a log that was just written can be read");
    assert_eq!(replayed, Some(live), "the replay of a log is the state that its appends made");
    assert_eq!((operations, outcomes), (recorded, recorded), "one outcome an operation");

    let copy: Arc<dyn Storage> = Arc::new(Memory::clone(storage)); // the ledger holds the lock of its own
    let reopened = LedgerOptions::new().open_in(copy).expect("what was acknowledged can be opened");
    assert!(reopened.recovery().is_clean(), "nothing was torn");
    assert_eq!(reopened.checkpoint(), ledger.checkpoint());
    assert_eq!(reopened.reader().state().digest(), live);
    let content = ledger.reader().content_digest().expect("a log that was just written can be read");
    assert_eq!(reopened.reader().content_digest().expect("so can its second opening"), content);
    (live, content)
}
