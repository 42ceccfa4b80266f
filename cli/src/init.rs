//! `init`: a new ledger.

use std::path::PathBuf;

use clap::Args;
use identity_ledger::Tenant;
use identity_ledger::model::LedgerId;
use identity_ledger::storage::Access;
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{CreateArgs, named};
use crate::failure::Failure;
use crate::key_ring;
use crate::policy_file::name_of;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Create an empty ledger: a directory. `import` does that by itself; use `init` to choose tenant, policy, access or keys first.

  identity-ledger init shop.ledger --tenant 42 --preset one-user
  identity-ledger init shop.ledger --key-ring /secrets/shop.ring

Its files are for their owner alone, unless --access lets the group or everyone read them. Files that are written later \
get the permissions of the file LEDGER.

The tenant is part of every person id, so it stays. The policy can be changed later: that is a record of its own.

With --key-ring the ledger is sealed: texts and values are written encrypted, and FILE gets the keys. Every later command needs it, \
except `backup`, `verify` and `replay`: without it, the last two check and show what needs no text. Erasing destroys the keys of what it erases, so keep FILE apart \
from the ledger and its backups, and keep no old version of it. One writer has it at a time, by a lock in FILE.lock. With --refuse-erased ids that were erased are rejected when they come again.

--json keys: ledger_id, tenant.";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// The directory to create
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    #[command(flatten)]
    choice: CreateArgs,
    /// Who may read the ledger's files
    #[arg(long, default_value = "owner", value_parser = named(&Access::ALL))]
    access: Access,
    /// Refuse ids that were erased when they are sent again; with --key-ring
    #[arg(long, requires = "key_ring")]
    refuse_erased: bool,
}

#[derive(Serialize)]
struct Created<'a> {
    ledger_id: LedgerId,
    tenant: &'a Tenant,
}

pub(crate) fn init(args: InitArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let InitArgs { ledger: place, choice, access, refuse_erased } = args;
    let policy = choice.policy()?.unwrap_or_default();
    let options = key_ring::options_to_create(&place)?.access(access);
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
    let sealed = key_ring::given().map(|file| file.display().to_string());
    if let Some(keys) = &sealed {
        facts.push(("sealed", format!("its keys are in {keys}: keep that apart, it opens everything")));
    }
    screen.facts(&facts)?;
    screen.line("")?;
    let with = sealed.map_or_else(String::new, |keys| format!(" --key-ring {keys}"));
    screen.line(&format!("Next: identity-ledger import{with} {shown} FILE"))?;
    Ok(Answer::Yes)
}
