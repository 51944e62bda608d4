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
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Permits {
    /// At most `count_max` permits, for at most `bytes_max` bytes in all, are out at any time.
    pub fn new(count_max: u64, bytes_max: u64) -> Permits {
        Permits(Arc::new(Stock { count_max, bytes_max, count: AtomicU64::new(0), bytes: AtomicU64::new(0) }))
    }

    /// A permit for one thing of this many bytes, or `None` where too much is out. More than `bytes_max`
    /// bytes never get one.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        take(&self.0.count, 1, self.0.count_max)?;
        if take(&self.0.bytes, bytes, self.0.bytes_max).is_none() {
            give_back(&self.0.count, 1);
            return None;
        }
        Some(Permit { stock: self.0.clone(), bytes })
    }

    /// How many permits are out.
    pub fn count_out(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// How many bytes they are for.
    pub fn bytes_out(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

// Relaxed throughout: each counter is right by itself, and nothing else is published through it.
fn take(out: &AtomicU64, wanted: u64, max: u64) -> Option<()> {
    let more = |now: u64| now.checked_add(wanted).filter(|sum| *sum <= max);
    out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| ())
}

fn give_back(out: &AtomicU64, taken: u64) {
    out.fetch_sub(taken, Ordering::Relaxed);
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
        give_back(&self.stock.bytes, self.bytes);
        give_back(&self.stock.count, 1);
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
