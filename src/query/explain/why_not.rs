//! Why not: what keeps two ids apart. A way through all that was ever said of ids together, refused or not, that meets as few
//! barriers as there can be; and each barrier with its rule and the record behind it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use serde::Serialize;

use crate::fold::{PersonNo, Refusal, SharedEffect};
use crate::log::body::IdNo;
use crate::model::id::{PersonId, Seq};
use crate::model::policy::{FirstMention, IdClass, Policy};
use crate::model::time::Timestamp;
use crate::query::explain::ids::NamedId;
use crate::query::history::Told;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// Why two ids are not one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhyNot {
    /// Whether they are one person after all; then there is no way to show.
    pub same: bool,
    /// The person of the first, or the one it would found.
    pub person_a: PersonId,
    /// The person of the second, or the one it would found.
    pub person_b: PersonId,
    /// From the first to the second; empty if nothing ever linked them, however indirectly.
    pub way: Vec<WhyNotStep>,
}

/// One step: a record that names both its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhyNotStep {
    /// The record that names both ends.
    pub seq: Seq,
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock.
    pub time: Timestamp,
    /// From which id to which.
    pub ids: [NamedId; 2],
    /// What keeps its ends apart; `None` if they are one person.
    pub barrier: Option<Barrier>,
}

/// What keeps two ids apart that a record names together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Barrier {
    /// The rule that refused.
    pub rule: &'static str,
    /// The record that blocks.
    pub blocking_seq: Seq,
    /// The same in a sentence.
    pub reason: String,
    /// What to try, to join the two as things stand; `None` if nothing is known.
    pub remedy: Option<Remedy>,
}

/// What to try, to join two ids that a [`Barrier`] keeps apart. An alias and a merge join them; of the others a rule may still
/// refuse what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "remedy", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// A `retract` of the link, which identified the person that it speaks for although it was refused (D1), and then an `alias` the
    /// other way round: D6 looks at the person of the alias only.
    Alias {
        /// The record of the refused link.
        retract: Seq,
        /// Whose operation it is.
        distinct_id: NamedId,
        /// The id that joins.
        alias: NamedId,
    },
    /// A `merge_dangerously`, which D3, D6, D9 and D12 do not bind.
    MergeDangerously {
        /// Whose operation it is.
        distinct_id: NamedId,
        /// The id that joins.
        alias: NamedId,
    },
    /// Another value of a policy field, for operations from then on; the operation has to be sent again.
    Policy {
        /// The field.
        field: &'static str,
    },
    /// A `reclassify` of an id that a policy made unmergeable or shared (H5). The link is then asked again.
    Reclassify {
        /// The id.
        distinct_id: NamedId,
        /// As what: `named`.
        class: &'static str,
    },
    /// The operation once more, with person processing on.
    Processing,
    /// A `retract` of the record that took the link back. The link counts again, unless another retract names it too or a rule
    /// refuses it.
    Retract {
        /// That record.
        seq: Seq,
    },
}

/// What to do, without a full stop.
impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Alias { retract, distinct_id, alias } => {
                let (id, other) = (&distinct_id.text, &alias.text);
                write!(
                    f,
                    "a `retract` of record {retract}, then the other direction: `alias` of `{id}` with `{other}`"
                )
            }
            Remedy::MergeDangerously { distinct_id, alias } => {
                write!(f, "`merge_dangerously` of `{}` with `{}`", distinct_id.text, alias.text)
            }
            Remedy::Policy { field } => {
                write!(f, "another `{field}` in the policy, and the operation once more")
            }
            Remedy::Reclassify { distinct_id, class } => {
                write!(f, "a `reclassify` of `{}` as {class}", distinct_id.text)
            }
            Remedy::Processing => f.write_str("the operation once more, with person processing on"),
            Remedy::Retract { seq } => write!(f, "a `retract` of record {seq}"),
        }
    }
}

impl WhyNot {
    /// The steps at which something was refused.
    pub fn barriers(&self) -> impl Iterator<Item = (&WhyNotStep, &Barrier)> {
        self.way.iter().filter_map(|step| Some((step, step.barrier.as_ref()?)))
    }
}

/// What keeps the ends of a record apart: the rule, the record that blocks, and the same in a sentence.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    pub(crate) rule: &'static str,
    pub(crate) by: Seq,
    pub(crate) reason: String,
}

/// A record that names two ids, as a way between them.
#[derive(Clone, Copy)]
struct Path<'a> {
    told: &'a Told,
    to: IdNo,
    /// Whether its ends are one person: then it costs nothing.
    is_open: bool,
}

