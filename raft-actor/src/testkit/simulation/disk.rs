//! What a simulated machine keeps its node on.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    runtime::{SharedRuntime, sleep},
    storage::{LogStorage, SnapshotStorage, StorageError},
    testkit::memory::{MemoryLog, MemorySnapshots},
    types::{Entries, LogId, LogIndex, LogState, LogWrite, NodeId},
};

/// The disk of one machine, with a node's storage on it.
///
/// # Contract
///
/// * What a storage has acknowledged is there after [`Disk::cut_power`], unless [`Trouble::BitFlips`] came
///   over it; then opening or recovering may fail instead, but nothing else may be given.
/// * Everything depends on the calls alone, chance on `chance`.
pub trait Disk: Send + Sync + 'static {
    /// Opens what it holds for this node, as a process does that starts.
    fn open(&self, node: NodeId, runtime: &SharedRuntime) -> Result<Storages, StorageError>;

    /// The machine has lost its power, or its process was killed: of what was not flushed, as much is left as
    /// `chance` says. What was opened before does no more harm.
    fn cut_power(&self, chance: u64);

    /// From now on there is trouble. False where this disk knows no such trouble.
    fn disturb(&self, trouble: Trouble, chance: u64) -> bool;

    /// The node on it refuses to start since its bits turned over: keeps what is intact, fenced by
    /// [`HardState::fenced`](crate::types::HardState::fenced). False where this disk cannot do that, or where
    /// nothing of it is to be saved; then the node is replaced. Default: it cannot.
    fn repair(&self) -> bool {
        false
    }

    /// The end of the trouble, but for what it has done.
    fn mend(&self);
}

/// What is opened on a disk.
pub struct Storages {
    /// Log and vote.
    pub log: Box<dyn LogStorage>,
    /// Snapshots.
    pub snapshots: Box<dyn SnapshotStorage>,
}

/// What can befall a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Every write and flush fails.
    Failing,
    /// There is no room.
    Full,
    /// The next flush fails, and those after it seem to succeed.
    FlushFailsOnce,
    /// Some bits of what it holds turn over. Nobody has anything open.
    BitFlips,
}

/// A disk that keeps a [`MemoryLog`]. Of a group of writes that is cut off, those are kept that came first.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    nodes: BTreeMap<NodeId, (MemoryLog, MemorySnapshots)>,
    failing: Option<io::ErrorKind>,
    fails_once: bool,
}

impl MemoryDisk {
    /// An empty one.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails where the disk does.
    fn use_it(&self) -> Result<(), StorageError> {
        let mut content = self.content();
        let once = std::mem::take(&mut content.fails_once).then_some(io::ErrorKind::Other);
        match content.failing.or(once) {
            None => Ok(()),
            Some(kind) => {
                let source = io::Error::new(kind, "the simulated disk was told to fail");
                Err(StorageError::Io { operation: "write", path: "memory".into(), source })
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, node: NodeId, runtime: &SharedRuntime) -> Result<Storages, StorageError> {
        let (log, snapshots) = self.content().nodes.entry(node).or_default().clone();
        let log = PiecemealLog { log, disk: self.clone(), runtime: runtime.clone(), failed: None };
        Ok(Storages { log: Box::new(log), snapshots: Box::new(snapshots) })
    }

    /// What is under way ends with its task.
    fn cut_power(&self, _chance: u64) {}

    fn disturb(&self, trouble: Trouble, _chance: u64) -> bool {
        let mut content = self.content();
        match trouble {
            Trouble::Failing => content.failing = Some(io::ErrorKind::Other),
            Trouble::Full => content.failing = Some(io::ErrorKind::StorageFull),
            Trouble::FlushFailsOnce => content.fails_once = true,
            Trouble::BitFlips => return false,
        }
        true
    }

    fn mend(&self) {
        let mut content = self.content();
        (content.failing, content.fails_once) = (None, false);
    }
}

/// A log whose writes reach the disk one by one.
struct PiecemealLog {
    log: MemoryLog,
    disk: MemoryDisk,
    runtime: SharedRuntime,
    failed: Option<String>,
}

impl PiecemealLog {
    fn use_disk(&mut self) -> Result<(), StorageError> {
        if let Some(first) = &self.failed {
            return Err(StorageError::Poisoned { first: first.clone() });
        }
        self.disk.use_it().inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

#[async_trait]
impl LogStorage for PiecemealLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        let mut state = self.log.recover().await?;
        let kept = (self.runtime.random() % 8).min(state.tail.len() as u64) as usize;
        state.tail = state.tail.slice(state.tail.len() - kept, state.tail.len());
        Ok(state)
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        for write in writes {
            self.use_disk()?;
            self.log.write(std::slice::from_ref(write)).await?;
            if writes.len() > 1 {
                sleep(&*self.runtime, Duration::from_micros(self.runtime.random() % 50)).await;
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.log.read(first, last, bytes_max).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.use_disk()?;
        self.log.purge(through).await
    }
}
