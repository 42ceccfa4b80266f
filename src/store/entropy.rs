//! Entropy: the shell's only chance - salts, ledger ids, ids for new devices. Injected, and whatever it decides is recorded.

use crate::log::digest::{Hasher, Purpose};
use crate::model::time::Timestamp;

/// A source of unguessable bytes. Threads may share the ledger that holds it ([`crate::SharedLedger`]); only
/// one at a time draws from it.
pub trait Entropy: Send + Sync {
    /// Overwrites all of `out` with fresh bytes.
    fn fill(&mut self, out: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// An array of such bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// A fresh UUIDv7 of a time, with the rest of its bits from `entropy`.
pub(crate) fn uuid_v7(time: Timestamp, entropy: &mut dyn Entropy) -> uuid::Uuid {
    let random: [u8; 10] = entropy.array();
    let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0); // a UUIDv7 counts from 1970
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The operating system's randomness, drawn in blocks: a system call for each salt would cost more than the salt's use.
#[derive(Debug, Default)]
pub struct OsEntropy {
    block: Vec<u8>,
}

/// 256 salts a call.
const BLOCK_BYTES: usize = 4_096;

impl Entropy for OsEntropy {
    /// # Panics
    /// When the operating system has no randomness to give: a ledger written without salts would not be safe to keep.
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.block.is_empty() {
                self.block.resize(BLOCK_BYTES, 0);
                getrandom::fill(&mut self.block).expect("the operating system gives randomness");
            }
            *byte = self.block.pop().expect("the block was just filled");
        }
    }
}

/// Bytes that follow from a seed, for tests and for ledgers that must come out the same twice. Anyone who
/// knows the seed can guess the salts.
#[derive(Debug, Clone)]
pub struct SeededEntropy {
    /// 8 or 32 bytes.
    seed: Vec<u8>,
    drawn: u64,
}

impl SeededEntropy {
    /// The bytes of this seed, from the first.
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy { seed: seed.to_le_bytes().to_vec(), drawn: 0 }
    }

    /// The bytes of a seed of 256 bits, from the first. If it was drawn at random, they cannot be guessed without it.
    pub fn from_bytes(seed: [u8; 32]) -> SeededEntropy {
        SeededEntropy { seed: seed.to_vec(), drawn: 0 }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        Hasher::new(Purpose::Entropy).update(&self.seed).fill(out, self.drawn);
        self.drawn += out.len() as u64;
    }
}
