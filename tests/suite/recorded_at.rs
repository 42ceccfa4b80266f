//! Times of recording (A1): they never go back, they are part of history and of nothing that a rule decides, and a record and its
//! time lead to each other.
#![cfg(feature = "testing")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::support::forge;
use identity_ledger::backup::Backup;
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::salvage::Salvage;
use identity_ledger::storage::{Clock, IdentityError, Memory, Storage};
use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::history::History;
use identity_ledger::*;

const SEGMENT: &str = "log/00000000000000000000.seg";
/// 2026-03-03T00:00:00Z.
const MARCH: i64 = 1_772_496_000_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// What a clock answered, in the order in which it was asked.
type Answers = Arc<Mutex<Vec<Timestamp>>>;

/// A clock that stands still, jumps ahead, and goes back as often.
fn restless(seed: u64, answers: &Answers) -> impl Clock + use<> {
    let (mut chance, mut now, answers) = (Chance::new(seed), MARCH, Arc::clone(answers));
    move || {
        now += [0, 1, -1, 1_000, 60_000_000, -90_000_000, 3_600_000_000][chance.below(7)];
        answers.lock().unwrap().push(at(now));
        at(now)
    }
}

fn options(seed: u64, answers: &Answers) -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).clock(restless(seed, answers)).segment_bytes(1_024)
}

fn create(options: LedgerOptions<'_>, disk: &Arc<Memory>, policy: &Policy) -> Ledger {
    options.create_in(disk.clone(), Tenant::default(), policy.clone()).unwrap()
}

