//! A part of a segment that was read ahead, so that frames that lie together cost one call of the system.

use std::io;

use crate::segment::Segment;

/// What is read at once: little enough that it is still in the processor's cache when it is looked at.
pub(crate) const WINDOW_BYTES: u64 = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    segment_id: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// These bytes of a segment, to do with as one likes: they are asked for once more only before they are
    /// changed. Where they have to be read, more is read with them, up to `end` at most.
    pub(crate) fn bytes(
        &mut self,
        segment: &Segment,
        offset: u64,
        length: u64,
        end: u64,
    ) -> io::Result<&mut [u8]> {
        let held = self.offset..self.offset + self.bytes.len() as u64;
        if self.segment_id != segment.header.id || offset < held.start || offset + length > held.end {
            (self.segment_id, self.offset) = (segment.header.id, offset);
            let ahead = length.max(WINDOW_BYTES.min(end.saturating_sub(offset)));
            self.bytes.resize(ahead as usize, 0);
            if segment.file.read_at(offset, &mut self.bytes).is_err() {
                // What cannot be read may lie behind what is asked for.
                self.bytes.resize(length as usize, 0);
                let read = segment.file.read_at(offset, &mut self.bytes);
                read.inspect_err(|_| self.bytes.clear())?;
            }
        }
        let start = (offset - self.offset) as usize;
        Ok(&mut self.bytes[start..start + length as usize])
    }
}
