//! Messages: one message of the stream is one atomic batch. The format is this, as JSON:
//!
//! ```json
//! {"v":1,"log":"shop.5d1b...","batch":"UUID","seed":"64 hexadecimal digits","content":{"operations":[..]}}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `v` | the version of the format: the lowest that has the content. A follower stops at a version that it does not know, for another follower may know it |
//! | `log` | the name of the log: the stream's first name and a UUID. A stream of the same name that was created later is another log |
//! | `batch` | the batch's id; on JetStream also the message's `Nats-Msg-Id`, by which the stream leaves out what comes again within its window |
//! | `seed` | 32 bytes of the publisher's chance: salts and generated ids of the batch come from them. As secret as the texts beside it |
//! | `content` | `{"operations":[..]}`, each with an id; `{"policy":{..}}`; or `{"begin":{"tenant":..,"policy":{..}}}`, the first message. In version 2 alone: `{"erase":{..}}` |
//!
//! Retracts, splits and reclassifications are operations. An erasure names the ids that it erases, so the stream is purged up to it when
//! every follower has erased (`remedy::purge` of the engine's crate).

use std::fmt;

use identity_ledger::erase::ErasureRequest;
use identity_ledger::follow::LogName;
use identity_ledger::storage::{Entropy, OsEntropy};
use identity_ledger::uuid::{Builder, Uuid};
use identity_ledger::{Operation, OperationError, OperationId, Policy, PolicyError, Tenant, limits};
use serde::{Deserialize, Serialize};

use crate::wire::{WireErasure, WireOperation};

/// The newest version of the format that this release reads and writes; it reads those before it too.
pub const VERSION: u32 = 2;

/// The id of a batch. Sent again under the same id, a batch is recorded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub Uuid);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a batch asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The first message of a log: what every follower's ledger is created with.
    Begin {
        /// The tenant of the ledger.
        tenant: Tenant,
        /// Its first policy.
        policy: Policy,
    },
    /// Operations, recorded together or not at all.
    Operations(Vec<Operation>),
    /// Another policy from here on (A3).
    Policy(Policy),
    /// An erasure (H3).
    Erase(ErasureRequest),
}

/// A batch on its way to the stream. Keep it until it is acknowledged, and send it again as it is: a clone has the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// 32 bytes of its publisher's chance: salts and generated ids come from them.
    pub seed: [u8; 32],
    /// What it asks for.
    pub content: Content,
}

/// Why a batch is not one that may be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It holds too many operations.
    #[error("the batch has {found} operations; expected at most {}", limits::MAX_BATCH_OPERATIONS)]
    TooMany {
        /// How many it holds.
        found: usize,
    },
    /// An operation is out of bounds.
    #[error("operation {index}: {source}")]
    Operation {
        /// Its place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        source: OperationError,
    },
    /// The policy is out of bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

fn drawn<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsEntropy::default().fill(&mut bytes);
    bytes
}

/// A random UUID.
pub fn new_uuid() -> Uuid {
    Builder::from_random_bytes(drawn()).into_uuid()
}

impl Batch {
    /// Operations to be recorded together. Those without an id get one, so that the batch can be sent again at any time (G4).
    ///
    /// # Errors
    /// [`BatchError`], for what every follower would reject without a look at its ledger.
    pub fn new(mut operations: Vec<Operation>) -> Result<Batch, BatchError> {
        if operations.len() > limits::MAX_BATCH_OPERATIONS {
            return Err(BatchError::TooMany { found: operations.len() });
        }
        for (index, operation) in operations.iter_mut().enumerate() {
            operation.check().map_err(|source| BatchError::Operation { index, source })?;
            operation.id.get_or_insert_with(|| OperationId(new_uuid()));
        }
        Ok(Batch::of(Content::Operations(operations)))
    }

    /// Another policy from here on (A3). It has no operation id: sent again after the stream's window for duplicates, it is another change.
    ///
    /// # Errors
    /// [`BatchError::Policy`].
    pub fn policy(policy: Policy) -> Result<Batch, BatchError> {
        policy.check()?;
        Ok(Batch::of(Content::Policy(policy)))
    }

