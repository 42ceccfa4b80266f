//! `find`: which persons have a property value. Where a request to be forgotten begins.

use identity_ledger::{Profile, Value};

use crate::Answer;
use crate::args::FindArgs;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_ledger};
use crate::listing::Listed;
use crate::progress::Progress;
use crate::screen::{Screen, remark_source};
use crate::table::Table;

pub(crate) fn find(args: FindArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let FindArgs { ledger: place, reading, property: (key, wanted) } = args;
    let mut progress = Progress::new();
    let ledger = open_ledger(&place, reading, &mut progress, screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::reader(&ledger));
    }
    progress.begin("Reading values", None);
    progress.wait();
    let json: Option<Value> = serde_json::from_str(&wanted).ok(); // however it is spelled
    let found = ledger.reader().find(&key, |value| match value {
        Value::Text(text) => *text == wanted,
        value => json.as_ref() == Some(value) || value.to_string() == wanted,
    });
    progress.clear();
    let found = found?;
    if found.is_empty() && !screen.json {
        let key = key.as_str();
        screen.line(&format!("No person's `{key}` is `{wanted}` now. Letter case and blanks count."))?;
    }
    let mut table = Table::new(Profile::COLUMNS);
    for profile in &found {
        if screen.json { screen.object(profile)? } else { profile.row(&mut table, screen)? }
    }
    table.finish(screen)?;
    Ok(if found.is_empty() { Answer::No } else { Answer::Yes })
}
