//! `persons`: who there is.

use clap::Args;
use identity_ledger::{Profile, Value};

use crate::answer::Answer;
use crate::args::{AsOf, SourceArgs};
use crate::failure::Failure;
use crate::listing::{Listed, PersonPaging, pages};
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{count, short_id, short_person, short_time, value, yes};

/// The long help.
pub(crate) const HELP: &str = "\
List the persons, in the order in which they were founded.

  identity-ledger persons shop.ledger
  identity-ledger persons shop.ledger --json | jq 'select(.is_identified | not)'
  identity-ledger persons shop.ledger --at 2026-03-03

With --limit a page is shown, and where the next one begins; all pages together are the persons as of the first one. With --at \
the persons right after a record are shown, or at a time: everything that was recorded at or before it counts.

What is shown:
  PERSON        the first digits of the person id
  DISTINCT IDS  how many, and which, in the order of their first mention
  IDENTIFIED    whether an operation identified the person
  EVENTS        its events; in brackets the propertyless ones among them
  CREATED       when it was founded (from 100 columns on)
  PROPERTIES    keys and values

--json keys: person_id, distinct_ids, properties, property_seqs (by key, the record that won it), is_identified, created_at, events, \
identified_events, founded_by and identified_by (records), erased_by. With --limit a last line has `next`, a cursor or null.";

#[derive(Args)]
pub(crate) struct PersonsArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: PersonPaging,
}

pub(crate) fn persons(args: PersonsArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let PersonsArgs { source, as_of, paging } = args;
    let (persons, part) = source.list(as_of, paging.into(), screen)?.folded(screen)?;
    let ask = |ask| persons.persons_page(ask).map(Some);
    pages(part, Profile::COLUMNS, screen, ask, Profile::row)?;
    Ok(persons.answer())
}

impl Listed for Profile {
    const COLUMNS: &'static [Column] = &[
        Column::whole("PERSON"),
        Column::elastic("DISTINCT IDS"),
        Column::whole("IDENTIFIED"),
        Column::number("EVENTS"),
        Column::spare("CREATED"),
        Column::elastic("PROPERTIES"),
    ];
    const NOUN: &'static str = "persons";

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
        let wide = screen.wide;
        let ids: Vec<_> = self.distinct_ids.iter().map(|id| short_id(id, wide)).collect();
        let ids = match ids.len() {
            0 | 1 => ids.concat(),
            several => format!("{several}: {}", ids.join(", ")),
        };
        let events = match self.events - self.identified_events {
            0 => count(self.events),
            propertyless => format!("{} ({})", count(self.events), count(propertyless)),
        };
        let mut properties: Vec<_> = self.properties.iter().collect();
        // Properties that the sender chose come first, then those that SDKs collect, then those that are
        // null.
        properties.sort_by_key(|(key, property)| (property.value == Some(Value::Null), key.starts_with('$')));
        let properties: Vec<String> =
            properties.iter().map(|(key, property)| format!("{key} {}", value(property))).collect();
        let identified = Field::new(yes(self.is_identified));
        table.row(
            screen,
            [
                short_person(self.person_id, wide).into(),
                ids.into(),
                if self.is_identified { identified } else { identified.quiet() },
                events.into(),
                short_time(self.created_at, wide).into(),
                properties.join(", ").into(),
            ],
        )
    }
}
