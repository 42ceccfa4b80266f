//! Salvage: whatever is damaged, what is taken out is what was written, what is lost is named, and the two make up the whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use identity_ledger::audit::Audit;
use identity_ledger::log::{LinkSource, OperationHeader};
use identity_ledger::salvage::{BytePlace, Salvage, SalvageError, SalvageReport, SalvagedRecord};
use identity_ledger::storage::{IdentityError, Memory, Storage};
use identity_ledger::*;

fn operation(number: u64) -> Operation {
    let time = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let name = format!("id-{}", number % 5);
    let operation = match number % 3 {
        0 => {
            let id = OperationId(uuid::Uuid::from_u128(u128::from(number) + 1));
            Operation::capture(time, DistinctId::new(name).unwrap(), id)
        }
        1 => Operation::identify(time, DistinctId::new("ann").unwrap(), Some(Source::new(&name))),
        _ => Operation::properties(time, DistinctId::new(name).unwrap()),
    };
    operation.set(&format!("key-{}", number % 4), i64::try_from(number).unwrap()).unwrap()
}

const SEGMENT: u64 = 1_024;

/// A closed ledger of several segments, one operation a frame.
fn ledger(operations: u64) -> Arc<Memory> {
    let disk = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1).segment_bytes(SEGMENT);
    let mut ledger = options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..operations {
        let _ = ledger.append(operation(number)).unwrap();
    }
    disk
}

/// What a record says, as the undamaged ledger tells it.
#[derive(Debug, PartialEq)]
struct Original {
    op: &'static str,
    id: Option<(u32, Option<String>)>,
    other: Option<u32>,
    time: Option<Timestamp>,
    operation_id: Option<OperationId>,
    keys: Vec<u32>,
    item: Option<Vec<u8>>,
}

/// A frame, found by the layout that `docs/format.md` gives.
#[derive(Clone, Debug)]
struct Frame {
    file: String,
    records: Range<u64>,
    header: Range<usize>,
    body: Range<usize>,
    payload: Range<usize>,
    end: usize,
}

/// The undamaged ledger and all that is known of it.
struct Whole {
    disk: Arc<Memory>,
    records: u64,
    originals: Vec<Original>,
    frames: Vec<Frame>,
    files: BTreeMap<String, Vec<u8>>,
}

fn read(disk: &Memory, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(name).unwrap().unwrap()).unwrap()];
    disk.read_at(name, 0, &mut bytes).unwrap();
    bytes
}

impl Whole {
    fn new(operations: u64) -> Whole {
        let disk = ledger(operations);
        let book = LedgerOptions::new().read_in(disk.clone()).unwrap();
        let mut originals = Vec::new();
        book.reader()
            .replay(|step| {
                let body = step.record.body();
                let other = if let LinkSource::Id(id) = body.other() { Some(id.0) } else { None };
                originals.push(Original {
                    op: body.name(),
                    id: body
                        .head()
                        .map(|head| (head.id.0, book.reader().id_text(head.id).map(str::to_owned))),
                    other,
                    time: body.head().map(OperationHeader::time),
                    operation_id: step.record.operation_id(),
                    keys: body.changes().iter().map(|change| change.key.0).collect(),
                    item: step.record.item().map(<[u8]>::to_vec),
                });
            })
            .unwrap();
        let names = disk.list("log").unwrap().into_iter().map(|name| format!("log/{name}"));
        let files: BTreeMap<String, Vec<u8>> = names.map(|name| (name.clone(), read(&disk, &name))).collect();
        let frames = files.iter().flat_map(|(name, bytes)| frames(name, bytes)).collect();
        Whole { records: book.checkpoint().records, disk, originals, frames, files }
    }

    fn damaged(&self, damage: impl FnOnce(&Memory)) -> Arc<Memory> {
        let disk = Memory::clone(&self.disk);
        damage(&disk);
        Arc::new(disk)
    }

