//! Recovery: looks for everything that was ever seen durable, has the end of the log judged, and puts in order what a crash
//! left. What is judged how stands in `verdict.rs`.
//!
//! What is known durable: the `durable` field of every whole frame header, also beyond a fault; both slots of `HEAD`; a
//! checkpoint that the caller holds; the start of any later segment, for a segment begins only after the last was synced.
//!
//! After an unclean end the last segment is rewritten. Readable does not mean durable: a sync that failed may
//! have left pages that read well and that no later sync will write. Each step is durable before the next,
//! and each may be the last one before a crash: what a torn tail held is kept aside; a copy of the good bytes
//! is synced under another name; the copy takes the segment's place. Before the rename there is the old
//! segment, after it the new one, never half of each.

use std::io;
use std::sync::Arc;

use crate::ledger::snapshot::{self, IgnoredSnapshot, Resumed};
use crate::log::chain::Checkpoint;
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::payload::KeysError;
use crate::model::id::LedgerId;
use crate::query::reader::{Destroyed, Folded, Reader};
use crate::store::layout::{
    COPY_SUFFIX, HeadSlot, Identity, IdentityError, LOG, QUARANTINE, first_seq_of, is_cut,
};
use crate::store::receipts::{self, Taken};
use crate::store::segments::{Fault, FaultKind, Segment, Walk};
use crate::store::storage::{Storage, is_not_a_file};
use crate::store::verdict::{Finding, Met, Verdict, judge};

/// Who saw that records were durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurabilityEvidence {
    /// A slot of `HEAD`.
    Head,
    /// The checkpoint that the caller expected.
    Checkpoint,
    /// The header of a frame that was written later.
    LaterFrame,
    /// A later segment: it was begun after the one before it was synced.
    LaterSegment,
    /// A snapshot, which is made of durable records only.
    Snapshot,
    /// The key ring, which is stored when records are durable only.
    KeyRing,
    /// A receipt of a removal, which is made when records are durable only.
    Receipt,
    /// The ledger's creation, which ends with its first record durable.
    Creation,
}

impl std::fmt::Display for DurabilityEvidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DurabilityEvidence::Head => "HEAD",
            DurabilityEvidence::Checkpoint => "the expected checkpoint",
            DurabilityEvidence::LaterFrame => "the header of a later frame",
            DurabilityEvidence::LaterSegment => "a later segment",
            DurabilityEvidence::Snapshot => "a snapshot",
            DurabilityEvidence::KeyRing => "the key ring",
            DurabilityEvidence::Receipt => "a receipt of a removal",
            DurabilityEvidence::Creation => "the ledger's creation",
        })
    }
}

