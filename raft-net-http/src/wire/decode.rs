//! Bytes to envelopes. Trusts nothing.

use bytes::Bytes;
use raft_actor::{
    error::WriteError,
    membership::Membership,
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Envelope, ForwardWrites, ForwardWritesReply,
        InstallSnapshot, InstallSnapshotReply, Message, ReadId, ReadIndex, ReadIndexReply, RequestVote,
        RequestVoteReply, TimeoutNow,
    },
    types::{Entries, Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, SnapshotMeta, Term},
};

use super::{
    CHECKSUM, ENTRY_HEADER_BYTES, ENVELOPE_HEADER_BYTES, FRAME_HEADER_BYTES, Limits, MAGIC, VERSION,
    WireError, checksum_of, kind, outcome, payload, result,
};

/// Reads a frame, and appends its envelopes to `batch`. On an error `batch` is as it was.
///
/// Commands and outputs are slices of `frame`, which lives as long as any of them.
pub fn decode(frame: &Bytes, limits: &Limits, batch: &mut Vec<Envelope>) -> Result<(), WireError> {
    let before = batch.len();
    let outcome = decode_frame(frame, limits, batch);
    if outcome.is_err() {
        batch.truncate(before);
    }
    outcome
}

fn decode_frame(frame: &Bytes, limits: &Limits, batch: &mut Vec<Envelope>) -> Result<(), WireError> {
    if frame.len() > limits.frame_bytes_max {
        let (count, max) = (frame.len(), limits.frame_bytes_max);
        return Err(WireError::TooMany { what: "bytes in a frame", count, max, offset: 0 });
    }
    let mut reader = Reader { frame, offset: 0, end: frame.len() };
    let found = reader.array::<3>("the magic")?;
    if found != MAGIC {
        return Err(WireError::Magic { found });
    }
    let version = reader.u8("the version")?;
    if version != VERSION {
        return Err(WireError::Version { found: version });
    }
    let said = reader.u32("the length")? as usize;
    let is = frame.len().saturating_sub(FRAME_HEADER_BYTES);
    let checksum = reader.u32("the checksum")?;
    debug_assert_eq!(reader.offset, CHECKSUM.end);
    let count = reader.count("envelopes", limits.envelopes_max, ENVELOPE_HEADER_BYTES)?;
    if said != is {
        return Err(WireError::Length { said, is });
    }
    let computed = checksum_of(frame);
    if checksum != computed {
        return Err(WireError::Checksum { said: checksum, is: computed });
    }
    batch.reserve(count);
    for _ in 0..count {
        batch.push(reader.envelope(limits)?);
    }
    reader.finish("the last envelope")
}

/// A cursor over a frame, or over one envelope of it.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    pub(super) offset: usize,
    end: usize,
}

