//! The face to the outside: a handle to the writer's thread, or to what stands in for it in a simulator.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use raft_actor::{
    runtime::SharedRuntime,
    storage::{LogStorage, StorageError},
    types::{Entries, LogId, LogIndex, LogState, LogWrite},
};

use crate::{
    Options,
    disk::{Disk, RealDisk},
    identity::Identity,
    inline::Inline,
    writer::{Reply, Request, Writer},
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
    host: Host,
}

/// Where the work is done.
#[derive(Debug)]
enum Host {
    Thread(Writer),
    Inline(Inline),
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
        Ok(FileLog { host: Host::Thread(Writer::start(disk, folder.as_ref(), identity, options)?) })
    }

    /// As [`FileLog::open_on`], without any thread: each call does its work when it is polled, and then waits
    /// for [`Disk::settled`]; marks are written by a task of `runtime`, by its clock. So a simulator runs it
    /// in virtual time, and the same way for the same seed.
    ///
    /// Dropping this is what a crash of the process is: nothing is written any more, and the folder is free
    /// at once. On a real disk a slow flush would hold up the whole thread.
    pub fn open_inline(
        runtime: SharedRuntime,
        disk: Arc<dyn Disk>,
        folder: impl AsRef<Path>,
        identity: Identity,
        options: Options,
    ) -> Result<FileLog, StorageError> {
        let inline = Inline::open(runtime, disk, folder.as_ref(), identity, options)?;
        Ok(FileLog { host: Host::Inline(inline) })
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StorageError> {
        match &self.host {
            Host::Thread(writer) => writer.ask(request).await,
            Host::Inline(inline) => inline.ask(request).await,
        }
    }
}

#[async_trait]
impl LogStorage for FileLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        self.ask(|reply| Request::Recover { reply }).await
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let writes = writes.to_vec();
        self.ask(|reply| Request::Write { writes, reply }).await
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.ask(|reply| Request::Read { first, last, bytes_max, reply }).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.ask(|reply| Request::Purge { through, reply }).await
    }
}
