//! A directory of a simulated disk, as the place of a ledger.

use std::io;
use std::sync::Arc;

use crate::store::storage::{LedgerPlace, Lock, Occupant, Storage};
use crate::testing::disk::contents::moved;
use crate::testing::disk::{Call, SimulatedDisk};

/// A place for a ledger on a simulated disk: a directory in the disk's own. An empty directory is not kept.
#[derive(Clone, Debug)]
pub struct SimulatedPlace {
    pub(super) disk: Arc<SimulatedDisk>,
    pub(super) name: String,
}

impl SimulatedPlace {
    /// The directory of this name on a disk.
    pub fn new(disk: Arc<SimulatedDisk>, name: &str) -> SimulatedPlace {
        SimulatedPlace { disk, name: name.to_owned() }
    }

    fn building(&self, tag: &str) -> String {
        format!(".{}.new-{tag}", self.name)
    }
}

impl LedgerPlace for SimulatedPlace {
    fn look(&self) -> io::Result<Occupant> {
        let names = self.disk.list(&self.name)?;
        Ok(if names.is_empty() { Occupant::Nothing } else { Occupant::Directory(names) })
    }

    fn create(&self) -> io::Result<()> {
        self.disk.call(Call::CreateDir, &self.name, |_, _| Ok(()))
    }

    fn build(&self, tag: &str) -> io::Result<Arc<dyn Storage>> {
        let dir = self.building(tag);
        self.disk.call(Call::CreateDir, &dir, |_, _| Ok(()))?;
        Ok(Arc::new(Within { disk: self.disk.clone(), dir }))
    }

    fn put(&self, tag: &str) -> io::Result<()> {
        let dir = self.building(tag);
        self.disk.call(Call::RenameDir, &dir, |state, _| state.contents.rename_dir(&dir, &self.name))
    }

    fn discard(&self, tag: &str) -> io::Result<()> {
        let dir = self.building(tag);
        self.disk.call(Call::RemoveDir, &dir, |state, _| {
            let names: Vec<Arc<str>> = state.contents.names.keys().cloned().collect();
            let mut inside = names.iter().filter(|name| moved(name, &dir, "").is_some());
            inside.try_for_each(|name| state.contents.remove(name))
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir("")
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(Within { disk: self.disk.clone(), dir: self.name.clone() })
    }

    fn describe(&self) -> String {
        format!("{} of {}", self.name, self.disk.describe())
    }
}

/// The storage in a directory of a simulated disk. The disk's lock is its lock.
#[derive(Debug)]
struct Within {
    pub(super) disk: Arc<SimulatedDisk>,
    pub(super) dir: String,
}

impl Within {
    fn path(&self, name: &str) -> String {
        if name.is_empty() { self.dir.clone() } else { format!("{}/{name}", self.dir) }
    }
}

impl Storage for Within {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(&self.path(dir))
    }
    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.disk.len(&self.path(file))
    }
    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(&self.path(file), offset, out)
    }
    fn create(&self, file: &str) -> io::Result<()> {
        self.disk.create(&self.path(file))
    }
    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(&self.path(file), offset, bytes)
    }
    fn sync(&self, file: &str) -> io::Result<()> {
        self.disk.sync(&self.path(file))
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(&self.path(dir))
    }
    fn remove(&self, file: &str) -> io::Result<()> {
        self.disk.remove(&self.path(file))
    }
    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(file), &self.path(to))
    }
    fn lock(&self) -> io::Result<Option<Lock>> {
        self.disk.lock()
    }
    fn sync_name(&self) -> io::Result<()> {
        self.disk.sync_dir("")
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
}
