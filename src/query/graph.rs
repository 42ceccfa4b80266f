//! The identity graph of a person, as data and as a picture: ids, devices, links with the records that made them, and the links
//! that were refused.
//!
//! A projection of answers: it asks a reader and decides nothing. The same ledger gives the same bytes on every machine. Ids are
//! anybody's words; every text is made visible and escaped before it is drawn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::fold::{DeviceEffect, Link, PersonNo, SharedEffect};
use crate::log::body::{AskedVerb, Body, IdNo};
use crate::log::component::Node as Thing;
use crate::model::id::{PersonId, Seq};
use crate::model::limits::{MAX_GRAPH_NODES, MAX_GRAPH_RECORDS};
use crate::model::policy::IdClass;
use crate::model::time::Timestamp;
use crate::query::history::Told;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// The identity graph of one person.
///
/// ```
/// use identity_ledger::graph::Graph;
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
/// let _ = ledger.append(Operation::alias(at, DistinctId::new("ann")?, Source::new("null")))?;
///
/// let graph = Graph::of(ledger.reader(), "phone")?.ok_or("never written")?;
/// assert_eq!((graph.nodes.len(), graph.edges.len()), (3, 2)); // `null` is drawn too: its link was refused
/// assert!(Graph::of(ledger.reader(), "nobody")?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Graph {
    /// The id that was asked about, as a place in `nodes`.
    pub asked: usize,
    /// Where the picture begins: the id that founded the person, if it is drawn; else the one that was asked about.
    pub root: usize,
    /// All persons that appear, now or earlier; the first is the one that was asked about, or would be (C1).
    pub persons: Vec<PersonId>,
    /// How many ids the person has that was asked about.
    pub ids: usize,
    /// What is drawn as a box.
    pub nodes: Vec<Node>,
    /// What is drawn as a line.
    pub edges: Vec<Edge>,
    /// The records after which something in the picture changed, ascending.
    pub moments: Vec<Seq>,
    /// The last record of the log.
    pub last: Seq,
    /// How many ids and devices are left out, because of [`MAX_GRAPH_NODES`].
    pub hidden_nodes: usize,
    /// How many records are left out, because of [`MAX_GRAPH_RECORDS`] or because an end of theirs is.
    pub hidden_records: usize,
}

/// An id or a device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its text; `$erased:7` once erased.
    pub text: String,
    /// The record that first wrote it.
    pub since: Seq,
    /// Whose it was from which record on, as places in `persons`. Devices belong to no person.
    pub owners: Vec<(Seq, Option<usize>)>,
    /// Its events: all, and those with processing on.
    pub events: (u64, u64),
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A named id after its first sign-in (D9).
    User,
    /// A named id without a sign-in.
    Named,
    /// An id of class *anonymous*.
    Anonymous,
    /// An id that may not take part in merges (B2).
    Unmergeable,
    /// An id that users sign in on (D13).
    Shared,
    /// A device, not an id.
    Device,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// Its first record made two ids one person.
    Made,
    /// A device, or a shared id (D13), spoke for an id.
    Spoke,
    /// Records that link ids which were one person already.
    Again,
    /// A rule refused it.
    Refused,
    /// It was retracted (H1), or a split parted its ends (H2).
    Correction,
}

/// A line: two nodes, and the records that name both and came to the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Edge {
    /// Its ends, as places in `nodes`.
    pub ends: [usize; 2],
    /// What it says.
    pub kind: EdgeKind,
    /// Its records, ascending; at least one.
    pub records: Vec<EdgeRecord>,
}

/// One record of a line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EdgeRecord {
    /// The record that names both ends of the line.
    pub seq: Seq,
    /// What it asked.
    pub op: &'static str,
    /// When, by the sender's clock; definitions have none.
    pub time: Option<Timestamp>,
    /// What became of it, in a sentence.
    pub said: String,
    /// The rule that refused, and the record that blocks.
    pub refused: Option<(&'static str, Seq)>,
}

/// A line on its way: which two, and how.
type Pair = (Thing, Thing, EdgeKind);

