//! Forged snapshots: somebody who can write the directory makes one that opens. What cites records is then true or an error, nothing
//! is erased by it, and with a checkpoint nothing at all is answered from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::forge::{self, transplanted, with_state, without_operation_ids};
use identity_ledger::answer::PageError;
use identity_ledger::diff::{Preview, PreviewError};
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::log::Digest;
use identity_ledger::snapshot::DurabilityEvidence;
use identity_ledger::storage::{Fault, FaultKind, Memory, Storage};
use identity_ledger::*;

const EVENT: OperationId = OperationId(uuid::Uuid::from_u128(77));

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn set(second: i64, who: &str, key: &str, value: &str) -> Operation {
    Operation::properties(at(second), id(who)).set(key, value).unwrap()
}

/// A small shop. `user-1` and `user-2` were asked to be linked, and the link was refused; the link of `user-1` and `phone-1` was
/// taken back.
fn shop() -> Vec<Operation> {
    let signs_in =
        |second, who: &str, from: &str| Operation::identify(at(second), id(who), Some(Source::new(from)));
    vec![
        set(1, "user-1", "email", "one@example.com"),
        set(2, "user-2", "email", "two@example.com"),
        set(3, "user-3", "plan", "free"),
        signs_in(4, "user-1", "phone-1"),
        signs_in(5, "user-2", "phone-2"),
        signs_in(6, "user-3", "phone-3"),
        Operation::alias(at(7), id("user-1"), Source::new("user-2")),
        Operation::capture(at(8), id("user-3"), EVENT),
        set(9, "user-3", "plan", "team"),
        Operation::retract(at(10), Target::Record(Seq(LINK))),
        set(11, "user-2", "email", "second@example.com"),
        set(12, "user-1", "email", "first@example.com"),
    ]
}

/// The record that links `user-1` and `phone-1`.
const LINK: u64 = 10;

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(1_024)
}

fn read(disk: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &Memory, file: &str, bytes: &[u8]) {
    disk.remove(file).unwrap();
    disk.create(file).unwrap();
    disk.write_at(file, 0, bytes).unwrap();
}

/// A ledger of what `fill` appends, with one snapshot of all of it, and that file.
fn filled(fill: impl FnOnce(&mut Ledger)) -> (Memory, String) {
    let disk = Arc::new(Memory::new());
    let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    fill(&mut ledger);
    let made = ledger.snapshot().unwrap();
    drop(ledger);
    (Memory::clone(&disk), made.file)
}

fn append_all(ledger: &mut Ledger, operations: Vec<Operation>) {
    for operation in operations {
        let _ = ledger.append(operation).unwrap();
    }
}

/// The shop, each time with another snapshot that was made up, and what that one is.
fn forgeries() -> Vec<(&'static str, Memory)> {
    let (disk, file) = filled(|ledger| append_all(ledger, shop()));
    let genuine = read(&disk, &file);
    // What the snapshot of another log says, at the place of this one's.
    let other = |fill: &dyn Fn(&mut Ledger)| {
        let (other, other_file) = filled(fill);
        assert_eq!(other_file, file, "a log of as many records");
        transplanted(&genuine, &read(&other, &other_file))
    };
    let but = |place: usize, operation: Operation| {
        other(&|ledger| {
            let mut operations = shop();
            operations[place] = operation.clone();
            append_all(ledger, operations);
        })
    };
    let exchanged = other(&|ledger| {
        let name = |text: &str| match text {
            "user-1" => "user-3".to_owned(),
            "user-3" => "user-1".to_owned(),
            text => text.to_owned(),
        };
        let exchange = |operation: Operation| renamed(operation, name);
        append_all(ledger, shop().into_iter().map(exchange).collect());
    });
    let erased = other(&|ledger| {
        append_all(ledger, shop().into_iter().take(9).collect());
        let two = ErasureSubject::Ids(BTreeSet::from([id("user-2")]));
        ledger.erase(&[ErasureRequest::new(at(10), two, "")]).unwrap();
        append_all(ledger, vec![set(12, "user-1", "email", "first@example.com")]);
    });
    let under_way = with_state(&erased, |state| {
        let entry = [18_u32.to_le_bytes(), 19_u32.to_le_bytes()].concat();
        let place = state.windows(8).rposition(|bytes| bytes == entry).expect("the erasure and what ends it");
        state[place + 4..place + 8].fill(0xff);
    });
    let linked = Operation::merge_dangerously(at(7), id("user-1"), Source::new("user-2"));
    let forged = [
        ("exchanged texts", exchanged),
        ("a refused link that was made", but(6, linked)),
        ("a profile by another record", but(8, Operation::properties(at(9), id("user-3")))),
        ("a profile by a value of another key", but(8, set(9, "user-3", "email", "x"))),
        ("a retract that is not there", but(9, Operation::properties(at(10), id("user-1")))),
        ("no operation ids", without_operation_ids(&genuine)),
        ("an erasure", erased),
        ("an erasure under way", under_way),
    ];
    let with = |(what, bytes): (&'static str, Vec<u8>)| {
        let disk = disk.clone();
        write(&disk, &file, &bytes);
        (what, disk)
    };
    forged.into_iter().map(with).collect()
}