impl Reader {
    /// Why two ids are two persons; `None` if one of them was never written.
    ///
    /// The way has the fewest barriers there can be, and of those ways the fewest steps; of equals each id, from the last on, is
    /// reached by the lowest record. Ids that share a device and nothing else are not linked by it.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// for (user, browser) in [("ann", "phone"), ("bob", "laptop")] {
    ///     let _ = ledger.append(Operation::identify(at, DistinctId::new(user)?, Some(Source::new(browser))))?;
    /// }
    /// let refused = ledger.append(Operation::alias(at, DistinctId::new("ann")?, Source::new("bob")))?;
    ///
    /// let why_not = ledger.why_not("phone", "laptop")?.ok_or("never written")?;
    /// let (step, barrier) = why_not.barriers().next().ok_or("nothing between them")?;
    /// assert_eq!((Some(step.seq), barrier.rule), (refused.seq(), "D6"));
    /// assert_eq!(why_not.way.len(), 3); // phone, ann, bob, laptop
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Cost: the records of their component, read and folded once; twice if something was retracted or split.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn why_not(&self, a: &str, b: &str) -> Result<Option<WhyNot>, Fault> {
        self.prove_texts()?;
        let (Some(a), Some(b)) = (self.id_no(a), self.id_no(b)) else { return Ok(None) };
        self.prove_component(a)?;
        self.prove_component(b)?;
        let same =
            a == b || self.state().person(a).is_some() && self.state().person(a) == self.state().person(b);
        let way = if same { Vec::new() } else { self.way(a, b)? };
        let [person_a, person_b] = [a, b].map(|id| self.resolution(id, None).person_id);
        Ok(Some(WhyNot { same, person_a, person_b, way }))
    }

