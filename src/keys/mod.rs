//! Keys of a sealed ledger: where they are kept, and how items are sealed with them (feature `encryption`).
//!
//! Every payload item has a key of its own, which nothing but the key ring can give; erasing destroys the keys of what it covers.
//! So a copy of the log alone reveals nothing, and a copy of the log with the ring of today reveals nothing that was erased before
//! today, however old the copy is.

mod ring;
mod stored;
mod tree;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::digest::{Digest, Hasher, Purpose};
use crate::directory::Identity;
use crate::entropy::Entropy;
use crate::id::LedgerId;
use crate::seal::{KeysError, NONCE_BYTES, Opened, Sealer, TAG_BYTES};
use ring::Ring;
pub use stored::StoredKeys;

/// Where the key ring of a ledger is kept: a file beside it, a secret store, a file that a key management service wraps.
///
/// A ring is some bytes: small at first, and longer by at most 1,200 bytes for each erased item, less for
/// neighbours. A former ring must be *gone* once another is stored. With a former ring and an old copy of the
/// log, what was erased since can still be read.
///
/// ```
/// use std::sync::Arc;
/// use identity_ledger::{DistinctId, Ledger, LedgerOptions, Memory, Operation, Policy, StoredKeys, Tenant, Timestamp};
///
/// let keys = Arc::new(StoredKeys::new(Arc::new(Memory::new()), "ledger.keys"));
/// let disk = Arc::new(Memory::new());
/// let options = LedgerOptions::new().keys(keys.clone());
/// let mut ledger = options.create_in(disk.clone(), Tenant::default(), Policy::default())?;
/// ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
/// drop(ledger);
///
/// assert!(LedgerOptions::new().open_in(disk.clone()).is_err()); // sealed
/// let ledger = LedgerOptions::new().keys(keys).open_in(disk)?;
/// assert!(ledger.resolve("ann").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait KeyProvider: std::fmt::Debug + Send + Sync {
    /// The ring stored last; `None` if there never was one.
    ///
    /// # Errors
    /// When it cannot be said which ring is the last, or it cannot be read.
    fn load(&self, ledger: LedgerId) -> io::Result<Option<Vec<u8>>>;

    /// Stores a ring instead of the former, which is destroyed. When it returns, both are durable: a power
    /// cut neither brings back the former nor removes the new one. If it fails, the former or the new one is
    /// there.
    ///
    /// # Errors
    /// When it is not known that the new one is durable and the former gone.
    fn store(&self, ledger: LedgerId, ring: &[u8]) -> io::Result<()>;

    /// How messages name this place.
    fn describe(&self) -> String;
}

/// Keys at hand: a ring, and where it is kept.
#[derive(Debug)]
pub(crate) struct KeysAtHand {
    ledger: LedgerId,
    provider: Arc<dyn KeyProvider>,
    ring: Mutex<Ring>,
}

impl KeysAtHand {
    /// Makes and stores a ring for a ledger that is about to be created.
    pub(crate) fn create(
        provider: Arc<dyn KeyProvider>,
        ledger: LedgerId,
        entropy: &mut dyn Entropy,
    ) -> Result<(), KeysError> {
        let failed = |source| KeysError::Io { keys: provider.describe(), source };
        if provider.load(ledger).map_err(failed)?.is_some() {
            return Err(KeysError::Taken { keys: provider.describe() });
        }
        let ring = Ring::new(entropy.array(), entropy.array());
        provider.store(ledger, &ring.to_bytes(ledger)).map_err(failed)
    }

    /// The keys of a ledger.
    pub(crate) fn load(provider: Arc<dyn KeyProvider>, identity: &Identity) -> Result<KeysAtHand, KeysError> {
        let (ledger, keys) = (identity.ledger, provider.describe());
        let read = provider.load(ledger).map_err(|source| KeysError::Io { keys: keys.clone(), source })?;
        let bytes = read.ok_or_else(|| KeysError::Unknown { keys: keys.clone(), ledger })?;
        let ring = Mutex::new(Ring::parse(&bytes, ledger, &keys)?);
        Ok(KeysAtHand { ledger, provider, ring })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn store(&self, ring: &Ring) -> io::Result<()> {
        self.provider.store(self.ledger, &ring.to_bytes(self.ledger))
    }

    /// What a ciphertext is bound to beside its key: ledger, record, and whether it is an item or a snapshot.
    fn bound_to(&self, leaf: u32) -> [u8; 20] {
        let mut bound = [0; 20];
        bound[..16].copy_from_slice(self.ledger.0.as_bytes());
        bound[16..].copy_from_slice(&leaf.to_le_bytes());
        bound
    }

    /// Appends nonce, ciphertext and tag. The nonce begins with the epoch of the key.
    fn encrypt(&self, leaf: u32, mut nonce: [u8; NONCE_BYTES], plain: &[u8], out: &mut Vec<u8>) {
        let (epoch, key) =
            self.ring().newest_key(leaf).expect("go_on_from saw to it that what is new has keys");
        nonce[..4].copy_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let cipher = XChaCha20Poly1305::new(&key.into());
        let bound = self.bound_to(leaf);
        let tag = cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &bound, (&mut out[start..]).into())
            .expect("far below the cipher's limit of 256 GiB");
        out.extend_from_slice(&tag);
    }

