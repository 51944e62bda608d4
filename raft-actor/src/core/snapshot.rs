//! Snapshots (Raft §7; thesis §5): when one is taken, what it lets go of the log, and how a peer that needs
//! what is gone gets the leader's.
//!
//! A leader sends a snapshot in parts, a few on their way at a time, and goes on from where the follower says
//! that it has got to; so a transfer goes on where it was after a broken link, a lost part or a restart.
//! Before anything else the follower is asked that, by a part without bytes.

use std::time::Duration;

use super::{Effect, Raft, State, log::Log, progress::Progress};
use crate::{
    config::Config,
    message::{InstallSnapshot, InstallSnapshotReply, Message},
    mutants::{Mutant, is_on},
    types::{LogId, LogIndex, NodeId, Role, SnapshotMeta, Term, Time},
};

/// Up to here a snapshot costs so little that it does not matter how often it is written.
const SMALL_BYTES: u64 = 1 << 20;

/// Parts on their way to one peer.
const WINDOW: u64 = 4;

/// The longest wait for a sign of progress, before the peer is asked how far it has got.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// What a node knows of snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    /// Whether there is a storage for them.
    enabled: bool,
    /// The newest on the disk.
    pub(super) latest: Option<SnapshotMeta>,
    taking: bool,
    /// Applied when the last one was taken or tried.
    taken_index: LogIndex,
    /// Bytes of entries given to the state machine, in all, and by then.
    pub(super) given_bytes: u64,
    taken_bytes: u64,
    receiving: Option<Receiving>,
    restoring: Option<SnapshotMeta>,
    /// What is being sent to peers; told when it changes.
    sending: Vec<u64>,
}

/// A leader's snapshot that is coming in.
#[derive(Clone, Debug)]
struct Receiving {
    snapshot: SnapshotMeta,
    next_offset: u64,
    finishing: bool,
}

/// A snapshot that a peer is being sent.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    snapshot: SnapshotMeta,
    /// Up to here the peer has it.
    acknowledged: u64,
    /// Up to here it was sent.
    sent: u64,
    /// The peer must say first how far it has got.
    asking: bool,
    /// Without progress it is asked, and asked again.
    retry_at: Time,
    patience: Duration,
}

impl Feed {
    fn new(snapshot: SnapshotMeta, patience: Duration) -> Feed {
        let (acknowledged, sent, asking, retry_at) = (0, 0, true, Time(0));
        Feed { snapshot, acknowledged, sent, asking, retry_at, patience }
    }

    /// What was on its way may be lost.
    pub(super) fn interrupted(&mut self) {
        self.asking = true;
    }

    /// A peer that was silent is heard again: asks it at once.
    pub(super) fn heard_again(&mut self) {
        self.asking = true;
        self.retry_at = Time(0);
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.acknowledged, self.snapshot.size_bytes)
    }

    /// The peer has it up to `next_offset`.
    fn acknowledge(&mut self, next_offset: u64, now: Time, patience: Duration) {
        let next_offset = next_offset.min(self.snapshot.size_bytes);
        if self.asking {
            // Perhaps less than before: it may have restarted.
            (self.acknowledged, self.sent, self.asking) = (next_offset, next_offset, false);
        } else if next_offset <= self.acknowledged {
            return;
        }
        self.acknowledged = next_offset;
        self.sent = self.sent.max(next_offset);
        self.patience = patience;
        self.retry_at = now.after(patience);
    }

    /// What is to be sent now: offsets and bytes.
    fn next_parts(&mut self, now: Time, chunk: u64) -> Vec<(u64, u64)> {
        if now >= self.retry_at {
            self.asking = true;
            self.retry_at = now.after(self.patience);
            // A link that is slow, and not lossy, must not be filled with questions.
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
            return vec![(self.acknowledged, 0)];
        }
        let mut parts = Vec::new();
        let end = self.acknowledged.saturating_add(chunk.saturating_mul(WINDOW));
        while !self.asking && self.sent < self.snapshot.size_bytes.min(end) {
            let bytes = chunk.min(self.snapshot.size_bytes - self.sent);
            parts.push((self.sent, bytes));
            self.sent += bytes;
        }
        parts
    }
}

impl Snapshots {
    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    pub(super) fn receiving(&self) -> Option<(u64, u64)> {
        self.receiving.as_ref().map(|receiving| (receiving.next_offset, receiving.snapshot.size_bytes))
    }

