//! How long to wait before the next attempt: longer each time, up to a limit, and never in step with others.

use std::time::Duration;

/// Waiting times that double from `min` to `max`. Each is drawn from the upper half of its range, so that
/// nodes that failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Starts at `min`. A `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), ceiling: min }
    }

    /// How long to wait now: between half of this attempt's range and the whole, as `random` (any number,
    /// from [`Runtime::random`](super::Runtime::random)) falls.
    pub fn next(&mut self, random: u64) -> Duration {
        let whole = u64::try_from(self.ceiling.as_nanos()).unwrap_or(u64::MAX);
        let half = whole / 2;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        Duration::from_nanos(whole - half + random % (half + 1))
    }

    /// It worked: the next failure starts at `min` again.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_a_reset() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(70));
        for random in [0, 1, 12_345_678, u64::MAX - 1, u64::MAX] {
            let mut backoff = Backoff::new(min, max);
            for whole in [10, 20, 40, 70, 70, 70] {
                let wait = backoff.next(random);
                let whole = Duration::from_millis(whole);
                assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            }
            backoff.reset();
            assert!(backoff.next(random) <= min);
        }
    }

    #[test]
    fn different_random_numbers_spread_the_waits() {
        let wait = |random| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next(random);
        assert_ne!(wait(1), wait(400_000_000));
    }

    #[test]
    fn no_limits_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO);
        for _ in 0..3 {
            assert!(backoff.next(u64::MAX) > Duration::from_secs(3600));
        }
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).next(7), Duration::ZERO);
    }
}
