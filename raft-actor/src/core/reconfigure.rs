//! Changing the members (Raft §6, thesis §4).
//!
//! A change of who votes goes through a joint configuration, however many nodes it concerns: first the old
//! and the new voters together, then, once that is committed, the new ones alone. Whoever leads then appends
//! the second step, so a change whose leader is lost is finished by the next. A change of learners and
//! addresses only leaves every quorum as it is, and is one entry.
//!
//! A membership is in force as soon as it is in the log, committed or not, and no longer than that.
//!
//! Who has left is not dropped at once: it is still talked to until the change is committed and an election
//! timeout has passed, so that it can learn that it has left, and so that a leader that is leaving hears the
//! answers that it needs.

use std::{collections::BTreeMap, mem};

use super::{Effect, Raft, State, progress::Progress};
use crate::{
    membership::{ChangeError, Membership, MembershipChange},
    mutants::{Mutant, is_on},
    types::{LogId, LogIndex, NodeId, Payload, Time},
};

/// What follows the membership in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconfiguration {
    /// The membership that the peers follow, and its entry; no entry before the first.
    followed: (Option<LogId>, Membership),
    departing: BTreeMap<NodeId, Departing>,
    peers: BTreeMap<NodeId, String>,
}

/// A node that has left.
#[derive(Clone, Debug)]
struct Departing {
    address: String,
    /// Until then it is talked to; none before the change is committed.
    until: Option<Time>,
}

/// A change that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    id: u64,
    /// The entry that is followed by nothing more: C_new, or the only one.
    done_by: Option<LogIndex>,
}

impl Raft {
    /// What the log held when the node started is followed, and nobody is told: whoever carries out the
    /// effects asks for [`Raft::peers`].
    pub(super) fn follow_first_membership(&mut self) {
        let before = self.log.previous_membership().clone();
        self.reconfiguration.followed = (None, before);
        self.follow_membership();
        self.output.events.clear();
    }

    /// Whom this node talks to, and where each is reached, as [`Effect::PeersChanged`] tells it.
    pub fn peers(&self) -> &BTreeMap<NodeId, String> {
        &self.reconfiguration.peers
    }

    /// Somebody wants other members.
    pub(super) fn change_membership(&mut self, id: u64, change: &MembershipChange) {
        let target = match self.changeable().and_then(|()| self.target(change)) {
            Ok(target) => target,
            Err(reason) => return self.output.endings.push(Effect::MembershipRefused { id, reason }),
        };
        let (log_id, now) = self.log.membership();
        if target == *now {
            // Also where an earlier try has made it, and its answer was lost.
            return self.output.endings.push(Effect::MembershipChanged { id, log_id });
        }
        let is_joint = target.voters() != now.voters() && !is_on(Mutant::ChangesMembersAtOnce);
        // Raft §6: where the voters change, both halves decide until the joint step is committed.
        let next = if is_joint { target.joint_with(now) } else { target };
        let entry = self.append_membership(next);
        let done_by = (!is_joint).then_some(entry.index);
        if let Some(leadership) = self.leadership() {
            leadership.awaited = Some(Awaited { id, done_by });
        }
    }

    /// Whether a change may begin at all.
    fn changeable(&self) -> Result<(), ChangeError> {
        let State::Leader(leadership) = &self.state else {
            return Err(ChangeError::NotLeader { leader: self.leader });
        };
        if let Some(transfer) = &leadership.transfer {
            return Err(ChangeError::NotLeader { leader: Some(transfer.to) });
        }
        if self.is_witness() {
            // It leads for a moment only.
            return Err(ChangeError::NotLeader { leader: None });
        }
        if self.commit_index < leadership.term_start && !is_on(Mutant::ChangesMembersAtOnce) {
            // Ongaro 2015, on single-server changes: an earlier leader's change, which this one does not
            // have, could otherwise be committed beside its own by a quorum that shares nobody with its.
            return Err(ChangeError::NotReady);
        }
        let (id, membership) = self.log.membership();
        let is_settled = id.index <= self.commit_index || self.only_records();
        if membership.is_joint() || !is_settled {
            // Raft §6: one change at a time.
            return Err(ChangeError::UnderWay);
        }
        Ok(())
    }

    /// The members after the change, if they could work.
    fn target(&self, change: &MembershipChange) -> Result<Membership, ChangeError> {
        let now = self.membership();
        let mut target = now.changed_by(change)?;
        if target.voters() != now.voters() {
            // Whoever gets a vote was heard, so it is known by which log.
            target = self.with_heard_incarnations(target);
        }
        for node in target.voters().difference(now.voters()) {
            // thesis §4.2.1: a server that is far behind would hold up commits as a voter.
            self.may_vote(*node)?;
        }
        if target.voters() != now.voters() && !target.has_quorum(|node| self.hears(node)) {
            let silent = target.voters().iter().copied().filter(|node| !self.hears(*node)).collect();
            return Err(ChangeError::NoQuorum { silent });
        }
        Ok(target)
    }

    fn may_vote(&self, node: NodeId) -> Result<(), ChangeError> {
        let matched = match &self.state {
            State::Leader(leadership) => leadership.peers.get(&node).map(Progress::match_index),
            _ => None,
        };
        let lag = match matched {
            Some(matched) if self.hears(node) => self.log.last().index.0.saturating_sub(matched.0),
            _ if node == self.id => 0,
            _ => return Err(ChangeError::Silent { node }),
        };
        let lag_max = self.config.promotion_lag_max;
        if lag > lag_max { Err(ChangeError::Lagging { node, lag, lag_max }) } else { Ok(()) }
    }

