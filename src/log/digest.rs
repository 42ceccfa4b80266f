//! Digests: BLAKE3 in its key-derivation mode, one context per purpose. Set in stone.
//!
//! A digest made for one purpose can never pass for another. `b3sum --derive-key CONTEXT` recomputes any of them.

use std::fmt;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use serde::{Deserialize, Serialize};

/// 32 bytes of BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let error = || DigestError { found: text.chars().take(80).collect() };
        if text.len() != 64 || !text.is_ascii() {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| error())?;
        }
        Ok(Digest(bytes))
    }
}

/// A text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a digest; expected 64 hexadecimal digits")]
pub struct DigestError {
    found: String,
}

/// What a digest is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The hash that the first frame of a ledger follows.
    Genesis,
    /// A frame's link in the chain.
    Frame,
    /// The key of the commitments that bind records to their erasable payload items.
    Commitment,
    /// The state digest.
    State,
    /// The content digest.
    Content,
    /// One event inside the content digest.
    Event,
    /// Operation ids derived from content (G4).
    OperationId,
    /// Files that stand alone: `LEDGER`, `HEAD`.
    File,
    /// Bytes that recovery cut off.
    Quarantine,
    /// Numbers drawn from a caller's seed.
    Entropy,
    /// A snapshot file.
    Snapshot,
    /// A segment file, before or after it was rewritten.
    Segment,
    /// A node of the tree of keys, from the one above it.
    KeyTree,
    /// A key ring's own digest.
    KeyRing,
    /// What a text is recognised by that is not to be recorded again.
    RefusedText,
}

impl Purpose {
    const fn context(self) -> &'static str {
        match self {
            Purpose::Genesis => "identity-ledger 2026-11-23 v1 genesis",
            Purpose::Frame => "identity-ledger 2026-11-29 v2 frame",
            Purpose::Commitment => "identity-ledger 2026-11-29 v2 payload commitment",
            Purpose::State => "identity-ledger 2026-11-23 v1 state digest",
            Purpose::Content => "identity-ledger 2026-11-23 v1 content digest",
            Purpose::Event => "identity-ledger 2026-11-23 v1 content digest event",
            Purpose::OperationId => "identity-ledger 2026-11-23 v1 derived operation id",
            Purpose::File => "identity-ledger 2026-11-23 v1 file",
            Purpose::Quarantine => "identity-ledger 2026-11-23 v1 quarantined bytes",
            Purpose::Entropy => "identity-ledger 2026-11-23 v1 seeded entropy",
            Purpose::Snapshot => "identity-ledger 2026-11-23 v1 snapshot",
            Purpose::Segment => "identity-ledger 2026-11-23 v1 segment file",
            Purpose::KeyTree => "identity-ledger 2026-11-28 v1 key tree",
            Purpose::KeyRing => "identity-ledger 2026-11-28 v1 key ring",
            Purpose::RefusedText => "identity-ledger 2026-11-28 v1 refused text",
        }
    }

    /// The derived key of this purpose's context: hashing the context again each time would double the cost
    /// of a small hash.
    pub(crate) fn key(self) -> &'static ContextKey {
        macro_rules! cached {
            ($($purpose:ident)*) => {
                match self {
                    $(Purpose::$purpose => {
                        static KEY: LazyLock<ContextKey> =
                            LazyLock::new(|| hash_derive_key_context(Purpose::$purpose.context()));
                        &KEY
                    })*
                }
            };
        }
        cached!(Genesis Frame Commitment State Content Event OperationId File Quarantine Entropy Snapshot Segment KeyTree KeyRing RefusedText)
    }
}

/// A running digest.
#[derive(Clone)]
pub(crate) struct Hasher(blake3::Hasher);

impl Hasher {
    pub(crate) fn new(purpose: Purpose) -> Hasher {
        Hasher(blake3::Hasher::new_from_context_key(purpose.key()))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.0.update(bytes);
        self
    }

    /// A text or byte string with its length first, so that two fields never run together.
    pub(crate) fn field(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    pub(crate) fn fill(&self, out: &mut [u8], offset: u64) {
        let mut reader = self.0.finalize_xof();
        reader.set_position(offset);
        reader.fill(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_blake3_derive_key_of_its_context() {
        let ours = Hasher::new(Purpose::Frame).update(b"abc").finish();
        assert_eq!(ours.0, blake3::derive_key("identity-ledger 2026-11-29 v2 frame", b"abc"));
        assert_eq!(ours.to_string().parse(), Ok(ours));
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
