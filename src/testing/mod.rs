//! For tests of this crate and of yours.

pub mod disk;
pub mod reference;
pub mod workload;
