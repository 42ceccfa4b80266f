//! What can be said: names, times, values, operations, the policy, and the bound of each.
//!
//! Imports nothing else of this crate.

pub(crate) mod class;
pub(crate) mod id;
pub(crate) mod kind;
pub mod limits;
pub(crate) mod operation;
pub(crate) mod policy;
pub(crate) mod time;
pub(crate) mod value;
pub(crate) mod visible;

pub use class::IdClass;
pub use id::LedgerId;
pub use kind::{IdForm, IdKind, KindError, KindNo};
pub use operation::{Dialect, ImportFixups, PersonProfiles, Sdk};
pub use policy::{FirstMention, Survivor, UuidIds, ValuesBy};
pub use time::TimestampError;
pub use value::ValueError;
