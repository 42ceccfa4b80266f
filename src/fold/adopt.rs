//! The return of a component that was folded alone into the whole: persons keep their numbers, and ids their places, as far as they
//! can. What changes is kept as it was.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::fold::fold_cache::{CachedFold, Present, PresentPersons, Refolded, Stage};
use crate::fold::generations::{Former, Moved, Origin};
use crate::fold::links::{NONE, PersonNo};
use crate::fold::profile::Profile;
use crate::fold::{Person, State};
use crate::log::body::IdNo;

/// A person of a component that was folded alone.
struct Numbered {
    /// Its number there, and in the whole.
    small: PersonNo,
    number: PersonNo,
    origin: Origin,
    /// Whether it is not absorbed.
    live: bool,
    /// Whether the whole's generations have its origin.
    is_noted: bool,
}

/// Where an id of a component belongs.
struct Home {
    /// The group of its person in the whole, before the component was folded again.
    before: Option<u32>,
    /// Its person, by the number in the component alone.
    now: Option<PersonNo>,
}

/// The persons of a component, numbered.
struct Numbering {
    persons: Vec<Numbered>,
    /// By the number in the component alone: the group in the whole of who had its public id, if that was live.
    before: Vec<Option<u32>>,
    /// Those whose founding id is erased, each with its last generation: who had its public id in the whole, now or earlier.
    erased: Vec<(PersonNo, Option<PersonNo>)>,
}

