//! `prove`: a proof of one answer, for those who do not have the ledger.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use identity_ledger::Reader;
use identity_ledger::log::IdNo;
use identity_ledger::proof::{Asked, Note, Verifier};
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
  identity-ledger prove shop.ledger --complete ann@example.com --sign /secrets/shop.signer -o case.proof
  identity-ledger prove shop.ledger --absent dora@example.com --sign /secrets/shop.signer -o case.proof
  identity-ledger prove shop.ledger --consistent last-year.note --sign /secrets/shop.signer -o case.proof

--property shows all values that the operation wrote which won the key, for they are bound by one hash. --erased takes the number of an \
id: answers call it $erased:7, and --complete takes that. What each proof proves, what it cannot, and who could cheat: docs/proofs.md.

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
    /// With --consistent: write the body of the request by which a witness is asked to sign (C2SP tlog-witness)
    #[arg(long, requires = "consistent", conflicts_with_all = ["same", "not_same", "event", "property", "erased", "complete", "absent"])]
    add_checkpoint: bool,
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
    /// Which records touch an id, and that no other does; an erased id by $erased:NUMBER
    #[arg(long, value_name = "ID")]
    complete: Option<String>,
    /// That no id has a text
    #[arg(long, value_name = "ID")]
    absent: Option<String>,
    /// That the records of an earlier note, signed by the same keys, are the first of these
    #[arg(long, value_name = "NOTE")]
    consistent: Option<PathBuf>,
}

impl AskedArgs {
    /// The note that --consistent names.
    fn earlier(&self) -> Result<Option<Note>, Failure> {
        self.consistent.as_deref().map(note).transpose()
    }
}

fn id_number(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("$erased:").unwrap_or(text);
    number.parse().map_err(|_| "expected the number of an id, such as 7 or $erased:7".to_owned())
}

impl AskedArgs {
    /// What is asked, of this ledger and this earlier note.
    fn asked<'a>(&'a self, reader: &Reader, earlier: Option<&'a Note>) -> Option<Asked<'a>> {
        let two = |two: &'a [String], asked: fn(&'a str, &'a str) -> Asked<'a>| match two {
            [a, b] => Some(asked(a, b)),
            _ => None,
        };
        let event = |event: EventName| match event {
            EventName::Id(id) => Asked::Event(id),
            EventName::Record(seq) => Asked::Record(seq),
        };
        let complete = |id: &'a String| match id_number(id) {
            // The number goes before the text: else a sender could hide an erased id behind one of this name.
            Ok(number) if id.starts_with('$') && reader.state().id_erased_by(IdNo(number)).is_some() => {
                Asked::CompleteErased(IdNo(number))
            }
            _ => Asked::Complete(id),
        };
        two(&self.same, Asked::Same)
            .or_else(|| two(&self.not_same, Asked::NotSame))
            .or_else(|| two(&self.property, Asked::Property))
            .or_else(|| self.event.map(event))
            .or_else(|| self.erased.map(|id| Asked::Erased(IdNo(id))))
            .or_else(|| self.complete.as_ref().map(complete))
            .or_else(|| self.absent.as_deref().map(Asked::Absent))
            .or_else(|| earlier.map(Asked::Consistent))
    }
}

#[derive(Serialize)]
struct Made<'a> {
    output: String,
    bytes: usize,
    fact: &'a identity_ledger::proof::Fact,
}

pub(crate) fn prove(args: ProveArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ProveArgs { ledger, asked, sign, note: noted, mut key, add_checkpoint, output } = args;
    let LedgerArgs { place, reading } = ledger;
    if !is_stdin(&output) {
        expect_free(&output)?;
    }
    let (signer, earlier) = (sign.as_deref().map(signer).transpose()?, asked.earlier()?);
    let mut progress = Progress::beside(screen);
    let ledger = open_whole(&place, reading, &mut progress)?;
    progress.begin_waiting("Making the proof");
    let (prover, note) = match (&signer, &noted) {
        (Some(signer), _) => {
            key = vec![signer.verifier()];
            let prover = ledger.reader().prover()?;
            let note = prover.sign(signer)?;
            (prover, note)
        }
        (None, file) => {
            let note = note(file.as_deref().expect("clap asks for one of the two"))?;
            (ledger.reader().prover_as_of(&note, &key)?, note)
        }
    };
    let asked = asked.asked(ledger.reader(), earlier.as_ref()).expect("clap asks for one of them");
    let proof = prover.prove(asked, &note, &key)?;
    progress.clear();
    let text = proof.add_checkpoint().filter(|_| add_checkpoint).unwrap_or_else(|| proof.to_string());
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
    let what = if add_checkpoint { "a witness's request" } else { "a proof" };
    screen.headline(&format!("{output}: {what} of {}", counted(bytes as u64, "byte")))?;
    screen.line(&format!("  {fact}"))?;
    Ok(Answer::Yes)
}
