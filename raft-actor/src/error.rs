//! What a caller can be told, each with what to do about it.

use serde::{Deserialize, Serialize};

use crate::{
    config::ConfigError, membership::MembershipError, state_machine::StateMachineError,
    storage::StorageError, types::NodeId,
};

/// Why a write has no output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nothing was done: this node does not lead, and could not (or may not) carry the write to one that
    /// does. What to do: ask `leader`; where it is `None`, wait for an election and try again.
    #[error("not the leader{}", .leader.map(|node| format!("; node {node} is")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Nothing was done: as much is under way as the configuration allows.
    /// What to do: slow down and try again.
    #[error("overloaded: too many writes are under way; try again later")]
    Overloaded,
    /// Nothing was done: the encoded command is larger than `command_bytes_max`.
    /// What to do: split it, or raise the limit on every node.
    #[error("the command is {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// The encoded command.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Nothing was done: this node cannot encode the command, or the leader, to which the write was carried,
    /// cannot decode it.
    /// What to do: run the same version of the application on every node; see that what it encodes it can
    /// decode.
    #[error(
        "the command cannot be encoded here, or not be decoded by the leader; \
         do all nodes run the same version of the application?"
    )]
    Malformed,
    /// The write may have been applied, or may be yet, or never.
    /// What to do: retry in the same session; without one, read before trying again.
    #[error("outcome unknown: the write may or may not be applied")]
    Unknown,
    /// The node has been shut down, or has stopped after a fatal error.
    /// What to do: see the node's status for the reason; use another node.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a read has no answer. A read changes nothing, so trying again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader could confirm the read.
    /// What to do: try again after an election, or read locally if a stale answer will do.
    #[error("no leader could confirm the read")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// As many reads are under way as the configuration allows.
    /// What to do: slow down and try again.
    #[error("overloaded: too many reads are under way; try again later")]
    Overloaded,
    /// The leader did not confirm in time.
    /// What to do: try again.
    #[error("timed out")]
    TimedOut,
    /// The node has been shut down, or has stopped after a fatal error.
    /// What to do: see the node's status for the reason; use another node.
    #[error("the node has stopped")]
    Stopped,
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The node was given no snapshot storage, or its state machine has no snapshots.
    /// What to do: give the builder `snapshots`, and the state machine `snapshot` and `restore`.
    #[error("this node takes no snapshots")]
    Unsupported,
    /// Nothing is applied yet, or a snapshot of the leader is being installed.
    /// What to do: try again later.
    #[error("no snapshot can be taken now; try again later")]
    NotNow,
    /// The node has been shut down, or has stopped after a fatal error.
    /// What to do: see the node's status for the reason.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a write in a session was refused: it was not applied by this attempt. Part of what the log leads to,
/// so it is the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session is not there: it has expired, or never was. Nothing was done now; what earlier attempts
    /// did is not known any more.
    /// What to do: open a new session; read before repeating a write whose outcome was unknown.
    #[error("the session has expired, or was never opened")]
    SessionExpired,
    /// The client has said that it no longer awaits this sequence, so its answer is gone. Nothing was done
    /// now; it was applied once at the most.
    /// What to do: send what is new under a sequence that is higher than all before.
    #[error("the sequence is below the lowest that the client still awaits")]
    Forgotten,
    /// Nothing was done: too many answers of the session are still awaited.
    /// What to do: wait for earlier writes, then try again.
    #[error("too far ahead of the lowest sequence that is still awaited")]
    TooFarAhead,
}

/// What a client gives up with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing was done: the session has expired.
    /// What to do: open a new client, and write again.
    #[error("the session has expired; nothing was done")]
    SessionExpired,
    /// The write may have been applied, once, or may be yet, or never: the deadline came, or the session
    /// expired, while an attempt was unanswered.
    /// What to do: read before trying again.
    #[error("outcome unknown: the write may or may not be applied")]
    Unknown,
    /// Nothing was done: no node could before the deadline came.
    /// What to do: see the last reason; try again when a majority of the nodes is there.
    #[error("given up; the last reason: {last}")]
    GaveUp {
        /// What the last node said.
        last: WriteError,
    },
    /// Nothing was done, and trying again would not help.
    /// What to do: as the source says.
    #[error(transparent)]
    Refused(WriteError),
    /// No node could answer the read before the deadline came.
    /// What to do: as the source says.
    #[error("the read was given up: {0}")]
    Read(#[source] ReadError),
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration breaks rules; all of them are listed.
    /// What to do: mend each one named.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The members given are none.
    /// What to do: as the error says.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The storage could not be opened, or what it holds cannot be trusted.
    /// What to do: as the error says; nothing was changed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state machine did not take its newest snapshot.
    /// What to do: see the source; was the snapshot written by another version of the application?
    #[error("the newest snapshot cannot be restored: {0}")]
    Restore(#[source] StateMachineError),
    /// The builder was not given a part that has no default.
    /// What to do: give it.
    #[error("the node has no {part}; give the builder one")]
    Missing {
        /// Which.
        part: &'static str,
    },
    /// The default runtime could not be started.
    /// What to do: see the source; most often the system refuses another thread.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] std::io::Error),
    /// The storage is new and no members were given, so there is nothing to belong to.
    /// What to do: give the initial members to the builder, the same on every node; or have the node join.
    #[error(
        "node {node} has an empty log and no members; give the builder the cluster's initial members, \
         or have it join a cluster that exists"
    )]
    NoMembers {
        /// This node.
        node: NodeId,
    },
    /// The initial members do not name this node.
    /// What to do: add it, or correct its id; a node that is new in a cluster that exists must join it.
    #[error(
        "node {node} is not among the initial members it was given; a node that is new in a cluster \
         that exists must join it"
    )]
    NotAMember {
        /// This node.
        node: NodeId,
    },
}

/// A trace that cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The trace could not be read.
    /// What to do: as the source says.
    #[error("trace {trace}, line {line}: {source}")]
    Io {
        /// Which of the traces, counted from 1.
        trace: usize,
        /// The line, counted from 1.
        line: usize,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The line is not a step of this format.
    /// What to do: give traces of this version only; where a file was damaged, delete the line.
    #[error("trace {trace}, line {line}: not a step of a trace: {what}")]
    Malformed {
        /// Which of the traces, counted from 1.
        trace: usize,
        /// The line, counted from 1.
        line: usize,
        /// What was expected.
        what: String,
    },
}
