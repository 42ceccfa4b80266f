//! Backup: a copy of a ledger that a writer may be appending to, verified while it is copied. The source is never written.
//!
//! The copy ends exactly at a checkpoint that was durable in the source. Its files come in an order in which a half-made copy
//! never passes for a whole one:
//!
//! 1. `LEDGER.partial`, so that a copy under way can be told from other files, and whose it is;
//! 2. each segment, synced; then `HEAD`, synced, which says how far the copy is good, and so where a later
//!    run may continue;
//! 3. `LEDGER`, by a rename, when everything else is there. From then on the copy opens, and updates only add to it.
//!
//! Bytes behind the copy's `HEAD` are copied again: readable does not mean durable. Caches and what recovery
//! cut off stay behind.

mod copy;
mod source;

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::MAX_LOOKS;
use crate::log::chain::Checkpoint;
use crate::log::payload::{Keys, KeysError};
use crate::model::id::{LedgerId, Seq};
use crate::store::layout::{Identity, IdentityError};
use crate::store::segments::{Fault, FaultKind};
use crate::store::storage::{Access, FilePlace, Files, LedgerPlace, Occupant, Reserved, Storage};
use copy::Copy;
use source::{Source, Walk};

/// Longest `LEDGER`; a tenant has at most 255 bytes.
const LEDGER_BYTES: u64 = 4_096;
/// Written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Gives the keys that open a ledger's items, if there are any.
type Unlock<'u> = dyn Fn(&dyn Storage, &Identity) -> Result<Keys, KeysError> + 'u;

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Where the copy ends. Kept elsewhere, it proves later that the copy is whole.
    pub checkpoint: Checkpoint,
    /// Bytes of log that were there from an earlier backup, and are still what the source says.
    pub kept_bytes: u64,
    /// Bytes of log that were copied now.
    pub copied_bytes: u64,
    /// How many sealed items of the ledger were copied as they are, because no keys were given to open them: whether they are intact
    /// is not known. 0 with keys, and for a ledger that is not sealed.
    pub unopened_items: u64,
    /// Erasures that the copy holds and that are not finished in it, by record: its files may still hold what they cover. A
    /// later backup, or a writer that opens the copy, finishes them.
    pub pending_erasures: Vec<Seq>,
}

