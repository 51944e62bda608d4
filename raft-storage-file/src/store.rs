//! The work of one open folder: validate, write, flush, remember; read back; purge. Runs on the writer's
//! thread only.
//!
//! Groups are written one after another, each after the flush of the one before. So at most one frame can
//! be torn by a crash, and any later frame proves that those before it were flushed.

use std::{collections::VecDeque, path::Path, sync::Arc};

use raft_actor::{
    mutants::{Mutant, is_on},
    storage::StorageError,
    types::{Entries, HardState, LogId, LogIndex, LogWrite, Term},
};

use crate::{
    Options,
    aligned::AlignedMemory,
    disk::{Disk, Lock},
    error::io_error,
    frame::{FrameHeader, Kind, encode_frame},
    hard_state::HardStateFile,
    layout::{BLOCK_BYTES, Layout, whole_blocks},
    past_cache::PastCache,
    plan::Plan,
    replay::{FrameAt, Picture},
    segment::{Segment, SegmentHeader},
    spare::Spare,
    spares::Spares,
};

const SEGMENT_BYTES_MIN: u64 = 16 << 10;
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// Where frames are as large, the next file is not zeroed beforehand. To find it its place on the disk while
/// it is written costs such frames little; zeroes cost as much again as they do.
const LARGE_FRAME_BYTES: u64 = 128 << 10;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) base: Base,
    pub(crate) hard_state: HardStateFile,
    pub(crate) picture: Picture,
    pub(crate) segments: VecDeque<Segment>,
    /// The last frame that was written and flushed.
    pub(crate) last_seq: u64,
    /// Whether something was acknowledged since the last mark.
    unmarked: bool,
    /// Where frames are built.
    memory: AlignedMemory,
    past_cache: PastCache,
    spares: Spares,
    /// How large frames were of late.
    frame_bytes: u64,
    /// Last, so that the folder is free only when all else is closed.
    _lock: Lock,
}

/// What every part of a store needs.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) incarnation: u128,
}

impl Base {
    /// A random number that is part of every frame of a segment, so that what a disk or a file system
    /// brings back from an older file is not taken for one of its frames.
    pub(crate) fn salt(&self, segment_id: u64) -> u32 {
        match self.options.seed {
            Some(seed) => fastrand::Rng::with_seed(seed ^ segment_id).u32(..),
            None => fastrand::u32(..),
        }
    }

    /// The size of the segment of this id, where nothing larger is needed.
    pub(crate) fn capacity(&self, segment_id: u64) -> u64 {
        let growing = FIRST_SEGMENT_BYTES << (2 * segment_id.saturating_sub(1)).min(20);
        whole_blocks(self.options.segment_bytes.max(SEGMENT_BYTES_MIN).min(growing))
    }

    /// Makes a file ready, here and now.
    pub(crate) fn make_spare(&self, number: u64, capacity: u64, zeroed: bool) -> Result<Spare, StorageError> {
        let path = self.layout.spare(number);
        let spare = Spare::make(&*self.disk, &path, capacity, zeroed, || false)?;
        Ok(spare.expect("only a cancelled spare is not made, and this one is not cancelled"))
    }
}

impl Store {
    pub(crate) fn new(
        base: Base,
        lock: Lock,
        hard_state: HardStateFile,
        picture: Picture,
        segments: VecDeque<Segment>,
        last_seq: u64,
    ) -> Store {
        let spares = Spares::new(base.clone());
        Store {
            base,
            hard_state,
            picture,
            segments,
            last_seq,
            unmarked: false,
            memory: AlignedMemory::default(),
            past_cache: PastCache::default(),
            spares,
            frame_bytes: LARGE_FRAME_BYTES,
            _lock: lock,
        }
    }

