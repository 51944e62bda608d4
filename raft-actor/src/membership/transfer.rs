//! Why leadership was not handed over.

use serde::{Deserialize, Serialize};

use super::Membership;
use crate::types::NodeId;

/// Why leadership was not handed over, as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Nothing was done: this node does not lead.
    /// What to do: ask `leader`; where it is `None`, wait for an election and try again.
    #[error("not the leader{}", .leader.map(|node| format!("; node {node} is")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Nothing was done: the node that was named is the leader.
    /// What to do: name another, or nobody.
    #[error("node {0} leads already")]
    LeadsAlready(NodeId),
    /// Nothing was done: the node that was named has no vote.
    /// What to do: promote it first, or correct its id.
    #[error("node {0} is no voter, so it cannot lead")]
    NotAVoter(NodeId),
    /// Nothing was done: the node that was named is a witness.
    /// What to do: name a full voter.
    #[error("node {0} is a witness, and leads only where nobody else can")]
    Witness(NodeId),
    /// Nothing was done: the node that was named has priority 0.
    /// What to do: give it a priority above 0 first, or name another.
    #[error("node {0} has priority 0, and never stands for election")]
    NeverStands(NodeId),
    /// Nothing was done: no voter that may lead was heard of late.
    /// What to do: start one, or mend the network; then try again.
    #[error("no other voter that may lead answers")]
    NobodyAnswers,
    /// The successor did not take over within an election timeout: it lags, or does not answer. Mostly the
    /// leader leads on.
    /// What to do: see in the leader's status how far it is behind; try again, or name another.
    #[error("node {0} did not take over in time")]
    NotTaken(NodeId),
    /// The node has been shut down, or has stopped after a fatal error.
    /// What to do: see the node's status for the reason; use another node.
    #[error("the node has stopped")]
    Stopped,
}

impl TransferError {
    /// Why `to` is nobody to whom `leader` could hand over; none where it is.
    pub(crate) fn against(membership: &Membership, leader: NodeId, to: NodeId) -> Option<TransferError> {
        match to {
            _ if to == leader => Some(TransferError::LeadsAlready(to)),
            _ if !membership.is_voter(to) => Some(TransferError::NotAVoter(to)),
            _ if membership.is_witness(to) => Some(TransferError::Witness(to)),
            _ if membership.priority(to) == 0 => Some(TransferError::NeverStands(to)),
            _ => None,
        }
    }
}
