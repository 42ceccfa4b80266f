//! Replay: frames in, records and outcomes out. Live append, open and audit all walk here; there is no I/O.

use crate::chain::{Chain, ChainError, item_parts};
use crate::frame::Frame;
use crate::id::LedgerId;
use crate::id::Tenant;
use crate::record::{Item, Record};
use crate::state::{FORESEEN, Outcome, State};

/// One record on its way through a replay.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The record.
    pub record: &'a Record,
    /// What it did; `None` for records that are no operations.
    pub outcome: Option<&'a Outcome>,
    /// The state right after it.
    pub state: &'a State,
    payload: &'a [u8],
}

impl<'a> Step<'a> {
    /// The bytes of its payload item: a text or values. `None` if it has none or it was erased.
    pub fn item(&self) -> Option<&'a [u8]> {
        match self.record.item() {
            Item::Present { at, len } => Some(item_parts(self.payload, at, len).1),
            Item::None | Item::Absent => None,
        }
    }

    /// Whether its payload item was erased.
    pub fn is_erased(&self) -> bool {
        self.record.item() == Item::Absent
    }
}

/// A chain and the state it folds to, frame by frame.
///
/// ```
/// use identity_ledger::{Ledger, Operation, OperationId, DistinctId, Policy, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
/// let mut operations = 0;
/// ledger.replay(|step| operations += usize::from(step.outcome.is_some()))?;
/// assert_eq!(operations, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replay {
    chain: Chain,
    state: State,
    batch: Vec<Record>,
}

impl Replay {
    /// Before the first frame.
    pub fn new(ledger: LedgerId, tenant: &Tenant) -> Replay {
        Replay { chain: Chain::new(ledger, tenant), state: State::new(), batch: Vec::new() }
    }

    /// Where the chain ends.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the records so far meant.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes chain and state apart.
    pub fn into_parts(self) -> (Chain, State) {
        (self.chain, self.state)
    }

    /// Accepts the frame that begins `bytes`, folds its records, shows each to `each`; gives the frame's length.
    ///
    /// With `commitments` also every payload item is checked against its commitment.
    ///
    /// # Errors
    /// [`ChainError`]; then nothing was folded.
    pub fn frame(
        &mut self,
        bytes: &[u8],
        commitments: bool,
        each: impl FnMut(Step<'_>),
    ) -> Result<usize, ChainError> {
        let frame = Frame::parse(bytes, self.chain.ledger_id())?;
        self.accept(&frame, commitments)?;
        self.fold(frame.payload, each);
        Ok(frame.header.frame_len())
    }

    /// Checks a frame and keeps its records for [`Replay::fold`].
    pub(crate) fn accept(&mut self, frame: &Frame<'_>, commitments: bool) -> Result<(), ChainError> {
        assert!(self.batch.is_empty(), "an accepted frame is folded before the next");
        let mut chain = self.chain.clone();
        chain.accept(frame, &mut self.batch)?;
        if commitments && let Err(error) = chain.check_items(&self.batch, frame.payload) {
            self.batch.clear();
            return Err(error);
        }
        self.chain = chain;
        Ok(())
    }

    /// Folds what was accepted.
    pub(crate) fn fold(&mut self, payload: &[u8], mut each: impl FnMut(Step<'_>)) {
        for records in self.batch.chunks(FORESEEN) {
            self.state.foresee(records);
            for record in records {
                let outcome = self.state.apply(record);
                each(Step { record, outcome: outcome.as_ref(), state: &self.state, payload });
            }
        }
        self.batch.clear();
    }
}
