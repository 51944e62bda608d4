//! What nodes say to each other, in the paper's words. A message's sender is told beside it, by the link that
//! brought it, so no message repeats it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::WriteError,
    membership::{ChangeError, MembershipChange},
    types::{Entries, GroupId, LogId, LogIndex, NodeId, Origin, SnapshotMeta, Term},
};

/// A message on its way: a link belongs to a pair of nodes and carries the mail of all their groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The group it is for.
    pub group: GroupId,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// Which life of the sender, of which cluster.
    pub origin: Origin,
    /// What is said.
    pub message: Message,
}

/// One message. Those that say so are not the core's: they pass between consensus actors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Message {
    /// A candidate asks for a vote (Raft §5.2), or whether it would get one (thesis §9.6).
    RequestVote(RequestVote),
    /// The answer to it.
    RequestVoteReply(RequestVoteReply),
    /// A leader replicates, or says that it lives (Raft §5.3).
    AppendEntries(AppendEntries),
    /// The answer to it.
    AppendEntriesReply(AppendEntriesReply),
    /// A leader hands over: the receiver campaigns at once (thesis §3.10).
    TimeoutNow(TimeoutNow),
    /// A follower asks its leader for a read index (thesis §6.4).
    ReadIndex(ReadIndex),
    /// The answer to it.
    ReadIndexReply(ReadIndexReply),
    /// A node carries its clients' writes to the leader. Not for the core.
    ForwardWrites(ForwardWrites),
    /// The answer to it, once all of them are settled. Not for the core.
    ForwardWritesReply(ForwardWritesReply),
    /// A leader sends a part of its snapshot (Raft §7).
    InstallSnapshot(InstallSnapshot),
    /// The answer to it.
    InstallSnapshotReply(InstallSnapshotReply),
    /// A node says where it is reached, to one whose log may not say so yet. Not for the core.
    Introduction(Introduction),
    /// A node carries a change of members to the leader. Not for the core.
    ForwardChange(ForwardChange),
    /// The answer to it, once the change is settled. Not for the core.
    ForwardChangeReply(ForwardChangeReply),
    /// The sender does not believe the receiver, whatever it says. Not for the core.
    Refusal(Refusal),
}

/// Raft Figure 2, RequestVote RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestVote {
    /// The candidate's term; in a pre-vote the term it would stand in.
    pub term: Term,
    /// The candidate's last entry (`lastLogTerm` and `lastLogIndex`).
    pub last_log_id: LogId,
    /// A question only: nobody changes its term or gives its vote (thesis §9.6).
    pub pre_vote: bool,
    /// The leader asked for this election, so a receiver that hears it still may vote (thesis §3.10, §4.2.3).
    pub leadership_transfer: bool,
}

/// Raft Figure 2, RequestVote RPC, results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestVoteReply {
    /// The voter's term; where a pre-vote is granted, the term that was asked about.
    pub term: Term,
    /// Whether the candidate gets the vote.
    pub vote_granted: bool,
    /// Whether this answers a pre-vote.
    pub pre_vote: bool,
}

/// Raft Figure 2, AppendEntries RPC. Empty `entries` make a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The entry just before the new ones (`prevLogIndex` and `prevLogTerm`).
    pub prev_log_id: LogId,
    /// What to store, at consecutive indexes from `prev_log_id.index + 1`.
    pub entries: Entries,
    /// The leader's commit index.
    pub leader_commit: LogIndex,
    /// The leader's latest round of heartbeats; the answer repeats it, which proves that the leader still led
    /// when the round began (thesis §6.4).
    pub round: u64,
    /// To a witness: up to here every full voter is known to have the log; what follows it keeps for them. 0
    /// says nothing.
    pub held_index: LogIndex,
}

/// Raft Figure 2, AppendEntries RPC, results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    /// The follower's term.
    pub term: Term,
    /// The highest round heard of in this term.
    pub round: u64,
    /// What became of it.
    pub outcome: AppendOutcome,
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The logs are the same up to here, and it is flushed on the follower's disk.
    Matched {
        /// Never beyond what the leader sent in this term, nor beyond what is flushed.
        match_index: LogIndex,
    },
    /// The follower has no entry `prev_log_id`.
    Conflict {
        /// The `prev_log_id` that was refused.
        rejected: LogId,
        /// The follower's highest entry at or below `rejected.index` whose term is at most `rejected.term`:
        /// the leader goes on from the highest of its own entries that is not above this one (Raft §5.3, fast
        /// back-up).
        hint: LogId,
    },
    /// The sender's term is over; the reply's `term` says so.
    StaleTerm,
}

/// Thesis §3.10: the leader tells its successor to campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
}

/// A follower asks up to where a read that starts now must have applied (thesis §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {
    /// The follower's term.
    pub term: Term,
    /// The follower's own number for the question.
    pub id: ReadId,
}

