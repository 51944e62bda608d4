//! Linearizable reads without the log (thesis §6.4).
//!
//! A leader answers a read with its commit index, once a round of heartbeats that began after the read has
//! shown that it still led. Reads that come while a round is out share the next one.
//!
//! # Leases (thesis §6.4.1)
//!
//! Whoever has answered a round elects nobody else for `election_timeout_min` from then on. So until that
//! long after the round *began*, less what clocks may drift, the leader of the round is the only one, and
//! may answer reads without asking. That holds as long as it has told no successor to campaign: that one
//! will not wait. As a lease trusts what others remember, a node that has restarted counts as one that has
//! just heard a leader, and nobody stands for election or votes while it hears one.
//!
//! # Reads of a bounded age
//!
//! A read index is as old as its question. While the latest question is younger than a read's bound, the read
//! needs no other: it sees all that was committed when that question was asked. Only this node's own clock
//! counts, and no message's delay.

use std::{mem, time::Duration};

use super::{Effect, Raft, State};
use crate::{
    message::{Message, ReadId, ReadIndex, ReadIndexReply},
    mutants::{Mutant, is_on},
    types::{LogIndex, NodeId, Time},
};

/// A leader's reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    /// For the next round, oldest first.
    waiting: Vec<Reader>,
    /// In the present round.
    confirming: Option<Round>,
    /// When the latest confirmed round began.
    confirmed_since: Option<Time>,
    /// The lease was of use since the last heartbeat; the next one renews it.
    pub(super) lease_used: bool,
    /// A successor was told to campaign, and may do so at any time in this term.
    lease_ended: bool,
}

impl Readers {
    /// From now on another node may be elected at any time.
    pub(super) fn end_lease(&mut self) {
        self.lease_ended = true;
    }
}

#[derive(Clone, Debug)]
struct Round {
    number: u64,
    began: Time,
    /// The commit index when the round began.
    read_index: LogIndex,
    readers: Vec<Reader>,
}

/// One question. Known by its place in a round and never by its id, so an id that comes twice confuses
/// nothing.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// The follower that asks; none for this node itself.
    from: Option<NodeId>,
    id: ReadId,
    since: Time,
}

impl Raft {
    /// A read of this node's own clients.
    pub(super) fn read(&mut self, id: ReadId) {
        let since = self.now;
        if let Some(leadership) = self.leadership() {
            leadership.readers.waiting.push(Reader { from: None, id, since });
            return;
        }
        let Some(leader) = self.leader else {
            self.output.reads_failed.push(id);
            return;
        };
        self.following.carry_read(id, since);
        self.send(leader, Message::ReadIndex(ReadIndex { term: self.term(), id }));
    }

    /// A read that may trust clocks.
    pub(super) fn read_by_lease(&mut self, id: ReadId) {
        let commit_index = self.commit_index;
        if !self.has_lease() {
            return self.read(id);
        }
        if let Some(leadership) = self.leadership() {
            leadership.readers.lease_used = true;
        }
        self.output.ready(commit_index, id);
    }

    /// Whether no other node can lead now, and this one knows all that is committed.
    fn has_lease(&self) -> bool {
        let State::Leader(leadership) = &self.state else { return false };
        let readers = &leadership.readers;
        // thesis §6.4, step 1: as for any read.
        let knows_commit = self.commit_index >= leadership.term_start;
        // thesis §3.10: a successor does not wait for an election timeout.
        let hands_over = leadership.transfer.is_some() || readers.lease_ended;
        // thesis §6.4.1: from the start of a round that a quorum has answered, with a bound on clock drift.
        let drift = u32::try_from(self.config.clock_drift_percent_max).unwrap_or(u32::MAX);
        let parts = drift.saturating_add(100);
        let length = self.config.election_timeout_min.saturating_mul(100) / parts;
        let is_within = readers.confirmed_since.is_some_and(|since| self.now < since.after(length));
        let hands_over = hands_over && !is_on(Mutant::ReadsByLeaseWhileHandingOver);
        self.config.lease_reads && knows_commit && !hands_over && is_within
    }

    /// A read that may be a little stale.
    pub(super) fn read_within(&mut self, id: ReadId, bound: Duration) {
        match self.fresh {
            Some((asked, read_index)) if self.now.since(asked) < bound => self.output.ready(read_index, id),
            _ => self.read(id),
        }
    }

    /// A quorum has confirmed that nothing beyond `read_index` was committed at `asked`.
    fn freshen(&mut self, asked: Time, read_index: LogIndex) {
        if self.fresh.is_none_or(|(latest, _)| latest <= asked) {
            self.fresh = Some((asked, read_index));
        }
    }

    /// A follower asks on behalf of its clients.
    pub(super) fn answer_read_index(&mut self, from: NodeId, request: ReadIndex) {
        let reader = Reader { from: Some(from), id: request.id, since: self.now };
        match self.leadership() {
            Some(leadership) => leadership.readers.waiting.push(reader),
            None => self.fail_readers([reader]),
        }
    }

