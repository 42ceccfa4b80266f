//! Erasing (H3): what is gone, what stays, and that nobody else changes. Each erased text is a marker that nothing else can be;
//! afterwards every byte of every file is looked through for it, in several spellings.
//! Twice: `tests/suite/erasure.rs` on ledgers that lie open, `tests/suite/sealed.rs` on sealed ones, whose keys lie on the same disk and fail with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity_ledger::audit::{AuditRemark, AuditReport, ErasureFault};
use identity_ledger::backup::{Backup, BackupError};
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::log::Digest;
use identity_ledger::salvage::ItemLoss;
use identity_ledger::storage::{FaultKind, Files, Storage};
use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::check;
use identity_ledger::testing::disk::{SimulatedDisk, Subset};
use identity_ledger::*;

use super::{SEALED, adopting, keyed};
use crate::support::markers::{Search, marker};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn key(text: &str) -> PropertyKey {
    PropertyKey::new(text).unwrap()
}

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(7).segment_bytes(2_048)
}

/// With the keys that lie on the disk, if ledgers are sealed.
trait OnDisk: Sized {
    fn on(self, disk: &Arc<SimulatedDisk>) -> LedgerOptions<'static>;

    fn create_on(self, disk: Arc<SimulatedDisk>) -> Ledger {
        self.on(&disk).create_in(disk, Tenant::default(), Policy::default()).unwrap()
    }

    fn open_on(self, disk: Arc<SimulatedDisk>) -> Result<Ledger, OpenError> {
        self.on(&disk).open_in(disk)
    }

    /// Opens a copy for writing, which takes the keys over.
    fn adopt_on(self, disk: Arc<SimulatedDisk>) -> Result<Ledger, OpenError> {
        adopting(self.on(&disk)).open_in(disk)
    }

    fn read_on(self, disk: Arc<SimulatedDisk>) -> Result<ReadOnlyLedger, OpenError> {
        self.on(&disk).read_in(disk)
    }
}

impl OnDisk for LedgerOptions<'static> {
    fn on(self, disk: &Arc<SimulatedDisk>) -> LedgerOptions<'static> {
        keyed(self, disk.clone(), KEYS)
    }
}

const KEYS: &str = "keys";

fn audit(disk: Arc<SimulatedDisk>, expect: Option<Checkpoint>) -> AuditReport {
    let options = LedgerOptions::new().on(&disk);
    expect.into_iter().fold(options, LedgerOptions::expect).audit_in(disk).unwrap()
}

/// A copy's keys are those of what it is a copy of; a backup does not hold them.
fn lend_keys(from: &SimulatedDisk, to: &SimulatedDisk) {
    if let Some(ring) = from.files().get(KEYS) {
        to.create(KEYS).unwrap();
        to.write_at(KEYS, 0, ring).unwrap();
    }
}

fn take_keys_back(from: &SimulatedDisk) {
    if SEALED {
        from.remove(KEYS).unwrap();
    }
}

/// Options for a ledger in a directory; its keys lie beside it.
fn beside(options: LedgerOptions<'static>, dir: &std::path::Path) -> LedgerOptions<'static> {
    keyed(options, Arc::new(Files::writable(dir.parent().unwrap())), KEYS)
}

fn operation_id(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(number))
}

fn new_ledger(disk: &Arc<SimulatedDisk>) -> Ledger {
    options().create_on(disk.clone())
}

/// What somebody does: two anonymous ids, captures, an identify with values, more captures. All texts and values are markers.
struct Someone {
    number: u64,
}

impl Someone {
    fn user(&self) -> String {
        marker(self.number * 100)
    }

    fn visitor(&self) -> String {
        marker(self.number * 100 + 1)
    }

    fn value(&self, place: u64) -> String {
        marker(self.number * 100 + 10 + place)
    }

    fn operations(&self) -> Vec<Operation> {
        let n = i64::try_from(self.number).unwrap() * 1_000;
        let (user, visitor) = (id(&self.user()), id(&self.visitor()));
        let named = |place: u128| operation_id(u128::from(self.number) << 32 | place);
        vec![
            Operation::capture(at(n), visitor.clone(), named(1)).set("page", self.value(0)).unwrap(),
            Operation::capture(at(n + 1), visitor.clone(), named(2)),
            Operation::identify(at(n + 2), user.clone(), Some(Source::new(visitor.as_str())))
                .set("email", self.value(1))
                .unwrap()
                .set("plan", "free")
                .unwrap()
                .with_derived_id(named(3)),
            Operation::capture(at(n + 3), user.clone(), named(4)),
            Operation::properties(at(n + 4), user).set("name", self.value(2)).unwrap(),
        ]
    }

    /// Everything of theirs that must not be found again.
    fn secrets(&self) -> Vec<String> {
        let derived = operation_id(u128::from(self.number) << 32 | 3).0;
        let mut all = vec![self.user(), self.visitor(), self.value(0), self.value(1), self.value(2)];
        all.extend(if self.number < 1 << 20 { None } else { Some(derived.to_string()) });
        all
    }
}

trait Derived {
    fn with_derived_id(self, id: OperationId) -> Operation;
}

impl Derived for Operation {
    fn with_derived_id(mut self, id: OperationId) -> Operation {
        self.id = Some(id);
        self.derived_id = true;
        self
    }
}

fn erase_all_of(person: &Someone, reason: &str) -> ErasureRequest {
    ErasureRequest::new(at(9), ErasureSubject::PersonOf(id(&person.user())), reason)
}

/// Looks through every byte of a disk.
fn assert_gone<'s>(disk: &SimulatedDisk, secrets: impl IntoIterator<Item = &'s String>) {
    let search = Search::new(secrets);
    for (name, bytes) in disk.files() {
        if let Some((what, at)) = search.found_in(&bytes) {
            panic!("{what} is in {name} at byte {at}");
        }
    }
}

/// What can be asked about one person: for those who must not notice that others were erased.
fn answers(book: &Reader, person: &Someone) -> (Option<Resolution>, Option<Profile>, Vec<EventAnswer>) {
    let mut events = Vec::new();
    book.events(|event| events.extend(Some(event).filter(|event| event.distinct_id == person.user())))
        .unwrap();
    (book.resolve(&person.user()), book.profile(&person.user()).unwrap(), events)
}

fn state_digests(book: &Reader) -> Vec<Digest> {
    let mut digests = Vec::new();
    book.replay(|step| digests.push(step.state.digest())).unwrap();
    digests
}

