//! `generate`: made-up workloads.

use identity_ledger::testing::workload::{Workload, write_ops_line};

use crate::Answer;
use crate::args::GenerateArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;

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