/// The answer to [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndexReply {
    /// The sender's term.
    pub term: Term,
    /// The question.
    pub id: ReadId,
    /// The read index; `None` from a node that does not lead.
    pub read_index: Option<LogIndex>,
}

/// A node's number for a read (or for a batch of reads that began together). Never used twice by one node, in
/// this run or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReadId(pub u64);

/// Writes carried to the leader on behalf of another node's clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardWrites {
    /// The sender's number for the batch.
    pub id: u64,
    /// Encoded commands.
    pub commands: Vec<Bytes>,
}

/// What became of each forwarded write, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardWritesReply {
    /// The batch.
    pub id: u64,
    /// An encoded output and where it was applied, or why not.
    pub results: Vec<Result<(LogId, Bytes), WriteError>>,
}

/// Raft Figure 13, InstallSnapshot RPC. Without `data` it asks how far the follower has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSnapshot {
    /// The leader's term.
    pub term: Term,
    /// Which snapshot.
    pub snapshot: SnapshotMeta,
    /// Where `data` begins in it, in bytes.
    pub offset: u64,
    /// The part.
    pub data: Bytes,
    /// Whether it is the last.
    pub done: bool,
}

/// Raft Figure 13, results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSnapshotReply {
    /// The follower's term.
    pub term: Term,
    /// [`SnapshotMeta::id`] of the snapshot that was sent.
    pub snapshot_id: u64,
    /// Up to here the follower has it: go on from here.
    pub next_offset: u64,
    /// The follower needs no more of it: what the snapshot covers is on its disk.
    pub installed: bool,
}

/// Where the sender is reached. Links go one way: whoever is asked by a node that it does not know, being new
/// or behind, could not answer without this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// In the form that the transport understands.
    pub address: String,
}

/// A change of members carried to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardChange {
    /// The sender's number for the change.
    pub id: u64,
    /// The change.
    pub change: MembershipChange,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardChangeReply {
    /// The change.
    pub id: u64,
    /// The entry that the new members come from, or why there is none.
    pub result: Result<LogId, ChangeError>,
}

/// Why a node does not believe another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The other's log is not the one that the members know it by: it has lost its disk, and with it what it
    /// voted and acknowledged.
    /// What to do: remove the node from the cluster, then start it with an empty folder and have it join.
    #[error(
        "this folder is not the one that node {node} had in the cluster, so nobody believes what it says; \
         remove node {node} from the cluster, start it again with an empty folder so that it joins, and add \
         it anew"
    )]
    OtherFolder {
        /// Who is not believed.
        node: NodeId,
    },
    /// The other's cluster began with other members, or one of the two clusters was recovered from a single
    /// node since.
    /// What to do: find out which of the two is right; empty the other's folder, and have it join.
    #[error(
        "node {node} was started with other initial members than node {refused_by}, or one of their clusters \
         was recovered from a single node since; if node {refused_by} is right, start node {node} again with \
         an empty folder so that it joins, and add it"
    )]
    OtherGenesis {
        /// Who is not believed.
        node: NodeId,
        /// By whom.
        refused_by: NodeId,
    },
}

impl Message {
    /// The term that a message speaks in; what is not for the core speaks in none.
    pub fn term(&self) -> Option<Term> {
        match self {
            Message::RequestVote(message) => Some(message.term),
            Message::RequestVoteReply(message) => Some(message.term),
            Message::AppendEntries(message) => Some(message.term),
            Message::AppendEntriesReply(message) => Some(message.term),
            Message::TimeoutNow(message) => Some(message.term),
            Message::ReadIndex(message) => Some(message.term),
            Message::ReadIndexReply(message) => Some(message.term),
            Message::InstallSnapshot(message) => Some(message.term),
            Message::InstallSnapshotReply(message) => Some(message.term),
            Message::ForwardWrites(_)
            | Message::ForwardWritesReply(_)
            | Message::Introduction(_)
            | Message::ForwardChange(_)
            | Message::ForwardChangeReply(_)
            | Message::Refusal(_) => None,
        }
    }

    /// The bytes that this message counts for in queues: what it carries, and 64 for the rest.
    pub fn size_bytes(&self) -> u64 {
        64 + match self {
            Message::AppendEntries(append) => append.entries.size_bytes(),
            Message::InstallSnapshot(install) => install.data.len() as u64,
            Message::ForwardWrites(forward) => forward.commands.iter().map(|c| 16 + c.len() as u64).sum(),
            Message::ForwardWritesReply(reply) => reply
                .results
                .iter()
                .map(|r| 32 + r.as_ref().map_or(0, |(_, output)| output.len() as u64))
                .sum(),
            _ => 0,
        }
    }
}