    /// Salvages, and holds everything that must hold whatever was damaged.
    #[track_caller]
    fn salvage(&self, disk: Arc<Memory>) -> SalvageReport {
        let before = self.files.keys().map(|name| disk.len(name).unwrap()).collect::<Vec<_>>();
        let mut salvage = Salvage::look_in(disk.clone(), None, &mut |_| {}).unwrap();
        let report = salvage.report().clone();
        assert_eq!(report.records, self.records, "what existed is known");
        let mut all: Vec<u64> = report.intact.iter().flat_map(|range| range.from.0..=range.to.0).collect();
        let lost: Vec<u64> = lost(&report);
        all.extend(&lost);
        all.sort_unstable();
        assert_eq!(all, (0..self.records).collect::<Vec<_>>(), "each record is intact or lost: {report:?}");

        let mut shown = Vec::new();
        let each = &mut |record: SalvagedRecord| {
            self.assert_original(&record);
            shown.push(record.seq.0);
            Ok(())
        };
        salvage.beyond(each).unwrap();
        let expected = (report.prefix.records..self.records).filter(|seq| !lost.contains(seq));
        assert_eq!(shown, expected.collect::<Vec<_>>(), "every intact record behind the fault is shown");
        Whole::assert_opens(&salvage);
        assert_eq!(self.files.keys().map(|name| disk.len(name).unwrap()).collect::<Vec<_>>(), before);
        report
    }

    /// What a salvaged record says is what was written; what it does not say was lost.
    fn assert_original(&self, found: &SalvagedRecord) {
        let original = &self.originals[usize::try_from(found.seq.0).unwrap()];
        assert_eq!((found.op, found.time), (original.op, original.time));
        assert_eq!(found.other.as_ref().map(|other| other.number), original.other);
        let keys: Vec<u32> = found.changes.iter().map(|change| change.key.number).collect();
        assert_eq!(keys, original.keys);
        if found.lost.is_none() {
            assert_eq!(found.operation_id, original.operation_id);
            if found.op.starts_with("define") {
                assert_eq!(found.text.as_ref().map(|text| text.as_bytes()), original.item.as_deref());
            }
        }
        for change in &found.changes {
            let is_then = |number: &i64| Timestamp::from_micros(*number).ok() == found.time;
            let written = (0..100).find(is_then).unwrap(); // time and value are the operation's number
            assert_eq!(change.value, found.lost.is_none().then_some(Value::from(written)));
            let text = format!("key-{}", written % 4);
            assert!(change.key.text.as_ref().is_none_or(|found| *found == text));
        }
        if found.op != "define_device"
            && let (Some(named), Some((number, text))) = (&found.id, &original.id)
        {
            assert_eq!(named.number, *number);
            assert!(named.text.is_none() || named.text == *text, "a text is the right one, or none");
        }
    }

    /// What stands before the fault is a ledger: it audits clean, opens and is written to.
    fn assert_opens(salvage: &Salvage) {
        let dest = Arc::new(Memory::new());
        let prefix = salvage.report().prefix;
        match salvage.write_ledger(&*dest) {
            Ok(_) => {}
            Err(SalvageError::NoPrefix { .. }) if prefix.records == 0 => {
                return assert!(dest.list("").unwrap().is_empty());
            }
            Err(error) => panic!("{error}"),
        }
        let audit = Audit::run_in(dest.clone(), Some(prefix), &mut |_| {}).unwrap();
        assert!(audit.is_ok() && audit.tail.is_none() && audit.records == prefix.records, "{audit:?}");
        let mut ledger = LedgerOptions::new().open_in(dest.clone()).unwrap();
        assert!(ledger.recovery().is_clean());
        let _ = ledger.append(operation(1_000)).unwrap();
        assert!(matches!(salvage.write_ledger(&*dest), Err(SalvageError::NotEmpty { .. })));
    }
}

fn lost(report: &SalvageReport) -> Vec<u64> {
    report.lost.iter().flat_map(|lost| lost.from.0..=lost.to.0).collect()
}

