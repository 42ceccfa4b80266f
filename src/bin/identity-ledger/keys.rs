//! The keys of a sealed ledger, as `--key-ring` gives them: every way to a ledger begins here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use identity_ledger::{LedgerOptions, StoredKeys};

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

/// Options that create a ledger, sealed if keys were given. The keys must lie where a copy of the ledger does
/// not include them.
pub(crate) fn options_to_create<'p>(place: &Path) -> Result<LedgerOptions<'p>, Failure> {
    let whole = |path: &Path| std::path::absolute(path).map_err(Failure::read(path));
    if let Some(file) = given()
        && whole(file)?.starts_with(whole(place)?)
    {
        return Err(Failure::InsideLedger { place: file.to_owned(), ledger: place.to_owned() });
    }
    options()
}

/// Options that open what the keys open.
pub(crate) fn options<'p>() -> Result<LedgerOptions<'p>, Failure> {
    match given() {
        None => Ok(LedgerOptions::new()),
        Some(file) => {
            let keys = StoredKeys::file(file).map_err(Failure::read(file))?;
            Ok(LedgerOptions::new().keys(Arc::new(keys)))
        }
    }
}
