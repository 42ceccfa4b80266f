//! Excerpts: some records of a log, lifted out of their frames: those of one component, say. No payload comes with them, for
//! no fold needs one.

use std::collections::BTreeSet;

use crate::log::body::{Body, DeviceNo, IdNo, LinkSource, SplitOff};
use crate::log::codec;
use crate::log::record::{self, Kind, Record, Row, Rows};

/// Records in the order of the log, with gaps between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComponentRecords {
    rows: Rows,
    body: Vec<u8>,
}

impl ComponentRecords {
    /// Adds a record of a frame; in any order, until [`ComponentRecords::sort`].
    pub(crate) fn push(&mut self, record: Record<'_>) {
        self.add(*record.row, record.bytes(), record.changes());
    }

    /// Adds a record of a frame or of another excerpt, in which no record knows where its bytes end: they are
    /// encoded again.
    pub(crate) fn push_anew(&mut self, record: Record<'_>) {
        let mut bytes = Vec::new();
        codec::encode(&record.body(), &mut bytes);
        self.add(*record.row, &bytes, record.changes());
    }

    /// Adds a record that is not in the log, as if it had this number.
    pub(crate) fn push_supposed(&mut self, seq: u32, body: &Body) {
        let (mut bytes, mut row, mut changes) = (Vec::new(), Row::new(seq), Vec::new());
        codec::encode(body, &mut bytes);
        let mut read = record::Read::default();
        record::read(&bytes, 0, &mut row, &mut changes, &mut read)
            .expect("what the codec writes is a record");
        self.add(row, &bytes, &changes);
    }

    fn add(&mut self, row: Row, bytes: &[u8], changes: &[crate::log::body::Change]) {
        let at = u32::try_from(self.body.len()).expect("MAX_COMPONENT_BYTES bounds it");
        let changes_at = u32::try_from(self.rows.changes.len()).expect("each change took bytes of the body");
        self.rows.rows.push(row.moved(at, changes_at));
        self.body.extend_from_slice(bytes);
        self.rows.changes.extend_from_slice(changes);
    }

    /// Bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        self.body.capacity() + self.rows.memory()
    }

    /// Puts the records in the order of the log; the first `sorted` are in order.
    pub(crate) fn sort(&mut self, sorted: usize) {
        let rows = &mut self.rows.rows;
        if !rows[sorted.saturating_sub(1)..].is_sorted_by_key(|row| row.seq) {
            rows.sort_unstable_by_key(|row| row.seq);
        }
    }

    /// The records, in the order in which they were pushed or last sorted.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.rows.rows.iter().map(|row| Record::new(row, &self.rows, &self.body, &[]))
    }

    /// The record of this number, if it is here.
    pub(crate) fn record(&self, seq: u32) -> Option<Record<'_>> {
        Some(self.at(self.place(seq)?))
    }

    /// The records whose numbers `keeps` lets through.
    pub(crate) fn only(&self, keeps: impl Fn(u32) -> bool) -> ComponentRecords {
        let mut kept = self.clone();
        kept.rows.rows.retain(|row| keeps(row.seq));
        kept
    }

    /// The records that were added first.
    pub(crate) fn first(&self, records: usize) -> ComponentRecords {
        let mut first = self.clone();
        first.rows.rows.truncate(records);
        first
    }

    /// How many records are before record `seq`.
    pub(crate) fn count_before(&self, seq: u32) -> usize {
        self.rows.rows.partition_point(|row| row.seq < seq)
    }

    /// The ids and the devices that the records name, each ascending.
    pub(crate) fn named(&self) -> (Vec<IdNo>, Vec<DeviceNo>) {
        let (mut ids, mut devices) = (Vec::new(), Vec::new());
        for record in self.records() {
            each_named(record, |node| match node {
                Node::Id(id) => ids.push(id),
                Node::Device(device) => devices.push(device),
            });
        }
        ids.sort_unstable();
        ids.dedup();
        devices.sort_unstable();
        devices.dedup();
        (ids, devices)
    }

    pub(crate) fn row(&self, place: usize) -> &Row {
        &self.rows.rows[place]
    }

    /// The record at a place.
    pub(crate) fn at(&self, place: usize) -> Record<'_> {
        Record::new(self.row(place), &self.rows, &self.body, &[])
    }

    /// The place of the record of this number, if it is here.
    pub(crate) fn place(&self, seq: u32) -> Option<usize> {
        self.rows.rows.binary_search_by_key(&seq, |row| row.seq).ok()
    }

    /// The same records with ids and devices renumbered: by their places in `ids` and `devices`, which hold
    /// all that are named, ascending.
    pub(crate) fn relabelled(&self, ids: &[IdNo], devices: &[DeviceNo]) -> ComponentRecords {
        let mut relabelled = self.clone();
        for (row, record) in relabelled.rows.rows.iter_mut().zip(self.records()) {
            *row = relabelled_row(row, ids, devices);
            // Of all others nothing is read from the bytes but the time.
            if let Some(body) = relabelled_split(record, ids) {
                let at = u32::try_from(relabelled.body.len()).expect("bounded by the excerpt's own bodies");
                *row = row.moved(at, 0);
                codec::encode(&body, &mut relabelled.body);
            }
        }
        relabelled
    }

    /// Adds a record with its ids and devices renumbered, as [`ComponentRecords::relabelled`] does.
    pub(crate) fn push_relabelled(&mut self, record: Record<'_>, ids: &[IdNo], devices: &[DeviceNo]) {
        let body = relabelled_split(record, ids).unwrap_or_else(|| record.body());
        let mut bytes = Vec::new();
        codec::encode(&body, &mut bytes);
        self.add(relabelled_row(record.row, ids, devices), &bytes, record.changes());
    }
}

