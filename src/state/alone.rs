//! One component, folded alone; and its return into the whole (section H).
//!
//! Components of possible links are independent: folding one by itself gives what it is in the whole. So a record counts as
//! never asked if its component is folded without it, and what comes out takes the place of what was.

use std::collections::{BTreeMap, BTreeSet};

use crate::excerpt::{Excerpt, leavers};
use crate::id::Seq;
use crate::record::{DeviceNo, Flags, IdNo, Leavers, Other};
use crate::row::{Kind, Record, Row};
use crate::state::erasure::Erasures;
use crate::state::generations::{Former, Origin};
use crate::state::links::{NONE, PersonNo};
use crate::state::outcome::{NotParted, Outcome, Refusal, Undone};
use crate::state::{Person, State};

/// For records that refold a component: that component's records before them, by the seq of the record that
/// refolds.
#[derive(Debug, Default)]
pub struct Past(BTreeMap<u32, Excerpt>);

impl Past {
    pub(crate) fn insert(&mut self, seq: u32, before: Excerpt) {
        self.0.insert(seq, before);
    }

    fn of(&self, seq: u32) -> &Excerpt {
        self.0.get(&seq).expect("a record that refolds a component comes with its past")
    }
}

/// A component by itself. Its ids and devices are numbered from 0, in their order in the whole.
#[derive(Clone, Debug)]
pub(crate) struct Alone {
    pub(crate) state: State,
    /// The whole's numbers.
    pub(crate) ids: Vec<IdNo>,
    pub(crate) devices: Vec<DeviceNo>,
}

/// A component alone, before and after a record that would refold it.
#[derive(Clone, Debug)]
pub(crate) struct Foretold {
    pub(crate) before: State,
    pub(crate) after: State,
    /// What the record would do, in the whole's numbers.
    pub(crate) outcome: Outcome,
}

/// Of which of its two folds [`State::foretell`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What leaves a person in a split.
struct Leaving {
    person: PersonNo,
    /// The ids, ascending.
    ids: Vec<IdNo>,
    /// The named ids that are not the person's.
    others: Option<NotParted>,
}

/// What a split needs to know of an operation before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It was not folded, or refused before any effect.
    ToNothing,
    /// It was refused by D3, D6 or D9.
    ToRefusal,
    /// It was folded and not refused.
    Through,
}

impl State {
    /// Folds a record of section H: a retract or a split.
    pub(super) fn refold(&mut self, record: Record<'_>, past: &Past) -> Outcome {
        self.refold_telling(record, past.of(record.row.seq), |_, _, _| {})
    }

    /// As [`State::refold`], where `before` are the records of the component before this one, and shows what each operation comes
    /// to from here on, as [`State::alone_telling`] does.
    fn refold_telling(
        &mut self,
        record: Record<'_>,
        before: &Excerpt,
        each: impl FnMut(u32, &Outcome, &State),
    ) -> Outcome {
        let row = record.row;
        let mut outcome = Outcome::default();
        match row.target() {
            Some(target) => {
                outcome.refusal = refuse_retract(before, row, target);
                outcome.undone = Some(Undone::Retracted { seq: Seq(target.into()) });
            }
            None => match self.leaving(record, before) {
                Ok(Leaving { ids, others, .. }) => {
                    outcome.notices.not_parted = others;
                    outcome.undone = Some(Undone::Split { left: ids.len() as u32 });
                }
                Err(refusal) => outcome.refusal = Some(refusal),
            },
        }
        if outcome.refusal.is_some() {
            return Outcome::refused(outcome.refusal);
        }
        let mut told = before.clone();
        told.push_anew(record);
        let alone = self.alone_telling(&told, each);
        let retracted = told.retracted();
        self.adopt(alone, row.seq);
        for row in told.records().map(|record| record.row) {
            self.generations.turn(row.seq, record.row.seq, retracted.contains(&row.seq));
        }
        outcome.person = (row.kind == Kind::Split).then(|| self.links.person(row.id)).flatten();
        outcome
    }

