//! The clock on the wall: the time of what is asked here and now, and how long an answer takes.
#![expect(clippy::disallowed_types, reason = "the shell: a request has the time of the clock on the wall")]

#[cfg(feature = "serve")]
use std::time::{Duration, Instant};
use std::time::{SystemTime, UNIX_EPOCH};

use identity_ledger::Timestamp;

pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let micros = i64::try_from(micros).unwrap_or(0);
    Timestamp::from_micros(micros).unwrap_or_else(|_| Timestamp::from_micros(0).expect("1970 is in range"))
}

/// Time since something began.
#[cfg(feature = "serve")]
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

#[cfg(feature = "serve")]
impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