/// The same operation about ids with other names.
fn renamed(operation: Operation, name: impl Fn(&str) -> String) -> Operation {
    let who = |who: Actor| match who {
        Actor::Id(text) => Actor::Id(id(&name(text.as_str()))),
        device => device,
    };
    let source = |source: Option<Source>| match source {
        Some(Source::Id(text)) => Some(Source::new(&name(text.as_str()))),
        other => other,
    };
    let request = match operation.request {
        Request::Set { who: of } => Request::Set { who: who(of) },
        Request::Identify { who: of, anonymous } => {
            Request::Identify { who: who(of), anonymous: source(anonymous) }
        }
        Request::Alias { who: of, alias } => Request::Alias { who: who(of), alias: source(alias) },
        Request::Capture { who: of, event, properties } => {
            Request::Capture { who: who(of), event, properties }
        }
        other => other,
    };
    Operation { request, ..operation }
}

const IDS: [&str; 6] = ["user-1", "user-2", "user-3", "phone-1", "phone-2", "phone-3"];

/// What was asked, and the answer; or whether the error says that the snapshot is not what the log says.
type Answers = Vec<(String, Result<String, bool>)>;

fn said<T: std::fmt::Debug>(answer: Result<T, Fault>) -> Result<String, bool> {
    answer
        .map(|answer| format!("{answer:?}"))
        .map_err(|fault| matches!(fault.kind, FaultKind::Unproven { .. }))
}

/// Every answer that cites records.
fn cited(book: &Reader) -> Answers {
    let mut answers = Vec::new();
    for a in IDS {
        for b in IDS {
            let explained = book.explain(a, b).inspect(|why| {
                why.iter().for_each(|why| why.check(|seq| book.claim(seq).unwrap()).unwrap());
            });
            answers.push((format!("explain {a} {b}"), said(explained)));
            answers.push((format!("why-not {a} {b}"), said(book.why_not(a, b))));
        }
        for key in ["email", "plan"] {
            answers.push((format!("why-property {a} {key}"), said(book.why_property(a, key))));
        }
        for subject in [Subject::Id(a), Subject::Person(a)] {
            let history = book.history(subject, PageRequest::first(100)).map_err(|error| match error {
                PageError::Fault(fault) => *fault,
                error => panic!("{error}"),
            });
            answers.push((format!("history {subject:?}"), said(history)));
        }
        let split = Operation::split(at(20), id(a), vec![id("phone-1")], SplitMode::Each);
        answers.push((format!("split {a}"), said(previewed(book, &split))));
    }
    answers.push(("explain-event".to_owned(), said(book.explain_event(EVENT))));
    for seq in 0..=20 {
        let retract = Operation::retract(at(20), Target::Record(Seq(seq)));
        answers.push((format!("retract {seq}"), said(previewed(book, &retract))));
    }
    for seq in 0..=20 {
        answers.push((format!("claim {seq}"), said(book.claim(Seq(seq)))));
    }
    answers
}

fn previewed(book: &Reader, operation: &Operation) -> Result<Result<Preview, String>, Fault> {
    match book.preview(operation) {
        Err(PreviewError::Fault(fault)) => Err(fault),
        preview => Ok(preview.map_err(|error| error.to_string())),
    }
}

/// Answers that cite nothing.
fn uncited(book: &Reader) -> Answers {
    let mut answers = Vec::new();
    for who in IDS {
        answers.push((format!("resolve {who}"), Ok(format!("{:?}", book.resolve(who)))));
        answers.push((format!("profile {who}"), said(book.profile(who))));
    }
    answers.push(("persons".to_owned(), said(book.persons().collect::<Result<Vec<Profile>, Fault>>())));
    let email = PropertyKey::new("email").unwrap();
    answers.push(("find".to_owned(), said(book.find(&email, |value| *value == "first@example.com".into()))));
    answers.push(("event".to_owned(), said(book.event(EVENT))));
    answers.push(("erasures".to_owned(), said(book.erasures())));
    let mut events = Vec::new();
    let walked = book.events(|event| events.push(event)).map(|()| events);
    answers.push(("events".to_owned(), said(walked)));
    answers
}

/// What the log alone says.
fn truth() -> (ReadOnlyLedger, Answers, Answers) {
    let (disk, _) = filled(|ledger| append_all(ledger, shop()));
    let reader = options().without_snapshots().read_in(Arc::new(disk)).unwrap();
    let answers = (cited(reader.reader()), uncited(reader.reader()));
    (reader, answers.0, answers.1)
}

