//! A follower takes its leader's entries in (Raft §5.3).

use std::collections::{BTreeMap, VecDeque};

use super::{Raft, log::Log};
use crate::{
    message::{AppendEntries, AppendEntriesReply, AppendOutcome, Message, ReadId},
    mutants::{Mutant, is_on},
    types::{LogId, LogIndex, NodeId, Role, Time},
};

/// What a node keeps about the leader of its term.
#[derive(Clone, Debug, Default)]
pub(super) struct Following {
    /// Up to here the leader of this term has shown that the logs are the same.
    verified: LogIndex,
    /// The leader's latest round of heartbeats.
    round: u64,
    /// Up to here every full voter is known to have the log, as leaders have told a witness.
    pub(super) held_index: LogIndex,
    /// The leader is to be told `match_index`.
    pub(super) ack_due: bool,
    /// Reads that the leader was asked about, and when.
    reads: BTreeMap<ReadId, Time>,
    /// The same, oldest first; its first is always one that still waits.
    reads_by_age: VecDeque<(Time, ReadId)>,
}

impl Following {
    /// A new term has begun.
    pub(super) fn forget_leader(&mut self) {
        self.verified = LogIndex(0);
        self.round = 0;
        self.ack_due = false;
    }

    /// What may be acknowledged: the same as the leader's, and on the disk.
    pub(super) fn match_index(&self, log: &Log) -> LogIndex {
        if is_on(Mutant::AcksBeforeTheFlush) { self.verified } else { self.verified.min(log.flushed()) }
    }

    /// Up to here the logs are known to be the same.
    pub(super) fn verified_to(&mut self, index: LogIndex) {
        self.verified = self.verified.max(index);
    }

    /// The leader is asked about a read.
    pub(super) fn carry_read(&mut self, id: ReadId, now: Time) {
        self.reads.insert(id, now);
        self.reads_by_age.push_back((now, id));
    }

    /// The read is settled; tells since when it has waited, or none where it was settled before.
    pub(super) fn settle_read(&mut self, id: ReadId) -> Option<Time> {
        let waited_since = self.reads.remove(&id);
        while self.reads_by_age.front().is_some_and(|(_, id)| !self.reads.contains_key(id)) {
            self.reads_by_age.pop_front();
        }
        waited_since
    }

    /// All reads that still wait, which are settled now.
    pub(super) fn settle_reads(&mut self) -> impl Iterator<Item = ReadId> + use<> {
        self.reads_by_age.clear();
        std::mem::take(&mut self.reads).into_keys()
    }

    /// The oldest of the carried reads, and when it began.
    pub(super) fn oldest_read(&self) -> Option<(Time, ReadId)> {
        self.reads_by_age.front().copied()
    }
}

impl Raft {
    pub(super) fn take_append(&mut self, from: NodeId, request: AppendEntries) {
        let is_other_leader = self.leader.is_some_and(|leader| leader != from);
        if self.role() == Role::Leader || is_other_leader || !is_well_formed(&request) {
            // Raft §5.2: a term has one leader, and it sends its own log. Whoever claims otherwise is not
            // believed.
            return;
        }
        self.hear_leader(from);
        self.following.held_index = self.following.held_index.max(request.held_index);
        let is_new_round = request.round > self.following.round;
        self.following.round = self.following.round.max(request.round);

        let prev = request.prev_log_id;
        // What is purged was committed, so it is the same in every leader's log (Raft §5.4).
        let is_purged = prev.index < self.log.purged().index;
        if !is_purged && !self.log.holds(prev) {
            self.refuse_append(from, prev);
            return;
        }
        let last = LogIndex(prev.index.0 + request.entries.len() as u64);
        let is_heartbeat = request.entries.is_empty();
        self.append_missing(&request);
        self.following.verified = self.following.verified.max(last);
        // Raft Figure 2, AppendEntries 5: no further than what this request has verified; there may be
        // another leader's entries behind it.
        let verified = if is_on(Mutant::CommitsBeyondWhatWasVerified) { self.log.last().index } else { last };
        self.commit_to(request.leader_commit.min(verified));
        // With entries on their way to the disk the ack follows the flush; one now would say nothing new.
        let flush_will_tell = self.following.verified > self.log.flushed();
        self.following.ack_due |= is_heartbeat || is_new_round || !flush_will_tell;
    }

    /// Raft Figure 2, AppendEntries 3 and 4: skips what is there, truncates where a term differs, and
    /// nowhere else.
    fn append_missing(&mut self, request: &AppendEntries) {
        let entries = &request.entries;
        let purged = self.log.purged().index;
        let is_there = |id: LogId| {
            id.index <= purged || (self.log.holds(id) && !is_on(Mutant::TruncatesWithoutAConflict))
        };
        let Some(start) = entries.iter().position(|entry| !is_there(entry.id)) else { return };
        let first = entries[start].id.index;
        if first <= self.log.last().index {
            assert!(
                first > self.commit_index,
                "node {}: the leader of term {} contradicts entry {first}, which is committed (through {}); \
                 a disk has lost data or two clusters are mixed",
                self.id,
                request.term,
                self.commit_index,
            );
            self.log.truncate(first);
        }
        self.log.append_run(entries.slice(start, entries.len()));
    }

    /// Raft §5.3: the leader must go back; the hint lets it skip whole terms.
    fn refuse_append(&mut self, from: NodeId, rejected: LogId) {
        let outcome = AppendOutcome::Conflict { rejected, hint: self.log.highest_within(rejected) };
        let reply = AppendEntriesReply { term: self.term(), round: self.following.round, outcome };
        self.send(from, Message::AppendEntriesReply(reply));
    }

    /// The acknowledgement of everything so far, if one is due and may be said.
    pub(super) fn acknowledge(&mut self) {
        if !self.following.ack_due || self.role() != Role::Follower || !self.hard_state_is_flushed() {
            return;
        }
        let Some(leader) = self.leader else { return };
        self.following.ack_due = false;
        let outcome = AppendOutcome::Matched { match_index: self.following.match_index(&self.log) };
        let reply = AppendEntriesReply { term: self.term(), round: self.following.round, outcome };
        self.send(leader, Message::AppendEntriesReply(reply));
    }
}

/// Consecutive indexes from `prev_log_id` on, terms that never fall and never pass the sender's.
fn is_well_formed(request: &AppendEntries) -> bool {
    let mut last = request.prev_log_id;
    // Room for the entries and one more, so that no index ever overflows.
    if last.index.0.checked_add(request.entries.len() as u64 + 1).is_none() || last.term > request.term {
        return false;
    }
    if (last.index.0 == 0) != (last.term.0 == 0) {
        return false;
    }
    request.entries.iter().all(|entry| {
        let follows = entry.id.index == last.index.next() && entry.id.term >= last.term;
        last = entry.id;
        follows && entry.id.term <= request.term && entry.id.term.0 > 0
    })
}
