//! Drafts: operations on their way into a frame. Texts become numbers, devices become the ids they speak for (F2, F3),
//! and what was said before is told apart from what is new (G4). Nothing here is final before it is written.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::{DeviceState, Said, State};
use crate::log::body::{
    Body, Change, Commitment, DeviceNo, Erasure, Flags, IdNo, KeyNo, LinkSource, NameNo, OperationHeader,
    PropertyChanges, Restated, SplitOff, StoredClass, Verb,
};
use crate::log::chain::{commit, write_item};
use crate::log::codec;
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::payload::{self, Keys};
use crate::model::id::LedgerId;
use crate::model::id::{DeviceId, DistinctId, OperationId, PropertyKey, Seq};
use crate::model::operation::{
    Actor, Changes, Dialect, ImportFixups, Operation, OperationError, PersonProfiles, Processing, Request,
    Source, SplitMode, Target,
};
use crate::model::policy::{FirstMention, IdClass, Policy};
use crate::model::value::{Properties, Value};
use crate::store::dictionary::{Dictionaries, Dictionary, Seen};
use crate::store::entropy::Entropy;

/// The records of one frame in the making.
pub(crate) struct Draft<'a> {
    ledger: LedgerId,
    policy: &'a Policy,
    state: &'a State,
    dictionaries: &'a mut Dictionaries,
    entropy: &'a mut dyn Entropy,
    /// What seals payload items.
    keys: &'a Keys,
    /// Where to go back to.
    lengths: [u32; 4],
    first_seq: u64,
    pub(crate) records: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// Devices as they will be once the frame is folded.
    devices: BTreeMap<DeviceNo, DeviceState>,
    /// What devices last said with an identify or set, as far as this draft changes it (F3).
    last_calls: BTreeMap<DeviceNo, Digest>,
    /// A text that was erased and is not to be recorded again.
    refused: Option<String>,
    /// Whether this draft contains a retract. After one, a device's current id is unknown until the frame is
    /// folded (H1), so no later operation of the batch may speak for a device.
    takes_back: bool,
    /// Classes of the ids that this draft defines.
    classes: Vec<IdClass>,
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
const FORGOTTEN: Digest = Digest([0; 32]);

/// A draft's finished frame parts, and what to remember once they are written.
pub(crate) struct Finished {
    pub(crate) records: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) last_calls: BTreeMap<DeviceNo, Digest>,
}

/// What a request comes to, once its device is resolved.
struct Plan<'o> {
    verb: PlanVerb,
    id: IdNo,
    device: Option<DeviceNo>,
    other: LinkSource,
    processing_off: bool,
    changes: Option<&'o Changes>,
    kept: Option<&'o Properties>,
}

enum PlanVerb {
    Capture(Option<NameNo>, Flags),
    Identify,
    Alias,
    Merge,
    Set,
    Switch,
    Reset(Option<DeviceNo>),
    Retract(Seq),
    Split(SplitOff),
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
    fn refold(operation: &Operation, aim: Option<Aim>, dictionaries: &Dictionaries) -> Option<Self> {
        let number = |id: &DistinctId| dictionaries.ids.find(id.as_str()).map(IdNo);
        let known = |id: &DistinctId| number(id).expect("`aim` found every id of a split");
        let (verb, id) = match &operation.request {
            Request::Retract { .. } => {
                let Aim { seq, id, .. } = aim.expect("a retract whose record was found");
                (PlanVerb::Retract(seq), id)
            }
            Request::Split { id, ids, mode } => {
                let mut ids: Vec<IdNo> = ids.iter().map(known).collect();
                ids.sort_unstable();
                let leavers = SplitOff { together: *mode == SplitMode::Together, ids };
                (PlanVerb::Split(leavers), known(id))
            }
            _ => return None,
        };
        let (device, other, changes, kept) = (None, LinkSource::None, None, None);
        Some(Plan { verb, id, device, other, processing_off: false, changes, kept })
    }
}

