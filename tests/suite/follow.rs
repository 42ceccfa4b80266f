//! Followers of a log: equal heads at equal positions, whatever crashed, was opened again, delivered twice, late or out of bounds.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::forge;
use identity_ledger::audit::AuditRemark;
use identity_ledger::backup::Backup;
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::follow::{Delivered, Delivery, FollowError, Followed, LogName};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::check;
use identity_ledger::testing::disk::{DiskFault, SimulatedDisk, Subset};
use identity_ledger::testing::history::{History, IDS, KEYS};
use identity_ledger::*;

pub(super) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

pub(super) fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn ann() -> Operation {
    Operation::properties(at(0), id("ann"))
}

/// What stands in the log.
#[derive(Clone)]
pub(super) enum Content {
    Batch(Vec<Operation>),
    Policy(Policy),
    Erase(ErasureRequest),
}

pub(super) struct Message {
    pub(super) position: u64,
    recorded_at: Timestamp,
    seed: [u8; 32],
    pub(super) content: Content,
}

/// A log, and what it was created with.
pub(super) struct Log {
    name: LogName,
    policy: Policy,
    pub(super) messages: Vec<Message>,
}

/// Some erasure. Much of what it asks for is unknown, erased already, or without values of these keys.
fn erasure(chance: &mut Chance) -> ErasureRequest {
    let [one, other] = [(); 2].map(|()| id(IDS[chance.below(IDS.len())]));
    let subject = [
        ErasureSubject::PersonOf(one.clone()),
        ErasureSubject::Ids([one.clone()].into()),
        ErasureSubject::Ids([one, other].into()),
        ErasureSubject::ReasonOf(Seq(chance.below(60) as u64)),
    ];
    let subject = chance.pick(&subject).clone();
    let keys = KEYS.iter().filter(|_| chance.one_in(3)).map(|key| PropertyKey::new(*key).unwrap());
    let keys: Vec<PropertyKey> = keys.collect();
    let request = ErasureRequest::new(at(chance.below(1_000) as i64), subject.clone(), "request 17");
    if matches!(subject, ErasureSubject::ReasonOf(_)) { request } else { request.with_keys(keys) }
}

impl Log {
    /// Batches of a made-up history, some of them twice, policies, erasures, and what no ledger takes; positions with gaps, and a clock
    /// that jumps.
    pub(super) fn made_up(seed: u64) -> Log {
        let mut chance = Chance::new(seed);
        let policy = Policy::preset([Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3]);
        let mut operations = History::seeded(&policy, seed).operations;
        operations.extend(History::seeded(&policy, seed + 1_000).operations);
        let mut contents = Vec::new();
        while !operations.is_empty() {
            let most = operations.len().min(4);
            let batch: Vec<Operation> = operations.drain(..1 + chance.below(most)).collect();
            if chance.one_in(5) {
                contents.push(Content::Batch(batch.clone()));
            }
            if chance.one_in(9) {
                let unknown = Target::Operation(OperationId(uuid::Uuid::from_u128(u128::MAX)));
                contents.push(Content::Batch(vec![ann(), Operation::retract(at(0), unknown)]));
            }
            if chance.one_in(9) {
                let max_ids_per_person = Some(1 + chance.below(9) as u32);
                contents.push(Content::Policy(Policy { max_ids_per_person, ..policy.clone() }));
            }
            contents.push(Content::Batch(batch));
            if chance.one_in(3) {
                contents.push(Content::Erase(erasure(&mut chance)));
            }
        }
        Log::of(contents, policy, &mut chance)
    }

    pub(super) fn of(contents: Vec<Content>, policy: Policy, chance: &mut Chance) -> Log {
        let (mut position, mut time) = (0, 0);
        let messages = contents.into_iter().map(|content| {
            position += 1 + chance.below(3) as u64;
            time += chance.below(1_000) as i64 - 300;
            let seed = chance.bytes(32).try_into().unwrap();
            Message { position, recorded_at: at(time), seed, content }
        });
        let messages = messages.collect();
        Log { name: LogName::new("shop").unwrap(), policy, messages }
    }

