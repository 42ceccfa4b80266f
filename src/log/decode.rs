//! Reading records: from a frame's body into rows. `docs/format.md`, "Bodies", has the layout; [`crate::log::encode`] writes it.

use crate::log::body::{Body, Change, Flags, IdNo, KeyNo, SplitOff, StoredClass, Verb};
use crate::log::codec::CodecError;
use crate::log::kind::Kind;
use crate::log::record::{COMMITMENT_BYTES, Lists, OPERATION_ID_BYTES, Row, Rows};
use crate::log::tail;
use crate::log::varint;
use crate::model::limits::MAX_OPERATION_KEYS;

/// Records of a block: at its first one a reader can begin without those before. Set in stone.
pub(crate) const BLOCK_RECORDS: usize = 64;
/// The bits of a record's first byte that say which kind it is.
const KIND: u8 = 0b0001_1111;
/// The operation names something beside T: S of a link, the name of an event, the fresh device of a reset.
pub(super) const HAS_OTHER: u8 = 1 << 5;
/// A device spoke.
pub(super) const HAS_DEVICE: u8 = 1 << 6;
/// It changes properties.
pub(super) const HAS_CHANGES: u8 = 1 << 7;

/// What a reader knows in the middle of a block, beside its lists of changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Midway {
    /// The time of the operation before, in microseconds; 0 at the beginning of a block.
    time: i64,
}

/// What the bytes of a record say that no row holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// What is wrong with it, as far as its bytes alone tell.
    pub(super) wrong: Option<&'static str>,
    /// The highest number among the ids that a split names, beside T.
    pub(super) highest: Option<IdNo>,
}

/// Reads the record at `at` of a body into `row`, and moves `at` behind it. If it has a payload item, the row says that the item is not there.
pub(super) fn read(
    body: &[u8],
    at: &mut usize,
    midway: &mut Midway,
    lists: &mut Lists,
    row: &mut Row,
) -> Result<Beside, CodecError> {
    let first = *body.get(*at).ok_or_else(varint::cut_off)?;
    row.kind = *Kind::ALL
        .get(usize::from(first & KIND))
        .ok_or_else(|| CodecError::of("an unknown kind of record"))?;
    *at += 1;
    if row.is_operation() {
        return operation(body, at, first & !KIND, midway, lists, row);
    }
    if first & !KIND != 0 {
        return Err(CodecError::of("its first byte says what only operations have"));
    }
    match row.kind {
        Kind::DefineId => {
            row.other = u32::from(*body.get(*at).ok_or_else(varint::cut_off)?);
            *at += 1;
        }
        Kind::DefineDevice => row.id = IdNo(varint::number(body, at)?),
        _ => {}
    }
    row.at = *at as u32; // a frame is at most 16 MiB
    if row.kind.defines() {
        row.set_erased();
        return skip(body, at, COMMITMENT_BYTES).map(|()| Beside::default());
    }
    let (said, taken) = tail::rare(row.kind, &body[*at..])?;
    *at += taken;
    if said.commitment().is_some() {
        row.set_erased();
    }
    let wrong = match &said {
        Body::Genesis(policy) | Body::SetPolicy(policy) if policy.policy().is_none() => {
            Some("a policy is out of its bounds or not canonical")
        }
        Body::Followed(followed) if !followed.is_canonical() => {
            Some("the name of a followed log is out of its bounds")
        }
        _ => None,
    };
    if let Body::Restate(restated) = said {
        row.id = restated.id;
    }
    Ok(Beside { wrong, highest: None })
}

fn operation(
    body: &[u8],
    at: &mut usize,
    has: u8,
    midway: &mut Midway,
    lists: &mut Lists,
    row: &mut Row,
) -> Result<Beside, CodecError> {
    let flags = u16::try_from(varint::any(body, at)?).ok().filter(|flags| flags & !Flags::KNOWN.0 == 0);
    row.flags = Flags(
        flags.ok_or_else(|| CodecError::of("an operation with flags that this version does not know"))?,
    );
    row.id = IdNo(varint::number(body, at)?);
    match (row.kind, has & HAS_OTHER != 0) {
        (kind, true) if kind.links() => row.set_source(varint::number(body, at)?),
        (Kind::Capture | Kind::Reset, true) | (Kind::Retract, false) => row.other = varint::number(body, at)?,
        (Kind::Reclassify, false) => row.other = class(varint::number(body, at)?)?,
        (_, false) => {}
        _ => return Err(CodecError::of("its first byte says that it names what its kind does not name")),
    }
    if has & HAS_DEVICE != 0 {
        row.device = varint::number(body, at)?;
    }
    row.time = time(varint::any(body, at)?, midway.time)?;
    midway.time = row.time;
    let mut has_item = row.flags.has(Flags::DERIVED_ID);
    if has & HAS_CHANGES != 0 {
        row.list = list(body, at, lists, row.flags)?;
        has_item |= lists.get(row.list).iter().any(|change| change.verb.has_value());
    }
    if row.flags.has(Flags::RELATIVE) && !row.has_changes() {
        return Err(CodecError::of(NOT_RELATIVE));
    }
    row.at = *at as u32; // a frame is at most 16 MiB
    if row.flags.has(Flags::GIVEN_ID) {
        skip(body, at, OPERATION_ID_BYTES)?;
    }
    if has_item {
        skip(body, at, COMMITMENT_BYTES)?;
        row.set_erased();
    }
    if row.kind != Kind::Split {
        return Ok(Beside::default());
    }
    let SplitOff { ids, .. } = tail::leavers(body, at)?;
    Ok(Beside { wrong: None, highest: ids.last().copied() })
}

