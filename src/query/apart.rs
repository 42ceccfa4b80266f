//! What joins ids and what keeps them apart, for many pairs of one component: it is folded once, whatever is asked of it, and each answer
//! is a look. Of the ways between two ids not the shortest is looked for, as `why-not` and `explain` do, but any: one record of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::fold::PersonNo;
use crate::log::body::IdNo;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::explain::why_not::Obstacle;
use crate::query::history::Told;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// The components that were asked about.
pub(super) struct Components<'a> {
    reader: &'a Reader,
    /// Whether another system has two ids for one person.
    is_one: Box<dyn Fn(IdNo, IdNo) -> bool + 'a>,
    /// By id: which of the list it is in.
    of: BTreeMap<IdNo, usize>,
    list: Vec<Component>,
}

/// A record that asks to link two ids, or a split that left them together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) seq: Seq,
    pub(super) op: &'static str,
    pub(super) time: Timestamp,
    pub(super) ends: [IdNo; 2],
}

impl Link {
    fn of(told: &Told, ends: [IdNo; 2]) -> Option<Link> {
        let time = told.body.head()?.time();
        Some(Link { seq: told.seq, op: told.body.name(), time, ends: told.ends().unwrap_or(ends) })
    }
}

/// Who an id is among those of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Person(PersonNo),
    /// It has no person.
    Alone(IdNo),
}

#[derive(Debug, Default)]
struct Component {
    /// Between two of them: the first link that did not make them one.
    refused: BTreeMap<[Who; 2], usize>,
    /// Trees of such links.
    apart: Trees<Who>,
    /// What `refused` names.
    told: Vec<Told>,
    /// The proof trees, which hold persons together.
    joined: Trees<IdNo>,
    /// What `joined` names.
    links: Vec<Link>,
    /// The records that split a person.
    splits: Vec<Seq>,
}

/// Trees over nodes, breadth first.
#[derive(Debug)]
struct Trees<N>(BTreeMap<N, Place<N>>);

#[derive(Clone, Copy, Debug)]
struct Place<N> {
    root: N,
    depth: u32,
    /// Of the edges above that count the nearest: the depth of its lower end, and its number.
    edge: Option<(u32, usize)>,
}

impl<N> Default for Trees<N> {
    fn default() -> Trees<N> {
        Trees(BTreeMap::new())
    }
}

impl<N: Ord + Copy> Trees<N> {
    /// Of edges, each with its number. Those count whose ends `counts` tells apart.
    fn of(edges: impl Iterator<Item = ([N; 2], usize)>, counts: impl Fn(N, N) -> bool) -> Trees<N> {
        let mut next: BTreeMap<N, Vec<(N, usize)>> = BTreeMap::new();
        for ([a, b], number) in edges {
            next.entry(a).or_default().push((b, number));
            next.entry(b).or_default().push((a, number));
        }
        let mut places = BTreeMap::new();
        for root in next.keys().copied() {
            if places.contains_key(&root) {
                continue;
            }
            let place = Place { root, depth: 0, edge: None };
            places.insert(root, place);
            let mut due = VecDeque::from([(root, place)]);
            while let Some((at, Place { depth, edge, .. })) = due.pop_front() {
                for (to, number) in &next[&at] {
                    places.entry(*to).or_insert_with(|| {
                        let depth = depth + 1;
                        let edge = if counts(at, *to) { Some((depth, *number)) } else { edge };
                        due.push_back((*to, Place { root, depth, edge }));
                        Place { root, depth, edge }
                    });
                }
            }
        }
        Trees(places)
    }

    /// The number of an edge that counts, on the way between two nodes that such edges tell apart; `None` if none leads from the one to the other. Of the nearest
    /// ones above the two, the deeper is not above both.
    fn between(&self, a: N, b: N) -> Option<usize> {
        let [a, b] = [self.0.get(&a)?, self.0.get(&b)?];
        let deepest = a.edge.max(b.edge)?;
        (a.root == b.root).then_some(deepest.1)
    }
}

impl<'a> Components<'a> {
    pub(super) fn of(reader: &'a Reader, is_one: impl Fn(IdNo, IdNo) -> bool + 'a) -> Components<'a> {
        Components { reader, is_one: Box::new(is_one), of: BTreeMap::new(), list: Vec::new() }
    }

    fn holding(&mut self, id: IdNo) -> Result<&Component, Fault> {
        let number = match self.of.get(&id) {
            Some(number) => *number,
            None => {
                let (number, all) = (self.list.len(), self.reader.told(id)?);
                // A device may hold ids together that no record links.
                let heads = all.iter().filter_map(|told| Some(told.body.head()?.id));
                let named = heads.chain(all.iter().filter_map(Told::ends).flatten()).chain([id]);
                self.of.extend(named.map(|id| (id, number)));
                self.list.push(self.component(all));
                number
            }
        };
        Ok(&self.list[number])
    }

    fn between(&self, ids: [IdNo; 2]) -> [Who; 2] {
        let mut between = ids.map(|id| self.reader.state().person(id).map_or(Who::Alone(id), Who::Person));
        between.sort_unstable();
        between
    }

    fn component(&self, all: Vec<Told>) -> Component {
        let mut component = Component {
            splits: all.iter().filter(|told| told.splits()).map(|split| split.seq).collect(),
            ..Component::default()
        };
        let ids: BTreeSet<IdNo> = all.iter().filter_map(Told::ends).flatten().collect();
        for (id, (parent, seq)) in
            ids.into_iter().filter_map(|id| Some((id, self.reader.state().proof_edge(id)?)))
        {
            let told = all.binary_search_by_key(&seq, |told| told.seq).ok().and_then(|place| all.get(place));
            component.links.extend(told.and_then(|told| Link::of(told, [id, parent])));
        }
        let edges = component.links.iter().enumerate().map(|(number, link)| (link.ends, number));
        component.joined = Trees::of(edges, |a, b| !(self.is_one)(a, b));
        for told in all {
            let Some(ends) = told.ends() else { continue };
            let between = self.between(ends);
            if between[0] != between[1]
                && let Entry::Vacant(first) = component.refused.entry(between)
            {
                first.insert(component.told.len());
                component.told.push(told);
            }
        }
        let refused = component.refused.iter().map(|(between, number)| (*between, *number));
        component.apart = Trees::of(refused, |_, _| true);
        component
    }

    /// A link that would join the persons of two ids if nothing had kept its ends apart, or that would take part in it; and what kept them.
    pub(super) fn barrier(&mut self, a: IdNo, b: IdNo) -> Result<Option<(Link, Obstacle)>, Fault> {
        let between = self.between([a, b]);
        let reader = self.reader;
        let Component { refused, apart, told, splits, .. } = self.holding(a)?;
        let number = refused.get(&between).copied().or_else(|| apart.between(between[0], between[1]));
        Ok(number.and_then(|number| {
            let told = &told[number];
            Some((Link::of(told, told.ends()?)?, reader.obstacle(told, splits)))
        }))
    }

    /// Of what holds two ids together, a record whose ends the other system has for two, as it has the ids.
    pub(super) fn joint(&mut self, a: IdNo, b: IdNo) -> Result<Option<Link>, Fault> {
        let Component { joined, links, .. } = self.holding(a)?;
        Ok(joined.between(a, b).map(|number| links[number]))
    }
}