    pub(super) fn delivery(&self, message: &Message) -> Delivery<'_> {
        let Message { position, recorded_at, seed, .. } = *message;
        Delivery { log: &self.name, position, recorded_at, seed }
    }

    /// What every follower is created by.
    pub(super) fn beginning(&self) -> Delivery<'_> {
        Delivery { log: &self.name, position: 0, recorded_at: at(-5), seed: [9; 32] }
    }

    pub(super) fn create(
        &self,
        options: LedgerOptions<'_>,
        disk: Arc<dyn Storage>,
    ) -> Result<Ledger, CreateError> {
        options.follow(&self.beginning()).create_in(disk, Tenant::default(), self.policy.clone())
    }

    /// Gives the answers; `None` if it is rejected.
    pub(super) fn deliver(
        &self,
        ledger: &mut Ledger,
        message: &Message,
    ) -> Result<Option<Vec<Appended>>, FollowError> {
        let delivery = self.delivery(message);
        let delivered = match &message.content {
            Content::Batch(batch) => ledger.append_at(&delivery, batch)?,
            Content::Policy(policy) => ledger.set_policy_at(&delivery, policy)?,
            Content::Erase(request) => {
                let taken = matches!(ledger.erase_at(&delivery, request)?, Delivered::Taken(_));
                return Ok(taken.then(Vec::new));
            }
        };
        Ok(if let Delivered::Taken(answers) = delivered { Some(answers) } else { None })
    }

    /// Delivers everything behind the ledger's position.
    pub(super) fn catch_up(&self, ledger: &mut Ledger) {
        let from = position(ledger);
        for message in self.messages.iter().filter(|message| message.position > from) {
            let _done = self.deliver(ledger, message).unwrap();
        }
    }
}

pub(super) fn position(ledger: &Ledger) -> u64 {
    ledger.reader().followed().expect("it follows").position
}

/// The checkpoints of a follower that nothing happened to, by position. It never takes out of its files what is erased.
pub(super) fn straight(log: &Log) -> (BTreeMap<u64, Checkpoint>, Ledger) {
    let mut ledger = log.create(LedgerOptions::new(), Arc::new(Memory::new())).unwrap();
    let mut heads = BTreeMap::from([(0, ledger.checkpoint())]);
    let (mut rejected, mut duplicates) = (0, 0);
    for message in &log.messages {
        match log.deliver(&mut ledger, message).unwrap() {
            None => {
                rejected += 1;
                assert_eq!(ledger.checkpoint().records, heads.last_entry().unwrap().get().records + 1);
            }
            Some(answers) => {
                duplicates += answers.iter().filter(|answer| answer.outcome().is_none()).count();
            }
        }
        assert_eq!(position(&ledger), message.position);
        heads.insert(message.position, ledger.checkpoint());
    }
    assert!(log.messages.len() < 20 || rejected > 0 && duplicates > 0, "{rejected} {duplicates}");
    (heads, ledger)
}

/// Options that another process may have: chance, clock and segments of its own, and a durability.
fn of_another_process(chance: &mut Chance, durability: Durability) -> LedgerOptions<'static> {
    let segment = [1_024, 4_096, 1 << 20][chance.below(3)];
    LedgerOptions::new().durability(durability).segment_bytes(segment)
}

