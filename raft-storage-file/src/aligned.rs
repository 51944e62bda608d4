//! Memory that begins at a multiple of the block size, as a disk asks for that is written past its cache.
//!
//! An allocation with an alignment of its own would need unsafe code. So there is a block more than is asked
//! for, and what is used begins somewhere in the first one. It never grows in place: what grows may move,
//! and begins at another place then.

use crate::layout::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AlignedMemory(Vec<u8>);

impl AlignedMemory {
    /// So many bytes of it: zeros at first, and later what was put there before, or zeros.
    pub(crate) fn bytes(&mut self, bytes: usize) -> &mut [u8] {
        let needed = bytes + BLOCK;
        if self.0.len() < needed {
            // What is not used any more makes room first.
            self.0 = Vec::new();
            self.0 = vec![0; needed];
        }
        let start = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[start..start + bytes]
    }

    /// Gives the memory back where there is more than this of it.
    pub(crate) fn keep_at_most(&mut self, bytes: usize) {
        if self.0.len() > bytes + BLOCK {
            self.0 = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedMemory, BLOCK};

    #[test]
    fn memory_begins_at_a_block_whatever_was_asked_for_before() {
        let mut memory = AlignedMemory::default();
        for bytes in [1, BLOCK, 3 * BLOCK, 2 * BLOCK, 17 * BLOCK, 0, 40 * BLOCK + 1] {
            let found = memory.bytes(bytes);
            assert_eq!((found.as_ptr().addr() % BLOCK, found.len()), (0, bytes));
            found.fill(7);
        }
    }

    #[test]
    fn large_memory_is_given_back_and_small_memory_is_kept() {
        let mut memory = AlignedMemory::default();
        memory.bytes(2 * BLOCK).fill(7);
        memory.keep_at_most(2 * BLOCK);
        assert!(memory.bytes(2 * BLOCK).iter().all(|byte| *byte == 7), "it was kept");
        memory.keep_at_most(2 * BLOCK - 1);
        assert!(memory.bytes(2 * BLOCK).iter().all(|byte| *byte == 0), "it is new");
    }
}