    /// thesis §5.1.2: not before the log has grown by what the last snapshot holds. Were a large state
    /// written anew at a fixed distance, writing it would soon take more of the disk than the log does.
    fn is_due(&self, applied: LogIndex, config: &Config) -> bool {
        let entries = applied.0.saturating_sub(self.taken_index.0);
        let bytes = self.given_bytes - self.taken_bytes;
        let held = self.latest.as_ref().map_or(0, |latest| latest.size_bytes);
        entries > 0
            && (entries >= config.snapshot_entries || bytes >= config.snapshot_bytes)
            && (held <= SMALL_BYTES || bytes >= held)
    }

    fn is_busy(&self) -> bool {
        self.taking || self.is_restoring()
    }

    fn begin(&mut self, applied: LogIndex) {
        self.taking = true;
        self.taken_index = applied;
        self.taken_bytes = self.given_bytes;
    }

    /// Tried again after as many entries as a snapshot takes.
    pub(super) fn not_taken(&mut self, applied: LogIndex) {
        self.taking = false;
        self.taken_index = applied;
        self.taken_bytes = self.given_bytes;
    }

    /// Raft §7: whether `peer` must be sent a snapshot, and which parts of it now.
    pub(super) fn feed(
        &self,
        to: NodeId,
        peer: &mut Progress,
        log: &Log,
        (term, now): (Term, Time),
        config: &Config,
        effects: &mut Vec<Effect>,
    ) {
        let Some(latest) = &self.latest else { return };
        let purged = log.purged().index;
        peer.follow_purge(purged);
        let patience = config.election_timeout_max;
        let is_behind = peer.needs_snapshot || peer.next_index().previous() < purged;
        // One that has not begun gives way to a newer one; one that has is of use as it is.
        let is_superseded =
            peer.feed.as_ref().is_some_and(|feed| feed.sent == 0 && feed.snapshot.last < latest.last);
        if ((peer.feed.is_none() && is_behind) || is_superseded)
            && let Some(snapshot) = snapshot_for(to, latest, log)
        {
            peer.begin_snapshot(Feed::new(snapshot, patience), purged);
        }
        let Some(feed) = &mut peer.feed else { return };
        for (offset, bytes_max) in feed.next_parts(now, config.snapshot_chunk_bytes) {
            let snapshot = feed.snapshot.clone();
            effects.push(Effect::SendSnapshot { to, term, snapshot, offset, bytes_max });
        }
    }
}

impl Raft {
    /// The same node with a storage for snapshots, and the newest of them, to which the state machine was
    /// restored. The log must not end before it.
    pub fn with_snapshots(mut self, newest: Option<SnapshotMeta>) -> Raft {
        self.snapshots.enabled = true;
        if let Some(snapshot) = newest {
            let index = snapshot.last.index;
            self.commit_to(index);
            self.given_index = self.given_index.max(index);
            self.applied_index = self.applied_index.max(index);
            self.snapshots.taken_index = index;
            self.log.set_base((*snapshot.membership).clone(), snapshot.membership_log_id);
            self.snapshots.latest = Some(snapshot);
            // What was purged may have held the members.
            self.follow_first_membership();
        }
        self
    }

    /// Whether enough has been applied for the next snapshot (thesis §5.1.2).
    pub(super) fn consider_snapshot(&mut self) {
        let snapshots = &self.snapshots;
        let is_possible = snapshots.enabled && !snapshots.is_busy();
        if is_possible && snapshots.is_due(self.applied_index, &self.config) {
            self.snapshots.begin(self.applied_index);
            self.output.snapshots.push(Effect::TakeSnapshot);
        }
    }

    pub(super) fn take_snapshot_now(&mut self) {
        if self.snapshots.taking {
            // That one will do.
            return;
        }
        if !self.snapshots.enabled || self.snapshots.is_busy() || self.applied_index.0 == 0 {
            self.output.snapshots.push(Effect::SnapshotRefused);
            return;
        }
        self.snapshots.begin(self.applied_index);
        self.output.snapshots.push(Effect::TakeSnapshot);
    }

    pub(super) fn snapshot_taken(&mut self, snapshot: SnapshotMeta) {
        self.snapshots.taking = false;
        self.note_latest(snapshot);
    }

    /// A snapshot never goes back.
    fn note_latest(&mut self, snapshot: SnapshotMeta) {
        if self.snapshots.latest.as_ref().is_none_or(|latest| latest.last < snapshot.last) {
            self.snapshots.latest = Some(snapshot);
        }
    }

