//! Explanations: which records made two ids, or an event and a person, one; and a check of that which believes records alone.
//!
//! The steps come from the proof forest, so each cites a record that names both its ends. The check knows no state and no
//! forest: it asks what the cited records say, and whether that leads from the one end to the other.

use serde::{Serialize, Serializer};

use crate::fold::ComponentFold;
use crate::log::body::{AskedVerb, Body, Flags, IdNo, LinkSource};
use crate::log::component::Node;
use crate::model::id::{OperationId, PersonId, Seq};
use crate::model::time::Timestamp;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// An id as answers about records show it. Compared by number and text, for a living text may look like an erased one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedId {
    /// Its number in this log.
    pub number: IdNo,
    /// Its text; `$erased:7` once erased.
    pub text: String,
}

impl Serialize for NamedId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl std::fmt::Display for NamedId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

/// Why two ids, or an event and a person, are one: the records that lead from the one to the other.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let ann = || DistinctId::new("ann");
/// let _ = ledger.append(Operation::identify(at, ann()?, Some(Source::new("phone"))))?;
/// let _ = ledger.append(Operation::identify(at, ann()?, Some(Source::new("laptop"))))?;
///
/// let why = ledger.explain("phone", "laptop")?.ok_or("they are two")?;
/// assert_eq!(why.steps.len(), 2);
/// why.check(|seq| ledger.reader().claim(seq).ok().flatten())?;
///
/// // A step left out leads nowhere.
/// let mut short = why.clone();
/// short.steps.pop();
/// assert!(short.check(|seq| ledger.reader().claim(seq).ok().flatten()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The event's own record, when an event was asked about; it names `from`.
    pub event: Option<Seq>,
    /// Where the steps begin.
    pub from: NamedId,
    /// Where they end; for an event, the id that founded its person.
    pub to: NamedId,
    /// Whose they both are.
    pub person_id: PersonId,
    /// Whether there is no such person yet: the event's id was seen only propertyless (C1). Then there are no steps.
    pub implied: bool,
    /// The way; empty if the ends are one id.
    pub steps: Vec<ExplainedStep>,
}

/// One step of an explanation: a record that names both its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedStep {
    /// The record that links the two ends.
    pub seq: Seq,
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// From which id to which, in the direction of the explanation.
    pub ids: [NamedId; 2],
    /// Of a split that let the two stay together, or leave together: the way that had made them one before it. Else empty.
    pub before: Vec<ExplainedStep>,
}

/// What one operation's record says of ids: all that the check of an explanation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedLink {
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// T: the id that the operation speaks for.
    pub id: NamedId,
    /// S, if it asks to link one.
    pub other: Option<NamedId>,
    /// Whether processing was on; without it nothing is linked (C7).
    pub processing: bool,
    /// Whether the record counts as never asked (H1).
    pub retracted: bool,
    /// Of a split: whether those who leave stay together, and who leaves (H2).
    pub leavers: Option<(bool, Vec<NamedId>)>,
}

impl RecordedLink {
    /// What a record's body says, with the texts that `text` gives; `None` if it is not an operation. Whether
    /// it was retracted stands in another record.
    pub fn of(body: &Body, retracted: bool, text: impl Fn(IdNo) -> String) -> Option<RecordedLink> {
        let head = body.head()?;
        let named = |number| NamedId { number, text: text(number) };
        Some(RecordedLink {
            op: body.name(),
            time: head.time(),
            id: named(head.id),
            other: match body.other() {
                LinkSource::Id(source) => Some(named(source)),
                LinkSource::None | LinkSource::Unstorable => None,
            },
            processing: !head.flags.has(Flags::PROCESSING_OFF),
            retracted,
            leavers: match body.verb() {
                Some(AskedVerb::Split(leavers)) => {
                    Some((leavers.together, leavers.ids.iter().copied().map(named).collect()))
                }
                _ => None,
            },
        })
    }

    /// Whether it asks for this link, in one direction or the other.
    fn links(&self, [a, b]: &[NamedId; 2]) -> bool {
        let other = self.other.as_ref();
        self.processing && (&self.id == a && other == Some(b) || &self.id == b && other == Some(a))
    }

    /// Whether it is a split that leaves these two together.
    fn keeps(&self, [a, b]: &[NamedId; 2]) -> bool {
        let Some((together, leavers)) = &self.leavers else { return false };
        match [a, b].map(|id| leavers.contains(id)) {
            [false, false] => true,
            [true, true] => *together,
            _ => false,
        }
    }
}

