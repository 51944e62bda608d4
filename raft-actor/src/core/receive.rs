//! A message has come: which term it speaks in decides first (Raft §5.1).

use super::{Raft, State};
use crate::{
    message::{
        AppendEntriesReply, AppendOutcome, InstallSnapshotReply, Message, ReadIndexReply, RequestVoteReply,
    },
    mutants::{Mutant, is_on},
    types::{NodeId, Term},
};

/// How far above a node's own term a message may speak: 2^32 elections. What claims more is dropped.
pub const TERM_JUMP_MAX: u64 = 1 << 32;

impl Raft {
    pub(super) fn receive(&mut self, from: NodeId, message: Message) {
        let Some(term) = message.term() else { return };
        if from == self.id || self.is_absurd(term) || !self.believes(from) {
            return;
        }
        let counts = is_on(Mutant::CountsVotesOfEarlierTerms);
        if term < self.term() && !(counts && matches!(message, Message::RequestVoteReply(_))) {
            self.refuse_stale(from, &message);
            return;
        }
        if term > self.term() && self.raises_term(&message) {
            self.become_follower(term, None);
        }
        match message {
            Message::RequestVote(request) if request.pre_vote => self.answer_pre_vote(from, request),
            Message::RequestVote(request) => self.answer_vote(from, request),
            Message::RequestVoteReply(reply) => self.take_vote(from, reply),
            Message::AppendEntries(request) => self.take_append(from, request),
            Message::AppendEntriesReply(reply) => self.take_append_reply(from, reply),
            Message::TimeoutNow(_) => self.take_timeout_now(from),
            Message::ReadIndex(request) => self.answer_read_index(from, request),
            Message::ReadIndexReply(reply) => self.take_read_index(reply),
            Message::InstallSnapshot(request) => self.take_snapshot_chunk(from, request),
            Message::InstallSnapshotReply(reply) => self.take_install_reply(from, reply),
            // These pass between consensus actors.
            Message::ForwardWrites(_)
            | Message::ForwardWritesReply(_)
            | Message::Introduction(_)
            | Message::ForwardChange(_)
            | Message::ForwardChangeReply(_)
            | Message::Refusal(_) => {}
        }
    }

    fn is_absurd(&self, term: Term) -> bool {
        term.0 == u64::MAX || term.0 > self.term().0.saturating_add(TERM_JUMP_MAX)
    }

    /// Raft §5.1: a request of a term that is over is refused, and the sender told of the newer one.
    /// Without this a node that stands alone in a higher term, or behind in a lower one, would never be
    /// heard again.
    fn refuse_stale(&mut self, from: NodeId, message: &Message) {
        let term = self.term();
        let reply = match message {
            Message::RequestVote(request) => Message::RequestVoteReply(RequestVoteReply {
                term,
                vote_granted: false,
                pre_vote: request.pre_vote,
            }),
            _ if is_on(Mutant::IgnoresLeadersOfEarlierTerms) => return,
            Message::AppendEntries(_) => Message::AppendEntriesReply(AppendEntriesReply {
                term,
                round: 0,
                outcome: AppendOutcome::StaleTerm,
            }),
            Message::InstallSnapshot(request) => Message::InstallSnapshotReply(InstallSnapshotReply {
                term,
                snapshot_id: request.snapshot.id,
                next_offset: 0,
                installed: false,
            }),
            Message::ReadIndex(request) => {
                Message::ReadIndexReply(ReadIndexReply { term, id: request.id, read_index: None })
            }
            _ => return,
        };
        self.send(from, reply);
    }

    /// Whether a message of a higher term ends this node's own.
    fn raises_term(&self, message: &Message) -> bool {
        match message {
            // thesis §9.6: a question, and the consent to it, are of a term that nobody has entered yet.
            Message::RequestVote(request) if request.pre_vote => false,
            Message::RequestVoteReply(reply) if reply.pre_vote && reply.vote_granted => false,
            // thesis §4.2.3: nobody is unseated while its leader is heard.
            Message::RequestVote(request) => request.leadership_transfer || !self.hears_leader(),
            _ => true,
        }
    }

    /// Whether a leader was heard within the shortest election timeout (thesis §4.2.3). A leader hears
    /// itself: if it no longer leads a quorum, it steps down by itself.
    pub(super) fn hears_leader(&self) -> bool {
        if matches!(self.state, State::Leader(_)) {
            return true;
        }
        let silence = self.leader_contact.map(|contact| self.now.since(contact));
        silence.is_some_and(|silence| silence < self.config.election_timeout_min)
            && !is_on(Mutant::AnswersCandidatesBesideALeader)
    }
}
