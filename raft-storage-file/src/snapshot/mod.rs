//! Snapshots in a folder: one file each, written aside, flushed, read back, and only then given its name.
//!
//! A file is a header, chunks of 256 KiB, each with its checksum, and a footer with the totals. So any part
//! can be read and checked without the rest, and a transfer that broke off goes on after the last whole
//! chunk. What has its name is whole; what is not whole is called `.part`.

mod file;
mod part;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use raft_actor::{
    mutants::inherited,
    storage::{SnapshotStorage, StorageError},
    types::{LogIndex, SnapshotMeta, SnapshotView},
};
use tokio::sync::oneshot;

use self::{
    file::{SnapshotFile, SnapshotReader},
    part::Part,
};
use crate::{
    disk::{Disk, RealDisk},
    error::io_error,
    identity::Identity,
};

/// The snapshots of one node, in a folder of their own (not the log's).
///
/// Keeps the contract of [`SnapshotStorage`]. Each call works on a thread of its own, so no caller's thread
/// ever waits for the disk. The log's folder beside it is what keeps a second process out.
#[derive(Clone, Debug)]
pub struct FileSnapshots(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
    /// Whether calls work on threads of their own, and not on the caller's.
    on_threads: bool,
    /// The snapshot that is being received.
    receiving: Mutex<Option<Part>>,
}

impl FileSnapshots {
    /// The snapshots in `folder`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`] where the folder cannot be made.
    pub fn open(folder: impl AsRef<Path>, identity: Identity) -> Result<FileSnapshots, StorageError> {
        FileSnapshots::open_on(Arc::new(RealDisk), folder, identity)
    }

    /// As [`FileSnapshots::open`], on a disk of your own.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: impl AsRef<Path>,
        identity: Identity,
    ) -> Result<FileSnapshots, StorageError> {
        FileSnapshots::open_where(disk, folder.as_ref(), identity, true)
    }

    /// As [`FileSnapshots::open_on`], without any thread, for simulators; see
    /// [`FileLog::open_inline`](crate::FileLog::open_inline).
    pub fn open_inline(
        disk: Arc<dyn Disk>,
        folder: impl AsRef<Path>,
        identity: Identity,
    ) -> Result<FileSnapshots, StorageError> {
        FileSnapshots::open_where(disk, folder.as_ref(), identity, false)
    }

    fn open_where(
        disk: Arc<dyn Disk>,
        folder: &Path,
        identity: Identity,
        on_threads: bool,
    ) -> Result<FileSnapshots, StorageError> {
        let path = folder.to_owned();
        disk.create_folder(&path).map_err(io_error("make folder", &path))?;
        let receiving = Mutex::new(None);
        Ok(FileSnapshots(Arc::new(Folder { disk, path, identity, on_threads, receiving })))
    }

    /// Does `work` on a thread of its own, or here and now.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let folder = self.0.clone();
        if !folder.on_threads {
            let done = work(&folder);
            if let Some(settled) = folder.disk.settled() {
                settled.await;
            }
            return done;
        }
        let (reply, answer) = oneshot::channel();
        let run = move || {
            // A caller that has gone away needs no answer; what it asked for is done all the same.
            let _ = reply.send(work(&folder));
        };
        let thread = std::thread::Builder::new().name("raft-snapshot".to_owned()).spawn(inherited(run));
        drop(thread.map_err(io_error("start a thread for", &self.0.path))?);
        let panicked =
            || StorageError::Poisoned { first: "a thread that works on snapshots died".to_owned() };
        answer.await.map_err(|_| panicked())?
    }
}

#[async_trait]
impl SnapshotStorage for FileSnapshots {
    async fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError> {
        self.work(Folder::recover).await
    }

    async fn write(&self, snapshot: SnapshotMeta, view: SnapshotView) -> Result<SnapshotMeta, StorageError> {
        self.work(move |folder| folder.write(snapshot, view)).await
    }

    async fn read_chunk(&self, id: u64, offset: u64, bytes_max: u64) -> Result<Option<Bytes>, StorageError> {
        self.work(move |folder| match folder.find(id)? {
            Some(path) => folder.open_file(&path)?.read(offset, bytes_max).map(Some),
            None => Ok(None),
        })
        .await
    }

    async fn receive_chunk(
        &self,
        snapshot: &SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Result<u64, StorageError> {
        let snapshot = snapshot.clone();
        self.work(move |folder| folder.receive(&snapshot, offset, &data)).await
    }

    async fn finish_receive(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        let snapshot = snapshot.clone();
        self.work(move |folder| folder.finish(&snapshot)).await
    }

    async fn open(&self, id: u64) -> Result<Box<dyn io::Read + Send>, StorageError> {
        self.work(move |folder| {
            let path = folder.find(id)?.ok_or_else(|| no_such(id))?;
            let reader: Box<dyn io::Read + Send> = Box::new(SnapshotReader::new(folder.open_file(&path)?));
            Ok(reader)
        })
        .await
    }

    async fn retain(&self, ids: &[u64]) -> Result<(), StorageError> {
        let ids = ids.to_vec();
        self.work(move |folder| folder.retain(&ids)).await
    }
}

/// Reads a snapshot from its beginning to its end, and says whose it is.
pub(crate) fn look_at(disk: &dyn Disk, path: &Path) -> Result<(Identity, SnapshotMeta), StorageError> {
    let file = SnapshotFile::open(disk, path, None)?;
    file.verify()?;
    Ok((file.owner, file.snapshot))
}

fn no_such(id: u64) -> StorageError {
    StorageError::Contract(format!("there is no snapshot {id:016x}"))
}

/// A snapshot's name: by the last index that it covers, and its id.
fn name_of(snapshot: &SnapshotMeta) -> String {
    format!("{:020}-{:016x}.snap", snapshot.last.index.0, snapshot.id)
}

/// The index and the id in a name, if it is a snapshot's.
fn parse(name: &str) -> Option<(LogIndex, u64)> {
    let (index, id) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((LogIndex(index.parse().ok()?), u64::from_str_radix(id, 16).ok()?))
}

impl Folder {
    /// All snapshots that are whole, ascending by what they cover.
    fn names(&self) -> Result<Vec<(LogIndex, u64, String)>, StorageError> {
        let names = self.disk.list(&self.path).map_err(io_error("list", &self.path))?;
        let mut known: Vec<_> =
            names.into_iter().filter_map(|name| parse(&name).map(|(index, id)| (index, id, name))).collect();
        known.sort_unstable();
        Ok(known)
    }

