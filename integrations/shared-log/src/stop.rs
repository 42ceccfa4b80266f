//! Why a follower stops: the ledger's chain and the stream disagree, or one of them cannot be read. Each has a name; nothing is half-applied.

use identity_ledger::erase::EraseError;
use identity_ledger::follow::FollowError;
use identity_ledger::storage::Fault;
use identity_ledger::{AppendError, Checkpoint, CreateError, OpenError};

use crate::message::VERSION;

/// Why a stream is not safe to follow or to publish to. Each names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("the stream `{stream}` is unsafe: {setting} is {found}; expected {expected}")]
pub struct UnsafeStream {
    /// The stream.
    pub stream: String,
    /// The setting, as the server's configuration calls it.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub expected: String,
}

impl UnsafeStream {
    /// A setting that is not as it must be.
    pub fn new(
        stream: &str,
        setting: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> UnsafeStream {
        UnsafeStream { stream: stream.to_owned(), setting, found: found.into(), expected: expected.into() }
    }

    /// Names the first setting that is not as it must be. Of each: whether it is, its name, what it is, and what it must be.
    ///
    /// # Errors
    /// [`UnsafeStream`].
    pub fn check(
        stream: &str,
        settings: impl IntoIterator<Item = (bool, &'static str, String, String)>,
    ) -> Result<(), UnsafeStream> {
        match settings.into_iter().find(|setting| !setting.0) {
            None => Ok(()),
            Some((_, setting, found, expected)) => Err(UnsafeStream::new(stream, setting, found, expected)),
        }
    }
}

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
    #[error("the servers do not have a stream `{stream}`")]
    StreamMissing {
        /// The stream.
        stream: String,
    },
    /// The stream takes no messages any more, and all that it holds is in this ledger: the log continues in another one.
    #[error(
        "the stream `{stream}` is sealed, and this ledger has all of it: the log continues in another stream"
    )]
    Sealed {
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
    /// Another node has this one's name: a status under it is ahead of this node.
    #[error("another node of the stream is called `{node}` too")]
    NameTaken {
        /// The name.
        node: String,
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

/// Stands in remedies for the name of the engine's command.
const COMMAND: &str = "COMMAND";

impl Stop {
    /// The name by which `docs/scale.md` lists it.
    pub fn name(&self) -> &'static str {
        self.named().0
    }

    /// What an operator does about it; `command` is the engine's own, such as `identity-ledger-jetstream`.
    pub fn remedy(&self, command: &str) -> String {
        self.named().1.replace(COMMAND, command)
    }

    fn named(&self) -> (&'static str, &'static str) {
        const CONTINUE: &str =
            "continue the stream from the longest good ledger: `COMMAND continue`, and docs/scale.md";
        const START: &str = "look at the disk (is it full?) and start the node again; if it lost something, give the node a copy of another one's ledger with `identity-ledger backup`";
        match self {
            Stop::Gap { .. } => (
                "Gap",
                "if another node is past it, give this one a copy of that ledger with `identity-ledger backup`; if none is, `COMMAND continue`",
            ),
            Stop::WentBack { .. } => ("WentBack", CONTINUE),
            Stop::Differs { .. } => ("Differs", CONTINUE),
            Stop::CutBack { .. } => ("CutBack", CONTINUE),
            Stop::Purged { .. } => {
                ("Purged", "give this node a copy of another node's ledger with `identity-ledger backup`")
            }
            Stop::StreamMissing { .. } => (
                "StreamMissing",
                "is its name right? A new one is made by `COMMAND create`; one that was deleted is continued by `COMMAND continue`",
            ),
            Stop::Sealed { .. } => (
                "Sealed",
                "start the node on the stream that continues the log, with a copy of the ledger that it was continued from",
            ),
            Stop::ForeignStream { .. } => {
                ("ForeignStream", "name the stream of this ledger, or give the node a directory of its own")
            }
            Stop::Unsafe(_) => (
                "Unsafe",
                "correct the setting, or make the stream with `COMMAND create`; where there are fewer servers, `--min-replicas` asks for fewer",
            ),
            Stop::UnknownVersion { .. } => ("UnknownVersion", "update this node"),
            Stop::NotAMessage { .. } => (
                "NotAMessage",
                "find who publishes there and deny it, then `COMMAND continue`: it is left out by name",
            ),
            Stop::HeadsDiffer { .. } => (
                "HeadsDiffer",
                "`identity-ledger verify` both ledgers, and give the wrong node a copy of the right one",
            ),
            Stop::NameTaken { .. } => {
                ("NameTaken", "start one of the two under another name: together they count as one")
            }
            Stop::Open(_) => (
                "Open",
                "if another program has the ledger open, end that; otherwise look at the disk, or give the node a copy of another one's ledger with `identity-ledger backup`",
            ),
            Stop::Create(_) => ("Create", START),
            Stop::Ledger(_) => ("Ledger", START),
            Stop::Erasing(_) => {
                ("Erasing", "make room, or put the key ring right, and start the node again: it tries again")
            }
            Stop::Fault(_) => ("Fault", START),
            Stop::File { .. } => ("File", START),
            Stop::Died { .. } => ("Died", "start the node again, and report the panic: it is a bug"),
        }
    }
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Stop {
        Stop::Ledger(error.into())
    }
}
