//! Rows: what a fold needs of a record, at fixed width; and [`Record`], the record itself, read from its
//! bytes when more is needed.
//!
//! A replay meets millions of captures and needs five numbers of each. So the bytes of operations and definitions are read by
//! hand, field by field, into rows that own nothing; the codec reads only what is rare. A test holds the two readers together.

use std::ops::Range;

use crate::log::body::{
    Body, Change, Commitment, DeviceNo, Flags, IdNo, KeyNo, LinkSource, OperationHeader, SplitOff,
    StoredClass, Verb,
};
use crate::log::codec::CodecError;
use crate::log::frame::SALT_BYTES;
use crate::model::id::{OperationId, Seq};
use crate::model::limits::MAX_SPLIT_IDS;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of an authentication tag.
pub(crate) const TAG_BYTES: usize = 16;
/// By how much a sealed item is longer than an open one.
pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// What a record is; the numbers are those of [`Body`]'s variants as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Genesis,
    SetPolicy,
    Recovered,
    DefineId,
    DefineDevice,
    DefineKey,
    DefineName,
    Capture,
    Identify,
    Alias,
    Merge,
    Set,
    Switch,
    Reset,
    Retract,
    Split,
    Erase,
    EraseDone,
    Restate,
    Followed,
}

/// Stands for "none" among numbers; limits.rs keeps every real number below it.
const NONE: u32 = u32::MAX;
/// Stands for an S that cannot be stored (B1), and for an item that was erased.
const UNSTORABLE: u32 = u32::MAX - 1;
const ERASED: u32 = u32::MAX - 1;
/// Stands for the place of an item whose key was destroyed.
const DESTROYED: u32 = u32::MAX - 2;

/// What a fold needs of one record: 32 bytes, two to a cache line. The rest is looked up in the record's bytes when it is asked
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// How many changes follow `changes_at`.
    changes: u16,
    pub(crate) seq: u32,
    /// T, or the first id of a device.
    pub(crate) id: IdNo,
    /// What else a record of this kind names: S of a link, the name of a capture, the fresh device of a reset, the class of an
    /// id, the record that is retracted.
    other: u32,
    /// The device that spoke, or that is defined here.
    device: u32,
    changes_at: u32,
    /// Where the record's bytes begin in the frame's body.
    at: u32,
    /// Where its payload item begins in the frame's payload; NONE if it has none, ERASED if it was erased, DESTROYED if its key was.
    item_at: u32,
}

impl Row {
    /// A row that says nothing yet.
    pub(crate) fn new(seq: u32) -> Row {
        Row {
            kind: Kind::Genesis,
            flags: Flags::default(),
            changes: 0,
            seq,
            id: IdNo(NONE),
            other: NONE,
            device: NONE,
            changes_at: 0,
            at: 0,
            item_at: NONE,
        }
    }

    /// S of an identify, alias or merge. Other kinds keep another number in this field.
    pub(crate) fn other(&self) -> LinkSource {
        match self.other {
            _ if !matches!(self.kind, Kind::Identify | Kind::Alias | Kind::Merge) => LinkSource::None,
            NONE => LinkSource::None,
            UNSTORABLE => LinkSource::Unstorable,
            id => LinkSource::Id(IdNo(id)),
        }
    }

    /// S of a link; of anything else T again.
    pub(crate) fn other_end(&self) -> IdNo {
        let links =
            matches!(self.kind, Kind::Identify | Kind::Alias | Kind::Merge) & (self.other < UNSTORABLE);
        if links { IdNo(self.other) } else { self.id }
    }

    pub(crate) fn device(&self) -> Option<DeviceNo> {
        (self.device != NONE).then_some(DeviceNo(self.device))
    }

    /// The fresh device of a reset.
    pub(crate) fn fresh_device(&self) -> Option<DeviceNo> {
        (self.kind == Kind::Reset && self.other != NONE).then_some(DeviceNo(self.other))
    }

    /// The number of a capture's name.
    pub(crate) fn name(&self) -> Option<u32> {
        (self.kind == Kind::Capture && self.other != NONE).then_some(self.other)
    }

    /// The record that is retracted here.
    pub(crate) fn target(&self) -> Option<u32> {
        (self.kind == Kind::Retract).then_some(self.other)
    }

