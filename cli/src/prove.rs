//! `prove`: a proof of one answer, for those who do not have the ledger.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use identity_ledger::log::IdNo;
use identity_ledger::proof::{Asked, Verifier};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::checkpoint::{note, signer};
use crate::explain::EventName;
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::output::expect_free;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::open_whole;
use crate::text::counted;

/// The long help.
pub(crate) const HELP: &str = "\
Write a proof of one answer, which `check` checks without the ledger: a file of text with a signed checkpoint, the records that the \
answer cites, and the hashes that lead from these to that. It shows the texts that were asked about and no other; everything else in it is numbers. \
Exit status 1 if what was asked is not so, or cannot be shown because it is erased.

  identity-ledger prove shop.ledger --same ann@example.com phone-7 --sign /secrets/shop.signer -o case.proof
  identity-ledger prove shop.ledger --event 4711 --note shop.note --key 'shop.example/ledger+...' -o case.proof
  identity-ledger prove shop.ledger --property ann@example.com plan --sign /secrets/shop.signer -o case.proof
  identity-ledger prove shop.ledger --erased 7 --sign /secrets/shop.signer -o case.proof

--property shows all values that the operation wrote which won the key, for they are bound by one hash. --erased takes the number of an \
id: other commands call it $erased:7. What each proof proves, what it cannot, and who could cheat: docs/proofs.md.

--json keys: output, bytes, fact (as `check` gives it).";

#[derive(Args)]
pub(crate) struct ProveArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    asked: AskedArgs,
    /// Make the checkpoint now, and sign it with the key in this file
    #[arg(long, value_name = "KEYFILE", conflicts_with = "note", required_unless_present = "note")]
    sign: Option<PathBuf>,
    /// A checkpoint that was signed before: the proof is as of its records
    #[arg(long, value_name = "NOTE", requires = "key")]
    note: Option<PathBuf>,
    /// A key that signed that note; several times for several. Other signatures are left out of the proof
    #[arg(long, value_name = "VKEY", conflicts_with = "sign")]
    key: Vec<Verifier>,
    /// Where to write the proof; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct AskedArgs {
    /// That two ids are one person
    #[arg(long, num_args = 2, value_names = ["ID", "ID"])]
    same: Vec<String>,
    /// That two ids are not one person
    #[arg(long, num_args = 2, value_names = ["ID", "ID"])]
    not_same: Vec<String>,
    /// That an event is recorded: its id, or the number of its record
    #[arg(long, value_name = "ID|SEQ", value_parser = EventName::parse)]
    event: Option<EventName>,
    /// That the person of an id has a property
    #[arg(long, num_args = 2, value_names = ["ID", "KEY"])]
    property: Vec<String>,
    /// That the text of an id was erased, by its number
    #[arg(long, value_name = "NUMBER", value_parser = id_number)]
    erased: Option<u32>,
}

fn id_number(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("$erased:").unwrap_or(text);
    number.parse().map_err(|_| "expected the number of an id, such as 7 or $erased:7".to_owned())
}

impl AskedArgs {
    fn asked(&self) -> Option<Asked<'_>> {
        match (&self.same[..], &self.not_same[..], &self.property[..], self.event, self.erased) {
            ([a, b], ..) => Some(Asked::Same(a, b)),
            (_, [a, b], ..) => Some(Asked::NotSame(a, b)),
            (_, _, [id, key], ..) => Some(Asked::Property(id, key)),
            (_, _, _, Some(EventName::Id(id)), _) => Some(Asked::Event(id)),
            (_, _, _, Some(EventName::Record(seq)), _) => Some(Asked::Record(seq)),
            (.., id) => id.map(|id| Asked::Erased(IdNo(id))),
        }
    }
}

#[derive(Serialize)]
struct Made<'a> {
    output: String,
    bytes: usize,
    fact: &'a identity_ledger::proof::Fact,
}

pub(crate) fn prove(args: ProveArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ProveArgs { ledger: LedgerArgs { place, reading }, asked, sign, note: noted, mut key, output } = args;
    if !is_stdin(&output) {
        expect_free(&output)?;
    }
    let signer = sign.as_deref().map(signer).transpose()?;
    let mut progress = Progress::beside(screen);
    let ledger = open_whole(&place, reading, &mut progress)?;
    progress.begin_waiting("Making the proof");
    let (prover, note) = match (&signer, &noted) {
        (Some(signer), _) => {
            key = vec![signer.verifier()];
            let prover = ledger.reader().prover()?;
            let note = prover.sign(signer);
            (prover, note)
        }
        (None, file) => {
            let note = note(file.as_deref().expect("clap asks for one of the two"))?;
            (ledger.reader().prover_as_of(&note, &key)?, note)
        }
    };
    let asked = asked.asked().expect("clap asks for one of them");
    let proof = prover.prove(asked, &note, &key)?;
    progress.clear();
    let text = proof.to_string();
    if is_stdin(&output) {
        screen.bytes(text.as_bytes())?;
        return Ok(Answer::Yes);
    }
    fs::write(&output, &text).map_err(Failure::write(&output))?;
    let fact = proof
        .check(&key)
        .map_err(|error| Failure::Prove(Box::new(identity_ledger::proof::ProveError::Wrong(error))))?
        .fact;
    let (output, bytes) = (output.display().to_string(), text.len());
    if screen.json {
        screen.object(&Made { output, bytes, fact: &fact })?;
        return Ok(Answer::Yes);
    }
    screen.headline(&format!("{output}: a proof of {}", counted(bytes as u64, "byte")))?;
    screen.line(&format!("  {fact}"))?;
    Ok(Answer::Yes)
}
