//! What must hold for any bytes. Shared by the fuzz targets in `fuzz/` and by the stable test `fuzz_bodies`.
//!
//! Each body takes bytes and panics if a law is broken. None looks at what the bytes mean to the others.

#[path = "mod.rs"]
#[expect(
    dead_code,
    reason = "its ledgers are salted by chance; fuzzing needs the same bytes from the same input"
)]
mod support;

use std::sync::Arc;

use identity_ledger::import::{Format, Importer, Options, Parsed, Tally, run};
use identity_ledger::testing::history::History;
use identity_ledger::testing::laws;
use identity_ledger::testing::workload::to_ops_line;
use identity_ledger::*;

// -- import --------------------------------------------------------------------------------------------------------

/// Any bytes are an input: nothing panics, every event is told of once and in order, reading twice gives the same, what was
/// read is within bounds and can be written down as `ops`, and a second import appends nothing.
pub(crate) fn import(bytes: &[u8]) {
    for format in [Format::Auto, Format::Ops, Format::Posthog] {
        let options = Options { format, ..Options::from(&Policy::default()) };
        let (parsed, lines) = parse(bytes, &options);
        assert_eq!(parse(bytes, &options), (parsed.clone(), lines), "read twice, {format}");
        let places: Vec<(u64, Option<usize>)> = parsed.iter().map(|one| (one.line, one.index)).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "one answer an event, in order, {format}: {places:?}");
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

/// The format `ops` has words for everything but these three.
fn written_and_read(operation: &Operation) {
    let options = Options { format: Format::Ops, lift: false, keep_event_properties: true };
    let (parsed, _) = parse(to_ops_line(operation).as_bytes(), &options);
    let [Parsed { operation: Ok(back), .. }] = &parsed[..] else { panic!("{operation:?}: {parsed:?}") };
    let without = |operation: &Operation| Operation {
        derived_id: false,
        bent: Bent::default(),
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
    support::check(&ledger, &storage, usize::try_from(appended).expect("an input is small"));
}

/// As [`support::new_ledger`], but the same every time.
fn new_ledger(policy: Policy) -> (Ledger, Arc<Memory>) {
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().entropy(SeededEntropy::new(1));
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
            let frame = forged(bytes, ledger.ledger_id(), ledger.checkpoint());
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
    let Ok(mut writer) = LedgerOptions::new().entropy(SeededEntropy::new(2)).open_in(written.clone()) else {
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
    assert_eq!(again.state().digest(), writer.state().digest());
}

/// Commitments cannot be guessed, so frames with items are folded here without theirs: all numbers are checked, all records
/// fold.
fn without_payload(frame: &[u8], disk: &Memory, ledger: &Ledger) {
    const HEADER: usize = 96;
    let mut replay = Replay::new(ledger.ledger_id(), ledger.tenant());
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
    let capture = Operation::capture(time(1), id("visitor-1"), operation_id(1));
    let user = Request::DeviceIdentify { device: DeviceId::new("d1").expect("an id"), user: id("ann") };
    for operation in [
        capture.with_event(EventName::new("$pageview").expect("a name")),
        Operation::new(time(2), user).set("a", 1).expect("a key"),
        Operation::identify(time(3), id("bob"), Some(Source::new("visitor-1"))),
    ] {
        assert!(ledger.append(operation).expect("memory does not fail").outcome().is_some());
    }
    ledger.flush().expect("memory does not fail");
    let disk = Memory::clone(&storage);
    (ledger, disk)
}

/// A frame with a right checksum and a right hash: a count of records, the length of the body, and the bytes for body and
/// payload.
fn forged(bytes: &[u8], ledger: LedgerId, after: Checkpoint) -> Vec<u8> {
    let (head, rest) = bytes.split_at(bytes.len().min(3));
    let at = |place: usize| usize::from(head.get(place).copied().unwrap_or_default());
    let (records, body_len) = (1 + at(0) as u32, (at(1) << 8 | at(2)).min(rest.len()));
    let (body, payload) = rest.split_at(body_len);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("an input is small").to_le_bytes();

    let mut frame = b"\xf5il\x1a\x01\x01\0\0".to_vec();
    frame.extend_from_slice(&length(body));
    frame.extend_from_slice(&length(payload));
    frame.extend_from_slice(&after.records.to_le_bytes());
    frame.extend_from_slice(&records.to_le_bytes());
    frame.resize(44, 0);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&[&frame[..], ledger.0.as_bytes()].concat());
    frame.extend_from_slice(&crc.to_le_bytes());
    let history = [
        &after.head.0[..],
        &[1, 1],
        &after.records.to_le_bytes(),
        &records.to_le_bytes(),
        &length(body),
        body,
    ];
    frame.extend_from_slice(body);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&blake3::derive_key("identity-ledger 2026-11-23 v1 frame", &history.concat()));
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

// -- fold ----------------------------------------------------------------------------------------------------------

/// Any bytes are a policy and a history: the engine and the reference model agree, and the log alone tells the same.
pub(crate) fn fold(bytes: &[u8]) {
    let history = History::from_bytes(bytes);
    for law in [laws::engine_is_reference, laws::log_tells_all] {
        if let Err(what) = law(&history) {
            panic!("{what}\n\n{history}");
        }
    }
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
