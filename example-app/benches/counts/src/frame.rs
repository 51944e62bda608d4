//! The wire: what a leader sends to a follower, as bytes and back.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use raft_actor::{
    message::{AppendEntries, Envelope, Message},
    types::{Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, Term},
};

use crate::{
    path::check,
    wire::{self, Limits},
};

/// Encodes the same message `times` times into one buffer, as a link does.
pub(crate) fn encode(times: u64, entries: u64) -> Result<(), String> {
    let batch = [envelope(entries)];
    let mut frame = BytesMut::new();
    for _ in 0..times {
        frame.clear();
        let encoded = wire::encode(black_box(&batch), &Limits::default(), &mut frame);
        check("envelopes encoded", encoded.map_err(|error| error.to_string())? as u64, 1)?;
    }
    Ok(())
}

/// Decodes the same frame `times` times.
pub(crate) fn decode(times: u64, entries: u64) -> Result<(), String> {
    let sent = [envelope(entries)];
    let mut frame = BytesMut::new();
    wire::encode(&sent, &Limits::default(), &mut frame).map_err(|error| error.to_string())?;
    let frame = frame.freeze();
    let mut received = Vec::new();
    for _ in 0..times {
        received.clear();
        wire::decode(black_box(&frame), &Limits::default(), &mut received)
            .map_err(|error| error.to_string())?;
    }
    if received != sent { Err("what was sent was not received".to_owned()) } else { Ok(()) }
}

fn envelope(entries: u64) -> Envelope {
    let term = Term(3);
    let prev_log_id = LogId::new(term, LogIndex(1_000));
    let entry = |place: u64| {
        let payload = Payload::Command(Bytes::from(vec![place as u8; 128]));
        Entry::new(LogId::new(term, LogIndex(prev_log_id.index.0 + place)), payload)
    };
    let append = AppendEntries {
        term,
        prev_log_id,
        entries: (1..=entries).map(entry).collect::<Vec<_>>().into(),
        leader_commit: LogIndex(990),
        round: 17,
        held_index: LogIndex(0),
    };
    Envelope {
        group: GroupId::default(),
        from: NodeId(1),
        to: NodeId(2),
        origin: Origin { incarnation: 11, genesis: 12 },
        message: Message::AppendEntries(append),
    }
}
