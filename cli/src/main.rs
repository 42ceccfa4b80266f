//! The command line `identity-ledger`: every question of the library, asked from a shell. What its help says of keys, columns and
//! exit statuses is a contract that scripts rely on.
//!
//! It knows arguments, files and terminals; what things mean is for the library to say.

mod args;
mod backup;
mod clock;
mod complaints;
mod diff;
mod drawing;
mod erase;
mod erasures;
mod explain;
mod failure;
mod find;
mod folding;
mod generate;
mod graph;
mod history;
mod import;
mod init;
mod keys;
mod listing;
mod output;
mod policy;
mod progress;
mod replay;
mod resolve;
mod salvage;
mod screen;
mod stats;
mod table;
mod text;
mod undo;
mod verify;
mod what_if;
mod why_not;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::screen::Screen;

/// What a command that could do its work has to say.
enum Answer {
    /// The answer is yes, or the work is done and nothing is wrong.
    Yes,
    /// The answer is no, or damage was found.
    No,
}

fn main() -> ExitCode {
    let Cli { command, key_ring, manners } = Cli::parse();
    key_ring.into_iter().for_each(keys::remember);
    let mut screen = Screen::new(&manners);
    let answer = answer(command, &mut screen).and_then(|answer| screen.finish().map(|()| answer));
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => {
            screen::report(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn answer(command: Command, screen: &mut Screen) -> Result<Answer, Failure> {
    match command {
        Command::Init(args) => init::init(args, screen),
        Command::Policy(args) => policy::policy(args, screen),
        Command::Import(args) => import::import(args, screen),
        Command::Replay(args) => replay::replay(args, screen),
        Command::Persons(args) => listing::persons(args, screen),
        Command::Events(args) => listing::events(args, screen),
        Command::Outcomes(args) => listing::outcomes(args, screen),
        Command::Resolve(args) => resolve::resolve(args, screen),
        Command::Explain(args) => explain::explain(args, screen),
        Command::WhyNot(args) => why_not::why_not(args, screen),
        Command::History(args) => history::history(args, screen),
        Command::Graph(args) => graph::graph(args, screen),
        Command::Retract(args) => undo::retract(args, screen),
        Command::Split(args) => undo::split(args, screen),
        Command::WhatIf(args) => what_if::what_if(args, screen),
        Command::Diff(args) => diff::diff(args, screen),
        Command::Verify(args) => verify::verify(args, screen),
        Command::Find(args) => find::find(args, screen),
        Command::Erase(args) => erase::erase(args, screen),
        Command::Erasures(args) => erasures::erasures(args, screen),
        Command::Backup(args) => backup::backup(args, screen),
        Command::Keys(args) => keys::keys(args, screen),
        Command::Salvage(args) => salvage::salvage(args, screen),
        Command::Stats(args) => stats::stats(args, screen),
        Command::Generate(args) => generate::generate(args, screen),
    }
}
