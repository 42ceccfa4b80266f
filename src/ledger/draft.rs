//! Drafts: operations on their way into a frame. Texts become numbers, devices become the ids they speak for (F2, F3),
//! and what was said before is told apart from what is new (G4). Nothing here is final before it is written.

use std::collections::BTreeMap;
use std::mem;

use crate::fold::{DeviceState, Said, State};
use crate::log::body::{
    Asked, AskedVerb, Body, Change, Commitment, DeviceNo, Erasure, Flags, IdNo, KeyNo, NameNo,
    OperationHeader, Restated, SplitOff, StoredClass, Verb,
};
use crate::log::chain::write_item;
use crate::log::commitment::Commitments;
use crate::log::digest::Digest;
use crate::log::encode::BodyWriter;
use crate::log::item::write_value;
use crate::log::payload::{self, Keys};
use crate::model::id::{DeviceId, DistinctId, LedgerId, OperationId, PropertyKey, Seq};
use crate::model::operation::{
    Changes, ImportFixups, Operation, OperationError, Processing, Request, SplitMode, Target,
};
use crate::model::policy::{FirstMention, IdClass, Policy};
use crate::model::time::Timestamp;
use crate::model::value::{Properties, Value};
use crate::store::dictionary::{Dictionaries, Seen};
use crate::store::entropy::{Entropy, uuid_v7};

/// The records of one frame in the making.
pub(crate) struct Draft<'a> {
    commitments: Commitments,
    pub(super) policy: &'a Policy,
    pub(super) state: &'a State,
    pub(super) dictionaries: &'a mut Dictionaries,
    pub(super) entropy: &'a mut dyn Entropy,
    /// Where nonces come from, if not from there: what a log delivers gives the same salts whether or not they are sealed here.
    pub(super) nonces: Option<&'a mut dyn Entropy>,
    /// What seals payload items.
    keys: &'a Keys,
    /// How long the dictionaries were before this draft.
    lengths: [u32; 4],
    is_finished: bool,
    first_seq: u64,
    pub(crate) body: BodyWriter,
    pub(crate) payload: Vec<u8>,
    /// Devices as they will be once the frame is folded.
    devices: BTreeMap<DeviceNo, DeviceState>,
    /// What devices last said with an identify or set, as far as this draft changes it (F3).
    pub(super) last_calls: BTreeMap<DeviceNo, Digest>,
    /// A text that was erased and is not to be recorded again.
    refused: Option<String>,
    /// Whether this draft contains a retract. After one, a device's current id is unknown until the frame is
    /// folded (H1), so no later operation of the batch may speak for a device.
    takes_back: bool,
    /// Classes of the ids that this draft defines.
    classes: Vec<IdClass>,
    /// What this draft reclassifies (H5): whether that is refused or not, the class is the one it says.
    reclassified: BTreeMap<IdNo, IdClass>,
    /// Operations of this draft by id, to find doubles inside a batch.
    named: Vec<Named>,
    /// Where in `named` an id may stand.
    named_ids: Seen,
}

/// An operation of a draft that has an id.
pub(crate) struct Named {
    id: OperationId,
    pub(crate) seq: Seq,
    pub(crate) body: Body,
    pub(crate) item: Vec<u8>,
}

/// The numbers that the log has for the ids of an operation ([`Operation::ids`]), found before the draft began. An id without one
/// may have got one since.
#[derive(Clone, Copy, Default)]
pub(crate) struct KnownIds(pub(crate) [Option<IdNo>; 2]);

/// What became of one operation in a draft.
pub(crate) enum Drafted {
    /// It will be this record.
    Record(Seq, Body),
    /// F3: the device said just that before.
    Ignored,
}

/// What a device said last that is to be forgotten: no call has this digest.
pub(super) const FORGOTTEN: Digest = Digest([0; 32]);

/// A draft's finished frame parts, and what to remember once they are written.
pub(crate) struct Finished {
    pub(crate) records: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) last_calls: BTreeMap<DeviceNo, Digest>,
    /// When it is recorded, if not the clock says that.
    pub(crate) recorded_at: Option<Timestamp>,
    /// How long the dictionaries were before the draft.
    pub(crate) lengths: [u32; 4],
}

