//! Writes past the cache, which a disk takes in whole blocks or not at all.

use std::{io, sync::Arc};

use super::SimulatedDisk;
use crate::{disk::DiskFile, layout::BLOCK_BYTES};

/// The blocks in which a disk takes such writes; `None`: it takes none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncached(pub(super) Option<u64>);

impl Default for Uncached {
    fn default() -> Uncached {
        Uncached(Some(BLOCK_BYTES))
    }
}

/// A file that is written so.
#[derive(Debug)]
pub(super) struct UncachedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) block_bytes: u64,
}

impl DiskFile for UncachedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut places = [bytes.as_ptr().addr() as u64, offset, bytes.len() as u64].into_iter();
        if places.all(|place| place.is_multiple_of(self.block_bytes)) {
            self.file.write_at(offset, bytes)?;
            self.disk.state().calls.uncached_writes += 1;
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole blocks, as the simulated disk wants them"))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
}
