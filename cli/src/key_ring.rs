//! The key ring that `--key-ring` names: every way to a sealed ledger begins here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use identity_ledger::LedgerOptions;
use identity_ledger::storage::{KeyProvider, Reserved, StoredKeys};

use crate::failure::Failure;

/// The file that `--key-ring` names: one for the whole run, whatever is opened in it.
static KEYS: OnceLock<PathBuf> = OnceLock::new();

pub(crate) fn remember(file: PathBuf) {
    KEYS.get_or_init(|| file);
}

/// Whether keys were given.
pub(crate) fn given() -> Option<&'static Path> {
    KEYS.get().map(PathBuf::as_path)
}

/// Options that create a ledger, sealed if keys were given; a copy of the ledger must not hold them.
pub(crate) fn options_to_create<'p>(place: &Path) -> Result<LedgerOptions<'p>, Failure> {
    given().map_or(Ok(()), |file| expect_outside(place, file))?;
    options()
}

pub(crate) fn expect_outside(place: &Path, file: &Path) -> Result<(), Failure> {
    let inside = |ledger| Err(Failure::InsideLedger { place: file.to_owned(), ledger });
    if real(file)?.starts_with(real(place)?) {
        return inside(place.to_owned()); // which is a ledger, or about to become one
    }
    match Reserved::of(file) {
        Ok(Some(Reserved::Inside(ledger))) => inside(ledger),
        _ => Ok(()), // a place that cannot be looked at is named when the ring is
    }
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> Result<PathBuf, Failure> {
    let whole = std::path::absolute(path).map_err(Failure::read(path))?;
    let there = whole.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    Ok(there.map_or(whole.clone(), |(there, real)| match whole.strip_prefix(there) {
        Ok(rest) if rest.as_os_str().is_empty() => real,
        Ok(rest) => real.join(rest),
        Err(_) => whole.clone(),
    }))
}

/// The keys in a file, which need not be there yet.
pub(crate) fn stored(file: &Path) -> Result<Arc<dyn KeyProvider>, Failure> {
    Ok(Arc::new(StoredKeys::file(file).map_err(Failure::read(file))?))
}

/// Options that open what the keys open.
pub(crate) fn options<'p>() -> Result<LedgerOptions<'p>, Failure> {
    given().map_or(Ok(LedgerOptions::new()), |file| Ok(LedgerOptions::new().keys(stored(file)?)))
}

/// Removes the ring and its lock, of a ledger that is removed too. A link to the ring stays.
pub(crate) fn remove() -> io::Result<()> {
    let Some(file) = given() else { return Ok(()) };
    let ring = file.canonicalize()?;
    let mut lock = ring.clone().into_os_string();
    lock.push(".lock");
    std::fs::remove_file(ring)?;
    std::fs::remove_file(lock)
}
