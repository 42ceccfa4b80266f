//! `diff`: in what two ledgers differ, or one ledger at two of its records; and how a difference is shown.

use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::diff::{Diff, View};
use identity_ledger::{Checkpoint, Reader};

use crate::answer::Answer;
use crate::args::Reading;
use crate::difference::show;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{AnsweredFrom, expect_record, open_ledger};

/// The long help.
pub(crate) const HELP: &str = "\
Say in what the meaning of two ledgers differs, or of one ledger right after two of its records.

  identity-ledger diff shop.ledger restored.ledger          # two ledgers, by their texts
  identity-ledger diff shop.ledger --at 1000                # then and now
  identity-ledger diff shop.ledger --at 1000 --at 2000      # then and later
  identity-ledger diff shop.ledger copy.ledger --at 1000    # the first then, the second now

Persons are matched by person id, ids and devices by their texts, events by all they hold. Two points of one ledger are matched \
by number; that is faster.

What is shown: as `what-if`, and events that only one of the two has.

Exit status as of diff(1): 0 no difference, 1 some, 2 trouble.

--json keys: merged, split, renamed, created, gone, persons, moved_ids, new_ids, gone_ids, moved_events, events, properties, \
devices, refusals, counts (before and after: persons, identified_persons, distinct_ids, events, identified_events, \
propertyless_events), classes_kept (ids whose text is erased).";

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// A ledger's directory
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The directory of another ledger; without it, A again
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// Take A right after this record; a second --at is for B
    #[arg(long, value_name = "SEQ")]
    at: Vec<u64>,
    /// Fold both logs whole, and use no snapshot
    #[arg(long)]
    from_log: bool,
    /// Answer only if A's log passes through this checkpoint, kept elsewhere; a second --expect is for B. Folds both logs whole
    #[arg(long, value_name = "RECORDS:HEAD")]
    expect: Vec<Checkpoint>,
}

pub(crate) fn diff(args: DiffArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let DiffArgs { first, second, at, from_log, expect } = args;
    let [first_at, second_at] = match at[..] {
        [] if second.is_none() => return Err(Failure::NothingToCompare),
        [] => [None, None],
        [first] => [Some(first), None],
        [first, second] => [Some(first), Some(second)],
        _ => return Err(Failure::TooManyPlaces { found: at.len() }),
    };
    if expect.len() > 1 + usize::from(second.is_some()) {
        return Err(Failure::TooManyCheckpoints { found: expect.len() });
    }
    let from_log = from_log || !expect.is_empty(); // one side that is proven proves nothing of the other
    let reading = |side: usize| Reading { from_log, expect: expect.get(side).copied() };
    let mut progress = Progress::new();
    let before = open_ledger(&first, reading(0), &mut progress, screen)?;
    let other = second.filter(|second| !is_same_place(&first, second));
    let after = match &other {
        Some(other) => Some(open_ledger(other, reading(1), &mut progress, screen)?),
        None => None,
    };
    progress.begin("Comparing", None);
    progress.wait();
    let views = [
        view_at(before.reader(), first_at)?,
        view_at(after.as_ref().unwrap_or(&before).reader(), second_at)?,
    ];
    let diff = Diff::between(&views[0], &views[1])?;
    progress.clear();
    if screen.json {
        let from: Vec<AnsweredFrom> = [&before].into_iter().chain(&after).map(AnsweredFrom::reader).collect();
        screen.answer(&diff, &from)?;
    } else {
        let named = |place: &Path, at: Option<u64>| match at {
            Some(at) => format!("{} right after record {at}", place.display()),
            None => place.display().to_string(),
        };
        let second = other.as_deref().unwrap_or(&first);
        let (before, after) = (named(&first, first_at), named(second, second_at));
        let verdict = if diff.is_empty() { "mean the same" } else { "differ" };
        screen.headline(&format!("{before} and {after} {verdict}"))?;
        show(&diff, screen)?;
    }
    Ok(Answer::yes_if(diff.is_empty()))
}

fn view_at(reader: &Reader, at: Option<u64>) -> Result<View<'_>, Failure> {
    match at {
        None => Ok(reader.view()),
        Some(at) => Ok(reader.view_as_of(expect_record(reader, at)?)?),
    }
}

fn is_same_place(first: &Path, second: &Path) -> bool {
    match (first.canonicalize(), second.canonicalize()) {
        (Ok(first), Ok(second)) => first == second,
        _ => false, // opening says what is wrong
    }
}
