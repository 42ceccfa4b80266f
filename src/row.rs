//! Rows: what a fold needs of a record, at fixed width; and [`Record`], the record itself, read from its bytes when somebody
//! asks for more.
//!
//! A replay meets millions of captures and needs five numbers of each. So the bytes of operations and definitions are read by
//! hand, field by field, into rows that own nothing; the codec reads only what is rare. A test holds the two readers together.

use crate::codec::CodecError;
use crate::frame::SALT_BYTES;
use crate::id::{OperationId, Seq};
use crate::record::{Body, Change, Commitment, DeviceNo, Flags, Head, IdNo, KeyNo, Other, StoredClass, Verb};

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
}

/// Stands for "none" among numbers; limits.rs keeps every real number below it.
const NONE: u32 = u32::MAX;
/// Stands for an S that cannot be stored (B1).
const UNSTORABLE: u32 = u32::MAX - 1;

/// What a fold needs of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// Of a definition of an id.
    pub(crate) class: StoredClass,
    /// How many changes follow `changes_at`.
    changes: u16,
    pub(crate) seq: u32,
    /// T, or the first id of a device.
    pub(crate) id: IdNo,
    other: u32,
    device: u32,
    /// The fresh device of a reset, or the name of a capture.
    extra: u32,
    changes_at: u32,
    pub(crate) time: i64,
    /// Where the record's bytes begin in the frame's body.
    at: u32,
    /// Where its commitment does, or NONE.
    commitment_at: u32,
    /// Where its payload item's salt begins in the frame's payload; NONE if it has none or it was erased.
    item_at: u32,
    /// Bytes of the item behind the salt; NONE if it was erased.
    item_len: u32,
}

impl Row {
    /// A row that says nothing yet.
    pub(crate) fn new(seq: u32) -> Row {
        Row {
            kind: Kind::Genesis,
            flags: Flags::default(),
            class: StoredClass(0),
            changes: 0,
            seq,
            id: IdNo(NONE),
            other: NONE,
            device: NONE,
            extra: NONE,
            changes_at: 0,
            time: 0,
            at: 0,
            commitment_at: NONE,
            item_at: NONE,
            item_len: 0,
        }
    }

    pub(crate) fn other(&self) -> Other {
        match self.other {
            NONE => Other::None,
            UNSTORABLE => Other::Unstorable,
            id => Other::Id(IdNo(id)),
        }
    }

    pub(crate) fn device(&self) -> Option<DeviceNo> {
        (self.device != NONE).then_some(DeviceNo(self.device))
    }

    /// The fresh device of a reset.
    pub(crate) fn fresh_device(&self) -> Option<DeviceNo> {
        (self.kind == Kind::Reset && self.extra != NONE).then_some(DeviceNo(self.extra))
    }

    /// The number of a capture's name.
    pub(crate) fn name(&self) -> Option<u32> {
        (self.kind == Kind::Capture && self.extra != NONE).then_some(self.extra)
    }

    pub(crate) fn is_operation(&self) -> bool {
        self.kind as u8 >= Kind::Capture as u8
    }

    pub(crate) fn has_changes(&self) -> bool {
        self.changes != 0
    }

    pub(crate) fn has_commitment(&self) -> bool {
        self.commitment_at != NONE
    }

    /// This row's changes among those of its frame.
    pub(crate) fn changes_in<'c>(&self, changes: &'c [Change]) -> &'c [Change] {
        &changes[self.changes_at as usize..][..usize::from(self.changes)]
    }

    pub(crate) fn set_item(&mut self, at: u32, len: u32) {
        (self.item_at, self.item_len) = (at, len);
    }

    pub(crate) fn set_erased(&mut self) {
        (self.item_at, self.item_len) = (NONE, NONE);
    }
}

/// The rows of a frame, and the changes they speak of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) changes: Vec<Change>,
}

impl Rows {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.changes.clear();
    }

    pub(crate) fn changes_of(&self, row: &Row) -> &[Change] {
        row.changes_in(&self.changes)
    }
}

