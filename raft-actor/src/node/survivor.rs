//! The way back for a cluster that has lost its majority for good: one node that is left becomes the cluster.
//!
//! This is not a part of Raft, and gives up what Raft promises. Acknowledged writes that this node does not
//! have are lost; entries that it has, and that were perhaps never committed, become committed. Do it only
//! where the others are gone and stay gone, on the most advanced of those that are left: look at each
//! first, and take the one with the highest [`Survivor::last_log_id`].
//!
//! The node gets a membership of itself alone, one term above all that it has seen, and a genesis of its
//! own: old members that come back all the same are not believed any more, and believe nothing, so the
//! cluster cannot be split. They join as learners, with empty folders, under their old ids or new ones.

use super::recover::{follow, look};
use crate::{
    membership::{Membership, digest},
    storage::{LogStorage, SnapshotStorage, StorageError},
    types::{Entry, HardState, LogId, LogState, LogWrite, NodeId, Payload, SnapshotMeta},
};

/// Why a node cannot become the cluster. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurvivorError {
    /// The storage could not be opened, or what it holds cannot be trusted.
    /// What to do: as the error says.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing was ever written to the log.
    /// What to do: name the folder of a node that took part in the cluster.
    #[error("the log is empty: this node never took part in a cluster")]
    Empty,
    /// The members in the log do not name this node: it had left, or was never added.
    /// What to do: recover from a node that is a member.
    #[error("node {node} is not among the members in its log; recover from a node that is")]
    NotAMember {
        /// This node.
        node: NodeId,
    },
    /// The log ends with the last term or index that there is.
    /// What to do: nothing helps; no cluster comes here by itself.
    #[error("the numbers of terms or entries have come to their end at {last}")]
    NumbersEnd {
        /// The last entry.
        last: LogId,
    },
}

/// What one node has left of a cluster, while no node runs on it.
pub struct Survivor<'a> {
    log: &'a mut dyn LogStorage,
    state: LogState,
    snapshot: Option<SnapshotMeta>,
}

impl<'a> Survivor<'a> {
    /// Looks at what is there, with the checks that a node makes when it starts. Changes nothing.
    pub async fn look(
        log: &'a mut dyn LogStorage,
        snapshots: Option<&dyn SnapshotStorage>,
    ) -> Result<Survivor<'a>, SurvivorError> {
        // It is to be a full member: a witness that has let go of its log cannot.
        let (state, snapshot) = look(log, snapshots, false).await?;
        if state.is_new() {
            return Err(SurvivorError::Empty);
        }
        Ok(Survivor { log, state, snapshot })
    }

    /// The node's term and vote.
    pub fn hard_state(&self) -> HardState {
        self.state.hard_state
    }

    /// The last entry: of several survivors, take the one where this is highest, by term and then by index.
    pub fn last_log_id(&self) -> LogId {
        self.state.last.max(self.committed())
    }

    /// Up to here the log was committed for certain, because a snapshot covers it. More may have been: a log
    /// does not say.
    pub fn committed(&self) -> LogId {
        self.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last)
    }

    /// The newest members that the node knows of, committed or not.
    pub fn membership(&self) -> Membership {
        let newest = self.state.memberships.last().map(|(_, membership)| membership.clone());
        let of_snapshot = || self.snapshot.as_ref().map(|snapshot| (*snapshot.membership).clone());
        newest.or_else(of_snapshot).unwrap_or_default()
    }

    /// Makes `node`, whose log this is, a cluster of its own, durably, and gives the entry that says so and
    /// its members. Whatever a crash leaves is the old or the new. Start the node as always afterwards; it
    /// elects itself, and commits all that it has.
    pub async fn become_cluster(mut self, node: NodeId) -> Result<(LogId, Membership), SurvivorError> {
        if let Some(snapshot) = &self.snapshot {
            follow(self.log, &mut self.state, snapshot).await?;
        }
        let LogState { incarnation, hard_state, last, .. } = self.state;
        let before = self.membership();
        let after = before.alone(node).ok_or(SurvivorError::NotAMember { node })?;
        let next_index = last.index.0.checked_add(1).filter(|index| *index < u64::MAX);
        let next_term = hard_state.term.max(last.term).next().filter(|term| term.0 < u64::MAX);
        let (Some(_), Some(term)) = (next_index, next_term) else {
            return Err(SurvivorError::NumbersEnd { last });
        };
        // Another than that of any cluster that another survivor, or the same one earlier, has become.
        let genesis = digest([before.genesis(), node.0, incarnation, last.term.0, last.index.0]);
        let after = after.with_genesis(genesis).with_incarnation(node, incarnation);
        let log_id = LogId::new(term, last.index.next());
        let entry = Entry::new(log_id, Payload::Membership(Box::new(after.clone())));
        let write = LogWrite {
            // Its vote is given: nobody of the old cluster gets it in this term.
            hard_state: Some(HardState { term, voted_for: Some(node) }),
            entries: vec![entry].into(),
            ..LogWrite::default()
        };
        self.log.write(&[write]).await?;
        Ok((log_id, after))
    }
}
