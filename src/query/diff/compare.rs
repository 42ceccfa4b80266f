//! Comparing: how a [`Diff`] is found between two views. Two of one log are matched by number, two of different logs by text.
//! Only what differs is kept: a look at each id and person, and values are read only where they may differ.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::fold::replay::Step;
use crate::fold::{PersonNo, Refusal, Standing};
use crate::log::body::{DeviceNo, IdNo, KeyNo};
use crate::model::id::{PersonId, Seq};
use crate::model::limits::MAX_PART_IDS;
use crate::query::answer::PropertyAnswer;
use crate::query::diff::content::{ContentDevice, PersonFacts, has_content};
use crate::query::diff::matching::{Matching, PersonKey, PersonKeys};
use crate::query::diff::view::Name;
use crate::query::diff::view::{Refusals, Refused, View};
use crate::query::diff::{
    Counts, DeviceDiff, Diff, EventRef, EventsDiff, IdDiff, MergedPerson, PersonDiff, PersonPart,
    PropertyDiff, RefusalDiff, RefusalHere, RenamedPerson, SplitPerson,
};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

impl Diff {
    /// In what `after` differs from `before`.
    ///
    /// Views of one reader are matched by number. Two books are matched by text, ids by distinct id, persons by public person id,
    /// devices by device id, events by everything they hold, and refused operations by what was asked, under which id and when.
    ///
    /// Cost: one look at each id, person and device, and a replay of each log for what was refused and for events that only one
    /// of the two has. Between two books also a look at each property, and some 60 bytes an event while it lasts. The diff itself
    /// is as large as what differs.
    ///
    /// # Errors
    /// [`Fault`] when a log cannot be read back.
    pub fn between(before: &View<'_>, after: &View<'_>) -> Result<Diff, Fault> {
        let finder = Finder::new(before, after);
        let mut diff = finder.find()?;
        let Gathered { events: [lost, gained], refused: [first, second] } = finder.gather()?;
        diff.events = finder.events_of(lost, gained);
        diff.refusals = finder.refusals(&first, &second);
        Ok(diff)
    }

    /// As [`Diff::between`], of two views of one component alone that know what is refused in them; `events` are the records of
    /// those that only the first has, and only the second.
    pub(crate) fn of_component(
        before: &View<'_>,
        after: &View<'_>,
        events: [&[Seq]; 2],
    ) -> Result<Diff, Fault> {
        let finder = Finder::new(before, after);
        let mut diff = finder.find()?;
        let [lost, gained] = [0, 1]
            .map(|at| events[at].iter().map(|seq| finder.event(at, *seq)).collect::<Result<_, Fault>>());
        diff.events = finder.events_of(lost?, gained?);
        let known = |view: &'_ View<'_>| view.refused.clone().unwrap_or_default();
        diff.refusals = finder.refusals(&known(before), &known(after));
        Ok(diff)
    }

    /// Operations that are refused in `view`, as refusals that were not there before.
    pub(crate) fn of_refused(view: &View<'_>, refused: &[Refused]) -> Vec<RefusalDiff> {
        Finder::new(view, view).refusals(&[], refused)
    }
}

// -- finding ---------------------------------------------------------------------------------------------------------

struct Finder<'v> {
    views: [&'v View<'v>; 2],
    same_book: bool,
    ids: Matching,
    devices: Matching,
    keys: Matching,
    /// What tells the persons of each view apart.
    persons: [PersonKeys; 2],
}

/// What takes a walk through the logs to know, of the first view and of the second.
#[derive(Default)]
struct Gathered<'v> {
    /// Events that the other view may lack.
    events: [Vec<(IdNo, EventRef)>; 2],
    refused: [Cow<'v, [Refused]>; 2],
}

/// An id's person in the first and in the second view.
type Edge = (PersonNo, PersonNo);

