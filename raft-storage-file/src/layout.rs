//! The names of files and folders, and the sizes that everything is a multiple of.

use std::path::{Path, PathBuf};

use raft_actor::types::LogIndex;

/// Frames and headers begin on a multiple of this, so that no block that holds acknowledged data is
/// written again.
pub const BLOCK_BYTES: u64 = 4096;
/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// The version of the format that this crate writes. A folder of a higher major version is refused.
pub const FORMAT_MAJOR: u16 = 1;
/// Raised when something is added that an older program can do without.
pub const FORMAT_MINOR: u16 = 0;

/// Where things are in a store's folder.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The layout of the store in `folder`.
    pub fn of(folder: &Path) -> Layout {
        Layout { folder: folder.to_owned() }
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Held locked for as long as the store is open.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("LOCK")
    }

    /// Whose store this is.
    pub fn meta(&self) -> PathBuf {
        self.folder.join("META")
    }

    /// META while it is being written.
    pub fn meta_temporary(&self) -> PathBuf {
        self.folder.join("META.tmp")
    }

    /// Whose folder was set aside from here; made by [`crate::inspect::set_aside`] only.
    pub fn set_aside(&self) -> PathBuf {
        self.folder.join("SET-ASIDE")
    }

    /// Term and vote.
    pub fn hard_state(&self) -> PathBuf {
        self.folder.join("HARDSTATE")
    }

    /// The folder of segments.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// A segment: named by the index that comes first in it, and by its id, which is never used twice.
    pub fn segment(&self, first: LogIndex, id: u64) -> PathBuf {
        self.log().join(format!("{:020}-{id:016x}.seg", first.0))
    }

    /// A segment that is being made or waits to be used.
    pub fn spare(&self, number: u64) -> PathBuf {
        self.log().join(format!("spare-{number}"))
    }
}

/// What a name in the folder of segments stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogName {
    /// A segment.
    Segment {
        /// The first index, as the name says.
        first: LogIndex,
        /// The id, as the name says.
        id: u64,
    },
    /// A spare: holds nothing.
    Spare,
    /// What a repair has put aside: never read.
    PutAside,
    /// Something else, not ours.
    Unknown,
}

impl LogName {
    /// Reads a name in the folder of segments.
    pub fn parse(name: &str) -> LogName {
        if name.starts_with("spare-") {
            return LogName::Spare;
        }
        if name.contains(".seg.damaged-") {
            return LogName::PutAside;
        }
        let parts = name.strip_suffix(".seg").and_then(|stem| stem.split_once('-'));
        match parts.map(|(first, id)| (first.parse(), u64::from_str_radix(id, 16))) {
            Some((Ok(first), Ok(id))) => LogName::Segment { first: LogIndex(first), id },
            _ => LogName::Unknown,
        }
    }
}

/// `bytes` rounded up to whole blocks.
pub(crate) fn whole_blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}
