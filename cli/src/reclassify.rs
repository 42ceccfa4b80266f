//! `reclassify`: ids count as ones of another class.

use clap::{Args, ValueEnum};
use identity_ledger::{DistinctId, IdClass, Operation};

use crate::answer::Answer;
use crate::correction::{CorrectionArgs, undo_all};
use crate::failure::Failure;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Let ids count as ones of another class, from their definition on: what was said with them is asked again under the class (H5). \
A policy holds for ids that come; this is for ids that are there. `retract` takes it back. Exit status 1 if one is refused.

  identity-ledger reclassify shop.ledger --as unmergeable N/A --dry-run
  identity-ledger reclassify shop.ledger --as anonymous cookie-1 cookie-2
  identity-ledger policy shop.ledger --set policy.json           # for ids to come

unmergeable (or blocked): the id takes part in no merge (B2). anonymous: it is never a user (D9). named: a sign-in makes it a user. \
shared: users sign in on it, and what it says in between is theirs (D13). Its kind is the one that the policy in force gives it then (D12).

Each id has a record of its own. If one was never written, none is recorded. With --dry-run each is looked at as if it were the only one.

What is shown: as `diff`, of the ids and devices that records connect with the id; nothing else changes.

--json keys, one object an id: distinct_id, and those of `retract`.";

#[derive(Args)]
pub(crate) struct ReclassifyArgs {
    #[command(flatten)]
    how: CorrectionArgs,
    /// What they count as
    #[arg(long = "as", value_name = "CLASS")]
    class: Class,
    /// Distinct ids (`-- -id` if one begins with a hyphen)
    #[arg(value_name = "ID", required = true)]
    ids: Vec<DistinctId>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Class {
    #[value(alias = "blocked")]
    Unmergeable,
    Anonymous,
    Named,
    Shared,
}

pub(crate) fn reclassify(args: ReclassifyArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ReclassifyArgs { how, class, ids } = args;
    let class = match class {
        Class::Unmergeable => IdClass::Unmergeable,
        Class::Anonymous => IdClass::Anonymous,
        Class::Named => IdClass::Named,
        Class::Shared => IdClass::Shared,
    };
    let operations = |at| ids.into_iter().map(|id| Operation::reclassify(at, id, class)).collect();
    undo_all(&how, operations, screen)
}
