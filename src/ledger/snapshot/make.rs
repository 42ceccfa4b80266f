//! Making a snapshot: beside the ones that are there, whole and durable before it gets its name.

use std::io;
use std::sync::Arc;

use crate::fold::FOLD_VERSION;
use crate::ledger::error::SnapshotError;
use crate::ledger::snapshot::read::{Header, place_bytes};
use crate::ledger::snapshot::site::{Site, Taken};
use crate::ledger::snapshot::{DIGEST_BYTES, IgnoredSnapshot, PIECE_BYTES, Snapshot, list};
use crate::log::digest::{Hasher, Purpose};
use crate::log::payload::Sealer;
use crate::model::limits::KEPT_SNAPSHOTS;
use crate::query::reader::Reader;
use crate::store::layout::snapshot_name;
use crate::store::layout::{
    BUILDING, FORMAT_VERSION, SEGMENT_HEADER_BYTES, SNAPSHOTS, covered_by, is_half_snapshot,
};
use crate::store::segments::{Mark, Segment};
use crate::store::storage::{Memory, Storage, read_all, remove_file};

/// A snapshot that is to be made beside the ledger.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) reader: Reader,
    /// The files of the ledger: a detached reader writes nothing.
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) ignored: Vec<IgnoredSnapshot>,
    pub(crate) taken: Taken,
}

impl Begun {
    pub(crate) fn site(&self) -> &Site {
        self.taken.site()
    }

    /// The name that it gets.
    pub(crate) fn file(&self) -> String {
        snapshot_name(self.reader.checkpoint().records)
    }

    /// Makes it, once all records of the reader are durable; `None` if it was to be given up.
    pub(crate) fn make(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let Begun { reader, storage, ignored, taken } = self;
        match make((reader, &**storage), ignored, taken) {
            Err(_) if taken.is_stopped() => Ok(None),
            made => made.map(Some),
        }
    }
}

/// Makes a snapshot of a reader whose records are all durable. At every moment all that was there before is there, until the new
/// one is durable; then all but the newest few are removed, the `ignored` ones first. Given up as soon as it is to be.
pub(crate) fn make(
    (reader, storage): (&Reader, &dyn Storage),
    ignored: &[IgnoredSnapshot],
    taken: &Taken,
) -> Result<Snapshot, SnapshotError> {
    let records = reader.checkpoint().records;
    let file = snapshot_name(records);
    let building = format!("{SNAPSHOTS}/{records:020}{BUILDING}");
    let failed = |source| SnapshotError::Io { file: file.clone(), source };
    let written = (|| {
        remove_all(storage, is_half_snapshot)?; // what a crash left behind
        storage.create(&building)?;
        let bytes = match reader.log.keys() {
            None => write(reader, storage, &building, taken)?,
            Some(sealer) => write_sealed(reader, &**sealer, (storage, &building), taken)?,
        };
        storage.sync(&building)?;
        check(taken)?;
        storage.rename(&building, &file)?;
        storage.sync_dir(SNAPSHOTS)?;
        Ok(bytes)
    })();
    let bytes = written.map_err(|source| {
        // The cause is what the caller needs to know. The name goes for good: an erasure may wait for that.
        storage.remove(&building).and_then(|()| storage.sync_dir(SNAPSHOTS)).ok();
        failed(source)
    })?;
    let is_ignored = |records: u64| ignored.iter().any(|ignored| ignored.file == snapshot_name(records));
    let kept: Vec<String> = list(storage)
        .map_err(failed)?
        .into_iter()
        .filter(|older| *older == records || *older < records && !is_ignored(*older))
        .take(KEPT_SNAPSHOTS)
        .map(snapshot_name)
        .collect();
    let superfluous =
        |name: &str| covered_by(name).is_some() && !kept.contains(&format!("{SNAPSHOTS}/{name}"));
    remove_all(storage, superfluous).map_err(failed)?;
    Ok(Snapshot { file, records, bytes })
}

