//! Records of proven frames, read one by one: by number, and with the texts that are still known.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use serde::Serialize;

use super::frames::Found;
use crate::log::body::{AskedVerb, Body, Erasure, Flags, Followed, LinkSource, OperationHeader};
use crate::log::commitment::Commitments;
use crate::log::decode;
use crate::log::frame::{ABSENT, Frame, SALT_BYTES};
use crate::log::item::read_value;
use crate::log::payload::{Keys, Opened};
use crate::log::record::SEAL_BYTES;
use crate::log::varint;
use crate::model::id::{DeviceId, DistinctId, EventName, OperationId, PropertyKey, Seq};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::dictionary::Dictionaries;
use crate::store::layout::Identity;
use crate::store::segments::Log;

/// What became of a payload item that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ItemLoss {
    /// It is not what the record committed to. Where an item's length is damaged, those behind it in the frame are lost too.
    Damaged,
    /// It is gone, and no record erased it.
    Missing,
    /// An erasure covers it. Whether or not it is gone already, it is not shown, and it is not lost.
    Erased,
    /// It is there, and an erasure that is not finished covers the text of an id that may be this one: records are lost before it,
    /// so its number cannot be counted. It is not shown.
    Withheld,
}

/// A text, or the values, of an intact record, lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostItem {
    /// The record whose text or values are lost.
    pub seq: Seq,
    /// What the record is.
    pub op: &'static str,
    /// How it was lost.
    pub loss: ItemLoss,
}

/// A number, and the text that it stands for if the definition survives where numbers can still be counted: before the first
/// lost record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The number, as the record holds it.
    pub number: u32,
    /// The text that the number stands for; `None` if it cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A property change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SalvagedChange {
    /// The property key.
    pub key: Named,
    /// `set`, `set_once`, `unset`, `add`, `append`, `union`, `remove`, or `kept`: the event's own property.
    pub verb: &'static str,
    /// The value; `None` if there is none, or if it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A record behind the first fault, proven to be what was written. What the fold made of it is not known: that needs every
/// record before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SalvagedRecord {
    /// The place of the record in its ledger.
    pub seq: Seq,
    /// The file it stands in.
    pub file: String,
    /// Where its frame begins there.
    pub offset: u64,
    /// When it was recorded, by the writer's clock.
    pub recorded_at: Timestamp,
    /// What it is.
    pub op: &'static str,
    /// Of a definition: the number that it gives, if it can still be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defines: Option<u32>,
    /// Of a definition: the text, if it is not lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// T; of a device its first id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Named>,
    /// S of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Named>,
    /// The device that spoke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Named>,
    /// The fresh device of a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_device: Option<Named>,
    /// The name of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Named>,
    /// The sender's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The operation id; `None` also where a derived one is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// The flags of an operation, as `docs/format.md` numbers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<u16>,
    /// The property changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SalvagedChange>,
    /// The policy that it sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The position of a followed log that it goes up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// What became of its text or values, if they cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<ItemLoss>,
}

/// The payload item of a record.
#[derive(Clone)]
enum Item<'a> {
    /// It has none, or it is sealed and there are no keys.
    None,
    /// It is the one the record committed to.
    Whole(Cow<'a, [u8]>),
    Lost(ItemLoss),
}

impl Item<'_> {
    fn loss(&self) -> Option<ItemLoss> {
        if let Item::Lost(loss) = self { Some(*loss) } else { None }
    }
}

/// What the erasures among proven records cover, of the records before them.
#[derive(Debug, Default)]
pub(super) struct Cover {
    /// Each with the time at which it was recorded.
    pub(super) erasures: Vec<(Timestamp, Erasure)>,
    ids: BTreeSet<u32>,
    /// Of those, the ones whose texts may still be in the files.
    pending: BTreeSet<u32>,
    /// Records: named one by one, or defining an erased device.
    records: BTreeSet<u32>,
}

