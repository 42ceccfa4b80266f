//! The state out of its canonical bytes: for snapshots, which are caches and are never believed. Refuses to know files.
//!
//! The bytes are those that the state digest is made of (`docs/format.md`, "State digest"), so a state has one encoding, and
//! its digest says whether it was read right. The reader takes any bytes: what it lets pass can be asked and folded further
//! without a panic or an endless climb, even if somebody made it up.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec;
use crate::limits::MAX_RECORDS;
use crate::record::{IdNo, KeyNo, StoredClass, StoredPolicy};
use crate::state::digest::{ERASURES, GENERATIONS};
use crate::state::erasure::{Erasures, Left};
use crate::state::generations::{Former, Generations, Origin};
use crate::state::links::{Branch, Leaf, Links, NONE, PersonNo, ROOT, Slot};
use crate::state::profile::{Profiles, Property};
use crate::state::{Device, Person, State};
use crate::time::Timestamp;

/// The version of the rules that make a state of records. A snapshot of another version is no shortcut to this one's state.
pub(crate) const FOLD_VERSION: u32 = 1;

/// Steps to the root of a union by size: it has at most as many levels as the largest number of ids has binary digits.
const MAX_CLIMB: usize = 30;

/// What is wrong with bytes that are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsound(pub(crate) &'static str);

type Sound<T> = Result<T, Unsound>;

fn ensure(holds: bool, what: &'static str) -> Sound<()> {
    if holds { Ok(()) } else { Err(Unsound(what)) }
}

/// Bytes, taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Sound<&'a [u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Unsound("the bytes end inside the state"))?;
        self.0 = rest;
        Ok(first)
    }

    fn u32(&mut self) -> Sound<u32> {
        Ok(u32::from_le_bytes(*self.take()?))
    }

    fn u64(&mut self) -> Sound<u64> {
        Ok(u64::from_le_bytes(*self.take()?))
    }

    /// How many things follow that take at least so many bytes each. So nobody makes room for more than there can be.
    fn count(&mut self, each: usize) -> Sound<usize> {
        let count = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        ensure(count <= self.0.len() / each && count < NONE as usize, "a count is larger than what follows")?;
        Ok(count)
    }

    /// Which of the parts comes next that not every state has; `None` at the end.
    fn part(&mut self) -> Sound<Option<u32>> {
        if self.0.is_empty() { Ok(None) } else { self.u32().map(Some) }
    }
}

/// The numbers that stand one after the other in these bytes.
fn numbers<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (numbers, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(numbers[at]))
}

impl State {
    /// Reads back what [`State::canonical`] shows.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Sound<State> {
        let mut bytes = Bytes(bytes);
        let records = u32::try_from(bytes.u64()?).unwrap_or(NONE);
        ensure((1..=MAX_RECORDS).contains(&records.into()), "the number of records is out of range")?;
        let policy_seq = bytes.u32()?;
        ensure(policy_seq < records, "the policy's record is not among the records")?;
        let (policy, taken) =
            codec::decode::<StoredPolicy>(bytes.0).map_err(|_| Unsound("the policy is unreadable"))?;
        bytes.0 = &bytes.0[taken..];
        let policy = policy.policy().ok_or(Unsound("the policy is out of its bounds or not canonical"))?;

