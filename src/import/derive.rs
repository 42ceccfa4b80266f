//! Ids for operations that came without one (G4): derived from content, so that importing a file twice appends nothing.

use hashbrown::HashTable;
use uuid::Uuid;

use super::json::Json;
use super::options::Format;
use super::rejection::Rejection;
use crate::log::digest::{Hasher, Purpose};
use crate::model::id::{DistinctId, OperationId};
use crate::model::operation::Source;
use crate::model::time::Timestamp;

/// Namespace of the ids of messages that are not UUIDs. Set in stone.
const MESSAGE_NAMESPACE: Uuid = Uuid::from_u128(0x5d3f_2a9c_8e14_4b7d_9c06_1f7a_e2b8_4d31);

/// The id of the message that its sender called `text`: itself if it is a UUID, else a UUID made of it.
pub(super) fn message_id(text: &str) -> OperationId {
    OperationId(Uuid::try_parse(text).unwrap_or_else(|_| Uuid::new_v5(&MESSAGE_NAMESPACE, text.as_bytes())))
}

/// The id of the link that a call in `format` implies, because it names both `who` and `other`.
///
/// It depends on the two ids only: however many calls repeat a link, the ledger records it once (G4).
pub(super) fn link_id(who: &DistinctId, other: &Source, format: Format) -> OperationId {
    let other = match other {
        Source::Id(id) => id.as_str(),
        Source::Unstorable => "",
    };
    let mut hasher = Hasher::new(Purpose::OperationId);
    hasher.field(b"link").field(who.as_str().as_bytes()).field(other.as_bytes());
    hasher.field(format.name().as_bytes());
    OperationId(Uuid::from_bytes(first_half(&hasher)))
}

/// The id of an event of Mixpanel, of the four that it knows an event by: its insert id, its person, its time and its name.
pub(super) fn insert_id(
    insert_id: &str,
    who: &DistinctId,
    time: Option<Timestamp>,
    event: &str,
) -> OperationId {
    let mut hasher = Hasher::new(Purpose::OperationId);
    hasher
        .field(b"insert")
        .field(insert_id.as_bytes())
        .field(who.as_str().as_bytes())
        .field(event.as_bytes());
    hasher.field(&time.map_or(Vec::new(), |time| time.as_micros().to_le_bytes().to_vec()));
    OperationId(Uuid::from_bytes(first_half(&hasher)))
}

/// Counts, for one input, how often each content has been seen.
///
/// Identical lines are different events: the second one gets another id than the first, and the same again in the next
/// import of the same input. Costs about 24 bytes for each line without an id.
#[derive(Default)]
pub(super) struct Occurrences {
    /// Half a digest is enough: a collision would merely count on.
    counts: HashTable<([u8; 16], u32)>,
    canonical: Vec<u8>,
}

impl Occurrences {
    /// The id of the operation that `object` asked at `time`, in the format `tag`. Set in stone: a changed derivation
    /// would import old files again.
    pub(super) fn derive(
        &mut self,
        object: Json<'_>,
        time: Timestamp,
        tag: &'static str,
    ) -> Result<OperationId, Rejection> {
        self.canonical.clear();
        object.canonical(&mut self.canonical)?;
        let mut hasher = Hasher::new(Purpose::OperationId);
        hasher.field(&self.canonical).update(&time.as_micros().to_le_bytes()).field(tag.as_bytes());
        let earlier = self.count(first_half(&hasher));
        hasher.update(&u64::from(earlier).to_le_bytes());
        Ok(OperationId(Uuid::from_bytes(first_half(&hasher))))
    }

    /// How often this content was seen before; counts it.
    fn count(&mut self, content: [u8; 16]) -> u32 {
        let hash = |content: &[u8; 16]| {
            let (half, _) = content.split_first_chunk::<8>().expect("16 bytes hold 8");
            u64::from_le_bytes(*half) // a digest is hash enough
        };
        let entry = self.counts.entry(hash(&content), |(seen, _)| *seen == content, |(seen, _)| hash(seen));
        let mut entry = entry.or_insert((content, 0));
        let count = &mut entry.get_mut().1;
        *count = count.saturating_add(1);
        *count - 1
    }
}

fn first_half(hasher: &Hasher) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finish().0[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_ids_and_equal_lines_differ_g4() {
        let ids = || {
            let mut occurrences = Occurrences::default();
            [
                (r#"{"a":1}"#, 0),
                (r#"{"a":1}"#, 0),
                (r#"{"a":1}"#, 1),
                (r#"{ "a" : 1 }"#, 0),
                (r#"{"a":1.0}"#, 0),
            ]
            .map(|(text, at)| {
                let (json, time) = (Json::read(text).unwrap(), Timestamp::from_micros(at).unwrap());
                occurrences.derive(json, time, "ops").unwrap()
            })
        };
        assert_eq!(ids(), ids());
        let distinct: std::collections::BTreeSet<_> = ids().into_iter().collect();
        assert_eq!(distinct.len(), 5);
    }
}
