//! The command line `identity-ledger`: every question of the library, asked from a shell. What its help says of keys, columns and
//! exit statuses is a contract that scripts rely on.
//!
//! It knows arguments, files and terminals; what things mean is for the library to say.

mod answer;
mod args;
mod asked;
mod backup;
mod changes;
mod check;
mod checkpoint;
mod clock;
mod commands;
mod compare;
mod complaints;
mod completions;
mod components;
mod correction;
mod diff;
mod difference;
mod directory;
mod disk;
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
mod help;
mod history;
mod import;
mod init;
mod input;
mod key_ring;
mod keys;
mod listing;
mod man;
mod moment;
mod outcomes;
mod output;
mod parquet;
mod persons;
mod policy;
mod policy_file;
mod progress;
mod prove;
mod reclassify;
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
mod unknown;
mod verify;
mod what_if;
mod why_not;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};

use crate::answer::Answer;
use crate::commands::{Cli, answer};
use crate::screen::Screen;
use crate::unknown::Unknown;

fn main() -> ExitCode {
    let matches = help::folded(Cli::command(), screen::width()).try_get_matches();
    let matches = matches.unwrap_or_else(|error| nearest_only(error).exit());
    let Cli { command, key_ring, manners } =
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    key_ring.into_iter().for_each(key_ring::remember);
    let mut screen = Screen::new(&manners);
    let answer = answer(command, &mut screen).and_then(|answer| screen.finish().map(|()| answer));
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => {
            if let (true, Some(id)) = (screen.json, failure.unknown_id()) {
                let said = screen.object(&Unknown { unknown_ids: &[&id] });
                said.and_then(|()| screen.finish()).unwrap_or_else(|failure| screen::report(&failure));
            }
            screen::report(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// Of similar commands only the most similar is suggested: `export` and `import` differ by two letters, and do the opposite.
fn nearest_only(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::Strings(similar)) = error.get(ContextKind::SuggestedSubcommand)
        && let Some(nearest) = similar.last().cloned()
    {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![nearest]));
    }
    error
}