/// H1, H2: a retract or split of what was never written is an error. Finds the record that a retract names,
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

/// The record of a retract or split as it would be written, but for its payload item; `aim` is what [`aim`] found. `None` of any
/// other operation.
pub(crate) fn refold_body(
    operation: &Operation,
    aim: Option<Aim>,
    dictionaries: &Dictionaries,
) -> Option<Body> {
    let Plan { verb, id, .. } = Plan::refold(operation, aim, dictionaries)?;
    let head = head(operation, id, None, false, Flags::default());
    match verb {
        PlanVerb::Retract(seq) => Some(Body::Retract(head, seq.0, None)),
        PlanVerb::Split(leavers) => Some(Body::Split(head, leavers, None)),
        _ => None,
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
            ledger,
            policy: state.policy(),
            state,
            dictionaries,
            entropy,
            keys,
            lengths,
            first_seq,
            records: 0,
            body: Vec::new(),
            payload: Vec::new(),
            devices: BTreeMap::new(),
            last_calls: BTreeMap::new(),
            refused: None,
            takes_back: false,
            classes: Vec::new(),
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
        Seq(self.first_seq + u64::from(self.records))
    }

    /// How long the dictionaries were before this draft.
    pub(crate) fn lengths(&self) -> [u32; 4] {
        self.lengths
    }

    /// Gives every number of this draft back.
    pub(crate) fn discard(self) {
        self.dictionaries.truncate(self.lengths);
    }

    pub(crate) fn finish(self) -> Finished {
        let Draft { records, body, payload, last_calls, .. } = self;
        Finished { records, body, payload, last_calls }
    }

    /// Adds a record that is not an operation and has no payload item.
    pub(crate) fn push(&mut self, body: &Body) -> Seq {
        let seq = self.next_seq();
        codec::encode(body, &mut self.body);
        self.records += 1;
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
            let class = match (number as usize).checked_sub(known) {
                None => self.state.class(IdNo(number)),
                Some(place) => self.classes[place],
            };
            if class.user {
                return not_fresh("a user's");
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
            Some(place) => Ok(self.drafted(place)),
            None => read(seq),
        };
        aim(operation, self.dictionaries, self.next_seq(), find, read)
    }

    /// The record at this place of the draft.
    fn drafted(&self, place: u64) -> Body {
        let mut at = 0;
        for _ in 0..place {
            at += Body::read(&self.body[at..]).expect("a draft's own record").1;
        }
        Body::read(&self.body[at..]).expect("a draft's own record").0
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
        let (mut body, values) = self.body_of(operation, plan);
        let seq = self.next_seq();
        let device = body.head().and_then(|head| head.device);
        let said = Said::of_body(&body).expect("an operation's body");
        for number in said.devices() {
            let mut state = self.device(number);
            state.follow(said);
            self.devices.insert(number, state);
        }
        if let Some(device) = device {
            self.remember_call(device, said, &body, operation);
        }
        if matches!(body, Body::Retract(..)) {
            // The retracted operation may be what the device said last (F3).
            self.last_calls.extend(aim.and_then(|aim| aim.device).map(|device| (device, FORGOTTEN)));
            self.takes_back = true;
        }
        if let Some(detail) = detail_mut(&mut body)
            && detail.item.is_some()
        {
            detail.item = Some(self.item(seq, &values));
        }
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
                payload::write_item(&**sealer, self.entropy.array(), seq, &salt, bytes, &mut self.payload);
            }
        }
        commit(self.ledger, seq, &salt, bytes)
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

    fn id(&mut self, id: &DistinctId, mention: FirstMention) -> IdNo {
        if let Some(number) = self.dictionaries.ids.find(id.as_str()) {
            return IdNo(number);
        }
        self.refuse_erased(id.as_str());
        let class = self.policy.classify(id.as_str(), mention);
        let commitment = self.item(self.next_seq(), id.as_str().as_bytes());
        self.push(&Body::DefineId(StoredClass::from(class), commitment));
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

    fn name(&mut self, name: &str) -> NameNo {
        if let Some(number) = self.dictionaries.names.find(name) {
            return NameNo(number);
        }
        let commitment = self.item(self.next_seq(), name.as_bytes());
        self.push(&Body::DefineName(commitment));
        NameNo(self.dictionaries.names.push(Some(name)))
    }

    fn new_device(&mut self, text: &str, id: IdNo) -> DeviceNo {
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

    fn device(&self, number: DeviceNo) -> DeviceState {
        self.devices.get(&number).copied().unwrap_or_else(|| *self.state.device(number))
    }

    // -- devices ---------------------------------------------------------------------------------------------------

    /// A device that is about to speak. If it would speak for an erased id, this draft resets it first (H3).
    fn speaking(&mut self, device: &DeviceId, operation: &Operation) -> DeviceNo {
        let number = self.device_no(device);
        if self.is_erased(self.device(number).current) {
            let reset = Request::Reset { device: device.clone(), reset_device: false, new_id: None };
            self.operation(
                &Operation::new(operation.time, reset),
                KnownIds::default(),
                None,
                &BTreeMap::new(),
            );
        }
        number
    }

    fn is_erased(&self, id: IdNo) -> bool {
        self.state.id_erased_by(id).is_some()
    }

    /// Resolves what was asked (F2, F3, F7, F8); `None` when the device said just that before.
    fn plan<'o>(
        &mut self,
        operation: &'o Operation,
        KnownIds([known, known_other]): KnownIds,
        aim: Option<Aim>,
        last_calls: &BTreeMap<DeviceNo, Digest>,
    ) -> Option<Plan<'o>> {
        let (verb, who, other) = match &operation.request {
            Request::Capture { who, event, .. } => {
                let flags = event.as_ref().map_or(Flags::default(), |name| Flags::of_event(name.as_str()));
                let name = event.as_ref().map(|name| self.name(name.as_str()));
                (PlanVerb::Capture(name, flags), who, None)
            }
            Request::Identify { who, anonymous } => (PlanVerb::Identify, who, anonymous.as_ref()),
            Request::Alias { who, alias } => (PlanVerb::Alias, who, alias.as_ref()),
            Request::Merge { who, alias } => (PlanVerb::Merge, who, alias.as_ref()),
            Request::Set { who } => (PlanVerb::Set, who, None),
            Request::DeviceIdentify { device, user } => {
                return self.plan_device_identify(operation, device, user, known, last_calls);
            }
            Request::Reset { device, reset_device, new_id } => {
                return Some(self.plan_reset(operation, device, *reset_device, new_id.as_ref()));
            }
            Request::Retract { .. } | Request::Split { .. } => {
                return Plan::refold(operation, aim, self.dictionaries);
            }
        };
        let (id, device) = match who {
            Actor::Id(id) => (known.unwrap_or_else(|| self.id(id, FirstMention::Plain)), None),
            Actor::Device(device) => {
                let number = self.speaking(device, operation);
                (self.device(number).current, Some(number))
            }
        };
        let mention = if matches!(verb, PlanVerb::Identify) {
            FirstMention::IdentifySource
        } else {
            FirstMention::Plain
        };
        let other = match other {
            None => LinkSource::None,
            Some(Source::Unstorable) => LinkSource::Unstorable,
            Some(Source::Id(id)) => LinkSource::Id(known_other.unwrap_or_else(|| self.id(id, mention))),
        };
        let asks_profile = !matches!(verb, PlanVerb::Capture(..));
        let processing_off = self.processing_off(operation, device, asks_profile);
        let kept = match &operation.request {
            Request::Capture { properties, .. } => Some(properties),
            _ => None,
        };
        Some(Plan { verb, id, device, other, processing_off, changes: Some(&operation.changes), kept })
    }

    /// F8: whether processing is off, where the operation does not say and a device speaks.
    fn processing_off(&self, operation: &Operation, device: Option<DeviceNo>, asks_profile: bool) -> bool {
        match (operation.processing, device) {
            (Processing::Off, _) => true,
            (Processing::On | Processing::Invalid, _) | (Processing::Unsaid, None) => false,
            (Processing::Unsaid, Some(device)) => {
                match operation.sdk.person_profiles.unwrap_or(self.policy.person_profiles) {
                    PersonProfiles::Always => false,
                    PersonProfiles::Never => true,
                    PersonProfiles::IdentifiedOnly => !asks_profile && !self.device(device).profiled,
                }
            }
        }
    }

    /// Plans what a device's identify is recorded as, by the dialect and the device's state (F3); `None` if
    /// it is ignored.
    fn plan_device_identify<'o>(
        &mut self,
        operation: &'o Operation,
        device: &DeviceId,
        user: &DistinctId,
        user_no: Option<IdNo>,
        last_calls: &BTreeMap<DeviceNo, Digest>,
    ) -> Option<Plan<'o>> {
        let number = self.speaking(device, operation);
        let user_no = user_no.or_else(|| self.dictionaries.ids.find(user.as_str()).map(IdNo));
        let known = self.device(number);
        let processing_off = self.processing_off(operation, Some(number), true);
        let dialect = operation.sdk.dialect.unwrap_or(self.policy.dialect);
        let same = user_no == Some(known.current);
        let (verb, other) = match (known.identified, same, dialect) {
            (false, true, _) => (PlanVerb::Identify, LinkSource::None),
            (false, false, _) => (PlanVerb::Identify, LinkSource::Id(known.current)),
            (true, true, _) => {
                let call = call_digest(user.as_str(), &operation.changes);
                let last = self.last_calls.get(&number).or_else(|| last_calls.get(&number));
                // An operation with an id is recorded even so: unrecorded, its id would be new when the same input is imported
                // again, and by then the device may speak for another id (G4).
                let repeats = operation.changes.is_empty() || last == Some(&call);
                if repeats && !processing_off && operation.id.is_none() {
                    return None;
                }
                (PlanVerb::Set, LinkSource::None)
            }
            (true, false, Dialect::Browser) => (PlanVerb::Switch, LinkSource::None),
            // An erased id takes part in no link (H3).
            (true, false, Dialect::Core) if self.is_erased(known.anonymous) => {
                (PlanVerb::Switch, LinkSource::None)
            }
            (true, false, Dialect::Core) => (PlanVerb::Identify, LinkSource::Id(known.anonymous)),
        };
        let id = user_no.unwrap_or_else(|| self.id(user, FirstMention::Plain));
        let changes = Some(&operation.changes);
        Some(Plan { verb, id, device: Some(number), other, processing_off, changes, kept: None })
    }

    /// F4. The fresh id is given, or made from the operation's id, or from the shell's randomness and the sender's clock.
    fn plan_reset<'o>(
        &mut self,
        operation: &'o Operation,
        device: &DeviceId,
        reset_device: bool,
        new_id: Option<&DistinctId>,
    ) -> Plan<'o> {
        let number = self.device_no(device);
        let fresh = match (new_id, operation.id) {
            (Some(id), _) => id.clone(),
            (None, Some(id)) => id_from_operation(id),
            (None, None) => fresh_id(operation.time, self.entropy),
        };
        let id = self.id(&fresh, FirstMention::Device);
        let fresh_device = reset_device.then(|| match self.dictionaries.devices.find(fresh.as_str()) {
            Some(number) => DeviceNo(number),
            None => self.new_device(fresh.as_str(), id),
        });
        Plan {
            verb: PlanVerb::Reset(fresh_device),
            id,
            device: Some(number),
            other: LinkSource::None,
            processing_off: false,
            changes: None,
            kept: None,
        }
    }

    /// What the device will compare its next identify with (F3). A reset forgets it.
    fn remember_call(&mut self, device: DeviceNo, said: Said, body: &Body, operation: &Operation) {
        match body {
            Body::Reset(..) => {
                self.last_calls.extend(said.devices().map(|device| (device, FORGOTTEN)));
            }
            Body::Identify(head, ..) | Body::Set(head, _) | Body::Switch(head, _)
                if !head.flags.has(Flags::PROCESSING_OFF) =>
            {
                if let Some(text) = self.dictionaries.ids.text(head.id.0) {
                    self.last_calls.insert(device, call_digest(text, &operation.changes));
                }
            }
            _ => {}
        }
    }

    // -- bodies ----------------------------------------------------------------------------------------------------

    /// The record of a plan, and the bytes of its payload item. The commitment is still zeros: it needs the record number.
    fn body_of(&mut self, operation: &Operation, plan: Plan<'_>) -> (Body, Vec<u8>) {
        let Plan { verb, id, device, other, processing_off, changes, kept } = plan;
        let changes = changes.filter(|_| !processing_off); // C1, C7: dropped
        let keep = |properties: &&Properties| self.policy.keep_event_properties && !properties.is_empty();
        let kept = kept.filter(keep);
        let mut list = Vec::new();
        if let Some(Changes { set, set_once, unset }) = changes {
            list.extend(set.iter().map(|(key, value)| (key, Verb::SET, Some(value))));
            list.extend(set_once.iter().map(|(key, value)| (key, Verb::SET_ONCE, Some(value))));
            list.extend(unset.iter().map(|key| (key, Verb::UNSET, None)));
        }
        list.extend(kept.into_iter().flatten().map(|(key, value)| (key, Verb::KEPT, Some(value))));
        let numbered = list.into_iter().map(|(key, verb, value)| (self.key(key), verb, value)).collect();
        let (changes, values) = item_of(operation.id.filter(|_| operation.derived_id), numbered);
        let detail = detail(changes, &values);
        let flags = match &verb {
            PlanVerb::Capture(_, flags) => *flags,
            _ => Flags::default(),
        };
        let head = head(operation, id, device, processing_off, flags);
        let body = match verb {
            PlanVerb::Capture(name, _) => Body::Capture(head, name, detail),
            PlanVerb::Identify => Body::Identify(head, other, detail),
            PlanVerb::Alias => Body::Alias(head, other, detail),
            PlanVerb::Merge => Body::Merge(head, other, detail),
            PlanVerb::Set => Body::Set(head, detail),
            PlanVerb::Switch => Body::Switch(head, detail),
            PlanVerb::Reset(fresh) => Body::Reset(head, fresh, detail),
            PlanVerb::Retract(seq) => Body::Retract(head, seq.0, detail),
            PlanVerb::Split(leavers) => Body::Split(head, leavers, detail),
        };
        (body, values)
    }
}

