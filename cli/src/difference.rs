//! How a difference is shown: that of `diff`, of `what-if`, and what a retract or split changes.

use std::collections::{BTreeMap, BTreeSet};

use identity_ledger::answer::PropertyAnswer;
use identity_ledger::diff::{
    ContentDevice, Counts, Diff, EventTally, EventsDiff, IdDiff, Name, PersonDiff, PersonPart, PropertyDiff,
    RefusalDiff, RefusalHere,
};
use identity_ledger::limits::MAX_PART_IDS;
use identity_ledger::{PersonId, Resolution};

use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{count, counted, short_id, short_person, short_reason, short_time, yes};

/// Lines of each part that are shown, unless nothing is to be cut.
const SHOWN: usize = 20;

/// Shows a difference, part by part: what became of the persons, why, and then in detail.
pub(crate) fn show(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    show_counts(&diff.counts, screen)?;
    show_parts(diff, ["in the first", "in the second"], screen)
}

/// Shows what a retract or split changes: as [`show`], but that its counts are those of some ids only.
pub(crate) fn show_component(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    if diff.is_empty() {
        return screen.line("Nothing else changes.");
    }
    screen.line("Among the ids that records connect with it:")?;
    show_counts(&diff.counts, screen)?;
    show_parts(diff, ["before", "afterwards"], screen)
}

/// `sides` are what the two are called.
fn show_parts(diff: &Diff, sides: [&str; 2], screen: &mut Screen) -> Result<(), Failure> {
    if diff.is_empty() {
        return show_kept(&diff.classes_kept, screen);
    }
    let merged = diff.merged.iter().map(|merged| (merged.person_id, &merged.from[..]));
    show_trees("Merged: one person of several", diff.merged.len(), merged, screen)?;
    let split = diff.split.iter().map(|split| (split.person_id, &split.into[..]));
    show_trees("Split: several persons of one", diff.split.len(), split, screen)?;
    show_renamed(diff, screen)?;
    show_whole("New persons", &diff.created, |id| id.after, diff, screen)?;
    show_whole("Persons that are gone", &diff.gone, |id| id.before, diff, screen)?;
    show_refusals(&diff.refusals, screen)?;
    show_moved(diff, screen)?;
    show_alone(diff, sides, screen)?;
    show_events(&diff.events, screen)?;
    show_persons(&diff.persons, screen)?;
    show_properties(diff, screen)?;
    show_devices(diff, screen)?;
    show_kept(&diff.classes_kept, screen)
}

fn show_counts([before, after]: &[Counts; 2], screen: &mut Screen) -> Result<(), Failure> {
    let facts = [
        ("persons", before.persons, after.persons),
        ("  identified", before.identified_persons, after.identified_persons),
        ("ids with a person", before.ids_with_person, after.ids_with_person),
        ("full events", before.identified_events, after.identified_events),
        ("propertyless events", before.propertyless_events, after.propertyless_events),
    ];
    let fact = |before: u64, after: u64| match after == before {
        true => count(before),
        false => format!("{} → {}", count(before), count(after)),
    };
    screen.facts(&facts.map(|(name, before, after)| (name, fact(before, after))))
}

/// How many lines of a part are shown.
fn shown(screen: &Screen, all: usize) -> usize {
    if screen.wide { all } else { all.min(SHOWN) }
}

fn title(what: &str, all: usize, screen: &mut Screen) -> Result<(), Failure> {
    screen.line("")?;
    screen.headline(&format!("{what} ({})", count(all as u64)))
}

fn more(all: usize, screen: &mut Screen) -> Result<(), Failure> {
    match all - shown(screen, all) {
        0 => Ok(()),
        left => screen.line(&format!("  … and {} more; --wide and --json have all", count(left as u64))),
    }
}

