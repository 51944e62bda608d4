//! A leader replicates its log (Raft §5.3; thesis §10.2).

use bytes::Bytes;

use super::{
    Effect, LogReader, Peers, Raft, State,
    progress::{NEAR, Progress},
    read::Readers,
    reconfigure::Awaited,
    transfer::Transfer,
};
use crate::{
    config::Config,
    message::{AppendEntries, AppendEntriesReply, AppendOutcome, Message},
    mutants::{Mutant, is_on},
    types::{Entries, Entry, LogId, LogIndex, NodeId, Payload, Time},
};

/// What a node needs only while it leads.
#[derive(Clone, Debug)]
pub(super) struct Leadership {
    pub(super) peers: Peers,
    /// The first entry of the leader's own term.
    pub(super) term_start: LogIndex,
    pub(super) began: Time,
    heartbeat_at: Time,
    heartbeat_due: bool,
    /// The latest round of heartbeats (thesis §6.4).
    pub(super) round: u64,
    pub(super) readers: Readers,
    pub(super) transfer: Option<Transfer>,
    /// The change of members that somebody waits for.
    pub(super) awaited: Option<Awaited>,
}

impl Leadership {
    pub(super) fn new(peers: Vec<NodeId>, next_index: LogIndex, now: Time) -> Leadership {
        Leadership {
            peers: peers.into_iter().map(|peer| (peer, Progress::new(next_index, 0))).collect(),
            term_start: next_index,
            began: now,
            // Raft §5.2: the first heartbeat goes at once.
            heartbeat_at: now,
            heartbeat_due: false,
            round: 0,
            readers: Readers::default(),
            transfer: None,
            awaited: None,
        }
    }

    /// Whether every peer is told in this turn that the leader lives.
    pub(super) fn is_heartbeat_due(&self) -> bool {
        self.heartbeat_due
    }

    /// Something is on its way to the peers: heartbeats find out soon where it is lost.
    pub(super) fn becomes_busy(&mut self, now: Time, config: &Config) {
        self.heartbeat_at = self.heartbeat_at.min(now.after(config.heartbeat_interval));
    }

    /// Whether nobody would miss a heartbeat: every peer has the whole log and was told that it is
    /// committed, and nobody relies on the lease.
    fn is_idle(&self, last: LogIndex) -> bool {
        let is_relied_on = self.readers.lease_used || self.transfer.is_some();
        !is_relied_on && self.peers.values().all(|peer| peer.is_told_all(last))
    }

    pub(super) fn deadline(&self) -> Time {
        let transfer = self.transfer.as_ref().map(|transfer| transfer.deadline);
        transfer.map_or(self.heartbeat_at, |transfer| transfer.min(self.heartbeat_at))
    }
}

impl Raft {
    pub(super) fn propose(&mut self, commands: Vec<Bytes>) {
        let count = commands.len() as u64;
        let ask_instead = match &self.state {
            // thesis §3.10: a leader that hands over takes no more. A witness is about to.
            State::Leader(leadership) => match &leadership.transfer {
                Some(transfer) => Some(Some(transfer.to)),
                None => self.is_witness().then_some(None),
            },
            _ => Some(self.leader),
        };
        if let Some(leader) = ask_instead {
            self.output.refused.extend(commands);
            self.output.events.push(Effect::ProposalRefused { leader, count });
            return;
        }
        let first = LogId::new(self.term(), self.log.last().index.next());
        self.log.append_commands(first.term, commands);
        self.becomes_busy();
        self.output.events.push(Effect::Proposed { first, count });
    }

