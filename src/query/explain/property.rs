//! Why a property has its value: the operation that won its key (E5), and those it beat.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fold::{Link, Outcome, PersonNo, Standing, State, Write};
use crate::log::body::{Flags, IdNo, KeyNo, Verb};
use crate::log::component::{ComponentRecords, Node};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::{PersonId, Seq};
use crate::model::policy::ValuesBy;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::query::answer::PropertyAnswer;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// Why a person's property has its value, or has none any more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhyProperty {
    /// Whose it is.
    pub person_id: PersonId,
    /// The property key.
    pub key: String,
    /// Its value now, and the record that won it; `None` if the person has no such property.
    pub now: Option<PropertyAnswer>,
    /// Every write to the key by an operation that speaks for one of the person's ids, in the order of the log.
    pub writes: Vec<PropertyWrite>,
}

/// One operation's word on a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PropertyWrite {
    /// The record of the write.
    pub seq: Seq,
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// T: the id that the operation speaks for.
    pub distinct_id: String,
    /// `set`, `set_once`, `unset`, `add`, `append`, `union` or `remove`.
    pub verb: &'static str,
    /// The value; `None` for `unset`, and when it was erased.
    pub value: Option<Value>,
    /// The record that erased the value (H3).
    pub erased_by: Option<Seq>,
    /// Why it does not stand; `None` if it does.
    pub beaten: Option<Superseded>,
}

/// Why a write does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Superseded {
    /// The rule: E1 another operation on the same person, E2 a merge, E3 an event about something else, E8 another event time, E9 a
    /// relative change that did not fit, H1 retracted, H2 split; or the rule that refused the whole operation.
    pub rule: &'static str,
    /// The record by which; its own, if the operation itself says otherwise.
    pub by: Seq,
}

/// What became of a key while a component is folded.
struct Story<'a> {
    key: KeyNo,
    told: &'a ComponentRecords,
    /// The ids that are told of, by their numbers in the component.
    ids: Vec<IdNo>,
    /// Whose word stands, by living person, in the component's numbers: of a value, or of its removal.
    standing: BTreeMap<PersonNo, u32>,
    /// The relative changes that stand beside it (E9).
    deltas: BTreeMap<PersonNo, BTreeSet<Write>>,
    /// Records that took the key away.
    removed: BTreeSet<u32>,
    beaten: BTreeMap<u32, Superseded>,
}

