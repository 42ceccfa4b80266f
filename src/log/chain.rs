//! The chain: where claims become records. Checks hashes, order, spelling and numbers; knows nothing of persons.

use crate::log::body::{Body, Change, Commitment, Flags, LinkSource, Verb};
use crate::log::codec::CodecError;
use crate::log::commitment::Commitments;
use crate::log::decode::{self, BLOCK_RECORDS, Beside, Midway, defined_id, plain};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::frame::{ABSENT, Frame, FrameError, SALT_BYTES};
use crate::log::kind::Kind;
use crate::log::record::{Lists, Record, Row, Rows, SEAL_BYTES};
use crate::log::tail;
use crate::log::varint;
use crate::model::id::{LedgerId, Tenant};
use crate::model::limits::MAX_RECORDS;
use crate::model::time::Timestamp;

/// The head of a log: how many records there are and the hash of the last frame.
///
/// Kept outside the ledger, it proves later that nothing before it was changed or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// How many records.
    pub records: u64,
    /// The hash of the frame that holds the last of them.
    pub head: Digest,
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.records, self.head)
    }
}

/// A text that is not a [`Checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a checkpoint; expected RECORDS:HEAD, such as `120:` and 64 hexadecimal digits, of at least one record"
)]
pub struct CheckpointError {
    found: String,
}

impl std::str::FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Checkpoint, CheckpointError> {
        text.split_once(':')
            .and_then(|(records, head)| {
                Some(Checkpoint { records: records.parse().ok()?, head: head.parse().ok()? })
            })
            .filter(|checkpoint| checkpoint.records > 0) // every ledger has a first record, so none would prove nothing
            .ok_or_else(|| CheckpointError { found: text.chars().take(100).collect() })
    }
}

/// How many of each thing have a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defined {
    pub(crate) ids: u32,
    pub(crate) devices: u32,
    pub(crate) keys: u32,
    pub(crate) names: u32,
}

impl Defined {
    /// How many records defined all that.
    pub(crate) fn sum(self) -> u64 {
        [self.ids, self.devices, self.keys, self.names].into_iter().map(u64::from).sum()
    }
}

/// A place between two frames, as it is stored: what a chain knows there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainPlace {
    pub(crate) checkpoint: Checkpoint,
    /// When the frame before it was recorded.
    pub(crate) recorded_at: Timestamp,
    pub(crate) defined: Defined,
}

/// The end of a chain of frames, ready for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    ledger: LedgerId,
    head: Digest,
    next: u64,
    /// When the last frame was recorded; before the first the earliest time there is.
    recorded_at: Timestamp,
    defined: Defined,
    /// Whether payload items are sealed: as `LEDGER` says.
    sealed: bool,
}

/// Why a frame cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame is not the next one.
    #[error("the frame begins with record {found}; expected record {expected}")]
    WrongSeq {
        /// The next record's number.
        expected: u64,
        /// What the frame says.
        found: u64,
    },
    /// The frame's hash is not the one its place and content give.
    #[error(
        "the frame of record {seq} is not what was written there: its hash is {found}; expected {expected}"
    )]
    WrongHash {
        /// The frame's first record.
        seq: u64,
        /// What place and content give.
        expected: Digest,
        /// What the frame carries.
        found: Digest,
    },
    /// The frame was recorded before the frame in front of it.
    #[error(
        "the frame of record {seq} says that it was recorded at {found}; expected {before}, the time of the frame before it, or later"
    )]
    TimeGoesBack {
        /// The frame's first record.
        seq: u64,
        /// The time of the frame before it.
        before: Timestamp,
        /// What the frame says.
        found: Timestamp,
    },
    /// A record's bytes do not decode.
    #[error("record {seq} is unreadable: {source}")]
    Unreadable {
        /// The seq of the unreadable record.
        seq: u64,
        /// Where decoding its bytes failed.
        source: CodecError,
    },
    /// A record says something that no writer writes.
    #[error("record {seq} is malformed: {what}")]
    Malformed {
        /// The seq of the malformed record.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A record names a number that no earlier record defined.
    #[error("record {seq} names {what} {number}, but only {defined} are defined")]
    Undefined {
        /// The seq of the record that uses the number.
        seq: u64,
        /// What kind of thing.
        what: &'static str,
        /// The number that it uses, counted from 0.
        number: u32,
        /// How many are defined.
        defined: u32,
    },
    /// A payload item is not the one its record committed to.
    #[error("the payload of record {seq} is not what was written there: its commitment does not match")]
    Commitment {
        /// The seq of the record that holds the commitment.
        seq: u64,
    },
    /// A sealed payload item does not open.
    #[error(
        "the sealed payload of record {seq} does not open: it is not what was written there, or these keys are not the ledger's"
    )]
    Sealed {
        /// The seq of the record whose payload item does not open.
        seq: u64,
    },
    /// A payload item says that it was sealed with keys that the ring does not have yet. Never taken for a write that was cut off:
    /// what an older ring does not open may be all right.
    #[error(
        "the sealed payload of record {seq} says that its key is of epoch {epoch}, counted from 0, and the ring has {known}: the ring is \
         older than the log, or these bytes are damaged; give the newest ring"
    )]
    LaterKeys {
        /// The seq of the record whose payload item names the later epoch.
        seq: u64,
        /// What it says.
        epoch: u32,
        /// How many epochs the ring has.
        known: u32,
    },
    /// A record refolds a component, and the component's earlier records are not at hand.
    #[error("record {seq} refolds a component, which needs earlier records; walk through the whole log")]
    NeedsPast {
        /// The seq of the retract or split.
        seq: u64,
    },
    /// The ledger is full.
    #[error("the ledger holds {MAX_RECORDS} records, which is the limit")]
    Full,
}

