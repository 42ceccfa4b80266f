//! For tests of this crate and of yours.

pub mod reference;
pub mod workload;
