//! One file of the log: a header block, frames, and a last block for the seal.
//!
//! A segment is zeroed and its header flushed before it gets its name, so a name in the folder always
//! stands for a whole header. The last block is kept free for the seal, whose place is therefore known
//! whatever else has happened to the file.

use std::{io, path::PathBuf, sync::Arc};

use raft_actor::{
    mutants::{Mutant, is_on},
    storage::StorageError,
    types::{LogId, LogIndex, Term},
};

use crate::{
    checksum::crc32c,
    disk::{Disk, DiskFile},
    error::{ADVICE, corrupt, io_error, unreadable},
    frame::{FrameHeader, HEADER_BYTES, Kind, Place, encode_frame, u32_at, u64_at},
    layout::{BLOCK_BYTES, FORMAT_MAJOR, FORMAT_MINOR, Layout},
    spare::Spare,
};

const MAGIC: u32 = 0x4753_4652;
/// What a segment's first block says. Never rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) salt: u32,
    pub(crate) incarnation: u128,
    pub(crate) id: u64,
    pub(crate) capacity: u64,
    /// The index that the first entry has, unless a truncation comes first.
    pub(crate) first_index: LogIndex,
    /// The term of the entry before that.
    pub(crate) prev_term: Term,
    /// 0 in the first segment.
    pub(crate) prev_id: u64,
    /// Where the valid frames of the segment before end. What stands behind was never acknowledged.
    pub(crate) prev_length: u64,
    /// The last frame before this segment.
    pub(crate) last_seq: u64,
    pub(crate) purged: LogId,
    pub(crate) hard_state_seq: u64,
    pub(crate) group: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &FORMAT_MAJOR.to_le_bytes());
        put(10, &FORMAT_MINOR.to_le_bytes());
        put(12, &self.salt.to_le_bytes());
        put(16, &self.incarnation.to_le_bytes());
        put(32, &self.id.to_le_bytes());
        put(40, &self.capacity.to_le_bytes());
        put(48, &self.first_index.0.to_le_bytes());
        put(56, &self.prev_term.0.to_le_bytes());
        put(64, &self.prev_id.to_le_bytes());
        put(72, &self.prev_length.to_le_bytes());
        put(80, &self.last_seq.to_le_bytes());
        put(88, &self.purged.index.0.to_le_bytes());
        put(96, &self.purged.term.0.to_le_bytes());
        put(104, &self.hard_state_seq.to_le_bytes());
        put(112, &self.group.to_le_bytes());
        let crc = crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, String> {
        if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != crc32c(&bytes[8..]) {
            return Err("the segment's header does not match its checksum".to_owned());
        }
        let major = u16::from_le_bytes([bytes[8], bytes[9]]);
        if major != FORMAT_MAJOR {
            return Err(format!("the segment is of format {major}, this program reads {FORMAT_MAJOR}"));
        }
        let mut incarnation = [0; 16];
        incarnation.copy_from_slice(&bytes[16..32]);
        Ok(SegmentHeader {
            salt: u32_at(bytes, 12),
            incarnation: u128::from_le_bytes(incarnation),
            id: u64_at(bytes, 32),
            capacity: u64_at(bytes, 40),
            first_index: LogIndex(u64_at(bytes, 48)),
            prev_term: Term(u64_at(bytes, 56)),
            prev_id: u64_at(bytes, 64),
            prev_length: u64_at(bytes, 72),
            last_seq: u64_at(bytes, 80),
            purged: LogId::new(Term(u64_at(bytes, 96)), LogIndex(u64_at(bytes, 88))),
            hard_state_seq: u64_at(bytes, 104),
            group: u32_at(bytes, 112),
        })
    }
}

/// An open segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes: the end of the valid ones.
    pub(crate) length: u64,
    /// Whether all of it has its place on the disk already, so that a flush need not find one.
    pub(crate) has_place: bool,
}

