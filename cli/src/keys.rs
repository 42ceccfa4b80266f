//! The keys of a sealed ledger, as `--key-ring` gives them: every way to a ledger begins here. And `keys`: which copy of a ledger a ring
//! belongs to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use identity_ledger::model::LedgerId;
use identity_ledger::storage::{KeyProvider, Reserved, StoredKeys};
use identity_ledger::{Durability, Ledger, LedgerOptions, OpenError};
use serde::Serialize;

use crate::Answer;
use crate::args::{KeysArgs, KeysChange};
use crate::failure::Failure;
use crate::folding::{expect_directory, remark_on};
use crate::progress::{Progress, log_bytes};
use crate::screen::Screen;
use crate::text::count;

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

fn expect_outside(place: &Path, file: &Path) -> Result<(), Failure> {
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

fn stored(file: &Path) -> Result<Arc<dyn KeyProvider>, Failure> {
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

#[derive(Serialize)]
struct Changed<'a> {
    ledger_id: LedgerId,
    records: u64,
    /// Records whose texts or values were erased in the other copy, and are erased here now.
    erased_since: usize,
    key_ring: &'a Path,
}

/// `keys adopt` and `keys fork`.
pub(crate) fn keys(args: KeysArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ring = given().ok_or(Failure::NoKeyRing)?;
    match args.change {
        KeysChange::Adopt { ledger: place } => {
            let ledger = open(&place, |options| options.adopt_keys().open(&place))?;
            let next = "No other copy of this ledger can be written with that ring any more.";
            show(&place, &ledger, ring, &["continues with", next], screen)
        }
        KeysChange::Fork { ledger: place, ring: own } => {
            expect_outside(&place, &own)?;
            let to = stored(&own)?;
            let ledger = open(&place, |options| options.fork_keys(&place, to))?;
            let next = "Give it with every command for this copy. An erasure in one copy does not reach the other: make each request in both.";
            show(&place, &ledger, &own, &["has a key ring of its own,", next], screen)
        }
    }
}

fn open(
    place: &Path,
    change: impl FnOnce(LedgerOptions<'_>) -> Result<Ledger, OpenError>,
) -> Result<Ledger, Failure> {
    expect_directory(place)?;
    let mut progress = Progress::new();
    progress.begin("Reading the log", log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let opened = change(options()?.durability(Durability::Buffered).progress(&mut watch));
    progress.clear();
    let ledger = opened?;
    remark_on(ledger.reader(), ledger.recovery());
    Ok(ledger)
}

fn show(
    place: &Path,
    ledger: &Ledger,
    key_ring: &Path,
    [what, next]: &[&str; 2],
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let (ledger_id, records) = (ledger.reader().ledger_id(), ledger.checkpoint().records);
    let erased_since = ledger.recovery().erased_since;
    if screen.json {
        screen.object(&Changed { ledger_id, records, erased_since, key_ring })?;
        return Ok(Answer::Yes);
    }
    screen.headline(&format!("{} {what} {}", place.display(), key_ring.display()))?;
    screen.facts(&[("ledger id", ledger_id.to_string()), ("records", count(records))])?;
    screen.line("")?;
    screen.line(next)?;
    Ok(Answer::Yes)
}
