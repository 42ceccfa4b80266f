//! `replay`: the whole log once more, and what it folds to.
#![expect(clippy::disallowed_types, reason = "the shell: how long it took")]

use std::path::Path;
use std::time::Instant;

use identity_ledger::fold::State;
use identity_ledger::log::{Digest, KeysError};
use identity_ledger::{Checkpoint, LedgerOptions, OpenError};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{Reading, SourceArgs};
use crate::failure::Failure;
use crate::progress::{Progress, log_bytes};
use crate::screen::{Screen, remark};
use crate::source::{AnsweredFrom, Source};
use crate::text::count;

/// The long help.
pub(crate) const HELP: &str = "\
Fold the whole log again from its first byte, checking every hash and every commitment on the way.

  identity-ledger replay shop.ledger
  identity-ledger replay events.jsonl.gz --preset strict

What is shown:
  records         everything in the log: operations, definitions, policies
  events          captures
  persons         living persons; a merged one no longer counts
  distinct_ids    ids ever written, with a person or without
  digest          of the state in numbers: equal logs, equal digests
  content_digest  of what it means: equal for logs that mean the same
  head            the hash that ends the log; see `verify --expect`
  seconds         all of it: reading, checking, folding, both digests

--json keys: those.";

#[derive(Serialize)]
struct Replayed {
    records: u64,
    events: u64,
    persons: u64,
    distinct_ids: u64,
    digest: Digest,
    /// Of a sealed ledger only with its keys.
    content_digest: Option<Digest>,
    head: Digest,
    seconds: f64,
}

pub(crate) fn replay(args: SourceArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let began = Instant::now();
    let mut progress = Progress::new();
    let (mut replayed, answer) = match Source::open_whole(&args, &mut progress) {
        Err(Failure::Open(error)) if matches!(*error, OpenError::Keys(KeysError::Sealed { .. })) => {
            remark("note", "it is sealed: folded without texts and values, which are not looked at");
            (fold_sealed(&args.source, args.reading, &mut progress)?, Answer::Yes)
        }
        opened => {
            let reader = opened?;
            progress.begin_waiting("Content digest");
            let content_digest = Some(reader.content_digest()?);
            progress.clear();
            (
                Replayed { content_digest, ..Replayed::of(reader.state(), reader.checkpoint()) },
                reader.answer(),
            )
        }
    };
    replayed.seconds = began.elapsed().as_secs_f64();
    if screen.json {
        let Replayed { records, head, .. } = replayed;
        let from = args.source.is_dir().then_some(AnsweredFrom::log(Checkpoint { records, head }));
        screen.answer(&replayed, &from)?;
    } else {
        show(&args, &replayed, screen)?;
    }
    Ok(answer)
}

/// Chain and state of a ledger whose keys are not at hand: neither needs a text.
fn fold_sealed(place: &Path, reading: Reading, progress: &mut Progress) -> Result<Replayed, Failure> {
    progress.begin("Folding", log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let replay = reading.asked_of(LedgerOptions::new().progress(&mut watch)).replay(place, false, |_| {})?;
    progress.clear();
    Ok(Replayed::of(replay.state(), replay.chain().checkpoint()))
}

impl Replayed {
    /// All that needs no text, and no clock.
    fn of(state: &State, Checkpoint { records, head }: Checkpoint) -> Replayed {
        Replayed {
            records,
            events: state.events(),
            persons: number(state.persons().count()),
            distinct_ids: number(state.ids().len()),
            digest: state.digest(),
            content_digest: None,
            head,
            seconds: 0.0,
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).expect("a count of things in memory fits 64 bits")
}

fn show(args: &SourceArgs, replayed: &Replayed, screen: &mut Screen) -> Result<(), Failure> {
    let Replayed { records, seconds, .. } = *replayed;
    let source = args.source.display().to_string();
    screen.headline(&format!("Replayed {source}: {} records in {seconds:.3} s", count(records)))?;
    screen.facts(&[
        ("events", count(replayed.events)),
        ("persons", count(replayed.persons)),
        ("ids ever written", count(replayed.distinct_ids)),
        ("digest", replayed.digest.to_string()),
        (
            "content digest",
            replayed.content_digest.map_or("needs the keys".to_owned(), |digest| digest.to_string()),
        ),
        ("head", replayed.head.to_string()),
    ])
}
