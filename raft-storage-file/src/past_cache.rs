//! How frames are written: past the system's cache where they are small and the disk can do that, else
//! through it.
//!
//! A write past the cache is on its way to the disk when it returns, from the memory that it was built in:
//! nothing is copied, and the flush has no pages to look for. It is durable no sooner than any other. The
//! rules about crashes rest on the flush alone, and it is the same one, so none of them changes: frames
//! follow one another, each after the flush of the one before, and until then each sector of a frame is what
//! was written or what was there, zeros.
//!
//! Large frames go through the cache: to copy them is little beside writing them, and a peer falls behind by
//! many bytes where frames are large, and is then served from memory. So do header, seal and what is read, in
//! the same file, which is safe for these reasons:
//!
//! * The system writes out what it holds of the blocks that are written, and forgets it, before such a write
//!   and after it. So a read sees the newest frame, also where the block was read, or read ahead, before.
//! * No page is both dirty in the cache and written past it. Zeros and header are flushed before the first
//!   frame, each frame before the next, a seal is written after the last, and recovery flushes what it writes
//!   before it hands the file over. This holds too where a page of the cache is larger than our blocks.
//! * A flush is one of the file, not of a handle: `fdatasync` waits for what the cache holds of it, has a
//!   journal write down where its blocks are, and then has the disk flush its own cache, also where nothing
//!   but the file's time has changed.
//! * A file that was made in haste has no place on the disk yet. The file system finds one, which reads as
//!   zeros until the write is over, and its records of that are part of the same flush.
//! * A write that the disk refuses ([`io::ErrorKind::InvalidInput`], its blocks are larger than ours) is made
//!   once more, through the cache: the same bytes to the same place, before any flush, so it does not matter
//!   whether a part of it had been written. That may be where a write was cut short, and went on at an
//!   offset that is no block's. From then on all frames go through the cache. Every other error is final.

use std::{io, sync::Arc};

use raft_actor::storage::StorageError;

use crate::{
    disk::{Disk, DiskFile},
    error::io_error,
    segment::Segment,
};

/// A frame of so many bytes is large.
const LARGE_FRAME_BYTES: usize = 128 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) enum PastCache {
    /// No file is open yet.
    #[default]
    Closed,
    /// The file of the segment of this id.
    Open(u64, Arc<dyn DiskFile>),
    /// The disk cannot, or has refused: never asked again.
    Refused,
}

impl PastCache {
    /// Writes a frame to where the segment's frames end, from memory that begins at a block. The flush is for
    /// the caller.
    pub(crate) fn write(
        &mut self,
        disk: &dyn Disk,
        segment: &Segment,
        frame: &[u8],
    ) -> Result<(), StorageError> {
        if frame.len() < LARGE_FRAME_BYTES
            && let Some(file) = self.file(disk, segment)?
        {
            match file.write_at(segment.length, frame) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => *self = PastCache::Refused,
                written => return written.map_err(io_error("write", &segment.path)),
            }
        }
        segment.file.write_at(segment.length, frame).map_err(io_error("write", &segment.path))
    }

    /// The segment's file, opened when its first frame is written: by then it has its name, be it new or
    /// found by recovery.
    fn file(&mut self, disk: &dyn Disk, segment: &Segment) -> Result<Option<&dyn DiskFile>, StorageError> {
        let is_open = match self {
            PastCache::Refused => return Ok(None),
            PastCache::Open(id, _) => *id == segment.header.id,
            PastCache::Closed => false,
        };
        if !is_open {
            let file = disk.open_uncached(&segment.path).map_err(io_error("open", &segment.path))?;
            *self = file.map_or(PastCache::Refused, |file| PastCache::Open(segment.header.id, file));
        }
        Ok(match self {
            PastCache::Open(_, file) => Some(&**file),
            PastCache::Closed | PastCache::Refused => None,
        })
    }
}
