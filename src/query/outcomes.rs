//! Walking through a log again: its steps, its events, and outcomes in words.

use crate::fold::replay::Step;
use crate::fold::{Correction, DeviceEffect, Link, Notices, Outcome, PersonNo, Refusal, SharedEffect, State};
use crate::log::body::{AskedVerb, Body, Flags, IdNo, LinkSource};
use crate::log::chain::Checkpoint;
use crate::log::record::Record;
use crate::model::id::{PersonId, Seq};
use crate::model::limits::MAX_MOVED_NAMES;
use crate::model::policy::Policy;
use crate::query::answer::{EffectAnswer, EventAnswer, EventMode, NoticeAnswer, OutcomeAnswer};
use crate::query::reader::Reader;
use crate::store::segments::{Fault, Walk};

impl Reader {
    // -- events and outcomes ---------------------------------------------------------------------------------------

    /// Walks through the whole log again and folds it record by record. What is erased by now is not shown.
    ///
    /// # Errors
    /// [`Fault`], the first.
    pub fn replay(&self, each: impl FnMut(Step<'_>)) -> Result<(), Fault> {
        self.replay_first(self.state().records(), each)
    }

    /// As [`Reader::replay`], and shows the first `records` only. Cost: a replay up to there.
    pub(crate) fn replay_first(&self, records: u64, each: impl FnMut(Step<'_>)) -> Result<(), Fault> {
        let (mut replay, witnesses) = (self.identity.replay(), [self.checkpoint()]);
        self.log.walk(&mut replay, self.walk_first(records, &witnesses, &mut |_| {}), each)
    }

    /// How to walk through the first `records` records again: what is erased by now is not shown.
    pub(crate) fn walk_first<'a>(
        &'a self,
        records: u64,
        witnesses: &'a [Checkpoint],
        progress: &'a mut dyn FnMut(u64),
    ) -> Walk<'a> {
        let hide = Some(self.state().erasures());
        Walk { commitments: true, upto: Some(records), cut: true, witnesses, hide, progress }
    }

    /// Shows every event, in the order of the log.
    ///
    /// # Errors
    /// [`Fault`], the first.
    pub fn events(&self, mut each: impl FnMut(EventAnswer)) -> Result<(), Fault> {
        self.replay(|step| {
            if let Some(event) = self.event_in(step) {
                each(event);
            }
        })
    }

    /// The event of a step of a replay; `None` if it is none.
    pub(crate) fn event_in(&self, step: Step<'_>) -> Option<EventAnswer> {
        let record = step.record.body();
        let (Some(AskedVerb::Capture(name)), Some(head)) = (record.verb(), record.head()) else {
            return None;
        };
        if self.state().is_retracted(step.record.seq()) {
            return None; // H1
        }
        let seq = step.record.seq();
        let [now, of_then] = [self.state(), step.state].map(|state| state.speaks_for(head.id, seq));
        let off = head.flags.has(Flags::PROCESSING_OFF);
        Some(EventAnswer {
            seq,
            event_id: step.record.operation_id(),
            event: name.and_then(|name| self.event_name(name)).map(str::to_owned),
            time: head.time(),
            recorded_at: step.recorded_at,
            distinct_id: self.id_name(head.id),
            goes_with: (now != head.id).then(|| self.id_name(now)),
            person_id: self.resolution(now, None).person_id,
            person_id_then: match step.state.person(of_then) {
                Some(person) => self.own_person_id(person, step.state),
                None => self.id_called(self.state().implied(of_then)),
            },
            mode: if off { EventMode::Propertyless } else { EventMode::Full },
        })
    }

    /// Shows what every recorded operation did, in the order of the log.
    ///
    /// # Errors
    /// [`Fault`], the first.
    pub fn outcomes(&self, mut each: impl FnMut(OutcomeAnswer)) -> Result<(), Fault> {
        self.replay(|step| {
            if let Some(outcome) = step.outcome {
                let answer = self.outcome_in(step.record.seq(), &step.record.body(), outcome, step.state);
                each(OutcomeAnswer { recorded_at: Some(step.recorded_at), ..answer });
            }
        })
    }

