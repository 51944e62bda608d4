//! The end of a batch: everything that the inputs have led to, said once and in order.
//!
//! First the write, so that the disk works while the rest is done; then answers and changes of role in the
//! order in which they happened; then messages, reads of the log, entries to apply, and reads and transfers
//! that have ended.

use std::{collections::VecDeque, mem};

use bytes::Bytes;

use super::{Effect, Effects, Raft};
use crate::{
    message::{Message, ReadId},
    types::{LogIndex, NodeId, Role, Term},
};

/// Messages that wait for the disk; more are dropped, as a network drops.
const HELD_MAX: usize = 4096;

/// What handlers have to say, gathered until the end of the batch.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Answers to proposals, and changes of role.
    pub(super) events: Vec<Effect>,
    /// The commands of proposals that this step has refused.
    pub(super) refused: Vec<Bytes>,
    pub(super) outbox: Vec<(NodeId, Message)>,
    /// What must be done before the batch's write: a log that is replaced by a snapshot, and purges.
    pub(super) purges: Vec<Effect>,
    /// What is to be done about snapshots.
    pub(super) snapshots: Vec<Effect>,
    pub(super) log_reads: Vec<Effect>,
    pub(super) applies: Vec<Effect>,
    pub(super) reads_ready: Vec<(LogIndex, Vec<ReadId>)>,
    pub(super) reads_failed: Vec<ReadId>,
    /// Reads and transfers that are over.
    pub(super) endings: Vec<Effect>,
    /// Messages of a term, or a vote, that is not on the disk yet.
    held: VecDeque<(NodeId, Message)>,
    /// What [`Effect::RoleChanged`] has told last.
    told: (Role, Term, Option<NodeId>),
}

impl Output {
    pub(super) fn new(told: (Role, Term, Option<NodeId>)) -> Output {
        Output {
            events: Vec::new(),
            refused: Vec::new(),
            outbox: Vec::new(),
            purges: Vec::new(),
            snapshots: Vec::new(),
            log_reads: Vec::new(),
            applies: Vec::new(),
            reads_ready: Vec::new(),
            reads_failed: Vec::new(),
            endings: Vec::new(),
            held: VecDeque::new(),
            told,
        }
    }

    pub(super) fn ready(&mut self, read_index: LogIndex, id: ReadId) {
        match self.reads_ready.last_mut() {
            Some((index, ids)) if *index == read_index => ids.push(id),
            _ => self.reads_ready.push((read_index, vec![id])),
        }
    }
}

impl Raft {
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.output.outbox.push((to, message));
    }

    /// Stands among the answers to proposals, in the order of events: what was accepted before this
    /// leadership ended is told before its end, and what the next one accepts after its beginning.
    pub(super) fn note_role_change(&mut self) {
        let standing = self.standing();
        if self.output.told != standing {
            self.output.told = standing;
            let (role, term, leader) = standing;
            self.output.events.push(Effect::RoleChanged { role, term, leader });
        }
    }

    pub(super) fn finish(&mut self, effects: &mut Effects) {
        self.lift_fence();
        self.follow_membership();
        self.advance_commit();
        self.watch_disk();
        self.settle_membership();
        self.record_incarnations();
        self.follow_membership();
        self.confirm_reads();
        self.relieve_witness();
        self.hand_over();
        self.compact();
        tell(effects, &mut self.output.purges);
        self.write(effects);
        tell(effects, &mut self.output.events);
        self.acknowledge();
        self.give_out();
        self.replicate();
        self.release(effects);
        self.leave_if_removed();
        self.tell_reads();
        tell(effects, &mut self.output.log_reads);
        tell(effects, &mut self.output.applies);
        tell(effects, &mut self.output.snapshots);
        self.note_role_change();
        tell(effects, &mut self.output.events);
        tell(effects, &mut self.output.endings);
        self.log.evict(self.config.cache_bytes_max);
    }

    pub(super) fn write(&mut self, effects: &mut Effects) {
        let hard_state = mem::take(&mut self.hard_state_changed).then_some(self.hard_state);
        if let Some(write) = self.log.take_write(hard_state) {
            if hard_state.is_some() {
                self.hard_state_sequence = write.sequence;
                self.disk.given_hard_state(self.now);
            }
            self.disk.given_work(self.now);
            effects.push(Effect::Write(write));
        }
    }

    /// Raft Figure 2: term and vote are on stable storage before any RPC is answered, and before any is sent.
    fn release(&mut self, effects: &mut Effects) {
        if !self.hard_state_is_flushed() {
            let Output { held, outbox, .. } = &mut self.output;
            let room = HELD_MAX.saturating_sub(held.len());
            held.extend(outbox.drain(..).take(room));
            return;
        }
        if self.output.held.is_empty() && self.output.outbox.is_empty() {
            return;
        }
        while let Some((to, message)) = self.output.held.pop_front() {
            if self.is_still_true(&message) {
                effects.push(Effect::Send { to, message });
            }
        }
        effects.extend(self.output.outbox.drain(..).map(|(to, message)| Effect::Send { to, message }));
    }

    /// Whether a message that has waited for the disk should still be said: a candidate may have lost its
    /// election, and a follower its leader, meanwhile. A vote stays given: it was written, or a later term
    /// was, and no other vote can follow.
    fn is_still_true(&self, message: &Message) -> bool {
        match message {
            Message::RequestVote(request) if request.pre_vote => {
                self.role() == Role::PreCandidate && Some(request.term) == self.term().next()
            }
            Message::RequestVote(request) => self.role() == Role::Candidate && request.term == self.term(),
            Message::RequestVoteReply(_) => true,
            message => message.term() == Some(self.term()),
        }
    }
}

/// Most batches have little to say, and to move nothing is not free.
fn tell(effects: &mut Effects, news: &mut Vec<Effect>) {
    if !news.is_empty() {
        effects.append(news);
    }
}
