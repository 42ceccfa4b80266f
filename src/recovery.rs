//! Recovery: what a damaged end of the log means, and what is done about it.
//!
//! | last good record | what follows | verdict |
//! |---|---|---|
//! | at or above everything known durable | nothing | clean |
//! | at or above everything known durable | bytes that are no frame | torn: never acknowledged; kept aside, cut, recorded |
//! | below something known durable | anything | damaged: acknowledged records are gone; nothing is touched |
//!
//! What is known durable: the `durable` field of every whole frame header, also beyond the fault; both slots of `HEAD`; a
//! checkpoint that the caller holds; the start of any later segment, for a segment begins only after the last was synced.

use std::io;
use std::sync::Arc;

use crate::book::Book;
use crate::chain::Checkpoint;
use crate::digest::{Digest, Hasher, Purpose};
use crate::directory::{HeadSlot, Identity, IdentityError, QUARANTINE, first_seq_of};
use crate::id::LedgerId;
use crate::log::{Fault, FaultKind, Segment, Walk};
use crate::storage::Storage;

/// Why a ledger cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no ledger, or one this version cannot read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another writer has it open.
    #[error("{place} is open for writing elsewhere; close that writer, or open this one with `LedgerReader`")]
    Locked {
        /// Which ledger.
        place: String,
    },
    /// Records that were acknowledged are gone or changed.
    #[error(
        "{place} is damaged: records {from} to {to} were acknowledged and cannot be read back ({fault}); \
         nothing was changed; restore them from a copy, or read what is before them with `LedgerReader`"
    )]
    Damaged {
        /// Which ledger.
        place: String,
        /// The first record that is gone.
        from: u64,
        /// The last record known to have been acknowledged.
        to: u64,
        /// What was found where it should be.
        fault: Box<Fault>,
    },
    /// The log ends, whole, before something that was seen.
    #[error(
        "{place} was rolled back: it ends with record count {found}, but {expected} records were seen durable; \
         nothing was changed; find the newer copy"
    )]
    RolledBack {
        /// Which ledger.
        place: String,
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The log is another history than the one that was seen, or is unreadable.
    #[error("{place} cannot be trusted: {fault}; nothing was changed")]
    Untrusted {
        /// Which ledger.
        place: String,
        /// What was found.
        fault: Box<Fault>,
    },
    /// The disk failed.
    #[error("{place}: {source}")]
    Io {
        /// Which ledger.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// What opening had to do, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were no frame and never acknowledged: cut off and kept aside.
    pub torn: Option<Torn>,
    /// Whole records beyond everything known durable, left by a writer that was not closed: kept, and made durable now.
    pub unproven_records: u64,
    /// Whether `HEAD` was missing or damaged; then only frames say what was durable.
    pub head_missing: bool,
}

impl Recovery {
    /// Whether the log was as a closed writer leaves it.
    pub fn is_clean(&self) -> bool {
        *self == Recovery::default()
    }
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment it was in.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Why it was no frame.
    pub why: String,
    /// Where it is kept now; empty for a reader, which keeps and cuts nothing.
    pub kept: String,
}

/// The walk's result, judged.
pub(crate) enum Verdict {
    /// The log is whole to its end.
    Whole,
    /// Everything acknowledged is there; this follows it.
    Torn(Fault),
}

/// What is known to have been durable before the walk.
pub(crate) struct Witnesses {
    pub(crate) slots: Vec<HeadSlot>,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl Witnesses {
    /// Both slots of `HEAD`, and what the caller holds.
    pub(crate) fn of(
        storage: &dyn Storage,
        ledger: LedgerId,
        expect: Option<Checkpoint>,
    ) -> io::Result<Witnesses> {
        let slots = HeadSlot::read(storage, ledger)?;
        let seen = slots.iter().map(|slot| Checkpoint { records: slot.records, head: slot.head });
        Ok(Witnesses { checkpoints: seen.chain(expect).collect(), slots })
    }

    /// How many records were seen durable, if anybody saw any.
    pub(crate) fn durable(&self) -> Option<u64> {
        self.checkpoints.iter().map(|checkpoint| checkpoint.records).max()
    }
}

/// Reads who the ledger is, what was seen durable, and then what segments there are: in this order, so that a writer at work
/// can only have more than was seen.
pub(crate) fn begin(
    storage: &Arc<dyn Storage>,
    writing: bool,
    expect: Option<Checkpoint>,
) -> Result<(Book, Witnesses), OpenError> {
    let identity = Identity::read(&**storage, writing)?;
    let failed = |source| OpenError::Io { place: storage.describe(), source };
    let witnesses = Witnesses::of(&**storage, identity.ledger, expect).map_err(failed)?;
    let book = Book::begin(Arc::clone(storage), identity).map_err(failed)?;
    Ok((book, witnesses))
}

/// Folds the book from its log and judges what was found.
pub(crate) fn fold_and_judge(
    book: &mut Book,
    witnesses: &Witnesses,
    upto: Option<u64>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verdict, OpenError> {
    let place = book.log.storage().describe();
    let walk = Walk { commitments: true, upto, witnesses: &witnesses.checkpoints, progress };
    let fault = match book.fold(walk) {
        Ok(()) => {
            let (found, expected) = (book.checkpoint().records, witnesses.durable().unwrap_or(0));
            return if found < expected {
                Err(OpenError::RolledBack { place, found, expected })
            } else {
                Ok(Verdict::Whole)
            };
        }
        Err(fault) => fault,
    };
    match fault.kind {
        FaultKind::Io(source) => return Err(OpenError::Io { place, source }),
        FaultKind::Forked { .. } | FaultKind::Text { .. } | FaultKind::PayloadMissing { .. } => {
            return Err(OpenError::Untrusted { place, fault: Box::new(fault) });
        }
        _ => {}
    }
    let (durable, sealed) = match known_durable(book, witnesses, &fault) {
        Ok(known) => known,
        Err(source) => return Err(OpenError::Io { place, source }),
    };
    // A ledger is created whole, so a log without its first record is never a torn one.
    if fault.records < durable || fault.records == 0 || sealed {
        let to = durable.max(fault.records + 1) - 1;
        return Err(OpenError::Damaged { place, from: fault.records, to, fault: Box::new(fault) });
    }
    Ok(Verdict::Torn(fault))
}

/// How many records are known to have been durable, given a fault; and whether the faulty segment was sealed.
pub(crate) fn known_durable(book: &Book, witnesses: &Witnesses, fault: &Fault) -> io::Result<(u64, bool)> {
    let beyond = book.log.durable_beyond(book.ledger_id(), &fault.file, fault.offset)?;
    // A segment begins only after everything before it was synced. So the start of the faulty one is a witness too, and a
    // later one proves that the faulty one was whole.
    let starts = book.log.segments().iter().filter(|segment| segment.name >= fault.file);
    let starts: Vec<u64> =
        starts.filter_map(|segment| first_seq_of(segment.name.rsplit('/').next()?)).collect();
    let began = starts.iter().copied().max().unwrap_or(0);
    Ok((witnesses.durable().unwrap_or(0).max(beyond).max(began), starts.len() > 1))
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
pub(crate) fn inspect_torn(book: &Book, fault: &Fault) -> io::Result<Torn> {
    let (file, offset) = (fault.file.clone(), fault.offset);
    let (bytes, digest) = measure(&**book.log.storage(), &file, offset)?;
    Ok(Torn { file, offset, bytes, digest, why: fault.kind.to_string(), kept: String::new() })
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
pub(crate) fn unrecorded_cut(book: &Book) -> io::Result<Option<Torn>> {
    let storage = book.log.storage();
    let prefix = format!("{:020}-", book.checkpoint().records);
    let mut names = storage.list(QUARANTINE)?;
    names.sort_unstable();
    let Some(name) = names.into_iter().rfind(|name| name.starts_with(&prefix)) else { return Ok(None) };
    let kept = format!("{QUARANTINE}/{name}");
    let (bytes, digest) = measure(&**storage, &kept, 0)?;
    let file = book.log.segments().last().map_or(String::new(), |segment| segment.name.clone());
    let offset = book.log.segments().last().map_or(0, |segment| segment.len);
    let why = "a former recovery cut it off and was cut off itself".to_owned();
    Ok(Some(Torn { file, offset, bytes, digest, why, kept }))
}

/// Keeps a torn tail aside, then cuts it off. Each step is durable before the next.
pub(crate) fn cut_torn(book: &mut Book, fault: &Fault) -> io::Result<Torn> {
    let mut torn = inspect_torn(book, fault)?;
    let storage = book.log.storage().clone();
    torn.kept = keep(&*storage, fault)?;
    if fault.offset == 0 {
        storage.remove(&fault.file)?; // a segment that never got its header
    } else {
        storage.truncate(&fault.file, fault.offset)?;
        storage.sync(&fault.file)?;
    }
    storage.sync_dir(crate::directory::LOG)?;
    let segments: &mut Vec<Segment> = book.log.segments_mut();
    if fault.offset == 0 {
        segments.retain(|segment| segment.name != fault.file);
    } else if let Some(segment) = segments.iter_mut().find(|segment| segment.name == fault.file) {
        segment.len = fault.offset;
    }
    Ok(torn)
}

fn keep(storage: &dyn Storage, fault: &Fault) -> io::Result<String> {
    for attempt in 0u32.. {
        let name = format!("{QUARANTINE}/{:020}-{}-{attempt}.cut", fault.records, fault.offset);
        match storage.create(&name) {
            Ok(()) => {
                pieces(storage, &fault.file, fault.offset, |at, piece| storage.write_at(&name, at, piece))?;
                storage.sync(&name)?;
                storage.sync_dir(QUARANTINE)?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {} // an earlier recovery did not get to the end
            Err(error) => return Err(error),
        }
    }
    unreachable!("some of four thousand million names is free")
}