fn log(disk: &Memory) -> Vec<Vec<u8>> {
    let mut names = disk.list("log").unwrap();
    names.sort();
    names.iter().map(|name| read(disk, &format!("log/{name}"))).collect()
}

#[test]
fn an_answer_from_a_forged_snapshot_that_cites_records_is_true_or_an_error() {
    let (_, truth, uncited_truth) = truth();
    assert!(truth.iter().all(|(_, answer)| answer.is_ok()), "{truth:?}");
    for (what, disk) in forgeries() {
        let reader = options().read_in(Arc::new(disk)).unwrap();
        assert!(reader.recovery().from_snapshot.is_some(), "{what}: {:?}", reader.recovery());
        let mut errors = 0;
        for (answer, expected) in cited(reader.reader()).iter().zip(&truth) {
            if answer.1 == Err(true) {
                errors += 1;
            } else {
                assert_eq!(answer, expected, "{what}");
            }
        }
        let believed = uncited(reader.reader())
            .iter()
            .zip(&uncited_truth)
            .filter(|(found, truth)| found != truth)
            .count();
        assert!(errors > 0 || believed > 0, "{what}: it is no forgery");
        let fault = reader.reader().prove_snapshot().unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Unproven { .. }), "{what}: {fault}");
        assert!(fault.file.starts_with("snap/"), "{what}: {fault}");
    }
}

#[test]
fn with_a_checkpoint_nothing_is_answered_from_a_forged_snapshot() {
    let (reader, cited_truth, uncited_truth) = truth();
    let checkpoint = reader.checkpoint();
    for (what, disk) in forgeries() {
        let reader = options().expect(checkpoint).read_in(Arc::new(disk.clone())).unwrap();
        assert_eq!(reader.recovery().from_snapshot, None, "{what}");
        assert_eq!(cited(reader.reader()), cited_truth, "{what}");
        assert_eq!(uncited(reader.reader()), uncited_truth, "{what}");
        let other = Checkpoint { head: Digest([7; 32]), ..checkpoint };
        let forked = options().expect(other).read_in(Arc::new(disk.clone()));
        assert!(
            matches!(forked, Err(OpenError::Forked { by: DurabilityEvidence::Checkpoint, .. })),
            "{what}"
        );
        let newer = Checkpoint { records: checkpoint.records + 1, ..checkpoint };
        let behind = options().expect(newer).open_in(Arc::new(disk.clone()));
        assert!(
            matches!(behind, Err(OpenError::RolledBack { by: DurabilityEvidence::Checkpoint, .. })),
            "{what}"
        );
        let ledger = options().expect(checkpoint).open_in(Arc::new(disk)).unwrap();
        assert_eq!(ledger.recovery().from_snapshot, None, "{what}");
        assert_eq!(uncited(ledger.reader()), uncited_truth, "{what}");
    }
}

fn subjects(book: &Reader) -> Vec<ErasureSubject> {
    let person = book.resolve("user-3").unwrap().person_id;
    vec![
        ErasureSubject::PersonOf(id("user-3")),
        ErasureSubject::Person(person),
        ErasureSubject::Ids(BTreeSet::from([id("user-1")])),
    ]
}

