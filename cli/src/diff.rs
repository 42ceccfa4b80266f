//! `diff`: in what two ledgers differ, or one ledger at two of its records; and how a difference is shown.

use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::diff::{Diff, View};
use identity_ledger::storage::Fault;
use identity_ledger::{Checkpoint, Reader, Seq};

use crate::answer::Answer;
use crate::args::Reading;
use crate::difference::show;
use crate::failure::Failure;
use crate::moment::{MOMENT, Moment};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{AnsweredFrom, open_ledger};

/// The long help.
pub(crate) const HELP: &str = "\
Say in what the meaning of two ledgers differs, or of one ledger right after two of its records or at two times.

  identity-ledger diff shop.ledger restored.ledger          # two ledgers, by their texts
  identity-ledger diff shop.ledger --at 1000                # then and now
  identity-ledger diff shop.ledger --at 1000 --at 2000      # then and later
  identity-ledger diff shop.ledger --at 2026-03-03 --at 2026-03-10   # what a week changed, by when it was recorded
  identity-ledger diff shop.ledger copy.ledger --at 1000    # the first then, the second now

Persons are matched by person id, ids and devices by their texts, events by all they hold. Two points of one ledger are matched \
by number; that is faster.

What is shown: as `what-if`, and events that only one of the two has.

Exit status as of diff(1): 0 no difference, 1 some, 2 trouble.

--json keys: merged, split, renamed, created, gone, persons, moved_ids (distinct_id, from, to), new_ids and gone_ids (distinct_id, person_id), moved_events, events, properties, \
devices, refusals, counts (before and after: persons, identified_persons, ids_with_person, events, identified_events, \
propertyless_events), classes_kept (ids whose text is erased).";

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// A ledger's directory
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The directory of another ledger; without it, A again
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// Take A right after this record, or at this time (2026-03-03T12:00:00Z, or 2026-03-03: its first moment in UTC); a second --at is for B
    #[arg(long, value_name = MOMENT)]
    at: Vec<Moment>,
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
    progress.begin_waiting("Comparing");
    let readers = [before.reader(), after.as_ref().unwrap_or(&before).reader()];
    let record = |side: usize, at: Option<Moment>| at.map(|at| at.record(readers[side], screen)).transpose();
    let ats = [record(0, first_at)?, record(1, second_at)?];
    let views = [view_at(readers[0], ats[0])?, view_at(readers[1], ats[1])?];
    let diff = Diff::between(&views[0], &views[1])?;
    progress.clear();
    if screen.json {
        let sides = [Some(&before), after.as_ref().or(ats[1].map(|_| &before))];
        let from = sides.into_iter().zip(ats);
        let from: Vec<AnsweredFrom> =
            from.filter_map(|(side, at)| Some(AnsweredFrom::reader(side?).at(at))).collect();
        screen.answer(&diff, &from)?;
    } else {
        let named = |place: &Path, at: Option<Seq>| match at {
            Some(at) => format!("{} right after record {at}", place.display()),
            None => place.display().to_string(),
        };
        let second = other.as_deref().unwrap_or(&first);
        let (before, after) = (named(&first, ats[0]), named(second, ats[1]));
        let verdict = if diff.is_empty() { "mean the same" } else { "differ" };
        screen.headline(&format!("{before} and {after} {verdict}"))?;
        show(&diff, screen)?;
    }
    Ok(Answer::yes_if(diff.is_empty()))
}

fn view_at(reader: &Reader, at: Option<Seq>) -> Result<View<'_>, Fault> {
    match at {
        None => Ok(reader.view()),
        Some(at) => reader.view_as_of(at),
    }
}

fn is_same_place(first: &Path, second: &Path) -> bool {
    match (first.canonicalize(), second.canonicalize()) {
        (Ok(first), Ok(second)) => first == second,
        _ => false, // opening says what is wrong
    }
}
