//! `persons`, `events` and `outcomes`: what a log means, line by line.

use identity_ledger::answer::{EffectAnswer, EventMode, PageError, PropertyAnswer};
use identity_ledger::explain::Subject;
use identity_ledger::limits::MAX_PAGE_ITEMS;
use identity_ledger::storage::Fault;
use identity_ledger::{Cursor, EventAnswer, OutcomeAnswer, Page, PageRequest, Profile, Reader, Seq, Value};
use serde::Serialize;

use crate::Answer;
use crate::args::{EventsArgs, Paging, PersonsArgs, SourceArgs};
use crate::failure::Failure;
use crate::folding::Folded;
use crate::progress::Progress;
use crate::resolve::never_written;
use crate::screen::{Screen, remark, remark_source};
use crate::table::{Column, Field, Table};
use crate::text::{count, short_id, short_person, short_time, yes};

/// Something that is listed.
pub(crate) trait Listed: Serialize {
    const COLUMNS: &'static [Column];
    /// What there is none of, when there is none.
    const NOUN: &'static str;

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure>;
}

/// Opens what is listed, and says what it is answered from.
fn open(args: &SourceArgs, screen: &Screen) -> Result<Folded, Failure> {
    let reader = Folded::open(args, &mut Progress::beside(screen), screen)?;
    if let Some(from) = reader.answered_from().filter(|_| screen.json) {
        remark_source(&from);
    }
    Ok(reader)
}

/// Shows all that `walk` finds.
fn list<T: Listed>(
    args: &SourceArgs,
    screen: &mut Screen,
    walk: impl FnOnce(&Reader, &mut dyn FnMut(T)) -> Result<(), Fault>,
) -> Result<Answer, Failure> {
    let reader = open(args, screen)?;
    let mut table = Table::new(T::COLUMNS);
    let mut shown = Ok(());
    walk(&reader, &mut |item: T| {
        if shown.is_ok() {
            shown = if screen.json { screen.object(&item) } else { item.row(&mut table, screen) };
        }
        if screen.is_unread() {
            std::process::exit(0); // the walk cannot be stopped, and the answer of a listing is always yes
        }
    })?;
    shown?;
    if !screen.json && table.finish(screen)? == 0 {
        remark("note", &format!("there are no {}", T::NOUN));
    }
    Ok(reader.answer())
}

pub(crate) fn persons(args: PersonsArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let PersonsArgs { source, at, paging } = args;
    if at.is_none() && paging.is_whole() {
        return list::<Profile>(&source, screen, |reader, each| {
            reader.persons().try_for_each(|profile| profile.map(&mut *each))
        });
    }
    let reader = open(&source, screen)?;
    let last = reader.checkpoint().records - 1; // there is always the genesis record
    if let Some(asked) = at.filter(|at| *at > last) {
        return Err(Failure::NoSuchRecord { asked, last });
    }
    let from = at.map_or(paging.from, |at| Some(Cursor::beginning(Seq(at))));
    let ask = |ask| reader.persons_page(ask).map(Some);
    pages(Paging { from, ..paging }, Profile::COLUMNS, screen, ask, Profile::row).map(|_| reader.answer())
}

pub(crate) fn events(args: EventsArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let EventsArgs { source, of, paging } = args;
    let Some(id) = of else {
        if !paging.is_whole() {
            return Err(Failure::PagesOfWhom);
        }
        return list::<EventAnswer>(&source, screen, |reader, each| reader.events(each));
    };
    let reader = open(&source, screen)?;
    let ask = |ask| reader.events_of(Subject::Person(&id), ask);
    let known = pages(paging, EventAnswer::COLUMNS, screen, ask, EventAnswer::row)?;
    if !known {
        never_written(&id, &source.source).iter().for_each(|line| remark("note", line));
    }
    Ok(if known { Answer::Yes } else { Answer::No })
}

/// Shows one page, or all of them if no limit is given, and where the next one begins. `false` if there is no
/// such id or person.
pub(crate) fn pages<T: Serialize>(
    Paging { limit, from }: Paging,
    columns: &'static [Column],
    screen: &mut Screen,
    ask_for: impl Fn(PageRequest) -> Result<Option<Page<T>>, PageError>,
    row: impl Fn(&T, &mut Table, &mut Screen) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let items = limit.map_or(MAX_PAGE_ITEMS, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE_ITEMS));
    let mut table = Table::new(columns);
    let mut ask = PageRequest { from, items };
    loop {
        let Some(page) = ask_for(ask)? else { return Ok(false) };
        for item in &page.items {
            if screen.json { screen.object(item)? } else { row(item, &mut table, screen)? }
        }
        match page.next {
            Some(next) if limit.is_none() && !screen.is_unread() => ask = PageRequest::next(next, items),
            next => {
                if screen.json && limit.is_some() {
                    screen.object(&More { next })?;
                }
                if !screen.json {
                    table.finish(screen)?;
                }
                if let (Some(next), false) = (next, screen.json) {
                    screen.finish()?;
                    remark("note", &format!("there is more: --from {next}"));
                }
                return Ok(true);
            }
        }
    }
}

