//! Keys of a sealed ledger: where they are kept, and how items are sealed with them (feature `encryption`).
//!
//! Every payload item has a key of its own, which nothing but the key ring can give; erasing destroys the keys of what it covers.
//! So a copy of the log alone reveals nothing, and a copy of the log with the ring of today reveals nothing that was erased before
//! today, however old the copy is.

mod place;
mod ring;
mod stored;
mod system;
mod tree;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::log::chain::Checkpoint;
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::payload::{KeysError, Opened, Sealer};
use crate::log::record::NONCE_BYTES;
use crate::log::record::TAG_BYTES;
use crate::model::id::{CopyId, LedgerId};
use crate::store::entropy::Entropy;
use crate::store::layout::Identity;
use crate::store::storage::Lock;
use ring::{Ring, digest_of};
pub use stored::StoredKeys;

/// Where the key ring of a ledger is kept: a file beside it, a secret store, a file that a key management service wraps.
///
/// A ring is some bytes: small at first, and longer by at most 1,200 bytes for each erased item, less for
/// neighbours. A former ring must be *gone* once another is stored. With a former ring and an old copy of the
/// log, what was erased since can still be read.
///
/// ```
/// use std::sync::Arc;
/// use identity_ledger::{DistinctId, Ledger, LedgerOptions, Operation, Policy, Tenant, Timestamp};
/// use identity_ledger::storage::{Memory, StoredKeys};
///
/// let keys = Arc::new(StoredKeys::new(Arc::new(Memory::new()), "ledger.keys"));
/// let disk = Arc::new(Memory::new());
/// let options = LedgerOptions::new().keys(keys.clone());
/// let mut ledger = options.create_in(disk.clone(), Tenant::default(), Policy::default())?;
/// let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
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

    /// Takes the ring for one writer, until the lock is dropped; `None` if another writer has it. Readers take no lock.
    ///
    /// # Errors
    /// When no lock can be taken, for example at a read-only place. Then the ledger opens, and nothing is stored.
    fn lock(&self) -> io::Result<Option<Lock>>;

    /// Stores a ring instead of the former, which is destroyed. When it returns, both are durable: a power cut brings neither the
    /// former back nor takes the new one away. If it fails, the former or the new one is there. Called under the lock only, and only
    /// if [`KeyProvider::load`] gives what this writer loaded or stored last.
    ///
    /// # Errors
    /// When it is not known that the new one is durable and the former gone.
    fn store(&self, ledger: LedgerId, ring: &[u8]) -> io::Result<()>;

    /// Tries whether a ring of this many bytes could be stored now. Changes nothing; called under the lock only.
    ///
    /// # Errors
    /// What storing would fail with.
    fn probe(&self, ledger: LedgerId, bytes: usize) -> io::Result<()>;

    /// Destroys the ring of a ledger that could not be created. Called under the lock only, by the writer that stored it.
    ///
    /// # Errors
    /// When it is not known that it is gone.
    fn discard(&self, ledger: LedgerId) -> io::Result<()>;

    /// How messages name this place.
    fn describe(&self) -> String;
}

/// What a ring may grow by before it is stored the next time, as far as that can be tried.
const PROBED_GROWTH: usize = 4_096;

/// Keys at hand: a ring, where it is kept, and what may be done with it.
#[derive(Debug)]
pub(crate) struct KeysAtHand {
    ledger: LedgerId,
    provider: Arc<dyn KeyProvider>,
    /// Which copy of the ledger is opened with it, if that has a `COPY`.
    copy: Option<CopyId>,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    ring: Ring,
    /// Digests of the rings that may be stored now: the one that was loaded or stored last, and those whose storing failed since.
    stored: Vec<Digest>,
    access: Access,
}

/// What may be done with the place of a ring.
#[derive(Debug)]
enum Access {
    /// It is a reader's.
    Read,
    /// The writer has the lock, as long as it holds this; first it is held here, too.
    Write(Weak<Lock>, Option<Arc<Lock>>),
    /// A writer could not take the lock, for this reason.
    Barred(io::ErrorKind, String),
}

/// Why a ring of a new ledger, or of a copy that gets its own, cannot be made; nothing of it is left.
fn make(provider: &dyn KeyProvider, ledger: LedgerId, ring: &Ring) -> Result<(), KeysError> {
    let keys = || provider.describe();
    let failed = |source| KeysError::NotStored { keys: keys(), source };
    let expect_none = || match provider.load(ledger) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(KeysError::Taken { keys: keys() }),
        Err(source) => Err(KeysError::Io { keys: keys(), source }),
    };
    expect_none()?;
    let Some(_lock) = provider.lock().map_err(failed)? else {
        return Err(KeysError::Locked { keys: keys() });
    };
    expect_none()?; // another writer may have made one before this one had the lock
    provider.store(ledger, &ring.to_bytes(ledger)).map_err(|source| {
        provider.discard(ledger).ok(); // the cause is what the caller needs to know
        failed(source)
    })
}

