//! What is to become of whom.

use serde::{Deserialize, Serialize};

use crate::types::NodeId;

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
    /// A new node is to learn without a vote, as a witness: it holds the log and no state machine. The same
    /// once more changes nothing. A witness stays one for as long as it is a member.
    AddWitness {
        /// The new node.
        node: NodeId,
        /// Where the others reach it, in the form that the transport understands.
        address: String,
    },
    /// A member is to have another priority for election.
    SetPriority {
        /// The member.
        node: NodeId,
        /// 0: it never stands. Of the others, those with the highest stand first. 1 where none was set.
        priority: u8,
    },
}

impl MembershipStep {
    pub(super) fn node(&self) -> NodeId {
        match self {
            MembershipStep::AddLearner { node, .. }
            | MembershipStep::Promote { node }
            | MembershipStep::Demote { node }
            | MembershipStep::Remove { node }
            | MembershipStep::SetAddress { node, .. }
            | MembershipStep::AddWitness { node, .. }
            | MembershipStep::SetPriority { node, .. } => *node,
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

    /// The same change, and `node` is to learn as a witness. See [`MembershipStep::AddWitness`].
    pub fn add_witness(self, node: NodeId, address: impl Into<String>) -> MembershipChange {
        self.with(MembershipStep::AddWitness { node, address: address.into() })
    }

    /// The same change, and `node` is to have this priority. See [`MembershipStep::SetPriority`].
    pub fn set_priority(self, node: NodeId, priority: u8) -> MembershipChange {
        self.with(MembershipStep::SetPriority { node, priority })
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
