//! The copy that a backup makes: which part exists, how much of that is verified, and what is added or
//! rewritten.

use std::io;
use std::sync::Arc;

use crate::ledger::erase::rewrite::sweep;
use crate::ledger::recovery::write_anew;
use crate::log::chain::{Chain, Checkpoint};
use crate::log::digest::Digest;
use crate::log::frame::{Frame, HEADER_BYTES, Header};
use crate::log::record::Rows;
use crate::maintenance::backup::report::{BackupError, LEDGER_BYTES, WRITE_BYTES};
use crate::maintenance::backup::source::{Source, Walk};
use crate::model::id::LedgerId;
use crate::store::layout::{
    COPY_SUFFIX, HEAD, HeadSlot, Identity, LEDGER, LOG, PARTIAL, QUARANTINE, SEGMENT_HEADER_BYTES, SNAPSHOTS,
    SegmentHeader, first_seq_of, is_cut, is_snapshot,
};
use crate::store::receipts;
use crate::store::segments::{Fault, FaultKind, SegmentReader};
use crate::store::storage::{Lock, Storage, read_all};

/// The copy: what is there of it, and what is being added.
pub(super) struct Copy {
    pub(super) storage: Arc<dyn Storage>,
    /// Its segments and their lengths, as they were found.
    pub(super) segments: Vec<(String, u64)>,
    /// How far it is good; no records if it was never begun.
    pub(super) head: Checkpoint,
    /// How often its `HEAD` was written.
    turn: u64,
    pub(super) ledger: LedgerId,
    /// Whether it has its `LEDGER`.
    pub(super) complete: bool,
    /// Whether it has at least a `LEDGER.partial`.
    begun: bool,
    lock: Option<Lock>,
    /// The segment that is being written, how much of it is written, and what is still to be written behind that.
    current: Option<(String, u64)>,
    pending: Vec<u8>,
    /// Bytes of log written now.
    pub(super) written: u64,
    /// Segments that hold payload which the source has erased since.
    pub(super) stale: Vec<Stale>,
    /// Where the copy's last verified segment ends, as it is.
    end: Option<(String, u64)>,
}

/// A segment of the copy that has to be rewritten.
pub(super) struct Stale {
    pub(super) name: String,
    /// Before its first frame.
    pub(super) before: Chain,
    /// How many records there are with the last frame that the copy has of it.
    upto: u64,
}

impl Copy {
    /// Looks at what is there, and refuses it if it is not a copy of this ledger. Changes nothing.
    pub(super) fn look(storage: Arc<dyn Storage>, source: &Source) -> Result<Copy, BackupError> {
        let dest = storage.describe();
        let failed = |source| BackupError::Io { place: dest.clone(), source };
        let names = storage.list("").map_err(failed)?;
        let other = |found: String| Err(BackupError::NotEmpty { dest: dest.clone(), found });
        let ledger = source.identity.ledger;
        let complete = names.iter().any(|name| name == LEDGER);
        let begun = complete || names.iter().any(|name| name == PARTIAL);
        if complete {
            let found = Identity::read(&*storage, false)?.ledger;
            if found != ledger {
                return Err(BackupError::OtherLedger { dest, found, expected: ledger });
            }
        } else if begun {
            let found = read_all(&*storage, PARTIAL, LEDGER_BYTES).map_err(failed)?.unwrap_or_default();
            if !source.ledger.starts_with(&found) {
                return other(format!("{PARTIAL} of another ledger"));
            }
        } else if let Some(found) = names.iter().find(|name| *name != "LOCK") {
            return other(found.clone()); // perhaps files of a ledger, but nothing says of which
        }
        let segments = segments(&*storage).map_err(failed)?;
        let slot = HeadSlot::read(&*storage, ledger).map_err(failed)?.into_iter().next();
        if complete && slot.is_none() {
            let what = "its HEAD is missing or damaged";
            return Err(BackupError::DamagedCopy { dest, records: 0, what });
        }
        let none = Checkpoint { records: 0, head: *source.identity.chain().head() };
        let (head, turn) =
            slot.map_or((none, 0), |slot| (Checkpoint { records: slot.records, head: slot.head }, slot.turn));
        let (lock, current, pending, written) = (None, None, Vec::new(), 0);
        let (stale, end) = (Vec::new(), None);
        Ok(Copy {
            storage,
            segments,
            head,
            turn,
            ledger,
            complete,
            begun,
            lock,
            current,
            pending,
            written,
            stale,
            end,
        })
    }

