//! Devices as an SDK sees them: one handle per device, which speaks for the current user (section F).

use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::error::AppendError;
use crate::model::id::{DeviceId, DistinctId, EventName, OperationId};
use crate::model::operation::{Actor, Changes, Dialect, Operation, PersonProfiles, Request, Sdk, Source};
use crate::model::time::Timestamp;
use crate::model::value::Properties;

/// A device that speaks to the ledger: identify, alias, set, capture and reset as an SDK on it would (F2 to F8).
///
/// ```
/// use identity_ledger::{DeviceId, DistinctId, Changes, EventName, Ledger, Policy, Tenant, Timestamp};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let mut phone = ledger.device(DeviceId::new("phone-1")?);
/// let appended = phone.identify(at, DistinctId::new("ann")?, Changes::default())?;
/// assert!(appended.outcome().unwrap().refusal.is_none());
/// assert_eq!(phone.distinct_id().as_str(), "ann");
///
/// let _ = phone.reset(at, false)?; // Ann logs out, Bob logs in: two persons (F5)
/// let _ = phone.identify(at, DistinctId::new("bob")?, Changes::default())?;
/// assert_ne!(ledger.resolve("ann"), ledger.resolve("bob"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Device<'l> {
    ledger: &'l mut Ledger,
    id: DeviceId,
    sdk: Sdk,
}

impl Ledger {
    /// The device with this id. One that was never mentioned begins as anonymous, with its own id as distinct id (F1);
    /// nothing is recorded before it speaks.
    pub fn device(&mut self, id: DeviceId) -> Device<'_> {
        Device { ledger: self, id, sdk: Sdk::default() }
    }
}

impl Device<'_> {
    /// Speaks as this dialect, whatever the policy says (F3).
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.sdk.dialect = Some(dialect);
        self
    }

    /// Asks for person profiles so, whatever the policy says (F8).
    #[must_use]
    pub fn person_profiles(mut self, mode: PersonProfiles) -> Self {
        self.sdk.person_profiles = Some(mode);
        self
    }

    /// The device's id; a reset with a fresh device changes it.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// The id the device speaks for now; also what a deep link carries (F2).
    pub fn distinct_id(&self) -> DistinctId {
        let text = self.known(|device| device.current);
        text.unwrap_or_else(|| self.id.as_distinct_id())
    }

    /// The id it had before anybody identified on it.
    pub fn anonymous_id(&self) -> DistinctId {
        let text = self.known(|device| device.anonymous);
        text.unwrap_or_else(|| self.id.as_distinct_id())
    }

    /// Whether a user was identified on it since the last reset.
    pub fn is_identified(&self) -> bool {
        let number = self.ledger.reader().device_no(self.id.as_str());
        number.is_some_and(|number| self.ledger.reader().state().device(number).identified)
    }

    fn known(&self, of: impl Fn(&crate::fold::DeviceState) -> crate::log::body::IdNo) -> Option<DistinctId> {
        let number = self.ledger.reader().device_no(self.id.as_str())?;
        let text = self.ledger.reader().id_text(of(self.ledger.reader().state().device(number)))?;
        Some(DistinctId::new(text).expect("the ledger stores valid ids only"))
    }

    /// Says that `user` uses the device from now on (F3).
    ///
    /// # Errors
    /// [`AppendError`], here as in all methods that record.
    pub fn identify(
        &mut self,
        at: Timestamp,
        user: DistinctId,
        changes: Changes,
    ) -> Result<Appended, AppendError> {
        let device = self.id.clone();
        self.say(Operation::new(at, Request::DeviceIdentify { device, user }), changes)
    }

    /// The current id and `alias` are one person (C3).
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn alias(&mut self, at: Timestamp, alias: Option<Source>) -> Result<Appended, AppendError> {
        let who = self.who();
        self.say(Operation::new(at, Request::Alias { who, alias }), Changes::default())
    }

    /// Property changes of the current id's person (C5).
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn set(&mut self, at: Timestamp, changes: Changes) -> Result<Appended, AppendError> {
        let who = self.who();
        self.say(Operation::new(at, Request::Set { who }), changes)
    }

    /// An event of the current id (C1).
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn capture(
        &mut self,
        at: Timestamp,
        event: EventName,
        id: OperationId,
        changes: Changes,
    ) -> Result<Appended, AppendError> {
        let request = Request::Capture { who: self.who(), event: Some(event), properties: Properties::new() };
        self.say(Operation::new(at, request).with_id(id), changes)
    }

    /// The device forgets its user and gets a fresh anonymous id; with `reset_device` a fresh device id too (F4).
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn reset(&mut self, at: Timestamp, reset_device: bool) -> Result<Appended, AppendError> {
        let device = self.id.clone();
        let request = Request::Reset { device, reset_device, new_id: None };
        let appended = self.say(Operation::new(at, request), Changes::default())?;
        if reset_device {
            self.id = DeviceId::new(self.distinct_id().into_string())
                .expect("a distinct id's bounds are a device id's");
        }
        Ok(appended)
    }

    fn who(&self) -> Actor {
        Actor::Device(self.id.clone())
    }

    fn say(&mut self, mut operation: Operation, changes: Changes) -> Result<Appended, AppendError> {
        operation.changes = changes;
        operation.sdk = self.sdk;
        self.ledger.append(operation)
    }
}