fn frames(name: &str, bytes: &[u8]) -> Vec<Frame> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut frames, mut at) = (Vec::new(), 96);
    while at < bytes.len() {
        let (body, payload) = (at + 48, at + 48 + number(at + 8));
        let hash = payload + number(at + 12);
        let first = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
        let end = (hash + 32).next_multiple_of(8);
        frames.push(Frame {
            file: name.to_owned(),
            records: first..first + number(at + 40) as u64,
            header: at..body,
            body: body..payload,
            payload: payload..hash,
            end,
        });
        at = end;
    }
    frames
}

#[test]
fn a_healthy_ledger_is_salvaged_whole() {
    let whole = Whole::new(30);
    let report = whole.salvage(whole.disk.clone());
    assert!(report.is_whole() && report.first_fault.is_none() && report.unacknowledged.is_empty());
    assert_eq!(report.prefix.records, whole.records);
    assert!(whole.files.len() > 3, "there are several segments");
}

/// Damage costs the records of the frame whose header or body it hits. In a payload it costs texts and values, in a hash, in
/// padding or in a segment's header nothing.
#[test]
fn every_damaged_byte_costs_what_stood_there_and_nothing_else() {
    let whole = Whole::new(12);
    for (name, bytes) in &whole.files {
        for (at, byte) in bytes.iter().enumerate() {
            let disk = whole.damaged(|disk| disk.write_at(name, at as u64, &[byte ^ 0x10]).unwrap());
            let report = whole.salvage(disk);
            let frame = whole
                .frames
                .iter()
                .find(|frame| frame.file == *name && (frame.header.start..frame.end).contains(&at));
            let first_fault = report.first_fault.as_ref().unwrap();
            assert_eq!(first_fault.file, *name);
            let Some(frame) = frame else {
                assert!(report.is_whole(), "{name} at {at}: {report:?}"); // the segment's header
                continue;
            };
            assert_eq!(report.prefix.records, frame.records.start, "{name} at {at}");
            let costs = frame.header.contains(&at) || frame.body.contains(&at);
            let expected: Vec<u64> = if costs { frame.records.clone().collect() } else { Vec::new() };
            assert_eq!(lost(&report), expected, "{name} at {at}: {report:?}");
            let items = frame.payload.contains(&at);
            assert_eq!(report.items_lost.is_empty(), !items, "{name} at {at}: {:?}", report.items_lost);
            assert!(report.items_lost.iter().all(|item| frame.records.contains(&item.seq.0)));
            assert!(report.unacknowledged.is_empty());
        }
    }
}

#[test]
fn every_cut_of_every_segment_costs_what_is_behind_it_there() {
    let whole = Whole::new(12);
    for (name, bytes) in &whole.files {
        for len in 0..bytes.len() {
            let disk = whole.damaged(|disk| disk.truncate(name, len as u64).unwrap());
            let report = whole.salvage(disk);
            let cut = |frame: &&Frame| frame.file == *name && frame.end > len;
            let expected: Vec<u64> =
                whole.frames.iter().filter(cut).flat_map(|frame| frame.records.clone()).collect();
            assert_eq!(lost(&report), expected, "{name} cut to {len}: {report:?}");
        }
    }
}

#[test]
fn every_missing_segment_costs_its_records() {
    let whole = Whole::new(30);
    for name in whole.files.keys() {
        let disk = whole.damaged(|disk| disk.remove(name).unwrap());
        let inside = whole.frames.iter().filter(|frame| frame.file == *name);
        let expected: Vec<u64> = inside.flat_map(|frame| frame.records.clone()).collect();
        let mut salvage = Salvage::look_in(disk, None, &mut |_| {}).unwrap();
        let report = salvage.report().clone();
        assert_eq!((lost(&report), report.records), (expected, whole.records), "{name}: {report:?}");
        assert!(report.lost.iter().all(|lost| lost.place.is_none()), "{name}: no file could hold them");
        let each = &mut |record: SalvagedRecord| {
            whole.assert_original(&record);
            Ok(())
        };
        salvage.beyond(each).unwrap();
        Whole::assert_opens(&salvage);
    }
}

