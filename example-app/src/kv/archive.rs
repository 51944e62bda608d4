//! Where full blocks of old versions are kept when a node has a disk for them: in files without a name, each
//! behind the other, read back one at a time.
//!
//! They are no state of their own. What is in them a node makes anew out of its snapshot and its log whenever
//! it starts, so nothing is flushed, and the files vanish with the process, however that ends.
//!
//! A file goes, and its room on the disk, once nobody has a [`Place`] in it. That comes by compaction: a
//! block is written when a version behind it has come, so once the revision of that one is compacted, nobody
//! can ask for the block.
//!
//! A block that cannot be read back is final. The archive remembers it, and whoever has read anything asks
//! [`Archive::check`] before it tells what it found.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// A file of so many bytes takes no further block. Fewer and larger ones take fewer descriptors, and give
/// room back later.
const SEGMENT_BYTES: u64 = 64 << 20;

/// A block of old versions could not be read back from the disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "old versions of keys cannot be read back from file {segment} of the archive in {}, at offset {offset}: \
     {source}. Check the disk, then start the node again: it makes its archive anew",
    .folder.display()
)]
pub struct Unreadable {
    /// Where the archive has its files.
    folder: PathBuf,
    /// Which of them, in the order in which they were made.
    segment: u64,
    offset: u32,
    source: Arc<io::Error>,
}

/// See the module. Copies share it.
#[derive(Clone, Debug)]
pub(super) struct Archive(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    site: Arc<Site>,
    segment_bytes: u64,
    end: Mutex<End>,
}

/// What every file has to know.
#[derive(Debug)]
struct Site {
    folder: PathBuf,
    /// The first block that could not be read.
    failure: OnceLock<Unreadable>,
}

/// Where the next block goes.
#[derive(Debug, Default)]
struct End {
    segment: Option<Arc<Segment>>,
    offset: u64,
    /// How many were made.
    segments: u64,
    /// Whether the disk did not take the last block.
    is_refused: bool,
}

/// One file.
#[derive(Debug)]
struct Segment {
    file: File,
    number: u64,
    site: Arc<Site>,
}

/// Where a block is. The last one in a file that goes takes the file with it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    segment: Arc<Segment>,
    offset: u32,
    length: u32,
    checksum: u32,
}

impl Archive {
    /// An archive that has its files in this folder. The first is made for the first block.
    pub(super) fn new(folder: PathBuf) -> Archive {
        Archive::with_segments(folder, SEGMENT_BYTES)
    }

    /// The same, with files of so many bytes.
    pub(super) fn with_segments(folder: PathBuf, segment_bytes: u64) -> Archive {
        let site = Arc::new(Site { folder, failure: OnceLock::new() });
        Archive(Arc::new(Shared { site, segment_bytes, end: Mutex::default() }))
    }

    /// Adds a block, and tells where it is. `None` where the disk does not take it: it has to stay in memory.
    pub(super) fn keep(&self, block: &[u8]) -> Option<Place> {
        let Shared { site, segment_bytes, end } = &*self.0;
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = end.append(block, site, *segment_bytes);
        let was_refused = std::mem::replace(&mut end.is_refused, kept.is_err());
        let folder = site.folder.display();
        match kept {
            Ok(place) => {
                if was_refused {
                    tracing::info!(%folder, "old versions of keys go to the disk again");
                }
                Some(place)
            }
            Err(error) => {
                if !was_refused {
                    tracing::warn!(
                        %folder, %error,
                        "the disk takes no old versions of keys: they stay in memory; make room on it"
                    );
                }
                None
            }
        }
    }

    /// Whether every block that was looked for could be read.
    pub(super) fn check(&self) -> Result<(), Unreadable> {
        self.0.site.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }
}

impl End {
    fn append(&mut self, block: &[u8], site: &Arc<Site>, segment_bytes: u64) -> io::Result<Place> {
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        let segment = match &self.segment {
            Some(segment) if self.offset < segment_bytes => segment,
            _ => {
                let file = tempfile::tempfile_in(&site.folder)?;
                (self.segments, self.offset) = (self.segments + 1, 0);
                self.segment.insert(Arc::new(Segment { file, number: self.segments, site: site.clone() }))
            }
        };
        let offset = u32::try_from(self.offset).map_err(io::Error::other)?;
        segment.file.write_all_at(block, self.offset)?;
        self.offset += u64::from(length);
        Ok(Place { segment: segment.clone(), offset, length, checksum: crc_fast::crc32_iscsi(block) })
    }
}

impl Place {
    /// How many bytes the block has.
    pub(super) fn length(&self) -> usize {
        self.length as usize
    }

    /// The place of the block's end, which is `rest`.
    pub(super) fn end(&self, rest: &[u8]) -> Place {
        // It is no longer than the block.
        let length = rest.len() as u32;
        let (segment, offset) = (self.segment.clone(), self.offset + (self.length - length));
        Place { segment, offset, length, checksum: crc_fast::crc32_iscsi(rest) }
    }

    /// Adds the block to `record`.
    pub(super) fn read(&self, record: &mut Vec<u8>) -> Result<(), Unreadable> {
        let before = record.len();
        record.resize(before + self.length(), 0);
        let block = &mut record[before..];
        let read = self.segment.file.read_exact_at(block, u64::from(self.offset));
        let checked = read.and_then(|()| {
            let damage =
                || io::Error::new(io::ErrorKind::InvalidData, "it holds other bytes than were written");
            if crc_fast::crc32_iscsi(block) == self.checksum { Ok(()) } else { Err(damage()) }
        });
        checked.map_err(|error| {
            record.truncate(before);
            let Segment { number, site, .. } = &*self.segment;
            let failure = Unreadable {
                folder: site.folder.clone(),
                segment: *number,
                offset: self.offset,
                source: Arc::new(error),
            };
            // The first one stays.
            let _ = site.failure.set(failure.clone());
            failure
        })
    }
}

#[cfg(test)]
impl Archive {
    /// How many files there are.
    pub(super) fn segments(&self) -> usize {
        Arc::strong_count(&self.0.site) - 1
    }

    /// Damages the byte at `offset` of the newest file.
    pub(super) fn damage(&self, offset: u64) {
        let end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        let file = &end.segment.as_ref().expect("there is one").file;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("it is there");
        file.write_all_at(&[!byte[0]], offset).expect("there is room");
    }
}
