//! Who is who: a node is its id and the incarnation of its log, in a cluster of one genesis.
//!
//! A node that lost its disk has forgotten its vote and what it acknowledged. Under its old id it would be
//! taken for the voter it was, and two leaders of one term, or the loss of what was committed, could follow.
//! So the leader records in the membership which log each member has; and whoever finds another there
//! believes nothing until the member was removed and added anew. A node that finds itself recorded with
//! another log than its own does not campaign.
//!
//! Late messages of a node's old life may come when it was removed and added anew, and it may come back with
//! the folder that it had. So what the leader records is what has answered a round of heartbeats that began
//! after the node was added ([`Progress::has_answered`]): only the present life can. Until then nothing that
//! the node says counts, and from then on nothing that is said with another incarnation.
//!
//! The genesis tells clusters apart that were founded separately under one cluster id: it is made of the
//! initial members, or anew when a cluster is recovered from one node, and the first entries of two of them
//! may look the same. A node that is still taking in the log of the cluster that it joins reads in it what
//! was so once, about others and about its own id; so until it is recorded itself it has no *standing*: it
//! tells no genesis, disbelieves nobody, and does not campaign.

use std::collections::BTreeMap;

use super::{Raft, State, progress::Progress};
use crate::{
    core::Effect,
    membership::Membership,
    message::Refusal,
    mutants::{Mutant, is_on},
    types::{LogId, NodeId, Origin, Time},
};

/// So many peers that are no members are remembered.
const STRANGERS_MAX: usize = 64;

/// What is known of this node and its peers beside their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Identities {
    /// Of this node's log; 0 where it has none.
    own: u64,
    /// Whether this node was not among the initial members.
    joined: bool,
    heard: BTreeMap<NodeId, Heard>,
    /// Since when there is somebody whose incarnation is to be recorded.
    unrecorded_since: Option<Time>,
    /// The newest membership in which nobody's is missing.
    complete: Option<LogId>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    origin: Origin,
    /// When it was told last that it is not believed.
    refused: Option<Time>,
}

impl Identities {
    pub(super) fn new(own: u64) -> Identities {
        Identities { own, ..Identities::default() }
    }

    /// The incarnation that a node speaks as; 0 where that is not known.
    pub(super) fn heard(&self, node: NodeId) -> u64 {
        self.heard.get(&node).map_or(0, |heard| heard.origin.incarnation)
    }
}

impl Raft {
    /// The same node, which was not among the initial members: what the log says of the time before it was
    /// added is not about it, even under its id.
    pub fn joined(mut self) -> Raft {
        self.identities.joined = true;
        self
    }

    /// What goes beside everything that this node says.
    pub fn origin(&self) -> Origin {
        let genesis = if self.has_standing() { self.membership().genesis() } else { 0 };
        Origin { incarnation: self.identities.own, genesis }
    }

    /// Why a peer that speaks as `origin` is not believed; none where it is.
    pub fn disbelief(&self, peer: NodeId, origin: Origin) -> Option<Refusal> {
        if !self.has_standing() {
            return None;
        }
        let membership = self.membership();
        let differ = |ours: u64, theirs: u64| ours != 0 && theirs != 0 && ours != theirs;
        let is_of_another = differ(membership.genesis(), origin.genesis);
        if is_of_another && !is_on(Mutant::BelievesNodesOfAnotherCluster) {
            return Some(Refusal::OtherGenesis { node: peer, refused_by: self.id });
        }
        let is_other = differ(self.known_incarnation(peer), origin.incarnation);
        let is_other = is_other && !is_on(Mutant::BelievesWhoLostItsDisk);
        is_other.then_some(Refusal::OtherFolder { node: peer })
    }

    /// Whether this node belongs to the cluster with the log that it has: it is one of the initial members,
    /// or recorded.
    fn has_standing(&self) -> bool {
        let Identities { own, joined, .. } = self.identities;
        match self.membership().incarnation(self.id) {
            0 => !joined,
            recorded => recorded == own || own == 0,
        }
    }

    /// Whether the members know this node's id by another log, or not by this one yet.
    pub(super) fn is_disowned(&self) -> bool {
        self.identities.own != 0 && !self.has_standing()
    }

    pub(super) fn identified(&mut self, peer: NodeId, origin: Origin) {
        let membership = self.log.membership().1;
        let heard = &mut self.identities.heard;
        if heard.len() > membership.nodes().count() + STRANGERS_MAX {
            heard.retain(|node, _| membership.contains(*node));
        }
        heard.insert(peer, Heard { origin, refused: None });
    }

    /// Whether what a peer says counts for anything. One that is not believed is told so now and then.
    pub(super) fn believes(&mut self, peer: NodeId) -> bool {
        let Some(heard) = self.identities.heard.get(&peer).copied() else { return true };
        let Some(reason) = self.disbelief(peer, heard.origin) else { return true };
        let (now, pause) = (self.now, self.config.election_timeout_min);
        if heard.refused.is_none_or(|refused| now.since(refused) >= pause) {
            self.identities.heard.insert(peer, Heard { refused: Some(now), ..heard });
            self.output.endings.push(Effect::Disbelieved { peer, reason });
        }
        false
    }

    /// A leader whose membership is settled records whom it has heard; all at once where it can, and without
    /// those that are silent where they stay so for an election timeout.
    pub(super) fn record_incarnations(&mut self) {
        let (log_id, membership) = self.log.membership();
        let State::Leader(leadership) = &self.state else {
            self.identities.unrecorded_since = None;
            return;
        };
        if self.identities.complete == Some(log_id) {
            return;
        }
        let is_settled = log_id.index <= self.commit_index
            && self.commit_index >= leadership.term_start
            && !membership.is_joint()
            && leadership.transfer.is_none();
        let mut missing = membership.nodes().filter(|node| membership.incarnation(*node) == 0).peekable();
        if missing.peek().is_none() {
            self.identities.complete = Some(log_id);
            return;
        }
        if !is_settled {
            return;
        }
        let (mut any_heard, mut any_silent) = (false, false);
        for node in missing {
            match self.known_incarnation(node) {
                0 => any_silent = true,
                _ => any_heard = true,
            }
        }
        if !any_heard {
            self.identities.unrecorded_since = None;
            return;
        }
        let since = *self.identities.unrecorded_since.get_or_insert(self.now);
        if !any_silent || self.now.since(since) >= self.config.election_timeout_max {
            let recorded = self.with_heard_incarnations(self.membership().clone());
            self.identities.unrecorded_since = None;
            self.append_membership(recorded);
        }
    }

    /// The same members, with what is known of those that are not recorded.
    pub(super) fn with_heard_incarnations(&self, membership: Membership) -> Membership {
        let nodes: Vec<NodeId> = membership.nodes().collect();
        nodes.into_iter().fold(membership, |membership, node| match membership.incarnation(node) {
            0 => membership.with_incarnation(node, self.known_incarnation(node)),
            _ => membership,
        })
    }

    /// The incarnation that a node is known by: the recorded one, or else the one that has answered this
    /// leader since the node was added; 0 where neither is known.
    fn known_incarnation(&self, node: NodeId) -> u64 {
        match (self.membership().incarnation(node), &self.state) {
            (0, _) if node == self.id => self.identities.own,
            (0, State::Leader(leadership)) => leadership.peers.get(&node).map_or(0, Progress::incarnation),
            (recorded, _) => recorded,
        }
    }

    /// Whether the newest membership only records who the members are: then every quorum is what it was, and
    /// the next change need not wait for it.
    pub(super) fn only_records(&self) -> bool {
        self.membership().only_records(self.log.previous_membership())
    }
}
