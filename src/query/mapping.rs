//! Mappings: who is who as another system says, held against what the ledger says, id by id.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::log::body::IdNo;
use crate::model::id::{PersonId, Seq};
use crate::model::limits::MAX_MAPPED_IDS;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// Who is who as another system says: of each id, whose it is.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// use identity_ledger::answer::{DifferenceKind, Mapping};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
/// let mut mapping = Mapping::default();
/// for (id, person) in [("ann", "p1"), ("phone", "p2"), ("laptop", "p1")] {
///     mapping.insert(id, Some(person), 0)?;
/// }
/// let comparison = ledger.reader().compare(&mapping);
/// assert_eq!((comparison.counts.joined_here, comparison.counts.missing_here), (1, 1));
/// assert_eq!(comparison.differences[0].kind, DifferenceKind::MissingHere);
/// assert_eq!(ledger.reader().explain_difference(&mapping, &comparison.differences[1])?.seq.map(|seq| seq.0), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Whose each id is, by the person's number, and how new that statement is.
    ids: BTreeMap<String, (Option<u32>, u64)>,
    persons: BTreeMap<String, u32>,
}

/// A mapping names more ids than are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the mapping names more than {MAX_MAPPED_IDS} ids; expected at most that many: compare it in parts, by person"
)]
pub struct MappingError;

impl Mapping {
    /// Says whose an id is, `None` if it was deleted there. Of two statements about one id the one of the greater version holds, of equals
    /// the later.
    ///
    /// # Errors
    /// [`MappingError`] if it would name more than [`MAX_MAPPED_IDS`] ids.
    pub fn insert(
        &mut self,
        distinct_id: &str,
        person: Option<&str>,
        version: u64,
    ) -> Result<(), MappingError> {
        if let Some((_, held)) = self.ids.get(distinct_id) {
            if version < *held {
                return Ok(());
            }
        } else if self.ids.len() == MAX_MAPPED_IDS {
            return Err(MappingError);
        }
        let number = person.map(|person| self.number(person));
        self.ids.insert(distinct_id.to_owned(), (number, version));
        Ok(())
    }

    fn number(&mut self, person: &str) -> u32 {
        if let Some(number) = self.persons.get(person) {
            return *number;
        }
        let number = u32::try_from(self.persons.len()).expect("no more persons than ids");
        self.persons.insert(person.to_owned(), number);
        number
    }

    /// How many ids it names.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it names no id.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn person(&self, distinct_id: &str) -> Option<u32> {
        self.ids.get(distinct_id).and_then(|(person, _)| *person)
    }
}

/// In what a mapping and a ledger differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How many ids there are of each kind.
    pub counts: ComparisonCounts,
    /// The differences about ids of the mapping, by id. The ids that it does not name are in [`Reader::unmapped`].
    pub differences: Vec<Difference>,
}

/// How many ids agree, and how many do not. An id may be joined too much and too little at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComparisonCounts {
    /// Ids that the mapping gives to a person.
    pub mapped: u64,
    /// Those of them that are with the same ids here as there.
    pub same: u64,
    /// Ids that are of one person there, and here of another person than most ids of that one.
    pub joined_there: u64,
    /// Ids that are of one person here, and there of another person than most ids of that one.
    pub joined_here: u64,
    /// Ids of the mapping that the ledger never wrote.
    pub missing_here: u64,
    /// Ids of the ledger that the mapping does not name. Erased ids are not counted.
    pub missing_there: u64,
}

/// One difference, about one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The id.
    pub distinct_id: String,
    /// What the difference is.
    pub kind: DifferenceKind,
    /// The id that it is joined with on one side and not on the other; `None` if one side does not have the id at all.
    pub other: Option<String>,
    /// Its person here; `None` if the ledger never wrote it.
    pub person_id: Option<PersonId>,
    /// The name of its person there; `None` if the mapping does not name it.
    pub person_there: Option<String>,
}

/// What a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Joined there, not here.
    JoinedThere,
    /// Joined here, not there.
    JoinedHere,
    /// The mapping names it, the ledger does not.
    MissingHere,
    /// The ledger names it, the mapping does not.
    MissingThere,
}

impl DifferenceKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DifferenceKind::JoinedThere => "joined_there",
            DifferenceKind::JoinedHere => "joined_here",
            DifferenceKind::MissingHere => "missing_here",
            DifferenceKind::MissingThere => "missing_there",
        }
    }
}

/// Why there is a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferenceReason {
    /// The record that joins the two here, or that asked to and was refused; `None` if no record names them.
    pub seq: Option<Seq>,
    /// The rule that refused it.
    pub rule: Option<&'static str>,
    /// The same in a sentence.
    pub reason: String,
}

/// An id that both sides know, and whose it is.
struct Known<'a> {
    text: &'a str,
    here: PersonId,
    there: u32,
}

