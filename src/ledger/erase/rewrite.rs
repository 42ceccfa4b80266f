//! Removal: takes what erasures cover out of every file. Knows segments and files, but not whose texts they
//! hold.
//!
//! Each step can be repeated, and a crash after any leaves a ledger that says the same: the records of the erasures are
//! durable before the first step, and only when the last is durable does a record say that they are done.
//!
//! 1. Copies that never became segments are removed: they may hold what is to go.
//! 2. Each segment with a covered item is rewritten beside itself, without it; synced; renamed over the old
//!    one; the directory synced. At every moment there is the old segment or the new one, whole. Frames keep
//!    their bodies and hashes.
//! 3. Snapshots and quarantined bytes from before are removed.
//! 4. In a sealed ledger the keys of all that are destroyed: what copies still hold does not open any more.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::fold::Erasures;
use crate::ledger::snapshot;
use crate::log::body::{DeviceNo, Flags, RewrittenSegment};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::frame::{ABSENT_ITEM, Frame, HEADER_BYTES};
use crate::log::kind::Kind;
use crate::log::payload::KeysError;
use crate::log::record::Row;
use crate::model::id::Seq;
use crate::query::reader::Reader;
use crate::store::layout::{COPY_SUFFIX, LOG, QUARANTINE, is_copy, is_cut};
use crate::store::segments::{Fault, FaultKind, FrameAt, Log, Mark, mark};
use crate::store::storage::{Storage, remove_file};

/// Hashed and written at a time.
const PIECE_BYTES: usize = 1 << 20;
/// How many such may wait to be written.
const PIECES_AHEAD: usize = 2;

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
    /// The keys of what was removed could not be destroyed.
    Keys(KeysError),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Stopped {
        match fault.kind {
            FaultKind::Io(source) => Stopped::Io(source),
            _ => Stopped::Fault(Box::new(fault)),
        }
    }
}

/// Removes what the erasures of a reader cover that are not done; if all are, what they cover. Everything in the log must be
/// durable.
pub(crate) fn run(reader: &mut Reader, progress: &mut dyn FnMut(u64)) -> Result<Rewritten, Stopped> {
    let storage = Arc::clone(reader.log.storage());
    let mut done = Rewritten::default();
    reader.log.rewrites().begin();
    sweep(&*storage, LOG, is_copy).map_err(Stopped::Io)?;
    let Reader { log, replay, seen, dictionaries, .. } = reader;
    let state = replay.state();
    let erasures = state.erasures();
    let (mut unnamed, mut gone) = (Vec::new(), Vec::new());
    let earliest = erasures.earliest(|id| state.defined_by(id).0 as u32); // MAX_RECORDS bounds it
    if let Some(earliest) = earliest {
        let (mut walked, candidates) = (0, Candidates::of(erasures));
        for segment in log.mark_before(Seq(earliest.into())).segment..log.segments().len() as u32 {
            let (done, unnamed, gone, candidates) = (&mut done, &mut unnamed, &mut gone, &candidates);
            let mut work = Work { storage: &*storage, erasures, candidates, done, unnamed, gone };
            let rewritten = work.segment(log, segment, &mut |bytes| progress(walked + bytes))?;
            walked += log.segments()[segment as usize].len;
            if let Some((len, marks)) = rewritten {
                log.rewritten(segment, len, marks);
            }
        }
    }
    let last = erasures.last().map_or(0, u64::from);
    done.had_snapshot = snapshot::purge(&*storage, last).map_err(Stopped::Io)?;
    sweep(&*storage, QUARANTINE, is_cut).map_err(Stopped::Io)?;
    if let Some(sealer) = log.keys() {
        sealer.reach(replay.chain().checkpoint());
        sealer.destroy(&gone, last).map_err(Stopped::Keys)?;
    }
    seen.forget(&unnamed);
    dictionaries.compact();
    log.forget_window();
    Ok(done)
}

/// Removes the files of a directory that a ledger gave such names. What else lies there is not its own, and stays.
pub(crate) fn sweep(storage: &dyn Storage, dir: &str, is_swept: fn(&str) -> bool) -> io::Result<()> {
    let mut swept = false;
    for name in storage.list(dir)?.into_iter().filter(|name| is_swept(name)) {
        swept |= remove_file(storage, &format!("{dir}/{name}"))?;
    }
    if swept { storage.sync_dir(dir) } else { Ok(()) }
}

/// The record that defines a device.
pub(crate) fn definition_of(log: &Log, device: DeviceNo) -> Result<u32, Stopped> {
    let marks = log.marks();
    let at = marks.partition_point(|mark| mark.before.defined().devices <= device.0);
    let mut found = None;
    let mark = &marks[at.checked_sub(1).expect("nothing is defined before the first mark")];
    log.frames(mark, |frame| {
        let defining = frame.rows.rows().iter().filter(|row| row.kind == Kind::DefineDevice);
        let mut numbered = (frame.before.defined().devices..).zip(defining);
        found = numbered.find(|(number, _)| *number == device.0).map(|(_, row)| row.seq);
        Ok::<bool, Stopped>(found.is_none())
    })?;
    Ok(found.expect("a device that has a number is defined before the next mark"))
}

