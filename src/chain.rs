//! The chain: where claims become records. Checks hashes, order, spelling and numbers; knows nothing of persons.

use crate::codec::CodecError;
use crate::digest::{Digest, Hasher, Purpose};
use crate::frame::{ABSENT, Frame, FrameError, SALT_BYTES};
use crate::id::{LedgerId, Seq, Tenant};
use crate::limits::MAX_RECORDS;
use crate::record::{Change, Commitment, Flags, Other, Verb};
use crate::row::{Kind, Read, Record, Row, Rows, read};
use crate::time::Timestamp;

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

/// A text that is no [`Checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no checkpoint; expected RECORDS:HEAD, such as `120:` and 64 hexadecimal digits")]
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

/// The end of a chain of frames, ready for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    ledger: LedgerId,
    head: Digest,
    next: u64,
    defined: Defined,
}

/// Why a frame cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The bytes are no frame.
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
    /// A record's bytes are no record.
    #[error("record {seq} is unreadable: {source}")]
    Unreadable {
        /// Which record.
        seq: u64,
        /// Why.
        source: CodecError,
    },
    /// A record says something that no writer writes.
    #[error("record {seq} is malformed: {what}")]
    Malformed {
        /// Which record.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A record names a number that no earlier record defined.
    #[error("record {seq} names {what} {number}, but only {defined} are defined")]
    Undefined {
        /// Which record.
        seq: u64,
        /// What kind of thing.
        what: &'static str,
        /// Its number.
        number: u32,
        /// How many are defined.
        defined: u32,
    },
    /// A payload item is not the one its record committed to.
    #[error("the payload of record {seq} is not what was written there: its commitment does not match")]
    Commitment {
        /// Which record.
        seq: u64,
    },
    /// A record folds a component anew, and its earlier records are not at hand.
    #[error("record {seq} folds a component anew, which takes earlier records; walk through the whole log")]
    NeedsPast {
        /// Which record.
        seq: u64,
    },
    /// The ledger is full.
    #[error("the ledger holds {MAX_RECORDS} records, which is the limit")]
    Full,
}

impl Chain {
    /// The empty chain of a ledger. The tenant is part of it: it is part of every person id.
    pub fn new(ledger: LedgerId, tenant: &Tenant) -> Chain {
        let head = Hasher::new(Purpose::Genesis)
            .field(ledger.0.as_bytes())
            .field(tenant.as_str().as_bytes())
            .finish();
        Chain { ledger, head, next: 0, defined: Defined::default() }
    }

    /// A chain that goes on behind what somebody says of it. What follows proves it right or wrong.
    pub(crate) fn resumed(ledger: LedgerId, checkpoint: Checkpoint, defined: Defined) -> Chain {
        Chain { ledger, head: checkpoint.head, next: checkpoint.records, defined }
    }

