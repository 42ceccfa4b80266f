//! The fold of the reference model: what everything that was said comes to.

use std::collections::{BTreeMap, BTreeSet};

use super::said::*;
use crate::model::kind::KindNo;
use crate::model::operation::Changes;
use crate::model::policy::{IdClass, Policy, Survivor, ValuesBy};
use crate::model::time::Timestamp;

/// What was folded.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    asked: Asked,
    /// The id that it spoke for (D13).
    id: String,
    /// Whether it was a sign-in on a shared id, which links nothing (D13).
    signed_in: bool,
    /// The rule that refused it.
    refused: Option<&'static str>,
    /// Whether it asserted identity then.
    identifies: bool,
    /// Whether values counted by event time then (E8).
    by_time: bool,
    /// Its place among all that was said.
    place: usize,
}

/// Persons, devices and events.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) policy: Policy,
    /// In the order of their founding.
    pub(super) persons: Vec<ReferencePerson>,
    /// Who an absorbed person became, by place in `persons`.
    pub(super) became: BTreeMap<usize, usize>,
    pub(super) devices: BTreeMap<String, ReferenceDevice>,
    pub(super) events: Vec<ReferenceEvent>,
    /// The named ids with a sign-in (D9).
    pub(super) users: BTreeSet<String>,
    /// D13: for whom each shared id speaks from which place on; `None` for itself.
    pub(super) shared: BTreeMap<String, Vec<(usize, Option<String>)>>,
    /// A split asks for it again.
    pub(super) folded: Vec<Folded>,
}

impl World {
    pub(super) fn new(policy: Policy) -> World {
        World {
            policy,
            persons: Vec::new(),
            became: BTreeMap::new(),
            devices: BTreeMap::new(),
            events: Vec::new(),
            users: BTreeSet::new(),
            shared: BTreeMap::new(),
            folded: Vec::new(),
        }
    }

    /// The person of an id, by place.
    pub(super) fn person(&self, id: &str) -> Option<usize> {
        self.persons.iter().position(|person| person.ids.contains(id))
    }

    /// D13: the id for which what is said under `id` in this place speaks.
    pub(super) fn speaks_for(&self, id: &str, place: usize, classes: &Classes) -> String {
        let said = self.shared.get(id).and_then(|said| said.iter().rfind(|(begin, _)| *begin <= place));
        let user = said.and_then(|(_, user)| user.clone());
        let gone = |user: &String| classes.erased.get(user).is_some_and(|erased| *erased <= place);
        user.filter(|user| !gone(user)).unwrap_or_else(|| id.to_owned())
    }

    /// D13: a shared id speaks for a user from this place on, or for itself.
    fn sign_in_on(&mut self, shared: &str, place: usize, user: Option<&str>) {
        self.shared.entry(shared.to_owned()).or_default().push((place, user.map(str::to_owned)));
    }

