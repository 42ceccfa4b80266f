//! A key ring in a file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::id::LedgerId;
use crate::store::storage::{Lock, Storage, read_all};

use super::KeyProvider;
use super::place::Place;

/// Written over a former ring at a time.
const PIECE_BYTES: usize = 64 * 1_024;
/// How often a ring is read while a writer stores others.
const READ_ATTEMPTS: usize = 100;

/// A key ring in one file, in a directory or any other storage. Keep it apart from the ledger and from the ledger's backups:
/// together they open.
///
/// One writer has it at a time. The lock is a file beside it, the ring's name and `.lock`, which stays. While a ring replaces a former one,
/// two more files lie there for a moment: its name, the ledger's id, and `.new` or `.old`. The ring that replaces another has its mode, owner
/// and group; a first one is for its owner alone. A path may lead over symbolic links: they are resolved once, here, and the file they lead
/// to is the ring.
///
/// A former ring is overwritten with zeros before its file is removed. What a file system that copies on write, a flash disk or a
/// backup of the key file keeps of it is out of reach: where that matters, keep rings where old versions can be destroyed.
#[derive(Debug)]
pub struct StoredKeys {
    place: Where,
    file: String,
    /// How messages name it.
    shown: String,
}

#[derive(Debug)]
enum Where {
    File(Place),
    /// In a storage, and whether a writer has it.
    Storage(Arc<dyn Storage>, Arc<AtomicBool>),
}

/// Gives the ring back when it is dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl StoredKeys {
    /// The ring in this file of a storage. Only writers that are given this very value keep out each other: for files, use
    /// [`StoredKeys::file`].
    pub fn new(storage: Arc<dyn Storage>, file: impl Into<String>) -> StoredKeys {
        let file = file.into();
        let shown = format!("{} in {}", file, storage.describe());
        StoredKeys { place: Where::Storage(storage, Arc::default()), file, shown }
    }

    /// The ring in this file of the file system. Its directory must exist.
    ///
    /// # Errors
    /// When the path does not name a regular file, or its directory cannot be found.
    pub fn file(path: impl AsRef<Path>) -> io::Result<StoredKeys> {
        let path = path.as_ref();
        let place = Place::of(path)?;
        let shown = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => {
                format!("{} (a link to {})", path.display(), place.path().display())
            }
            _ => path.display().to_string(),
        };
        Ok(StoredKeys { file: place.ring().to_owned(), place: Where::File(place), shown })
    }

    fn storage(&self) -> &dyn Storage {
        match &self.place {
            Where::File(place) => place,
            Where::Storage(storage, _) => &**storage,
        }
    }

    /// Where the former ring lies while another replaces it. The ledger's id is part of the name, so that no other file is
    /// called so.
    fn former(&self, ledger: LedgerId) -> String {
        format!("{}.{}.old", self.file, ledger.0)
    }

    /// Where a ring is written before it has its place.
    fn building(&self, ledger: LedgerId) -> String {
        format!("{}.{}.new", self.file, ledger.0)
    }

    /// The file that holds the ring, if there is one. A store that was cut off between its two renames leaves none of the right
    /// name and both others whole; one without a former ring beside it was never whole.
    fn current(&self, ledger: LedgerId) -> io::Result<Option<String>> {
        let there = |file: &str| Ok::<bool, io::Error>(self.storage().len(file)?.is_some());
        Ok(if there(&self.file)? {
            Some(self.file.clone())
        } else if !there(&self.former(ledger))? {
            None
        } else if there(&self.building(ledger))? {
            Some(self.building(ledger))
        } else {
            Some(self.former(ledger))
        })
    }

    fn read(&self, ledger: LedgerId) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.current(ledger)? else { return Ok(None) };
        read_all(self.storage(), &file, u64::MAX)
    }

    /// Gives the ring its name, if a store was cut off, and clears what it left. Then the files beside it are not needed.
    fn tidy(&self, ledger: LedgerId) -> io::Result<()> {
        let (storage, building) = (self.storage(), self.building(ledger));
        if let Some(current) = self.current(ledger)?.filter(|current| *current != self.file) {
            storage.rename(&current, &self.file)?;
            storage.sync_dir("")?;
        }
        self.destroy(&self.former(ledger))?;
        if storage.len(&building)?.is_some() {
            storage.remove(&building)?;
        }
        Ok(())
    }

    /// Writes a file beside the ring and makes it durable.
    fn build(&self, ledger: LedgerId, bytes: &[u8]) -> io::Result<()> {
        let (storage, building) = (self.storage(), self.building(ledger));
        storage.create(&building)?;
        storage.write_at(&building, 0, bytes)?;
        storage.sync(&building)?;
        storage.sync_dir("")
    }

    /// Overwrites and removes a file, if it is there.
    fn destroy(&self, file: &str) -> io::Result<()> {
        let storage = self.storage();
        let Some(len) = storage.len(file)? else { return Ok(()) };
        for at in (0..len).step_by(PIECE_BYTES) {
            let piece = (len - at).min(PIECE_BYTES as u64) as usize;
            storage.write_at(file, at, &vec![0; piece])?;
        }
        storage.sync(file)?;
        storage.remove(file)?;
        storage.sync_dir("")
    }
}

impl KeyProvider for StoredKeys {
    /// Reads it twice, and again until both are the same: a writer may store another one meanwhile, and overwrite this one.
    fn load(&self, ledger: LedgerId) -> io::Result<Option<Vec<u8>>> {
        let mut last = self.read(ledger);
        for _ in 0..READ_ATTEMPTS {
            let again = self.read(ledger);
            match (&last, &again) {
                (Ok(last), Ok(again)) if last == again => break,
                (Err(last), Err(again)) if last.kind() == again.kind() => break,
                _ => last = again,
            }
        }
        last
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        match &self.place {
            Where::File(place) => place.lock(),
            Where::Storage(_, held) => {
                let free = !held.swap(true, Ordering::SeqCst);
                Ok(free.then(|| Lock::new(Held(Arc::clone(held)))))
            }
        }
    }

    fn store(&self, ledger: LedgerId, ring: &[u8]) -> io::Result<()> {
        let storage = self.storage();
        self.tidy(ledger)?;
        self.build(ledger, ring)?;
        if storage.len(&self.file)?.is_some() {
            storage.rename(&self.file, &self.former(ledger))?;
        }
        storage.rename(&self.building(ledger), &self.file)?;
        storage.sync_dir("")?;
        self.destroy(&self.former(ledger))
    }

    fn probe(&self, ledger: LedgerId, bytes: usize) -> io::Result<()> {
        self.tidy(ledger)?;
        let built = self.build(ledger, &vec![0; bytes]);
        let building = self.building(ledger);
        if self.storage().len(&building)?.is_some() {
            self.storage().remove(&building)?;
        }
        built
    }

    fn discard(&self, ledger: LedgerId) -> io::Result<()> {
        for file in [self.building(ledger), self.former(ledger), self.file.clone()] {
            self.destroy(&file)?;
        }
        match &self.place {
            Where::File(place) => place.forget_lock(),
            Where::Storage(..) => Ok(()),
        }
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}
