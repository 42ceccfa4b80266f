//! Requests to forget, and what each comes to: ids, records, values and devices. Erasing records it, and a preview says it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::ledger::erase::rewrite::definition_of;
use crate::ledger::error::EraseError;
use crate::log::body::{Change, DeviceNo, ErasedDevice, IdNo, KeyNo, Restated};
use crate::log::item::write_value;
use crate::log::record::Record;
use crate::model::id::{DistinctId, PersonId, PropertyKey, Seq};
use crate::model::limits::{MAX_OPERATION_KEYS, MAX_REASON_BYTES};
use crate::model::time::Timestamp;
use crate::query::reader::Reader;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureSubject {
    /// Everything of the person with this public id: texts of its ids, values of their records.
    Person(PersonId),
    /// Everything of the person that this id belongs to; of an id without person, the id alone.
    PersonOf(DistinctId),
    /// These ids alone. Their person lives on with the others.
    Ids(BTreeSet<DistinctId>),
    /// The reason that was given for an earlier erasure: it may name a person.
    ReasonOf(Seq),
}

/// A wish to be forgotten.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
/// use identity_ledger::erase::{ErasureRequest, ErasureSubject};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
///
/// let ann = ErasureSubject::PersonOf(DistinctId::new("ann")?);
/// let receipts = ledger.erase(&[ErasureRequest::new(at, ann, "request 17")])?;
/// assert_eq!(receipts[0].items, Some(1)); // the text `ann`
/// assert_eq!(ledger.resolve("ann"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureRequest {
    /// Whose or what.
    pub subject: ErasureSubject,
    /// Only the values of these keys, of all records that speak for the subject's ids; everything if there are none.
    pub keys: BTreeSet<PropertyKey>,
    /// Why, in a sentence; may be empty. It is stored as texts are, and can be erased as they are.
    pub reason: String,
    /// When it was asked for.
    pub at: Timestamp,
}

impl ErasureRequest {
    /// Everything of the subject.
    pub fn new(at: Timestamp, subject: ErasureSubject, reason: impl Into<String>) -> ErasureRequest {
        ErasureRequest { subject, keys: BTreeSet::new(), reason: reason.into(), at }
    }

    /// Only the values of these keys: a rectification.
    #[must_use]
    pub fn with_keys(mut self, keys: impl IntoIterator<Item = PropertyKey>) -> ErasureRequest {
        self.keys.extend(keys);
        self
    }
}

/// What an erasure would take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErasurePreview {
    /// The ids that the request names, in the order in which they were first written; `$erased:7` if the text is gone already. None of a
    /// request for some keys.
    pub ids: Vec<String>,
    /// Events captured under them. They stay, without the text of their id.
    pub events: u64,
    /// Devices whose own id has the text of one of them; it would go too.
    pub devices: Vec<String>,
    /// By property key, how many recorded values would go, overwritten ones included.
    pub values: BTreeMap<String, u64>,
    /// Whether it is the reason of an earlier erasure that would go.
    pub reason: bool,
}

/// What a request comes to.
pub(super) struct Wanted {
    pub(super) index: usize,
    pub(super) ids: Vec<IdNo>,
    pub(super) keys: Vec<KeyNo>,
    pub(super) records: Vec<u32>,
}

