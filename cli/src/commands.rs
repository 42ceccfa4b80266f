//! The commands there are, and the help that leads to them.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::answer::Answer;
use crate::args::SourceArgs;
use crate::failure::Failure;
use crate::screen::{OutputArgs, Screen};
#[cfg(feature = "serve")]
use crate::serve;
use crate::{
    backup, changes, check, checkpoint, compare, completions, components, diff, erase, erasures, events,
    explain, export, find, generate, graph, history, import, init, keys, man, outcomes, persons, policy,
    prove, reclassify, replay, report, resolve, retract, salvage, split, stats, verify, what_if, why_not,
};

/// Records who is who, and can prove it: identify, alias, reset and property operations in an append-only, hash-chained log.
#[derive(Parser)]
#[command(name = "identity-ledger", bin_name = "identity-ledger", version, arg_required_else_help = true, after_help = TOUR, after_long_help = TOUR)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The key ring of a sealed ledger, a file outside of it; a ledger that is created with it is sealed
    #[arg(long, global = true, value_name = "FILE", display_order = 899)]
    pub(crate) key_ring: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) manners: OutputArgs,
}

const TOUR: &str = "\
Two minutes:
  identity-ledger generate --people 1000 > events.jsonl  # made-up visitors
  identity-ledger import shop.ledger events.jsonl        # record them
  identity-ledger persons shop.ledger | head             # who there is
  identity-ledger resolve shop.ledger user-7             # one of them
  identity-ledger outcomes shop.ledger | head            # what happened, why
  identity-ledger verify shop.ledger                     # nothing was changed

Without a ledger, to look at what an SDK sent:
  identity-ledger persons requests.jsonl
  zcat events.jsonl.gz | identity-ledger events -

Exit status: 0 success; 1 the answer is no, damage, or an input of which nothing could be recorded; 2 wrong usage or I/O error.
`identity-ledger help COMMAND` has examples and says what columns mean.

Answers come from the newest snapshot and the log after it. Anyone who can write to it can forge a snapshot: --from-log folds the \
whole log, --expect RECORDS:HEAD also checks it against a checkpoint that you kept. Each command says what it answered from: a note, \
or with --json the key answered_from (snapshot, a number of records or null; checkpoint; at, the record of --at or null). A list with \
--json says it on standard error, as one object. An id that was never written stands in unknown_ids, and the exit status is 1.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create an empty ledger
    #[command(long_about = init::HELP)]
    Init(init::InitArgs),
    /// Show or change the policy: which links are made, which refused
    #[command(long_about = policy::HELP)]
    Policy(policy::PolicyArgs),
    /// Record what SDKs sent: JSON lines, arrays, batches, plain, gzip or zstd
    #[command(long_about = import::HELP)]
    Import(import::ImportArgs),
    /// Fold the whole log again, verifying; print its digests
    #[command(long_about = replay::HELP)]
    Replay(SourceArgs),
    /// List the persons
    #[command(long_about = persons::HELP)]
    Persons(persons::PersonsArgs),
    /// List the events, each with its person now and then
    #[command(long_about = events::HELP)]
    Events(events::EventsArgs),
    /// List what every operation did, and what was refused by which rule
    #[command(long_about = outcomes::HELP)]
    Outcomes(outcomes::OutcomesArgs),
    /// Say who an id is, now or right after a record
    #[command(long_about = resolve::HELP)]
    Resolve(resolve::ResolveArgs),
    /// Say why two ids, or an event and a person, are one: record by record
    #[command(long_about = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Say what keeps two ids apart: what was refused, by which rule and record
    #[command(name = "why-not", long_about = why_not::HELP)]
    WhyNot(why_not::WhyNotArgs),
    /// List every record that touched an id or a person
    #[command(long_about = history::HELP)]
    History(history::HistoryArgs),
    /// Draw the identity graph of a person, as a page or as SVG
    #[command(long_about = graph::HELP)]
    Graph(graph::GraphArgs),
    /// Retract an operation: it counts as never asked from here on
    #[command(long_about = retract::HELP)]
    Retract(retract::RetractArgs),
    /// Let ids leave their person, each alone or together
    #[command(long_about = split::HELP)]
    Split(split::SplitArgs),
    /// Let ids count as unmergeable, anonymous or named, as if they always had
    #[command(long_about = reclassify::HELP)]
    Reclassify(reclassify::ReclassifyArgs),
    /// Say what would change if another policy had held all along
    #[command(long_about = what_if::HELP)]
    WhatIf(what_if::WhatIfArgs),
    /// Say in what two ledgers differ, or one at two of its records
    #[command(long_about = diff::HELP)]
    Diff(diff::DiffArgs),
    /// Compare who is who with what another system says, and explain each difference
    #[command(long_about = compare::HELP)]
    Compare(compare::CompareArgs),
    /// Check that nothing in a ledger was changed, lost or forged
    #[command(long_about = verify::HELP)]
    Verify(verify::VerifyArgs),
    /// Sign what a ledger holds, as a note to be filed elsewhere
    #[command(long_about = checkpoint::HELP)]
    Checkpoint(checkpoint::CheckpointArgs),
    /// Write a proof of one answer, for those who do not have the ledger
    #[command(long_about = prove::HELP)]
    Prove(prove::ProveArgs),
    /// Check a proof of one answer, without the ledger
    #[command(long_about = check::HELP)]
    Check(check::CheckArgs),
    /// List the persons that have a property value
    #[command(long_about = find::HELP)]
    Find(find::FindArgs),
    /// Forget a person, ids, or the values of some keys, in every answer and every file
    #[command(long_about = erase::HELP)]
    Erase(erase::EraseArgs),
    /// List what was erased, and what can be filed about it
    #[command(long_about = erasures::HELP)]
    Erasures(erasures::ErasuresArgs),
    /// Make a verified copy of a ledger, also while a writer is at work
    #[command(long_about = backup::HELP)]
    Backup(backup::BackupArgs),
    /// Write what a ledger means as tables, for a data warehouse: Parquet, Arrow, CSV, JSON lines
    #[command(long_about = export::HELP)]
    Export(export::ExportArgs),
    /// Say what changed in those tables since a record, row by row
    #[command(long_about = changes::HELP)]
    Changes(changes::ChangesArgs),
    /// Say which copy of a sealed ledger a key ring belongs to; make a key that signs
    #[command(long_about = keys::HELP)]
    Keys(keys::KeysArgs),
    /// Take out of a damaged ledger what can be proven
    #[command(long_about = salvage::HELP)]
    Salvage(salvage::SalvageArgs),
    /// Show what deserves a look: stitching, refusals, shared ids, ids that look wrong
    #[command(long_about = report::HELP)]
    Report(report::ReportArgs),
    /// Count what a ledger holds: records by kind, files, memory
    #[command(long_about = stats::HELP)]
    Stats(stats::StatsArgs),
    /// Take events from SDKs over HTTP, and show persons on a page
    #[cfg(feature = "serve")]
    #[command(long_about = serve::HELP)]
    Serve(serve::ServeArgs),
    /// Make up a workload, the same from the same seed
    #[command(long_about = generate::HELP)]
    Generate(generate::GenerateArgs),
    /// Fold whole components of a log that lies elsewhere: the worker of a job on a cluster
    #[command(hide = true, long_about = components::HELP)]
    FoldComponents(components::FoldComponentsArgs),
    /// Print what a shell completes
    #[command(long_about = completions::HELP)]
    Completions(completions::CompletionsArgs),
    /// Write the manual pages
    #[command(long_about = man::HELP)]
    Man(man::ManArgs),
}