/// Why a ledger cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is not a ledger, or not one that this version can read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another writer has it open.
    #[error("{place} is open for writing elsewhere; close that writer, or open this one with `LedgerReader`")]
    Locked {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// Records that were acknowledged are gone or changed.
    #[error(
        "{place} is damaged: records {from} to {to} were durable, as {by} says, and cannot be read back ({fault}); \
         nothing was changed; restore them from a backup, or take what is intact with `salvage`"
    )]
    Damaged {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The first record that is gone.
        from: u64,
        /// The last record known to have been acknowledged.
        to: u64,
        /// Who says so.
        by: DurabilityEvidence,
        /// What was found where it should be.
        fault: Box<Fault>,
    },
    /// The log ends, whole, before something that was seen.
    #[error(
        "{place} was rolled back: it ends with record count {found}, but {by} says that {expected} were durable; \
         nothing was changed; find the newer copy"
    )]
    RolledBack {
        /// The ledger, as its storage describes itself.
        place: String,
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
        /// Who says so.
        by: DurabilityEvidence,
    },
    /// The log is another history than the one that was seen.
    #[error(
        "{place} is not the history that {by} saw: {fault}; nothing was changed; find out which copy is the true one"
    )]
    Forked {
        /// The ledger, as its storage describes itself.
        place: String,
        /// Who saw another.
        by: DurabilityEvidence,
        /// Where the two part.
        fault: Box<Fault>,
    },
    /// The log ends with a segment of another ledger, or of another place in this one. No crash does that.
    #[error("{place} holds what is not its own: {fault}; nothing was changed; move that file away")]
    Foreign {
        /// The ledger, as its storage describes itself.
        place: String,
        /// Which file, and whose it is.
        fault: Box<Fault>,
    },
    /// The log is whole and says what no writer writes.
    #[error("{place} cannot be trusted: {fault}; nothing was changed; see what `verify` finds")]
    Untrusted {
        /// The ledger, as its storage describes itself.
        place: String,
        /// What was found.
        fault: Box<Fault>,
    },
    /// The ledger is sealed, and its keys are not at hand.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Keys of this ledger were destroyed by an erasure that this copy of it does not know of.
    #[error(
        "{place} is older than its keys: texts or values were erased after this copy was made (the key of record {seq} is destroyed)"
    )]
    OlderThanKeys {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The first record concerned.
        seq: u64,
    },
    /// As `OlderThanKeys`, of a ledger that follows a log, and for writing. What the log delivers before the erasure may need these texts, and
    /// other followers had them then.
    #[error(
        "{place} follows a log and is older than its keys: texts or values were erased after this copy was made (the key of record {seq} is destroyed), \
         so it cannot follow on to that erasure; take a copy of a follower that has it"
    )]
    FollowerOlderThanKeys {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The first record concerned.
        seq: u64,
    },
    /// A writer rewrote files each time the ledger was read, so that no reading is of one moment. Nothing is known to be wrong.
    #[error(
        "{place} changed under the reader {looks} times in a row: a writer erases all the time; \
         do this again when it is done, or do it with a backup"
    )]
    Busy {
        /// The ledger, as its storage describes itself.
        place: String,
        /// How often it was read.
        looks: u32,
    },
    /// The disk failed.
    #[error("{place}: {source}")]
    Io {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// What opening had to do, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were no frame and never acknowledged: cut off and kept aside.
    pub torn: Option<TornTail>,
    /// Whole records beyond `HEAD`, left by a writer that was not closed: kept. A writer wrote them again, so
    /// that they are durable now.
    pub unproven_records: u64,
    /// Whether `HEAD` was missing or damaged; then only frames say what was durable.
    pub head_missing: bool,
    /// How many records the snapshot covers that opening continued from. `None` if the whole log was
    /// replayed.
    pub from_snapshot: Option<u64>,
    /// Snapshots that opening could not use, and why: newest first, up to the one it used.
    pub snapshots_ignored: Vec<IgnoredSnapshot>,
    /// How many erasures were begun and not finished by a former writer. A writer has finished them now,
    /// unless [`Recovery::keys_not_stored`] says why not.
    pub erasures_pending: usize,
    /// How many records' texts or values were erased, as their destroyed keys say, after this copy of a sealed ledger was made. A
    /// writer has recorded that they are erased.
    pub erased_since: usize,
    /// Why the key ring of a sealed ledger cannot be stored, if a writer found that: nothing can be erased, and erasures that were begun
    /// before are finished by an opening that can store it. Everything else can be written.
    pub keys_not_stored: Option<String>,
}

impl Recovery {
    /// Whether a writer was not closed, or its last writes did not all come down.
    pub(crate) fn is_unclean_end(&self) -> bool {
        self.torn.is_some() || self.unproven_records > 0 || self.head_missing
    }

    /// Whether everything was as a closed writer leaves it.
    pub fn is_clean(&self) -> bool {
        *self == Recovery { from_snapshot: self.from_snapshot, ..Recovery::default() }
    }
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment it was in.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
    /// The digest of the bytes that were cut off.
    pub digest: Digest,
    /// Why it was no frame.
    pub why: String,
    /// Where it is kept now; empty for a reader, which keeps and cuts nothing.
    pub kept: String,
}

/// What is known to have been durable before the walk.
pub(crate) struct Witnesses {
    pub(crate) slots: Vec<HeadSlot>,
    /// What the caller holds.
    expect: Option<Checkpoint>,
    /// What the key ring of a sealed ledger saw.
    ring: Option<Checkpoint>,
    /// The newest removal that has a receipt beside the chain.
    taken: Option<Taken>,
    /// The newest place that a whole snapshot covers.
    saved: Option<Checkpoint>,
    /// All of them, as places the log must pass through.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// The snapshots there are, newest first.
    pub(crate) snapshots: Vec<u64>,
}