impl Segment {
    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { salt: self.header.salt, segment_id: self.header.id, offset }
    }

    /// Where the seal goes, and the frames end.
    pub(crate) fn seal_offset(&self) -> u64 {
        self.header.capacity - BLOCK_BYTES
    }

    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        self.length + bytes <= self.seal_offset()
    }

    pub(crate) fn read(&self, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes as usize];
        self.file.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }

    /// A place that cannot be read is as bad as one that holds something else.
    pub(crate) fn unreadable(&self, offset: u64) -> impl FnOnce(io::Error) -> StorageError {
        move |source| self.corrupt(offset, unreadable(&source))
    }

    pub(crate) fn corrupt(&self, offset: u64, detail: impl std::fmt::Display) -> StorageError {
        corrupt(&self.path, offset, format!("{detail}; {ADVICE}"))
    }

    /// Opens a segment that is there, and checks that it is the one that its name says, and of this store
    /// where that is told.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        name: (LogIndex, u64),
        incarnation: Option<u128>,
    ) -> Result<Segment, StorageError> {
        let file = disk.open(&path).map_err(io_error("open", &path))?;
        // Flushed before it is believed: what is only in the system's memory must not be acted on.
        file.sync_data().map_err(io_error("flush", &path))?;
        let size = file.size().map_err(io_error("look at", &path))?;
        if size < 3 * BLOCK_BYTES {
            return Err(corrupt(&path, size, format!("the segment is only {size} bytes long; {ADVICE}")));
        }
        let mut block = vec![0; BLOCK_BYTES as usize];
        file.read_at(0, &mut block)
            .map_err(|source| corrupt(&path, 0, format!("{}; {ADVICE}", unreadable(&source))))?;
        let header = SegmentHeader::decode(&block)
            .map_err(|detail| corrupt(&path, 0, format!("{detail}; {ADVICE}")))?;
        let segment = Segment { path, file, length: BLOCK_BYTES, header, has_place: true };
        let header = &segment.header;
        if incarnation.is_some_and(|incarnation| incarnation != header.incarnation) {
            return Err(segment.corrupt(16, "the segment belongs to another store"));
        }
        if (header.first_index, header.id) != name {
            return Err(segment.corrupt(32, format!("by its header this is segment {:x}", header.id)));
        }
        if header.capacity != size {
            let detail = format!("the file is {size} bytes long, its header says {}", header.capacity);
            return Err(segment.corrupt(size.min(header.capacity), detail));
        }
        Ok(segment)
    }

    /// Writes the header into a prepared file, flushes it, and only then gives it its name.
    pub(crate) fn create(
        disk: &dyn Disk,
        layout: &Layout,
        spare: Spare,
        mut header: SegmentHeader,
    ) -> Result<Segment, StorageError> {
        header.capacity = spare.capacity;
        spare.file.write_at(0, &header.encode()).map_err(io_error("write", &spare.path))?;
        spare.file.sync_data().map_err(io_error("flush", &spare.path))?;
        let path = layout.segment(header.first_index, header.id);
        disk.rename(&spare.path, &path).map_err(io_error("rename", &spare.path))?;
        if !is_on(Mutant::LeavesTheFolderUnflushed) {
            disk.sync_folder(&layout.log()).map_err(io_error("flush folder", &layout.log()))?;
        }
        Ok(Segment { path, file: spare.file, header, length: BLOCK_BYTES, has_place: spare.is_zeroed })
    }

    /// Closes the segment: from now on the one named must be there.
    pub(crate) fn seal(&self, next: &SegmentHeader) -> Result<(), StorageError> {
        let header = FrameHeader {
            seq: next.last_seq,
            durable_seq: next.last_seq,
            first_index: next.first_index,
            prev_term: next.prev_term,
            entries: 0,
            descriptors_crc: 0,
            payload_bytes: 0,
            kind: Kind::Seal,
            group: next.group,
            hard_state_seq: next.hard_state_seq,
            purged: next.purged,
            scramble_key: 0,
            valid_length: next.prev_length,
            next_segment_id: next.id,
        };
        let mut frame = vec![0; BLOCK_BYTES as usize];
        encode_frame(&mut frame, self.place(self.seal_offset()), header, &[]);
        self.file.write_at(self.seal_offset(), &frame).map_err(io_error("write", &self.path))?;
        self.file.sync_data().map_err(io_error("flush", &self.path))
    }

    /// The seal, if there is one that is whole.
    pub(crate) fn read_seal(&self) -> Result<Option<FrameHeader>, StorageError> {
        let block =
            self.read(self.seal_offset(), BLOCK_BYTES).map_err(self.unreadable(self.seal_offset()))?;
        let seal = FrameHeader::decode(&block[..HEADER_BYTES], self.place(self.seal_offset()));
        Ok(seal.filter(|seal| seal.kind == Kind::Seal))
    }
}
