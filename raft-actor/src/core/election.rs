//! Leader election (Raft §5.2, §5.4.1), with pre-vote (thesis §9.6) and check-quorum.

use std::{collections::BTreeMap, time::Duration};

use super::{Raft, State, replication::Leadership};
use crate::{
    message::{Message, RequestVote, RequestVoteReply},
    mutants::{Mutant, is_on},
    types::{NodeId, Role, Term},
};

/// Who has answered, and how. By node, so that an answer that comes twice counts once.
pub(super) type Tally = BTreeMap<NodeId, bool>;

impl Raft {
    /// Draws the next wait anew, so that nodes which collided once do not collide again (Raft §5.2).
    pub(super) fn reset_election_deadline(&mut self) {
        let wait = self.random.between(self.config.election_timeout_min, self.config.election_timeout_max);
        self.election_deadline = self.now.after(wait);
    }

    /// A leader that is gone is not waited for. The others have seen its end as well, and answer a pre-vote.
    /// They stand one after the other, a heartbeat apart, so that they do not split the vote (Raft §5.2);
    /// a little chance leaves each time to see that the leader is gone.
    pub(super) fn peer_is_gone(&mut self, peer: NodeId) {
        // thesis §6.4.1: a lease is counted in time alone, whatever became of the link.
        if self.leader != Some(peer) || self.config.lease_reads {
            return;
        }
        self.leader_contact = None;
        let heartbeat = self.config.heartbeat_interval;
        let membership = self.membership();
        let voters = || membership.nodes().filter(|node| membership.is_voter(*node) && *node != peer);
        // In a circle that begins after the lost one: it is not always the same who comes first.
        let in_turn = voters().filter(|node| *node > peer).chain(voters().filter(|node| *node < peer));
        let before_own = in_turn.take_while(|node| *node != self.id).count();
        let turn = heartbeat.saturating_mul(u32::try_from(before_own).unwrap_or(u32::MAX));
        let wait = turn.saturating_add(self.random.between(Duration::ZERO, heartbeat / 2));
        self.election_deadline = self.election_deadline.min(self.now.after(wait));
    }

    pub(super) fn election_timed_out(&mut self) {
        self.reset_election_deadline();
        if self.may_campaign() && !self.lets_others_stand() {
            self.start_pre_vote();
        } else {
            // Raft §6: learners and removed servers never campaign; they only stop counting on a silent
            // leader.
            self.become_follower(self.term(), None);
        }
    }

    /// Raft §5.2: the leader of this term was heard. Whoever was a candidate goes back to following.
    pub(super) fn hear_leader(&mut self, leader: NodeId) {
        self.become_follower(self.term(), Some(leader));
        self.leader_contact = Some(self.now);
        self.elections_left = None;
        self.reset_election_deadline();
    }

    /// thesis §9.6: asks whether an election would succeed, before disturbing anyone with a new term.
    pub(super) fn start_pre_vote(&mut self) {
        if self.role() == Role::Leader || !self.may_campaign() {
            return;
        }
        let Some(term) = self.next_term() else { return };
        self.set_leader(None);
        self.reset_election_deadline();
        self.state = State::PreCandidate(Tally::from([(self.id, true)]));
        self.request_votes(term, true, false);
        self.decide_election();
    }

    /// Raft §5.2: a new term, a vote for oneself, and the question to everyone else.
    pub(super) fn campaign(&mut self, leadership_transfer: bool) {
        let Some(term) = self.next_term() else { return };
        self.set_leader(None);
        self.reset_election_deadline();
        self.set_hard_state(term, Some(self.id));
        // Its own vote counts once it is on the disk, like any other.
        self.state = State::Candidate(Tally::new());
        self.request_votes(term, false, leadership_transfer);
    }

    /// The term to stand in; none where the numbers end.
    fn next_term(&self) -> Option<Term> {
        self.term().next().filter(|term| term.0 != u64::MAX)
    }

    fn request_votes(&mut self, term: Term, pre_vote: bool, leadership_transfer: bool) {
        let request = RequestVote { term, last_log_id: self.log.last(), pre_vote, leadership_transfer };
        let membership = self.log.membership().1;
        let voters: Vec<NodeId> =
            membership.nodes().filter(|node| *node != self.id && membership.is_voter(*node)).collect();
        for voter in voters {
            self.send(voter, Message::RequestVote(request));
        }
    }

    /// thesis §9.6: yes, where a real vote would be given. Nothing is promised, so nothing is written.
    pub(super) fn answer_pre_vote(&mut self, from: NodeId, request: RequestVote) {
        if self.hears_leader() {
            // thesis §4.2.3: no answer at all; the leader is there, and the asker will hear from it.
            return;
        }
        // A pre-vote for this very term comes too late to be of use: its asker learns the term.
        let vote_granted = request.term > self.term() && self.is_up_to_date(&request) && !self.is_fenced();
        let term = if vote_granted { request.term } else { self.term() };
        self.send(from, Message::RequestVoteReply(RequestVoteReply { term, vote_granted, pre_vote: true }));
    }