const NOT_RELATIVE: &str =
    "flags that say of its changes that some are relative, or that none is, and they are not";

/// How many bits of a change in a list are its verb.
pub(super) fn verb_bits(flags: Flags) -> u32 {
    if flags.has(Flags::RELATIVE) { 3 } else { 2 }
}

/// The class that a reclassification gives.
fn class(stored: u32) -> Result<u32, CodecError> {
    let known = u8::try_from(stored).is_ok_and(|class| StoredClass(class).is_known());
    if known { Ok(stored) } else { Err(CodecError::of("an unknown class of id")) }
}

/// An operation's time: how much later than `before`, in milliseconds or, if those do not do, in microseconds.
#[inline]
fn time(stored: u64, before: i64) -> Result<i64, CodecError> {
    let step = varint::unzigzag(stored >> 1);
    let later =
        if stored & 1 == 0 { step.checked_mul(1_000) } else { Some(step).filter(|step| step % 1_000 != 0) };
    later
        .and_then(|later| before.checked_add(later))
        .ok_or_else(|| CodecError::of("a time that is not spelled as a writer spells it"))
}

/// The list of changes at `at`: one of the last ones, or a new one.
fn list(body: &[u8], at: &mut usize, lists: &mut Lists, flags: Flags) -> Result<u32, CodecError> {
    let (recent, relative) = (Lists::RECENT as u64, flags.has(Flags::RELATIVE));
    let stored = varint::any(body, at)?;
    let Some(count) = stored.checked_sub(recent) else {
        let list = lists
            .recent(stored as usize)
            .ok_or_else(|| CodecError::of("changes that are those of no record before"))?;
        return if lists.is_relative(list) == relative {
            Ok(list)
        } else {
            Err(CodecError::of(NOT_RELATIVE))
        };
    };
    if count == 0 || count > MAX_OPERATION_KEYS as u64 {
        return Err(CodecError::of("no changes, or more than any operation makes"));
    }
    let begun = lists.len();
    let mut last: Option<Change> = None;
    for _ in 0..count {
        let next = varint::any(body, at).and_then(|stored| change(stored, last, verb_bits(flags)));
        let next = next.inspect_err(|_| lists.truncate(begun))?;
        lists.push(next);
        last = Some(next);
    }
    if relative && !lists.open().iter().any(|change| change.verb.is_relative()) {
        lists.truncate(begun);
        return Err(CodecError::of(NOT_RELATIVE));
    }
    if lists.find(lists.open()).is_some() {
        return Err(CodecError::of("changes that stand in a record before"));
    }
    Ok(lists.close())
}

/// A change: by how much its key's number is higher than the last one's, and the verb.
fn change(stored: u64, last: Option<Change>, bits: u32) -> Result<Change, CodecError> {
    let verb = Verb((stored & ((1 << bits) - 1)) as u8);
    let key = u64::from(last.map_or(0, |last| last.key.0)) + (stored >> bits);
    let change = Change { key: KeyNo(varint::real(key)?), verb };
    if last.is_some_and(|last| change <= last) {
        return Err(CodecError::of("property changes out of order"));
    }
    Ok(change)
}

/// Bytes that [`plain`] looks at: first byte, flags, three numbers, an operation id.
const PLAIN_BYTES: usize = 2 + 3 * varint::MAX_BYTES + OPERATION_ID_BYTES;
/// Numbers of things are lower.
const HIGHEST: u64 = varint::HIGHEST as u64;
/// How a capture begins that has a name, no device and no changes.
const NAMED_CAPTURE: u8 = Kind::Capture as u8 | HAS_OTHER;