#[test]
fn a_person_is_gone_from_every_file_and_nobody_else_notices() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let people: Vec<Someone> = (1..=20).map(|number| Someone { number }).collect();
    for person in &people {
        drop(ledger.append_batch(&person.operations()).unwrap());
    }
    ledger.snapshot().unwrap();
    let (gone, others) = (&people[7], people.iter().filter(|person| person.number != 8));
    let before: Vec<_> = others.clone().map(|person| answers(ledger.reader(), person)).collect();
    let (digests, checkpoint) = (state_digests(ledger.reader()), ledger.checkpoint());
    let old_id = ledger.resolve(&gone.user()).unwrap().person_id;
    let profile = ledger.profile(&gone.user()).unwrap().unwrap();

    let preview = ledger.reader().preview_erasure(&erase_all_of(gone, "they asked")).unwrap();
    assert_eq!(ledger.checkpoint(), checkpoint, "a preview records nothing");
    let receipts = ledger.erase(&[erase_all_of(gone, "they asked")]).unwrap();
    let [receipt] = &receipts[..] else { panic!("one record for one person: {receipts:?}") };
    assert_eq!((receipt.items, receipt.ids.len(), receipt.events), (Some(2 + 3), 2, 3));
    assert_eq!(receipt.reason.as_deref(), Some("they asked"));
    assert_eq!((preview.ids, preview.events), (vec![gone.visitor(), gone.user()], receipt.events));
    assert_eq!(preview.values, ["email", "name", "page", "plan"].map(|key| (key.to_owned(), 1)).into());
    assert!(receipt.done_seq > Some(receipt.seq) && (1..3).contains(&receipt.segments.len()), "{receipt:?}");
    assert!(ledger.recovery().is_clean());
    assert_gone(&disk, &gone.secrets());

    // Nobody else, and nothing that was, has changed.
    let after: Vec<_> = others.map(|person| answers(ledger.reader(), person)).collect();
    assert_eq!(before, after);
    assert_eq!(state_digests(ledger.reader())[..digests.len()], digests);
    let report = audit(disk.clone(), Some(checkpoint));
    assert!(report.is_ok(), "{:?}", report.faults);

    // What is left of them is structure.
    assert_eq!((ledger.resolve(&gone.user()), ledger.reader().survivor_of(old_id)), (None, None));
    let left: Vec<Profile> = ledger.persons().map(Result::unwrap).filter(|p| p.erased_by.is_some()).collect();
    let [left] = &left[..] else { panic!("one person is erased: {left:?}") };
    assert_eq!((left.events, left.created_at, left.is_identified), (3, profile.created_at, true));
    assert_eq!(
        left.distinct_ids,
        receipt.ids.iter().rev().rev().map(|id| format!("$erased:{id}")).collect::<Vec<_>>()
    );
    assert!(
        left.properties.values().all(|p| p.value.is_none() && p.erased_by == Some(receipt.seq)),
        "{left:?}"
    );
    assert_ne!(left.person_id, old_id);
    assert_eq!(ledger.reader().survivor_of(left.person_id), Some(left.person_id));

    // A replay, from scratch or from the new snapshot, says the same.
    let (digest, content) = (ledger.reader().state().digest(), ledger.reader().content_digest().unwrap());
    drop(ledger);
    for options in [options(), options().without_snapshots()] {
        let ledger = options.open_on(Arc::new(disk.killed())).unwrap();
        assert_eq!(
            (ledger.reader().state().digest(), ledger.reader().content_digest().unwrap()),
            (digest, content)
        );
        assert_eq!(ledger.reader().erasures().unwrap(), receipts);
        check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    }
}

#[test]
fn from_the_record_on_every_answer_says_erased_before_a_byte_is_gone() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let (gone, other) = (Someone { number: 1 }, Someone { number: 2 });
    drop(ledger.append_batch(&gone.operations()).unwrap());
    drop(ledger.append_batch(&other.operations()).unwrap());
    ledger.snapshot().unwrap();
    let begun = ledger.begin_erasures(&[erase_all_of(&gone, "")]).unwrap();
    let report = audit(disk.clone(), None);
    assert!(report.is_ok(), "an erasure under way is no fault: {:?}", report.faults);
    let files = disk.files();
    assert!(
        SEALED || files.values().any(|file| Search::new([&gone.user()]).found_in(file).is_some()),
        "no byte is gone yet"
    );
    let reader = LedgerOptions::new().read_on(disk.clone()).unwrap();
    assert_eq!(reader.recovery().erasures_pending, 1);
    for book in [ledger.reader(), reader.reader()] {
        assert_eq!(book.resolve(&gone.user()), None);
        assert_eq!(book.erasures().unwrap()[0].done_seq, None);
        let mut said = String::new();
        book.persons().for_each(|profile| said += &format!("{:?}", profile.unwrap()));
        book.events(|event| said += &format!("{event:?}")).unwrap();
        book.outcomes(|outcome| said += &format!("{outcome:?}")).unwrap();
        book.replay(|step| said += &format!("{:?} {:?}", step.record.item(), step.record.operation_id()))
            .unwrap();
        for secret in gone.secrets() {
            assert!(!said.contains(&secret), "{secret} is in an answer");
            let bytes = format!("{:?}", secret.as_bytes());
            assert!(!said.contains(bytes.trim_matches(['[', ']'])), "{secret} is in an item");
        }
    }
    let content = ledger.reader().content_digest().unwrap();
    let receipts = ledger.finish_erasures(&mut |_| {}).unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.seq).collect::<Vec<_>>(), begun);
    assert_eq!(ledger.reader().content_digest().unwrap(), content, "removing bytes changes no answer");
    assert!(ledger.finish_erasures(&mut |_| {}).unwrap().is_empty(), "nothing is left to do");
    assert_gone(&disk, &gone.secrets());
    // The reader was open all the time: it reads what its own time left, or nothing.
    reader.persons().for_each(|profile| drop(profile.unwrap()));
    assert!(reader.profile(&other.user()).unwrap().is_some());
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
}

#[test]
fn the_same_text_seen_again_is_a_new_id_and_a_new_person() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let person = Someone { number: 1 };
    drop(ledger.append_batch(&person.operations()).unwrap());
    let old =
        (ledger.reader().id_no(&person.user()).unwrap(), ledger.resolve(&person.user()).unwrap().person_id);
    ledger.erase(&[erase_all_of(&person, "")]).unwrap();
    // Operations that were recorded under a given id are recorded still: an importer that repeats itself brings nobody back.
    let again = ledger.append_batch(&person.operations()).unwrap();
    let recorded: Vec<bool> = again.iter().map(|appended| appended.outcome().is_some()).collect();
    assert_eq!(
        recorded,
        [false, false, true, false, true],
        "what had a derived id, or none, cannot be known"
    );
    let appended = ledger.append(Operation::properties(at(50), id(&person.user()))).unwrap();
    assert!(!appended.outcome().unwrap().founded, "it was founded a moment ago");
    let resolution = ledger.resolve(&person.user()).unwrap();
    assert_ne!((ledger.reader().id_no(&person.user()).unwrap(), resolution.person_id), old);
    let defined = ledger.reader().state().defined_by(ledger.reader().id_no(&person.user()).unwrap());
    assert_eq!(resolution.person_id, PersonId::founded_at(ledger.tenant(), &person.user(), defined), "D11");
    drop(ledger);
    let ledger = options().open_on(Arc::new(disk.killed())).unwrap();
    assert_eq!(ledger.resolve(&person.user()), Some(resolution));
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
}

