//! What a disk holds: names and bytes that are durable, and facts that may get lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::testing::disk::subset::Subset;

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

pub(super) type Names = BTreeMap<Arc<str>, usize>;

/// Something the disk may or may not have kept.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Sector { file: usize, sector: usize, bytes: Arc<[u8; SECTOR_BYTES]> },
    Len { file: usize, len: usize },
    Create { name: Arc<str>, file: usize },
    Remove { name: Arc<str> },
    Rename { name: Arc<str>, to: Arc<str>, file: usize },
    RenameDir { dir: Arc<str>, to: Arc<str> },
}

/// A name under another directory, if it is in this one.
pub(super) fn moved(name: &str, dir: &str, to: &str) -> Option<Arc<str>> {
    let rest = name.strip_prefix(dir)?.strip_prefix('/')?;
    Some(format!("{to}/{rest}").into())
}

impl Fact {
    /// The file whose bytes it is about; `None` if it is about a name.
    pub(super) fn file(&self) -> Option<usize> {
        match self {
            Fact::Sector { file, .. } | Fact::Len { file, .. } => Some(*file),
            _ => None,
        }
    }

    pub(super) fn apply_to_names(&self, names: &mut Names) {
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
    pub(super) fn without_renames(&self, lost: &[(Arc<str>, Arc<str>)]) -> Fact {
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

#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pub(super) visible: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    /// The durable bytes before the last sync.
    pub(super) stale: Arc<Vec<u8>>,
}

/// The durable bytes with some facts about this file, in their order.
pub(super) fn settled<'a>(durable: &[u8], facts: impl Iterator<Item = &'a Fact>) -> Vec<u8> {
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

pub(super) fn dir_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) files: Vec<Bytes>,
    pub(super) names: Names,
    pub(super) durable_names: Names,
    pub(super) facts: Vec<Fact>,
}

impl Contents {
    pub(super) fn find(&self, name: &str) -> io::Result<usize> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("no file {name} on the simulated disk"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists")));
        }
        let (name, file) = (Arc::<str>::from(name), self.files.len());
        self.files.push(Bytes::default());
        self.names.insert(name.clone(), file);
        self.facts.push(Fact::Create { name, file });
        Ok(())
    }

    pub(super) fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
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

    pub(super) fn sync(&mut self, name: &str) -> io::Result<()> {
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

    pub(super) fn sync_dir(&mut self, dir: &str) {
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

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        let fact = Fact::Remove { name: name.into() };
        fact.apply_to_names(&mut self.names);
        self.facts.push(fact);
        Ok(())
    }

    pub(super) fn rename(&mut self, name: &str, to: &str) -> io::Result<()> {
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

    pub(super) fn rename_dir(&mut self, dir: &str, to: &str) -> io::Result<()> {
        if self.names.keys().any(|name| moved(name, to, dir).is_some()) {
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, format!("{to} is not empty")));
        }
        let fact = Fact::RenameDir { dir: dir.into(), to: to.into() };
        fact.apply_to_names(&mut self.names);
        self.facts.push(fact);
        Ok(())
    }

    /// Everything durable, for a call that does its work and says it did not.
    pub(super) fn settle(&mut self) {
        let names: Vec<Arc<str>> = self.names.keys().cloned().collect();
        for name in &names {
            self.sync(name).expect("a name that is there");
        }
        for fact in std::mem::take(&mut self.facts) {
            fact.apply_to_names(&mut self.durable_names);
        }
    }

    pub(super) fn crashed(&self, subset: &Subset) -> Contents {
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