fn head(
    operation: &Operation,
    id: IdNo,
    device: Option<DeviceNo>,
    processing_off: bool,
    flags: Flags,
) -> OperationHeader {
    let given = operation.id.filter(|_| !operation.derived_id);
    let ImportFixups { shortened_id, replaced_nul } = operation.bent;
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
            .with(Flags::REPLACED_NUL, replaced_nul),
    }
}

/// Changes in their stored order, and the bytes of the payload item that goes with them.
fn item_of(
    derived: Option<OperationId>,
    mut numbered: Vec<(KeyNo, Verb, Option<&Value>)>,
) -> (Vec<Change>, Vec<u8>) {
    numbered.sort_unstable_by_key(|(key, verb, _)| (*key, *verb));
    let mut bytes = derived.map_or(Vec::new(), |id| id.0.as_bytes().to_vec());
    numbered.iter().filter_map(|(_, _, value)| *value).for_each(|value| value.encode(&mut bytes));
    let changes = numbered.into_iter().map(|(key, verb, _)| Change { key, verb }).collect();
    (changes, bytes)
}

fn detail(changes: Vec<Change>, item: &[u8]) -> Option<Box<PropertyChanges>> {
    let pending = (!item.is_empty()).then_some(Commitment([0; 32]));
    (pending.is_some() || !changes.is_empty()).then(|| Box::new(PropertyChanges { changes, item: pending }))
}