#[test]
fn who_loses_the_id_that_founded_them_is_called_after_the_next() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let person = Someone { number: 3 };
    drop(ledger.append_batch(&person.operations()).unwrap());
    let _ = ledger.append(Operation::alias(at(5), id(&person.user()), Source::new("third"))).unwrap();
    let _ = ledger.append(Operation::properties(at(6), id("somebody"))).unwrap();
    let old = ledger.resolve(&person.user()).unwrap().person_id;
    assert_eq!(old, PersonId::founded_by(ledger.tenant(), &person.visitor()));
    let erase = |ledger: &mut Ledger, ids: &[String]| {
        let ids = ErasureSubject::Ids(ids.iter().map(|text| id(text)).collect());
        ledger.erase(&[ErasureRequest::new(at(9), ids, "")]).unwrap().remove(0)
    };
    let first = erase(&mut ledger, &[person.visitor()]);
    let second_id = PersonId::founded_at(ledger.tenant(), &person.user(), first.seq);
    assert_eq!(ledger.resolve("third").unwrap().person_id, second_id);
    assert_eq!(
        (ledger.reader().survivor_of(old), ledger.reader().survivor_of(second_id)),
        (None, Some(second_id))
    );
    assert!(
        ledger.profile("third").unwrap().unwrap().properties["email"].value.is_some(),
        "another id's value"
    );
    assert_eq!(ledger.profile("third").unwrap().unwrap().properties["page"].value, None);
    // Absorbed, it is still known by that name.
    let _ = ledger
        .append(Operation::new(
            at(10),
            Request::Merge { who: Actor::Id(id("somebody")), alias: Some(Source::new("third")) },
        ))
        .unwrap();
    let survivor = ledger.resolve("somebody").unwrap().person_id;
    assert_eq!(ledger.reader().survivor_of(second_id), Some(survivor));
    erase(&mut ledger, &[person.user()]);
    assert_eq!(ledger.reader().survivor_of(second_id), None, "its text is gone");
    assert_eq!(ledger.resolve("third").unwrap().person_id, survivor);
    assert_gone(&disk, [&person.user(), &person.visitor(), &person.value(0), &person.value(1)]);
    drop(ledger);
    let again = options().without_snapshots().open_on(Arc::new(disk.killed())).unwrap();
    assert_eq!(again.resolve("third").unwrap().person_id, survivor);
    check(again.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
}

#[test]
fn a_key_scoped_erasure_takes_the_values_of_those_keys_and_leaves_the_others() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let (person, other) = (Someone { number: 1 }, Someone { number: 2 });
    drop(ledger.append_batch(&person.operations()).unwrap());
    drop(ledger.append_batch(&other.operations()).unwrap());
    let rectify = |keys: &[&str]| {
        ErasureRequest::new(at(9), ErasureSubject::PersonOf(id(&person.user())), "wrong address")
            .with_keys(keys.iter().map(|name| key(name)))
    };
    let resolution = ledger.resolve(&person.user());
    let digests = state_digests(ledger.reader());
    let preview = |ledger: &Ledger| ledger.reader().preview_erasure(&rectify(&["email"]));
    let previewed = preview(&ledger).unwrap();
    assert_eq!((previewed.ids.len(), previewed.values), (0, BTreeMap::from([("email".to_owned(), 1)])));
    let [receipt] = &ledger.erase(&[rectify(&["email", "nobody has this"])]).unwrap()[..] else {
        panic!("one record")
    };
    assert_eq!(
        (&receipt.keys[..], receipt.ids.len(), receipt.records.len()),
        (&["email".to_owned()][..], 0, 1)
    );
    assert_gone(&disk, [&person.value(1)]);
    assert!(matches!(preview(&ledger), Err(EraseError::NoValues { .. })));
    assert_eq!(ledger.resolve(&person.user()), resolution);
    assert_eq!(state_digests(ledger.reader())[..digests.len()], digests);
    let profile = ledger.profile(&person.user()).unwrap().unwrap();
    assert_eq!(profile.properties["email"].erased_by, Some(receipt.seq));
    assert_eq!(profile.properties["plan"].value, Some(Value::from("free")));
    assert_eq!(profile.properties["name"].value, Some(Value::from(person.value(2))));

    // The right value is an ordinary one, and nothing of the wrong one is left to erase.
    let _ = ledger
        .append(Operation::properties(at(20), id(&person.user())).set("email", "right").unwrap())
        .unwrap();
    assert_eq!(
        ledger.profile(&person.user()).unwrap().unwrap().properties["email"].value,
        Some(Value::from("right"))
    );
    // Again, and what was left of the record goes too.
    ledger.erase(&[rectify(&["plan", "email"])]).unwrap();
    let profile = ledger.profile(&person.user()).unwrap().unwrap();
    assert!(profile.properties["plan"].value.is_none() && profile.properties["email"].value.is_none());
    let nothing = ledger.erase(&[rectify(&["plan", "email"])]).unwrap_err();
    assert!(matches!(nothing, EraseError::NoValues { index: 0 }), "{nothing}");
    let report = audit(disk.clone(), None);
    assert!(report.is_ok(), "{:?}", report.faults);
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    // And then all of them.
    ledger.erase(&[erase_all_of(&person, "")]).unwrap();
    assert_gone(&disk, &person.secrets());
    drop(ledger);
    let ledger = options().without_snapshots().open_on(Arc::new(disk.killed())).unwrap();
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    assert!(audit(disk.clone(), None).is_ok());
}

#[test]
fn a_reason_may_name_somebody_and_be_erased_too() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let person = Someone { number: 1 };
    drop(ledger.append_batch(&person.operations()).unwrap());
    let reason = marker(77);
    let first = ledger.erase(&[erase_all_of(&person, &reason)]).unwrap().remove(0);
    assert_eq!(first.reason.as_deref(), Some(&reason[..]));
    let wish = |seq| ErasureRequest::new(at(10), ErasureSubject::ReasonOf(seq), "");
    let second = ledger.erase(&[wish(first.seq)]).unwrap().remove(0);
    assert_eq!(second.records, [u32::try_from(first.seq.0).unwrap()]);
    assert_eq!(ledger.reader().erasures().unwrap()[0].reason, None);
    assert_gone(&disk, [&reason]);
    for seq in [first.seq, second.seq, Seq(0), Seq(999)] {
        assert!(matches!(ledger.erase(&[wish(seq)]), Err(EraseError::NoReason { .. })), "{seq}");
    }
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
}

#[test]
fn a_device_called_like_an_erased_id_is_a_new_device_and_one_that_spoke_for_it_is_reset() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let (phone, tablet, ann) = (marker(1), "tablet".to_owned(), marker(2));
    let said = |device: &str, user: &str| {
        let device = DeviceId::new(device).unwrap();
        Operation::new(at(1), Request::DeviceIdentify { device, user: id(user) })
    };
    let _ = ledger.append(said(&phone, &ann)).unwrap();
    // The tablet's own id belongs to Bob; then it is Ann's.
    let _ = ledger.append(said(&tablet, "bob")).unwrap();
    let _ = ledger.device(DeviceId::new(&tablet[..]).unwrap()).reset(at(2), false).unwrap();
    let _ = ledger.append(said(&tablet, &ann)).unwrap();
    let number = ledger.reader().device_no(&phone).unwrap();
    let receipt = ledger
        .erase(&[ErasureRequest::new(at(3), ErasureSubject::PersonOf(id(&ann)), "")])
        .unwrap()
        .remove(0);
    assert_eq!(receipt.devices, [number.0]);
    assert_gone(&disk, [&phone, &ann]);
    assert_eq!((ledger.reader().device_no(&phone), ledger.reader().device_text(number)), (None, None));
    let current = ledger.device(DeviceId::new(&tablet[..]).unwrap()).distinct_id();
    assert_eq!(ledger.reader().person(current.as_str()), None, "the tablet speaks for nobody (F4)");
    let _ = ledger.append(said(&phone, "carl")).unwrap();
    assert_ne!(ledger.reader().device_no(&phone), Some(number));
    assert!(ledger.resolve("bob") != ledger.resolve("carl"));
    check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
    let report = audit(disk.clone(), None);
    assert!(report.is_ok(), "{:?}", report.faults);
}

