//! The service behind the API, carried out by a replicated node.

use async_trait::async_trait;
use raft_actor::{
    error::{ReadError, WriteError},
    membership::{ChangeError, MembershipChange},
    node::Node,
    status::Status,
    types::NodeId,
};

use crate::{
    api::service::Service,
    kv::{Answer, Command, Kv, Query, Summary},
};

#[async_trait]
impl Service for Node<Kv> {
    async fn write(&self, command: Command) -> Result<Answer, WriteError> {
        Node::write(self, command).await
    }

    async fn read(&self, query: Query) -> Result<Answer, ReadError> {
        Node::read(self, move |kv: &Kv| kv.query(&query)).await
    }

    async fn read_local(&self, query: Query) -> Result<Answer, ReadError> {
        Node::read_local(self, move |kv: &Kv| kv.query(&query)).await
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Node::read_local(self, Kv::summary).await
    }

    async fn change_members(&self, change: MembershipChange) -> Result<(), ChangeError> {
        Node::change_membership(self, change).await.map(|_| ())
    }

    fn promote_when_ready(&self, learner: NodeId) {
        let node = self.clone();
        actix_web::rt::spawn(async move {
            match Node::promote_when_ready(&node, learner).await {
                Ok(_) => tracing::info!(%learner, "the new member has caught up, and votes"),
                Err(error) => tracing::warn!(%learner, %error, "the new member stays without a vote"),
            }
        });
    }

    async fn status(&self) -> Status {
        Node::status(self).await
    }
}