    /// Folds what was recorded in this place; gives the rule that refused it.
    pub(super) fn fold(&mut self, place: usize, said: &Said, classes: &Classes) -> Option<&'static str> {
        let asked = match said {
            Said::Policy(policy) => {
                self.policy = policy.clone();
                return None;
            }
            Said::Device(device, id) => {
                self.devices.insert(device.clone(), ReferenceDevice::anonymous(id));
                return None;
            }
            Said::Operation(asked) => asked,
        };
        let Asked { verb, id, on, changes, device, .. } = asked;
        let leaves = matches!(verb, Verb::Reset { .. }) || matches!(verb, Verb::Switch) && *on;
        if let Some(device) = device.as_ref().filter(|_| leaves).and_then(|device| self.devices.get(device)) {
            let anonymous = device.anonymous.clone();
            self.sign_in_on(&anonymous, place, None);
        }
        let said = &Asked { id: self.speaks_for(id, place, classes), ..asked.clone() };
        let refused = match verb {
            Verb::Capture(name) => {
                let (distinct_id, goes_with) = (id.clone(), said.id.clone());
                self.events.push(ReferenceEvent { distinct_id, goes_with, full: *on });
                if *on {
                    let known = self.person(&said.id).is_some();
                    let person = self.found(said, place);
                    let quiet = known && (name == "$exception" || name == "$$heatmap");
                    if name != "$groupidentify" && !quiet {
                        self.write(person, asked, place);
                    }
                }
                None
            }
            Verb::Identify(other) | Verb::Alias(other) => self.link(asked, place, other, false, classes),
            Verb::Merge(other) => self.link(asked, place, other, true, classes),
            Verb::Set if *on => {
                let person = self.found(said, place);
                self.write(person, asked, place);
                None
            }
            Verb::Set => asked.device.as_ref().map(|_| "C7"),
            Verb::Switch if *on => {
                self.sign_in(id, classes);
                if !changes.is_empty() {
                    let person = self.found(said, place);
                    self.write(person, asked, place);
                }
                None
            }
            Verb::Switch => Some("C7"),
            Verb::Split { ids, together } => self.split(asked, place, ids, *together, classes),
            Verb::Reset { .. } | Verb::Retract(_) | Verb::Reclassify(_) => None,
        };
        self.follow(asked);
        let (identifies, by_time) = (self.identifies(asked, classes), self.by_time());
        let id = self.speaks_for(id, place, classes);
        let signed_in = refused.is_none() && signs_in_on(asked, classes);
        let asked = asked.clone();
        self.folded.push(Folded { asked, id, signed_in, refused, identifies, by_time, place });
        refused
    }

    /// What the device that spoke becomes (F3, F4, F8): it follows what was said, refused or not, but with processing off.
    pub(super) fn follow(&mut self, Asked { verb, id, device, on, .. }: &Asked) {
        let Some(device) = device else { return };
        if let Verb::Reset { also } = verb {
            for device in [Some(device), also.as_ref()].into_iter().flatten() {
                self.devices.insert(device.clone(), ReferenceDevice::anonymous(id));
            }
            return;
        }
        let Some(device) = self.devices.get_mut(device).filter(|_| *on) else { return };
        match verb {
            Verb::Identify(_) => {
                if device.current != *id {
                    device.anonymous = std::mem::replace(&mut device.current, id.clone());
                }
                (device.identified, device.profiled) = (true, true);
            }
            Verb::Switch => {
                device.current = id.clone();
                (device.identified, device.profiled) = (true, true);
            }
            Verb::Alias(_) | Verb::Merge(_) | Verb::Set => device.profiled = true,
            _ => {}
        }
    }

    // -- links, section D --------------------------------------------------------------------------------------------

    pub(super) fn link(
        &mut self,
        asked: &Asked,
        place: usize,
        other: &LinkSource,
        dangerous: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let target = &asked.id;
        if !asked.on {
            return Some("C7");
        }
        let mut refused = None;
        if let LinkSource::Id(source) = other
            && classes.class(source) == IdClass::Shared
            && !dangerous
        {
            let user = Some(target.as_str()).filter(|_| classes.class(target).is_mergeable());
            self.sign_in_on(source, place, user);
        }
        match other {
            LinkSource::Nothing => {}
            LinkSource::Id(source) if source == target => {}
            _ if !classes.class(target).is_mergeable() => refused = Some("B2"),
            LinkSource::Id(_) if signs_in_on(asked, classes) => {
                self.sign_in(target, classes);
                let person = self.found(asked, place);
                self.persons[person].is_identified |= self.identifies(asked, classes);
            }
            LinkSource::Unstorable => refused = Some("B2"),
            LinkSource::Id(source) if !classes.class(source).is_mergeable() => refused = Some("B2"),
            LinkSource::Id(source) => {
                refused = self.refusal(target, source, dangerous, classes);
                if refused == Some("D8") {
                    return refused;
                }
                if !dangerous {
                    self.sign_in(target, classes);
                }
                if refused.is_none() {
                    self.unite(asked, place, source);
                }
                let person = self.found(asked, place);
                self.persons[person].is_identified |= self.identifies(asked, classes);
            }
        }
        let said = &Asked { id: self.speaks_for(target, place, classes), ..asked.clone() };
        let person = self.found(said, place);
        self.write(person, said, place);
        refused
    }

    /// D9: a sign-in as this id.
    fn sign_in(&mut self, id: &str, classes: &Classes) {
        if classes.class(id) == IdClass::Named {
            self.users.insert(id.to_owned());
        }
    }

    /// D1: whether a link says that two ids are one user's; not by two anonymous ids, where users are counted.
    fn identifies(&self, asked: &Asked, classes: &Classes) -> bool {
        let (Verb::Identify(LinkSource::Id(other))
        | Verb::Alias(LinkSource::Id(other))
        | Verb::Merge(LinkSource::Id(other))) = &asked.verb
        else {
            return false;
        };
        let ends = [classes.class(&asked.id), classes.class(other)];
        let counted = self.policy.max_user_ids.is_some() && !matches!(asked.verb, Verb::Merge(_));
        let no_user = |class: &IdClass| matches!(class, IdClass::Anonymous | IdClass::Shared);
        *other != asked.id
            && (signs_in_on(asked, classes) || ends.iter().all(|class| class.is_mergeable()))
            && !(counted && ends.iter().all(no_user))
    }

    pub(super) fn refusal(
        &self,
        target: &str,
        source: &str,
        dangerous: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let (to, from) = (self.person(target), self.person(source));
        if to.is_some() && to == from {
            return None;
        }
        let source_identified = from.is_some_and(|from| self.persons[from].is_identified);
        if source_identified && !dangerous {
            if to.is_some() {
                return Some("D6");
            }
            if self.policy.refuse_joining_identified {
                return Some("D3");
            }
        }
        let ids_of = |id: &str, person: Option<usize>| match person {
            Some(person) => self.persons[person].ids.clone(),
            None => BTreeSet::from([id.to_owned()]),
        };
        let (ours, theirs) = (ids_of(target, to), ids_of(source, from));
        let over = |found: usize, limit: Option<u32>| limit.is_some_and(|limit| found > limit as usize);
        if let (Some(to), Some(from)) = (to, from) {
            let (_, absorbed) = self.survivor_and_absorbed(to, from);
            if over(self.persons[absorbed].ids.len(), self.policy.max_moved_ids) {
                return Some("D8");
            }
        }
        if over(ours.len() + theirs.len(), self.policy.max_ids_per_person) {
            return Some("D8");
        }
        let signs_in = |id: &String| id == target && classes.class(id) == IdClass::Named;
        let users =
            |ids: &BTreeSet<String>| ids.iter().filter(|id| self.users.contains(*id) || signs_in(id)).count();
        let exceeds = |count: &dyn Fn(&BTreeSet<String>) -> usize, limit| {
            let (ours, theirs) = (count(&ours), count(&theirs));
            !dangerous && ours > 0 && theirs > 0 && over(ours + theirs, limit)
        };
        if exceeds(&users, self.policy.max_user_ids) {
            return Some("D9");
        }
        let too_many = self.policy.id_kinds.iter().enumerate().any(|(place, kind)| {
            let is_one = |id: &&String| classes.class_and_kind(id).1 == Some(KindNo(place as u8));
            exceeds(&|ids| ids.iter().filter(is_one).count(), kind.max_per_person)
        });
        too_many.then_some("D12")
    }

    /// Returns the survivor and the absorbed person of a merge (D7).
    pub(super) fn survivor_and_absorbed(&self, to: usize, from: usize) -> (usize, usize) {
        let founded = |person: usize| self.persons[person].founded;
        if self.policy.survivor == Survivor::Elder && founded(from) < founded(to) {
            (from, to)
        } else {
            (to, from)
        }
    }

    /// D2, D3, D4, D5, D7.
    pub(super) fn unite(&mut self, asked: &Asked, place: usize, source: &str) {
        let target = &asked.id;
        match (self.person(target), self.person(source)) {
            (None, None) => {
                let person = self.found(asked, place);
                self.persons[person].ids.insert(source.to_owned());
            }
            (None, Some(person)) => {
                self.persons[person].ids.insert(target.clone());
            }
            (Some(person), None) => {
                self.persons[person].ids.insert(source.to_owned());
            }
            (Some(to), Some(from)) if to != from => {
                let held = self.united(to, from);
                let created_at = self.persons[to].created_at.min(self.persons[from].created_at);
                let identified = self.persons[to].is_identified;
                let (survivor, absorbed) = self.survivor_and_absorbed(to, from);
                let ids = std::mem::take(&mut self.persons[absorbed].ids);
                self.persons[absorbed].held.clear();
                self.became.insert(absorbed, survivor);
                let person = &mut self.persons[survivor];
                person.ids.extend(ids);
                person.properties =
                    held.iter().filter_map(|(key, held)| Some((key.clone(), held.value()?))).collect();
                person.held = held;
                person.created_at = created_at;
                person.is_identified = identified;
            }
            _ => {}
        }
    }

    fn by_time(&self) -> bool {
        self.policy.values_by == ValuesBy::EventTime
    }

    /// The property changes of an operation, on a person.
    fn write(&mut self, person: usize, asked: &Asked, place: usize) {
        let by_time = self.by_time();
        write(&mut self.persons[person], asked, place, by_time);
    }

    /// E2, E8, E9: what two persons have, of which the first is the target.
    fn united(&self, to: usize, from: usize) -> BTreeMap<String, Held> {
        let (target, source) = (&self.persons[to].held, &self.persons[from].held);
        let keys: BTreeSet<&String> = target.keys().chain(source.keys()).collect();
        let timed = |held: Option<&Held>| held.is_none_or(|held| held.timed);
        let mut both = BTreeMap::new();
        for key in keys {
            let sides = [target.get(key), source.get(key)];
            let all = || sides.into_iter().flatten();
            if self.by_time() && timed(sides[0]) && timed(sides[1]) {
                let writes = all().flat_map(|held| held.writes.clone()).collect();
                both.insert(key.clone(), Held::counting(writes));
                continue;
            }
            let base = all().find_map(Held::base).cloned();
            let relative: Vec<Told> = all().flat_map(Held::relative).cloned().collect();
            let by_record = Held::by_record(base, relative.clone());
            // What is known of event times stays known where it comes to the same.
            let still_timed = all().filter(|held| held.timed).find_map(|held| {
                let others = held.writes.iter().filter(|write| !write.is_relative()).cloned();
                let timed = Held::counting(others.chain(relative.clone()).collect());
                let same = timed.begins() == by_record.begins()
                    && timed.relative().count() == relative.len()
                    && relative.iter().all(|write| write.when.0.is_some());
                same.then_some(timed)
            });
            both.extend(
                still_timed.or(by_record.begins().map(|_| by_record.clone())).map(|held| (key.clone(), held)),
            );
        }
        both
    }

    /// P(T), founded if need be.
    pub(super) fn found(&mut self, asked: &Asked, place: usize) -> usize {
        self.person(&asked.id).unwrap_or_else(|| {
            self.persons.push(ReferencePerson {
                identity: Identity { founding: asked.id.clone(), split: None },
                ids: BTreeSet::from([asked.id.clone()]),
                properties: BTreeMap::new(),
                held: BTreeMap::new(),
                is_identified: false,
                created_at: asked.time,
                founded: (place, 0),
            });
            self.persons.len() - 1
        })
    }

    // -- splits, rule H2 ---------------------------------------------------------------------------------------------

    pub(super) fn split(
        &mut self,
        asked: &Asked,
        place: usize,
        leaving: &BTreeSet<String>,
        together: bool,
        classes: &Classes,
    ) -> Option<&'static str> {
        let Some(person) = self.person(&asked.id) else { return Some("H2") };
        let before = self.persons[person].clone();
        let leaving: &BTreeSet<String> = &leaving.intersection(&before.ids).cloned().collect();
        if leaving.is_empty() || *leaving == before.ids {
            return Some("H2");
        }
        let stay: BTreeSet<String> = before.ids.difference(leaving).cloned().collect();
        let mut groups = vec![stay];
        match together {
            true => groups.push(leaving.clone()),
            false => groups.extend(classes.ordered(leaving).into_iter().map(|id| BTreeSet::from([id]))),
        }
        self.persons[person].ids.clear();
        for (number, ids) in groups.iter().enumerate() {
            let first = classes.ordered(ids).swap_remove(0);
            let (identity, founded) = match number {
                0 => (before.identity.clone(), before.founded),
                _ => (Identity { founding: first, split: Some(place) }, (place, number)),
            };
            let mut group = ReferencePerson {
                identity,
                ids: ids.clone(),
                properties: BTreeMap::new(),
                held: BTreeMap::new(),
                is_identified: false,
                created_at: before.created_at,
                founded,
            };
            self.refold(&mut group);
            self.persons.push(group);
            if number == 0 {
                self.became.insert(person, self.persons.len() - 1);
            }
        }
        None
    }

    /// Everything that was said for a group's ids, as if it had been one person from the beginning.
    pub(super) fn refold(&self, group: &mut ReferencePerson) {
        let (mut earliest, mut named): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        let earlier = |known: Option<Timestamp>, time| Some(known.map_or(time, |known| known.min(time)));
        for Folded { asked, id, signed_in, refused, identifies, by_time, place } in &self.folded {
            if let Verb::Identify(LinkSource::Id(other))
            | Verb::Alias(LinkSource::Id(other))
            | Verb::Merge(LinkSource::Id(other)) = &asked.verb
                && refused.is_none()
                && !signed_in
                && group.ids.contains(other)
            {
                named = earlier(named, asked.time);
            }
            if !group.ids.contains(id) {
                continue;
            }
            let silent = matches!(asked.verb, Verb::Switch) && asked.changes.is_empty()
                || matches!(
                    asked.verb,
                    Verb::Reset { .. } | Verb::Retract(_) | Verb::Split { .. } | Verb::Reclassify(_)
                );
            if !asked.on || silent || *refused == Some("D8") {
                continue;
            }
            let known = earliest.is_some();
            earliest = earlier(earliest, asked.time);
            if let Verb::Identify(LinkSource::Id(other))
            | Verb::Alias(LinkSource::Id(other))
            | Verb::Merge(LinkSource::Id(other)) = &asked.verb
            {
                // Of a link that was made, and whose ends a split parted, only the property changes count.
                let parted = refused.is_none() && !signed_in && !group.ids.contains(other);
                group.is_identified |= *identifies && !parted;
            }
            let quiet = match &asked.verb {
                Verb::Capture(name) => {
                    name == "$groupidentify" || known && (name == "$exception" || name == "$$heatmap")
                }
                _ => false,
            };
            if !quiet {
                write(group, asked, *place, *by_time);
            }
        }
        group.created_at = earliest.or(named).unwrap_or(group.created_at);
    }
}