/// Destroys a ring that [`make`] stored, of a ledger that could not be made.
pub(crate) fn discard(provider: &dyn KeyProvider, ledger: LedgerId) -> io::Result<()> {
    match provider.lock()? {
        Some(_lock) => provider.discard(ledger),
        None => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

/// Destroys a ring that [`KeysAtHand::fork`] made, unless a copy adopted it: then there may be items that no other ring opens.
pub(crate) fn discard_unowned(provider: &dyn KeyProvider, ledger: LedgerId, unowned: CopyId) {
    if read(provider, ledger).is_ok_and(|(ring, _)| ring.copy == unowned) {
        discard(provider, ledger).ok(); // the caller has an error to tell of that is the cause of this
    }
}

fn read(provider: &dyn KeyProvider, ledger: LedgerId) -> Result<(Ring, Digest), KeysError> {
    let keys = provider.describe();
    let read = provider.load(ledger).map_err(|source| KeysError::Io { keys: keys.clone(), source })?;
    let bytes = read.ok_or_else(|| KeysError::Unknown { keys: keys.clone(), ledger })?;
    let ring = Ring::parse(&bytes, ledger, &keys)?;
    Ok((ring, digest_of(&bytes).expect("a ring was read from them")))
}

impl KeysAtHand {
    /// Makes and stores a ring for a ledger that is about to be created.
    pub(crate) fn create(
        provider: &dyn KeyProvider,
        ledger: LedgerId,
        entropy: &mut dyn Entropy,
    ) -> Result<(), KeysError> {
        let ring = Ring::new(CopyId::first(ledger), entropy.array(), entropy.array());
        make(provider, ledger, &ring)
    }

    /// Makes and stores a ring at `to` that opens what the ring at `from` opens, and belongs to no copy yet: it has a copy id that no
    /// copy has, which is given.
    pub(crate) fn fork(
        from: &dyn KeyProvider,
        to: &dyn KeyProvider,
        ledger: LedgerId,
        entropy: &mut dyn Entropy,
    ) -> Result<CopyId, KeysError> {
        let (mut ring, _) = read(from, ledger)?;
        let unowned = CopyId(entropy.array());
        ring.fork(unowned, entropy.array());
        make(to, ledger, &ring).map(|()| unowned)
    }

    /// The keys of a ledger, for a reader.
    pub(crate) fn load(
        provider: Arc<dyn KeyProvider>,
        identity: &Identity,
        copy: Option<CopyId>,
    ) -> Result<KeysAtHand, KeysError> {
        KeysAtHand::load_with(provider, identity, copy, Access::Read)
    }

    /// The keys of a ledger, for a writer: no other has them until these are dropped.
    pub(crate) fn load_to_write(
        provider: Arc<dyn KeyProvider>,
        identity: &Identity,
        copy: Option<CopyId>,
    ) -> Result<KeysAtHand, KeysError> {
        let access = match provider.lock() {
            Ok(Some(lock)) => {
                let lock = Arc::new(lock);
                Access::Write(Arc::downgrade(&lock), Some(lock))
            }
            Ok(None) => return Err(KeysError::Locked { keys: provider.describe() }),
            Err(error) => Access::Barred(error.kind(), error.to_string()),
        };
        KeysAtHand::load_with(provider, identity, copy, access)
    }

    fn load_with(
        provider: Arc<dyn KeyProvider>,
        identity: &Identity,
        copy: Option<CopyId>,
        access: Access,
    ) -> Result<KeysAtHand, KeysError> {
        let (ring, digest) = read(&*provider, identity.ledger)?;
        let loaded = Mutex::new(Loaded { ring, stored: vec![digest], access });
        Ok(KeysAtHand { ledger: identity.ledger, provider, copy, loaded })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn not_stored(&self, source: io::Error) -> KeysError {
        KeysError::NotStored { keys: self.provider.describe(), source }
    }

    /// Whether the ring may be stored: the writer has the lock, and what is stored is what it knows.
    fn check(&self, loaded: &Loaded) -> Result<(), KeysError> {
        match &loaded.access {
            Access::Write(lock, _) if lock.strong_count() > 0 => {}
            Access::Write(..) => {
                let source = io::Error::other("this ledger stopped writing; reopen it");
                return Err(KeysError::Io { keys: self.provider.describe(), source });
            }
            Access::Barred(kind, cause) => return Err(self.not_stored(io::Error::new(*kind, cause.clone()))),
            Access::Read => unreachable!("a reader changes no keys"),
        }
        let keys = || self.provider.describe();
        let there =
            self.provider.load(self.ledger).map_err(|source| KeysError::Io { keys: keys(), source })?;
        let there = there.as_deref().and_then(digest_of);
        if there.is_some_and(|there| loaded.stored.contains(&there)) {
            return Ok(());
        }
        Err(KeysError::Changed { keys: keys() })
    }

    fn store(&self, loaded: &mut Loaded) -> Result<(), KeysError> {
        self.check(loaded)?;
        let bytes = loaded.ring.to_bytes(self.ledger);
        let digest = digest_of(&bytes).expect("a ring ends with its digest");
        let stored = self.provider.store(self.ledger, &bytes);
        match &stored {
            Ok(()) => loaded.stored = vec![digest],
            Err(_) => loaded.stored.push(digest), // it may be there
        }
        stored.map_err(|source| self.not_stored(source))
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
            self.loaded().ring.newest_key(leaf).expect("go_on_from saw to it that what is new has keys");
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
        let mut loaded = self.loaded();
        let key = match loaded.ring.key(epoch, leaf) {
            None => return Opened::Later { epoch, known: loaded.ring.epochs() },
            Some(None) => return Opened::Destroyed,
            Some(Some(key)) => key,
        };
        drop(loaded);
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
        let (_, key) =
            self.loaded().ring.newest_key(leaf).expect("go_on_from saw to it that what is new has keys");
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

    fn describe(&self) -> String {
        self.provider.describe()
    }

    fn is_home(&self) -> bool {
        self.copy == Some(self.loaded().ring.copy)
    }

    fn reached(&self) -> Option<Checkpoint> {
        Some(self.loaded().ring.reached).filter(|reached| reached.records > 0)
    }

    fn forgotten(&self) -> u64 {
        self.loaded().ring.forgotten()
    }

    fn take_lock(&self) -> Option<Arc<dyn Send + Sync>> {
        match &mut self.loaded().access {
            Access::Write(_, lock) => Some(lock.take()?),
            Access::Read | Access::Barred(..) => None,
        }
    }

    fn reach(&self, durable: Checkpoint) {
        self.loaded().ring.reached = durable;
    }

    fn settle(&self) -> Result<bool, KeysError> {
        let mut loaded = self.loaded();
        let digest = digest_of(&loaded.ring.to_bytes(self.ledger)).expect("a ring ends with its digest");
        if loaded.stored == [digest] {
            return Ok(false);
        }
        self.store(&mut loaded).map(|()| true)
    }

    fn probe(&self) -> Result<(), KeysError> {
        let loaded = self.loaded();
        self.check(&loaded)?;
        let bytes = loaded.ring.to_bytes(self.ledger).len() + PROBED_GROWTH;
        self.provider.probe(self.ledger, bytes).map_err(|source| self.not_stored(source))
    }

    fn adopt(&self, copy: CopyId) -> Result<(), KeysError> {
        let mut loaded = self.loaded();
        loaded.ring.adopt(copy);
        self.store(&mut loaded)
    }

    fn destroy(&self, seqs: &[u32], last: u64) -> Result<(), KeysError> {
        let mut loaded = self.loaded();
        let ring = &mut loaded.ring;
        ring.destroy(seqs.iter().map(|seq| (*seq, *seq)).chain([(snapshot(0), snapshot(last))]));
        ring.forget(last);
        self.store(&mut loaded) // also if nothing is new: a former store may have been cut off before the former ring was gone
    }

    fn go_on_from(&self, next: u64, fresh: [u8; 32]) -> Result<(), KeysError> {
        let mut loaded = self.loaded();
        if loaded.ring.begin_epoch(item(next), fresh) { self.store(&mut loaded) } else { Ok(()) }
    }

    fn refuses(&self, text: &str) -> bool {
        self.loaded().ring.refuses(text)
    }

    fn remember(&self, texts: &mut dyn Iterator<Item = &str>) -> Result<(), KeysError> {
        let mut loaded = self.loaded();
        if loaded.ring.remember(texts) { self.store(&mut loaded) } else { Ok(()) }
    }

    fn set_refusing(&self, refusing: bool) -> Result<(), KeysError> {
        let mut loaded = self.loaded();
        loaded.ring.set_refusing(refusing);
        self.store(&mut loaded)
    }
}