    /// An erasure (H3). It has no operation id: sent again after the stream's window for duplicates, it is another erasure.
    pub fn erase(request: ErasureRequest) -> Batch {
        Batch::of(Content::Erase(request))
    }

    /// The first message of a log.
    ///
    /// # Errors
    /// [`BatchError::Policy`].
    pub fn begin(tenant: Tenant, policy: Policy) -> Result<Batch, BatchError> {
        policy.check()?;
        Ok(Batch::of(Content::Begin { tenant, policy }))
    }

    fn of(content: Content) -> Batch {
        Batch { id: BatchId(new_uuid()), seed: drawn(), content }
    }

    /// With an id of your own, such as that of a request that may come again.
    #[must_use]
    pub fn with_id(mut self, id: BatchId) -> Batch {
        self.id = id;
        self
    }

    /// The ids of its operations: by them a ledger knows that it holds the batch.
    pub fn operation_ids(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.operations().iter().filter_map(|operation| operation.id)
    }

    /// Its operations, with their ids; none of a policy.
    pub fn operations(&self) -> &[Operation] {
        if let Content::Operations(operations) = &self.content { operations } else { &[] }
    }

    /// The batch as a message of a log.
    pub fn encode(&self, log: &LogName) -> Vec<u8> {
        let content = match &self.content {
            Content::Begin { tenant, policy } => {
                WireContent::Begin { tenant: tenant.clone(), policy: policy.clone() }
            }
            Content::Operations(operations) => {
                WireContent::Operations(operations.iter().cloned().map(WireOperation).collect())
            }
            Content::Policy(policy) => WireContent::Policy(policy.clone()),
            Content::Erase(request) => WireContent::Erase(WireErasure(request.clone())),
        };
        let (v, log, batch, seed) = (content.version(), log.clone(), self.id, Seed(self.seed));
        serde_json::to_vec(&Envelope { v, log, batch, seed, content }).expect("every shape is JSON")
    }
}

/// Why bytes of the stream are not a message of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A newer release wrote it.
    #[error("it has version {found} of the message format; expected 1 to {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Its content has another version than it says.
    #[error("it has version {found} of the message format; its content has version {expected}")]
    OtherVersion {
        /// That of its content.
        expected: u32,
        /// What it says.
        found: u32,
    },
    /// It is of another log.
    #[error("it belongs to the log `{found}`")]
    OtherLog {
        /// The log that it names.
        found: String,
    },
    /// It is something else.
    #[error("it is not a message of this format: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads a message of a log. The version is looked at first: of an unknown one nothing else is.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(bytes: &[u8], log: &LogName) -> Result<Batch, DecodeError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v: found } = serde_json::from_slice(bytes)?;
    if !(1..=VERSION).contains(&found) {
        return Err(DecodeError::Version { found });
    }
    let Envelope { v, log: found, batch, seed, content } = serde_json::from_slice(bytes)?;
    if v != content.version() {
        return Err(DecodeError::OtherVersion { expected: content.version(), found: v });
    }
    if found != *log {
        return Err(DecodeError::OtherLog { found: found.to_string() });
    }
    let content = match content {
        WireContent::Begin { tenant, policy } => Content::Begin { tenant, policy },
        WireContent::Operations(operations) => {
            Content::Operations(operations.into_iter().map(|operation| operation.0).collect())
        }
        WireContent::Policy(policy) => Content::Policy(policy),
        WireContent::Erase(request) => Content::Erase(request.0),
    };
    Ok(Batch { id: batch, seed: seed.0, content })
}

