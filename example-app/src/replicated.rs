//! The service behind the API, carried out by a replicated node.

use async_trait::async_trait;
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, WriteError},
    node::Node,
    status::Status,
};

use crate::{
    api::service::Service,
    kv::{Answer, Command, Query, Summary, machine::Store},
};

#[async_trait]
impl Service for Node<Store> {
    async fn write(&self, command: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError> {
        Node::write(self, command).await
    }

    async fn read(&self, query: Query) -> Result<Answer, ReadError> {
        Node::read(self, move |store: &Store| store.machine().query(&query)).await
    }

    async fn read_local(&self, query: Query) -> Result<Answer, ReadError> {
        Node::read_local(self, move |store: &Store| store.machine().query(&query)).await
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Node::read_local(self, |store: &Store| store.machine().summary()).await
    }

    async fn status(&self) -> Status {
        Node::status(self).await
    }
}
