//! Sealed ledgers: what they show to whom, and everything about erasing (`tests/support/erasing.rs`) once more.
#![cfg(all(feature = "testing", feature = "encryption"))]

#[path = "../support/erasing.rs"]
#[allow(clippy::duplicate_mod, reason = "twice: on open ledgers, and on sealed ones")]
mod erasing;

use std::sync::Arc;

use identity_ledger::audit::{AuditReport, ErasureFault, Unchecked};
use identity_ledger::backup::Backup;
use identity_ledger::erase::{ErasureRequest, ErasureSubject, Receipt};
use identity_ledger::log::{ChainError, KeysError};
use identity_ledger::model::LedgerId;
use identity_ledger::salvage::{Salvage, SalvageError};
use identity_ledger::storage::{FaultKind, KeyProvider, Memory, Storage, StoredKeys};
use identity_ledger::*;

const SEALED: bool = true;

fn keyed(options: LedgerOptions<'static>, storage: Arc<dyn Storage>, file: &str) -> LedgerOptions<'static> {
    options.keys(Arc::new(StoredKeys::new(storage, file)))
}

fn adopting(options: LedgerOptions<'static>) -> LedgerOptions<'static> {
    options.adopt_keys()
}

use crate::support::markers::{Search, marker};
use identity_ledger::testing::check;
use identity_ledger::testing::disk::{DiskFault, SimulatedDisk, Subset};
use identity_ledger::testing::history::History;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(7).segment_bytes(2_048)
}

/// A sealed ledger's disk, and the disk of its keys.
#[derive(Clone)]
struct Place {
    disk: Arc<SimulatedDisk>,
    keys: Arc<SimulatedDisk>,
}

impl Place {
    fn new() -> Place {
        Place { disk: Arc::new(SimulatedDisk::new()), keys: Arc::new(SimulatedDisk::new()) }
    }

    fn options(&self) -> LedgerOptions<'static> {
        keyed(options(), self.keys.clone(), "ring")
    }

    fn create(&self) -> Ledger {
        self.options().create_in(self.disk.clone(), Tenant::default(), Policy::default()).unwrap()
    }

    fn open(&self) -> Ledger {
        self.options().open_in(self.disk.clone()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Lets this copy take the keys over.
    fn adopt(&self) -> Ledger {
        self.options().adopt_keys().open_in(self.disk.clone()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The ledger as it is now, with the keys as they will be: a copy of its directory.
    fn copied(&self) -> Place {
        Place { disk: Arc::new(self.disk.killed()), keys: self.keys.clone() }
    }

    /// Both as they are now: what somebody has who copied the keys too.
    fn copied_with_keys(&self) -> Place {
        Place { disk: Arc::new(self.disk.killed()), keys: Arc::new(self.keys.killed()) }
    }
}

/// Somebody with an anonymous id, a user id, and two values.
fn tell(ledger: &mut Ledger, number: u64) {
    let (user, visitor) = (id(&marker(number * 10)), marker(number * 10 + 1));
    let n = i64::try_from(number).unwrap() * 100;
    let identify = Operation::identify(at(n), user.clone(), Some(Source::new(&visitor)));
    let _ = ledger.append(identify.set("email", marker(number * 10 + 2)).unwrap()).unwrap();
    let _ = ledger
        .append(Operation::properties(at(n + 1), user).set("plan", marker(number * 10 + 3)).unwrap())
        .unwrap();
}

fn secrets(number: u64) -> Vec<String> {
    (0..4).map(|place| marker(number * 10 + place)).collect()
}

fn erase(ledger: &mut Ledger, number: u64) -> Receipt {
    let subject = ErasureSubject::PersonOf(id(&marker(number * 10)));
    ledger.erase(&[ErasureRequest::new(at(9), subject, "they asked")]).unwrap().remove(0)
}

fn email(ledger: &Reader, number: u64) -> Option<Value> {
    ledger.profile(&marker(number * 10)).unwrap()?.properties["email"].value.clone()
}

fn assert_nothing_of(disk: &SimulatedDisk, secrets: &[String]) {
    let search = Search::new(secrets);
    for (file, bytes) in disk.files() {
        assert_eq!(search.found_in(&bytes), None, "in {file}");
    }
}

#[test]
fn a_sealed_ledger_means_what_an_open_one_means() {
    for seed in 0..60 {
        let history = History::seeded(&Policy::default(), seed);
        let place = Place::new();
        let mut sealed = place.create();
        let mut open =
            options().create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default()).unwrap();
        assert_eq!(history.append_to(&mut sealed).unwrap(), history.append_to(&mut open).unwrap());
        let content = open.reader().content_digest().unwrap();
        assert_eq!(
            (sealed.reader().state().digest(), sealed.reader().content_digest().unwrap()),
            (open.reader().state().digest(), content)
        );
        if seed % 2 == 0 {
            sealed.snapshot().unwrap();
        }
        drop(sealed);
        let again = place.open();
        assert_eq!(again.recovery().from_snapshot.is_some(), seed % 2 == 0, "{:?}", again.recovery());
        assert_eq!(again.reader().content_digest().unwrap(), content);
        check(again.reader()).unwrap_or_else(|unsound| panic!("seed {seed}: {unsound}"));
    }
}

/// Of a large log a second thread opens the items ahead of the fold.
#[test]
fn a_large_sealed_log_opens_the_same_with_one_thread_and_with_two() {
    let place = Place::new();
    let options = || place.options().segment_bytes(1 << 20).durability(Durability::Buffered);
    let mut ledger = options().create_in(place.disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let say = |n: i64| {
        let user = id(&format!("user-{}", n % 700));
        Operation::identify(at(n), user, Some(Source::new(&format!("phone-{n}")))).set("n", n).unwrap()
    };
    for batch in (0..8_000).map(say).collect::<Vec<_>>().chunks(500) {
        drop(ledger.append_batch(batch).unwrap());
    }
    assert!(ledger.reader().log_bytes() > 3 << 19, "{} bytes", ledger.reader().log_bytes());
    let digests = |book: &Reader| (book.state().digest(), book.content_digest().unwrap());
    let expected = digests(ledger.reader());
    ledger.erase(&[ErasureRequest::new(at(9), ErasureSubject::PersonOf(id("user-3")), "")]).unwrap();
    let erased = digests(ledger.reader());
    drop(ledger);
    assert_ne!(erased, expected);
    for threads in [1, 2] {
        let again = options().threads(threads).open_in(place.disk.clone()).unwrap();
        assert!(again.resolve("user-3").is_none() && again.resolve("phone-704").is_some());
        assert_eq!(digests(again.reader()), erased, "{threads} threads");
        drop(again);
        assert!(options().threads(threads).audit_in(place.disk.clone()).unwrap().is_ok());
    }
}

#[test]
fn no_text_and_no_value_stands_in_any_file() {
    let place = Place::new();
    let mut ledger = place.create();
    for number in 1..20 {
        tell(&mut ledger, number);
    }
    let _ = ledger.append(Operation::capture(at(1), id("a"), OperationId(uuid::Uuid::from_u128(9)))).unwrap();
    ledger.snapshot().unwrap();
    let everybody: Vec<String> = (1..20).flat_map(secrets).chain(["email@key".to_owned()]).collect();
    for disk in [&place.disk, &place.keys] {
        assert_nothing_of(disk, &everybody);
    }
}

#[test]
fn whoever_has_no_keys_can_prove_the_chain_and_fold_it_and_read_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ring) = (home.path().join("ledger"), home.path().join("ring"));
    let keys: Arc<dyn KeyProvider> = Arc::new(StoredKeys::file(&ring).unwrap());
    let mut ledger =
        LedgerOptions::new().keys(keys.clone()).create(&dir, Tenant::default(), Policy::default()).unwrap();
    for number in 1..9 {
        tell(&mut ledger, number);
    }
    ledger.flush().unwrap();
    let (checkpoint, digest) = (ledger.checkpoint(), ledger.reader().state().digest());
    drop(ledger);

    let sealed = |result: Result<(), OpenError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, OpenError::Keys(KeysError::Sealed { .. })), "{error}");
        assert!(error.to_string().contains("give them"), "{error}");
    };
    sealed(LedgerOptions::new().open(&dir).map(drop));
    sealed(LedgerOptions::new().open_read_only(&dir).map(drop));
    sealed(LedgerOptions::new().replay(&dir, true, |_| {}).map(drop));
    assert!(matches!(Salvage::look(&dir, None, &mut |_| {}), Err(SalvageError::Keys(_))));

    let replay = LedgerOptions::new()
        .expect(checkpoint)
        .replay(&dir, false, |step| assert_eq!(step.record.item(), None))
        .unwrap();
    assert_eq!((replay.chain().checkpoint(), replay.state().digest()), (checkpoint, digest));
    let with_keys = LedgerOptions::new().keys(keys.clone()).replay(&dir, true, |_| {}).unwrap();
    assert_eq!(with_keys.state().digest(), digest);
    assert!(LedgerOptions::new().keys(keys.clone()).expect(checkpoint).audit(&dir).unwrap().is_ok());

    // A backup needs no keys either; reading it does.
    let copy = home.path().join("copy");
    Backup::run(&dir, &copy, &mut |_| {}).unwrap();
    sealed(LedgerOptions::new().open_read_only(&copy).map(drop));
    let copy = LedgerOptions::new().keys(keys).open_read_only(&copy).unwrap();
    assert_eq!((copy.checkpoint(), email(copy.reader(), 3)), (checkpoint, Some(Value::from(marker(32)))));
}

