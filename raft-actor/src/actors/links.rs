//! The links of a node: a replicator for each of its peers, as the membership has them. They come as soon as
//! a new member is in the log, move with its address, and go when it has left for good.
//!
//! A node that is new, or far behind, is asked by others that its own log does not know. They introduce
//! themselves; a link to one of them is opened when there is something to answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::replicator;
use crate::{
    message::Message,
    runtime::mailbox::Addr,
    types::{NodeId, Origin},
};

/// Starts a replicator for a peer at an address.
pub(crate) type StartReplicator = Box<dyn Fn(NodeId, String, Origin) -> Addr<replicator::Mail> + Send>;

/// So many nodes that the log does not know are remembered.
const INTRODUCED_MAX: usize = 64;

/// See the module.
pub(crate) struct Links {
    start: StartReplicator,
    /// As what this node speaks.
    origin: Origin,
    open: BTreeMap<NodeId, Link>,
    introduced: BTreeMap<NodeId, String>,
}

struct Link {
    address: String,
    replicator: Addr<replicator::Mail>,
}

impl Links {
    /// Links to these peers, on which this node speaks as `origin`.
    pub(crate) fn new(start: StartReplicator, origin: Origin, peers: &BTreeMap<NodeId, String>) -> Links {
        let mut links = Links { start, origin, open: BTreeMap::new(), introduced: BTreeMap::new() };
        links.follow(peers);
        links
    }

    /// Has links to these peers and to nobody else.
    pub(crate) fn follow(&mut self, peers: &BTreeMap<NodeId, String>) {
        for (_, link) in self.open.extract_if(.., |node, _| !peers.contains_key(node)) {
            link.replicator.send(replicator::Mail::Stop);
        }
        for (node, address) in peers {
            self.introduced.remove(node);
            self.connect(*node, address);
        }
    }

    /// From now on this node speaks as `origin`.
    pub(crate) fn identify(&mut self, origin: Origin) {
        if self.origin != origin {
            self.origin = origin;
            for link in self.open.values() {
                link.replicator.send(replicator::Mail::Identify(origin));
            }
        }
    }

    fn connect(&mut self, node: NodeId, address: &str) {
        match self.open.get_mut(&node) {
            Some(link) if link.address == address => {}
            Some(link) => {
                address.clone_into(&mut link.address);
                link.replicator.send(replicator::Mail::Move(address.to_owned()));
            }
            None => {
                let replicator = (self.start)(node, address.to_owned(), self.origin);
                self.open.insert(node, Link { address: address.to_owned(), replicator });
            }
        }
    }

    /// A node says where it is reached. What the log says counts for more, unless nobody is there.
    pub(crate) fn introduced(&mut self, node: NodeId, address: String, is_unreachable: bool) {
        if self.open.contains_key(&node) {
            if is_unreachable {
                self.connect(node, &address);
            }
        } else if self.introduced.len() < INTRODUCED_MAX || self.introduced.contains_key(&node) {
            self.introduced.insert(node, address);
        }
    }

    /// The replicator for a node, where there is a way to it.
    pub(crate) fn to(&mut self, node: NodeId) -> Option<&Addr<replicator::Mail>> {
        if !self.open.contains_key(&node) {
            let address = self.introduced.get(&node)?.clone();
            self.connect(node, &address);
        }
        self.open.get(&node).map(|link| &link.replicator)
    }

    /// Sends a message that may be lost: a peer that takes nothing off its queue loses what is beyond it, as
    /// on a network.
    pub(crate) fn send(&mut self, node: NodeId, message: Message) {
        if let Some(replicator) = self.to(node) {
            let _ = replicator.try_send(replicator::Mail::Send(message));
        }
    }
}

impl Drop for Links {
    /// However the consensus actor ends, no replicator outlives it.
    fn drop(&mut self) {
        for link in self.open.values() {
            link.replicator.send(replicator::Mail::Stop);
        }
    }
}

/// Who is expected to talk to this node; none where anybody may.
///
/// A node that has a leader hears of new members from it, so whoever else comes is a stranger. One that has
/// none may have slept while the members changed, or is new, and listens to all.
#[derive(Default)]
pub(crate) struct Acquaintances(Mutex<Option<BTreeSet<NodeId>>>);

impl Acquaintances {
    pub(crate) fn set(&self, expected: Option<BTreeSet<NodeId>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = expected;
    }

    pub(crate) fn expects(&self, node: NodeId) -> bool {
        let expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        expected.as_ref().is_none_or(|expected| expected.contains(&node))
    }
}
