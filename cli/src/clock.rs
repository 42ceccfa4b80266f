//! The clock on the wall: the time of what is asked here and now.
#![expect(clippy::disallowed_types, reason = "the shell: a request has the time of the clock on the wall")]

use std::time::{SystemTime, UNIX_EPOCH};

use identity_ledger::Timestamp;

pub(crate) fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let micros = i64::try_from(micros).unwrap_or(0);
    Timestamp::from_micros(micros).unwrap_or_else(|_| Timestamp::from_micros(0).expect("1970 is in range"))
}