fn show_trees<'a>(
    what: &str,
    all: usize,
    trees: impl Iterator<Item = (PersonId, &'a [PersonPart])>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if all == 0 {
        return Ok(());
    }
    title(what, all, screen)?;
    for (person, parts) in trees.take(shown(screen, all)) {
        let ids: u64 = parts.iter().map(|part| part.ids).sum();
        screen.line(&format!("  {}  {}", short_person(person, screen.wide), counted(ids, "id")))?;
        let widest = parts.iter().map(|part| counted(part.ids, "id").len()).max().unwrap_or(0);
        let last = shown(screen, parts.len()) - 1;
        for (at, part) in parts.iter().enumerate().take(last + 1) {
            let branch = if at == last && parts.len() == last + 1 { "└─" } else { "├─" };
            let (whose, many) = (short_person(part.person_id, screen.wide), counted(part.ids, "id"));
            let line = format!("  {branch} {whose}  {many:widest$}  ");
            screen.line(&listed(line, &part.distinct_ids, part.ids, screen))?;
        }
        if parts.len() > last + 1 {
            screen.line(&format!("  └─ … and {} more", count((parts.len() - last - 1) as u64)))?;
        }
    }
    more(all, screen)
}

/// A line that ends with the first ids of some, as many as fit, and says that there are more.
fn listed(mut line: String, ids: &[Name], all: u64, screen: &Screen) -> String {
    const MORE: &str = ", …";
    for (at, id) in ids.iter().enumerate() {
        let text = short_id(&id.to_string(), screen.wide).into_owned();
        let text = if at == 0 { text } else { format!(", {text}") };
        let more = if all > at as u64 + 1 { MORE.chars().count() } else { 0 };
        if at > 0 && !screen.wide && line.chars().count() + text.chars().count() + more > screen.width.into()
        {
            return line + MORE;
        }
        line += &text;
    }
    if all > ids.len() as u64 { line + MORE } else { line }
}

fn show_renamed(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    if diff.renamed.is_empty() {
        return Ok(());
    }
    title("Persons with another person id", diff.renamed.len(), screen)?;
    for renamed in diff.renamed.iter().take(shown(screen, diff.renamed.len())) {
        let [from, to] = [renamed.from, renamed.to].map(|person| short_person(person, screen.wide));
        screen.line(&format!("  {from} → {to}"))?;
    }
    more(diff.renamed.len(), screen)
}

/// Persons that share no id with any on the other side, each with its ids.
fn show_whole(
    what: &str,
    persons: &[PersonId],
    side: impl Fn(&IdDiff) -> Option<Resolution>,
    diff: &Diff,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if persons.is_empty() {
        return Ok(());
    }
    let few = &persons[..shown(screen, persons.len())];
    let mut ids: BTreeMap<PersonId, Vec<Name>> = few.iter().map(|person| (*person, Vec::new())).collect();
    for id in &diff.ids {
        let person = side(id).filter(|whose| !whose.implied).map(|whose| whose.person_id);
        if let Some(theirs) = person.and_then(|person| ids.get_mut(&person)) {
            theirs.push(id.distinct_id.clone());
        }
    }
    title(what, persons.len(), screen)?;
    for person in few {
        let theirs = &ids[person];
        let first = &theirs[..theirs.len().min(MAX_PART_IDS)];
        let first = if screen.wide { &theirs[..] } else { first };
        let all = theirs.len() as u64;
        let line = format!("  {}  {}: ", short_person(*person, screen.wide), counted(all, "id"));
        screen.line(&listed(line, first, all, screen))?;
    }
    more(persons.len(), screen)
}

/// A person, or that there is none.
fn whose(whose: Option<Resolution>, wide: bool) -> Field {
    match whose.filter(|whose| !whose.implied) {
        Some(whose) => Field::new(short_person(whose.person_id, wide)),
        None => Field::new("none").quiet(),
    }
}

fn events(full: u64, propertyless: u64) -> String {
    match propertyless {
        0 => count(full),
        propertyless => format!("{} ({})", count(full + propertyless), count(propertyless)),
    }
}

fn show_moved(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 4] = [
        Column::elastic("DISTINCT ID"),
        Column::whole("FROM"),
        Column::whole("TO"),
        Column::number("EVENTS"),
    ];
    let moved = diff.moved_ids().count();
    if moved > 0 {
        title("Ids of another person, and events that go with them", moved, screen)?;
        let mut table = Table::new(&COLUMNS);
        for id in diff.moved_ids().take(shown(screen, moved)) {
            let name = short_id(&id.distinct_id.to_string(), screen.wide).into_owned();
            let (from, to) = (whose(id.before, screen.wide), whose(id.after, screen.wide));
            table.row(screen, [name.into(), from, to, events(id.full, id.propertyless).into()])?;
        }
        table.finish(screen)?;
        more(moved, screen)?;
    }
    Ok(())
}