        let mut links = Links::default();
        read_ids(&mut bytes, &mut links)?;
        let mut profiles = Profiles::default();
        let (persons, told) = read_persons(&mut bytes, &mut links, &mut profiles, records)?;
        read_carried(&mut bytes, &mut links)?;
        let devices = read_devices(&mut bytes, links.leaves.len())?;
        let keys = bytes.u32()?;
        let mut generations = Generations::default();
        let mut part = bytes.part()?;
        if part == Some(GENERATIONS) {
            read_generations(&mut bytes, &mut generations, &persons)?;
            ensure(!generations.is_empty(), "former generations are told of, and there are none")?;
            part = bytes.part()?;
        }
        let mut state = State {
            records,
            policy,
            supposed: false,
            policy_seq,
            links,
            persons,
            profiles,
            devices,
            generations,
            keys,
            erasures: Erasures::default(),
        };
        if part == Some(ERASURES) {
            state.erasures = state.read_erasures(&mut bytes)?;
            part = None;
        }
        ensure(part.is_none(), "an unknown part of a state")?;
        ensure(bytes.0.is_empty(), "bytes follow the state")?;
        state.checked(&told)
    }

    /// Makes what no digest covers (rings, sizes) and checks that everything fits together.
    fn checked(mut self, told: &[Told]) -> Sound<State> {
        let roots = self.check_union(told)?;
        let users = self.check_ids(&roots)?;
        self.check_proofs(&roots)?;
        self.check_persons(&roots, &users, told)?;
        self.check_generations()?;
        self.anchor_all();
        Ok(self)
    }

    /// Edges lead to later edges and, soon, to a root; each group belongs to one of its persons. Gives the root of each.
    fn check_union(&self, told: &[Told]) -> Sound<Vec<u32>> {
        let slots = &self.links.slots;
        for (parent, since) in slots.iter().filter_map(Slot::edge) {
            let later = slots[parent as usize].edge().is_none_or(|(_, later)| later > since);
            ensure(since < self.records && later, "persons joined in no possible order")?;
        }
        let mut roots = Vec::with_capacity(slots.len());
        for number in 0..slots.len() as u32 {
            let mut at = number;
            let mut steps = 0;
            while let Some((parent, _)) = slots[at as usize].edge() {
                at = parent;
                steps += 1;
                ensure(steps <= MAX_CLIMB, "persons joined in too long a row")?;
            }
            roots.push(at);
        }
        for (number, told) in (0..).map(PersonNo).zip(told) {
            let (_, _, carries) = self.links.slot(number);
            ensure(told.carries == carries, "a group belongs to somebody else than was noted")?;
        }
        for (slot, list) in &self.links.carried {
            let group = roots.get(*slot as usize);
            ensure(group.is_some(), "a group that is none changed hands")?;
            ensure(list.is_sorted_by(|a, b| a.0 < b.0), "a group changed hands in no order")?;
            for (since, person) in list {
                ensure(*since < self.records, "a group changed hands in a record that is not there")?;
                ensure(roots.get(person.index()) == group, "a group belongs to somebody outside")?;
            }
        }
        Ok(roots)
    }

    /// Each id's own fields; makes the rings and counts. Gives how many user ids each root's group has.
    fn check_ids(&mut self, roots: &[u32]) -> Sound<Vec<u32>> {
        let records = self.records;
        let Links { leaves, branches, slots, .. } = &mut self.links;
        let mut users = vec![0_u32; roots.len()];
        let mut last = vec![NONE; roots.len()];
        let mut defined = None;
        for number in 0..leaves.len() {
            let (leaf, branch) = (&leaves[number], &branches[number]);
            let born = branch.defined;
            ensure(defined.replace(born) < Some(born) && born < records, "ids are defined out of order")?;
            ensure(
                leaf.events <= records && leaf.identified_events <= leaf.events,
                "impossible counts of events",
            )?;
            ensure(leaf.has_person() || branch.proof == NONE, "an id without a person has a proof")?;
            if !leaf.has_person() {
                continue;
            }
            ensure(
                born < leaf.since() && leaf.since() < records,
                "an id joined a person before it was defined",
            )?;
            let root = *roots.get(leaf.slot as usize).ok_or(Unsound("an id belongs to nobody"))? as usize;
            slots[root].grow(1);
            users[root] += u32::from(crate::policy::IdClass::from(leaf.class()).user);
            let before = std::mem::replace(&mut last[root], number as u32);
            if before != NONE {
                branches[number].next = branches[before as usize].next;
                branches[before as usize].next = number as u32;
            }
        }
        Ok(users)
    }

    /// Edges of the proof forest stay within a person, and make one tree of each.
    fn check_proofs(&self, roots: &[u32]) -> Sound<()> {
        let Links { leaves, branches, .. } = &self.links;
        let root = |id: u32| leaves.get(id as usize).and_then(|leaf| roots.get(leaf.slot as usize));
        let mut trees = 0;
        // By which walk an id was first reached: a walk that comes back to its own steps would go on for ever.
        let mut reached = vec![NONE; branches.len()];
        for (number, branch) in (0..).zip(branches) {
            if branch.proof == NONE {
                ensure(branch.proof_seq == NONE, "a proof names a record and nobody")?;
                trees += usize::from(root(number).is_some());
                continue;
            }
            ensure(root(branch.proof).is_some(), "a proof names an id that has no person")?;
            ensure(root(branch.proof) == root(number), "a proof joins two persons")?;
            ensure(branch.proof_seq < self.records, "a proof names a record that is not there")?;
        }
        for number in 0..branches.len() as u32 {
            let mut at = number; // if an earlier walk passed here, this one takes no step
            while at != NONE && reached[at as usize] == NONE {
                reached[at as usize] = number;
                at = branches[at as usize].proof;
            }
            ensure(at == NONE || reached[at as usize] != number, "a proof goes in circles")?;
        }
        let is_group = |slot: &&Slot| slot.is_root() && slot.size() > 0;
        let groups = self.links.slots.iter().filter(is_group).count();
        ensure(trees == groups, "a person's ids are not joined by proofs")
    }

    /// What retracts and splits left behind is of numbers that there are.
    fn check_generations(&self) -> Sound<()> {
        let Generations { retired, origins, former, retractions, .. } = &self.generations;
        let persons = self.persons.len();
        for (person, successor) in retired {
            ensure(origins.contains_key(person), "a former person came to be in no record")?;
            // Rising, so that whoever asks comes to an end.
            let rises = successor.is_none_or(|successor| *person < successor && successor.index() < persons);
            ensure(rises, "a former person became nobody that there is")?;
        }
        ensure(
            origins.values().all(|origin| origin.founded < self.records),
            "a person came to be in no record",
        )?;
        for (id, formers) in former {
            ensure(id.index() < self.links.leaves.len(), "an id that is none belonged to somebody")?;
            ensure(formers.is_sorted_by(|a, b| a.until < b.until), "generations are out of order")?;
            for Former { until, slot, since } in formers {
                ensure(*until < self.records, "a generation ended in no record")?;
                let fits =
                    if *slot == NONE { *since == NONE } else { (*slot as usize) < persons && since < until };
                ensure(fits, "an id belonged to nobody that there was")?;
            }
        }
        for (target, turns) in retractions {
            let fits = turns.is_sorted_by(|a, b| a.0 < b.0)
                && turns.iter().all(|(since, _)| (target + 1..self.records).contains(since));
            ensure(*target < self.records && fits, "a record was retracted in no possible record")?;
            let turns_about = (0..).zip(turns).all(|(turn, (_, retracted))| *retracted == (turn % 2 == 0));
            ensure(turns_about, "a record was retracted twice")?;
        }
        Ok(())
    }

    /// Finds an id of each person whose founding id left it.
    fn anchor_all(&mut self) {
        let State { generations, links, persons, .. } = self;
        let left = |person: &PersonNo| links.person(persons[person.index()].founding) != Some(*person);
        let live = |person: &PersonNo| {
            links.survivor(*person) == *person && !generations.retired.contains_key(person)
        };
        let mut due: BTreeSet<PersonNo> =
            generations.origins.keys().copied().filter(|person| live(person) && left(person)).collect();
        for id in links.ids() {
            if due.is_empty() {
                break;
            }
            if let Some(person) = links.person(id).filter(|person| due.remove(person)) {
                generations.anchors.insert(person, id);
            }
        }
    }

    fn check_persons(&self, roots: &[u32], users: &[u32], told: &[Told]) -> Sound<()> {
        let leaves = &self.links.leaves;
        let mut before = None;
        for (number, person) in (0..).map(PersonNo).zip(&self.persons) {
            let leaf = leaves.get(person.founding.index()).ok_or(Unsound("a person was founded by no id"))?;
            let founded = told[number.index()].founded;
            match self.generations.origins.get(&number) {
                Some(origin) => ensure(origin.founded == founded, "a person came to be in two records")?,
                None => {
                    ensure(leaf.slot == number.0, "a person was founded by an id of another")?;
                    ensure(leaf.since() == founded, "a person was founded in another record than its id")?;
                }
            }
            if self.generations.is_empty() {
                ensure(before.replace(founded) < Some(founded), "persons are founded out of order")?;
            }
            let identified = person.identified_by;
            ensure(identified == NONE || identified < self.records, "a person was identified in no record")?;
            ensure(
                Timestamp::from_micros(person.created_at).is_ok(),
                "a time outside the years 0001 to 9999",
            )?;
            ensure((person.users == 0) == (person.first_user == NONE), "a person's users are not counted")?;
            let root = roots[number.index()];
            let size = self.links.slots[root as usize].size();
            let (retired, carries) = (self.is_retired(number), self.links.survivor(number) == number);
            ensure(!carries || retired == (size == 0), "a former person has ids, or a present one none")?;
            let survives = carries && !retired;
            // Of somebody absorbed, a split may have taken ids away since.
            let counted = survives || self.generations.is_empty();
            if let Some(first) = (person.first_user != NONE).then_some(IdNo(person.first_user)) {
                let leaf = leaves.get(first.index()).ok_or(Unsound("a person's first user is no id"))?;
                let theirs = roots.get(leaf.slot as usize) == Some(&root) && self.class(first).user;
                ensure(theirs || !counted, "a person's first user is none of its ids")?;
            }
            let all = users[root as usize];
            let fits = if survives { person.users == all } else { person.users <= all || !counted };
            ensure(fits, "wrong count of users")?;
            let bare = self.profiles.entries(person.profile).is_empty();
            ensure(survives || bare, "an absorbed person has properties")?;
            let in_range = |property: &Property| property.key.0 < self.keys && property.seq < self.records;
            let entries = self.profiles.entries(person.profile);
            ensure(entries.iter().all(in_range), "a property of no key or no record")?;
        }
        Ok(())
    }
}