/// Why an explanation does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplanationError {
    /// A cited record is not there, or no operation.
    #[error("record {seq} is cited and is not an operation of this log")]
    Missing {
        /// The cited record.
        seq: Seq,
    },
    /// A cited record asks for no link between the two ids.
    #[error("record {seq} is cited for a link of `{}` and `{}`; it asks for none between them", .ids[0], .ids[1])]
    NotThisLink {
        /// The cited record.
        seq: Seq,
        /// The ends of its step.
        ids: Box<[NamedId; 2]>,
    },
    /// A cited record was retracted (H1).
    #[error("record {seq} is cited, and counts as never asked")]
    Retracted {
        /// The cited record.
        seq: Seq,
    },
    /// What made two ids one before a split stands behind it.
    #[error("record {seq} is cited as what was before record {split}")]
    NotBefore {
        /// The cited record.
        seq: Seq,
        /// The record of the split.
        split: Seq,
    },
    /// A step does not begin where the one before it ended.
    #[error("the way breaks at `{expected}`: the next step begins at `{found}`")]
    Broken {
        /// Where the next step should begin.
        expected: Box<NamedId>,
        /// Where it does.
        found: Box<NamedId>,
    },
    /// The cited event was not captured under the id where the steps begin.
    #[error("record {seq} is cited as an event of `{from}`; it is none")]
    NotThisEvent {
        /// The cited record.
        seq: Seq,
        /// Where the steps begin.
        from: Box<NamedId>,
    },
}

impl Explanation {
    /// Checks the explanation against the records alone: every cited record is there, was not retracted, asks
    /// for a link between exactly the two ends of its step, and the steps lead from `from` to `to`. A split
    /// may stand for a step if it leaves both ends together and they were one before it. `claim` gives what a
    /// record says: [`Reader::claim`] reads it back from the log, and who does not trust that either makes a
    /// [`RecordedLink`] of each [`Body`] of a replay.
    ///
    /// What it cannot show: that no rule refused a cited record, and that no later split parted its ends. Both depend on records that
    /// are not cited; [`Reader::outcomes`] shows them.
    ///
    /// # Errors
    /// [`ExplanationError`], the first.
    pub fn check(&self, mut claim: impl FnMut(Seq) -> Option<RecordedLink>) -> Result<(), ExplanationError> {
        if let Some(seq) = self.event {
            let event = said(seq, &mut claim)?;
            if event.op != "capture" || event.id != self.from {
                return Err(ExplanationError::NotThisEvent { seq, from: Box::new(self.from.clone()) });
            }
        }
        check_way(&self.steps, [&self.from, &self.to], &mut claim)
    }
}

/// What a record says, if it is there and was not retracted.
fn said(
    seq: Seq,
    claim: &mut dyn FnMut(Seq) -> Option<RecordedLink>,
) -> Result<RecordedLink, ExplanationError> {
    let claim = claim(seq).ok_or(ExplanationError::Missing { seq })?;
    if claim.retracted { Err(ExplanationError::Retracted { seq }) } else { Ok(claim) }
}

fn check_way(
    steps: &[ExplainedStep],
    [from, to]: [&NamedId; 2],
    claim: &mut dyn FnMut(Seq) -> Option<RecordedLink>,
) -> Result<(), ExplanationError> {
    let broken = |expected: &NamedId, found: &NamedId| ExplanationError::Broken {
        expected: Box::new(expected.clone()),
        found: Box::new(found.clone()),
    };
    let mut at = from;
    for step in steps {
        let [begins, ends] = &step.ids;
        if begins != at {
            return Err(broken(at, begins));
        }
        let said = said(step.seq, claim)?;
        if said.keeps(&step.ids) {
            // Each step nested here stands before this one, so they come to an end.
            if let Some(late) = step.before.iter().find(|before| before.seq >= step.seq) {
                return Err(ExplanationError::NotBefore { seq: late.seq, split: step.seq });
            }
            check_way(&step.before, [begins, ends], claim)?;
        } else if !said.links(&step.ids) {
            return Err(ExplanationError::NotThisLink { seq: step.seq, ids: Box::new(step.ids.clone()) });
        }
        at = ends;
    }
    if at == to { Ok(()) } else { Err(broken(at, to)) }
}

impl Reader {
    /// Why two ids are one person; `None` if they are not, or one was never written.
    ///
    /// Cost: as many steps, and looks at the log, as the way is long, wherever in a person of whatever size it lies. A ledger that
    /// was opened from a snapshot first holds against the log what the answer rests on: at the first question all texts, by one
    /// reading of the log, at each the component, by folding it. [`Reader::prove_snapshot`] does that once for all.
    ///
    /// # Errors
    /// [`Fault`] when a cited record cannot be read back.
    pub fn explain(&self, a: &str, b: &str) -> Result<Option<Explanation>, Fault> {
        self.prove_texts()?;
        let (Some(a), Some(b)) = (self.id_no(a), self.id_no(b)) else { return Ok(None) };
        self.explained(None, a, b)
    }

    /// Why an event is its person's: its record first, then the way from its id to the one that founded the
    /// person. `None` if there is no event of this id, or it was retracted.
    ///
    /// # Errors
    /// As [`Reader::explain`].
    pub fn explain_event(&self, event: OperationId) -> Result<Option<Explanation>, Fault> {
        match self.recorded(event)? {
            Some(seq) => self.explain_record(seq),
            None => self.prove_snapshot().map(|()| None), // it may lack operation ids
        }
    }

