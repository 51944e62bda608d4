//! A file made ready for a segment: zeros that were really written, so that later flushes need not touch the
//! file system's own records.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::storage::StorageError;

use crate::{
    aligned::AlignedMemory,
    disk::{Disk, DiskFile},
    error::io_error,
};

/// Zeros that go past the system's cache are on the disk when they are written, and the disk does nothing
/// else meanwhile: a write of the log that comes then waits for this much.
const UNCACHED_BYTES: u64 = 256 << 10;

const CACHED_BYTES: u64 = 1 << 20;

/// Zeros in the system's cache are flushed a part at a time: a flush of the log that comes meanwhile waits
/// for this much, not for all.
const CACHED_FLUSHED_BYTES: u64 = 4 << 20;

/// A file without a name that means anything, zeroed and flushed if there was time.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
    pub(crate) is_zeroed: bool,
}

impl Spare {
    /// Makes one. `zeroed`: really written. Stops early, with `None`, once `cancelled` says so.
    pub(crate) fn make(
        disk: &dyn Disk,
        path: &Path,
        capacity: u64,
        zeroed: bool,
        cancelled: impl Fn() -> bool,
    ) -> Result<Option<Spare>, StorageError> {
        let file = disk.create(path).map_err(io_error("create", path))?;
        let spare = Spare { path: path.to_owned(), file, capacity, is_zeroed: zeroed };
        if zeroed {
            return spare.zero(disk, cancelled);
        }
        spare.file.set_size(capacity).map_err(io_error("lengthen", path))?;
        Ok(Some(spare))
    }

    /// Makes one of a file of this size that was a segment's.
    pub(crate) fn again(
        disk: &dyn Disk,
        path: &Path,
        capacity: u64,
        cancelled: impl Fn() -> bool,
    ) -> Result<Option<Spare>, StorageError> {
        let file = disk.open(path).map_err(io_error("open", path))?;
        Spare { path: path.to_owned(), file, capacity, is_zeroed: true }.zero(disk, cancelled)
    }

    fn zero(self, disk: &dyn Disk, cancelled: impl Fn() -> bool) -> Result<Option<Spare>, StorageError> {
        let written = match disk.open_uncached(&self.path).map_err(io_error("open", &self.path))? {
            Some(uncached) => match self.write_zeros(&*uncached, UNCACHED_BYTES, self.capacity, &cancelled) {
                // Its blocks are larger than ours.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
                written => Some(written),
            },
            None => None,
        };
        let in_cache = || self.write_zeros(&*self.file, CACHED_BYTES, CACHED_FLUSHED_BYTES, &cancelled);
        let is_whole = written.unwrap_or_else(in_cache).map_err(io_error("write zeros to", &self.path))?;
        Ok(is_whole.then_some(self))
    }

    /// Writes zeros through `file`, `part` bytes at a time, and flushes them each `flushed` bytes and at the
    /// end. Whether it came so far.
    fn write_zeros(
        &self,
        file: &dyn DiskFile,
        part: u64,
        flushed: u64,
        cancelled: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let part = part.min(self.capacity);
        let mut memory = AlignedMemory::default();
        let zeros = memory.bytes(part as usize);
        let mut offset = 0;
        while offset < self.capacity {
            if cancelled() {
                return Ok(false);
            }
            let length = (self.capacity - offset).min(part);
            file.write_at(offset, &zeros[..length as usize])?;
            offset += length;
            if offset.is_multiple_of(flushed) || offset == self.capacity {
                file.sync_data()?;
            }
        }
        Ok(true)
    }
}
