//! A disk in memory that can lose power after any call, fill up, fail, hang, or rot.
//!
//! It keeps two images of everything: what a program sees, and what is durable. A crash makes a new disk
//! out of the durable one and, sector by sector and name by name, of as much of the rest as is asked for.

mod flushes;
mod image;
mod uncached;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use raft_actor::runtime::BoxFuture;

use self::{
    flushes::{Flushes, Settled},
    image::{Change, Content, Image},
    uncached::{Uncached, UncachedFile},
};
use super::{Disk, DiskFile, Lock};

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
    /// Those of them that went past the cache.
    pub uncached_writes: u64,
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
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    image: Image,
    /// What the disk held before the first of the flushes that are under way: nothing that came after it
    /// has happened yet, as far as a power cut can tell.
    before_flush: Option<Image>,
    flushes: Flushes,
    locked: BTreeSet<PathBuf>,
    calls: Calls,
    fail_after: Option<(u64, io::ErrorKind)>,
    fail_once: Option<(u64, io::ErrorKind)>,
    sync_fails_once: bool,
    bytes_max: Option<u64>,
    uncached: Uncached,
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

    /// After this many more calls that change something, the next one fails, and those after it succeed. A
    /// flush that fails marks its pages clean, as systems do: they are seen, and never reach the disk.
    pub fn fail_once(&self, calls: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fail_once = Some((state.calls.total() + calls, kind));
    }

    /// The next flush of a file fails, and those after it succeed: as a system does that has marked the
    /// pages clean.
    pub fn fail_next_sync(&self) {
        self.state().sync_fails_once = true;
    }

    /// Past the cache it takes whole blocks of so many bytes only, in memory as on the disk; `None`: nothing.
    /// Blocks of 4 KiB until this is called. What is written so is flushed, or lost, as all else is.
    pub fn set_uncached_block(&self, bytes: Option<u64>) {
        self.state().uncached = Uncached(bytes);
    }

    /// How many bytes all files together may have. What would need more fails with
    /// [`io::ErrorKind::StorageFull`]; what is there can be written over. Default none: as many as they like.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.state().bytes_max = bytes_max;
    }

    /// From now on each flush of a file or a folder takes as long as a future of `takes`: ready at once, a
    /// timer's, or never. It must not touch this disk. Clones share it, a disk after a crash does not.
    ///
    /// The call returns at once; [`Disk::settled`] waits. Until then, a crash finds the disk as it was
    /// before the flush began, whatever was called since. So it is for storages opened by `open_inline`,
    /// which wait before they acknowledge anything; those with threads of their own do not.
    pub fn set_flush_time(&self, takes: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        self.state().flushes.takes = Some(Arc::new(takes));
    }

    /// The disk as it is found after a crash now. This one is left as it is.
    pub fn crash(&self, unflushed: Unflushed) -> SimulatedDisk {
        let state = self.state();
        let mut random = fastrand::Rng::with_seed(match unflushed {
            Unflushed::Torn(seed) => seed,
            Unflushed::Kept | Unflushed::Dropped => 0,
        });
        let image = state.before_flush.as_ref().unwrap_or(&state.image).after_crash(|| match unflushed {
            Unflushed::Kept => true,
            Unflushed::Dropped => false,
            Unflushed::Torn(_) => random.bool(),
        });
        let State { bytes_max, uncached, .. } = *state;
        let after = State { image, bytes_max, uncached, ..State::default() };
        SimulatedDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// A file's bytes, as a program sees them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.image.names.get(path).map(|file| state.image.file(*file).seen.clone())
    }

    /// The names of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().image.names.keys().cloned().collect()
    }

    /// Changes a file behind everyone's back, and durably: damage.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(mut bytes) = self.bytes(path) else { return };
        change(&mut bytes);
        self.with_file(path, |file| {
            file.seen.clone_from(&bytes);
            file.durable.clone_from(&bytes);
        });
    }

    /// Turns one bit of a file at rest. What was not flushed stays unflushed. Does nothing where the file is
    /// not there or ends before.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) {
        self.with_file(path, |file| file.flip(offset as usize, bit));
    }

    /// From now on the sector of a file in which `offset` lies cannot be read, until it is written.
    pub fn lose_sector(&self, path: &Path, offset: u64) {
        self.with_file(path, |file| file.lose_sector(offset as usize));
    }

    /// Changes the medium itself, whatever is under way.
    fn with_file(&self, path: &Path, change: impl Fn(&mut Content)) {
        let mut state = self.state();
        let State { image, before_flush, .. } = &mut *state;
        for image in before_flush.iter_mut().chain([image]) {
            if let Ok(file) = image.find(path) {
                change(image.file_mut(file));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it where that was asked for.
    fn call(&self, count: impl FnOnce(&mut Calls)) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let before = state.calls;
        if let Some((at, kind)) = state.fail_after
            && state.calls.total() >= at
        {
            return Err(io::Error::new(kind, "the simulated disk was told to fail"));
        }
        let at = state.calls.total();
        if let Some((_, kind)) = state.fail_once.take_if(|(call, _)| *call <= at) {
            count(&mut state.calls);
            if state.calls.syncs > before.syncs {
                state.sync_fails_once = true;
                return Ok(state);
            }
            return Err(io::Error::new(kind, "the simulated disk was told to fail once"));
        }
        count(&mut state.calls);
        Ok(state)
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Arc::make_mut(&mut self.state().image.folders).insert(folder.to_owned());
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let Image { folders, names, .. } = &state.image;
        if !folders.contains(folder) {
            return Err(not_found(folder));
        }
        let everything = names.keys().chain(folders.iter());
        let inside = everything.filter(|path| path.parent() == Some(folder));
        let names = inside.filter_map(|path| path.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state().image.find(path)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.call(|calls| calls.changes += 1)?.image.create(path);
        Ok(Arc::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn open_uncached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let Uncached(Some(block_bytes)) = self.state().uncached else { return Ok(None) };
        let file = self.open(path)?;
        Ok(Some(Arc::new(UncachedFile { disk: self.clone(), file, block_bytes })))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.changes += 1)?;
        state.image.find(from)?;
        state.image.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.changes += 1)?;
        state.image.find(path)?;
        state.image.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.call(|calls| calls.folder_syncs += 1)?;
        state.begin_flush();
        state.image.sync_folder(folder);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Ok(Lock::InUse { by: "simulated".to_owned() });
        }
        Ok(Lock::Held(Box::new(Held { disk: self.clone(), path: path.to_owned() })))
    }

    fn settled(&self) -> Option<BoxFuture<'static, ()>> {
        let is_under_way = self.state().before_flush.is_some();
        is_under_way.then(|| Box::pin(Settled(self.clone())) as BoxFuture<'static, ()>)
    }
}