    /// Whether folding this record refolds a whole component (section H).
    pub(crate) fn refolds(&self) -> bool {
        matches!(self.kind, Kind::Retract | Kind::Split)
    }

    /// Gives the definition of a device the number that the chain counted.
    pub(crate) fn number(&mut self, number: u32) {
        self.device = number;
    }

    /// The same record among other ids and devices, each number replaced by what `ids` and `devices` give for it.
    pub(crate) fn relabelled(
        mut self,
        ids: impl Fn(IdNo) -> IdNo,
        devices: impl Fn(DeviceNo) -> DeviceNo,
    ) -> Row {
        if self.is_operation() || self.kind == Kind::DefineDevice {
            self.id = ids(self.id);
        }
        if let LinkSource::Id(other) = self.other() {
            self.other = ids(other).0;
        }
        if let Some(fresh) = self.fresh_device() {
            self.other = devices(fresh).0;
        }
        if let Some(device) = self.device() {
            self.device = devices(device).0;
        }
        self
    }

    /// The same record with its bytes and changes elsewhere, and its payload left behind.
    pub(crate) fn moved(mut self, at: u32, changes_at: u32) -> Row {
        (self.at, self.changes_at) = (at, changes_at);
        if self.has_item() {
            self.set_erased();
        }
        self
    }

    /// Where the record's bytes begin in its frame's body.
    pub(crate) fn begins(&self) -> usize {
        self.at as usize
    }

    /// The class of an id that is defined here.
    pub(crate) fn class(&self) -> StoredClass {
        assert!(self.kind == Kind::DefineId, "only ids have a class");
        StoredClass(self.other as u8) // a byte was put there
    }

    pub(crate) fn is_operation(&self) -> bool {
        (self.kind as u8).wrapping_sub(Kind::Capture as u8) < Kind::Erase as u8 - Kind::Capture as u8
    }

    /// Whether folding it touches more than its own id: an operation that links, or changes properties.
    pub(crate) fn touches_person(&self) -> bool {
        self.is_operation() & ((self.kind != Kind::Capture) | self.has_changes())
    }

    /// Whether it is a record of an erasure.
    pub(crate) fn is_erasure(&self) -> bool {
        matches!(self.kind, Kind::Erase | Kind::EraseDone | Kind::Restate)
    }

    /// Whether it says something of an id whose payload item goes with that id: an operation, or what is left of one.
    pub(crate) fn speaks_for_id(&self) -> bool {
        self.is_operation() || self.kind == Kind::Restate
    }

    pub(crate) fn has_changes(&self) -> bool {
        self.changes != 0
    }

    /// Whether it has a payload item, which may be erased.
    pub(crate) fn has_item(&self) -> bool {
        self.item_at != NONE
    }

    /// This row's changes among those of its frame.
    pub(crate) fn changes_in<'c>(&self, changes: &'c [Change]) -> &'c [Change] {
        &changes[self.changes_at as usize..][..usize::from(self.changes)]
    }

    pub(crate) fn set_item(&mut self, at: u32) {
        self.item_at = at;
    }

    /// Whether its payload item is not there.
    pub(crate) fn is_erased(&self) -> bool {
        self.item_at == ERASED || self.is_destroyed()
    }

    pub(crate) fn set_erased(&mut self) {
        self.item_at = ERASED;
    }

    /// Whether its payload item is there, and the key that would open it is not.
    pub(crate) fn is_destroyed(&self) -> bool {
        self.item_at == DESTROYED
    }

    pub(crate) fn set_destroyed(&mut self) {
        self.item_at = DESTROYED;
    }
}

/// The rows of a frame, and the changes they speak of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) changes: Vec<Change>,
    /// The places of those that reach far, ascending.
    pub(crate) far: Vec<u32>,
    /// Whether one of them refolds a component: most frames need not be searched for such a record.
    pub(crate) refolds: bool,
    /// Whether their payload items are sealed: then they have places, and nothing in them can be read.
    pub(crate) sealed: bool,
}

impl Rows {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.changes.clear();
        self.far.clear();
        self.refolds = false;
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.changes.capacity() * size_of::<Change>()
    }

    /// The row of a record, if the frame holds it.
    pub(crate) fn at(&self, seq: u32) -> Option<&Row> {
        self.rows.get(seq.checked_sub(self.rows.first()?.seq)? as usize)
    }

    pub(crate) fn changes_of(&self, row: &Row) -> &[Change] {
        row.changes_in(&self.changes)
    }
}

