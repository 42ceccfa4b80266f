//! What `retract`, `split` and `reclassify` have in common: the question, the record, and what it changes.

use clap::Args;
use identity_ledger::diff::{Diff, Preview};
use identity_ledger::fold::Correction;
use identity_ledger::{Appended, Operation, Outcome, Reader, Request, Seq, Timestamp, visible};
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

/// What retract, split and reclassify have in common.
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

/// What is said of a retract or split: what became of it, or would, and what it changes.
#[derive(Serialize)]
pub(crate) struct Said<'a> {
    /// Only of a reclassification: there may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct_id: Option<&'a str>,
    pub(crate) seq: Seq,
    recorded: bool,
    refusal: Option<&'static str>,
    pub(crate) rule: Option<&'static str>,
    blocking_seq: Option<Seq>,
    pub(crate) reason: Option<String>,
    diff: &'a Diff,
}

impl<'a> Said<'a> {
    pub(crate) fn of(
        reader: &Reader,
        operation: &'a Operation,
        preview: &'a Preview,
        recorded: bool,
    ) -> Said<'a> {
        let Preview { appended, diff } = preview;
        let Appended::Recorded { seq, outcome } = *appended else {
            unreachable!("an operation without an id is never a duplicate");
        };
        let distinct_id = match &operation.request {
            Request::Reclassify { id, .. } => Some(id.as_str()),
            _ => None,
        };
        Said {
            distinct_id,
            seq,
            recorded,
            refusal: outcome.refusal.map(|refusal| refusal.name()),
            rule: outcome.refusal.map(|refusal| refusal.rule()),
            blocking_seq: outcome.refusal.map(|refusal| refusal.blocking()),
            reason: outcome.refusal.map(|refusal| reader.reason(&refusal)),
            diff,
        }
    }
}

/// Records a retract or split, or says what it would do.
pub(crate) fn undo(
    how: &CorrectionArgs,
    operation: impl FnOnce(Timestamp) -> Operation,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    undo_all(how, |at| vec![operation(at)], screen)
}

/// Records corrections one after the other, or says what each would do by itself. Records none if one of them cannot be recorded.
pub(crate) fn undo_all(
    how: &CorrectionArgs,
    operations: impl FnOnce(Timestamp) -> Vec<Operation>,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let CorrectionArgs { ledger: LedgerArgs { place, reading }, time, dry_run } = how;
    let operations = operations(time.unwrap_or_else(now));
    let mut progress = Progress::new();
    let mut all = Answer::Yes;
    if *dry_run {
        let ledger = open_ledger(place, *reading, &mut progress, screen)?;
        let from = AnsweredFrom::reader(&ledger);
        for operation in &operations {
            progress.begin_waiting("Folding its component");
            let preview = ledger.reader().preview(operation)?;
            progress.clear();
            all = all.and(answer(ledger.reader(), &from, (operation, &preview), false, screen)?);
        }
        return Ok(all);
    }
    let mut ledger = open_for_writing(place, *reading, &mut progress, screen)?;
    let from = AnsweredFrom::of(ledger.reader(), ledger.recovery());
    if operations.len() > 1 {
        for operation in &operations {
            ledger.reader().preview(operation)?;
        }
    }
    for operation in &operations {
        progress.begin_waiting("Folding its component");
        let preview = ledger.reader().preview(operation)?;
        let appended = ledger.append(operation.clone())?;
        ledger.flush()?;
        progress.clear();
        let preview = Preview { appended, ..preview };
        all = all.and(answer(ledger.reader(), &from, (operation, &preview), true, screen)?);
    }
    Ok(all)
}

fn answer(
    reader: &Reader,
    from: &AnsweredFrom,
    (operation, preview): (&Operation, &Preview),
    recorded: bool,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let said = Said::of(reader, operation, preview, recorded);
    let Preview { appended, diff } = preview;
    let outcome = appended.outcome().expect("it is recorded, or would be");
    let answer = Answer::yes_if(outcome.refusal.is_none());
    if screen.json {
        screen.answer(&said, from)?;
        return Ok(answer);
    }
    screen.headline(&headline(&said, outcome))?;
    if diff.is_same_content() && said.refusal.is_some() {
        screen.line(&match recorded {
            true => format!("The refusal is record {}. No person changed.", said.seq),
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
    let Said { distinct_id, seq, recorded, rule, reason, .. } = said;
    if let (Some(rule), Some(reason)) = (rule, reason) {
        let refused = if *recorded { "Refused" } else { "It would be refused" };
        let id = distinct_id.map_or_else(String::new, |id| format!("`{}`: ", visible(id)));
        return format!("{id}{refused} by {rule}: {}", reason);
    }
    let by = if *recorded { format!(", by record {seq}") } else { String::new() };
    match outcome.undone {
        Some(Correction::Retracted { seq: target, .. }) => {
            let verb = if *recorded { "counts" } else { "would count" };
            format!("Record {target} {verb} as never asked{by}")
        }
        Some(Correction::Split { left }) => {
            let verb = if *recorded { "left" } else { "would leave" };
            format!("{} {verb} the person{by}", counted(left.into(), "id"))
        }
        Some(Correction::Reclassified { from, to, .. }) => {
            let verb = if *recorded { "counts" } else { "would count" };
            let (id, from, to) = (visible(distinct_id.unwrap_or_default()), from.name(), to.name());
            format!("`{id}` {verb} as {to} from its definition on, and not as {from}{by}")
        }
        None => unreachable!("what is not refused undoes something"),
    }
}
