//! The newest entries, kept in memory in the chunks in which they were written. Reading is slicing: an
//! entry is cloned only where several small chunks are put together for one message.

use std::collections::VecDeque;

use crate::types::{Entries, Entry, LogIndex};

/// Consecutive, non-empty chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    chunks: VecDeque<Chunk>,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    /// The first entry's, kept here so that a search does not have to look into every chunk's memory.
    first: LogIndex,
    entries: Entries,
    /// [`Entries::size_bytes`], counted once.
    bytes: u64,
}

impl Chunk {
    fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// From `offset` on, at most `count_max` entries and `bytes_max` bytes, at least one entry; and its
    /// bytes.
    fn part(&self, offset: usize, count_max: usize, bytes_max: u64) -> (Entries, u64) {
        let count = count_max.min(self.entries.len() - offset);
        if count == self.entries.len() && self.bytes <= bytes_max {
            return (self.entries.clone(), self.bytes);
        }
        let mut bytes = 0;
        let mut taken = 0;
        for entry in &self.entries[offset..offset + count] {
            if taken > 0 && bytes + entry.size_bytes() > bytes_max {
                break;
            }
            bytes += entry.size_bytes();
            taken += 1;
        }
        (self.entries.slice(offset, offset + taken), bytes)
    }
}

impl Cache {
    /// The oldest index that is still here.
    pub(super) fn first(&self) -> Option<LogIndex> {
        self.chunks.front().map(|chunk| chunk.first)
    }

    /// Adds entries that come right after the last.
    pub(super) fn push(&mut self, entries: Entries) {
        let Some(first) = entries.first().map(|entry| entry.id.index) else { return };
        let bytes = entries.size_bytes();
        self.bytes += bytes;
        self.chunks.push_back(Chunk { first, entries, bytes });
    }

    /// Forgets `from` and all after it.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        while let Some(chunk) = self.chunks.pop_back() {
            self.bytes -= chunk.bytes;
            if chunk.last() < from {
                self.bytes += chunk.bytes;
                self.chunks.push_back(chunk);
                return;
            }
            if chunk.first < from {
                let kept = (from.0 - chunk.first.0) as usize;
                self.push(chunk.entries.slice(0, kept));
                return;
            }
        }
    }

    /// Forgets the oldest chunks while more than `bytes_max` is here, but nothing after `through`.
    pub(super) fn evict(&mut self, bytes_max: u64, through: LogIndex) {
        while self.bytes > bytes_max && self.chunks.front().is_some_and(|chunk| chunk.last() <= through) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.bytes -= chunk.bytes;
            }
        }
    }

    /// The number of the chunk that holds `index`, or would if it were here.
    fn place_of(&self, index: LogIndex) -> Option<usize> {
        // Nearly every reader wants the newest few, and there may be a million chunks.
        let newest = self.chunks.iter().rev().take(4).position(|chunk| chunk.first <= index);
        match newest {
            Some(back) => Some(self.chunks.len() - 1 - back),
            None => self.chunks.partition_point(|chunk| chunk.first <= index).checked_sub(1),
        }
    }

    /// Entries from `first` to at most `last`, at least one, within the limits; and their bytes. `None` where
    /// `first` is not here.
    pub(super) fn slice(
        &self,
        first: LogIndex,
        last: LogIndex,
        count_max: u64,
        bytes_max: u64,
    ) -> Option<(Entries, u64)> {
        if first > last {
            return None;
        }
        let place = self.place_of(first)?;
        let chunk = &self.chunks[place];
        if first > chunk.last() {
            return None;
        }
        let half = count_max / 2;
        let count_max = count_max.min(last.0 - first.0 + 1) as usize;
        let (head, head_bytes) = chunk.part((first.0 - chunk.first.0) as usize, count_max, bytes_max);
        let ends_inside = head[head.len() - 1].id.index < chunk.last();
        let is_enough =
            head.len() == count_max || head.len() as u64 >= half.max(1) || head_bytes >= bytes_max / 2;
        if ends_inside || is_enough || place + 1 == self.chunks.len() {
            return Some((head, head_bytes));
        }
        // Small neighbours travel together: one message, one apply call.
        let mut joined: Vec<Entry> = head.to_vec();
        let mut bytes = head_bytes;
        for entry in self.chunks.range(place + 1..).flat_map(|chunk| chunk.entries.iter()) {
            if joined.len() >= count_max || bytes + entry.size_bytes() > bytes_max {
                break;
            }
            bytes += entry.size_bytes();
            joined.push(entry.clone());
        }
        Some((joined.into(), bytes))
    }
}