/// Ids that mean something on one side only.
fn show_alone(diff: &Diff, [first, second]: [&str; 2], screen: &mut Screen) -> Result<(), Failure> {
    let alone = |is_here: fn(&IdDiff) -> bool| {
        let ids = diff.ids.iter().filter(|id| is_here(id)).map(|id| id.distinct_id.clone());
        ids.collect::<Vec<Name>>()
    };
    for (ids, side) in [(alone(|id| id.before.is_none()), second), (alone(|id| id.after.is_none()), first)] {
        if !ids.is_empty() {
            let all = ids.len() as u64;
            let few = if screen.wide { &ids[..] } else { &ids[..ids.len().min(MAX_PART_IDS)] };
            let line = format!("{} with a person or events only {side}: ", counted(all, "id"));
            screen.line("")?;
            screen.line(&listed(line, few, all, screen))?;
        }
    }
    Ok(())
}

fn show_events(all: &[EventsDiff], screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 4] = [
        Column::elastic("DISTINCT ID"),
        Column::number("LOST"),
        Column::number("GAINED"),
        Column::elastic("RECORDS"),
    ];
    if all.is_empty() {
        return Ok(());
    }
    title("Ids with other events", all.len(), screen)?;
    let mut table = Table::new(&COLUMNS);
    for EventsDiff { distinct_id, gained, lost } in all.iter().take(shown(screen, all.len())) {
        let [lost, gained] = [lost, gained].map(|list| EventTally::of(list));
        let records = [("lost", lost), ("gained", gained)].map(|(what, events)| match events {
            EventTally { first_seq: Some(first), last_seq: Some(last), .. } if first == last => {
                format!("{what} {first}")
            }
            EventTally { first_seq: Some(first), last_seq: Some(last), .. } => {
                format!("{what} {first} to {last}")
            }
            _ => String::new(),
        });
        let records = records.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ");
        let name = short_id(&distinct_id.to_string(), screen.wide).into_owned();
        let [lost, gained] = [lost, gained].map(|list| Field::new(events(list.full, list.propertyless)));
        table.row(screen, [name.into(), lost, gained, records.into()])?;
    }
    table.finish(screen)?;
    more(all.len(), screen)
}

fn show_persons(all: &[PersonDiff], screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 3] = [Column::whole("PERSON"), Column::elastic("FROM"), Column::elastic("TO")];
    let both: Vec<_> =
        all.iter().filter_map(|person| Some((person, person.before?, person.after?))).collect();
    if both.is_empty() {
        return Ok(());
    }
    title("Persons identified or created otherwise", both.len(), screen)?;
    let mut table = Table::new(&COLUMNS);
    for (person, before, after) in both.iter().take(shown(screen, both.len())) {
        let wide = screen.wide;
        let [from, to] = [(before, after), (after, before)].map(|(here, there)| {
            let mut parts = Vec::new();
            if here.is_identified != there.is_identified {
                parts.push(format!("identified {}", yes(here.is_identified)));
            }
            if here.created_at != there.created_at {
                // Two times within a second are shown in full: else they would look alike.
                let [one, other] = [here, there].map(|facts| short_time(facts.created_at, wide));
                let exact = short_time(here.created_at, true);
                parts.push(format!("created {}", if one == other { exact } else { one }));
            }
            Field::new(parts.join(", "))
        });
        table.row(screen, [short_person(person.person_id, wide).into(), from, to])?;
    }
    table.finish(screen)?;
    more(both.len(), screen)
}