/// Removes what may hold texts that were erased since: snapshots that cover none of the records behind `last`, and those that
/// never got their names. Gives whether there was a whole one.
pub(crate) fn purge(storage: &dyn Storage, last: u64) -> io::Result<bool> {
    let stale: Vec<String> =
        list(storage)?.into_iter().filter(|records| *records <= last).map(snapshot_name).collect();
    let is_stale = |name: &str| is_half_snapshot(name) || stale.contains(&format!("{SNAPSHOTS}/{name}"));
    if storage.list(SNAPSHOTS)?.iter().any(|name| is_stale(name)) {
        remove_all(storage, is_stale)?;
        storage.sync_dir(SNAPSHOTS)?;
    }
    Ok(!stale.is_empty())
}

fn remove_all(storage: &dyn Storage, of: impl Fn(&str) -> bool) -> io::Result<()> {
    for name in storage.list(SNAPSHOTS)?.into_iter().filter(|name| of(name)) {
        remove_file(storage, &format!("{SNAPSHOTS}/{name}"))?;
    }
    Ok(())
}

/// Writes a snapshot as one sealed piece: it is all texts and numbers of one moment, and goes as a whole.
fn write_sealed(
    reader: &Reader,
    sealer: &dyn Sealer,
    (storage, file): (&dyn Storage, &str),
    taken: &Taken,
) -> io::Result<u64> {
    let open = Memory::new();
    open.create(file)?;
    write(reader, &open, file, taken)?;
    let plain = read_all(&open, file, u64::MAX)?.unwrap_or_default();
    let sealed = sealer.seal_snapshot(reader.checkpoint().records, &plain);
    let mut at = 0;
    for piece in sealed.chunks(PIECE_BYTES) {
        check(taken)?;
        storage.write_at(file, at, piece)?;
        at += piece.len() as u64;
    }
    Ok(at)
}

/// Writes the bytes of a snapshot; gives how many they are.
fn write(reader: &Reader, storage: &dyn Storage, file: &str, taken: &Taken) -> io::Result<u64> {
    let Reader { log, replay, dictionaries, seen, .. } = reader;
    let hasher = Hasher::new(Purpose::Snapshot);
    let mut out = Out { storage, file, taken, at: 0, buffer: Vec::new(), hasher };
    // Where the last frame ends. A crash right after a segment was begun leaves one behind it that has no frame yet.
    let with_frames = |segment: &Segment| segment.len > SEGMENT_HEADER_BYTES as u64;
    let last = log.segments().iter().rposition(with_frames).expect("a ledger is created with a frame");
    let (key, entries) = seen.stored();
    let dictionaries = dictionaries.all();
    let header = Header {
        version: FORMAT_VERSION,
        fold: FOLD_VERSION,
        ledger: reader.ledger_id(),
        end: replay.chain().place(),
        tail: log.place((last, log.segments()[last].len)),
        state: replay.state().digest(),
        key,
        entries: entries.len() as u64,
        marks: log.marks().len() as u64,
        texts: dictionaries.map(|dictionary| dictionary.stored().1.len() as u64),
    };
    out.put(&header.to_bytes())?;
    for Mark { before, segment, offset } in log.marks().iter() {
        out.put(&place_bytes(before.place()))?;
        out.put(&segment.to_le_bytes())?;
        out.put(&offset.to_le_bytes())?;
    }
    for dictionary in dictionaries {
        let (mut lengths, texts) = dictionary.stored();
        lengths.try_for_each(|length| out.put(&length))?;
        texts.chunks(PIECE_BYTES).try_for_each(|piece| out.put(piece))?;
    }
    entries.iter().try_for_each(|entry| out.put(&entry.to_le_bytes()))?;
    let mut written = Ok(());
    replay.state().canonical(|piece| {
        if written.is_ok() {
            written = out.put(piece);
        }
    });
    written?;
    out.finish()
}

/// An error if what is being made is to be given up.
fn check(taken: &Taken) -> io::Result<()> {
    if taken.is_stopped() { Err(io::Error::other("the snapshot is given up")) } else { Ok(()) }
}

/// A file on its way to the disk.
struct Out<'a> {
    storage: &'a dyn Storage,
    file: &'a str,
    taken: &'a Taken,
    at: u64,
    buffer: Vec<u8>,
    hasher: Hasher,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        check(self.taken)?;
        self.hasher.update(&self.buffer);
        self.storage.write_at(self.file, self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.spill()?;
        let digest = self.hasher.finish();
        self.storage.write_at(self.file, self.at, &digest.0)?;
        Ok(self.at + DIGEST_BYTES as u64)
    }
}
