//! Snapshots under audit: each is held against what the log folds to at its place. Opening believes far more.

use crate::fold::replay::Step;
use crate::ledger::snapshot::IgnoredSnapshot;
use crate::ledger::snapshot::read::{Read, StoredTexts, malformed};
use crate::log::digest::Digest;
use crate::log::payload::Keys;
use crate::model::id::LedgerId;
use crate::query::reader::Reader;
use crate::store::dictionary::{Dictionaries, Dictionary};
use crate::store::segments::Mark;
use crate::store::segments::SnapshotFault;
use crate::store::storage::Storage;

/// The snapshots of a ledger, while its log is walked.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    checks: Vec<Check>,
    faults: Vec<IgnoredSnapshot>,
}

/// One that could be read.
#[derive(Debug)]
struct Check {
    read: Read,
    marks: Vec<Mark>,
    /// What the log says: operation ids before the snapshot's place, and the state there.
    operation_ids: Vec<u64>,
    state: Option<Digest>,
}

impl Checks {
    /// Reads the snapshots that cover these numbers of records. One of another version is not judged: it is of use to none but
    /// that version.
    pub(crate) fn begin(storage: &dyn Storage, ledger: LedgerId, keys: &Keys, found: &[u64]) -> Checks {
        let mut checks = Checks::default();
        for read in found.iter().filter_map(|records| Read::open(storage, *records, ledger, keys)) {
            let judged = read.and_then(|read| match read.restore() {
                Ok(restored) => {
                    let marks = restored.marks;
                    Ok(Check { read, marks, operation_ids: Vec::new(), state: None })
                }
                Err(why) => Err(IgnoredSnapshot { file: read.file, why }),
            });
            match judged {
                Ok(check) => checks.checks.push(check),
                Err(IgnoredSnapshot { why: SnapshotFault::Version { .. }, .. }) => {}
                Err(fault) => checks.faults.push(fault),
            }
        }
        checks
    }

    /// Takes note of a record.
    pub(crate) fn step(&mut self, step: Step<'_>) {
        let seq = step.record.seq().0;
        for Check { read, operation_ids, state, .. } in &mut self.checks {
            let covered = read.header.end.checkpoint.records;
            if seq < covered
                && let Some(id) = step.record.operation_id()
            {
                operation_ids.push(u64::from(read.header.key.fingerprint(&id.0)) << 32 | seq);
            }
            if seq + 1 == covered {
                *state = Some(step.state.digest());
            }
        }
    }

    /// What is wrong with which, and how many records the good ones cover. Of a log that is broken before a snapshot's place
    /// nothing can be said about that snapshot.
    pub(crate) fn finish(
        self,
        reader: &Reader,
        dictionaries: &Dictionaries,
        broken: bool,
    ) -> (Vec<IgnoredSnapshot>, Vec<u64>) {
        let Checks { checks, mut faults } = self;
        let mut good = Vec::new();
        let found = reader.checkpoint().records;
        let last_erasure = reader.state().erasures().last().map(u64::from);
        for mut check in checks {
            let expected = check.read.header.end.checkpoint.records;
            if Some(expected) <= last_erasure {
                continue; // the next writer removes it, unread; if one should have done so already, the audit says it
            }
            let why = if expected <= found {
                check.against(reader, dictionaries).err()
            } else if broken {
                continue;
            } else {
                Some(SnapshotFault::Ahead { found, expected })
            };
            match why {
                None => good.push(expected),
                Some(why) => faults.push(IgnoredSnapshot { file: check.read.file, why }),
            }
        }
        (faults, good)
    }
}

impl Check {
    fn against(&mut self, reader: &Reader, dictionaries: &Dictionaries) -> Result<(), SnapshotFault> {
        let header = &self.read.header;
        let expected = header.end.checkpoint;
        let end = reader.log.end_of(expected).ok().flatten();
        if end.as_ref().map(|end| reader.log.place(end.place)) != Some(header.tail) {
            return Err(SnapshotFault::Elsewhere { expected });
        }
        if end.is_none_or(|end| end.recorded_at != header.end.recorded_at) {
            return Err(SnapshotFault::Differs { what: "time of its last record" });
        }
        let covered = expected.records;
        let expected = self.state.ok_or(malformed("it was made inside a frame"))?;
        if header.state != expected {
            return Err(SnapshotFault::State { found: header.state, expected });
        }
        let differs = |what| Err(SnapshotFault::Differs { what });
        for (stored, dictionary) in self.read.parts()?.texts.into_iter().zip(dictionaries.all()) {
            if !begins(dictionary, stored) {
                return differs("texts");
            }
        }
        self.operation_ids.sort_unstable();
        if self.read.operation_ids()? != self.operation_ids {
            return differs("operation ids");
        }
        let before = |mark: &&Mark| mark.before.next_seq() < covered;
        if !reader.log.marks().iter().take_while(before).eq(&self.marks) {
            return differs("places");
        }
        Ok(())
    }
}

/// Whether a dictionary begins with these texts.
fn begins(dictionary: &Dictionary, stored: StoredTexts<'_>) -> bool {
    let (lengths, texts) = dictionary.stored();
    let count = stored.lengths.len();
    texts.starts_with(stored.texts) && lengths.take(count).eq(stored.lengths.iter().copied())
}