/// The part that erasures make; it is there only if there are any.
impl State {
    fn read_erasures(&self, bytes: &mut Bytes<'_>) -> Sound<Erasures> {
        let below = |count: usize| move |number: u32| (number as usize) < count;
        let record = below(self.records as usize);
        let list = read_pairs(bytes)?;
        let is_list = !list.is_empty() && list.is_sorted_by(|a, b| a.0 < b.0);
        ensure(is_list, "erasures are out of order, or there is none")?;
        let done = |(seq, done): &(u32, u32)| record(*seq) && (*done == NONE || record(*done) && seq < done);
        ensure(list.iter().all(done), "an erasure that is no record, or done before it was asked for")?;
        let list: BTreeMap<u32, u32> = list.into_iter().collect();

        let ids = read_pairs(bytes)?;
        let id = below(self.links.leaves.len());
        let by = |by: u32| list.contains_key(&by);
        let is_id = |(number, erase): &(u32, u32)| {
            id(*number) && by(*erase) && self.links.defined(IdNo(*number)) < *erase
        };
        ensure(ids.is_sorted_by(|a, b| a < b) && ids.iter().all(is_id), "an erased id that is none")?;
        let devices = read_pairs(bytes)?;
        let device = below(self.devices.len());
        let is_device = |(number, erase): &(u32, u32)| device(*number) && by(*erase);
        let sorted = devices.is_sorted_by(|a, b| a.0 < b.0);
        ensure(sorted && devices.iter().all(is_device), "an erased device that is none")?;
        let records = read_pairs(bytes)?;
        let is_record = |(number, erase): &(u32, u32)| number < erase && by(*erase);
        let sorted = records.is_sorted_by(|a, b| a.0 < b.0);
        ensure(sorted && records.iter().all(is_record), "an erased record that is none")?;

        let mut restated: BTreeMap<u32, Left> = BTreeMap::new();
        for _ in 0..bytes.count(16)? {
            let [number, by] = numbers(bytes.take::<8>()?);
            let mut erased = Vec::new();
            for _ in 0..bytes.count(4)? {
                erased.push(
                    u16::try_from(bytes.u32()?)
                        .map_err(|_| Unsound("a value stands in no possible place"))?,
                );
            }
            let fits = number < by && record(by) && !erased.is_empty() && erased.is_sorted_by(|a, b| a < b);
            let follows = restated.last_key_value().is_none_or(|(last, _)| *last < number);
            ensure(fits && follows, "what is left of a record is out of order")?;
            restated.insert(number, Left { by, erased });
        }
        let mut renamed: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let person = below(self.persons.len());
        for _ in 0..bytes.count(12)? {
            let [number, after, erase] = numbers(bytes.take::<12>()?);
            let follows = renamed.last_key_value().is_none_or(|(last, _)| *last < number);
            ensure(follows && person(number) && id(after) && by(erase), "a person is called after no id")?;
            renamed.insert(number, (after, erase));
        }
        let (ids, devices, records) =
            (ids.into_iter().collect(), devices.into_iter().collect(), records.into_iter().collect());
        let called_after = Erasures::called_after(&renamed);
        Ok(Erasures { list, ids, devices, records, restated, renamed, called_after })
    }
}

