//! The tables of records: events, outcomes, property writes, policies, erasures and checkpoints, seen on one walk through the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::export::origins::Origin;
use crate::export::row::{
    CheckpointRow, ErasureRow, EventRow, OutcomeRow, PolicyRow, PropertyWriteRow, Row, Table,
};
use crate::export::tables::{ERASED_SINCE, Export, source};
use crate::fold::replay::Step;
use crate::fold::{
    Correction, DeviceEffect, Link, Outcome, PersonNo, Property, Refusal, SharedEffect, Standing,
};
use crate::log::body::{Body, Erasure, Flags, NameNo, Verb};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::{OperationId, Seq};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::query::values::RecordValues;
use crate::store::segments::Fault;

impl Export<'_> {
    /// Shows the rows of records behind `since`.
    pub(super) fn record_rows<E: From<Fault>>(
        &self,
        tables: &[Table],
        since: Option<Seq>,
        each: &mut impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = Ok(());
        let mut rows = Vec::new();
        self.reader.replay_first(self.state.records(), |step| {
            if done.is_ok() && since.is_none_or(|since| step.record.seq() > since) {
                let found = self.rows_of(step, tables, &mut rows).map_err(E::from);
                done = found.and_then(|()| rows.drain(..).try_for_each(&mut *each));
            }
        })?;
        done
    }

    /// The rows of one record; `step` comes from a replay of the whole log.
    pub(super) fn rows_of(&self, step: Step<'_>, tables: &[Table], into: &mut Vec<Row>) -> Result<(), Fault> {
        let has = |table: Table| tables.contains(&table);
        let record = step.record;
        if let Some(outcome) = step.outcome {
            let retracted_by = self.state.retracted_by_as_of(record.seq(), self.as_of());
            let counts = retracted_by.is_none();
            let events = has(Table::Events) && counts && record.row.kind == Kind::Capture;
            let writes = has(Table::PropertyWrites) && counts && record.row.has_changes();
            let keeps = |record: Record<'_>| record.changes().iter().any(|change| change.verb == Verb::KEPT);
            let values = if writes || events && keeps(record) {
                self.values_of(record)?
            } else {
                RecordValues { values: Vec::new(), erased_by: None }
            };
            if events {
                into.push(Row::Events(self.event(record, step, &values)?));
            }
            if has(Table::Outcomes) {
                into.push(Row::Outcomes(self.outcome(step, outcome, retracted_by)?));
            }
            if writes {
                self.property_writes(record, &values, into)?;
            }
        }
        match record.row.kind {
            Kind::Genesis | Kind::SetPolicy if has(Table::Policies) => {
                if let Body::Genesis(stored) | Body::SetPolicy(stored) = record.body() {
                    let policy = stored.policy().expect("Chain::accept checked the policy");
                    into.push(Row::Policies(PolicyRow { seq: record.seq(), policy }));
                }
            }
            Kind::Erase if has(Table::Erasures) => {
                if let Body::Erase(erasure) = record.body() {
                    into.push(Row::Erasures(self.erasure(step, &erasure)?));
                }
            }
            _ => {}
        }
        // Of a ledger that has some components of another log, frames say nothing.
        if has(Table::Checkpoints) && step.frame_end.records == record.seq().0 + 1 && self.numbering.is_none()
        {
            let (seq, checkpoint) = (record.seq(), step.frame_end.to_string());
            into.push(Row::Checkpoints(CheckpointRow { seq, checkpoint, recorded_at: step.recorded_at }));
        }
        Ok(())
    }

    /// The values of a record, marked where they were erased since.
    fn values_of(&self, record: Record<'_>) -> Result<RecordValues, Fault> {
        let mut read = self.reader.values_in(record)?;
        if self.marks && read.erased_by.is_some() && self.lost_since(record.row)? {
            for value in read.values.iter_mut().filter(|value| value.is_none()) {
                *value = Some(Value::Text(ERASED_SINCE.to_owned()));
            }
        }
        Ok(read)
    }

    /// The id of an operation, marked if it was erased since: a derived one goes with the values.
    fn operation_id(&self, record: Record<'_>) -> Result<Option<OperationId>, Fault> {
        match record.operation_id() {
            None if self.marks
                && record.row.flags.has(Flags::DERIVED_ID)
                && self.lost_since(record.row)? =>
            {
                Ok(Some(OperationId(uuid::Uuid::nil())))
            }
            id => Ok(id),
        }
    }

    fn event(&self, record: Record<'_>, step: Step<'_>, values: &RecordValues) -> Result<EventRow, Fault> {
        let row = record.row;
        let [goes_with, of_then] =
            [&*self.state, step.state].map(|state| state.speaks_for(row.id, record.seq()));
        let (person_no, person_id) = self.whose(goes_with);
        let off = row.flags.has(Flags::PROCESSING_OFF);
        let valued = record.changes().iter().filter(|change| change.verb.has_value()).zip(&values.values);
        let kept: BTreeMap<String, Option<Value>> = valued
            .filter(|(change, _)| change.verb == Verb::KEPT)
            .map(|(change, value)| (self.reader.key_name(change.key), value.clone()))
            .collect();
        Ok(EventRow {
            seq: record.seq(),
            event_id: self.operation_id(record)?,
            event: row.name().and_then(|name| self.reader.event_name(NameNo(name))).map(str::to_owned),
            distinct_id: self.id_text(row.id),
            id_no: row.id,
            goes_with_id_no: goes_with,
            person_no,
            person_id,
            person_id_then: match step.state.person(of_then) {
                then if then.is_some() && then == person_no => person_id, // most events
                Some(person) => self.person_id(person),
                None => self.implied_id(of_then),
            },
            is_implied: person_no.is_none(),
            timestamp: time(record),
            recorded_at: step.recorded_at,
            mode: if off { "propertyless" } else { "full" },
            properties: (!kept.is_empty()).then_some(kept),
        })
    }

    fn outcome(
        &self,
        Step { record, recorded_at, .. }: Step<'_>,
        outcome: &Outcome,
        retracted_by_seq: Option<Seq>,
    ) -> Result<OutcomeRow, Fault> {
        let (id, other) = (record.row.id, source(record));
        let refusal = outcome.refusal;
        let reason = |refusal: &Refusal| {
            let id_lost = refusal.id().is_some_and(|id| self.id_text(id).as_deref() == Some(ERASED_SINCE));
            match id_lost {
                true => ERASED_SINCE.to_owned(),
                false => self.reader.reason_told(refusal, &|person| self.person_id(person), None),
            }
        };
        Ok(OutcomeRow {
            seq: record.seq(),
            op: record.row.kind.name(),
            operation_id: self.operation_id(record)?,
            distinct_id: self.id_text(id),
            id_no: id,
            other_id: other.and_then(|other| self.id_text(other)),
            other_id_no: other,
            person_no: outcome.person,
            effects: effects(outcome),
            notices: outcome.notices.names().collect(),
            rule: refusal.map(|refusal| refusal.rule()),
            refusal: refusal.map(|refusal| refusal.name()),
            blocking_seq: refusal.map(|refusal| refusal.blocking()),
            reason: refusal.as_ref().filter(|_| self.numbering.is_none()).map(reason),
            timestamp: time(record),
            recorded_at,
            retracted_by_seq,
        })
    }

    /// The write that made a person's property what it is.
    fn origin(&self, person: PersonNo, standing: Standing<'_>) -> Result<Origin, Fault> {
        let property = standing.property;
        if standing.deltas.is_none() {
            return Ok(Origin { property, is_lost: false });
        }
        self.origins.get((person, property.key), || {
            let folded = self.reader.folded(&[standing])?.pop().expect("one was asked for");
            let seq = folded.answer.seq.0 as u32; // MAX_RECORDS bounds it
            let property = Property { seq, place: folded.place, ..property };
            Ok(Origin { property, is_lost: self.is_lost(&folded)? })
        })
    }

    fn property_writes(
        &self,
        record: Record<'_>,
        read: &RecordValues,
        into: &mut Vec<Row>,
    ) -> Result<(), Fault> {
        let id_no = record.row.id;
        let goes_with_id_no = self.state.speaks_for(id_no, record.seq());
        let person_no = self.state.person(goes_with_id_no);
        let view = person_no.map(|person| self.state.view(person));
        let mut place = 0;
        for (change_no, change) in (0..).zip(record.changes()) {
            let value = if change.verb.has_value() { Some(&read.values[place]) } else { None };
            let here = place;
            place += usize::from(change.verb.has_value());
            if change.verb == Verb::KEPT {
                continue; // an event's own property
            }
            let standing = view.and_then(|view| Some((view.number, view.standing_of(change.key)?)));
            let origin = standing.map(|(person, standing)| self.origin(person, standing)).transpose()?;
            let current = origin.map(|origin| origin.property);
            let erased = matches!(value, Some(None));
            let is_lost = origin.is_some_and(|origin| origin.is_lost);
            let marked = is_lost.then(|| Value::Text(ERASED_SINCE.to_owned()));
            into.push(Row::PropertyWrites(PropertyWriteRow {
                seq: record.seq(),
                change_no,
                id_no,
                goes_with_id_no,
                person_no,
                key: self.reader.key_name(change.key),
                verb: change.verb.name(),
                value: marked.or(value.cloned().flatten()),
                erased_seq: read.erased_by.filter(|_| erased),
                is_current: value.is_some()
                    && current.is_some_and(|current| {
                        current.seq() == record.seq() && usize::from(current.place) == here
                    }),
                current_seq: current.map(|current| current.seq()),
                timestamp: time(record),
            }));
        }
        Ok(())
    }

    fn erasure(&self, step: Step<'_>, erasure: &Erasure) -> Result<ErasureRow, Fault> {
        let seq = step.record.row.seq;
        let mut ids: Vec<_> = erasure.ids.clone();
        for record in &erasure.records {
            let row = self.fixed(Seq((*record).into()))?;
            if row.speaks_for_id() {
                ids.push(step.state.speaks_for(row.id, Seq((*record).into())));
            }
        }
        let persons: BTreeSet<PersonNo> = ids.into_iter().filter_map(|id| step.state.person(id)).collect();
        Ok(ErasureRow {
            seq: step.record.seq(),
            done_seq: self.state.erasures().done_by(seq).map(|done| Seq(done.into())),
            timestamp: erasure.time(),
            id_nos: erasure.ids.iter().map(|id| id.0).collect(),
            person_nos: persons.into_iter().map(|person| person.0).collect(),
            device_nos: erasure.devices.iter().map(|device| device.device.0).collect(),
            records: erasure.records.clone(),
            keys: erasure.keys.iter().map(|key| self.reader.key_name(*key)).collect(),
        })
    }
}

fn time(record: Record<'_>) -> Timestamp {
    Timestamp::from_micros(record.time()).expect("Chain::accept checked the range")
}

/// What an operation did, by the names of A4.
fn effects(outcome: &Outcome) -> Vec<&'static str> {
    let effects = [
        (outcome.founded, "founded"),
        (matches!(outcome.link, Some(Link::Joined(_))), "joined"),
        (matches!(outcome.link, Some(Link::Absorbed { .. })), "merged"),
        (outcome.identified, "identified"),
        (outcome.written != Default::default(), "properties"),
        (matches!(outcome.device, Some(DeviceEffect::SpeaksFor(..))), "device_speaks_for"),
        (matches!(outcome.device, Some(DeviceEffect::Reset(..))), "device_reset"),
        (matches!(outcome.shared, Some(SharedEffect::SignedIn(_))), "signed_in"),
        (matches!(outcome.shared, Some(SharedEffect::SignedOut(_))), "signed_out"),
        (matches!(outcome.undone, Some(Correction::Retracted { .. })), "retracted"),
        (matches!(outcome.undone, Some(Correction::Split { .. })), "split"),
        (matches!(outcome.undone, Some(Correction::Reclassified { .. })), "reclassified"),
    ];
    effects.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
}
