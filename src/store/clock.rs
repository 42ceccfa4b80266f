//! The clock: when a frame is recorded. Injected, and what it says is recorded; no rule of the fold reads it.
#![expect(clippy::disallowed_types, reason = "the one clock of the shell")]

use std::time::SystemTime;

use crate::model::time::Timestamp;

/// Says when a frame is recorded. It may jump: the ledger takes the later of its answer and the time of the frame before.
///
/// A closure is a clock, for tests and for bytes that must come out the same twice:
///
/// ```
/// use identity_ledger::{LedgerOptions, Timestamp};
/// let mut micros = 0;
/// let options = LedgerOptions::new().clock(move || {
///     micros += 1;
///     Timestamp::from_micros(micros).expect("a time soon after 1970")
/// });
/// # drop(options);
/// ```
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&mut self) -> Timestamp;
}

impl<F: FnMut() -> Timestamp + Send + Sync> Clock for F {
    fn now(&mut self) -> Timestamp {
        self()
    }
}

/// The operating system's clock, cut to the microsecond. A time before the year 0001 or after 9999 counts as the first or the
/// last microsecond of those years: a clock that is that wrong stops no append.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&mut self) -> Timestamp {
        clamped(SystemTime::now())
    }
}

/// A clock that counts the microseconds of 2026, one for each time that it is asked.
pub(crate) fn counting() -> impl Clock {
    let mut next = Timestamp::from_micros(1_767_225_600_000_000).expect("2026-01-01T00:00:00Z");
    move || {
        let now = next;
        next = next.checked_add_micros(1).unwrap_or(next);
        now
    }
}

fn clamped(time: SystemTime) -> Timestamp {
    let beyond = if time < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::try_from(time).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_out_of_all_years_counts_as_their_edge() {
        let years = |years: u64| Duration::from_secs(years * 365 * 24 * 60 * 60);
        assert_eq!(clamped(SystemTime::UNIX_EPOCH + years(10_000)), Timestamp::MAX);
        assert_eq!(clamped(SystemTime::UNIX_EPOCH - years(3_000)), Timestamp::MIN);
        assert_eq!(clamped(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_999)).as_micros(), 1);
    }
}
