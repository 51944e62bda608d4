//! What the HTTP layer needs of whatever stands behind it: here a replicated node, in the API's own tests a
//! single copy in memory.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, SnapshotError, WriteError},
    events::Events,
    membership::{ChangeError, MembershipChange, TransferError},
    status::Status,
    types::{ClusterId, NodeId, SnapshotMeta},
};

use crate::kv::{Answer, Command, Query, Range, Summary, Unreadable};

/// A key-value service that may have many copies.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Carries out a command, in a session or outside; answers once it is sure to stay.
    async fn write(&self, command: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError>;

    /// Reads, as surely as it is asked to. What is read may be damaged on this node's disk.
    async fn read(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<Result<Answer, Unreadable>, ReadError>;

    /// Why this node serves no keys, where it has none. Default: it serves them.
    fn refusal(&self) -> Option<&'static str> {
        None
    }

    /// Returns once this node has seen everything that was answered anywhere before the call.
    async fn barrier(&self) -> Result<(), ReadError> {
        let key = Bytes::from_static(b"\0");
        let query = Query::Range(Range { key, count_only: true, ..Range::default() });
        self.read(query, Consistency::Linearizable).await.map(|_| ())
    }

    /// The sizes and the revision of this node's own store.
    async fn summary(&self) -> Result<Summary, ReadError>;

    /// Changes the members; answers once that is sure to stay.
    async fn change_members(&self, change: MembershipChange) -> Result<(), ChangeError>;

    /// Has a learner be given a vote as soon as it has caught up. Does not wait for it.
    fn promote_when_ready(&self, node: NodeId);

    /// Hands leadership to this node, or to whoever is furthest ahead. Default: nobody leads.
    async fn transfer_leadership(&self, _to: Option<NodeId>) -> Result<(), TransferError> {
        Err(TransferError::NotLeader { leader: None })
    }

    /// What this node knows of itself and of its peers.
    async fn status(&self) -> Status;

    /// What happens to this node from now on; at most `capacity` events wait. Default: nobody can tell.
    fn events(&self, capacity: usize) -> Option<Events> {
        let _ = capacity;
        None
    }

    /// Takes a snapshot of this node's own store. Default: there are none.
    async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        Err(SnapshotError::Unsupported)
    }
}

/// How sure a read's answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It holds everything that was answered before the call: a quorum says so.
    Linearizable,
    /// The same, by the leader's lease where it has one.
    Lease,
    /// It holds everything that was answered until this long before the call.
    Within(Duration),
    /// What this node knows, stale as it may be.
    Local,
}

/// Who answers, and what the HTTP layer cannot learn from the service.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node_id: NodeId,
    /// Where clients reach each member, as host:port, where that is known to differ from its Raft address.
    pub client_addresses: BTreeMap<NodeId, String>,
}