    /// One group: all of it under one flush, after the flush of the hard state where there is one.
    pub(crate) fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        let plan = Plan::of(&self.picture, self.hard_state.newest.hard_state, writes)?;
        let late = is_on(Mutant::WritesEntriesBeforeTheirTerm) && !plan.runs.is_empty();
        if let Some(hard_state) = plan.hard_state.filter(|_| !late) {
            self.write_hard_state(hard_state)?;
        }
        if plan.truncate_from.is_none() && plan.runs.is_empty() {
            return Ok(());
        }
        let kind = if plan.truncate_from.is_some() { Kind::TruncateAppend } else { Kind::Append };
        let first = plan.truncate_from.unwrap_or(self.picture.last.index.next());
        let prev_term = self.picture.term_of(first.previous()).unwrap_or_default();
        let header = FrameHeader { first_index: first, prev_term, ..self.frame_header(kind) };
        let offset = self.append_frame(header, &plan.runs)?;
        if let Some(from) = plan.truncate_from {
            self.picture.truncate(from);
        }
        let mut count = 0;
        for entry in plan.runs.iter().flat_map(|run| run.iter()) {
            self.picture.note(entry.id);
            count += 1;
        }
        let segment_id = self.active().header.id;
        self.picture.add(FrameAt { segment_id, offset, first, count });
        self.unmarked = true;
        plan.hard_state.filter(|_| late).map_or(Ok(()), |late| self.write_hard_state(late))
    }

    // Raft Figure 2: term and vote are on the disk before anything that rests on them.
    fn write_hard_state(&mut self, hard_state: HardState) -> Result<(), StorageError> {
        self.hard_state.write(hard_state, self.last_seq)?;
        self.unmarked = true;
        Ok(())
    }

    /// Forgets the entries up to `through`: first a durable record says so, then files that hold nothing
    /// else are removed.
    pub(crate) fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        if through.index <= self.picture.purged.index {
            return Ok(());
        }
        if let Some(term) = self.picture.term_of(through.index)
            && term != through.term
        {
            return Err(StorageError::Contract(format!(
                "purge was asked for {through}, but the entry there is of term {term}"
            )));
        }
        self.picture.purge(through);
        if is_on(Mutant::RemovesSegmentsBeforeThePurge) {
            self.remove_segments()?;
        }
        self.mark()?;
        self.remove_segments()
    }

    fn remove_segments(&mut self) -> Result<(), StorageError> {
        while self.segments.len() > 1 {
            let oldest = self.segments[0].header.id;
            if self.picture.frames.front().is_some_and(|frame| frame.segment_id <= oldest) {
                break;
            }
            let Segment { path, header, .. } = &self.segments[0];
            self.spares.recycle(path, header.capacity, self.base.capacity(self.active().header.id + 1))?;
            // One after another: were the second gone and the first still there, it would look like a loss.
            let log = self.base.layout.log();
            self.base.disk.sync_folder(&log).map_err(io_error("flush folder", &log))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    pub(crate) fn mark_is_due(&self) -> bool {
        self.unmarked
    }

    /// Proves on the disk that all before was flushed, so that damage to it cannot be taken for a torn tail.
    pub(crate) fn mark(&mut self) -> Result<(), StorageError> {
        let last = self.picture.last;
        let header = FrameHeader {
            first_index: last.index.next(),
            prev_term: last.term,
            ..self.frame_header(Kind::Mark)
        };
        self.append_frame(header, &[])?;
        self.unmarked = false;
        Ok(())
    }

    /// In good order: marks the end, and lets the hard state's file know of it too, so that an older copy
    /// of the last segment cannot pass for the newest.
    pub(crate) fn close(&mut self) -> Result<(), StorageError> {
        if self.unmarked {
            self.mark()?;
        }
        if self.hard_state.newest.log_seq < self.last_seq {
            self.hard_state.write(self.hard_state.newest.hard_state, self.last_seq)?;
        }
        Ok(())
    }

    fn frame_header(&self, kind: Kind) -> FrameHeader {
        FrameHeader {
            seq: self.last_seq + 1,
            durable_seq: self.last_seq,
            first_index: LogIndex(0),
            prev_term: Term(0),
            entries: 0,
            descriptors_crc: 0,
            payload_bytes: 0,
            kind,
            group: 0,
            hard_state_seq: self.hard_state.newest.seq,
            purged: self.picture.purged,
            scramble_key: 0,
            valid_length: 0,
            next_segment_id: 0,
        }
    }

    /// One write and one flush. Answers where the frame is, in the segment that is the active one afterwards.
    fn append_frame(&mut self, header: FrameHeader, runs: &[Entries]) -> Result<u64, StorageError> {
        let header = header.holding(runs);
        let bytes = header.extent();
        // A file that was made in haste is left as soon as there is a better one.
        let is_better_ready = !self.active().has_place && self.spares.is_ready();
        if is_better_ready || !self.active().has_room_for(bytes) {
            self.rotate(bytes)?;
        }
        let segment = self.segments.back_mut().expect(ONE_SEGMENT);
        let offset = segment.length;
        let frame = self.memory.bytes(bytes as usize);
        encode_frame(frame, segment.place(offset), header, runs);
        self.past_cache.write(&*self.base.disk, segment, frame)?;
        let flushed = segment.file.sync_data().map_err(io_error("flush", &segment.path));
        if !is_on(Mutant::SwallowsFlushErrors) {
            flushed?;
        }
        segment.length += bytes;
        self.last_seq += 1;
        self.frame_bytes = (self.frame_bytes * 7 + bytes) / 8;
        self.memory.keep_at_most(MEMORY_BYTES_KEPT);
        self.prepare_spare();
        Ok(offset)
    }

    /// Begins to make the next segment's file in the background, once this one is filling up, or has no place
    /// of its own. A store that is opened and hardly written costs no zeroes.
    fn prepare_spare(&mut self) {
        let active = self.active();
        let is_due = !active.has_place || active.length * 4 > active.header.capacity;
        if is_due && self.frame_bytes < LARGE_FRAME_BYTES {
            let next = active.header.id + 1;
            self.spares.prepare(self.base.capacity(next));
        }
    }

    /// The file that is written to, and where its frames end.
    pub(crate) fn end(&self) -> (&Path, u64) {
        (&self.active().path, self.active().length)
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect(ONE_SEGMENT)
    }

    /// Goes on in a new segment: first that is durable under its name, then the old one is sealed and
    /// names it.
    pub(crate) fn rotate(&mut self, bytes: u64) -> Result<(), StorageError> {
        let old = self.active();
        let id = old.header.id + 1;
        let header = SegmentHeader {
            salt: self.base.salt(id),
            incarnation: self.base.incarnation,
            id,
            capacity: 0,
            first_index: self.picture.last.index.next(),
            prev_term: self.picture.last.term,
            prev_id: old.header.id,
            prev_length: old.length,
            last_seq: self.last_seq,
            purged: self.picture.purged,
            hard_state_seq: self.hard_state.newest.seq,
            group: 0,
        };
        let needed = whole_blocks(bytes) + 2 * BLOCK_BYTES;
        let spare = self.spares.take(needed, self.base.capacity(id).max(needed))?;
        let new = Segment::create(&*self.base.disk, &self.base.layout, spare, header)?;
        self.active().seal(&new.header)?;
        self.segments.push_back(new);
        Ok(())
    }
}

const ONE_SEGMENT: &str = "a store is opened with at least one segment, and the last is never removed";
/// What is kept between writes of the memory for frames; what is larger is given back.
const MEMORY_BYTES_KEPT: usize = 4 << 20;