impl State {
    fn begin_flush(&mut self) {
        if self.flushes.begin() && self.before_flush.is_none() {
            self.before_flush = Some(self.image.clone());
        }
    }

    /// Whether a file may become this long.
    fn check_room(&self, file: usize, bytes: u64) -> io::Result<()> {
        let more = bytes.saturating_sub(self.image.file(file).seen.len() as u64);
        match self.bytes_max {
            Some(bytes_max) if more > 0 && self.image.bytes() + more > bytes_max => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"))
            }
            _ => Ok(()),
        }
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
        Ok(self.disk.state().image.file(self.file).seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.state().image.file(self.file).read(offset as usize, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.writes += 1)?;
        state.check_room(self.file, offset + bytes.len() as u64)?;
        state.image.file_mut(self.file).write(offset as usize, bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.syncs += 1)?;
        if std::mem::take(&mut state.sync_fails_once) {
            state.image.file_mut(self.file).dirty.clear();
            return Err(io::Error::other("the simulated disk could not flush"));
        }
        state.begin_flush();
        state.image.file_mut(self.file).sync();
        Ok(())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.call(|calls| calls.changes += 1)?;
        state.check_room(self.file, bytes)?;
        state.image.file_mut(self.file).set_size(bytes as usize);
        Ok(())
    }
}