const MEASURED: &str = "Chain::accept measured the item";

/// A record whose place in the chain is checked. Only [`crate::log::Chain`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) row: &'a Row,
    pub(crate) rows: &'a Rows,
    body: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn new(row: &'a Row, rows: &'a Rows, body: &'a [u8], payload: &'a [u8]) -> Record<'a> {
        Record { row, rows, body, payload }
    }

    /// Its place in the log.
    pub fn seq(&self) -> Seq {
        Seq(self.row.seq.into())
    }

    /// What it says, read from its bytes.
    pub fn body(&self) -> Body {
        let (body, _) =
            Body::read(&self.body[self.row.at as usize..]).expect("Chain::accept read these bytes");
        body
    }

    /// Whether it records an operation (A4); the others define numbers, set policies, or tell of recoveries.
    pub fn is_operation(&self) -> bool {
        self.row.is_operation()
    }

    /// Its property changes.
    pub fn changes(&self) -> &'a [Change] {
        self.rows.changes_of(self.row)
    }

    /// The bytes of its payload item: a text, or a derived operation id and values. `None` if it has none, it was erased, or it is
    /// sealed and there were no keys to open it with.
    pub fn item(&self) -> Option<&'a [u8]> {
        Some(self.salt_and_item()?.1)
    }

    /// Whether its payload item was erased.
    pub fn is_erased(&self) -> bool {
        self.row.is_erased()
    }

    /// Where its payload item stands in the frame's payload, length and salt included; `None` if it has none or it was erased.
    pub(crate) fn item_span(&self) -> Option<Range<usize>> {
        if !self.row.has_item() || self.is_erased() {
            return None;
        }
        let start = self.row.item_at as usize;
        let len = u32::from_le_bytes(*self.payload[start..].first_chunk().expect(MEASURED));
        let seal = if self.rows.sealed { SEAL_BYTES } else { 0 };
        Some(start..start + size_of::<u32>() + SALT_BYTES + len as usize + seal)
    }

    /// Its payload item as it stands in the payload, sealed or not; `None` if it has none or it was erased.
    pub(crate) fn stored_item(&self) -> Option<&'a [u8]> {
        Some(&self.payload[self.item_span()?])
    }

    pub(crate) fn salt_and_item(&self) -> Option<(&'a [u8; SALT_BYTES], &'a [u8])> {
        let span = self.item_span().filter(|_| !self.rows.sealed)?;
        self.payload[span][size_of::<u32>()..].split_first_chunk::<SALT_BYTES>()
    }

    /// What binds the record to its item: it stands last in the record's bytes.
    pub(crate) fn commitment(&self) -> Option<Commitment> {
        self.row.has_item().then(|| Commitment(array(self.body, self.end() - COMMITMENT_BYTES)))
    }

    /// The record's own bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        &self.body[self.row.at as usize..self.end()]
    }

    /// Where the record's bytes end in the frame's body.
    fn end(&self) -> usize {
        let rows = &self.rows.rows;
        let next = rows.get((self.row.seq - rows[0].seq) as usize + 1);
        next.map_or(self.body.len(), |next| next.at as usize)
    }

    /// The time of an operation, in microseconds.
    pub(crate) fn time(&self) -> i64 {
        assert!(self.is_operation(), "operations have a time");
        i64::from_le_bytes(array(self.body, self.row.at as usize + time_offset(self.row.device != NONE)))
    }

    /// Its operation id: given, in its bytes, or derived, in its item.
    pub fn operation_id(&self) -> Option<OperationId> {
        let bytes = if self.row.flags.has(Flags::GIVEN_ID) {
            array(self.body, self.row.at as usize + operation_offset(self.row.device != NONE))
        } else if self.row.flags.has(Flags::DERIVED_ID) {
            *self.item()?.first_chunk::<16>()?
        } else {
            return None;
        };
        Some(OperationId(uuid::Uuid::from_bytes(bytes)))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("Chain::accept read these bytes")
}

/// Where the time stands in the bytes of an operation: behind variant, T and device.
const fn time_offset(has_device: bool) -> usize {
    if has_device { 4 + 4 + 5 } else { 4 + 4 + 1 }
}

