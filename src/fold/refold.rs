//! One component, folded alone; and its return into the whole (section H).
//!
//! Components of possible links are independent: folding one by itself gives what it is in the whole. So a record counts as
//! never asked if its component is folded without it, and what comes out takes the place of what was.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::erasures::Erasures;
use crate::fold::generations::{Former, Origin};
use crate::fold::links::{NONE, PersonNo};
use crate::fold::outcome::{Correction, NotParted, Outcome, Refusal};
use crate::fold::profile::Profile;
use crate::fold::{Person, State};
use crate::log::body::{DeviceNo, Flags, IdNo, LinkSource, SplitOff};
use crate::log::component::{ComponentRecords, leavers};
use crate::log::record::{Kind, Record, Row};
use crate::model::id::Seq;

/// For records that refold a component: that component's records before them.
#[derive(Debug, Default)]
pub struct Past {
    /// By the record that asks: in which of the excerpts they are.
    of: BTreeMap<u32, usize>,
    /// The records of a component; later ones too, where several records of one frame ask for it.
    excerpts: Vec<ComponentRecords>,
}

impl Past {
    /// A place for an excerpt that [`Past::hold`] puts there; `before` stays in its own.
    pub(crate) fn next(&mut self, before: Option<(usize, ComponentRecords)>) -> usize {
        if let Some((place, excerpt)) = before {
            self.hold(place, excerpt);
        }
        self.excerpts.push(ComponentRecords::default());
        self.excerpts.len() - 1
    }

    /// Puts an excerpt in its place.
    pub(crate) fn hold(&mut self, place: usize, excerpt: ComponentRecords) {
        self.excerpts[place] = excerpt;
    }

    /// Says where the records are that `seq` asks for; of the excerpt there it needs those before it.
    pub(crate) fn expect(&mut self, seq: u32, place: usize) {
        self.of.insert(seq, place);
    }

    fn of(&self, seq: u32) -> ComponentRecords {
        let place = self.of.get(&seq).expect("a record that refolds a component comes with its past");
        self.excerpts[*place].before(seq)
    }
}

/// A component by itself. Its ids and devices are numbered from 0, in their order in the whole.
#[derive(Clone, Debug)]
pub(crate) struct ComponentFold {
    pub(crate) state: State,
    /// The whole's numbers.
    pub(crate) ids: Vec<IdNo>,
    pub(crate) devices: Vec<DeviceNo>,
}

/// A component alone, before and after a record that would refold it.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    pub(crate) before: State,
    pub(crate) after: State,
    /// What the record would do, in the whole's numbers.
    pub(crate) outcome: Outcome,
}

/// A person of a component that was folded alone.
struct Numbered {
    /// Its number there, and in the whole.
    small: PersonNo,
    number: PersonNo,
    /// Its last generation: who had its public id in the whole, now or earlier.
    before: Option<PersonNo>,
    /// Whether it is not absorbed.
    live: bool,
}