/// Which records an erasure may cover: a quick look at numbers, for most records that is all.
struct Candidates {
    ids: Bits,
    records: Bits,
}

impl Candidates {
    fn of(erasures: &Erasures) -> Candidates {
        let (ids, records) = (erasures.ids().map(|id| id.0).collect(), erasures.records().collect());
        Candidates { ids, records }
    }

    fn has(&self, row: &Row) -> bool {
        self.ids.has(row.id.0) || self.records.has(row.seq)
    }
}

/// A set of numbers, a bit each.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Bits {
        let mut bits = Bits::default();
        for number in numbers {
            let place = number as usize / 64;
            if bits.0.len() <= place {
                bits.0.resize(place + 1, 0);
            }
            bits.0[place] |= 1 << (number % 64);
        }
        bits
    }
}

/// One segment on its way.
struct Work<'a> {
    storage: &'a dyn Storage,
    erasures: &'a Erasures,
    candidates: &'a Candidates,
    done: &'a mut Rewritten,
    /// Records whose derived operation id is gone.
    unnamed: &'a mut Vec<u32>,
    /// Records whose items are gone.
    gone: &'a mut Vec<u32>,
}

impl Work<'_> {
    /// Rewrites the segment if it holds something to remove; returns its new length and the places in it.
    fn segment(
        &mut self,
        log: &Log,
        segment: u32,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<(u64, Vec<Mark>)>, Stopped> {
        let name = &log.segments()[segment as usize].name;
        let mut marks = Vec::new();
        let rewritten = std::thread::scope(|scope| self.copy(scope, log, segment, &mut marks, progress));
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
    fn copy<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        log: &Log,
        segment: u32,
        marks: &mut Vec<Mark>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<RewrittenSegment>, Stopped>
    where
        Self: 's,
    {
        let name = &log.segments()[segment as usize].name;
        let Some(begin) = log.mark_of_segment(segment) else { return Ok(None) };
        let first_seq = begin.before.next_seq();
        let (mut cuts, mut out) = (Vec::new(), None);
        log.frames(&begin, |at| {
            self.look(&at, &mut cuts);
            if !cuts.is_empty() && out.is_none() {
                out = Some(Copy::begin(scope, self.storage, name, at.offset).map_err(Stopped::Io)?);
            }
            let place = out.as_ref().map_or(at.offset, |out| out.len);
            mark(marks, at.before, segment as usize, place);
            if let Some(out) = &mut out {
                out.frame(&at, &cuts);
            }
            progress(at.offset + at.frame.header.frame_len() as u64);
            Ok::<bool, Stopped>(true)
        })?;
        out.map(|out| out.finish(first_seq)).transpose()
    }

    /// Finds the items of a frame's payload that are to go, in their order.
    fn look(&mut self, at: &FrameAt<'_>, cuts: &mut Vec<Range<usize>>) {
        cuts.clear();
        let with_items = at.records().filter(|record| record.row.has_item());
        for record in with_items.filter(|record| self.candidates.has(record.row)) {
            let Some(by) = self.erasures.of(record.row) else { continue };
            self.gone.push(record.row.seq);
            cuts.extend(record.item_span().map(|(span, _)| span));
            if !self.erasures.is_done(by) {
                *self.done.items.entry(by).or_default() += 1;
            }
            if record.row.is_operation() && record.row.flags.has(Flags::DERIVED_ID) {
                self.unnamed.push(record.row.seq);
            }
        }
    }
}

/// Some bytes of a segment, and what becomes of them.
#[derive(Default)]
struct Piece {
    /// Where in the new segment they begin.
    at: u64,
    old: Vec<u8>,
    /// What of them becomes how many of `put`, in their order.
    edits: Vec<(Range<usize>, usize)>,
    put: Vec<u8>,
}

impl Piece {
    /// Lets `range` of the old bytes become these.
    fn edit(&mut self, range: Range<usize>, bytes: &[u8]) {
        self.edits.push((range, bytes.len()));
        self.put.extend_from_slice(bytes);
    }

    /// What they become.
    fn anew(&self, new: &mut Vec<u8>) {
        new.clear();
        let (mut kept, mut put) = (0, &self.put[..]);
        for (range, len) in &self.edits {
            let (bytes, rest) = put.split_at(*len);
            new.extend_from_slice(&self.old[kept..range.start]);
            new.extend_from_slice(bytes);
            (kept, put) = (range.end, rest);
        }
        new.extend_from_slice(&self.old[kept..]);
    }

    fn clear(&mut self) {
        self.old.clear();
        self.edits.clear();
        self.put.clear();
    }
}

/// A segment that is being rewritten: hashed and written on a thread of its own, while the next bytes are
/// read and verified. All writes are that thread's, in their order.
struct Copy<'s> {
    storage: &'s dyn Storage,
    name: String,
    piece: Piece,
    /// How long it is, what is not written yet included.
    len: u64,
    /// How long the old one is, as far as it was read.
    old_len: u64,
    pieces: SyncSender<Piece>,
    used: Receiver<Piece>,
    writer: ScopedJoinHandle<'s, io::Result<[Digest; 2]>>,
}

