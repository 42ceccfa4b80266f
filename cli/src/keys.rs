//! `keys`: which copy of a sealed ledger a key ring belongs to; and keys that sign checkpoints.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use identity_ledger::model::LedgerId;
use identity_ledger::proof::Signer;
use identity_ledger::storage::OsEntropy;
use identity_ledger::{Durability, Ledger, LedgerOptions, OpenError};
use serde::Serialize;

use crate::answer::Answer;
use crate::disk;
use crate::failure::Failure;
use crate::key_ring::{expect_outside, given, stored};
use crate::output::expect_free;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{on_log, remark_on};
use crate::text::count;

/// The long help.
pub(crate) const HELP: &str = "\
Say which copy of a sealed ledger a key ring belongs to. One copy is written with a ring at a time: the one that was created with it. \
Every other copy, such as a restored backup, can be read with it, but not written until one of these was run.

  identity-ledger keys adopt tape --key-ring /secrets/shop.ring                      # tape replaces the ledger that was lost
  identity-ledger keys fork tape /secrets/drill.ring --key-ring /secrets/shop.ring   # both stay in use

With `adopt` the copy takes the ring over, and the ledger that had it before cannot be written with it any more. With `fork` the copy \
gets a new ring that opens what RING opens now, and RING stays as it is. From then on a request to be forgotten has to be made in both \
copies, and the new ring opens old backups, no matter what is erased with the other: destroy it with the copy. Both record in the copy what was \
erased since it was made.

`signer` makes another kind of key, which signs checkpoints (`identity-ledger checkpoint --sign`). The file holds the secret, and is written for its owner \
alone: keep it where those who write the ledger cannot reach it. What is printed is for everyone: with it others check what was signed.

  identity-ledger keys signer /secrets/shop.signer --name shop.example/ledger

--json keys: ledger_id, records, erased_since (records whose texts or values were erased elsewhere), key_ring. Of signer: name, key.";

#[derive(Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    change: KeysChange,
}

/// What a key ring is to belong to.
#[derive(Subcommand)]
enum KeysChange {
    /// Let this copy take over the ring of --key-ring
    Adopt {
        /// The copy's directory
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
    },
    /// Give this copy a ring of its own, made from that of --key-ring
    Fork {
        /// The copy's directory
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
        /// The file to make
        #[arg(value_name = "NEW_RING")]
        ring: PathBuf,
    },
    /// Make a key that signs checkpoints, and print what others check them with
    Signer {
        /// The file to make
        #[arg(value_name = "KEYFILE")]
        file: PathBuf,
        /// What the key is called in notes: by custom the name of a host and a path
        #[arg(long, value_name = "NAME")]
        name: String,
    },
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
    let ring = || given().ok_or(Failure::NoKeyRing);
    match args.change {
        KeysChange::Signer { file, name } => signer(&file, &name, screen),
        KeysChange::Adopt { ledger: place } => {
            let ring = ring()?;
            let ledger = open(&place, |options| options.adopt_keys().open(&place))?;
            let next = "No other copy of this ledger can be written with that ring any more.";
            show(&place, &ledger, ring, &["continues with", next], screen)
        }
        KeysChange::Fork { ledger: place, ring: own } => {
            ring()?;
            expect_outside(&place, &own)?;
            let to = stored(&own)?;
            let ledger = open(&place, |options| options.fork_keys(&place, to))?;
            let next = "Give it with every command for this copy. An erasure in one copy does not reach the other: make each request in both.";
            show(&place, &ledger, &own, &["has a key ring of its own,", next], screen)
        }
    }
}

/// `keys signer`: the file is new, and its owner's alone.
fn signer(file: &Path, name: &str, screen: &mut Screen) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Made<'a> {
        name: &'a str,
        key: String,
    }
    expect_free(file)?;
    let signer = Signer::generate(name, &mut OsEntropy::default())?;
    let written = disk::create_file(file).and_then(|mut out| {
        writeln!(out, "{}", signer.secret())?;
        out.sync_all()
    });
    written.map_err(|error| {
        let there = "it is there already, and a key is never overwritten; choose another file";
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        Failure::write(file)(if is_there { io::Error::new(error.kind(), there) } else { error })
    })?;
    let key = signer.verifier().to_string();
    if screen.json {
        screen.object(&Made { name, key })?;
    } else {
        screen.line(&key)?;
    }
    Ok(Answer::Yes)
}

fn open(
    place: &Path,
    change: impl FnOnce(LedgerOptions<'_>) -> Result<Ledger, OpenError>,
) -> Result<Ledger, Failure> {
    let ledger = on_log(place, "Reading the log", &mut Progress::new(), |options| {
        change(options.durability(Durability::Buffered))
    })?;
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
