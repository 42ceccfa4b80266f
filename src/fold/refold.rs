//! One component, folded alone (section H).
//!
//! Components of possible links are independent: folding one by itself gives what it is in the whole. So a record counts as
//! never asked if its component is folded without it, and what comes out takes the place of what was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fold::retract::refuse_retract;
use crate::fold::split::Leaving;

use crate::fold::delta::Deltas;
use crate::fold::erasures::Erasures;
use crate::fold::fold_cache::{CachedFold, Came, CameTo, Stage};
use crate::fold::generations::Origin;
use crate::fold::links::{NONE, PersonNo};
use crate::fold::outcome::{Correction, Outcome, Refusal, SharedEffect};
use crate::fold::reclassify::Classes;
use crate::fold::{Person, State};
use crate::log::body::{DeviceNo, IdNo};
use crate::log::component::ComponentRecords;
use crate::log::kind::Kind;
use crate::log::record::{Record, Row};
use crate::model::id::Seq;
use crate::model::policy::ValuesBy;

/// Is shown what each operation came to: its seq, its outcome and the state right after it.
type Each<'e> = dyn FnMut(u32, &Outcome, &State) + 'e;

/// For records that refold a component: that component's records before them.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// By the record that asks: in which of the excerpts they are.
    of: BTreeMap<u32, usize>,
    /// The records of a component; later ones too, where several records of one frame ask for it.
    excerpts: Vec<Arc<ComponentRecords>>,
}

impl Past {
    /// A place for an excerpt that [`Past::hold`] puts there; `before` stays in its own.
    pub(crate) fn next(&mut self, before: Option<(usize, ComponentRecords)>) -> usize {
        if let Some((place, excerpt)) = before {
            self.hold(place, Arc::new(excerpt));
        }
        self.excerpts.push(Arc::default());
        self.excerpts.len() - 1
    }

    /// Puts an excerpt in its place.
    pub(crate) fn hold(&mut self, place: usize, excerpt: Arc<ComponentRecords>) {
        self.excerpts[place] = excerpt;
    }

    /// Says where the records are that `seq` asks for; of the excerpt there it needs those before it.
    pub(crate) fn expect(&mut self, seq: u32, place: usize) {
        self.of.insert(seq, place);
    }

    /// The records of the component that `seq` asks for, and how many of them are before it.
    fn of(&self, seq: u32) -> (&ComponentRecords, usize) {
        let place = self.of.get(&seq).expect("a record that refolds a component comes with its past");
        let excerpt = &*self.excerpts[*place];
        (excerpt, excerpt.count_before(seq))
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

/// Of which of its two folds [`State::foretell`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    After,
}

impl State {
    /// Folds a record of section H: a retract, a split or a reclassification.
    pub(super) fn refold(&mut self, record: Record<'_>, past: &Past) -> Outcome {
        let (told, before) = past.of(record.row.seq);
        self.refold_behind(record, told, before)
    }

    /// As [`State::refold`], where the first `before` of `told` are the records of the component before this one.
    fn refold_behind(&mut self, record: Record<'_>, told: &ComponentRecords, before: usize) -> Outcome {
        let kept =
            self.folds.take(record.row.id).and_then(|mut fold| fold.extend(told, before).then_some(fold));
        let mut fold = kept.unwrap_or_else(|| CachedFold::new(told, before, |ids| self.only(ids)));
        let outcome = self.correct(record, (told, before), &mut fold, None);
        self.folds.put(fold, State::bytes_alone);
        outcome
    }