fn detail_mut(body: &mut Body) -> Option<&mut PropertyChanges> {
    match body {
        Body::Capture(.., detail)
        | Body::Identify(.., detail)
        | Body::Alias(.., detail)
        | Body::Merge(.., detail)
        | Body::Set(.., detail)
        | Body::Switch(.., detail)
        | Body::Reset(.., detail)
        | Body::Retract(.., detail)
        | Body::Split(.., detail) => detail.as_deref_mut(),
        _ => None,
    }
}

/// What a device remembers of an identify or set: for whom, and with which properties (F3).
fn call_digest(id: &str, changes: &Changes) -> Digest {
    let mut hasher = Hasher::new(Purpose::OperationId);
    hasher.field(id.as_bytes());
    for properties in [&changes.set, &changes.set_once] {
        hasher.update(&(properties.len() as u64).to_le_bytes());
        for (key, value) in properties {
            hasher.field(key.as_str().as_bytes()).field(&value.to_canonical_bytes());
        }
    }
    for key in &changes.unset {
        hasher.field(key.as_str().as_bytes());
    }
    hasher.finish()
}

/// A fresh UUIDv7 from the sender's clock and the shell's randomness (F1).
pub(crate) fn fresh_id(time: crate::model::time::Timestamp, entropy: &mut dyn Entropy) -> DistinctId {
    let random: [u8; 10] = entropy.array();
    let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0); // before 1970 there is no UUIDv7
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    DistinctId::new(uuid.to_string()).expect("a UUID is an id")
}

