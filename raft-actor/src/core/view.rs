//! What can be seen of a node from outside.

use super::{Raft, State};
use crate::{
    membership::Membership,
    status::Status,
    types::{LogId, LogIndex, NodeId, Role, Term, Time},
};

impl Raft {
    /// This node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// What it is in its term.
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate { .. } => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Who leads the term, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Who got this node's vote in its term.
    pub fn voted_for(&self) -> Option<NodeId> {
        self.hard_state.voted_for
    }

    /// The last term in which this node may have acknowledged what its log has lost: it neither votes nor
    /// stands for election. None where nothing is lost, or the log is repaired.
    pub fn fence(&self) -> Option<Term> {
        self.hard_state.fence
    }

    /// Up to here a quorum has the log, as far as this node knows.
    pub fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    /// Up to here the state machine has seen the log.
    pub fn applied_index(&self) -> LogIndex {
        self.applied_index
    }

    /// Up to here the log is on this node's disk.
    pub fn flushed_index(&self) -> LogIndex {
        self.log.flushed()
    }

    /// The last entry of the log.
    pub fn last_log_id(&self) -> LogId {
        self.log.last()
    }

    /// The first entry still in the log; one past the last where it is empty.
    pub fn first_index(&self) -> LogIndex {
        self.log.purged().index.next()
    }

    /// The term of the entry at `index`; `None` where it was purged or is not there yet.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The members in force: those of the newest membership in the log, committed or not (Raft §6).
    pub fn membership(&self) -> &Membership {
        self.log.membership().1
    }

    /// The entry that the membership comes from; [`LogId::ZERO`] where neither log nor snapshot holds one.
    pub fn membership_log_id(&self) -> LogId {
        self.log.membership().0
    }

    /// A leader's peers, and up to where each one's log is known to be the same; none on everyone else.
    pub fn match_indexes(&self) -> impl Iterator<Item = (NodeId, LogIndex)> {
        let leadership = match &self.state {
            State::Leader(leadership) => Some(leadership),
            _ => None,
        };
        let peers = leadership.into_iter().flat_map(|leadership| &leadership.peers);
        peers.map(|(peer, progress)| (*peer, progress.match_index()))
    }

    /// The peers that a leader has not heard for the shortest election timeout.
    pub fn silent_peers(&self, now: Time) -> Vec<NodeId> {
        let State::Leader(leadership) = &self.state else { return Vec::new() };
        let patience = self.config.election_timeout_min;
        let is_silent = |heard: Option<Time>| heard.is_none_or(|heard| now.since(heard) >= patience);
        let silent = leadership.peers.iter().filter(|(_, peer)| is_silent(peer.heard));
        silent.map(|(node, _)| *node).collect()
    }

    /// Everything there is to see at `now`. `failure` is left empty, as the core cannot fail, and so is
    /// `refusal`, of which it is not told.
    pub fn status(&self, now: Time) -> Status {
        let last = self.log.last();
        let leadership = match &self.state {
            State::Leader(leadership) => Some(leadership),
            _ => None,
        };
        let peers = leadership.map(|leadership| leadership.peers.iter()).into_iter().flatten();
        Status {
            id: self.id,
            role: self.role(),
            term: self.term(),
            voted_for: self.voted_for(),
            fence: self.fence(),
            leader: self.leader,
            first_index: self.first_index(),
            last_log_id: last,
            flushed_index: self.log.flushed(),
            commit_index: self.commit_index,
            applied_index: self.applied_index,
            snapshot: self.snapshots.latest.clone(),
            receiving: self.snapshots.receiving(),
            membership: self.membership().clone(),
            membership_log_id: self.membership_log_id(),
            peers: peers.map(|(peer, progress)| (*peer, progress.status(last.index, now))).collect(),
            transfer: leadership.and_then(|leadership| leadership.transfer.as_ref()).map(|it| it.to),
            election_in: leadership.is_none().then(|| self.election_deadline.since(now)),
            disk_hangs_for: self.disk_hangs_for(now),
            refusal: None,
            failure: None,
        }
    }
}
