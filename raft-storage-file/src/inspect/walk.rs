//! One segment by itself, frame by frame, past what is damaged.

use std::path::Path;

use raft_actor::types::{Entry, LogIndex, Payload};

use super::report::{Damage, Record, SegmentReport};
use crate::{
    error::unreadable,
    frame::{FrameHeader, HEADER_BYTES, Kind, decode_entries, is_zero},
    layout::BLOCK_BYTES,
    segment::Segment,
};

/// What stands in a segment.
enum Piece {
    Frame(u64, FrameHeader, Vec<Entry>),
    /// From here, this many bytes that are no frame.
    Bad(u64, u64, String),
}

/// All pieces up to `end`, without the zeros at the end.
fn pieces(segment: &Segment, end: u64, each: &mut dyn FnMut(Piece)) {
    let mut offset = BLOCK_BYTES;
    let mut bad: Option<(u64, String)> = None;
    let mut zeros = 0;
    while offset < end {
        let found = look(segment, offset, end);
        let step = match &found {
            Found::Frame(header, _) => header.extent(),
            Found::Zeros | Found::Bad(_) => BLOCK_BYTES,
        };
        match found {
            Found::Frame(header, entries) => {
                if let Some((start, what)) = bad.take() {
                    each(Piece::Bad(start, offset - start, what));
                }
                each(Piece::Frame(offset, header, entries));
            }
            Found::Bad(what) => {
                bad.get_or_insert((offset, what));
            }
            Found::Zeros => {
                bad.get_or_insert((offset, "zeros".to_owned()));
                zeros += BLOCK_BYTES;
                offset += step;
                continue;
            }
        }
        zeros = 0;
        offset += step;
    }
    if let Some((start, what)) = bad
        && offset - zeros > start
    {
        each(Piece::Bad(start, offset - zeros - start, what));
    }
}

enum Found {
    Frame(FrameHeader, Vec<Entry>),
    Zeros,
    Bad(String),
}

fn look(segment: &Segment, offset: u64, end: u64) -> Found {
    let mut frame = match segment.read(offset, BLOCK_BYTES) {
        Ok(block) => block,
        Err(source) => return Found::Bad(unreadable(&source)),
    };
    let Some(header) = FrameHeader::decode(&frame[..HEADER_BYTES], segment.place(offset)) else {
        return if is_zero(&frame) { Found::Zeros } else { Found::Bad("no frame's header".to_owned()) };
    };
    let extent = header.extent();
    if offset + extent > end || header.kind == Kind::Seal {
        return Found::Bad("a frame that has no room here".to_owned());
    }
    match segment.read(offset + BLOCK_BYTES, extent - BLOCK_BYTES) {
        Ok(rest) => frame.extend(rest),
        Err(source) => return Found::Bad(unreadable(&source)),
    }
    match decode_entries(&header, frame) {
        Ok(entries) => Found::Frame(header, entries),
        Err(what) => Found::Bad(what),
    }
}

/// Where the frames of a segment end, as far as its seal says, and the index after them.
fn end_of(segment: &Segment) -> (Option<FrameHeader>, u64) {
    let seal = segment.read_seal().ok().flatten();
    let end = seal.as_ref().map_or(segment.seal_offset(), |seal| seal.valid_length);
    (seal, end.min(segment.seal_offset()))
}

/// Counts what is in a segment.
pub(super) fn report(segment: &Segment) -> SegmentReport {
    let (seal, end) = end_of(segment);
    let header = &segment.header;
    let mut report = SegmentReport {
        file: segment.path.clone(),
        bytes: header.capacity,
        id: header.id,
        first_index: header.first_index,
        sealed: seal.is_some(),
        ..SegmentReport::default()
    };
    let mut next = header.first_index;
    // Damage whose last entry is not known before a frame is found behind it.
    let mut open: Option<Damage> = None;
    pieces(segment, end, &mut |piece| match piece {
        Piece::Frame(_, header, entries) => {
            if let Some(damage) = open.take() {
                report.damaged.push(damage.up_to(header.first_index));
            }
            report.frames += 1;
            report.entries += entries.len() as u64;
            next = LogIndex(header.first_index.0 + u64::from(header.entries));
        }
        Piece::Bad(offset, bytes, what) => {
            open = Some(Damage { offset, bytes, what, first_lost: next, last_lost: None });
        }
    });
    if let Some(damage) = open {
        report.damaged.push(match &seal {
            Some(seal) => damage.up_to(seal.first_index),
            None => damage,
        });
    }
    report
}

/// Tells every frame and every entry, as they stand.
pub(super) fn dump(segment: &Segment, each: &mut dyn FnMut(Record)) {
    let (_, end) = end_of(segment);
    pieces(segment, end, &mut |piece| match piece {
        Piece::Frame(offset, header, entries) => {
            each(Record::Frame {
                file: segment.path.clone(),
                offset,
                number: header.seq,
                flushed: header.durable_seq,
                kind: match header.kind {
                    Kind::Append => "append",
                    Kind::TruncateAppend => "truncate and append",
                    Kind::Mark => "mark",
                    Kind::Seal => "seal",
                },
                first_index: header.first_index,
                entries: header.entries,
                purged: header.purged,
            });
            entries.iter().for_each(|entry| each(record_of(&segment.path, offset, entry)));
        }
        Piece::Bad(offset, bytes, what) => {
            each(Record::Damage { file: segment.path.clone(), offset, bytes, what });
        }
    });
}

fn record_of(path: &Path, offset: u64, entry: &Entry) -> Record {
    let (kind, payload) = match &entry.payload {
        Payload::Noop => ("no-op", String::new()),
        Payload::Command(command) => ("command", hex(command)),
        Payload::Membership(membership) => ("membership", format!("{membership:?}")),
    };
    Record::Entry { file: path.to_owned(), offset, index: entry.id.index, term: entry.id.term, kind, payload }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