#[test]
fn what_cannot_be_erased_is_an_error_and_erases_nothing() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let _ = ledger.append(Operation::properties(at(1), id("ann"))).unwrap();
    let checkpoint = ledger.checkpoint();
    let good = ErasureRequest::new(at(9), ErasureSubject::PersonOf(id("ann")), "");
    let unknown = ErasureRequest::new(at(9), ErasureSubject::Ids(BTreeSet::from([id("ann"), id("bob")])), "");
    let nobody = ErasureRequest::new(at(9), ErasureSubject::Person(PersonId(uuid::Uuid::nil())), "");
    let nothing = ErasureRequest::new(at(9), ErasureSubject::Ids(BTreeSet::new()), "");
    let long = |len| ErasureRequest { reason: "r".repeat(len), ..good.clone() };
    let messages = [
        (unknown, "request 1: the ledger knows no distinct id `bob`; nothing was erased"),
        (nothing, "request 1: it names no distinct id; nothing was erased"),
        (
            nobody,
            "request 1: the ledger knows no person 00000000-0000-0000-0000-000000000000; nothing was erased",
        ),
        (
            long(limits::MAX_REASON_BYTES + 1),
            "request 1: the reason has 1025 bytes; expected at most 1024; nothing was erased",
        ),
        (
            good.clone().with_keys([key("email")]),
            "request 1: no record has a value of these keys that is not erased yet; nothing was erased",
        ),
    ];
    for (request, message) in messages {
        let previewed = ledger.reader().preview_erasure(&request).unwrap_err().to_string();
        assert_eq!(previewed.replace("request 0", "request 1"), message);
        assert_eq!(ledger.erase(&[good.clone(), request]).unwrap_err().to_string(), message);
        assert_eq!(ledger.checkpoint(), checkpoint);
    }
    assert!(ledger.resolve("ann").is_some());
    assert!(ledger.erase(&[long(limits::MAX_REASON_BYTES)]).is_ok());
    assert_eq!(ledger.erase(&[]).unwrap(), []);
}

/// Two officers ask for the same person, by different names, in one list: it is erased once, and each has a receipt.
#[test]
fn one_person_asked_for_three_times_is_erased_once() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let _ = ledger.append(Operation::identify(at(1), id("ann"), Some(Source::new("phone")))).unwrap();
    let person = ledger.resolve("ann").unwrap().person_id;
    let request = |subject| ErasureRequest::new(at(9), subject, "");
    let receipts = ledger
        .erase(&[
            request(ErasureSubject::Ids(BTreeSet::from([id("ann")]))),
            request(ErasureSubject::PersonOf(id("phone"))),
            request(ErasureSubject::Person(person)),
        ])
        .unwrap();
    let covered: Vec<_> = receipts.iter().map(|receipt| (&receipt.ids[..], receipt.items)).collect();
    assert_eq!(covered, [(&[0][..], Some(1)), (&[0, 1][..], Some(1)), (&[0, 1][..], Some(0))]);
    assert!(receipts.iter().all(|receipt| receipt.done_seq == receipts[0].done_seq), "one removal for all");
    assert!(testing::check(ledger.reader()).is_ok());
}

/// A reader that was open before stays in its own time: what it shows is what it saw, of everybody.
#[test]
fn a_reader_that_is_open_meanwhile_shows_what_it_saw_or_says_that_it_cannot() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let options = || beside(LedgerOptions::new().segment_bytes(2_048), &dir);
    let mut ledger = options().create(&dir, Tenant::default(), Policy::default()).unwrap();
    let (user, email) = (|n: i64| format!("user-{n}"), |n: i64| format!("{n}@example.com"));
    for n in 0..40 {
        let operation =
            Operation::identify(at(n), id(&user(n)), Some(Source::new(&format!("anonymous-{n}"))));
        assert!(ledger.append(operation.set("email", email(n)).unwrap()).is_ok());
    }
    ledger.flush().unwrap();
    let reader = options().open_read_only(&dir).unwrap();
    let saw: Vec<Profile> = reader.persons().map(|person| person.unwrap()).collect();
    ledger.erase(&[ErasureRequest::new(at(99), ErasureSubject::PersonOf(id("user-3")), "")]).unwrap();
    for (n, saw) in (0..).zip(&saw) {
        match reader.profile(&user(n)) {
            Ok(shown) => assert_eq!(shown.as_ref(), Some(saw)),
            Err(fault) => assert!(fault.file.starts_with("log/"), "{fault}"),
        }
    }
    let now = options().open_read_only(&dir).unwrap();
    assert!(now.resolve("user-3").is_none());
    for n in (0..40).filter(|n| *n != 3) {
        assert_eq!(now.profile(&user(n)).unwrap().as_ref(), Some(&saw[n as usize]), "nobody else changes");
    }
}

// -- the verifier's rule -----------------------------------------------------------------------------------------------

/// A disk on which one person was erased, as it was before the bytes went and after.
fn before_and_after() -> (Someone, SimulatedDisk, SimulatedDisk) {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    for number in 1..6 {
        drop(ledger.append_batch(&Someone { number }.operations()).unwrap());
    }
    let person = Someone { number: 2 };
    ledger.begin_erasures(&[erase_all_of(&person, "")]).unwrap();
    let before = disk.killed();
    ledger.finish_erasures(&mut |_| {}).unwrap();
    drop(ledger);
    (person, before, disk.killed())
}

fn overwrite(disk: &SimulatedDisk, file: &str, bytes: &[u8]) {
    disk.cut(file, 0).unwrap();
    disk.write_at(file, 0, bytes).unwrap();
}

#[test]
fn an_item_that_is_absent_and_not_erased_is_payload_missing() {
    let (_, before, after) = before_and_after();
    let remarks = |disk: &SimulatedDisk| {
        let mut remarks = audit(Arc::new(disk.killed()), None).remarks;
        remarks.retain(|remark| !matches!(remark, AuditRemark::Foreign(_))); // the ring lies on the same disk
        remarks
    };
    assert!(matches!(&remarks(&before)[..], [AuditRemark::PendingErasures(erasures)] if erasures.len() == 1));
    assert_eq!(remarks(&after), []);
    // The log without the erase record: segments as they are after it, cut off where the log ended before.
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    for number in 1..6 {
        drop(ledger.append_batch(&Someone { number }.operations()).unwrap());
    }
    drop(ledger);
    let whole = disk.files();
    let mut changed = Vec::new();
    for (file, bytes) in after.files() {
        if file.starts_with("log/")
            && before.files().get(&file).is_some_and(|before| before.len() > bytes.len())
        {
            changed.push(file.clone());
            if whole.contains_key(&file) && whole[&file].len() == before.files()[&file].len() {
                overwrite(&disk, &file, &bytes);
            }
        }
    }
    assert!(!changed.is_empty());
    let report = audit(disk.clone(), None);
    let faults: Vec<_> = report.faults.iter().filter_map(|fault| fault.erasure).collect();
    assert_eq!(faults, [ErasureFault::PayloadMissing], "{:?}", report.faults);
    assert!(report.faults[0].to_string().contains("is missing, and no record erased it"));
    let refused = options().open_on(disk.clone()).map(drop).unwrap_err();
    let OpenError::Untrusted { fault, .. } = &refused else { panic!("{refused}") };
    assert!(matches!(fault.kind, FaultKind::PayloadMissing { .. }));
    assert!(matches!(options().read_on(disk).map(drop), Err(OpenError::Untrusted { .. })));
}

