//! The service behind the API, carried out by a replicated node.

use async_trait::async_trait;
use raft_actor::{
    error::{ReadError, SnapshotError, WriteError},
    node::Node,
    status::Status,
    types::SnapshotMeta,
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

    async fn status(&self) -> Status {
        Node::status(self).await
    }

    async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        Node::snapshot(self).await
    }
}