/// Of which of its two folds [`State::foretell`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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
        before: ComponentRecords,
        each: impl FnMut(u32, &Outcome, &State),
    ) -> Outcome {
        let row = record.row;
        let mut outcome = Outcome::default();
        match row.target() {
            Some(target) => {
                outcome.refusal = refuse_retract(&before, row, target);
                outcome.undone = Some(Correction::Retracted { seq: Seq(target.into()) });
                // One that is refused because there is another counts once that is retracted.
                if let None | Some(Refusal::AlreadyRetracted { .. }) = outcome.refusal {
                    self.generations.retract(target, row.seq);
                }
            }
            None => match self.leaving(record, &before) {
                Ok(Leaving { ids, others, .. }) => {
                    outcome.notices.not_parted = others;
                    outcome.undone = Some(Correction::Split { left: ids.len() as u32 });
                }
                Err(refusal) => outcome.refusal = Some(refusal),
            },
        }
        if outcome.refusal.is_some() {
            return Outcome::refused(outcome.refusal);
        }
        let mut told = before;
        told.push_anew(record);
        let alone = self.alone_telling(&told, each);
        self.generations.refolded += alone.state.generations.refolded;
        self.adopt(alone, row.seq);
        outcome.person = (row.kind == Kind::Split).then(|| self.links.person(row.id)).flatten();
        outcome
    }

    /// Whether a retract or split is refused here; `before` are the records of its component before it.
    pub(crate) fn refuse_refold(&self, record: Record<'_>, before: &ComponentRecords) -> Option<Refusal> {
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
        before: &ComponentRecords,
        mut each: impl FnMut(Phase, u32, &Outcome, &State),
    ) -> Simulation {
        let is_split = record.row.kind == Kind::Split;
        let others = if is_split {
            self.leaving(record, before).ok().and_then(|leaving| leaving.others)
        } else {
            None
        };
        let alone = self.beside(before, |seq, outcome, small| each(Phase::Before, seq, outcome, small));
        let ComponentFold { state, ids, devices } = alone;
        let mut told = before.clone();
        told.push_anew(record);
        let told = told.relabelled(&ids, &devices);
        let (before, asked) =
            (before.relabelled(&ids, &devices), told.records().last().expect("just pushed"));
        let mut after = state.clone();
        for record in before.records() {
            if let Some(retracts) = self.generations.retractions.get(&record.row.seq) {
                after.generations.retractions.insert(record.row.seq, retracts.clone());
            }
        }
        let mut outcome = after
            .refold_telling(asked, before, |seq, outcome, small| each(Phase::After, seq, outcome, small));
        after.records = asked.row.seq + 1;
        // A person that comes back has the name that it had.
        after.erasures.renamed.extend(self.renamed_among(&after, &ids));
        after.erasures.called_after = Erasures::called_after(&after.erasures.renamed);
        // In the whole a person that is new would be numbered behind all that there are.
        let founded = |state: &State| state.persons.len() as u32;
        outcome.notices.not_parted = others;
        outcome.person = outcome.person.map(|person| match person.0.checked_sub(founded(&state)) {
            Some(new) => PersonNo(founded(self) + new),
            None => self.links.person(record.row.id).expect("a person that keeps its number had it"),
        });
        Simulation { before: state, after, outcome }
    }

    /// As [`State::alone_telling`], and what comes out knows of erasures what persons are called by.
    pub(crate) fn beside(
        &self,
        told: &ComponentRecords,
        each: impl FnMut(u32, &Outcome, &State),
    ) -> ComponentFold {
        let mut alone = self.alone_telling(told, each);
        alone.state.erasures = self.erasures_among(&alone);
        alone
    }

    /// What is erased of a component, in its own numbers, as far as names depend on it.
    fn erasures_among(&self, alone: &ComponentFold) -> Erasures {
        let ComponentFold { state: small, ids, .. } = alone;
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
        let present =
            (0..small.persons.len() as u32).map(PersonNo).filter(|person| !small.is_retired(*person));
        let named = present.filter_map(|person| {
            let (founding, key) = (ids[small.founding(person).index()], small.origin(person).key());
            let (id, by) = self.erasures.renamed.get(&self.last_of(founding, key)?.0)?;
            let number = ids.binary_search(&IdNo(*id)).ok()?;
            Some((person.0, (number as u32, *by))) // MAX_RECORDS bounds it
        });
        named.collect()
    }

    /// H2: those of the ids that a split names that leave the person of T here, or why none can. `told` holds the component's records
    /// before the split.
    fn leaving(&self, record: Record<'_>, told: &ComponentRecords) -> Result<Leaving, Refusal> {
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
    fn came_by(&self, id: IdNo, told: &ComponentRecords) -> Seq {
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
    pub(crate) fn alone(&self, told: &ComponentRecords) -> ComponentFold {
        self.alone_telling(told, |_, _, _| {})
    }

    /// As [`State::alone`], and shows what each operation came to: its seq, its outcome and the state right after it, both in the
    /// component's own numbers. Of a retract or split the outcome says only whether it is refused.
    pub(crate) fn alone_telling(
        &self,
        told: &ComponentRecords,
        mut each: impl FnMut(u32, &Outcome, &State),
    ) -> ComponentFold {
        let (ids, devices) = told.named();
        let standing = told.without(&told.marked_retracted()).relabelled(&ids, &devices);
        let mut state = self.only(&ids);
        let (mut came, mut taken_back) = (Vec::new(), vec![NONE; told.records().len()]);
        for record in standing.records() {
            let row = record.row;
            state.records = row.seq;
            let outcome = match row.kind {
                Kind::Retract => Some(Outcome::refused(told.refuse_again(row.seq, &mut taken_back))),
                Kind::Split => Some(Outcome::refused(state.divide(record, &standing, &came))),
                _ => {
                    let outcome = state.apply(record, &Past::default());
                    came.extend(outcome.map(|outcome| (row.seq, outcome.came())));
                    state.generations.refolded += u64::from(outcome.is_some());
                    outcome
                }
            };
            state.records = row.seq + 1;
            if let Some(outcome) = outcome {
                each(row.seq, &outcome, &state);
            }
        }
        ComponentFold { state, ids, devices }
    }

    /// Folds the component that `told` tells of as it was folded when it was recorded, retracts and splits
    /// included, and shows what each operation did: its seq, its outcome and the state right after it, both
    /// in the component's own numbers.
    pub(crate) fn retell(
        &self,
        told: &ComponentRecords,
        mut each: impl FnMut(u32, &Outcome, &State),
    ) -> ComponentFold {
        let (ids, devices) = told.named();
        let told = told.relabelled(&ids, &devices);
        let mut state = self.only(&ids);
        for record in told.records() {
            let seq = record.row.seq;
            let outcome = if record.row.refolds() {
                state.records = seq + 1;
                Some(state.refold_telling(record, told.before(seq), |_, _, _| {}))
            } else {
                state.records = seq;
                state.apply(record, &Past::default())
            };
            if let Some(outcome) = outcome {
                each(seq, &outcome, &state);
            }
        }
        ComponentFold { state, ids, devices }
    }

    /// A state in which nothing has happened yet to these ids of this one.
    fn only(&self, ids: &[IdNo]) -> State {
        let under_policy = || State::under_policy(self.policy.clone());
        let mut state = if self.is_supposed() { under_policy() } else { State::new() };
        for id in ids {
            state.links.define(self.links.defined(*id), self.links.class(*id));
        }
        state
    }

    // -- the return ------------------------------------------------------------------------------------------------

    /// Takes a component that was folded alone into the whole: it is what there is from record `seq` on.
    ///
    /// A person with the same public id and founding record keeps number and links. What changes is kept as it was.
    fn adopt(&mut self, alone: ComponentFold, seq: u32) {
        let ComponentFold { state: small, ids, devices } = alone;
        let id = |small: IdNo| ids[small.index()];
        let before: Vec<Option<PersonNo>> = ids.iter().map(|id| self.links.person(*id)).collect();
        let numbered = self.number(&small, &ids, seq);
        let number: BTreeMap<PersonNo, PersonNo> =
            numbered.iter().map(|Numbered { small, number, .. }| (*small, *number)).collect();
        let mut stay: BTreeMap<PersonNo, u32> = BTreeMap::new();
        for (place, whole) in ids.iter().enumerate() {
            let (leaf, branch) = (small.links.leaves[place], small.links.branches[place]);
            let old = *self.links.leaf(*whole);
            let person = small.links.person(IdNo(place as u32)).map(|person| number[&person]); // MAX_RECORDS bounds it
            let slot = match person {
                Some(person) if before[place] == Some(person) => {
                    *stay.entry(person).or_default() += 1;
                    old.slot
                }
                Some(person) => self.links.node(person),
                None => NONE,
            };
            if (slot, leaf.since()) != (old.slot, old.since()) {
                let former = Former { until: seq, slot: old.slot, since: old.since() };
                self.generations.former.entry(*whole).or_default().push(former);
            }
            let of = |number: u32| if number == NONE { NONE } else { id(IdNo(number)).0 };
            self.links.put(*whole, leaf.at(slot), of(branch.next), (of(branch.proof), branch.proof_seq));
        }
        for Numbered { small: kept, number, live, .. } in &numbered {
            let Person { founding, first_user, profile, .. } = small.persons[kept.index()];
            let profile =
                self.profiles.replaced(self.persons[number.index()].profile, small.profiles.entries(profile));
            let first_user = if first_user == NONE { NONE } else { id(IdNo(first_user)).0 };
            let founding = id(founding);
            self.persons[number.index()] =
                Person { founding, first_user, profile, ..small.persons[kept.index()] };
            self.generations.origin(*number, founding, small.origin(*kept));
            match small.generations.anchors.get(kept) {
                Some(anchor) => drop(self.generations.anchors.insert(*number, id(*anchor))),
                None => drop(self.generations.anchors.remove(number)),
            }
            if *live {
                let gone = self.links.size(*number) - stay.get(number).unwrap_or(&0);
                self.links.resize(*number, small.links.size(*kept), gone);
            }
        }
        for (number, device) in devices.iter().zip(&small.devices) {
            let (current, anonymous) = (id(device.current), id(device.anonymous));
            self.devices[number.index()] = super::DeviceState { current, anonymous, ..*device };
            if self.erasures.of_id(current).is_some() && self.erasures.of_device(*number).is_none() {
                self.generations.due_resets.insert(*number); // H3
            } else {
                self.generations.due_resets.remove(number);
            }
        }
        self.generations.devices = devices;
        self.call_anew(numbered.iter().map(|Numbered { number, before, .. }| (*number, *before)));
    }

    /// Gives the persons of a component that was folded alone their numbers in the whole. One that was founded by the same record,
    /// and was live, or absorbed by the person it is absorbed by now, keeps its number; all others get the next. Whom the component
    /// has no more is retired.
    fn number(&mut self, small: &State, ids: &[IdNo], seq: u32) -> Vec<Numbered> {
        let mut present: BTreeMap<(IdNo, Option<u32>), PersonNo> = BTreeMap::new();
        for id in ids {
            present.extend(self.founded_by(*id).map(|person| ((*id, self.origin(person).key()), person)));
        }
        let key =
            |kept: PersonNo| (ids[small.persons[kept.index()].founding.index()], small.origin(kept).key());
        // Of two with one public id, a person and what a split let stay of it, the earlier one is retired.
        let all = (0..small.persons.len() as u32).map(PersonNo).filter(|kept| !small.is_retired(*kept));
        let (live, absorbed): (Vec<PersonNo>, Vec<PersonNo>) =
            all.partition(|kept| small.survivor(*kept) == *kept);
        let mut numbered = Vec::with_capacity(live.len() + absorbed.len());
        let mut number = BTreeMap::new();
        for (kept, live) in
            live.iter().map(|kept| (*kept, true)).chain(absorbed.iter().map(|kept| (*kept, false)))
        {
            let survivor = (!live).then(|| number[&small.survivor(kept)]);
            let (founding, split) = key(kept);
            let before = self.last_of(founding, split);
            let present = present.remove(&(founding, split));
            // Who had no id with a text, and has one now, gets a name (D11), and names are looked up by number.
            let erased = self.erasures.of_id(founding).is_some();
            let has_text = |id: &IdNo| self.erasures.of_id(ids[id.index()]).is_none();
            let gets_name = |person: &PersonNo| {
                let had = self.erasures.renamed.contains_key(&person.0);
                live && erased && !had && small.ids_of(kept).iter().any(has_text)
            };
            // Its founding record is what answers as of earlier records are sorted by.
            let stays = |person: &PersonNo| {
                self.origin(*person) == small.origin(kept)
                    && self.links.survivor(*person) == survivor.unwrap_or(*person)
                    && !gets_name(person)
            };
            let whole = present.filter(stays).unwrap_or_else(|| {
                let next = self.links.add(survivor.map(|survivor| (survivor, seq)));
                self.persons.push(Person {
                    founding,
                    profile: Profile::default(),
                    ..small.persons[kept.index()]
                });
                if let Some(present) = present {
                    self.retire(present, Some(next));
                }
                next
            });
            number.insert(kept, whole);
            numbered.push(Numbered { small: kept, number: whole, before, live });
        }
        for person in present.into_values() {
            self.retire(person, None);
        }
        numbered
    }

    /// Ends a person: it is `successor` now, or, if the component no longer has it, the owner of its founding id.
    fn retire(&mut self, person: PersonNo, successor: Option<PersonNo>) {
        let (founding, origin) = (self.founding(person), self.origin(person));
        self.generations.origin(person, founding, origin);
        self.generations.retired.insert(person, successor);
        self.generations.anchors.remove(&person);
        if self.links.survivor(person) == person {
            self.links.resize(person, 0, 0);
        }
        self.empty(person);
    }

    /// Leaves of a person what its id is made of: it has no ids any more.
    fn empty(&mut self, person: PersonNo) {
        let profile = std::mem::take(&mut self.persons[person.index()].profile);
        self.profiles.drop(profile);
        let person = &mut self.persons[person.index()];
        (person.identified_by, person.users, person.first_user) = (NONE, 0, NONE);
    }

    /// The persons of the present generation that `id` founded.
    pub(super) fn founded_by(&self, id: IdNo) -> impl Iterator<Item = PersonNo> {
        self.ever_founded_by(id).into_iter().filter(|person| !self.is_retired(*person))
    }

    /// The last person with the public id of this one, if that is another.
    pub(super) fn founded_again(&self, person: PersonNo) -> Option<PersonNo> {
        let last = self.last_of(self.founding(person), self.origin(person).key());
        last.filter(|last| *last > person)
    }

    /// The persons that `id` founded: of each public id the last, and the one it belongs to.
    pub(super) fn ever_founded_by(&self, id: IdNo) -> BTreeSet<PersonNo> {
        let first = self.links.person_first(id).filter(|person| self.persons[person.index()].founding == id);
        let made = self.generations.latest.range((id, None)..=(id, Some(NONE)));
        first.into_iter().chain(made.map(|(_, person)| *person)).collect()
    }

    // -- H2 --------------------------------------------------------------------------------------------------------

    /// Divides the person of T, or says why what the split asks is not possible here.
    fn divide(
        &mut self,
        record: Record<'_>,
        told: &ComponentRecords,
        came: &[(u32, Came)],
    ) -> Option<Refusal> {
        let row = record.row;
        let Leaving { person, ids, .. } = match self.leaving(record, told) {
            Ok(leaving) => leaving,
            Err(refusal) => return Some(refusal),
        };
        let SplitOff { together, .. } = leavers(record).expect("a split");
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
        told: &ComponentRecords,
        came: &[(u32, Came)],
        group_of: &BTreeMap<IdNo, usize>,
    ) -> Vec<World> {
        let mut worlds = vec![World::default(); groups];
        for record in told.records().take_while(|record| record.row.seq < end) {
            let row = record.row;
            let found = came.binary_search_by_key(&row.seq, |(seq, _)| *seq);
            let came = found.map_or(Came::ToNothing, |place| came[place].1);
            if came == Came::ToNothing {
                continue;
            }
            let group = group_of.get(&row.id);
            let mut asserts = false;
            if let LinkSource::Id(other) = row.other() {
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
fn refuse_retract(before: &ComponentRecords, row: &Row, target: u32) -> Option<Refusal> {
    let fitting =
        before.record(target).is_some_and(|record| record.row.is_operation() && record.row.id == row.id);
    if !fitting {
        return Some(Refusal::NotRetractable { by: Seq(row.seq.into()) });
    }
    let by = before.retracting(target)?;
    Some(Refusal::AlreadyRetracted { by: Seq(by.into()) })
}

impl ComponentRecords {
    /// The records that count as never asked (H1). A retract that is itself retracted retracts nothing.
    pub(crate) fn retracted(&self) -> BTreeSet<u32> {
        let marked = self.marked_retracted();
        self.records()
            .zip(marked)
            .filter_map(|(record, retracted)| retracted.then_some(record.row.seq))
            .collect()
    }

    /// The same, as a mark for each record.
    fn marked_retracted(&self) -> Vec<bool> {
        let mut retracted = vec![false; self.records().len()];
        // From the end: what retracts a record stands behind it.
        for (place, record) in self.records().enumerate().rev() {
            if record.row.kind == Kind::Retract
                && !retracted[place]
                && let Some(target) = self.retracts(record)
            {
                retracted[target] = true;
            }
        }
        retracted
    }

    /// H1: whether retract `seq` is refused, where `taken_back` holds the retracts before it that are not retracted themselves:
    /// by the place of the record, the first that names it.
    fn refuse_again(&self, seq: u32, taken_back: &mut [u32]) -> Option<Refusal> {
        let Some(target) = self.record(seq).and_then(|record| self.retracts(record)) else {
            return Some(Refusal::NotRetractable { by: Seq(seq.into()) });
        };
        if taken_back[target] == NONE {
            taken_back[target] = seq;
        }
        let by = taken_back[target];
        (by != seq).then_some(Refusal::AlreadyRetracted { by: Seq(by.into()) })
    }

    /// The place of the record that a retract names, if it can be retracted.
    fn retracts(&self, record: Record<'_>) -> Option<usize> {
        let place = self.place(record.row.target()?)?;
        let found = self.row(place);
        (found.is_operation() && found.id == record.row.id).then_some(place)
    }

    /// The record by which `target` is retracted.
    fn retracting(&self, target: u32) -> Option<u32> {
        let of =
            |record: &Record<'_>| record.row.target() == Some(target) && self.retracts(*record).is_some();
        if !self.records().any(|record| of(&record)) {
            return None; // most: nothing was retracted twice
        }
        let retracted = self.marked_retracted();
        let mut standing = self.records().zip(retracted).filter(|(_, retracted)| !retracted);
        standing.find(|(record, _)| of(record)).map(|(record, _)| record.row.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::{Body, OperationHeader};
    use crate::log::component::Node;
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

    fn component(ledger: &Ledger, of: &str) -> ComponentRecords {
        let seed = Node::Id(ledger.reader().id_no(of).unwrap());
        ComponentRecords::clone(&ledger.reader.log.component(seed, ledger.checkpoint().records).unwrap())
    }

    #[test]
    fn alone_each_operation_is_shown_with_the_state_right_after_it_refused_or_not() {
        let (mut ledger, first) = ledger();
        let taken_back = ask(&mut ledger, Operation::retract(time(), Target::Record(first)));
        let again = ask(&mut ledger, Operation::retract(time(), Target::Record(first)));
        let parted = ask(&mut ledger, Operation::split(time(), id("ann"), [id("tablet")], SplitMode::Each));
        let mut shown = Vec::new();
        let alone =
            ledger.reader().state().alone_telling(&component(&ledger, "ann"), |seq, outcome, state| {
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
        let head = OperationHeader {
            id: ledger.reader().id_no("ann").unwrap(),
            device: None,
            time: 5,
            operation: [0; 16],
            flags: Flags::default(),
        };
        let mut asked = ComponentRecords::default();
        asked.push_supposed(next as u32, &Body::Retract(head, first.0, None));
        let record = asked.records().next().unwrap();
        let foretold = ledger.reader().state().foretell(record, &component(&ledger, "ann"), |_, _, _, _| {});
        assert_eq!([foretold.before.records(), foretold.after.records()], [next, next + 1]);
    }

    /// No writer of ours records such a retract: T is the id that the named record speaks for.
    #[test]
    fn only_an_operation_of_t_can_be_taken_back_h1() {
        let (mut ledger, first) = ledger();
        let _ = ledger.device(crate::DeviceId::new("d").unwrap()).set(time(), Default::default()).unwrap();
        link(&mut ledger, "ann", "d");
        let told = component(&ledger, "ann");
        let next = ledger.checkpoint().records as u32;
        let definition = told.records().find(|record| record.row.kind == Kind::DefineDevice).unwrap().row;
        let [ann, phone] = ["ann", "phone"].map(|text| ledger.reader().id_no(text).unwrap());
        for (of, target, expected) in [
            (ann, first.0 as u32, None),
            (phone, first.0 as u32, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
            (definition.id, definition.seq, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
            (ann, 0, Some(Refusal::NotRetractable { by: Seq(next.into()) })),
        ] {
            let head = OperationHeader {
                id: of,
                device: None,
                time: 5,
                operation: [0; 16],
                flags: Flags::default(),
            };
            let mut told = told.clone();
            told.push_supposed(next, &Body::Retract(head, target.into(), None));
            let record = told.records().last().unwrap();
            assert_eq!(ledger.reader().state().refuse_refold(record, &told.only(|seq| seq < next)), expected);
            assert_eq!(told.retracted().contains(&target), expected.is_none(), "{of:?} {target}");
        }
    }
}