impl ReferenceDevice {
    pub(super) fn anonymous(id: &str) -> ReferenceDevice {
        let id = id.to_owned();
        ReferenceDevice { current: id.clone(), anonymous: id, identified: false, profiled: false }
    }
}

/// D13: whether a link that is not refused is a sign-in on a shared id.
fn signs_in_on(asked: &Asked, classes: &Classes) -> bool {
    let (Verb::Identify(LinkSource::Id(other)) | Verb::Alias(LinkSource::Id(other))) = &asked.verb else {
        return false;
    };
    classes.class(&asked.id).is_mergeable() && classes.class(other) == IdClass::Shared
}

/// Applies the property changes of an operation, in the order of E1 or by event time (E8).
fn write(person: &mut ReferencePerson, asked: &Asked, place: usize, by_time: bool) {
    let Changes { set, set_once, unset, .. } = &asked.changes;
    let relative: BTreeMap<_, _> = asked
        .changes
        .relative()
        .flat_map(|(verb, all)| all.iter().map(move |(key, of)| (key, (verb, of))))
        .collect();
    let keys: BTreeSet<_> =
        set.keys().chain(set_once.keys()).chain(unset).chain(relative.keys().copied()).collect();
    for key in keys {
        let text = key.as_str().to_owned();
        let known = person.held.remove(&text);
        let write = match (set.get(key), set_once.get(key), relative.get(key)) {
            (Some(value), ..) => Some(Write::Set(value.clone())),
            (None, Some(value), _) => Some(Write::SetOnce(value.clone())),
            (None, None, Some((verb, operand))) => Some(Write::Relative(verb, (*operand).clone())),
            (None, None, None) => None,
        };
        let held = match by_time {
            true => after_by_time(known, write, unset.contains(key), (Some(asked.time), place)),
            false => after_by_record(known, write, unset.contains(key), (None, place)),
        };
        match held.as_ref().and_then(Held::value) {
            Some(value) => drop(person.properties.insert(text.clone(), value)),
            None => drop(person.properties.remove(&text)),
        }
        person.held.extend(held.map(|held| (text, held)));
    }
}

