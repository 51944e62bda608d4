//! The handshake: four headers that say who talks to whom, and the reasons to refuse.
//!
//! A node of another cluster with the same node ids would be believed in all it says, so a cluster's id is
//! checked before the first byte of Raft; so is the receiver's, because an address may have been handed to
//! another node.

use actix_web::http::{StatusCode, header::HeaderMap};
use raft_actor::types::{ClusterId, NodeId};

use crate::wire::VERSION;

/// Where links are opened: `GET`, to be upgraded to a WebSocket.
pub const LINK_PATH: &str = "/raft/v1/link";

/// Where a single frame can be delivered without a link, for a look at things with curl: `POST`.
pub const MESSAGES_PATH: &str = "/raft/v1/messages";

/// The cluster that the sender belongs to, a decimal number.
pub const CLUSTER_HEADER: &str = "raft-cluster-id";

/// The sender; in an answer the node that accepts.
pub const FROM_HEADER: &str = "raft-from-node";

/// The node that the sender means to talk to.
pub const TO_HEADER: &str = "raft-to-node";

/// The version of the protocol that the sender speaks, see [`VERSION`].
pub const VERSION_HEADER: &str = "raft-protocol-version";

/// Why a link is not accepted. The sender is told the sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header is not there, is not a number, or names node 0.
    #[error("the request header {header} must be a decimal number, and for a node at least 1")]
    Header {
        /// Which.
        header: &'static str,
    },
    /// The sender speaks another version.
    #[error("the sender speaks version {theirs} of the link protocol, this node version {VERSION}")]
    Version {
        /// The sender's.
        theirs: u64,
    },
    /// The sender belongs to another cluster.
    #[error(
        "the sender belongs to cluster {theirs}, this node to cluster {ours}; check cluster ids and addresses"
    )]
    Cluster {
        /// The sender's.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// The sender means another node.
    #[error("this is node {ours}, not node {meant}; check the address of node {meant}")]
    WrongNode {
        /// Who was meant.
        meant: NodeId,
        /// Who this is.
        ours: NodeId,
    },
    /// The sender claims to be the receiver.
    #[error("the sender says it is node {node}, and so is this node; give each node an id of its own")]
    SameId {
        /// The id of both.
        node: NodeId,
    },
    /// The sender is not known here.
    #[error("node {node} is not a member of the cluster, as far as this node knows")]
    NotAMember {
        /// The sender.
        node: NodeId,
    },
    /// The endpoint has been closed.
    #[error("this node is shutting down")]
    Closed,
}

impl Refusal {
    /// The HTTP status that carries it.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Header { .. } => StatusCode::BAD_REQUEST,
            Refusal::Version { .. } | Refusal::Cluster { .. } | Refusal::SameId { .. } => {
                StatusCode::CONFLICT
            }
            Refusal::WrongNode { .. } => StatusCode::MISDIRECTED_REQUEST,
            Refusal::NotAMember { .. } => StatusCode::FORBIDDEN,
            Refusal::Closed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What a sender says of itself in the four headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom it means to talk to.
    pub to: NodeId,
}

impl Hello {
    /// Reads the headers of a request. The version is checked first: another one may mean other headers.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Hello, Refusal> {
        let number = |header: &'static str| {
            let value = headers.get(header).and_then(|value| value.to_str().ok());
            value.and_then(|text| text.parse::<u64>().ok()).ok_or(Refusal::Header { header })
        };
        let theirs = number(VERSION_HEADER)?;
        if theirs != u64::from(VERSION) {
            return Err(Refusal::Version { theirs });
        }
        Ok(Hello {
            cluster: ClusterId(number(CLUSTER_HEADER)?),
            from: NodeId(number(FROM_HEADER)?),
            to: NodeId(number(TO_HEADER)?),
        })
    }

    /// Whether node `ours` of `cluster` may listen to this sender.
    pub(crate) fn check(&self, cluster: ClusterId, ours: NodeId) -> Result<(), Refusal> {
        if self.cluster != cluster {
            return Err(Refusal::Cluster { theirs: self.cluster, ours: cluster });
        }
        if self.to != ours {
            return Err(Refusal::WrongNode { meant: self.to, ours });
        }
        if self.from == ours {
            return Err(Refusal::SameId { node: ours });
        }
        if self.from == NodeId(0) {
            return Err(Refusal::Header { header: FROM_HEADER });
        }
        Ok(())
    }
}
