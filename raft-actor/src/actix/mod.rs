//! The face for actix users: a node is an actor of theirs, and actors of theirs can be a node's parts.
//!
//! [`RaftNode`] is a genuine actix actor. Its handlers hand actix's own reply channel to the node and return
//! at once, so a write through it costs no future and no second channel. [`ports`] goes the other way: an
//! actix actor, a `SyncArbiter`'s too, becomes a log storage or a transport.

mod messages;
pub mod ports;

use actix::{
    Actor, Context, Handler, ResponseFuture, Supervised,
    dev::{MessageResponse, OneshotSender},
};
pub use messages::{
    ChangeMembership, ClientWrite, GetStatus, Outcome, ReadState, Shutdown, TransferLeadership,
};

use crate::{
    error::ReadError,
    membership::{ChangeError, TransferError},
    node::{End, Node},
    state_machine::StateMachine,
    status::Status,
    types::LogId,
};

/// A node as an actix actor: `RaftNode::new(node).start()`.
///
/// The two lives are apart: stopping the actor does not end the node, and once the node has ended
/// ([`Shutdown`], or a failure) the actor answers that it has. So a supervisor has nothing to restart it for.
#[derive(Debug)]
pub struct RaftNode<S: StateMachine> {
    node: Node<S>,
}

impl<S: StateMachine> RaftNode<S> {
    /// The actor for a node that has been started.
    pub fn new(node: Node<S>) -> RaftNode<S> {
        RaftNode { node }
    }
}

impl<S: StateMachine> Actor for RaftNode<S> {
    type Context = Context<Self>;
}

impl<S: StateMachine> Supervised for RaftNode<S> {}

/// A write that the node will answer through actix's own reply channel.
#[derive(Debug)]
pub struct AnsweredByNode<S: StateMachine> {
    node: Node<S>,
    command: S::Command,
}

impl<S: StateMachine> MessageResponse<RaftNode<S>, ClientWrite<S>> for AnsweredByNode<S> {
    fn handle(self, _: &mut Context<RaftNode<S>>, reply: Option<OneshotSender<Outcome<S>>>) {
        // Sent with `do_send`, nobody waits for the outcome; the write is made all the same.
        let reply = reply.unwrap_or_else(|| tokio::sync::oneshot::channel().0);
        self.node.hand_in(&self.command, reply);
    }
}

impl<S: StateMachine> Handler<ClientWrite<S>> for RaftNode<S> {
    type Result = AnsweredByNode<S>;

    fn handle(&mut self, write: ClientWrite<S>, _: &mut Context<Self>) -> AnsweredByNode<S> {
        AnsweredByNode { node: self.node.clone(), command: write.0 }
    }
}

impl<S: StateMachine, R: Send + 'static> Handler<ReadState<S, R>> for RaftNode<S> {
    type Result = ResponseFuture<Result<R, ReadError>>;

    fn handle(&mut self, read: ReadState<S, R>, _: &mut Context<Self>) -> Self::Result {
        let node = self.node.clone();
        Box::pin(async move { node.read(read.look).await })
    }
}

impl<S: StateMachine> Handler<GetStatus> for RaftNode<S> {
    type Result = ResponseFuture<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        let node = self.node.clone();
        Box::pin(async move { node.status().await })
    }
}

impl<S: StateMachine> Handler<TransferLeadership> for RaftNode<S> {
    type Result = ResponseFuture<Result<(), TransferError>>;

    fn handle(&mut self, transfer: TransferLeadership, _: &mut Context<Self>) -> Self::Result {
        let node = self.node.clone();
        Box::pin(async move { node.transfer_leadership(transfer.to).await })
    }
}

impl<S: StateMachine> Handler<ChangeMembership> for RaftNode<S> {
    type Result = ResponseFuture<Result<LogId, ChangeError>>;

    fn handle(&mut self, change: ChangeMembership, _: &mut Context<Self>) -> Self::Result {
        let node = self.node.clone();
        Box::pin(async move { node.change_membership(change.0).await })
    }
}

impl<S: StateMachine> Handler<Shutdown> for RaftNode<S> {
    type Result = ResponseFuture<End>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let node = self.node.clone();
        Box::pin(async move { node.shutdown().await })
    }
}
