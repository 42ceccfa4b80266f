//! Times from the future: what becomes of an operation whose time has not been yet (G5). Decided just before it is recorded, and never below.

use super::options::FutureTimes;
use super::rejection::Rejection;
use crate::model::limits::MAX_AHEAD_MICROS;
use crate::model::operation::Operation;
use crate::model::time::Timestamp;

impl FutureTimes {
    /// Applies the choice to an operation that is recorded `now`.
    pub(super) fn judge(self, operation: &mut Operation, now: Timestamp) -> Result<(), Rejection> {
        let ahead = operation.time.as_micros() - now.as_micros(); // both within the calendar
        if ahead <= MAX_AHEAD_MICROS || self == FutureTimes::Keep || operation.refolds() {
            return Ok(());
        }
        if self == FutureTimes::Reject {
            return Err(Rejection::FromTheFuture { time: operation.time, now });
        }
        operation.time = now;
        operation.bent.clamped_time = true;
        Ok(())
    }
}
