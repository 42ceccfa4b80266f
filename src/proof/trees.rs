//! A log as trees: what a checkpoint signs, and what proofs are made of. Made by one walk through the log; a snapshot has no say in them.

use crate::fold::FOLD_VERSION;
use crate::log::body::{Body, IdNo};
use crate::log::chain::check_item;
use crate::log::commitment::Commitments;
use crate::log::record::Record;
use crate::proof::checkpoint::{IdTree, TextIndex, TreeCheckpoint};
use crate::proof::leaf::IdLeaf;
use crate::proof::record::{Numbers, RecordLeaf};
use crate::proof::texts::{Places, TextLeaf, TextTrie, sealed_number};
use crate::proof::touches::{TouchLists, Touches};
use crate::proof::tree::{Tree, leaf_hash};
use crate::query::reader::Reader;
use crate::store::layout::LOG;
use crate::store::segments::Fault;

/// A log as trees.
pub(crate) struct Trees {
    pub(crate) records: Tree,
    pub(crate) ids: Vec<IdLeaf>,
    pub(crate) id_tree: Tree,
    pub(crate) touches: TouchLists,
    /// Which texts are ids. What was erased behind these records, or cannot be opened, is not in it: `lacking` says how many ids.
    pub(crate) texts: TextTrie,
    pub(crate) lacking: u32,
    /// The records that define devices, keys and names, by number.
    pub(crate) devices: Vec<u64>,
    pub(crate) keys: Vec<u64>,
    pub(crate) names: Vec<u64>,
    pub(crate) checkpoint: TreeCheckpoint,
}

impl Trees {
    /// Of all records of a reader that was folded from its log, or was held against it.
    pub(crate) fn of(reader: &Reader) -> Result<Trees, Fault> {
        let (mut records, mut numbers) = (Vec::new(), Numbers::default());
        let (mut devices, mut keys, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let (mut touches, mut texts) = (Touches::default(), Texts::of(reader));
        let mut last = None;
        reader.log.records(
            reader.identity.replay().chain().clone(),
            reader.checkpoint(),
            None,
            |record, recorded_at| {
                let (body, seq) = (record.body(), record.seq().0);
                match body {
                    Body::DefineId(..) => texts.see(record)?,
                    Body::DefineDevice(..) => devices.push(seq),
                    Body::DefineKey(_) => keys.push(seq),
                    Body::DefineName(_) => names.push(seq),
                    _ => {}
                }
                let leaf = RecordLeaf { recorded_at, number: numbers.of(&body), body };
                records.push(leaf_hash(&leaf.to_bytes()));
                touches.see(&leaf);
                last = Some(recorded_at);
                Ok(())
            },
        )?;
        let touches = touches.lists(reader.state().ids().len());
        let (records, ids) = (Tree::of(records), IdLeaf::all(reader.state(), &touches));
        let Texts { leaves, lacking, .. } = texts;
        let texts = TextTrie::of(leaves);
        let id_tree = Tree::of(ids.iter().map(|leaf| leaf_hash(&leaf.to_bytes())).collect());
        let checkpoint = TreeCheckpoint {
            ledger: reader.ledger_id(),
            checkpoint: reader.checkpoint(),
            root: records.root(),
            recorded_at: last.expect("a ledger has its genesis record"),
            persons: IdTree { ids: ids.len() as u32, root: id_tree.root(), fold: FOLD_VERSION }, // MAX_RECORDS bounds it
            texts: TextIndex { ids: texts.len() as u32, root: texts.root() },
            tenant: TreeCheckpoint::tenant_text(reader.tenant()),
        };
        Ok(Trees { records, ids, id_tree, touches, texts, lacking, devices, keys, names, checkpoint })
    }
}

/// Collects the texts of ids that are not erased.
struct Texts<'a> {
    reader: &'a Reader,
    places: Places,
    commitments: Commitments,
    next: u32,
    leaves: Vec<TextLeaf>,
    lacking: u32,
}

impl Texts<'_> {
    fn of(reader: &Reader) -> Texts<'_> {
        let (places, commitments) = (Places::of(reader.ledger_id()), Commitments::of(reader.ledger_id()));
        Texts { reader, places, commitments, next: 0, leaves: Vec::new(), lacking: 0 }
    }

    /// Takes the definition of the next id.
    fn see(&mut self, record: Record<'_>) -> Result<(), Fault> {
        let (id, state) = (IdNo(self.next), self.reader.state());
        self.next += 1;
        let erased = state.erasures().of_id(id);
        if erased.is_some_and(|by| u64::from(by) < state.records()) {
            return Ok(());
        }
        let text =
            record.salt_and_item().and_then(|(salt, item)| Some((salt, std::str::from_utf8(item).ok()?)));
        let Some((salt, text)) = text.filter(|_| erased.is_none()) else {
            self.lacking += 1;
            return Ok(());
        };
        check_item(&self.commitments, record).map_err(|error| Fault {
            file: LOG.to_owned(),
            offset: 0,
            records: record.seq().0,
            kind: error.into(),
        })?;
        self.leaves.push((self.places.place(text), sealed_number(salt, id.0)));
        Ok(())
    }
}
