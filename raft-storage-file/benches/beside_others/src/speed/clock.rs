//! The clock that a contestant runs by: only what is between `start` and `stop` counts.

use std::{path::Path, time::Instant};

use super::machine::{DiskClock, processor_seconds};
use crate::book::Book;

/// Times of the operations of one run.
pub(crate) struct Clock {
    seconds: Vec<f64>,
    processor: f64,
    disk: Option<DiskClock>,
}

impl Clock {
    pub(crate) fn new(folder: &Path) -> Clock {
        Clock { seconds: Vec::new(), processor: 0.0, disk: DiskClock::of(folder) }
    }

    /// Measures one operation.
    pub(crate) fn time<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let (processor, started) = (processor_seconds(), Instant::now());
        let result = operation();
        self.seconds.push(started.elapsed().as_secs_f64());
        self.processor += processor_seconds() - processor;
        result
    }

    /// Enters what `entries` with `payload` bytes in all came to.
    pub(crate) fn enter(
        mut self,
        book: &mut Book,
        (point, who): (&str, &'static str),
        folder: &Path,
        entries: usize,
        payload: usize,
    ) {
        let (operations, total) = (self.seconds.len() as f64, self.seconds.iter().sum::<f64>());
        self.seconds.sort_by(f64::total_cmp);
        let quantile = |part: f64| self.seconds[((operations - 1.0) * part).round() as usize] * 1e6;
        book.enter(point, who, "entries/s", entries as f64 / total);
        book.enter(point, who, "us p50", quantile(0.5));
        book.enter(point, who, "us p99", quantile(0.99));
        book.enter(point, who, "cpu us/entry", self.processor * 1e6 / entries as f64);
        if let (Some(before), Some(after)) = (self.disk, DiskClock::of(folder)) {
            book.enter(point, who, "disk writes/flush", (after.writes - before.writes) as f64 / operations);
            if payload > 0 {
                let written = (after.bytes - before.bytes) as f64 / payload as f64;
                book.enter(point, who, "bytes written/byte", written);
            }
        }
    }
}
