//! Names of things: distinct ids, device ids, operation ids, person ids, tenants, record numbers.
//!
//! Ids are compared as exact strings: no trimming, no case folding (A5).

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::limits::{MAX_ID_SCALARS, MAX_LOG_NAME_BYTES, MAX_NAME_BYTES, MAX_TENANT_BYTES};

/// The position of a record in its ledger; the genesis record is 0. Order of positions decides everything (A1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text cannot be an id or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("the {what} is empty; expected 1 to {max} {unit}")]
    Empty {
        /// What the text was to name.
        what: &'static str,
        /// The greatest length allowed, in the units that are counted.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// The text is too long.
    #[error("the {what} has {found} {unit}; expected 1 to {max}")]
    TooLong {
        /// What the text was to name.
        what: &'static str,
        /// How long it is.
        found: usize,
        /// The greatest length allowed, in the units that are counted.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// The text holds U+0000.
    #[error("the {what} holds U+0000 at byte {at}; expected text without it")]
    Nul {
        /// What the text was to name.
        what: &'static str,
        /// Offset of the first U+0000, in bytes.
        at: usize,
    },
}

/// Checks a text against B1: 1 to `max` of what `count` counts, no U+0000.
fn check(
    text: &str,
    what: &'static str,
    max: usize,
    unit: &'static str,
    count: impl Fn(&str) -> usize,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what, max, unit });
    }
    if let Some(at) = text.bytes().position(|b| b == 0) {
        return Err(IdError::Nul { what, at });
    }
    // A scalar has at most 4 bytes and at least 1: most texts need no counting.
    if text.len() > max {
        let found = count(text);
        if found > max {
            return Err(IdError::TooLong { what, found, max, unit });
        }
    }
    Ok(())
}

fn scalars(text: &str) -> usize {
    text.chars().count()
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $unit:literal, $count:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            ///
            /// # Errors
            /// [`IdError`] when it is empty, too long, or holds U+0000.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                Self::check(&text)?;
                Ok(Self(text))
            }

            /// Says whether the text could be one, without taking it.
            ///
            /// # Errors
            /// As [`Self::new`].
            pub fn check(text: &str) -> Result<(), IdError> {
                check(text, $what, $max, $unit, $count)
            }

            /// Returns the text, exactly as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, taken out.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(
    /// The id a sender speaks for: 1 to 400 Unicode scalar values without U+0000 (B1).
    ///
    /// ```
    /// use identity_ledger::DistinctId;
    /// assert!(DistinctId::new("ann@example.com").is_ok());
    /// assert!(DistinctId::new("").is_err());
    /// assert!(DistinctId::new("x".repeat(401)).is_err());
    /// ```
    DistinctId,
    "distinct id",
    MAX_ID_SCALARS,
    "Unicode scalar values",
    scalars
);
text_newtype!(
    /// The id of a device (section F); the same bounds as a distinct id.
    DeviceId,
    "device id",
    MAX_ID_SCALARS,
    "Unicode scalar values",
    scalars
);
text_newtype!(
    /// The name of an event, such as `$pageview`: 1 to 1024 bytes.
    EventName,
    "event name",
    MAX_NAME_BYTES,
    "bytes",
    str::len
);
text_newtype!(
    /// The key of a property, such as `email`: 1 to 1024 bytes.
    PropertyKey,
    "property key",
    MAX_NAME_BYTES,
    "bytes",
    str::len
);
text_newtype!(
    /// The tenant a ledger belongs to (A1); part of every person id (D10).
    Tenant,
    "tenant",
    MAX_TENANT_BYTES,
    "bytes",
    str::len
);

text_newtype!(
    /// The name of a log that a ledger follows, such as a stream's: 1 to 255 bytes. It stands in the open in the ledger's records.
    LogName,
    "name of a log",
    MAX_LOG_NAME_BYTES,
    "bytes",
    str::len
);

impl DeviceId {
    /// The distinct id with the same text: what an unknown device first speaks as (F1).
    pub fn as_distinct_id(&self) -> DistinctId {
        DistinctId(self.0.clone())
    }
}

impl Default for Tenant {
    /// Tenant `1`, PostHog's first team.
    fn default() -> Tenant {
        Tenant("1".to_owned())
    }
}

/// 16 random bytes that tell one ledger from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(pub Uuid);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 16 bytes that tell one copy of a sealed ledger from the others: the key ring and the copy that may write with it have the same. The
/// first copy has the bytes of the ledger id; every other draws its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyId(pub(crate) [u8; 16]);