/// Two neighbours, both without their hash: what proves them is the hash of the third, which was made with theirs.
#[test]
fn several_damaged_hashes_in_a_row_cost_nothing() {
    let whole = Whole::new(30);
    let together: Vec<&Frame> =
        whole.frames.iter().filter(|frame| frame.file == whole.frames[0].file).collect();
    let disk = whole.damaged(|disk| {
        for frame in &together[1..3] {
            disk.write_at(&frame.file, frame.payload.end as u64, &[0; 32]).unwrap();
        }
    });
    assert!(whole.salvage(disk).is_whole());
}

/// The one way to lose a frame whose bytes are fine: nobody is left who says what stood before it.
#[test]
fn a_frame_behind_a_lost_hash_cannot_be_proven() {
    let whole = Whole::new(30);
    let neighbours = whole.frames.windows(2).skip(1).find(|pair| pair[0].file == pair[1].file);
    let [hit, next] = neighbours.unwrap() else { unreachable!("windows of two") };
    let disk = whole.damaged(|disk| {
        disk.write_at(&hit.file, hit.body.start as u64, &[0xff; 4]).unwrap();
        disk.write_at(&hit.file, hit.payload.end as u64, &[0; 32]).unwrap();
    });
    assert_eq!(lost(&whole.salvage(disk)), (hit.records.start..next.records.end).collect::<Vec<_>>());
}

#[test]
fn a_torn_tail_that_nobody_saw_is_not_lost() {
    let whole = Whole::new(12);
    let last = whole.frames.last().unwrap();
    let disk = whole.damaged(|disk| disk.write_at(&last.file, last.end as u64, &[7; 100]).unwrap());
    let report = whole.salvage(disk);
    assert!(report.is_whole());
    let tail = BytePlace { file: last.file.clone(), offset: last.end as u64, bytes: 100 };
    assert_eq!(report.unacknowledged, [tail]);
}

/// A segment of another history of the same ledger proves itself, and still does not take the place of what is linked.
#[test]
fn a_segment_of_another_history_is_left_aside() {
    let whole = Whole::new(30);
    let mut names = whole.files.keys();
    let (first, second) = (names.next().unwrap(), names.next().unwrap());
    let other = Memory::new();
    for name in ["LEDGER", first.as_str()] {
        other.create(name).unwrap();
        other.write_at(name, 0, &read(&whole.disk, name)).unwrap();
    }
    let other = Arc::new(other);
    let options = LedgerOptions::new().seeded(2).segment_bytes(SEGMENT);
    let mut fork = options.open_in(other.clone()).unwrap();
    for number in 100..110 {
        let _ = fork.append(operation(number)).unwrap();
    }
    drop(fork);
    assert_ne!(read(&other, second), whole.files[second]);
    let hit = whole.frames.iter().find(|frame| frame.file == *second).unwrap();
    let disk = whole.damaged(|disk| {
        disk.write_at(second, hit.body.start as u64, &[0xff; 4]).unwrap();
        let added = "log/00000000000000000900.seg";
        disk.create(added).unwrap();
        disk.write_at(added, 0, &read(&other, second)).unwrap();
    });
    let report = whole.salvage(disk);
    assert!(report.contradicting_frames > 0);
    assert_eq!(
        lost(&report),
        hit.records.clone().collect::<Vec<_>>(),
        "the other history does not fill the gap"
    );
}

#[test]
fn without_its_identity_nothing_can_be_checked() {
    let whole = Whole::new(3);
    let gone = whole.damaged(|disk| disk.remove("LEDGER").unwrap());
    let error = Salvage::look_in(gone, None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, SalvageError::NoIdentity { .. }) && error.to_string().contains("from a copy"));
    let damaged = whole.damaged(|disk| disk.write_at("LEDGER", 40, &[0xff]).unwrap());
    let error = Salvage::look_in(damaged, None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, SalvageError::Identity(IdentityError::Damaged { .. })));
    assert!(error.to_string().contains("from a copy"));
    let nothing = Salvage::look_in(Arc::new(Memory::new()), None, &mut |_| {}).unwrap_err();
    assert!(matches!(nothing, SalvageError::Identity(IdentityError::Missing { .. })));
}