    /// Appends what was encrypted.
    fn decrypt(&self, leaf: u32, sealed: &[u8], out: &mut Vec<u8>) -> Opened {
        let parts = sealed.split_first_chunk::<NONCE_BYTES>().and_then(|(nonce, rest)| {
            let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
            Some((nonce, text, tag))
        });
        let Some((nonce, text, tag)) = parts else { return Opened::Wrong };
        let epoch = u32::from_le_bytes(*nonce.first_chunk().expect("a nonce is longer"));
        let mut ring = self.ring();
        let key = match ring.key(epoch, leaf) {
            None => return Opened::Later { epoch, known: ring.epochs() },
            Some(None) => return Opened::Destroyed,
            Some(Some(key)) => key,
        };
        drop(ring);
        let start = out.len();
        out.extend_from_slice(text);
        let cipher = XChaCha20Poly1305::new(&key.into());
        let (nonce, bound) = (XNonce::from(*nonce), self.bound_to(leaf));
        let opened = cipher.decrypt_inout_detached(&nonce, &bound, (&mut out[start..]).into(), tag.into());
        if opened.is_err() {
            out.truncate(start);
            return Opened::Wrong;
        }
        Opened::Whole
    }
}

/// The leaf of a record's item.
fn item(seq: u64) -> u32 {
    u32::try_from(seq).expect("MAX_RECORDS bounds it")
}

/// The leaf of a snapshot.
fn snapshot(records: u64) -> u32 {
    tree::SNAPSHOTS | item(records)
}

impl Sealer for KeysAtHand {
    fn seal(&self, seq: u64, nonce: [u8; NONCE_BYTES], plain: &[u8], out: &mut Vec<u8>) {
        self.encrypt(item(seq), nonce, plain, out);
    }

    fn open(&self, seq: u64, sealed: &[u8], out: &mut Vec<u8>) -> Opened {
        self.decrypt(item(seq), sealed, out)
    }

    fn seal_snapshot(&self, records: u64, plain: &[u8]) -> Vec<u8> {
        // What is drawn from the entropy must not depend on snapshots, so the nonce follows from key and content.
        let leaf = snapshot(records);
        let (_, key) = self.ring().newest_key(leaf).expect("go_on_from saw to it that what is new has keys");
        let Digest(digest) = Hasher::new(Purpose::Snapshot).update(&key).update(plain).finish();
        let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
        self.encrypt(
            leaf,
            *digest.first_chunk().expect("a digest is longer than a nonce"),
            plain,
            &mut sealed,
        );
        sealed
    }

    fn open_snapshot(&self, records: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::with_capacity(sealed.len());
        (self.decrypt(snapshot(records), sealed, &mut plain) == Opened::Whole).then_some(plain)
    }

    fn destroy(&self, seqs: &[u32], snapshots: u64) -> io::Result<()> {
        let mut ring = self.ring();
        ring.destroy(seqs.iter().map(|seq| (*seq, *seq)).chain([(snapshot(0), snapshot(snapshots))]));
        self.store(&ring) // also if nothing is new: a former store may have been cut off before the former ring was gone
    }

    fn go_on_from(&self, next: u64, fresh: [u8; 32]) -> io::Result<()> {
        let mut ring = self.ring();
        if ring.begin_epoch(item(next), fresh) { self.store(&ring) } else { Ok(()) }
    }

    fn refuses(&self, text: &str) -> bool {
        self.ring().refuses(text)
    }

    fn remember(&self, texts: &mut dyn Iterator<Item = &str>) -> io::Result<()> {
        let mut ring = self.ring();
        if ring.remember(texts) { self.store(&ring) } else { Ok(()) }
    }

    fn set_refusing(&self, refusing: bool) -> io::Result<()> {
        let mut ring = self.ring();
        ring.set_refusing(refusing);
        self.store(&ring)
    }
}
