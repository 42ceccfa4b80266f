//! `what-if`: what a ledger would mean under another policy.

use identity_ledger::diff::WhatIfError;

use crate::Answer;
use crate::args::WhatIfArgs;
use crate::diff::show;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_ledger};
use crate::policy::name_of;
use crate::progress::Progress;
use crate::screen::Screen;

pub(crate) fn what_if(args: WhatIfArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let policy = args.asked.policy()?;
    let mut progress = Progress::new();
    let ledger = open_ledger(&args.ledger, args.reading, &mut progress, screen)?;
    progress.begin("Folding twice", None);
    progress.wait();
    let what_if = ledger.reader().what_if(&policy).map_err(|error| match error {
        WhatIfError::Fault(fault) => Failure::from(fault),
        error => Failure::WhatIf(Box::new(error)),
    })?;
    progress.clear();
    let diff = what_if.diff();
    if screen.json {
        screen.answer(diff, &AnsweredFrom::reader(&ledger))?;
        return Ok(Answer::Yes);
    }
    let (place, under) = (args.ledger.display().to_string(), name_of(&policy));
    let same = if diff.is_empty() { "the same" } else { "something else" };
    let under = match under {
        "posthog" | "strict" | "one-user" => format!("preset {under}"),
        _ => "this policy".to_owned(),
    };
    screen.headline(&format!("Under {under}, {place} would mean {same}"))?;
    show(diff, screen)?;
    Ok(Answer::Yes)
}