/// Does what a command asks.
pub(crate) fn answer(command: Command, screen: &mut Screen) -> Result<Answer, Failure> {
    match command {
        Command::Init(args) => init::init(args, screen),
        Command::Policy(args) => policy::policy(args, screen),
        Command::Import(args) => import::import(args, screen),
        Command::Replay(args) => replay::replay(args, screen),
        Command::Persons(args) => persons::persons(args, screen),
        Command::Events(args) => events::events(args, screen),
        Command::Outcomes(args) => outcomes::outcomes(args, screen),
        Command::Resolve(args) => resolve::resolve(args, screen),
        Command::Explain(args) => explain::explain(args, screen),
        Command::WhyNot(args) => why_not::why_not(args, screen),
        Command::History(args) => history::history(args, screen),
        Command::Graph(args) => graph::graph(args, screen),
        Command::Retract(args) => retract::retract(args, screen),
        Command::Split(args) => split::split(args, screen),
        Command::Reclassify(args) => reclassify::reclassify(args, screen),
        Command::WhatIf(args) => what_if::what_if(args, screen),
        Command::Diff(args) => diff::diff(args, screen),
        Command::Compare(args) => compare::compare(args, screen),
        Command::Verify(args) => verify::verify(args, screen),
        Command::Checkpoint(args) => checkpoint::checkpoint(args, screen),
        Command::Prove(args) => prove::prove(args, screen),
        Command::Check(args) => check::check(args, screen),
        Command::Find(args) => find::find(args, screen),
        Command::Erase(args) => erase::erase(args, screen),
        Command::Erasures(args) => erasures::erasures(args, screen),
        Command::Backup(args) => backup::backup(args, screen),
        Command::Export(args) => export::export(args, screen),
        Command::Changes(args) => changes::changes(args, screen),
        Command::Keys(args) => keys::keys(args, screen),
        Command::Salvage(args) => salvage::salvage(args, screen),
        Command::Report(args) => report::report(args, screen),
        Command::Stats(args) => stats::stats(args, screen),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(args, screen),
        Command::Generate(args) => generate::generate(args, screen),
        Command::FoldComponents(args) => components::fold_components(&args),
        Command::Completions(args) => completions::completions(&args, Cli::command(), screen),
        Command::Man(args) => man::man(&args, Cli::command(), screen),
    }
}
