//! `why-not`: what keeps two ids apart.

use clap::Args;
use identity_ledger::explain::{Barrier, Remedy, WhyNot, WhyNotStep};
use identity_ledger::{PersonId, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::input::expect_no_list;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::text::counted;
use crate::unknown::{remark_unknown, unknown};

/// The long help.
pub(crate) const HELP: &str = "\
Say why two ids are two persons: a way from the one to the other through everything that was ever said of ids together, and what \
was refused or undone on it, with rule and record. Of all ways it is the one with the fewest barriers. Exit status 1 if they are \
one person after all, or an id was never written.

  identity-ledger why-not shop.ledger ann@example.com bob@example.com
  identity-ledger why-not shop.ledger ann@example.com bob@example.com --json | jq .refusals

What is shown:
  │ record 17   a record that names the ids above and below it; they are one person
  ╳ record 23   one whose ids are kept apart; the rule, the record that blocks, why, and what to try

--json keys: same, refusals (seq, rule, blocking_seq, reason, remedy), way (seq, op, ids, time, barrier), person_a, person_b, unknown_ids.";

#[derive(Args)]
pub(crate) struct WhyNotArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    /// A distinct id, exactly as it was sent
    #[arg(value_name = "A")]
    a: String,
    /// Another distinct id
    #[arg(value_name = "B")]
    b: String,
}

#[derive(Serialize)]
pub(crate) struct Said<'a> {
    same: bool,
    refusals: Vec<RefusedStep<'a>>,
    way: &'a [WhyNotStep],
    person_a: Option<PersonId>,
    person_b: Option<PersonId>,
    unknown_ids: &'a [&'a str],
}

#[derive(Serialize)]
struct RefusedStep<'a> {
    seq: Seq,
    rule: &'a str,
    blocking_seq: Seq,
    reason: &'a str,
    remedy: Option<&'a Remedy>,
}

pub(crate) fn why_not(args: WhyNotArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let WhyNotArgs { ledger, as_of, a, b } = args;
    expect_no_list("why-not", [&a, &b])?;
    let mut progress = Progress::new();
    let asked = ledger.open(as_of, &mut progress, screen)?;
    progress.begin_waiting("Looking for a way");
    let found = asked.why_not(&a, &b)?;
    progress.clear();
    let unknown_ids = unknown(&asked, [&a[..], &b]);
    if screen.json {
        screen.answer(&Said::of(found.as_ref(), &unknown_ids), &asked.answered_from())?;
    } else {
        match &found {
            Some(found) => show(&a, &b, found, screen)?,
            None => remark_unknown(&asked, &ledger.place, &unknown_ids),
        }
    }
    Ok(Answer::yes_if(found.is_some_and(|found| !found.same)))
}

impl<'a> Said<'a> {
    /// What keeps two ids apart; `None` if one of them was never written.
    pub(crate) fn of(found: Option<&'a WhyNot>, unknown_ids: &'a [&'a str]) -> Said<'a> {
        let refused = |(step, barrier): (&'a WhyNotStep, &'a Barrier)| {
            let Barrier { rule, blocking_seq, reason, remedy } = barrier;
            RefusedStep { seq: step.seq, rule, blocking_seq: *blocking_seq, reason, remedy: remedy.as_ref() }
        };
        Said {
            same: found.is_some_and(|found| found.same),
            refusals: found.into_iter().flat_map(WhyNot::barriers).map(refused).collect(),
            way: found.map_or(&[][..], |found| &found.way),
            person_a: found.map(|found| found.person_a),
            person_b: found.map(|found| found.person_b),
            unknown_ids,
        }
    }
}

fn show(a: &str, b: &str, found: &WhyNot, screen: &mut Screen) -> Result<(), Failure> {
    let (a, b) = (a, b);
    if found.same {
        screen.headline(&format!("`{a}` and `{b}` are one person, {}", found.person_a))?;
        return screen.line("`identity-ledger explain` says why.");
    }
    screen.headline(&format!("`{a}` and `{b}` are not one person"))?;
    if found.way.is_empty() {
        return screen.line("No chain of records leads from one to the other.");
    }
    screen.line("")?;
    screen.line(&format!("  {a}"))?;
    for step in &found.way {
        let what = format!("record {}, {}, {}", step.seq, step.op, step.time);
        match &step.barrier {
            None => screen.line(&format!("  │  {what}"))?,
            Some(barrier) => {
                screen.line(&format!("  ╳  {what}"))?;
                let (rule, by) = (barrier.rule, barrier.blocking_seq);
                let reason = &barrier.reason;
                let by = if by == step.seq || reason.contains(&format!("record {by}")) {
                    String::new()
                } else {
                    format!(" (record {by})")
                };
                screen.line(&format!("  ╳  {rule}: {reason}{by}"))?;
                if let Some(remedy) = &barrier.remedy {
                    screen.line(&format!("  ╳  try: {remedy}"))?;
                }
            }
        }
        screen.line(&format!("  {}", step.ids[1].text))?;
    }
    screen.line("")?;
    let barriers = found.barriers().count() as u64;
    screen.line(&format!("{} between them; no way has fewer.", counted(barriers, "barrier")))
}
