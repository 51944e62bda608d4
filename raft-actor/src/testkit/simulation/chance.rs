//! Chance, in streams of their own: all come from one seed, and what is drawn from one changes no other.

use std::time::Duration;

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The stream of this name and number, of a seed.
    pub(super) fn stream(seed: u64, name: &str, number: u64) -> Chance {
        Chance(fastrand::Rng::with_seed(stream_seed(seed, name, number)))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number from 0 up to, not including, `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.u64(..end) }
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `all`, which are not none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A duration between the two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_nanos();
        least + Duration::from_nanos(self.below(u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1)))
    }

    /// A number of milliseconds up to `most`.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }
}

/// The seed of a stream.
pub(super) fn stream_seed(seed: u64, name: &str, number: u64) -> u64 {
    let bytes = name.bytes().map(u64::from).chain([number]);
    let mixed = bytes.fold(seed ^ 0x9e37_79b9_7f4a_7c15, |state, byte| {
        let state = (state ^ byte).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^ (state >> 29)
    });
    mixed.wrapping_mul(0x94d0_49bb_1331_11eb)
}
