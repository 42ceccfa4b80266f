//! Explanations: which records made two ids, or an event and a person, one; and a check of that which believes records alone.
//!
//! The steps come from the proof forest, so each cites a record that names both its ends. The check knows no state and no
//! forest: it asks what the cited records say, and whether that leads from the one end to the other.

use serde::{Serialize, Serializer};

use crate::book::Book;
use crate::id::{OperationId, PersonId, Seq};
use crate::log::Fault;
use crate::record::{Body, Flags, IdNo, Other};
use crate::time::Timestamp;

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
/// ledger.append(Operation::identify(at, ann()?, Some(Source::new("phone"))))?;
/// ledger.append(Operation::identify(at, ann()?, Some(Source::new("laptop"))))?;
///
/// let why = ledger.explain("phone", "laptop")?.ok_or("they are two")?;
/// assert_eq!(why.steps.len(), 2);
/// why.check(|seq| ledger.claim(seq).ok().flatten())?;
///
/// // A step left out leads nowhere.
/// let mut short = why.clone();
/// short.steps.pop();
/// assert!(short.check(|seq| ledger.claim(seq).ok().flatten()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The event's own record, when an event was asked about; it names `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// The record.
    pub seq: Seq,
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// From which id to which, in the direction of the explanation.
    pub ids: [NamedId; 2],
}

/// What one operation's record says of ids: all that the check of an explanation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// T.
    pub id: NamedId,
    /// S, if it asks to link one.
    pub other: Option<NamedId>,
    /// Whether processing was on; without it nothing is linked (C7).
    pub processing: bool,
}

impl Claim {
    /// What a record's body says, with the texts that `text` gives; `None` if it is no operation.
    pub fn of(body: &Body, text: impl Fn(IdNo) -> String) -> Option<Claim> {
        let head = body.head()?;
        let named = |number| NamedId { number, text: text(number) };
        Some(Claim {
            op: body.name(),
            time: head.time(),
            id: named(head.id),
            other: match body.other() {
                Other::Id(source) => Some(named(source)),
                Other::None | Other::Unstorable => None,
            },
            processing: !head.flags.has(Flags::PROCESSING_OFF),
        })
    }

    /// Whether it asks for this link, in one direction or the other.
    fn links(&self, [a, b]: &[NamedId; 2]) -> bool {
        let other = self.other.as_ref();
        self.processing && (&self.id == a && other == Some(b) || &self.id == b && other == Some(a))
    }
}

/// Why an explanation does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplanationError {
    /// A cited record is not there, or no operation.
    #[error("record {seq} is cited and is no operation of this log")]
    Missing {
        /// Which.
        seq: Seq,
    },
    /// A cited record asks for no link between the two ids.
    #[error("record {seq} is cited for a link of `{}` and `{}`; it asks for none between them", .ids[0], .ids[1])]
    NotThisLink {
        /// Which.
        seq: Seq,
        /// The ends of its step.
        ids: Box<[NamedId; 2]>,
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
        /// Which.
        seq: Seq,
        /// Where the steps begin.
        from: Box<NamedId>,
    },
}

impl Explanation {
    /// Checks the explanation against the records alone: every cited record is there, asks for a link between exactly the two
    /// ends of its step, and the steps lead from `from` to `to`. `claim` gives what a record says: [`Book::claim`] reads it
    /// back from the log, and who does not trust that either makes a [`Claim`] of each [`Body`] of a replay.
    ///
    /// What it cannot show: that no rule refused a cited record. A refusal depends on records that are not cited;
    /// [`Book::outcomes`] shows it.
    ///
    /// # Errors
    /// [`ExplanationError`], the first.
    pub fn check(&self, mut claim: impl FnMut(Seq) -> Option<Claim>) -> Result<(), ExplanationError> {
        let mut said = |seq| claim(seq).ok_or(ExplanationError::Missing { seq });
        if let Some(seq) = self.event {
            let event = said(seq)?;
            if event.op != "capture" || event.id != self.from {
                return Err(ExplanationError::NotThisEvent { seq, from: Box::new(self.from.clone()) });
            }
        }
        let broken = |expected: &NamedId, found: &NamedId| ExplanationError::Broken {
            expected: Box::new(expected.clone()),
            found: Box::new(found.clone()),
        };
        let mut at = &self.from;
        for step in &self.steps {
            if &step.ids[0] != at {
                return Err(broken(at, &step.ids[0]));
            }
            if !said(step.seq)?.links(&step.ids) {
                return Err(ExplanationError::NotThisLink { seq: step.seq, ids: Box::new(step.ids.clone()) });
            }
            at = &step.ids[1];
        }
        if at == &self.to { Ok(()) } else { Err(broken(at, &self.to)) }
    }
}

