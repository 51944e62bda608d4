//! What can be set.

use std::{thread, time::Duration};

/// More wait for the disk, or for memory, than they are of use.
const RECOVERY_THREADS_MAX: usize = 16;

/// The settings of a [`FileLog`](crate::FileLog). The defaults suit a server with an SSD.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The size of a segment, in bytes. The first segments are smaller (1, 4, 16 MiB), and a write that
    /// would not fit gets a segment of its own size. Default 64 MiB; at least 16 KiB, rounded up to whole
    /// blocks of 4 KiB.
    pub segment_bytes: u64,
    /// How many bytes of the newest entries `recover` gives back in
    /// [`LogState::tail`](raft_actor::types::LogState). Default 8 MiB.
    pub tail_bytes: u64,
    /// How long after the last acknowledged write, with no other following, a mark is written that proves
    /// it was acknowledged. Default 3 ms.
    pub mark_after: Duration,
    /// Whether the next segment is zeroed in the background, before it is needed. Where not, it is made
    /// when it is needed, and that write waits for it. Default true.
    pub spare_in_background: bool,
    /// How many threads read the log when it is opened; 1: the caller alone. Default 0: twice as many as the
    /// machine runs at once, at most 16, as segments differ in size and one thread waits for another.
    pub recovery_threads: usize,
    /// Makes the store's random numbers (its incarnation and the salts) the same in every run. For tests
    /// of the format only; two stores must never share them. Default none.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            tail_bytes: 8 << 20,
            mark_after: Duration::from_millis(3),
            spare_in_background: true,
            recovery_threads: 0,
            seed: None,
        }
    }
}

impl Options {
    /// The defaults, with segments of another size.
    pub fn with_segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// The defaults, with another length of the tail that `recover` returns.
    pub fn with_tail_bytes(mut self, bytes: u64) -> Options {
        self.tail_bytes = bytes;
        self
    }

    /// The defaults, with another time after which an idle store is marked.
    pub fn with_mark_after(mut self, time: Duration) -> Options {
        self.mark_after = time;
        self
    }

    /// The defaults, with spares made in the background or not.
    pub fn with_spare_in_background(mut self, background: bool) -> Options {
        self.spare_in_background = background;
        self
    }

    /// The defaults, with another number of threads that read the log when it is opened.
    pub fn with_recovery_threads(mut self, threads: usize) -> Options {
        self.recovery_threads = threads;
        self
    }

    pub(crate) fn recovery_threads(&self) -> usize {
        match self.recovery_threads {
            0 => thread::available_parallelism()
                .map_or(1, |threads| RECOVERY_THREADS_MAX.min(2 * threads.get())),
            threads => threads,
        }
    }

    /// The defaults, with reproducible random numbers.
    pub fn with_seed(mut self, seed: u64) -> Options {
        self.seed = Some(seed);
        self
    }
}