#[test]
fn keys_of_another_ledger_and_keys_that_are_gone_are_named() {
    let (one, other) = (Place::new(), Place::new());
    drop(one.create());
    drop(keyed(options().seeded(8), other.keys.clone(), "ring").create_in(
        other.disk.clone(),
        Tenant::default(),
        Policy::default(),
    ));
    let with = |keys: Arc<SimulatedDisk>| keyed(options(), keys, "ring").open_in(one.disk.clone()).map(drop);
    assert!(matches!(with(other.keys.clone()), Err(OpenError::Keys(KeysError::Foreign { .. }))));
    assert!(matches!(with(Arc::new(SimulatedDisk::new())), Err(OpenError::Keys(KeysError::Unknown { .. }))));
    let damaged = Arc::new(one.keys.killed());
    damaged.flip("ring", 100).unwrap();
    assert!(matches!(with(damaged), Err(OpenError::Keys(KeysError::Damaged { .. }))));
    // A ring is never replaced by a new ledger's.
    let taken = keyed(options(), one.keys.clone(), "ring")
        .create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default())
        .unwrap_err();
    assert!(matches!(taken, CreateError::Keys(KeysError::Taken { .. })), "{taken}");
    with(one.keys.clone()).unwrap();
    // And an open ledger needs none.
    let open = Arc::new(Memory::new());
    drop(options().create_in(open.clone(), Tenant::default(), Policy::default()).unwrap());
    drop(keyed(options(), other.keys.clone(), "ring").open_in(open).unwrap());
}

