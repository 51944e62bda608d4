//! What a leader knows of one peer, and what it may send to it (Raft §5.3).
//!
//! `match_index < next_index` always, and `match_index` only rises. While *probing*, one message is on its
//! way at a time, to find where the logs part; while *replicating*, a window of them, bounded by count and
//! by bytes.

use std::{collections::VecDeque, time::Duration};

use super::snapshot::Feed;
use crate::{
    config::Config,
    status::{PeerState, PeerStatus},
    types::{LogIndex, Time},
};

/// So many messages may always be on their way to a peer that answers at once, however little is in them.
const ALONE_MAX: usize = 2;

/// A peer that takes no longer to flush and answer answers at once.
const AT_ONCE: Duration = Duration::from_millis(2);

/// A peer that takes no longer waits for no disk and no distance: what a write costs is processor time, and
/// nothing is won by sending more before the state machine has seen what was sent, if that takes no longer.
pub(super) const NEAR: Duration = Duration::from_micros(200);

/// A peer that takes no longer to flush and answer answers soon: it is seldom idle although what it lacks
/// comes in one message at a time.
const SOON: Duration = Duration::from_millis(20);

/// What is read back for a peer goes in messages of so small a part of the largest.
const CATCHING_UP_SHARE: u64 = 4;

#[derive(Clone, Debug)]
pub(super) struct Progress {
    match_index: LogIndex,
    next_index: LogIndex,
    state: PeerState,
    /// A probe is on its way; another goes with the next heartbeat.
    probe_sent: bool,
    /// AppendEntries on their way: the last index of each, its bytes, and when it was sent.
    inflight: VecDeque<(LogIndex, u64, Time)>,
    inflight_bytes: u64,
    /// How long the latest answer took that took the log further.
    answered_in: Option<Duration>,
    /// The highest commit index that the peer takes from what was sent to it.
    told_commit: LogIndex,
    /// The latest round of heartbeats that was sent, and the latest that was answered (thesis §6.4).
    pub(super) round_sent: u64,
    pub(super) round_heard: u64,
    /// The first round that began after it was added. What it answered before, it may have answered in a life
    /// that is over.
    since_round: u64,
    /// The incarnation that it has first answered with; 0 where that is not known.
    incarnation: u64,
    /// When it was last heard in this term.
    pub(super) heard: Option<Time>,
    /// Entries for it are being read back from the log.
    pub(super) reading: bool,
    /// Entries were read back for it, and it has not been sent all that the log holds since.
    catches_up: bool,
    /// It has refused what comes right after the purged part of the log.
    pub(super) needs_snapshot: bool,
    /// The snapshot that it is sent, in the state [`PeerState::Snapshot`].
    pub(super) feed: Option<Feed>,
}

impl Progress {
    /// Raft Figure 2: a new leader tries right after its own last entry.
    pub(super) fn new(next_index: LogIndex, since_round: u64) -> Progress {
        Progress {
            match_index: LogIndex(0),
            next_index,
            state: PeerState::Probe,
            probe_sent: false,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            answered_in: None,
            told_commit: LogIndex(0),
            round_sent: 0,
            round_heard: 0,
            since_round,
            incarnation: 0,
            heard: None,
            reading: false,
            catches_up: false,
            needs_snapshot: false,
            feed: None,
        }
    }

    /// It needs what is no longer in the log: a snapshot, and then what comes after `purged` (Raft §7).
    pub(super) fn begin_snapshot(&mut self, feed: Feed, purged: LogIndex) {
        self.probe(purged.next(), true);
        self.state = PeerState::Snapshot;
        self.feed = Some(feed);
    }

    /// The log has been purged further while a snapshot is under way.
    pub(super) fn follow_purge(&mut self, purged: LogIndex) {
        if self.state == PeerState::Snapshot {
            self.next_index = self.next_index.max(purged.next());
        }
    }

    /// The peer has all that a snapshot covers: goes on after it.
    pub(super) fn snapshot_installed(&mut self, last: LogIndex) {
        self.match_index = self.match_index.max(last);
        self.probe(self.match_index.next(), false);
    }

    /// It has answered a round, as this incarnation. Tells whether that was after it was added, so that it
    /// counts.
    pub(super) fn has_answered(&mut self, round: u64, incarnation: impl FnOnce() -> u64) -> bool {
        if round < self.since_round {
            return false;
        }
        self.round_heard = self.round_heard.max(round);
        if self.incarnation == 0 {
            self.incarnation = incarnation();
        }
        true
    }

