//! The log as bytes: frames, bodies, payload items, and the chain that makes records of them. Knows nothing of persons.

pub(crate) mod body;
pub(crate) mod chain;
pub(crate) mod codec;
pub(crate) mod commitment;
pub(crate) mod component;
pub(crate) mod decode;
pub(crate) mod digest;
pub(crate) mod encode;
pub(crate) mod frame;
pub(crate) mod item;
pub(crate) mod kind;
pub(crate) mod lanes;
pub(crate) mod payload;
pub(crate) mod record;
pub(crate) mod stored_policy;
pub(crate) mod tail;
pub(crate) mod varint;

pub use body::{
    Asked, AskedVerb, Body, Change, Commitment, CutOff, DeviceNo, ErasedDevice, Erasure, ErasureCompletion,
    Flags, Followed, IdNo, KeyNo, LinkSource, NameNo, OperationHeader, Removal, Restated, RewrittenSegment,
    SplitOff, StoredClass, StoredPolicy, Verb,
};
pub use chain::{Chain, ChainError, CheckpointError};
pub use digest::{Digest, DigestError};
pub use payload::KeysError;
pub use record::Record;