#[test]
fn equal_heads_at_equal_positions_whatever_happens_to_a_follower() {
    let (mut crashes, mut failures, mut torn, mut resumed) = (0, 0, 0, 0);
    let (mut removals, mut unfinished, mut restored) = (0, 0, 0);
    for seed in 0..60 {
        let log = Log::made_up(seed);
        let (heads, straight) = straight(&log);
        let mut chance = Chance::new(seed + 7);
        let durability =
            [Durability::Immediate, Durability::Witnessed, Durability::Buffered][seed as usize % 3];
        let other = LogName::new("another").unwrap();

        let mut disk = Arc::new(SimulatedDisk::new());
        let sealed = cfg!(feature = "encryption") && seed % 4 == 3;
        let keyed = |options, disk: &Arc<SimulatedDisk>| if sealed { keyed(options, disk) } else { options };
        let mut ledger =
            log.create(keyed(of_another_process(&mut chance, durability), &disk), disk.clone()).unwrap();
        let mut acknowledged = 0;
        let mut backup: Option<Arc<SimulatedDisk>> = None;
        while position(&ledger) < log.messages.last().unwrap().position {
            let here = position(&ledger);
            let next = log.messages.iter().find(|message| message.position > here).unwrap();
            let mut died = false;
            let pending = ledger.reader().erasures_pending();
            let what = if pending > 0 && chance.one_in(3) { 12 + chance.below(2) } else { chance.below(16) };
            match what {
                12 => {
                    let receipts = ledger.finish_erasures(&mut |_| {}).unwrap();
                    assert!(
                        receipts.len() == pending && receipts.iter().all(|it| it.done && it.items.is_some())
                    );
                    removals += usize::from(pending > 0);
                }
                13 => {
                    // The disk fails in the midst of a removal; the next opening finishes it.
                    disk.fail_once(disk.call_count() + chance.below(12) as u64, *chance.pick(&FAULTS));
                    died = true;
                    if ledger.finish_erasures(&mut |_| {}).is_err() {
                        disk = Arc::new(disk.crashed(&some_of(&disk, &mut chance)));
                        unfinished += 1;
                    }
                }
                14 if !sealed => {
                    ledger.flush().unwrap();
                    let copy = backup.get_or_insert_with(|| Arc::new(SimulatedDisk::new())).clone();
                    Backup::run_in(Arc::new(disk.killed()), copy, &mut |_| {}).unwrap();
                }
                15 if !sealed => {
                    // The machine is lost; a backup takes its place, and continues where that is.
                    if let Some(copy) = backup.take() {
                        disk = copy;
                        (died, acknowledged, restored) = (true, 0, restored + 1);
                    }
                }
                0 => {
                    let late = log.messages.iter().rfind(|message| message.position <= here);
                    if let Some(late) = late {
                        let error = log.deliver(&mut ledger, late).unwrap_err();
                        assert!(matches!(error, FollowError::NotForward { position, found, .. }
                            if (position, found) == (here, late.position)));
                    }
                }
                1 => {
                    let stray = Delivery { log: &other, ..log.delivery(next) };
                    let error = ledger.append_at(&stray, &[ann()]).unwrap_err();
                    assert!(matches!(error, FollowError::OtherLog { .. }), "{error}");
                }
                2 => assert!(matches!(ledger.append(ann()), Err(AppendError::Follows { .. }))),
                3 => drop(ledger.snapshot().unwrap()),
                4 => drop(ledger.flush().unwrap()),
                5 => died = true, // closed, and opened again
                6 => {
                    // The power fails, and any of what was not synced may be gone.
                    disk = Arc::new(disk.crashed(&some_of(&disk, &mut chance)));
                    (died, crashes) = (true, crashes + 1);
                }
                7 => {
                    disk.fail_once(disk.call_count() + chance.below(6) as u64, *chance.pick(&FAULTS));
                    died = true;
                    if log.deliver(&mut ledger, next).is_err() {
                        disk = Arc::new(disk.crashed(&some_of(&disk, &mut chance)));
                        failures += 1;
                    }
                }
                _ => {
                    let _done = log.deliver(&mut ledger, next).unwrap();
                    if durability != Durability::Buffered {
                        acknowledged = next.position;
                    }
                }
            }
            if died {
                drop(ledger);
                disk = Arc::new(disk.killed());
                let options = keyed(of_another_process(&mut chance, durability), &disk);
                ledger = options.open_in(disk.clone()).unwrap();
                assert_eq!(ledger.reader().erasures_pending(), 0, "opening finishes what was begun");
                torn += usize::from(ledger.recovery().torn.is_some());
                resumed += usize::from(ledger.recovery().from_snapshot.is_some());
            }
            assert_eq!(
                ledger.checkpoint(),
                heads[&position(&ledger)],
                "seed {seed}, position {}",
                position(&ledger)
            );
            assert!(position(&ledger) >= acknowledged, "seed {seed}: what was acknowledged is there");
        }
        assert_eq!(ledger.reader().state().digest(), straight.reader().state().digest());
        assert_eq!(ledger.reader().content_digest().unwrap(), straight.reader().content_digest().unwrap());
        check(ledger.reader()).unwrap_or_else(|unsound| panic!("{unsound}"));
        drop(ledger.finish_erasures(&mut |_| {}).unwrap());
        ledger.flush().unwrap();
        let disk = Arc::new(disk.killed());
        let report = keyed(LedgerOptions::new(), &disk).audit_in(disk.clone()).unwrap();
        assert!(report.is_ok(), "{:?}", report.faults);
        assert!(!report.remarks.iter().any(|remark| matches!(remark, AuditRemark::PendingErasures(_))));
    }
    assert!(
        crashes > 50 && failures > 10 && torn > 5 && resumed > 20,
        "{crashes} {failures} {torn} {resumed}"
    );
    assert!(removals > 20 && unfinished > 10 && restored > 20, "{removals} {unfinished} {restored}");
}

