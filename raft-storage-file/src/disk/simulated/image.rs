//! What a disk in memory holds, twice: as a program sees it, and as a power cut would leave it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::not_found;

const SECTOR_BYTES: usize = 512;

/// Folders, files and names. A clone is cheap: each of them is copied once one side changes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) folders: Arc<BTreeSet<PathBuf>>,
    files: Vec<Arc<Content>>,
    pub(super) names: Arc<BTreeMap<PathBuf, usize>>,
    durable_names: Arc<BTreeMap<PathBuf, usize>>,
    /// Changes of names since their folder was flushed, in order.
    changes: Vec<Change>,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) seen: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors that differ, or may.
    pub(super) dirty: BTreeSet<usize>,
    /// Sectors that cannot be read.
    unreadable: BTreeSet<usize>,
}

/// A change of names.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Change::Create(path, _) | Change::Rename(_, path) | Change::Remove(path) => path.parent(),
        }
    }
}

impl Image {
    /// What is left after a power cut, where `survives` says of each sector and each change that was not
    /// flushed whether it reached the disk. Files without a name are gone.
    pub(super) fn after_crash(&self, mut survives: impl FnMut() -> bool) -> Image {
        let mut names = (*self.durable_names).clone();
        for change in &self.changes {
            if survives() {
                change.apply(&mut names);
            }
        }
        let mut files = Vec::new();
        for file in names.values_mut() {
            let content = &self.files[*file];
            files.push(match content.is_settled() {
                true => content.clone(),
                false => Arc::new(content.after_crash(&mut survives)),
            });
            *file = files.len() - 1;
        }
        let names = Arc::new(names);
        Image {
            folders: self.folders.clone(),
            files,
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| not_found(path))
    }

    pub(super) fn file(&self, file: usize) -> &Content {
        &self.files[file]
    }

    pub(super) fn file_mut(&mut self, file: usize) -> &mut Content {
        Arc::make_mut(&mut self.files[file])
    }

    pub(super) fn create(&mut self, path: &Path) -> usize {
        self.files.push(Arc::default());
        let file = self.files.len() - 1;
        self.change(Change::Create(path.to_owned(), file));
        file
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.names));
        self.changes.push(change);
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) {
        let changes = std::mem::take(&mut self.changes);
        let (flushed, left): (Vec<_>, _) =
            changes.into_iter().partition(|change| change.folder() == Some(folder));
        flushed.iter().for_each(|change| change.apply(Arc::make_mut(&mut self.durable_names)));
        self.changes = left;
    }

    /// The bytes of all files that have a name.
    pub(super) fn bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].seen.len() as u64).sum()
    }
}

fn sectors(start: usize, end: usize) -> std::ops::Range<usize> {
    start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)
}

/// As `resize` with zeros, and quick also where nothing is optimised.
fn set_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.truncate(length);
    bytes.extend_from_slice(&vec![0; length - bytes.len()]);
}

impl Content {
    pub(super) fn set_size(&mut self, bytes: usize) {
        set_length(&mut self.seen, bytes);
    }

    /// Whether a power cut changes nothing: such a file is shared, which makes many images cheap.
    fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.seen == self.durable
    }

    fn after_crash(&self, survives: &mut impl FnMut() -> bool) -> Content {
        let mut bytes = self.durable.clone();
        if self.seen.len() != bytes.len() && survives() {
            set_length(&mut bytes, self.seen.len());
        }
        for sector in &self.dirty {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.seen.len()).min(bytes.len());
            if start < end && survives() {
                bytes[start..end].copy_from_slice(&self.seen[start..end]);
            }
        }
        let unreadable = self.unreadable.clone();
        Content { seen: bytes.clone(), durable: bytes, dirty: BTreeSet::new(), unreadable }
    }

    pub(super) fn read(&self, start: usize, buffer: &mut [u8]) -> io::Result<()> {
        let end = start + buffer.len();
        let bytes = self.seen.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.unreadable.range(sectors(start, end)).next().is_some() {
            return Err(io::Error::other("the simulated disk cannot read a sector"));
        }
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write(&mut self, start: usize, bytes: &[u8]) {
        let end = start + bytes.len();
        if self.seen.len() < end {
            set_length(&mut self.seen, end);
        }
        self.seen[start..end].copy_from_slice(bytes);
        self.dirty.extend(sectors(start, end));
        // A disk gives a sector that it cannot read another place once it is written.
        self.unreadable.retain(|sector| !sectors(start, end).contains(sector));
    }

    pub(super) fn sync(&mut self) {
        let seen = self.seen.len();
        set_length(&mut self.durable, seen);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(seen);
            if start < end {
                self.durable[start..end].copy_from_slice(&self.seen[start..end]);
            }
        }
    }

    /// Turns a bit of what is on the disk, and of what a program sees.
    pub(super) fn flip(&mut self, offset: usize, bit: u32) {
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn lose_sector(&mut self, offset: usize) {
        self.unreadable.insert(offset / SECTOR_BYTES);
    }
}
