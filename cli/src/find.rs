//! `find`: which persons have a property value. Where a request to be forgotten begins.

use clap::Args;
use identity_ledger::storage::Fault;
use identity_ledger::{Profile, PropertyKey, Reader, Value};

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::failure::Failure;
use crate::listing::Listed;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::open_for_list;
use crate::table::Table;

/// The long help.
pub(crate) const HELP: &str = "\
List the persons whose property has a value now, in the order in which they were founded. Exit status 1 if there are none.

  identity-ledger find shop.ledger --property email=ann@example.com

The value is compared with texts as they are; a number, true, false, null, list or object in JSON also with values of that kind. \
Every value of that key is read: there is no index, so nothing of an erased value is left in one. Values that a person \
no longer has are not compared.

What is shown is what `persons` shows; with --json the person id is there in full, as `erase --person` takes it.

--json keys: those of `persons`.";

#[derive(Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// The property and its value
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    property: (PropertyKey, String),
}

pub(crate) fn key_and_value(text: &str) -> Result<(PropertyKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as email=ann@example.com")?;
    let key = PropertyKey::new(key).map_err(|error| error.to_string())?;
    Ok((key, value.to_owned()))
}

/// The persons whose property is `wanted`, a text or JSON.
pub(crate) fn find_value(reader: &Reader, key: &PropertyKey, wanted: &str) -> Result<Vec<Profile>, Fault> {
    let json: Option<Value> = serde_json::from_str(wanted).ok(); // however it is spelled
    reader.find(key, |value| match value {
        Value::Text(text) => *text == wanted,
        value => json.as_ref() == Some(value) || value.to_string() == wanted,
    })
}

pub(crate) fn find(args: FindArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let FindArgs { ledger: LedgerArgs { place, reading }, property: (key, wanted) } = args;
    let mut progress = Progress::new();
    let ledger = open_for_list(&place, reading, &mut progress, screen)?;
    progress.begin("Reading values", None);
    progress.wait();
    let found = find_value(ledger.reader(), &key, &wanted);
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
    Ok(Answer::yes_if(!found.is_empty()))
}
