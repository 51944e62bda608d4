//! Who belongs to the cluster, and what a majority of them is. A value: it changes by being replaced.
//!
//! The quorum arithmetic of the whole crate is here, joint configurations included (Raft §6): a decision
//! needs a majority of `voters` and, while a change is under way, also a majority of `outgoing`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::types::{LogIndex, NodeId};

/// The members of a cluster: who votes, who only learns, and where each can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    voters: BTreeSet<NodeId>,
    /// Voters of the configuration being left; empty when no change is under way.
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Every member's address, in the form that the transport understands.
    addresses: BTreeMap<NodeId, String>,
}

/// Why a set of members cannot be a cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// What to do: name at least one member.
    #[error("a membership needs at least one voter")]
    NoVoters,
    /// What to do: number nodes from 1.
    #[error("node id 0 is reserved; number nodes from 1")]
    ZeroNodeId,
    /// What to do: give each node an id of its own.
    #[error("node id {0} is named twice")]
    Repeated(NodeId),
}

impl Membership {
    /// A cluster of voters, each with the address that the transport understands.
    pub fn new(voters: impl IntoIterator<Item = (NodeId, String)>) -> Result<Membership, MembershipError> {
        let mut membership = Membership::default();
        for (node, address) in voters {
            if node == NodeId(0) {
                return Err(MembershipError::ZeroNodeId);
            }
            if !membership.voters.insert(node) {
                return Err(MembershipError::Repeated(node));
            }
            membership.addresses.insert(node, address);
        }
        if membership.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        Ok(membership)
    }

    /// The same members with `outgoing` as the other half of a joint configuration (Raft §6).
    pub fn joint_with(mut self, outgoing: &Membership) -> Membership {
        self.outgoing = outgoing.voters.clone();
        for (node, address) in &outgoing.addresses {
            self.addresses.entry(*node).or_insert_with(|| address.clone());
        }
        self
    }

    /// The same members and `node`, who learns without a vote (Raft §6, thesis §4.2.1).
    pub fn with_learner(mut self, node: NodeId, address: String) -> Membership {
        if !self.is_voter(node) {
            self.learners.insert(node);
        }
        self.addresses.insert(node, address);
        self
    }

    /// The voters of the configuration in force (of the new one while joint).
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// The voters of the configuration being left; empty when not joint.
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// The members without a vote.
    pub fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Every member, in ascending order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.addresses.keys().copied()
    }

    /// Whether `node` belongs to the cluster at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.addresses.contains_key(&node)
    }

    /// Where `node` is reached.
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.addresses.get(&node).map(String::as_str)
    }

    /// Whether `node` votes, in either half of a joint configuration.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether a change is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the nodes for which `agrees` holds are a majority of each half (Raft §6).
    pub fn has_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.halves().all(|half| half.iter().filter(|node| agrees(**node)).count() > half.len() / 2)
    }

    /// Whether so many have refused that no majority can be had any more.
    pub fn quorum_is_lost(&self, refuses: impl Fn(NodeId) -> bool) -> bool {
        !self.has_quorum(|node| !refuses(node))
    }

    /// The highest index that a majority of each half has reached, from what `reached` says of each node.
    pub fn quorum_index(&self, reached: impl Fn(NodeId) -> LogIndex) -> LogIndex {
        let of_half = |half: &BTreeSet<NodeId>| {
            let mut indexes: Vec<LogIndex> = half.iter().map(|node| reached(*node)).collect();
            indexes.sort_unstable();
            // With n sorted values, the one at (n - 1) / 2 and all above it are a majority.
            indexes.get(half.len().saturating_sub(1) / 2).copied().unwrap_or_default()
        };
        self.halves().map(of_half).min().unwrap_or_default()
    }

    fn halves(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        std::iter::once(&self.voters).chain((!self.outgoing.is_empty()).then_some(&self.outgoing))
    }
}
