//! Leader election (Raft §5.2, §5.4.1), with pre-vote (thesis §9.6) and check-quorum.
//!
//! An election is won by votes that are on disks, so it takes as long as they do. Where a disk needs longer
//! than an election timeout, three rules see to it that there is a winner all the same: whoever has a vote on
//! its way to the disk does not stand anew before it is there, which would throw it away; a candidate that
//! asks whether to stand again still takes late votes for the term in which it stands; and nodes draw their
//! waits from a span that is wide beside the time that a vote takes, or all would stand while the first of
//! them still writes (Raft §5.6).

use std::{collections::BTreeMap, time::Duration};

use super::{Raft, State, replication::Leadership};
use crate::{
    membership::Membership,
    message::{Message, RequestVote, RequestVoteReply},
    mutants::{Mutant, is_on},
    types::{LogId, NodeId, Role, Term},
};

/// Who has answered, and how. By node, so that an answer that comes twice counts once.
pub(super) type Tally = BTreeMap<NodeId, bool>;

/// How many votes could be written, one after the other, in the span from which waits are drawn.
const VOTES_IN_A_SPAN: u32 = 4;

/// When a node's turn is among those who may stand once a leader is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The leader, and the place of the membership, that it was looked up for.
    after: Option<NodeId>,
    members: LogId,
    before_own: u32,
    all: u32,
}

impl Turn {
    /// In a circle that begins after the lost one: it is not always the same who comes first.
    fn new(own: NodeId, lost: NodeId, members: LogId, membership: &Membership) -> Turn {
        let place = |node: NodeId| (node < lost, node);
        let mut turn = Turn { after: Some(lost), members, before_own: 0, all: 0 };
        for node in membership.nodes().filter(|node| *node != lost && membership.is_voter(*node)) {
            turn.all += 1;
            turn.before_own += u32::from(place(node) < place(own));
        }
        turn
    }
}

impl Raft {
    /// Draws the next wait anew, so that nodes which collided once do not collide again (Raft §5.2).
    pub(super) fn reset_election_deadline(&mut self) {
        let (shortest, span) = self.election_timeouts();
        let wait = self.random.between(shortest, shortest.saturating_add(span));
        self.election_deadline = self.now.after(wait);
    }

    /// Draws the next wait from this node's turn: from a little after its beginning, when the others no
    /// longer count on the leader either, to where a quarter of it is over.
    fn wait_in_turn(&mut self, leader: NodeId) {
        let Turn { before_own, all, .. } = self.turn_after(leader);
        let (shortest, span) = self.election_timeouts();
        let turn = span / all.max(1);
        let begin = shortest.saturating_add(turn.saturating_mul(before_own));
        let wait = self.random.between(begin.saturating_add(turn / 16), begin.saturating_add(turn / 4));
        self.election_deadline = self.now.after(wait);
    }

    /// The shortest election timeout, and how much longer one may be.
    fn election_timeouts(&self) -> (Duration, Duration) {
        let shortest = self.config.election_timeout_min;
        let span = self.config.election_timeout_max.saturating_sub(shortest);
        (shortest, self.wide_beside_a_vote(span))
    }

    /// This node's turn without `leader`: looked up anew only where leader or members are others.
    fn turn_after(&mut self, leader: NodeId) -> Turn {
        let (members, membership) = self.log.membership();
        if (self.turn.after, self.turn.members) != (Some(leader), members) {
            self.turn = Turn::new(self.id, leader, members, membership);
        }
        self.turn
    }

    /// The span, or a longer one where votes take long to be written (Raft §5.6: what an election needs must
    /// be little beside the timeouts).
    fn wide_beside_a_vote(&self, span: Duration) -> Duration {
        span.max(self.vote_takes().saturating_mul(VOTES_IN_A_SPAN))
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
        let turn = heartbeat.saturating_mul(self.turn_after(peer).before_own);
        let wait = turn.saturating_add(self.random.between(Duration::ZERO, heartbeat / 2));
        self.election_deadline = self.election_deadline.min(self.now.after(wait));
    }

    pub(super) fn election_timed_out(&mut self) {
        self.reset_election_deadline();
        if !self.hard_state_is_flushed() {
            // Nothing may be said before the disk has term and vote, so there is nothing to begin either. A
            // disk that hangs keeps this node silent, and the others elect without it.
            return;
        }
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
        self.wait_in_turn(leader);
    }

    /// thesis §9.6: asks whether an election would succeed, before disturbing anyone with a new term.
    pub(super) fn start_pre_vote(&mut self) {
        let stands_already = self.role() == Role::Candidate && !self.hard_state_is_flushed();
        if self.role() == Role::Leader || stands_already || !self.may_campaign() {
            return;
        }
        let Some(term) = self.next_term() else { return };
        self.set_leader(None);
        self.reset_election_deadline();
        let votes = match std::mem::replace(&mut self.state, State::Follower) {
            State::Candidate(votes) | State::PreCandidate { votes, .. } => votes,
            State::Follower | State::Leader(_) => Tally::new(),
        };
        self.state = State::PreCandidate { consents: Tally::from([(self.id, true)]), votes };
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
            State::PreCandidate { consents, .. } if reply.pre_vote => {
                if !reply.vote_granted || Some(reply.term) == asked {
                    consents.insert(from, reply.vote_granted);
                }
            }
            // It stood in this term and its term has not changed, so the vote is as good as one in time.
            // Where it only remembers from its disk that it stood, nothing is counted: it may have asked
            // for votes with a longer log than it has kept.
            State::PreCandidate { votes, .. } if is_of_this_term && !votes.is_empty() => {
                votes.insert(from, reply.vote_granted);
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
        let span = self.wide_beside_a_vote(self.config.election_timeout_min);
        let wait = self.random.between(Duration::ZERO, span);
        self.election_deadline = self.election_deadline.min(self.now.after(wait));
    }

    /// A vote has come to the disk, and is told now: others have their time from here on. A candidate's vote
    /// for itself counts at once.
    pub(super) fn vote_is_flushed(&mut self) {
        if self.hard_state.voted_for.is_some() && self.leader.is_none() {
            self.reset_election_deadline();
        }
        if let State::Candidate(tally) = &mut self.state {
            tally.insert(self.id, true);
            self.decide_election();
        }
    }

    fn decide_election(&mut self) {
        let membership = self.log.membership().1;
        let is_won = |tally: &Tally| membership.has_quorum(|node| tally.get(&node) == Some(&true));
        let is_lost = |tally: &Tally| membership.quorum_is_lost(|node| tally.get(&node) == Some(&false));
        match &self.state {
            State::PreCandidate { votes, .. } | State::Candidate(votes) if is_won(votes) => {
                self.become_leader();
            }
            State::PreCandidate { consents, .. } if is_won(consents) => self.campaign(false),
            // The vote stays given (Raft §5.2); the next election timeout tries again.
            State::PreCandidate { consents: tally, .. } | State::Candidate(tally) if is_lost(tally) => {
                self.state = State::Follower;
            }
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