impl Witnesses {
    /// Both slots of `HEAD`, and what the caller holds.
    pub(crate) fn of(
        storage: &dyn Storage,
        ledger: LedgerId,
        expect: Option<Checkpoint>,
    ) -> io::Result<Witnesses> {
        let slots = HeadSlot::read(storage, ledger)?;
        let taken = receipts::newest(storage, ledger)?;
        let seen = slots.iter().map(|slot| Checkpoint { records: slot.records, head: slot.head });
        let checkpoints = seen.chain(expect).chain(taken.as_ref().map(|taken| taken.checkpoint)).collect();
        let snapshots = snapshot::list(storage)?;
        Ok(Witnesses { checkpoints, expect, slots, snapshots, taken, saved: None, ring: None })
    }

    /// The last erasure that is done, as a receipt beside the chain says.
    pub(crate) fn done_beside(&self) -> Option<u32> {
        self.taken.as_ref().and_then(Taken::last)
    }

    /// Lets the log be held to what a key ring saw.
    pub(crate) fn hold_to_ring(&mut self, reached: Option<Checkpoint>) {
        self.ring = reached;
        self.checkpoints.extend(reached);
    }

    /// How many records `HEAD` says are durable.
    pub(crate) fn head(&self) -> Option<u64> {
        self.slots.iter().map(|slot| slot.records).max()
    }

    /// How many records were seen durable, and by whom.
    pub(crate) fn durable(&self) -> DurableUpTo {
        let expected = self.expect.map_or(0, |checkpoint| checkpoint.records);
        let head = DurableUpTo { records: self.head().unwrap_or(0), by: DurabilityEvidence::Head };
        let saved = self.saved.map_or(0, |checkpoint| checkpoint.records);
        let taken = self.taken.as_ref().map_or(0, |taken| taken.checkpoint.records);
        head.or(DurableUpTo { records: expected, by: DurabilityEvidence::Checkpoint })
            .or(DurableUpTo { records: taken, by: DurabilityEvidence::Receipt })
            .or(DurableUpTo { records: saved, by: DurabilityEvidence::Snapshot })
            .or(DurableUpTo {
                records: self.ring.map_or(0, |reached| reached.records),
                by: DurabilityEvidence::KeyRing,
            })
    }

    /// Who saw another history, where the log says otherwise than `seen`.
    fn who_saw(&self, seen: &Checkpoint) -> DurabilityEvidence {
        if self.expect.as_ref() == Some(seen) {
            DurabilityEvidence::Checkpoint
        } else if self.slots.iter().any(|slot| slot.records == seen.records && slot.head == seen.head) {
            DurabilityEvidence::Head
        } else if self.ring.as_ref() == Some(seen) {
            DurabilityEvidence::KeyRing
        } else if self.taken.as_ref().is_some_and(|taken| taken.checkpoint == *seen) {
            DurabilityEvidence::Receipt
        } else {
            DurabilityEvidence::Snapshot
        }
    }
}

/// How often a log that a writer changes is read again before the reader gives up: each time costs a walk, and one that meets
/// no rename in the wrong moment suffices.
pub(crate) const MAX_LOOKS: u32 = 16;

/// What a writer changes in a ledger's directory, listed at one moment. Each append changes a segment's length, each
/// acknowledgement `HEAD`, each rewriting of a segment its length, for it loses items: so of two listings that are equal, nothing
/// was changed between them.
#[derive(PartialEq, Eq)]
pub(crate) struct Listing {
    slots: Vec<HeadSlot>,
    snapshots: Vec<u64>,
    segments: Vec<Segment>,
}

impl Listing {
    /// What [`begin`] has seen.
    pub(crate) fn of(reader: &Reader, witnesses: &Witnesses) -> Listing {
        let Witnesses { slots, snapshots, .. } = witnesses;
        let segments = reader.log.segments().to_vec();
        Listing { slots: slots.clone(), snapshots: snapshots.clone(), segments }
    }

    /// Whether it is still as listed.
    pub(crate) fn is_current(&self, storage: &Arc<dyn Storage>) -> Result<bool, OpenError> {
        let (reader, witnesses) = begin(storage, false, None)?;
        Ok(*self == Listing::of(&reader, &witnesses))
    }
}