impl Graph {
    /// The graph of the person that an id belongs to; `None` if the id was never written.
    ///
    /// Of a person with more than [`MAX_GRAPH_NODES`] ids and devices the ones nearest to the id are drawn, and the graph says
    /// how many are not.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn of(reader: &Reader, distinct_id: &str) -> Result<Option<Graph>, Fault> {
        reader.prove_texts()?;
        let Some(asked) = reader.id_no(distinct_id) else { return Ok(None) };
        reader.prove_component(asked)?;
        let told = reader.told(asked)?;
        let splits: Vec<Seq> = told.iter().filter(|told| told.splits()).map(|told| told.seq).collect();
        let mut lines: BTreeMap<Pair, Vec<EdgeRecord>> = BTreeMap::new();
        for record in &told {
            let parted = parted_by(reader, record, &splits);
            for (pair, said) in pairs(record, parted) {
                lines.entry(pair).or_default().push(EdgeRecord::of(record, said));
            }
        }
        let undoing = told.iter().filter(|told| told.body.verb().is_some_and(AskedVerb::refolds));
        let undoing = undoing.map(|told| told.seq).take(MAX_GRAPH_RECORDS).collect();
        Ok(Some(Graph::drawn(reader, asked, lines, undoing)))
    }

    fn drawn(
        reader: &Reader,
        asked: IdNo,
        mut lines: BTreeMap<Pair, Vec<EdgeRecord>>,
        mut moments: BTreeSet<Seq>,
    ) -> Graph {
        let state = reader.state();
        let person = state.person(asked);
        let own = |id: IdNo| id == asked || person.is_some() && state.person(id) == person;
        let ids = person.map_or(vec![asked], |person| state.ids_of(person));
        let (shown, all) = nearest(asked, &ids, &lines, own);
        let count = |lines: &BTreeMap<Pair, Vec<EdgeRecord>>| lines.values().map(Vec::len).sum::<usize>();
        let mine = |(a, b, _): &Pair| {
            let is_own = |thing: &Thing| matches!(thing, Thing::Id(id) if own(*id));
            is_own(a) || is_own(b)
        };
        lines.retain(|pair, _| mine(pair));
        let before = count(&lines);
        lines.retain(|(a, b, _), _| shown.contains_key(a) && shown.contains_key(b));
        let lines = within_limit(lines);
        let hidden_records = before - count(&lines);

        let mut order: Vec<(usize, Thing)> = shown.iter().map(|(thing, place)| (*place, *thing)).collect();
        order.sort_unstable();
        moments.extend(lines.values().flatten().map(|record| record.seq));
        moments.extend(order.iter().filter_map(|(_, thing)| match thing {
            Thing::Id(id) => state.person(*id).map(|_| state.defined_by(*id)),
            Thing::Device(_) => None,
        }));
        let moments: Vec<Seq> = moments.into_iter().collect();
        let mut persons = Persons::of(reader, asked);
        let nodes =
            order.iter().map(|(_, thing)| node(reader, *thing, &moments, &mut persons, &lines)).collect();
        let edge = |((a, b, kind), records)| Edge { ends: [shown[&a], shown[&b]], kind, records };
        let mut edges: Vec<Edge> = lines.into_iter().map(edge).collect();
        edges.sort_by_key(|edge| (edge.records[0].seq, edge.ends, edge.kind));
        let founding = person.map(|person| Thing::Id(state.anchor(person)));
        let root = founding.and_then(|founding| shown.get(&founding)).copied().unwrap_or(0);
        Graph {
            asked: shown[&Thing::Id(asked)],
            root,
            persons: persons.ids,
            ids: ids.len(),
            hidden_nodes: all - shown.len(),
            hidden_records,
            nodes,
            edges,
            moments,
            last: Seq(reader.state().records() - 1),
        }
    }
}

impl EdgeRecord {
    fn of(told: &Told, said: String) -> EdgeRecord {
        let refusal = told.now.and_then(|outcome| outcome.refusal);
        EdgeRecord {
            seq: told.seq,
            op: told.body.name(),
            time: told.body.head().map(|head| head.time()),
            said,
            refused: refusal.map(|refusal| (refusal.rule(), refusal.blocking())),
        }
    }
}

