//! Following: a ledger whose records come from a log elsewhere, such as a stream that many servers read. What is chained then depends
//! on that log alone, so followers of one log have equal heads at equal positions.

use crate::ledger::Ledger;
use crate::ledger::append::answer;
use crate::ledger::delivery::{Delivered, Delivery, FollowError};
use crate::ledger::erase::request::ErasureRequest;
use crate::ledger::error::{AppendError, EraseError};
use crate::ledger::trace;
use crate::log::body::{Body, Followed, StoredPolicy};
use crate::model::id::Seq;
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::query::reader::Reader;

impl Reader {
    /// The log that this ledger follows, and up to which position it is in here; `None` if it follows none. A follower asks for it when it
    /// starts, and continues behind it.
    pub fn followed(&self) -> Option<&Followed> {
        self.state().followed()
    }
}

impl Ledger {
    /// Records a batch that stands at a position of the log that this ledger follows, and the position with it, as one frame: after a crash
    /// both are there or neither.
    ///
    /// Two ledgers that follow one log from its beginning have equal heads at equal positions, whatever crashed or was delivered again in
    /// between. So nothing that is one writer's alone decides: a device's call that repeats its last one is recorded (F3 leaves it out
    /// elsewhere, by what the writer remembers), and a torn tail is cut off without a record.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use identity_ledger::follow::{Delivered, Delivery, FollowError, LogName};
    /// use identity_ledger::{AppendError, DistinctId, LedgerOptions, Operation, Policy, Tenant, Timestamp};
    /// use identity_ledger::storage::Memory;
    /// let log = LogName::new("shop")?;
    /// let recorded_at = Timestamp::from_micros(0)?;
    /// let at = |position| Delivery { log: &log, position, recorded_at, seed: [position as u8; 32] };
    /// let mut ledger = LedgerOptions::new()
    ///     .follow(&at(0))
    ///     .create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default())?;
    ///
    /// let ann = || DistinctId::new("ann").map(|ann| Operation::properties(recorded_at, ann));
    /// let Delivered::Taken(answers) = ledger.append_at(&at(1), &[ann()?])? else { panic!("it is within bounds") };
    /// assert!(answers[0].outcome().is_some());
    /// assert_eq!(ledger.reader().followed().map(|followed| followed.position), Some(1));
    ///
    /// // Delivered again, it is passed over by name; and nothing else is recorded.
    /// assert!(matches!(ledger.append_at(&at(1), &[ann()?]), Err(FollowError::NotForward { position: 1, .. })));
    /// assert!(matches!(ledger.append(ann()?), Err(AppendError::Follows { position: 1, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`FollowError`]; unless it is `Append` with `Indeterminate`, nothing was recorded.
    pub fn append_at(
        &mut self,
        delivery: &Delivery<'_>,
        operations: &[Operation],
    ) -> Result<Delivered, FollowError> {
        self.check_delivery(delivery)?;
        let drafted = self.check_batch(operations).and_then(|()| self.draft(operations, Some(delivery)));
        match drafted {
            Ok((answers, finished)) => {
                let answers = answer(answers, self.commit(finished)?);
                Ok(Delivered::Taken(answers.into_iter().collect()))
            }
            Err(error) => self.reject(delivery, error),
        }
    }

    /// Changes the policy from here on (A3), as it stands at a position of the followed log.
    ///
    /// # Errors
    /// As of [`Ledger::append_at`].
    pub fn set_policy_at(
        &mut self,
        delivery: &Delivery<'_>,
        policy: &Policy,
    ) -> Result<Delivered, FollowError> {
        self.check_delivery(delivery)?;
        if let Err(error) = policy.check_after(self.reader.policy()) {
            return self.reject(delivery, error.into());
        }
        let policy = Body::SetPolicy(Box::new(StoredPolicy::from(policy)));
        self.commit(self.finished(&[policy, delivery.record()], Some(delivery.recorded_at)))?;
        Ok(Delivered::Taken(Vec::new()))
    }