/// How many records were durable, and who says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurableUpTo {
    pub(crate) records: u64,
    pub(crate) by: DurabilityEvidence,
}

impl DurableUpTo {
    /// The stronger of two.
    fn or(self, other: DurableUpTo) -> DurableUpTo {
        if other.records > self.records { other } else { self }
    }
}

/// Lets the reader continue from a snapshot, if there is a good one and no checkpoint is expected; each whole one is a witness, for it
/// was made of durable records only.
pub(crate) fn resume(reader: &mut Reader, witnesses: &mut Witnesses) -> Resumed {
    let Witnesses { checkpoints, expect, snapshots, saved, .. } = witnesses;
    let seen = checkpoints.clone();
    snapshot::resume(reader, snapshots, &seen, expect.is_none(), |covered| {
        checkpoints.push(covered);
        *saved = [Some(covered), *saved].into_iter().flatten().max_by_key(|covered| covered.records);
    })
}

/// Reads who the ledger is, what was seen durable, and then what segments there are: in this order, so that a writer at work
/// can only have more than was seen.
pub(crate) fn begin(
    storage: &Arc<dyn Storage>,
    writing: bool,
    expect: Option<Checkpoint>,
) -> Result<(Reader, Witnesses), OpenError> {
    let identity = Identity::read(&**storage, writing)?;
    let failed = |source| OpenError::Io { place: storage.describe(), source };
    let witnesses = Witnesses::of(&**storage, identity.ledger, expect).map_err(failed)?;
    let reader = Reader::begin(Arc::clone(storage), identity).map_err(failed)?;
    Ok((reader, witnesses))
}

/// A log that can be opened.
pub(crate) struct Judged {
    /// The fault, if it ends torn.
    pub(crate) torn: Option<Fault>,
    /// What was erased, by the keys, since this copy of it was made.
    pub(crate) destroyed: Vec<Destroyed>,
}

/// Folds the reader from its log and has what was found judged.
pub(crate) fn fold_and_judge(
    reader: &mut Reader,
    witnesses: &Witnesses,
    upto: Option<u64>,
    progress: &mut dyn FnMut(u64),
) -> Result<Judged, OpenError> {
    let place = reader.log.storage().describe();
    let walk =
        Walk { commitments: true, upto, cut: false, witnesses: &witnesses.checkpoints, hide: None, progress };
    let Folded { walked, missing, destroyed } = reader.fold(walk);
    reader.replay.done_beside(witnesses.done_beside());
    let fault = walked.err();
    let found = reader.checkpoint().records;
    let (known, sealed) = match &fault {
        Some(fault) => known_durable(reader, witnesses, fault)
            .map_err(|source| OpenError::Io { place: place.clone(), source })?,
        None => (witnesses.durable(), false),
    };
    let DurableUpTo { records: expected, by } = known;
    let Some(fault) = fault.map(Box::new) else {
        let end = Finding { met: Met::End, begun: true, all_there: found >= expected, sealed };
        return match (judge(end), missing) {
            (Verdict::Clean, None) => Ok(Judged { torn: None, destroyed }),
            (Verdict::Clean, Some(missing)) => Err(refuse(place, witnesses, Box::new(missing))),
            _ => Err(OpenError::RolledBack { place, found, expected, by }),
        };
    };
    let begun = fault.records > 0;
    let met = Met::from(&fault.kind);
    match judge(Finding { met, begun, all_there: fault.records >= expected, sealed }) {
        Verdict::TornTail => match missing {
            None => Ok(Judged { torn: Some(*fault), destroyed }),
            // If a torn record erased it, that record was never acknowledged, so nothing may have been
            // removed for it.
            Some(missing) => Err(refuse(place, witnesses, Box::new(missing))),
        },
        Verdict::Foreign => Err(OpenError::Foreign { place, fault }),
        Verdict::Clean | Verdict::RolledBack => unreachable!("those end without a fault"),
        Verdict::Damaged => {
            let by = if begun { by } else { DurabilityEvidence::Creation };
            let (from, to) = (fault.records, expected.max(fault.records + 1) - 1);
            Err(OpenError::Damaged { place, from, to, by, fault })
        }
        Verdict::Forked | Verdict::Unreadable | Verdict::Contradictory => {
            Err(refuse(place, witnesses, fault))
        }
    }
}

