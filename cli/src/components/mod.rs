//! `fold-components`: the worker of a job on a cluster. Arrow comes in on standard input, and Arrow goes out on standard output.

mod broadcast;
pub(crate) mod error;
mod fold;
mod input;
mod names;
mod output;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use identity_ledger::export::Table;

use crate::answer::Answer;
use crate::export::tables;
use crate::failure::Failure;

use self::broadcast::Broadcast;
use self::error::ComponentsError;
use self::fold::Fold;
use self::input::Input;

/// The long help.
pub(crate) const HELP: &str = "\
Fold whole components of a log that lies elsewhere, as a job on a cluster or in a database runs it: an Arrow IPC stream on standard \
input, another one on standard output. `integrations/spark` has jobs for Spark and DuckDB; docs/scale.md says what they promise.

  identity-ledger export shop.ledger ops --format ops-parquet             # what such a job begins with
  identity-ledger fold-components --names < operations.arrow > named.arrow   # what each operation names
  identity-ledger fold-components --policy p.json < components.arrow > rows.arrow

Columns of the input, others are passed over:
  tenant       utf8, whose ledger it is
  seq          int64, the record of the operation: its place in the order of its tenant
  recorded_at  timestamp in microseconds, when it was recorded; may be null
  defined_from int64, the first record that defines an id for it; null calls definitions by the operation
  operation    utf8, a line of the format ops, or an erasure as `export --format ops-parquet` writes it
  component    int64; not with --names

The input is sorted by tenant, component and seq, and holds all operations of each of its components. Components are independent, so the \
rows of all parts together are those of one ledger that holds everything. Memory: what the largest component takes, and 65,536 operations.

With --names the output is the input with five more columns: `home`, a number for the id or device that the operation is about, or for what it \
retracts; `nodes`, the same for the others that it names; `id_node`, the same for its own id; `retracts`; `erases`. Operations are of one component \
if a way of equal numbers leads from one to the other; an `id_node` counts where another operation has it or a retract names it.

Without it, the output has a row for each row of the tables in --tables. The column `table_name` names it, `tenant` says whose it is, and columns of \
other tables are null. Numbers of ids and persons (`.._no`) are those of one ledger, so they are left out; outcomes have `person_id`, the person that T belongs to now. Operations \
that were not recorded are rows of `not_recorded`: `appended` is duplicate, conflict, ignored or error, with `earlier_seq` or `reason`.

A policy holds for all tenants (--policy), or --broadcast names a file of JSON lines, in order for each tenant:
  {\"tenant\":\"shop\",\"seq\":0,\"policy\":{..}}     from this record on
  {\"tenant\":\"shop\",\"seq\":812,\"erases\":true}   the tenant's first erasure, which is a rule of names (D11)

If the input is not as it should be, the command says where, ends with status 2, and its output has no end: a reader notices.";

#[derive(Args)]
pub(crate) struct FoldComponentsArgs {
    /// Say what each operation names instead of folding
    #[arg(long, conflicts_with_all = ["policy", "broadcast", "tables", "max_component"])]
    names: bool,
    /// A policy for all tenants, from before their first record
    #[arg(long, value_name = "FILE", required_unless_present_any = ["broadcast", "names"], conflicts_with = "broadcast")]
    policy: Option<PathBuf>,
    /// Policies by tenant and record, and first erasures
    #[arg(long, value_name = "FILE")]
    broadcast: Option<PathBuf>,
    /// Which tables
    #[arg(
        long,
        value_name = "TABLE,..",
        value_delimiter = ',',
        value_parser = tables(),
        default_value = "persons,person_distinct_ids,person_redirects,events,outcomes"
    )]
    tables: Vec<Table>,
    /// How many operations a component may have
    #[arg(long, value_name = "OPERATIONS", default_value_t = 100_000_000)]
    max_component: usize,
}

pub(crate) fn fold_components(args: &FoldComponentsArgs) -> Result<Answer, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::Binary);
    }
    if args.names {
        names::name(Input::open(io::stdin().lock(), false)?, io::stdout())?;
        return Ok(Answer::Yes);
    }
    let of_one_ledger =
        |table: &&Table| matches!(table, Table::Policies | Table::Erasures | Table::Checkpoints);
    if let Some(table) = args.tables.iter().find(of_one_ledger) {
        return Err(ComponentsError::NotOfComponents { table: table.name() }.into());
    }
    let broadcast = match (&args.policy, &args.broadcast) {
        (Some(file), _) => Broadcast::everywhere(crate::policy_file::read(file)?),
        (None, Some(file)) => Broadcast::read(file)?,
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    let input = Input::open(io::stdin().lock(), true)?;
    Fold::new(&broadcast, &args.tables, args.max_component, io::stdout())?.run(input)?;
    Ok(Answer::Yes)
}
