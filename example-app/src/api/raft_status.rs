//! GET /raft/status: everything that a node knows of itself, in plain numbers.

use std::{collections::BTreeMap, time::Duration};

use raft_actor::{
    status::{PeerState, PeerStatus, Status},
    types::{ClusterId, LogId, LogIndex, NodeId, Role, Term},
};
use serde::{Deserialize, Serialize};

/// A node's view of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub id: NodeId,
    /// What it is in its term: follower, pre_candidate, candidate or leader.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who got its vote in this term.
    pub voted_for: Option<NodeId>,
    /// The last term in which this node may have acknowledged what its log has lost: until it holds an entry
    /// of a later term, it does not vote. Null where nothing is lost.
    pub fence: Option<Term>,
    /// Who leads this term, as far as it knows.
    pub leader: Option<NodeId>,
    /// The first entry still in the log.
    pub first_index: LogIndex,
    /// The last entry's index.
    pub last_index: LogIndex,
    /// The last entry's term.
    pub last_term: Term,
    /// Up to here the log is on this node's disk.
    pub flushed_index: LogIndex,
    /// Up to here a quorum has it.
    pub commit_index: LogIndex,
    /// Up to here the store has seen it.
    pub applied_index: LogIndex,
    /// The last entry that the newest snapshot covers; null where there is none.
    pub snapshot_index: Option<LogIndex>,
    /// A snapshot that this node is receiving; null where it receives none.
    pub receiving: Option<Progress>,
    /// The store's revision.
    pub revision: i64,
    /// The members in force.
    pub membership: MembershipView,
    /// A leader's view of the others; empty on everyone else.
    pub peers: BTreeMap<NodeId, PeerView>,
    /// Who is being handed leadership.
    pub transfer: Option<NodeId>,
    /// In how many milliseconds this node campaigns if it hears no leader; null on a leader.
    pub election_in_ms: Option<u64>,
    /// For how many milliseconds the disk has answered nothing of what it was given; null where that is no
    /// longer than the longest election timeout.
    pub disk_hangs_for_ms: Option<u64>,
    /// Why another node believes nothing of what this one says; null as long as nobody has said so.
    pub refusal: Option<String>,
    /// Why the node has stopped for good, if it has.
    pub failure: Option<String>,
}

/// The members, and the log entry that they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipView {
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who votes still, while a change is under way.
    pub outgoing: Vec<NodeId>,
    /// Who only learns.
    pub learners: Vec<NodeId>,
    /// Who holds the log and no store.
    pub witnesses: Vec<NodeId>,
    /// The priorities for election that are not 1.
    pub priorities: BTreeMap<NodeId, u8>,
    /// Where each is reached by the others.
    pub addresses: BTreeMap<NodeId, String>,
    /// The entry.
    pub log_id: LogId,
}

/// A leader's view of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// The next entry to send.
    pub next_index: LogIndex,
    /// Up to here the peer's log is known to be the same, and flushed.
    pub match_index: LogIndex,
    /// How it is being fed: probe, replicate or snapshot.
    pub state: PeerState,
    /// AppendEntries on their way, unanswered.
    pub inflight: u64,
    /// How many entries it is behind.
    pub lag: u64,
    /// How many milliseconds ago it was heard; null where never in this term.
    pub last_contact_ms: Option<u64>,
    /// The snapshot that it is being sent; null where it is sent none.
    pub snapshot: Option<Progress>,
}

/// How far a snapshot has been transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that are there.
    pub bytes: u64,
    /// All of them.
    pub size_bytes: u64,
}

impl From<(u64, u64)> for Progress {
    fn from((bytes, size_bytes): (u64, u64)) -> Progress {
        Progress { bytes, size_bytes }
    }
}

impl RaftStatus {
    /// The view of `status`.
    pub fn new(cluster_id: ClusterId, revision: i64, status: &Status) -> RaftStatus {
        RaftStatus {
            cluster_id,
            id: status.id,
            role: status.role,
            term: status.term,
            voted_for: status.voted_for,
            fence: status.fence,
            leader: status.leader,
            first_index: status.first_index,
            last_index: status.last_log_id.index,
            last_term: status.last_log_id.term,
            flushed_index: status.flushed_index,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot.as_ref().map(|snapshot| snapshot.last.index),
            receiving: status.receiving.map(Progress::from),
            revision,
            membership: MembershipView::new(status),
            peers: status.peers.iter().map(|(node, peer)| (*node, PeerView::from(peer))).collect(),
            transfer: status.transfer,
            election_in_ms: status.election_in.map(milliseconds),
            disk_hangs_for_ms: status.disk_hangs_for.map(milliseconds),
            refusal: status.refusal.clone(),
            failure: status.failure.clone(),
        }
    }
}

impl MembershipView {
    /// The members of `status`.
    pub fn new(status: &Status) -> MembershipView {
        let membership = &status.membership;
        MembershipView {
            voters: membership.voters().iter().copied().collect(),
            outgoing: membership.outgoing().iter().copied().collect(),
            learners: membership.learners().iter().copied().collect(),
            witnesses: membership.witnesses().iter().copied().collect(),
            priorities: membership.priorities().clone(),
            addresses: membership.addresses().clone(),
            log_id: status.membership_log_id,
        }
    }
}

impl From<&PeerStatus> for PeerView {
    fn from(peer: &PeerStatus) -> PeerView {
        PeerView {
            next_index: peer.next_index,
            match_index: peer.match_index,
            state: peer.state,
            inflight: peer.inflight,
            lag: peer.lag,
            last_contact_ms: peer.last_contact.map(milliseconds),
            snapshot: peer.snapshot.map(Progress::from),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