/// The fresh id of a reset that names none: the same from any import of the same operation.
fn id_from_operation(id: OperationId) -> DistinctId {
    /// Our own namespace, made once by chance. Set in stone.
    const RESET_NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x7c1b5c0e_8f0f_4f6d_9a36_52d6a1f0c3e4);
    DistinctId::new(uuid::Uuid::new_v5(&RESET_NAMESPACE, id.0.as_bytes()).to_string())
        .expect("a UUID is an id")
}

/// Whether `operation` says what a record of the same id says (G4). `item` is the record's payload item, `None` when it was
/// erased: then only what is left is compared. An id whose text is erased may have been any. `aim` is what a retract is about.
pub(crate) fn is_same_operation(
    operation: &Operation,
    aim: Option<Aim>,
    body: &Body,
    item: Option<&[u8]>,
    dictionaries: &Dictionaries,
) -> bool {
    let Some(recorded) = body.head() else { return false };
    let find = |dictionary: &Dictionary, text: &str| dictionary.find(text);
    let is = |dictionary: &Dictionary, text: &str, number: u32| {
        find(dictionary, text) == Some(number) || dictionary.is_erased(number)
    };
    let id_is = |id: &DistinctId, number: IdNo| is(&dictionaries.ids, id.as_str(), number.0);
    let device_is = |device: &DeviceId, number: Option<DeviceNo>| {
        number.is_some_and(|number| is(&dictionaries.devices, device.as_str(), number.0))
    };
    let who_is = |who: &Actor| match who {
        Actor::Id(id) => recorded.device.is_none() && id_is(id, recorded.id),
        Actor::Device(device) => device_is(device, recorded.device),
    };
    let other_is = |source: &Option<Source>| match (source, body.other()) {
        (None, LinkSource::None) | (Some(Source::Unstorable), LinkSource::Unstorable) => true,
        (Some(Source::Id(id)), LinkSource::Id(number)) => id_is(id, number),
        _ => false,
    };
    let mut event_flags = Flags::default();
    let request = match (&operation.request, body) {
        (Request::Capture { who, event, .. }, Body::Capture(_, name, _)) => {
            event_flags = event.as_ref().map_or(event_flags, |event| Flags::of_event(event.as_str()));
            let found = event.as_ref().map(|event| find(&dictionaries.names, event.as_str()));
            who_is(who) && found == name.map(|name| Some(name.0))
        }
        (Request::Identify { who, anonymous }, Body::Identify(..)) => who_is(who) && other_is(anonymous),
        (Request::Alias { who, alias }, Body::Alias(..))
        | (Request::Merge { who, alias }, Body::Merge(..)) => who_is(who) && other_is(alias),
        (Request::Set { who }, Body::Set(..)) => who_is(who),
        (Request::DeviceIdentify { device, user }, Body::Identify(..) | Body::Set(..) | Body::Switch(..)) => {
            device_is(device, recorded.device) && id_is(user, recorded.id)
        }
        (Request::Reset { device, reset_device, new_id }, Body::Reset(_, fresh, _)) => {
            device_is(device, recorded.device)
                && *reset_device == fresh.is_some()
                && new_id.as_ref().is_none_or(|id| id_is(id, recorded.id))
        }
        (Request::Retract { .. }, Body::Retract(_, target, _)) => aim.is_some_and(|aim| aim.seq.0 == *target),
        (Request::Split { id, ids, mode }, Body::Split(_, leavers, _)) => {
            let named: BTreeSet<u32> =
                ids.iter().filter_map(|id| find(&dictionaries.ids, id.as_str())).collect();
            id_is(id, recorded.id)
                && leavers.together == (*mode == SplitMode::Together)
                && ids.len() == leavers.ids.len()
                && leavers.ids.iter().all(|id| named.contains(&id.0) || dictionaries.ids.is_erased(id.0))
        }
        _ => false,
    };
    let off = recorded.flags.has(Flags::PROCESSING_OFF);
    // F8 decided when it was recorded; a reset, retract or split does not ask for processing.
    let resolved = operation.processing == Processing::Unsaid && recorded.device.is_some()
        || matches!(body, Body::Reset(..) | Body::Retract(..) | Body::Split(..));
    if !request || !resolved && off != (operation.processing == Processing::Off) {
        return false;
    }
    let mut said = head(operation, recorded.id, recorded.device, off, event_flags);
    if operation.time_by_arrival {
        said.time = recorded.time;
    }
    if said != *recorded {
        return false;
    }
    same_changes(operation, body, off, item, dictionaries)
}