/// Where the operation id stands: behind the time.
const fn operation_offset(has_device: bool) -> usize {
    time_offset(has_device) + 8
}

const COMMITMENT_BYTES: usize = 32;
/// Bytes of the longest operation up to where its detail begins: variant, T, device, time, operation id, flags, S.
const OPERATION_BYTES: usize = operation_offset(true) + 16 + 1 + 8 + 1;

/// What reading one record gives, but for its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// How many bytes it took.
    pub(crate) taken: usize,
    /// The time of an operation, in microseconds.
    pub(crate) time: i64,
    /// Whether there is an operation id in its bytes that is not all zeros.
    pub(crate) has_operation: bool,
    /// Whether it has a detail: changes, an item, or wrongly neither.
    pub(crate) has_detail: bool,
    /// Whether a commitment ends it.
    pub(crate) has_commitment: bool,
    /// What is wrong with it, as far as its bytes alone tell.
    pub(crate) wrong: Option<&'static str>,
    /// The highest number among the ids that a split names, beside T.
    pub(crate) highest: Option<IdNo>,
}

/// Reads the record that begins at `at` of a frame's body into `row` and `read`; its changes are appended to `changes`.
///
/// Both are filled in their place: moved about, they cost more than the record does.
#[inline]
pub(crate) fn read(
    body: &[u8],
    at: usize,
    row: &mut Row,
    changes: &mut Vec<Change>,
    read: &mut Read,
) -> Result<(), CodecError> {
    let kept = changes.len();
    if by_hand(body, at, row, changes, read).is_none() {
        changes.truncate(kept);
        *row = Row::new(row.seq);
        *read = by_codec(body, at, row, changes)?;
    }
    Ok(())
}

/// Bytes of a capture that [`plain`] reads: variant, T, no device, time, operation id, flags, name, no detail.
pub(crate) const PLAIN_BYTES: usize = operation_offset(false) + 16 + 1 + 5 + 1;
/// Bytes of an id's definition: variant, class, commitment.
pub(crate) const DEFINED_ID_BYTES: usize = 4 + 1 + COMMITMENT_BYTES;
/// What stands at the end of a plain capture but for the name: a given id, processing on or off, and a name; no detail.
const PLAIN_LAST: u64 = (Flags::GIVEN_ID.0 as u64) << 8 | 1 << 16;
const PLAIN_MASK: u64 = !((Flags::PROCESSING_OFF.0 as u64) << 8 | 0xFFFF_FFFF << 24 | 0xFF);
const _: () = assert!(PLAIN_BYTES == 40);

/// Reads what most records are: a capture with a name and a given operation id, and with nothing else that could be wrong but
/// its numbers and its time, which comes with the row. `None` for all that is to be read with more care.
#[inline]
pub(crate) fn plain(body: &[u8], at: usize, seq: u32) -> Option<(Row, i64)> {
    let bytes = body.get(at..)?.first_chunk::<PLAIN_BYTES>()?;
    // Of the last eight bytes, of which the first is the operation id's: flags, that there is a name, the name, no detail.
    let last = u64::from_le_bytes(array(bytes, PLAIN_BYTES - 8));
    let flags = (last >> 8) as u8;
    let unlike = (number(bytes, 0) ^ Kind::Capture as u32) | u32::from(bytes[8]);
    // All in one question: a processor that has to guess guesses once.
    let is_plain = u64::from(unlike) | ((last & PLAIN_MASK) ^ PLAIN_LAST) == 0;
    let row = Row {
        kind: Kind::Capture,
        flags: Flags(flags),
        other: (last >> 24) as u32,
        id: IdNo(number(bytes, 4)),
        at: at as u32, // a frame is at most 16 MiB
        ..Row::new(seq)
    };
    is_plain.then(|| (row, i64::from_le_bytes(array(bytes, time_offset(false)))))
}

/// Reads the definition of an id, which is what most records are that tell no operation. `None` for any other, and for a
/// class that there is not.
#[inline]
pub(crate) fn defined_id(body: &[u8], at: usize, seq: u32) -> Option<Row> {
    let bytes = body.get(at..)?.first_chunk::<DEFINED_ID_BYTES>()?;
    let class = StoredClass(bytes[4]);
    let is_one = (number(bytes, 0) == Kind::DefineId as u32) & class.is_known();
    is_one.then(|| Row { kind: Kind::DefineId, other: class.0.into(), at: at as u32, ..Row::new(seq) })
}

