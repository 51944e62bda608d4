//! The wire format, version 1: how a batch of envelopes becomes bytes.
//!
//! A *frame* is one binary WebSocket message. It carries envelopes in order, for any number of groups between
//! one pair of nodes. All numbers are little-endian and of fixed width, so a frame can be read with a ruler,
//! and a decoded command is a slice of the received buffer, not a copy.
//!
//! ```text
//! frame      magic "RAF" | version u8 = 1 | length u32 | checksum u32 | count u32 | count x envelope
//! envelope   length u32 | kind u8 | group u32 | from u64 | to u64 | incarnation u64 | genesis u64 | body
//! ```
//!
//! `length` counts the bytes after the frame's 16-byte header, and after the envelope's own length field. The
//! checksum is CRC-32C over the whole frame without the checksum's four bytes: TCP's own is too weak for a
//! log.
//!
//! ```text
//! kind  body
//!  1    RequestVote         term u64 | last_log_id | pre_vote u8 | leadership_transfer u8
//!  2    RequestVoteReply    term u64 | vote_granted u8 | pre_vote u8
//!  3    AppendEntries       term u64 | prev_log_id | leader_commit u64 | round u64
//!                           | held_index u64 | count u32 | count x entry
//!  4    AppendEntriesReply  term u64 | round u64 | outcome
//!  5    TimeoutNow          term u64
//!  6    ReadIndex           term u64 | id u64
//!  7    ReadIndexReply      term u64 | id u64 | some u8 | read_index u64, if some
//!  8    ForwardWrites       id u64 | count u32 | count x (length u32 | command)
//!  9    ForwardWritesReply  id u64 | count u32 | count x result
//! 10    InstallSnapshot     term u64 | snapshot | offset u64 | done u8 | length u32 | data
//! 11    InstallSnapshotReply  term u64 | snapshot_id u64 | next_offset u64 | installed u8
//! 16    Introduction        length u32 | address (UTF-8)
//! 17    ForwardChange       id u64 | length u32 | change (postcard)
//! 18    ForwardChangeReply  id u64 | length u32 | result (postcard)
//! 19    Refusal             length u32 | reason (postcard)
//!
//! log id     term u64 | index u64
//! entry      term u64 | kind u8 | length u32 | payload
//!            kind: 0 no-op, 1 command, 2 membership (postcard)
//! snapshot   id u64 | last log id | size_bytes u64 | witness u8 | membership_log_id | length u32
//!            | membership (postcard)
//! outcome    0 | match_index u64     1 | rejected log id | hint log id     2 (stale term)
//! result     0 | log id | length u32 | output     1 (not leader)     2 | leader u64     3 (overloaded)
//!            4 | bytes u64 | bytes_max u64 (too large)     5 (unknown)     6 (stopped)
//! ```
//!
//! An entry has no index: it is the one after the entry before it, from `prev_log_id.index + 1` on, so a gap
//! cannot be said. Flags are 0 or 1. Every count and length is held against [`Limits`], and against the bytes
//! that are there, before anything is allocated; bytes that are no frame give a [`WireError`] that says what
//! is wrong and where.

mod decode;
mod encode;
mod members;

use crc_fast::{CrcAlgorithm, Digest};

pub use decode::decode;
pub use encode::encode;

/// The version of the format and of the handshake that this crate speaks.
pub const VERSION: u8 = 1;

/// The first three bytes of every frame.
pub const MAGIC: [u8; 3] = *b"RAF";

/// The bytes before the first envelope.
pub const FRAME_HEADER_BYTES: usize = 16;

/// Of an envelope: its length, kind, group, sender, receiver and origin.
const ENVELOPE_HEADER_BYTES: usize = 4 + 1 + 4 + 8 + 8 + 16;

/// Of an entry: its term, kind and length.
const ENTRY_HEADER_BYTES: usize = 8 + 1 + 4;

/// Where a frame's checksum stands.
const CHECKSUM: std::ops::Range<usize> = 8..12;

/// A frame is closed once it has this many bytes, and the rest of the batch goes into the next, so that the
/// receiver works on the first while the second is on its way.
const FRAME_BYTES_GOAL: usize = 256 << 10;

/// What this node sends and accepts. Both ends of a link should have the same limits: what is above the
/// receiver's breaks the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one frame, header included. Default 64 MiB, and never above `u32::MAX`. A single message must
    /// fit.
    pub frame_bytes_max: usize,
    /// Envelopes in one frame. Default 65,536.
    pub envelopes_max: usize,
    /// Entries in one AppendEntries. Default 65,536.
    pub entries_max: usize,
    /// Writes in one ForwardWrites, and results in its reply. Default 65,536.
    pub writes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { frame_bytes_max: 64 << 20, envelopes_max: 65_536, entries_max: 65_536, writes_max: 65_536 }
    }
}

impl Limits {
    /// The same limits with another for the bytes of a frame.
    pub fn with_frame_bytes_max(mut self, frame_bytes_max: usize) -> Limits {
        self.frame_bytes_max = frame_bytes_max;
        self
    }
}

