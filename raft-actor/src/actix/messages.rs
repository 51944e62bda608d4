//! What a [`RaftNode`](super::RaftNode) can be sent.

use std::fmt;

use actix::Message;

use crate::{
    error::{ReadError, WriteError},
    membership::{ChangeError, MembershipChange, TransferError},
    node::End,
    state_machine::StateMachine,
    status::Status,
    types::{LogId, NodeId},
};

/// What a write comes to: where it was applied and its output, or why not.
pub type Outcome<S> = Result<(LogId, <S as StateMachine>::Output), WriteError>;

/// Has a command committed and applied; see [`Node::write_at`](crate::node::Node::write_at).
#[derive(Message)]
#[rtype(result = "Outcome<S>")]
pub struct ClientWrite<S: StateMachine>(pub S::Command);

/// Looks at what is committed; see [`Node::read`](crate::node::Node::read).
#[derive(Message)]
#[rtype(result = "Result<R, ReadError>")]
pub struct ReadState<S: StateMachine, R: Send + 'static> {
    pub(super) look: Box<dyn FnOnce(&S) -> R + Send>,
}

impl<S: StateMachine, R: Send + 'static> ReadState<S, R> {
    /// A read that gives what `look` makes of the state.
    pub fn new(look: impl FnOnce(&S) -> R + Send + 'static) -> ReadState<S, R> {
        ReadState { look: Box::new(look) }
    }
}

/// What the node knows of itself; see [`Node::status`](crate::node::Node::status).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// Hands leadership over; see [`Node::transfer_leadership`](crate::node::Node::transfer_leadership).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransferError>")]
pub struct TransferLeadership {
    /// The successor; `None`: the voter that is furthest ahead.
    pub to: Option<NodeId>,
}

/// Changes the members; see [`Node::change_membership`](crate::node::Node::change_membership).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<LogId, ChangeError>")]
pub struct ChangeMembership(pub MembershipChange);

/// Ends the node in order; see [`Node::shutdown`](crate::node::Node::shutdown).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "End")]
pub struct Shutdown;

impl<S: StateMachine> fmt::Debug for ClientWrite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientWrite")
    }
}

impl<S: StateMachine, R: Send + 'static> fmt::Debug for ReadState<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadState")
    }
}
