//! Rows: what a fold needs of a record, at fixed width; and [`Record`], a row together with its bytes.
//!
//! A replay meets millions of captures and needs five numbers of each, so all that is read of a record is a row that owns nothing. What is
//! rare, such as a policy or the ids of a split, is read from the record's bytes when it is asked for.

use std::ops::Range;

use crate::log::body::{
    Asked, AskedVerb, Body, Change, Commitment, DeviceNo, Erasure, Flags, IdNo, LinkSource, NameNo,
    OperationHeader, SplitOff, StoredClass,
};
use crate::log::frame::{Frame, SALT_BYTES};
use crate::log::kind::Kind;
use crate::log::tail;
use crate::log::varint;
use crate::model::id::{OperationId, Seq};

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of an authentication tag.
pub(crate) const TAG_BYTES: usize = 16;
/// By how much a sealed item is longer than an open one.
pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// Bytes of an operation id.
pub(crate) const OPERATION_ID_BYTES: usize = 16;
/// Bytes of a commitment.
pub(crate) const COMMITMENT_BYTES: usize = 32;

/// Stands for "none" among numbers; limits.rs keeps every real number below it.
const NONE: u32 = u32::MAX;
/// Stands for an S that cannot be stored (B1), and for an item that was erased.
const UNSTORABLE: u32 = u32::MAX - 1;
const ERASED: u32 = u32::MAX - 1;
/// Stands for the place of an item whose key was destroyed.
const DESTROYED: u32 = u32::MAX - 2;

/// What a fold needs of one record: 40 bytes. The rest is looked up in the record's bytes when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// When the operation happened, in microseconds; 0 of any other record.
    pub(super) time: i64,
    pub(crate) seq: u32,
    /// T, or the first id of a device.
    pub(crate) id: IdNo,
    /// What else a record of this kind names: S of a link, the name of a capture, the fresh device of a reset, the class of an
    /// id or the one it is given, the record that is retracted.
    pub(super) other: u32,
    /// The device that spoke, or that is defined here.
    pub(super) device: u32,
    /// Which of the frame's lists of changes is this record's.
    pub(super) list: u32,
    /// Where in the frame's body its tail begins: what is read only on request.
    pub(super) at: u32,
    /// Where its payload item begins in the frame's payload; NONE if it has none, ERASED if it was erased, DESTROYED if its key was.
    pub(super) item_at: u32,
    pub(crate) flags: Flags,
    pub(crate) kind: Kind,
}

const _: () = assert!(size_of::<Row>() == 40);

impl Row {
    /// A row that says nothing yet.
    pub(super) fn new(seq: u32) -> Row {
        Row {
            time: 0,
            seq,
            id: IdNo(NONE),
            other: NONE,
            device: NONE,
            list: NONE,
            at: 0,
            item_at: NONE,
            flags: Flags::default(),
            kind: Kind::Genesis,
        }
    }

    /// A row of a record that stands in no log.
    #[cfg(test)]
    pub(crate) fn made_up(kind: Kind, id: IdNo, seq: u32) -> Row {
        Row { kind, id, ..Row::new(seq) }
    }

    /// S of an identify, alias or merge. Other kinds keep another number in this field.
    pub(crate) fn other(&self) -> LinkSource {
        match self.other {
            _ if !self.kind.links() => LinkSource::None,
            NONE => LinkSource::None,
            UNSTORABLE => LinkSource::Unstorable,
            id => LinkSource::Id(IdNo(id)),
        }
    }

    /// Notes S of a link: 0 says that its text cannot be stored, any other number is one more than that of an id.
    pub(super) fn set_source(&mut self, stored: u32) {
        self.other = stored.checked_sub(1).unwrap_or(UNSTORABLE);
    }

