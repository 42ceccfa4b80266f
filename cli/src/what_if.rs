//! `what-if`: what a ledger would mean under another policy.

use std::path::PathBuf;

use clap::Args;
use identity_ledger::diff::WhatIfError;
use identity_ledger::{Policy, Preset};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs, named};
use crate::difference::show;
use crate::failure::Failure;
use crate::policy_file::{preset_of, read};
use crate::progress::Progress;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Say what a ledger would mean if another policy had held from its first record on. Nothing is written: the same records are \
folded once more, each id in the class that its text has under that policy.

  identity-ledger what-if shop.ledger --preset one-user
  identity-ledger what-if shop.ledger --policy policy.json --json | jq '.moved_ids | length'
  identity-ledger what-if shop.ledger --preset one-user --at 2026-03-03

What records already hold stays as it is: for whom a device spoke (dialect, person_profiles), and what an import lifted or kept.

What is shown, as far as it differs:
  counts           persons, ids, and events, full or propertyless
  merged, split    persons that are one of several, or several of one, with the ids they share
  ids              whose they are, and how many events go with them; in brackets the propertyless ones among these
  properties       value and record on each side
  refusals         what would be refused, what would no longer be

Exit status 0, whatever differs. --json keys: those of `diff`.";

#[derive(Args)]
pub(crate) struct WhatIfArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    asked: AskedPolicy,
}

/// The policy that is asked about.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct AskedPolicy {
    /// Ask about a preset: as PostHog does, more strictly, or with one user a person
    #[arg(long, value_parser = named(&Preset::ALL))]
    preset: Option<Preset>,
    /// Ask about a policy of your own, a JSON file (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl AskedPolicy {
    fn policy(&self) -> Result<Policy, Failure> {
        match &self.policy {
            Some(file) => read(file),
            None => Ok(Policy::preset(self.preset.unwrap_or_default())),
        }
    }
}

pub(crate) fn what_if(args: WhatIfArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let policy = args.asked.policy()?;
    let mut progress = Progress::new();
    let ledger = args.ledger.open(args.as_of, &mut progress, screen)?;
    progress.begin_waiting("Folding twice");
    let what_if = ledger.what_if(&policy).map_err(|error| match error {
        WhatIfError::Fault(fault) => Failure::from(fault),
        error => Failure::WhatIf(Box::new(error)),
    })?;
    progress.clear();
    let diff = what_if.diff();
    if screen.json {
        screen.answer(diff, &ledger.answered_from())?;
        return Ok(Answer::Yes);
    }
    let (place, under) = (args.ledger.place.display().to_string(), preset_of(&policy));
    let same = if diff.is_empty() { "the same" } else { "something else" };
    let under = under.map_or("this policy".to_owned(), |preset| format!("preset {preset}"));
    screen.headline(&format!("Under {under}, {place} would mean {same}"))?;
    show(diff, screen)?;
    Ok(Answer::Yes)
}
