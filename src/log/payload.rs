//! Sealed payload items: what stands in the files of an encrypted ledger instead of its items. Knows their
//! layout and when they are opened; ciphers and keys are the shell's (`keys.rs`).
//!
//! ```text
//! length of the text or values, and 1, 1 to 4 | nonce 24 | ciphertext of salt and bytes 16 + length | tag 16
//! ```
//! Bodies, commitments and frame hashes are those of a ledger that is not sealed: they are over what was meant, not over how it
//! is kept. So the chain can be walked, and the state folded, without a key.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::log::chain::{ChainError, Checkpoint};
use crate::log::frame::{ABSENT_ITEM, Frame, SALT_BYTES};
use crate::log::record::{NONCE_BYTES, Rows};
use crate::log::varint;
use crate::model::id::{CopyId, LedgerId, Seq};

/// Seals and opens payload items of one ledger, each under a key of its own, and destroys their keys.
#[cfg_attr(not(feature = "encryption"), expect(dead_code, reason = "without ciphers there is no choice"))]
pub(crate) trait Sealer: Debug + Send + Sync {
    /// Appends nonce, ciphertext and tag of a record's salt and bytes.
    fn seal(&self, seq: u64, nonce: [u8; NONCE_BYTES], plain: &[u8], out: &mut Vec<u8>);

    /// Appends the salt and bytes of a record's sealed item. On anything but [`Opened::Whole`] nothing is appended.
    fn open(&self, seq: u64, sealed: &[u8], out: &mut Vec<u8>) -> Opened;

    /// Seals a snapshot of this number of records.
    fn seal_snapshot(&self, records: u64, plain: &[u8]) -> Vec<u8>;

    /// What [`Sealer::seal_snapshot`] sealed; `None` if it does not open.
    fn open_snapshot(&self, records: u64, sealed: &[u8]) -> Option<Vec<u8>>;

    /// How messages name the ring.
    fn describe(&self) -> String;

    /// Whether the ring belongs to this copy of the ledger.
    fn is_home(&self) -> bool;

    /// How far the log of the ring's copy was durable when the ring was stored last; `None` before it was held against a log.
    fn reached(&self) -> Option<Checkpoint>;

    /// The keys of every erasure whose record has a lower number are destroyed.
    fn forgotten(&self) -> u64;

    /// The lock of the ring, for the writer to hold. Nothing is stored any more once it is dropped.
    fn take_lock(&self) -> Option<Arc<dyn Send + Sync>>;

    /// Notes that the log is durable up to here, to be stored with the next change.
    fn reach(&self, durable: Checkpoint);

    /// Stores the ring if it changed since it was stored last; gives whether it did.
    fn settle(&self) -> Result<bool, KeysError>;

    /// Tries whether the ring could be stored now.
    fn probe(&self) -> Result<(), KeysError>;

    /// Makes the ring this copy's, durably.
    fn adopt(&self, copy: CopyId) -> Result<(), KeysError>;

    /// Destroys, durably, the keys of these records' items: all that erasures up to the record `last` cover. Those of all snapshots of at
    /// most as many records go too.
    fn destroy(&self, seqs: &[u32], last: u64) -> Result<(), KeysError>;

    /// Makes sure that records from `next` on have keys: some may have been destroyed if the log was longer once.
    fn go_on_from(&self, next: u64, fresh: [u8; 32]) -> Result<(), KeysError>;

    /// Whether a text was erased, and is not to be recorded again.
    fn refuses(&self, text: &str) -> bool;

    /// Remembers, durably, that these texts are not to be recorded again once they are erased; nothing if none are refused.
    fn remember(&self, texts: &mut dyn Iterator<Item = &str>) -> Result<(), KeysError>;

    /// Chooses whether erased texts are refused from here on; what was remembered is forgotten with `false`.
    fn set_refusing(&self, refusing: bool) -> Result<(), KeysError>;
}