/// Why bytes are not a frame. Nothing of such a frame is delivered, and its link is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end too early.
    #[error(
        "the frame ends at byte {end}, in the middle of {what} at byte {offset}, which needs {needed} bytes"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// How long it is.
        needed: usize,
        /// Where the frame, or the envelope, ends.
        end: usize,
    },
    /// The first three bytes are not [`MAGIC`].
    #[error("not a frame: it starts with {found:02x?} instead of \"RAF\"")]
    Magic {
        /// What is there instead.
        found: [u8; 3],
    },
    /// Another version of the format.
    /// What to do: run versions of this software on all nodes that speak the same one.
    #[error("the frame is of version {found}; this node speaks version {VERSION}")]
    Version {
        /// The frame's version.
        found: u8,
    },
    /// The header's length is not that of the frame.
    #[error("the frame says that {said} bytes follow its header; {is} do")]
    Length {
        /// What the header says.
        said: usize,
        /// What is there.
        is: usize,
    },
    /// A bit was turned over on the way, or the sender has a bug.
    #[error("the frame's checksum is {said:08x}, but its bytes give {is:08x}")]
    Checksum {
        /// What the header says.
        said: u32,
        /// What the bytes give.
        is: u32,
    },
    /// More than the limit, or more than fits in the bytes that are left.
    #[error("{count} {what} at byte {offset}: at most {max} are allowed there")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
        /// Where the count stands.
        offset: usize,
    },
    /// A kind or flag that this version does not know.
    #[error("{value} at byte {offset} is no {what}")]
    Unknown {
        /// What was expected.
        what: &'static str,
        /// What is there.
        value: u8,
        /// Where.
        offset: usize,
    },
    /// A membership that cannot be read, or that no cluster can have.
    #[error("the membership at byte {offset} is none: {reason}")]
    Membership {
        /// Where it starts.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A change of members, or what became of one, that cannot be read.
    #[error("what should be {what} at byte {offset} is none: {reason}")]
    Members {
        /// What was expected.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Entries behind the largest index there is.
    #[error("the entries at byte {offset} would have indexes beyond {}", u64::MAX)]
    IndexOverflow {
        /// Where their count stands.
        offset: usize,
    },
    /// Something is left after the last thing that was announced.
    #[error("{bytes} bytes too many after {what} at byte {offset}")]
    Trailing {
        /// After what.
        what: &'static str,
        /// How many.
        bytes: usize,
        /// Where they start.
        offset: usize,
    },
}

/// Why an envelope cannot be put on the wire. It will not go on another try either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// One message alone is larger than a frame may be.
    /// What to do: raise `frame_bytes_max` on all nodes, or send smaller batches.
    #[error("a message of {bytes} bytes does not fit into a frame of at most {max}")]
    TooLarge {
        /// The frame with this message alone.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More in one message than may be.
    /// What to do: raise the limit on all nodes, or send smaller batches.
    #[error("a message holds {count} {what}; at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// An AppendEntries whose entries do not follow each other: a bug of the sender.
    #[error("entry {found} stands where entry {expected} belongs")]
    Gap {
        /// The entry's index.
        found: u64,
        /// The index that follows the one before it.
        expected: u64,
    },
    /// A membership, or a change of one, that does not serialise: a bug.
    #[error("a membership cannot be encoded: {0}")]
    Membership(String),
    /// A message of a kind that this version of the format has no number for.
    #[error("this version of the wire format has no such message")]
    Unsupported,
}

/// The kinds of messages, as numbers that never change.
mod kind {
    pub(super) const REQUEST_VOTE: u8 = 1;
    pub(super) const REQUEST_VOTE_REPLY: u8 = 2;
    pub(super) const APPEND_ENTRIES: u8 = 3;
    pub(super) const APPEND_ENTRIES_REPLY: u8 = 4;
    pub(super) const TIMEOUT_NOW: u8 = 5;
    pub(super) const READ_INDEX: u8 = 6;
    pub(super) const READ_INDEX_REPLY: u8 = 7;
    pub(super) const FORWARD_WRITES: u8 = 8;
    pub(super) const FORWARD_WRITES_REPLY: u8 = 9;
    pub(super) const INSTALL_SNAPSHOT: u8 = 10;
    pub(super) const INSTALL_SNAPSHOT_REPLY: u8 = 11;
    pub(super) const INTRODUCTION: u8 = 16;
    pub(super) const FORWARD_CHANGE: u8 = 17;
    pub(super) const FORWARD_CHANGE_REPLY: u8 = 18;
    pub(super) const REFUSAL: u8 = 19;
}

/// The kinds of entries.
mod payload {
    pub(super) const NOOP: u8 = 0;
    pub(super) const COMMAND: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
}

/// What became of an AppendEntries.
mod outcome {
    pub(super) const MATCHED: u8 = 0;
    pub(super) const CONFLICT: u8 = 1;
    pub(super) const STALE_TERM: u8 = 2;
}

/// What became of a forwarded write.
mod result {
    pub(super) const DONE: u8 = 0;
    pub(super) const NOT_LEADER: u8 = 1;
    pub(super) const NOT_LEADER_BUT: u8 = 2;
    pub(super) const OVERLOADED: u8 = 3;
    pub(super) const TOO_LARGE: u8 = 4;
    pub(super) const UNKNOWN: u8 = 5;
    pub(super) const STOPPED: u8 = 6;
}

/// CRC-32C over a whole frame without the four bytes of its checksum.
fn checksum_of(frame: &[u8]) -> u32 {
    let mut checksum = Digest::new(CrcAlgorithm::Crc32Iscsi);
    checksum.update(&frame[..CHECKSUM.start]);
    checksum.update(&frame[CHECKSUM.end..]);
    checksum.finalize() as u32
}