/// What a fault means that needs no look at what was durable.
pub(crate) fn refuse(place: String, witnesses: &Witnesses, fault: Box<Fault>) -> OpenError {
    match fault.kind {
        FaultKind::Forked { expected } => {
            OpenError::Forked { place, by: witnesses.who_saw(&expected), fault }
        }
        FaultKind::Io(source) => OpenError::Io { place, source },
        _ => OpenError::Untrusted { place, fault },
    }
}

/// How many records are known to have been durable, given a fault; and whether a segment follows the faulty one.
pub(crate) fn known_durable(
    reader: &Reader,
    witnesses: &Witnesses,
    fault: &Fault,
) -> io::Result<(DurableUpTo, bool)> {
    let beyond = reader.log.durable_beyond(reader.ledger_id(), &fault.file, fault.offset)?;
    let starts = reader.log.segments().iter().filter(|segment| segment.name >= fault.file);
    let starts: Vec<u64> =
        starts.filter_map(|segment| first_seq_of(segment.name.rsplit('/').next()?)).collect();
    // The start of the faulty segment is a witness too: it was begun when everything before it was synced.
    let began = starts.iter().copied().max().unwrap_or(0);
    let known = witnesses
        .durable()
        .or(DurableUpTo { records: beyond, by: DurabilityEvidence::LaterFrame })
        .or(DurableUpTo { records: began, by: DurabilityEvidence::LaterSegment });
    let sealed = starts.len() > 1;
    // A later segment also proves that this one was whole, however little of it is left.
    let by =
        if sealed && known.records <= fault.records { DurabilityEvidence::LaterSegment } else { known.by };
    Ok((DurableUpTo { by, ..known }, sealed))
}

/// Copied at a time: a tail may be as long as a segment.
const COPY_BYTES: usize = 1 << 20;

/// Shows the bytes of a file from `offset` on, piece by piece, with where each stands.
fn pieces(
    storage: &dyn Storage,
    file: &str,
    offset: u64,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = offset;
    loop {
        let read = storage.read_at(file, at, &mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        each(at - offset, &buffer[..read])?;
        at += read as u64;
    }
}

/// Measures a torn tail without touching it.
pub(crate) fn inspect_torn(reader: &Reader, fault: &Fault) -> io::Result<TornTail> {
    let (file, offset) = (fault.file.clone(), fault.offset);
    let (bytes, digest) = measure(&**reader.log.storage(), &file, offset)?;
    Ok(TornTail { file, offset, bytes, digest, why: fault.kind.to_string(), kept: String::new() })
}

fn measure(storage: &dyn Storage, file: &str, offset: u64) -> io::Result<(u64, Digest)> {
    let (mut bytes, mut hasher) = (0, Hasher::new(Purpose::Quarantine));
    pieces(storage, file, offset, |_, piece| {
        bytes += piece.len() as u64;
        hasher.update(piece);
        Ok(())
    })?;
    Ok((bytes, hasher.finish()))
}

/// A cut that a former recovery made and did not live to record: kept bytes that were cut where the log ends now.
pub(crate) fn unrecorded_cut(reader: &Reader) -> io::Result<Option<TornTail>> {
    if reader.state().followed().is_some() {
        return Ok(None); // of a log that is followed no cut is recorded
    }
    let storage = reader.log.storage();
    let prefix = format!("{:020}-", reader.checkpoint().records);
    let mut names = storage.list(QUARANTINE)?;
    names.sort_unstable();
    let Some(name) = names.into_iter().rfind(|name| name.starts_with(&prefix) && is_cut(name)) else {
        return Ok(None);
    };
    let kept = format!("{QUARANTINE}/{name}");
    let (bytes, digest) = measure(&**storage, &kept, 0)?;
    let file = reader.log.segments().last().map_or(String::new(), |segment| segment.name.clone());
    let offset = reader.log.segments().last().map_or(0, |segment| segment.len);
    let why = "a former recovery cut it off and was cut off itself".to_owned();
    Ok(Some(TornTail { file, offset, bytes, digest, why, kept }))
}

/// Keeps a torn tail aside, so that the segment can be rewritten without it.
pub(crate) fn keep_torn(reader: &mut Reader, fault: &Fault) -> io::Result<TornTail> {
    let mut torn = inspect_torn(reader, fault)?;
    let storage = Arc::clone(reader.log.storage());
    torn.kept = keep(&*storage, fault)?;
    let segments = reader.log.segments_mut();
    if fault.offset == 0 {
        storage.remove(&fault.file)?; // a segment that never got its header: nothing was acknowledged in it
        storage.sync_dir(LOG)?;
        segments.retain(|segment| segment.name != fault.file);
    } else if let Some(segment) = segments.iter_mut().find(|segment| segment.name == fault.file) {
        segment.len = fault.offset;
    }
    Ok(torn)
}

/// Rewrites a segment up to `len`: what was readable becomes durable, and what is behind it is gone. The old
/// segment stays until the new one is there.
pub(crate) fn write_anew(storage: &dyn Storage, segment: &str, len: u64) -> io::Result<()> {
    let copy = format!("{segment}{COPY_SUFFIX}");
    if storage.len(&copy)?.is_some() {
        storage.remove(&copy)?; // an earlier recovery did not get to the end
    }
    storage.create(&copy)?;
    let copied = pieces(storage, segment, 0, |at, piece| {
        let good = piece.len().min(usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX));
        storage.write_at(&copy, at, &piece[..good])
    })
    .and_then(|()| storage.sync(&copy));
    if copied.is_err() {
        storage.remove(&copy).ok(); // on a full disk it would stand in its own way; the cause is what the caller needs to know
        return copied;
    }
    storage.rename(&copy, segment)?;
    storage.sync_dir(LOG)
}

