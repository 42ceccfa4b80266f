//! `replay`: the whole log once more, and what it folds to.
#![expect(clippy::disallowed_types, reason = "the shell: how long it took")]

use std::path::Path;
use std::time::{Duration, Instant};

use identity_ledger::fold::State;
use identity_ledger::log::{Digest, KeysError};
use identity_ledger::{Checkpoint, LedgerOptions, OpenError, Reader};
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
  seconds         reading, checking, decoding and folding, nothing else

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
    let mut progress = Progress::new();
    let (replayed, answer) = match Source::open_whole(&args, &mut progress) {
        Err(Failure::Open(error)) if matches!(*error, OpenError::Keys(KeysError::Sealed { .. })) => {
            remark("note", "it is sealed: folded without texts and values, which are not looked at");
            (measure_sealed(&args.source, args.reading, &mut progress)?, Answer::Yes)
        }
        opened => {
            let reader = opened?;
            (measure(&reader, &mut progress)?, reader.answer())
        }
    };
    if screen.json {
        let Replayed { records, head, .. } = replayed;
        let from = args.source.is_dir().then_some(AnsweredFrom::log(Checkpoint { records, head }));
        screen.answer(&replayed, &from)?;
    } else {
        show(&args, &replayed, screen)?;
    }
    Ok(answer)
}

/// Folds once more, and only that: what opening did beside (indexes for texts) would only blur the time.
fn measure(reader: &Reader, progress: &mut Progress) -> Result<Replayed, Failure> {
    let checkpoint = reader.checkpoint();
    let mut replayed = None;
    progress.begin_waiting("Folding");
    let began = Instant::now();
    reader.replay(|step| {
        if step.record.seq().0 + 1 == checkpoint.records {
            replayed = Some(Replayed::of(step.state, checkpoint, began.elapsed()));
        }
    })?;
    progress.begin_waiting("Content digest");
    let content_digest = Some(reader.content_digest()?);
    progress.clear();
    Ok(Replayed { content_digest, ..replayed.expect("a log has at least its genesis record") })
}

/// Chain and state of a ledger whose keys are not at hand: neither needs a text.
fn measure_sealed(place: &Path, reading: Reading, progress: &mut Progress) -> Result<Replayed, Failure> {
    progress.begin("Folding", log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let began = Instant::now();
    let replay = reading.asked_of(LedgerOptions::new().progress(&mut watch)).replay(place, false, |_| {})?;
    let elapsed = began.elapsed();
    progress.clear();
    Ok(Replayed::of(replay.state(), replay.chain().checkpoint(), elapsed))
}

impl Replayed {
    /// All that needs no text.
    fn of(state: &State, Checkpoint { records, head }: Checkpoint, elapsed: Duration) -> Replayed {
        Replayed {
            records,
            events: state.events(),
            persons: number(state.persons().count()),
            distinct_ids: number(state.ids().len()),
            digest: state.digest(),
            content_digest: None,
            head,
            seconds: elapsed.as_secs_f64(),
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
