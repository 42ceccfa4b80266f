//! How an input is read: its format, and what is kept of it.

use std::fmt;
use std::str::FromStr;

use crate::model::policy::Policy;

/// What an input is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Decided for each document: an object with a string `op` is `ops`, any other is `posthog`. What other vendors wrote is rejected
    /// by name.
    #[default]
    Auto,
    /// The ledger's own format: one operation a line.
    Ops,
    /// What PostHog's SDKs send. An event that looks like another vendor's is read as PostHog's.
    Posthog,
    /// What SDKs of PostHog send, and never the ledger's own operations: for input that anybody may have written. An event that looks like
    /// another vendor's is rejected by name.
    Sdk,
    /// Calls of Segment: requests, its archives, and rows of its warehouse tables.
    Segment,
    /// Calls of RudderStack, likewise.
    Rudderstack,
    /// Events and profile updates of Mixpanel, under the rules of Simplified ID Merge.
    Mixpanel,
    /// The same under the rules of Original ID Merge.
    MixpanelOriginal,
    /// Events of Amplitude: exports, and requests to its HTTP API.
    Amplitude,
    /// Rows that say who is who: PostHog's persons model and persons API, Mixpanel's table of identities. They are asserted, whatever
    /// rule D6 would say: by `merge_dangerously`.
    Persons,
}

impl Format {
    /// Every format, in the order in which they are listed.
    pub const ALL: [Format; 10] = [
        Format::Auto,
        Format::Ops,
        Format::Posthog,
        Format::Sdk,
        Format::Segment,
        Format::Rudderstack,
        Format::Mixpanel,
        Format::MixpanelOriginal,
        Format::Amplitude,
        Format::Persons,
    ];

    /// Whether operations in the ledger's own words may stand in it.
    pub(super) fn has_ops(self) -> bool {
        matches!(self, Format::Auto | Format::Ops)
    }

    /// Whether an event is PostHog's, whatever it looks like.
    pub(super) fn insists(self) -> bool {
        self == Format::Posthog
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Ops => "ops",
            Format::Posthog => "posthog",
            Format::Sdk => "sdk",
            Format::Segment => "segment",
            Format::Rudderstack => "rudderstack",
            Format::Mixpanel => "mixpanel",
            Format::MixpanelOriginal => "mixpanel-original",
            Format::Amplitude => "amplitude",
            Format::Persons => "persons",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Format, FormatError> {
        Format::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| FormatError { found: name.chars().take(64).collect() })
    }
}

/// A name that is not a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a format that this version imports; expected auto, ops, posthog, sdk, segment, rudderstack, mixpanel, mixpanel-original, amplitude or persons"
)]
pub struct FormatError {
    found: String,
}

/// What becomes of a time that lies more than [`MAX_AHEAD_MICROS`](crate::limits::MAX_AHEAD_MICROS) after the time of recording (G5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FutureTimes {
    /// It becomes the time of recording, with a notice.
    #[default]
    Clamp,
    /// The operation is rejected.
    Reject,
    /// It is recorded as it is.
    Keep,
}

impl FutureTimes {
    /// Every choice, in the order in which they are listed.
    pub const ALL: [FutureTimes; 3] = [FutureTimes::Clamp, FutureTimes::Reject, FutureTimes::Keep];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            FutureTimes::Clamp => "clamp",
            FutureTimes::Reject => "reject",
            FutureTimes::Keep => "keep",
        }
    }
}

impl FromStr for FutureTimes {
    type Err = FutureTimesError;

    fn from_str(name: &str) -> Result<FutureTimes, FutureTimesError> {
        FutureTimes::ALL
            .into_iter()
            .find(|choice| choice.name() == name)
            .ok_or_else(|| FutureTimesError { found: name.chars().take(64).collect() })
    }
}

/// A name that is not one of [`FutureTimes`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a choice; expected clamp, reject or keep")]
pub struct FutureTimesError {
    found: String,
}

/// How to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the input is written in.
    pub format: Format,
    /// E7: whether event properties such as `$browser` are lifted into person properties.
    pub lift: bool,
    /// Whether an event's own properties are kept.
    pub keep_event_properties: bool,
    /// G5: what becomes of a time from the future, where the time of recording is known ([`Watch::now`](super::Watch::now)).
    pub future_times: FutureTimes,
}

impl From<&Policy> for Options {
    /// As the policy says, format [`Format::Auto`].
    fn from(policy: &Policy) -> Options {
        Options {
            format: Format::Auto,
            lift: policy.lift,
            keep_event_properties: policy.keep_event_properties,
            future_times: FutureTimes::Clamp,
        }
    }
}
