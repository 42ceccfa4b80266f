//! What a follower knows of the chain by position: its own checkpoints, and what other nodes say of theirs. Two heads that differ at one
//! position stop the node; heads that are equal count as acknowledgements.

use std::collections::{BTreeMap, VecDeque};

use identity_ledger::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::stop::Stop;

/// Own checkpoints kept in memory: 56 bytes each. A node that is further behind than this is compared when it has caught up.
const KEPT_CHECKPOINTS: usize = 65_536;

/// Statuses of one node that wait for this node to get there.
const KEPT_STATUSES: usize = 256;

/// Nodes that are listened to.
const MAX_NODES: usize = 64;

/// How far a node is: what it says to the others, and what a health check compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The log that it follows.
    pub log: String,
    /// Up to which position it has the log durably.
    pub position: u64,
    /// Its ledger there.
    pub checkpoint: Checkpoint,
    /// Up to which position everything that the log erased is out of its files. Missing from a node of an older release, which stops before
    /// the first erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<u64>,
}

impl Status {
    /// Whether two nodes have different heads at one position of one log.
    pub fn differs_from(&self, other: &Status) -> bool {
        (&self.log, self.position) == (&other.log, other.position) && self.checkpoint != other.checkpoint
    }
}

#[derive(Debug, Default)]
struct Peer {
    /// The highest position at which its head was found equal.
    equal_at: u64,
    /// What cannot be compared yet.
    ahead: VecDeque<(u64, Checkpoint)>,
}

/// The chain by position.
#[derive(Debug)]
pub struct Peers {
    own: VecDeque<(u64, Checkpoint)>,
    others: BTreeMap<String, Peer>,
}

impl Peers {
    /// Those of a node whose ledger is at a position.
    pub fn new(position: u64, checkpoint: Checkpoint) -> Peers {
        Peers { own: [(position, checkpoint)].into(), others: BTreeMap::new() }
    }

    /// The ledger's position, and its checkpoint there.
    pub fn own(&self) -> (u64, Checkpoint) {
        *self.own.back().expect("there is always one")
    }

    /// The ledger is at a further position.
    ///
    /// # Errors
    /// [`Stop::HeadsDiffer`].
    pub fn advance(&mut self, position: u64, checkpoint: Checkpoint) -> Result<(), Stop> {
        if self.own.len() == KEPT_CHECKPOINTS {
            self.own.pop_front();
        }
        self.own.push_back((position, checkpoint));
        let Peers { own, others } = self;
        for (node, peer) in others {
            while let Some((at, theirs)) = peer.ahead.front().copied().filter(|ahead| ahead.0 <= position) {
                peer.ahead.pop_front();
                compare(own, node, peer, at, theirs)?;
            }
        }
        Ok(())
    }

    /// Another node says how far it is.
    ///
    /// # Errors
    /// [`Stop::HeadsDiffer`].
    pub fn heard(&mut self, status: Status) -> Result<(), Stop> {
        let Status { node, position, checkpoint, .. } = status;
        if !self.others.contains_key(&node) && self.others.len() == MAX_NODES {
            return Ok(());
        }
        let peer = self.others.entry(node.clone()).or_default();
        let Peers { own, .. } = self;
        if position > own.back().expect("there is always one").0 {
            if peer.ahead.back().is_none_or(|last| last.0 < position) {
                if peer.ahead.len() == KEPT_STATUSES {
                    peer.ahead.pop_front();
                }
                peer.ahead.push_back((position, checkpoint));
            }
            return Ok(());
        }
        compare(own, &node, peer, position, checkpoint)
    }

    /// The highest position that a node, this one included, says it has.
    pub fn highest(&self) -> u64 {
        let ahead = self.others.values().filter_map(|peer| peer.ahead.back());
        ahead.map(|ahead| ahead.0).fold(self.own().0, u64::max)
    }

    /// How many nodes, this one included, have a position durably, with a head that is equal to this node's.
    pub fn followers_at(&self, position: u64) -> usize {
        let own = usize::from(self.own().0 >= position);
        own + self.others.values().filter(|peer| peer.equal_at >= position).count()
    }
}

/// Compares at a position that this node has passed. One that it passed too long ago, or without a message there, proves nothing.
fn compare(
    own: &VecDeque<(u64, Checkpoint)>,
    node: &str,
    peer: &mut Peer,
    position: u64,
    theirs: Checkpoint,
) -> Result<(), Stop> {
    let Ok(index) = own.binary_search_by_key(&position, |own| own.0) else { return Ok(()) };
    let ours = own[index].1;
    if ours != theirs {
        return Err(Stop::HeadsDiffer { node: node.to_owned(), position, ours, theirs });
    }
    peer.equal_at = peer.equal_at.max(position);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(records: u64) -> Checkpoint {
        format!("{records}:{records:064x}").parse().unwrap()
    }

    fn status(node: &str, position: u64, checkpoint: Checkpoint) -> Status {
        let (node, log) = (node.to_owned(), "shop.1".to_owned());
        Status { node, log, position, checkpoint, erased: Some(position) }
    }

    #[test]
    fn only_equal_heads_count() {
        let mut peers = Peers::new(4, checkpoint(40));
        peers.heard(status("b", 5, checkpoint(50))).unwrap(); // ahead of this node
        assert_eq!([4, 5].map(|position| peers.followers_at(position)), [1, 0]);
        peers.advance(5, checkpoint(50)).unwrap();
        assert_eq!([4, 5, 6].map(|position| peers.followers_at(position)), [2, 2, 0]);
        peers.heard(status("c", 4, checkpoint(40))).unwrap();
        peers.heard(status("c", 3, checkpoint(9))).unwrap(); // before this node began
        assert_eq!([4, 5].map(|position| peers.followers_at(position)), [3, 2]);
    }

    #[test]
    fn heads_that_differ_stop_the_node_now_or_later() {
        let mut peers = Peers::new(4, checkpoint(40));
        let stop = peers.heard(status("b", 4, checkpoint(41))).unwrap_err();
        assert!(matches!(stop, Stop::HeadsDiffer { position: 4, .. }), "{stop}");
        peers.heard(status("b", 6, checkpoint(61))).unwrap();
        peers.advance(5, checkpoint(50)).unwrap();
        let stop = peers.advance(6, checkpoint(60)).unwrap_err();
        assert!(matches!(stop, Stop::HeadsDiffer { position: 6, .. }), "{stop}");
        assert_eq!(peers.followers_at(6), 1);
    }
}