impl Reader<'_> {
    fn slice(&mut self, what: &'static str, length: usize) -> Result<&[u8], WireError> {
        let (offset, end) = (self.offset, self.end);
        if length > end - offset {
            return Err(WireError::Truncated { what, offset, needed: length, end });
        }
        self.offset += length;
        Ok(&self.frame[offset..self.offset])
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(what, N)?);
        Ok(array)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(what)?[0])
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(WireError::Unknown { what, value, offset: self.offset - 1 }),
        }
    }

    fn term(&mut self) -> Result<Term, WireError> {
        self.u64("a term").map(Term)
    }

    fn index(&mut self, what: &'static str) -> Result<LogIndex, WireError> {
        self.u64(what).map(LogIndex)
    }

    fn log_id(&mut self, what: &'static str) -> Result<LogId, WireError> {
        Ok(LogId { term: self.u64(what).map(Term)?, index: self.index(what)? })
    }

    /// A count of things of at least `bytes_min` bytes each: neither more than `max`, nor more than can be
    /// there.
    fn count(&mut self, what: &'static str, max: usize, bytes_min: usize) -> Result<usize, WireError> {
        let offset = self.offset;
        let count = self.u32(what)? as usize;
        let max = max.min((self.end - self.offset) / bytes_min);
        if count > max { Err(WireError::TooMany { what, count, max, offset }) } else { Ok(count) }
    }

    /// A length, and so many bytes, which stay where they are.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<Bytes, WireError> {
        let length = self.u32(what)? as usize;
        let start = self.offset;
        self.slice(what, length)?;
        Ok(self.frame.slice(start..start + length))
    }

    fn finish(&self, what: &'static str) -> Result<(), WireError> {
        let bytes = self.end - self.offset;
        if bytes > 0 { Err(WireError::Trailing { what, bytes, offset: self.offset }) } else { Ok(()) }
    }

    fn envelope(&mut self, limits: &Limits) -> Result<Envelope, WireError> {
        let length = self.u32("an envelope's length")? as usize;
        let start = self.offset;
        self.slice("an envelope", length)?;
        let mut inner = Reader { frame: self.frame, offset: start, end: start + length };
        let kind = inner.u8("a kind of message")?;
        let group = GroupId(inner.u32("the group")?);
        let from = NodeId(inner.u64("the sender")?);
        let to = NodeId(inner.u64("the receiver")?);
        let origin = Origin {
            incarnation: inner.u64("the sender's incarnation")?,
            genesis: inner.u64("the sender's genesis")?,
        };
        let message = inner.message(kind, start, limits)?;
        inner.finish("a message")?;
        Ok(Envelope { group, from, to, origin, message })
    }

    fn message(&mut self, kind: u8, offset: usize, limits: &Limits) -> Result<Message, WireError> {
        Ok(match kind {
            kind::REQUEST_VOTE => Message::RequestVote(RequestVote {
                term: self.term()?,
                last_log_id: self.log_id("the last log id")?,
                pre_vote: self.flag("pre-vote flag")?,
                leadership_transfer: self.flag("leadership transfer flag")?,
            }),
            kind::REQUEST_VOTE_REPLY => Message::RequestVoteReply(RequestVoteReply {
                term: self.term()?,
                vote_granted: self.flag("vote granted flag")?,
                pre_vote: self.flag("pre-vote flag")?,
            }),
            kind::APPEND_ENTRIES => Message::AppendEntries(self.append(limits)?),
            kind::APPEND_ENTRIES_REPLY => Message::AppendEntriesReply(AppendEntriesReply {
                term: self.term()?,
                round: self.u64("the round")?,
                outcome: self.outcome()?,
            }),
            kind::TIMEOUT_NOW => Message::TimeoutNow(TimeoutNow { term: self.term()? }),
            kind::READ_INDEX => {
                Message::ReadIndex(ReadIndex { term: self.term()?, id: ReadId(self.u64("the read")?) })
            }
            kind::READ_INDEX_REPLY => {
                let (term, id) = (self.term()?, ReadId(self.u64("the read")?));
                let some = self.flag("read index flag")?;
                let read_index = if some { Some(self.index("the read index")?) } else { None };
                Message::ReadIndexReply(ReadIndexReply { term, id, read_index })
            }
            kind::FORWARD_WRITES => {
                let id = self.u64("the batch")?;
                let count = self.count("writes", limits.writes_max, 4)?;
                let mut commands = Vec::with_capacity(count);
                for _ in 0..count {
                    commands.push(self.bytes("a command")?);
                }
                Message::ForwardWrites(ForwardWrites { id, commands })
            }
            kind::FORWARD_WRITES_REPLY => {
                let id = self.u64("the batch")?;
                let count = self.count("results", limits.writes_max, 1)?;
                let mut results = Vec::with_capacity(count);
                for _ in 0..count {
                    results.push(self.result()?);
                }
                Message::ForwardWritesReply(ForwardWritesReply { id, results })
            }
            kind::INSTALL_SNAPSHOT => Message::InstallSnapshot(InstallSnapshot {
                term: self.term()?,
                snapshot: self.snapshot()?,
                offset: self.u64("the offset")?,
                done: self.flag("done flag")?,
                data: self.bytes("a part of a snapshot")?,
            }),
            kind::INSTALL_SNAPSHOT_REPLY => Message::InstallSnapshotReply(InstallSnapshotReply {
                term: self.term()?,
                snapshot_id: self.u64("the snapshot's id")?,
                next_offset: self.u64("the next offset")?,
                installed: self.flag("installed flag")?,
            }),
            kind::INTRODUCTION => Message::Introduction(self.introduction()?),
            kind::FORWARD_CHANGE => Message::ForwardChange(self.forward_change()?),
            kind::FORWARD_CHANGE_REPLY => Message::ForwardChangeReply(self.forward_change_reply()?),
            kind::REFUSAL => Message::Refusal(self.refusal()?),
            value => return Err(WireError::Unknown { what: "kind of message", value, offset }),
        })
    }

    fn snapshot(&mut self) -> Result<SnapshotMeta, WireError> {
        let id = self.u64("the snapshot's id")?;
        let last = self.log_id("the snapshot's last log id")?;
        let size_bytes = self.u64("the snapshot's size")?;
        let witness = self.flag("whether the snapshot is a witness's")?;
        let membership_log_id = self.log_id("the membership's log id")?;
        let offset = self.offset + 4;
        let bytes = self.bytes("the membership")?;
        let membership = membership(&bytes).map_err(|reason| WireError::Membership { offset, reason })?;
        Ok(SnapshotMeta {
            id,
            last,
            membership: Box::new(membership),
            membership_log_id,
            size_bytes,
            witness,
        })
    }

    fn append(&mut self, limits: &Limits) -> Result<AppendEntries, WireError> {
        let term = self.term()?;
        let prev_log_id = self.log_id("the previous log id")?;
        let leader_commit = self.index("the leader's commit index")?;
        let round = self.u64("the round")?;
        let held_index = self.index("the held index")?;
        let offset = self.offset;
        let count = self.count("entries", limits.entries_max, ENTRY_HEADER_BYTES)?;
        if prev_log_id.index.0.checked_add(count as u64).is_none() {
            return Err(WireError::IndexOverflow { offset });
        }
        let mut entries = Vec::with_capacity(count);
        for number in 1..=count as u64 {
            let term = self.term()?;
            let index = LogIndex(prev_log_id.index.0 + number);
            entries.push(Entry::new(LogId { term, index }, self.payload()?));
        }
        let entries = Entries::from(entries);
        Ok(AppendEntries { term, prev_log_id, entries, leader_commit, round, held_index })
    }

    fn payload(&mut self) -> Result<Payload, WireError> {
        let offset = self.offset;
        let kind = self.u8("a kind of entry")?;
        let start = self.offset + 4;
        let bytes = self.bytes("an entry")?;
        match kind {
            payload::NOOP if bytes.is_empty() => Ok(Payload::Noop),
            payload::NOOP => Err(WireError::Trailing { what: "a no-op", bytes: bytes.len(), offset: start }),
            payload::COMMAND => Ok(Payload::Command(bytes)),
            payload::MEMBERSHIP => membership(&bytes)
                .map(|membership| Payload::Membership(Box::new(membership)))
                .map_err(|reason| WireError::Membership { offset: start, reason }),
            value => Err(WireError::Unknown { what: "kind of entry", value, offset }),
        }
    }

    fn outcome(&mut self) -> Result<AppendOutcome, WireError> {
        let offset = self.offset;
        match self.u8("an outcome")? {
            outcome::MATCHED => Ok(AppendOutcome::Matched { match_index: self.index("the match index")? }),
            outcome::CONFLICT => Ok(AppendOutcome::Conflict {
                rejected: self.log_id("the rejected log id")?,
                hint: self.log_id("the hint")?,
            }),
            outcome::STALE_TERM => Ok(AppendOutcome::StaleTerm),
            value => Err(WireError::Unknown { what: "outcome", value, offset }),
        }
    }

    fn result(&mut self) -> Result<Result<(LogId, Bytes), WriteError>, WireError> {
        let offset = self.offset;
        Ok(match self.u8("a result")? {
            result::DONE => Ok((self.log_id("the write's log id")?, self.bytes("an output")?)),
            result::NOT_LEADER => Err(WriteError::NotLeader { leader: None }),
            result::NOT_LEADER_BUT => {
                Err(WriteError::NotLeader { leader: Some(NodeId(self.u64("the leader")?)) })
            }
            result::OVERLOADED => Err(WriteError::Overloaded),
            result::TOO_LARGE => Err(WriteError::TooLarge {
                bytes: self.u64("the command's bytes")?,
                bytes_max: self.u64("the limit")?,
            }),
            result::UNKNOWN => Err(WriteError::Unknown),
            result::STOPPED => Err(WriteError::Stopped),
            value => return Err(WireError::Unknown { what: "result", value, offset }),
        })
    }
}

/// A membership that some cluster can have: what is on the wire goes around the constructor's checks, so they
/// are made again here.
fn membership(bytes: &[u8]) -> Result<Membership, String> {
    let (membership, rest) =
        postcard::take_from_bytes::<Membership>(bytes).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes too many", rest.len()));
    }
    if membership.voters().is_empty() {
        return Err("it has no voter".to_owned());
    }
    let named = [membership.voters(), membership.outgoing(), membership.learners(), membership.witnesses()];
    for node in named.into_iter().flatten().chain(membership.priorities().keys()) {
        if !membership.contains(*node) {
            return Err(format!("node {node} has no address"));
        }
    }
    if membership.contains(NodeId(0)) {
        return Err("node id 0 is reserved".to_owned());
    }
    Ok(membership)
}
