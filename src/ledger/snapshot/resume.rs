//! Continuing from a snapshot instead of from the log's beginning, if the log agrees that it is of this
//! history.

use std::sync::Arc;

use crate::fold::replay::Replay;
use crate::ledger::snapshot::IgnoredSnapshot;
use crate::ledger::snapshot::read::{Header, Read, Restored};
use crate::log::body::Body;
use crate::log::chain::Checkpoint;
use crate::model::id::Seq;
use crate::query::proof::Proof;
use crate::query::reader::Reader;
use crate::store::layout::SEGMENT_HEADER_BYTES;
use crate::store::segments::{FrameEnd, SnapshotFault};

/// Lets the reader continue from its newest good snapshot, of those in `found`. Whole ones of this ledger are told to `witness`,
/// used or not: a snapshot is made of durable records only, so the log must pass through its place. None is used if the caller
/// gave a checkpoint: then only the chain counts.
pub(crate) fn resume(
    reader: &mut Reader,
    found: &[u64],
    seen: &[Checkpoint],
    usable: bool,
    mut witness: impl FnMut(Checkpoint),
) -> Resumed {
    let mut resumed = Resumed::default();
    let storage = Arc::clone(reader.log.storage());
    for records in found {
        let read = match Read::open(&*storage, *records, reader.ledger_id(), reader.log.keys()) {
            None => continue,
            Some(Ok(read)) => read,
            Some(Err(ignored)) => {
                resumed.ignored.push(ignored);
                continue;
            }
        };
        witness(read.header.end.checkpoint);
        if !usable {
            continue;
        }
        match read.restore().and_then(|restored| enter(reader, &read.header, restored, seen)) {
            Ok(()) => {
                resumed.from = Some(*records);
                break;
            }
            Err(why) => resumed.ignored.push(IgnoredSnapshot { file: read.file, why }),
        }
    }
    resumed
}

/// What [`resume`] did.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    pub(crate) from: Option<u64>,
    pub(crate) ignored: Vec<IgnoredSnapshot>,
}

/// Whether the log says what a state says of a followed log: each frame of a follower ends with its position, and no other frame does.
/// Where a follower continues must not rest on a snapshot.
fn ends_as_followed(reader: &Reader, replay: &Replay) -> bool {
    let last = Seq(replay.state().records() - 1);
    let Ok(window) = reader.log.window(last, replay.state().erasures()) else { return false };
    reader.log.forget_window(); // what it hides is the snapshot's word
    let found = match window.record(last).map(|record| record.body()) {
        Some(Body::Followed(followed)) => Some(followed),
        _ => None,
    };
    found.as_deref() == replay.state().followed()
}

/// Takes over what a snapshot holds, if the log has the frame it was made behind, and every place that was seen before it.
fn enter(
    reader: &mut Reader,
    header: &Header,
    restored: Restored,
    seen: &[Checkpoint],
) -> Result<(), SnapshotFault> {
    let Restored { replay, dictionaries, seen: ids, marks } = restored;
    let expected = header.end.checkpoint;
    let elsewhere = SnapshotFault::Elsewhere { expected };
    let last = marks.last().map_or(0, |mark| mark.segment as usize);
    let named = reader.log.segments().len() > last && {
        // Every segment before the tail is there and begins where the snapshot knows a place: none is missing, none is more.
        let begun = marks.chunk_by(|a, b| a.segment == b.segment).map(|marks| &marks[0]);
        begun.enumerate().all(|(index, mark)| {
            let begins = mark.segment as usize == index && mark.offset == SEGMENT_HEADER_BYTES as u64;
            begins && reader.log.place((index, 0)).0 == mark.before.next_seq()
        })
    };
    if !named {
        return Err(elsewhere);
    }
    reader.log.remember(marks);
    let end = reader.log.end_of(expected).ok().flatten();
    // The time that the next frame must not go behind is the log's too.
    let is_tail = |end: &FrameEnd| {
        reader.log.place(end.place) == header.tail && end.recorded_at == header.end.recorded_at
    };
    let tail = end.filter(is_tail).map(|end| end.place);
    let fault = match tail {
        None => Some(elsewhere),
        Some(_) if !ends_as_followed(reader, &replay) => {
            Some(SnapshotFault::Differs { what: "position of the followed log" })
        }
        Some(_) => {
            let earlier = seen.iter().filter(|expected| expected.records <= header.end.checkpoint.records);
            let missed =
                earlier.copied().find(|expected| !matches!(reader.log.end_of(*expected), Ok(Some(_))));
            missed.map(|expected| SnapshotFault::DurabilityEvidence { expected })
        }
    };
    if let (None, Some(tail)) = (&fault, tail) {
        reader.log.go_on_from(tail);
        (reader.replay, reader.dictionaries, reader.seen) = (replay, dictionaries, ids);
        reader.proof = Proof::due(header.end.checkpoint.records);
        return Ok(());
    }
    reader.log.remember(Vec::new());
    Err(fault.expect("without a tail there is a fault"))
}