    /// Whether all that it says by now is of the life that was added.
    pub(super) fn is_of_this_life(&self) -> bool {
        self.round_heard >= self.since_round
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn match_index(&self) -> LogIndex {
        self.match_index
    }

    pub(super) fn next_index(&self) -> LogIndex {
        self.next_index
    }

    /// Whether another AppendEntries with entries may go.
    ///
    /// A peer that is far behind, and answers soon, gets one at a time: more would have both machines copy
    /// and flush without a pause, and everybody's writes wait behind that.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        match self.state {
            PeerState::Probe => !self.probe_sent,
            PeerState::Snapshot => false,
            PeerState::Replicate if self.catches_up && self.answered_in.is_none_or(|took| took < SOON) => {
                self.inflight.is_empty()
            }
            PeerState::Replicate => {
                (self.inflight.len() as u64) < config.inflight_max
                    && self.inflight_bytes < config.inflight_bytes_max
            }
        }
    }

    /// What it lacks is not in memory any more: it is read back from the log.
    pub(super) fn reads_back(&mut self) {
        self.reading = true;
        self.catches_up = true;
    }

    /// The log ends at `last`: where that was sent, the peer is not behind any more.
    pub(super) fn is_sent_up_to(&mut self, last: LogIndex) {
        self.catches_up &= self.next_index <= last;
    }

    /// The bytes of entries that go in one message, about.
    pub(super) fn append_bytes_max(&self, config: &Config) -> u64 {
        if self.catches_up { config.append_bytes_max / CATCHING_UP_SHARE } else { config.append_bytes_max }
    }

    /// Whether the `count` entries that are to be sent next are better sent along with those that come in
    /// until the peer has answered: it answers at once, and a message costs more than that wait. So writes
    /// that come one by one gather into batches, as bytes do in TCP (Nagle's algorithm, RFC 896).
    ///
    /// Where the peer is near, they wait until the leader's state machine has seen what was sent before
    /// (`unapplied` is how much it has not): whoever wrote that is answered then, and writes again. So all
    /// who write get into step, and pay for one round of messages instead of one each. But they wait only for
    /// what is soon to come: an answer of the peer, or of a state machine that `is_applying`.
    pub(super) fn gathers(&self, count: u64, unapplied: u64, is_applying: bool, config: &Config) -> bool {
        let Some(took) = self.answered_in else { return false };
        let is_out_of_step = count <= unapplied && unapplied <= config.append_entries_max;
        let is_awaited = is_applying || !self.inflight.is_empty();
        (took < NEAR && is_out_of_step && is_awaited)
            || (took < AT_ONCE
                && self.inflight.len() >= ALONE_MAX
                && self.inflight_bytes < config.append_bytes_max
                && count < config.append_entries_max)
    }

    /// Whether it should be told of this commit index although there is nothing else to say: the peer has
    /// the entries, and has not been told.
    pub(super) fn wants_commit(&self, commit: LogIndex) -> bool {
        self.state == PeerState::Replicate && self.told_commit < commit && self.match_index >= commit
    }

    /// Whether the peer has all up to `last`, and was told that all of it is committed.
    pub(super) fn is_told_all(&self, last: LogIndex) -> bool {
        self.state == PeerState::Replicate && self.match_index >= last && self.told_commit >= last
    }

    /// An AppendEntries is being sent that ends at `last` with `bytes` of entries (none in a heartbeat), in
    /// this round and at this time.
    pub(super) fn sent(&mut self, last: LogIndex, bytes: u64, commit: LogIndex, (round, now): (u64, Time)) {
        self.told_commit = self.told_commit.max(commit.min(last));
        self.round_sent = round;
        match self.state {
            PeerState::Probe => self.probe_sent = true,
            PeerState::Replicate if last >= self.next_index => {
                self.next_index = last.next();
                self.inflight.push_back((last, bytes, now));
                self.inflight_bytes += bytes;
            }
            PeerState::Replicate | PeerState::Snapshot => {}
        }
    }

    /// The peer's log is the same as the leader's up to `index`, and flushed.
    pub(super) fn matched(&mut self, index: LogIndex, now: Time) {
        // Replies may overtake each other: what was once flushed stays so.
        self.match_index = self.match_index.max(index);
        while let Some((_, bytes, sent)) = self.inflight.pop_front_if(|(last, ..)| *last <= self.match_index)
        {
            self.inflight_bytes -= bytes;
            self.answered_in = Some(now.since(sent));
        }
        if self.state == PeerState::Snapshot && self.match_index.next() < self.next_index {
            // It still needs what was purged.
            return;
        }
        if self.state != PeerState::Replicate {
            self.feed = None;
            self.needs_snapshot = false;
            self.state = PeerState::Replicate;
            self.next_index = self.match_index.next();
        }
        self.next_index = self.next_index.max(self.match_index.next());
    }

    /// Whether a refusal of the entry at `rejected` answers something that still matters.
    pub(super) fn is_news(&self, rejected: LogIndex) -> bool {
        match self.state {
            // Compared backwards: a peer may name the last index there is.
            PeerState::Probe => rejected == self.next_index.previous() && rejected > self.match_index,
            PeerState::Replicate => rejected > self.match_index && rejected < self.next_index,
            PeerState::Snapshot => false,
        }
    }

    /// The peer refused what comes before `next_index`: goes on from `next`, never below what it has.
    pub(super) fn back_up(&mut self, next: LogIndex) {
        let next = next.max(self.match_index.next());
        // Where nothing earlier can be tried (it was purged), waits for the heartbeat instead of asking in
        // a circle.
        let is_stuck = self.state == PeerState::Probe && next >= self.next_index;
        self.probe(next.min(self.next_index), is_stuck);
    }

    /// What was on its way may be lost: asks again, with the next heartbeat.
    pub(super) fn unreachable(&mut self) {
        if let Some(feed) = &mut self.feed {
            return feed.interrupted();
        }
        let next = match self.state {
            PeerState::Probe | PeerState::Snapshot => self.next_index,
            PeerState::Replicate => self.match_index.next(),
        };
        self.probe(next, true);
    }

    fn probe(&mut self, next: LogIndex, probe_sent: bool) {
        self.state = PeerState::Probe;
        self.feed = None;
        self.needs_snapshot = false;
        self.next_index = next;
        self.probe_sent = probe_sent;
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.told_commit = LogIndex(0);
    }

    pub(super) fn status(&self, last: LogIndex, now: Time) -> PeerStatus {
        PeerStatus {
            next_index: self.next_index,
            match_index: self.match_index,
            state: self.state,
            inflight: match self.state {
                PeerState::Probe => u64::from(self.probe_sent),
                PeerState::Replicate => self.inflight.len() as u64,
                PeerState::Snapshot => 0,
            },
            lag: last.0.saturating_sub(self.match_index.0),
            last_contact: self.heard.map(|heard| now.since(heard)),
            snapshot: self.feed.as_ref().map(Feed::progress),
        }
    }
}