impl<'a> Story<'a> {
    fn of(key: KeyNo, told: &'a ComponentRecords) -> Story<'a> {
        let ((ids, _), standing, removed) = (told.named(), BTreeMap::new(), BTreeSet::new());
        Story { key, told, ids, standing, deltas: BTreeMap::new(), removed, beaten: BTreeMap::new() }
    }

    /// The record that won the key of a person, if its value does not begin with a relative change.
    fn winner(&self, person: PersonNo, state: &State) -> Option<u32> {
        let standing = state.view(person).standing_of(self.key)?;
        Some(standing.property.seq).filter(|_| standing.has_base())
    }

    /// Follows the relative changes of a person's key over one record: it may add one, bring those of an absorbed person, or end some.
    /// Gives whether it added one.
    fn step_deltas(
        &mut self,
        person: PersonNo,
        absorbed: Option<PersonNo>,
        record: Record<'_>,
        state: &State,
    ) -> bool {
        let theirs = absorbed.and_then(|absorbed| self.deltas.remove(&absorbed)).unwrap_or_default();
        let now = state.view(person).standing_of(self.key).and_then(|standing| standing.deltas);
        let own = self.deltas.entry(person).or_default();
        let (mut fewer, mut more) = (theirs, std::mem::take(own));
        if fewer.len() > more.len() {
            std::mem::swap(&mut fewer, &mut more);
        }
        more.extend(fewer);
        let says = verbs(record, self.key).find(|(verb, _)| verb.is_relative());
        let write = |time, place| Write { time, seq: record.row.seq, place };
        let mine = says.and_then(|(_, place)| {
            let times = [record.time(), Write::UNTIMED].map(|time| write(time, place));
            times.into_iter().find(|write| now.is_some_and(|now| now.list.contains(write)))
        });
        more.extend(mine);
        // A floor is a time, so what it ends are the earliest.
        let first = now.and_then(|now| now.list.first());
        while let Some(gone) = more.first().copied().filter(|write| first.is_none_or(|first| write < first)) {
            more.pop_first();
            self.beat(Some(gone.seq), by_time(state).unwrap_or("E1"), record.row.seq);
        }
        self.deltas.insert(person, more);
        mine.is_some()
    }

    fn beat(&mut self, loser: Option<u32>, rule: &'static str, by: u32) {
        if let Some(loser) = loser.filter(|loser| *loser != by) {
            self.beaten.insert(loser, Superseded { rule, by: Seq(by.into()) });
        }
    }

    /// Follows one record of the component.
    fn step(&mut self, seq: u32, outcome: &Outcome, state: &State) {
        let record = self.told.record(seq).expect("what is folded is told");
        match record.row.kind {
            Kind::Split => return self.part(seq, state),
            Kind::Retract | Kind::Reclassify => return, // what follows from it is not shown
            _ => {}
        }
        let absorbed_person = match outcome.link {
            Some(Link::Absorbed { person, .. }) => Some(person),
            _ => None,
        };
        let absorbed = absorbed_person.and_then(|person| self.standing.remove(&person));
        let says = verbs(record, self.key).map(|(verb, _)| verb).last();
        let Some(person) = self.person_of(record, state) else {
            // Refused before any effect: T may well have a person later.
            if says.is_some() {
                let beaten = self.why_nothing(record, outcome, None);
                self.beaten.insert(seq, beaten);
            }
            return;
        };
        let is_delta = self.step_deltas(person, absorbed_person, record, state);
        let before = self.standing.get(&person).copied();
        let after = self.winner(person, state);
        let there = state.view(person).standing_of(self.key).map(|standing| standing.property.seq);
        let removes = says == Some(Verb::UNSET) && there.is_none();
        if removes {
            self.removed.insert(seq);
        }
        if let Some(after) = after {
            self.beaten.remove(&after); // E8: a set_once behind a set that is unset later stands again
        }
        let own = removes || after == Some(seq);
        let stands = if own { Some(seq) } else { after.or(before.filter(|_| absorbed.is_none())) };
        for loser in [before, absorbed].into_iter().flatten().filter(|loser| Some(*loser) != stands) {
            self.beat(Some(loser), by_time(state).unwrap_or(if own { "E1" } else { "E2" }), seq);
        }
        if says.is_some() && !own && !is_delta {
            let mut beaten = self.why_nothing(record, outcome, there);
            if let ("E1", Some(rule)) = (beaten.rule, by_time(state)) {
                beaten.rule = rule;
            }
            self.beaten.insert(seq, beaten);
        }
        match stands {
            Some(stands) => drop(self.standing.insert(person, stands)),
            None => drop(self.standing.remove(&person)),
        }
    }

    fn person_of(&self, record: Record<'_>, state: &State) -> Option<PersonNo> {
        let small = self.ids.binary_search(&record.row.id).ok()?;
        state.person(state.speaks_for(IdNo(small as u32), record.seq())) // as many as there are ids
    }

    /// Why an operation wrote nothing to the key, which `after` won.
    fn why_nothing(&self, record: Record<'_>, outcome: &Outcome, after: Option<u32>) -> Superseded {
        let about_others = record.row.flags.has(Flags::GROUP_IDENTIFY) || record.row.flags.has(Flags::QUIET);
        match outcome.refusal {
            _ if about_others => Superseded { rule: "E3", by: record.seq() },
            Some(refusal) if outcome.written == Default::default() && after.is_none() => {
                Superseded { rule: refusal.rule(), by: refusal.blocking() }
            }
            _ => Superseded { rule: "E1", by: after.map_or(record.seq(), |after| Seq(after.into())) },
        }
    }

    /// Follows a split: who stands now is what each group is by itself.
    fn part(&mut self, by: u32, state: &State) {
        let before = std::mem::take(&mut self.standing);
        let deltas_before = std::mem::take(&mut self.deltas);
        let live = || state.persons().map(|person| person.number);
        let standing: BTreeMap<PersonNo, u32> =
            live().filter_map(|person| Some((person, self.winner(person, state)?))).collect();
        self.deltas = live()
            .filter_map(|person| {
                let deltas = state.view(person).standing_of(self.key)?.deltas?;
                Some((person, deltas.list.clone()))
            })
            .collect();
        let stand: BTreeSet<u32> = self.deltas.values().flatten().map(|write| write.seq).collect();
        for seq in &stand {
            self.beaten.remove(seq);
        }
        for loser in deltas_before.into_values().flatten().filter(|loser| !stand.contains(&loser.seq)) {
            self.beat(Some(loser.seq), "H2", by);
        }
        for stands in standing.values() {
            self.beaten.remove(stands);
            self.removed.remove(stands);
        }
        for loser in before.into_values().filter(|loser| !standing.values().any(|stands| stands == loser)) {
            self.beat(Some(loser), "H2", by);
        }
        self.standing = standing;
    }
}

/// The rule by which writes beat each other, where it is not E1 and E2.
fn by_time(state: &State) -> Option<&'static str> {
    (state.policy().values_by == ValuesBy::EventTime).then_some("E8")
}

/// What a record says of a key, in order, each with the place of its value.
fn verbs(record: Record<'_>, key: KeyNo) -> impl Iterator<Item = (Verb, u16)> {
    let mut place = 0;
    let placed = record.changes().iter().map(move |change| {
        let at = place;
        place += u16::from(change.verb.has_value());
        (change, at)
    });
    placed
        .filter(move |(change, _)| change.key == key && change.verb != Verb::KEPT)
        .map(|(change, at)| (change.verb, at))
}

