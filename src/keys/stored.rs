//! A key ring in a file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::id::LedgerId;
use crate::storage::{Files, Storage, read_all};

use super::KeyProvider;

/// Written over a former ring at a time.
const PIECE_BYTES: usize = 64 * 1_024;

/// A key ring in one file, in a directory or any other storage. Keep it apart from the ledger and from the ledger's backups:
/// together they open.
///
/// While a ring takes the place of a former one, two more files lie beside it for a moment: its name, the ledger's id, and `.new` or `.old`.
/// A former ring is overwritten with zeros before its file is removed. What a file system that copies on write, a flash disk or a
/// backup of the key file keeps of it is out of reach: where that matters, keep rings where old versions can be destroyed.
#[derive(Debug)]
pub struct StoredKeys {
    storage: Arc<dyn Storage>,
    file: String,
    /// How messages name it.
    shown: String,
}

impl StoredKeys {
    /// The ring in this file of a storage.
    pub fn new(storage: Arc<dyn Storage>, file: impl Into<String>) -> StoredKeys {
        let file = file.into();
        let shown = format!("{} in {}", file, storage.describe());
        StoredKeys { storage, file, shown }
    }

    /// The ring in this file of the file system. Its directory must exist.
    ///
    /// # Errors
    /// When the path names no file.
    pub fn file(path: impl AsRef<Path>) -> io::Result<StoredKeys> {
        let path = path.as_ref();
        let no_file =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()));
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_file)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let shown = path.display().to_string();
        Ok(StoredKeys { storage: Arc::new(Files::secret(dir)), file: name.to_owned(), shown })
    }

    /// Where the former ring lies while another takes its place. The ledger's id is part of the name, so that
    /// the file of another ledger has another name.
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
        let there = |file: &str| Ok::<bool, io::Error>(self.storage.len(file)?.is_some());
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

    /// Overwrites and removes the former ring, if one is there.
    fn destroy_former(&self, ledger: LedgerId) -> io::Result<()> {
        let former = self.former(ledger);
        let Some(len) = self.storage.len(&former)? else { return Ok(()) };
        for at in (0..len).step_by(PIECE_BYTES) {
            let piece = (len - at).min(PIECE_BYTES as u64) as usize;
            self.storage.write_at(&former, at, &vec![0; piece])?;
        }
        self.storage.sync(&former)?;
        self.storage.remove(&former)?;
        self.storage.sync_dir("")
    }
}

impl KeyProvider for StoredKeys {
    fn load(&self, ledger: LedgerId) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.current(ledger)? else { return Ok(None) };
        read_all(&*self.storage, &file, u64::MAX)
    }

    fn store(&self, ledger: LedgerId, ring: &[u8]) -> io::Result<()> {
        let (storage, building) = (&*self.storage, self.building(ledger));
        if let Some(current) = self.current(ledger)?.filter(|current| *current != self.file) {
            storage.rename(&current, &self.file)?;
            storage.sync_dir("")?;
        }
        self.destroy_former(ledger)?;
        if storage.len(&building)?.is_some() {
            storage.remove(&building)?;
        }
        storage.create(&building)?;
        storage.write_at(&building, 0, ring)?;
        storage.sync(&building)?;
        storage.sync_dir("")?;
        if storage.len(&self.file)?.is_some() {
            storage.rename(&self.file, &self.former(ledger))?;
        }
        storage.rename(&building, &self.file)?;
        storage.sync_dir("")?;
        self.destroy_former(ledger)
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}