    /// S of a link; of anything else T again.
    pub(crate) fn other_end(&self) -> IdNo {
        let links = self.kind.links() & (self.other < UNSTORABLE);
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

    /// The class that T is given here (H5).
    pub(crate) fn given_class(&self) -> Option<StoredClass> {
        (self.kind == Kind::Reclassify).then_some(StoredClass(self.other as u8)) // the reader knows it
    }

    /// Whether folding this record refolds a whole component (section H).
    pub(crate) fn refolds(&self) -> bool {
        matches!(self.kind, Kind::Retract | Kind::Split | Kind::Reclassify)
    }

    /// Gives the definition of a device the number that the chain counted.
    pub(super) fn number(&mut self, number: u32) {
        self.device = number;
    }

    /// The same record among other ids and devices, each number replaced by what `ids` and `devices` give for it.
    pub(super) fn relabelled(
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

    /// The same record with its tail and its list of changes elsewhere, and its payload left behind.
    pub(super) fn moved(mut self, at: u32, list: Option<u32>) -> Row {
        (self.at, self.list) = (at, list.unwrap_or(NONE));
        if self.has_item() {
            self.set_erased();
        }
        self
    }

    /// The class of an id that is defined here.
    pub(crate) fn class(&self) -> StoredClass {
        assert!(self.kind == Kind::DefineId, "only ids have a class");
        StoredClass(self.other as u8) // a byte was put there
    }

    pub(crate) fn is_operation(&self) -> bool {
        self.kind.is_operation()
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
        self.list != NONE
    }

    /// Whether it has a payload item, which may be erased.
    pub(crate) fn has_item(&self) -> bool {
        self.item_at != NONE
    }

    pub(super) fn set_item(&mut self, at: u32) {
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

    pub(super) fn set_destroyed(&mut self) {
        self.item_at = DESTROYED;
    }

    /// Bytes of the tail of an operation up to where the ids of a split stand: a given operation id, and a commitment.
    fn fixed_tail(&self) -> usize {
        let id = if self.flags.has(Flags::GIVEN_ID) { OPERATION_ID_BYTES } else { 0 };
        id + if self.has_item() { COMMITMENT_BYTES } else { 0 }
    }

    /// Where the record ends in `body`.
    fn end(&self, body: &[u8]) -> usize {
        let at = self.at as usize;
        at + match self.kind {
            Kind::Split => {
                let mut end = at + self.fixed_tail();
                tail::leavers(body, &mut end).expect(READ);
                return end;
            }
            kind if kind.is_operation() => self.fixed_tail(),
            kind if kind.defines() => COMMITMENT_BYTES,
            kind => tail::rare(kind, &body[at..]).expect(READ).1,
        }
    }
}

/// The changes that records of a frame make: one list for all records that make the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    changes: Vec<Change>,
    /// Where in `changes` each list ends.
    ends: Vec<u32>,
    /// The first list of the block that is being read or written.
    block: usize,
    /// Whether a list has relative changes (E9): in most logs none has.
    relative: bool,
}

impl Lists {
    /// How many of the last lists a record can point to instead of listing the same changes again. Set in stone.
    pub(crate) const RECENT: usize = 8;

    pub(crate) fn get(&self, list: u32) -> &[Change] {
        let list = list as usize;
        let begin = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.changes[begin as usize..self.ends[list] as usize]
    }

    /// From here on no record points to a list before.
    pub(super) fn begin_block(&mut self) {
        self.block = self.ends.len();
    }

    /// The list that is `back` lists before the next one, if a record can point there.
    pub(super) fn recent(&self, back: usize) -> Option<u32> {
        let list = self.ends.len().checked_sub(back + 1)?;
        (back < Lists::RECENT && list >= self.block).then_some(list as u32) // a frame is at most 16 MiB
    }

    /// How many lists back the same changes stand, if a record can point there.
    pub(super) fn find(&self, changes: &[Change]) -> Option<usize> {
        (0..Lists::RECENT).find(|back| self.recent(*back).is_some_and(|list| self.get(list) == changes))
    }

    /// Whether a list has relative changes.
    pub(super) fn is_relative(&self, list: u32) -> bool {
        self.relative && self.get(list).iter().any(|change| change.verb.is_relative())
    }

    /// Adds a change to the list that [`Lists::close`] ends.
    pub(super) fn push(&mut self, change: Change) {
        self.relative |= change.verb.is_relative();
        self.changes.push(change);
    }

    /// The changes that [`Lists::close`] would make a list.
    pub(super) fn open(&self) -> &[Change] {
        &self.changes[self.ends.last().map_or(0, |end| *end as usize)..]
    }

    /// Ends a list, and gives its number.
    pub(super) fn close(&mut self) -> u32 {
        self.ends.push(self.changes.len() as u32); // a frame is at most 16 MiB, and each change takes a byte
        self.ends.len() as u32 - 1
    }

    pub(super) fn add(&mut self, changes: &[Change]) -> Option<u32> {
        self.relative |= changes.iter().any(|change| change.verb.is_relative());
        self.changes.extend_from_slice(changes);
        (!changes.is_empty()).then(|| self.close())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets the lists behind the first `lists`, and changes that no list has yet.
    pub(super) fn truncate(&mut self, lists: usize) {
        self.ends.truncate(lists);
        self.changes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        self.block = self.block.min(lists);
        self.relative &= lists > 0;
    }

    fn memory(&self) -> usize {
        self.changes.capacity() * size_of::<Change>() + self.ends.capacity() * size_of::<u32>()
    }
}

/// The rows of a frame, and the changes they speak of. Only [`crate::log::Chain`] fills one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) lists: Lists,
    /// The places of those that reach far, ascending.
    pub(super) far: Vec<u32>,
    /// Whether one of them refolds a component: most frames need not be searched for such a record.
    pub(super) refolds: bool,
    /// Whether their payload items are sealed: then they have places, and nothing in them can be read.
    pub(super) sealed: bool,
}

impl Rows {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.lists.truncate(0);
        self.far.clear();
        self.refolds = false;
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.lists.memory()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The places of the records that reach far, ascending.
    pub(crate) fn far(&self) -> &[u32] {
        &self.far
    }

    /// Whether a record among them refolds a component.
    pub(crate) fn refolds(&self) -> bool {
        self.refolds
    }

    /// Whether payload items are sealed, and nothing in them can be read.
    pub(crate) fn are_sealed(&self) -> bool {
        self.sealed
    }

    /// Hides the payload items of the records that `hidden` picks.
    pub(crate) fn hide(&mut self, hidden: impl Fn(&Row) -> bool) {
        self.rows.iter_mut().filter(|row| row.has_item() && hidden(row)).for_each(Row::set_erased);
    }

    /// Gives the definition of a device, if that is what record `seq` is, the number that was counted elsewhere.
    pub(crate) fn number(&mut self, seq: u32, device: u32) {
        let row = self.rows.iter_mut().find(|row| row.seq == seq && row.kind == Kind::DefineDevice);
        row.into_iter().for_each(|row| row.number(device));
    }

    /// The row of a record, if the frame holds it.
    pub(crate) fn at(&self, seq: u32) -> Option<&Row> {
        self.rows.get(seq.checked_sub(self.rows.first()?.seq)? as usize)
    }

    /// The records of the frame that these rows were read from.
    pub(crate) fn records<'a>(
        &'a self,
        frame: &Frame<'a>,
    ) -> impl ExactSizeIterator<Item = Record<'a>> + use<'a> {
        let Frame { body, payload, .. } = *frame;
        self.rows.iter().map(move |row| self.of(row, body, payload))
    }

    /// The records at these places of the frame that these rows were read from.
    pub(crate) fn records_at<'a>(
        &'a self,
        places: Range<usize>,
        frame: &Frame<'a>,
    ) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let Frame { body, payload, .. } = *frame;
        self.rows[places].iter().map(move |row| self.of(row, body, payload))
    }

    /// The record of this number, if these rows have it; `body` and `payload` are those that they were read from.
    pub(crate) fn record<'a>(&'a self, seq: u32, body: &'a [u8], payload: &'a [u8]) -> Option<Record<'a>> {
        Some(self.of(self.at(seq)?, body, payload))
    }

    /// The record of one of these rows. Nothing outside of this folder makes a row, so nothing else makes a record.
    pub(super) fn of<'a>(&'a self, row: &'a Row, body: &'a [u8], payload: &'a [u8]) -> Record<'a> {
        Record { row, rows: self, body, payload }
    }

    /// Where the record at a place begins in the body.
    pub(crate) fn begin(&self, place: usize, body: &[u8]) -> usize {
        place.checked_sub(1).map_or(0, |before| self.rows[before].end(body))
    }
}

