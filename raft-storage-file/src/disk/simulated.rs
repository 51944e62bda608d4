//! A disk in memory that can lose power after any call, fill up, or fail.
//!
//! It keeps two images of everything: what a program sees, and what is durable. A crash makes a new disk
//! out of the durable one and, sector by sector and name by name, of as much of the rest as is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, Lock};

const SECTOR_BYTES: usize = 512;

/// What a crash does with what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// All of it reached the disk. So it is, too, when only the process dies.
    Kept,
    /// None of it did.
    Dropped,
    /// Each sector and each change of a name did or did not, as this seed says.
    Torn(u64),
}

/// How many calls of each kind that reaches the disk were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Writes into files.
    pub writes: u64,
    /// Flushes of files.
    pub syncs: u64,
    /// Flushes of folders.
    pub folder_syncs: u64,
    /// Files made, renamed, removed, or changed in size.
    pub changes: u64,
}

impl Calls {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.writes + self.syncs + self.folder_syncs + self.changes
    }
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since their folder was flushed, in order.
    changes: Vec<Change>,
    locked: BTreeSet<PathBuf>,
    calls: Calls,
    fail_after: Option<(u64, io::ErrorKind)>,
    sync_fails_once: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ, or may.
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
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

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// What was called so far.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// After this many more calls that change something, every such call fails and changes nothing.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fail_after = Some((state.calls.total() + calls, kind));
    }

    /// The next flush of a file fails, and those after it succeed: as a system does that has marked the
    /// pages clean.
    pub fn fail_next_sync(&self) {
        self.state().sync_fails_once = true;
    }

    /// The disk as it is found after a crash now. This one is left as it is.
    pub fn crash(&self, unflushed: Unflushed) -> SimulatedDisk {
        let state = self.state();
        let mut random = fastrand::Rng::with_seed(match unflushed {
            Unflushed::Torn(seed) => seed,
            Unflushed::Kept | Unflushed::Dropped => 0,
        });
        let mut survives = || match unflushed {
            Unflushed::Kept => true,
            Unflushed::Dropped => false,
            Unflushed::Torn(_) => random.bool(),
        };
        let mut names = state.durable_names.clone();
        for change in &state.changes {
            if survives() {
                change.apply(&mut names);
            }
        }
        let files = state.files.iter().map(|file| file.after_crash(&mut survives)).collect();
        let after = State {
            folders: state.folders.clone(),
            files,
            durable_names: names.clone(),
            names,
            ..State::default()
        };
        SimulatedDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// A file's bytes, as a program sees them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].seen.clone())
    }

    /// The names of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes a file behind everyone's back: damage.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Some(file) = state.names.get(path).copied() {
            let content = &mut state.files[file];
            change(&mut content.seen);
            content.durable = content.seen.clone();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it where that was asked for.
    fn call(&self, count: impl FnOnce(&mut Calls)) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some((at, kind)) = state.fail_after
            && state.calls.total() >= at
        {
            return Err(io::Error::new(kind, "the simulated disk was told to fail"));
        }
        count(&mut state.calls);
        Ok(state)
    }
}

impl Content {
    fn after_crash(&self, survives: &mut impl FnMut() -> bool) -> Content {
        let mut bytes = self.durable.clone();
        if self.seen.len() != bytes.len() && survives() {
            bytes.resize(self.seen.len(), 0);
        }
        for sector in &self.dirty {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.seen.len()).min(bytes.len());
            if start < end && survives() {
                bytes[start..end].copy_from_slice(&self.seen[start..end]);
            }
        }
        Content { seen: bytes.clone(), durable: bytes, dirty: BTreeSet::new() }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.state().folders.insert(folder.to_owned());
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.folders.contains(folder) {
            return Err(not_found(folder));
        }
        let everything = state.names.keys().chain(&state.folders);
        let inside = everything.filter(|path| path.parent() == Some(folder));
        let names = inside.filter_map(|path| path.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = *self.state().names.get(path).ok_or_else(|| not_found(path))?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call(|calls| calls.changes += 1)?;
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.change(Change::Create(path.to_owned(), file));
        Ok(Arc::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.changes += 1)?;
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.changes += 1)?;
        if !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.folder_syncs += 1)?;
        let changes = std::mem::take(&mut state.changes);
        let (flushed, left) = changes.into_iter().partition(|change| change.folder() == Some(folder));
        let flushed: Vec<Change> = flushed;
        flushed.iter().for_each(|change| change.apply(&mut state.durable_names));
        state.changes = left;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Ok(Lock::InUse { by: "simulated".to_owned() });
        }
        Ok(Lock::Held(Box::new(Held { disk: self.clone(), path: path.to_owned() })))
    }
}

impl State {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }
}

#[derive(Debug)]
struct Held {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl DiskFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let seen = &state.files[self.file].seen;
        let start = offset as usize;
        let bytes = seen.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.writes += 1)?;
        let content = &mut state.files[self.file];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if content.seen.len() < end {
            content.seen.resize(end, 0);
        }
        content.seen[start..end].copy_from_slice(bytes);
        content.dirty.extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.syncs += 1)?;
        if std::mem::take(&mut state.sync_fails_once) {
            state.files[self.file].dirty.clear();
            return Err(io::Error::other("the simulated disk could not flush"));
        }
        let content = &mut state.files[self.file];
        let seen = content.seen.len();
        content.durable.resize(seen, 0);
        for sector in std::mem::take(&mut content.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(seen);
            if start < end {
                content.durable[start..end].copy_from_slice(&content.seen[start..end]);
            }
        }
        Ok(())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.changes += 1)?;
        state.files[self.file].seen.resize(bytes as usize, 0);
        Ok(())
    }
}
