//! What is committed (Raft §5.3, §5.4.2), and what the state machine is given.

use std::collections::VecDeque;

use super::{Effect, LogReader, Raft, State};
use crate::{
    config::Config,
    mutants::{Mutant, is_on},
    types::{Entries, LogIndex, Time},
};

/// The window of what the state machine works on: the last index of each run of entries, its bytes, and when
/// it was given out. A machine that is slower than the log must not have the whole log waiting in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Applying {
    runs: VecDeque<(LogIndex, u64, Time)>,
    bytes: u64,
}

impl Applying {
    fn has_room(&self, config: &Config) -> bool {
        (self.runs.len() as u64) < config.inflight_max && self.bytes < config.inflight_bytes_max
    }

    fn given(&mut self, last: LogIndex, bytes: u64, now: Time) {
        self.runs.push_back((last, bytes, now));
        self.bytes += bytes;
    }

    /// Since when the machine has had what it has not seen all of.
    pub(super) fn since(&self) -> Option<Time> {
        self.runs.front().map(|(_, _, given)| *given)
    }

    /// The state machine has seen all up to `index`.
    pub(super) fn applied(&mut self, index: LogIndex) {
        while let Some((_, bytes, _)) = self.runs.pop_front_if(|(last, ..)| *last <= index) {
            self.bytes -= bytes;
        }
    }
}

impl Raft {
    /// Raft §5.4.2: the highest index that a quorum has flushed, if it is of the leader's own term. Entries
    /// of earlier terms are committed only along with it (Raft Figure 8).
    pub(super) fn advance_commit(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        if self.commit_index == self.log.last().index {
            // Nobody has more than is committed: so it is in most batches, where little is written at once.
            return;
        }
        let reached = self.membership().quorum_index(|node| {
            if node == self.id {
                // thesis §10.2.1: the leader's own disk is one vote, and may come last.
                self.log.flushed()
            } else {
                leadership.peers.get(&node).map_or(LogIndex(0), |peer| peer.match_index())
            }
        });
        if reached >= leadership.term_start || is_on(Mutant::CommitsEarlierTermsByCounting) {
            self.commit_to(reached);
        }
    }

    /// Never back.
    pub(super) fn commit_to(&mut self, index: LogIndex) {
        self.commit_index = self.commit_index.max(index);
    }

    /// Up to here the state machine may go: committed, and on this node's own disk, so that a crash cannot
    /// leave the machine ahead of the log.
    fn appliable(&self) -> LogIndex {
        self.commit_index.min(self.log.flushed())
    }

    /// Gives out what may be applied and was not yet, as the window allows: each index once, in order.
    pub(super) fn give_out(&mut self) {
        let appliable = self.appliable();
        if self.snapshots.is_restoring() {
            // Raft §7: what follows on a snapshot is applied to the state that it restores.
            return;
        }
        while self.given_index < appliable && !self.apply_reading && self.applying.has_room(&self.config) {
            let first = self.given_index.next();
            let count_max = self.config.append_entries_max;
            let bytes_max = self.config.append_bytes_max;
            if let Some((entries, bytes)) = self.log.slice(first, appliable, count_max, bytes_max) {
                self.give(entries, bytes);
                continue;
            }
            let last = self.log.last_uncached().min(appliable);
            self.apply_reading = true;
            let reader = LogReader::Applier;
            self.output.log_reads.push(Effect::ReadLog { reader, first, last, bytes_max });
        }
    }

    fn give(&mut self, entries: Entries, bytes: u64) {
        if let Some(last) = entries.last() {
            self.given_index = last.id.index;
            self.applying.given(last.id.index, bytes, self.now);
            self.snapshots.given_bytes += bytes;
            self.output.applies.push(Effect::Apply(entries));
        }
    }

    /// Committed entries were read back for the state machine.
    pub(super) fn take_apply_read(&mut self, entries: Entries) {
        self.apply_reading = false;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let is_next = first.id.index == self.given_index.next() && last.id.index <= self.appliable();
        if is_next && self.log.agrees_with(&entries) {
            let bytes = entries.size_bytes();
            self.give(entries, bytes);
        }
    }
}
