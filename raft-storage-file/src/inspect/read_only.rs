//! A disk on which nothing changes: what would be written is noted, and forgotten.
//!
//! So a folder is looked at by the very code that opens it, and that code cannot touch it.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::disk::{Disk, DiskFile, Lock};

/// What would have been done, each thing once, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Arc<Mutex<Vec<String>>>);

impl Changes {
    pub(super) fn told(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn note(&self, change: String) {
        let mut changes = self.lock();
        if !changes.contains(&change) {
            changes.push(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct ReadOnly {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) changes: Changes,
}

impl Disk for ReadOnly {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let (file, name, changes) = (Some(self.disk.open(path)?), name_of(path), self.changes.clone());
        Ok(Arc::new(Looked { file, name, changes }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Looked { file: None, name: name_of(path), changes: self.changes.clone() }))
    }

    fn rename(&self, _: &Path, to: &Path) -> io::Result<()> {
        self.changes.note(format!("put a file in the place of {}", name_of(to)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changes.note(format!("remove {}", name_of(path)));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        // A copy may come without the file, and then nobody holds it.
        match self.disk.open(path) {
            Ok(_) => self.disk.lock(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lock::Held(Box::new(()))),
            Err(error) => Err(error),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// A file that is there, or one that only was to be made.
#[derive(Debug)]
struct Looked {
    file: Option<Arc<dyn DiskFile>>,
    name: String,
    changes: Changes,
}

impl DiskFile for Looked {
    fn size(&self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(0), |file| file.size())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => file.read_at(offset, buffer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        if self.file.is_some() {
            self.changes.note(format!("write to {}", self.name));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
