//! The log as the core sees it: where each term begins, which entries change the membership, the newest
//! entries themselves, and how far the disk has followed.
//!
//! `purged.index <= flushed <= last.index`, and `flushed < unwritten`. Appending and truncating change
//! memory only; [`Log::take_write`] then hands everything new to the disk as one write, and
//! [`Log::complete`] learns that it is there.

use std::collections::VecDeque;

use bytes::Bytes;

use super::cache::Cache;
use crate::{
    membership::Membership,
    mutants::{Mutant, is_on},
    types::{Entries, Entry, HardState, LogId, LogIndex, LogState, LogWrite, Payload, Term},
};

#[derive(Clone, Debug)]
pub(super) struct Log {
    purged: LogId,
    last: LogId,
    /// Where each term begins.
    terms: Vec<(LogIndex, Term)>,
    /// In force where the log holds no membership.
    base: Membership,
    base_id: LogId,
    memberships: Vec<(LogId, Membership)>,
    cache: Cache,
    /// Entries from `unwritten` on; they move to the cache when they are handed to the disk.
    fresh: Vec<Entry>,
    /// The same, where all of them came as one run that can be shared as it is. One of the two is empty.
    fresh_run: Entries,
    /// The first index that no write holds yet.
    unwritten: LogIndex,
    /// What the next write must truncate first.
    truncate_from: Option<LogIndex>,
    /// Writes under way: sequence, and up to where it and those before it bring the disk.
    writes: VecDeque<(u64, LogIndex)>,
    sequence: u64,
    flushed_sequence: u64,
    flushed: LogIndex,
}

impl Log {
    /// The log that a storage has recovered. All of it is on the disk.
    pub(super) fn new(state: LogState, base: Membership) -> Log {
        let mut cache = Cache::default();
        if state.tail.last().is_some_and(|entry| entry.id == state.last) {
            cache.push(state.tail);
        }
        Log {
            purged: state.purged,
            last: state.last,
            terms: state.terms,
            base,
            base_id: LogId::ZERO,
            memberships: state.memberships,
            cache,
            fresh: Vec::new(),
            fresh_run: Entries::empty(),
            unwritten: state.last.index.next(),
            truncate_from: None,
            writes: VecDeque::new(),
            sequence: 0,
            flushed_sequence: 0,
            flushed: state.last.index,
        }
    }

    pub(super) fn purged(&self) -> LogId {
        self.purged
    }

    pub(super) fn last(&self) -> LogId {
        self.last
    }

    pub(super) fn flushed(&self) -> LogIndex {
        self.flushed
    }

    /// The last write that is known to be flushed, and all before it.
    pub(super) fn flushed_sequence(&self) -> u64 {
        self.flushed_sequence
    }

    /// The newest membership in the log, committed or not (Raft §6), and its place.
    pub(super) fn membership(&self) -> (LogId, &Membership) {
        self.memberships.last().map_or((self.base_id, &self.base), |(id, membership)| (*id, membership))
    }

    /// The membership before the newest: in force again if that one is truncated.
    pub(super) fn previous_membership(&self) -> &Membership {
        let before = self.memberships.len().checked_sub(2).and_then(|place| self.memberships.get(place));
        before.map_or(&self.base, |(_, membership)| membership)
    }