/// The split that parted the ends of a link that was made.
fn parted_by(reader: &Reader, record: &Told, splits: &[Seq]) -> Option<Seq> {
    let [target, source] = record.ends()?;
    let made = record.now.is_some_and(|outcome| outcome.refusal.is_none() && outcome.shared.is_none());
    let person = reader.state().person(target);
    let apart = person.is_none() || person != reader.state().person(source);
    if made && apart { reader.parted_by(record, splits) } else { None }
}

/// What a record draws, and in which words.
fn pairs(told: &Told, parted: Option<Seq>) -> Vec<(Pair, String)> {
    let mut pairs = Vec::new();
    if let (Body::DefineDevice(id, _), Some(device)) = (&told.body, told.defines) {
        let pair = (Thing::Id(*id), Thing::Device(device), EdgeKind::Spoke);
        pairs.push((pair, "the device is first mentioned, and speaks for this id".to_owned()));
    }
    if let Some([target, source]) = told.ends() {
        let (kind, said) = link_said(told, parted);
        pairs.push(((Thing::Id(target.min(source)), Thing::Id(target.max(source)), kind), said));
    }
    let Some(outcome) = told.now else { return pairs };
    match outcome.device {
        Some(DeviceEffect::SpeaksFor(device, id)) => {
            let pair = (Thing::Id(id), Thing::Device(device), EdgeKind::Spoke);
            pairs.push((pair, "the device speaks for this id from here on".to_owned()));
        }
        Some(DeviceEffect::Reset(device, id)) => {
            let pair = (Thing::Id(id), Thing::Device(device), EdgeKind::Spoke);
            pairs.push((pair, "a reset: the device starts over as this id".to_owned()));
        }
        None => {}
    }
    pairs
}

/// At most [`MAX_GRAPH_RECORDS`] records: of very many, those go first that only repeat, the latest before the earlier.
fn within_limit(lines: BTreeMap<Pair, Vec<EdgeRecord>>) -> BTreeMap<Pair, Vec<EdgeRecord>> {
    let mut lines: Vec<(Pair, Vec<EdgeRecord>)> = lines.into_iter().collect();
    lines.sort_by_key(|((.., kind), records)| (*kind == EdgeKind::Again, records[0].seq));
    lines.truncate(MAX_GRAPH_RECORDS);
    let mut room = MAX_GRAPH_RECORDS - lines.len();
    for (_, records) in &mut lines {
        let kept = records.len().min(1 + room);
        room -= kept - 1;
        records.truncate(kept);
    }
    lines.into_iter().collect()
}

/// What a link came to, as things stand now.
fn link_said(told: &Told, parted: Option<Seq>) -> (EdgeKind, String) {
    let refusal = told.now.and_then(|outcome| outcome.refusal);
    if let (None, None, Some(SharedEffect::SignedIn(_))) =
        (told.retracted_by, refusal, told.now.and_then(|outcome| outcome.shared))
    {
        return (EdgeKind::Spoke, "a sign-in: the shared id speaks for the user from here on".to_owned());
    }
    match (told.retracted_by, refusal, told.now.and_then(|outcome| outcome.link)) {
        (Some(by), ..) => (EdgeKind::Correction, format!("retracted by record {by}")),
        (_, Some(refusal), _) => {
            let reason = told.reason.as_deref().unwrap_or_default();
            (EdgeKind::Refused, format!("refused by {}: {reason}", refusal.rule()))
        }
        _ if parted.is_some() => {
            let by = parted.map_or(String::new(), |by| by.to_string());
            (EdgeKind::Correction, format!("one person from here on, until record {by} parted them"))
        }
        (.., Some(Link::Joined(_))) => (EdgeKind::Made, "one person from here on".to_owned()),
        (.., Some(Link::Absorbed { moved_ids, .. })) => {
            let ids = if moved_ids == 1 { "id" } else { "ids" };
            (EdgeKind::Made, format!("two persons became one, {moved_ids} {ids} moved"))
        }
        _ => (EdgeKind::Again, "they were one person already".to_owned()),
    }
}

