//! Replay: frames in, records and outcomes out. Live append, open and audit all walk here; there is no I/O.

use crate::fold::{Erasures, FORESEEN, Outcome, Past, State};
use crate::log::chain::{Chain, ChainError, Checkpoint};
use crate::log::frame::Frame;
use crate::log::record::{Record, Rows};
use crate::model::id::{LedgerId, Tenant};
use crate::model::time::Timestamp;

/// One record on its way through a replay.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The record that was folded.
    pub record: Record<'a>,
    /// When it was recorded, by the writer's clock. No rule reads it (A1).
    pub recorded_at: Timestamp,
    /// What it did; `None` for records that are not operations.
    pub outcome: Option<&'a Outcome>,
    /// The state right after it.
    pub state: &'a State,
    /// Where its frame ends: a checkpoint that anyone who filed it can compare (A2).
    pub frame_end: &'a Checkpoint,
    /// What folding its frame needed of earlier records: a fold beside this one needs the same.
    pub(crate) past: &'a Past,
}

/// A chain and the state it folds to, frame by frame.
///
/// ```
/// use identity_ledger::{Ledger, Operation, OperationId, DistinctId, Policy, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
/// let mut operations = 0;
/// ledger.reader().replay(|step| operations += usize::from(step.outcome.is_some()))?;
/// assert_eq!(operations, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replay {
    chain: Chain,
    state: State,
    rows: Rows,
}

impl Replay {
    /// Before the first frame, of a ledger that is not sealed; [`crate::LedgerOptions::replay`] knows both.
    pub fn new(ledger: LedgerId, tenant: &Tenant) -> Replay {
        Replay { chain: Chain::new(ledger, tenant), state: State::new(), rows: Rows::default() }
    }

    /// Behind what a snapshot holds; the two must be of one place in the log.
    pub(crate) fn resumed(chain: Chain, state: State) -> Replay {
        assert!(chain.next_seq() == state.records(), "a chain and its state end with the same record");
        Replay { chain, state, rows: Rows::default() }
    }

    /// The same, apart from this one.
    pub(crate) fn detached(&self) -> Replay {
        Replay::resumed(self.chain.clone(), self.state.clone())
    }

    /// Where the chain ends.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the records so far meant.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Accepts the frame that begins `bytes`, folds its records, shows each to `each`; gives the frame's length.
    ///
    /// With `commitments` also every payload item is checked against its commitment.
    ///
    /// # Errors
    /// [`ChainError`]; then nothing was folded. [`ChainError::NeedsPast`] if a record refolds a component
    /// (section H): that takes earlier records, which a replay does not keep. [`crate::Reader::replay`] has
    /// them.
    pub fn frame(
        &mut self,
        bytes: &[u8],
        commitments: bool,
        each: impl FnMut(Step<'_>),
    ) -> Result<usize, ChainError> {
        let frame = Frame::parse(bytes, self.chain.ledger_id())?;
        self.accept(&frame, commitments)?;
        self.fold_rows(&frame, &Past::default(), u64::MAX, each);
        Ok(frame.header.frame_len())
    }

    /// Checks a frame and keeps its rows.
    fn accept(&mut self, frame: &Frame<'_>, commitments: bool) -> Result<(), ChainError> {
        assert!(self.rows.rows().is_empty(), "an accepted frame is folded before the next");
        let mut chain = self.chain.clone();
        chain.accept(frame, &mut self.rows)?;
        let refolds = self.rows.rows().iter().find(|row| row.refolds());
        let alone = refolds.map_or(Ok(()), |row| Err(ChainError::NeedsPast { seq: row.seq.into() }));
        let items = || if commitments { chain.check_items(&self.rows, frame) } else { Ok(()) };
        if let Err(error) = alone.and_then(|()| items()) {
            self.rows.clear();
            return Err(error);
        }
        self.chain = chain;
        Ok(())
    }

    /// What was erased behind the last record that was folded counts too: nothing of it may be shown, as of no record.
    pub(crate) fn erased_since(&mut self, erasures: &Erasures) {
        self.state.erased_since(erasures);
    }

    /// As [`State::done_beside`].
    pub(crate) fn done_beside(&mut self, last: Option<u32>) {
        self.state.done_beside(last);
    }

    /// Continues behind a frame that a chain has accepted, before [`Replay::fold`] folds it.
    pub(crate) fn advance(&mut self, after: Chain) {
        self.chain = after;
    }

    /// Folds the rows of a frame that a chain has accepted, up to record `end`; they come back empty. `past` is what its records
    /// need of earlier ones.
    pub(crate) fn fold(
        &mut self,
        frame: &Frame<'_>,
        rows: &mut Rows,
        past: &Past,
        end: u64,
        each: impl FnMut(Step<'_>),
    ) {
        let due = self.state.records() == frame.header.first_seq;
        assert!(due, "frames are folded in the order they were accepted in");
        std::mem::swap(&mut self.rows, rows);
        self.fold_rows(frame, past, end, each);
        std::mem::swap(&mut self.rows, rows);
    }

    /// Folds what was accepted of this frame, up to record `end`.
    fn fold_rows(&mut self, frame: &Frame<'_>, past: &Past, end: u64, mut each: impl FnMut(Step<'_>)) {
        let Replay { state, rows, chain } = self;
        let frame_end = &chain.checkpoint();
        let recorded_at = frame.header.recorded_at;
        let count = rows.rows().partition_point(|row| u64::from(row.seq) < end);
        let (mut folded, mut far) = (0, rows.far().chunks(FORESEEN));
        while folded < count {
            let few = far.next().unwrap_or_default();
            state.prefetch(few.iter().map(|at| &rows.rows()[*at as usize]));
            let end = few.last().map_or(count, |last| count.min(*last as usize + 1));
            for record in rows.records_at(folded..end, frame) {
                if state.count_alone(record.row) {
                    let outcome = Some(&Outcome::NOTHING);
                    each(Step { record, recorded_at, outcome, state, frame_end, past });
                } else {
                    let mut outcome = Outcome::NOTHING;
                    let operation = state.apply_to(record, past, &mut outcome);
                    let outcome = operation.then_some(&outcome);
                    each(Step { record, recorded_at, outcome, state, frame_end, past });
                }
            }
            folded = end;
        }
        rows.clear();
    }
}