    fn dest(&self) -> String {
        self.storage.describe()
    }

    fn failed(&self) -> impl Fn(io::Error) -> BackupError + use<> {
        let place = self.dest();
        move |source| BackupError::Io { place: place.clone(), source }
    }

    /// Compares the copy, up to its `HEAD`, with the source byte by byte; gives how many bytes of log are good. Where only erased
    /// payload is missing from the source, the segment is noted.
    pub(super) fn verify(
        &mut self,
        walk: &mut Walk<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, BackupError> {
        let mut kept = 0;
        let mut ours = Vec::new();
        let mut header_of = None;
        let mut begun = walk.chain.clone();
        while walk.chain.next_seq() < self.head.records {
            match walk.next() {
                Ok(true) => {}
                Ok(false) => {
                    let (records, source_records) = (self.head.records, walk.chain.next_seq());
                    return Err(BackupError::Ahead { dest: self.dest(), records, source_records });
                }
                Err(fault) => {
                    walk.source.judge(fault)?;
                    let (records, source_records) = (self.head.records, walk.chain.next_seq());
                    return Err(BackupError::Ahead { dest: self.dest(), records, source_records });
                }
            }
            if header_of != Some(walk.index) {
                header_of = Some(walk.index);
                self.verify_header(walk)?;
                kept += SEGMENT_HEADER_BYTES as u64;
                self.end = Some((walk.segment().to_owned(), SEGMENT_HEADER_BYTES as u64));
                begun = walk.before.clone();
            }
            let at = self.end.as_ref().map_or(0, |(_, at)| *at);
            ours.resize(walk.bytes.len(), 0);
            let read = self.read(walk.segment(), at, &mut ours)?;
            let mut len = walk.bytes.len() as u64;
            if ours[..read] != walk.bytes[..] {
                let Some(longer) = self.unerased(walk, at)? else {
                    return Err(self.differs(walk, &walk.before, walk.segment(), at)?);
                };
                len = longer;
                if self.stale.last().is_none_or(|stale| stale.name != walk.segment()) {
                    self.stale.push(Stale {
                        name: walk.segment().to_owned(),
                        before: begun.clone(),
                        upto: 0,
                    });
                }
            }
            self.extend_stale(walk);
            self.end = self.end.take().map(|(segment, at)| (segment, at + len));
            kept += walk.bytes.len() as u64;
            progress(kept);
        }
        if walk.chain.checkpoint() != self.head {
            return Err(BackupError::Forked { dest: self.dest(), records: walk.before.next_seq() });
        }
        self.check_beyond(walk)?;
        Ok(kept)
    }

    /// Notes that the stale segment at hand, if it is one, ends behind the frame at hand or later.
    fn extend_stale(&mut self, walk: &Walk<'_>) {
        if let Some(stale) = self.stale.last_mut().filter(|stale| stale.name == walk.segment()) {
            stale.upto = walk.chain.next_seq();
        }
    }

    /// The length of the copy's frame at this place, if it is the one at hand with payload that was erased since.
    fn unerased(&self, walk: &Walk<'_>, offset: u64) -> Result<Option<u64>, BackupError> {
        let mut bytes = vec![0; HEADER_BYTES];
        let read = self.read(walk.segment(), offset, &mut bytes)?;
        let Ok(header) = Header::parse(&bytes[..read], self.ledger) else { return Ok(None) };
        bytes.resize(header.frame_len(), 0);
        let read = self.read(walk.segment(), offset, &mut bytes)?;
        let (Ok(ours), Ok(theirs)) =
            (Frame::parse(&bytes[..read], self.ledger), Frame::parse(&walk.bytes, self.ledger))
        else {
            return Ok(None);
        };
        let mut rows = Rows::default();
        if ours.hash != theirs.hash || walk.before.clone().accept(&ours, &mut rows).is_err() {
            return Ok(None);
        }
        let same = walk.rows.records(&theirs).zip(rows.records(&ours)).all(|(theirs, ours)| {
            let theirs = theirs.stored_item();
            theirs.is_none() || theirs == ours.stored_item()
        });
        Ok(same.then_some(header.frame_len() as u64))
    }

    fn verify_header(&self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let mut ours = [0; SEGMENT_HEADER_BYTES];
        let read = self.read(walk.segment(), 0, &mut ours)?;
        if ours[..read] == segment_header(&walk.before) {
            return Ok(());
        }
        let (dest, records) = (self.dest(), walk.before.next_seq());
        Err(BackupError::DamagedCopy {
            dest,
            records,
            what: "a segment is missing, or its header is damaged",
        })
    }

    /// Why the copy has other bytes than the source behind `before`.
    fn differs(
        &self,
        walk: &Walk<'_>,
        before: &Chain,
        segment: &str,
        offset: u64,
    ) -> Result<BackupError, BackupError> {
        let (dest, records) = (self.dest(), before.next_seq());
        let what = match self.whole_frame(before, segment, offset)? {
            None => "a frame is not what was copied",
            Some(ours) if Frame::parse(&walk.bytes, self.ledger).is_ok_and(|frame| frame.hash == ours) => {
                "a frame holds another payload than the ledger does now"
            }
            Some(_) => return Ok(BackupError::Forked { dest, records }),
        };
        // An older source still holds what the copy has forgotten since: that is not damage.
        if let Some(source_records) = walk.source.durable.filter(|durable| *durable < self.head.records) {
            return Ok(BackupError::Ahead { dest, records: self.head.records, source_records });
        }
        Ok(BackupError::DamagedCopy { dest, records, what })
    }

    /// The hash of the frame that the copy has at this place, if it is whole and follows `before`.
    fn whole_frame(&self, before: &Chain, segment: &str, offset: u64) -> Result<Option<Digest>, BackupError> {
        whole_frame(&*self.storage, before, segment, offset).map_err(self.failed())
    }

    /// Bytes behind the copy's `HEAD` come from a backup that was cut off, and the source has the same; or
    /// another program wrote to the copy.
    fn check_beyond(&self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let begins = crate::store::layout::segment_name(walk.chain.next_seq());
        let mut places = vec![(begins.as_str(), SEGMENT_HEADER_BYTES as u64)];
        if let Some((segment, end)) = &self.end {
            places.push((segment, *end));
        }
        for (segment, offset) in places {
            let Some(ours) = self.whole_frame(&walk.chain, segment, offset)? else { continue };
            let failed = |source| BackupError::Io { place: walk.source.place(), source };
            let begins = offset == SEGMENT_HEADER_BYTES as u64;
            let offset = if begins { offset } else { walk.end() };
            let theirs = whole_frame(&*walk.source.storage, &walk.chain, segment, offset).map_err(failed)?;
            if theirs != Some(ours) {
                return Err(BackupError::Forked { dest: self.dest(), records: walk.chain.next_seq() });
            }
        }
        Ok(())
    }

    /// The receipts of the source, by their last erasures, that the copy does not have.
    pub(super) fn lacking(&self, source: &Source) -> Result<Vec<u32>, BackupError> {
        let [ours, _] = receipts::judged(&*self.storage, self.ledger).map_err(self.failed())?;
        Ok(source.receipts.iter().copied().filter(|last| ours.binary_search(last).is_err()).collect())
    }

    /// Whether the copy has bytes behind its `HEAD`.
    pub(super) fn goes_on(&self) -> bool {
        let Some((last, end)) = &self.end else { return !self.segments.is_empty() };
        self.segments.iter().any(|(name, len)| name > last || name == last && len > end)
    }

    /// Rewrites segments that hold what the source has erased. Caches and what recovery kept may hold it too:
    /// they are removed. The records of the erasures must be in the copy: what is missing without one is damage.
    fn refresh(&mut self, source: &Source) -> Result<(), BackupError> {
        let failed = self.failed();
        let stale = std::mem::take(&mut self.stale);
        // Caches first: once no segment is stale, they are not looked at again.
        if !stale.is_empty() {
            sweep(&*self.storage, SNAPSHOTS, is_snapshot).map_err(&failed)?;
            sweep(&*self.storage, QUARANTINE, is_cut).map_err(&failed)?;
        }
        for Stale { name, before, upto } in &stale {
            let copy = format!("{name}{COPY_SUFFIX}");
            if self.storage.len(&copy).map_err(&failed)?.is_some() {
                self.storage.remove(&copy).map_err(&failed)?;
            }
            self.storage.create(&copy).map_err(&failed)?;
            let mut reader = SegmentReader::new(&*source.storage, name);
            let mut chain = before.clone();
            let fault = |kind, chain: &Chain| Fault {
                file: name.clone(),
                offset: 0,
                records: chain.next_seq(),
                kind,
            };
            let damaged = |fault| BackupError::Damaged { place: source.place(), fault: Box::new(fault) };
            reader.header(&chain).map_err(|kind| damaged(fault(kind, &chain)))?;
            self.storage.write_at(&copy, 0, &segment_header(before)).map_err(&failed)?;
            let mut at = SEGMENT_HEADER_BYTES as u64;
            while chain.next_seq() < *upto {
                let bytes = reader.frame(self.ledger).map_err(|kind| damaged(fault(kind, &chain)))?;
                let short = || FaultKind::from(io::Error::from(io::ErrorKind::UnexpectedEof));
                let bytes = bytes.ok_or_else(|| damaged(fault(short(), &chain)))?;
                let accept = |chain: &mut Chain| {
                    let frame = Frame::parse(bytes, self.ledger)?;
                    let mut rows = Rows::default();
                    chain.accept(&frame, &mut rows)?;
                    chain.check_items(&rows, &frame)
                };
                accept(&mut chain).map_err(|error| damaged(fault(error.into(), before)))?;
                self.storage.write_at(&copy, at, bytes).map_err(&failed)?;
                at += bytes.len() as u64;
                let len = bytes.len();
                reader.advance(len);
            }
            self.storage.sync(&copy).map_err(&failed)?;
            self.storage.rename(&copy, name).map_err(&failed)?;
            self.storage.sync_dir(LOG).map_err(&failed)?;
            self.written += at;
        }
        Ok(())
    }

    pub(super) fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, BackupError> {
        if !self.segments.iter().any(|(name, _)| name == file) {
            return Ok(0);
        }
        self.storage.read_at(file, offset, out).map_err(self.failed())
    }

    /// Takes the copy's lock and cuts off what stands behind its `HEAD`. From here on the copy changes.
    pub(super) fn begin(&mut self, source: &Source) -> Result<(), BackupError> {
        let failed = self.failed();
        let Some(lock) = self.storage.lock().map_err(&failed)? else {
            return Err(BackupError::Locked { dest: self.dest() });
        };
        self.lock = Some(lock);
        if segments(&*self.storage).map_err(&failed)? != self.segments {
            return Err(BackupError::Locked { dest: self.dest() }); // it was in use a moment ago
        }
        if !self.stale.is_empty() && self.complete {
            // Until the last stale segment is rewritten, the log says that something is erased which is still there.
            self.storage.rename(LEDGER, PARTIAL).map_err(&failed)?;
            self.storage.sync_dir("").map_err(&failed)?;
            self.complete = false;
        } else if !self.complete {
            if !self.begun {
                self.storage.create(PARTIAL).map_err(&failed)?;
            }
            self.storage.write_at(PARTIAL, 0, &source.ledger).map_err(&failed)?;
            self.storage.sync(PARTIAL).map_err(&failed)?;
            self.storage.sync_dir("").map_err(&failed)?;
        }
        let keep = self.end.clone();
        self.cut(keep.as_ref()).map_err(&failed)?;
        self.current = keep;
        Ok(())
    }

    /// Removes everything behind this place; later segments first, so that there is never a gap.
    fn cut(&self, keep: Option<&(String, u64)>) -> io::Result<()> {
        let mut cut = false;
        for (name, len) in self.segments.iter().rev() {
            match keep {
                Some((last, _)) if name < last => break,
                Some((last, end)) if name == last => {
                    if len > end {
                        write_anew(&*self.storage, name, *end)?;
                    }
                }
                _ => {
                    self.storage.remove(name)?;
                    cut = true;
                }
            }
        }
        if cut { self.storage.sync_dir(LOG) } else { Ok(()) }
    }

    /// Adds the frame that the walk holds.
    pub(super) fn append(&mut self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let failed = self.failed();
        if self.current.as_ref().is_none_or(|(name, _)| name != walk.segment()) {
            if self.current.is_some() {
                self.seal(walk.before.checkpoint())?;
            }
            self.storage.create(walk.segment()).map_err(&failed)?;
            self.storage.sync_dir(LOG).map_err(&failed)?;
            self.pending.extend_from_slice(&segment_header(&walk.before));
            self.current = Some((walk.segment().to_owned(), 0));
        }
        self.pending.extend_from_slice(&walk.bytes);
        self.extend_stale(walk);
        if self.pending.len() >= WRITE_BYTES { self.write().map_err(failed) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some((name, at)) = &mut self.current
            && !self.pending.is_empty()
        {
            self.storage.write_at(name, *at, &self.pending)?;
            *at += self.pending.len() as u64;
            self.written += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Makes the copy durable up to here, and then says so in its `HEAD`.
    fn seal(&mut self, here: Checkpoint) -> Result<(), BackupError> {
        self.try_seal(here).map_err(self.failed())
    }

    fn try_seal(&mut self, here: Checkpoint) -> io::Result<()> {
        self.write()?;
        if let Some((name, _)) = &self.current {
            self.storage.sync(name)?;
        }
        if here == self.head {
            return Ok(());
        }
        if self.storage.len(HEAD)?.is_none() {
            self.storage.create(HEAD)?;
            self.storage.sync_dir("")?;
        }
        let Checkpoint { records, head } = here;
        self.turn += 1;
        HeadSlot { ledger: self.ledger, turn: self.turn, records, head }.write(&*self.storage)?;
        self.storage.sync(HEAD)?;
        self.head = here;
        Ok(())
    }

    /// The copy has all frames: makes it forget what the source has erased, and makes it a ledger.
    pub(super) fn finish(&mut self, source: &Source, here: Checkpoint) -> Result<(), BackupError> {
        self.seal(here)?;
        self.refresh(source)?;
        for last in self.lacking(source)? {
            let unreadable = |error| BackupError::Io { place: source.place(), source: error };
            let taken = receipts::read(&*source.storage, self.ledger, last).map_err(unreadable)?;
            if let Some(taken) = taken {
                taken.write(&*self.storage, self.ledger).map_err(self.failed())?;
            }
        }
        if !self.complete {
            self.storage.rename(PARTIAL, LEDGER).map_err(self.failed())?;
            self.storage.sync_dir("").map_err(self.failed())?;
        }
        Ok(())
    }
}

/// The segments in a copy's `log/`, in order, with their lengths.
fn segments(storage: &dyn Storage) -> io::Result<Vec<(String, u64)>> {
    let mut names = storage.list(LOG)?;
    names.retain(|name| first_seq_of(name).is_some());
    names.sort_unstable();
    let with_len = |name: String| {
        let name = format!("{LOG}/{name}");
        Ok((storage.len(&name)?.unwrap_or(0), name))
    };
    names.into_iter().map(with_len).map(|found| found.map(|(len, name)| (name, len))).collect()
}

/// The header of the segment that continues this chain.
fn segment_header(before: &Chain) -> [u8; SEGMENT_HEADER_BYTES] {
    let Checkpoint { records, head } = before.checkpoint();
    SegmentHeader { ledger: before.ledger_id(), first_seq: records, previous: head }.to_bytes()
}

/// The hash of the frame at this place, if there is one that is whole and follows `before`.
fn whole_frame(
    storage: &dyn Storage,
    before: &Chain,
    segment: &str,
    offset: u64,
) -> io::Result<Option<Digest>> {
    if storage.len(segment)?.is_none() {
        return Ok(None);
    }
    let ledger = before.ledger_id();
    let mut bytes = vec![0; HEADER_BYTES];
    let read = storage.read_at(segment, offset, &mut bytes)?;
    let Ok(header) = Header::parse(&bytes[..read], ledger) else { return Ok(None) };
    bytes.resize(header.frame_len(), 0);
    let read = storage.read_at(segment, offset, &mut bytes)?;
    let Ok(frame) = Frame::parse(&bytes[..read], ledger) else { return Ok(None) };
    let follows = header.first_seq == before.next_seq() && frame.hash == frame.hash_after(before.head());
    Ok(follows.then_some(frame.hash))
}
