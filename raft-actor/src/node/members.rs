//! The members of the cluster, seen and changed through a node.

use tokio::sync::oneshot;

use super::Node;
use crate::{
    actors::consensus::Mail,
    membership::{ChangeError, Membership, MembershipChange},
    runtime::sleep,
    state_machine::StateMachine,
    types::{LogId, NodeId},
};

impl<S: StateMachine> Node<S> {
    /// The members as this node's log has them: in force here, committed or not (Raft §6).
    pub async fn membership(&self) -> Membership {
        self.status().await.membership
    }

    /// Whether `peer` is expected to talk to this node: for the door where peers' links arrive. A node that
    /// knows its leader hears of new members from it, and expects nobody else; one that knows none is new, or
    /// may have slept while the members changed, and expects anybody.
    pub fn expects(&self, peer: NodeId) -> bool {
        self.0.acquaintances.expects(peer)
    }

    /// Changes the members, any number of them at once, and returns when that is committed, with the entry
    /// that the new members come from. Any node takes it, and carries it to the leader.
    ///
    /// Voters change through a joint configuration, which the leader finishes by itself, whoever leads by
    /// then. A change to what is so already is done at once.
    pub async fn change_membership(&self, change: MembershipChange) -> Result<LogId, ChangeError> {
        let (reply, outcome) = oneshot::channel();
        if self.0.consensus.send_if_open(Mail::ChangeMembership { change, reply }).is_err() {
            return Err(ChangeError::Stopped);
        }
        outcome.await.unwrap_or(Err(ChangeError::Unknown))
    }

    /// Adds a node that learns without a vote. Start it with
    /// [`NodeBuilder::join`](super::NodeBuilder::join), before this or after.
    pub async fn add_learner(&self, node: NodeId, address: impl Into<String>) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().add_learner(node, address)).await
    }

    /// Adds a witness that learns without a vote. Start it with [`Node::witness`] and
    /// [`NodeBuilder::join`](super::NodeBuilder::join), before this or after.
    pub async fn add_witness(&self, node: NodeId, address: impl Into<String>) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().add_witness(node, address)).await
    }

    /// Gives a member a priority for election: with 0 it never stands; of the others, those with the highest
    /// stand first. Who leads goes on.
    pub async fn set_priority(&self, node: NodeId, priority: u8) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().set_priority(node, priority)).await
    }

    /// Gives a learner a vote, if it has caught up: otherwise it is refused, with its lag.
    pub async fn promote(&self, node: NodeId) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().promote(node)).await
    }

    /// Adds a node, waits until it has caught up, and gives it a vote. It waits for as long as the node
    /// takes, and for elections; to give up, drop the future: the node stays a learner.
    pub async fn add_voter(&self, node: NodeId, address: impl Into<String>) -> Result<LogId, ChangeError> {
        let address = address.into();
        let change = MembershipChange::new().add_learner(node, address);
        self.change_when_ready(&change).await?;
        self.promote_when_ready(node).await
    }

    /// Gives a learner a vote as soon as it has caught up. Waits as [`Node::add_voter`] does.
    pub async fn promote_when_ready(&self, node: NodeId) -> Result<LogId, ChangeError> {
        self.change_when_ready(&MembershipChange::new().promote(node)).await
    }

    /// Makes a change that may be tried again until it is made.
    async fn change_when_ready(&self, change: &MembershipChange) -> Result<LogId, ChangeError> {
        loop {
            match self.change_membership(change.clone()).await {
                Err(
                    ChangeError::Lagging { .. }
                    | ChangeError::Silent { .. }
                    | ChangeError::NotReady
                    | ChangeError::UnderWay
                    | ChangeError::NotLeader { .. }
                    | ChangeError::Unknown,
                ) if !self.0.consensus.is_closed() => {
                    sleep(&*self.0.runtime, self.0.config.election_timeout_min).await;
                }
                settled => return settled,
            }
        }
    }

    /// Removes a node: a voter, a learner, or the leader, which leads until its removal is committed and then
    /// hands over. The node itself goes on without the cluster until it is shut down.
    pub async fn remove(&self, node: NodeId) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().remove(node)).await
    }

    /// Has a member be reached elsewhere. Links to it move as soon as the change is in a node's log.
    pub async fn set_address(&self, node: NodeId, address: impl Into<String>) -> Result<LogId, ChangeError> {
        self.change_membership(MembershipChange::new().set_address(node, address)).await
    }
}
