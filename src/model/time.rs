//! Timestamps: microseconds since 1970 as the caller's clock told them. There is no `now()` here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const DAY_SECONDS: i64 = 24 * 60 * 60;
const PARSER: jiff::fmt::temporal::DateTimeParser = jiff::fmt::temporal::DateTimeParser::new();

/// A point in time: microseconds UTC since 1970-01-01, years 0001 to 9999 (rule E4).
///
/// Event time never decides identity (A1); it is data.
///
/// ```
/// use identity_ledger::Timestamp;
///
/// let t: Timestamp = "2026-01-01T00:00:00.123456789Z".parse()?;
/// assert_eq!(t.to_string(), "2026-01-01T00:00:00.123456Z"); // further digits are cut, never rounded
/// assert!("yesterday".parse::<Timestamp>().is_err());
/// # Ok::<(), identity_ledger::model::TimestampError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time: 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000_000);
    /// The latest time: 9999-12-31T23:59:59.999999Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// Takes microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`TimestampError::OutOfRange`] outside [`Timestamp::MIN`]..=[`Timestamp::MAX`].
    pub fn from_micros(micros: i64) -> Result<Timestamp, TimestampError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) {
            Ok(Timestamp(micros))
        } else {
            Err(TimestampError::OutOfRange { micros })
        }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time moved by `micros`; `None` when it leaves the range.
    pub fn checked_add_micros(self, micros: i64) -> Option<Timestamp> {
        Timestamp::from_micros(self.0.checked_add(micros)?).ok()
    }
}

/// A clock's time. The ledger reads no clock: a program that has one passes its time in.
#[expect(clippy::disallowed_types, reason = "a time that the caller read")]
impl TryFrom<std::time::SystemTime> for Timestamp {
    type Error = TimestampError;

