//! `init`: a new ledger.

use identity_ledger::{Ledger, LedgerId, Tenant};
use serde::Serialize;

use crate::Answer;
use crate::args::InitArgs;
use crate::failure::Failure;
use crate::policy::name_of;
use crate::screen::Screen;
use crate::text::clean;

#[derive(Serialize)]
struct Created<'a> {
    ledger_id: LedgerId,
    tenant: &'a Tenant,
}

pub(crate) fn init(args: InitArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let InitArgs { ledger: place, choice } = args;
    let policy = choice.policy()?.unwrap_or_default();
    let ledger = Ledger::create(&place, choice.tenant_or_default(), policy)?;
    if screen.json {
        screen.object(&Created { ledger_id: ledger.ledger_id(), tenant: ledger.tenant() })?;
        return Ok(Answer::Yes);
    }
    let shown = place.display().to_string();
    let shown = clean(&shown);
    screen.headline(&format!("Created {shown}"))?;
    screen.facts(&[
        ("ledger id", ledger.ledger_id().to_string()),
        ("tenant", clean(ledger.tenant().as_str()).into_owned()),
        ("policy", name_of(ledger.policy()).to_owned()),
    ])?;
    screen.line("")?;
    screen.line(&format!("Next: identity-ledger import {shown} FILE"))?;
    Ok(Answer::Yes)
}