/// What a request comes to, once its device is resolved.
pub(super) struct Plan<'o> {
    pub(super) verb: AskedVerb,
    /// What the name of an event says of it.
    pub(super) flags: Flags,
    pub(super) id: IdNo,
    pub(super) device: Option<DeviceNo>,
    pub(super) processing_off: bool,
    pub(super) changes: Option<&'o Changes>,
    pub(super) kept: Option<&'o Properties>,
}

/// The record that a retract is about, found; and for whom it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) seq: Seq,
    id: IdNo,
    /// The device that spoke.
    device: Option<DeviceNo>,
}

impl Plan<'_> {
    /// Section H: T's component is refolded, and no device speaks. `None` for any other request.
    pub(super) fn refold(
        operation: &Operation,
        aim: Option<Aim>,
        dictionaries: &Dictionaries,
        policy: &Policy,
    ) -> Option<Self> {
        let number = |id: &DistinctId| dictionaries.ids.find(id.as_str()).map(IdNo);
        let known = |id: &DistinctId| number(id).expect("`aim` found every id that a split names");
        let (verb, id) = match &operation.request {
            Request::Retract { .. } => {
                let Aim { seq, id, .. } = aim.expect("a retract whose record was found");
                (AskedVerb::Retract(seq.0), id)
            }
            Request::Split { id, ids, mode } => {
                let mut ids: Vec<IdNo> = ids.iter().map(known).collect();
                ids.sort_unstable();
                let leavers = SplitOff { together: *mode == SplitMode::Together, ids };
                (AskedVerb::Split(leavers), known(id))
            }
            Request::Reclassify { id, class } => {
                (AskedVerb::Reclassify(StoredClass::under(policy, *class, id.as_str())), known(id))
            }
            _ => return None,
        };
        let (flags, device, changes, kept) = (Flags::default(), None, None, None);
        Some(Plan { verb, flags, id, device, processing_off: false, changes, kept })
    }
}

/// H1, H2, H5: a retract, split or reclassification of what was never written is an error. Finds the record that a retract names,
/// among those before `next`. `read` shows a record; `find` gives the number of the one under an operation
/// id.
pub(crate) fn aim<E>(
    operation: &Operation,
    dictionaries: &Dictionaries,
    next: Seq,
    find: impl FnOnce(OperationId) -> Result<Option<Seq>, E>,
    read: impl FnOnce(Seq) -> Result<Body, E>,
) -> Result<Result<Option<Aim>, OperationError>, E> {
    let target = match &operation.request {
        Request::Retract { target } => *target,
        Request::Split { id, ids, .. } => {
            let unknown = |id: &&DistinctId| dictionaries.ids.find(id.as_str()).is_none();
            let unknown = [id].into_iter().chain(ids).find(unknown);
            return Ok(unknown.map_or(Ok(None), |id| Err(OperationError::UnknownId { id: id.clone() })));
        }
        Request::Reclassify { id, .. } => {
            let known = dictionaries.ids.find(id.as_str()).map(|_| None);
            return Ok(known.ok_or_else(|| OperationError::UnknownId { id: id.clone() }));
        }
        _ => return Ok(Ok(None)),
    };
    let seq = match target {
        Target::Record(seq) => seq,
        Target::Operation(id) => match find(id)? {
            Some(seq) => seq,
            None => return Ok(Err(OperationError::UnknownOperation { id })),
        },
    };
    if seq >= next {
        return Ok(Err(OperationError::NoSuchRecord { seq, records: next.0 }));
    }
    let body = read(seq)?;
    Ok(match body.head() {
        Some(head) => Ok(Some(Aim { seq, id: head.id, device: head.device })),
        None => Err(OperationError::NotAnOperation { seq, found: body.name() }),
    })
}

/// The record of section H as it would be written, but for its payload item; `aim` is what [`aim`] found. `None` of any
/// other operation.
pub(crate) fn refold_body(
    operation: &Operation,
    aim: Option<Aim>,
    dictionaries: &Dictionaries,
    policy: &Policy,
) -> Option<Body> {
    let Plan { verb, flags, id, .. } = Plan::refold(operation, aim, dictionaries, policy)?;
    let head = head(operation, id, None, false, flags);
    Some(Body::Operation(Box::new(Asked { head, verb, changes: Vec::new(), item: None })))
}