impl Cover {
    /// Reads the proven frames behind the fault, in their order.
    pub(super) fn read(log: &Log, found: &[Found]) -> io::Result<Cover> {
        let (mut cover, mut begun, mut done) = (Cover::default(), Vec::new(), BTreeSet::new());
        let mut buffer = Vec::new();
        for frame in found.iter().filter(|frame| frame.is_chosen()) {
            let Some(bytes) = frame.read(log, &mut buffer)? else { continue };
            for (seq, record) in
                (frame.header.first_seq..).zip(decode::bodies(bytes.body).map_while(Result::ok))
            {
                match record {
                    Body::Erase(erasure) => begun.push((seq, frame.header.recorded_at, *erasure)),
                    Body::EraseDone(removal) => {
                        done.extend(removal.erasures.iter().map(|removed| u64::from(removed.erase)));
                    }
                    _ => {}
                }
            }
        }
        for (seq, recorded_at, erasure) in begun {
            let ids = || erasure.ids.iter().map(|id| id.0);
            cover.ids.extend(ids());
            cover.pending.extend(ids().filter(|_| !done.contains(&seq)));
            cover
                .records
                .extend(erasure.records.iter().chain(erasure.devices.iter().map(|device| &device.defined)));
            cover.erasures.push((recorded_at, erasure));
        }
        Ok(cover)
    }

    /// Hides what is covered of a frame's records.
    fn hide(&self, records: &mut [(Body, Item<'_>)], frame: &Found, numbers: &mut Numbers) {
        numbers.enter(frame);
        for ((record, item), seq) in records.iter_mut().zip(frame.header.first_seq..) {
            let number = if let Body::DefineId(..) = record { numbers.define() } else { None };
            let speaks_for = match record {
                Body::Restate(restated) => Some(restated.id.0),
                _ => record.head().map(|head| head.id.0),
            };
            let is_covered = u32::try_from(seq).is_ok_and(|seq| self.records.contains(&seq))
                || speaks_for.or(number).is_some_and(|id| self.ids.contains(&id));
            // One of the ids whose definitions cannot be found may be defined here.
            let may_be = |ids: &BTreeSet<u32>| {
                matches!(record, Body::DefineId(..))
                    && number.is_none()
                    && ids.range(numbers.least..).next().is_some()
            };
            *item = match std::mem::replace(item, Item::None) {
                Item::None => Item::None,
                _ if is_covered => Item::Lost(ItemLoss::Erased),
                Item::Lost(ItemLoss::Missing) if may_be(&self.ids) => Item::Lost(ItemLoss::Erased),
                _ if may_be(&self.pending) => Item::Lost(ItemLoss::Withheld),
                item => item,
            };
        }
    }
}

/// The numbers of ids that are defined behind the fault: they can be counted as long as no record is lost.
pub(super) struct Numbers {
    next: u64,
    ids: Option<u32>,
    /// Ids below it are defined before.
    least: u32,
}

impl Numbers {
    /// Counts from a place where `records` records are known, with `ids` ids.
    pub(super) fn new(records: u64, ids: u32) -> Numbers {
        Numbers { next: records, ids: Some(ids), least: ids }
    }

    fn enter(&mut self, frame: &Found) {
        self.ids = self.ids.filter(|_| frame.header.first_seq == self.next);
        self.next = frame.end();
    }

    /// Whether they still count.
    fn count(&self) -> bool {
        self.ids.is_some()
    }

    fn define(&mut self) -> Option<u32> {
        let number = self.ids?;
        self.ids = Some(number + 1); // MAX_RECORDS bounds it
        self.least = number + 1;
        Some(number)
    }
}

/// Reads every record of a proven frame; `None` if it holds what no writer of this version writes.
fn records<'a>(frame: &Frame<'a>, identity: &Identity, keys: &Keys) -> Option<Vec<(Body, Item<'a>)>> {
    let mut records = Vec::new();
    let mut payload = frame.payload;
    for (at, record) in (0..).zip(decode::bodies(frame.body)) {
        let record = record.ok()?;
        let bad_time = record.head().is_some_and(|head| Timestamp::from_micros(head.time).is_err());
        let bad_policy =
            matches!(&record, Body::Genesis(policy) | Body::SetPolicy(policy) if policy.policy().is_none());
        if bad_time || bad_policy {
            return None;
        }
        let seq = Seq(frame.header.first_seq + at);
        let item = item(&record, seq, identity, keys, &mut payload);
        records.push((record, item));
    }
    (records.len() == frame.header.records as usize).then_some(records)
}

/// Takes the next item from the payload if the record has one.
fn item<'a>(record: &Body, seq: Seq, identity: &Identity, keys: &Keys, payload: &mut &'a [u8]) -> Item<'a> {
    let Some(commitment) = record.commitment() else { return Item::None };
    let damaged = Item::Lost(ItemLoss::Damaged);
    let mut begin = 0;
    let Some(len) = varint::read(payload, &mut begin) else { return damaged };
    let rest = &payload[begin..];
    if len == ABSENT {
        *payload = rest;
        return Item::Lost(ItemLoss::Missing);
    }
    let seal = if identity.sealed { SEAL_BYTES } else { 0 };
    let len = usize::try_from(len - 1).ok().and_then(|len| len.checked_add(SALT_BYTES + seal));
    let Some((stored, rest)) = len.and_then(|len| rest.split_at_checked(len)) else {
        *payload = &[]; // its length is damaged: where the next one begins is not known
        return damaged;
    };
    *payload = rest;
    let plain = match keys {
        None if identity.sealed => return Item::None,
        None => Cow::Borrowed(stored),
        Some(sealer) => {
            let mut plain = Vec::new();
            match sealer.open(seq.0, stored, &mut plain) {
                Opened::Whole => Cow::Owned(plain),
                Opened::Destroyed => return Item::Lost(ItemLoss::Missing),
                Opened::Wrong | Opened::Later { .. } => return damaged,
            }
        }
    };
    let Some((salt, bytes)) = plain.split_first_chunk::<SALT_BYTES>() else { return damaged };
    if Commitments::of(identity.ledger).commit(seq, salt, bytes) != *commitment {
        return damaged;
    }
    Item::Whole(match &plain {
        Cow::Borrowed(plain) => Cow::Borrowed(&plain[SALT_BYTES..]),
        Cow::Owned(plain) => Cow::Owned(plain[SALT_BYTES..].to_vec()),
    })
}