    /// The commands of all proposals that the last step has refused, in order: whoever has proposed them
    /// needs no copy.
    pub(crate) fn take_refused(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.output.refused)
    }

    /// Raft §5.3: a leader only ever appends to its log.
    pub(super) fn append_own(&mut self, payload: Payload) {
        let id = LogId::new(self.term(), self.log.last().index.next());
        self.log.append(Entry::new(id, payload));
        self.becomes_busy();
    }

    fn becomes_busy(&mut self) {
        if let State::Leader(leadership) = &mut self.state {
            leadership.becomes_busy(self.now, &self.config);
        }
    }

    pub(super) fn pass_time_as_leader(&mut self) {
        self.expire_transfer();
        let last = self.log.last().index;
        let Raft { state: State::Leader(leadership), config, now, .. } = self else { return };
        if *now < leadership.heartbeat_at {
            return;
        }
        // As seldom as the rules of the configuration allow, or as it is asked for.
        let is_idle = leadership.is_idle(last);
        let interval = if is_idle { config.election_timeout_min / 3 } else { config.heartbeat_interval };
        leadership.heartbeat_at = now.after(interval);
        leadership.heartbeat_due = true;
        if !self.hears_quorum() {
            // Check-quorum (thesis §6.2): others may have another leader by now, and clients should find it.
            self.become_follower(self.term(), None);
        }
        self.yield_if_outrun();
    }

    /// Whether a quorum was heard within the longest election timeout.
    fn hears_quorum(&self) -> bool {
        let State::Leader(leadership) = &self.state else { return false };
        self.membership().has_quorum(|node| {
            let heard = leadership.peers.get(&node).map(|peer| peer.heard.unwrap_or(leadership.began));
            node == self.id
                || heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout_max)
        })
    }

    pub(super) fn take_append_reply(&mut self, from: NodeId, reply: AppendEntriesReply) {
        let Raft { state: State::Leader(leadership), log, config, now, identities, .. } = self else {
            return;
        };
        let Some(peer) = leadership.peers.get_mut(&from) else { return };
        if !peer.has_answered(reply.round.min(leadership.round), || identities.heard(from)) {
            return;
        }
        let was_silent = peer.heard.is_some_and(|heard| now.since(heard) >= config.election_timeout_max);
        if let Some(feed) = peer.feed.as_mut().filter(|_| was_silent) {
            feed.heard_again();
        }
        peer.heard = Some(*now);
        match reply.outcome {
            AppendOutcome::Matched { match_index } if match_index <= log.last().index => {
                peer.matched(match_index, *now);
            }
            AppendOutcome::Conflict { rejected, .. }
                if peer.is_news(rejected.index) && rejected.index == log.purged().index =>
            {
                // There is nothing earlier to try: only a snapshot helps (Raft §7), also where there is
                // nothing new to send.
                peer.needs_snapshot = true;
            }
            AppendOutcome::Conflict { rejected, hint } if peer.is_news(rejected.index) => {
                // Raft §5.3, fast back-up: both sides skip whole terms in which the logs cannot agree. At
                // most as far as the first entry that is still here.
                let common = log.highest_within(hint).index.min(rejected.index.previous());
                if is_on(Mutant::TakesAHintForAMatch) {
                    return peer.matched(hint.index, *now);
                }
                peer.back_up(common.max(log.purged().index).next());
            }
            _ => {}
        }
    }

    /// Up to here peers are told what is committed although there is nothing else to say.
    ///
    /// Once the leader's state machine has seen an entry, whoever wrote it is answered and may write again,
    /// and what it writes takes the commit index along. So the index goes alone only then; the next heartbeat
    /// tells it where the machine is slow. It goes at once where the machine cannot see the entry yet, and
    /// where others wait to learn that the members are settled.
    fn commit_told_alone(&self) -> LogIndex {
        let is_soon_applied = self.commit_index <= self.log.flushed();
        let is_settled = self.log.membership().0.index <= self.applied_index;
        if is_soon_applied && is_settled {
            self.commit_index.min(self.applied_index)
        } else {
            self.commit_index
        }
    }

    /// Sends each peer, in ascending order, what its window allows, or a heartbeat where one is due.
    pub(super) fn replicate(&mut self) {
        if !matches!(self.state, State::Leader(_)) {
            return;
        }
        let commit = self.commit_index;
        let told_alone = self.commit_told_alone();
        let (term, applied) = (self.term(), self.applied_index);
        let is_applying = self.applying.since().is_some_and(|since| self.now.since(since) < NEAR);
        let has_witnesses = !self.membership().witnesses().is_empty();
        let held = if has_witnesses { self.held_index() } else { LogIndex(0) };
        let Raft { state: State::Leader(leadership), log, config, output, snapshots, now, .. } = self else {
            return;
        };
        let heartbeat_due = std::mem::take(&mut leadership.heartbeat_due);
        let round = leadership.round;
        let last = log.last().index;
        for (id, peer) in &mut leadership.peers {
            snapshots.feed(*id, peer, log, (term, *now), config, &mut output.snapshots);
            let is_witness = has_witnesses && log.membership().1.is_witness(*id);
            let held_index = if is_witness { held } else { LogIndex(0) };
            let (mut is_told, mut is_told_soon) = (false, false);
            peer.is_sent_up_to(last);
            while peer.next_index() <= last && peer.has_room(config) {
                let next = peer.next_index();
                let unapplied = next.previous().0.saturating_sub(applied.0);
                is_told_soon = peer.gathers(last.0 - next.0 + 1, unapplied, is_applying, config);
                if is_told_soon {
                    break;
                }
                // The entry before must be known, or the peer could not check it: never a hole.
                let Some(prev) = log.term_at(next.previous()) else { break };
                let bytes_max = peer.append_bytes_max(config);
                let Some((entries, bytes)) = log.slice(next, last, config.append_entries_max, bytes_max)
                else {
                    if !peer.reading {
                        peer.reads_back();
                        let end = LogIndex(next.0.saturating_add(config.append_entries_max - 1));
                        let last = log.last_uncached().min(end);
                        let reader = LogReader::Peer { peer: *id, term };
                        let bytes_max = peer.append_bytes_max(config);
                        output.log_reads.push(Effect::ReadLog { reader, first: next, last, bytes_max });
                    }
                    break;
                };
                let prev_log_id = LogId::new(prev, next.previous());
                peer.sent(entries[entries.len() - 1].id.index, bytes, commit, (round, *now));
                let append =
                    AppendEntries { term, prev_log_id, entries, leader_commit: commit, round, held_index };
                output.outbox.push((*id, Message::AppendEntries(append)));
                is_told = true;
            }
            let wants_commit = peer.wants_commit(told_alone) && !is_told_soon;
            let is_silent = heartbeat_due || peer.round_sent < round || wants_commit;
            if is_told || !is_silent {
                continue;
            }
            let before = peer.next_index().previous();
            let Some(prev) = log.term_at(before) else { continue };
            peer.sent(before, 0, commit, (round, *now));
            let append = AppendEntries {
                term,
                prev_log_id: LogId::new(prev, before),
                entries: Entries::empty(),
                leader_commit: commit,
                round,
                held_index,
            };
            output.outbox.push((*id, Message::AppendEntries(append)));
        }
    }

    pub(super) fn take_log_read(&mut self, reader: LogReader, entries: Entries) {
        match reader {
            LogReader::Applier => self.take_apply_read(entries),
            LogReader::Peer { peer, term } if term == self.term() => self.send_read(peer, entries),
            // The leadership that asked is over.
            LogReader::Peer { .. } => {}
        }
    }

    /// Entries for a peer were read back: sends them, if they are still what it needs.
    fn send_read(&mut self, to: NodeId, entries: Entries) {
        let term = self.term();
        let commit = self.commit_index;
        let Raft { state: State::Leader(leadership), log, config, output, now, .. } = self else { return };
        let Some(peer) = leadership.peers.get_mut(&to) else { return };
        peer.reading = false;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let before = first.id.index.previous();
        let Some(prev) = log.term_at(before) else { return };
        let is_wanted = first.id.index == peer.next_index() && log.agrees_with(&entries);
        if !is_wanted || !peer.has_room(config) {
            return;
        }
        let round = leadership.round;
        peer.sent(last.id.index, entries.size_bytes(), commit, (round, *now));
        let prev_log_id = LogId::new(prev, before);
        // The next heartbeat tells a witness what it need not keep.
        let held_index = LogIndex(0);
        let append = AppendEntries { term, prev_log_id, entries, leader_commit: commit, round, held_index };
        output.outbox.push((to, Message::AppendEntries(append)));
    }
}