fn read_pairs(bytes: &mut Bytes<'_>) -> Sound<Vec<(u32, u32)>> {
    let count = bytes.count(8)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let [first, second] = numbers(bytes.take::<8>()?);
        pairs.push((first, second));
    }
    Ok(pairs)
}

/// Ids as the digest shows them: 29 bytes each.
fn read_ids(bytes: &mut Bytes<'_>, links: &mut Links) -> Sound<()> {
    let count = bytes.count(29)?;
    links.leaves.reserve_exact(count);
    links.branches.reserve_exact(count);
    for number in 0..count as u32 {
        let [class, rest @ ..] = bytes.take::<29>()?;
        let [defined, slot, since, proof, proof_seq, events, identified_events] = numbers(rest);
        ensure(*class <= 3, "an unknown class of id")?;
        ensure(u64::from(defined) < MAX_RECORDS, "an id is defined in no record")?;
        let mut leaf = Leaf::new(StoredClass(*class));
        (leaf.events, leaf.identified_events) = (events, identified_events);
        ensure((slot == NONE) == (since == NONE), "an id joined a person in no record")?;
        if slot != NONE {
            ensure(u64::from(since) < MAX_RECORDS, "an id joined a person in a record that is not there")?;
            leaf.belong(slot, since);
        }
        links.leaves.push(leaf);
        links.branches.push(Branch { next: number, proof, proof_seq, defined });
    }
    Ok(())
}

