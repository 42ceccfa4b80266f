//! Places: where a ledger is to be created or copied to, before there is a storage of its own.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Files, LedgerPlace, Occupant, Storage};
use crate::store::layout::{self, HEAD, LEDGER, LOG};

/// Why nothing but a ledger may write to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reserved {
    /// It lies in the directory of a ledger; which one.
    Inside(PathBuf),
    /// What is there is part of a ledger, or opens one: a segment, a key ring.
    File(&'static str),
}

/// A path of the file system.
#[derive(Debug)]
pub(crate) struct FilePlace {
    /// As it was given.
    shown: PathBuf,
    parent: Files,
    name: OsString,
    access: Access,
}

impl FilePlace {
    /// The place at a path. A link to a directory stands for that directory.
    pub(crate) fn new(path: &Path, access: Access) -> io::Result<FilePlace> {
        let what = "it does not end with a name; give the directory's name from outside";
        let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, what);
        path.file_name().ok_or_else(unnamed)?;
        let shown = path.to_owned();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().ok_or_else(unnamed)?.to_owned();
        let parent = Files::writable(parent_of(&path)).access(access);
        Ok(FilePlace { shown, parent, name, access })
    }

    /// The directory that a ledger is built in.
    fn building(&self, tag: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".new-{tag}"));
        name
    }
}

impl LedgerPlace for FilePlace {
    fn look(&self) -> io::Result<Occupant> {
        self.parent.occupant(&self.name)
    }

    fn create(&self) -> io::Result<()> {
        self.parent.create_dir(&self.name).map(drop)
    }

    fn build(&self, tag: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.parent.create_dir(&self.building(tag))?))
    }

    fn put(&self, tag: &str) -> io::Result<()> {
        self.parent.rename_dir(&self.building(tag), &self.name)
    }

    fn discard(&self, tag: &str) -> io::Result<()> {
        std::fs::remove_dir_all(self.parent.root().join(self.building(tag)))
    }

    fn sync(&self) -> io::Result<()> {
        self.parent.sync_dir("")
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(Files::writable(&self.shown).access(self.access))
    }

    fn describe(&self) -> String {
        self.shown.display().to_string()
    }
}

impl Reserved {
    /// Why no output may be written to a path: where links lead counts, not how the path is spelled. `None` if it may.
    ///
    /// ```
    /// use identity_ledger::{Ledger, Policy, Tenant};
    /// use identity_ledger::storage::Reserved;
    /// let dir = std::env::temp_dir().join(format!("identity-ledger-reserved-{}", std::process::id()));
    /// drop(Ledger::create(&dir, Tenant::default(), Policy::default())?);
    /// assert!(matches!(Reserved::of(&dir.join("picture.svg"))?, Some(Reserved::Inside(_))));
    /// assert_eq!(Reserved::of(&dir.with_extension("svg"))?, None);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the path cannot be resolved: its directory is missing or cannot be read.
    pub fn of(path: &Path) -> io::Result<Option<Reserved>> {
        let path = resolve(path)?;
        for dir in path.ancestors().skip(1) {
            if holds_ledger(dir) {
                return Ok(Some(Reserved::Inside(dir.to_owned())));
            }
        }
        Ok(beginning(&path).and_then(layout::kind_of_file).map(Reserved::File))
    }
}

/// Most links that are followed one after the other, as Linux has it.
const MAX_LINKS: usize = 40;

/// Where a path leads, although nothing may be there yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            resolved => return resolved,
        }
        match path.read_link() {
            Ok(target) => path = parent_of(&path).join(target),
            Err(_) => {
                let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
                return Ok(parent_of(&path).canonicalize()?.join(name));
            }
        }
    }
    Err(io::Error::other("too many symbolic links, one leading to the next"))
}

/// Whether a directory is a ledger's, also a damaged or a half-made one.
fn holds_ledger(dir: &Path) -> bool {
    let is = |name| beginning(&dir.join(name)).and_then(layout::kind_of_file).is_some();
    is(LEDGER) || is(layout::PARTIAL) || is(HEAD) && dir.join(LOG).is_dir()
}

/// The first bytes of a regular file.
fn beginning(path: &Path) -> Option<[u8; 8]> {
    let mut bytes = [0; 8];
    let files = Files::read_only(parent_of(path));
    let read = files.read_at(path.file_name()?.to_str()?, 0, &mut bytes).ok()?;
    (read == bytes.len()).then_some(bytes)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