/// A draft that is not finished gives all its numbers back.
impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.dictionaries.truncate(self.lengths);
        }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        ledger: LedgerId,
        state: &'a State,
        dictionaries: &'a mut Dictionaries,
        entropy: &'a mut dyn Entropy,
        keys: &'a Keys,
    ) -> Draft<'a> {
        let (lengths, first_seq) = (dictionaries.lengths(), state.records());
        Draft {
            commitments: Commitments::of(ledger),
            policy: state.policy(),
            state,
            dictionaries,
            entropy,
            nonces: None,
            keys,
            lengths,
            is_finished: false,
            first_seq,
            body: BodyWriter::default(),
            payload: Vec::new(),
            devices: BTreeMap::new(),
            last_calls: BTreeMap::new(),
            refused: None,
            takes_back: false,
            classes: Vec::new(),
            reclassified: BTreeMap::new(),
            named: Vec::new(),
            named_ids: Seen::default(),
        }
    }

    pub(crate) fn dictionaries(&self) -> &Dictionaries {
        self.dictionaries
    }

    /// The operation of this draft that has this id.
    pub(crate) fn named(&self, id: OperationId) -> Option<&Named> {
        self.named_ids.candidates(id).map(|place| &self.named[place as usize]).find(|named| named.id == id)
    }

    /// The number the next record will have.
    fn next_seq(&self) -> Seq {
        Seq(self.first_seq + u64::from(self.body.records()))
    }

    /// The frame's parts. From here on the dictionaries keep the texts of this draft, until they are truncated to `lengths`.
    pub(crate) fn finish(mut self) -> Finished {
        self.is_finished = true;
        Finished {
            records: self.body.records(),
            body: mem::take(&mut self.body).finish(),
            payload: mem::take(&mut self.payload),
            last_calls: mem::take(&mut self.last_calls),
            recorded_at: None,
            lengths: self.lengths,
        }
    }

    /// Adds a record that is not an operation and has no payload item.
    pub(crate) fn push(&mut self, body: &Body) -> Seq {
        let seq = self.next_seq();
        self.body.push(body);
        seq
    }

    /// F4: after a reset nothing attaches the device to its former user, nor to another one. So a fresh id that is known must be
    /// an anonymous one (senders may use it before they tell of the reset) and not the one that became the former user, and a fresh
    /// device must be no other device.
    ///
    /// And a device's state is not known once this draft took something back (H1).
    pub(crate) fn check_fresh(&self, operation: &Operation) -> Result<(), OperationError> {
        if self.takes_back && operation.device().is_some() {
            return Err(OperationError::AfterRetract);
        }
        let Request::Reset { device, reset_device, new_id: Some(id) } = &operation.request else {
            return Ok(());
        };
        let not_fresh = |whose| Err(OperationError::NotFresh { id: id.clone(), whose });
        if let Some(number) = self.dictionaries.ids.find(id.as_str()) {
            let known = self.state.ids().len();
            let class = match (self.reclassified.get(&IdNo(number)), (number as usize).checked_sub(known)) {
                (Some(class), _) => *class,
                (None, None) => self.state.class(IdNo(number)),
                (None, Some(place)) => self.classes[place],
            };
            if class != IdClass::Anonymous {
                return not_fresh("known, and not anonymous");
            }
            let speaking =
                self.dictionaries.devices.find(device.as_str()).map(|device| self.device(DeviceNo(device)));
            if speaking.is_some_and(|device| device.identified && device.anonymous.0 == number) {
                return not_fresh("the former user's");
            }
        }
        let other = id.as_str() != device.as_str();
        if *reset_device && other && self.dictionaries.devices.find(id.as_str()).is_some() {
            return not_fresh("another device's");
        }
        Ok(())
    }

    /// As [`aim`], in this draft as well.
    pub(crate) fn aim<E>(
        &self,
        operation: &Operation,
        find: impl FnOnce(OperationId) -> Result<Option<Seq>, E>,
        read: impl FnOnce(Seq) -> Result<Body, E>,
    ) -> Result<Result<Option<Aim>, OperationError>, E> {
        let find = |id| match self.named(id) {
            Some(named) => Ok(Some(named.seq)),
            None => find(id),
        };
        let read = |seq: Seq| match seq.0.checked_sub(self.first_seq) {
            Some(place) => Ok(self.body.record(place as usize)), // as many as a frame holds
            None => read(seq),
        };
        aim(operation, self.dictionaries, self.next_seq(), find, read)
    }

    /// Adds an operation, with the definitions it needs. `last_calls` is what devices last said, since open; `aim` what
    /// [`Draft::aim`] found.
    pub(crate) fn operation(
        &mut self,
        operation: &Operation,
        known: KnownIds,
        aim: Option<Aim>,
        last_calls: &BTreeMap<DeviceNo, Digest>,
    ) -> Drafted {
        let Some(plan) = self.plan(operation, known, aim, last_calls) else { return Drafted::Ignored };
        let (mut asked, values) = self.asked(operation, plan);
        let seq = self.next_seq();
        let said = Said::of_asked(&asked);
        for number in said.devices() {
            let mut state = self.device(number);
            state.follow(said);
            self.devices.insert(number, state);
        }
        if let Some(device) = asked.head.device {
            self.remember_call(device, said, &asked, operation);
        }
        if matches!(asked.verb, AskedVerb::Retract(_)) {
            // The retracted operation may be what the device said last (F3).
            self.last_calls.extend(aim.and_then(|aim| aim.device).map(|device| (device, FORGOTTEN)));
            self.takes_back = true;
        }
        if let AskedVerb::Reclassify(class) = asked.verb {
            self.reclassified.insert(asked.head.id, class.into());
        }
        asked.item = (!values.is_empty()).then(|| self.item(seq, &values));
        let body = Body::Operation(Box::new(asked));
        self.push(&body);
        if let Some(id) = operation.id {
            let place = u32::try_from(self.named.len()).expect("MAX_BATCH_OPERATIONS bounds a draft");
            self.named_ids.insert(id, place);
            self.named.push(Named { id, seq, body: body.clone(), item: values });
        }
        Drafted::Record(seq, body)
    }

    /// Adds an erasure, with its reason as payload item.
    pub(crate) fn erase(&mut self, mut erasure: Erasure, reason: &str) -> Seq {
        let seq = self.next_seq();
        erasure.reason = (!reason.is_empty()).then(|| self.item(seq, reason.as_bytes()));
        self.push(&Body::Erase(Box::new(erasure)))
    }

    /// Adds what is left of a record, with these values as payload item.
    pub(crate) fn restate(&mut self, mut restated: Restated, values: &[u8]) {
        let seq = self.next_seq();
        restated.item = (!values.is_empty()).then(|| self.item(seq, values));
        self.push(&Body::Restate(Box::new(restated)));
    }

    /// Writes the payload item of the record about to be written, and commits to it.
    fn item(&mut self, seq: Seq, bytes: &[u8]) -> Commitment {
        let salt = self.entropy.array();
        match self.keys {
            None => write_item(&salt, bytes, &mut self.payload),
            Some(sealer) => {
                let nonce = match &mut self.nonces {
                    Some(nonces) => nonces.array(),
                    None => self.entropy.array(),
                };
                payload::write_item(&**sealer, nonce, seq, &salt, bytes, &mut self.payload);
            }
        }
        self.commitments.commit(seq, &salt, bytes)
    }

    /// Notes a text that is about to get a number, if it had one before it was erased and is not to come back.
    fn refuse_erased(&mut self, text: &str) {
        if self.keys.as_ref().is_some_and(|sealer| sealer.refuses(text)) {
            self.refused.get_or_insert_with(|| text.to_owned());
        }
    }

    /// Why this draft must not be recorded: it names what was erased, in a ledger that refuses that.
    pub(crate) fn refused(&self) -> Option<OperationError> {
        self.refused.clone().map(|id| OperationError::Erased { id })
    }

    // -- numbers ---------------------------------------------------------------------------------------------------

    pub(super) fn id(&mut self, id: &DistinctId, mention: FirstMention) -> IdNo {
        if let Some(number) = self.dictionaries.ids.find(id.as_str()) {
            return IdNo(number);
        }
        self.refuse_erased(id.as_str());
        let class = self.policy.classify(id.as_str(), mention);
        let commitment = self.item(self.next_seq(), id.as_str().as_bytes());
        let stored = StoredClass::under(self.policy, class, id.as_str());
        self.push(&Body::DefineId(stored, commitment));
        self.classes.push(class);
        IdNo(self.dictionaries.ids.push(Some(id.as_str())))
    }

    fn key(&mut self, key: &PropertyKey) -> KeyNo {
        if let Some(number) = self.dictionaries.keys.find(key.as_str()) {
            return KeyNo(number);
        }
        let commitment = self.item(self.next_seq(), key.as_str().as_bytes());
        self.push(&Body::DefineKey(commitment));
        KeyNo(self.dictionaries.keys.push(Some(key.as_str())))
    }

    pub(super) fn name(&mut self, name: &str) -> NameNo {
        if let Some(number) = self.dictionaries.names.find(name) {
            return NameNo(number);
        }
        let commitment = self.item(self.next_seq(), name.as_bytes());
        self.push(&Body::DefineName(commitment));
        NameNo(self.dictionaries.names.push(Some(name)))
    }

    pub(super) fn new_device(&mut self, text: &str, id: IdNo) -> DeviceNo {
        self.refuse_erased(text);
        let commitment = self.item(self.next_seq(), text.as_bytes());
        self.push(&Body::DefineDevice(id, commitment));
        let number = DeviceNo(self.dictionaries.devices.push(Some(text)));
        self.devices.insert(number, DeviceState::anonymous(id));
        number
    }

    /// A device's number; an unknown one begins with the id of the same text (F1).
    pub(crate) fn device_no(&mut self, device: &DeviceId) -> DeviceNo {
        if let Some(number) = self.dictionaries.devices.find(device.as_str()) {
            return DeviceNo(number);
        }
        let id = self.id(&device.as_distinct_id(), FirstMention::Device);
        self.new_device(device.as_str(), id)
    }

    pub(super) fn device(&self, number: DeviceNo) -> DeviceState {
        self.devices.get(&number).copied().unwrap_or_else(|| *self.state.device(number))
    }

    // -- bodies ----------------------------------------------------------------------------------------------------

    /// What a plan comes to, and the bytes of its payload item, to which it does not commit yet: that needs the record number.
    fn asked(&mut self, operation: &Operation, plan: Plan<'_>) -> (Asked, Vec<u8>) {
        let Plan { verb, flags, id, device, processing_off, changes, kept } = plan;
        let changes = changes.filter(|_| !processing_off); // C1, C7: dropped
        let keep = |properties: &&Properties| self.policy.keep_event_properties && !properties.is_empty();
        let kept = kept.filter(keep);
        let mut list = Vec::new();
        if let Some(changes) = changes {
            for (verb, (_, properties)) in Verb::VALUED.into_iter().zip(changes.valued()) {
                list.extend(properties.iter().map(|(key, value)| (key, verb, Some(value))));
            }
            list.extend(changes.unset.iter().map(|key| (key, Verb::UNSET, None)));
        }
        list.extend(kept.into_iter().flatten().map(|(key, value)| (key, Verb::KEPT, Some(value))));
        let numbered = list.into_iter().map(|(key, verb, value)| (self.key(key), verb, value)).collect();
        let (changes, values) = item_of(operation.id.filter(|_| operation.derived_id), numbered);
        let flags = flags.with(Flags::RELATIVE, changes.iter().any(|change| change.verb.is_relative()));
        let head = head(operation, id, device, processing_off, flags);
        (Asked { head, verb, changes, item: None }, values)
    }
}