fn show_properties(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 4] = [
        Column::whole("PERSON"),
        Column::elastic("PROPERTY"),
        Column::elastic("FROM"),
        Column::elastic("TO"),
    ];
    // All properties of a person that only one of the two has differ: that needs saying once.
    let only_one = diff.persons.iter().filter(|person| person.before.is_none() != person.after.is_none());
    let only_one: BTreeSet<PersonId> = only_one.map(|person| person.person_id).collect();
    let (theirs, both): (Vec<_>, Vec<_>) =
        diff.properties.iter().partition(|property| !screen.wide && only_one.contains(&property.person_id));
    if !both.is_empty() {
        title("Properties", both.len(), screen)?;
        let mut table = Table::new(&COLUMNS);
        for PropertyDiff { person_id, key, before, after } in both.iter().take(shown(screen, both.len())) {
            let value = |side: &Option<PropertyAnswer>| match side {
                None => Field::new("absent").quiet(),
                Some(PropertyAnswer { value: None, .. }) => Field::new("erased").quiet(),
                Some(PropertyAnswer { value: Some(value), seq, .. }) => {
                    Field::new(format!("record {seq}: {value}"))
                }
            };
            let person = short_person(*person_id, screen.wide);
            let key = key.to_string();
            table.row(screen, [person.into(), key.into(), value(before), value(after)])?;
        }
        table.finish(screen)?;
        more(both.len(), screen)?;
    }
    if theirs.is_empty() {
        return Ok(());
    }
    let number = match theirs.len() {
        1 => "1 property".to_owned(),
        number => format!("{} properties", count(number as u64)),
    };
    screen.line("")?;
    screen.line(&format!("{number} of persons that only one side has; --wide and --json have all"))
}

fn show_devices(diff: &Diff, screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 3] =
        [Column::elastic("DEVICE"), Column::elastic("SPOKE FOR"), Column::elastic("SPEAKS FOR")];
    if diff.devices.is_empty() {
        return Ok(());
    }
    title("Devices", diff.devices.len(), screen)?;
    let mut table = Table::new(&COLUMNS);
    for device in diff.devices.iter().take(shown(screen, diff.devices.len())) {
        let wide = screen.wide;
        let side = |side: &Option<ContentDevice>| match side {
            None => Field::new("absent").quiet(),
            Some(device) => {
                let identified = if device.identified { ", identified" } else { "" };
                Field::new(short_id(&device.current_id.to_string(), wide).into_owned() + identified)
            }
        };
        let name = short_id(&device.device_id.to_string(), wide).into_owned();
        table.row(screen, [name.into(), side(&device.before), side(&device.after)])?;
    }
    table.finish(screen)?;
    more(diff.devices.len(), screen)
}

fn show_refusals(all: &[RefusalDiff], screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 5] = [
        Column::number("SEQ"),
        Column::elastic("OP"),
        Column::elastic("ID"),
        Column::elastic("OTHER"),
        Column::folded("REFUSED"),
    ];
    if all.is_empty() {
        return Ok(());
    }
    let gained = all.iter().filter(|refusal| refusal.before.is_none()).count() as u64;
    let lost = all.iter().filter(|refusal| refusal.after.is_none()).count() as u64;
    let other = all.len() as u64 - gained - lost;
    let parts = [(gained, "more"), (lost, "fewer"), (other, "by another rule")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(number, what)| format!("{} {what}", count(number))).collect();
    screen.line("")?;
    screen.headline(&format!("Refusals: {}", parts.join(", ")))?;
    let mut table = Table::new(&COLUMNS);
    for refusal in all.iter().take(shown(screen, all.len())) {
        let wide = screen.wide;
        let id = |name: &Name| short_id(&name.to_string(), wide).into_owned();
        let seq = [&refusal.after, &refusal.before].into_iter().flatten().next().map(|here| here.seq);
        let said = |here: &RefusalHere| format!("{}: {}", here.rule, short_reason(&here.reason, wide));
        let what = match (&refusal.before, &refusal.after) {
            (None, Some(after)) => Field::new(said(after)).alarming(),
            (Some(before), None) => Field::new(format!("no more; was {}", said(before))),
            (Some(before), Some(after)) => Field::new(format!("{}; was {}", said(after), before.rule)),
            (None, None) => Field::new(""),
        };
        table.row(
            screen,
            [
                seq.map_or(String::new(), |seq| seq.to_string()).into(),
                refusal.op.into(),
                id(&refusal.distinct_id).into(),
                refusal.other_id.as_ref().map_or(String::new(), id).into(),
                what,
            ],
        )?;
    }
    table.finish(screen)?;
    more(all.len(), screen)
}

fn show_kept(kept: &[Name], screen: &mut Screen) -> Result<(), Failure> {
    if kept.is_empty() {
        return Ok(());
    }
    let ids = counted(kept.len() as u64, "id");
    screen.line("")?;
    screen.line(&format!("{ids} kept the class it has: its text is erased, so it could not be decided again"))
}