    /// As [`Reader::explain_event`], for the event of this record; `None` if it is not an event.
    ///
    /// # Errors
    /// As [`Reader::explain`].
    pub fn explain_record(&self, seq: Seq) -> Result<Option<Explanation>, Fault> {
        let Some(body) = self.body(seq)? else { return Ok(None) };
        let (Some(AskedVerb::Capture(_)), Some(head)) = (body.verb(), body.head()) else { return Ok(None) };
        self.prove_component(head.id)?;
        if self.state().is_retracted(seq) {
            return Ok(None); // H1
        }
        // The founder may have left its person (H2); then any id of it that stayed.
        let goes_with = self.state().speaks_for(head.id, seq);
        let anchor = self.state().person(goes_with).map_or(goes_with, |person| self.state().anchor(person));
        self.explained(Some(seq), head.id, anchor)
    }

    /// The way from one id to another, for an event or for its own sake.
    pub(crate) fn explained(
        &self,
        event: Option<Seq>,
        from: IdNo,
        to: IdNo,
    ) -> Result<Option<Explanation>, Fault> {
        self.prove_component(from)?;
        // From a shared id the way begins with the sign-in (D13).
        let signed_in = event.and_then(|seq| self.state().signed_in(from, seq));
        let goes_with = signed_in.map_or(from, |(user, _)| user);
        let Some(mut proof) = self.state().proof(goes_with, to) else { return Ok(None) };
        proof.splice(0..0, signed_in.map(|(user, by)| (from, user, by)));
        let Some(steps) = self.explained_steps(proof)? else { return Ok(None) };
        Ok(Some(Explanation {
            event,
            from: self.named(from),
            to: self.named(to),
            person_id: self.resolution(goes_with, None).person_id,
            implied: self.state().person(goes_with).is_none(),
            steps,
        }))
    }

    /// A proof's steps, each with what its record says; `None` if one cites a record that is not an
    /// operation, as a forged snapshot may.
    fn explained_steps(&self, proof: Vec<(IdNo, IdNo, Seq)>) -> Result<Option<Vec<ExplainedStep>>, Fault> {
        let mut order: Vec<usize> = (0..proof.len()).collect();
        order.sort_unstable_by_key(|at| proof[*at].2); // neighbours in the log are read together
        let mut steps: Vec<Option<ExplainedStep>> = vec![None; proof.len()];
        for at in order {
            let (from, to, seq) = proof[at];
            let Some(RecordedLink { op, time, leavers, .. }) = self.claim(seq)? else { return Ok(None) };
            let before = match leavers {
                None => Some(Vec::new()),
                Some(_) => self.way_before(seq, from, to)?,
            };
            let Some(before) = before else { return Ok(None) };
            steps[at] =
                Some(ExplainedStep { seq, op, time, ids: [self.named(from), self.named(to)], before });
        }
        Ok(steps.into_iter().collect())
    }

    /// The steps that had made two ids one before a split, without what was retracted since.
    fn way_before(&self, split: Seq, from: IdNo, to: IdNo) -> Result<Option<Vec<ExplainedStep>>, Fault> {
        let whole = self.log.component(Node::Id(from), self.state().records())?;
        let retracted = whole.retracted();
        // What reclassifies an id counts from its definition on (H5).
        let is_earlier = |seq: u32| u64::from(seq) < split.0 || whole.reclassifies(seq);
        let before = whole.only(|seq| is_earlier(seq) && !retracted.contains(&seq));
        let ComponentFold { state, ids, .. } = self.state().alone(&before);
        let small = |id: IdNo| ids.binary_search(&id).ok().map(|place| IdNo(place as u32)); // as many as there are ids
        let (Some(a), Some(b)) = (small(from), small(to)) else { return Ok(None) };
        let Some(proof) = state.proof(a, b) else { return Ok(None) };
        let whole = |(a, b, seq): (IdNo, IdNo, Seq)| (ids[a.index()], ids[b.index()], seq);
        self.explained_steps(proof.into_iter().map(whole).collect())
    }

    /// What the record of an operation says of ids, read back from the log and verified; `None` if there is no such operation.
    /// Texts are those of the records that define the ids, also if the ledger was opened from a snapshot.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read back, or the log says something else than the snapshot.
    pub fn claim(&self, seq: Seq) -> Result<Option<RecordedLink>, Fault> {
        self.prove_texts()?;
        let retracted = self.state().is_retracted(seq);
        Ok(self.body(seq)?.and_then(|body| RecordedLink::of(&body, retracted, |id| self.id_name(id))))
    }

    /// What a record says, read back from the log and verified; `None` beyond the end.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read back.
    pub fn body(&self, seq: Seq) -> Result<Option<Body>, Fault> {
        if seq.0 >= self.state().records() {
            return Ok(None);
        }
        Ok(Some(self.log.window(seq, self.state().erasures())?.checked(seq)?.body()))
    }

    pub(crate) fn named(&self, number: IdNo) -> NamedId {
        NamedId { number, text: self.id_name(number) }
    }
}
