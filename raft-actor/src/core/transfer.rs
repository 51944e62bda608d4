//! Handing leadership over (thesis §3.10).

use super::{Effect, Raft, State, replication::Leadership};
use crate::{
    membership::TransferError,
    message::{Message, TimeoutNow},
    types::{NodeId, Time},
};

/// A handing-over under way.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    /// When it is given up.
    pub(super) deadline: Time,
    /// When the successor was last told; it may not have heard.
    told: Option<Time>,
}

impl Raft {
    /// Begins to hand over. A request while another is under way joins it: one end answers both.
    pub(super) fn start_transfer(&mut self, to: Option<NodeId>) {
        let deadline = self.now.after(self.config.election_timeout_max);
        if self.leadership().is_some_and(|leadership| leadership.transfer.is_some()) {
            return;
        }
        match (self.heir(to), self.leadership()) {
            (Ok(to), Some(leadership)) => leadership.transfer = Some(Transfer { to, deadline, told: None }),
            (Ok(_), None) => {}
            (Err(reason), _) => self.output.endings.push(Effect::TransferEnded { outcome: Err(reason) }),
        }
    }

    /// Who is to lead, or why nobody is.
    fn heir(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        if !matches!(self.state, State::Leader(_)) {
            return Err(TransferError::NotLeader { leader: self.leader });
        }
        let against = to.and_then(|to| TransferError::against(self.membership(), self.id, to));
        against.map_or_else(|| self.successor(to).ok_or(TransferError::NobodyAnswers), Err)
    }

    /// Who is to lead: the one named, or the voter that is furthest ahead among those heard of late, and of
    /// several such the one with the highest priority. Never a witness, nor one with priority 0.
    pub(super) fn successor(&self, to: Option<NodeId>) -> Option<NodeId> {
        let State::Leader(leadership) = &self.state else { return None };
        let membership = self.membership();
        let voters = leadership.peers.iter().filter(|(node, _)| membership.may_lead(**node));
        if let Some(to) = to {
            return voters.map(|(node, _)| *node).find(|node| *node == to);
        }
        let heard = voters.filter(|(_, peer)| {
            peer.heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout_min)
        });
        // The lowest id among equals, so that the same state chooses the same node.
        heard
            .max_by_key(|(node, peer)| {
                (peer.match_index(), membership.priority(**node), std::cmp::Reverse(**node))
            })
            .map(|(node, _)| *node)
    }

    /// Tells the successor as soon as it has everything, and again with each heartbeat in case that was lost.
    pub(super) fn hand_over(&mut self) {
        let now = self.now;
        let term = self.term();
        let last = self.log.last().index;
        let patience = self.config.heartbeat_interval;
        let Some(leadership) = self.leadership() else { return };
        let Some(transfer) = &mut leadership.transfer else { return };
        let is_ready = leadership.peers.get(&transfer.to).is_some_and(|peer| peer.match_index() == last);
        let is_told = transfer.told.is_some_and(|told| now.since(told) < patience);
        if is_ready && !is_told {
            transfer.told = Some(now);
            leadership.readers.end_lease();
            let to = transfer.to;
            self.send(to, Message::TimeoutNow(TimeoutNow { term }));
        }
    }

    /// thesis §3.10: after about an election timeout the leader goes on.
    pub(super) fn expire_transfer(&mut self) {
        let now = self.now;
        let Some(leadership) = self.leadership() else { return };
        if let Some(transfer) = leadership.transfer.take_if(|transfer| now >= transfer.deadline) {
            let outcome = Err(TransferError::NotTaken(transfer.to));
            self.output.endings.push(Effect::TransferEnded { outcome });
            let is_removed =
                !self.membership().is_voter(self.id) && self.log.membership().0.index <= self.commit_index;
            if is_removed || self.is_outrun() {
                // Raft §6: it was removed; or it can answer nobody, so that anybody else will do better. It
                // does not go on, successor or not.
                self.become_follower(self.term(), None);
            }
        }
    }

    /// This node no longer leads. A later term means that another was elected, or is about to be.
    pub(super) fn end_leadership(&mut self, leadership: Leadership, is_newer_term: bool) {
        if let Some(transfer) = leadership.transfer {
            let outcome = if is_newer_term { Ok(()) } else { Err(TransferError::NotTaken(transfer.to)) };
            self.output.endings.push(Effect::TransferEnded { outcome });
        }
        self.fail_awaited_change(leadership.awaited);
        self.fail_leader_reads(leadership.readers);
    }

    /// The leader hands over to this node: an election at once, without the question whether it would
    /// succeed.
    pub(super) fn take_timeout_now(&mut self, from: NodeId) {
        let is_from_leader = self.leader.is_none_or(|leader| leader == from);
        if is_from_leader && !matches!(self.state, State::Leader(_)) && self.may_campaign() {
            self.campaign(true);
        }
    }
}