fn same_changes(
    operation: &Operation,
    body: &Body,
    off: bool,
    item: Option<&[u8]>,
    dictionaries: &Dictionaries,
) -> bool {
    let empty = Changes::default();
    let Changes { set, set_once, unset } =
        if off || matches!(body, Body::Reset(..)) { &empty } else { &operation.changes };
    let kept = match &operation.request {
        // Whether they were kept was the policy's choice then; if not, they cannot be compared.
        Request::Capture { properties, .. }
            if body.changes().iter().any(|change| change.verb == Verb::KEPT) =>
        {
            Some(properties)
        }
        _ => None,
    };
    let listed = set
        .iter()
        .map(|(key, value)| (key, Verb::SET, Some(value)))
        .chain(set_once.iter().map(|(key, value)| (key, Verb::SET_ONCE, Some(value))))
        .chain(unset.iter().map(|key| (key, Verb::UNSET, None)))
        .chain(kept.into_iter().flatten().map(|(key, value)| (key, Verb::KEPT, Some(value))));
    let numbered: Option<Vec<_>> = listed
        .map(|(key, verb, value)| Some((KeyNo(dictionaries.keys.find(key.as_str())?), verb, value)))
        .collect();
    let Some(numbered) = numbered else { return false };
    let (changes, bytes) = item_of(operation.id.filter(|_| operation.derived_id), numbered);
    let erased = item.is_none() && body.commitment().is_some();
    changes == body.changes() && (erased || bytes == item.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
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
                if let Body::Reset(head, ..) = step.record.body() {
                    reset = Some((step.record.seq(), head));
                }
            })
            .unwrap();
        let (reset, head) = reset.expect("the erasure reset the tablet");
        let retract = OperationHeader { device: None, flags: Flags::default(), operation: [0; 16], ..head };
        ledger.append_record(&Body::Retract(retract, reset.0, None)).unwrap();
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
