//! Signed checkpoints, and proofs of one answer that a third party checks without the ledger.
//!
//! A note (C2SP signed-note) names a ledger, its head, the roots of two trees (RFC 6962), one over its records, one over what its ids came to,
//! and the root of an index of the texts of ids. A proof holds such a note, the few records that an answer cites, and the hashes that lead from them to the roots.
//! `docs/proofs.md` has the bytes, and says what each proof proves and what it cannot.

mod check;
mod checkpoint;
mod fact;
mod leaf;
mod note;
mod prove;
mod prover;
mod record;
mod text;
mod texts;
mod touches;
mod tree;
mod trees;

pub use check::{CheckError, Proven};
pub use checkpoint::{CheckpointTextError, IdTree, TextIndex, TreeCheckpoint};
pub use fact::{Fact, RecordTouch};
pub use note::{KeyError, Note, NoteError, Signed, Signer, Verifier};
pub use prove::{Asked, ProveError};
pub use prover::Prover;
pub use text::{Proof, ProofTextError};