/// Reads what most records are: a capture with a name and a given operation id, processing on or off, and with nothing else that could
/// be wrong but its numbers and its time. `None` for all that is to be read with more care, as is what stands close to the body's end.
#[inline]
pub(super) fn plain(body: &[u8], at: &mut usize, midway: &mut Midway, seq: u32) -> Option<Row> {
    let bytes = body.get(*at..)?.first_chunk::<PLAIN_BYTES>()?;
    // Flags stand in one byte if no bit behind the sixth is set: twice their number, and one more.
    let (given, off) = (Flags::GIVEN_ID.0 as u8, Flags::PROCESSING_OFF.0 as u8);
    let mut taken = 2;
    let (id, is_id) = varint::short(bytes, &mut taken);
    let (name, is_name) = varint::short(bytes, &mut taken);
    let (step, is_step) = varint::short(bytes, &mut taken);
    // All in one question: a processor that has to guess guesses once.
    let begins = (bytes[0] == NAMED_CAPTURE) & (bytes[1] & !(off << 1) == given << 1 | 1);
    if !(begins & is_id & is_name & is_step & (id < HIGHEST) & (name < HIGHEST)) {
        return None;
    }
    let time = time(step, midway.time).ok()?;
    let row = Row {
        time,
        id: IdNo(id as u32),
        other: name as u32,
        at: (*at + taken) as u32, // a frame is at most 16 MiB
        flags: Flags(u16::from(bytes[1] >> 1)),
        kind: Kind::Capture,
        ..Row::new(seq)
    };
    midway.time = time;
    *at += taken + OPERATION_ID_BYTES;
    Some(row)
}

/// Reads the definition of an id, which is what most records are that are not operations. `None` for any other, and for a class that there is not.
#[inline]
pub(super) fn defined_id(body: &[u8], at: &mut usize, seq: u32) -> Option<Row> {
    let [kind, class, ..] = body.get(*at..)?.first_chunk::<{ 2 + COMMITMENT_BYTES }>()?;
    if (*kind != Kind::DefineId as u8) | !StoredClass(*class).is_known() {
        return None;
    }
    let row = Row {
        kind: Kind::DefineId,
        other: u32::from(*class),
        at: (*at + 2) as u32, // a frame is at most 16 MiB
        ..Row::new(seq)
    };
    *at += 2 + COMMITMENT_BYTES;
    Some(row)
}

/// The records of a block, read again from bytes that a chain accepted. `None` if they are other bytes.
pub(crate) fn block(first: u32, records: usize, body: &[u8]) -> Option<Rows> {
    let (mut rows, mut at, mut midway) = (Rows::default(), 0, Midway::default());
    for place in 0..records as u32 {
        let mut row = Row::new(first + place);
        read(body, &mut at, &mut midway, &mut rows.lists, &mut row).ok()?;
        rows.rows.push(row);
    }
    Some(rows)
}

/// What the records of a body say, without any chain: claims, not records. Ends behind the last one, or with the first that cannot be read.
pub(crate) fn bodies(body: &[u8]) -> impl Iterator<Item = Result<Body, CodecError>> {
    let (mut rows, mut at, mut midway) = (Rows::default(), 0, Midway::default());
    let mut places = 0..u32::MAX;
    std::iter::from_fn(move || {
        let place = places.next().filter(|_| at < body.len())?;
        if (place as usize).is_multiple_of(BLOCK_RECORDS) {
            (rows, midway) = Default::default();
        }
        let mut row = Row::new(place);
        let said = read(body, &mut at, &mut midway, &mut rows.lists, &mut row);
        let said = said.map(|_| rows.of(&row, body, &[]).body());
        if said.is_err() {
            places = 0..0;
        }
        Some(said)
    })
}

fn skip(body: &[u8], at: &mut usize, bytes: usize) -> Result<(), CodecError> {
    *at += bytes;
    if *at <= body.len() { Ok(()) } else { Err(varint::cut_off()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Reads one record in both ways.
    pub(in crate::log) fn plain_and_careful_agree(bytes: &[u8]) {
        let (mut at, mut midway) = (0, Midway { time: 5 });
        let found = plain(bytes, &mut at, &mut midway, 11);
        let (mut careful_at, mut careful_midway) = (0, Midway { time: 5 });
        let (mut row, mut lists) = (Row::new(11), Lists::default());
        let careful = read(bytes, &mut careful_at, &mut careful_midway, &mut lists, &mut row);
        let is_plain = careful.is_ok()
            && (row.kind, row.device(), row.has_changes(), row.has_item())
                == (Kind::Capture, None, false, false)
            && row.name().is_some()
            && matches!(row.flags.0, 2 | 3);
        match found {
            Some(found) => assert_eq!((found, at, midway.time), (row, careful_at, careful_midway.time)),
            None => assert!(!is_plain, "it is left to the careful reader"),
        }
    }
}
