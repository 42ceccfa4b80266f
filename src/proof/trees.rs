//! A log as trees: what a checkpoint signs, and what proofs are made of. Made by one walk through the log; a snapshot has no say in them.

use crate::fold::FOLD_VERSION;
use crate::log::body::Body;
use crate::proof::checkpoint::{IdTree, TreeCheckpoint};
use crate::proof::leaf::{IdLeaf, Numbers, RecordLeaf};
use crate::proof::tree::{Tree, leaf_hash};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// A log as trees.
pub(crate) struct Trees {
    pub(crate) records: Tree,
    pub(crate) ids: Vec<IdLeaf>,
    pub(crate) id_tree: Tree,
    /// The records that define keys and names, by number.
    pub(crate) keys: Vec<u64>,
    pub(crate) names: Vec<u64>,
    pub(crate) checkpoint: TreeCheckpoint,
}

impl Trees {
    /// Of all records of a reader that was folded from its log, or was held against it.
    pub(crate) fn of(reader: &Reader) -> Result<Trees, Fault> {
        let (mut records, mut numbers) = (Vec::new(), Numbers::default());
        let (mut keys, mut names) = (Vec::new(), Vec::new());
        let mut last = None;
        reader.log.records(
            reader.identity.replay().chain().clone(),
            reader.checkpoint(),
            |record, recorded_at| {
                let (body, seq) = (record.body(), record.seq().0);
                match body {
                    Body::DefineKey(_) => keys.push(seq),
                    Body::DefineName(_) => names.push(seq),
                    _ => {}
                }
                let leaf = RecordLeaf { recorded_at, number: numbers.of(&body), body };
                records.push(leaf_hash(&leaf.to_bytes()));
                last = Some(recorded_at);
                Ok(())
            },
        )?;
        let (records, ids) = (Tree::of(records), IdLeaf::all(reader.state()));
        let id_tree = Tree::of(ids.iter().map(|leaf| leaf_hash(&leaf.to_bytes())).collect());
        let checkpoint = TreeCheckpoint {
            ledger: reader.ledger_id(),
            checkpoint: reader.checkpoint(),
            root: records.root(),
            recorded_at: last.expect("a ledger has its genesis record"),
            persons: IdTree { ids: ids.len() as u32, root: id_tree.root(), fold: FOLD_VERSION }, // MAX_RECORDS bounds it
            tenant: TreeCheckpoint::tenant_text(reader.tenant()),
        };
        Ok(Trees { records, ids, id_tree, keys, names, checkpoint })
    }
}
