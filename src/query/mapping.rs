//! Mappings: who is who as another system says, held against what the ledger says, id by id.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::log::body::IdNo;
use crate::model::id::{PersonId, Seq};
use crate::model::limits::MAX_MAPPED_IDS;
use crate::query::apart::{Components, Link};
use crate::query::explain::why_not::Obstacle;
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
/// let mut why = ledger.reader().explain_differences(&mapping)?;
/// assert_eq!(why.explain(&comparison.differences[1])?.seq.map(|seq| seq.0), Some(3));
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

    /// The person that the mapping has for an id, as a number of its own. `None` if it does not name the id, or has no person for it.
    pub fn person(&self, distinct_id: &str) -> Option<u32> {
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

    /// What says why there are differences. What a snapshot says is held against the log first.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn explain_differences<'a>(&'a self, mapping: &'a Mapping) -> Result<DifferenceExplainer<'a>, Fault> {
        self.prove_snapshot()?;
        let person = |id| self.id_text(id).and_then(|text| mapping.person(text));
        let components = Components::of(self, move |a, b| person(a) == person(b));
        Ok(DifferenceExplainer { reader: self, components })
    }
}

/// Says of differences why they are there: [`Reader::explain_differences`] makes it. It folds a component when the first of its ids is asked about, and keeps
/// what it needs of it: a few bytes for each link that was made, and the first that was refused between two persons.
pub struct DifferenceExplainer<'a> {
    reader: &'a Reader,
    components: Components<'a>,
}

impl std::fmt::Debug for DifferenceExplainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DifferenceExplainer")
    }
}

impl DifferenceExplainer<'_> {
    /// Why there is a difference: a record that joins the two here, or one that was to and the rule that refused it.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn explain(&mut self, difference: &Difference) -> Result<DifferenceReason, Fault> {
        let plain = |reason: &str| DifferenceReason { seq: None, rule: None, reason: reason.to_owned() };
        let id = |text: &str| self.reader.id_no(text);
        let ids = difference.other.as_deref().and_then(id).zip(id(&difference.distinct_id));
        Ok(match (difference.kind, ids) {
            (DifferenceKind::JoinedThere, Some((other, stray))) => {
                match self.components.barrier(other, stray)? {
                    Some((link, Obstacle { rule, reason, .. })) => DifferenceReason {
                        seq: Some(link.seq),
                        rule: Some(rule),
                        reason: format!("{}: {reason}", self.said(link)),
                    },
                    None => plain("no chain of records leads from the one to the other"),
                }
            }
            (DifferenceKind::JoinedHere, Some((other, stray))) => {
                match self.components.joint(other, stray)? {
                    Some(link) => {
                        let reason = format!("{} at {}", self.said(link), link.time);
                        DifferenceReason { seq: Some(link.seq), rule: None, reason }
                    }
                    None => plain("they are one person"),
                }
            }
            (DifferenceKind::MissingThere, _) => plain("the mapping does not name it"),
            _ => plain("no record names it"),
        })
    }

    fn said(&self, Link { op, ends, .. }: Link) -> String {
        let [one, other] = ends.map(|id| self.reader.id_name(id));
        match op {
            "split" => format!("{op} that left `{one}` with `{other}`"),
            _ => format!("{op} of `{one}` with `{other}`"),
        }
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
