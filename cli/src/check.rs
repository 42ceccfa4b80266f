//! `check`: whether a proof holds, without the ledger that it is of.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use identity_ledger::Timestamp;
use identity_ledger::log::Digest;
use identity_ledger::model::LedgerId;
use identity_ledger::proof::{Fact, Proof, Proven, Signed, Verifier};
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::text::count;

/// The long help.
pub(crate) const HELP: &str = "\
Check a proof that `prove` made, without the ledger: the signatures, every hash, every text against its record, and that what is claimed \
follows from the records. Says in plain words what is proven and what is not. Exit status 1 if the proof does not hold.

  identity-ledger check case.proof --key 'shop.example/ledger+7d3a...'

A key is NAME+ID+KEY, as `keys signer` prints it, and has to come from someone you trust, not with the proof. Every key that is given must have signed, and \
no other may have: a proof with a witness's signature needs the key of the witness too.

--json keys: ok, why (null, or what is wrong), ledger_id, records, head, recorded_at, signed (name, time), fact, limits; null unless ok. Keys of \
fact: fact (its kind), and ids, records of same; ids of not_same; seq, event_id, event, distinct_id, time, recorded_at of event; distinct_id, key, value, seq, \
time of property; id, defined, erased_by, erased_at, done of erased; id, distinct_id, records (seq, op, recorded_at, retracted_by) of complete; distinct_id of \
absent; records, head, recorded_at of consistent.";

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// A key that must have signed; several times for several
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<Verifier>,
}

#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    why: Option<&'a str>,
    ledger_id: Option<LedgerId>,
    records: Option<u64>,
    head: Option<Digest>,
    recorded_at: Option<Timestamp>,
    signed: Option<&'a [Signed]>,
    fact: Option<&'a Fact>,
    limits: Option<&'static str>,
}

pub(crate) fn check(
    CheckArgs { proof: file, key }: CheckArgs,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let bytes = fs::read(&file).map_err(Failure::read(&file))?;
    let checked = read(bytes).and_then(|proof| proof.check(&key).map_err(|error| error.to_string()));
    let shown = file.display();
    if screen.json {
        screen.object(&Checked::of(&checked))?;
        return Ok(Answer::yes_if(checked.is_ok()));
    }
    let Proven { checkpoint, signed, fact } = match checked {
        Ok(proven) => proven,
        Err(why) => {
            screen.headline(&format!("{shown} does NOT hold"))?;
            screen.line(&format!("  {why}"))?;
            return Ok(Answer::No);
        }
    };
    screen.headline(&format!("{shown} holds: {fact}"))?;
    screen.line("")?;
    let signed = signed.iter().map(|Signed { name, time }| match time {
        None => name.clone(),
        Some(time) => format!("{name}, a witness, at {time}"),
    });
    let mut facts = vec![
        ("of the ledger", checkpoint.ledger.to_string()),
        (
            "as of",
            format!(
                "its first {} records, the last recorded at {}",
                count(checkpoint.checkpoint.records),
                checkpoint.recorded_at
            ),
        ),
        ("head", checkpoint.checkpoint.head.to_string()),
    ];
    facts.extend(signed.map(|signed| ("signed by", signed)));
    screen.facts(&facts)?;
    screen.line("")?;
    screen.line(&format!("Not proven: {}.", fact.limits()))?;
    Ok(Answer::Yes)
}

fn read(bytes: Vec<u8>) -> Result<Proof, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not a text".to_owned())?;
    text.parse::<Proof>().map_err(|error| error.to_string())
}

impl<'a> Checked<'a> {
    fn of(checked: &'a Result<Proven, String>) -> Checked<'a> {
        let proven = checked.as_ref().ok();
        let checkpoint = proven.map(|proven| &proven.checkpoint);
        Checked {
            ok: checked.is_ok(),
            why: checked.as_ref().err().map(String::as_str),
            ledger_id: checkpoint.map(|checkpoint| checkpoint.ledger),
            records: checkpoint.map(|checkpoint| checkpoint.checkpoint.records),
            head: checkpoint.map(|checkpoint| checkpoint.checkpoint.head),
            recorded_at: checkpoint.map(|checkpoint| checkpoint.recorded_at),
            signed: proven.map(|proven| &proven.signed[..]),
            fact: proven.map(|proven| &proven.fact),
            limits: proven.map(|proven| proven.fact.limits()),
        }
    }
}