    /// Raft §5.2, §5.4.1. A voter does not ask whether the candidate, or it itself, is a member: the log
    /// that says so may not have reached it yet (thesis §4.2.2).
    pub(super) fn answer_vote(&mut self, from: NodeId, request: RequestVote) {
        if request.term > self.term() {
            // thesis §4.2.3: its leader is heard, so the term was not taken over. No answer.
            return;
        }
        let term = self.term();
        let is_free = self.hard_state.voted_for.is_none_or(|voted_for| voted_for == from);
        let vote_granted = is_free && self.is_up_to_date(&request) && !self.is_fenced();
        let is_learner = !self.membership().is_voter(self.id);
        let vote_granted = vote_granted && !(is_learner && is_on(Mutant::DeniesVotesAsALearner));
        // A leader of this very term is known: the election is over, and no vote changes that.
        let vote_granted = vote_granted && self.leader.is_none_or(|leader| leader == from);
        // thesis §6.4.1: who has heard a leader of late votes for nobody, in whatever term it is by now.
        let is_bound = self.config.lease_reads && self.hears_leader() && !request.leadership_transfer;
        let vote_granted = vote_granted && !is_bound;
        if vote_granted {
            self.set_hard_state(term, Some(from));
            self.reset_election_deadline();
            if self.role() == Role::PreCandidate {
                self.state = State::Follower;
            }
        }
        self.send(from, Message::RequestVoteReply(RequestVoteReply { term, vote_granted, pre_vote: false }));
    }

    /// Raft §5.4.1: the later last term is newer; in the same term, the longer log.
    fn is_up_to_date(&self, request: &RequestVote) -> bool {
        let last = self.log.last();
        match is_on(Mutant::ComparesLogsByLength) {
            true => request.last_log_id.index >= last.index,
            false => request.last_log_id >= last,
        }
    }

    /// Counts only what answers the present question: this term, this kind, each voter once.
    pub(super) fn take_vote(&mut self, from: NodeId, reply: RequestVoteReply) {
        let is_of_this_term = reply.term == self.term() || is_on(Mutant::CountsVotesOfEarlierTerms);
        let asked = self.next_term();
        match &mut self.state {
            State::PreCandidate(tally) if reply.pre_vote => {
                if !reply.vote_granted || Some(reply.term) == asked {
                    tally.insert(from, reply.vote_granted);
                }
            }
            State::Candidate(tally) if !reply.pre_vote && is_of_this_term => {
                tally.insert(from, reply.vote_granted || is_on(Mutant::TakesAnyReplyForAVote));
                if !reply.vote_granted {
                    self.try_again_soon();
                }
            }
            _ => return,
        }
        self.decide_election();
    }

    /// Somebody has voted for another candidate of this term. If that one wins it is heard at once; if the
    /// vote is split, a whole election timeout would be wasted (Raft §5.2: the next time is of chance again).
    fn try_again_soon(&mut self) {
        let wait = self.random.between(Duration::ZERO, self.config.election_timeout_min);
        self.election_deadline = self.election_deadline.min(self.now.after(wait));
    }

    /// A candidate's vote for itself counts as soon as it is flushed.
    pub(super) fn count_own_vote(&mut self) {
        let is_flushed = self.hard_state_is_flushed();
        if let State::Candidate(tally) = &mut self.state
            && is_flushed
        {
            tally.insert(self.id, true);
            self.decide_election();
        }
    }

    fn decide_election(&mut self) {
        let (State::PreCandidate(tally) | State::Candidate(tally)) = &self.state else { return };
        let membership = self.log.membership().1;
        let is_won = membership.has_quorum(|node| tally.get(&node) == Some(&true));
        let is_lost = membership.quorum_is_lost(|node| tally.get(&node) == Some(&false));
        match (is_won, &self.state) {
            (true, State::PreCandidate(_)) => self.campaign(false),
            (true, _) => self.become_leader(),
            // The vote stays given (Raft §5.2); the next election timeout tries again.
            _ if is_lost => self.state = State::Follower,
            _ => {}
        }
    }

    fn become_leader(&mut self) {
        debug_assert_eq!(self.hard_state.voted_for, Some(self.id), "a leader has its own vote");
        // Those that have left as well, until they can know it.
        let peers: Vec<NodeId> = self.peers().keys().copied().collect();
        let leadership = Leadership::new(peers, self.log.last().index.next(), self.now);
        self.state = State::Leader(Box::new(leadership));
        self.elections_left = None;
        self.set_leader(Some(self.id));
        // Raft §5.4.2, §8: an entry of the new term commits what earlier terms left.
        self.append_own(crate::types::Payload::Noop);
    }

    /// Raft §5.1: back to following, in this term or a later one. The vote of the present term is kept.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        let is_newer = term > self.term();
        if is_newer {
            self.set_leader(None);
            self.set_hard_state(term, None);
        } else if is_on(Mutant::ForgetsItsVoteWhenItStepsDown) {
            self.set_hard_state(self.term(), None);
        }
        if let State::Leader(leadership) = std::mem::replace(&mut self.state, State::Follower) {
            self.reset_election_deadline();
            self.leader_contact = None;
            self.end_leadership(*leadership, is_newer);
        }
        self.set_leader(leader);
    }

    /// Another leader, or none: reads that were carried to the last one will not be answered.
    pub(super) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            self.fail_carried_reads();
        }
    }
}
