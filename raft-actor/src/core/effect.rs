//! The core's edge: what happens to it, and what it wants done.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    membership::{ChangeError, MembershipChange, TransferError},
    message::{Message, ReadId, Refusal},
    types::{Entries, LogId, LogIndex, LogWrite, NodeId, Origin, Role, SnapshotMeta, Term},
};

/// Something that happened. With the same state and the same time, the same input has the same effects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed, perhaps as far as [`crate::core::Raft::deadline`]. Every input passes time; this
    /// one does nothing else.
    Tick,
    /// A message has arrived.
    Receive {
        /// The sender, as the link vouches for it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// From now on a peer speaks as this one. One of which it is not told speaks as nobody in particular, and
    /// is believed.
    Identified {
        /// The peer.
        peer: NodeId,
        /// Which life of it, of which cluster.
        origin: Origin,
    },
    /// Clients want these encoded commands in the log. Answered at once by [`Effect::Proposed`] or
    /// [`Effect::ProposalRefused`].
    Propose {
        /// In the order in which they are to be applied.
        commands: Vec<Bytes>,
    },
    /// Clients want to read what is committed now or later. Answered by [`Effect::ReadReady`] or
    /// [`Effect::ReadFailed`].
    Read {
        /// The caller's number for this batch of reads.
        id: ReadId,
    },
    /// The same, but a leader may answer from its lease (thesis §6.4.1). Where there is none, this is
    /// [`Input::Read`].
    LeaseRead {
        /// The caller's number for this batch of reads.
        id: ReadId,
    },
    /// Clients want to read what was committed at some time no longer ago than `bound`. Where none is known
    /// that is so recent, this is [`Input::Read`].
    ReadWithin {
        /// The caller's number for this batch of reads.
        id: ReadId,
        /// How stale the answer may be.
        bound: Duration,
    },
    /// Hand leadership to `to`, or to the voter that is furthest ahead. Answered by
    /// [`Effect::TransferEnded`].
    Transfer {
        /// The successor.
        to: Option<NodeId>,
    },
    /// Change the members. Answered by [`Effect::MembershipChanged`] or [`Effect::MembershipRefused`].
    ChangeMembership {
        /// The caller's number for the change.
        id: u64,
        /// What is to become of whom.
        change: MembershipChange,
    },
    /// Campaign now, without waiting for the election timeout.
    Campaign,
    /// The write of this number, and all before it, are flushed on this node's disk.
    Flushed {
        /// [`LogWrite::sequence`].
        sequence: u64,
    },
    /// The state machine has seen all up to here.
    Applied {
        /// The last index applied.
        index: LogIndex,
    },
    /// Entries that [`Effect::ReadLog`] asked for.
    LogRead {
        /// Who they are for, as it was asked.
        reader: LogReader,
        /// What the log holds from the asked index on; at least one entry.
        entries: Entries,
    },
    /// The link to a peer broke: what was on its way may be lost.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// The peer's process is not there: its link was closed, and nobody listens at its address.
    Gone {
        /// The peer.
        peer: NodeId,
    },
    /// Somebody wants a snapshot now. Answered by [`Effect::TakeSnapshot`] or [`Effect::SnapshotRefused`].
    TakeSnapshot,
    /// The snapshot that [`Effect::TakeSnapshot`] asked for is durable.
    SnapshotTaken {
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// The state machine has no snapshots.
    SnapshotNotTaken,
    /// A snapshot that was to be sent is no longer there.
    SnapshotGone {
        /// Which.
        id: u64,
    },
    /// A part that [`Effect::StoreSnapshotChunk`] was about was taken, or was not.
    SnapshotChunkStored {
        /// Which snapshot.
        id: u64,
        /// Up to here it has been received.
        next_offset: u64,
    },
    /// The snapshot that [`Effect::FinishSnapshot`] was about is whole and durable.
    SnapshotReceived {
        /// Which.
        id: u64,
    },
    /// The log is purged up to here, durably.
    Purged {
        /// As it was asked.
        through: LogId,
    },
    /// The state machine is as [`Effect::RestoreSnapshot`] wanted it.
    SnapshotRestored {
        /// Which.
        id: u64,
    },
}

/// Something to be done. Effects are carried out in the order in which they stand.
///
/// No message is ever given out before what it promises is flushed: the core holds it back until
/// [`Input::Flushed`], so whoever carries effects out may do each at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Effect {
    /// Write this, flush it, and report [`Input::Flushed`]. The core goes on meanwhile.
    Write(LogWrite),
    /// Send this; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Read entries back from the log, and report [`Input::LogRead`].
    ReadLog {
        /// Who needs them.
        reader: LogReader,
        /// The first entry wanted.
        first: LogIndex,
        /// The last entry wanted.
        last: LogIndex,
        /// As many as fit in this, at least one.
        bytes_max: u64,
    },
    /// Apply these committed entries, in order, and report [`Input::Applied`]. Each index is given out once.
    Apply(Entries),
    /// The oldest unanswered [`Input::Propose`] is in the log, from this entry on. It is not committed yet.
    Proposed {
        /// The first command's place.
        first: LogId,
        /// How many commands.
        count: u64,
    },
    /// The oldest unanswered [`Input::Propose`] was refused whole: this node does not lead, or is handing
    /// over.
    ProposalRefused {
        /// Who to ask instead.
        leader: Option<NodeId>,
        /// How many commands.
        count: u64,
    },
    /// These reads may be served once the state machine has applied `read_index`.
    ReadReady {
        /// The reads.
        ids: Vec<ReadId>,
        /// The read index.
        read_index: LogIndex,
    },
    /// These reads got no read index.
    ReadFailed {
        /// The reads.
        ids: Vec<ReadId>,
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Role, term or leader have changed. Proposals of an earlier leadership of this node that are not
    /// applied yet have an unknown outcome from here on.
    RoleChanged {
        /// From now on.
        role: Role,
        /// From now on.
        term: Term,
        /// From now on.
        leader: Option<NodeId>,
    },
    /// Take a snapshot of what is applied, and report [`Input::SnapshotTaken`] or
    /// [`Input::SnapshotNotTaken`]. Writes go on.
    TakeSnapshot,
    /// No snapshot can be taken now, though somebody wanted one.
    SnapshotRefused,
    /// Forget the log up to here, after the writes before and before those that follow; report
    /// [`Input::Purged`].
    Purge {
        /// The last entry to be forgotten. It may be beyond the log's end, which then is this.
        through: LogId,
    },
    /// Read a part of a snapshot and send it in an InstallSnapshot; it may be lost. Where the snapshot is
    /// gone, report [`Input::SnapshotGone`].
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// In which term.
        term: Term,
        /// Which snapshot.
        snapshot: SnapshotMeta,
        /// From where on.
        offset: u64,
        /// How much at the most; 0 only asks the peer how far it has got.
        bytes_max: u64,
    },
    /// These snapshots are being sent; older ones that are not are of no use.
    RetainSnapshots {
        /// [`SnapshotMeta::id`] of each.
        ids: Vec<u64>,
    },
    /// Keep a part of the leader's snapshot, and report [`Input::SnapshotChunkStored`].
    StoreSnapshotChunk {
        /// Which snapshot.
        snapshot: SnapshotMeta,
        /// Where the part begins.
        offset: u64,
        /// The part.
        data: Bytes,
    },
    /// All of it is there: make it durable, and report [`Input::SnapshotReceived`].
    FinishSnapshot {
        /// Which.
        snapshot: SnapshotMeta,
    },
    /// Replace the state machine's whole state, after what was given out before; report
    /// [`Input::SnapshotRestored`].
    RestoreSnapshot {
        /// By which.
        snapshot: SnapshotMeta,
    },
    /// The change is made and committed, or was made before.
    MembershipChanged {
        /// The change.
        id: u64,
        /// The entry that the new members come from.
        log_id: LogId,
    },
    /// The change was not made; after [`ChangeError::Unknown`] it may be yet.
    MembershipRefused {
        /// The change.
        id: u64,
        /// Why.
        reason: ChangeError,
    },
    /// Whom this node talks to from now on, and where each is reached: all other members, and those that
    /// have left, until they can know it. Stands before all that is sent to a new one.
    PeersChanged {
        /// All of them.
        peers: BTreeMap<NodeId, String>,
    },
    /// A peer was not believed: what it said is dropped. Told again, now and then, as long as it speaks.
    Disbelieved {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: Refusal,
    },
    /// The log is whole again, through an entry of a term later than `fence`: from now on this node votes,
    /// and stands for election.
    FenceLifted {
        /// What [`crate::core::Raft::fence`] was.
        fence: Term,
    },
    /// A handing-over has ended: another node leads, or it was given up and this one goes on.
    TransferEnded {
        /// This node has stopped leading; or why not.
        outcome: Result<(), TransferError>,
    },
}

/// Who entries are read back for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogReader {
    /// A peer that is far behind, in this leader's term.
    Peer {
        /// The peer.
        peer: NodeId,
        /// The term of the leader that asked.
        term: Term,
    },
    /// The state machine.
    Applier,
}

/// What is to be done, in order.
pub type Effects = Vec<Effect>;