pub(super) fn head(
    operation: &Operation,
    id: IdNo,
    device: Option<DeviceNo>,
    processing_off: bool,
    flags: Flags,
) -> OperationHeader {
    let given = operation.id.filter(|_| !operation.derived_id);
    let ImportFixups { shortened_id, replaced_nul, clamped_time } = operation.bent;
    let invalid = operation.processing == Processing::Invalid && !processing_off;
    OperationHeader {
        id,
        device,
        time: operation.time.as_micros(),
        operation: given.map_or([0; 16], |id| *id.0.as_bytes()),
        flags: flags
            .with(Flags::PROCESSING_OFF, processing_off)
            .with(Flags::GIVEN_ID, given.is_some())
            .with(Flags::DERIVED_ID, operation.id.is_some() && operation.derived_id)
            .with(Flags::INVALID_PROCESSING, invalid)
            .with(Flags::SHORTENED_ID, shortened_id)
            .with(Flags::REPLACED_NUL, replaced_nul)
            .with(Flags::CLAMPED_TIME, clamped_time),
    }
}

/// Changes in their stored order, and the bytes of the payload item that goes with them.
pub(super) fn item_of(
    derived: Option<OperationId>,
    mut numbered: Vec<(KeyNo, Verb, Option<&Value>)>,
) -> (Vec<Change>, Vec<u8>) {
    numbered.sort_unstable_by_key(|(key, verb, _)| (*key, *verb));
    let mut bytes = derived.map_or(Vec::new(), |id| id.0.as_bytes().to_vec());
    numbered.iter().filter_map(|(_, _, value)| *value).for_each(|value| write_value(value, &mut bytes));
    let changes = numbered.into_iter().map(|(key, verb, _)| Change { key, verb }).collect();
    (changes, bytes)
}