/// A record whose place in the chain is checked. Only [`crate::Chain`] makes one.
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

    /// The bytes of its payload item: a text, or a derived operation id and values. `None` if it has none or it was erased.
    pub fn item(&self) -> Option<&'a [u8]> {
        Some(self.salt_and_item()?.1)
    }

    /// Whether its payload item was erased.
    pub fn is_erased(&self) -> bool {
        self.row.item_len == NONE
    }

    pub(crate) fn salt_and_item(&self) -> Option<(&'a [u8; SALT_BYTES], &'a [u8])> {
        if self.row.item_at == NONE {
            return None;
        }
        let (salt, rest) = self.payload[self.row.item_at as usize..]
            .split_first_chunk::<SALT_BYTES>()
            .expect("Chain::accept measured the item");
        Some((salt, &rest[..self.row.item_len as usize]))
    }

    pub(crate) fn commitment(&self) -> Option<Commitment> {
        let at = self.row.commitment_at as usize;
        self.row.has_commitment().then(|| Commitment(array(self.body, at)))
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

/// Where the operation id stands in the bytes of an operation: behind variant, T, device and time.
const fn operation_offset(has_device: bool) -> usize {
    if has_device { 4 + 4 + 5 + 8 } else { 4 + 4 + 1 + 8 }
}

/// What reading one record gives, but for its row.
pub(crate) struct Read {
    /// How many bytes it took.
    pub(crate) taken: usize,
    /// Whether there is an operation id in its bytes that is not all zeros.
    pub(crate) has_operation: bool,
    /// Whether it has a detail: changes, an item, or wrongly neither.
    pub(crate) has_detail: bool,
    /// Read by the codec, because it is rare: a policy, a recovery, a reset.
    pub(crate) body: Option<Box<Body>>,
}

/// Reads the record that begins at `at` of a frame's body into `row`; its changes are appended to `changes`.
///
/// The row is filled in its place: moved about, a row costs more than its record does.
#[inline]
pub(crate) fn read(
    body: &[u8],
    at: usize,
    row: &mut Row,
    changes: &mut Vec<Change>,
) -> Result<Read, CodecError> {
    let kept = changes.len();
    let mut cursor = Cursor { bytes: body, at };
    match by_hand(&mut cursor, row, changes) {
        Some((has_operation, has_detail)) => {
            Ok(Read { taken: cursor.at - at, has_operation, has_detail, body: None })
        }
        None => {
            changes.truncate(kept);
            *row = Row::new(row.seq);
            by_codec(body, at, row, changes)
        }
    }
}

/// The reader for all that is frequent; `None` for the rest, and for bytes that are no record.
#[inline]
fn by_hand(cursor: &mut Cursor<'_>, row: &mut Row, changes: &mut Vec<Change>) -> Option<(bool, bool)> {
    row.at = u32::try_from(cursor.at).ok()?;
    row.kind = match cursor.u32()? {
        3 => Kind::DefineId,
        4 => Kind::DefineDevice,
        5 => Kind::DefineKey,
        6 => Kind::DefineName,
        7 => Kind::Capture,
        8 => Kind::Identify,
        9 => Kind::Alias,
        10 => Kind::Merge,
        11 => Kind::Set,
        12 => Kind::Switch,
        _ => return None,
    };
    if !row.is_operation() {
        match row.kind {
            Kind::DefineId => row.class = StoredClass(cursor.u8()?),
            Kind::DefineDevice => row.id = IdNo(cursor.u32()?),
            _ => {}
        }
        row.commitment_at = u32::try_from(cursor.at).ok()?;
        cursor.skip(32)?;
        return Some((false, false));
    }
    row.id = IdNo(cursor.u32()?);
    row.device = cursor.option()?;
    row.time = i64::from_le_bytes(cursor.take()?);
    let operation = u128::from_le_bytes(cursor.take()?);
    row.flags = Flags(cursor.u8()?);
    match row.kind {
        Kind::Capture => row.extra = cursor.option()?,
        Kind::Identify | Kind::Alias | Kind::Merge => {
            row.other = match cursor.u32()? {
                0 => NONE,
                1 => UNSTORABLE,
                2 => cursor.u32().filter(|id| *id < UNSTORABLE)?,
                _ => return None,
            }
        }
        _ => {}
    }
    let has_detail = cursor.flag()?;
    if has_detail {
        detail(cursor, row, changes)?;
    }
    Some((operation != 0, has_detail))
}

fn detail(cursor: &mut Cursor<'_>, row: &mut Row, changes: &mut Vec<Change>) -> Option<()> {
    row.changes = u16::try_from(u64::from_le_bytes(cursor.take()?)).ok()?;
    row.changes_at = u32::try_from(changes.len()).ok()?;
    for _ in 0..row.changes {
        changes.push(Change { key: KeyNo(cursor.u32()?), verb: Verb(cursor.u8()?) });
    }
    if cursor.flag()? {
        row.commitment_at = u32::try_from(cursor.at).ok()?;
        cursor.skip(32)?;
    }
    Some(())
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
    };
    let overlong = || CodecError::overlong();
    row.at = u32::try_from(at).map_err(|_| overlong())?;
    let mut has_operation = false;
    if let Some(Head { id, device, time, operation: given, flags }) = record.head() {
        (row.id, row.time, row.flags) = (*id, *time, *flags);
        has_operation = *given != [0; 16];
        // A number that would pass for "none" is none of ours.
        let number = |number: u32| if number < UNSTORABLE { Ok(number) } else { Err(overlong()) };
        let option = |found: Option<u32>| found.map_or(Ok(NONE), number);
        row.device = option(device.map(|device| device.0))?;
        row.other = match record.other() {
            Other::None => NONE,
            Other::Unstorable => UNSTORABLE,
            Other::Id(id) => number(id.0)?,
        };
        row.extra = match &record {
            Body::Capture(_, name, _) => option(name.map(|name| name.0))?,
            Body::Reset(_, fresh, _) => option(fresh.map(|fresh| fresh.0))?,
            _ => NONE,
        };
        row.changes = u16::try_from(record.changes().len()).map_err(|_| overlong())?;
        row.changes_at = u32::try_from(changes.len()).map_err(|_| overlong())?;
        changes.extend_from_slice(record.changes());
    }
    match &record {
        Body::DefineId(class, _) => row.class = *class,
        Body::DefineDevice(id, _) => row.id = *id,
        _ => {}
    }
    if record.commitment().is_some() {
        // In every record that has one, the commitment stands last.
        row.commitment_at = u32::try_from(at + taken - 32).map_err(|_| overlong())?;
    }
    let has_detail = record.detail().is_some();
    Ok(Read { taken, has_operation, has_detail, body: Some(Box::new(record)) })
}