    /// What an operation did, in texts and public ids; but not when it was recorded, and not which ids it moved.
    pub fn outcome(&self, record: Record<'_>, outcome: &Outcome) -> OutcomeAnswer {
        let id_of = |person| self.own_person_id(person, self.state());
        self.outcome_told(record.seq(), &record.body(), outcome, None, &id_of)
    }

    pub(crate) fn outcome_in(
        &self,
        seq: Seq,
        body: &Body,
        outcome: &Outcome,
        state: &State,
    ) -> OutcomeAnswer {
        self.outcome_told(seq, body, outcome, Some((state, None)), &|person| {
            self.own_person_id(person, state)
        })
    }

    /// What an operation did. `after` is the state right after it, with what its ids are in this reader if it is that of a component
    /// alone; without it the ids that moved are not named. `id_of` gives the public ids of its persons.
    pub(crate) fn outcome_told(
        &self,
        seq: Seq,
        body: &Body,
        outcome: &Outcome,
        after: Option<(&State, Option<&[IdNo]>)>,
        id_of: &dyn Fn(PersonNo) -> PersonId,
    ) -> OutcomeAnswer {
        let head = body.head().expect("only operations have outcomes");
        let mut effects = Vec::new();
        if let Some(person) = outcome.person {
            let person_id = id_of(person);
            if outcome.founded {
                effects.push(EffectAnswer::Founded { person_id });
            }
            match outcome.link {
                Some(Link::Joined(id)) => {
                    effects.push(EffectAnswer::Joined { distinct_id: self.id_name(id), person_id });
                }
                Some(Link::Absorbed { person, moved_ids }) => {
                    let distinct_ids = self.moved_in(after, |state, here| match body.other() {
                        LinkSource::Id(source) => {
                            let ends = [here(head.id), here(source)];
                            state.brought(ends, person, moved_ids, seq).take(MAX_MOVED_NAMES).collect()
                        }
                        LinkSource::None | LinkSource::Unstorable => Vec::new(),
                    });
                    let (survivor, absorbed) = (person_id, id_of(person));
                    effects.push(EffectAnswer::Merged { survivor, absorbed, moved_ids, distinct_ids });
                }
                None => {}
            }
            if outcome.identified {
                effects.push(EffectAnswer::Identified { person_id });
            }
            if outcome.written != Default::default() {
                effects.push(EffectAnswer::Properties { person_id, written: outcome.written });
            }
        }
        match outcome.device {
            Some(DeviceEffect::SpeaksFor(device, id)) => effects.push(EffectAnswer::DeviceSpeaksFor {
                device_id: self.device_name(device),
                distinct_id: self.id_name(id),
            }),
            Some(DeviceEffect::Reset(device, id)) => effects.push(EffectAnswer::DeviceReset {
                device_id: self.device_name(device),
                distinct_id: self.id_name(id),
            }),
            None => {}
        }
        match outcome.shared {
            Some(SharedEffect::SignedIn(id)) => {
                effects.push(EffectAnswer::SignedIn { shared_id: self.id_name(id) });
            }
            Some(SharedEffect::SignedOut(id)) => {
                effects.push(EffectAnswer::SignedOut { shared_id: self.id_name(id) });
            }
            None => {}
        }
        effects.extend(outcome.undone.map(|undone| {
            let distinct_ids = self.moved_in(after, |state, _| state.moved_by_refold().to_vec());
            match undone {
                Correction::Retracted { seq, moved_ids } => {
                    EffectAnswer::Retracted { seq, moved_ids, distinct_ids }
                }
                Correction::Split { left } => {
                    let person = outcome.person.expect("a split that parts a person has one");
                    EffectAnswer::Split { person_id: id_of(person), left, distinct_ids }
                }
                Correction::Reclassified { from, to, moved_ids } => {
                    let (from, to) = (from.name(), to.name());
                    EffectAnswer::Reclassified { from, to, moved_ids, distinct_ids }
                }
            }
        }));
        let notices = outcome.notices.names().map(|notice| {
            let ids = outcome.notices.not_parted.filter(|_| notice == Notices::NOT_PARTED);
            NoticeAnswer {
                notice,
                seq: outcome.notices.record_of(notice),
                distinct_id: ids.map(|ids| self.id_name(ids.id)),
                ids: ids.map(|ids| ids.ids),
            }
        });
        OutcomeAnswer {
            seq,
            recorded_at: None,
            op: body.name(),
            distinct_id: self.id_name(head.id),
            other_id: match body.other() {
                LinkSource::Id(id) => Some(self.id_name(id)),
                LinkSource::None | LinkSource::Unstorable => None,
            },
            effects,
            notices: notices.collect(),
            refusal: outcome.refusal.map(|refusal| refusal.name()),
            rule: outcome.refusal.map(|refusal| refusal.rule()),
            blocking_seq: outcome.refusal.map(|refusal| refusal.blocking()),
            reason: outcome.refusal.map(|refusal| self.reason_told(&refusal, id_of, None)),
        }
    }

