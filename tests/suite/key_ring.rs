//! Key rings in files, as operators meet them: writers that meet, copies that go on, links, places that cannot be written, rings that are
//! too old. What a sealed ledger hides, and what an erasure destroys, stands in `tests/suite/sealed.rs`.
#![cfg(all(feature = "testing", feature = "encryption", unix))]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use crate::support::markers::{Search, marker};
use identity_ledger::backup::{Backup, BackupError};
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject, Receipt};
use identity_ledger::log::KeysError;
use identity_ledger::model::LedgerId;
use identity_ledger::snapshot::DurabilityEvidence;
use identity_ledger::storage::{KeyProvider, Lock, Storage, StoredKeys};
use identity_ledger::testing::check;
use identity_ledger::testing::disk::{DiskFault, SimulatedDisk, Subset};
use identity_ledger::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// Appends what people say of themselves, each in some records.
fn tell(ledger: &mut Ledger, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let user = id(&marker(number * 10));
        let identify = Operation::identify(at(1), user.clone(), Some(Source::new(&marker(number * 10 + 1))));
        let _ = ledger.append(identify.set("email", marker(number * 10 + 2)).unwrap()).unwrap();
        let _ = ledger
            .append(Operation::properties(at(2), user).set("plan", marker(number * 10 + 3)).unwrap())
            .unwrap();
    }
}

fn erase(ledger: &mut Ledger, number: u64) -> Result<Vec<Receipt>, EraseError> {
    let subject = ErasureSubject::PersonOf(id(&marker(number * 10)));
    ledger.erase(&[ErasureRequest::new(at(9), subject, "they asked")])
}

fn email(book: &Reader, number: u64) -> Option<Value> {
    book.profile(&marker(number * 10)).unwrap()?.properties["email"].value.clone()
}

fn assert_told(book: &Reader, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        assert_eq!(email(book, number), Some(Value::from(marker(number * 10 + 2))), "{number}");
    }
}

fn is_pending(book: &Reader) -> bool {
    book.erasures().unwrap().iter().any(|receipt| receipt.done_seq.is_none())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A directory for ledgers, and one for their rings.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("secrets")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ring(&self) -> PathBuf {
        self.path("secrets/ring")
    }

    /// Names beside the ring.
    fn secrets(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("secrets")).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn options(&self) -> LedgerOptions<'static> {
        options_with(&self.ring())
    }

    fn create(&self, name: &str) -> Ledger {
        self.options().create(self.path(name), Tenant::default(), Policy::default()).unwrap()
    }

    fn open(&self, name: &str) -> Result<Ledger, OpenError> {
        self.options().open(self.path(name))
    }

    fn read(&self, name: &str) -> Result<ReadOnlyLedger, OpenError> {
        self.options().open_read_only(self.path(name))
    }

    /// A ledger of five people, closed.
    fn with_ledger() -> Home {
        let home = Home::new();
        tell(&mut home.create("ledger"), 1..6);
        home
    }
}

fn options_with(ring: &Path) -> LedgerOptions<'static> {
    LedgerOptions::new().segment_bytes(2_048).keys(Arc::new(StoredKeys::file(ring).unwrap()))
}

fn keys_error<T>(result: Result<T, OpenError>) -> KeysError {
    match result.map(drop).unwrap_err() {
        OpenError::Keys(error) => error,
        other => panic!("{other}"),
    }
}

/// Whether the ring says that the ledger is not the one it saw last.
fn is_another_history<T>(result: &Result<T, OpenError>) -> bool {
    matches!(
        result,
        Err(OpenError::RolledBack { by: DurabilityEvidence::KeyRing, .. }
            | OpenError::Forked { by: DurabilityEvidence::KeyRing, .. })
    )
}

// -- one writer --------------------------------------------------------------------------------------------------------

/// How many rounds a plain run has time for; `RING_ROUNDS` asks for another number.
const ROUNDS: usize = 40;

