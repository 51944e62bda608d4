//! What the machine was doing meanwhile, as far as Linux tells it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::time::{ClockId, clock_gettime};

/// Processor time since some moment, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadClock {
    own: u64,
    busy: u64,
    total: u64,
}

impl LoadClock {
    /// Where the system tells nothing, neither do we.
    pub(crate) fn start() -> Option<LoadClock> {
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in brackets, and may hold anything; user and system time are fields 14
        // and 15.
        let fields = own.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
        let own = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let all = fs::read_to_string("/proc/stat").ok()?;
        let all = all.lines().next()?.split_whitespace().skip(1).take(8);
        let all = all.map(|field| field.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
        let total = all.iter().sum::<u64>();
        let idle = all.get(3)? + all.get(4)?;
        Some(LoadClock { own, busy: total - idle, total })
    }

    /// The part of the machine that others took since, from 0 to 1.
    pub(crate) fn others(self) -> Option<f64> {
        let end = LoadClock::start()?;
        let own = end.own.saturating_sub(self.own);
        let busy = end.busy.saturating_sub(self.busy);
        let total = end.total.saturating_sub(self.total).max(1);
        Some(busy.saturating_sub(own) as f64 / total as f64)
    }
}

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