impl<'v> Finder<'v> {
    fn new(before: &'v View<'v>, after: &'v View<'v>) -> Finder<'v> {
        let same_book = std::ptr::eq(before.reader, after.reader);
        let views = [before, after];
        let texts = views.map(|view| &view.reader.dictionaries);
        let keys = texts.map(|texts| &texts.keys);
        let lengths = |len: fn(&View<'_>) -> usize| views.map(|view| len(view) as u32); // MAX_RECORDS bounds them
        Finder {
            views,
            same_book,
            ids: Matching::new(
                same_book,
                lengths(|view| view.state.ids().len()),
                texts.map(|texts| &texts.ids),
            ),
            devices: Matching::new(
                same_book,
                lengths(|view| view.state.devices().len()),
                texts.map(|texts| &texts.devices),
            ),
            keys: Matching::new(same_book, keys.map(|keys| keys.len()), keys),
            persons: views.map(|view| PersonKeys::new(view, same_book)),
        }
    }

    fn find(&self) -> Result<Diff, Fault> {
        let mut diff = Diff::default();
        let mut edges = Vec::new();
        (0..self.ids.len()).for_each(|id| self.compare_id(id, &mut diff, &mut edges));
        let persons: [Vec<PersonNo>; 2] =
            self.views.map(|view| view.state.persons().map(|person| person.number).collect());
        for (counts, (view, persons)) in diff.counts.iter_mut().zip(self.views.iter().zip(&persons)) {
            let identified = |person: &&PersonNo| view.state.view(**person).identified_by.is_some();
            counts.persons = persons.len() as u64;
            counts.identified_persons = persons.iter().filter(identified).count() as u64;
        }
        self.compare_shapes(edges, &persons, &mut diff);
        self.compare_persons(persons, &mut diff)?;
        // In the order of their public ids, whatever told them apart.
        diff.persons.sort_by_key(|person| person.person_id);
        diff.properties.sort_by_key(|property| property.person_id);
        (0..self.devices.len()).for_each(|number| self.compare_device(number, &mut diff));
        Ok(diff)
    }

    /// The numbers of a shared id.
    fn ids(&self, shared: u32) -> [Option<IdNo>; 2] {
        self.ids.pair(shared).map(|id| id.map(IdNo))
    }

    /// The text of a shared id.
    fn id_name(&self, shared: u32) -> Name {
        let [first, second] = self.ids(shared);
        match (first, second) {
            (Some(id), _) => self.views[0].id_named(id),
            (None, Some(id)) => self.views[1].id_named(id),
            (None, None) => unreachable!("a shared number is one of the two"),
        }
    }

    fn compare_id(&self, shared: u32, diff: &mut Diff, edges: &mut Vec<Edge>) {
        let ids = self.ids(shared);
        let mut persons = [None; 2];
        let mut keys = [None; 2];
        let mut events = [Counts::default(); 2];
        for at in 0..2 {
            let (Some(id), view) = (ids[at], self.views[at]) else { continue };
            persons[at] = view.state.person(id);
            let here = view.state.events_of_id(id);
            events[at].events = here.events;
            events[at].identified_events = here.identified;
            events[at].propertyless_events = here.events - here.identified;
            let counts = &mut diff.counts[at];
            counts.ids_with_person += u64::from(persons[at].is_some());
            counts.events += here.events;
            counts.identified_events += here.identified;
            counts.propertyless_events += here.events - here.identified;
            keys[at] = match persons[at] {
                Some(person) => Some((self.persons[at].of(view, person), false)),
                None if here.events > 0 => Some((self.persons[at].implied(view, id), true)),
                None => None,
            };
        }
        if let [Some(before), Some(after)] = persons
            && edges.last() != Some(&(before, after))
        {
            edges.push((before, after));
        }
        if keys[0] == keys[1] {
            return;
        }
        let whose = |at: usize| {
            let id = ids[at].filter(|id| has_content(&self.views[at].state, *id))?;
            Some(self.views[at].whose(id))
        };
        let [before, after] = events;
        diff.ids.push(IdDiff {
            distinct_id: self.id_name(shared),
            before: whose(0),
            after: whose(1),
            full: before.identified_events.min(after.identified_events),
            propertyless: before.propertyless_events.min(after.propertyless_events),
        });
    }

