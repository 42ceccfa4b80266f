//! Receipts: what a copy of a ledger that follows a log took out of its files, each removal in a file beside the chain. The chain is the same for
//! all followers, and when each removed what is erased is its own. Other ledgers have records for that.

use std::io;

use crate::log::body::Removal;
use crate::log::chain::Checkpoint;
use crate::log::codec::{self, Decode, Encode};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::model::id::LedgerId;
use crate::store::layout::{BUILDING, RECEIPTS, last_erasure_of, receipt_name};
use crate::store::storage::{Storage, read_all, remove_file};

const MAGIC: [u8; 8] = *b"\x89ILR\r\n\x1a\n";

/// Largest receipt that is read: as many segments as a log has, and three million erasures that were done together.
const MAX_BYTES: u64 = 128 << 20;

/// What was taken out of the files of one copy at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The log as it was then. All of it was durable.
    pub(crate) checkpoint: Checkpoint,
    /// For which erasures, and from which segments, in as many parts as records would be.
    pub(crate) removals: Vec<Removal>,
}

/// How a receipt begins. Its parts follow, each as an erase_done record has it.
#[derive(Encode, Decode)]
struct Beginning {
    ledger: [u8; 16],
    records: u64,
    head: [u8; 32],
}

impl Taken {
    /// The last erasure that it is for: with it all before are done.
    pub(crate) fn last(&self) -> Option<u32> {
        self.removals.last()?.erasures.last().map(|removed| removed.erase)
    }

    fn to_bytes(&self, ledger: LedgerId) -> Vec<u8> {
        let Checkpoint { records, head } = self.checkpoint;
        let mut out = MAGIC.to_vec();
        codec::encode(&Beginning { ledger: *ledger.0.as_bytes(), records, head: head.0 }, &mut out);
        self.removals.iter().for_each(|removal| codec::encode(removal, &mut out));
        let digest = Hasher::new(Purpose::File).update(&out).finish();
        out.extend_from_slice(&digest.0);
        out
    }

    /// Written again, it gives the same bytes: magic, ledger and digest are checked with it.
    fn parse(bytes: &[u8], ledger: LedgerId) -> Option<Taken> {
        let content = bytes.strip_prefix(&MAGIC)?.split_last_chunk::<32>()?.0;
        let (Beginning { records, head, .. }, mut at) = codec::decode(content).ok()?;
        let mut removals = Vec::new();
        while at < content.len() {
            let (removal, taken) = codec::decode(&content[at..]).ok()?;
            removals.push(removal);
            at += taken;
        }
        let taken = Taken { checkpoint: Checkpoint { records, head: Digest(head) }, removals };
        (taken.to_bytes(ledger) == bytes).then_some(taken)
    }

    /// Makes it durable: before and after a crash it is there, whole, or not.
    pub(crate) fn write(&self, storage: &dyn Storage, ledger: LedgerId) -> io::Result<()> {
        let Some(last) = self.last() else { return Ok(()) };
        let building = format!("{RECEIPTS}/{:020}{BUILDING}", 0); // always the same, so that none is left behind for long
        if storage.len(&building)?.is_some() {
            remove_file(storage, &building)?; // a crash left it behind
        }
        storage.create(&building)?;
        storage.write_at(&building, 0, &self.to_bytes(ledger))?;
        storage.sync(&building)?;
        storage.rename(&building, &receipt_name(last))?;
        storage.sync_dir(RECEIPTS)
    }
}

/// The last erasures of the removals that have a receipt, ascending. Not each receipt need be whole.
pub(crate) fn list(storage: &dyn Storage) -> io::Result<Vec<u32>> {
    let mut found: Vec<u32> =
        storage.list(RECEIPTS)?.iter().filter_map(|name| last_erasure_of(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The receipt of the removal whose last erasure is this one; `None` if it is missing or damaged.
pub(crate) fn read(storage: &dyn Storage, ledger: LedgerId, last: u32) -> io::Result<Option<Taken>> {
    match read_all(storage, &receipt_name(last), MAX_BYTES) {
        Ok(bytes) => Ok(bytes
            .and_then(|bytes| Taken::parse(&bytes, ledger))
            .filter(|taken| taken.last() == Some(last))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None), // too long to be one
        Err(error) => Err(error),
    }
}

/// The newest whole one.
pub(crate) fn newest(storage: &dyn Storage, ledger: LedgerId) -> io::Result<Option<Taken>> {
    for last in list(storage)?.into_iter().rev() {
        let taken = read(storage, ledger, last)?;
        if taken.is_some() {
            return Ok(taken);
        }
    }
    Ok(None)
}

/// As [`list`], those that are whole and those that are damaged.
pub(crate) fn judged(storage: &dyn Storage, ledger: LedgerId) -> io::Result<[Vec<u32>; 2]> {
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    for last in list(storage)? {
        let one = if read(storage, ledger, last)?.is_some() { &mut whole } else { &mut damaged };
        one.push(last);
    }
    Ok([whole, damaged])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::{ErasureCompletion, RewrittenSegment};
    use crate::store::storage::Memory;

    fn taken(last: u32) -> Taken {
        let erasures = [last - 1, last].map(|erase| ErasureCompletion { erase, items: 3 }).into();
        let segment = RewrittenSegment {
            first_seq: 0,
            bytes_before: 9,
            bytes_after: 8,
            before: [1; 32],
            after: [2; 32],
        };
        let checkpoint = Checkpoint { records: u64::from(last) + 2, head: Digest([7; 32]) };
        let parts = [(Vec::new(), vec![segment]), (erasures, Vec::new())];
        let removals = parts.map(|(erasures, segments)| Removal { erasures, segments }).into();
        Taken { checkpoint, removals }
    }

    #[test]
    fn the_newest_whole_receipt_counts_and_every_flip_is_noticed() {
        let (storage, ledger) = (Memory::new(), LedgerId(uuid::Uuid::from_u128(7)));
        assert_eq!(newest(&storage, ledger).unwrap(), None);
        storage.create(&format!("{RECEIPTS}/{:020}{BUILDING}", 0)).unwrap(); // of a removal that a crash cut off, and that had another end
        for last in [5, 9] {
            taken(last).write(&storage, ledger).unwrap();
            taken(last).write(&storage, ledger).unwrap(); // after a crash again
            assert_eq!(newest(&storage, ledger).unwrap(), Some(taken(last)));
        }
        assert_eq!(read(&storage, LedgerId(uuid::Uuid::nil()), 9).unwrap(), None, "another ledger's");
        assert_eq!(storage.list(RECEIPTS).unwrap().len(), 2, "nothing is left of what was cut off");
        let (name, bytes) = (receipt_name(9), taken(9).to_bytes(ledger));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes[bit / 8..=bit / 8].to_vec();
            flipped[0] ^= 1 << (bit % 8);
            storage.write_at(&name, bit as u64 / 8, &flipped).unwrap();
            assert_eq!(newest(&storage, ledger).unwrap(), Some(taken(5)), "bit {bit}");
            storage.write_at(&name, bit as u64 / 8, &bytes[bit / 8..=bit / 8]).unwrap();
        }
        storage.rename(&name, &receipt_name(11)).unwrap();
        assert_eq!(judged(&storage, ledger).unwrap(), [vec![5], vec![11]], "it tells of other erasures");
    }
}
