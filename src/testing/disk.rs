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

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::chance::Chance;
use crate::store::storage::{LedgerPlace, Lock, Occupant, Storage};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// Which of the pending facts survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subset {
    kept: Vec<bool>,
    /// What becomes of the facts beyond `kept`.
    rest: bool,
}

impl Subset {
    /// No fact survives.
    pub fn none() -> Subset {
        Subset { kept: Vec::new(), rest: false }
    }

    /// Every fact survives.
    pub fn all() -> Subset {
        Subset { kept: Vec::new(), rest: true }
    }

    /// Every subset of `facts` facts if they are at most `exhaustive`; else none, all, each fact alone, each fact missing, and
    /// subsets drawn by `seed` until there are `samples`.
    pub fn all_or_some(
        facts: usize,
        exhaustive: usize,
        samples: usize,
        seed: u64,
    ) -> impl Iterator<Item = Subset> {
        let every = facts <= exhaustive.min(63);
        let count = if every { 1 << facts } else { samples };
        let mut chance = Chance::new(seed);
        (0..count).map(move |number| {
            let kept = match number {
                _ if every => (0..facts).map(|fact| number >> fact & 1 == 1).collect(),
                0 => vec![false; facts],
                1 => vec![true; facts],
                _ if number < 2 + 2 * facts => {
                    let (fact, alone) = ((number - 2) / 2, number % 2 == 0);
                    (0..facts).map(|other| (other == fact) == alone).collect()
                }
                _ => (0..facts).map(|_| chance.one_in(2)).collect(),
            };
            Subset { kept, rest: false }
        })
    }

    fn keeps(&self, fact: usize) -> bool {
        self.kept.get(fact).copied().unwrap_or(self.rest)
    }
}

impl fmt::Display for Subset {
    /// One digit a fact, `1` for those that survive, and then `+` if all others do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.kept.iter().map(|kept| if *kept { '1' } else { '0' }).collect();
        write!(f, "[{digits}{}]", if self.rest { "+" } else { "" })
    }
}

impl FromStr for Subset {
    type Err = String;
    fn from_str(text: &str) -> Result<Subset, String> {
        let wrong =
            || format!("{text} is not a subset; expected digits 0 and 1 in brackets, and perhaps a +");
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
        let (digits, rest) = inner.strip_suffix('+').map_or((inner, false), |digits| (digits, true));
        let kept = digits.chars().map(|digit| match digit {
            '0' => Ok(false),
            '1' => Ok(true),
            _ => Err(wrong()),
        });
        Ok(Subset { kept: kept.collect::<Result<_, String>>()?, rest })
    }
}

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

/// Something the disk may or may not have kept.
#[derive(Clone, Debug)]
enum Fact {
    Sector { file: usize, sector: usize, bytes: Arc<[u8; SECTOR_BYTES]> },
    Len { file: usize, len: usize },
    Create { name: Arc<str>, file: usize },
    Remove { name: Arc<str> },
    Rename { name: Arc<str>, to: Arc<str>, file: usize },
    RenameDir { dir: Arc<str>, to: Arc<str> },
}

/// A name under another directory, if it is in this one.
fn moved(name: &str, dir: &str, to: &str) -> Option<Arc<str>> {
    let rest = name.strip_prefix(dir)?.strip_prefix('/')?;
    Some(format!("{to}/{rest}").into())
}

impl Fact {
    /// The file whose bytes it is about; `None` if it is about a name.
    fn file(&self) -> Option<usize> {
        match self {
            Fact::Sector { file, .. } | Fact::Len { file, .. } => Some(*file),
            _ => None,
        }
    }

