//! Who belongs to the cluster, and what a majority of them is. A value: it changes by being replaced.
//!
//! The quorum arithmetic of the whole crate is here, joint configurations included (Raft §6): a decision
//! needs a majority of `voters` and, while a change is under way, also a majority of `outgoing`.
//!
//! A [`MembershipChange`] says what is to become of each node; [`Membership::changed_by`] gives the members
//! after it. Any set of steps is one change: joint consensus makes that safe.
//!
//! A member has a *priority* for election: with 0 it never stands, and of the others those with the highest
//! stand first. A *witness* holds the log and no state machine; it votes like any other, and stands last.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    mutants::{Mutant, is_on},
    types::{LogIndex, NodeId},
};

mod change;
mod transfer;

pub use change::{MembershipChange, MembershipStep};
pub use transfer::TransferError;

/// The priority of a member for which no other was set.
const PRIORITY_DEFAULT: u8 = 1;

/// The members of a cluster: who votes, who only learns, and where each can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    voters: BTreeSet<NodeId>,
    /// Voters of the configuration being left; empty when no change is under way.
    outgoing: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Every member's address, in the form that the transport understands.
    addresses: BTreeMap<NodeId, String>,
    /// Priorities for election other than the default.
    priorities: BTreeMap<NodeId, u8>,
    /// Members that hold the log and no state machine.
    witnesses: BTreeSet<NodeId>,
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
    /// What to do: choose another id for the new node; to move a member, set its address; to make a witness
    /// of a full member, or the reverse, remove it and add it anew with an empty folder.
    #[error("node {0} is a member of the cluster already")]
    AlreadyAMember(NodeId),
    /// What to do: leave one voter at least that is no witness, with a priority above 0.
    #[error("no voter could lead: all are witnesses, or have priority 0")]
    NobodyMayLead,
    /// What to do: start the node as what it is a member as; to change that, remove it and add it anew, with
    /// an empty folder.
    #[error(
        "node {node} is {} by the members, and was started as {}",
        what(!.started_as_witness),
        what(*.started_as_witness)
    )]
    Misfit {
        /// The node.
        node: NodeId,
        /// Whether it was started as a witness.
        started_as_witness: bool,
    },
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

