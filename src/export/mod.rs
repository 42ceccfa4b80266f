//! Exports: what a log means as tables of plain rows, for a data warehouse. It knows no file format; the feature `export` adds those.
//!
//! Everything is streamed: beside the reader's own state an export holds some numbers for each person and each id, and one batch of
//! rows. What is erased is in no row: a text or value is null, and so is the preimage of a change that erased it.

#[cfg(feature = "export")]
mod arrow;
mod cell;
mod changes;
mod corrected;
mod names;
#[cfg(feature = "export")]
mod ops;
mod origins;
mod people;
mod records;
mod row;
mod tables;
#[cfg(feature = "export")]
mod writer;

#[cfg(feature = "export")]
pub use arrow::{BATCH_BYTES, BATCH_ROWS, Batch, CellTooLarge, MAX_CELL_BYTES, arrow_schema};
pub use cell::{Cell, Column, Json, Kind};
pub use changes::{ChangeType, RowChange, TableChanges};
#[cfg(feature = "export")]
pub use ops::{Losses, OperationLine, OpsError};
pub use row::{
    CheckpointRow, DistinctIdRow, ErasureRow, EventRow, HistoryRow, OutcomeRow, PersonRow, PolicyRow,
    PropertyWriteRow, RedirectRow, Row, RowKey, Table,
};
pub use tables::{Export, Numbering};
#[cfg(feature = "export")]
pub use writer::{FileFormat, ROW_GROUP_BYTES, ROW_GROUP_ROWS, TableWriter, UnknownFormat, WriteError};

/// The version of the tables. It rises when a column changes its meaning, its type or its name, or goes; a new column does not raise it.
pub const SCHEMA_VERSION: u32 = 1;