#[test]
fn a_copy_from_before_an_erasure_has_them_no_more() {
    let place = Place::new();
    let mut ledger = place.create();
    for number in 1..9 {
        tell(&mut ledger, number);
    }
    ledger.snapshot().unwrap();
    let (old, stolen) = (place.copied(), place.copied_with_keys());
    erase(&mut ledger, 3);
    let _ = ledger.append(Operation::properties(at(1), id("later"))).unwrap();
    drop(ledger);

    // Who has the keys from before as well reads everything: that is what must not be kept.
    assert_eq!(email(stolen.open().reader(), 3), Some(Value::from(marker(32))));

    // With the keys of today a reader, an audit and a salvage say what happened.
    let reader = old.options().read_in(old.disk.clone()).unwrap_err();
    assert!(matches!(reader, OpenError::OlderThanKeys { .. }), "{reader}");
    let report = old.options().audit_in(old.disk.clone()).unwrap();
    assert_eq!(
        report.faults.iter().filter_map(|fault| fault.erasure).collect::<Vec<_>>(),
        [ErasureFault::OlderThanKeys]
    );
    let salvage = old.options().salvage_in(old.disk.clone()).unwrap();
    assert!(salvage.report().lost.is_empty(), "{:?}", salvage.report());

    // A writer records it: what was erased stays erased, and nobody else is missing.
    let restored = old.adopt();
    assert!(restored.recovery().erased_since >= 4, "{:?}", restored.recovery());
    assert_eq!((restored.resolve(&marker(30)), restored.resolve(&marker(31))), (None, None));
    for number in (1..9).filter(|number| *number != 3) {
        assert_eq!(email(restored.reader(), number), Some(Value::from(marker(number * 10 + 2))));
    }
    let receipts = restored.reader().erasures().unwrap();
    assert!(!receipts.is_empty() && receipts.iter().all(|receipt| receipt.done_seq.is_some()));
    assert!(receipts[0].reason.as_deref().is_some_and(|reason| reason.contains("restored")));
    check(restored.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    drop(restored);
    let again = old.open();
    assert!(again.recovery().erased_since == 0 && again.recovery().is_clean(), "{:?}", again.recovery());
}

/// The log was longer once, and some of what stood there was erased: those numbers are given again, under other keys.
#[test]
fn a_restored_copy_goes_on_over_records_whose_keys_are_destroyed() {
    let place = Place::new();
    let mut ledger = place.create();
    tell(&mut ledger, 1);
    let old = place.copied();
    for number in 2..6 {
        tell(&mut ledger, number);
    }
    erase(&mut ledger, 2);
    erase(&mut ledger, 5);
    ledger.snapshot().unwrap();
    drop(ledger);
    let older_keys = old.copied_with_keys().keys;
    let mut restored = old.adopt();
    assert_eq!(restored.recovery().erased_since, 0, "nobody of the erased was there yet");
    for number in 11..16 {
        tell(&mut restored, number);
    }
    restored.snapshot().unwrap();
    drop(restored);
    // With the ring as it was before, nothing is taken for a write that was cut off, whether or not HEAD is there.
    for head in [true, false] {
        let stale = Place { disk: old.copied().disk, keys: older_keys.clone() };
        stale
            .disk
            .list("snap")
            .unwrap()
            .iter()
            .for_each(|file| stale.disk.remove(&format!("snap/{file}")).unwrap());
        if !head {
            stale.disk.remove("HEAD").unwrap();
        }
        let before = stale.disk.files();
        let refused = stale.options().adopt_keys().open_in(stale.disk.clone()).unwrap_err();
        assert!(refused.to_string().contains("the ring is older than the log"), "{refused}");
        assert_eq!(stale.disk.files(), before);
    }
    let mut again = old.open();
    assert!(again.recovery().from_snapshot.is_some(), "{:?}", again.recovery());
    for number in [1, 11, 12, 13, 14, 15] {
        assert_eq!(email(again.reader(), number), Some(Value::from(marker(number * 10 + 2))), "{number}");
    }
    erase(&mut again, 12);
    assert_nothing_of(&old.disk, &secrets(12));
    check(again.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
}

#[test]
fn every_flip_in_a_sealed_payload_is_damage() {
    let place = Place::new();
    let mut ledger = place.create();
    tell(&mut ledger, 1);
    let (first, last) = (ledger.reader().log_bytes(), ledger.checkpoint());
    tell(&mut ledger, 2);
    drop(ledger);
    let segment = "log/00000000000000000000.seg";
    let len = place.disk.files()[segment].len();
    assert!((first as usize) < len && len < 2_048, "one segment");
    for bit in (96 * 8..len * 8).step_by(3) {
        let damaged = place.copied();
        damaged.disk.flip(segment, bit).unwrap();
        let opened = damaged.options().open_in(damaged.disk.clone()).map(drop);
        // Four bytes of each item say of which epoch its key is: of one that there is not, they may as well say the truth.
        let refused = match &opened {
            Err(OpenError::Untrusted { fault, .. }) => {
                matches!(fault.kind, FaultKind::Chain(ChainError::LaterKeys { .. }))
            }
            opened => matches!(opened, Err(OpenError::Damaged { .. })),
        };
        assert!(refused, "bit {bit}: {opened:?}");
        let report = damaged.options().expect(last).audit_in(damaged.disk.clone()).unwrap();
        assert!(!report.is_ok(), "bit {bit}");
    }
}

#[test]
fn an_item_moved_to_another_record_does_not_open() {
    let place = Place::new();
    let mut ledger = place.create();
    let ids: Vec<Operation> =
        ["aaaa", "bbbb"].iter().map(|text| Operation::properties(at(1), id(text))).collect();
    for operation in ids {
        let _ = ledger.append(operation).unwrap();
    }
    drop(ledger);
    let segment = "log/00000000000000000000.seg";
    let bytes = place.disk.files()[segment].to_vec();
    // Items of four-letter texts: a byte that says 5, nonce (the epoch first), 16 + 4 of ciphertext, tag; each frame has one.
    let len = 1 + 24 + 20 + 16;
    let found: Vec<usize> =
        (96..bytes.len() - len).filter(|at| bytes[*at..].starts_with(&[5 << 1 | 1, 0, 0, 0, 0])).collect();
    let [a, b] = found[..] else { panic!("two items: {found:?}") };
    let moved = place.copied();
    moved.disk.write_at(segment, b as u64, &bytes[a..a + len]).unwrap();
    let opened = moved.options().open_in(moved.disk.clone()).map(drop).unwrap_err();
    assert!(opened.to_string().contains("does not open"), "{opened}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_and_without_a_snapshot() {
    let run = |snapshots: bool| {
        let place = Place::new();
        let mut ledger = place.create();
        for number in 1..6 {
            tell(&mut ledger, number);
            if snapshots {
                ledger.snapshot().unwrap();
            }
        }
        drop(ledger);
        let log = place.disk.files().into_iter().filter(|(file, _)| file.starts_with("log/"));
        (log.collect::<Vec<_>>(), place.keys.files())
    };
    let (one, again) = (run(false), run(false));
    assert_eq!(one, again);
    assert_eq!(one.1, run(true).1);
}

// -- refusing ----------------------------------------------------------------------------------------------------------

#[test]
fn erased_ids_are_refused_if_somebody_wants_it_and_nobody_else_is() {
    let place = Place::new();
    let mut ledger = place.create();
    for number in 1..5 {
        tell(&mut ledger, number);
    }
    erase(&mut ledger, 1);
    ledger.refuse_erased_ids(true).unwrap();
    erase(&mut ledger, 2);
    let set = |text: &str| Operation::properties(at(1), id(text));
    assert!(ledger.append(set(&marker(10))).is_ok(), "it was erased before anybody wanted that");
    let error = |result: Result<Answers, AppendError>| match result.unwrap_err() {
        AppendError::Operation { index, source: OperationError::Erased { id } } => (index, id),
        other => panic!("{other}"),
    };
    let before = ledger.checkpoint();
    let batch = [set("new"), set(&marker(20))];
    assert_eq!(error(ledger.append_batch(&batch)), (1, marker(20)));
    let link = Operation::identify(at(1), id("ann"), Some(Source::new(&marker(21))));
    assert_eq!(error(ledger.append_batch(&[link])), (0, marker(21)));
    let device = DeviceId::new(marker(21)).unwrap();
    let speaks = Operation::new(at(1), Request::DeviceIdentify { device, user: id("ann") });
    assert_eq!(error(ledger.append_batch(&[speaks])), (0, marker(21)));
    assert_eq!(ledger.checkpoint(), before, "nothing is recorded, nor numbered");
    assert_eq!((ledger.reader().id_no("new"), ledger.reader().id_no("ann")), (None, None));
    assert!(ledger.append(set(&marker(30))).is_ok() && ledger.append(set("new")).is_ok());
    drop(ledger);

    let mut ledger = place.open();
    assert_eq!(error(ledger.append_batch(&[set(&marker(20))])), (0, marker(20)));
    assert_nothing_of(&place.keys, &secrets(2));
    ledger.refuse_erased_ids(false).unwrap();
    assert!(ledger.append(set(&marker(20))).is_ok());
    ledger.refuse_erased_ids(true).unwrap();
    assert!(ledger.append(set(&marker(21))).is_ok(), "what was remembered is forgotten");
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));

    let mut open = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    assert!(matches!(open.refuse_erased_ids(true), Err(KeysError::NotSealed { .. })));
}

/// A crash between remembering and erasing refuses nobody who is there.
#[test]
fn who_is_remembered_and_was_not_erased_after_all_speaks_on() {
    let place = Place::new();
    let mut ledger = place.create();
    tell(&mut ledger, 1);
    ledger.refuse_erased_ids(true).unwrap();
    place.disk.set_room(0);
    let subject = ErasureSubject::PersonOf(id(&marker(10)));
    ledger.erase(&[ErasureRequest::new(at(9), subject, "")]).unwrap_err();
    drop(ledger);
    let mut ledger = place.copied().open();
    let _ = ledger.append(Operation::properties(at(2), id(&marker(10)))).unwrap();
    assert_eq!(email(ledger.reader(), 1), Some(Value::from(marker(12))));
}

// -- the ring in a file ------------------------------------------------------------------------------------------------

/// Power fails, or a call does, at every step of storing a ring: the former or the new one is there, and once one was stored
/// nothing is left of those before.
#[test]
fn a_ring_is_stored_whole_or_not_at_all_and_the_former_is_gone() {
    let ledger = LedgerId(uuid::Uuid::from_u128(7));
    let rings: Vec<Vec<u8>> = (1..5).map(|n| marker(n).repeat(2_000).into_bytes()).collect();
    let store =
        |disk: &Arc<SimulatedDisk>, ring: &[u8]| StoredKeys::new(disk.clone(), "ring").store(ledger, ring);
    let load = |disk: &Arc<SimulatedDisk>| StoredKeys::new(disk.clone(), "ring").load(ledger).unwrap();
    let start = Arc::new(SimulatedDisk::new());
    assert_eq!(load(&start), None);
    // What the very first store leaves half made is no ring, and does not keep anybody from storing one.
    let failing = Arc::new(SimulatedDisk::new());
    for call in 1.. {
        let failing = Arc::new(failing.killed());
        failing.fail_from(failing.call_count() + call, DiskFault::Fails(std::io::ErrorKind::Other));
        let stored = store(&failing, &rings[0]);
        let left = Arc::new(failing.killed());
        assert!(load(&left).is_none_or(|ring| ring == rings[0]), "call {call}");
        store(&left, &rings[1]).unwrap();
        assert_eq!(load(&left).as_ref(), Some(&rings[1]));
        if stored.is_ok() {
            assert!(call > 5, "{call} calls");
            break;
        }
    }
    store(&start, &rings[0]).unwrap();

    let disk = Arc::new(start.crashed(&Subset::none()));
    let begun = disk.call_count();
    disk.keep_moments();
    store(&disk, &rings[1]).unwrap();
    let calls = disk.call_count() - begun;
    let mut disks: Vec<SimulatedDisk> = disk
        .moments()
        .into_iter()
        .flat_map(|(at, moment)| {
            Subset::all_or_some(moment.pending(), 6, 20, at).map(move |subset| moment.crashed(&subset))
        })
        .collect();
    for call in 1..=calls {
        let failing = Arc::new(start.killed());
        failing.fail_from(failing.call_count() + call, DiskFault::Fails(std::io::ErrorKind::Other));
        let stored = store(&failing, &rings[1]);
        let failing = Arc::new(failing.killed());
        assert!(stored.is_err() || load(&failing).as_ref() == Some(&rings[1]), "call {call}");
        disks.push(failing.killed());
    }
    assert!(disks.len() > 40, "{} disks", disks.len());
    for disk in disks {
        let disk = Arc::new(disk.killed());
        let there = load(&disk).unwrap();
        assert!(there == rings[0] || there == rings[1]);
        StoredKeys::new(disk.clone(), "ring").probe(ledger, 3_000).unwrap();
        assert_eq!(load(&disk).unwrap(), there, "a try changes nothing");
        let durable = Arc::new(disk.crashed(&Subset::none()));
        assert!(load(&durable).is_some_and(|ring| ring == rings[0] || ring == rings[1]));
        store(&disk, &rings[2]).unwrap();
        let durable = Arc::new(disk.crashed(&Subset::none()));
        assert_eq!(load(&durable).unwrap(), rings[2]);
        assert_eq!(durable.files().len(), 1, "{:?}", durable.files().keys());
        let search = Search::new([&marker(1), &marker(2)]);
        assert!(durable.files().values().all(|bytes| search.found_in(bytes).is_none()));
    }
}

/// Whatever lies beside a ring is somebody else's: another ledger's ring, a copy that was kept, a letter.
#[test]
fn storing_a_ring_leaves_its_neighbours_alone() {
    let home = tempfile::tempdir().unwrap();
    let keys = |name: &str| Arc::new(StoredKeys::file(home.path().join(name)).unwrap());
    let create = |name: &str, ring: &str| {
        let options = LedgerOptions::new().keys(keys(ring));
        options.create(home.path().join(name), Tenant::default(), Policy::default()).unwrap()
    };
    let mut neighbour = create("neighbour", "ring.old");
    tell(&mut neighbour, 2);
    drop(neighbour);
    std::fs::write(home.path().join("ring.new"), "precious").unwrap();
    let mut ledger = create("ledger", "ring");
    tell(&mut ledger, 1);
    erase(&mut ledger, 1);
    drop(ledger);
    assert_eq!(std::fs::read(home.path().join("ring.new")).unwrap(), b"precious");
    let neighbour = LedgerOptions::new().keys(keys("ring.old")).open(home.path().join("neighbour")).unwrap();
    assert!(email(neighbour.reader(), 2).is_some());
    let mut names: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = ["ledger", "neighbour", "ring", "ring.lock", "ring.new", "ring.old", "ring.old.lock"];
    assert_eq!(names, expected, "each ring's lock stays beside it");
}

#[cfg(unix)]
#[test]
fn a_ring_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let ring = home.path().join("ring");
    let keys = Arc::new(StoredKeys::file(&ring).unwrap());
    let create = |dir: &str| {
        let options = LedgerOptions::new().keys(keys.clone());
        options.create(home.path().join(dir), Tenant::default(), Policy::default())
    };
    let mut ledger = create("ledger").unwrap();
    let mode = || std::fs::metadata(&ring).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    tell(&mut ledger, 1);
    erase(&mut ledger, 1);
    assert_eq!(mode(), 0o600, "the one that took its place, too");
    assert!(matches!(create("second"), Err(CreateError::Keys(KeysError::Taken { .. }))));
    assert!(!home.path().join("second").exists(), "nothing is left behind");
}

