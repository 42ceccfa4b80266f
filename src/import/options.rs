//! How an input is read: its format, and what is kept of it.

use std::fmt;
use std::str::FromStr;

use crate::import::rejection;
use crate::model::policy::Policy;

/// What an input is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Decided for each document: an object with a string `op` is `ops`, any other is `posthog`.
    #[default]
    Auto,
    /// The ledger's own format: one operation a line.
    Ops,
    /// What PostHog's SDKs send.
    Posthog,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Auto => "auto",
            Format::Ops => "ops",
            Format::Posthog => "posthog",
        })
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Format, FormatError> {
        [Format::Auto, Format::Ops, Format::Posthog]
            .into_iter()
            .find(|format| format.to_string() == name)
            .ok_or_else(|| FormatError { found: rejection::excerpt(name) })
    }
}

/// A name that is not a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a format that this version imports; expected auto, ops or posthog")]
pub struct FormatError {
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
}

impl From<&Policy> for Options {
    /// As the policy says, format [`Format::Auto`].
    fn from(policy: &Policy) -> Options {
        Options {
            format: Format::Auto,
            lift: policy.lift,
            keep_event_properties: policy.keep_event_properties,
        }
    }
}
