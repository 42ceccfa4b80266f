//! `generate`: made-up workloads.

use clap::Args;
use identity_ledger::testing::workload::{Shape, Workload, write_ops_line};

use crate::answer::Answer;
use crate::args::named;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Make up a workload and print it in the `ops` format, one operation a line. The same people, seed and shape give the same bytes \
on every machine.

  identity-ledger generate --people 1000 --seed 1 > events.jsonl
  identity-ledger generate --people 9 --shape hairball | identity-ledger persons -

Shapes:
  web             visitors who sign in on one to three browsers; 18 lines a person
  shared-devices  three people to a device, resets in between; 9 lines a person
  hairball        one person who has all the ids; 2 lines an id";

#[derive(Args)]
pub(crate) struct GenerateArgs {
    /// How many people (for a hairball: how many ids)
    #[arg(long, value_name = "N")]
    people: u64,
    /// The seed of the random choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// What the people do
    #[arg(long, default_value = "web", value_parser = named(&Shape::ALL))]
    shape: Shape,
}

/// Bytes that are made before they are written and the bar moves.
const BLOCK: usize = 64 * 1_024;

pub(crate) fn generate(args: GenerateArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let GenerateArgs { people, seed, shape } = args;
    let mut progress = Progress::beside(screen);
    progress.begin("Generating", None);
    let mut block = Vec::with_capacity(BLOCK + 1_024);
    let mut written = 0;
    for operation in Workload::new(shape, people, seed) {
        write_ops_line(&operation, &mut block);
        block.push(b'\n');
        if block.len() >= BLOCK {
            screen.bytes(&block)?;
            written += block.len() as u64;
            progress.at(written);
            block.clear();
            if screen.is_unread() {
                break;
            }
        }
    }
    screen.bytes(&block)?;
    progress.clear();
    Ok(Answer::Yes)
}
