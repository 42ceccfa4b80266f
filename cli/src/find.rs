//! `find`: which persons have a property value. Where a request to be forgotten begins.

use clap::Args;
use identity_ledger::storage::Fault;
use identity_ledger::{Profile, PropertyKey, Reader, Value};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::listing::{PersonPaging, list};
use crate::progress::Progress;
use crate::screen::Screen;

/// The long help.
pub(crate) const HELP: &str = "\
List the persons whose property has a value now, or had it as of a record or time (--at), in the order in which they were founded. Exit status 1 if there are none.

  identity-ledger find shop.ledger --property email=ann@example.com

The value is compared with texts as they are, and as tables print it: \"ann@example.com\" in quotes is that text, and a number, true, \
false, null, a list or an object in JSON is a value of that kind. \
Every value of that key is read: there is no index, so nothing of an erased value is left in one. Values that a person \
no longer has are not compared.

What is shown is what `persons` shows; with --json the person id is there in full, as `erase --person` takes it.

--json keys: those of `persons`. With --limit a last line has `next`, a cursor or null.";

#[derive(Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: PersonPaging,
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
        Value::Text(text) if *text == wanted => true,
        value => json.as_ref() == Some(value) || value.to_string() == wanted,
    })
}

pub(crate) fn find(args: FindArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let FindArgs { ledger, as_of, paging, property: (key, wanted) } = args;
    let (ledger, part) = ledger.list(as_of, paging.into(), screen)?.folded(screen)?;
    let mut progress = Progress::beside(screen);
    progress.begin_waiting("Reading values");
    let found = find_value(&ledger, &key, &wanted);
    progress.clear();
    let found = found?;
    if found.is_empty() && !screen.json {
        let key = key.as_str();
        let when = ledger.at().map_or("now".to_owned(), |at| format!("right after record {at}"));
        screen.line(&format!("No person's `{key}` is `{wanted}` {when}. Letter case and blanks count."))?;
        return Ok(Answer::No);
    }
    let answer = Answer::yes_if(!found.is_empty());
    list::<Profile>(&ledger, part, screen, |_, each| {
        found.into_iter().for_each(each);
        Ok(())
    })?;
    Ok(answer)
}