/// What the bytes tell of a person that the state keeps elsewhere too.
struct Told {
    /// The record that founded it.
    founded: u32,
    /// The person that its group now belongs to.
    carries: u32,
}

/// Persons, each with its place in the union and its properties.
fn read_persons(
    bytes: &mut Bytes<'_>,
    links: &mut Links,
    profiles: &mut Profiles,
    records: u32,
) -> Sound<(Vec<Person>, Vec<Told>)> {
    let count = bytes.count(48)?;
    ensure(count < ROOT as usize, "more persons than there can be")?;
    let (mut persons, mut told) = (Vec::with_capacity(count), Vec::with_capacity(count));
    links.slots.reserve_exact(count);
    let mut properties = Vec::new();
    for number in 0..count as u32 {
        let [founding, founded, identified_by, users, first_user, parent, since, carries] =
            numbers(bytes.take::<32>()?);
        let created_at = bytes.u64()? as i64;
        let entries = bytes.count(12)?;
        ensure(entries <= records as usize, "more properties than records")?;
        properties.clear();
        for _ in 0..entries {
            let [key, seq, place] = numbers(bytes.take::<12>()?);
            let place = u16::try_from(place).map_err(|_| Unsound("a value stands in no possible place"))?;
            properties.push(Property { key: KeyNo(key), seq, place });
        }
        ensure(properties.is_sorted_by(|a, b| a.key < b.key), "a profile's keys are out of order")?;
        let profile = profiles.add(&properties);
        persons.push(Person {
            created_at,
            founding: IdNo(founding),
            identified_by,
            users,
            first_user,
            profile,
        });
        ensure((parent == number) == (since == NONE), "persons joined in no possible order")?;
        ensure((parent as usize) < count, "a person joined nobody")?;
        let is_root = parent == number;
        links.slots.push(if is_root { Slot::root(0, carries) } else { Slot::joined(parent, since) });
        told.push(Told { founded, carries });
    }
    Ok((persons, told))
}