/// Why there is no backup. Unless it is `Io`, the copy was not touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is not a ledger, or not one that this version can read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The keys that were given are not those of the ledger, or cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The source is damaged.
    #[error(
        "{place} is damaged and was not copied on: {fault}; see `verify`, and restore it from an older backup"
    )]
    Damaged {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// What was found.
        fault: Box<Fault>,
    },
    /// The source ends before what its `HEAD` saw durable.
    #[error(
        "{place} was rolled back: it ends with record count {found}, but its HEAD saw {expected}; find the newer copy"
    )]
    RolledBack {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The copy's place lies in a ledger, or the ledger in it.
    #[error("{dest} is, holds or lies in the ledger {place}; choose a place outside it")]
    Inside {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// Where the copy should be.
        dest: String,
    },
    /// There is something else where the copy should be.
    #[error("{dest} holds {found}, which is not part of a backup; choose an empty or new directory")]
    NotEmpty {
        /// Where the copy should be.
        dest: String,
        /// What is there.
        found: String,
    },
    /// There is another ledger where the copy should be.
    #[error("{dest} is a copy of ledger {found}; expected {expected}; choose another directory")]
    OtherLedger {
        /// Where the copy should be.
        dest: String,
        /// Whose copy is there.
        found: LedgerId,
        /// Whose copy was to be made.
        expected: LedgerId,
    },
    /// The copy and the source have different histories.
    #[error(
        "{dest} holds another history from record {records} on; one of the two was written to on its own: keep both, \
         and make a new backup elsewhere"
    )]
    Forked {
        /// Where the copy is.
        dest: String,
        /// How many records they share.
        records: u64,
    },
    /// The copy has records that the source does not have.
    #[error(
        "{dest} has {records} records, more than the ledger's {source_records}; the ledger was rolled back"
    )]
    Ahead {
        /// Where the copy is.
        dest: String,
        /// How many it has.
        records: u64,
        /// How many the source has.
        source_records: u64,
    },
    /// The copy is not what was copied.
    #[error(
        "the copy in {dest} is damaged: {what}, after {records} good record{}; make a new one elsewhere",
        if *.records == 1 { "" } else { "s" }
    )]
    DamagedCopy {
        /// Where the copy is.
        dest: String,
        /// How many of its records are good.
        records: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Another backup, or a writer, is at work on the copy.
    #[error("{dest} is in use by another backup or writer; wait for it")]
    Locked {
        /// Where the copy is.
        dest: String,
    },
    /// A writer rewrote segments each time the ledger was read. The copy may hold what was erased meanwhile.
    #[error(
        "{place} changed under the backup {looks} times in a row: a writer erases all the time; run the backup again when it is \
         done, for the copy may hold what was erased meanwhile"
    )]
    Busy {
        /// Which ledger.
        place: String,
        /// How often it was read.
        looks: u32,
    },
    /// A disk failed. Run the backup again: it continues where it stopped.
    #[error("{place}: {source}; run the backup again, it continues where it stopped")]
    Io {
        /// The ledger or the copy whose disk failed, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A backup: one run of it. Restoring is opening the copy.
///
/// ```
/// use identity_ledger::{Backup, Ledger, LedgerReader, Policy, Tenant};
/// let dir = std::env::temp_dir().join(format!("identity-ledger-backup-{}", std::process::id()));
/// std::fs::create_dir(&dir)?;
/// let ledger = Ledger::create(dir.join("a"), Tenant::default(), Policy::default())?;
/// let report = Backup::run(&dir.join("a"), &dir.join("copy"), &mut |_| {})?; // beside the open writer
/// assert_eq!(report.checkpoint, ledger.checkpoint());
/// assert_eq!(LedgerReader::open(dir.join("copy"))?.checkpoint(), report.checkpoint);
/// # drop(ledger); std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backup;

impl Backup {
    /// Copies the ledger in `source` to `dest`, which must be empty, not exist, or hold an earlier copy of it; then only what
    /// is new is copied. `progress` hears how many bytes of log are done.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn run(
        source: &Path,
        dest: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        LedgerOptions::new().progress(progress).backup(source, dest)
    }

    /// Copies a ledger whose items are opened by the keys that `unlock` gives, if it gives any.
    pub(crate) fn copy_directory(
        source: &Path,
        dest: &Path,
        unlock: &Unlock<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        let from: Arc<dyn Storage> = Arc::new(Files::read_only(source));
        Identity::read(&*from, false)?; // before a directory is made for it
        let (place, shown) = (source.display().to_string(), dest.display().to_string());
        let failed = |source| BackupError::Io { place: shown.clone(), source };
        let inside = |place: String| Err(BackupError::Inside { place, dest: shown.clone() });
        if let Some(Reserved::Inside(ledger)) = Reserved::of(dest).map_err(failed)? {
            return inside(if ledger == source.canonicalize().map_err(failed)? {
                place
            } else {
                ledger.display().to_string()
            });
        }
        if dest.exists()
            && source
                .canonicalize()
                .and_then(|source| Ok(source.starts_with(dest.canonicalize()?)))
                .map_err(failed)?
        {
            return inside(place);
        }
        let dest = FilePlace::new(dest, Access::default()).map_err(failed)?;
        Backup::copy_to(from, &dest, unlock, progress)
    }

    /// Copies a ledger to a place; see [`Backup::run`].
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn run_at(
        source: Arc<dyn Storage>,
        dest: &dyn LedgerPlace,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        Backup::copy_to(source, dest, &|_, _| Ok(None), progress)
    }

    fn copy_to(
        source: Arc<dyn Storage>,
        dest: &dyn LedgerPlace,
        unlock: &Unlock<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        let failed = |source| BackupError::Io { place: dest.describe(), source };
        match dest.look().map_err(failed)? {
            Occupant::Directory(_) => {}
            Occupant::Other => {
                return Err(BackupError::NotEmpty { dest: dest.describe(), found: "a file".to_owned() });
            }
            Occupant::Nothing => dest.create().map_err(failed)?,
        }
        dest.sync().map_err(failed)?; // an earlier run may have made the directory and not lived to do so
        Backup::copy(source, dest.storage(), unlock, progress)
    }

    /// Copies a ledger from one storage to another.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn run_in(
        source: Arc<dyn Storage>,
        dest: Arc<dyn Storage>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        LedgerOptions::new().progress(progress).backup_in(source, dest)
    }

    /// As [`Backup::copy_directory`], between any two storages.
    pub(crate) fn copy(
        source: Arc<dyn Storage>,
        dest: Arc<dyn Storage>,
        unlock: &Unlock<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        for _ in 0..MAX_LOOKS {
            let looked = Source::look(Arc::clone(&source), unlock)?;
            let ran = Backup::run_once(&looked, Arc::clone(&dest), progress);
            // A writer that erased meanwhile rewrote segments, and the record that permits it stands behind
            // the HEAD that was read before. What was copied from the old ones goes in the next round.
            let missing = |fault: &Fault| matches!(fault.kind, FaultKind::PayloadMissing { .. });
            let again = match &ran {
                Ok(_) => looked.was_rewritten()?,
                Err(BackupError::Damaged { fault, .. }) if missing(fault) => looked.has_grown()?,
                Err(BackupError::Damaged { .. }) => looked.was_rewritten()?,
                Err(_) => false,
            };
            if !again {
                return ran;
            }
        }
        Err(BackupError::Busy { place: source.describe(), looks: MAX_LOOKS })
    }

    fn run_once(
        source: &Source,
        dest: Arc<dyn Storage>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        let mut copy = Copy::look(dest, source)?;
        let mut walk = Walk::new(source);
        let kept = copy.verify(&mut walk, progress)?;
        let upto = source.durable.map(|durable| durable.max(copy.head.records));
        let is_new = upto != Some(copy.head.records) || copy.goes_on();
        if copy.complete && copy.stale.is_empty() && !is_new {
            return Ok(walk.report(copy.head, kept, 0));
        }
        copy.begin(source)?;
        copy.refresh(source)?;
        let done = kept;
        while upto.is_none_or(|upto| walk.chain.next_seq() < upto) {
            match walk.next() {
                Ok(true) => copy.append(&walk)?,
                Ok(false) => break,
                Err(fault) => {
                    source.judge(fault)?;
                    break;
                }
            }
            progress(done + copy.written);
        }
        let (found, expected) = (walk.chain.next_seq(), upto.unwrap_or(0));
        if found < expected {
            return Err(BackupError::RolledBack { place: source.place(), found, expected });
        }
        let checkpoint = walk.chain.checkpoint();
        copy.finish(checkpoint)?;
        Ok(walk.report(checkpoint, kept, copy.written))
    }
}

impl LedgerOptions<'_> {
    /// Copies a ledger; see [`Backup`]. A sealed one needs no keys for that; if they are given, each item is opened with them, and one that
    /// does not open is an error, as all damage is.
    ///
    /// # Errors
    /// As [`Backup::run`].
    pub fn backup(mut self, source: &Path, dest: &Path) -> Result<BackupReport, BackupError> {
        let (mut silent, progress) = (|_| {}, self.progress.take());
        let unlock = |storage: &dyn Storage, identity: &Identity| self.unlock_if_given(storage, identity);
        Backup::copy_directory(source, dest, &unlock, progress.unwrap_or(&mut silent))
    }

    /// Copies a ledger from one storage to another.
    ///
    /// # Errors
    /// As [`Backup::run`].
    pub fn backup_in(
        mut self,
        source: Arc<dyn Storage>,
        dest: Arc<dyn Storage>,
    ) -> Result<BackupReport, BackupError> {
        let (mut silent, progress) = (|_| {}, self.progress.take());
        let unlock = |storage: &dyn Storage, identity: &Identity| self.unlock_if_given(storage, identity);
        Backup::copy(source, dest, &unlock, progress.unwrap_or(&mut silent))
    }
}
