//! The command line `identity-ledger`: every question of the library, asked from a shell. What its help says of keys, columns and
//! exit statuses is a contract that scripts rely on.
//!
//! It knows arguments, files and terminals; what things mean is for the library to say.

mod answer;
mod args;
mod backup;
mod changes;
mod clock;
mod commands;
mod complaints;
mod correction;
mod diff;
mod difference;
mod directory;
mod drawing;
mod erase;
mod erasures;
mod events;
mod explain;
mod export;
mod failure;
mod find;
mod generate;
mod graph;
mod history;
mod import;
mod init;
mod input;
mod key_ring;
mod keys;
mod listing;
mod moment;
mod outcomes;
mod output;
mod persons;
mod policy;
mod policy_file;
mod progress;
mod replay;
mod report;
mod resolve;
mod retract;
mod salvage;
mod screen;
#[cfg(feature = "serve")]
mod serve;
mod source;
mod split;
mod stats;
mod table;
mod text;
mod verify;
mod what_if;
mod why_not;

use std::process::ExitCode;

use clap::Parser;

use crate::answer::Answer;
use crate::commands::{Cli, answer};
use crate::screen::Screen;

fn main() -> ExitCode {
    let Cli { command, key_ring, manners } = Cli::parse();
    key_ring.into_iter().for_each(key_ring::remember);
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
