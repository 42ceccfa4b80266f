//! What must hold for any bytes. Shared by the fuzz targets in `fuzz/` and by the stable test `fuzz_bodies`.
//!
//! Each body takes bytes, or a history that was read from bytes, and panics if a law is broken. None looks at what the bytes mean to
//! the others.

#[path = "checked.rs"]
#[expect(
    dead_code,
    reason = "its ledgers are salted by chance; fuzzing needs the same bytes from the same input"
)]
mod checked;
#[path = "failing.rs"]
mod failing;

use std::sync::Arc;

use failing::{Failing, NEVER};
use identity_ledger::audit::{Audit, AuditReport};
use identity_ledger::diff::{Content, PreviewError};
use identity_ledger::explain::{PropertyWrite, Subject};
use identity_ledger::fold::Replay;
use identity_ledger::import::{Format, FutureTimes, Importer, Options, Parsed, Tally, run};
use identity_ledger::log::IdNo;
use identity_ledger::model::{ImportFixups, LedgerId, Sdk};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::history::{History, KEYS, append};
use identity_ledger::testing::workload::to_ops_line;
use identity_ledger::testing::{self, Stored, laws};
use identity_ledger::*;

// -- import --------------------------------------------------------------------------------------------------------

/// Any bytes are an input: nothing panics, every event is told of in order and once for each operation that it is, reading twice gives the same, what was
/// read is within bounds and can be written down as `ops`, and a second import appends nothing.
pub(crate) fn import(bytes: &[u8]) {
    for format in Format::ALL {
        let options = Options { format, ..Options::from(&Policy::default()) };
        let (parsed, lines) = parse(bytes, &options);
        assert_eq!(parse(bytes, &options), (parsed.clone(), lines), "read twice, {format}");
        let places: Vec<(u64, Option<usize>)> = parsed.iter().map(|one| (one.line, one.index)).collect();
        // A call of another vendor may be two operations, its link and what happened; no place has three, but for rows about persons.
        let is_long = format == Format::Persons;
        assert!(
            places.is_sorted() && (is_long || places.windows(3).all(|three| three[0] < three[2])),
            "{format}: {places:?}"
        );
        if matches!(format, Format::Auto | Format::Ops | Format::Posthog) {
            assert!(places.is_sorted_by(|a, b| a < b), "one answer an event, in order, {format}: {places:?}");
        }
        assert!(places.iter().all(|(line, _)| (1..=lines.max(1)).contains(line)), "lines are counted");
        for operation in parsed.iter().filter_map(|one| one.operation.as_ref().ok()) {
            assert_eq!(operation.check(), Ok(()), "what is read is within bounds");
            assert!(operation.id.is_some(), "what is read has an id, given or derived (G4)");
            written_and_read(operation);
        }
        recorded_once(bytes, &options, parsed.iter().filter(|one| one.operation.is_err()).count() as u64);
    }
}

fn parse(bytes: &[u8], options: &Options) -> (Vec<Parsed>, u64) {
    let mut importer = Importer::new(bytes, options.clone());
    let parsed = importer.by_ref().map_while(Result::ok).collect(); // an input that cannot be read any further ends
    (parsed, importer.lines())
}

/// The format `ops` has words for everything but these.
fn written_and_read(operation: &Operation) {
    let options = Options {
        format: Format::Ops,
        lift: false,
        keep_event_properties: true,
        future_times: FutureTimes::Keep,
    };
    let (parsed, _) = parse(to_ops_line(operation).as_bytes(), &options);
    let [Parsed { operation: Ok(back), .. }] = &parsed[..] else { panic!("{operation:?}: {parsed:?}") };
    let without = |operation: &Operation| Operation {
        derived_id: false,
        time_by_arrival: false,
        is_copy: false,
        bent: ImportFixups::default(),
        sdk: Sdk::default(),
        ..operation.clone()
    };
    assert_eq!(without(back), without(operation));
}

fn recorded_once(bytes: &[u8], options: &Options, unreadable: u64) {
    let (mut ledger, storage) = new_ledger(Policy::default());
    let mut import = || {
        let mut tally = Tally::default();
        run(&mut ledger, Importer::new(bytes, options.clone()), &mut tally, &mut ()).ok();
        let Tally { operations, appended, duplicates, conflicts, rejected, .. } = tally;
        assert_eq!(operations, appended + duplicates + conflicts + rejected, "{tally:?}");
        tally
    };
    let (first, second) = (import(), import());
    assert!(first.rejected >= unreadable);
    if first.rejected == unreadable {
        assert_eq!(second.appended, 0, "{first:?}, then {second:?}");
    }
    let appended = first.appended + second.appended;
    checked::check(&ledger, &storage, usize::try_from(appended).expect("an input is small"));
}

