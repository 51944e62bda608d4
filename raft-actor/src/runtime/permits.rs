//! Permits: what may be under way at once, by count and by bytes. The answer to "full" at the door.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A stock of permits. Clones share it. Asking never waits, and takes no lock.
#[derive(Clone)]
pub struct Permits(Arc<Stock>);

struct Stock {
    count_max: u64,
    bytes_max: u64,
    /// What is out, in one word, as [`pack`] makes it.
    out: AtomicU64,
}

/// The lower bits of a word hold bytes, the others a count.
const BYTES_BITS: u32 = 40;
const BYTES_MAX: u64 = (1 << BYTES_BITS) - 1;
const COUNT_MAX: u64 = (1 << (u64::BITS - BYTES_BITS)) - 1;

fn pack(count: u64, bytes: u64) -> u64 {
    count << BYTES_BITS | bytes
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> BYTES_BITS, word & BYTES_MAX)
}

impl Permits {
    /// At most `count_max` permits, for at most `bytes_max` bytes in all, are out at any time. More than
    /// 16,777,215 permits and 1 TiB never are.
    pub fn new(count_max: u64, bytes_max: u64) -> Permits {
        let (count_max, bytes_max) = (count_max.min(COUNT_MAX), bytes_max.min(BYTES_MAX));
        Permits(Arc::new(Stock { count_max, bytes_max, out: AtomicU64::new(0) }))
    }

    /// A permit for one thing of this many bytes, or `None` where too much is out. More than `bytes_max`
    /// bytes never get one.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let Stock { count_max, bytes_max, out } = &*self.0;
        let more = |word| {
            let (count, held) = unpack(word);
            (count < *count_max && bytes <= bytes_max - held).then(|| word + pack(1, bytes))
        };
        // Relaxed: the word is right by itself, and nothing else is published through it.
        out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit { stock: self.0.clone(), bytes })
    }

    /// How many permits are out.
    pub fn count_out(&self) -> u64 {
        unpack(self.0.out.load(Ordering::Relaxed)).0
    }

    /// How many bytes they are for.
    pub fn bytes_out(&self) -> u64 {
        unpack(self.0.out.load(Ordering::Relaxed)).1
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stock { count_max, bytes_max, .. } = &*self.0;
        let (count, bytes) = (self.count_out(), self.bytes_out());
        write!(f, "Permits({count} of {count_max} out, {bytes} of {bytes_max} bytes)")
    }
}

/// Leave for one thing to be under way. Dropping it gives it back.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct Permit {
    stock: Arc<Stock>,
    bytes: u64,
}

impl Permit {
    /// The bytes that it is for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.stock.out.fetch_sub(pack(1, self.bytes), Ordering::Relaxed);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn neither_the_count_nor_the_bytes_go_over_their_limit() {
        let permits = Permits::new(3, 100);
        let first = permits.try_acquire(60).expect("60 of 100 bytes");
        assert!(permits.try_acquire(41).is_none(), "101 bytes");
        let second = permits.try_acquire(40).expect("100 of 100 bytes");
        let third = permits.try_acquire(0).expect("3 of 3");
        assert!(permits.try_acquire(0).is_none(), "a fourth");
        assert_eq!((permits.count_out(), permits.bytes_out()), (3, 100));
        drop(first);
        assert_eq!((permits.count_out(), permits.bytes_out()), (2, 40));
        drop((second, third));
        assert_eq!((permits.count_out(), permits.bytes_out()), (0, 0));
    }

    #[test]
    fn a_size_that_overflows_is_refused_and_leaves_nothing_out() {
        let permits = Permits::new(10, u64::MAX);
        let held = permits.try_acquire(1).expect("one byte");
        assert!(permits.try_acquire(u64::MAX).is_none());
        drop(held);
        assert_eq!((permits.count_out(), permits.bytes_out()), (0, 0));
    }

    #[test]
    fn limits_beyond_what_a_word_holds_are_taken_as_that_and_neither_runs_into_the_other() {
        let permits = Permits::new(u64::MAX, u64::MAX);
        assert!(permits.try_acquire(BYTES_MAX + 1).is_none());
        let all = permits.try_acquire(BYTES_MAX).expect("all bytes that there are");
        assert!(permits.try_acquire(1).is_none());
        let none = permits.try_acquire(0).expect("a second permit");
        assert_eq!((permits.count_out(), permits.bytes_out()), (2, BYTES_MAX));
        drop((all, none));
        assert_eq!((permits.count_out(), permits.bytes_out()), (0, 0));
    }

    #[test]
    fn many_threads_never_hold_more_than_there_is() {
        let permits = Permits::new(3, 30);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let permit = permits.try_acquire(10);
                        assert!(permits.count_out() <= 3 && permits.bytes_out() <= 30);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!((permits.count_out(), permits.bytes_out()), (0, 0));
    }
}
