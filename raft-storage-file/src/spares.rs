//! Files made ready before they are needed: zeroed and flushed, in the background.
//!
//! A segment that holds nothing any more gives its file: it has its place on the disk already, so a log that
//! is purged in time asks the file system for nothing new.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use raft_actor::storage::StorageError;

use crate::{error::io_error, spare::Spare, store::Base};

/// The next segment's file.
#[derive(Debug)]
pub(crate) struct Spares {
    base: Base,
    number: u64,
    making: Option<JoinHandle<Result<Option<Spare>, StorageError>>>,
    /// The file that is being made.
    path: PathBuf,
    /// A file of a segment that was let go of, and its size. Not zeroed yet.
    used: Option<(PathBuf, u64)>,
    cancelled: Arc<AtomicBool>,
}

impl Spares {
    pub(crate) fn new(base: Base) -> Spares {
        let (path, cancelled) = (PathBuf::new(), Arc::default());
        Spares { base, number: 0, making: None, path, used: None, cancelled }
    }

    fn next_path(&mut self) -> PathBuf {
        self.number += 1;
        self.base.layout.spare(self.number)
    }

    /// Takes the file of a segment that holds nothing any more, or removes it where it is not of the size
    /// that is `wanted`, or where one waits already. The folder is for the caller to flush.
    pub(crate) fn recycle(&mut self, path: &Path, bytes: u64, wanted: u64) -> Result<(), StorageError> {
        if self.used.is_some() || bytes != wanted {
            return self.base.disk.remove(path).map_err(io_error("remove", path));
        }
        let spare = self.next_path();
        self.base.disk.rename(path, &spare).map_err(io_error("rename", path))?;
        self.used = Some((spare, bytes));
        Ok(())
    }

    /// Begins to make one, in the background.
    pub(crate) fn prepare(&mut self, capacity: u64) {
        if !self.base.options.spare_in_background || self.making.is_some() {
            return;
        }
        let used = self.used.take_if(|(_, bytes)| *bytes == capacity).map(|(path, _)| path);
        let is_used = used.is_some();
        self.path = used.unwrap_or_else(|| self.next_path());
        let (base, path, cancelled) = (self.base.clone(), self.path.clone(), self.cancelled.clone());
        let make = move || {
            let cancelled = || cancelled.load(Ordering::Relaxed);
            match is_used {
                true => Spare::again(&*base.disk, &path, capacity, cancelled),
                false => Spare::make(&*base.disk, &path, capacity, true, cancelled),
            }
        };
        match std::thread::Builder::new().name("raft-log-spare".to_owned()).spawn(make) {
            Ok(thread) => self.making = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread could be had to zero the next segment"),
        }
    }

    /// Whether one waits to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.making.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The one that is ready, or else one made now. A write never waits for zeroes that are still being
    /// written.
    pub(crate) fn take(&mut self, needed: u64, capacity: u64) -> Result<Spare, StorageError> {
        if let Some(thread) = self.making.take_if(|thread| thread.is_finished()) {
            match thread.join() {
                Ok(Ok(Some(spare))) if spare.capacity >= needed => return Ok(spare),
                Ok(Ok(_)) => {
                    tracing::debug!("the next segment that was made ready is too small for this write")
                }
                Ok(Err(error)) => tracing::warn!(%error, "the next segment could not be made ready"),
                Err(_) => tracing::warn!("the thread that makes the next segment ready has panicked"),
            }
            // What could not be used must not take up room; what cannot be removed now is removed on opening.
            let _ = self.base.disk.remove(&self.path);
        }
        if self.base.options.spare_in_background {
            self.number += 1;
            return self.base.make_spare(self.number, capacity, false);
        }
        if let Some((path, bytes)) = self.used.take_if(|(_, bytes)| *bytes == capacity)
            && let Some(spare) = Spare::again(&*self.base.disk, &path, bytes, || false)?
        {
            return Ok(spare);
        }
        self.number += 1;
        self.base.make_spare(self.number, capacity, true)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.making.take() {
            // Whatever it made is empty, and is removed when the folder is opened again.
            let _ = thread.join();
        }
    }
}