    /// The leader has answered.
    pub(super) fn take_read_index(&mut self, reply: ReadIndexReply) {
        let Some(asked) = self.following.settle_read(reply.id) else { return };
        match reply.read_index {
            Some(read_index) => {
                self.freshen(asked, read_index);
                self.output.ready(read_index, reply.id);
            }
            None => self.output.reads_failed.push(reply.id),
        }
    }

    /// Ends the present round if a quorum has answered it, and begins the next if reads wait.
    pub(super) fn confirm_reads(&mut self) {
        self.end_round();
        let commit_index = self.commit_index;
        let Raft { state: State::Leader(leadership), config, now, .. } = self else { return };
        let now = *now;
        let renews = leadership.is_heartbeat_due() && mem::take(&mut leadership.readers.lease_used);
        let readers = &mut leadership.readers;
        // thesis §6.4, step 1: until an entry of its own term is committed, a leader does not know what is.
        let knows_commit =
            commit_index >= leadership.term_start || is_on(Mutant::ReadsBeforeItsTermHasCommitted);
        if (readers.waiting.is_empty() && !renews) || readers.confirming.is_some() || !knows_commit {
            return;
        }
        let waiting = mem::take(&mut readers.waiting);
        leadership.round += 1;
        leadership.becomes_busy(now, config);
        let number = leadership.round;
        let round = Round { number, began: now, read_index: commit_index, readers: waiting };
        leadership.readers.confirming = Some(round);
        // A leader that is a quorum by itself needs nobody's answer.
        self.end_round();
    }

    fn end_round(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        let Some(round) = &leadership.readers.confirming else { return };
        // thesis §6.4, step 3: only answers to this round, or a later one, prove anything about now.
        let is_confirmed = self.membership().has_quorum(|node| {
            let heard = leadership.peers.get(&node).map_or(0, |peer| peer.round_heard);
            node == self.id || heard >= round.number
        });
        if !is_confirmed {
            return;
        }
        let Some(leadership) = self.leadership() else { return };
        let Some(round) = leadership.readers.confirming.take() else { return };
        leadership.readers.confirmed_since = Some(round.began);
        self.freshen(round.began, round.read_index);
        let term = self.term();
        for reader in round.readers {
            let Some(from) = reader.from else {
                self.output.ready(round.read_index, reader.id);
                continue;
            };
            let read_index = Some(round.read_index);
            self.send(from, Message::ReadIndexReply(ReadIndexReply { term, id: reader.id, read_index }));
        }
    }

    fn fail_readers(&mut self, readers: impl IntoIterator<Item = Reader>) {
        let term = self.term();
        for reader in readers {
            match reader.from {
                None => self.output.reads_failed.push(reader.id),
                Some(from) => {
                    let reply = ReadIndexReply { term, id: reader.id, read_index: None };
                    self.send(from, Message::ReadIndexReply(reply));
                }
            }
        }
    }

    /// A leadership has ended, and with it what it could have confirmed.
    pub(super) fn fail_leader_reads(&mut self, readers: Readers) {
        let confirming = readers.confirming.map(|round| round.readers).unwrap_or_default();
        self.fail_readers(confirming.into_iter().chain(readers.waiting));
    }

    /// The leader that was asked no longer leads.
    pub(super) fn fail_carried_reads(&mut self) {
        let ids = self.following.settle_reads();
        self.output.reads_failed.extend(ids);
    }

    /// When the oldest read will have waited for `election_timeout_max`.
    pub(super) fn reads_deadline(&self) -> Option<Time> {
        let oldest = match &self.state {
            State::Leader(leadership) => {
                let readers = &leadership.readers;
                let confirming = readers.confirming.iter().flat_map(|round| round.readers.first());
                confirming.chain(readers.waiting.first()).map(|reader| reader.since).min()
            }
            _ => self.following.oldest_read().map(|(since, _)| since),
        };
        oldest.map(|since| since.after(self.config.election_timeout_max))
    }

    /// Reads that nobody has confirmed in time: the question or its answer is lost, or there is no quorum.
    pub(super) fn expire_reads(&mut self) {
        if self.reads_deadline().is_none_or(|deadline| self.now < deadline) {
            return;
        }
        let patience = self.config.election_timeout_max;
        let now = self.now;
        let is_late = |since: Time| now >= since.after(patience);
        if let Some(leadership) = self.leadership() {
            let readers = &mut leadership.readers;
            let confirming = readers.confirming.as_mut().map(|round| &mut round.readers);
            let mut late = Vec::new();
            for list in confirming.into_iter().chain([&mut readers.waiting]) {
                late.extend(list.extract_if(.., |reader| is_late(reader.since)));
            }
            self.fail_readers(late);
            return;
        }
        while let Some((_, id)) = self.following.oldest_read().filter(|(since, _)| is_late(*since)) {
            self.following.settle_read(id);
            self.output.reads_failed.push(id);
        }
    }

    /// Tells the reads that are settled.
    pub(super) fn tell_reads(&mut self) {
        let leader = self.leader;
        let output = &mut self.output;
        for (read_index, ids) in mem::take(&mut output.reads_ready) {
            output.endings.push(Effect::ReadReady { ids, read_index });
        }
        if !output.reads_failed.is_empty() {
            let ids = mem::take(&mut output.reads_failed);
            output.endings.push(Effect::ReadFailed { ids, leader });
        }
    }
}