const FAULTS: [DiskFault; 3] =
    [DiskFault::Fails(std::io::ErrorKind::Other), DiskFault::Short, DiskFault::CleanPages];

/// Some of what was not synced.
fn some_of(disk: &SimulatedDisk, chance: &mut Chance) -> Subset {
    let subsets: Vec<Subset> = Subset::all_or_some(disk.pending(), 3, 12, chance.draw()).collect();
    chance.pick(&subsets).clone()
}

/// With keys that lie on the same disk, and fail with it.
#[cfg(feature = "encryption")]
pub(super) fn keyed(options: LedgerOptions<'static>, disk: &Arc<SimulatedDisk>) -> LedgerOptions<'static> {
    options.keys(Arc::new(identity_ledger::storage::StoredKeys::new(disk.clone(), "a.ring")))
}

#[cfg(not(feature = "encryption"))]
pub(super) fn keyed(options: LedgerOptions<'static>, _: &Arc<SimulatedDisk>) -> LedgerOptions<'static> {
    options
}

/// The ledger is created by the log's first delivery; a crash in the midst of that leaves a whole follower or none.
#[test]
fn a_follower_is_created_whole_and_alike_everywhere() {
    let log = Log::made_up(1);
    let beginning = straight(&log).0[&0];
    let disk = Arc::new(SimulatedDisk::new());
    disk.keep_moments();
    drop(log.create(LedgerOptions::new(), disk.clone()).unwrap());
    let (mut whole, mut none) = (0, 0);
    for (calls, moment) in disk.moments() {
        for subset in Subset::all_or_some(moment.pending(), 4, 30, calls) {
            let after: Arc<dyn Storage> = Arc::new(moment.crashed(&subset));
            match LedgerOptions::new().open_in(after.clone()) {
                Ok(ledger) => {
                    assert_eq!((ledger.checkpoint(), position(&ledger)), (beginning, 0));
                    whole += 1;
                }
                Err(error) => {
                    assert!(matches!(error, OpenError::Identity(_)), "{error}");
                    none += 1;
                }
            }
        }
    }
    assert!(whole > 2 && none > 2, "{whole} {none}");
}

#[test]
fn a_copy_of_a_follower_follows_on() {
    let log = Log::made_up(5);
    let (heads, straight) = straight(&log);
    let disk = Arc::new(Memory::new());
    let mut ledger = log.create(LedgerOptions::new(), disk.clone()).unwrap();
    for message in &log.messages[..log.messages.len() / 2] {
        let _done = log.deliver(&mut ledger, message).unwrap();
    }
    ledger.flush().unwrap();
    let copy = Arc::new(Memory::new());
    Backup::run_in(disk, copy.clone(), &mut |_| {}).unwrap();
    let mut copy = LedgerOptions::new().open_in(copy).unwrap();
    assert_eq!(copy.checkpoint(), heads[&position(&copy)]);
    for ledger in [&mut ledger, &mut copy] {
        log.catch_up(ledger);
        assert_eq!(ledger.checkpoint(), straight.checkpoint());
    }
}

/// Keys are a follower's own, and what they seal is not part of history.
#[cfg(feature = "encryption")]
#[test]
fn a_sealed_follower_has_the_heads_of_an_open_one() {
    let log = Log::made_up(3);
    let (_, straight) = straight(&log);
    let home = tempfile::tempdir().unwrap();
    let rings = ["a.ring", "b.ring"].map(|name| home.path().join(name));
    for ring in &rings {
        let keys = Arc::new(identity_ledger::storage::StoredKeys::file(ring).unwrap());
        let mut ledger = log.create(LedgerOptions::new().keys(keys), Arc::new(Memory::new())).unwrap();
        log.catch_up(&mut ledger);
        assert_eq!(ledger.checkpoint(), straight.checkpoint());
    }
    let [a, b] = rings.map(|ring| std::fs::read(ring).unwrap());
    assert_ne!(a, b, "their keys do not come from the log");
}

#[test]
fn nothing_but_the_log_is_recorded() {
    let log = Log::made_up(2);
    let mut ledger = log.create(LedgerOptions::new(), Arc::new(Memory::new())).unwrap();
    let before = ledger.checkpoint();
    let device = DeviceId::new("tablet").unwrap();
    let pageview = EventName::new("$pageview").unwrap();
    let event = OperationId(uuid::Uuid::from_u128(1));
    let errors = [
        ledger.append(ann()).map(drop).unwrap_err(),
        ledger.append_batch(&[]).map(drop).unwrap_err(),
        ledger.new_device(at(0)).map(drop).unwrap_err(),
        ledger.set_policy(&Policy::default()).map(drop).unwrap_err(),
        ledger.device(device).capture(at(0), pageview, event, Changes::default()).map(drop).unwrap_err(),
    ];
    for error in errors {
        let expected = "this ledger follows the log `shop`, up to position 0 so far, and records nothing else; send it to that log instead";
        assert_eq!(error.to_string(), expected);
    }
    let request = ErasureRequest::new(at(0), ErasureSubject::Ids([id("ann")].into()), "asked");
    let error = ledger.erase(&[request]).unwrap_err();
    assert!(matches!(error, EraseError::Append(AppendError::Follows { .. })), "{error}");
    assert_eq!(ledger.checkpoint(), before);

    let mut other = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let error = other.append_at(&log.delivery(&log.messages[0]), &[ann()]).unwrap_err();
    assert!(
        matches!(error, FollowError::NotAFollower { .. }) && error.to_string().contains("follows no log"),
        "{error}"
    );
    assert_eq!(other.reader().followed(), None);

    let shared = SharedLedger::new(ledger);
    let first = &log.messages[0];
    let Content::Batch(batch) = &first.content else { panic!("a log begins with a batch") };
    assert!(matches!(shared.append_at(&log.delivery(first), batch), Ok(Delivered::Taken(_))));
    assert!(
        matches!(shared.append(ann()), Err(AppendError::Follows { position, .. }) if position == first.position)
    );
    let expected = Followed { log: "shop".to_owned(), position: first.position };
    assert_eq!(shared.read(|reader| reader.followed().cloned()), Some(expected));
}

#[test]
fn a_delivery_out_of_bounds_moves_the_position_and_records_nothing_else() {
    let log = Log::made_up(2);
    let mut ledger = log.create(LedgerOptions::new(), Arc::new(Memory::new())).unwrap();
    let delivery = |position| Delivery { position, ..log.beginning() };
    let too_many = vec![ann(); limits::MAX_BATCH_OPERATIONS + 1];
    let long = "x".repeat(limits::MAX_ID_SCALARS + 1);
    let bad = Policy { blocked_ids: [long].into(), ..Policy::default() };
    let digest = ledger.reader().content_digest().unwrap();
    let rejected = [
        ledger.append_at(&delivery(1), &too_many).unwrap(),
        ledger.append_at(&delivery(2), &[ann(), Operation::retract(at(0), Target::Record(Seq(0)))]).unwrap(),
        ledger.set_policy_at(&delivery(3), &bad).unwrap(),
    ];
    for (rejected, says) in rejected.into_iter().zip(["10001 operations", "operation 1: ", "blocked_ids"]) {
        let Delivered::Rejected(error) = rejected else { panic!("expected {says}: {rejected:?}") };
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!((ledger.checkpoint().records, position(&ledger)), (5, 3));
    assert_eq!(ledger.reader().content_digest().unwrap(), digest);
    assert!(
        matches!(ledger.append_at(&delivery(4), &[]), Ok(Delivered::Taken(answers)) if answers.is_empty())
    );
    assert!(ledger.append_at(&delivery(u64::MAX), &[ann()]).is_ok());
    assert_eq!(position(&ledger), u64::MAX);
}

/// Where a follower continues rests on its log, and not on a snapshot, whatever digests that has.
#[test]
fn a_forged_snapshot_moves_no_position() {
    let log = Log::made_up(2);
    let disk = Arc::new(Memory::new());
    let mut ledger = log.create(LedgerOptions::new(), disk.clone()).unwrap();
    log.catch_up(&mut ledger);
    let (made, genuine) = (ledger.snapshot().unwrap(), position(&ledger));
    drop(ledger);
    let mut bytes = vec![0; usize::try_from(made.bytes).unwrap()];
    disk.read_at(&made.file, 0, &mut bytes).unwrap();
    for claimed in [0, genuine - 1, genuine, genuine + 1, u64::MAX] {
        let forged = forge::with_state(&bytes, |state| {
            let name = log.name.as_str().as_bytes();
            let at = state.windows(name.len()).position(|text| text == name).unwrap() + name.len();
            state[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
        });
        let disk = Arc::new(Memory::clone(&disk));
        disk.write_at(&made.file, 0, &forged).unwrap();
        let ledger = LedgerOptions::new().open_in(disk).unwrap();
        assert_eq!(position(&ledger), genuine);
        assert_eq!(ledger.recovery().from_snapshot.is_some(), claimed == genuine, "{:?}", ledger.recovery());
    }
}

/// The last frame of a follower with other bytes at the end of its body, and a hash that holds: as someone makes it who can write the
/// directory.
#[test]
fn a_position_that_does_not_move_forward_is_named_by_the_audit() {
    const SEGMENT: &str = "log/00000000000000000000.seg";
    let log = Log::made_up(2);
    let disk = Arc::new(Memory::new());
    let mut ledger = log.create(LedgerOptions::new(), disk.clone()).unwrap();
    let before = {
        let _done = ledger.append_at(&Delivery { position: 7, ..log.beginning() }, &[]).unwrap();
        ledger.checkpoint()
    };
    let begin = disk.len(SEGMENT).unwrap().unwrap();
    let _done = ledger.append_at(&Delivery { position: 8, ..log.beginning() }, &[]).unwrap();
    drop(ledger);
    let mut frame = vec![0; usize::try_from(disk.len(SEGMENT).unwrap().unwrap() - begin).unwrap()];
    disk.read_at(SEGMENT, begin, &mut frame).unwrap();
    let body = 48..48 + u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
    assert_eq!(frame[body.end - 8..body.end], 8_u64.to_le_bytes());
    let with = |at: usize, byte: u8| {
        let mut frame = frame.clone();
        frame[at] = byte;
        let parts = [
            &before.head.0[..],
            &frame[4..6],
            &frame[16..32],
            &frame[40..44],
            &frame[8..12],
            &frame[body.clone()],
        ];
        let hash = blake3::derive_key("identity-ledger 2026-11-29 v2 frame", &parts.concat());
        frame[body.end..body.end + 32].copy_from_slice(&hash);
        let disk = Memory::clone(&disk);
        disk.write_at(SEGMENT, begin, &frame).unwrap();
        disk.truncate("HEAD", 0).unwrap(); // it names another head
        LedgerOptions::new().audit_in(Arc::new(disk)).unwrap().faults
    };
    for (position, named) in [(8, false), (7, true), (0, true)] {
        let faults = with(body.end - 8, position);
        let named = [named].iter().filter(|named| **named).count();
        let what = "its position in the followed log is not behind the one before it";
        assert_eq!(faults.iter().filter(|fault| fault.what == what).count(), named, "{position}: {faults:?}");
    }
    let faults = with(body.end - 9, b'q');
    assert!(
        faults.iter().any(|fault| fault.what == "it follows another log than the records before it"),
        "{faults:?}"
    );
}