    /// How many records there are, and the hash of the last frame.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { records: self.next, head: self.head }
    }

    /// Whose chain this is.
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger
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
        let kept = (rows.rows.len(), rows.changes.len());
        let accepted = self.try_accept(frame, rows);
        if accepted.is_err() {
            rows.rows.truncate(kept.0);
            rows.changes.truncate(kept.1);
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
        let mut defined = self.defined;
        let mut at = 0;
        let mut items = Items { payload: frame.payload, at: 0 };
        let first = self.next as u32; // MAX_RECORDS bounds it
        let end = first + header.records;
        let Rows { rows, changes } = rows;
        rows.reserve(header.records as usize);
        for seq in first..end {
            rows.push(Row::new(seq));
            let row = rows.last_mut().expect("pushed just now");
            let read = read(frame.body, at, row, changes)
                .map_err(|source| ChainError::Unreadable { seq: seq.into(), source })?;
            at += read.taken;
            check(row, &read, changes, &mut defined).map_err(|wrong| wrong.at(seq.into()))?;
            if read.has_commitment {
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
        Ok(())
    }

    /// Checks the commitments of a frame's records.
    pub(crate) fn check_items(&self, rows: &Rows, frame: &Frame<'_>) -> Result<(), ChainError> {
        for row in rows.rows.iter().filter(|row| row.has_item()) {
            let record = Record::new(row, rows, frame.body, frame.payload);
            check_item(self.ledger, record)?;
        }
        Ok(())
    }
}

/// Checks that a record's payload item, if it is present, is the one the record committed to.
pub(crate) fn check_item(ledger: LedgerId, record: Record<'_>) -> Result<(), ChainError> {
    match record.salt_and_item() {
        Some((salt, bytes)) if record.commitment() != Some(commit(ledger, record.seq(), salt, bytes)) => {
            Err(ChainError::Commitment { seq: record.seq().0 })
        }
        _ => Ok(()),
    }
}

/// What a body says of its payload item: ledger, place, salt, length and bytes.
pub(crate) fn commit(ledger: LedgerId, seq: Seq, salt: &[u8; SALT_BYTES], bytes: &[u8]) -> Commitment {
    let mut prefix = [0; 48];
    prefix[..16].copy_from_slice(ledger.0.as_bytes());
    prefix[16..24].copy_from_slice(&seq.0.to_le_bytes());
    prefix[24..40].copy_from_slice(salt);
    prefix[40..48].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    Commitment(Hasher::new(Purpose::Commitment).update(&prefix).update(bytes).finish().0)
}

/// Appends a payload item.
pub(crate) fn write_item(salt: &[u8; SALT_BYTES], bytes: &[u8], payload: &mut Vec<u8>) {
    let len = u32::try_from(bytes.len()).expect("MAX_OPERATION_BYTES bounds an item");
    payload.extend_from_slice(&len.to_le_bytes());
    payload.extend_from_slice(salt);
    payload.extend_from_slice(bytes);
}

/// Walks the items of a payload in the order of the records that own them.
struct Items<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Items<'_> {
    /// Says where the next item lies, which belongs to this row.
    fn next(&mut self, seq: u64, row: &mut Row) -> Result<(), ChainError> {
        let short = || ChainError::Malformed { seq, what: "the payload ends before this record's item" };
        let len = self.payload.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or_else(short)?;
        let len = u32::from_le_bytes(*len);
        let at = self.at;
        if len == ABSENT {
            self.at = at + 4;
            row.set_erased();
            return Ok(());
        }
        let end = at as u64 + 4 + SALT_BYTES as u64 + u64::from(len);
        if end > self.payload.len() as u64 {
            return Err(short());
        }
        self.at = end as usize; // at most the payload's length
        row.set_item(u32::try_from(at).expect("a frame is at most 16 MiB"));
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

/// Checks that a record is spelled as a writer spells it and names only numbers that are defined.
#[inline]
fn check(row: &mut Row, read: &Read, changes: &[Change], defined: &mut Defined) -> Result<(), Wrong> {
    if (row.seq == 0) != (row.kind == Kind::Genesis) {
        return Err(Wrong::Malformed("the first record, and no other, is the genesis record"));
    }
    if row.is_operation() {
        return check_operation(row, read, changes, *defined);
    }
    match row.kind {
        Kind::DefineId => {
            if row.class().0 > 3 {
                return Err(Wrong::Malformed("an unknown class of id"));
            }
            row.number(defined.ids);
            defined.ids += 1; // MAX_RECORDS bounds it
        }
        Kind::DefineDevice => {
            check_number("distinct id", row.id.0, defined.ids)?;
            row.number(defined.devices);
            defined.devices += 1;
        }
        Kind::DefineKey => defined.keys += 1,
        Kind::DefineName => defined.names += 1,
        _ => {}
    }
    read.wrong.map_or(Ok(()), |what| Err(Wrong::Malformed(what)))
}

#[inline]
fn check_number(what: &'static str, number: u32, defined: u32) -> Result<(), Wrong> {
    if number < defined { Ok(()) } else { Err(Wrong::Undefined { what, number, defined }) }
}

#[inline]
fn check_operation(row: &Row, read: &Read, changes: &[Change], defined: Defined) -> Result<(), Wrong> {
    let malformed = |what| Err(Wrong::Malformed(what));
    check_number("distinct id", row.id.0, defined.ids)?;
    if let Some(device) = row.device() {
        check_number("device", device.0, defined.devices)?;
    } else if matches!(row.kind, Kind::Switch | Kind::Reset) {
        return malformed("a switch or reset without a device");
    }
    if let Other::Id(id) = row.other() {
        check_number("distinct id", id.0, defined.ids)?;
    }
    if let Some(name) = row.name() {
        check_number("event name", name, defined.names)?;
    }
    if let Some(device) = row.fresh_device() {
        check_number("device", device.0, defined.devices)?;
    }
    if row.refolds() {
        check_refold(row, read, defined)?;
    }
    if Timestamp::from_micros(read.time).is_err() {
        return malformed("a time outside the years 0001 to 9999");
    }
    let flags = row.flags;
    if !flags.has(Flags::GIVEN_ID) && read.has_operation {
        return malformed("an operation id that no flag announces");
    }
    if flags.has(Flags::GIVEN_ID) && flags.has(Flags::DERIVED_ID) {
        return malformed("an operation id both given and derived");
    }
    let both = flags.has(Flags::GROUP_IDENTIFY) && flags.has(Flags::QUIET);
    if flags.is_special_event() && (row.kind != Kind::Capture || both) {
        return malformed("flags of an event on a record that is none, or two kinds at once");
    }
    if flags.has(Flags::PROCESSING_OFF) && flags.has(Flags::INVALID_PROCESSING) {
        return malformed("processing both off and invalid");
    }
    if read.has_detail {
        check_detail(row, read, row.changes_in(changes), defined)
    } else if flags.has(Flags::DERIVED_ID) {
        malformed("a derived id without its item")
    } else {
        Ok(())
    }
}

/// Section H: what a retract or a split says beside its head.
#[cold]
fn check_refold(row: &Row, read: &Read, defined: Defined) -> Result<(), Wrong> {
    if row.target().is_some_and(|target| target >= row.seq) {
        return Err(Wrong::Malformed("it retracts a record that is not before it"));
    }
    if let Some(highest) = read.highest {
        check_number("distinct id", highest.0, defined.ids)?;
    }
    if row.device().is_some() || row.flags.has(Flags::PROCESSING_OFF) {
        return Err(Wrong::Malformed("a retract or split that a device spoke, or with processing off"));
    }
    read.wrong.map_or(Ok(()), |what| Err(Wrong::Malformed(what)))
}

fn check_detail(row: &Row, read: &Read, changes: &[Change], defined: Defined) -> Result<(), Wrong> {
    let malformed = |what| Err(Wrong::Malformed(what));
    if row.kind as u8 >= Kind::Reset as u8 && !changes.is_empty() {
        return malformed("a reset, retract or split with property changes");
    }
    if !changes.is_sorted_by(|a, b| a < b) {
        return malformed("property changes out of order");
    }
    let mut item = row.flags.has(Flags::DERIVED_ID);
    for Change { key, verb } in changes {
        check_number("property key", key.0, defined.keys)?;
        if *verb > Verb::KEPT || *verb == Verb::KEPT && row.kind != Kind::Capture {
            return malformed("an unknown change of a property");
        }
        item |= verb.has_value();
    }
    if changes.is_empty() && !item {
        return malformed("an empty detail");
    }
    if item != read.has_commitment {
        return malformed("a payload item without anything in it, or none where one is due");
    }
    Ok(())
}
