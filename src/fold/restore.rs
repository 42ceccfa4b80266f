//! The state out of its canonical bytes: for snapshots, which are caches and are never believed. Refuses to know files.
//!
//! The bytes are those that the state digest is made of (`docs/format.md`, "State digest"), so a state has one encoding, and
//! its digest says whether it was read right. The reader takes any bytes: what it lets pass can be asked and folded further
//! without a panic or an endless climb, even if it was forged.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::delta::{Deltas, Key, Mark, Write};
use crate::fold::digest::{ERASURES, EVENT_TIMES, FOLLOWED, GENERATIONS, RECLASSIFIED, RELATIVE, SHARED};
use crate::fold::erasures::{Erasures, Left};
use crate::fold::fold_cache::FoldCache;
use crate::fold::generations::{Former, Generations, Origin, Reclassified};
use crate::fold::kinds::Kinds;
use crate::fold::links::{Branch, Leaf, Links, NONE, PersonNo, ROOT, Slot, USER};
use crate::fold::profile::{Profiles, Property};
use crate::fold::shared::{Interval, Intervals, SharedIds};
use crate::fold::{DeviceState, Person, State};
use crate::log::body::{Followed, IdNo, KeyNo, StoredClass, StoredPolicy};
use crate::log::codec;
use crate::model::class::IdClass;
use crate::model::limits::MAX_RECORDS;
use crate::model::time::Timestamp;

/// The version of the rules that make a state of records. A snapshot of another version does not lead
/// to this version's state.
pub(crate) const FOLD_VERSION: u32 = 4;

/// Steps to the root of a union by size: it has at most as many levels as the largest number of ids has binary digits.
const MAX_CLIMB: usize = 30;