const MEASURED: &str = "Chain::accept measured the item";
const READ: &str = "Chain::accept read these bytes";

/// A record whose place in the chain is checked. Only [`crate::log::Chain`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) row: &'a Row,
    pub(crate) rows: &'a Rows,
    body: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Its place in the log.
    pub fn seq(&self) -> Seq {
        Seq(self.row.seq.into())
    }

    /// What it says.
    pub fn body(&self) -> Body {
        let Row { kind, id, .. } = *self.row;
        match kind {
            Kind::DefineId => Body::DefineId(self.row.class(), self.commitment_at(0)),
            Kind::DefineDevice => Body::DefineDevice(id, self.commitment_at(0)),
            Kind::DefineKey => Body::DefineKey(self.commitment_at(0)),
            Kind::DefineName => Body::DefineName(self.commitment_at(0)),
            kind if kind.is_operation() => Body::Operation(Box::new(self.asked())),
            kind => tail::rare(kind, self.tail()).expect(READ).0,
        }
    }

    /// What was asked; the record is an operation.
    fn asked(&self) -> Asked {
        let Row { kind, id, time, flags, .. } = *self.row;
        let given = flags.has(Flags::GIVEN_ID);
        let operation = if given { self.bytes_at(0) } else { [0; OPERATION_ID_BYTES] };
        let other = self.row.other();
        let verb = match kind {
            Kind::Capture => AskedVerb::Capture(self.row.name().map(NameNo)),
            Kind::Identify => AskedVerb::Identify(other),
            Kind::Alias => AskedVerb::Alias(other),
            Kind::Merge => AskedVerb::Merge(other),
            Kind::Set => AskedVerb::Set,
            Kind::Switch => AskedVerb::Switch,
            Kind::Reset => AskedVerb::Reset(self.row.fresh_device()),
            Kind::Retract => AskedVerb::Retract(self.row.other.into()),
            Kind::Reclassify => AskedVerb::Reclassify(StoredClass(self.row.other as u8)), // as above
            _ => AskedVerb::Split(self.leavers().expect("no other kind is an operation")),
        };
        Asked {
            head: OperationHeader { id, device: self.row.device(), time, operation, flags },
            verb,
            changes: self.changes().to_vec(),
            item: self.commitment(),
        }
    }

    /// Who leaves, if the record is a split.
    pub(crate) fn leavers(&self) -> Option<SplitOff> {
        let mut at = self.row.at as usize + self.row.fixed_tail();
        (self.row.kind == Kind::Split).then(|| tail::leavers(self.body, &mut at).expect(READ))
    }

    /// What is to be forgotten, if the record is an erasure.
    pub(crate) fn erasure(&self) -> Option<Box<Erasure>> {
        match (self.row.kind == Kind::Erase).then(|| self.body()) {
            Some(Body::Erase(erasure)) => Some(erasure),
            _ => None,
        }
    }

    /// Whether it records an operation (A4); the others define numbers, set policies, or tell of recoveries.
    pub fn is_operation(&self) -> bool {
        self.row.is_operation()
    }

    /// Its property changes.
    pub fn changes(&self) -> &'a [Change] {
        if self.row.has_changes() { self.rows.lists.get(self.row.list) } else { &[] }
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

    /// Where its payload item stands in the frame's payload, and where in that what follows its length; `None` if it has none or
    /// it was erased.
    pub(crate) fn item_span(&self) -> Option<(Range<usize>, usize)> {
        if !self.row.has_item() || self.is_erased() {
            return None;
        }
        let start = self.row.item_at as usize;
        let mut at = start;
        let len = varint::read(self.payload, &mut at).expect(MEASURED) - 1;
        let seal = if self.rows.sealed { SEAL_BYTES } else { 0 };
        Some((start..at + SALT_BYTES + len as usize + seal, at - start)) // a frame is at most 16 MiB
    }

    /// Its payload item as it stands in the payload, sealed or not; `None` if it has none or it was erased.
    pub(crate) fn stored_item(&self) -> Option<&'a [u8]> {
        Some(&self.payload[self.item_span()?.0])
    }

    pub(crate) fn salt_and_item(&self) -> Option<(&'a [u8; SALT_BYTES], &'a [u8])> {
        let (span, len) = self.item_span().filter(|_| !self.rows.sealed)?;
        self.payload[span][len..].split_first_chunk::<SALT_BYTES>()
    }

    /// What binds the record to its item.
    pub(crate) fn commitment(&self) -> Option<Commitment> {
        let Row { kind, flags, .. } = *self.row;
        if !self.row.has_item() {
            return None;
        }
        Some(match kind {
            kind if kind.is_operation() => {
                self.commitment_at(if flags.has(Flags::GIVEN_ID) { OPERATION_ID_BYTES } else { 0 })
            }
            kind if kind.defines() => self.commitment_at(0),
            _ => *self.body().commitment()?,
        })
    }

    /// How many bytes of the frame's body are the record's.
    pub(crate) fn body_len(&self) -> usize {
        let rows = &self.rows.rows;
        let place = (self.row.seq - rows[0].seq) as usize;
        self.row.end(self.body) - self.rows.begin(place, self.body)
    }

    /// The end of the record's bytes: all that is not in its row.
    pub(super) fn tail(&self) -> &'a [u8] {
        &self.body[self.row.at as usize..self.row.end(self.body)]
    }

    /// The tail of an operation, without the ids of a split.
    pub(super) fn fixed_tail(&self) -> &'a [u8] {
        &self.body[self.row.at as usize..][..self.row.fixed_tail()]
    }

    /// The time of an operation, in microseconds.
    pub(crate) fn time(&self) -> i64 {
        assert!(self.is_operation(), "operations have a time");
        self.row.time
    }

    /// Its operation id: given, in its bytes, or derived, in its item.
    pub fn operation_id(&self) -> Option<OperationId> {
        let bytes = if self.row.flags.has(Flags::GIVEN_ID) {
            self.bytes_at(0)
        } else if self.row.flags.has(Flags::DERIVED_ID) {
            *self.item()?.first_chunk()?
        } else {
            return None;
        };
        Some(OperationId(uuid::Uuid::from_bytes(bytes)))
    }

    fn commitment_at(&self, place: usize) -> Commitment {
        Commitment(self.bytes_at(place))
    }

    /// Bytes of the tail.
    fn bytes_at<const N: usize>(&self, place: usize) -> [u8; N] {
        *self.body[self.row.at as usize + place..].first_chunk().expect(READ)
    }
}
