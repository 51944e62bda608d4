//! Entries read back from the disk, each checked against its checksum on every read.

use std::io;

use bytes::Bytes;
use raft_actor::{
    storage::StorageError,
    types::{Entries, Entry, LogIndex},
};

use crate::{
    error::unreadable,
    frame::{DESCRIPTOR_BYTES, Descriptor, FrameHeader, HEADER_BYTES, descriptors, scramble},
    layout::BLOCK_BYTES,
    replay::FrameAt,
    segment::Segment,
    store::Store,
};

struct Wanted {
    first: LogIndex,
    last: LogIndex,
    bytes_left: u64,
    entries: Vec<Entry>,
    full: bool,
}

impl Store {
    /// Entries from `first` on: up to `last`, or as many as fit, but at least one.
    pub(crate) fn read(
        &self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        let (purged, end) = (self.picture.purged, self.picture.last);
        if first <= purged.index || first > last || last > end.index {
            let sentence = format!("read of {first} to {last}; the log goes from after {purged} to {end}");
            return Err(StorageError::Contract(sentence));
        }
        let mut wanted = Wanted { first, last, bytes_left: bytes_max, entries: Vec::new(), full: false };
        let position = self.picture.frames.partition_point(|frame| frame.last() < first);
        for frame in self.picture.frames.range(position..) {
            if wanted.full || frame.first > last {
                break;
            }
            read_frame(self.segment_of(frame), frame, &mut wanted)?;
        }
        Ok(wanted.entries.into())
    }

    /// The newest entries, as many as fit in `bytes_max`.
    pub(crate) fn tail(&self, bytes_max: u64) -> Result<Entries, StorageError> {
        let last = self.picture.last.index;
        let (mut first, mut bytes_left) = (last.next(), bytes_max);
        'frames: for frame in self.picture.frames.iter().rev() {
            if bytes_left == 0 {
                break;
            }
            let (_, descriptors) = open_frame(self.segment_of(frame), frame)?;
            for descriptor in descriptors.iter().rev() {
                let is_held = descriptor.id.index > self.picture.purged.index;
                match bytes_left.checked_sub(descriptor.size_bytes()) {
                    Some(left) if is_held => (first, bytes_left) = (descriptor.id.index, left),
                    _ => break 'frames,
                }
            }
        }
        if first > last { Ok(Entries::empty()) } else { self.read(first, last, u64::MAX) }
    }

    fn segment_of(&self, frame: &FrameAt) -> &Segment {
        let place = self.segments.binary_search_by_key(&frame.segment_id, |segment| segment.header.id);
        &self.segments[place.expect("a segment is removed only after the last frame in it is forgotten")]
    }
}

/// Opens a frame, and reads its descriptors.
fn open_frame<'a>(
    segment: &'a Segment,
    frame: &'a FrameAt,
) -> Result<(Body<'a>, Vec<Descriptor>), StorageError> {
    let damaged = |detail| frame.damaged(segment, detail);
    let unreadable = |source| damaged(unreadable(&source));
    let block = segment.read(frame.offset, BLOCK_BYTES).map_err(unreadable)?;
    let header = FrameHeader::decode(&block, segment.place(frame.offset))
        .filter(|header| header.first_index == frame.first)
        .ok_or_else(|| damaged("the header does not match its checksum".to_owned()))?;
    let payloads_at = u64::from(header.entries) * DESCRIPTOR_BYTES as u64;
    let body = Body { segment, frame, block, key: header.scramble_key, payloads_at };
    let mut all = descriptors(&header, &body.part(0, payloads_at).map_err(unreadable)?).map_err(damaged)?;
    // What a truncation has left of them.
    all.truncate(frame.count as usize);
    Ok((body, all))
}

impl FrameAt {
    fn damaged(&self, segment: &Segment, detail: String) -> StorageError {
        let detail = format!("{detail}, in the frame of entries {} to {}", self.first, self.last());
        segment.corrupt(self.offset, detail)
    }
}

fn read_frame(segment: &Segment, frame: &FrameAt, wanted: &mut Wanted) -> Result<(), StorageError> {
    let (body, all) = open_frame(segment, frame)?;
    let damaged = |detail| frame.damaged(segment, detail);
    let skipped = wanted.first.0.saturating_sub(frame.first.0) as usize;
    let mut chosen = 0;
    for descriptor in all.iter().skip(skipped) {
        let size = descriptor.size_bytes();
        let is_first = wanted.entries.is_empty() && chosen == 0;
        if descriptor.id.index > wanted.last || (size > wanted.bytes_left && !is_first) {
            wanted.full = true;
            break;
        }
        wanted.bytes_left = wanted.bytes_left.saturating_sub(size);
        chosen += 1;
    }
    let chosen = &all[skipped..skipped + chosen];
    if let (Some(one), Some(other)) = (chosen.first(), chosen.last()) {
        let bytes = body.part(body.payloads_at + one.start, body.payloads_at + other.end());
        let bytes = Bytes::from(bytes.map_err(|source| damaged(unreadable(&source)))?);
        for descriptor in chosen {
            let entry = descriptor.entry(&bytes, descriptor.start - one.start).map_err(damaged)?;
            wanted.entries.push(entry);
        }
    }
    Ok(())
}

/// The body of a frame, of which the first block has been read.
struct Body<'a> {
    segment: &'a Segment,
    frame: &'a FrameAt,
    block: Vec<u8>,
    key: u64,
    /// Where in the body the payloads begin.
    payloads_at: u64,
}

impl Body<'_> {
    fn part(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let (start, end) = (HEADER_BYTES as u64 + from, HEADER_BYTES as u64 + to);
        let mut part = match self.block.get(start as usize..end as usize) {
            Some(part) => part.to_vec(),
            None => self.segment.read(self.frame.offset + start, to - from)?,
        };
        scramble(&mut part, self.key, from);
        Ok(part)
    }
}
