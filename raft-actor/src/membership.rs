//! Who belongs to the cluster, and what a majority of them is. A value: it changes by being replaced.
//!
//! The quorum arithmetic of the whole crate is here, joint configurations included (Raft §6): a decision
//! needs a majority of `voters` and, while a change is under way, also a majority of `outgoing`.
//!
//! A [`MembershipChange`] says what is to become of each node; [`Membership::changed_by`] gives the members
//! after it. Any set of steps is one change: joint consensus makes that safe.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    mutants::{Mutant, is_on},
    types::{LogIndex, NodeId},
};

/// The members of a cluster: who votes, who only learns, and where each can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    voters: BTreeSet<NodeId>,
    /// Voters of the configuration being left; empty when no change is under way.
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Every member's address, in the form that the transport understands.
    addresses: BTreeMap<NodeId, String>,
    /// The log that each member was known by, where that was recorded. Never 0.
    incarnations: BTreeMap<NodeId, u64>,
    /// What the cluster began with; 0 where it is not known.
    genesis: u64,
    /// Whether anything but `incarnations` was ever changed.
    changed: bool,
}

/// Why a set of members cannot be a cluster's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// What to do: name at least one member.
    #[error("a membership needs at least one voter")]
    NoVoters,
    /// What to do: number nodes from 1.
    #[error("node id 0 is reserved; number nodes from 1")]
    ZeroNodeId,
    /// What to do: give each node an id of its own, and name it once in a change.
    #[error("node id {0} is named twice")]
    Repeated(NodeId),
    /// What to do: add it as a learner first, or correct its id.
    #[error("node {0} is not a member of the cluster")]
    NotAMember(NodeId),
    /// What to do: choose another id for the new node; to move a member, set its address.
    #[error("node {0} is a member of the cluster already")]
    AlreadyAMember(NodeId),
}

/// What is to become of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MembershipStep {
    /// A new node is to learn, without a vote (thesis §4.2.1). The same learner at the same address once more
    /// changes nothing.
    AddLearner {
        /// The new node.
        node: NodeId,
        /// Where the others reach it, in the form that the transport understands.
        address: String,
    },
    /// A learner is to vote. A voter stays one.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A voter is to learn only. A learner stays one.
    Demote {
        /// The voter.
        node: NodeId,
    },
    /// A member is to leave.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// A member is to be reached elsewhere.
    SetAddress {
        /// The member.
        node: NodeId,
        /// Its new address.
        address: String,
    },
}

impl MembershipStep {
    fn node(&self) -> NodeId {
        match self {
            MembershipStep::AddLearner { node, .. }
            | MembershipStep::Promote { node }
            | MembershipStep::Demote { node }
            | MembershipStep::Remove { node }
            | MembershipStep::SetAddress { node, .. } => *node,
        }
    }
}

/// Steps that are made together: all of them, or none. Each node is named once, so their order means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    steps: Vec<MembershipStep>,
}

impl MembershipChange {
    /// A change that changes nothing yet.
    pub fn new() -> MembershipChange {
        MembershipChange::default()
    }

    /// The same change, and `node` is to learn. See [`MembershipStep::AddLearner`].
    pub fn add_learner(self, node: NodeId, address: impl Into<String>) -> MembershipChange {
        self.with(MembershipStep::AddLearner { node, address: address.into() })
    }

    /// The same change, and the learner `node` is to vote.
    pub fn promote(self, node: NodeId) -> MembershipChange {
        self.with(MembershipStep::Promote { node })
    }

    /// The same change, and the voter `node` is to learn only.
    pub fn demote(self, node: NodeId) -> MembershipChange {
        self.with(MembershipStep::Demote { node })
    }

    /// The same change, and `node` is to leave.
    pub fn remove(self, node: NodeId) -> MembershipChange {
        self.with(MembershipStep::Remove { node })
    }

    /// The same change, and `node` is to be reached at `address`.
    pub fn set_address(self, node: NodeId, address: impl Into<String>) -> MembershipChange {
        self.with(MembershipStep::SetAddress { node, address: address.into() })
    }

    /// The same change with one more step.
    pub fn with(mut self, step: MembershipStep) -> MembershipChange {
        self.steps.push(step);
        self
    }

    /// What is to become of whom.
    pub fn steps(&self) -> &[MembershipStep] {
        &self.steps
    }
}

