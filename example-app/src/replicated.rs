//! The service behind the API, carried out by a replicated node.

use async_trait::async_trait;
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, SnapshotError, WriteError},
    events::Events,
    membership::{ChangeError, MembershipChange, TransferError},
    node::Node,
    state_machine::{StateMachine, Witness},
    status::Status,
    types::{NodeId, SnapshotMeta},
};

use crate::{
    api::service::{Consistency, Service},
    kv::{Answer, Command, Query, Summary, Unreadable, machine::Store},
};

#[async_trait]
impl Service for Node<Store> {
    async fn write(&self, command: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError> {
        // Whatever else has come in on this thread's connections is read first: so the writes go to the
        // node's thread one right after the other, and share one flush and one message to each peer.
        tokio::task::yield_now().await;
        Node::write(self, command).await
    }

    async fn read(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<Result<Answer, Unreadable>, ReadError> {
        let look = move |store: &Store| store.machine().query(&query);
        match consistency {
            Consistency::Linearizable => Node::read(self, look).await,
            Consistency::Lease => self.read_lease(look).await,
            Consistency::Within(bound) => self.read_within(bound, look).await,
            Consistency::Local => self.read_local(look).await,
        }
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Node::read_local(self, |store: &Store| store.machine().summary()).await
    }

    async fn change_members(&self, change: MembershipChange) -> Result<(), ChangeError> {
        Node::change_membership(self, change).await.map(|_| ())
    }

    fn promote_when_ready(&self, learner: NodeId) {
        promote(self, learner);
    }

    async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<(), TransferError> {
        Node::transfer_leadership(self, to).await
    }

    async fn status(&self) -> Status {
        Node::status(self).await
    }

    fn events(&self, capacity: usize) -> Option<Events> {
        Some(Node::events(self, capacity))
    }

    async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        Node::snapshot(self).await
    }
}

fn promote<S: StateMachine>(node: &Node<S>, learner: NodeId) {
    let node = node.clone();
    actix_web::rt::spawn(async move {
        match Node::promote_when_ready(&node, learner).await {
            Ok(_) => tracing::info!(%learner, "the new member has caught up, and votes"),
            Err(error) => tracing::warn!(%learner, %error, "the new member stays without a vote"),
        }
    });
}

/// A witness answers for the cluster, and for no key.
#[async_trait]
impl Service for Node<Witness> {
    async fn write(&self, _: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError> {
        Err(WriteError::NotLeader { leader: None })
    }

    async fn read(&self, _: Query, _: Consistency) -> Result<Result<Answer, Unreadable>, ReadError> {
        Err(ReadError::NotLeader { leader: None })
    }

    fn refusal(&self) -> Option<&'static str> {
        Some("this node is a witness: it votes, and holds no keys; ask another member")
    }

    async fn barrier(&self) -> Result<(), ReadError> {
        Node::read(self, |_| ()).await
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Ok(Summary::default())
    }

    async fn change_members(&self, change: MembershipChange) -> Result<(), ChangeError> {
        Node::change_membership(self, change).await.map(|_| ())
    }

    fn promote_when_ready(&self, learner: NodeId) {
        promote(self, learner);
    }

    async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<(), TransferError> {
        Node::transfer_leadership(self, to).await
    }

    async fn status(&self) -> Status {
        Node::status(self).await
    }

    fn events(&self, capacity: usize) -> Option<Events> {
        Some(Node::events(self, capacity))
    }

    async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        Node::snapshot(self).await
    }
}