fn what(is_witness: bool) -> &'static str {
    if is_witness { "a witness" } else { "a full member" }
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
        membership.checked()
    }

    /// The same members with `outgoing` as the other half of a joint configuration (Raft §6).
    pub fn joint_with(mut self, outgoing: &Membership) -> Membership {
        self.outgoing = outgoing.voters.clone();
        for (node, address) in &outgoing.addresses {
            if self.contains(*node) {
                continue;
            }
            // Who is leaving stays what it was until then.
            self.addresses.insert(*node, address.clone());
            self.set_priority(*node, outgoing.priority(*node));
            self.witnesses.extend(outgoing.is_witness(*node).then_some(*node));
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

    /// The same members, of which `node` has this priority for election.
    pub fn with_priority(mut self, node: NodeId, priority: u8) -> Result<Membership, MembershipError> {
        if !self.contains(node) {
            return Err(MembershipError::NotAMember(node));
        }
        self.set_priority(node, priority);
        self.checked()
    }

    /// The same members, of which `node` is a witness. For a cluster that is new: a member never changes from
    /// the one to the other.
    pub fn with_witness(mut self, node: NodeId) -> Result<Membership, MembershipError> {
        if !self.contains(node) {
            return Err(MembershipError::NotAMember(node));
        }
        self.witnesses.insert(node);
        self.checked()
    }

    fn set_priority(&mut self, node: NodeId, priority: u8) {
        if priority == PRIORITY_DEFAULT {
            self.priorities.remove(&node);
        } else {
            self.priorities.insert(node, priority);
        }
    }

    /// The same members, if they can elect a leader that serves.
    fn checked(self) -> Result<Membership, MembershipError> {
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        if !self.voters.iter().any(|node| self.may_lead(*node)) {
            return Err(MembershipError::NobodyMayLead);
        }
        Ok(self)
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
        let mut after = after.checked()?;
        after.changed |= after != *self;
        Ok(after)
    }

    fn take_step(&mut self, step: &MembershipStep) -> Result<(), MembershipError> {
        let node = step.node();
        if let MembershipStep::AddLearner { address, .. } | MembershipStep::AddWitness { address, .. } = step
        {
            let is_witness = matches!(step, MembershipStep::AddWitness { .. });
            let is_same = self.address(node) == Some(address) && self.is_witness(node) == is_witness;
            if self.contains(node) && !(is_same && self.learners.contains(&node)) {
                return Err(MembershipError::AlreadyAMember(node));
            }
            self.witnesses.extend(is_witness.then_some(node));
        } else if !self.contains(node) {
            return Err(MembershipError::NotAMember(node));
        }
        match step {
            MembershipStep::AddLearner { address, .. } | MembershipStep::AddWitness { address, .. } => {
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
                self.priorities.remove(&node);
                self.witnesses.remove(&node);
                // Whoever comes back under this id may come with another disk.
                self.incarnations.remove(&node);
            }
            MembershipStep::SetAddress { address, .. } => {
                self.addresses.insert(node, address.clone());
            }
            MembershipStep::SetPriority { priority, .. } => self.set_priority(node, *priority),
        }
        Ok(())
    }

    /// The members once a joint configuration has been left: those of its new half, and its learners
    /// (Raft §6).
    pub fn leave_joint(&self) -> Membership {
        let mut after = self.clone();
        after.outgoing.clear();
        let stays = |node: &NodeId| self.voters.contains(node) || self.learners.contains(node);
        after.addresses.retain(|node, _| stays(node));
        after.incarnations.retain(|node, _| stays(node));
        after.priorities.retain(|node, _| stays(node));
        after.witnesses.retain(stays);
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

    /// The members that hold the log and no state machine; they vote, or are learners.
    pub fn witnesses(&self) -> &BTreeSet<NodeId> {
        &self.witnesses
    }

    /// Whether `node` is a witness.
    pub fn is_witness(&self, node: NodeId) -> bool {
        self.witnesses.contains(&node)
    }

    /// Why a node that was started as a witness, or as a full member, is not what it is by these members.
    pub(crate) fn misfit(&self, node: NodeId, started_as_witness: bool) -> Option<MembershipError> {
        let is_misfit = self.contains(node) && self.is_witness(node) != started_as_witness;
        is_misfit.then_some(MembershipError::Misfit { node, started_as_witness })
    }

    /// The priorities for election that are not 1.
    pub fn priorities(&self) -> &BTreeMap<NodeId, u8> {
        &self.priorities
    }

    /// A node's priority for election: 1 where no other was set; with 0 it never stands.
    pub fn priority(&self, node: NodeId) -> u8 {
        self.priorities.get(&node).copied().unwrap_or(PRIORITY_DEFAULT)
    }

    /// Whether leadership may be handed to `node`: a voter that stands for election and has a state machine.
    pub fn may_lead(&self, node: NodeId) -> bool {
        self.is_voter(node) && !self.is_witness(node) && self.priority(node) > 0
    }

    /// How many elections `node` leaves to others before it stands: one for each step of priority above its
    /// own that a voter has, but for the one that was `lost`. Witnesses stand below all full members.
    pub fn elections_to_leave(&self, node: NodeId, lost: Option<NodeId>) -> usize {
        if self.priorities.is_empty() && self.witnesses.is_empty() {
            return 0;
        }
        let standing = |node: NodeId| (!self.is_witness(node), self.priority(node));
        let voters = self.voters.union(&self.outgoing).copied();
        let there = voters.filter(|voter| self.priority(*voter) > 0 && Some(*voter) != lost);
        let before = there.map(standing);
        before.filter(|other| *other > standing(node)).collect::<BTreeSet<_>>().len()
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

    /// The genesis of a cluster whose initial voters are these: their ids, priorities, and which are
    /// witnesses; whatever their addresses, because an address may be written in more than one way.
    pub fn genesis_of_voters(&self) -> u64 {
        let priorities = self.priorities.iter().map(|(node, priority)| [node.0, u64::from(*priority)]);
        let witnesses = self.witnesses.iter().map(|node| [node.0, u64::MAX]);
        // 0 is no node: what follows it is no voter.
        let standing = priorities.chain(witnesses).flat_map(|[node, what]| [0, node, what]);
        digest(self.voters.iter().map(|node| node.0).chain(standing))
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