/// E1, E9: what a person has under a key after an operation.
fn after_by_record(
    known: Option<Held>,
    write: Option<Write>,
    unsets: bool,
    when: (Option<Timestamp>, usize),
) -> Option<Held> {
    let there = known.as_ref().and_then(Held::begins).is_some();
    let told = |what| Told { when, what };
    match write {
        _ if unsets && (there || write.is_none()) => None,
        Some(Write::SetOnce(_)) if there => known,
        Some(what @ Write::Relative(..)) => {
            let known = known.unwrap_or_default();
            let relative = known.relative().cloned().chain([told(what)]).collect();
            Some(Held::by_record(known.base().cloned(), relative))
        }
        Some(what) => Some(Held::by_record(Some(told(what)), Vec::new())),
        None => known,
    }
}

/// E8, E9: the same by event time.
fn after_by_time(
    known: Option<Held>,
    write: Option<Write>,
    unsets: bool,
    when: (Option<Timestamp>, usize),
) -> Option<Held> {
    let (timed, held) = (known.as_ref().is_none_or(|known| known.timed), known.clone().unwrap_or_default());
    let stood = held.begins().map(|begins| begins.when).filter(|_| timed);
    let removes = unsets && (write.is_none() || held.begins().is_some() && stood < Some(when));
    let what = if removes { Write::Unset } else { write? };
    let told = Told { when, what };
    match &told.what {
        Write::SetOnce(_) if !timed => known, // a value that was written by record is there
        Write::Relative(..) if !timed => {
            let relative = held.relative().cloned().chain([told]).collect();
            Some(Held::by_record(held.base().cloned(), relative))
        }
        _ => {
            let counts = |write: &Told| timed || write.is_relative(); // what has no time is before all that have one
            Some(Held::counting(held.writes.into_iter().filter(counts).chain([told]).collect()))
        }
    }
}
