//! What a ledger holds, counted: records by kind, who there is, files on the disk, memory.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::model::id::LedgerId;
use crate::model::time::Timestamp;
use crate::query::reader::{MemoryUse, Reader};
use crate::store::layout::{LOG, QUARANTINE, RECEIPTS, SNAPSHOTS};
use crate::store::segments::{Fault, FaultKind};
use crate::store::storage::{Storage, file_len};

/// What a ledger holds; [`Reader::stats`] counts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The ledger's id.
    pub ledger_id: LedgerId,
    /// How many records there are.
    pub records: u64,
    /// When the first of them was recorded, by the writer's clock (A1): when the ledger was created.
    pub first_recorded_at: Timestamp,
    /// When the last of them was.
    pub last_recorded_at: Timestamp,
    /// The same by kind of record, as the first column of `docs/format.md`, section 6, names them; kinds of which there is none
    /// are left out.
    pub kinds: BTreeMap<&'static str, KindSize>,
    /// How many payload items were erased.
    pub erased_items: u64,
    /// Events that count: captures, but for those that were retracted.
    pub events: u64,
    /// Living persons; a merged one counts no more.
    pub persons: u64,
    /// Distinct ids ever written, with a person or without.
    pub distinct_ids: u64,
    /// Devices ever written.
    pub devices: u64,
    /// Property keys ever written.
    pub property_keys: u64,
    /// Names of events.
    pub event_names: u64,
    /// What lies in the ledger's directory.
    pub files: FileSizes,
    /// What this opened ledger holds in memory, in bytes.
    pub memory: MemoryUse,
}

/// Records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindSize {
    /// How many records of this kind there are.
    pub records: u64,
    /// Bytes of their bodies and payload items together, as they read when they are opened and but for what is erased; frames and segments
    /// add their headers, hashes and padding, a sealed item 40 bytes.
    pub bytes: u64,
}

/// Files by what they are for (`docs/format.md`, section 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSizes {
    /// The log's segments, with copies that are about to take the place of one.
    pub log: FileSize,
    /// Snapshots: caches, which may be deleted while the ledger is not open.
    pub snapshots: FileSize,
    /// What recovery cut off and kept.
    pub quarantine: FileSize,
    /// `LEDGER`, `HEAD`, `LOCK`, receipts, and whatever else lies beside them.
    pub other: FileSize,
}

/// How many files of one sort there are, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSize {
    /// How many files there are.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Reader {
    /// Counts what the ledger holds. Walks through the whole log, as [`Reader::replay`] does; lengths of files are those of the moment.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
    /// let stats = ledger.reader().stats()?;
    /// assert_eq!((stats.persons, stats.kinds["set"].records), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`], the first.
    pub fn stats(&self) -> Result<Stats, Fault> {
        let mut kinds: BTreeMap<&'static str, KindSize> = BTreeMap::new();
        let mut erased_items = 0;
        let mut first_recorded_at = None;
        self.replay(|step| {
            first_recorded_at.get_or_insert(step.recorded_at);
            let record = step.record;
            let kind = kinds.entry(record.row.kind.name()).or_default();
            kind.records += 1;
            kind.bytes += (record.body_len() + record.stored_item().map_or(0, <[u8]>::len)) as u64;
            erased_items += u64::from(record.is_erased());
        })?;
        let of = |kind: &str| kinds.get(kind).map_or(0, |kind| kind.records);
        Ok(Stats {
            ledger_id: self.ledger_id(),
            records: self.state().records(),
            first_recorded_at: first_recorded_at.expect("there is always the genesis record"),
            last_recorded_at: self.replay.chain().recorded_at(),
            erased_items,
            events: self.state().events(),
            persons: self.state().persons().count() as u64,
            distinct_ids: self.state().ids().len() as u64,
            devices: self.state().devices().len() as u64,
            property_keys: of("define_key"),
            event_names: of("define_name"),
            files: FileSizes::of(&**self.log.storage()).map_err(unlisted)?,
            memory: self.memory(),
            kinds,
        })
    }
}

/// The directories within a ledger's own.
const DIRECTORIES: [&str; 4] = [LOG, SNAPSHOTS, QUARANTINE, RECEIPTS];

/// The directory cannot be listed.
fn unlisted(error: io::Error) -> Fault {
    Fault { file: String::new(), offset: 0, records: 0, kind: FaultKind::Io(error) }
}

impl FileSizes {
    fn of(storage: &dyn Storage) -> io::Result<FileSizes> {
        let within = |dir: &str| {
            let mut size = FileSize::default();
            for name in storage.list(dir)?.into_iter().filter(|name| !DIRECTORIES.contains(&name.as_str())) {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                // What was removed meanwhile has no length, nor has what is not a file.
                if let Some(bytes) = file_len(storage, &path)? {
                    size.files += 1;
                    size.bytes += bytes;
                }
            }
            io::Result::Ok(size)
        };
        let (log, snapshots, quarantine) = (within(LOG)?, within(SNAPSHOTS)?, within(QUARANTINE)?);
        let (beside, receipts) = (within("")?, within(RECEIPTS)?);
        let other = FileSize { files: beside.files + receipts.files, bytes: beside.bytes + receipts.bytes };
        Ok(FileSizes { log, snapshots, quarantine, other })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::erase::{ErasureRequest, ErasureSubject};
    use crate::storage::Memory;
    use crate::{DistinctId, LedgerOptions, Operation, Policy, Tenant, Timestamp};

    /// Sums are held against what is there: every record, every file, and of the log's bytes no more than there are.
    #[test]
    fn what_is_counted_adds_up() {
        let at = Timestamp::from_micros(0).unwrap();
        let storage = Arc::new(Memory::default());
        let mut ledger =
            LedgerOptions::new().create_in(storage.clone(), Tenant::default(), Policy::default()).unwrap();
        for number in 0..100 {
            let id = DistinctId::new(format!("id-{number}")).unwrap();
            let _ = ledger.append(Operation::properties(at, id).set("plan", "pro").unwrap()).unwrap();
        }
        let before = ledger.reader().stats().unwrap();
        ledger.snapshot().unwrap();
        let subject = ErasureSubject::Ids([DistinctId::new("id-5").unwrap()].into());
        ledger.begin_erasures(&[ErasureRequest::new(at, subject, "asked")]).unwrap();
        ledger.finish_erasures(&mut |_| {}).unwrap();
        let stats = ledger.reader().stats().unwrap();
        assert_eq!(stats.kinds.values().map(|kind| kind.records).sum::<u64>(), stats.records);
        assert_eq!(
            (before.persons, stats.persons, stats.distinct_ids, stats.property_keys),
            (100, 100, 100, 1)
        );
        assert_eq!((before.erased_items, stats.erased_items), (0, 2)); // a text, a value
        assert_eq!(stats.kinds["set"].records, 100);
        let bytes = |stats: &Stats| stats.kinds.values().map(|kind| kind.bytes).sum::<u64>();
        assert!(bytes(&stats) < stats.files.log.bytes, "{stats:?}");
        assert!(bytes(&stats) > stats.files.log.bytes / 3, "{stats:?}");
        assert_eq!((before.files.snapshots.files, stats.files.quarantine.files), (0, 0));
        assert_eq!(stats.files.log.bytes, ledger.reader().log_bytes());
    }
}
