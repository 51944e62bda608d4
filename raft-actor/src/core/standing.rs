//! Who stands for election first, and how a witness that leads is relieved.
//!
//! Members have priorities. Whoever is below the highest of the voters lets as many election timeouts pass as
//! there are steps above it, and then stands all the same: those above may be gone, or may be unable to win.
//! Nobody is kept from winning, and nobody who leads is unseated.
//!
//! A *witness* holds the log and no state machine. It votes, and what it has flushed counts, so it may be the
//! only one left that has an entry that was acknowledged. So it must be able to lead: last of all, and only
//! until a full member has its last entry. As it has no state to send, it keeps the entries that a full voter
//! may still need, however many they are.

use super::{Raft, State};
use crate::{
    membership::Membership,
    types::{LogIndex, NodeId},
};

impl Raft {
    /// The members among whom this node stands: those in force; or, where it has left, those before them,
    /// until that is committed. It may be needed until then: the others' logs may all be behind its own
    /// (thesis §4.2.2). Its own vote does not count then.
    fn own_membership(&self) -> &Membership {
        let (log_id, membership) = self.log.membership();
        let is_settled = log_id.index <= self.commit_index;
        if is_settled || membership.is_voter(self.id) { membership } else { self.log.previous_membership() }
    }

    /// Whether this node has a vote, a priority that lets it stand, a log that holds all that it
    /// acknowledged, and a disk that could keep its vote.
    pub(super) fn may_campaign(&self) -> bool {
        if self.is_disowned() || self.is_fenced() || self.disk_hangs_for(self.now).is_some() {
            return false;
        }
        let membership = self.own_membership();
        membership.is_voter(self.id) && membership.priority(self.id) > 0
    }

    pub(super) fn is_witness(&self) -> bool {
        self.own_membership().is_witness(self.id)
    }

    /// An election timeout has passed without a leader: whether others are to stand first. The longest
    /// timeout is theirs, so that each of them has stood by its end. The leader that was lost is not waited
    /// for.
    pub(super) fn lets_others_stand(&mut self) -> bool {
        let lost = self.leader;
        let left =
            self.elections_left.unwrap_or_else(|| self.own_membership().elections_to_leave(self.id, lost));
        self.elections_left = Some(left.saturating_sub(1));
        if left > 0 {
            self.election_deadline = self.now.after(self.config.election_timeout_max);
        }
        left > 0
    }

    /// This leader has flushed its first entry and a quorum has it; as a witness, it hands over as soon as
    /// somebody who has a state machine has its last entry.
    pub(super) fn relieve_witness(&mut self) {
        if !matches!(self.state, State::Leader(_)) || !self.is_witness() {
            return;
        }
        let heir = self.successor(None);
        let last = self.log.last().index;
        let State::Leader(leadership) = &self.state else { return };
        let is_ready = |node: NodeId| leadership.peers.get(&node).is_some_and(|it| it.match_index() == last);
        let is_free = leadership.transfer.is_none() && self.commit_index >= leadership.term_start;
        if is_free && heir.is_some_and(is_ready) {
            self.start_transfer(heir);
        }
    }

    /// Up to here every full voter is known to have the log.
    pub(super) fn held_index(&self) -> LogIndex {
        let State::Leader(leadership) = &self.state else { return self.following.held_index };
        let membership = self.membership();
        let full = membership.nodes().filter(|it| membership.is_voter(*it) && !membership.is_witness(*it));
        let held = full.map(|node| match leadership.peers.get(&node) {
            _ if node == self.id => self.log.flushed(),
            peer => peer.map_or(LogIndex(0), |peer| peer.match_index()),
        });
        held.min().unwrap_or_default()
    }
}
