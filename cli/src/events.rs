//! `events`: what was captured, and whose it is.

use clap::Args;
use identity_ledger::answer::EventMode;
use identity_ledger::explain::Subject;
use identity_ledger::{EventAnswer, Seq};

use crate::answer::Answer;
use crate::args::{AsOf, SourceArgs};
use crate::failure::Failure;
use crate::listing::{Listed, Paging, list, pages};
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{short_id, short_person, short_time};
use crate::unknown::no_such_id;

/// The long help.
pub(crate) const HELP: &str = "\
List the events, in the order of the log.

  identity-ledger events shop.ledger
  identity-ledger events shop.ledger --json | jq 'select(.person_id != .person_id_then)'
  identity-ledger events shop.ledger --of ann@example.com --limit 100
  identity-ledger events shop.ledger --at 2026-03-03      # as they were then
  identity-ledger events shop.ledger --from 4711          # from this record on

What is shown:
  SEQ          the event's record
  TIME         by the sender's clock (from 100 columns on)
  EVENT        its name
  DISTINCT ID  the id it was captured under; never rewritten
  PERSON       who we now know was behind it
  THEN         who we thought it was right after its record
  MODE         full, or propertyless: processing was off

--json keys: seq, event_id, distinct_id, person_id, person_id_then, mode, event, time, recorded_at \
(by the clock of the ledger; 1970-01-01T00:00:00Z for a file). With --limit a last line has `next`, a cursor or null.";

#[derive(Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only those of the person of this id
    #[arg(long, value_name = "ID")]
    of: Option<String>,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: Paging,
}

pub(crate) fn events(args: EventsArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let EventsArgs { source, of, as_of, paging } = args;
    let listing = source.list(as_of, paging, screen)?;
    let Some(id) = of else {
        let (events, part) = listing.folded(screen)?;
        list::<EventAnswer>(&events, part, screen, |reader, each| reader.events(each))?;
        return Ok(events.answer());
    };
    let part = listing.part();
    let ask = |ask| listing.source.events_of(Subject::Person(&id), ask);
    if pages(part, EventAnswer::COLUMNS, screen, ask, EventAnswer::row)? {
        return Ok(Answer::Yes);
    }
    no_such_id(&listing.asked(), &source.source, &[&id], screen)
}

impl Listed for EventAnswer {
    const COLUMNS: &'static [Column] = &[
        Column::number("SEQ"),
        Column::spare("TIME"),
        Column::elastic("EVENT"),
        Column::elastic("DISTINCT ID"),
        Column::whole("PERSON"),
        Column::whole("THEN"),
        Column::whole("MODE"),
    ];
    const NOUN: &'static str = "events";

    fn record(&self) -> Option<Seq> {
        Some(self.seq)
    }

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
        let wide = screen.wide;
        let then = if self.person_id_then == self.person_id {
            Field::new("same").quiet()
        } else {
            Field::new(short_person(self.person_id_then, wide))
        };
        let mode = match self.mode {
            EventMode::Full => Field::new("full"),
            EventMode::Propertyless => Field::new("propertyless").quiet(),
        };
        table.row(
            screen,
            [
                self.seq.to_string().into(),
                short_time(self.time, wide).into(),
                self.event.as_deref().unwrap_or_default().to_owned().into(),
                short_id(&self.distinct_id, wide).into_owned().into(),
                short_person(self.person_id, wide).into(),
                then,
                mode,
            ],
        )
    }
}
