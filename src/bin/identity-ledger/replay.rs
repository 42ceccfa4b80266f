//! `replay`: the whole log once more, and what it folds to.
#![expect(clippy::disallowed_types, reason = "the shell: how long it took")]

use std::time::{Duration, Instant};

use identity_ledger::{Book, Digest, Fault};
use serde::Serialize;

use crate::Answer;
use crate::args::SourceArgs;
use crate::failure::Failure;
use crate::folding::Folded;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::text::{clean, count};

#[derive(Serialize)]
struct Replayed {
    records: u64,
    events: u64,
    persons: u64,
    distinct_ids: u64,
    digest: Digest,
    content_digest: Digest,
    head: Digest,
    seconds: f64,
}

pub(crate) fn replay(args: SourceArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let mut progress = Progress::new();
    let book = Folded::open_whole(&args, &mut progress)?;
    let replayed = measure(&book, &mut progress)?;
    if screen.json {
        screen.object(&replayed)?;
    } else {
        show(&args, &replayed, screen)?;
    }
    Ok(Answer::Yes)
}

/// Folds once more, and only that: what opening did beside (indexes for texts) would only blur the time.
fn measure(book: &Book, progress: &mut Progress) -> Result<Replayed, Fault> {
    let checkpoint = book.checkpoint();
    let (mut events, mut persons, mut distinct_ids) = (0, 0, 0);
    let mut digest = None;
    let mut elapsed = Duration::ZERO;
    progress.begin("Folding", None);
    progress.wait();
    let began = Instant::now();
    book.replay(|step| {
        if step.record.seq().0 + 1 == checkpoint.records {
            elapsed = began.elapsed();
            let state = step.state;
            events = state.ids().map(|id| state.events_of_id(id).events).sum();
            persons = number(state.persons().count());
            distinct_ids = number(state.ids().len());
            digest = Some(state.digest());
        }
    })?;
    progress.begin("Content digest", None);
    progress.wait();
    let content_digest = book.content_digest()?;
    progress.clear();
    Ok(Replayed {
        records: checkpoint.records,
        events,
        persons,
        distinct_ids,
        digest: digest.expect("a log has at least its genesis record"),
        content_digest,
        head: checkpoint.head,
        seconds: elapsed.as_secs_f64(),
    })
}

fn number(count: usize) -> u64 {
    u64::try_from(count).expect("a count of things in memory fits 64 bits")
}

fn show(args: &SourceArgs, replayed: &Replayed, screen: &mut Screen) -> Result<(), Failure> {
    let Replayed { records, seconds, .. } = *replayed;
    let source = args.source.display().to_string();
    screen.headline(&format!("Replayed {}: {} records in {seconds:.3} s", clean(&source), count(records)))?;
    screen.facts(&[
        ("events", count(replayed.events)),
        ("persons", count(replayed.persons)),
        ("distinct ids", count(replayed.distinct_ids)),
        ("digest", replayed.digest.to_string()),
        ("content digest", replayed.content_digest.to_string()),
        ("head", replayed.head.to_string()),
    ])
}
