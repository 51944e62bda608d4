//! How an error of this crate is made: with the operation and the file that it happened on.

use std::{io, path::Path};

use raft_actor::storage::StorageError;

/// Adds what was tried, and on which file, to what the system said.
pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { operation, path, source }
}

/// A file that holds what nobody wrote there.
pub(crate) fn corrupt(path: &Path, offset: u64, detail: impl Into<String>) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), offset, detail: detail.into() }
}

/// Of a place that the disk does not give back any more.
pub(crate) fn unreadable(source: &io::Error) -> String {
    format!("it cannot be read: {source}")
}

/// What an operator should do about damage; the same everywhere.
pub(crate) const ADVICE: &str = "do not delete or edit files: keep a copy of the folder, and \
    restore it from a copy that is as new, or let the node's peers repair it (`raft-storage repair`), or \
    take the node out of the cluster and add a new one";
