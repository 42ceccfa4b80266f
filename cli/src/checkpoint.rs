//! `checkpoint`: what of a ledger can be filed, signed; and notes as other commands take them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use identity_ledger::proof::{Note, Signer};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::open_whole;

/// The long help.
pub(crate) const HELP: &str = "\
Sign what a ledger holds now, as a note to be filed elsewhere, published, or sent to a witness (C2SP signed-note and tlog-checkpoint). \
It names the ledger, how many records it has, the root of a tree over them, the head of the chain, when the last of them was recorded, \
and the root of a tree over what its ids came to. Nothing in it is a text of a sender. The log is read from its first record; no snapshot has a say.

  identity-ledger keys signer /secrets/shop.signer --name shop.example/ledger   # once; prints the key for others
  identity-ledger checkpoint shop.ledger --sign /secrets/shop.signer > shop.note
  identity-ledger verify shop.ledger --expect shop.note --key 'shop.example/ledger+...'

--json keys: note, records, head.";

#[derive(Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// The file of the key to sign with, as `keys signer` makes it
    #[arg(long, value_name = "KEYFILE")]
    sign: PathBuf,
}

#[derive(Serialize)]
struct Made {
    note: String,
    records: u64,
    head: identity_ledger::log::Digest,
}

pub(crate) fn checkpoint(args: CheckpointArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let CheckpointArgs { ledger: LedgerArgs { place, reading }, sign } = args;
    let signer = signer(&sign)?;
    let mut progress = Progress::beside(screen);
    let ledger = open_whole(&place, reading, &mut progress)?;
    progress.begin_waiting("Hashing the records");
    let note = ledger.reader().prover()?.sign(&signer)?.to_string();
    progress.clear();
    let identity_ledger::Checkpoint { records, head } = ledger.reader().checkpoint();
    if screen.json {
        screen.object(&Made { note, records, head })?;
    } else {
        screen.bytes(note.as_bytes())?;
    }
    Ok(Answer::Yes)
}

/// The key in a file.
pub(crate) fn signer(file: &Path) -> Result<Signer, Failure> {
    let text = fs::read_to_string(file).map_err(Failure::read(file))?;
    text.parse().map_err(|source| Failure::BadSigner { file: file.to_owned(), source })
}

/// The note in a file.
pub(crate) fn note(file: &Path) -> Result<Note, Failure> {
    let text = fs::read(file).map_err(Failure::read(file))?;
    let text = String::from_utf8(text)
        .map_err(|error| Failure::read(file)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    text.parse().map_err(|source| Failure::BadNote { file: file.to_owned(), source })
}
