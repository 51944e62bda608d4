//! Seams: where the log and the hard state are kept, and where snapshots are.

use std::{io, path::PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use crate::types::{Entries, LogId, LogIndex, LogState, LogWrite, SnapshotMeta, SnapshotView};

/// Keeps the log, the term and the vote.
///
/// # Contract
///
/// * `recover` is called once, first; it returns what every completed `write` left, and of one that was cut
///   off by a crash all, or nothing, or its hard state without its entries; never entries without the hard
///   state that was written with or before them.
/// * What `recover` tells as [`LogState::incarnation`] is made by chance with the storage and stays the same
///   for ever, or is always 0; then a node whose storage was lost cannot be told from the one that it was.
/// * `write` returns once everything in it is flushed: it survives a crash of the process and of the machine.
///   The writes given are done in order; within each, truncation comes before appending.
/// * Entries arrive without gaps: each write's first is one past the last that is left after its truncation.
///   A storage that is asked for a gap refuses with an error and changes nothing.
/// * `read` returns consecutive entries from `first` on, and never one that was truncated. It stops at
///   `last`, or earlier once `bytes_max` would be passed, but returns at least one entry. Asking for what was
///   purged or never written is an error, not an empty answer.
/// * `purge` forgets entries up to and including `through`, at once or later; `recover` reports it from then
///   on, and the term of `through` stays known. The hard state stays.
/// * After an error the storage is not to be trusted: every later call fails too, until it is opened anew. A
///   failed flush is never tried again. Only [`StorageError::Contract`] leaves it as it was: nothing was
///   touched.
#[async_trait]
pub trait LogStorage: Send + 'static {
    /// What the storage holds. The first call.
    async fn recover(&mut self) -> Result<LogState, StorageError>;

    /// Does all of `writes`, in order, as one durable group.
    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError>;

    /// Entries from `first` to `last`, both included, as many as fit in `bytes_max` (in
    /// [`crate::types::Entry::size_bytes`]), at least one.
    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError>;

    /// Forgets the entries up to and including `through`.
    async fn purge(&mut self, through: LogId) -> Result<(), StorageError>;
}

/// Keeps snapshots of the state machine.
///
/// # Contract
///
/// * `recover` is called first; it returns the newest whole snapshot: the one with the highest `last.index`.
///   What was cut off by a crash while it was written is not whole, and not an error.
/// * `write` returns once the snapshot is durable: it is found whole after a crash, or not at all. It
///   returns the description that it was given, with the bytes that the view has written. It runs the view
///   so that no actor waits for it.
/// * `read_chunk` returns the bytes from `offset` on, at most `bytes_max`, fewer only at the end; `None`
///   where there is no such snapshot (any more).
/// * `receive_chunk` adds a part of another node's snapshot, and returns up to where it has that snapshot
///   without a gap. A part that leaves a gap is not taken; of one that is there already, what is new is
///   taken. What was returned may be less after a restart, and then goes on from there.
/// * `finish_receive` makes a snapshot that has been received whole durable, as `write` does. One that is not
///   whole is refused with [`StorageError::Contract`]. Once more for one that is there does nothing.
/// * `open` gives the bytes from the beginning. Damage is found before it is handed out as an
///   [`std::io::Error`] of the reader, or as [`StorageError::Corrupt`].
/// * `retain` removes every snapshot but the newest and those that are named.
/// * Calls may overlap: each is on its own.
/// * Errors are final for the node, as those of [`LogStorage`] are.
#[async_trait]
pub trait SnapshotStorage: Send + Sync + 'static {
    /// The newest whole snapshot. The first call.
    async fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError>;

    /// Writes a snapshot, and returns its description with its size.
    async fn write(&self, snapshot: SnapshotMeta, view: SnapshotView) -> Result<SnapshotMeta, StorageError>;

    /// Bytes of the snapshot of this id, from `offset` on.
    async fn read_chunk(&self, id: u64, offset: u64, bytes_max: u64) -> Result<Option<Bytes>, StorageError>;

    /// Takes a part of a snapshot that another node sends; returns where the next must begin.
    async fn receive_chunk(
        &self,
        snapshot: &SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Result<u64, StorageError>;

    /// Makes a snapshot that was received whole one of this storage's own.
    async fn finish_receive(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError>;

    /// A snapshot's bytes, from the beginning.
    async fn open(&self, id: u64) -> Result<Box<dyn io::Read + Send>, StorageError>;

    /// Removes what is neither the newest nor among `ids`.
    async fn retain(&self, ids: &[u64]) -> Result<(), StorageError>;
}

/// Why a storage cannot go on. Always final for the node: it stops, says why, and answers nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    /// What to do: mend the disk or the permissions, then start again.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried: "open", "write", "flush" ...
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds what nobody wrote there. Nothing was changed.
    /// What to do: as `detail` says; never delete a file to make the error go away.
    #[error("{} is corrupt at offset {offset}: {detail}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found, what was expected, and what to do.
        detail: String,
    },
    /// The storage belongs to someone else, is in use, or is newer than this program. Nothing was changed.
    /// What to do: as the sentence says.
    #[error("{0}")]
    Refused(String),
    /// The caller broke the contract of the storage: a bug, named by the sentence.
    #[error("storage contract broken: {0}")]
    Contract(String),
    /// An earlier error has made the storage unusable.
    /// What to do: see the first error.
    #[error("the storage has failed before: {first}")]
    Poisoned {
        /// The first error, as it was told.
        first: String,
    },
}
