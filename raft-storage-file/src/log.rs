//! The face to the outside: a handle to the writer's thread.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use raft_actor::{
    storage::{LogStorage, StorageError},
    types::{Entries, LogId, LogIndex, LogState, LogWrite},
};

use crate::{
    Options,
    disk::{Disk, RealDisk},
    identity::Identity,
    writer::{Request, Writer},
};

/// The log and hard state of one node, in a folder of its own.
///
/// Keeps the contract of [`LogStorage`]. All the work is done on a thread of its own, which ends when this is
/// dropped; dropping waits for what is under way. A caller that stops waiting for a `write` does not undo it.
///
/// Beyond that contract: entries must not be of a higher term than the hard state (write it before, or in
/// the same call), or of a lower term than the entry before. Of a `write` that a crash cut off, the hard
/// state may survive without the entries; never the entries without the hard state.
#[derive(Debug)]
pub struct FileLog {
    writer: Writer,
}

impl FileLog {
    /// Opens the store in `folder`, or makes one where there is nothing, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] where the folder is in use, belongs to another node or cluster, or holds
    /// something else.
    pub fn open(folder: impl AsRef<Path>, identity: Identity) -> Result<FileLog, StorageError> {
        FileLog::open_with(folder, identity, Options::default())
    }

    /// As [`FileLog::open`], with settings.
    pub fn open_with(
        folder: impl AsRef<Path>,
        identity: Identity,
        options: Options,
    ) -> Result<FileLog, StorageError> {
        FileLog::open_on(Arc::new(RealDisk), folder, identity, options)
    }

    /// As [`FileLog::open_with`], on a disk of your own.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: impl AsRef<Path>,
        identity: Identity,
        options: Options,
    ) -> Result<FileLog, StorageError> {
        Ok(FileLog { writer: Writer::start(disk, folder.as_ref(), identity, options)? })
    }
}

#[async_trait]
impl LogStorage for FileLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        self.writer.ask(|reply| Request::Recover { reply }).await
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let writes = writes.to_vec();
        self.writer.ask(|reply| Request::Write { writes, reply }).await
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.writer.ask(|reply| Request::Read { first, last, bytes_max, reply }).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.writer.ask(|reply| Request::Purge { through, reply }).await
    }
}