impl Wanted {
    /// Whether it is about the values of some keys only.
    pub(super) fn is_scoped(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether it is about values of this key too.
    fn takes(&self, key: KeyNo) -> bool {
        self.keys.is_empty() || self.keys.binary_search(&key).is_ok()
    }
}

/// A value-bearing record that a key-scoped erasure touches.
pub(super) struct Touched {
    /// The record that holds its item now.
    pub(super) holder: u32,
    pub(super) restated: Restated,
    /// Canonical bytes of the values that stay.
    pub(super) values: Vec<u8>,
}

impl Reader {
    /// What an erasure would take, were it asked for now. Nothing is recorded.
    ///
    /// Cost: one reading of the log from the first of the ids on.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
    /// use identity_ledger::erase::{ErasureRequest, ErasureSubject};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let ann = DistinctId::new("ann")?;
    /// let _ = ledger.append(Operation::properties(at, ann.clone()).set("city", "Bonn")?)?;
    ///
    /// let request = ErasureRequest::new(at, ErasureSubject::PersonOf(ann), "request 17");
    /// let preview = ledger.reader().preview_erasure(&request)?;
    /// assert_eq!((&preview.ids[..], preview.values["city"]), (&["ann".to_owned()][..], 1));
    /// assert!(ledger.resolve("ann").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EraseError`], as the erasure would give it, but for what only a writer finds: the lock, and whether the key ring of a sealed ledger
    /// is this copy's and can be stored.
    pub fn preview_erasure(&self, request: &ErasureRequest) -> Result<ErasurePreview, EraseError> {
        self.prove_snapshot()?;
        let wanted = self.wanted(0, request)?;
        let mut preview = ErasurePreview::default();
        for device in self.devices_of(&wanted)? {
            preview.devices.push(self.device_name(device.device));
        }
        let all = self.said([&wanted])?;
        for seq in all.into_values().flatten() {
            let window = self.log.window(seq, self.state().erasures())?;
            let record = window.checked(seq)?;
            let values = self.values_in(record)?.values;
            let valued = record.changes().iter().filter(|change| change.verb.has_value());
            for (change, _) in valued.zip(&values).filter(|(_, value)| value.is_some()) {
                if wanted.takes(change.key) {
                    *preview.values.entry(self.key_name(change.key)).or_default() += 1;
                }
            }
        }
        if !wanted.is_scoped() {
            preview.ids = wanted.ids.iter().map(|id| self.id_name(*id)).collect();
            preview.reason = matches!(request.subject, ErasureSubject::ReasonOf(_));
            preview.events = wanted.ids.iter().map(|id| self.state().events_of_id(*id).events).sum();
        } else if preview.values.is_empty() {
            return Err(EraseError::NoValues { index: 0 });
        }
        Ok(preview)
    }

    pub(super) fn wanted(&self, index: usize, request: &ErasureRequest) -> Result<Wanted, EraseError> {
        let found = request.reason.len();
        if found > MAX_REASON_BYTES {
            return Err(EraseError::LongReason { index, found });
        }
        let id_no = |id: &DistinctId| {
            let unknown = || EraseError::UnknownId { index, id: id.to_string() };
            self.id_no(id.as_str()).ok_or_else(unknown)
        };
        let mut records = Vec::new();
        let mut ids = match &request.subject {
            ErasureSubject::Person(id) => {
                let person = self.person_of(*id).ok_or(EraseError::UnknownPerson { index, id: *id })?;
                self.state().ids_of(self.state().survivor(person))
            }
            ErasureSubject::PersonOf(id) => {
                let id = id_no(id)?;
                self.state().person(id).map_or_else(|| vec![id], |person| self.state().ids_of(person))
            }
            ErasureSubject::Ids(ids) if ids.is_empty() => return Err(EraseError::NoIds { index }),
            ErasureSubject::Ids(ids) => ids.iter().map(id_no).collect::<Result<_, _>>()?,
            ErasureSubject::ReasonOf(seq) => {
                let receipts = self.receipts(|erase| u64::from(erase) == seq.0)?;
                if receipts.iter().all(|receipt| receipt.reason.is_none()) {
                    return Err(EraseError::NoReason { index, seq: *seq });
                }
                records.push(seq.0 as u32); // a record that was found
                Vec::new()
            }
        };
        ids.sort_unstable();
        if request.keys.is_empty() {
            records.extend(self.said_under_shared(&ids)?);
        }
        let keys = request.keys.iter().filter_map(|key| self.dictionaries.keys.find(key.as_str()));
        let keys: BTreeSet<KeyNo> = keys.map(KeyNo).collect();
        match keys.len() {
            0 if !request.keys.is_empty() => return Err(EraseError::NoValues { index }),
            found if found > MAX_OPERATION_KEYS => return Err(EraseError::TooManyKeys { index, found }),
            _ => {}
        }
        Ok(Wanted { index, ids, keys: keys.into_iter().collect(), records })
    }

    /// The records with an item that were said for one of these ids under a shared id (D13), but for those that go with an id themselves. Where
    /// keys were erased, the record that holds what is left.
    fn said_under_shared(&self, ids: &[IdNo]) -> Result<Vec<u32>, EraseError> {
        let said = self.said_for(ids, Seq(self.checkpoint().records - 1))?;
        let mut records = Vec::new();
        let erasures = self.state().erasures();
        for seq in said {
            let holder = erasures.left_of(seq.0 as u32).map_or(seq, |left| Seq(left.by.into())); // a record that was found
            let window = self.log.window(holder, erasures)?;
            let row = window.checked(holder)?.row;
            if row.has_item() && ids.binary_search(&row.id).is_err() {
                records.push(row.seq);
            }
        }
        Ok(records)
    }

