//! What binds a record to its payload item, which may be erased: one keyed hash, of one block for most texts.

use crate::log::body::Commitment;
use crate::log::digest::{Hasher, Purpose};
use crate::log::frame::SALT_BYTES;
use crate::log::lanes::Lanes;
use crate::model::id::{LedgerId, Seq};

/// Room for what most items take, so that their hash needs no running state.
const SMALL: usize = 256;
const PREFIX: usize = 8 + SALT_BYTES;

/// Makes the commitments of one ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commitments {
    key: [u8; 32],
}

impl Commitments {
    pub(crate) fn of(ledger: LedgerId) -> Commitments {
        Commitments { key: Hasher::new(Purpose::Commitment).update(ledger.0.as_bytes()).finish().0 }
    }

    /// As [`Commitments::commit`], many at once: each message is place, salt and bytes.
    pub(crate) fn lanes(&self) -> Lanes {
        Lanes::keyed(&self.key)
    }

    /// What a body says of its payload item: place, salt and bytes. The salt hides even a text that could be guessed; place and
    /// ledger bind the item to its record.
    pub(crate) fn commit(&self, seq: Seq, salt: &[u8; SALT_BYTES], bytes: &[u8]) -> Commitment {
        let mut small = [0; SMALL];
        small[..8].copy_from_slice(&seq.0.to_le_bytes());
        small[8..PREFIX].copy_from_slice(salt);
        let hash = match small.get_mut(PREFIX..PREFIX + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                blake3::keyed_hash(&self.key, &small[..PREFIX + bytes.len()])
            }
            None => blake3::Hasher::new_keyed(&self.key).update(&small[..PREFIX]).update(bytes).finalize(),
        };
        Commitment(*hash.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_items_are_hashed_alike() {
        let ledger = LedgerId(uuid::Uuid::from_u128(5));
        let key = blake3::derive_key("identity-ledger 2026-11-29 v2 payload commitment", ledger.0.as_bytes());
        for len in [0, 1, 40, SMALL - PREFIX, SMALL - PREFIX + 1, 5_000] {
            let bytes = vec![7; len];
            let whole = [&9_u64.to_le_bytes()[..], &[3; SALT_BYTES], &bytes].concat();
            let expected = *blake3::keyed_hash(&key, &whole).as_bytes();
            assert_eq!(Commitments::of(ledger).commit(Seq(9), &[3; SALT_BYTES], &bytes).0, expected);
        }
    }
}
