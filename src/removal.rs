//! Removal: what erasures cover, out of every file. Knows segments and files; whose texts they are it need not know.
//!
//! Each step can be repeated, and a crash after any leaves a ledger that says the same: the records of the erasures are
//! durable before the first step, and only when the last is durable does a record say that they are done.
//!
//! 1. Copies that never became segments are removed: they may hold what is to go.
//! 2. Each segment with a covered item is written anew beside itself, without it; synced; renamed over the old one; the
//!    directory synced. At every moment there is the old segment or the new one, whole. Frames keep their bodies and hashes.
//! 3. Snapshots and quarantined bytes from before are removed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::book::Book;
use crate::chain::{Chain, write_item};
use crate::digest::{Digest, Hasher, Purpose};
use crate::directory::{LOG, QUARANTINE};
use crate::frame::{ABSENT, Frame, Header};
use crate::id::Seq;
use crate::log::{Fault, FaultKind, Log, Mark, SegmentReader, mark};
use crate::record::{DeviceNo, Flags, RewrittenSegment};
use crate::recovery::COPY_SUFFIX;
use crate::row::{Kind, Record, Rows};
use crate::snapshot;
use crate::state::Erasures;
use crate::storage::Storage;

/// Written at a time.
const PIECE_BYTES: usize = 4 << 20;

/// What a removal did.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) segments: Vec<RewrittenSegment>,
    /// By erasure that was not done: how many items are its.
    pub(crate) items: BTreeMap<u32, u64>,
    /// Whether there was a snapshot that had to go.
    pub(crate) had_snapshot: bool,
}

/// Why a removal stopped. What was done stays done, and what is left can be tried again.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The log cannot be read back.
    Fault(Box<Fault>),
    /// A file could not be written or removed. The log is what it was.
    Io(io::Error),
    /// It is not known which of two files has a segment's name.
    Unknown(io::Error),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Stopped {
        match fault.kind {
            FaultKind::Io(source) => Stopped::Io(source),
            _ => Stopped::Fault(Box::new(fault)),
        }
    }
}

/// Removes what the erasures of a book cover that are not done; if all are, what they cover. Everything in the log must be
/// durable.
pub(crate) fn run(book: &mut Book, progress: &mut dyn FnMut(u64)) -> Result<Rewritten, Stopped> {
    let storage = Arc::clone(book.log.storage());
    let mut done = Rewritten::default();
    sweep(&*storage, LOG, |name| name.ends_with(COPY_SUFFIX)).map_err(Stopped::Io)?;
    let Book { log, replay, seen, dictionaries, .. } = book;
    let state = replay.state();
    let erasures = state.erasures();
    let mut unnamed = Vec::new();
    let earliest = erasures.earliest(|id| state.defined_by(id).0 as u32); // MAX_RECORDS bounds it
    if let Some(earliest) = earliest {
        let mut walked = 0;
        for segment in log.mark_before(Seq(earliest.into())).segment..log.segments().len() as u32 {
            let mut work =
                Work { storage: &*storage, erasures, done: &mut done, unnamed: &mut unnamed, out: None };
            let rewritten = work.segment(log, segment, &mut |bytes| progress(walked + bytes))?;
            walked += log.segments()[segment as usize].len;
            if let Some((len, marks)) = rewritten {
                log.rewritten(segment, len, marks);
            }
        }
    }
    let last = erasures.last().map_or(0, u64::from);
    done.had_snapshot = snapshot::purge(&*storage, last).map_err(Stopped::Io)?;
    sweep(&*storage, QUARANTINE, |_| true).map_err(Stopped::Io)?;
    seen.forget(&unnamed);
    dictionaries.compact();
    log.forget_window();
    Ok(done)
}

fn sweep(storage: &dyn Storage, dir: &str, is_swept: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut swept = false;
    for name in storage.list(dir)?.into_iter().filter(|name| is_swept(name)) {
        storage.remove(&format!("{dir}/{name}"))?;
        swept = true;
    }
    if swept { storage.sync_dir(dir) } else { Ok(()) }
}

/// A frame of a segment, and what was before it.
pub(crate) struct FrameAt<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) rows: &'a Rows,
    pub(crate) before: &'a Chain,
    /// All its bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
}

impl FrameAt<'_> {
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let FrameAt { frame, rows, .. } = self;
        rows.rows.iter().map(|row| Record::new(row, rows, frame.body, frame.payload))
    }
}

