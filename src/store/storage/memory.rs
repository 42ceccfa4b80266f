//! Storage in memory: for tests, and for folding a file without keeping a ledger.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Lock, Storage};

/// Files in memory. Everything is durable at once; nothing outlives the value.
#[derive(Debug, Default)]
pub struct Memory {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    locked: Arc<AtomicBool>,
}

/// Unlocks when it is dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Clone for Memory {
    /// The files as they are now, and no lock: what a copy of the directory would be.
    fn clone(&self) -> Memory {
        Memory { files: Mutex::new(self.files().clone()), locked: Arc::default() }
    }
}

impl Memory {
    /// No files yet.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Cuts a file, as a crash or a hostile hand may; no ledger does.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn truncate(&self, file: &str, len: u64) -> io::Result<()> {
        let mut files = self.files();
        let content = files.get_mut(file).ok_or_else(|| missing(file))?;
        content.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // plain bytes: no state can be half-made
    }
}

fn missing(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {file} in memory"))
}

impl Storage for Memory {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let files = self.files();
        let names = files.keys().filter_map(|name| name.strip_prefix(&prefix));
        let mut names: Vec<String> =
            names.map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(self.files().get(file).map(|bytes| bytes.len() as u64))
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let files = self.files();
        let bytes = files.get(file).ok_or_else(|| missing(file))?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn create(&self, file: &str) -> io::Result<()> {
        let mut files = self.files();
        if files.contains_key(file) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{file} exists")));
        }
        files.insert(file.to_owned(), Vec::new());
        Ok(())
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        let content = files.get_mut(file).ok_or_else(|| missing(file))?;
        let start = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let end =
            start.checked_add(bytes.len()).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self, _file: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.files().remove(file).map(drop).ok_or_else(|| missing(file))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(file).ok_or_else(|| missing(file))?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        let free = !self.locked.swap(true, Ordering::SeqCst);
        Ok(free.then(|| Lock::new(Held(Arc::clone(&self.locked)))))
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
