//! The notation of scenarios: one line a request, what became of it, and who is who in the end.
//!
//! Made for people: failing histories are shown in it, and `tests/scenarios/` is written in it. It knows how to write;
//! reading it back is the tests' business.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fold::{Correction, DeviceEffect, Link, Outcome, PersonIdBasis, PersonNo, SharedEffect};
use crate::ledger::appended::Appended;
use crate::ledger::error::AppendError;
use crate::log::body::DeviceNo;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::model::operation::{
    Actor, Changes, Dialect, Operation, PersonProfiles, Processing, Request, Source, SplitMode, Target,
};
use crate::model::time::Timestamp;
use crate::model::value::Properties;
use crate::query::answer::{EventMode, PropertyAnswer};
use crate::query::diff::{Diff, PersonDiff, PersonPart, PropertyDiff, RefusalHere};
use crate::query::reader::{Reader, Resolution};
use crate::store::segments::Fault;

/// Words with a meaning of their own; an id of that text stands in quotes.
const WORDS: [&str; 11] =
    ["on", "as", "to", "once", "unset", "with", "its-id", "add", "append", "union", "remove"];

/// Writes an id or a key: bare if nothing in it could be taken for something else, as a JSON text if so. A text of one
/// character many times over stands as `"x"*400`.
pub fn text(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_.$:".contains(c);
    if !text.is_empty() && text.chars().all(bare) && text.len() <= 40 && !WORDS.contains(&text) {
        return text.to_owned();
    }
    let quoted = |text: &str| serde_json::to_string(text).expect("a text is JSON");
    match text.chars().next() {
        Some(first) if text.chars().count() > 20 && text.chars().all(|c| c == first) => {
            format!("{}*{}", quoted(first.encode_utf8(&mut [0; 4])), text.chars().count())
        }
        _ => quoted(text),
    }
}

/// Writes a time: microseconds since 1970 for the small numbers that tests use as clocks, else RFC 3339.
pub fn time(time: Timestamp) -> String {
    match time.as_micros() {
        small @ 0..1_000_000 => format!("@{small}"),
        _ => format!("@{time}"),
    }
}

/// Writes a request as the `number`th of a page, without its number. By default its clock shows that number.
pub fn request(number: usize, operation: &Operation) -> String {
    let mut line = match &operation.request {
        Request::Capture { who: t, event, properties } => {
            let mut line = format!("capture {}", who(t));
            if let Some(event) = event {
                write!(line, " {}", text(event.as_str())).expect("a text takes everything");
            }
            if !properties.is_empty() {
                write!(line, " with {}", written(properties)).expect("a text takes everything");
            }
            line
        }
        Request::Identify { who: t, anonymous } => format!("identify {}{}", who(t), source(anonymous)),
        Request::Alias { who: t, alias } => format!("alias {}{}", who(t), source(alias)),
        Request::Merge { who: t, alias } => format!("merge {}{}", who(t), source(alias)),
        Request::Set { who: t } => format!("set {}", who(t)),
        Request::DeviceIdentify { device, user } => {
            format!("identify on {} as {}", text(device.as_str()), text(user.as_str()))
        }
        Request::Reset { device, reset_device, new_id } => {
            let its_id = if *reset_device { " its-id" } else { "" };
            let fresh = new_id.as_ref().map_or_else(String::new, |id| format!(" to {}", text(id.as_str())));
            format!("reset {}{its_id}{fresh}", text(device.as_str()))
        }
        Request::Retract { target: Target::Record(seq) } => format!("retract record {seq}"),
        Request::Retract { target: Target::Operation(OperationId(id)) } => match id.as_u128() {
            small @ 0..1_000_000 => format!("retract id {small}"),
            _ => format!("retract id {id}"),
        },
        Request::Reclassify { id, class } => format!("reclassify {} as {}", text(id.as_str()), class.name()),
        Request::Split { id, ids, mode } => {
            let ids: Vec<String> = ids.iter().map(|id| text(id.as_str())).collect();
            let together = if *mode == SplitMode::Together { " together" } else { "" };
            format!("split {} -> {}{together}", text(id.as_str()), ids.join(", "))
        }
    };
    line.push_str(&changes(&operation.changes));
    line.push_str(&options(number, operation));
    line
}