/// Shows the frames from a mark to the end of its segment, each verified by its hash, until `each` gives `false`.
pub(crate) fn frames(
    log: &Log,
    from: &Mark,
    mut each: impl FnMut(FrameAt<'_>) -> Result<bool, Stopped>,
) -> Result<(), Stopped> {
    let name = &log.segments()[from.segment as usize].name;
    let mut chain = from.before.clone();
    let mut reader = SegmentReader::at(&**log.storage(), name, from.offset);
    let mut rows = Rows::default();
    loop {
        let (offset, records) = (reader.offset(), chain.next_seq());
        let fault = |kind| Stopped::from(Fault { file: name.clone(), offset, records, kind });
        let Some(bytes) = reader.frame(chain.ledger_id()).map_err(fault)? else { return Ok(()) };
        let frame = Frame::parse(bytes, chain.ledger_id())
            .map_err(|error| fault(crate::chain::ChainError::Frame(error).into()))?;
        let before = chain.clone();
        rows.clear();
        chain.accept(&frame, &mut rows).map_err(|error| fault(error.into()))?;
        let len = bytes.len();
        if !each(FrameAt { frame, rows: &rows, before: &before, bytes, offset })? {
            return Ok(());
        }
        reader.advance(len);
    }
}

/// The record that defines a device.
pub(crate) fn definition_of(log: &Log, device: DeviceNo) -> Result<u32, Stopped> {
    let marks = log.marks();
    let at = marks.partition_point(|mark| mark.before.defined().devices <= device.0);
    let mut found = None;
    frames(log, &marks[at.checked_sub(1).expect("nothing is defined before the first mark")], |frame| {
        let defining = frame.rows.rows.iter().filter(|row| row.kind == Kind::DefineDevice);
        let mut numbered = (frame.before.defined().devices..).zip(defining);
        found = numbered.find(|(number, _)| *number == device.0).map(|(_, row)| row.seq);
        Ok(found.is_none())
    })?;
    Ok(found.expect("a device that has a number is defined before the next mark"))
}

/// One segment on its way.
struct Work<'a> {
    storage: &'a dyn Storage,
    erasures: &'a Erasures,
    done: &'a mut Rewritten,
    /// Records whose derived operation id is gone.
    unnamed: &'a mut Vec<u32>,
    out: Option<Copy<'a>>,
}

