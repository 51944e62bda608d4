//! In-memory twins of the seams.

mod snapshots;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

pub use self::snapshots::MemorySnapshots;
use crate::{
    storage::{LogStorage, StorageError},
    types::{Entries, Entry, HardState, LogId, LogIndex, LogState, LogWrite},
};

/// A log in memory that keeps the contract of [`LogStorage`], as far as memory can: it survives a node,
/// not a process.
///
/// Clones share their content, so a test restarts a node by giving it a clone. Appending a run of entries
/// shares the run and copies no entry. Nothing ever waits.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    incarnation: u64,
    hard_state: HardState,
    purged: LogId,
    last: LogId,
    /// The runs as they were appended, cut where they were truncated or purged. None is empty.
    runs: VecDeque<Entries>,
}

impl MemoryLog {
    /// A log in which nothing was ever written.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// The same, of this incarnation: as a storage has it that is made by chance. Without it the log tells 0,
    /// and nobody can tell it from another.
    pub fn with_incarnation(self, incarnation: u64) -> MemoryLog {
        self.content().incarnation = incarnation;
        self
    }

    /// What it holds, as `recover` would tell it.
    pub fn state(&self) -> LogState {
        self.content().state()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No code of ours panics while it holds the lock, and a test that does has failed anyway.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LogStorage for MemoryLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        Ok(self.state())
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let mut content = self.content();
        content.check(writes)?;
        for write in writes {
            content.write(write);
        }
        Ok(())
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.content().read(first, last, bytes_max)
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.content().purge(through)
    }
}

impl Content {
    fn state(&self) -> LogState {
        let mut state = LogState {
            incarnation: self.incarnation,
            hard_state: self.hard_state,
            purged: self.purged,
            ..LogState::default()
        };
        state.last = self.purged;
        for entry in self.runs.iter().flat_map(|run| run.iter()) {
            state.note(entry);
        }
        state.tail = join(self.runs.iter().cloned());
        state
    }

    /// Finds what breaks the contract before anything is changed. Looks at each run's ends only.
    fn check(&self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let mut last = self.last.index;
        for write in writes {
            if let Some(from) = write.truncate_from {
                if from <= self.purged.index {
                    let sentence = format!("truncation from {from}, but {} is purged", self.purged);
                    return Err(StorageError::Contract(sentence));
                }
                last = last.min(from.previous());
            }
            let (Some(one), Some(other)) = (write.entries.first(), write.entries.last()) else {
                continue;
            };
            let count = write.entries.len() as u64;
            if one.id.index != last.next() || other.id.index.0 != last.0 + count {
                let sentence = format!("entries {} to {} do not follow index {last}", one.id, other.id);
                return Err(StorageError::Contract(sentence));
            }
            last = other.id.index;
        }
        Ok(())
    }

    fn write(&mut self, write: &LogWrite) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.truncate(from);
        }
        if let Some(last) = write.entries.last() {
            self.last = last.id;
            self.runs.push_back(write.entries.clone());
        }
    }

    fn truncate(&mut self, from: LogIndex) {
        while self.runs.back().is_some_and(|run| run[0].id.index >= from) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            let kept = (from.0 - run[0].id.index.0).min(run.len() as u64) as usize;
            *run = run.slice(0, kept);
        }
        self.last = self.runs.back().and_then(|run| run.last()).map_or(self.purged, |entry| entry.id);
    }

    /// The number of the run that holds `index`, which is held.
    fn run_of(&self, index: LogIndex) -> usize {
        self.runs.partition_point(|run| run[0].id.index <= index) - 1
    }

    fn read(&self, first: LogIndex, last: LogIndex, bytes_max: u64) -> Result<Entries, StorageError> {
        if first <= self.purged.index || first > last || last > self.last.index {
            return Err(StorageError::Contract(format!(
                "read of {first} to {last}; the log goes from after {} to {}",
                self.purged, self.last
            )));
        }
        let mut bytes = 0_u64;
        let mut parts = Vec::new();
        for run in self.runs.range(self.run_of(first)..) {
            let start = first.0.saturating_sub(run[0].id.index.0) as usize;
            let mut end = start;
            for entry in &run[start..] {
                bytes = bytes.saturating_add(entry.size_bytes());
                let is_first = end == start && parts.is_empty();
                if entry.id.index > last || (bytes > bytes_max && !is_first) {
                    break;
                }
                end += 1;
            }
            if end > start {
                parts.push(run.slice(start, end));
            }
            if end < run.len() {
                break;
            }
        }
        Ok(join(parts.into_iter()))
    }

    fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        if through.index <= self.purged.index {
            return Ok(());
        }
        if through.index <= self.last.index {
            let run = &self.runs[self.run_of(through.index)];
            let held = run[(through.index.0 - run[0].id.index.0) as usize].id;
            if held != through {
                let sentence = format!("purge was asked for {through}, but the entry there is {held}");
                return Err(StorageError::Contract(sentence));
            }
        } else {
            // Nothing that is held is left: what was purged stands in for all of it.
            self.last = through;
        }
        self.purged = through;
        while self
            .runs
            .front()
            .and_then(|run| run.last())
            .is_some_and(|entry| entry.id.index <= through.index)
        {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            let gone = (through.index.0 + 1).saturating_sub(run[0].id.index.0) as usize;
            *run = run.slice(gone, run.len());
        }
        Ok(())
    }
}

/// One run of many. Copies no entry where there is only one.
fn join(mut runs: impl Iterator<Item = Entries>) -> Entries {
    let Some(first) = runs.next() else {
        return Entries::empty();
    };
    let Some(second) = runs.next() else {
        return first;
    };
    let rest = runs.flat_map(|run| run.to_vec());
    first.iter().chain(second.iter()).cloned().chain(rest).collect::<Vec<Entry>>().into()
}