/// The kinds that are read by hand, as they are numbered from the first of them on.
const BY_HAND: [Kind; 10] = [
    Kind::DefineId,
    Kind::DefineDevice,
    Kind::DefineKey,
    Kind::DefineName,
    Kind::Capture,
    Kind::Identify,
    Kind::Alias,
    Kind::Merge,
    Kind::Set,
    Kind::Switch,
];

/// The reader for all that is frequent; `None` for the rest, for bytes that are not a record, and close to the body's end.
///
/// It looks at as many bytes as the longest operation has before its detail, at places the compiler knows.
#[inline]
fn by_hand(body: &[u8], at: usize, row: &mut Row, changes: &mut Vec<Change>, read: &mut Read) -> Option<()> {
    let bytes = body.get(at..)?;
    let fixed = bytes.first_chunk::<OPERATION_BYTES>()?;
    row.at = u32::try_from(at).ok()?;
    // A table, not a match: a jump to one of ten places is one that a processor often guesses wrong.
    row.kind = *BY_HAND.get((number(fixed, 0) as usize).wrapping_sub(Kind::DefineId as usize))?;
    if !row.is_operation() {
        let mut taken = 4 + COMMITMENT_BYTES; // fewer than were looked at above
        match row.kind {
            Kind::DefineId => {
                row.other = fixed[4].into();
                taken += 1;
            }
            Kind::DefineDevice => {
                row.id = IdNo(number(fixed, 4));
                taken += 4;
            }
            _ => {}
        }
        *read = Read { taken, has_commitment: true, ..Read::default() };
        return Some(());
    }
    row.id = IdNo(number(fixed, 4));
    match fixed[8] {
        0 => operation::<{ time_offset(false) }>(fixed, row, read)?,
        1 => {
            row.device = real(number(fixed, 9))?;
            operation::<{ time_offset(true) }>(fixed, row, read)?;
        }
        _ => return None,
    }
    if read.has_detail {
        read.taken += detail(&bytes[read.taken..], row, &mut read.has_commitment, changes)?;
    }
    Some(())
}

/// Reads an operation from its time, which stands at `TIME`, up to its detail.
#[inline]
fn operation<const TIME: usize>(fixed: &[u8; OPERATION_BYTES], row: &mut Row, read: &mut Read) -> Option<()> {
    let time = i64::from_le_bytes(array(fixed, TIME));
    let operation = u128::from_le_bytes(array(fixed, TIME + 8));
    row.flags = Flags(fixed[TIME + 24]);
    let at = TIME + 25;
    let mut taken = at;
    match row.kind {
        Kind::Capture if flag(fixed[at])? => {
            row.other = real(number(fixed, at + 1))?;
            taken += 5;
        }
        Kind::Capture => taken += 1,
        Kind::Identify | Kind::Alias | Kind::Merge => {
            taken += 4;
            row.other = match number(fixed, at) {
                0 => NONE,
                1 => UNSTORABLE,
                2 => {
                    taken += 4;
                    real(number(fixed, at + 4))?
                }
                _ => return None,
            };
        }
        _ => {}
    }
    let has_detail = flag(fixed[taken])?;
    *read = Read { taken: taken + 1, time, has_operation: operation != 0, has_detail, ..Read::default() };
    Some(())
}

/// Reads the detail of an operation; gives how many bytes it took.
fn detail(
    bytes: &[u8],
    row: &mut Row,
    has_commitment: &mut bool,
    changes: &mut Vec<Change>,
) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk()?;
    row.changes = u16::try_from(u64::from_le_bytes(*count)).ok()?;
    row.changes_at = u32::try_from(changes.len()).ok()?;
    let (stored, rest) = rest.split_at_checked(5 * usize::from(row.changes))?;
    changes.extend(stored.as_chunks::<5>().0.iter().map(|[a, b, c, d, verb]| Change {
        key: KeyNo(u32::from_le_bytes([*a, *b, *c, *d])),
        verb: Verb(*verb),
    }));
    *has_commitment = flag(*rest.first()?)?;
    let taken = 8 + stored.len() + 1 + if *has_commitment { COMMITMENT_BYTES } else { 0 };
    (taken <= bytes.len()).then_some(taken)
}

