//! Seam: where the log and the hard state are kept.

use std::{io, path::PathBuf};

use async_trait::async_trait;

use crate::types::{Entries, LogId, LogIndex, LogState, LogWrite};

/// Keeps the log, the term and the vote.
///
/// # Contract
///
/// * `recover` is called once, first; it returns what every completed `write` left, and of one that was cut
///   off by a crash all, or nothing, or its hard state without its entries; never entries without the hard
///   state that was written with or before them.
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
    /// The caller broke the contract of [`LogStorage`]: a bug, named by the sentence.
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