impl Reader {
    /// Compares who is who here with what a mapping says. Costs what its ids and the ledger's ids cost to look at once; no record is read.
    pub fn compare(&self, mapping: &Mapping) -> Comparison {
        let mut counts = ComparisonCounts::default();
        let (mut known, mut differences) = (Vec::new(), Vec::new());
        let names: BTreeMap<u32, &str> =
            mapping.persons.iter().map(|(name, number)| (*number, name.as_str())).collect();
        let name = |number: u32| names.get(&number).map(|name| (*name).to_owned());
        for (text, (there, _)) in &mapping.ids {
            let Some(there) = *there else { continue };
            counts.mapped += 1;
            match self.resolve(text) {
                Some(resolved) => known.push(Known { text, here: resolved.person_id, there }),
                None => {
                    counts.missing_here += 1;
                    let kind = DifferenceKind::MissingHere;
                    let (distinct_id, person_there) = (text.clone(), name(there));
                    differences.push(Difference {
                        distinct_id,
                        kind,
                        other: None,
                        person_id: None,
                        person_there,
                    });
                }
            }
        }
        let mut different = BTreeSet::new();
        let there = strays(&known, |id| id.there, |id| id.here);
        let here = strays(&known, |id| id.here, |id| id.there);
        counts.joined_there = there.len() as u64;
        counts.joined_here = here.len() as u64;
        for (kind, strays) in [(DifferenceKind::JoinedThere, there), (DifferenceKind::JoinedHere, here)] {
            for (stray, other) in strays {
                let Known { text, here, there } = &known[stray];
                different.insert(*text);
                differences.push(Difference {
                    distinct_id: (*text).to_owned(),
                    kind,
                    other: Some(known[other].text.to_owned()),
                    person_id: Some(*here),
                    person_there: name(*there),
                });
            }
        }
        counts.same = (known.len() - different.len()) as u64;
        differences.sort_by(|a, b| (&a.distinct_id, a.kind).cmp(&(&b.distinct_id, b.kind)));
        counts.missing_there = self.unmapped_texts(mapping).count() as u64;
        Comparison { counts, differences }
    }

    /// The ids of the ledger that a mapping does not name, in the order in which they were first written.
    pub fn unmapped<'a>(&'a self, mapping: &'a Mapping) -> impl Iterator<Item = Difference> + 'a {
        self.unmapped_texts(mapping).map(|text| Difference {
            distinct_id: text.to_owned(),
            kind: DifferenceKind::MissingThere,
            other: None,
            person_id: self.resolve(text).map(|resolved| resolved.person_id),
            person_there: None,
        })
    }

    fn unmapped_texts<'a>(&'a self, mapping: &'a Mapping) -> impl Iterator<Item = &'a str> {
        let ids = u32::try_from(self.state().ids().len()).unwrap_or(u32::MAX); // ids have numbers of 32 bits
        let texts = (0..ids).filter_map(|id| self.id_text(IdNo(id)));
        texts.filter(|text| !mapping.ids.contains_key(*text))
    }

    /// Says why there is a difference: the record that joins the two here, or what keeps them apart.
    ///
    /// # Errors
    /// [`Fault`] if records cannot be read.
    pub fn explain_difference(
        &self,
        mapping: &Mapping,
        difference: &Difference,
    ) -> Result<DifferenceReason, Fault> {
        let plain = |reason: &str| Ok(DifferenceReason { seq: None, rule: None, reason: reason.to_owned() });
        match (difference.kind, &difference.other) {
            (DifferenceKind::JoinedThere, Some(other)) => self.explain_apart(other, &difference.distinct_id),
            (DifferenceKind::JoinedHere, Some(other)) => {
                self.explain_joined(mapping, other, &difference.distinct_id)
            }
            (DifferenceKind::MissingThere, _) => plain("the mapping does not name it"),
            _ => plain("no record names it"),
        }
    }

    fn explain_apart(&self, a: &str, b: &str) -> Result<DifferenceReason, Fault> {
        let found = self.why_not(a, b)?;
        let barrier = found.as_ref().and_then(|found| found.barriers().next());
        Ok(match barrier {
            Some((step, barrier)) => {
                let [from, to] = &step.ids;
                let (op, reason) = (step.op, &barrier.reason);
                DifferenceReason {
                    seq: Some(step.seq),
                    rule: Some(barrier.rule),
                    reason: format!("{op} of `{from}` with `{to}`: {reason}"),
                }
            }
            None => {
                let reason = "no chain of records leads from the one to the other".to_owned();
                DifferenceReason { seq: None, rule: None, reason }
            }
        })
    }

    /// The first step of the way that leads out of the person that the mapping has for `a`.
    fn explain_joined(&self, mapping: &Mapping, a: &str, b: &str) -> Result<DifferenceReason, Fault> {
        let found = self.explain(a, b)?;
        let steps = found.iter().flat_map(|found| &found.steps);
        let is_same = |text: &str| mapping.person(text) == mapping.person(a);
        let step = steps.clone().find(|step| !is_same(&step.ids[1].text)).or(steps.last());
        Ok(match step {
            Some(step) => {
                let ([from, to], op, time) = (&step.ids, step.op, step.time);
                DifferenceReason {
                    seq: Some(step.seq),
                    rule: None,
                    reason: format!("{op} of `{from}` with `{to}` at {time}"),
                }
            }
            None => DifferenceReason { seq: None, rule: None, reason: "they are one id".to_owned() },
        })
    }
}

/// Of ids that are of one person on one side: those that are, on the other, with another person than most of them. Each with the first of
/// the most.
fn strays<A: Ord, B: Ord>(
    known: &[Known<'_>],
    one: impl Fn(&Known<'_>) -> A,
    other: impl Fn(&Known<'_>) -> B,
) -> Vec<(usize, usize)> {
    let mut groups: BTreeMap<A, BTreeMap<B, Vec<usize>>> = BTreeMap::new();
    for (place, id) in known.iter().enumerate() {
        groups.entry(one(id)).or_default().entry(other(id)).or_default().push(place);
    }
    let mut strays = Vec::new();
    for parts in groups.into_values().filter(|parts| parts.len() > 1) {
        // Of parts of one size the one with the smallest id.
        let most = parts.values().max_by_key(|part| (part.len(), std::cmp::Reverse(part[0])));
        let Some(first) = most.map(|part| part[0]) else { continue };
        let rest = parts.into_values().filter(|part| part[0] != first);
        strays.extend(rest.flatten().map(|place| (place, first)));
    }
    strays
}