    fn apply_to_names(&self, names: &mut Names) {
        match self {
            Fact::Sector { .. } | Fact::Len { .. } => {}
            Fact::Create { name, file } => drop(names.insert(name.clone(), *file)),
            Fact::Remove { name } => drop(names.remove(name)),
            Fact::Rename { name, to, file } => {
                names.remove(name);
                names.insert(to.clone(), *file);
            }
            Fact::RenameDir { dir, to } => {
                let all = std::mem::take(names);
                let moved = |name: Arc<str>| moved(&name, dir, to).unwrap_or(name);
                names.extend(all.into_iter().map(|(name, file)| (moved(name), file)));
            }
        }
    }

    /// The fact about a name, where directories were not renamed after all: each pair is the old name and the new one.
    fn without_renames(&self, lost: &[(Arc<str>, Arc<str>)]) -> Fact {
        let back = |name: &Arc<str>| {
            let back =
                |name: Arc<str>, (dir, to): &(Arc<str>, Arc<str>)| moved(&name, to, dir).unwrap_or(name);
            lost.iter().rev().fold(name.clone(), back)
        };
        match self {
            Fact::Create { name, file } => Fact::Create { name: back(name), file: *file },
            Fact::Remove { name } => Fact::Remove { name: back(name) },
            Fact::Rename { name, to, file } => Fact::Rename { name: back(name), to: back(to), file: *file },
            other => other.clone(),
        }
    }
}

type Names = BTreeMap<Arc<str>, usize>;

#[derive(Clone, Debug, Default)]
struct Bytes {
    visible: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// The durable bytes before the last sync.
    stale: Arc<Vec<u8>>,
}

/// The durable bytes with some facts about this file, in their order.
fn settled<'a>(durable: &[u8], facts: impl Iterator<Item = &'a Fact>) -> Vec<u8> {
    let mut len = durable.len();
    let mut bytes = durable.to_vec();
    for fact in facts {
        match fact {
            Fact::Sector { sector, bytes: content, .. } => {
                let start = sector * SECTOR_BYTES;
                if bytes.len() < start + SECTOR_BYTES {
                    bytes.resize(start + SECTOR_BYTES, 0);
                }
                bytes[start..start + SECTOR_BYTES].copy_from_slice(&content[..]);
            }
            Fact::Len { len: set, .. } => len = len.max(*set), // files only grow
            _ => {}
        }
    }
    bytes.resize(len, 0);
    bytes
}

fn dir_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[derive(Clone, Debug, Default)]
struct Contents {
    files: Vec<Bytes>,
    names: Names,
    durable_names: Names,
    facts: Vec<Fact>,
}

impl Contents {
    fn find(&self, name: &str) -> io::Result<usize> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("no file {name} on the simulated disk"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists")));
        }
        let (name, file) = (Arc::<str>::from(name), self.files.len());
        self.files.push(Bytes::default());
        self.names.insert(name.clone(), file);
        self.facts.push(Fact::Create { name, file });
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.find(name)?;
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let start = usize::try_from(offset).map_err(|_| too_large())?;
        let end = start.checked_add(bytes.len()).ok_or_else(too_large)?;
        let visible = Arc::make_mut(&mut self.files[file].visible);
        let grows = visible.len() < end && !bytes.is_empty();
        if grows {
            visible.resize(end, 0);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        visible[start..end].copy_from_slice(bytes);
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(visible.len());
            let mut content = [0; SECTOR_BYTES];
            content[..to - from].copy_from_slice(&visible[from..to]);
            self.facts.push(Fact::Sector { file, sector, bytes: Arc::new(content) });
        }
        if grows {
            self.facts.push(Fact::Len { file, len: end });
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.find(name)?;
        let of_file = |fact: &&Fact| fact.file() == Some(file);
        let durable = settled(&self.files[file].durable, self.facts.iter().filter(of_file));
        self.facts.retain(|fact| fact.file() != Some(file));
        let bytes = &mut self.files[file];
        // Often the same: then one allocation serves both.
        let durable = if durable == *bytes.visible { bytes.visible.clone() } else { Arc::new(durable) };
        bytes.stale = std::mem::replace(&mut bytes.durable, durable);
        Ok(())
    }