    /// Whether a retract or split is refused here; `before` are the records of its component before it.
    pub(crate) fn refuse_refold(&self, record: Record<'_>, before: &Excerpt) -> Option<Refusal> {
        match record.row.target() {
            Some(target) => refuse_retract(before, record.row, target),
            None => self.leaving(record, before).err(),
        }
    }

    /// What this state would do with a retract or split, were it the next record and not refused: its component before and after it,
    /// alone, while this state stays as it is. `before` are the component's records so far.
    ///
    /// `each` is shown what every operation came to before, and what it would come to after, each in its own fold.
    pub(crate) fn foretell(
        &self,
        record: Record<'_>,
        before: &Excerpt,
        mut each: impl FnMut(When, u32, &Outcome, &State),
    ) -> Foretold {
        let alone = self.beside(before, |seq, outcome, small| each(When::Before, seq, outcome, small));
        let Alone { state, ids, devices } = alone;
        let mut told = before.clone();
        told.push_anew(record);
        let told = told.relabelled(&ids, &devices);
        let (before, asked) =
            (before.relabelled(&ids, &devices), told.records().last().expect("just pushed"));
        let mut after = state.clone();
        let mut outcome = after
            .refold_telling(asked, &before, |seq, outcome, small| each(When::After, seq, outcome, small));
        after.records = asked.row.seq + 1;
        // A person that comes back has the name that it had.
        after.erasures.renamed.extend(self.renamed_among(&after, &ids));
        after.erasures.called_after = Erasures::called_after(&after.erasures.renamed);
        // In the whole they would be numbered behind all that there are.
        let founded = |state: &State| state.persons.len() as u32;
        outcome.person = outcome.person.map(|person| PersonNo(person.0 - founded(&state) + founded(self)));
        Foretold { before: state, after, outcome }
    }

    /// As [`State::alone_telling`], and what comes out knows of erasures what persons are called by.
    pub(crate) fn beside(&self, told: &Excerpt, each: impl FnMut(u32, &Outcome, &State)) -> Alone {
        let mut alone = self.alone_telling(told, each);
        alone.state.erasures = self.erasures_among(&alone);
        alone
    }

    /// What is erased of a component, in its own numbers, as far as names depend on it.
    fn erasures_among(&self, alone: &Alone) -> Erasures {
        let Alone { state: small, ids, .. } = alone;
        let mut among = Erasures::default();
        among.list.extend(self.erasures.list.first_key_value());
        for (number, id) in (0..).zip(ids) {
            among.ids.extend(self.erasures.of_id(*id).map(|by| (number, by)));
        }
        among.renamed = self.renamed_among(small, ids);
        among.called_after = Erasures::called_after(&among.renamed);
        among
    }

    /// Which persons of a component alone have a name of an erasure in this state, in the component's own numbers.
    fn renamed_among(&self, small: &State, ids: &[IdNo]) -> BTreeMap<u32, (u32, u32)> {
        if self.erasures.renamed.is_empty() {
            return BTreeMap::new(); // most ledgers
        }
        let named = small.by_public_id(ids).into_iter().filter_map(|((founding, key), person)| {
            let (id, by) = self.erasures.renamed.get(&self.last_of(founding, key)?.0)?;
            let number = ids.binary_search(&IdNo(*id)).ok()?;
            Some((person.0, (number as u32, *by))) // MAX_RECORDS bounds it
        });
        named.collect()
    }

    /// H2: those of the ids that a split names that leave the person of T here, or why none can. `told` holds the component's records
    /// before the split.
    fn leaving(&self, record: Record<'_>, told: &Excerpt) -> Result<Leaving, Refusal> {
        let row = record.row;
        let Some(person) = self.links.person(row.id) else {
            return Err(Refusal::NoPerson { by: self.defined_by(row.id) });
        };
        let named = leavers(record).expect("a split").ids;
        let (ids, others): (Vec<IdNo>, Vec<IdNo>) =
            named.into_iter().partition(|id| self.links.person(*id) == Some(person));
        let others = others.first().map(|id| NotParted {
            id: *id,
            by: self.came_by(*id, told),
            ids: others.len() as u32, // MAX_RECORDS bounds it
        });
        match others {
            Some(NotParted { id, by, .. }) if ids.is_empty() => Err(Refusal::OtherPerson { id, by }),
            _ if ids.len() as u64 == u64::from(self.links.size(person)) => {
                Err(Refusal::WholePerson { by: Seq(row.seq.into()) })
            }
            others => Ok(Leaving { person, ids, others }),
        }
    }