/// What is wrong with bytes that are not a state.
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

    /// How many things follow that take at least `each` bytes each. So room is never made for more than there
    /// can be.
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
        let (policy, taken) = StoredPolicy::read(bytes.0).map_err(|_| Unsound("the policy is unreadable"))?;
        bytes.0 = &bytes.0[taken..];
        let policy = policy.policy().ok_or(Unsound("the policy is out of its bounds or not canonical"))?;

        let (mut links, mut kinds) = (Links::default(), Kinds::default());
        read_ids(&mut bytes, &mut links, &mut kinds)?;
        let mut profiles = Profiles::default();
        let (persons, told) = read_persons(&mut bytes, &mut links, &mut profiles, records)?;
        read_carried(&mut bytes, &mut links)?;
        let devices = read_devices(&mut bytes, links.leaves.len())?;
        let keys = bytes.u32()?;
        let mut generations = Generations::default();
        let mut part = bytes.part()?;
        if part == Some(GENERATIONS) {
            read_generations(&mut bytes, &mut generations, &mut links, &persons)?;
            ensure(!generations.is_empty(), "former generations are told of, and there are none")?;
            part = bytes.part()?;
        }
        let mut state = State {
            records,
            policy,
            supposed: false,
            supposed_kinds: BTreeMap::new(),
            policy_seq,
            links,
            kinds,
            shared: SharedIds::default(),
            persons,
            profiles,
            marks: BTreeMap::new(),
            deltas: BTreeMap::new(),
            devices,
            generations,
            keys,
            erasures: Erasures::default(),
            followed: None,
            folds: FoldCache::default(),
        };
        if part == Some(ERASURES) {
            state.erasures = state.read_erasures(&mut bytes)?;
            part = bytes.part()?;
        }
        if part == Some(FOLLOWED) {
            let (followed, taken) = codec::decode::<Followed>(bytes.0)
                .map_err(|_| Unsound("the position of the followed log is unreadable"))?;
            ensure(followed.is_canonical(), "the name of the followed log is out of its bounds")?;
            bytes.0 = &bytes.0[taken..];
            state.followed = Some(Box::new(followed));
            part = bytes.part()?;
        }
        if part == Some(SHARED) {
            state.read_shared(&mut bytes)?;
            part = bytes.part()?;
        }
        if part == Some(RECLASSIFIED) {
            state.read_reclassified(&mut bytes)?;
            part = bytes.part()?;
        }
        if part == Some(RELATIVE) {
            state.read_deltas(&mut bytes)?;
            part = bytes.part()?;
        }
        if part == Some(EVENT_TIMES) {
            state.read_marks(&mut bytes)?;
            part = bytes.part()?;
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
        self.count_kinds();
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
            ensure(told.carries == carries, "a group belongs to another person than was noted")?;
        }
        for (slot, list) in &self.links.carried {
            let group = roots.get(*slot as usize);
            ensure(group.is_some(), "a group that does not exist changed hands")?;
            ensure(list.is_sorted_by(|a, b| a.0 < b.0), "a group changed hands in no order")?;
            for (since, person) in list {
                ensure(*since < self.records, "a group changed hands in a record that is not there")?;
                ensure(roots.get(person.index()) == group, "a group belongs to a person outside it")?;
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
            let root =
                *roots.get(leaf.slot as usize).ok_or(Unsound("an id belongs to no known group"))? as usize;
            slots[root].grow(1);
            users[root] += u32::from(leaf.is_user());
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
        // By which walk an id was first reached: a walk that comes back to its own steps would never end.
        let mut reached = vec![NONE; branches.len()];
        for (number, branch) in (0..).zip(branches) {
            if branch.proof == NONE {
                ensure(branch.proof_seq == NONE, "a proof names a record and no id")?;
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
            // Rising, so that every climb ends.
            let rises = successor.is_none_or(|successor| *person < successor && successor.index() < persons);
            ensure(rises, "a former person became one that does not exist")?;
        }
        ensure(
            origins.values().all(|origin| origin.founded < self.records),
            "a person came to be in no record",
        )?;
        for (id, formers) in former {
            ensure(id.index() < self.links.leaves.len(), "an id that does not exist belonged to a person")?;
            ensure(formers.is_sorted_by(|a, b| a.until < b.until), "generations are out of order")?;
            for Former { until, slot, since } in formers {
                ensure(*until < self.records, "a generation ended in no record")?;
                let fits =
                    if *slot == NONE { *since == NONE } else { (*slot as usize) < persons && since < until };
                ensure(fits, "an id belonged to a person that did not exist")?;
            }
        }
        for (target, retracts) in retractions {
            let fits = retracts.is_sorted_by(|a, b| a < b)
                && retracts.iter().all(|by| target < by && *by < self.records);
            ensure(fits, "a record was retracted in no possible record")?;
        }
        for (root, ids) in self.links.left() {
            let of_a_person =
                self.links.slots.get(root as usize).is_some_and(|slot| slot.is_root() && slot.size() > 0);
            ensure(of_a_person && ids > 0, "ids left a group that does not exist")?;
        }
        Ok(())
    }

    fn count_kinds(&mut self) {
        for id in self.links.ids() {
            if let Some(person) = self.links.person(id) {
                self.kinds.join(id, person);
            }
        }
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
            // A split may have taken ids from an absorbed person since.
            let counted = survives || self.generations.is_empty();
            if let Some(first) = (person.first_user != NONE).then_some(IdNo(person.first_user)) {
                let leaf =
                    leaves.get(first.index()).ok_or(Unsound("a person's first user does not exist"))?;
                let theirs = roots.get(leaf.slot as usize) == Some(&root) && self.is_user(first);
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
        ensure(list.iter().all(done), "an erasure that is not a record, or done before it was asked for")?;
        let list: BTreeMap<u32, u32> = list.into_iter().collect();

        let ids = read_pairs(bytes)?;
        let id = below(self.links.leaves.len());
        let by = |by: u32| list.contains_key(&by);
        let is_id = |(number, erase): &(u32, u32)| {
            id(*number) && by(*erase) && self.links.defined(IdNo(*number)) < *erase
        };
        ensure(ids.is_sorted_by(|a, b| a < b) && ids.iter().all(is_id), "an erased id that does not exist")?;
        let devices = read_pairs(bytes)?;
        let device = below(self.devices.len());
        let is_device = |(number, erase): &(u32, u32)| device(*number) && by(*erase);
        let sorted = devices.is_sorted_by(|a, b| a.0 < b.0);
        ensure(sorted && devices.iter().all(is_device), "an erased device that does not exist")?;
        let records = read_pairs(bytes)?;
        let is_record = |(number, erase): &(u32, u32)| number < erase && by(*erase);
        let sorted = records.is_sorted_by(|a, b| a.0 < b.0);
        ensure(sorted && records.iter().all(is_record), "an erased record that does not exist")?;

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
        Ok(Erasures { list, ids, devices, records, restated, renamed, called_after, ..Erasures::default() })
    }
}

/// The part that shared ids make.
impl State {
    fn read_shared(&mut self, bytes: &mut Bytes<'_>) -> Sound<()> {
        let count = bytes.count(21)?;
        ensure(count > 0, "shared ids are told of, and there are none")?;
        let mut last = None;
        for _ in 0..count {
            let id = bytes.u32()?;
            let exists = last.replace(id) < Some(id) && (id as usize) < self.links.leaves.len();
            ensure(exists, "a shared id that does not exist")?;
            let id = IdNo(id);
            let [shared] = *bytes.take::<1>()?;
            let may_be = shared == 0 || shared == 1 && self.class(id) == IdClass::Unmergeable;
            ensure(may_be, "an id is shared and of another class")?;
            let mut intervals = Intervals::default();
            for _ in 0..bytes.count(12)? {
                intervals.stand.push(self.read_interval(bytes, id)?);
            }
            for _ in 0..bytes.count(16)? {
                let interval = self.read_interval(bytes, id)?;
                let until = bytes.u32()?;
                ensure(interval.since < until && until < self.records, "an interval ended in no record")?;
                intervals.former.push((interval, until));
            }
            let sorted = intervals.stand.is_sorted_by(|a, b| a.begin < b.begin)
                && intervals.former.is_sorted_by(|a, b| a < b);
            ensure(sorted, "intervals of a shared id are out of order")?;
            let none = intervals.stand.is_empty() && intervals.former.is_empty();
            ensure(shared == 1 || !none, "an id is told of that was never shared")?;
            self.shared.set(id, shared == 1);
            if !none {
                self.shared.put(id, intervals);
            }
        }
        Ok(())
    }

    fn read_interval(&self, bytes: &mut Bytes<'_>, of: IdNo) -> Sound<Interval> {
        let [begin, since, whom] = numbers(bytes.take::<12>()?);
        let is_id = (whom as usize) < self.links.leaves.len() && whom != of.0;
        ensure(whom == NONE || is_id, "a shared id speaks for one that does not exist")?;
        let in_order = self.links.defined(of) < begin && begin <= since && since < self.records;
        ensure(in_order, "a shared id speaks for another since no possible record")?;
        Ok(Interval { begin, since, whom })
    }
}

/// The part that reclassifications make.
impl State {
    fn read_reclassified(&mut self, bytes: &mut Bytes<'_>) -> Sound<()> {
        let count = bytes.count(9)?;
        ensure(count > 0, "reclassified ids are told of, and there are none")?;
        let mut last = None;
        for _ in 0..count {
            let [numbers_of @ .., defined] = bytes.take::<9>()?;
            let ([id, by], defined) = (numbers(numbers_of), StoredClass(*defined));
            let is_id = last.replace(id) < Some(id) && (id as usize) < self.links.leaves.len();
            ensure(is_id, "a reclassified id that does not exist")?;
            ensure(defined.is_known(), "an unknown class of id")?;
            let id = IdNo(id);
            let fits = match by {
                NONE => self.stored_class(id) == defined,
                by => self.links.defined(id) < by && by < self.records,
            };
            ensure(fits, "an id was reclassified in no possible record")?;
            self.generations.reclassified.insert(id, Reclassified { defined, by });
        }
        Ok(())
    }
}

/// The part that values by event time make.
impl State {
    fn read_marks(&mut self, bytes: &mut Bytes<'_>) -> Sound<()> {
        let count = bytes.count(9)?;
        ensure(count > 0, "event times are told of, and there are none")?;
        let mut last = None;
        for _ in 0..count {
            let [person, key] = numbers(bytes.take::<8>()?);
            let [has] = *bytes.take::<1>()?;
            ensure(matches!(has, 0 | 1 | 3..=5 | 7), "an event time of no write")?;
            let (sets, key, person) = (has & 2 != 0, KeyNo(key), PersonNo(person));
            ensure(last.replace((person, key)) < Some((person, key)), "event times are out of order")?;
            let of = self.read_key(person, key)?;
            let mut write = |bit| if has & bit == 0 { Ok(None) } else { self.read_write(bytes).map(Some) };
            let (floor, once) = (write(1)?, write(4)?);
            ensure(
                [floor, once].iter().flatten().all(Write::is_timed),
                "a write by record has an event time",
            )?;
            ensure(once.is_none_or(|once| floor < Some(once)), "a write counts that came too early")?;
            let mark = Mark { floor, sets, once };
            ensure(has != 0 || of.entry.is_some(), "an event time of no write")?;
            ensure(mark.fits(key, &of), "an event time of a value that is not there")?;
            self.marks.entry(person).or_default().insert(key, mark);
        }
        Ok(())
    }

    /// What is read so far of a key.
    fn read_key(&self, person: PersonNo, key: KeyNo) -> Sound<Key> {
        let exists = person.index() < self.persons.len() && key.0 < self.keys;
        ensure(exists, "something is known of no person or key")?;
        let entry = self.view(person).standing_of(key);
        let deltas = entry.and_then(|entry| entry.deltas).cloned().unwrap_or_default();
        let entry = entry.map(|entry| entry.property);
        Ok(Key { entry, mark: None, alone: deltas.alone, deltas: deltas.list })
    }

    fn read_deltas(&mut self, bytes: &mut Bytes<'_>) -> Sound<()> {
        let count = bytes.count(33)?;
        ensure(count > 0, "relative changes are told of, and there are none")?;
        let mut last = None;
        for _ in 0..count {
            let [person, key] = numbers(bytes.take::<8>()?);
            let (key, person) = (KeyNo(key), PersonNo(person));
            ensure(last.replace((person, key)) < Some((person, key)), "relative changes are out of order")?;
            let [alone] = *bytes.take::<1>()?;
            ensure(alone <= 1, "relative changes are alone or not")?;
            let entry = self.read_key(person, key)?.entry;
            let mut list = BTreeSet::new();
            for _ in 0..bytes.count(16)? {
                let write = self.read_write(bytes)?;
                ensure(list.last() < Some(&write), "relative changes are out of order")?;
                list.insert(write);
            }
            let first = list.first().ok_or(Unsound("relative changes are told of, and there are none"))?;
            let is_first = entry == Some(first.of(key));
            ensure(
                entry.is_some() && is_first == (alone == 1),
                "relative changes of a value that is not there",
            )?;
            let deltas = Deltas { alone: alone == 1, list };
            self.deltas.entry(person).or_default().insert(key, deltas);
        }
        Ok(())
    }

    fn read_write(&self, bytes: &mut Bytes<'_>) -> Sound<Write> {
        let time = i64::from_le_bytes(*bytes.take()?);
        let [seq, place] = numbers(bytes.take::<8>()?);
        let in_range = time == Write::UNTIMED || Timestamp::from_micros(time).is_ok();
        ensure(in_range, "an event time outside the years 0001 to 9999")?;
        ensure(seq < self.records, "an event time of no record")?;
        let place = u16::try_from(place).map_err(|_| Unsound("a value stands in no possible place"))?;
        Ok(Write { time, seq, place })
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
fn read_ids(bytes: &mut Bytes<'_>, links: &mut Links, kinds: &mut Kinds) -> Sound<()> {
    let count = bytes.count(29)?;
    links.leaves.reserve_exact(count);
    links.branches.reserve_exact(count);
    for number in 0..count as u32 {
        let [class, rest @ ..] = bytes.take::<29>()?;
        let [defined, slot, since, proof, proof_seq, events, identified_events] = numbers(rest);
        let is_user = class & 3 == USER;
        let recorded = if is_user { StoredClass(class & !3) } else { StoredClass(*class) };
        ensure(recorded.is_known(), "an unknown class of id")?;
        kinds.set(IdNo(number), recorded.kind());
        ensure(u64::from(defined) < MAX_RECORDS, "an id is defined in no record")?;
        let mut leaf = Leaf::new(recorded);
        if is_user {
            leaf.sign_in();
        }
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
        ensure((parent as usize) < count, "a person joined one that does not exist")?;
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

fn read_generations(
    bytes: &mut Bytes<'_>,
    into: &mut Generations,
    links: &mut Links,
    persons: &[Person],
) -> Sound<()> {
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
            persons.get(person as usize).ok_or(Unsound("a person that does not exist came to be"))?.founding;
        into.origin(PersonNo(person), founding, Origin { founded, split: *split == 1 });
    }
    for _ in 0..bytes.count(16)? {
        let [id, until, slot, since] = numbers(bytes.take::<16>()?);
        rising(into.former.last_key_value().is_none_or(|(last, _)| last.0 <= id))?;
        into.former.entry(IdNo(id)).or_default().push(Former { until, slot, since });
    }
    for (target, by) in read_pairs(bytes)? {
        rising(into.retractions.last_key_value().is_none_or(|(last, _)| *last <= target))?;
        into.retract(target, by);
    }
    for (root, ids) in read_pairs(bytes)? {
        rising(links.left.last_key_value().is_none_or(|(last, _)| *last < root))?;
        links.left.insert(root, ids);
    }
    Ok(())
}

fn read_devices(bytes: &mut Bytes<'_>, ids: usize) -> Sound<Vec<DeviceState>> {
    let count = bytes.count(9)?;
    let mut devices = Vec::with_capacity(count);
    for _ in 0..count {
        let [numbers_of @ .., flags] = bytes.take::<9>()?;
        let [current, anonymous] = numbers(numbers_of).map(IdNo);
        ensure(current.index() < ids && anonymous.index() < ids, "a device speaks for no id")?;
        ensure(*flags <= 3, "unknown flags of a device")?;
        devices.push(DeviceState {
            current,
            anonymous,
            identified: flags & 1 != 0,
            profiled: flags & 2 != 0,
        });
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::{ErasureRequest, ErasureSubject};
    use crate::model::policy::ValuesBy;
    use crate::{Changes, OperationId, Processing, PropertyKey, Source, SplitMode, Target, Tenant};
    use crate::{DeviceId, DistinctId, Ledger, Operation, Policy};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000).unwrap()
    }

    pub(super) fn id(text: &str) -> DistinctId {
        DistinctId::new(text).unwrap()
    }

    fn link(who: &str, source: &str) -> Operation {
        Operation::identify(at(1), id(who), Some(Source::new(source)))
    }

    /// Three persons become one in two steps, the smaller group surviving the first: dora's edge leads to ann's, ann's to bob's.
    fn merged() -> Ledger {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let mut ask = |operation| {
            let _ = ledger.append(operation).unwrap();
        };
        ask(Operation::properties(at(1), id("dora")).set("plan", "pro").unwrap());
        ask(link("ann", "web").set("email", "a@example.com").unwrap());
        for phone in ["b1", "b2", "b3", "b4"] {
            ask(link("bob", phone));
        }
        ask(Operation::merge_dangerously(at(2), id("dora"), Source::new("ann")));
        ask(Operation::merge_dangerously(at(2), id("bob"), Source::new("dora")));
        ask(Operation::alias(at(3), id("cat"), Source::new("web 2")).set("plan", "free").unwrap());
        let capture = Operation::capture(at(4), id("nobody"), OperationId(uuid::Uuid::from_u128(4)));
        ask(capture.with_processing(Processing::Off));
        let _ = ledger
            .device(DeviceId::new("d").unwrap())
            .identify(at(5), id("eve"), Changes::default())
            .unwrap();
        ledger
    }

    /// The same and something in each of the other parts.
    fn full() -> State {
        let mut ledger = merged();
        let wrong = ledger.append(link("fay", "phone")).unwrap().seq().unwrap();
        let _ = ledger.append(link("tablet", "fay")).unwrap();
        let _ = ledger.append(Operation::retract(at(6), Target::Record(wrong))).unwrap();
        drop(ledger.append_batch(&[link("gus", "g1"), link("gus", "g2")]).unwrap());
        let _ = ledger.append(Operation::split(at(7), id("g1"), [id("gus")], SplitMode::Together)).unwrap();
        drop(
            ledger.append_batch(&[link("ivy", "i1"), link("joe", "j1").set("plan", "pro").unwrap()]).unwrap(),
        );
        let ivy = ErasureSubject::Ids([id("ivy")].into());
        let joe = ErasureRequest::new(at(8), ErasureSubject::PersonOf(id("joe")), "");
        let joe = joe.with_keys([PropertyKey::new("plan").unwrap()]);
        ledger.erase(&[ErasureRequest::new(at(8), ivy, ""), joe]).unwrap();
        let mut state = ledger.reader().state().clone();
        state.followed = Some(Box::new(Followed { log: "shop".to_owned(), position: 7 }));
        state
    }

    fn bytes(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.canonical(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn a_state_reads_back_with_all_that_no_digest_covers() {
        let mut nobody = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let capture = Operation::capture(at(1), id("nobody"), OperationId(uuid::Uuid::from_u128(1)));
        let capture = nobody.append(capture.with_processing(Processing::Off)).unwrap().seq().unwrap();
        let _ = nobody.append(Operation::retract(at(2), Target::Record(capture))).unwrap();
        for state in
            [merged().reader().state().clone(), full(), nobody.reader().state().clone(), reclassified()]
        {
            let read = State::from_canonical(&bytes(&state)).unwrap();
            assert_eq!(read.digest(), state.digest());
            assert_eq!(read.devices, state.devices);
            assert_eq!(read.followed, state.followed);
            assert_eq!(read.generations.retractions, state.generations.retractions);
            assert_eq!(read.generations.reclassified, state.generations.reclassified);
            assert_eq!(read.generations.anchors, state.generations.anchors);
            assert_eq!(read.generations.latest, state.generations.latest);
            assert_eq!(read.links.left, state.links.left);
            assert_eq!(read.erasures.called_after, state.erasures.called_after);
            for person in state.persons() {
                assert_eq!(read.ids_of(person.number), state.ids_of(person.number));
                assert_eq!(read.links.size(person.number), state.links.size(person.number));
            }
        }
        let state = full();
        assert!(!state.generations.anchors.is_empty() && !state.erasures.called_after.is_empty());
    }

    #[test]
    fn a_position_of_a_followed_log_has_a_name_and_ends_the_state() {
        for (log, position, expected) in
            [("shop", u64::MAX, None), ("", 0, Some("the name of the followed log is out of its bounds"))]
        {
            let mut state = merged().reader().state().clone();
            state.followed = Some(Box::new(Followed { log: log.to_owned(), position }));
            let bytes = bytes(&state);
            let read = State::from_canonical(&bytes);
            assert_eq!(read.as_ref().err().map(|Unsound(what)| *what), expected);
            assert!(State::from_canonical(&[&bytes[..], &[0]].concat()).is_err());
            assert!(State::from_canonical(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    /// `phone` and `cat` were reclassified, of which that of `cat` was retracted. There are 13 records.
    fn reclassified() -> State {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        drop(ledger.append_batch(&[link("ann", "phone"), link("bob", "phone"), link("cat", "bob")]).unwrap());
        let mut give =
            |text, class| ledger.append(Operation::reclassify(at(2), id(text), class)).unwrap().seq();
        give("phone", crate::IdClass::Unmergeable);
        let cat = give("cat", crate::IdClass::Anonymous).unwrap();
        let _ = ledger.append(Operation::retract(at(3), Target::Record(cat))).unwrap();
        ledger.reader().state().clone()
    }

    #[test]
    fn reclassified_ids_exist_and_were_so_by_a_record_that_can_have_done_it() {
        fn give(state: &mut State, id: u32, defined: u8, by: u32) {
            let defined = StoredClass(defined);
            state.generations.reclassified.insert(IdNo(id), Reclassified { defined, by });
        }
        let base = reclassified();
        let ids = base.generations.reclassified.keys().copied().collect::<Vec<_>>();
        assert_eq!((ids, base.records), (vec![IdNo(1), IdNo(3)], 11));
        hold(
            &base,
            &[
                ("", |_| {}),
                ("a reclassified id that does not exist", |state| give(state, 4, 0, 9)),
                ("an unknown class of id", |state| give(state, 0, 17 << 2, 9)),
                ("an id was reclassified in no possible record", |state| give(state, 3, 2, NONE)),
                ("an id was reclassified in no possible record", |state| give(state, 0, 0, 1)),
                ("an id was reclassified in no possible record", |state| give(state, 0, 0, 11)),
                ("", |state| give(state, 0, 2, 10)),
            ],
        );
    }

    /// By event time: key 0 is set at 5 and changed relatively at 9, key 1 is only changed relatively, key 2 is removed at 7.
    fn relative() -> State {
        let policy = Policy { values_by: ValuesBy::EventTime, ..Policy::default() };
        let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
        let ann = |second| Operation::properties(at(second), id("ann"));
        let asked = [
            ann(5).set("a", 1).unwrap(),
            ann(9).add("a", 1).unwrap(),
            ann(4).append("b", ["x"]).unwrap(),
            ann(7).unset("c").unwrap(),
        ];
        for operation in asked {
            let _ = ledger.append(operation).unwrap();
        }
        ledger.reader().state().clone()
    }

    #[test]
    fn relative_changes_and_event_times_are_of_values_that_are_there() {
        fn deltas(state: &mut State, key: u32) -> &mut Deltas {
            state.deltas.get_mut(&PersonNo(0)).unwrap().get_mut(&KeyNo(key)).unwrap()
        }
        fn mark(state: &mut State, key: u32) -> &mut Mark {
            state.marks.get_mut(&PersonNo(0)).unwrap().get_mut(&KeyNo(key)).unwrap()
        }
        fn moved(state: &mut State, key: u32, change: impl Fn(&mut Write)) {
            let mut first = deltas(state, key).list.pop_first().unwrap();
            change(&mut first);
            deltas(state, key).list.insert(first);
        }
        let none = "relative changes are told of, and there are none";
        let absent = "relative changes of a value that is not there";
        let misfit = "an event time of a value that is not there";
        hold(
            &relative(),
            &[
                ("", |_| {}),
                (none, |state| deltas(state, 0).list.clear()),
                (absent, |state| deltas(state, 0).alone = true),
                (absent, |state| deltas(state, 1).alone = false),
                (absent, |state| moved(state, 1, |write| write.place = 1)),
                (absent, |state| {
                    let deltas = deltas(state, 0).clone();
                    state.deltas.get_mut(&PersonNo(0)).unwrap().insert(KeyNo(2), deltas);
                }),
                ("something is known of no person or key", |state| {
                    let deltas = deltas(state, 0).clone();
                    state.deltas.get_mut(&PersonNo(0)).unwrap().insert(KeyNo(3), deltas);
                }),
                ("an event time outside the years 0001 to 9999", |state| {
                    moved(state, 0, |write| write.time = i64::MAX)
                }),
                ("an event time of no record", |state| moved(state, 0, |write| write.seq = 100)),
                (misfit, |state| moved(state, 0, |write| write.time = Write::UNTIMED)),
                (misfit, |state| moved(state, 0, |write| write.time = 4_000_000)),
                (misfit, |state| mark(state, 0).sets = false),
                (misfit, |state| {
                    mark(state, 2).once = mark(state, 2).floor.map(|floor| Write { time: 8_000_000, ..floor })
                }),
                ("a write counts that came too early", |state| {
                    mark(state, 0).once = mark(state, 0).floor.map(|floor| Write { time: 1, ..floor });
                }),
                ("a write by record has an event time", |state| {
                    mark(state, 0).floor.as_mut().unwrap().time = Write::UNTIMED;
                }),
                ("an event time of no write", |state| *mark(state, 2) = Mark::default()),
                ("", |state| state.marks.clear()),
            ],
        );
        assert_eq!(State::from_canonical(&bytes(&relative())).unwrap().deltas, relative().deltas);
    }

    /// A kiosk that spoke for Ann until her sign-in, record 3, was retracted by record 6, and that speaks for Bob since record 5.
    fn shared() -> State {
        let policy = Policy { shared_ids: ["kiosk".to_owned()].into(), ..Policy::default() };
        let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
        let ann = ledger.append(link("ann", "kiosk")).unwrap().seq().unwrap();
        let _ = ledger.append(link("bob", "kiosk")).unwrap();
        let _ = ledger.append(Operation::retract(at(3), Target::Record(ann))).unwrap();
        ledger.reader().state().clone()
    }

    #[test]
    fn shared_ids_speak_for_ids_that_exist_since_records_that_can_have_said_so() {
        fn kiosk(state: &mut State) -> &mut Intervals {
            state.shared.intervals.get_mut(&IdNo(1)).unwrap()
        }
        let unknown = "a shared id speaks for one that does not exist";
        let never = "a shared id speaks for another since no possible record";
        let base = shared();
        assert_eq!(base.records, 7);
        hold(
            &base,
            &[
                ("", |_| {}),
                ("an id is shared and of another class", |state| state.shared.set(IdNo(0), true)),
                ("", |state| state.shared.set(IdNo(1), false)),
                ("an id is told of that was never shared", |state| {
                    state.shared.put(IdNo(0), Intervals::default())
                }),
                ("a shared id that does not exist", |state| state.shared.put(IdNo(3), Intervals::default())),
                (unknown, |state| kiosk(state).stand[0].whom = 3),
                (unknown, |state| kiosk(state).stand[0].whom = 1),
                ("", |state| kiosk(state).stand[0].whom = NONE),
                (never, |state| kiosk(state).stand[0].begin = 2),
                (never, |state| kiosk(state).stand[0].since = 7),
                (never, |state| kiosk(state).stand[0].since = 4),
                ("an interval ended in no record", |state| kiosk(state).former[0].1 = 7),
                ("an interval ended in no record", |state| kiosk(state).former[0].1 = 3),
                ("intervals of a shared id are out of order", |state| {
                    let first = kiosk(state).stand[0];
                    kiosk(state).stand.push(first);
                }),
            ],
        );
    }

    /// What is refused, as it is said; an empty text stands for what passes. Each edit is one that a forger of digests could make.
    type Case<T> = (&'static str, fn(&mut T));

    fn retire(state: &mut State, person: u32, successor: Option<PersonNo>) {
        state.generations.retired.insert(PersonNo(person), successor);
    }

    fn come_back(state: &mut State, person: u32) {
        state.generations.retired.remove(&PersonNo(person)).unwrap();
    }

    fn retract(state: &mut State, target: u32, by: &[u32]) {
        state.generations.retractions.insert(target, by.to_vec());
    }

    fn leave(state: &mut State, root: u32, ids: u32) {
        state.links.left.insert(root, ids);
    }

    /// Another edge of the union than there is; a root's is nothing.
    fn joins(state: &mut State, slot: usize, other: fn((u32, u32)) -> (u32, u32)) {
        let slot = &mut state.links.slots[slot];
        let (parent, since) = other(slot.edge().unwrap_or_default());
        *slot = Slot::joined(parent, since);
    }

    /// The record by which an id came to its person.
    fn came(state: &mut State, id: usize, since: u32) {
        let leaf = &mut state.links.leaves[id];
        leaf.belong(leaf.slot, since);
    }

    fn hold(base: &State, cases: &[Case<State>]) {
        for (number, (expected, edit)) in cases.iter().enumerate() {
            let mut state = base.clone();
            edit(&mut state);
            let found = State::from_canonical(&bytes(&state)).err().map_or("", |unsound| unsound.0);
            assert_eq!(found, *expected, "case {number}");
        }
    }

    // In `full` are 50 records, and these ids: dora 0, ann 1, web 2, bob 3, his phones 4 to 7, cat 8, web 2 9, `nobody` 10, d 11, eve 12,
    // fay 13, phone 14, tablet 15, gus 16, g1 17, g2 18, ivy 19, i1 20, joe 21, j1 22. Persons: dora 0, who is in ann 1, who is in
    // bob 2; cat 3, eve 4, fay 5, whose group is tablet's 6 now, gus 7 and apart 8, ivy 9, joe 10.

    #[test]
    fn persons_join_in_the_order_of_records_and_belong_to_somebody_of_their_group() {
        let order = "persons joined in no possible order";
        hold(
            &full(),
            &[
                ("the number of records is out of range", |state| state.records = 0),
                ("", |state| state.records = MAX_RECORDS as u32),
                ("the number of records is out of range", |state| state.records = MAX_RECORDS as u32 + 1),
                ("the policy's record is not among the records", |state| state.policy_seq = 50),
                ("a person joined one that does not exist", |state| {
                    joins(state, 0, |(_, since)| (13, since))
                }),
                (order, |state| joins(state, 0, |(parent, _)| (parent, 18))),
                (order, |state| joins(state, 1, |(parent, _)| (parent, 50))),
                (order, |state| joins(state, 2, |(parent, _)| (parent, 17))),
                ("a group that does not exist changed hands", |state| {
                    state.links.carried.insert(13, vec![(17, PersonNo(0))]);
                }),
                ("a group changed hands in no order", |state| {
                    state.links.carried.insert(1, vec![(17, PersonNo(0)), (17, PersonNo(0))]);
                }),
                ("a group changed hands in a record that is not there", |state| {
                    state.links.carried.insert(1, vec![(50, PersonNo(0))]);
                }),
                ("a group belongs to a person outside it", |state| {
                    state.links.carried.insert(1, vec![(17, PersonNo(3))]);
                }),
            ],
        );
        // Whose a group is stands twice in the bytes: with the person, and in the list of those that changed hands.
        let noted = |state: &mut State| drop(state.links.carried.insert(2, vec![(17, PersonNo(1))]));
        let (mut forged, mut other) = (bytes(&full()), full());
        noted(&mut other);
        let other = bytes(&other);
        let at = forged.iter().zip(&other).position(|(one, other)| one != other).expect("they differ");
        forged[at] = other[at];
        let found = State::from_canonical(&forged).unwrap_err().0;
        assert_eq!(found, "a group belongs to another person than was noted");
        let row_of = |persons: u32| {
            let mut state = merged().reader().state().clone();
            (state.links, state.persons) = (Links::default(), Vec::new());
            state.links.carried.clear();
            state.devices.clear();
            for number in 0..persons {
                state.links.define(number, StoredClass(0));
                state.links.found(IdNo(number), persons);
                let slot = &mut state.links.slots[number as usize];
                if number + 1 < persons {
                    *slot = Slot::joined(number + 1, number);
                }
                state.persons.push(Person {
                    created_at: 0,
                    founding: IdNo(number),
                    identified_by: NONE,
                    users: 0,
                    first_user: NONE,
                    profile: Default::default(),
                });
            }
            state.records = 2 * persons;
            State::from_canonical(&bytes(&state)).unwrap_err().0
        };
        // A union by size of as many ids as there can be has no longer row. The shorter one is refused for what comes next.
        assert_eq!(row_of(1 + MAX_CLIMB as u32), "a person's ids are not joined by proofs");
        assert_eq!(row_of(2 + MAX_CLIMB as u32), "persons joined in too long a row");
    }

    #[test]
    fn ids_are_defined_then_join_and_are_joined_by_proofs() {
        let (undefined, nowhere) =
            ("an id joined a person before it was defined", "an id joined a person in no record");
        let no_person = "a proof names an id that has no person";
        hold(
            &full(),
            &[
                ("ids are defined out of order", |state| {
                    state.links.branches[1].defined = state.links.branches[0].defined
                }),
                ("ids are defined out of order", |state| state.links.branches[22].defined = 50),
                ("", |state| state.links.leaves[10].events = 50),
                ("impossible counts of events", |state| state.links.leaves[10].events = 51),
                ("", |state| state.links.leaves[10].identified_events = 1),
                ("impossible counts of events", |state| state.links.leaves[10].identified_events = 2),
                (nowhere, |state| came(state, 2, MAX_RECORDS as u32)), // in none
                (nowhere, |state| came(state, 10, 40)),
                (undefined, |state| came(state, 2, state.links.branches[2].defined)),
                (undefined, |state| came(state, 2, 50)),
                ("an id belongs to no known group", |state| state.links.leaves[2].slot = 13),
                ("an id without a person has a proof", |state| state.links.branches[10].proof = 0),
                (no_person, |state| state.links.branches[2].proof = 10),
                (no_person, |state| state.links.branches[2].proof = 23),
                ("a proof joins two persons", |state| state.links.branches[2].proof = 8),
                ("a proof names a record that is not there", |state| state.links.branches[2].proof_seq = 50),
                ("a person's ids are not joined by proofs", |state| state.links.branches[2].proof = NONE),
                ("a proof goes in circles", |state| {
                    (state.links.branches[3].proof, state.links.branches[3].proof_seq) = (1, 17);
                }),
            ],
        );
    }

    #[test]
    fn a_person_is_founded_has_users_among_its_ids_and_properties_while_it_lives() {
        let first_user = "a person's first user is none of its ids";
        let ids = "a former person has ids, or a present one none";
        hold(
            &full(),
            &[
                ("a person was founded by no id", |state| state.persons[5].founding = IdNo(23)),
                ("a person was founded by an id of another", |state| state.persons[3].founding = IdNo(12)),
                ("", |state| state.persons[3].identified_by = 49),
                ("a person was identified in no record", |state| state.persons[3].identified_by = 50),
                ("", |state| state.persons[3].created_at = Timestamp::MAX.as_micros()),
                ("a time outside the years 0001 to 9999", |state| {
                    state.persons[3].created_at = Timestamp::MAX.as_micros() + 1
                }),
                ("a person's users are not counted", |state| state.persons[3].users = 0),
                ("a person's users are not counted", |state| state.persons[5].users = 1),
                (ids, |state| retire(state, 6, None)),
                // Her group is another's since her record was retracted: she may have joined that one as well.
                ("", |state| come_back(state, 5)),
                ("a person's first user does not exist", |state| state.persons[3].first_user = 23),
                (first_user, |state| state.persons[3].first_user = 12),
                (first_user, |state| state.persons[2].first_user = 4),
                ("", |state| state.persons[0].first_user = 12), // a split may have taken it
                ("wrong count of users", |state| state.persons[3].users = 2),
                ("wrong count of users", |state| state.persons[3].users = 3),
                ("", |state| state.persons[0].users = 9), // likewise
                ("an absorbed person has properties", |state| {
                    state.persons[1].profile = state.persons[2].profile
                }),
                ("a property of no key or no record", |state| state.keys = 1),
                ("a property of no key or no record", |state| {
                    let property = Property { key: KeyNo(0), seq: 50, place: 0 };
                    state.persons[3].profile = state.profiles.add(&[property]);
                }),
                ("a profile's keys are out of order", |state| {
                    let property = Property { key: KeyNo(0), seq: 49, place: 0 };
                    state.persons[3].profile = state.profiles.add(&[property, property]);
                }),
            ],
        );
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let wrong = ledger.append(link("fay", "phone")).unwrap().seq().unwrap();
        let _ = ledger.append(Operation::retract(at(6), Target::Record(wrong))).unwrap();
        hold(ledger.reader().state(), &[(ids, |state| come_back(state, 0))]);
        // Without retracts and splits, more is known.
        hold(
            merged().reader().state(),
            &[
                ("persons are founded out of order", |state| came(state, 1, state.links.leaves[3].since())),
                (first_user, |state| state.persons[0].first_user = 12),
                ("wrong count of users", |state| state.persons[1].users = 9),
            ],
        );
    }

    #[test]
    fn former_generations_are_of_persons_ids_and_records_that_were() {
        let successor = "a former person became one that does not exist";
        let nobody = "an id belonged to a person that did not exist";
        let impossible = "a record was retracted in no possible record";
        let gone = "ids left a group that does not exist";
        fn former(state: &mut State) -> &mut Former {
            &mut state.generations.former.get_mut(&IdNo(13)).unwrap()[0]
        }
        hold(
            &full(),
            &[
                ("a former person came to be in no record", |state| retire(state, 1, None)),
                ("", |state| retire(state, 5, None)),
                (successor, |state| retire(state, 5, Some(PersonNo(5)))),
                (successor, |state| retire(state, 5, Some(PersonNo(11)))),
                ("a person came to be in no record", |state| {
                    state.generations.origins.get_mut(&PersonNo(5)).unwrap().founded = 50;
                }),
                ("an id that does not exist belonged to a person", |state| {
                    state.generations.former.insert(IdNo(23), state.generations.former[&IdNo(13)].clone());
                }),
                ("generations are out of order", |state| {
                    let again = *former(state);
                    state.generations.former.get_mut(&IdNo(13)).unwrap().push(again);
                }),
                ("a generation ended in no record", |state| former(state).until = 50),
                (nobody, |state| former(state).slot = 13),
                (nobody, |state| former(state).since = 33),
                (nobody, |state| former(state).slot = NONE),
                ("", |state| (former(state).slot, former(state).since) = (NONE, NONE)),
                (impossible, |state| retract(state, 30, &[30])),
                (impossible, |state| retract(state, 30, &[50])),
                (impossible, |state| retract(state, 30, &[33, 33])),
                (impossible, |state| retract(state, NONE, &[33])),
                ("", |state| retract(state, 30, &[33, 34, 35])),
                (gone, |state| leave(state, 2, 0)),
                (gone, |state| leave(state, 6, 1)), // fay has the group that she had before
                (gone, |state| leave(state, 99, 1)),
                ("", |state| leave(state, 2, 1)),
            ],
        );
    }

    /// Counts as they stand in the bytes: 64 bits each.
    fn counted<T>(list: &[T], out: &mut Vec<u8>, mut each: impl FnMut(&T, &mut Vec<u8>)) {
        out.extend((list.len() as u64).to_le_bytes());
        list.iter().for_each(|one| each(one, out));
    }

    fn words(words: &[u32], out: &mut Vec<u8>) {
        words.iter().for_each(|word| out.extend(word.to_le_bytes()));
    }

    /// What erasures make of a state, in any order and as often as one likes.
    struct Erased {
        list: Vec<[u32; 2]>,
        ids: Vec<[u32; 2]>,
        devices: Vec<[u32; 2]>,
        records: Vec<[u32; 2]>,
        restated: Vec<([u32; 2], Vec<u32>)>,
        renamed: Vec<[u32; 3]>,
    }

    #[test]
    fn an_erasure_is_of_what_was_there_before_it_and_told_of_once() {
        let state = full();
        let (id, device) = ("an erased id that does not exist", "an erased device that does not exist");
        let (record, left) =
            ("an erased record that does not exist", "what is left of a record is out of order");
        let order = "erasures are out of order, or there is none";
        let done = "an erasure that is not a record, or done before it was asked for";
        let called = "a person is called after no id";
        let cases: [Case<Erased>; 36] = [
            ("", |_| ()),
            (order, |erased| erased.list.clear()),
            (order, |erased| erased.list.reverse()),
            (order, |erased| erased.list.push([47, 49])),
            (done, |erased| erased.list.push([50, NONE])),
            (done, |erased| erased.list[1] = [47, 50]),
            (done, |erased| erased.list[1] = [47, 47]),
            ("", |erased| erased.list[1] = [47, 48]),
            ("", |erased| erased.list[1] = [47, NONE]),
            ("", |erased| erased.ids = vec![[18, 46], [19, 46], [19, 47]]),
            (id, |erased| erased.ids = vec![[23, 46]]),
            (id, |erased| erased.ids = vec![[19, 48]]),
            (id, |erased| erased.ids = vec![[19, 46], [19, 46]]),
            (id, |erased| erased.ids = vec![[19, 46], [18, 46]]),
            (id, |erased| (erased.list, erased.ids) = (vec![[40, NONE]], vec![[19, 40]])), // what defines it
            (device, |erased| erased.devices = vec![[1, 46]]),
            (device, |erased| erased.devices = vec![[0, 48]]),
            (device, |erased| erased.devices = vec![[0, 46], [0, 47]]),
            ("", |erased| erased.records = vec![[40, 46], [45, 46]]),
            (record, |erased| erased.records = vec![[46, 46]]),
            (record, |erased| erased.records = vec![[45, 48]]),
            (record, |erased| erased.records = vec![[40, 46], [40, 47]]),
            ("", |erased| erased.restated = vec![([40, 48], vec![0]), ([45, 49], vec![0, 2])]),
            (left, |erased| erased.restated = vec![([45, 50], vec![0])]),
            (left, |erased| erased.restated = vec![([48, 48], vec![0])]),
            (left, |erased| erased.restated = vec![([45, 48], vec![])]),
            (left, |erased| erased.restated = vec![([45, 48], vec![1, 1])]),
            (left, |erased| erased.restated = vec![([45, 48], vec![0]), ([45, 49], vec![0])]),
            ("a value stands in no possible place", |erased| {
                erased.restated = vec![([45, 48], vec![1 << 16])]
            }),
            ("", |erased| erased.renamed = vec![[9, 20, 46], [10, 22, 47]]),
            (called, |erased| erased.renamed = vec![[11, 20, 46]]),
            (called, |erased| erased.renamed = vec![[9, 23, 46]]),
            (called, |erased| erased.renamed = vec![[9, 20, 48]]),
            (called, |erased| erased.renamed = vec![[10, 20, 46], [9, 20, 46]]),
            (called, |erased| erased.renamed = vec![[9, 20, 46], [9, 20, 46]]),
            ("the bytes end inside the state", |erased| erased.renamed = Vec::new()),
        ];
        for (number, (expected, edit)) in cases.into_iter().enumerate() {
            let mut erased = Erased {
                list: vec![[46, 49], [47, 49]],
                ids: vec![[19, 46]],
                devices: vec![[0, 46]],
                records: vec![[40, 46], [45, 47]],
                restated: vec![([45, 48], vec![0])],
                renamed: vec![[9, 20, 46]],
            };
            edit(&mut erased);
            let mut out = Vec::new();
            for pairs in [&erased.list, &erased.ids, &erased.devices, &erased.records] {
                counted(pairs, &mut out, |pair, out| words(pair, out));
            }
            counted(&erased.restated, &mut out, |(left, places), out| {
                words(left, out);
                counted(places, out, |place, out| words(&[*place], out));
            });
            counted(&erased.renamed, &mut out, |renamed, out| words(renamed, out));
            if expected == "the bytes end inside the state" {
                out.truncate(out.len() - 8);
            }
            let found = state.read_erasures(&mut Bytes(&out)).err().map_or("", |unsound| unsound.0);
            assert_eq!(found, expected, "case {number}");
        }
    }

    /// What retracts and splits left behind, likewise.
    struct Before {
        retired: Vec<[u32; 2]>,
        origins: Vec<([u32; 2], u8)>,
        former: Vec<[u32; 4]>,
        retractions: Vec<[u32; 2]>,
        left: Vec<[u32; 2]>,
    }

    #[test]
    fn lists_are_ascending_numbers_in_range_and_counts_what_follows() {
        let state = full();
        let order = "former generations are told of in no order";
        let cases: [Case<Before>; 11] = [
            ("", |_| ()),
            (order, |before| before.retired = vec![[5, 6], [5, 6]]),
            (order, |before| before.origins = vec![([5, 30], 0), ([5, 30], 0)]),
            ("a person that does not exist came to be", |before| before.origins = vec![([11, 30], 0)]),
            ("", |before| before.origins = vec![([10, 30], 1)]),
            ("a person came to be in an unknown way", |before| before.origins = vec![([10, 30], 2)]),
            ("", |before| before.former = vec![[13, 33, 5, 30], [13, 34, 5, 30]]),
            (order, |before| before.former = vec![[14, 33, 5, 30], [13, 33, 5, 30]]),
            ("", |before| before.retractions = vec![[30, 33], [30, 34]]),
            (order, |before| before.retractions = vec![[31, 33], [30, 34]]),
            (order, |before| before.left = vec![[2, 1], [2, 1]]),
        ];
        for (number, (expected, edit)) in cases.into_iter().enumerate() {
            let mut before = Before {
                retired: vec![[5, 6]],
                origins: vec![([5, 30], 0)],
                former: vec![[13, 33, 5, 30]],
                retractions: vec![[30, 33]],
                left: vec![[2, 1]],
            };
            edit(&mut before);
            let mut out = Vec::new();
            let flagged = |(numbers, flag): &([u32; 2], u8), out: &mut Vec<u8>| {
                words(numbers, out);
                out.push(*flag);
            };
            counted(&before.retired, &mut out, |pair, out| words(pair, out));
            counted(&before.origins, &mut out, flagged);
            counted(&before.former, &mut out, |former, out| words(former, out));
            counted(&before.retractions, &mut out, |pair, out| words(pair, out));
            counted(&before.left, &mut out, |pair, out| words(pair, out));
            let (mut read, mut links) = (Generations::default(), Links::default());
            let read = read_generations(&mut Bytes(&out), &mut read, &mut links, &state.persons);
            assert_eq!(read.err().map_or("", |unsound| unsound.0), expected, "case {number}");
        }

        let device = |current, anonymous, flags| {
            let mut out = Vec::new();
            counted(&[flags], &mut out, |flags, out| {
                words(&[current, anonymous], out);
                out.push(*flags);
            });
            read_devices(&mut Bytes(&out), 2)
                .map(|read| (read[0].identified, read[0].profiled))
                .map_err(|unsound| unsound.0)
        };
        let flags = [(false, false), (true, false), (false, true), (true, true)];
        assert_eq!([0, 1, 2, 3].map(|bits| device(1, 0, bits)), flags.map(Ok));
        assert_eq!([device(2, 1, 3), device(1, 2, 3)], [Err("a device speaks for no id"); 2]);
        assert_eq!(device(1, 1, 4), Err("unknown flags of a device"));

        let id = |class, defined| {
            let mut out = Vec::new();
            counted(&[class], &mut out, |class, out| {
                out.push(*class);
                words(&[defined, NONE, NONE, NONE, NONE, 0, 0], out);
            });
            read_ids(&mut Bytes(&out), &mut Links::default(), &mut Kinds::default())
                .err()
                .map_or("", |unsound| unsound.0)
        };
        assert_eq!(
            [id(0, 0), id(67, 0), id(3, MAX_RECORDS as u32 - 1)],
            [""; 3],
            "67 is a user of the sixteenth kind"
        );
        assert_eq!(id(68, 0), "an unknown class of id");
        assert_eq!(id(3, MAX_RECORDS as u32), "an id is defined in no record");

        let groups = |slots: &[u32]| {
            let mut out = Vec::new();
            counted(slots, &mut out, |slot, out| words(&[*slot, 0, 0], out));
            read_carried(&mut Bytes(&out), &mut Links::default()).err().map_or("", |unsound| unsound.0)
        };
        assert_eq!([groups(&[1, 1, 2]), groups(&[2, 1])], ["", "groups are out of order"]);

        let count = |count: u64, follow: usize| {
            let mut out = count.to_le_bytes().to_vec();
            out.resize(8 + follow, 0);
            Bytes(&out).count(4).ok()
        };
        assert_eq!(
            [count(2, 8), count(2, 11), count(3, 11), count(u64::MAX, 11)],
            [Some(2), Some(2), None, None]
        );
    }
}