/// A fresh UUIDv7 from the sender's clock and the shell's randomness (F1).
pub(crate) fn fresh_id(time: crate::model::time::Timestamp, entropy: &mut dyn Entropy) -> DistinctId {
    DistinctId::new(uuid_v7(time, entropy).to_string()).expect("a UUID is an id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Actor;
    use crate::erase::{ErasureRequest, ErasureSubject};
    use crate::{Ledger, Tenant, Timestamp};

    fn time() -> Timestamp {
        Timestamp::from_micros(5).unwrap()
    }

    /// H3: the reset behind a retract is missing where the program was killed before it, or where another writer made the log.
    #[test]
    fn a_device_that_speaks_for_an_erased_id_is_reset_before_it_speaks() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let tablet = || DeviceId::new("tablet").unwrap();
        let ann = DistinctId::new("ann").unwrap();
        assert!(ledger.device(tablet()).identify(time(), ann.clone(), Changes::default()).is_ok());
        ledger.erase(&[ErasureRequest::new(time(), ErasureSubject::Ids([ann].into()), "")]).unwrap();
        let mut reset = None;
        ledger
            .reader()
            .replay(|step| {
                if let Some(Asked { head, verb: AskedVerb::Reset(_), .. }) = step.record.body().asked() {
                    reset = Some((step.record.seq(), *head));
                }
            })
            .unwrap();
        let (reset, head) = reset.expect("the erasure reset the tablet");
        let retract = OperationHeader { device: None, flags: Flags::default(), operation: [0; 16], ..head };
        let verb = AskedVerb::Retract(reset.0);
        let retract = Asked { head: retract, verb, changes: Vec::new(), item: None };
        ledger.append_record(&Body::Operation(Box::new(retract))).unwrap();
        let erased = |ledger: &Ledger| {
            ledger.reader().state().id_erased_by(ledger.reader().state().device(DeviceNo(0)).current)
        };
        assert!(erased(&ledger).is_some(), "nothing reset it");

        let changes = Operation::new(time(), Request::Set { who: Actor::Device(tablet()) });
        let batch = [changes.clone().set("city", "Bonn").unwrap(), changes.set("city", "Ulm").unwrap()];
        let said = ledger.append_batch(&batch).unwrap();
        assert_eq!(erased(&ledger), None);
        let founded: Vec<bool> = said.iter().map(|said| said.outcome().unwrap().founded).collect();
        assert_eq!(founded, [true, false], "each has its own outcome, not that of the reset");
        let current = ledger.reader().state().device(DeviceNo(0)).current;
        let profile = ledger.profile(ledger.reader().id_text(current).unwrap()).unwrap().unwrap();
        assert_eq!(profile.properties["city"].value, Some("Ulm".into()));
    }
}
