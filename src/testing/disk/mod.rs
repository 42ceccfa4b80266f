//! A disk that knows what a power cut would leave, and fails when told to. It keeps bytes and names, and knows nothing of ledgers.
//!
//! What a program reads back and what the next power cut leaves are two things. A [`SimulatedDisk`] holds both. Between them
//! stand the pending [facts](SimulatedDisk::pending): sectors of 512 bytes, lengths of files, names in directories, each of
//! which the disk may or may not have kept. A crash is the durable state and *any subset* of the facts, in the order in which they came about:
//!
//! ```
//! use std::sync::Arc;
//! use identity_ledger::testing::disk::{SimulatedDisk, Subset};
//! use identity_ledger::{Durability, LedgerOptions, Policy, Tenant, Operation, DistinctId, Timestamp};
//!
//! let disk = Arc::new(SimulatedDisk::new());
//! let options = || LedgerOptions::new().durability(Durability::Buffered);
//! let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default())?;
//! let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("ann")?))?;
//! assert!(disk.pending() > 0, "written, but not synced");
//!
//! // Power fails. Whatever the disk kept of the append, the ledger opens: with the append or without.
//! for subset in Subset::all_or_some(disk.pending(), 12, 1_000, 1) {
//!     let after = LedgerOptions::new().open_in(Arc::new(disk.crashed(&subset)))?;
//!     assert!([None, Some("ann")].contains(&after.reader().id_no("ann").map(|_| "ann")));
//! }
//!
//! ledger.flush()?;
//! let after = LedgerOptions::new().open_in(Arc::new(disk.crashed(&Subset::none())))?;
//! assert!(after.reader().id_no("ann").is_some(), "what was flushed is there");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it takes for granted
//!
//! * A sector is written whole or not at all. Sectors of one write may survive in any combination.
//! * A rename is one fact: after a crash there is the old or the new file under the name. So is the rename of a directory.
//! * A directory is durable once something is created in it; the names in it are not, until [`Storage::sync_dir`].
//! * [`Storage::sync`] makes the bytes and the length of a file durable, and not its name: no more than POSIX promises.

mod contents;
mod place;
mod subset;

pub use contents::SECTOR_BYTES;
use contents::{Bytes, Contents, Fact};
pub use place::SimulatedPlace;
pub use subset::Subset;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::storage::{Lock, Storage};

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the method of `Storage` of the same name, or what `SimulatedPlace` does to a directory"
)]
pub enum Call {
    List,
    Len,
    ReadAt,
    Create,
    WriteAt,
    Sync,
    SyncDir,
    Remove,
    Rename,
    Lock,
    CreateDir,
    RenameDir,
    RemoveDir,
}

/// What goes wrong with a call.
///
/// [`io::ErrorKind::Interrupted`] is an error as any other: a storage repeats interrupted system calls itself, as
/// [`Files`](crate::storage::Files) does, so one that comes through is a failure, and a ledger does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Any call fails, and does nothing.
    Fails(io::ErrorKind),
    /// Any call does its work, durably, and says that it failed.
    FailsAfterwards(io::ErrorKind),
    /// A write fails when half of its bytes are written. A read gives the first half only, as if the file ended.
    Short,
    /// A sync fails, and the operating system takes the pages for clean: the bytes stay readable, and no later sync
    /// writes them. Lengths stay pending. (This is what Linux does.)
    CleanPages,
    /// A sync, of a file or a directory, does nothing and says that it did. That cannot be noticed before the
    /// power cut.
    Lies,
    /// A read gives the bytes as they were before the file's last sync: a write that the disk lost.
    Stale,
}

