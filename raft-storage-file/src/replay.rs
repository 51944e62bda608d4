//! What the log holds, in memory: where each frame is, and where each term begins.
//!
//! The same picture is built frame by frame when a folder is read after a start, and kept up by each write
//! afterwards.

use std::collections::VecDeque;

use raft_actor::types::{LogId, LogIndex, Term};

use crate::frame::{FrameHeader, Kind};

/// A frame that still holds entries of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt {
    pub(crate) segment_id: u64,
    pub(crate) offset: u64,
    pub(crate) first: LogIndex,
    /// Those of its entries that a later truncation has left.
    pub(crate) count: u32,
}

impl FrameAt {
    /// The last index that it holds.
    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + u64::from(self.count) - 1)
    }
}

/// The log's picture.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// The entry before the first one held. In an open store the same as `purged`; while frames are being
    /// read, it may lie later, until a truncation or the record of a purge explains why.
    pub(crate) base: LogId,
    pub(crate) purged: LogId,
    pub(crate) last: LogId,
    pub(crate) terms: VecDeque<(LogIndex, Term)>,
    pub(crate) frames: VecDeque<FrameAt>,
}

impl Picture {
    /// A picture that begins after `base`.
    pub(crate) fn starting_at(base: LogId) -> Picture {
        Picture { base, last: base, ..Picture::default() }
    }

    /// The term of the entry at `index`, which is `base` or held.
    pub(crate) fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let after = self.terms.partition_point(|(start, _)| *start <= index);
        self.terms.get(after.checked_sub(1)?).map(|(_, term)| *term)
    }

    /// Forgets the entry at `from` and all after it. `from` lies after `base`.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        if from > self.last.index {
            return;
        }
        let last = from.previous();
        self.last = LogId::new(self.term_of(last).unwrap_or_default(), last);
        while self.frames.back().is_some_and(|frame| frame.first >= from) {
            self.frames.pop_back();
        }
        if let Some(frame) = self.frames.back_mut() {
            frame.count = frame.count.min((from.0 - frame.first.0) as u32);
        }
        while self.terms.back().is_some_and(|(start, _)| *start >= from) {
            self.terms.pop_back();
        }
    }

    /// Forgets the entries up to `through`, even where that is beyond the last.
    pub(crate) fn purge(&mut self, through: LogId) {
        self.purged = through;
        if through.index < self.base.index {
            return;
        }
        self.base = through;
        if through.index >= self.last.index {
            self.last = through;
            self.frames.clear();
            self.terms.clear();
            return;
        }
        while self.frames.front().is_some_and(|frame| frame.last() <= through.index) {
            self.frames.pop_front();
        }
        while self.terms.get(1).is_some_and(|(start, _)| *start <= through.index.next()) {
            self.terms.pop_front();
        }
        if let Some((start, _)) = self.terms.front_mut() {
            *start = (*start).max(through.index.next());
        }
    }

    /// Takes note of the next entry's term.
    pub(crate) fn note(&mut self, id: LogId) {
        if self.terms.back().is_none_or(|(_, term)| *term != id.term) {
            self.terms.push_back((id.index, id.term));
        }
        self.last = id;
    }

    /// Takes note of a frame whose entries have been noted.
    pub(crate) fn add(&mut self, frame: FrameAt) {
        if frame.count > 0 {
            self.frames.push_back(frame);
        }
    }

    /// Does what a frame read back says about what is before its own entries. A sentence where it cannot
    /// follow from what was read so far.
    pub(crate) fn prepare(&mut self, header: &FrameHeader) -> Result<(), String> {
        if header.purged.index > self.purged.index {
            self.purge(header.purged);
        }
        let first = header.first_index;
        match header.kind {
            Kind::Mark | Kind::Seal => return Ok(()),
            Kind::TruncateAppend if first.0 == 0 || first <= self.purged.index => {
                return Err(format!("the frame truncates from {first}, but {} is purged", self.purged));
            }
            Kind::TruncateAppend if first <= self.base.index => {
                // What this replaces stood in a segment that is gone.
                let (base, purged) = (LogId::new(header.prev_term, first.previous()), self.purged);
                *self = Picture { purged, ..Picture::starting_at(base) };
            }
            Kind::TruncateAppend => self.truncate(first),
            Kind::Append => {}
        }
        if (header.prev_term, first) != (self.last.term, self.last.index.next()) {
            return Err(format!(
                "the frame begins at {first} after term {}, but the entry before it is {}",
                header.prev_term, self.last
            ));
        }
        Ok(())
    }
}