impl Work<'_> {
    /// Writes the segment anew if it holds something to remove; gives its length then, and the places in it.
    fn segment(
        &mut self,
        log: &Log,
        segment: u32,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<(u64, Vec<Mark>)>, Stopped> {
        let name = &log.segments()[segment as usize].name;
        let mut marks = Vec::new();
        let rewritten = self.copy(log, segment, &mut marks, progress);
        let copy = format!("{name}{COPY_SUFFIX}");
        let Some(rewritten) = rewritten.inspect_err(|_| drop(self.storage.remove(&copy)))? else {
            return Ok(None); // on an error the cause is what the caller needs to know
        };
        let put = self.storage.rename(&copy, name).and_then(|()| self.storage.sync_dir(LOG));
        put.map_err(Stopped::Unknown)?;
        let len = rewritten.bytes_after;
        self.done.segments.push(rewritten);
        Ok(Some((len, marks)))
    }

    /// Writes the copy, if there is anything to remove, and makes it durable.
    fn copy(
        &mut self,
        log: &Log,
        segment: u32,
        marks: &mut Vec<Mark>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<RewrittenSegment>, Stopped> {
        let name = &log.segments()[segment as usize].name;
        let begin = log.mark_of_segment(segment);
        let first_seq = begin.before.next_seq();
        let mut payload = Vec::new();
        frames(log, &begin, |at| {
            let changed = self.look(&at, &mut payload);
            if changed && self.out.is_none() {
                self.out = Some(Copy::begin(self.storage, name, at.offset).map_err(Stopped::Io)?);
            }
            let place = self.out.as_ref().map_or(at.offset, |out| out.len);
            mark(marks, at.before, segment as usize, place);
            if let Some(out) = &mut self.out {
                out.frame(&at, changed.then_some(&payload[..])).map_err(Stopped::Io)?;
            }
            progress(at.offset + at.bytes.len() as u64);
            Ok(true)
        })?;
        self.out.take().map(|out| out.finish(first_seq)).transpose()
    }

    /// Makes the payload that a frame is to have. Gives whether that is another than it has.
    fn look(&mut self, at: &FrameAt<'_>, payload: &mut Vec<u8>) -> bool {
        payload.clear();
        let mut changed = false;
        for record in at.records().filter(|record| record.row.has_item()) {
            let by = self.erasures.of(record.row);
            if let Some(by) = by {
                changed |= !record.is_erased();
                if !self.erasures.is_done(by) {
                    *self.done.items.entry(by).or_default() += 1;
                }
                if record.row.is_operation() && record.row.flags.has(Flags::DERIVED_ID) {
                    self.unnamed.push(record.row.seq);
                }
            }
            match record.salt_and_item().filter(|_| by.is_none()) {
                Some((salt, bytes)) => write_item(salt, bytes, payload),
                None => payload.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        changed
    }
}

/// A segment that is being written anew.
struct Copy<'a> {
    storage: &'a dyn Storage,
    name: String,
    buffer: Vec<u8>,
    /// What the buffer was made of.
    old: Vec<u8>,
    /// How long it is, the buffer included.
    len: u64,
    /// How long the old one is, as far as it was read.
    old_len: u64,
    before: Hasher,
    after: Hasher,
}

impl<'a> Copy<'a> {
    /// Begins with the first `len` bytes of the segment, which stay as they are.
    fn begin(storage: &'a dyn Storage, segment: &str, len: u64) -> io::Result<Copy<'a>> {
        let name = format!("{segment}{COPY_SUFFIX}");
        storage.create(&name)?;
        let hasher = || Hasher::new(Purpose::Segment);
        let mut copy = Copy {
            storage,
            name,
            buffer: Vec::new(),
            old: Vec::new(),
            len: 0,
            old_len: 0,
            before: hasher(),
            after: hasher(),
        };
        let mut piece = vec![0; PIECE_BYTES];
        while copy.len < len {
            let most = usize::try_from(len - copy.len).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let read = storage.read_at(segment, copy.len, &mut piece[..most])?;
            if read < most {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.put(&piece[..read], &piece[..read])?;
        }
        Ok(copy)
    }

    /// Adds a frame, with another payload if one is given.
    fn frame(&mut self, at: &FrameAt<'_>, payload: Option<&[u8]>) -> io::Result<()> {
        let Some(payload) = payload else { return self.put(at.bytes, at.bytes) };
        let Frame { header, body, hash, .. } = at.frame;
        let payload_len = u32::try_from(payload.len()).expect("no longer than the one before it");
        let header = Header { payload_len, ..header };
        let mut bytes = Vec::with_capacity(header.frame_len());
        bytes.extend_from_slice(&header.to_bytes(at.before.ledger_id()));
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&hash.0);
        bytes.resize(header.frame_len(), 0);
        self.put(at.bytes, &bytes)
    }

    fn put(&mut self, old: &[u8], new: &[u8]) -> io::Result<()> {
        self.old_len += old.len() as u64;
        self.len += new.len() as u64;
        self.old.extend_from_slice(old);
        self.buffer.extend_from_slice(new);
        if self.old.len() >= PIECE_BYTES { self.spill() } else { Ok(()) }
    }

    /// Writes what is buffered, while the old bytes are hashed on a second thread.
    fn spill(&mut self) -> io::Result<()> {
        let Copy { storage, name, buffer, len, old, before, after, .. } = self;
        let at = *len - buffer.len() as u64;
        std::thread::scope(|scope| {
            let old = &old[..];
            let hash_old = move |before: &mut Hasher| {
                before.update(old);
            };
            std::thread::Builder::new().spawn_scoped(scope, move || hash_old(before))?;
            after.update(buffer);
            storage.write_at(name, at, buffer)
        })?;
        old.clear();
        buffer.clear();
        Ok(())
    }

    /// Makes it durable, under the name it has so far.
    fn finish(mut self, first_seq: u64) -> Result<RewrittenSegment, Stopped> {
        self.spill().and_then(|()| self.storage.sync(&self.name)).map_err(Stopped::Io)?;
        let (Digest(before), Digest(after)) = (self.before.finish(), self.after.finish());
        let (bytes_before, bytes_after) = (self.old_len, self.len);
        Ok(RewrittenSegment { first_seq, bytes_before, bytes_after, before, after })
    }
}