    /// The texts of ids that an operation moved, found in the state right after it; see [`Reader::outcome_told`].
    fn moved_in(
        &self,
        after: Option<(&State, Option<&[IdNo]>)>,
        moved: impl FnOnce(&State, &dyn Fn(IdNo) -> IdNo) -> Vec<IdNo>,
    ) -> Vec<String> {
        let Some((state, ids)) = after else { return Vec::new() };
        let here = |id: IdNo| match ids {
            Some(ids) => IdNo(ids.binary_search(&id).expect("an id of this component") as u32), // MAX_RECORDS bounds it
            None => id,
        };
        let moved = moved(state, &here);
        moved.into_iter().map(|id| self.id_name(ids.map_or(id, |ids| ids[id.index()]))).collect()
    }

    /// A refusal in a sentence, with the record that blocks.
    #[must_use]
    pub fn reason(&self, refusal: &Refusal) -> String {
        self.reason_told(refusal, &|person| self.person_id(person), None)
    }

    pub(crate) fn reason_told(
        &self,
        refusal: &Refusal,
        id_of: &dyn Fn(PersonNo) -> PersonId,
        supposed: Option<&Policy>,
    ) -> String {
        let policy = |by: &Seq| match supposed {
            Some(_) => "the policy asked about".to_owned(), // H4: it stands in no record
            None => format!("the policy of record {by}"),
        };
        match refusal {
            Refusal::ProcessingOff { .. } => {
                "the operation itself has person processing switched off".to_owned()
            }
            Refusal::Unmergeable { id: Some(id), by } => {
                format!("id `{}` may not take part in merges (record {by})", self.id_name(*id))
            }
            Refusal::Unmergeable { id: None, .. } => {
                "the other id is empty, longer than 400 scalar values, or holds U+0000".to_owned()
            }
            Refusal::JoinsIdentified { person, by } => {
                format!(
                    "person {} is identified already (record {by}), and this policy lets no id join one",
                    id_of(*person)
                )
            }
            Refusal::SourceIdentified { person, by } => {
                format!("person {} is identified already (record {by})", id_of(*person))
            }
            Refusal::TooManyMovedIds { found, limit, by } => {
                format!("{found} ids would move, {} allows {limit}", policy(by))
            }
            Refusal::TooManyIds { found, limit, by } => {
                format!("the person would have {found} ids, {} allows {limit}", policy(by))
            }
            Refusal::TooManyUserIds { held, limit, by } => format!(
                "user id `{}` is held already (record {by}), and the policy allows {limit} a person",
                self.id_name(*held)
            ),
            Refusal::TooManyOfKind { kind, limit, of_target, of_source, by } => {
                let kinds = &supposed.unwrap_or_else(|| self.policy()).id_kinds;
                let name = kinds.get(usize::from(kind.0)).map_or("?", |kind| &kind.name);
                format!(
                    "the side of this id has {of_target} of kind `{name}` and the other {of_source}; {} allows {limit} a person; `merge_dangerously` is \
                     not bound by it",
                    policy(by)
                )
            }
            Refusal::NotRetractable { .. } => "the record named is not an operation of this id".to_owned(),
            Refusal::AlreadyRetracted { by } => format!("it counts as never asked already (record {by})"),
            Refusal::NoPerson { by } => {
                format!("the id has no person that could be split (record {by} defined it)")
            }
            Refusal::OtherPerson { id, by } => {
                format!("id `{}` belongs to another person, or to none (record {by})", self.id_name(*id))
            }
            Refusal::AlreadyOfClass { by } => format!("the id is of this class already (record {by})"),
            Refusal::WholePerson { .. } => {
                "all ids of the person are named; at least one has to stay".to_owned()
            }
        }
    }
}
