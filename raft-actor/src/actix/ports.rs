//! Actix actors as a node's parts. An actor that handles the messages here is a log storage or a transport;
//! it may live on any arbiter, or in a `SyncArbiter` where it blocks.

use std::{fmt, io, path::PathBuf};

use actix::{Actor, Addr, Handler, Message, Recipient, dev::ToEnvelope};
use async_trait::async_trait;

use crate::{
    storage::{LogStorage, StorageError},
    transport::{PeerLink, Transport, TransportError},
    types::{Entries, LogId, LogIndex, LogState, LogWrite, NodeId},
};

/// [`LogStorage::recover`] as a message.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LogState, StorageError>")]
pub struct RecoverLog;

/// [`LogStorage::write`] as a message.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), StorageError>")]
pub struct WriteLog(pub Vec<LogWrite>);

/// [`LogStorage::read`] as a message.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Entries, StorageError>")]
pub struct ReadLog {
    /// The first entry wanted.
    pub first: LogIndex,
    /// The last entry wanted.
    pub last: LogIndex,
    /// As many as fit, at least one.
    pub bytes_max: u64,
}

/// [`LogStorage::purge`] as a message.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), StorageError>")]
pub struct PurgeLog(pub LogId);

/// A log storage that is an actix actor.
pub struct ActorLogStorage {
    recover: Recipient<RecoverLog>,
    write: Recipient<WriteLog>,
    read: Recipient<ReadLog>,
    purge: Recipient<PurgeLog>,
}

impl ActorLogStorage {
    /// The storage behind `address`.
    pub fn new<A>(address: &Addr<A>) -> ActorLogStorage
    where
        A: Actor + Handler<RecoverLog> + Handler<WriteLog> + Handler<ReadLog> + Handler<PurgeLog>,
        A::Context: ToEnvelope<A, RecoverLog>
            + ToEnvelope<A, WriteLog>
            + ToEnvelope<A, ReadLog>
            + ToEnvelope<A, PurgeLog>,
    {
        ActorLogStorage {
            recover: address.clone().recipient(),
            write: address.clone().recipient(),
            read: address.clone().recipient(),
            purge: address.clone().recipient(),
        }
    }
}

impl fmt::Debug for ActorLogStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorLogStorage")
    }
}

async fn ask<M, T>(actor: &Recipient<M>, message: M) -> Result<T, StorageError>
where
    M: Message<Result = Result<T, StorageError>> + Send,
    T: Send + 'static,
{
    actor.send(message).await.unwrap_or_else(|error| {
        let (operation, path) = ("ask", PathBuf::from("the log storage's actor"));
        Err(StorageError::Io { operation, path, source: io::Error::other(error) })
    })
}

#[async_trait]
impl LogStorage for ActorLogStorage {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        ask(&self.recover, RecoverLog).await
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        ask(&self.write, WriteLog(writes.to_vec())).await
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        ask(&self.read, ReadLog { first, last, bytes_max }).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        ask(&self.purge, PurgeLog(through)).await
    }
}

/// [`Transport::connect`] as a message.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Box<dyn PeerLink>, TransportError>")]
pub struct Connect {
    /// Who is meant.
    pub peer: NodeId,
    /// Where it is.
    pub address: String,
}

/// A transport that is an actix actor.
pub struct ActorTransport(Recipient<Connect>);

impl ActorTransport {
    /// The transport behind `address`.
    pub fn new<A>(address: Addr<A>) -> ActorTransport
    where
        A: Actor + Handler<Connect>,
        A::Context: ToEnvelope<A, Connect>,
    {
        ActorTransport(address.recipient())
    }
}

impl fmt::Debug for ActorTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorTransport")
    }
}

#[async_trait]
impl Transport for ActorTransport {
    async fn connect(&self, peer: NodeId, address: &str) -> Result<Box<dyn PeerLink>, TransportError> {
        let answer = self.0.send(Connect { peer, address: address.to_owned() }).await;
        answer.unwrap_or_else(|error| {
            Err(TransportError::Unreachable { peer, address: address.to_owned(), source: error.into() })
        })
    }
}