    /// The term of the entry at `index`; none where it was purged, or is not there yet.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index < self.purged.index || index > self.last.index {
            return None;
        }
        let runs = self.terms.partition_point(|(first, _)| *first <= index);
        runs.checked_sub(1).map(|run| self.terms[run].1)
    }

    /// Whether this very entry is in the log.
    pub(super) fn holds(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The highest entry at or below `limit.index` whose term is at most `limit.term`.
    pub(super) fn highest_within(&self, limit: LogId) -> LogId {
        let by_index = self.terms.partition_point(|(first, _)| *first <= limit.index);
        let by_term = self.terms.partition_point(|(_, term)| *term <= limit.term);
        let runs = by_index.min(by_term);
        let end = self.terms.get(runs).map_or(self.last.index, |(first, _)| first.previous());
        let index = end.min(limit.index);
        match runs.checked_sub(1) {
            Some(run) if index > self.purged.index => LogId::new(self.terms[run].1, index),
            _ if self.purged.index <= limit.index && self.purged.term <= limit.term => self.purged,
            _ => LogId::ZERO,
        }
    }

    /// Adds an entry right after the last.
    pub(super) fn append(&mut self, entry: Entry) {
        self.note(&entry);
        self.begin_one_by_one();
        self.fresh.push(entry);
    }

    /// Adds commands right after the last, as entries of `term`.
    pub(super) fn append_commands(&mut self, term: Term, commands: Vec<Bytes>) {
        let first = self.last.index.next();
        let count = commands.len() as u64;
        if count == 0 {
            return;
        }
        self.note_term(LogId::new(term, first));
        let entries = (first.0..)
            .zip(commands)
            .map(|(index, command)| Entry::new(LogId::new(term, LogIndex(index)), Payload::Command(command)));
        self.begin_one_by_one();
        self.fresh.extend(entries);
        self.last = LogId::new(term, LogIndex(first.0 + count - 1));
    }

    /// Adds a run of entries right after the last.
    pub(super) fn append_run(&mut self, entries: Entries) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let is_member = |entry: &Entry| matches!(entry.payload, Payload::Membership(_));
        if first.id.term == last.id.term && !entries.iter().any(is_member) {
            // Nearly every run: nothing in it is to be looked at by itself.
            debug_assert_eq!(first.id.index, self.last.index.next(), "a hole in the log");
            self.note_term(first.id);
            self.last = last.id;
        } else {
            entries.iter().for_each(|entry| self.note(entry));
        }
        if self.fresh.is_empty() && self.fresh_run.is_empty() {
            self.fresh_run = entries;
            return;
        }
        self.begin_one_by_one();
        self.fresh.extend_from_slice(&entries);
    }

    /// What is not written yet is one run no longer.
    fn begin_one_by_one(&mut self) {
        if !self.fresh_run.is_empty() {
            self.fresh = std::mem::take(&mut self.fresh_run).to_vec();
        }
    }

    fn note(&mut self, entry: &Entry) {
        debug_assert_eq!(entry.id.index, self.last.index.next(), "a hole in the log");
        self.note_term(entry.id);
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.id, (**membership).clone()));
        }
        self.last = entry.id;
    }

    /// This entry comes next.
    fn note_term(&mut self, next: LogId) {
        if self.last.term != next.term || self.terms.is_empty() {
            self.terms.push((next.index, next.term));
        }
    }

    /// Forgets the entry at `from` and all after it.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        assert!(from > self.purged.index, "cannot truncate from {from}: purged through {}", self.purged);
        if from > self.last.index {
            return;
        }
        if from >= self.unwritten {
            let kept = (from.0 - self.unwritten.0) as usize;
            self.fresh.truncate(kept);
            self.fresh_run = self.fresh_run.slice(0, kept.min(self.fresh_run.len()));
        } else {
            self.fresh.clear();
            self.fresh_run = Entries::empty();
            self.cache.truncate(from);
            self.unwritten = from;
            self.truncate_from = Some(self.truncate_from.map_or(from, |earlier| earlier.min(from)));
        }
        while self.terms.last().is_some_and(|(first, _)| *first >= from) {
            self.terms.pop();
        }
        // The membership follows the log back to the one before (Raft §6).
        while self.memberships.last().is_some_and(|(id, _)| id.index >= from)
            && !is_on(Mutant::KeepsMembersThatWereTruncated)
        {
            self.memberships.pop();
        }
        let index = from.previous();
        let term = if index == self.purged.index {
            self.purged.term
        } else {
            self.terms.last().map_or(self.purged.term, |(_, term)| *term)
        };
        self.last = LogId::new(term, index);
        self.flushed = self.flushed.min(index);
        // A write under way will put entries on the disk that are no longer the log's. Its completion must
        // not be taken for that of others which come to stand in the same place, even with the same LogId.
        for (_, through) in &mut self.writes {
            if !is_on(Mutant::CountsOverwrittenEntriesAsFlushed) {
                *through = (*through).min(index);
            }
        }
    }

    /// The membership of a snapshot stands where the log holds none (Raft §7).
    pub(super) fn set_base(&mut self, membership: Membership, id: LogId) {
        self.base = membership;
        self.base_id = id;
    }

    /// Forgets the entries up to `through`, which is in the log and on the disk.
    pub(super) fn purge(&mut self, through: LogId) {
        debug_assert!(self.holds(through) && through.index <= self.flushed);
        let gone = self.memberships.partition_point(|(id, _)| id.index <= through.index);
        let newest = self.memberships.drain(..gone).next_back();
        if let Some((id, membership)) = newest {
            self.set_base(membership, id);
        }
        let runs = self.terms.partition_point(|(first, _)| *first <= through.index);
        self.terms.drain(..runs.saturating_sub(1));
        if let Some((first, _)) = self.terms.first_mut() {
            *first = (*first).max(through.index.next());
        }
        if self.last.index == through.index {
            self.terms.clear();
        } else if self.terms.get(1).is_some_and(|(next, _)| *next == through.index.next()) {
            self.terms.remove(0);
        }
        self.cache.purge(through.index);
        self.purged = through;
    }

    /// Begins anew after a snapshot that the log does not lead to (Raft §7). All of it must have been
    /// truncated, and the disk been told.
    pub(super) fn begin_after(&mut self, last: LogId) {
        debug_assert!(self.last.index == self.purged.index && self.truncate_from.is_none());
        self.terms.clear();
        self.memberships.clear();
        self.purged = last;
        self.last = last;
        self.flushed = last.index;
        self.unwritten = last.index.next();
    }

    /// Everything since the last write, as one write; none where nothing has changed.
    pub(super) fn take_write(&mut self, hard_state: Option<HardState>) -> Option<LogWrite> {
        let is_unchanged = self.fresh.is_empty() && self.fresh_run.is_empty();
        if is_unchanged && self.truncate_from.is_none() && hard_state.is_none() {
            return None;
        }
        let truncate_from = self.truncate_from.take();
        let entries = if self.fresh_run.is_empty() {
            Entries::from(std::mem::take(&mut self.fresh))
        } else {
            std::mem::take(&mut self.fresh_run)
        };
        self.cache.push(entries.clone());
        self.unwritten = self.last.index.next();
        self.sequence += 1;
        self.writes.push_back((self.sequence, self.last.index));
        Some(LogWrite { sequence: self.sequence, hard_state, truncate_from, entries })
    }

    /// The write of `sequence`, and all before it, are on the disk. False where that was known.
    pub(super) fn complete(&mut self, sequence: u64) -> bool {
        let before = self.flushed_sequence;
        while let Some((first, through)) = self.writes.front().copied() {
            if first > sequence {
                break;
            }
            self.writes.pop_front();
            self.flushed_sequence = first;
            self.flushed = self.flushed.max(through);
        }
        self.flushed_sequence > before
    }

    /// Whether the disk has done all that it was given.
    pub(super) fn is_idle(&self) -> bool {
        self.writes.is_empty()
    }

    /// Entries from `first` to at most `last` within the limits, and their bytes; none where `first` is no
    /// longer (or not yet) in memory.
    pub(super) fn slice(
        &self,
        first: LogIndex,
        last: LogIndex,
        count_max: u64,
        bytes_max: u64,
    ) -> Option<(Entries, u64)> {
        self.cache.slice(first, last, count_max, bytes_max)
    }

    /// Up to where entries must be read back from the disk: just before the oldest that is in memory.
    pub(super) fn last_uncached(&self) -> LogIndex {
        self.cache.first().map_or(self.unwritten, |first| first).previous()
    }

    /// Whether these are entries of the log as it is now, without a gap.
    pub(super) fn agrees_with(&self, entries: &[Entry]) -> bool {
        entries.iter().all(|entry| self.holds(entry.id))
            && entries.windows(2).all(|pair| pair[0].id.index.next() == pair[1].id.index)
    }

    /// Keeps at most `bytes_max` of entries in memory, but all that is not flushed: the rest can be read
    /// back.
    pub(super) fn evict(&mut self, bytes_max: u64) {
        self.cache.evict(bytes_max, self.flushed);
    }
}