/// Records in a frame from which on their items are checked together.
const ENOUGH_FOR_LANES: usize = 16;

impl Chain {
    /// The empty chain of a ledger. The tenant is part of it: it is part of every person id.
    pub fn new(ledger: LedgerId, tenant: &Tenant) -> Chain {
        let head = Hasher::new(Purpose::Genesis)
            .field(ledger.0.as_bytes())
            .field(tenant.as_str().as_bytes())
            .finish();
        Chain {
            ledger,
            head,
            next: 0,
            recorded_at: Timestamp::MIN,
            defined: Defined::default(),
            sealed: false,
        }
    }

    /// The chain of a ledger whose payload items are sealed, or not.
    pub(crate) fn with_items_sealed(self, sealed: bool) -> Chain {
        Chain { sealed, ..self }
    }

    /// A chain that continues behind a place that is not proven. What follows proves it right or wrong.
    pub(crate) fn resumed(ledger: LedgerId, place: ChainPlace, sealed: bool) -> Chain {
        let ChainPlace { checkpoint: Checkpoint { records, head }, recorded_at, defined } = place;
        Chain { ledger, head, next: records, recorded_at, defined, sealed }
    }

    /// What [`Chain::resumed`] needs to know.
    pub(crate) fn place(&self) -> ChainPlace {
        ChainPlace { checkpoint: self.checkpoint(), recorded_at: self.recorded_at, defined: self.defined }
    }

    /// How many records there are, and the hash of the last frame.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { records: self.next, head: self.head }
    }

    /// Whose chain this is.
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger
    }

    /// When the last frame was recorded; [`Timestamp::MIN`] before the first.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    pub(crate) fn head(&self) -> &Digest {
        &self.head
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    pub(crate) fn defined(&self) -> Defined {
        self.defined
    }

    /// Accepts a frame: its rows are appended to `rows`. On an error neither changes.
    ///
    /// Commitments are checked apart, by [`Chain::check_items`]: a fold needs no payload.
    pub(crate) fn accept(&mut self, frame: &Frame<'_>, rows: &mut Rows) -> Result<(), ChainError> {
        let kept = (rows.rows.len(), rows.lists.len(), rows.far.len());
        let accepted = self.try_accept(frame, rows);
        if accepted.is_err() {
            rows.rows.truncate(kept.0);
            rows.lists.truncate(kept.1);
            rows.far.truncate(kept.2);
        }
        accepted
    }

    fn try_accept(&mut self, frame: &Frame<'_>, rows: &mut Rows) -> Result<(), ChainError> {
        let header = &frame.header;
        if header.first_seq != self.next {
            return Err(ChainError::WrongSeq { expected: self.next, found: header.first_seq });
        }
        if self.next + u64::from(header.records) > MAX_RECORDS {
            return Err(ChainError::Full);
        }
        let expected = frame.hash_after(&self.head);
        if frame.hash != expected {
            return Err(ChainError::WrongHash { seq: self.next, expected, found: frame.hash });
        }
        let (before, found) = (self.recorded_at, header.recorded_at);
        if found < before {
            return Err(ChainError::TimeGoesBack { seq: self.next, before, found });
        }
        let mut defined = self.defined;
        let mut at = 0;
        let mut midway = Midway::default();
        let mut items =
            Items { payload: frame.payload, at: 0, seal: if self.sealed { SEAL_BYTES } else { 0 } };
        let first = self.next as u32; // MAX_RECORDS bounds it
        let end = first + header.records;
        rows.sealed = self.sealed;
        let Rows { rows, lists, far, refolds, .. } = rows;
        rows.reserve(header.records as usize);
        for seq in first..end {
            if ((seq - first) as usize).is_multiple_of(BLOCK_RECORDS) {
                midway = Midway::default();
                lists.begin_block();
            }
            let (begun, before) = (at, midway);
            if let Some(row) = plain(frame.body, &mut at, &mut midway, seq) {
                if is_defined(&row, &defined) {
                    rows.push(row);
                    continue;
                }
                (at, midway) = (begun, before);
            }
            if seq > 0
                && let Some(row) = defined_id(frame.body, &mut at, seq)
            {
                rows.push(row);
                items.next(seq.into(), rows.last_mut().expect("pushed just now"))?;
                defined.ids += 1; // MAX_RECORDS bounds it
                continue;
            }
            let place = rows.len() as u32; // a frame is at most 16 MiB
            rows.push(Row::new(seq));
            let row = rows.last_mut().expect("pushed just now");
            let beside = decode::read(frame.body, &mut at, &mut midway, lists, row)
                .map_err(|source| ChainError::Unreadable { seq: seq.into(), source })?;
            check(row, &beside, lists, &mut defined).map_err(|wrong| wrong.at(seq.into()))?;
            if row.touches_person() {
                far.push(place);
            }
            *refolds |= row.refolds();
            if row.is_erasure() {
                let (body, _) = tail::rare(row.kind, &frame.body[row.at as usize..]).expect("read just now");
                check_erasure(seq, &body, defined).map_err(|wrong| wrong.at(seq.into()))?;
            }
            if row.has_item() {
                items.next(seq.into(), row)?;
            }
        }
        let last = u64::from(end) - 1;
        if at != frame.body.len() {
            return Err(ChainError::Malformed {
                seq: last,
                what: "bytes follow the last record of the frame",
            });
        }
        if items.at != frame.payload.len() {
            return Err(ChainError::Malformed { seq: last, what: "bytes follow the last payload item" });
        }
        self.defined = defined;
        self.head = frame.hash;
        self.next = u64::from(end);
        self.recorded_at = found;
        Ok(())
    }

    /// Checks the commitments of a frame's records.
    pub(crate) fn check_items(&self, rows: &Rows, frame: &Frame<'_>) -> Result<(), ChainError> {
        let commitments = Commitments::of(self.ledger);
        let mut with_items = rows.records(frame).filter(|record| record.row.has_item());
        if rows.rows().len() < ENOUGH_FOR_LANES {
            return with_items.try_for_each(|record| check_item(&commitments, record));
        }
        let first = rows.rows().first().map_or(0, |row| row.seq);
        let mut lanes = commitments.lanes();
        let mut wrong: Option<u32> = None;
        let mut compare = |seq: u32, found: Digest| {
            let row = &rows.rows()[(seq - first) as usize];
            if rows.of(row, frame.body, frame.payload).commitment() != Some(Commitment(found.0)) {
                wrong = Some(wrong.map_or(seq, |before| before.min(seq)));
            }
        };
        for record in with_items {
            if let Some((salt, bytes)) = record.salt_and_item() {
                lanes.push(record.row.seq, &[&record.seq().0.to_le_bytes(), salt, bytes], &mut compare);
            }
        }
        lanes.finish(compare);
        wrong.map_or(Ok(()), |seq| Err(ChainError::Commitment { seq: seq.into() }))
    }
}