#[test]
fn an_item_that_is_there_after_its_erasure_was_done_is_erasure_incomplete() {
    let (person, before, after) = before_and_after();
    let mut put_back = 0;
    for (file, bytes) in before.files() {
        let now = after.files().get(&file).cloned();
        if file.starts_with("log/") && now.is_some_and(|now| now.len() < bytes.len()) {
            let disk = Arc::new(after.killed());
            overwrite(&disk, &file, &bytes);
            let report = audit(disk, None);
            let faults: Vec<_> = report.faults.iter().filter_map(|fault| fault.erasure).collect();
            assert!(matches!(faults[..], [ErasureFault::ErasureIncomplete { .. }]), "{:?}", report.faults);
            assert!(report.faults[0].to_string().contains("is there, although record"));
            put_back += 1;
        }
    }
    assert!(put_back > 0);
    // Before it was said to be done nothing is wrong, and the next writer finishes it.
    let disk = Arc::new(before.killed());
    assert!(audit(disk.clone(), None).is_ok());
    let ledger = options().open_on(disk.clone()).unwrap();
    assert_eq!(ledger.recovery().erasures_pending, 1);
    assert_gone(&disk, &person.secrets());
    assert!(audit(disk.clone(), None).is_ok());
}

#[test]
fn a_snapshot_from_before_an_erasure_is_found_and_removed() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    let person = Someone { number: 1 };
    drop(ledger.append_batch(&person.operations()).unwrap());
    ledger.snapshot().unwrap();
    let old: BTreeMap<_, _> =
        disk.files().into_iter().filter(|(file, _)| file.starts_with("snap/")).collect();
    ledger.erase(&[erase_all_of(&person, "")]).unwrap();
    let restored = ledger.append(Operation::properties(at(60), id("z"))).unwrap();
    assert!(restored.outcome().is_some());
    drop(ledger);
    for (file, bytes) in &old {
        disk.create(file).unwrap();
        disk.write_at(file, 0, bytes).unwrap();
    }
    let report = audit(disk.clone(), None);
    let faults: Vec<_> = report.faults.iter().filter_map(|fault| fault.erasure).collect();
    assert!(matches!(faults[..], [ErasureFault::StaleSnapshot { .. }]), "{:?}", report.faults);
    for newer in disk.files().keys().filter(|file| file.starts_with("snap/") && !old.contains_key(*file)) {
        disk.remove(newer).unwrap(); // even if there is no other
    }
    let mut ledger = options().open_on(disk.clone()).unwrap();
    assert_eq!(ledger.resolve(&person.user()), None);
    assert_gone(&disk, &person.secrets());
    ledger.snapshot().unwrap();
    drop(ledger);
    let report = audit(disk.clone(), None);
    assert!(report.is_ok(), "{:?}", report.faults);
}

// -- copies ------------------------------------------------------------------------------------------------------------

#[test]
fn a_backup_made_after_an_erasure_is_whole_and_holds_nothing_of_it() {
    let (person, _, after) = before_and_after();
    let (source, dest) = (Arc::new(after.killed()), Arc::new(SimulatedDisk::new()));
    let report = Backup::run_in(source.clone(), dest.clone(), &mut |_| {}).unwrap();
    assert_gone(&dest, &person.secrets());
    lend_keys(&source, &dest);
    let copy = options().adopt_on(dest.clone()).unwrap();
    assert_eq!(copy.checkpoint(), report.checkpoint);
    assert!(audit(dest, Some(report.checkpoint)).is_ok());
    // What is absent without a record is damage, here too.
    let torn = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&torn);
    (1..4).for_each(|number| drop(ledger.append_batch(&Someone { number }.operations()).unwrap()));
    drop(ledger);
    let first = "log/00000000000000000000.seg";
    if torn.files()[first].len() > after.files()[first].len() {
        overwrite(&torn, first, &after.files()[first]);
        let error = Backup::run_in(torn, Arc::new(SimulatedDisk::new()), &mut |_| {}).unwrap_err();
        let BackupError::Damaged { fault, .. } = &error else { panic!("{error}") };
        assert!(matches!(fault.kind, FaultKind::PayloadMissing { .. }));
    }
}

#[test]
fn a_backup_made_before_an_erasure_loses_it_when_it_is_updated() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = new_ledger(&disk);
    (1..9).for_each(|number| drop(ledger.append_batch(&Someone { number }.operations()).unwrap()));
    let dest = Arc::new(SimulatedDisk::new());
    Backup::run_in(disk.clone(), dest.clone(), &mut |_| {}).unwrap();
    // Somebody opened the copy: it may have a snapshot by now.
    lend_keys(&disk, &dest);
    let mut copy = options().adopt_on(dest.clone()).unwrap();
    copy.snapshot().unwrap();
    drop(copy);
    take_keys_back(&dest);
    let (gone, last) = (Someone { number: 3 }, Someone { number: 8 });
    ledger.erase(&[erase_all_of(&gone, ""), erase_all_of(&last, "")]).unwrap();
    drop(ledger.append_batch(&Someone { number: 9 }.operations()).unwrap());
    dest.keep_moments();
    let report = Backup::run_in(disk.clone(), dest.clone(), &mut |_| {}).unwrap();
    assert_gone(&dest, gone.secrets().iter().chain(&last.secrets()));
    assert_eq!(report.checkpoint, ledger.checkpoint());
    let again = Backup::run_in(disk.clone(), dest.clone(), &mut |_| {}).unwrap();
    assert_eq!((again.checkpoint, again.copied_bytes), (report.checkpoint, 0));
    let checked = Arc::new(dest.killed());
    lend_keys(&disk, &checked);
    assert!(audit(checked, Some(report.checkpoint)).is_ok());
    // Cut off after any call, it goes on where it was.
    let moments = dest.moments();
    assert!(moments.len() > 10);
    for (call, moment) in moments {
        let cut_off = Arc::new(moment.crashed(&Subset::all()));
        let report = Backup::run_in(disk.clone(), cut_off.clone(), &mut |_| {})
            .unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert_eq!(report.checkpoint, ledger.checkpoint(), "call {call}");
        assert_gone(&cut_off, &gone.secrets());
    }
}

#[test]
fn what_is_salvaged_stays_erased_even_if_the_record_of_it_stands_behind_the_damage() {
    let (person, before, after) = before_and_after();
    for (whole, pending) in [(before, true), (after, false)] {
        let length = |file: &str| whole.files()[file].len();
        let mut segments: Vec<String> =
            whole.files().into_keys().filter(|file| file.starts_with("log/")).collect();
        segments.sort();
        let (mut carried, mut prefixes, mut losses) = (0, BTreeSet::new(), BTreeSet::new());
        for segment in &segments {
            for at in (100..length(segment)).step_by(97) {
                let damaged = Arc::new(whole.killed());
                damaged.flip(segment, 8 * at).unwrap();
                let mut salvage = LedgerOptions::new().on(&damaged).salvage_in(damaged).unwrap();
                let mut beyond = Vec::new();
                salvage
                    .beyond(&mut |record| {
                        beyond.push(record);
                        Ok(())
                    })
                    .unwrap();
                if beyond.iter().any(|record| record.op == "erase") {
                    let shown = serde_json::to_string(&beyond).unwrap();
                    let secret = person.secrets().into_iter().find(|secret| shown.contains(secret));
                    assert_eq!(secret, None, "{segment} at {at}: {shown}");
                    let lost = &salvage.report().items_lost;
                    assert!(
                        lost.iter().all(|item| item.loss != ItemLoss::Missing),
                        "{segment} at {at}: {lost:?}"
                    );
                }
                losses.extend(beyond.iter().filter_map(|record| record.lost).map(|loss| format!("{loss:?}")));
                let dest = Arc::new(SimulatedDisk::new());
                if salvage.report().prefix.records == 0 {
                    continue;
                }
                salvage.write_ledger(&*dest).unwrap();
                lend_keys(&whole, &dest);
                let ledger = options()
                    .adopt_on(dest.clone())
                    .unwrap_or_else(|error| panic!("{segment} at {at}: {error}"));
                carried += salvage.report().carried_erasures;
                prefixes.insert(salvage.report().prefix.records);
                let is_known = ledger.resolve(&person.user()).is_some();
                let lost = salvage.report().lost.iter().any(|lost| !lost.why.is_empty());
                assert!(!is_known || lost, "{segment} at {at}: {:?}", salvage.report());
                if !is_known {
                    assert_gone(&dest, &person.secrets());
                }
                drop(ledger);
                let report = audit(dest, None);
                assert!(report.is_ok(), "{segment} at {at}: {:?}", report.faults);
            }
        }
        assert!(carried > 0 && prefixes.len() > 3, "{carried} carried, {prefixes:?}");
        // Behind lost records nobody can tell whose definition is whose: only while texts may still be there it matters.
        assert_eq!((losses.contains("Erased"), losses.contains("Withheld")), (true, pending), "{losses:?}");
    }
}

