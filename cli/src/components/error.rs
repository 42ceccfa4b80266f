//! Why components cannot be folded: where it was found, what was expected, and what to do.

use std::io;
use std::path::PathBuf;

use arrow_schema::{ArrowError, DataType};
use identity_ledger::export::WriteError;
use identity_ledger::import::Rejection;
use identity_ledger::storage::Fault;
use identity_ledger::{AppendError, CreateError, IdError, PolicyError, Seq};

/// Why components cannot be folded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentsError {
    #[error(
        "standard input is not an Arrow IPC stream: {0}; expected one with the columns tenant, seq, recorded_at, defined_from, operation and, unless with --names, component"
    )]
    NotArrow(ArrowError),
    #[error(
        "standard input breaks off behind row {rows}: {source}; the job that writes it did not finish, so run it again"
    )]
    Broken { rows: u64, source: ArrowError },
    #[error(
        "standard input ends behind row {rows} without the mark that ends an Arrow stream; the job that writes it did not finish, so run it again"
    )]
    Truncated { rows: u64 },
    #[error("standard input has more behind the end of its Arrow stream; expected one stream")]
    More,
    #[error("column `{column}` is missing; found {found}")]
    MissingColumn { column: &'static str, found: String },
    #[error("column `{column}` has the type {found}; expected {expected}")]
    WrongType { column: &'static str, found: DataType, expected: &'static str },
    #[error("row {row}: `{column}` is null; expected a value")]
    Null { row: u64, column: &'static str },
    #[error("row {row}: `{column}` is {found}; expected {expected}")]
    OutOfRange { row: u64, column: &'static str, found: i64, expected: &'static str },
    #[error("row {row}: tenant `{found}`: {source}")]
    Tenant { row: u64, found: String, source: IdError },
    #[error(
        "row {row}: tenant `{tenant}`, component {component}, seq {seq} stands behind {before}; expected rows sorted by tenant, component and seq, each once"
    )]
    Unsorted { row: u64, tenant: String, component: i64, seq: Seq, before: String },
    #[error("tenant `{tenant}`, seq {seq} is in two components; expected each operation once")]
    Twice { tenant: String, seq: Seq },
    #[error(
        "tenant `{tenant}`: component {component} has more than {most} operations; a component is folded by one process: raise --max-component if it has the memory"
    )]
    TooLarge { tenant: String, component: i64, most: usize },
    #[error("tenant `{tenant}` has no policy; expected a line for it in the file of --broadcast")]
    NoPolicy { tenant: String },
    #[error(
        "tenant `{tenant}`: operation {seq} stands before its first policy, which is record {first}; expected it there or later"
    )]
    BeforePolicy { tenant: String, seq: Seq, first: Seq },
    #[error("{} line {line}: {what}", .file.display())]
    BadBroadcast { file: PathBuf, line: usize, what: String },
    #[error("tenant `{tenant}`, operation {seq}: {source}")]
    Operation { tenant: String, seq: Seq, source: Rejection },
    #[error(
        "tenant `{tenant}`, operation {seq}: the reset does not say its `new_id`; expected one, for components are found by the ids that operations name"
    )]
    UnnamedReset { tenant: String, seq: Seq },
    #[error("the table {table} is about a whole ledger, not about components; `export` has it")]
    NotOfComponents { table: &'static str },
    #[error("tenant `{tenant}`, policy of record {seq}: {source}")]
    Policy { tenant: String, seq: Seq, source: PolicyError },
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Erase(#[from] identity_ledger::erase::EraseError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("standard output cannot be written: {0}")]
    Output(#[source] io::Error),
}

impl From<WriteError> for ComponentsError {
    fn from(error: WriteError) -> ComponentsError {
        ComponentsError::Output(error.into())
    }
}