    /// Which persons merged, split, came, went or only changed their public id. `persons` are those of both views, by age, and
    /// from here on each is called by its place there: numbers do not rise with age where a component was
    /// refolded.
    fn compare_shapes(&self, edges: Vec<Edge>, persons: &[Vec<PersonNo>; 2], diff: &mut Diff) {
        let places = [0, 1].map(|at| {
            let mut places = vec![0; self.views[at].state.persons_founded()];
            (0..).zip(&persons[at]).for_each(|(place, person)| places[person.0 as usize] = place);
            places
        });
        let place = |at: usize, person: PersonNo| places[at][person.0 as usize];
        let id_of = |at: usize, place: u32| self.views[at].person_id(persons[at][place as usize]);
        let mut edges: Vec<(u32, u32)> =
            edges.into_iter().map(|(before, after)| (place(0, before), place(1, after))).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut split = BTreeSet::new();
        for group in edges.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
            split.insert(group[0].0);
        }
        let without = |at: usize, linked: BTreeSet<u32>| {
            let alone = (0..persons[at].len() as u32).filter(|place| !linked.contains(place));
            alone.map(|place| id_of(at, place)).collect()
        };
        diff.gone = without(0, edges.iter().map(|edge| edge.0).collect());
        let mut back: Vec<(u32, u32)> = edges.iter().map(|(before, after)| (*after, *before)).collect();
        back.sort_unstable();
        let mut merged = BTreeSet::new();
        for group in back.chunk_by(|a, b| a.0 == b.0) {
            match group {
                [(after, before)] if !split.contains(before) => {
                    let person = |at: usize, place: u32| persons[at][place as usize];
                    let key = |at: usize, place| self.persons[at].of(self.views[at], person(at, place));
                    if key(0, *before) != key(1, *after) {
                        let (from, to) = (id_of(0, *before), id_of(1, *after));
                        diff.renamed.push(RenamedPerson { from, to });
                    }
                }
                [_] => {}
                several => merged.extend([several[0].0]),
            }
        }
        diff.created = without(1, back.into_iter().map(|edge| edge.0).collect());
        if split.is_empty() && merged.is_empty() {
            return;
        }
        let mut parts = BTreeMap::<(u32, u32), PersonPart>::new();
        for shared in 0..self.ids.len() {
            let [Some(before), Some(after)] = self.persons_of(shared) else { continue };
            let edge = (place(0, before), place(1, after));
            if !split.contains(&edge.0) && !merged.contains(&edge.1) {
                continue;
            }
            let part = parts.entry(edge).or_insert_with(|| PersonPart {
                person_id: PersonId(uuid::Uuid::nil()), // whose, depends on which side is asked about
                ids: 0,
                distinct_ids: Vec::new(),
            });
            part.ids += 1;
            if part.distinct_ids.len() < MAX_PART_IDS {
                part.distinct_ids.push(self.id_name(shared));
            }
        }
        for person in split {
            let into = parts.range((person, 0)..=(person, u32::MAX));
            let into =
                into.map(|((_, after), part)| PersonPart { person_id: id_of(1, *after), ..part.clone() });
            diff.split.push(SplitPerson { person_id: id_of(0, person), into: into.collect() });
        }
        let mut from = BTreeMap::<u32, Vec<PersonPart>>::new();
        for ((before, after), part) in parts {
            if merged.contains(&after) {
                let part = PersonPart { person_id: id_of(0, before), ..part };
                from.entry(after).or_default().push(part);
            }
        }
        let merge = |(person, from)| MergedPerson { person_id: id_of(1, person), from };
        diff.merged = from.into_iter().map(merge).collect();
    }

    fn persons_of(&self, shared: u32) -> [Option<PersonNo>; 2] {
        let [before, after] = self.ids(shared);
        [
            before.and_then(|id| self.views[0].state.person(id)),
            after.and_then(|id| self.views[1].state.person(id)),
        ]
    }

    // -- persons and properties --------------------------------------------------------------------------------------

    fn compare_persons(&self, persons: [Vec<PersonNo>; 2], diff: &mut Diff) -> Result<(), Fault> {
        let [before, after] = [0, 1].map(|at| {
            let key = |person: &PersonNo| (self.persons[at].of(self.views[at], *person), *person);
            let mut keyed: Vec<(PersonKey, PersonNo)> = persons[at].iter().map(key).collect();
            keyed.sort_unstable();
            keyed
        });
        let mut wanted = Wanted::default();
        let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
        while let Some(next) = [before.peek(), after.peek()].into_iter().flatten().map(|(key, _)| *key).min()
        {
            let here = |(key, _): &(PersonKey, PersonNo)| *key == next;
            let pair =
                [before.next_if(here), after.next_if(here)].map(|found| found.map(|(_, person)| person));
            self.compare_person(pair, diff, &mut wanted);
            if wanted.len() >= VALUES_AT_A_TIME {
                self.read(&mut wanted, diff)?;
            }
        }
        self.read(&mut wanted, diff)
    }

    fn compare_person(&self, pair: [Option<PersonNo>; 2], diff: &mut Diff, wanted: &mut Wanted<'v>) {
        let views = [0, 1].map(|at| pair[at].map(|person| self.views[at].state.view(person)));
        let facts = views.map(|view| view.map(|view| PersonFacts::of(&view)));
        let differ = facts[0] != facts[1];
        let standing = |at: usize| views[at].into_iter().flat_map(|view| view.standing());
        if !differ && self.same_book && standing(0).eq(standing(1)) {
            return;
        }
        let at = usize::from(pair[0].is_none());
        let person = pair[at].expect("one of the two has the person");
        let person_id = self.views[at].person_id(person);
        if differ {
            diff.persons.push(PersonDiff { person_id, before: facts[0], after: facts[1] });
        }
        let mut properties = BTreeMap::<u32, [Option<Standing<'v>>; 2]>::new();
        for before in standing(0) {
            properties.entry(before.property.key.0).or_default()[0] = Some(before);
        }
        for after in standing(1) {
            properties.entry(self.keys.shared(after.property.key.0)).or_default()[1] = Some(after);
        }
        for (key, pair) in properties {
            if !self.same_book || pair[0] != pair[1] {
                wanted.push((person_id, key, pair));
            }
        }
    }

    /// Reads the values of properties that may differ, and keeps those that do.
    fn read(&self, wanted: &mut Wanted<'_>, diff: &mut Diff) -> Result<(), Fault> {
        let mut values = Vec::new();
        for at in 0..2 {
            let places: Vec<Standing<'_>> = wanted.iter().filter_map(|(_, _, pair)| pair[at]).collect();
            values.push(self.views[at].reader.values(&places)?.into_iter());
        }
        for (person_id, key, pair) in wanted.drain(..) {
            let mut value = |at: usize| {
                pair[at]?;
                values[at].next()
            };
            let (before, after) = (value(0), value(1));
            let same = |before: &PropertyAnswer, after: &PropertyAnswer| before.value == after.value;
            if !matches!((&before, &after), (Some(before), Some(after)) if same(before, after)) {
                diff.properties.push(PropertyDiff { person_id, key: self.key_name(key), before, after });
            }
        }
        Ok(())
    }

    fn key_name(&self, shared: u32) -> Name {
        match self.keys.pair(shared) {
            [Some(key), _] => self.views[0].reader.key_named(KeyNo(key)),
            [None, Some(key)] => self.views[1].reader.key_named(KeyNo(key)),
            [None, None] => unreachable!("a shared number is one of the two"),
        }
    }

    // -- devices -----------------------------------------------------------------------------------------------------

    fn compare_device(&self, shared: u32, diff: &mut Diff) {
        let numbers = self.devices.pair(shared).map(|device| device.map(DeviceNo));
        let devices = [0, 1].map(|at| numbers[at].map(|device| self.views[at].state.device(device)));
        if self.same_book && devices[0] == devices[1] {
            return;
        }
        let [before, after] =
            [0, 1].map(|at| devices[at].map(|device| ContentDevice::of(self.views[at], device)));
        if before == after {
            return;
        }
        let at = usize::from(numbers[0].is_none());
        let number = numbers[at].expect("one of the two has the device");
        let device_id = self.views[at].device_named(number);
        diff.devices.push(DeviceDiff { device_id, before, after });
    }

    // -- events ------------------------------------------------------------------------------------------------------

    /// Walks through the logs: once through one, once through each of two, or not at all if that would tell nothing new.
    fn gather(&self) -> Result<Gathered<'v>, Fault> {
        let known = self.views.map(|view| view.refused.as_deref());
        let mut gathered = Gathered::default();
        let [before, after] = self.views.map(|view| view.records());
        let moves = !self.views[0].state.is_spoken_for_as_in(&self.views[1].state); // D13
        if self.same_book && before == after && known.iter().all(Option::is_some) && !moves {
            gathered.refused = known.map(|known| Cow::Borrowed(known.unwrap_or_default()));
            return Ok(gathered);
        }
        let mut refusals = [Refusals::default(), Refusals::default()];
        let mut look = |sides: &[usize], reader: &Reader, step: Step<'_>| {
            let is_in = |at: &usize| sides.contains(at) && step.record.seq().0 < self.views[*at].records();
            for at in [0, 1].into_iter().filter(|at| known[*at].is_none() && is_in(at)) {
                refusals[at].see(step);
            }
            let seq = step.record.seq();
            let goes_with = |at: usize| {
                let has = sides.contains(&at) && self.views[at].has(seq);
                has.then(|| self.views[at].state.speaks_for(step.record.row.id, seq))
            };
            let ids = [0, 1].map(goes_with);
            if ids[0] != ids[1]
                && let Some((digest, mode)) = reader.event_here(step.record)
            {
                for (events, id) in gathered.events.iter_mut().zip(ids) {
                    events.extend(id.map(|id| (id, EventRef { seq, mode, digest })));
                }
            }
        };
        if self.same_book {
            let reader = self.views[0].reader;
            reader.replay_first(before.max(after), |step| look(&[0, 1], reader, step))?;
        } else {
            for (at, view) in self.views.iter().enumerate() {
                view.reader.replay_first(view.records(), |step| look(&[at], view.reader, step))?;
            }
        }
        for (at, refusals) in refusals.into_iter().enumerate() {
            let View { reader, state, .. } = self.views[at];
            gathered.refused[at] = match known[at] {
                Some(known) => Cow::Borrowed(known),
                None => Cow::Owned(refusals.settle(reader, state)?),
            };
        }
        Ok(gathered)
    }

    /// The event of a capture, and the id that it goes with in one of the two.
    fn event(&self, at: usize, seq: Seq) -> Result<(IdNo, EventRef), Fault> {
        let view = self.views[at];
        let window = view.reader.log.window(seq, view.reader.state().erasures())?;
        let record = window.checked(seq)?;
        let (digest, mode) = view.reader.event_here(record).expect("a capture is an event");
        let goes_with = view.state.speaks_for(view.id_here(record.row.id), seq);
        Ok((goes_with, EventRef { seq, mode, digest }))
    }

    /// Events of each view, id by id, but for those that both have.
    fn events_of(&self, before: Vec<(IdNo, EventRef)>, after: Vec<(IdNo, EventRef)>) -> Vec<EventsDiff> {
        let key = |(id, event): &(u32, EventRef)| (*id, event.digest, event.seq);
        let sorted = |mut events: Vec<(u32, EventRef)>| {
            events.sort_unstable_by_key(key);
            events.into_iter().peekable()
        };
        let mut before = sorted(before.into_iter().map(|(id, event)| (id.0, event)).collect());
        let shared = |(id, event): (IdNo, EventRef)| (self.ids.shared(id.0), event);
        let mut after = sorted(after.into_iter().map(shared).collect());
        let mut found = Vec::<(u32, EventsDiff)>::new();
        let short = |(id, event): &(u32, EventRef)| (*id, event.digest);
        while let Some(next) = [before.peek(), after.peek()].into_iter().flatten().map(short).min() {
            let here = |event: &(u32, EventRef)| short(event) == next;
            let pair = [before.next_if(here), after.next_if(here)];
            if pair[0].is_some() && pair[1].is_some() {
                continue;
            }
            if found.last().is_none_or(|(id, _)| *id != next.0) {
                let distinct_id = self.id_name(next.0);
                found.push((next.0, EventsDiff { distinct_id, gained: Vec::new(), lost: Vec::new() }));
            }
            let (_, events) = found.last_mut().expect("one was pushed");
            let [lost, gained] = pair.map(|event| event.map(|(_, event)| event));
            events.lost.extend(lost);
            events.gained.extend(gained);
        }
        let mut found: Vec<EventsDiff> = found.into_iter().map(|(_, events)| events).collect();
        for EventsDiff { gained, lost, .. } in &mut found {
            gained.sort_unstable_by_key(|event| event.seq);
            lost.sort_unstable_by_key(|event| event.seq);
        }
        found
    }

    // -- refusals ----------------------------------------------------------------------------------------------------

    /// Operations that were refused in one of the two only, or by another rule.
    fn refusals(&self, before: &[Refused], after: &[Refused]) -> Vec<RefusalDiff> {
        let asked = |at: usize, refused: &Refused| {
            let shared = |id: IdNo| if at == 0 { id.0 } else { self.ids.shared(id.0) };
            let seq = if self.same_book { refused.seq } else { 0 }; // numbers of two logs say nothing of each other
            let ids = (shared(refused.id), refused.other.map(shared));
            (seq, refused.operation_id, refused.time, refused.op, ids)
        };
        let sorted = |at: usize, list: &'_ [Refused]| {
            let mut keyed: Vec<_> =
                list.iter().map(|refused| (asked(at, refused), refused.seq, refused.clone())).collect();
            keyed.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            keyed
                .into_iter()
                .map(|(asked, _, refused)| (asked, refused))
                .collect::<Vec<_>>()
                .into_iter()
                .peekable()
        };
        let (mut before, mut after) = (sorted(0, before), sorted(1, after));
        let mut found = Vec::new();
        while let Some(next) =
            [before.peek(), after.peek()].into_iter().flatten().map(|(asked, _)| *asked).min()
        {
            let pair =
                [before.next_if(|(asked, _)| *asked == next), after.next_if(|(asked, _)| *asked == next)]
                    .map(|refused| refused.map(|(_, refused)| refused));
            let name = |refused: &Option<Refused>| refused.as_ref().map(|refused| refused.refusal.name());
            if name(&pair[0]) == name(&pair[1]) {
                continue;
            }
            let (_, operation_id, _, op, (id, other)) = next;
            let order = pair.iter().flatten().map(|refused| refused.seq).min();
            let [before, after] = pair;
            let diff = RefusalDiff {
                op,
                distinct_id: self.id_name(id),
                other_id: other.map(|other| self.id_name(other)),
                operation_id,
                before: before.map(|refused| self.refusal_here(0, &refused)),
                after: after.map(|refused| self.refusal_here(1, &refused)),
            };
            found.push((order, diff));
        }
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, diff)| diff).collect()
    }

    fn refusal_here(&self, at: usize, refused: &Refused) -> RefusalHere {
        let (view, Refused { seq, refusal, .. }) = (self.views[at], refused);
        let of_policy = matches!(
            refusal,
            Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. } | Refusal::TooManyOfKind { .. }
        );
        RefusalHere {
            seq: Seq((*seq).into()),
            refusal: refusal.name(),
            rule: refusal.rule(),
            blocking_seq: (!(of_policy && view.state.is_supposed())).then(|| refusal.blocking()),
            reason: view.reason(refused),
        }
    }
}

/// Properties whose values are to be read: whose, shared number of the key, place in each view.
type Wanted<'s> = Vec<(PersonId, u32, [Option<Standing<'s>>; 2])>;

/// Values that are read together: enough that most frames are read once, few enough to stay small.
const VALUES_AT_A_TIME: usize = 65_536;