impl Reader {
    /// Why the property `key` of the person of `distinct_id` has its value, or has none: the operation that won it, and those it
    /// beat, each with the rule and the record. `None` if the id has no person, or no operation for one of its ids says anything of
    /// the key.
    ///
    /// Cost: folding the component of possible links once more.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let ann = || DistinctId::new("ann");
    /// let first = ledger.append(Operation::properties(at, ann()?).set("plan", "free")?)?;
    /// let second = ledger.append(Operation::properties(at, ann()?).set("plan", "team")?)?;
    ///
    /// let why = ledger.why_property("ann", "plan")?.ok_or("never written")?;
    /// assert_eq!(why.now.map(|now| now.seq), second.seq());
    /// let beaten = why.writes[0].beaten.ok_or("it stands")?;
    /// assert_eq!((Some(why.writes[0].seq), beaten.rule, Some(beaten.by)), (first.seq(), "E1", second.seq()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn why_property(&self, distinct_id: &str, key: &str) -> Result<Option<WhyProperty>, Fault> {
        self.prove_texts()?;
        let known = (self.id_no(distinct_id), self.dictionaries.keys.find(key).map(KeyNo));
        let (Some(id), Some(key_no)) = known else { return Ok(None) };
        self.prove_component(id)?;
        let Some(person) = self.state().person(id) else { return Ok(None) };
        let told = self.log.component(Node::Id(id), self.state().records())?;
        let mut story = Story::of(key_no, &told);
        self.state().alone_telling(&told, |seq, outcome, state| story.step(seq, outcome, state));
        let taken_back = told.retracted_by().into_iter();
        story
            .beaten
            .extend(taken_back.map(|(target, by)| (target, Superseded { rule: "H1", by: Seq(by.into()) })));
        let won = self.state().view(person).standing_of(key_no);
        let folded = won.map(|won| self.folded(&[won])).transpose()?.and_then(|mut folded| folded.pop());
        let unfit: BTreeSet<u32> = folded.iter().flat_map(|folded| folded.unfit.iter().copied()).collect();
        let won =
            won.map(|won| (won, won.writes().map(|write| (write.seq, write.place)).collect::<BTreeSet<_>>()));
        let mut writes = Vec::new();
        let theirs = |record: &Record<'_>| {
            self.state().person(self.state().speaks_for(record.row.id, record.seq())) == Some(person)
        };
        for record in told.records().filter(Record::is_operation).filter(theirs) {
            self.writes(record, &story, won.as_ref(), &unfit, &mut writes)?;
        }
        if writes.is_empty() {
            return Ok(None);
        }
        let now = folded.map(|folded| folded.answer);
        let (person_id, key) = (self.person_id(person), key.to_owned());
        Ok(Some(WhyProperty { person_id, key, now, writes }))
    }

    /// The writes of one record.
    fn writes(
        &self,
        record: Record<'_>,
        story: &Story<'_>,
        won: Option<&(Standing<'_>, BTreeSet<(u32, u16)>)>,
        unfit: &BTreeSet<u32>,
        writes: &mut Vec<PropertyWrite>,
    ) -> Result<(), Fault> {
        let said: Vec<(Verb, u16)> = verbs(record, story.key).collect();
        let Some((first, _)) = said.first() else { return Ok(()) };
        // Of `set`, `set_once` and `unset`, in this order, one took effect (E1).
        let effective = if story.removed.contains(&record.row.seq) { Verb::UNSET } else { *first };
        let values = if said.iter().any(|(verb, _)| verb.has_value()) {
            let window = self.log.window(record.seq(), self.state().erasures())?;
            Some(self.values_in(window.checked(record.seq())?)?)
        } else {
            None
        };
        let body = record.body();
        for (verb, place) in said {
            let value = values.as_ref().filter(|_| verb.has_value());
            let key = (record.row.seq, place);
            let (won, standing) =
                won.map_or((None, None), |(won, standing)| (Some(won.property), Some(standing)));
            let stands = verb == effective && standing.is_none_or(|standing| standing.contains(&key));
            let place = usize::from(place);
            let outside = story.beaten.get(&record.row.seq).copied();
            let beaten = match outside {
                Some(beaten) if verb == effective || beaten.rule == "H1" => Some(beaten),
                _ if stands && unfit.contains(&record.row.seq) => {
                    Some(Superseded { rule: "E9", by: record.seq() })
                }
                _ if stands => None,
                _ => {
                    let by = won.filter(|_| verb == effective).map_or(record.seq(), |won| won.seq());
                    Some(Superseded { rule: "E1", by })
                }
            };
            writes.push(PropertyWrite {
                seq: record.seq(),
                op: body.name(),
                time: Timestamp::from_micros(record.time()).expect("Chain::accept checked the range"),
                distinct_id: self.id_name(record.row.id),
                verb: verb.name(),
                value: value.and_then(|values| values.values.get(place).cloned().flatten()),
                erased_by: value
                    .filter(|values| matches!(values.values.get(place), Some(None)))
                    .and_then(|values| values.erased_by),
                beaten,
            });
        }
        Ok(())
    }
}