impl CopyId {
    /// That of the copy that was created.
    #[cfg(feature = "encryption")]
    pub(crate) fn first(ledger: LedgerId) -> CopyId {
        CopyId(*ledger.0.as_bytes())
    }
}

/// The id of an operation or event: a UUID chosen by the sender, or derived from content (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub Uuid);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Uuid> for OperationId {
    fn from(uuid: Uuid) -> OperationId {
        OperationId(uuid)
    }
}

impl From<OperationId> for Uuid {
    fn from(id: OperationId) -> Uuid {
        id.0
    }
}

impl std::str::FromStr for OperationId {
    type Err = uuid::Error;

    /// Reads a UUID, in any form that the crate `uuid` reads.
    fn from_str(text: &str) -> Result<OperationId, uuid::Error> {
        text.parse().map(OperationId)
    }
}

/// Namespace of person ids. PostHog's own, so that an import keeps its ids (D10). Set in stone.
const PERSON_NAMESPACE: Uuid = Uuid::from_u128(0x932979b4_65c3_4424_8467_0b66ec27bc22);

/// The id of a person, as the world sees it: UUIDv5 of tenant and founding distinct id (D10).
///
/// ```
/// use identity_ledger::{DistinctId, PersonId, Tenant};
/// let person = PersonId::founded_by(&Tenant::default(), "new-user");
/// assert_eq!(person.to_string(), "b8b0f572-3ec9-54dd-930a-c74a568da04d");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PersonId(pub Uuid);

impl PersonId {
    /// The id of the person that `founding` founds in `tenant` (D10).
    pub fn founded_by(tenant: &Tenant, founding: &str) -> PersonId {
        let name = [tenant.0.as_bytes(), b":", founding.as_bytes()].concat();
        PersonId(Uuid::new_v5(&PERSON_NAMESPACE, &name))
    }

    /// The id of a person that is told from others of the same text by a record (D11). U+0000 stands between the two: no id contains
    /// it (B1), so no sender can choose an id that gives the same name.
    ///
    /// ```
    /// use identity_ledger::{PersonId, Seq, Tenant};
    /// let (tenant, text) = (Tenant::default(), "new-user");
    /// assert_ne!(PersonId::founded_at(&tenant, text, Seq(7)), PersonId::founded_by(&tenant, text));
    /// assert_ne!(PersonId::founded_at(&tenant, text, Seq(7)), PersonId::founded_by(&tenant, "new-user:7"));
    /// ```
    pub fn founded_at(tenant: &Tenant, founding: &str, seq: Seq) -> PersonId {
        PersonId::founded_by(tenant, &format!("{founding}\0{seq}"))
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A UUID in its usual form of 36 characters; other forms are ordinary texts.
pub(crate) fn hyphenated_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distinct_id_counts_scalars_not_bytes_b1() {
        assert!(DistinctId::new("\u{1F434}".repeat(MAX_ID_SCALARS)).is_ok());
        let error = DistinctId::new("\u{1F434}".repeat(MAX_ID_SCALARS + 1)).unwrap_err();
        assert_eq!(error.to_string(), "the distinct id has 401 Unicode scalar values; expected 1 to 400");
        assert!(matches!(DistinctId::new("a\0b"), Err(IdError::Nul { at: 1, .. })));
    }

    #[test]
    fn names_count_bytes() {
        assert!(PropertyKey::new("k".repeat(MAX_NAME_BYTES)).is_ok());
        assert!(PropertyKey::new("k".repeat(MAX_NAME_BYTES + 1)).is_err());
        assert!(Tenant::new("t".repeat(MAX_TENANT_BYTES)).is_ok());
        assert!(Tenant::new("t".repeat(MAX_TENANT_BYTES + 1)).is_err());
    }

    #[test]
    fn person_ids_are_posthogs_d10() {
        let of = |tenant: &str, id: &str| PersonId::founded_by(&Tenant::new(tenant).unwrap(), id).to_string();
        assert_eq!(of("1", "new-user"), "b8b0f572-3ec9-54dd-930a-c74a568da04d");
        assert_eq!(of("2", "new-user"), "4db89b1b-c399-51fa-adb3-df07003c84ef");
        assert_eq!(of("1", "old-user"), "ddf2b6b7-d68a-5f94-bffc-1d0ee3f74509");
        assert_eq!(of("1", "user@example.com"), "55379864-2afb-5e1c-adf7-decb022461c5");
    }
}
