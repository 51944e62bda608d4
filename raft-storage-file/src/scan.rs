//! Frame by frame through the segments, and what to make of the place where they end.

use std::io;

use raft_actor::{
    membership::Membership,
    mutants::{Mutant, is_on},
    storage::StorageError,
    types::LogId,
};

use crate::{
    error::unreadable,
    frame::{Contents, FrameHeader, HEADER_BYTES, Kind, check_frame, is_zero},
    layout::{BLOCK_BYTES, SECTOR_BYTES},
    replay::{FrameAt, Picture},
    segment::{Segment, SegmentHeader},
    window::Window,
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
    window: Window,
}

/// What stands at a place where a frame should be.
enum Found {
    Frame(FrameHeader, Contents),
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
    pub(crate) fn start(first: &SegmentHeader) -> Scan {
        let base = LogId::new(first.prev_term, first.first_index.previous());
        Scan {
            picture: Picture::starting_at(base),
            last_seq: first.last_seq,
            last_frame: None,
            hard_state_seq: 0,
            memberships: Vec::new(),
            window: Window::default(),
        }
    }

    /// Reads a segment that another follows: every byte of it was flushed before that one was born. Its
    /// first frames may have been [checked](check_ahead) before.
    pub(crate) fn sealed(
        &mut self,
        segment: &mut Segment,
        next: &SegmentHeader,
        checked: Vec<(FrameHeader, Contents)>,
    ) -> Result<(), StorageError> {
        self.enter(segment)?;
        for (header, contents) in &checked {
            self.accept(segment, header, contents)?;
        }
        while segment.length < next.prev_length {
            match self.look(segment)? {
                Found::Frame(header, contents) => self.accept(segment, &header, &contents)?,
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

    /// Reads a segment as far as its frames are intact, whatever follows. False where nothing of it is, as it
    /// does not follow on what was read before.
    pub(crate) fn intact(&mut self, segment: &mut Segment) -> bool {
        if self.enter(segment).is_err() {
            return false;
        }
        while segment.has_room_for(BLOCK_BYTES) {
            let Ok(Found::Frame(header, entries)) = self.look(segment) else { break };
            if self.accept(segment, &header, &entries).is_err() {
                break;
            }
        }
        true
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
            if let Found::Frame(header, contents) = &found {
                self.accept(segment, header, contents)?;
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

    fn look(&mut self, segment: &Segment) -> Result<Found, StorageError> {
        let found = look(&mut self.window, segment, segment.length, self.last_seq + 1);
        found.map_err(|source| self.refuse(segment, &unreadable(&source)))
    }

    fn accept(
        &mut self,
        segment: &mut Segment,
        header: &FrameHeader,
        contents: &Contents,
    ) -> Result<(), StorageError> {
        let offset = segment.length;
        self.picture.prepare(header).map_err(|detail| segment.corrupt(offset, detail))?;
        if header.kind == Kind::TruncateAppend {
            self.memberships.retain(|(id, _)| id.index < header.first_index);
        }
        for id in &contents.terms {
            self.picture.note(*id);
        }
        self.memberships.extend(contents.memberships.iter().cloned());
        let purged = self.picture.purged.index;
        self.memberships.retain(|(id, _)| id.index > purged);
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
}

/// The frames at the beginning of a segment that are right by themselves, as far as it is known to go.
/// Whether they follow on what stands before the segment, and what is wrong where they end, is for the
/// [`Scan`] to see, which comes here in its turn; so this can be done by another thread meanwhile.
pub(crate) fn check_ahead(segment: &Segment, end: u64) -> Vec<(FrameHeader, Contents)> {
    let (mut window, mut frames) = (Window::default(), Vec::new());
    let (mut offset, mut seq) = (segment.length, segment.header.last_seq);
    while offset < end
        && let Ok(Found::Frame(header, contents)) = look(&mut window, segment, offset, seq + 1)
    {
        (offset, seq) = (offset + header.extent(), header.seq);
        frames.push((header, contents));
    }
    frames
}

/// What stands at `offset`, where the frame `seq` should be.
fn look(window: &mut Window, segment: &Segment, offset: u64, seq: u64) -> io::Result<Found> {
    let block = window.bytes(segment, offset, BLOCK_BYTES, segment.header.capacity)?;
    let Some(header) = FrameHeader::decode(&block[..HEADER_BYTES], segment.place(offset)) else {
        return Ok(if is_zero(&block[..SECTOR_BYTES]) { Found::Blank } else { Found::BadHeader });
    };
    let extent = header.extent();
    if header.seq != seq || offset + extent > segment.seal_offset() || header.kind == Kind::Seal {
        return Ok(Found::BadHeader);
    }
    let frame = window.bytes(segment, offset, extent, segment.header.capacity)?;
    match check_frame(&header, frame) {
        Ok(contents) => Ok(Found::Frame(header, contents)),
        Err(detail) => {
            let frame = segment.read(offset, extent)?;
            let sector_missing = frame.chunks(SECTOR_BYTES).any(is_zero);
            Ok(Found::BadBody { detail, sector_missing })
        }
    }
}

/// The newest hard state that anything in a segment knows of, whether what stands before it is intact or not.
pub(crate) fn newest_hard_state_seq(segment: &Segment) -> u64 {
    let offsets = (BLOCK_BYTES..segment.header.capacity).step_by(BLOCK_BYTES as usize);
    let seqs = offsets.filter_map(|at| {
        let block = segment.read(at, BLOCK_BYTES).ok()?;
        FrameHeader::decode(&block[..HEADER_BYTES], segment.place(at)).map(|frame| frame.hard_state_seq)
    });
    seqs.fold(segment.header.hard_state_seq, u64::max)
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