/// As [`checked::new_ledger`], but the same every time.
fn new_ledger(policy: Policy) -> (Ledger, Arc<Memory>) {
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1);
    let ledger = options.create_in(storage.clone(), Tenant::default(), policy).expect("the policy is valid");
    (ledger, storage)
}

// -- open ----------------------------------------------------------------------------------------------------------

const SEGMENT: &str = "log/00000000000000000000.seg";
const HEAD: &str = "HEAD";

/// Any bytes are a log: opening, reading and auditing answer, and what opens for writing takes records and opens again.
///
/// The first byte says where the bytes go: they are the segment, they stand over a part of a good one, or they are a frame
/// behind it whose checksum and hash are right. And whether there is a `HEAD`.
pub(crate) fn open(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (ledger, disk) = good_log();
    match kind % 3 {
        0 => replace(&disk, bytes),
        1 => {
            let mut segment = read(&disk);
            let (at, over) = bytes.split_at(bytes.len().min(2));
            let at = at.iter().fold(0, |at, byte| at << 8 | usize::from(*byte)) % segment.len();
            let len = over.len().min(segment.len() - at);
            segment[at..at + len].copy_from_slice(&over[..len]);
            segment.extend_from_slice(&over[len..]);
            replace(&disk, &segment);
        }
        _ => {
            let frame = forged(bytes, ledger.reader().ledger_id(), ledger.checkpoint());
            without_payload(&frame, &disk, &ledger);
            replace(&disk, &[read(&disk), frame].concat());
        }
    }
    if kind / 3 % 2 == 1 {
        disk.remove(HEAD).expect("there was one");
    }
    judged(&disk);
}

fn judged(disk: &Memory) {
    let copy = || Arc::new(Memory::clone(disk));
    let audit = Audit::run_in(copy(), None, &mut |_| {});
    let reader = LedgerOptions::new().read_in(copy());
    if audit.as_ref().is_ok_and(AuditReport::is_ok) {
        assert!(reader.is_ok(), "what the audit finds whole can be read: {reader:?}");
    }
    let written = copy();
    let Ok(mut writer) = LedgerOptions::new().seeded(2).open_in(written.clone()) else {
        return;
    };
    let reader = reader.expect("what opens for writing can be read");
    assert!(reader.checkpoint().records <= writer.checkpoint().records);
    let last = Operation::properties(time(0), id("last")).set("a", 1).expect("a key");
    assert!(writer.append(last).expect("memory does not fail").outcome().is_some());
    writer.flush().expect("memory does not fail");
    let again = LedgerOptions::new().open_in(Arc::new(Memory::clone(&written))).expect("it was just written");
    assert!(again.recovery().is_clean(), "{:?}", again.recovery());
    assert_eq!(again.checkpoint(), writer.checkpoint());
    assert_eq!(again.reader().state().digest(), writer.reader().state().digest());
}

/// Commitments cannot be guessed, so frames with items are folded here without theirs: all numbers are checked, all records
/// fold.
fn without_payload(frame: &[u8], disk: &Memory, ledger: &Ledger) {
    const HEADER: usize = 96;
    let mut replay = Replay::new(ledger.reader().ledger_id(), ledger.tenant());
    let good = read(disk);
    let mut at = HEADER;
    while at < good.len() {
        at += replay.frame(&good[at..], true, |_| {}).expect("it is good");
    }
    let before = (replay.chain().checkpoint(), replay.state().digest());
    let mut records = 0;
    match replay.frame(frame, false, |_| records += 1) {
        Ok(len) => {
            assert_eq!(len, frame.len());
            assert_eq!(replay.chain().checkpoint().records, before.0.records + records);
            let state = replay.state();
            assert_eq!(state.records(), before.0.records + records);
            let of_persons: usize = state.persons().map(|person| state.ids_of(person.number).len()).sum();
            let with_person = state.ids().filter(|id| state.person(*id).is_some()).count();
            assert_eq!(of_persons, with_person, "an id is one person's");
        }
        Err(_) => {
            assert_eq!((replay.chain().checkpoint(), replay.state().digest()), before, "nothing was folded")
        }
    }
}

