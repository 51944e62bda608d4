//! Seam: how messages get from one node to another.
//!
//! A link goes one way: node A's link to B carries all that A says to B, requests and answers alike, and B's
//! link to A the rest. So a transport is a pipe, and knows nothing of Raft.

use std::task::{Context, Poll};

use async_trait::async_trait;

use crate::{message::Envelope, types::NodeId};

/// Opens links to other nodes.
///
/// # Contract
///
/// * `connect` returns a link on which nothing has been sent yet, or an error; it never tries again by
///   itself, and it gives up at a deadline of its own.
/// * Messages sent on one link arrive in the order sent, each once, until the link breaks; then some may be
///   lost, from some point on. The protocol copes with loss, so a transport never resends.
/// * `send` may wait while the link is full; it must not wait for an answer from the peer's node. Dropping
///   the future of a `send` breaks the link. Where nothing moves any more it gives up with an error:
///   progress decides, not the time that a large batch takes.
/// * What arrives is handed to the receiving node's [`Inbox`] in order, in batches as large as have come.
/// * A node of another cluster, or one that is not the node that was meant, is refused on connecting.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Opens a link to `peer` at `address`, as the membership tells it.
    async fn connect(&self, peer: NodeId, address: &str) -> Result<Box<dyn PeerLink>, TransportError>;
}

/// An open link to one peer.
#[async_trait]
pub trait PeerLink: Send {
    /// Sends what is in `batch`, in order, and leaves it empty. After an error the link is broken for good.
    async fn send(&mut self, batch: &mut Vec<Envelope>) -> Result<(), TransportError>;

    /// Ready once the peer has closed the link, as a process does that dies, which breaks it; until then the
    /// task is woken when that comes. A link that cannot tell is never ready, as here where this is not
    /// given: the peer's end is then seen by the next `send`, or by an election timeout.
    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<TransportError> {
        let _ = task;
        Poll::Pending
    }
}

/// Where a transport delivers what has arrived for a node.
pub trait Inbox: Send + Sync + 'static {
    /// Takes a batch in. Never waits: what does not fit is dropped, as a network drops, and the protocol
    /// repairs it.
    fn deliver(&self, batch: Vec<Envelope>);
}

/// Why a link is not there. Never fatal: the replicator connects again, with back-off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer does not answer, or the link broke.
    #[error("node {peer} at {address} is unreachable: {source}")]
    Unreachable {
        /// Who was meant.
        peer: NodeId,
        /// Where it was tried.
        address: String,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody listens at the address: the machine has answered that the peer's process is not there. A leader
    /// of whom this is said is not waited for any longer.
    #[error("node {peer} is not there: nobody listens at {address}")]
    NotThere {
        /// Who was meant.
        peer: NodeId,
        /// Where it was tried.
        address: String,
    },
    /// The peer answered, and refuses to talk.
    #[error("node {peer} at {address} refuses: {reason}")]
    Refused {
        /// Who was meant.
        peer: NodeId,
        /// Where it was tried.
        address: String,
        /// Why, in its words.
        reason: String,
    },
}