fn read_carried(bytes: &mut Bytes<'_>, links: &mut Links) -> Sound<()> {
    let mut carried: BTreeMap<u32, Vec<(u32, PersonNo)>> = BTreeMap::new();
    for _ in 0..bytes.count(12)? {
        let [slot, since, person] = numbers(bytes.take::<12>()?);
        ensure(carried.last_key_value().is_none_or(|(last, _)| *last <= slot), "groups are out of order")?;
        carried.entry(slot).or_default().push((since, PersonNo(person)));
    }
    links.carried = carried;
    Ok(())
}

fn read_generations(bytes: &mut Bytes<'_>, into: &mut Generations, persons: &[Person]) -> Sound<()> {
    let rising = |holds: bool| ensure(holds, "former generations are told of in no order");
    for _ in 0..bytes.count(8)? {
        let [person, successor] = numbers(bytes.take::<8>()?);
        rising(into.retired.last_key_value().is_none_or(|(last, _)| last.0 < person))?;
        into.retired.insert(PersonNo(person), (successor != NONE).then_some(PersonNo(successor)));
    }
    for _ in 0..bytes.count(9)? {
        let [numbers_of @ .., split] = bytes.take::<9>()?;
        let [person, founded] = numbers(numbers_of);
        rising(into.origins.last_key_value().is_none_or(|(last, _)| last.0 < person))?;
        ensure(*split <= 1, "a person came to be in an unknown way")?;
        let founding =
            persons.get(person as usize).ok_or(Unsound("a person that is none came to be"))?.founding;
        into.origin(PersonNo(person), founding, Origin { founded, split: *split == 1 });
    }
    for _ in 0..bytes.count(16)? {
        let [id, until, slot, since] = numbers(bytes.take::<16>()?);
        rising(into.former.last_key_value().is_none_or(|(last, _)| last.0 <= id))?;
        into.former.entry(IdNo(id)).or_default().push(Former { until, slot, since });
    }
    for _ in 0..bytes.count(9)? {
        let [numbers_of @ .., retracted] = bytes.take::<9>()?;
        let [target, since] = numbers(numbers_of);
        rising(into.retractions.last_key_value().is_none_or(|(last, _)| *last <= target))?;
        ensure(*retracted <= 1, "a record is neither retracted nor not")?;
        into.retractions.entry(target).or_default().push((since, *retracted == 1));
    }
    Ok(())
}

fn read_devices(bytes: &mut Bytes<'_>, ids: usize) -> Sound<Vec<Device>> {
    let count = bytes.count(9)?;
    let mut devices = Vec::with_capacity(count);
    for _ in 0..count {
        let [numbers_of @ .., flags] = bytes.take::<9>()?;
        let [current, anonymous] = numbers(numbers_of).map(IdNo);
        ensure(current.index() < ids && anonymous.index() < ids, "a device speaks for no id")?;
        ensure(*flags <= 3, "unknown flags of a device")?;
        devices.push(Device { current, anonymous, identified: flags & 1 != 0, profiled: flags & 2 != 0 });
    }
    Ok(devices)
}
