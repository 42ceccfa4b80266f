//! What must hold of a disk after a power cut, whichever of the pending facts it kept.
//!
//! The expensive questions are asked once for each distinct content of a disk, known by a hash of its names and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity_ledger::audit::Audit;
use identity_ledger::storage::Storage;
use identity_ledger::testing::disk::{SimulatedDisk, Subset};
use identity_ledger::*;

use crate::crash::Home;
use crate::history::{History, operation};

/// What opening a disk showed. `Err` is a violation whatever was promised.
pub(crate) type Seen = Result<Shown, String>;

#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// Opening for writing refused; the kind of refusal.
    Refused(&'static str, String),
    /// It opened.
    Opened {
        /// Batches the writer found.
        recovered: usize,
        /// Batches a reader found before the writer came; `None` if it found no ledger to read.
        read: Option<usize>,
        /// Whether opening had to recover anything.
        dirty: bool,
    },
}

/// What was promised and asked before the crash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Batches whose acknowledgement was given.
    pub(crate) promised: usize,
    /// Batches that were begun.
    pub(crate) issued: usize,
    /// Whether the ledger's creation was acknowledged.
    pub(crate) created: bool,
    /// Whether `HEAD` is synced with every acknowledgement, so that readers, too, see all that was promised.
    pub(crate) witnessed: bool,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) history: Arc<History>,
    home: Home,
    seen: BTreeMap<[u8; 16], Seen>,
    /// States in which a reader, before any writer came, showed less than was promised: allowed without `Witnessed`.
    pub(crate) readers_behind: u64,
}

pub(crate) fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1)
}

/// The kind of a refusal, as the tables name it.
pub(crate) fn class(error: &OpenError) -> &'static str {
    match error {
        OpenError::Identity(_) => "identity",
        OpenError::Locked { .. } => "locked",
        OpenError::Damaged { .. } => "damaged",
        OpenError::RolledBack { .. } => "rolled back",
        OpenError::Untrusted { .. } => "untrusted",
        OpenError::Io { .. } => "io",
        _ => "other",
    }
}

fn fingerprint(disk: &SimulatedDisk) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in disk.files() {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    *hasher.finalize().as_bytes().first_chunk().expect("32 bytes")
}

impl Oracle {
    pub(crate) fn new(history: Arc<History>, home: Home) -> Oracle {
        Oracle { history, home, seen: BTreeMap::new(), readers_behind: 0 }
    }

    fn at(&self, disk: &Arc<SimulatedDisk>) -> Arc<dyn Storage> {
        self.home.storage(disk)
    }

    /// How many distinct disks were looked at.
    pub(crate) fn distinct(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Judges a disk after a crash. Gives whether it was new and in need of recovery.
    pub(crate) fn judge(&mut self, crashed: &SimulatedDisk, bounds: Bounds) -> Result<bool, String> {
        let key = fingerprint(crashed);
        let known = self.seen.get(&key).cloned();
        let new = known.is_none();
        let seen = known.unwrap_or_else(|| {
            let seen = self.examine(crashed);
            self.seen.insert(key, seen.clone());
            seen
        });
        match seen? {
            Shown::Refused("identity", _) if !bounds.created => Ok(false),
            Shown::Refused(class, error) => Err(format!("refused as {class}: {error}")),
            Shown::Opened { recovered, read, dirty } => {
                let Bounds { promised, issued, witnessed, .. } = bounds;
                if !(promised..=issued).contains(&recovered) {
                    return Err(format!(
                        "{recovered} batches recovered; {promised} promised, {issued} issued"
                    ));
                }
                if read.is_none_or(|read| read > recovered) {
                    return Err(format!("a reader showed {read:?} batches, the writer {recovered}"));
                }
                if read < Some(promised) {
                    self.readers_behind += 1;
                    if witnessed {
                        return Err(format!("a reader showed {read:?} batches; {promised} were witnessed"));
                    }
                }
                Ok(new && dirty)
            }
        }
    }

    /// Opens, reopens, appends, loses power again, reads and audits.
    fn examine(&self, crashed: &SimulatedDisk) -> Seen {
        let broken = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let reader = options().read_in(self.at(&Arc::new(crashed.killed())));
        let first = Arc::new(crashed.killed());
        let ledger = match options().open_in(self.at(&first)) {
            Ok(ledger) => ledger,
            Err(error) => {
                // Where a creation was cut off, another one succeeds.
                if self.home == Home::Directory && class(&error) == "identity" {
                    let other = self.home.create(&first, options().seeded(2));
                    drop(other.map_err(|error| broken("creating it again", &error))?);
                }
                return Ok(Shown::Refused(class(&error), error.to_string()));
            }
        };
        let recovered = self
            .history
            .prefix(ledger.reader())
            .ok_or("what was recovered is no prefix of what was asked")?;
        let read = match &reader {
            Ok(reader) => Some(
                self.history.prefix(reader.reader()).ok_or("a reader shows no prefix of what was asked")?,
            ),
            Err(_) => None,
        };
        let (checkpoint, dirty) = (ledger.checkpoint(), !ledger.recovery().is_clean());
        drop(ledger);

        // What the crash left of a segment under way must not spoil a snapshot, nor one made of it be spoilt.
        let saved = self.at(&Arc::new(first.killed()));
        let mut ledger =
            options().open_in(saved.clone()).map_err(|error| broken("opening for a snapshot", &error))?;
        let made = ledger.snapshot().map_err(|error| broken("the snapshot", &error))?;
        drop(ledger);
        let report = Audit::run_in(saved, Some(checkpoint), &mut |_| {})
            .map_err(|error| broken("the audit of the snapshot", &error))?;
        if !report.is_ok() || report.snapshots != [made.records] {
            return Err(format!("the audit of the snapshot: {:?} {:?}", report.faults, report.snapshots));
        }

        let second = Arc::new(first.crashed(&Subset::none()));
        let mut ledger =
            options().open_in(self.at(&second)).map_err(|error| broken("the second opening", &error))?;
        if ledger.checkpoint() != checkpoint || !ledger.recovery().is_clean() {
            return Err(format!(
                "opening again changed something: {checkpoint} became {}, {:?}",
                ledger.checkpoint(),
                ledger.recovery()
            ));
        }
        let added =
            ledger.append(operation(1_000_000, 30)).map_err(|error| broken("the next append", &error))?;
        if added.outcome().is_none() {
            return Err(format!("the next append was not recorded: {added:?}"));
        }
        let (checkpoint, content) = (ledger.checkpoint(), ledger.reader().content_digest().ok());
        let third = Arc::new(second.crashed(&Subset::none())); // power fails before the ledger is closed
        drop(ledger);
        let again =
            options().open_in(self.at(&third)).map_err(|error| broken("after the next append", &error))?;
        if again.checkpoint() != checkpoint || again.reader().content_digest().ok() != content {
            return Err("the next append did not outlive a crash".to_owned());
        }
        drop(again);
        let report = Audit::run_in(self.at(&third), Some(checkpoint), &mut |_| {})
            .map_err(|error| broken("the audit", &error))?;
        if !report.is_ok() || report.tail.is_some() {
            return Err(format!("the audit after recovery: {:?} {:?}", report.faults, report.tail));
        }
        let reader =
            options().read_in(self.at(&third)).map_err(|error| broken("a reader after recovery", &error))?;
        if reader.checkpoint() != checkpoint {
            return Err("a reader after recovery shows something else".to_owned());
        }
        Ok(Shown::Opened { recovered, read, dirty })
    }
}