    fn way(&self, a: IdNo, b: IdNo) -> Result<Vec<WhyNotStep>, Fault> {
        let all = self.told(a)?;
        let state = self.state();
        let mut paths: BTreeMap<IdNo, Vec<Path<'_>>> = BTreeMap::new();
        for told in &all {
            if let Some([target, source]) = told.ends() {
                let person = state.person(target);
                let is_open = person.is_some() && person == state.person(source);
                for (from, to) in [(target, source), (source, target)] {
                    paths.entry(from).or_default().push(Path { told, to, is_open });
                }
            }
        }
        // Dijkstra, by (barriers, steps). A place is reached for good when it is taken out; of equal ways the first record wins.
        let mut reached: BTreeMap<IdNo, (u32, u32)> = BTreeMap::from([(a, (0, 0))]);
        let mut by: BTreeMap<IdNo, (IdNo, Path<'_>)> = BTreeMap::new();
        let mut due = BinaryHeap::from([Reverse(((0, 0), a))]);
        while let Some(Reverse((cost, at))) = due.pop() {
            if at == b {
                break;
            }
            if reached[&at] < cost {
                continue;
            }
            for path in paths.get(&at).into_iter().flatten() {
                let next = (cost.0 + u32::from(!path.is_open), cost.1 + 1);
                let better = match reached.get(&path.to) {
                    None => true,
                    Some(known) if next == *known => {
                        by.get(&path.to).is_some_and(|(_, known)| path.told.seq < known.told.seq)
                    }
                    Some(known) => next < *known,
                };
                if better {
                    if reached.insert(path.to, next) != Some(next) {
                        due.push(Reverse((next, path.to)));
                    }
                    by.insert(path.to, (at, *path));
                }
            }
        }
        let mut links: BTreeMap<PersonNo, u32> = BTreeMap::new();
        for told in all.iter().filter(|told| told.retracted_by.is_none() && told.ends().is_some()) {
            self.spoken_for(told).into_iter().for_each(|person| *links.entry(person).or_default() += 1);
        }
        let splits: Vec<Seq> = all.iter().filter(|told| told.splits()).map(|told| told.seq).collect();
        let mut way = Vec::new();
        let mut at = b;
        while let Some((from, path)) = by.get(&at) {
            way.push(self.why_not_step(*from, *path, &splits, &links));
            at = *from;
        }
        way.reverse();
        Ok(way)
    }

    fn why_not_step(
        &self,
        from: IdNo,
        Path { told, to, is_open }: Path<'_>,
        splits: &[Seq],
        links: &BTreeMap<PersonNo, u32>,
    ) -> WhyNotStep {
        let head = told.body.head().expect("only operations name two ids");
        WhyNotStep {
            seq: told.seq,
            op: told.body.name(),
            time: head.time(),
            ids: [self.named(from), self.named(to)],
            barrier: (!is_open).then(|| self.barrier(told, splits, links)),
        }
    }

    /// What keeps the ends of a record apart; `links` counts, by person, the links that speak for it.
    fn barrier(&self, told: &Told, splits: &[Seq], links: &BTreeMap<PersonNo, u32>) -> Barrier {
        let Obstacle { rule, by, reason } = self.obstacle(told, splits);
        let now = told.now.unwrap_or_default();
        let remedy = match (told.retracted_by, now.refusal, now.shared) {
            (Some(seq), ..) => Some(Remedy::Retract { seq }),
            (None, Some(refusal), _) => self.remedy(told, &refusal, links),
            (None, None, Some(SharedEffect::SignedIn(shared))) => self.mergeable_again(shared, by),
            (None, None, _) => self.merge_of(told),
        };
        Barrier { rule, blocking_seq: by, reason, remedy }
    }

    /// What keeps the ends of a record apart, where `splits` are the records of its component that split a person.
    pub(crate) fn obstacle(&self, told: &Told, splits: &[Seq]) -> Obstacle {
        if let Some(by) = told.retracted_by {
            return Obstacle { rule: "H1", by, reason: format!("it was retracted (record {by})") };
        }
        if let Some(refusal) = told.now.and_then(|outcome| outcome.refusal) {
            let reason = told.reason.clone().unwrap_or_default();
            return Obstacle { rule: refusal.rule(), by: refusal.blocking(), reason };
        }
        if let Some(SharedEffect::SignedIn(shared)) = told.now.and_then(|outcome| outcome.shared) {
            let by = self.state().classed_by(shared);
            let reason = format!(
                "id `{}` is shared (record {by}): a user signs in on it, and nothing is linked",
                self.id_name(shared)
            );
            return Obstacle { rule: "D13", by, reason };
        }
        let by = self.parted_by(told, splits).unwrap_or(told.seq);
        Obstacle { rule: "H2", by, reason: format!("they were one person and were parted (record {by})") }
    }

    /// What would join the ends of a link that is refused.
    fn remedy(&self, told: &Told, refusal: &Refusal, links: &BTreeMap<PersonNo, u32>) -> Option<Remedy> {
        match refusal {
            Refusal::ProcessingOff { .. } => Some(Remedy::Processing),
            Refusal::Unmergeable { id: Some(id), by } => self.mergeable_again(*id, *by),
            Refusal::TooManyMovedIds { .. } => Some(Remedy::Policy { field: "max_moved_ids" }),
            Refusal::TooManyIds { .. } => Some(Remedy::Policy { field: "max_ids_per_person" }),
            Refusal::SourceIdentified { .. } if self.identifies_alone(told, links) => {
                let Remedy::MergeDangerously { distinct_id, alias } = self.merge_of(told)? else {
                    return None;
                };
                Some(Remedy::Alias { retract: told.seq, distinct_id: alias, alias: distinct_id })
            }
            Refusal::SourceIdentified { .. }
            | Refusal::JoinsIdentified { .. }
            | Refusal::TooManyUserIds { .. }
            | Refusal::TooManyOfKind { .. } => self.merge_of(told),
            _ => None,
        }
    }

    /// What lets an unmergeable id merge: nothing, if its text stands for no particular person under every policy (B2).
    fn mergeable_again(&self, id: IdNo, by: Seq) -> Option<Remedy> {
        let text = self.id_text(id)?;
        if self.state().defined_by(id) != by {
            return Some(Remedy::Retract { seq: by }); // it was reclassified
        }
        let always = !Policy::default().classify(text, FirstMention::Plain).is_mergeable();
        let class = IdClass::Named.name();
        (!always).then(|| Remedy::Reclassify { distinct_id: self.named(id), class })
    }

    /// Whether nothing but this link identifies the person that it speaks for, and the policy would let that person be absorbed.
    fn identifies_alone(&self, told: &Told, links: &BTreeMap<PersonNo, u32>) -> bool {
        let policy = self.policy();
        !policy.refuse_joining_identified
            && policy.max_user_ids.is_none()
            && self.spoken_for(told).is_some_and(|person| links.get(&person) == Some(&1))
    }

    /// The person that an operation speaks for, as things stand.
    fn spoken_for(&self, told: &Told) -> Option<PersonNo> {
        self.state().person(told.body.head()?.id)
    }

    /// A merge of the ends of a link. None where limits of D8 might refuse it, or where a text is erased.
    fn merge_of(&self, told: &Told) -> Option<Remedy> {
        let limits = [self.policy().max_moved_ids, self.policy().max_ids_per_person];
        let ends = told.ends()?;
        let is_erased = |id| self.state().id_erased_by(id).is_some();
        if limits.iter().any(Option::is_some) || ends.into_iter().any(is_erased) {
            return None;
        }
        let [distinct_id, alias] = ends.map(|id| self.named(id));
        Some(Remedy::MergeDangerously { distinct_id, alias })
    }

    /// The split by which the ends of a link came to be two persons, of those of its component.
    pub(crate) fn parted_by(&self, told: &Told, splits: &[Seq]) -> Option<Seq> {
        let ends = told.ends()?;
        let apart = |seq: Seq| {
            let [a, b] = ends.map(|id| self.state().person_as_of(id, seq));
            a != b
        };
        splits.iter().copied().find(|split| *split > told.seq && apart(*split))
    }
}
