//! `man`: manual pages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::{Man, generate_to};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::output::expect_free;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Write the manual pages: one for the program, and one for each command, as `identity-ledger-persons.1`. Without DIR the first of \
them is printed.

  identity-ledger man ~/.local/share/man/man1
  identity-ledger man | man -l -";

#[derive(Args)]
pub(crate) struct ManArgs {
    /// A directory; created if it does not exist
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs, program: Command, screen: &mut Screen) -> Result<Answer, Failure> {
    if let Some(dir) = &args.dir {
        if !dir.is_dir() {
            expect_free(dir)?;
            fs::create_dir(dir).map_err(Failure::write(dir))?;
        }
        expect_free(&dir.join("identity-ledger.1"))?;
        generate_to(versioned(program), dir).map_err(Failure::write(dir))?;
        return Ok(Answer::Yes);
    }
    let mut page = Vec::new();
    Man::new(program).render(&mut page).map_err(Failure::Output)?;
    screen.bytes(&page)?;
    Ok(Answer::Yes)
}

/// Each command says the version in the title of its page.
fn versioned(program: Command) -> Command {
    program.mut_subcommands(|command| {
        versioned(command.version(env!("CARGO_PKG_VERSION")).disable_version_flag(true))
    })
}
