//! The seam between the handlers and what records: the ledger of this machine, or a node of several that share a stream (`node.rs`).

use std::pin::Pin;

use identity_ledger::erase::{EraseError, ErasureRequest, Receipt};
use identity_ledger::{AppendError, Appended, Operation, Reader, Seq, SharedLedger};
use serde_json::{Map, Value};

use crate::serve::refused::NoAnswer;

/// What became of each operation; an error says why it is not recorded, also if it is sent again.
pub(crate) type Answers = Vec<Result<Appended, String>>;

/// Operations on their way to a disk: ready when they are durable.
pub(crate) type Recording = Pin<Box<dyn Future<Output = Result<Answers, Unrecorded>> + Send>>;

/// Why it is not known that something is recorded. The sender tries again.
pub(crate) struct Unrecorded {
    /// What the sender is told.
    pub(crate) told: String,
    /// What the operator is told, unless it is said elsewhere.
    pub(crate) remark: Option<String>,
}

/// What an answer says besides.
pub(crate) type Facts = Map<String, Value>;

/// What a correction asks for.
pub(crate) enum Change {
    Operation(Box<Operation>),
    Erasure(ErasureRequest),
}

/// A correction that is recorded.
pub(crate) struct Corrected {
    pub(crate) seq: Option<Seq>,
    /// Facts for the answer, beside the record.
    pub(crate) facts: Facts,
}

/// What records. Each tenant has one, beside the ledger that answers its questions.
pub(crate) trait Recorder: Send + Sync {
    /// Begins to record operations in their order; one that is out of bounds does not keep the others out. Blocks for a ledger's lock.
    fn submit(&self, operations: Vec<Operation>) -> Result<Recording, Unrecorded>;

    /// Records what `decide` makes of the ledger as it is. Blocks until it is durable. `mark` is the same if the same is sent again.
    fn correct(&self, mark: &str, decide: Decision<'_>) -> Result<Corrected, NoAnswer>;

    /// Takes what is erased out of the files, and gives the receipts: of what was pending, or from an erase record on. Blocks.
    fn finish_erasures(&self, since: Option<Seq>) -> Result<Vec<Receipt>, NoAnswer>;

    /// Facts for `/healthz`; as an error, those of why nothing is recorded any more.
    fn health(&self) -> Result<Facts, Facts>;

    /// Gauges beside those of the ledger: name, help and value.
    fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        Vec::new()
    }

    /// Ends it in order. Blocks.
    fn close(&self) -> Result<(), String>;
}

/// Looks at the ledger, and says what to record.
pub(crate) type Decision<'d> = &'d mut dyn FnMut(&Reader) -> Result<Change, NoAnswer>;

impl Recorder for SharedLedger {
    fn submit(&self, operations: Vec<Operation>) -> Result<Recording, Unrecorded> {
        let ticket = SharedLedger::submit(self, |ledger| ledger.append_each(&operations))?;
        Ok(Box::pin(async move {
            let answers = ticket.await?;
            Ok(answers.into_iter().map(|answer| answer.map_err(|error| error.to_string())).collect())
        }))
    }

    fn correct(&self, _mark: &str, decide: Decision<'_>) -> Result<Corrected, NoAnswer> {
        self.write(|ledger| {
            let seq = match decide(ledger.reader())? {
                Change::Operation(operation) => ledger.append(*operation)?.seq(),
                Change::Erasure(request) => {
                    ledger.begin_erasures(&[request]).map_err(erase_failed)?.first().copied()
                }
            };
            Ok(Corrected { seq, facts: Facts::new() })
        })
    }

    fn finish_erasures(&self, _since: Option<Seq>) -> Result<Vec<Receipt>, NoAnswer> {
        self.write(|ledger| ledger.finish_erasures(&mut |_| {}).map_err(NoAnswer::from))
    }

    fn health(&self) -> Result<Facts, Facts> {
        if self.sync_counts().failed { Err(Facts::new()) } else { Ok(Facts::new()) }
    }

    fn close(&self) -> Result<(), String> {
        self.flush().map(drop).map_err(|error| error.to_string())
    }
}

impl From<AppendError> for Unrecorded {
    fn from(error: AppendError) -> Unrecorded {
        let remark = (!matches!(error, AppendError::Busy { .. })).then(|| error.to_string());
        Unrecorded { told: "the ledger cannot record now; try again".to_owned(), remark }
    }
}

fn erase_failed(error: EraseError) -> NoAnswer {
    match error {
        EraseError::UnknownId { .. }
        | EraseError::NoIds { .. }
        | EraseError::NoValues { .. }
        | EraseError::LongReason { .. } => NoAnswer::Bad(error.to_string()),
        error => error.into(),
    }
}