    /// Records that speak for the ids of requests and have values of their keys, erased ones included: by request, in the order of the
    /// log, in one look through it.
    pub(super) fn said<'w>(
        &self,
        wanted: impl IntoIterator<Item = &'w Wanted>,
    ) -> Result<BTreeMap<usize, Vec<Seq>>, EraseError> {
        let mut said: BTreeMap<usize, Vec<Seq>> = BTreeMap::new();
        let mut by_id: BTreeMap<IdNo, Vec<&Wanted>> = BTreeMap::new();
        for wanted in wanted {
            wanted.ids.iter().for_each(|id| by_id.entry(*id).or_default().push(wanted));
        }
        let Some(first) = by_id.keys().map(|id| self.state().defined_by(*id)).min() else {
            return Ok(said);
        };
        let log = &self.log;
        let segments = log.mark_before(first).segment..log.segments().len() as u32;
        for begin in segments.filter_map(|segment| log.mark_of_segment(segment)) {
            log.frames(&begin, |at| {
                for record in at.records().filter(|record| record.is_operation() && record.row.has_changes())
                {
                    let id = self.state().speaks_for(record.row.id, record.seq());
                    let of_ids = [Some(id), Some(record.row.id).filter(|own| *own != id)];
                    for wanted in of_ids.iter().flatten().filter_map(|id| by_id.get(id)).flatten() {
                        let is_wanted = |change: &Change| change.verb.has_value() && wanted.takes(change.key);
                        let said = said.entry(wanted.index).or_default();
                        if record.changes().iter().any(is_wanted) && said.last() != Some(&record.seq()) {
                            said.push(record.seq());
                        }
                    }
                }
                Ok::<bool, EraseError>(true)
            })?;
        }
        Ok(said)
    }

    /// What of a record's values goes and what stays; `None` if nothing is left to go.
    pub(super) fn touches(&self, seq: Seq, keys: &[KeyNo]) -> Result<Option<Touched>, EraseError> {
        let erasures = self.state().erasures();
        let window = self.log.window(seq, erasures)?;
        let record: Record<'_> = window.checked(seq)?;
        let values = self.values_in(record)?.values;
        let valued = record.changes().iter().filter(|change| change.verb.has_value());
        let (mut erased, mut rest, mut some) = (Vec::new(), Vec::new(), false);
        for ((place, change), value) in (0u16..).zip(valued).zip(&values) {
            match value {
                Some(value) if keys.binary_search(&change.key).is_err() => write_value(value, &mut rest),
                Some(_) => {
                    some = true;
                    erased.push(place);
                }
                None => erased.push(place),
            }
        }
        let record_no = record.row.seq;
        let holder = erasures.left_of(record_no).map_or(record_no, |left| left.by);
        let restated = Restated { record: record_no, id: record.row.id, erased, item: None };
        Ok(some.then_some(Touched { holder, restated, values: rest }))
    }

    /// H3: devices whose text equals that of an erased id.
    pub(super) fn devices_of(&self, wanted: &Wanted) -> Result<Vec<ErasedDevice>, EraseError> {
        let mut devices = Vec::new();
        if !wanted.is_scoped() {
            for text in wanted.ids.iter().filter_map(|id| self.id_text(*id)) {
                if let Some(device) = self.device_no(text) {
                    devices.push(ErasedDevice { device, defined: definition_of(&self.log, device)? });
                }
            }
        }
        devices.sort_unstable();
        Ok(devices)
    }

    /// Devices that speak for an id that is to be erased, and are not erased themselves.
    pub(super) fn resets(
        &self,
        wanted: &[Wanted],
        erased: &[Vec<ErasedDevice>],
        requests: &[ErasureRequest],
    ) -> Vec<(Timestamp, DeviceNo)> {
        let whole = wanted.iter().filter(|wanted| !wanted.is_scoped());
        let ids = whole.flat_map(|wanted| wanted.ids.iter().map(|id| (*id, requests[wanted.index].at)));
        let ids: BTreeMap<IdNo, Timestamp> = ids.collect();
        let erased: BTreeSet<DeviceNo> = erased.iter().flatten().map(|erased| erased.device).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let devices = (0..).map(DeviceNo).zip(self.state().devices());
        devices
            .filter(|(number, _)| !erased.contains(number))
            .filter_map(|(number, device)| Some((*ids.get(&device.current)?, number)))
            .collect()
    }
}
