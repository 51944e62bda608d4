//! The core's own chance: a small generator (splitmix64) whose seed is part of the state, so that the same
//! seed draws the same election timeouts again.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration from `shortest` up to, not including, `longest`.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = u64::try_from(longest.saturating_sub(shortest).as_nanos()).unwrap_or(u64::MAX);
        shortest + Duration::from_nanos(self.next() % span.max(1))
    }
}

impl super::Raft {
    /// Draws election timeouts from `seed` from now on. A search of states uses it, so that nodes which
    /// differ only in how often they have drawn are the same node.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }
}
