//! Why a follower stops: the ledger's chain and the stream disagree, or one of them cannot be read. Each has a name; nothing is half-applied.

use identity_ledger::erase::EraseError;
use identity_ledger::follow::FollowError;
use identity_ledger::storage::Fault;
use identity_ledger::{AppendError, Checkpoint, CreateError, OpenError};

use crate::message::VERSION;
use crate::stream::UnsafeStream;

/// Why a node stopped. Its ledger is whole, at the position it says; `docs/scale.md` has the remedy of each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// The stream does not have a message that must be there.
    #[error("the stream `{stream}` lost the message of position {position}: its next one is {found:?}")]
    Gap {
        /// The stream.
        stream: String,
        /// The position that is missing.
        position: u64,
        /// What the stream gives instead, if there is something behind it.
        found: Option<u64>,
    },
    /// The stream gave a position that is not behind the one before it.
    #[error("the stream `{stream}` went back: behind position {position} it gives {found}")]
    WentBack {
        /// The stream.
        stream: String,
        /// The position before.
        position: u64,
        /// What came then.
        found: u64,
    },
    /// The message at a position is not the one that this ledger holds from there: the stream was cut back and written again, or another
    /// stream continues under this log's name.
    #[error(
        "the stream `{stream}` has another message at position {position} than the one this ledger holds from there ({evidence}): it was cut back, or is a second stream of one log"
    )]
    Differs {
        /// The stream.
        stream: String,
        /// The position.
        position: u64,
        /// By what it was noticed.
        evidence: &'static str,
    },
    /// The stream ends before the position of this ledger, or of that of another node.
    #[error(
        "the stream `{stream}` ends at position {last}, and ledgers hold it up to {position}: messages were lost"
    )]
    CutBack {
        /// The stream.
        stream: String,
        /// The stream's last position.
        last: u64,
        /// The highest position of a ledger.
        position: u64,
    },
    /// The stream was purged beyond this ledger's position.
    #[error(
        "the stream `{stream}` begins at position {first}, and this ledger needs {next}: copy the ledger of a follower that is past it"
    )]
    Purged {
        /// The stream.
        stream: String,
        /// The stream's first position.
        first: u64,
        /// What this ledger needs next.
        next: u64,
    },
    /// The stream is not there.
    #[error("there is no stream `{stream}` any more")]
    StreamMissing {
        /// The stream.
        stream: String,
    },
    /// The stream is another log's.
    #[error("the stream `{stream}` holds the log `{found}`; this ledger follows `{expected}`")]
    ForeignStream {
        /// The stream.
        stream: String,
        /// The log that the ledger follows.
        expected: String,
        /// The log that the stream holds.
        found: String,
    },
    /// The stream's settings would lose messages, or let them be changed.
    #[error(transparent)]
    Unsafe(#[from] UnsafeStream),
    /// A message has a version that this release does not know. Update it.
    #[error(
        "position {position} of the stream has version {version} of the message format; this release reads 1 to {VERSION}: update it"
    )]
    UnknownVersion {
        /// The position.
        position: u64,
        /// The version found.
        version: u32,
    },
    /// Something in the stream is not a message of this log.
    #[error("position {position} of the stream cannot be taken: {why}")]
    NotAMessage {
        /// The position.
        position: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Another node has another chain at the same position: one of the two did not read this log.
    #[error("node `{node}` has the head {theirs} at position {position}, and this one {ours}")]
    HeadsDiffer {
        /// The other node.
        node: String,
        /// The position that both hold.
        position: u64,
        /// This node's checkpoint there.
        ours: Checkpoint,
        /// The other's.
        theirs: Checkpoint,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The ledger could not write. Start the node again: it continues from the ledger's own position.
    #[error(transparent)]
    Ledger(#[from] FollowError),
    /// What is erased could not be taken out of this node's files. Every answer says that it is erased; start the node again, and it is tried
    /// again.
    #[error(transparent)]
    Erasing(#[from] EraseError),
    /// The ledger cannot be read back.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A file beside the ledger cannot be read or written.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A thread of the node panicked: a bug.
    #[error("the node's {thread} ended without a word")]
    Died {
        /// What it did.
        thread: &'static str,
    },
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Stop {
        Stop::Ledger(error.into())
    }
}
