//! The log on a disk: its segments in order, the places from which its records are found again, and what reads them: a walk
//! through all frames, a look at one, the records of a component.

mod components;
mod fault;
mod index;
mod segment;
mod snapshot_fault;
mod times;
mod walk;
mod window;

pub use fault::{Fault, FaultKind};
pub(crate) use segment::{Segment, SegmentReader};
pub use snapshot_fault::SnapshotFault;
pub(crate) use walk::{FrameAt, Walk};
pub(crate) use window::{FrameEnd, Window, Windows};

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::fold::Erasures;
use crate::log::chain::Chain;
use crate::log::payload::Keys;
use crate::log::record::Rows;
use crate::model::limits::MAX_SEGMENTS;
use crate::store::detached::{DetachedFiles, Rewrites};
use crate::store::layout::{LOG, first_seq_of, segment_name};
use crate::store::storage::Storage;
use index::Index;

/// How much log lies between two places from which one record can be found again.
const MARK_BYTES: u64 = 64 * 1_024;

/// A place from which to find the records that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) before: Chain,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// Remembers that the frame after `before` begins here, if the last such place is far enough before it.
pub(crate) fn mark(marks: &mut Vec<Mark>, before: &Chain, segment: usize, offset: u64) {
    let segment = segment as u32; // at most MAX_SEGMENTS
    let reaches =
        |mark: &Mark| mark.segment > segment || mark.segment == segment && offset < mark.offset + MARK_BYTES;
    if !marks.last().is_some_and(reaches) {
        marks.push(Mark { before: before.clone(), segment, offset });
    }
}

/// What is locked is never left half-changed: a panic elsewhere does not make it wrong.
fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The segments of a ledger.
#[derive(Debug)]
pub(crate) struct Log {
    storage: Arc<dyn Storage>,
    segments: Vec<Segment>,
    /// Filled while the log is opened, which reads records again where one refolds a component.
    marks: Mutex<Vec<Mark>>,
    /// Kept since the first question that needed them: most ledgers never need them, and they are as large as
    /// the links.
    index: Mutex<Option<Index>>,
    /// What opens sealed payload items.
    keys: Keys,
    /// Whether walks may read and check ahead of the fold, on a second thread.
    ahead: bool,
    /// Where a walk begins whose chain is not at its beginning: the end of what a snapshot covers.
    resumed: (usize, u64),
    /// The frames read last.
    windows: Mutex<Windows>,
    /// The frame that a fold of a component read last, with all its payload.
    shown: Mutex<Option<Window>>,
    rewrites: Rewrites,
    /// Of a detached log: the rewrites before.
    detached: Option<u64>,
}