/// Checks that a record's payload item, if it is present and can be read, is the one the record committed to.
pub(crate) fn check_item(commitments: &Commitments, record: Record<'_>) -> Result<(), ChainError> {
    match record.salt_and_item() {
        Some((salt, bytes)) if record.commitment() != Some(commitments.commit(record.seq(), salt, bytes)) => {
            Err(ChainError::Commitment { seq: record.seq().0 })
        }
        _ => Ok(()),
    }
}

/// Appends a payload item.
pub(crate) fn write_item(salt: &[u8; SALT_BYTES], bytes: &[u8], payload: &mut Vec<u8>) {
    varint::write(bytes.len() as u64 + 1, payload);
    payload.extend_from_slice(salt);
    payload.extend_from_slice(bytes);
}

/// Walks the items of a payload in the order of the records that own them.
struct Items<'a> {
    payload: &'a [u8],
    at: usize,
    /// By how much each is longer for being sealed.
    seal: usize,
}

impl Items<'_> {
    /// Says where the next item lies, which belongs to this row.
    fn next(&mut self, seq: u64, row: &mut Row) -> Result<(), ChainError> {
        let short = || ChainError::Malformed { seq, what: "the payload ends before this record's item" };
        let at = self.at;
        let len = varint::read(self.payload, &mut self.at).ok_or_else(short)?;
        if len == ABSENT {
            row.set_erased();
            return Ok(());
        }
        let rest = (self.payload.len() - self.at) as u64;
        let taken = (len - 1).saturating_add((SALT_BYTES + self.seal) as u64);
        if taken > rest {
            return Err(short());
        }
        self.at += taken as usize; // at most the payload's length
        row.set_item(at as u32); // a frame is at most 16 MiB
        Ok(())
    }
}

