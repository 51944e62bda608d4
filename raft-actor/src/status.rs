//! What a node knows of itself and of its peers, as one value to look at.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    membership::Membership,
    types::{LogId, LogIndex, NodeId, Role, SnapshotMeta, Term},
};

/// A node's view of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// What it is in its term.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who got its vote in this term.
    pub voted_for: Option<NodeId>,
    /// The last term in which this node may have acknowledged what its log has lost: until an entry of a
    /// later term is in the log, it neither votes nor stands for election. None where nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Term>,
    /// Who leads this term, as far as it knows.
    pub leader: Option<NodeId>,
    /// The first entry still in the log; one past the last where the log is empty.
    pub first_index: LogIndex,
    /// The last entry of the log.
    pub last_log_id: LogId,
    /// Up to here the log is on this node's disk.
    pub flushed_index: LogIndex,
    /// Up to here a quorum has it.
    pub commit_index: LogIndex,
    /// Up to here the state machine has seen it.
    pub applied_index: LogIndex,
    /// The newest snapshot on this node's disk.
    pub snapshot: Option<SnapshotMeta>,
    /// A snapshot that is being received: its bytes so far, and all of them.
    pub receiving: Option<(u64, u64)>,
    /// The members in force.
    pub membership: Membership,
    /// The entry that they come from.
    pub membership_log_id: LogId,
    /// A leader's view of the others; empty on everyone else.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Who is being handed leadership.
    pub transfer: Option<NodeId>,
    /// How long until this node campaigns if it hears no leader; none on a leader.
    pub election_in: Option<Duration>,
    /// How long the disk has answered nothing of what it was given, where that is longer than the longest
    /// election timeout. While it hangs the node does not lead, unless the others' disks hang too.
    pub disk_hangs_for: Option<Duration>,
    /// Why another node believes nothing of what this one says, and what to do about it; none as long as
    /// nobody has said so. The node goes on, and gets nowhere.
    pub refusal: Option<String>,
    /// Why the node has stopped for good, if it has.
    pub failure: Option<String>,
}

/// A leader's view of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The next entry to send.
    pub next_index: LogIndex,
    /// Up to here the peer's log is known to be the same, and flushed.
    pub match_index: LogIndex,
    /// How the peer is being fed.
    pub state: PeerState,
    /// AppendEntries on their way, unanswered.
    pub inflight: u64,
    /// How many entries the peer is behind the leader's last.
    pub lag: u64,
    /// How long ago it was heard; none where never in this term.
    pub last_contact: Option<Duration>,
    /// Bytes of a snapshot that the peer has, and all of them; none where it is sent none.
    pub snapshot: Option<(u64, u64)>,
}

/// How a leader feeds a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PeerState {
    /// One AppendEntries at a time, to find where the logs part.
    Probe,
    /// A window of AppendEntries in flight.
    Replicate,
    /// A snapshot, because what it needs is no longer in the log (Raft §7).
    Snapshot,
}

impl Status {
    /// What is left to say of a node that ended without a last word.
    pub(crate) fn of_a_node_that_is_gone(id: NodeId, failure: Option<String>) -> Status {
        Status {
            id,
            role: Role::Follower,
            term: Term(0),
            voted_for: None,
            fence: None,
            leader: None,
            first_index: LogIndex(1),
            last_log_id: LogId::ZERO,
            flushed_index: LogIndex(0),
            commit_index: LogIndex(0),
            applied_index: LogIndex(0),
            snapshot: None,
            receiving: None,
            membership: Membership::default(),
            membership_log_id: LogId::ZERO,
            peers: BTreeMap::new(),
            transfer: None,
            election_in: None,
            disk_hangs_for: None,
            refusal: None,
            failure,
        }
    }
}
