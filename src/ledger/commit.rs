//! Committing a frame: disk first, then the fold.

use std::io;

use crate::fold::{Outcome, Past};
use crate::ledger::Ledger;
use crate::ledger::draft::Finished;
use crate::ledger::error::AppendError;
use crate::ledger::trace;
use crate::ledger::writer::Durability;
use crate::log::frame::{self, Frame, Header};
use crate::log::payload::{self};
use crate::log::record::Rows;
use crate::model::id::Seq;
use crate::model::limits::MAX_RECORDS;
use crate::query::reader::Reader;

/// A frame that was written and folded.
struct Written {
    /// What each of its operations did.
    outcomes: Vec<(Seq, Outcome)>,
    /// Whether it is durable, as far as the ledger's durability asks for that.
    acknowledged: io::Result<()>,
}

impl Ledger {
    /// Frame, disk, fold: in this order. Gives each operation's outcome. If nothing was written, the texts of `finished` leave the
    /// dictionaries again.
    pub(crate) fn commit(&mut self, finished: Finished) -> Result<Vec<(Seq, Outcome)>, AppendError> {
        if finished.records == 0 {
            return Ok(Vec::new());
        }
        let first_seq = self.reader.checkpoint().records;
        let Written { outcomes, acknowledged } = self.write(&finished, first_seq).inspect_err(|_| {
            self.reader.log.forget_index();
            self.reader.dictionaries.truncate(finished.lengths);
        })?;
        acknowledged.map_err(|source| self.writer.poison(first_seq, source))?;
        self.writer.last_calls.extend(finished.last_calls);
        self.snapshot_if_due();
        Ok(outcomes)
    }

    /// Writes a frame and folds it. An error says that it was not written, or that it is unknown whether it was.
    fn write(&mut self, finished: &Finished, first_seq: u64) -> Result<Written, AppendError> {
        let Finished { records, body, payload, .. } = finished;
        let Ledger { reader, writer, .. } = self;
        if first_seq + u64::from(*records) > MAX_RECORDS {
            return Err(AppendError::Full);
        }
        let now = finished.recorded_at.unwrap_or_else(|| writer.clock.now());
        let header = Header {
            body_len: u32::try_from(body.len()).expect("a frame is at most 16 MiB"),
            payload_len: u32::try_from(payload.len()).expect("a frame is at most 16 MiB"),
            first_seq,
            recorded_at: now.max(reader.replay.chain().recorded_at()),
            records: *records,
            durable: writer.disk.durable(),
        };
        let mut bytes = Vec::with_capacity(header.frame_len());
        let ledger = reader.ledger_id();
        frame::write(header, body, payload, ledger, reader.replay.chain().head(), &mut bytes);
        let frame = Frame::parse(&bytes, ledger).expect("what frame::write writes, Frame::parse reads");
        let (before, mut rows) = (reader.replay.chain().clone(), Rows::default());
        let mut after = before.clone();
        after.accept(&frame, &mut rows).expect("a draft fits its chain");
        let mut plain = Vec::new();
        let frame = payload::open(reader.log.keys(), frame, &mut rows, &mut plain)
            .expect("what was sealed just now opens");
        // What the fold needs of earlier records is read before anything is written: a disk that fails now changes nothing.
        let past =
            reader.log.past(&frame, &rows).map_err(|fault| AppendError::Unreadable(Box::new(fault)))?;
        let (segment, offset) =
            writer.write(reader, &bytes).map_err(|source| writer.poison(first_seq, source))?;
        reader.log.mark(&before, segment, offset);
        reader.log.note(&frame, &rows, (segment, offset));
        reader.replay.advance(after);
        let acknowledged = match writer.durability {
            Durability::Buffered => Ok(()),
            _ => writer.acknowledge(reader),
        };
        trace::frame_written(ledger, first_seq, *records, bytes.len());
        // Acknowledged or not, the records are written and may well be durable: reads agree with the chain.
        Ok(Written { outcomes: fold(reader, &frame, &mut rows, &past), acknowledged })
    }
}

/// Folds the accepted frame into the state, and gives each operation's outcome; the dictionaries have its texts already.
fn fold(reader: &mut Reader, frame: &Frame<'_>, rows: &mut Rows, past: &Past) -> Vec<(Seq, Outcome)> {
    let Reader { replay, seen, .. } = reader;
    let (mut outcomes, mut erasures) = (Vec::new(), Vec::new());
    replay.fold(frame, rows, past, u64::MAX, |step| {
        if step.record.row.is_erasure() {
            erasures.push(step.record.body());
        }
        if let Some(outcome) = step.outcome {
            outcomes.push((step.record.seq(), *outcome));
            if let Some(id) = step.record.operation_id() {
                seen.insert(id, step.record.row.seq);
            }
        }
    });
    erasures.iter().for_each(|body| reader.forget(body));
    outcomes
}