/// Which things are drawn, and in which order: the person's ids by their distance from the one asked about, then devices, then
/// ids of others. And how many there were.
fn nearest(
    asked: IdNo,
    mine: &[IdNo],
    lines: &BTreeMap<Pair, Vec<EdgeRecord>>,
    own: impl Fn(IdNo) -> bool,
) -> (BTreeMap<Thing, usize>, usize) {
    let is_own = |thing: &Thing| matches!(thing, Thing::Id(id) if own(*id));
    let mut near: BTreeMap<Thing, Vec<(Seq, Thing)>> = BTreeMap::new();
    for ((a, b, _), records) in lines {
        for (from, to) in [(a, b), (b, a)] {
            near.entry(*from).or_default().push((records[0].seq, *to));
        }
    }
    near.values_mut().for_each(|list| list.sort_unstable());
    let first = Thing::Id(asked);
    let (mut ids, mut seen, mut devices, mut others) = (Vec::new(), BTreeSet::new(), Vec::new(), Vec::new());
    // Ids that stayed together after a split may have no link among themselves: they come after all that have
    // one.
    for start in std::iter::once(first).chain(mine.iter().map(|id| Thing::Id(*id))) {
        let mut queue: VecDeque<Thing> = seen.insert(start).then_some(start).into_iter().collect();
        while let Some(thing) = queue.pop_front() {
            ids.push(thing);
            for (_, to) in near.get(&thing).into_iter().flatten() {
                if seen.insert(*to) {
                    match to {
                        to if is_own(to) => queue.push_back(*to),
                        Thing::Device(_) => devices.push(*to),
                        Thing::Id(_) => others.push(*to),
                    }
                }
            }
        }
    }
    let all = seen.len();
    let order = ids.into_iter().chain(devices).chain(others).take(MAX_GRAPH_NODES);
    (order.zip(0..).collect(), all)
}

/// The persons met so far, each with its place in the list.
struct Persons {
    ids: Vec<PersonId>,
    places: BTreeMap<PersonNo, usize>,
}

impl Persons {
    /// The person of an id stands first, though it may be none yet.
    fn of(reader: &Reader, asked: IdNo) -> Persons {
        let places = reader.state().person(asked).map(|person| (person, 0)).into_iter().collect();
        Persons { ids: vec![reader.resolution(asked, None).person_id], places }
    }

    /// A person has a number for each time its component was refolded, and one public id.
    fn place(&mut self, person: PersonNo, id: impl FnOnce() -> PersonId) -> usize {
        let ids = &mut self.ids;
        *self.places.entry(person).or_insert_with(|| {
            let id = id();
            ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            })
        })
    }
}

fn node(
    reader: &Reader,
    thing: Thing,
    moments: &[Seq],
    persons: &mut Persons,
    lines: &BTreeMap<Pair, Vec<EdgeRecord>>,
) -> Node {
    let state = reader.state();
    match thing {
        Thing::Device(device) => {
            let spoke = lines.iter().filter(|((_, b, _), _)| *b == thing);
            let first = spoke.flat_map(|(_, records)| records).map(|record| record.seq).min();
            Node {
                kind: NodeKind::Device,
                text: reader.device_name(device),
                since: first.unwrap_or(Seq(0)),
                owners: Vec::new(),
                events: (0, 0),
            }
        }
        Thing::Id(id) => {
            let mut owners: Vec<(Seq, Option<usize>)> = Vec::new();
            let defined = state.defined_by(id);
            for at in moments.iter().filter(|at| **at >= defined) {
                let owner = state
                    .person_as_of(id, *at)
                    .map(|person| persons.place(person, || reader.resolution(id, Some(*at)).person_id));
                if owners.last().map(|(_, last)| *last) != Some(owner) {
                    owners.push((*at, owner));
                }
            }
            let counts = state.events_of_id(id);
            Node {
                kind: match state.class(id) {
                    IdClass::Named if state.is_user(id) => NodeKind::User,
                    IdClass::Named => NodeKind::Named,
                    IdClass::Anonymous => NodeKind::Anonymous,
                    IdClass::Unmergeable => NodeKind::Unmergeable,
                    IdClass::Shared => NodeKind::Shared,
                },
                text: reader.id_name(id),
                since: defined,
                owners,
                events: (counts.events, counts.identified),
            }
        }
    }
}

impl Node {
    /// Whose it is now, as a place in `persons`.
    pub fn owner(&self) -> Option<usize> {
        self.owners.last().and_then(|(_, owner)| *owner)
    }
}