/// Reads the frames that were chosen: what is unreadable is marked, and lost items are listed. What is erased is not lost.
pub(super) fn check_all(
    log: &Log,
    identity: &Identity,
    found: &mut [Found],
    cover: &Cover,
    mut numbers: Numbers,
) -> io::Result<Vec<LostItem>> {
    let mut lost = Vec::new();
    let mut buffer = Vec::new();
    for frame in found.iter_mut().filter(|frame| frame.is_chosen()) {
        let first = frame.header.first_seq;
        let read = frame.read(log, &mut buffer)?.and_then(|bytes| records(&bytes, identity, log.keys()));
        let Some(mut records) = read else {
            frame.set_unreadable();
            continue;
        };
        cover.hide(&mut records, frame, &mut numbers);
        for ((record, item), seq) in records.iter().zip(first..) {
            let lost_item = |loss| LostItem { seq: Seq(seq), op: record.name(), loss };
            lost.extend(item.loss().filter(|loss| *loss != ItemLoss::Erased).map(lost_item));
        }
    }
    Ok(lost)
}

/// Gives the next number to what the record defines. `false` if the text is out of bounds (B1), or has a number already.
pub(super) fn define(texts: &mut Dictionaries, record: &Body, item: Option<&[u8]>) -> bool {
    type Check = fn(&str) -> Result<(), crate::model::id::IdError>;
    let (dictionary, check): (_, Check) = match record {
        Body::DefineId(..) => (&mut texts.ids, DistinctId::check),
        Body::DefineDevice(..) => (&mut texts.devices, DeviceId::check),
        Body::DefineKey(_) => (&mut texts.keys, PropertyKey::check),
        Body::DefineName(_) => (&mut texts.names, EventName::check),
        _ => return true,
    };
    let text = item.and_then(|item| std::str::from_utf8(item).ok());
    let text = text.filter(|text| check(text).is_ok() && dictionary.find(text).is_none());
    dictionary.push(text);
    text.is_some()
}

