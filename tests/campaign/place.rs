//! Other programs move, replace and link a ledger's directory while writers have it open. Whatever they do: each record that a
//! writer acknowledged as durable is in the files it was written to, no other file is written, and nothing hangs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use identity_ledger::audit::Audit;
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::*;

use crate::history::{Chance, operation};
use crate::oracle::options;

/// What the loop did.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) rounds: u64,
    /// Rounds in which a writer was stopped.
    pub(crate) stopped: u64,
    /// Second writers that were refused.
    pub(crate) refused: u64,
    pub(crate) violations: Vec<String>,
}

/// Files that must stay as they are.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

/// A writer, and how many of its records are durable by its word.
struct Writer {
    ledger: Ledger,
    promised: u64,
    stopped: bool,
}

impl Writer {
    /// One step of work; an error stops it.
    fn work(&mut self, number: u64, chance: &mut Chance) {
        let done = match chance.below(8) {
            0 => self.ledger.flush().is_ok(),
            1 => self.ledger.snapshot().is_ok(),
            2 => {
                let at = Timestamp::from_micros(1).unwrap();
                let subject = ErasureSubject::Ids([DistinctId::new("id-1").unwrap()].into());
                let asked = self.ledger.begin_erasures(&[ErasureRequest::new(at, subject, "asked")]);
                let known = !matches!(asked, Err(EraseError::UnknownId { .. }));
                !known || asked.is_ok() && self.ledger.finish_erasures(&mut |_| {}).is_ok()
            }
            _ => self.ledger.append(operation(number, 200)).is_ok(),
        };
        self.stopped |= !done;
        if done {
            self.promised = self.ledger.durable_records();
        }
    }
}

/// Rounds of swapped directories, relinked parts, and removed locks.
pub(crate) fn run(rounds: u64, seed: u64) -> Places {
    let mut done = Places::default();
    for round in 0..rounds {
        let mut chance = Chance(seed.wrapping_mul(1_000_003) + round);
        let home = tempfile::tempdir().expect("a temporary directory");
        let wrong = match round % 3 {
            0 => swapped(home.path(), &mut chance, &mut done),
            1 => relinked(home.path(), &mut chance, &mut done),
            _ => two_writers(home.path(), &mut chance, &mut done),
        };
        done.rounds += 1;
        done.violations.extend(wrong.err().map(|wrong| format!("place round {round} seed {seed}: {wrong}")));
    }
    done
}

fn begin(dir: &Path, chance: &mut Chance) -> Writer {
    let modes = [Durability::Immediate, Durability::Witnessed, Durability::Buffered];
    let options = options().segment_bytes(1_024).durability(modes[chance.below(3) as usize]);
    let ledger = options.create(dir, Tenant::default(), Policy::default()).expect("a new ledger");
    let mut writer = Writer { ledger, promised: 0, stopped: false };
    (0..10).for_each(|number| writer.work(number, chance));
    assert!(!writer.stopped, "nothing interferes yet");
    writer
}

/// The ledger opens and has at least `promised` records, and an auditor agrees.
fn expect(dir: &Path, promised: u64) -> Result<(), String> {
    let ledger = Ledger::open(dir).map_err(|error| error.to_string())?;
    let Checkpoint { records, .. } = ledger.checkpoint();
    drop(ledger);
    if records < promised {
        return Err(format!("{records} records of {promised} that were durable"));
    }
    let report = Audit::run(dir, None, &mut |_| {}).map_err(|error| error.to_string())?;
    if report.is_ok() { Ok(()) } else { Err(format!("the audit: {:?}", report.faults)) }
}