#[test]
fn a_reader_that_was_open_reads_on_while_segments_are_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("ledger");
    let options = || beside(LedgerOptions::new().segment_bytes(1_024), &place);
    let mut ledger = options().create(&place, Tenant::default(), Policy::default()).unwrap();
    let people: Vec<Someone> = (1..80).map(|number| Someone { number }).collect();
    people.iter().for_each(|person| drop(ledger.append_batch(&person.operations()).unwrap()));
    ledger.flush().unwrap();
    let reader = options().open_read_only(&place).unwrap();
    let before: Vec<_> =
        people.iter().map(|person| reader.profile(&person.user()).unwrap().unwrap()).collect();
    let wishes: Vec<ErasureRequest> =
        people.iter().step_by(7).map(|person| erase_all_of(person, "")).collect();
    ledger.erase(&wishes).unwrap();
    for (at, (person, before)) in people.iter().zip(&before).enumerate() {
        let now = reader.profile(&person.user()).unwrap().unwrap();
        if at % 7 == 0 {
            let values =
                |profile: &Profile| profile.properties.values().filter_map(|p| p.value.clone()).count();
            assert!(values(&now) <= values(before), "the values of its own time, or fewer");
        } else {
            assert_eq!(now, *before);
        }
    }
    drop(reader);
    let reader = options().open_read_only(&place).unwrap();
    assert_eq!(reader.resolve(&people[0].user()), None);
    assert!(options().audit(&place).unwrap().is_ok());
}

// -- histories ---------------------------------------------------------------------------------------------------------

/// Somebody's ids, and what was said for them: all that must be gone once they are erased. An erased id is never sent again here;
/// that it may be is a law of its own (`laws::erasing`).
#[derive(Default)]
struct Told {
    next: u64,
    /// Ids in use.
    ids: Vec<String>,
    /// Values by the id that spoke.
    values: BTreeMap<String, Vec<String>>,
    gone: Vec<String>,
}

impl Told {
    fn fresh(&mut self) -> String {
        self.next += 1;
        marker(self.next)
    }

    fn pick(&mut self, chance: &mut Chance) -> String {
        if self.ids.len() < 3 || self.ids.len() < 9 && chance.one_in(4) {
            let fresh = self.fresh();
            self.ids.push(fresh);
        }
        chance.pick(&self.ids).clone()
    }

    /// An operation with a value that stands nowhere else.
    fn operation(&mut self, chance: &mut Chance, number: i64, ledger: &Ledger) -> Operation {
        let (t, s) = (self.pick(chance), self.pick(chance));
        let named = operation_id(u128::try_from(number).unwrap() | 1 << 100);
        let device = DeviceId::new(format!("device-{}", chance.below(2))).unwrap();
        let current = ledger
            .reader()
            .device_no(device.as_str())
            .map(|device| ledger.reader().state().device(device).current);
        let (operation, speaks) = match chance.below(11) {
            9 => {
                let target = Target::Record(Seq(chance.below(ledger.checkpoint().records as usize) as u64));
                return Operation::retract(at(number), target); // of any record, what is erased and no operations among them
            }
            10 => {
                let mode = if chance.one_in(2) { SplitMode::Each } else { SplitMode::Together };
                let ids = [id(&s), id(&self.pick(chance))].into();
                return Operation::new(at(number), Request::Split { id: id(&t), ids, mode });
            }
            0 | 1 => (Operation::capture(at(number), id(&t), named), t),
            2 | 3 => (Operation::identify(at(number), id(&t), Some(Source::new(&s))), t),
            4 => (Operation::alias(at(number), id(&t), Source::new(&s)), t),
            5 => {
                let alias = Some(Source::new(&s));
                (Operation::new(at(number), Request::Merge { who: Actor::Id(id(&t)), alias }), t)
            }
            6 => (Operation::new(at(number), Request::DeviceIdentify { device, user: id(&t) }), t),
            7 if current.is_some() => {
                let new_id = Some(id(&self.fresh()));
                return Operation::new(
                    at(number),
                    Request::Reset { device, reset_device: chance.one_in(2), new_id },
                );
            }
            _ => (Operation::properties(at(number), id(&t)), t),
        };
        let value = self.fresh();
        self.values.entry(speaks).or_default().push(value.clone());
        let operation = operation.set(["a", "b", "c"][chance.below(3)], value).unwrap();
        if chance.one_in(3) && operation.id.is_none() { operation.with_derived_id(named) } else { operation }
    }

    /// Erases somebody, or one of their ids.
    fn erase(&mut self, chance: &mut Chance, ledger: &mut Ledger, now: bool) {
        let Some(text) = self.ids.get(chance.below(self.ids.len().max(1))).cloned() else { return };
        let Some(number) = ledger.reader().id_no(&text) else { return };
        let person = ledger.reader().person(&text);
        let alone = chance.one_in(3);
        let erased = match person {
            Some(person) if !alone => ledger.reader().state().ids_of(person),
            _ => vec![number],
        };
        let erased: Vec<String> =
            erased.into_iter().filter_map(|id| ledger.reader().id_text(id)).map(str::to_owned).collect();
        let subject = if alone {
            ErasureSubject::Ids(BTreeSet::from([id(&text)]))
        } else {
            ErasureSubject::PersonOf(id(&text))
        };
        let wish = ErasureRequest::new(at(1), subject, "asked");
        ledger.begin_erasures(&[wish]).unwrap();
        if now {
            ledger.finish_erasures(&mut |_| {}).unwrap();
        }
        for text in erased {
            self.gone.extend(self.values.remove(&text).unwrap_or_default());
            self.ids.retain(|id| *id != text);
            if !text.starts_with("device-") {
                self.gone.push(text); // devices speak again, and are new ones then
            }
        }
    }
}

/// How many histories; `ERASURE_HISTORIES` in the environment makes it more. Ten thousand take some minutes.
const HISTORIES: u64 = 60;