    fn sync_dir(&mut self, dir: &str) {
        let Contents { facts, durable_names, .. } = self;
        let (mut done, mut undone) = (Vec::new(), Vec::new()); // renames of directories: durable now, and not yet
        facts.retain(|fact| match fact {
            Fact::Create { name, .. }
            | Fact::Remove { name }
            | Fact::Rename { name, .. }
            | Fact::RenameDir { dir: name, .. }
                if dir_of(name) == dir =>
            {
                fact.without_renames(&undone).apply_to_names(durable_names);
                if let Fact::RenameDir { dir, to } = fact {
                    done.push((to.clone(), dir.clone()));
                }
                false
            }
            Fact::RenameDir { dir, to } => {
                undone.push((dir.clone(), to.clone()));
                true
            }
            _ => true,
        });
        // What was to happen under the old name will happen under the new one.
        facts.iter_mut().for_each(|fact| *fact = fact.without_renames(&done));
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        let fact = Fact::Remove { name: name.into() };
        fact.apply_to_names(&mut self.names);
        self.facts.push(fact);
        Ok(())
    }

    fn rename(&mut self, name: &str, to: &str) -> io::Result<()> {
        let file = self.find(name)?;
        if dir_of(name) != dir_of(to) {
            let message = format!("{name} and {to} are in two directories; expected one");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let fact = Fact::Rename { name: name.into(), to: to.into(), file };
        fact.apply_to_names(&mut self.names);
        self.facts.push(fact);
        Ok(())
    }

    fn rename_dir(&mut self, dir: &str, to: &str) -> io::Result<()> {
        if self.names.keys().any(|name| moved(name, to, dir).is_some()) {
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, format!("{to} is not empty")));
        }
        let fact = Fact::RenameDir { dir: dir.into(), to: to.into() };
        fact.apply_to_names(&mut self.names);
        self.facts.push(fact);
        Ok(())
    }

    /// Everything durable, for a call that does its work and says it did not.
    fn settle(&mut self) {
        let names: Vec<Arc<str>> = self.names.keys().cloned().collect();
        for name in &names {
            self.sync(name).expect("a name that is there");
        }
        for fact in std::mem::take(&mut self.facts) {
            fact.apply_to_names(&mut self.durable_names);
        }
    }

    fn crashed(&self, subset: &Subset) -> Contents {
        let kept = || {
            self.facts.iter().enumerate().filter(|(number, _)| subset.keeps(*number)).map(|(_, fact)| fact)
        };
        let (mut names, mut lost) = (self.durable_names.clone(), Vec::new());
        for (number, fact) in self.facts.iter().enumerate() {
            match fact {
                _ if subset.keeps(number) => fact.without_renames(&lost).apply_to_names(&mut names),
                Fact::RenameDir { dir, to } => lost.push((dir.clone(), to.clone())),
                _ => {}
            }
        }
        let mut files = Vec::with_capacity(names.len());
        for file in names.values_mut() {
            let durable = &self.files[*file].durable;
            let touched = kept().any(|fact| fact.file() == Some(*file));
            let bytes = if touched {
                Arc::new(settled(durable, kept().filter(|fact| fact.file() == Some(*file))))
            } else {
                durable.clone()
            };
            *file = files.len();
            files.push(Bytes { visible: bytes.clone(), durable: bytes.clone(), stale: bytes });
        }
        Contents { files, durable_names: names.clone(), names, facts: Vec::new() }
    }
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

/// A place for a ledger on a simulated disk: a directory in the disk's own. An empty directory is not kept.
#[derive(Clone, Debug)]
pub struct SimulatedPlace {
    disk: Arc<SimulatedDisk>,
    name: String,
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
    disk: Arc<SimulatedDisk>,
    dir: String,
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

#[cfg(test)]
mod tests {
    use super::*;

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
