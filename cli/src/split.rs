//! `split`: ids leave their person.

use clap::Args;
use identity_ledger::{DistinctId, Operation, SplitMode};

use crate::answer::Answer;
use crate::correction::{CorrectionArgs, undo};
use crate::failure::Failure;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Let ids leave the person they belong to. Each part keeps what was said for its own ids, as if it had been alone from the \
beginning; links between the parts no longer count. Later links may join them again. Exit status 1 if it is refused.

  identity-ledger split shop.ledger ann@example.com --ids kiosk-7 --dry-run
  identity-ledger split shop.ledger ann@example.com --ids bob@example.com,01a208e3-7690-7334-88e3-9756348b65c8 --together

ID is any id of the person. The ids named leave, each as a person of its own unless --together; those that stay keep the person id. \
At least one id has to stay.

What is shown: as `diff`, of the ids and devices that records connect with the person; nothing else changes.

--json keys: those of `retract`.";

#[derive(Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    how: CorrectionArgs,
    /// An id of the person, leaving or staying (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    id: DistinctId,
    /// Distinct ids that leave the person, separated by commas
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', required_unless_present = "each_id")]
    ids: Vec<DistinctId>,
    /// An id that leaves and may contain commas; may be given several times
    #[arg(long = "id", value_name = "ID")]
    each_id: Vec<DistinctId>,
    /// Each becomes a person of its own [default]
    #[arg(long, conflicts_with = "together")]
    each: bool,
    /// Together they become one person
    #[arg(long)]
    together: bool,
}

pub(crate) fn split(args: SplitArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let SplitArgs { how, id, ids, each_id, each: _, together } = args;
    let mode = if together { SplitMode::Together } else { SplitMode::Each };
    let ids: Vec<DistinctId> = ids.into_iter().chain(each_id).collect();
    undo(&how, |at| Operation::split(at, id, ids, mode), screen)
}