/// A log with ids, a device, a key and a name, which forged records can point to.
fn good_log() -> (Ledger, Memory) {
    let (mut ledger, storage) = new_ledger(Policy::default());
    for operation in good_operations() {
        assert!(ledger.append(operation).expect("memory does not fail").outcome().is_some());
    }
    ledger.flush().expect("memory does not fail");
    let disk = Memory::clone(&storage);
    (ledger, disk)
}

fn good_operations() -> impl Iterator<Item = Operation> {
    let capture = Operation::capture(time(1), id("visitor-1"), operation_id(1));
    let user = Request::DeviceIdentify { device: DeviceId::new("d1").expect("an id"), user: id("ann") };
    [
        capture.with_event(EventName::new("$pageview").expect("a name")),
        Operation::new(time(2), user).set("a", 1).expect("a key"),
        Operation::identify(time(3), id("bob"), Some(Source::new("visitor-1"))),
    ]
    .into_iter()
}

/// A frame with a right checksum and a right hash: a count of records, the length of the body, and the bytes for body and
/// payload.
fn forged(bytes: &[u8], ledger: LedgerId, after: Checkpoint) -> Vec<u8> {
    let (head, rest) = bytes.split_at(bytes.len().min(3));
    let at = |place: usize| usize::from(head.get(place).copied().unwrap_or_default());
    let (records, body_len) = (1 + at(0) as u32, (at(1) << 8 | at(2)).min(rest.len()));
    let (body, payload) = rest.split_at(body_len);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("an input is small").to_le_bytes();

    let mut frame = b"\xf5il\x1a\x02\x01\0\0".to_vec();
    frame.extend_from_slice(&length(body));
    frame.extend_from_slice(&length(payload));
    frame.extend_from_slice(&after.records.to_le_bytes());
    frame.extend_from_slice(&Timestamp::MAX.as_micros().to_le_bytes());
    frame.extend_from_slice(&0_u64.to_le_bytes());
    frame.extend_from_slice(&records.to_le_bytes());
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&[&frame[..], ledger.0.as_bytes()].concat());
    frame.extend_from_slice(&crc.to_le_bytes());
    let history = [
        &after.head.0[..],
        &[2, 1],
        &after.records.to_le_bytes(),
        &Timestamp::MAX.as_micros().to_le_bytes(),
        &records.to_le_bytes(),
        &length(body),
        body,
    ];
    frame.extend_from_slice(body);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&blake3::derive_key("identity-ledger 2026-11-29 v2 frame", &history.concat()));
    frame.resize(frame.len().next_multiple_of(8), 0);
    frame
}

fn read(disk: &Memory) -> Vec<u8> {
    let len = disk.len(SEGMENT).expect("memory does not fail").expect("there is a segment");
    let mut bytes = vec![0; usize::try_from(len).expect("it is in memory")];
    disk.read_at(SEGMENT, 0, &mut bytes).expect("memory does not fail");
    bytes
}

fn replace(disk: &Memory, bytes: &[u8]) {
    disk.truncate(SEGMENT, 0).expect("memory does not fail");
    disk.write_at(SEGMENT, 0, bytes).expect("memory does not fail");
}

// -- decode --------------------------------------------------------------------------------------------------------