/// Two copies of one ledger are opened with one ring at the same time; each appends and erases. Beside them the ring is read.
#[test]
fn two_writers_of_one_ring_lose_neither_the_ring_nor_a_text() {
    let rounds = std::env::var("RING_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let home = Home::with_ledger();
    copy(&home.path("ledger"), &home.path("copy"));
    let at_first = fs::read(home.ring()).unwrap();
    for round in 0..rounds {
        fs::write(home.ring(), &at_first).unwrap();
        let names = ["one", "two"];
        for name in names {
            fs::remove_dir_all(home.path(name)).ok();
            copy(&home.path("ledger"), &home.path(name));
        }
        let start = Barrier::new(3);
        let write = |name: &str| {
            start.wait();
            let mut ledger = match home.open(name) {
                Ok(ledger) => ledger,
                Err(OpenError::Keys(KeysError::Locked { .. })) => return false,
                other if is_another_history(&other) => return false,
                other => panic!("round {round}, {name}: {}", other.unwrap_err()),
            };
            tell(&mut ledger, 6..8);
            erase(&mut ledger, 2).unwrap();
            true
        };
        let wrote = std::thread::scope(|scope| {
            let [one, two] = names.map(|name| scope.spawn(move || write(name)));
            start.wait();
            for _ in 0..5 {
                match home.read("copy").map(drop) {
                    Ok(()) | Err(OpenError::OlderThanKeys { .. }) => {}
                    Err(error) => panic!("round {round}, reading: {error}"),
                }
            }
            [one.join().unwrap(), two.join().unwrap()]
        });
        assert_eq!(home.secrets(), ["ring", "ring.lock"], "round {round}");
        let [one, two] = wrote;
        assert!(one != two, "round {round}: of two copies, one went on: {wrote:?}");
        let (winner, loser) = if one { ("one", "two") } else { ("two", "one") };
        let ledger = home.open(winner).unwrap();
        assert_told(ledger.reader(), [1, 3, 4, 5, 6, 7].into_iter());
        assert_eq!(email(ledger.reader(), 2), None);
        drop(ledger);
        assert!(is_another_history(&home.open(loser)), "round {round}");
    }
}

#[test]
fn a_second_writer_is_told_which_ring_is_in_use_and_what_to_do() {
    let home = Home::with_ledger();
    copy(&home.path("ledger"), &home.path("copy"));
    let first = home.open("ledger").unwrap();
    let error = keys_error(home.open("copy"));
    assert!(matches!(error, KeysError::Locked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&home.ring().display().to_string()) && text.contains("keys fork"), "{text}");
    assert_told(home.read("copy").unwrap().reader(), 1..6); // a reader takes no lock
    drop(first);
    home.open("copy").unwrap();
}

/// `rm` of a lock lets a second writer in: then neither may believe that the ring is its own.
#[test]
fn a_writer_whose_lock_was_removed_stores_nothing_any_more() {
    let home = Home::with_ledger();
    let mut ledger = home.open("ledger").unwrap();
    copy(&home.path("ledger"), &home.path("copy"));
    fs::remove_file(home.path("secrets/ring.lock")).unwrap();
    let mut second = home.open("copy").unwrap();
    let error = erase(&mut ledger, 1).unwrap_err().to_string();
    assert!(
        error.contains("ring.lock was removed or replaced") && error.contains("nothing was erased"),
        "{error}"
    );
    erase(&mut second, 2).unwrap();
    tell(&mut ledger, 6..7);
    drop((ledger, second));
    assert_told(home.open("copy").unwrap().reader(), [1, 3, 4, 5].into_iter());
}

#[test]
fn a_ring_that_was_replaced_or_removed_under_a_writer_is_not_stored_over() {
    let home = Home::with_ledger();
    let before = fs::read(home.ring()).unwrap();
    let mut ledger = home.open("ledger").unwrap();
    tell(&mut ledger, 6..7);
    erase(&mut ledger, 1).unwrap();
    let now = fs::read(home.ring()).unwrap();
    for there in [Some(before), Some(b"a letter".to_vec()), None] {
        match &there {
            Some(bytes) => fs::write(home.ring(), bytes).unwrap(),
            None => fs::remove_file(home.ring()).unwrap(),
        }
        let error = erase(&mut ledger, 2).unwrap_err();
        assert!(matches!(error, EraseError::Keys(KeysError::Changed { .. })), "{error}");
        assert_eq!(fs::read(home.ring()).ok(), there);
        assert!(email(ledger.reader(), 2).is_some(), "nothing was erased");
        tell(&mut ledger, 7..8); // and records are appended as ever
    }
    fs::write(home.ring(), now).unwrap();
    erase(&mut ledger, 2).unwrap();
    drop(ledger);
    assert_told(home.open("ledger").unwrap().reader(), 3..8);
}

// -- copies ------------------------------------------------------------------------------------------------------------

#[test]
fn a_backup_is_read_with_the_ring_of_its_ledger_and_not_written() {
    let home = Home::with_ledger();
    Backup::run(&home.path("ledger"), &home.path("tape"), &mut |_| {}).unwrap();
    let ring = fs::read(home.ring()).unwrap();
    let error = keys_error(home.open("tape"));
    assert!(matches!(error, KeysError::OtherCopy { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("keys adopt") && text.contains("keys fork"), "{text}");
    assert_told(home.read("tape").unwrap().reader(), 1..6);
    assert!(home.options().audit(home.path("tape")).unwrap().is_ok());
    assert_eq!(fs::read(home.ring()).unwrap(), ring);
    erase(&mut home.open("ledger").unwrap(), 1).unwrap();
}

/// Both copies give the same numbers to other records: what one destroys must not be the other's.
#[test]
fn two_copies_that_go_on_with_rings_of_their_own_take_nothing_from_each_other() {
    let home = Home::with_ledger();
    Backup::run(&home.path("ledger"), &home.path("tape"), &mut |_| {}).unwrap();
    let own = home.path("secrets/own");
    let mut copied =
        home.options().fork_keys(home.path("tape"), Arc::new(StoredKeys::file(&own).unwrap())).unwrap();
    tell(&mut copied, 6..9);
    let mut ledger = home.open("ledger").unwrap();
    tell(&mut ledger, 11..14);
    erase(&mut copied, 7).unwrap();
    erase(&mut copied, 1).unwrap();
    erase(&mut ledger, 12).unwrap();
    erase(&mut ledger, 2).unwrap();
    drop((ledger, copied));
    let (ledger, copied) =
        (home.open("ledger").unwrap(), options_with(&own).open(home.path("tape")).unwrap());
    assert_told(ledger.reader(), [1, 3, 4, 5, 11, 13].into_iter());
    assert_told(copied.reader(), [2, 3, 4, 5, 6, 8].into_iter());
    assert_eq!(
        (
            email(ledger.reader(), 2),
            email(ledger.reader(), 12),
            email(copied.reader(), 1),
            email(copied.reader(), 7)
        ),
        (None, None, None, None)
    );
    assert!(ledger.recovery().is_clean() && copied.recovery().is_clean());
    for book in [ledger.reader(), copied.reader()] {
        check(book).unwrap_or_else(|unsound| panic!("{unsound}"));
    }
    drop((ledger, copied));
    // Each ring is of one copy, and says so.
    let swapped = [keys_error(options_with(&own).open(home.path("ledger"))), keys_error(home.open("tape"))];
    assert!(swapped.iter().all(|error| matches!(error, KeysError::OtherCopy { .. })), "{swapped:?}");
}

/// The copy has the ring for good, until the former takes it back: then it learns what was erased meanwhile, whatever its snapshots say.
#[test]
fn a_ledger_that_takes_its_ring_back_learns_what_was_erased_with_it() {
    let home = Home::with_ledger();
    Backup::run(&home.path("ledger"), &home.path("tape"), &mut |_| {}).unwrap();
    let mut ledger = home.open("ledger").unwrap();
    tell(&mut ledger, 6..30);
    ledger.snapshot().unwrap();
    drop(ledger);
    let adopt = |name: &str| home.options().adopt_keys().open(home.path(name)).unwrap();
    let mut tape = adopt("tape");
    erase(&mut tape, 3).unwrap();
    drop(tape);
    home.open("tape").unwrap();

    let shut_out = keys_error(home.open("ledger"));
    assert!(matches!(shut_out, KeysError::OtherCopy { .. }), "{shut_out}");
    let reader = home.read("ledger").unwrap_err();
    assert!(matches!(reader, OpenError::OlderThanKeys { .. }), "its snapshot still has them: {reader}");

    let ledger = adopt("ledger");
    assert!(ledger.recovery().erased_since >= 4, "{:?}", ledger.recovery());
    assert_eq!((ledger.resolve(&marker(30)), email(ledger.reader(), 3)), (None, None));
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    drop(ledger);
    let ledger = home.open("ledger").unwrap();
    assert!(ledger.recovery().is_clean(), "{:?}", ledger.recovery());
    assert_eq!(email(ledger.reader(), 3), None);
    assert_told(ledger.reader(), 10..30);
    drop(ledger);
    assert!(matches!(keys_error(home.open("tape")), KeysError::OtherCopy { .. }));
}

/// What a file system brings back, or `cp` makes, has the same `COPY`; the ring knows how far the ledger was.
#[test]
fn a_ledger_that_was_rolled_back_is_not_written_with_the_ring_that_saw_more() {
    let home = Home::with_ledger();
    copy(&home.path("ledger"), &home.path("then"));
    tell(&mut home.open("ledger").unwrap(), 6..8); // and closed: no erasure stored the ring
    assert!(is_another_history(&home.open("then")));
    assert_told(home.read("then").unwrap().reader(), 1..6);
    drop(home.options().adopt_keys().open(home.path("then")).unwrap());
    assert_told(home.open("then").unwrap().reader(), 1..6);
    assert!(matches!(keys_error(home.open("ledger")), KeysError::OtherCopy { .. }));
}

/// Power fails at every step of an adoption; the ring lies on the same disk.
#[test]
fn an_adoption_that_was_cut_off_is_made_again_and_nothing_is_lost() {
    let options = |disk: &Arc<SimulatedDisk>| {
        let keys = Arc::new(StoredKeys::new(disk.clone(), "ring"));
        LedgerOptions::new().seeded(7).segment_bytes(2_048).keys(keys)
    };
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = options(&disk).create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    tell(&mut ledger, 1..4);
    erase(&mut ledger, 2).unwrap();
    drop(ledger);
    disk.remove("COPY").unwrap();
    disk.sync_dir("").unwrap();
    let disk = Arc::new(disk.killed());
    assert!(matches!(keys_error(options(&disk).open_in(disk.clone())), KeysError::OtherCopy { .. }));
    disk.keep_moments();
    drop(options(&disk).adopt_keys().open_in(disk.clone()).unwrap());
    let moments = disk.moments();
    assert!(moments.len() > 10, "{}", moments.len());
    for (call, moment) in moments {
        for subset in [Subset::none(), Subset::all()].into_iter().chain(Subset::all_or_some(
            moment.pending(),
            3,
            4,
            call,
        )) {
            let left = Arc::new(moment.crashed(&subset));
            match options(&left).open_in(left.clone()) {
                Ok(_) | Err(OpenError::Keys(KeysError::OtherCopy { .. } | KeysError::Stale { .. })) => {}
                Err(error) => panic!("call {call}: {error}"),
            }
            let ledger = options(&left).adopt_keys().open_in(left.clone()).unwrap();
            assert_told(ledger.reader(), [1, 3].into_iter());
            assert_eq!(email(ledger.reader(), 2), None);
        }
    }
}

/// The copy's disk fails from each call on: no ring is left that no copy has, and none is destroyed that a copy has.
#[test]
fn a_fork_that_failed_leaves_no_ring_or_one_that_opens_the_copy() {
    let keys = |disk: &Arc<SimulatedDisk>| Arc::new(StoredKeys::new(disk.clone(), "ring"));
    let options =
        |ring: &Arc<SimulatedDisk>| LedgerOptions::new().seeded(7).segment_bytes(2_048).keys(keys(ring));
    let (disk, ring, tape) =
        (Arc::new(SimulatedDisk::new()), Arc::new(SimulatedDisk::new()), Arc::new(SimulatedDisk::new()));
    let mut ledger = options(&ring).create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    tell(&mut ledger, 1..4);
    Backup::run_in(disk, tape.clone(), &mut |_| {}).unwrap();
    erase(&mut ledger, 2).unwrap(); // the copy has to record it
    drop(ledger);
    let (mut without, mut with) = (0, 0);
    for call in 1.. {
        let (copy, own) = (Arc::new(tape.killed()), Arc::new(SimulatedDisk::new()));
        copy.fail_from(copy.call_count() + call, DiskFault::Fails(std::io::ErrorKind::Other));
        let forked = options(&ring).fork_keys_in(copy.clone(), keys(&own)).map(drop);
        let left = Arc::new(copy.killed());
        let ledger = if own.files().is_empty() {
            assert!(forked.is_err(), "call {call}");
            without += 1;
            options(&Arc::new(ring.killed())).adopt_keys().open_in(left)
        } else {
            with += 1;
            options(&own).adopt_keys().open_in(left)
        };
        let ledger = ledger.unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert_told(ledger.reader(), [1, 3].into_iter());
        assert_eq!(email(ledger.reader(), 2), None);
        assert!(
            ledger.reader().erasures().unwrap()[0].reason.is_some(),
            "call {call}: it is sealed with a ring that is there"
        );
        if forked.is_ok() {
            break;
        }
    }
    assert!(without > 10 && with > 10, "{without} without a ring, {with} with one");
}

// -- old rings ---------------------------------------------------------------------------------------------------------

#[test]
fn a_ring_from_before_an_erasure_reads_and_does_not_write() {
    let home = Home::with_ledger();
    copy(&home.path("ledger"), &home.path("stolen"));
    let old = fs::read(home.ring()).unwrap();
    let mut ledger = home.open("ledger").unwrap();
    erase(&mut ledger, 2).unwrap();
    tell(&mut ledger, 6..7);
    drop(ledger);
    fs::write(home.ring(), &old).unwrap();
    let error = keys_error(home.open("ledger"));
    assert!(matches!(error, KeysError::Stale { .. }) && error.to_string().contains("newest ring"), "{error}");
    assert_eq!(fs::read(home.ring()).unwrap(), old);
    let reader = home.read("ledger").unwrap();
    assert_told(reader.reader(), [1, 3, 4, 5, 6].into_iter());
    assert_eq!(email(reader.reader(), 2), None);
    assert!(
        email(home.read("stolen").unwrap().reader(), 2).is_some(),
        "the old ring opens what it always did"
    );

    // The newest ring is lost: this one is made to forget.
    drop(home.options().adopt_keys().open(home.path("ledger")).unwrap());
    assert!(matches!(home.read("stolen"), Err(OpenError::OlderThanKeys { .. })));
    let ledger = home.open("ledger").unwrap();
    assert!(ledger.recovery().is_clean(), "{:?}", ledger.recovery());
    assert_told(ledger.reader(), [1, 3, 4, 5, 6].into_iter());
}

/// A ring that was stored after the record of an erasure, and before its keys were destroyed.
#[test]
fn a_ring_from_the_middle_of_an_erasure_does_not_write_once_it_is_finished() {
    let home = Home::with_ledger();
    let mut ledger = home.open("ledger").unwrap();
    let subject = ErasureSubject::PersonOf(id(&marker(20)));
    ledger.begin_erasures(&[ErasureRequest::new(at(9), subject, "")]).unwrap();
    drop(ledger);
    let middle = fs::read(home.ring()).unwrap();
    drop(home.open("ledger").unwrap());
    fs::write(home.ring(), middle).unwrap();
    let error = keys_error(home.open("ledger"));
    assert!(matches!(error, KeysError::Stale { .. }), "{error}");
}

/// What was only appended since leaves no key behind: such a ring is as good.
#[test]
fn a_ring_from_before_some_appends_writes() {
    let home = Home::with_ledger();
    let mut ledger = home.open("ledger").unwrap();
    erase(&mut ledger, 2).unwrap();
    drop(ledger);
    let old = fs::read(home.ring()).unwrap();
    tell(&mut home.open("ledger").unwrap(), 6..8);
    fs::write(home.ring(), old).unwrap();
    erase(&mut home.open("ledger").unwrap(), 6).unwrap();
    assert_told(home.open("ledger").unwrap().reader(), [1, 3, 4, 5, 7].into_iter());
}

// -- the file ----------------------------------------------------------------------------------------------------------

#[test]
fn a_ring_behind_links_is_stored_where_they_lead_with_mode_and_owner() {
    let home = Home::with_ledger();
    fs::create_dir(home.path("vault")).unwrap();
    fs::rename(home.ring(), home.path("vault/real")).unwrap();
    symlink("../vault/real", home.path("secrets/near")).unwrap();
    symlink(home.path("secrets/near"), home.ring()).unwrap();
    let real = home.path("vault/real");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let root = chown(&real, Some(1_234), Some(2_345)).is_ok(); // another owner can only be given by root
    let before = fs::metadata(&real).unwrap();
    let mut ledger = home.open("ledger").unwrap();
    erase(&mut ledger, 2).unwrap();
    drop(ledger);
    let after = fs::metadata(&real).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert!(!root || after.uid() == 1_234);
    for link in [home.ring(), home.path("secrets/near")] {
        assert!(fs::symlink_metadata(link).unwrap().is_symlink());
    }
    assert_told(home.open("ledger").unwrap().reader(), [1, 3, 4, 5].into_iter());
    // Two ways to one ring lead to one lock.
    let first = home.open("ledger").unwrap();
    copy(&home.path("ledger"), &home.path("copy"));
    let other_way = options_with(&real).open(home.path("copy"));
    assert!(matches!(keys_error(other_way), KeysError::Locked { .. }));
    drop(first);
    // A link to where no ring is yet.
    symlink(home.path("vault/new"), home.path("secrets/to-new")).unwrap();
    drop(
        options_with(&home.path("secrets/to-new"))
            .create(home.path("second"), Tenant::default(), Policy::default())
            .unwrap(),
    );
    assert!(fs::symlink_metadata(home.path("vault/new")).unwrap().is_file());
}

#[test]
fn what_is_not_a_regular_file_is_not_a_ring() {
    let home = Home::new();
    fs::create_dir(home.ring()).unwrap();
    symlink(home.path("secrets/loop"), home.path("secrets/loop")).unwrap();
    for (place, what) in [
        ("secrets/ring", "not a regular file"),
        ("secrets/loop", "too many links"),
        ("nowhere/ring", "nowhere is not a directory"),
    ] {
        let error = StoredKeys::file(home.path(place)).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(place.split('/').next().unwrap()), "{error}");
    }
}

/// A ring whose place can be read and not written, as on a read-only mount.
#[derive(Debug)]
struct ReadOnlyPlace(StoredKeys);

impl KeyProvider for ReadOnlyPlace {
    fn load(&self, ledger: LedgerId) -> std::io::Result<Option<Vec<u8>>> {
        self.0.load(ledger)
    }
    fn lock(&self) -> std::io::Result<Option<Lock>> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn store(&self, _: LedgerId, _: &[u8]) -> std::io::Result<()> {
        panic!("nothing is stored without the lock")
    }
    fn probe(&self, _: LedgerId, _: usize) -> std::io::Result<()> {
        panic!("nothing is tried without the lock")
    }
    fn discard(&self, _: LedgerId) -> std::io::Result<()> {
        panic!("nothing is destroyed without the lock")
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn a_ring_on_a_read_only_place_keeps_nothing_from_being_recorded() {
    let home = Home::with_ledger();
    let options =
        || LedgerOptions::new().keys(Arc::new(ReadOnlyPlace(StoredKeys::file(home.ring()).unwrap())));
    let mut ledger = options().open(home.path("ledger")).unwrap();
    let why = ledger.recovery().keys_not_stored.clone().unwrap();
    assert!(
        why.contains(&home.ring().display().to_string()) && why.contains("make its place writable"),
        "{why}"
    );
    tell(&mut ledger, 6..8);
    let error = erase(&mut ledger, 1).unwrap_err();
    assert!(matches!(error, EraseError::Keys(KeysError::NotStored { .. })), "{error}");
    assert!(
        error.to_string().contains("nothing was erased") && email(ledger.reader(), 1).is_some(),
        "{error}"
    );
    drop(ledger);
    // Nor is the ledger given a name that its ring cannot be told.
    assert!(matches!(
        keys_error(options().adopt_keys().open(home.path("ledger"))),
        KeysError::NotStored { .. }
    ));
    assert_told(options().open(home.path("ledger")).unwrap().reader(), 1..8);
    erase(&mut home.open("ledger").unwrap(), 1).unwrap();
}

/// The disk of the ring is full from the record of the erasure on: the erasure waits, and nothing else does.
#[test]
fn an_erasure_whose_keys_cannot_be_destroyed_waits_and_appends_do_not() {
    let (disk, keys) = (Arc::new(SimulatedDisk::new()), Arc::new(SimulatedDisk::new()));
    let options = |keys: &Arc<SimulatedDisk>| {
        let keys = Arc::new(StoredKeys::new(keys.clone(), "ring"));
        LedgerOptions::new().seeded(7).segment_bytes(2_048).keys(keys)
    };
    let mut ledger = options(&keys).create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    tell(&mut ledger, 1..4);
    let subject = ErasureSubject::PersonOf(id(&marker(20)));
    ledger.begin_erasures(&[ErasureRequest::new(at(9), subject, "")]).unwrap();
    keys.set_room(0);
    let error = ledger.finish_erasures(&mut |_| {}).unwrap_err();
    assert!(matches!(error, EraseError::KeysLeft(KeysError::NotStored { .. })), "{error}");
    tell(&mut ledger, 4..5);
    let refused = erase(&mut ledger, 1).unwrap_err();
    assert!(matches!(refused, EraseError::Keys(_)) && email(ledger.reader(), 1).is_some(), "{refused}");
    drop(ledger);

    let mut ledger = options(&keys).open_in(disk.clone()).unwrap();
    assert!(ledger.recovery().keys_not_stored.is_some() && is_pending(ledger.reader()));
    assert_eq!(email(ledger.reader(), 2), None);
    tell(&mut ledger, 5..6);
    drop(ledger);
    keys.set_room(u64::MAX);
    let ledger = options(&keys).open_in(disk.clone()).unwrap();
    assert!(ledger.recovery().keys_not_stored.is_none() && !is_pending(ledger.reader()));
    assert_told(ledger.reader(), [1, 3, 4, 5].into_iter());
    let search = Search::new(&[marker(20), marker(22)]);
    assert!(disk.files().values().all(|bytes| search.found_in(bytes).is_none()));
}

#[test]
fn a_ledger_that_could_not_be_created_leaves_no_ring() {
    let home = Home::new();
    let nowhere = home.path("nowhere/ledger");
    home.options().create(nowhere, Tenant::default(), Policy::default()).unwrap_err();
    assert_eq!(home.secrets(), [""; 0]);
    fs::write(home.ring(), "a letter").unwrap();
    let taken = home.options().create(home.path("ledger"), Tenant::default(), Policy::default()).unwrap_err();
    assert!(matches!(taken, CreateError::Keys(KeysError::Taken { .. })), "{taken}");
    assert_eq!(fs::read(home.ring()).unwrap(), b"a letter");

    // The ledger's disk fails at each call.
    for call in 0.. {
        let (disk, keys) = (Arc::new(SimulatedDisk::new()), Arc::new(SimulatedDisk::new()));
        disk.fail_once(call, DiskFault::Fails(std::io::ErrorKind::StorageFull));
        let options = LedgerOptions::new().keys(Arc::new(StoredKeys::new(keys.clone(), "ring")));
        let made = options.create_in(disk.clone(), Tenant::default(), Policy::default());
        let (is_ledger, has_ring) = (disk.files().contains_key("LEDGER"), !keys.files().is_empty());
        assert_eq!(is_ledger, has_ring, "call {call}: {made:?}");
        if call > 200 {
            break;
        }
    }
}

// -- backups -----------------------------------------------------------------------------------------------------------

#[test]
fn a_backup_with_the_ring_stops_at_an_item_that_does_not_open() {
    let home = Home::with_ledger();
    let back_up = |to: &str, with_ring: bool| {
        let options = if with_ring { home.options() } else { LedgerOptions::new() };
        options.backup(&home.path("ledger"), &home.path(to))
    };
    let with = back_up("with", true).unwrap();
    let without = back_up("without", false).unwrap();
    assert_eq!((with.checkpoint, with.unopened_items), (without.checkpoint, 0));
    assert!(without.unopened_items >= 4 * 5, "{without:?}");

    // One bit of the last item of the first segment, which no hash of the chain covers.
    let segment = home.path("ledger/log/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 64;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    back_up("rotten", false).unwrap();
    let error = back_up("refused", true).unwrap_err();
    assert!(
        matches!(error, BackupError::Damaged { .. }) && error.to_string().contains("does not open"),
        "{error}"
    );
    let other = options_with(&home.path("secrets/other"));
    drop(other.create(home.path("other"), Tenant::default(), Policy::default()).unwrap());
    let foreign =
        options_with(&home.path("secrets/other")).backup(&home.path("ledger"), &home.path("foreign"));
    assert!(matches!(foreign, Err(BackupError::Keys(KeysError::Foreign { .. }))));
}