#[inline]
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// A number that does not pass for "none"; no other is ours.
#[inline]
fn real(number: u32) -> Option<u32> {
    (number < UNSTORABLE).then_some(number)
}

/// A byte that is 0 or 1.
#[inline]
fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[inline(never)] // keeps the loop over frequent records small
fn by_codec(body: &[u8], at: usize, row: &mut Row, changes: &mut Vec<Change>) -> Result<Read, CodecError> {
    let (record, taken) = Body::read(&body[at..])?;
    row.kind = match &record {
        Body::Genesis(_) => Kind::Genesis,
        Body::SetPolicy(_) => Kind::SetPolicy,
        Body::Recovered(_) => Kind::Recovered,
        Body::DefineId(..) => Kind::DefineId,
        Body::DefineDevice(..) => Kind::DefineDevice,
        Body::DefineKey(_) => Kind::DefineKey,
        Body::DefineName(_) => Kind::DefineName,
        Body::Capture(..) => Kind::Capture,
        Body::Identify(..) => Kind::Identify,
        Body::Alias(..) => Kind::Alias,
        Body::Merge(..) => Kind::Merge,
        Body::Set(..) => Kind::Set,
        Body::Switch(..) => Kind::Switch,
        Body::Reset(..) => Kind::Reset,
        Body::Retract(..) => Kind::Retract,
        Body::Split(..) => Kind::Split,
        Body::Erase(_) => Kind::Erase,
        Body::EraseDone(_) => Kind::EraseDone,
        Body::Restate(_) => Kind::Restate,
        Body::Followed(_) => Kind::Followed,
    };
    let overlong = || CodecError::overlong();
    row.at = u32::try_from(at).map_err(|_| overlong())?;
    let (mut time, mut has_operation) = (0, false);
    if let Some(OperationHeader { id, device, time: when, operation: given, flags }) = record.head() {
        (row.id, row.flags) = (*id, *flags);
        (time, has_operation) = (*when, *given != [0; 16]);
        let option = |found: Option<u32>| found.map_or(Ok(NONE), |found| real(found).ok_or_else(overlong));
        row.device = option(device.map(|device| device.0))?;
        row.other = match (&record, record.other()) {
            (Body::Capture(_, name, _), _) => option(name.map(|name| name.0))?,
            (Body::Reset(_, fresh, _), _) => option(fresh.map(|fresh| fresh.0))?,
            (Body::Retract(_, target, _), _) => {
                option(Some(u32::try_from(*target).map_err(|_| overlong())?))?
            }
            (_, LinkSource::None) => NONE,
            (_, LinkSource::Unstorable) => UNSTORABLE,
            (_, LinkSource::Id(id)) => option(Some(id.0))?,
        };
        row.changes = u16::try_from(record.changes().len()).map_err(|_| overlong())?;
        row.changes_at = u32::try_from(changes.len()).map_err(|_| overlong())?;
        changes.extend_from_slice(record.changes());
    }
    match &record {
        Body::DefineId(class, _) => row.other = class.0.into(),
        Body::DefineDevice(id, _) => row.id = *id,
        Body::Restate(restated) => row.id = restated.id,
        _ => {}
    }
    let (has_detail, has_commitment) = (record.detail().is_some(), record.commitment().is_some());
    let (wrong, highest) = match &record {
        Body::Genesis(policy) | Body::SetPolicy(policy) if policy.policy().is_none() => {
            (Some("a policy is out of its bounds or not canonical"), None)
        }
        Body::Split(_, SplitOff { ids, .. }, _) => {
            let fine = (1..=MAX_SPLIT_IDS).contains(&ids.len()) && ids.is_sorted_by(|a, b| a < b);
            ((!fine).then_some("a split names no ids, too many, or not in order"), ids.last().copied())
        }
        Body::Followed(followed) if !followed.is_canonical() => {
            (Some("the name of a followed log is out of its bounds"), None)
        }
        _ => (None, None),
    };
    Ok(Read { taken, time, has_operation, has_detail, has_commitment, wrong, highest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::{
        CutOff, ErasedDevice, Erasure, ErasureCompletion, Followed, NameNo, PropertyChanges, Removal,
        Restated, RewrittenSegment,
    };
    use crate::log::codec;

    fn bodies() -> Vec<Body> {
        let head = |device, flags| OperationHeader {
            id: IdNo(0x0102_0304),
            device,
            time: -5,
            operation: [7; 16],
            flags: Flags(flags),
        };
        let change = |key, verb| Change { key: KeyNo(key), verb };
        let commitment = Commitment([9; 32]);
        let detail = |changes, item| Some(Box::new(PropertyChanges { changes, item }));
        let device = Some(DeviceNo(3));
        vec![
            Body::Recovered(CutOff { bytes: 5, digest: [1; 32] }),
            Body::Followed(Box::new(Followed { log: "shop".to_owned(), position: 7 })),
            Body::DefineId(StoredClass(2), commitment),
            Body::DefineDevice(IdNo(4), commitment),
            Body::DefineKey(commitment),
            Body::DefineName(commitment),
            Body::Capture(head(None, 2), Some(NameNo(9)), None),
            Body::Capture(head(device, 2), None, None),
            Body::Capture(
                head(None, 2),
                Some(NameNo(9)),
                detail(vec![change(1, Verb::KEPT)], Some(commitment)),
            ),
            Body::Identify(
                head(None, 2),
                LinkSource::Id(IdNo(8)),
                detail(vec![change(1, Verb::UNSET)], None),
            ),
            Body::Identify(head(device, 0), LinkSource::Unstorable, None),
            Body::Alias(head(None, 2), LinkSource::None, None),
            Body::Merge(head(None, 4), LinkSource::Id(IdNo(8)), detail(vec![], Some(commitment))),
            Body::Set(
                head(None, 2),
                detail(vec![change(1, Verb::SET), change(2, Verb::SET)], Some(commitment)),
            ),
            Body::Switch(head(device, 2), None),
            Body::Reset(head(device, 2), Some(DeviceNo(5)), None),
            Body::Reset(head(device, 4), None, detail(vec![], Some(commitment))),
            Body::Retract(head(None, 2), 9, None),
            Body::Split(head(None, 2), SplitOff { together: true, ids: vec![IdNo(1), IdNo(3)] }, None),
            Body::Erase(Box::new(Erasure {
                time: 4,
                ids: vec![IdNo(1), IdNo(2)],
                devices: vec![ErasedDevice { device: DeviceNo(1), defined: 5 }],
                records: vec![9],
                keys: Vec::new(),
                reason: Some(commitment),
            })),
            Body::EraseDone(Box::new(Removal {
                erasures: vec![ErasureCompletion { erase: 10, items: 3 }],
                segments: vec![RewrittenSegment {
                    first_seq: 0,
                    bytes_before: 9,
                    bytes_after: 8,
                    before: [1; 32],
                    after: [2; 32],
                }],
            })),
            Body::Restate(Box::new(Restated {
                record: 4,
                id: IdNo(7),
                erased: vec![1],
                item: Some(commitment),
            })),
        ]
    }

    /// Everything a reader says, comparable with another's.
    fn said(
        read: impl Fn(&mut Row, &mut Vec<Change>) -> Result<Read, CodecError>,
    ) -> Option<(Row, Read, Vec<Change>)> {
        let (mut row, mut changes) = (Row::new(11), Vec::new());
        let read = read(&mut row, &mut changes).ok()?;
        Some((row, read, changes))
    }

    /// The record that begins at byte 3.
    fn careful(bytes: &[u8], row: &mut Row, changes: &mut Vec<Change>) -> Result<Read, CodecError> {
        let mut said = Read::default();
        read(bytes, 3, row, changes, &mut said).map(|()| said)
    }

    #[test]
    fn both_readers_agree_on_every_kind_and_on_damaged_bytes() {
        for body in bodies() {
            let mut bytes = vec![0xAA; 3]; // a record need not begin the body
            codec::encode(&body, &mut bytes);
            let end = bytes.len();
            bytes.extend_from_slice(&[1; 70]); // the next record
            let agree = |bytes: &[u8]| {
                let hand = said(|row, changes| careful(bytes, row, changes));
                let codec = said(|row, changes| by_codec(bytes, 3, row, changes));
                assert_eq!(hand, codec, "{body:?}");
            };
            agree(&bytes);
            agree(&bytes[..end]);
            for at in 3..end {
                agree(&bytes[..at]);
                for value in [0, 1, 2, 3, 7, 254, 255] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    agree(&damaged);
                }
            }
        }
    }

    /// By hand is what a replay's speed rests on: what is frequent must not fall back unnoticed on the reader that is always right.
    #[test]
    fn what_is_frequent_is_read_by_hand() {
        for body in bodies() {
            let mut bytes = Vec::new();
            codec::encode(&body, &mut bytes);
            bytes.extend_from_slice(&[1; OPERATION_BYTES]); // the next record
            let (mut row, mut changes) = (Row::new(11), Vec::new());
            let by_hand = by_hand(&bytes, 0, &mut row, &mut changes, &mut Read::default()).is_some();
            let (read, _, _) = said(|row, changes| by_codec(&bytes, 0, row, changes)).unwrap();
            assert_eq!(by_hand, BY_HAND.contains(&read.kind), "{body:?}");
        }
    }

    #[test]
    fn a_plain_capture_is_read_as_any_other() {
        let head = |flags| OperationHeader {
            id: IdNo(0x0102_0304),
            device: None,
            time: -5,
            operation: [7; 16],
            flags: Flags(flags),
        };
        let mut plain_ones = 0;
        for flags in 0..=255 {
            let mut bytes = vec![0xAA; 3];
            codec::encode(&Body::Capture(head(flags), Some(NameNo(9)), None), &mut bytes);
            let end = bytes.len();
            for at in 3..=end {
                for value in [0, 1, 2, 3, 7, 254, 255] {
                    let mut other = bytes.clone();
                    if let Some(byte) = other.get_mut(at) {
                        *byte = value;
                    }
                    let Some((row, time)) = plain(&other, 3, 11) else { continue };
                    plain_ones += 1;
                    let careful = |row: &mut Row, changes: &mut Vec<Change>| careful(&other, row, changes);
                    let (careful, read, changes) = said(careful).unwrap();
                    assert_eq!((row, time, PLAIN_BYTES), (careful, read.time, read.taken));
                    let more = read.has_detail || read.has_commitment || !changes.is_empty();
                    assert!(!more && row.flags.has(Flags::GIVEN_ID), "nothing else needs a look");
                }
            }
            assert!((0..end).all(|len| plain(&bytes[..len], 3, 11).is_none()), "cut short");
        }
        assert!(plain_ones > 2 * 200, "{plain_ones} plain ones were seen");
    }

    /// All of a plain capture is asked in one question, in which no two wrongs may make a right.
    #[test]
    fn what_is_wrong_in_two_ways_is_not_plain() {
        let head = OperationHeader {
            id: IdNo(1),
            device: None,
            time: 5,
            operation: [7; 16],
            flags: Flags::GIVEN_ID,
        };
        let mut bytes = Vec::new();
        codec::encode(&Body::Capture(head, Some(NameNo(9)), None), &mut bytes);
        assert!(plain(&bytes, 0, 11).is_some());
        let last = PLAIN_BYTES - 7; // the flags
        for (one, other, bits) in [(1, last, Flags::GIVEN_ID.0), (0, 8, 1)] {
            let mut wrong = bytes.clone();
            wrong[one] ^= bits; // in the kind
            wrong[other] ^= bits; // in the flags, or in whether there is a device
            assert_eq!(plain(&wrong, 0, 11), None, "bytes {one} and {other}");
        }
    }

    #[test]
    fn the_definition_of_an_id_is_read_as_any_other() {
        for class in 0..=255 {
            let mut bytes = vec![0xAA; 3];
            codec::encode(&Body::DefineId(StoredClass(class), Commitment([9; 32])), &mut bytes);
            assert!((0..bytes.len()).all(|len| defined_id(&bytes[..len], 3, 11).is_none()), "cut short");
            let careful = |row: &mut Row, changes: &mut Vec<Change>| careful(&bytes, row, changes);
            let (row, read, _) = said(careful).unwrap();
            assert_eq!((read.taken, read.has_commitment), (DEFINED_ID_BYTES, true));
            assert_eq!(defined_id(&bytes, 3, 11), (class < 3).then_some(row));
            bytes[3] += 1; // another kind
            assert_eq!(defined_id(&bytes, 3, 11), None);
        }
    }

    #[test]
    fn a_row_stays_at_thirty_two_bytes() {
        assert_eq!(size_of::<Row>(), 32);
    }
}
