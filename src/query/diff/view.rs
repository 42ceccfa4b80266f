//! Views: what a log meant now, right after one of its records, or under another policy. A [`Diff`](crate::diff::Diff) is found
//! between two of them. A view answers nothing by itself that a reader cannot answer; it only holds still.

use std::fmt;

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::fold::replay::Step;
use crate::fold::{Origin, Outcome, PersonIdBasis, PersonNo, Refusal, State};
use crate::log::body::{DeviceNo, Flags, IdNo, LinkSource};
use crate::log::component::{ComponentRecords, Node};
use crate::log::record::Record;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::query::reader::{Reader, Resolution};
use crate::store::segments::Fault;

/// What a log meant: now, right after one of its records, or under another policy.
///
/// Views come from [`Reader::view`], [`Reader::view_as_of`] and [`WhatIf::view`](crate::diff::WhatIf::view).
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) state: Cow<'a, State>,
    /// What the state's numbers are in the reader, if it is that of one component alone.
    pub(crate) alone: Option<(&'a [IdNo], &'a [DeviceNo])>,
    /// What is refused here, by record; `None` if it was not collected when the view was made.
    pub(crate) refused: Option<Vec<Refused>>,
}

/// An operation that is refused, in the numbers of its view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) seq: u32,
    pub(crate) op: &'static str,
    pub(crate) id: IdNo,
    pub(crate) other: Option<IdNo>,
    pub(crate) operation_id: Option<OperationId>,
    pub(crate) time: i64,
    pub(crate) refusal: Refusal,
    /// What the person is called that the refusal speaks of, if it was told alone and so has no number of the view's.
    pub(crate) whom: Option<PersonIdBasis>,
}

impl Refused {
    /// `None` if it was not.
    pub(crate) fn of(record: Record<'_>, outcome: &Outcome) -> Option<Refused> {
        let refusal = outcome.refusal?;
        let row = record.row;
        let other = match row.other() {
            LinkSource::Id(id) => Some(id),
            LinkSource::None | LinkSource::Unstorable => None,
        };
        let (op, operation_id, time) = (record.row.kind.name(), record.operation_id(), record.time());
        Some(Refused { seq: row.seq, op, id: row.id, other, operation_id, time, refusal, whom: None })
    }
}

/// What is refused, found on a walk through a log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    refused: BTreeMap<u32, Refused>,
    /// Ids whose component was refolded: their operations may be refused otherwise than when they were
    /// recorded.
    refolded: BTreeSet<IdNo>,
}

impl Refusals {
    pub(crate) fn see(&mut self, step: Step<'_>) {
        if let Some(outcome) = step.outcome {
            self.see_outcome(step.record, outcome);
        }
    }

    pub(crate) fn see_outcome(&mut self, record: Record<'_>, outcome: &Outcome) {
        if let Some(refused) = Refused::of(record, outcome) {
            self.refused.insert(refused.seq, refused);
        }
        if outcome.undone.is_some() {
            self.refolded.insert(record.row.id);
        }
    }

    /// What is refused as things stand in `state`, at which the walk ended: without what was retracted.
    /// Components in which nothing was retracted or split are as they were recorded; the others are read and
    /// folded once more.
    pub(crate) fn settle(mut self, reader: &Reader, state: &State) -> Result<Vec<Refused>, Fault> {
        // Persons of former times are called as they are now.
        let names = if state.is_supposed() { state } else { reader.state() };
        while let Some(id) = self.refolded.pop_first() {
            let told = reader.log.component(Node::Id(id), state.records())?;
            let (ids, devices) = told.named();
            let mut found = RefusedAlone::default();
            for record in told.records() {
                self.refused.remove(&record.row.seq);
            }
            for id in &ids {
                self.refolded.remove(id);
            }
            state.alone_telling(&told, |seq, outcome, small| {
                let record = told.record(seq).expect("what is told of is in the excerpt");
                found.see(record, &outcome.relabelled(&ids, &devices), small, |founding| {
                    ids[founding.index()]
                });
            });
            let found = found.named(reader, &told, names)?;
            self.refused.extend(found.into_iter().map(|refused| (refused.seq, refused)));
        }
        Ok(self.refused.into_values().collect())
    }
}

