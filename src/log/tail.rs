//! What no row holds of a record: the end of its bytes, read only on request.

use crate::log::body::{Body, IdNo, SplitOff, StoredPolicy};
use crate::log::codec::{self, CodecError};
use crate::log::kind::Kind;
use crate::log::varint;
use crate::model::limits::MAX_SPLIT_IDS;

/// Who leaves in a split: how many, twice, and one more if they stay together; then the first id, and from each to the next how many lie between.
pub(super) fn leavers(body: &[u8], at: &mut usize) -> Result<SplitOff, CodecError> {
    let stored = varint::any(body, at)?;
    let count = stored >> 1;
    if count == 0 || count > MAX_SPLIT_IDS as u64 {
        return Err(CodecError::of("a split names no ids, or too many"));
    }
    let (mut ids, mut least) = (Vec::new(), 0); // no allocation is believed before its bytes are seen
    for _ in 0..count {
        let id = varint::real(least + u64::from(varint::number(body, at)?))?;
        ids.push(IdNo(id));
        least = u64::from(id) + 1;
    }
    Ok(SplitOff { together: stored & 1 == 1, ids })
}

/// What is rare, and how many bytes it took.
type Rare = Result<(Body, usize), CodecError>;

/// What is rare, read by the codec; and how many bytes it took.
pub(super) fn rare(kind: Kind, bytes: &[u8]) -> Rare {
    fn boxed<T: codec::Decode<()>>(bytes: &[u8], of: impl Fn(Box<T>) -> Body) -> Rare {
        codec::decode(bytes).map(|(said, taken)| (of(Box::new(said)), taken))
    }
    let policy = |bytes, of: fn(Box<StoredPolicy>) -> Body| {
        StoredPolicy::read(bytes).map(|(policy, taken)| (of(Box::new(policy)), taken))
    };
    match kind {
        Kind::Genesis => policy(bytes, Body::Genesis),
        Kind::SetPolicy => policy(bytes, Body::SetPolicy),
        Kind::Recovered => codec::decode(bytes).map(|(cut, taken)| (Body::Recovered(cut), taken)),
        Kind::Erase => boxed(bytes, Body::Erase),
        Kind::EraseDone => boxed(bytes, Body::EraseDone),
        Kind::Restate => boxed(bytes, Body::Restate),
        Kind::Followed => boxed(bytes, Body::Followed),
        _ => Err(CodecError::of("an unknown kind of record")),
    }
}

/// Appends who leaves in a split.
pub(super) fn write_leavers(split: &SplitOff, out: &mut Vec<u8>) {
    varint::write((split.ids.len() as u64) << 1 | u64::from(split.together), out);
    let mut least = 0;
    for id in &split.ids {
        varint::write(u64::from(id.0).wrapping_sub(least), out); // a list that is out of order gives bytes that no reader takes
        least = u64::from(id.0) + 1;
    }
}
