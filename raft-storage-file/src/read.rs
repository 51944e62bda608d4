//! Entries read back from the disk, each checked against its checksum on every read.

use std::io;

use bytes::Bytes;
use raft_actor::{
    storage::StorageError,
    types::{Entries, Entry, LogIndex},
};

use crate::{
    error::unreadable,
    frame::{Descriptor, FrameHeader, HEADER_BYTES, descriptors, payloads_at, scramble},
    layout::BLOCK_BYTES,
    replay::FrameAt,
    segment::Segment,
    store::Store,
    window::{WINDOW_BYTES, Window},
};

struct Wanted {
    first: LogIndex,
    last: LogIndex,
    bytes_left: u64,
    entries: Vec<Entry>,
    full: bool,
    /// Where in the segment that is read nothing more is wanted.
    end: u64,
    window: Window,
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
        let mut wanted = Wanted {
            first,
            last,
            bytes_left: bytes_max,
            entries: Vec::new(),
            full: false,
            end: 0,
            window: Window::default(),
        };
        let unwanted = self.picture.frames.partition_point(|frame| frame.first <= last);
        let unwanted = self.picture.frames.get(unwanted);
        let position = self.picture.frames.partition_point(|frame| frame.last() < first);
        for frame in self.picture.frames.range(position..) {
            if wanted.full || frame.first > last {
                break;
            }
            let segment = self.segment_of(frame);
            let end = unwanted.filter(|frame| frame.segment_id == segment.header.id);
            wanted.end = end.map_or(segment.length, |frame| frame.offset);
            read_frame(segment, frame, &mut wanted)?;
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
            let (_, descriptors) = open_frame(self.segment_of(frame), frame, &mut Window::default(), 0)?;
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

/// Reads a frame's header and descriptors, and what the window takes of what follows up to `end`.
fn open_frame(
    segment: &Segment,
    frame: &FrameAt,
    window: &mut Window,
    end: u64,
) -> Result<(FrameHeader, Vec<Descriptor>), StorageError> {
    let damaged = |detail| frame.damaged(segment, detail);
    let unreadable = |source| damaged(unreadable(&source));
    let block = window.bytes(segment, frame.offset, BLOCK_BYTES, end).map_err(unreadable)?;
    let header = FrameHeader::decode(block, segment.place(frame.offset))
        .filter(|header| header.first_index == frame.first)
        .ok_or_else(|| damaged("the header does not match its checksum".to_owned()))?;
    let (at, length) = (frame.offset + HEADER_BYTES as u64, payloads_at(&header) - HEADER_BYTES as u64);
    let bytes = window.bytes(segment, at, length, end).map_err(unreadable)?;
    scramble(bytes, header.scramble_key, 0);
    let mut all = descriptors(&header, bytes).map_err(damaged)?;
    // What a truncation has left of them.
    all.truncate(frame.count as usize);
    Ok((header, all))
}

impl FrameAt {
    fn damaged(&self, segment: &Segment, detail: String) -> StorageError {
        let detail = format!("{detail}, in the frame of entries {} to {}", self.first, self.last());
        segment.corrupt(self.offset, detail)
    }
}

fn read_frame(segment: &Segment, frame: &FrameAt, wanted: &mut Wanted) -> Result<(), StorageError> {
    let end = wanted.end.min(frame.offset.saturating_add(wanted.bytes_left));
    let (header, all) = open_frame(segment, frame, &mut wanted.window, end)?;
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
        let bytes = payloads(segment, frame, &header, (one.start, other.end()), &mut wanted.window);
        let bytes = bytes.map_err(|source| damaged(unreadable(&source)))?;
        for descriptor in chosen {
            let entry = descriptor.entry(&bytes, descriptor.start - one.start).map_err(damaged)?;
            wanted.entries.push(entry);
        }
    }
    Ok(())
}

/// Part of a frame's payloads, in memory of its own: whoever keeps an entry keeps no more than its frame.
fn payloads(
    segment: &Segment,
    frame: &FrameAt,
    header: &FrameHeader,
    (start, end): (u64, u64),
    window: &mut Window,
) -> io::Result<Bytes> {
    let (at, length) = (payloads_at(header) + start, end - start);
    let unscramble = |bytes: &mut [u8]| scramble(bytes, header.scramble_key, at - HEADER_BYTES as u64);
    if length > WINDOW_BYTES {
        let mut bytes = segment.read(frame.offset + at, length)?;
        unscramble(&mut bytes);
        return Ok(bytes.into());
    }
    let bytes = window.bytes(segment, frame.offset + at, length, 0)?;
    unscramble(bytes);
    Ok(Bytes::copy_from_slice(bytes))
}
