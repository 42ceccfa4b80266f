//! `init`: a new ledger.

use identity_ledger::Tenant;
use identity_ledger::model::LedgerId;
use serde::Serialize;

use crate::Answer;
use crate::args::InitArgs;
use crate::failure::Failure;
use crate::keys;
use crate::policy::name_of;
use crate::screen::Screen;

#[derive(Serialize)]
struct Created<'a> {
    ledger_id: LedgerId,
    tenant: &'a Tenant,
}

pub(crate) fn init(args: InitArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let InitArgs { ledger: place, choice, access, refuse_erased } = args;
    let policy = choice.policy()?.unwrap_or_default();
    let options = keys::options_to_create(&place)?.access(access);
    let mut ledger = options.create(&place, choice.tenant_or_default(), policy)?;
    if refuse_erased {
        ledger.refuse_erased_ids(true)?;
    }
    if screen.json {
        screen.object(&Created { ledger_id: ledger.reader().ledger_id(), tenant: ledger.tenant() })?;
        return Ok(Answer::Yes);
    }
    let shown = place.display().to_string();
    screen.headline(&format!("Created {shown}"))?;
    let mut facts = vec![
        ("ledger id", ledger.reader().ledger_id().to_string()),
        ("tenant", ledger.tenant().as_str().to_owned()),
        ("policy", name_of(ledger.policy()).to_owned()),
    ];
    let sealed = keys::given().map(|file| file.display().to_string());
    if let Some(keys) = &sealed {
        facts.push(("sealed", format!("its keys are in {keys}: keep that apart, it opens everything")));
    }
    screen.facts(&facts)?;
    screen.line("")?;
    let with = sealed.map_or_else(String::new, |keys| format!(" --key-ring {keys}"));
    screen.line(&format!("Next: identity-ledger import{with} {shown} FILE"))?;
    Ok(Answer::Yes)
}
