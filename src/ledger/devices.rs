//! What an operation on a device means (section F): for whom the device speaks, and what it asks.

use std::collections::BTreeMap;

use crate::fold::Said;
use crate::ledger::draft::{Aim, Draft, FORGOTTEN, KnownIds, Plan, fresh_id};
use crate::log::body::{Asked, AskedVerb, DeviceNo, Flags, IdNo, LinkSource};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::model::id::{DeviceId, DistinctId, OperationId};
use crate::model::operation::{
    Actor, Changes, Dialect, Operation, PersonProfiles, Processing, Request, Source,
};
use crate::model::policy::FirstMention;

impl<'a> Draft<'a> {
    // -- devices ---------------------------------------------------------------------------------------------------

    /// A device that is about to speak. If it would speak for an erased id, this draft resets it first (H3).
    pub(super) fn speaking(&mut self, device: &DeviceId, operation: &Operation) -> DeviceNo {
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

    pub(super) fn is_erased(&self, id: IdNo) -> bool {
        self.state.id_erased_by(id).is_some()
    }

    /// Resolves what was asked (F2, F3, F7, F8); `None` when the device said just that before.
    pub(super) fn plan<'o>(
        &mut self,
        operation: &'o Operation,
        KnownIds([known, known_other]): KnownIds,
        aim: Option<Aim>,
        last_calls: &BTreeMap<DeviceNo, Digest>,
    ) -> Option<Plan<'o>> {
        let (mut flags, unlinked) = (Flags::default(), LinkSource::None);
        let (verb, who, source) = match &operation.request {
            Request::Capture { who, event, .. } => {
                flags = event.as_ref().map_or(flags, |name| Flags::of_event(name.as_str()));
                let name = event.as_ref().map(|name| self.name(name.as_str()));
                (AskedVerb::Capture(name), who, None)
            }
            Request::Identify { who, anonymous } => (AskedVerb::Identify(unlinked), who, anonymous.as_ref()),
            Request::Alias { who, alias } => (AskedVerb::Alias(unlinked), who, alias.as_ref()),
            Request::Merge { who, alias } => (AskedVerb::Merge(unlinked), who, alias.as_ref()),
            Request::Set { who } => (AskedVerb::Set, who, None),
            Request::DeviceIdentify { device, user } => {
                return self.plan_device_identify(operation, device, user, known, last_calls);
            }
            Request::Reset { device, reset_device, new_id } => {
                return Some(self.plan_reset(operation, device, *reset_device, new_id.as_ref()));
            }
            Request::Retract { .. } | Request::Split { .. } | Request::Reclassify { .. } => {
                return Plan::refold(operation, aim, self.dictionaries, self.policy);
            }
        };
        let (id, device) = match who {
            Actor::Id(id) => (known.unwrap_or_else(|| self.id(id, FirstMention::Plain)), None),
            Actor::Device(device) => {
                let number = self.speaking(device, operation);
                (self.device(number).current, Some(number))
            }
        };
        let source = match source {
            None => unlinked,
            Some(Source::Unstorable) => LinkSource::Unstorable,
            Some(Source::Id(id)) => {
                LinkSource::Id(known_other.unwrap_or_else(|| self.id(id, FirstMention::Plain)))
            }
        };
        let verb = verb.with_source(source);
        let asks_profile = !matches!(verb, AskedVerb::Capture(_));
        let processing_off = self.processing_off(operation, device, asks_profile);
        let kept = match &operation.request {
            Request::Capture { properties, .. } => Some(properties),
            _ => None,
        };
        Some(Plan { verb, flags, id, device, processing_off, changes: Some(&operation.changes), kept })
    }

    /// F8: whether processing is off, where the operation does not say and a device speaks.
    pub(super) fn processing_off(
        &self,
        operation: &Operation,
        device: Option<DeviceNo>,
        asks_profile: bool,
    ) -> bool {
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
    pub(super) fn plan_device_identify<'o>(
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
        let verb = match (known.identified, same, dialect) {
            (false, true, _) => AskedVerb::Identify(LinkSource::None),
            (false, false, _) => AskedVerb::Identify(LinkSource::Id(known.current)),
            (true, true, _) => {
                let call = call_digest(user.as_str(), &operation.changes);
                let last = self.last_calls.get(&number).or_else(|| last_calls.get(&number));
                // An operation with an id is recorded even so: unrecorded, its id would be new when the same input is imported
                // again, and by then the device may speak for another id (G4).
                let repeats =
                    operation.changes.is_empty() || last == Some(&call) && !operation.changes.has_relative(); // E9: twice is twice
                if repeats && !processing_off && operation.id.is_none() {
                    return None;
                }
                AskedVerb::Set
            }
            (true, false, Dialect::Browser) => AskedVerb::Switch,
            // An erased id takes part in no link (H3).
            (true, false, Dialect::Core) if self.is_erased(known.anonymous) => AskedVerb::Switch,
            (true, false, Dialect::Core) => AskedVerb::Identify(LinkSource::Id(known.anonymous)),
        };
        let id = user_no.unwrap_or_else(|| self.id(user, FirstMention::Plain));
        let changes = Some(&operation.changes);
        let (flags, device) = (Flags::default(), Some(number));
        Some(Plan { verb, flags, id, device, processing_off, changes, kept: None })
    }

    /// F4. The fresh id is given, or made from the operation's id, or from the shell's randomness and the sender's clock.
    pub(super) fn plan_reset<'o>(
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
            verb: AskedVerb::Reset(fresh_device),
            flags: Flags::default(),
            id,
            device: Some(number),
            processing_off: false,
            changes: None,
            kept: None,
        }
    }

    /// What the device will compare its next identify with (F3). A reset forgets it.
    pub(super) fn remember_call(
        &mut self,
        device: DeviceNo,
        said: Said,
        asked: &Asked,
        operation: &Operation,
    ) {
        let Asked { head, verb, .. } = asked;
        match verb {
            AskedVerb::Reset(_) => {
                self.last_calls.extend(said.devices().map(|device| (device, FORGOTTEN)));
            }
            AskedVerb::Identify(_) | AskedVerb::Set | AskedVerb::Switch
                if !head.flags.has(Flags::PROCESSING_OFF) =>
            {
                if let Some(text) = self.dictionaries.ids.text(head.id.0) {
                    self.last_calls.insert(device, call_digest(text, &operation.changes));
                }
            }
            _ => {}
        }
    }
}

/// What a device remembers of an identify or set: for whom, and with which properties (F3).
pub(super) fn call_digest(id: &str, changes: &Changes) -> Digest {
    let mut hasher = Hasher::new(Purpose::OperationId);
    hasher.field(id.as_bytes());
    for (_, properties) in changes.valued() {
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

/// The fresh id of a reset that names none: the same from any import of the same operation.
pub(super) fn id_from_operation(id: OperationId) -> DistinctId {
    /// Our own namespace, made once by chance. Set in stone.
    const RESET_NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x7c1b5c0e_8f0f_4f6d_9a36_52d6a1f0c3e4);
    DistinctId::new(uuid::Uuid::new_v5(&RESET_NAMESPACE, id.0.as_bytes()).to_string())
        .expect("a UUID is an id")
}