impl Book {
    /// Why two ids are one person; `None` if they are not, or one was never written.
    ///
    /// Cost: as many steps, and looks at the log, as the way is long, wherever in a person of whatever size it lies.
    ///
    /// # Errors
    /// [`Fault`] when a cited record cannot be read back.
    pub fn explain(&self, a: &str, b: &str) -> Result<Option<Explanation>, Fault> {
        let (Some(a), Some(b)) = (self.id_no(a), self.id_no(b)) else { return Ok(None) };
        self.explained(None, a, b)
    }

    /// Why an event is its person's: its record first, then the way from its id to the one that founded the person. `None` if
    /// there is no event of this id.
    ///
    /// # Errors
    /// As [`Book::explain`].
    pub fn explain_event(&self, event: OperationId) -> Result<Option<Explanation>, Fault> {
        for seq in self.seen.candidates(event) {
            let seq = Seq(seq.into());
            if self.log.window(seq, self.state().erasures())?.checked(seq)?.operation_id() == Some(event) {
                return self.explain_record(seq);
            }
        }
        Ok(None)
    }

    /// As [`Book::explain_event`], for the event of this record; `None` if it is no event's.
    ///
    /// # Errors
    /// As [`Book::explain`].
    pub fn explain_record(&self, seq: Seq) -> Result<Option<Explanation>, Fault> {
        let Some(Body::Capture(head, ..)) = self.body(seq)? else { return Ok(None) };
        let founding = self.state().person(head.id).map_or(head.id, |person| self.state().founding(person));
        self.explained(Some(seq), head.id, founding)
    }

    fn explained(&self, event: Option<Seq>, from: IdNo, to: IdNo) -> Result<Option<Explanation>, Fault> {
        let Some(proof) = self.state().proof(from, to) else { return Ok(None) };
        let mut claims = Vec::with_capacity(proof.len());
        let mut order: Vec<usize> = (0..proof.len()).collect();
        order.sort_unstable_by_key(|at| proof[*at].2); // neighbours in the log are read together
        for at in order {
            claims.push((at, self.claim(proof[at].2)?));
        }
        claims.sort_unstable_by_key(|(at, _)| *at);
        let step = |((from, to, seq), (_, claim)): (_, (_, Option<Claim>))| {
            let Claim { op, time, .. } = claim?;
            Some(ExplainedStep { seq, op, time, ids: [self.named(from), self.named(to)] })
        };
        let steps: Option<Vec<ExplainedStep>> = proof.into_iter().zip(claims).map(step).collect();
        let person = self.state().person(from);
        Ok(steps.map(|steps| Explanation {
            event,
            from: self.named(from),
            to: self.named(to),
            person_id: self.resolution(from, None).person_id,
            implied: person.is_none(),
            steps,
        }))
    }

    /// What the record of an operation says of ids, read back from the log and verified; `None` if there is no such operation.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read back.
    pub fn claim(&self, seq: Seq) -> Result<Option<Claim>, Fault> {
        Ok(self.body(seq)?.and_then(|body| Claim::of(&body, |id| self.id_name(id))))
    }

    /// What a record says, read back from the log and verified; `None` beyond the end.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read back.
    pub fn body(&self, seq: Seq) -> Result<Option<Body>, Fault> {
        if seq.0 >= self.checkpoint().records {
            return Ok(None);
        }
        Ok(Some(self.log.window(seq, self.state().erasures())?.checked(seq)?.body()))
    }

    pub(crate) fn named(&self, number: IdNo) -> NamedId {
        NamedId { number, text: self.id_name(number) }
    }
}