/// An older copy takes the place of the open ledger.
fn swapped(home: &Path, chance: &mut Chance, done: &mut Places) -> Result<(), String> {
    let (place, old, restored) = (home.join("L"), home.join("L.old"), home.join("restored"));
    let mut writer = begin(&place, chance);
    writer.ledger.flush().expect("nothing interferes yet");
    copy(&place, &restored);
    (10..10 + chance.below(10)).for_each(|number| writer.work(number, chance));
    fs::rename(&place, &old).unwrap();
    fs::rename(&restored, &place).unwrap();
    let before = files(&place);
    (30..45).for_each(|number| writer.work(number, chance));
    let promised = writer.promised;
    done.stopped += u64::from(writer.stopped);
    drop(writer);
    if files(&place) != before {
        return Err("the restored copy was written".to_owned());
    }
    expect(&old, promised)?;
    expect(&place, 0)
}

/// One part of the ledger becomes a link to another user's, while a writer is at work or before.
fn relinked(home: &Path, chance: &mut Chance, done: &mut Places) -> Result<(), String> {
    let (place, theirs) = (home.join("L"), home.join("theirs"));
    let mut writer = begin(&place, chance);
    writer.ledger.snapshot().expect("nothing interferes yet");
    copy(&place, &theirs);
    fs::create_dir_all(theirs.join("quarantine")).unwrap();
    fs::write(theirs.join("quarantine/00000000000000000001-96-0.cut"), "precious").unwrap();
    let last =
        |dir: &Path| fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).max().unwrap();
    let parts = [
        "LEDGER".into(),
        "HEAD".into(),
        "LOCK".into(),
        "log".into(),
        "snap".into(),
        "quarantine".into(),
        Path::new("log").join(last(&place.join("log"))),
        Path::new("snap").join(last(&place.join("snap"))),
    ];
    let part: &PathBuf = &parts[chance.below(parts.len() as u64) as usize];
    let before = files(&theirs);
    let closed = chance.below(2) == 0;
    let mut writer = if closed {
        drop(writer);
        None
    } else {
        Some(writer)
    };
    let aside = home.join("aside");
    let was_there = fs::rename(place.join(part), &aside).is_ok();
    std::os::unix::fs::symlink(theirs.join(part), place.join(part)).unwrap();
    if closed && let Ok(ledger) = options().open(&place) {
        writer = Some(Writer { ledger, promised: 0, stopped: false });
    }
    let mut promised = 0;
    if let Some(mut writer) = writer {
        (30..45).for_each(|number| writer.work(number, chance));
        promised = writer.promised;
        done.stopped += u64::from(writer.stopped);
    } else {
        done.stopped += 1;
    }
    drop(ReadOnlyLedger::open(&place));
    if files(&theirs) != before {
        return Err(format!("{} led to another user's file, which was written", part.display()));
    }
    fs::remove_file(place.join(part)).map_err(|error| format!("the link is gone: {error}"))?;
    if was_there {
        fs::rename(&aside, place.join(part)).unwrap();
    }
    expect(&place, promised)
}

/// `LOCK` is removed, again and again, while two writers want to write.
fn two_writers(home: &Path, chance: &mut Chance, done: &mut Places) -> Result<(), String> {
    let place = home.join("L");
    let mut writers = vec![begin(&place, chance)];
    let mut promised = 0;
    for number in 30..60 {
        if chance.below(4) == 0 {
            fs::remove_file(place.join("LOCK")).ok();
        }
        if chance.below(3) == 0 {
            match options().open(&place) {
                Ok(ledger) => writers.push(Writer { ledger, promised: 0, stopped: false }),
                Err(OpenError::Locked { .. }) => done.refused += 1,
                Err(error) => return Err(error.to_string()),
            }
        }
        let at_work = writers.iter().filter(|writer| !writer.stopped).count();
        if at_work > 1 {
            return Err(format!("{at_work} writers at work"));
        }
        writers.iter_mut().for_each(|writer| writer.work(number, chance));
        promised = writers.iter().map(|writer| writer.promised).fold(promised, u64::max);
        done.stopped += writers.iter().filter(|writer| writer.stopped).count() as u64;
        writers.retain(|writer| !writer.stopped);
    }
    drop(writers);
    expect(&place, promised)
}