    /// Folds a record of section H, of a component that was folded up to it. With `each` all of the component is folded, and each operation
    /// shown as [`State::alone_telling`] does.
    fn correct(
        &mut self,
        record: Record<'_>,
        (told, before): (&ComponentRecords, usize),
        fold: &mut CachedFold<State>,
        each: Option<&mut Each<'_>>,
    ) -> Outcome {
        let row = record.row;
        let mut outcome = Outcome::default();
        match (row.target(), row.given_class()) {
            (Some(target), _) => {
                outcome.refusal = fold.refuse_retract(row);
                outcome.undone = Some(Correction::Retracted { seq: Seq(target.into()), moved_ids: 0 });
                // One that is refused because there is another counts once that is retracted.
                if let None | Some(Refusal::AlreadyRetracted { .. }) = outcome.refusal {
                    self.generations.retract(target, row.seq);
                }
            }
            (_, Some(to)) => {
                outcome.refusal = self.refuse_reclassify(row);
                let (from, to) = (self.class(row.id), to.into());
                outcome.undone = Some(Correction::Reclassified { from, to, moved_ids: 0 });
            }
            _ => match self.leaving(record, told) {
                Ok(Leaving { others, .. }) => {
                    outcome.notices.not_parted = others;
                    outcome.undone = Some(Correction::Split { left: 0 });
                }
                Err(refusal) => outcome.refusal = Some(refusal),
            },
        }
        if outcome.refusal.is_some() {
            return Outcome::refused(outcome.refusal);
        }
        let is_known = fold.push(record);
        let reclassifies = row.kind == Kind::Reclassify || fold.changes_class();
        if reclassifies {
            self.settle_classes(fold);
        }
        if !is_known || reclassifies {
            let mut told = told.first(before);
            told.push(record);
            *fold = CachedFold::new(&told, before + 1, |ids| self.only(ids));
        }
        self.generations.refolded += match each {
            Some(each) => fold.tell(each),
            None => fold.run(self),
        };
        self.adopt(fold, row.seq);
        if let Some(
            Correction::Retracted { moved_ids, .. }
            | Correction::Reclassified { moved_ids, .. }
            | Correction::Split { left: moved_ids },
        ) = &mut outcome.undone
        {
            *moved_ids = self.generations.moved.count;
        }
        outcome.person = (row.kind == Kind::Split).then(|| self.links.person(row.id)).flatten();
        outcome
    }

    /// Whether a record of section H is refused here; `before` are the records of its component before it.
    pub(crate) fn refuse_refold(&self, record: Record<'_>, before: &ComponentRecords) -> Option<Refusal> {
        match (record.row.target(), record.row.given_class()) {
            (Some(target), _) => refuse_retract(before, record.row, target),
            (_, Some(_)) => self.refuse_reclassify(record.row),
            _ => self.leaving(record, before).err(),
        }
    }

