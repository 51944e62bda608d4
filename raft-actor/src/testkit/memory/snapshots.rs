//! Snapshots in memory.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    storage::{SnapshotStorage, StorageError},
    types::{SnapshotMeta, SnapshotView},
};

/// Snapshots in memory that keep the contract of [`SnapshotStorage`], as far as memory can: they survive a
/// node, not a process.
///
/// Clones share their content, so a test restarts a node by giving it a clone. Nothing ever waits; a view is
/// written at once.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    whole: BTreeMap<u64, (SnapshotMeta, Bytes)>,
    /// The one that is being received.
    part: Option<(SnapshotMeta, Vec<u8>)>,
    /// How many were received and finished.
    received: u64,
}

impl MemorySnapshots {
    /// No snapshots.
    pub fn new() -> MemorySnapshots {
        MemorySnapshots::default()
    }

    /// All that are whole, in the order of what they cover.
    pub fn all(&self) -> Vec<SnapshotMeta> {
        let mut all: Vec<SnapshotMeta> =
            self.content().whole.values().map(|(snapshot, _)| snapshot.clone()).collect();
        all.sort_by_key(|snapshot| (snapshot.last.index, snapshot.id));
        all
    }

    /// How many came from other nodes.
    pub fn received(&self) -> u64 {
        self.content().received
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SnapshotStorage for MemorySnapshots {
    async fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError> {
        Ok(self.all().pop())
    }

    async fn write(
        &self,
        mut snapshot: SnapshotMeta,
        view: SnapshotView,
    ) -> Result<SnapshotMeta, StorageError> {
        let mut bytes = Vec::new();
        view(&mut bytes).map_err(|source| StorageError::Io {
            operation: "write a snapshot to",
            path: "memory".into(),
            source,
        })?;
        snapshot.size_bytes = bytes.len() as u64;
        self.content().whole.insert(snapshot.id, (snapshot.clone(), bytes.into()));
        Ok(snapshot)
    }

    async fn read_chunk(&self, id: u64, offset: u64, bytes_max: u64) -> Result<Option<Bytes>, StorageError> {
        let content = self.content();
        let Some((_, bytes)) = content.whole.get(&id) else { return Ok(None) };
        let start = offset.min(bytes.len() as u64) as usize;
        let end = offset.saturating_add(bytes_max).min(bytes.len() as u64) as usize;
        Ok(Some(bytes.slice(start..end)))
    }

    async fn receive_chunk(
        &self,
        snapshot: &SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Result<u64, StorageError> {
        let mut content = self.content();
        if content.whole.contains_key(&snapshot.id) {
            return Ok(snapshot.size_bytes);
        }
        let part = content.part.take_if(|(other, _)| other == snapshot);
        let (_, bytes) = content.part.insert(part.unwrap_or_else(|| (snapshot.clone(), Vec::new())));
        let have = bytes.len() as u64;
        if offset <= have && offset.saturating_add(data.len() as u64) <= snapshot.size_bytes {
            let known = ((have - offset) as usize).min(data.len());
            bytes.extend_from_slice(&data[known..]);
        }
        Ok(bytes.len() as u64)
    }

    async fn finish_receive(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        let mut content = self.content();
        if content.whole.contains_key(&snapshot.id) {
            return Ok(());
        }
        let is_whole = |(other, bytes): &mut (SnapshotMeta, Vec<u8>)| {
            other == snapshot && bytes.len() as u64 == snapshot.size_bytes
        };
        let Some((_, bytes)) = content.part.take_if(is_whole) else {
            let sentence = format!("the snapshot of {} has not been received whole", snapshot.last);
            return Err(StorageError::Contract(sentence));
        };
        content.whole.insert(snapshot.id, (snapshot.clone(), bytes.into()));
        content.received += 1;
        Ok(())
    }

    async fn open(&self, id: u64) -> Result<Box<dyn io::Read + Send>, StorageError> {
        match self.content().whole.get(&id) {
            Some((_, bytes)) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            None => Err(StorageError::Contract(format!("there is no snapshot {id:016x}"))),
        }
    }

    async fn retain(&self, ids: &[u64]) -> Result<(), StorageError> {
        let newest = self.all().pop().map(|snapshot| snapshot.id);
        self.content().whole.retain(|id, _| Some(*id) == newest || ids.contains(id));
        Ok(())
    }
}