    /// Erases for every answer, as it stands at a position of the followed log: the erasure and the position are one frame. Gives the erase
    /// records.
    ///
    /// The files are left to [`Ledger::finish_erasures`], the next snapshot or the next opening, each of which takes it out of those of this
    /// copy. A file beside the chain says that this is done: when that was is each copy's own.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use identity_ledger::follow::{Delivered, Delivery, LogName};
    /// # use identity_ledger::erase::{ErasureRequest, ErasureSubject};
    /// # use identity_ledger::{DistinctId, LedgerOptions, Operation, Policy, Tenant, Timestamp};
    /// # use identity_ledger::storage::Memory;
    /// # let log = LogName::new("shop")?;
    /// # let recorded_at = Timestamp::from_micros(0)?;
    /// # let at = |position| Delivery { log: &log, position, recorded_at, seed: [position as u8; 32] };
    /// # let options = LedgerOptions::new().follow(&at(0));
    /// # let mut ledger = options.create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default())?;
    /// let ann = || DistinctId::new("ann");
    /// let _ = ledger.append_at(&at(1), &[Operation::properties(recorded_at, ann()?)])?;
    /// let request = ErasureRequest::new(recorded_at, ErasureSubject::PersonOf(ann()?), "request 17");
    /// assert!(matches!(ledger.erase_at(&at(2), &request)?, Delivered::Taken(_)));
    /// assert_eq!((ledger.resolve("ann"), ledger.reader().erasures_pending()), (None, 1));
    /// let receipts = ledger.finish_erasures(&mut |_| {})?;
    /// assert!(receipts[0].done && receipts[0].done_seq.is_none());
    /// // Asked again, there is nothing to erase: for each follower alike.
    /// assert!(matches!(ledger.erase_at(&at(3), &request)?, Delivered::Rejected(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As of [`Ledger::append_at`]; and `Erase`, if this copy cannot: its key ring cannot be stored, or its log not be read.
    pub fn erase_at(
        &mut self,
        delivery: &Delivery<'_>,
        request: &ErasureRequest,
    ) -> Result<Delivered<Vec<Seq>, EraseError>, FollowError> {
        self.check_delivery(delivery)?;
        match self.draft_erasure(delivery, request) {
            Ok((begun, finished)) => {
                self.commit(finished)?;
                self.reader.log.rewrites().begin(); // no detached reader shows it from here on
                trace::erasing(self.reader.ledger_id(), begun.len());
                Ok(Delivered::Taken(begun))
            }
            Err(error) if error.is_about_request() => {
                self.pass_over(delivery)?;
                Ok(Delivered::Rejected(error))
            }
            Err(EraseError::Append(error)) => Err(error.into()),
            Err(error) => Err(FollowError::Erase(error)),
        }
    }

    /// Whether a delivery is the next of the log that this ledger follows.
    fn check_delivery(&self, delivery: &Delivery<'_>) -> Result<(), FollowError> {
        self.check_health()?;
        let Delivery { log, position: found, .. } = *delivery;
        match self.reader.followed() {
            None => Err(FollowError::NotAFollower { log: log.clone(), position: found }),
            Some(followed) if followed.log != log.as_str() => {
                Err(FollowError::OtherLog { expected: followed.log.clone(), found: log.clone() })
            }
            Some(Followed { position, .. }) if found <= *position => {
                Err(FollowError::NotForward { log: log.clone(), position: *position, found })
            }
            Some(_) => Ok(()),
        }
    }

    /// Records the position of a delivery that is out of bounds, and nothing else of it. Any other error is one of this ledger, and no
    /// reason to pass over a delivery.
    fn reject(&mut self, delivery: &Delivery<'_>, error: AppendError) -> Result<Delivered, FollowError> {
        match error {
            AppendError::Operation { .. }
            | AppendError::TooManyPersonKeys { .. }
            | AppendError::BatchTooLarge { .. }
            | AppendError::Policy(_) => {
                self.pass_over(delivery)?;
                Ok(Delivered::Rejected(error))
            }
            error => Err(error.into()),
        }
    }

    /// Records the position of a delivery alone.
    fn pass_over(&mut self, delivery: &Delivery<'_>) -> Result<(), AppendError> {
        let (_, finished) = self.draft(&[], Some(delivery))?;
        self.commit(finished).map(drop)
    }
}