#[test]
fn no_marker_outlives_its_erasure_in_any_history() {
    let histories = std::env::var("ERASURE_HISTORIES").map_or(HISTORIES, |number| number.parse().unwrap());
    let (mut gone, mut kept, mut done) = (0, 0, 0);
    for seed in 0..histories {
        let mut chance = Chance::new(seed);
        let disk = Arc::new(SimulatedDisk::new());
        let options = || options().segment_bytes(1_024 << (seed % 4));
        let mut ledger = options().create_on(disk.clone());
        let mut told = Told { next: seed << 32, ..Told::default() };
        for number in 1..=chance.below(60) {
            let operation = told.operation(&mut chance, number as i64, &ledger);
            let second_thought = matches!(operation.request, Request::Retract { .. } | Request::Split { .. });
            match ledger.append(operation) {
                Err(AppendError::Operation { .. }) if second_thought => {} // of what is no operation, or no id
                appended => done += usize::from(appended.unwrap().outcome().is_some() && second_thought),
            }
            match chance.below(24) {
                0 | 1 => told.erase(&mut chance, &mut ledger, false),
                2 => told.erase(&mut chance, &mut ledger, true),
                3 => drop(ledger.snapshot().unwrap()),
                4 => {
                    drop(ledger);
                    ledger = options().open_on(disk.clone()).unwrap();
                    assert_gone(&disk, &told.gone);
                }
                _ => {}
            }
        }
        let content = ledger.reader().content_digest().unwrap();
        ledger.finish_erasures(&mut |_| {}).unwrap();
        assert_eq!(ledger.reader().content_digest().unwrap(), content, "seed {seed}");
        assert_gone(&disk, &told.gone);
        assert_gone(&disk.crashed(&Subset::none()), &told.gone); // the durable image
        for (speaker, values) in &told.values {
            let there = values.iter().all(|value| {
                let search = Search::new([value]);
                disk.files().values().any(|file| search.found_in(file).is_some())
            });
            assert!(
                SEALED || there || seed % 16 != 0,
                "seed {seed}: a value of {speaker}, who was not erased, is gone"
            );
            kept += values.len();
        }
        gone += told.gone.len();
        check(ledger.reader()).unwrap_or_else(|unsound| panic!("seed {seed}: {unsound}"));
        let reader = options().without_snapshots().read_on(Arc::new(disk.killed())).unwrap();
        assert_eq!(reader.reader().state().digest(), ledger.reader().state().digest(), "seed {seed}");
        assert_eq!(reader.reader().content_digest().unwrap(), content, "seed {seed}");
    }
    assert!(
        gone > kept / 10 && kept > gone / 10 && done > 100,
        "{gone} gone, {kept} kept, {done} taken back"
    );
}

// -- bounds ------------------------------------------------------------------------------------------------------------

#[test]
fn a_person_of_more_ids_than_one_record_names_is_erased_by_two() {
    use limits::MAX_ERASE_IDS;
    for extra in [0, 1] {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let ids = MAX_ERASE_IDS + extra;
        let alias = |number: usize| Operation::alias(at(1), id("ann"), Source::new(&format!("a{number}")));
        let all: Vec<Operation> = (1..ids).map(alias).collect();
        all.chunks(10_000).for_each(|batch| drop(ledger.append_batch(batch).unwrap()));
        let receipts =
            ledger.erase(&[ErasureRequest::new(at(2), ErasureSubject::PersonOf(id("ann")), "")]).unwrap();
        assert_eq!(
            receipts.iter().map(|receipt| receipt.ids.len()).collect::<Vec<_>>(),
            [&[MAX_ERASE_IDS][..], &[1][..extra]].concat()
        );
        assert_eq!(receipts.iter().filter_map(|receipt| receipt.items).sum::<u64>(), ids as u64);
        assert_eq!((ledger.resolve("ann"), ledger.resolve("a7")), (None, None));
        assert_eq!(ledger.persons().count(), 1);
    }
}

#[test]
fn a_rectification_of_more_records_than_one_names_takes_two() {
    use limits::MAX_ERASE_RECORDS;
    for extra in [0, 1] {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let set = |number: usize| {
            let operation = Operation::properties(at(1), id("ann"));
            operation.set("email", format!("{number}")).unwrap().set("n", number as i64).unwrap()
        };
        let all: Vec<Operation> = (0..MAX_ERASE_RECORDS + extra).map(set).collect();
        all.chunks(9_000).for_each(|batch| drop(ledger.append_batch(batch).unwrap()));
        let wish =
            ErasureRequest::new(at(2), ErasureSubject::PersonOf(id("ann")), "").with_keys([key("email")]);
        let receipts = ledger.erase(&[wish]).unwrap();
        let named: Vec<usize> = receipts.iter().map(|receipt| receipt.records.len()).collect();
        assert_eq!(named, [&[MAX_ERASE_RECORDS][..], &[1][..extra]].concat());
        let profile = ledger.profile("ann").unwrap().unwrap();
        assert_eq!(profile.properties["email"].value, None);
        assert_eq!(profile.properties["n"].value, Some(Value::from((MAX_ERASE_RECORDS + extra - 1) as i64)));
    }
}

#[test]
fn two_hundred_receipts_read_each_frame_once() {
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = LedgerOptions::new().seeded(7).create_on(disk.clone());
    let people: Vec<Someone> = (1..=200).map(|number| Someone { number }).collect();
    let operations: Vec<Operation> = people.iter().flat_map(Someone::operations).collect();
    drop(ledger.append_batch(&operations).unwrap());
    let wishes: Vec<ErasureRequest> = people.iter().map(|person| erase_all_of(person, "asked")).collect();
    let receipts = ledger.erase(&wishes).unwrap();
    assert!(receipts.iter().all(|receipt| receipt.items == Some(5) && receipt.segments.len() == 1));
    let before = disk.call_count();
    assert_eq!(ledger.reader().erasures().unwrap(), receipts);
    let calls = disk.call_count() - before;
    assert!(calls < 20, "{calls} calls for a frame of wishes and one that says that they are done");
}

/// The record that ends an erasure may be the first of a segment; a crash right after that segment was begun leaves one without a
/// frame. Opening for writing finishes the erasure all the same, and so does erasing the values of a key.
#[test]
fn a_crash_right_after_a_segment_was_begun_leaves_an_erasure_that_can_be_finished() {
    let small = || options().segment_bytes(limits::MIN_SEGMENT_BYTES);
    let (ann, plan) = (id("ann"), key("plan"));
    let mut begun = 0;
    for pad in (0..1_000).step_by(40) {
        let disk = Arc::new(SimulatedDisk::new());
        let mut ledger = small().create_on(disk.clone());
        for who in ["ann", "bob", "eve"] {
            let operation = Operation::properties(at(1), id(who)).set("plan", "x".repeat(pad)).unwrap();
            let _ = ledger.append(operation).unwrap();
        }
        disk.keep_moments();
        let wish = ErasureRequest::new(at(2), ErasureSubject::PersonOf(ann.clone()), "");
        ledger.erase(std::slice::from_ref(&wish)).unwrap();
        drop(ledger);
        for (_, moment) in disk.moments() {
            let left = Arc::new(moment.killed());
            let header = 96; // of a segment
            let last = left.files().into_iter().rfind(|(name, _)| name.ends_with(".seg"));
            begun += usize::from(last.is_some_and(|(_, bytes)| bytes.len() == header));
            let mut ledger = small().open_on(left).unwrap();
            let bob = ErasureSubject::PersonOf(id("bob"));
            ledger.erase(&[ErasureRequest::new(at(3), bob, "").with_keys([plan.clone()])]).unwrap();
            if ledger.resolve("ann").is_some() {
                ledger.erase(std::slice::from_ref(&wish)).unwrap();
            }
            assert!(ledger.reader().erasures().unwrap().iter().all(|receipt| receipt.done_seq.is_some()));
        }
    }
    assert!(begun > 0, "some crash came at the place that this is about");
}

// -- crashes -----------------------------------------------------------------------------------------------------------

