//! Histories: every record that touched an id or a person, with what became of it.
//!
//! A record touches an id that it names, and one whose person it changes without a word about it: a merge moves all ids of the
//! person it absorbs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fold::{Outcome, PersonNo, State};
use crate::log::body::{AskedVerb, Body, DeviceNo, IdNo, LinkSource};
use crate::log::component::{ComponentRecords, Node};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::answer::OutcomeAnswer;
use crate::query::page::{Cursor, Page, PageError, PageRequest};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// Whose history, or whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The records or events of this distinct id alone.
    Id(&'a str),
    /// Of all ids of the person that an id belongs to.
    Person(&'a str),
}

/// A record that touched an id or person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The record that touched the subject.
    pub seq: Seq,
    /// What it asked, defined or erased.
    pub op: &'static str,
    /// When, by the sender's clock; only operations have a time.
    pub time: Option<Timestamp>,
    /// When it was recorded, by the writer's clock (A1).
    pub recorded_at: Timestamp,
    /// What it did when it was recorded; `None` if it is not an operation.
    pub outcome: Option<OutcomeAnswer>,
    /// The record that retracted it (H1).
    pub retracted_by: Option<Seq>,
}

/// A record of one component.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) seq: Seq,
    pub(crate) body: Body,
    /// The device it defines.
    pub(crate) defines: Option<DeviceNo>,
    /// What it did when it was recorded; `None` if it is not an operation.
    pub(crate) then: Option<OutcomeAnswer>,
    /// What it does as things stand now, without what was retracted. `None` if it was retracted itself, is a
    /// retract, or is not an operation. Its persons have numbers of their own.
    pub(crate) now: Option<Outcome>,
    /// Why it is refused as things stand now.
    pub(crate) reason: Option<String>,
    /// The record that retracts it.
    pub(crate) retracted_by: Option<Seq>,
}

impl Told {
    /// Whether it splits a person.
    pub(crate) fn splits(&self) -> bool {
        matches!(self.body.verb(), Some(AskedVerb::Split(_)))
    }

    /// T and S, if it asks to link two ids.
    pub(crate) fn ends(&self) -> Option<[IdNo; 2]> {
        match (self.body.head(), self.body.other()) {
            (Some(head), LinkSource::Id(source)) if source != head.id => Some([head.id, source]),
            _ => None,
        }
    }
}

impl Reader {
    /// The records that touched an id or a person, in the order of the log, page by page; `None` if the id was never written.
    ///
    /// Of a person those count that touched any of its ids. Outcomes are those of the time: what was told to the sender.
    ///
    /// Cost: that of folding the component of possible links once more, for each page. A caller that wants all of a long history asks
    /// [`Reader::history_pages`], which folds it once.
    ///
    /// ```
    /// use identity_ledger::{PageRequest, DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// use identity_ledger::explain::Subject;
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let _ = ledger.append(Operation::properties(at, DistinctId::new("phone")?))?;
    /// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
    ///
    /// let page = ledger.reader().history(Subject::Id("phone"), PageRequest::first(100))?.ok_or("never written")?;
    /// let ops: Vec<&str> = page.items.iter().map(|entry| entry.op).collect();
    /// assert_eq!(ops, ["define_id", "set", "identify"]);
    /// assert!(page.next.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PageError`].
    pub fn history(
        &self,
        of: Subject<'_>,
        ask: PageRequest,
    ) -> Result<Option<Page<HistoryEntry>>, PageError> {
        self.history_pages(of).page(ask)
    }

