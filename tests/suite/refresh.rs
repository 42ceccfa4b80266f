//! A reader that is refreshed knows what one that is opened now would know.
#![cfg(feature = "testing")]

use std::sync::Arc;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::history::{History, append};
use identity_ledger::*;

use crate::support::counting::Counting;
use crate::support::short::{at, id};

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(limits::MIN_SEGMENT_BYTES)
}

/// Everything a reader says, near enough: records, both digests, all persons, and each id's person.
fn said(ledger: &ReadOnlyLedger) -> (Checkpoint, String, String, Vec<Profile>, usize) {
    let reader = ledger.reader();
    let persons: Vec<Profile> = reader.persons().map(|person| person.unwrap()).collect();
    let content = reader.content_digest().unwrap();
    (
        reader.checkpoint(),
        reader.state().digest().to_string(),
        content.to_string(),
        persons,
        ledger.recovery().erasures_pending,
    )
}

/// Writes a made-up history a few operations at a time, and refreshes a reader in between. Small segments, snapshots, erasures and other
/// writers are on the way; every other ledger is sealed, where each writer brings keys that are new.
fn write_and_refresh(seed: u64) -> u64 {
    let disk: Arc<dyn Storage> = Arc::new(Memory::new());
    let history = History::seeded(&Policy::default(), seed);
    #[cfg(feature = "encryption")]
    let ring = Arc::new(identity_ledger::storage::StoredKeys::new(Arc::new(Memory::new()), "ring"));
    let options = || match seed % 2 {
        #[cfg(feature = "encryption")]
        1 => options().keys(ring.clone()),
        _ => options(),
    };
    let mut writer = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let fresh = || options().read_in(disk.clone()).unwrap();
    let mut reader =
        if seed % 4 < 2 { options().index_records().read_in(disk.clone()).unwrap() } else { fresh() };
    let mut refreshed = 0;
    for (number, operation) in history.operations.iter().enumerate() {
        append(&mut writer, operation).unwrap();
        match (number as u64 + seed) % 11 {
            0 => drop(writer.snapshot().unwrap()),
            3 | 8 => {
                drop(writer);
                writer = options().open_in(disk.clone()).unwrap();
            }
            5 => {
                let erased = writer.reader().persons().next().map(|person| person.unwrap().person_id);
                let request = |person| ErasureRequest::new(at(9), ErasureSubject::Person(person), "asked");
                if let Some(person) = erased {
                    writer.erase(&[request(person)]).unwrap();
                }
            }
            _ => {}
        }
        if number % 3 == 0 {
            let before = reader.reader().checkpoint().records;
            refreshed += reader.refresh().unwrap();
            assert_eq!(reader.reader().checkpoint().records, writer.checkpoint().records);
            assert!(before <= writer.checkpoint().records);
            assert_eq!(said(&reader), said(&fresh()), "seed {seed}, operation {number}");
            assert_eq!(reader.refresh().unwrap(), 0, "nothing new");
        }
    }
    refreshed
}

#[test]
fn a_refreshed_reader_is_one_that_was_opened_now() {
    let refreshed: u64 = (0..40).map(write_and_refresh).sum();
    assert!(refreshed > 400, "{refreshed}");
}

#[test]
fn a_refresh_refuses_another_past_and_keeps_what_it_knew() {
    let disk = Arc::new(Memory::new());
    let mut writer = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let said = |writer: &mut Ledger, who: &str| writer.append(Operation::properties(at(1), id(who))).unwrap();
    said(&mut writer, "ann").seq().unwrap();
    let restored = Memory::clone(&disk);
    let mut reader = options().read_in(disk.clone()).unwrap();
    said(&mut writer, "bob").seq().unwrap();
    assert_eq!(reader.refresh().unwrap(), 2);
    drop(writer);
    // The ledger is restored from a copy and written again: its past is another from there on.
    for name in
        restored.list("log").unwrap().into_iter().map(|name| format!("log/{name}")).chain(["HEAD".to_owned()])
    {
        let mut bytes = vec![0; restored.len(&name).unwrap().unwrap() as usize];
        restored.read_at(&name, 0, &mut bytes).unwrap();
        disk.remove(&name).unwrap();
        disk.create(&name).unwrap();
        disk.write_at(&name, 0, &bytes).unwrap();
    }
    let error = reader.refresh().unwrap_err();
    assert!(matches!(error, OpenError::RolledBack { .. }), "{error}");
    let mut writer = LedgerOptions::new().seeded(2).open_in(disk.clone()).unwrap();
    said(&mut writer, "carl").seq().unwrap();
    said(&mut writer, "dora").seq().unwrap();
    let error = reader.refresh().unwrap_err();
    assert!(matches!(error, OpenError::Forked { .. }), "{error}");
    assert!(reader.reader().resolve("bob").is_some(), "what it knew it still says");
}

/// A reader is refreshed while a writer erases: it meets segments that are written again between its looks.
#[test]
fn a_refresh_beside_an_erasing_writer_shows_a_whole_ledger() {
    let disk: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut writer = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let mut reader = options().read_in(disk.clone()).unwrap();
    std::thread::scope(|scope| {
        let writes = scope.spawn(move || {
            for number in 0..150 {
                let who = id(&format!("user {}", number / 3));
                writer.append(Operation::properties(at(number), who.clone())).unwrap().seq().unwrap();
                if number % 3 == 2 {
                    let subject = ErasureSubject::Ids([who].into());
                    writer.erase(&[ErasureRequest::new(at(number), subject, "asked")]).unwrap();
                }
            }
        });
        let mut refreshes = 0; // until the writer has done its 150 operations
        while !writes.is_finished() {
            match reader.refresh() {
                Ok(_) | Err(OpenError::Busy { .. }) => refreshes += 1,
                Err(error) => panic!("after {refreshes} refreshes: {error}"),
            }
            std::thread::yield_now();
        }
        writes.join().unwrap();
    });
    reader.refresh().unwrap();
    assert_eq!(said(&reader), said(&options().read_in(disk.clone()).unwrap()));
}

/// The cost of a refresh is that of what is new: the disk is read only behind what was read.
#[test]
fn a_refresh_reads_what_is_new_and_no_more() {
    let disk = Arc::new(Counting::default());
    let mut writer = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..3_000 {
        let who = id(&format!("user {number}"));
        writer.append(Operation::properties(at(number), who)).unwrap().seq().unwrap();
    }
    let mut reader = options().read_in(disk.clone()).unwrap();
    writer.append(Operation::properties(at(1), id("new"))).unwrap().seq().unwrap();
    disk.bytes_read();
    assert_eq!(reader.refresh().unwrap(), 2);
    let read = disk.bytes_read();
    assert!(read < 70_000, "{read} bytes of {}", reader.reader().log_bytes());
    assert!(reader.reader().log_bytes() > 200_000);
}