fn read(disk: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

/// The records and the time of each frame, read by the layout that docs/format.md gives, and where its header begins.
fn frames(disk: &Memory) -> Vec<(std::ops::Range<u64>, Timestamp, (String, usize))> {
    let mut frames = Vec::new();
    for name in disk.list("log").unwrap() {
        let file = format!("log/{name}");
        let bytes = read(disk, &file);
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let mut here = 96;
        while here < bytes.len() {
            let first = eight(here + 16);
            let time = at(eight(here + 24).cast_signed());
            frames.push((first..first + u64::from(four(here + 40)), time, (file.clone(), here)));
            here = (here + 48 + four(here + 8) as usize + four(here + 12) as usize + 32).next_multiple_of(8);
        }
    }
    frames
}

/// Everything that writes a frame: batches, refusals, corrections, a policy, erasures.
fn live(ledger: &mut Ledger, history: &History, from: usize) {
    for (number, batch) in history.operations.chunks(3).enumerate() {
        ledger.append_batch(batch).ok(); // some are out of bounds
        if number == from {
            let policy = Policy { max_ids_per_person: Some(9), ..ledger.policy().clone() };
            ledger.set_policy(&policy).unwrap();
        }
    }
    let whom = ErasureSubject::Ids(BTreeSet::from([id("ann")]));
    ledger.erase(&[ErasureRequest::new(at(0), whom, "asked")]).ok(); // she may not be there
}

/// Holds that a reader says of each record when it was recorded, and of each time which record was the last.
#[track_caller]
fn assert_leads_to_each_other(reader: &Reader, disk: &Memory) {
    let frames = frames(disk);
    let mut edges = BTreeSet::from([Timestamp::MIN, Timestamp::MAX]);
    for (records, time, _) in &frames {
        for seq in records.clone() {
            assert_eq!(reader.recorded_at(Seq(seq)).unwrap(), Some(*time), "record {seq}");
        }
        edges.extend([-1, 0, 1].map(|by| at(time.as_micros() + by)));
    }
    for edge in edges {
        let expected =
            frames.iter().rfind(|(_, time, _)| *time <= edge).map(|(records, ..)| Seq(records.end - 1));
        assert_eq!(reader.last_recorded(edge).unwrap(), expected, "{edge}");
    }
    let end = reader.checkpoint().records;
    assert_eq!(reader.recorded_at(Seq(end)).unwrap(), None);
    let mut walked = Vec::new();
    reader.replay(|step| walked.push(step.recorded_at)).unwrap();
    let told: Vec<Timestamp> =
        frames.iter().flat_map(|(records, time, _)| records.clone().map(|_| *time)).collect();
    assert_eq!(walked, told);
    let stats = reader.stats().unwrap();
    assert_eq!([stats.first_recorded_at, stats.last_recorded_at], [told[0], told[told.len() - 1]]);
}

#[test]
fn a_frames_time_is_the_later_of_the_clocks_and_the_one_before() {
    let mut frames_in_all = 0;
    for seed in 0..60 {
        let (answers, disk) = (Answers::default(), Arc::new(Memory::new()));
        let history = History::seeded(&Policy::default(), seed);
        let mut ledger = create(options(seed, &answers), &disk, &history.policy);
        live(&mut ledger, &history, 2);
        drop(ledger);
        // A crash leaves half a frame; what the next writer records of it has a time too.
        let last = disk.list("log").unwrap().into_iter().max().map(|name| format!("log/{name}")).unwrap();
        disk.write_at(&last, disk.len(&last).unwrap().unwrap(), b"half a frame").unwrap();
        let mut ledger = options(seed + 1_000, &answers).open_in(disk.clone()).unwrap();
        live(&mut ledger, &History::seeded(&history.policy, seed + 1), 0);
        ledger.flush().unwrap();

        let mut latest = Timestamp::MIN;
        let expected: Vec<Timestamp> = answers
            .lock()
            .unwrap()
            .iter()
            .map(|answer| {
                latest = latest.max(*answer);
                latest
            })
            .collect();
        let found: Vec<Timestamp> = frames(&disk).into_iter().map(|(_, time, _)| time).collect();
        assert_eq!(found, expected, "seed {seed}: the clock is asked once for each frame");
        frames_in_all += found.len();
        assert_leads_to_each_other(ledger.reader(), &disk);
    }
    assert!(frames_in_all > 500, "{frames_in_all}");
}

/// Also where places lie within a segment, where there is a snapshot, and in a copy.
#[test]
fn a_record_and_its_time_lead_to_each_other() {
    let (answers, disk) = (Answers::default(), Arc::new(Memory::new()));
    let mut ledger = create(options(7, &answers).segment_bytes(200_000), &disk, &Policy::default());
    for number in 0..40 {
        let batch: Vec<Operation> = (0..1 + number % 5 * 60)
            .map(|n| {
                Operation::properties(at(0), id(&format!("id-{number}-{n}"))).set("a", "some value").unwrap()
            })
            .collect();
        drop(ledger.append_batch(&batch).unwrap());
        if number == 30 {
            ledger.snapshot().unwrap();
        }
    }
    ledger.flush().unwrap();
    assert!(ledger.reader().log_bytes() > 400_000, "{}", ledger.reader().log_bytes());
    assert_leads_to_each_other(ledger.reader(), &disk);
    drop(ledger);

    let copy = Arc::new(Memory::new());
    Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
    for (disk, snapshot) in [(&disk, true), (&copy, false)] {
        for threads in [1, 2] {
            let reader = LedgerOptions::new().threads(threads).read_in(disk.clone()).unwrap();
            assert_eq!(reader.recovery().from_snapshot.is_some(), snapshot);
            assert_leads_to_each_other(reader.reader(), disk);
        }
        let writer = LedgerOptions::new().without_snapshots().open_in(disk.clone()).unwrap();
        assert_leads_to_each_other(writer.reader(), disk);
    }
    // An erasure rewrites segments under an open reader; times stay.
    let reader = LedgerOptions::new().read_in(disk.clone()).unwrap();
    let mut writer = LedgerOptions::new().seeded(2).open_in(disk.clone()).unwrap();
    let before = frames(&disk);
    let whom = ErasureSubject::Ids(BTreeSet::from([id("id-1-0")]));
    writer.erase(&[ErasureRequest::new(at(0), whom, "asked")]).unwrap();
    for (records, time, _) in before {
        for reader in [reader.reader(), writer.reader()] {
            assert_eq!(reader.recorded_at(Seq(records.start)).unwrap(), Some(time));
            let last = reader.last_recorded(at(time.as_micros() - 1)).unwrap();
            assert!(last.is_none_or(|last| last.0 < records.start), "{last:?}");
        }
    }
}

/// The law is A1: no rule reads it. Two clocks give two heads and one meaning.
#[test]
fn a_time_is_part_of_history_and_of_no_meaning() {
    for seed in 0..40 {
        let history = History::seeded(&Policy::default(), seed);
        let folded = |clock: u64| {
            let disk = Arc::new(Memory::new());
            let mut ledger = create(options(clock, &Answers::default()), &disk, &history.policy);
            live(&mut ledger, &history, 1);
            let digests = (ledger.reader().state().digest(), ledger.reader().content_digest().unwrap());
            (ledger.checkpoint(), digests, disk)
        };
        let [first, again, other] = [1, 1, 2].map(folded);
        assert_eq!(first.0, again.0, "seed {seed}: one clock, one head");
        for name in first.2.list("log").unwrap() {
            let file = format!("log/{name}");
            assert_eq!(read(&first.2, &file), read(&again.2, &file));
        }
        assert_ne!(first.0.head, other.0.head, "seed {seed}");
        assert_eq!((first.0.records, first.1), (other.0.records, other.1), "seed {seed}");
    }
}

/// The header of a frame with another time, and a checksum that holds.
fn retimed(disk: &Memory, ledger: &Reader, frame: usize, time: Timestamp) -> (String, usize) {
    let (_, _, (file, offset)) = frames(disk)[frame].clone();
    let mut header = read(disk, &file)[offset..offset + 44].to_vec();
    header[24..32].copy_from_slice(&time.as_micros().to_le_bytes());
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let crc = crc.checksum(&[&header[..], ledger.ledger_id().0.as_bytes()].concat());
    disk.write_at(&file, offset as u64, &[&header[..], &crc.to_le_bytes()].concat()).unwrap();
    (file, offset)
}

/// As [`retimed`], and the frame's hash holds too: as someone makes it who can write the directory.
fn rehashed(disk: &Memory, reader: &Reader, frame: usize, time: Timestamp) {
    let all = frames(disk);
    let (_, _, (previous, before)) = &all[frame - 1];
    let hash_of = |file: &str, offset: usize| {
        let bytes = read(disk, file);
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        offset + 48 + four(offset + 8) + four(offset + 12)
    };
    let previous = {
        let at = hash_of(previous, *before);
        read(disk, previous)[at..at + 32].to_vec()
    };
    let (file, offset) = retimed(disk, reader, frame, time);
    let bytes = read(disk, &file);
    let header = &bytes[offset..offset + 48];
    let body_len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
    let history = [
        &previous[..],
        &header[4..6],
        &header[16..24],
        &header[24..32],
        &header[40..44],
        &header[8..12],
        &bytes[offset + 48..offset + 48 + body_len],
    ];
    let hash = blake3::derive_key("identity-ledger 2026-11-29 v2 frame", &history.concat());
    disk.write_at(&file, hash_of(&file, offset) as u64, &hash).unwrap();
}

/// A ledger of four frames, recorded at one, two, three and four seconds after midnight.
fn four_seconds() -> (Arc<Memory>, Ledger) {
    let (disk, mut second) = (Arc::new(Memory::new()), 0);
    let clock = move || {
        second += 1;
        at(MARCH + second * 1_000_000)
    };
    let mut ledger = create(LedgerOptions::new().seeded(1).clock(clock), &disk, &Policy::default());
    for name in ["ann", "bob", "cat"] {
        let _ = ledger.append(Operation::properties(at(0), id(name))).unwrap();
    }
    ledger.flush().unwrap();
    (disk, ledger)
}

#[test]
fn another_time_is_found_by_the_hash() {
    let (disk, ledger) = four_seconds();
    for frame in 0..4 {
        let disk = Memory::clone(&disk);
        retimed(&disk, ledger.reader(), frame, at(MARCH + frame as i64 * 1_000_000 + 1));
        let report = LedgerOptions::new().audit_in(Arc::new(disk)).unwrap();
        let first = frames(&Memory::clone(&four_seconds().0))[frame].0.start;
        assert_eq!(report.faults.len(), 1, "{report:?}");
        let what = format!("the frame of record {first} is not what was written there");
        assert!(report.faults[0].what.starts_with(&what), "{report:?}");
    }
}

#[test]
fn a_time_that_goes_back_is_malformed_and_named_by_its_place() {
    let (disk, ledger) = four_seconds();
    let before = at(MARCH + 3_000_000);
    for (time, goes_back) in [(before, false), (at(before.as_micros() - 1), true)] {
        let disk = Arc::new(Memory::clone(&disk));
        let (records, _, (file, offset)) = frames(&disk)[3].clone();
        rehashed(&disk, ledger.reader(), 3, time);
        if !goes_back {
            disk.truncate("HEAD", 0).unwrap(); // it names another head
            let reader = LedgerOptions::new().read_in(disk).unwrap();
            assert_eq!(reader.reader().recorded_at(Seq(records.start)).unwrap(), Some(time));
            continue;
        }
        let report = LedgerOptions::new().audit_in(disk.clone()).unwrap();
        let fault = &report.faults[0];
        let what = format!(
            "the frame of record {} says that it was recorded at 2026-03-03T00:00:02.999999Z; expected 2026-03-03T00:00:03Z, \
             the time of the frame before it, or later",
            records.start
        );
        assert_eq!((fault.what.as_str(), &fault.file, fault.offset), (&what[..], &file, Some(offset as u64)));
        let error = LedgerOptions::new().open_in(disk).unwrap_err().to_string();
        assert!(error.contains(&what), "{error}");
    }
}

/// What a snapshot says of times, with every digest right. The next frame must not come before the log's last one.
#[test]
fn a_forged_snapshot_moves_no_time_of_what_is_appended() {
    let (disk, mut ledger) = four_seconds();
    let made = ledger.snapshot().unwrap();
    drop(ledger);
    let genuine = read(&disk, &made.file);
    let place = forge::HEADER + forge::RECORDED_BEFORE.start;
    for (at, used) in [(forge::RECORDED_AT.start, false), (place, true)] {
        for micros in [i64::MIN, Timestamp::MIN.as_micros(), MARCH + 3_999_999, MARCH + 4_000_001, i64::MAX] {
            let disk = Arc::new(Memory::clone(&disk));
            let mut forged = genuine.clone();
            forged[at..at + 8].copy_from_slice(&micros.to_le_bytes());
            disk.write_at(&made.file, 0, &forge::resealed(&forged)).unwrap();
            let audit = LedgerOptions::new().audit_in(disk.clone()).unwrap();
            let same = micros == Timestamp::MIN.as_micros() && used; // as it is before the first frame
            assert_eq!(audit.is_ok(), same, "{micros}: {:?}", audit.faults);
            let mut ledger = LedgerOptions::new().clock(|| Timestamp::MIN).open_in(disk.clone()).unwrap();
            assert!(used || ledger.recovery().from_snapshot.is_none(), "{:?}", ledger.recovery());
            let _ = ledger.append(Operation::properties(Timestamp::MIN, id("dan"))).unwrap();
            ledger.flush().unwrap();
            assert_eq!(frames(&disk).last().unwrap().1.as_micros(), MARCH + 4_000_000);
            ledger.reader().recorded_at(Seq(1)).ok(); // true or an error
            ledger.reader().last_recorded(Timestamp::MAX).ok();
        }
    }
}

/// Behind a fault each proven record still says its time, and an erasure that is carried along keeps that of the one it stands for.
#[test]
fn salvage_keeps_times() {
    let (disk, mut ledger) = four_seconds();
    let whom = ErasureSubject::Ids(BTreeSet::from([id("bob")]));
    ledger.erase(&[ErasureRequest::new(at(0), whom, "asked")]).unwrap(); // five seconds after midnight, and six
    drop(ledger);
    let (damaged, _, (file, offset)) = frames(&disk)[3].clone();
    disk.write_at(&file, offset as u64 + 48, &[0xff; 4]).unwrap();
    let mut salvage = Salvage::look_in(disk.clone(), None, &mut |_| {}).unwrap();
    let copy = Arc::new(Memory::new());
    salvage.write_ledger(&*copy).unwrap();
    let mut beyond = Vec::new();
    salvage
        .beyond(&mut |record| {
            beyond.push((record.seq.0, record.recorded_at));
            Ok(())
        })
        .unwrap();
    let expected: Vec<(u64, Timestamp)> = frames(&disk)[4..]
        .iter()
        .flat_map(|(records, time, _)| records.clone().map(|seq| (seq, *time)))
        .collect();
    assert_eq!(beyond, expected);
    let seconds: Vec<i64> =
        frames(&copy).iter().map(|(_, time, _)| (time.as_micros() - MARCH) / 1_000_000).collect();
    assert_eq!(seconds, [1, 2, 3, 5]);
    let opened = LedgerOptions::new().clock(|| Timestamp::MIN).open_in(copy.clone()).unwrap();
    assert_eq!(opened.reader().recorded_at(Seq(damaged.start)).unwrap(), Some(at(MARCH + 5_000_000)));
}

/// No program reads two formats. The error says which one this is, and the way out.
#[test]
fn a_ledger_of_format_1_is_refused_by_name() {
    let (disk, ledger) = four_seconds();
    drop(ledger);
    let of_version_1 = |file: &str| {
        let disk = Memory::clone(&disk);
        disk.write_at(file, 8, &[1]).unwrap();
        let mut bytes = read(&disk, file);
        if file == "LEDGER" {
            let end = bytes.len() - 32;
            let digest = blake3::derive_key("identity-ledger 2026-11-23 v1 file", &bytes[..end]);
            bytes[end..].copy_from_slice(&digest);
        } else {
            let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[..92]);
            bytes[92..96].copy_from_slice(&crc.to_le_bytes());
        }
        disk.write_at(file, 0, &bytes).unwrap();
        Arc::new(disk)
    };
    let whole = of_version_1("LEDGER");
    let error = LedgerOptions::new().open_in(whole.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Identity(IdentityError::Older { found: 1, .. })), "{error}");
    let says =
        "format version 1; this version reads 2 only. Export its operations with the program that wrote it";
    let errors = [
        error.to_string(),
        LedgerOptions::new().read_in(whole.clone()).unwrap_err().to_string(),
        LedgerOptions::new().audit_in(whole.clone()).unwrap_err().to_string(),
        Backup::run_in(whole.clone(), Arc::new(Memory::new()), &mut |_| {}).unwrap_err().to_string(),
        Salvage::look_in(whole, None, &mut |_| {}).unwrap_err().to_string(),
    ];
    errors.iter().for_each(|error| assert!(error.contains(says), "{error}"));

    let segment = of_version_1(SEGMENT);
    let report = LedgerOptions::new().audit_in(segment.clone()).unwrap();
    assert!(
        report.faults[0].what.contains("the segment has format version 1; this version reads 2 only"),
        "{report:?}"
    );
    let error = LedgerOptions::new().open_in(segment).unwrap_err();
    assert!(error.to_string().contains("the segment has format version 1"), "{error}");
}
