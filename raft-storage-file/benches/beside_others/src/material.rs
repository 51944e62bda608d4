//! What is written: bytes that no compression makes smaller, different in each entry.

use bytes::Bytes;

const POOL_BYTES: usize = 16 << 20;

/// A pool of bytes of chance, the same in every run.
pub(crate) struct Material(Bytes);

impl Material {
    pub(crate) fn new() -> Material {
        let mut pool = vec![0; POOL_BYTES];
        fastrand::Rng::with_seed(1).fill(&mut pool);
        Material(pool.into())
    }

    /// The payload of the entry at `index`. Costs no copy.
    pub(crate) fn payload(&self, index: u64, bytes: usize) -> Bytes {
        // Any odd number that is not small: neighbours come from far apart, none soon comes again.
        let start = index.wrapping_mul(1_000_003) as usize % (POOL_BYTES - bytes);
        self.0.slice(start..start + bytes)
    }
}