    /// The record by which an id is with its person: the link, merge or split that brought it there. Of an id without a person, the
    /// record that defined it.
    fn came_by(&self, id: IdNo, told: &Excerpt) -> Seq {
        let (Some(person), Some(since)) = (self.links.person(id), self.links.since(id)) else {
            return self.defined_by(id);
        };
        let stands = |seq: &Seq| {
            let record = told.record(seq.0 as u32); // MAX_RECORDS bounds it
            let is_retract = record.is_some_and(|record| record.row.kind == Kind::Retract);
            !is_retract && !self.is_retracted(*seq)
        };
        let moved = self.moves(id).into_iter().rev().find(stands);
        let Origin { founded, split } = self.origin(person);
        let parted = if split { Seq(founded.into()) } else { Seq(0) };
        Seq(since.into()).max(moved.unwrap_or(parted)).max(parted)
    }

    /// Folds the component that `told` tells of, but for what is retracted in it, beside this state.
    pub(crate) fn alone(&self, told: &Excerpt) -> Alone {
        self.alone_telling(told, |_, _, _| {})
    }

    /// As [`State::alone`], and shows what each operation came to: its seq, its outcome and the state right after it, both in the
    /// component's own numbers. Of a retract or split the outcome says only whether it is refused.
    pub(crate) fn alone_telling(&self, told: &Excerpt, mut each: impl FnMut(u32, &Outcome, &State)) -> Alone {
        let (ids, devices) = told.named();
        let told = told.relabelled(&ids, &devices);
        let mut state = self.only(&ids);
        let retracted = told.retracted();
        let (mut came, mut taken_back) = (BTreeMap::new(), BTreeMap::new());
        for record in told.records().filter(|record| !retracted.contains(&record.row.seq)) {
            let row = record.row;
            state.records = row.seq;
            let outcome = match row.kind {
                Kind::Retract => Some(Outcome::refused(told.refuse_again(record, &mut taken_back))),
                Kind::Split => Some(Outcome::refused(state.divide(record, &told, &came))),
                _ => {
                    let outcome = state.apply(record, &Past::default());
                    came.extend(outcome.map(|outcome| (row.seq, outcome.came())));
                    outcome
                }
            };
            state.records = row.seq + 1;
            if let Some(outcome) = outcome {
                each(row.seq, &outcome, &state);
            }
        }
        Alone { state, ids, devices }
    }

    /// Folds the component that `told` tells of as it was folded when it was recorded, retracts and splits
    /// included, and shows what each operation did: its seq, its outcome and the state right after it, both
    /// in the component's own numbers.
    pub(crate) fn retell(&self, told: &Excerpt, mut each: impl FnMut(u32, &Outcome, &State)) -> Alone {
        let (ids, devices) = told.named();
        let told = told.relabelled(&ids, &devices);
        let mut state = self.only(&ids);
        for record in told.records() {
            let seq = record.row.seq;
            state.records = seq;
            let mut past = Past::default();
            if record.row.refolds() {
                past.insert(seq, told.only(|before| before < seq));
            }
            if let Some(outcome) = state.apply(record, &past) {
                each(seq, &outcome, &state);
            }
        }
        Alone { state, ids, devices }
    }

    /// A state in which nothing has happened yet to these ids of this one.
    fn only(&self, ids: &[IdNo]) -> State {
        let supposing = || State::supposing(self.policy.clone());
        let mut state = if self.is_supposed() { supposing() } else { State::new() };
        for id in ids {
            state.links.define(self.links.defined(*id), self.links.class(*id));
        }
        state
    }

    // -- the return ------------------------------------------------------------------------------------------------

