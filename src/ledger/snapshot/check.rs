//! Snapshots under audit: each is held against what the log folds to at its place. Opening believes far more.

use crate::fold::replay::Step;
use crate::ledger::snapshot::IgnoredSnapshot;
use crate::ledger::snapshot::read::{Outline, Read, StoredTexts, entries_digest, malformed};
use crate::log::chain::ChainPlace;
use crate::log::digest::Digest;
use crate::log::payload::Keys;
use crate::model::id::LedgerId;
use crate::query::reader::Reader;
use crate::store::dictionary::{Dictionaries, Dictionary, FingerprintKey, Seen};
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
    file: String,
    outline: Outline,
    /// What the log says: the state at the snapshot's place, and whether it defines as much as the snapshot says.
    state: Option<(Digest, bool)>,
    /// Operation ids before that place, if the audit does not know them by the same key.
    operation_ids: Option<Vec<u64>>,
}

impl Checks {
    /// Reads the snapshots that cover these numbers of records. One of another version is not judged: it is of use to none but
    /// that version.
    pub(crate) fn begin(storage: &dyn Storage, ledger: LedgerId, keys: &Keys, found: &[u64]) -> Checks {
        let mut checks = Checks::default();
        for read in found.iter().filter_map(|records| Read::open(storage, *records, ledger, keys)) {
            let judged = read.and_then(|read| match read.outline() {
                Ok(outline) => {
                    let is_known = checks.key().is_none_or(|key| key == outline.header.key);
                    let operation_ids = (!is_known).then(Vec::new);
                    Ok(Check { file: read.file, outline, state: None, operation_ids })
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

    /// The key under which the audit knows operation ids, so that it need not list them for the newest snapshot once more.
    pub(crate) fn key(&self) -> Option<FingerprintKey> {
        self.checks.first().map(|check| check.outline.header.key)
    }

    /// Takes note of a record.
    pub(crate) fn step(&mut self, step: Step<'_>) {
        let seq = step.record.seq().0;
        for Check { outline, operation_ids, state, .. } in &mut self.checks {
            let ChainPlace { checkpoint, defined, .. } = outline.header.end;
            if seq < checkpoint.records
                && let Some(entries) = operation_ids
                && let Some(id) = step.record.operation_id()
            {
                entries.push(u64::from(outline.header.key.fingerprint(&id.0)) << 32 | seq);
            }
            if seq + 1 == checkpoint.records {
                let here = step.state;
                let fits = here.ids().len() == defined.ids as usize
                    && here.devices().len() == defined.devices as usize
                    && here.keys() == defined.keys
                    && defined.sum() <= checkpoint.records;
                *state = Some((here.digest(), fits));
            }
        }
    }

    /// What is wrong with which, and how many records the good ones cover. Of a log that is broken before a snapshot's place
    /// nothing can be said about that snapshot.
    pub(crate) fn finish(
        self,
        reader: &Reader,
        dictionaries: &Dictionaries,
        seen: &Seen,
        broken: bool,
    ) -> (Vec<IgnoredSnapshot>, Vec<u64>) {
        let Checks { checks, mut faults } = self;
        let mut good = Vec::new();
        let found = reader.checkpoint().records;
        let last_erasure = reader.state().erasures().last().map(u64::from);
        for mut check in checks {
            let expected = check.outline.header.end.checkpoint.records;
            if Some(expected) <= last_erasure {
                continue; // the next writer removes it, unread; if one should have done so already, the audit says it
            }
            let why = if expected <= found {
                check.against(reader, dictionaries, seen).err()
            } else if broken {
                continue;
            } else {
                Some(SnapshotFault::Ahead { found, expected })
            };
            match why {
                None => good.push(expected),
                Some(why) => faults.push(IgnoredSnapshot { file: check.file, why }),
            }
        }
        (faults, good)
    }
}

impl Check {
    fn against(
        &mut self,
        reader: &Reader,
        dictionaries: &Dictionaries,
        seen: &Seen,
    ) -> Result<(), SnapshotFault> {
        let Outline { header, marks, texts, entries } = &self.outline;
        let expected = header.end.checkpoint;
        let end = reader.log.end_of(expected).ok().flatten();
        if end.as_ref().map(|end| reader.log.place(end.place)) != Some(header.tail) {
            return Err(SnapshotFault::Elsewhere { expected });
        }
        if end.is_none_or(|end| end.recorded_at != header.end.recorded_at) {
            return Err(SnapshotFault::Differs { what: "time of its last record" });
        }
        let covered = expected.records;
        let (expected, fits) = self.state.ok_or(malformed("it was made inside a frame"))?;
        if header.state != expected {
            return Err(SnapshotFault::State { found: header.state, expected });
        }
        if !fits {
            return Err(malformed("its state is of another place in the log"));
        }
        let differs = |what| Err(SnapshotFault::Differs { what });
        let counts = header.end.defined;
        let counts = [counts.ids, counts.devices, counts.keys, counts.names];
        for (((digest, bytes), count), dictionary) in texts.iter().zip(counts).zip(dictionaries.all()) {
            if digest_of_first(dictionary, count as usize, *bytes) != Some(*digest) {
                return differs("texts");
            }
        }
        let found = match &mut self.operation_ids {
            Some(listed) => {
                listed.sort_unstable();
                entries_digest(listed.iter().copied())
            }
            None => entries_digest(seen.listed_before(covered)),
        };
        if found != *entries {
            return differs("operation ids");
        }
        let before = |mark: &&Mark| mark.before.next_seq() < covered;
        if !reader.log.marks().iter().take_while(before).eq(marks) {
            return differs("places");
        }
        Ok(())
    }
}

/// The digest of the first `count` texts, which have `bytes` bytes; `None` if there are fewer.
fn digest_of_first(dictionary: &Dictionary, count: usize, bytes: usize) -> Option<Digest> {
    let (lengths, texts) = dictionary.stored();
    let lengths: Vec<[u8; 2]> = lengths.take(count).collect();
    let texts = texts.get(..bytes).filter(|_| lengths.len() == count)?;
    Some(StoredTexts { lengths: &lengths, texts }.digest())
}