/// Why a sealed ledger does not open, or its keys cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// No keys were given: see `LedgerOptions::keys`.
    #[error(
        "{place} is sealed: its texts and values are read only with its keys; give them (`--key-ring FILE`)"
    )]
    Sealed {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// The provider has no ring of this ledger.
    #[error(
        "{keys} does not exist or holds no keys; give the key ring that was named when ledger {ledger} was created"
    )]
    Unknown {
        /// Where they should be.
        keys: String,
        /// The ledger whose keys were asked for.
        ledger: LedgerId,
    },
    /// The ledger is not sealed.
    #[error("{place} is not sealed: it has no keys to change, and nothing can recognise an erased text")]
    NotSealed {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// The ledger follows a log: what it records must not depend on its key ring.
    #[error(
        "{place} follows a log, and all followers record the same: its key ring cannot refuse what was erased"
    )]
    Follows {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// The ring is another ledger's.
    #[error("{keys} holds the keys of ledger {found}; expected those of {expected}")]
    Foreign {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// Whose they are.
        found: LedgerId,
        /// Whose they should be.
        expected: LedgerId,
    },
    /// There are keys where those of a new ledger should be.
    #[error(
        "{keys} holds keys already, and a new ledger's would replace them; choose another place, or remove it if its ledger was never made"
    )]
    Taken {
        /// Where the keys are, as their provider describes itself.
        keys: String,
    },
    /// The ring is damaged.
    #[error("the key ring {keys} is damaged: {what}; restore it from where you keep a second one")]
    Damaged {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// What is wrong with the ring's bytes.
        what: &'static str,
    },
    /// Another version wrote the ring.
    #[error("the key ring {keys} has version {found}; this version knows {known}")]
    Newer {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// What it says.
        found: u16,
        /// What this version knows.
        known: u16,
    },
    /// Another writer has the ring; `LedgerOptions::fork_keys` makes another.
    #[error(
        "the key ring {keys} is in use by another writer; close that writer, or give this copy of the ledger a ring of its own (`identity-ledger keys fork`)"
    )]
    Locked {
        /// Where the keys are, as their provider describes itself.
        keys: String,
    },
    /// The ring is another copy's: what this copy erased would be lost there too. See
    /// `LedgerOptions::adopt_keys` and `LedgerOptions::fork_keys`.
    #[error(
        "{place} is a copy, and the key ring {keys} belongs to another copy of the same ledger: this one can be read with it and not written. \
         If it takes the place of that one, let it take over the ring (`identity-ledger keys adopt`); if both stay in use, give \
         this one a ring of its own (`identity-ledger keys fork`)"
    )]
    OtherCopy {
        /// The ledger, as its storage describes itself.
        place: String,
        /// Where the keys are, as their provider describes itself.
        keys: String,
    },
    /// The ring was stored before an erasure that the log says is finished: keys that were destroyed live on in it.
    #[error(
        "the key ring {keys} is older than the erasure in record {seq}, and still has keys that were destroyed then; put the newest ring in its \
         place. If there is no newer one, `identity-ledger keys adopt` destroys them again"
    )]
    Stale {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// The last erase record that the ring does not know.
        seq: u64,
    },
    /// The ring changed or went away while the ledger was open.
    #[error(
        "the key ring {keys} is not what this writer loaded: something else replaced or removed it, and nothing was stored over it; put the ring back as it was, \
         then reopen the ledger"
    )]
    Changed {
        /// Where the keys are, as their provider describes itself.
        keys: String,
    },
    /// The ring cannot be stored.
    #[error(
        "the key ring {keys} cannot be stored: {source}; make its place writable, with room for it, and do the same again"
    )]
    NotStored {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// It cannot be read which copy of the ledger this is.
    #[error("{place}/COPY cannot be read: {source}")]
    Copy {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The ring cannot be used.
    #[error("the key ring {keys} cannot be read or stored: {source}")]
    Io {
        /// Where the keys are, as their provider describes itself.
        keys: String,
        /// The error of the provider.
        source: io::Error,
    },
}

/// What became of an attempt to open an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "encryption"), expect(dead_code, reason = "without ciphers nothing is opened"))]
pub(crate) enum Opened {
    Whole,
    /// Its key was destroyed: what it says was erased.
    Destroyed,
    /// It is not what was sealed under this key.
    Wrong,
    /// It says that its key is of epoch `epoch`, counted from 0; the ring has only `known` epochs.
    Later {
        epoch: u32,
        known: u32,
    },
}

/// What opens a ledger's items; a ledger that is not sealed needs nothing.
pub(crate) type Keys = Option<Arc<dyn Sealer>>;

/// Opens the items of an accepted frame into `plain`, and says of its rows where they stand there. Without keys, and of a frame
/// that is not sealed, all stays as it is.
pub(crate) fn open<'a>(
    keys: &Keys,
    frame: Frame<'a>,
    rows: &mut Rows,
    plain: &'a mut Vec<u8>,
) -> Result<Frame<'a>, ChainError> {
    let Some(sealer) = keys.as_ref().filter(|_| rows.sealed) else { return Ok(frame) };
    plain.clear();
    for at in 0..rows.rows.len() {
        let row = &rows.rows[at];
        if !row.has_item() {
            continue;
        }
        let seq = row.seq;
        let start = plain.len();
        let Some((span, len)) = rows.of(row, frame.body, frame.payload).item_span() else {
            plain.extend_from_slice(&ABSENT_ITEM);
            continue;
        };
        let (len, sealed) = frame.payload[span].split_at(len);
        plain.extend_from_slice(len);
        let opened = sealer.open(seq.into(), sealed, plain);
        let row = &mut rows.rows[at];
        match opened {
            Opened::Whole => row.set_item(start as u32), // a frame is at most 16 MiB
            Opened::Destroyed => {
                plain.truncate(start);
                plain.extend_from_slice(&ABSENT_ITEM);
                row.set_destroyed();
            }
            Opened::Wrong => return Err(ChainError::Sealed { seq: seq.into() }),
            Opened::Later { epoch, known } => {
                return Err(ChainError::LaterKeys { seq: seq.into(), epoch, known });
            }
        }
    }
    rows.sealed = false;
    Ok(Frame { payload: plain, ..frame })
}

/// Appends a payload item, sealed.
pub(crate) fn write_item(
    sealer: &dyn Sealer,
    nonce: [u8; NONCE_BYTES],
    seq: Seq,
    salt: &[u8; SALT_BYTES],
    bytes: &[u8],
    payload: &mut Vec<u8>,
) {
    varint::write(bytes.len() as u64 + 1, payload);
    sealer.seal(seq.0, nonce, &[salt, bytes].concat(), payload);
}