    /// Takes a component that was folded alone into the whole: it is what there is from record `seq` on. What it was before
    /// stays as a former generation.
    fn adopt(&mut self, alone: Alone, seq: u32) {
        let Alone { state: small, ids, devices } = alone;
        let base = self.persons.len() as u32;
        let person = |small: PersonNo| PersonNo(small.0 + base);
        let id = |small: IdNo| ids[small.index()];
        self.retire(&ids, &small, base, seq);
        self.links.graft(&small.links, &ids, base);
        for (number, kept) in (0..).map(PersonNo).zip(&small.persons) {
            let profile = self.profiles.add(small.profiles.entries(kept.profile));
            let (founding, origin) = (id(kept.founding), small.origin(number));
            let first_user = if kept.first_user == NONE { NONE } else { id(IdNo(kept.first_user)).0 };
            self.persons.push(Person { founding, first_user, profile, ..*kept });
            self.generations.origin(person(number), founding, origin);
            if let Some(anchor) = small.generations.anchors.get(&number) {
                self.generations.anchors.insert(person(number), id(*anchor));
            }
        }
        for (retired, successor) in &small.generations.retired {
            self.generations.retired.insert(person(*retired), successor.map(person));
        }
        for (number, device) in devices.iter().zip(&small.devices) {
            let (current, anonymous) = (id(device.current), id(device.anonymous));
            self.devices[number.index()] = super::Device { current, anonymous, ..*device };
            if self.erasures.of_id(current).is_some() && self.erasures.of_device(*number).is_none() {
                self.generations.due_resets.insert(*number); // H3
            } else {
                self.generations.due_resets.remove(number);
            }
        }
        self.call_anew(base);
    }

    /// Ends the present generation of these ids. Each of its persons becomes the one of `small` that has its
    /// public id. A person that was never founded by now becomes the owner of its founding id.
    fn retire(&mut self, ids: &[IdNo], small: &State, base: u32, seq: u32) {
        let again = small.by_public_id(ids);
        for id in ids {
            for person in self.founded_by(*id) {
                let origin = self.origin(person);
                let successor = again.get(&(*id, origin.key())).map(|small| PersonNo(small.0 + base));
                self.generations.origin(person, *id, origin);
                self.generations.retired.insert(person, successor);
                self.empty(person);
            }
            let leaf = self.links.leaf(*id);
            let former = Former { until: seq, slot: leaf.slot, since: leaf.since() };
            self.generations.former.entry(*id).or_default().push(former);
        }
    }

    /// The persons of a component alone, by what tells them apart for ever: the whole's number of the founding id, and the split.
    fn by_public_id(&self, ids: &[IdNo]) -> BTreeMap<(IdNo, Option<u32>), PersonNo> {
        let key = |number: PersonNo| {
            (ids[self.persons[number.index()].founding.index()], self.origin(number).key())
        };
        // Of two with one public id, a person and what a split let stay of it, the later one is present.
        (0..self.persons.len() as u32).map(PersonNo).map(|number| (key(number), number)).collect()
    }

    /// Leaves of a person what its id is made of: it has no ids any more.
    fn empty(&mut self, person: PersonNo) {
        let profile = std::mem::take(&mut self.persons[person.index()].profile);
        self.profiles.drop(profile);
        let person = &mut self.persons[person.index()];
        (person.identified_by, person.users, person.first_user) = (NONE, 0, NONE);
    }

    /// The persons of the present generation that `id` founded.
    pub(super) fn founded_by(&self, id: IdNo) -> Vec<PersonNo> {
        let present = |person: &PersonNo| !self.is_retired(*person);
        self.ever_founded_by(id).into_iter().filter(present).collect()
    }

    /// The last person with the public id of this one, if that is another.
    pub(super) fn founded_again(&self, person: PersonNo) -> Option<PersonNo> {
        let last = self.last_of(self.founding(person), self.origin(person).key());
        last.filter(|last| *last > person)
    }

    /// The persons of all generations that `id` founded, ascending.
    pub(super) fn ever_founded_by(&self, id: IdNo) -> BTreeSet<PersonNo> {
        let first = self.links.person_first(id).filter(|person| self.persons[person.index()].founding == id);
        let made = self.generations.founded_by.get(&id).into_iter().flatten().copied();
        first.into_iter().chain(made).collect()
    }

