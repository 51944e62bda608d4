//! Frame by frame through the segments, and what to make of the place where they end.

use std::collections::VecDeque;

use raft_actor::{
    membership::Membership,
    mutants::{Mutant, is_on},
    storage::StorageError,
    types::{Entry, LogId, Payload},
};

use crate::{
    error::unreadable,
    frame::{FrameHeader, HEADER_BYTES, Kind, decode_entries, is_zero},
    layout::{BLOCK_BYTES, SECTOR_BYTES},
    replay::{FrameAt, Picture},
    segment::{Segment, SegmentHeader},
};

const CHUNK_BYTES: u64 = 1 << 20;

/// How the last segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Zeros, or the segment's own end.
    Clean,
    /// With this many bytes of a frame that was never flushed.
    Torn(u64),
}

/// What has been read so far.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) picture: Picture,
    pub(crate) last_seq: u64,
    /// Where the last frame is: its segment, offset and bytes.
    pub(crate) last_frame: Option<(u64, u64, u64)>,
    /// The newest hard state that any frame or header knows of.
    pub(crate) hard_state_seq: u64,
    pub(crate) memberships: Vec<(LogId, Membership)>,
    tail: VecDeque<Entry>,
    tail_bytes: u64,
    tail_bytes_max: u64,
}

/// What stands at a place where a frame should be.
enum Found {
    Frame(FrameHeader, Vec<Entry>),
    /// A header that is right, with a body that is not; whether a sector of it never reached the disk.
    BadBody {
        detail: String,
        sector_missing: bool,
    },
    /// The first sector is zeros.
    Blank,
    /// Something else.
    BadHeader,
}

impl Scan {
    pub(crate) fn start(first: &SegmentHeader, tail_bytes_max: u64) -> Scan {
        let base = LogId::new(first.prev_term, first.first_index.previous());
        Scan {
            picture: Picture::starting_at(base),
            last_seq: first.last_seq,
            last_frame: None,
            hard_state_seq: 0,
            memberships: Vec::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max,
        }
    }

