//! What the consensus actor does about members: it carries changes to the leader, answers who asked for them,
//! and has the links follow the log.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{Consensus, Mail};
use crate::{
    actors::changes::{Asker, ChangeOutcome},
    core::Input,
    membership::{ChangeError, MembershipChange},
    message::{ForwardChange, ForwardChangeReply, Introduction, Message, Refusal},
    runtime::actor::Context,
    state_machine::StateMachine,
    status::Status,
    types::{NodeId, Origin, Time},
};

/// So many peers are remembered by what they speak as, and so many that are not believed.
const IDENTIFIED_MAX: usize = 256;

impl<S: StateMachine> Consensus<S> {
    /// Has nodes be reached at other addresses than the log's, until the members change.
    pub(crate) fn with_addresses(mut self, addresses: BTreeMap<NodeId, String>) -> Consensus<S> {
        self.given_addresses = addresses;
        self
    }

    /// Has the node be a witness: its state machine holds nothing.
    pub(crate) fn with_witness(mut self, is_witness: bool) -> Consensus<S> {
        self.is_witness = is_witness;
        self
    }

    /// The members say that this node is what it is not.
    pub(super) fn end_if_misfit(&mut self, context: &mut Context<Mail<S>>) {
        if let Some(reason) = self.misfit.take() {
            self.ending.fail(reason);
            context.stop();
        }
    }

    /// Says where this node is reached, to one that may not have it in its log.
    pub(super) fn introduce_to(&mut self, peer: NodeId) {
        let own = self.raft.id();
        let told = self.given_addresses.get(&own).map(String::as_str);
        let told = told.or_else(|| self.raft.membership().address(own));
        if let Some(address) = told.map(str::to_owned) {
            self.cast.links.send(peer, Message::Introduction(Introduction { address }));
        }
    }

    /// A change of members that a caller of this node wants: the leader makes it.
    pub(super) fn take_change(
        &mut self,
        change: MembershipChange,
        reply: oneshot::Sender<ChangeOutcome>,
        now: Time,
    ) {
        let deadline = now.after(self.config.request_timeout);
        let leader = self.raft.leader().filter(|leader| *leader != self.raft.id());
        let id = self.changes.ask(Asker::Local(reply), deadline);
        match leader.filter(|_| self.config.forward_writes) {
            Some(leader) if self.unreachable.contains(&leader) || self.cast.links.to(leader).is_none() => {
                self.change_settled(id, Err(ChangeError::NotLeader { leader: Some(leader) }));
            }
            Some(leader) => {
                self.cast.links.send(leader, Message::ForwardChange(ForwardChange { id, change }));
            }
            None => self.inputs.push(Input::ChangeMembership { id, change }),
        }
    }

    pub(super) fn take_carried_change(&mut self, from: NodeId, forward: ForwardChange, now: Time) {
        if self.changes.is_new(from, forward.id) {
            let deadline = now.after(self.config.request_timeout);
            let id = self.changes.ask(Asker::Remote { node: from, id: forward.id }, deadline);
            self.inputs.push(Input::ChangeMembership { id, change: forward.change });
        }
    }

    pub(super) fn change_settled(&mut self, id: u64, result: ChangeOutcome) {
        if let Some(asker) = self.changes.settled(id) {
            self.answer_change(asker, result);
        }
    }

    pub(super) fn answer_change(&mut self, asker: Asker, result: ChangeOutcome) {
        match asker {
            // A caller that no longer waits is no error.
            Asker::Local(reply) => drop(reply.send(result)),
            Asker::Remote { node, id } => {
                let reply = Message::ForwardChangeReply(ForwardChangeReply { id, result });
                self.cast.links.send(node, reply);
            }
        }
    }

    /// Those who have waited too long for a change.
    pub(super) fn expire_changes(&mut self, now: Time) {
        for asker in self.changes.expired(now) {
            self.answer_change(asker, Err(ChangeError::Unknown));
        }
    }

    /// The members have changed, or one that has left is to be forgotten.
    pub(super) fn follow_peers(&mut self, mut peers: BTreeMap<NodeId, String>) {
        let (membership, log_id) = (self.raft.membership(), self.raft.membership_log_id());
        let (voters, outgoing, learners) =
            (membership.voters(), membership.outgoing(), membership.learners());
        tracing::info!(node = %self.raft.id(), %log_id, ?voters, ?outgoing, ?learners, "members");
        let misfit = membership.misfit(self.raft.id(), self.is_witness);
        self.misfit = self.misfit.take().or(misfit.map(|error| error.to_string()));
        if membership.is_changed() {
            self.given_addresses.clear();
        }
        for (peer, address) in &mut peers {
            if let Some(given) = self.given_addresses.get(peer) {
                address.clone_from(given);
            }
        }
        self.unreachable.retain(|peer| peers.contains_key(peer));
        self.cast.links.follow(&peers);
        self.cast.links.identify(self.raft.origin());
        self.tell_acquaintances();
        // Whatever was said of identities before may be so no more.
        self.identified.clear();
        self.disbelieved.clear();
        self.refusal = None;
    }

    /// Tells the core as what a peer speaks, where that is news, and says whether the message may be taken.
    /// What is for the core is the core's to judge.
    pub(super) fn identify(&mut self, from: NodeId, origin: Origin, message: &Message) -> bool {
        if self.identified.get(&from).copied().unwrap_or_default() != origin {
            if self.identified.len() >= IDENTIFIED_MAX {
                self.identified.clear();
            }
            self.identified.insert(from, origin);
            self.inputs.push(Input::Identified { peer: from, origin });
        }
        let is_judged_here = message.term().is_none() && !matches!(message, Message::Refusal(_));
        let disbelief = is_judged_here.then(|| self.raft.disbelief(from, origin)).flatten();
        disbelief.map(|reason| self.disbelieve(from, reason)).is_none()
    }

    /// Tells a peer that it is not believed; and people, where that is news.
    pub(super) fn disbelieve(&mut self, peer: NodeId, reason: Refusal) {
        if self.disbelieved.get(&peer) != Some(&reason) && self.disbelieved.len() < IDENTIFIED_MAX {
            tracing::warn!(node = %self.raft.id(), %peer, "a node is not believed; it is told: {reason}");
            self.disbelieved.insert(peer, reason.clone());
        }
        self.cast.links.send(peer, Message::Refusal(reason));
    }

    /// A peer does not believe this node. It says so of what it knows, and may be behind: this node goes on,
    /// and does no harm, because whoever knows better does not believe it either.
    pub(super) fn refused(&mut self, from: NodeId, refusal: Refusal) {
        let own = self.raft.origin().incarnation;
        let is_recorded = own != 0 && self.raft.membership().incarnation(self.raft.id()) == own;
        if is_recorded && self.raft.leader().is_some() && matches!(refusal, Refusal::OtherFolder { .. }) {
            // The others do believe this node: it is about a late message of its life with an earlier disk.
            return;
        }
        if self.refusal.as_ref() != Some(&refusal) {
            tracing::error!(node = %self.raft.id(), peer = %from, "this node is not believed: {refusal}");
            self.refusal = Some(refusal);
        }
    }

    /// What this node knows of itself.
    pub(super) fn status(&self, now: Time) -> Status {
        Status { refusal: self.refusal.as_ref().map(Refusal::to_string), ..self.raft.status(now) }
    }

    /// Has the node's handles know who is expected to talk to it.
    pub(super) fn tell_acquaintances(&self) {
        let has_leader = self.raft.leader().is_some() && !self.raft.membership().voters().is_empty();
        self.acquaintances.set(has_leader.then(|| self.raft.peers().keys().copied().collect()));
    }
}