    /// Cuts what is finer than a microsecond, towards the earlier one.
    fn try_from(time: std::time::SystemTime) -> Result<Timestamp, TimestampError> {
        let nanos = match time.duration_since(std::time::SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128, // a Duration is below 2^95 nanoseconds
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let out_of_range = TimestampError::OutOfRange { micros: if nanos < 0 { i64::MIN } else { i64::MAX } };
        Timestamp::from_micros(i64::try_from(nanos.div_euclid(1_000)).map_err(|_| out_of_range)?)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339, and also a date-time without a zone, which counts as UTC (posthog-rs sends such times). A leap second,
    /// `23:59:60`, is refused: microseconds since 1970 have no place for it, and another second would be stored.
    fn from_str(text: &str) -> Result<Timestamp, TimestampError> {
        let unreadable = || TimestampError::Unreadable { found: excerpt(text) };
        let pieces = PARSER.parse_pieces(text);
        let shorter = if pieces.is_err() { with_nine_digits(text) } else { None };
        let pieces = match &shorter {
            Some(shorter) => PARSER.parse_pieces(shorter),
            None => pieces,
        };
        let pieces = pieces.map_err(|_| unreadable())?;
        let (Some(time), None) = (pieces.time(), pieces.time_zone_annotation()) else {
            return Err(unreadable()); // a bare date says no time
        };
        if is_second_60(text) {
            return Err(TimestampError::LeapSecond { found: excerpt(text) });
        }
        let nanos = pieces.date().to_datetime(time).duration_since(EPOCH).as_nanos();
        let since_1970 =
            i64::try_from(nanos.div_euclid(1_000)).expect("jiff's calendar fits i64 microseconds");
        let offset = pieces.to_numeric_offset().map_or(0, |offset| i64::from(offset.seconds()));
        if offset.abs() >= DAY_SECONDS {
            return Err(unreadable()); // RFC 3339: at most 23:59
        }
        let micros = since_1970 - offset * 1_000_000; // both far below i64::MAX
        Timestamp::from_micros(micros)
    }
}

/// A time whose fraction of a second has more than nine digits, with the first nine: RFC 3339 has no most, and beyond the sixth
/// all are cut off (E4).
fn with_nine_digits(text: &str) -> Option<String> {
    let point = text.find(['.', ','])? + 1;
    let digits = text[point..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 9).then(|| format!("{}{}", &text[..point + 9], &text[point + digits..]))
}

/// Whether the clock in a date-time that [`PARSER`] has read shows second 60. The parser takes it for second 59.
fn is_second_60(text: &str) -> bool {
    let clock = text.split_once(['T', 't', ' ']).map_or("", |(_, clock)| clock);
    let digits =
        clock.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':').filter(u8::is_ascii_digit);
    digits.skip(4).eq(*b"60")
}

/// At most 64 characters of a text, for a message.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = EPOCH
            .checked_add(jiff::SignedDuration::from_micros(self.0))
            .expect("years 0001 to 9999 lie inside jiff's calendar");
        write!(f, "{civil}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text or number is not a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The text is not a date and time.
    #[error("time `{found}` is unreadable; expected RFC 3339 such as 2026-01-01T00:00:00Z")]
    Unreadable {
        /// What was found, at most 64 characters of it.
        found: String,
    },
    /// The text has second 60.
    #[error(
        "time `{found}` has second 60; expected 00 to 59: a leap second has no place in microseconds since 1970"
    )]
    LeapSecond {
        /// What was found, at most 64 characters of it.
        found: String,
    },
    /// The time lies outside the years 0001 to 9999.
    #[error("time {micros} us since 1970 lies outside the years 0001 to 9999")]
    OutOfRange {
        /// Microseconds since 1970.
        micros: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_types, reason = "times are made, no clock is read")]
    fn a_time_of_a_clock_is_cut_to_the_microsecond_before_it() {
        use std::time::{Duration, SystemTime};
        let micros = |time: SystemTime| Timestamp::try_from(time).map(Timestamp::as_micros);
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(micros(epoch + Duration::from_nanos(1_999)), Ok(1));
        assert_eq!(micros(epoch - Duration::from_nanos(1)), Ok(-1));
        let late = epoch + Duration::from_micros(Timestamp::MAX.as_micros() as u64);
        assert_eq!(micros(late), Ok(Timestamp::MAX.as_micros()));
        assert!(micros(late + Duration::from_micros(1)).is_err());
    }

    #[test]
    fn every_bound_prints_and_reads_back() {
        for t in [Timestamp::MIN, Timestamp::MAX, Timestamp(0), Timestamp(-1)] {
            assert_eq!(t.to_string().parse(), Ok(t), "{t}");
        }
        assert!(Timestamp::from_micros(Timestamp::MAX.0 + 1).is_err());
        assert!(Timestamp::from_micros(Timestamp::MIN.0 - 1).is_err());
    }

    #[test]
    fn zones_missing_zones_and_any_number_of_digits_are_read() {
        let utc: Timestamp = "2026-11-23T15:12:21.377811Z".parse().unwrap();
        assert_eq!("2026-11-23T15:12:21.377811063".parse(), Ok(utc));
        assert_eq!("2026-11-23 15:12:21.377811999Z".parse(), Ok(utc));
        assert_eq!("2026-11-23T17:12:21.377811+02:00".parse(), Ok(utc));
        assert_eq!("2026-11-23T15:12:21.37781100001Z".parse(), Ok(utc));
        assert_eq!("2026-11-23T17:12:21.3778119999999999999999999999+02:00".parse(), Ok(utc));
        assert!("2026-11-23T15:12:21.1234567890x".parse::<Timestamp>().is_err());
        for bad in ["", "2026-11-23", "2026-13-01T00:00:00Z", "noon", "12345", "2026-02-30T00:00:00Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_clock_or_an_offset_that_no_clock_shows_is_not_bent_into_another_time() {
        for second_60 in [
            "2016-12-31T23:59:60Z",
            "2026-01-01T12:34:60Z",
            "2026-01-01 12:34:60.5+01:00",
            "20260101T123460Z",
            "2026-01-01t00:00:60.1234567890",
        ] {
            let error = second_60.parse::<Timestamp>().unwrap_err();
            assert_eq!(error, TimestampError::LeapSecond { found: second_60.to_owned() });
        }
        for bad in
            ["24:00:00Z", "12:60:00Z", "12:00:61Z", "12:00:00+24:00", "12:00:00-25:00", "12:00:00+25:59:59"]
        {
            let read = format!("2026-01-01T{bad}").parse::<Timestamp>();
            assert!(matches!(read, Err(TimestampError::Unreadable { .. })), "{bad}: {read:?}");
        }
        let utc: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for same in ["2026-01-01T23:59:00+23:59", "2025-12-31T00:01:00-23:59", "2026-01-01T00:00:00-00:00"] {
            assert_eq!(same.parse(), Ok(utc), "{same}");
        }
        assert!("2026-01-01T06:60:59Z".parse::<Timestamp>().is_err());
        assert!("2026-01-01T00:00:06.060Z".parse::<Timestamp>().is_ok());
        assert!("2026-01-01T00:00:06+00:60".parse::<Timestamp>().is_err());
    }

    #[test]
    fn digits_before_1970_are_cut_towards_the_past() {
        let t: Timestamp = "1969-12-31T23:59:59.9999999Z".parse().unwrap();
        assert_eq!(t.as_micros(), -1);
    }
}