    // -- H2 --------------------------------------------------------------------------------------------------------

    /// Divides the person of T, or says why what the split asks is not possible here.
    fn divide(&mut self, record: Record<'_>, told: &Excerpt, came: &BTreeMap<u32, Came>) -> Option<Refusal> {
        let row = record.row;
        let Leaving { person, ids, .. } = match self.leaving(record, told) {
            Ok(leaving) => leaving,
            Err(refusal) => return Some(refusal),
        };
        let Leavers { together, .. } = leavers(record).expect("a split");
        let leaving: BTreeSet<IdNo> = ids.iter().copied().collect();
        let stay = self.ids_of(person).into_iter().filter(|id| !leaving.contains(id)).collect();
        let mut groups: Vec<Vec<IdNo>> = vec![stay];
        if together {
            groups.push(ids);
        } else {
            groups.extend(ids.into_iter().map(|id| vec![id]));
        }
        let group_of: BTreeMap<IdNo, usize> = groups
            .iter()
            .enumerate()
            .flat_map(|(group, ids)| ids.iter().map(move |id| (*id, group)))
            .collect();
        let worlds = self.worlds(groups.len(), row.seq, told, came, &group_of);

        let (before, origin) = (self.persons[person.index()], self.origin(person));
        self.generations.origin(person, before.founding, origin);
        self.empty(person);
        self.links.part(&groups, row.seq);
        for (number, (ids, world)) in groups.iter().zip(worlds).enumerate() {
            let new = PersonNo(self.persons.len() as u32);
            let users: Vec<IdNo> = ids.iter().copied().filter(|id| self.class(*id).user).collect();
            let profile = self.profiles.add(&world.profile);
            let (founding, origin) = match number {
                0 => (before.founding, origin), // what stays keeps its id
                _ => (ids[0], Origin { founded: row.seq, split: true }),
            };
            self.persons.push(Person {
                founding,
                created_at: world.earliest.or(world.named).unwrap_or(before.created_at),
                identified_by: world.identified_by.unwrap_or(NONE),
                users: users.len() as u32, // MAX_RECORDS bounds it
                first_user: users.first().map_or(NONE, |id| id.0),
                profile,
            });
            self.generations.origin(new, founding, origin);
            if !ids.contains(&founding) {
                self.generations.anchors.insert(new, ids[0]);
            }
            if number == 0 {
                self.generations.retired.insert(person, Some(new));
            }
        }
        None
    }

    /// What each group of a person is by itself: the operations before `end` refolded to the group their T is in.
    fn worlds(
        &self,
        groups: usize,
        end: u32,
        told: &Excerpt,
        came: &BTreeMap<u32, Came>,
        group_of: &BTreeMap<IdNo, usize>,
    ) -> Vec<World> {
        let mut worlds = vec![World::default(); groups];
        for record in told.records().take_while(|record| record.row.seq < end) {
            let row = record.row;
            let came = came.get(&row.seq).copied().unwrap_or(Came::ToNothing);
            if came == Came::ToNothing {
                continue;
            }
            let group = group_of.get(&row.id);
            let mut asserts = false;
            if let Other::Id(other) = row.other() {
                let others = group_of.get(&other);
                // A link that was made, and whose ends are apart now: this split or an earlier one parted them.
                let parted = came == Came::Through && others != group;
                asserts =
                    row.id != other && self.class(row.id).mergeable && self.class(other).mergeable && !parted;
                if let (Came::Through, Some(others)) = (came, others) {
                    worlds[*others].name(record.time());
                }
            }
            if let Some(group) = group {
                worlds[*group].fold(record, asserts);
            }
        }
        worlds
    }
}

/// A group of ids as if it had been one person from the beginning.
#[derive(Clone, Default)]
struct World {
    profile: Vec<super::Property>,
    /// The earliest time of an operation that touched it.
    earliest: Option<i64>,
    /// The earliest time of a link that was made and named one of its ids as S.
    named: Option<i64>,
    identified_by: Option<u32>,
}