/// The log that a message names, whatever else it says; `None` of what is not a message.
pub fn log_of(bytes: &[u8]) -> Option<LogName> {
    #[derive(Deserialize)]
    struct Log {
        log: LogName,
    }
    serde_json::from_slice(bytes).ok().map(|Log { log }| log)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    v: u32,
    log: LogName,
    batch: BatchId,
    seed: Seed,
    content: WireContent,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WireContent {
    Begin { tenant: Tenant, policy: Policy },
    Operations(Vec<WireOperation>),
    Policy(Policy),
    Erase(WireErasure),
}

impl WireContent {
    /// The version that first had it. What is older keeps its bytes.
    fn version(&self) -> u32 {
        match self {
            WireContent::Begin { .. } | WireContent::Operations(_) | WireContent::Policy(_) => 1,
            WireContent::Erase(_) => 2,
        }
    }
}

/// 32 bytes as hexadecimal digits.
#[derive(Clone, Copy)]
struct Seed([u8; 32]);

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Seed, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(text).map_err(serde::de::Error::custom)?;
        Ok(Seed(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity_ledger::testing::history::History;
    use identity_ledger::{DistinctId, Timestamp, Value};

    fn log() -> LogName {
        LogName::new("shop.1").unwrap()
    }

    #[test]
    fn every_operation_comes_back_as_it_was() {
        let mut operations = 0;
        for seed in 0..300 {
            let policy = Policy::default();
            let batch = Batch::new(History::seeded(&policy, seed).operations).unwrap();
            assert_eq!(decode(&batch.encode(&log()), &log()).unwrap(), batch);
            let Content::Operations(content) = &batch.content else { panic!("{batch:?}") };
            assert!(content.iter().all(|operation| operation.id.is_some()));
            operations += content.len();
        }
        assert!(operations > 3_000, "{operations}");
    }

    #[test]
    fn values_are_exact() {
        let (at, ann) = (Timestamp::from_micros(-1).unwrap(), DistinctId::new("ann").unwrap());
        let mut operation = Operation::properties(at, ann);
        let floats = [0.1, -0.0, 1.0, 5e-324, f64::MAX, 0.1 + 0.2, 1e21, 123_456_789_012_345_680.0];
        let mut values: Vec<Value> = floats.map(|float| Value::float(float).unwrap()).into();
        values.extend([Value::Int(i64::MIN), Value::UInt(u64::MAX), Value::Null, Value::text("\u{1}\"\\é")]);
        operation = operation.set("list", Value::List(values)).unwrap();
        let batch = Batch::new(vec![operation]).unwrap();
        assert_eq!(decode(&batch.encode(&log()), &log()).unwrap(), batch);
    }

    /// Bytes that earlier releases wrote are read for ever.
    #[test]
    fn versions_are_set_in_stone() {
        let golden = [
            (include_str!("../tests/data/version-1.jsonl"), 4),
            (include_str!("../tests/data/version-2.jsonl"), 4),
        ];
        for (golden, lines) in golden {
            for line in golden.lines() {
                let batch = decode(line.as_bytes(), &log()).unwrap();
                assert_eq!(String::from_utf8(batch.encode(&log())).unwrap(), line);
            }
            assert_eq!(golden.lines().count(), lines);
        }
    }

    #[test]
    fn what_is_not_a_message_is_named() {
        let line = |change: &dyn Fn(String) -> String| {
            let batch = Batch::new(Vec::new()).unwrap();
            let text = change(String::from_utf8(batch.encode(&log())).unwrap());
            decode(text.as_bytes(), &log()).unwrap_err().to_string()
        };
        assert!(line(&|text| text.replace("\"v\":1", "\"v\":3")).contains("version 3"));
        assert!(line(&|text| text.replace("\"v\":1", "\"v\":2")).contains("its content has version 1"));
        assert!(line(&|text| text.replace("shop.1", "shop.2")).contains("the log `shop.2`"));
        for other in ["", "hello", "[]", "{}", "{\"v\":1}"] {
            assert!(line(&|_| other.to_owned()).contains("not a message"), "{other}");
        }
        assert!(line(&|text| text.replace("\"operations\"", "\"erase\"")).contains("not a message"));
        assert!(
            line(&|text| text.replace("\"content\"", "\"more\":1,\"content\"")).contains("not a message")
        );
    }
}