fn who(who: &Actor) -> String {
    match who {
        Actor::Id(id) => text(id.as_str()),
        Actor::Device(device) => format!("on {}", text(device.as_str())),
    }
}

fn source(source: &Option<Source>) -> String {
    match source {
        None => String::new(),
        Some(Source::Unstorable) => " <- \"\"".to_owned(),
        Some(Source::Id(id)) => format!(" <- {}", text(id.as_str())),
    }
}

fn written(properties: &Properties) -> String {
    let pairs: Vec<String> =
        properties.iter().map(|(key, value)| format!("{}: {value}", text(key.as_str()))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn changes(changes: &Changes) -> String {
    let Changes { set, set_once, unset, .. } = changes;
    let mut out = String::new();
    if !set.is_empty() {
        write!(out, " {}", written(set)).expect("a text takes everything");
    }
    if !set_once.is_empty() {
        write!(out, " once {}", written(set_once)).expect("a text takes everything");
    }
    if !unset.is_empty() {
        let keys: Vec<String> = unset.iter().map(|key| text(key.as_str())).collect();
        write!(out, " unset {{{}}}", keys.join(", ")).expect("a text takes everything");
    }
    for (verb, operands) in changes.relative().filter(|(_, operands)| !operands.is_empty()) {
        write!(out, " {verb} {}", written(operands)).expect("a text takes everything");
    }
    out
}

fn options(number: usize, operation: &Operation) -> String {
    let mut options = Vec::new();
    match operation.processing {
        Processing::Unsaid => {}
        Processing::On => options.push("processing on".to_owned()),
        Processing::Off => options.push("processing off".to_owned()),
        Processing::Invalid => options.push("processing invalid".to_owned()),
    }
    if i64::try_from(number) != Ok(operation.time.as_micros()) {
        options.push(time(operation.time));
    }
    if let Some(OperationId(id)) = operation.id {
        options.push(match id.as_u128() {
            small @ 0..1_000_000 => format!("id {small}"),
            _ => format!("id {id}"),
        });
    }
    options.extend(operation.sdk.dialect.map(|dialect| match dialect {
        Dialect::Browser => "browser".to_owned(),
        Dialect::Core => "core".to_owned(),
    }));
    options.extend(operation.sdk.person_profiles.map(|profiles| match profiles {
        PersonProfiles::IdentifiedOnly => "profiles identified_only".to_owned(),
        PersonProfiles::Always => "profiles always".to_owned(),
        PersonProfiles::Never => "profiles never".to_owned(),
    }));
    if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) }
}

/// Tells what became of the requests of one page, and names records by the numbers of their requests.
#[derive(Debug, Default)]
pub struct Teller {
    /// The number of the request that each record stands for.
    requests: BTreeMap<Seq, usize>,
}

