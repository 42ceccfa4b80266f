//! When records were recorded, and which record was the last at a time.

use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

impl Reader {
    /// When a record was recorded, by the clock of the writer (A1); `None` behind the last record. Later records have the
    /// same time or a later one.
    ///
    /// Cost: at most the 64 KiB of log before its frame are read.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use identity_ledger::{DistinctId, LedgerOptions, Operation, Policy, Tenant, Timestamp};
    /// use identity_ledger::storage::Memory;
    /// let [created, later] = ["2026-03-02T09:00:00Z", "2026-03-03T10:00:00Z"].map(|time| time.parse::<Timestamp>().unwrap());
    /// let mut clock = [created, later].into_iter();
    /// let mut ledger = LedgerOptions::new()
    ///     .clock(move || clock.next().unwrap_or(later))
    ///     .create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default())?;
    /// let sent = Timestamp::from_micros(0)?; // what the sender's clock says does not matter here
    /// let seq = ledger.append(Operation::properties(sent, DistinctId::new("ann")?))?.seq().ok_or("recorded")?;
    ///
    /// let reader = ledger.reader();
    /// assert_eq!(reader.recorded_at(seq)?, Some(later));
    /// let then = reader.last_recorded("2026-03-03T00:00:00Z".parse()?)?.ok_or("it was there")?;
    /// assert_eq!(reader.person_as_of("ann", then), None); // on 3 March we did not know Ann
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn recorded_at(&self, seq: Seq) -> Result<Option<Timestamp>, Fault> {
        if seq.0 >= self.state().records() {
            return Ok(None);
        }
        Ok(self.log.times(&[seq])?.pop())
    }

    /// The last record that was recorded at or before a time; `None` if the ledger was created later. What was known at that time is
    /// what is known as of this record: [`Reader::person_as_of`] and the like.
    ///
    /// Cost: a binary search over the places in the log that are kept in memory, and at most 64 KiB of log or one frame.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn last_recorded(&self, time: Timestamp) -> Result<Option<Seq>, Fault> {
        let records = self.state().records();
        let until = match self.replay.chain().recorded_at() <= time {
            true => records,
            false => self.log.recorded_by(time)?.map_or(records, |found| found.min(records)),
        };
        Ok(until.checked_sub(1).map(Seq))
    }
}