impl World {
    fn name(&mut self, time: i64) {
        self.named = Some(self.named.map_or(time, |named| named.min(time)));
    }

    /// Folds an operation of the group's T; `asserts` says whether it asserts identity within what the group knows.
    fn fold(&mut self, record: Record<'_>, asserts: bool) {
        let row = record.row;
        let bare = matches!(row.kind, Kind::Switch) && !row.has_changes();
        if row.flags.has(Flags::PROCESSING_OFF) || bare || row.kind == Kind::Reset || row.refolds() {
            return;
        }
        let quiet =
            row.flags.has(Flags::GROUP_IDENTIFY) || row.flags.has(Flags::QUIET) && self.earliest.is_some(); // E3
        let time = record.time();
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        if asserts {
            self.identified_by.get_or_insert(row.seq);
        }
        if !quiet {
            super::profile::change(&mut self.profile, record.changes(), row.seq);
        }
    }
}

impl Outcome {
    fn refused(refusal: Option<Refusal>) -> Outcome {
        Outcome { refusal, ..Outcome::default() }
    }

    fn came(&self) -> Came {
        match self.refusal {
            Some(
                Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. } | Refusal::ProcessingOff { .. },
            ) => Came::ToNothing,
            Some(_) => Came::ToRefusal,
            None => Came::Through,
        }
    }
}

impl Origin {
    /// What tells two persons of one founding id apart: whether, and by which record, a split founded them.
    pub(crate) fn key(self) -> Option<u32> {
        self.split.then_some(self.founded)
    }
}

/// H1: whether a record may be retracted now.
fn refuse_retract(before: &Excerpt, row: &Row, target: u32) -> Option<Refusal> {
    let fitting =
        before.record(target).is_some_and(|record| record.row.is_operation() && record.row.id == row.id);
    if !fitting {
        return Some(Refusal::NotRetractable { by: Seq(row.seq.into()) });
    }
    let by = before.retracting(target)?;
    Some(Refusal::AlreadyRetracted { by: Seq(by.into()) })
}

impl Excerpt {
    /// The records that count as never asked (H1). A retract that is itself retracted retracts nothing.
    pub(crate) fn retracted(&self) -> BTreeSet<u32> {
        let mut retracted = BTreeSet::new();
        // From the end: what retracts a record stands behind it.
        for record in self.records().rev() {
            if let Some(target) = self.retracts(record)
                && !retracted.contains(&record.row.seq)
            {
                retracted.insert(target);
            }
        }
        retracted
    }

    /// H1: whether a retract is refused. `taken_back` holds what earlier retracts name that are not retracted
    /// themselves, each with the first that names it.
    fn refuse_again(&self, record: Record<'_>, taken_back: &mut BTreeMap<u32, u32>) -> Option<Refusal> {
        let seq = record.row.seq;
        let Some(target) = self.retracts(record) else {
            return Some(Refusal::NotRetractable { by: Seq(seq.into()) });
        };
        let by = *taken_back.entry(target).or_insert(seq);
        (by != seq).then_some(Refusal::AlreadyRetracted { by: Seq(by.into()) })
    }

    /// The record that a retract names, if it can be retracted.
    fn retracts(&self, record: Record<'_>) -> Option<u32> {
        let target = record.row.target()?;
        let fits = |found: Record<'_>| found.row.is_operation() && found.row.id == record.row.id;
        self.record(target).is_some_and(fits).then_some(target)
    }

