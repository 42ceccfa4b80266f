//! `retract`: what was recorded counts as never asked.

use clap::Args;
use identity_ledger::{Operation, OperationId, Seq, Target};

use crate::answer::Answer;
use crate::correction::{CorrectionArgs, undo};
use crate::failure::Failure;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Retract an operation: its record counts as never asked from here on, and everything else that was asked of its ids is folded \
again without it. The record itself stays in the log. Exit status 1 if it is refused.

  identity-ledger history shop.ledger ann@example.com            # which record was wrong
  identity-ledger retract shop.ledger 4711 --dry-run             # what would change
  identity-ledger retract shop.ledger 4711                       # do it
  identity-ledger retract shop.ledger --operation 01890a5d-ac96-774b-bcce-b302099a8001

A retract is an operation too: retract its record, and what it retracted counts again.

What is shown: as `diff`, of the ids and devices that records connect with the operation; nothing else changes.

--json keys: seq (its record, or the one it would be), recorded, refusal, rule, blocking_seq, reason (null unless refused), diff \
(as `diff` has it).";

#[derive(Args)]
pub(crate) struct RetractArgs {
    #[command(flatten)]
    how: CorrectionArgs,
    /// The record of the operation to retract
    #[arg(value_name = "SEQ", required_unless_present = "operation", conflicts_with = "operation", value_parser = record_number)]
    seq: Option<u64>,
    /// The operation recorded under this id, instead of a record
    #[arg(long, value_name = "ID", value_parser = operation_id)]
    operation: Option<OperationId>,
}

fn record_number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected the number of a record, or --operation and the id of an operation".to_owned())
}

fn operation_id(text: &str) -> Result<OperationId, String> {
    let id = uuid::Uuid::try_parse(text);
    id.map(OperationId).map_err(|_| "expected the id of an operation, a UUID".to_owned())
}

pub(crate) fn retract(args: RetractArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let RetractArgs { how, seq, operation } = args;
    let target = match operation {
        Some(id) => Target::Operation(id),
        None => Target::Record(Seq(seq.unwrap_or_default())), // clap lets neither through without the other
    };
    undo(&how, |at| Operation::retract(at, target), screen)
}