    fn find(&self, id: u64) -> Result<Option<PathBuf>, StorageError> {
        let names = self.names()?.into_iter();
        Ok(names.into_iter().find(|(_, other, _)| *other == id).map(|(_, _, name)| self.path.join(name)))
    }

    fn open_file(&self, path: &Path) -> Result<SnapshotFile, StorageError> {
        SnapshotFile::open(&*self.disk, path, Some(self.identity))
    }

    /// Names are flushed before they are believed: the log is purged on the strength of what is found here.
    fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError> {
        let names = self.disk.list(&self.path).map_err(io_error("list", &self.path))?;
        for name in names.iter().filter(|name| name.starts_with("write-") && name.ends_with(".part")) {
            let path = self.path.join(name);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        self.disk.sync_folder(&self.path).map_err(io_error("flush folder", &self.path))?;
        let Some((_, _, name)) = self.names()?.pop() else { return Ok(None) };
        Ok(Some(self.open_file(&self.path.join(name))?.snapshot))
    }

    fn write(&self, snapshot: SnapshotMeta, view: SnapshotView) -> Result<SnapshotMeta, StorageError> {
        let path = self.path.join(format!("write-{:016x}.part", snapshot.id));
        let written = (|| {
            let mut part = Part::create(&*self.disk, &path, self.identity, snapshot)?;
            view(&mut part).map_err(io_error("write a snapshot to", &path))?;
            part.seal()
        })();
        match written {
            Ok(snapshot) => self.keep(&path, &snapshot).map(|()| snapshot),
            Err(error) => {
                // What cannot be removed now is removed on the next start.
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Reads it back, and gives it its name.
    fn keep(&self, path: &Path, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        self.open_file(path)?.verify()?;
        let name = self.path.join(name_of(snapshot));
        self.disk.rename(path, &name).map_err(io_error("rename", path))?;
        self.disk.sync_folder(&self.path).map_err(io_error("flush folder", &self.path))
    }

    fn part_path(&self, id: u64) -> PathBuf {
        self.path.join(format!("receive-{id:016x}.part"))
    }

    fn receive(&self, snapshot: &SnapshotMeta, offset: u64, data: &[u8]) -> Result<u64, StorageError> {
        if self.find(snapshot.id)?.is_some() {
            return Ok(snapshot.size_bytes);
        }
        // No code of others runs under this lock, and an error in it ends the node.
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        if receiving.as_ref().is_none_or(|part| part.snapshot != *snapshot) {
            *receiving = Some(self.part_of(snapshot)?);
        }
        let Some(part) = receiving.as_mut() else { return Ok(0) };
        let have = part.bytes();
        let end = offset.saturating_add(data.len() as u64);
        if offset <= have && end > have && end <= snapshot.size_bytes {
            part.append(&data[(have - offset) as usize..]).map_err(io_error("write", &part.path))?;
        }
        Ok(part.bytes())
    }

    /// The part that was left by an earlier run, or a new one in the place of all others.
    fn part_of(&self, snapshot: &SnapshotMeta) -> Result<Part, StorageError> {
        let path = self.part_path(snapshot.id);
        let names = self.disk.list(&self.path).map_err(io_error("list", &self.path))?;
        let mut found = None;
        for name in names.iter().filter(|name| name.starts_with("receive-") && name.ends_with(".part")) {
            let other = self.path.join(name);
            if other == path {
                found = Part::resume(&*self.disk, &path, self.identity, snapshot)?;
            } else {
                self.disk.remove(&other).map_err(io_error("remove", &other))?;
            }
        }
        match found {
            Some(part) => Ok(part),
            None => Part::create(&*self.disk, &path, self.identity, snapshot.clone()),
        }
    }

    fn finish(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        if self.find(snapshot.id)?.is_some() {
            return Ok(());
        }
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let is_whole = |part: &mut Part| part.snapshot == *snapshot && part.bytes() == snapshot.size_bytes;
        let Some(part) = receiving.take_if(is_whole) else {
            let sentence = format!("the snapshot of {} has not been received whole", snapshot.last);
            return Err(StorageError::Contract(sentence));
        };
        let path = part.path.clone();
        part.seal()?;
        self.keep(&path, snapshot)
    }

    fn retain(&self, ids: &[u64]) -> Result<(), StorageError> {
        let mut names = self.names()?;
        names.pop();
        for (_, _, name) in names.into_iter().filter(|(_, id, _)| !ids.contains(id)) {
            let path = self.path.join(name);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }
}