/// What is refused in a component that is folded alone, with the persons that refusals speak of by how they came to be.
#[derive(Debug, Default)]
pub(crate) struct RefusedAlone(Vec<(Refused, Option<(IdNo, Origin)>)>);

impl RefusedAlone {
    /// Notes what a record comes to; `id` gives the number that an id of the component has among those of `record`.
    pub(crate) fn see(
        &mut self,
        record: Record<'_>,
        outcome: &Outcome,
        small: &State,
        id: impl Fn(IdNo) -> IdNo,
    ) {
        let Some(refused) = Refused::of(record, outcome) else { return };
        let whom = refused.refusal.person();
        self.0.push((refused, whom.map(|person| (id(small.founding(person)), small.origin(person)))));
    }

    /// The same with what the persons are called in `names`, and the ids of the operations that `told` holds.
    pub(crate) fn named(
        self,
        reader: &Reader,
        told: &ComponentRecords,
        names: &State,
    ) -> Result<Vec<Refused>, Fault> {
        let named = |(refused, whom): (Refused, Option<(IdNo, Origin)>)| {
            let operation_id = reader.operation_id(told, refused.seq)?;
            let whom = whom.map(|(founding, origin)| names.called_alone(founding, origin));
            Ok(Refused { operation_id, whom, ..refused })
        };
        self.0.into_iter().map(named).collect()
    }
}

impl Reader {
    /// The id of an operation that an excerpt holds: a derived one stands in the payload, which no excerpt has.
    fn operation_id(&self, told: &ComponentRecords, seq: u32) -> Result<Option<OperationId>, Fault> {
        let record = told.record(seq).expect("what is told of is in the excerpt");
        if !record.row.flags.has(Flags::DERIVED_ID) {
            return Ok(record.operation_id());
        }
        let window = self.log.window(record.seq(), self.state().erasures())?;
        Ok(window.checked(record.seq())?.operation_id())
    }

    /// What the log means now.
    pub fn view(&self) -> View<'_> {
        View { reader: self, state: Cow::Borrowed(self.state()), alone: None, refused: None }
    }

    /// What the log meant right after record `seq`; after the last one it is [`Reader::view`]. Cost: a replay up to there.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn view_as_of(&self, seq: Seq) -> Result<View<'_>, Fault> {
        let records = seq.0.saturating_add(1);
        if records >= self.state().records() {
            return Ok(self.view());
        }
        let (mut state, mut refusals) = (None, Refusals::default());
        self.replay_first(records, |step| {
            refusals.see(step);
            if step.record.seq() == seq {
                state = Some(step.state.clone());
            }
        })?;
        let state = state.expect("a walk through the first records meets the last of them");
        let refused = Some(refusals.settle(self, &state)?);
        Ok(View { state: Cow::Owned(state), refused, ..self.view() })
    }
}

