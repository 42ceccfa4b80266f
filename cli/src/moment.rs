//! Moments: the record or the time as of which a question is asked.

use std::str::FromStr;

use identity_ledger::Timestamp;

/// A record, or a time of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after the record of this number.
    Record(u64),
    /// When everything had been recorded that was recorded at or before this time.
    Time(Timestamp),
}

/// What `--at` is called in help texts.
pub(crate) const MOMENT: &str = "SEQ|TIME";

/// A text that is not a moment.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected a record's number, a time such as 2026-03-03T12:00:00Z, or a date such as 2026-03-03, which is its first moment in UTC"
)]
pub(crate) struct MomentError;

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Moment, MomentError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Moment::Record).map_err(|_| MomentError);
        }
        let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
        time.map(Moment::Time).map_err(|_| MomentError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_number_a_time_or_a_date() {
        let at = |text: &str| Moment::Time(text.parse().unwrap());
        let midnight = at("2026-03-03T00:00:00Z");
        for (text, expected) in [
            ("0", Some(Moment::Record(0))),
            ("20260303", Some(Moment::Record(20_260_303))),
            ("2026-03-03", Some(midnight)),
            ("2026-03-03T00:00:00Z", Some(midnight)),
            ("2026-03-03T01:00:00+01:00", Some(midnight)),
            ("2026-03-03T00:00:00.000001Z", Some(at("2026-03-03T00:00:00.000001Z"))),
            ("", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("yesterday", None),
            ("2026-03", None),
            ("2026-02-30", None),
            ("2026-03-03 ", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