fn keep(storage: &dyn Storage, fault: &Fault) -> io::Result<String> {
    for attempt in 0u32.. {
        let name = format!("{QUARANTINE}/{:020}-{}-{attempt}.cut", fault.records, fault.offset);
        match storage.create(&name) {
            Ok(()) => {
                let kept = pieces(storage, &fault.file, fault.offset, |at, piece| {
                    storage.write_at(&name, at, piece)
                })
                .and_then(|()| storage.sync(&name));
                if kept.is_err() {
                    storage.remove(&name).ok(); // as in write_anew
                }
                kept?;
                storage.sync_dir(QUARANTINE)?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists || is_not_a_file(&error) => {} // an earlier recovery did not get to the end
            Err(error) => return Err(error),
        }
    }
    unreachable!("some of four thousand million names is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(records: u64, head: u8) -> Checkpoint {
        Checkpoint { records, head: Digest([head; 32]) }
    }

    #[test]
    fn another_history_is_told_by_whoever_saw_the_first() {
        let Checkpoint { records, head } = checkpoint(7, 7);
        let slot = HeadSlot { ledger: LedgerId(uuid::Uuid::nil()), turn: 1, records, head };
        let (expect, saved) = (Some(checkpoint(5, 5)), Some(checkpoint(6, 6)));
        let witnesses = Witnesses {
            slots: vec![slot],
            expect,
            ring: None,
            taken: None,
            saved,
            checkpoints: Vec::new(),
            snapshots: Vec::new(),
        };
        let told = [(5, 5), (6, 6), (7, 7), (7, 6), (6, 7), (5, 6)];
        let by = told.map(|(records, head)| witnesses.who_saw(&checkpoint(records, head)));
        let snapshot = DurabilityEvidence::Snapshot; // the only witness of which not all that was seen is kept
        assert_eq!(
            by,
            [
                DurabilityEvidence::Checkpoint,
                snapshot,
                DurabilityEvidence::Head,
                snapshot,
                snapshot,
                snapshot
            ]
        );
        assert_eq!((witnesses.durable().records, witnesses.durable().by), (7, DurabilityEvidence::Head));

        let fault = |kind| Box::new(Fault { file: LOG.to_owned(), offset: 0, records: 7, kind });
        let place = || "shop".to_owned();
        let forked = refuse(place(), &witnesses, fault(FaultKind::Forked { expected: checkpoint(5, 5) }));
        assert!(forked.to_string().starts_with("shop is not the history that the expected checkpoint saw"));
        let failed = refuse(place(), &witnesses, fault(FaultKind::Io(io::ErrorKind::TimedOut.into())));
        assert!(matches!(failed, OpenError::Io { .. }), "the disk's failure says nothing about the log");
    }
}
