//! The seam to the disk: every access to a file goes through it, so that a test can be the disk.
//!
//! The real one makes ordinary calls (`pwrite`, `fdatasync`, `fsync` of folders, `rename`), so that faults
//! can also be injected from outside the process.

mod real;
#[cfg(feature = "testkit")]
pub mod simulated;

use std::{any::Any, fmt, io, path::Path, sync::Arc};

use raft_actor::runtime::BoxFuture;

pub use real::RealDisk;

/// Folders and names.
///
/// # Contract
///
/// * A new name, a rename and a removal survive a crash only once `sync_folder` of their folder has returned.
/// * What was written survives a crash only once `sync_data` of its file has returned; until then each sector
///   may be there or not, whatever the order of writing.
/// * All handles to a file are of one file: what was written through one is what any other reads, and a
///   `sync_data` of one makes durable what was written through all, the uncached one too.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and those above it, durably. Does nothing where it is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder, in ascending order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists for writing whole blocks past the system's cache, from memory that begins at
    /// a multiple of their size; frames of the log and the zeros of its files are written so. A write that is
    /// not of whole blocks of this disk is refused with [`io::ErrorKind::InvalidInput`], and is then made
    /// through the cache. It is durable no sooner than any other write. Default `None`, as where that cannot
    /// be: the file is to be written as any other.
    fn open_uncached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let _ = path;
        Ok(None)
    }
    /// Gives a file another name in the same folder, atomically; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Locks the file against every other opener, in this process and in others. Made where it is not there.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// Waits until all that was asked for is really done, where the disk answers at once and takes its time
    /// afterwards, as a simulated one does. Default: it is done when it answers.
    fn settled(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on; an error where the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` from `offset` on.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's content and size durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the file this long. What is added reads as zeros, but need not have its place on the disk yet.
    fn set_size(&self, bytes: u64) -> io::Result<()>;
}

/// What became of locking.
#[derive(Debug)]
pub enum Lock {
    /// Ours until this is dropped.
    Held(Box<dyn Any + Send>),
    /// Someone else's.
    InUse {
        /// What the holder wrote into the file: its process id.
        by: String,
    },
}
