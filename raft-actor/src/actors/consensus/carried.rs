//! What the consensus actor does about writes that are carried to a leader, by another node or by this one.

use super::Consensus;
use crate::{
    actors::{
        replicator,
        waiter::{RemoteWaiter, Waiter},
        writes::Arrivals,
    },
    error::WriteError,
    message::{ForwardWrites, ForwardWritesReply, Message},
    state_machine::StateMachine,
    types::{NodeId, Time},
};

/// Where so many messages wait for the leader's link already, writes are not carried yet.
const CARRY_QUEUE_MAX: usize = 256;

impl<S: StateMachine> Consensus<S> {
    /// Sends writes to the leader, or puts them aside until there is one.
    pub(super) fn carry(&mut self, writes: Arrivals<S>) {
        let leader = self.raft.leader();
        if !self.config.forward_writes {
            let refused = || Err(WriteError::NotLeader { leader });
            return writes.into_pending().for_each(|write| write.waiter.settle(refused()));
        }
        let way = leader.filter(|leader| !self.unreachable.contains(leader));
        let way = way.and_then(|leader| Some((leader, self.cast.links.to(leader)?.clone())));
        // A link that takes nothing gets no more: what waits here has a deadline, what waits there has none.
        let way = way.filter(|(_, replicator)| replicator.len() < CARRY_QUEUE_MAX);
        let (local, remote): (Vec<_>, Vec<_>) =
            writes.into_pending().partition(|write| write.waiter.is_local());
        // A write is carried once: the node that it came from knows where to carry it next.
        remote.into_iter().for_each(|write| self.writes.park(write, leader));
        match way {
            Some((leader, replicator)) => {
                for message in self.writes.forward((leader, self.raft.term()), local) {
                    replicator.send(replicator::Mail::Send(Message::ForwardWrites(message)));
                }
            }
            None => local.into_iter().for_each(|write| self.writes.park(write, leader)),
        }
    }

    /// Writes that another node has carried here. What cannot be decoded is refused at the door: in the log
    /// it would stop every node.
    pub(super) fn take_carried(&mut self, from: NodeId, forward: ForwardWrites, now: Time) {
        let Some(origin) = self.cast.links.to(from).cloned() else { return };
        if !self.writes.is_new(from, forward.id) {
            return;
        }
        let waiters = RemoteWaiter::batch(forward.id, forward.commands.len(), origin);
        let deadline = now.after(self.config.request_timeout);
        for (command, waiter) in forward.commands.into_iter().zip(waiters) {
            if S::decode_command(&command).is_err() {
                waiter.settle(Err(WriteError::Malformed));
                continue;
            }
            // They count as this node's own do: what a leader cannot commit would otherwise grow with every
            // node that carries to it, in its log and in its memory.
            match self.write_permits.try_acquire(command.len() as u64) {
                Some(permit) => {
                    self.arrived.push(command, Waiter::Remote { waiter, permit }, deadline);
                }
                None => waiter.settle(Err(WriteError::Overloaded)),
            }
        }
    }

    /// The leader has answered what was carried there.
    pub(super) fn forward_answered(&mut self, reply: ForwardWritesReply) {
        let leader = self.raft.leader();
        for write in self.writes.answered(reply) {
            self.writes.park(write, leader);
        }
    }

    /// What was to be carried in this message never left.
    pub(super) fn park(&mut self, forward: u64) {
        let leader = self.raft.leader();
        for write in self.writes.not_sent(forward) {
            self.writes.park(write, leader);
        }
    }
}