#[test]
fn a_forged_snapshot_erases_nothing_and_redirects_no_erasure() {
    let (reader, ..) = truth();
    let checkpoint = reader.checkpoint();
    let email = || [PropertyKey::new("email").unwrap()];
    for (what, disk) in forgeries() {
        let before = log(&disk);
        for subject in subjects(reader.reader()) {
            let whole = ErasureRequest::new(at(30), subject, "asked");
            for request in [whole.clone(), whole.with_keys(email())] {
                let disk = Arc::new(disk.clone());
                match options().open_in(disk.clone()) {
                    Ok(mut ledger) => {
                        let refused = ledger.erase(std::slice::from_ref(&request)).unwrap_err();
                        assert!(matches!(refused, EraseError::Unproven(_)), "{what}: {refused}");
                        assert!(refused.to_string().ends_with("; nothing was erased"), "{refused}");
                        assert_eq!(ledger.checkpoint(), checkpoint, "{what}: nothing was recorded");
                    }
                    Err(OpenError::Untrusted { fault, .. }) => {
                        assert_eq!(what, "an erasure under way");
                        assert!(matches!(fault.kind, FaultKind::Unproven { .. }), "{fault}");
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
                assert_eq!(log(&disk), before, "{what}: the log is what it was");
            }
        }
    }
    // From the log, and with a checkpoint, the same requests are about whom they name.
    for (what, disk) in forgeries() {
        for subject in subjects(reader.reader()) {
            let request = [ErasureRequest::new(at(30), subject, "asked")];
            let erased = |options: LedgerOptions<'_>| {
                let mut ledger = options.open_in(Arc::new(disk.clone())).unwrap();
                ledger.erase(&request).unwrap().remove(0).ids
            };
            let (disk, _) = filled(|ledger| append_all(ledger, shop()));
            let expected = options().open_in(Arc::new(disk)).unwrap().erase(&request).unwrap().remove(0).ids;
            assert_eq!(erased(options().without_snapshots()), expected, "{what}");
            assert_eq!(erased(options().expect(checkpoint)), expected, "{what}");
        }
    }
}

#[test]
fn a_forged_snapshot_redirects_no_split_and_no_retract() {
    let (what, disk) = forgeries().remove(0);
    assert_eq!(what, "exchanged texts");
    let mut ledger = options().open_in(Arc::new(disk)).unwrap();
    let before = ledger.checkpoint();
    for operation in [
        Operation::split(at(20), id("user-3"), vec![id("phone-3")], SplitMode::Each),
        Operation::retract(at(20), Target::Record(Seq(LINK + 2))),
    ] {
        let refused = ledger.append(operation).unwrap_err();
        assert!(matches!(refused, AppendError::Unproven(_)), "{refused}");
        assert_eq!(ledger.checkpoint(), before);
    }
}

/// A value may hold the bytes of a frame, and a forged place may point at them.
#[test]
fn what_a_snapshot_says_of_places_is_not_used_once_its_texts_are_proven() {
    let (disk, file) = filled(|ledger| append_all(ledger, shop()));
    let genuine = read(&disk, &file);
    let mut forged = genuine.clone();
    let places = usize::from(forged[forge::PLACES]);
    assert!(places > 2);
    // The number of ids that are defined before the second place: too many by one, and one device less.
    let ids = forge::HEADER + forge::PLACE + forge::RECORDED_BEFORE.end;
    forged[ids] += 1;
    write(&disk, &file, &forge::resealed(&forged));
    let reader = options().read_in(Arc::new(disk)).unwrap();
    assert!(reader.recovery().from_snapshot.is_some(), "{:?}", reader.recovery());
    let (_, truth, _) = truth();
    assert_eq!(cited(reader.reader()), truth);
    reader.reader().prove_snapshot().unwrap();
}

/// Whatever is retracted, split or erased before a snapshot and behind it: nothing that a writer makes is taken for forged.
#[cfg(feature = "testing")]
#[test]
fn every_snapshot_of_a_writer_passes_every_proof() {
    use identity_ledger::testing::history::{History, IDS, KEYS};
    let mut tried = 0;
    for seed in 0..200 {
        let history =
            History::seeded(&Policy::preset([Preset::Posthog, Preset::OneUser][seed as usize % 2]), seed);
        let disk = Arc::new(Memory::new());
        let mut ledger =
            options().create_in(disk.clone(), Tenant::default(), history.policy.clone()).unwrap();
        history.append_to(&mut ledger).unwrap();
        if seed % 3 == 0 {
            let subject = ErasureSubject::Ids(BTreeSet::from([id(IDS[seed as usize % IDS.len()])]));
            ledger.erase(&[ErasureRequest::new(at(1), subject, "before")]).ok(); // it may never have been written
        }
        ledger.snapshot().unwrap();
        History::seeded(&history.policy, seed + 1_000).append_to(&mut ledger).unwrap();
        if seed % 4 == 0 {
            let subject = ErasureSubject::PersonOf(id(IDS[seed as usize % 5]));
            ledger.begin_erasures(&[ErasureRequest::new(at(2), subject, "under way")]).ok();
        }
        ledger.flush().unwrap();
        let copy = || Arc::new(Memory::clone(&disk));
        let whole = options().without_snapshots().read_in(copy()).unwrap();
        let resumed = options().read_in(copy()).unwrap();
        assert!(resumed.recovery().from_snapshot.is_some(), "seed {seed}: {:?}", resumed.recovery());
        for a in IDS {
            for key in KEYS {
                assert_eq!(
                    resumed.why_property(a, key).unwrap(),
                    whole.why_property(a, key).unwrap(),
                    "seed {seed}"
                );
            }
            for b in IDS {
                assert_eq!(resumed.explain(a, b).unwrap(), whole.explain(a, b).unwrap(), "seed {seed}");
                assert_eq!(resumed.why_not(a, b).unwrap(), whole.why_not(a, b).unwrap(), "seed {seed}");
                tried += 1;
            }
        }
        resumed.reader().prove_snapshot().unwrap();
        // Appended to, it passes too; and opening for writing finishes what is under way.
        let mut resumed = options().open_in(copy()).unwrap();
        History::seeded(&history.policy, seed + 2_000).append_to(&mut resumed).unwrap();
        resumed.reader().prove_snapshot().unwrap();
    }
    assert!(tried > 10_000, "{tried}");
}