/// Any bytes are stored bytes or a text that stands for something: what can be read is written as the bytes it was read from,
/// and what is within its bounds and written as JSON is read as the same.
///
/// The first byte says what the others are.
pub(crate) fn decode(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let stored = |kind| {
        if let Some((len, written)) = testing::rewritten(kind, bytes) {
            assert_eq!(written, bytes[..len], "{kind:?}");
        }
    };
    match kind % 4 {
        0 => stored(Stored::Body),
        1 => stored(Stored::Value),
        2 => {
            let Ok(policy) = serde_json::from_slice::<Policy>(bytes) else { return };
            policy.check().expect("a policy that is read is within its bounds");
            let written = serde_json::to_vec(&policy).expect("a policy is JSON");
            assert_eq!(serde_json::from_slice::<Policy>(&written).ok(), Some(policy));
        }
        _ => {
            let Some(time) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Timestamp>().ok())
            else {
                return;
            };
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}

// -- ledger --------------------------------------------------------------------------------------------------------

/// Any bytes are a history and a disk that fails: after each failure the ledger is opened again and everything is delivered
/// again from the beginning, until the disk holds. What was acknowledged is there, nothing stands twice, and in the end the
/// ledger is the one that never failed.
///
/// Three bytes say when the disk fails, how, and how many operations make a batch.
pub(crate) fn ledger([when, how, size]: [u8; 3], History { policy, operations }: History) {
    // With an id each: an operation without one is a new fact each time it is delivered (G4).
    let operations: Vec<Operation> = (1..)
        .zip(operations)
        .map(|(number, operation)| operation.with_id(operation_id(1 << 32 | number)))
        .collect();
    let (mut straight, storage) = new_ledger(policy);
    let disk = Arc::new(failing(Memory::clone(&storage), when, how));
    // What is none when it is first delivered is left out: later its ids may be known.
    let is_one =
        |operation: &Operation| append(&mut straight, operation).expect("memory does not fail").is_some();
    let operations: Vec<Operation> = operations.into_iter().filter(is_one).collect();
    let all = operations_in(&straight);
    let deliver = |ledger: &mut Ledger, size: usize| -> Result<usize, AppendError> {
        let mut recorded = 0;
        for batch in operations.chunks(size.max(1)) {
            // Behind a retract a device speaks in a batch of its own.
            for answer in ledger.append_each(batch)? {
                recorded += usize::from(answer?.outcome().is_some());
            }
        }
        Ok(recorded)
    };

    let durability = of(&[Durability::Immediate, Durability::Witnessed, Durability::Buffered], how >> 2);
    let mut disk = disk;
    let mut recorded = 0;
    for failures in (0..3_u8).rev() {
        let options = LedgerOptions::new().seeded(3).durability(durability);
        if let Ok(mut ledger) = options.open_in(disk.clone()) {
            let before = operations_in(&ledger);
            assert!(before >= recorded, "{before} operations are left of {recorded} acknowledged");
            recorded = before;
            match deliver(&mut ledger, usize::from(size % 8)) {
                Ok(new) => recorded += new,
                Err(AppendError::Indeterminate { .. } | AppendError::Poisoned { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        // The machine is started again; the disk may fail once more, but not for ever.
        let again = Memory::clone(&disk.inner);
        disk = Arc::new(failing(again, if failures == 0 { u8::MAX } else { when / 2 }, how));
    }
    let mut ledger = LedgerOptions::new().open_in(disk.clone()).expect("the disk holds now");
    assert!(operations_in(&ledger) >= recorded, "what was acknowledged is there");
    deliver(&mut ledger, 1).expect("the disk holds now");
    assert_eq!(operations_in(&ledger), all, "nothing is missing, nothing stands twice");
    let content = |ledger: &Ledger| ledger.reader().content_digest().expect("the disk holds now");
    assert_eq!(content(&ledger), content(&straight), "the ledger is the one that never failed");
    ledger.flush().expect("the disk holds now");
    if let Err(unsound) = testing::check(ledger.reader()) {
        panic!("{unsound}");
    }
}

/// Fails at the call of that number; 255 never comes.
fn failing(inner: Memory, when: u8, how: u8) -> Failing {
    let call = if when == u8::MAX { NEVER } else { i64::from(when) };
    Failing::at(inner, call).for_ever(how & 1 == 1).half(how & 2 == 2)
}

fn operations_in(ledger: &Ledger) -> usize {
    let mut operations = 0;
    ledger.reader().outcomes(|_| operations += 1).expect("what was opened can be read");
    operations
}

// -- tamper --------------------------------------------------------------------------------------------------------

/// Any bytes are a valid log and one change to one of its files: whoever holds a checkpoint notices a change to the log, and
/// no change to any file gives other answers unnoticed.
///
/// Four bytes say which file is changed, how, and where; then comes the history.
pub(crate) fn tamper(bytes: &[u8]) {
    let Some((&[which, how, high, low], bytes)) = bytes.split_first_chunk() else { return };
    let history = History::from_bytes(bytes);
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1).segment_bytes(1_024);
    let mut ledger = options
        .create_in(storage.clone(), Tenant::default(), history.policy.clone())
        .expect("the policy is valid");
    history.append_to(&mut ledger).expect("memory does not fail");
    ledger.flush().expect("memory does not fail");
    let disk = Memory::clone(&storage);
    let segments = disk.list("log").expect("memory does not fail");
    let file = match usize::from(which) % (segments.len() + 2) {
        0 => HEAD.to_owned(),
        1 => "LEDGER".to_owned(),
        segment => format!("log/{}", segments[segment - 2]),
    };
    if !change(&disk, &file, how, usize::from(high) << 8 | usize::from(low)) {
        return;
    }
    let checkpoint = ledger.checkpoint();
    let audit = Audit::run_in(Arc::new(Memory::clone(&disk)), Some(checkpoint), &mut |_| {});
    // Bytes behind the end of the log are no fault but a tail: a write that is under way leaves the same, and a reader does
    // not look at it.
    let (whole, tail) = audit.map_or((false, false), |report| (report.is_ok(), report.tail.is_some()));
    assert!(!whole || tail || !file.starts_with("log/"), "a change to {file} passed the audit");
    let opened = LedgerOptions::new().expect(checkpoint).read_in(Arc::new(Memory::clone(&disk)));
    if let Ok(opened) = opened {
        assert!(tail || !file.starts_with("log/"), "{file} was changed, and the ledger opened as if whole");
        let content = |book: &Reader| book.content_digest().expect("what was opened can be read");
        assert_eq!(opened.checkpoint(), checkpoint);
        assert_eq!(
            (opened.reader().ledger_id(), opened.tenant()),
            (ledger.reader().ledger_id(), ledger.tenant())
        );
        assert_eq!(content(opened.reader()), content(ledger.reader()));
    }
}

/// Changes a file at one place: a bit flipped, a byte written, bytes cut out, doubled, or cut off. Whether it is another
/// file then.
fn change(disk: &Memory, file: &str, how: u8, at: usize) -> bool {
    let len = disk.len(file).expect("memory does not fail").expect("it is there");
    let mut bytes = vec![0; usize::try_from(len).expect("it is in memory")];
    disk.read_at(file, 0, &mut bytes).expect("memory does not fail");
    let before = bytes.clone();
    let (at, amount) = (at % bytes.len(), 1 + usize::from(how >> 3));
    let end = (at + amount).min(bytes.len());
    match how % 5 {
        0 => bytes[at] ^= 1 << (how >> 3 & 7),
        1 => bytes[at] = how,
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        _ => bytes.truncate(at),
    }
    disk.truncate(file, 0).expect("memory does not fail");
    disk.write_at(file, 0, &bytes).expect("memory does not fail");
    bytes != before
}

// -- snapshot ------------------------------------------------------------------------------------------------------

/// Any bytes are a snapshot, with all digests right: it is used or ignored, and whoever goes on from it comes to an end
/// without a panic. The audit finds all that differ from the log.
///
/// The first byte says where the bytes go: they are the snapshot, they stand over a part of a good one, or over its state,
/// whose digest is made right too.
pub(crate) fn snapshot(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (mut ledger, storage) = new_ledger(Policy::default());
    for operation in good_operations() {
        let _ = ledger.append(operation).expect("memory does not fail");
    }
    let made = ledger.snapshot().expect("memory does not fail");
    let disk = Memory::clone(&storage);
    let mut file = vec![0; usize::try_from(made.bytes).expect("it is in memory")];
    disk.read_at(&made.file, 0, &mut file).expect("memory does not fail");
    let good = file.clone();
    let (at, over) = bytes.split_at(bytes.len().min(2));
    let at = at.iter().fold(0, |at, byte| at << 8 | usize::from(*byte));
    let from = if kind % 3 == 2 { state_begins(&file) } else { 0 };
    if kind % 3 == 0 {
        file = [bytes, &[0; 32]].concat();
    } else {
        let at = from + at % (file.len() - 32 - from);
        let len = over.len().min(file.len() - 32 - at);
        file[at..at + len].copy_from_slice(&over[..len]);
        if kind / 3 % 2 == 1 {
            drop(file.splice(at + len..at + len, over[len..].iter().copied())); // what does not fit makes it longer
        }
    }
    let content = file.len() - 32;
    if kind % 3 == 2 {
        let digest = blake3::derive_key("identity-ledger 2026-11-23 v1 state digest", &file[from..content]);
        file[112..144].copy_from_slice(&digest);
    }
    let digest = blake3::derive_key("identity-ledger 2026-11-23 v1 snapshot", &file[..content]);
    file[content..].copy_from_slice(&digest);
    disk.truncate(&made.file, 0).expect("memory does not fail");
    disk.write_at(&made.file, 0, &file).expect("memory does not fail");
    gone_on_from(&disk, &ledger, file == good);
}

fn gone_on_from(disk: &Memory, ledger: &Ledger, good: bool) {
    let copy = || Arc::new(Memory::clone(disk));
    let audit = Audit::run_in(copy(), None, &mut |_| {}).expect("the log is whole");
    assert_eq!((audit.head, audit.digest), (ledger.checkpoint().head, ledger.reader().state().digest()));
    assert!(!good || audit.snapshots.len() == 1, "a good one is found good");
    let Ok(mut opened) = LedgerOptions::new().seeded(2).open_in(copy()) else { return };
    let used = opened.recovery().from_snapshot.is_some();
    assert!(
        used || opened.reader().state().digest() == ledger.reader().state().digest(),
        "what is ignored changes nothing"
    );
    assert_eq!(used, opened.recovery().snapshots_ignored.is_empty());
    if audit.snapshots.len() == 1 {
        assert_eq!(opened.reader().state().digest(), ledger.reader().state().digest());
    }
    let texts: Vec<String> = opened
        .reader()
        .state()
        .ids()
        .filter_map(|id| opened.reader().id_text(id))
        .map(str::to_owned)
        .collect();
    for operation in good_operations() {
        opened.append(operation).ok();
    }
    for text in texts.iter().take(8) {
        std::hint::black_box(opened.resolve(text));
        opened.append(Operation::identify(time(9), id("ann"), Some(Source::new(text)))).ok();
        opened.append(Operation::merge_dangerously(time(9), id("carl"), Source::new(text))).ok();
    }
    let ids: Vec<IdNo> = opened.reader().state().ids().collect();
    ids.iter().for_each(|id| drop(opened.reader().state().proof(ids[0], *id)));
    opened.persons().for_each(drop);
    opened.reader().content_digest().ok();
    opened.flush().expect("memory does not fail");
}

/// Where the state begins: behind header, places, dictionaries and operation ids.
fn state_begins(bytes: &[u8]) -> usize {
    let number = |at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let counts: usize = (0..4).map(|at| number(80 + 4 * at, 4)).sum();
    let texts: usize = (0..4).map(|at| number(200 + 8 * at, 8)).sum();
    232 + 8 * number(184, 8) + 76 * number(192, 8) + 2 * counts + texts
}

// -- fold ----------------------------------------------------------------------------------------------------------

/// The engine and the reference model agree on a history, and the log alone tells the same.
pub(crate) fn fold(history: &History) {
    for law in [laws::engine_is_reference, laws::log_tells_all] {
        if let Err(what) = law(history) {
            panic!("{what}\n\n{history}");
        }
    }
}

/// A history in which somebody is erased now and then: engine and reference model agree on what is left, every state
/// before stays what it was, and the whole log, read anew, says the same.
pub(crate) fn erase(history: &History) {
    if let Err(what) = laws::erasing(history) {
        panic!("{what}\n\n{history}");
    }
}

// -- answers -------------------------------------------------------------------------------------------------------

/// A history about which everything can be asked: the answers fit each other, lead to records that are there, and
/// pages come to the whole.
pub(crate) fn answers(history: &History) {
    let (mut ledger, _) = new_ledger(history.policy.clone());
    history.append_to(&mut ledger).expect("memory does not fail");
    let book: &Reader = ledger.reader();
    let records = book.checkpoint().records;
    let ids: Vec<&str> = book.state().ids().filter_map(|id| book.id_text(id)).collect();
    for a in &ids {
        for b in &ids {
            let one = a == b || book.person(a).is_some() && book.person(a) == book.person(b);
            let why = book.explain(a, b).expect("memory does not fail");
            assert_eq!(why.is_some(), one, "{a} and {b}\n{history}");
            if let Some(why) = why {
                why.check(|seq| book.claim(seq).expect("memory does not fail")).expect("it was checked");
            }
            let why_not = book.why_not(a, b).expect("memory does not fail").expect("both were written");
            assert_eq!(
                (why_not.same, why_not.same && !why_not.way.is_empty()),
                (one, false),
                "{a} and {b}\n{history}"
            );
            assert!(
                one || why_not.way.is_empty() || why_not.barriers().count() > 0,
                "{a} and {b}\n{history}"
            );
            assert!(
                why_not.barriers().all(|(_, barrier)| barrier.blocking_seq.0 < records),
                "{a} and {b}\n{history}"
            );
        }
        asked_of(book, a, history);
    }
    supposed(book, &ids, history);
    let persons: Vec<Profile> = book.persons().map(|person| person.expect("memory does not fail")).collect();
    assert_eq!(all_pages(2, |ask| Some(book.persons_page(ask).expect("memory does not fail"))), persons);
}

/// What would be: every difference leads from what the log means to a content, and another policy's to what it would mean.
fn supposed(book: &Reader, ids: &[&str], history: &History) {
    let content = Content::of(&book.view()).expect("memory does not fail");
    let what_if = book.what_if(&Policy::preset(Preset::OneUser)).expect("memory does not fail");
    let there = Content::of(what_if.view()).expect("memory does not fail");
    assert_eq!(what_if.diff().apply(&content), Ok(there), "{history}");
    let retracts =
        (0..book.checkpoint().records).map(|seq| Operation::retract(time(0), Target::Record(Seq(seq))));
    let split = |(t, s): (&&str, &&str)| Operation::split(time(0), id(t), [id(s)], SplitMode::Each);
    let splits = ids.iter().zip(ids.iter().skip(1)).map(split);
    for operation in retracts.chain(splits) {
        match book.preview(&operation) {
            Ok(preview) => {
                let led = preview.diff.apply(&content);
                assert!(led.is_ok(), "{operation:?}: {led:?}\n{history}");
                let is_same = preview.diff.is_same_content();
                assert_eq!(led == Ok(content.clone()), is_same, "{operation:?}\n{history}");
            }
            Err(PreviewError::Operation(OperationError::NotAnOperation { .. })) => {}
            Err(error) => panic!("{operation:?}: {error}\n{history}"),
        }
    }
}

/// What can be asked of one id.
fn asked_of(book: &Reader, id: &str, history: &History) {
    for subject in [Subject::Id(id), Subject::Person(id)] {
        let entries = all_pages(3, |ask| book.history(subject, ask).expect("memory does not fail"));
        assert!(entries.is_sorted_by(|a, b| a.seq < b.seq), "{subject:?}\n{history}");
        let events = all_pages(2, |ask| book.events_of(subject, ask).expect("memory does not fail"));
        for event in &events {
            let why = book.explain_record(event.seq).expect("memory does not fail").expect("it is an event");
            why.check(|seq| book.claim(seq).expect("memory does not fail")).expect("it was checked");
            assert_eq!(why.person_id, event.person_id, "{}\n{history}", event.seq);
        }
    }
    let profile = book.profile(id).expect("memory does not fail");
    let last = Seq(book.checkpoint().records - 1);
    assert_eq!(book.profile_as_of(id, last).expect("memory does not fail"), profile, "{id}\n{history}");
    for key in KEYS {
        let why = book.why_property(id, key).expect("memory does not fail");
        let now = profile.as_ref().and_then(|profile| profile.properties.get(key));
        assert_eq!(why.as_ref().and_then(|why| why.now.as_ref()), now, "{id}, {key}\n{history}");
        let stand = |write: &&PropertyWrite| write.beaten.is_none() && write.verb != "unset";
        let standing: Vec<_> = why.iter().flat_map(|why| &why.writes).filter(stand).collect();
        let is_relative = standing.iter().any(|write| !write.verb.contains("set")); // E9: several may stand
        assert!(
            if is_relative { now.is_some() } else { standing.len() == usize::from(now.is_some()) },
            "{id}, {key}\n{history}"
        );
    }
}

fn all_pages<T>(items: usize, mut page: impl FnMut(PageRequest) -> Option<Page<T>>) -> Vec<T> {
    let (mut ask, mut all) = (PageRequest::first(items), Vec::new());
    loop {
        let page = page(ask).expect("it was written");
        all.extend(page.items);
        match page.next {
            Some(next) => ask = PageRequest::next(next, items),
            None => return all,
        }
    }
}

fn of<T: Copy>(list: &[T], byte: u8) -> T {
    list[usize::from(byte) % list.len()]
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).expect("an id")
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("a time")
}

fn operation_id(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(number))
}