impl DiskFault {
    /// Whether this can happen to that call.
    pub fn fits(self, call: Call) -> bool {
        match self {
            DiskFault::Fails(_) | DiskFault::FailsAfterwards(_) => true,
            DiskFault::Short => matches!(call, Call::WriteAt | Call::ReadAt),
            DiskFault::CleanPages => call == Call::Sync,
            DiskFault::Lies => matches!(call, Call::Sync | Call::SyncDir),
            DiskFault::Stale => call == Call::ReadAt,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Scheduled {
    first: u64,
    last: u64,
    fault: DiskFault,
}

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    calls: Vec<Call>,
    faults: Vec<Scheduled>,
    /// Bytes that may still be added, if the disk is small.
    room: Option<u64>,
    /// What there was after each call that changed something, if that is kept.
    moments: Option<Vec<(u64, Contents)>>,
}

/// A disk in memory that tells what is visible from what is durable. See the [module](self).
///
/// It counts every call of [`Storage`] but `describe`, from 0. Faults are scheduled by that number.
#[derive(Debug, Default)]
pub struct SimulatedDisk {
    state: Mutex<State>,
    locked: Arc<AtomicBool>,
}

/// Unlocks when it is dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl SimulatedDisk {
    /// An empty disk without faults.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    fn with(contents: Contents) -> SimulatedDisk {
        SimulatedDisk { state: Mutex::new(State { contents, ..State::default() }), locked: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many facts a crash could keep or lose now.
    pub fn pending(&self) -> usize {
        self.state().contents.facts.len()
    }

    /// The pending facts in their order, for messages.
    pub fn describe_pending(&self) -> Vec<String> {
        let state = self.state();
        let name_of = |file: usize| {
            let named = state.contents.names.iter().find(|(_, number)| **number == file);
            named.map_or("a file without a name", |(name, _)| name).to_owned()
        };
        let describe = |fact: &Fact| match fact {
            Fact::Sector { file, sector, .. } => format!("{}: sector {sector}", name_of(*file)),
            Fact::Len { file, len } => format!("{}: length {len}", name_of(*file)),
            Fact::Create { name, .. } => format!("{name}: created"),
            Fact::Remove { name } => format!("{name}: removed"),
            Fact::Rename { name, to, .. } | Fact::RenameDir { dir: name, to } => {
                format!("{name}: renamed to {to}")
            }
        };
        state.contents.facts.iter().map(describe).collect()
    }

    /// The disk after a power cut that kept these of the pending facts: nothing pending, no faults, no lock.
    pub fn crashed(&self, subset: &Subset) -> SimulatedDisk {
        SimulatedDisk::with(self.state().contents.crashed(subset))
    }

    /// The disk after its process was killed: all that was written is readable and what was pending is still
    /// pending; no faults, no lock.
    pub fn killed(&self) -> SimulatedDisk {
        SimulatedDisk::with(self.state().contents.clone())
    }

    /// All files with their readable bytes.
    pub fn files(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        let contents = &self.state().contents;
        let file =
            |(name, file): (&Arc<str>, &usize)| (name.to_string(), contents.files[*file].visible.clone());
        contents.names.iter().map(file).collect()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many calls there were so far.
    pub fn call_count(&self) -> u64 {
        self.state().calls.len() as u64
    }

    /// From here on, remembers the disk as it is after each call that changes something.
    pub fn keep_moments(&self) {
        self.state().moments = Some(Vec::new());
    }

    /// The remembered moments: how many calls there had been, and the disk then, its process killed.
    pub fn moments(&self) -> Vec<(u64, SimulatedDisk)> {
        let moments = self.state().moments.clone().unwrap_or_default();
        moments.into_iter().map(|(calls, contents)| (calls, SimulatedDisk::with(contents))).collect()
    }

    /// Lets call number `call` go wrong, if the fault fits it.
    pub fn fail_once(&self, call: u64, fault: DiskFault) {
        self.state().faults.push(Scheduled { first: call, last: call, fault });
    }

    /// Lets every call from number `call` on go wrong that the fault fits.
    pub fn fail_from(&self, call: u64, fault: DiskFault) {
        self.state().faults.push(Scheduled { first: call, last: u64::MAX, fault });
    }

    /// The disk takes `bytes` more bytes. A write that needs more leaves what fits and fails.
    pub fn set_room(&self, bytes: u64) {
        self.state().room = Some(bytes);
    }

    /// Cuts a file, durably: what a clumsy hand or a broken copy does. Its pending facts are gone with what was cut.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn cut(&self, file: &str, len: usize) -> io::Result<()> {
        let contents = &mut self.state().contents;
        let number = contents.find(file)?;
        contents.sync(file)?;
        let bytes = &mut contents.files[number];
        for version in [&mut bytes.visible, &mut bytes.durable] {
            Arc::make_mut(version).truncate(len);
        }
        Ok(())
    }

    /// Flips one bit of a file, durably: rot.
    ///
    /// # Errors
    /// If there is no such file, or it has no such bit.
    pub fn flip(&self, file: &str, bit: usize) -> io::Result<()> {
        let contents = &mut self.state().contents;
        let number = contents.find(file)?;
        let bytes = &mut contents.files[number];
        if bit / 8 >= bytes.visible.len() {
            let message = format!("{file} has {} bytes, and no bit {bit}", bytes.visible.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        for version in [&mut bytes.visible, &mut bytes.durable] {
            if let Some(byte) = Arc::make_mut(version).get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    /// One call: counted, spoilt if that is scheduled, remembered if it changed something.
    fn call<T>(
        &self,
        call: Call,
        file: &str,
        work: impl FnOnce(&mut State, Option<DiskFault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        let number = state.calls.len() as u64;
        state.calls.push(call);
        let due = |due: &&Scheduled| (due.first..=due.last).contains(&number) && due.fault.fits(call);
        let fault = state.faults.iter().find(due).map(|due| due.fault);
        let failed =
            |kind| io::Error::new(kind, format!("simulated failure of call {number}: {call:?} {file}"));
        let done = match fault {
            Some(DiskFault::Fails(kind)) => Err(failed(kind)),
            Some(DiskFault::FailsAfterwards(kind)) => {
                work(&mut state, None)?;
                state.contents.settle();
                Err(failed(kind))
            }
            fault => work(&mut state, fault),
        };
        let changes = !matches!(call, Call::List | Call::Len | Call::ReadAt | Call::Lock);
        let State { contents, moments, .. } = &mut *state;
        if let Some(moments) = moments.as_mut().filter(|_| changes) {
            moments.push((number + 1, contents.clone()));
        }
        done
    }
}

fn broken() -> io::Error {
    io::Error::other("simulated failure: input/output error")
}

impl Storage for SimulatedDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.call(Call::List, dir, |state, _| {
            let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
            let below = state.contents.names.keys().filter_map(|name| name.strip_prefix(&prefix[..]));
            let mut names: Vec<String> =
                below.map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
            names.dedup();
            Ok(names)
        })
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.call(Call::Len, file, |state, _| {
            let Contents { names, files, .. } = &state.contents;
            Ok(names.get(file).map(|number| files[*number].visible.len() as u64))
        })
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.call(Call::ReadAt, file, |state, fault| {
            let number = state.contents.find(file)?;
            let Bytes { visible, stale, .. } = &state.contents.files[number];
            let bytes = if fault == Some(DiskFault::Stale) { stale } else { visible };
            let rest =
                usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            let len = rest.len().min(out.len());
            let len = if fault == Some(DiskFault::Short) { len / 2 } else { len };
            out[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        })
    }

    fn create(&self, file: &str) -> io::Result<()> {
        self.call(Call::Create, file, |state, _| state.contents.create(file))
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call(Call::WriteAt, file, |state, fault| {
            if fault == Some(DiskFault::Short) {
                state.contents.write(file, offset, &bytes[..bytes.len() / 2])?;
                return Err(broken());
            }
            let Some(room) = state.room else { return state.contents.write(file, offset, bytes) };
            let number = state.contents.find(file)?;
            let len = state.contents.files[number].visible.len() as u64;
            let fits = len.saturating_add(room).saturating_sub(offset).min(bytes.len() as u64);
            state.contents.write(file, offset, &bytes[..usize::try_from(fits).unwrap_or(bytes.len())])?;
            let grown = state.contents.files[number].visible.len() as u64 - len;
            state.room = Some(room - grown);
            if fits < bytes.len() as u64 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn sync(&self, file: &str) -> io::Result<()> {
        self.call(Call::Sync, file, |state, fault| match fault {
            Some(DiskFault::Lies) => Ok(()),
            Some(DiskFault::CleanPages) => {
                let number = state.contents.find(file)?;
                let lost = |fact: &Fact| matches!(fact, Fact::Sector { file, .. } if *file == number);
                state.contents.facts.retain(|fact| !lost(fact));
                Err(broken())
            }
            _ => state.contents.sync(file),
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.call(Call::SyncDir, dir, |state, fault| {
            if fault != Some(DiskFault::Lies) {
                state.contents.sync_dir(dir);
            }
            Ok(())
        })
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.call(Call::Remove, file, |state, _| state.contents.remove(file))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename, file, |state, _| state.contents.rename(file, to))
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        self.call(Call::Lock, "LOCK", |_, _| {
            let free = !self.locked.swap(true, Ordering::SeqCst);
            Ok(free.then(|| Lock::new(Held(Arc::clone(&self.locked)))))
        })
    }

    fn describe(&self) -> String {
        "the simulated disk".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{LedgerPlace, Occupant};

    const EIO: DiskFault = DiskFault::Fails(io::ErrorKind::Other);

    /// A file `d/a` of these bytes, all durable.
    fn with(bytes: &[u8]) -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        disk.create("d/a").unwrap();
        disk.write_at("d/a", 0, bytes).unwrap();
        disk.sync("d/a").unwrap();
        disk.sync_dir("d").unwrap();
        assert_eq!(disk.pending(), 0);
        disk
    }

    fn read(disk: &SimulatedDisk, file: &str) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap()?).unwrap()];
        assert_eq!(disk.read_at(file, 0, &mut bytes).unwrap(), bytes.len());
        Some(bytes)
    }

    fn after(disk: &SimulatedDisk, subset: &str) -> Option<Vec<u8>> {
        read(&disk.crashed(&subset.parse().unwrap()), "d/a")
    }

    #[test]
    fn a_file_is_there_after_a_crash_if_its_name_and_its_bytes_are_durable() {
        let disk = SimulatedDisk::new();
        disk.create("d/a").unwrap();
        disk.write_at("d/a", 0, b"abc").unwrap();
        assert_eq!(disk.describe_pending(), ["d/a: created", "d/a: sector 0", "d/a: length 3"]);
        disk.sync("d/a").unwrap();
        assert_eq!(read(&disk.crashed(&Subset::none()), "d/a"), None, "sync is not for the name");
        disk.sync_dir("").unwrap();
        assert_eq!(disk.pending(), 1, "another directory");
        disk.sync_dir("d").unwrap();
        assert_eq!(after(&disk, "[]"), Some(b"abc".to_vec()));
    }

    #[test]
    fn sectors_length_and_name_survive_each_for_itself() {
        let disk = with(b"abc");
        disk.write_at("d/a", 510, b"XXYY").unwrap();
        assert_eq!(disk.describe_pending(), ["d/a: sector 0", "d/a: sector 1", "d/a: length 514"]);
        let whole = [&b"abc"[..], &[0; 507], b"XXYY"].concat();
        assert_eq!(after(&disk, "[000]").unwrap(), b"abc");
        assert_eq!(
            after(&disk, "[110]").unwrap(),
            b"abc",
            "the length was lost, so the data is out of reach"
        );
        assert_eq!(after(&disk, "[101]").unwrap()[508..], *b"\0\0XX\0\0", "a lost sector reads as zeros");
        assert_eq!(after(&disk, "[011]").unwrap()[508..], *b"\0\0\0\0YY");
        assert_eq!(after(&disk, "[+]").unwrap(), whole);
        assert_eq!(read(&disk.killed(), "d/a").unwrap(), whole, "who is killed loses nothing");
        assert_eq!(disk.killed().pending(), 3, "and makes nothing durable");
    }

    #[test]
    fn of_two_writes_to_a_sector_the_later_survivor_counts() {
        let disk = with(b"abc");
        disk.write_at("d/a", 0, b"1").unwrap();
        disk.write_at("d/a", 1, b"2").unwrap();
        let contents = ["[00]", "[10]", "[01]", "[11]"].map(|subset| after(&disk, subset).unwrap());
        assert_eq!(contents, [b"abc", b"1bc", b"12c", b"12c"]);
    }

    #[test]
    fn a_cut_is_durable() {
        let disk = with(b"abcdef");
        disk.write_at("d/a", 6, b"gh").unwrap();
        disk.cut("d/a", 2).unwrap();
        assert_eq!((read(&disk, "d/a").unwrap(), disk.pending()), (b"ab".into(), 0));
        assert_eq!(after(&disk, "[]").unwrap(), b"ab");
        assert!(disk.cut("d/none", 0).is_err());
    }

    #[test]
    fn names_come_go_and_change_as_facts() {
        let disk = with(b"old");
        disk.create("d/b").unwrap();
        disk.write_at("d/b", 0, b"new").unwrap();
        disk.sync("d/b").unwrap();
        disk.rename("d/b", "d/a").unwrap();
        assert_eq!(disk.describe_pending(), ["d/b: created", "d/b: renamed to d/a"]);
        assert_eq!(disk.list("d").unwrap(), ["a"]);
        let contents = ["[00]", "[10]", "[01]", "[11]"].map(|subset| after(&disk, subset).unwrap());
        assert_eq!(contents, [b"old", b"old", b"new", b"new"]);
        assert_eq!(disk.crashed(&"[10]".parse().unwrap()).list("d").unwrap(), ["a", "b"]);
        disk.sync_dir("d").unwrap();
        disk.remove("d/a").unwrap();
        assert_eq!((read(&disk, "d/a"), after(&disk, "[0]").unwrap()), (None, b"new".to_vec()));
        assert_eq!(after(&disk, "[1]"), None);
        let kind = |done: io::Result<()>| done.unwrap_err().kind();
        assert_eq!(kind(disk.remove("d/a")), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.rename("d/a", "d/c")), io::ErrorKind::NotFound);
        disk.create("e").unwrap();
        assert_eq!(kind(disk.create("e")), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.rename("e", "d/e")), io::ErrorKind::InvalidInput);
        assert_eq!(kind(disk.write_at("e", u64::MAX, b"x")), io::ErrorKind::FileTooLarge);
    }

    /// A directory that was renamed and not synced is under the one or the other name after a crash, with the same files.
    #[test]
    fn a_directory_is_renamed_whole_or_not_at_all() {
        let disk = Arc::new(with(b"old"));
        let place = SimulatedPlace::new(disk.clone(), "ledger");
        let building = place.build("7").unwrap();
        building.create("log/a").unwrap();
        building.sync_dir("log").unwrap();
        building.create("b").unwrap();
        place.put("7").unwrap();
        let renamed = ".ledger.new-7: renamed to ledger";
        assert_eq!(disk.describe_pending(), [".ledger.new-7/b: created", renamed]);
        place.storage().create("log/c").unwrap();
        place.storage().sync_dir("log").unwrap();
        assert_eq!(disk.pending(), 2, "a file is durable in its directory, under whichever name");
        let after = |subset: &str| {
            let names = disk.crashed(&subset.parse().unwrap()).files().into_keys();
            names.filter(|name| name != "d/a").collect::<Vec<String>>()
        };
        assert_eq!(after("[00]"), [".ledger.new-7/log/a", ".ledger.new-7/log/c"]);
        assert_eq!(after("[01]"), ["ledger/log/a", "ledger/log/c"]);
        assert_eq!(after("[11]"), ["ledger/b", "ledger/log/a", "ledger/log/c"]);
        assert_eq!(place.look().unwrap(), Occupant::Directory(vec!["b".to_owned(), "log".to_owned()]));
        assert!(place.build("8").and_then(|storage| storage.create("b")).is_ok());
        assert_eq!(place.put("8").unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        place.discard("8").unwrap();
        place.sync().unwrap();
        assert_eq!(
            (disk.pending(), after("[]").len()),
            (3, 2),
            "files of two directories are still in doubt"
        );
        assert_eq!(after("[1]"), ["ledger/b", "ledger/log/a", "ledger/log/c"]);
    }

    #[test]
    fn a_failing_call_does_nothing_once_or_from_then_on() {
        let disk = with(b"abc");
        let calls = disk.call_count();
        disk.fail_once(calls + 1, EIO);
        disk.fail_from(calls + 3, EIO);
        assert!(disk.len("d/a").is_ok());
        assert!(disk.write_at("d/a", 0, b"x").unwrap_err().to_string().contains("WriteAt d/a"));
        assert_eq!(disk.pending(), 0);
        assert!(disk.write_at("d/a", 0, b"x").is_ok());
        assert!(disk.list("").is_err() && disk.read_at("d/a", 0, &mut [0]).is_err() && disk.lock().is_err());
        assert!(
            disk.sync("d/a").is_err() && disk.sync_dir("d").is_err() && disk.rename("d/a", "d/b").is_err()
        );
        assert_eq!(read(&disk.killed(), "d/a").unwrap(), b"xbc");
        assert_eq!(after(&disk, "[]").unwrap(), b"abc", "a failed sync made nothing durable");
    }

    #[test]
    fn a_call_may_do_its_work_and_say_it_failed() {
        let disk = with(b"abc");
        disk.fail_once(disk.call_count(), DiskFault::FailsAfterwards(io::ErrorKind::Interrupted));
        assert_eq!(disk.write_at("d/a", 0, b"x").unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(after(&disk, "[]").unwrap(), b"xbc");
    }

    #[test]
    fn a_failed_sync_may_leave_pages_clean_readable_is_not_durable() {
        let disk = with(b"abc");
        disk.write_at("d/a", 3, b"def").unwrap();
        disk.fail_once(disk.call_count(), DiskFault::CleanPages);
        assert!(disk.sync("d/a").is_err());
        assert_eq!(read(&disk, "d/a").unwrap(), b"abcdef");
        disk.sync("d/a").unwrap();
        assert_eq!(after(&disk, "[]").unwrap(), b"abc\0\0\0", "the length came later, the bytes never");
        disk.write_at("d/a", 0, b"X").unwrap();
        disk.sync("d/a").unwrap();
        assert_eq!(after(&disk, "[]").unwrap(), b"Xbcdef", "writing the sector again writes all of it");
    }

    #[test]
    fn a_lying_sync_is_noticed_by_nobody_before_the_crash() {
        let disk = with(b"abc");
        disk.fail_from(disk.call_count(), DiskFault::Lies);
        disk.write_at("d/a", 0, b"x").unwrap();
        disk.create("d/b").unwrap();
        disk.sync("d/a").unwrap();
        disk.sync_dir("d").unwrap();
        let crashed = disk.crashed(&Subset::none());
        assert_eq!((read(&crashed, "d/a").unwrap(), read(&crashed, "d/b")), (b"abc".to_vec(), None));
    }

    #[test]
    fn short_writes_short_reads_and_a_full_disk_leave_a_part() {
        let disk = with(b"abcd");
        disk.fail_once(disk.call_count(), DiskFault::Short);
        assert!(disk.write_at("d/a", 0, b"1234").is_err());
        assert_eq!(read(&disk, "d/a").unwrap(), b"12cd");
        disk.fail_once(disk.call_count(), DiskFault::Short);
        assert_eq!(disk.read_at("d/a", 0, &mut [0; 4]).unwrap(), 2);
        disk.set_room(2);
        assert!(disk.write_at("d/a", 0, b"ABCD").is_ok(), "what is there already takes no room");
        assert!(disk.write_at("d/a", 3, b"DEF").is_ok());
        assert_eq!(disk.write_at("d/a", 5, b"FG").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&disk, "d/a").unwrap(), b"ABCDEF");
    }

    #[test]
    fn a_stale_read_gives_what_the_last_sync_replaced_and_rot_flips_one_bit() {
        let disk = with(b"abc");
        disk.write_at("d/a", 0, b"x").unwrap();
        disk.sync("d/a").unwrap();
        disk.fail_once(disk.call_count(), DiskFault::Stale);
        let mut byte = [0];
        disk.read_at("d/a", 0, &mut byte).unwrap();
        assert_eq!(byte, *b"a");
        disk.read_at("d/a", 0, &mut byte).unwrap();
        assert_eq!(byte, *b"x");
        disk.flip("d/a", 3 * 8 - 1).unwrap();
        assert_eq!(after(&disk, "[]").unwrap(), [b'x', b'b', b'c' ^ 0x80]);
        assert!(disk.flip("d/a", 3 * 8).is_err() && disk.flip("d/b", 0).is_err());
    }

    #[test]
    fn a_fault_that_does_not_fit_a_call_leaves_it_alone() {
        let disk = with(b"abc");
        for fault in [DiskFault::CleanPages, DiskFault::Lies, DiskFault::Stale, DiskFault::Short] {
            disk.fail_from(0, fault);
        }
        assert!(disk.list("d").is_ok() && disk.create("d/b").is_ok() && disk.rename("d/a", "d/c").is_ok());
    }

    #[test]
    fn one_holds_the_lock_and_a_crash_or_a_kill_frees_it() {
        let disk = SimulatedDisk::new();
        let lock = disk.lock().unwrap();
        assert!(lock.is_some() && disk.lock().unwrap().is_none());
        assert!(disk.crashed(&Subset::all()).lock().unwrap().is_some());
        assert!(disk.killed().lock().unwrap().is_some());
        drop(lock);
        assert!(disk.lock().unwrap().is_some());
    }

    #[test]
    fn moments_are_kept_after_each_call_that_changes_something() {
        let disk = with(b"abc");
        disk.keep_moments();
        disk.write_at("d/a", 0, b"x").unwrap();
        disk.len("d/a").unwrap();
        disk.sync("d/a").unwrap();
        let moments = disk.moments();
        let seen: Vec<_> = moments.iter().map(|(calls, disk)| (*calls, disk.pending())).collect();
        assert_eq!(seen, [(5, 1), (7, 0)]);
        assert_eq!(disk.calls()[4..], [Call::WriteAt, Call::Len, Call::Sync]);
    }

    #[test]
    fn subsets_are_all_while_few_and_a_seeded_sample_when_many() {
        let drawn = |facts, seed| Subset::all_or_some(facts, 12, 100, seed).collect::<Vec<Subset>>();
        let distinct = |mut subsets: Vec<Subset>| {
            subsets.sort();
            subsets.dedup();
            subsets.len()
        };
        assert_eq!((distinct(drawn(0, 1)), distinct(drawn(12, 1))), (1, 4_096));
        assert_eq!(
            (drawn(13, 1).len(), drawn(13, 1) == drawn(13, 1), drawn(13, 1) == drawn(13, 2)),
            (100, true, false)
        );
        assert_eq!(drawn(2, 1).iter().map(ToString::to_string).collect::<String>(), "[00][10][01][11]");
        assert_eq!("[01+]".parse::<Subset>().unwrap().to_string(), "[01+]");
        assert!("01".parse::<Subset>().is_err() && "[2]".parse::<Subset>().is_err());
    }
}
