//! Envelopes to bytes.

use bytes::{BufMut, BytesMut};
use raft_actor::{
    error::WriteError,
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Envelope, ForwardWrites, InstallSnapshot, Message,
    },
    types::{LogId, Payload},
};

use super::{
    CHECKSUM, ENTRY_HEADER_BYTES, ENVELOPE_HEADER_BYTES, EncodeError, FRAME_BYTES_GOAL, FRAME_HEADER_BYTES,
    Limits, MAGIC, VERSION, checksum_of, kind, members, outcome, payload, result,
};

/// Puts envelopes from the front of `batch` into one frame in `frame`, which is empty, and returns how many:
/// all, or as many as make a frame of a good size. Never none, unless `batch` is empty.
pub fn encode(batch: &[Envelope], limits: &Limits, frame: &mut BytesMut) -> Result<usize, EncodeError> {
    debug_assert!(frame.is_empty(), "a frame is encoded into an empty buffer");
    frame.put_bytes(0, FRAME_HEADER_BYTES);
    let bytes_max = limits.frame_bytes_max.min(u32::MAX as usize);
    let mut count = 0;
    for envelope in batch.iter().take(limits.envelopes_max) {
        let start = frame.len();
        encode_envelope(envelope, limits, frame)?;
        if frame.len() > bytes_max {
            if count == 0 {
                return Err(EncodeError::TooLarge { bytes: frame.len(), max: bytes_max });
            }
            frame.truncate(start);
            break;
        }
        count += 1;
        if frame.len() >= FRAME_BYTES_GOAL {
            break;
        }
    }
    let length = number(frame.len() - FRAME_HEADER_BYTES);
    frame[0..3].copy_from_slice(&MAGIC);
    frame[3] = VERSION;
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[12..16].copy_from_slice(&number(count).to_le_bytes());
    let checksum = checksum_of(frame);
    frame[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    Ok(count)
}

fn encode_envelope(envelope: &Envelope, limits: &Limits, frame: &mut BytesMut) -> Result<(), EncodeError> {
    let start = frame.len();
    frame.reserve(ENVELOPE_HEADER_BYTES + 64);
    frame.put_u32_le(0);
    frame.put_u8(kind_of(&envelope.message)?);
    frame.put_u32_le(envelope.group.0);
    frame.put_u64_le(envelope.from.0);
    frame.put_u64_le(envelope.to.0);
    frame.put_u64_le(envelope.origin.incarnation);
    frame.put_u64_le(envelope.origin.genesis);
    encode_body(&envelope.message, limits, frame)?;
    let length = number(frame.len() - start - 4);
    frame[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn kind_of(message: &Message) -> Result<u8, EncodeError> {
    Ok(match message {
        Message::RequestVote(_) => kind::REQUEST_VOTE,
        Message::RequestVoteReply(_) => kind::REQUEST_VOTE_REPLY,
        Message::AppendEntries(_) => kind::APPEND_ENTRIES,
        Message::AppendEntriesReply(_) => kind::APPEND_ENTRIES_REPLY,
        Message::TimeoutNow(_) => kind::TIMEOUT_NOW,
        Message::ReadIndex(_) => kind::READ_INDEX,
        Message::ReadIndexReply(_) => kind::READ_INDEX_REPLY,
        Message::ForwardWrites(_) => kind::FORWARD_WRITES,
        Message::ForwardWritesReply(_) => kind::FORWARD_WRITES_REPLY,
        Message::InstallSnapshot(_) => kind::INSTALL_SNAPSHOT,
        Message::InstallSnapshotReply(_) => kind::INSTALL_SNAPSHOT_REPLY,
        Message::Introduction(_) => kind::INTRODUCTION,
        Message::ForwardChange(_) => kind::FORWARD_CHANGE,
        Message::ForwardChangeReply(_) => kind::FORWARD_CHANGE_REPLY,
        Message::Refusal(_) => kind::REFUSAL,
        _ => return Err(EncodeError::Unsupported),
    })
}

fn encode_body(message: &Message, limits: &Limits, frame: &mut BytesMut) -> Result<(), EncodeError> {
    match message {
        Message::RequestVote(vote) => {
            frame.put_u64_le(vote.term.0);
            put_log_id(vote.last_log_id, frame);
            frame.put_u8(u8::from(vote.pre_vote));
            frame.put_u8(u8::from(vote.leadership_transfer));
        }
        Message::RequestVoteReply(reply) => {
            frame.put_u64_le(reply.term.0);
            frame.put_u8(u8::from(reply.vote_granted));
            frame.put_u8(u8::from(reply.pre_vote));
        }
        Message::AppendEntries(append) => encode_append(append, limits, frame)?,
        Message::AppendEntriesReply(reply) => encode_append_reply(reply, frame),
        Message::TimeoutNow(timeout) => frame.put_u64_le(timeout.term.0),
        Message::ReadIndex(read) => {
            frame.put_u64_le(read.term.0);
            frame.put_u64_le(read.id.0);
        }
        Message::ReadIndexReply(reply) => {
            frame.put_u64_le(reply.term.0);
            frame.put_u64_le(reply.id.0);
            frame.put_u8(u8::from(reply.read_index.is_some()));
            if let Some(index) = reply.read_index {
                frame.put_u64_le(index.0);
            }
        }
        Message::ForwardWrites(forward) => encode_forward(forward, limits, frame)?,
        Message::ForwardWritesReply(reply) => {
            check("results", reply.results.len(), limits.writes_max)?;
            frame.put_u64_le(reply.id);
            frame.put_u32_le(number(reply.results.len()));
            for done in &reply.results {
                match done {
                    Ok((id, output)) => {
                        frame.put_u8(result::DONE);
                        put_log_id(*id, frame);
                        put_bytes(output, limits, frame)?;
                    }
                    Err(error) => put_write_error(error, frame),
                }
            }
        }
        Message::InstallSnapshot(install) => encode_install(install, limits, frame)?,
        Message::InstallSnapshotReply(reply) => {
            frame.put_u64_le(reply.term.0);
            frame.put_u64_le(reply.snapshot_id);
            frame.put_u64_le(reply.next_offset);
            frame.put_u8(u8::from(reply.installed));
        }
        Message::Introduction(introduction) => put_bytes(introduction.address.as_bytes(), limits, frame)?,
        Message::ForwardChange(forward) => {
            frame.put_u64_le(forward.id);
            put_bytes(&members::encoded_change(&forward.change)?, limits, frame)?;
        }
        Message::ForwardChangeReply(reply) => {
            frame.put_u64_le(reply.id);
            put_bytes(&members::encoded_outcome(&reply.result)?, limits, frame)?;
        }
        Message::Refusal(refusal) => put_bytes(&members::encoded_refusal(refusal)?, limits, frame)?,
        _ => return Err(EncodeError::Unsupported),
    }
    Ok(())
}

fn encode_install(
    install: &InstallSnapshot,
    limits: &Limits,
    frame: &mut BytesMut,
) -> Result<(), EncodeError> {
    let snapshot = &install.snapshot;
    frame.put_u64_le(install.term.0);
    frame.put_u64_le(snapshot.id);
    put_log_id(snapshot.last, frame);
    frame.put_u64_le(snapshot.size_bytes);
    frame.put_u8(u8::from(snapshot.witness));
    put_log_id(snapshot.membership_log_id, frame);
    let membership = postcard::to_allocvec(&snapshot.membership);
    put_bytes(&membership.map_err(|error| EncodeError::Membership(error.to_string()))?, limits, frame)?;
    frame.put_u64_le(install.offset);
    frame.put_u8(u8::from(install.done));
    put_bytes(&install.data, limits, frame)
}

fn encode_append(append: &AppendEntries, limits: &Limits, frame: &mut BytesMut) -> Result<(), EncodeError> {
    check("entries", append.entries.len(), limits.entries_max)?;
    frame.put_u64_le(append.term.0);
    put_log_id(append.prev_log_id, frame);
    frame.put_u64_le(append.leader_commit.0);
    frame.put_u64_le(append.round);
    frame.put_u64_le(append.held_index.0);
    frame.put_u32_le(number(append.entries.len()));
    let mut previous = append.prev_log_id.index.0;
    for entry in append.entries.iter() {
        let expected = previous.saturating_add(1);
        if entry.id.index.0 != expected || previous == u64::MAX {
            return Err(EncodeError::Gap { found: entry.id.index.0, expected });
        }
        previous = expected;
        let membership;
        let (kind, content) = match &entry.payload {
            Payload::Noop => (payload::NOOP, &[][..]),
            Payload::Command(command) => (payload::COMMAND, &command[..]),
            Payload::Membership(members) => {
                membership = postcard::to_allocvec(members)
                    .map_err(|error| EncodeError::Membership(error.to_string()))?;
                (payload::MEMBERSHIP, &membership[..])
            }
        };
        if content.len() > limits.frame_bytes_max.min(u32::MAX as usize) {
            return Err(EncodeError::TooLarge { bytes: content.len(), max: limits.frame_bytes_max });
        }
        let mut header = [0; ENTRY_HEADER_BYTES];
        header[..8].copy_from_slice(&entry.id.term.0.to_le_bytes());
        header[8] = kind;
        header[9..].copy_from_slice(&number(content.len()).to_le_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(content);
    }
    Ok(())
}

fn encode_append_reply(reply: &AppendEntriesReply, frame: &mut BytesMut) {
    frame.put_u64_le(reply.term.0);
    frame.put_u64_le(reply.round);
    match reply.outcome {
        AppendOutcome::Matched { match_index } => {
            frame.put_u8(outcome::MATCHED);
            frame.put_u64_le(match_index.0);
        }
        AppendOutcome::Conflict { rejected, hint } => {
            frame.put_u8(outcome::CONFLICT);
            put_log_id(rejected, frame);
            put_log_id(hint, frame);
        }
        AppendOutcome::StaleTerm => frame.put_u8(outcome::STALE_TERM),
    }
}

fn encode_forward(forward: &ForwardWrites, limits: &Limits, frame: &mut BytesMut) -> Result<(), EncodeError> {
    check("writes", forward.commands.len(), limits.writes_max)?;
    frame.put_u64_le(forward.id);
    frame.put_u32_le(number(forward.commands.len()));
    for command in &forward.commands {
        put_bytes(command, limits, frame)?;
    }
    Ok(())
}

fn put_write_error(error: &WriteError, frame: &mut BytesMut) {
    match error {
        WriteError::NotLeader { leader: None } => frame.put_u8(result::NOT_LEADER),
        WriteError::NotLeader { leader: Some(leader) } => {
            frame.put_u8(result::NOT_LEADER_BUT);
            frame.put_u64_le(leader.0);
        }
        WriteError::Overloaded => frame.put_u8(result::OVERLOADED),
        WriteError::TooLarge { bytes, bytes_max } => {
            frame.put_u8(result::TOO_LARGE);
            frame.put_u64_le(*bytes);
            frame.put_u64_le(*bytes_max);
        }
        WriteError::Stopped => frame.put_u8(result::STOPPED),
        // `Unknown`, and whatever a later version can say that this format cannot: "the outcome is not known"
        // is never false.
        _ => frame.put_u8(result::UNKNOWN),
    }
}

fn put_log_id(id: LogId, frame: &mut BytesMut) {
    frame.put_u64_le(id.term.0);
    frame.put_u64_le(id.index.0);
}

fn put_bytes(bytes: &[u8], limits: &Limits, frame: &mut BytesMut) -> Result<(), EncodeError> {
    if bytes.len() > limits.frame_bytes_max.min(u32::MAX as usize) {
        return Err(EncodeError::TooLarge { bytes: bytes.len(), max: limits.frame_bytes_max });
    }
    frame.put_u32_le(number(bytes.len()));
    frame.extend_from_slice(bytes);
    Ok(())
}

fn check(what: &'static str, count: usize, max: usize) -> Result<(), EncodeError> {
    if count > max { Err(EncodeError::TooMany { what, count, max }) } else { Ok(()) }
}

/// A count or length that limits have bounded. Saturates; a frame with such a length is refused as too large.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
