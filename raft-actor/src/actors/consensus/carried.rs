//! What the consensus actor does about writes that nodes carry to their leader.

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
            let waiter = Waiter::Remote(waiter);
            if postcard::from_bytes::<S::Command>(&command).is_ok() {
                self.arrived.push(Pending { command, waiter, deadline });
            } else {
                waiter.settle(Err(WriteError::Malformed));
            }
        }
    }

    pub(super) fn forward_answered(&mut self, reply: ForwardWritesReply) {
        let leader = self.raft.leader();
        for write in self.writes.answered(reply) {
            self.writes.park(write, leader);
        }
    }

    pub(super) fn park(&mut self, forward: u64) {
        let leader = self.raft.leader();
        for write in self.writes.not_sent(forward) {
            self.writes.park(write, leader);
        }
    }
}
