//! Excerpts: some records of a log, lifted out of their frames: those of one component, say. No payload comes with them, for
//! no fold needs one.

use std::collections::BTreeSet;

use crate::log::body::{Body, Change, DeviceNo, IdNo, LinkSource, SplitOff};
use crate::log::decode;
use crate::log::encode::BodyWriter;
use crate::log::kind::Kind;
use crate::log::record::{Record, Row, Rows};
use crate::log::tail;

/// Records in the order of the log, with gaps between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComponentRecords {
    rows: Rows,
    body: Vec<u8>,
}

impl ComponentRecords {
    /// Adds a record of a frame or of other excerpts; in any order, until [`ComponentRecords::sort`].
    pub(crate) fn push(&mut self, record: Record<'_>) {
        self.add(*record.row, record.tail(), record.changes());
    }

    /// Adds a record that is not in the log, as if it had this number.
    pub(crate) fn push_supposed(&mut self, seq: u32, body: &Body) {
        let bytes = BodyWriter::of(std::slice::from_ref(body));
        let rows = decode::block(seq, 1, &bytes).expect("what is written is read");
        self.push(rows.of(&rows.rows()[0], &bytes, &[]));
    }

    fn add(&mut self, row: Row, tail: &[u8], changes: &[Change]) {
        let at = u32::try_from(self.body.len()).expect("MAX_COMPONENT_BYTES bounds it");
        let list = self.rows.lists.add(changes);
        self.rows.rows.push(row.moved(at, list));
        self.body.extend_from_slice(tail);
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
        self.rows.rows.iter().map(|row| self.rows.of(row, &self.body, &[]))
    }

    /// The record of this number, if it is here.
    pub(crate) fn record(&self, seq: u32) -> Option<Record<'_>> {
        Some(self.at(self.place(seq)?))
    }

    /// Whether the record of this number reclassifies an id.
    pub(crate) fn reclassifies(&self, seq: u32) -> bool {
        self.place(seq).is_some_and(|place| self.row(place).kind == Kind::Reclassify)
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
        self.rows.of(self.row(place), &self.body, &[])
    }

    /// The place of the record of this number, if it is here.
    pub(crate) fn place(&self, seq: u32) -> Option<usize> {
        self.rows.rows.binary_search_by_key(&seq, |row| row.seq).ok()
    }

    /// The same records with ids and devices renumbered: by their places in `ids` and `devices`, which hold
    /// all that are named, ascending.
    pub(crate) fn relabelled(&self, ids: &[IdNo], devices: &[DeviceNo]) -> ComponentRecords {
        let mut relabelled = ComponentRecords::default();
        self.records().for_each(|record| relabelled.push_relabelled(record, ids, devices));
        relabelled
    }

    /// Adds a record with its ids and devices renumbered, as [`ComponentRecords::relabelled`] does.
    pub(crate) fn push_relabelled(&mut self, record: Record<'_>, ids: &[IdNo], devices: &[DeviceNo]) {
        let row =
            record.row.relabelled(|id| IdNo(place(ids, &id)), |device| DeviceNo(place(devices, &device)));
        match record.leavers() {
            None => self.add(row, record.tail(), record.changes()),
            Some(leavers) => {
                let ids = leavers.ids.iter().map(|id| IdNo(place(ids, id))).collect();
                let mut bytes = record.fixed_tail().to_vec();
                tail::write_leavers(&SplitOff { ids, ..leavers }, &mut bytes);
                self.add(row, &bytes, record.changes());
            }
        }
    }
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
        Kind::Split => record.leavers().map(|leavers| leavers.ids),
        Kind::Erase => record.erasure().map(|erasure| erasure.ids),
        _ => None,
    };
    listed.into_iter().flatten().for_each(|id| each(Node::Id(id)));
}

/// Every id and device that a record names.
pub(crate) fn nodes_of(record: Record<'_>) -> BTreeSet<Node> {
    let mut nodes = BTreeSet::new();
    each_named(record, |node| {
        nodes.insert(node);
    });
    nodes
}
