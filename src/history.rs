//! Histories: every record that touched an id or a person, with what became of it.
//!
//! A record touches an id that it names, and one whose person it changes without a word about it: a merge moves all ids of the
//! person it absorbs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::answer::OutcomeAnswer;
use crate::book::Book;
use crate::id::Seq;
use crate::log::Fault;
use crate::page::{Ask, Cursor, Filling, Page, PageError};
use crate::record::{Body, DeviceNo, IdNo, Other};
use crate::row::{Kind, Record};
use crate::state::Outcome;
use crate::time::Timestamp;

/// Whose history, or whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// One id's.
    Id(&'a str),
    /// Of all ids of the person that an id belongs to.
    Person(&'a str),
}

/// A record that touched an id or person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The record.
    pub seq: Seq,
    /// What it asked, defined or erased.
    pub op: &'static str,
    /// When, by the sender's clock; only operations have a time.
    pub time: Option<Timestamp>,
    /// What it did when it was recorded; `None` for what is no operation.
    pub outcome: Option<OutcomeAnswer>,
}

/// An operation, or the definition of a device, of one component.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) seq: Seq,
    pub(crate) body: Body,
    /// The device it defines.
    #[cfg_attr(not(feature = "graph"), expect(dead_code, reason = "only pictures draw devices"))]
    pub(crate) defines: Option<DeviceNo>,
    /// What it did; `None` if it is no operation.
    pub(crate) outcome: Option<Outcome>,
}

impl Told {
    /// T and S, if it asks to link two ids.
    pub(crate) fn ends(&self) -> Option<[IdNo; 2]> {
        match (self.body.head(), self.body.other()) {
            (Some(head), Other::Id(source)) if source != head.id => Some([head.id, source]),
            _ => None,
        }
    }
}

/// What a component consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Id(IdNo),
    Device(DeviceNo),
}

/// Shows the ids and devices that a record names by number; that it defines one it does not say.
fn each_named(record: Record<'_>, mut each: impl FnMut(Node)) {
    let row = record.row;
    if row.speaks_for_id() || row.kind == Kind::DefineDevice {
        each(Node::Id(row.id));
    }
    if let Other::Id(other) = row.other() {
        each(Node::Id(other));
    }
    [row.device(), row.fresh_device()].into_iter().flatten().for_each(|device| each(Node::Device(device)));
    if row.kind == Kind::Erase
        && let Body::Erase(erasure) = record.body()
    {
        erasure.ids.iter().for_each(|id| each(Node::Id(*id)));
    }
}

/// Which ids and devices records connect: a union of numbers, the devices behind the ids.
struct Components {
    parents: Vec<u32>,
    ids: u32,
}

impl Components {
    fn of(ids: usize, devices: usize) -> Components {
        let all = u32::try_from(ids + devices).expect("MAX_RECORDS bounds all numbers together");
        Components { parents: (0..all).collect(), ids: ids as u32 }
    }

    fn root(&mut self, node: Node) -> u32 {
        let mut at = match node {
            Node::Id(id) => id.0,
            Node::Device(device) => self.ids + device.0,
        };
        while self.parents[at as usize] != at {
            let above = self.parents[self.parents[at as usize] as usize];
            self.parents[at as usize] = above; // halves the way for whoever comes next
            at = above;
        }
        at
    }

    fn join(&mut self, a: Node, b: Node) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

impl Book {
    /// The records that touched an id or a person, in the order of the log, page by page; `None` if the id was never written.
    ///
    /// Of a person those count that touched any of its ids. Outcomes are those of the time: what was told to the sender.
    ///
    /// Cost: one replay of the log for each page, however many ids there are. Ask for large pages.
    ///
    /// ```
    /// use identity_ledger::{Ask, DistinctId, Ledger, Operation, Policy, Source, Subject, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// ledger.append(Operation::properties(at, DistinctId::new("phone")?))?;
    /// ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
    ///
    /// let page = ledger.history(Subject::Id("phone"), Ask::first(100))?.ok_or("never written")?;
    /// let ops: Vec<&str> = page.items.iter().map(|entry| entry.op).collect();
    /// assert_eq!(ops, ["define_id", "set", "identify"]);
    /// assert!(page.next.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PageError`].
    pub fn history(&self, of: Subject<'_>, ask: Ask) -> Result<Option<Page<HistoryEntry>>, PageError> {
        let (as_of, after) = ask.place(self.checkpoint().records)?;
        let Some(ids) = self.subject(of, as_of) else { return Ok(None) };
        // What touches them without a word about them: their definitions, and merges that move them.
        let mut touching = BTreeSet::new();
        for id in &ids {
            touching.insert(self.state().defined_by(*id));
            touching.extend(self.state().moves(*id));
        }
        let mut page = Filling::new(ask);
        self.replay_to(as_of, |step| {
            let seq = step.record.seq();
            let mut touches = touching.contains(&seq);
            each_named(step.record, |node| touches |= matches!(node, Node::Id(id) if ids.contains(&id)));
            if touches && after.is_none_or(|after| seq.0 > after) {
                page.offer(Cursor { as_of, after: seq.0 }, || {
                    let body = step.record.body();
                    HistoryEntry {
                        seq,
                        op: body.name(),
                        time: body.head().map(|head| head.time()),
                        outcome: step.outcome.map(|outcome| self.outcome_in(seq, &body, outcome)),
                    }
                });
            }
        })?;
        Ok(Some(page.page()))
    }

    /// Whose ids are asked about, as of a record. `None` if the id was not yet written.
    pub(crate) fn subject(&self, of: Subject<'_>, as_of: Seq) -> Option<BTreeSet<IdNo>> {
        let state = self.state();
        let (Subject::Id(text) | Subject::Person(text)) = of;
        let id = self.id_no(text).filter(|id| state.defined_by(*id) <= as_of)?;
        let person = match of {
            Subject::Id(_) => None,
            Subject::Person(_) => state.person_as_of(id, as_of),
        };
        let Some(person) = person else { return Some(BTreeSet::from([id])) };
        if as_of.0 + 1 == self.checkpoint().records {
            return Some(state.ids_of(person).into_iter().collect());
        }
        Some(state.ids().filter(|id| state.person_as_of(*id, as_of) == Some(person)).collect())
    }

    /// The operations of the component of `id` and the definitions of its devices, in the order of the log: all that name an id
    /// or a device which records connect with it, refused or not.
    ///
    /// Cost: two replays of the log, and room for the component.
    pub(crate) fn told(&self, id: IdNo) -> Result<Vec<Told>, Fault> {
        let mut components = Components::of(self.state().ids().len(), self.state().devices().len());
        let mut devices = (0..).map(DeviceNo);
        self.replay(|step| {
            if step.record.row.is_erasure() {
                return; // it names ids and connects nobody
            }
            let own = Node::Id(step.record.row.id);
            each_named(step.record, |node| components.join(own, node));
            if step.record.row.kind == Kind::DefineDevice {
                components.join(own, Node::Device(devices.next().expect("numbers do not end")));
            }
        })?;
        let root = components.root(Node::Id(id));
        let mut told = Vec::new();
        let mut devices = (0..).map(DeviceNo);
        self.replay(|step| {
            let row = step.record.row;
            let defines = (row.kind == Kind::DefineDevice).then(|| devices.next()).flatten();
            let says = row.is_operation() || defines.is_some();
            if says && components.root(Node::Id(row.id)) == root {
                let (seq, body) = (step.record.seq(), step.record.body());
                told.push(Told { seq, body, defines, outcome: step.outcome.copied() });
            }
        })?;
        Ok(told)
    }
}
