//! The log as bytes: frames, bodies, payload items, and the chain that makes records of them. Knows nothing of persons.

pub(crate) mod body;
pub(crate) mod chain;
pub(crate) mod codec;
pub(crate) mod component;
pub(crate) mod digest;
pub(crate) mod frame;
pub(crate) mod payload;
pub(crate) mod record;