    /// The same for several pages, whose component is folded once.
    ///
    /// ```
    /// # use identity_ledger::{PageRequest, DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
    /// # use identity_ledger::explain::Subject;
    /// # let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// # let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new("phone")?))?;
    /// let mut pages = ledger.reader().history_pages(Subject::Id("phone"));
    /// let (mut ask, mut seqs) = (PageRequest::first(1), Vec::new());
    /// while let Some(page) = pages.page(ask)? {
    ///     seqs.extend(page.items.iter().map(|entry| entry.seq.0));
    ///     let Some(next) = page.next else { break };
    ///     ask = PageRequest::next(next, 1);
    /// }
    /// assert_eq!(seqs, [1, 2]); // what defined the id, and what was said for it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history_pages<'r>(&'r self, of: Subject<'r>) -> HistoryPages<'r> {
        HistoryPages { reader: self, of, found: None }
    }

    /// All that pages of a history are made of; `None` if the id was not yet written.
    fn history_found(&self, of: Subject<'_>, as_of: Seq) -> Result<Option<Found>, Fault> {
        let Some((id, ids)) = self.subject(of, as_of)? else { return Ok(None) };
        let defined: BTreeSet<Seq> = ids.iter().map(|id| self.state().defined_by(*id)).collect();
        let mut touched = defined.clone();
        for id in &ids {
            touched.extend(self.state().moves(*id));
            touched.extend(self.naming(*id, as_of)?);
        }
        if matches!(of, Subject::Person(_)) {
            touched.extend(self.said_for(&ids, as_of)?);
        }
        let touched = touched.into_iter().filter(|seq| *seq <= as_of).collect();
        let told = self.told_as_of(id, as_of)?.into_iter().map(|told| (told.seq, told)).collect();
        Ok(Some(Found { as_of, defined, touched, told }))
    }

    /// Whose ids are asked about, as of a record: the id named, and all of them, ascending. `None` if it was not yet written.
    pub(crate) fn subject(&self, of: Subject<'_>, as_of: Seq) -> Result<Option<(IdNo, Vec<IdNo>)>, Fault> {
        self.prove_texts()?;
        let (Subject::Id(text) | Subject::Person(text)) = of;
        let Some(id) = self.id_no(text).filter(|id| self.state().defined_by(*id) <= as_of) else {
            return Ok(None);
        };
        self.prove_component(id)?;
        let person = match of {
            Subject::Id(_) => None,
            Subject::Person(_) => self.state().person_as_of(id, as_of),
        };
        let Some(person) = person else { return Ok(Some((id, vec![id]))) };
        if as_of.0 + 1 == self.state().records() {
            return Ok(Some((id, self.state().ids_of(person))));
        }
        // All ids that this person had then are in the same component.
        let (named, _) = self.log.component(Node::Id(id), as_of.0 + 1)?.named();
        let is_of = |id: &IdNo| self.state().person_as_of(*id, as_of) == Some(person);
        Ok(Some((id, named.into_iter().filter(is_of).collect())))
    }

    /// The records up to `as_of` that name an id, ascending, but for the one that defines it.
    pub(crate) fn naming(&self, id: IdNo, as_of: Seq) -> Result<Vec<Seq>, Fault> {
        let naming = self.log.naming(Node::Id(id), as_of.0 + 1)?;
        Ok(naming.into_iter().map(|seq| Seq(seq.into())).collect())
    }

    /// The operations up to `as_of` that shared ids said for one of these ids, ascending (D13). Cost: the records of their components, if a
    /// shared id ever spoke for one of them.
    pub(crate) fn said_for(&self, ids: &[IdNo], as_of: Seq) -> Result<Vec<Seq>, Fault> {
        let state = self.state();
        let is_said = |record: &Record<'_>| {
            let (id, seq) = (record.row.id, record.seq());
            let speaks_for = state.speaks_for_as_of(id, seq, as_of);
            record.is_operation() && speaks_for != id && ids.binary_search(&speaks_for).is_ok()
        };
        let spoken_for = ids.iter().copied().filter(|id| state.speakers(*id).next().is_some());
        let mut due: BTreeSet<IdNo> = spoken_for.collect();
        let mut said = Vec::new();
        while let Some(id) = due.pop_first() {
            let told = self.log.component(Node::Id(id), as_of.0 + 1)?;
            said.extend(told.records().filter(is_said).map(|record| record.seq()));
            for named in told.named().0 {
                due.remove(&named);
            }
        }
        said.sort_unstable();
        Ok(said)
    }

    /// The records of the component of `id`, in the order of the log: all that name an id or a device that records connect with
    /// it, refused or not; and all policies.
    pub(crate) fn told(&self, id: IdNo) -> Result<Vec<Told>, Fault> {
        self.told_as_of(id, Seq(self.state().records() - 1))
    }

    /// The records up to `as_of` of the component that `id` had then.
    ///
    /// Cost: those records, read and folded once; twice if something was retracted or split.
    pub(crate) fn told_as_of(&self, id: IdNo, as_of: Seq) -> Result<Vec<Told>, Fault> {
        let excerpt = self.log.component(Node::Id(id), as_of.0 + 1)?;
        let (ids, devices) = excerpt.named();
        let retracted_by = excerpt.retracted_by();
        let mut all: Vec<Told> = excerpt
            .records()
            .map(|record| Told {
                seq: record.seq(),
                body: record.body(),
                defines: record.row.device().filter(|_| record.row.kind == Kind::DefineDevice),
                then: None,
                now: None,
                reason: None,
                retracted_by: retracted_by.get(&record.row.seq).map(|by| Seq((*by).into())),
            })
            .collect();
        let place = |all: &[Told], seq: u32| {
            let place = all.binary_search_by_key(&Seq(seq.into()), |told| told.seq);
            place.expect("what is told of is in the excerpt")
        };
        let person_id = |person: PersonNo, small: &State| {
            let founding = ids[small.founding(person).index()];
            self.id_called(self.state().called_alone(founding, small.origin(person)))
        };
        let answer = |told: &Told, outcome: &Outcome, small: &State| {
            let here = Some((small, Some(&ids[..])));
            self.outcome_told(told.seq, &told.body, outcome, here, &|person| person_id(person, small))
        };
        let refolds = excerpt.records().any(|record| record.row.refolds());
        self.state().retell(&excerpt, |seq, outcome, small| {
            let told = place(&all, seq);
            let told = &mut all[told];
            let outcome = outcome.relabelled(&ids, &devices);
            let then = answer(told, &outcome, small);
            if !refolds {
                (told.now, told.reason) = (Some(outcome), then.reason.clone());
            }
            told.then = Some(then);
        });
        if refolds {
            self.state().alone_telling(&excerpt, |seq, outcome, small| {
                let told = place(&all, seq);
                let told = &mut all[told];
                if told.body.verb().is_some_and(AskedVerb::refolds) {
                    return;
                }
                let outcome = outcome.relabelled(&ids, &devices);
                told.reason = answer(told, &outcome, small).reason;
                told.now = Some(outcome);
            });
        }
        Ok(all)
    }
}