#[test]
fn without_its_ring_a_sealed_ledger_is_verified_as_far_as_the_chain_and_says_what_was_not() {
    let place = Place::new();
    let mut ledger = place.create();
    (1..5).for_each(|number| tell(&mut ledger, number));
    ledger.snapshot().unwrap();
    let checkpoint = ledger.checkpoint();
    let digest = ledger.reader().state().digest();
    erase(&mut ledger, 2);
    tell(&mut ledger, 6);
    ledger.snapshot().unwrap();
    let last = ledger.checkpoint();
    drop(ledger);
    let with_ring = place.options().audit_in(place.disk.clone()).unwrap();
    assert_eq!((with_ring.is_ok(), with_ring.unchecked), (true, None));
    let audit =
        |disk: &Arc<SimulatedDisk>| LedgerOptions::new().expect(checkpoint).audit_in(disk.clone()).unwrap();
    let report = audit(&place.disk);
    assert!(report.is_ok(), "{:?}", report.faults);
    assert_eq!((report.records, report.head, report.digest), (last.records, last.head, with_ring.digest));
    assert_ne!(report.digest, digest);
    let Some(Unchecked { items, snapshots }) = report.unchecked else { panic!("{report:?}") };
    assert!(items > 10 && snapshots == with_ring.snapshots.len() as u64, "{items} {snapshots}");
    assert!(report.snapshots.is_empty(), "none is called good that was not checked");

    // What the chain covers is found; what only a key can tell is not, and is counted among the unchecked.
    let segment = "log/00000000000000000000.seg";
    let bits = place.disk.files()[segment].len() * 8;
    let (mut found, mut silent) = (0, 0);
    for bit in (96 * 8..bits).step_by(11) {
        let damaged = place.copied();
        damaged.disk.flip(segment, bit).unwrap();
        let known = place_of(damaged.options().audit_in(damaged.disk.clone()).unwrap());
        let blind = place_of(audit(&damaged.disk));
        assert!(known.is_some(), "bit {bit}");
        match blind {
            None => silent += 1,
            blind => {
                found += 1;
                assert_eq!(blind, known, "bit {bit}");
            }
        }
    }
    assert!(found > 100 && silent > 100, "{found} {silent}");

    // An item that is absent and not erased needs no key to be noticed.
    let mut ledger = place.options().open_in(place.disk.clone()).unwrap();
    let before = place.copied();
    erase(&mut ledger, 3);
    drop(ledger);
    let (was, is) = (before.disk.files(), place.disk.files());
    let shorter = |name: &&String| name.starts_with("log/") && is[*name].len() < was[*name].len();
    let segment = was.keys().find(shorter).expect("a segment lost its items");
    before.disk.cut(segment, 0).unwrap();
    before.disk.write_at(segment, 0, &is[segment]).unwrap();
    let report = audit(&before.disk);
    assert!(
        report.faults.iter().any(|fault| fault.erasure == Some(ErasureFault::PayloadMissing)),
        "{report:?}"
    );
}

/// The record of the first fault.
fn place_of(report: AuditReport) -> Option<Seq> {
    report.faults.first().map(|fault| fault.seq)
}
