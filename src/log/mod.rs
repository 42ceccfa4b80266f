//! The log as bytes: frames, bodies, payload items, and the chain that makes records of them. Knows nothing of persons.

pub(crate) mod body;
pub(crate) mod chain;
pub(crate) mod codec;
pub(crate) mod component;
pub(crate) mod digest;
pub(crate) mod frame;
pub(crate) mod payload;
pub(crate) mod record;

pub use body::{
    Body, Change, Commitment, CutOff, DeviceNo, ErasedDevice, Erasure, ErasureCompletion, Flags, Followed,
    IdNo, KeyNo, LinkSource, NameNo, OperationHeader, PropertyChanges, Removal, Restated, RewrittenSegment,
    SplitOff, StoredClass, StoredPolicy, Verb,
};
pub use chain::{Chain, ChainError, CheckpointError};
pub use digest::{Digest, DigestError};
pub use payload::KeysError;
pub use record::Record;
