//! Postings: for each id and each device the records that name it. They find a whole component without a look at any other
//! record. Refuses to know what records mean, and where they lie.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::log::component::{ComponentRecords, Node, each_named};
use crate::log::kind::Kind;
use crate::log::record::Record;

/// How many of the last entries are kept in one list: a run of corrections finds there what is new in its component.
const NEWEST: usize = 4_096;

/// Stands for "none" among places; limits.rs keeps every real number below it.
const NONE: u32 = u32::MAX;

/// The records that name each id and device, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postings {
    /// How many records are covered.
    covered: u32,
    /// By id number, and by device number: the newest entry.
    ids: Vec<u32>,
    devices: Vec<u32>,
    entries: Vec<Entry>,
    /// The last entries, each with whom the record names, ascending by record.
    newest: VecDeque<(u32, Node)>,
    /// From which record on `newest` has every entry.
    newest_from: u32,
    /// By device number: the record that defines it.
    devices_defined: Vec<u32>,
    /// Genesis and policies: they belong to every component.
    policies: Vec<u32>,
}

/// One record that names an id or device, and the entry of the record before it that does.
#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: u32,
    before: u32,
}

/// The records of a component of possible links, as far as they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Component {
    /// Its ids and devices.
    nodes: BTreeSet<Node>,
    /// Its records below `end`; those that were added last stand behind the others until they are sorted.
    pub(crate) excerpt: Arc<ComponentRecords>,
    pub(crate) end: u32,
}

impl Component {
    /// Bytes held, near enough.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.len() * 16 + self.excerpt.memory()
    }

    /// Whether it holds `node`, and can be extended to the records before `end`.
    pub(crate) fn serves(&self, node: Node, end: u32) -> bool {
        self.end <= end && self.nodes.contains(&node)
    }
}

impl Postings {
    /// How many records are covered: the next to be noted.
    pub(crate) fn covered(&self) -> u64 {
        self.covered.into()
    }

    /// Notes a record, which must be the next.
    pub(crate) fn note(&mut self, record: Record<'_>) {
        let row = record.row;
        assert!(row.seq == self.covered, "postings are kept in the order of the log");
        self.covered += 1;
        match row.kind {
            Kind::DefineId => self.ids.push(NONE),
            Kind::DefineDevice => {
                self.devices.push(NONE);
                self.devices_defined.push(row.seq);
            }
            Kind::Genesis | Kind::SetPolicy => self.policies.push(row.seq),
            _ => {}
        }
        each_named(record, |node| self.post(node, row.seq));
    }

    fn post(&mut self, node: Node, seq: u32) {
        let newest = match node {
            Node::Id(id) => &mut self.ids[id.index()],
            Node::Device(device) => &mut self.devices[device.index()],
        };
        let entry = self.entries.len() as u32; // at most four a record, but for splits: bounded by what memory holds
        if self.entries.get(*newest as usize).is_some_and(|newest| newest.seq == seq) {
            return; // S equal to T: named twice, posted once
        }
        self.entries.push(Entry { seq, before: std::mem::replace(newest, entry) });
        if self.newest.len() == NEWEST
            && let Some((seq, _)) = self.newest.pop_front()
        {
            self.newest_from = seq + 1;
        }
        self.newest.push_back((seq, node));
    }

    /// The device that a record defines.
    pub(crate) fn device_defined(&self, seq: u32) -> Option<u32> {
        self.devices_defined.binary_search(&seq).ok().map(|number| number as u32) // as many as there are devices
    }

    /// The records that name `node`, newest first.
    pub(crate) fn of(&self, node: Node) -> impl Iterator<Item = u32> {
        let newest = match node {
            Node::Id(id) => self.ids.get(id.index()),
            Node::Device(device) => self.devices.get(device.index()),
        };
        let mut at = newest.copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let Entry { seq, before } = *self.entries.get(at as usize)?;
            at = before;
            Some(seq)
        })
    }

    /// The records below `end` of the components of possible links that hold `seeds`, and all policies before it. `read` shows
    /// a record by its number, or fails. `None` if they have more than `most` bytes.
    ///
    /// Cost: the component's own records.
    pub(crate) fn component<E>(
        &self,
        seeds: BTreeSet<Node>,
        end: u32,
        most: usize,
        read: impl FnMut(u32, &mut dyn FnMut(Record<'_>)) -> Result<(), E>,
    ) -> Result<Option<ComponentRecords>, E> {
        let mut component = Component::default();
        let found = self.extend(&mut component, seeds, end, most, read)?;
        let mut excerpt = Arc::unwrap_or_clone(component.excerpt);
        excerpt.sort(0);
        Ok(found.then_some(excerpt))
    }

    /// Adds to a component its records below `end` that it has not yet, those of `seeds` and of ids and devices that they connect
    /// with it included. `false` if all its records have more than `most` bytes.
    ///
    /// Cost: the records that are added, and a look at each id and device of the component or, if that is less, at each entry since the
    /// component was extended last.
    pub(crate) fn extend<E>(
        &self,
        component: &mut Component,
        seeds: BTreeSet<Node>,
        end: u32,
        most: usize,
        mut read: impl FnMut(u32, &mut dyn FnMut(Record<'_>)) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Component { nodes, excerpt, end: from } = component;
        let excerpt = Arc::make_mut(excerpt);
        let since = |from: u32| move |seq: &u32| *seq >= from;
        let mut due: BTreeSet<u32> =
            self.policies.iter().rev().copied().take_while(since(*from)).filter(|seq| *seq < end).collect();
        let newest = self.newest.partition_point(|(seq, _)| seq < from);
        if *from >= self.newest_from && self.newest.len() - newest < nodes.len() {
            let named = self.newest.range(newest..).filter(|(seq, node)| *seq < end && nodes.contains(node));
            due.extend(named.map(|(seq, _)| *seq));
        } else {
            for node in nodes.iter() {
                due.extend(self.of(*node).take_while(since(*from)).filter(|seq| *seq < end));
            }
        }
        for node in seeds {
            if nodes.insert(node) {
                due.extend(self.of(node).filter(|seq| *seq < end));
            }
        }
        // What is due and not added yet, and what was added in this call: everything before `from` is there already.
        let mut seen = due.clone();
        let mut fresh = Vec::new();
        // Upward, so that neighbours are read together.
        while let Some(seq) = due.pop_first() {
            read(seq, &mut |record| {
                if record.row.is_erasure() {
                    return;
                }
                excerpt.push(record);
                each_named(record, |node| {
                    if nodes.insert(node) {
                        fresh.push(node);
                    }
                });
            })?;
            if excerpt.bytes() > most {
                return Ok(false);
            }
            for node in fresh.drain(..) {
                let named = self.of(node).skip_while(|seq| *seq >= end);
                due.extend(named.filter(|seq| seen.insert(*seq)));
            }
        }
        *from = end;
        Ok(true)
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        (self.ids.capacity()
            + self.devices.capacity()
            + self.devices_defined.capacity()
            + self.policies.capacity())
            * size_of::<u32>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.newest.capacity() * size_of::<(u32, Node)>()
    }
}
