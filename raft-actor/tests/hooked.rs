//! A log in memory, and something that is done before each write to it: it waits, or it fails.

use async_trait::async_trait;
use raft_actor::{
    storage::{LogStorage, StorageError},
    testkit::memory::MemoryLog,
    types::{Entries, LogId, LogIndex, LogState, LogWrite},
};

pub(crate) struct Hooked<F> {
    pub(crate) log: MemoryLog,
    pub(crate) before_write: F,
}

#[async_trait]
impl<F, W> LogStorage for Hooked<F>
where
    F: Fn() -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), StorageError>> + Send + 'static,
{
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        self.log.recover().await
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        (self.before_write)().await?;
        self.log.write(writes).await
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.log.read(first, last, bytes_max).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.log.purge(through).await
    }
}
