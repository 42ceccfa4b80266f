//! What `retract` and `split` have in common: the question, the record, and what it changes.

use clap::Args;
use identity_ledger::diff::{Diff, Preview};
use identity_ledger::fold::Correction;
use identity_ledger::{Appended, Operation, Outcome, Reader, Seq, Timestamp};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::clock::now;
use crate::difference::show_component;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{AnsweredFrom, open_for_writing, open_ledger};
use crate::text::counted;

/// What retract and split have in common.
#[derive(Args)]
pub(crate) struct CorrectionArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// When it is asked, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long = "at", value_name = "TIME")]
    time: Option<Timestamp>,
    /// Only say what it would do; the ledger is opened read-only
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    seq: Seq,
    recorded: bool,
    refusal: Option<&'static str>,
    rule: Option<&'static str>,
    blocking_seq: Option<Seq>,
    reason: Option<&'a str>,
    diff: &'a Diff,
}

/// Records a retract or split, or says what it would do.
pub(crate) fn undo(
    how: &CorrectionArgs,
    operation: impl FnOnce(Timestamp) -> Operation,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let CorrectionArgs { ledger: LedgerArgs { place, reading }, time, dry_run } = how;
    let operation = operation(time.unwrap_or_else(now));
    let mut progress = Progress::new();
    if *dry_run {
        let ledger = open_ledger(place, *reading, &mut progress, screen)?;
        progress.begin_waiting("Folding its component");
        let preview = ledger.reader().preview(&operation)?;
        progress.clear();
        return answer(ledger.reader(), &AnsweredFrom::reader(&ledger), &preview, false, screen);
    }
    let mut ledger = open_for_writing(place, *reading, &mut progress, screen)?;
    let from = AnsweredFrom::of(ledger.reader(), ledger.recovery());
    progress.begin_waiting("Folding its component");
    let preview = ledger.reader().preview(&operation)?;
    let appended = ledger.append(operation)?;
    ledger.flush()?;
    progress.clear();
    answer(ledger.reader(), &from, &Preview { appended, ..preview }, true, screen)
}

fn answer(
    reader: &Reader,
    from: &AnsweredFrom,
    preview: &Preview,
    recorded: bool,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let Preview { appended, diff } = preview;
    let Appended::Recorded { seq, outcome } = *appended else {
        unreachable!("an operation without an id is never a duplicate");
    };
    let reason = outcome.refusal.map(|refusal| reader.reason(&refusal));
    let said = Said {
        seq,
        recorded,
        refusal: outcome.refusal.map(|refusal| refusal.name()),
        rule: outcome.refusal.map(|refusal| refusal.rule()),
        blocking_seq: outcome.refusal.map(|refusal| refusal.blocking()),
        reason: reason.as_deref(),
        diff,
    };
    let answer = Answer::yes_if(outcome.refusal.is_none());
    if screen.json {
        screen.answer(&said, from)?;
        return Ok(answer);
    }
    screen.headline(&headline(&said, &outcome))?;
    if diff.is_same_content() && said.refusal.is_some() {
        screen.line(&match recorded {
            true => format!("The refusal is record {seq}. No person changed."),
            false => "No person would change.".to_owned(),
        })?;
    } else {
        show_component(diff, screen)?;
    }
    if !recorded {
        screen.line("")?;
        screen.line("Nothing was recorded; without --dry-run it is.")?;
    }
    Ok(answer)
}

/// What happened, or would.
fn headline(said: &Said<'_>, outcome: &Outcome) -> String {
    let Said { seq, recorded, rule, reason, .. } = said;
    if let (Some(rule), Some(reason)) = (rule, reason) {
        let refused = if *recorded { "Refused" } else { "It would be refused" };
        return format!("{refused} by {rule}: {}", reason);
    }
    let by = if *recorded { format!(", by record {seq}") } else { String::new() };
    match outcome.undone {
        Some(Correction::Retracted { seq: target }) => {
            let verb = if *recorded { "counts" } else { "would count" };
            format!("Record {target} {verb} as never asked{by}")
        }
        Some(Correction::Split { left }) => {
            let verb = if *recorded { "left" } else { "would leave" };
            format!("{} {verb} the person{by}", counted(left.into(), "id"))
        }
        None => unreachable!("what is not refused undoes something"),
    }
}