impl State {
    /// Takes a component that was folded alone into the whole: it is what there is from record `seq` on.
    ///
    /// A person with the same public id and founding record keeps number and links. What changes is kept as it was.
    pub(super) fn adopt(&mut self, fold: &mut CachedFold<State>, seq: u32) {
        let group = |id: IdNo| self.links.person_first(id).map(|slot| self.links.node(slot));
        let home =
            |(small, id): (u32, &IdNo)| Home { before: group(*id), now: fold.end.state.person(IdNo(small)) };
        let homes: Vec<Home> = (0..).zip(&fold.ids).map(home).collect();
        let Numbering { persons, before: groups, erased } = self.number(fold, &homes, seq);
        let CachedFold { ids, devices, end: Stage { state: small, .. }, .. } = &*fold;
        let id = |small: IdNo| ids[small.index()];
        let none = |number: u32| if number == NONE { NONE } else { id(IdNo(number)).0 };
        // By the component's own number of a live person: its group in the whole, and how many ids stay in it.
        let mut whole = vec![(NONE, 0_u32); small.persons.len()];
        for person in persons.iter().filter(|person| person.live) {
            whole[person.small.index()].0 = self.links.node(person.number);
        }
        let mut moved = Moved::default();
        for ((place, number), Home { before, now }) in ids.iter().enumerate().zip(homes) {
            let (leaf, branch) = (small.links.leaves[place], small.links.branches[place]);
            let old = *self.links.leaf(*number);
            if before.map(Some) != now.map(|person| groups[person.index()]) {
                moved.note(*number);
            }
            let slot = match now {
                Some(person) => {
                    let (group, stay) = &mut whole[person.index()];
                    if before == Some(*group) {
                        *stay += 1;
                        old.slot
                    } else {
                        *group
                    }
                }
                None => NONE,
            };
            if (slot, leaf.since()) != (old.slot, old.since()) {
                let former = Former { until: seq, slot: old.slot, since: old.since() };
                self.generations.former.entry(*number).or_default().push(former);
            }
            self.links.put(*number, leaf.at(slot), none(branch.next), (none(branch.proof), branch.proof_seq));
        }
        let has_anchors = !(self.generations.anchors.is_empty() && small.generations.anchors.is_empty());
        for Numbered { small: kept, number, origin, live, is_noted } in &persons {
            let person = small.persons[kept.index()];
            let (founding, first_user) = (id(person.founding), none(person.first_user));
            let entries = small.profiles.entries(person.profile);
            let profile = self.profiles.replaced(self.persons[number.index()].profile, entries);
            self.persons[number.index()] = Person { founding, first_user, profile, ..person };
            self.kinds.copy(*number, &small.kinds, *kept);
            match small.marks.get(kept) {
                Some(marks) => drop(self.marks.insert(*number, marks.clone())),
                None => drop(self.marks.remove(number)),
            }
            match small.deltas.get(kept) {
                Some(deltas) => drop(self.deltas.insert(*number, deltas.clone())),
                None => drop(self.deltas.remove(number)),
            }
            if !is_noted {
                self.generations.origin(*number, founding, *origin);
            }
            if has_anchors {
                match small.generations.anchors.get(kept) {
                    Some(anchor) => drop(self.generations.anchors.insert(*number, id(*anchor))),
                    None => drop(self.generations.anchors.remove(number)),
                }
            }
            if *live {
                let gone = self.links.size(*number) - whole[kept.index()].1;
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
        self.generations.devices.clone_from(devices);
        self.generations.moved = moved;
        self.shared.adopt(&small.shared, ids, seq);
        self.call_anew(erased);
        let present = persons.iter().map(|person| Present {
            founding: small.founding(person.small).0,
            origin: person.origin,
            person: person.number,
            is_noted: true,
        });
        let present = present.collect();
        let persons = self.persons.len() as u32; // slots bound it
        fold.refolded = Some(Refolded { present, ids: fold.ids.len(), persons });
    }

    /// The persons of a component that are not retired. `fold.refolded` has those of its last refold, if the whole refolded it.
    fn present(&self, fold: &mut CachedFold<State>) -> PresentPersons {
        let Refolded { present: mut list, ids: known, persons } = fold.refolded.take().unwrap_or_default();
        let present =
            |founding, person, is_noted| Present { founding, origin: self.origin(person), person, is_noted };
        for (founding, id) in (0..).zip(&fold.ids) {
            // An id that came since brings the persons of its own component, and that may have been refolded.
            if founding as usize >= known {
                list.extend(self.founded_by(*id).map(|person| present(founding, person, false)));
            } else if let Some(person) = self.links.person_first(*id)
                && person.0 >= persons
                && self.founding(person) == *id
            {
                list.push(present(founding, person, false));
            }
        }
        PresentPersons::new(list, fold.ids.len())
    }

    /// Gives the persons of a component that was folded alone their numbers in the whole. One that was founded by the same record,
    /// and was live, or absorbed by the person it is absorbed by now, keeps its number, unless it takes over a group; all others get
    /// the next. Whom the component has no more is retired. `homes` has all ids.
    fn number(&mut self, fold: &mut CachedFold<State>, homes: &[Home], seq: u32) -> Numbering {
        let present = self.present(fold);
        let mut left = vec![true; present.list().len()];
        let CachedFold { ids, end: Stage { state: small, .. }, .. } = &*fold;
        let is_erased = |id: IdNo| self.erasures.of_id(ids[id.index()]).is_some();
        let erased: Vec<bool> = if self.erasures.is_empty() {
            Vec::new() // most ledgers
        } else {
            small.ids().map(is_erased).collect()
        };
        let is_erased = |id: IdNo| erased.get(id.index()).is_some_and(|erased| *erased);
        let (survivors, origins) = (small.survivors(), small.origins());
        // Of two with one public id, a person and what a split let stay of it, the earlier one is retired.
        let all = (0..).map(PersonNo).zip(survivors).filter_map(|(kept, survivor)| Some((kept, survivor?)));
        let (live, absorbed): (Vec<_>, Vec<_>) = all.partition(|(kept, survivor)| kept == survivor);
        let mut same = vec![None; small.persons.len()];
        for (kept, _) in live.iter().chain(&absorbed) {
            same[kept.index()] = present.find(small.founding(*kept).0, origins[kept.index()].key());
        }
        let anew = |kept: PersonNo| {
            let founding = ids[small.founding(kept).index()];
            Person { founding, profile: Profile::default(), ..small.persons[kept.index()] }
        };
        let groups: Vec<Option<u32>> =
            present.list().iter().map(|present| self.links.group(present.person)).collect();
        let before = same.iter().map(|place| groups[(*place)?]).collect();
        let mut heirs = self.heirs(&present, groups, &same, homes);
        for (heir, number) in &mut heirs {
            *number = self.links.succeed(*number, seq);
            self.persons.push(anew(*heir));
        }
        let mut numbers = vec![PersonNo(NONE); small.persons.len()];
        let mut numbering =
            Numbering { persons: Vec::with_capacity(origins.len()), before, erased: Vec::new() };
        for (kept, survivor) in live.into_iter().chain(absorbed) {
            let (live, founding, origin) = (kept == survivor, small.founding(kept), origins[kept.index()]);
            let survivor = (!live).then(|| numbers[survivor.index()]);
            let before = is_erased(founding).then(|| self.last_of(ids[founding.index()], origin.key()));
            let found = same[kept.index()].filter(|place| std::mem::replace(&mut left[*place], false));
            let found = found.map(|place| present.list()[place]);
            // Who had no id with a text, and has one now, gets a name (D11), and names are looked up by number.
            let gets_name = |person: PersonNo| {
                let had = self.erasures.renamed.contains_key(&person.0);
                live && is_erased(founding) && !had && small.ids_of(kept).iter().any(|id| !is_erased(*id))
            };
            // Its founding record is what answers as of earlier records are sorted by.
            let stays = |present: &Present| {
                present.origin == origin
                    && self.links.survivor(present.person) == survivor.unwrap_or(present.person)
                    && !gets_name(present.person)
            };
            let heir = heirs.get(&kept).copied();
            let (number, is_noted) = match found.filter(|found| heir.is_none() && stays(found)) {
                Some(Present { person, is_noted, .. }) => (person, is_noted),
                None => {
                    // A group of one that was live and is live stays, under another number: its ids need not move.
                    let was_live = |found: &Present| self.links.group(found.person).is_some();
                    let next = match (heir, found.filter(was_live)) {
                        (Some(next), _) => next,
                        (None, was) => {
                            self.persons.push(anew(kept));
                            match was {
                                Some(was) if live => self.links.succeed(was.person, seq),
                                _ => self.links.add(survivor.map(|survivor| (survivor, seq))),
                            }
                        }
                    };
                    if let Some(present) = found {
                        self.retire(present.person, Some(next));
                    }
                    (next, false)
                }
            };
            numbers[kept.index()] = number;
            numbering.persons.push(Numbered { small: kept, number, origin, live, is_noted });
            numbering.erased.extend(before.map(|before| (number, before)));
        }
        for (gone, _) in present.list().iter().zip(left).filter(|(_, left)| *left) {
            self.retire(gone.person, None);
        }
        numbering
    }

    /// Who takes over the group of another person, because that has most of its ids, and more than its own group if it had one: by its
    /// number alone, and whose group that was. Then only the other ids move. `same` gives the place among `present` of each person that
    /// there is now, `groups` the group of each of those that is live.
    fn heirs(
        &self,
        present: &PresentPersons,
        groups: Vec<Option<u32>>,
        same: &[Option<usize>],
        homes: &[Home],
    ) -> BTreeMap<PersonNo, PersonNo> {
        // By place among `present`: its group, and how many ids stay in it.
        let mut groups: Vec<(Option<u32>, u32)> = groups.into_iter().map(|group| (group, 0)).collect();
        for Home { before, now } in homes {
            let group = now.and_then(|now| groups.get_mut(same[now.index()]?));
            if let Some((group, stay)) = group.filter(|(group, _)| group == before) {
                *stay += u32::from(group.is_some());
            }
        }
        let keeps = |now: PersonNo| same[now.index()].map_or(0, |place| groups[place].1);
        // By group that most ids leave: whose it was, and how many go to whom.
        let mut left: BTreeMap<u32, (PersonNo, BTreeMap<PersonNo, u32>)> = BTreeMap::new();
        for (Present { person, .. }, (group, stay)) in present.list().iter().zip(&groups) {
            if let Some(group) = group.filter(|_| 2 * stay < self.links.size(*person)) {
                left.insert(group, (*person, BTreeMap::new()));
            }
        }
        if left.is_empty() {
            return BTreeMap::new(); // most corrections
        }
        for Home { before, now } in homes {
            if let (Some((_, go)), Some(now)) = (before.and_then(|group| left.get_mut(&group)), now) {
                *go.entry(*now).or_default() += 1;
            }
        }
        let mut heirs: BTreeMap<PersonNo, (u32, PersonNo)> = BTreeMap::new();
        for (person, go) in left.into_values() {
            let most = go.into_iter().max_by_key(|(now, ids)| (*ids, keeps(*now), Reverse(*now)));
            if let Some((heir, ids)) = most.filter(|(now, ids)| *ids > keeps(*now)) {
                let claim = heirs.entry(heir).or_insert((ids, person));
                *claim = (*claim).max((ids, person));
            }
        }
        heirs.into_iter().map(|(heir, (_, person))| (heir, person)).collect()
    }

    /// By number, the person that each became, as [`State::survivor`]; `None` of one that a split divided. Cost: one look for each.
    fn survivors(&self) -> Vec<Option<PersonNo>> {
        let persons = (0..self.persons.len() as u32).map(PersonNo); // slots bound it
        let mut next: Vec<PersonNo> = persons.map(|person| self.links.survivor(person)).collect();
        for (person, successor) in &self.generations.retired {
            next[person.index()] = successor.expect("what a split divides has one that stays");
        }
        // Whom a split divided may be followed by one that a later split divided, and so on: each of them is passed once.
        let mut known = vec![false; next.len()];
        let mut way = Vec::new();
        for person in 0..next.len() {
            let mut at = person;
            while !known[at] && next[at].index() != at {
                way.push(at);
                at = next[at].index();
            }
            for passed in way.drain(..) {
                (next[passed], known[passed]) = (next[at], true);
            }
        }
        let mut survivors: Vec<Option<PersonNo>> = next.into_iter().map(Some).collect();
        self.generations.retired.keys().for_each(|person| survivors[person.index()] = None);
        survivors
    }

    /// By number, how each person came to be, as [`State::origin`].
    fn origins(&self) -> Vec<Origin> {
        let never = Origin { founded: NONE, split: false };
        let mut origins = vec![never; self.persons.len()];
        for (person, origin) in &self.generations.origins {
            origins[person.index()] = *origin;
        }
        for (origin, person) in origins.iter_mut().zip(&self.persons) {
            if *origin == never {
                origin.founded =
                    self.links.since(person.founding).expect("an id that founds a person belongs to it");
            }
        }
        origins
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
    pub(super) fn empty(&mut self, person: PersonNo) {
        let profile = std::mem::take(&mut self.persons[person.index()].profile);
        self.profiles.drop(profile);
        self.kinds.clear(person);
        self.marks.remove(&person);
        self.deltas.remove(&person);
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
}