impl Teller {
    /// Tells what became of the `number`th request; call it for each, in their order, before the next is made.
    pub fn answer(
        &mut self,
        reader: &Reader,
        number: usize,
        appended: &Result<Appended, AppendError>,
    ) -> String {
        match appended {
            Ok(Appended::Recorded { seq, outcome }) => {
                self.requests.insert(*seq, number);
                self.outcome(reader, outcome)
            }
            Ok(Appended::Duplicate { seq }) => format!("duplicate of {}", self.record(reader, *seq)),
            Ok(Appended::Conflict { seq }) => format!("conflict with {}", self.record(reader, *seq)),
            Ok(Appended::Ignored) => "ignored".to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// A record, by what a reader of the page knows it by.
    fn record(&self, reader: &Reader, seq: Seq) -> String {
        if let Some(number) = self.requests.get(&seq) {
            return number.to_string();
        }
        match reader.state().ids().find(|id| reader.state().defined_by(*id) == seq) {
            Some(id) => format!("first mention of {}", text(reader.id_text(id).unwrap_or("an erased id"))),
            None if seq.0 >= reader.checkpoint().records => "it".to_owned(),
            None => "the policy".to_owned(),
        }
    }

    /// A person, by the id it is called after, and by the record that is part of its public id, if one is (D11).
    fn called(&self, reader: &Reader, called: PersonIdBasis) -> String {
        let id = text(&reader.id_name(called.id()));
        match called {
            PersonIdBasis::Founding(_) | PersonIdBasis::Erased(..) => id,
            PersonIdBasis::At(_, seq) => format!("{id} ({})", self.record(reader, seq)),
        }
    }

    fn outcome(&self, reader: &Reader, outcome: &Outcome) -> String {
        let id = |id| text(reader.id_text(id).unwrap_or("an erased id"));
        let name = |person: PersonNo| self.called(reader, reader.state().called(person));
        let device = |device: DeviceNo| text(reader.device_text(device).unwrap_or("an erased device"));
        let mut parts = Vec::new();
        if let Some(person) = outcome.person {
            let person = name(person);
            if outcome.founded {
                parts.push(format!("{person} is founded"));
            }
            match outcome.link {
                Some(Link::Joined(joining)) => parts.push(format!("{} joins {person}", id(joining))),
                Some(Link::Absorbed { person: absorbed, moved_ids }) => {
                    parts.push(format!("{person} absorbs {} ({moved_ids} moved)", name(absorbed)));
                }
                None => {}
            }
            if outcome.identified {
                parts.push(format!("{person} is identified"));
            }
            let (set, removed) = (outcome.written.set, outcome.written.removed);
            if set > 0 {
                parts.push(format!("{person} has {set} written"));
            }
            if removed > 0 {
                parts.push(format!("{person} has {removed} removed"));
            }
        }
        parts.extend(outcome.device.map(|effect| match effect {
            DeviceEffect::SpeaksFor(number, now) => format!("{} speaks for {}", device(number), id(now)),
            DeviceEffect::Reset(number, now) => format!("{} is reset to {}", device(number), id(now)),
        }));
        parts.extend(outcome.shared.map(|effect| match effect {
            SharedEffect::SignedIn(shared) => format!("a sign-in on {}", id(shared)),
            SharedEffect::SignedOut(shared) => format!("{} speaks for itself", id(shared)),
        }));
        parts.extend(outcome.undone.map(|undone| match undone {
            Correction::Retracted { seq, .. } => {
                format!("{} counts as never asked", self.record(reader, seq))
            }
            Correction::Reclassified { from, to, .. } => format!("{} becomes {}", from.name(), to.name()),
            Correction::Split { left: 1 } => "1 id leaves".to_owned(),
            Correction::Split { left } => format!("{left} ids leave"),
        }));
        for notice in outcome.notices.names() {
            let about = outcome.notices.record_of(notice);
            let about = about.map_or_else(String::new, |seq| format!(" ({})", self.record(reader, seq)));
            parts.push(format!("notice {notice}{about}"));
        }
        parts.extend(outcome.refusal.map(|refusal| {
            let by = self.record(reader, refusal.blocking());
            format!("refused {} {} ({by})", refusal.rule(), refusal.name())
        }));
        if parts.is_empty() { "nothing changes".to_owned() } else { parts.join("; ") }
    }

    /// In what one content of a reader differs from another, such as what it would mean under another policy.
    pub fn difference(&self, reader: &Reader, diff: &Diff) -> String {
        let (state, next) = (reader.state(), Seq(reader.checkpoint().records));
        let ids = || state.ids().filter_map(|id| reader.id_text(id));
        let mut names: BTreeMap<PersonId, String> =
            ids().map(|id| (PersonId::founded_by(reader.tenant(), id), text(id))).collect();
        // Whom a split would found that is only asked about (D11).
        names.extend(
            ids().map(|id| (PersonId::founded_at(reader.tenant(), id, next), format!("{} (it)", text(id)))),
        );
        let persons = (0..state.persons_founded() as u32).map(PersonNo);
        names.extend(
            persons.map(|person| {
                (reader.own_person_id(person, state), self.called(reader, state.called(person)))
            }),
        );
        let name = |person: &PersonId| names.get(person).cloned().unwrap_or_else(|| person.to_string());
        let parts_of = |parts: &[PersonPart]| {
            let part = |part: &PersonPart| format!("{} ({})", name(&part.person_id), part.ids);
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        };
        let mut said = Vec::new();
        said.extend(
            diff.merged
                .iter()
                .map(|merged| format!("{} become one, {}", parts_of(&merged.from), name(&merged.person_id))),
        );
        said.extend(
            diff.split
                .iter()
                .map(|split| format!("{} splits into {}", name(&split.person_id), parts_of(&split.into))),
        );
        said.extend(
            diff.renamed
                .iter()
                .map(|renamed| format!("{} is called {}", name(&renamed.from), name(&renamed.to))),
        );
        said.extend(diff.created.iter().map(|person| format!("{} is new", name(person))));
        said.extend(diff.gone.iter().map(|person| format!("{} is gone", name(person))));
        let whose = |whose: Option<Resolution>| match whose {
            Some(whose) if !whose.implied => name(&whose.person_id),
            _ => "nobody".to_owned(),
        };
        for id in diff.moved_ids() {
            let (who, from, to) = (text(&id.distinct_id.to_string()), whose(id.before), whose(id.after));
            let events = match id.full + id.propertyless {
                0 => String::new(),
                events => format!(" with {events} events, full {}", id.full),
            };
            said.push(format!("id {who} from {from} to {to}{events}"));
        }
        for id in &diff.ids {
            let who = text(&id.distinct_id.to_string());
            match (id.before, id.after) {
                (None, after) => said.push(format!("id {who} from nowhere to {}", whose(after))),
                (before, None) => said.push(format!("id {who} from {} to nowhere", whose(before))),
                _ => {}
            }
        }
        for PersonDiff { person_id, before, after } in &diff.persons {
            let (Some(before), Some(after)) = (before, after) else { continue };
            if before.is_identified != after.is_identified {
                let not = if after.is_identified { "" } else { "not " };
                said.push(format!("{} is {not}identified", name(person_id)));
            }
            if before.created_at != after.created_at {
                said.push(format!("{} is created {}", name(person_id), time(after.created_at)));
            }
        }
        for PropertyDiff { person_id, key, before, after } in &diff.properties {
            let value = |side: &Option<PropertyAnswer>| match side {
                None => "absent".to_owned(),
                Some(PropertyAnswer { value: None, .. }) => "erased".to_owned(),
                Some(PropertyAnswer { value: Some(value), seq, .. }) => {
                    format!("{value} ({})", self.record(reader, *seq))
                }
            };
            let key = text(&key.to_string());
            said.push(format!("{} has {key}: {}, was {}", name(person_id), value(after), value(before)));
        }
        for refusal in &diff.refusals {
            let here = |side: &Option<RefusalHere>| side.as_ref().map(|here| (here.rule, here.seq));
            said.push(match (here(&refusal.before), here(&refusal.after)) {
                (Some((was, _)), Some((rule, seq))) => {
                    format!("{} is refused {rule}, was {was}", self.record(reader, seq))
                }
                (None, Some((rule, seq))) => format!("{} is refused {rule}", self.record(reader, seq)),
                (Some((was, seq)), None) => format!("{} is not refused, was {was}", self.record(reader, seq)),
                (None, None) => unreachable!("a refusal that differs is one on one side"),
            });
        }
        let unsaid = diff.devices.len() + diff.events.len();
        said.extend((unsaid > 0).then(|| format!("{unsaid} devices or ids with other events")));
        if said.is_empty() { "nothing differs".to_owned() } else { said.join("; ") }
    }

    /// Who is who in the end, line by line: persons, ids without one, old persons and who they became, devices, events.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn ending(&self, reader: &Reader) -> Result<Vec<String>, Fault> {
        let state = reader.state();
        let persons = (0..state.persons_founded() as u32).map(PersonNo);
        let founding: BTreeMap<PersonId, String> = state
            .ids()
            .filter(|id| state.person(*id).is_none())
            .filter_map(|id| reader.id_text(id))
            .filter_map(|id| Some((reader.resolve(id)?.person_id, text(id))))
            .chain(persons.map(|person| {
                (reader.own_person_id(person, state), self.called(reader, state.called(person)))
            }))
            .collect();
        let name = |person: PersonId| founding.get(&person).cloned().unwrap_or_else(|| person.to_string());
        let mut lines = Vec::new();
        for profile in reader.persons() {
            lines.push(self.person(reader, &profile?, &name));
        }
        for id in state.ids().filter(|id| state.person(*id).is_none()) {
            lines.push(format!("no person {}", text(reader.id_text(id).unwrap_or("an erased id"))));
        }
        let mut became = Vec::new();
        for number in (0..state.persons_founded() as u32).map(PersonNo) {
            let [before, now] =
                [number, state.survivor(number)].map(|person| self.called(reader, state.called(person)));
            // Of one public id there may have been several generations.
            if before != now && !became.contains(&before) {
                lines.push(format!("{before} became {now}"));
                became.push(before);
            }
        }
        for (number, device) in (0..).map(DeviceNo).zip(state.devices()) {
            let id = |id| text(reader.id_text(id).unwrap_or("an erased id"));
            let mut line = format!(
                "device {} speaks for {}, anonymous id {}",
                text(reader.device_text(number).unwrap_or("an erased device")),
                id(device.current),
                id(device.anonymous)
            );
            line.push_str(if device.identified { ", identified" } else { "" });
            line.push_str(if device.profiled { ", profiled" } else { "" });
            lines.push(line);
        }
        reader.events(|event| {
            let (then, now) = (name(event.person_id_then), name(event.person_id));
            let mode = if event.mode == EventMode::Full { "full" } else { "propertyless" };
            let number = self.record(reader, event.seq);
            lines.push(format!(
                "event {number} of {}: {mode}, then {then}, now {now}",
                text(&event.distinct_id)
            ));
        })?;
        Ok(lines)
    }

    fn person(
        &self,
        reader: &Reader,
        profile: &crate::query::answer::Profile,
        name: &dyn Fn(PersonId) -> String,
    ) -> String {
        let ids: Vec<String> = profile.distinct_ids.iter().map(|id| text(id)).collect();
        let mut line = format!("person {}", name(profile.person_id));
        write!(line, " = {}", ids.join(", ")).expect("a text takes everything");
        write!(line, "; created {}", time(profile.created_at)).expect("a text takes everything");
        if let Some(by) = profile.identified_by {
            write!(line, "; identified ({})", self.record(reader, by)).expect("a text takes everything");
        }
        if !profile.properties.is_empty() {
            let pairs = profile.properties.iter().map(|(key, property)| {
                let value = property.value.as_ref().map_or("erased".to_owned(), ToString::to_string);
                format!("{}: {value} ({})", text(key), self.record(reader, property.seq))
            });
            write!(line, "; {{{}}}", pairs.collect::<Vec<_>>().join(", ")).expect("a text takes everything");
        }
        if profile.events > 0 {
            let (events, full) = (profile.events, profile.identified_events);
            write!(line, "; events {events}, full {full}").expect("a text takes everything");
        }
        line
    }
}

/// Writes a history down, request by request with its outcome, and who is who in the end, as a page of `tests/scenarios/`.
///
/// ```
/// use identity_ledger::testing::notation;
/// use identity_ledger::{DistinctId, Operation, Policy, Source, Timestamp};
///
/// let at = Timestamp::from_micros(1)?;
/// let ann = Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("visitor-7")));
/// let page = notation::page(&Policy::default(), &[ann])?;
/// assert_eq!(
///     page,
///     "1. identify ann <- visitor-7\n   => ann is founded; visitor-7 joins ann; ann is identified\n\
///      finally\n   person ann = ann, visitor-7; created @1; identified (1)\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the policy is out of its bounds. A request that is an error is told as one.
pub fn page(policy: &crate::Policy, history: &[Operation]) -> Result<String, Box<dyn std::error::Error>> {
    let mut ledger = crate::Ledger::in_memory(crate::Tenant::default(), policy.clone())?;
    let mut teller = Teller::default();
    let mut page = String::new();
    if *policy != crate::Policy::default() {
        page = format!("policy {}\n", serde_json::to_string(policy)?);
    }
    for (number, operation) in (1..).zip(history) {
        let appended = ledger.append(operation.clone());
        let told = teller.answer(ledger.reader(), number, &appended);
        writeln!(page, "{number}. {}\n   => {told}", request(number, operation))?;
    }
    writeln!(page, "finally")?;
    for line in teller.ending(ledger.reader())? {
        writeln!(page, "   {line}")?;
    }
    Ok(page)
}