fn relabelled_row(row: &Row, ids: &[IdNo], devices: &[DeviceNo]) -> Row {
    row.relabelled(|id| IdNo(place(ids, &id)), |device| DeviceNo(place(devices, &device)))
}

/// A split with its ids renumbered; `None` of any other record.
fn relabelled_split(record: Record<'_>, all: &[IdNo]) -> Option<Body> {
    let SplitOff { together, ids } = leavers(record)?;
    let head = *record.body().head().expect("a split is an operation");
    let ids = ids.into_iter().map(|id| IdNo(place(all, &id))).collect();
    Some(Body::Split(head, SplitOff { together, ids }, None))
}

fn place<T: Ord>(all: &[T], of: &T) -> u32 {
    all.binary_search(of).expect("an excerpt's own numbers") as u32 // MAX_RECORDS bounds it
}

/// What a component consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Id(IdNo),
    Device(DeviceNo),
}

/// Shows every id and device that a record names: together they are of one component, whatever came of the
/// record. An erasure names ids too, but connects none.
pub(crate) fn each_named(record: Record<'_>, mut each: impl FnMut(Node)) {
    let row = record.row;
    if row.speaks_for_id() || row.kind == Kind::DefineDevice {
        each(Node::Id(row.id));
    }
    if let LinkSource::Id(other) = row.other() {
        each(Node::Id(other));
    }
    [row.device(), row.fresh_device()].into_iter().flatten().for_each(|device| each(Node::Device(device)));
    let listed = match row.kind {
        Kind::Split | Kind::Erase => record.body().listed(),
        _ => Vec::new(),
    };
    listed.into_iter().for_each(|id| each(Node::Id(id)));
}

/// Every id and device that a record names.
pub(crate) fn nodes_of(record: Record<'_>) -> BTreeSet<Node> {
    let mut nodes = BTreeSet::new();
    each_named(record, |node| {
        nodes.insert(node);
    });
    nodes
}

/// Who leaves, if the record is a split.
pub(crate) fn leavers(record: Record<'_>) -> Option<SplitOff> {
    match (record.row.kind == Kind::Split).then(|| record.body()) {
        Some(Body::Split(_, leavers, _)) => Some(leavers),
        _ => None,
    }
}