    /// Purges what the newest snapshot covers, but for the trailing entries; and says which snapshots are
    /// still being sent.
    pub(super) fn compact(&mut self) {
        let Some(latest) = &self.snapshots.latest else { return };
        let covered = LogIndex(latest.last.index.0.saturating_sub(self.config.trailing_entries));
        // A snapshot of the leader's may cover what this node has in its log and has not applied yet.
        let mut index = covered.min(self.applied_index);
        if self.is_witness() && !is_on(Mutant::PurgesAsAWitnessWhatOthersNeed) {
            // It may have to hand these entries on, and has nothing to send in their place.
            index = index.min(self.held_index());
        }
        if index > self.log.purged().index
            && let Some(term) = self.log.term_at(index)
        {
            let through = LogId::new(term, index);
            self.log.purge(through);
            self.output.purges.push(Effect::Purge { through });
        }
        let leadership = match &self.state {
            State::Leader(leadership) => Some(leadership),
            _ => None,
        };
        let feeds = leadership.into_iter().flat_map(|it| it.peers.values()).filter_map(|it| it.feed.as_ref());
        let mut fed = feeds.map(|feed| feed.snapshot.id).peekable();
        if fed.peek().is_none() && self.snapshots.sending == [latest.id] {
            // So it is nearly always, and this is asked in every batch.
            return;
        }
        let mut sending: Vec<u64> = fed.chain([latest.id]).collect();
        sending.sort_unstable();
        sending.dedup();
        if sending != self.snapshots.sending {
            self.snapshots.sending.clone_from(&sending);
            self.output.snapshots.push(Effect::RetainSnapshots { ids: sending });
        }
    }

    /// Those that were being sent it are sent the newest instead.
    pub(super) fn snapshot_gone(&mut self, id: u64) {
        let Raft { state: State::Leader(leadership), snapshots, log, config, .. } = self else { return };
        let Some(latest) = snapshots.latest.as_ref().filter(|latest| latest.id != id) else { return };
        for (to, peer) in &mut leadership.peers {
            if peer.feed.as_ref().is_some_and(|feed| feed.snapshot.id == id)
                && let Some(snapshot) = snapshot_for(*to, latest, log)
            {
                let feed = Feed::new(snapshot, config.election_timeout_max);
                peer.begin_snapshot(feed, log.purged().index);
            }
        }
    }

    pub(super) fn take_install_reply(&mut self, from: NodeId, reply: InstallSnapshotReply) {
        let Raft { state: State::Leader(leadership), config, now, .. } = self else { return };
        let Some(peer) = leadership.peers.get_mut(&from).filter(|peer| peer.is_of_this_life()) else {
            return;
        };
        peer.heard = Some(*now);
        let Some(feed) = peer.feed.as_mut().filter(|feed| feed.snapshot.id == reply.snapshot_id) else {
            return;
        };
        if reply.installed {
            let last = feed.snapshot.last.index;
            peer.snapshot_installed(last);
        } else {
            feed.acknowledge(reply.next_offset, *now, config.election_timeout_max);
        }
    }

    /// Raft Figure 13, at the receiver.
    pub(super) fn take_snapshot_chunk(&mut self, from: NodeId, request: InstallSnapshot) {
        let is_other_leader = self.leader.is_some_and(|leader| leader != from);
        if self.role() == Role::Leader || is_other_leader || !is_well_formed(&request) {
            return;
        }
        self.hear_leader(from);
        if !self.snapshots.enabled || self.snapshots.is_restoring() || self.is_covered(&request.snapshot) {
            return;
        }
        let InstallSnapshot { snapshot, offset, data, .. } = request;
        let receiving = self.snapshots.receiving.take_if(|receiving| receiving.snapshot.id == snapshot.id);
        let receiving =
            receiving.unwrap_or(Receiving { snapshot: snapshot.clone(), next_offset: 0, finishing: false });
        if !receiving.finishing {
            self.output.snapshots.push(Effect::StoreSnapshotChunk { snapshot, offset, data });
        }
        self.snapshots.receiving = Some(receiving);
    }