/// A history, page by page: see [`Reader::history_pages`].
#[derive(Debug)]
pub struct HistoryPages<'r> {
    reader: &'r Reader,
    of: Subject<'r>,
    found: Option<Found>,
}

/// What the pages of a history as of one record are made of.
#[derive(Debug)]
struct Found {
    as_of: Seq,
    /// The records that defined the ids.
    defined: BTreeSet<Seq>,
    /// All records that touched them, ascending.
    touched: Vec<Seq>,
    /// What is told of their component.
    told: BTreeMap<Seq, Told>,
}

impl HistoryPages<'_> {
    /// A page; `None` if the id was never written.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn page(&mut self, ask: PageRequest) -> Result<Option<Page<HistoryEntry>>, PageError> {
        let reader = self.reader;
        let (as_of, after) = ask.place(reader.state().records())?;
        let found = match self.found.take().filter(|found| found.as_of == as_of) {
            Some(found) => found,
            None => match reader.history_found(self.of, as_of)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let Found { defined, touched, told, .. } = self.found.insert(found);
        let begin = touched.partition_point(|seq| after.is_some_and(|after| seq.0 <= after));
        let seqs = &touched[begin..touched.len().min(begin + ask.items())];
        let Some(last) = seqs.last().copied() else { return Ok(Some(Page::empty())) };
        let times = reader.log.times(seqs)?;
        let mut items = Vec::with_capacity(seqs.len());
        for (&seq, recorded_at) in seqs.iter().zip(times) {
            let told = told.get(&seq);
            let op = match told {
                Some(told) => told.body.name(),
                None if defined.contains(&seq) => "define_id",
                None => reader.body(seq)?.expect("it touched an id").name(), // an erasure, which connects no ids
            };
            let then = told.and_then(|told| told.then.clone());
            items.push(HistoryEntry {
                seq,
                op,
                time: told.and_then(|told| told.body.head()).map(|head| head.time()),
                recorded_at,
                retracted_by: told.and_then(|told| told.retracted_by),
                outcome: then.map(|then| OutcomeAnswer { recorded_at: Some(recorded_at), ..then }),
            });
        }
        let more = begin + seqs.len() < touched.len();
        Ok(Some(Page { items, next: more.then_some(Cursor { as_of, after: last.0 }) }))
    }
}

impl ComponentRecords {
    /// The records that count as never asked, each with the one that took it back (H1).
    pub(crate) fn retracted_by(&self) -> BTreeMap<u32, u32> {
        let retracted = self.retracted();
        let mut by = BTreeMap::new();
        for row in self.records().map(|record| record.row) {
            if let Some(target) = row.target().filter(|target| retracted.contains(target))
                && !retracted.contains(&row.seq)
                && self.record(target).is_some_and(|found| found.row.id == row.id)
            {
                by.entry(target).or_insert(row.seq);
            }
        }
        by
    }
}