    /// What this state would do with a record of section H, were it the next record and not refused: its component before and after it,
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
        told.push(record);
        let told = told.relabelled(&ids, &devices);
        let (before, asked) =
            (before.relabelled(&ids, &devices), told.records().last().expect("just pushed"));
        let mut after = state.clone();
        for record in before.records() {
            if let Some(retracts) = self.generations.retractions.get(&record.row.seq) {
                after.generations.retractions.insert(record.row.seq, retracts.clone());
            }
        }
        let (told, count) = (&before, before.records().len());
        let mut fold = CachedFold::new(told, count, |ids| after.only(ids));
        let each = &mut |seq, outcome: &Outcome, small: &State| each(Phase::After, seq, outcome, small);
        let mut outcome = after.correct(asked, (told, count), &mut fold, Some(each));
        after.records = asked.row.seq + 1;
        let names = std::mem::take(&mut after.erasures.renamed);
        after.erasures.renamed = self.names_beside(names, &after, &ids);
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
            let (founding, key) =
                (ids[small.founding(person).index()], small.origin_if_founded(person)?.key());
            let (id, by) = self.erasures.renamed.get(&self.last_of(founding, key)?.0)?;
            let number = ids.binary_search(&IdNo(*id)).ok()?;
            Some((person.0, (number as u32, *by))) // MAX_RECORDS bounds it
        });
        named.collect()
    }

    /// The names of erasures that the persons of a component alone would have in the whole, where more persons have names: one
    /// that comes back has the name that it had, and a name that another person has goes to no one else (D11).
    fn names_beside(
        &self,
        names: BTreeMap<u32, (u32, u32)>,
        small: &State,
        ids: &[IdNo],
    ) -> BTreeMap<u32, (u32, u32)> {
        let is_free = |(person, (id, by)): &(u32, (u32, u32))| {
            let person = PersonNo(*person);
            let Some(origin) = small.origin_if_founded(person) else { return false };
            let (founding, key) = (ids[small.founding(person).index()], origin.key());
            let called = self.erasures.who_is_called((ids[*id as usize], *by));
            called.is_none_or(|other| self.founding(other) == founding && self.origin(other).key() == key)
        };
        let free = names.into_iter().filter(is_free);
        free.chain(self.renamed_among(small, ids)).collect()
    }

    /// Folds the component that `told` tells of, but for what is retracted in it, beside this state.
    pub(crate) fn alone(&self, told: &ComponentRecords) -> ComponentFold {
        self.alone_telling(told, |_, _, _| {})
    }

    /// As [`State::alone`], and shows what each operation came to: its seq, its outcome and the state right after it, both in the
    /// component's own numbers. Of a record of section H the outcome says only whether it is refused.
    pub(crate) fn alone_telling(
        &self,
        told: &ComponentRecords,
        mut each: impl FnMut(u32, &Outcome, &State),
    ) -> ComponentFold {
        let mut fold = CachedFold::new(told, told.records().len(), |ids| self.only(ids));
        fold.begin_with_classes();
        fold.tell(&mut each);
        let CachedFold { ids, devices, end: Stage { state, .. }, .. } = fold;
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
        state.unclassify();
        for (place, record) in told.records().enumerate() {
            let seq = record.row.seq;
            let outcome = if record.row.refolds() {
                state.records = seq + 1;
                Some(state.refold_behind(record, &told, place))
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

    /// Bytes of a component folded alone, near enough.
    fn bytes_alone(&self) -> usize {
        let persons = self.persons.capacity() * size_of::<Person>();
        let deltas: usize = self.deltas.values().flat_map(|deltas| deltas.values()).map(Deltas::memory).sum();
        self.links.memory() + persons + self.profiles.memory() + deltas
    }

    /// A state in which nothing has happened yet to these ids of this one.
    fn only(&self, ids: &[IdNo]) -> State {
        let under_policy = || State::under_policy(self.policy.clone());
        let mut state = if self.is_supposed() { under_policy() } else { State::new() };
        state.supposed_kinds.clone_from(&self.supposed_kinds);
        for id in ids {
            state.define_as(self, *id);
        }
        state.learn_erasures(self, ids);
        state
    }
}

impl Outcome {
    fn refused(refusal: Option<Refusal>) -> Outcome {
        Outcome { refusal, ..Outcome::default() }
    }

    fn came(&self) -> CameTo {
        match self.refusal {
            Some(
                Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. } | Refusal::ProcessingOff { .. },
            ) => CameTo::ToNothing,
            Some(_) => CameTo::ToNoLink,
            None if matches!(self.shared, Some(SharedEffect::SignedIn(_))) => CameTo::ToNoLink,
            None => CameTo::Through,
        }
    }
}

impl Origin {
    /// What tells two persons of one founding id apart: whether, and by which record, a split founded them.
    pub(crate) fn key(self) -> Option<u32> {
        self.split.then_some(self.founded)
    }
}

impl CachedFold<State> {
    /// H1: whether a retract is refused now.
    fn refuse_retract(&self, row: &Row) -> Option<Refusal> {
        match self.fits(row) {
            None => Some(Refusal::NotRetractable { by: Seq(row.seq.into()) }),
            Some(place) => self.retracting(place).map(|by| Refusal::AlreadyRetracted { by: Seq(by.into()) }),
        }
    }

    /// Folds what is not folded yet, beside the whole that the component belongs to. Gives how many operations that were.
    fn run(&mut self, whole: &State) -> u64 {
        let changed = self.rewind(|ids| whole.only(ids));
        let (state, ids) = (&mut self.end.state, &self.ids);
        for id in &ids[state.links.ids().len()..] {
            state.define_as(whole, *id);
        }
        state.learn_erasures(whole, ids);
        let before = self.end.state.generations.refolded;
        while self.end.records < self.told.records().len() {
            if self.end.records <= changed {
                self.keep_checkpoint();
            }
            self.step();
        }
        self.end.state.generations.refolded - before
    }

    /// Folds the component, of which nothing is folded yet, and shows what each operation came to; gives how many were folded. Of a
    /// record of section H the outcome says only whether it is refused.
    fn tell(&mut self, each: &mut dyn FnMut(u32, &Outcome, &State)) -> u64 {
        // By place: the first retract of the record so far that is not retracted itself.
        let mut retracting = vec![NONE; self.told.records().len()];
        let mut classes = Classes::new();
        for place in 0..retracting.len() {
            let seq = self.told.row(place).seq;
            let counts = !self.is_retracted(place);
            let outcome = match (self.told.row(place).kind, self.target(place)) {
                (Kind::Reclassify, _) if counts => {
                    self.step();
                    Some(Outcome::refused(self.refused_class(&mut classes, self.told.row(place))))
                }
                (Kind::Retract, target) if counts => {
                    self.step();
                    let by = target.map_or(NONE, |target| match retracting[target] {
                        NONE => std::mem::replace(&mut retracting[target], seq),
                        by => by,
                    });
                    Some(Outcome::refused(match (target, by) {
                        (None, _) => Some(Refusal::NotRetractable { by: Seq(seq.into()) }),
                        (Some(_), NONE) => None,
                        (Some(_), by) => Some(Refusal::AlreadyRetracted { by: Seq(by.into()) }),
                    }))
                }
                _ => self.step(),
            };
            if let Some(outcome) = outcome {
                each(seq, &outcome, &self.end.state);
            }
        }
        self.end.state.generations.refolded
    }

    /// Folds the next record, or passes it over if it was retracted. Gives the outcome of an operation, but for a retract or a reclassification.
    fn step(&mut self) -> Option<Outcome> {
        let place = self.end.records;
        let record = self.told.at(place);
        let row = record.row;
        self.end.records += 1;
        if self.is_retracted(place) {
            self.came.push(Came { id: row.id, to: CameTo::ToNothing, identifies: false, by_time: false });
            return None;
        }
        let state = &mut self.end.state;
        state.records = row.seq;
        let outcome = match row.kind {
            Kind::Retract | Kind::Reclassify => None,
            Kind::Split => Some(Outcome::refused(state.divide(record, &self.told, &self.came))),
            _ => state.apply(record, &Past::default()),
        };
        state.records = row.seq + 1;
        let folded = outcome.filter(|_| !row.refolds());
        state.generations.refolded += u64::from(folded.is_some());
        let to = folded.map_or(CameTo::ToNothing, |outcome| outcome.came());
        let by_time = state.policy.values_by == ValuesBy::EventTime;
        let id = state.speaks_for(row.id, record.seq());
        self.came.push(Came { id, to, identifies: state.identifies(row), by_time });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::{Asked, AskedVerb, Body, Flags, OperationHeader};
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

    fn retract(head: OperationHeader, target: u64) -> Body {
        let verb = AskedVerb::Retract(target);
        Body::Operation(Box::new(Asked { head, verb, changes: Vec::new(), item: None }))
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
        asked.push_supposed(next as u32, &retract(head, first.0));
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
            told.push_supposed(next, &retract(head, target.into()));
            let record = told.records().last().unwrap();
            assert_eq!(ledger.reader().state().refuse_refold(record, &told.only(|seq| seq < next)), expected);
            assert_eq!(told.retracted().contains(&target), expected.is_none(), "{of:?} {target}");
        }
    }
}