/// What is wrong with a record, before it is known which.
enum Wrong {
    Malformed(&'static str),
    Undefined { what: &'static str, number: u32, defined: u32 },
}

impl Wrong {
    fn at(self, seq: u64) -> ChainError {
        match self {
            Wrong::Malformed(what) => ChainError::Malformed { seq, what },
            Wrong::Undefined { what, number, defined } => {
                ChainError::Undefined { seq, what, number, defined }
            }
        }
    }
}

/// Whether the numbers and the time of a plain capture are in their bounds. In a first record they never are:
/// nothing is defined before it.
#[inline]
fn is_defined(row: &Row, defined: &Defined) -> bool {
    let named = row.name().unwrap_or(u32::MAX) < defined.names; // no number is that high
    (row.id.0 < defined.ids) & named & Timestamp::from_micros(row.time).is_ok()
}

/// Checks that a record is spelled as a writer spells it and names only numbers that are defined.
#[inline]
fn check(row: &mut Row, beside: &Beside, lists: &Lists, defined: &mut Defined) -> Result<(), Wrong> {
    if (row.seq == 0) != (row.kind == Kind::Genesis) {
        return Err(Wrong::Malformed("the first record, and no other, is the genesis record"));
    }
    if row.is_operation() {
        return check_operation(row, beside, lists, *defined);
    }
    match row.kind {
        Kind::DefineId => return Err(Wrong::Malformed("an unknown class of id")), // `defined_id` reads the others
        Kind::DefineDevice => {
            check_number("distinct id", row.id.0, defined.ids)?;
            row.number(defined.devices);
            defined.devices += 1;
        }
        Kind::DefineKey => defined.keys += 1,
        Kind::DefineName => defined.names += 1,
        _ => {}
    }
    beside.wrong.map_or(Ok(()), |what| Err(Wrong::Malformed(what)))
}

/// Checks that an erasure names only what there is, and records before it (H3).
fn check_erasure(seq: u32, body: &Body, defined: Defined) -> Result<(), Wrong> {
    if !body.is_canonical_erasure() {
        return Err(Wrong::Malformed("an erasure out of its bounds or order"));
    }
    let earlier = |record: u32| {
        if record < seq { Ok(()) } else { Err(Wrong::Malformed("an erasure of what comes later")) }
    };
    match body {
        Body::Erase(erasure) => {
            let last = |number: Option<u32>, what, defined| {
                number.map_or(Ok(()), |number| check_number(what, number, defined))
            };
            last(erasure.ids.last().map(|id| id.0), "distinct id", defined.ids)?;
            last(erasure.devices.last().map(|device| device.device.0), "device", defined.devices)?;
            last(erasure.keys.last().map(|key| key.0), "property key", defined.keys)?;
            erasure.records.last().map_or(Ok(()), |record| earlier(*record))?;
            erasure.devices.iter().try_for_each(|device| earlier(device.defined))
        }
        Body::EraseDone(removal) => removal.erasures.last().map_or(Ok(()), |removed| earlier(removed.erase)),
        Body::Restate(restated) => {
            check_number("distinct id", restated.id.0, defined.ids)?;
            earlier(restated.record)
        }
        _ => Ok(()),
    }
}

#[inline]
fn check_number(what: &'static str, number: u32, defined: u32) -> Result<(), Wrong> {
    if number < defined { Ok(()) } else { Err(Wrong::Undefined { what, number, defined }) }
}

#[inline]
fn check_operation(row: &Row, beside: &Beside, lists: &Lists, defined: Defined) -> Result<(), Wrong> {
    let malformed = |what| Err(Wrong::Malformed(what));
    check_number("distinct id", row.id.0, defined.ids)?;
    if let Some(device) = row.device() {
        check_number("device", device.0, defined.devices)?;
    } else if matches!(row.kind, Kind::Switch | Kind::Reset) {
        return malformed("a switch or reset without a device");
    }
    if let LinkSource::Id(id) = row.other() {
        check_number("distinct id", id.0, defined.ids)?;
    }
    if let Some(name) = row.name() {
        check_number("event name", name, defined.names)?;
    }
    if let Some(device) = row.fresh_device() {
        check_number("device", device.0, defined.devices)?;
    }
    if row.refolds() {
        check_refold(row, beside, defined)?;
    }
    if Timestamp::from_micros(row.time).is_err() {
        return malformed("a time outside the years 0001 to 9999");
    }
    if !row.flags.are_usual() {
        check_flags(row)?;
    }
    if row.has_changes() { check_changes(row, lists.get(row.list), defined) } else { Ok(()) }
}

/// Checks flags that most operations have none of.
#[cold]
fn check_flags(row: &Row) -> Result<(), Wrong> {
    let malformed = |what| Err(Wrong::Malformed(what));
    let flags = row.flags;
    if flags.has(Flags::GIVEN_ID) && flags.has(Flags::DERIVED_ID) {
        return malformed("an operation id both given and derived");
    }
    let both = flags.has(Flags::GROUP_IDENTIFY) && flags.has(Flags::QUIET);
    if flags.is_special_event() && (row.kind != Kind::Capture || both) {
        return malformed("flags of an event on a record that is not an event, or two kinds at once");
    }
    if flags.has(Flags::PROCESSING_OFF) && flags.has(Flags::INVALID_PROCESSING) {
        return malformed("processing both off and invalid");
    }
    Ok(())
}

/// Section H: what a retract, a split or a reclassification says beside its head.
#[cold]
fn check_refold(row: &Row, beside: &Beside, defined: Defined) -> Result<(), Wrong> {
    if row.target().is_some_and(|target| target >= row.seq) {
        return Err(Wrong::Malformed("it retracts a record that is not before it"));
    }
    if let Some(highest) = beside.highest {
        check_number("distinct id", highest.0, defined.ids)?;
    }
    if row.device().is_some() || row.flags.has(Flags::PROCESSING_OFF) {
        return Err(Wrong::Malformed(
            "a retract, split or reclassify that a device spoke, or with processing off",
        ));
    }
    Ok(())
}

/// Their order, and that there are some, is what their spelling says.
fn check_changes(row: &Row, changes: &[Change], defined: Defined) -> Result<(), Wrong> {
    if matches!(row.kind, Kind::Reset | Kind::Retract | Kind::Split | Kind::Reclassify) {
        return Err(Wrong::Malformed("a reset, retract, split or reclassify with property changes"));
    }
    if row.kind != Kind::Capture && changes.iter().any(|change| change.verb == Verb::KEPT) {
        return Err(Wrong::Malformed("an event's own property on a record that is not an event"));
    }
    let counts = |change: &&Change| change.verb != Verb::KEPT;
    let mut keys = changes.chunk_by(|a, b| a.key == b.key);
    let is_odd = |key: &[Change]| {
        key.iter().any(|change| change.verb.is_relative()) && key.iter().filter(counts).count() > 1
    };
    if row.flags.has(Flags::RELATIVE) && keys.any(is_odd) {
        return Err(Wrong::Malformed("a relative change beside another change of its key"));
    }
    changes.last().map_or(Ok(()), |last| check_number("property key", last.key.0, defined.keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::AskedVerb::{Alias, Capture, Identify, Merge, Reset, Retract, Set, Split, Switch};
    use crate::log::body::{
        Asked, AskedVerb, Body, Commitment, CutOff, DeviceNo, ErasedDevice, Erasure, ErasureCompletion,
        Followed, IdNo, KeyNo, NameNo, OperationHeader, Removal, Restated, SplitOff, StoredClass,
        StoredPolicy,
    };
    use crate::log::encode::BodyWriter;
    use crate::log::frame::{self, Header};
    use crate::model::id::Seq;
    use crate::model::limits::MAX_LOG_NAME_BYTES;
    use crate::model::policy::Policy;

    const LEDGER: LedgerId = LedgerId(uuid::Uuid::from_u128(5));
    const SALT: [u8; SALT_BYTES] = [3; SALT_BYTES];

    /// A frame that follows `chain`: these bodies, and an item with the text `x` for each of the seqs.
    fn framed(chain: &Chain, bodies: &[Body], items: &[u64]) -> Vec<u8> {
        frame_of(chain, &BodyWriter::of(bodies), bodies.len() as u32, items)
    }

    fn frame_of(chain: &Chain, body: &[u8], records: u32, items: &[u64]) -> Vec<u8> {
        let mut payload = Vec::new();
        items.iter().for_each(|_| write_item(&SALT, b"x", &mut payload));
        let header = Header {
            body_len: body.len() as u32,
            payload_len: payload.len() as u32,
            first_seq: chain.next,
            recorded_at: chain.recorded_at,
            records,
            durable: 0,
        };
        let mut frame = Vec::new();
        frame::write(header, body, &payload, LEDGER, &chain.head, &mut frame);
        frame
    }

    fn accept(chain: &mut Chain, frame: &[u8]) -> Result<Rows, ChainError> {
        let mut rows = Rows::default();
        let frame = Frame::parse(frame, LEDGER)?;
        chain.accept(&frame, &mut rows)?;
        chain.check_items(&rows, &frame)?;
        Ok(rows)
    }

    fn item(seq: u64) -> Commitment {
        Commitments::of(LEDGER).commit(Seq(seq), &SALT, b"x")
    }

    fn genesis() -> Body {
        Body::Genesis(Box::new(StoredPolicy::from(&Policy::default())))
    }

    /// A chain of five records: the policy, and one of each thing that can be defined. Each has the number 0.
    fn begun() -> Chain {
        let mut chain = Chain::new(LEDGER, &Tenant::default());
        let bodies = [
            genesis(),
            Body::DefineId(StoredClass(0), item(1)),
            Body::DefineDevice(IdNo(0), item(2)),
            Body::DefineKey(item(3)),
            Body::DefineName(item(4)),
        ];
        let frame = framed(&chain, &bodies, &[1, 2, 3, 4]);
        accept(&mut chain, &frame).expect("a writer could have written it");
        chain
    }

    fn head(flags: u16) -> OperationHeader {
        OperationHeader { id: IdNo(0), device: None, time: 0, operation: [0; 16], flags: Flags(flags) }
    }

    fn change(key: u32, verb: u8) -> Change {
        Change { key: KeyNo(key), verb: Verb(verb) }
    }

    fn leavers(ids: &[u32]) -> SplitOff {
        SplitOff { together: false, ids: ids.iter().copied().map(IdNo).collect() }
    }

    /// With the commitment of record 5, which is the next, if it has one.
    fn op(head: OperationHeader, verb: AskedVerb, changes: &[Change], has_item: bool) -> Body {
        let item = has_item.then(|| item(5));
        Body::Operation(Box::new(Asked { head, verb, changes: changes.to_vec(), item }))
    }

    /// Gives what is wrong with a record that follows [`begun`], as it is said.
    fn wrong(body: &Body, has_item: bool) -> String {
        let mut chain = begun();
        let before = chain.clone();
        let items: &[u64] = if has_item { &[5] } else { &[] };
        let frame = framed(&chain, std::slice::from_ref(body), items);
        match accept(&mut chain, &frame) {
            Ok(_) => {
                assert_eq!(chain.next_seq(), 6, "{body:?}");
                String::new()
            }
            Err(error) => {
                assert_eq!(chain, before, "what is refused changes nothing: {body:?}");
                error.to_string()
            }
        }
    }

    /// A right checksum and a right hash do not make a record: anyone who can write to the directory can make
    /// both.
    #[test]
    fn every_check_of_a_record_on_both_of_its_sides() {
        let device = |id| OperationHeader { device: Some(DeviceNo(id)), ..head(0) };
        let of = |id| OperationHeader { id: IdNo(id), ..head(0) };
        let at = |time| OperationHeader { time, ..head(0) };
        let (on, off, given, derived, invalid) = (head(0), head(1), head(2), head(4), head(8));
        let (group, quiet) = (head(1 << 6), head(1 << 7));
        let (set, unset, kept, add) = (change(0, 0), change(0, 2), change(0, 3), change(0, 4));
        let relative = head(1 << 9);
        let relative_device = OperationHeader { device: Some(DeviceNo(0)), ..relative };
        let cases: [(&str, bool, Body); 67] = [
            ("", false, op(on, Capture(None), &[], false)),
            ("", false, op(on, Capture(Some(NameNo(0))), &[], false)),
            ("names event name 1", false, op(on, Capture(Some(NameNo(1))), &[], false)),
            ("names distinct id 1", false, op(of(1), Capture(None), &[], false)),
            ("", false, op(device(0), Capture(None), &[], false)),
            ("names device 1", false, op(device(1), Capture(None), &[], false)),
            ("", false, op(on, Alias(LinkSource::Id(IdNo(0))), &[], false)),
            ("names distinct id 1", false, op(on, Alias(LinkSource::Id(IdNo(1))), &[], false)),
            ("names distinct id 1", false, op(of(1), Identify(LinkSource::None), &[], false)),
            ("is unreadable", false, op(on, Alias(LinkSource::Id(IdNo(u32::MAX))), &[], false)), // it stands for none
            ("is unreadable", false, op(on, Alias(LinkSource::Id(IdNo(u32::MAX - 1))), &[], false)), // and this for unstorable
            ("", false, op(on, Merge(LinkSource::Unstorable), &[], false)),
            ("", false, op(device(0), Switch, &[], false)),
            ("a switch or reset without a device", false, op(on, Switch, &[], false)),
            ("", false, op(device(0), Reset(None), &[], false)),
            ("", false, op(device(0), Reset(Some(DeviceNo(0))), &[], false)),
            ("names device 1", false, op(device(0), Reset(Some(DeviceNo(1))), &[], false)),
            ("a switch or reset without a device", false, op(on, Reset(None), &[], false)),
            ("reclassify with property changes", false, op(device(0), Reset(None), &[unset], false)),
            ("", false, op(on, Retract(4), &[], false)),
            ("a record that is not before it", false, op(on, Retract(5), &[], false)),
            ("that a device spoke", false, op(device(0), Retract(4), &[], false)),
            ("with processing off", false, op(off, Retract(4), &[], false)),
            ("reclassify with property changes", false, op(on, Retract(4), &[unset], false)),
            ("", false, op(on, Split(leavers(&[0])), &[], false)),
            ("names distinct id 1", false, op(on, Split(leavers(&[1])), &[], false)),
            ("is unreadable: a split names no ids", false, op(on, Split(leavers(&[])), &[], false)),
            ("is unreadable", false, op(on, Split(leavers(&[0, 0])), &[], false)),
            ("that a device spoke", false, op(device(0), Split(leavers(&[0])), &[], false)),
            ("with processing off", false, op(off, Split(leavers(&[0])), &[], false)),
            ("reclassify with property changes", false, op(on, Split(leavers(&[0])), &[unset], false)),
            ("", true, op(OperationHeader { flags: derived.flags, ..device(0) }, Reset(None), &[], true)),
            ("", false, op(at(Timestamp::MAX.as_micros()), Set, &[], false)),
            ("a time outside", false, op(at(Timestamp::MAX.as_micros() + 1), Set, &[], false)),
            ("a time outside", false, op(at(Timestamp::MIN.as_micros() - 1), Set, &[], false)),
            ("", false, op(OperationHeader { operation: [1; 16], ..given }, Set, &[], false)),
            ("", false, op(given, Set, &[], false)),
            ("both given and derived", true, op(head(2 | 4), Set, &[], true)),
            ("", true, op(derived, Set, &[], true)),
            ("is unreadable: the bytes end", false, op(derived, Set, &[], false)), // a derived id without its item
            ("", false, op(group, Capture(None), &[], false)),
            ("", false, op(quiet, Capture(None), &[], false)),
            ("flags of an event", false, op(group, Set, &[], false)),
            ("flags of an event", false, op(quiet, Set, &[], false)),
            ("flags of an event", false, op(head(3 << 6), Capture(None), &[], false)),
            ("", false, op(off, Set, &[], false)),
            ("", false, op(invalid, Set, &[], false)),
            ("both off and invalid", false, op(head(1 | 8), Set, &[], false)),
            ("bytes follow the last record", true, op(on, Set, &[], true)), // an item of nothing
            ("", false, op(head(1 << 8), Set, &[], false)),
            ("", true, op(relative, Set, &[add], true)), // by the last flag there is
            ("flags that this version does not know", false, op(head(1 << 10), Set, &[], false)),
            ("that some are relative", false, op(relative, Set, &[], false)),
            ("that some are relative", true, op(relative, Set, &[set], true)),
            ("", true, op(relative, Capture(None), &[kept, add], true)),
            ("beside another change of its key", true, op(relative, Set, &[unset, add], true)),
            ("reclassify with property changes", true, op(relative_device, Reset(None), &[add], true)),
            ("", true, op(on, Set, &[set], true)),
            ("is unreadable: the bytes end", false, op(on, Set, &[set], false)), // values without an item
            ("", false, op(on, Set, &[unset], false)),
            ("bytes follow the last record", true, op(on, Set, &[unset], true)),
            ("", true, op(on, Set, &[set, unset], true)),
            ("property changes out of order", true, op(on, Set, &[unset, set], true)),
            ("property changes out of order", true, op(on, Set, &[set, set], true)),
            ("names property key 1", false, op(on, Set, &[change(1, 2)], false)),
            ("", true, op(on, Capture(None), &[kept], true)),
            ("an event's own property", true, op(on, Set, &[kept], true)),
        ];
        for (expected, has_item, body) in cases {
            let found = wrong(&body, has_item);
            let fits = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
            assert!(fits, "expected `{expected}`, found `{found}`: {body:?}");
        }
    }

    /// What most records are is read in one step, and asked in one question whether all is well with it.
    #[test]
    fn a_plain_capture_names_what_is_defined_in_a_year_that_there_is() {
        for (id, name, past) in (0..27).map(|case| (case % 3, case / 3 % 3, case / 9)) {
            let time = Timestamp::MAX.as_micros() + i64::from(past);
            let head = OperationHeader { id: IdNo(id), time, operation: [1; 16], ..head(Flags::GIVEN_ID.0) };
            let found = wrong(&op(head, Capture(Some(NameNo(name))), &[], false), false);
            let expected = match (id, name, past) {
                (0, 0, 0) => String::new(),
                (0, 0, _) => "record 5 is malformed: a time outside the years 0001 to 9999".to_owned(),
                (0, _, _) => format!("record 5 names event name {name}, but only 1 are defined"),
                _ => format!("record 5 names distinct id {id}, but only 1 are defined"),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_erasure_names_what_is_there_and_came_before_it() {
        let none = || Erasure {
            time: 0,
            ids: Vec::new(),
            devices: Vec::new(),
            records: Vec::new(),
            keys: Vec::new(),
            reason: None,
        };
        let ids = |ids: &[u32]| Erasure { ids: ids.iter().copied().map(IdNo).collect(), ..none() };
        let device = |device, defined| {
            let device = ErasedDevice { device: DeviceNo(device), defined };
            Erasure { devices: vec![device], ..none() }
        };
        let record = |record| Erasure { records: vec![record], ..none() };
        let keys = |key| Erasure { keys: vec![KeyNo(key)], ..record(4) };
        let erase = |erasure| Body::Erase(Box::new(erasure));
        let done = |erase: &[u32]| {
            let erasures = erase.iter().map(|erase| ErasureCompletion { erase: *erase, items: 1 }).collect();
            Body::EraseDone(Box::new(Removal { erasures, segments: Vec::new() }))
        };
        let restate = |record, id, erased: &[u16]| {
            Body::Restate(Box::new(Restated { record, id: IdNo(id), erased: erased.to_vec(), item: None }))
        };
        let (later, disorder) = ("an erasure of what comes later", "an erasure out of its bounds or order");
        let cases = [
            ("", erase(ids(&[0]))),
            ("names distinct id 1", erase(ids(&[0, 1]))),
            (disorder, erase(ids(&[0, 0]))),
            (disorder, erase(none())),
            ("", erase(device(0, 2))),
            ("names device 1", erase(device(1, 2))),
            (later, erase(device(0, 5))),
            ("", erase(record(4))),
            (later, erase(record(5))),
            ("", erase(keys(0))),
            ("names property key 1", erase(keys(1))),
            ("", done(&[4])),
            (later, done(&[5])),
            (disorder, done(&[4, 3])),
            ("", restate(4, 0, &[0])),
            (later, restate(5, 0, &[0])),
            ("names distinct id 1", restate(4, 1, &[0])),
            (disorder, restate(4, 0, &[])),
        ];
        for (expected, body) in cases {
            let found = wrong(&body, false);
            let fits = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
            assert!(fits, "expected `{expected}`, found `{found}`: {body:?}");
        }
    }

    #[test]
    fn definitions_are_checked_too() {
        assert_eq!(wrong(&Body::DefineId(StoredClass(2), item(5)), true), "");
        assert_eq!(wrong(&Body::DefineId(StoredClass(3), item(5)), true), "");
        assert!(
            wrong(&Body::DefineId(StoredClass(17 << 2), item(5)), true).contains("an unknown class of id")
        );
        assert_eq!(wrong(&Body::DefineDevice(IdNo(0), item(5)), true), "");
        assert!(wrong(&Body::DefineDevice(IdNo(1), item(5)), true).contains("names distinct id 1"));
        assert_eq!(wrong(&Body::Recovered(CutOff { bytes: 1, digest: [0; 32] }), false), "");
        let followed = |bytes| Body::Followed(Box::new(Followed { log: "x".repeat(bytes), position: 1 }));
        assert_eq!(wrong(&followed(1), false), "");
        assert_eq!(wrong(&followed(MAX_LOG_NAME_BYTES), false), "");
        for bytes in [0, MAX_LOG_NAME_BYTES + 1] {
            assert!(wrong(&followed(bytes), false).contains("name of a followed log is out of its bounds"));
        }
        assert!(wrong(&genesis(), false).contains("and no other, is the genesis record"));
        assert!(wrong(&Body::DefineKey(item(5)), false).contains("ends before this record's item"));
        assert!(wrong(&op(head(0), Set, &[], false), true).contains("bytes follow the last payload item"));
        let mut chain = begun();
        let frame = framed(&chain, &[Body::DefineKey(item(6))], &[5]); // the item of another place
        assert_eq!(accept(&mut chain, &frame).unwrap_err(), ChainError::Commitment { seq: 5 });
        for first in [Body::DefineKey(item(0)), Body::DefineId(StoredClass(0), item(0))] {
            let mut chain = Chain::new(LEDGER, &Tenant::default());
            let frame = framed(&chain, &[first], &[0]);
            let error = accept(&mut chain, &frame).unwrap_err();
            assert!(error.to_string().contains("and no other, is the genesis record"), "{error}");
        }
    }

    #[test]
    fn a_policy_has_one_spelling() {
        let mut chain = Chain::new(LEDGER, &Tenant::default());
        let mut body = BodyWriter::of(&[genesis()]);
        body[2] = 3; // a way to count UUIDs that no policy has
        let frame = frame_of(&chain, &body, 1, &[]);
        let error = accept(&mut chain, &frame).unwrap_err();
        assert!(error.to_string().contains("out of its bounds or not canonical"), "{error}");
    }

    #[test]
    fn bytes_behind_the_last_record_are_named_by_it() {
        let mut chain = begun();
        let set = op(head(0), Set, &[], false);
        let mut body = BodyWriter::of(&[set.clone(), set]);
        body.push(0);
        let frame = frame_of(&chain, &body, 2, &[]);
        let expected = ChainError::Malformed { seq: 6, what: "bytes follow the last record of the frame" };
        assert_eq!(accept(&mut chain, &frame).unwrap_err(), expected);
    }

    #[test]
    fn an_item_may_be_the_last_bytes_of_its_payload_and_lie_anywhere_in_it() {
        let mut chain = begun();
        let bodies = [Body::DefineKey(item(5)), Body::DefineKey(item(6)), Body::DefineKey(item(7))];
        let frame = framed(&chain, &bodies, &[5, 6, 7]);
        assert_eq!(accept(&mut chain, &frame).unwrap().rows.len(), 3);
        assert_eq!((chain.defined().keys, chain.defined().sum()), (4, 7));
        let mut cut = Items { payload: &[0b101], at: 0, seal: 0 }; // says one byte, and has no salt
        assert!(cut.next(5, &mut Row::new(5)).is_err());
    }

    #[test]
    fn a_full_ledger_says_so_and_not_before() {
        let with = |next| {
            let mut chain = Chain { next, ..begun() };
            let frame = framed(&chain, &[op(head(0), Set, &[], false)], &[]);
            accept(&mut chain, &frame).map(|_| ())
        };
        assert_eq!(with(MAX_RECORDS - 1), Ok(()));
        assert_eq!(with(MAX_RECORDS), Err(ChainError::Full));
    }

    #[test]
    fn a_checkpoint_prints_and_reads_back() {
        let checkpoint = begun().checkpoint();
        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        assert!(checkpoint.to_string().starts_with("5:"));
    }
}