/// Shows the records of proven frames. `texts` are those of the records before them: as long as none is lost, later definitions can
/// be counted too.
pub(super) fn show_all(
    log: &Log,
    identity: &Identity,
    proven: &[Found],
    cover: &Cover,
    mut numbers: Numbers,
    texts: &mut Dictionaries,
    each: &mut dyn FnMut(SalvagedRecord) -> io::Result<()>,
) -> io::Result<()> {
    let changed = || io::Error::other("the log changed while it was read");
    let mut buffer = Vec::new();
    for frame in proven {
        let bytes = frame.read(log, &mut buffer)?.ok_or_else(changed)?;
        if !frame.is_still(&bytes) {
            return Err(changed());
        }
        let mut records = records(&bytes, identity, log.keys()).ok_or_else(changed)?;
        cover.hide(&mut records, frame, &mut numbers);
        for ((record, item), seq) in records.iter().zip(frame.header.first_seq..) {
            let whole = if let Item::Whole(bytes) = item { Some(&**bytes) } else { None };
            let lengths = texts.lengths();
            if numbers.count() {
                define(texts, record, whole);
            }
            let mut shown = show(record, whole, texts);
            shown.defines = shown.defines.filter(|_| numbers.count() && texts.lengths() != lengths);
            shown.lost = item.loss();
            shown.file.clone_from(&log.segments()[frame.place.segment].name);
            (shown.seq, shown.offset) = (Seq(seq), frame.place.offset);
            shown.recorded_at = frame.header.recorded_at;
            each(shown)?;
        }
    }
    Ok(())
}

fn show(record: &Body, item: Option<&[u8]>, texts: &Dictionaries) -> SalvagedRecord {
    let named = |dictionary: &crate::store::dictionary::Dictionary, number: u32| Named {
        number,
        text: dictionary.text(number).map(str::to_owned),
    };
    let id = |number| named(&texts.ids, number);
    let device = |number| named(&texts.devices, number);
    let head = record.head();
    let defined = match record {
        Body::DefineId(..) => Some(texts.ids.len()),
        Body::DefineDevice(..) => Some(texts.devices.len()),
        Body::DefineKey(_) => Some(texts.keys.len()),
        Body::DefineName(_) => Some(texts.names.len()),
        _ => None,
    };
    let text = defined.and(item).and_then(|item| std::str::from_utf8(item).ok());
    let first = if let Body::DefineDevice(first, _) = record { Some(*first) } else { None };
    let other = if let LinkSource::Id(other) = record.other() { Some(id(other.0)) } else { None };
    let event = record.event_name();
    let fresh = if let Some(AskedVerb::Reset(fresh)) = record.verb() { *fresh } else { None };
    SalvagedRecord {
        seq: Seq(0), // the caller knows the place
        file: String::new(),
        offset: 0,
        recorded_at: Timestamp::MIN,
        op: record.name(),
        defines: defined.and_then(|count| count.checked_sub(1)), // the caller knows whether it was counted
        text: text.map(str::to_owned),
        id: head.map(|head| head.id).or(first).map(|number| id(number.0)),
        other,
        device: head.and_then(|head| head.device).map(|number| device(number.0)),
        fresh_device: fresh.map(|number| device(number.0)),
        event: event.map(|name| named(&texts.names, name.0)),
        time: head.map(OperationHeader::time),
        operation_id: head.and_then(|head| operation_id(head, item)),
        flags: head.map(|head| head.flags.0),
        changes: changes(record, item, texts),
        policy: match record {
            Body::Genesis(policy) | Body::SetPolicy(policy) => policy.policy(),
            _ => None,
        },
        followed: match record {
            Body::Followed(followed) => Some(Followed::clone(followed)),
            _ => None,
        },
        lost: None,
    }
}

fn operation_id(head: &OperationHeader, item: Option<&[u8]>) -> Option<OperationId> {
    let bytes = if head.flags.has(Flags::GIVEN_ID) {
        head.operation
    } else if head.flags.has(Flags::DERIVED_ID) {
        *item?.first_chunk::<16>()?
    } else {
        return None;
    };
    Some(OperationId(uuid::Uuid::from_bytes(bytes)))
}

fn changes(record: &Body, item: Option<&[u8]>, texts: &Dictionaries) -> Vec<SalvagedChange> {
    let derived = record.head().is_some_and(|head| head.flags.has(Flags::DERIVED_ID));
    let mut at = if derived { 16 } else { 0 };
    let mut rest = item.filter(|item| item.len() >= at);
    let mut next = || {
        let value = read_value(rest?, &mut at).ok();
        rest = rest.filter(|_| value.is_some()); // nothing is read behind bytes that are not a value
        value
    };
    let change = |change: &crate::log::body::Change| {
        let key = change.key.0;
        let key = Named { number: key, text: texts.keys.text(key).map(str::to_owned) };
        let verb = change.verb.name();
        let value = if change.verb.has_value() { next() } else { None };
        SalvagedChange { key, verb, value }
    };
    record.changes().iter().map(change).collect()
}
