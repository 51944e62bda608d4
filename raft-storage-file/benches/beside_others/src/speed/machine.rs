//! What this process costs, and what a disk is asked for, as far as Linux tells it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this process, all threads, in seconds.
pub(crate) fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What a disk was asked for, by whomever, so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskClock {
    /// Requests to write, flushes included.
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
}

impl DiskClock {
    /// The disk under `folder`, where the system tells.
    pub(crate) fn of(folder: &Path) -> Option<DiskClock> {
        let device = fs::metadata(folder).ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let told = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
        let fields = told.split_whitespace().map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        // The system counts in sectors of 512 bytes, whatever the disk has.
        Some(DiskClock { writes: *fields.get(4)?, bytes: fields.get(6)? * 512 })
    }
}