impl Log {
    /// The log whose segments lie in `storage`, as they are now.
    pub(crate) fn new(storage: Arc<dyn Storage>) -> io::Result<Log> {
        storage.refresh();
        let mut firsts: Vec<u64> = storage.list(LOG)?.iter().filter_map(|name| first_seq_of(name)).collect();
        firsts.sort_unstable();
        firsts.dedup(); // a directory may list a name twice that is given to another file meanwhile
        if firsts.len() > MAX_SEGMENTS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {MAX_SEGMENTS} segments"),
            ));
        }
        let segment = |first| {
            let name = segment_name(first);
            Ok(Segment { len: storage.len(&name)?.unwrap_or(0), name })
        };
        let segments = firsts.into_iter().map(segment).collect::<io::Result<Vec<Segment>>>()?;
        let ahead = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        Ok(Log::of(storage, segments, None, ahead))
    }

    /// The same log, of which nothing was read yet.
    pub(crate) fn again(&self) -> Log {
        Log::of(Arc::clone(&self.storage), self.segments.clone(), self.keys.clone(), self.ahead)
    }

    fn of(storage: Arc<dyn Storage>, segments: Vec<Segment>, keys: Keys, ahead: bool) -> Log {
        let (marks, index, windows, shown) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let rewrites = Rewrites::default();
        let detached = None;
        Log {
            storage,
            segments,
            marks,
            index,
            keys,
            ahead,
            resumed: (0, 0),
            windows,
            shown,
            rewrites,
            detached,
        }
    }

    /// The same log as of now, for another thread: reading fails once segments are written again.
    pub(crate) fn detached(&self) -> Log {
        let files: Arc<dyn Storage> = match self.detached {
            Some(_) => Arc::clone(&self.storage),
            None => Arc::new(DetachedFiles::of(Arc::clone(&self.storage), self.rewrites.clone())),
        };
        Log {
            detached: self.detached.or(Some(self.rewrites.count())),
            marks: Mutex::new(locked(&self.marks).clone()),
            index: Mutex::new(locked(&self.index).clone()),
            resumed: self.resumed,
            rewrites: self.rewrites.clone(),
            ..Log::of(files, self.segments.clone(), self.keys.clone(), self.ahead)
        }
    }

    pub(crate) fn rewrites(&self) -> &Rewrites {
        &self.rewrites
    }

    /// Whether this log is detached and reads nothing any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.detached.is_some_and(|known| known != self.rewrites.count())
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn segments_mut(&mut self) -> &mut Vec<Segment> {
        &mut self.segments
    }

    /// What opens sealed payload items from here on.
    pub(crate) fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Walks on one thread, or with a second that reads ahead.
    pub(crate) fn set_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
    }

    /// Bytes of all segments together.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Bytes held by the index from numbers to places, and by the one from ids and devices to records.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let index = locked(&self.index).as_ref().map_or(0, Index::memory);
        (locked(&self.marks).capacity() * size_of::<Mark>(), index)
    }

    /// Remembers that the frame after `before` begins here, if the last such place is far enough before it.
    pub(crate) fn mark(&self, before: &Chain, segment: usize, offset: u64) {
        mark(&mut locked(&self.marks), before, segment, offset);
    }

    /// The places remembered, ascending.
    pub(crate) fn marks(&self) -> MutexGuard<'_, Vec<Mark>> {
        locked(&self.marks)
    }

    /// Forgets all places but these.
    pub(crate) fn remember(&mut self, marks: Vec<Mark>) {
        *locked(&self.marks) = marks;
    }

    /// Forgets all places but these, and whatever was read by the others.
    pub(crate) fn find_by(&self, marks: Vec<Mark>) {
        *locked(&self.marks) = marks;
        self.forget_window();
        self.forget_index();
    }

    /// A place, told by its segment's first record.
    pub(crate) fn place(&self, (segment, offset): (usize, u64)) -> (u64, u64) {
        let name = &self.segments[segment].name;
        let first = name.rsplit('/').next().and_then(first_seq_of);
        (first.expect("a segment is named by its first record"), offset)
    }

    /// Where the next walk begins whose chain is not at its beginning.
    pub(crate) fn go_on_from(&mut self, end: (usize, u64)) {
        self.resumed = end;
    }

    /// The next walk begins behind this many bytes of log.
    pub(crate) fn go_on_behind(&mut self, mut bytes: u64) {
        for (segment, Segment { len, .. }) in self.segments.iter().enumerate() {
            if bytes <= *len {
                self.resumed = (segment, bytes);
                return;
            }
            bytes -= len;
        }
    }

    /// Takes over the segments of the same log as a later look found them, if all that was read of this one lies where it lay. Gives
    /// whether it does: an erasure writes segments again.
    pub(crate) fn extend(&mut self, later: Log) -> bool {
        let (last, len) = self.resumed;
        let lies_there = |(number, (before, now)): (usize, (&Segment, &Segment))| {
            before.name == now.name && if number < last { before.len == now.len } else { now.len >= len }
        };
        let mut read = self.segments.iter().zip(&later.segments).enumerate().take(last + 1);
        let continues = later.segments.len() > last && read.all(lies_there);
        if continues {
            self.segments = later.segments;
            self.keys = later.keys;
            self.forget_window();
        }
        continues
    }

    /// Replaces the marks of a segment that was rewritten, and its length.
    pub(crate) fn rewritten(&mut self, segment: u32, len: u64, anew: Vec<Mark>) {
        let mut marks = locked(&self.marks);
        let from = marks.partition_point(|mark| mark.segment < segment);
        let to = marks.partition_point(|mark| mark.segment <= segment);
        marks.splice(from..to, anew);
        drop(marks);
        self.segments[segment as usize].len = len;
        self.forget_window();
        self.forget_index(); // its records lie elsewhere now
    }
}

/// Hides the payload items that erasures cover.
fn hide_erased(rows: &mut Rows, erasures: &Erasures) {
    if erasures.is_empty() {
        return;
    }
    rows.hide(|row| erasures.of(row).is_some());
}