    /// Whether a node has answered this leader within the longest election timeout.
    fn hears(&self, node: NodeId) -> bool {
        let State::Leader(leadership) = &self.state else { return false };
        let heard = leadership.peers.get(&node).and_then(|peer| peer.heard);
        node == self.id || heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout_max)
    }

    pub(super) fn append_membership(&mut self, membership: Membership) -> LogId {
        self.append_own(Payload::Membership(Box::new(membership)));
        self.follow_membership();
        self.log.last()
    }

    /// A leader whose newest membership is committed goes on from it.
    pub(super) fn settle_membership(&mut self) {
        let State::Leader(leadership) = &mut self.state else { return };
        let commit_index = self.commit_index;
        let (log_id, membership) = self.log.membership();
        if log_id.index > commit_index || commit_index < leadership.term_start {
            return;
        }
        if membership.is_joint() {
            // Raft §6: once C_old,new is committed, the leader appends C_new; whichever leads by now, and
            // once, as C_new is not joint.
            let after = membership.leave_joint();
            let entry = self.append_membership(after);
            if let Some(awaited) = self.leadership().and_then(|leadership| leadership.awaited.as_mut()) {
                awaited.done_by = Some(entry.index);
            }
        } else if leadership.awaited.is_some_and(|awaited| awaited.done_by == Some(log_id.index))
            && let Some(Awaited { id, .. }) = leadership.awaited.take()
        {
            self.output.endings.push(Effect::MembershipChanged { id, log_id });
        }
    }

    /// Raft §6: a leader that C_new has no vote for leads until C_new is committed, and no longer. Others
    /// learn of the commit first, and the best of them is told to campaign (thesis §4.2.2).
    pub(super) fn leave_if_removed(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        let (log_id, membership) = self.log.membership();
        let is_over = log_id.index <= self.given_index && !membership.is_voter(self.id);
        if !is_over || leadership.transfer.is_some() {
            return;
        }
        self.start_transfer(None);
        if self.leadership().is_some_and(|leadership| leadership.transfer.is_none()) {
            // Nobody to hand over to was heard of late.
            self.become_follower(self.term(), None);
        }
    }

    /// A leadership has ended: the change it was making is finished by the next leader, or forgotten.
    pub(super) fn fail_awaited_change(&mut self, awaited: Option<Awaited>) {
        if let Some(Awaited { id, .. }) = awaited {
            self.output.endings.push(Effect::MembershipRefused { id, reason: ChangeError::Unknown });
        }
    }

    /// Has the peers follow the newest membership in the log: as it is appended, and as it is truncated.
    pub(super) fn follow_membership(&mut self) {
        let is_news = self.reconfiguration.followed.0 != Some(self.log.membership().0);
        if is_news || !self.reconfiguration.departing.is_empty() {
            self.update_peers(is_news);
        }
    }

    fn update_peers(&mut self, is_news: bool) {
        let (log_id, membership) = self.log.membership();
        if is_news {
            let reconfiguration = &mut self.reconfiguration;
            let (_, before) = mem::replace(&mut reconfiguration.followed, (Some(log_id), membership.clone()));
            if let State::Leader(leadership) = &mut self.state {
                // One that left and is back may have lost its disk: what it had before counts for nothing.
                leadership.peers.retain(|node, _| before.contains(*node) || !membership.contains(*node));
            }
            for (node, address) in before.addresses() {
                let departing = Departing { address: address.clone(), until: None };
                reconfiguration.departing.insert(*node, departing);
            }
        }
        let until = self.now.after(self.config.election_timeout_max);
        let is_committed = log_id.index <= self.commit_index;
        let (own, now) = (self.id, self.now);
        let departing = &mut self.reconfiguration.departing;
        departing.retain(|node, departing| {
            if is_committed {
                departing.until.get_or_insert(until);
            }
            let is_over = departing.until.is_some_and(|until| until <= now);
            !is_over && *node != own && !membership.contains(*node)
        });
        let mut peers = membership.addresses().clone();
        peers.extend(departing.iter().map(|(node, departing)| (*node, departing.address.clone())));
        peers.remove(&own);
        if !is_news && peers == self.reconfiguration.peers {
            return;
        }
        self.reconfiguration.peers.clone_from(&peers);
        self.follow_peers();
        self.output.events.push(Effect::PeersChanged { peers });
    }

    /// A leader's progress of its peers comes and goes with them.
    fn follow_peers(&mut self) {
        // A new node's log is empty, most likely: nothing is lost if it is not.
        let next_index = self.log.purged().index.next();
        let peers = &self.reconfiguration.peers;
        if let State::Leader(leadership) = &mut self.state {
            leadership.peers.retain(|node, _| peers.contains_key(node));
            // Answers to an earlier round may be those of a node that was here before, with another disk.
            let since_round = leadership.round + 1;
            for node in peers.keys() {
                leadership.peers.entry(*node).or_insert_with(|| {
                    leadership.round = since_round;
                    Progress::new(next_index, since_round)
                });
            }
        }
    }

    /// When the first of those that have left is to be dropped.
    pub(super) fn departure_deadline(&self) -> Option<Time> {
        self.reconfiguration.departing.values().filter_map(|departing| departing.until).min()
    }
}
