//! For tests of this crate and of yours.

pub mod disk;
pub mod notation;
pub mod reference;
pub mod workload;
