//! identity ledger
mod chain;
mod codec;
mod digest;
mod frame;
mod id;
pub mod limits;
mod operation;
mod policy;
mod record;
mod state;
mod time;
mod value;

pub use crate::chain::{Chain, ChainError, Checkpoint, CheckpointError, LedgerId};
pub use crate::digest::{Digest, DigestError};
pub use crate::id::*;
pub use crate::operation::*;
pub use crate::policy::*;
pub use crate::record::*;
pub use crate::state::*;
pub use crate::time::*;
pub use crate::value::*;