impl<'s> Copy<'s> {
    /// Begins with the first `len` bytes of the segment, which stay as they are.
    fn begin(
        scope: &'s Scope<'s, '_>,
        storage: &'s dyn Storage,
        segment: &str,
        len: u64,
    ) -> io::Result<Copy<'s>> {
        let name = format!("{segment}{COPY_SUFFIX}");
        storage.create(&name)?;
        let (pieces, due) = sync_channel(PIECES_AHEAD);
        let (give_back, used) = sync_channel(PIECES_AHEAD + 2);
        let place = name.clone();
        let writer = std::thread::Builder::new()
            .spawn_scoped(scope, move || write_pieces(storage, &place, &due, &give_back))?;
        let mut copy =
            Copy { storage, name, piece: Piece::default(), len: 0, old_len: 0, pieces, used, writer };
        let mut bytes = vec![0; PIECE_BYTES];
        while copy.len < len {
            let most = usize::try_from(len - copy.len).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let read = storage.read_at(segment, copy.len, &mut bytes[..most])?;
            if read < most {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.put(&bytes[..read]);
        }
        Ok(copy)
    }

    /// Adds a frame without the items of its payload that are to go.
    fn frame(&mut self, at: &FrameAt<'_>, cuts: &[Range<usize>]) {
        let Frame { header, body, payload, hash } = &at.frame;
        let from = self.piece.old.len();
        let payload_from = from + HEADER_BYTES + body.len();
        let (payload_end, end) = (payload_from + payload.len(), from + header.frame_len());
        let ledger = at.before.ledger_id();
        let old = &mut self.piece.old;
        old.extend_from_slice(&header.to_bytes(ledger));
        old.extend_from_slice(body);
        old.extend_from_slice(payload);
        old.extend_from_slice(&hash.0);
        old.resize(end, 0);
        let mut after = *header;
        if !cuts.is_empty() {
            let gone: usize = cuts.iter().map(|cut| cut.len() - ABSENT_ITEM.len()).sum();
            after.payload_len -= gone as u32; // less than it has
            self.piece.edit(from..from + HEADER_BYTES, &after.to_bytes(ledger));
            for cut in cuts {
                self.piece.edit(payload_from + cut.start..payload_from + cut.end, &ABSENT_ITEM);
            }
            let rest = payload_end + hash.0.len();
            let padding = after.frame_len() - (rest - gone - from);
            self.piece.edit(rest..end, &[0; 8][..padding]); // frames end at multiples of 8
        }
        self.added(from, after.frame_len());
    }

    fn put(&mut self, bytes: &[u8]) {
        let from = self.piece.old.len();
        self.piece.old.extend_from_slice(bytes);
        self.added(from, bytes.len());
    }

    /// Counts what was added from `from` on, which becomes `new` bytes.
    fn added(&mut self, from: usize, new: usize) {
        self.old_len += (self.piece.old.len() - from) as u64;
        self.len += new as u64;
        if self.piece.old.len() >= PIECE_BYTES {
            self.hand_over();
        }
    }

    /// A writer that stopped takes nothing more; why, [`Copy::finish`] says.
    fn hand_over(&mut self) {
        let next = Piece { at: self.len, ..self.used.try_recv().unwrap_or_default() };
        self.pieces.send(std::mem::replace(&mut self.piece, next)).ok();
    }

    /// Makes it durable, under the name it has so far.
    fn finish(mut self, first_seq: u64) -> Result<RewrittenSegment, Stopped> {
        self.hand_over();
        let Copy { storage, name, len, old_len, pieces, writer, .. } = self;
        drop(pieces);
        let written = match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let [Digest(before), Digest(after)] = written.map_err(Stopped::Io)?;
        storage.sync(&name).map_err(Stopped::Io)?;
        Ok(RewrittenSegment { first_seq, bytes_before: old_len, bytes_after: len, before, after })
    }
}

/// Hashes what a segment was and what it becomes, and writes the latter, piece by piece.
fn write_pieces(
    storage: &dyn Storage,
    name: &str,
    due: &Receiver<Piece>,
    give_back: &SyncSender<Piece>,
) -> io::Result<[Digest; 2]> {
    let (mut before, mut after) = (Hasher::new(Purpose::Segment), Hasher::new(Purpose::Segment));
    let mut new = Vec::new();
    for mut piece in due {
        piece.anew(&mut new);
        storage.write_at(name, piece.at, &new)?;
        before.update(&piece.old);
        after.update(&new);
        piece.clear();
        give_back.try_send(piece).ok(); // else it is freed
    }
    Ok([before.finish(), after.finish()])
}
