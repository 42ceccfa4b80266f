//! What a note says of a ledger: C2SP's tlog-checkpoint, with lines of its own.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::model::id::{LedgerId, Tenant};
use crate::model::time::Timestamp;
use crate::model::visible::visible;
use crate::proof::tree::Hash;

const ORIGIN: &str = "identity-ledger/";

/// A ledger after some records: the head of its chain, and the roots of the trees that proofs lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeCheckpoint {
    /// Whose head it is.
    pub ledger: LedgerId,
    /// How many records, and the hash of the frame that ends them.
    pub checkpoint: Checkpoint,
    /// The root of the tree over all records (SHA-256).
    pub root: [u8; 32],
    /// When the last frame was recorded, by the writer's clock.
    pub recorded_at: Timestamp,
    /// What the ids came to.
    pub persons: IdTree,
    /// Which texts are ids.
    pub texts: TextIndex,
    /// The tenant, as [`visible`] shows it.
    pub(crate) tenant: String,
}

/// The tree over what each id came to: whose it is, and what that person's properties are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdTree {
    /// How many ids.
    pub ids: u32,
    /// The root (SHA-256).
    pub root: [u8; 32],
    /// The version of the rules that were folded by.
    pub fold: u32,
}

/// The index of the texts of ids: where a text is not in it, no id has that text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextIndex {
    /// How many ids have a text: those that are not erased.
    pub ids: u32,
    /// The root of the trie over them (SHA-256).
    pub root: [u8; 32],
}

/// Why a text says nothing of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the note is not a checkpoint of an identity ledger: {what}")]
pub struct CheckpointTextError {
    what: &'static str,
}

impl TreeCheckpoint {
    pub(crate) fn tenant_text(tenant: &Tenant) -> String {
        visible(tenant.as_str()).into_owned()
    }
}

impl fmt::Display for TreeCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeCheckpoint { ledger, checkpoint: Checkpoint { records, head }, root, .. } = self;
        let IdTree { ids, root: persons, fold } = &self.persons;
        let texts = STANDARD.encode(self.texts.root);
        writeln!(f, "{ORIGIN}{ledger}\n{records}\n{}", STANDARD.encode(root))?;
        writeln!(f, "head {head}\nrecorded {}", self.recorded_at)?;
        writeln!(
            f,
            "ids {ids} {} by rules {fold}\ntexts {} {texts}",
            STANDARD.encode(persons),
            self.texts.ids
        )?;
        writeln!(f, "tenant {}", self.tenant)
    }
}

impl FromStr for TreeCheckpoint {
    type Err = CheckpointTextError;

    fn from_str(text: &str) -> Result<TreeCheckpoint, CheckpointTextError> {
        let read = read(text).ok_or(CheckpointTextError {
            what: "expected origin, records, root, head, recorded, ids, texts and tenant",
        })?;
        if read.to_string() == text {
            Ok(read)
        } else {
            Err(CheckpointTextError { what: "it is not spelled as this program spells it" })
        }
    }
}

fn read(text: &str) -> Option<TreeCheckpoint> {
    let mut lines = text.lines();
    let ledger = LedgerId(Uuid::try_parse(lines.next()?.strip_prefix(ORIGIN)?).ok()?);
    let records = lines.next()?.parse().ok()?;
    let root = hash(lines.next()?)?;
    let head: Digest = lines.next()?.strip_prefix("head ")?.parse().ok()?;
    let recorded_at = lines.next()?.strip_prefix("recorded ")?.parse().ok()?;
    let mut ids = lines.next()?.strip_prefix("ids ")?.split(' ');
    let (count, persons) = (ids.next()?.parse().ok()?, hash(ids.next()?)?);
    let fold = match (ids.next(), ids.next()) {
        (Some("by"), Some("rules")) => ids.next()?.parse().ok()?,
        _ => return None,
    };
    let (ids, texts) = lines.next()?.strip_prefix("texts ")?.split_once(' ')?;
    let texts = TextIndex { ids: ids.parse().ok()?, root: hash(texts)? };
    let tenant = lines.next()?.strip_prefix("tenant ")?.to_owned();
    let (checkpoint, persons) = (Checkpoint { records, head }, IdTree { ids: count, root: persons, fold });
    Some(TreeCheckpoint { ledger, checkpoint, root, recorded_at, persons, texts, tenant })
}

fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
