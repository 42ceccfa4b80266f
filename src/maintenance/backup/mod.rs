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
//! An update of a copy that holds what the source has erased since does the same again: first `LEDGER` becomes `LEDGER.partial`,
//! then the new frames are added, then the segments that hold what is erased are rewritten. In this order the copy never lacks
//! a payload item without the record that erased it. So `salvage` finds all of its records, wherever the update is cut off.
//!
//! Bytes behind the copy's `HEAD` are copied again: readable does not mean durable. Caches and what recovery
//! cut off stay behind.

mod copy;
mod report;
mod source;

use std::path::Path;
use std::sync::Arc;

use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::MAX_LOOKS;
use crate::store::layout::Identity;
use crate::store::segments::{Fault, FaultKind};
use crate::store::storage::{Access, FilePlace, Files, LedgerPlace, Occupant, Reserved, Storage};
use copy::Copy;
use report::Unlock;
pub use report::{BackupError, BackupReport};
use source::{Source, Walk};

/// A backup: one run of it. Restoring is opening the copy.
///
/// ```
/// use identity_ledger::{Ledger, ReadOnlyLedger, Policy, Tenant};
/// use identity_ledger::backup::Backup;
/// let dir = std::env::temp_dir().join(format!("identity-ledger-backup-{}", std::process::id()));
/// std::fs::create_dir(&dir)?;
/// let ledger = Ledger::create(dir.join("a"), Tenant::default(), Policy::default())?;
/// let report = Backup::run(&dir.join("a"), &dir.join("copy"), &mut |_| {})?; // beside the open writer
/// assert_eq!(report.checkpoint, ledger.checkpoint());
/// assert_eq!(ReadOnlyLedger::open(dir.join("copy"))?.checkpoint(), report.checkpoint);
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
        progress: &mut (dyn FnMut(u64) + Send),
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
        progress: &mut (dyn FnMut(u64) + Send),
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
        let is_new = upto != Some(copy.head.records) || copy.goes_on() || !copy.lacking(source)?.is_empty();
        if copy.complete && copy.stale.is_empty() && !is_new {
            return Ok(walk.report(copy.head, kept, 0));
        }
        if !copy.stale.is_empty() {
            // The copy does not open while it is made to forget: a source that cannot complete it must not begin.
            follow(&mut Walk::new(source), upto, &mut |_| Ok(()))?;
        }
        copy.begin(source)?;
        follow(&mut walk, upto, &mut |walk| {
            copy.append(walk)?;
            progress(kept + copy.written);
            Ok(())
        })?;
        let checkpoint = walk.chain.checkpoint();
        copy.finish(source, checkpoint)?;
        Ok(walk.report(checkpoint, kept, copy.written))
    }
}

/// Walks on to the end of what is durable in the source, and shows each frame.
fn follow(
    walk: &mut Walk<'_>,
    upto: Option<u64>,
    each: &mut dyn FnMut(&Walk<'_>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    while upto.is_none_or(|upto| walk.chain.next_seq() < upto) {
        match walk.next() {
            Ok(true) => each(walk)?,
            Ok(false) => break,
            Err(fault) => {
                walk.source.judge(fault)?;
                break;
            }
        }
    }
    let (found, expected) = (walk.chain.next_seq(), upto.unwrap_or(0));
    if found < expected {
        return Err(BackupError::RolledBack { place: walk.source.place(), found, expected });
    }
    Ok(())
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