    /// The record by which `target` is retracted.
    fn retracting(&self, target: u32) -> Option<u32> {
        let retracted = self.retracted();
        let by = self
            .records()
            .find(|record| self.retracts(*record) == Some(target) && !retracted.contains(&record.row.seq));
        by.map(|record| record.row.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::excerpt::Node;
    use crate::record::{Body, Head};
    use crate::{DistinctId, Ledger, Operation, Policy, Source, SplitMode, Target, Tenant, Timestamp};

    fn id(text: &str) -> DistinctId {
        DistinctId::new(text).unwrap()
    }

    fn time() -> Timestamp {
        Timestamp::from_micros(5).unwrap()
    }

    fn ask(ledger: &mut Ledger, operation: Operation) -> Seq {
        ledger.append(operation).unwrap().seq().unwrap()
    }

    fn link(ledger: &mut Ledger, who: &str, source: &str) -> Seq {
        ask(ledger, Operation::identify(time(), id(who), Some(Source::new(source))))
    }

    /// Another person; ann with two phones, the first of which was linked by the record that is returned.
    fn ledger() -> (Ledger, Seq) {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        link(&mut ledger, "zoe", "z1");
        let first = link(&mut ledger, "ann", "phone");
        link(&mut ledger, "ann", "tablet");
        (ledger, first)
    }

    fn component(ledger: &Ledger, of: &str) -> Excerpt {
        let seed = Node::Id(ledger.id_no(of).unwrap());
        Excerpt::clone(&ledger.log.component(seed, ledger.checkpoint().records).unwrap())
    }

    #[test]
    fn alone_each_operation_is_shown_with_the_state_right_after_it_refused_or_not() {
        let (mut ledger, first) = ledger();
        let taken_back = ask(&mut ledger, Operation::retract(time(), Target::Record(first)));
        let again = ask(&mut ledger, Operation::retract(time(), Target::Record(first)));
        let parted = ask(&mut ledger, Operation::split(time(), id("ann"), [id("tablet")], SplitMode::Each));
        let mut shown = Vec::new();
        let alone = ledger.state().alone_telling(&component(&ledger, "ann"), |seq, outcome, state| {
            assert_eq!(state.records(), u64::from(seq) + 1);
            shown.push((Seq(seq.into()), outcome.refusal));
        });
        assert_eq!(alone.state.records(), ledger.checkpoint().records);
        let refused = Some(Refusal::AlreadyRetracted { by: taken_back });
        assert_eq!(shown[1..], [(taken_back, None), (again, refused), (parted, None)]);
        assert_eq!(alone.state.survivor(PersonNo(0)), PersonNo(1), "the one that was parted is who stayed");
    }

    #[test]
    fn what_is_foretold_is_right_after_the_record_that_nobody_wrote() {
        let (ledger, first) = ledger();
        let next = ledger.checkpoint().records;
        let head = Head {
            id: ledger.id_no("ann").unwrap(),
            device: None,
            time: 5,
            operation: [0; 16],
            flags: Flags::default(),
        };
        let mut asked = Excerpt::default();
        asked.push_supposed(next as u32, &Body::Retract(head, first.0, None));
        let record = asked.records().next().unwrap();
        let foretold = ledger.state().foretell(record, &component(&ledger, "ann"), |_, _, _, _| {});
        assert_eq!([foretold.before.records(), foretold.after.records()], [next, next + 1]);
    }

    /// No writer of ours records such a retract: T is the id that the named record speaks for.
    #[test]
    fn only_an_operation_of_t_can_be_taken_back_h1() {
        let (mut ledger, first) = ledger();
        ledger.device(crate::DeviceId::new("d").unwrap()).set(time(), Default::default()).unwrap();
        link(&mut ledger, "ann", "d");
        let told = component(&ledger, "ann");
        let next = ledger.checkpoint().records as u32;
        let definition = told.records().find(|record| record.row.kind == Kind::DefineDevice).unwrap().row;
        let [ann, phone] = ["ann", "phone"].map(|text| ledger.id_no(text).unwrap());
        for (of, target, expected) in [
            (ann, first.0 as u32, None),
            (phone, first.0 as u32, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
            (definition.id, definition.seq, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
            (ann, 0, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
        ] {
            let head = Head { id: of, device: None, time: 5, operation: [0; 16], flags: Flags::default() };
            let mut told = told.clone();
            told.push_supposed(next, &Body::Retract(head, target.into(), None));
            let record = told.records().last().unwrap();
            assert_eq!(ledger.state().refuse_refold(record, &told.only(|seq| seq < next)), expected);
            assert_eq!(told.retracted().contains(&target), expected.is_none(), "{of:?} {target}");
        }
    }
}
