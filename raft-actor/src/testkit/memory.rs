//! In-memory twins of the seams.

use crate::{
    storage::{LogStorage, StorageError},
    types::{Entries, Entry, LogId, LogIndex, LogState, LogWrite},
};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};

/// A log in memory.
#[derive(Clone, Default, Debug)]
pub struct MemoryLog(Arc<Mutex<(LogState, Vec<Entry>)>>);
impl MemoryLog {
    /// New.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }
}
#[async_trait]
impl LogStorage for MemoryLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        let g = self.0.lock().unwrap();
        Ok(LogState::of(g.0.hard_state, g.1.clone()))
    }
    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let mut g = self.0.lock().unwrap();
        for w in writes {
            if let Some(h) = w.hard_state {
                g.0.hard_state = h;
            }
            if let Some(t) = w.truncate_from {
                g.1.truncate(t.0 as usize - 1);
            }
            if let Some(f) = w.entries.first() {
                assert_eq!(f.id.index.0 as usize, g.1.len() + 1);
            }
            g.1.extend_from_slice(&w.entries);
        }
        Ok(())
    }
    async fn read(&mut self, first: LogIndex, last: LogIndex, _: u64) -> Result<Entries, StorageError> {
        let g = self.0.lock().unwrap();
        Ok(g.1[first.0 as usize - 1..last.0 as usize].to_vec().into())
    }
    async fn purge(&mut self, _: LogId) -> Result<(), StorageError> {
        Ok(())
    }
}
