//! Creating a ledger: built beside its place, then renamed into it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::ledger::Ledger;
use crate::ledger::delivery::Beginning;
use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::OpenError;
use crate::log::body::{Body, StoredPolicy};
use crate::log::chain::Checkpoint;
use crate::log::encode::BodyWriter;
use crate::log::frame::{self, Header};
use crate::log::payload::KeysError;
#[cfg(feature = "encryption")]
use crate::model::id::CopyId;
use crate::model::id::{LedgerId, Tenant};
use crate::model::limits::{DEFAULT_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::model::policy::{Policy, PolicyError};
use crate::model::time::Timestamp;
use crate::store::clock::SystemClock;
use crate::store::entropy::OsEntropy;
#[cfg(feature = "encryption")]
use crate::store::keys::{self, KeysAtHand};
use crate::store::layout::{
    HEAD, HeadSlot, Identity, LEDGER, LOG, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::store::storage::{FilePlace, LedgerPlace, Memory, Occupant, Reserved, Storage};

/// Why a ledger cannot be created. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is a ledger already.
    #[error("{place} is a ledger already; open it, or choose another directory")]
    Exists {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The directory holds something else.
    #[error("{place} is not empty and does not contain a ledger; choose an empty or new directory")]
    NotEmpty {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The directory lies in another ledger.
    #[error("{place} lies in the ledger {ledger}; choose a place outside it")]
    Inside {
        /// The directory, as its storage describes itself.
        place: String,
        /// The ledger that it lies in.
        ledger: String,
    },
    /// The policy is out of its bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The segment size is out of its bounds.
    #[error("segments of {found} bytes are too small; expected at least {MIN_SEGMENT_BYTES}")]
    SegmentTooSmall {
        /// What was asked.
        found: u64,
    },
    /// The keys of a sealed ledger cannot be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The new ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error("{place} cannot be created: {source}")]
    Io {
        /// The directory, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl<'p> LedgerOptions<'p> {
    /// Creates a ledger in `dir`, which must be empty or not exist yet. It appears whole or not at all.
    ///
    /// # Errors
    /// [`CreateError`]; then nothing is left behind, unless syncing the parent directory was what failed.
    pub fn create(
        self,
        dir: impl AsRef<Path>,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let dir = dir.as_ref();
        let failed = |source| CreateError::Io { place: dir.display().to_string(), source };
        if let Some(Reserved::Inside(ledger)) = Reserved::of(dir).map_err(failed)? {
            let (place, ledger) = (dir.display().to_string(), ledger.display().to_string());
            return Err(CreateError::Inside { place, ledger });
        }
        let place = FilePlace::new(dir, self.access).map_err(failed)?;
        self.create_at(&place, tenant, policy)
    }

    /// Creates a ledger at a place, as [`LedgerOptions::create`] does: it is built beside the place and renamed.
    ///
    /// # Errors
    /// As there.
    pub fn create_at(
        mut self,
        place: &dyn LedgerPlace,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let failed = |source| CreateError::Io { place: place.describe(), source };
        match place.look().map_err(failed)? {
            Occupant::Directory(names) if names.iter().any(|name| name == LEDGER) => {
                return Err(CreateError::Exists { place: place.describe() });
            }
            Occupant::Directory(names) if !names.is_empty() => {
                return Err(CreateError::NotEmpty { place: place.describe() });
            }
            Occupant::Other => return Err(CreateError::NotEmpty { place: place.describe() }),
            Occupant::Directory(_) | Occupant::Nothing => {}
        }
        let identity = self.identity(tenant, &policy)?;
        let tag = identity.ledger.0.simple().to_string();
        let first = &self.first_records(&policy);
        let built = place.build(&tag).and_then(|storage| build(&*storage, &identity, first));
        if let Err(source) = built.and_then(|()| place.put(&tag)) {
            place.discard(&tag).ok(); // the cause is what the caller needs to know
            return Err(self.give_up(&identity, false, failed(source)));
        }
        place.sync().map_err(failed)?;
        Ok(self.open_in(place.storage())?)
    }

    /// Creates a ledger in a storage that has no files yet.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create_in(
        mut self,
        storage: Arc<dyn Storage>,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let place = storage.describe();
        let failed = |source| CreateError::Io { place: place.clone(), source };
        if storage.len(LEDGER).map_err(failed)?.is_some() {
            return Err(CreateError::Exists { place });
        }
        let identity = self.identity(tenant, &policy)?;
        let first = &self.first_records(&policy);
        build(&*storage, &identity, first).map_err(|source| {
            let made = storage.len(LEDGER).is_ok_and(|len| len.is_some());
            self.give_up(&identity, made, failed(source))
        })?;
        Ok(self.open_in(storage)?)
    }

    /// What a new ledger begins with, and when it is created.
    pub(crate) fn first_records(&mut self, policy: &Policy) -> FirstRecords {
        let genesis = Body::Genesis(Box::new(StoredPolicy::from(policy)));
        if let Some(Beginning { recorded_at, record, .. }) = self.beginning.take() {
            return FirstRecords { bodies: vec![genesis, record], recorded_at };
        }
        let recorded_at = self.clock.get_or_insert_with(|| Box::new(SystemClock)).now();
        FirstRecords { bodies: vec![genesis], recorded_at }
    }

    /// Why a ledger was not created. Its keys go, unless the ledger is there after all.
    pub(crate) fn give_up(&self, identity: &Identity, made: bool, error: CreateError) -> CreateError {
        #[cfg(feature = "encryption")]
        if let Some(provider) = self.keys.as_ref().filter(|_| !made) {
            keys::discard(&**provider, identity.ledger).ok(); // the cause is what the caller needs to know
        }
        #[cfg(not(feature = "encryption"))]
        let (_, _) = (identity, made);
        error
    }

    pub(crate) fn identity(&mut self, tenant: Tenant, policy: &Policy) -> Result<Identity, CreateError> {
        policy.check()?;
        let segment_bytes = self.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES);
        if segment_bytes < MIN_SEGMENT_BYTES {
            return Err(CreateError::SegmentTooSmall { found: segment_bytes });
        }
        let entropy = self.entropy.get_or_insert_with(|| Box::new(OsEntropy::default()));
        let ledger = match &self.beginning {
            Some(beginning) => beginning.ledger,
            None => LedgerId(uuid::Builder::from_random_bytes(entropy.array()).into_uuid()),
        };
        #[cfg(feature = "encryption")]
        if let Some(provider) = &self.keys {
            KeysAtHand::create(&**provider, ledger, &mut **entropy)?;
        }
        let sealed = self.seals();
        Ok(Identity { ledger, tenant, segment_bytes, sealed })
    }
}

/// The first frame of a ledger.
pub(crate) struct FirstRecords {
    bodies: Vec<Body>,
    recorded_at: Timestamp,
}

/// Writes the files of a new ledger: one segment with the genesis record, `HEAD`, and last `LEDGER`, which makes it one.
pub(crate) fn build(storage: &dyn Storage, identity: &Identity, first: &FirstRecords) -> io::Result<()> {
    let FirstRecords { bodies, recorded_at } = first;
    let mut replay = identity.replay();
    let body = BodyWriter::of(bodies);
    let segment = segment_name(0);
    let previous = *replay.chain().head();
    let header = SegmentHeader { ledger: identity.ledger, first_seq: 0, previous };
    let mut bytes = header.to_bytes().to_vec();
    let body_len = u32::try_from(body.len()).expect("a policy fits a record");
    let (records, recorded_at) = (bodies.len() as u32, *recorded_at); // one or two
    let header = Header { body_len, payload_len: 0, first_seq: 0, recorded_at, records, durable: 0 };
    frame::write(header, &body, &[], identity.ledger, &previous, &mut bytes);
    replay.frame(&bytes[SEGMENT_HEADER_BYTES..], true, |_| {}).expect("a genesis record begins its chain");
    let Checkpoint { records, head } = replay.chain().checkpoint();

    // `LEDGER` comes last and all at once, so that wherever a crash falls there is a whole ledger or none.
    let building = format!("{LEDGER}.new");
    #[cfg(feature = "encryption")]
    if identity.sealed {
        CopyId::first(identity.ledger).write(storage, identity.ledger)?;
    }
    let files = [(&segment[..], &bytes[..]), (HEAD, &[]), (&building, &identity.to_bytes())];
    for (file, content) in files {
        storage.create(file)?;
        storage.write_at(file, 0, content)?;
        if file == HEAD {
            HeadSlot { ledger: identity.ledger, turn: 1, records, head }.write(storage)?;
        }
        storage.sync(file)?;
    }
    storage.sync_dir(LOG)?;
    storage.sync_dir("")?;
    storage.rename(&building, LEDGER)?;
    storage.sync_dir("")
}

impl Ledger {
    /// Creates a ledger in `dir`; see [`LedgerOptions::create`].
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(dir: impl AsRef<Path>, tenant: Tenant, policy: Policy) -> Result<Ledger, CreateError> {
        LedgerOptions::new().create(dir, tenant, policy)
    }

    /// A ledger in memory, for tests and for folding without keeping.
    ///
    /// # Errors
    /// [`CreateError`] when the policy is out of its bounds.
    pub fn in_memory(tenant: Tenant, policy: Policy) -> Result<Ledger, CreateError> {
        LedgerOptions::new().create_in(Arc::new(Memory::new()), tenant, policy)
    }
}
