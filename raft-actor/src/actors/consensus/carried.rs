//! What the consensus actor does about writes that are carried to a leader, by another node or by this one.

use super::Consensus;
use crate::{
    actors::{
        waiter::{RemoteWaiter, Waiter},
        writes::Pending,
    },
    error::WriteError,
    message::{ForwardWrites, ForwardWritesReply},
    state_machine::StateMachine,
    types::{NodeId, Time},
};

impl<S: StateMachine> Consensus<S> {
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
                    let waiter = Waiter::Remote { waiter, permit };
                    self.arrived.push(Pending { command, waiter, deadline });
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