#[derive(Serialize)]
struct More {
    next: Option<Cursor>,
}

pub(crate) fn outcomes(args: SourceArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    list::<OutcomeAnswer>(&args, screen, |reader, each| reader.outcomes(each))
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

/// A property's value as JSON.
pub(crate) fn value(property: &PropertyAnswer) -> String {
    match &property.value {
        Some(value) => value.to_string(),
        None => "erased".to_owned(),
    }
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

impl Listed for OutcomeAnswer {
    const COLUMNS: &'static [Column] = &[
        Column::number("SEQ"),
        Column::elastic("OP"),
        Column::elastic("ID"),
        Column::elastic("OTHER"),
        Column::elastic("OUTCOME"),
    ];
    const NOUN: &'static str = "operations";

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
        let wide = screen.wide;
        let other = self.other_id.as_deref().unwrap_or_default();
        let happened = Field::new(sentence(self, wide));
        table.row(
            screen,
            [
                self.seq.to_string().into(),
                self.op.into(),
                short_id(&self.distinct_id, wide).into_owned().into(),
                short_id(other, wide).into_owned().into(),
                if self.refusal.is_some() { happened.alarming() } else { happened },
            ],
        )
    }
}

/// What an operation did: the refusal first, for that is what one looks for.
pub(crate) fn sentence(outcome: &OutcomeAnswer, wide: bool) -> String {
    let mut parts = Vec::new();
    if let (Some(rule), Some(reason)) = (outcome.rule, &outcome.reason) {
        let blocking = outcome.blocking_seq.filter(|seq| *seq != outcome.seq);
        let blocking = blocking.map_or(String::new(), |seq| format!(", record {seq}"));
        parts.push(format!("refused by {rule}{blocking}: {reason}"));
    }
    parts.extend(outcome.effects.iter().map(|effect| deed(effect, &outcome.distinct_id, wide)));
    for notice in &outcome.notices {
        let which = match (&notice.distinct_id, notice.ids) {
            (Some(id), Some(1)) => format!(" {}", short_id(id, wide)),
            (Some(id), Some(ids)) => format!(" {} and {} more", short_id(id, wide), ids - 1),
            _ => String::new(),
        };
        let name = format!("{}{which}", notice.notice.replace('_', " "));
        parts.push(match notice.seq {
            Some(seq) => format!("{name} (record {seq})"),
            None => name,
        });
    }
    if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") }
}

/// One effect; the ids are in columns of their own.
fn deed(effect: &EffectAnswer, id: &str, wide: bool) -> String {
    match effect {
        EffectAnswer::Founded { person_id } => format!("founded {}", short_person(*person_id, wide)),
        EffectAnswer::Joined { distinct_id, person_id } => {
            let which = if distinct_id == id { "id" } else { "other" };
            format!("{which} joined {}", short_person(*person_id, wide))
        }
        EffectAnswer::Merged { survivor, absorbed, moved_ids } => {
            let (survivor, absorbed) = (short_person(*survivor, wide), short_person(*absorbed, wide));
            format!("{survivor} absorbed {absorbed} ({moved_ids} moved)")
        }
        EffectAnswer::Identified { .. } => "identified".to_owned(),
        EffectAnswer::Properties { written, .. } => match (written.set, written.removed) {
            (set, 0) => format!("{set} set"),
            (0, removed) => format!("{removed} removed"),
            (set, removed) => format!("{set} set, {removed} removed"),
        },
        EffectAnswer::Retracted { seq } => format!("record {seq} counts as never asked"),
        EffectAnswer::Split { left: 1, .. } => "1 id left its person".to_owned(),
        EffectAnswer::Split { left, .. } => format!("{left} ids left their person"),
        EffectAnswer::DeviceSpeaksFor { device_id, distinct_id } => {
            format!("{} speaks for {}", short_id(device_id, wide), short_id(distinct_id, wide))
        }
        EffectAnswer::DeviceReset { device_id, distinct_id } => {
            format!("{} starts over as {}", short_id(device_id, wide), short_id(distinct_id, wide))
        }
    }
}