/// Why a change of members was not made, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Nothing was changed: this node does not lead, or is handing over.
    /// What to do: ask `leader`; where it is `None`, wait for an election and try again.
    #[error("not the leader{}", .leader.map(|node| format!("; node {node} is")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Nothing was changed: the leader is new, and has not committed an entry of its own term yet.
    /// What to do: try again in a moment.
    #[error("the leader is new and must commit an entry of its own term first; try again in a moment")]
    NotReady,
    /// Nothing was changed: the change before this one is not done yet.
    /// What to do: try again when the status shows that it is.
    #[error("another change of members is under way; try again when it is done")]
    UnderWay,
    /// Nothing was changed: the steps do not make a cluster.
    /// What to do: as the error says.
    #[error(transparent)]
    Invalid(#[from] MembershipError),
    /// Nothing was changed: the learner is too far behind to vote, and would hold up commits.
    /// What to do: wait until it has caught up; the leader's status shows its lag.
    #[error("node {node} is {lag} entries behind; to vote it may be at most {lag_max} behind")]
    Lagging {
        /// The learner.
        node: NodeId,
        /// Entries that it does not have.
        lag: u64,
        /// `promotion_lag_max`.
        lag_max: u64,
    },
    /// Nothing was changed: the learner was not heard for an election timeout.
    /// What to do: start it, or mend the network; then try again.
    #[error("node {node} does not answer; a learner that is to vote must")]
    Silent {
        /// The learner.
        node: NodeId,
    },
    /// Nothing was changed: so many of the voters that would be left do not answer that they could commit
    /// nothing.
    /// What to do: bring them back first, or remove them instead.
    #[error("the voters that would be left could commit nothing: {silent:?} of them do not answer")]
    NoQuorum {
        /// Those that do not answer.
        silent: Vec<NodeId>,
    },
    /// The change may have been made, or may be yet, or never.
    /// What to do: look at the members before trying again.
    #[error("outcome unknown: the change may or may not be made")]
    Unknown,
    /// The node has been shut down, or has stopped after a fatal error.
    /// What to do: see the node's status for the reason; use another node.
    #[error("the node has stopped")]
    Stopped,
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
        for (node, incarnation) in &outgoing.incarnations {
            self.incarnations.entry(*node).or_insert(*incarnation);
        }
        self
    }

    /// `node` alone, at its address: what is left of a cluster whose other members are lost for good. None
    /// where it is no member. Nothing is recorded of it, and of how the cluster began.
    pub fn alone(&self, node: NodeId) -> Option<Membership> {
        let address = self.address(node)?.to_owned();
        let (voters, addresses) = (BTreeSet::from([node]), BTreeMap::from([(node, address)]));
        Some(Membership { voters, addresses, changed: true, ..Membership::default() })
    }

    /// The same members, of a cluster that began with `genesis`.
    pub fn with_genesis(mut self, genesis: u64) -> Membership {
        self.genesis = genesis;
        self
    }

    /// The same members, where `node` is to be believed only with the log of this incarnation. 0 records
    /// nothing.
    pub fn with_incarnation(mut self, node: NodeId, incarnation: u64) -> Membership {
        if self.contains(node) && incarnation != 0 {
            self.incarnations.insert(node, incarnation);
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

    /// The members after a change. The receiver is not joint; neither is the result.
    pub fn changed_by(&self, change: &MembershipChange) -> Result<Membership, MembershipError> {
        let mut after = self.clone();
        let mut named = BTreeSet::new();
        for step in change.steps() {
            let node = step.node();
            if node == NodeId(0) {
                return Err(MembershipError::ZeroNodeId);
            }
            if !named.insert(node) {
                return Err(MembershipError::Repeated(node));
            }
            after.take_step(step)?;
        }
        if after.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        after.changed |= after != *self;
        Ok(after)
    }

    fn take_step(&mut self, step: &MembershipStep) -> Result<(), MembershipError> {
        let node = step.node();
        if let MembershipStep::AddLearner { address, .. } = step {
            let is_there = self.learners.contains(&node) && self.address(node) == Some(address);
            if self.contains(node) && !is_there {
                return Err(MembershipError::AlreadyAMember(node));
            }
        } else if !self.contains(node) {
            return Err(MembershipError::NotAMember(node));
        }
        match step {
            MembershipStep::AddLearner { address, .. } => {
                self.learners.insert(node);
                self.addresses.insert(node, address.clone());
            }
            MembershipStep::Promote { .. } => {
                self.learners.remove(&node);
                self.voters.insert(node);
            }
            MembershipStep::Demote { .. } => {
                self.voters.remove(&node);
                self.learners.insert(node);
            }
            MembershipStep::Remove { .. } => {
                self.voters.remove(&node);
                self.learners.remove(&node);
                self.addresses.remove(&node);
                // Whoever comes back under this id may come with another disk.
                self.incarnations.remove(&node);
            }
            MembershipStep::SetAddress { address, .. } => {
                self.addresses.insert(node, address.clone());
            }
        }
        Ok(())
    }

    /// The members once a joint configuration has been left: those of its new half, and its learners
    /// (Raft §6).
    pub fn leave_joint(&self) -> Membership {
        let mut after = self.clone();
        after.outgoing.clear();
        let Membership { voters, learners, .. } = self;
        after.addresses.retain(|node, _| voters.contains(node) || learners.contains(node));
        after.incarnations.retain(|node, _| voters.contains(node) || learners.contains(node));
        after
    }

    /// Every member's address.
    pub fn addresses(&self) -> &BTreeMap<NodeId, String> {
        &self.addresses
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

    /// The incarnation of the log that `node` is known by; 0 where none was recorded.
    pub fn incarnation(&self, node: NodeId) -> u64 {
        self.incarnations.get(&node).copied().unwrap_or_default()
    }

    /// What the cluster began with: carried through every change, so that nodes which were started with
    /// different initial members can tell. 0 where it is not known.
    pub fn genesis(&self) -> u64 {
        self.genesis
    }

    /// The genesis of a cluster whose initial voters are these: their ids, whatever their addresses, because
    /// an address may be written in more than one way.
    pub fn genesis_of_voters(&self) -> u64 {
        digest(self.voters.iter().map(|node| node.0))
    }

    /// Whether these are no longer the initial members. To record who they are changes nothing.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether these are the members `before`, and only more, or less, is recorded of who they are.
    pub fn only_records(&self, before: &Membership) -> bool {
        *self == Membership { incarnations: self.incarnations.clone(), ..before.clone() }
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
            if !is_on(Mutant::PicksTheQuorumFromAnUnsortedList) {
                indexes.sort_unstable();
            }
            // With n sorted values, the one at (n - 1) / 2 and all above it are a majority.
            indexes.get(half.len().saturating_sub(1) / 2).copied().unwrap_or_default()
        };
        self.halves().map(of_half).min().unwrap_or_default()
    }

    fn halves(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        std::iter::once(&self.voters).chain((!self.outgoing.is_empty()).then_some(&self.outgoing))
    }
}

/// FNV-1a over numbers, never 0: the same everywhere and for ever.
pub(crate) fn digest(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let bytes = numbers.into_iter().flat_map(u64::to_le_bytes);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}