    /// Whether this node needs no such snapshot; then the leader is told, once that is flushed.
    fn is_covered(&mut self, snapshot: &SnapshotMeta) -> bool {
        let last = snapshot.last;
        // What is committed is never rolled back. What the log holds is retained, with what follows it
        // (Raft Figure 13, 6).
        let is_older = last.index <= self.commit_index || self.log.holds(last);
        if !is_older || is_on(Mutant::InstallsSnapshotsOverNewerLogs) {
            return false;
        }
        self.snapshots.receiving = None;
        // A snapshot covers committed entries only, so up to there the logs are the same.
        self.following.verified_to(last.index);
        self.commit_to(last.index);
        if self.log.flushed() >= last.index {
            self.answer_install(snapshot, snapshot.size_bytes, true);
        }
        true
    }

    fn answer_install(&mut self, snapshot: &SnapshotMeta, next_offset: u64, installed: bool) {
        let Some(leader) = self.leader.filter(|_| self.role() == Role::Follower) else { return };
        let reply =
            InstallSnapshotReply { term: self.term(), snapshot_id: snapshot.id, next_offset, installed };
        self.send(leader, Message::InstallSnapshotReply(reply));
    }

    pub(super) fn snapshot_chunk_stored(&mut self, id: u64, next_offset: u64) {
        let is_flushed = self.hard_state_is_flushed();
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        if receiving.snapshot.id != id || receiving.finishing {
            return;
        }
        receiving.next_offset = next_offset;
        // No snapshot of a term that a crash could make this node forget; the leader asks again.
        receiving.finishing = is_flushed && next_offset >= receiving.snapshot.size_bytes;
        let snapshot = receiving.snapshot.clone();
        if receiving.finishing {
            self.output.snapshots.push(Effect::FinishSnapshot { snapshot: snapshot.clone() });
        }
        self.answer_install(&snapshot, next_offset, false);
    }

    /// Raft Figure 13, 6 and 7. The snapshot is durable; now the log, then the state machine.
    pub(super) fn snapshot_received(&mut self, id: u64) {
        let Some(receiving) = self.snapshots.receiving.take_if(|receiving| receiving.snapshot.id == id)
        else {
            return;
        };
        let snapshot = receiving.snapshot;
        self.note_latest(snapshot.clone());
        // Meanwhile the log may have got there by itself, or another leader may have come.
        if self.is_covered(&snapshot) || self.role() != Role::Follower {
            return;
        }
        self.log.truncate(self.log.purged().index.next());
        // The disk forgets the old log before it learns of the new beginning, and both before anything that
        // comes after; so this write stands alone.
        let mut effects = std::mem::take(&mut self.output.purges);
        self.write(&mut effects);
        effects.push(Effect::Purge { through: snapshot.last });
        self.output.purges = effects;
        self.log.begin_after(snapshot.last);
        self.log.set_base((*snapshot.membership).clone(), snapshot.membership_log_id);
        self.commit_to(snapshot.last.index);
        self.given_index = snapshot.last.index;
        self.snapshots.not_taken(snapshot.last.index);
        self.snapshots.restoring = Some(snapshot);
    }

    pub(super) fn log_purged(&mut self, through: LogId) {
        if let Some(snapshot) = self.snapshots.restoring.clone().filter(|it| it.last == through) {
            self.output.snapshots.push(Effect::RestoreSnapshot { snapshot });
        }
    }

    pub(super) fn snapshot_restored(&mut self, id: u64) {
        let Some(snapshot) = self.snapshots.restoring.take_if(|snapshot| snapshot.id == id) else { return };
        self.applied_index = self.applied_index.max(snapshot.last.index);
        self.following.verified_to(snapshot.last.index);
        self.answer_install(&snapshot, snapshot.size_bytes, true);
    }
}

/// What a peer is sent where `latest` is the leader's newest.
fn snapshot_for(to: NodeId, latest: &SnapshotMeta, log: &Log) -> Option<SnapshotMeta> {
    if log.membership().1.is_witness(to) {
        // It needs to know where its log goes on, and who the members are: no state.
        return Some(SnapshotMeta { size_bytes: 0, witness: true, ..latest.clone() });
    }
    // A full member is never given a witness's emptiness: it waits for a leader that has more.
    (!latest.witness).then(|| latest.clone())
}

/// A place that a committed entry of this leader can have, and members.
fn is_well_formed(request: &InstallSnapshot) -> bool {
    let SnapshotMeta { last, membership, membership_log_id, size_bytes, .. } = &request.snapshot;
    let end = request.offset.checked_add(request.data.len() as u64);
    last.index.0 > 0
        && last.index.0 < u64::MAX
        && last.term.0 > 0
        && last.term <= request.term
        && membership_log_id.index <= last.index
        && !membership.voters().is_empty()
        && end.is_some_and(|end| end <= *size_bytes)
}