impl View<'_> {
    /// The state, in numbers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many records it is of.
    pub fn records(&self) -> u64 {
        self.state.records()
    }

    /// Whether a record counts here: it is there, and was not retracted.
    pub(crate) fn has(&self, seq: Seq) -> bool {
        seq.0 < self.records() && !self.state.is_retracted(seq)
    }

    // -- numbers ---------------------------------------------------------------------------------------------------

    /// The reader's number of an id.
    pub(super) fn id(&self, id: IdNo) -> IdNo {
        self.alone.map_or(id, |(ids, _)| ids[id.index()])
    }

    /// The number here of an id of the reader, which this view knows.
    pub(crate) fn id_here(&self, id: IdNo) -> IdNo {
        let place = |ids: &[IdNo]| ids.binary_search(&id).expect("an id of this component");
        self.alone.map_or(id, |(ids, _)| IdNo(place(ids) as u32)) // MAX_RECORDS bounds it
    }

    /// The text of an id.
    pub(crate) fn id_named(&self, id: IdNo) -> Name {
        self.reader.id_named(self.id(id))
    }

    /// The text of a device.
    pub(crate) fn device_named(&self, device: DeviceNo) -> Name {
        self.reader.device_named(self.alone.map_or(device, |(_, devices)| devices[device.index()]))
    }

    // -- persons ---------------------------------------------------------------------------------------------------

    /// What a person is called. Persons of former times are called as they are now.
    pub(crate) fn called(&self, person: PersonNo) -> PersonIdBasis {
        match self.is_of_the_log() {
            true => self.reader.called(person, &self.state),
            false => self.state.called(person),
        }
    }

    /// What the person of an id is called, and whether that person is there or only implied.
    pub(crate) fn called_of(&self, id: IdNo) -> (PersonIdBasis, bool) {
        match self.state.person(id) {
            Some(person) => (self.called(person), false),
            None if self.is_of_the_log() => (self.reader.state().implied(id), true),
            None => (self.state.implied(id), true),
        }
    }

    /// Whether its numbers mean what they mean in the reader's own state.
    fn is_of_the_log(&self) -> bool {
        self.alone.is_none() && !self.state.is_supposed()
    }

    fn id_called(&self, called: PersonIdBasis) -> PersonId {
        self.reader.id_called(called.of(|id| self.id(id)))
    }

    pub(crate) fn person_id(&self, person: PersonNo) -> PersonId {
        self.id_called(self.called(person))
    }

    /// Who an id is here.
    pub(crate) fn whose(&self, id: IdNo) -> Resolution {
        let (called, implied) = self.called_of(id);
        Resolution { person_id: self.id_called(called), implied }
    }

    /// Why an operation is refused here, in a sentence.
    pub(crate) fn reason(&self, Refused { refusal, whom, .. }: &Refused) -> String {
        let id_of = |person: PersonNo| self.id_called(whom.unwrap_or_else(|| self.called(person)));
        let supposed = self.state.is_supposed().then(|| self.state.policy());
        self.reader.reason_told(&refusal.of(|id| self.id(id)), &id_of, supposed)
    }
}

/// The text of an id, a device or a property key; once erased, its number is all that is left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The text itself: it was not erased.
    Text(String),
    /// The number of a text that was erased. It is its ledger's own: two ledgers may mean two things by it.
    Erased(u32),
}

impl Name {
    pub(crate) fn of(text: Option<&str>, number: u32) -> Name {
        text.map_or(Name::Erased(number), |text| Name::Text(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Text(text) => f.write_str(text),
            Name::Erased(number) => write!(f, "$erased:{number}"),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::diff::Diff;
    use crate::{DistinctId, Ledger, Operation, Policy, Source, Target, Tenant, Timestamp};

    /// A component that is folded alone numbers its persons for itself.
    #[test]
    fn a_refusal_in_what_was_folded_anew_names_the_person_of_the_whole() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let id = |text| DistinctId::new(text).unwrap();
        let time = Timestamp::from_micros(5).unwrap();
        let set = |who| Operation::properties(time, id(who)).set("plan", "pro").unwrap();
        let mut ask = |operation: Operation| ledger.append(operation).unwrap().seq().unwrap();
        ask(set("zoe"));
        ask(set("zac"));
        let wrong = ask(set("ann"));
        let before = ask(Operation::identify(time, id("bob"), Some(Source::new("laptop"))));
        ask(set("ann"));
        ask(Operation::alias(time, id("ann"), Source::new("bob"))); // D6
        ask(Operation::retract(time, Target::Record(wrong)));
        let diff =
            Diff::between(&ledger.reader().view_as_of(before).unwrap(), &ledger.reader().view()).unwrap();
        let [refusal] = &diff.refusals[..] else { panic!("{diff:?}") };
        let bob = ledger.resolve("bob").unwrap().person_id;
        let reason = &refusal.after.as_ref().unwrap().reason;
        assert_eq!(*reason, format!("person {bob} is identified already (record {before})"));
    }
}