#[test]
fn power_fails_after_every_storage_call_of_an_erasure() {
    let start = Arc::new(SimulatedDisk::new());
    let people: Vec<Someone> = (1..8).map(|number| Someone { number }).collect();
    let mut ledger = new_ledger(&start);
    people.iter().for_each(|person| drop(ledger.append_batch(&person.operations()).unwrap()));
    ledger.snapshot().unwrap();
    drop(ledger);
    let disk = Arc::new(start.crashed(&Subset::all()));
    let mut ledger = options().open_on(disk.clone()).unwrap();
    disk.keep_moments();
    let gone: Vec<&Someone> = people.iter().filter(|person| person.number % 3 == 0).collect();
    let secrets: Vec<String> = gone.iter().flat_map(|person| person.secrets()).collect();
    let calls_before = disk.call_count();
    let wishes: Vec<ErasureRequest> = gone.iter().map(|person| erase_all_of(person, "")).collect();
    ledger.begin_erasures(&wishes).unwrap();
    let promised = disk.call_count();
    ledger.finish_erasures(&mut |_| {}).unwrap();
    let done = disk.call_count();
    let (records, content) = (ledger.checkpoint().records, ledger.reader().content_digest().unwrap());
    drop(ledger);
    let (mut states, mut seen) = (0, BTreeSet::new());
    for (calls, moment) in disk.moments() {
        for subset in Subset::all_or_some(moment.pending(), 6, 24, calls) {
            let crashed = moment.crashed(&subset);
            states += 1;
            let mut hasher = blake3::Hasher::new();
            for (name, bytes) in crashed.files() {
                hasher.update(name.as_bytes()).update(&bytes);
            }
            if !seen.insert((*hasher.finalize().as_bytes(), calls >= promised, calls >= done)) {
                continue;
            }
            if calls >= done {
                assert_gone(&crashed, &secrets); // the durable image
            }
            let again = Arc::new(crashed.killed());
            let mut ledger = options()
                .open_on(again.clone())
                .unwrap_or_else(|error| panic!("call {calls} {subset}: {error}"));
            let erased = gone.iter().filter(|person| ledger.resolve(&person.user()).is_none()).count();
            assert!(
                erased == gone.len() || erased == 0 && calls < promised,
                "call {calls} {subset}: {erased} are erased"
            );
            if erased == 0 {
                ledger.erase(&wishes).unwrap();
            }
            assert_gone(&again, &secrets);
            assert_eq!(ledger.reader().content_digest().unwrap(), content, "call {calls} {subset}");
            assert!(ledger.checkpoint().records >= records);
            drop(ledger);
            let report = audit(again.clone(), None);
            assert!(report.is_ok() && report.tail.is_none(), "call {calls} {subset}: {:?}", report.faults);
            let again = options().open_on(Arc::new(again.crashed(&Subset::none()))).unwrap();
            assert!(again.recovery().is_clean(), "call {calls} {subset}: {:?}", again.recovery());
        }
    }
    assert!(calls_before < promised && promised < done && states > 150, "{states} states");
}

#[test]
fn power_fails_while_an_erasure_is_finished_at_opening_and_again_while_that_is() {
    let start = Arc::new(SimulatedDisk::new());
    let people: Vec<Someone> = (1..6).map(|number| Someone { number }).collect();
    let mut ledger = new_ledger(&start);
    people.iter().for_each(|person| drop(ledger.append_batch(&person.operations()).unwrap()));
    ledger.snapshot().unwrap();
    let secrets: Vec<String> = [&people[1], &people[3]].iter().flat_map(|person| person.secrets()).collect();
    ledger.begin_erasures(&[erase_all_of(&people[1], ""), erase_all_of(&people[3], "")]).unwrap();
    let mut disks = vec![start.crashed(&Subset::all())];
    let mut states = 0;
    for depth in 0..3 {
        let mut next = Vec::new();
        for disk in disks {
            let disk = Arc::new(disk.killed());
            disk.keep_moments();
            let ledger = options().open_on(disk.clone()).unwrap();
            assert_gone(&disk, &secrets);
            assert_eq!(ledger.resolve(&people[1].user()), None);
            drop(ledger);
            for (calls, moment) in disk.moments() {
                for subset in Subset::all_or_some(moment.pending(), 3, 8, calls) {
                    states += 1;
                    next.push(moment.crashed(&subset));
                }
            }
        }
        let step = next.len().div_ceil(if depth == 2 { 60 } else { 8 }).max(1);
        disks = next.into_iter().step_by(step).collect();
        for disk in &disks {
            let disk = Arc::new(disk.killed());
            drop(options().open_on(disk.clone()).unwrap());
            assert_gone(&disk, &secrets);
            let report = audit(disk, None);
            assert!(report.is_ok(), "{:?}", report.faults);
        }
    }
    assert!(states > 500, "{states} states");
}

#[test]
fn a_failing_disk_leaves_what_can_be_finished() {
    use identity_ledger::testing::disk::DiskFault;
    let start = Arc::new(SimulatedDisk::new());
    let people: Vec<Someone> = (1..6).map(|number| Someone { number }).collect();
    let mut ledger = new_ledger(&start);
    people.iter().for_each(|person| drop(ledger.append_batch(&person.operations()).unwrap()));
    ledger.snapshot().unwrap();
    drop(ledger);
    let start = start.crashed(&Subset::all());
    let wish = erase_all_of(&people[1], "");
    let run = |disk: &Arc<SimulatedDisk>, fail: &dyn Fn(u64)| {
        let mut ledger = options().open_on(disk.clone()).unwrap();
        fail(disk.call_count());
        let first = ledger.erase(std::slice::from_ref(&wish));
        let tried_again = ledger.finish_erasures(&mut |_| {});
        (ledger, first, tried_again)
    };
    let quiet = Arc::new(start.killed());
    let before = {
        let probe = Arc::new(start.killed());
        drop(options().open_on(probe.clone()).unwrap());
        let ledger = options().open_on(quiet.clone()).unwrap();
        let calls = quiet.call_count();
        drop(ledger);
        calls
    };
    let all = {
        let disk = Arc::new(start.killed());
        let (ledger, first, _) = run(&disk, &|_| {});
        first.unwrap();
        let calls = disk.call_count() - before;
        drop(ledger);
        calls
    };
    let (mut failed, mut finished_at_once) = (0, 0);
    for call in 1..=all {
        for from in [false, true] {
            let disk = Arc::new(start.killed());
            let (ledger, first, tried_again) = run(&disk, &|now| {
                if from {
                    disk.fail_from(now + call, DiskFault::Fails(std::io::ErrorKind::Other));
                } else {
                    disk.fail_once(now + call, DiskFault::Fails(std::io::ErrorKind::Other));
                }
            });
            failed += usize::from(first.is_err());
            finished_at_once += usize::from(first.is_err() && tried_again.is_ok());
            drop(ledger);
            let disk = Arc::new(disk.crashed(&Subset::all()));
            let mut ledger =
                options().open_on(disk.clone()).unwrap_or_else(|error| panic!("call {call}: {error}"));
            if ledger.resolve(&people[1].user()).is_some() {
                ledger.erase(std::slice::from_ref(&wish)).unwrap();
            }
            assert_gone(&disk, &people[1].secrets());
            drop(ledger);
            let report = audit(disk.clone(), None);
            assert!(report.is_ok(), "call {call}: {:?}", report.faults);
        }
    }
    assert!(failed > 10 && finished_at_once > 0, "{failed} failed, {finished_at_once} could be finished");
}
