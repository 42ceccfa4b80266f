//! `retract` and `split`: what was recorded counts as never asked, or ids leave their person. And what that would do.

use identity_ledger::diff::{Diff, Preview};
use identity_ledger::fold::Correction;
use identity_ledger::{Appended, DistinctId, Operation, Outcome, Reader, Seq, SplitMode, Target, Timestamp};
use serde::Serialize;

use crate::Answer;
use crate::args::{CorrectionArgs, RetractArgs, SplitArgs};
use crate::clock::now;
use crate::diff::show_component;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_for_writing, open_ledger};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::text::counted;

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

pub(crate) fn retract(args: RetractArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let RetractArgs { how, seq, operation } = args;
    let target = match operation {
        Some(id) => Target::Operation(id),
        None => Target::Record(Seq(seq.unwrap_or_default())), // clap lets neither through without the other
    };
    undo(&how, |at| Operation::retract(at, target), screen)
}

pub(crate) fn split(args: SplitArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let SplitArgs { how, id, ids, each_id, each: _, together } = args;
    let mode = if together { SplitMode::Together } else { SplitMode::Each };
    let ids: Vec<DistinctId> = ids.into_iter().chain(each_id).collect();
    undo(&how, |at| Operation::split(at, id, ids, mode), screen)
}

fn undo(
    how: &CorrectionArgs,
    operation: impl FnOnce(Timestamp) -> Operation,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let CorrectionArgs { ledger: place, reading, at, dry_run } = how;
    let operation = operation(at.unwrap_or_else(now));
    let mut progress = Progress::new();
    if *dry_run {
        let ledger = open_ledger(place, *reading, &mut progress, screen)?;
        let preview = ledger.reader().preview(&operation)?;
        return answer(ledger.reader(), &AnsweredFrom::reader(&ledger), &preview, false, screen);
    }
    let mut ledger = open_for_writing(place, *reading, &mut progress, screen)?;
    let from = AnsweredFrom::of(ledger.reader(), ledger.recovery());
    let preview = ledger.reader().preview(&operation)?;
    let appended = ledger.append(operation)?;
    ledger.flush()?;
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
    let answer = if outcome.refusal.is_some() { Answer::No } else { Answer::Yes };
    if screen.json {
        screen.answer(&said, from)?;
        return Ok(answer);
    }
    screen.headline(&headline(&said, &outcome))?;
    if diff.is_same_content() && said.refusal.is_some() {
        screen.line("Nothing changes.")?;
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
