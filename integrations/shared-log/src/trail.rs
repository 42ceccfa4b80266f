//! The trail: a file beside the ledger with the digest of each message that was recorded, by position. With it a stream that gives another
//! message than before is noticed. It is evidence, not history: a node that was restored without it follows all the same.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use identity_ledger::Timestamp;

use crate::stop::Stop;

/// An entry: position, digest, and a check over both. The file is not synced: after a power failure an entry may be half of one.
const ENTRY: u64 = 8 + 32 + 8;

/// The digest of a message.
pub type MessageDigest = [u8; 32];

/// The digest of a message: what it says, and when the stream took it.
pub fn digest(recorded_at: Timestamp, payload: &[u8]) -> MessageDigest {
    let mut hasher = blake3::Hasher::new_derive_key("identity-ledger 2026-11-29 v1 stream message");
    hasher.update(&recorded_at.as_micros().to_le_bytes());
    *hasher.update(payload).finalize().as_bytes()
}

/// The trail of one node.
#[derive(Debug)]
pub struct Trail {
    file: File,
    name: String,
    entries: u64,
}

impl Trail {
    /// Opens it, and forgets what is behind the ledger's position: the ledger is what counts.
    ///
    /// # Errors
    /// [`Stop::File`].
    pub fn open(path: &Path, position: u64) -> Result<Trail, Stop> {
        let name = path.display().to_string();
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let entries = file.metadata()?.len() / ENTRY;
            Ok((file, entries))
        };
        let (file, entries) = open().map_err(|source| Stop::File { file: name.clone(), source })?;
        let mut trail = Trail { file, name, entries };
        while trail.entries > 0 && trail.entry(trail.entries - 1)?.is_none_or(|(last, _)| last > position) {
            trail.entries -= 1;
        }
        trail.file.set_len(trail.entries * ENTRY).map_err(|source| trail.failed(source))?;
        Ok(trail)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`Stop::File`].
    pub fn read(path: &Path) -> Result<Option<Trail>, Stop> {
        let name = path.display().to_string();
        match File::open(path).and_then(|file| Ok((file.metadata()?.len() / ENTRY, file))) {
            Ok((entries, file)) => Ok(Some(Trail { file, name, entries })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Stop::File { file: name, source }),
        }
    }

    fn failed(&self, source: std::io::Error) -> Stop {
        Stop::File { file: self.name.clone(), source }
    }

    /// An entry of the file; `None` if it is damaged, or behind the last.
    fn entry(&self, index: u64) -> Result<Option<(u64, MessageDigest)>, Stop> {
        if index >= self.entries {
            return Ok(None);
        }
        let mut bytes = [0; ENTRY as usize];
        self.file.read_exact_at(&mut bytes, index * ENTRY).map_err(|source| self.failed(source))?;
        let position = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        let digest = bytes[8..40].try_into().expect("32 bytes");
        Ok((encode(position, digest) == bytes).then_some((position, digest)))
    }

    /// The digest of the message at a position, if it was noted and is readable. A binary search: positions ascend.
    ///
    /// # Errors
    /// [`Stop::File`].
    pub fn at(&self, position: u64) -> Result<Option<MessageDigest>, Stop> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)? {
                Some((found, digest)) if found == position => return Ok(Some(digest)),
                Some((found, _)) if found < position => low = middle + 1,
                Some(_) => high = middle,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Notes messages that are durable in the ledger. Not synced: what a power failure takes away is not compared later.
    ///
    /// # Errors
    /// [`Stop::File`].
    pub fn note(&mut self, messages: impl Iterator<Item = (u64, MessageDigest)>) -> Result<(), Stop> {
        let mut bytes = Vec::new();
        for (position, digest) in messages {
            bytes.extend(encode(position, digest));
        }
        self.file.write_all_at(&bytes, self.entries * ENTRY).map_err(|source| self.failed(source))?;
        self.entries += bytes.len() as u64 / ENTRY;
        Ok(())
    }
}

fn encode(position: u64, digest: MessageDigest) -> [u8; ENTRY as usize] {
    let mut bytes = [0; ENTRY as usize];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..40].copy_from_slice(&digest);
    let check = blake3::hash(&bytes[..40]);
    bytes[40..].copy_from_slice(&check.as_bytes()[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> MessageDigest {
        super::digest(Timestamp::from_micros(0).unwrap(), &[byte])
    }

    #[test]
    fn a_trail_is_found_by_position_and_never_ahead_of_its_ledger() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("trail");
        let mut trail = Trail::open(&path, 0).unwrap();
        trail.note((3..90).map(|position| (position * 2, digest(position as u8)))).unwrap();
        drop(trail);
        let trail = Trail::open(&path, 101).unwrap();
        assert_eq!(trail.at(100).unwrap(), Some(digest(50)));
        assert_eq!(trail.at(6).unwrap(), Some(digest(3)));
        for absent in [0, 5, 7, 101, 102] {
            assert_eq!(trail.at(absent).unwrap(), None);
        }
        // Torn by a power failure: the last entries are half there, and one in the middle is zeros.
        drop(trail);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        file.write_all_at(&[0; 60], len - 60).unwrap();
        file.write_all_at(&[0; ENTRY as usize], 10 * ENTRY).unwrap();
        let trail = Trail::open(&path, 101).unwrap();
        assert_eq!(trail.entries, len / ENTRY - 2);
        assert_eq!([26, 94, 98].map(|position| trail.at(position).unwrap().is_some()), [false, true, false]);
    }
}
