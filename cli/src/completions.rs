//! `completions`: what a shell completes.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
Print what a shell completes of this program's commands and options.

  identity-ledger completions bash > ~/.local/share/bash-completion/completions/identity-ledger
  identity-ledger completions zsh > ~/.zfunc/_identity-ledger
  identity-ledger completions fish > ~/.config/fish/completions/identity-ledger.fish";

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn completions(
    args: &CompletionsArgs,
    mut program: Command,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut program, "identity-ledger", &mut script);
    screen.bytes(&script)?;
    Ok(Answer::Yes)
}