    pub(crate) fn tail_entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.tail.iter().cloned()
    }

    /// Reads a segment that another follows: every byte of it was flushed before that one was born.
    pub(crate) fn sealed(&mut self, segment: &mut Segment, next: &SegmentHeader) -> Result<(), StorageError> {
        self.enter(segment)?;
        while segment.length < next.prev_length {
            match self.look(segment)? {
                Found::Frame(header, entries) => self.accept(segment, &header, &entries)?,
                Found::BadBody { detail, .. } => return Err(self.refuse(segment, &detail)),
                Found::Blank => return Err(self.refuse(segment, "zeros in place of a frame")),
                Found::BadHeader => return Err(self.refuse(segment, "no frame's header")),
            }
        }
        if segment.length != next.prev_length || self.last_seq != next.last_seq {
            let detail =
                format!("the segment ends with frame {}, not with frame {}", self.last_seq, next.last_seq);
            return Err(segment.corrupt(segment.length, detail));
        }
        Ok(())
    }

    /// Reads the last segment, and decides what its end is. `flushed_seq`: a frame that the hard state
    /// knows was flushed.
    pub(crate) fn tail(&mut self, segment: &mut Segment, flushed_seq: u64) -> Result<End, StorageError> {
        self.enter(segment)?;
        if let Some(seal) = segment.read_seal()? {
            let name = format!("{:020}-{:016x}.seg", seal.first_index.0, seal.next_segment_id);
            let detail = format!("the segment is sealed, and the one that follows it, {name}, is missing");
            return Err(segment.corrupt(segment.seal_offset(), detail));
        }
        while segment.has_room_for(BLOCK_BYTES) {
            let found = self.look(segment)?;
            if let Found::Frame(header, entries) = &found {
                self.accept(segment, header, entries)?;
                continue;
            }
            return self.decide(segment, &found, flushed_seq);
        }
        Ok(End::Clean)
    }

    /// The decision table of the book's page on the file format.
    fn decide(&self, segment: &Segment, found: &Found, flushed_seq: u64) -> Result<End, StorageError> {
        let expected = self.last_seq + 1;
        let rest = Rest::of(segment, self.last_seq + 1)?;
        let what = match found {
            Found::Frame(..) => return Ok(End::Clean),
            Found::BadBody { detail, .. } => detail.as_str(),
            Found::Blank => "zeros in place of a frame",
            Found::BadHeader => "no frame's header",
        };
        if is_on(Mutant::TakesDamageForATornTail) && !matches!(found, Found::Blank) {
            return Ok(End::Torn(rest.data_end - segment.length));
        }
        if let Some((offset, seq)) = rest.evidence {
            let detail =
                format!("{what}, but it was flushed before frame {seq} at offset {offset} was written");
            return Err(self.refuse(segment, &detail));
        }
        if flushed_seq >= expected {
            return Err(
                self.refuse(segment, &format!("{what}, but the hard state knows that it was flushed"))
            );
        }
        match found {
            Found::Blank if rest.data_end == segment.length => return Ok(End::Clean),
            Found::Blank | Found::BadBody { sector_missing: true, .. } => {}
            Found::Frame(..) | Found::BadBody { .. } | Found::BadHeader => {
                let detail = format!("{what}, and nothing proves that it was never acknowledged");
                return Err(self.refuse(segment, &detail));
            }
        }
        Ok(End::Torn(rest.data_end - segment.length))
    }

    fn enter(&mut self, segment: &Segment) -> Result<(), StorageError> {
        let header = &segment.header;
        self.hard_state_seq = self.hard_state_seq.max(header.hard_state_seq);
        if header.purged.index > self.picture.purged.index {
            self.picture.purge(header.purged);
        }
        let last = LogId::new(header.prev_term, header.first_index.previous());
        if last != self.picture.last || header.last_seq != self.last_seq {
            let detail = format!(
                "the segment begins after entry {last} and frame {}, the log before it ends with entry {} \
                 and frame {}",
                header.last_seq, self.picture.last, self.last_seq
            );
            return Err(segment.corrupt(48, detail));
        }
        Ok(())
    }

    fn refuse(&self, segment: &Segment, what: &str) -> StorageError {
        let detail = format!(
            "{what} (frame {}, whose first entry would be {} or lower; entries from there on cannot be \
             trusted)",
            self.last_seq + 1,
            self.picture.last.index.next()
        );
        segment.corrupt(segment.length, detail)
    }

    fn look(&self, segment: &Segment) -> Result<Found, StorageError> {
        let offset = segment.length;
        let unreadable = |source| self.refuse(segment, &unreadable(&source));
        let mut frame = segment.read(offset, BLOCK_BYTES).map_err(unreadable)?;
        let Some(header) = FrameHeader::decode(&frame[..HEADER_BYTES], segment.place(offset)) else {
            return Ok(if is_zero(&frame[..SECTOR_BYTES]) { Found::Blank } else { Found::BadHeader });
        };
        let extent = header.extent();
        if header.seq != self.last_seq + 1 || !segment.has_room_for(extent) || header.kind == Kind::Seal {
            return Ok(Found::BadHeader);
        }
        if extent > BLOCK_BYTES {
            frame.extend(segment.read(offset + BLOCK_BYTES, extent - BLOCK_BYTES).map_err(unreadable)?);
        }
        let sector_missing = frame.chunks(SECTOR_BYTES).any(is_zero);
        Ok(match decode_entries(&header, frame) {
            Ok(entries) => Found::Frame(header, entries),
            Err(detail) => Found::BadBody { detail, sector_missing },
        })
    }

    fn accept(
        &mut self,
        segment: &mut Segment,
        header: &FrameHeader,
        entries: &[Entry],
    ) -> Result<(), StorageError> {
        let offset = segment.length;
        self.picture.prepare(header).map_err(|detail| segment.corrupt(offset, detail))?;
        if header.kind == Kind::TruncateAppend {
            self.forget_from(header.first_index.0);
        }
        for entry in entries {
            self.picture.note(entry.id);
            self.remember(entry);
        }
        let purged = self.picture.purged.index.0;
        while self.tail.front().is_some_and(|entry| entry.id.index.0 <= purged) {
            self.drop_oldest();
        }
        self.memberships.retain(|(id, _)| id.index.0 > purged);
        self.picture.add(FrameAt {
            segment_id: segment.header.id,
            offset,
            first: header.first_index,
            count: header.entries,
        });
        self.hard_state_seq = self.hard_state_seq.max(header.hard_state_seq);
        self.last_seq = header.seq;
        self.last_frame = Some((segment.header.id, offset, header.extent()));
        segment.length += header.extent();
        Ok(())
    }

    fn forget_from(&mut self, from: u64) {
        while self.tail.back().is_some_and(|entry| entry.id.index.0 >= from) {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |entry| entry.size_bytes());
        }
        self.memberships.retain(|(id, _)| id.index.0 < from);
    }

    fn remember(&mut self, entry: &Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.id, (**membership).clone()));
        }
        self.tail_bytes += entry.size_bytes();
        self.tail.push_back(entry.clone());
        while self.tail_bytes > self.tail_bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.tail_bytes -= self.tail.pop_front().map_or(0, |entry| entry.size_bytes());
    }
}

/// What stands behind the place where the frames end.
struct Rest {
    /// A whole frame that was written after the expected one was flushed: where, and its number.
    evidence: Option<(u64, u64)>,
    /// Where zeros begin and nothing else follows.
    data_end: u64,
}

impl Rest {
    fn of(segment: &Segment, expected: u64) -> Result<Rest, StorageError> {
        let mut rest = Rest { evidence: None, data_end: segment.length };
        let mut offset = segment.length;
        while offset < segment.header.capacity {
            let length = (segment.header.capacity - offset).min(CHUNK_BYTES);
            let chunk = segment.read(offset, length).map_err(segment.unreadable(offset))?;
            for (number, block) in chunk.chunks(BLOCK_BYTES as usize).enumerate() {
                let at = offset + number as u64 * BLOCK_BYTES;
                if is_zero(block) {
                    continue;
                }
                if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
                    rest.data_end = at + last as u64 + 1;
                }
                let frame = FrameHeader::decode(&block[..HEADER_BYTES], segment.place(at));
                if let Some(frame) = frame.filter(|frame| frame.durable_seq >= expected) {
                    rest.evidence = rest.evidence.or(Some((at, frame.seq)));
                }
            }
            offset += length;
        }
        Ok(rest)
    }
}