/// Reads fixed-width fields; `None` where the bytes end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        Some(())
    }

    #[inline]
    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    #[inline]
    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A number that may be absent; one that would pass for "none" is none of ours.
    #[inline]
    fn option(&mut self) -> Option<u32> {
        if self.flag()? { self.u32().filter(|number| *number < UNSTORABLE) } else { Some(NONE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::record::{CutOff, Detail, NameNo};

    fn bodies() -> Vec<Body> {
        let head = |device, flags| Head {
            id: IdNo(0x0102_0304),
            device,
            time: -5,
            operation: [7; 16],
            flags: Flags(flags),
        };
        let change = |key, verb| Change { key: KeyNo(key), verb };
        let commitment = Commitment([9; 32]);
        let detail = |changes, item| Some(Box::new(Detail { changes, item }));
        let device = Some(DeviceNo(3));
        vec![
            Body::Recovered(CutOff { bytes: 5, digest: [1; 32] }),
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
            Body::Identify(head(None, 2), Other::Id(IdNo(8)), detail(vec![change(1, Verb::UNSET)], None)),
            Body::Identify(head(device, 0), Other::Unstorable, None),
            Body::Alias(head(None, 2), Other::None, None),
            Body::Merge(head(None, 4), Other::Id(IdNo(8)), detail(vec![], Some(commitment))),
            Body::Set(
                head(None, 2),
                detail(vec![change(1, Verb::SET), change(2, Verb::SET)], Some(commitment)),
            ),
            Body::Switch(head(device, 2), None),
            Body::Reset(head(device, 2), Some(DeviceNo(5)), None),
            Body::Reset(head(device, 4), None, detail(vec![], Some(commitment))),
        ]
    }

    /// Everything a reader says, comparable with another's.
    fn said(
        read: impl Fn(&mut Row, &mut Vec<Change>) -> Result<Read, CodecError>,
    ) -> Option<(Row, usize, bool, bool, Vec<Change>)> {
        let (mut row, mut changes) = (Row::new(11), Vec::new());
        let Read { taken, has_operation, has_detail, .. } = read(&mut row, &mut changes).ok()?;
        Some((row, taken, has_operation, has_detail, changes))
    }

    #[test]
    fn both_readers_agree_on_every_kind_and_on_damaged_bytes() {
        for body in bodies() {
            let mut bytes = vec![0xAA; 3]; // a record need not begin the body
            codec::encode(&body, &mut bytes);
            let end = bytes.len();
            bytes.extend_from_slice(&[1; 70]); // the next record
            let agree = |bytes: &[u8]| {
                let hand = said(|row, changes| read(bytes, 3, row, changes));
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

    #[test]
    fn a_row_stays_small() {
        assert!(size_of::<Row>() <= 64, "{}", size_of::<Row>());
    }
}
